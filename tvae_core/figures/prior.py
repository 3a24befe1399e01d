"""Whole sequences from the prior: nothing is encoded, so what moves smoothly does so by W and decoder."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from tvae_core.plotting.strips import tile
from tvae_core.plotting.style import BODY, WIDTH, blank, place, style, write
from tvae_core.seeding import generator
from tvae_core.training.runs import Run

COLUMNS = 20  # of single frames
MEASURED = 50  # sequences whose smoothness is measured


class Dream(NamedTuple):
    """Sequences from one source, a row each."""

    title: str
    frames: Float[Tensor, "n S ch h w"]
    shown: int  # how many of them are drawn

    @property
    def smoothness(self) -> float | None:
        """The distance of neighbouring frames as a share of that of any two frames of a sequence; time wraps.

        1 is what frames have that know nothing of each other; None for single frames and where nothing moves.
        """
        flat = self.frames.flatten(2)
        s = flat.shape[1]
        apart = torch.cdist(flat, flat).sum((1, 2)) / max(1, s * (s - 1))
        near = (flat - flat.roll(1, 1)).norm(dim=-1).mean(1)
        return (near.mean() / apart.mean()).item() if s > 1 and apart.mean() > 0 else None


def dreams(run: Run, sequences: int = 4) -> list[Dream]:
    """Sequences from the prior of the trained and of the untrained model, and of the test split."""
    exp, rows = run.exp, []
    shown = sequences if exp.n_transforms > 1 else COLUMNS * sequences
    n = max(shown, MEASURED)
    for kind, model in (("prior", run.model), ("prior, untrained", exp.build_model().eval())):
        with torch.inference_mode():
            drawn = model.sample(n, exp.n_transforms, generator("cpu", 0, "prior samples"))
        rows.append(Dream(f"{run.title}: {kind}", drawn, shown))
    test = run.data.test
    batch = test.batch(torch.arange(min(n, len(test))), generator("cpu", 0, "test sequences"))
    return [*rows, Dream(f"{run.title}: the test data", batch.x, shown)]


def grids(found: Sequence[Dream]) -> Figure:
    """Each dream under its title: a row for each sequence, or single frames in rows of twenty."""
    frames = [dream.frames[: dream.shown] for dream in found]
    columns = [f.shape[1] if f.shape[1] > 1 else COLUMNS for f in frames]
    lines = [-(-f.flatten(0, 1).shape[0] // c) for f, c in zip(frames, columns, strict=True)]
    heights = [n * WIDTH / c for n, c in zip(lines, columns, strict=True)]
    with style():
        figure, top = blank(WIDTH, sum(heights) + 0.34 * len(found)), 0.0
        for dream, images, c, height in zip(found, frames, columns, heights, strict=True):
            write(figure, 0.0, top + 0.05, dream.title, fontsize=BODY, weight="bold")
            axes = place(figure, 0.0, top + 0.22, WIDTH, height)
            axes.imshow(tile(images.flatten(0, 1), c).numpy(), aspect="auto")
            axes.spines[:].set_visible(False)
            top += height + 0.34
    return figure


def what_dreams_show(found: Sequence[Dream]) -> str:
    """In words: how smoothly each moves."""
    known = [(d.title, d.smoothness) for d in found]
    parts = [f"**{title}** {value:.2f}" for title, value in known if value is not None]
    if not parts:
        return f"{found[0].title} has single frames, which do not move."
    return "Distance of neighbouring frames, as a share of that of any two: " + "; ".join(parts) + "."
