"""`fit`: train, resume or load a run, exactly as if it had never been interrupted."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.files import DATA, RUNS, write_json
from tvae_core.measures.evaluation import BATCH, evaluate_with_controls, roll_likelihoods
from tvae_core.model.tvae import TVAE
from tvae_core.seeding import generator
from tvae_core.training.hardware import choose_device, keep_freed_memory
from tvae_core.training.progress import Interruption, Tracker, require_tracking
from tvae_core.training.runs import Run, find_run, provenance
from tvae_core.training.step import Step, build_optimizer

CHECKPOINT_SECONDS = 60
LOG_STEPS = 50
VALIDATIONS = 12  # at the validation split, in a training of so many steps
VALIDATION_SEQUENCES = 100  # sequences of it, where the test split is sampled too

Watch = Callable[[TVAE, Sequence[Mapping[str, int | float]], float], None]

log = logging.getLogger("tvae_core")


class Trainer:
    """A model in training: what a checkpoint holds, and the step that changes it.

    Those `beside` it, other seeds of its experiment at the same step, are trained with it.
    """

    def __init__(self, run: Run, device: torch.device, data: Path):
        keep_freed_memory()
        self.run, self.exp, self.seed, self.device = run, run.exp, run.seed, device
        self.sequences = self.exp.build_sequences("train", self.seed, device, data)
        self.validation = self.exp.build_sequences("validation", self.seed, device, data)
        self.model = self.exp.build_model(self.seed).to(device)
        self.optimizer = build_optimizer(self.exp, self.model)
        self.steps_per_epoch = max(1, len(self.sequences) // self.exp.batch_size)
        self.total = self.exp.max_steps or self.exp.max_epochs * self.steps_per_epoch
        self.beside: Sequence[Trainer] = ()
        self._advance: Step | None = None
        self.step, self.seconds, self.history = 0, 0.0, []
        self.terms = torch.zeros(3, device=device)  # sums of nll, KL z, KL u since the last row of history
        self._restore()

    def _restore(self) -> None:
        saved = self.run.load_checkpoint()
        if saved is None:
            return
        tensors, progress = saved
        self.terms = tensors.pop("terms").to(self.device)
        self.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        state: dict[int, dict[str, Tensor]] = {}
        for key in (k for k in tensors if k.startswith("optimizer.")):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensors[key]
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step, self.seconds, self.history = (progress[k] for k in ("step", "seconds", "history"))
        log.info("going on from step %d of %d", self.step, self.total)
        torch.set_num_threads(progress["threads"])  # sums round differently on another number of them
        if self.device.type != progress["device"]:
            log.warning("begun on %s, so this is no longer one run bit for bit", progress["device"])

    def save(self, final: bool = False) -> None:
        """Write the checkpoint from which training goes on as if it had never stopped.

        The final one leaves the optimizer's state out, which no step will need.
        """
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()} | {"terms": self.terms}
        for index, state in () if final else self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items() if v is not None}
        progress = {"step": self.step, "seconds": self.seconds, "history": self.history}
        on = {"device": self.device.type, "threads": torch.get_num_threads()}
        self.run.save_checkpoint(tensors, **progress, **on)

    def batch_index(self, order: Tensor) -> Tensor:
        """The members of this step's batch, from the epoch's order."""
        within = self.step % self.steps_per_epoch
        return order[within * self.exp.batch_size : (within + 1) * self.exp.batch_size]

    def order(self) -> Tensor:
        """The order in which this step's epoch visits the training split."""
        g = generator(self.device, self.seed, "order", self.step // self.steps_per_epoch)
        return torch.randperm(len(self.sequences), generator=g, device=self.device)

    def take_step(self, *index: Tensor) -> None:
        """One step on these sequences, its own and those of each trainer beside it. Nothing is read back."""
        every = (self, *self.beside)
        if self._advance is None:
            self._advance = Step(self.exp, every, self.total, self.device)
        self._advance(self.step, index)
        for trainer in every:
            trainer.step += 1

    def close_row(self) -> dict[str, int | float]:
        """Close a row of the history: means since the last row, validation where it is due."""
        since = self.step - (self.history[-1]["step"] if self.history else 0)
        nll, kl_z, kl_u = (self.terms / since).tolist()
        self.terms.zero_()
        row = {"step": self.step, "nll": nll, "kl_z": kl_z, "kl_u": kl_u, "elbo": -(nll + kl_z + kl_u)}
        if self.step == self.total or self.step // LOG_STEPS % self._validate_every() == 0:
            row |= self.validate()
        self.history.append(row)
        return row

    def _validate_every(self) -> int:
        steps = (
            self.total // VALIDATIONS if self.exp.max_steps else self.exp.eval_epochs * self.steps_per_epoch
        )
        return max(1, steps // LOG_STEPS)

    def validate(self) -> dict[str, float]:
        """The validation split in nats a frame: nll and elbo at posterior draws, reconstruction and rolls.

        All of it where the experiment measures all of its test split, else a hundred sequences.
        """
        n = (
            len(self.validation)
            if self.exp.eval_sequences is None
            else min(len(self.validation), VALIDATION_SEQUENCES)
        )
        sums: dict[str, Tensor] = {}
        with torch.inference_mode():
            for chunk in torch.arange(n, device=self.device).split(BATCH):
                g = generator(self.device, 0, "validation", int(chunk[0]))
                x = self.validation.batch(chunk, g).x
                out = self.model(x, g)
                values = {"nll": out.nll.mean(1), "elbo": out.elbo.mean(1)}
                values |= roll_likelihoods(self.model, self.exp, x, self.model.latents(x))
                sums = {name: sums.get(name, 0) + value.sum() for name, value in values.items()}
        return {f"validation_{name}": (total / n).item() for name, total in sums.items()}

    def train(self, progress: bool, watch: Watch | None = None) -> None:
        """All steps that are left; an interruption leaves a checkpoint and raises KeyboardInterrupt.

        At each row of the history `watch` is called with the model, the history and the seconds so far.
        """
        every = (self, *self.beside)
        tracker = Tracker(self.run, self.step, self.total, self.seconds, progress)
        orders = [trainer.order() for trainer in every]
        with tracker, Interruption() as interruption:
            while self.step < self.total:
                if self.step % self.steps_per_epoch == 0:
                    orders = [trainer.order() for trainer in every]
                self.take_step(*(t.batch_index(order) for t, order in zip(every, orders, strict=True)))
                tracker.bar.update()
                if self.step % LOG_STEPS == 0 or self.step == self.total:
                    for trainer in reversed(every):
                        tracker.show(trainer.close_row())  # at last its own, which the bar shows
                    if watch is not None:
                        watch(self.model, self.history, tracker.seconds)
                due = tracker.saved_ago > CHECKPOINT_SECONDS
                if due or interruption.requested or self.step == self.total:
                    for trainer in every:
                        trainer.seconds = tracker.seconds
                        trainer.save()
                    tracker.saved()
                if interruption.requested:
                    stopped = f"stopped at step {self.step} of {self.total}; ask again to go on"
                    raise KeyboardInterrupt(stopped)


def fit(
    exp: Experiment,
    seed: int | None = None,
    device: str = "auto",
    runs: Path | str = RUNS,
    data: Path = DATA,
    progress: bool = True,
    watch: Watch | None = None,
) -> Run:
    """The trained and measured run of an experiment: loaded if it exists, resumed if it was interrupted.

    A run that another process trains is waited for, one that lacks measures is only measured. Its folder
    ends up with config.json, history.json, results.json (rows `trained`, `untrained`, `chance`),
    per_sequence.safetensors (what they are made of), provenance.json and checkpoint.safetensors. ValueError
    for a device that is not there.

    `watch` is called with the model, the history so far and the seconds of training, every LOG_STEPS steps.
    """
    return _fit(exp, [exp.seed if seed is None else seed], device, runs, data, progress, watch)[0]


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
    """`fit` for each seed, in their order; `together` trains those that are missing as a batch of models.

    None: together on CUDA, apart on a CPU, where together takes longer. Each seed ends up with the folder
    that `fit` would give it, from which `fit` goes on alone, and the other way round; what it is trained to
    is the same up to rounding (step.Step). The seconds of training are those of all together. Weights &
    Biases, which follows one run of a process, is given one seed after another.
    """
    if together is None:
        together = choose_device(device).type == "cuda"
    parts = [seeds] if together else [[seed] for seed in seeds]
    return [run for part in parts for run in _fit(exp, part, device, runs, data, progress, watch)]


def _fit(
    exp: Experiment,
    seeds: Sequence[int],
    device: str,
    runs: Path | str,
    data: Path,
    progress: bool,
    watch: Watch | None,
) -> list[Run]:
    found = [find_run(exp, seed, device, runs, data) for seed in seeds]
    missing = {run.folder: run for run in found if not run.complete}
    if not missing:
        return found
    require_tracking(exp)
    found[0].exp.build_sequences("train", found[0].seed, folder=data)  # refuses what cannot be, in time
    with ExitStack() as held:
        for folder in sorted(missing):  # in one order, so that no two processes wait for each other
            held.enter_context(missing[folder].locked())
        left = [run for run in missing.values() if not run.complete]
        _train_and_measure(left, choose_device(device), data, progress, watch)
    return found


def _train_and_measure(
    runs: Sequence[Run], device: torch.device, data: Path, progress: bool, watch: Watch | None
) -> None:
    for run in runs:
        write_json(run.folder / "config.json", dataclasses.asdict(run.exp))

    def together(trainer: Trainer) -> tuple[int, ...]:
        return (trainer.step, trainer.seed) if trainer.exp.wandb_on else (trainer.step,)

    trainers = sorted((Trainer(run, device, data) for run in runs), key=together)
    for (done, *_), (first, *others) in groupby(trainers, key=together):
        first.beside = others
        first.train(progress, watch)
        for trainer in (first, *others):
            _measure(trainer, trainer.step > done, data, progress)


def _measure(trainer: Trainer, trained: bool, data: Path, progress: bool) -> None:
    run = trainer.run
    results, kept = evaluate_with_controls(trainer.model.eval(), run.exp, run.seed, data, progress)
    write_json(run.folder / "history.json", trainer.history)
    if trained or not (run.folder / "provenance.json").is_file():  # it tells of the training
        about = provenance(trainer.device, run.exp.load_images(data).source, trainer.seconds)
        write_json(run.folder / "provenance.json", about)
    run.save_per_sequence(**kept)
    write_json(run.folder / "results.json", results)
    trainer.save(final=True)  # only now: until the run is complete, training must be able to go on
