"""The notebooks and what each says of itself: title, parameters, experiments, the files it writes.

The cell tagged `parameters` is the only place that knows which experiments a notebook needs.
"""

import ast
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tvae_core.files import FIGURES, HOME, file_name

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
RECORD = "tvae_core"  # in the metadata of an executed notebook: what it was made from


# What each call in a notebook writes: which of its arguments is the name, and the suffixes that follow it.
_WRITERS = {
    "save": (2, (".png", ".pdf", ".json")),
    "save_page": (2, (".html",)),
    "write_table": (1, (".md", ".csv")),
    "write_json": (0, ("",)),
}

GIVEN = ("scale", "seeds", "device", "runs", "figures")  # parameters with an option or a place of their own


@dataclass(frozen=True)
class Notebook:
    """A notebook, with where its outputs go."""

    path: Path

    @property
    def name(self) -> str:
        """What `--only` calls it and its figure is named."""
        return self.path.stem

    @cached_property
    def _cells(self) -> list[dict]:
        return json.loads(self.path.read_text(encoding="utf-8"))["cells"]

    @property
    def title(self) -> str:
        """Its first heading, `ITEM: what it shows`."""
        lines = [line for cell in self._cells for line in "".join(cell["source"]).splitlines()]
        return next((line.lstrip("# ") for line in lines if line.startswith("# ")), self.name)

    @property
    def item(self) -> str:
        """Which figure, table or section of the paper it is, as its title says before the colon."""
        return self.title.partition(":")[0].strip()

    @property
    def shows(self) -> str:
        """What there is to see, as its title says after the colon."""
        return self.title.partition(":")[2].strip()

    @property
    def place(self) -> tuple[int, int, str]:
        """Where it comes among the others: figures by their numbers, tables by theirs, then the rest."""
        numbered = re.match(r"(Figure|Table)s? (\d+)", self.item)
        kind = ("Figure", "Table").index(numbered[1]) if numbered else 2
        return kind, int(numbered[2]) if numbered else 0, self.item

    @cached_property
    def parameters(self) -> dict[str, object]:
        """Names and stored values in the cell tagged `parameters`; ValueError unless they are literals."""
        tagged = [c for c in self._cells if "parameters" in c["metadata"].get("tags", [])]
        found = {}
        for node in ast.parse("".join(tagged[0]["source"]) if tagged else "").body:
            try:
                target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
                found[target.id] = ast.literal_eval(node.value)
            except (AttributeError, ValueError):
                raise ValueError(f"{self.path.name}: {ast.unparse(node)!r} is no parameter") from None
        return found

    def experiments(self, changes: dict[str, object]) -> list[str]:
        """Names of the experiments it needs, if its parameters are changed so."""
        return {**self.parameters, **changes}.get("experiments", [])

    def command(self, scale: str, parameters: dict[str, object]) -> str:
        """How run_all.sh is called to make it so, with the parameters that it was given."""
        words = ["./run_all.sh", "--scale", scale, "--only", self.name]
        if parameters.get("seeds"):
            words += ["--seeds", ",".join(map(str, parameters["seeds"]))]
        for key in (key for key in parameters if key not in GIVEN):
            words += ["--set", f"{key}={parameters[key]}"]
        return shlex.join(words)

    @cached_property
    def _writes(self) -> list[tuple[ast.expr, tuple[str, ...]]]:
        """The name that each writing call is given, and the suffixes it writes, in the order of the code."""
        calls = []
        for cell in (cell for cell in self._cells if cell["cell_type"] == "code"):
            try:
                nodes = ast.walk(ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", "".join(cell["source"]))))
            except SyntaxError:  # executing the notebook will say so
                continue
            found = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
            calls += sorted(found, key=lambda node: (node.lineno, node.col_offset))
        known = [(call, *_WRITERS[call.func.id]) for call in calls if call.func.id in _WRITERS]
        return [(call.args[place], suffixes) for call, place, suffixes in known if len(call.args) > place]

    def figures(self, scale: str, changes: Mapping[str, object] | None = None) -> list[Path]:
        """Return the files that it writes into the folder of figures, read off its code without running it.

        A name such as `f"prior_{…}"` stands for a file for each experiment, and `f"study_{data}"` for one for
        each kind of data that these are trained on. `changes` are other values of its parameters; None: those
        that it was last executed with.
        """
        changes = self.record(scale).get("parameters", {}) if changes is None else changes
        names = [
            name + suffix
            for argument, suffixes in self._writes
            for name in _written_out(argument, scale, self.experiments(changes))
            for suffix in suffixes
        ]
        return [FIGURES / scale / name for name in dict.fromkeys(names)]

    def executed(self, scale: str) -> Path:
        """Where it lies, outputs included, once it has run through."""
        return HOME / "notebooks" / scale / f"{self.name}.ipynb"

    def record(self, scale: str) -> dict[str, object]:
        """What the executed notebook says of itself, `{}` unless there is one that does.

        The `parameters` it was given, its `seconds`, and what execute.execute adds.
        """
        if not self.executed(scale).is_file():
            return {}
        said = json.loads(self.executed(scale).read_text(encoding="utf-8"))["metadata"]
        if RECORD not in said:
            return {}
        run = said["papermill"]
        return {**said[RECORD], "parameters": run["parameters"], "seconds": run["duration"]}

    def attempt(self, scale: str) -> Path:
        """Where it lies while it runs, and stays if it fails; its messages lie beside it as NAME.log."""
        return HOME / "failed" / scale / f"{self.name}.ipynb"

    def outputs(self, scale: str, changes: Mapping[str, object] | None = None) -> list[Path]:
        """Return all that it makes: the executed notebook, and its `figures`."""
        return [self.executed(scale), *self.figures(scale, changes)]

    def error_message(self, scale: str) -> str:
        """The last line of what made it fail."""
        log = self.attempt(scale).with_suffix(".log")
        text = log.read_text(errors="replace") if log.is_file() else ""
        lines = re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n")  # without the colours of a traceback
        return next((line.strip() for line in reversed(lines) if line.strip()), "no message")


def _written_out(name: ast.expr, scale: str, experiments: Sequence[str]) -> list[str]:
    if isinstance(name, ast.BinOp):  # folder / name
        name = name.right
    if not isinstance(name, ast.JoinedStr):
        return [name.value] if isinstance(name, ast.Constant) else []
    from tvae_core.experiments import (  # torch: not for every reader of a title
        read_experiment,
        write_experiment,
    )

    rows = [read_experiment(text, scale) for text in experiments]
    (field,) = {ast.unparse(part.value) for part in name.values if isinstance(part, ast.FormattedValue)}
    values = dict.fromkeys(row.data if field == "data" else file_name(write_experiment(row)) for row in rows)
    parts = [part.value if isinstance(part, ast.Constant) else None for part in name.values]
    return ["".join(value if part is None else part for part in parts) for value in values]


def notebooks(folder: Path = NOTEBOOKS) -> dict[str, Notebook]:
    """All notebooks of a folder, by name, in the order of `place`."""
    found = sorted((Notebook(path) for path in folder.glob("*.ipynb")), key=lambda n: (n.place, n.name))
    return {notebook.name: notebook for notebook in found}


def reproducible(folder: Path = NOTEBOOKS) -> dict[str, Notebook]:
    """Return the notebooks that make a figure or a table, by name; the explorer makes none."""
    return {name: notebook for name, notebook in notebooks(folder).items() if notebook.figures("smoke", {})}
