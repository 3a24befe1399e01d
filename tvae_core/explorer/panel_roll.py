"""The view of a roll, as in Figure 1: the input, t rolled beside t of the true frame, and what both show.

Encoding and decoding happen when the sequence or the rolling capsules change; a new roll only picks a frame
that is decoded already. The front end sends the next value of a slider when the last one is drawn, so
nothing queues up.
"""

import math
from collections.abc import Sequence

import ipywidgets as widgets
import torch
from torch import Tensor

from tvae_core.explorer.curves import CONTROL, MEAN, costs, differences
from tvae_core.explorer.parts import Film, FrameImage, Pointer, Tiles, ignore, overlay
from tvae_core.explorer.pictures import strip_of
from tvae_core.explorer.pixels import signed
from tvae_core.explorer.scene import STEPS, RollState
from tvae_core.explorer.state import ExplorerPanel, ExplorerState, Throttle, name_capsules
from tvae_core.explorer.svg import MAP_HEIGHT, MAP_WIDTH, RING_SIDE, Curve, chart, heat_map, ring, unit_at

ABOUT = (
    "A roll by δ moves every value of t by δ units along its capsule; what leaves at one end comes in at the "
    "other. If the model has learned the transformation, t of frame {l0} rolled by δ is t of frame {l0} + δ "
    "and decodes to it. Frames with a grey border are held out: t of frame {l0} does not depend on them, as "
    "W sums over the other frames alone. The roll has failed where a control costs less: t not rolled, t "
    "rolled backwards, or the mean of the seen frames."
)
KINDS, UNKNOWN = ("first", "second", "third"), "hidden"


