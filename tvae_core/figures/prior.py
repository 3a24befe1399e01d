"""Samples from the prior: whole sequences that no input was encoded for."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from tvae_core.plotting.strips import show_tiles
from tvae_core.plotting.style import BODY, WIDTH, blank, place, style, write
from tvae_core.seeding import generator
from tvae_core.training.runs import Run, both_models

COLUMNS = 20  # of single frames
MEASURED = 50  # sequences whose smoothness is measured


class Samples(NamedTuple):
    """Sequences from one source, a row each."""

    source: str
    frames: Float[Tensor, "n S ch h w"]
    shown: int  # how many of them are drawn

    @property
    def smoothness(self) -> float | None:
        """The mean distance of neighbouring frames, as a share of that of any two frames of a sequence.

        Time wraps. 1 is the value of independent frames; None for single frames and where nothing moves.
        """
        flat = self.frames.flatten(2)
        s = flat.shape[1]
        apart = torch.cdist(flat, flat).sum((1, 2)) / max(1, s * (s - 1))
        near = (flat - flat.roll(1, 1)).norm(dim=-1).mean(1)
        return (near.mean() / apart.mean()).item() if s > 1 and apart.mean() > 0 else None


def prior_samples(run: Run, sequences: int = 4) -> list[Samples]:
    """Return sequences from the prior of the trained and of the untrained model, and of the test split."""
    exp, test = run.exp, run.data.test
    shown = sequences if exp.n_transforms > 1 else COLUMNS * sequences
    n, found = max(shown, MEASURED), []
    for kind, model in both_models(run).items():
        with torch.inference_mode():
            drawn = model.sample(n, exp.n_transforms, generator("cpu", 0, "prior samples"))
        found.append(Samples(f"prior, {kind}", drawn, shown))
    batch = test.batch(torch.arange(min(n, len(test))), generator("cpu", 0, "test sequences"))
    return [*found, Samples("test data", batch.x, shown)]


def smoothness_row(run: Run, found: Sequence[Samples]) -> Mapping[str, object]:
    """Return the smoothness of each source as a row of a table."""
    return {"model": run.title, "data": run.exp.dataset, **{s.source: s.smoothness for s in found}}


def draw_samples(found: Sequence[Samples], model: str) -> Figure:
    """Draw each source under its name: a row for each sequence, or single frames in rows of COLUMNS."""
    frames = [samples.frames[: samples.shown] for samples in found]
    columns = [f.shape[1] if f.shape[1] > 1 else COLUMNS for f in frames]
    lines = [-(-f.flatten(0, 1).shape[0] // c) for f, c in zip(frames, columns, strict=True)]
    heights = [n * WIDTH / c for n, c in zip(lines, columns, strict=True)]
    with style():
        figure, top = blank(WIDTH, sum(heights) + 0.34 * len(found)), 0.0
        for samples, images, c, height in zip(found, frames, columns, heights, strict=True):
            write(figure, 0.0, top + 0.05, f"{model}: {samples.source}", fontsize=BODY, weight="bold")
            show_tiles(place(figure, 0.0, top + 0.22, WIDTH, height), images.flatten(0, 1), c)
            top += height + 0.34
    return figure
