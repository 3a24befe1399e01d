"""The explorer's widgets: every panel shows one Stage, and a change of it is drawn at once.

Encoding and decoding happen when a scene or the rolling capsules change; moving the roll picks a frame that
is there already. The front end sends no new value of a slider before the last one is answered, and then the
newest, so nothing queues up.
"""

import html
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ipywidgets as widgets
import numpy as np
import torch
from ipycanvas import Canvas
from traitlets import Any, HasTraits

from tvae_core.choices import numbers
from tvae_core.film import below, beside, heat, png
from tvae_core.paths import RUNS
from tvae_core.runs import Run, stored_runs
from tvae_core.scenes import STEPS, Scene, View, factors_of, rollable, view
from tvae_core.train import fit
from tvae_core.variants import read_experiment
from tvae_core.views import latent_frames, latent_maps, roll_view, seats

CELL = 14  # pixels of a unit in the maps
WIDE = widgets.Layout(width="100%", max_width="560px")
FITTING = widgets.Layout(max_width="100%", object_fit="contain", height="auto")


class Stage(HasTraits):
    """What is looked at: a run, and a sequence of it with the state of its roll (View)."""

    view = Any()

    def __init__(self, runs: Sequence[Run]):
        """`runs` as scenes.rollable has them: the first is shown. Raises ValueError if there is none."""
        super().__init__()
        if not runs:
            raise ValueError("no run of sequences is there yet; train one: tvae --name tvae_Lpartial_mnist")
        self.runs, self.run, self.image = list(runs), runs[0], 0
        self.view = view(self.run)

    def choose(self, run: Run, image: int, factor: str) -> None:
        """Another sequence, encoded and rolled anew. ValueError for one that is not there."""
        seen = view(run, image, factor)
        self.run, self.image, self.view = run, image, seen

    def show(self, scene: Scene) -> None:
        """A scene that is not one of the test split's."""
        self.image, self.view = None, View(scene, scene.reel())


def open_stage(experiments: Sequence[str], scale: str, device: str = "auto", runs: str = "") -> Stage:
    """The stage with all runs of sequences that a folder holds, the best first (scenes.rollable).

    Where there is none, the experiments are trained at that scale, in view.
    """
    folder = runs or RUNS
    found = rollable(stored_runs(folder))
    return Stage(found or [fit(read_experiment(name, scale), None, device, folder) for name in experiments])


def name_of(run: Run) -> str:
    """What a run is called in a list."""
    return f"{run.label}, {run.exp.scale}, seed {run.seed}"


@contextmanager
def sentence(words: widgets.HTML) -> Iterator[None]:
    """What goes wrong is said in the widget, in one sentence; otherwise it says nothing."""
    words.value = ""
    try:
        yield
    except (ValueError, OSError) as error:
        words.value = f'<b role="alert">{html.escape(str(error))}</b>'


def choose(stage: Stage) -> widgets.Widget:
    """Which run, which transformation, which image of the test split."""
    runs = widgets.Dropdown(
        options=[(name_of(run), run) for run in stage.runs], description="Run", layout=WIDE
    )
    factor = widgets.Dropdown(options=factors_of(stage.run), description="Transform", layout=WIDE)
    image = widgets.BoundedIntText(0, min=0, max=10**6, description="Test image", layout=WIDE)
    words = widgets.HTML()

    def take(change) -> None:
        with sentence(words):
            names = factors_of(runs.value)
            if factor.options != names:
                factor.unobserve(take, "value")
                factor.options = names
                factor.observe(take, "value")
            stage.choose(runs.value, image.value, factor.value)

    for control in (runs, factor, image):
        control.observe(take, "value")
    return widgets.VBox([runs, factor, image, words])


