"""The `tvae` command: train one experiment, export its rolls, or time a training step."""

import argparse
import dataclasses
import json
import logging
import math
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tvae_core.config import SCALES, Experiment, default_scale
from tvae_core.experiments import EXPERIMENTS, read_experiment
from tvae_core.files import DATA, RUNS, write_json
from tvae_core.training.hardware import choose_device, out_of_memory
from tvae_core.training.learner import DivergedError
from tvae_core.training.progress import PROGRESS_VARIABLE
from tvae_core.training.registry import open_run
from tvae_core.training.runs import Run, plan
from tvae_core.training.share import FROM, SHARED, WORDS, about_run, add_options
from tvae_core.training.summary import full_table, next_command, summary
from tvae_core.training.trainer import fit, fit_seeds
from tvae_core.training.warm_start import start_from
from tvae_core.validation import check_choice, parse_numbers, parse_setting


def _seeds(text: str) -> list[int]:
    try:
        return parse_numbers(text, "seeds")
    except ValueError as error:  # argparse would name this function instead
        raise argparse.ArgumentTypeError(error) from error


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of a command, "" for training: the options that all share, then its own."""
    parser = argparse.ArgumentParser(f"tvae {command}".strip(), description=_WORDS[command], epilog=_EPILOG)
    add = parser.add_argument
    named = {"nargs": "?", "metavar": "NAME"} if command == "pack" else {}
    words = "the experiment, e.g. 'tvae_Lpartial_mnist' or '… n_off_diag=2'"
    usual = "tvae_Lpartial_mnist" if command == "bench" else None
    add("name" if named else "--name", default=usual, help=words, **named)
    if command != "bench":
        add("--from", dest="source", help=FROM)
    add("--scale", help="smoke, quick, long or paper (default: paper with a CUDA GPU, else quick)")
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change any option")
    add("--data", type=Path, default=DATA, metavar="DIR", help="where downloaded data lie")
    if command == "bench":
        add("--seeds", type=_whole, default=1, metavar="N", help="so many models trained at once")
        add("--runs", type=_whole, default=3, metavar="N", help="measurements, of which the median counts")
        add("--json", type=Path, metavar="FILE", help="write the numbers there too")
        return parser
    add("--runs", type=Path, default=RUNS, metavar="DIR", help="where runs are kept")
    add("--seed", type=_seeds, default=[], metavar="N", help="default: the experiment's own")
    if command == "export":
        add("--out", type=Path, required=True, metavar="FILE", help="ends in .html, .gif, .png or .mp4")
        add("--live", action="store_true", help="a page that holds the model: draw a digit and roll it")
        add("--images", metavar="N", help="places in the test split, one a transformation (default: 0)")
        add("--transformation", default="", metavar="NAME", help="this one alone, of all images")
        add("--capsules", default="all", metavar="N", help="the capsules that roll, for example 0,3-5")
        add("--roll", type=float, default=0.0, metavar="δ", help="the roll that a picture shows")
        return parser
    if command in SHARED:
        add_options(command, add)
        return parser
    add("--all", action="store_true", help="print every measure")
    add("--list", action="store_true", help="name the sixteen experiments")
    add("--show-config", action="store_true", help="print the options and stop")
    return parser


_WORDS = {
    "": "Train, resume or load one experiment; --seed 1,2,3 for several seeds",
    "bench": "Time a training step, data included, beside the floor that the machine sets",
    "export": "Write the rolls of a run, trained if need be, as a page, animation, film or picture",
    **WORDS,
}
_EPILOG = "Other commands, each with --help: tvae bench, export, pack, evaluate, encode, decode"


def read_exp(options: argparse.Namespace) -> Experiment:
    """Return the experiment that the options name, at their scale and with their changes and first seed.

    Raises ValueError for an unknown name, scale, key or device, and for a value that is not allowed.
    """
    scale = options.scale
    if scale is None:
        device = choose_device(options.device).type
        scale = default_scale(device)
        print(f"scale {scale}, since the device is {device} (--scale changes that)", file=sys.stderr)
    exp = read_experiment(options.name, check_choice(scale, SCALES, "scale"))
    exp = exp.with_options(**dict(map(parse_setting, options.set)))
    seeds = getattr(options, "seed", [])
    return exp.with_options(seed=seeds[0]) if seeds else exp


def chosen_run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> Run:
    """Return the run that `--from` opens or that the other options name, complete or not; parser: for usage.

    Raises ValueError for a wrong name, or for more than one run, and what open_run raises.
    """
    if options.source:
        if options.name or options.scale or options.set or options.seed:
            raise ValueError("--from names a whole run, so it goes with no name, --scale, --set or --seed")
        return open_run(options.source, options.data)
    if not options.name:
        parser.error("a name or --from is needed (tvae --list shows the names)")
    if len(options.seed) > 1:
        raise ValueError(f"--seed names {len(options.seed)} seeds, but one run is wanted")
    return plan(read_exp(options), options.device, options.runs, options.data)


def run_experiment(arguments: Sequence[str]) -> int:
    """Train, resume or load one experiment, each seed of it, and print its measures."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.list:
        width = max(map(len, EXPERIMENTS))
        print("\n".join(f"{exp.name:{width}}  {exp.shows}" for exp in EXPERIMENTS.values()))
        return 0
    opened = None if options.name else chosen_run(options, parser)
    exp = opened.exp if opened else read_exp(options)
    if options.name and options.source:
        kept = None if options.show_config else options.runs
        exp = start_from(exp, open_run(options.source, options.data), kept)
    if options.show_config:
        print(json.dumps(dataclasses.asdict(exp), indent=1))
        return 0
    if opened:
        print(*about_run(opened, options.all), sep="\n")
        return 0
    seeds = options.seed or [exp.seed]
    bars = PROGRESS_VARIABLE not in os.environ  # run_all.sh has a display of its own
    for run in fit_seeds(exp, seeds, options.device, options.runs, options.data, bars):
        print(full_table(run) if options.all else summary(run), run.folder, sep="\n", end="\n\n")
    print(next_command(run), *[] if options.all else ["Every measure: --all"], sep="\n")
    return 0


