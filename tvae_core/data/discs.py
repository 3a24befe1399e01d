"""Discs cut from two photographs, turning: own sequences that are real and lie in every installation."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

from tvae_core.data.own import Sequences

PHOTOGRAPHS = {"flower": ("train", "validation"), "china": ("test",)}  # of scikit-learn, and their splits
REDUCED = 4  # pixels of a photograph, along each side, for one of a frame
VALIDATION = 10  # one in so many discs of the photograph that is trained on
CONTRAST = 30.0  # of 255: the least standard deviation of a disc; sky and shadow look the same however turned


def photograph(name: str) -> UInt8[np.ndarray, "height width 3"]:
    """Return one of scikit-learn's photographs, `china` or `flower`, reduced by REDUCED."""
    return np.asarray(Image.fromarray(load_sample_image(f"{name}.jpg")).reduce(REDUCED))


def turn_discs(
    picture: UInt8[np.ndarray, "height width 3"],
    centres: Float[Tensor, "N 2"],
    frames: int,
    size: int,
) -> UInt8[Tensor, "N S 3 size size"]:
    """Return discs of a picture around centres (row, column), turned counter-clockwise once in S frames.

    Bilinear; black outside the disc.
    """
    place = torch.arange(size) - (size - 1) / 2
    rows, columns = torch.meshgrid(place, place, indexing="ij")
    angles = torch.arange(frames).view(-1, 1, 1) * 2 * torch.pi / frames
    cos, sin = angles.cos(), angles.sin()
    turned = torch.stack([rows * cos + columns * sin, columns * cos - rows * sin], -1)  # (S, size, size, 2)
    height, width = picture.shape[:2]
    found = centres.view(-1, 1, 1, 1, 2) + turned
    grid = (2 * found + 1) / torch.tensor([height, width]) - 1
    values = torch.from_numpy(picture.copy()).float().permute(2, 0, 1).unsqueeze(0)
    flat = grid.flip(-1).reshape(1, -1, size * size, 2)
    sampled = F.grid_sample(values, flat, align_corners=False, padding_mode="border")
    discs = sampled.view(3, len(centres), frames, size, size).permute(1, 2, 0, 3, 4)
    return (discs * (rows.hypot(columns) <= size / 2)).round().to(torch.uint8)


def recolour(discs: UInt8[Tensor, "N S 3 h w"], g: torch.Generator) -> UInt8[Tensor, "N S 3 h w"]:
    """Return discs with their colours in a random order, and half of them, by chance, as negatives."""
    order = torch.rand(len(discs), 3, generator=g).argsort(1).view(-1, 1, 3, 1, 1)
    discs = discs.gather(2, order.expand_as(discs))
    inside = discs.amax((0, 1, 2)) > 0
    negative = torch.rand(len(discs), 1, 1, 1, 1, generator=g) < 0.5
    return torch.where(negative & inside, 255 - discs, discs)


def _places(picture: np.ndarray, n: int, size: int, g: torch.Generator) -> Tensor:
    """Draw n centres of discs that have contrast."""
    room, found = torch.tensor(picture.shape[:2]) - 1 - size, torch.empty(0, 2)
    while len(found) < n:
        drawn = size / 2 + torch.rand(n, 2, generator=g) * room
        inside = turn_discs(picture, drawn, 1, size).float().flatten(3)[:, 0]
        shown = inside[..., (inside > 0).any(0).any(0)]
        found = torch.cat([found, drawn[shown.std(-1).mean(1) > CONTRAST]])
    return found[:n]


def turning_discs(n_train: int = 2000, n_test: int = 300, frames: int = 12, size: int = 20) -> Sequences:
    """Return sequences to train on from one photograph, and to test on from the other.

    Discs lie anywhere in a photograph, and start at any of the angles: factor `rotation`, in S steps. The
    label is the photograph. The colours of one photograph are few, so those of its discs are exchanged
    (recolour). All draws have one seed.
    """
    g = torch.Generator().manual_seed(0)
    parts, labels, split = [], [], []
    for label, (name, splits) in enumerate(PHOTOGRAPHS.items()):
        picture, n = photograph(name), n_train if "train" in splits else n_test
        found = turn_discs(picture, _places(picture, n, size, g), frames, size)
        parts.append(recolour(found, g) if "train" in splits else found)
        labels += [label] * n
        split += [splits[-1] if i % VALIDATION == 0 else splits[0] for i in range(n)]
    x = torch.cat(parts)
    factors = torch.arange(frames).view(1, -1, 1).expand(len(x), -1, 1)
    return Sequences(x, factors, ["rotation"], labels, split=split)
