"""Line charts: every value where it belongs, gaps where nothing is defined, and one key for all."""

import math

import pytest

from tvae_core.plotting.charts import LOOKS, Curve, Panel, charts

X = [0, 1, 2, 3]
PANEL = Panel("One", "frames", "nats/frame", [Curve("a", 0, X, [200.0, None, 300.0, 1500.0])])


def test_values_are_where_they_belong_and_gaps_where_there_are_none():
    (axes,) = charts([PANEL]).axes
    line = axes.lines[0]
    assert list(line.get_xdata()) == X
    assert [math.isnan(y) for y in line.get_ydata()] == [False, True, False, False]
    assert line.get_ydata()[3] == 1500.0


def test_hollow_markers_are_drawn_over_the_curve():
    curve = Curve("a", 1, X, [1.0, 2.0, 3.0, 4.0], hollow=[False, True, False, True])
    (axes,) = charts([PANEL._replace(curves=[curve])]).axes
    over = axes.lines[1]
    assert (list(over.get_xdata()), list(over.get_ydata())) == ([1, 3], [2.0, 4.0])
    assert over.get_markerfacecolor() == "#ffffff" != axes.lines[0].get_markerfacecolor()


def test_the_key_names_every_look_once_and_no_control():
    curves = [Curve("a", 0, X, X), Curve("a", 0, X, X, control=True), Curve("b", 1, X, X)]
    figure = charts([PANEL._replace(curves=curves)] * 3, notes=["open: held out"])
    (key,) = figure.legends
    assert [text.get_text() for text in key.get_texts()] == ["a", "b"]
    assert key.get_title().get_text() == "open: held out"
    assert len(figure.axes) == 3


@pytest.mark.parametrize("low, high", [(0.5, 0.9), (200.0, 1500.0), (90.0, 4000.0), (1.0, 1e5)])
def test_ticks_of_a_log_axis_are_round_within_it_and_enough(low, high):
    curve = Curve("a", 0, [0, 1], [low, high])
    (axes,) = charts([PANEL._replace(curves=[curve], log=True)]).axes
    ticks = [tick for tick in axes.get_yticks() if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]]
    assert len(ticks) >= 2 and all(
        f"{tick:.0e}" == f"{tick:.1e}".replace(".0", "") or "1.5" in f"{tick:.1e}" for tick in ticks
    )


def test_neighbours_with_one_unit_share_their_axis_and_others_do_not():
    low, high = PANEL, PANEL._replace(curves=[Curve("a", 0, X, [0.0, 9000.0, 0.0, 0.0])])
    first, second, third = (a.get_ylim() for a in charts([low, high, low]).axes)
    assert first == second != third
    apart = charts([low, high._replace(y_label="L1")]).axes
    assert apart[0].get_ylim() != apart[1].get_ylim()


def test_looks_differ_in_marker_and_in_colour():
    assert len({m for _, m in LOOKS}) == len({c for c, _ in LOOKS}) == len(LOOKS)


def test_points_have_no_line_and_marks_stand_where_they_are_said_to():
    curve = Curve("a", 0, X, X, joined=False)
    (axes,) = charts([PANEL._replace(curves=[curve], marks=[("here", 2)], levels=[("floor", 1.5)])]).axes
    assert axes.lines[0].get_linestyle() == "None"
    assert [list(line.get_xdata()) for line in axes.lines].count([2, 2]) == 1
    assert [list(line.get_ydata()) for line in axes.lines].count([1.5, 1.5]) == 1
    assert {"here", "floor"} <= {text.get_text() for text in axes.texts}


def test_a_log_axis_of_steps_names_every_step():
    curve = Curve("a", 0, [300, 1200, 6000], [1.0, 2.0, 3.0])
    (axes,) = charts([PANEL._replace(curves=[curve], log_x=True)]).axes
    axes.figure.draw_without_rendering()
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["300", "1,200", "6,000"]
