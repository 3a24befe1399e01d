"""Tiny runs that the tests of the explorer share."""

import pytest

from tvae_core.experiments import EXPERIMENTS
from tvae_core.explorer.panel_digit import DigitPanel
from tvae_core.explorer.state import ExplorerState
from tvae_core.training.trainer import fit


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """A topographic and a plain run on digits and a plain one on sprites, two steps each, in one folder."""
    folder, few = tmp_path_factory.mktemp("runs"), {"max_steps": 2, "eval_sequences": 4}
    names = "tvae_Lpartial_mnist", "nontvae_mnist", "nontvae_dsprites"
    return [fit(EXPERIMENTS[name].at_scale("smoke").with_options(**few), runs=folder) for name in names]


@pytest.fixture
def explorer(runs):
    return ExplorerState(runs)


@pytest.fixture
def digit_panel(explorer):
    return DigitPanel(explorer)
