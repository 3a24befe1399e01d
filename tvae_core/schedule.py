"""How training proceeds: the weights of the KL terms, the learning rate, the optimizer."""

import math

import torch

from tvae_core.experiments import Experiment
from tvae_core.model import TVAE


def kl_weights(exp: Experiment, step: int, total: int) -> tuple[float, float]:
    """The weights of KL(z) and KL(u) at a step: their floors, held, then rising linearly to 1."""
    done = step / total - exp.kl_hold
    rise = 1.0 if done >= exp.kl_ramp else max(0.0, done) / exp.kl_ramp if exp.kl_ramp else 0.0
    apart = exp.topography != "none" and exp.kl_floor_z is not None
    floors = (exp.kl_floor_z if apart else exp.kl_floor), exp.kl_floor
    return tuple(floor + (1 - floor) * rise for floor in floors)


def learning_rate(exp: Experiment, step: int, total: int) -> float:
    """Constant as in the paper, or a cosine from `lr` to 0."""
    return exp.lr * (0.5 * (1 + math.cos(math.pi * step / total)) if exp.cosine else 1.0)


def build_optimizer(exp: Experiment, model: TVAE) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW; one fused kernel where the device has it."""
    fused = next(model.parameters()).device.type in ("cuda", "cpu")
    if exp.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=exp.lr, momentum=exp.momentum, fused=fused)
    return torch.optim.AdamW(model.parameters(), lr=exp.lr, fused=fused)
