"""The explorer's widgets: every panel shows one Stage, and a change of it is drawn at once.

Encoding and decoding happen when a scene or the rolling capsules change; moving the roll picks a frame that
is there already. The front end sends no new value of a slider before the last one is answered, and then the
newest, so nothing queues up.
"""

import html
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ipywidgets as widgets
import numpy as np
from ipycanvas import Canvas
from traitlets import Any, HasTraits

from tvae_core.choices import numbers
from tvae_core.film import LINE, beside, heat, png
from tvae_core.paths import RUNS
from tvae_core.pause import Pause
from tvae_core.runs import Run, stored_runs
from tvae_core.scenes import STEPS, Scene, View, factors_of, rollable, view
from tvae_core.train import fit
from tvae_core.variants import read_experiment
from tvae_core.views import Unit, latent_frames, latent_maps, roll_view, seats

CELL = 14  # pixels of a unit in the maps
WIDE = widgets.Layout(width="100%", max_width="560px")
FITTING = widgets.Layout(max_width="100%", align_self="flex-start", object_fit="contain", height="auto")


class Stage(HasTraits):
    """What is looked at: a run, and a sequence of it with the state of its roll (View)."""

    view = Any()

    def __init__(self, runs: Sequence[Run]):
        """`runs` as scenes.rollable has them: the first is shown. Raises ValueError if there is none."""
        super().__init__()
        if not runs:
            raise ValueError("no run of sequences is there yet; train one: tvae --name tvae_Lpartial_mnist")
        self.runs, self.run, self.image = list(runs), runs[0], 0
        self.view = view(self.run)

    def choose(self, run: Run, image: int, factor: str) -> None:
        """Another sequence, encoded and rolled anew. ValueError for one that is not there."""
        seen = view(run, image, factor)
        self.run, self.image, self.view = run, image, seen

    def show(self, scene: Scene) -> None:
        """A scene that is not one of the test split's."""
        self.image, self.view = None, View(scene, scene.reel())


def open_stage(experiments: Sequence[str], scale: str, device: str = "auto", runs: str = "") -> Stage:
    """The stage with all runs of sequences that a folder holds, the best first (scenes.rollable).

    Where there is none, the experiments are trained at that scale, in view.
    """
    folder = runs or RUNS
    found = rollable(stored_runs(folder))
    return Stage(found or [fit(read_experiment(name, scale), None, device, folder) for name in experiments])


def name_of(run: Run) -> str:
    """What a run is called in a list."""
    return f"{run.label}, {run.exp.scale}, seed {run.seed}"


@contextmanager
def sentence(words: widgets.HTML) -> Iterator[None]:
    """What goes wrong is said in the widget, in one sentence; otherwise it says nothing."""
    words.value = ""
    try:
        yield
    except (ValueError, OSError) as error:
        words.value = f'<b role="alert">{html.escape(str(error))}</b>'


def choose(stage: Stage) -> widgets.Widget:
    """Which run, which transformation, which image of the test split."""
    runs = widgets.Dropdown(
        options=[(name_of(run), run) for run in stage.runs], description="Run", layout=WIDE
    )
    factor = widgets.Dropdown(options=factors_of(stage.run), description="Transform", layout=WIDE)
    image = widgets.BoundedIntText(0, min=0, max=10**6, description="Test image", layout=WIDE)
    words = widgets.HTML()

    def take(change) -> None:
        with sentence(words):
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
        self.picture, self.words, self.problem = widgets.Image(layout=FITTING), widgets.HTML(), widgets.HTML()
        self.picture.add_class("tvae-roll")
        self.fit()
        self.draw(None)
        stage.observe(self.follow, "view")
        self.slider.observe(self.move, "value")
        self.play.observe(self.step, "value")
        self.capsules.observe(self.pick, "value")

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
        self.picture.value = png(roll_view(self.stage.view))
        said = "; ".join(seat.caption for seat in seats(self.stage.view))
        self.words.value = f"{said}. {_drawn_in(started)}"

    def move(self, change: dict) -> None:
        with sentence(self.problem):
            shift = round(self.slider.value * STEPS) / STEPS
            if shift != self.stage.view.shift:
                self.stage.view = self.stage.view.at(shift)
            self.play.value = self.stage.view.scene.shifts.index(shift)

    def step(self, change: dict) -> None:
        self.slider.value = self.stage.view.scene.shifts[self.play.value]

    def pick(self, change: dict) -> None:
        with sentence(self.problem):
            everyone = self.capsules.value.strip() in ("", "all")
            chosen = None if everyone else numbers(self.capsules.value, "capsules")
            self.stage.view = self.stage.view.moving(chosen)


