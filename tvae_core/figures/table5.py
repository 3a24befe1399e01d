"""Table 5: what becomes of the measures as the neighbourhoods grow, along units (K) and along frames (L)."""

from collections.abc import Callable, Sequence

from tvae_core.config import Experiment
from tvae_core.figures.comparison import average, columns, groups, table_rows, value_of
from tvae_core.plotting.charts import Curve, Panel
from tvae_core.plotting.tables import Row, mean_and_sd
from tvae_core.training.runs import Run

TABLE_5 = columns("roll_held_out", "roll_seen", "reconstruction", "iwae_sequence", "e_eq")
NATS = {  # what is drawn in nats a frame, less is better
    "roll_held_out": "roll into held-out frames",
    "roll_seen": "roll into seen frames",
    "reconstruction": "reconstruction",
    "iwae_sequence": "−IWAE",
}


def units_shared(exp: Experiment) -> int:
    """K, the units of a frame that a t listens to in the middle of its window."""
    return exp.group_kernel[1] if exp.n_off_diag is None else 2 * exp.n_off_diag + 1


def frames_shared(exp: Experiment) -> int:
    """2L, the frames that a t listens to."""
    return exp.group_kernel[0]


def sweep(runs: Sequence[Run], size: Callable[[Experiment], int]) -> list[list[Run]]:
    """The runs that differ from the first in that size only, smallest first, those of one size together."""
    other = frames_shared if size is units_shared else units_shared
    along = [run for run in runs if other(run.exp) == other(runs[0].exp)]
    return [[r for r in along if size(r.exp) == k] for k in sorted({size(run.exp) for run in along})]


def sizes(exp: Experiment) -> str:
    """K and L in words, L as a share of the sequence."""
    k, s = frames_shared(exp), exp.n_transforms
    words = {1: "0", s: "S/2"}.get(k, f"{k}/{2 * s} S")
    return f"K = {units_shared(exp)}, L = {words}"


def sweep_rows(runs: Sequence[Run]) -> list[Row]:
    """The rows of Table 5: first growing K, then growing L; each with its untrained control."""
    ordered = [run for size in (units_shared, frames_shared) for own in sweep(runs, size) for run in own]
    ordered = list(dict.fromkeys(ordered))
    names = [sizes(own[0].exp) for own in groups(ordered).values()]
    rows = table_rows(ordered, TABLE_5)
    return [row if row.control else row._replace(label=names[i // 2]) for i, row in enumerate(rows)]


def sweep_panels(runs: Sequence[Run]) -> list[Panel]:
    """Likelihoods and E_eq against K and against L, trained and untrained."""
    axes = ((units_shared, "K, units shared"), (frames_shared, "2L, frames shared (held out)"))
    panels = []
    for measures, first, heading, unit, logarithmic in (
        (NATS, 0, "Likelihoods", "nats/frame, log scale", True),
        ({"e_eq": "E_eq"}, len(NATS), "E_eq", "L1/sequence", False),
    ):
        for size, words in axes:
            steps = sweep(runs, size)
            unseen = [f"\n({len(own[0].exp.held_out)})" * (size is frames_shared) for own in steps]
            named = enumerate(zip(steps, unseen, strict=True))
            ticks = [(i, f"{size(own[0].exp)}{words}") for i, (own, words) in named]
            curves = [
                c for i, measure in enumerate(measures.items(), first) for c in _curves(steps, *measure, i)
            ]
            name = "K" if size is units_shared else "L"
            level = average(runs, "chance", next(iter(measures)))
            levels = [("mean frame" if logarithmic else "chance", level)]
            panels.append(
                Panel(f"{heading} against {name}", words, unit, curves, levels, ticks=ticks, log=logarithmic)
            )
    return panels


def _curves(steps: Sequence[Sequence[Run]], key: str, words: str, look: int) -> list[Curve]:
    curves = []
    for kind in ("trained", "untrained"):
        values = [[value_of(run.results[kind], key) for run in own] for own in steps]
        if key == "iwae_sequence":
            values = [[None if v is None else -v for v in own] for own in values]
        mean, sd = zip(*map(mean_and_sd, values), strict=True)
        curves.append(Curve(words, look, range(len(steps)), mean, sd, control=kind == "untrained"))
    return curves


def what_sweeps_show(runs: Sequence[Run]) -> str:
    """In words: where along K and L the held-out roll and E_eq are best, beside the untrained model."""
    sentences = []
    for size, name in ((units_shared, "K"), (frames_shared, "L")):
        steps = [own for own in sweep(runs, size) if average(own, "trained", "roll_held_out") is not None]
        if not steps:
            sentences.append(f"Along {name} no frame is held out, so nothing is said about rolls.")
            continue
        best = min(steps, key=lambda own: average(own, "trained", "roll_held_out"))
        worst = average(best, "chance", "roll_held_out")
        values = [f"{sizes(own[0].exp)}: {average(own, 'trained', 'roll_held_out'):,.1f}" for own in steps]
        text = f"Along {name}, at scale {best[0].exp.scale}, rolls into held-out frames [nats/frame] are: "
        text += f"{'; '.join(values)}. The best is {sizes(best[0].exp)}; untrained it has "
        text += f"{average(best, 'untrained', 'roll_held_out'):,.1f}, and the mean frame {worst:,.1f}"
        if average(best, "trained", "roll_held_out") >= worst:
            text += ", which no model beats, so this scale decides nothing"
        ends = [(average(own, "trained", "e_eq"), average(own, "untrained", "e_eq")) for own in steps]
        (first, first_untrained), (last, last_untrained) = ends[0], ends[-1]
        text += f". E_eq goes from {first:,.0f} (untrained {first_untrained:,.0f}) to {last:,.0f} "
        sentences.append(text + f"({last_untrained:,.0f}).")
    return "\n\n".join(sentences)
