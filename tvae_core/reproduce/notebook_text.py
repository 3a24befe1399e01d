"""The text and numbers of an executed notebook as HTML: without its code and its pictures."""

import json
from pathlib import Path
from typing import NamedTuple

import mistune
from markupsafe import Markup, escape


class Article(NamedTuple):
    """The text of a notebook: before its figure, in between, and from its last paragraph on."""

    lead: Markup = Markup()
    middle: Markup = Markup()
    conclusion: Markup = Markup()


class _Renderer(mistune.HTMLRenderer):
    """Headings belong to the page; a table has a scope for each heading, and scrolls where it must."""

    def heading(self, text: str, level: int, **_: object) -> str:
        return "" if level == 1 else f"<p><strong>{text}</strong></p>\n"

    def table(self, text: str) -> str:
        return f'<div class="wide" tabindex="0">\n<table>\n{text}</table></div>\n'

    def table_cell(self, text: str, align: str | None = None, head: bool = False) -> str:
        tag = 'th scope="col"' if head and text else "td"
        style = f' class="{align}"' if align else ""
        return f"<{tag}{style}>{text}</{tag[:2]}>\n"


_markdown = mistune.create_markdown(renderer=_Renderer(escape=True), plugins=["table"])


def read_article(path: Path, with_tables: bool = True) -> Article:
    """Return the article of an executed notebook, with its tables or without, and without its exercise."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = [cell for cell in cells if "exercise" not in cell["metadata"].get("tags", [])]
    drawn = next((i for i, cell in enumerate(cells) if _has_picture(cell)), len(cells))
    paragraphs = [i for i, cell in enumerate(cells) if cell["cell_type"] == "markdown" and i > drawn]
    last = paragraphs[-1] if paragraphs else len(cells)
    parts = (cells[:drawn], cells[drawn:last], cells[last:])
    return Article(*(Markup("").join(_html(cell, with_tables) for cell in part) for part in parts))


def _has_picture(cell: dict) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def _html(cell: dict, with_tables: bool) -> Markup:
    if cell["cell_type"] == "markdown":
        return Markup(_markdown("".join(cell["source"])))
    return Markup("").join(_output(output, with_tables) for output in cell.get("outputs", []))


def _output(output: dict, with_tables: bool) -> Markup:
    if output["output_type"] == "stream" and output["name"] == "stdout":
        return Markup('<pre tabindex="0">') + escape("".join(output["text"])) + Markup("</pre>\n")
    words = "".join(output.get("data", {}).get("text/markdown", ""))
    return Markup() if words.startswith("|") and not with_tables else Markup(_markdown(words))
