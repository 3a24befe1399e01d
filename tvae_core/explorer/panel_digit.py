"""The panel for your own digit: drawn or uploaded, made like those of MNIST, and turned into a sequence."""

import io
import warnings

import ipywidgets as widgets
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from tvae_core.explorer.parts import Pointer
from tvae_core.explorer.state import ExplorerPanel, ExplorerState

SIDE, PEN = 224, 18  # pixels: side of the drawing, width of its line
MOST_PIXELS = 100_000_000  # of an uploaded picture
FAINT = 8  # of 255 grey values: with less contrast a picture is empty

Stroke = list[tuple[float, float]]


def draw_strokes(strokes: list[Stroke]) -> Image.Image:
    """Draw the lines of the pen, white on black."""
    picture = Image.new("L", (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    for stroke in strokes:
        draw.line(stroke, 255, PEN, joint="curve")
        for x, y in (stroke[0], stroke[-1]):
            draw.ellipse((x - PEN / 2, y - PEN / 2, x + PEN / 2, y + PEN / 2), 255)
    return picture


def read_upload(content: bytes, name: str) -> Image.Image:
    """Read an uploaded picture. Raises ValueError with the name of the file if it cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is checked below
            picture = Image.open(io.BytesIO(content))
            picture.draft(None, (4 * SIDE, 4 * SIDE))  # a large JPEG is read at a fraction of its size
        if picture.width * picture.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        picture.load()
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name} has more than {MOST_PIXELS:,} pixels; make it smaller first") from error
    except Exception as error:  # decoders raise errors of many types
        svg = b"<svg" in content[:1000].lower()
        why = "; the file is empty" * (not content) + "; export the SVG as PNG first" * svg
        raise ValueError(f"{name} is not a picture that can be read, such as a PNG or JPEG{why}") from error
    return picture


def as_grey(picture: Image.Image) -> Image.Image:
    """Return a picture in grey values, turned upright as its EXIF says.

    Transparent pixels are laid on white, or on black if the picture can hardly be seen on white.
    """
    picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":  # 16 or 32 bits for each pixel
        values = np.nan_to_num(np.asarray(picture, np.float32)).astype(
            np.float64
        )  # infinite: float32's largest
        return Image.fromarray(np.uint8(255 * (values - values.min()) / max(np.ptp(values), 1e-12)))
    transparent = picture.has_transparency_data
    picture = picture.convert("RGBA" if transparent else "RGB")
    picture.thumbnail((4 * SIDE, 4 * SIDE))
    if not transparent:
        return picture.convert("L")
    papers = (Image.new("RGBA", picture.size, colour) for colour in ("white", "black"))
    white, black = (Image.alpha_composite(paper, picture).convert("L") for paper in papers)
    return black if np.ptp(white) < min(64, np.ptp(black)) else white


def as_digit(picture: Image.Image, name: str = "the picture") -> UInt8[Tensor, "28 28"]:
    """Make a digit like MNIST's: white on black, 20 pixels at most, centred by mass in 28 × 28.

    A picture that is light at its border is inverted: ink on paper. Raises ValueError for an empty one.
    """
    grey = as_grey(picture)
    if np.ptp(grey) < FAINT:
        raise ValueError(f"{name} is empty: draw a digit, or upload one")
    grey = ImageOps.autocontrast(grey)
    pixels = np.asarray(grey)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    grey = ImageOps.invert(grey) if np.median(border) > 127 else grey
    digit = grey.crop(grey.point(lambda value: 255 * (value > 64)).getbbox())
    if max(digit.size) > 20:
        digit.thumbnail((20, 20))
        digit = ImageOps.autocontrast(digit)  # thin lines have turned faint
    values = np.asarray(digit, np.float64)
    mass = values.sum()
    centre = [(values.sum(1 - axis) * np.arange(values.shape[axis])).sum() / mass for axis in (0, 1)]
    corner = [round(min(max(13.5 - c, 0), 28 - side)) for c, side in zip(centre, values.shape, strict=True)]
    square = Image.new("L", (28, 28))
    square.paste(digit, (corner[1], corner[0]))
    return torch.from_numpy(np.array(square))


class DigitPanel(ExplorerPanel):
    """Draw a digit or upload an image; all tabs then show its sequence, Roll first."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        self.strokes: list[Stroke] = []
        self.down = False  # the button of the mouse
        start, move, stop = map(self.guard, (self.start, self.move, self.stop))
        self.canvas = Pointer((SIDE, SIDE), start, move, stop, stop)
        self.canvas.add_class("tvae-drawing")
        self.roll_it = widgets.Button(description="Roll it", button_style="primary")
        self.clear = widgets.Button(description="Clear")
        self.upload = widgets.FileUpload(accept="image/*", description="Upload image")
        buttons = widgets.HBox([self.roll_it, self.clear])
        about = widgets.HTML("Draw a digit with mouse or finger, or upload a picture of one.")
        rows = [about, buttons, self.upload, self.problem, self.words]
        self.arrange([self.canvas, widgets.VBox(rows)])
        self.begin()
        self.canvas.on_client_ready(self.guard(self.wipe))  # a front end that comes late shows no drawing
        self.clear.on_click(self.guard(self.wipe))
        self.roll_it.on_click(self.guard(self.take_drawing))
        self.upload.observe(self.guard(self.take_upload), "value")

    def wipe(self, button: object = None) -> None:
        self.strokes.clear()
        self.words.value = ""
        self.canvas.fill_style = "black"
        self.canvas.fill_rect(0, 0, SIDE, SIDE)

    def start(self, x: float, y: float) -> None:
        self.down = True
        self.strokes.append([(x, y)])
        self.canvas.fill_style = "white"
        self.canvas.fill_circle(x, y, PEN / 2)

    def move(self, x: float, y: float) -> None:
        if self.down:
            self.canvas.stroke_style, self.canvas.line_width, self.canvas.line_cap = "white", PEN, "round"
            self.canvas.stroke_line(*self.strokes[-1][-1], x, y)
            self.strokes[-1].append((x, y))

    def stop(self, x: float, y: float) -> None:
        self.down = False

    def draw(self) -> None:
        """Name the transformation that the digit is to go through."""
        self.roll_it.tooltip = f"Show it in every tab, transformed by {self.explorer.factor}"

    def take_drawing(self, button: object) -> None:
        self.show(draw_strokes(self.strokes))

    def take_upload(self, change: dict) -> None:
        self.words.value = ""
        for file in self.upload.value[:1]:
            self.show(read_upload(bytes(file["content"]), file["name"]), file["name"])

    def show(self, picture: Image.Image, name: str = "the picture") -> None:
        self.words.value = ""
        self.explorer.choose(example=as_digit(picture, name))
        self.words.value = "Every tab shows it now, until you choose another example."
        self.explorer.tab = 0
