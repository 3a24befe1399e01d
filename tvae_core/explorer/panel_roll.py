"""The explorer's widgets: every panel shows one Stage, and a change of it is drawn at once.

Encoding and decoding happen when a scene or the rolling capsules change; moving the roll picks a frame that
is there already. The front end sends no new value of a slider before the last one is answered, and then the
newest, so nothing queues up.
"""

import time

import ipywidgets as widgets

from tvae_core.explorer.pictures import film_of, place, seats
from tvae_core.explorer.scene import STEPS, factors_of
from tvae_core.explorer.state import ROW, WIDE, ExplorerState, FrameDisplay, _drawn_in, sentence
from tvae_core.validation import parse_numbers


def choose(stage: ExplorerState) -> widgets.Widget:
    """Which run, which transformation, which image of the test split."""
    runs = widgets.Dropdown(options=[(str(run), run) for run in stage.runs], description="Run", layout=WIDE)
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

    def __init__(self, stage: ExplorerState):
        self.stage = stage
        self.slider = widgets.FloatSlider(
            step=1 / STEPS, description="Roll δ", readout_format="+.2f", layout=WIDE
        )
        self.play = widgets.Play(interval=120, repeat=True, show_repeat=False, description="Play")
        self.capsules = widgets.Text("all", description="Capsules", continuous_update=False, layout=WIDE)
        self.screen, self.words, self.problem = FrameDisplay("roll"), widgets.HTML(), widgets.HTML()
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
        chosen = None if everyone else parse_numbers(self.capsules.value, "capsules")
        self.stage.view = self.stage.view.moving(chosen)


def roll(stage: ExplorerState) -> widgets.Widget:
    """The sequence, its reconstruction and its rolls; a slider and Play; which capsules roll."""
    own = _Roll(stage)
    hint = widgets.HTML("all, or such as 0, 3-5")
    rows = [own.slider, own.play], [own.capsules, hint]
    return widgets.VBox(
        [*(widgets.HBox(row, layout=ROW) for row in rows), own.problem, own.screen.widget, own.words]
    )
