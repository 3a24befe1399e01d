"""Capsule traversals and the torus map: tensors in, a Figure out. Nothing here sees a model."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from torch import Tensor

from tvae_core.plotting.style import BODY, MUTED, SECOND, SMALL, WIDTH, blank, place, style, write

GAP = 2  # pixels between tiled images


class Strip(NamedTuple):
    """Rows of frames that belong together: a sequence, and what was made of it."""

    title: str
    rows: Sequence[tuple[str, Float[Tensor, "S ch h w"]]]  # label and frames in [0, 1], the input first
    anchor: int  # l0
    held_out: Sequence[int]  # frames that t of l0 never saw


def tile(
    images: Float[Tensor, "n ch h w"], columns: int, gap: int = GAP, paper: float = 1.0
) -> Float[Tensor, "H W 3"]:
    """Images in rows of so many, with gaps the colour of the paper; grey ones become RGB."""
    n, _, h, w = images.shape
    lines = -(-n // columns)
    canvas = torch.full((lines * (h + gap) - gap, columns * (w + gap) - gap, 3), paper)
    for i, image in enumerate(images.detach().float().cpu().expand(n, 3, h, w)):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        canvas[top : top + h, left : left + w] = image.permute(1, 2, 0)
    return canvas.clamp(0, 1)


def traversals(strips: Sequence[Strip], width: float = WIDTH) -> Figure:
    """Capsule traversals (paper, Figure 4): under each input sequence the frames decoded from rolls of t_l0.

    Held-out frames of the input (the first row of a strip) are greyed; the box is around l0.
    """
    left, ruler, apart = 0.92, 0.15, 0.16
    sides = [(width - left) / strip.rows[0][1].shape[0] for strip in strips]
    titles = [_title_height(strip, left, side) for strip, side in zip(strips, sides, strict=True)]
    parts = list(zip(strips, sides, titles, strict=True))
    heights = [title + ruler + len(strip.rows) * side for strip, side, title in parts]
    with style():
        figure = blank(width, sum(heights) + apart * (len(strips) - 1))
        top = 0.0
        for (strip, side, title), height in zip(parts, heights, strict=True):
            write(figure, 0.06, top + 0.02, strip.title, fontsize=BODY, weight="bold")
            _mark_held_out(figure, strip, left, top + title - 0.035, side)
            for i, (label, frames) in enumerate(strip.rows):
                axes = place(figure, left, top + title + i * side, width - left, side)
                _draw_frames(axes, strip, frames, greyed=i == 0)
                axes.set_ylabel(label, rotation=0, ha="right", va="center", labelpad=5)
            _number(axes, strip)
            top += height + apart
    return figure


def _title_height(strip: Strip, left: float, side: float) -> float:
    """One line where the title ends before the name of l0 begins (a bold letter takes 0.08), or two."""
    return 0.19 if 0.06 + 0.08 * len(strip.title) < left + strip.anchor * side else 0.33


def _centres(strip: Strip) -> list[float]:
    s, _, _, w = strip.rows[0][1].shape
    return [frame * (w + GAP) + (w - 1) / 2 for frame in range(s)]


def _draw_frames(axes: Axes, strip: Strip, frames: Float[Tensor, "S ch h w"], greyed: bool) -> None:
    s, _, h, w = frames.shape
    frames = frames.detach().float().cpu().clone()
    if greyed:
        frames[list(strip.held_out)] = 0.30 * frames[list(strip.held_out)] + 0.62
    axes.imshow(tile(frames, s).numpy(), aspect="auto")
    axes.set(xlim=(-0.5 - GAP / 2, s * (w + GAP) - 0.5 - GAP / 2), ylim=(h - 0.5 + GAP / 2, -0.5 - GAP / 2))
    axes.spines[:].set_visible(False)
    corner = (strip.anchor * (w + GAP) - 0.5, -0.5)
    axes.add_patch(Rectangle(corner, w, h, fill=False, ec=SECOND, lw=1.6, clip_on=False, zorder=3))


def _number(axes: Axes, strip: Strip) -> None:
    """Below the last row: by how much t of l0 was rolled to give the frame."""
    labels = [f"{frame - strip.anchor:+d}".replace("-", "−") for frame in range(len(_centres(strip)))]
    labels[strip.anchor] = "0"
    axes.set_xticks(_centres(strip), labels)
    axes.tick_params(length=0, pad=1.5)
    axes.annotate(
        "roll δ", (0, 0), (-5, -1.5), "axes fraction", "offset points", ha="right", va="top", color=MUTED
    )
    axes.texts[-1].set_fontsize(SMALL)


def _mark_held_out(figure: Figure, strip: Strip, left: float, y: float, side: float) -> None:
    """Above the input: a line over each unbroken stretch of held-out frames, and the name of l0."""
    w, h = figure.get_size_inches()
    write(
        figure,
        left + (strip.anchor + 0.5) * side,
        y + 0.015,
        f"$l_0$ = {strip.anchor}",
        va="bottom",
        ha="center",
        color="#8a5a00",
    )
    frames = sorted(strip.held_out)
    stretches = np.split(frames, np.nonzero(np.diff(frames) > 1)[0] + 1) if frames else []
    for stretch in stretches:
        x = [left + (stretch[0] + 0.06) * side, left + (stretch[-1] + 0.94) * side]
        figure.add_artist(Line2D([v / w for v in x], [1 - y / h] * 2, color=MUTED, lw=1.0))
        if (stretch[-1] - stretch[0] + 1) * side > 0.5:
            write(figure, sum(x) / 2, y - 0.015, "held out", va="bottom", ha="center", color=MUTED)
