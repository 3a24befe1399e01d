"""Capsule traversals: which sequences are shown, and that every row is the one that its label says."""

import pytest
import torch

from tvae_core.experiments import EXPERIMENTS
from tvae_core.figures.traversals import (
    build_strips,
    example_sequences,
    ignores_held_out,
    rolls,
    start_of,
    traversal_strips,
)
from tvae_core.model.torus import roll


@pytest.fixture
def partial(make_run):
    return make_run("tvae_Lpartial_mnist n_caps=2")


def test_strips_show_the_sequence_and_every_roll_of_l0(partial):
    strips = traversal_strips(partial, (1, 8), "fig9")
    assert [s.title for s in strips] == [f"{partial.title}, {name}" for name in ("rotation", "hue", "scale")]
    model, test = partial.exp.build_model(99), partial.data.test
    for factor, (strip, digit) in enumerate(zip(strips, [1, 8 % 6, 1], strict=True)):
        (_, given), (_, again), (label, rolled) = strip.rows
        x = test.sequence(torch.tensor([digit]), factor, start_of("fig9", factor)).x
        assert torch.equal(given, x[0]) and given.shape == (18, 3, 28, 28)
        with torch.inference_mode():
            t = model.latents(x)
            assert torch.allclose(again, model.decode(t)[0], atol=1e-6)
            for frame in range(18):
                alone = model.decode(roll(t[:, 6:7], frame - 6))[0, 0]
                assert torch.allclose(rolled[frame], alone, atol=1e-6)
        assert not torch.allclose(rolled[5], rolled[6], atol=1e-6)
        assert (strip.anchor, strip.held_out, "{6}" in label) == (6, [13, 14, 15, 16, 17], True)
    assert [len(s.rows) for s in traversal_strips(partial, only_rolls=True)] == [2, 2, 2]


def test_examples_start_anywhere_and_are_those_of_their_figure(partial):
    test = partial.data.test
    first, again, other = (example_sequences(partial, [2], figure) for figure in ("fig4", "fig4", "fig6"))
    for factor in range(3):
        assert torch.equal(first[factor][1], again[factor][1])
        assert not torch.equal(first[factor][1], other[factor][1])
        plain = test.sequence(torch.tensor([2]), factor).x[0]  # starts at 0, and is otherwise the original
        assert not any(torch.equal(first[factor][1], plain.roll(shift, 0)) for shift in range(18))


def test_every_example_of_every_factor(partial):
    found = example_sequences(partial, (1, 4), "fig4", every=True)
    assert [name for name, _ in found] == ["rotation"] * 2 + ["hue"] * 2 + ["scale"] * 2
    x = partial.data.test.sequence(torch.tensor([4]), 2, start_of("fig4", 2, 1)).x[0]
    assert torch.equal(found[-1][1], x)


def test_two_factors_that_walk_together_have_one_name(make_run):
    run = make_run("tvae_Lpartial_mnist_generalization n_caps=2")
    assert [name for name, _ in example_sequences(run, (1, 4), every=True)] == [
        "rotation and hue together"
    ] * 2


@pytest.mark.parametrize("step, label", [(2, "Roll$_{2δ}$($t_{3}$)"), (-1, "Roll$_{−δ}$($t_{3}$)")])
def test_a_row_of_rolls_has_its_step_in_its_label(partial, step, label):
    x = torch.rand(18, 3, 28, 28)
    (strip,) = build_strips(partial.model, partial.exp, [("", x)], rolls(3, step))
    with torch.inference_mode():
        t = partial.model.latents(x[None])[:, 3:4]
        literal = partial.model.decode(roll(t, 4 * step))[0, 0]
    assert strip.rows[1][0] == label and torch.allclose(strip.rows[1][1][7], literal, atol=1e-6)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_held_out_frames_against_literal_windows(name):
    exp = EXPERIMENTS[name]
    seen = {exp.anchor}
    if exp.topography == "capsules":
        k = exp.group_kernel[0]
        seen = {(exp.anchor + a) % exp.n_transforms for a in range(-((k - 1) // 2), k // 2 + 1)}
        assert seen == set(range(k))
    assert exp.held_out == sorted(set(range(exp.n_transforms)) - seen)


def test_t_of_l0_ignores_the_held_out_frames_and_no_others(partial, monkeypatch):
    assert ignores_held_out(partial)
    for frame in (0, 6, 12):
        monkeypatch.setitem(partial.exp.__dict__, "held_out", [frame])
        assert not ignores_held_out(partial)
