"""Values to compare with, as a user enters them in notebooks/reference.csv; it ships without any."""

import codecs
import csv
import math
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from tvae_core.reproduce.notebooks import NOTEBOOKS
from tvae_core.validation import check_choice

REFERENCE = NOTEBOOKS / "reference.csv"
_FIELDS = ["experiment", "measure", "value"]
_MINUS = str.maketrans(dict.fromkeys("−–‒﹣－", "-"))  # as tables and spreadsheets write it


def read_reference(
    experiments: Iterable[str], measures: Iterable[str], path: Path = REFERENCE
) -> dict[tuple[str, str], float]:
    """Return the value by experiment and measure, from a file as people or spreadsheets write it.

    It may be UTF-8, UTF-16 or Latin-1, separated by commas, semicolons (then with decimal commas) or tabs.
    Rows whose first field begins with # are comments; rows without text say nothing. Raises ValueError, with
    file and line, for a name that is not among `experiments` or `measures` (with the nearest that is), for a
    value that is no number, and for a row that gives a second value.
    """
    found: dict[tuple[str, str], float] = {}
    lines = _text(path).splitlines() if path.is_file() else []
    said = next((line for line in lines if line.strip() and line.strip(' "')[:1] != "#"), "")
    separator = max(",;\t", key=said.count)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for row in reader:
        fields = [unicodedata.normalize("NFKC", field).strip() for field in row]
        while fields and not fields[-1]:
            fields.pop()
        if not fields or fields[0].startswith("#") or [field.lower() for field in fields] == _FIELDS:
            continue
        where = f"{path.parent.name}/{path.name}, line {reader.line_num}"
        if len(fields) != len(_FIELDS):
            raise ValueError(f"{where}: {separator.join(row)!r} does not have the fields {','.join(_FIELDS)}")
        key = (
            check_choice(fields[0], experiments, f"{where}: experiment"),
            check_choice(fields[1], measures, f"{where}: measure"),
        )
        if key in found:
            raise ValueError(f"{where}: {', '.join(key)} has a value already, {found[key]}")
        found[key] = _number(fields[2], separator, where)
    return found


def _text(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _number(text: str, separator: str, where: str) -> float:
    plain = text.translate(_MINUS)
    try:
        value = float(plain if separator == "," else plain.replace(",", "."))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: value {text!r} is not a number such as 13271.5")
    return value
