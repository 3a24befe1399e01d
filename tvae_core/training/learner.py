"""One seed in training: its model, optimizer and data, how far it has come, and its checkpoint."""

import contextlib
import logging
import math
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.measures.catalog import flat
from tvae_core.measures.evaluation import evaluate_sequences
from tvae_core.model.tvae import TVAE
from tvae_core.seeding import generator
from tvae_core.store import DamagedFile, read_about, read_tensors, restore
from tvae_core.training.hardware import computed_by
from tvae_core.training.runs import CHECKPOINT, Run
from tvae_core.training.schedule import window_at
from tvae_core.training.splits import Splits
from tvae_core.training.warm_start import load_start

TERMS = ("nll", "kl_z", "kl_u")
LOG_STEPS = 50  # between two rows of the history
VALIDATION = "validation_"  # before the keys of its measures in a row of the history
VALIDATIONS = 12  # measurements of the validation split in a training of so many steps
VALIDATION_SEQUENCES = 100  # sequences of it, where the test split is sampled too

log = logging.getLogger("tvae_core")


def build_optimizer(exp: Experiment, model: TVAE) -> torch.optim.Optimizer:
    """Return SGD with momentum, or AdamW: one fused kernel where the device has it, its rate a tensor."""
    device = next(model.parameters()).device
    cuda, fused = device.type == "cuda", device.type in ("cuda", "cpu")
    # the kernel of CUDA reads a float32 on the device, that of the CPU any number on the host
    place = {"device": device, "dtype": torch.float32} if cuda else {"dtype": torch.float64}
    lr = torch.tensor(exp.lr, **place) if fused else exp.lr
    if exp.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=exp.momentum, fused=fused)
    kept = {"betas": (0.9, exp.beta2), "weight_decay": 0.0, "capturable": cuda}
    return torch.optim.AdamW(model.parameters(), lr=lr, fused=fused, **kept)


