"""The panel of latents: t, u², v and W of a picked unit, and the frame when the unit has another value."""

import ipywidgets as widgets
from ipycanvas import Canvas

from tvae_core.explorer.pictures import Unit, latent_frames, latent_maps
from tvae_core.explorer.pixels import LINE, draw_map, png, row
from tvae_core.explorer.state import FITTING, WIDE, Debounce, ExplorerPanel, ExplorerState, overlay

UNIT = 14  # pixels: the side of a unit in the maps


class LatentsPanel(ExplorerPanel):
    """Pick a unit in the map of t (click, or type), see u², v and W beside it, and give it another value."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        self.fitting = False
        self.drawn: tuple = ()  # what the maps beside t show now
        self.pointed: Unit | None = None  # the unit under the pointer
        self.debounce = Debounce(0.03)
        self.c, self.d = (
            widgets.BoundedIntText(0, min=0, max=1, description=name) for name in ("Capsule", "Unit")
        )
        self.value = widgets.FloatSlider(step=0.05, description="its t", readout_format=".2f", layout=WIDE)
        self.reset = widgets.Button(description="as it was")
        self.t, self.canvas = widgets.Image(), Canvas(width=10, height=10)  # the canvas hears the pointer
        self.maps, self.frames = widgets.Image(layout=FITTING), widgets.Image(layout=FITTING)
        for widget, name in ((self.frames, "latents"), (self.maps, "maps"), (self.canvas, "units")):
            widget.add_class(f"tvae-{name}")
        rows = [self.c, self.d], [self.value, self.reset], [overlay(self.t, self.canvas), self.maps]
        self.arrange(*rows, self.problem, self.frames, self.words)
        self.fit_controls()
        fit = self.guard(self.fit_controls)
        explorer.observe(fit, "roll")
        for control in (self.c, self.d):
            control.observe(fit, "value")
        self.reset.on_click(fit)
        self.value.observe(self.guard(self.draw), "value")
        self.canvas.on_mouse_down(self.guard(self.click))
        self.canvas.on_mouse_move(self.guard(self.point))
        self.canvas.on_mouse_out(self.guard(lambda *_: self.point(-1.0, -1.0)))

    def fit_controls(self, change: object = None) -> None:
        """Set the limits and the value that the roll and the picked unit need."""
        t, (low, high) = self.explorer.roll.t, self.explorer.roll.sequence.range_of_t
        least, most = min(low - (high - low), 0.0), max(high + (high - low), 0.0)
        self.fitting = True
        self.c.max, self.d.max = t.shape[0] - 1, t.shape[1] - 1
        with self.value.hold_sync():  # the front end receives the last value only
            if (self.value.min, self.value.max) != (least, most):
                self.value.value = 0.0  # within the limits of every sequence
                self.value.min, self.value.max = least, most
            self.value.value = t[self.c.value, self.d.value].item()
        self.fitting = False
        self.draw()

    def draw(self, change: object = None) -> None:
        if self.fitting:
            return
        roll, unit = self.explorer.roll, (self.c.value, self.d.value)
        t = roll.t
        edited, changed = t.clone(), abs(self.value.value - t[unit].item()) > self.value.step / 2
        if changed:
            edited[unit] = self.value.value
        first, *others = latent_maps(roll, edited, unit, self.pointed)
        map_of_t = draw_map(first, UNIT)
        self.canvas.width, self.canvas.height = map_of_t.size
        self.t.value = png(map_of_t)
        if self.drawn != (shown := (roll.sequence, roll.frame, unit, self.pointed)):
            self.maps.value = png(row(*(draw_map(chart, UNIT) for chart in others))) if others else b""
            self.drawn = shown
        self.frames.value = png(latent_frames(roll, edited if changed else None))
        now, rolled = edited[unit].item(), t[unit].item()
        self.words.value = f"Capsule {unit[0]}, unit {unit[1]}: t = {now:.2f}, as rolled {rolled:.2f}"

    def unit_at(self, x: float, y: float) -> Unit | None:
        c, d = int((y - LINE) // UNIT), int((x - 1) // UNIT)
        return (c, d) if 0 <= c <= self.c.max and 0 <= d <= self.d.max else None

    def click(self, x: float, y: float) -> None:
        if (unit := self.unit_at(x, y)) is not None:
            self.c.value, self.d.value = unit

    def point(self, x: float, y: float) -> None:
        before, self.pointed = self.pointed, self.unit_at(x, y)
        if self.pointed != before:
            self.debounce.call(self.guard(self.draw))
