"""Show how a call of run_all.sh goes: how much is done, what is at work now, and the minutes that are left.

On a terminal these lines stay in place, and whatever ends or warns is written above them. Elsewhere a line
is written when something begins or ends.
"""

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from tvae_core.reproduce.report import Item, minutes
from tvae_core.reproduce.status import Status
from tvae_core.reproduce.tasks import Task

BAR = 16  # columns
POLL = 0.3  # seconds between two looks at what the jobs say
NOTEBOOK_SECONDS = 30.0  # that a notebook is taken to need until one has ended
KINDS = {"train": "training", "notebook": "executing"}
_DONE = {"train": "trained", "notebook": "made   "}


@dataclass
class Job:
    """One training or one notebook at work: since when, and how far the training has come."""

    kind: str
    name: str
    began: float
    stepping: float = 0.0  # since when it trains
    first: int = 0  # step, from which an interrupted training goes on
    step: int = 0
    total: int = 0
    note: str = ""

    @property
    def share(self) -> float:
        """Return how much of its steps is taken, from 0 to 1."""
        return self.step / self.total if self.total else 0.0

    def seconds_left(self, usual: float, now: float) -> float:
        """Return the seconds that it still needs: by its steps, or else by what others took (`usual`)."""
        taken = self.step - self.first
        if self.kind == "train" and taken > 0:
            return (now - self.stepping) / taken * (self.total - self.step)
        return max(0.0, usual - (now - self.began))


class Display:
    """Follows the jobs of Snakemake through a file, to which each of them appends lines (hear)."""

    def __init__(self, tasks: Sequence[Task], parallel: int, path: Path, console: Console | None = None):
        self.console = console or Console(stderr=True, highlight=False, markup=False, soft_wrap=False)
        self.path, self.parallel = path, parallel
        self.tasks = {task.notebook.name: task for task in tasks}
        runs = {folder: run for task in tasks for folder, (_, run) in task.runs.items()}
        self.runs = {folder: run for folder, run in runs.items() if not run.complete}
        self.scale = tasks[0].request.scale
        self.jobs: dict[tuple[str, str], Job] = {}
        self.took: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.ended = dict.fromkeys(KINDS, 0)
        self._said: set[str] = set()
        self._closing = threading.Event()

    def __enter__(self) -> "Display":
        self.live = Live(
            get_renderable=self.lines, console=self.console, refresh_per_second=2, transient=True
        )
        if self.console.is_terminal:
            self.live.start()
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._reader.join()
        self.live.stop()

    def write(self, line: str) -> None:
        """Write a line above what stays in place; where the data are from is said once."""
        if line.startswith("data: "):
            if line in self._said:
                return
            self._said.add(line)
        self.console.print(line, soft_wrap=not self.console.is_terminal)

    def _follow(self) -> None:
        with self.path.open(encoding="utf-8") as file:
            unfinished, last = "", False
            while not last:
                last = self._closing.wait(POLL)
                *lines, unfinished = (unfinished + file.read()).split("\n")
                for line in lines:
                    self.hear(line)

    def hear(self, line: str) -> None:
        """Take in one line of a job: its kind, its key and a word with its values, separated by tabs.

        A word is `began`; `step` with the steps taken, all steps and the losses; `measuring`; or
        `ended` with the exit code.
        """
        kind, key, word, *values = line.split("\t")
        name = str(self.runs.get(key, key))
        job = self.jobs.setdefault((kind, key), Job(kind, name, time.monotonic()))
        if word == "began" and not self.console.is_terminal:
            self.write(f"{KINDS[kind]} {name}")
        elif word == "step":
            if not job.total:
                job.first, job.stepping = int(values[0]), time.monotonic()
            job.step, job.total, job.note = int(values[0]), int(values[1]), values[2]
        elif word == "measuring":
            job.step, job.note = job.total, "measuring"
        elif word == "ended":
            del self.jobs[kind, key]
            self._end(job, key, int(values[0]))

    def _end(self, job: Job, key: str, code: int) -> None:
        if code > 128:  # interrupted
            return
        self.ended[job.kind] += 1
        if not code:
            self.took[job.kind].append(time.monotonic() - job.began)
        words, seconds = f"{'failed ' if code else _DONE[job.kind]}  {job.name}", 0.0
        if job.kind == "train" and not code and key in self.runs and self.runs[key].complete:
            seconds = self.runs[key].provenance["seconds"]
        elif job.kind == "notebook":
            notebook = self.tasks[key].notebook
            seconds = 0.0 if code else Item(notebook, self.scale, Status("made")).seconds
            words += f": {notebook.error_message(self.scale)}" if code else ""
        words += f", {minutes(seconds)} minutes" if seconds else ""
        self.write(words if self.console.is_terminal else f"{words} ({self.whole()})")

    def seconds_left(self) -> float | None:
        """Return the seconds that everything still needs; None until a training says how long it takes."""
        now, left, all_runs = time.monotonic(), 0.0, len(self.runs)
        training = [job for (kind, _), job in self.jobs.items() if kind == "train"]
        known = [
            *self.took["train"],
            *(now - j.began + j.seconds_left(0.0, now) for j in training if j.step > j.first),
        ]
        if all_runs > self.ended["train"] and not known:
            return None
        usual = {"train": statistics.fmean(known or [0.0])}
        usual["notebook"] = statistics.fmean(self.took["notebook"] or [NOTEBOOK_SECONDS])
        for kind, number in (("train", all_runs), ("notebook", len(self.tasks))):
            at_work = [job for job in self.jobs.values() if job.kind == kind]
            left += sum(job.seconds_left(usual[kind], now) for job in at_work)
            left += max(0, number - self.ended[kind] - len(at_work)) * usual[kind]
        return left / self.parallel

    def whole(self) -> str:
        """Return how much of everything is done, in words."""
        left = self.seconds_left()
        made = [("train", len(self.runs), "runs trained"), ("notebook", len(self.tasks), "notebooks made")]
        parts = [f"{len(self.took[kind])} of {n} {words}" for kind, n, words in made if n]
        if failed := sum(self.ended.values()) - sum(map(len, self.took.values())):
            parts.append(f"{failed} failed")
        return ", ".join(
            [*parts, "minutes left: not known yet" if left is None else f"{minutes(left)} minutes left"]
        )

    def lines(self) -> Table:
        """Return what stays in place: the whole, and a line with a bar for each job at work."""
        bar = BAR if self.console.width > 4 * BAR else 0  # a narrow terminal has room for words alone
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        table.add_column(width=bar)
        table.add_column(width=4, justify="right")
        done = sum(self.ended.values()) + sum(job.share for job in self.jobs.values())
        for words, share in [(self.whole(), done / (len(self.runs) + len(self.tasks))), *self._at_work()]:
            drawn = bar and share is not None
            part = "" if share is None else f"{share:4.0%}"
            table.add_row(words, ProgressBar(1.0, share, width=bar) if drawn else "", part)
        return table

    def _at_work(self) -> Iterator[tuple[str, float | None]]:
        for job in list(self.jobs.values()):
            words = f"  {KINDS[job.kind]} {job.name}" + f": {job.note}" * bool(job.note)
            yield words, job.share if job.total else None
