"""Draw the pictures of the panels from a RollState: the roll, the latents, several models side by side."""

from collections.abc import Sequence
from functools import lru_cache

from PIL import Image
from torch import Tensor

from tvae_core.explorer.pixels import (
    CaptionedFrame,
    LatentMap,
    Timeline,
    row,
    side_by_side,
    signed,
    stack,
    with_title,
)
from tvae_core.explorer.scene import STEPS, EncodedSequence, RollState
from tvae_core.plotting.strips import Strip

SMALL = 128  # pixels: the longest side of a frame where several sequences are side by side

Unit = tuple[int, int]  # capsule c, unit d


def timeline_of(rolls: Sequence[RollState]) -> Timeline:
    """Draw what stays while the roll moves, once for a sequence and the capsules that roll.

    One roll has its input, its reconstruction and the whole rolls that reach each frame. Several rolls,
    of one sequence through several models, have the input and each model's rolls, named A, B and so on.
    """
    return _timeline(rolls[0].sequence, *(roll.decoded_rolls for roll in rolls))


@lru_cache(maxsize=8)
def _timeline(sequence: EncodedSequence, *decoded: Tensor) -> Timeline:
    rows = [("input", sequence.frames)]
    if len(decoded) == 1:
        rows += [("reconstruction", sequence.reconstruction), ("roll", decoded[0][::STEPS])]
    else:
        rows += [(_letter(i), frames[::STEPS]) for i, frames in enumerate(decoded)]
    return Timeline(Strip(sequence.title, rows, sequence.exp.anchor, sequence.exp.held_out))


def _letter(model: int) -> str:
    return chr(ord("A") + model)


def roll_frames(roll: RollState) -> list[CaptionedFrame]:
    """Return the frame that the roll should look like, its reconstruction, and the decoded roll."""
    sequence, frame = roll.sequence, roll.frame
    held_out = frame in sequence.exp.held_out
    return [
        CaptionedFrame(f"input, frame {frame}{', held out' * held_out}", sequence.frames[frame], held_out),
        CaptionedFrame("its reconstruction", sequence.reconstruction[frame]),
        CaptionedFrame(f"roll δ = {signed(roll.shift, 2)}", roll.decoded),
    ]


def frames_of_models(rolls: Sequence[RollState]) -> list[CaptionedFrame]:
    """Return the frame that the roll should look like, and the decoded roll of each model."""
    truth, *_ = roll_frames(rolls[0])
    return [truth, *(CaptionedFrame(f"{_letter(i)}, roll", roll.decoded) for i, roll in enumerate(rolls))]


def roll_picture(roll: RollState) -> Image.Image:
    """Draw the frames of a roll large, above its timeline."""
    return stack(side_by_side(roll_frames(roll)), timeline_of([roll]).at(roll.position))


def animation_picture(rolls: Sequence[RollState], step: int) -> Image.Image:
    """Draw one step of several rolls side by side: of each the input and the decoded roll."""
    parts = []
    for roll in rolls:
        truth, _, decoded = roll_frames(roll.at(roll.sequence.shifts[step]))
        truth = truth._replace(caption="held out" if truth.held_out else "input")
        parts.append(with_title(roll.sequence.title, side_by_side([truth, decoded], SMALL)))
    return stack(row(*parts))


def latent_maps(roll: RollState, t: Tensor, unit: Unit, pointed: Unit | None = None) -> list[LatentMap]:
    """Return t as rolled; u² and v of the frame that the roll should look like; and W of one unit.

    W is over frames and units, and belongs to the unit `pointed` at, or else to the picked `unit`.
    The plain VAE has t alone. t is (C, D).
    """
    sequence, frame, (_, d) = roll.sequence, roll.frame, pointed or unit
    maps = [LatentMap("t, rolled", t, sequence.range_of_t, unit)]
    if sequence.v is None:
        return maps
    for name, values in (("u²", sequence.u_squared), ("v = W u²", sequence.v)):
        maps.append(LatentMap(f"{name}, frame {frame}", values[frame], (0.0, values.max().item()), unit))
    w = sequence.weights_of(frame, d)
    limits = (0.0, max(w.max().item(), 1.0))
    return [*maps, LatentMap(f"W of unit {d}, frame {frame}", w, limits, (frame, d))]


def latent_frames(roll: RollState, edited: Tensor | None = None) -> Image.Image:
    """Draw the frame decoded from t as rolled, beside the one decoded from an `edited` t, (C, D)."""
    changed = roll.decoded if edited is None else roll.sequence.decode(edited.unsqueeze(0))[0]
    return side_by_side([CaptionedFrame("as rolled", roll.decoded), CaptionedFrame("unit changed", changed)])
