"""Figure 3: the map of the 2-D torus, trained beside untrained, its classes, and rolls along its two axes."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from tvae_core.figures.traversals import build_strips, rolls
from tvae_core.measures.metrics import selectivity
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.strips import Strip, show_tiles
from tvae_core.plotting.style import CLASSES, INK, PAPER, RULE, SMALL, WIDTH, blank, style
from tvae_core.seeding import generator
from tvae_core.training.runs import Run, both_models

SELECTIVE = 0.85  # d′ from which a unit counts as selective
NO_CLASS = "#f3f4f5"
COLUMNS = 20  # of samples from the prior


class TorusMap(NamedTuple):
    """The responses of the U units of a torus, row by row of the lattice."""

    kind: str  # trained or untrained
    drivers: Float[Tensor, "U 1 h w"]  # the test digit with the largest |t| of each unit
    driving_classes: Int[Tensor, " U"]  # the class of that digit
    d_prime: Float[Tensor, "K U"]  # of each unit for each class (metrics.selectivity)

    @property
    def classes(self) -> Int[Tensor, " U"]:
        """The class that each unit is most selective for, -1 where no d′ reaches SELECTIVE."""
        best, chosen = self.d_prime.nan_to_num(-torch.inf).max(0)
        return torch.where(best >= SELECTIVE, chosen, -1)


def torus_map(run: Run, model: TVAE, kind: str = "trained") -> TorusMap:
    """Return the responses of the units: |t| without posterior noise, on all digits of the test split."""
    test = run.data.test
    parts = torch.arange(len(test)).split(500)
    with torch.inference_mode():
        response = torch.cat([model.latents(test.batch(part).x).abs().flatten(1) for part in parts])
    best = response.argmax(0)
    return TorusMap(kind, test.batch(best).x[:, 0], test.labels[best], selectivity(response, test.labels))


def torus_maps(run: Run) -> list[TorusMap]:
    """Return the map of the trained and that of the untrained model."""
    return [torus_map(run, model, kind) for kind, model in both_models(run).items()]


def neighbours_agree(classes: Int[Tensor, " U"], side: int = 18) -> tuple[float, float]:
    """Return the share of neighbouring pairs with the same class, and their share on a shuffled map.

    Units of class -1 have none. nan where no two units with a class are neighbours.
    """
    grid = classes.view(side, -1)
    pairs = [(grid, grid.roll(1, axis)) for axis in (0, 1)]
    same = torch.cat([(a == b)[(a >= 0) & (b >= 0)] for a, b in pairs]).float()
    counts = classes[classes >= 0].bincount().double()
    n = counts.sum()
    return same.mean().item(), ((counts * (counts - 1)).sum() / (n * (n - 1))).item()


def selectivity_agrees(d_prime: Float[Tensor, "K U"], side: int = 18) -> tuple[float, float]:
    """Return the mean correlation of d′ over classes between neighbouring units, and between any two units.

    Unlike `neighbours_agree` it needs no threshold, and all units count.
    """
    centred = d_prime.double() - d_prime.double().mean(0)
    grid = torch.nn.functional.normalize(centred, dim=0).unflatten(1, (side, -1))
    near = torch.cat([(grid * grid.roll(1, axis)).sum(0).flatten() for axis in (1, 2)]).mean().item()
    units = grid.flatten(1)
    n = units.shape[1]
    return near, ((units.sum(1).square().sum() - n) / (n * (n - 1))).item()


def map_rows(maps: list[TorusMap]) -> list[Mapping[str, object]]:
    """Return as table rows how far neighbours agree on each map."""
    rows = []
    for one in maps:
        same, shuffled = neighbours_agree(one.classes)
        correlation, any_two = selectivity_agrees(one.d_prime)
        rows.append(
            {
                "torus": one.kind,
                "selective units": int((one.classes >= 0).sum()),
                "neighbours of the same class": same,
                "shuffled": shuffled,
                "neighbours with drivers of the same class": neighbours_agree(one.driving_classes)[0],
                "correlation of neighbours' d′": correlation,
                "of any two units' d′": any_two,
            }
        )
    return rows


def prior_digits(run: Run, samples: int = 40) -> Float[Tensor, "n 1 h w"]:
    """Return single digits sampled from the prior of the trained model."""
    with torch.inference_mode():
        return run.model.sample(samples, generator=generator("cpu", 0, "prior samples"))[:, 0]


def torus_strips(run: Run, image: int = 0, frames: int = 18) -> list[Strip]:
    """Return one test digit, and its t rolled along either axis of the torus and along both."""
    x, middle, rows = run.data.test.batch(torch.tensor([image])).x[0], frames // 2, {}
    for name, axes in {"along rows": (0,), "along columns": (1,), "along both": (0, 1)}.items():
        (row,) = rolls(middle, axes=axes).values()
        rows[name] = lambda model, t, row=row: row(model, t.expand(-1, frames, -1, -1))
    (strip,) = build_strips(run.model, run.exp, [("", x)], rows)
    given = ("input", x.expand(frames, -1, -1, -1))
    return [Strip(f"{run.title}: rolls of one digit", [given, *strip.rows[1:]], middle, above="not rolled")]


def draw_torus(maps: list[TorusMap], samples: Float[Tensor, "n 1 h w"], side: int = 18) -> Figure:
    """Draw the torus (paper, Figure 3): drivers and classes of the units of each map; samples."""
    lines = -(-len(samples) // COLUMNS)
    strip = lines * WIDTH / COLUMNS
    with style():
        figure = blank(WIDTH, len(maps) * (WIDTH / 2 + 0.15) + strip + 0.65, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02)
        ratios = [*[WIDTH / 2] * len(maps), 0.2, strip]
        grid = figure.add_gridspec(len(maps) + 2, 2, height_ratios=ratios)
        for i, one in enumerate(maps):
            left, right = (figure.add_subplot(grid[i, column]) for column in (0, 1))
            show_tiles(left, one.drivers, side, gap=1, paper=0.35)
            left.set_title(f"Test digit that drives each unit most, {one.kind}", weight="bold")
            _draw_classes(right, one.classes.view(side, -1))
            right.set_title(f"Class of each unit, d′ ≥ {SELECTIVE}, {one.kind}", weight="bold")
        names = {**{str(digit): colour for digit, colour in enumerate(CLASSES)}, "none": NO_CLASS}
        entries = [Patch(fc=colour, ec=RULE, lw=0.4, label=name) for name, colour in names.items()]
        key = figure.add_subplot(grid[-2, :])
        key.legend(
            handles=entries, ncols=11, loc="center right", frameon=False, handlelength=1.2, borderpad=0
        )
        below = figure.add_subplot(grid[-1, :])
        show_tiles(below, samples, COLUMNS)
        below.set_title("Samples from the prior, trained", weight="bold")
        for axes in figure.axes:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    return figure


def _draw_classes(axes: Axes, classes: Int[Tensor, "rows columns"]) -> None:
    rows, columns = classes.shape
    palette = ListedColormap([NO_CLASS, *CLASSES])
    axes.imshow((classes + 1).numpy(), cmap=palette, vmin=-0.5, vmax=len(CLASSES) + 0.5, aspect="auto")
    axes.hlines([row - 0.5 for row in range(rows + 1)], -0.5, columns - 0.5, color=PAPER, lw=0.8)
    axes.vlines([column - 0.5 for column in range(columns + 1)], -0.5, rows - 0.5, color=PAPER, lw=0.8)
    for row, column in (classes >= 0).nonzero().tolist():
        digit = int(classes[row, column])
        options = {"ha": "center", "va": "center_baseline", "fontsize": SMALL}
        axes.text(column, row, str(digit), color=_readable_on(CLASSES[digit]), **options)
    axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _readable_on(colour: str) -> str:
    red, green, blue = to_rgb(colour)
    return INK if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else PAPER
