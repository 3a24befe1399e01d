"""Pictures that change while one looks: frames and latents in, pixels out, without matplotlib's delay.

Frames are magnified by whole factors, so that every pixel stays a square. Nothing here sees a model.
"""

import io
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from tvae_core.plotting.strips import Strip
from tvae_core.plotting.style import ACCENT, INK, MUTED, PAPER, SECOND

LABELS = 118  # pixels left of a strip, for the names of its rows
MARGIN, GAP, LINE = 8, 2, 22  # pixels: around a picture, between frames, of a line of text
STAGE, CELL = 196, 66  # pixels: at most for the side of a frame on stage, and of one in a strip
TEXT = 15

Pixels = UInt8[np.ndarray, "H W 3"]


class CaptionedFrame(NamedTuple):
    """A frame on stage: what it is, and whether it is one that t of l0 never saw."""

    caption: str
    frame: Float[Tensor, "ch h w"]
    held_out: bool = False


class Map(NamedTuple):
    """Latents as a picture: a value for each unit, rows by columns, and the unit that is picked."""

    title: str
    values: Float[Tensor, "rows columns"]
    limits: tuple[float, float]
    picked: tuple[int, int] | None = None


@lru_cache
def font(size: int = TEXT, bold: bool = False) -> ImageFont.FreeTypeFont:
    """The font of the figures."""
    name = f"DejaVuSans{'-Bold' * bold}.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def pixels(frame: Float[Tensor, "ch h w"], zoom: int = 1) -> Pixels:
    """A frame in [0, 1] as bytes, each pixel a square of zoom × zoom; grey becomes RGB."""
    rgb = (frame.detach().float().cpu().clamp(0, 1) * 255).round().byte()
    rgb = rgb.expand(3, *rgb.shape[1:]).permute(1, 2, 0).numpy()
    return rgb.repeat(zoom, 0).repeat(zoom, 1)


def png(picture: Image.Image, effort: int = 1) -> bytes:
    """The picture as PNG, the smaller the more effort (1 to 9); the same picture gives the same bytes."""
    buffer = io.BytesIO()
    options = {"compress_type": zlib.Z_RLE} if effort == 1 else {}  # squares and paper are runs of one value
    picture.save(buffer, "png", compress_level=effort, **options)
    return buffer.getvalue()


def signed(roll: float, digits: int = 0) -> str:
    """A roll as it is written below a frame: +1, −2, 0."""
    text = f"{roll:+.{digits}f}".replace("-", "−")
    return f"{0:.{digits}f}" if not float(f"{roll:.{digits}f}") else text


def _paper(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (width, height), PAPER)
    return picture, ImageDraw.Draw(picture)


