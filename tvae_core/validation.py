"""Check values that users write: an error names the value, what is allowed and the nearest valid name."""

import ast
import difflib
import functools
import math
import os
import re
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Union, get_args, get_origin, get_type_hints

Check = Callable[[str, object], object]  # of an option's name and value; raises ValueError

MOST_NUMBERS = 10_000  # that a list such as 0-99 may stand for


def one_line(error: Exception) -> str:
    """Return what an error says in one line: of a file's error the file first, and long words cut short."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    return re.sub(r"\S{200,}", lambda word: f"{word[0][:100]}…", " ".join(text.split()))


def check_choice(value: str, allowed: Iterable[str], what: str) -> str:
    """Return the value if it is among the allowed ones; ValueError naming the nearest of them if not.

    >>> check_choice("quik", ["smoke", "quick"], "scale")
    Traceback (most recent call last):
    ValueError: scale 'quik' is not one of smoke, quick; did you mean 'quick'?
    """
    names = list(allowed)
    if value in names:
        return value
    folded = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(value).lower(), folded, n=1, cutoff=0.4)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    raise ValueError(f"{what} {_shown(value)} is not one of {', '.join(names)}{hint}")


def one_of(allowed: Iterable[str]) -> Check:
    """Return the check that a value is among the allowed ones."""
    return lambda option, value: check_choice(value, allowed, option)


def between(least: int | float, most: int | float = math.inf, above: bool = False) -> Check:
    """Return the check that a number lies in a range; `above` leaves out `least` itself."""

    def check(option: str, value: int | float) -> None:
        if not least <= value <= most or (above and value == least):
            low = "above" if above else "at least"
            bound = f"at most {most}" if value > most else f"{low} {least}"
            raise ValueError(f"{option} is {value}, but must be {bound}")

    return check


def matching(pattern: str, words: str) -> Check:
    """Return the check that a text is of a pattern; `words` say which."""

    def check(option: str, value: str) -> None:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{option} is {_shown(value)}, but must be {words}")

    return check


def obstacle(folder: str | os.PathLike) -> str:
    """Return the nearest path at or above a folder that exists and is no folder; "" if there is none."""
    place = os.path.abspath(folder)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    return "" if os.path.isdir(place) else place


def check_place(path: Path) -> None:
    """Raise ValueError if no file can be put at a path; to be called before the work that makes the file."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file in it")
    if os.path.lexists(path) and not path.is_file():
        raise ValueError(f"{path} is not a plain file, so it is not written over")
    if place := obstacle(path.parent):
        raise ValueError(f"{path} cannot be written, since {place} is not a folder")


def check_number(
    what: str, value: object, least: int | float = -math.inf, most: int | float = math.inf
) -> int:
    """Return a whole number if it lies in a range. Raises ValueError, naming it, for anything else.

    >>> check_number("anchor", 18, 0, 17)
    Traceback (most recent call last):
    ValueError: anchor is 18, but must be at most 17
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{what} is {_shown(value)}, but must be a whole number")
    between(least, most)(what, value)
    return int(value)


def check_real(what: str, value: object, least: int | float = -math.inf, above: bool = False) -> float:
    """Return a finite number if it is `least` or more, or `above` it. Raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{what} is {_shown(value)}, but must be a finite number")
    between(least, above=above)(what, value)
    return float(value)


def _shown(value: object) -> str:
    return " ".join(repr(value).split())[:100]


def check_tensors(**tensors: tuple[object, str]) -> dict[str, int]:
    """Check the kinds and shapes of tensors, `name=(tensor, "float B S C D")`; return each axis's size.

    The first word is float, whole or number (either); the others are the axes (`...`: any). A number is a
    size, and axes of one name have one size in all of them. No value is read, so no device is waited for.
    Raises ValueError.
    """
    sizes: dict[str, int] = {}
    for name, (tensor, wanted) in tensors.items():
        kind, *axes = wanted.split()
        shape = ", ".join(axes) + "," * (len(axes) == 1)
        if not hasattr(tensor, "is_floating_point"):
            raise ValueError(f"{name} is a {type(tensor).__name__}, but must be a tensor ({shape})")
        real = tensor.is_floating_point()
        whole = str(tensor.dtype) in ("torch.int32", "torch.int64")  # by which torch can index
        if not {"float": real, "whole": whole, "number": real or whole}[kind]:
            of = {"float": "fractions, such as torch.float32", "whole": "whole numbers, such as torch.int64"}
            raise ValueError(f"{name} holds {tensor.dtype}, but must hold {of.get(kind, 'numbers')}")
        if axes == ["..."]:
            continue
        if 0 in tensor.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, which holds nothing")
        known = [
            int(axis) if axis.isdecimal() else sizes.setdefault(axis, size)
            for axis, size in zip(axes, tensor.shape, strict=False)
        ]
        if known != list(tensor.shape) or len(known) != len(axes):
            fixed = [f"{axis} = {sizes[axis]}" for axis in dict.fromkeys(axes) if axis in sizes]
            given = f", with {', '.join(fixed)}" * (len(known) == len(axes) and bool(fixed))
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, but must be ({shape}){given}")
    return sizes


