"""Regenerate figures and tables: Snakemake run and watched, a table at the end.

What depends on what is the business of notebooks/Snakefile; run_all.sh comes in through `main`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from tvae_core.experiments import EXPERIMENTS, read_experiment, write_experiment
from tvae_core.files import HOME
from tvae_core.measures.evaluation import COMPARABLE
from tvae_core.reproduce.notebooks import NOTEBOOKS, Notebook, reproducible
from tvae_core.reproduce.reference import read_reference
from tvae_core.reproduce.report import Reference, report
from tvae_core.reproduce.request import Request, read_request
from tvae_core.reproduce.status import status
from tvae_core.training.hardware import choose_device

GRACE = 15  # seconds that jobs get to end by themselves
# Ends a group of processes when its standard input closes, as it also does when the writer is killed.
_WATCH = """
import contextlib, os, signal, sys
sys.stdin.read()
with contextlib.suppress(ProcessLookupError):
    os.killpg(int(sys.argv[1]), signal.SIGKILL)
"""


def run_group(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command and leave none of its processes behind, however this one ends; 130 if interrupted."""
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    watch = [sys.executable, "-c", _WATCH, str(process.pid)]
    watcher = subprocess.Popen(watch, stdin=subprocess.PIPE, start_new_session=True)
    try:
        return process.wait()
    except KeyboardInterrupt:
        print("\nStopping ...", file=sys.stderr)
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired, KeyboardInterrupt):
            os.killpg(process.pid, signal.SIGINT)
            process.wait(GRACE)
        return 130
    finally:
        watcher.stdin.close()
        watcher.wait()


def run_snakemake(request: Request, journal: Path) -> int:
    """Make what is missing or has changed; each job that ran leaves a line in the journal."""
    threads = max(1, torch.get_num_threads() // request.parallel)
    names = [notebook.name for notebook in request.chosen]
    config = {k: getattr(request, k) for k in ("scale", "device", "seeds", "changes")}
    config |= {"only": names, "threads": threads, "journal": str(journal)}
    file = journal.with_suffix(".json")
    file.write_text(json.dumps(config))

    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(NOTEBOOKS / "Snakefile")]
    snakemake += ["--directory", str(HOME), "--configfile", str(file)]
    snakemake += ["--cores", str(request.parallel * threads)]
    environment = {**os.environ, **({"TVAE_DATA": request.data} if request.data else {})}
    if any((HOME / ".snakemake" / "locks").glob("*")):  # a killed call left it: no other is at work here
        run_group([*snakemake, "--quiet", "all", "--unlock"], environment)
    making = ["--keep-going", "--rerun-incomplete", "--rerun-triggers", "mtime", "input", "params"]
    making += ["--forcerun", *(f"notebook_{name}" for name in names)] if request.force else []
    code = run_group([*snakemake, "--quiet", "all", *making], environment)
    if code not in (0, 130) and not journal.is_file():  # it came to no job, and was told to be quiet
        run_group([*snakemake, "--quiet", "host", "progress", "reason", "rules", "--dry-run"], environment)
    return code


@dataclass(frozen=True)
class Job:
    """A line of the journal: a run trained or a notebook executed in this call."""

    rule: str
    name: str
    code: int
    seconds: int


def read_journal(journal: Path) -> list[Job]:
    """The jobs that ended, in order."""
    lines = journal.read_text().splitlines() if journal.is_file() else []
    return [Job(r, n, int(c), int(s)) for r, n, c, s in (line.split("\t") for line in lines)]


