"""Your own sequences: the contract that they keep, and where they are stored."""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tvae_core.data.sequences import SPLITS, to_tensor
from tvae_core.files import DATA, write_atomically
from tvae_core.validation import check_choice

LEAST_FRAMES = 3  # so that the last one can be held out from a window of the others
KEYS = ("x", "factors", "names", "labels", "closed", "split")  # of an .npz file
SPLIT_SEED = 0  # of the split, whatever the seed of a training


@dataclass(frozen=True, eq=False)
class Sequences:
    """N sequences of S frames, and what is known of them.

    x: (N, S, channels, height, width), uint8 or a float in [0, 1]; 1 channel (grey) or 3 (red, green, blue).
    uint8 stays uint8, on the device too, and is divided by 255 when a batch is made.
    factors: (N, S, F), the index of each factor's value in each frame, whole numbers from 0. names: of the F
    factors. labels: (N,), whole numbers, such as the object that is seen.
    closed: whether the first frame follows on the last one, as in a full turn.
    split: (N,), for each sequence `train`, `validation` or `test`. Splits that it does not name are drawn
    from the sequences to train on, with one seed for all trainings: a tenth for test, a twentieth for
    validation.

    Arrays of numpy, tensors and lists are taken. Raises ValueError, naming the shape or the value and what is
    allowed.

    >>> moving = np.eye(8, dtype=np.uint8).reshape(8, 1, 1, 8) * 255  # a bright pixel that moves on
    >>> sequences = Sequences(np.stack([moving] * 20), closed=False)
    >>> sequences.x.shape, len(sequences.members("train")), len(sequences.members("test"))
    (torch.Size([20, 8, 1, 1, 8]), 17, 2)
    """

    x: Any
    factors: Any = None
    names: Any = ()
    labels: Any = None
    closed: Any = True  # kept as bool
    split: Any = None

    def __post_init__(self):
        x = _pixels(self.x)
        factors, names, labels = check_known(x.shape[:2], self.factors, self.names, self.labels)
        closed = np.asarray(self.closed)
        if closed.size != 1 or closed.dtype.kind not in "biu":
            raise ValueError(f"closed is {self.closed!r}, but must be True or False")
        self._set(labelled=self.labels is not None)  # labels that are all 0 may be given too
        self._set(x=x, factors=factors, names=names, labels=labels, closed=bool(closed))
        self._set(split=self._splits())

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _splits(self) -> tuple[str, ...]:
        n = len(self.x)
        given = self.split is not None
        split = np.array(self.split if given else ["train"] * n, dtype="<U10").reshape(-1)
        if len(split) != n:
            raise ValueError(f"split has {len(split)} entries, but there are {n} sequences")
        for name in np.unique(split):
            check_choice(str(name), SPLITS, "split")
        order = np.random.RandomState(SPLIT_SEED).permutation(n)
        for name, share in (("test", 10), ("validation", 20)):
            left = order[split[order] == "train"]
            if name not in split:
                split[left[: max(1, len(left) // share)]] = name
        if "train" not in split:
            raise ValueError(
                f"{n} sequences leave none to train on; at least 3 are needed, one for each split"
            )
        return tuple(split.tolist())

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a frame."""
        return tuple(self.x.shape[2:])

    @cached_property
    def key(self) -> str:
        """A digest of all of it, which enters the identity of every run trained on these sequences."""
        digest = hashlib.sha256(repr((self.names, self.closed, self.split)).encode())
        for tensor in (self.x, self.factors, self.labels):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().view(-1).numpy())
        return f"own-{digest.hexdigest()[:12]}"

    @property
    def source(self) -> str:
        """What a reader of a figure is told."""
        n, s, *frame = self.x.shape
        return f"{n:,} own sequences of {s} frames of {' × '.join(map(str, frame))} ({self.key})"

    def check(self, frames: int, frame_shape: tuple[int, ...], closed: bool) -> None:
        """Raise ValueError, naming the option, if an experiment's options are not those of the sequences."""
        own = {"n_transforms": self.x.shape[1], "frame_shape": self.frame_shape, "closed": self.closed}
        for (option, value), asked in zip(own.items(), (frames, frame_shape, closed), strict=True):
            if asked != value:
                raise ValueError(f"{option} is {asked}, but the sequences {self.key} have {value}")

    def members(self, split: str) -> Int[Tensor, " n"]:
        """Return the places of the sequences of a split."""
        chosen = np.array(self.split) == check_choice(split, SPLITS, "split")
        return torch.from_numpy(np.flatnonzero(chosen))

    @cached_property
    def changes(self) -> Bool[Tensor, "N F"]:
        """Which factors change within each sequence."""
        return (self.factors != self.factors[:, :1]).any(1)

    def describe(self) -> dict[str, object]:
        """Return what was understood: shapes, split, factors, and the bytes on the device."""
        counts = [len(self.factors[..., f].unique()) for f in range(len(self.names))]
        return {
            "N, S, channels, height, width": list(self.x.shape),
            "pixels": f"{self.x.numpy().dtype}, {self.x.min().item():g} to {self.x.max().item():g}",
            "closed": self.closed,
            "split": {name: self.split.count(name) for name in SPLITS},
            "values of factors": dict(zip(self.names, counts, strict=True)),
            "sequences that change them": dict(zip(self.names, self.changes.sum(0).tolist(), strict=True)),
            "labels": len(self.labels.unique()),
            "megabytes on the device": round(self.x.numel() * self.x.element_size() / 1e6, 1),
        }

    def save(self, folder: Path = DATA) -> Path:
        """Write the sequences where every run trained on them will look for them, unless they lie there."""
        path = stored_at(self.key, folder)
        if not path.is_file():
            arrays = {key: np.asarray(getattr(self, key)) for key in KEYS}
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, buffer.getvalue())
        return path


def _pixels(x: object) -> Tensor:
    """The pixels as uint8 or float32."""
    x = to_tensor("x", x).contiguous()
    shape, must = tuple(x.shape), "but must be (N, S, channels, height, width)"
    if x.ndim != 5:
        grey = "; grey frames need an axis for their one channel: x[:, :, None]" * (x.ndim == 4)
        raise ValueError(f"x has shape {shape}, {must}{grey}")
    if shape[2] not in (1, 3) or not x.numel():
        last = "; the channels come before height and width" * (shape[-1] in (1, 3))
        raise ValueError(f"x has shape {shape}, {must} with 1 channel (grey) or 3 (red, green, blue){last}")
    if shape[1] < LEAST_FRAMES:
        raise ValueError(f"x has {shape[1]} frames a sequence, but must have at least {LEAST_FRAMES}")
    if x.dtype == torch.bool:
        return x.to(torch.uint8) * 255
    if x.dtype == torch.uint8:
        return x
    if not x.is_floating_point():
        raise ValueError(f"x is of type {x.dtype}, but must be uint8, or a float in [0, 1]")
    if not x.isfinite().all():
        raise ValueError("x holds nan or infinity, but its values must lie in [0, 1]")
    low, high = x.min().item(), x.max().item()
    if low < 0 or high > 1:
        bytes_ = "; values up to 255 belong in uint8" * (1 < high <= 255 and low >= 0)
        raise ValueError(f"x lies in [{low:g}, {high:g}], but must lie in [0, 1]{bytes_}")
    return x.float()


def check_known(
    shape: Sequence[int], factors: object, names: object, labels: object
) -> tuple[Int[Tensor, "N S F"], tuple[str, ...], Int[Tensor, " N"]]:
    """Return factors, a name for each, and labels, of N sequences of S frames; ValueError for others."""
    n, s = shape
    factors = _whole(factors, "factors", (n, s, None), np.zeros((n, s, 0)))
    names = tuple(str(name) for name in np.asarray(names, str).reshape(-1))
    names = names or tuple(f"factor{i + 1}" for i in range(factors.shape[2]))
    if len(names) != factors.shape[2] or len(set(names)) != len(names) or any("/" in k for k in names):
        raise ValueError(f"names are {names}, but there must be {factors.shape[2]} different ones without /")
    return factors, names, _whole(labels, "labels", (n,), np.zeros(n))


def _whole(values: object, what: str, shape: tuple[int | None, ...], default: np.ndarray) -> Tensor:
    """Whole numbers from 0 of this shape, where None is any length."""
    array = default if values is None else np.asarray(values)
    fits = len(array.shape) == len(shape) and all(
        b in (None, a) for a, b in zip(array.shape, shape, strict=True)
    )
    if not fits:
        wanted = str(shape).replace("None", "F")
        raise ValueError(f"{what} has shape {array.shape}, but must have {wanted} to go with x")
    if array.size and (array.dtype.kind not in "biuf" or (array != np.floor(array)).any() or array.min() < 0):
        raise ValueError(f"{what} must hold whole numbers from 0 on")
    return torch.from_numpy(np.ascontiguousarray(array.astype(np.int64)))


def stored_at(key: str, folder: Path = DATA) -> Path:
    """Return the file of the sequences with this key."""
    return folder / "sequences" / f"{key}.npz"


def load(key: str, folder: Path = DATA) -> Sequences:
    """Return the stored sequences with this key; OSError if they are not there, or not what was stored."""
    path = stored_at(key, folder)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: give the sequences of this run once more (--sequences)"
        )
    stat = path.stat()
    return _load(path, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=2)
def _load(path: Path, stamp: tuple[int, int]) -> Sequences:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = Sequences(**{key: file[key] for key in KEYS})
    except Exception as error:  # zip, header and numbers fail with errors of many types
        raise OSError(f"{path} is damaged ({error})") from error
    if found.key != path.stem:
        raise OSError(f"{path} is damaged: its contents do not have the digest that names it")
    return found


@dataclass(frozen=True)
class OwnSet:
    """Stored sequences in the place of a data set that is downloaded (sources.ImageSet)."""

    key: str
    name: ClassVar[str] = "own sequences"

    def source_of(self, key: str) -> str:
        """Return `own`, the only source there is."""
        return "own"

    def find(self, source: str, folder: Path) -> tuple[str, str]:
        """Return the source and the key."""
        return "own", self.key

    def load(self, source: str, folder: Path) -> Sequences:
        """Return the sequences; OSError if they are not there."""
        return load(self.key, folder)
