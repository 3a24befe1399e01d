"""One sequence seen by a model: what the sliders show is what the library decodes."""

import dataclasses

import pytest
import torch

from tvae_core.config import SCALES
from tvae_core.experiments import EXPERIMENTS
from tvae_core.explorer.scene import STEPS, RollState, look, sequence_of, view
from tvae_core.explorer.state import rollable, share_of_the_way
from tvae_core.measures.evaluation import roll_likelihoods
from tvae_core.measures.metrics import capsule_correlation
from tvae_core.model.torus import roll
from tvae_core.training.runs import Run, stored_runs
from tvae_core.training.trainer import fit

NAMES = ["tvae_Lpartial_mnist", "bubbles_mnist", "nontvae_mnist", "tvae_Lpartial_rotcolor_mnist"]


@pytest.fixture(scope="module", params=NAMES)
def scene(request):
    exp = EXPERIMENTS[request.param].at_scale("smoke")
    batch = exp.build_sequences("test", 0).sequence(torch.tensor([3]), 0)
    return look(exp, exp.build_model(0).eval(), batch, "rotation")


def test_it_encodes_as_the_model_does(scene):
    with torch.inference_mode():
        t = scene.model.latents(scene.batch.x)
    torch.testing.assert_close(scene.t, t[0])
    if scene.v is None:
        assert scene.model.grouper is None and scene.u_squared is None
        return
    seen = (scene.listens_to(5, 7) * scene.u_squared[:, 2]).sum()
    torch.testing.assert_close(seen, scene.v[5, 2, 7])


def test_whole_rolls_are_the_traversal(scene):
    with torch.inference_mode():
        truth = scene.model.traverse(scene.t.unsqueeze(0), scene.exp.anchor)[0].sigmoid()
    torch.testing.assert_close(scene.reel()[::STEPS], truth, rtol=1e-4, atol=1e-5)
    shown = RollState(scene, scene.reel())
    for shift in (-float(scene.exp.anchor), 2.25, 11.75 - scene.exp.anchor):
        alone = scene.decode(shown.at(shift).t.unsqueeze(0))[0]
        torch.testing.assert_close(shown.at(shift).decoded, alone, rtol=1e-4, atol=1e-5)


def test_capsules_that_are_not_chosen_stand_still(scene):
    some = scene.rolled([3.0], [0, 5])[0]
    still = [c for c in range(scene.exp.n_caps) if c not in (0, 5)]
    torch.testing.assert_close(some[still], scene.t[scene.exp.anchor, still])
    torch.testing.assert_close(some[[0, 5]], roll(scene.t[scene.exp.anchor, [0, 5]], 3))
    torch.testing.assert_close(scene.rolled([3.0], [])[0], scene.t[scene.exp.anchor])


def test_what_is_not_there_is_refused(scene):
    shown = RollState(scene, scene.reel())
    for shift in (-scene.exp.anchor - 0.25, 18.0 - scene.exp.anchor, 0.1):
        with pytest.raises(ValueError, match="is not one of"):
            shown.at(shift)
    with pytest.raises(ValueError, match="capsule 18 is not one of 0 to 17"):
        shown.moving([3, 18])
    with pytest.raises(ValueError, match="not one sequence"):
        look(scene.exp, scene.model, scene.batch._replace(x=scene.batch.x[..., :20]))


def test_its_measures_are_those_of_evaluate(scene):
    measures, t = scene.measures(), scene.t.unsqueeze(0)
    with torch.inference_mode():
        truth = roll_likelihoods(scene.model, scene.exp, scene.batch.x, t)
    assert {k: measures[k] for k in truth} == {k: v.item() for k, v in truth.items()}
    turns = [(torch.arange(18) + start) % 18 for start in range(18)]
    starts, factors = scene.t[torch.stack(turns)], scene.batch.factors[0][torch.stack(turns)]
    r = capsule_correlation(starts, factors, torch.zeros(18, dtype=torch.long))[0].item()
    assert measures["capcorr"] == (None if r != r else pytest.approx(r))


def test_perfect_equivariance_scores_one(scene):
    exact = torch.stack([roll(scene.t[0], shift) for shift in range(18)])
    perfect = dataclasses.replace(scene, t=exact)
    assert perfect.measures()["capcorr"] == pytest.approx(1.0)
    assert perfect.measures()["e_eq"] == pytest.approx(0.0, abs=0.1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Run:
    exp = EXPERIMENTS["tvae_Lpartial_mnist"].at_scale("smoke").with_options(max_steps=2, eval_sequences=4)
    return fit(exp, runs=tmp_path_factory.mktemp("runs"))


def test_stored_runs_are_found_and_the_broken_left_out(trained):
    (found,) = stored_runs(trained.folder.parent)
    assert (found.exp, found.exp.seed, found.folder) == (trained.exp, trained.exp.seed, trained.folder)
    assert rollable([found]) == [found]
    shown = view(found, 3, "hue", [1])
    assert shown.scene.title == "hue" and list(shown.capsules) == [1]
    assert torch.equal(shown.scene.batch.x, sequence_of(found, 3, "hue").x)


@pytest.mark.parametrize("image, factor, words", [(500, "hue", "image 500"), (0, "hew", "mean 'hue'")])
def test_a_sequence_that_is_not_there_is_refused(trained, image, factor, words):
    with pytest.raises(ValueError, match=words):
        view(trained, image, factor)


def test_the_best_run_goes_first(trained):
    def having(scale, held_out, chance=500.0, best=200.0):
        row = {"reconstruction": best, "roll_held_out": held_out, "roll_seen": best}
        exp = dataclasses.replace(trained.exp, scale=scale)
        run = Run(exp, trained.folder / f"{scale}-{held_out}")
        run.__dict__["results"] = {"trained": row, "chance": {"roll_held_out": chance}}
        return run

    good, poor, smoke = (
        having("quick", 230.0),
        having("quick", 400.0),
        having("smoke", 201.0),
    )
    assert rollable([smoke, poor, good]) == [good, poor, smoke]
    assert share_of_the_way(good) == pytest.approx(0.9)
    ladder = [having(scale, 300.0) for scale in SCALES]
    assert rollable(ladder) == ladder[::-1]
    plain, topographic = having("smoke", 900.0, best=800.0), having("smoke", 901.0, best=800.0)
    plain = dataclasses.replace(plain, exp=dataclasses.replace(plain.exp, topography="none"))
    plain.__dict__["results"] = topographic.results  # neither is better than the mean frame
    assert rollable([plain, topographic]) == [topographic, plain]
    grey = EXPERIMENTS["tvae_2d_mnist"]
    assert rollable([Run(grey, trained.folder)]) == []
