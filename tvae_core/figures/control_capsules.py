"""What one capsule carries of a roll: some capsules rolled while the others stand still."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tvae_core.figures.traversals import Rows, build_strips, example_sequences
from tvae_core.measures.evaluation import first_batches, nats
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.plotting.strips import Strip
from tvae_core.training.runs import Run, both_models


def roll_some(model: TVAE, t: Float[Tensor, "B S C D"], anchor: int, rolled: Bool[Tensor, "*K C"]) -> Tensor:
    """Return the roll of t_l0 to every frame in the capsules `rolled` alone: (*K, B, S, C, D)."""
    still, moved = t[:, anchor : anchor + 1], model.rolls(t, anchor)
    return torch.where(rolled[..., None, None, :, None], moved, still)


def partial_roll_costs(
    run: Run, model: TVAE, rolled: Bool[Tensor, "K C"], sequences: int = 100
) -> Float[Tensor, " K"]:
    """Return the mean cost of all frames but l0 in nats, with some capsules of t_l0 rolled, for K choices."""
    anchor, costs = run.exp.anchor, []
    with torch.inference_mode():
        for batch, _ in first_batches(run.exp, sequences):
            mixed = roll_some(model, model.latents(batch.x), anchor, rolled)  # (K, B, S, C, D)
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
        """The gain of the best capsule alone, as a share of the gain of all; None if all gain nothing."""
        none, every = self.growing[0], self.growing[-1]
        return ((none - self.alone[0]) / (none - every)).item() if every < none else None


def capsule_shares(run: Run, model: TVAE, sequences: int = 50) -> Shares:
    """Return the cost with each capsule rolled alone, and with more and more of them rolled together."""
    one = torch.eye(model.capsules, dtype=torch.bool)
    alone, order = partial_roll_costs(run, model, one, sequences).sort()
    first = torch.ones(model.capsules + 1, model.capsules).tril(-1).bool()
    rolled = torch.zeros_like(first).index_copy(1, order, first)
    return Shares(order, alone, partial_roll_costs(run, model, rolled, sequences))


def both_shares(runs: Sequence[Run], sequences: int = 50) -> list[Mapping[str, Shares]]:
    """Return the shares of each run, trained and untrained."""
    return [
        {kind: capsule_shares(run, model, sequences) for kind, model in both_models(run).items()}
        for run in runs
    ]


def share_rows(runs: Sequence[Run], shares: Sequence[Mapping[str, Shares]]) -> list[Mapping[str, object]]:
    """Return as table rows the share of a roll that the best capsule carries."""
    return [
        {
            "model": f"{run.title}, {run.exp.dataset}, {kind}",
            "none rolled": found.growing[0].item(),
            "the best rolled": found.alone[0].item(),
            "all rolled": found.growing[-1].item(),
            "share of the best [%]": None if found.best is None else 100 * found.best,
        }
        for run, both in zip(runs, shares, strict=True)
        for kind, found in both.items()
    ]


def one_capsule_strips(run: Run, best: int, image: int = 0) -> list[Strip]:
    """Return for each transformation a test sequence, with all, one, and all other capsules rolled."""
    one = torch.arange(run.exp.n_caps) == best
    choices = {"all rolled": one | ~one, f"capsule {best}": one, "the others": ~one}
    rows: Rows = {
        name: lambda model, t, rolled=rolled: roll_some(model, t, run.exp.anchor, rolled)
        for name, rolled in choices.items()
    }
    examples = example_sequences(run, [image], "control_capsules")
    return build_strips(run.model, run.exp, [(f"{run.title}, {name}", x) for name, x in examples], rows)


def share_panels(runs: Sequence[Run], shares: Sequence[Mapping[str, Shares]]) -> list[Panel]:
    """Return the cost against the number of capsules rolled, and of each alone; trained and untrained."""
    panels = []
    for run, both in zip(runs, shares, strict=True):
        curves = []
        for kind, found in both.items():
            control, n = kind == "untrained", len(found.order)
            growing = Curve("the best n together", 0, range(n + 1), found.growing.tolist(), control=control)
            alone = Curve("the n-th best alone", 1, range(1, n + 1), found.alone.tolist(), control=control)
            curves += [growing, alone]
        title = f"{run.title}, {run.exp.dataset}"
        panels.append(Panel(title, "n, capsules rolled", "nats/frame, log scale", curves, log=True))
    return panels
