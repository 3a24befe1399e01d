"""What every notebook calls: train or load its runs, watch training, name the output folder, show a table."""

import io
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from IPython import get_ipython
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

from tvae_core.config import Experiment
from tvae_core.data.sequences import Batch
from tvae_core.experiments import read_experiment
from tvae_core.figures.traversals import build_strips, reconstruction, rolls
from tvae_core.files import FIGURES, RUNS
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.charts import Curve, Panel, charts
from tvae_core.plotting.strips import traversals
from tvae_core.plotting.style import style
from tvae_core.plotting.tables import UNDEFINED, number
from tvae_core.seeding import generator
from tvae_core.training.registry import is_source, open_run
from tvae_core.training.runs import Run
from tvae_core.training.trainer import fit_seeds


def figure_folder(figures: str, scale: str) -> Path:
    """Return where a notebook puts its figures: the folder it was given, or the usual one of that scale."""
    return Path(figures) if figures else FIGURES / scale


def fit_all(
    experiments: Sequence[str], scale: str, seeds: Sequence[int] = (), device: str = "auto", runs: str = ""
) -> list[Run]:
    """Train each experiment or variant with each seed (without any: its own), or load the run if it is done.

    In place of an experiment the file or URL of a pack may stand (open_run). In a notebook two pictures show
    training as it goes on.
    """
    opened = {name: open_run(name) for name in experiments if is_source(name)}
    rows = {name: read_experiment(name, scale) for name in experiments if name not in opened}

    def trained(exp: Experiment) -> list[Run]:
        return fit_seeds(exp, seeds or [exp.seed], device, runs or RUNS, watch=LiveView(exp))

    return [
        run for name in experiments for run in ([opened[name]] if name in opened else trained(rows[name]))
    ]


def about(runs: Sequence[Run]) -> str:
    """Return a caption: which experiments, scale, seeds and data a figure or table shows."""

    def listed(values: Iterable[object]) -> str:
        return ", ".join(dict.fromkeys(map(str, values)))

    names, seeds = listed(run.label for run in runs), listed(run.exp.seed for run in runs)
    each = Counter((run.label, run.exp.scale) for run in runs).values()
    several = "one" if max(each) == 1 else " to ".join(map(str, sorted({min(each), max(each)})))
    several = f"{several} seeds each" if several != "one" else "one seed each" if "," in seeds else ""
    seeds = f"{several} ({seeds})" if several else f"seed {seeds}"
    data = "; ".join(dict.fromkeys(str(run.provenance["data"]) for run in runs))
    packs = listed(run.folder.name for run in runs if run.folder.is_file())
    packs = f" Rounded weights, from {packs}." if packs else ""
    return f"{names}. Scale {listed(run.exp.scale for run in runs)}, {seeds}. Data: {data}.{packs}"


def first_seeds(runs: Sequence[Run]) -> list[Run]:
    """Return the first run of each experiment, for figures, which show one."""
    return list({run.label: run for run in reversed(runs)}.values())[::-1]


def show_rows(rows: Sequence[Mapping[str, object]], decimals: int = 1) -> Markdown:
    """Return a small table: a row for each mapping, a column for each key; numbers rounded, `–` for None."""
    frame = pd.DataFrame(rows, dtype=object)
    aligned = ["left" if isinstance(frame[key].iloc[0], str) else "right" for key in frame]
    text = frame.map(lambda value: _cell(value, decimals))
    return Markdown(text.to_markdown(index=False, disable_numparse=True, colalign=aligned))


def _cell(value: object, decimals: int) -> str:
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return UNDEFINED
    return number(float(value), decimals if isinstance(value, float) else 0)


SECONDS = 5.0  # between two drawings
TERMS = {"−log p(x|t)": "nll", "KL(z)": "kl_z", "KL(u)": "kl_u"}  # of the loss

History = Sequence[Mapping[str, int | float]]


def in_notebook() -> bool:
    """Return whether pictures can be shown and replaced: whether a kernel runs this process."""
    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


def losses(history: History, seconds: float) -> Figure:
    """Draw the terms of the loss since training began, in nats a frame, over the steps."""
    steps = [row["step"] for row in history]
    nll, *divergences = [
        Curve(name, look, steps, [row[key] for row in history])
        for look, (name, key) in enumerate(TERMS.items())
    ]
    after = f"after {seconds / 60:.1f} min"
    panels = [Panel(after, "step", "nats/frame", [nll]), Panel("", "step", "KL, nats/frame", divergences)]
    return charts(panels)


class LiveView:
    """Two pictures below the cell that trains an experiment; nothing where there is no notebook.

    `fit` calls it (its argument `watch`). It draws without posterior noise, so training is the same with it.
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

    def progress_strip(self, model: TVAE) -> Figure:
        """Draw a sequence, its reconstruction and the roll of t of l0 over all its frames."""
        x = self.batch.x.to(next(model.parameters()).device)
        rows = reconstruction() | (rolls(self.exp.anchor) if self.exp.n_transforms > 1 else {})
        return traversals(build_strips(model, self.exp, [("validation sequence", x[0])], rows))

    def __call__(self, model: TVAE, history: History, seconds: float) -> None:
        """Replace the pictures if they are older than SECONDS."""
        if not self.shown or time.monotonic() - self.drawn < SECONDS:
            return
        pictures = [
            _picture(losses(history, seconds), "The terms of the loss over the steps so far"),
            _picture(self.progress_strip(model), "A sequence, its reconstruction and its roll"),
        ]
        if self.handles is None:
            self.handles = [display(picture, display_id=True) for picture in pictures]
        else:
            for handle, picture in zip(self.handles, pictures, strict=True):
                handle.update(picture)
        self.drawn = time.monotonic()


def _picture(figure: Figure, alt: str) -> Image:
    png = io.BytesIO()
    with style():
        figure.savefig(png, format="png", dpi=110)
    return Image(png.getvalue(), format="png", alt=alt)
