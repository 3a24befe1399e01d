"""The panel that rolls the same sequence through two runs."""

import ipywidgets as widgets
import pandas as pd

from tvae_core.explorer.pictures import frames_of_models, timeline_of
from tvae_core.explorer.scene import RollState, encode_sequence
from tvae_core.explorer.state import WIDE, ExplorerPanel, ExplorerState, FrameDisplay, describe_run
from tvae_core.measures.catalog import MEASURES, heading
from tvae_core.plotting.tables import number
from tvae_core.training.runs import Run

SHOWN = ("roll_margin", "roll_held_out", "roll_still", "roll_backwards", "seen_mean", "roll_seen")
SHOWN += ("reconstruction", "e_eq", "capcorr_first")


_STYLE = """<style>.tvae-measures { line-height: 1.5; border-spacing: .8em .1em; overflow-wrap: anywhere }
.tvae-measures :is(td, thead th) { text-align: right }
.tvae-measures tbody th { text-align: left; white-space: nowrap }</style>"""


def measures_table(rolls: dict[str, RollState]) -> str:
    """Return the measures of one sequence as HTML, one column for each named model."""
    columns, rows = {}, [MEASURES[key] for key in SHOWN]
    for name, roll in rolls.items():
        values, factor = roll.sequence.measures(), roll.sequence.title
        columns[name] = ["–" if (v := values[m.key]) is None else number(v, m.decimals) for m in rows]
    names = [f"{heading(f'{m.key}/{factor}', 0)}, {m.unit}".removesuffix(", ") for m in rows]
    return _STYLE + pd.DataFrame(columns, names).to_html(classes="tvae-measures", border=0)


def about_capcorr(roll: RollState) -> str:
    """Say in words what CapCorr is for one sequence."""
    s, chance = len(roll.sequence.frames), roll.sequence.chance_of_capcorr()
    return (
        f"CapCorr: the correlation of the roll seen in t with the factor's steps, over the {s} starts of "
        f"this sequence. 1 is exact, chance {chance:.2f}; – where t shows the same roll from every start."
    )


def through_run(roll: RollState, other: Run) -> RollState:
    """Return the same sequence and roll through another run. Raises ValueError if it cannot see them."""
    sequence = encode_sequence(other.exp, other.model, roll.sequence.batch, roll.sequence.title)
    return sequence.roll(roll.capsules).at(roll.shift if roll.shift in sequence.shifts else 0.0)


class ComparePanel(ExplorerPanel):
    """Show the sequence through a second run, at first the next best on the same data: rolls and measures."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        others = [run for run in explorer.runs if run is not explorer.run] or explorer.runs
        alike = [run for run in others if run.exp.data == explorer.run.exp.data] or [explorer.run]
        runs = [(describe_run(run), run) for run in explorer.runs]
        self.second = widgets.Dropdown(options=runs, value=alike[0], description="Beside", layout=WIDE)
        self.display, self.table = FrameDisplay("compare"), widgets.HTML()
        self.arrange(self.second, self.problem, self.display, self.table, self.words)
        encode = self.guard(self.encode)
        encode()
        self.second.observe(encode, "value")
        explorer.observe(self.guard(self.follow), "roll")

    def encode(self, change: dict | None = None) -> None:
        roll, self.other = self.explorer.roll, None
        try:
            self.other = through_run(roll, self.second.value)
        finally:
            for widget in (self.display, self.table, self.words):
                widget.layout.display = "none" if self.other is None else None
        a, b = describe_run(self.explorer.run), describe_run(self.second.value)
        self.table.value = measures_table({f"A: {a}": roll, f"B: {b}": self.other})
        self.words.value = f"<p style='max-width: 70ch; line-height: 1.4'>{about_capcorr(roll)}</p>"
        self.draw()

    def draw(self) -> None:
        roll = self.explorer.roll
        if self.other.capsules != roll.capsules:
            self.other = self.other.with_capsules(roll.capsules)
        both = [roll, self.other.at(roll.shift)]
        self.display.show(frames_of_models(both), timeline_of(both), roll.position)

    def follow(self, change: dict) -> None:
        same = change["old"].sequence is change["new"].sequence
        self.draw() if same and self.other else self.encode()
