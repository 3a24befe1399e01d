"""Regenerate figures and tables: find out what is not up to date, make it, and show how everything stands.

run_all.sh comes in through `main`; notebooks/Snakefile orders the jobs.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from tvae_core.data.sources import offline_sets
from tvae_core.experiments import EXPERIMENTS, read_experiment, write_experiment
from tvae_core.files import DATA_VARIABLE, HOME, HOME_VARIABLE, OFFLINE_VARIABLE, write_atomically
from tvae_core.measures.catalog import COMPARABLE
from tvae_core.reproduce.display import Display
from tvae_core.reproduce.notebooks import NOTEBOOKS, Notebook, reproducible
from tvae_core.reproduce.reference import read_reference
from tvae_core.reproduce.report import MINUTES, Item, Reference, minutes, report
from tvae_core.reproduce.request import Request, error_in_experiments, read_request
from tvae_core.reproduce.tasks import Task, find_sources, tasks, trainings
from tvae_core.training.hardware import choose_device
from tvae_core.training.progress import PROGRESS_VARIABLE
from tvae_core.validation import one_line

GRACE = 15  # seconds that jobs get to end by themselves
# Ends a group of processes when its standard input closes, as it also does when the writer is killed.
_WATCH = """
import contextlib, os, signal, sys
sys.stdin.read()
with contextlib.suppress(ProcessLookupError):
    os.killpg(int(sys.argv[1]), signal.SIGKILL)
"""


def run_group(
    command: Sequence[str], environment: Mapping[str, str], write: Callable[[str], None] | None = None
) -> int:
    """Run a command and leave none of its processes behind, however this one ends; 130 if interrupted.

    write: called with each line that they print; None: they print for themselves.
    """
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    process = subprocess.Popen(command, env=environment, start_new_session=True, **(piped if write else {}))
    if write:
        reader = threading.Thread(
            target=lambda: [write(line.rstrip()) for line in process.stdout], daemon=True
        )
        reader.start()
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
        if write:
            reader.join()
            process.stdout.close()


def _environment(request: Request, sources: Mapping[str, str]) -> dict[str, str]:
    """The jobs' environment: they use the folders and the data that were found here, and no others."""
    absent = {dataset.lower() for dataset, source in sources.items() if source == "offline"}
    found = {HOME_VARIABLE: str(HOME), DATA_VARIABLE: str(request.data), "PATH": _path_with_which()}
    return {**os.environ, **found, OFFLINE_VARIABLE: ",".join(sorted(offline_sets() | absent))}


def _path_with_which() -> str:
    """The folders of programs, with one for `which` where there is none: Slurm's plugin asks it on import."""
    path = os.environ.get("PATH", os.defpath)
    if shutil.which("which", path=path) is None:
        own = HOME / "home" / "bin" / "which"
        write_atomically(own, '#!/bin/sh\ncommand -v "$1"\n')
        own.chmod(0o755)
        path = f"{path}{os.pathsep}{own.parent}"
    return path


def run_snakemake(
    request: Request, stale: Sequence[Task], environment: Mapping[str, str]
) -> tuple[int, list[Task]]:
    """Make these again, and train the runs that they need; return its code and what was not executed."""
    threads = 1 if request.executor else max(1, torch.get_num_threads() // request.parallel)
    here = ["--cores", str(request.parallel * threads)]
    where = ["--profile", request.executor, "--jobs", str(request.parallel)] if request.executor else here
    jobs = trainings(stale, together=bool(request.executor))
    config = {"scale": request.scale, "device": request.device, "threads": threads, "trainings": jobs}
    config |= {"notebooks": [task.job(jobs) for task in stale]}
    (own := HOME / ".snakemake").mkdir(parents=True, exist_ok=True)  # a folder that all machines see
    for left in own.glob("call-*"):  # from a killed call, for no other is at work here
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="call-", dir=own) as folder:
        given, progress = Path(folder) / "config.json", Path(folder) / "progress"
        given.write_text(json.dumps(config | {"folder": f".snakemake/{Path(folder).name}"}))
        progress.touch()
        snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(NOTEBOOKS / "Snakefile")]
        snakemake += ["--directory", str(HOME), "--configfile", str(given), "--quiet", "all"]
        if any((own / "locks").glob("*")):  # likewise
            run_group([*snakemake, "--cores", "1", "--unlock"], environment)
        snakemake += [*where, "--keep-going", "--rerun-incomplete", "--rerun-triggers", "input"]
        snakemake += ["--drop-metadata", "--", *(f"notebook_{i}" for i in range(len(stale)))]
        with Display(stale, request.parallel, progress) as display:
            code = run_group(snakemake, {**environment, PROGRESS_VARIABLE: str(progress)}, display.write)
        return code, [task for i, task in enumerate(stale) if not (given.parent / f"{i}.executed").exists()]


def make(request: Request, stale: Sequence[Task], environment: Mapping[str, str]) -> int:
    """Make these again; return Snakemake's exit code.

    Notebooks that are one job wait for all trainings; if one failed, those that do not need it are made then.
    """
    code, left = run_snakemake(request, stale, environment) if stale else (0, [])
    able = [task for task in left if all(run.complete for _, run in task.runs.values())]
    if code not in (0, 130) and request.executor and 0 < len(able) < len(left):
        code = run_snakemake(request, able, environment)[0] or code
    return code


