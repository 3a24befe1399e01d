"""What tests of training share: a few digits, and a row of history at every second step."""

import pytest
import torch

from tvae_core.experiments import EXPERIMENTS
from tvae_core.training import learner, trainer
from tvae_core.training.pack import pack
from tvae_core.training.trainer import fit

collect_ignore = [] if torch.cuda.is_available() else ["test_cuda.py"]


@pytest.fixture
def brief(few, monkeypatch):
    """28 digits, so an epoch is four steps of four sequences; a row of history at every second step."""
    for module in (learner, trainer):
        monkeypatch.setattr(module, "LOG_STEPS", 2)


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """A run of two capsules and two steps."""
    few = {"n_caps": 2, "max_steps": 2, "batch_size": 2, "eval_sequences": 4, "n_is_samples": 1}
    exp = EXPERIMENTS["tvae_Lshort_mnist"].at_scale("smoke").with_options(**few)
    return fit(exp, "cpu", tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="session")
def packed(small_run, tmp_path_factory):
    """Its pack, and the header."""
    path = tmp_path_factory.mktemp("packs") / "model.tvae"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tvae_core.training.pack.COST_SEQUENCES", 30)
        return path, pack(small_run, path)
