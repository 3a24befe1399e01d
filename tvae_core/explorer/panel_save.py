"""The panel that saves the roll as a picture, an animation, a video or a page, and shows code for it."""

import base64
import html
from pathlib import Path

import ipywidgets as widgets

from tvae_core.explorer.export import FORMATS, Animation, export, save_own_digit
from tvae_core.explorer.scene import run_title
from tvae_core.explorer.state import WORDS, ExplorerPanel, ExplorerState
from tvae_core.files import FIGURES, RUNS


def snippet(explorer: ExplorerState, folder: Path, file: str) -> str:
    """Return code that writes the same file again; your own digit is read from the file saved beside it."""
    roll, run = explorer.roll, explorer.run
    capsules = None if roll.capsules is None else list(roll.capsules)
    elsewhere = "" if run.folder.parent == RUNS else f", runs={run.folder.parent.as_posix()!r}"
    if explorer.own:
        rolls = f"animate_own_digit(run, folder / {digit_file(file)!r}, {explorer.factor!r}, {capsules})"
    else:
        rolls = f"animate(run, [{explorer.example}], {explorer.factor!r}, {capsules})"
    exp = f"read_experiment({f'{run.label} seed={run.exp.seed}'!r}, {run.exp.scale!r})"
    if run.folder.is_file():
        opened, imports = f"open_run({run.folder.as_posix()!r})", "from tvae_core import open_run"
    else:
        opened = f"fit({exp}{elsewhere})"
        imports = "from tvae_core import fit\nfrom tvae_core.experiments import read_experiment"
    return f"""from pathlib import Path
{imports}
from tvae_core.explorer.export import export, {rolls.partition("(")[0]}
folder = Path({folder.as_posix()!r})
run = {opened}
rolls = {rolls}
export(rolls, folder / {file!r}, shift={roll.shift})"""


def digit_file(file: str) -> str:
    """Name the digit beside a saved file."""
    return f"{Path(file).stem}-digit.png"


TYPES = {".html": "text/html", ".gif": "image/gif", ".png": "image/png", ".mp4": "video/mp4"}
_COPY = "navigator.clipboard.writeText(this.nextElementSibling.textContent); this.textContent = 'Copied'"
COPY = f'<button class="jupyter-button" onclick="{_COPY}">Copy the code</button>'


class SavePanel(ExplorerPanel):
    """Save the roll as a file, link to it, and show the code that writes it again."""

    def __init__(self, explorer: ExplorerState, folder: Path = FIGURES / "explorer"):
        super().__init__(explorer)
        self.folder, self.asked = folder, None  # the file for which it was asked whether to replace it
        self.format = widgets.Dropdown(options=FORMATS, value=".png", description="Format", style=WORDS)
        self.name = widgets.Text("roll", description="Name", continuous_update=False, style=WORDS)
        self.button = widgets.Button(description="Save", button_style="primary")
        self.code = widgets.HTML()
        self.arrange([self.format, self.name, self.button], self.problem, self.words, self.code)
        self.button.on_click(self.guard(self.save))
        for control in (self.format, self.name):
            control.observe(self.guard(self.ask_again), "value")

    def draw(self) -> None:
        """Nothing here shows the roll."""

    def file(self) -> str:
        """The name that was typed, with the suffix of the format. Raises ValueError if it is no name."""
        name = self.name.value.strip()
        stem = name[: name.rfind(".")] if name.lower().endswith(FORMATS) else name
        if not stem or Path(stem).name != stem or stem.startswith("."):
            raise ValueError(f"name {name!r} is not the name of a file, such as roll")
        return f"{stem}{self.format.value}"

    def ask_again(self, change: object = None) -> None:
        self.asked, self.button.description = None, "Save"

    def save(self, button: object) -> None:
        explorer, file = self.explorer, self.file()
        self.words.value = self.code.value = ""
        written = [self.folder / file] + [self.folder / digit_file(file)] * bool(explorer.own)
        there = [path.name for path in written if path.is_file()]
        if there and self.asked != file:
            self.asked, self.button.description = file, "Replace it"
            names = html.escape(" and ".join(there))
            self.words.value = f"{names} is there already. Press <i>Replace it</i>, or type another name."
            return
        self.ask_again()
        path = export(Animation(run_title(explorer.run), [explorer.roll]), written[0], explorer.roll.shift)
        if explorer.own:
            save_own_digit(explorer.own.digit, written[1])
        self.words.value = self.link(path)
        code = html.escape(snippet(explorer, self.folder, file))
        self.code.value = f'{COPY}<pre tabindex="0">{code}</pre>'

    def link(self, path: Path) -> str:
        """Say what was written, link to it, and show it if it is a picture."""
        content, kind, name = path.read_bytes(), TYPES[path.suffix], html.escape(path.name, quote=True)
        data = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        where = f"<code>{html.escape(str(path))}</code>, {len(content) / 1e3:,.0f} kB"
        picture = f'<br><img src="{data}" alt="what was saved">' * kind.startswith("image")
        return f'Saved: {where}. <a href="{data}" download="{name}">Download {name}</a>{picture}'
