"""A batch of sequences, the same for all data, and how many frames at its end are held out."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tvae_core.validation import check_number, check_tensors, check_values

SPLITS = ("train", "validation", "test")


Each = Int[Tensor, " B"]  # a number for each sequence of a batch


class Batch(NamedTuple):
    """B sequences of S frames with the F true factors of each frame.

    `varied` says which factor advances through its values; the index of a factor is its place in the
    `factors` of the sequences it comes from. `labels` is the digit's class, or the sprite's shape.
    """

    x: Float[Tensor, "B S channels height width"]  # values in [0, 1]
    factors: Int[Tensor, "B S F"]
    varied: Int[Tensor, " B"]
    labels: Int[Tensor, " B"]


def to_tensor(name: str, values: object) -> Tensor:
    """Return numbers as a tensor on the CPU. Raises ValueError, naming their type, for anything else."""
    try:
        numbers = values if isinstance(values, Tensor) else np.ascontiguousarray(values)
        return torch.as_tensor(numbers).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        kind = getattr(values, "dtype", type(values).__name__)
        raise ValueError(f"{name} is of type {kind}, but must hold numbers") from error


def held_out_frames(frames: int) -> int:
    """Return how many frames at the end are held out where models are compared: five, or a third if fewer."""
    return min(5, frames // 3)


def asked(
    index: Each, varied: Each | int, device: torch.device, factors: int, n: int | float
) -> tuple[Each, Each]:
    """Return which sequences are asked for and which of their factors varies in each, on the device.

    Raises ValueError for numbers that are not whole, and on a CPU for a sequence or a factor that is not
    there: there are n sequences.
    """
    check_tensors(index=(index, "whole B"))
    if not isinstance(varied, Tensor):
        varied = torch.tensor(check_number("varied", varied, 0, factors - 1), device=device)
    varied = (varied.expand(len(index)) if varied.ndim == 0 else varied).to(device)
    check_tensors(index=(index, "whole B"), varied=(varied, "whole B"))
    check_values(0, n - 1, index=index)
    check_values(0, factors - 1, varied=varied)
    return index.to(device), varied
