"""A table of measures: rows in; text, a file for spreadsheets, or a figure out."""

import csv
import io
import statistics
from collections.abc import Sequence
from typing import NamedTuple

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


def mean_and_sd(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean over the defined values, and their standard deviation (of a sample) if there are several."""
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    return mean, statistics.stdev(known) if len(known) > 1 else None


def cell(values: Sequence[float | None], decimals: int) -> str:
    """`1,234.5 ± 0.6`; the deviation only over several seeds, an en dash where nothing is defined."""
    mean, sd = mean_and_sd(values)
    if mean is None:
        return UNDEFINED
    text = f"{mean:,.{decimals}f}".replace("-", "−")
    return text if sd is None else f"{text} ± {sd:,.{decimals}f}"


def markdown(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The table as GitHub and notebooks show it; controls in italics."""
    names = [" ".join(f"{c.heading} [{c.unit}]".replace("-\n", "").split()) for c in columns]
    lines = [["", *names]]
    lines.append(["---", *["---:"] * len(columns)])
    for row in rows:
        cells = [cell(v, c.decimals) for v, c in zip(row.values, columns, strict=True)]
        lines.append([f"*{row.label}*" if row.control else row.label, *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def comma_separated(columns: Sequence[Column], rows: Sequence[Row]) -> str:
    """The table for a spreadsheet, unrounded: for each measure its mean, its deviation and how many seeds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", *(f"{c.key}{part}" for c in columns for part in ("", "_sd", "_n"))])
    for row in rows:
        parts = [(*mean_and_sd(v), sum(x is not None for x in v)) for v in row.values]
        writer.writerow([row.label, *("" if value is None else value for part in parts for value in part)])
    return text.getvalue()


def _width(column: Column, cells: Sequence[str]) -> float:
    """Inches that a column takes: a letter of the small size is about 0.054 wide."""
    lines = "\n".join([column.heading, column.unit, *cells]).split("\n")
    return 0.054 * max(map(len, lines)) + 0.09


def draw(columns: Sequence[Column], rows: Sequence[Row]) -> Figure:
    """The table as a figure: the deviation below the mean, controls in grey under what they belong to."""
    cells = [
        [cell(row.values[i], column.decimals).replace(" ± ", "\n± ") for row in rows]
        for i, column in enumerate(columns)
    ]
    widths = [_width(column, below) for column, below in zip(columns, cells, strict=True)]
    rights = [sum(widths[: i + 1]) + 1.08 for i in range(len(columns))]
    line = 0.31 if any("\n" in text for below in cells for text in below) else 0.195
    width, head = rights[-1] + 0.02, 0.50
    height = head + line * len(rows) + 0.04
    with style():
        figure = blank(width, height)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        for column, right, below in zip(columns, rights, cells, strict=True):
            options = {"ha": "right", "fontsize": SMALL, "linespacing": 1.2}
            # on baselines, or a letter below the line would lift its whole cell
            axes.text(right, head - 0.21, column.heading, va="baseline", **options)
            axes.text(right, head - 0.075, column.unit, va="baseline", color=MUTED, **options)
            for j, (row, text) in enumerate(zip(rows, below, strict=True)):
                colour = MUTED if row.control else INK
                axes.text(right, head + (j + 0.5) * line, text, va="center_baseline", color=colour, **options)
        for j, row in enumerate(rows):
            y, belongs = head + j * line, row.control and j and not rows[j - 1].control
            options = {"va": "center_baseline", "fontsize": SMALL, "color": MUTED if row.control else INK}
            axes.text(0.14 if belongs else 0.04, y + line / 2, row.label, **options)
            if j and not belongs:
                axes.axhline(y, color=RULE, lw=0.5)
        for y, weight in ((0.01, 1.2), (head, 0.8), (height - 0.02, 1.2)):
            axes.axhline(y, color=INK, lw=weight)
    return figure
