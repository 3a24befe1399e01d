"""What a trained model is held against: the same model untrained, and knowing nothing; both measured once."""

import hashlib
import json
import logging
import math
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from tvae_core.config import Experiment
from tvae_core.data.kinds import SplitSequences
from tvae_core.experiments import row_of
from tvae_core.files import DATA, remove_unfinished
from tvae_core.measures import metrics
from tvae_core.measures.catalog import MEASURES
from tvae_core.measures.evaluation import Row, by_factor, evaluate_sequences, test_batches
from tvae_core.model.losses import GAUSSIAN_SCALE
from tvae_core.model.tvae import TVAE
from tvae_core.store import DamagedFile, read_tensors, write_tensors

log = logging.getLogger("tvae_core")

VERSION = 1  # to be raised when newer code measures the same model differently
# Options that change neither an untrained model nor what is measured of it.
_OF_TRAINING = (
    *("name", "shows", "scale", "source", "wandb_on", "tracker", "batch_size", "max_epochs", "max_steps"),
    "optimizer",
    *("lr", "momentum", "beta2", "lr_decay", "kl_floor", "kl_hold", "kl_ramp", "decode_every"),
    *("window_hold", "window_ramp", "precision", "eval_epochs", "lr_warmup", "n_draws"),
    "warm_start",
)


def evaluate_with_controls(
    model: TVAE, exp: Experiment, folder: Path | None = None, data: Path = DATA, progress: bool = False
) -> tuple[dict[str, Row], dict[str, dict[str, Tensor]]]:
    """Return the rows `trained`, `untrained` and `chance`, and the values by sequence behind the first two.

    The last two rows are the same for every seed and every way of training (untrained_and_chance); they are
    kept in a folder, the one of runs, if it is given. A row of 300 sequences, as at scale quick, takes 11 to
    12 s of one CPU thread, about a tenth of what training takes.
    """
    device = next(model.parameters()).device
    sequences = exp.build_sequences("test", exp.seed, device, data)
    row, values = evaluate_sequences(model, exp, sequences, progress)
    controls, untrained = untrained_and_chance(exp, folder, device, data, progress)
    return {"trained": row, **controls}, {"trained": values, "untrained": untrained}


def untrained_and_chance(
    exp: Experiment,
    folder: Path | None = None,
    device: torch.device | str = "cpu",
    data: Path = DATA,
    progress: bool = False,
) -> tuple[dict[str, Row], dict[str, Tensor]]:
    """Return the rows `untrained` and `chance`, and the values by sequence behind the first.

    The untrained model has the weights of the experiment's own seed, whatever the seed of the trained one.
    With a folder the result is read from there, or written for the next call, under a name that is a hash of
    what determines it. A damaged file is measured anew.
    """
    own = exp.with_options(seed=row_of(exp).seed)
    if folder is None:
        return _measure(own, torch.device(device), data, progress)
    config = own.options(_OF_TRAINING)
    config |= {"images": own.load_images(data).key, "device": torch.device(device).type, "version": VERSION}
    config["threads"] = torch.get_num_threads()  # sums round differently on another number of them
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12]
    path = folder / ".controls" / f"{digest}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        remove_unfinished(path)
        if path.is_file():
            try:
                values, rows = read_tensors(path)
                return rows, values
            except DamagedFile as error:
                log.warning("%s: it is measured anew", error)
        rows, values = _measure(own, torch.device(device), data, progress)
        write_tensors(path, values, rows)
    return rows, values


def _measure(
    exp: Experiment, device: torch.device, data: Path, progress: bool
) -> tuple[dict[str, Row], dict[str, Tensor]]:
    sequences = exp.build_sequences("test", exp.seed, device, data)
    row, values = evaluate_sequences(exp.build_model().to(device).eval(), exp, sequences, progress)
    return {"untrained": row, "chance": chance(exp, sequences)}, values


def chance(exp: Experiment, sequences: SplitSequences) -> Row:
    """Return the chance level of every measure, under the keys of `evaluate`.

    Every likelihood is that of the best decoder that ignores t, which paints the mean frame of all sequences
    (in nats a frame). E_eq and CapCorr are those of random directions. None for
    measures without a chance level: the margins, whose zero it is, and the IoU.
    """
    total, squares, truth = 0.0, 0.0, []
    for batch, _ in test_batches(exp, sequences):
        total, squares = total + batch.x.sum((0, 1)), squares + batch.x.square().sum((0, 1))
        truth.append((batch.factors, batch.varied))
    factors, varied = (torch.cat(part) for part in zip(*truth, strict=True))
    n = len(factors) * factors.shape[1]
    nats = _nats_of_mean(total / n, squares / n, exp.likelihood)
    row: Row = dict.fromkeys(MEASURES) | {"n_sequences": len(factors)}
    row |= {key: nats for key in MEASURES if key == "nll" or key.startswith(("reconstruction", "roll_"))}
    row |= dict.fromkeys(("elbo", "iwae_sequence", "iwae_per_frame"), -nats)
    row |= {key: None for key in MEASURES if "margin" in key}
    if exp.n_transforms > 1:
        shape = exp.n_transforms, exp.n_caps, exp.cap_dim
        row["e_eq"] = row["e_eq_chance"] = metrics.equivariance_error_at_chance(*shape)
        row |= {"e_eq_share": 1.0, "e_eq_centred": metrics.equivariance_error_at_chance(*shape, centred=True)}
    for omega in ("first", "nearest"):
        r = metrics.capsule_correlation_at_chance(factors, varied, exp.cap_dim, omega)
        found = by_factor(sequences.varying, r[: len(sequences.varying)])
        row[f"capcorr_{omega}"] = {k: v if k in sequences.cyclic else None for k, v in found.items()}
    return row


def _nats_of_mean(mean: Tensor, square: Tensor, likelihood: str) -> float:
    """What frames with these means of x and x², for each pixel, cost if each is said to be the mean."""
    if likelihood == "bernoulli":
        return (torch.special.entr(mean) + torch.special.entr(1 - mean)).sum().item()
    scaled = (square - mean.square()) / GAUSSIAN_SCALE**2 + math.log(2 * math.pi * GAUSSIAN_SCALE**2)
    return 0.5 * scaled.sum().item()
