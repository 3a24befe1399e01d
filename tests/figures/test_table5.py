"""Table 5: which runs a sweep holds, in which order, and that what is drawn is what was measured."""

import json

import pytest
import torch

from tvae_core.experiments import read_experiment
from tvae_core.figures.table5 import (
    NATS,
    TABLE_5,
    frames_shared,
    sizes,
    sweep,
    sweep_panels,
    sweep_rows,
    units_shared,
)
from tvae_core.reproduce.notebooks import notebooks
from tvae_core.training.runs import Run

TEXTS = notebooks()["table5"].experiments({})
KEYS = list(TABLE_5)


def synthetic(text, folder, seed) -> Run:
    """A run that was never trained, whose every measure is another number."""
    exp = read_experiment(text, "smoke")
    run = Run(exp.with_options(seed=seed), folder / f"{len(list(folder.iterdir()))}")
    run.folder.mkdir()
    base = 100.0 * units_shared(exp) + frames_shared(exp)
    rows = {
        kind: {key: base + seed + more + i for i, key in enumerate(KEYS)}
        for more, kind in enumerate(("trained", "untrained", "chance"))
    }
    for row in rows.values():
        row["roll_held_out"] = row["roll_held_out"] if exp.held_out else None
    (run.folder / "results.json").write_text(json.dumps(rows))
    each = {
        kind: {k: torch.full((3,), v) for k, v in (row | {"e_eq_chance": 1.0}).items() if v is not None}
        for kind, row in rows.items()
    }
    run.save_per_sequence(**each)
    return run


@pytest.fixture
def runs(tmp_path):
    return [synthetic(text, tmp_path, seed) for text in TEXTS for seed in (1, 2)]


def test_the_sweeps_of_the_notebook(runs):
    along_k, along_l = sweep(runs, units_shared), sweep(runs, frames_shared)
    assert [units_shared(own[0].exp) for own in along_k] == [1, 3, 5, 9, 18]
    assert [frames_shared(own[0].exp) for own in along_l] == [1, 5, 9, 13, 18]
    assert {frames_shared(run.exp) for own in along_k for run in own} == {13}
    assert {units_shared(run.exp) for own in along_l for run in own} == {3}
    assert all([run.exp.seed for run in own] == [1, 2] for own in (*along_k, *along_l))
    named = {run.label for own in (*along_k, *along_l) for run in own}
    assert named == {run.label for run in runs}  # no run is trained for nothing


@pytest.mark.parametrize("text", TEXTS)
def test_k_is_what_w_couples(text):
    """K counts the units of one frame that the middle of a window listens to; at 18 W knows no position."""
    exp = read_experiment(text, "smoke")
    w = exp.build_grouper().matrices[0].view(18, 18, 18, 18)
    site = w[exp.anchor, 9]
    assert (site.sum(1) > 0).sum() == frames_shared(exp)
    assert (site[exp.anchor] > 0).sum() == min(units_shared(exp), exp.group_kernel[1])
    assert torch.equal(w, w[:, :1].expand_as(w)) == (units_shared(exp) == 18)


def test_rows_go_along_k_and_then_along_l_each_model_once(runs):
    frame = sweep_rows(runs)
    *rows, last = frame[frame.measure == "e_eq"].itertuples()
    assert [row.row for row in rows[1::2]] == ["untrained"] * 9 and last.row == "chance level"
    labels = [row.row for row in rows[::2]]
    assert labels[:3] == ["K = 1, L = 13/36 S", "K = 3, L = 13/36 S", "K = 5, L = 13/36 S"]
    assert labels[5:] == ["K = 3, L = 0", "K = 3, L = 5/36 S", "K = 3, L = 9/36 S", "K = 3, L = S/2"]
    for row in rows[::2]:
        (own,) = {sizes(run.exp): run for run in runs if sizes(run.exp) == row.row}.values()
        assert row.mean == own.results["trained"]["e_eq"] - 0.5  # of the seeds 1 and 2


def test_what_is_drawn_is_what_was_measured(runs):
    likelihood_k, _, error_k, error_l = sweep_panels(runs)
    assert [name for _, name in likelihood_k.ticks] == ["1", "3", "5", "9", "18"]
    assert [name for _, name in error_l.ticks] == ["1\n(17)", "5\n(13)", "9\n(9)", "13\n(5)", "18\n(0)"]
    assert len(likelihood_k.curves) == 2 * len(NATS)
    base = [100 * k + 13 for k in (1, 3, 5, 9, 18)]
    elbo = likelihood_k.curves[2 * list(NATS).index("elbo")]
    assert elbo.y == pytest.approx([-(b + 1.5 + KEYS.index("elbo")) for b in base])
    trained, untrained = error_k.curves
    assert trained.y == pytest.approx([b + 1.5 + KEYS.index("e_eq") for b in base])
    assert untrained.y == pytest.approx([y + 1 for y in trained.y]) and untrained.control
    assert trained.sd == pytest.approx([0.5**0.5] * 5)
    assert sweep_panels(runs)[1].curves[0].y[-1] is None  # L = S/2 holds nothing out
