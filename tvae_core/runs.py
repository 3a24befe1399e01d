"""Where a run lives: a folder named by the hash of what determines it, never half written."""

import dataclasses
import hashlib
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tvae_core.devices import choose_device, choose_precision, describe
from tvae_core.experiments import Experiment
from tvae_core.model import TVAE
from tvae_core.paths import DATA, RUNS
from tvae_core.variants import label

RECIPE = 1  # to be raised when the same configuration is trained or measured differently by newer code

_CHECKPOINT = "checkpoint.safetensors"
# What a run is called and where its images came from do not determine it; the images themselves do.
_NOT_DETERMINING = ("shows", "scale", "source", "wandb_on")


def identity(exp: Experiment, data_key: str) -> str:
    """Twelve hexadecimal digits that two runs share only if they are the same run."""
    config = {k: v for k, v in dataclasses.asdict(exp).items() if k not in _NOT_DETERMINING}
    config |= {"data_key": data_key, "recipe": RECIPE}
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def provenance(device: torch.device, data_source: str, seconds: float) -> dict[str, object]:
    """How a result came about: versions, commit, device, data, duration of the training in seconds."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    described = subprocess.run(git, capture_output=True, text=True, check=False)
    packages = ("tvae_core", "torch", "torchvision", "numpy")
    return {
        "data": data_source,
        "commit": described.stdout.strip() or None,
        "device": describe(device),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
        "seconds": round(seconds, 1),
    }


@dataclass(frozen=True)
class Run:
    """One experiment, one seed: its folder and what lies there."""

    exp: Experiment  # with precision and seed as resolved
    seed: int
    folder: Path

    @property
    def label(self) -> str:
        """The experiment's name, and the options in which this one is a variant of it (variants.label)."""
        return label(self.exp)

    def _read(self, name: str) -> object:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @property
    def complete(self) -> bool:
        """Whether the run was trained and measured; results.json is written last."""
        return (self.folder / "results.json").is_file()

    @cached_property
    def results(self) -> dict[str, dict[str, object]]:
        """The measures, as rows `trained` and `untrained` (evaluate) and `chance`."""
        return self._read("results.json")

    @cached_property
    def history(self) -> list[dict[str, int | float]]:
        """Loss terms in nats a frame, over steps and seconds."""
        return self._read("history.json")

    @cached_property
    def provenance(self) -> dict[str, object]:
        """Where, when and with what the run was trained."""
        return self._read("provenance.json")

    def load_model(self, device: torch.device | str = "cpu") -> TVAE:
        """The trained model, in evaluation mode."""
        model = self.exp.build_model(self.seed)
        tensors = load_file(self.folder / _CHECKPOINT)
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        )
        return model.to(device).eval()

    def save_checkpoint(self, tensors: dict[str, Tensor], **progress: object) -> None:
        """Replace the checkpoint; `progress` (JSON values) goes into its header, so the two cannot differ."""
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".{_CHECKPOINT}"  # one name: a killed writer leaves one file at most
        contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        save_file(contiguous, unfinished, metadata={"progress": json.dumps(progress)})
        os.replace(unfinished, self.folder / _CHECKPOINT)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, object]] | None:
        """The tensors and the progress of an interrupted run, None where there is none."""
        path = self.folder / _CHECKPOINT
        if not path.is_file():
            return None
        with safe_open(path, "pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, json.loads(file.metadata()["progress"])  # noqa: SIM118


def find_run(
    exp: Experiment, seed: int | None = None, device: str = "auto", runs: Path | str = RUNS, data: Path = DATA
) -> Run:
    """The run of this experiment and seed (the experiment's own if None), whether or not it exists yet.

    Finding it means knowing the data, so it may fetch them into the folder `data`. Raises ValueError for
    a device that is not there.
    """
    seed = exp.seed if seed is None else seed
    precision = str(choose_precision(exp.precision, choose_device(device))).removeprefix("torch.")
    exp = exp.having(precision=precision, seed=seed)
    digits = identity(exp, exp.load_images(data).key)
    return Run(exp, seed, Path(runs).expanduser() / f"{exp.name}-{digits}")
