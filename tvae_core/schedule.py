"""How training proceeds: the weight of the KL terms, the learning rate, the optimizer."""

import torch

from tvae_core.experiments import Experiment
from tvae_core.model import TVAE


def kl_weight(exp: Experiment, step: int, total: int) -> float:
    """The weight of KL(z) and KL(u) at a step: the floor, held, then rising to 1 by a factor each step.

    A straight line to 1 leaves small weights within a few steps, and what the latents say then is lost
    sooner than the decoder can learn to do with less.
    """
    done = step / total - exp.kl_hold
    left = 0.0 if done >= exp.kl_ramp else 1 - max(0.0, done) / exp.kl_ramp if exp.kl_ramp else 1.0
    return exp.kl_floor**left


def learning_rate(exp: Experiment, step: int, total: int) -> float:
    """Constant as in the paper; in the last `lr_decay` of the steps it falls to 0 along a straight line."""
    left = 1 - step / total
    return exp.lr * (left / exp.lr_decay if left < exp.lr_decay else 1.0)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Where the optimizer keeps it in a tensor it stays the same tensor, which a CUDA graph reads."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def build_optimizer(exp: Experiment, model: TVAE) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW; one fused kernel where the device has it, its learning rate a tensor."""
    device = next(model.parameters()).device
    cuda, fused = device.type == "cuda", device.type in ("cuda", "cpu")
    # the kernel of CUDA reads a float32 on the device, that of the CPU any number on the host
    place = {"device": device, "dtype": torch.float32} if cuda else {"dtype": torch.float64}
    lr = torch.tensor(exp.lr, **place) if fused else exp.lr
    if exp.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=exp.momentum, fused=fused)
    return torch.optim.AdamW(model.parameters(), lr=lr, fused=fused, capturable=cuda)
