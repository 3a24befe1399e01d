"""The sprites: drawn from formulas or read from the official archive, and the sequences that move them."""

import contextlib
import hashlib
import logging
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tvae_core.data.dsprites_archive import AXES, FILE, IMAGE_SIZE, URL, download, read, verify
from tvae_core.data.sequences import SPLITS, Batch
from tvae_core.data.sources import ImageSet
from tvae_core.files import DATA, atomic
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

# Outlines, in pixels at full scale. Found by turning the pixel centres of 320 real frames, taken from
# the animation that the dSprites project publishes, back to orientation 0 and scale 1: pixels inside
# and outside then separate along one curve. The square's edge lies between 9.597 and 9.600 (0.3 · 64 / 2,
# a pixel centre exactly on it being outside). The heart is the well-known curve (16 sin³t,
# 13 cos t − 5 cos 2t − 2 cos 3t − cos 4t) with free coefficients. Of 1.3 million pixels 10 come out wrong.
SQUARE = 9.599
ELLIPSE = (12.766, 7.213)
HEART_X = {1: 7.268, 3: -2.327}  # rightwards: coefficients of sin kt
HEART_Y = {0: 1.523, 1: 8.602, 2: -3.204, 3: -1.285, 4: -0.642}  # upwards: coefficients of cos kt

KEYS = {"official": "dsprites-official", "offline": f"dsprites-rendered-{RENDERER}"}
_OFFICIAL_FILE = f"{KEYS['official']}.npz"
_DIRECTIONS = 1 << 16  # so fine that an outline moves by less than 0.004 pixels from one to the next
_REACH = 14  # pixels: no outline is longer than the square's half diagonal, 13.6
_CHUNK = 2048  # images drawn at a time, which bounds the memory

log = logging.getLogger("tvae_core")


@cache
def _outlines() -> Float[np.ndarray, "3 directions"]:
    """Pixels from a shape's centre to its outline in every direction, clockwise from the right."""
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
    """Binary images (…, 64, 64) of the dSprites with these latent indices, integer arrays (…) of equal shape.

    Shape 0, 1, 2 is square, ellipse, heart; scale 0..5 is 0.5 to 1.0; orientation 0..39 turns
    counter-clockwise from 0 to 2π, both included; x and y 0..31 put the centre at 16 to 48 pixels from the
    left and the top. A pixel is set if its centre lies inside the outline. Raises ValueError for an index
    out of range.
    """
    latents = []
    for (name, size), values in zip(AXES.items(), (shape, scale, orientation, x, y), strict=True):
        values = np.asarray(values)
        wrong = values[(values < 0) | (values >= size) | (values != np.floor(values))]
        if wrong.size:
            raise ValueError(f"{name} {wrong.flat[0]} is not among the indices 0 to {size - 1}")
        latents.append(values.astype(np.int64))
    batch = latents[0].shape
    latents = np.stack(latents).reshape(len(AXES), -1)
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
        """Whether this is the data set of the paper, not what stands in for it offline."""
        return self.key == KEYS["official"]


