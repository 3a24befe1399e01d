"""Tables 1 and 2: rows and columns from the results of runs."""

from collections.abc import Sequence
from pathlib import Path

import torch

from tvae_core.files import write_atomically
from tvae_core.measures.intervals import LEVEL, RESAMPLES, Interval, interval_of_correlation, interval_of_mean
from tvae_core.plotting.tables import Column, Row, comma_separated, markdown, mean_and_sd
from tvae_core.training.runs import Run

KINDS = ("trained", "untrained")


def by_data(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The first seed of each experiment, MNIST and dSprites apart."""
    first = [own[0] for own in groups(runs).values()]
    apart = {name: [r for r in first if r.exp.dataset == name] for name in ("MNIST", "dSprites")}
    return {name: own for name, own in apart.items() if own}


FRAME = "nats/frame"
ROLLS = (
    Column("roll_held_out", "roll,\nheld out ↓", FRAME, 1),
    Column("roll_held_out_at_means", "held out,\nat E[u] ↓", FRAME, 1),
    Column("roll_seen", "roll,\nseen ↓", FRAME, 1),
    Column("reconstruction", "recon-\nstruct. ↓", FRAME, 1),
)
LOG_P = (
    Column("log_p_sequence", "log p(x)\nsequence ↑", FRAME, 1),
    Column("log_p_per_frame", "log p(x)\nper frame ↑", FRAME, 1),
)
NOTE = (
    "log p(x) is estimated by importance sampling, log n subtracted. Rolls and reconstructions decode t "
    "at E[z] and E[u²]; those “at E[u]” at the posterior mean of u, which leaves its variance out. "
    f"In brackets: {LEVEL:.0%} bootstrap interval over the test sequences, {RESAMPLES:,} resamples."
)
E_EQ = Column("e_eq", "E_eq ↓", "L1", 0)
LIKELIHOODS = (*ROLLS, *LOG_P)
TABLE_1 = (*LOG_P, E_EQ, *ROLLS)
TABLE_2 = (
    Column("capcorr_first/x", "CapCorr\nx ↑", "first Ω", 2),
    Column("capcorr_first/y", "CapCorr\ny ↑", "first Ω", 2),
    Column("capcorr_first/orientation", "CapCorr\norient. ↑", "first Ω", 2),
    Column("capcorr_first/scale", "CapCorr\nscale ↑", "first Ω", 2),
    Column("capcorr_nearest/scale", "CapCorr\nscale ↑", "nearest Ω", 2),
    E_EQ,
    *ROLLS,
    Column("iou_roll_held_out", "roll,\nheld out ↑", "IoU", 2),
    *LOG_P,
)


def value_of(row: dict, key: str) -> float | None:
    """A measure by its name, or `name/factor`; None where the row has none."""
    for part in key.split("/"):
        row = (row or {}).get(part)
    return row


def groups(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each experiment or variant, by its label, in the order in which they first come."""
    labels = dict.fromkeys(run.label for run in runs)
    return {label: [run for run in runs if run.label == label] for label in labels}


def table_rows(runs: Sequence[Run], columns: Sequence[Column]) -> list[Row]:
    """For each experiment its trained and its untrained model over all seeds, and chance level last."""

    def row(label: str, of: Sequence[Run], kind: str) -> Row:
        values = [[value_of(run.results[kind], column.key) for run in of] for column in columns]
        intervals = [interval_of(of, kind, column.key) for column in columns]
        return Row(label, values, kind != "trained", intervals, "" if kind == "chance" else of[0].label)

    rows = []
    for own in groups(runs).values():
        rows += [row(own[0].title, own, "trained"), row("untrained", own, "untrained")]
    return [*rows, row("chance level", groups(runs)[runs[0].label], "chance")]


def interval_of(runs: Sequence[Run], kind: str, key: str) -> Interval | None:
    """A measure's bootstrap interval over test sequences, its mean over seeds; None where there is none.

    There is none for `chance`, which is known, and for a measure that is not defined for every run.
    """
    if kind == "chance" or any(value_of(run.results[kind], key) is None for run in runs):
        return None
    kept = [run.per_sequence(kind) for run in runs]
    measure, _, factor = key.partition("/")
    if not factor:
        return interval_of_mean(torch.stack([values[key] for values in kept]))
    index, rolls = list(runs[0].results[kind][measure]).index(factor), measure.replace("capcorr", "roll")
    members = [(values["varied"] == index) & (values[rolls] >= 0) for values in kept]
    return interval_of_correlation(
        [(values[rolls][m], values["start"][m]) for values, m in zip(kept, members, strict=True)]
    )


def average(runs: Sequence[Run], kind: str, key: str) -> float | None:
    """A measure's mean over seeds; `kind` is trained, untrained or chance."""
    return mean_and_sd([value_of(run.results[kind], key) for run in runs])[0]


def what_rolls_show(runs: Sequence[Run]) -> str:
    """In words: the held-out roll likelihood between that of a reconstruction and that of the mean frame."""
    sentences = []
    for name, own in groups(runs).items():
        rolled, best = (average(own, "trained", key) for key in ("roll_held_out", "reconstruction"))
        worst = average(own, "chance", "roll_held_out")
        text = f"**{own[0].title}** ({name}, scale {own[0].exp.scale}): "
        text += f"reconstruction {best:,.1f} nats/frame"
        if rolled is None:
            text += f", the mean frame {worst:,.1f}; no frame is held out"
        else:
            text += f", roll into held-out frames {rolled:,.1f}, the mean frame {worst:,.1f}"
        if best >= worst:
            text += ", so the model has not learned to reconstruct and this says nothing about the claim"
        elif rolled is not None:
            text += f": the roll covers {(worst - rolled) / (worst - best):.0%} of the way"
        sentences.append(text + ".")
    return "\n\n".join(sentences)


def what_table_shows(runs: Sequence[Run]) -> str:
    """In words: which model rolls best into frames it never saw, and whether training made the difference."""
    own = groups(runs)
    trained = {name: average(of, "trained", "roll_held_out") for name, of in own.items()}
    known = {name: value for name, value in trained.items() if value is not None}
    if not known:
        return f"At scale {runs[0].exp.scale} no frame is held out, so nothing is said about rolls."
    best = min(known, key=known.get)
    untrained = average(own[best], "untrained", "roll_held_out")
    mean_frame = average(own[best], "chance", "roll_held_out")
    error = {kind: average(own[best], kind, "e_eq") for kind in ("trained", "untrained", "chance")}
    text = f"At scale {runs[0].exp.scale} **{own[best][0].title}** rolls best into held-out frames: "
    text += f"{known[best]:,.1f} nats/frame, untrained {untrained:,.1f}, the mean frame {mean_frame:,.1f}"
    others = [f"{own[name][0].title} {value:,.1f}" for name, value in known.items() if name != best]
    text += f" ({'; '.join(others)}). " if others else ". "
    if known[best] >= mean_frame:
        text += "No model does better than the mean frame, so this scale decides nothing. "
    return text + (
        f"Its E_eq is {error['trained']:,.0f}, but {error['untrained']:,.0f} without any training "
        f"and {error['chance']:,.0f} by chance."
    )


def write_table(folder: Path, name: str, columns: Sequence[Column], rows: Sequence[Row], shows: str) -> str:
    """Write folder/name.md and .csv, and return the table as Markdown."""
    text = f"{markdown(columns, rows)}\n{shows}\n"
    write_atomically(folder / f"{name}.md", text)
    write_atomically(folder / f"{name}.csv", comma_separated(columns, rows))
    return text
