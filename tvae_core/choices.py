"""The one sentence a wrong name gets: what it was, what is allowed, and what was probably meant."""

import difflib
from collections.abc import Iterable


def require(value: str, allowed: Iterable[str], what: str) -> str:
    """The value itself if it is among the allowed ones; ValueError naming the nearest of them if not."""
    names = list(allowed)
    if value in names:
        return value
    folded = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(value).lower(), folded, n=1, cutoff=0.4)
    hint = f"; did you mean {folded[near[0]]!r}?" if near else ""
    raise ValueError(f"{what} {value!r} is not one of {', '.join(names)}{hint}")
