"""`tvae bench`: a training step beside the floor that the machine sets, and beside the literal way."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from tvae_core.benchmark.literal import literal_step
from tvae_core.config import Experiment
from tvae_core.files import DATA
from tvae_core.model.tvae import TVAE
from tvae_core.seeding import generator
from tvae_core.training.hardware import choose_device, choose_precision, describe, peak_device_memory
from tvae_core.training.learner import Learner, build_optimizer
from tvae_core.training.provenance import peak_memory
from tvae_core.training.runs import plan
from tvae_core.training.step import Step

FULL_MNIST = 48_000  # digits of its training split

Work = Callable[[], object]


def milliseconds(step: Work, device: torch.device, seconds: float = 1.0) -> float:
    """The median time of a call: two to warm up, then as many as fit the given seconds, at least five."""

    def once() -> float:
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return 1000 * (time.perf_counter() - began)

    once()
    repeats = max(5, int(1000 * seconds / once()))
    return statistics.median(once() for _ in range(repeats))


def matrix_products(model: TVAE, frames: int, dtype: torch.dtype) -> Work:
    """The products of one step and nothing else, on data of the same shapes and type.

    For each linear layer y = x Wᵀ and the gradients of W and x, but not that of the pixels, which nobody
    needs; for W of the grouper the product with u² and the gradient of u², in float32.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    weights = [layer.weight.detach().to(dtype) for layer in layers]
    inputs = [torch.randn(frames, w.shape[1], device=w.device).to(dtype) for w in weights]
    outputs = [torch.randn(frames, w.shape[0], device=w.device).to(dtype) for w in weights]
    read_pixels = [encoder.layers[0] for encoder in (model.encoder_z, model.encoder_u) if encoder]
    inner = [layer not in read_pixels for layer in layers]
    couplings = list(model.grouper.matrices.detach()) if model.grouper else []
    energies = [torch.randn(frames * model.capsules * model.units // len(w), len(w)) for w in couplings]
    energies = [e.to(w.device) for e, w in zip(energies, couplings, strict=True)]

    def step() -> None:
        for x, w, y, has_gradient in zip(inputs, weights, outputs, inner, strict=True):
            x @ w.mT
            y.mT @ x
            if has_gradient:
                y @ w
        for u, w in zip(energies, couplings, strict=True):
            u @ w.mT
            u @ w

    return step


def optimizer_traffic(exp: Experiment, model: TVAE) -> Work:
    """The optimizer's step alone, on gradients that are already there."""
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return build_optimizer(exp, model).step


@contextmanager
def fresh_learners(
    exp: Experiment, device: torch.device, data: Path = DATA, seeds: int = 1
) -> Iterator[list[Learner]]:
    """Yield learners of so many seeds, from the experiment's own on, that leave nothing behind."""
    exps = [exp.with_options(seed=exp.seed + i) for i in range(seeds)]
    with tempfile.TemporaryDirectory(prefix="tvae-bench-") as folder:
        yield [Learner(plan(one, device.type, folder, data)) for one in exps]


def measure(
    exp: Experiment, device: torch.device, data: Path = DATA, seconds: float = 1.0, seeds: int = 1
) -> dict:
    """One row: the step, its parts and its floor in milliseconds, what follows from them, bytes of memory.

    The step is that of training: on CUDA a graph. Of several seeds trained at once it is the share of each,
    so that frames and epochs are those of all seeds together. `floor` is `matrix_products` + `optimizer`,
    `ratio` the step over that. `evaluation` and `traversal` are microseconds a frame, to set beside
    `training`: one pass at a posterior draw, and one roll of t.
    """
    frames = exp.batch_size * exp.n_transforms
    with fresh_learners(exp, device, data, seeds) as learners:
        first = learners[0]
        model, dtype = first.model, getattr(torch, first.exp.precision)
        index, g = first.members(), generator(device, 0, "bench")
        batch = first.data.train.batch(index, g)
        ms = {
            "step": milliseconds(Step(learners), device, seconds) / seeds,
            "data": milliseconds(lambda: first.data.train.batch(index, g), device, seconds),
            "matrix_products": milliseconds(matrix_products(model, frames, dtype), device, seconds),
        }
        with torch.inference_mode():  # in float32, as evaluate and the figures do
            t = model.latents(batch.x)
            evaluation = milliseconds(lambda: model(batch.x, g), device, seconds)
            traversal = milliseconds(lambda: model.traverse(t, exp.anchor), device, seconds)
        # on a copy: random gradients would spoil the model
        ms["optimizer"] = milliseconds(optimizer_traffic(exp, exp.build_model().to(device)), device, seconds)
    floor = ms["matrix_products"] + ms["optimizer"]
    epochs = 300_000 / ms["step"] / (FULL_MNIST // exp.batch_size)
    return {
        "name": exp.name,
        "precision": str(dtype).removeprefix("torch."),
        "seeds": seeds,
        "frames": frames,
        **{f"{name}_ms": round(value, 3) for name, value in ms.items()},
        "floor_ms": round(floor, 3),
        "ratio": round(ms["step"] / floor, 3),
        "data_share": round(ms["data"] / ms["step"], 4),
        "frames_per_second": round(1000 * frames / ms["step"]),
        **({} if exp.data == "dsprites" else {"epochs_in_5_minutes": round(epochs, 2)}),
        "training_us_per_frame": round(1000 * ms["step"] / frames, 1),
        "evaluation_us_per_frame": round(1000 * evaluation / frames, 1),
        "traversal_us_per_frame": round(1000 * traversal / frames, 1),
        "peak_memory_bytes": peak_device_memory(device) or peak_memory(),
    }


def reference(exp: Experiment, device: torch.device, data: Path = DATA, seconds: float = 1.0) -> float:
    """Milliseconds of the literal step (tvae_core.literal)."""
    with fresh_learners(exp.with_options(precision="float32"), device, data) as (learner,):
        return milliseconds(literal_step(learner), device, seconds)


def medians(rows: Sequence[dict]) -> dict:
    """The median of every number over several runs of the same measurement."""
    first = rows[0]
    numbers = {key for key, value in first.items() if not isinstance(value, str)}
    return {k: statistics.median(row[k] for row in rows) if k in numbers else v for k, v in first.items()}


def bench(
    exp: Experiment,
    precisions: Sequence[str] = ("float32", "auto"),
    device_name: str = "auto",
    runs: int = 3,
    data: Path = DATA,
    seconds: float = 1.0,
    seeds: int = 1,
) -> dict[str, object]:
    """Each precision measured `runs` times in turn (medians), the literal step, and where it was measured.

    Each number takes about the given seconds.

    Raises ValueError for a device that is not there.
    """
    device = choose_device(device_name)
    names = dict.fromkeys(str(choose_precision(p, device)).removeprefix("torch.") for p in precisions)
    variants = [exp.with_options(precision=name) for name in names]
    # in turn, so that what else the machine does meets all of them
    measured = [[measure(variant, device, data, seconds, seeds) for variant in variants] for _ in range(runs)]
    rows = [medians(of) for of in zip(*measured, strict=True)]
    literal = reference(exp, device, data, seconds)
    for row in rows:
        row["faster_than_literal"] = round(literal / row["step_ms"], 2)
    return {
        "device": describe(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "runs": runs,
        "literal_step_ms": round(literal, 1),
        "rows": rows,
    }


def bench_lines(result: dict) -> list[str]:
    """The measurement in words and columns."""
    columns = ("step", "floor", "matrix_products", "optimizer", "data")
    first = result["rows"][0]
    at_once = f", {first['seeds']} seeds at once: a step is the share of each" * (first["seeds"] > 1)
    lines = [f"{first['name']} on {result['device']}{at_once}"]
    lines.append(f"{'milliseconds':10}  " + "".join(f"{name:>17}" for name in columns) + "  ratio   frames/s")
    for row in result["rows"]:
        cells = "".join(f"{row[f'{name}_ms']:17.1f}" for name in columns)
        lines.append(f"{row['precision']:12}{cells}  {row['ratio']:5.2f} {row['frames_per_second']:10,}")
    lines.append(f"literal step {result['literal_step_ms']:.1f} ms, float32")
    for row in result["rows"]:
        each = ", ".join(
            f"{k} {row[f'{k}_us_per_frame']:.0f}" for k in ("training", "evaluation", "traversal")
        )
        lines.append(
            f"{row['precision']}: {row['faster_than_literal']:.1f} times faster than the literal step, "
            f"data {row['data_share']:.1%} of the step, µs a frame: {each}; "
            f"peak memory {row['peak_memory_bytes'] / 2**20:,.0f} MiB"
        )
        if epochs := row.get("epochs_in_5_minutes"):
            lines.append(f"{row['precision']}: {epochs:,.1f} epochs of the full MNIST in 5 minutes")
    return lines
