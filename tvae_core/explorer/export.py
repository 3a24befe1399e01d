"""Write rolls to files: a page whose slider needs no kernel and no network, an animation, a picture."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as imageio
import matplotlib
import numpy as np
import torch
from jaxtyping import Float, UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from torch import Tensor

from tvae_core.explorer.pictures import animation_picture, roll_picture
from tvae_core.explorer.pixels import frame_grid, png
from tvae_core.explorer.scene import (
    STEPS,
    OwnDigit,
    RollState,
    encode_own_digit,
    factors_of,
    open_sequence,
    run_title,
)
from tvae_core.figures.traversals import start_of
from tvae_core.files import write_atomically
from tvae_core.training.runs import Run
from tvae_core.validation import check_choice, check_place

DELAY = 80  # milliseconds for each step of an animation
MOST_SEQUENCES = 50  # in one file
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
    Raises ValueError for a run without sequences, for an image, a transformation or a capsule that is not
    there, and for more than MOST_SEQUENCES.
    """
    names = [check_choice(factor, factors_of(run), "transformation")] if factor else factors_of(run)
    all_shown = every or len(names) == 1
    chosen = [
        (image, name, start_of(figure, factors_of(run).index(name), place) if figure else None)
        for i, name in enumerate(names)
        for place, image in enumerate(images if all_shown else [images[i % len(images)]])
    ]
    if len(chosen) > MOST_SEQUENCES:
        raise ValueError(f"{len(chosen):,} sequences are too many for one file; at most {MOST_SEQUENCES} fit")
    rolls = [open_sequence(run, image, name, capsules, start) for image, name, start in chosen]
    return Animation(run_title(run), rolls)


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
    return Animation(run_title(run), [encode_own_digit(run, OwnDigit(digit, factor)).roll(capsules)])


def save_own_digit(digit: UInt8[Tensor, "28 28"], path: Path) -> None:
    """Write a digit for animate_own_digit."""
    write_atomically(path, png(Image.fromarray(digit.numpy()), 9))


def page(animations: Sequence[Animation], title: str) -> str:
    """Return one HTML file that holds all its pictures: for each animation a slider and Play."""
    template = templates().get_template("player.html.jinja")
    return template.render(animations=animations, title=title, per_unit=STEPS)


def templates() -> Environment:
    """Return the templates of the pages that need no kernel."""
    options = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    environment = Environment(loader=PackageLoader("tvae_core.explorer", "."), autoescape=True, **options)
    environment.filters |= {"uri": _uri, "capsule_maps": capsule_maps}
    return environment


def capsule_maps(roll: RollState) -> tuple[int, Float[Tensor, "1 3 S D"], Float[Tensor, "1 3 S D"]]:
    """Return the rolling capsule that changes most, and two maps of it in the same colours, a frame a row.

    The first is its t in each frame, the second t of frame l0 rolled to each frame.
    """
    sequence, chosen = roll.sequence, list(range(roll.t.shape[0]) if roll.capsules is None else roll.capsules)
    capsule = chosen[sequence.t[:, chosen].std(0).mean(1).argmax().item()] if chosen else 0
    t = sequence.t[:, capsule]
    rolled = sequence.roll_capsules(sequence.shifts[::STEPS], roll.capsules)[:, capsule]
    share = ((torch.stack([t, rolled]) - t.min()) / (t.max() - t.min()).clamp(min=1e-12)).clamp(0, 1)
    colours = torch.from_numpy(matplotlib.colormaps["viridis"](share.numpy())[..., :3]).float()
    return capsule, *colours.permute(0, 3, 1, 2).unsqueeze(1)


def _uri(frames: Tensor) -> str:
    """Return the frames in one row as a data URI."""
    picture = frame_grid(frames, len(frames))
    small = picture if picture.getcolors(256) is None else picture.quantize(256)  # the same colours
    return "data:image/png;base64," + base64.b64encode(png(small, 9)).decode()


def save_page(animations: Sequence[Animation], folder: Path | str, name: str, title: str) -> None:
    """Write the page as folder/NAME.html; the report shows it below the figure NAME."""
    write_atomically(Path(folder, f"{name}.html"), page(animations, title))


def _video(animation: Animation, suffix: str) -> bytes:
    """Draw every step of an animation and encode them as GIF or as MP4 (H.264)."""
    steps = range(len(animation.rolls[0].sequence.shifts))
    pictures = np.stack([np.asarray(animation_picture(animation.rolls, step)) for step in steps])
    if suffix == ".gif":
        return imageio.imwrite("<bytes>", pictures, extension=suffix, duration=DELAY, loop=0)
    odd = [(0, side % 2) for side in pictures.shape[1:3]]  # H.264 needs even sides
    pictures = np.pad(pictures, [(0, 0), *odd, (0, 0)], constant_values=255)
    return imageio.imwrite("<bytes>", pictures, extension=suffix, fps=1000 / DELAY, macro_block_size=2)


def check_output(path: Path) -> str:
    """Return the suffix of a file to be written. Raises ValueError for another one, and as check_place."""
    check_place(path)
    return check_choice(path.suffix.lower(), FORMATS, "suffix")


def export(animation: Animation, path: Path, shift: float = 0.0) -> Path:
    """Write an animation in the format that the file's suffix names (FORMATS), and return the path.

    A PNG shows the first sequence at the roll `shift`. Raises ValueError as check_output does, and for a
    roll that is not among those that can be shown.
    """
    suffix = check_output(path)
    if suffix == ".html":
        write_atomically(path, page([animation], "Topographic VAE: capsules that roll"))
    elif suffix == ".png":
        write_atomically(path, png(roll_picture(animation.rolls[0].at(shift)), 9))
    else:
        write_atomically(path, _video(animation, suffix))
    return path
