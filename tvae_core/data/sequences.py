"""A batch of sequences, the same for all data, and how many frames at its end are held out."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor

SPLITS = ("train", "validation", "test")


class Batch(NamedTuple):
    """B sequences of S frames with the F true factors of each frame.

    `varied` says which factor advances through its values; the index of a factor is its place in the
    `factors` of the sequences it comes from. `labels` is the digit's class, or the sprite's shape.
    """

    x: Float[Tensor, "B S channels height width"]  # values in [0, 1]
    factors: Int[Tensor, "B S F"]
    varied: Int[Tensor, " B"]
    labels: Int[Tensor, " B"]


def held_out_frames(frames: int) -> int:
    """Return how many frames at the end are held out where models are compared: five, or a third if fewer."""
    return min(5, frames // 3)
