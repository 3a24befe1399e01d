"""How far a roll carries: the cost of a frame against its distance from the encoded one."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tvae_core.figures.comparison import average, by_data
from tvae_core.measures.evaluation import first_batches, nats
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.training.runs import Run, both_models

# How far t is rolled


def roll_costs(
    run: Run, model: TVAE, sequences: int = 100, axes: Sequence[int] = (0,)
) -> Float[Tensor, " S"]:
    """−log p(x_l | g(Roll_{l - l0}(t_l0))) in nats for every frame l, the mean over test sequences.

    Capsules of several dimensions are rolled along each of the `axes`.
    """
    with torch.inference_mode():
        costs = [
            nats(run.exp, model.traverse(model.latents(batch.x), run.exp.anchor, axes), batch.x)
            for batch, _ in first_batches(run.exp, run.exp.seed, sequences)
        ]
    return torch.cat(costs).mean(0)


def distance_panels(runs: Sequence[Run], sequences: int = 100) -> list[Panel]:
    """Roll costs against δ of every model, trained and untrained; open markers where frames are held out."""
    panels = []
    for data, own in by_data(runs).items():
        curves = []
        for look, run in enumerate(own):
            frames = range(run.exp.n_transforms)
            delta, held_out = [f - run.exp.anchor for f in frames], [f in run.exp.held_out for f in frames]
            for kind, model in both_models(run).items():
                costs = roll_costs(run, model, sequences).tolist()
                control = kind == "untrained"
                name = run.title
                curves.append(Curve(name, look, delta, costs, hollow=held_out, control=control))
        level = [("mean frame", average(own[:1], "chance", "roll_seen"))]
        panels.append(Panel(data, "δ, how far t is rolled", "nats/frame, log scale", curves, level, log=True))
    return panels
