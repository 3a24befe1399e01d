"""A training step as one would first write it down, which `tvae bench` compares the library's with.

Each frame of each sequence is warped by itself, W is a padded convolution, and Adam updates one tensor at a
time. It computes what the library computes; tests/benchmark holds the two together.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from tvae_core.data.kinds import SplitSequences
from tvae_core.data.mnist import DigitSequences
from tvae_core.data.own_sequences import OwnSequences
from tvae_core.data.sequences import Batch
from tvae_core.data.warps import DEGREES, HUES, SIZES
from tvae_core.model.grouper import Grouper
from tvae_core.model.losses import gaussian_kl, negative_log_likelihood
from tvae_core.model.tvae import TVAE
from tvae_core.training.learner import Learner


def literal_frame(digit: Float[Tensor, "1 h w"], rotation: int, hue: int, scale: int) -> Tensor:
    """Turn, scale and recolour one red digit with torchvision, (3, h, w), by the indices of its factors."""
    red = torch.cat([digit, torch.zeros_like(digit), torch.zeros_like(digit)])
    turned = vision.affine(
        red, -DEGREES[rotation], [0, 0], SIZES[scale], [0.0, 0.0], InterpolationMode.BILINEAR
    )
    return vision.adjust_hue(turned, (HUES[hue] - 180) / 360)


def literal_frames(
    sequences: SplitSequences, index: Int[Tensor, " B"], batch: Batch
) -> Float[Tensor, "B S ch h w"]:
    """Make the frames of a batch again, one by one; those of your own are there.

    MNIST: sequences of a single factor, or grey digits.
    """
    if isinstance(sequences, OwnSequences):
        return batch.x
    made = []
    for i, label, factors in zip(index, batch.labels, batch.factors, strict=True):
        for frame in factors:
            if isinstance(sequences, DigitSequences):
                digit = sequences.images[i].unsqueeze(0) / 255
                grey = sequences.kind == "grey"
                made.append(digit if grey else literal_frame(digit, *frame.tolist()))
            else:
                made.append(sequences.frames(label.view(1), frame.view(1, 1, -1))[0, 0])
    return torch.stack(made).unflatten(0, (len(index), -1))


def literal_energy(grouper: Grouper, u: Float[Tensor, "B S C D"]) -> Float[Tensor, "B S C D"]:
    """Return v = W u² of a circular neighbourhood of two axes, as a padded 3-D convolution over (C, S, D).

    The axes are frames and units, or the rows and columns of a torus without time.
    """
    s, d = grouper.capsule if grouper.frames == 1 else (grouper.frames, *grouper.capsule)
    # the row of W at the middle site, seen as an image, is the kernel
    kernel = grouper.fixed[0].view(s, d, s, d)[s // 2, d // 2]
    grid = u.square().transpose(1, 2).unflatten(-1, (-1, d)).reshape(len(u), 1, -1, s, d)
    around = (d // 2, d - 1 - d // 2, s // 2, s - 1 - s // 2, 0, 0)
    padded = F.pad(grid, around, mode="circular")
    v = F.conv3d(padded, kernel.view(1, 1, 1, s, d)).squeeze(1)  # (B, C, S, D)
    return v.reshape(u.transpose(1, 2).shape).transpose(1, 2)


def literal_loss(model: TVAE, x: Float[Tensor, "B S ch h w"], likelihood: str) -> Float[Tensor, ""]:
    """Return the negative ELBO, mean over frames, in nats."""
    q_z, q_u = model.encode(x)
    z, kl = q_z.mean + torch.exp(q_z.logvar / 2) * torch.randn_like(q_z.mean), q_z.kl()
    if q_u:
        u = q_u.mean + torch.exp(q_u.logvar / 2) * torch.randn_like(q_u.mean)
        v = literal_energy(model.grouper, u)
        z, kl = (z + model.grouper.mu) / torch.sqrt(v + model.grouper.eps), kl + gaussian_kl(*q_u)
    return (negative_log_likelihood(model.decoder(z), x, likelihood) + kl).mean()


def literal_step(learner: Learner) -> Callable[[], None]:
    """Return a step on the learner's next batch, data included, in float32."""
    model, sequences, index = learner.model, learner.data.train, learner.members()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, foreach=False)

    def step() -> None:
        x = literal_frames(sequences, index, sequences.batch(index))
        optimizer.zero_grad()
        literal_loss(model, x, learner.exp.likelihood).backward()
        optimizer.step()

    return step
