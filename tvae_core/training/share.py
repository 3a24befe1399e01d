"""What the commands pack, evaluate, encode and decode do with a trained run, and the options of each."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tvae_core.data.own import Sequences
from tvae_core.data.own_files import read_sequences
from tvae_core.measures.catalog import MEASURES, flat, heading
from tvae_core.measures.evaluation import evaluate
from tvae_core.training.hardware import choose_device
from tvae_core.training.latents import decode, encode, read_array, write_arrays
from tvae_core.training.pack import SUFFIX, PackedRun, cost_lines, pack
from tvae_core.training.registry import register, registry_beside
from tvae_core.training.runs import Run
from tvae_core.training.summary import full_table, summary

Lines = list[str]
FROM = "a trained run: its folder, a pack's file or URL, or a name in notebooks/packs; with --name: the start"


def _npz(text: str) -> Path:
    if Path(text).suffix != ".npz":
        raise argparse.ArgumentTypeError(f"{text} must end in .npz")
    return Path(text)


def add_options(command: str, add: Callable[..., object]) -> None:
    """Add the options of a command of SHARED, beside those that name a run, to its parser."""
    if command == "pack":
        add("--out", type=Path, required=True, metavar="FILE", help=f"ends in {SUFFIX}")
        add("--precision", default="int8", help="of the weights: int8 (a quarter of the bytes) or bfloat16")
        add("--register", action="store_true", help="enter it in the registry.json beside FILE")
    if command == "encode":
        add("--out", type=_npz, required=True, metavar="FILE", help="ends in .npz")
        add("--split", default="test", help="train, validation or test")
        add("--first", type=int, metavar="N", help="so many sequences of the split (default: all)")
        add("--x", type=Path, metavar="PATH", help="your own in place of a split: .npz, .npy or a folder")
    if command == "decode":
        add(
            "latents", type=Path, metavar="LATENTS", help="an .npz whose array t is decoded, from tvae encode"
        )
        add("--out", type=_npz, required=True, metavar="FILE", help="ends in .npz; its array is frames")


def about_run(run: Run, everything: bool = False) -> Lines:
    """Return the measures of a trained run, what its bits cost if it is a pack, and where it lies."""
    cost = cost_lines(run.about) if isinstance(run, PackedRun) else []
    return [full_table(run) if everything else summary(run), *cost, str(run.folder)]


def run_pack(run: Run, options: argparse.Namespace) -> Lines:
    """Write the run as one file; say what its bits cost, and its digest if it is registered."""
    if options.register:
        registry_beside(options.out)  # refused before the run is measured
    lines = [*cost_lines(pack(run, options.out, options.precision)), _written(options.out)]
    return lines + ([f"{options.out.stem}: {register(options.out).sha256}"] if options.register else [])


def run_evaluate(run: Run, options: argparse.Namespace) -> Lines:
    """Measure the model anew on this machine, and set its measures beside those that the run came with."""
    model = run.load_model(choose_device(options.device))
    came, here = flat(run.results["trained"]), flat(evaluate(model, run.exp, options.data, progress=True))
    lines = [f"{'':46}{'as it came':>12}{'here':>12}"]
    for key in (key for measure in MEASURES for key in here if key.partition("/")[0] == measure):
        if here[key] is not None:
            places = MEASURES[key.partition("/")[0]].decimals
            numbers = ["–" if v is None else f"{v:z,.{places}f}" for v in (came.get(key), here[key])]
            lines.append(f"{heading(key, run.exp.n_is_samples):46}{numbers[0]:>12}{numbers[1]:>12}")
    return lines


def run_encode(run: Run, options: argparse.Namespace) -> Lines:
    """Write the latents of a split, or of your own sequences, and say which arrays there are."""
    arrays = encode(run, _own(options.x, run) if options.x else None, options.split, options.first)
    write_arrays(options.out, arrays)
    return [*(f"{k:10} {v.dtype!s:8} {v.shape}" for k, v in arrays.items()), _written(options.out)]


def run_decode(run: Run, options: argparse.Namespace) -> Lines:
    """Write the frames that latents decode to."""
    frames = decode(run, read_array(options.latents, "t"))
    write_arrays(options.out, {"frames": frames})
    return [f"{'frames':10} {frames.dtype!s:8} {frames.shape}", _written(options.out)]


def _own(path: Path, run: Run) -> Sequences | Mapping[str, np.ndarray]:
    """Own sequences, with what an .npz knows of them; what else it holds, as of a split, is left."""
    if path.suffix != ".npz":
        return read_sequences(path, run.exp.closed)
    x = read_array(path, "x")
    with np.load(path, allow_pickle=False) as file:
        known = {"factors", "names", "labels"} & set(file.files)
    return {"x": x} | {key: read_array(path, key) for key in known}


def _written(path: Path) -> str:
    return f"{path}, {path.stat().st_size / 1e6:.2f} MB"


SHARED: Mapping[str, Callable[[Run, argparse.Namespace], Lines]] = {
    "pack": run_pack,
    "evaluate": run_evaluate,
    "encode": run_encode,
    "decode": run_decode,
}
WORDS = {
    "pack": "Write a trained run as one file to share, and measure what fewer bits cost",
    "evaluate": "Measure a trained run anew on this machine, beside the measures that it came with",
    "encode": "Write the latents of a trained run's sequences, or of your own, as arrays of numpy",
    "decode": "Write the frames that latents decode to, as an array of numpy",
}
