"""Early sight: while a run trains in a notebook, its losses and one traversal, refreshed in place."""

import io
import time
from collections.abc import Mapping, Sequence

import torch
from IPython import get_ipython
from IPython.display import Image, display
from matplotlib.figure import Figure

from tvae_core.experiments import Experiment
from tvae_core.figures import Strip, traversals
from tvae_core.model import TVAE
from tvae_core.plots import Curve, Panel, charts
from tvae_core.sequences import Batch

SECONDS = 5.0  # between two looks

Rows = Sequence[Mapping[str, int | float]]


def in_notebook() -> bool:
    """Whether pictures can be shown and replaced: there is a kernel behind this process."""
    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def losses(history: Rows, seconds: float) -> Figure:
    """The terms of the loss since training began, in nats a frame over the steps."""
    steps = [row["step"] for row in history]
    nll, *divergences = [
        Curve(name, look, steps, [row[key] for row in history])
        for look, (name, key) in enumerate(_TERMS.items())
    ]
    panels = [
        Panel(f"after {seconds / 60:.1f} min", "step", "nats/frame", [nll]),
        Panel("", "step", "KL, nats/frame", divergences),
    ]
    return charts(panels)


_TERMS = {"−log p(x|t)": "nll", "KL(z)": "kl_z", "KL(u)": "kl_u"}


def sight(model: TVAE, exp: Experiment, batch: Batch) -> Figure:
    """One sequence, its reconstruction and the roll of t_l0 over all its frames, as the model sees it now.

    Posterior means, so nothing is drawn at random and training goes on as if nobody had looked.
    """
    with torch.inference_mode():
        t = model.latents(batch.x)
        rows = [("input", batch.x[0]), ("reconstruction", model.decode(t)[0])]
        if exp.n_transforms > 1:
            rows.append((f"Roll$_δ$($t_{{{exp.anchor}}}$)", model.traverse(t, exp.anchor)[0].sigmoid()))
    return traversals([Strip("validation sequence", rows, exp.anchor, exp.held_out)])


def _picture(figure: Figure, alt: str) -> Image:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return Image(png.getvalue(), format="png", alt=alt)


class Live:
    """Two pictures in the output of the cell that trains; nothing at all where there is no notebook."""

    def __init__(self, exp: Experiment, batch: Batch, shown: bool):
        self.exp, self.batch = exp, batch
        self.handles = None
        self.shown = shown and in_notebook()
        self.looked = time.monotonic()

    def look(self, model: TVAE, history: Rows, seconds: float) -> None:
        """Replace the pictures if the last look is long enough ago."""
        if not self.shown or time.monotonic() - self.looked < SECONDS:
            return
        pictures = [
            _picture(losses(history, seconds), "The terms of the loss over the steps so far"),
            _picture(sight(model, self.exp, self.batch), "A sequence, its reconstruction and its roll"),
        ]
        if self.handles is None:
            self.handles = [display(picture, display_id=True) for picture in pictures]
        else:
            for handle, picture in zip(self.handles, pictures, strict=True):
                handle.update(picture)
        self.looked = time.monotonic()
