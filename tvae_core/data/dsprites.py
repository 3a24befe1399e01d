"""The sprites, drawn from formulas or read from the official archive, and sequences of them."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tvae_core.data import dsprites_archive as archive
from tvae_core.data.dsprites_archive import AXES, IMAGE_SIZE, Packed
from tvae_core.data.sequences import SPLITS, Batch, Each, asked
from tvae_core.data.sources import ImageSet
from tvae_core.files import DATA
from tvae_core.validation import check_choice

FACTORS = ("x", "y", "orientation", "scale")
SHAPES = ("square", "ellipse", "heart")
SUBSET = {  # the official indices of the images used, in the archive's order of factors
    "shape": range(3),
    "scale": range(1, 6),
    "orientation": range(0, 30, 2),
    "x": range(0, 30, 2),
    "y": range(0, 30, 2),
}
FACTOR_SIZES = tuple(len(SUBSET[name]) for name in FACTORS)
N_IMAGES = math.prod(map(len, SUBSET.values()))
SPLIT_SEED = 0  # of the split over cycles, whatever the seed of a training
RENDERER = 1  # raise it with any change of a rendered pixel: it enters the identity of runs

# Outlines, in pixels at full scale: the curves that separate the pixels inside and outside in 320 real frames
# of the animation that the dSprites project publishes, turned back to orientation 0 and scale 1. The square's
# edge lies between 9.597 and 9.600 (0.3 · 64 / 2, a pixel centre on it being outside). The heart is the curve
# (16 sin³t, 13 cos t − 5 cos 2t − 2 cos 3t − cos 4t), refitted. Of 1.3 million pixels 10 are wrong.
SQUARE = 9.599
ELLIPSE = (12.766, 7.213)
HEART_X = {1: 7.268, 3: -2.327}  # rightwards: coefficients of sin kt
HEART_Y = {0: 1.523, 1: 8.602, 2: -3.204, 3: -1.285, 4: -0.642}  # upwards: coefficients of cos kt

KEYS = {"official": "dsprites-official", "offline": f"dsprites-rendered-{RENDERER}"}
_OFFICIAL_FILE = f"{KEYS['official']}.npz"
_DIRECTIONS = 1 << 16  # so fine that an outline moves by less than 0.004 pixels from one to the next
_REACH = 14  # pixels: no outline is longer than the square's half diagonal, 13.6
_CHUNK = 2048  # images drawn at a time, which bounds the memory


@cache
def _outlines() -> Float[np.ndarray, "3 directions"]:
    """Pixels from each shape's centre to its outline in every direction, clockwise from the right."""
    angle = (np.arange(_DIRECTIONS) + 0.5) * 2 * np.pi / _DIRECTIONS
    right, down = np.cos(angle), np.sin(angle)
    square = SQUARE / np.maximum(abs(right), abs(down))
    ellipse = 1 / np.hypot(right / ELLIPSE[0], down / ELLIPSE[1])
    t = np.linspace(0, np.pi, 4001)
    x = sum(value * np.sin(k * t) for k, value in HEART_X.items())
    y = sum(value * np.cos(k * t) for k, value in HEART_Y.items())
    heart = np.interp(np.arccos(-down), np.arctan2(x, y), np.hypot(x, y))
    return np.stack([square, ellipse, heart])


