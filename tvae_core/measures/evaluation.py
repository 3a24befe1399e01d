"""`evaluate`: every measure of one model on the test split, and its chance level on the same sequences."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from tvae_core.config import Experiment
from tvae_core.data import dsprites, mnist
from tvae_core.data.dsprites import SpriteSequences
from tvae_core.data.mnist import DigitSequences
from tvae_core.data.sequences import Batch
from tvae_core.files import DATA
from tvae_core.measures import metrics
from tvae_core.model.losses import negative_log_likelihood
from tvae_core.model.tvae import TVAE
from tvae_core.seeding import generator

BATCH = 25  # sequences; with 10 importance samples 4,500 frames of MNIST at once

_ROLLS = ("reconstruction", "roll_seen", "roll_held_out")
MEASURES = (
    *("nll", "kl_z", "kl_u", "elbo", "log_p_sequence", "log_p_per_frame", "e_eq"),
    *(*_ROLLS, *(f"{name}_at_means" for name in _ROLLS)),
    *(f"iou_{name}" for name in _ROLLS),
)
# what a reference file may hold: CapCorr is a value for each factor
COMPARABLE = MEASURES + tuple(
    f"capcorr_{omega}/{factor}"
    for omega in ("first", "nearest")
    for factor in (*dsprites.FACTORS, *mnist.FACTORS)
)

Row = dict[str, object]
Sequences = DigitSequences | SpriteSequences


def measured(exp: Experiment, sequences: Sequences) -> int:
    """How many sequences of the test split are measured."""
    return min(len(sequences), exp.eval_sequences or len(sequences))


def test_batches(exp: Experiment, sequences: Sequences) -> Iterator[tuple[Batch, torch.Generator]]:
    """The test split in batches, and a generator for each; on one device the same for every model."""
    device = sequences.device
    for chunk in torch.arange(measured(exp, sequences), device=device).split(BATCH):
        g = generator(device, 0, "test", int(chunk[0]))
        yield sequences.batch(chunk, g), g


def first_batches(exp: Experiment, seed: int, sequences: int) -> Iterator[tuple[Batch, torch.Generator]]:
    """At most so many of the test sequences that evaluate measures, in its batches, on the CPU."""
    test = exp.build_sequences("test", seed)
    return test_batches(exp.with_options(eval_sequences=min(sequences, measured(exp, test))), test)


def roll_likelihoods(
    model: TVAE, exp: Experiment, x: Float[Tensor, "B S ch h w"], t: Float[Tensor, "B S C D"]
) -> dict[str, Float[Tensor, " B"]]:
    """Reconstruction from t, and the roll of t at the anchor into seen and held-out frames.

    In nats a frame; for sprites, which are binary, also as `iou_…`, the overlap with the true frame.
    """
    decoded = {"reconstruction": model.logits(t), "roll": model.traverse(t, exp.anchor)}
    held_out = exp.held_out
    seen = [frame for frame in range(t.shape[1]) if frame not in held_out]

    def over_frames(of: Callable[[Tensor], Float[Tensor, "B S"]], name: str) -> dict[str, Tensor]:
        value = {key: of(logits) for key, logits in decoded.items()}
        parts = {"reconstruction": value["reconstruction"], "roll_seen": value["roll"][:, seen]}
        parts |= {"roll_held_out": value["roll"][:, held_out]} if held_out else {}
        return {f"{name}{key}": part.mean(1) for key, part in parts.items()}

    values = over_frames(lambda logits: negative_log_likelihood(logits, x, exp.likelihood), "")
    if exp.data == "dsprites":
        values |= over_frames(lambda logits: metrics.overlap(logits, x), "iou_")
    return values


def per_sequence(
    model: TVAE, exp: Experiment, batch: Batch, g: torch.Generator
) -> tuple[dict[str, Float[Tensor, " B"]], Float[Tensor, "B S C D"]]:
    """All measures that are means over sequences, in nats a frame (E_eq: a sequence), and the t they saw."""
    out = model(batch.x, g)
    terms = {"nll": out.nll, "kl_z": out.kl_z, "kl_u": out.kl_u, "elbo": out.elbo}
    values = {name: value.mean(1) for name, value in terms.items()}
    weights = model.log_weights(batch.x, exp.n_is_samples, g)
    values["log_p_sequence"] = metrics.importance_sampled(weights, "sequence")
    values["log_p_per_frame"] = metrics.importance_sampled(weights, "per_frame")
    if exp.n_transforms > 1:
        values["e_eq"] = metrics.equivariance_error(out.t)
        values |= roll_likelihoods(model, exp, batch.x, model.latents(batch.x))
        if model.grouper:
            at_means = roll_likelihoods(model, exp, batch.x, model.latents_at_means(batch.x))
            values |= {f"{name}_at_means": at_means[name] for name in _ROLLS if name in at_means}
    return values, out.t


def _by_factor(names: tuple[str, ...], values: Tensor) -> dict[str, float | None]:
    return {n: None if v != v else v for n, v in zip(names, values.tolist(), strict=True)}


def evaluate(
    model: TVAE, exp: Experiment, seed: int | None = None, data: Path = DATA, progress: bool = False
) -> Row:
    """One row of a table: every measure of the model on the test split of its experiment.

    Returns the means over `n_sequences` sequences, None where a measure is not defined (E_eq and rolls of
    single frames, rolls into held-out frames where there are none, E[u] without u). In nats a frame, at
    posterior draws: nll, kl_z, kl_u, elbo, log_p_sequence and log_p_per_frame
    (metrics.importance_sampled). At posterior draws: e_eq (metrics.equivariance_error) and, by factor,
    capcorr_first and capcorr_nearest (metrics.capsule_correlation). In nats a frame, without posterior
    noise: reconstruction, roll_seen and roll_held_out at E[z] and E[u²] (TVAE.latents), and the same three
    with `_at_means` at E[z] and E[u]; for sprites the three as overlaps, `iou_…` (metrics.overlap).
    """
    return evaluate_sequences(model, exp, seed, data, progress)[0]


def evaluate_sequences(
    model: TVAE, exp: Experiment, seed: int | None = None, data: Path = DATA, progress: bool = False
) -> tuple[Row, dict[str, Tensor]]:
    """The row of `evaluate`, and what it is made of: for each test sequence one value, (n,).

    Those of the measures that are means, by their names; for CapCorr the integers `start` and `varied`
    (metrics.capsule_correlation), and the observed rolls `roll_first` and `roll_nearest`.
    """
    device = next(model.parameters()).device
    seed = exp.seed if seed is None else seed
    rows, latents, truth = [], [], []
    sequences = exp.build_sequences("test", seed, device, data)
    bar = tqdm(
        desc="measuring", total=measured(exp, sequences), unit="sequence", disable=not progress, leave=False
    )
    with torch.inference_mode(), bar:
        for batch, g in test_batches(exp, sequences):
            values, t = per_sequence(model, exp, batch, g)
            rows.append(values)
            latents.append(t.cpu())
            truth.append((batch.factors.cpu(), batch.varied.cpu()))
            bar.update(len(t))
    values = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
    means = {name: value.mean().item() for name, value in values.items()}
    result = {"n_sequences": sum(len(t) for t in latents), **dict.fromkeys(MEASURES), **means}
    factors, varied = (torch.cat(part) for part in zip(*truth, strict=True))
    varying = sequences.varying
    for omega in ("first", "nearest"):
        rolls, start = metrics.omega_rolls(torch.cat(latents), factors, varied, omega)
        r = metrics.pearson_per_factor(rolls, start, varied, factors.shape[2])
        result[f"capcorr_{omega}"] = _by_factor(varying, r[: len(varying)])
        values |= {f"roll_{omega}": rolls, "start": start, "varied": varied}
    return result, values


def evaluate_with_controls(
    model: TVAE, exp: Experiment, seed: int, data: Path = DATA, progress: bool = False
) -> tuple[dict[str, Row], dict[str, dict[str, Tensor]]]:
    """The rows `trained`, `untrained` and `chance`, and what `measure` keeps of the first two."""
    device = next(model.parameters()).device
    models = {"trained": model, "untrained": exp.build_model(seed).to(device)}
    measured = {name: evaluate_sequences(each, exp, seed, data, progress) for name, each in models.items()}
    rows = {name: row for name, (row, _) in measured.items()}
    rows["chance"] = chance(exp, seed, device, data)
    return rows, {name: values for name, (_, values) in measured.items()}


def chance(
    exp: Experiment, seed: int | None = None, device: torch.device | str = "cpu", data: Path = DATA
) -> Row:
    """What knowing nothing gives, under the names of evaluate.

    E_eq of random directions; CapCorr of random directions on the same sequences; for every likelihood
    that of the best decoder that ignores t, which paints the mean frame (in nats a frame).
    """
    sequences = exp.build_sequences("test", exp.seed if seed is None else seed, device, data)
    total, truth = torch.zeros(exp.image_shape, device=device), []
    for batch, _ in test_batches(exp, sequences):
        total += batch.x.sum((0, 1))
        truth.append((batch.factors, batch.varied))
    factors, varied = (torch.cat(part) for part in zip(*truth, strict=True))
    mean = total / (len(factors) * factors.shape[1])
    entropy = torch.special.entr(mean) + torch.special.entr(1 - mean)
    nats = entropy.sum().item() if exp.likelihood == "bernoulli" else None
    row: Row = dict.fromkeys(("nll", *(m for m in MEASURES if m.startswith(_ROLLS))), nats)
    row |= dict.fromkeys(("elbo", "log_p_sequence", "log_p_per_frame"), None if nats is None else -nats)
    if exp.n_transforms > 1:
        row["e_eq"] = metrics.equivariance_error_at_chance(exp.n_transforms, exp.n_caps, exp.cap_dim)
    for omega in ("first", "nearest"):
        r = metrics.capsule_correlation_at_chance(factors, varied, exp.cap_dim, omega)
        row[f"capcorr_{omega}"] = _by_factor(sequences.varying, r[: len(sequences.varying)])
    return row


def nats(exp: Experiment, logits: Tensor, x: Tensor) -> Float[Tensor, "*batch"]:
    """−log p(x|t) of each frame, in nats."""
    return negative_log_likelihood(logits, x, exp.likelihood)
