"""Correlations of energies between units: the topography itself, before and after training."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import torch
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from tvae_core.measures.evaluation import first_batches
from tvae_core.plotting.style import BODY, MUTED, RULE, SMALL, WIDTH, blank, style
from tvae_core.training.runs import Run, both_models


class Correlations(NamedTuple):
    """The correlation of an energy with that of the site so many frames and units further on."""

    model: str
    energy: str  # t², u² or v, and whether the model is trained
    r: Float[
        Tensor, "A E"
    ]  # by offset along frames (or rows) a and units (or columns) e, both wrapping round


def correlate(energy: Float[Tensor, "n S D"]) -> Float[Tensor, "S D"]:
    """Return the mean correlation over n sequences of each site with the one (a, e) further on, by (a, e).

    r[a, e] = mean over l, d of corr(energy[l, d], energy[l + a, d + e]); frames and units wrap round.
    """
    centred = energy.double() - energy.double().mean(0)
    spectrum = torch.fft.fft2(centred / centred.norm(dim=0).clamp_min(1e-12))
    return (torch.fft.ifft2(spectrum.abs().square()).real.sum(0) / energy[0].numel()).float()


def energy_correlations(run: Run, sequences: int = 300) -> list[Correlations]:
    """Return the correlations of t² and of u² at posterior draws, trained and untrained, and those W implies.

    The mean is taken over capsules. W implies the correlations of v = W u² for independent u² of equal
    variance: the overlap of two neighbourhoods. A 2-D torus has rows and columns instead of frames and
    units; the plain VAE has neither u nor W.
    """
    exp, found = run.exp, []
    lattice = exp.capsule_shape if exp.n_transforms == 1 else (exp.n_transforms, exp.cap_dim)
    with torch.inference_mode():
        batches = list(first_batches(exp, sequences))
        outs = {kind: [model(b.x, g) for b, g in batches] for kind, model in both_models(run).items()}
    for name, kind in product("tu" if exp.topography != "none" else "t", outs):
        values = torch.cat([getattr(out, name) for out in outs[kind]]).square()  # (n, S, C, D)
        each = [correlate(one.reshape(len(one), *lattice)) for one in values.unbind(2)]
        found.append(Correlations(run.title, f"{name}², {kind}", torch.stack(each).mean(0)))
    if exp.topography != "none":
        w = exp.build_grouper().matrices[0][0].reshape(lattice)
        overlap = torch.fft.ifft2(torch.fft.fft2(w).abs().square()).real
        found.append(Correlations(run.title, "v, by W alone", overlap / overlap[0, 0]))
    return found


def neighbour_rows(found: Sequence[Correlations]) -> list[Mapping[str, object]]:
    """Return as table rows the correlations with the nearest sites."""
    steps = {"next frame, rolled": (1, 1), "next frame, not rolled": (1, 0), "next unit": (0, 1)}
    return [
        {"model": c.model, "energy": c.energy, **{name: c.r[step].item() for name, step in steps.items()}}
        for c in found
    ]


def correlation_maps(models: Sequence[Sequence[Correlations]]) -> Figure:
    """Draw a row of maps for each model, on one scale; the middle of a map is a site with itself."""
    columns = max(map(len, models))
    low = min(c.r.min().item() for found in models for c in found)
    scale = Normalize(low, 1)
    with style():
        figure = blank(WIDTH, 0.2 + len(models) * 1.36, layout="constrained")
        grid = figure.subplots(len(models), columns, squeeze=False)
        for row, found in zip(grid, models, strict=True):
            for axes in row[len(found) :]:
                axes.set_axis_off()
            row[0].set_ylabel(_wrapped(found[0].model), fontsize=SMALL, weight="bold")
            for axes, one in zip(row, found, strict=False):
                a, e = one.r.shape
                middle = one.r.roll((a // 2, e // 2), (0, 1))
                place = (-(e // 2) - 0.5, e - e // 2 - 0.5, a - a // 2 - 0.5, -(a // 2) - 0.5)
                axes.imshow(middle.numpy(), norm=scale, cmap="viridis", extent=place, interpolation="nearest")
                axes.set_title(one.energy, fontsize=BODY)
                axes.set(xticks=[-(e // 2), 0, e - e // 2 - 1], yticks=[-(a // 2), 0, a - a // 2 - 1])
                axes.spines[:].set_color(RULE)
        figure.supxlabel("units (columns) further on", fontsize=SMALL)
        figure.supylabel("frames (rows) further on", fontsize=SMALL)
        bar = figure.colorbar(ScalarMappable(scale, "viridis"), ax=grid, aspect=40, pad=0.01)
        bar.ax.tick_params(labelsize=SMALL, length=1.5, colors=MUTED)
        bar.set_label("correlation", fontsize=SMALL)
    return figure


def _wrapped(title: str) -> str:
    return title.replace(", ", ",\n", 1)
