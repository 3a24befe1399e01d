"""What all panels of the explorer look at, how they are laid out, and how they say what goes wrong."""

import html
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ipywidgets as widgets
from traitlets import Any, HasTraits

from tvae_core.paths import RUNS
from tvae_core.runs import Run, stored_runs
from tvae_core.scales import SCALES
from tvae_core.scenes import Own, View, factors_of, scene_of, view
from tvae_core.train import fit
from tvae_core.variants import read_experiment

WIDE = widgets.Layout(width="calc(100% - 4px)", max_width="560px")  # a control has 2 pixels of margin
ROW = widgets.Layout(flex_flow="row wrap", grid_gap="0 12px")

log = logging.getLogger("tvae_core")


class Stage(HasTraits):
    """What is looked at: a run, and a sequence of it with the state of its roll (View)."""

    view = Any()

    def __init__(self, runs: Sequence[Run]):
        """`runs` as rollable has them: the first is shown. Raises ValueError if there is none."""
        super().__init__()
        if not runs:
            raise ValueError("no run of sequences is there yet; train one: tvae --name tvae_Lpartial_mnist")
        self.runs, self.run, self.image = list(runs), runs[0], 0  # image: its place in the test split
        self.own: Own | None = None  # in place of an image of the test split
        self.factor, *_ = factors_of(self.run)
        self.view = view(self.run)

    def choose(self, run: Run, image: int, factor: str) -> None:
        """Another sequence, encoded and rolled anew. ValueError for one that is not there."""
        seen = view(run, image, factor)
        self.run, self.image, self.own, self.factor, self.view = run, image, None, factor, seen

    def show(self, own: Own) -> None:
        """A digit that is not one of the test split's. Raises ValueError as scene_of does."""
        scene = scene_of(self.run, own)
        self.own, self.factor, self.view = own, own.factor, View(scene, scene.reel())


def open_stage(experiments: Sequence[str], scale: str, device: str = "auto", runs: str = "") -> Stage:
    """The stage with all runs of sequences that a folder holds, the best first (rollable).

    Where there is none, the experiments are trained at that scale, in view.
    """
    folder = runs or RUNS
    found = rollable(stored_runs(folder))
    return Stage(found or [fit(read_experiment(name, scale), None, device, folder) for name in experiments])


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


def name_of(run: Run) -> str:
    """What a run is called in a list."""
    return f"{run.label}, {run.exp.scale}, seed {run.seed}"


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
