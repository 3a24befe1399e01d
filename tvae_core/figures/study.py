"""The convergence study: variants of the quick scale against wall-clock time, and what each part is worth."""

from collections.abc import Sequence

from tvae_core.figures.comparison import average, columns, groups, table_rows
from tvae_core.measures.catalog import NATS
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.plotting.tables import Row
from tvae_core.training.runs import Run

STUDY = columns("nll", "reconstruction", "roll_held_out", "elbo", "iwae_sequence", "kl_z", "kl_u")
_ROLLS = {"reconstruction": "reconstruction", "roll_held_out": "roll into held-out frames"}
_BOUNDS = {"nll": "−log p(x|t)", "elbo": "ELBO"}  # of single frames, which have no rolls
_DATA = {"mnist": "MNIST", "dsprites": "dSprites", "mnist_grey": "2-D torus"}


def by_data(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs by the data they were trained on, in the order of first mention."""
    kinds = dict.fromkeys(run.exp.data for run in runs)
    return {_DATA.get(kind, kind): [run for run in runs if run.exp.data == kind] for kind in kinds}


def way(run: Run) -> str:
    """How a run differs from the scale's own way: the options in its label, or `as it is`."""
    return run.label.partition(" ")[2] or "as it is"


def study_rows(runs: Sequence[Run]) -> list[Row]:
    """For each way its measures on the test split (of one kind of data), chance level last."""
    ways = {run.label: way(run) for run in runs}
    kept = [row for row in table_rows(runs, STUDY) if row.label != "untrained"]
    return [row._replace(label=ways.get(row.experiment, row.label)) for row in kept]


def study_panels(runs: Sequence[Run]) -> list[Panel]:
    """On the validation split against minutes of training: reconstruction, and the roll into held-out frames.

    Where no frame is held out the ELBO stands in place of the roll. One seed of each way is drawn.
    """
    looks = {words: i for i, words in enumerate(dict.fromkeys(map(way, runs)))}
    panels = []
    for data, own in by_data(runs).items():
        first = [seeds[0] for seeds in groups(own).values()]
        rolls = any("validation_roll_held_out" in run.history[-1] for run in first)
        measures = {"reconstruction": "reconstruction"}
        measures |= {"roll_held_out": "roll, held out"} if rolls else {"elbo": "ELBO"}
        for measure, words in measures.items():
            curves = [_curve(run, f"validation_{measure}", looks[way(run)]) for run in first]
            panels.append(Panel(f"{data}: {words}", "minutes of training", NATS, curves))
    return panels


def _curve(run: Run, key: str, look: int) -> Curve:
    rows = [row for row in run.history if key in row]
    return Curve(way(run), look, [row["seconds"] / 60 for row in rows], [row[key] for row in rows])


def what_study_shows(runs: Sequence[Run]) -> str:
    """In words: where the scale's own way ends, and how much worse or better each other way is."""
    sentences = []
    for data, own in by_data(runs).items():
        (_, base), *others = groups(own).items()
        rolls = average(base, "trained", "roll_held_out") is not None
        measures = _ROLLS if rolls else _BOUNDS
        reached = [average(base, "trained", key) for key in measures]
        minutes = sum(run.provenance["seconds"] for run in base) / len(base) / 60
        text = f"**{data}**, scale {base[0].exp.scale}: after {minutes:.1f} minutes of training "
        words = [f"{name} {value:,.1f}" for name, value in zip(measures.values(), reached, strict=True)]
        text += f"{' and '.join(words)} nats/frame."
        for _, other in others:
            ends = [average(other, "trained", key) for key in measures]
            gaps = [end - best for end, best in zip(ends, reached, strict=True)]
            text += f" `{way(other[0])}`: {gaps[0]:+,.1f} and {gaps[1]:+,.1f}."
        sentences.append(text)
    return "\n\n".join(sentences)
