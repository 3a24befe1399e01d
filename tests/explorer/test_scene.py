"""One sequence seen by a model: what the sliders show is what the library decodes."""

import dataclasses

import pytest
import torch

from tvae_core.experiments import EXPERIMENTS
from tvae_core.explorer.opening import describe_run, rank_runs
from tvae_core.explorer.scene import STEPS, encode_sequence, open_sequence
from tvae_core.measures.metrics import capsule_correlation
from tvae_core.measures.rolls import roll_likelihoods
from tvae_core.model.torus import roll
from tvae_core.training.runs import Run, stored_runs

NAMES = ["tvae_Lpartial_mnist", "bubbles_mnist", "nontvae_mnist", "tvae_Lpartial_rotcolor_mnist"]


@pytest.fixture(scope="module", params=NAMES)
def sequence(request):
    exp = EXPERIMENTS[request.param].at_scale("smoke")
    batch = exp.build_sequences("test", 0).sequence(torch.tensor([3]), 0)
    return encode_sequence(exp, exp.build_model(0).eval(), batch, "rotation")


def test_it_encodes_as_the_model_does(sequence):
    with torch.inference_mode():
        t = sequence.model.latents(sequence.batch.x)
    torch.testing.assert_close(sequence.t, t[0])
    if sequence.v is None:
        assert sequence.model.grouper is None and sequence.u_squared is None
        return
    seen = (sequence.weights_of(5, 7) * sequence.u_squared[:, 2]).sum()
    torch.testing.assert_close(seen, sequence.v[5, 2, 7])


def test_whole_rolls_are_the_traversal(sequence):
    with torch.inference_mode():
        truth = sequence.model.traverse(sequence.t.unsqueeze(0), sequence.exp.anchor)[0].sigmoid()
    torch.testing.assert_close(sequence.roll().decoded_rolls[::STEPS], truth, rtol=1e-4, atol=1e-5)
    shown = sequence.roll()
    for shift in (-float(sequence.exp.anchor), 2.25, 11.75 - sequence.exp.anchor):
        alone = sequence.decode(shown.at(shift).t.unsqueeze(0))[0]
        torch.testing.assert_close(shown.at(shift).decoded, alone, rtol=1e-4, atol=1e-5)


def test_capsules_that_are_not_chosen_stand_still(sequence):
    some = sequence.roll_capsules([3.0], [0, 5])[0]
    still = [c for c in range(sequence.exp.n_caps) if c not in (0, 5)]
    torch.testing.assert_close(some[still], sequence.t[sequence.exp.anchor, still])
    torch.testing.assert_close(some[[0, 5]], roll(sequence.t[sequence.exp.anchor, [0, 5]], 3))
    torch.testing.assert_close(sequence.roll_capsules([3.0], [])[0], sequence.t[sequence.exp.anchor])


def test_what_is_not_there_is_refused(sequence):
    shown = sequence.roll()
    for shift in (-sequence.exp.anchor - 0.25, 18.0 - sequence.exp.anchor, 0.1):
        with pytest.raises(ValueError, match="is not one of"):
            shown.at(shift)
    with pytest.raises(ValueError, match="capsule 18 is not one of 0 to 17"):
        shown.with_capsules([3, 18])
    with pytest.raises(ValueError, match="not one sequence"):
        encode_sequence(sequence.exp, sequence.model, sequence.batch._replace(x=sequence.batch.x[..., :20]))


def test_its_measures_are_those_of_evaluate(sequence):
    measures, t = sequence.measures(), sequence.t.unsqueeze(0)
    with torch.inference_mode():
        truth = roll_likelihoods(sequence.model, sequence.exp, sequence.batch.x, t)
    assert {k: measures[k] for k in truth} == {k: v.item() for k, v in truth.items()}
    turns = [(torch.arange(18) + start) % 18 for start in range(18)]
    starts, factors = sequence.t[torch.stack(turns)], sequence.batch.factors[0][torch.stack(turns)]
    r = capsule_correlation(starts, factors, torch.zeros(18, dtype=torch.long))[0].item()
    assert measures["capcorr_first"] == (None if r != r else pytest.approx(r))


def test_perfect_equivariance_scores_one(sequence):
    exact = torch.stack([roll(sequence.t[0], shift) for shift in range(18)])
    perfect = dataclasses.replace(sequence, t=exact)
    assert perfect.measures()["capcorr_first"] == pytest.approx(1.0)
    assert perfect.measures()["e_eq"] == pytest.approx(0.0, abs=0.1)


@pytest.fixture
def trained(runs):
    return runs[0]


def test_stored_runs_are_found_and_the_broken_left_out(trained):
    (found,) = (run for run in stored_runs(trained.folder.parent) if run.folder == trained.folder)
    assert (found.exp, found.folder) == (trained.exp, trained.folder)
    assert rank_runs([found]) == [found]
    shown = open_sequence(found, 3, "hue", [1])
    assert shown.sequence.title == "hue" and list(shown.capsules) == [1]
    sequences = found.exp.build_sequences("test", found.exp.seed)
    assert torch.equal(shown.sequence.batch.x, sequences.sequence(torch.tensor([3]), 1).x)


@pytest.mark.parametrize("image, factor, words", [(500, "hue", "image 500"), (0, "hew", "mean 'hue'")])
def test_a_sequence_that_is_not_there_is_refused(trained, image, factor, words):
    with pytest.raises(ValueError, match=words):
        open_sequence(trained, image, factor)


def run_with(trained, nats, chance=500.0, **options):
    """A run that was never trained, with what its rolls into held-out frames would cost."""
    run = Run(dataclasses.replace(trained.exp, **options), trained.folder / f"{options}-{nats}")
    run.__dict__["results"] = {"trained": {"roll_held_out": nats}, "chance": {"roll_held_out": chance}}
    return run


PLAIN = {"topography": "none", "group_kernel": (), "n_off_diag": None}
WHOLE = {"group_kernel": (18, 18)}  # L = S/2 holds nothing out
ORDER = [
    (230.0, {"scale": "quick"}),
    (240.0, {"scale": "long"}),  # by nats, whatever the scale
    (260.0, {"scale": "quick", **PLAIN}),  # it rolls better than the mean frame
    (300.0, {"scale": "paper"}),
    (600.0, {"scale": "quick"}),
    (550.0, {"scale": "quick", **PLAIN}),
    (None, {"scale": "quick", **PLAIN}),
    (100.0, {"scale": "quick", **WHOLE}),
    (200.0, {"scale": "quick", "test_data": "mnist_dual"}),  # other data: their nats say nothing
    (10.0, {"scale": "quick", "data": "mnist_perspective"}),
    (10.0, {"scale": "quick", "data": "dsprites"}),
    (1.0, {"scale": "smoke"}),
    (float("nan"), {"scale": "smoke"}),
]


def test_the_best_run_goes_first(trained):
    best = [run_with(trained, nats, **options) for nats, options in ORDER]
    for mixed in (best[::-1], best[1::2] + best[::2]):
        assert [run.folder.name for run in rank_runs(mixed)] == [run.folder.name for run in best]
    assert rank_runs([Run(EXPERIMENTS["tvae_2d_mnist"], trained.folder)]) == []


def test_a_run_is_named_in_words(trained):
    run = run_with(trained, 230.4, scale="quick")
    words = describe_run(run)
    assert words.startswith("Lpartial MNIST · quick · seed 2 · held-out 230 · ") and "max_steps=2" in words
    assert "held-out" not in describe_run(run_with(trained, None, scale="quick"))
