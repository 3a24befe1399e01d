"""Appendix C and the prior: where equivariance breaks, capsules of two dimensions, sequences from nothing."""

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
from tvae_core.measures.evaluation import first_batches
from tvae_core.plotting.strips import Strip
from tvae_core.plotting.style import BODY, MUTED, RULE, SMALL, WIDTH, blank, place, style
from tvae_core.training.runs import Run, both_models


class Breaks(NamedTuple):
    """Where a step in time is not a roll by one unit: |Roll_1(t̂_l) − t̂_{l+1}|, the mean over capsules."""

    boundary: str
    kind: str  # trained or untrained
    error: Float[Tensor, "S D"]  # of the step from frame l (the last one goes back to the first), at unit d

    @property
    def inside(self) -> float:
        """The mean where neither time nor capsule wraps round."""
        return self.error[:-1, 1:].mean().item()

    @property
    def time_wraps(self) -> float:
        """The mean of the step from the last frame to the first."""
        return self.error[-1].mean().item()

    @property
    def capsule_wraps(self) -> float:
        """The mean at the unit that the roll brings from the capsule's other end."""
        return self.error[:-1, 0].mean().item()


def breaks(run: Run, sequences: int = 100) -> list[Breaks]:
    """The error of a step at every frame and unit, on posterior draws of t; trained and untrained."""
    found = []
    for kind, model in both_models(run).items():
        with torch.inference_mode():
            parts = [
                F.normalize(model(b.x, g).t, dim=-1)
                for b, g in first_batches(run.exp, run.exp.seed, sequences)
            ]
        t = torch.cat(parts)
        error = (t.roll(1, -1) - t.roll(-1, 1)).abs().mean((0, 2))
        found.append(Breaks(run.exp.boundary, kind, error))
    return found


def break_maps(found: Sequence[Breaks]) -> Figure:
    """The maps, a column for each boundary, trained above untrained, all on one logarithmic scale."""
    columns = list(dict.fromkeys(b.boundary for b in found))
    kinds = list(dict.fromkeys(b.kind for b in found))
    errors = torch.cat([b.error.flatten() for b in found])
    scale = LogNorm(errors.min().item(), errors.max().item())
    side = (WIDTH - 1.35) / max(3, len(columns)) - 0.2
    with style():
        figure = blank(WIDTH, 0.25 + len(kinds) * (side + 0.64))
        for b in found:
            i, j = kinds.index(b.kind), columns.index(b.boundary)
            axes = place(figure, 0.55 + j * (side + 0.28), 0.25 + i * (side + 0.64), side, side)
            _draw_break(axes, b, scale, first=j == 0)
        bar = place(figure, 0.55 + len(columns) * (side + 0.28), 0.25, 0.09, side)
        figure.colorbar(ScalarMappable(scale, "viridis"), cax=bar)
        bar.tick_params(labelsize=SMALL, length=1.5, colors=MUTED)
        bar.tick_params(which="minor", length=0)
        bar.set_ylabel("mean error, log scale", fontsize=SMALL)
    return figure


def _draw_break(axes: Axes, b: Breaks, scale: LogNorm, first: bool) -> None:
    s, d = b.error.shape
    axes.imshow(b.error.numpy(), norm=scale, cmap="viridis", aspect="auto", interpolation="nearest")
    axes.set_title(f"{b.boundary}, {b.kind}", weight="bold", fontsize=BODY)
    axes.set_xticks([0, d // 2, d - 1], ["0\nwraps", d // 2, d - 1])
    axes.set_yticks([0, s // 2, s - 1], [0, s // 2, f"{s - 1}" + "\nwraps" * first])
    axes.set_xlabel("unit d", labelpad=-8)
    axes.set_ylabel("step from frame l" if first else "")
    axes.spines[:].set_color(RULE)


def what_breaks_show(found: Sequence[Breaks]) -> str:
    """In words: how much larger the error is where time, or the capsule, wraps round."""
    sentences = []
    for b in found:
        text = f"**{b.boundary}**, {b.kind}: the error of a step is {b.inside:.4f} inside, "
        text += f"{b.time_wraps / b.inside:.1f} times that where time wraps round, "
        sentences.append(text + f"{b.capsule_wraps / b.inside:.1f} times where the capsule does.")
    return "\n\n".join(sentences)


def ways_to_roll(run: Run) -> dict[str, tuple[int, ...]]:
    """The axes along which a capsule can be rolled: its own axis, or each of them and then all together."""
    shape = run.exp.capsule_shape
    if len(shape) == 1:
        return {"rolled": (0,)}
    each = {f"along {n} units": (axis,) for axis, n in enumerate(shape)}
    return {**each, "along both": tuple(range(len(shape)))}


def axis_strips(run: Run, example: int = 0, varied: int = 0) -> Strip:
    """One test sequence, and the frames decoded from t of l0 rolled along each axis of the capsule."""
    exp, model = run.exp, run.model
    sequences = run.data.test
    with torch.inference_mode():
        x = sequences.sequence(torch.tensor([example % len(sequences)]), varied).x
        t = model.latents(x)
        rows = [("input", x[0]), ("reconstruction", model.decode(t)[0])]
        for words, axes in ways_to_roll(run).items():
            rows.append((words, model.traverse(t, exp.anchor, axes)[0].sigmoid()))
    shape = " × ".join(map(str, exp.capsule_shape))
    title = f"Boundary {exp.boundary}, capsules of {shape}, {sequences.varying[varied]}"
    return Strip(title, rows, exp.anchor, exp.held_out)


def costs_by_axis(run: Run, sequences: int = 100) -> Mapping[str, Mapping[str, float]]:
    """Cost of held-out frames in nats, for each way to roll, trained and untrained."""
    models = both_models(run)
    return {
        words: {
            kind: roll_costs(run, model, sequences, axes)[run.exp.held_out].mean().item()
            for kind, model in models.items()
        }
        for words, axes in ways_to_roll(run).items()
    }


def what_axes_show(runs: Sequence[Run], costs: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """In words: what held-out frames cost for each way to roll."""
    sentences = []
    for run, ways in zip(runs, costs, strict=True):
        chance = run.results["chance"]["reconstruction"]
        text = f"**{run.title}** (scale {run.exp.scale}), held-out frames: "
        text += "; ".join(
            f"{w} {c['trained']:,.1f} (untrained {c['untrained']:,.1f})" for w, c in ways.items()
        )
        text += f" nats/frame; reconstruction {run.results['trained']['reconstruction']:,.1f}, "
        sentences.append(text + f"the mean frame {chance:,.1f}.")
    return "\n\n".join(sentences)
