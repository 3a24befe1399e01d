"""Hold what all panels of the explorer show, and the widgets and helpers that they share."""

import asyncio
import html
import logging
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import ipywidgets as widgets
from torch import Tensor
from traitlets import Any, Bool, HasTraits, Int

from tvae_core.explorer.scene import (
    Digit,
    OwnDigit,
    encode_own_digit,
    factors_of,
    open_sequence,
    sees_digits,
)
from tvae_core.training.runs import Run

log = logging.getLogger("tvae_core")

WIDE = widgets.Layout(width="calc(100% - 4px)", max_width="560px")
WORDS = {"description_width": "initial"}  # as wide as its words
WRAPPED = widgets.Layout(flex_flow="row wrap", grid_gap="0 12px", align_items="center")


class Throttle:
    """Call the latest of the functions asked for, at most once in so many seconds.

    The front end sends every move of a pointer, unlike those of a slider; drawn one by one they would queue.
    """

    def __init__(self, seconds: float):
        self.seconds, self._waiting = seconds, None

    def call(self, function: Callable[[], None]) -> None:
        """Call it soon, in place of the one that still waits; at once where no event loop runs."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return function()
        if self._waiting is None:
            loop.call_later(self.seconds, self._call)
        self._waiting = function

    def _call(self) -> None:
        function, self._waiting = self._waiting, None
        function()


class ExplorerState(HasTraits):
    """The run, the sequence and the roll that every panel shows; panels observe the traits."""

    roll = Any()  # RollState
    capsule = Int(0)  # whose units are shown as a ring
    revealed = Bool(False)  # whether the true held-out frames are shown
    tab = Int(0)  # the tab that is open

    def __init__(self, runs: Sequence[Run]):
        """Show the first of the runs (rank_runs) that can be read. Raises ValueError if there is none."""
        super().__init__()
        self.runs = list(runs)
        self.example: int | Digit = 0  # its place in the test split, or a digit of your own
        self.drawn: Digit | None = None  # the latest digit of your own, shown or not
        self.factor = ""
        while self.runs and self.roll is None:
            try:
                self.choose(self.runs[0])
            except OSError as error:
                log.warning("run %s is left out: %s", self.runs.pop(0).folder.name, error)
        if not self.runs:
            raise ValueError("no run of sequences is there yet; train one: tvae --name tvae_Lpartial_mnist")

    @property
    def own(self) -> OwnDigit | None:
        """The digit of your own that is shown; None if it is an example of the test split."""
        return OwnDigit(self.example, self.factor) if isinstance(self.example, Tensor) else None

    def choose(
        self, run: Run | None = None, factor: str | None = None, example: int | Digit | None = None
    ) -> None:
        """Show another run, transformation or example; what is not named stays, δ too.

        The capsules that roll stay as long as the run does. A run that has not the transformation shows its
        first one, and one without the example or without digits the first example. Raises ValueError for an
        example that is not there (open_sequence).
        """
        another, run = run is not None, run or self.run
        factors, example = factors_of(run), self.example if example is None else example
        factor = factor or (self.factor if self.factor in factors else factors[0])
        if another and (
            not sees_digits(run) if isinstance(example, Tensor) else example >= len(run.data.test)
        ):
            example = 0
        capsules = None if another or self.roll is None else self.roll.capsules
        if isinstance(example, Tensor):
            roll = encode_own_digit(run, OwnDigit(example, factor)).roll(capsules)
            self.drawn = example
        else:
            roll = open_sequence(run, example, factor, capsules)
        shift = self.roll.shift if self.roll else 0.0
        self.run, self.factor, self.example = run, factor, example
        self.capsule = min(self.capsule, len(roll.t) - 1)
        self.roll = roll.at(shift) if shift in roll.sequence.shifts else roll


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
    """Rows of widgets that show the explorer's state, with a line of words and one for errors.

    A panel draws when the state changes, but one that is not `visible` waits until it is.
    """

    def __init__(self, explorer: ExplorerState):
        super().__init__()
        self.explorer, self.words, self.problem = explorer, widgets.HTML(), widgets.HTML()
        self.guard = show_errors(self.problem)  # a decorator for callbacks
        self.visible, self._drawn = True, {}

    def arrange(self, *rows: widgets.Widget | list[widgets.Widget]) -> None:
        """Put the rows below one another; the widgets of a list are side by side where there is room."""
        self.children = [widgets.HBox(r, layout=WRAPPED) if isinstance(r, list) else r for r in rows]

    def begin(self) -> None:
        """Draw now, and whenever the state changes."""
        self.draw()
        self.explorer.observe(self.guard(self.refresh), ("roll", "capsule", "revealed"))

    def refresh(self, change: object = None) -> None:
        """Draw if the panel can be seen."""
        if self.visible:
            self.draw()

    def draw(self) -> None:
        """Show the state. Each kind of panel has its own."""
        raise NotImplementedError

    def put(self, widget: widgets.Widget, key: object, make: Callable[[], str | bytes]) -> None:
        """Give a widget a new value if `key`, all that the value depends on, has changed."""
        if self._drawn.get(widget) != key:
            widget.value = make()
            self._drawn[widget] = key


def name_capsules(capsules: Sequence[int] | None) -> str:
    """Name the capsules that roll in words."""
    if capsules is None:
        return "all capsules"
    return f"capsule{'s' * (len(capsules) > 1)} {', '.join(map(str, capsules))} alone"


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
