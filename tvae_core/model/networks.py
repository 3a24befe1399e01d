"""The 3-layer perceptrons of the paper, and the Gaussian posterior an encoder's output stands for."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tvae_core.model.losses import Gaussian, at_least_float32


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them, none after the last (PyTorch's default init)."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def he_init(network: nn.Module) -> None:
    """Draw anew the weights of every linear layer that a ReLU follows: uniform, of variance 2 / inputs.

    PyTorch's own default has a sixth of it, so that what a new network passes on dwindles from layer to
    layer (He et al. 2015, equation 10).
    """
    leaves = [module for module in network.modules() if not any(module.children())]
    for layer, after in itertools.pairwise(leaves):
        if isinstance(layer, nn.Linear) and isinstance(after, nn.ReLU):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")


class GaussianEncoder(nn.Module):
    """q(z|x): pixels → 3s → 2s → 2s, the last split in mean and log-variance, with s = C·D.

    `mean` and `logvar` are added to the initial biases of the two: where the posterior begins.
    """

    def __init__(self, pixels: int, capsules: int, units: int, mean: float = 0.0, logvar: float = 0.0):
        super().__init__()
        s = capsules * units
        self.capsules, self.units = capsules, units
        self.layers = perceptron(pixels, 3 * s, 2 * s, 2 * s)
        with torch.no_grad():
            self.layers[-1].bias += torch.tensor([mean, logvar]).repeat_interleave(s)

    def forward(self, x: Float[Tensor, "B S ch h w"]) -> Gaussian:
        """Each frame by itself: (B, S, channels, height, width) → mean and log-variance (B, S, C, D)."""
        h = at_least_float32(self.layers(x.flatten(2).to(self.layers[0].weight.dtype)))
        return Gaussian(*h.unflatten(-1, (2, self.capsules, self.units)).unbind(2))


class Decoder(nn.Module):
    """g: t → logits, s → 2s → 3s → pixels, with s = C·D.

    The last layer has one bias for each colour channel, not for each pixel: the reading that agrees with
    the parameter counts of the official models. t is read as (t - centre) / spread, which
    is the same family of functions with another first layer: a better place to train from, since the mean
    of t is an order of magnitude larger than what t says about the frame. As it is (0 and 1) in the paper.
    """

    def __init__(
        self,
        capsules: int,
        units: int,
        image_shape: tuple[int, int, int],
        centre: float = 0.0,
        spread: float = 1.0,
    ):
        super().__init__()
        s, self.image_shape = capsules * units, image_shape
        self.centre, self.spread = centre, spread
        self.layers = nn.Sequential(perceptron(s, 2 * s, 3 * s), nn.ReLU())
        self.last = nn.Linear(3 * s, torch.Size(image_shape).numel(), bias=False)
        bound = (3 * s) ** -0.5  # PyTorch's default for a bias of this layer
        self.channel_bias = nn.Parameter(torch.empty(image_shape[0]).uniform_(-bound, bound))

    def forward(self, t: Float[Tensor, "B S C D"]) -> Float[Tensor, "B S ch h w"]:
        """Frame by frame: (B, S, C, D) → logits (B, S, channels, height, width)."""
        bias = self.channel_bias.repeat_interleave(self.image_shape[1] * self.image_shape[2])
        h = self.layers(((t - self.centre) / self.spread).flatten(2))
        return at_least_float32(F.linear(h, self.last.weight, bias)).unflatten(-1, self.image_shape)


def conv_transpose_init(decoder: Decoder) -> None:
    """Draw a decoder's weights and biases as PyTorch draws those of the official ConvTranspose2d layers.

    All are uniform up to 1 / sqrt(output channels · kernel²), which is 1 / sqrt(outputs) of the linear layer
    that stands for it here; a linear layer's own default is 1 / sqrt(inputs).
    """
    layers = [layer for layer in decoder.modules() if isinstance(layer, nn.Linear)]
    for layer in layers:
        bound = layer.out_features**-0.5
        nn.init.uniform_(layer.weight, -bound, bound)
        nn.init.uniform_(decoder.channel_bias if layer.bias is None else layer.bias, -bound, bound)
