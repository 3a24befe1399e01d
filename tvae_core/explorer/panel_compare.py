"""The panel that rolls the same sequence through two runs."""

import html

import ipywidgets as widgets

from tvae_core.explorer.pictures import compared_frames, timeline_of
from tvae_core.explorer.scene import RollState, encode_sequence
from tvae_core.explorer.state import WIDE, ExplorerState, FrameDisplay, Panel, describe_run
from tvae_core.plotting.tables import number
from tvae_core.training.runs import Run

MEASURES = {
    "reconstruction": ("reconstruction", "nats/frame", 0),
    "roll_seen": ("roll, seen", "nats/frame", 0),
    "roll_held_out": ("roll, held out", "nats/frame", 0),
    "e_eq": ("E_eq", "L1", 0),
    "capcorr": ("CapCorr", "", 2),
}


def measures_table(rolls: dict[str, RollState]) -> str:
    """Return the measures of one sequence as HTML, one column for each named model."""
    cell, left = "style='text-align: right; vertical-align: top'", "style='text-align: left'"
    heads = "".join(f"<th scope='col' {cell}>{html.escape(name)}</th>" for name in rolls)
    columns, rows = [roll.sequence.measures() for roll in rolls.values()], []
    for key, (name, unit, digits) in MEASURES.items():
        shown = ["–" if column[key] is None else number(column[key], digits) for column in columns]
        values = "".join(f"<td {cell}>{value}</td>" for value in shown)
        rows.append(f"<tr><th scope='row' {left}>{name} <small>{unit}</small></th>{values}</tr>")
    look = "line-height: 1.5; border-spacing: .8em .1em; max-width: 100%; overflow-wrap: anywhere"
    return f"<table class='tvae-measures' style='{look}'><tr><th></th>{heads}</tr>{''.join(rows)}</table>"


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


class ComparePanel(Panel):
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
            if self.other is None:  # the pictures are those of another sequence
                self.display.clear()
                self.table.value = self.words.value = ""
        runs = {f"A: {self.explorer.run}": roll, f"B: {self.second.value}": self.other}
        self.table.value = measures_table(runs)
        self.words.value = f"<p style='max-width: 70ch; line-height: 1.4'>{about_capcorr(roll)}</p>"
        self.draw()

    def draw(self) -> None:
        roll = self.explorer.roll
        if self.other.capsules != roll.capsules:
            self.other = self.other.with_capsules(roll.capsules)
        both = [roll, self.other.at(roll.shift)]
        self.display.show(compared_frames(both), timeline_of(both), roll.position)

    def follow(self, change: dict) -> None:
        same = change["old"].sequence is change["new"].sequence
        self.draw() if same and self.other else self.encode()