def run_bench(arguments: Sequence[str]) -> int:
    """Time a training step, print the numbers, and write them if asked to."""
    from tvae_core.benchmark.step_time import bench, bench_lines  # pandas: not for every command

    options = build_parser("bench").parse_args(arguments)
    options.scale = options.scale or "quick"
    exp = read_exp(options)
    result = bench(exp, device_name=options.device, runs=options.runs, data=options.data, seeds=options.seeds)
    print("\n".join(bench_lines(result)))
    if options.json:
        write_json(options.json, result)
    return 0


def run_export(arguments: Sequence[str]) -> int:
    """Write the rolls of a run in the format that the suffix names."""
    from tvae_core.explorer.export import animate, check_output, export  # widgets: not for every command

    parser = build_parser("export")
    options = parser.parse_args(arguments)
    check_output(options.out)
    if not math.isfinite(options.roll):
        raise ValueError(f"--roll is {options.roll}, but must be a finite number")
    images = parse_numbers(options.images or "0", "images")
    capsules = None if options.capsules == "all" else parse_numbers(options.capsules, "capsules")
    run, chosen = chosen_run(options, parser), (images, options.transformation, capsules)
    if options.live:
        return export_live(run, options)
    if not options.source:
        run.__dict__["model"] = run.exp.build_model().eval()
        animate(run, *chosen).rolls[0].at(options.roll)  # refuses now what there is not, before training
    path = export(animate(trained(run, options), *chosen), options.out, options.roll)
    print(f"{path}, {path.stat().st_size / 1e6:.2f} MB")
    return 0


def trained(run: Run, options: argparse.Namespace) -> Run:
    """Return the run, trained if need be, or as `--from` opened it."""
    if options.source:
        return run
    options.scale = run.exp.scale
    return fit(read_exp(options), options.device, options.runs, options.data)


def export_live(run: Run, options: argparse.Namespace) -> int:
    """Write the page that computes (explorer.live), of one digit of each class unless images are named."""
    from tvae_core.explorer.live import check_live, save_live_page  # widgets: not for every command

    if options.transformation or options.capsules != "all" or options.roll:
        raise ValueError("--live goes with no --transformation, --capsules or --roll: the page has them all")
    images = parse_numbers(options.images, "images") if options.images else None
    check_live(run, options.out, images)  # before training
    path = save_live_page(trained(run, options), options.out, images)
    print(f"{path}, {path.stat().st_size / 1e6:.2f} MB")
    return 0


def run_shared(command: str, arguments: Sequence[str]) -> int:
    """Run a command that needs a trained run and trains none (training.share)."""
    parser = build_parser(command)
    options = parser.parse_args(arguments)
    run = chosen_run(options, parser)
    if not run.complete:
        raise FileNotFoundError(f"{run} is not trained in {options.runs}; train it with tvae --name")
    print(*SHARED[command](run, options), sep="\n")
    return 0


_LARGE = "batch_size, n_caps, cap_dim, eval_sequences or n_is_samples"
# by the first word; without one it is an experiment
COMMANDS = {"bench": run_bench, "export": run_export, **{c: partial(run_shared, c) for c in SHARED}}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    2 with one sentence for a wrong value, 1 for a file, network or memory that fails and for a training that
    diverges, 130 when interrupted.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("tvae_core").setLevel(logging.INFO)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments and not arguments[0].startswith("-"):
            return COMMANDS[check_choice(arguments[0], COMMANDS, "command")](arguments[1:])
        return run_experiment(arguments)
    except ValueError as error:
        print(f"tvae: {error}", file=sys.stderr)
        return 2
    except (OSError, DivergedError) as error:
        print(f"tvae: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        print(f"tvae: there is not enough memory for this; try less of {_LARGE}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"tvae: {str(stop) or 'stopped; ask again to go on'}", file=sys.stderr)
        return 130