def check_values(least: int | float = -math.inf, most: int | float = math.inf, **tensors: object) -> None:
    """Raise ValueError for a tensor on the CPU with values that are not numbers or not in a range."""
    for name, tensor in tensors.items():
        if tensor.device.type != "cpu" or not tensor.numel():  # another device would have to be waited for
            continue
        low, high = (value.item() for value in tensor.detach().aminmax())
        if not math.isfinite(low) or not math.isfinite(high):
            raise ValueError(f"{name} holds values that are not finite numbers (nan or inf)")
        if low < least or high > most:
            bounds = f"from {least:g} to {most:g}" if most < math.inf else f"at least {least:g}"
            raise ValueError(f"{name} has values from {low:g} to {high:g}, but they must be {bounds}")


@functools.cache
def _rules(kind: type) -> dict[str, tuple[list, list[Check]]]:
    """For each attribute of a class the types and the checks that its annotation names."""
    rules = {}
    for option, hint in get_type_hints(kind, include_extras=True).items():
        hints = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        checked = [h for h in hints if get_origin(h) is Annotated]
        types = [get_args(h)[0] if h in checked else h for h in hints]
        rules[option] = types, [check for h in checked for check in h.__metadata__]
    return rules


def check_options(options: object) -> None:
    """Check the attributes of an object by their annotations: plain types, unions, `Annotated[type, check]`.

    A whole number where a float belongs becomes one; so does a list where a tuple belongs. Floats are finite
    and tuples hold positive whole numbers. Raises ValueError for the first attribute that is not so.
    """
    for option, (types, checks) in _rules(type(options)).items():
        value = _of_type(option, getattr(options, option), types)
        object.__setattr__(options, option, value)
        for check in checks if value is not None else ():
            check(option, value)


_SPELT = {NoneType: "None", bool: "bool, True or False", tuple[int, ...]: "tuple, such as (9, 9)"}


def _of_type(option: str, value: object, types: list) -> object:
    kinds = {get_origin(t) or t for t in types}
    if tuple in kinds and type(value) is list:  # as JSON has it
        value = tuple(value)
    if float in kinds and type(value) is int:  # 30 and 30.0 are one value
        value = float(value) if abs(value) < 1e300 else math.inf
    if type(value) not in kinds:
        wanted = " or ".join(_SPELT.get(t, getattr(t, "__name__", str(t))) for t in types)
        raise ValueError(f"{option} is {_shown(value)}, but must be of type {wanted}")
    if type(value) is float and not math.isfinite(value):
        raise ValueError(f"{option} is {value}, but must be a finite number")
    if type(value) is tuple and not all(type(item) is int and item > 0 for item in value):
        raise ValueError(f"{option} is {_shown(value)}, but must hold positive whole numbers")
    return value


def parse_numbers(text: str, what: str, n: int | None = None) -> list[int]:
    """Return the whole numbers in a list such as `0, 3-5`, each once; all are below n if it is given.

    Raises ValueError for anything else, and for more than MOST_NUMBERS.

    >>> parse_numbers("0, 3-5", "capsules", 18)
    [0, 3, 4, 5]
    """
    found: dict[int, None] = {}
    for part in text.split(","):
        written = re.fullmatch(r"\s*(\d{1,12})\s*(?:[-–]\s*(\d{1,12})\s*)?", part)
        first, last = (int(w) for w in (written[1], written[2] or written[1])) if written else (1, 0)
        if last < first:
            raise ValueError(f"{what} {_shown(text)} is not a list of whole numbers such as 0, 3-5")
        if n is not None and last >= n:
            raise ValueError(f"{what} {_shown(text)} names {last}, but there are {n}, from 0 to {n - 1}")
        if len(found) + last - first >= MOST_NUMBERS:
            raise ValueError(f"{what} {_shown(text)} names more than {MOST_NUMBERS:,}")
        found |= dict.fromkeys(range(first, last + 1))
    return list(found)


def parse_whole(text: str, what: str, least: int, most: int) -> int:
    """Return the whole number that a text is, if it lies in a range. Raises ValueError for anything else."""
    if not re.fullmatch(r"\s*\d{1,12}\s*", text) or not least <= int(text) <= most:
        raise ValueError(f"{what} {_shown(text)} is not a whole number from {least} to {most:,}")
    return int(text)


def parse_setting(text: str) -> tuple[str, object]:
    """Return key and value of `key=value`, the value read as Python, or else as text.

    Raises ValueError without `=`.

    >>> parse_setting("group_kernel=(5, 5)"), parse_setting("boundary=edge")
    (('group_kernel', (5, 5)), ('boundary', 'edge'))
    """
    key, equals, written = map(str.strip, text.partition("="))
    if not equals:
        raise ValueError(f"--set {_shown(text)} is not of the form key=value")
    try:
        return key, ast.literal_eval(written)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return key, written
