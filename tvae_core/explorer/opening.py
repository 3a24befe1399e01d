"""Which run the explorer opens: the best of one data set; and what it is called."""

import math
import shlex
from collections.abc import Sequence

from tvae_core.config import DATA_KINDS
from tvae_core.explorer.state import ExplorerState
from tvae_core.figures.notebook import fit_all
from tvae_core.files import RUNS
from tvae_core.training.registry import is_source, open_run, packed_runs
from tvae_core.training.runs import Run, stored_runs


def open_explorer(
    experiments: Sequence[str], scale: str, device: str = "auto", runs: str = ""
) -> ExplorerState:
    """Open the packs of this repository and the usual runs, the best first, and print which one is shown.

    `runs` may name another folder of runs, which is then opened alone, or one pack (open_run). Where there is
    nothing, the experiments are trained at that scale, in view.
    """
    found = [open_run(runs)] if is_source(runs) else stored_runs(runs or RUNS)
    if not (runs and found):
        found += packed_runs()
    explorer = ExplorerState(rank_runs(found) or fit_all(experiments, scale, (), device, runs or RUNS))
    run = explorer.run
    print(f"Opened {describe_run(run)}, the best of {len(explorer.runs)} runs")
    if run.folder.is_file():
        print(f"It is a pack, {run.folder}")
    print(numbers_of(run))
    explorer.roll = explorer.roll.at(3.0)  # where it can be seen that t has moved
    explorer.capsule = int(explorer.roll.sequence.t.std(2).mean(0).argmax())  # whose units differ most
    return explorer


def rank_runs(runs: Sequence[Run]) -> list[Run]:
    """Sort the runs of sequences, the best first; runs of single frames are left out.

    Smoke runs come last, since they show noise; packs come before other runs. Runs that are measured on the
    same data stay together, in the order of DATA_KINDS; among them the one whose rolls into held-out frames
    cost the fewest nats is first. After these come plain VAEs that roll no better than the mean frame, and
    models whose window holds no frame out.
    """

    def rank(run: Run) -> tuple[bool, bool, int, str, bool, bool, float]:
        exp, nats = run.exp, held_out_nats(run)
        plain = exp.topography == "none" and nats >= held_out_nats(run, "chance")
        data = DATA_KINDS.index(exp.data), exp.test_data + exp.sequences
        return exp.scale == "smoke", not run.folder.is_file(), *data, not exp.held_out, plain, nats

    return sorted((run for run in runs if run.exp.n_transforms > 1), key=rank)


def held_out_nats(run: Run, row: str = "trained") -> float:
    """Return what rolls into held-out frames cost, in nats/frame; inf if that was not measured."""
    nats = run.results[row].get("roll_held_out")
    return math.inf if nats is None or math.isnan(nats) else nats


def describe_run(run: Run) -> str:
    """Name a run in words, with what its rolls into held-out frames cost in nats/frame.

    Such as `Lpartial MNIST · long · seed 2 · held-out 271`, and then the options that were changed.
    """
    name, *options = run.label.removeprefix("tvae_").split(" ")
    words = name.replace("nontvae", "VAE").replace("mnist", "MNIST").replace("dsprites", "dSprites")
    nats = held_out_nats(run)
    parts = [words.replace("_", " "), run.exp.scale, f"seed {run.exp.seed}"]
    parts += [f"held-out {nats:.0f}"] * math.isfinite(nats) + [" ".join(options)] * bool(options)
    return " · ".join(parts)


def numbers_of(run: Run) -> str:
    """Return what a run's reconstructions cost, and its controls; of a smoke run also that it shows noise."""
    found = {"reconstruction": run.results["trained"]["reconstruction"]}
    found |= {"held-out roll": held_out_nats(run), "mean frame": held_out_nats(run, "chance")}
    better = f"tvae --name {shlex.quote(run.label)} --scale quick"
    noise = f". A smoke run shows noise. Train a better one: {better}"
    words = ", ".join(f"{name} {nats:.0f}" for name, nats in found.items() if math.isfinite(nats))
    return f"Means of the test split, nats/frame: {words}{noise * (run.exp.scale == 'smoke')}"
