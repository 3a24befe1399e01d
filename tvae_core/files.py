"""Files that others see whole or not at all."""

import json
import os
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file (text as UTF-8) under a temporary name beside it, then put it in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(unfinished, path)


def write_json(path: Path, value: object) -> None:
    """The same for a value as JSON."""
    write_atomically(path, json.dumps(value, indent=1) + "\n")
