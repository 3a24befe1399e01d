"""The panel that saves the roll as a picture, an animation, a film or a page, and shows code for it."""

import html
from pathlib import Path

import ipywidgets as widgets

from tvae_core.explorer.export import FORMATS, Animation, export, save_own_digit
from tvae_core.explorer.state import WRAPPED, ExplorerState, show_errors
from tvae_core.files import FIGURES, RUNS


def snippet(explorer: ExplorerState, folder: Path, file: str) -> str:
    """Return code that writes the same file again; your own digit is read from the file saved beside it."""
    roll, run = explorer.roll, explorer.run
    capsules = None if roll.capsules is None else list(roll.capsules)
    elsewhere = "" if run.folder.parent == RUNS else f', runs="{run.folder.parent.as_posix()}"'
    if explorer.own:
        animation = f'animate_own_digit(run, folder / "{digit_file(file)}", "{explorer.factor}", {capsules})'
    else:
        animation = f'animate(run, [{explorer.image}], "{explorer.factor}", {capsules})'
    return "\n".join(
        [
            "from pathlib import Path",
            "from tvae_core import fit",
            "from tvae_core.experiments import read_experiment",
            f"from tvae_core.explorer.export import export, {animation.partition('(')[0]}",
            f'folder = Path("{folder.as_posix()}")',
            f'exp = read_experiment("{run.label} seed={run.exp.seed}", "{run.exp.scale}")',
            f"run = fit(exp{elsewhere})",
            f'export({animation}, folder / "{file}", shift={roll.shift})',
        ]
    )


def digit_file(file: str) -> str:
    """Name the digit beside a saved file."""
    return f"{Path(file).stem}-digit.png"


def save_panel(explorer: ExplorerState, folder: Path = FIGURES / "explorer") -> widgets.Widget:
    """Save the roll as a file, and show the code that writes it again."""
    kind = widgets.Dropdown(options=FORMATS, value=".png", description="Format")
    name = widgets.Text("roll", description="Name", continuous_update=False)
    button = widgets.Button(description="Save", button_style="primary")
    words, code = widgets.HTML(), widgets.HTML()

    @show_errors(words)
    def write(_) -> None:
        if not name.value.strip() or Path(name.value).name != name.value:
            raise ValueError(f"name {name.value!r} is not the name of a file, such as roll")
        file = f"{name.value.strip()}{kind.value}"
        if explorer.own:
            save_own_digit(explorer.own.digit, folder / digit_file(file))
        animation = Animation(str(explorer.run), [explorer.roll])
        path = export(animation, folder / file, explorer.roll.shift)
        words.value = f"Saved: <code>{html.escape(str(path))}</code>, {path.stat().st_size / 1e3:,.0f} kB"
        code.value = f"<pre tabindex='0'>{html.escape(snippet(explorer, folder, file))}</pre>"

    button.on_click(write)
    return widgets.VBox([widgets.HBox([kind, name, button], layout=WRAPPED), words, code])
