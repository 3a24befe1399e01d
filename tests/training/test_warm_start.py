"""Training may begin with the weights of another run: they are the start, and the run says so."""

import json

import jaxtyping
import pytest
import torch

from tvae_core.cli import main
from tvae_core.training.learner import Learner
from tvae_core.training.registry import open_run
from tvae_core.training.runs import plan
from tvae_core.training.trainer import fit
from tvae_core.training.warm_start import start_from


@pytest.fixture(scope="module")
def other(small_run):
    """The same experiment with another window and seed, beside which a start is wanted."""
    return small_run.exp.with_options(seed=7, group_kernel=(13, 13))


def test_training_begins_with_these_weights_and_its_own_window(small_run, other, tmp_path):
    run = plan(start_from(other, small_run, tmp_path), "cpu", tmp_path)
    model, source = Learner(run).model, small_run.model
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in model.state_dict().items())
    assert (model.decoder.centre, model.decoder.spread) == (source.decoder.centre, source.decoder.spread)
    assert torch.equal(model.grouper.matrices, other.build_model().grouper.matrices)
    assert not torch.equal(model.grouper.matrices, source.grouper.matrices)


def test_a_start_makes_another_run_and_the_same_start_the_same(small_run, other, packed, tmp_path):
    starts = [small_run, small_run, open_run(packed[0])]
    first, again, rounded = (plan(start_from(other, run, tmp_path), "cpu", tmp_path) for run in starts)
    new = plan(other, "cpu", tmp_path)
    assert first.identity == again.identity and first.training == again.training
    assert len({new.identity, first.identity, rounded.identity}) == 3
    assert len({new.training, first.training, rounded.training}) == 3
    assert first.exp.warm_start in first.label and "warm_start" not in new.label


def test_the_command_starts_from_a_pack_and_provenance_says_so(packed, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    words = ["--name", "tvae_Lpartial_mnist", "--scale", "smoke", "--device", "cpu", "--from", str(packed[0])]
    for setting in ("n_caps=2", "max_steps=1", "batch_size=2", "eval_sequences=2", "n_is_samples=1"):
        words += ["--set", setting]
    assert main([*words, "--runs", str(tmp_path / "runs"), "--show-config"]) == 0
    start = json.loads(capsys.readouterr().out)["warm_start"]
    assert start.startswith("tvae_Lshort_mnist-") and not (tmp_path / "runs").exists()
    assert main([*words, "--runs", str(tmp_path / "runs")]) == 0
    assert start in capsys.readouterr().out
    (folder,) = (tmp_path / "runs").glob("[!.]*")
    said = json.loads((folder / "provenance.json").read_text())["warm_start"]
    assert (
        said["weights"] == start and said["opened"] == "model.tvae" and said["run"].startswith("tvae_Lshort")
    )
    assert said["provenance"] == packed[1]["provenance"]
    trained = open_run(folder).model.decoder.last.weight
    assert 0 < (trained - open_run(packed[0]).model.decoder.last.weight).abs().max() < 0.1


def test_a_start_that_does_not_fit_or_is_not_there_is_refused(small_run, tmp_path):
    for changes in ({"n_caps": 3}, {"topography": "none", "group_kernel": (), "n_off_diag": None}):
        with pytest.raises(ValueError, match=r"do not fit tvae_Lshort_mnist .*: n_caps, cap_dim"):
            start_from(small_run.exp.with_options(**changes), small_run, tmp_path)
    assert not list(tmp_path.iterdir())
    for start, kind, words in (
        ("gone-0123456789ab", FileNotFoundError, "are not in"),
        ("../gone", ValueError, "must be a name and a digest"),
    ):
        with pytest.raises(kind, match=words):
            fit(small_run.exp.with_options(warm_start=start), "cpu", tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == [".locks"]