def render(shape, scale, orientation, x, y) -> UInt8[np.ndarray, "*batch 64 64"]:
    """Return binary images (…, 64, 64) of the dSprites with these latent indices, whole numbers of shape (…).

    Shape 0, 1, 2 is square, ellipse, heart; scale 0..5 is 0.5 to 1.0; orientation 0..39 turns
    counter-clockwise from 0 to 2π, both included; x and y 0..31 put the centre at 16 to 48 pixels from left
    and top. A pixel is set if its centre lies in the outline. Raises ValueError for other indices or shapes.

    >>> render(shape=[0, 2], scale=[5, 5], orientation=[0, 0], x=[0, 31], y=[0, 31]).sum((1, 2)).tolist()
    [400, 222]
    """
    latents = []
    for (name, size), values in zip(AXES.items(), (shape, scale, orientation, x, y), strict=True):
        values = np.asarray(values)
        if values.dtype.kind not in "iuf":
            raise ValueError(f"{name} is {values.tolist()!r:.60}, but must be indices from 0 to {size - 1}")
        wrong = values[(values < 0) | (values >= size) | (values != np.floor(values))]
        if wrong.size:
            raise ValueError(f"{name} {wrong.flat[0]} is not among the indices 0 to {size - 1}")
        latents.append(values.astype(np.int64))
    batch, latents = latents[0].shape, np.stack(latents).reshape(len(AXES), -1)
    images = np.zeros((latents.shape[1], IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for i in range(0, len(images), _CHUNK):
        _draw(images[i : i + _CHUNK], *latents[:, i : i + _CHUNK])
    return images.reshape(*batch, IMAGE_SIZE, IMAGE_SIZE)


def _draw(images, shape, scale, orientation, x, y) -> None:
    """Set the pixels inside the outlines in black images (N, 64, 64), within a window around each."""
    shape, scale, orientation = (v[:, None, None] for v in (shape, scale, orientation))
    window = np.arange(-_REACH, _REACH + 1)
    centres = [16 + 32 * v / (AXES["x"] - 1) for v in (x, y)]
    columns, rows = (np.floor(c).astype(np.int64)[:, None] + window for c in centres)
    right = (columns + 0.5 - centres[0][:, None])[:, None, :]
    down = (rows + 0.5 - centres[1][:, None])[:, :, None]
    turns = np.arctan2(down, right) / (2 * np.pi) + orientation / (AXES["orientation"] - 1)
    direction = np.floor(turns * _DIRECTIONS).astype(np.int64) % _DIRECTIONS
    inside = np.hypot(right, down) < (0.5 + 0.1 * scale) * _outlines()[shape, direction]
    images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]] = inside


@dataclass(frozen=True)
class Sprites:
    """50,625 images: every shape, scales 1 to 5, and 15 orientations, x and y each, in this order."""

    packed: UInt8[Tensor, "images 512"]  # eight pixels to a byte, the leftmost in the highest bit
    key: str  # enters the identity of every run trained on these images
    source: str  # what a reader of a figure is told

    @property
    def official(self) -> bool:
        """Whether this is the data set of the paper."""
        return self.key == KEYS["official"]


