"""Draw the pictures that are saved: a roll above its strip of frames, and the steps of an animation."""

import io
from collections.abc import Sequence

from PIL import Image

from tvae_core.explorer.pixels import CaptionedFrame, row, side_by_side, signed, stack, with_title
from tvae_core.explorer.scene import STEPS, RollState
from tvae_core.plotting.strips import Strip, traversals
from tvae_core.plotting.style import style

SMALL = 128  # pixels: the longest side of a frame where several sequences are side by side


def strip_of(roll: RollState) -> Strip:
    """Return the input, its reconstruction, and the whole rolls that reach each frame."""
    sequence = roll.sequence
    rows = [("input", sequence.frames), ("reconstruction", sequence.reconstruction)]
    rows.append(("roll", roll.decoded_rolls[::STEPS]))
    return Strip(sequence.title, rows, sequence.exp.anchor, sequence.exp.held_out)


def roll_frames(roll: RollState) -> list[CaptionedFrame]:
    """Return the frame that the roll should look like, its reconstruction, and the decoded roll."""
    sequence, frame = roll.sequence, roll.frame
    return [
        CaptionedFrame(
            f"input, frame {frame}{', held out' * roll.held_out}", sequence.frames[frame], roll.held_out
        ),
        CaptionedFrame("its reconstruction", sequence.reconstruction[frame]),
        CaptionedFrame(f"roll δ = {signed(roll.shift, 2)}", roll.decoded),
    ]


def roll_picture(roll: RollState) -> Image.Image:
    """Draw the frames of a roll large, above the strip of its sequence."""
    buffer = io.BytesIO()
    with style():
        traversals([strip_of(roll)]).savefig(buffer, format="png", dpi=150, bbox_inches="tight")
    with Image.open(buffer) as strip:
        return stack(side_by_side(roll_frames(roll)), strip.convert("RGB"))


def animation_picture(rolls: Sequence[RollState], step: int) -> Image.Image:
    """Draw one step of several rolls side by side: of each the input and the decoded roll."""
    parts = []
    for roll in rolls:
        truth, _, decoded = roll_frames(roll.at(roll.sequence.shifts[step]))
        truth = truth._replace(caption="held out" if truth.held_out else "input")
        parts.append(with_title(roll.sequence.title, side_by_side([truth, decoded], SMALL)))
    return stack(row(*parts))
