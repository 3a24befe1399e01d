"""The sequences of one split of your own, made as tensors on the device."""

import itertools
import math
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tvae_core.data.own import Sequences
from tvae_core.data.sequences import Batch, asked

TIME = "time"  # the factor of sequences in which no known factor changes: the place of each frame


@lru_cache(maxsize=4)
def _on(sequences: Sequences, device: torch.device) -> Tensor:
    """The frames on a device, one copy for all splits."""
    return sequences.x.to(device)


class OwnSequences:
    """Sequences (B, S, channels, height, width) of one split of your own, made as tensors on the device.

    Closed sequences that are drawn with a generator start at any frame. The varied factor of a sequence is
    the first of its factors that changes, or, where none does, `time`: the place of each frame. The factors
    that some sequence of the split varies come first in a batch's `factors`. CapCorr is defined for those
    that advance by one value a frame, and after the last come to the first: `cyclic`.
    """

    def __init__(self, sequences: Sequences, split: str, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.closed, chosen = sequences.closed, sequences.members(split)
        self.x = _on(sequences, self.device)
        s, changes = sequences.x.shape[1], sequences.changes[chosen]
        time = torch.arange(s).expand(len(chosen), s).unsqueeze(2)
        tracks = torch.cat([sequences.factors[chosen], time], 2)
        leading = torch.where(
            changes.any(1), changes.int().argmax(1) if changes.shape[1] else 0, changes.shape[1]
        )
        varying = leading.unique().tolist()
        names = [*sequences.names, TIME]
        order = varying + [f for f in range(len(sequences.names)) if f not in varying]
        self.factors, self.varying = [names[f] for f in order], tuple(names[f] for f in varying)
        self._titles = {names[f]: _title(names, f, changes[leading == f]) for f in varying}
        varied = torch.tensor([varying.index(f) for f in leading.tolist()])
        walk = [self.closed and _walks(tracks[varied == i, :, f]) for i, f in enumerate(varying)]
        self.cyclic = tuple(itertools.compress(self.varying, walk))
        self._by_factor = torch.argsort(varied, stable=True).to(device)
        self._counts = torch.bincount(varied).to(device)
        self._firsts = self._counts.cumsum(0) - self._counts
        self._places, self._varied = chosen.to(device), varied.to(device)
        self._tracks, self.labels = tracks[:, :, order].to(device), sequences.labels[chosen].to(device)

    def __len__(self) -> int:
        return len(self._places)

    def title(self, factor: str) -> str:
        """Name the transformation of sequences that vary a factor, which may bring others along."""
        return self._titles[factor]

    def batch(self, index: Int[Tensor, " B"], generator: torch.Generator | None = None) -> Batch:
        """Return the sequences with these numbers; closed ones start at a frame drawn from the generator."""
        index = index.to(self.device)
        steps = torch.arange(self.x.shape[1], device=self.device).expand(len(index), -1)
        if generator is not None and self.closed:
            start = (len(index), 1)
            steps = steps + torch.randint(self.x.shape[1], start, generator=generator, device=self.device)
        steps = steps % self.x.shape[1]
        return Batch(
            self.frames(index, steps),
            self._tracks[index.unsqueeze(1), steps],
            self._varied[index],
            self.labels[index],
        )

    def frames(self, index: Int[Tensor, " B"], steps: Int[Tensor, "B S"]) -> Float[Tensor, "B S ch h w"]:
        """Return frames in [0, 1] of the sequences with these numbers."""
        x = self.x[self._places[index].unsqueeze(1), steps]
        return x.float() / 255 if x.dtype == torch.uint8 else x

    def sequence(
        self,
        index: Int[Tensor, " B"],
        varied: Int[Tensor, " B"] | int,
        generator: torch.Generator | None = None,
    ) -> Batch:
        """Return sequences that vary the named factor each; without generator they start where they start.

        Numbers beyond the last sequence of a factor count from the first. Raises ValueError as `asked`.
        """
        index, varied = asked(index, varied, self.device, len(self.varying), math.inf)
        return self.batch(self._by_factor[self._firsts[varied] + index % self._counts[varied]], generator)


def _title(names: list[str], factor: int, changes: Bool[Tensor, "n F"]) -> str:
    """Name what sequences vary: a factor, and with it those that change in all of them."""
    others = [names[f] for f in torch.nonzero(changes.all(0)).flatten().tolist() if f != factor]
    return " and ".join([names[factor], *others]) + " together" * bool(others)


def _walks(track: Int[Tensor, "n S"]) -> bool:
    """Whether a factor advances by one value a frame in all sequences, and from the last to the first."""
    return bool(((track - track.roll(1, 1)) % (track.max() + 1) == 1).all())
