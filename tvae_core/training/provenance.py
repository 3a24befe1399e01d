"""The commit, system and versions that made a result, and the memory that it took."""

import importlib
import importlib.util
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

# Windows has no such account.
resource = importlib.import_module("resource") if importlib.util.find_spec("resource") else None

_PACKAGES = ("tvae_core", "torch", "torchvision", "numpy")


def software() -> dict[str, object]:
    """Return commit, system, Python and the versions of the packages that compute.

    The commit is None outside a checkout, and where git is not installed.
    """
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        commit = ""
    return {
        "commit": commit or None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def peak_memory(children: bool = False) -> int | None:
    """Return the most bytes of memory that this process held; of `children`, the largest that has ended.

    None where the system keeps no account of it.
    """
    if resource is None:
        return None
    whose = resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(whose).ru_maxrss * unit
