"""One page with every figure and table of a scale, and what each was made from: report.html.

It holds all that it shows, so it opens from disk without a network.
"""

import base64
import csv
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from tvae_core.files import FIGURES, PAGES, RUNS, write_atomically
from tvae_core.plotting.tables import FIELDS, UNDEFINED, number
from tvae_core.reproduce.notebook_text import Article, read_article
from tvae_core.reproduce.notebooks import Notebook
from tvae_core.reproduce.status import Status, file_digest, results_of, status
from tvae_core.store import read_about

Reference = Mapping[tuple[str, str], float]
MINUTES = "A notebook's minutes count the training of its runs; a run that several need is trained once."
OPENING = ("fig4", "claims")  # what the page begins with
MARKS = {"made": "●", "stale": "◐", "failed": "✕", "missing": "○"}  # told apart without colours


@dataclass(frozen=True)
class Item:
    """A figure or table at a scale: what there is of it, and what it was made from.

    What cannot be read is left out, and named in `problems`.
    """

    notebook: Notebook
    scale: str
    status: Status
    problems: dict[Path, str] = field(default_factory=dict)

    def _read(self, read: Callable[[Path], object], path: Path) -> list:
        try:
            return [read(path)] if path.is_file() else []
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SyntaxError) as error:
            self.problems[path] = f"{path} cannot be read ({error!r}); delete it and call again"
            return []

    @cached_property
    def record(self) -> dict[str, object]:
        """Return what the executed notebook says of itself."""
        return next(iter(self._read(lambda _: self.notebook.record(self.scale), self._executed)), {})

    @property
    def _executed(self) -> Path:
        return self.notebook.executed(self.scale)

    @cached_property
    def article(self) -> Article:
        """Return the words and numbers of the executed notebook."""
        found = self._read(lambda path: read_article(path, with_tables=not self.tables), self._executed)
        return found[0] if found else Article()

    @cached_property
    def _files(self) -> list[Path]:
        names = self.record.get("files", {})
        return [path for path in (FIGURES / self.scale / name for name in names) if path.is_file()]

    @cached_property
    def tables(self) -> list[dict[str, object]]:
        """Return the tables that it wrote (tables.comma_separated), each with cells and caption."""
        found = [t for path in self._files if path.suffix == ".csv" for t in self._read(read_table, path)]
        return [table for table in found if table["cells"] and set(table["cells"][0]) == set(FIELDS)]

    @cached_property
    def pictures(self) -> list[dict[str, object]]:
        """Return its figures (read_figure); a table stands on the page as text, not as a picture."""
        named = {path.stem for path in self._files if path.suffix == ".csv"} if self.tables else set()
        drawn = [path for path in self._files if path.suffix == ".png" and path.stem not in named]
        return [picture for path in drawn for picture in self._read(read_figure, path)]

    @cached_property
    def runs(self) -> list[dict[str, object]]:
        """Return the provenance of the runs that it needed, with experiment and seed, where it is there."""
        found = []
        for folder, (experiment, seed) in self.record.get("runs", {}).items():
            results = results_of(folder)
            path = results.with_name("provenance.json") if results.parent == RUNS / folder else results
            for about in self._read(_read_provenance, path):
                where = self._way_to(results)
                found.append({"seconds": 0.0, **about, "experiment": experiment, "seed": seed, "link": where})
        return found

    @property
    def seeds(self) -> dict[str, list[int]]:
        """Return the seeds of each experiment."""
        names = dict.fromkeys(run["experiment"] for run in self.runs)
        return {name: [run["seed"] for run in self.runs if run["experiment"] == name] for name in names}

    def recorded(self, key: str) -> list:
        """Return what the provenance of its runs says under a key, each once."""
        return [value for value in dict.fromkeys(run.get(key) for run in self.runs) if value]

    @property
    def seconds(self) -> float:
        """Return what the notebook and the training of its runs took."""
        return self.record.get("seconds", 0.0) + sum(run["seconds"] for run in self.runs)

    @property
    def files(self) -> list[str]:
        """Return what lies beside the page, by the way that leads there from it."""
        return [self._way_to(path) for path in (self._executed, *self._files) if path.is_file()]

    def _way_to(self, path: Path) -> str:
        return Path(os.path.relpath(path, FIGURES / self.scale)).as_posix()

    @property
    def command(self) -> str:
        """Return the command that makes it again, just so."""
        return self.notebook.command(self.scale, self.record.get("parameters", {}))


def _read_json(path: Path) -> dict[str, object]:
    said = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(said, dict):
        raise ValueError(f"{said!r:.20} in place of a table of names")
    return said


def _read_provenance(path: Path) -> dict[str, object]:
    return _read_json(path) if path.suffix == ".json" else read_about(path)["provenance"]


def _words(path: Path) -> dict[str, str]:
    words = path.with_suffix(".json")
    return {"alt": "", "caption": "", **(_read_json(words) if words.is_file() else {})}


