"""Draw frames as pixels, fast enough for a slider (matplotlib takes too long).

Frames are magnified by whole factors, so that every pixel stays a square. Nothing here knows a model.
"""

import io
import zlib
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import matplotlib
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from tvae_core.plotting.style import INK, MUTED, PAPER

MARGIN, LINE = 8, 22  # pixels: around a picture, of a line of text
LARGE = 196  # pixels: the longest side of a frame shown large


class CaptionedFrame(NamedTuple):
    """A frame with its caption, and whether t of l0 never saw it."""

    caption: str
    frame: Float[Tensor, "ch h w"]
    held_out: bool = False


@cache
def font(bold: bool = False) -> ImageFont.FreeTypeFont:
    """Load the font of the figures."""
    name = f"DejaVuSans{'-Bold' * bold}.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), 15)


def _enlarged(frames: Float[Tensor, "n ch h w"], zoom: int) -> Float[Tensor, "n 3 H W"]:
    rgb = frames.detach().float().cpu().clamp(0, 1).expand(-1, 3, -1, -1)
    return rgb.repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)


def frame_grid(frames: Float[Tensor, "n ch h w"], columns: int, zoom: int = 1) -> Image.Image:
    """Draw frames in [0, 1] in rows, each pixel as zoom × zoom."""
    return to_pil_image((make_grid(_enlarged(frames, zoom), columns, 0) * 255).round().byte())


def sheet(
    frames: Float[Tensor, "n ch h w"], columns: int, zoom: int = 1, gap: int = 0, hidden: Sequence[int] = ()
) -> Image.Image:
    """Draw frames as frame_grid does, with transparent gaps between and around them; leave some out."""
    large = _enlarged(frames, zoom)
    opaque = torch.ones_like(large[:, :1]).index_fill(0, torch.tensor(hidden, dtype=torch.long), 0)
    grid = make_grid(torch.cat([large * opaque, opaque], 1), columns, gap)
    return to_pil_image((grid * 255).round().byte())


def png(picture: Image.Image, effort: int = 1) -> bytes:
    """Encode a picture as PNG; the file is smaller for a larger effort (1 to 9)."""
    buffer = io.BytesIO()
    options = {"compress_type": zlib.Z_RLE} if effort == 1 else {}  # magnified pixels are runs of one value
    picture.save(buffer, "png", compress_level=effort, **options)
    return buffer.getvalue()


def signed(shift: int | float, digits: int = 0) -> str:
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
