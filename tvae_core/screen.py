"""Frames on stage above a film, as a widget: while a roll moves, only what changes is drawn and sent."""

from collections.abc import Sequence

import ipywidgets as widgets

from tvae_core.film import Film, Seat, png, stage

# An image has 2 pixels of margin on each side.
FITTING = widgets.Layout(
    max_width="calc(100% - 4px)", align_self="flex-start", object_fit="contain", height="auto"
)


def over(*layers: widgets.DOMWidget) -> widgets.GridBox:
    """Widgets of one size on top of one another, the last one uppermost."""
    for layer in layers:
        layer.layout = widgets.Layout(grid_area="all", margin="0", max_width="100%", height="auto")
    cell = {"grid_template_areas": '"all"', "margin": "2px", "align_self": "flex-start"}
    return widgets.GridBox(layers, layout=widgets.Layout(max_width="calc(100% - 4px)", **cell))


class Screen:
    """Its `widget`, and `show`."""

    def __init__(self, name: str):
        """The images get the classes tvae-NAME, tvae-NAME-film and tvae-NAME-playhead."""
        self.frames, self.still, self.playhead = (
            widgets.Image(layout=FITTING),
            widgets.Image(),
            widgets.Image(),
        )
        for image, part in ((self.frames, ""), (self.still, "-film"), (self.playhead, "-playhead")):
            image.add_class(f"tvae-{name}{part}")
        self._film: Film | None = None
        self.widget = widgets.VBox([self.frames, over(self.still, self.playhead)])

    def show(self, seats: Sequence[Seat], film: Film, place: float) -> None:
        """These frames, and the film with its playhead at `place`."""
        self.frames.value = png(stage(seats))
        if film is not self._film:
            self._film, self.still.value = film, png(film.still)
        self.playhead.value = png(film.playhead(place))

    def clear(self) -> None:
        """Nothing at all."""
        self._film = None
        for image in (self.frames, self.still, self.playhead):
            image.value = b""
