"""The view of a roll, as in Figure 1: the input, t rolled beside t of the true frame, and what both show.

Encoding and decoding happen when the sequence or the rolling capsules change; a new roll only picks a frame
that is decoded already. The front end sends the next value of a slider when the last one is drawn, so
nothing queues up.
"""

import math
from collections.abc import Sequence

import ipywidgets as widgets
import torch
from ipycanvas import Canvas
from jaxtyping import Float
from torch import Tensor

from tvae_core.explorer.curves import costs, differences
from tvae_core.explorer.pictures import strip_of
from tvae_core.explorer.pixels import frame_grid, png, signed
from tvae_core.explorer.scene import STEPS, RollState
from tvae_core.explorer.state import ExplorerPanel, ExplorerState, Throttle, overlay
from tvae_core.explorer.svg import (
    MAP_HEIGHT,
    MAP_WIDTH,
    RING_SIDE,
    Curve,
    chart,
    film,
    heat_map,
    playhead,
    ring,
    unit_at,
)

HIDDEN = "hidden: predict it, then press <i>Show held-out frames</i>"


def _key(capsules: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if capsules is None else tuple(capsules)


def tile(caption: widgets.HTML, picture: widgets.Widget) -> widgets.VBox:
    """Put a caption above a picture."""
    caption.add_class("tvae-caption")
    return widgets.VBox([caption, picture])


class RollPanel(ExplorerPanel):
    """Show the roll; drag the ring to change it, click a row of a map to show that capsule as the ring."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        self.throttle, self.grip = Throttle(0.03), None  # the angle at which the ring is held
        self.input, self.decoded, self.truth = (widgets.Image(format="png") for _ in range(3))
        for image, name in ((self.input, "input"), (self.decoded, "roll"), (self.truth, "truth")):
            image.add_class("tvae-pixels")
            image.add_class(f"tvae-{name}")
        self.ring, self.rolled, self.true, self.difference = (widgets.HTML() for _ in range(4))
        self.ring_pointer = Canvas(width=RING_SIDE, height=RING_SIDE)
        self.map_pointer = Canvas(width=MAP_WIDTH, height=MAP_HEIGHT)
        self.ring_pointer.add_class("tvae-ring")
        self.captions = [widgets.HTML() for _ in range(7)]
        pictures = [
            self.input,
            overlay(self.ring, self.ring_pointer),
            overlay(self.rolled, self.map_pointer),
            self.true,
            self.difference,
            self.decoded,
            self.truth,
        ]
        tiles = widgets.Box([tile(*pair) for pair in zip(self.captions, pictures, strict=True)])
        tiles.add_class("tvae-tiles")
        self.film, self.playhead, self.curves = (widgets.HTML() for _ in range(3))
        self.curves.add_class("tvae-curves")
        strip = overlay(self.film, self.playhead)
        strip.add_class("tvae-film")
        below = widgets.Box([strip, self.curves])
        below.add_class("tvae-below")
        self.arrange(tiles, below, self.problem)
        self.begin()
        self.ring_pointer.on_mouse_down(self.guard(self.hold))
        self.ring_pointer.on_mouse_move(self.guard(self.drag))
        self.ring_pointer.on_mouse_up(self.guard(self.release))
        self.ring_pointer.on_mouse_out(self.guard(self.release))
        self.map_pointer.on_mouse_down(self.guard(self.pick))

    def draw(self) -> None:
        roll, revealed = self.explorer.roll, self.explorer.revealed
        hidden = roll.held_out and not revealed
        self.draw_frames(roll, hidden)
        self.draw_latents(roll, hidden)
        self.draw_film(roll, revealed)

    def draw_frames(self, roll: RollState, hidden: bool) -> None:
        sequence, frame, anchor = roll.sequence, roll.frame, roll.sequence.exp.anchor
        blank = torch.full_like(sequence.frames[frame], 0.75)
        self.put(self.input, sequence, lambda: _png(sequence.frames[anchor]))
        self.put(self.decoded, roll, lambda: _png(roll.decoded))
        self.put(
            self.truth, (sequence, frame, hidden), lambda: _png(blank if hidden else sequence.frames[frame])
        )
        (self.truth.add_class if roll.held_out else self.truth.remove_class)("tvae-held-out")
        seen = ", held out" * roll.held_out
        self.caption(0, f"<b>Input</b>, frame {anchor}")
        mean = costs(sequence, _key(roll.capsules))["mean frame"][frame]
        nats = f": {roll.cost:.0f} nats (mean frame {mean:.0f})" * (not hidden)
        self.caption(5, f"<b>Decoded</b>{nats}")
        self.caption(6, f"<b>True frame {frame}</b>{seen}{': ' * hidden}{HIDDEN * hidden}")

    def draw_latents(self, roll: RollState, hidden: bool) -> None:
        sequence, frame, c = roll.sequence, roll.frame, self.explorer.capsule
        t, truth, limits, anchor = roll.t, sequence.t[frame], sequence.range_of_t, sequence.exp.anchor
        moves = roll.capsules is None or c in roll.capsules
        outer = None if hidden else truth[c]
        words = f"capsule {c} as a ring"
        key = sequence, c, roll.shift * moves, frame, hidden
        by = roll.shift * moves
        still = sequence.t[anchor, c]
        self.put(self.ring, key, lambda: ring(still, outer, by, limits, words))
        self.put(self.rolled, (roll, c), lambda: heat_map(t, limits, "t, rolled", (c, None)))
        key = sequence, frame, hidden, c
        empty = torch.full_like(truth, math.nan)
        self.put(
            self.true,
            key,
            lambda: heat_map(empty if hidden else truth, limits, "t of the true frame", (c, None)),
        )
        apart = empty if hidden else (t - truth).abs()
        most = 0.0, (sequence.t - sequence.t[anchor]).abs().max().item()  # of what no roll leaves
        self.put(
            self.difference, (roll, hidden), lambda: heat_map(apart, most, "difference", colours="magma")
        )
        self.caption(1, f"<b>Capsule {c}</b>: drag the ring. Around it: frame {frame}")
        self.caption(2, f"<b>t of frame {anchor}, rolled</b> by {signed(roll.shift, 2)}")
        self.caption(3, f"<b>t of frame {frame}</b>, the true one" + ": hidden" * hidden)
        self.caption(4, "<b>Difference</b>: " + ("hidden" if hidden else self.difference_in_words(roll)))

    def difference_in_words(self, roll: RollState) -> str:
        truth, still = roll.sequence.t[roll.frame], roll.sequence.t[roll.sequence.exp.anchor]
        rolled, unrolled = (f"{(t - truth).abs().mean():.2f}" for t in (roll.t, still))
        return f"{rolled} in the mean; {unrolled} if not rolled"

    def draw_film(self, roll: RollState, revealed: bool) -> None:
        sequence, held_out = roll.sequence, roll.sequence.exp.held_out
        strip, hidden = strip_of(roll), () if revealed else held_out
        capsules = _key(roll.capsules)
        self.put(self.film, (sequence, capsules, revealed), lambda: film(strip, hidden, true_rows=2))
        self.put(self.playhead, (sequence, roll.position), lambda: playhead(strip, roll.position))

        def curve(name: str, values: Tensor, kind: str) -> Curve:
            return Curve(name, [None if f in hidden else v for f, v in enumerate(values.tolist())], kind)

        def charts() -> str:
            place, nats = (sequence.exp.anchor, roll.position, held_out), costs(sequence, capsules)
            control = min(("not rolled", "rolled backwards"), key=lambda name: nats[name].mean().item())
            kinds = ("roll", "first"), ("mean frame", "third"), (control, "second")
            apart = zip(differences(sequence, capsules).items(), ("first", "second"), strict=True)
            return chart(
                "nats of each frame", [curve(k, nats[k], kind) for k, kind in kinds], *place
            ) + chart("|t rolled − t true|", [curve(*pair, kind) for pair, kind in apart], *place)

        self.put(self.curves, (sequence, capsules, revealed, roll.position), charts)

    def caption(self, place: int, words: str) -> None:
        if self.captions[place].value != words:
            self.captions[place].value = words

    def hold(self, x: float, y: float) -> None:
        self.grip = _angle(x, y)
        self.turned = self.explorer.roll.shift

    def drag(self, x: float, y: float) -> None:
        if self.grip is None:
            return
        sequence, angle = self.explorer.roll.sequence, _angle(x, y)
        step = (angle - self.grip + math.pi) % (2 * math.pi) - math.pi
        first, frames = sequence.shifts[0], len(sequence.t)
        self.grip, self.turned = angle, self.turned + step / (2 * math.pi) * sequence.t.shape[-1]
        shift = first + (round((self.turned - first) * STEPS) % (frames * STEPS)) / STEPS
        self.throttle.call(lambda: self.roll_to(shift))

    def roll_to(self, shift: float) -> None:
        if shift != self.explorer.roll.shift:
            self.explorer.roll = self.explorer.roll.at(shift)

    def release(self, x: float, y: float) -> None:
        self.grip = None

    def pick(self, x: float, y: float) -> None:
        if (unit := unit_at(x, y, *self.explorer.roll.t.shape)) is not None:
            self.explorer.capsule = unit[0]


def _png(frame: Float[Tensor, "ch h w"]) -> bytes:
    return png(frame_grid(frame.unsqueeze(0), 1))


def _angle(x: float, y: float) -> float:
    """The direction of a point from the ring's middle, in radians clockwise."""
    return math.atan2(y - RING_SIDE / 2, x - RING_SIDE / 2)
