"""From what the controls say (scenes.View) to a picture: the roll, the latents, two models side by side."""

from collections.abc import Sequence
from functools import lru_cache

from PIL import Image
from torch import Tensor

from tvae_core.explorer.pixels import CaptionedFrame, Film, Map, below, beside, signed, stage, titled
from tvae_core.explorer.scene import STEPS, EncodedSequence, RollState
from tvae_core.plotting.strips import Strip

SMALL = 128  # pixels: at most for a frame where several sequences stand side by side

Unit = tuple[int, int]  # capsule c, unit d


def film_of(views: Sequence[RollState]) -> Film:
    """All that stays while the roll moves; drawn once for one scene and what rolls there.

    One view has its input, its reconstruction and the rolls that reach each frame; of several, which are
    of the same sequence through as many models, there are their rolls, called A, B and so on.
    """
    return _film(views[0].scene, *(view.reel for view in views))


@lru_cache(maxsize=8)
def _film(scene: EncodedSequence, *reels: Tensor) -> Film:
    own = [("reconstruction", scene.reconstruction), ("roll", reels[0][::STEPS])]
    others = [(chr(ord("A") + i), reel[::STEPS]) for i, reel in enumerate(reels)]
    rows = [("input", scene.frames), *(others if len(reels) > 1 else own)]
    return Film(Strip(scene.title, rows, scene.exp.anchor, scene.exp.held_out))


def seats(view: RollState) -> list[CaptionedFrame]:
    """The frame that the roll should look like, its reconstruction, and what the roll gives."""
    scene, frame = view.scene, view.frame
    held_out = frame in scene.exp.held_out
    words = f"frame {frame}" + ", held out" * held_out
    return [
        CaptionedFrame(f"input, {words}", scene.frames[frame], held_out),
        CaptionedFrame("its reconstruction", scene.reconstruction[frame]),
        CaptionedFrame(f"roll δ = {signed(view.shift, 2)}", view.decoded),
    ]


def place(view: RollState) -> float:
    """Where on its film the roll has come to, in frames."""
    return view.shift + view.scene.exp.anchor


def roll_view(view: RollState) -> Image.Image:
    """The three of `seats` large, and the whole sequence with a playhead below."""
    return below(stage(seats(view)), film_of([view]).at(place(view)))


def cards(views: Sequence[RollState], step: int) -> Image.Image:
    """Several sequences side by side at the same step of their rolls: the input, and what the roll gives."""
    parts = []
    for view in views:
        truth, _, decoded = seats(view.at(view.scene.shifts[step]))
        short = truth._replace(caption="held out" if truth.held_out else "input")
        parts.append(titled(view.scene.title, stage([short, decoded], SMALL)))
    return below(beside(*parts))


def seats_beside(views: Sequence[RollState]) -> list[CaptionedFrame]:
    """The frame that the roll should look like, and what it gives through each of several models."""
    truth, *_ = seats(views[0])
    return [
        truth,
        *(CaptionedFrame(f"{chr(ord('A') + i)}, roll", view.decoded) for i, view in enumerate(views)),
    ]


def latent_maps(view: RollState, t: Tensor, unit: Unit, under: Unit | None = None) -> list[Map]:
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


def latent_frames(view: RollState, edited: Tensor | None = None) -> Image.Image:
    """The frame decoded from t as it is rolled, beside that from t with a unit changed."""
    changed = view.decoded if edited is None else view.scene.decode(edited.unsqueeze(0))[0]
    return stage([CaptionedFrame("as rolled", view.decoded), CaptionedFrame("unit changed", changed)])
