"""Tables of measures from the results of runs, and what they show in words."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

import pandas as pd

from tvae_core.data import dsprites, mnist
from tvae_core.files import write_atomically
from tvae_core.measures.catalog import ARROWS, MEASURES, flat, heading
from tvae_core.measures.intervals import LEVEL, RESAMPLES, interval_of
from tvae_core.plotting.tables import FIELDS, comma_separated, markdown, mean_and_sd, number
from tvae_core.training.runs import Run

KINDS = ("trained", "untrained")


def by_data(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the first seed of each experiment, MNIST and dSprites apart."""
    first = [own[0] for own in groups(runs).values()]
    apart = {name: [r for r in first if r.exp.dataset == name] for name in ("MNIST", "dSprites")}
    return {name: own for name, own in apart.items() if own}


MARGIN = "roll_margin_at_draws"  # the measure that decides


def _by_factor(key: str, factors: Sequence[str]) -> list[str]:
    return [f"{key}/{factor}" for factor in factors]


_ROLLS = ("roll_held_out_at_draws", "roll_still_at_draws", "roll_backwards_at_draws", "seen_mean")
_BOUNDS = ("reconstruction_at_draws", "elbo", "iwae_sequence", "kl_z", "kl_u", "e_eq", "e_eq_share")
TABLE_1 = (*_by_factor(MARGIN, mnist.FACTORS), *_ROLLS, *_BOUNDS)
TABLE_2 = (
    *_by_factor(MARGIN, dsprites.FACTORS),
    "iou_roll_held_out_at_draws",
    *_ROLLS,
    *_BOUNDS,
    *_by_factor("capcorr_first", dsprites.FACTORS),
    "capcorr_nearest/scale",
)
LIKELIHOODS = ("roll_held_out", "roll_still", "roll_backwards", "seen_mean", "reconstruction", "elbo")
NOTE = (
    "The roll margin is the best control minus the roll, over the same held-out frames for all models. The "
    "controls are the same t not rolled, t rolled backwards, and the mean of the sequence's seen frames. "
    "Nothing is held out from L = S/2, whose window sees all frames. "
    "IWAE-n is a lower bound of log p(x) from n draws. What is not “at draws” decodes t at E[z] and E[u²]. "
    f"In brackets: {LEVEL:.0%} bootstrap interval over the test sequences, {RESAMPLES:,} resamples."
)


def value_of(row: dict, key: str) -> float | int | None:
    """Return a measure by its key, or `key/factor`; None where the row has none."""
    return flat(row).get(key)


def groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each experiment or variant, by its label, in the order in which they first come.

    The labels of runs of several scales have their scale after them.
    """
    mixed = len({run.exp.scale for run in runs}) > 1
    labels = [f"{run.label}, scale {run.exp.scale}" if mixed else run.label for run in runs]
    found = {label: [] for label in labels}
    for label, run in zip(labels, runs, strict=True):
        found[label].append(run)
    return found


def table_rows(runs: Sequence[Run], shown: Sequence[str]) -> pd.DataFrame:
    """Return a table (plotting.tables.FIELDS) of every measure, the shown ones first.

    For each experiment the trained and the untrained model, over all seeds, and chance level last. shown:
    keys of measures (catalog.MEASURES), or `key/factor` for one of their factors.
    """
    known = [k for run in runs for k, value in flat(run.results["trained"]).items() if value is not None]
    keys = [key for key in dict.fromkeys((*shown, *known)) if key != "n_sequences"]
    lines = []
    for own in groups(runs).values():
        lines += _lines(own[0].title, own, "trained", keys) + _lines("untrained", own, "untrained", keys)
    lines += _lines("chance level", next(iter(groups(runs).values())), "chance", keys)
    frame = pd.DataFrame(lines, columns=FIELDS)
    return frame.assign(shown=frame.measure.isin(shown))


def _lines(name: str, runs: Sequence[Run], kind: str, keys: Iterable[str]) -> list[dict[str, object]]:
    """The cells of one row of a table."""
    rows, by_sequence = [flat(run.results[kind]) for run in runs], None
    row = {"row": name, "experiment": "" if kind == "chance" else runs[0].label, "control": kind != "trained"}
    lines = []
    for key in keys:
        name, _, factor = key.partition("/")
        values = [row.get(key) for row in rows]
        measure = MEASURES[name]
        words = heading(key, runs[0].exp.n_is_samples) + ARROWS[measure.better]
        line = row | {"measure": key, "heading": words, "unit": measure.unit, "decimals": measure.decimals}
        line |= dict(zip(("mean", "sd"), mean_and_sd(values), strict=True))
        line["seeds"] = len(values) - values.count(None)
        if kind != "chance" and None not in values:  # chance is known
            by_sequence = by_sequence or [run.per_sequence(kind) for run in runs]
            index = list(runs[0].results[kind][name]).index(factor) if factor else None
            line["low"], line["high"] = interval_of(name, index, by_sequence) or (None, None)
        lines.append(line)
    return lines


def average(runs: Sequence[Run], kind: str, key: str) -> float | None:
    """Return a measure's mean over seeds: of `key` or `key/factor`, trained, untrained or at chance."""
    return mean_and_sd([value_of(run.results[kind], key) for run in runs])[0]


