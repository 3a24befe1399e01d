"""The convergence study: what is drawn and said is what the runs hold."""

import json

import pytest

from tvae_core.experiments import read_experiment
from tvae_core.figures.study import STUDY, by_data, study_panels, study_rows, way, what_study_shows
from tvae_core.plotting.tables import Row
from tvae_core.reproduce.notebooks import notebooks
from tvae_core.training.runs import Run

TEXTS = notebooks()["study"].experiments({})


def synthetic(text, folder, place) -> Run:
    """A run that was never trained, whose every measure is another number."""
    exp = read_experiment(text, "smoke")
    run = Run(exp, folder / str(place))
    run.folder.mkdir()
    row = {column.key: 100.0 * place + i for i, column in enumerate(STUDY)}
    if not exp.held_out:  # single frames have no rolls, and their reconstruction is not measured
        row |= {"roll_held_out": None, "reconstruction": None}
    (run.folder / "results.json").write_text(
        json.dumps(dict.fromkeys(("trained", "untrained", "chance"), row))
    )
    (run.folder / "provenance.json").write_text(json.dumps({"seconds": 60.0 * place}))
    look = {"validation_reconstruction": place + 0.5, "validation_elbo": -place}
    look |= {"validation_roll_held_out": place + 0.25} if exp.held_out else {}
    history = [{"step": 50, "seconds": 30.0}, {"step": 100, "seconds": 60.0, **look}]
    (run.folder / "history.json").write_text(json.dumps(history))
    return run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr("tvae_core.figures.study.table_rows", rows_without_intervals)
    return [synthetic(text, tmp_path, place) for place, text in enumerate(TEXTS)]


def rows_without_intervals(runs, columns):
    return [
        Row(run.label, [[run.results["trained"][c.key]] for c in columns], experiment=run.label)
        for run in runs
    ]


def test_every_kind_of_data_has_its_own_way_first(runs):
    for own in by_data(runs).values():
        assert way(own[0]) == "as it is" and len({way(run) for run in own}) == len(own) > 1


def test_curves_are_the_validation_rows_over_minutes(runs):
    panels = study_panels(runs)
    assert [panel.title for panel in panels][-2:] == ["2-D torus: reconstruction", "2-D torus: ELBO"]
    for curve, run in zip(panels[1].curves, by_data(runs)["MNIST"], strict=True):
        assert (curve.x, curve.y) == ([1.0], [run.history[1]["validation_roll_held_out"]])
    looks = {curve.label: curve.look for panel in panels for curve in panel.curves}
    assert all(looks[c.label] == c.look for panel in panels for c in panel.curves)


def test_rows_are_named_by_what_differs(runs):
    own = by_data(runs)["MNIST"]
    assert [row.label for row in study_rows(own)] == [way(run) for run in own]


def test_words_give_the_differences(runs):
    text = what_study_shows(runs)
    assert "`standardised=False`: +100.0 and +100.0" in text and "2-D torus" in text
