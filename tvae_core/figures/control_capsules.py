"""Beyond the paper: how far a roll carries, how much of it one capsule carries, and CapCorr of each."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tvae_core.measures.evaluation import first_batches, nats
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.plotting.strips import Strip
from tvae_core.training.runs import Run

# One capsule alone


def partial_roll_costs(
    run: Run, model: TVAE, rolled: Bool[Tensor, "K C"], sequences: int = 100
) -> Float[Tensor, " K"]:
    """The mean cost of all frames but l0 where some capsules of t_l0 are rolled, for K choices of them."""
    anchor, costs = run.exp.anchor, []
    with torch.inference_mode():
        for batch, _ in first_batches(run.exp, run.exp.seed, sequences):
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
        title = f"{run.title}, {run.exp.dataset}"
        panels.append(Panel(title, "n, capsules rolled", "nats/frame, log scale", curves, log=True))
    return panels


def one_capsule_strips(run: Run, best: int, example: int = 0) -> list[Strip]:
    """For each transformation a test sequence, and t of l0 with all, one and all other capsules rolled."""
    exp, model, strips = run.exp, run.model, []
    sequences = run.data.test
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
            strips.append(Strip(f"{run.title}, {factor}", rows, exp.anchor, exp.held_out))
    return strips


def what_capsules_show(runs: Sequence[Run], shares: Sequence[dict[str, Shares]]) -> str:
    """In words: how much of a roll the best capsule carries alone."""
    sentences = []
    for run, both in zip(runs, shares, strict=True):
        found, control = both["trained"], both["untrained"]
        none, every = found.growing[0].item(), found.growing[-1].item()
        text = f"**{run.title}** ({run.label}, scale {run.exp.scale}): nothing rolled costs "
        text += f"{none:,.1f} nats/frame, all capsules rolled {every:,.1f}"
        if found.best is None:
            text += ", so rolling gains nothing and there is nothing to share"
        else:
            text += f", the best capsule alone {found.alone[0]:,.1f}: it carries {found.best:.0%} of the gain"
        text += f". Untrained: {control.growing[0]:,.1f} and {control.growing[-1]:,.1f}."
        sentences.append(text)
    return "\n\n".join(sentences)
