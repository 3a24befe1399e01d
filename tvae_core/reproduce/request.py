"""What run_all.sh is asked for: checked, or refused in one sentence that names the nearest right word."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch

from tvae_core.experiments import read_experiment
from tvae_core.files import DATA
from tvae_core.reproduce.notebooks import GIVEN, Notebook
from tvae_core.reproduce.options import read_options
from tvae_core.scales import default_scale
from tvae_core.training.hardware import choose_device
from tvae_core.training.registry import is_source, open_run
from tvae_core.training.runs import Run
from tvae_core.validation import MOST_NUMBERS, check_choice, check_number


@dataclass(frozen=True)
class Request:
    """What is asked for, checked."""

    chosen: list[Notebook]
    scale: str
    device: str = "auto"
    seeds: list[int] = field(default_factory=list)  # empty: each experiment's own
    jobs: int | None = None  # None: two on a CPU, one on a GPU, all at once by an executor
    executor: str | None = None  # the folder of a Snakemake profile that says where jobs run; None: here
    data: Path = DATA  # the folder that holds the data, or will
    changes: dict[str, object] = field(default_factory=dict)  # other values for notebooks' parameters
    force: bool = False
    listed: bool = False  # only to be named, not to be made
    broken: dict[str, str] = field(default_factory=dict)  # notebooks asked for that cannot be made, and why

    @property
    def parallel(self) -> int:
        """Return how many jobs run at a time: a single run or notebook keeps all threads to itself."""
        runs = {name for notebook in self.chosen for name in notebook.experiments(self.changes)}
        things = max(len(self.chosen), len(runs) * max(1, len(self.seeds)))
        if self.executor:
            return self.jobs or things
        most = 2 if choose_device(self.device).type == "cpu" else 1
        return self.jobs or min(most, things, torch.get_num_threads())


def read_request(
    arguments: Sequence[str],
    available: Mapping[str, Notebook],
    broken: Mapping[str, str] = MappingProxyType({}),
    copies: Mapping[str, str] = MappingProxyType({}),
) -> Request:
    """Return the request in these arguments; ValueError in one sentence for what cannot be.

    `broken` and `copies` say why a notebook cannot be made: asked for by name it is refused, and where
    everything is asked for the others are made. Packs among the experiments are opened: a URL is fetched
    once, and a path no longer depends on the folder that one stands in. OSError for one that cannot be had.
    """
    asked = read_options(arguments)
    scale = asked.scale or default_scale(choose_device(asked.device).type)
    reasons = {**broken, **copies}
    for name in asked.only or []:
        if name in reasons:
            raise ValueError(reasons[name])
    chosen = [available[check_choice(name, available, "notebook")] for name in asked.only or available]
    failing = {} if asked.only else dict(broken)
    _check_settings(asked.settings, chosen, scale)
    if "experiments" in asked.settings:
        asked.settings["experiments"] = _with_paths(asked.settings["experiments"])
    for notebook in list(chosen):
        if error := error_in_experiments(notebook, asked.settings, scale):
            if asked.only or "experiments" in asked.settings:
                raise ValueError(error)
            failing[notebook.name] = error
            chosen.remove(notebook)
    return Request(
        chosen,
        scale,
        changes=asked.settings,
        broken=failing,
        data=Path(asked.data) if asked.data else DATA,
        **{name: getattr(asked, name) for name in ("device", "seeds", "jobs", "executor", "force", "listed")},
    )


def _check_settings(settings: Mapping[str, object], chosen: Sequence[Notebook], scale: str) -> None:
    for key, value in settings.items():
        if key in GIVEN:
            raise ValueError(f"--set {key!r} is refused: an option or TVAE_HOME sets it, see --help")
        for notebook in chosen:
            check_choice(
                key, [p for p in notebook.parameters if p not in GIVEN], f"{notebook.name}: parameter"
            )
            _check_value(notebook, key, value, scale)


def _check_value(notebook: Notebook, key: str, value: object, scale: str) -> None:
    """Refuse a value that is not of the kind of the usual one; texts in a list name experiments."""
    parameter, usual = f"parameter {key!r}", notebook.parameters[key]
    _check_kind(f"{notebook.name}: {parameter}", value, usual)
    if isinstance(usual, list) and usual:
        if not value:
            raise ValueError(f"{notebook.name}: {parameter} is empty")
        for item in value:
            _check_kind(f"{notebook.name}: item of {parameter}", item, usual[0])
            if isinstance(item, str) and not (key == "experiments" and is_source(item)):  # a pack
                read_experiment(item, scale)


def _check_kind(what: str, value: object, usual: object) -> None:
    kind = type(usual)
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ValueError(f"{what} must be {kind.__name__}, not {value!r}")
    if kind is int:
        check_number(what, value, 0, MOST_NUMBERS)


def open_pack(text: object, folder: Path) -> Run | None:
    """Return the run of a pack that stands in place of an experiment; None for an experiment.

    folder: from which a path is seen that is not absolute. Raises what open_run raises.
    """
    if not (isinstance(text, str) and is_source(text)):
        return None
    return open_run(text if "://" in text else os.path.join(folder, os.path.expanduser(text)))


def _with_paths(texts: Sequence[object]) -> list[object]:
    """Experiments with each pack named by the path of its file."""
    packs = [open_pack(text, Path.cwd()) for text in texts]
    return [str(pack.folder.resolve()) if pack else text for text, pack in zip(texts, packs, strict=True)]


def error_in_experiments(notebook: Notebook, changes: Mapping[str, object], scale: str) -> str:
    """Return why the experiments of a notebook cannot be trained, or its packs opened; "" if they can."""
    texts = notebook.experiments(changes)
    if not isinstance(texts, list):
        return f"{notebook.name}: experiments must be a list, not {texts!r}"
    try:
        for text in texts:
            open_pack(text, notebook.path.parent) or read_experiment(text, scale)
    except (ValueError, TypeError, AttributeError, OSError) as error:
        return f"{notebook.name}: {error}"
    return ""
