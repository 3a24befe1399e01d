"""Transformations that never occur in training: faster, backwards, several at once (single-factor MNIST)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tvae_core.data.mnist import N_FRAMES, DigitSequences
from tvae_core.measures.evaluation import measured, nats
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.plotting.strips import Strip
from tvae_core.seeding import generator
from tvae_core.training.runs import Run, both_models


class Motion(NamedTuple):
    """By how many values (rotation, hue, scale) move from frame to frame, and the roll that this predicts."""

    steps: tuple[int, int, int]
    roll: int


MOTIONS: Mapping[str, Motion] = MappingProxyType(
    {
        "rotation, as in training": Motion((1, 0, 0), 1),
        "rotation at twice the speed": Motion((2, 0, 0), 2),
        "rotation backwards": Motion((-1, 0, 0), -1),
        "rotation, hue and scale together": Motion((1, 1, 1), 1),
    }
)
ROLLS = (-2, -1, 0, 1, 2, 3)  # by how much t is rolled for each frame


def moving(
    sequences: DigitSequences,
    index: Int[Tensor, " B"],
    motion: Motion,
    g: torch.Generator | None = None,
) -> Float[Tensor, "B S 3 28 28"]:
    """Sequences of these digits in such a motion, from starts drawn from g, or else from the values 0."""
    device = sequences.images.device
    start = torch.zeros(len(index), 1, 3, dtype=torch.long, device=device)
    if g is not None:
        start = torch.randint(N_FRAMES, start.shape, generator=g, device=device)
    frames = torch.arange(sequences.n_frames, device=device).view(1, -1, 1)
    return sequences.frames(index, (start + frames * torch.tensor(motion.steps, device=device)) % N_FRAMES)


class Costs(NamedTuple):
    """What frames cost, in nats, for each of ROLLS; the mean frame knows the same sequences."""

    seen: Float[Tensor, " R"]
    held_out: Float[Tensor, " R"]
    reconstruction: float
    mean_frame: float

    @property
    def best(self) -> int:
        """The roll for each frame that fits the held-out frames best."""
        return ROLLS[int(self.held_out.argmin())]


def motion_costs(run: Run, model: TVAE, motion: Motion, sequences: int = 100) -> Costs:
    """−log p(x_l | g(Roll_{r (l - l0)}(t_l0))) for each r of ROLLS, over test digits in that motion.

    At most so many as the run was measured on.
    """
    exp, test = run.exp, run.data.test
    index = torch.arange(min(sequences, measured(exp, test)))
    seen = [f for f in range(exp.n_transforms) if f not in exp.held_out and f != exp.anchor]
    costs, again, total = [], [], torch.zeros(exp.image_shape)
    with torch.inference_mode():
        for part in index.split(25):
            x = moving(test, part, motion, generator("cpu", 0, "motion", int(part[0])))
            t = model.latents(x)
            rolled = [model.traverse(t, exp.anchor, step=step) for step in ROLLS]
            costs.append(torch.stack([nats(exp, r, x) for r in rolled]))
            again.append(nats(exp, model.logits(t), x))
            total += x.sum((0, 1))
    mean = total / (len(index) * exp.n_transforms)
    entropy = (torch.special.entr(mean) + torch.special.entr(1 - mean)).sum().item()
    each = torch.cat(costs, 1)  # (R, B, S)
    by_kind = (each[..., frames].mean((1, 2)) for frames in (seen, exp.held_out))
    return Costs(*by_kind, torch.cat(again).mean().item(), entropy)


def all_motion_costs(run: Run, sequences: int = 100) -> dict[str, dict[str, Costs]]:
    """The costs of each motion, of the trained model and before any training."""
    models = both_models(run)
    return {
        name: {kind: motion_costs(run, model, motion, sequences) for kind, model in models.items()}
        for name, motion in MOTIONS.items()
    }


def motion_panels(costs: Mapping[str, Mapping[str, Costs]]) -> list[Panel]:
    """For each motion the costs against the roll for each frame; the predicted roll is marked."""
    panels = []
    for name, both in costs.items():
        curves = []
        for kind, found in both.items():
            for look, frames in enumerate(("held_out", "seen")):
                words, y = f"{frames.replace('_', '-')} frames", getattr(found, frames).tolist()
                curves.append(Curve(words, look, ROLLS, y, control=kind == "untrained"))
        levels = [("mean frame", both["trained"].mean_frame)]
        marks, words = [("predicted", MOTIONS[name].roll)], "roll for each frame"
        panels.append(
            Panel(name.capitalize(), words, "nats/frame, log scale", curves, levels, marks, log=True)
        )
    return panels


def motion_strips(run: Run, example: int = 0) -> list[Strip]:
    """One test digit in each motion, rolled by one unit for each frame and by what the motion predicts."""
    exp, model, test = run.exp, run.model, run.data.test
    strips, index = [], torch.tensor([example % len(test)])
    with torch.inference_mode():
        for name, motion in MOTIONS.items():
            x = moving(test, index, motion)
            t = model.latents(x)
            rows = [("input", x[0]), ("reconstruction", model.decode(t)[0])]
            for step in dict.fromkeys((1, motion.roll)):
                by = {1: "δ", -1: "−δ"}.get(step, f"{step}δ")
                rolled = model.traverse(t, exp.anchor, step=step)[0].sigmoid()
                rows.append((f"Roll$_{{{by}}}$($t_{{{exp.anchor}}}$)", rolled))
            strips.append(Strip(name.capitalize(), rows, exp.anchor, exp.held_out))
    return strips


def what_motions_show(costs: Mapping[str, Mapping[str, Costs]]) -> str:
    """In words: whether the roll that fits best is the one that equivariance predicts."""
    sentences = []
    for name, both in costs.items():
        found, control = both["trained"], both["untrained"]
        roll, costs = MOTIONS[name].roll, zip(ROLLS, found.held_out.tolist(), strict=True)
        at = {step: f"{cost:,.1f}" for step, cost in costs}
        text = f"**{name.capitalize()}**: predicted roll for each frame {roll}, best {found.best}. "
        text += f"Held-out frames cost {at[roll]} nats/frame at the predicted roll"
        text += f", {at[1]} at 1" if roll != 1 else ""
        text += f", {at[0]} not rolled; a reconstruction {found.reconstruction:,.1f}, the mean frame "
        untrained = control.held_out[ROLLS.index(roll)]
        text += f"{found.mean_frame:,.1f}, the untrained model at the predicted roll {untrained:,.1f}."
        text += " No roll beats the mean frame." if found.held_out.min() >= found.mean_frame else ""
        sentences.append(text)
    return "\n\n".join(sentences).replace(" -", " −")
