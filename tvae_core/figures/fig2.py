"""Figure 2: the neighbourhoods that W builds, stationary against shifting."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch, Rectangle
from torch import Tensor

from tvae_core.experiments import read_experiment
from tvae_core.plotting.style import ACCENT, BODY, INK, MUTED, PAPER, SMALL, WIDTH, blank, style

HERE, NEXT, EMPTY = "#7fb8d8", "#b86e00", "#f3f4f5"


class Topography(NamedTuple):
    """One W and the words for it."""

    title: str
    subtitle: str
    w: Float[Tensor, "N N"]  # N = rows · columns
    lattice: tuple[int, int]  # rows (frames l), columns (units d)
    axes: tuple[str, str]  # names of rows and columns


def topography(name: str) -> Topography:
    """Return W of an experiment on its lattice: frames and units, or rows and columns without time."""
    exp = read_experiment(name, "paper")
    w = exp.build_grouper().matrices[0]
    along, across = exp.group_kernel
    if exp.topography == "lattice":
        words = "2-D torus", f"{along} × {across} units, no time"
        return Topography(*words, w, exp.capsule_shape, ("row", "column"))
    if exp.n_off_diag is None:
        words = "Stationary capsules", f"{along} frames × {across} units"
    else:
        words = f"Shifting, K = {2 * exp.n_off_diag + 1}", f"{along} frames, |a − e| ≤ {exp.n_off_diag}"
    return Topography(*words, w, (exp.n_transforms, exp.cap_dim), ("frame l", "unit d"))


def listens_to(topography: Topography, row: int, column: int) -> Float[Tensor, "rows columns"]:
    """Return the weights of all sites that one site listens to; both axes of the lattice wrap round."""
    rows, columns = topography.lattice
    return topography.w[row % rows * columns + column % columns].view(rows, columns)


def neighbourhoods(topographies: Sequence[Topography], site: tuple[int, int] = (7, 7)) -> Figure:
    """Draw what W does (paper, Figure 2): for each topography one neighbourhood on its lattice, and W itself.

    Blue are the sites whose u² enters t at `site` (row, column), the dot. Outlined in orange are the sites
    whose u² enters t one frame later and one unit on. Where the two sets coincide, t rolls by itself.
    """
    names = {
        "its u² enters t at the dot": (HERE, HERE),
        "its u² enters t at the arrow's tip, one frame later and one unit on": (PAPER, NEXT),
    }
    key = [Patch(fc=fill, ec=edge, lw=0.9, label=name) for name, (fill, edge) in names.items()]
    with style():
        figure = blank(WIDTH, 1.5 + 2 * (WIDTH / len(topographies) - 0.26), layout="constrained")
        figure.legend(handles=key, loc="outside upper left", ncols=2, frameon=False, handlelength=1.0)
        for (above, below), one in zip(
            figure.subplots(2, len(topographies), squeeze=False).T, topographies, strict=True
        ):
            above.set_title(one.title, fontsize=BODY, weight="bold", pad=14)
            above.text(0, 1.03, one.subtitle, transform=above.transAxes, color=MUTED, fontsize=SMALL)
            _draw_lattice(above, one, site)
            _draw_matrix(below, one, site)
            below.set_xlabel(_counts(one, site), loc="left", linespacing=1.4)
    return figure


def shared_sites(topography: Topography, site: tuple[int, int], step: tuple[int, int]) -> int:
    """Return how many sites two neighbourhoods share, the second one `step` (rows, columns) away."""
    (r, c), (down, on) = site, step
    other = listens_to(topography, r + down, c + on)
    return int(((listens_to(topography, r, c) > 0) & (other > 0)).sum())


def is_circulant(topography: Topography) -> bool:
    """Return whether W commutes with every translation of the lattice: whether all sites are alike."""
    w = topography.w.view(*topography.lattice, *topography.lattice)
    return all(bool((w.roll((1, 1), (axis, axis + 2)) == w).all()) for axis in (0, 1))


def _counts(topography: Topography, site: tuple[int, int]) -> str:
    terms = int((listens_to(topography, *site) > 0).sum())
    along, across = shared_sites(topography, site, (1, 1)), shared_sites(topography, site, (1, 0))
    later = f"next {topography.axes[0].split()[0]}"
    return f"{terms} terms; shared with the\n{later}, rolled by 1: {along}\n{later}, not rolled: {across}"


def _draw_lattice(axes: Axes, topography: Topography, site: tuple[int, int]) -> None:
    rows, columns = topography.lattice
    here = listens_to(topography, *site) > 0
    later = listens_to(topography, site[0] + 1, site[1] + 1) > 0
    colours = ListedColormap([EMPTY, HERE])
    axes.imshow(here.numpy(), cmap=colours, extent=(0, columns, rows, 0), vmin=0, vmax=1)
    axes.hlines(range(rows + 1), 0, columns, color=PAPER, lw=0.8)
    axes.vlines(range(columns + 1), 0, rows, color=PAPER, lw=0.8)
    for row, column in later.nonzero().tolist():
        axes.add_patch(Rectangle((column + 0.2, row + 0.2), 0.6, 0.6, fill=False, ec=NEXT, lw=0.9))
    y, x = site[0] + 0.5, site[1] + 0.5
    ends = (x, y), (x + 1.25, y + 1.25)
    axes.plot(x, y, "o", ms=3.6, mfc=INK, mec=PAPER, mew=0.8, zorder=5)
    for colour, width, order in ((PAPER, 2.6, 3), (INK, 1.1, 4)):  # white below black: visible on any colour
        shape = {"arrowstyle": "-|>", "mutation_scale": 7, "shrinkA": 0, "shrinkB": 0}
        axes.add_patch(FancyArrowPatch(*ends, lw=width, color=colour, zorder=order, **shape))
    axes.set(xlim=(0, columns), ylim=(rows, 0))
    axes.set_xticks([0.5, columns - 0.5], [0, columns - 1])
    axes.set_yticks([0.5, rows - 0.5], [0, rows - 1])
    axes.tick_params(length=0, pad=2)
    axes.set_xlabel(f"{topography.axes[1]} →", labelpad=-6)
    axes.set_ylabel(f"← {topography.axes[0]}", labelpad=-7)


def _draw_matrix(axes: Axes, topography: Topography, site: tuple[int, int]) -> None:
    n = len(topography.w)
    colours = ListedColormap([PAPER, ACCENT])
    axes.imshow((topography.w > 0).numpy(), cmap=colours, interpolation="nearest", vmin=0, vmax=1)
    row = site[0] * topography.lattice[1] + site[1]
    axes.plot(-0.025 * n, row, marker=">", ms=4, color=INK, clip_on=False)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xticks=[], yticks=[])
    axes.set_title(f"W, {n} × {n} (▶ the dot)", fontsize=SMALL, pad=3)
