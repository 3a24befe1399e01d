"""What all panels of the explorer look at, the frames they draw on, and the debounce of a slider."""

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
from tvae_core.explorer.pixels import CaptionedFrame, Film, png, stage
from tvae_core.explorer.scene import OwnDigit, RollState, encode_own_digit, factors_of, view
from tvae_core.figures.notebook import fit_all
from tvae_core.files import RUNS
from tvae_core.training.runs import Run, stored_runs


class Debounce:
    """Does the last thing asked for, once nothing more was asked for so many seconds.

    A pointer's moves are not held back by the front end as a slider's are: drawn one by one they would
    queue up.
    """

    def __init__(self, seconds: float):
        self.seconds, self._waiting = seconds, None

    def call(self, thing: Callable[[], None]) -> None:
        """Do it soon, in place of what still waits; at once where no event loop runs."""
        if self._waiting is not None:
            self._waiting.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            thing()
        else:
            self._waiting = loop.call_later(self.seconds, thing)


# An image has 2 pixels of margin on each side.
FITTING = widgets.Layout(
    max_width="calc(100% - 4px)", align_self="flex-start", object_fit="contain", height="auto"
)


def over(*layers: widgets.DOMWidget) -> widgets.GridBox:
    """Widgets of one size on top of one another, the last one uppermost."""
    for layer in layers:
        layer.layout = widgets.Layout(grid_area="all", margin="0", max_width="100%", height="auto")
    cell = {"grid_template_areas": '"all"', "margin": "2px", "align_self": "flex-start"}
    return widgets.GridBox(layers, layout=widgets.Layout(max_width="calc(100% - 4px)", **cell))


class FrameDisplay:
    """Its `widget`, and `show`."""

    def __init__(self, name: str):
        """The images get the classes tvae-NAME, tvae-NAME-film and tvae-NAME-playhead."""
        self.frames, self.still, self.playhead = (
            widgets.Image(layout=FITTING),
            widgets.Image(),
            widgets.Image(),
        )
        for image, part in ((self.frames, ""), (self.still, "-film"), (self.playhead, "-playhead")):
            image.add_class(f"tvae-{name}{part}")
        self._film: Film | None = None
        self.widget = widgets.VBox([self.frames, over(self.still, self.playhead)])

    def show(self, seats: Sequence[CaptionedFrame], film: Film, place: float) -> None:
        """These frames, and the film with its playhead at `place`."""
        self.frames.value = png(stage(seats))
        if film is not self._film:
            self._film, self.still.value = film, png(film.still)
        self.playhead.value = png(film.playhead(place))

    def clear(self) -> None:
        """Nothing at all."""
        self._film = None
        for image in (self.frames, self.still, self.playhead):
            image.value = b""


WIDE = widgets.Layout(width="calc(100% - 4px)", max_width="560px")  # a control has 2 pixels of margin
ROW = widgets.Layout(flex_flow="row wrap", grid_gap="0 12px")

log = logging.getLogger("tvae_core")


class ExplorerState(HasTraits):
    """What is looked at: a run, and a sequence of it with the state of its roll (View)."""

    view = Any()

    def __init__(self, runs: Sequence[Run]):
        """`runs` as rollable has them: the first is shown. Raises ValueError if there is none."""
        super().__init__()
        if not runs:
            raise ValueError("no run of sequences is there yet; train one: tvae --name tvae_Lpartial_mnist")
        self.runs, self.run, self.image = list(runs), runs[0], 0  # image: its place in the test split
        self.own: OwnDigit | None = None  # in place of an image of the test split
        self.factor, *_ = factors_of(self.run)
        self.view = view(self.run)

    def choose(self, run: Run, image: int, factor: str) -> None:
        """Another sequence, encoded and rolled anew. ValueError for one that is not there."""
        seen = view(run, image, factor)
        self.run, self.image, self.own, self.factor, self.view = run, image, None, factor, seen

    def show(self, own: OwnDigit) -> None:
        """A digit that is not one of the test split's. Raises ValueError as encode_own_digit does."""
        scene = encode_own_digit(self.run, own)
        self.own, self.factor, self.view = own, own.factor, RollState(scene, scene.reel())


def open_explorer(
    experiments: Sequence[str], scale: str, device: str = "auto", runs: str = ""
) -> ExplorerState:
    """The stage with all runs of sequences that a folder holds, the best first (rollable).

    Where there is none, the experiments are trained at that scale, in view.
    """
    folder = runs or RUNS
    found = rollable(stored_runs(folder))
    return ExplorerState(found or fit_all(experiments, scale, (), device, folder))


def share_of_the_way(run: Run) -> float:
    """How far a run's rolls come from the mean frame (0) to its reconstruction (1), in held-out frames.

    Of a run that holds none out how far its rolls into seen frames come; -inf where there are no rolls.
    """
    trained, worst = run.results["trained"], run.results["chance"].get("roll_held_out")
    best = trained.get("reconstruction")
    rolled = trained.get("roll_held_out") or trained.get("roll_seen")
    if None in (worst, best, rolled) or best >= worst:
        return float("-inf")
    return (worst - rolled) / (worst - best)


def rollable(runs: Sequence[Run]) -> list[Run]:
    """Those of sequences, best first: of the largest scale, there digits before sprites (one can draw one's
    own), there those with held-out frames, since only they can be wrong, and there whose rolls come furthest;
    where none comes anywhere, those with a topography.
    """

    def rank(run: Run) -> tuple[int, bool, bool, float, bool]:
        exp = run.exp
        trained = list(SCALES).index(exp.scale)  # the registry goes from the least to the most
        furthest = share_of_the_way(run), exp.topography != "none"
        return trained, exp.data != "dsprites", bool(exp.held_out), *furthest

    return sorted((run for run in runs if run.exp.n_transforms > 1), key=rank, reverse=True)


@contextmanager
def sentence(words: widgets.HTML) -> Iterator[None]:
    """What goes wrong is said in the widget, in one sentence; otherwise it says nothing.

    Also a decorator, for what a control calls. An error that is no answer to what was asked for is named,
    and its traceback goes to the log.
    """
    words.value = ""
    try:
        yield
    except (ValueError, OSError) as error:
        words.value = _alert(str(error))
    except Exception as error:
        log.exception("the explorer could not do what was asked for")
        first, *_ = str(error).splitlines() or [""]
        words.value = _alert(f"{type(error).__name__}: {first.rstrip('.')}. {_WHERE}")


_WHERE = "This is a fault of the program; its traceback is in the log (JupyterLab: View, Show Log Console)."


def _alert(text: str) -> str:
    return f'<b role="alert">{html.escape(text)}</b>'


def latency(stage: ExplorerState) -> dict[str, float]:
    """Milliseconds of a change on screen: from a new roll until all panels of the stage have their pictures.

    Over all its rolls, the median and the slowest; the stage is left as it was.
    """
    before, spent = stage.view, []
    for shift in before.scene.shifts:
        view = before.at(shift)
        started = time.perf_counter()
        stage.view = view
        spent.append(1000 * (time.perf_counter() - started))
    stage.view = before
    return {"median": statistics.median(spent), "slowest": max(spent)}


def _drawn_in(started: float) -> str:
    return f"Drawn in {1000 * (time.perf_counter() - started):.0f} ms."
