"""Figure 1: the commutative diagram, drawn with real frames."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import Tensor
from torch.nn import functional as F

from tvae_core.measures.evaluation import first_batches
from tvae_core.model.torus import roll
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.strips import tile
from tvae_core.plotting.style import BODY, INK, MUTED, RULE, SECOND, SMALL, WIDTH, blank, place, style, write
from tvae_core.training.runs import Run
from tvae_core.validation import check_choice

MAP, FRAME = 1.30, 0.62  # inches: the side of a map of t, and of a decoded frame
LEFT, RIGHT = 0.05, 3.80  # inches: where the two columns begin
STRIP, MAPS, FRAMES = 0.26, 1.06, 2.86  # inches: where the three rows begin
COLUMN = WIDTH - RIGHT  # inches: how wide a column is


class Square(NamedTuple):
    """Both ways from a sequence to a frame that t of l0 never saw; times are frames of the sequence."""

    before: Float[Tensor, "n ch h w"]  # the window of l0
    after: Float[Tensor, "n ch h w"]  # the same window of the sequence moved on
    anchor: int  # l0
    shift: int  # δ
    t: Float[Tensor, "C D"]  # of l0, …
    rolled: Float[Tensor, "C D"]  # … and rolled by δ
    t_after: Float[Tensor, "C D"]  # of l0 in the sequence moved on
    decoded: Float[Tensor, "3 ch h w"]  # t, rolled, t_after
    truth: Float[Tensor, "2 ch h w"]  # frames l0 and l0 + δ


def commutative_square(square: Square) -> Figure:
    """Encode, roll, decode against transform, encode, decode (paper, Figure 1), for one sequence.

    Each map is t of one frame, a row for each capsule and a column for each of its units.
    """
    target = f"l_0 + δ = {square.anchor + square.shift}"
    second = RIGHT + MAP + 0.48
    with style():
        figure = blank(WIDTH, FRAMES + FRAME + 0.36)
        for left, frames, words in (
            (LEFT, square.before, f"sequence, $l_0$ = {square.anchor}"),
            (RIGHT, square.after, f"the same, {square.shift} frames on"),
        ):
            _draw_strip(figure, left, frames, square.anchor, words)
        top = max(t.max().item() for t in (square.t, square.rolled, square.t_after))
        for left, t, words in (
            (LEFT + 0.75, square.t, "$t$ of $l_0$"),
            (RIGHT, square.rolled, f"Roll$_{{{square.shift}}}$($t$)"),
            (second, square.t_after, f"$t$ of ${target}$"),
        ):
            _draw_map(place(figure, left, MAPS, MAP, MAP), t, top)
            write(figure, left, MAPS + MAP + 0.05, words)
        _draw_scale(figure, LEFT + 0.75 + MAP + 0.05, top)
        spots = [LEFT + 0.75, RIGHT, second]
        for left, frame in zip(spots, square.decoded, strict=True):
            _draw_frame(figure, left + (MAP - FRAME) / 2, frame, "decoded")
        between = second - 0.24 - FRAME / 2
        for left, frame, later in zip((LEFT, between), square.truth, (0, square.shift), strict=True):
            _draw_frame(figure, left, frame, f"frame {square.anchor + later}")
        _draw_arrows(figure, spots, square.shift)
    return figure


def _draw_arrows(figure: Figure, spots: Sequence[float], shift: int) -> None:
    first, _, second = (left + MAP / 2 for left in spots)
    line, middle = STRIP + COLUMN / 26, MAPS + MAP / 2
    arrow(figure, (LEFT + COLUMN + 0.06, line), (RIGHT - 0.06, line), "transform")
    arrow(figure, (first + MAP / 2 + 0.36, middle), (RIGHT - 0.06, middle), f"Roll, δ = {shift}")
    for x in (first, second):
        arrow(figure, (x, STRIP + 0.28), (x, MAPS - 0.04), "encode")
    for left in spots:
        x = left + MAP / 2
        arrow(figure, (x, MAPS + MAP + 0.20), (x, FRAMES - 0.04), "decode")


def arrow(figure: Figure, start: tuple[float, float], end: tuple[float, float], words: str) -> None:
    """An arrow between two places in inches from the left and top edge, named above or to its right."""
    w, h = figure.get_size_inches()
    ends = [(x / w, 1 - y / h) for x, y in (start, end)]
    look = {"arrowstyle": "-|>", "mutation_scale": 8, "lw": 1.0, "color": INK, "shrinkA": 0, "shrinkB": 0}
    figure.add_artist(FancyArrowPatch(*ends, transform=figure.transFigure, **look))
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    across = start[1] == end[1]
    if across:
        write(figure, x, y - 0.03, words, ha="center", va="bottom")
    else:
        write(figure, x + 0.06, y, words, va="center")


def _draw_strip(
    figure: Figure, left: float, frames: Float[Tensor, "n ch h w"], anchor: int, words: str
) -> None:
    n, _, h, w = frames.shape
    axes = place(figure, left, STRIP, COLUMN, COLUMN / n)
    axes.imshow(tile(frames, n).numpy(), aspect="auto")
    axes.spines[:].set_visible(False)
    corner = (anchor * (w + 2) - 0.5, -0.5)
    axes.add_patch(Rectangle(corner, w, h, fill=False, ec=SECOND, lw=1.6, clip_on=False))
    write(figure, left, STRIP - 0.06, words, va="bottom", fontsize=BODY, weight="bold")


def _draw_map(axes: Axes, t: Float[Tensor, "C D"], top: float) -> None:
    axes.imshow(t.numpy(), vmin=0, vmax=top, cmap="viridis", aspect="auto", interpolation="nearest")
    axes.spines[:].set_color(RULE)


def _draw_scale(figure: Figure, left: float, top: float) -> None:
    bar = place(figure, left, MAPS, 0.06, MAP)
    figure.colorbar(ScalarMappable(Normalize(0, top), "viridis"), cax=bar)
    bar.tick_params(labelsize=SMALL, length=1.5, pad=1.5, colors=MUTED)
    bar.locator_params(nbins=3)


def _draw_frame(figure: Figure, left: float, frame: Float[Tensor, "ch h w"], words: str) -> None:
    axes = place(figure, left, FRAMES, FRAME, FRAME)
    axes.imshow(tile(frame[None], 1).numpy(), aspect="auto")
    axes.spines[:].set_visible(False)
    write(figure, left + FRAME / 2, FRAMES + FRAME + 0.04, words, ha="center", color=MUTED)


# Figure 1


def both_paths(run: Run, example: int = 0, shift: int = 9, varied: int = 0) -> Square:
    """Both ways to frame l0 + shift of a test sequence: roll t of l0, or encode the sequence moved on.

    ValueError if that frame is not among the held-out ones.
    """
    exp, model = run.exp, run.model
    target = exp.anchor + shift
    check_choice(str(target), map(str, exp.held_out), "frame l0 + shift")
    x = run.data.test.sequence(torch.tensor([example]), varied).x
    moved, seen = x.roll(-shift, 1), [f for f in range(x.shape[1]) if f not in exp.held_out]
    with torch.inference_mode():
        t, t_after = (model.latents(frames)[:, exp.anchor] for frames in (x, moved))
        ts = torch.cat([t, roll(t, shift), t_after])
        decoded = model.decode(ts[:, None])[:, 0]
    truth = x[0, [exp.anchor, target]]
    return Square(x[0, seen], moved[0, seen], exp.anchor, shift, *ts, decoded, truth)


def agreement(run: Run, model: TVAE, shift: int, sequences: int = 100) -> tuple[float, float]:
    """Correlation of t of l0 with t of l0 + shift inside a capsule, rolled by the shift and as it is.

    The mean over capsules and at most so many test sequences; 1 is exact equivariance (rolled) or exact
    invariance (as it is), 0 chance.
    """
    totals = []
    with torch.inference_mode():
        for batch, _ in first_batches(run.exp, run.exp.seed, sequences):
            t = model.latents(batch.x)
            ends = t[:, run.exp.anchor], t[:, (run.exp.anchor + shift) % t.shape[1]]
            here, there = (F.normalize(end - end.mean(-1, keepdim=True), dim=-1) for end in ends)
            pairs = torch.stack([roll(here, shift), here])
            totals.append((pairs * there).sum(-1).mean(-1))
    rolled, still = torch.cat(totals, 1).mean(1).tolist()
    return rolled, still