def roll(stage: Stage) -> widgets.Widget:
    """The sequence, its reconstruction and its rolls; a slider and Play; which capsules roll."""
    slider = widgets.FloatSlider(step=1 / STEPS, description="Roll δ", readout_format="+.2f", layout=WIDE)
    play = widgets.Play(interval=120, repeat=True, show_repeat=False, description="Play")
    capsules = widgets.Text("all", description="Capsules", continuous_update=False, layout=WIDE)
    picture, words, problem = widgets.Image(layout=FITTING), widgets.HTML(), widgets.HTML()
    picture.add_class("tvae-roll")

    def draw(change) -> None:
        started = time.perf_counter()
        seen: View = stage.view
        picture.value = png(roll_view(seen))
        spent = 1000 * (time.perf_counter() - started)
        words.value = f"{'; '.join(seat.caption for seat in seats(seen))}. Drawn in {spent:.0f} ms."

    def follow(change) -> None:
        if change["old"] is not None and change["old"].scene is stage.view.scene:
            return
        first, *_, last = stage.view.scene.shifts
        slider.value = 0.0
        slider.min, slider.max = first, last
        play.max, play.value = len(stage.view.scene.shifts) - 1, round(-first * STEPS)
        capsules.value = "all"

    def move(change) -> None:
        with sentence(problem):
            shift = round(slider.value * STEPS) / STEPS
            if shift != stage.view.shift:
                stage.view = stage.view.at(shift)
            play.value = stage.view.scene.shifts.index(shift)

    def step(change) -> None:
        slider.value = stage.view.scene.shifts[play.value]

    def pick(change) -> None:
        with sentence(problem):
            everyone = capsules.value.strip() in ("", "all")
            stage.view = stage.view.moving(None if everyone else numbers(capsules.value, "capsules"))

    follow({"old": None})
    draw(None)
    stage.observe(follow, "view")
    stage.observe(draw, "view")
    slider.observe(move, "value")
    play.observe(step, "value")
    capsules.observe(pick, "value")
    hint = widgets.HTML("all, or such as 0, 3-5")
    return widgets.VBox(
        [widgets.HBox([slider, play]), widgets.HBox([capsules, hint]), problem, picture, words]
    )


def latents(stage: Stage) -> widgets.Widget:
    """The map of t with a unit picked (click, or type), u², v and W beside it, and what the unit does."""
    c, d = (widgets.BoundedIntText(0, min=0, max=1, description=name) for name in ("Capsule", "Unit"))
    value = widgets.FloatSlider(step=0.01, description="its t", readout_format=".2f", layout=WIDE)
    reset = widgets.Button(description="as it was")
    picture, words = widgets.Image(layout=FITTING), widgets.HTML()
    picture.add_class("tvae-latents")
    canvas = Canvas(width=10, height=10)
    silent = {"now": False}

    def fit(t: torch.Tensor) -> None:
        c.max, d.max = t.shape[0] - 1, t.shape[1] - 1
        low, high = stage.view.scene.range_of_t
        span = high - low
        silent["now"] = True
        value.value = 0.0 if low - span <= 0 <= high + span else low
        value.min, value.max = min(low - span, 0.0), max(high + span, 0.0)
        value.value = t[c.value, d.value].item()
        silent["now"] = False

    def renew(change) -> None:
        fit(stage.view.t)
        draw(None)

    def draw(change) -> None:
        if silent["now"]:
            return
        started = time.perf_counter()
        t, unit = stage.view.t, (c.value, d.value)
        edited = t.clone()
        if abs(value.value - t[unit].item()) > value.step:
            edited[unit] = value.value
        first, *others = (heat(chart, CELL) for chart in latent_maps(stage.view, edited, unit))
        canvas.width, canvas.height = first.size
        canvas.put_image_data(np.asarray(first.convert("RGBA")), 0, 0)
        frames = latent_frames(stage.view, t, edited)
        picture.value = png(below(beside(*others, frames)) if others else below(frames))
        spent = 1000 * (time.perf_counter() - started)
        words.value = (
            f"Capsule {unit[0]}, unit {unit[1]}: t = {edited[unit]:.2f}, rolled there {t[unit]:.2f}. "
            f"Drawn in {spent:.0f} ms."
        )

    def click(x: float, y: float) -> None:
        row, column = int((y - 22) // CELL), int((x - 1) // CELL)
        if 0 <= row <= c.max and 0 <= column <= d.max:
            c.value, d.value = row, column

    renew(None)
    stage.observe(renew, "view")
    c.observe(renew, "value")
    d.observe(renew, "value")
    value.observe(draw, "value")
    reset.on_click(lambda _: renew(None))
    canvas.on_mouse_down(click)
    return widgets.VBox(
        [widgets.HBox([c, d]), widgets.HBox([value, reset]), widgets.HBox([canvas, picture]), words]
    )
