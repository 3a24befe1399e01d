"""What every notebook calls: train or load its runs, show training as it goes on, name the output folder."""

import io
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch
from IPython import get_ipython
from IPython.display import Image, display
from matplotlib.figure import Figure

from tvae_core.config import Experiment
from tvae_core.data.sequences import Batch
from tvae_core.experiments import read_experiment
from tvae_core.files import FIGURES, RUNS
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.charts import Curve, Panel, charts
from tvae_core.plotting.strips import Strip, traversals
from tvae_core.seeding import generator
from tvae_core.training.runs import Run
from tvae_core.training.trainer import fit_seeds


def figure_folder(figures: str, scale: str) -> Path:
    """Where a notebook puts its figures: the folder it was given, or the usual one of that scale."""
    return Path(figures) if figures else FIGURES / scale


def fit_all(
    experiments: Sequence[str], scale: str, seeds: Sequence[int] = (), device: str = "auto", runs: str = ""
) -> list[Run]:
    """`fit` for each experiment or variant and seed (none given: its own): trained, or loaded if done."""
    rows = [read_experiment(name, scale) for name in experiments]
    return [
        run
        for exp in rows
        for run in fit_seeds(exp, seeds or [exp.seed], device, runs or RUNS, watch=LiveView(exp))
    ]


def about(runs: Sequence[Run]) -> str:
    """Which experiments, scale, seeds and data a figure or table shows."""

    def listed(values) -> str:
        return ", ".join(dict.fromkeys(str(v) for v in values))

    names, seeds = listed(run.label for run in runs), listed(run.exp.seed for run in runs)
    each = max(Counter(run.label for run in runs).values())
    several = f"{each} seeds each" if each > 1 else "one seed each" if "," in seeds else ""
    seeds = f"{several} ({seeds})" if several else f"seed {seeds}"
    data = "; ".join(dict.fromkeys(str(run.provenance["data"]) for run in runs))
    return f"{names}. Scale {listed(run.exp.scale for run in runs)}, {seeds}. Data: {data}."


def first_seeds(runs: Sequence[Run]) -> list[Run]:
    """The first run of each experiment, for figures, which show one."""
    return list({run.label: run for run in reversed(runs)}.values())[::-1]


SECONDS = 5.0  # between two drawings

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


def progress_strip(model: TVAE, exp: Experiment, batch: Batch) -> Figure:
    """One sequence, its reconstruction and the roll of t_l0 over all its frames, as the model sees it now.

    Posterior means, so nothing is drawn at random and training goes on as if nobody had looked.
    """
    x = batch.x.to(next(model.parameters()).device)
    with torch.inference_mode():
        t = model.latents(x)
        rows = [("input", batch.x[0]), ("reconstruction", model.decode(t)[0])]
        if exp.n_transforms > 1:
            rows.append((f"Roll$_δ$($t_{{{exp.anchor}}}$)", model.traverse(t, exp.anchor)[0].sigmoid()))
    return traversals([Strip("validation sequence", rows, exp.anchor, exp.held_out)])


def _picture(figure: Figure, alt: str) -> Image:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return Image(png.getvalue(), format="png", alt=alt)


class LiveView:
    """Two pictures in the output of the cell that trains; nothing at all where there is no notebook.

    `fit` calls it (its argument `watch`) while it trains the experiment.
    """

    def __init__(self, exp: Experiment):
        self.exp = exp
        self.handles = None
        self.shown = in_notebook()
        self.drawn = time.monotonic()

    @cached_property
    def batch(self) -> Batch:
        """The first sequence of the validation split."""
        g = generator("cpu", 0, "live")
        return self.exp.build_sequences("validation", self.exp.seed).batch(torch.tensor([0]), g)

    def __call__(self, model: TVAE, history: Rows, seconds: float) -> None:
        """Replace the pictures if they are older than SECONDS."""
        if not self.shown or time.monotonic() - self.drawn < SECONDS:
            return
        pictures = [
            _picture(losses(history, seconds), "The terms of the loss over the steps so far"),
            _picture(
                progress_strip(model, self.exp, self.batch), "A sequence, its reconstruction and its roll"
            ),
        ]
        if self.handles is None:
            self.handles = [display(picture, display_id=True) for picture in pictures]
        else:
            for handle, picture in zip(self.handles, pictures, strict=True):
                handle.update(picture)
        self.drawn = time.monotonic()
