"""What run_all.sh is asked for: checked, or refused in one sentence that names the nearest right word."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tvae_core.config import SCALES, default_scale
from tvae_core.experiments import read_experiment
from tvae_core.reproduce.notebooks import GIVEN, Notebook
from tvae_core.training.hardware import choose_device
from tvae_core.validation import check_choice, parse_setting


@dataclass(frozen=True)
class Request:
    """What is asked for, checked."""

    chosen: list[Notebook]
    scale: str
    device: str = "auto"
    seeds: list[int] = field(default_factory=list)  # empty: each experiment's own
    jobs: int | None = None  # None: two on a CPU, one on a GPU
    data: str | None = None
    changes: dict[str, object] = field(default_factory=dict)  # other values for notebooks' parameters
    force: bool = False
    listed: bool = False  # only to be named, not to be made

    @property
    def parallel(self) -> int:
        """How many jobs at a time: a single run or notebook keeps all threads to itself."""
        runs = {name for notebook in self.chosen for name in notebook.experiments(self.changes)}
        things = max(len(self.chosen), len(runs) * max(1, len(self.seeds)))
        most = 2 if choose_device(self.device).type == "cpu" else 1
        return self.jobs or min(most, things, torch.get_num_threads())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str):
        raise ValueError(message)


def build_parser() -> argparse.ArgumentParser:
    """The options; run_all.sh --help explains them, before there is a Python to ask."""
    parser = _Parser(prog="run_all.sh", add_help=False, allow_abbrev=False)
    for option in ("--scale", "--only", "--seeds", "--jobs", "--data"):
        parser.add_argument(option)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--force", action="store_true")
    parser.add_argument("--list", action="store_true")
    return parser


def _whole(text: str, what: str, least: int) -> int:
    if not text.strip().isdecimal() or int(text) < least:
        raise ValueError(f"{what} {text!r} is not a whole number from {least} up")
    return int(text)


def _change(text: str, chosen: Sequence[Notebook]) -> tuple[str, object]:
    """Parameter and value from KEY=VALUE, for a parameter of that type in every chosen notebook."""
    key, value = parse_setting(text)
    if key in GIVEN:
        raise ValueError(f"--set {key!r} is refused: an option or TVAE_HOME sets it, see --help")
    for notebook in chosen:
        check_choice(key, [p for p in notebook.parameters if p not in GIVEN], f"{notebook.name}: parameter")
        kind = type(notebook.parameters[key])
        if not isinstance(value, (int, float) if kind is float else kind):
            raise ValueError(f"{notebook.name}: parameter {key!r} must be {kind.__name__}, not {value!r}")
    return key, value


def _refuse_unknown(rest: Sequence[str], parser: argparse.ArgumentParser) -> None:
    options = [word.strip("[]") for word in parser.format_usage().split() if word.startswith("[--")]
    for argument in rest:
        if argument.startswith("-"):
            check_choice(argument.partition("=")[0], [*options, "--help"], "option")
        check_choice(argument, ["test", "lab"], "word")
        raise ValueError(f"{argument!r} must be the first word after run_all.sh")


def read_request(arguments: Sequence[str], available: Mapping[str, Notebook]) -> Request:
    """The request in these arguments; ValueError in one sentence for what cannot be."""
    parser = build_parser()
    asked, rest = parser.parse_known_args(arguments)
    _refuse_unknown(rest, parser)
    names = list(available) if asked.only is None else [name.strip() for name in asked.only.split(",")]
    chosen = [available[check_choice(name, available, "notebook")] for name in dict.fromkeys(names)]
    scale = asked.scale or default_scale(choose_device(asked.device).type)
    seeds = [] if asked.seeds is None else [_whole(s, "seed", 0) for s in asked.seeds.split(",")]
    request = Request(
        chosen=chosen,
        scale=check_choice(scale, SCALES, "scale"),
        device=asked.device,
        seeds=list(dict.fromkeys(seeds)),
        jobs=None if asked.jobs is None else _whole(asked.jobs, "--jobs", 1),
        data=asked.data and str(Path(asked.data).expanduser().absolute()),
        changes=dict(_change(text, chosen) for text in asked.set),
        force=asked.force,
        listed=asked.list,
    )
    for notebook in chosen:
        _refuse_what_cannot_be_trained(notebook, request)
    return request


def _refuse_what_cannot_be_trained(notebook: Notebook, request: Request) -> None:
    for text in notebook.experiments(request.changes):
        try:
            read_experiment(text, request.scale)
        except ValueError as error:
            raise ValueError(f"{notebook.name}: {error}") from error
