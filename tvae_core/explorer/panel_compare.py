"""The panel that rolls the same sequence through two or three models."""

from typing import NamedTuple

import ipywidgets as widgets
import pandas as pd
import torch

from tvae_core.explorer.opening import describe_run
from tvae_core.explorer.panel_roll import tile
from tvae_core.explorer.pixels import frame_grid, png
from tvae_core.explorer.scene import STEPS, RollState, encode_sequence
from tvae_core.explorer.state import WIDE, ExplorerPanel, ExplorerState, overlay
from tvae_core.explorer.svg import film, playhead
from tvae_core.measures.catalog import MEASURES, heading
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
    names = [f"{heading(f'{m.key}/{factor}', 0)}, {m.unit}".removesuffix(", ") for m in rows]
    return pd.DataFrame(columns, names).to_html(classes="tvae-measures", border=0)


def about_capcorr(roll: RollState) -> str:
    """Say in words what CapCorr is for one sequence."""
    s, chance = len(roll.sequence.frames), roll.sequence.chance_of_capcorr()
    return (
        f"CapCorr: the correlation of the roll seen in t with the factor's steps, over the {s} starts of "
        f"this sequence; chance {chance:.2f}, – if t shows the same roll from every start."
    )


def through_run(roll: RollState, other: Run | Untrained) -> RollState:
    """Return the same sequence and roll through another run. Raises ValueError if it cannot see them."""
    untrained = isinstance(other, Untrained)
    run = other.run if untrained else other
    model = both_models(run)["untrained"] if untrained else run.model
    sequence = encode_sequence(run.exp, model, roll.sequence.batch, roll.sequence.title)
    return sequence.roll(roll.capsules)


class ComparePanel(ExplorerPanel):
    """Show the sequence through other runs on the same data, and through the same model before training."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        self.setting, self.others = False, []  # the rolls of the other models
        self.second, self.third = (
            widgets.Dropdown(description=words, layout=WIDE, style={"description_width": "initial"})
            for words in ("Compare with", "and with")
        )
        self.frames, self.captions = [widgets.Image() for _ in range(4)], [widgets.HTML() for _ in range(4)]
        self.frames[1].add_class("tvae-compare")
        for image in self.frames:
            image.add_class("tvae-pixels")
        self.tiles = widgets.Box([tile(*pair) for pair in zip(self.captions, self.frames, strict=True)])
        self.tiles.add_class("tvae-tiles")
        self.tiles.add_class("tvae-small")
        self.film, self.playhead, self.table = (widgets.HTML() for _ in range(3))
        strip = overlay(self.film, self.playhead)
        strip.add_class("tvae-film")
        below = widgets.Box([strip, widgets.VBox([self.table, self.words])])
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
        self.draw_frames(names, rolls)
        self.draw_film(rolls, key)
        self.put(self.table, key, lambda: measures_table(dict(zip(LETTERS, rolls, strict=False))))
        self.put(self.words, roll.sequence, lambda: about_capcorr(roll))

    def offer(self) -> None:
        """Offer the other runs that see the same data, the next best first, and the untrained model."""
        run, self.setting = self.explorer.run, True
        if self._drawn.get(self.second) is not run:
            self._drawn[self.second] = run
            others = [other for other in self.explorer.runs if other is not run]
            alike = [one for one in others if one.exp.image_set == run.exp.image_set]
            named = [(describe(other), other) for other in [*alike, Untrained(run)]]
            for control, place in ((self.second, 0), (self.third, len(named) - 1)):
                control.options = [*named, ("nothing", None)]
                control.value = named[place][1] if control is self.second or place else None  # each once
        self.setting = False

    def choose(self, change: dict) -> None:
        if not self.setting:
            self.draw()

    def draw_frames(self, names: list[str], rolls: list[RollState]) -> None:
        roll = rolls[0]
        true = roll.sequence.frames[roll.frame]
        if roll.held_out and not self.explorer.revealed:
            true = torch.full_like(true, 0.75)
        shown = [(f"True frame {roll.frame}{', held out' * roll.held_out}", true)]
        shown += [(name, other.decoded) for name, other in zip(names, rolls, strict=True)]
        for i, part in enumerate(self.tiles.children):
            part.layout.display = None if i < len(shown) else "none"
        for image, caption, (name, frame) in zip(self.frames, self.captions, shown, strict=False):
            image.value, caption.value = png(frame_grid(frame.unsqueeze(0), 1)), name
        (self.frames[0].add_class if roll.held_out else self.frames[0].remove_class)("tvae-held-out")

    def draw_film(self, rolls: list[RollState], key: tuple) -> None:
        sequence, revealed = rolls[0].sequence, self.explorer.revealed
        rows = [(LETTERS[i], roll.decoded_rolls[::STEPS]) for i, roll in enumerate(rolls)]
        exp = sequence.exp
        strip = Strip(sequence.title, [("input", sequence.frames), *rows], exp.anchor, exp.held_out)
        hidden = () if revealed else exp.held_out
        self.put(self.film, (*key, revealed), lambda: film(strip, hidden))
        position = rolls[0].position
        self.put(self.playhead, (*key, position), lambda: playhead(strip, position))
