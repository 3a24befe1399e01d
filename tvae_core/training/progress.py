"""Show how a training goes, and hold an interruption back until a step is whole."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm.auto import tqdm

from tvae_core.training.runs import Run

log = logging.getLogger("tvae_core")

_BAR = "{percentage:3.0f}%|{bar:12}| {n_fmt}/{total_fmt}, {remaining} left{postfix}"  # 100 columns are enough
PROGRESS_VARIABLE = "TVAE_PROGRESS"  # names the file from which run_all.sh reads how its jobs go


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


def report_progress(run: Run, word: str, *values: object) -> None:
    """Append a line for run_all.sh to the file that TVAE_PROGRESS names (reproduce.display); else nothing."""
    if path := os.environ.get(PROGRESS_VARIABLE):
        with open(path, "a", encoding="utf-8") as file:  # one short write, so that lines stay whole
            file.write("\t".join(map(str, ["train", run.folder.name, word, *values])) + "\n")


class Progress:
    """Clock and progress bar of one run of so many sequences."""

    def __init__(self, run: Run, sequences: int, step: int, total: int, seconds: float, progress: bool):
        self.run, self.before, self.first, self.total = run, seconds, step, total
        self.frames_per_step = sequences * run.exp.n_transforms
        notebook = "ipykernel" in sys.modules
        if progress and not notebook:
            log.info("training %s", run)
        self.bar = tqdm(
            total=total,
            initial=step,
            desc=run.exp.name if notebook else "",
            unit="step",
            bar_format=None if notebook else _BAR,
            disable=not progress,
            dynamic_ncols=True,
            mininterval=0.1
            if notebook or sys.stderr.isatty()
            else 10,  # in seconds; a log file needs no more
        )

    def __enter__(self) -> "Progress":
        self.began = self._saved = time.monotonic()
        report_progress(self.run, "step", self.first, self.total, "")
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

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
        steps = (row["step"] - self.first) / max(time.monotonic() - self.began, 1e-9)
        losses = f"nll {row['nll']:.0f}, KL z {row['kl_z']:.1f}, KL u {row['kl_u']:.1f} nats"
        self.bar.set_postfix_str(f"{losses}, {steps * self.frames_per_step:,.0f} frames/s", refresh=False)
        report_progress(self.run, "step", row["step"], self.total, losses)
