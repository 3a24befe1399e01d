"""The text and numbers of an executed notebook as HTML: without its code and its pictures."""

import json
import re
from pathlib import Path
from typing import NamedTuple

import mistune
from markupsafe import Markup, escape

_ASIDE = {"exercise", "picture"}  # tags of cells that say nothing about this run

# Stands in the first cell of every notebook that trains in seconds as stored; the page says it itself.
SMOKE = (
    "**At scale `smoke` the figures show noise**, since so few steps teach nothing. Use `quick` or `long`."
)


class Article(NamedTuple):
    """The text of a notebook: before its figure, in between, and from its last paragraph on."""

    lead: Markup = Markup()
    middle: Markup = Markup()
    conclusion: Markup = Markup()


class _Renderer(mistune.HTMLRenderer):
    """Headings belong to the page; a cell of a table says under which heading it stands."""

    def __init__(self, **options: object):
        super().__init__(**options)
        self._heads: list[str] = []  # of the table that is being written
        self._cells = 0

    def heading(self, text: str, level: int, **_: object) -> str:
        return "" if level == 1 else f"<p><strong>{text}</strong></p>\n"

    def link(self, text: str, url: str, title: str | None = None) -> str:
        """Return a link; one to another notebook leads to its place on the page."""
        name, dot, rest = url.rpartition(".ipynb")
        return super().link(text, f"#{name}" if dot and not rest else url, title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Return nothing: the page has the figures of its own scale."""
        return ""

    def table(self, text: str) -> str:
        self._heads, self._cells = [], 0
        return f'<div class="wide" tabindex="0">\n<table role="table">\n{text}</table></div>\n'

    def table_row(self, text: str) -> str:
        return f'<tr role="row">\n{text}</tr>\n'

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        style = f' class="{align}"' if align else ""
        if head:
            self._heads.append(text)
            tag, role = 'th scope="col"' if text else "td", "columnheader" if text else "cell"
            return f'<{tag}{style} role="{role}">{text}</{tag[:2]}>\n'
        label = re.sub("<[^>]*>", "", self._heads[self._cells % len(self._heads)])
        self._cells += 1
        return f'<td{style} role="cell" data-label="{label}">{text}</td>\n'


_markdown = mistune.create_markdown(renderer=_Renderer(escape=True), plugins=["table"])


def read_article(path: Path, with_tables: bool = True) -> Article:
    """Return the article of an executed notebook, with its tables or without, and without its exercise.

    Nor does it have the picture of another run.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = [cell for cell in cells if not _ASIDE & set(cell["metadata"].get("tags", []))]
    drawn = next((i for i, cell in enumerate(cells) if _has_picture(cell)), None)
    after = 0 if drawn is None else drawn
    paragraphs = [i for i, cell in enumerate(cells) if cell["cell_type"] == "markdown" and i > after]
    last = paragraphs[-1] if paragraphs else len(cells)
    drawn = last if drawn is None else drawn
    parts = (cells[:drawn], cells[drawn:last], cells[last:])
    return Article(*(Markup("").join(_html(cell, with_tables) for cell in part) for part in parts))


def _has_picture(cell: dict) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def _html(cell: dict, with_tables: bool) -> Markup:
    if cell["cell_type"] == "markdown":
        return Markup(_markdown("".join(cell["source"]).replace(SMOKE, "")))  # noqa: S704  (the renderer escapes)
    return Markup("").join(_output(output, with_tables) for output in cell.get("outputs", []))


def _output(output: dict, with_tables: bool) -> Markup:
    if output["output_type"] == "stream" and output["name"] == "stdout":
        return Markup('<pre tabindex="0">') + escape("".join(output["text"])) + Markup("</pre>\n")
    words = "".join(output.get("data", {}).get("text/markdown", ""))
    return Markup() if words.startswith("|") and not with_tables else Markup(_markdown(words))  # noqa: S704
