"""The house: who may import whom (import-linter's contracts in pyproject.toml), and how large a module is."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tvae_core

ROOT = Path(tvae_core.__file__).parents[1]
MODULES = sorted(Path(tvae_core.__file__).parent.rglob("*.py"))
SLOW = {  # a second or more, so imported where they are needed
    "scipy.stats",
    "torchvision.datasets",
    "torchvision.datasets.utils",
    "tvae_core.benchmark.step_time",
    "tvae_core.explorer.export",
    "tvae_core.explorer.live",
}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def check_imports(source: str) -> None:
    """AssertionError for an import in a way that is not ours."""
    tree = ast.parse(source)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    late = {getattr(node, "module", None) for node in imports if node not in tree.body}
    assert late <= SLOW, "an import that is not at the top"
    assert all(getattr(node, "level", 0) == 0 for node in imports), "a relative import"
    assert all(alias.name != "*" for node in imports for alias in node.names), "a star import"


def test_imports_run_downwards():
    linter = Path(sys.executable).with_name("lint-imports")  # a process of its own: it sets up logging anew
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_a_module_imports_plainly_and_is_at_most_250_lines(path):
    check_imports(path.read_text())
    assert len(path.read_text().splitlines()) <= 250


@pytest.mark.parametrize("path", sorted(ROOT.glob("tvae_core/*/__init__.py")), ids=named)
def test_a_wing_opens_without_importing_anything(path):
    assert path.read_text() == ""


@pytest.mark.parametrize("bad", ["from . import a", "from a import *", "def f():\n    import a"])
def test_the_check_fails_where_it_should(bad):
    with pytest.raises(AssertionError):
        check_imports(bad)
