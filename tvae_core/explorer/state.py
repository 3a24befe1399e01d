"""Hold what all panels of the explorer show, and the widgets and helpers that they share."""

import asyncio
import html
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import ipywidgets as widgets
from traitlets import Any, HasTraits

from tvae_core.config import SCALES
from tvae_core.explorer.pixels import CaptionedFrame, Timeline, png, side_by_side
from tvae_core.explorer.scene import OwnDigit, encode_own_digit, factors_of, open_sequence
from tvae_core.figures.notebook import fit_all
from tvae_core.files import RUNS
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
            loop = asyncio.get_running_loop()
        except RuntimeError:
            function()
        else:
            self._waiting = loop.call_later(self.seconds, function)


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

    def clear(self) -> None:
        """Show nothing."""
        self._timeline = None
        for image in (self.frames, self.still, self.playhead):
            image.value = b""


class ExplorerState(HasTraits):
    """The run, the sequence and the roll that every panel shows; panels observe `roll`, a RollState."""

    roll = Any()

    def __init__(self, runs: Sequence[Run]):
        """Show the first of the runs (rank_runs). Raises ValueError if there is none."""
        super().__init__()
        if not runs:
            raise ValueError("no run of sequences is there yet; train one: tvae --name tvae_Lpartial_mnist")
        self.runs = list(runs)
        self.choose(self.runs[0], 0, factors_of(self.runs[0])[0])

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
    except (ValueError, OSError) as error:
        words.value = _alert(str(error))
    except Exception as error:
        log.exception("the explorer could not do what was asked for")
        first, *_ = str(error).splitlines() or [""]
        words.value = _alert(f"{type(error).__name__}: {first.rstrip('.')}. {_FAULT}")


_FAULT = "This is a fault of the program; its traceback is in the log (JupyterLab: View, Show Log Console)."


def _alert(text: str) -> str:
    return f'<b role="alert">{html.escape(text)}</b>'


class Panel(widgets.VBox):
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
    """Open the runs of sequences in a folder, the best first (rank_runs).

    Where there is none, the experiments are trained at that scale, in view.
    """
    folder = runs or RUNS
    found = rank_runs(stored_runs(folder))
    return ExplorerState(found or fit_all(experiments, scale, (), device, folder))


def share_of_the_way(run: Run) -> float:
    """Return how far the rolls come from the mean frame (0) to the reconstruction (1) in held-out frames.

    Of a run that holds none out how far its rolls into seen frames come; -inf where there are no rolls.
    """
    trained, worst = run.results["trained"], run.results["chance"].get("roll_held_out")
    best = trained.get("reconstruction")
    rolled = trained.get("roll_held_out") or trained.get("roll_seen")
    if None in (worst, best, rolled) or best >= worst:
        return float("-inf")
    return (worst - rolled) / (worst - best)


def rank_runs(runs: Sequence[Run]) -> list[Run]:
    """Sort the runs of sequences, the best first: of the largest scale, there digits before sprites (one can
    draw one's own), there those with held-out frames, since only they can be wrong, and there whose rolls
    come furthest; where none comes anywhere, those with a topography.
    """

    def rank(run: Run) -> tuple[int, bool, bool, float, bool]:
        exp = run.exp
        trained = list(SCALES).index(exp.scale)  # the registry goes from the least to the most
        furthest = share_of_the_way(run), exp.topography != "none"
        return trained, exp.data != "dsprites", bool(exp.held_out), *furthest

    return sorted((run for run in runs if run.exp.n_transforms > 1), key=rank, reverse=True)


def describe_run(run: Run) -> str:
    """Name a run in a list."""
    return str(run)


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


def drawn_in(started: float) -> str:
    """Say how long drawing took since `started`, in seconds of time.perf_counter."""
    return f"Drawn in {1000 * (time.perf_counter() - started):.0f} ms."