def stage(seats: Sequence[CaptionedFrame], most: int = STAGE) -> Image.Image:
    """Frames side by side, large, each with its caption below; a bar over those held out."""
    side = max(seats[0].frame.shape[-2:])
    zoom = max(1, most // side)
    step = max(side * zoom, most) + 3 * MARGIN
    picture, draw = _paper(step * len(seats) - 3 * MARGIN, side * zoom + LINE + 6)
    for i, seat in enumerate(seats):
        corner = (i * step, 6)
        picture.paste(Image.fromarray(pixels(seat.frame, zoom)), corner)
        if seat.held_out:
            draw.line((corner[0], 2, corner[0] + side * zoom - 1, 2), MUTED, 3)
        draw.text((corner[0], side * zoom + 10), seat.caption, INK, font())
    return picture


class Film:
    """Rows of frames as in Figure 4, drawn once; the playhead alone moves.

    Held-out frames of the input (the first row) are greyed and have a line above; the box is around l0.
    """

    def __init__(self, strip: Strip):
        s, _, h, w = strip.rows[0][1].shape
        zoom = max(1, CELL // max(h, w))
        self.across, down = w * zoom + GAP, h * zoom + GAP
        self.bottom = LINE + len(strip.rows) * down
        self.still, draw = _paper(LABELS + s * self.across + 4, self.bottom + LINE + 2)
        for row, (label, frames) in enumerate(strip.rows):
            top = LINE + row * down
            draw.text((LABELS - 8, top + down / 2), label, INK, font(), "rm")
            for place, frame in enumerate(frames):
                faded = row == 0 and place in strip.held_out
                shown = 0.30 * frame + 0.62 if faded else frame
                self.still.paste(Image.fromarray(pixels(shown, zoom)), (LABELS + place * self.across, top))
        _mark_frames(draw, strip, self.across, self.bottom)

    def at(self, place: float) -> Image.Image:
        """The film with its playhead."""
        picture = self.still.copy()
        self._mark(ImageDraw.Draw(picture), place, ACCENT)
        return picture

    def playhead(self, place: float) -> Image.Image:
        """The playhead alone, on glass of the film's size."""
        glass = Image.new("P", self.still.size)
        glass.putpalette([0, 0, 0, *ImageColor.getrgb(ACCENT)])
        glass.info["transparency"] = 0
        self._mark(ImageDraw.Draw(glass), place, 1)
        return glass

    def _mark(self, draw: ImageDraw.ImageDraw, place: float, colour: str | int) -> None:
        """A fraction of a frame is between two."""
        x, foot = LABELS + place * self.across + (self.across - GAP) / 2, self.bottom
        draw.line((x, LINE, x, foot - 2), colour, 2)
        draw.polygon([(x - 6, foot - 1), (x + 6, foot - 1), (x, foot - 9)], fill=colour)


def _mark_frames(draw: ImageDraw.ImageDraw, strip: Strip, across: int, bottom: int) -> None:
    left = LABELS + strip.anchor * across
    draw.rectangle((left - 2, LINE - 2, left + across - 1, bottom - 1), outline=SECOND, width=2)
    for place in range(len(strip.rows[0][1])):
        x = LABELS + place * across
        if place in strip.held_out:
            draw.line((x - 1, LINE - 5, x + across - 2, LINE - 5), MUTED, 2)
        draw.text(
            (x + across / 2, bottom + LINE / 2 + 2),
            signed(float(place - strip.anchor)),
            MUTED,
            font(13),
            "mm",
        )
    draw.text((LABELS - 8, bottom + LINE / 2 + 2), "roll δ", MUTED, font(13), "rm")
    draw.text((left + across / 2, LINE / 2 - 3), f"l₀ = {strip.anchor}", "#8a5a00", font(13), "mm")
    if strip.held_out:
        first = LABELS + (strip.held_out[0] + strip.held_out[-1] + 1) / 2 * across
        near = abs(first - left - across / 2) < 2 * LABELS / 2
        draw.text((first + near * LABELS, LINE / 2 - 3), "held out", MUTED, font(13), "mm")


def titled(title: str, picture: Image.Image) -> Image.Image:
    """A picture below its title."""
    sheet, draw = _paper(picture.width, picture.height + LINE)
    draw.text((0, 2), title, INK, font(bold=True))
    sheet.paste(picture, (0, LINE))
    return sheet


def sheet(frames: Float[Tensor, "n ch h w"]) -> Image.Image:
    """Frames in one row without gaps, a pixel for a pixel: what a page shows one part of at a time."""
    return Image.fromarray(np.concatenate([pixels(frame) for frame in frames], 1))


def below(*parts: Image.Image) -> Image.Image:
    """Pictures under one another, on one sheet of paper."""
    width = max(part.width for part in parts) + 2 * MARGIN
    picture, _ = _paper(width, sum(part.height + MARGIN for part in parts) + MARGIN)
    top = MARGIN
    for part in parts:
        picture.paste(part, (MARGIN, top))
        top += part.height + MARGIN
    return picture


def beside(*parts: Image.Image) -> Image.Image:
    """Pictures next to one another, their tops on one line."""
    picture, _ = _paper(sum(p.width + 3 * MARGIN for p in parts) - 3 * MARGIN, max(p.height for p in parts))
    left = 0
    for part in parts:
        picture.paste(part, (left, 0))
        left += part.width + 3 * MARGIN
    return picture


def heat(chart: Map, cell: int) -> Image.Image:
    """A map with its title above and its range below; while the limits stay, a colour means one value."""
    low, high = chart.limits
    rows, columns = chart.values.shape
    share = ((chart.values - low) / max(high - low, 1e-12)).clamp(0, 1).numpy()
    colours = (matplotlib.colormaps["viridis"](share)[..., :3] * 255).astype(np.uint8)
    picture, draw = _paper(columns * cell + 2, LINE + rows * cell + LINE)
    picture.paste(Image.fromarray(colours.repeat(cell, 0).repeat(cell, 1)), (1, LINE))
    draw.text((1, 2), chart.title, INK, font(14))
    draw.text((1, LINE + rows * cell + 4), f"{low:.3g} … {high:.3g}", MUTED, font(12))
    if chart.picked is not None:
        row, column = chart.picked
        box = (column * cell, LINE + row * cell - 1, (column + 1) * cell + 1, LINE + (row + 1) * cell)
        draw.rectangle(box, outline=PAPER, width=3)
        draw.rectangle(box, outline="#d81b60", width=2)
    return picture
