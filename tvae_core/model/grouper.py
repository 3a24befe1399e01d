"""The topographic variable t, made of z and of the energy of u in a neighbourhood."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tvae_core.model.losses import Latents, SomeLatents, at_least_float32
from tvae_core.model.torus import Offset, neighbourhood, neighbours
from tvae_core.validation import check_real, check_tensors

Frames = Int[Tensor, " n"] | None  # positions of some frames, or None: all S


class Grouper(nn.Module):
    """t = (z + mu) / Σ_a sqrt(W_a u² + eps), with one matrix W_a for each axis a of the capsule.

    A capsule of one dimension has one W, and this is t = (z + mu) / sqrt(W u² + eps) (paper, Eq. 9, with mu
    from its appendix); capsules of several dimensions sum over their axes, as the official code does. u² is
    seen on the lattice (frames, *capsule), and W is the same for every capsule. mu is one trainable scalar.

    A trainable W has one weight an offset, shared by all sites, so it stays circulant. The weights enter
    squared, so it stays non-negative. It starts as the fixed W.

    >>> grouper = Grouper((3, 4), [[(0, 0), (1, 1)]])  # S = 3 frames, D = 4 units: u² here and one roll ahead
    >>> z, u = torch.zeros(2, 3, 5, 4), torch.ones(2, 3, 5, 4)  # (B, S, C, D)
    >>> grouper(z, u).shape, grouper.energy(u).unique()
    (torch.Size([2, 3, 5, 4]), tensor([2.]))
    """

    def __init__(
        self,
        lattice: Sequence[int],
        steps: Sequence[Sequence[Offset]],
        mu: float = 30.0,
        eps: float = 1e-6,
        boundary: str = "circular",
        trainable: bool = False,
    ):
        """lattice: (S, *capsule); steps: for each axis of the capsule, its offsets on the lattice.

        Raises ValueError for an mu or eps with which t is no finite number, and as `neighbours` does.
        """
        super().__init__()
        if not steps:
            raise ValueError("a grouper needs offsets for one axis of the capsule at least")
        self.frames, self.capsule = lattice[0], tuple(lattice[1:])
        self.eps = check_real("eps", eps, 0, above=True)
        self.mu = nn.Parameter(torch.tensor(check_real("mu", mu)))
        sites, inside = zip(*(neighbours(lattice, axis, boundary) for axis in steps), strict=True)
        self.trainable = trainable
        if trainable:
            self.register_buffer("sites", torch.stack(sites), persistent=False)
            self.register_buffer("inside", torch.stack(inside), persistent=False)
            self.weights = nn.Parameter(torch.ones(len(sites), sites[0].shape[1]))
        else:
            fixed = [neighbourhood(s, i.float()) for s, i in zip(sites, inside, strict=True)]
            self.register_buffer("fixed", torch.stack(fixed), persistent=False)

    @property
    def matrices(self) -> Float[Tensor, "A N N"]:
        """W, one non-negative matrix for each of the A axes of the capsule, N = S·D sites."""
        if not self.trainable:
            return self.fixed
        weights = self.weights.square().unsqueeze(1) * self.inside
        return torch.stack([neighbourhood(s, w) for s, w in zip(self.sites, weights, strict=True)])

    def energy(self, u: Latents, frames: Frames = None) -> Float[Tensor, "A B n C D"]:
        """Return v = W u², the energy of u in each unit's neighbourhood, for each axis of the capsule.

        frames: those for which v is wanted (None: all S); it sums over u² of all frames nevertheless.
        """
        b, s, c, d = check_tensors(u=(u, "float B S C D")).values()
        if (s, d) != (self.frames, n := math.prod(self.capsule)):
            raise ValueError(f"u has {s} frames of {d} units, but this W couples {self.frames} of {n}")
        energy = u.square().transpose(1, 2).reshape(b * c, s * d)
        # no bfloat16 under autocast: eps is below its resolution of a large v
        with torch.autocast(u.device.type, enabled=False):
            energy, w = at_least_float32(energy), self.matrices
            if frames is not None:
                w = w.unflatten(1, (s, d))[:, frames].flatten(1, 2)
            v = energy @ w.mT.to(energy.dtype)
        return v.view(len(w), b, c, -1, d).transpose(2, 3)

    def forward(self, z: SomeLatents, u: Latents, frames: Frames = None) -> SomeLatents:
        """Return t of z and u, each (B, S, C, D), or of some `frames` for which z is given.

        Raises ValueError if frames or units do not fit W, or z does not fit u.
        """
        check_tensors(u=(u, "float B S C D"), z=(z, "float B S C D" if frames is None else "float B n C D"))
        return (z + self.mu) / torch.sqrt(self.energy(u, frames) + self.eps).sum(0)

    def seen_frames(self, anchor: int) -> list[int]:
        """Return the frames that t of frame `anchor` depends on; all others are held out from it."""
        per_frame = self.matrices.unflatten(1, (self.frames, -1)).unflatten(-1, (self.frames, -1))
        touched = per_frame[:, anchor].sum((0, 1, 3)) > 0  # (A, D, S, D) → (S)
        return torch.nonzero(touched).flatten().tolist()
