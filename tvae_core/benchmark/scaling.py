"""Measure how the cost of a training step grows with batch, frames, capsules, units and K, and draw it."""

import math
from collections.abc import Mapping, Sequence

import torch

from tvae_core.benchmark.step_time import milliseconds
from tvae_core.model.grouper import Grouper
from tvae_core.model.torus import offsets
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.training.hardware import choose_device

AXES: Mapping[str, Sequence[int]] = {  # what is varied, around 8 sequences of 18 frames and 18 × 18 units
    "batch": (1, 2, 4, 8, 16, 32),
    "frames": (3, 6, 9, 18, 36),
    "capsules": (3, 6, 9, 18, 36),
    "units": (3, 6, 9, 18, 36),
    "k": (1, 3, 7, 13, 25),
}
_WORDS = {
    "batch": "B, sequences",
    "frames": "S, frames",
    "capsules": "C, capsules",
    "units": "D, units a capsule",
    "k": "K, units shared",
}

Costs = Mapping[str, Sequence[tuple[int, float]]]


def cost(
    device: torch.device,
    batch: int = 8,
    frames: int = 18,
    capsules: int = 18,
    units: int = 18,
    k: int = 3,
    seconds: float = 0.5,
) -> float:
    """Return the milliseconds of a float32 step on random frames of MNIST's size, shifting, L = S/3."""
    kernel = max(1, 2 * frames // 3)
    steps = [offsets(kernel, kernel, k // 2)]
    model = TVAE((3, 28, 28), capsules, units, Grouper((frames, units), steps)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=device.type in ("cpu", "cuda"))
    x = torch.rand(batch, frames, 3, 28, 28, device=device)

    def step() -> None:
        optimizer.zero_grad()
        (-model(x).elbo.mean()).backward()
        optimizer.step()

    return milliseconds(step, seconds)


def scaling(device_name: str = "auto", seconds: float = 0.5) -> dict[str, list[tuple[int, float]]]:
    """Measure the cost of a step along each of AXES: pairs of size and milliseconds.

    Batch and frames should cost in proportion once they outweigh the optimizer's traffic, capsules and
    units with up to the square (the layers are s × s with s = C·D), K nothing (W is one matrix whatever
    it couples). Raises ValueError for a device that is not there.
    """
    device = choose_device(device_name)
    return {
        axis: [(size, cost(device, **{axis: size}, seconds=seconds)) for size in sizes]
        for axis, sizes in AXES.items()
    }


def exponent(costs: Sequence[tuple[int, float]]) -> float:
    """Return the power with which the cost grows from the last size but one to the last."""
    (small, before), (large, after) = costs[-2:]
    return math.log(after / before) / math.log(large / small)


def scaling_panels(costs: Costs) -> list[Panel]:
    """Return one panel for each axis: milliseconds a step over the size."""
    return [
        Panel(
            f"{_WORDS[axis]}: grows with the power {exponent(pairs):z.1f}",
            _WORDS[axis],
            "ms a step",
            [Curve("training step, float32", 0, *zip(*pairs, strict=True))],
            from_zero=True,
        )
        for axis, pairs in costs.items()
    ]
