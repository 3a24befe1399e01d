"""What changes from step to step: KL weight, learning rate, the window of W, and the frames to decode."""

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tvae_core.config import Experiment


def kl_weight(exp: Experiment, step: int, total: int) -> float:
    """Return the weight of KL(z) and KL(u) at a step: kl_floor at first, then rising to 1 (kl_hold, kl_ramp).

    It rises by the same factor in each step: along a straight line small weights would be over within a few
    steps, before the decoder can learn to do with less.
    """
    done = step / total - exp.kl_hold
    left = 0.0 if done >= exp.kl_ramp else 1 - max(0.0, done) / exp.kl_ramp if exp.kl_ramp else 1.0
    return exp.kl_floor**left


def learning_rate(exp: Experiment, step: int, total: int) -> float:
    """Return the learning rate at a step: constant, but for two lines at the ends of training.

    It rises from 0 over the first `lr_warmup` of the steps and falls to 0 over the last `lr_decay` of them.
    """
    left = max(0.0, 1 - step / total)
    rate = exp.lr * (left / exp.lr_decay if left < exp.lr_decay else 1.0)
    warm = exp.lr_warmup * total
    return rate * min(1.0, (step + 1) / warm) if warm else rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate; where the optimizer keeps it in a tensor, in place, since a CUDA graph reads it there."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def window_at(exp: Experiment, done: float) -> tuple[int, ...]:
    """Return the group_kernel that training goes by when a share `done` of the steps is taken.

    A shifting window begins with all S frames, loses one after window_hold of the steps and the others at
    equal distances over the next window_ramp: early in training t sees frames that are held out from it
    later. Other windows, and a trainable W, stay as they are.
    """
    shifts = exp.topography == "capsules" and exp.n_off_diag is not None and not exp.trainable_w
    wider = exp.n_transforms - exp.group_kernel[0] if shifts and exp.group_kernel[0] > 1 else 0
    if wider and done >= exp.window_hold:
        ramp = (done - exp.window_hold) / exp.window_ramp if exp.window_ramp else 1.0
        wider = max(0, wider - 1 - math.floor(ramp * (wider - 1) + 1e-9))
    return tuple(length + wider for length in exp.group_kernel)


def window_matrix(exp: Experiment, lengths: tuple[int, ...]) -> Float[Tensor, "A N N"]:
    """Return W of a window of other lengths, scaled to the mean row sum of the experiment's own W."""
    own = exp.build_grouper().matrices
    other = dataclasses.replace(exp, group_kernel=lengths).build_grouper().matrices
    return other * (own.sum() / other.sum())


def chosen_frames(frames: int, every: int, g: torch.Generator) -> Int[Tensor, " n"] | None:
    """Return the positions of one in `every` frames, at least one, evenly spaced on the circle of frames.

    The first is drawn, so each frame is as likely as any other. None, which means all, where every is 1.
    """
    if every == 1:
        return None
    n = max(1, frames // every)
    first = torch.randint(frames, (), generator=g, device=g.device)
    return (torch.arange(n, device=g.device) * frames // n + first) % frames
