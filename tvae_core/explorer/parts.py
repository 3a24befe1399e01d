"""Widgets that several panels share: frames, tiles, a film, frames that are buttons, a layer to point at."""

from collections.abc import Callable, Sequence

import ipywidgets as widgets
import torch
from ipycanvas import Canvas
from jaxtyping import Float
from torch import Tensor

from tvae_core.explorer.pixels import frame_grid, png, sheet
from tvae_core.explorer.svg import film, playhead
from tvae_core.plotting.strips import Strip


def overlay(*layers: widgets.DOMWidget) -> widgets.GridBox:
    """Lay widgets of one size on top of one another, the last one uppermost."""
    for layer in layers:
        layer.layout.grid_area, layer.layout.margin, layer.layout.width = "all", "0", "100%"
    cell = {"grid_template_areas": '"all"', "grid_template_columns": "minmax(0, 1fr)"}
    return widgets.GridBox(layers, layout=widgets.Layout(width="calc(100% - 4px)", margin="2px", **cell))


ARROWS = {"ArrowRight": (1.0, 0.0), "ArrowLeft": (-1.0, 0.0), "ArrowDown": (0.0, 1.0), "ArrowUp": (0.0, -1.0)}

MOUSE = "mouse_down", "mouse_move", "mouse_up", "mouse_out"
FINGER = "touch_start", "touch_move", "touch_end", "touch_cancel"

At = Callable[[float, float], None]  # called with x and y in pixels


def ignore(x: float, y: float) -> None:
    """Do nothing: for what a Pointer need not pass on."""


class Pointer(Canvas):
    """A clear layer that says where a mouse or a finger is."""

    def __init__(self, side: tuple[int, int], *does: At, arrow: At = ignore):
        """Call the four of `does` when mouse or finger goes down, moves, goes up and leaves.

        For an arrow key `arrow` is called with a step to the right and one down.

        `side` is width and height. Its name for screen readers is the caption above it (explorer.js).
        """
        super().__init__(width=side[0], height=side[1])
        self.touched = 0.0, 0.0  # where the finger was: when it is lifted, it is nowhere
        for mouse, finger, function in zip(MOUSE, FINGER, does, strict=True):
            getattr(self, f"on_{mouse}")(function)
            getattr(self, f"on_{finger}")(lambda at, function=function: self.touch(at, function))
        self.on_key_down(lambda key, *_: arrow(*ARROWS.get(key, (0.0, 0.0))))

    def touch(self, fingers: Sequence[tuple[float, float]], function: At) -> None:
        """Pass on where the first finger is, or was."""
        self.touched = fingers[0] if fingers else self.touched
        function(*self.touched)


class FrameImage(widgets.Image):
    """One frame, its pixels as squares; a frame that was held out has a grey border."""

    def __init__(self, name: str = "frame"):
        """Give it the CSS class tvae-NAME."""
        super().__init__()
        self.add_class("tvae-pixels")
        self.add_class(f"tvae-{name}")

    def show(self, frame: Float[Tensor, "ch h w"], held_out: bool = False, hidden: bool = False) -> None:
        """Show a frame, or if it is hidden a grey one."""
        shown = torch.full_like(frame, 0.75) if hidden else frame
        self.value = png(frame_grid(shown.unsqueeze(0), 1))
        (self.add_class if held_out else self.remove_class)("tvae-held-out")


class Tiles(widgets.Box):
    """Pictures side by side where there is room, each below its caption."""

    def __init__(self, *pictures: widgets.Widget):
        self.captions = [widgets.HTML() for _ in pictures]
        for caption in self.captions:
            caption.add_class("tvae-caption")
        super().__init__([widgets.VBox(pair) for pair in zip(self.captions, pictures, strict=True)])
        self.add_class("tvae-tiles")

    def name(self, *captions: str) -> None:
        """Set the captions; a picture without one is not shown."""
        for i, (caption, part) in enumerate(zip(self.captions, self.children, strict=True)):
            caption.value = captions[i] if i < len(captions) else ""
            part.layout.display = None if i < len(captions) else "none"


class Film(widgets.Box):
    """Rows of frames, drawn once, and a playhead that moves over them."""

    def __init__(self):
        self.still, self.playhead, self._key = widgets.HTML(), widgets.HTML(), None
        super().__init__([overlay(self.still, self.playhead)])
        self.add_class("tvae-film")

    def show(self, strip: Strip, key: tuple, position: float, revealed: bool, true_rows: int = 1) -> None:
        """Show a strip (svg.film) and the present roll; `key` is all that the strip depends on."""
        if self._key != (*key, revealed):
            self.still.value = film(strip, () if revealed else strip.held_out, true_rows)
            self._key = *key, revealed
        self.playhead.value = playhead(strip, position)


class PictureButtons(widgets.VBox):
    """Frames in rows that are buttons: clicked, or reached by Tab and pressed by Space."""

    def __init__(self, n: int, columns: int, picked: Callable[[int], None]):
        """Make n buttons; `picked` is called with the place of the one that is pressed."""
        self.columns, self.image = columns, widgets.Image()
        self.buttons = [widgets.Button(layout=widgets.Layout(width="auto")) for _ in range(n)]
        for place, button in enumerate(self.buttons):
            button.on_click(lambda _, place=place: picked(place))
        layout = widgets.Layout(grid_template_columns=f"repeat({columns}, minmax(0, 1fr))", grid_gap="0")
        cells = widgets.GridBox(self.buttons, layout=layout)
        cells.add_class("tvae-cells")
        super().__init__([overlay(self.image, cells)])

    def show(self, frames: Float[Tensor, "n ch h w"], names: Sequence[str], chosen: Sequence[int]) -> None:
        """Show a frame on each button; the chosen ones are framed."""
        self.image.value = png(sheet(frames, self.columns, max(1, 56 // frames.shape[-1]), 2))
        for place, button in enumerate(self.buttons):
            button.layout.visibility = "visible" if place < len(names) else "hidden"
            button.tooltip = names[place] if place < len(names) else ""
            (button.add_class if place in chosen else button.remove_class)("tvae-chosen")
