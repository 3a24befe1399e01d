"""`tvae bench`: time a training step, the floor that the machine sets for it, and the literal step."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
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


def milliseconds(work: Work, seconds: float = 1.0) -> float:
    """Return the median time of as many calls as fit the seconds, at least five; a GPU is waited for.

    (torch.utils.benchmark does the same, but its import takes seconds and may warn of a missing CUDA.)
    """

    def once() -> float:
        began = time.perf_counter()
        work()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - began)

    once()
    return statistics.median(once() for _ in range(max(5, int(1000 * seconds / once()))))


def matrix_products(model: TVAE, frames: int, dtype: torch.dtype) -> Work:
    """Return the matrix products of a step and nothing else, on random data of the same shapes and type.

    For each linear layer y = x Wᵀ and the gradients of W and of x, except of the pixels, which have none;
    for W of the grouper the product with u² and the gradient of u², in float32.
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


@contextmanager
def fresh_learners(
    exp: Experiment, device: torch.device, data: Path = DATA, seeds: int = 1
) -> Iterator[list[Learner]]:
    """Yield learners of so many seeds, from the experiment's own on, that decode every frame.

    They leave nothing behind.
    """
    exps = [exp.with_options(seed=exp.seed + i, decode_every=1) for i in range(seeds)]
    with tempfile.TemporaryDirectory(prefix="tvae-bench-") as folder:
        yield [Learner(plan(one, device.type, folder, data)) for one in exps]


def measure(
    exp: Experiment, device: torch.device, data: Path = DATA, seconds: float = 1.0, seeds: int = 1
) -> dict:
    """Return one row: the step, its parts and its floor, what follows from them, and bytes of memory.

    The step is that of training, a graph on CUDA, in milliseconds; of several seeds trained at once it is
    the share of each, so that frames and epochs are of all seeds together. The floor is `matrix_products`
    and `optimizer` together, `ratio` the step over it. `evaluation` and `traversal` are microseconds a
    frame, to set beside `training`: one pass at a posterior draw, and one roll of t.
    """
    frames = exp.batch_size * exp.n_transforms
    with fresh_learners(exp, device, data, seeds) as learners:
        ms = {name: milliseconds(work, seconds) for name, work in _works(learners, frames).items()}
    ms["step"] /= seeds
    floor = ms["matrix_products"] + ms["optimizer"]
    epochs = 300_000 / ms["step"] / (FULL_MNIST // exp.batch_size)
    a_frame = {"training": ms["step"], "evaluation": ms.pop("evaluation"), "traversal": ms.pop("traversal")}
    return {
        "name": exp.name,
        "precision": learners[0].exp.precision,
        "seeds": seeds,
        "frames": frames,
        **{f"{name}_ms": value for name, value in ms.items()},
        "floor_ms": floor,
        "ratio": ms["step"] / floor,
        "data_share": ms["data"] / ms["step"],
        "frames_per_second": 1000 * frames / ms["step"],
        **({} if exp.data == "dsprites" else {"epochs_in_5_minutes": epochs}),
        **{f"{name}_us_per_frame": 1000 * value / frames for name, value in a_frame.items()},
        "peak_memory_bytes": peak_device_memory(device) or peak_memory(),
    }


def _works(learners: Sequence[Learner], frames: int) -> dict[str, Work]:
    """What is timed, by name; evaluation and traversal in float32, as evaluate and the figures do them."""
    first = learners[0]
    exp, model, train = first.exp, first.model, first.data.train
    index, g = first.members(), generator(first.device, 0, "bench")
    x = train.batch(index, g).x
    copy = exp.build_model().to(first.device)  # random gradients would spoil the model
    for parameter in copy.parameters():
        parameter.grad = torch.randn_like(parameter)
    with torch.inference_mode():
        t = model.latents(x)
    return {
        "step": Step(learners),
        "data": lambda: train.batch(index, g),
        "matrix_products": matrix_products(model, frames, getattr(torch, exp.precision)),
        "optimizer": build_optimizer(exp, copy).step,
        "evaluation": torch.inference_mode()(lambda: model(x, g)),
        "traversal": torch.inference_mode()(lambda: model.traverse(t, exp.anchor)),
    }


def medians(rows: Sequence[dict]) -> dict:
    """Return the median of every number over several runs of the same measurement."""
    return {
        key: value if isinstance(value, str) else statistics.median(row[key] for row in rows)
        for key, value in rows[0].items()
    }


def bench(
    exp: Experiment,
    precisions: Sequence[str] = ("float32", "auto"),
    device_name: str = "auto",
    runs: int = 3,
    data: Path = DATA,
    seconds: float = 1.0,
    seeds: int = 1,
) -> dict[str, object]:
    """Measure each precision `runs` times in turn (medians) and the literal step; say where.

    Each number takes about the given seconds. Every frame is decoded, whatever decode_every says, as the
    literal step does. Raises ValueError for a device that is not there.
    """
    device = choose_device(device_name)
    exp.load_images(data)  # fetched, if need be
    names = dict.fromkeys(choose_precision(precision, device) for precision in precisions)
    variants = [exp.with_options(precision=name) for name in names]
    # in turn, so that what else the machine does meets all of them
    measured = [[measure(variant, device, data, seconds, seeds) for variant in variants] for _ in range(runs)]
    rows = [medians(of) for of in zip(*measured, strict=True)]
    with fresh_learners(exp.with_options(precision="float32"), device, data) as (learner,):
        literal = milliseconds(literal_step(learner), seconds)
    for row in rows:
        row["faster_than_literal"] = literal / row["step_ms"]
    return {
        "device": describe(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "runs": runs,
        "literal_step_ms": literal,
        "rows": rows,
    }


def bench_lines(result: dict) -> list[str]:
    """Return the measurement as text: one column for each precision."""
    rows = pd.DataFrame(result["rows"]).set_index("precision").drop(columns="name").T
    where = f"{result['rows'][0]['name']} on {result['device']}"
    literal = f"literal step, float32: {result['literal_step_ms']:.1f} ms"
    return [where, rows.to_string(float_format="{:,.2f}".format), literal]
