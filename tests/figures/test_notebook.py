"""What every notebook calls: runs trained once, captions, small tables, and pictures while a run trains."""

import itertools
from pathlib import Path

import pytest
import torch

from tvae_core import experiments as variants
from tvae_core.experiments import EXPERIMENTS
from tvae_core.figures import notebook
from tvae_core.figures import notebook as live
from tvae_core.figures.notebook import about, figure_folder, first_seeds, fit_all, show_rows
from tvae_core.files import FIGURES
from tvae_core.training.learner import Learner
from tvae_core.training.pack import pack
from tvae_core.training.runs import Run, plan
from tvae_core.training.step import Step
from tvae_core.training.trainer import Trainer


class Handle:
    def __init__(self, picture):
        self.pictures = [picture]

    def update(self, picture):
        self.pictures.append(picture)


@pytest.fixture(autouse=True)
def quickly(monkeypatch, few):
    monkeypatch.setattr("tvae_core.training.trainer.LOG_STEPS", 2)


def trained(folder, name="tvae_Lpartial_mnist", **options):
    exp = (
        EXPERIMENTS[name]
        .at_scale("smoke")
        .with_options(**(options or {"n_caps": 2}), max_steps=5, batch_size=1)
    )
    learners = [Learner(plan(exp, "cpu", folder, folder))]
    Trainer(learners, Step(learners)).train(progress=True, watch=live.LiveView(exp))
    return learners[0]


@pytest.fixture
def shown(monkeypatch):
    handles = []
    monkeypatch.setattr(live, "in_notebook", lambda: True)
    monkeypatch.setattr(live, "SECONDS", 0.0)
    monkeypatch.setattr(
        live, "display", lambda picture, display_id: handles.append(Handle(picture)) or handles[-1]
    )
    return handles


def test_two_pictures_are_replaced_in_place(shown, tmp_path):
    trained(tmp_path)
    assert [len(handle.pictures) for handle in shown] == [3, 3]  # steps 2, 4 and 5
    assert all(picture.data[:4] == b"\x89PNG" and picture.alt for h in shown for picture in h.pictures)
    assert shown[1].pictures[0].data != shown[1].pictures[-1].data


def test_single_frames_have_no_roll(shown, tmp_path):
    trained(tmp_path, "tvae_2d_mnist", n_caps=1)
    assert len(shown) == 2


def test_without_a_notebook_nothing_is_shown(monkeypatch, tmp_path):
    monkeypatch.setattr(live, "SECONDS", 0.0)
    monkeypatch.setattr(live, "display", lambda *_: pytest.fail("there is no notebook"))
    trained(tmp_path)


def test_looking_changes_nothing(shown, monkeypatch, tmp_path):
    looked = trained(tmp_path / "a").model.state_dict()
    monkeypatch.setattr(live, "in_notebook", lambda: False)
    alone = trained(tmp_path / "b").model.state_dict()
    assert all(torch.equal(looked[key], alone[key]) for key in looked)


def test_where_figures_go(tmp_path):
    assert figure_folder(str(tmp_path), "quick") == tmp_path
    assert figure_folder("", "quick") == FIGURES / "quick" != figure_folder("", "smoke")


def test_fit_all_trains_once_and_then_loads(tmp_path, monkeypatch, capsys):
    names = ["tvae_Lshort_mnist", "nontvae_mnist"]
    small = {name: EXPERIMENTS[name].with_options(n_caps=2) for name in names}
    small_step = {"smoke": {"max_steps": 1, "batch_size": 2, "eval_sequences": 2, "n_is_samples": 1}}
    monkeypatch.setattr(variants, "EXPERIMENTS", small)
    monkeypatch.setattr("tvae_core.config.SCALES", small_step)
    trained = fit_all(names, "smoke", [3, 4], "cpu", str(tmp_path))
    assert [(run.exp.name, run.exp.seed) for run in trained] == list(itertools.product(names, (3, 4)))
    assert all(run.complete and run.folder.parent == tmp_path for run in trained)

    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("trained again"))
    loaded = fit_all(names, "smoke", [3, 4], "cpu", str(tmp_path))
    assert [run.results for run in loaded] == [run.results for run in trained]
    assert [run.folder for run in first_seeds(loaded)] == [trained[0].folder, trained[2].folder]
    said = "tvae_Lshort_mnist, nontvae_mnist. Scale smoke, 2 seeds each (3, 4). "
    said += "Data: a few random digits."
    assert about(loaded) == said

    pack(loaded[0], tmp_path / "model.tvae")
    (opened,) = fit_all([str(tmp_path / "model.tvae")], "smoke")
    assert opened.results == loaded[0].results
    assert about([opened]).endswith("Data: a few random digits. Rounded weights, from model.tvae.")


def test_without_seeds_each_experiment_has_its_own(monkeypatch):
    asked = []

    def fit_seeds(exp, *rest, watch):
        asked.append((exp.name, exp.scale, *rest))
        return [Run(exp, Path())]

    monkeypatch.setattr(notebook, "fit_seeds", fit_seeds)
    fit_all(["tvae_Lpartial_mnist", "nontvae_mnist"], "quick", runs="here")
    assert asked == [
        ("tvae_Lpartial_mnist", "quick", [2], "auto", "here"),
        ("nontvae_mnist", "quick", [1], "auto", "here"),
    ]
    fit_all(["nontvae_mnist"], "quick")
    assert Path(asked[-1][-1]).name == "runs"


def test_a_small_table_has_rounded_numbers_and_a_dash_for_none():
    rows = [{"model": "a -b", "n": 1200, "cost": -1234.56}, {"model": "c", "n": 2, "cost": None}]
    lines = show_rows(rows).data.splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:-1]] == ["model", "n", "cost"]
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["a -b", "1,200", "−1,234.6"]
    assert [cell.strip() for cell in lines[3].split("|")[1:-1]] == ["c", "2", "–"]
