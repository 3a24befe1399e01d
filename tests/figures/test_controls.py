"""Controls: literal loops over what is rolled, single capsules, motions that training never shows."""

import itertools

import pytest
import torch

from tvae_core.experiments import EXPERIMENTS, read_experiment
from tvae_core.figures import control_unseen as unseen
from tvae_core.figures.comparison import by_data
from tvae_core.figures.control_capcorr import correlation_of_capsules
from tvae_core.figures.control_capsules import (
    Shares,
    capsule_shares,
    one_capsule_strips,
    partial_roll_costs,
    share_rows,
)
from tvae_core.figures.control_distance import (
    control_panels,
    distance_panels,
    margin_rows,
    roll_costs,
    seen_mean_costs,
)
from tvae_core.figures.control_unseen import (
    MOTIONS,
    ROLLS,
    Costs,
    motion_costs,
    motion_rows,
    motion_strips,
    moving,
    trained_motion_rows,
)
from tvae_core.measures.controls import chance
from tvae_core.measures.evaluation import first_batches
from tvae_core.measures.metrics import capsule_correlation
from tvae_core.measures.rolls import CLAMPS
from tvae_core.model.losses import negative_log_likelihood
from tvae_core.training.runs import Run, both_models


@pytest.fixture
def run(make_run):
    made = make_run("tvae_Lpartial_mnist n_caps=3")
    made.__dict__["results"] = {
        kind: chance(made.exp, made.data.test) for kind in ("trained", "untrained", "chance")
    }
    return made


def test_the_two_models_are_the_stored_and_the_untrained_one(run):
    both = both_models(run)
    for kind, seed in (("trained", 99), ("untrained", run.exp.seed)):
        literal = run.exp.build_model(seed).state_dict()
        assert all(torch.equal(value, literal[key]) for key, value in both[kind].state_dict().items())


def literal_cost(run, model, x, frame, rolled) -> torch.Tensor:
    """nats of one frame, with t of l0 rolled to it in the capsules `rolled` alone."""
    anchor = run.exp.anchor
    t = model.latents(x)[:, anchor].clone()
    for capsule in rolled:
        t[:, capsule] = t[:, capsule].roll(frame - anchor, -1)
    return negative_log_likelihood(model.logits(t[:, None]), x[:, frame : frame + 1], "bernoulli").mean()


def test_roll_costs_against_one_roll_at_a_time(run):
    model = run.model
    (batch, _), *_ = first_batches(run.exp, 4)
    with torch.inference_mode():
        literal = [literal_cost(run, model, batch.x, frame, range(3)) for frame in range(18)]
    assert len(batch.x) == 4
    assert torch.allclose(roll_costs(run, model, 4), torch.stack(literal), rtol=1e-4)


def test_partial_rolls_against_one_capsule_at_a_time(run):
    model = run.model
    choices = [[], [1], [0, 2], [0, 1, 2]]
    mask = torch.tensor([[c in chosen for c in range(3)] for chosen in choices])
    (batch, _), *_ = first_batches(run.exp, 3)
    with torch.inference_mode():
        literal = [
            torch.stack([literal_cost(run, model, batch.x, f, chosen) for f in range(18) if f != 6]).mean()
            for chosen in choices
        ]
    assert torch.allclose(partial_roll_costs(run, model, mask, 3), torch.stack(literal), rtol=1e-4)


def test_shares_start_with_none_and_end_with_all(run):
    model = run.model
    shares = capsule_shares(run, model, 3)
    ends = partial_roll_costs(run, model, torch.tensor([[False] * 3, [True] * 3]), 3)
    assert torch.allclose(shares.growing[[0, -1]], ends, rtol=1e-5)
    assert torch.allclose(shares.growing[1], shares.alone[0], rtol=1e-5)
    assert sorted(shares.order.tolist()) == [0, 1, 2] and (shares.alone.diff() >= 0).all()


@pytest.mark.parametrize("growing, best", [([10.0, 7.0, 4.0], 0.5), ([4.0, 7.0, 10.0], None)])
def test_a_share_of_nothing_is_no_share(growing, best, run):
    shares = Shares(torch.tensor([1, 0]), torch.tensor([7.0, 8.0]), torch.tensor(growing))
    assert shares.best == best
    trained, untrained = share_rows([run], [{"trained": shares, "untrained": shares}])
    assert trained["share of the best [%]"] == (best and 50.0) and untrained["all rolled"] == growing[-1]


