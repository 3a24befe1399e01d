"""The Latents panel: t, u², v and W of a picked unit, and what another value does to the frame."""

import time

import ipywidgets as widgets
from ipycanvas import Canvas

from tvae_core.explorer.pictures import Unit, latent_frames, latent_maps
from tvae_core.explorer.pixels import LINE, beside, heat, png
from tvae_core.explorer.state import FITTING, ROW, WIDE, Debounce, ExplorerState, _drawn_in, over, sentence

CELL = 14  # pixels of a unit in the maps


class _Latents:
    """The widgets of `latents`."""

    def __init__(self, stage: ExplorerState):
        self.stage, self.fitting = stage, False
        self.mapped: tuple = ()  # what the maps beside t were drawn for
        self.under: Unit | None = None  # the pointer
        self.soon = Debounce(0.03)
        self.c, self.d = (
            widgets.BoundedIntText(0, min=0, max=1, description=name) for name in ("Capsule", "Unit")
        )
        self.value = widgets.FloatSlider(step=0.05, description="its t", readout_format=".2f", layout=WIDE)
        self.reset = widgets.Button(description="as it was")
        self.t, self.canvas = widgets.Image(), Canvas(width=10, height=10)  # the canvas feels the pointer
        self.maps = widgets.Image(layout=FITTING)
        self.frames = widgets.Image(layout=FITTING)
        self.words, self.problem = widgets.HTML(), widgets.HTML()
        self.told = sentence(self.problem)
        self.frames.add_class("tvae-latents")
        self.maps.add_class("tvae-maps")
        self.t.add_class("tvae-t")
        self.canvas.add_class("tvae-units")
        self.renew(None)
        again = self.told(self.renew)
        stage.observe(again, "view")
        self.c.observe(again, "value")
        self.d.observe(again, "value")
        self.value.observe(self.told(self.draw), "value")
        self.reset.on_click(again)
        self.canvas.on_mouse_down(self.told(self.click))
        self.canvas.on_mouse_move(self.told(self.hover))
        self.canvas.on_mouse_out(self.told(lambda *_: self.hover(-1.0, -1.0)))

    def renew(self, change: object) -> None:
        """The controls as the roll and the picked unit need them; nothing is changed by hand."""
        t, (low, high) = self.stage.view.t, self.stage.view.scene.range_of_t
        least, most = min(low - (high - low), 0.0), max(high + (high - low), 0.0)
        self.fitting = True
        self.c.max, self.d.max = t.shape[0] - 1, t.shape[1] - 1
        with self.value.hold_sync():  # the front end sees where the slider ends up, not the way there
            if (self.value.min, self.value.max) != (least, most):
                self.value.value = 0.0  # which is between the ends of every scene
                self.value.min, self.value.max = least, most
            self.value.value = t[self.c.value, self.d.value].item()
        self.fitting = False
        self.draw(change)

    def draw(self, change: object) -> None:
        if self.fitting:
            return
        started = time.perf_counter()
        view, unit = self.stage.view, (self.c.value, self.d.value)
        t = view.t
        edited, by_hand = t.clone(), abs(self.value.value - t[unit].item()) > self.value.step / 2
        if by_hand:
            edited[unit] = self.value.value
        first, *others = latent_maps(view, edited, unit, self.under)
        moving = heat(first, CELL)
        self.canvas.width, self.canvas.height = moving.size
        self.t.value = png(moving)
        if self.mapped != (mapped := (view.scene, view.frame, unit, self.under)):
            self.maps.value = png(beside(*(heat(chart, CELL) for chart in others))) if others else b""
            self.mapped = mapped
        self.frames.value = png(latent_frames(view, edited if by_hand else None))
        said = f"Capsule {unit[0]}, unit {unit[1]}: t = {edited[unit]:.2f}, as rolled {t[unit]:.2f}."
        self.words.value = f"{said} {_drawn_in(started)}"

    def unit_at(self, x: float, y: float) -> Unit | None:
        row, column = int((y - LINE) // CELL), int((x - 1) // CELL)
        return (row, column) if 0 <= row <= self.c.max and 0 <= column <= self.d.max else None

    def click(self, x: float, y: float) -> None:
        if (unit := self.unit_at(x, y)) is not None:
            self.c.value, self.d.value = unit

    def hover(self, x: float, y: float) -> None:
        before, self.under = self.under, self.unit_at(x, y)
        if self.under != before:
            self.soon.call(lambda: self.told(self.draw)(None))


def latents(stage: ExplorerState) -> widgets.Widget:
    """The map of t with a unit picked (click, or type), u², v and W beside it, and what the unit does."""
    own = _Latents(stage)
    rows = [[own.c, own.d], [own.value, own.reset], [over(own.t, own.canvas), own.maps]]
    shown = [own.problem, own.frames, own.words]
    return widgets.VBox([*(widgets.HBox(row, layout=ROW) for row in rows), *shown])