class RollPanel(ExplorerPanel):
    """Show the roll; drag the ring to change it, click a row of a map to show that capsule as the ring."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        self.throttle, self.grip = Throttle(0.03), None  # the angle at which the ring is held
        self.input, self.decoded, self.truth = (FrameImage(name) for name in ("input", "roll", "truth"))
        self.ring, self.rolled, self.true, self.difference = (widgets.HTML() for _ in range(4))
        hold, drag, release, pick = map(self.guard, (self.hold, self.drag, self.release, self.pick))
        turn, step = map(self.guard, (self.turn, self.step_capsule))
        self.ring_pointer = Pointer((RING_SIDE, RING_SIDE), hold, drag, release, release, arrow=turn)
        self.map_pointer = Pointer((MAP_WIDTH, MAP_HEIGHT), pick, *[ignore] * 3, arrow=step)
        self.ring_pointer.add_class("tvae-ring")
        turning, rolled = overlay(self.ring, self.ring_pointer), overlay(self.rolled, self.map_pointer)
        truths = self.true, self.difference, self.decoded, self.truth
        self.tiles = Tiles(self.input, turning, rolled, *truths)
        self.film, self.curves = Film(), widgets.HTML()
        self.curves.add_class("tvae-curves")
        self.verdict, self.alone = widgets.HTML(), widgets.Button(description="Roll all capsules")
        below = widgets.Box(
            [widgets.VBox([widgets.HBox([self.verdict, self.alone]), self.film, self.words]), self.curves]
        )
        below.add_class("tvae-below")
        self.arrange(self.tiles, below, self.problem)
        self.begin()
        self.alone.on_click(self.guard(lambda _: self.roll_all()))

    def draw(self) -> None:
        roll, revealed = self.explorer.roll, self.explorer.revealed
        hidden, sequence = roll.held_out and not revealed, roll.sequence
        capsules = None if roll.capsules is None else tuple(roll.capsules)
        self.input.show(sequence.frames[sequence.exp.anchor])
        self.decoded.show(roll.decoded)
        self.truth.show(sequence.frames[roll.frame], roll.held_out, hidden)
        self.draw_latents(roll, hidden)
        nats = None if hidden else roll.cost
        self.tiles.name(*self.captions(roll, nats))
        control = costs(sequence, capsules)[CONTROL][roll.frame].item()
        self.verdict.value = f"<b>{self.says(roll, nats, control)}</b>"
        self.alone.layout.display = "none" if capsules is None else None
        self.words.value = ABOUT.format(l0=sequence.exp.anchor)
        self.film.show(strip_of(roll), (sequence, capsules), roll.position, revealed, true_rows=2)
        key = sequence, capsules, revealed, roll.position
        self.put(
            self.curves, key, lambda: self.charts(roll, capsules, () if revealed else sequence.exp.held_out)
        )

    def says(self, roll: RollState, nats: float | None, control: float) -> str:
        """Say whether the roll is better than every control, and if not all capsules roll, which do."""
        which = "" if roll.capsules is None else f"Rolled: {name_capsules(roll.capsules)}. "
        if roll.shift % 1:
            return f"{which}Between two frames; the nearest is frame {roll.frame}."
        if nats is None:
            return f"{which}Frame {roll.frame} is hidden. What will it look like?"
        if not roll.shift:
            return f"{which}Nothing is rolled yet."
        won = "The roll is better" if nats < control else "The roll is worse"
        return f"{which}{won}: it costs {nats:.0f} nats, the best control {control:.0f}."

    def roll_all(self) -> None:
        self.explorer.roll = self.explorer.roll.with_capsules(None)

    def captions(self, roll: RollState, nats: float | None) -> list[str]:
        hidden = nats is None  # then nothing of the true frame is said
        anchor, frame, c = roll.sequence.exp.anchor, roll.frame, self.explorer.capsule
        truth, still = roll.sequence.t[frame], roll.sequence.t[anchor]
        rolled, unrolled = (f"{(t - truth).abs().mean():.2f}" for t in (roll.t, still))
        which = "" if roll.capsules is None else f"{name_capsules(roll.capsules)} "
        apart = UNKNOWN if hidden else f"{rolled} in the mean; {unrolled} if not rolled"
        return [
            f"<b>Input</b>, frame {anchor}",
            f"<b>Capsule {c}</b>: drag the ring. Inside: rolled; outside: true",
            f"<b>t of frame {anchor}, {which}rolled</b> by {signed(roll.shift, 2)}",
            f"<b>t of frame {frame}</b>, the true one{f': {UNKNOWN}' * hidden}",
            f"<b>Difference</b>: {apart}",
            f"<b>Decoded</b>{'' if hidden else f': {nats:.0f} nats'}",
            f"<b>True frame {frame}</b>{', held out' * roll.held_out}{': predict it' * hidden}",
        ]

    def draw_latents(self, roll: RollState, hidden: bool) -> None:
        sequence, c, limits = roll.sequence, self.explorer.capsule, roll.sequence.range_of_t
        start, truth, t = sequence.t[sequence.exp.anchor], sequence.t[roll.frame], roll.t
        most = 0.0, (sequence.t - start).abs().max().item()  # so that what is left without a roll stands out
        known = torch.full_like(truth, math.nan) if hidden else truth
        by = roll.shift if roll.capsules is None or c in roll.capsules else 0.0
        shape = sequence.model.grouper.capsule if sequence.model.grouper else (1,)
        turned, by = (start[c], by) if len(shape) == 1 else (t[c], 0.0)  # a capsule of two axes is no ring
        self.ring.value = ring(turned, None if hidden else truth[c], by, limits, f"capsule {c} as a ring")
        self.rolled.value = heat_map(t, limits, "t, rolled", (c, None))
        self.true.value = heat_map(known, limits, "t of the true frame", (c, None))
        self.difference.value = heat_map((t - known).abs(), most, "difference", colours="magma")

    def charts(self, roll: RollState, capsules: tuple | None, hidden: Sequence[int]) -> str:
        """Draw what each frame costs, beside its controls, and how far t is from its roll."""
        sequence, exp = roll.sequence, roll.sequence.exp
        nats, apart = costs(sequence, capsules), differences(sequence, capsules)

        def draw(title: str, values: dict[str, Tensor], names: tuple[str, ...]) -> str:
            shown = {k: [None if f in hidden else v for f, v in enumerate(values[k].tolist())] for k in names}
            curves = [Curve(*part, kind) for part, kind in zip(shown.items(), KINDS, strict=False)]
            return chart(title, curves, exp.anchor, roll.position, exp.held_out)

        return draw("nats/frame", nats, ("roll", CONTROL, MEAN)) + draw(
            "|t rolled − t true|", apart, ("roll", "not rolled")
        )

    def hold(self, x: float, y: float) -> None:
        self.grip = _angle(x, y)
        self.turned = self.explorer.roll.shift

    def drag(self, x: float, y: float) -> None:
        if self.grip is None:
            return
        angle = _angle(x, y)
        step = (angle - self.grip + math.pi) % (2 * math.pi) - math.pi
        self.grip, self.turned = angle, self.turned + step / (2 * math.pi) * self.explorer.roll.t.shape[-1]
        self.throttle.call(lambda: self.roll_to(self.turned))

    def roll_to(self, shift: float) -> None:
        """Roll to the nearest step; after the last frame comes the first."""
        shifts, roll = self.explorer.roll.sequence.shifts, self.explorer.roll
        shift = shifts[round((shift - shifts[0]) * STEPS) % len(shifts)]
        if shift != roll.shift:
            self.explorer.roll = roll.at(shift)

    def turn(self, right: float, down: float) -> None:
        self.roll_to(self.explorer.roll.shift + (right - down) / STEPS)

    def step_capsule(self, right: float, down: float) -> None:
        self.explorer.capsule = (self.explorer.capsule + int(right + down)) % len(self.explorer.roll.t)

    def release(self, x: float, y: float) -> None:
        self.drag(x, y)  # the last moves may not have been sent
        self.grip = None

    def pick(self, x: float, y: float) -> None:
        if (unit := unit_at(x, y, *self.explorer.roll.t.shape)) is not None:
            self.explorer.capsule = unit[0]


def _angle(x: float, y: float) -> float:
    """The direction of a point from the ring's middle, in radians clockwise."""
    return math.atan2(y - RING_SIDE / 2, x - RING_SIDE / 2)
