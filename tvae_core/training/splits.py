"""The data of a run: the sequences of its training, validation and test split."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from tvae_core.config import Experiment
from tvae_core.data.kinds import SplitSequences


@dataclass(frozen=True)
class Splits:
    """The sequences of an experiment on one device, each split made when it is first asked for."""

    exp: Experiment
    folder: Path  # of downloaded data
    device: torch.device

    @cached_property
    def train(self) -> SplitSequences:
        """The sequences trained on."""
        return self._build("train")

    @cached_property
    def validation(self) -> SplitSequences:
        """The sequences looked at while training."""
        return self._build("validation")

    @cached_property
    def test(self) -> SplitSequences:
        """The sequences measured on."""
        return self._build("test")

    def _build(self, split: str) -> SplitSequences:
        return self.exp.build_sequences(split, self.exp.seed, self.device, self.folder)
