"""What tests of training share: a few digits, and a row of history at every second step."""

import pytest
import torch

from tvae_core.training import learner, trainer

collect_ignore = [] if torch.cuda.is_available() else ["test_cuda.py"]


@pytest.fixture
def brief(few, monkeypatch):
    """28 digits, so an epoch is four steps of four sequences; a row of history at every second step."""
    for module in (learner, trainer):
        monkeypatch.setattr(module, "LOG_STEPS", 2)
