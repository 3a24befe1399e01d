"""Say in the terminal what came of a run: its measures, what its rolls carry, and what to try next."""

import shlex
from collections.abc import Sequence

from tvae_core.experiments import row_of
from tvae_core.files import DATA, RUNS
from tvae_core.measures.catalog import ARROWS, DRAWS, MEASURES, flat, heading
from tvae_core.training.hardware import choose_device
from tvae_core.training.runs import Run

# The roll, indented its controls, and what a plain VAE is judged by; all in nats a frame at posterior draws.
_ROLL = f"roll_held_out{DRAWS}"
_CONTROLS = (f"roll_still{DRAWS}", f"roll_backwards{DRAWS}", "seen_mean")
_SHORT = (_ROLL, *_CONTROLS, f"reconstruction{DRAWS}", "elbo")
_MARGIN = f"roll_margin{DRAWS}"


def summary(run: Run) -> str:
    """Return a table of six rows with the rolls first, what the rolls carry, and the images it is made from.

    The last column is the mean frame of all test sequences, painted whatever t is: a decoder that does worse
    than this says nothing about its sequence, and the row says so.
    """
    rows = {name: flat(row) for name, row in run.results.items()}
    keys = [key for key in _SHORT if rows["trained"].get(key) is not None]
    cells = [
        (_words(key), [_number(row.get(key), 1) for row in rows.values()], _note(key, rows)) for key in keys
    ]
    n = rows["trained"]["n_sequences"]
    head = f"nats a frame, {n:,} sequences", ["trained", "untrained", "mean frame"], ""
    lines = [run.title, str(run), *_columns([head, *cells])]
    margins = run.results["trained"].get(_MARGIN) or {}
    if margins:
        values = ", ".join(f"{name} {_number(value, 1)}" for name, value in margins.items())
        lines += [f"Roll margin: {values}."]
        lines += [
            "That is the best of the three controls minus the roll: above 0, rolls carry what they do not."
        ]
    return "\n".join([*lines, f"Data: {run.provenance['data']}"])


def full_table(run: Run) -> str:
    """Return every measure that is defined, with arrows to the better values and units."""
    rows = {name: flat(row) for name, row in run.results.items()}
    known = {
        key for name in ("trained", "untrained") for key, value in rows[name].items() if value is not None
    }
    keys = [key for measure in MEASURES for key in rows["trained"] if key in known and _name(key) == measure]
    lines = [("", list(rows), "")]
    for key in keys:
        measure = MEASURES[_name(key)]
        words = heading(key, run.exp.n_is_samples) + ARROWS[measure.better]
        numbers = [_number(row.get(key), measure.decimals) for row in rows.values()]
        lines.append((words + f" ({measure.unit})" * bool(measure.unit), numbers, ""))
    data = f"– not defined; data: {run.provenance['data']}"
    return "\n".join([run.title, str(run), *_columns(lines), data])


def next_command(run: Run) -> str:
    """Return the command that shows most after this run, and why, in two lines."""
    exp = run.exp
    margins = run.results["trained"].get(_MARGIN) or {}
    rolls = all(value is not None and value > 0 for value in margins.values())
    if exp.scale == "smoke":
        why, words = (
            "smoke shows that everything runs; quick has numbers that mean something",
            _train(run, scale="quick"),
        )
    elif not margins:
        why, words = "the map of its units", ["./run_all.sh", "--scale", exp.scale, "--only", "fig3"]
    elif exp.topography == "none" and exp.data != "own":
        other = f"tvae_Lpartial_{'dsprites' if exp.data == 'dsprites' else 'mnist'}"
        why, words = "a model whose rolls carry something, to compare with", ["tvae", "--name", other]
        words += ["--scale", exp.scale]
    elif exp.scale == "quick" and not rolls:
        why, words = "more steps make rolls carry more", _train(run, scale="long")
    else:
        why = "its rolls with a slider, in a browser"
        words = [*_train(run, "export", scale=exp.scale), "--out", "roll.html"]
    return f"Try next ({why}):\n    {shlex.join(words)}"


def _train(run: Run, command: str = "", *, scale: str) -> list[str]:
    """The words that name this run, or the same experiment at another scale."""
    words = ["tvae", *[command] * bool(command), "--name", run.label, "--scale", scale]
    if run.exp.seed != row_of(run.exp).seed:
        words += ["--seed", str(run.exp.seed)]
    words += ["--device", run.device.type] * (run.device != choose_device("auto"))
    places = (("--runs", run.folder.parent, RUNS), ("--data", run.data_folder, DATA))
    return words + [
        word for option, place, usual in places if place != usual for word in (option, str(place))
    ]


def _name(key: str) -> str:
    return key.partition("/")[0]


def _words(key: str) -> str:
    plain = heading(key, 0).removesuffix(", at draws")
    return f"  {plain}" if key in _CONTROLS else plain + ARROWS[MEASURES[key].better]


def _note(key: str, rows: dict[str, dict[str, float | int | None]]) -> str:
    """Whether the trained model does worse than the mean frame; nothing for controls, which are no aim."""
    value, mean = rows["trained"][key], rows["chance"].get(key)
    better = MEASURES[key].better
    if key in _CONTROLS or mean is None:
        return ""
    return "worse than the mean frame" if (value > mean) == (better == "down") and value != mean else ""


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:z,.{decimals}f}".replace("-", "−")


def _columns(lines: Sequence[tuple[str, Sequence[str], str]]) -> list[str]:
    """Words, numbers below each other, and a note."""
    wide = max(len(words) for words, _, _ in lines)
    return [
        f"{words:{wide}}{''.join(f'{cell:>12}' for cell in cells)}  {note}".rstrip()
        for words, cells, note in lines
    ]
