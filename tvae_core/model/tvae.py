"""The Topographic VAE: encode, group, decode, and what follows from them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tvae_core.model.grouper import Grouper
from tvae_core.model.losses import LIKELIHOODS, Gaussian, negative_log_likelihood
from tvae_core.model.networks import Decoder, GaussianEncoder, conv_transpose_init, he_init
from tvae_core.model.torus import roll_each
from tvae_core.seeding import generator, normal_like
from tvae_core.validation import check_choice

Noise = tuple[Float[Tensor, "B _ C D"], ...]


@dataclass(frozen=True)
class Output:
    """One pass through the model: latents (B, S, C, D), decoder output like x, loss terms (B, S) in nats.

    Of n chosen frames alone (TVAE.forward): all but u and KL(u), to which every frame belongs.
    """

    z: Float[Tensor, "B n C D"]
    u: Float[Tensor, "B S C D"] | None
    t: Float[Tensor, "B n C D"]
    logits: Float[Tensor, "B n ch h w"]
    nll: Float[Tensor, "B n"]
    kl_z: Float[Tensor, "B n"]
    kl_u: Float[Tensor, "B S"]

    @property
    def probs(self) -> Float[Tensor, "B S ch h w"]:
        """The mean of p(x|t): a probability for each pixel."""
        return self.logits.sigmoid()

    @property
    def elbo(self) -> Float[Tensor, "B S"]:
        """The evidence lower bound of every frame, in nats; the loss is minus its mean."""
        return -(self.nll + self.kl_z + self.kl_u)


class TVAE(nn.Module):
    """Two Gaussian encoders, a grouper that couples them in t, and a decoder that sees t alone.

    Axes: B sequences, S frames, C capsules, D units a capsule. Without grouper there is no u and t = z.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        capsules: int,
        units: int,
        grouper: Grouper | None = None,
        likelihood: str = "bernoulli",
        u_mean_init: float = 0.0,
        u_logvar_init: float = 0.0,
        standardised: bool = False,
        he: bool = False,
    ):
        """image_shape: (channels, height, width). Raises ValueError for an unknown likelihood.

        u_mean_init, u_logvar_init: where q(u|x) begins; standardised: the decoder reads t with the mean and
        spread that it has there taken out (networks.Decoder); he: networks.he_init in place of
        networks.conv_transpose_init.
        """
        super().__init__()
        self.image_shape, self.capsules, self.units = tuple(image_shape), capsules, units
        self.likelihood = check_choice(likelihood, LIKELIHOODS, "likelihood")
        pixels = torch.Size(image_shape).numel()
        start = u_mean_init, u_logvar_init
        self.encoder_z = GaussianEncoder(pixels, capsules, units)
        self.encoder_u = GaussianEncoder(pixels, capsules, units, *start) if grouper else None
        self.grouper = grouper
        moments = self._moments_at_start(*start) if standardised and grouper else (0.0, 1.0)
        self.decoder = Decoder(capsules, units, self.image_shape, *moments)
        if he:
            he_init(self)
        else:
            conv_transpose_init(self.decoder)
        # The official plain VAE has one parameter more than its networks: a mu, for which t = z has no use.
        # Kept, so that the two have the same number.
        self.idle_mu = None if grouper else nn.Parameter(torch.zeros(()))

    def _moments_at_start(self, u_mean: float, u_logvar: float) -> tuple[float, float]:
        noise = torch.empty(2, 256, self.grouper.frames, 1, self.units)
        z, u = normal_like(noise, generator("cpu", 0, "start"))
        with torch.no_grad():
            t = self.grouper(z, u_mean + math.exp(u_logvar / 2) * u)
        return t.mean().item(), t.std().item()

    def encode(self, x: Float[Tensor, "B S ch h w"]) -> tuple[Gaussian, Gaussian | None]:
        """The posteriors q(z|x) and q(u|x), each frame by itself; the latter None for the plain VAE."""
        return self.encoder_z(x), self.encoder_u(x) if self.encoder_u else None

    def group(
        self,
        z: Float[Tensor, "B n C D"],
        u: Float[Tensor, "B S C D"] | None,
        frames: Int[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "B n C D"]:
        """Return t of z and u (Grouper), or t = z without one."""
        return z if u is None else self.grouper(z, u, frames)

    def logits(self, t: Float[Tensor, "B S C D"]) -> Float[Tensor, "B S ch h w"]:
        """g(t), the decoder's output before the sigmoid."""
        return self.decoder(t)

    def decode(self, t: Float[Tensor, "B S C D"]) -> Float[Tensor, "B S ch h w"]:
        """t (B, S, C, D) → pixel probabilities (B, S, channels, height, width), frame by frame."""
        return self.logits(t).sigmoid()

    def forward(
        self,
        x: Float[Tensor, "B S ch h w"],
        generator: torch.Generator | None = None,
        noise: Noise | None = None,
        frames: Int[Tensor, " n"] | None = None,
    ) -> Output:
        """One posterior draw: latents, decoder output and the terms of the ELBO (paper, section 4).

        x: (B, S, channels, height, width) in [0, 1]. The draw is made from the generator unless its `noise`
        is given. Given positions of `frames`, z's encoder and the decoder see these alone, while t of each
        still sums over u² of all frames: each frame as likely as any other, the terms' means are unbiased.
        """
        noise = self.noise(x, generator, frames) if noise is None else noise
        some = x if frames is None else x[:, frames]
        q_z, q_u = self.encoder_z(some), self.encoder_u(x) if self.encoder_u else None
        z = q_z.at(noise[0])
        u = q_u.at(noise[1]) if q_u else None
        t = self.group(z, u, frames)
        logits = self.logits(t)
        nll, kl_z = negative_log_likelihood(logits, some, self.likelihood), q_z.kl()
        return Output(z, u, t, logits, nll, kl_z, q_u.kl() if q_u else torch.zeros_like(kl_z))

    def noise(
        self,
        x: Float[Tensor, "B S ch h w"],
        generator: torch.Generator | None = None,
        frames: Int[Tensor, " n"] | None = None,
    ) -> Noise:
        """Return standard normal noise for one posterior draw: for z, of `frames` alone, then for u."""
        like = x.new_empty(*x.shape[:2], self.capsules, self.units, dtype=self.decoder.last.weight.dtype)
        z = like if frames is None else like[:, : len(frames)].contiguous()
        return tuple(normal_like(shape, generator) for shape in ((z, like) if self.grouper else (z,)))

    def latents(self, x: Float[Tensor, "B S ch h w"]) -> Float[Tensor, "B S C D"]:
        """t without posterior noise, for figures and rolls: at E[z] and E[u²] = mean² + variance.

        t listens to the energy of u alone, and a trained posterior says much through the variance of u:
        with E[u]² in place of E[u²] the energy all but vanishes and t is many times too long for the decoder.
        """
        return self.latents_of(*self.encode(x))

    def latents_of(self, q_z: Gaussian, q_u: Gaussian | None) -> Float[Tensor, "B S C D"]:
        """Return t at E[z] and E[u²] of these posteriors (latents)."""
        return self.group(q_z.mean, (q_u.mean.square() + q_u.logvar.exp()).sqrt() if q_u else None)

    def rolls(
        self, t: Float[Tensor, "B S C D"], anchor: int, axes: Sequence[int] = (0,), step: int = 1
    ) -> Float[Tensor, "B S C D"]:
        """Roll_{step · (l - anchor)}(t_anchor) for l = 0 … S-1, along each of these axes of the capsule."""
        shifts = step * (torch.arange(t.shape[1], device=t.device) - anchor).view(-1, 1)
        capsule = self.grouper.capsule if self.grouper else None
        rolled = t[:, anchor : anchor + 1].expand_as(t)
        for axis in axes:
            rolled = roll_each(rolled, shifts, axis, capsule)
        return rolled

    def traverse(
        self, t: Float[Tensor, "B S C D"], anchor: int, axes: Sequence[int] = (0,), step: int = 1
    ) -> Float[Tensor, "B S ch h w"]:
        """Capsule traversal as logits: frame l is g(Roll_{l - anchor}(t_anchor)), for l = 0 … S-1.

        `step` is the roll for each frame. A capsule of several dimensions is rolled along its first axis
        unless `axes` names others, then along each of them.
        """
        return self.logits(self.rolls(t, anchor, axes, step))

    def sample(self, sequences: int, frames: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Whole sequences from the prior, as probabilities (sequences, S, channels, height, width).

        z and u are standard normal for all S frames at once and grouped by W: with a grouper S is the
        length that W couples, whatever `frames` says; without one the frames are independent.
        """
        frames = self.grouper.frames if self.grouper else frames
        like = next(self.parameters())
        noise = like.new_empty(2, sequences, frames, self.capsules, self.units)
        z, u = normal_like(noise, generator)
        return self.decode(self.group(z, u if self.grouper else None))