def _of_this_version(
    path: Path, tensors: dict[str, Tensor], progress: dict[str, object]
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return tensors and progress of a checkpoint. Raises DamagedFile if it lacks what this version needs."""
    lacking = {"terms"} - tensors.keys() | {"step", "seconds", "history", "threads"} - progress.keys()
    if lacking:
        raise DamagedFile(f"{path} lacks {', '.join(sorted(lacking))}, so it is of another version")
    return tensors, progress


class DivergedError(ArithmeticError):
    """A loss or a weight that is not a finite number any more."""


class Learner:
    """One seed in training, at the step where its checkpoint left off."""

    def __init__(self, run: Run):
        self.run, self.exp, self.device = run, run.exp, run.device
        self.data = Splits(run.exp, run.data_folder, run.device)
        self.model = self.exp.build_model().to(run.device)
        self.optimizer = build_optimizer(self.exp, self.model)
        if self.exp.batch_size > (n := len(self.data.train)):
            raise ValueError(
                f"batch_size is {self.exp.batch_size}, but there are {n:,} sequences to train on"
            )
        self.steps_per_epoch = max(1, len(self.data.train) // self.exp.batch_size)
        self.total = self.exp.max_steps or self.exp.max_epochs * self.steps_per_epoch
        self.step, self.seconds, self.history = 0, 0.0, []
        self.saved_step, self.threads = 0, torch.get_num_threads()
        # since the last row: sums of nll, KL z and KL u, and in how many steps all of them were finite
        self.terms = torch.zeros(4, device=run.device)
        self._epoch: tuple[int, Tensor] | None = None  # its number and its order
        self.provenance: dict[str, object] | None = None  # of the training, once it is measured
        self._restore()

    def _restore(self) -> None:
        saved = self._furthest_checkpoint()
        if saved is None:
            if self.exp.warm_start:
                restore(self.model, *load_start(self.run))
            return
        tensors, progress = saved
        self.terms = tensors.pop("terms").to(self.device)
        restore(self.model, tensors, progress)
        state: dict[int, dict[str, Tensor]] = {}
        for key in (k for k in tensors if k.startswith("optimizer.")):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensors[key]
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.step, self.seconds, self.history = (progress[k] for k in ("step", "seconds", "history"))
        self.saved_step, self.threads = self.step, progress["threads"]
        self.provenance = progress.get("provenance")
        log.info("going on from step %d of %d", self.step, self.total)
        here = computed_by(self.device)
        if (there := progress.get("computed_by", here)) != here:
            log.warning("begun on %s and now on %s, so this is no longer one run bit for bit", there, here)

    def _furthest_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, object]] | None:
        """Return the furthest checkpoint of this training: the run's own, or one under another name."""
        own, saved = self.run.folder / CHECKPOINT, None
        try:
            saved = _of_this_version(own, *self.run.load_checkpoint()) if own.is_file() else None
        except DamagedFile as error:
            aside = own.replace(own.with_suffix(".damaged"))
            log.warning("%s; it is kept as %s, and training begins anew", error, aside.name)
        for path in own.parent.parent.glob(f"*/{CHECKPOINT}"):
            with contextlib.suppress(OSError):  # of another run: not ours to judge
                about, step = read_about(path), saved[1]["step"] if saved else 0
                if about.get("training") == self.run.training and about.get("step", 0) > step:
                    saved = _of_this_version(path, *read_tensors(path))
                    log.info("the same training as %s", path.parent.name)
        return saved

    def check(self) -> None:
        """Raise DivergedError if a loss since the last row, or a weight, is not finite."""
        *sums, finite = self.terms.tolist()
        last = self.history[-1]["step"] if self.history else 0
        if finite < self.step - last:
            step = last + int(finite) + 1
            what = next(f"{k} is {v}" for k, v in zip(TERMS, sums, strict=True) if not math.isfinite(v))
        elif not all(p.isfinite().all() for p in self.model.parameters()):
            step, what = self.step, "a weight is not finite"
        else:
            return
        kept = f"the checkpoint of step {self.saved_step} is kept" if self.saved_step else "nothing is kept"
        raise DivergedError(
            f"training of {self.run} diverged at step {step} of {self.total} ({what}; {kept}): "
            f"try a smaller lr than {self.exp.lr:g}"
        )

    def save(self, final: bool = False, **about: object) -> None:
        """Write the checkpoint from which training goes on as if it had never stopped.

        The final one leaves out the optimizer's state, which no step will need. about: more JSON values for
        its header.
        """
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()} | {"terms": self.terms}
        for index, state in () if final else self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items() if v is not None}
        progress = {"step": self.step, "seconds": self.seconds, "history": self.history}
        progress |= {"device": self.device.type, "threads": self.threads, "window": self.window}
        progress["decoder"] = self.model.decoder.centre, self.model.decoder.spread
        self.run.save_checkpoint(tensors, **progress, computed_by=computed_by(self.device), **about)
        self.saved_step = self.step

    @property
    def window(self) -> tuple[int, ...]:
        """The group_kernel of W as it is: that of the last step, at the end the experiment's own."""
        done = self.step == self.total
        return self.exp.group_kernel if done else window_at(self.exp, (self.step - 1) / self.total)

    def members(self) -> Int[Tensor, " B"]:
        """Return the members of the next step's batch, as places in the training split.

        Each epoch visits the split in an order of its own, which depends on the seed alone.
        """
        epoch, within = divmod(self.step, self.steps_per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            g = generator(self.device, self.exp.seed, "order", epoch)
            self._epoch = epoch, torch.randperm(len(self.data.train), generator=g, device=self.device)
        size = self.exp.batch_size
        return self._epoch[1][within * size : (within + 1) * size]

    def close_row(self) -> dict[str, int | float]:
        """Close and return a row of the history: means since the last row, and validation where it is due.

        Raises DivergedError (check).
        """
        self.check()
        nll, kl_z, kl_u = (self.terms[:3] / self.terms[3]).tolist()
        self.terms.zero_()
        row = {"step": self.step, "nll": nll, "kl_z": kl_z, "kl_u": kl_u, "elbo": -(nll + kl_z + kl_u)}
        if self.window != self.exp.group_kernel:
            row["window"] = self.window[0]
        if self.step == self.total or self.step // LOG_STEPS % self._validate_every() == 0:
            row |= self.validate()
        self.history.append(row)
        return row

    def _validate_every(self) -> int:
        epochs = self.exp.eval_epochs * self.steps_per_epoch
        steps = self.total // VALIDATIONS if self.exp.max_steps else epochs
        return max(1, steps // LOG_STEPS)

    def validate(self) -> dict[str, float]:
        """Measure the validation split as `evaluate` does the test split, but for IWAE, in one draw.

        The keys of measures follow on `validation_`, and a factor on `/` where there is a value for each. All
        of the split where the experiment measures all of its test split, else VALIDATION_SEQUENCES of it.
        """
        n = len(self.data.validation)
        n = n if self.exp.eval_sequences is None else min(n, VALIDATION_SEQUENCES)
        exp = self.exp.with_options(eval_sequences=n, n_is_samples=1)
        row = flat(evaluate_sequences(self.model, exp, self.data.validation)[0])
        skipped = ("n_sequences", "iwae_sequence", "iwae_per_frame")
        known = {key: value for key, value in row.items() if value is not None and key not in skipped}
        return {f"{VALIDATION}{key}": value for key, value in known.items()}
