"""The look of every figure: one style, colours that everybody can tell apart, and one function that saves.

No pyplot, which would keep every figure until it is closed.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from IPython.display import Image
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from tvae_core.files import write_atomically, write_json

WIDTH = 7.0  # inches: the text of a two-column page
DPI = 200
SMALL, BODY = 7.0, 8.0  # points, at printed size
LEAST = 6.0  # points: the smallest letters that can be read

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


@contextmanager
def style() -> Iterator[None]:
    """Draw everything inside a `with` block in the package's look, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def blank(width: float, height: float, **options) -> Figure:
    """Return an empty figure of so many inches; `options` as matplotlib's Figure takes them."""
    return Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, **options)


def place(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return axes at so many inches from the figure's left and top edge, without ticks."""
    w, h = figure.get_size_inches()
    axes = figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))
    axes.set(xticks=[], yticks=[])
    return axes


def write(figure: Figure, x: float, y: float, text: str, **options) -> None:
    """Write text at so many inches from the figure's left and top edge; its own top is there by default."""
    w, h = figure.get_size_inches()
    figure.text(x / w, 1 - y / h, text, **{"va": "top", "fontsize": SMALL, **options})


def smallest_letters(figure: Figure) -> float:
    """Return the size in points of a figure's smallest text, printed no wider than a page."""
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return min((t.get_fontsize() for t in texts), default=BODY) * min(1, WIDTH / figure.get_figwidth())


def save(figure: Figure, folder: Path | str, name: str, alt: str, caption: str) -> Image:
    """Write a figure as NAME.png and NAME.pdf with its words in NAME.json, and return it for the notebook.

    The same figure gives the same bytes: no date is written. Each file is written whole or not at all.

    Args:
        folder: where the three files go; it is made if need be.
        alt: the figure in words, for readers who cannot see it; also the PDF's Subject.
        caption: which experiments, scale, seeds and data the figure shows.
    Raises ValueError for letters that would be too small to read in print.
    """
    points = smallest_letters(figure)
    if points < LEAST:
        raise ValueError(f"{name}: letters of {points:.1f} points in print, but at least {LEAST} can be read")
    options = {"bbox_inches": "tight", "pad_inches": 0.06, "dpi": DPI}
    png, pdf = io.BytesIO(), io.BytesIO()
    with style():
        figure.savefig(png, format="png", metadata={"Title": name, "Software": None}, **options)
        words = {"Title": name, "Subject": alt, "CreationDate": None}
        figure.savefig(pdf, format="pdf", metadata=words, **options)
    write_atomically(Path(folder, f"{name}.png"), png.getvalue())
    write_atomically(Path(folder, f"{name}.pdf"), pdf.getvalue())
    write_json(Path(folder, f"{name}.json"), {"alt": alt, "caption": caption})
    return Image(png.getvalue(), format="png", width=round(figure.get_figwidth() * 120), alt=alt)
