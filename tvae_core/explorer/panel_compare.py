"""The panel that rolls the same sequence through two or three models."""

from typing import NamedTuple

import ipywidgets as widgets
import pandas as pd

from tvae_core.explorer.opening import describe_run
from tvae_core.explorer.parts import Film, FrameImage, Tiles
from tvae_core.explorer.scene import STEPS, RollState, encode_sequence
from tvae_core.explorer.state import WIDE, WORDS, ExplorerPanel, ExplorerState
from tvae_core.measures.catalog import ARROWS, MEASURES, heading
from tvae_core.plotting.strips import Strip
from tvae_core.plotting.tables import number
from tvae_core.training.runs import Run, both_models

SHOWN = ("roll_margin", "roll_held_out", "roll_still", "roll_backwards", "seen_mean", "roll_seen")
SHOWN += ("reconstruction", "e_eq", "capcorr_first")


LETTERS = "ABC"


class Untrained(NamedTuple):
    """The model of a run before any training."""

    run: Run


def describe(other: Run | Untrained) -> str:
    """Name a run in words, or its model before training."""
    return "the same model, untrained" if isinstance(other, Untrained) else describe_run(other)


def measures_table(rolls: dict[str, RollState]) -> str:
    """Return the measures of one sequence as HTML, one column for each named model."""
    columns, rows = {}, [MEASURES[key] for key in SHOWN]
    for name, roll in rolls.items():
        values, factor = roll.sequence.measures(), roll.sequence.title
        columns[name] = ["–" if (v := values[m.key]) is None else number(v, m.decimals) for m in rows]
    units = [f", {m.unit}" if m.unit else "" for m in rows]
    names = [
        f"{heading(f'{m.key}/{factor}', 0)}{ARROWS[m.better]}{unit}"
        for m, unit in zip(rows, units, strict=True)
    ]
    frame = pd.DataFrame(columns, names)
    return frame.to_html(classes="tvae-measures", border=0)


def about_capcorr(roll: RollState) -> str:
    """Say in words what CapCorr is for one sequence."""
    s, chance = len(roll.sequence.frames), roll.sequence.chance_of_capcorr()
    about = f"CapCorr: how well the roll seen in t follows the factor, over the {s} starts of this sequence"
    return f"{about}; chance {chance:.2f}. An untrained model can score as well in E_eq and in CapCorr."


def through_run(roll: RollState, other: Run | Untrained) -> RollState:
    """Return the same sequence through another run, rolled from the same frame l0.

    Raises ValueError if that run cannot see it.
    """
    untrained = isinstance(other, Untrained)
    run = other.run if untrained else other
    model = both_models(run)["untrained"] if untrained else run.model
    sequence = encode_sequence(roll.sequence.exp, model, roll.sequence.batch, roll.sequence.title)
    return sequence.roll(roll.capsules)


class ComparePanel(ExplorerPanel):
    """Show the sequence through other runs on the same data, and through the same model before training."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        self.setting, self.others = False, []  # the rolls of the other models
        self.second, self.third = (
            widgets.Dropdown(description=words, layout=WIDE, style=WORDS)
            for words in ("Compare with", "and with")
        )
        self.frames = [FrameImage() for _ in range(4)]
        self.tiles, self.film, self.table = Tiles(*self.frames), Film(), widgets.HTML()
        self.tiles.add_class("tvae-small")
        below = widgets.Box([self.film, widgets.VBox([self.table, self.words])])
        below.add_class("tvae-below")
        self.arrange([self.second, self.third], self.problem, self.tiles, below)
        self.begin()
        for control in (self.second, self.third):
            control.observe(self.guard(self.choose), "value")

    def draw(self) -> None:
        self.offer()
        roll, explorer = self.explorer.roll, self.explorer
        chosen = [control.value for control in (self.second, self.third) if control.value]
        key = roll.sequence, roll.capsules, *chosen
        if self._drawn.get(self) != key:
            self.others = [through_run(roll, run) for run in chosen]
            self._drawn[self] = key
        rolls = [roll, *(other.at(roll.shift) for other in self.others)]
        models = [describe_run(explorer.run), *map(describe, chosen)]
        names = [f"{letter}: {name}" for letter, name in zip(LETTERS, models, strict=False)]
        hidden = roll.held_out and not explorer.revealed
        self.frames[0].show(roll.sequence.frames[roll.frame], roll.held_out, hidden)
        for image, other in zip(self.frames[1:], rolls, strict=False):
            image.show(other.decoded)
        self.tiles.name(
            f"True frame {roll.frame}{', held out' * roll.held_out}", *(f"{name}, rolled" for name in names)
        )
        rows = [("input", roll.sequence.frames)]
        rows += [(letter, o.decoded_rolls[::STEPS]) for letter, o in zip(LETTERS, rolls, strict=False)]
        strip = Strip(roll.sequence.title, rows, roll.sequence.exp.anchor, roll.sequence.exp.held_out)
        self.film.show(strip, key, roll.position, explorer.revealed)
        self.put(self.table, key, lambda: measures_table(dict(zip(LETTERS, rolls, strict=False))))
        self.put(self.words, roll.sequence, lambda: about_capcorr(roll))

    def offer(self) -> None:
        """Offer the other runs that see the same data, the next best first, and the untrained model."""
        run, self.setting = self.explorer.run, True
        if self._drawn.get(self.second) is not run:
            self._drawn[self.second] = run
            seen = run.exp.data, run.exp.image_set
            others = [other for other in self.explorer.runs if other is not run]
            alike = [other for other in others if (other.exp.data, other.exp.image_set) == seen]
            named = [(describe(other), other) for other in [*alike, Untrained(run)]]
            for control, place in ((self.second, 0), (self.third, len(named) - 1)):
                control.options = [*named, ("nothing", "")]
                control.value = named[place][1] if control is self.second or place else ""  # each once
        self.setting = False

    def choose(self, change: dict) -> None:
        if not self.setting:
            self.draw()
