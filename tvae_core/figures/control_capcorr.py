"""CapCorr of each capsule by itself: what the mode over all capsules hides."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tvae_core.figures.comparison import KINDS, value_of
from tvae_core.measures.evaluation import first_batches
from tvae_core.measures.metrics import omega_rolls, pearson_per_factor
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.training.runs import Run

# CapCorr of each capsule


def correlation_of_capsules(
    t: Float[Tensor, "B S C D"], factors: Int[Tensor, "B S F"], varied: Int[Tensor, " B"]
) -> Float[Tensor, "F C"]:
    """CapCorr (metrics.capsule_correlation, first Ω) of every capsule alone, not of what most agree on."""
    c, n = t.shape[2], factors.shape[2]
    alone = t.transpose(1, 2).flatten(0, 1).unsqueeze(2)  # (B·C, S, 1, D)
    rolls, starts = omega_rolls(alone, factors.repeat_interleave(c, 0), varied.repeat_interleave(c))
    places = (varied.unsqueeze(1) * c + torch.arange(c, device=t.device)).flatten()
    return pearson_per_factor(rolls, starts, places, n * c).view(n, c)


def capsule_correlations(run: Run, model: TVAE, sequences: int = 500) -> Float[Tensor, "F C"]:
    """CapCorr of every capsule for each varying factor, on the posterior draws that the tables measure."""
    with torch.inference_mode():
        parts = [
            (model(b.x, g).t, b.factors, b.varied) for b, g in first_batches(run.exp, run.exp.seed, sequences)
        ]
    t, factors, varied = (torch.cat(part) for part in zip(*parts, strict=True))
    varying = run.data.test.varying
    return correlation_of_capsules(t, factors, varied)[: len(varying)]


def correlation_panels(
    runs: Sequence[Run], correlations: Sequence[dict[str, Float[Tensor, "F C"]]]
) -> list[Panel]:
    """For each factor the capsules in the order of their CapCorr, trained beside untrained."""
    panels = []
    for run, both in zip(runs, correlations, strict=True):
        chance = run.results["chance"]["capcorr_first"]
        curves = []
        for f, (factor, level) in enumerate(chance.items()):
            for kind, offset in zip(KINDS, (-0.2, 0.2), strict=True):
                r = both[kind][f].sort().values.tolist()
                x = [f + offset + 0.3 * (i / max(1, len(r) - 1) - 0.5) for i in range(len(r))]
                y = [None if value != value else value for value in r]
                words = f"a capsule, {kind}"
                curves.append(Curve(words, int(kind != "trained"), x, y, joined=False))
                together = run.results[kind]["capcorr_first"][factor]
                curves.append(Curve("what most capsules agree on", 4, [f + offset], [together], joined=False))
            curves.append(Curve("chance", 2, [f], [level], joined=False))
        ticks = list(enumerate(chance))
        panels.append(Panel(f"{run.title}, {run.exp.dataset}", "", "CapCorr, first Ω", curves, ticks=ticks))
    return panels


def what_correlations_show(
    runs: Sequence[Run], correlations: Sequence[dict[str, Float[Tensor, "F C"]]]
) -> str:
    """In words: the median capsule, trained and untrained, beside what the capsules say together."""
    sentences = []
    for run, both in zip(runs, correlations, strict=True):
        parts = []
        for f, factor in enumerate(run.results["chance"]["capcorr_first"]):
            trained, untrained = (both[kind][f].nanmedian().item() for kind in KINDS)
            vote = value_of(run.results["trained"], f"capcorr_first/{factor}")
            words = "undefined" if vote is None else f"{vote:.2f}"
            parts.append(f"{factor} {trained:.2f} (untrained {untrained:.2f}; together {words})")
        text = (
            f"**{run.title}, {run.exp.dataset}** (scale {run.exp.scale}), "
            f"CapCorr of the median capsule: {', '.join(parts)}."
        )
        sentences.append(text.replace(" -", " −"))
    return "\n\n".join(sentences)
