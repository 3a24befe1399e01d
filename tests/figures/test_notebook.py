"""What a notebook shows while a run trains, and that looking changes nothing."""

import pytest
import torch

from tvae_core.experiments import EXPERIMENTS
from tvae_core.figures import notebook as live
from tvae_core.training.learner import Learner
from tvae_core.training.runs import plan
from tvae_core.training.step import Step
from tvae_core.training.trainer import Trainer


class Handle:
    def __init__(self, picture):
        self.pictures = [picture]

    def update(self, picture):
        self.pictures.append(picture)


def trained(folder, name="tvae_Lpartial_mnist"):
    exp = EXPERIMENTS[name].at_scale("smoke").with_options(max_steps=120, batch_size=1)
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
    assert [len(handle.pictures) for handle in shown] == [3, 3]  # steps 50, 100 and 120
    assert all(picture.data[:4] == b"\x89PNG" and picture.alt for h in shown for picture in h.pictures)
    assert shown[1].pictures[0].data != shown[1].pictures[-1].data


def test_single_frames_have_no_roll(shown, tmp_path):
    trained(tmp_path, "tvae_2d_mnist")
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
