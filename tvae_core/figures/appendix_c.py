"""Appendix C: other boundaries, 2-D capsules, and capsules shorter or longer than a sequence."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from tvae_core.figures.control_distance import roll_costs
from tvae_core.figures.traversals import build_strips, example_sequences, reconstruction, rolls
from tvae_core.measures.evaluation import first_batches
from tvae_core.plotting.strips import Strip
from tvae_core.plotting.style import BODY, MUTED, RULE, SMALL, WIDTH, blank, style
from tvae_core.training.runs import Run, both_models


class Breaks(NamedTuple):
    """Where a step in time is not a roll by one unit: |Roll_1(t̂_l) − t̂_{l+1}|, the mean over capsules."""

    model: str  # the boundary and the units of a capsule
    kind: str  # trained or untrained
    error: Float[Tensor, "S D"]  # of the step from frame l (the last one goes back to the first), at unit d

    @property
    def row(self) -> Mapping[str, object]:
        """The mean error where nothing wraps round, and how many times larger it is where something does."""
        inside = self.error[:-1, 1:].mean().item()
        time, capsule = self.error[-1].mean().item() / inside, self.error[:-1, 0].mean().item() / inside
        where = {"error inside": inside, "times that where time wraps": time}
        return {"capsules": self.model, "model": self.kind, **where, "where the capsule wraps": capsule}


def shape(run: Run) -> str:
    """Return the boundary and the shape of a run's capsules in words."""
    return f"{run.exp.boundary}, {' × '.join(map(str, run.exp.capsule_shape))} units"


def breaks(run: Run, sequences: int = 100) -> list[Breaks]:
    """Return the error of a step at every frame and unit, at posterior draws of t; trained and untrained."""
    found = []
    for kind, model in both_models(run).items():
        with torch.inference_mode():
            batches = first_batches(run.exp, sequences)
            t = torch.cat([F.normalize(model(batch.x, g).t, dim=-1) for batch, g in batches])
        found.append(Breaks(shape(run), kind, (t.roll(1, -1) - t.roll(-1, 1)).abs().mean((0, 2))))
    return found


def axes_to_roll(run: Run) -> dict[str, tuple[int, ...]]:
    """Return the axes along which a capsule can be rolled: its own, or each of two and then both."""
    units = run.exp.capsule_shape
    if len(units) == 1:
        return {"rolled": (0,)}
    return {f"along {n} units": (axis,) for axis, n in enumerate(units)} | {
        "along both": tuple(range(len(units)))
    }


def axis_strips(run: Run, image: int = 0, varied: int = 0) -> Strip:
    """Return one test sequence, and the frames decoded from t of l0 rolled along each axis of the capsule."""
    name, x = example_sequences(run, [image], "appendix_c")[varied]
    rows = reconstruction()
    for words, axes in axes_to_roll(run).items():
        rows |= rolls(run.exp.anchor, axes=axes, name=words)
    return build_strips(run.model, run.exp, [(f"{shape(run)}: {name}", x)], rows)[0]


def cost_rows(run: Run, sequences: int = 100) -> list[Mapping[str, object]]:
    """Return as table rows the cost of held-out frames in nats, for each axis to roll."""
    known = {kind: run.results[row]["reconstruction"] for kind, row in _LEVELS.items()}
    rows = []
    for words, axes in axes_to_roll(run).items():
        costs = {
            kind: roll_costs(run, model, sequences, axes)[run.exp.held_out].mean().item()
            for kind, model in both_models(run).items()
        }
        rows.append({"capsules": shape(run), "rolled": words, **costs, **known})
    return rows


_LEVELS = {"reconstruction": "trained", "mean frame": "chance"}


def break_maps(found: Sequence[Breaks]) -> Figure:
    """Draw the errors on one scale: a column for each kind of capsule, trained above untrained."""
    models, kinds = (
        list(dict.fromkeys(names)) for names in zip(*((b.model, b.kind) for b in found), strict=True)
    )
    errors = torch.cat([b.error.flatten() for b in found])
    scale = LogNorm(errors.min().item(), errors.max().item())
    with style():
        figure = blank(WIDTH, len(kinds) * (0.7 + 6 / max(3, len(models))), layout="constrained")
        grid = figure.subplots(len(kinds), len(models), squeeze=False)
        for b in found:
            place = kinds.index(b.kind), models.index(b.model)
            _draw_break(grid[place], b, scale, first=place[1] == 0)
        bar = figure.colorbar(ScalarMappable(scale, "viridis"), ax=grid, aspect=40, pad=0.01)
        bar.ax.tick_params(labelsize=SMALL, length=1.5, colors=MUTED)
        bar.ax.tick_params(which="minor", length=0)
        bar.set_label("mean error, log scale", fontsize=SMALL)
    return figure


def _draw_break(axes: Axes, b: Breaks, scale: LogNorm, first: bool) -> None:
    s, d = b.error.shape
    axes.imshow(b.error.numpy(), norm=scale, cmap="viridis", aspect="auto", interpolation="nearest")
    axes.set_title(f"{b.model.replace(', ', chr(10))}\n{b.kind}", weight="bold", fontsize=BODY)
    axes.set_xticks([0, d // 2, d - 1], ["0\nwraps", d // 2, d - 1])
    axes.set_yticks([0, s // 2, s - 1], [0, s // 2, f"{s - 1}" + "\nwraps" * first])
    axes.set_xlabel("unit d")
    axes.set_ylabel("step from frame l" if first else "")
    axes.spines[:].set_color(RULE)
