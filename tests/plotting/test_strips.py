"""What is drawn: a traversal and its marks, the torus map, the sites of W; and how a figure is kept."""

import itertools
import math

import numpy as np
import pytest
import torch
from matplotlib.lines import Line2D

from tvae_core.config import Experiment
from tvae_core.experiments import EXPERIMENTS
from tvae_core.figures.fig2 import (
    Topography,
    is_circulant,
    listens_to,
    neighbourhoods,
    shared_sites,
    topography,
)
from tvae_core.plotting.strips import GAP, Strip, tile, traversals

GROUPED = [name for name, exp in EXPERIMENTS.items() if exp.topography != "none"]


def strip(held_out, anchor=1, rows=3, s=6, channels=1) -> Strip:
    """Frame l of the input is all (l + 1) / 10, everything below it half of that."""
    frames = (torch.arange(1.0, s + 1) / 10).view(s, 1, 1, 1).expand(s, channels, 4, 4)
    below = [(f"row {i}", frames / 2) for i in range(1, rows)]
    return Strip("A title", [("input", frames), *below], anchor, held_out)


def columns(axes, frame: int) -> np.ndarray:
    """The pixels of one frame, as drawn."""
    left = frame * (4 + GAP)
    return axes.images[0].get_array()[:, left : left + 4]


@pytest.mark.parametrize("held_out, stretches", [([], 0), ([3, 4, 5], 1), ([0, 3, 5], 3)])
def test_held_out_frames_are_marked_in_the_input_alone(held_out, stretches):
    figure = traversals([strip(held_out)])
    first, *others = figure.axes
    for frame in range(6):
        grey = (frame + 1) / 10
        seen = 0.30 * grey + 0.62 if frame in held_out else grey
        assert np.allclose(columns(first, frame), seen)
        assert all(np.allclose(columns(axes, frame), grey / 2) for axes in others)
    assert sum(isinstance(line, Line2D) for line in first.lines) == stretches
    assert [text.get_text() for text in first.texts].count("held out") == (
        len(held_out) == 3 and stretches == 1
    )


@pytest.mark.parametrize("anchor", [0, 1, 5])
def test_the_box_is_around_l0_and_rolls_count_from_there(anchor):
    figure = traversals([strip([2], anchor), strip([], anchor, rows=2, channels=3)])
    assert len(figure.axes) == 5 and all(len(axes.images) == 1 for axes in figure.axes)
    for axes in figure.axes:
        (box,) = axes.patches
        corner, pixels = box.get_x(), axes.images[0].get_array()
        assert (corner, box.get_width()) == (anchor * (4 + GAP) - 0.5, 4)
        inside = pixels[:, math.ceil(corner) : math.ceil(corner + box.get_width())]
        assert (inside == columns(axes, anchor)).all() and inside.shape == (4, 4, 3)
    names = [text for axes in figure.axes for text in axes.texts if text.get_text() == f"$l_0$ = {anchor}"]
    assert [text.xy[0] for text in names] == pytest.approx([corner + 2] * 2, abs=1.5)
    rolls = [label.get_text().replace("−", "-") for label in figure.axes[2].get_xticklabels()]
    assert [int(text) for text in rolls] == [frame - anchor for frame in range(6)]


def test_tiles_lie_row_by_row():
    images = torch.rand(5, 1, 2, 3)
    canvas = tile(images, 3, gap=1, paper=0.5)
    assert canvas.shape == (2 * 3 - 1, 3 * 4 - 1, 3)
    for i in range(5):
        top, left = i // 3 * 3, i % 3 * 4
        assert all(torch.equal(canvas[top : top + 2, left : left + 3, c], images[i, 0]) for c in range(3))
    assert (canvas[2] == 0.5).all() and (canvas[:, 3] == 0.5).all() and (canvas[3:, 8:] == 0.5).all()


def sites(exp: Experiment, one: Topography, row: int, column: int) -> set[tuple[int, int]]:
    """The slow truth: the sites that one listens to, offset by offset."""
    (rows, columns_), (height, width) = one.lattice, exp.group_kernel
    found = set()
    for a in range(-((height - 1) // 2), height // 2 + 1):
        for b in range(-((width - 1) // 2), width // 2 + 1):
            if exp.n_off_diag is None or abs(a - b) <= exp.n_off_diag:
                found.add(((row + a) % rows, (column + b) % columns_))
    return found


@pytest.mark.parametrize("name", GROUPED)
def test_what_w_is_said_to_do_against_literal_loops(name):
    exp, one = EXPERIMENTS[name], topography(name)
    rows, columns_ = one.lattice
    for row, column in itertools.product((0, 1, 7, rows - 1), (0, 7, columns_ - 1)):
        here = sites(exp, one, row, column)
        assert {tuple(site) for site in listens_to(one, row, column).nonzero().tolist()} == here
        for down, on in ((0, 0), (1, 1), (1, 0), (0, 1), (-1, 2)):
            there = sites(exp, one, (row + down) % rows, (column + on) % columns_)
            assert shared_sites(one, (row, column), (down, on)) == len(here & there)
    assert is_circulant(one)


def literally_circulant(one: Topography) -> bool:
    rows, columns_ = one.lattice
    every = list(itertools.product(range(rows), range(columns_)))
    return all(
        one.w[r * columns_ + c, y * columns_ + x]
        == one.w[
            (r + a) % rows * columns_ + (c + b) % columns_, (y + a) % rows * columns_ + (x + b) % columns_
        ]
        for (r, c), (y, x), (a, b) in itertools.product(every, every, [(0, 1), (1, 0)])
    )


@pytest.mark.parametrize("changes", [{}, {"boundary": "zero"}, {"boundary": "edge"}, {"n_off_diag": None}])
def test_is_circulant_against_literal_loops(changes):
    options = {"data": "dsprites", "n_transforms": 5, "cap_dim": 4, "group_kernel": (3, 3), **changes}
    w = Experiment("small", **options).build_grouper().matrices[0]
    one = Topography("", "", w, (5, 4), ("frame l", "unit d"))
    assert is_circulant(one) == literally_circulant(one) == ("boundary" not in changes)
    one.w[3, 7] += 1
    assert not is_circulant(one) and not literally_circulant(one)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_w_that_moves_along_one_axis_alone_is_not_circulant(axis):
    w = torch.zeros(5, 4, 5, 4)
    for r, c in itertools.product(range(5), range(4)):
        w[r, c, r, c] = (r, c)[axis]  # the same along the other axis, not along this one
    one = Topography("", "", w.view(20, 20), (5, 4), ("frame l", "unit d"))
    assert not is_circulant(one) and not literally_circulant(one)


def test_neighbourhoods_at_the_border_wrap_round():
    names, site = ["bubbles_mnist", "tvae_Lpartial_dsprites"], (14, 14)
    drawn = [topography(name) for name in names]
    figure = neighbourhoods(drawn, site)
    for name, one, axes in zip(names, drawn, figure.axes[: len(names)], strict=True):
        filled = {tuple(s) for s in np.argwhere(axes.images[0].get_array()).tolist()}
        outlined = {(int(p.get_y()), int(p.get_x())) for p in axes.patches if hasattr(p, "get_x")}
        exp, (rows, columns_) = EXPERIMENTS[name], one.lattice
        assert filled == sites(exp, one, *site)
        assert outlined == sites(exp, one, 15 % rows, 15 % columns_)
