"""The jobs of run_all.sh: packs in place of experiments, one job for all seeds, one for all notebooks."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tvae_core.reproduce import run_all
from tvae_core.reproduce.notebooks import NOTEBOOKS, reproducible
from tvae_core.reproduce.report import Item
from tvae_core.reproduce.request import read_request
from tvae_core.reproduce.status import Status, input_digests
from tvae_core.reproduce.tasks import Task, tasks, trainings
from tvae_core.training.progress import PROGRESS_VARIABLE
from tvae_core.training.registry import open_run

PACK = Path(__file__).parents[1] / "training" / "format_1.tvae"
# In place of a training of three runs: one is trained, then the job is interrupted.
INTERRUPTED = """
import sys
from pathlib import Path
Path("runs/new/results.json").write_text("{}")
sys.exit(130)
"""


@pytest.fixture(scope="module")
def available():
    return reproducible()[0]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A pack in the folder one stands in."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(PACK, tmp_path / "mine.tvae"))


def asked(available, words: str):
    return read_request(["--scale", "smoke", "--device", "cpu", *words.split()], available)


def test_a_pack_stands_for_an_experiment(available, mine):
    request = asked(available, "--only fig23 --set experiments=['mine.tvae','nontvae_mnist']")
    assert request.changes["experiments"] == [str(mine), "nontvae_mnist"]  # a kernel stands elsewhere
    (task,) = tasks(request)
    packed, trained = (run for _, run in task.runs.values())
    assert list(task.runs) == [str(mine), trained.folder.name] and packed.complete
    jobs = trainings([task], together=False)
    assert [job["experiment"] for job in jobs.values()] == ["nontvae_mnist"]
    assert task.job(jobs)["trainings"] == ["0"] and str(mine) in json.loads(task.job(jobs)["given"])["runs"]
    before = input_digests(task.notebook, task.runs)
    mine.write_bytes(b"another pack")
    assert before != input_digests(task.notebook, task.runs)  # so its figures are stale


def test_the_report_says_what_trained_a_pack(available):
    item = Item(available["fig23"], "smoke", Status("made"))
    item.__dict__["record"] = {"runs": {str(PACK): ["mine.tvae", 1]}}
    (about,) = item.runs
    provenance = open_run(PACK).provenance
    assert {**provenance, "experiment": "mine.tvae", "seed": 1}.items() <= about.items() and not item.problems
    assert about["link"].endswith(PACK.name)


def test_a_pack_that_cannot_be_had_is_refused(available, mine, capsys):
    words = ["--only", "fig23", "--set"]
    assert run_all.main([*words, "experiments=['other.tvae']"]) == 1
    assert re.search("there is no run and no pack .*other.tvae\n$", capsys.readouterr().err)
    mine.write_bytes(b"no pack")
    assert run_all.main([*words, "experiments=['mine.tvae']"]) == 1
    assert "mine.tvae is damaged" in capsys.readouterr().err


def test_a_pack_is_refused_where_a_notebook_needs_the_name_of_an_experiment(available, mine):
    with pytest.raises(ValueError, match=r"'mine\.tvae' is not one of"):
        asked(available, "--only fig2 --set topographies=['mine.tvae']")


@pytest.mark.parametrize(("together", "seeds"), [(True, ["1,2"] * 2), (False, ["1", "2"] * 2)])
def test_all_seeds_of_an_experiment_are_one_job_where_that_is_asked_for(available, together, seeds):
    words = "--only fig23,fig4 --seeds 1,2 --set experiments=['nontvae_mnist','bubbles_mnist']"
    asked_for = tasks(asked(available, words))
    jobs = trainings(asked_for, together)
    assert [job["seeds"] for job in jobs.values()] == seeds
    assert sorted(folder for job in jobs.values() for folder in job["runs"]) == sorted(asked_for[0].runs)
    assert all(task.job(jobs)["trainings"] == list(jobs) for task in asked_for)  # each once


def test_slurm_is_given_a_job_an_experiment_and_one_for_all_notebooks(available, tmp_path, monkeypatch):
    monkeypatch.setattr(run_all, "HOME", tmp_path)
    killed = tmp_path / ".snakemake" / "call-killed"
    killed.mkdir(parents=True)
    (killed / "progress").touch()
    request = asked(available, "--only fig2,fig23,fig22 --seeds 1,2 --executor slurm")
    planned = []

    def dry_run(command, environment, _):
        given = [word for word in command if word not in ("--quiet", "all")]
        given.insert(given.index("--"), "--dry-run")
        planned.append(subprocess.run(given, env=environment, capture_output=True, text=True))
        return planned[0].returncode

    monkeypatch.setattr(run_all, "run_group", dry_run)
    code, _ = run_all.run_snakemake(request, tasks(request), run_all._environment(request, {}))
    said = planned[0].stdout + planned[0].stderr
    assert code == 0, said
    assert re.findall(r"(?m)^(\s*)rule (train|notebook_\d):", said).count(("", "train")) == 2
    (group,) = said.split("Group job notebooks")[1:]
    assert set(re.findall(r"(?m)^\s+rule (\w+):", group)) == {"notebook_0", "notebook_1", "notebook_2"}
    assert not list((tmp_path / ".snakemake").glob("call-*"))


@pytest.mark.parametrize(
    ("words", "done", "again"),
    [
        ("--executor slurm", [], [["fig2"]]),
        ("--executor slurm --force", [], [["fig2"]]),  # although its outputs of before are there
        ("--executor slurm --force", ["fig2"], []),
        ("--executor slurm", ["fig2"], []),  # it was executed, and failed by itself
        ("", [], []),  # no group
    ],
)
def test_notebooks_do_not_wait_for_a_training_of_others_that_failed(
    available, tmp_path, monkeypatch, words, done, again
):
    """fig23's training fails; `done` are executed by the first call of Snakemake, `again` by others."""
    calls = []

    def fail(command, environment, _):
        given = Path(command[command.index("--configfile") + 1])
        calls.append([job["name"] for job in json.loads(given.read_text())["notebooks"]])
        for name in done:
            (given.parent / f"{calls[0].index(name)}.executed").touch()
        return 1

    monkeypatch.setattr(run_all, "HOME", tmp_path)
    monkeypatch.setattr(run_all, "run_group", fail)
    monkeypatch.setattr(Task, "status", Status("made" if "--force" in words else "failed"))
    request = asked(available, f"--only fig2,fig23 {words}")
    assert run_all.make(request, tasks(request), {}) == 1 and calls == [["fig2", "fig23"], *again]


def test_only_what_a_job_trained_is_said_to_be_trained(tmp_path):
    for name in ("runs/old", "runs/new", "call", "tvae_core"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs" / "old" / "results.json").write_text("{}")
    (tmp_path / "tvae_core" / "__init__.py").touch()  # without it the installed package would be found
    (tmp_path / "tvae_core" / "start.py").write_text(INTERRUPTED)
    progress, given = tmp_path / "progress", tmp_path / "call" / "config.json"
    job = {"experiment": "nontvae_mnist", "seeds": "1,2,3", "runs": ["old", "new", "none"]}
    config = {"folder": "call", "threads": 1, "scale": "smoke", "device": "cpu", "notebooks": []}
    given.write_text(json.dumps(config | {"trainings": {"0": job}}))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(NOTEBOOKS / "Snakefile"), "--cores", "1"]
    command += ["--directory", str(tmp_path), "--configfile", str(given), "--", "call/0.trained"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), PROGRESS_VARIABLE: str(progress)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    ended = [line.split("\t")[1::2] for line in progress.read_text().splitlines() if "ended" in line]
    assert ended == [["old", "130"], ["new", "0"], ["none", "130"]], done.stderr
