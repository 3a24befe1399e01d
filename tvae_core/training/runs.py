"""A run: one experiment with one seed, in a folder named by the hash of all that determines it."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.experiments import EXPERIMENTS, title, write_experiment
from tvae_core.files import DATA, RUNS, remove_unfinished
from tvae_core.model.tvae import TVAE
from tvae_core.store import (
    DamagedFile,
    json_digest,
    read_about,
    read_json,
    read_tensors,
    restore,
    write_tensors,
)
from tvae_core.training.hardware import choose_device, choose_precision
from tvae_core.training.splits import Splits
from tvae_core.validation import check_choice

CPU = torch.device("cpu")
RECIPE = 3  # to be raised when the same configuration is trained or measured differently by newer code
log = logging.getLogger("tvae_core")

CHECKPOINT, PER_SEQUENCE = "checkpoint.safetensors", "per_sequence.safetensors"
# The figure it shows, its scale and where its images come from do not determine a run; the images do.
_NOT_DETERMINING = ("shows", "scale", "source", "wandb_on", "tracker")
_NO_PART_IN_TRAINING = (*_NOT_DETERMINING, "name", "test_data", "n_is_samples")


@dataclass(frozen=True)
class Run:
    """One experiment with one seed: its folder and what lies there (plan)."""

    exp: Experiment  # its precision and source resolved
    folder: Path
    device: torch.device = CPU  # on which it is trained
    data_folder: Path = DATA
    data_key: str = ""  # of the images (Experiment.find_images)

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

    @property
    def identity(self) -> str:
        """Twelve hexadecimal digits that two runs share only if they are the same run."""
        return self._hash(self.exp.options(_NOT_DETERMINING))

    @property
    def training(self) -> str:
        """Twelve such digits of the training: runs that share them have the same weights and history."""
        return self._hash(self.exp.options(_NO_PART_IN_TRAINING))

    def _hash(self, options: dict[str, object]) -> str:
        options = options | {"data_key": self.data_key, "recipe": RECIPE}
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def complete(self) -> bool:
        """Whether the run was trained and measured, and all its files are whole (check)."""
        try:
            self.check()
        except OSError:
            return False
        return True

    def check(self) -> None:
        """Raise OSError, naming the file, if one is missing, damaged or of another run (its digest aside)."""
        for name in ("config", "history", "provenance", "results"):
            self._read(f"{name}.json")
        if not {"trained", "untrained", "chance"} <= set(self._read("results.json")):
            raise DamagedFile(f"{self.folder / 'results.json'} lacks rows; its run is of another version")
        for name in (CHECKPOINT, PER_SEQUENCE):
            self._own(name, about := read_about(self.folder / name))
            for part, digest in about.get("digests", {}).items():
                if json_digest(self._read(f"{part}.json")) != digest:
                    raise DamagedFile(f"{self.folder / part}.json is not what was measured with {name}")

    def _own(self, name: str, about: dict[str, object]) -> None:
        if about.get("run") != self.identity:
            raise DamagedFile(f"{self.folder / name} is of another run, or of another version of tvae_core")

    def _read(self, name: str) -> object:
        return read_json(self.folder / name, list if name == "history.json" else dict)

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

    def per_sequence(self, kind: str) -> dict[str, Tensor]:
        """Return a value for each test sequence, (n,), by the keys of evaluate_sequences.

        kind: the row of results, `trained` or `untrained`.
        """
        tensors = self._load(PER_SEQUENCE)[0]
        return {k.partition(".")[2]: v for k, v in tensors.items() if k.startswith(f"{kind}.")}

    def load_model(self, device: torch.device | str = "cpu") -> TVAE:
        """Return the trained model in evaluation mode, read anew. Raises OSError for a damaged checkpoint."""
        model = self.exp.build_model()
        restore(model, *self.load_checkpoint())
        return model.to(device).eval()

    def save_checkpoint(self, tensors: dict[str, Tensor], **progress: object) -> None:
        """Replace the checkpoint; `progress` (JSON values) stands in its header, so the two cannot differ."""
        self._save(CHECKPOINT, tensors, **progress)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, object]]:
        """Return the tensors and the progress of the checkpoint.

        Raises FileNotFoundError where there is none, and DamagedFile.
        """
        return self._load(CHECKPOINT)

    def save_per_sequence(self, **rows: dict[str, Tensor]) -> None:
        """Keep the values of test sequences that `per_sequence` reads, of each row by its name."""
        self._save(PER_SEQUENCE, {f"{kind}.{k}": v for kind, row in rows.items() for k, v in row.items()})

    def _save(self, name: str, tensors: dict[str, Tensor], **about: object) -> None:
        own = {"run": self.identity, "training": self.training, "data_key": self.data_key}
        write_tensors(self.folder / name, tensors, own | about)

    def _load(self, name: str) -> tuple[dict[str, Tensor], dict[str, object]]:
        tensors, about = read_tensors(self.folder / name)
        self._own(name, about)
        return tensors, about

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from this training, under whichever name; wait while another has it.

        Unfinished files of a process that was killed are removed.
        """
        locks = self.folder.parent / ".locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(locks / self.training)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("%s is being trained by another process: waiting for it", self.folder.name)
            lock.acquire()
        try:
            remove_unfinished(self.folder / "*")
            yield
        finally:
            lock.release()


