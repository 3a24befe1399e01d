"""Values to compare with, as a user enters them in notebooks/reference.csv; it ships without any."""

import codecs
import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator
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
    A row that names the three fields says in which columns they stand; other columns are not read. Rows whose
    first field begins with # are comments; rows without text say nothing. Raises ValueError, with file and
    line, for a name that is not among `experiments` or `measures` (with the nearest that is), for a value
    that is no number, and for a row that gives another value.
    """
    found: dict[tuple[str, str], float] = {}
    columns, width = range(len(_FIELDS)), len(_FIELDS)
    for where, separator, row in _rows(path):
        words = [field.lower() for field in row]
        if set(_FIELDS) <= set(words):
            columns, width = [words.index(field) for field in _FIELDS], len(words)
            continue
        fields = [row[column] for column in columns if column < len(row) and row[column]]
        if len(fields) < len(_FIELDS) or (len(row) > width and row[width][:1] != "#"):
            raise ValueError(f"{where}: {separator.join(row)!r} does not have the fields {','.join(_FIELDS)}")
        experiment = check_choice(fields[0], experiments, f"{where}: experiment")
        measure = check_choice(fields[1], measures, f"{where}: measure")
        value = _number(fields[2], separator, where)
        known = found.setdefault((experiment, measure), value)
        if known != value:
            raise ValueError(f"{where}: {experiment}, {measure} has another value already, {known}")
    return found


def _rows(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """The rows that say something, each with its file and line and the separator."""
    lines = _text(path).splitlines() if path.is_file() else []
    said = next((line for line in lines if line.strip() and line.strip(' "')[:1] != "#"), "")
    separator = max(",;\t", key=said.count)
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for row in reader:
        fields = [unicodedata.normalize("NFKC", field).strip() for field in row]
        while fields and not fields[-1]:
            fields.pop()
        if fields and not fields[0].startswith(("#", "sep=")):  # the latter is a spreadsheet's own hint
            yield f"{path.parent.name}/{path.name}, line {reader.line_num}", separator, fields


def _text(path: Path) -> str:
    content = path.read_bytes()
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    if "\0" in text or len(text) > csv.field_size_limit():
        raise ValueError(f"{path.parent.name}/{path.name} is no table in text: save it as CSV in UTF-8")
    return text


def _number(text: str, separator: str, where: str) -> float:
    plain = re.sub(r"(?<=\d)[ '’](?=\d{3})", "", text.translate(_MINUS))
    marks = re.findall("[.,]", plain)
    if len(set(marks)) == 2 and marks.count(marks[-1]) == 1:  # 13,271.5 or 13.271,5
        plain = plain.replace(marks[0], "").replace(",", ".")
    elif separator != ",":
        plain = plain.replace(",", ".")
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?", plain, re.ASCII | re.IGNORECASE):
        raise ValueError(f"{where}: value {text!r} is not a number such as 13271.5")
    return float(plain)
