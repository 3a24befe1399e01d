"""Draw maps, rings, curves and film strips as SVG: sharp at any size, text in the colour of the page."""

import base64
import html
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from matplotlib.colors import to_hex
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from tvae_core.explorer.pixels import png, sheet, signed
from tvae_core.plotting.strips import Strip

Number = int | float

LEVELS = 64  # colours of a map
MAP, LEFT, TOP = 150, 22, 4  # of a map in its drawing: its side, and its distances from the edges
MAP_WIDTH, MAP_HEIGHT = LEFT + MAP + 4, TOP + MAP + 46
RING, TRUTH, RING_SIDE = (36, 62), (66, 80), 176  # radii of the two rings; the side of the drawing
FRAME, LABELS, LINE = 58, 152, 30  # of a film: from frame to frame, left of the first, of a line of text
CHART = 400, 118
EDGES = 44, 392, 22, 98  # of a chart's axes: left, right, top, bottom


def drawing(width: Number, height: Number, label: str, *parts: str) -> str:
    """Return an SVG of this size, with `label` for readers who cannot see it."""
    name = html.escape(label, quote=True)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{name}">{"".join(parts)}</svg>'


def text(x: Number, y: Number, words: str, anchor: str = "middle", kind: str = "") -> str:
    """Return a line of text whose middle, start or end is at a point."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{html.escape(words)}</text>'


@lru_cache
def palette(name: str) -> list[str]:
    """Return the LEVELS colours of a colour map of matplotlib."""
    return [to_hex(colour) for colour in matplotlib.colormaps[name](np.linspace(0, 1, LEVELS))]


def _levels(values: Tensor, limits: tuple[float, float]) -> list:
    low, high = limits
    share = ((values - low) / max(high - low, 1e-12)).clamp(0, 1).nan_to_num(-1)
    return share.mul(LEVELS - 1).round().long().tolist()


def heat_map(
    values: Float[Tensor, "rows columns"],
    limits: tuple[float, float],
    label: str,
    picked: tuple[int, int | None] | None = None,
    axes: tuple[str, str] = ("capsule", "unit"),
    colours: str = "viridis",
) -> str:
    """Draw one value for each unit, with both axes and a colour bar; nan is left empty.

    `picked` is framed: a unit, or without a column a whole row.
    """
    rows, columns = values.shape
    paths: dict[int, str] = defaultdict(str)
    for y, line in enumerate(_levels(values, limits)):
        for x, level in ((x, level) for x, level in enumerate(line) if level >= 0):
            paths[level] += f"M{x} {y}h1v1h-1z"
    hexes = palette(colours)
    squares = "".join(f'<path fill="{hexes[level]}" d="{path}"/>' for level, path in paths.items())
    if picked is not None:
        row, column = picked
        x, width = (0, columns) if column is None else (column, 1)
        squares += f'<rect x="{x}" y="{row}" width="{width}" height="1" class="picked"/>'
    scale = f"translate({LEFT} {TOP}) scale({MAP / columns:g} {MAP / rows:g})"
    foot, end = TOP + MAP, LEFT + MAP
    middle = f"translate({LEFT - 8} {TOP + MAP / 2}) rotate(-90)"
    parts = [
        f'<g transform="{scale}" shape-rendering="crispEdges">{squares}</g>',
        text(LEFT - 3, TOP + 9, "0", "end"),
        text(LEFT - 3, foot - 1, str(rows - 1), "end"),
        text(LEFT + 3, foot + 12, "0"),
        text(end - 6, foot + 12, str(columns - 1)),
        text(LEFT + MAP / 2, foot + 12, axes[1]),
        f'<g transform="{middle}">{text(0, 0, axes[0])}</g>',
        _colour_bar(foot + 20, limits, hexes),
    ]
    return drawing(MAP_WIDTH, MAP_HEIGHT, label, *parts)


def _colour_bar(y: Number, limits: tuple[float, float], hexes: Sequence[str]) -> str:
    step = MAP / LEVELS
    bars = "".join(
        f'<rect x="{LEFT + i * step:g}" y="{y}" width="{step + 0.3:g}" height="7" fill="{colour}"/>'
        for i, colour in enumerate(hexes)
    )
    low, high = (f"{limit:.3g}".replace("-", "−") for limit in limits)
    return bars + text(LEFT, y + 19, low, "start") + text(LEFT + MAP, y + 19, high, "end")


def unit_at(x: Number, y: Number, rows: int, columns: int) -> tuple[int, int] | None:
    """Return the row and the column of a map at a point of its drawing; None beside the map."""
    row, column = math.floor((y - TOP) / MAP * rows), math.floor((x - LEFT) / MAP * columns)
    return (row, column) if 0 <= row < rows and 0 <= column < columns else None


@lru_cache(maxsize=64)
def _wedges(n: int, inner: Number, outer: Number) -> list[str]:
    """The outlines of n equal parts of a ring around (0, 0), clockwise, the middle of the first on top."""

    def corner(place: Number, radius: Number) -> str:
        angle = 2 * math.pi * place / n
        return f"{radius * math.sin(angle):.2f} {-radius * math.cos(angle):.2f}"

    return [
        f"M{corner(d - 0.5, inner)}L{corner(d - 0.5, outer)}A{outer} {outer} 0 0 1 {corner(d + 0.5, outer)}"
        f"L{corner(d + 0.5, inner)}A{inner} {inner} 0 0 0 {corner(d - 0.5, inner)}Z"
        for d in range(n)
    ]


def ring(
    values: Float[Tensor, " D"],
    truth: Float[Tensor, " D"] | None,
    shift: Number,
    limits: tuple[float, float],
    label: str,
) -> str:
    """Draw the units of a capsule as a ring turned by `shift` units, inside the ring that it should equal.

    Without `truth` the outer ring is left empty. A dot marks unit 0 of the ring that turns.
    """
    n, hexes, middle = len(values), palette("viridis"), RING_SIDE / 2

    def wedges(units: Tensor, radii: tuple[int, int]) -> str:
        shapes = zip(_levels(units, limits), _wedges(n, *radii), strict=True)
        return "".join(f'<path fill="{hexes[level]}" d="{path}"/>' for level, path in shapes)

    dot = f'<circle cy="{6 - RING[0]}" r="3.5" class="mark"/>'
    turning = f'<g transform="rotate({360 * shift / n:g})" class="turning">{wedges(values, RING)}{dot}</g>'
    still = wedges(truth, TRUTH) if truth is not None else f'<circle r="{sum(TRUTH) / 2}" class="hidden"/>'
    words = text(0, 5, signed(shift, 2))
    rings = f'<g transform="translate({middle} {middle})">{still}{turning}{words}</g>'
    return drawing(RING_SIDE, RING_SIDE, label, rings)


class Curve(NamedTuple):
    """One value at each frame; None is not drawn."""

    name: str
    values: Sequence[Number | None]
    kind: str  # its class in explorer.css: first, second or third


def chart(title: str, curves: Sequence[Curve], anchor: int, position: Number, held_out: Sequence[int]) -> str:
    """Draw curves over the rolls δ that reach each frame, the held-out ones shaded, and the present roll."""
    left, right, top, bottom = EDGES
    known = [value for curve in curves for value in curve.values if value is not None]
    ticks = MaxNLocator(3, min_n_ticks=2).tick_values(min(known), max(known))
    n, low, high = len(curves[0].values), ticks[0], ticks[-1]
    step = (right - left) / n

    def x(frame: Number) -> float:
        return left + (frame + 0.5) * step

    def y(value: Number) -> float:
        return bottom - (value - low) / (high - low) * (bottom - top)

    parts = [
        f'<rect x="{x(f - 0.5):g}" y="{top}" width="{step:g}" height="{bottom - top}" class="shade"/>'
        for f in held_out
    ]
    for tick in ticks:
        parts.append(f'<path d="M{left} {y(tick):g}H{right}" class="rule"/>')
        parts.append(text(left - 5, y(tick) + 4, f"{tick:g}".replace("-", "−"), "end"))
    parts += [text(x(f), bottom + 14, signed(f - anchor)) for f in range(0, n, 3)] + [
        text(5, 14, title, "start")
    ]
    start = 30 + 6.5 * len(title)
    for curve in curves:
        points = [(x(f), y(v)) for f, v in enumerate(curve.values) if v is not None]
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        parts.append(f'<path d="{path}" class="curve {curve.kind}"/>')
        parts.append(f'<path d="M{start} 10h14" class="curve {curve.kind}"/>')
        parts.append(text(start + 18, 14, curve.name, "start"))
        start += 34 + 6.5 * len(curve.name)
    parts.append(f'<path d="M{x(min(position, n - 1)):g} {top}V{bottom}" class="now"/>')
    words = f"{title}: " + "; ".join(curve.name for curve in curves)
    return drawing(*CHART, words, *parts)


def film(strip: Strip, hidden: Sequence[int] = (), true_rows: int = 1) -> str:
    """Draw rows of frames as in Figure 4. A box is around l0.

    The first `true_rows` rows show the truth: their held-out frames have a grey border, and their frames
    `hidden` are left out.
    """
    s, rows, side = len(strip.rows[0][1]), len(strip.rows), FRAME - 2
    foot, middle = LINE + rows * FRAME, LINE + side / 2 + 7
    frames = torch.cat([frames for _, frames in strip.rows])
    gone = [row * s + frame for row in range(true_rows) for frame in hidden]
    picture = sheet(frames, s, max(1, side // frames.shape[-1]), 2, gone)
    data = base64.b64encode(png(picture)).decode()
    place = f'x="{LABELS - 2}" y="{LINE - 2}" width="{s * FRAME + 2}" height="{rows * FRAME + 2}"'
    parts = [f'<image {place} preserveAspectRatio="none" href="data:image/png;base64,{data}"/>']
    parts += [text(LABELS - 8, middle + i * FRAME, name, "end") for i, (name, _) in enumerate(strip.rows)]
    for row, frame in ((row, frame) for row in range(true_rows) for frame in strip.held_out):
        x, y = LABELS + frame * FRAME, LINE + row * FRAME
        parts.append(f'<rect x="{x}" y="{y}" width="{side}" height="{side}" class="held-out"/>')
        if frame in hidden:
            parts.append(text(x + side / 2, middle + row * FRAME, "?"))
    x = LABELS + strip.anchor * FRAME
    box = f'x="{x - 2}" y="{LINE - 2}" width="{side + 4}" height="{rows * FRAME + 2}"'
    parts.append(f'<rect {box} class="anchor"/>' + text(x + side / 2, LINE - 9, f"frame {strip.anchor}"))
    if strip.held_out:
        centre = LABELS + (strip.held_out[0] + strip.held_out[-1] + 1) * FRAME / 2
        parts.append(text(centre, LINE - 9, "held out"))
    numbers = (signed(frame - strip.anchor) for frame in range(s))
    parts += [text(LABELS + f * FRAME + side / 2, foot + 20, number) for f, number in enumerate(numbers)]
    return drawing(*film_size(strip), strip.title, *parts, text(LABELS - 8, foot + 20, "roll δ", "end"))


def film_size(strip: Strip) -> tuple[int, int]:
    """Return the width and the height of a film."""
    return LABELS + len(strip.rows[0][1]) * FRAME, LINE + len(strip.rows) * FRAME + 28


def playhead(strip: Strip, position: Number) -> str:
    """Draw the present roll over a film, at a frame or between two."""
    width, height = film_size(strip)
    x, foot = LABELS + position * FRAME + FRAME / 2 - 1, height - 28
    path = f"M{x:g} {LINE}V{foot - 2}M{x - 8:g} {foot + 2}h16l-8 -10z"
    return drawing(width, height, "present roll", f'<path d="{path}" class="now"/>')
