"""Beyond the paper: how far a roll carries, how much of it one capsule carries, and CapCorr of each."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tvae_core.comparison import average, groups, model_name, value_of
from tvae_core.evaluation import first_batches
from tvae_core.experiments import Experiment
from tvae_core.figures import Strip
from tvae_core.losses import negative_log_likelihood
from tvae_core.metrics import omega_rolls, pearson_per_factor
from tvae_core.model import TVAE
from tvae_core.plots import Curve, Panel
from tvae_core.runs import Run

KINDS = ("trained", "untrained")


def both_models(run: Run) -> dict[str, TVAE]:
    """The trained model, and the same before any training."""
    return {"trained": run.load_model(), "untrained": run.exp.build_model(run.seed).eval()}


def titled(run: Run) -> str:
    """The model and its data, as the title of a panel."""
    return f"{model_name(run.label)}, {'dSprites' if run.exp.data == 'dsprites' else 'MNIST'}"


def by_data(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The first seed of each experiment, MNIST and dSprites apart."""
    first = [own[0] for own in groups(runs).values()]
    names = {"MNIST": False, "dSprites": True}
    apart = {name: [r for r in first if (r.exp.data == "dsprites") is it] for name, it in names.items()}
    return {name: own for name, own in apart.items() if own}


def nats(exp: Experiment, logits: Tensor, x: Tensor) -> Float[Tensor, "*batch"]:
    """−log p(x|t) of each frame, in nats."""
    return negative_log_likelihood(logits, x, exp.likelihood)


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
            for batch, _ in first_batches(run.exp, run.seed, sequences)
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
                name = model_name(run.label)
                curves.append(Curve(name, look, delta, costs, hollow=held_out, control=control))
        level = [("mean frame", average(own[:1], "chance", "roll_seen"))]
        panels.append(Panel(data, "δ, how far t is rolled", "nats/frame, log scale", curves, level, log=True))
    return panels


# One capsule alone


def partial_roll_costs(
    run: Run, model: TVAE, rolled: Bool[Tensor, "K C"], sequences: int = 100
) -> Float[Tensor, " K"]:
    """The mean cost of all frames but l0 where some capsules of t_l0 are rolled, for K choices of them."""
    anchor, costs = run.exp.anchor, []
    with torch.inference_mode():
        for batch, _ in first_batches(run.exp, run.seed, sequences):
            t = model.latents(batch.x)
            still, moved = t[:, anchor : anchor + 1], model.rolls(t, anchor)
            mixed = torch.where(rolled[:, None, None, :, None], moved, still)  # (K, B, S, C, D)
            x = batch.x.expand(len(rolled), *batch.x.shape).flatten(0, 1)
            each = nats(run.exp, model.logits(mixed.flatten(0, 1)), x)
            costs.append(each.unflatten(0, mixed.shape[:2]))
    others = [frame for frame in range(costs[0].shape[-1]) if frame != anchor]
    return torch.cat(costs, 1)[..., others].mean((1, 2))


class Shares(NamedTuple):
    """What single capsules carry of a roll."""

    order: Int[Tensor, " C"]  # capsules, the one that helps most when it alone is rolled first
    alone: Float[Tensor, " C"]  # cost with that capsule alone rolled, in nats a frame
    growing: Float[Tensor, " C+1"]  # cost with none, the first, the first two, … all of them rolled

    @property
    def best(self) -> float | None:
        """What the best capsule gains alone, as a share of what all gain; None if they gain nothing."""
        none, every = self.growing[0], self.growing[-1]
        return ((none - self.alone[0]) / (none - every)).item() if every < none else None


def capsule_shares(run: Run, model: TVAE, sequences: int = 50) -> Shares:
    """What each capsule gains when it alone is rolled, and what more and more of them gain together."""
    one = torch.eye(model.capsules, dtype=torch.bool)
    alone, order = partial_roll_costs(run, model, one, sequences).sort()
    first = torch.ones(model.capsules + 1, model.capsules).tril(-1).bool()
    rolled = torch.zeros_like(first).index_copy(1, order, first)
    return Shares(order, alone, partial_roll_costs(run, model, rolled, sequences))


def share_panels(runs: Sequence[Run], shares: Sequence[dict[str, Shares]]) -> list[Panel]:
    """The cost against how many capsules are rolled, and of each capsule alone; trained and untrained."""
    panels = []
    for run, both in zip(runs, shares, strict=True):
        curves = []
        for kind, found in both.items():
            control, n = kind == "untrained", len(found.order)
            curves.append(
                Curve("the best n together", 0, range(n + 1), found.growing.tolist(), control=control)
            )
            alone = Curve("the n-th best alone", 1, range(1, n + 1), found.alone.tolist(), control=control)
            curves.append(alone)
        panels.append(Panel(titled(run), "n, capsules rolled", "nats/frame, log scale", curves, log=True))
    return panels


def one_capsule_strips(run: Run, best: int, example: int = 0) -> list[Strip]:
    """For each transformation a test sequence, and t of l0 with all, one and all other capsules rolled."""
    exp, model, strips = run.exp, run.load_model(), []
    sequences = exp.build_sequences("test", run.seed)
    one = torch.arange(exp.n_caps) == best
    choices = {"all rolled": one | ~one, f"capsule {best}": one, "the others": ~one}
    with torch.inference_mode():
        for i, factor in enumerate(sequences.varying):
            x = sequences.sequence(torch.tensor([example % len(sequences)]), i).x
            t = model.latents(x)
            still, moved = t[:, exp.anchor : exp.anchor + 1], model.rolls(t, exp.anchor)
            rows = [("input", x[0])]
            for words, rolled in choices.items():
                rows.append((words, model.decode(torch.where(rolled[:, None], moved, still))[0]))
            strips.append(Strip(f"{model_name(run.label)}, {factor}", rows, exp.anchor, exp.held_out))
    return strips


def what_capsules_show(runs: Sequence[Run], shares: Sequence[dict[str, Shares]]) -> str:
    """In words: how much of a roll the best capsule carries alone."""
    sentences = []
    for run, both in zip(runs, shares, strict=True):
        found, control = both["trained"], both["untrained"]
        none, every = found.growing[0].item(), found.growing[-1].item()
        text = f"**{model_name(run.label)}** ({run.label}, scale {run.exp.scale}): nothing rolled costs "
        text += f"{none:,.1f} nats/frame, all capsules rolled {every:,.1f}"
        if found.best is None:
            text += ", so rolling gains nothing and there is nothing to share"
        else:
            text += f", the best capsule alone {found.alone[0]:,.1f}: it carries {found.best:.0%} of the gain"
        text += f". Untrained: {control.growing[0]:,.1f} and {control.growing[-1]:,.1f}."
        sentences.append(text)
    return "\n\n".join(sentences)


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
            (model(b.x, g).t, b.factors, b.varied) for b, g in first_batches(run.exp, run.seed, sequences)
        ]
    t, factors, varied = (torch.cat(part) for part in zip(*parts, strict=True))
    varying = run.exp.build_sequences("test", run.seed).varying
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
        panels.append(Panel(titled(run), "", "CapCorr, first Ω", curves, ticks=ticks))
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
            f"**{titled(run)}** (scale {run.exp.scale}), CapCorr of the median capsule: {', '.join(parts)}."
        )
        sentences.append(text.replace(" -", " −"))
    return "\n\n".join(sentences)
