"""How things stand: whether what a notebook makes is there, and was made from what is there now."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tvae_core.files import RUNS
from tvae_core.reproduce.notebooks import Notebook

LIBRARY = sorted(Path(__file__).parents[1].rglob("*.py"))


def input_digests(notebook: Path, runs: Iterable[str]) -> dict[str, str]:
    """Digests of what a notebook's outputs depend on: its own, the library's, and that of the runs' results.

    Contents decide, not times, which a copy or a checkout changes. A run that is gone counts as empty.
    """
    results = (RUNS / run / "results.json" for run in sorted(runs))
    parts = {"the notebook": [notebook], "the library": LIBRARY, "a run": results}
    return {name: _digest(paths) for name, paths in parts.items()}


def _digest(paths: Iterable[Path]) -> str:
    contents = [path.read_bytes() if path.is_file() else b"" for path in paths]
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()


class Status(NamedTuple):
    """One word, and why it is so."""

    word: str  # made, stale, failed or missing
    why: str = ""


def status(notebook: Notebook, scale: str) -> Status:
    """How the outputs of a notebook stand at a scale."""
    attempt = notebook.attempt(scale)
    if attempt.is_file():
        if _failed(attempt):
            return Status("failed", notebook.error_message(scale))
        return Status("missing", "it was interrupted, or is being made")
    missing = [path.name for path in notebook.outputs(scale) if not path.is_file()]
    if missing:
        never = len(missing) == len(notebook.outputs(scale))
        return Status("missing", "" if never else f"without {', '.join(missing)}")
    record = notebook.record(scale)
    if not record:
        return Status("stale", "its notebook was executed by other means than run_all.sh")
    now = input_digests(notebook.path, record["runs"])
    changed = [name for name, digest in record["input_digests"].items() if digest != now[name]]
    return Status("stale", f"{' and '.join(changed)} changed since") if changed else Status("made")


def _failed(attempt: Path) -> bool:
    """Whether papermill noted a cell that failed; a notebook that it was still writing is not read."""
    try:
        return bool(json.loads(attempt.read_text(encoding="utf-8"))["metadata"]["papermill"]["exception"])
    except (ValueError, KeyError):
        return False
