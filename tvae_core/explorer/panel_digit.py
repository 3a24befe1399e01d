"""A digit of one's own: drawn or uploaded, made like those of MNIST, and turned into a sequence."""

import io

import ipywidgets as widgets
import numpy as np
import torch
from ipycanvas import Canvas
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from tvae_core.explorer.scene import OwnDigit
from tvae_core.explorer.state import ROW, ExplorerState, sentence

PAD, PEN = 224, 18  # pixels: side of the drawing, width of its line

Stroke = list[tuple[float, float]]


def drawn(strokes: list[Stroke]) -> Image.Image:
    """Lines of the pen, white on black."""
    picture = Image.new("L", (PAD, PAD))
    draw = ImageDraw.Draw(picture)
    for stroke in strokes:
        draw.line(stroke, 255, PEN, joint="curve")
        for x, y in (stroke[0], stroke[-1]):
            draw.ellipse((x - PEN / 2, y - PEN / 2, x + PEN / 2, y + PEN / 2), 255)
    return picture


def as_digit(picture: Image.Image) -> UInt8[Tensor, "28 28"]:
    """A picture as MNIST has its digits: white on black, 20 pixels at most, centred by mass in 28 × 28.

    One that is light at its border is taken for ink on paper and inverted. ValueError for an empty one.
    """
    grey = ImageOps.autocontrast(picture.convert("L"))
    pixels = np.asarray(grey)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    grey = ImageOps.invert(grey) if np.median(border) > 127 else grey
    box = grey.point(lambda value: 255 * (value > 64)).getbbox()
    if box is None or np.ptp(pixels) == 0:
        raise ValueError("the picture is empty: draw a digit, or upload one")
    digit = grey.crop(box)
    if max(digit.size) > 20:
        digit.thumbnail((20, 20))
    values = np.asarray(digit, np.float64)
    mass = values.sum()
    centre = [(values.sum(1 - axis) * np.arange(values.shape[axis])).sum() / mass for axis in (0, 1)]
    corner = [round(min(max(13.5 - c, 0), 28 - side)) for c, side in zip(centre, values.shape, strict=True)]
    sheet = Image.new("L", (28, 28))
    sheet.paste(digit, (corner[1], corner[0]))
    return torch.from_numpy(np.array(sheet))


class _Pad:
    """The widgets of `sketch`."""

    def __init__(self, stage: ExplorerState):
        self.stage, self.strokes, self.down = stage, [], False
        self.canvas = Canvas(width=PAD, height=PAD)
        self.canvas.add_class("tvae-sketch")
        self.factor = widgets.Dropdown(options=("rotation", "hue", "scale"), description="Transform")
        self.roll_it = widgets.Button(description="Roll it", button_style="primary")
        self.clear = widgets.Button(description="Clear")
        self.upload = widgets.FileUpload(accept="image/*", description="Upload image")
        self.words, self.problem = widgets.HTML(), widgets.HTML()
        told = sentence(self.problem)
        self.canvas.on_client_ready(told(self.wipe))  # what is drawn before somebody looks is lost
        self.canvas.on_mouse_down(told(self.start))
        self.canvas.on_mouse_move(told(self.move))
        self.canvas.on_mouse_up(told(self.stop))
        self.canvas.on_mouse_out(told(self.stop))
        self.clear.on_click(told(self.wipe))
        self.roll_it.on_click(told(self.take_drawing))
        self.upload.observe(told(self.take_upload), "value")

    def wipe(self, button: object = None) -> None:
        self.strokes.clear()
        self.words.value = ""
        self.canvas.fill_style = "black"
        self.canvas.fill_rect(0, 0, PAD, PAD)

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

    def take_drawing(self, button: object) -> None:
        self.show(drawn(self.strokes))

    def take_upload(self, change: dict) -> None:
        for file in self.upload.value[:1]:
            self.show(Image.open(io.BytesIO(file["content"])))  # one that cannot be read is an OSError

    def show(self, picture: Image.Image) -> None:
        self.words.value = ""
        self.stage.show(OwnDigit(as_digit(picture), self.factor.value))
        self.words.value = "Every panel above shows it now."


def sketch(stage: ExplorerState) -> widgets.Widget:
    """Draw with the mouse or upload an image; `Roll it` puts its sequence on the stage."""
    pad = _Pad(stage)
    buttons = widgets.HBox([pad.roll_it, pad.clear])
    controls = widgets.VBox([pad.factor, buttons, pad.upload, pad.problem, pad.words])
    return widgets.HBox([pad.canvas, controls], layout=ROW)
