"""`fit`: train, resume or load a run, exactly as if it had never been interrupted."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path

import torch

from tvae_core.config import Experiment
from tvae_core.files import DATA, RUNS, write_csv, write_json
from tvae_core.measures.controls import evaluate_with_controls
from tvae_core.model.tvae import TVAE
from tvae_core.store import is_json, json_digest, read_json
from tvae_core.training.hardware import choose_device, describe, peak_device_memory
from tvae_core.training.learner import LOG_STEPS, Learner
from tvae_core.training.progress import Interruption, Progress, report_progress, signals
from tvae_core.training.provenance import peak_memory, software
from tvae_core.training.runs import Run, plan
from tvae_core.training.step import Step
from tvae_core.training.tracking import Tracker, require_tracker, show_rolls, start_tracker, tracker_of
from tvae_core.training.warm_start import about_start
from tvae_core.validation import check_real

CHECKPOINT_VARIABLE, CHECKPOINT_SECONDS = "TVAE_CHECKPOINT_SECONDS", 60.0  # between two checkpoints

Watch = Callable[[TVAE, Sequence[Mapping[str, int | float]], float], None]


def checkpoint_seconds() -> float:
    """Return the seconds between two checkpoints: TVAE_CHECKPOINT_SECONDS, or 60; with 0 each step has one.

    Raises ValueError for anything but a number from 0 up.
    """
    written = os.environ.get(CHECKPOINT_VARIABLE)
    try:
        return CHECKPOINT_SECONDS if written is None else check_real(CHECKPOINT_VARIABLE, float(written), 0)
    except ValueError:
        words = "but must be a number of seconds from 0 up, such as 60"
        raise ValueError(f"{CHECKPOINT_VARIABLE} is {written!r}, {words}") from None


class Trainer:
    """Takes the steps of learners that stand at the same one, and keeps their history and checkpoints."""

    def __init__(self, learners: Sequence[Learner], step: Step):
        self.learners, self.step, self.between = learners, step, checkpoint_seconds()

    def train(self, progress: bool, watch: Watch | None = None) -> None:
        """Take all steps that are left; an interruption leaves a checkpoint and raises KeyboardInterrupt.

        Raises DivergedError, and leaves the last sound checkpoint, if a loss or a weight is not finite.
        At each row of the history `watch` is called with the model, the history and the seconds so far of
        the first learner, which the progress bar shows too.
        """
        first = self.learners[0]
        size = min(first.exp.batch_size, len(first.data.train))
        clock = Progress(first.run, size, first.step, first.total, first.seconds, progress)
        with clock, tracked(first) as tracker, threads(first.threads), Interruption() as interruption:
            while first.step < first.total:
                self.step()
                clock.bar.update()
                done = first.step == first.total
                if done or first.step % LOG_STEPS == 0:
                    for learner in reversed(self.learners):
                        clock.show(learner.close_row())
                    if tracker is not None:
                        tracker.log(first.history[-1])
                    if watch is not None:
                        watch(first.model, first.history, clock.seconds)
                if done or interruption.requested or clock.saved_ago > self.between:
                    for learner in self.learners:
                        learner.check()
                        learner.seconds = clock.seconds
                        learner.save()
                    clock.saved()
                if interruption.requested:
                    stopped = f"stopped at step {first.step} of {first.total}; ask again to go on"
                    raise KeyboardInterrupt(stopped)


def fit(
    exp: Experiment,
    device: str = "auto",
    runs: Path | str = RUNS,
    data: Path = DATA,
    progress: bool = True,
    watch: Watch | None = None,
) -> Run:
    """Return the trained and measured run of an experiment: loaded if it exists, resumed if interrupted.

    A run that another process trains is waited for, one that lacks measures is only measured. Its folder
    ends up with config.json, history.json and .csv, results.json (rows `trained`, `untrained`, `chance`),
    per_sequence.safetensors (what they are made of), provenance.json and checkpoint.safetensors.

    device: auto, cpu, cuda or mps. runs, data: the folders of runs and of downloaded data. progress: whether
    a bar is shown. watch: called with the model, the history and the seconds so far, every LOG_STEPS steps.
    Raises ValueError for a device that is not there, OSError for data or files that cannot be had, and
    DivergedError.

    >>> from tempfile import TemporaryDirectory
    >>> from tvae_core import EXPERIMENTS
    >>> exp = EXPERIMENTS["nontvae_mnist"].at_scale("smoke").with_options(max_steps=2, eval_sequences=4)
    >>> with TemporaryDirectory() as folder:
    ...     run = fit(exp, runs=folder, progress=False)
    ...     run.title, run.complete, run.history[-1]["step"], list(run.results)
    ('VAE, max_steps=2 eval_sequences=4', True, 2, ['trained', 'untrained', 'chance'])
    """
    return _fit([exp], device, runs, data, progress, watch)[0]


def fit_seeds(
    exp: Experiment,
    seeds: Sequence[int],
    device: str = "auto",
    runs: Path | str = RUNS,
    data: Path = DATA,
    progress: bool = True,
    together: bool | None = None,
    watch: Watch | None = None,
) -> list[Run]:
    """Return the run of each seed, in their order, as `fit` does.

    together: train the missing ones as a batch of models; None: on CUDA, but not on a CPU, where it takes
    longer. Each seed ends up with the folder that `fit` would give it, from which `fit` goes on alone, and
    the other way round; what it is trained to is the same up to rounding (Step). The seconds of training are
    those of all together. A tracker follows one run of a process, so it is given one seed at a time.
    """
    if together is None:
        together = choose_device(device).type == "cuda"
    exps = [exp.with_options(seed=seed) for seed in seeds]
    parts = [exps] if together else [[one] for one in exps]
    return [run for part in parts for run in _fit(part, device, runs, data, progress, watch)]


def _fit(
    exps: Sequence[Experiment],
    device: str,
    runs: Path | str,
    data: Path,
    progress: bool,
    watch: Watch | None,
) -> list[Run]:
    found = [plan(exp, device, runs, data) for exp in exps]
    if all(run.complete for run in found):
        return found
    require_tracker(exps[0])
    checkpoint_seconds()  # refused before anything is fetched or written
    images = exps[0].load_images(data)  # fetched, if need be
    if images.key != found[0].data_key:  # they could not be
        source = exps[0].image_set.source_of(images.key)
        found = [plan(exp.with_options(source=source), device, runs, data) for exp in exps]
    each = {run.training: run for run in found if not run.complete}
    with signals(), ExitStack() as held:
        for _, run in sorted(each.items()):  # in one order, so that no two processes wait for each other
            held.enter_context(run.locked())
        _train_and_measure([run for run in each.values() if not run.complete], progress, watch)
    return found


def _train_and_measure(runs: Sequence[Run], progress: bool, watch: Watch | None) -> None:
    def together(learner: Learner) -> tuple[int, ...]:
        return (learner.step, learner.exp.seed) if tracker_of(learner.exp) != "none" else (learner.step,)

    learners = sorted(map(Learner, runs), key=together)  # refuses what cannot be, before anything is written
    for run in runs:
        write_json(run.folder / "config.json", dataclasses.asdict(run.exp))
    for (done, *_), group in groupby(learners, key=together):
        group = list(group)
        if done < group[0].total:
            Trainer(group, Step(group)).train(progress, watch)
        for learner in group:
            with threads(learner.threads):
                _measure(learner, learner.step > done, progress)


@contextmanager
def tracked(learner: Learner) -> Iterator[Tracker | None]:
    """Give the block the tracker of a run, None for none; close it, with rolls after the last step."""
    tracker = start_tracker(learner.run, learner.history)
    try:
        yield tracker
        if tracker is not None:
            show_rolls(tracker, learner.run, learner.model)
    finally:
        if tracker is not None:
            tracker.close()


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute on so many threads: sums round differently on another number of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure(learner: Learner, trained: bool, progress: bool) -> None:
    run = learner.run
    report_progress(run, "measuring")
    results, kept = evaluate_with_controls(
        learner.model.eval(), run.exp, run.folder.parent, run.data_folder, progress
    )
    made = _provenance_of(learner, trained)
    written = {"config": dataclasses.asdict(run.exp), "history": learner.history}
    written |= {"results": results, "provenance": made}
    write_json(run.folder / "history.json", learner.history)
    write_csv(run.folder / "history.csv", learner.history)
    write_json(run.folder / "provenance.json", made)
    run.save_per_sequence(**kept)
    digests = {k: json_digest(v) for k, v in written.items()}
    learner.save(final=True, provenance=made, digests=digests)
    write_json(run.folder / "results.json", results)  # last: now the run is complete


def _provenance_of(learner: Learner, trained: bool) -> dict[str, object]:
    """What is known of the training; of an earlier one what its checkpoint says, or else its file."""
    run = learner.run
    if learner.provenance and not trained:
        return learner.provenance
    if not trained and is_json(run.folder / "provenance.json"):
        return read_json(run.folder / "provenance.json")
    source = run.exp.load_images(run.data_folder).source
    return _provenance(run.device, source, learner.seconds) | about_start(run)


def _provenance(device: torch.device, data_source: str, seconds: float) -> dict[str, object]:
    """Return how a result came about: data, device, commit, versions, seconds of training, bytes of memory.

    The peaks are of this process, so after an interruption they are of the rest of the training.
    """
    return {
        "data": data_source,
        "device": describe(device),
        **software(),
        "seconds": round(seconds, 1),
        "peak_memory": peak_memory(),
        "peak_device_memory": peak_device_memory(device),
    }