def show_table(rows: Sequence[Sequence[str]], details: Sequence[str] = ()) -> None:
    """Print rows under their heading, all columns but the last aligned, each with its detail below it."""
    widths = [max(len(cell) for cell in column) for column in list(zip(*rows, strict=True))[:-1]]
    for row, detail in itertools.zip_longest(rows, details, fillvalue=""):
        cells = [f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)]
        show("  ".join([*cells, row[-1]]).rstrip(), " " * (sum(widths) + 2 * len(widths)))
        if detail:
            print(textwrap.fill(detail, 100, initial_indent=" " * 8, subsequent_indent=" " * 8))


def show(text: str, indent: str = "") -> None:
    """Print lines; on a terminal those that are too long go on below, indented, and break between words."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    whole = {"break_long_words": False, "break_on_hyphens": False, "replace_whitespace": False}
    for line in text.split("\n"):
        fits = len(line) <= width or not width
        print(line if fits else textwrap.fill(line, width, subsequent_indent=indent[: width // 2], **whole))


def reproduce(request: Request, available: Mapping[str, Notebook], reference: Reference) -> int:
    """Carry out a request, write the report of its scale and print a table.

    0 if everything asked for is there now, 1 if not, 130 if interrupted.
    """
    started = time.monotonic()
    sources = find_sources(request)
    asked = tasks(request, sources)
    stale = [task for task in asked if request.force or task.status.word != "made"]
    print(f"{len(stale)} of {len(asked)} to be made", *(t.notebook.name for t in stale), flush=True)
    code = make(request, stale, _environment(request, sources))
    rows = [task.row(code) for task in asked]
    rows += [(name, "failed", "", why) for name, why in request.broken.items()]
    noted = {name: why for name, word, _, why in rows if word != "made"}
    page, problems = report(request.scale, available.values(), reference, noted)
    for problem in problems:
        print(f"run_all.sh: {problem}", file=sys.stderr)
    print()
    show_table([("notebook", "status", "minutes", "figure"), *rows])
    print(f"Report: {page}")
    show(f"{minutes(time.monotonic() - started)} minutes for this call. {MINUTES}")
    return 130 if code == 130 else int(bool(code or noted))


def comparable(available: Iterable[Notebook], scale: str) -> list[str]:
    """Return what a reference value can be of: the experiments, and the variants that notebooks show."""
    sound = (notebook for notebook in available if not error_in_experiments(notebook, {}, scale))
    texts = (text for notebook in sound for text in notebook.experiments({}))
    shown = (write_experiment(read_experiment(text, scale)) for text in texts)
    return list(dict.fromkeys([*EXPERIMENTS, *shown]))


def show_list(request: Request) -> None:
    """Print each item with its notebook, how it stands at a scale, and the experiments that it needs."""
    rows, experiments = [("item", "notebook", request.scale, "minutes", "shows")], [""]
    for task in tasks(request):
        item, stands = task.notebook, task.status
        took = Item(item, request.scale, stands)
        time_taken = f"{minutes(took.seconds) if took.record else '–':>7}"
        rows.append((item.item, item.name, stands.word, time_taken, item.shows))
        experiments.append(", ".join(item.experiments(request.changes)) or "no experiment")
    show_table(
        [*rows, *((name, name, "failed", f"{'–':>7}", why) for name, why in request.broken.items())],
        experiments,
    )
    show(MINUTES)


def end_as_by_ctrl_c() -> None:
    """Let SIGTERM and a closing terminal end this process as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def answer(arguments: Sequence[str]) -> int:
    """Carry out what the arguments ask for; the exit code of `reproduce`."""
    available, broken, copies = reproducible()
    request = read_request(arguments, available, broken, copies)
    for reason in {**broken, **copies}.values():
        print(f"run_all.sh: {reason}", file=sys.stderr)
    if request.listed:
        show_list(request)
        return 0
    reference = read_reference(comparable(available.values(), request.scale), COMPARABLE)
    print(f"Scale {request.scale}, device {choose_device(request.device)}, results in {HOME}", flush=True)
    HOME.mkdir(parents=True, exist_ok=True)
    lock = FileLock(HOME / ".run_all.lock")
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        print(f"Another call is at work in {HOME}: waiting for it (Ctrl-C ends this one alone)", flush=True)
        held = lock.acquire()
    with held:
        return reproduce(request, available, reference)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what run_all.sh is asked for; 2 if that is refused, 1 if it failed, 130 if interrupted."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a letter is no reason to stop
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")
    end_as_by_ctrl_c()
    try:
        return answer(sys.argv[1:] if arguments is None else arguments)
    except BrokenPipeError:  # whoever read the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        print(f"run_all.sh: {one_line(error)}", file=sys.stderr)
        return 1 if isinstance(error, OSError) else 2
    except KeyboardInterrupt:
        print("run_all.sh: interrupted; call again to go on", file=sys.stderr)
        return 130
