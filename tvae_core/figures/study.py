"""The study: the worth of each part of the training recipe, and of longer training by each recipe."""

import re
from collections.abc import Mapping, Sequence
from statistics import fmean

import pandas as pd

from tvae_core.experiments import follows_paper
from tvae_core.figures.comparison import MARGIN, average, groups, margin_of, table_rows
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.training.learner import VALIDATION
from tvae_core.training.runs import Run

FRAME, _ELBO = "nats/frame", f"{VALIDATION}elbo"
PAPER = "the paper's recipe"
STUDY = ("elbo", "nll", "reconstruction", "roll_held_out", "kl_z", "kl_u", "iwae_sequence")
PRICE = {"kl_floor", "kl_hold", "kl_ramp"}
LENGTH = {"max_steps", "max_epochs"}
MARGINS = ("mean margin", "worst margin")  # over the factors


def by_training_data(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs by the data they were trained on, in the order of first mention."""
    names = {run.exp.data: "2-D torus" if run.exp.data == "mnist_grey" else run.exp.dataset for run in runs}
    return {name: [run for run in runs if run.exp.data == data] for data, name in names.items()}


def changed_options(run: Run) -> str:
    """Return the options in which a run differs from its scale's recipe, or `as it is`."""
    return run.label.partition(" ")[2] or "as it is"


def _options(run: Run) -> set[str]:
    return set(re.findall(r"(\w+)=", run.label))


def recipe_runs(runs: Sequence[Run]) -> list[Run]:
    """Return the runs of their scale's own length: the recipe, and variants without one of its parts."""
    return [run for run in runs if not _options(run) & LENGTH]


def length_runs(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that differ from the recipe in length and the price of the KL terms alone.

    Those of the paper's recipe too, of any scale and length.
    """
    return [run for run in runs if _options(run) <= PRICE | LENGTH | {"recipe"}]


def steps(run: Run) -> int:
    """Return how many steps a run was trained for."""
    return run.history[-1]["step"]


def recipe(run: Run) -> str:
    """Return in words how a run was trained: as in the paper, or at which price of the KL terms."""
    if follows_paper(run.exp):
        return PAPER
    return (
        "full KL price"
        if run.exp.kl_floor == 1 or not run.exp.kl_hold + run.exp.kl_ramp
        else "low KL price at first"
    )


def length_rows(runs: Sequence[Run]) -> list[Mapping[str, object]]:
    """Return as table rows how each recipe and length ends on the test split, means over seeds.

    Where runs of several scales are compared, the scale stands after the recipe.
    """
    mixed = len({run.exp.scale for run in runs}) > 1
    rows = [
        {
            "data": data,
            "recipe": recipe(group[0]) + (f", scale {group[0].exp.scale}" if mixed else ""),
            "steps": steps(group[0]),
            **_ends(group),
        }
        for data, own in by_training_data(runs).items()
        for group in groups(own).values()
    ]
    kinds = list(by_training_data(runs))
    return sorted(rows, key=lambda row: (kinds.index(row["data"]), row["recipe"], row["steps"]))


def _validation_rows(runs: Sequence[Run]) -> list[Mapping[str, object]]:
    """Return a row for each validation of the longest training, with the keys of length_rows."""
    rows = []
    for data, own in by_training_data(runs).items():
        longest = max(map(steps, own))
        history = [row for run in own if steps(run) == longest for row in run.history if _ELBO in row]
        for step in sorted({row["step"] for row in history}):
            seeds = [row for row in history if row["step"] == step]
            margin = [fmean(each) for each in zip(*map(_margins, seeds), strict=True)]
            ends = (fmean(margin), min(margin)) if margin else (None, None)
            about = {"data": data, "recipe": recipe(own[0]), "steps": step}
            rows.append(about | _named(fmean(row[_ELBO] for row in seeds), ends))
    return rows


def _margins(row: Mapping[str, object]) -> list[float]:
    return [value for key, value in row.items() if key.startswith(f"{VALIDATION}{MARGIN}/")]


def length_panels(runs: Sequence[Run]) -> list[Panel]:
    """Return ELBO and roll margin over steps of training, a curve for each recipe, means over seeds.

    Each marker is a training of its own, learning-rate fall included, on the test split. The paper's rate
    does not fall, so its curve is a single training, on the validation split as it goes on. The roll margin
    is the mean over factors; dashed with open markers, that of the worst factor. Data with a single length
    have no panel.
    """
    ours, paper = ([run for run in runs if (recipe(run) == PAPER) is is_paper] for is_paper in (False, True))
    panels, ends, rows = [], length_rows(ours), length_rows(ours) + _validation_rows(paper)
    for data in by_training_data(runs):
        own = [row for row in rows if row["data"] == data]
        if not own:
            continue
        lengths = {row["steps"] for row in ends if row["data"] == data} | {max(row["steps"] for row in own)}
        ticks = [(n, f"{n:,}") for n in sorted(lengths)]
        for name, keys in {"ELBO": ("ELBO",), "roll margin": MARGINS}.items():
            curves = [
                Curve(words, style, *_xy(own, words, key), control=key == MARGINS[1])
                for style, words in enumerate(dict.fromkeys(row["recipe"] for row in rows))
                for key in keys
            ]
            if any(len(curve.x) > 1 for curve in curves) and any(y is not None for y in curves[0].y):
                zero = [("best control", 0.0)] if keys is MARGINS else []
                words = f"{data}: {name}", "steps, log scale", f"{name}, {FRAME}"
                panels.append(Panel(*words, curves, zero, ticks=ticks, log_x=True))
    return panels


def _xy(rows: Sequence[Mapping[str, object]], words: str, key: str) -> tuple[list[int], list[float | None]]:
    own = [row for row in rows if row["recipe"] == words]
    return [row["steps"] for row in own], [row[key] for row in own]


def part_panels(runs: Sequence[Run]) -> list[Panel]:
    """Return the ELBO and the roll into held-out frames on the validation split, against minutes of training.

    Single frames have no rolls. One seed of each variant is drawn.
    """
    looks = {words: i for i, words in enumerate(dict.fromkeys(map(changed_options, runs)))}
    panels = []
    for data, own in by_training_data(runs).items():
        first = [seeds[0] for seeds in groups(own).values()]
        for key, words in {_ELBO: "ELBO", f"{VALIDATION}roll_held_out": "roll, held out"}.items():
            if any(key in row for run in first for row in run.history):
                curves = [_curve(run, key, looks[changed_options(run)]) for run in first]
                panels.append(Panel(f"{data}: {words}", "minutes of training", f"{words}, {FRAME}", curves))
    return panels


def _curve(run: Run, key: str, look: int) -> Curve:
    rows = [row for row in run.history if key in row]
    x, y = [row["seconds"] / 60 for row in rows], [row[key] for row in rows]
    return Curve(changed_options(run), look, x, y)


def study_rows(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the measures of each variant on the test split (of one kind of data), chance level last."""
    variants = {run.label: changed_options(run) for run in runs}
    frame = table_rows(runs, STUDY)
    frame = frame[frame.row != "untrained"]
    return frame.assign(row=frame.experiment.map(variants).fillna(frame.row))


def part_rows(runs: Sequence[Run]) -> list[Mapping[str, object]]:
    """Return as table rows the gain of each variant over the first one of its data.

    A difference above 0 means that the variant is better.
    """
    rows = []
    for data, own in by_training_data(runs).items():
        ends = {name: _ends(group) for name, group in groups(own).items()}
        base = next(iter(ends.values()))
        for group, end in zip(groups(own).values(), ends.values(), strict=True):
            minutes = fmean(run.provenance["seconds"] for run in group) / 60
            gained = {f"{key} gained": _minus(value, base[key]) for key, value in end.items()}
            rows.append(
                {"data": data, "variant": changed_options(group[0]), "minutes": minutes, **end, **gained}
            )
    return rows


def _ends(runs: Sequence[Run]) -> dict[str, float | None]:
    margin = margin_of(runs).values()
    ends = (fmean(margin), min(margin)) if margin else (None, None)
    return _named(average(runs, "trained", "elbo"), ends)


def _named(elbo: float | None, margins: tuple[float | None, float | None]) -> dict[str, float | None]:
    return {"ELBO": elbo, **dict(zip(MARGINS, margins, strict=True))}


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b