def _draw_subset() -> UInt8[np.ndarray, "images 512"]:
    grids = np.meshgrid(*SUBSET.values(), indexing="ij")
    rows = np.stack([axis.ravel() for axis in grids], axis=1)
    parts = np.array_split(rows, len(rows) // _CHUNK)
    drawn = (render(*part.T).reshape(len(part), -1) for part in parts)
    return np.concatenate([np.packbits(images, axis=1) for images in drawn])


def _digest(packed: np.ndarray) -> str:
    return hashlib.sha256(packed.tobytes()).hexdigest()


def _read_cache(path: Path) -> np.ndarray | None:
    """The images in a file that `_cached` wrote; None if there is none or it is damaged (logged)."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            packed, digest = file["packed"], str(file["sha256"])
        if packed.shape == (N_IMAGES, IMAGE_SIZE**2 // 8) and digest == _digest(packed):
            return packed
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        log.debug("%s: %s", path, error)
    log.warning("%s is damaged: it is made anew", path)
    return None


def _cached(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The images in a file, made and written by the first who asks; a read-only folder is no obstacle."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    writable = os.access(path.parent, os.W_OK)
    with FileLock(path.with_suffix(".lock")) if writable else contextlib.nullcontext():
        packed = _read_cache(path)
        if packed is None:
            packed = make()
            try:
                with atomic(path) as unfinished:
                    np.savez(unfinished, packed=packed, sha256=_digest(packed))
            except OSError as error:
                log.warning("%s could not be written: %s", path, error)
    return packed


def _key_in(folder: Path) -> str | None:
    if _read_cache(folder / _OFFICIAL_FILE) is None:
        if not (folder / FILE).is_file():
            return None
        verify(folder / FILE)
    return KEYS["official"]


def _official(folder: Path) -> Sprites:
    packed = _cached(folder / _OFFICIAL_FILE, lambda: read(verify(folder / FILE), SUBSET))
    return Sprites(torch.from_numpy(packed), KEYS["official"], "dSprites, official archive (MD5 verified)")


def _rendered(folder: Path) -> Sprites:
    packed = _cached(folder / f"{KEYS['offline']}.npz", _draw_subset)
    return Sprites(torch.from_numpy(packed), KEYS["offline"], "dSprites, rendered from formulas")


DSPRITES = ImageSet("dSprites", KEYS, lambda: [URL], _key_in, _official, download, _rendered)


def load(source: str = "auto", folder: Path = DATA) -> Sprites:
    """Return the sprites of a source (data.sources).

    `official` is the archive, read from `folder` (put it there by hand on an isolated machine) or downloaded
    into it; `offline` is drawn (render); the part that is used is kept in the folder too. `auto` is the first
    of the two that can be had. Raises ValueError for an unknown source or another archive, OSError if
    the archive cannot be had.
    """
    return DSPRITES.load(source, folder)


class SpriteSequences:
    """Sequences (B, S, 1, 64, 64) of one split, made as tensors on the device.

    A sequence is one cycle from some start: which of x, y, orientation and scale advances by one value a
    frame, with wrap-around, and the values of the shape and of the other three, which stay. x, y and
    orientation have the official indices [0:max_transform_len:2], scale has five; a factor with fewer
    values than there are frames goes round more than once.

    The split is over cycles and the same for every training seed: of each factor's cycles a tenth is the
    test split and a twentieth the validation split. The official code splits nothing off. Splitting by
    first image would not do: every test sequence would be a training sequence from another start. `len` is
    the number of images for the training split, so that an epoch has the official number of steps, and a
    tenth and a twentieth of it for the other two.

    Raises ValueError for an unknown split, and for a max_transform_len that leaves neither n_frames
    values nor a divisor of them.
    """

    factors = FACTORS
    varying = FACTORS
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
            raise ValueError(
                f"max_transform_len is {max_transform_len}, but must be one of {fitting}, which leave "
                f"{n_frames} values of x, y and orientation or a divisor of {n_frames} (n_transforms)"
            )
        values, scales = len(range(0, max_transform_len, 2)), FACTOR_SIZES[-1]
        self.n_frames = n_frames
        self.packed = sprites.packed.to(device)
        self._sizes = torch.tensor([values, values, values, scales], device=device)
        self._moves = torch.eye(len(FACTORS), dtype=torch.long, device=device)
        self._places = torch.tensor([15, 1, 15**2, 15**3], device=device)
        images = len(SHAPES) * values**3 * scales
        self._len = {"train": images, **_held_out(images)}[split]
        cycles = [_cycles(split, factor, (len(SHAPES), *self._sizes.tolist())) for factor in range(4)]
        self._counts = torch.tensor([len(c) for c in cycles], device=device)
        self._firsts = self._counts.cumsum(0) - self._counts
        self._cycles = torch.cat(cycles).to(device)  # (cycles, 5): shape, x, y, orientation, scale

    def __len__(self) -> int:
        return self._len

    @property
    def device(self) -> torch.device:
        """Where the sequences are made."""
        return self.packed.device

    def batch(self, index: Int[Tensor, " B"], generator: torch.Generator | None = None) -> Batch:
        """Return the sequences with these numbers; the varied factor and the start are drawn.

        The four factors are equally likely, and then every start of the cycle is.
        """
        varied = torch.randint(len(FACTORS), index.shape, generator=generator, device=self.device)
        return self.sequence(index, varied, generator)

    def sequence(
        self,
        index: Int[Tensor, " B"],
        varied: Int[Tensor, " B"] | int,
        generator: torch.Generator | None = None,
    ) -> Batch:
        """Return sequences that vary the named factor each; without generator they start at its value 0.

        A number stands for one cycle of each factor; numbers beyond the last cycle count from the first.
        """
        index = index.to(self.device)
        varied = torch.as_tensor(varied, device=self.device).expand(len(index))
        cycles = self._cycles[self._firsts[varied] + index % self._counts[varied]]
        steps = torch.arange(self.n_frames, device=self.device).expand(len(index), -1)
        if generator is not None:
            size = FACTOR_SIZES[-1] * self.n_frames  # a multiple of every factor's number of values
            start = torch.randint(size, (len(index), 1), generator=generator, device=self.device)
            steps = steps + start
        moved = steps.unsqueeze(-1) * self._moves[varied].unsqueeze(1)
        factors = (cycles[:, None, 1:] + moved) % self._sizes
        return Batch(self.frames(cycles[:, 0], factors), factors, varied, cycles[:, 0])

    def frames(self, labels: Int[Tensor, " B"], factors: Int[Tensor, "B S 4"]) -> Tensor:
        """Return the images (B, S, 1, 64, 64), 0 or 1, of shapes (B,) with these factor indices."""
        place = (factors * self._places).sum(-1) + labels.unsqueeze(1) * (FACTOR_SIZES[-1] * 15**3)
        bits = torch.arange(7, -1, -1, dtype=torch.uint8, device=self.device)
        pixels = (self.packed[place].unsqueeze(-1) >> bits) & 1
        return pixels.view(*place.shape, *self.image_shape).float()


def _held_out(n: int) -> dict[str, int]:
    """How many of n are the test and the validation split, at least one each."""
    return {"test": max(1, n // 10), "validation": max(1, n // 20)}


def _cycles(split: str, factor: int, sizes: tuple[int, ...]) -> Int[Tensor, "cycles 5"]:
    """The split's cycles of one factor: values of the shape and the four factors, 0 for the varied one."""
    sizes = tuple(1 if axis == 1 + factor else size for axis, size in enumerate(sizes))
    n = math.prod(sizes)
    order = torch.from_numpy(np.random.RandomState(SPLIT_SEED).permutation(n))
    held_out = _held_out(n)
    parts = order.split([*held_out.values(), n - sum(held_out.values())])
    chosen = dict(zip((*held_out, "train"), parts, strict=True))[split]
    return torch.stack(torch.unravel_index(chosen, sizes), dim=1)
