"""What reproduces: each claim of the paper, what was measured for it, its control, and a verdict."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

from tvae_core.figures.comparison import MARGIN, average, groups, value_of
from tvae_core.figures.fig3 import map_rows, torus_maps
from tvae_core.plotting.tables import number
from tvae_core.training.runs import Run

TIE = 3.0  # nats per frame by which a bound ranks nothing: ten times the draws of IWAE add as much
NEAR = 0.05  # what counts as equal of a share or of a correlation

Groups = Mapping[str, Sequence[Run]]  # by Run.label, one run for each seed
Row = dict[str, str]

_BY_L = {
    "L = 0": "tvae_L0_mnist",
    "5/36 S": "tvae_Lshort_mnist",
    "13/36 S": "tvae_Lpartial_mnist",
    "1/2 S": "tvae_Lhalf_mnist",
}
_BY_K = {
    "K = 1": "tvae_Lpartial_mnist n_off_diag=0",
    "3": "tvae_Lpartial_mnist",
    "9": "tvae_Lpartial_mnist n_off_diag=4",
    "18": "tvae_Lpartial_mnist group_kernel=(13,18) n_off_diag=None",
}
_PAIRS = {
    "MNIST": ("tvae_Lpartial_mnist", "nontvae_mnist"),
    "dSprites": ("tvae_Lpartial_dsprites", "nontvae_dsprites"),
}
_TWO_AT_ONCE, _TORUS = "tvae_Lpartial_mnist_generalization", "tvae_2d_mnist"


def claim_rows(runs: Sequence[Run]) -> list[Row]:
    """Return as table rows the claims (i) to (vii) of the paper; one whose runs are missing is not tested.

    A claim about several models, data sets or factors is `reproduced` if it holds for all of them in every
    seed, `partly` if for some, which are named. Numbers are means over seeds.
    """
    found = groups(runs)
    return [
        e_eq_row(found),
        likelihood_row(found),
        *(rolls_row(found, data) for data in _PAIRS),
        capcorr_row(found),
        combination_row(found),
        torus_row(found),
        window_row(found),
    ]


def verdict(holds: Mapping[str, bool]) -> str:
    """Return `reproduced`, `partly: …` with the parts for which the claim holds, or `not reproduced`."""
    parts = [part for part, it_does in holds.items() if it_does]
    if len(parts) == len(holds):
        return "reproduced"
    return f"partly: {', '.join(parts)}" if parts else "not reproduced"


def _row(claim: str, notebook: str, found: Groups, needed: Iterable[str], parts=lambda: ("", "", "")) -> Row:
    known = set(needed) <= set(found)
    measured, control, said = parts() if known else ("–", "–", "not tested")
    seeds = str(min((len(found[name]) for name in needed), default=0)) if known else "–"
    return {
        "claim": claim,
        "measured": measured,
        "control": control,
        "seeds": seeds,
        "verdict": said,
        "notebook": notebook,
    }


def _listed(values: Mapping[str, float], decimals: int) -> str:
    return ", ".join(f"{name} {number(value, decimals)}".strip() for name, value in values.items())


def _averages(found: Groups, names: Mapping[str, str], key: str, kind: str = "trained") -> dict[str, float]:
    return {words: average(found[name], kind, key) for words, name in names.items()}


def e_eq_row(found: Groups) -> Row:
    """Return claim (i): E_eq falls as L grows; training must lower it further than the window alone does."""

    def parts() -> tuple[str, str, str]:
        trained = _averages(found, _BY_L, "e_eq_share")
        untrained = _averages(found, _BY_L, "e_eq_share", "untrained")
        falls = all(b < a for a, b in itertools.pairwise(trained.values()))
        learned = all(trained[words] < untrained[words] - NEAR for words in trained if words != "L = 0")
        said = verdict({"it falls": falls, "below the untrained model": learned})
        return _listed(trained, 2), f"untrained {_listed(untrained, 2)}", said

    return _row("(i) E_eq falls with L (share of chance, MNIST)", "table1", found, _BY_L.values(), parts)


def likelihood_row(found: Groups) -> Row:
    """Return claim (ii): the likelihood is as good as that of the plain VAE."""
    needed = [name for pair in _PAIRS.values() for name in pair]

    def parts() -> tuple[str, str, str]:
        ours, plain = (
            _averages(found, {data: names[i] for data, names in _PAIRS.items()}, "iwae_sequence")
            for i in (0, 1)
        )
        said = verdict({data: ours[data] >= plain[data] - TIE for data in ours})
        return _listed(ours, 1), f"VAE {_listed(plain, 1)}", said

    claim = "(ii) the likelihood is as good as a VAE's (IWAE-10, nats/frame)"
    return _row(claim, "table1, table2", found, needed, parts)


def _margins(runs: Sequence[Run], kind: str = "trained") -> dict[str, float]:
    factors = [factor for factor, value in runs[0].results[kind][MARGIN].items() if value is not None]
    return {factor: average(runs, kind, f"{MARGIN}/{factor}") for factor in factors}


def _rolls(runs: Sequence[Run]) -> str:
    factors = _margins(runs)
    lowest = {f: min(value_of(run.results["trained"], f"{MARGIN}/{f}") for run in runs) for f in factors}
    return verdict({factor: value > 0 for factor, value in lowest.items()})


def rolls_row(found: Groups, data: str) -> Row:
    """Return claim (iii) for a data set: rolls decode to frames that t never saw, better than any control."""
    name, plain = _PAIRS[data]

    def parts() -> tuple[str, str, str]:
        control = _listed(_margins(found[plain]), 0)
        return _listed(_margins(found[name]), 0), f"VAE {control}", _rolls(found[name])

    claim = f"(iii) rolls decode to unseen frames (roll margin at draws, nats/frame, {data})"
    return _row(claim, "fig4", found, (name, plain), parts)


def capcorr_row(found: Groups) -> Row:
    """Return claim (iv): CapCorr comes near 1; an untrained model with the same window is its control."""
    name = _PAIRS["dSprites"][0]

    def parts() -> tuple[str, str, str]:
        own = found[name]
        trained, untrained = (
            {f: average(own, kind, f"capcorr_first/{f}") for f in own[0].results[kind]["capcorr_first"]}
            for kind in ("trained", "untrained")
        )
        said = verdict({factor: value > 1 - NEAR for factor, value in trained.items()})
        if all(untrained[factor] > trained[factor] - NEAR for factor in trained):
            said += ", but the untrained model has it too"
        return _listed(trained, 2), f"untrained {_listed(untrained, 2)}", said

    return _row("(iv) CapCorr comes near 1 (dSprites)", "table2", found, (name,), parts)


def combination_row(found: Groups) -> Row:
    """Return claim (v): trained on one transformation at a time, rolls carry rotation and hue at once."""

    def parts() -> tuple[str, str, str]:
        own = found[_TWO_AT_ONCE]
        margin, untrained = (next(iter(_margins(own, kind).values())) for kind in ("trained", "untrained"))
        return (
            number(margin, 0),
            f"untrained {number(untrained, 0)}",
            verdict({"": _rolls(own) == "reproduced"}),
        )

    claim = "(v) trained on single transformations, two at once roll (roll margin at draws, nats/frame)"
    return _row(claim, "fig6", found, (_TWO_AT_ONCE,), parts)


def torus_row(found: Groups) -> Row:
    """Return claim (vi): without time, neighbouring units of the torus respond to the same kind of digit."""

    def parts() -> tuple[str, str, str]:
        maps = [map_rows(torus_maps(run)) for run in found[_TORUS]]
        key = "correlation of neighbours' d′"
        trained, untrained = (sum(rows[i][key] for rows in maps) / len(maps) for i in (0, 1))
        learned = all(rows[0][key] > rows[1][key] + NEAR for rows in maps)
        return number(trained, 2), f"untrained torus {number(untrained, 2)}", verdict({"": learned})

    claim = "(vi) topography without time (correlation of neighbours' class selectivity)"
    return _row(claim, "fig3", found, (_TORUS,), parts)


def window_row(found: Groups) -> Row:
    """Return claim (vii): rolls are lost where K shares all units, and where L is short."""
    names = {**_BY_K, "L = 5/36 S": "tvae_Lshort_mnist"}

    def parts() -> tuple[str, str, str]:
        rolls = _averages(found, names, "roll_held_out")
        control = average(found[names["3"]], "trained", "seen_mean")
        # a roll that is worse than its control decides nothing
        best = rolls["3"] if rolls["3"] < control else float("inf")
        said = verdict({"K": best < rolls["18"], "L": best < rolls["L = 5/36 S"]})
        return _listed(rolls, 0), f"mean of seen frames {number(control, 0)}", said

    claim = "(vii) K and L decide what rolls (roll into held-out frames, nats/frame, MNIST)"
    return _row(claim, "table5", found, names.values(), parts)
