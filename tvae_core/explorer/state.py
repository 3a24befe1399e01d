"""Hold what all panels of the explorer show, and the widgets and helpers that they share."""

import asyncio
import html
import logging
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import ipywidgets as widgets
from traitlets import Any, HasTraits

from tvae_core.config import DATA_KINDS
from tvae_core.explorer.pixels import CaptionedFrame, Timeline, png, side_by_side
from tvae_core.explorer.scene import OwnDigit, encode_own_digit, factors_of, open_sequence, run_title
from tvae_core.figures.notebook import fit_all
from tvae_core.files import RUNS
from tvae_core.training.registry import is_source, open_run, packed_runs
from tvae_core.training.runs import Run, stored_runs

log = logging.getLogger("tvae_core")

# A control has 2 pixels of margin on each side, an image too.
WIDE = widgets.Layout(width="calc(100% - 4px)", max_width="560px")
WRAPPED = widgets.Layout(flex_flow="row wrap", grid_gap="0 12px")
FITTING = widgets.Layout(
    max_width="calc(100% - 4px)", align_self="flex-start", object_fit="contain", height="auto"
)


class Debounce:
    """Call a function once nothing else was asked for during some seconds.

    The front end sends every move of a pointer, unlike those of a slider; drawn one by one they would queue.
    """

    def __init__(self, seconds: float):
        self.seconds, self._waiting = seconds, None

    def call(self, function: Callable[[], None]) -> None:
        """Call it soon, in place of the one that still waits; at once where no event loop runs."""
        if self._waiting is not None:
            self._waiting.cancel()
        try:
            self._waiting = asyncio.get_running_loop().call_later(self.seconds, function)
        except RuntimeError:
            function()


def overlay(*layers: widgets.DOMWidget) -> widgets.GridBox:
    """Lay widgets of one size on top of one another, the last one uppermost."""
    for layer in layers:
        layer.layout = widgets.Layout(grid_area="all", margin="0", max_width="100%", height="auto")
    cell = {"grid_template_areas": '"all"', "margin": "2px", "align_self": "flex-start"}
    return widgets.GridBox(layers, layout=widgets.Layout(max_width="calc(100% - 4px)", **cell))


class FrameDisplay(widgets.VBox):
    """Large frames above a timeline with a playhead."""

    def __init__(self, name: str):
        """Give the images the CSS classes tvae-NAME, tvae-NAME-timeline and tvae-NAME-playhead."""
        self.frames, self.still, self.playhead = (widgets.Image() for _ in range(3))
        self.frames.layout = FITTING
        for image, part in ((self.frames, ""), (self.still, "-timeline"), (self.playhead, "-playhead")):
            image.add_class(f"tvae-{name}{part}")
        self._timeline: Timeline | None = None
        super().__init__([self.frames, overlay(self.still, self.playhead)])

    def show(self, frames: Sequence[CaptionedFrame], timeline: Timeline, position: float) -> None:
        """Show these frames, and the timeline with its playhead at `position`, in frames."""
        self.frames.value = png(side_by_side(frames))
        if timeline is not self._timeline:
            self._timeline, self.still.value = timeline, png(timeline.still)
        self.playhead.value = png(timeline.playhead(position))


class ExplorerState(HasTraits):
    """The run, the sequence and the roll that every panel shows; panels observe `roll`, a RollState."""

    roll = Any()

    def __init__(self, runs: Sequence[Run]):
        """Show the first of the runs (rank_runs) that can be read. Raises ValueError if there is none."""
        super().__init__()
        self.runs = list(runs)
        while self.runs and self.roll is None:
            try:
                self.choose(self.runs[0], 0, factors_of(self.runs[0])[0])
            except OSError as error:
                log.warning("run %s is left out: %s", self.runs.pop(0).folder.name, error)
        if not self.runs:
            raise ValueError("no run of sequences is there yet; train one: tvae --name tvae_Lpartial_mnist")

    def choose(self, run: Run, image: int, factor: str) -> None:
        """Show another test sequence. Raises ValueError for one that is not there (open_sequence)."""
        roll = open_sequence(run, image, factor)
        self.run, self.image, self.factor = run, image, factor  # image: its place in the test split
        self.own: OwnDigit | None = None
        self.roll = roll

    def show(self, own: OwnDigit) -> None:
        """Show a digit that is not in the test split. Raises ValueError as encode_own_digit does."""
        roll = encode_own_digit(self.run, own).roll()
        self.own, self.factor, self.roll = own, own.factor, roll


