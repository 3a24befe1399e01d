"""Where a run lives: a folder named by the hash of what determines it, never half written."""

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.data.dsprites import SpriteSequences
from tvae_core.data.mnist import DigitSequences
from tvae_core.experiments import title, write_experiment
from tvae_core.files import DATA, RUNS
from tvae_core.model.tvae import TVAE
from tvae_core.training.hardware import choose_device, choose_precision, describe, peak_device_memory
from tvae_core.training.provenance import peak_memory, software

Sequences = DigitSequences | SpriteSequences
CPU = torch.device("cpu")

RECIPE = 3  # to be raised when the same configuration is trained or measured differently by newer code

log = logging.getLogger("tvae_core")

_CHECKPOINT = "checkpoint.safetensors"
_PER_SEQUENCE = "per_sequence.safetensors"
# What a run is called and where its images came from do not determine it; the images themselves do.
_NOT_DETERMINING = ("shows", "scale", "source", "wandb_on")


def identity(exp: Experiment, data_key: str) -> str:
    """Twelve hexadecimal digits that two runs share only if they are the same run."""
    config = {k: v for k, v in dataclasses.asdict(exp).items() if k not in _NOT_DETERMINING}
    config |= {"data_key": data_key, "recipe": RECIPE}
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]


def provenance(device: torch.device, data_source: str, seconds: float) -> dict[str, object]:
    """How a result came about: data, device, commit, versions, seconds of training, and bytes of memory.

    The peaks are those of this process, so after an interruption those of the rest.
    """
    return {
        "data": data_source,
        "device": describe(device),
        **software(),
        "seconds": round(seconds, 1),
        "peak_memory": peak_memory(),
        "peak_device_memory": peak_device_memory(device),
    }


@dataclass(frozen=True)
class Splits:
    """The sequences of an experiment on one device, each split made when it is first asked for."""

    exp: Experiment
    folder: Path  # of downloaded data
    device: torch.device

    @cached_property
    def train(self) -> Sequences:
        """The sequences trained on."""
        return self._build("train")

    @cached_property
    def validation(self) -> Sequences:
        """The sequences looked at while training."""
        return self._build("validation")

    @cached_property
    def test(self) -> Sequences:
        """The sequences measured on."""
        return self._build("test")

    def _build(self, split: str) -> Sequences:
        return self.exp.build_sequences(split, self.exp.seed, self.device, self.folder)


@dataclass(frozen=True)
class Run:
    """One experiment with one seed: its folder and what lies there (plan)."""

    exp: Experiment  # its precision and source resolved
    folder: Path
    device: torch.device = CPU  # on which it is trained
    data_folder: Path = DATA

    @property
    def label(self) -> str:
        """The experiment for machines: its name and changed options, as `read_experiment` reads them."""
        return write_experiment(self.exp)

    @property
    def title(self) -> str:
        """The model for people, for example `TVAE, L = 13/36 S`."""
        return title(self.exp)

    def __str__(self) -> str:
        return f"{self.label}, scale {self.exp.scale}, seed {self.exp.seed}"

    @cached_property
    def data(self) -> Splits:
        """The splits of the data, on the CPU."""
        return Splits(self.exp, self.data_folder, CPU)

    @cached_property
    def model(self) -> TVAE:
        """The trained model in evaluation mode, on the CPU; read once."""
        return self.load_model()

    def _read(self, name: str) -> object:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @property
    def complete(self) -> bool:
        """Whether the run was trained and measured; results.json is written last."""
        return all((self.folder / name).is_file() for name in (_PER_SEQUENCE, "results.json"))

    @cached_property
    def results(self) -> dict[str, dict[str, object]]:
        """The measures, as rows `trained` and `untrained` (evaluate) and `chance`."""
        return self._read("results.json")

    def per_sequence(self, kind: str) -> dict[str, Tensor]:
        """What the measures of a row, `trained` or `untrained`, are made of: one value a test sequence.

        Keys as evaluation.measure has them, each (n,).
        """
        tensors = load_file(self.folder / _PER_SEQUENCE)
        return {k.partition(".")[2]: v for k, v in tensors.items() if k.startswith(f"{kind}.")}

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
        model = self.exp.build_model()
        tensors = load_file(self.folder / _CHECKPOINT)
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        )
        return model.to(device).eval()

    def save_checkpoint(self, tensors: dict[str, Tensor], **progress: object) -> None:
        """Replace the checkpoint; `progress` (JSON values) goes into its header, so the two cannot differ."""
        self._save(_CHECKPOINT, tensors, {"progress": json.dumps(progress)})

    def save_per_sequence(self, **rows: dict[str, Tensor]) -> None:
        """Keep what `per_sequence` reads, for each row by its name."""
        self._save(_PER_SEQUENCE, {f"{kind}.{k}": v for kind, row in rows.items() for k, v in row.items()})

    def _save(self, name: str, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f".{name}"  # one name: a killed writer leaves one file at most
        contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        save_file(contiguous, unfinished, metadata=metadata)
        os.replace(unfinished, self.folder / name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the folder, which is made if need be; wait while they keep it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("%s is being trained by another process: waiting for it", self.folder.name)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, object]] | None:
        """The tensors and the progress of an interrupted run, None where there is none."""
        path = self.folder / _CHECKPOINT
        if not path.is_file():
            return None
        with safe_open(path, "pt") as file:
            return {k: file.get_tensor(k) for k in file.keys()}, json.loads(file.metadata()["progress"])  # noqa: SIM118


def plan(exp: Experiment, device: str = "auto", runs: Path | str = RUNS, data: Path = DATA) -> Run:
    """Return the run of an experiment, whether or not it exists yet: all that is left open is decided here.

    That is the device, the precision that `auto` means on it, and the source of the images that `auto`
    means with this folder `data`; nothing is fetched. Raises ValueError for a device that is not there.
    """
    chosen = choose_device(device)
    precision = str(choose_precision(exp.precision, chosen)).removeprefix("torch.")
    source, key = exp.find_images(data)
    exp = exp.with_options(precision=precision, source=source)
    return Run(exp, Path(runs).expanduser() / f"{exp.name}-{identity(exp, key)}", chosen, data)


def stored_runs(folder: Path | str = RUNS) -> list[Run]:
    """The complete runs of a folder, as their own config.json describes them, whatever the registry says now.

    A run that this version's options cannot describe is left out.
    """
    found = []
    for results in sorted(Path(folder).expanduser().glob("*/results.json")):
        config = json.loads((results.parent / "config.json").read_text(encoding="utf-8"))
        try:
            exp = Experiment(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()})
        except (TypeError, ValueError) as error:
            log.warning("%s is of another version of tvae_core (%s)", results.parent.name, error)
            continue
        found.append(Run(exp, results.parent))
    return found


def both_models(run: Run) -> dict[str, TVAE]:
    """The trained model, and the same before any training."""
    return {"trained": run.model, "untrained": run.exp.build_model().eval()}
