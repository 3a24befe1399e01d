"""A trained model in one file to share: weights as int8 or bfloat16, its configuration and its measures."""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.data.kinds import SplitSequences
from tvae_core.files import DATA
from tvae_core.measures.catalog import heading
from tvae_core.measures.controls import evaluate_with_controls
from tvae_core.measures.evaluation import test_batches
from tvae_core.measures.rolls import roll_likelihoods
from tvae_core.model.tvae import TVAE
from tvae_core.store import DamagedFile, read_about, read_tensors, restore, write_tensors
from tvae_core.training.runs import CHECKPOINT, Run, experiment_of
from tvae_core.validation import check_choice

log = logging.getLogger("tvae_core")
SUFFIX = ".tvae"
FORMAT = 1  # to be raised when newer code writes packs that this code cannot read
PRECISIONS = ("int8", "bfloat16")
COST_SEQUENCES = 300  # test sequences on which the cost of fewer bits is measured
CHECK_SEQUENCES = 25  # the first of them, which a reader can measure again in a second
ROWS = 200  # of the history that are kept, besides those of the validation split
_SCALE = ".scale"
_ROWS_OF_RESULTS = {"trained", "untrained", "chance"}


@dataclass(frozen=True)
class PackedRun(Run):
    """A run that was read from a pack: as any other, but nothing lies in a folder and nothing is written.

    `folder` is the pack's file. A pack holds no values by test sequence: per_sequence measures them.
    """

    tensors: Mapping[str, Tensor] = dataclasses.field(default_factory=dict, repr=False)
    about: Mapping[str, object] = dataclasses.field(default_factory=dict, repr=False)

    def check(self) -> None:
        """Do nothing: the pack was checked when it was read."""

    def _read(self, name: str) -> object:
        return self.about[name.removesuffix(".json")]

    def _load(self, name: str) -> tuple[dict[str, Tensor], dict[str, object]]:
        if name != CHECKPOINT:
            return self._by_sequence, {}
        weights = {f"model.{k}": v for k, v in decode_weights(self.tensors).items()}
        return weights, {"decoder": self.about["decoder"]}

    @cached_property
    def _by_sequence(self) -> dict[str, Tensor]:
        log.info("measuring %s: its pack holds no values by sequence", self)
        rows = evaluate_with_controls(self.model, self.exp, data=self.data_folder)[1]
        return {f"{kind}.{key}": value for kind, row in rows.items() for key, value in row.items()}


def encode_weights(weights: Mapping[str, Tensor], precision: str) -> dict[str, Tensor]:
    """Return parameters with fewer bits: weights of layers as int8 or bfloat16, all others as float32.

    int8: row r of a matrix or kernel, the weights of one output unit, is s_r · q with whole numbers q from
    -127 to 127 and s_r = max |row r| / 127, which stands beside it as NAME.scale.
    Raises ValueError for another precision.
    """
    check_choice(precision, PRECISIONS, "precision")
    encoded = {}
    for name, weight in weights.items():
        weight = weight.detach().cpu().float()
        if weight.ndim < 2 or not name.endswith(".weight"):
            encoded[name] = weight
        elif precision == "bfloat16":
            encoded[name] = weight.bfloat16()
        else:
            scale = weight.abs().amax(tuple(range(1, weight.ndim)), keepdim=True) / 127
            encoded[name + _SCALE] = scale
            encoded[name] = (weight / scale.where(scale > 0, 1.0)).round().to(torch.int8)
    return encoded


