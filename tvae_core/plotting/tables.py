"""A table of measures: rows in; text, a file for spreadsheets, or a figure out."""

import csv
import io
import itertools
import statistics
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tvae_core.plotting.style import INK, MUTED, RULE, SMALL, WIDTH, blank, style

UNDEFINED = "–"
LABELS, APART, LINE = 1.08, 0.22, 0.115  # inches that row names, the gap between parts and a line take


class Column(NamedTuple):
    """One measure."""

    key: str  # its name in a file
    heading: str
    unit: str
    decimals: int


class Row(NamedTuple):
    """One model, or something to compare it with: for each column one value a seed, None if undefined."""

    label: str
    values: Sequence[Sequence[float | None]]
    control: bool = False  # nothing was trained: a floor, not a result
    intervals: Sequence[tuple[float, float] | None] = ()  # for each column, None where there is none
    experiment: str = ""  # whose model it is


def mean_and_sd(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean over the defined values, and their standard deviation (of a sample) if there are several."""
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    return mean, statistics.stdev(known) if len(known) > 1 else None


def cell(values: Sequence[float | None], decimals: int, interval: tuple[float, float] | None = None) -> str:
    """`1,234.5 ± 0.6 [1,233.0; 1,236.1]`: mean, standard deviation over several seeds, interval.

    Only what there is of them, and an en dash where nothing is defined.
    """
    mean, sd = mean_and_sd(values)
    if mean is None:
        return UNDEFINED
    text = number(mean, decimals)
    text += "" if sd is None else f" ± {number(sd, decimals)}"
    return text if interval is None else f"{text} [{'; '.join(number(end, decimals) for end in interval)}]"


def number(value: float, decimals: int) -> str:
    """`−1,234.5`: with a real minus sign, and none before 0."""
    return f"{value:z,.{decimals}f}".replace("-", "−")


def cells(columns: Sequence[Column], row: Row) -> list[str]:
    """What `cell` says in each column of a row."""
    intervals = row.intervals or [None] * len(columns)
    parts = zip(columns, row.values, intervals, strict=True)
    return [cell(values, column.decimals, interval) for column, values, interval in parts]


def markdown(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The table as GitHub and notebooks show it; controls in italics."""
    names = [f"{c.heading} [{c.unit}]" for c in columns]
    lines = [["", *names]]
    lines.append(["---", *["---:"] * len(columns)])
    for row in rows:
        lines.append([f"*{row.label}*" if row.control else row.label, *cells(columns, row)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


FIELDS = ("row", "experiment", "control", "measure", "heading", "unit", "decimals")
FIELDS += ("mean", "sd", "seeds", "low", "high")


def comma_separated(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The table for a program or a spreadsheet, unrounded: a line for each cell, with the names in FIELDS.

    `sd` over `seeds`; `low` and `high` are the ends of the interval; empty where there is none.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for row in rows:
        intervals = row.intervals or [None] * len(columns)
        for column, values, interval in zip(columns, row.values, intervals, strict=True):
            of = [row.label, row.experiment, int(row.control), column.key, column.heading, column.unit]
            seeds = sum(value is not None for value in values)
            writer.writerow([*of, column.decimals, *mean_and_sd(values), seeds, *(interval or (None, None))])
    return text.getvalue()


def _wrapped(column: Column) -> list[str]:
    """The lines of a column's heading."""
    return textwrap.wrap(column.heading, 11, break_long_words=False)


def _width(column: Column, cells: Sequence[str]) -> float:
    """Inches that a column takes: a letter of the small size is about 0.054 wide."""
    lines = "\n".join([*_wrapped(column), column.unit, *cells]).split("\n")
    return 0.054 * max(map(len, lines)) + 0.09


def _stacked(columns: Sequence[Column], row: Row) -> list[str]:
    """Mean, and below it the deviation over several seeds, or else the interval of what was trained."""
    drawn = row._replace(intervals=()) if row.control or any(len(v) > 1 for v in row.values) else row
    return [text.replace(" ± ", "\n± ").replace(" [", "\n[") for text in cells(columns, drawn)]


def draw(columns: Sequence[Column], rows: Sequence[Row]) -> Figure:
    """Draw the table: below the mean the deviation over seeds, or of one seed the interval; controls in grey.

    No wider than a page: columns that do not fit stand below, with the rows named again. The files have
    the intervals that are left out.
    """
    texts = [_stacked(columns, row) for row in rows]
    widths = [_width(column, below) for column, below in zip(columns, zip(*texts, strict=True), strict=True)]
    parts = _broken(widths, WIDTH - LABELS - 0.02)
    heights = [0.08 + LINE * max(text.count("\n") + 1 for text in line) for line in texts]
    head = 0.27 + LINE * max(len(_wrapped(column)) for column in columns)
    width, height = LABELS + 0.02 + max(sum(widths[part]) for part in parts), head + sum(heights) + 0.04
    with style():
        figure = blank(width, height * len(parts) + APART * (len(parts) - 1))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(figure.get_figheight(), 0))
        axes.set_axis_off()
        for i, part in enumerate(parts):
            of = [line[part] for line in texts]
            _draw_part(axes, i * (height + APART), head, columns[part], widths[part], heights, rows, of)
    return figure


def _broken(widths: Sequence[float], most: float) -> list[slice]:
    """Columns in as few parts as fit into a width, about as many in each."""
    for n in range(1, len(widths) + 1):
        ends = [round(i * len(widths) / n) for i in range(n + 1)]
        parts = [slice(*pair) for pair in itertools.pairwise(ends)]
        if max(sum(widths[part]) for part in parts) <= most:
            break
    return parts


def _draw_part(
    axes: Axes,
    top: float,
    head: float,
    columns: Sequence[Column],
    widths: Sequence[float],
    heights: Sequence[float],
    rows: Sequence[Row],
    texts: Sequence[Sequence[str]],
) -> None:
    rights = [LABELS + end for end in itertools.accumulate(widths)]
    for y, weight in ((0.01, 1.2), (head, 0.8), (head + sum(heights) + 0.02, 1.2)):
        axes.plot((0, rights[-1] + 0.02), (top + y, top + y), color=INK, lw=weight)
    for column, right in zip(columns, rights, strict=True):
        # on baselines, or a letter below the line would lift its whole cell
        _put(axes, right, top + head - 0.21, "\n".join(_wrapped(column)), INK, va="baseline")
        _put(axes, right, top + head - 0.075, column.unit, MUTED, va="baseline")
    y = top + head
    for j, (row, line, height) in enumerate(zip(rows, texts, heights, strict=True)):
        colour, belongs = MUTED if row.control else INK, row.control and j and not rows[j - 1].control
        _put(axes, 0.14 if belongs else 0.04, y + height / 2, row.label, colour, ha="left")
        for right, text in zip(rights, line, strict=True):
            _put(axes, right, y + height / 2, text, colour)
        if j and not belongs:
            axes.plot((0, rights[-1] + 0.02), (y, y), color=RULE, lw=0.5)
        y += height


def _put(axes: Axes, x: float, y: float, text: str, colour: str, **options) -> None:
    options = {"ha": "right", "va": "center_baseline", "linespacing": 1.2, **options}
    axes.text(x, y, text, fontsize=SMALL, color=colour, **options)
