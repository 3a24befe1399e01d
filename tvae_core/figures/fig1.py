"""Figure 1: the commutative diagram, drawn with real frames."""

from collections.abc import Mapping, Sequence
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

from tvae_core.figures.traversals import example_sequences
from tvae_core.measures.evaluation import first_batches
from tvae_core.model.torus import roll
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.strips import GAP, show_tiles
from tvae_core.plotting.style import BODY, INK, MUTED, RULE, SECOND, SMALL, WIDTH, blank, place, style, write
from tvae_core.training.runs import Run, both_models
from tvae_core.validation import check_choice


class Square(NamedTuple):
    """Both paths from a sequence to a frame that t of l0 never saw; times are frames of the sequence."""

    before: Float[Tensor, "n ch h w"]  # the window of l0
    after: Float[Tensor, "n ch h w"]  # the same window of the sequence moved on
    anchor: int  # l0
    shift: int  # δ
    t: Float[Tensor, "C D"]  # of l0
    rolled: Float[Tensor, "C D"]  # t of l0, rolled by δ
    t_after: Float[Tensor, "C D"]  # of l0 in the sequence moved on
    decoded: Float[Tensor, "3 ch h w"]  # from t, rolled, t_after
    truth: Float[Tensor, "2 ch h w"]  # frames l0 and l0 + δ


def both_paths(run: Run, example: int = 0, shift: int = 9, varied: int = 0) -> Square:
    """Return both paths to frame l0 + shift of a test sequence.

    One path rolls t of l0, the other encodes the sequence moved on. Raises ValueError if that frame is not
    among the held-out ones.
    """
    exp, model = run.exp, run.model
    target = exp.anchor + shift
    check_choice(str(target), map(str, exp.held_out), "frame l0 + shift")
    _, x = example_sequences(run, [example], "fig1")[varied]
    moved, seen = x.roll(-shift, 0), [f for f in range(len(x)) if f not in exp.held_out]
    with torch.inference_mode():
        t, t_after = model.latents(torch.stack([x, moved]))[:, exp.anchor]
        ts = torch.stack([t, roll(t, shift), t_after])
        decoded = model.decode(ts[:, None])[:, 0]
    return Square(x[seen], moved[seen], exp.anchor, shift, *ts, decoded, x[[exp.anchor, target]])


def agreement(run: Run, model: TVAE, shift: int, sequences: int = 100) -> tuple[float, float]:
    """Return the correlation inside a capsule of t of l0, rolled and as it is, with t of l0 + shift.

    It is the mean over capsules and at most so many test sequences. 1 is exact equivariance (rolled) or
    exact invariance (as it is), 0 chance.
    """
    totals = []
    with torch.inference_mode():
        for batch, _ in first_batches(run.exp, sequences):
            t = model.latents(batch.x)
            ends = t[:, run.exp.anchor], t[:, (run.exp.anchor + shift) % t.shape[1]]
            here, there = (F.normalize(end - end.mean(-1, keepdim=True), dim=-1) for end in ends)
            pairs = torch.stack([roll(here, shift), here])
            totals.append((pairs * there).sum(-1).mean(-1))
    rolled, still = torch.cat(totals, 1).mean(1).tolist()
    return rolled, still


def agreement_rows(run: Run, shift: int) -> list[Mapping[str, object]]:
    """Return as table rows the `agreement` of the trained and of the untrained model."""
    found = {kind: agreement(run, model, shift) for kind, model in both_models(run).items()}
    return [
        {"model": kind, f"rolled by {shift}": rolled, "as it is": as_is}
        for kind, (rolled, as_is) in found.items()
    ]


MAP, FRAME = 1.30, 0.62  # inches: the side of a map of t, and of a decoded frame
LEFT, RIGHT = 0.05, 3.80  # inches: where the two columns begin
STRIP, MAPS, FRAMES = 0.26, 1.06, 2.86  # inches: where the three rows begin
COLUMN = WIDTH - RIGHT  # inches: how wide a column is
SPOTS = (LEFT + 0.75, RIGHT, RIGHT + MAP + 0.48)  # inches: where the three maps begin


