"""The panel of latents: t, u², v and W, what a changed unit or capsule does, and what a unit listens to."""

import ipywidgets as widgets
import torch
from torch import Tensor

from tvae_core.explorer.parts import FrameImage, Pointer, Tiles, ignore, overlay
from tvae_core.explorer.pixels import png, sheet
from tvae_core.explorer.state import WORDS, ExplorerPanel, ExplorerState, Throttle
from tvae_core.explorer.svg import MAP_HEIGHT, MAP_WIDTH, Curve, chart, heat_map, unit_at
from tvae_core.seeding import generator
from tvae_core.training.runs import Run

DRIVING, SEARCHED = 6, 16  # frames shown, and test sequences among which they are found

Unit = tuple[int, int]  # capsule c, unit d


@torch.inference_mode()
def _gallery(run: Run) -> tuple[Tensor, Tensor]:
    """Test frames (n, ch, h, w) of all transformations, and their t (n, C, D)."""
    n = min(SEARCHED, len(run.data.test))
    x = run.data.test.batch(torch.arange(n), generator("cpu", 0, "gallery")).x
    return x.flatten(0, 1), run.model.latents(x).flatten(0, 1)


class LatentsPanel(ExplorerPanel):
    """Pick a unit in the map of t (click, or type), see u², v and W beside it, and give it another value."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        self.setting, self.pointed, self.throttle = False, None, Throttle(0.03)
        self.searched = None  # the run whose test frames `gallery` holds
        self.c, self.d = (
            widgets.BoundedIntText(0, min=0, max=1, description=name, layout={"width": "130px"}, style=WORDS)
            for name in ("Capsule", "Unit")
        )
        self.scope = widgets.ToggleButtons(options=("one unit", "whole capsule"))
        self.scope.style.button_width = "108px"
        layout = widgets.Layout(flex="1 1 200px", max_width="400px")
        self.value = widgets.FloatSlider(
            step=0.05, description="value of t", readout_format=".2f", layout=layout, style=WORDS
        )
        self.reset = widgets.Button(description="Reset", layout={"width": "80px"})
        self.maps, self.frames = [widgets.HTML() for _ in range(4)], [FrameImage() for _ in range(3)]
        self.frames[1].add_class("tvae-latents")
        handlers = self.click, self.point, self.leave, self.step_unit
        click, point, leave, step = map(self.guard, handlers)
        self.pointer = Pointer((MAP_WIDTH, MAP_HEIGHT), click, point, ignore, leave, arrow=step)
        self.pointer.add_class("tvae-units")
        tiles = self.tiles = Tiles(overlay(self.maps[0], self.pointer), *self.maps[1:], *self.frames)
        self.curve, self.driving, self.about = widgets.HTML(), widgets.Image(), widgets.HTML()
        below = widgets.Box([widgets.VBox([self.about, self.driving]), self.curve])
        below.add_class("tvae-below")
        controls = [self.c, self.d, self.scope, self.value, self.reset]
        self.arrange(controls, self.words, self.problem, tiles, below)
        self.begin()
        for control in (self.c, self.d):
            control.observe(self.guard(self.pick), "value")
        for control in (self.value, self.scope):
            control.observe(self.guard(self.change), "value")
        self.reset.on_click(self.guard(self.refresh))

    def draw(self) -> None:
        """Set the controls to the roll and the picked unit, and draw."""
        t, (low, high) = self.explorer.roll.t, self.explorer.roll.sequence.range_of_t
        least, most = min(low - (high - low), 0.0), max(high + (high - low), 0.0)
        self.setting = True
        self.c.max, self.d.max = t.shape[0] - 1, t.shape[1] - 1
        self.c.value = self.explorer.capsule
        with self.value.hold_sync():  # the front end receives the last value only
            if (self.value.min, self.value.max) != (least, most):
                self.value.value = 0.0  # within the limits of every sequence
                self.value.min, self.value.max = least, most
            self.value.value = t[self.c.value, self.d.value].item()
        self.setting = False
        self.draw_maps()

    def pick(self, change: dict) -> None:
        if not self.setting:
            before, self.explorer.capsule = self.explorer.capsule, self.c.value
            if before == self.c.value:  # another unit of the same capsule
                self.draw()

    def change(self, change: dict) -> None:
        if not self.setting:
            self.draw_maps()

    def edited(self) -> Tensor:
        """t as rolled, with the picked unit at the value of the slider, or its capsule moved by as much."""
        t, unit = self.explorer.roll.t.clone(), (self.c.value, self.d.value)
        by = self.value.value - t[unit]
        if by.abs() > self.value.step / 2:  # the slider's own rounding is no change
            t[unit if self.scope.value == "one unit" else unit[0]] += by
        return t

    def draw_maps(self) -> None:
        roll, unit, edited = self.explorer.roll, (self.c.value, self.d.value), self.edited()
        sequence, frame, (_, d) = roll.sequence, roll.frame, self.pointed or unit
        hidden = roll.held_out and not self.explorer.revealed
        self.maps[0].value = heat_map(edited, sequence.range_of_t, "t, rolled", unit)
        self.maps[1].value = self.map_of(sequence.u_squared, frame, unit, hidden)
        self.maps[2].value = self.map_of(sequence.v, frame, unit, hidden)
        self.maps[3].value = self.map_of_w(frame, d)
        rolled, changed = roll.decoded, sequence.decode(edited.unsqueeze(0))[0]
        gain = 0.5 / max((changed - rolled).abs().max().item(), 0.005)
        for image, shown in zip(self.frames, (rolled, changed, 0.5 + gain * (changed - rolled)), strict=True):
            image.show(shown)
        names = f"u², frame {frame}", f"v = W u², frame {frame}", f"W of unit {d}", "Decoded, as rolled"
        names += "Decoded, changed", f"Difference, {gain:.0f} times"
        self.tiles.name("<b>t, rolled</b>: click a unit", *(f"<b>{name}</b>" for name in names))
        self.draw_unit(unit)
        self.say(edited, unit)

    def map_of(self, values: Tensor | None, frame: int, unit: Unit, hidden: bool) -> str:
        if values is None:
            return "The plain VAE has no u."
        shown = torch.full_like(values[frame], torch.nan) if hidden else values[frame]
        return heat_map(shown, (0.0, values.max().item()), "one value for each unit", unit)

    def map_of_w(self, frame: int, unit: int) -> str:
        if self.explorer.roll.sequence.v is None:
            return "The plain VAE has no W."
        w = self.explorer.roll.sequence.weights_of(frame, unit)
        limits = 0.0, max(w.max().item(), 1.0)
        return heat_map(w, limits, "weights over frames and units", (frame, unit), ("frame", "unit"))

    def draw_unit(self, unit: Unit) -> None:
        """Show when the picked unit is large: over the frames of the sequence, and in the test split."""
        explorer, (c, d) = self.explorer, unit
        roll = explorer.roll
        sequence, anchor = roll.sequence, roll.sequence.exp.anchor
        hidden = () if explorer.revealed else sequence.exp.held_out
        true = [None if f in hidden else v for f, v in enumerate(sequence.t[:, c, d].tolist())]
        steps = [float(frame - anchor) for frame in range(len(true))]
        rolled = sequence.roll_capsules(steps)[:, c, d].tolist()
        curves = [Curve("as encoded", true, "second"), Curve("as rolled", rolled, "first")]
        title, place = f"t of unit {d}", (anchor, roll.position, sequence.exp.held_out)
        self.put(self.curve, (sequence, unit, roll.position, hidden), lambda: chart(title, curves, *place))
        self.put(self.driving, (explorer.run, unit), lambda: self.driving_frames(unit))
        self.about.value = f"<b>Test frames that drive unit {d} of capsule {c} the most</b>"

    def driving_frames(self, unit: Unit) -> bytes:
        if self.searched is not self.explorer.run:
            self.searched, self.gallery = self.explorer.run, _gallery(self.explorer.run)
        frames, t = self.gallery
        most = t[:, *unit].topk(DRIVING).indices
        return png(sheet(frames[most], DRIVING, 2, 2))

    def say(self, edited: Tensor, unit: Unit) -> None:
        roll, (c, d) = self.explorer.roll, self.pointed or unit
        words = f"Capsule {c}, unit {d}: t = {edited[c, d]:.2f}, as rolled {roll.t[c, d]:.2f}"
        if roll.sequence.v is not None and (self.explorer.revealed or not roll.held_out):
            u, v = roll.sequence.u_squared[roll.frame, c, d], roll.sequence.v[roll.frame, c, d]
            words += f"; in frame {roll.frame} u² = {u:.2f}, v = {v:.2f}"
        self.words.value = words

    def click(self, x: float, y: float) -> None:
        if (unit := unit_at(x, y, *self.explorer.roll.t.shape)) is not None:
            self.d.value, self.c.value = unit[1], unit[0]

    def point(self, x: float, y: float) -> None:
        before, self.pointed = self.pointed, unit_at(x, y, *self.explorer.roll.t.shape)
        if self.pointed != before:
            self.throttle.call(self.guard(self.draw_maps))

    def leave(self, x: float, y: float) -> None:
        self.point(-1.0, -1.0)

    def step_unit(self, right: float, down: float) -> None:
        c, d = self.explorer.roll.t.shape
        self.c.value, self.d.value = int(self.c.value + down) % c, int(self.d.value + right) % d