def plan(exp: Experiment, device: str = "auto", runs: Path | str = RUNS, data: Path = DATA) -> Run:
    """Return the run of an experiment, whether or not it exists yet: all that is left open is decided here.

    That is the device, the precision that `auto` means on it, and the source of the images that `auto`
    means with this folder `data`; nothing is fetched. Raises ValueError for a device that is not there.
    """
    if not isinstance(exp, Experiment):
        raise ValueError(f"exp is a {type(exp).__name__}, but must be an Experiment, one of EXPERIMENTS")
    chosen = choose_device(device)
    source, key = exp.find_images(data)
    exp = exp.with_options(precision=choose_precision(exp.precision, chosen), source=source)
    run = Run(exp, Path(), chosen, data, key)
    return dataclasses.replace(run, folder=Path(runs).expanduser() / f"{exp.name}-{run.identity}")


def stored_runs(folder: Path | str = RUNS) -> list[Run]:
    """Return the complete runs of a folder, as their own config.json describes them.

    One that is damaged, or that this version cannot describe, is left out with a warning that names it.
    """
    found = []
    for results in sorted(Path(folder).expanduser().glob("*/results.json")):
        try:
            found.append(load_run(results.parent))
        except (OSError, TypeError, ValueError) as error:
            log.warning("run %s is left out: %s", results.parent.name, error)
    return found


def load_run(folder: Path) -> Run:
    """Return the complete run of a folder, as its own config.json describes it.

    Raises OSError for a run that is not complete or is damaged, ValueError for one that this version cannot
    describe.
    """
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a run: it holds no config.json")
    exp = experiment_of(read_json(folder / "config.json"))
    run = Run(exp, folder, data_key=read_about(folder / CHECKPOINT).get("data_key", ""))
    run.check()
    return run


def experiment_of(config: Mapping[str, object]) -> Experiment:
    """Return the experiment that config.json describes; options that it does not know have their defaults.

    Raises ValueError for an experiment, an option or a value that this version does not know.
    """
    for option in config:
        check_choice(option, [field.name for field in dataclasses.fields(Experiment)], "option")
    if config.get("data") != "own":
        check_choice(config.get("name", ""), EXPERIMENTS, "experiment")
    return Experiment(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()})


def both_models(run: Run) -> dict[str, TVAE]:
    """Return the trained model, and the same before any training."""
    return {"trained": run.model, "untrained": run.exp.build_model().eval()}
