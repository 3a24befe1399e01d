"""Strips of frames: a sequence, and below it the frames that were made of it. Nothing here sees a model."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from tvae_core.plotting.style import BODY, MUTED, SECOND, SMALL, WIDTH, blank, place, style, write

GAP = 2  # pixels between tiled images
LEFT, RULER, APART = 0.92, 0.15, 0.16  # inches: row labels, the numbers below a strip, between strips


class Strip(NamedTuple):
    """A sequence of S frames and the rows that were made of it."""

    title: str
    rows: Sequence[tuple[str, Float[Tensor, "S ch h w"]]]  # label and frames in [0, 1], the input first
    anchor: int  # l0, the frame whose t is rolled
    held_out: Sequence[int] = ()  # the frames that t of l0 never saw
    above: str = "$l_0$ = {}"  # written above the box around l0


def tile(
    images: Float[Tensor, "n ch h w"], columns: int, gap: int = GAP, paper: float = 1.0
) -> Float[Tensor, "H W 3"]:
    """Return one image of n images in rows of so many, as RGB, with gaps of the colour of the paper."""
    n, _, h, w = images.shape
    lines = -(-n // columns)
    canvas = torch.full((lines * (h + gap) - gap, columns * (w + gap) - gap, 3), paper)
    for i, image in enumerate(images.detach().float().cpu().expand(n, 3, h, w)):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        canvas[top : top + h, left : left + w] = image.permute(1, 2, 0)
    return canvas.clamp(0, 1)


def show_tiles(axes: Axes, images: Float[Tensor, "n ch h w"], columns: int, **options) -> None:
    """Draw images in rows of so many into axes without a frame (see `tile`)."""
    axes.imshow(tile(images, columns, **options).numpy(), aspect="auto")
    axes.spines[:].set_visible(False)


def traversals(strips: Sequence[Strip], width: float = WIDTH) -> Figure:
    """Draw capsule traversals (paper, Figure 4): below each input sequence the rows decoded from it.

    Held-out frames of the input, the first row of a strip, are greyed; the box is around l0.
    """
    sides = [(width - LEFT) / len(strip.rows[0][1]) for strip in strips]  # inches, of a frame
    titles = [_title_height(strip, side) for strip, side in zip(strips, sides, strict=True)]
    parts = list(zip(strips, sides, titles, strict=True))
    heights = [title + RULER + len(strip.rows) * side for strip, side, title in parts]
    with style():
        figure, top = blank(width, sum(heights) + APART * (len(strips) - 1)), 0.0
        for (strip, side, title), height in zip(parts, heights, strict=True):
            write(figure, 0.06, top + 0.02, strip.title, fontsize=BODY, weight="bold")
            for i, (label, frames) in enumerate(strip.rows):
                axes = place(figure, LEFT, top + title + i * side, width - LEFT, side)
                _draw_frames(axes, strip, frames, first=i == 0)
                axes.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=5)
            _number(axes, strip)
            top += height + APART
    return figure


def _title_height(strip: Strip, side: float) -> float:
    """One line where the title ends before the name of l0 begins (a bold letter takes 0.08), or two."""
    return 0.19 if 0.06 + 0.08 * len(strip.title) < LEFT + strip.anchor * side else 0.33


def _draw_frames(axes: Axes, strip: Strip, frames: Float[Tensor, "S ch h w"], first: bool) -> None:
    s, _, h, w = frames.shape
    frames, pitch = frames.detach().float().cpu().clone(), w + GAP
    if first:
        frames[list(strip.held_out)] = 0.30 * frames[list(strip.held_out)] + 0.62
        _mark(axes, strip, pitch)
    show_tiles(axes, frames, s)
    axes.set(xlim=(-0.5 - GAP / 2, s * pitch - 0.5 - GAP / 2), ylim=(h - 0.5 + GAP / 2, -0.5 - GAP / 2))
    corner = (strip.anchor * pitch - 0.5, -0.5)
    axes.add_patch(Rectangle(corner, w, h, fill=False, ec=SECOND, lw=1.6, clip_on=False, zorder=3))


def _mark(axes: Axes, strip: Strip, pitch: int) -> None:
    """Above the input: the name of l0, and a line over each unbroken stretch of held-out frames."""
    over = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "ha": "center"}
    centre, name = (strip.anchor + 0.5) * pitch - GAP, strip.above.format(strip.anchor)
    axes.annotate(name, (centre, 1), (0, 2), color="#8a5a00", fontsize=SMALL, **over)
    frames = sorted(strip.held_out)
    stretches = np.split(frames, np.nonzero(np.diff(frames) > 1)[0] + 1) if frames else []
    for first, *_, last in ([*stretch, stretch[-1]] for stretch in stretches):
        ends = first * pitch, last * pitch + pitch - GAP
        line = {"transform": axes.get_xaxis_transform(), "clip_on": False, "scaley": False}
        axes.plot(ends, (1.08, 1.08), color=MUTED, lw=1.0, **line)
        if last - first > 0:
            axes.annotate(
                "held out", (sum(ends) / 2, 1), (0, 4), color=MUTED, fontsize=SMALL, va="bottom", **over
            )


def _number(axes: Axes, strip: Strip) -> None:
    """Below the last row: by how much t of l0 was rolled to give the frame."""
    s, _, _, w = strip.rows[0][1].shape
    rolls = [f"{frame - strip.anchor:+d}".replace("-", "−").replace("+0", "0") for frame in range(s)]
    axes.set_xticks([frame * (w + GAP) + (w - 1) / 2 for frame in range(s)], rolls)
    axes.tick_params(length=0, pad=1.5)
    below = {"textcoords": "offset points", "ha": "right", "va": "top", "color": MUTED, "fontsize": SMALL}
    axes.annotate("roll δ", (0, 0), (-5, -1.5), "axes fraction", **below)
