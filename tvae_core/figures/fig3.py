"""Figure 3: the map of the 2-D torus, the classes of its units, and samples from the prior."""

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from tvae_core.measures.metrics import selectivity
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.strips import tile
from tvae_core.plotting.style import CLASSES, INK, PAPER, RULE, SMALL, WIDTH, blank, place, style, write
from tvae_core.seeding import generator
from tvae_core.training.runs import Run

SELECTIVE = 0.85  # d' from which a unit counts as selective


def class_map(selectivity: Float[Tensor, "K U"]) -> Int[Tensor, " U"]:
    """The class each unit is most selective for, -1 where no d' reaches SELECTIVE."""
    best, chosen = selectivity.nan_to_num(-np.inf).max(0)
    return torch.where(best >= SELECTIVE, chosen, -1)


def torus_map(
    drivers: Float[Tensor, "U 1 h w"],
    classes: Int[Tensor, " U"],
    samples: Float[Tensor, "n 1 h w"],
    side: int = 18,
) -> Figure:
    """The 2-D torus (paper, Figure 3): the digit that drives each unit most, the class map, prior samples.

    drivers: one image for each of the side × side units, row-major; classes: from class_map.
    """
    half, gap, head = 3.40, 0.20, 0.24
    columns = 20
    lines = -(-len(samples) // columns)
    with style():
        strip = lines * WIDTH / columns
        figure = blank(WIDTH, head + half + 0.34 + head + strip)
        axes = place(figure, 0.0, head, half, half)
        axes.imshow(tile(drivers, side, 1, 0.35).numpy(), aspect="auto")
        axes.set_title("A  Test digit that drives each unit most", weight="bold")
        axes = place(figure, half + gap, head, half, half)
        _draw_classes(axes, classes.view(side, -1))
        axes.set_title(f"B  Class of each unit, d′ ≥ {SELECTIVE}", weight="bold")
        _draw_legend(figure, half + gap, head + half + 0.10, half)
        axes = place(figure, 0.0, head + half + 0.34 + head, WIDTH, strip)
        axes.imshow(tile(samples, columns).numpy(), aspect="auto")
        axes.set_title("C  Samples from the prior", weight="bold")
        for axes in figure.axes:
            axes.spines[:].set_visible(False)
    return figure


def _readable_on(colour: str) -> str:
    red, green, blue = to_rgb(colour)
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else PAPER


def _draw_classes(axes: Axes, classes: Int[Tensor, "rows columns"]) -> None:
    rows, columns = classes.shape
    palette = ListedColormap(["#f3f4f5", *CLASSES])
    axes.imshow((classes + 1).numpy(), cmap=palette, vmin=-0.5, vmax=len(CLASSES) + 0.5, aspect="auto")
    axes.hlines(np.arange(rows + 1) - 0.5, -0.5, columns - 0.5, color=PAPER, lw=0.8)
    axes.vlines(np.arange(columns + 1) - 0.5, -0.5, rows - 0.5, color=PAPER, lw=0.8)
    for row, column in (classes >= 0).nonzero().tolist():
        digit = int(classes[row, column])
        options = {"ha": "center", "va": "center_baseline", "fontsize": SMALL}
        axes.text(column, row, str(digit), color=_readable_on(CLASSES[digit]), **options)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _draw_legend(figure: Figure, left: float, top: float, width: float) -> None:
    w, h = figure.get_size_inches()
    step = width / 12.2
    for digit, colour in enumerate([*CLASSES, "#f3f4f5"]):
        name = str(digit) if digit < len(CLASSES) else "none"
        corner = ((left + digit * step) / w, 1 - (top + 0.16) / h)
        box = Rectangle(corner, 0.15 / w, 0.15 / h, fc=colour, ec=RULE, lw=0.4, transform=figure.transFigure)
        figure.add_artist(box)
        write(figure, left + digit * step + 0.18, top + 0.085, name, va="center_baseline")


# Figure 3


def torus_panels(run: Run, model: TVAE, samples: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """The digit that drives each unit most, the class of each unit, and samples from the prior.

    Both of the first go by |t| at posterior means on the test split; → (U, 1, 28, 28), (U,) with -1 for
    a unit that is selective for no class, (samples, 1, 28, 28).
    """
    sequences = run.data.test
    parts = torch.arange(len(sequences)).split(500)
    with torch.inference_mode():
        response = torch.cat([model.latents(sequences.batch(part).x).abs().flatten(1) for part in parts])
        drawn = model.sample(samples, generator=generator("cpu", 0, "prior samples"))[:, 0]
    drivers = sequences.batch(response.argmax(0)).x[:, 0]
    return drivers, class_map(selectivity(response, sequences.labels)), drawn


def neighbours_agree(classes: Tensor, side: int = 18) -> tuple[float, float]:
    """Share of neighbouring pairs of selective units with the same class, and what shuffling the map gives.

    classes (U,), -1 for none; nan where no two selective units are neighbours.
    """
    grid = classes.view(side, -1)
    pairs = [(grid, grid.roll(1, axis)) for axis in (0, 1)]
    same = torch.cat([(a == b)[(a >= 0) & (b >= 0)] for a, b in pairs]).float()
    counts = classes[classes >= 0].bincount().double()
    n = counts.sum()
    return same.mean().item(), ((counts * (counts - 1)).sum() / (n * (n - 1))).item()