def _drawn_in(started: float) -> str:
    return f"Drawn in {1000 * (time.perf_counter() - started):.0f} ms."


def roll(stage: Stage) -> widgets.Widget:
    """The sequence, its reconstruction and its rolls; a slider and Play; which capsules roll."""
    own = _Roll(stage)
    hint = widgets.HTML("all, or such as 0, 3-5")
    first, second = widgets.HBox([own.slider, own.play]), widgets.HBox([own.capsules, hint])
    return widgets.VBox([first, second, own.problem, own.picture, own.words])


class _Latents:
    """The widgets of `latents`."""

    def __init__(self, stage: Stage):
        self.stage, self.fitting = stage, False
        self.under: Unit | None = None  # the pointer
        self.soon = Pause(0.03)
        self.c, self.d = (
            widgets.BoundedIntText(0, min=0, max=1, description=name) for name in ("Capsule", "Unit")
        )
        self.value = widgets.FloatSlider(step=0.05, description="its t", readout_format=".2f", layout=WIDE)
        self.reset = widgets.Button(description="as it was")
        self.canvas = Canvas(width=10, height=10)
        self.maps = widgets.Image(layout=widgets.Layout(flex="0 1 auto", min_width="0", object_fit="contain"))
        self.frames, self.words = widgets.Image(layout=FITTING), widgets.HTML()
        self.frames.add_class("tvae-latents")
        self.maps.add_class("tvae-maps")
        self.canvas.add_class("tvae-units")
        self.renew(None)
        stage.observe(self.renew, "view")
        self.c.observe(self.renew, "value")
        self.d.observe(self.renew, "value")
        self.value.observe(self.draw, "value")
        self.reset.on_click(self.renew)
        self.canvas.on_mouse_down(self.click)
        self.canvas.on_mouse_move(self.hover)
        self.canvas.on_mouse_out(lambda *_: self.hover(-1.0, -1.0))

    def renew(self, change: object) -> None:
        """The controls as the roll and the picked unit need them; nothing is changed by hand."""
        t, (low, high) = self.stage.view.t, self.stage.view.scene.range_of_t
        span = high - low
        self.fitting = True
        self.c.max, self.d.max = t.shape[0] - 1, t.shape[1] - 1
        self.value.value = 0.0  # which is between the ends of every scene
        self.value.min, self.value.max = min(low - span, 0.0), max(high + span, 0.0)
        self.value.value = t[self.c.value, self.d.value].item()
        self.fitting = False
        self.draw(change)

    def draw(self, change: object) -> None:
        if self.fitting:
            return
        started = time.perf_counter()
        t, unit = self.stage.view.t, (self.c.value, self.d.value)
        edited = t.clone()
        if abs(self.value.value - t[unit].item()) > self.value.step / 2:
            edited[unit] = self.value.value
        first, *others = (
            heat(chart, CELL) for chart in latent_maps(self.stage.view, edited, unit, self.under)
        )
        self.canvas.width, self.canvas.height = first.size
        self.canvas.put_image_data(np.asarray(first.convert("RGBA")), 0, 0)
        self.maps.value = png(beside(*others)) if others else b""
        self.frames.value = png(latent_frames(self.stage.view, t, edited))
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
            self.soon.call(lambda: self.draw(None))


def latents(stage: Stage) -> widgets.Widget:
    """The map of t with a unit picked (click, or type), u², v and W beside it, and what the unit does."""
    own = _Latents(stage)
    rows = [[own.c, own.d], [own.value, own.reset], [own.canvas, own.maps]]
    return widgets.VBox([*map(widgets.HBox, rows), own.frames, own.words])