def test_strips_of_one_capsule_and_of_the_others(run):
    strips = one_capsule_strips(run, best=1, image=2)
    model, anchor = run.model, run.exp.anchor
    for strip in strips:
        (_, x), (_, every), (name, one), (_, others) = strip.rows
        with torch.inference_mode():
            t = model.latents(x[None])[0, anchor]
            moved = t.roll(5, -1)
            pictures = {"every": moved, "one": t.clone(), "others": moved.clone()}
            pictures["one"][1], pictures["others"][1] = moved[1], t[1]
            again = {k: model.decode(v[None, None])[0, 0] for k, v in pictures.items()}
        assert torch.allclose(every[anchor + 5], again["every"], atol=1e-5) and name == "capsule 1"
        assert torch.allclose(one[anchor + 5], again["one"], atol=1e-5)
        assert torch.allclose(others[anchor + 5], again["others"], atol=1e-5)
    assert len(strips) == 3


def test_capcorr_of_each_capsule_is_that_of_a_model_with_one():
    g = torch.Generator().manual_seed(0)
    t = torch.randn(40, 18, 3, 18, generator=g)
    start = torch.randint(18, (40,), generator=g)
    varied = torch.randint(2, (40,), generator=g)
    walk = (start[:, None] + torch.arange(18)) % 18
    factors = torch.where(torch.nn.functional.one_hot(varied, 2)[:, None].bool(), walk[..., None], 3)
    pattern = torch.randn(18, generator=g)
    t[:, :, 2] = torch.stack([torch.stack([pattern.roll(int(y)) for y in row]) for row in walk])
    found = correlation_of_capsules(t, factors, varied)
    for c in range(3):
        alone = capsule_correlation(t[:, :, c : c + 1], factors, varied)
        assert torch.allclose(found[:, c], alone, atol=1e-5, equal_nan=True)
    assert torch.allclose(found[:, 2], torch.ones(2), atol=1e-5) and (found[:, :2].abs() < 0.9).all()


def test_a_curve_for_every_model_open_where_frames_are_held_out(run):
    (panel,) = distance_panels([run], 3)
    trained, untrained = panel.curves
    assert (
        trained.x == list(range(-6, 12)) and [f for f in range(18) if trained.hollow[f]] == run.exp.held_out
    )
    assert untrained.control and trained.y != untrained.y
    assert trained.y == pytest.approx(roll_costs(run, run.model, 3).tolist())
    assert panel.levels == [("mean frame", run.results["chance"]["roll_seen"])]


def test_data_stand_apart_and_each_experiment_once(tmp_path):
    names = ["tvae_Lhalf_mnist", "nontvae_dsprites", "nontvae_mnist"]
    exps = [EXPERIMENTS[name].with_options(seed=seed) for name in names for seed in (1, 2)]
    runs = [Run(exp, tmp_path) for exp in exps]
    found = {data: [(r.exp.name, r.exp.seed) for r in own] for data, own in by_data(runs).items()}
    assert found == {
        "MNIST": [("tvae_Lhalf_mnist", 1), ("nontvae_mnist", 1)],
        "dSprites": [("nontvae_dsprites", 1)],
    }


@pytest.mark.parametrize("name", MOTIONS)
def test_motions_against_literal_steps(name, run):
    motion, test = MOTIONS[name], run.data.test
    x = moving(test, torch.tensor([2]), motion, torch.Generator().manual_seed(1))
    start = torch.randint(18, (1, 1, 3), generator=torch.Generator().manual_seed(1))[0, 0]
    for frame in (0, 1, 7, 17):
        place = [(int(s) + frame * step) % 18 for s, step in zip(start, motion.steps, strict=True)]
        assert torch.equal(x[:, frame], test.frames(torch.tensor([2]), torch.tensor([[place]]))[:, 0])


@pytest.mark.parametrize("name", MOTIONS)
def test_the_predicted_roll_is_the_one_that_a_latent_of_the_factors_needs(name, run):
    """With t the pattern rolled by a factor's place, the roll for each frame is that factor's step."""
    motion, pattern = MOTIONS[name], torch.randn(18, generator=torch.Generator().manual_seed(0))
    step = next(s for s in motion.steps if s)
    t = torch.stack([pattern.roll(frame * step) for frame in range(18)])[None, :, None]
    rolled = run.model.rolls(t, 6, step=motion.roll)
    assert torch.equal(rolled, t) and motion.roll in ROLLS


