"""A digit of one's own: drawn or uploaded, made like those of MNIST, and turned into a sequence."""

import copy
import io

import ipywidgets as widgets
import numpy as np
import torch
from ipycanvas import Canvas
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageOps, UnidentifiedImageError
from torch import Tensor

from tvae_core.choices import require
from tvae_core.explorer import Stage, sentence
from tvae_core.mnist import DigitSequences
from tvae_core.runs import Run
from tvae_core.scenes import Scene, factors_of, loaded, look

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


def scene_of(run: Run, digit: UInt8[Tensor, "28 28"], factor: str) -> Scene:
    """The sequence of a digit as a run's data would have it, encoded.

    Raises ValueError for a run that does not see digits, and for a transformation that its data lack.
    """
    sequences = run.exp.build_sequences("test", run.seed)
    if not isinstance(sequences, DigitSequences):
        raise ValueError(f"{run.exp.name} sees sprites, not digits; choose a run on MNIST above")
    varied = factors_of(run).index(require(factor, factors_of(run), "transformation"))
    own = copy.copy(sequences)
    own.images, own.labels = digit.unsqueeze(0), torch.zeros(1, dtype=torch.long)
    return look(run.exp, loaded(run), own.sequence(torch.tensor([0]), varied), f"{factor}, own digit")


def sketch(stage: Stage) -> widgets.Widget:
    """Draw with the mouse or upload an image; `Roll it` puts its sequence on the stage."""
    canvas = Canvas(width=PAD, height=PAD, layout=widgets.Layout(border="1px solid #5f6368"))
    canvas.add_class("tvae-sketch")
    strokes: list[Stroke] = []
    pen = {"down": False}
    factor = widgets.Dropdown(options=("rotation", "hue", "scale"), description="Transform")
    roll_it = widgets.Button(description="Roll it", button_style="primary")
    clear = widgets.Button(description="Clear")
    upload = widgets.FileUpload(accept="image/*", description="Upload image")
    words = widgets.HTML()

    def wipe(_) -> None:
        strokes.clear()
        canvas.fill_style = "black"
        canvas.fill_rect(0, 0, PAD, PAD)

    def down(x: float, y: float) -> None:
        pen["down"] = True
        strokes.append([(x, y)])
        canvas.fill_style = "white"
        canvas.fill_circle(x, y, PEN / 2)

    def move(x: float, y: float) -> None:
        if pen["down"]:
            canvas.stroke_style, canvas.line_width, canvas.line_cap = "white", PEN, "round"
            canvas.stroke_line(*strokes[-1][-1], x, y)
            strokes[-1].append((x, y))

    def up(x: float, y: float) -> None:
        pen["down"] = False

    def show(picture: Image.Image) -> None:
        with sentence(words):
            stage.show(scene_of(stage.run, as_digit(picture), factor.value))
            words.value = "On the stage: every panel above shows it now."

    def receive(change) -> None:
        if upload.value:
            try:
                picture = Image.open(io.BytesIO(upload.value[0]["content"]))
            except UnidentifiedImageError:
                words.value = (
                    f"<b role='alert'>{upload.value[0]['name']!r} is not an image that can be read</b>"
                )
                return
            show(picture)

    wipe(None)
    canvas.on_mouse_down(down)
    canvas.on_mouse_move(move)
    canvas.on_mouse_up(up)
    canvas.on_mouse_out(up)
    clear.on_click(wipe)
    roll_it.on_click(lambda _: show(drawn(strokes)))
    upload.observe(receive, "value")
    return widgets.HBox([canvas, widgets.VBox([factor, widgets.HBox([roll_it, clear]), upload, words])])
