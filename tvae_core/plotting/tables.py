"""A table of measures: a data frame in; text, a file for spreadsheets, or a figure out."""

import itertools
import statistics
import textwrap
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tvae_core.plotting.style import INK, MUTED, RULE, SMALL, WIDTH, blank, style

UNDEFINED = "–"
LABELS, APART, LINE = 1.08, 0.22, 0.115  # inches that row names, the gap between parts and a line take

# The columns of a frame, which has a line for each cell of the table, row by row. `row` is the name of a
# model or of a control, `experiment` whose model it is, and `control` whether nothing was trained; `measure`
# is a key, and `heading`, `unit` and `decimals` are how people see it; `shown` says whether text and figure
# have the measure, which the file always has. `mean` and `sd` are over `seeds`; `low` and `high` are the ends
# of the bootstrap interval. What is not defined is nan.
FIELDS = ("row", "experiment", "control", "measure", "heading", "unit", "decimals", "shown")
FIELDS += ("mean", "sd", "seeds", "low", "high")


def mean_and_sd(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Return the mean of the defined values, and their (sample) standard deviation if there are several."""
    known = [value for value in values if value is not None]
    mean = statistics.fmean(known) if known else None
    return mean, statistics.stdev(known) if len(known) > 1 else None


def number(value: float, decimals: int) -> str:
    """Return `−1,234.5`: with a real minus sign, and none before 0."""
    return f"{value:z,.{decimals}f}".replace("-", "−")


def cell(mean: float | None, sd: float | None, low: float | None, high: float | None, decimals: int) -> str:
    """Return `1,234.5 ± 0.6 [1,233.0; 1,236.1]`: mean, standard deviation over several seeds, interval.

    What is undefined is left out; an en dash stands for an undefined mean.
    """
    if pd.isna(mean):
        return UNDEFINED
    text = number(mean, decimals) + ("" if pd.isna(sd) else f" ± {number(sd, decimals)}")
    return text if pd.isna(low) else f"{text} [{number(low, decimals)}; {number(high, decimals)}]"


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the shown cells as text: a line for each row, in their order, and a column for each measure."""
    shown = frame[frame.shown]
    keys = shown.measure.unique()
    text = [cell(*part) for part in shown[["mean", "sd", "low", "high", "decimals"]].itertuples(index=False)]
    return pd.DataFrame(np.reshape(text, (-1, len(keys))), columns=keys)


def heads(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one line for each shown measure, as the first row of the table has it."""
    return frame[frame.shown].drop_duplicates("measure")


def labels(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one line for each row of the table, as the first measure has it."""
    return frame[frame.measure == frame.measure.iloc[0]]


def markdown(frame: pd.DataFrame) -> str:
    """Return the shown measures as GitHub and notebooks show them; controls in italics."""
    text = cells(frame)
    text.columns = [f"{m.heading} [{m.unit}]" if m.unit else m.heading for m in heads(frame).itertuples()]
    text.index = [f"*{line.row}*" if line.control else line.row for line in labels(frame).itertuples()]
    aligned = ["left", *["right"] * text.shape[1]]
    return text.to_markdown(disable_numparse=True, colalign=aligned) + "\n"


def comma_separated(frame: pd.DataFrame) -> str:
    """Return every measure, unrounded, for a program or a spreadsheet: a line for each cell, with FIELDS."""
    flags = {"control": frame.control.astype(int), "shown": frame.shown.astype(int)}
    return frame.assign(**flags).to_csv(columns=FIELDS, index=False, lineterminator="\n")


def draw(frame: pd.DataFrame) -> Figure:
    """Draw the shown measures: below the mean the deviation over seeds, or of one seed the interval.

    No wider than a page: columns that do not fit stand below, with the rows named again. Controls stand in
    grey, without intervals; the file has all of them.
    """
    single = ~frame.control & (frame.seeds.max() < 2)
    text = cells(frame.assign(low=frame.low.where(single), high=frame.high.where(single)))
    text = text.map(lambda words: words.replace(" ± ", "\n± ").replace(" [", "\n["))
    heading = [(_wrapped(line.heading), line.unit) for line in heads(frame).itertuples()]
    widths = [_width([*head, *text.iloc[:, i]]) for i, head in enumerate(heading)]
    names = labels(frame)
    names = names.assign(row=names.row.map(lambda name: "\n".join(textwrap.wrap(name, 24))))
    left = max(LABELS, _width([*names.row]))
    parts = _broken(widths, WIDTH - left - 0.02)
    heights = [
        0.08 + LINE * _lines([*line, name]) for line, name in zip(text.to_numpy(), names.row, strict=True)
    ]
    tops = [0.27 + LINE * _lines(words for words, _ in heading[part]) for part in parts]  # of the rows
    width = left + 0.02 + max(sum(widths[part]) for part in parts)
    with style():
        figure = blank(width, sum(tops) + len(parts) * (sum(heights) + 0.04 + APART) - APART)
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(figure.get_figheight(), 0))
        axes.set_axis_off()
        y = 0.0
        for part, top in zip(parts, tops, strict=True):
            rights = [left + end for end in itertools.accumulate(widths[part])]
            _draw_head(axes, y, y + top, heading[part], rights)
            _draw_rows(axes, y + top, heights, names, text.iloc[:, part], rights)
            y += top + sum(heights) + 0.04 + APART
    return figure


def _lines(texts: Iterable[str]) -> int:
    return max(text.count("\n") + 1 for text in texts)


def _wrapped(heading: str) -> str:
    words = heading.replace(" ↑", "\N{NO-BREAK SPACE}↑").replace(" ↓", "\N{NO-BREAK SPACE}↓")
    return "\n".join(textwrap.wrap(words, 12, break_long_words=False))


def _width(texts: Sequence[str]) -> float:
    """Inches that a column takes: a letter of the small size is about 0.054 wide."""
    return 0.054 * max(map(len, "\n".join(texts).split("\n"))) + 0.09


def _broken(widths: Sequence[float], most: float) -> list[slice]:
    """Columns in as few parts as fit into a width, about as many in each."""
    for n in range(1, len(widths) + 1):
        ends = [round(i * len(widths) / n) for i in range(n + 1)]
        parts = [slice(*pair) for pair in itertools.pairwise(ends)]
        if max(sum(widths[part]) for part in parts) <= most:
            break
    return parts


def _draw_head(
    axes: Axes, top: float, bottom: float, heading: Sequence[tuple[str, str]], rights: Sequence[float]
) -> None:
    _rule(axes, top + 0.01, rights, INK, 1.2)
    for (words, unit), right in zip(heading, rights, strict=True):
        # on baselines, or a letter below the line would lift its whole cell
        _put(axes, right, bottom - 0.21, words, INK, va="baseline")
        _put(axes, right, bottom - 0.075, unit, MUTED, va="baseline")
    _rule(axes, bottom, rights, INK, 0.8)


def _draw_rows(
    axes: Axes,
    y: float,
    heights: Sequence[float],
    rows: pd.DataFrame,
    text: pd.DataFrame,
    rights: Sequence[float],
) -> None:
    trained = True  # the row above
    for i, (row, line, height) in enumerate(zip(rows.itertuples(), text.to_numpy(), heights, strict=True)):
        belongs = row.control and trained and i > 0
        colour, trained = MUTED if row.control else INK, not row.control
        _put(axes, 0.14 if belongs else 0.04, y + height / 2, row.row, colour, ha="left")
        for right, words in zip(rights, line, strict=True):
            _put(axes, right, y + height / 2, words, colour)
        if i and not belongs:
            _rule(axes, y, rights, RULE, 0.5)
        y += height
    _rule(axes, y + 0.02, rights, INK, 1.2)


def _rule(axes: Axes, y: float, rights: Sequence[float], colour: str, weight: float) -> None:
    axes.plot((0, rights[-1] + 0.02), (y, y), color=colour, lw=weight)


def _put(axes: Axes, x: float, y: float, text: str, colour: str, **options) -> None:
    options = {"ha": "right", "va": "center_baseline", "linespacing": 1.2, **options}
    axes.text(x, y, text, fontsize=SMALL, color=colour, **options)