def decode_weights(encoded: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters behind `encode_weights`, as float32."""
    return {
        name: value.float() * encoded.get(name + _SCALE, 1.0)
        for name, value in encoded.items()
        if not name.endswith(_SCALE)
    }


def costs(model: TVAE, exp: Experiment, sequences: SplitSequences, n: int) -> dict[str, Float[Tensor, " n"]]:
    """Return the costs at E[z] and E[u²] of the first n test sequences, in nats/frame (roll_likelihoods).

    reconstruction, and for sequences roll_held_out.
    """
    rows = []
    with torch.inference_mode():
        for batch, _ in test_batches(exp.with_options(eval_sequences=n), sequences):
            rows.append(roll_likelihoods(model, exp, batch.x, model.latents(batch.x)))
    keys = [key for key in ("reconstruction", "roll_held_out") if key in rows[0]]
    return {key: torch.cat([row[key] for row in rows]) for key in keys}


def _means(values: Mapping[str, Tensor], n: int) -> dict[str, float]:
    return {key: round(value[:n].mean().item(), 3) for key, value in values.items()}


def pack(run: Run, path: Path, precision: str = "int8") -> dict[str, object]:
    """Write a complete run as a pack and return its header, `cost` among it.

    The header holds format, config, data_key, results, history (thinned to ROWS rows), provenance, precision,
    decoder (mean and spread of t that it takes out), cost and check. cost: the means of `costs` over
    COST_SEQUENCES test sequences `before` and `after`; check: those of the packed weights over the first
    CHECK_SEQUENCES. They are measured on the CPU, so that a reader without a GPU gets the same numbers.
    The same run makes the same bytes. Raises OSError for a run that is not complete, ValueError for another
    precision or suffix.
    """
    if path.suffix != SUFFIX:
        raise ValueError(f"{path} must end in {SUFFIX}")
    run.check()
    model = run.load_model()
    tensors = encode_weights(dict(model.named_parameters()), precision)
    decoder = model.decoder.centre, model.decoder.spread
    test = run.data.test
    n = min(COST_SEQUENCES, len(test))
    before = costs(model, run.exp, test, n)
    restore(model, {f"model.{k}": v for k, v in decode_weights(tensors).items()}, {"decoder": decoder})
    after = costs(model, run.exp, test, n)
    came_in = run.about["precision"] if isinstance(run, PackedRun) else "float32"
    about = {
        "format": FORMAT,
        "config": dataclasses.asdict(run.exp),
        "data_key": run.data_key,
        "precision": precision,
        "decoder": decoder,
        "results": run.results,
        "history": _thinned(run.history),
        "provenance": run.provenance,
        "cost": {"sequences": n, "from": came_in, "before": _means(before, n), "after": _means(after, n)},
        "check": {"sequences": min(CHECK_SEQUENCES, n), **_means(after, CHECK_SEQUENCES)},
    }
    write_tensors(path, tensors, about)
    return about


def _thinned(history: list[dict[str, int | float]]) -> list[dict[str, int | float]]:
    every = -(-len(history) // ROWS)
    last = len(history) - 1
    return [row for i, row in enumerate(history) if i % every == 0 or i == last or "validation_nll" in row]


def read_pack(path: Path, data: Path = DATA) -> PackedRun:
    """Return the run in a pack; nothing in the file is executed.

    Raises FileNotFoundError, DamagedFile for a file that is not bit for bit what was written, OSError for a
    file that is no pack or of a newer format, and ValueError for an experiment that this version lacks.
    """
    if read_about(path).get("format") is None:
        raise DamagedFile(f"{path} is not a pack")
    tensors, about = read_tensors(path)
    if about["format"] > FORMAT:
        raise OSError(
            f"{path} has format {about['format']}, but this version reads up to {FORMAT}: update it"
        )
    if not _ROWS_OF_RESULTS <= set(about["results"]):
        raise DamagedFile(f"{path} lacks rows of results")
    exp = experiment_of(about["config"])
    if exp.source != "offline":  # other images may not be here
        exp = exp.with_options(source="auto")
    return PackedRun(exp, path, data_folder=data, data_key=about["data_key"], tensors=tensors, about=about)


def cost_lines(about: Mapping[str, object]) -> list[str]:
    """Return the measured cost of a pack's bits as a small table, from its header."""
    cost, precision = about["cost"], about["precision"]
    lines = [
        f"{'nats/frame, ' + str(cost['sequences']) + ' test sequences':40}"
        f"{cost.get('from', 'float32'):>12}{precision:>12}"
    ]
    for key, before in cost["before"].items():
        words = heading(key, 1) + " (E[z], E[u²])"
        lines.append(f"{words:40}{before:12.2f}{cost['after'][key]:12.2f}")
    return lines