def test_costs_of_motions_against_one_roll_at_a_time(run):
    model, motion = run.model, MOTIONS["rotation at twice the speed"]
    costs = motion_costs(run, model, motion, 3)
    test = run.data.test
    x = moving(test, torch.arange(3), motion, unseen.generator("cpu", 0, "motion", 0))
    with torch.inference_mode():
        t = model.latents(x)[:, 6]
        each = {
            (r, f): negative_log_likelihood(
                model.logits(t.roll(r * (f - 6), -1)[:, None]), x[:, f : f + 1], "bernoulli"
            ).mean()
            for r, f in itertools.product(ROLLS, range(18))
        }
    for i, r in enumerate(ROLLS):
        assert costs.held_out[i] == pytest.approx(sum(each[r, f] for f in range(13, 18)).item() / 5, rel=1e-4)
        seen = [f for f in range(13) if f != 6]
        assert costs.seen[i] == pytest.approx(sum(each[r, f] for f in seen).item() / 12, rel=1e-4)
    mean = x.mean((0, 1))
    floor = torch.nn.functional.binary_cross_entropy(mean.expand_as(x), x, reduction="sum") / (3 * 18)
    assert costs.mean_frame == pytest.approx(floor.item(), rel=1e-4)
    assert costs.best == ROLLS[costs.held_out.argmin()]


def test_strips_of_motions_end_with_the_predicted_roll(run):
    strips = motion_strips(run)
    labels = [[label for label, _ in strip.rows] for strip in strips]
    assert [len(rows) for rows in labels] == [3, 4, 4, 3]
    assert "2δ" in labels[1][-1] and "−δ" in labels[2][-1] and "{δ}" in labels[3][-1]


def test_rows_of_motions_name_the_predicted_and_the_best_roll():
    held_out = torch.tensor([9.0, 2.0, 5.0, 4.0, 3.0, 8.0])
    costs = {
        name: dict.fromkeys(("trained", "untrained"), Costs(held_out, held_out, 1.0, 6.0)) for name in MOTIONS
    }
    backwards = motion_rows(costs)[2]
    assert (backwards["predicted roll"], backwards["best roll"], backwards["at the predicted"]) == (
        -1,
        -1,
        2.0,
    )
    assert (backwards["at 1"], backwards["not rolled"], backwards["mean frame"]) == (4.0, 5.0, 6.0)


def test_a_model_trained_on_uneven_motion_is_measured_on_steady_motion(make_run):
    run = make_run("tvae_Lpartial_mnist n_caps=3 data=mnist_random")
    own = {"roll_held_out": 1.0, "roll_still": 2.0, "reconstruction": 3.0}
    run.__dict__["results"] = {"trained": own}
    (row,) = trained_motion_rows([run], 3)
    steady = motion_costs(run, run.model, MOTIONS["rotation, as in training"], 3)
    assert row["steady, rolled"] == steady.at(1) and row["own motion, roll_still"] == 2.0


def test_controls_of_a_roll_against_literal_frames(run):
    (panel,) = control_panels([run], 3)
    curves = {curve.label: curve.y for curve in panel.curves}
    (batch, _), *_ = first_batches(run.exp, 3)
    x = batch.x
    with torch.inference_mode():
        t = run.model.latents(x)[:, 6:7]
        for label, shift in (("not rolled", 0), ("rolled backwards", -9)):
            logits = run.model.logits(t.roll(shift, -1))
            literal = negative_log_likelihood(logits, x[:, 15:16], "bernoulli").mean()
            assert curves[label][15] == pytest.approx(literal.item(), rel=1e-4)
    mean = x[:, :13].mean(1, keepdim=True)
    clamps = [negative_log_likelihood(mean.logit(c).expand_as(x), x, "bernoulli").mean(0) for c in CLAMPS]
    literal = min(clamps, key=lambda costs: costs[13:].mean())
    assert torch.allclose(seen_mean_costs(run, 3), literal)
    assert curves["mean of the seen frames"] == pytest.approx(literal.tolist())


def test_margins_stand_by_factor(run):
    run.results["trained"] |= {"roll_margin": {"hue": 1.0}, "roll_margin_at_draws": {"hue": None}}
    first, draws = margin_rows([run])
    assert first["hue"] == 1.0 and draws["hue"] is None and draws["t"] == "at draws"


def test_a_model_is_rolled_along_the_axes_that_are_named():
    exp = read_experiment("tvae_Lpartial_mnist n_caps=1 capsule=(2,9)", "smoke")
    model = exp.build_model(1)
    t = torch.arange(18.0).expand(1, 18, 1, 18)
    for axes, roll in (((0,), (0,)), ((1,), (1,)), ((0, 1), (0, 1))):
        rolled = model.rolls(t, 6, axes)
        for frame in range(18):
            literal = t[0, 6, 0].view(2, 9).roll([frame - 6] * len(roll), roll).flatten()
            assert torch.equal(rolled[0, frame, 0], literal)
