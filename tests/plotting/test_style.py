"""How a figure is kept: the same bytes each time, its words beside it, and nothing of the user's settings."""

import json

import matplotlib
import pytest
from matplotlib.figure import Figure

from tvae_core.plotting.style import RC, WIDTH, blank, save, style

WORDS = {"alt": "A white page with a (small) line", "caption": "Scale smoke, seed 1. Data: “dSprites”"}


def page() -> Figure:
    with style():
        figure = blank(WIDTH, 1.0)
        figure.add_axes((0.1, 0.3, 0.8, 0.5), title="One").plot([0, 1], [0, 1])
    return figure


def written(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    save(page(), tmp_path / "a", "one", **WORDS)
    again = page()
    save(again, tmp_path / "b", "one", **WORDS)
    save(again, tmp_path / "c", "one", **WORDS)  # saving changes nothing
    a, b, c = (written(tmp_path / folder) for folder in "abc")
    assert a == b == c and set(a) == {"one.png", "one.pdf", "one.json"}
    assert b"Date" not in a["one.png"] + a["one.pdf"]


def test_words_lie_beside_the_picture_and_not_in_it(tmp_path):
    shown = save(page(), tmp_path / "a", "one", **WORDS)
    save(page(), tmp_path / "b", "one", **WORDS | {"caption": "another"})
    a, b = written(tmp_path / "a"), written(tmp_path / "b")
    assert json.loads(a["one.json"]) == WORDS and a["one.json"] != b["one.json"]
    assert a["one.png"] == b["one.png"] == shown.data and shown.alt == WORDS["alt"]
    assert rb"/Subject (A white page with a \(small\) line)" in a["one.pdf"]


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_a_drawing_that_fails_leaves_nothing_behind(kind, tmp_path, monkeypatch):
    savefig = Figure.savefig

    def fail(self, target, **options):
        if options["format"] == kind:
            raise RuntimeError("no ink")
        savefig(self, target, **options)

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        save(page(), tmp_path, "one", **WORDS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "own", [{"axes.grid": True}, {"text.usetex": True}, {"savefig.facecolor": "red", "lines.linewidth": 9.0}]
)
def test_a_users_matplotlibrc_changes_nothing(own, tmp_path):
    save(page(), tmp_path / "a", "one", **WORDS)
    with matplotlib.rc_context(own):
        save(page(), tmp_path / "b", "one", **WORDS)
        assert all(matplotlib.rcParams[option] == value for option, value in own.items())  # theirs again
    assert written(tmp_path / "a") == written(tmp_path / "b")


def test_the_look_holds_inside_the_block_alone():
    before = {option: matplotlib.rcParams[option] for option in RC}
    with style():
        assert all(matplotlib.rcParams[option] in (value, [value]) for option, value in RC.items())
    assert {option: matplotlib.rcParams[option] for option in RC} == before
