"""pyproject.toml, requirements.lock, environment.yml and what is installed agree."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())
LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line[:1] not in ("", "#")]
LOCKED = [Requirement(line) for line in LINES]
HERE = {canonicalize_name(r.name): r for r in LOCKED if r.marker is None or r.marker.evaluate()}
WANTED = [Requirement(d) for d in PROJECT["dependencies"]] + [
    Requirement(d) for extra in PROJECT["optional-dependencies"].values() for d in extra
]


def pinned(requirement: Requirement) -> str:
    """The one version that a line of the lock file allows."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.mark.parametrize("line", LINES)
def test_every_line_pins_one_version_from_the_index(line):
    assert re.fullmatch(r"[a-z0-9-]+==[\w.+]+( ; .+)?", line)


@pytest.mark.parametrize("wanted", WANTED, ids=str)
def test_every_dependency_is_locked_at_a_version_that_satisfies_it(wanted):
    versions = [pinned(r) for r in LOCKED if canonicalize_name(r.name) == canonicalize_name(wanted.name)]
    assert versions and all(v in wanted.specifier for v in versions)


@pytest.mark.parametrize("name", HERE)
def test_what_is_installed_is_what_is_locked(name):
    assert version(name).partition("+")[0] == pinned(HERE[name])


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_cuda_is_for_linux_alone(system):
    needed = [r for r in LOCKED if r.marker is None or r.marker.evaluate({"sys_platform": system})]
    assert not [r.name for r in needed if r.name.startswith(("nvidia-", "cuda-", "triton"))]


def test_conda_takes_python_from_conda_forge_and_the_rest_from_the_same_lock():
    python, pip, from_pypi = CONDA["dependencies"]
    assert CONDA["name"] == "tvae"
    assert set(CONDA["channels"]) == {"conda-forge", "nodefaults"}
    assert python.partition("=")[2] in SpecifierSet(PROJECT["requires-python"])
    assert pip == "pip"
    assert from_pypi == {"pip": ["-r requirements.lock", "-e ."]}


def test_the_package_installs_its_command():
    assert version("tvae_core") == PROJECT["version"]
    assert PROJECT["scripts"] == {"tvae": "tvae_core.start:tvae"}
