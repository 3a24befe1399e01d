"""Table 5: the measures as the neighbourhoods grow, along units (K) and along frames (L)."""

from collections.abc import Callable, Sequence

import pandas as pd

from tvae_core.config import Experiment
from tvae_core.figures.comparison import average, table_rows, value_of
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.plotting.tables import mean_and_sd
from tvae_core.training.runs import Run

TABLE_5 = ("roll_held_out", "roll_still", "reconstruction", "elbo", "iwae_sequence", "e_eq", "e_eq_share")
NATS = {  # drawn in nats a frame, less is better
    "roll_held_out": "roll into held-out frames",
    "roll_still": "the same, not rolled",
    "reconstruction": "reconstruction",
    "elbo": "−ELBO",
}


def units_shared(exp: Experiment) -> int:
    """Return K, the units of a frame that a t listens to in the middle of its window."""
    return exp.group_kernel[1] if exp.n_off_diag is None else 2 * exp.n_off_diag + 1


def frames_shared(exp: Experiment) -> int:
    """Return 2L, the frames that a t listens to."""
    return exp.group_kernel[0]


def sweep(runs: Sequence[Run], size: Callable[[Experiment], int]) -> list[list[Run]]:
    """Return the runs that differ from the first in that size only, smallest first, grouped by size."""
    other = frames_shared if size is units_shared else units_shared
    along = [run for run in runs if other(run.exp) == other(runs[0].exp)]
    return [[r for r in along if size(r.exp) == k] for k in sorted({size(run.exp) for run in along})]


def sizes(exp: Experiment) -> str:
    """Return K and L in words, L as a share of the sequence."""
    k, s = frames_shared(exp), exp.n_transforms
    words = {1: "0", s: "S/2"}.get(k, f"{k}/{2 * s} S")
    return f"K = {units_shared(exp)}, L = {words}"


def sweep_rows(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the rows of Table 5: first growing K, then growing L; each with its untrained control."""
    ordered = [run for size in (units_shared, frames_shared) for own in sweep(runs, size) for run in own]
    ordered = list(dict.fromkeys(ordered))
    names = {run.label: sizes(run.exp) for run in ordered}
    frame = table_rows(ordered, TABLE_5)
    return frame.assign(row=frame.row.where(frame.control, frame.experiment.map(names)))


def sweep_panels(runs: Sequence[Run]) -> list[Panel]:
    """Return likelihoods and E_eq against K and against L, trained and untrained."""
    axes = ((units_shared, "K, units shared"), (frames_shared, "2L, frames shared (unseen)"))
    panels = []
    for measures, first, heading, unit, logarithmic in (
        (NATS, 0, "Likelihoods", "nats/frame, log scale", True),
        ({"e_eq": "E_eq"}, len(NATS), "E_eq", "L1/sequence", False),
    ):
        level = average(runs, "chance", next(iter(measures)))
        levels = [("mean frame" if logarithmic else "random directions", level)]
        for size, words in axes:
            steps = sweep(runs, size)
            unseen = [f"\n({len(own[0].exp.held_out)})" * (size is frames_shared) for own in steps]
            names = [f"{size(own[0].exp)}{n}" for own, n in zip(steps, unseen, strict=True)]
            curves = [
                c for i, key in enumerate(measures, first) for c in _curves(steps, key, measures[key], i)
            ]
            title = f"{heading} against {'K' if size is units_shared else 'L'}"
            panel = Panel(title, words, unit, curves, levels, ticks=list(enumerate(names)), log=logarithmic)
            panels.append(panel)
    return panels


def _curves(steps: Sequence[Sequence[Run]], key: str, words: str, look: int) -> list[Curve]:
    curves, sign = [], -1 if key == "elbo" else 1
    for kind in ("trained", "untrained"):
        found = [[value_of(run.results[kind], key) for run in own] for own in steps]
        mean, sd = zip(
            *(mean_and_sd([v if v is None else sign * v for v in own]) for own in found), strict=True
        )
        curves.append(Curve(words, look, range(len(steps)), mean, sd, control=kind == "untrained"))
    return curves
