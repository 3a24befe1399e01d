"""The controls on top of all tabs: run, transformation, example, roll, and whether the truth is shown."""

import html

import ipywidgets as widgets
import torch

from tvae_core.explorer.opening import describe_run, numbers_of
from tvae_core.explorer.parts import PictureButtons
from tvae_core.explorer.scene import STEPS, factors_of, sees_digits, title_of
from tvae_core.explorer.state import WORDS, ExplorerPanel, ExplorerState, name_capsules
from tvae_core.training.runs import Run

SHOWN = 12  # examples at a time


def named_factors(run: Run) -> tuple[tuple[str, str], ...]:
    """Return the transformations of a run, each after what it is called."""
    return tuple((title_of(run, factor), factor) for factor in factors_of(run))


def _reveal_button() -> widgets.ToggleButton:
    words = "The frames that the rolled t does not depend on, with a grey border"
    look = {"icon": "eye", "layout": {"width": "200px"}}
    return widgets.ToggleButton(description="Show held-out frames", tooltip=words, **look)


class ControlsPanel(ExplorerPanel):
    """Choose what is shown, and roll it by a slider or Play; what is not chosen anew stays as it was."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        self.first, self.setting = 0, False  # the first example on the buttons; controls being set by draw
        self.run = widgets.Dropdown(
            options=[(describe_run(run), run) for run in explorer.runs],
            description="Run",
            layout={"width": "400px", "max_width": "calc(100% - 4px)"},
            style=WORDS,
        )
        self.factor = widgets.Dropdown(
            options=named_factors(explorer.run), description="Transformation", style=WORDS
        )
        self.examples = PictureButtons(SHOWN, SHOWN, self.guard(self.pick))
        self.examples.add_class("tvae-examples")
        self.before, self.after = (
            widgets.Button(description=sign, tooltip=f"{words} examples", layout=widgets.Layout(width="32px"))
            for sign, words in (("‹", "Earlier"), ("›", "More"))
        )
        layout = widgets.Layout(flex="1 1 260px", max_width="640px")
        self.slider = widgets.FloatSlider(
            step=1 / STEPS, description="Roll δ", readout_format="+.2f", layout=layout, style=WORDS
        )
        self.play = widgets.Play(interval=120, repeat=True, show_repeat=False, description="Play")
        self.reveal = _reveal_button()
        self.arrange(
            [self.run, self.factor, self.words],
            [widgets.HTML("Example"), self.before, self.after, self.examples],
            [self.slider, self.play, self.reveal],
            self.problem,
        )
        self.begin()
        self.run.observe(self.guard(self.choose_run), "value")
        self.factor.observe(self.guard(self.choose_factor), "value")
        self.before.on_click(self.guard(lambda _: self.turn_page(-SHOWN)))
        self.after.on_click(self.guard(lambda _: self.turn_page(SHOWN)))
        self.slider.observe(self.guard(self.move), "value")
        self.play.observe(self.guard(self.step), "value")
        widgets.link((self.reveal, "value"), (explorer, "revealed"))
        self.reveal.observe(self.guard(self.name_reveal), "value")

    def draw(self) -> None:
        """Set every control to what is shown."""
        explorer, self.setting = self.explorer, True
        shifts = explorer.roll.sequence.shifts
        self.run.value = explorer.run
        if self.factor.options != (named := named_factors(explorer.run)):
            self.factor.options = named
        self.factor.value = explorer.factor
        if (self.slider.min, self.slider.max) != (shifts[0], shifts[-1]):
            self.slider.min, self.slider.max = min(shifts[0], self.slider.min), shifts[-1]
            self.slider.min, self.play.max = shifts[0], len(shifts) - 1
        self.slider.value, self.play.value = explorer.roll.shift, shifts.index(explorer.roll.shift)
        self.setting = False
        self.draw_examples()

    def draw_examples(self) -> None:
        """Show the digit of your own, if there is one, and the next examples of the test split."""
        explorer = self.explorer
        key = explorer.roll.sequence, explorer.roll.capsules, self.first
        if self._drawn.get(self.examples) == key:
            return
        self._drawn[self.examples] = key
        own = explorer.drawn is not None and sees_digits(explorer.run)
        n = min(SHOWN - own, len(explorer.run.data.test) - self.first)
        self.places: list = [explorer.drawn] * own + list(range(self.first, self.first + n))
        batch = explorer.run.data.test.sequence(
            torch.arange(self.first, self.first + n), factors_of(explorer.run).index(explorer.factor)
        )
        frames = batch.x[:, 0]
        if own:
            drawn = (explorer.drawn / 255).expand(1, *frames.shape[1:])
            frames = torch.cat([drawn, frames])
        shown = explorer.drawn if explorer.own else explorer.example
        names = [f"Example {p}" if isinstance(p, int) else "Your own digit" for p in self.places]
        chosen = [i for i, place in enumerate(self.places) if place is shown]
        self.examples.show(frames, names, chosen)
        name = names[chosen[0]] if chosen else f"Example {explorer.example}"
        name += f", {name_capsules(explorer.roll.capsules)} rolled" * (explorer.roll.capsules is not None)
        self.words.value = f"{name}. {html.escape(numbers_of(explorer.run))}"

    def turn_page(self, by: int) -> None:
        self.first = min(max(self.first + by, 0), len(self.explorer.run.data.test) - 1)
        self.draw_examples()

    def pick(self, place: int) -> None:
        self.explorer.choose(example=self.places[place])

    def choose_run(self, change: dict) -> None:
        if not self.setting:
            self.first = 0
            self.explorer.choose(run=self.run.value)

    def choose_factor(self, change: dict) -> None:
        if not self.setting:
            self.explorer.choose(factor=self.factor.value)

    def move(self, change: dict) -> None:
        shift = round(self.slider.value * STEPS) / STEPS
        if not self.setting and shift != self.explorer.roll.shift:
            self.explorer.roll = self.explorer.roll.at(shift)

    def name_reveal(self, change: dict) -> None:
        self.reveal.description = f"{'Hide' if self.reveal.value else 'Show'} held-out frames"

    def step(self, change: dict) -> None:
        self.slider.value = self.explorer.roll.sequence.shifts[self.play.value]
