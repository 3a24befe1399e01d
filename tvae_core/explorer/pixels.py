"""Draw frames and maps as pixels, fast enough for a slider (matplotlib takes too long).

Frames are magnified by whole factors, so that every pixel stays a square. Nothing here knows a model.
"""

import io
import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from tvae_core.plotting.strips import Strip
from tvae_core.plotting.style import ACCENT, INK, MUTED, PAPER, SECOND

LABELS = 118  # pixels left of a timeline, for the names of its rows
MARGIN, GAP, LINE = 8, 2, 22  # pixels: around a picture, between frames, of a line of text
LARGE, CELL = 196, 66  # pixels: the longest side of a frame shown large, and of one in a timeline
TEXT, SMALL_TEXT = 15, 13


class CaptionedFrame(NamedTuple):
    """A frame with its caption, and whether t of l0 never saw it."""

    caption: str
    frame: Float[Tensor, "ch h w"]
    held_out: bool = False


class LatentMap(NamedTuple):
    """One value for each unit, rows by columns; the limits of the colours; and the picked unit."""

    title: str
    values: Float[Tensor, "rows columns"]
    limits: tuple[float, float]
    picked: tuple[int, int] | None = None


@lru_cache
def font(size: int = TEXT, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load the font of the figures."""
    name = f"DejaVuSans{'-Bold' * bold}.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def frame_grid(frames: Float[Tensor, "n ch h w"], columns: int, zoom: int = 1, gap: int = 0) -> Image.Image:
    """Draw frames in [0, 1] in rows, each pixel as zoom × zoom, with white gaps between and around them."""
    rgb = frames.detach().float().cpu().clamp(0, 1).expand(-1, 3, -1, -1)
    large = rgb.repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    return to_pil_image((make_grid(large, columns, gap, pad_value=1.0) * 255).round().byte())


def png(picture: Image.Image, effort: int = 1) -> bytes:
    """Encode a picture as PNG; the file is smaller for a larger effort (1 to 9)."""
    buffer = io.BytesIO()
    options = {"compress_type": zlib.Z_RLE} if effort == 1 else {}  # magnified pixels are runs of one value
    picture.save(buffer, "png", compress_level=effort, **options)
    return buffer.getvalue()


def signed(shift: float, digits: int = 0) -> str:
    """Write a roll as +1, −2 or 0."""
    text = f"{shift:+.{digits}f}".replace("-", "−")
    return text if float(f"{shift:.{digits}f}") else f"{0:.{digits}f}"


def _blank(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("RGB", (width, height), PAPER)
    return picture, ImageDraw.Draw(picture)


def side_by_side(frames: Sequence[CaptionedFrame], longest: int = LARGE) -> Image.Image:
    """Draw large frames in a row, each with its caption below and a bar above if it is held out."""
    side = max(frames[0].frame.shape[-2:])
    zoom = max(1, longest // side)
    step = max(side * zoom, longest) + 3 * MARGIN
    picture, draw = _blank(step * len(frames) - 3 * MARGIN, side * zoom + LINE + 6)
    for i, (caption, frame, held_out) in enumerate(frames):
        left = i * step
        picture.paste(frame_grid(frame.unsqueeze(0), 1, zoom), (left, 6))
        if held_out:
            draw.line((left, 2, left + side * zoom - 1, 2), MUTED, 3)
        draw.text((left, side * zoom + 10), caption, INK, font())
    return picture


class Timeline:
    """Rows of frames as in Figure 4, drawn once, and a playhead that moves over them.

    Held-out frames of the input (the first row) are greyed and have a line above. A box is around l0.
    """

    def __init__(self, strip: Strip):
        s, _, h, w = strip.rows[0][1].shape
        zoom = max(1, CELL // max(h, w))
        self.across, down = w * zoom + GAP, h * zoom + GAP
        self.bottom = LINE + len(strip.rows) * down
        self.still, draw = _blank(LABELS + s * self.across + 4, self.bottom + LINE + 2)
        frames = torch.cat([frames for _, frames in strip.rows])
        held_out = list(strip.held_out)
        frames[held_out] = 0.30 * frames[held_out] + 0.62
        self.still.paste(frame_grid(frames, s, zoom, GAP), (LABELS - GAP, LINE - GAP))
        for i, (label, _) in enumerate(strip.rows):
            draw.text((LABELS - 8, LINE + (i + 0.5) * down), label, INK, font(), "rm")
        self._label_frames(draw, strip, s)

    def _label_frames(self, draw: ImageDraw.ImageDraw, strip: Strip, s: int) -> None:
        foot, half, small = self.bottom + LINE / 2 + 2, self.across / 2, font(SMALL_TEXT)
        left = LABELS + strip.anchor * self.across
        draw.rectangle((left - 2, LINE - 2, left + self.across - 1, self.bottom - 1), None, SECOND, 2)
        for frame in range(s):
            x = LABELS + frame * self.across
            if frame in strip.held_out:
                draw.line((x - 1, LINE - 5, x + self.across - 2, LINE - 5), MUTED, 2)
            draw.text((x + half, foot), signed(float(frame - strip.anchor)), MUTED, small, "mm")
        draw.text((LABELS - 8, foot), "roll δ", MUTED, small, "rm")
        draw.text((left + half, LINE / 2 - 3), f"l₀ = {strip.anchor}", "#8a5a00", small, "mm")
        if strip.held_out:
            middle = LABELS + (strip.held_out[0] + strip.held_out[-1] + 1) * half
            near = abs(middle - left - half) < LABELS  # the two labels would overlap
            draw.text((middle + near * LABELS, LINE / 2 - 3), "held out", MUTED, small, "mm")

    def playhead(self, frame: float) -> Image.Image:
        """Draw the playhead at a frame, or between two, on a transparent picture of the timeline's size."""
        picture = Image.new("P", self.still.size)
        picture.putpalette([0, 0, 0, *ImageColor.getrgb(ACCENT)])
        picture.info["transparency"] = 0
        draw, foot = ImageDraw.Draw(picture), self.bottom
        x = LABELS + frame * self.across + (self.across - GAP) / 2
        draw.line((x, LINE, x, foot - 2), 1, 2)
        draw.polygon([(x - 6, foot - 1), (x + 6, foot - 1), (x, foot - 9)], fill=1)
        return picture

    def at(self, frame: float) -> Image.Image:
        """Return the timeline with its playhead at a frame."""
        both = self.still.convert("RGBA"), self.playhead(frame).convert("RGBA")
        return Image.alpha_composite(*both).convert("RGB")


def with_title(title: str, picture: Image.Image) -> Image.Image:
    """Draw a title above a picture."""
    titled, draw = _blank(picture.width, picture.height + LINE)
    draw.text((0, 2), title, INK, font(bold=True))
    titled.paste(picture, (0, LINE))
    return titled


def stack(*parts: Image.Image) -> Image.Image:
    """Put pictures below one another, with a margin around them."""
    return ImageOps.expand(_join(parts, 1, MARGIN), MARGIN, PAPER)


def row(*parts: Image.Image) -> Image.Image:
    """Put pictures next to one another, their tops on one line."""
    return _join(parts, 0, 3 * MARGIN)


def _join(parts: Sequence[Image.Image], axis: int, gap: int) -> Image.Image:
    *starts, end = accumulate((part.size[axis] + gap for part in parts), initial=0)
    size = (end - gap, max(part.size[1 - axis] for part in parts))
    picture, _ = _blank(*(size if axis == 0 else size[::-1]))
    for part, start in zip(parts, starts, strict=True):
        picture.paste(part, (start, 0) if axis == 0 else (0, start))
    return picture


def draw_map(chart: LatentMap, cell: int) -> Image.Image:
    """Draw a map with its title above and its limits below; a colour means one value while they stay."""
    low, high = chart.limits
    rows, columns = chart.values.shape
    share = ((chart.values - low) / max(high - low, 1e-12)).clamp(0, 1).numpy()
    colours = (matplotlib.colormaps["viridis"](share)[..., :3] * 255).astype(np.uint8)
    picture, draw = _blank(columns * cell + 2, LINE + rows * cell + LINE)
    picture.paste(Image.fromarray(colours.repeat(cell, 0).repeat(cell, 1)), (1, LINE))
    draw.text((1, 2), chart.title, INK, font(14))
    draw.text((1, LINE + rows * cell + 4), f"{low:.3g} … {high:.3g}", MUTED, font(12))
    if chart.picked is not None:
        y, x = (cell * place for place in chart.picked)
        box = (x, LINE + y - 1, x + cell + 1, LINE + y + cell)
        draw.rectangle(box, outline=PAPER, width=3)
        draw.rectangle(box, outline="#d81b60", width=2)
    return picture
