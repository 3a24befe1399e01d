"""`fit`: train, resume or load a run, exactly as if it had never been interrupted."""

import dataclasses
import logging
import signal
import threading
from pathlib import Path
from types import FrameType

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from tvae_core.devices import choose_device, keep_freed_memory
from tvae_core.draws import generator
from tvae_core.evaluation import BATCH, measure_all, rolled
from tvae_core.experiments import Experiment
from tvae_core.files import write_json
from tvae_core.live import Live
from tvae_core.paths import DATA, RUNS
from tvae_core.runs import Run, find_run, provenance
from tvae_core.schedule import build_optimizer, kl_weight, learning_rate
from tvae_core.tracking import Tracker, require_tracking

CHECKPOINT_SECONDS = 60
LOG_STEPS = 50
LOOKS = 12  # at the validation split, in a training of so many steps
SAMPLED = 100  # sequences of it, where the test split is sampled too

log = logging.getLogger("tvae_core")


class Interruption:
    """Holds Ctrl-C and termination back until a step is whole; the second one goes through at once."""

    def __enter__(self) -> "Interruption":
        self.requested = False
        main = threading.current_thread() is threading.main_thread()
        heard = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) is not signal.SIG_IGN]
        self._before = {s: signal.signal(s, self._note) for s in heard} if main else {}
        return self

    def _note(self, number: int, _: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        self._restore()


class Trainer:
    """A model in training: what a checkpoint holds, and the step that changes it."""

    def __init__(self, run: Run, device: torch.device, data: Path):
        keep_freed_memory()
        self.run, self.exp, self.seed, self.device = run, run.exp, run.seed, device
        self.sequences = self.exp.build_sequences("train", self.seed, device, data)
        self.validation = self.exp.build_sequences("validation", self.seed, device, data)
        self.model = self.exp.build_model(self.seed).to(device)
        self.optimizer = build_optimizer(self.exp, self.model)
        self.steps_per_epoch = max(1, len(self.sequences) // self.exp.batch_size)
        self.total = self.exp.max_steps or self.exp.max_epochs * self.steps_per_epoch
        self.dtype = getattr(torch, self.exp.precision)
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

    def advance(self, index: Tensor) -> None:
        """One step on these sequences. Nothing is read back from the device."""
        g = generator(self.device, self.seed, "step", self.step)
        x = self.sequences.batch(index, g).x
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            out = self.model(x, g)
        terms = torch.stack([out.nll.mean(), out.kl_z.mean(), out.kl_u.mean()])
        weight = kl_weight(self.exp, self.step, self.total)
        self.optimizer.zero_grad()
        (terms[0] + weight * (terms[1] + terms[2])).backward()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.exp, self.step, self.total)
        self.optimizer.step()
        self.terms += terms.detach()
        self.step += 1

    def note(self) -> dict[str, int | float]:
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
        steps = self.total // LOOKS if self.exp.max_steps else self.exp.eval_epochs * self.steps_per_epoch
        return max(1, steps // LOG_STEPS)

    def validate(self) -> dict[str, float]:
        """The validation split in nats a frame: nll and elbo at posterior draws, reconstruction and rolls.

        All of it where the experiment measures all of its test split, else a hundred sequences.
        """
        n = len(self.validation) if self.exp.eval_sequences is None else min(len(self.validation), SAMPLED)
        sums: dict[str, Tensor] = {}
        with torch.inference_mode():
            for chunk in torch.arange(n, device=self.device).split(BATCH):
                g = generator(self.device, 0, "validation", int(chunk[0]))
                x = self.validation.batch(chunk, g).x
                out = self.model(x, g)
                values = {"nll": out.nll.mean(1), "elbo": out.elbo.mean(1)}
                values |= rolled(self.model, self.exp, x, self.model.latents(x))
                sums = {name: sums.get(name, 0) + value.sum() for name, value in values.items()}
        return {f"validation_{name}": (total / n).item() for name, total in sums.items()}

    def live(self, progress: bool) -> Live:
        """What a notebook shows meanwhile: the first sequence of the validation split."""
        g = generator(self.device, 0, "live")
        return Live(self.exp, self.validation.batch(torch.tensor([0], device=self.device), g), progress)

    def train(self, progress: bool) -> None:
        """All steps that are left; an interruption leaves a checkpoint and raises KeyboardInterrupt."""
        tracker = Tracker(self.run, self.step, self.total, self.seconds, progress)
        order, live = self.order(), self.live(progress)
        with tracker, Interruption() as interruption:
            while self.step < self.total:
                if self.step % self.steps_per_epoch == 0:
                    order = self.order()
                self.advance(self.batch_index(order))
                tracker.bar.update()
                if self.step % LOG_STEPS == 0 or self.step == self.total:
                    tracker.show(self.note())
                    live.look(self.model, self.history, tracker.seconds)
                self.seconds = tracker.seconds
                due = tracker.saved_ago > CHECKPOINT_SECONDS
                if due or interruption.requested or self.step == self.total:
                    self.save()
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
) -> Run:
    """The trained and measured run of an experiment: loaded if it exists, resumed if it was interrupted.

    A run that another process trains is waited for, one that lacks measures is only measured. Its folder
    ends up with config.json, history.json, results.json (rows `trained`, `untrained`, `chance`),
    per_sequence.safetensors (what they are made of), provenance.json and checkpoint.safetensors. ValueError
    for a device that is not there.
    """
    run = find_run(exp, seed, device, runs, data)
    if run.complete:
        return run
    require_tracking(exp)
    run.exp.build_sequences("train", run.seed, folder=data)  # refuses what the data cannot be, in time
    run.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run.folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s is being trained by another process: waiting for it", run.folder.name)
        lock.acquire()
    try:
        if not run.complete:
            _train_and_measure(run, choose_device(device), data, progress)
    finally:
        lock.release()
    return run


def _train_and_measure(run: Run, device: torch.device, data: Path, progress: bool) -> None:
    write_json(run.folder / "config.json", dataclasses.asdict(run.exp))
    trainer = Trainer(run, device, data)
    done = trainer.step
    trainer.train(progress)
    results, kept = measure_all(trainer.model.eval(), run.exp, run.seed, data, progress)
    write_json(run.folder / "history.json", trainer.history)
    if trainer.step > done or not (run.folder / "provenance.json").is_file():  # it tells of the training
        about = provenance(device, run.exp.load_images(data).source, trainer.seconds)
        write_json(run.folder / "provenance.json", about)
    run.save_per_sequence(**kept)
    write_json(run.folder / "results.json", results)
    trainer.save(final=True)  # only now: until the run is complete, training must be able to go on