def margin_of(runs: Sequence[Run], kind: str = "trained") -> dict[str, float]:
    """Return the roll margin at posterior draws for each factor, its mean over seeds."""
    factors = runs[0].results[kind].get(MARGIN) or {}
    found = {factor: average(runs, kind, f"{MARGIN}/{factor}") for factor in factors}
    return {factor: value for factor, value in found.items() if value is not None}


def _margin_words(margin: dict[str, float]) -> str:
    each = ", ".join(f"{factor} {number(value, 1)}" for factor, value in margin.items())
    return f"{each}; above 0 for {sum(value > 0 for value in margin.values())} of {len(margin)} factors"


def what_rolls_show(runs: Sequence[Run]) -> str:
    """Say for each model what a reconstruction and a roll into held-out frames cost, and its roll margin."""
    sentences = []
    for name, own in groups(runs).items():
        best, rolled, worst = (
            average(own, kind, key)
            for kind, key in (
                ("trained", "reconstruction_at_draws"),
                ("trained", "roll_held_out_at_draws"),
                ("chance", "roll_held_out_at_draws"),
            )
        )
        text = f"**{own[0].title}** ({name}, scale {own[0].exp.scale}), at posterior draws in nats/frame: "
        text += f"reconstruction {best:,.1f}, roll into held-out frames {rolled:,.1f}, "
        text += f"the mean frame {worst:,.1f}"
        if not own[0].exp.held_out:
            text += " (its window has seen these frames too)"
        if best >= worst:
            text += "; the model has not learned to reconstruct, so this says nothing about the claim"
        sentences.append(f"{text}. Roll margin: {_margin_words(margin_of(own))}.")
    return "\n\n".join(sentences)


def what_table_shows(runs: Sequence[Run]) -> str:
    """Say which model has the largest roll margin, and whether training made the difference."""
    own = groups(runs)
    means = {name: fmean(margin_of(of).values()) for name, of in own.items()}
    best = max(means, key=means.get)
    untrained = fmean(margin_of(own[best], "untrained").values())
    share = {kind: average(own[best], kind, "e_eq_share") for kind in ("trained", "untrained")}
    text = f"At scale {runs[0].exp.scale} **{own[best][0].title}** has the largest roll margin: "
    text += "mean over factors "
    text += (
        f"{number(means[best], 1)} nats/frame at posterior draws ({_margin_words(margin_of(own[best]))}), "
    )
    text += f"untrained {number(untrained, 1)}"
    others = [f"{own[name][0].title} {number(value, 1)}" for name, value in means.items() if name != best]
    text += f"; the others: {', '.join(others)}. " if others else ". "
    if means[best] <= 0:
        text += "No model rolls better than the controls, which need no equivariance. "
    return (
        text + f"Its E_eq is {share['trained']:.2f} of chance, {share['untrained']:.2f} without any training."
    )


def write_table(folder: Path, name: str, frame: pd.DataFrame, caption: str) -> str:
    """Write folder/name.md (the shown measures) and .csv (all of them), and return the table as Markdown."""
    text = f"{markdown(frame)}\n{caption}\n"
    write_atomically(folder / f"{name}.md", text)
    write_atomically(folder / f"{name}.csv", comma_separated(frame))
    return text
