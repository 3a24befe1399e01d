"""Write one page that holds a model and computes with it: draw a digit, roll its latent, see the frames."""

import base64
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

from tvae_core.config import Experiment
from tvae_core.data.mnist import VALUES, DigitSequences
from tvae_core.explorer.export import templates
from tvae_core.explorer.scene import factors_of, run_title, title_of
from tvae_core.files import write_atomically
from tvae_core.measures.catalog import MEASURES, flat, heading
from tvae_core.measures.rolls import CLAMPS
from tvae_core.model.tvae import TVAE
from tvae_core.store import restore
from tvae_core.training.pack import PackedRun, costs, decode_weights, encode_weights
from tvae_core.training.runs import Run

COMPARED = 100  # test sequences on which the cost of int8 weights is measured
COLOURS = 32  # of a map
# What the page says of its model, beside the roll margins.
SHOWN = ("roll_held_out", "roll_still", "seen_mean", "reconstruction", "elbo")


class Layer(NamedTuple):
    """A linear layer with int8 weights: weight[i, j] = scale[i] · integers[i, j]."""

    integers: Int8[Tensor, "rows columns"]
    scale: Float[Tensor, " rows"]
    bias: Float[Tensor, " rows"]


def check_live(run: Run, path: Path, images: Sequence[int] | None = None) -> None:
    """Raise ValueError, saying why, for a model that the page cannot compute, an image or a suffix.

    The run need not be trained. images: places in the test split.
    """
    exp = run.exp
    if path.suffix.lower() != ".html":
        raise ValueError(f"a live page is HTML, so {path} must end in .html")
    reasons = {
        "it does not see digits, of which the page makes frames": exp.data in ("dsprites", "own"),
        f"its encoder is {exp.encoder}, and the page knows perceptron": exp.encoder != "perceptron",
        "it sees single frames, so there is no sequence to roll": exp.n_transforms == 1,
        "its capsules have several dimensions": len(exp.capsule_shape) > 1,
        f"its boundary is {exp.boundary}, and the page knows circular alone": exp.boundary != "circular",
        f"its likelihood is {exp.likelihood}, and the page knows bernoulli": exp.likelihood != "bernoulli",
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(f"{exp.name} cannot be made a live page: {reason}")
    n = len(run.data.test)
    for image in images or ():
        if not 0 <= image < n:
            raise ValueError(f"image {image} is not one of 0 to {n - 1}")


def read_layers(model: TVAE) -> dict[str, list[Layer]]:
    """Return the layers of each part in the order in which they are computed (pack.encode_weights)."""
    encoded = encode_weights(dict(model.named_parameters()), "int8")
    layers: dict[str, list[Layer]] = {"encoder_z": [], "encoder_u": [], "decoder": []}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            integers, scale = encoded[f"{name}.weight"], encoded[f"{name}.weight.scale"].flatten()
            bias = encoded.get(f"{name}.bias", encoded["decoder.channel_bias"])
            bias = bias.repeat_interleave(len(integers) // len(bias))
            layers[name.partition(".")[0]].append(Layer(integers, scale, bias))
    return layers


def with_int8_weights(model: TVAE) -> TVAE:
    """Return a copy of a model whose weights are those that the page computes with."""
    model = copy.deepcopy(model)
    weights = decode_weights(encode_weights(dict(model.named_parameters()), "int8"))
    restore(model, {f"model.{name}": weight for name, weight in weights.items()}, {})
    return model


def cost_of_int8(run: Run) -> str:
    """Say what rolls into held-out frames cost with the weights as trained, and with int8 weights.

    A pack of int8 weights says it itself; otherwise both are measured at E[z] and E[u²] on the same test
    sequences, COMPARED at most.
    """
    if isinstance(run, PackedRun) and run.about["precision"] == "int8":
        cost = run.about["cost"]
        n, (full, int8) = cost["sequences"], (cost[when]["roll_held_out"] for when in ("before", "after"))
    else:
        n = min(COMPARED, len(run.data.test))
        models = run.model, with_int8_weights(run.model)
        full, int8 = (costs(m, run.exp, run.data.test, n)["roll_held_out"].mean().item() for m in models)
    return f"a roll into held-out frames costs {int8:.2f} nats/frame, {full:.2f} before ({n} test sequences)"


def frame_changes(sequences: DigitSequences, varied: int) -> dict[str, list]:
    """Return what makes each frame of a sequence that starts as the original does.

    degrees, scales and hues (S,) as affine_frames takes them; matrices (S, 9) instead of the first two for a
    turn in space (perspective_inverses), else none.
    """
    factors = sequences.sequence(torch.tensor([0]), varied).factors[0]
    degrees, hues, scales = (VALUES[i][factors[:, i]].tolist() for i in range(3))
    if sequences.kind == "dual":
        scales = [1.0] * len(scales)
    turned = sequences.kind == "perspective"
    matrices = sequences.inverses[factors[:, 0]].flatten(1).tolist() if turned else []
    return {"degrees": degrees, "scales": scales, "hues": hues, "matrices": matrices}


def _offsets(model: TVAE) -> list[list[int | float]] | None:
    """The neighbourhood of every unit: frames ahead, units ahead, weight; None for the plain VAE."""
    if model.grouper is None:
        return None
    first = model.grouper.matrices.detach()[0, 0].view(model.grouper.frames, model.units)
    return [[*place, first[tuple(place)].item()] for place in first.nonzero().tolist()]


def _numbers_of(model: TVAE, exp: Experiment) -> dict[str, object]:
    """All of a model but its layers and its digits."""
    grouper, decoder = model.grouper, model.decoder
    return {
        "shape": [exp.n_transforms, model.capsules, model.units],
        "anchor": exp.anchor,
        "heldOut": exp.held_out,
        "offsets": _offsets(model),
        "mu": grouper.mu.item() if grouper else 0.0,
        "eps": grouper.eps if grouper else 0.0,
        "centre": decoder.centre,
        "spread": decoder.spread,
    }


def _about(run: Run) -> list[tuple[str, str]]:
    """What the page says of its model: what it is, what it was trained on, and its measures."""
    rows = {kind: flat(row) for kind, row in run.results.items()}
    keys = [key for key in rows["trained"] if key.startswith("roll_margin/")] + list(SHOWN)
    measures = []
    for key in keys:
        if rows["trained"].get(key) is not None:
            measure = MEASURES[key.partition("/")[0]]
            values = [f"{rows[kind][key]:,.{measure.decimals}f}" for kind in ("trained", "untrained")]
            words = f"{values[0]} {measure.unit} (untrained {values[1]})"
            measures.append((heading(key, run.exp.n_is_samples), words.replace("-", "−")))
    steps = run.exp.max_steps
    return [
        ("model", f"{run_title(run)} ({run.label})"),
        ("trained", f"{f'{steps:,} steps' if steps else f'{run.exp.max_epochs} epochs'} at one seed"),
        ("data", run.provenance["data"]),
        *measures,
        ("weights", f"int8, one scale for each row of a matrix: {cost_of_int8(run)}"),
    ]


def _text(values: np.ndarray | Tensor) -> str:
    return base64.b64encode(np.asarray(values).tobytes()).decode()


def _one_of_each_class(sequences: DigitSequences) -> list[int]:
    labels = sequences.labels.tolist()
    return [labels.index(label) for label in sorted(set(labels))]


def live_page(run: Run, images: Sequence[int] | None = None) -> str:
    """Return the page of a run, with its weights as int8 and some digits of the test split to start from.

    images: places in the test split (None: one of each class).
    """
    sequences, parts = run.data.test, read_layers(run.model)
    images = _one_of_each_class(sequences) if images is None else images
    layers = [layer for part in parts.values() for layer in part]
    given = _numbers_of(run.model, run.exp) | {
        "layers": [(name, [list(layer.integers.shape) for layer in part]) for name, part in parts.items()],
        "transformations": [
            {"name": title_of(run, name), **frame_changes(sequences, varied)}
            for varied, name in enumerate(factors_of(run))
        ],
        "digits": [_text(sequences.images[image]) for image in images],
        "clamps": CLAMPS,
        "colours": np.round(
            255 * matplotlib.colormaps["viridis"](np.linspace(0, 1, COLOURS))[:, :3]
        ).tolist(),
    }
    template = templates().get_template("live.html.jinja")
    return template.render(
        given=given,
        title=run_title(run),
        frames=run.exp.n_transforms,
        about=_about(run),
        integers=_text(torch.cat([layer.integers.flatten() for layer in layers])),
        floats=_text(torch.cat([torch.cat([layer.scale, layer.bias]) for layer in layers])),
    )


def save_live_page(run: Run, path: Path, images: Sequence[int] | None = None) -> Path:
    """Write the page (live_page) and return its path. Raises ValueError as check_live does."""
    check_live(run, path, images)
    write_atomically(path, live_page(run, images))
    return path
