"""The panel that rolls the same sequence through two runs."""

import html

import ipywidgets as widgets

from tvae_core.explorer.pictures import compared_frames, timeline_of
from tvae_core.explorer.scene import RollState, encode_sequence
from tvae_core.explorer.state import WIDE, ExplorerState, FrameDisplay, show_errors
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
        f"CapCorr is the correlation, over the {s} starts of this sequence, of the roll seen in t with the "
        f"steps of the factor: 1 is exact, chance is {chance:.2f} (not 0, since the start at 0 is its own "
        "reference), and – stands where t shows the same roll from every start."
    )


def through_run(roll: RollState, other: Run) -> RollState:
    """Return the same sequence and roll through another run. Raises ValueError if it cannot see them."""
    sequence = encode_sequence(other.exp, other.model, roll.sequence.batch, roll.sequence.title)
    return sequence.roll(roll.capsules).at(roll.shift if roll.shift in sequence.shifts else 0.0)


def compare_panel(explorer: ExplorerState) -> widgets.Widget:
    """Show the sequence through a second run: rolls, and the measures of both."""
    alike = [run for run in explorer.runs if run.exp.image_shape == explorer.run.exp.image_shape]
    named = [(str(run), run) for run in explorer.runs]
    second = widgets.Dropdown(options=named, value=alike[-1], description="Beside", layout=WIDE)
    display, problem = FrameDisplay("compare"), widgets.HTML()
    table, about = widgets.HTML(), widgets.HTML()
    other: RollState | None = None  # the roll of the second run

    @show_errors(problem)
    def encode(change: dict | None) -> None:
        nonlocal other
        other = None
        try:
            other = through_run(explorer.roll, second.value)
        finally:
            if other is None:  # the pictures are those of another sequence
                display.clear()
                table.value = about.value = ""
        names = f"A: {explorer.run}", f"B: {second.value}"
        table.value = measures_table(dict(zip(names, (explorer.roll, other), strict=True)))
        about.value = f"<p style='max-width: 70ch; line-height: 1.4'>{about_capcorr(explorer.roll)}</p>"
        draw()

    def draw() -> None:
        nonlocal other
        if other.capsules != explorer.roll.capsules:
            other = other.with_capsules(explorer.roll.capsules)
        both = [explorer.roll, other.at(explorer.roll.shift)]
        display.show(compared_frames(both), timeline_of(both), explorer.roll.position)

    @show_errors(problem)
    def follow(change: dict) -> None:
        if other and change["old"].sequence is change["new"].sequence:
            draw()
        else:
            encode(change)

    encode(None)
    second.observe(encode, "value")
    explorer.observe(follow, "roll")
    return widgets.VBox([second, problem, display.widget, table, about])
