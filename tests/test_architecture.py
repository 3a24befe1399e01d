"""The order of the rooms: imports are absolute, at the top of the file, and run strictly downwards."""

import ast
from pathlib import Path

import pytest

import tvae_core

ROOMS = sorted(Path(tvae_core.__file__).parent.glob("[!_]*.py"))
LEVELS = [
    "capture choices download draws dsprites_archive files interruption intervals losses paths pause "
    "provenance scales sequences torus warps",
    "devices dsprites grouper metrics mnist networks notebooks style",
    "figures model plots reference schematic status tables",
    "diagram execute film",
    "experiments",
    "variants",
    "evaluation request runs schedule",
    "comparison live refresh scenes step tracking",
    "article train views",
    "export literal",
    "bench",
    "scaling",
    "controls dreams gallery report study sweeps",
    "borders screen stage unseen",
    "explorer panels sketch",
    "reproduce",
    "cli",
]
SLOW = {"torchvision.datasets", "scipy.stats"}  # a second or two, so imported where it is needed
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms.split()}


def imported_rooms(source: str) -> set[str]:
    """The rooms that a module's source imports; AssertionError for an import in a way that is not ours."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    late = {getattr(node, "module", None) for node in imports if node not in tree.body}
    assert late <= SLOW, "an import that is not at the top"
    assert all(getattr(node, "level", 0) == 0 for node in imports), "a relative import"
    assert all(alias.name != "*" for node in imports for alias in node.names), "a star import"
    dotted = {f"{getattr(node, 'module', '')}.{a.name}" for node in imports for a in node.names}
    return {name.split(".")[1] for name in dotted if name.startswith("tvae_core.")}


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: path.stem)
def test_imports_run_downwards(path):
    for room in imported_rooms(path.read_text()):
        assert LEVEL[room] < LEVEL[path.stem], f"{path.stem} imports {room}"


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: path.stem)
def test_a_module_is_at_most_250_lines(path):
    assert len(path.read_text().splitlines()) <= 250


@pytest.mark.parametrize("bad", ["from . import a", "from a import *", "def f():\n    import a"])
def test_the_check_fails_where_it_should(bad):
    with pytest.raises(AssertionError):
        imported_rooms(bad)


def test_the_check_sees_both_ways_of_importing():
    assert imported_rooms("from tvae_core import a, b\nfrom tvae_core.c import d") == {"a", "b", "c"}
