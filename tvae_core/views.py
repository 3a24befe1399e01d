"""From what the controls say (scenes.View) to a picture: the roll, the latents, two models side by side."""

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from tvae_core.figures import Strip
from tvae_core.film import Map, Seat, below, beside, film, signed, stage, titled
from tvae_core.scenes import STEPS, View

SMALL = 128  # pixels: at most for a frame where several sequences stand side by side

Unit = tuple[int, int]  # capsule c, unit d


def strip(view: View) -> Strip:
    """Input, reconstruction and the rolls that reach each frame, one above the other."""
    scene = view.scene
    rows = [("input", scene.frames), ("reconstruction", scene.reconstruction), ("roll", view.reel[::STEPS])]
    return Strip(scene.title, rows, scene.exp.anchor, scene.exp.held_out)


def seats(view: View) -> list[Seat]:
    """The frame that the roll should look like, its reconstruction, and what the roll gives."""
    scene, frame = view.scene, view.frame
    held_out = frame in scene.exp.held_out
    words = f"frame {frame}" + ", held out" * held_out
    return [
        Seat(f"input, {words}", scene.frames[frame], held_out),
        Seat("its reconstruction", scene.reconstruction[frame]),
        Seat(f"roll δ = {signed(view.shift, 2)}", view.decoded),
    ]


def roll_view(view: View) -> Image.Image:
    """The three of `seats` large, and the whole sequence with a playhead below."""
    return below(stage(seats(view)), film(strip(view), view.shift + view.scene.exp.anchor))


def cards(views: Sequence[View], step: int) -> Image.Image:
    """Several sequences side by side at the same step of their rolls: the input, and what the roll gives."""
    parts = []
    for view in views:
        truth, _, decoded = seats(view.at(view.scene.shifts[step]))
        short = truth._replace(caption="held out" if truth.held_out else "input")
        parts.append(titled(view.scene.title, stage([short, decoded], SMALL)))
    return below(beside(*parts))


def compare_view(views: Sequence[View]) -> Image.Image:
    """The same sequence through several models: its rolls below one another, the current frame of each."""
    first = views[0]
    rows = [("input", first.scene.frames)]
    rows += [(chr(ord("A") + i), view.reel[::STEPS]) for i, view in enumerate(views)]
    exp = first.scene.exp
    truth, *_ = seats(first)
    shown = [truth] + [Seat(f"{rows[i + 1][0]}, roll", view.decoded) for i, view in enumerate(views)]
    both = Strip("", rows, exp.anchor, exp.held_out)
    return below(stage(shown), film(both, first.shift + exp.anchor))


def latent_maps(view: View, t: Tensor, unit: Unit, under: Unit | None = None) -> list[Map]:
    """t as it is rolled, u² and v of the frame that it should look like, and W of a unit.

    That is the one under the pointer, or else the picked one. W is over frames and units: whose u² the
    unit of frame l listens to. Without grouper t alone.
    """
    scene, frame, (_, d) = view.scene, view.frame, under or unit
    maps = [Map("t, rolled", t, scene.range_of_t, unit)]
    if scene.v is None:
        return maps
    for name, values in (("u²", scene.u_squared), ("v = W u²", scene.v)):
        maps.append(Map(f"{name}, frame {frame}", values[frame], (0.0, values.max().item()), unit))
    w = scene.listens_to(frame, d)
    return [*maps, Map(f"W of unit {d}, frame {frame}", w, (0.0, max(w.max().item(), 1.0)), (frame, d))]


def latent_frames(view: View, t: Tensor, edited: Tensor) -> Image.Image:
    """The frame decoded from t beside that from t with the picked unit changed."""
    decoded = view.scene.decode(torch.stack([t, edited]))
    return stage([Seat("as rolled", decoded[0]), Seat("unit changed", decoded[1])])
