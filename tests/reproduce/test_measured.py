"""README and pictures show what was measured: numbers from notebooks/measured, pictures that are there."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = ROOT / "notebooks"


def rows(text):
    """The cells of the rows of a Markdown table."""
    return [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in text.splitlines() if "|" in line
    ]


def test_the_claims_are_those_measured():
    _, _, *claims = rows((NOTEBOOKS / "measured" / "claims.md").read_text(encoding="utf-8"))
    shown = [row[1:3] for row in rows(README)]
    assert len(claims) == 8
    for _, measured, control, *_ in claims:
        assert [measured, control] in shown


@pytest.mark.parametrize(
    "path", ["README.md", "notebooks/README.md", "tests/README.md", "tvae_core/README.md"]
)
def test_every_linked_file_is_there(path):
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / path).read_text(encoding="utf-8"))
    assert [link for link in links if not (ROOT / path).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("path", sorted((NOTEBOOKS / "pictures").glob("*.webp")), ids=lambda path: path.stem)
def test_a_picture_is_small_and_says_what_it_shows(path):
    assert path.stat().st_size <= 200_000
    words = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    trained = re.search(r"[Ss]cale (long|quick)", words["caption"]) and "Data:" in words["caption"]
    assert words["alt"] and (trained or "nothing trained" in words["caption"])


def test_the_readme_is_short():
    assert len(README.encode()) <= 8_192
