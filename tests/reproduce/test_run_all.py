"""run_all.sh: what it refuses, what it makes again, and what it leaves behind when something fails."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import nbformat
import nbformat.v4 as nb
import pytest
from filelock import FileLock

from tvae_core.config import SCALES
from tvae_core.experiments import read_experiment
from tvae_core.reproduce import execute, options
from tvae_core.reproduce import run_all as reproduce
from tvae_core.reproduce.notebooks import Notebook, notebooks
from tvae_core.reproduce.options import build_request_parser
from tvae_core.reproduce.reference import read_reference
from tvae_core.reproduce.request import read_request
from tvae_core.store import digest_of
from tvae_core.training.learner import Learner
from tvae_core.training.runs import plan
from tvae_core.training.step import Step
from tvae_core.training.trainer import fit

ROOT = Path(__file__).parents[2]

PARAMETERS = """
experiments: list[str] = []
scale: str = "smoke"  # or quick, or paper
seeds: list[int] = []
device: str = "auto"
figures: str = ""
steps: int = 3
share: float = 0.5
"""
DRAWING = """
from matplotlib.figure import Figure
from tvae_core.plotting.style import save
sheet = Figure(figsize=(1, 1))
save(sheet, figures, "NAME", alt="A blank sheet of NAME", caption=f"{scale} {seeds} {steps}")
"""
NO_PORTS = "assert get_ipython().kernel.parent.transport == 'ipc'"  # two kernels may take one port


def write_notebook(folder: Path, name: str, code: str = "") -> None:
    """A notebook in a moment: no experiment, an empty figure that says what it was made with."""
    tagged = nb.new_code_cell(PARAMETERS.strip(), metadata={"tags": ["parameters"]}, id="parameters")
    drawing = nb.new_code_cell(code + DRAWING.replace("NAME", name), id="drawing")
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nb.new_markdown_cell(f"# {name.capitalize()}: a sheet", id="title"), tagged, drawing]
    nbformat.write(nb.new_notebook(cells=cells, metadata=kernel), folder / f"{name}.ipynb")


@pytest.fixture
def available(tmp_path):
    for name in ("fig3", "fig4"):
        write_notebook(tmp_path, name)
    return notebooks(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scael", "quick"], ["'--scael'", "--seeds", "did you mean '--scale'?"]),
        (["--scale", "quik"], ["'quik'", "smoke, quick, long, paper", "did you mean 'quick'?"]),
        (["--only", "fig3,fig44"], ["'fig44'", "fig3, fig4", "did you mean 'fig4'?"]),
        (["--set", "setps=4"], ["fig3", "'setps'", "steps, share", "did you mean 'steps'?"]),
        (["--set", "steps=many"], ["'steps'", "int", "'many'"]),
        (["--set", "steps"], ["'steps'", "key=value"]),
        (["--set", "scale=quick"], ["'scale'", "option"]),
        (["--set", "experiments=['tvae_Lpart_mnist']"], ["did you mean 'tvae_Lpartial_mnist'?"]),
        (["--set", "experiments=['tvae_Lhalf_mnist n_off_dia=2']"], ["fig3", "did you mean 'n_off_diag'?"]),
        (["--seeds", "1,two"], ["seed 'two'", "whole number from 0"]),
        (["--jobs", "0"], ["'0'", "whole number from 1"]),
        (["--executor", "slurn"], ["'slurn'", "slurm", "folder with a Snakemake profile"]),
        (["--device", "gpu"], ["'gpu'", "auto, cpu, cuda, mps"]),
        (["--only"], ["--only", "expected one argument"]),
        (["--only", ""], ["--only is given without a value"]),
        (["--data", str(Path(__file__))], ["--data is", "is not a folder"]),
        (["--jobs", "9" * 400], ["--jobs", "from 1 to 10,000"]),
        (["--executor", "x" * 300], ["folder with a Snakemake profile"]),
        (["--set", "steps=-1"], ["'steps' is -1, but must be at least 0"]),
        (["--set", "steps=True"], ["'steps' must be int, not True"]),
        (["tests"], ["'tests'", "did you mean 'test'?"]),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_refused_in_one_sentence(available, monkeypatch, capsys, arguments, words):
    monkeypatch.setattr(reproduce, "reproducible", lambda: (available, {}, {}))
    assert reproduce.main(arguments) == 2
    sentence = capsys.readouterr().err
    assert sentence.count("\n") == 1
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("examples=[]", "parameter 'examples' is empty"),
        ("examples=['a']", "item of parameter 'examples' must be int"),
        ("examples=[-1]", "item of parameter 'examples' is -1, but must be at least 0"),
        ("examples=3", "parameter 'examples' must be list"),
    ],
)
def test_what_a_list_holds_is_checked_too(setting, words):
    with pytest.raises(ValueError, match=f"fig4: {words}"):
        read_request(["--scale", "smoke", "--only", "fig4", "--set", setting], notebooks())


def test_a_request_is_what_was_asked_for(available):
    asked = "--scale smoke --only fig4 --seeds 3,1,3 --jobs 2 --set steps=5 --set share=1 --device cpu"
    request = read_request(asked.split(), available)
    assert [n.name for n in request.chosen] == ["fig4"]
    assert (request.scale, request.seeds, request.parallel) == ("smoke", [3, 1], 2)
    assert request.changes == {"steps": 5, "share": 1}
    assert read_request(["--device", "cpu"], available).scale == "quick"
    sent = read_request(["--device", "cpu", "--executor", "slurm"], available)
    assert sent.executor == str(ROOT / "notebooks" / "profiles" / "slurm") and sent.parallel == 2


def test_options_are_checked_without_any_package(available):
    assert options.SCALES == tuple(SCALES)
    command = [sys.executable, "-S", "-m", "tvae_core.reproduce.options"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    for arguments, word in (
        (["--scale", "quik"], "quick"),
        (["--only", "fig33"], "fig3"),
        (["--sed"], "--seeds"),
    ):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment)
        assert done.returncode == 2 and f"did you mean '{word}'" in done.stderr
    assert subprocess.run([*command, "--only", "fig4"], env=environment).returncode == 0


def test_help_names_every_option_and_needs_no_set_up():
    command = ["bash", str(ROOT / "run_all.sh"), "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert shown.returncode == 0
    options = [option for action in build_request_parser()._actions for option in action.option_strings]
    assert [option for option in options if option not in shown.stdout] == []


def test_list_names_every_notebook(available, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tvae_core.reproduce.notebooks.HOME", tmp_path)
    monkeypatch.setattr(reproduce, "reproducible", lambda: (available, {}, {}))
    assert reproduce.main(["--list", "--scale", "smoke"]) == 0
    head, *lines, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["item", "notebook", "smoke", "minutes", "shows"] and "minutes count" in last
    assert [line.split() for line in lines] == [
        words
        for name in ("fig3", "fig4")
        for words in ([name.capitalize(), name, "missing", "–", "a", "sheet"], ["no", "experiment"])
    ]
    assert reproduce.main(["--list", "--scale", "smok"]) == 2


def test_long_lines_break_between_words_on_a_terminal_alone(monkeypatch, capsys):
    words = "fig4  missing  training failed: tvae_Lpartial_mnist, scale quick, seed 2 (see above)"
    reproduce.show(words, " " * 15)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    reproduce.show(words, " " * 15)
    piped, *lines = capsys.readouterr().out.splitlines()
    assert piped == words and len(lines) == 2 and all(len(line) <= 60 for line in lines)
    assert lines[1].startswith(" " * 15) and " ".join(lines).split() == words.split()


def test_a_parameter_that_is_no_literal_is_refused(tmp_path):
    write_notebook(tmp_path, "fig3")
    path = tmp_path / "fig3.ipynb"
    path.write_text(path.read_text().replace("steps: int = 3", "steps: int = 1 + len(seeds)"))
    with pytest.raises(ValueError, match=r"fig3.ipynb: 'steps: int = 1 \+ len\(seeds\)'"):
        _ = Notebook(path).parameters


@pytest.fixture
def checkout(tmp_path):
    """A checkout of its own, with a space in its path, and a notebook that fails beside one that does not."""
    checkout = tmp_path / "a checkout"
    shutil.copytree(ROOT / "tvae_core", checkout / "tvae_core", ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "Snakefile", checkout / "notebooks")
    write_notebook(checkout / "notebooks", "fig3", "raise LookupError('on <purpose>')")
    write_notebook(checkout / "notebooks", "fig4", NO_PORTS)
    return checkout


def run_all(checkout: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of one call for both notebooks."""
    command = [sys.executable, "-m", "tvae_core.start", "tvae_core.reproduce.run_all"]
    command += ["--scale", "smoke", "--jobs", "2", *arguments]
    environment = {**os.environ, "TVAE_HOME": str(checkout.parent / "home"), "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout


def column(table: str, index: int) -> list[str]:
    """The words of a column, of fig3 and fig4."""
    return [line.split()[index] for line in table.splitlines() if line.lower().startswith("fig")]


def test_addresses_of_sockets_stay_short(tmp_path, monkeypatch):
    long = tmp_path / ("long" * 20)
    long.mkdir()
    for folder, used in ((tmp_path, tmp_path), (long, Path("/tmp"))):
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        monkeypatch.setattr(execute, "_LONGEST_FOLDER", len(str(tmp_path)))
        with execute.kernel_sockets() as config:
            address = Path(config.KernelManager.ip)
            assert address.parent.parent == used and address.parent.is_dir()
        assert not address.parent.exists()


def test_what_is_not_up_to_date_is_made_and_nothing_else(checkout):
    home, notebooks_ = checkout.parent / "home", checkout / "notebooks"
    made, failed = home / "figures" / "smoke", home / "failed" / "smoke" / "fig3.ipynb"

    (notebooks_ / "x.ipynb").write_text("")  # broken, and a copy: neither stops the others
    shutil.copy(notebooks_ / "fig4.ipynb", notebooks_ / "fig4-Copy1.ipynb")
    code, table = run_all(checkout, "--seeds", "7")
    assert code == 1 and "2 of 2 to be made fig3 fig4" in table, table
    assert column(table, 1) == ["failed", "made"] and re.search("^x +failed +x.ipynb", table, re.MULTILINE)
    assert "LookupError: on <purpose>" in table
    assert str(failed) in table and "on <purpose>" in failed.read_text()
    assert str(made / "report.html") in table
    page = (made / "report.html").read_text()
    assert "✕ 1 failed" in page and "LookupError: on &lt;purpose&gt;" in page
    assert "● 1 made" in page and "A blank sheet of fig4" in page and "smoke [7] 3" in page
    assert "./run_all.sh --scale smoke --only fig4 --seeds 7" in page

    (notebooks_ / "x.ipynb").unlink()
    write_notebook(notebooks_, "fig3")
    write_notebook(notebooks_, "fig4", "raise LookupError('again')")
    for path in (notebooks_ / "fig3.ipynb", checkout / "tvae_core" / "files.py"):
        os.utime(path, (time.time() + 3600,) * 2)  # a clock that is ahead
    moved = checkout.rename(checkout.parent / "moved {checkout}")
    code, table = run_all(moved, "--seeds", "7")
    assert code == 1 and column(table, 1) == ["made", "failed"], table
    assert not failed.exists() and (made / "fig4.png").is_file()  # the old one stays

    write_notebook(moved / "notebooks", "fig4")
    code, table = run_all(moved, "--only", "fig4", "--set", "steps=5")
    assert code == 0 and "1 of 1 to be made fig4" in table
    page = (made / "report.html").read_text()
    assert "● 2 made" in page and "smoke [] 5" in page and "smoke [7] 3" in page
    assert "--only fig4 --set steps=5</code>" in page and "--only fig3 --seeds 7</code>" in page

    files = [path for path in home.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
    times = {path: path.stat().st_mtime_ns for path in files}
    code, table = run_all(moved, "--only", "fig4", "--set", "steps=5")
    assert code == 0 and "0 of 1 to be made" in table and column(table, 1) == ["made"]
    assert {path: path.stat().st_mtime_ns for path in files} == times  # the report's too
    assert column(run_all(moved, "--list", "--set", "steps=5")[1], 2) == ["stale", "made"]  # as a run


TINY = "tvae_Lshort_mnist n_caps=2 max_steps=4 batch_size=2 eval_sequences=2 n_is_samples=1"
BY_RUN_ALL, BY_THE_NOTEBOOK = (3, 4), (5, 6)  # seeds; the second of each is gone on with from step 2
TRAINS = f"""
from tvae_core import fit
from tvae_core.experiments import read_experiment
for seed in {BY_THE_NOTEBOOK}:
    fit(read_experiment({TINY!r}, scale).with_options(seed=seed), progress=False)
"""


def begin(exp, runs):
    """A run that was stopped at step 2."""
    learner = Learner(plan(exp, "cpu", runs))
    step = Step([learner])
    step()
    step()
    learner.save()


@pytest.mark.thorough
def test_a_run_ends_in_the_same_bits_whoever_asks_for_it(checkout, tmp_path):
    """run_all.sh trains by the command `tvae`, and the notebook in a kernel of its own."""
    exps = [
        read_experiment(TINY, "smoke").with_options(seed=seed) for seed in (*BY_RUN_ALL, *BY_THE_NOTEBOOK)
    ]
    for exp in exps[1::2]:
        begin(exp, tmp_path / "home" / "runs")
    write_notebook(checkout / "notebooks", "fig4", TRAINS)
    seeds = ",".join(map(str, BY_RUN_ALL))
    asked = ["--only", "fig4", "--jobs", "1", "--device", "cpu", "--seeds", seeds]
    code, table = run_all(checkout, *asked, "--set", f"experiments=[{TINY!r}]")
    assert code == 0, table
    for exp in exps:
        here, there = fit(exp, "cpu", tmp_path / "here"), plan(exp, "cpu", tmp_path / "home" / "runs")
        (own, own_about), (found, about) = here.load_checkpoint(), there.load_checkpoint()
        assert about["threads"] == own_about["threads"] and there.complete
        assert digest_of(found, "") == digest_of(own, "") and there.results == here.results


def test_a_wrong_reference_is_refused_before_anything_is_made(available, tmp_path, monkeypatch, capsys):
    path = tmp_path / "reference.csv"
    path.write_text("nontvae_mnist,e_ep,13274\n")
    monkeypatch.setattr(reproduce, "reproducible", lambda: (available, {}, {}))
    monkeypatch.setattr(reproduce, "read_reference", lambda *names: read_reference(*names, path))
    monkeypatch.setattr(reproduce, "HOME", tmp_path / "home")
    assert reproduce.main(["--scale", "smoke"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "mean 'e_eq'?" in error
    assert f"{tmp_path.name}/reference.csv, line 1: measure 'e_ep'" in error
    assert not (tmp_path / "home").exists()


def test_snakemake_starts_where_there_is_no_which(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "sh").symlink_to(shutil.which("sh"))
    monkeypatch.setattr(reproduce, "HOME", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    path = reproduce._path_with_which()
    found = subprocess.run(["which", "sh"], env={"PATH": path}, capture_output=True, text=True)
    assert found.stdout == f"{tmp_path / 'bin' / 'sh'}\n"
    assert subprocess.run(["which", "sinfo"], env={"PATH": path}).returncode > 0
    monkeypatch.setenv("PATH", path)
    assert reproduce._path_with_which() == path


def test_a_second_call_waits_and_says_so(available, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "reproducible", lambda: (available, {}, {}))
    monkeypatch.setattr(reproduce, "HOME", tmp_path)
    monkeypatch.setattr(reproduce, "reproduce", lambda *_: int(at_work.is_set()))
    at_work = threading.Event()

    def first_call():
        with FileLock(tmp_path / ".run_all.lock"):
            at_work.set()
            time.sleep(0.3)
            at_work.clear()

    threading.Thread(target=first_call).start()
    at_work.wait()
    assert reproduce.main(["--scale", "smoke"]) == 0
    assert f"Another call is at work in {tmp_path}: waiting for it" in capsys.readouterr().out
    assert reproduce.main(["--scale", "smoke"]) == 0
    assert "waiting" not in capsys.readouterr().out


def test_nothing_outlives_a_killed_run_all(tmp_path):
    code = "import os, sys; from tvae_core.reproduce.run_all import run_group; "
    code += "run_group(sys.argv[1:], os.environ)"
    noted = tmp_path / "pid"
    deaf = f"trap '' INT TERM; echo $$ >{noted}; sleep 60; echo; sleep 60"
    driver = subprocess.Popen([sys.executable, "-c", code, "sh", "-c", deaf])
    deadline = time.monotonic() + 30
    while not (noted.is_file() and noted.read_text().strip()) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)  # until the watcher is there
    job = int(noted.read_text())
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    while time.monotonic() < deadline:
        try:
            os.kill(job, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the job is still running")
