"""The Topographic VAE: encode z and u, group them in t, decode t; and rolls and samples of t."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tvae_core.model.grouper import Frames, Grouper
from tvae_core.model.losses import (
    LIKELIHOODS,
    Gaussian,
    Images,
    Latents,
    PerFrame,
    SomeLatents,
    negative_log_likelihood,
)
from tvae_core.model.networks import ENCODERS, Decoder, conv_transpose_init, he_init
from tvae_core.model.torus import roll_each
from tvae_core.seeding import generator, normal_like
from tvae_core.validation import check_choice, check_number, check_tensors, check_values

Noise = tuple[Float[Tensor, "draws _ C D"], ...]


@dataclass(frozen=True)
class Output:
    """One posterior draw: latents (B, S, C, D), decoder output like x, loss terms (B, S) in nats.

    Where TVAE.forward was given n frames, all but u and KL(u) are of these alone. Where it was given the
    noise of several draws, all but the two KL are of these, draw by draw along the first axis.
    """

    z: Float[Tensor, "draws n C D"]
    u: Float[Tensor, "draws S C D"] | None
    t: Float[Tensor, "draws n C D"]
    logits: Float[Tensor, "draws n ch h w"]
    nll: Float[Tensor, "draws n"]
    kl_z: Float[Tensor, "B n"]
    kl_u: PerFrame

    @property
    def probs(self) -> Images:
        """The mean of p(x|t): a probability for each pixel."""
        return self.logits.sigmoid()

    @property
    def elbo(self) -> PerFrame:
        """The evidence lower bound of every frame, in nats; the loss is minus its mean."""
        return -(self.nll + self.kl_z + self.kl_u)


class TVAE(nn.Module):
    """Two Gaussian encoders, a grouper that joins z and u in t, and a decoder that sees t alone.

    Axes: B sequences, S frames, C capsules, D units a capsule. The plain VAE has no grouper and no u: t = z.

    The energies u² carry the information. z all but collapses in training (KL(z) is about 0.4 nats a frame),
    and an energy is set by the variance of u rather than by its mean.

    >>> from tvae_core import EXPERIMENTS
    >>> model = EXPERIMENTS["tvae_Lpartial_mnist"].build_model(seed=0)
    >>> out = model(torch.rand(2, 18, 3, 28, 28))  # x (B, S, channels, height, width) in [0, 1]
    >>> out.t.shape, out.probs.shape, out.elbo.shape
    (torch.Size([2, 18, 18, 18]), torch.Size([2, 18, 3, 28, 28]), torch.Size([2, 18]))
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
        encoder: str = "perceptron",
    ):
        """image_shape: (channels, height, width). Raises ValueError for an unknown name or wrong sizes.

        u_mean_init, u_logvar_init: where q(u|x) begins. standardised: the decoder takes out the mean and
        spread that t has there (networks.Decoder). he: networks.he_init, not conv_transpose_init.
        encoder: one of networks.ENCODERS.
        """
        super().__init__()
        self.image_shape, self.capsules, self.units = tuple(image_shape), capsules, units
        self._check_sizes(grouper)
        self.likelihood = check_choice(likelihood, LIKELIHOODS, "likelihood")
        build = ENCODERS[check_choice(encoder, ENCODERS, "encoder")]
        start = u_mean_init, u_logvar_init
        self.encoder_z = build(self.image_shape, capsules, units)
        self.encoder_u = build(self.image_shape, capsules, units, *start) if grouper else None
        self.grouper = grouper
        moments = self._moments_at_start(*start) if standardised and grouper else (0.0, 1.0)
        self.decoder = Decoder(capsules, units, self.image_shape, *moments)
        if he:
            he_init(self)
        else:
            conv_transpose_init(self.decoder)
        # The official plain VAE has a mu, for which t = z has no use; kept for the same parameter count.
        self.idle_mu = None if grouper else nn.Parameter(torch.zeros(()))

    def _check_sizes(self, grouper: Grouper | None) -> None:
        if len(self.image_shape) != 3:
            raise ValueError(f"image_shape is {self.image_shape}, but must be (channels, height, width)")
        for size in (*self.image_shape, self.capsules, self.units):
            check_number("a size of the image, or the number of capsules or units,", size, least=1)
        if grouper and (n := math.prod(grouper.capsule)) != self.units:
            raise ValueError(f"units is {self.units}, but the grouper's capsules have {n}")

    def _moments_at_start(self, u_mean: float, u_logvar: float) -> tuple[float, float]:
        noise = torch.empty(2, 256, self.grouper.frames, 1, self.units)
        z, u = normal_like(noise, generator("cpu", 0, "start"))
        with torch.no_grad():
            t = self.grouper(z, u_mean + math.exp(u_logvar / 2) * u)
        return t.mean().item(), t.std().item()

    def encode(self, x: Images) -> tuple[Gaussian, Gaussian | None]:
        """Return q(z|x) and q(u|x) of each frame by itself; the latter is None for the plain VAE.

        Raises ValueError for images x (B, S, channels, height, width) of another size than the model's.
        """
        self._check_images(x)
        return self.encoder_z(x), self.encoder_u(x) if self.encoder_u else None

    def _check_images(self, x: Images) -> None:
        check_tensors(x=(x, "float B S " + " ".join(map(str, self.image_shape))))

    def group(self, z: SomeLatents, u: Latents | None, frames: Frames = None) -> SomeLatents:
        """Return t of z and u (Grouper), or t = z without u."""
        return z if u is None else self.grouper(z, u, frames)

    def logits(self, t: Latents) -> Images:
        """Return g(t), the decoder's output before the sigmoid. Raises ValueError for t of another shape."""
        check_tensors(t=(t, f"float B S {self.capsules} {self.units}"))
        return self.decoder(t)

    def decode(self, t: Latents) -> Images:
        """Return the pixel probabilities of t, frame by frame.

        Raises ValueError as `logits` does, and on a CPU for values that are not finite.
        """
        logits = self.logits(t)
        check_values(t=t)
        return logits.sigmoid()

    def forward(
        self,
        x: Images,
        generator: torch.Generator | None = None,
        noise: Noise | None = None,
        frames: Frames = None,
    ) -> Output:
        """Return one posterior draw with the terms of the ELBO (paper, section 4).

        x: values in [0, 1]. The draw takes its noise from the generator unless `noise` is given. Given the
        positions of some `frames`, z's encoder and the decoder see these alone, while t still sums over u² of
        all frames; if each frame is as likely as any other, the terms' means are unbiased. Noise for n times
        as many sequences as x has gives n draws of each. Raises ValueError for images of another size, and
        on a CPU for values outside [0, 1] unless noise is given, as in training.
        """
        self._check_images(x)
        if noise is None:
            check_values(0, 1, x=x)
        noise = self.noise(x, generator, frames) if noise is None else noise
        some = x if frames is None else x[:, frames]
        q_z, q_u = self.encoder_z(some), self.encoder_u(x) if self.encoder_u else None
        n = len(noise[0]) // len(x)
        z = q_z.repeat(n).at(noise[0])
        u = q_u.repeat(n).at(noise[1]) if q_u else None
        t = self.group(z, u, frames)
        logits = self.logits(t)
        truth = some.expand(n, *some.shape).flatten(0, 1)
        nll, kl_z = negative_log_likelihood(logits, truth, self.likelihood), q_z.kl()
        return Output(z, u, t, logits, nll, kl_z, q_u.kl() if q_u else torch.zeros_like(kl_z))

    def noise(
        self,
        x: Images,
        generator: torch.Generator | None = None,
        frames: Frames = None,
        draws: int = 1,
    ) -> Noise:
        """Return standard normal noise for posterior draws: for z, of `frames` alone, then for u."""
        shape = draws * len(x), x.shape[1], self.capsules, self.units
        like = x.new_empty(shape, dtype=self.decoder.last.weight.dtype)
        z = like if frames is None else like[:, : len(frames)].contiguous()
        return tuple(normal_like(shape, generator) for shape in ((z, like) if self.grouper else (z,)))

    def latents(self, x: Images) -> Latents:
        """Return t without posterior noise, for figures and rolls: at E[z] and E[u²] = mean² + variance.

        t depends on the energy of u alone, and the variance of u carries much of it: at the mean of u the
        energy all but vanishes, and t is many times too long for the decoder. Raises ValueError for images of
        another size, and on a CPU for values outside [0, 1].
        """
        self._check_images(x)
        check_values(0, 1, x=x)
        return self.latents_of(*self.encode(x))

    def latents_of(self, q_z: Gaussian, q_u: Gaussian | None) -> Latents:
        """Return t at E[z] and E[u²] of these posteriors (latents)."""
        return self.group(q_z.mean, (q_u.mean.square() + q_u.logvar.exp()).sqrt() if q_u else None)

    def rolls(
        self, t: Latents, anchor: int, axes: Sequence[int] = (0,), step: int = 1, n: int | None = None
    ) -> SomeLatents:
        """Return Roll_{step · (l - anchor)}(t_anchor) for l = 0 … n-1, n = S by default.

        A capsule of several dimensions is rolled along its first axis, or along each of `axes` at once: (0,),
        (1,) and (0, 1) roll the 2-D torus, whose sequences have one frame, in both directions and diagonally.
        Raises ValueError for t of another shape, and for a frame or an axis that is not there.
        """
        frames = check_tensors(t=(t, f"float B S C {self.units}"))["S"]
        check_number("anchor", anchor, 0, frames - 1)
        check_number("step", step)
        n = check_number("n", frames if n is None else n, least=1)
        shifts = step * (torch.arange(n, device=t.device) - anchor).view(-1, 1)
        rolled = t[:, anchor : anchor + 1].expand(-1, n, -1, -1)
        for axis in axes:
            rolled = roll_each(rolled, shifts, axis, self.grouper.capsule if self.grouper else None)
        return rolled

    def traverse(
        self, t: Latents, anchor: int, axes: Sequence[int] = (0,), step: int = 1, n: int | None = None
    ) -> Float[Tensor, "B n ch h w"]:
        """Return the logits of a capsule traversal: frame l is g(Roll_{step · (l - anchor)}(t_anchor))."""
        return self.logits(self.rolls(t, anchor, axes, step, n))

    def sample(self, sequences: int, frames: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Return whole sequences from the prior as probabilities (sequences, S, channels, height, width).

        With a grouper S is the number of frames that W couples, whatever `frames` says. Raises ValueError for
        numbers below 1.
        """
        check_number("sequences", sequences, least=1)
        check_number("frames", frames, least=1)
        frames = self.grouper.frames if self.grouper else frames
        like = next(self.parameters())
        noise = like.new_empty(2, sequences, frames, self.capsules, self.units)
        z, u = normal_like(noise, generator)
        return self.decode(self.group(z, u if self.grouper else None))
