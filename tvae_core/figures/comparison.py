"""Tables 1 and 2: rows and columns from the results of runs."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from tvae_core.data import dsprites, mnist
from tvae_core.files import write_atomically
from tvae_core.measures.catalog import MEASURES, flat
from tvae_core.measures.intervals import LEVEL, RESAMPLES, Interval, interval_of
from tvae_core.plotting.tables import Column, Row, comma_separated, markdown, mean_and_sd, number
from tvae_core.training.runs import Run

KINDS = ("trained", "untrained")


def by_data(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The first seed of each experiment, MNIST and dSprites apart."""
    first = [own[0] for own in groups(runs).values()]
    apart = {name: [r for r in first if r.exp.dataset == name] for name in ("MNIST", "dSprites")}
    return {name: own for name, own in apart.items() if own}


MARGIN = "roll_margin_at_draws"  # the measure that decides
ARROWS = {"up": " ↑", "down": " ↓", "": ""}


def column(key: str) -> Column:
    """Return the column of a measure (catalog.MEASURES), or of one of its factors, `key/factor`."""
    name, _, factor = key.partition("/")
    measure = MEASURES[name]
    heading = f"{measure.heading} {factor}".strip() + ARROWS[measure.better]
    return Column(key, heading, measure.unit, measure.decimals)


def columns(*keys: str) -> tuple[Column, ...]:
    """Return the columns of these measures."""
    return tuple(map(column, keys))


def _by_factor(key: str, factors: Sequence[str]) -> list[str]:
    return [f"{key}/{factor}" for factor in factors]


_ROLLS = ("roll_held_out_at_draws", "roll_still_at_draws", "roll_backwards_at_draws", "seen_mean")
_BOUNDS = ("reconstruction_at_draws", "elbo", "iwae_sequence", "kl_z", "kl_u", "e_eq", "e_eq_share")
TABLE_1 = columns(*_by_factor(MARGIN, mnist.FACTORS), *_ROLLS, *_BOUNDS)
TABLE_2 = columns(
    *_by_factor(MARGIN, dsprites.FACTORS),
    "iou_roll_held_out_at_draws",
    *_ROLLS,
    *_BOUNDS,
    *_by_factor("capcorr_first", dsprites.FACTORS),
    "capcorr_nearest/scale",
)
LIKELIHOODS = columns("roll_held_out", "roll_still", "roll_backwards", "seen_mean", "reconstruction", "elbo")
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
    """The runs of each experiment or variant, by its label, in the order in which they first come."""
    labels = dict.fromkeys(run.label for run in runs)
    return {label: [run for run in runs if run.label == label] for label in labels}


def table_rows(runs: Sequence[Run], columns: Sequence[Column]) -> list[Row]:
    """For each experiment its trained and its untrained model over all seeds, and chance level last."""

    def row(label: str, of: Sequence[Run], kind: str) -> Row:
        values = [[value_of(run.results[kind], column.key) for run in of] for column in columns]
        intervals = [_interval(of, kind, column.key) for column in columns]
        return Row(label, values, kind != "trained", intervals, "" if kind == "chance" else of[0].label)

    rows = []
    for own in groups(runs).values():
        rows += [row(own[0].title, own, "trained"), row("untrained", own, "untrained")]
    return [*rows, row("chance level", groups(runs)[runs[0].label], "chance")]


def _interval(runs: Sequence[Run], kind: str, key: str) -> Interval | None:
    """None for `chance`, which is known, and for a measure that is not defined for every run."""
    if kind == "chance" or any(value_of(run.results[kind], key) is None for run in runs):
        return None
    measure, _, factor = key.partition("/")
    index = list(runs[0].results[kind][measure]).index(factor) if factor else None
    return interval_of(measure, index, [run.per_sequence(kind) for run in runs])


def average(runs: Sequence[Run], kind: str, key: str) -> float | None:
    """A measure's mean over seeds; `kind` is trained, untrained or chance."""
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


def write_table(folder: Path, name: str, columns: Sequence[Column], rows: Sequence[Row], shows: str) -> str:
    """Write folder/name.md and .csv, and return the table as Markdown."""
    text = f"{markdown(columns, rows)}\n{shows}\n"
    write_atomically(folder / f"{name}.md", text)
    write_atomically(folder / f"{name}.csv", comma_separated(columns, rows))
    return text
