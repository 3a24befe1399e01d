"""The explorer's widgets: every panel shows one Stage, and a change of it is drawn at once.

Encoding and decoding happen when a scene or the rolling capsules change; moving the roll picks a frame that
is there already. The front end sends no new value of a slider before the last one is answered, and then the
newest, so nothing queues up.
"""

import time

import ipywidgets as widgets
from ipycanvas import Canvas

from tvae_core.choices import numbers
from tvae_core.film import LINE, beside, heat, png
from tvae_core.pause import Pause
from tvae_core.scenes import STEPS, factors_of
from tvae_core.screen import FITTING, Screen, over
from tvae_core.stage import ROW, WIDE, Stage, name_of, sentence
from tvae_core.views import Unit, film_of, latent_frames, latent_maps, place, seats

CELL = 14  # pixels of a unit in the maps


def choose(stage: Stage) -> widgets.Widget:
    """Which run, which transformation, which image of the test split."""
    runs = widgets.Dropdown(
        options=[(name_of(run), run) for run in stage.runs], description="Run", layout=WIDE
    )
    factor = widgets.Dropdown(options=factors_of(stage.run), description="Transform", layout=WIDE)
    image = widgets.BoundedIntText(0, min=0, max=10**6, description="Test image", layout=WIDE)
    words = widgets.HTML()

    @sentence(words)
    def take(change) -> None:
        names = factors_of(runs.value)
        if factor.options != names:
            factor.unobserve(take, "value")
            factor.options = names
            factor.observe(take, "value")
        stage.choose(runs.value, image.value, factor.value)

    for control in (runs, factor, image):
        control.observe(take, "value")
    return widgets.VBox([runs, factor, image, words])


class _Roll:
    """The widgets of `roll`."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.slider = widgets.FloatSlider(
            step=1 / STEPS, description="Roll δ", readout_format="+.2f", layout=WIDE
        )
        self.play = widgets.Play(interval=120, repeat=True, show_repeat=False, description="Play")
        self.capsules = widgets.Text("all", description="Capsules", continuous_update=False, layout=WIDE)
        self.screen, self.words, self.problem = Screen("roll"), widgets.HTML(), widgets.HTML()
        self.fit()
        self.draw(None)
        told = sentence(self.problem)
        stage.observe(told(self.follow), "view")
        self.slider.observe(told(self.move), "value")
        self.play.observe(told(self.step), "value")
        self.capsules.observe(told(self.pick), "value")

    def fit(self) -> None:
        """The controls as a new scene needs them."""
        first, *_, last = self.stage.view.scene.shifts
        self.slider.value = 0.0  # which is between the ends of every scene
        self.slider.min, self.slider.max = first, last
        self.play.max, self.play.value = round((last - first) * STEPS), round(-first * STEPS)
        self.capsules.value = "all"

    def follow(self, change: dict) -> None:
        if change["old"].scene is not change["new"].scene:
            self.fit()
        self.draw(change)

    def draw(self, change: dict | None) -> None:
        started = time.perf_counter()
        view = self.stage.view
        shown = seats(view)
        self.screen.show(shown, film_of([view]), place(view))
        said = "; ".join(seat.caption for seat in shown)
        self.words.value = f"{said}. {_drawn_in(started)}"

    def move(self, change: dict) -> None:
        shift = round(self.slider.value * STEPS) / STEPS
        if shift != self.stage.view.shift:
            self.stage.view = self.stage.view.at(shift)
        self.play.value = self.stage.view.scene.shifts.index(shift)

    def step(self, change: dict) -> None:
        self.slider.value = self.stage.view.scene.shifts[self.play.value]

    def pick(self, change: dict) -> None:
        everyone = self.capsules.value.strip() in ("", "all")
        chosen = None if everyone else numbers(self.capsules.value, "capsules")
        self.stage.view = self.stage.view.moving(chosen)


def _drawn_in(started: float) -> str:
    return f"Drawn in {1000 * (time.perf_counter() - started):.0f} ms."


def roll(stage: Stage) -> widgets.Widget:
    """The sequence, its reconstruction and its rolls; a slider and Play; which capsules roll."""
    own = _Roll(stage)
    hint = widgets.HTML("all, or such as 0, 3-5")
    rows = [own.slider, own.play], [own.capsules, hint]
    return widgets.VBox(
        [*(widgets.HBox(row, layout=ROW) for row in rows), own.problem, own.screen.widget, own.words]
    )


class _Latents:
    """The widgets of `latents`."""

    def __init__(self, stage: Stage):
        self.stage, self.fitting = stage, False
        self.mapped: tuple = ()  # what the maps beside t were drawn for
        self.under: Unit | None = None  # the pointer
        self.soon = Pause(0.03)
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


def latents(stage: Stage) -> widgets.Widget:
    """The map of t with a unit picked (click, or type), u², v and W beside it, and what the unit does."""
    own = _Latents(stage)
    rows = [[own.c, own.d], [own.value, own.reset], [over(own.t, own.canvas), own.maps]]
    shown = [own.problem, own.frames, own.words]
    return widgets.VBox([*(widgets.HBox(row, layout=ROW) for row in rows), *shown])
