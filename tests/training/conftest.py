"""What tests of training share: a few digits, and a row of history at every second step."""

import pytest

from tvae_core.training import learner, trainer


@pytest.fixture
def brief(few, monkeypatch):
    """28 digits, so an epoch is four steps of four sequences; a row of history at every second step."""
    for module in (learner, trainer):
        monkeypatch.setattr(module, "LOG_STEPS", 2)
