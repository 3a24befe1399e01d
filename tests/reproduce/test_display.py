"""What run_all.sh shows while it is at work: how much is done, what is at work, what is left."""

import io

import pytest
from rich.console import Console

from tvae_core.experiments import EXPERIMENTS
from tvae_core.reproduce import display as room
from tvae_core.reproduce.display import Display
from tvae_core.reproduce.notebooks import Notebook
from tvae_core.reproduce.request import Request
from tvae_core.reproduce.tasks import Task
from tvae_core.training.progress import PROGRESS_VARIABLE, Progress
from tvae_core.training.runs import Run

LONG = "tvae_Lpartial_mnist_generalization"


@pytest.fixture
def clock(monkeypatch):
    """The time, which goes on when it is told to."""
    now = [100.0]
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def display(tmp_path, clock, monkeypatch):
    """Two notebooks that need three runs between them, on a terminal of 100 columns."""
    monkeypatch.setattr("tvae_core.reproduce.notebooks.HOME", tmp_path)
    names = {LONG: LONG, "b": "tvae_Lhalf_mnist", "c": "nontvae_mnist"}
    runs = {
        key: (name, Run(EXPERIMENTS[name].at_scale("quick"), tmp_path / key)) for key, name in names.items()
    }
    request = Request([], "quick")
    tasks = [Task(Notebook(tmp_path / f"{name}.ipynb"), request, runs) for name in ("fig4", "table1")]
    following = Display(tasks, 2, tmp_path / "progress", terminal(100))
    for _, run in runs.values():
        run.__dict__["provenance"] = {"seconds": 90.0}
    monkeypatch.setattr(Run, "complete", property(lambda run: "provenance" in run.__dict__))
    return following


def terminal(width, **options):
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, **options)


def shown(display) -> list[str]:
    with display.console.capture() as captured:
        display.console.print(display.lines())
    return captured.get().splitlines()


def test_time_left_follows_the_steps(display, clock):
    assert display.seconds_left() is None
    assert display.whole() == "0 of 3 runs trained, 0 of 2 notebooks made, minutes left: not known yet"
    display.hear(f"train\t{LONG}\tbegan\t")
    clock[0] += 10  # to start and to read the data
    display.hear(f"train\t{LONG}\tstep\t200\t1200\t")  # it goes on from there
    clock[0] += 50
    display.hear(f"train\t{LONG}\tstep\t700\t1200\tnll 283, KL z 0.3, KL u 12.4 nats")
    one, other = 50.0, 110.0  # to its last step, and what another is taken to need from its start
    assert display.seconds_left() == pytest.approx((one + 2 * other + 2 * room.NOTEBOOK_SECONDS) / 2)
    clock[0] += 60
    display.hear(f"train\t{LONG}\tended\t0")
    assert display.seconds_left() == pytest.approx((2 * 120 + 2 * room.NOTEBOOK_SECONDS) / 2)
    assert display.whole() == "1 of 3 runs trained, 0 of 2 notebooks made, 2.5 minutes left"


@pytest.mark.parametrize("width", [100, 60, 30])
def test_every_line_fits_and_names_what_is_at_work(display, width):
    display.console = terminal(width)
    for key in (LONG, "b"):
        display.hear(f"train\t{key}\tbegan\t")
        display.hear(f"train\t{key}\tstep\t300\t1200\tnll 283, KL z 0.3, KL u 12.4 nats")
    display.hear("notebook\tfig4\tbegan\t")
    whole, first, second, notebook = shown(display)
    assert all(len(line) <= width for line in (whole, first, second, notebook))
    assert first.endswith(" 25%") and second.endswith(" 25%") and whole.endswith(" 10%")
    assert "executing" in notebook and "training" in first
    assert width < 100 or (LONG in first and "nll 283" in second)


def test_what_ends_is_a_line(display):
    display.hear("train\tb\tended\t0")
    display.hear("train\tc\tended\t1")
    display.hear(f"train\t{LONG}\tended\t130")  # interrupted: nothing to say
    log = display.tasks["fig4"].notebook.attempt("quick").with_suffix(".log")
    log.parent.mkdir(parents=True)
    log.write_text("Traceback\nLookupError: why\n")
    display.hear("notebook\tfig4\tended\t1")
    lines = display.console.file.getvalue().splitlines()
    assert lines == [
        "trained  tvae_Lhalf_mnist, scale quick, seed 1, 1.5 minutes",
        "failed   nontvae_mnist, scale quick, seed 1",
        "failed   fig4: LookupError: why",
    ]
    assert "1 of 3 runs trained, 0 of 2 notebooks made, 2 failed" in display.whole()


def test_a_training_that_left_no_provenance_does_not_stop_the_display(display):
    del display.runs["b"].__dict__["provenance"]
    display.hear("train\tb\tended\t0")
    assert display.console.file.getvalue() == "trained  tvae_Lhalf_mnist, scale quick, seed 1\n"


def test_without_a_terminal_there_are_plain_lines(display):
    display.console = Console(file=io.StringIO(), width=40)
    display.path.write_text(f"train\t{LONG}\tbegan\t\ntrain\t{LONG}\tstep\t0\t1200\t\n")
    with display:
        display.write("data: MNIST")
        display.write("data: MNIST")  # each job says so
        with display.path.open("a") as file:
            file.write(f"train\t{LONG}\tended\t0\n")
    said = display.console.file.getvalue()
    assert "\r" not in said and "\x1b" not in said and said.count("data: MNIST") == 1
    assert f"training {LONG}, scale quick, seed 2\n" in said
    assert "1.5 minutes (1 of 3 runs trained, 0 of 2 notebooks made" in said


def test_a_training_says_how_far_it_is(display, tmp_path, monkeypatch):
    display.path.touch()
    monkeypatch.setenv(PROGRESS_VARIABLE, str(display.path))
    run = Run(EXPERIMENTS["nontvae_mnist"], tmp_path / "b")
    with Progress(run, 8, 5, 20, 0.0, progress=False) as bar:
        bar.show({"step": 10, "nll": 283.2, "kl_z": 0.31, "kl_u": 12.4})
    for line in display.path.read_text().splitlines():
        display.hear(line)
    (job,) = display.jobs.values()
    assert (job.first, job.step, job.total) == (5, 10, 20) and job.note == "nll 283, KL z 0.3, KL u 12.4 nats"
