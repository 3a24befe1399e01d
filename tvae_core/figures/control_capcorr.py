"""CapCorr of each capsule by itself, which the mode over all capsules hides."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tvae_core.figures.comparison import value_of
from tvae_core.measures.evaluation import first_batches
from tvae_core.measures.metrics import omega_rolls, pearson_per_factor
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.training.runs import Run, both_models

Correlations = Mapping[str, Float[Tensor, "F C"]]  # trained and untrained: by factor and capsule


def correlation_of_capsules(
    t: Float[Tensor, "B S C D"], factors: Int[Tensor, "B S F"], varied: Int[Tensor, " B"]
) -> Float[Tensor, "F C"]:
    """Return CapCorr (metrics.capsule_correlation, first Ω) of every capsule alone, by factor."""
    c, n = t.shape[2], factors.shape[2]
    alone = t.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (B·C, S, 1, D)
    rolls, starts = omega_rolls(alone, factors.repeat_interleave(c, 0), varied.repeat_interleave(c))
    places = (varied.unsqueeze(1) * c + torch.arange(c, device=t.device)).flatten()
    return pearson_per_factor(rolls, starts, places, n * c).view(n, c)


def single_correlations(run: Run, model: TVAE, sequences: int = 500) -> Float[Tensor, "F C"]:
    """Return CapCorr of every capsule for each varying factor, at the posterior draws of the tables."""
    with torch.inference_mode():
        batches = first_batches(run.exp, sequences)
        parts = [(model(b.x, g).t, b.factors, b.varied) for b, g in batches]
    t, factors, varied = (torch.cat(part) for part in zip(*parts, strict=True))
    return correlation_of_capsules(t, factors, varied)[: len(run.data.test.varying)]


def both_correlations(runs: Sequence[Run], sequences: int = 500) -> list[Correlations]:
    """Return the correlations of each run, trained and untrained."""
    return [
        {kind: single_correlations(run, model, sequences) for kind, model in both_models(run).items()}
        for run in runs
    ]


def correlation_rows(runs: Sequence[Run], correlations: Sequence[Correlations]) -> list[Mapping[str, object]]:
    """Return as table rows the CapCorr of the median capsule, and of all together, by factor."""
    rows = []
    for run, both in zip(runs, correlations, strict=True):
        factors = run.results["chance"]["capcorr_first"]
        medians = {f"median capsule, {kind}": r.nanmedian(1).values.tolist() for kind, r in both.items()}
        medians["together, trained"] = [
            value_of(run.results["trained"], f"capcorr_first/{f}") for f in factors
        ]
        model = f"{run.title}, {run.exp.dataset}"
        rows += [
            {"model": model, "CapCorr of": k, **dict(zip(factors, v, strict=True))}
            for k, v in medians.items()
        ]
    return rows


def correlation_panels(runs: Sequence[Run], correlations: Sequence[Correlations]) -> list[Panel]:
    """Return for each factor the capsules in the order of their CapCorr, trained beside untrained."""
    panels = []
    for run, both in zip(runs, correlations, strict=True):
        chance, curves = run.results["chance"]["capcorr_first"], []
        for f, (factor, level) in enumerate(chance.items()):
            for (kind, r), offset in zip(both.items(), (-0.2, 0.2), strict=True):
                y = [None if value != value else value for value in r[f].sort().values.tolist()]
                x = [f + offset + 0.3 * (i / max(1, len(y) - 1) - 0.5) for i in range(len(y))]
                curves.append(Curve(f"a capsule, {kind}", int(kind != "trained"), x, y, joined=False))
                together = run.results[kind]["capcorr_first"][factor]
                curves.append(Curve("all capsules together", 4, [f + offset], [together], joined=False))
            curves.append(Curve("chance", 2, [f], [level], joined=False))
        title = f"{run.title}, {run.exp.dataset}"
        panels.append(Panel(title, "", "CapCorr, first Ω", curves, ticks=list(enumerate(chance))))
    return panels
