"""How far a roll carries: the cost of a frame against its distance from the encoded one."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tvae_core.figures.comparison import average, by_data
from tvae_core.measures.evaluation import first_batches, nats
from tvae_core.measures.rolls import CLAMPS
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.training.runs import Run, both_models

UNIT = "nats/frame, log scale"
STEPS = {"rolled": 1, "not rolled": 0, "rolled backwards": -1}  # units for each frame


def roll_costs(
    run: Run, model: TVAE, sequences: int = 100, axes: Sequence[int] = (0,), step: int = 1
) -> Float[Tensor, " S"]:
    """Return −log p(x_l | g(Roll_{step · (l - l0)}(t_l0))) in nats for every frame l, over test sequences.

    Capsules of several dimensions are rolled along each of the `axes`.
    """
    with torch.inference_mode():
        costs = [
            nats(run.exp, model.traverse(model.latents(batch.x), run.exp.anchor, axes, step), batch.x)
            for batch, _ in first_batches(run.exp, sequences)
        ]
    return torch.cat(costs).mean(0)


def seen_mean_costs(run: Run, sequences: int = 100) -> Float[Tensor, " S"]:
    """Return the cost in nats of every frame, predicted by the mean of the sequence's seen frames.

    Its pixels are kept away from 0 and 1 by the value of rolls.CLAMPS that suits the held-out frames best.
    """
    held_out = run.exp.held_out
    seen = [frame for frame in range(run.exp.n_transforms) if frame not in held_out]
    parts = [
        torch.stack([nats(run.exp, mean.logit(clamp).expand_as(x), x) for clamp in CLAMPS])
        for x in (batch.x for batch, _ in first_batches(run.exp, sequences))
        for mean in (x[:, seen].mean(1, keepdim=True),)
    ]
    costs = torch.cat(parts, 1).mean(1)  # (clamps, S)
    return costs[costs[:, held_out].mean(1).argmin()]


def distance_panels(runs: Sequence[Run], sequences: int = 100) -> list[Panel]:
    """Return roll costs against δ, trained and untrained, for the models of each kind of data.

    Markers are open where frames are held out.
    """
    panels = []
    for data, own in by_data(runs).items():
        curves = [
            _curve(run, run.title, look, roll_costs(run, model, sequences), control=kind == "untrained")
            for look, run in enumerate(own)
            for kind, model in both_models(run).items()
        ]
        level = [("mean frame", average(own[:1], "chance", "roll_seen"))]
        panels.append(Panel(data, "δ, how far t is rolled", UNIT, curves, level, log=True))
    return panels


def control_panels(runs: Sequence[Run], sequences: int = 100) -> list[Panel]:
    """Return the roll of each run beside its controls, which need no equivariance, against δ.

    They are the same t not rolled and rolled backwards, and the mean of the sequence's seen frames.
    """
    panels = []
    for run in runs:
        costs = {name: roll_costs(run, run.model, sequences, step=step) for name, step in STEPS.items()}
        costs["mean of the seen frames"] = seen_mean_costs(run, sequences)
        curves = [_curve(run, name, look, y) for look, (name, y) in enumerate(costs.items())]
        panels.append(
            Panel(f"{run.title}, {run.exp.dataset}", "δ, distance from frame l0", UNIT, curves, log=True)
        )
    return panels


def _curve(run: Run, name: str, look: int, costs: Float[Tensor, " S"], control: bool = False) -> Curve:
    frames = range(run.exp.n_transforms)
    delta, held_out = [f - run.exp.anchor for f in frames], [f in run.exp.held_out for f in frames]
    return Curve(name, look, delta, costs.tolist(), hollow=held_out, control=control)


def margin_rows(runs: Sequence[Run]) -> list[Mapping[str, object]]:
    """Return as table rows the roll margin of each run by factor."""
    kinds = {"roll_margin": "at E[z], E[u²]", "roll_margin_at_draws": "at draws"}
    return [
        {"model": f"{run.title}, {run.exp.dataset}", "t": words, **run.results["trained"][key]}
        for run in runs
        for key, words in kinds.items()
        if run.results["trained"].get(key)
    ]