def read_table(path: Path) -> dict[str, object]:
    """Return a table's shown cells, one a line as in its file, with the caption that lies beside it."""
    cells = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return {"cells": [cell for cell in cells if cell.get("shown") != "0"], "caption": _words(path)["caption"]}


def read_figure(path: Path) -> dict[str, object]:
    """Return a figure that style.save wrote, with its size, its words, and the PDF and page beside it."""
    with Image.open(path) as image:
        image.load()
        size = dict(zip(("width", "height"), image.size, strict=True))
    page, pdf = path.with_suffix(".html"), path.with_suffix(".pdf")
    slider = page.read_text(encoding="utf-8") if page.is_file() else ""
    beside = {"pdf": pdf.name if pdf.is_file() else "", "slider": slider}
    return {"path": path, "digest": file_digest(path), **size, **_words(path), **beside}


def embedded(path: Path) -> str:
    """Return a PNG as a data URI of a quarter of its size: WebP in a quality that shows no difference."""
    with Image.open(path) as image, io.BytesIO() as small:
        image.convert("RGB").save(small, "WEBP", quality=90, method=2)
        return "data:image/webp;base64," + base64.b64encode(small.getvalue()).decode()


def pivot(cells: Sequence[dict[str, str]], reference: Reference) -> tuple[list[dict], list[dict]]:
    """Return columns and rows of a table, with a reference and a difference where one is known."""
    columns: dict[str, dict] = {}
    for cell in cells:
        known = not int(cell["control"]) and (cell["experiment"], cell["measure"]) in reference
        column = columns.setdefault(cell["measure"], {**cell, "compared": False})
        column["compared"] |= known
    rows, width = [], len(columns)
    for first in range(0, len(cells), width):
        line = cells[first : first + width]
        shown = [_shown(cell, columns[cell["measure"]]["compared"], reference) for cell in line]
        rows.append({"label": line[0]["row"], "control": int(line[0]["control"]), "cells": shown})
    return list(columns.values()), rows


def _shown(cell: dict[str, str], compared: bool, reference: Reference) -> dict[str, object]:
    decimals = int(cell["decimals"])
    ends = [number(float(cell[end]), decimals) for end in ("low", "high") if cell[end]]
    known = None if int(cell["control"]) else reference.get((cell["experiment"], cell["measure"]))
    difference = None if known is None or not cell["mean"] else float(cell["mean"]) - known
    return {
        "mean": number(float(cell["mean"]), decimals) if cell["mean"] else UNDEFINED,
        "sd": number(float(cell["sd"]), decimals) if cell["sd"] else "",
        "seeds": int(cell["seeds"]),
        "interval": "; ".join(ends),
        "compared": compared,
        "reference": "" if known is None else number(known, decimals),
        "difference": "" if difference is None else f"{'+' * (difference > 0)}{number(difference, decimals)}",
    }


def render_page(scale: str, items: Sequence[Item], reference: Reference) -> str:
    """Return the page, the same text for the same files, with the digest of each picture in its place."""
    loader = PackageLoader("tvae_core.reproduce", ".")
    options = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    environment = Environment(loader=loader, autoescape=True, **options)
    environment.globals |= {"pivot": lambda cells: pivot(cells, reference), "marks": MARKS}
    environment.globals["pages"] = os.path.relpath(PAGES, FIGURES / scale) if PAGES.is_file() else ""
    environment.globals |= {"minutes": minutes, "gigabytes": gigabytes, "MINUTES": MINUTES}
    environment.globals["OPENING"] = OPENING
    return environment.get_template("report.html.jinja").render(scale=scale, items=items)


def minutes(seconds: float) -> str:
    """Return seconds as minutes, to a tenth."""
    return f"{seconds / 60:,.1f}"


def gigabytes(sizes: Iterable[int | None]) -> str:
    """Return the largest of some sizes in bytes."""
    known = [size for size in sizes if size]
    return f"{max(known) / 1e9:.1f} GB" if known else "not recorded"


def report(
    scale: str, notebooks: Iterable[Notebook], reference: Reference, noted: Mapping[str, str]
) -> tuple[Path, list[str]]:
    """Write the report of a scale if it would differ from the one that is there.

    `noted` says, by notebook, why something was not made in this call where its files alone don't tell.
    Returns the path of the page, and a sentence for each file that could not be read.
    """
    items = []
    for notebook in notebooks:
        word, why = status(notebook, scale)
        items.append(
            Item(notebook, scale, Status(word, noted.get(notebook.name, why) if word == "missing" else why))
        )
    page, path = render_page(scale, items, reference), FIGURES / scale / "report.html"
    last_line = f"<!-- {hashlib.sha256(page.encode()).hexdigest()} -->\n"
    if not path.is_file() or not path.read_bytes().endswith(last_line.encode()):
        for picture in (picture for item in items for picture in item.pictures):
            source = f'src="{picture["digest"]}"'
            page = page.replace(source, source.replace(picture["digest"], embedded(picture["path"])))
        write_atomically(path, f"{page}\n{last_line}")
    return path, [problem for item in items for problem in item.problems.values()]