def _draw_subset() -> Packed:
    rows = np.stack(np.meshgrid(*SUBSET.values(), indexing="ij"), -1).reshape(-1, len(SUBSET))
    parts = np.array_split(rows, len(rows) // _CHUNK)
    return np.concatenate([np.packbits(render(*part.T).reshape(len(part), -1), axis=1) for part in parts])


def _key_in(folder: Path) -> str | None:
    kept, whole = folder / _OFFICIAL_FILE, folder / archive.FILE
    there = archive.read_kept(kept, N_IMAGES) is not None or (whole.is_file() and archive.verify(whole))
    return KEYS["official"] if there else None


def _official(folder: Path) -> Sprites:
    kept, whole = folder / _OFFICIAL_FILE, folder / archive.FILE
    packed = archive.keep(kept, N_IMAGES, lambda: archive.read(archive.verify(whole), SUBSET))
    return Sprites(torch.from_numpy(packed), KEYS["official"], "dSprites, official archive (MD5 verified)")


def _rendered(folder: Path) -> Sprites:
    packed = archive.keep(folder / f"{KEYS['offline']}.npz", N_IMAGES, _draw_subset)
    return Sprites(torch.from_numpy(packed), KEYS["offline"], "dSprites, rendered from formulas")


DSPRITES = ImageSet("dSprites", KEYS, lambda: [archive.URL], _key_in, _official, archive.download, _rendered)


def load(source: str = "auto", folder: Path = DATA) -> Sprites:
    """Return the sprites of a source (data.sources).

    `official` is the archive, read from `folder` (laid there by hand, or downloaded); `offline` is drawn by
    render; `auto` is the first of them that can be had. Raises ValueError for an unknown source or another
    archive, OSError if the archive cannot be had.
    """
    return DSPRITES.load(source, folder)


class SpriteSequences:
    """Sequences (B, S, 1, 64, 64) of one split, made as tensors on the device.

    A sequence is one cycle from some start: one of x, y, orientation and scale advances by one value a frame,
    with wrap-around; the shape and the other three stay. x, y and orientation have the official indices
    [0:max_transform_len:2], scale has five. A factor with fewer values than frames goes round more than once.

    The split is over cycles and the same for every training seed: of each factor's cycles a tenth is the
    test split and a twentieth the validation split, where the official code splits nothing off. (To split by
    first image would hold nothing back: a test sequence would be a training sequence from another start.)
    The training split is as long as there are images, so that an epoch has the official number of steps.

    Raises ValueError for an unknown split, and for a max_transform_len that leaves neither n_frames values
    nor a divisor of them.
    """

    factors = varying = cyclic = FACTORS
    image_shape = (1, IMAGE_SIZE, IMAGE_SIZE)

    def __init__(
        self,
        sprites: Sprites,
        split: str,
        n_frames: int = 15,
        max_transform_len: int = 30,
        device: torch.device | str = "cpu",
    ):
        check_choice(split, SPLITS, "split")
        fitting = [n for n in range(1, 31) if n_frames % len(range(0, n, 2)) == 0]
        if max_transform_len not in fitting:
            why = f"which leave {n_frames} values of x, y and orientation or a divisor of {n_frames}"
            raise ValueError(f"max_transform_len is {max_transform_len}, but must be one of {fitting}, {why}")
        values = len(range(0, max_transform_len, 2))
        sizes = (len(SHAPES), values, values, values, FACTOR_SIZES[-1])
        n, self.n_frames = math.prod(sizes), n_frames
        self._len = max(1, n // {"train": 1, "validation": 20, "test": 10}[split])
        self.packed = sprites.packed.to(device)
        self._sizes = torch.tensor(sizes[1:], device=device)
        self._moves = torch.eye(len(FACTORS), dtype=torch.long, device=device)
        self._places = torch.tensor([15, 1, 15**2, 15**3], device=device)
        cycles = [_cycles(split, factor, sizes) for factor in range(len(FACTORS))]
        self._counts = torch.tensor([len(c) for c in cycles], device=device)
        self._firsts = self._counts.cumsum(0) - self._counts
        self._cycles = torch.cat(cycles).to(device)  # (cycles, 5): shape, x, y, orientation, scale

    def __len__(self) -> int:
        return self._len

    @property
    def device(self) -> torch.device:
        """The device on which the sequences are made."""
        return self.packed.device

    def title(self, factor: str) -> str:
        """Name the transformation of sequences that vary a factor."""
        return factor

    def batch(self, index: Int[Tensor, " B"], generator: torch.Generator | None = None) -> Batch:
        """Return the sequences with these numbers; the varied factor and the start are drawn uniformly."""
        varied = torch.randint(len(FACTORS), index.shape, generator=generator, device=self.device)
        return self._sequence(index.to(self.device), varied, generator)

    def sequence(self, index: Each, varied: Each | int, generator: torch.Generator | None = None) -> Batch:
        """Return sequences that vary the named factor each; without generator they start at its value 0.

        A number stands for one cycle of each factor; those beyond the last count from the first. Raises
        ValueError as `asked`.
        """
        return self._sequence(*asked(index, varied, self.device, len(FACTORS), math.inf), generator)

    def _sequence(self, index: Tensor, varied: Tensor, generator: torch.Generator | None) -> Batch:
        cycles = self._cycles[self._firsts[varied] + index % self._counts[varied]]
        steps = torch.arange(self.n_frames, device=self.device).expand(len(index), -1)
        if generator is not None:
            size = FACTOR_SIZES[-1] * self.n_frames  # a multiple of every factor's number of values
            steps = steps + torch.randint(size, (len(index), 1), generator=generator, device=self.device)
        factors = (cycles[:, None, 1:] + steps.unsqueeze(-1) * self._moves[varied].unsqueeze(1)) % self._sizes
        return Batch(self.frames(cycles[:, 0], factors), factors, varied, cycles[:, 0])

    def frames(self, labels: Int[Tensor, " B"], factors: Int[Tensor, "B S 4"]) -> Tensor:
        """Return the images (B, S, 1, 64, 64), 0 or 1, of shapes (B,) with these factor indices."""
        place = (factors * self._places).sum(-1) + labels.unsqueeze(1) * (FACTOR_SIZES[-1] * 15**3)
        bits = torch.arange(7, -1, -1, dtype=torch.uint8, device=self.device)
        return ((self.packed[place].unsqueeze(-1) >> bits) & 1).view(*place.shape, *self.image_shape).float()


def _cycles(split: str, factor: int, sizes: tuple[int, ...]) -> Int[Tensor, "cycles 5"]:
    """The split's cycles of one factor: values of the shape and the four factors, 0 for the varied one."""
    sizes = tuple(1 if axis == 1 + factor else size for axis, size in enumerate(sizes))
    n = math.prod(sizes)
    order = torch.from_numpy(np.random.RandomState(SPLIT_SEED).permutation(n))
    test, validation = max(1, n // 10), max(1, n // 20)
    parts = order.split([test, validation, n - test - validation])
    return torch.stack(torch.unravel_index(parts[SPLITS[::-1].index(split)], sizes), dim=1)
