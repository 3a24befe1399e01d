"""Log-likelihoods and divergences in nats, summed over everything that belongs to one frame."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tvae_core.seeding import normal_like
from tvae_core.validation import check_choice, check_tensors

# Axes: B sequences, S frames (n: some of them), C capsules, D units a capsule.
Images = Float[Tensor, "B S ch h w"]
Latents = Float[Tensor, "B S C D"]
SomeLatents = Float[Tensor, "B n C D"]
PerFrame = Float[Tensor, "B S"]

LIKELIHOODS = ("bernoulli", "gaussian")
GAUSSIAN_SCALE = 0.1  # standard deviation of a pixel, on the scale of [0, 1], for the Gaussian decoder


def at_least_float32(x: Tensor) -> Tensor:
    """Return x in float32, or as it is in float64: sums are never taken in bfloat16, even under autocast."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def gaussian_kl(mean: Float[Tensor, "B S ..."], logvar: Float[Tensor, "B S ..."]) -> PerFrame:
    """Return KL(N(mean, exp(logvar)) || N(0, I)) of each frame, in nats (Kingma & Welling 2014, app. B)."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).flatten(2).sum(-1)


def gaussian_log_density(
    x: Float[Tensor, "B S ..."], mean: Tensor | float = 0.0, logvar: Tensor | float = 0.0
) -> PerFrame:
    """Return log N(x; mean, exp(logvar)) of each frame, in nats; the standard normal by default."""
    if not isinstance(logvar, Tensor):
        logvar = x.new_full((), logvar)  # made on the device: no copy for the device to wait for
    energy = (x - mean).square() * torch.exp(-logvar) + logvar + math.log(2 * math.pi)
    return -0.5 * energy.flatten(2).sum(-1)


def negative_log_likelihood(logits: Images, x: Images, likelihood: str = "bernoulli") -> PerFrame:
    """Return -log p(x|t) of each frame, in nats, of the decoder's output `logits`.

    `bernoulli`: p = sigmoid(logits) of each pixel. Grey values are used as they are, as in the paper, so this
    is a cross entropy, bounded below by the entropy of the targets (about 130 nats for MNIST), not by 0.
    `gaussian`: mean sigmoid(logits), standard deviation GAUSSIAN_SCALE; a density, so it can be negative.
    Raises ValueError for another likelihood, and for images of another shape.
    """
    check_choice(likelihood, LIKELIHOODS, "likelihood")
    check_tensors(logits=(logits, "float B S ch h w"), x=(x, "float B S ch h w"))
    if likelihood == "bernoulli":
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(2).sum(-1)
    return -gaussian_log_density(x, logits.sigmoid(), 2 * math.log(GAUSSIAN_SCALE))


class Gaussian(NamedTuple):
    """The posterior of every frame, a diagonal Gaussian q(z|x): mean and log-variance, each (B, S, C, D)."""

    mean: Latents
    logvar: Latents

    def sample(self, generator: torch.Generator | None = None) -> Latents:
        """Return a draw, with noise from the generator."""
        return self.at(normal_like(self.mean, generator))

    def at(self, noise: Latents) -> Latents:
        """Return mean + exp(logvar / 2) · noise, through which gradients reach both."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def repeat(self, n: int) -> "Gaussian":
        """Return the posteriors n times, one copy of all B sequences after the other: (n·B, S, C, D)."""
        return Gaussian(*(value.expand(n, *value.shape).flatten(0, 1) for value in self))

    def log_density(self, z: Latents) -> PerFrame:
        """Return log q(z|x) of each frame, in nats."""
        return gaussian_log_density(z, self.mean, self.logvar)

    def kl(self) -> PerFrame:
        """Return KL(q(z|x) || N(0, I)) of each frame, in nats."""
        return gaussian_kl(self.mean, self.logvar)
