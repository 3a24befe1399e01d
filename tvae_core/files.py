"""Where data, runs and figures live, and how a file is written whole or not at all."""

import csv
import errno
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import platformdirs

HOME_VARIABLE = "TVAE_HOME"
DATA_VARIABLE = "TVAE_DATA"
OFFLINE_VARIABLE = "TVAE_OFFLINE"  # data sets that the network is not asked for: mnist,dsprites


def _first_usable(*folders: Path) -> Path:
    """The first of these folders that can be written to or made; the last one if there is none."""

    def usable(folder: Path) -> bool:
        there = next((p for p in (folder, *folder.parents) if p.exists()), folder)
        return folder.is_absolute() and os.access(there, os.W_OK)  # a user without a home has "~" for one

    return next(filter(usable, folders), folders[-1])


def _named(variable: str) -> Path | None:
    """The folder that an environment variable names."""
    value = os.environ.get(variable)
    return Path(value).expanduser().absolute() if value else None


_CHECKOUT = Path(__file__).resolve().parent.parent
_OWN = _CHECKOUT / "notebooks" / "results" if (_CHECKOUT / "run_all.sh").is_file() else None

_MOVED = _named(HOME_VARIABLE)
HOME = _MOVED or _OWN or _first_usable(platformdirs.user_data_path("tvae"), Path.cwd() / "tvae")
DATA = HOME / "data" if _MOVED else _first_usable(platformdirs.user_cache_path("tvae"), HOME / "data")
DATA = _named(DATA_VARIABLE) or DATA
RUNS = HOME / "runs"
FIGURES = HOME / "figures"
PAGES = HOME / "pages" / "tvae_core.html"  # of the library (reproduce.pages)
DOWNLOADED_PACKS = HOME / "packs"
PACKS = _CHECKOUT / "notebooks" / "packs" if _OWN else DOWNLOADED_PACKS  # those of this repository


def file_name(label: str) -> str:
    """Return a run's label as part of a file name: blanks and everything that a shell reads become `_`."""
    return re.sub(r"[^\w.,=-]+", "_", label).strip("_")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give the block another path to write to, beside `path`, and put the finished file in place after it.

    The file is on the disk before it gets its name. A block that raises leaves `path` as it was. Raises
    FileExistsError for a folder, and for a device, which a file would take the place of.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "what is there is no plain file, and is kept", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{os.getpid()}-{path.name}")  # keeps the suffix, from which writers choose
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:  # a full disk names no file
        if error.errno is None or error.filename not in (None, str(unfinished)):
            raise
        raise OSError(error.errno, f"{error.strerror}; what was there is kept", str(path)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Remove what killed processes left of writing `path`; `folder/*` stands for all files of a folder.

    To be called by whoever holds its lock.
    """
    for unfinished in path.parent.glob(f".[0-9]*-{path.name}"):
        unfinished.unlink(missing_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file, text as UTF-8, whole or not at all."""
    with atomic(path) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as CSV, whole or not at all, a column for each key; empty where a row has none."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON, whole or not at all."""
    write_atomically(path, json.dumps(value, indent=1) + "\n")
