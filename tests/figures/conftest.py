"""Runs that were never trained, with weights of their own, on a few random digits."""

import pytest

from tvae_core.experiments import read_experiment
from tvae_core.files import file_name
from tvae_core.training.runs import Run


@pytest.fixture
def make_run(tmp_path, few):
    """Return a run of an experiment whose stored weights are those of seed 99, untrained."""

    def make(text: str) -> Run:
        exp = read_experiment(text, "smoke")
        run = Run(exp, tmp_path / file_name(text))
        run.save_checkpoint({f"model.{k}": v for k, v in exp.build_model(99).state_dict().items()}, step=0)
        return run

    return make
