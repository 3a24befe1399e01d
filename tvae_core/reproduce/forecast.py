"""Forecast what a request of run_all.sh takes on GPUs: jobs, hours and storage.

    python -m tvae_core.reproduce.forecast --scale paper --seeds 1,2,3 --only fig4,table1

Nothing is trained. Steps are counted from the options of each run and the official data sets. Their time is
reckoned from what one step took on an H100 (notebooks/README.md).
"""

import heapq
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

import torch

from tvae_core.config import Experiment
from tvae_core.reproduce.display import NOTEBOOK_SECONDS
from tvae_core.reproduce.notebooks import reproducible
from tvae_core.reproduce.request import read_request
from tvae_core.reproduce.run_all import show_table
from tvae_core.reproduce.tasks import tasks

GPUS = (1, 8, 64)
NOTEBOOKS_AT_ONCE = 2  # in the one job that executes them (notebooks/profiles)
TRAINING_IMAGES = {"MNIST": 48_000, "dSprites": 50_625}  # of the official data sets
STEP_MS = {"float32": 1.80, "bfloat16": 1.24}  # measured: FRAMES frames, all of them decoded
FRAMES = 32 * 18
LEAST_MS = 0.5  # assumed: however small its batch, a step waits so long for its kernels to start
AROUND = 33  # seconds of a training outside its steps: of the 40 that scale long took, 7 were its 6,000 steps


def steps(exp: Experiment) -> int:
    """Return the steps of a training on the official data."""
    return exp.max_steps or exp.max_epochs * (TRAINING_IMAGES[exp.dataset] // exp.batch_size)


def hours(exp: Experiment, precision: str = "bfloat16") -> float:
    """Return the hours of a training on an H100; precision: what `auto` means there."""
    measured = STEP_MS[precision if exp.precision == "auto" else exp.precision]
    frames = exp.batch_size * exp.n_transforms
    return (steps(exp) * max(LEAST_MS, measured * frames / FRAMES) / 1000 + AROUND) / 3600


def makespan(durations: Sequence[float], machines: int) -> float:
    """Return when the last of these jobs ends if a machine that is free takes the longest that is left."""
    ends = [0.0] * machines
    for duration in sorted(durations, reverse=True):
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def gigabytes(exp: Experiment) -> float:
    """Return the most that a run's folder holds: weights and optimizer, beside the checkpoint before it."""
    with torch.device("meta"):  # numbers are counted, none is drawn or measured
        model = exp.with_options(standardised=False).build_model()
    parameters = sum(p.numel() for p in model.parameters())
    moments = {"sgd": 1, "adamw": 2}[exp.optimizer]
    return 2 * 4 * (1 + moments) * parameters / 1e9


def job_hours(runs: Iterable[Experiment]) -> list[float]:
    """Return the hours of each job of training: all seeds of an experiment, as if one came after another."""
    found = Counter()
    for exp in runs:
        found[exp.with_options(seed=0)] += hours(exp)
    return list(found.values())


def lines(runs: Sequence[Experiment], notebooks: int) -> list[tuple[str, ...]]:
    """Return the rows of the table under their heading: hours, and how busy so many GPUs are."""
    durations, rows = job_hours(runs), [("GPUs", "hours", "of it notebooks", "GPUs in use")]
    executed = makespan([NOTEBOOK_SECONDS / 3600] * notebooks, NOTEBOOKS_AT_ONCE)
    for gpus in GPUS:
        last = makespan(durations, gpus)
        share = sum(durations) / (gpus * last) if last else 0.0
        rows.append((str(gpus), f"{last + executed:.2f}", f"{executed:.2f}", f"{share:.0%}"))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the forecast of a request; 2 if it is refused."""
    try:
        request = read_request(sys.argv[1:] if arguments is None else arguments, reproducible()[0])
    except ValueError as error:
        print(f"forecast: {error}", file=sys.stderr)
        return 2
    asked = tasks(request)
    needed = {folder: run for task in asked for folder, (_, run) in task.runs.items()}.values()
    runs = [run.exp for run in needed if not run.folder.is_file()]  # a pack is trained already
    durations = job_hours(runs)
    jobs = len(durations) + bool(asked)
    print(f"Scale: {request.scale}, trainings: {len(runs)}, notebooks: {len(asked)}, jobs: {jobs}")
    longest = max(durations, default=0.0)
    print(f"{sum(map(steps, runs)):,} steps, {sum(durations):.1f} GPU hours, the longest {longest:.2f}")
    print(f"{sum(map(gigabytes, runs)):.1f} GB if all are trained at once")
    show_table(lines(runs, len(asked)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
