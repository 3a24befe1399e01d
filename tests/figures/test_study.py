"""The study: which runs each picture shows, and that it shows what the runs hold."""

import json

import pandas as pd
import pytest

from tvae_core.config import SCALES
from tvae_core.experiments import read_experiment
from tvae_core.figures.study import (
    PAPER,
    STUDY,
    by_training_data,
    changed_options,
    length_panels,
    length_rows,
    length_runs,
    part_panels,
    part_rows,
    recipe,
    recipe_runs,
    study_rows,
)
from tvae_core.reproduce.notebooks import notebooks
from tvae_core.training.runs import Run

TEXTS = notebooks()["study"].experiments({})


def synthetic(text, folder, place) -> Run:
    """A run that was never trained, whose every measure is another number."""
    exp = read_experiment(text, "smoke")
    run = Run(exp, folder / str(place))
    run.folder.mkdir()
    row = {key: 100.0 * place + i for i, key in enumerate(STUDY)}
    look = {"validation_reconstruction": place + 0.5, "validation_elbo": -place}
    if exp.held_out:  # single frames have no rolls
        row["roll_margin_at_draws"] = {"a": 1.0 * place, "b": 3.0 * place}
        look["validation_roll_held_out"] = place + 0.25
        look |= {f"validation_roll_margin_at_draws/{k}": v + place for k, v in {"a": 1.0, "b": 3.0}.items()}
    (run.folder / "results.json").write_text(
        json.dumps(dict.fromkeys(("trained", "untrained", "chance"), row))
    )
    (run.folder / "provenance.json").write_text(json.dumps({"seconds": 60.0 * place}))
    history = [{"step": 1, "seconds": 30.0}, {"step": exp.max_steps, "seconds": 60.0, **look}]
    (run.folder / "history.json").write_text(json.dumps(history))
    return run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr("tvae_core.figures.study.table_rows", rows_without_intervals)
    return [synthetic(text, tmp_path, place) for place, text in enumerate(TEXTS, 1)]


def rows_without_intervals(runs, columns):
    return pd.DataFrame([{"row": run.label, "experiment": run.label} for run in runs])


def test_every_kind_of_data_has_the_recipe_first(runs):
    parts = by_training_data(recipe_runs(runs))
    assert list(parts) == ["MNIST", "dSprites", "2-D torus"]
    for own in parts.values():
        options = [changed_options(run) for run in own]
        assert options[0] == "as it is" and len(set(options)) == len(own) > 1
        assert len({run.exp.max_steps for run in own}) == 1


def test_lengths_differ_in_steps_and_price_alone(runs):
    lengths = length_runs(runs)
    assert {run.label for run in runs} == {run.label for run in (*lengths, *recipe_runs(runs))}
    kinds = by_training_data(lengths)
    for row in length_rows(lengths):
        ends = [
            run
            for run in kinds[row["data"]]
            if (recipe(run), run.exp.max_steps) == (row["recipe"], row["steps"])
        ]
        assert [run.results["trained"]["elbo"] for run in ends] == [row["ELBO"]]
    digits = [row["steps"] for row in length_rows(lengths) if row["data"] == "MNIST"]
    n = SCALES["smoke"]["max_steps"]
    assert digits == [n // 4, n, 5 * n] * 2 + [5 * n]


def test_panels_of_lengths_show_each_recipe(runs):
    panels = length_panels(length_runs(runs))
    titles = [panel.title for panel in panels]
    assert titles == [f"{data}: {name}" for data in ("MNIST", "dSprites") for name in ("ELBO", "roll margin")]
    rows = [row for row in length_rows(length_runs(runs)) if row["data"] == "MNIST"]
    mean, worst = panels[1].curves[:2]
    own = [row for row in rows if row["recipe"] == mean.label]
    assert mean.y == [row["mean margin"] for row in own] == [2 * y for y in worst.y]
    assert worst.control and not mean.control and panels[1].levels == [("best control", 0.0)]


def test_the_papers_recipe_is_one_training_as_it_goes_on(runs):
    last = runs[-1]
    assert recipe(last) == PAPER and last.label.startswith("tvae_Lpartial_mnist recipe=paper ")
    early = {**last.history[-1], "step": 3, "validation_elbo": -900.0}
    last.history.insert(1, early)
    elbo, margin = length_panels(length_runs(runs))[:2]
    assert [curve.x for curve in elbo.curves][-1] == [3, last.exp.max_steps]
    assert elbo.curves[-1].y == [-900.0, -len(runs)]
    assert [n for n, _ in elbo.ticks] == [2, 8, 40]
    mean, worst = margin.curves[-2:]
    assert len(length_panels([last])) == 2  # without any other recipe
    last.history[-1].pop("validation_elbo"), last.history[1].pop("validation_elbo")
    assert length_panels([last]) == []
    assert (mean.label, mean.y, worst.y) == (PAPER, [len(runs) + 2.0] * 2, [len(runs) + 1.0] * 2)


def test_scales_side_by_side_are_curves_of_their_own(runs, tmp_path):
    long = synthetic("tvae_Lpartial_mnist", tmp_path, 99)
    object.__setattr__(long, "exp", read_experiment("tvae_Lpartial_mnist max_steps=50", "long"))
    both = [*length_runs(runs), long]
    words = [row["recipe"] for row in length_rows(both)]
    assert words.count("full KL price, scale long") == 1 and "full KL price, scale smoke" in words
    elbo = length_panels(both)[0]
    assert [curve.y for curve in elbo.curves if curve.label == "full KL price, scale long"] == [[9900.0]]
    assert elbo.curves[-1].label == PAPER


def test_curves_of_parts_are_the_validation_rows_over_minutes(runs):
    parts = recipe_runs(runs)
    panels = part_panels(parts)
    assert [panel.title for panel in panels][-1] == "2-D torus: ELBO"
    for curve, run in zip(panels[1].curves, by_training_data(parts)["MNIST"], strict=True):
        assert (curve.x, curve.y) == ([1.0], [run.history[1]["validation_roll_held_out"]])
    looks = {curve.label: curve.look for panel in panels for curve in panel.curves}
    assert all(looks[c.label] == c.look for panel in panels for c in panel.curves)


def test_rows_are_named_by_what_differs_and_give_the_differences(runs):
    own = by_training_data(recipe_runs(runs))["MNIST"]
    assert list(study_rows(own).row) == [changed_options(run) for run in own]
    first, second, *_ = part_rows(own)
    assert first["ELBO gained"] == 0 and first["variant"] == "as it is"
    assert second["ELBO gained"] == second["ELBO"] - first["ELBO"] == 100.0
    assert second["worst margin gained"] == own[1].results["trained"]["roll_margin_at_draws"]["a"] - 1.0
