"""The panel that saves the roll as a picture, an animation, a video or a page, and shows code for it."""

import html
from pathlib import Path

import ipywidgets as widgets

from tvae_core.explorer.export import FORMATS, Animation, export, save_own_digit
from tvae_core.explorer.scene import run_title
from tvae_core.explorer.state import ExplorerPanel, ExplorerState
from tvae_core.files import FIGURES, RUNS


def snippet(explorer: ExplorerState, folder: Path, file: str) -> str:
    """Return code that writes the same file again; your own digit is read from the file saved beside it."""
    roll, run = explorer.roll, explorer.run
    capsules = None if roll.capsules is None else list(roll.capsules)
    elsewhere = "" if run.folder.parent == RUNS else f", runs={run.folder.parent.as_posix()!r}"
    if explorer.own:
        rolls = f"animate_own_digit(run, folder / {digit_file(file)!r}, {explorer.factor!r}, {capsules})"
    else:
        rolls = f"animate(run, [{explorer.image}], {explorer.factor!r}, {capsules})"
    exp = f"read_experiment({f'{run.label} seed={run.exp.seed}'!r}, {run.exp.scale!r})"
    opened = f"open_run({run.folder.as_posix()!r})" if run.folder.is_file() else f"fit({exp}{elsewhere})"
    return f"""from pathlib import Path
from tvae_core import fit, open_run
from tvae_core.experiments import read_experiment
from tvae_core.explorer.export import export, {rolls.partition("(")[0]}
folder = Path({folder.as_posix()!r})
run = {opened}
rolls = {rolls}
export(rolls, folder / {file!r}, shift={roll.shift})"""


def digit_file(file: str) -> str:
    """Name the digit beside a saved file."""
    return f"{Path(file).stem}-digit.png"


class SavePanel(ExplorerPanel):
    """Save the roll as a file, and show the code that writes it again."""

    def __init__(self, explorer: ExplorerState, folder: Path = FIGURES / "explorer"):
        super().__init__(explorer)
        self.folder = folder
        self.format = widgets.Dropdown(options=FORMATS, value=".png", description="Format")
        self.name = widgets.Text("roll", description="Name", continuous_update=False)
        self.button = widgets.Button(description="Save", button_style="primary")
        self.code = widgets.HTML()
        self.arrange([self.format, self.name, self.button], self.problem, self.words, self.code)
        self.button.on_click(self.guard(self.save))

    def file(self) -> str:
        """The name that was typed, with the suffix of the format. Raises ValueError if it is no name."""
        name = self.name.value.strip()
        stem = name[: name.rfind(".")] if name.lower().endswith(FORMATS) else name
        if not stem or Path(stem).name != stem or stem.startswith("."):
            raise ValueError(f"name {name!r} is not the name of a file, such as roll")
        return f"{stem}{self.format.value}"

    def save(self, button: object) -> None:
        explorer, file = self.explorer, self.file()
        self.words.value = self.code.value = ""
        rolls = Animation(run_title(explorer.run), [explorer.roll])
        path = export(rolls, self.folder / file, explorer.roll.shift)
        if explorer.own:
            save_own_digit(explorer.own.digit, self.folder / digit_file(file))
        size = path.stat().st_size / 1e3
        self.words.value = f"Saved: <code>{html.escape(str(path))}</code>, {size:,.0f} kB"
        self.code.value = f"<pre tabindex='0'>{html.escape(snippet(explorer, self.folder, file))}</pre>"
