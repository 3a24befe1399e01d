"""Line charts: curves in, a Figure out. Markers and lightness differ too, not colours alone."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from tvae_core.plotting.style import BODY, INK, MUTED, PAPER, RULE, SMALL, WIDTH, blank, style

# Okabe & Ito without the green that looks like a red to some, each with a marker of its own.
LOOKS = (
    *(("#0072b2", "o"), ("#e69f00", "s"), ("#56b4e9", "^"), ("#cc79a7", "D"), ("#1a1a1a", "v")),
    *(("#d55e00", "P"), ("#7a6a00", "X"), ("#6a51a3", "<"), ("#8c8c8c", "*"), ("#004d40", "p")),
)
_BESIDE = {
    "fontsize": SMALL,
    "color": MUTED,
    "bbox": {"fc": PAPER, "ec": "none", "alpha": 0.8, "pad": 0.4},
    "zorder": 1.5,  # below the curves
}
_DOTTED = {"color": MUTED, "lw": 0.8, "ls": (0, (1, 1.5)), "zorder": 1}
ROW, KEY = 2.7, 0.17  # inches: a row of panels, a line of the key
DASHED = "Dashed, with open markers: before any training."


class Curve(NamedTuple):
    """One line; None where it is not defined. Curves of the same label and look share an entry of the key."""

    label: str
    look: int
    x: Sequence[float]
    y: Sequence[float | None]
    sd: Sequence[float | None] = ()  # over seeds
    hollow: Sequence[bool] = ()  # markers that are left open
    joined: bool = True  # by a line
    control: bool = False  # dashed, markers open, not in the key: for untrained models


class Panel(NamedTuple):
    """Curves over one axis, and levels to compare them with."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    levels: Sequence[tuple[str, float]] = ()
    marks: Sequence[tuple[str, float]] = ()  # the same for places on the x axis
    ticks: Sequence[tuple[float, str]] = ()  # places and names on the x axis, or the usual ones
    log: bool = False  # the y axis
    log_x: bool = False
    from_zero: bool = False  # where the y axis begins, so that a constant looks constant


def charts(panels: Sequence[Panel], columns: int = 2, notes: Sequence[str] = ()) -> Figure:
    """Draw panels in rows of `columns`, and below them one key for all, with `notes` about the markers.

    Neighbours in a row with the same name on the y axis have the same y axis.
    """
    rows, entries = -(-len(panels) // columns), _entries(panels)
    key = (-(-len(entries) // 3) + len(notes)) * KEY + 0.1
    with style():
        figure = blank(WIDTH, rows * ROW + key, layout="constrained")
        for i, panel in enumerate(panels):
            alike = i % columns and panels[i - 1].y_label == panel.y_label
            shared = figure.axes[-1] if alike else None
            _draw(figure.add_subplot(rows, columns, i + 1, sharey=shared), panel)
        look = {"frameon": False, "labelspacing": 0.35, "handlelength": 2.6, "alignment": "left"}
        look |= {"title": "\n".join(notes), "title_fontsize": SMALL} if notes else {}
        figure.legend(handles=entries, loc="outside lower left", ncols=3, **look)
    return figure


def _line(curve: Curve) -> dict[str, object]:
    colour, marker = LOOKS[curve.look % len(LOOKS)]
    face = PAPER if curve.control else colour
    size = {"markersize": 3.6, "markeredgewidth": 0.8, "linewidth": 0.9 if curve.control else 1.3}
    dashes = {"linestyle": (0, (3, 2)) if curve.control else "-"} if curve.joined else {"linestyle": "none"}
    return {"color": colour, "marker": marker, "markerfacecolor": face, **size, **dashes}


def _entries(panels: Sequence[Panel]) -> list[Line2D]:
    looks = {(c.label, c.look): _line(c) for p in panels for c in p.curves if not c.control}
    return [Line2D([], [], label=name, **line) for (name, _), line in looks.items()]


def _draw(axes: Axes, panel: Panel) -> None:
    for curve in panel.curves:
        _draw_curve(axes, curve)
    over = {"textcoords": "offset points", **_BESIDE}
    for name, level in panel.levels:
        axes.axhline(level, **_DOTTED)
        place = {"xycoords": axes.get_yaxis_transform(), "ha": "right"}
        axes.annotate(name, (0.995, level), (0, 2), **place, **over)
    for name, spot in panel.marks:
        axes.axvline(spot, **_DOTTED)
        axes.annotate(name, (spot, 1.0), (2, -7), xycoords=axes.get_xaxis_transform(), **over)
    if panel.log:
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        axes.set_yticks([tick for tick in _round_numbers(low, high) if low <= tick <= high])
        axes.yaxis.set_minor_locator(NullLocator())
    if panel.from_zero:
        axes.set_ylim(bottom=0)
    if panel.log_x:
        axes.set_xscale("log")
        axes.set_xticks(sorted({x for curve in panel.curves for x in curve.x}))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(_number))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(7, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(_number))
    if panel.ticks:
        axes.set_xticks(*zip(*panel.ticks, strict=True))
    axes.set(xlabel=panel.x_label, ylabel=panel.y_label)
    axes.set_title(panel.title, weight="bold", fontsize=BODY)
    axes.grid(axis="y", color=RULE, lw=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.label.set_color(INK)


def _number(value: Real, _: int | None) -> str:
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}").replace("-", "−")


def _round_numbers(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    dense = high / low < 12
    return [m * 10.0**e for e in decades for m in ((1, 1.5, 2, 3, 4, 5, 7) if dense else (1, 2, 5))]


def _draw_curve(axes: Axes, curve: Curve) -> None:
    y = [math.nan if value is None else value for value in curve.y]
    line = _line(curve)
    if any(value is not None for value in curve.sd):
        bars = [value or 0.0 for value in curve.sd]
        axes.errorbar(curve.x, y, bars, fmt="none", ecolor=line["color"], elinewidth=0.8, capsize=2)
    axes.plot(curve.x, y, markevery=max(1, len(y) // 12), **line)
    hollow = [i for i, is_hollow in enumerate(curve.hollow) if is_hollow]
    if hollow:
        look = {**line, "markerfacecolor": PAPER, "linestyle": "none", "zorder": 3}
        axes.plot([curve.x[i] for i in hollow], [y[i] for i in hollow], **look)
