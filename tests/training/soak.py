"""Train and measure for as long as is asked for; say whether memory, handles or processes grow (Linux).

    export TVAE_HOME=$(mktemp -d) TMPDIR=$(mktemp -d) TVAE_OFFLINE=mnist,dsprites OMP_NUM_THREADS=1
    python tests/training/soak.py MINUTES TABLE.csv

One process trains four models in turn, each time with a new seed, measures them and reads them back. After
each round of the four it writes a row. What the C allocator has given out (mallinfo2) tells a leak from
memory that the allocator keeps: a leak grows there, what it keeps grows in the resident size alone.
"""

import csv
import ctypes
import gc
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from tvae_core import EXPERIMENTS, encode, fit
from tvae_core.files import HOME
from tvae_core.training.runs import load_run

MODELS = "tvae_Lpartial_mnist", "tvae_Lpartial_dsprites", "tvae_2d_mnist", "nontvae_mnist"
BRIEF = {"max_steps": 25, "n_is_samples": 2}
ROUNDS_BEFORE = 3  # in which libraries set themselves up
ALLOWED_MB = {"in_use": 8.0, "resident": 80.0}
LIBC = ctypes.CDLL("libc.so.6")
FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]


LIBC.mallinfo2.restype = Mallinfo2


def megabytes(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) / 1024


def row(seconds: float, rounds: int) -> dict[str, float | int]:
    gc.collect()
    c = LIBC.mallinfo2()
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        "seconds": round(seconds),
        "rounds": rounds,
        "resident": round(megabytes("VmRSS"), 1),
        "peak": round(megabytes("VmHWM"), 1),
        # by mallinfo2: blocks of the heap, and mapped ones
        "in_use": round((c.uordblks + c.hblkhd) / 2**20, 2),
        "kept_free": round(c.fordblks / 2**20, 2),
        "python_blocks": sys.getallocatedblocks(),
        "python_objects": len(gc.get_objects()),
        "uncollectable": len(gc.garbage),
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "python_threads": threading.active_count(),
        "children": len(children),
        "temporary_files": len(os.listdir(tempfile.gettempdir())),
    }


def train_and_measure(seed: int) -> None:
    for name in MODELS:
        exp = EXPERIMENTS[name].at_scale("smoke").with_options(seed=seed, **BRIEF)
        with tempfile.TemporaryDirectory(dir=HOME) as runs:
            run = fit(exp, "cpu", runs, progress=False)
            encode(load_run(run.folder))
            left = sorted(path.name for path in run.folder.iterdir() if path.name.startswith("."))
            assert not left, f"{run} leaves {left}"


def main(minutes: float, table: Path) -> int:
    torch.set_num_threads(1)
    HOME.mkdir(parents=True, exist_ok=True)
    began, rows, rounds = time.monotonic(), [], 0
    with table.open("w", newline="") as file:
        while (seconds := time.monotonic() - began) < 60 * minutes or rounds <= ROUNDS_BEFORE:
            train_and_measure(rounds)
            rounds += 1
            rows.append(row(time.monotonic() - began, rounds))
            writer = csv.DictWriter(file, rows[0])
            if rounds == 1:
                writer.writeheader()
            writer.writerow(rows[-1])
            file.flush()
    before, after = rows[ROUNDS_BEFORE - 1], rows[-1]
    LIBC.malloc_trim(0)
    print(f"{seconds / 60:.0f} minutes, {rounds} rounds of {len(MODELS)} models")
    for key in before:
        print(f"{key}: {before[key]} after round {ROUNDS_BEFORE}, {after[key]} at the end")
    print(f"resident after malloc_trim: {megabytes('VmRSS'):.1f}")
    flat = all(after[key] - before[key] <= most for key, most in ALLOWED_MB.items())
    flat = flat and all(after[key] == before[key] for key in ("handles", "threads", "uncollectable"))
    left = sorted(path.name for path in HOME.iterdir() if path.name != "data")
    temporary = os.listdir(tempfile.gettempdir()) if "TMPDIR" in os.environ else []
    left += sorted(name for name in temporary if not name.startswith("torchinductor"))  # torch's own
    ended = not multiprocessing.active_children() and after["children"] == 0
    print("flat" if flat else "GROWS", "| files left:", left or "none", "| children:", after["children"])
    return int(not flat or bool(left) or not ended)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), Path(sys.argv[2])))
