"""Curves in panels side by side: losses over time, costs over sizes. Numbers in, a Figure out."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter

from tvae_core.style import MUTED, RULE, SMALL, WIDTH, blank, style

# Okabe & Ito, darkest first, with a dash each: told apart without colour as well.
LINES = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#882255")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), "-.", (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 2)), "--")


class Curve(NamedTuple):
    """One line."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


class Panel(NamedTuple):
    """One pair of axes and the curves on it; a level is a horizontal line with a name."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    levels: Sequence[tuple[str, float]] = ()
    log: bool = False  # both axes
    y_range: tuple[float, float] | None = None


def draw_panels(
    panels: Sequence[Panel], width: float = WIDTH, height: float = 2.5, markers: str = ""
) -> Figure:
    """The panels side by side; a label keeps its line over all of them, and the legend stands below."""
    labels = list(dict.fromkeys(curve.label for panel in panels for curve in panel.curves))
    columns = 4 if max(map(len, labels), default=0) < 24 else 2
    with style():
        figure = blank(width, height)
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        lines = {}
        for ax, panel in zip(axes, panels, strict=True):
            for label, x, y in panel.curves:
                look = {"color": LINES[labels.index(label) % 8], "ls": DASHES[labels.index(label) % 8]}
                (lines[label],) = ax.plot(x, y, lw=1.2, marker=markers or None, ms=3, **look)
            _furnish(ax, panel)
        figure.legend(
            lines.values(), lines, loc="lower center", ncols=columns, frameon=False, handlelength=3.5
        )
        below = 0.05 + 0.15 * -(-len(lines) // columns)
        figure.tight_layout(rect=(0, below / height, 1, 1))
    return figure


def _furnish(ax: Axes, panel: Panel) -> None:
    ax.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    ax.spines[["top", "right"]].set_visible(False)
    for name, level in panel.levels:
        ax.axhline(level, color=RULE, lw=0.8)
        at = {"xycoords": ("axes fraction", "data"), "xytext": (-1, 1), "textcoords": "offset points"}
        ax.annotate(name, (1, level), ha="right", fontsize=SMALL, color=MUTED, **at)
    if panel.log:
        ax.set(xscale="log", yscale="log")
        ax.set_xticks(sorted({x for curve in panel.curves for x in curve.x}))
        ax.xaxis.set_major_formatter(ScalarFormatter())
        ax.xaxis.set_minor_formatter(NullFormatter())
    if panel.y_range:
        ax.set_ylim(panel.y_range)
