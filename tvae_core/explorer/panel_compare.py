"""The explorer's other panels: two runs side by side, and what is on the stage to take along."""

import html

import ipywidgets as widgets

from tvae_core.explorer.pictures import film_of, place, seats_beside
from tvae_core.explorer.scene import RollState, look
from tvae_core.explorer.state import WIDE, ExplorerState, FrameDisplay, sentence
from tvae_core.plotting.tables import number
from tvae_core.training.runs import Run

MEASURES = {
    "reconstruction": ("reconstruction", "nats/frame", 0),
    "roll_seen": ("roll, seen", "nats/frame", 0),
    "roll_held_out": ("roll, held out", "nats/frame", 0),
    "e_eq": ("E_eq", "L1", 0),
    "capcorr": ("CapCorr", "", 2),
}


def measures_table(views: dict[str, RollState]) -> str:
    """The measures of one sequence, a column for each model, as HTML."""
    cell, left = "style='text-align: right; vertical-align: top'", "style='text-align: left'"
    heads = "".join(f"<th scope='col' {cell}>{html.escape(name)}</th>" for name in views)
    columns, rows = [view.scene.measures() for view in views.values()], []
    for key, (name, unit, digits) in MEASURES.items():
        shown = ["–" if column[key] is None else number(column[key], digits) for column in columns]
        values = "".join(f"<td {cell}>{value}</td>" for value in shown)
        rows.append(f"<tr><th scope='row' {left}>{name} <small>{unit}</small></th>{values}</tr>")
    table = f"<tr><th></th>{heads}</tr>{''.join(rows)}"
    look = "line-height: 1.5; border-spacing: .8em .1em; max-width: 100%; overflow-wrap: anywhere"
    return f"<table class='tvae-measures' style='{look}'>{table}</table>"


def about_capcorr(view: RollState) -> str:
    """What CapCorr says of one sequence, in a sentence."""
    s, chance = len(view.scene.frames), view.scene.capcorr_at_chance()
    return (
        f"CapCorr is the correlation, over the {s} starts of this very sequence, of how far t is seen to "
        f"have rolled with how far the factor has gone: 1 is exact, chance is {chance:.2f} (not 0, since the "
        "start at 0 is its own reference), and – stands where t shows the same roll from every start."
    )


def beside_it(view: RollState, other: Run) -> RollState:
    """The same sequence and roll through another run. ValueError if that one cannot see the sequence."""
    scene = look(other.exp, other.model, view.scene.batch, view.scene.title)
    seen = RollState(scene, scene.reel(view.capsules), view.capsules)
    return seen.at(view.shift if view.shift in scene.shifts else 0.0)


def compare(stage: ExplorerState) -> widgets.Widget:
    """The run on the stage and another one on the same sequence: rolls, likelihoods, CapCorr."""
    alike = [run for run in stage.runs if run.exp.image_shape == stage.run.exp.image_shape]
    named = [(str(run), run) for run in stage.runs]
    second = widgets.Dropdown(options=named, value=alike[-1], description="Beside", layout=WIDE)
    screen, words = FrameDisplay("compare"), widgets.HTML()
    table, about = widgets.HTML(), widgets.HTML()
    kept: dict[str, RollState] = {}

    @sentence(words)
    def renew(change) -> None:
        kept.clear()
        try:
            kept.update(B=beside_it(stage.view, second.value))
        finally:
            if not kept:  # what is there is of another sequence
                screen.clear()
                table.value = about.value = ""
        names = f"A: {stage.run}", f"B: {second.value}"
        table.value = measures_table(dict(zip(names, (stage.view, kept["B"]), strict=True)))
        about.value = f"<p style='max-width: 70ch; line-height: 1.4'>{about_capcorr(stage.view)}</p>"
        draw()

    def draw() -> None:
        if kept["B"].capsules != stage.view.capsules:
            kept["B"] = kept["B"].moving(stage.view.capsules)
        both = [stage.view, kept["B"].at(stage.view.shift)]
        screen.show(seats_beside(both), film_of(both), place(stage.view))

    @sentence(words)
    def follow(change) -> None:
        if kept and change["old"].scene is change["new"].scene:
            draw()
        else:
            renew(change)

    renew(None)
    second.observe(renew, "value")
    stage.observe(follow, "view")
    return widgets.VBox([second, words, screen.widget, table, about])
