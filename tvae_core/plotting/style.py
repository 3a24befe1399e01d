"""How every figure looks and is kept: one style, colours that everybody can tell apart, one way to save.

No pyplot: a figure belongs to whoever holds it, so nothing has to be closed.
"""

import io
import textwrap
from pathlib import Path

import matplotlib
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from tvae_core.files import write_atomically

WIDTH = 7.0  # inches: the text of a two-column page
DPI = 200
FOOT = "Foot"  # in a PNG: how many rows of pixels at its lower edge are the line that says what it shows
SMALL, BODY = 7.0, 8.0  # points, at printed size
LEAST = 6.0  # points, below which nobody can be asked to read

INK, MUTED, RULE, PAPER = "#1a1a1a", "#5f6368", "#b9bdc2", "#ffffff"
ACCENT, SECOND = "#0072b2", "#e69f00"  # blue and orange (Okabe & Ito): told apart without red and green
# Ten classes: the muted scheme of Paul Tol, its pale grey darkened so that it stands out on white.
CLASSES = ("#cc6677", "#332288", "#ddcc77", "#117733", "#88ccee", "#882255", "#44aa99", "#999933")
CLASSES += ("#aa4499", "#6b6b6b")

RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine has it
    "font.size": BODY,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.titlesize": BODY,
    "axes.titlelocation": "left",
    "axes.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # letters stay letters: searchable, and read aloud
}


def style() -> object:
    """A context in which everything drawn has this look."""
    return matplotlib.rc_context(RC)


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at so many inches from the figure's left and top edge, without ticks."""
    w, h = figure.get_size_inches()
    axes = figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))
    axes.set(xticks=[], yticks=[])
    return axes


def write(figure: Figure, x: float, y: float, text: str, **options) -> None:
    """Text at so many inches from the figure's left and top edge, hanging from there by default."""
    w, h = figure.get_size_inches()
    figure.text(x / w, 1 - y / h, text, **{"va": "top", "fontsize": SMALL, **options})


def smallest_letters(figure: Figure) -> float:
    """How large its smallest text is in points when the figure is printed no wider than a page."""
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return min((t.get_fontsize() for t in texts), default=BODY) * min(1, WIDTH / figure.get_figwidth())


def save(figure: Figure, folder: Path | str, name: str, alt: str, shows: str) -> Image:
    """Write folder/name.png and .pdf, each whole or not at all, and return the picture for the notebook.

    `shows` says which experiment, scale, seed and data the figure is about, and is printed below it.
    The PNG has that line as its Comment too, and under FOOT how much of the picture it takes.
    `alt` says in words what there is to see: the PNG's Description, the PDF's Subject, and the
    alternative text of the page. The same figure gives the same bytes: no date is written.
    Raises ValueError for letters that would be too small to read in print.
    """
    points = smallest_letters(figure)
    if points < LEAST:
        raise ValueError(f"{name}: letters of {points:.1f} points in print, but at least {LEAST} can be read")
    width, height = figure.get_size_inches()
    line = textwrap.fill(shows, int(width * 19))  # a letter of the small size is about 1/19 inch wide
    with style():
        below = figure.text(0.06 / width, -0.08 / height, line, va="top", fontsize=SMALL, color=MUTED)
        below.set_linespacing(1.3)
        options = {"bbox_inches": "tight", "pad_inches": 0.06, "dpi": DPI}
        png, pdf = io.BytesIO(), io.BytesIO()
        try:
            foot = round(below.get_window_extent().height + 0.10 * DPI)
            about = {"Title": name, "Description": alt, "Comment": shows, FOOT: str(foot), "Software": None}
            figure.savefig(png, format="png", metadata=about, **options)
            about = {"Title": name, "Subject": alt, "Keywords": shows, "CreationDate": None}
            figure.savefig(pdf, format="pdf", metadata=about, **options)
        finally:
            below.remove()
    write_atomically(Path(folder, f"{name}.png"), png.getvalue())
    write_atomically(Path(folder, f"{name}.pdf"), pdf.getvalue())
    return Image(png.getvalue(), format="png", width=round(width * 120), alt=alt)
