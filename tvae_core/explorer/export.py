"""Rolls to take along: a page whose slider needs no kernel and no network, an animation, a picture."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import imageio_ffmpeg
import numpy as np
import torch
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from torch import Tensor

from tvae_core.explorer.pictures import cards, roll_view
from tvae_core.explorer.pixels import png, sheet
from tvae_core.explorer.scene import STEPS, OwnDigit, RollState, encode_own_digit, factors_of, view
from tvae_core.files import write_atomically
from tvae_core.training.runs import Run
from tvae_core.validation import check_choice

SIDE = 104  # pixels of a frame on the page
DELAY = 80  # milliseconds a step of an animation


class Animation(NamedTuple):
    """Sequences that roll together, of one model: all of them have as many frames."""

    title: str
    views: Sequence[RollState]


def reel(
    run: Run,
    images: Sequence[int] = (0,),
    factor: str = "",
    capsules: Sequence[int] | None = None,
    every: bool = False,
) -> Animation:
    """One test sequence for each transformation of a run's data, or for the named one alone.

    `images` are places in the test split, used again if there are fewer; of a single transformation, or
    with `every`, all of them are shown for each. Raises ValueError for a run without sequences, and for an
    image, a transformation or a capsule that is not there.
    """
    names = [check_choice(factor, factors_of(run), "transformation")] if factor else factors_of(run)
    each = [(images[i % len(images)], name) for i, name in enumerate(names)]
    product = [(image, name) for name in names for image in images]
    chosen = product if every or len(names) == 1 else each
    return Animation(str(run), [view(run, image, name, capsules) for image, name in chosen])


def animate_own_digit(
    run: Run, picture: Path, factor: str, capsules: Sequence[int] | None = None
) -> Animation:
    """The sequence of a digit of one's own, from the 28 × 28 grey PNG that save_own wrote.

    Raises ValueError for an image of another size, and as encode_own_digit does; OSError for one
    that is not there.
    """
    with Image.open(picture) as image:
        if image.size != (28, 28):
            raise ValueError(f"{picture} has {image.width} × {image.height} pixels, but a digit has 28 × 28")
        digit = torch.from_numpy(np.array(image.convert("L")))
    scene = encode_own_digit(run, OwnDigit(digit, factor))
    return Animation(str(run), [RollState(scene, scene.reel(capsules), capsules)])


def save_own(digit: UInt8[Tensor, "28 28"], path: Path) -> None:
    """Write a digit as animate_own_digit reads it."""
    write_atomically(path, png(Image.fromarray(digit.numpy()), 9))


def _uri(picture: Image.Image) -> str:
    few = picture if picture.getcolors(256) is None else picture.quantize(256)  # the same, but smaller
    return "data:image/png;base64," + base64.b64encode(png(few, 9)).decode()


def _on_page(reel: Animation) -> dict[str, object]:
    scene = reel.views[0].scene
    views = reel.views
    return {
        "title": reel.title,
        "first": -scene.exp.anchor,
        "anchor": scene.exp.anchor,
        "frames": len(scene.frames),
        "steps": len(scene.shifts),
        "held_out": scene.exp.held_out,
        "cards": [
            {"title": v.scene.title, "input": _uri(sheet(v.scene.frames)), "roll": _uri(sheet(v.reel))}
            for v in views
        ],
    }


def page(reels: Sequence[Animation], title: str) -> str:
    """One HTML file with everything in it: for each reel a slider and Play over its decoded frames."""
    options = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    environment = Environment(loader=PackageLoader("tvae_core.explorer", "."), autoescape=True, **options)
    template = environment.get_template("player.html.jinja")
    shown = [_on_page(reel) for reel in reels]
    return template.render(reels=shown, title=title, words=_WORDS, side=SIDE, per_unit=STEPS)


_WORDS = (
    "The capsules t of frame l0 are rolled by δ and decoded; fractions of a unit by a Fourier shift. "
    "Held out are the frames that this t never saw."
)


def save_page(reels: Sequence[Animation], folder: Path | str, name: str, title: str) -> None:
    """Write folder/name.html, the page; beside a figure of that name the report shows it."""
    write_atomically(Path(folder, f"{name}.html"), page(reels, title))


def _pictures(reel: Animation) -> list[Image.Image]:
    return [cards(reel.views, step) for step in range(len(reel.views[0].scene.shifts))]


def gif(reel: Animation) -> bytes:
    """An animation that goes round for ever."""
    pictures = _pictures(reel)
    # one palette for all of them, since most hues appear in the course of the roll only
    palette = Image.fromarray(np.concatenate([np.asarray(picture) for picture in pictures])).quantize(256)
    shown = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = io.BytesIO()
    shown[0].save(
        buffer, "gif", save_all=True, append_images=shown[1:], duration=DELAY, loop=0, optimize=True
    )
    return buffer.getvalue()


def mp4(reel: Animation, path: Path) -> None:
    """The same as a film (H.264)."""
    shown = _pictures(reel)
    width, height = (side + side % 2 for side in shown[0].size)  # the codec wants even sides
    unfinished = path.with_name(f".{path.name}.mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = imageio_ffmpeg.write_frames(
        str(unfinished), (width, height), fps=1000 / DELAY, macro_block_size=2, ffmpeg_log_level="error"
    )
    try:
        writer.send(None)
        for picture in shown:
            canvas = Image.new("RGB", (width, height), "white")
            canvas.paste(picture)
            writer.send(np.asarray(canvas).tobytes())
        writer.close()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


FORMATS = (".html", ".gif", ".png", ".mp4")


def export(reel: Animation, path: Path, shift: float = 0.0) -> Path:
    """Write a reel in the format that the file's suffix names: a page, an animation, a film, or a picture.

    The picture shows the first sequence at the roll `shift`. Raises ValueError for another suffix and for
    a roll that is not among those looked at.
    """
    suffix = check_choice(path.suffix.lower(), FORMATS, "suffix")
    if suffix == ".mp4":
        mp4(reel, path)
    elif suffix == ".html":
        write_atomically(path, page([reel], "Topographic VAE: capsules that roll"))
    else:
        write_atomically(path, gif(reel) if suffix == ".gif" else png(roll_view(reel.views[0].at(shift)), 9))
    return path
