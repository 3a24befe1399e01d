"""Write rolls to files: a page whose slider needs no kernel and no network, an animation, a picture."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as imageio
import numpy as np
import torch
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from torch import Tensor

from tvae_core.explorer.pictures import animation_picture, roll_picture
from tvae_core.explorer.pixels import frame_grid, png
from tvae_core.explorer.scene import STEPS, OwnDigit, RollState, encode_own_digit, factors_of, open_sequence
from tvae_core.figures.traversals import start_of
from tvae_core.files import write_atomically
from tvae_core.training.runs import Run
from tvae_core.validation import check_choice

SIDE = 104  # pixels of a frame on the page
DELAY = 80  # milliseconds for each step of an animation
FORMATS = (".html", ".gif", ".png", ".mp4")


class Animation(NamedTuple):
    """Sequences of one model that roll together; all have the same number of frames."""

    title: str
    rolls: Sequence[RollState]


def animate(
    run: Run,
    images: Sequence[int] = (0,),
    factor: str = "",
    capsules: Sequence[int] | None = None,
    every: bool = False,
    figure: str = "",
) -> Animation:
    """Roll one test sequence for each transformation of a run's data, or for the named one alone.

    `images` are places in the test split, the first for the first transformation and so on, repeated if
    there are fewer. All of them are shown for each transformation with `every`, and for a single one. With
    the name of a `figure` the sequences are those of that figure (traversals.example_sequences).
    Raises ValueError for a run without sequences, and for an image, a transformation or a capsule that is
    not there.
    """
    names = [check_choice(factor, factors_of(run), "transformation")] if factor else factors_of(run)
    all_shown = every or len(names) == 1
    chosen = [
        (image, name, start_of(figure, factors_of(run).index(name), place) if figure else None)
        for i, name in enumerate(names)
        for place, image in enumerate(images if all_shown else [images[i % len(images)]])
    ]
    return Animation(
        str(run), [open_sequence(run, image, name, capsules, start) for image, name, start in chosen]
    )


def animate_own_digit(
    run: Run, picture: Path, factor: str, capsules: Sequence[int] | None = None
) -> Animation:
    """Roll the sequence of your own digit, a 28 × 28 grey PNG that save_own_digit wrote.

    Raises ValueError for an image of another size, and as encode_own_digit does; OSError for a file that
    is not there.
    """
    with Image.open(picture) as image:
        if image.size != (28, 28):
            raise ValueError(f"{picture} has {image.width} × {image.height} pixels, but a digit has 28 × 28")
        digit = torch.from_numpy(np.array(image.convert("L")))
    return Animation(str(run), [encode_own_digit(run, OwnDigit(digit, factor)).roll(capsules)])


def save_own_digit(digit: UInt8[Tensor, "28 28"], path: Path) -> None:
    """Write a digit for animate_own_digit."""
    write_atomically(path, png(Image.fromarray(digit.numpy()), 9))


def page(animations: Sequence[Animation], title: str) -> str:
    """Return one HTML file that holds all its pictures: for each animation a slider and Play."""
    options = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    environment = Environment(loader=PackageLoader("tvae_core.explorer", "."), autoescape=True, **options)
    template = environment.get_template("player.html.jinja")
    return template.render(animations=map(_on_page, animations), title=title, side=SIDE, per_unit=STEPS)


def _on_page(animation: Animation) -> dict[str, object]:
    sequence = animation.rolls[0].sequence
    return {
        "title": animation.title,
        "anchor": sequence.exp.anchor,
        "frames": len(sequence.frames),
        "steps": len(sequence.shifts),
        "held_out": sequence.exp.held_out,
        "cards": [
            {"title": r.sequence.title, "input": _uri(r.sequence.frames), "roll": _uri(r.decoded_rolls)}
            for r in animation.rolls
        ],
    }


def _uri(frames: Tensor) -> str:
    """Return the frames in one row as a data URI."""
    picture = frame_grid(frames, len(frames))
    small = picture if picture.getcolors(256) is None else picture.quantize(256)  # the same colours
    return "data:image/png;base64," + base64.b64encode(png(small, 9)).decode()


def save_page(animations: Sequence[Animation], folder: Path | str, name: str, title: str) -> None:
    """Write the page as folder/NAME.html; the report shows it below the figure NAME."""
    write_atomically(Path(folder, f"{name}.html"), page(animations, title))


def _film(animation: Animation, suffix: str) -> bytes:
    """Draw every step of an animation and encode them as GIF or as MP4 (H.264)."""
    steps = range(len(animation.rolls[0].sequence.shifts))
    pictures = np.stack([np.asarray(animation_picture(animation.rolls, step)) for step in steps])
    options = (
        {"fps": 1000 / DELAY, "macro_block_size": 2} if suffix == ".mp4" else {"duration": DELAY, "loop": 0}
    )
    odd = [(0, side % 2) for side in pictures.shape[1:3]]  # H.264 needs even sides
    pictures = np.pad(pictures, [(0, 0), *odd, (0, 0)], constant_values=255)
    return imageio.imwrite("<bytes>", pictures, extension=suffix, **options)


def export(animation: Animation, path: Path, shift: float = 0.0) -> Path:
    """Write an animation in the format that the file's suffix names (FORMATS), and return the path.

    A PNG shows the first sequence at the roll `shift`. Raises ValueError for another suffix and for a roll
    that is not among those that can be shown.
    """
    suffix = check_choice(path.suffix.lower(), FORMATS, "suffix")
    if suffix == ".html":
        write_atomically(path, page([animation], "Topographic VAE: capsules that roll"))
    elif suffix == ".png":
        write_atomically(path, png(roll_picture(animation.rolls[0].at(shift)), 9))
    else:
        write_atomically(path, _film(animation, suffix))
    return path
