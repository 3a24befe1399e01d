"""Capsule traversals: example sequences in, strips of frames out (Figures 1, 4, 6 to 23, controls)."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.model.tvae import TVAE
from tvae_core.plotting.strips import Strip
from tvae_core.seeding import generator
from tvae_core.training.runs import Run

Example = tuple[str, Float[Tensor, "S ch h w"]]  # the name of a transformation, and a sequence that shows it
Rows = Mapping[
    str, Callable[[TVAE, Tensor], Tensor]
]  # label -> latents to decode, from model and t (B, S, C, D)


def start_of(figure: str, factor: int, place: int = 0) -> torch.Generator:
    """Return the generator of the start and the fixed factors of a figure's example.

    factor: the number of its transformation. place: the number of the example within the factor.
    """
    return generator("cpu", 0, figure, 100 * factor + place)


def example_sequences(
    run: Run, images: Sequence[int] = (0,), figure: str = "fig4", every: bool = False
) -> list[Example]:
    """Return test sequences that start anywhere: one of the images for each transformation of a run's data.

    Args:
        images: places in the test split, one for each transformation, used again if there are fewer.
        figure: the name of the figure, which decides the starts.
        every: show all images for each transformation.
    """
    test, found = run.data.test, []
    for i, factor in enumerate(test.varying):
        for place, image in enumerate(images if every else [images[i % len(images)]]):
            x = test.sequence(torch.tensor([image % len(test)]), i, start_of(figure, i, place)).x[0]
            found.append((test.title(factor), x))
    return found


def reconstruction() -> Rows:
    """Return the row of frames decoded from their own t."""
    return {"reconstruction": lambda model, t: t}


def rolls(anchor: int, step: int = 1, axes: Sequence[int] = (0,), name: str = "") -> Rows:
    """Return the row of frames decoded from Roll_{step · (l - l0)}(t_l0), for l0 = anchor and each frame l.

    A capsule of several dimensions is rolled along each of the `axes`; `name` replaces the row's label.
    """
    by = {1: "δ", -1: "−δ"}.get(step, f"{step}δ")
    label = name or f"Roll$_{{{by}}}$($t_{{{anchor}}}$)"
    return {label: lambda model, t: model.rolls(t, anchor, axes, step)}


def build_strips(model: TVAE, exp: Experiment, examples: Iterable[Example], rows: Rows) -> list[Strip]:
    """Return a strip for each example: the input, and below it the frames decoded from each row's latents.

    t is taken without posterior noise (TVAE.latents).
    """
    titles, frames = zip(*examples, strict=True)
    with torch.inference_mode():
        x = torch.stack(frames)
        t = model.latents(x)
        decoded = {label: model.decode(row(model, t)) for label, row in rows.items()}
    return [
        Strip(title, [("input", x[i]), *((k, v[i]) for k, v in decoded.items())], exp.anchor, exp.held_out)
        for i, title in enumerate(titles)
    ]


def traversal_strips(
    run: Run,
    images: Sequence[int] = (0,),
    figure: str = "fig4",
    every: bool = False,
    only_rolls: bool = False,
) -> list[Strip]:
    """Return capsule traversals (paper, Figure 4): for each example a reconstruction and rolls of t of l0.

    Arguments as of `example_sequences`; `only_rolls` leaves the reconstruction out.
    """
    examples = example_sequences(run, images, figure, every)
    rows = {**({} if only_rolls else reconstruction()), **rolls(run.exp.anchor)}
    return build_strips(run.model, run.exp, [(f"{run.title}, {name}", x) for name, x in examples], rows)


def ignores_held_out(run: Run) -> bool:
    """Return whether t of l0 stays the same when every held-out frame is blacked out."""
    ((_, x), *_), held_out = example_sequences(run), run.exp.held_out
    blacked = x.clone()
    blacked[held_out] = 0
    with torch.inference_mode():
        before, after = run.model.latents(torch.stack([x, blacked]))[:, run.exp.anchor]
    return torch.allclose(before, after, rtol=1e-5)
