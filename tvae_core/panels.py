"""The explorer's other panels: two runs side by side, and what is on the stage to take along."""

import html
import statistics
import time
from pathlib import Path

import ipywidgets as widgets

from tvae_core.export import FORMATS, Reel, export, save_own
from tvae_core.paths import FIGURES, RUNS
from tvae_core.runs import Run
from tvae_core.scenes import View, loaded, look
from tvae_core.screen import Screen
from tvae_core.stage import ROW, WIDE, Stage, name_of, sentence
from tvae_core.tables import number
from tvae_core.views import film_of, place, seats_beside

MEASURES = {
    "reconstruction": ("reconstruction", "nats/frame", 0),
    "roll_seen": ("roll, seen", "nats/frame", 0),
    "roll_held_out": ("roll, held out", "nats/frame", 0),
    "e_eq": ("E_eq", "L1", 0),
    "capcorr": ("CapCorr", "", 2),
}


def measures_table(views: dict[str, View]) -> str:
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


def about_capcorr(view: View) -> str:
    """What CapCorr says of one sequence, in a sentence."""
    s, chance = len(view.scene.frames), view.scene.capcorr_at_chance()
    return (
        f"CapCorr is the correlation, over the {s} starts of this very sequence, of how far t is seen to "
        f"have rolled with how far the factor has gone: 1 is exact, chance is {chance:.2f} (not 0, since the "
        "start at 0 is its own reference), and – stands where t shows the same roll from every start."
    )


def beside_it(view: View, other: Run) -> View:
    """The same sequence and roll through another run. ValueError if that one cannot see the sequence."""
    scene = look(other.exp, loaded(other), view.scene.batch, view.scene.title)
    seen = View(scene, scene.reel(view.capsules), view.capsules)
    return seen.at(view.shift if view.shift in scene.shifts else 0.0)


def compare(stage: Stage) -> widgets.Widget:
    """The run on the stage and another one on the same sequence: rolls, likelihoods, CapCorr."""
    alike = [run for run in stage.runs if run.exp.image_shape == stage.run.exp.image_shape]
    named = [(name_of(run), run) for run in stage.runs]
    second = widgets.Dropdown(options=named, value=alike[-1], description="Beside", layout=WIDE)
    screen, words = Screen("compare"), widgets.HTML()
    table, about = widgets.HTML(), widgets.HTML()
    kept: dict[str, View] = {}

    @sentence(words)
    def renew(change) -> None:
        kept.clear()
        try:
            kept.update(B=beside_it(stage.view, second.value))
        finally:
            if not kept:  # what is there is of another sequence
                screen.clear()
                table.value = about.value = ""
        names = f"A: {name_of(stage.run)}", f"B: {name_of(second.value)}"
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


def snippet(stage: Stage, folder: Path, name: str) -> str:
    """Code that makes the same file again; a digit of one's own is read from where save_own put it."""
    seen, run = stage.view, stage.run
    capsules = None if seen.capsules is None else list(seen.capsules)
    elsewhere = "" if run.folder.parent == RUNS else f', runs="{run.folder.parent.as_posix()}"'
    if stage.own:
        one = f'own_reel(run, folder / "{own_file(name)}", "{stage.factor}", {capsules})'
    else:
        one = f'reel(run, [{stage.image}], "{stage.factor}", {capsules})'
    return "\n".join(
        [
            "from pathlib import Path",
            f"from tvae_core.export import export, {one.partition('(')[0]}",
            "from tvae_core.train import fit",
            "from tvae_core.variants import read_experiment",
            f'folder = Path("{folder.as_posix()}")',
            f'run = fit(read_experiment("{run.label}", "{run.exp.scale}"), seed={run.seed}{elsewhere})',
            f'export({one}, folder / "{name}", shift={seen.shift})',
        ]
    )


def own_file(name: str) -> str:
    """What the digit beside a saved picture is called."""
    return f"{Path(name).stem}-digit.png"


def save(stage: Stage, folder: Path = FIGURES / "explorer") -> widgets.Widget:
    """What is on the stage as a file, and the code that makes it again."""
    kind = widgets.Dropdown(options=FORMATS, value=".png", description="Format")
    name = widgets.Text("roll", description="Name", continuous_update=False)
    button = widgets.Button(description="Save", button_style="primary")
    words, code = widgets.HTML(), widgets.HTML()

    @sentence(words)
    def write(_) -> None:
        if not name.value.strip() or Path(name.value).name != name.value:
            raise ValueError(f"name {name.value!r} is not the name of a file, such as roll")
        file = f"{name.value.strip()}{kind.value}"
        if stage.own:
            save_own(stage.own.digit, folder / own_file(file))
        path = export(Reel(name_of(stage.run), [stage.view]), folder / file, stage.view.shift)
        words.value = f"Saved: <code>{html.escape(str(path))}</code>, {path.stat().st_size / 1e3:,.0f} kB"
        code.value = f"<pre tabindex='0'>{html.escape(snippet(stage, folder, file))}</pre>"

    button.on_click(write)
    return widgets.VBox([widgets.HBox([kind, name, button], layout=ROW), words, code])


def latency(stage: Stage) -> dict[str, float]:
    """Milliseconds of a change on screen: from a new roll until all panels of the stage have their pictures.

    Over all its rolls, the median and the slowest; the stage is left as it was.
    """
    before, spent = stage.view, []
    for shift in before.scene.shifts:
        view = before.at(shift)
        started = time.perf_counter()
        stage.view = view
        spent.append(1000 * (time.perf_counter() - started))
    stage.view = before
    return {"median": statistics.median(spent), "slowest": max(spent)}
