"""Frames on stage above a film, as a widget: while a roll moves, only what changes is drawn and sent."""

from collections.abc import Sequence

import ipywidgets as widgets

from tvae_core.film import Film, Seat, png, stage

# An image has 2 pixels of margin on each side.
_WITHIN = {"max_width": "calc(100% - 4px)", "object_fit": "contain", "height": "auto"}
FITTING = widgets.Layout(align_self="flex-start", **_WITHIN)
_IN_IT = widgets.Layout(grid_area="film", margin="0", max_width="100%", height="auto")
_ONE_CELL = widgets.Layout(
    grid_template_areas='"film"', max_width="calc(100% - 4px)", margin="2px", align_self="flex-start"
)


class Screen:
    """Its `widget`, and `show`."""

    def __init__(self, name: str):
        """The images get the classes tvae-NAME, tvae-NAME-film and tvae-NAME-playhead."""
        self.frames, self.still, self.playhead = (
            widgets.Image(layout=layout) for layout in (FITTING, _IN_IT, _IN_IT)
        )
        for image, part in ((self.frames, ""), (self.still, "-film"), (self.playhead, "-playhead")):
            image.add_class(f"tvae-{name}{part}")
        self._film: Film | None = None
        film = widgets.GridBox([self.still, self.playhead], layout=_ONE_CELL)
        self.widget = widgets.VBox([self.frames, film])

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
