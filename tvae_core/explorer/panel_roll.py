"""The panels that choose a sequence and roll its capsules.

Encoding and decoding happen when the sequence or the rolling capsules change; a new roll only picks a frame
that is decoded already. The front end sends the next value of a slider when the last one is drawn, so
nothing queues up.
"""

import ipywidgets as widgets

from tvae_core.explorer.pictures import roll_frames, timeline_of
from tvae_core.explorer.scene import STEPS, factors_of
from tvae_core.explorer.state import WIDE, ExplorerPanel, ExplorerState, FrameDisplay, describe_run
from tvae_core.validation import parse_numbers


class ChoosePanel(ExplorerPanel):
    """Choose the run, the transformation and the image of the test split."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        runs, factors = [(describe_run(run), run) for run in explorer.runs], factors_of(explorer.run)
        self.run = widgets.Dropdown(options=runs, description="Run", layout=WIDE)
        self.factor = widgets.Dropdown(options=factors, description="Transform", layout=WIDE)
        self.image = widgets.BoundedIntText(0, min=0, max=10**6, description="Test image", layout=WIDE)
        self.arrange(self.run, self.factor, self.image, self.problem)
        for control in (self.run, self.factor, self.image):
            control.observe(self.guard(self.choose), "value")

    def choose(self, change: dict) -> None:
        self.factor.options = factors_of(self.run.value)  # may call this function
        state, chosen = self.explorer, (self.run.value, self.image.value, self.factor.value)
        if state.own or chosen != (state.run, state.image, state.factor):
            state.choose(*chosen)


class RollPanel(ExplorerPanel):
    """Roll all capsules or some, by a slider or Play; show the input, its reconstruction and the roll."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        self.slider = widgets.FloatSlider(
            step=1 / STEPS, description="Roll δ", readout_format="+.2f", layout=WIDE
        )
        self.play = widgets.Play(interval=120, repeat=True, show_repeat=False, description="Play")
        self.capsules = widgets.Text("all", description="Capsules", continuous_update=False, layout=WIDE)
        self.display = FrameDisplay("roll")
        rows = [self.slider, self.play], [self.capsules, widgets.HTML("all, or such as 0, 3-5")]
        self.arrange(*rows, self.problem, self.display, self.words)
        self.fit_controls()
        self.draw()
        explorer.observe(self.guard(self.follow), "roll")
        self.slider.observe(self.guard(self.move), "value")
        self.play.observe(self.guard(self.step), "value")
        self.capsules.observe(self.guard(self.pick), "value")

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
        roll = self.explorer.roll
        frames = roll_frames(roll)
        self.display.show(frames, timeline_of([roll]), roll.position)
        self.words.value = "; ".join(frame.caption for frame in frames)

    def move(self, change: dict) -> None:
        shift = round(self.slider.value * STEPS) / STEPS
        if shift != self.explorer.roll.shift:
            self.explorer.roll = self.explorer.roll.at(shift)
        self.play.value = self.explorer.roll.sequence.shifts.index(shift)

    def step(self, change: dict) -> None:
        self.slider.value = self.explorer.roll.sequence.shifts[self.play.value]

    def pick(self, change: dict) -> None:
        text, roll = self.capsules.value.strip(), self.explorer.roll
        chosen = None if text in ("", "all") else parse_numbers(text, "capsules", len(roll.t))
        self.explorer.roll = roll.with_capsules(chosen)
