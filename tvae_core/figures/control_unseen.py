"""Motions that a training does or does not show: faster, backwards, several factors at once, uneven."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tvae_core.data.mnist import N_FRAMES, DigitSequences
from tvae_core.figures.traversals import build_strips, reconstruction, rolls
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
    sequences: DigitSequences, index: Int[Tensor, " B"], motion: Motion, g: torch.Generator
) -> Float[Tensor, "B S 3 28 28"]:
    """Return sequences of these digits in such a motion, from starts drawn from g."""
    start = torch.randint(N_FRAMES, (len(index), 1, 3), generator=g, device=sequences.device)
    frames = torch.arange(sequences.n_frames, device=sequences.device).view(1, -1, 1)
    return sequences.frames(index, (start + frames * torch.tensor(motion.steps)) % N_FRAMES)


class Costs(NamedTuple):
    """The cost of frames, in nats, for each of ROLLS; the mean frame is the mean of the same sequences."""

    seen: Float[Tensor, " R"]
    held_out: Float[Tensor, " R"]
    reconstruction: float
    mean_frame: float

    @property
    def best(self) -> int:
        """The roll for each frame that fits the held-out frames best."""
        return ROLLS[int(self.held_out.argmin())]

    def at(self, roll: int) -> float:
        """The cost of held-out frames at one of ROLLS."""
        return self.held_out[ROLLS.index(roll)].item()


def motion_costs(run: Run, model: TVAE, motion: Motion, sequences: int = 100) -> Costs:
    """Return −log p(x_l | g(Roll_{r (l - l0)}(t_l0))) for each r of ROLLS, over test digits in that motion.

    At most as many as the run was measured on.
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
    """Return the costs of each motion, of the trained model and before any training."""
    models = both_models(run)
    return {
        name: {kind: motion_costs(run, model, motion, sequences) for kind, model in models.items()}
        for name, motion in MOTIONS.items()
    }


def motion_rows(costs: Mapping[str, Mapping[str, Costs]]) -> list[Mapping[str, object]]:
    """Return as table rows the roll that fits held-out frames best, beside the predicted one."""
    rows = []
    for name, both in costs.items():
        found, predicted = both["trained"], MOTIONS[name].roll
        row = {"motion": name, "predicted roll": predicted, "best roll": found.best}
        row |= {"at the predicted": found.at(predicted), "at 1": found.at(1), "not rolled": found.at(0)}
        row |= {"reconstruction": found.reconstruction, "mean frame": found.mean_frame}
        rows.append(row | {"untrained, at the predicted": both["untrained"].at(predicted)})
    return rows


def trained_motion_rows(runs: Sequence[Run], sequences: int = 100) -> list[Mapping[str, object]]:
    """Return as table rows the cost of held-out frames after training on other motions, in nats."""
    rows, keys = [], ("roll_held_out", "roll_still", "reconstruction")
    for run in runs:
        found = motion_costs(run, run.model, MOTIONS["rotation, as in training"], sequences)
        row = {"trained on": run.exp.data, "steady, rolled": found.at(1), "steady, not rolled": found.at(0)}
        row |= {f"own motion, {key}": run.results["trained"][key] for key in keys}
        rows.append(row | {"steady, reconstruction": found.reconstruction})
    return rows


def motion_strips(run: Run, image: int = 0) -> list[Strip]:
    """Return one test digit in each motion, rolled by one unit a frame and by the roll it predicts."""
    test, strips = run.data.test, []
    for i, (name, motion) in enumerate(MOTIONS.items()):
        x = moving(test, torch.tensor([image % len(test)]), motion, generator("cpu", 0, "control_unseen", i))
        rows = {**reconstruction(), **rolls(run.exp.anchor), **rolls(run.exp.anchor, motion.roll)}
        strips += build_strips(run.model, run.exp, [(name.capitalize(), x[0])], rows)
    return strips


def motion_panels(costs: Mapping[str, Mapping[str, Costs]]) -> list[Panel]:
    """Return for each motion the costs against the roll for each frame; the predicted roll is marked."""
    panels = []
    for name, both in costs.items():
        curves = [
            Curve(words, look, ROLLS, getattr(found, key).tolist(), control=kind == "untrained")
            for kind, found in both.items()
            for look, (key, words) in enumerate(
                {"held_out": "held-out frames", "seen": "seen frames"}.items()
            )
        ]
        levels, marks = [("mean frame", both["trained"].mean_frame)], [("predicted", MOTIONS[name].roll)]
        words = "roll for each frame", "nats/frame, log scale"
        panels.append(Panel(name.capitalize(), *words, curves, levels, marks, log=True))
    return panels
