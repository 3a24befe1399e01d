"""The `tvae` command: one experiment from the terminal."""

import argparse
import dataclasses
import json
import logging
import sys
from pathlib import Path

from tvae_core.benchmark.step_time import bench, bench_lines
from tvae_core.config import SCALES, Experiment, default_scale
from tvae_core.experiments import EXPERIMENTS, read_experiment
from tvae_core.explorer.export import FORMATS, animate, export
from tvae_core.files import DATA, RUNS, write_json
from tvae_core.measures.catalog import flat
from tvae_core.training.hardware import choose_device
from tvae_core.training.runs import Run
from tvae_core.training.trainer import fit, fit_seeds
from tvae_core.validation import check_choice, parse_numbers, parse_setting


def seeds(text: str) -> list[int]:
    """Seeds such as 1,2,3. ValueError, which argparse answers, for anything else."""
    return parse_numbers(text, "seeds")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; argparse answers unknown options with exit code 2."""
    parser = argparse.ArgumentParser(
        "tvae",
        description="Train, resume or load one experiment",
        epilog="tvae bench --help: the speed of this machine; tvae export --help: rolls to take along",
    )
    parser.add_argument(
        "--name", help="the experiment, e.g. tvae_Lpartial_mnist, or 'tvae_Lpartial_mnist n_off_diag=2'"
    )
    parser.add_argument(
        "--scale", help="smoke, quick, long or paper (default: paper with a CUDA GPU, else quick)"
    )
    parser.add_argument(
        "--seed",
        type=seeds,
        metavar="N",
        help="default: the experiment's own; several, 1,2,3, are trained "
        "one after another, and at once on a CUDA GPU",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change any option")
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help="where runs are kept")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="where downloaded data lie")
    parser.add_argument("--list", action="store_true", help="name the sixteen experiments")
    parser.add_argument("--show-config", action="store_true", help="print the options and stop")
    parsed = parser.parse_args(arguments)
    if not parsed.list and not parsed.name:
        parser.error("--name is needed (--list shows the names)")
    return parsed


def changed(exp: Experiment, settings: list[str]) -> Experiment:
    """The experiment with `key=value` settings applied; values are read as Python, or else as text.

    Raises ValueError for an unknown key, a value of another type, or one that is not allowed.
    """
    options = dict(parse_setting(setting) for setting in settings)
    return exp.with_options(**options)


def pick_scale(name: str | None, name_of_device: str) -> str:
    """The scale asked for, or `paper` with a GPU and `quick` without, said on standard error."""
    if name is not None:
        return check_choice(name, SCALES, "scale")
    device = choose_device(name_of_device)
    scale = default_scale(device.type)
    print(f"scale {scale}, since the device is {device.type} (--scale changes that)", file=sys.stderr)
    return scale


def table(run: Run) -> str:
    """The measures of a run in columns, beside the untrained control and chance level."""
    rows = {name: flat(row) for name, row in run.results.items()}
    lines = [f"{'measure':28}" + "".join(f"{name:>12}" for name in rows)]
    for measure in rows["trained"]:
        values = [row.get(measure) for row in rows.values()]
        cells = [
            "–" if v is None else f"{v:,.0f}" if v == int(v) or abs(v) >= 1000 else f"{v:.2f}" for v in values
        ]
        lines.append(f"{measure:28}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


def parse_bench(arguments: list[str]) -> argparse.Namespace:
    """The command line of `tvae bench`."""
    words = "Time a training step, data included, beside the floor that the machine sets"
    parser = argparse.ArgumentParser("tvae bench", description=words)
    parser.add_argument("--name", default="tvae_Lpartial_mnist", help="the experiment")
    parser.add_argument(
        "--scale", default="quick", help="smoke, quick, long or paper: whose batch and optimizer"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change any option")
    parser.add_argument("--seeds", type=int, default=1, help="so many models trained at once")
    parser.add_argument("--runs", type=int, default=3, help="measurements of each number; the median counts")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="where downloaded data lie")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    return parser.parse_args(arguments)


def run_bench(arguments: list[str]) -> int:
    """`tvae bench`: print the measurement, and write it if asked to."""
    options = parse_bench(arguments)
    for option in ("runs", "seeds"):
        if getattr(options, option) < 1:
            raise ValueError(f"--{option} is {getattr(options, option)}, but must be at least 1")
    exp = changed(read_experiment(options.name, options.scale), options.set)
    result = bench(exp, device_name=options.device, runs=options.runs, data=options.data, seeds=options.seeds)
    print("\n".join(bench_lines(result)))
    if options.json:
        write_json(options.json, result)
    return 0


def run_experiment(arguments: list[str] | None) -> int:
    """`tvae --name …`: train, resume or load one experiment and print its measures."""
    options = parse(arguments)
    if options.list:
        width = max(map(len, EXPERIMENTS))
        print("\n".join(f"{exp.name:{width}}  {exp.shows}" for exp in EXPERIMENTS.values()))
        return 0
    exp = read_experiment(options.name, pick_scale(options.scale, options.device))
    exp = changed(exp, options.set)
    seeds = options.seed or [exp.seed]
    exp = exp.with_options(seed=seeds[0])
    if options.show_config:
        print(json.dumps(dataclasses.asdict(exp), indent=1))
        return 0
    for run in fit_seeds(exp, seeds, options.device, options.runs, options.data):
        print(f"seed {run.exp.seed}\n" * (len(seeds) > 1) + table(run))
        about = f"data: {run.provenance['data']}"
        print(f"nats a frame (E_eq: a sequence); – not defined; {about}")
        print(run.folder)
    return 0


def parse_export(arguments: list[str]) -> argparse.Namespace:
    """The command line of `tvae export`."""
    words = "Write the rolls of a run, trained if need be, as a page, an animation, a film or a picture"
    parser = argparse.ArgumentParser("tvae export", description=words)
    parser.add_argument("--name", required=True, help="the experiment")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=f"ends in {', '.join(FORMATS)}"
    )
    parser.add_argument("--scale", help="smoke, quick or paper (default: paper with a CUDA GPU, else quick)")
    parser.add_argument("--seed", type=int, help="default: the experiment's own")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps: where it is trained")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change any option")
    parser.add_argument(
        "--images",
        default="0",
        help="places in the test split, one for each transformation, or all for the only one",
    )
    parser.add_argument("--transformation", default="", help="this one alone (default: each of the data)")
    parser.add_argument("--capsules", default="all", help="those that roll, for example 0,3-5")
    parser.add_argument("--roll", type=float, default=0.0, metavar="δ", help="where a picture stands")
    parser.add_argument("--runs", type=Path, default=RUNS, metavar="DIR", help="where runs are kept")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="where downloaded data lie")
    return parser.parse_args(arguments)


def run_export(arguments: list[str]) -> int:
    """`tvae export`: write the rolls of a run in the format that the suffix names."""
    options = parse_export(arguments)
    check_choice(options.out.suffix.lower(), FORMATS, "suffix")
    exp = changed(read_experiment(options.name, pick_scale(options.scale, options.device)), options.set)
    images, capsules = parse_numbers(options.images, "images"), None
    if options.capsules != "all":
        capsules = parse_numbers(options.capsules, "capsules", exp.n_caps)
    exp = exp if options.seed is None else exp.with_options(seed=options.seed)
    run = fit(exp, options.device, options.runs, options.data)
    path = export(animate(run, images, options.transformation, capsules), options.out, options.roll)
    print(f"{path}, {path.stat().st_size / 1e6:.2f} MB")
    return 0


COMMANDS = {
    "bench": run_bench,
    "export": run_export,
}  # by the first word; without one of these it is an experiment


def main(arguments: list[str] | None = None) -> int:
    """Run the command; exit code 2 with one sentence for a wrong value, 1 for a file or
    a network that fails, 130 when interrupted."""
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
    except OSError as error:
        print(f"tvae: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(f"tvae: {str(stop) or 'stopped while measuring; ask again to go on'}", file=sys.stderr)
        return 130
