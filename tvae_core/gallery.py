"""From runs to what figures and tables show: trained models in, plain data out."""

from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tvae_core.choices import require
from tvae_core.diagram import Square
from tvae_core.draws import generator
from tvae_core.evaluation import first_batches
from tvae_core.experiments import EXPERIMENTS
from tvae_core.figures import Strip, class_map
from tvae_core.metrics import selectivity
from tvae_core.mnist import TOGETHER
from tvae_core.model import TVAE
from tvae_core.paths import FIGURES, RUNS
from tvae_core.runs import Run
from tvae_core.schematic import Topography
from tvae_core.torus import roll
from tvae_core.train import fit_seeds
from tvae_core.variants import read_experiment


def figure_folder(figures: str, scale: str) -> Path:
    """Where a notebook puts its figures: the folder it was given, or the usual one of that scale."""
    return Path(figures) if figures else FIGURES / scale


def fit_all(
    experiments: Sequence[str], scale: str, seeds: Sequence[int] = (), device: str = "auto", runs: str = ""
) -> list[Run]:
    """`fit` for each experiment or variant and seed (none given: its own): trained, or loaded if done."""
    rows = [read_experiment(name, scale) for name in experiments]
    return [run for exp in rows for run in fit_seeds(exp, seeds or [exp.seed], device, runs or RUNS)]


def about(runs: Sequence[Run]) -> str:
    """Which experiments, scale, seeds and data a figure or table shows."""

    def listed(values) -> str:
        return ", ".join(dict.fromkeys(str(v) for v in values))

    names, seeds = listed(run.label for run in runs), listed(run.seed for run in runs)
    each = max(Counter(run.label for run in runs).values())
    several = f"{each} seeds each" if each > 1 else "one seed each" if "," in seeds else ""
    seeds = f"{several} ({seeds})" if several else f"seed {seeds}"
    data = "; ".join(dict.fromkeys(str(run.provenance["data"]) for run in runs))
    return f"{names}. Scale {listed(run.exp.scale for run in runs)}, {seeds}. Data: {data}."


def first_seeds(runs: Sequence[Run]) -> list[Run]:
    """The first run of each experiment, for figures, which show one."""
    return list({run.label: run for run in reversed(runs)}.values())[::-1]


# Figure 2


def topography(name: str) -> Topography:
    """W of an experiment, on its lattice of frames and units, or of rows and columns without time."""
    exp = EXPERIMENTS[name]
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


# Figure 4


def traversal_strips(
    run: Run,
    examples: Sequence[int] = (0,),
    reconstruction: bool = False,
    name: str = "",
    every: bool = False,
) -> list[Strip]:
    """For each transformation of its data one test sequence, and the frames decoded from rolls of t_l0.

    `examples` are places in the test split, one for each transformation, used again if there are fewer;
    or, with `every`, all of them for each. `name` is what the strips are called (the data set, if nothing).
    """
    exp, model, strips = run.exp, run.load_model(), []
    sequences = exp.build_sequences("test", run.seed)
    name = name or ("dSprites" if exp.data == "dsprites" else "MNIST")
    with torch.inference_mode():
        factors = [TOGETHER.get(getattr(sequences, "kind", ""), factor) for factor in sequences.varying]
        shown = [(i, examples[i % len(examples)]) for i in range(len(factors))]
        for i, example in product(range(len(factors)), examples) if every else shown:
            index = torch.tensor([example % len(sequences)])
            x = sequences.sequence(index, i).x
            t = model.latents(x)
            rows = [("input", x[0])] + [("reconstruction", model.decode(t)[0])] * reconstruction
            rows.append((f"Roll$_δ$($t_{{{exp.anchor}}}$)", model.traverse(t, exp.anchor)[0].sigmoid()))
            strips.append(Strip(f"{name}, {factors[i]}", rows, exp.anchor, exp.held_out))
    return strips


def listens_only_to_seen(run: Run) -> bool:
    """Whether t of the anchor stays what it is when every held-out frame is blacked out."""
    sequences, model = run.exp.build_sequences("test", run.seed), run.load_model()
    x = sequences.sequence(torch.tensor([0]), 0).x
    blacked = x.clone()
    blacked[:, run.exp.held_out] = 0
    with torch.inference_mode():
        before, after = (model.latents(frames)[:, run.exp.anchor] for frames in (x, blacked))
    return torch.allclose(before, after, rtol=1e-5)


# Figure 1


def both_ways(run: Run, example: int = 0, shift: int = 9, varied: int = 0) -> Square:
    """Both ways to frame l0 + shift of a test sequence: roll t of l0, or encode the sequence moved on.

    ValueError if that frame is not among the held-out ones.
    """
    exp, model = run.exp, run.load_model()
    target = exp.anchor + shift
    require(str(target), map(str, exp.held_out), "frame l0 + shift")
    x = run.exp.build_sequences("test", run.seed).sequence(torch.tensor([example]), varied).x
    moved, seen = x.roll(-shift, 1), [f for f in range(x.shape[1]) if f not in exp.held_out]
    with torch.inference_mode():
        t, t_after = (model.latents(frames)[:, exp.anchor] for frames in (x, moved))
        ts = torch.cat([t, roll(t, shift), t_after])
        decoded = model.decode(ts[:, None])[:, 0]
    truth = x[0, [exp.anchor, target]]
    return Square(x[0, seen], moved[0, seen], exp.anchor, shift, *ts, decoded, truth)


def agreement(run: Run, model: TVAE, shift: int, sequences: int = 100) -> tuple[float, float]:
    """Correlation of t of l0 with t of l0 + shift inside a capsule, rolled by the shift and as it is.

    The mean over capsules and at most so many test sequences; 1 is exact equivariance (rolled) or exact
    invariance (as it is), 0 chance.
    """
    totals = []
    with torch.inference_mode():
        for batch, _ in first_batches(run.exp, run.seed, sequences):
            t = model.latents(batch.x)
            ends = t[:, run.exp.anchor], t[:, (run.exp.anchor + shift) % t.shape[1]]
            here, there = (F.normalize(end - end.mean(-1, keepdim=True), dim=-1) for end in ends)
            pairs = torch.stack([roll(here, shift), here])
            totals.append((pairs * there).sum(-1).mean(-1))
    rolled, still = torch.cat(totals, 1).mean(1).tolist()
    return rolled, still


# Figure 3


def torus_panels(run: Run, model: TVAE, samples: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """The digit that drives each unit most, the class of each unit, and samples from the prior.

    Both of the first go by |t| at posterior means on the test split; → (U, 1, 28, 28), (U,) with -1 for
    a unit that is selective for no class, (samples, 1, 28, 28).
    """
    sequences = run.exp.build_sequences("test", run.seed)
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
