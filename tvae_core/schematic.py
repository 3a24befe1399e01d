"""What W does, drawn: Figure 2. Matrices in, a matplotlib Figure out."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from torch import Tensor

from tvae_core.style import ACCENT, BODY, INK, MUTED, PAPER, RULE, SMALL, WIDTH, blank, place, style, write


class Topography(NamedTuple):
    """One W and what to call it."""

    title: str
    subtitle: str
    w: Float[Tensor, "N N"]  # N = rows · columns
    lattice: tuple[int, int]  # rows (frames l), columns (units d)
    axes: tuple[str, str]  # names of rows and columns


def listens_to(topography: Topography, row: int, column: int) -> Float[Tensor, "rows columns"]:
    """The weights of all sites that one site listens to, on the lattice."""
    rows, columns = topography.lattice
    return topography.w[row * columns + column].view(rows, columns)


def neighbourhoods(topographies: Sequence[Topography], site: tuple[int, int] = (8, 8)) -> Figure:
    """What W does (paper, Figure 2): for each topography one neighbourhood on its lattice, and W itself.

    Blue are the sites whose u² enters t at `site` (row, column), the dot. Outlined in orange are those
    that enter one frame later and one unit on: where the two sets coincide, t rolls by itself.
    """
    pitch = WIDTH / len(topographies)
    side = pitch - 0.24
    top, gap = 0.44, 0.60
    with style():
        figure = blank(WIDTH, top + 2 * side + gap + 0.62)
        for i, topography in enumerate(topographies):
            left = i * pitch + 0.18
            write(figure, left, 0.0, topography.title, fontsize=BODY, weight="bold")
            write(figure, left, 0.18, topography.subtitle, color=MUTED)
            _draw_lattice(place(figure, left, top, side, side), topography, site)
            _draw_matrix(place(figure, left, top + side + gap, side, side), topography, site)
            write(figure, left, top + 2 * side + gap + 0.10, _counts(topography, site), linespacing=1.35)
    return figure


def overlap(topography: Topography, site: tuple[int, int], step: tuple[int, int]) -> int:
    """How many sites two neighbourhoods share, the second one `step` (rows, columns) away."""
    (rows, columns), (r, c), (down, on) = topography.lattice, site, step
    other = listens_to(topography, (r + down) % rows, (c + on) % columns)
    return int(((listens_to(topography, r, c) > 0) & (other > 0)).sum())


def _counts(topography: Topography, site: tuple[int, int]) -> str:
    terms = int((listens_to(topography, *site) > 0).sum())
    along, across = overlap(topography, site, (1, 1)), overlap(topography, site, (1, 0))
    return f"{terms} terms; shared with the next\nrow, rolled by 1: {along}, not rolled: {across}"


def _draw_lattice(axes: Axes, topography: Topography, site: tuple[int, int]) -> None:
    rows, columns = topography.lattice
    here = listens_to(topography, *site) > 0
    later = listens_to(topography, site[0] + 1, site[1] + 1) > 0
    axes.imshow(
        here, cmap=ListedColormap(["#f3f4f5", "#7fb8d8"]), extent=(0, columns, rows, 0), vmin=0, vmax=1
    )
    axes.hlines(range(rows + 1), 0, columns, color=PAPER, lw=0.8)
    axes.vlines(range(columns + 1), 0, rows, color=PAPER, lw=0.8)
    for row, column in later.nonzero().tolist():
        box = Rectangle((column + 0.2, row + 0.2), 0.6, 0.6, fill=False, ec="#b86e00", lw=0.8)
        axes.add_patch(box)
    y, x = site[0] + 0.5, site[1] + 0.5
    axes.plot(x, y, "o", ms=3.2, mfc=INK, mec=INK)
    arrow = FancyArrowPatch(
        (x, y),
        (x + 1.3, y + 1.3),
        arrowstyle="-|>",
        mutation_scale=6,
        lw=1.1,
        color=INK,
        shrinkA=0,
        shrinkB=0,
    )
    axes.add_patch(arrow)
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.set_xlabel(f"{topography.axes[1]} → {columns - 1}", loc="left", labelpad=2)
    axes.set_ylabel(f"{rows - 1} ← {topography.axes[0]}", loc="top", labelpad=2)
    axes.spines[:].set_color(RULE)


def _draw_matrix(axes: Axes, topography: Topography, site: tuple[int, int]) -> None:
    n = len(topography.w)
    axes.imshow(
        topography.w > 0, cmap=ListedColormap([PAPER, ACCENT]), interpolation="nearest", vmin=0, vmax=1
    )
    row = site[0] * topography.lattice[1] + site[1]
    axes.plot(-0.025 * n, row, marker=">", ms=4, color=INK, clip_on=False)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5))
    axes.set_title(f"W, {n} × {n}", fontsize=SMALL, pad=3)
