"""The options of run_all.sh, read without any package: a wrong one is refused before anything is set up."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tvae_core.validation import check_choice, obstacle, one_line, parse_setting, parse_whole

SCALES = ("smoke", "quick", "long", "paper")
DEVICES = ("auto", "cpu", "cuda", "mps")
PROFILES = Path(__file__).parents[2] / "notebooks" / "profiles"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(message)


def build_request_parser() -> argparse.ArgumentParser:
    """Return the parser; run_all.sh --help explains the options, before there is a Python to ask."""
    parser = _Parser(prog="run_all.sh", add_help=False, allow_abbrev=False)
    for option in ("--scale", "--only", "--seeds", "--jobs", "--data", "--executor"):
        parser.add_argument(option)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--list", action="store_true", dest="listed")
    return parser


def _profile(executor: str) -> Path:
    """The folder of a Snakemake profile: one of notebooks/profiles by its name, or the user's own."""
    own = sorted(path.parent.name for path in PROFILES.glob("*/config.yaml"))
    folder = PROFILES / executor if executor in own else Path(executor).expanduser().absolute()
    if not os.path.isfile(folder / "config.yaml"):  # False for a name that is too long
        raise ValueError(
            f"executor {executor!r} is not {' or '.join(own)}, nor a folder with a Snakemake profile"
        )
    return folder


def read_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options with numbers and lists read; ValueError in one sentence for a wrong one."""
    parser = build_request_parser()
    asked, rest = parser.parse_known_args(arguments)
    for argument in rest:
        if argument.startswith("-"):
            options = [option for action in parser._actions for option in action.option_strings]
            check_choice(argument.partition("=")[0], [*options, "--cpu", "--help"], "option")
        check_choice(argument, ["test", "lab"], "word")
        raise ValueError(f"{argument!r} must be the first word after run_all.sh")
    if asked.scale is not None:
        check_choice(asked.scale, SCALES, "scale")
    check_choice(asked.device, DEVICES, "device")
    for option in ("only", "data", "executor"):
        if getattr(asked, option) == "":  # as an unset variable of a shell leaves it
            raise ValueError(f"--{option} is given without a value")
    if asked.data and (place := obstacle(Path(asked.data).expanduser())):
        raise ValueError(f"--data is {asked.data}, but {place} is not a folder")
    asked.settings = dict(map(parse_setting, asked.set))
    asked.jobs = None if asked.jobs is None else parse_whole(asked.jobs, "--jobs", 1, 10_000)
    seeds = (
        [] if asked.seeds is None else [parse_whole(s, "seed", 0, 2**32 - 1) for s in asked.seeds.split(",")]
    )
    asked.seeds = list(dict.fromkeys(seeds))
    asked.data = asked.data and str(Path(asked.data).expanduser().absolute())
    asked.executor = asked.executor and str(_profile(asked.executor))
    asked.only = asked.only and list(dict.fromkeys(name.strip() for name in asked.only.split(",")))
    return asked


def main(arguments: Sequence[str], folder: Path = Path(__file__).parents[2] / "notebooks") -> int:
    """Return 2, with the sentence, for arguments that are wrong whatever the notebooks hold."""
    try:
        for name in read_options(arguments).only or []:
            check_choice(name, sorted(path.stem for path in folder.glob("*.ipynb")), "notebook")
    except ValueError as error:
        print(f"run_all.sh: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
