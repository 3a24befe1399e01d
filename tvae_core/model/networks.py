"""The encoders and the decoder of the paper, a convolutional encoder beside them, and how weights begin."""

import itertools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from tvae_core.model.losses import Gaussian, Images, Latents, at_least_float32


def perceptron(*widths: int) -> nn.Sequential:
    """Return linear layers of these widths with a ReLU between any two, none after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class GaussianEncoder(nn.Module):
    """q(z|x) of each frame: pixels → 3s → 2s → 2s, the last split in mean and log-variance, s = C·D.

    `mean` and `logvar` are added to the initial biases of the two: the posterior begins there.
    """

    def __init__(
        self, image_shape: tuple[int, ...], capsules: int, units: int, mean: float = 0.0, logvar: float = 0.0
    ):
        super().__init__()
        s = capsules * units
        self.capsules, self.units = capsules, units
        self.layers = perceptron(torch.Size(image_shape).numel(), 3 * s, 2 * s, 2 * s)
        with torch.no_grad():
            self.layers[-1].bias += torch.tensor([mean, logvar]).repeat_interleave(s)

    def forward(self, x: Images) -> Gaussian:
        """Return the posterior of each frame by itself."""
        h = at_least_float32(self.layers(x.flatten(2).to(self.layers[0].weight.dtype)))
        return Gaussian(*h.unflatten(-1, (2, self.capsules, self.units)).unbind(2))


class ConvolutionalEncoder(nn.Module):
    """q(z|x) of each frame by three convolutions of stride 2 and a linear layer.

    It is not in the paper: an example of another encoder. One of your own has these arguments, which are
    those of GaussianEncoder, and this result, and gets a line in ENCODERS.
    """

    def __init__(
        self, image_shape: tuple[int, ...], capsules: int, units: int, mean: float = 0.0, logvar: float = 0.0
    ):
        super().__init__()
        channels, *size = image_shape
        layers: list[nn.Module] = []
        for width in (32, 64, 64):
            layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
            channels, size = width, [(side + 1) // 2 for side in size]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(channels * size[0] * size[1], 2 * capsules * units)
        self.shape = 2, capsules, units
        with torch.no_grad():
            self.last.bias += torch.tensor([mean, logvar]).repeat_interleave(capsules * units)

    def forward(self, x: Images) -> Gaussian:
        """Return the posterior of each frame by itself."""
        b, s = x.shape[:2]
        h = self.layers(x.flatten(0, 1).to(self.last.weight.dtype)).flatten(1)
        return Gaussian(*at_least_float32(self.last(h)).view(b, s, *self.shape).unbind(2))


# By the option `encoder` of an experiment.
ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "perceptron": GaussianEncoder,
    "convolutional": ConvolutionalEncoder,
}


class Decoder(nn.Module):
    """g: t → logits of each frame, s → 2s → 3s → pixels, with s = C·D.

    The last layer has one bias for each colour channel, not for each pixel, as the parameter counts of the
    official models have it. The first layer reads (t - centre) / spread: the same functions with another
    first layer, but a better place to train from, since the mean of t is ten times larger than the part of t
    that depends on the frame. In the paper they are 0 and 1.
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

    def forward(self, t: Latents) -> Images:
        """Return the logits of each frame by itself."""
        bias = self.channel_bias.repeat_interleave(self.image_shape[1] * self.image_shape[2])
        t = t.to(self.last.weight.dtype)
        h = self.layers(((t - self.centre) / self.spread).flatten(2))
        return at_least_float32(F.linear(h, self.last.weight, bias)).unflatten(-1, self.image_shape)


def he_init(network: nn.Module) -> None:
    """Draw anew the weights of every layer before a ReLU: uniform, of variance 2 / inputs.

    PyTorch's default has a sixth of it, so the outputs of a new network dwindle from layer to layer (He et
    al. 2015, equation 10). The paper has the defaults; scales other than `paper` have this.
    """
    leaves = [module for module in network.modules() if not any(module.children())]
    for layer, after in itertools.pairwise(leaves):
        if isinstance(layer, nn.Linear | nn.Conv2d) and isinstance(after, nn.ReLU):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")


def conv_transpose_init(decoder: Decoder) -> None:
    """Draw a decoder's weights and biases as PyTorch draws those of the official ConvTranspose2d layers.

    All are uniform up to 1 / sqrt(output channels · kernel²), here 1 / sqrt(outputs) of the linear layer; a
    linear layer's own default is 1 / sqrt(inputs).
    """
    for layer in decoder.modules():
        if isinstance(layer, nn.Linear):
            bound = layer.out_features**-0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            nn.init.uniform_(decoder.channel_bias if layer.bias is None else layer.bias, -bound, bound)
