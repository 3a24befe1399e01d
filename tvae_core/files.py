"""Where data, runs and figures live, and how a file is written whole or not at all."""

import json
import os
import re
from pathlib import Path

import platformdirs

HOME_VARIABLE = "TVAE_HOME"
DATA_VARIABLE = "TVAE_DATA"
OFFLINE_VARIABLE = "TVAE_OFFLINE"

_CHECKOUT = Path(__file__).resolve().parent.parent
_MOVED = os.environ.get(HOME_VARIABLE)

if _MOVED:
    HOME = Path(_MOVED).expanduser().absolute()
    DATA = HOME / "data"
else:
    in_checkout = (_CHECKOUT / "run_all.sh").is_file()
    HOME = _CHECKOUT / "notebooks" / "results" if in_checkout else platformdirs.user_data_path("tvae")
    DATA = platformdirs.user_cache_path("tvae")

if os.environ.get(DATA_VARIABLE):
    DATA = Path(os.environ[DATA_VARIABLE]).expanduser().absolute()

# Data sets whose originals are not to be asked for, e.g. TVAE_OFFLINE=mnist,dsprites: saves the wait for a
# network known to be dead, and keeps the answer the same for all processes of one call.
OFFLINE = frozenset(os.environ.get(OFFLINE_VARIABLE, "").split(","))

RUNS = HOME / "runs"
FIGURES = HOME / "figures"


def file_name(label: str) -> str:
    """Return a run's label as part of a file name: blanks and everything that a shell reads become `_`."""
    return re.sub(r"[^\w.,=-]+", "_", label).strip("_")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file (text as UTF-8) under a temporary name beside it, then put it in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(unfinished, path)


def write_json(path: Path, value: object) -> None:
    """The same for a value as JSON."""
    write_atomically(path, json.dumps(value, indent=1) + "\n")