def commutative_square(square: Square) -> Figure:
    """Draw encode, roll, decode against transform, encode, decode (paper, Figure 1), for one sequence.

    Each map is t of one frame, a row for each capsule and a column for each of its units.
    """
    anchor, shift, (first, second, third) = square.anchor, square.shift, SPOTS
    maps = {
        "$t$ of $l_0$": square.t,
        f"Roll$_{{{shift}}}$($t$)": square.rolled,
        f"$t$ of $l_0 + δ = {anchor + shift}$": square.t_after,
    }
    top = max(t.max().item() for t in maps.values())
    with style():
        figure = blank(WIDTH, FRAMES + FRAME + 0.36)
        _draw_strip(figure, LEFT, square.before, anchor, f"sequence, $l_0$ = {anchor}")
        _draw_strip(figure, RIGHT, square.after, anchor, f"the same, {shift} frames on")
        for left, (words, t) in zip(SPOTS, maps.items(), strict=True):
            axes = place(figure, left, MAPS, MAP, MAP)
            axes.imshow(t.numpy(), vmin=0, vmax=top, cmap="viridis", aspect="auto", interpolation="nearest")
            axes.spines[:].set_color(RULE)
            write(figure, left, MAPS + MAP + 0.05, words)
        _draw_scale(place(figure, first + MAP + 0.05, MAPS, 0.06, MAP), top)
        for left, frame in zip(SPOTS, square.decoded, strict=True):
            _draw_frame(figure, left + (MAP - FRAME) / 2, frame, "decoded")
        between = (second + third + MAP - FRAME) / 2
        for left, frame, later in zip((LEFT, between), square.truth, (0, shift), strict=True):
            _draw_frame(figure, left, frame, f"frame {anchor + later}")
        _draw_arrows(figure, shift)
    return figure


def _draw_strip(
    figure: Figure, left: float, frames: Float[Tensor, "n ch h w"], anchor: int, words: str
) -> None:
    n, _, h, w = frames.shape
    axes = place(figure, left, STRIP, COLUMN, COLUMN / n)
    show_tiles(axes, frames, n)
    corner = (anchor * (w + GAP) - 0.5, -0.5)
    axes.add_patch(Rectangle(corner, w, h, fill=False, ec=SECOND, lw=1.6, clip_on=False))
    write(figure, left, STRIP - 0.06, words, va="bottom", fontsize=BODY, weight="bold")


def _draw_scale(axes: Axes, top: float) -> None:
    axes.figure.colorbar(ScalarMappable(Normalize(0, top), "viridis"), cax=axes)
    axes.tick_params(labelsize=SMALL, length=1.5, pad=1.5, colors=MUTED)
    axes.locator_params(nbins=3)


def _draw_frame(figure: Figure, left: float, frame: Float[Tensor, "ch h w"], words: str) -> None:
    show_tiles(place(figure, left, FRAMES, FRAME, FRAME), frame[None], 1)
    write(figure, left + FRAME / 2, FRAMES + FRAME + 0.04, words, ha="center", color=MUTED)


def _draw_arrows(figure: Figure, shift: int) -> None:
    centres: Sequence[float] = [left + MAP / 2 for left in SPOTS]
    line, middle = STRIP + COLUMN / 26, MAPS + MAP / 2
    arrow(figure, (LEFT + COLUMN + 0.06, line), (RIGHT - 0.06, line), "transform")
    arrow(figure, (SPOTS[0] + MAP + 0.36, middle), (RIGHT - 0.06, middle), f"Roll, δ = {shift}")
    for x in centres[::2]:
        arrow(figure, (x, STRIP + 0.28), (x, MAPS - 0.04), "encode")
    for x in centres:
        arrow(figure, (x, MAPS + MAP + 0.20), (x, FRAMES - 0.04), "decode")


def arrow(figure: Figure, start: tuple[float, float], end: tuple[float, float], words: str) -> None:
    """Draw an arrow between two places in inches from the left and top edge, named above or to its right."""
    w, h = figure.get_size_inches()
    ends = [(x / w, 1 - y / h) for x, y in (start, end)]
    look = {"arrowstyle": "-|>", "mutation_scale": 8, "lw": 1.0, "color": INK, "shrinkA": 0, "shrinkB": 0}
    figure.add_artist(FancyArrowPatch(*ends, transform=figure.transFigure, **look))
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if start[1] == end[1]:
        write(figure, x, y - 0.03, words, ha="center", va="bottom")
    else:
        write(figure, x + 0.06, y, words, va="center")
