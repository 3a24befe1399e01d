"""The arguments of the `tvae` command, and the experiment or run that they name."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tvae_core.config import Experiment
from tvae_core.experiments import own_experiment, read_experiment, write_experiment
from tvae_core.files import DATA, RUNS
from tvae_core.scales import SCALES, default_scale
from tvae_core.training.hardware import choose_device
from tvae_core.training.registry import open_run
from tvae_core.training.runs import Run, plan
from tvae_core.training.share import FROM, SHARED, WORDS, add_options
from tvae_core.validation import (
    check_choice,
    check_place,
    obstacle,
    one_line,
    parse_numbers,
    parse_setting,
    parse_whole,
)

MOST_MODELS = 1000  # measurements of bench, and models at once


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        super().error(one_line(ValueError(message)))


def _seeds(text: str) -> list[int]:
    try:
        return parse_numbers(text, "seeds")
    except ValueError as error:  # argparse would name this function instead
        raise argparse.ArgumentTypeError(error) from error


def _count(text: str) -> int:
    try:
        return parse_whole(text, "count", 1, MOST_MODELS)
    except ValueError as error:
        raise argparse.ArgumentTypeError(error) from error


def _path(text: str) -> Path:
    """A path; a shell leaves the ~ of --out=~/x as it is, and an unset variable is no path."""
    if not text:
        raise argparse.ArgumentTypeError("a path is empty")
    return Path(os.path.expanduser(text))


def build_parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of a command, "" for training: the options that all share, then its own."""
    parser = _Parser(f"tvae {command}".strip(), description=_WORDS[command], epilog=_EPILOG)
    add = parser.add_argument
    named = {"nargs": "?", "metavar": "NAME"} if command == "pack" else {}
    words = "the experiment, e.g. 'tvae_Lpartial_mnist' or '… n_off_diag=2'"
    usual = "tvae_Lpartial_mnist" if command == "bench" else None
    add("name" if named else "--name", default=usual, help=words, **named)
    if command != "bench":
        add("--from", dest="source", help=FROM)
    add("--sequences", type=_path, metavar="PATH", help="your own in place of a name: .npz, .npy or a folder")
    add("--scale", help="smoke, quick, long or paper (default: paper with a CUDA GPU, else quick)")
    add("--device", default="auto", help="auto, cpu, cuda or mps")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="change any option")
    add("--data", type=_path, default=DATA, metavar="DIR", help="where downloaded data lie")
    if command == "bench":
        add("--seeds", type=_count, default=1, metavar="N", help="so many models trained at once")
        add("--runs", type=_count, default=3, metavar="N", help="measurements, of which the median counts")
        add("--json", type=_path, metavar="FILE", help="write the numbers there too")
        return parser
    add("--runs", type=_path, default=RUNS, metavar="DIR", help="where runs are kept")
    add("--seed", type=_seeds, default=[], metavar="N", help="default: the experiment's own")
    if command == "export":
        add("--out", type=_path, required=True, metavar="FILE", help="ends in .html, .gif, .png or .mp4")
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


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; own sequences are stored, and become a name as read_experiment reads it.

    Raises ValueError for a device or a path that cannot be, and for sequences that cannot be used, OSError
    for files.
    """
    options = parser.parse_args(arguments)
    choose_device(options.device)
    for option in ("data", "runs"):
        if isinstance(folder := getattr(options, option), Path) and (place := obstacle(folder)):
            raise ValueError(f"--{option} is {folder}, but {place} is not a folder")
    for path in (getattr(options, option, None) for option in ("out", "json")):
        if path is not None:
            check_place(path)
    if options.sequences:
        if options.name not in (None, parser.get_default("name")):
            raise ValueError(f"--sequences goes without a name, but {options.name!r} is given too")
        closed = dict(map(parse_setting, options.set)).get("closed")
        folder = None if getattr(options, "show_config", False) else options.data
        name = re.sub(r"\W+", "_", Path(os.path.abspath(options.sequences)).stem)[:99]
        options.name = write_experiment(own_experiment(options.sequences, name, "smoke", folder, closed))
    return options


def read_exp(options: argparse.Namespace) -> Experiment:
    """Return the experiment that the options name, at their scale and with their changes and first seed.

    Raises ValueError for an unknown name, scale, key or device, and for a value that is not allowed.
    """
    scale = options.scale
    if scale is None:
        device = choose_device(options.device).type
        scale = default_scale(device)
        print(f"scale {scale}, since the device is {device} (--scale changes that)", file=sys.stderr)
    exp = read_experiment(options.name, check_choice(scale, SCALES, "scale"), options.set)
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
        parser.error("a name, --from or --sequences is needed (tvae --list shows the names)")
    if len(options.seed) > 1:
        raise ValueError(f"--seed names {len(options.seed)} seeds, but one run is wanted")
    return plan(read_exp(options), options.device, options.runs, options.data)
