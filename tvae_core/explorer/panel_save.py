"""The Save panel: write a picture, an animation, a film or a page, and the code that makes it again."""

import html
from pathlib import Path

import ipywidgets as widgets

from tvae_core.explorer.export import FORMATS, Animation, export, save_own
from tvae_core.explorer.state import ROW, ExplorerState, sentence
from tvae_core.files import FIGURES, RUNS


def snippet(stage: ExplorerState, folder: Path, name: str) -> str:
    """Code that makes the same file again; a digit of one's own is read from where save_own put it."""
    seen, run = stage.view, stage.run
    capsules = None if seen.capsules is None else list(seen.capsules)
    elsewhere = "" if run.folder.parent == RUNS else f', runs="{run.folder.parent.as_posix()}"'
    if stage.own:
        one = f'animate_own_digit(run, folder / "{own_file(name)}", "{stage.factor}", {capsules})'
    else:
        one = f'reel(run, [{stage.image}], "{stage.factor}", {capsules})'
    return "\n".join(
        [
            "from pathlib import Path",
            f"from tvae_core.explorer.export import export, {one.partition('(')[0]}",
            "from tvae_core.training.trainer import fit",
            "from tvae_core.experiments import read_experiment",
            f'folder = Path("{folder.as_posix()}")',
            f'exp = read_experiment("{run.label} seed={run.exp.seed}", "{run.exp.scale}")',
            f"run = fit(exp{elsewhere})",
            f'export({one}, folder / "{name}", shift={seen.shift})',
        ]
    )


def own_file(name: str) -> str:
    """What the digit beside a saved picture is called."""
    return f"{Path(name).stem}-digit.png"


def save(stage: ExplorerState, folder: Path = FIGURES / "explorer") -> widgets.Widget:
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
        path = export(Animation(str(stage.run), [stage.view]), folder / file, stage.view.shift)
        words.value = f"Saved: <code>{html.escape(str(path))}</code>, {path.stat().st_size / 1e3:,.0f} kB"
        code.value = f"<pre tabindex='0'>{html.escape(snippet(stage, folder, file))}</pre>"

    button.on_click(write)
    return widgets.VBox([widgets.HBox([kind, name, button], layout=ROW), words, code])
