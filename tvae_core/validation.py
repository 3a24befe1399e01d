"""The one sentence a wrong value gets: what it was, what is allowed, and what was probably meant."""

import ast
import difflib
from collections.abc import Iterable
from types import UnionType
from typing import get_args, get_origin, get_type_hints


def check_choice(value: str, allowed: Iterable[str], what: str) -> str:
    """The value itself if it is among the allowed ones; ValueError naming the nearest of them if not."""
    names = list(allowed)
    if value in names:
        return value
    folded = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(value).lower(), folded, n=1, cutoff=0.4)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    raise ValueError(f"{what} {value!r} is not one of {', '.join(names)}{hint}")


_SPELT = {type(None): "None", bool: "bool, True or False", tuple[int, ...]: "tuple, such as (9, 9)"}


def check_types(options: object) -> None:
    """ValueError for the first attribute that is not of the type its annotation names.

    For plain types, unions of them, and tuples of positive whole numbers. An int where a float belongs
    becomes one.
    """
    for option, hint in get_type_hints(type(options)).items():
        value = getattr(options, option)
        hints = get_args(hint) if isinstance(hint, UnionType) else (hint,)
        kinds = {get_origin(h) or h for h in hints}
        kinds |= {int} if float in kinds else set()
        if tuple in kinds and type(value) is list:  # as JSON has it
            value = tuple(value)
            object.__setattr__(options, option, value)
        if type(value) not in kinds:
            wanted = " or ".join(_SPELT.get(h, getattr(h, "__name__", str(h))) for h in hints)
            raise ValueError(f"{option} is {value!r}, but must be of type {wanted}")
        if float in kinds and type(value) is int:
            object.__setattr__(options, option, float(value))  # 30 and 30.0 are one value
        if tuple in kinds and not all(type(item) is int and item > 0 for item in value):
            raise ValueError(f"{option} is {value!r}, but must hold positive whole numbers")


def parse_numbers(text: str, what: str) -> list[int]:
    """The whole numbers in a list such as `0, 3-5`, each once. ValueError for anything else."""
    found: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = (piece.strip() for piece in part.replace("–", "-").partition("-"))
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ValueError(f"{what} {text!r} is not a list of whole numbers such as 0, 3-5")
        found |= dict.fromkeys(range(int(first), int(last if dash else first) + 1))
    return list(found)


def parse_setting(text: str) -> tuple[str, object]:
    """Key and value of `key=value`; the value is read as Python, or else as text. ValueError without `=`."""
    key, equals, written = text.partition("=")
    if not equals:
        raise ValueError(f"--set {text!r} is not of the form key=value")
    try:
        return key, ast.literal_eval(written)
    except (ValueError, SyntaxError):
        return key, written
