"""Log-likelihoods and divergences in nats, summed over everything that belongs to one frame."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tvae_core.seeding import normal_like

LIKELIHOODS = ("bernoulli", "gaussian")
GAUSSIAN_SCALE = 0.1  # standard deviation of a pixel, on the scale of [0, 1], for the Gaussian decoder


def at_least_float32(x: Tensor) -> Tensor:
    """Return x in float32, or as it is in float64: sums are never taken in bfloat16, even under autocast."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def gaussian_kl(mean: Float[Tensor, "B S ..."], logvar: Float[Tensor, "B S ..."]) -> Float[Tensor, "B S"]:
    """KL(N(mean, exp(logvar)) || N(0, I)) per frame, in nats (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).flatten(2).sum(-1)


def gaussian_log_density(
    x: Float[Tensor, "B S ..."], mean: Tensor | float = 0.0, logvar: Tensor | float = 0.0
) -> Float[Tensor, "B S"]:
    """log N(x; mean, exp(logvar)) per frame, in nats; the standard normal unless told otherwise."""
    if not isinstance(logvar, Tensor):
        logvar = x.new_full((), logvar)  # made on the device: no copy for the device to wait for
    energy = (x - mean).square() * torch.exp(-logvar) + logvar + math.log(2 * math.pi)
    return -0.5 * energy.flatten(2).sum(-1)


def negative_log_likelihood(
    logits: Float[Tensor, "B S ch h w"], x: Float[Tensor, "B S ch h w"], likelihood: str = "bernoulli"
) -> Float[Tensor, "B S"]:
    """-log p(x|t) per frame, in nats, with the decoder's output `logits` of the shape of x.

    `bernoulli`: p = sigmoid(logits) per pixel; grey values are used as they are, so the value is a cross
    entropy, bounded below by the entropy of the targets (about 130 nats for MNIST), not by 0.
    `gaussian`: mean sigmoid(logits), fixed standard deviation GAUSSIAN_SCALE; a density, so it can be
    negative.
    """
    if likelihood == "bernoulli":
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(2).sum(-1)
    return -gaussian_log_density(x, logits.sigmoid(), 2 * math.log(GAUSSIAN_SCALE))


class Gaussian(NamedTuple):
    """A diagonal Gaussian q(z|x) for every frame: mean and log-variance, each (B, S, C, D)."""

    mean: Float[Tensor, "B S C D"]
    logvar: Float[Tensor, "B S C D"]

    def sample(self, generator: torch.Generator | None = None) -> Float[Tensor, "B S C D"]:
        """A reparametrised draw (at) with noise from the generator."""
        return self.at(normal_like(self.mean, generator))

    def at(self, noise: Float[Tensor, "B S C D"]) -> Float[Tensor, "B S C D"]:
        """mean + std · noise with std = exp(logvar / 2)."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def log_density(self, z: Float[Tensor, "B S C D"]) -> Float[Tensor, "B S"]:
        """log q(z|x) per frame, in nats."""
        return gaussian_log_density(z, self.mean, self.logvar)

    def kl(self) -> Float[Tensor, "B S"]:
        """KL(q(z|x) || N(0, I)) per frame, in nats."""
        return gaussian_kl(self.mean, self.logvar)
