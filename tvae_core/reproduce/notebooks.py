"""The notebooks, and what each says of itself: title, parameters, experiments, where its outputs lie.

The cell tagged `parameters` is the only place that knows which experiments a notebook needs.
"""

import ast
import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tvae_core.files import FIGURES, HOME

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
RECORD = "tvae_core"  # in the metadata of an executed notebook: what it was made from
GIVEN = ("scale", "seeds", "device", "runs", "figures")  # parameters with an option or a place of their own
_MAGIC = re.compile(r"(?m)^\s*[%!?].*$")  # lines for IPython, such as %matplotlib inline


@dataclass(frozen=True)
class Notebook:
    """A notebook, with where its outputs go."""

    path: Path

    @property
    def name(self) -> str:
        """Return what `--only` calls it; the names of its files begin with this."""
        return self.path.stem

    @cached_property
    def cells(self) -> list[dict]:
        """Return its cells; none for the format of before 2014. ValueError for a file that is no notebook."""
        try:
            read = json.loads(self.path.read_text(encoding="utf-8")).get("cells", [])
            cells = [{"source": "", "metadata": {}, "cell_type": "", **cell} for cell in read]
            for cell in cells:
                cell["source"], cell["tags"] = "".join(cell["source"]), cell["metadata"].get("tags") or []
            return cells
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise ValueError(f"{self.path.name} cannot be read as a notebook: {error}") from error

    @property
    def _parameter_cells(self) -> list[dict]:
        return [cell for cell in self.cells if "parameters" in cell["tags"]]

    @property
    def code(self) -> str:
        """Return the code of all its cells as Python, without IPython's own lines."""
        return "\n".join(_python(cell) for cell in self.cells if cell["cell_type"] == "code")

    @property
    def digest(self) -> str:
        """Return a digest of its text and code, and of which cell has the parameters.

        Outputs, ids and other metadata don't count: opening a notebook and saving it changes them. Nor does
        the cell that shows the picture of another run (reproduce.pictures).
        """
        own = [cell for cell in self.cells if "picture" not in cell["tags"]]
        said = [(c["cell_type"], c["source"], "parameters" in c["tags"]) for c in own]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    @property
    def title(self) -> str:
        """Return its first heading, `ITEM: what it shows`."""
        lines = [line for cell in self.cells for line in cell["source"].splitlines()]
        return next((line.lstrip("# ") for line in lines if line.startswith("# ")), self.name)

    @property
    def item(self) -> str:
        """Return which figure, table or section of the paper it is: its title before the colon."""
        return self.title.partition(":")[0].strip()

    @property
    def shows(self) -> str:
        """Return what there is to see: its title after the colon."""
        return self.title.partition(":")[2].strip()

    @property
    def sort_key(self) -> tuple[int, int, str, str]:
        """Return where it comes among the others: figures by number, tables by number, then the rest."""
        numbered = re.match(r"(Figure|Table)s? (\d+)", self.item)
        kind = ("Figure", "Table").index(numbered[1]) if numbered else 2
        return kind, int(numbered[2]) if numbered else 0, self.item, self.name

    @cached_property
    def parameters(self) -> dict[str, object]:
        """Return names and values in the cell tagged `parameters`; ValueError unless they are literals."""
        found, code = {}, "\n".join(map(_python, self._parameter_cells[:1]))
        try:
            nodes = ast.parse(code).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{self.path.name}: its parameters are not Python: {error}") from error
        for node in nodes:
            try:
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                found[target.id] = ast.literal_eval(node.value)
            except (AttributeError, ValueError):
                raise ValueError(f"{self.path.name}: {ast.unparse(node)!r} is no parameter") from None
        return found

    def experiments(self, changes: Mapping[str, object]) -> list[str]:
        """Return the experiments it needs if its parameters are changed so."""
        return {**self.parameters, **changes}.get("experiments", [])

    def command(self, scale: str, parameters: Mapping[str, object]) -> str:
        """Return the call of run_all.sh that makes it with these parameters."""
        words = ["./run_all.sh", "--scale", scale, "--only", self.name]
        if parameters.get("seeds"):
            words += ["--seeds", ",".join(map(str, parameters["seeds"]))]
        for key in (key for key in parameters if key not in GIVEN):
            words += ["--set", f"{key}={parameters[key]}"]
        return shlex.join(words)

    def executed(self, scale: str) -> Path:
        """Return where it lies with its outputs once it has run through."""
        return HOME / "notebooks" / scale / f"{self.name}.ipynb"

    def record(self, scale: str) -> dict[str, object]:
        """Return what the executed notebook says of itself, `{}` where there is none or it says nothing.

        That is the `parameters` it was given, its `seconds`, and what execute.execute adds. ValueError for a
        file that cannot be read.
        """
        path = self.executed(scale)
        if not path.is_file():
            return {}
        try:
            said = json.loads(path.read_text(encoding="utf-8"))["metadata"]
            own = said.get(RECORD, {})
            run = said["papermill"] if own else {}
            return own and {**own, "parameters": run["parameters"], "seconds": run["duration"]}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the executed {path.name} cannot be read ({error!r})") from error

    def figures(self, scale: str) -> list[Path]:
        """Return the files that it wrote for others to use, as its record names them."""
        return [FIGURES / scale / name for name in self.record(scale).get("files", {})]

    def attempt(self, scale: str) -> Path:
        """Return where it lies while it runs and stays if it fails; its error lies beside it as NAME.log."""
        return HOME / "failed" / scale / f"{self.name}.ipynb"

    def error_message(self, scale: str) -> str:
        """Return the last line of its error; "" if it did not fail."""
        log = self.attempt(scale).with_suffix(".log")
        text = log.read_text(errors="replace") if log.is_file() else ""
        lines = re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n")  # without the colours of a traceback
        return next((line.strip() for line in reversed(lines) if line.strip()), "no message" if text else "")


def _python(cell: dict) -> str:
    return _MAGIC.sub("", cell["source"])


def notebooks(folder: Path = NOTEBOOKS) -> dict[str, Notebook]:
    """Return all notebooks of a folder by name, in the order of `sort_key`. ValueError for a broken one."""
    found = map(Notebook, folder.glob("[!.]*.ipynb"))
    return {notebook.name: notebook for notebook in sorted(found, key=lambda n: n.sort_key)}


def reproducible(folder: Path = NOTEBOOKS) -> tuple[dict[str, Notebook], dict[str, str], dict[str, str]]:
    """Return the notebooks that make an item, in order, and why broken ones and copies make none.

    An item has a parameter `figures`: the folder for what it makes. Other notebooks, such as the explorer
    or a user's own, are none. A copy names the files that it saves after another notebook.
    """
    found, broken, copies = [], {}, {}
    for notebook in map(Notebook, sorted(folder.glob("[!.]*.ipynb"))):
        try:
            if "figures" not in notebook.parameters:
                continue
            if re.search(rf"""["']{re.escape(notebook.name)}[_."']""", notebook.code):
                found.append(notebook)
            else:
                copies[notebook.name] = (
                    f"{notebook.path.name} is left out, for it saves no file that is named after it; "
                    "if it is a copy, change its title and the names of its files to have it made too"
                )
        except ValueError as error:
            broken[notebook.name] = str(error)
    return {n.name: n for n in sorted(found, key=lambda n: n.sort_key)}, broken, copies
