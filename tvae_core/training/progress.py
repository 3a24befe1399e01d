"""Show how a training goes, and hold an interruption back until a step is whole."""

import importlib
import importlib.util
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from tvae_core.config import Experiment
from tvae_core.training.runs import Run


@contextmanager
def signals(handler: Callable[..., None] = signal.default_int_handler) -> Iterator[None]:
    """Answer Ctrl-C, termination and a closed terminal by the handler, by default with KeyboardInterrupt.

    A signal that the process ignores stays ignored.
    """
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    main = threading.current_thread() is threading.main_thread()
    heard = [n for n in numbers if main and signal.getsignal(n) not in (signal.SIG_IGN, None)]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        yield
    finally:
        for number, other in before.items():
            signal.signal(number, other)


class Interruption:
    """Notes in `requested` that a signal came, so that a step is made whole; a second one raises."""

    requested = False

    def __enter__(self) -> "Interruption":
        self._signals = signals(self._note)
        self._signals.__enter__()
        return self

    def _note(self, *_: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(self, *_: object) -> None:
        self._signals.__exit__(None, None, None)


def require_tracking(exp: Experiment) -> None:
    """Raise ValueError if the experiment wants Weights & Biases and the package is not installed."""
    if exp.wandb_on and importlib.util.find_spec("wandb") is None:
        raise ValueError("wandb_on is True, but the package wandb is not installed: pip install wandb")


class Tracker:
    """Clock, progress bar and, with `wandb_on`, the Weights & Biases log of one run of so many sequences."""

    def __init__(self, run: Run, sequences: int, step: int, total: int, seconds: float, progress: bool):
        self.run, self.before = run, seconds
        self.frames_per_step = sequences * run.exp.n_transforms
        self.wandb = None
        if run.exp.wandb_on:
            wandb = importlib.import_module("wandb")
            self.wandb = wandb.init(project="tvae", id=run.folder.name, resume="allow")
        seen = sys.stderr.isatty() or "ipykernel" in sys.modules
        self.bar = tqdm(
            total=total,
            initial=step,
            desc=run.exp.name,
            unit="step",
            disable=not progress,
            dynamic_ncols=True,
            mininterval=0.1 if seen else 10,  # in seconds; a log file needs no more
        )

    def __enter__(self) -> "Tracker":
        self.began = self._saved = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
        if self.wandb:
            self.wandb.finish()

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before interruptions included."""
        return round(self.before + time.monotonic() - self.began, 2)

    @property
    def saved_ago(self) -> float:
        """Seconds since the last checkpoint."""
        return time.monotonic() - self._saved

    def saved(self) -> None:
        """Note that a checkpoint was just written."""
        self._saved = time.monotonic()

    def show(self, row: dict[str, int | float]) -> None:
        """Put the seconds into a row of the history and show it."""
        row["seconds"] = self.seconds
        bar = self.bar.format_dict  # its rate is None until the bar was drawn a second time
        rate = bar["rate"] or (bar["n"] - (bar["initial"] or 0)) / max(bar["elapsed"], 1e-9)
        losses = f"nll {row['nll']:.0f}, KL z {row['kl_z']:.1f}, KL u {row['kl_u']:.1f} nats"
        self.bar.set_postfix_str(f"{losses}, {rate * self.frames_per_step:,.0f} frames/s", refresh=False)
        if self.wandb:
            self.wandb.log(row, step=row["step"])
