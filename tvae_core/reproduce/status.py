"""How things stand: whether what a notebook makes is there, and was made from what is there now.

The table at the end of a call, `--list` and the report all say it in the same four words.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tvae_core.files import FIGURES, RUNS
from tvae_core.reproduce.notebooks import Notebook

PACKAGE = Path(__file__).parents[1]
_PLACES = ("runs", "figures", "device")  # parameters that say where, not what


class Status(NamedTuple):
    """One word (made, stale, failed or missing), and why it is so."""

    word: str
    why: str = ""


def status(
    notebook: Notebook,
    scale: str,
    parameters: Mapping[str, object] | None = None,
    runs: Iterable[str] | None = None,
) -> Status:
    """Return how the outputs of a notebook stand at a scale.

    `parameters` are those that it is to be made with, and `runs` the folders of the trained runs that it
    needs; None: those that it was made with. Contents decide, not times, which a copy or a checkout changes.
    """
    if error := notebook.error_message(scale):
        return Status("failed", error)
    try:
        record = notebook.record(scale)
    except ValueError as error:
        return Status("stale", str(error))
    if not record and notebook.attempt(scale).is_file():
        return Status("missing", "it was interrupted, or is being made")
    if not record:
        other = notebook.executed(scale).is_file()
        return (
            Status("stale", "its notebook was executed by other means than run_all.sh")
            if other
            else (Status("missing"))
        )
    if absent := [path.name for path in notebook.figures(scale) if not path.is_file()]:
        return Status("missing", f"without {', '.join(absent)}")
    changed = list(_changes(notebook, scale, record, parameters, runs))
    return Status("stale", f"{' and '.join(changed)} changed since") if changed else Status("made")


def _changes(notebook, scale, record, parameters, runs):
    now = input_digests(notebook, record["runs"])
    for name, digest in record["input_digests"].items():
        if digest != now.get(name):
            yield name
    if runs is not None and set(runs) != set(record["runs"]):
        yield "the set of its runs"
    if parameters is not None and _effective(notebook, parameters) != _effective(
        notebook, record["parameters"]
    ):
        yield "the parameters asked for"
    for name, digest in record["files"].items():
        if digest != file_digest(FIGURES / scale / name):
            yield name


def _effective(notebook: Notebook, given: Mapping[str, object]) -> dict[str, object]:
    return {k: v for k, v in {**notebook.parameters, **given}.items() if k not in _PLACES}


def input_digests(notebook: Notebook, runs: Iterable[str]) -> dict[str, str]:
    """Return digests of what a notebook's outputs depend on: itself, the library, its runs' results."""
    results = [file_digest(results_of(run)) for run in sorted(runs)]
    return {
        "the notebook": notebook.digest,
        "the library": library_digest(notebook),
        "a run": _digest(results),
    }


def results_of(run: str) -> Path:
    """Return the file that holds the measures of a run, which is named by its folder or by a pack's file."""
    path = RUNS / run
    return path if path.is_file() else path / "results.json"


def file_digest(path: Path) -> str:
    """Return the digest of a file's contents; "" for a file that is not there."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def library_digest(notebook: Notebook) -> str:
    """Return a digest of the modules and templates that a notebook reaches through imports.

    Comments and docstrings don't count, for they change no figure.
    """
    reached: dict[Path, str] = {}
    waiting = list(_named_in(_normalised(notebook.code), PACKAGE))
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached[path] = _read(path)
            waiting += _named_in(reached[path], path.parent)
    return _digest(text for path in sorted(reached) for text in (path.name, reached[path]))


def _named_in(code: str, folder: Path) -> Iterable[Path]:
    """The files of this package that code imports, or names in quotes: a template, a module of the root."""
    imports = re.findall(rf"^\s*from ({PACKAGE.name}[\w.]*) import (.*)", code, re.MULTILINE)
    modules = [module for module, _ in imports]
    modules += [f"{module}.{name.split()[0]}" for module, names in imports for name in names.split(",")]
    quoted = re.findall(r"'([\w.]+)'", code)
    for module in (*modules, *(f"{PACKAGE.name}.{name}" for name in quoted)):
        path = PACKAGE.parent.joinpath(*module.split("."))
        yield from (p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file())
    yield from (folder / name for name in quoted if name.endswith(".jinja"))


@cache
def _read(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return _normalised(text) if path.suffix == ".py" else text


def _normalised(code: str) -> str:
    """Code without comments, docstrings and line breaks of taste; as it is if it cannot be parsed."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return code
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(getattr(body[0], "value", None), ast.Constant):
            body[0] = ast.Pass()
    return ast.unparse(tree)
