"""A table of measures: rows in; text, a file for spreadsheets, or a figure out."""

import csv
import io
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tvae_core.style import INK, MUTED, RULE, SMALL, blank, style

UNDEFINED = "–"


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
    """`−1,234.5`: with a real minus sign."""
    return f"{value:,.{decimals}f}".replace("-", "−")


def cells(columns: Sequence[Column], row: Row) -> list[str]:
    """What `cell` says in each column of a row."""
    intervals = row.intervals or [None] * len(columns)
    parts = zip(columns, row.values, intervals, strict=True)
    return [cell(values, column.decimals, interval) for column, values, interval in parts]


def markdown(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The table as GitHub and notebooks show it; controls in italics."""
    names = [f"{heading(c)} [{c.unit}]" for c in columns]
    lines = [["", *names]]
    lines.append(["---", *["---:"] * len(columns)])
    for row in rows:
        lines.append([f"*{row.label}*" if row.control else row.label, *cells(columns, row)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def heading(column: Column) -> str:
    """A column's heading in one line."""
    return " ".join(column.heading.replace("-\n", "").split())


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
            of = [row.label, row.experiment, int(row.control), column.key, heading(column), column.unit]
            seeds = sum(value is not None for value in values)
            writer.writerow([*of, column.decimals, *mean_and_sd(values), seeds, *(interval or (None, None))])
    return text.getvalue()


def _width(column: Column, cells: Sequence[str]) -> float:
    """Inches that a column takes: a letter of the small size is about 0.054 wide."""
    lines = "\n".join([column.heading, column.unit, *cells]).split("\n")
    return 0.054 * max(map(len, lines)) + 0.09


def _stacked(columns: Sequence[Column], row: Row) -> list[str]:
    drawn = row._replace(intervals=()) if row.control else row
    return [text.replace(" ± ", "\n± ").replace(" [", "\n[") for text in cells(columns, drawn)]


def draw(columns: Sequence[Column], rows: Sequence[Row]) -> Figure:
    """The table as a figure: deviation and interval below the mean, controls in grey.

    Controls are drawn without their intervals, which the files have.
    """
    texts = [_stacked(columns, row) for row in rows]
    widths = [_width(column, below) for column, below in zip(columns, zip(*texts, strict=True), strict=True)]
    heights = [0.08 + 0.115 * max(text.count("\n") + 1 for text in line) for line in texts]
    rights = [sum(widths[: i + 1]) + 1.08 for i in range(len(columns))]
    width, head = rights[-1] + 0.02, 0.50
    height = head + sum(heights) + 0.04
    with style():
        figure = blank(width, height)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        for column, right in zip(columns, rights, strict=True):
            # on baselines, or a letter below the line would lift its whole cell
            _put(axes, right, head - 0.21, column.heading, INK, va="baseline")
            _put(axes, right, head - 0.075, column.unit, MUTED, va="baseline")
        for j, (row, line) in enumerate(zip(rows, texts, strict=True)):
            top, colour = head + sum(heights[:j]), MUTED if row.control else INK
            belongs = row.control and j and not rows[j - 1].control
            _put(axes, 0.14 if belongs else 0.04, top + heights[j] / 2, row.label, colour, ha="left")
            for right, text in zip(rights, line, strict=True):
                _put(axes, right, top + heights[j] / 2, text, colour)
            if j and not belongs:
                axes.axhline(top, color=RULE, lw=0.5)
        for y, weight in ((0.01, 1.2), (head, 0.8), (height - 0.02, 1.2)):
            axes.axhline(y, color=INK, lw=weight)
    return figure


def _put(axes: Axes, x: float, y: float, text: str, colour: str, **options) -> None:
    options = {"ha": "right", "va": "center_baseline", "linespacing": 1.2, **options}
    axes.text(x, y, text, fontsize=SMALL, color=colour, **options)
