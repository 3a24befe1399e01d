"""What each frame of a sequence costs, and how far t is from its roll: the curves beside the film."""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from tvae_core.explorer.scene import EncodedSequence
from tvae_core.measures.rolls import CLAMPS, compared_frames
from tvae_core.model.losses import negative_log_likelihood

PerFrame = dict[str, Float[Tensor, " S"]]
Capsules = tuple[int, ...] | None  # that are rolled; None: all
STILL = "not rolled", "rolled backwards"
MEAN, CONTROL = "mean of seen frames", "best control"


@lru_cache(maxsize=8)
@torch.inference_mode()
def costs(sequence: EncodedSequence, capsules: Capsules = None) -> PerFrame:
    """Return what each frame costs, in nats: decoded from the whole roll that reaches it, and controls.

    `roll`: −log p(x_l | g(Roll_{l - l0}(t_l0))). `not rolled` and `rolled backwards`: the same for δ = 0 and
    l0 - l. `mean of seen frames`: what that mean costs, with the clamp (measures.rolls.CLAMPS) that suits the
    held-out frames best. `best control`: what the best of these three costs; one that decodes the same
    latents as the roll (no step, or half a turn) does not count.
    """
    x, exp, s = sequence.batch.x, sequence.exp, len(sequence.t)
    steps = [float(frame - exp.anchor) for frame in range(s)]
    shifts = {"roll": steps, "not rolled": [0.0] * s, "rolled backwards": [-step for step in steps]}

    def cost(logits: Tensor) -> Float[Tensor, " S"]:
        return negative_log_likelihood(logits, x, exp.likelihood)[0]

    rolled = {name: sequence.roll_capsules(by, capsules).unsqueeze(0) for name, by in shifts.items()}
    _, seen, held_out = compared_frames(s)
    mean = x[:, seen].mean(1, keepdim=True)
    means = (cost(mean.logit(clamp).expand_as(x)) for clamp in CLAMPS)
    best = min(means, key=lambda nats: nats[held_out].mean().item())
    nats = {name: cost(sequence.model.logits(t)) for name, t in rolled.items()} | {MEAN: best}
    same = {name: (t == rolled["roll"]).flatten(2).all(2)[0] for name, t in rolled.items()}
    others = [nats[name].masked_fill(same[name], torch.inf) for name in STILL]
    return nats | {CONTROL: torch.stack([*others, best]).amin(0)}


@lru_cache(maxsize=8)
def differences(sequence: EncodedSequence, capsules: Capsules = None) -> PerFrame:
    """Return the mean |Roll_{l - l0}(t_l0) - t_l| over all units for each frame l, and |t_l0 - t_l|."""
    anchor = sequence.exp.anchor
    rolled = sequence.roll_capsules([float(frame - anchor) for frame in range(len(sequence.t))], capsules)
    parts = {"roll": rolled - sequence.t, "not rolled": sequence.t[anchor] - sequence.t}
    return {name: part.abs().mean((1, 2)) for name, part in parts.items()}
