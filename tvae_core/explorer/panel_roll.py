"""The panels that choose a sequence and roll its capsules.

Encoding and decoding happen when the sequence or the rolling capsules change; a new roll only picks a frame
that is decoded already. The front end sends the next value of a slider when the last one is drawn, so
nothing queues up.
"""

import time

import ipywidgets as widgets

from tvae_core.explorer.pictures import roll_frames, timeline_of
from tvae_core.explorer.scene import STEPS, factors_of
from tvae_core.explorer.state import (
    WIDE,
    WRAPPED,
    ExplorerState,
    FrameDisplay,
    drawn_in,
    show_errors,
)
from tvae_core.validation import parse_numbers


def choose_panel(explorer: ExplorerState) -> widgets.Widget:
    """Choose the run, the transformation and the image of the test split."""
    named = [(str(run), run) for run in explorer.runs]
    run = widgets.Dropdown(options=named, description="Run", layout=WIDE)
    factor = widgets.Dropdown(options=factors_of(explorer.run), description="Transform", layout=WIDE)
    image = widgets.BoundedIntText(0, min=0, max=10**6, description="Test image", layout=WIDE)
    problem = widgets.HTML()

    @show_errors(problem)
    def choose(change) -> None:
        names = factors_of(run.value)
        if factor.options != names:
            factor.unobserve(choose, "value")
            factor.options = names
            factor.observe(choose, "value")
        explorer.choose(run.value, image.value, factor.value)

    for control in (run, factor, image):
        control.observe(choose, "value")
    return widgets.VBox([run, factor, image, problem])


class _Roll:
    """The widgets of `roll_panel`."""

    def __init__(self, explorer: ExplorerState):
        self.explorer = explorer
        self.slider = widgets.FloatSlider(
            step=1 / STEPS, description="Roll δ", readout_format="+.2f", layout=WIDE
        )
        self.play = widgets.Play(interval=120, repeat=True, show_repeat=False, description="Play")
        self.capsules = widgets.Text("all", description="Capsules", continuous_update=False, layout=WIDE)
        self.display, self.words, self.problem = FrameDisplay("roll"), widgets.HTML(), widgets.HTML()
        self.fit_controls()
        self.draw()
        shown = show_errors(self.problem)
        explorer.observe(shown(self.follow), "roll")
        self.slider.observe(shown(self.move), "value")
        self.play.observe(shown(self.step), "value")
        self.capsules.observe(shown(self.pick), "value")

    def fit_controls(self) -> None:
        """Set the limits and values that a new sequence needs."""
        first, *_, last = self.explorer.roll.sequence.shifts
        self.slider.value = 0.0  # within the limits of every sequence
        self.slider.min, self.slider.max = first, last
        self.play.max, self.play.value = round((last - first) * STEPS), round(-first * STEPS)
        self.capsules.value = "all"

    def follow(self, change: dict) -> None:
        if change["old"].sequence is not change["new"].sequence:
            self.fit_controls()
        self.draw()

    def draw(self) -> None:
        started = time.perf_counter()
        roll = self.explorer.roll
        frames = roll_frames(roll)
        self.display.show(frames, timeline_of([roll]), roll.position)
        captions = "; ".join(frame.caption for frame in frames)
        self.words.value = f"{captions}. {drawn_in(started)}"

    def move(self, change: dict) -> None:
        shift = round(self.slider.value * STEPS) / STEPS
        if shift != self.explorer.roll.shift:
            self.explorer.roll = self.explorer.roll.at(shift)
        self.play.value = self.explorer.roll.sequence.shifts.index(shift)

    def step(self, change: dict) -> None:
        self.slider.value = self.explorer.roll.sequence.shifts[self.play.value]

    def pick(self, change: dict) -> None:
        everyone = self.capsules.value.strip() in ("", "all")
        n = self.explorer.roll.sequence.exp.n_caps
        chosen = None if everyone else parse_numbers(self.capsules.value, "capsules", n)
        self.explorer.roll = self.explorer.roll.with_capsules(chosen)


def roll_panel(explorer: ExplorerState) -> widgets.Widget:
    """Roll the capsules, all or some, by a slider or Play; show the input, its reconstruction, the roll."""
    panel = _Roll(explorer)
    hint = widgets.HTML("all, or such as 0, 3-5")
    rows = [panel.slider, panel.play], [panel.capsules, hint]
    lines = [widgets.HBox(row, layout=WRAPPED) for row in rows]
    return widgets.VBox([*lines, panel.problem, panel.display.widget, panel.words])
