"""From runs to what figures and tables show: trained models in, plain data out."""

from collections.abc import Sequence
from itertools import product

import torch

from tvae_core.data.mnist import TOGETHER
from tvae_core.plotting.strips import Strip
from tvae_core.training.runs import Run

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
    exp, model, strips = run.exp, run.model, []
    sequences = run.data.test
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


def ignores_held_out(run: Run) -> bool:
    """Whether t of the anchor stays what it is when every held-out frame is blacked out."""
    sequences, model = run.data.test, run.model
    x = sequences.sequence(torch.tensor([0]), 0).x
    blacked = x.clone()
    blacked[:, run.exp.held_out] = 0
    with torch.inference_mode():
        before, after = (model.latents(frames)[:, run.exp.anchor] for frames in (x, blacked))
    return torch.allclose(before, after, rtol=1e-5)
