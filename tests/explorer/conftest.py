"""Tiny runs and a browser that the tests of the explorer share."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from tvae_core.experiments import EXPERIMENTS
from tvae_core.explorer.panel_digit import DigitPanel
from tvae_core.explorer.state import ExplorerState
from tvae_core.training.trainer import fit

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update"]


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


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.fail("Chromium is not on the PATH (on Debian: apt install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()