@contextmanager
def show_errors(words: widgets.HTML) -> Iterator[None]:
    """Show an error of the block in a widget, as one sentence; clear the widget if there is none.

    Also a decorator for callbacks. A ValueError or OSError is shown as it is. Any other error is a fault
    of the program: its type is shown too, and its traceback is logged.
    """
    words.value = ""
    try:
        yield
    except Exception as error:
        said = str(error)
        if not isinstance(error, ValueError | OSError):
            log.exception("the explorer could not do what was asked for")
            said = f"{type(error).__name__}: {said.partition(chr(10))[0].rstrip('.')}. {_FAULT}"
        words.value = f'<b role="alert">{html.escape(said)}</b>'


_FAULT = "This is a fault of the program; its traceback is in the log (JupyterLab: View, Show Log Console)."


class ExplorerPanel(widgets.VBox):
    """Rows of widgets that show the explorer's state, with a line of words and one for errors."""

    def __init__(self, explorer: ExplorerState):
        super().__init__()
        self.explorer, self.words, self.problem = explorer, widgets.HTML(), widgets.HTML()
        self.guard = show_errors(self.problem)  # a decorator for callbacks

    def arrange(self, *rows: widgets.Widget | list[widgets.Widget]) -> None:
        """Put the rows below one another; the widgets of a list are side by side where there is room."""
        self.children = [widgets.HBox(r, layout=WRAPPED) if isinstance(r, list) else r for r in rows]


def open_explorer(
    experiments: Sequence[str], scale: str, device: str = "auto", runs: str = ""
) -> ExplorerState:
    """Open the runs of sequences in a folder, the best first (rank_runs), and print which one is shown.

    Where there is none, the packs of this repository are opened, and without these the experiments are
    trained at that scale, in view. `runs` may also name one pack (open_run).
    """
    folder = runs or RUNS
    found = rank_runs([open_run(runs)] if is_source(runs) else stored_runs(folder))
    found = found or rank_runs(packed_runs())
    explorer = ExplorerState(found or fit_all(experiments, scale, (), device, folder))
    run, row = explorer.run, explorer.run.results["trained"]
    chance = held_out_nats(run, "chance")
    print(f"Opened {describe_run(run)}, the best of {len(explorer.runs)} runs")
    if run.folder.is_file():
        print(f"It is a pack, {run.folder}; a run of your own is opened once there is one")
    print(f"nats/frame: reconstruction {row['reconstruction']:.0f}, mean frame {chance:.0f}")
    if run.exp.scale == "smoke":
        print("A smoke run shows noise. Train a better one: tvae --name tvae_Lpartial_mnist --scale quick")
    return explorer


def rank_runs(runs: Sequence[Run]) -> list[Run]:
    """Sort the runs of sequences, the best first; runs of single frames are left out.

    Smoke runs come last, since they show noise. Runs that are measured on the same data stay together, in
    the order of DATA_KINDS; among them the one whose rolls into held-out frames cost the fewest nats is
    first. After these come plain VAEs that roll no better than the mean frame, and models whose window
    holds no frame out.
    """

    def rank(run: Run) -> tuple[bool, int, str, bool, bool, float]:
        exp, nats = run.exp, held_out_nats(run)
        plain = exp.topography == "none" and nats >= held_out_nats(run, "chance")
        data = DATA_KINDS.index(exp.data), exp.test_data
        return exp.scale == "smoke", *data, not exp.held_out, plain, nats

    return sorted((run for run in runs if run.exp.n_transforms > 1), key=rank)


def held_out_nats(run: Run, row: str = "trained") -> float:
    """Return what rolls into held-out frames cost, in nats/frame; inf if that was not measured."""
    nats = run.results[row].get("roll_held_out")
    return math.inf if nats is None or math.isnan(nats) else nats


def describe_run(run: Run) -> str:
    """Name a run in words, with what its rolls into held-out frames cost in nats/frame."""
    nats = held_out_nats(run)
    return run_title(run) + (f" · held out {nats:.0f}" if math.isfinite(nats) else "")


def latency(explorer: ExplorerState) -> dict[str, float]:
    """Measure the milliseconds from a new roll until all panels have drawn it: the median and the slowest.

    Over all shifts of the sequence; the state is left as it was.
    """
    before, spent = explorer.roll, []
    for shift in before.sequence.shifts:
        roll = before.at(shift)
        started = time.perf_counter()
        explorer.roll = roll
        spent.append(1000 * (time.perf_counter() - started))
    explorer.roll = before
    return {"median": statistics.median(spent), "slowest": max(spent)}
