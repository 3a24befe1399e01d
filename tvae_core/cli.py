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

from tvae_core.arguments import build_parser, chosen_run, parse, read_exp
from tvae_core.data.own_files import read_sequences
from tvae_core.experiments import EXPERIMENTS
from tvae_core.files import write_json
from tvae_core.training.hardware import out_of_memory
from tvae_core.training.learner import DivergedError
from tvae_core.training.progress import PROGRESS_VARIABLE
from tvae_core.training.registry import open_run
from tvae_core.training.runs import Run
from tvae_core.training.share import SHARED, about_run
from tvae_core.training.summary import full_table, next_command, summary
from tvae_core.training.trainer import fit, fit_seeds
from tvae_core.training.warm_start import start_from
from tvae_core.validation import check_choice, one_line, parse_numbers


def run_experiment(arguments: Sequence[str]) -> int:
    """Train, resume or load one experiment, each seed of it, and print its measures."""
    parser = build_parser()
    options = parse(parser, arguments)
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
        own = options.sequences and read_sequences(options.sequences, exp.closed).describe()
        print(json.dumps(dataclasses.asdict(exp) | ({"own sequences": own} if own else {}), indent=1))
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

    options = parse(build_parser("bench"), arguments)
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
    options = parse(parser, arguments)
    check_output(options.out)
    if not math.isfinite(options.roll):
        raise ValueError(f"--roll is {options.roll}, but must be a finite number")
    images = parse_numbers(options.images or "0", "images")
    capsules = None if options.capsules == "all" else parse_numbers(options.capsules, "capsules")
    if options.name:  # fetched, if need be: another run is meant where they cannot be had
        exp = read_exp(options)
        exp.load_images(options.data)
        options.scale = exp.scale
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
    options = parse(parser, arguments)
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
        print(f"tvae: {one_line(error)}", file=sys.stderr)
        return 2
    except (OSError, DivergedError) as error:
        print(f"tvae: {one_line(error)}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        print(f"tvae: there is not enough memory for this; try less of {_LARGE}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"tvae: {str(stop) or 'stopped; ask again to go on'}", file=sys.stderr)
        return 130
