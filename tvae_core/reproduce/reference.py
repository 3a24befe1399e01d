"""Values to compare with, as a user enters them in notebooks/reference.csv; it ships without any."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path

from tvae_core.reproduce.notebooks import NOTEBOOKS
from tvae_core.validation import check_choice

REFERENCE = NOTEBOOKS / "reference.csv"
_FIELDS = ["experiment", "measure", "value"]


def read_reference(
    experiments: Iterable[str], measures: Iterable[str], path: Path = REFERENCE
) -> dict[tuple[str, str], float]:
    """Value by experiment and measure; lines that begin with # are comments.

    Raises ValueError, naming the line, for a name that is not among `experiments` or `measures` (with the
    nearest that is), for a value that is no number, and for a line that says something a second time.
    """
    found: dict[tuple[str, str], float] = {}
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if path.is_file() else ()
    told = [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith("#")]
    for number, line in told:
        where = f"{path.name}, line {number}"
        fields = [field.strip() for field in next(csv.reader([line]))]
        if len(fields) != len(_FIELDS):
            raise ValueError(f"{where}: {line!r} does not have the fields {','.join(_FIELDS)}")
        if fields == _FIELDS:
            continue
        key = (
            check_choice(fields[0], experiments, f"{where}: experiment"),
            check_choice(fields[1], measures, f"{where}: measure"),
        )
        if key in found:
            raise ValueError(f"{where}: {', '.join(key)} has a value already, {found[key]}")
        found[key] = _number(fields[2], where)
    return found


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: value {text!r} is not a number such as 13271.5")
    return value
