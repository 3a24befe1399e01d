"""Laws of training on a CUDA device; where there is none, this file is not collected (conftest)."""

import pytest
import torch

from tvae_core.data.warps import affine_frames
from tvae_core.experiments import EXPERIMENTS
from tvae_core.training import step as step_module
from tvae_core.training import trainer
from tvae_core.training.learner import Learner
from tvae_core.training.runs import plan
from tvae_core.training.step import Step
from tvae_core.training.trainer import fit

SGD = {"optimizer": "sgd", "lr": 1e-4, "lr_decay": 0.0}
NAMES = ["tvae_Lshort_mnist", "tvae_2d_mnist", "nontvae_mnist", "tvae_Lpartial_dsprites", "bubbles_dsprites"]


def small(name, **changes):
    """Eight steps in the arithmetic of the device, bfloat16, with a window that shrinks meanwhile."""
    few = {"max_steps": 8, "batch_size": 4, "eval_sequences": 4, "n_is_samples": 2, "source": "offline"}
    return EXPERIMENTS[name].at_scale("quick").with_options(**few, **changes)


def learners(exp, seeds, folder, data):
    return [Learner(plan(exp.with_options(seed=seed), "cuda", folder, data)) for seed in seeds]


def walk(group, steps=8):
    """Take so many steps of all learners and return copies of their weights and sums of losses."""
    step = Step(group)
    for _ in range(steps):
        step()
    return [[p.detach().clone() for p in one.model.parameters()] + [one.terms.clone()] for one in group]


def operation_by_operation(work, state, generators, device):
    return work


@pytest.mark.parametrize("changes", [{}, SGD], ids=["adamw", "sgd"])
@pytest.mark.parametrize("seeds", [[1], [1, 2]], ids=["alone", "together"])
@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_step_is_the_step(name, seeds, changes, data, tmp_path, monkeypatch, caplog):
    exp = small(name, **changes)
    recorded = walk(learners(exp, seeds, tmp_path, data))
    assert not caplog.records  # it could be recorded
    monkeypatch.setattr(step_module, "capture", operation_by_operation)
    plain = walk(learners(exp, seeds, tmp_path, data))
    for a, b in zip(recorded, plain, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_step_never_waits_for_the_host(name, data, tmp_path):
    (learner,) = learners(small(name, window_hold=0.0, window_ramp=0.0), [1], tmp_path, data)
    step = Step([learner])
    step.prepare()
    step.work()  # the libraries set themselves up
    torch.cuda.set_sync_debug_mode("error")
    try:
        step.work()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_an_interrupted_run_ends_as_if_it_had_never_stopped(data, tmp_path, monkeypatch):
    exp, call, left = small("tvae_Lshort_mnist"), Step.__call__, [4]

    def counted(self):
        call(self)
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("killed")

    straight = fit(exp, "cuda", tmp_path / "straight", data, False)
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", -1.0)  # a checkpoint after each step
    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", counted)
        with pytest.raises(RuntimeError, match="killed"):
            fit(exp, "cuda", tmp_path / "stopped", data, False)
    resumed = fit(exp, "cuda", tmp_path / "stopped", data, False)
    assert resumed.results == straight.results
    for a, b in zip(resumed.model.parameters(), straight.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_both_devices_compute_the_same_model(name, data):
    exp = small(name)
    model, g = exp.build_model().eval(), torch.Generator().manual_seed(0)
    x = exp.build_sequences("test", 1, folder=data).batch(torch.arange(2), g).x
    with torch.inference_mode():
        t = model.latents(x)
        rolls = model.traverse(t, exp.anchor)
        model.cuda()
        torch.testing.assert_close(model.latents(x.cuda()).cpu(), t, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.traverse(t.cuda(), exp.anchor).cpu(), rolls, rtol=1e-3, atol=1e-3)


def test_both_devices_warp_alike():
    g = torch.Generator().manual_seed(0)
    images = torch.rand(4, 1, 28, 28, generator=g)
    angles = torch.arange(18.0).mul(20).expand(4, 18)
    given = images, angles, 0.6 + angles / 600, angles
    on_the_device = affine_frames(*(value.cuda() for value in given))
    torch.testing.assert_close(on_the_device.cpu(), affine_frames(*given), rtol=1e-4, atol=1e-4)