def outcome(notebook: Notebook, request: Request, jobs: Sequence[Job], code: int) -> tuple[str, ...]:
    """Its row of the table: name, status, minutes, where the figure lies or why there is none."""
    texts = notebook.experiments(request.changes)
    needed = {write_experiment(read_experiment(text, request.scale)) for text in texts}
    trained = [job for job in jobs if job.rule == "train" and job.name.rpartition(", seed ")[0] in needed]
    own = [job for job in jobs if job.rule == f"notebook_{notebook.name}"]
    minutes = f"{sum(job.seconds for job in [*trained, *own]) / 60:.1f}"
    made = notebook.outputs(request.scale, request.changes)
    missing = [path for path in made if not path.is_file()]
    figure = str(next((path for path in made if path.suffix == ".png"), made[0]))
    failed = [job.name for job in trained if job.code]
    if any(job.code for job in own) and code != 130:
        words = f"{notebook.error_message(request.scale)}\n  see {notebook.attempt(request.scale)}"
        return notebook.name, "failed", minutes, words
    if own and missing and code != 130:
        return notebook.name, "failed", minutes, f"did not write {', '.join(p.name for p in missing)}"
    if own and not missing and not any(job.code for job in own):
        return notebook.name, "done", minutes, figure
    if code == 130:
        return notebook.name, "interrupted" if trained else "not run", minutes, "call again to go on"
    if failed:
        return notebook.name, "not run", minutes, f"training failed: {', '.join(failed)} (see above)"
    if missing or (code and not any(job.code for job in jobs)):
        return notebook.name, "not run", minutes, ""
    return notebook.name, "up to date", minutes, figure


def show_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their heading, columns aligned."""
    rows = [("notebook", "status", "minutes", "figure"), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for name, word, minutes, where in rows:
        print(f"{name:{widths[0]}}  {word:{widths[1]}}  {minutes:>{widths[2]}}  {where}".rstrip())


def reproduce(request: Request, available: Mapping[str, Notebook], reference: Reference) -> int:
    """Carry out a request, print its table and write the report of its scale.

    0 if everything asked for is there now, 1 if not, 130 if interrupted.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tvae-") as folder:
        journal = Path(folder) / "journal"
        code = run_snakemake(request, journal)
        jobs = read_journal(journal)
    rows = [outcome(notebook, request, jobs, code) for notebook in request.chosen]
    print()
    show_table(rows)
    noted = {name: words for name, word, _, words in rows if word not in ("done", "up to date")}
    print(f"Report: {report(request.scale, available.values(), reference, noted)}")
    minutes = (time.monotonic() - started) / 60
    print(f"{minutes:.1f} minutes in all; a notebook's count the training that it needed too")
    return code if code in (0, 130) else 1


def comparable(available: Iterable[Notebook], scale: str) -> list[str]:
    """What a reference value can be of: the experiments, and the variants of them that notebooks show."""
    texts = (text for notebook in available for text in notebook.experiments({}))
    variants = (write_experiment(read_experiment(text, scale)) for text in texts)
    return list(dict.fromkeys([*EXPERIMENTS, *variants]))


def show_list(available: Iterable[Notebook], scale: str) -> None:
    """Print each item with its notebook, the experiments that it needs, and how it stands at a scale."""
    rows = [("item", "notebook", scale, "shows", "")]
    for notebook in available:
        names = ", ".join(notebook.experiments({})) or "no experiment"
        rows.append((notebook.item, notebook.name, status(notebook, scale).word, notebook.shows, names))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for *row, shows, experiments in rows:
        start = "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        print(f"{start}  {shows}".rstrip())
        if experiments:
            print(textwrap.fill(experiments, 100, initial_indent=" " * 8, subsequent_indent=" " * 8))


def end_as_by_ctrl_c() -> None:
    """Let SIGTERM and a closing terminal end this process as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """What run_all.sh calls: 2 for a request that is refused, otherwise the exit code of `reproduce`."""
    try:
        available = reproducible()
        request = read_request(sys.argv[1:] if arguments is None else arguments, available)
        if request.listed:
            show_list(request.chosen, request.scale)
            return 0
        reference = read_reference(comparable(available.values(), request.scale), COMPARABLE)
        print(f"Scale {request.scale}, device {choose_device(request.device)}, results in {HOME}", flush=True)
        end_as_by_ctrl_c()
        HOME.mkdir(parents=True, exist_ok=True)
        with FileLock(HOME / ".run_all.lock", timeout=0):
            return reproduce(request, available, reference)
    except Timeout:
        print(f"run_all.sh: another call is at work in {HOME}", file=sys.stderr)
    except ValueError as error:
        print(f"run_all.sh: {error}", file=sys.stderr)
    except OSError as error:
        print(f"run_all.sh: {error}", file=sys.stderr)
        return 1
    return 2


if __name__ == "__main__":
    sys.exit(main())
