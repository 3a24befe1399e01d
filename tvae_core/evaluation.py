"""`evaluate`: every measure of one model on the test split, and what chance gives on the same sequences."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from tvae_core import metrics
from tvae_core.draws import generator
from tvae_core.experiments import Experiment
from tvae_core.losses import negative_log_likelihood
from tvae_core.model import TVAE
from tvae_core.paths import DATA
from tvae_core.sequences import Batch

BATCH = 25  # sequences; with 10 importance samples 4,500 frames of MNIST at once

Row = dict[str, object]


def test_batches(exp: Experiment, seed: int, device: torch.device, data: Path = DATA):
    """The test split in batches, and a generator for each; the same sequences for every model and seed."""
    sequences = exp.build_sequences("test", seed, device, data)
    n = min(len(sequences), exp.eval_sequences or len(sequences))
    for chunk in torch.arange(n, device=device).split(BATCH):
        g = generator(device, 0, "test", int(chunk[0]))
        yield sequences.batch(chunk, g), g


def seen_frames(model: TVAE, exp: Experiment) -> list[int]:
    """The frames that t of the anchor depends on; without grouper the anchor alone."""
    return model.grouper.seen_frames(exp.anchor) if model.grouper else [exp.anchor]


def per_sequence(
    model: TVAE, exp: Experiment, batch: Batch, g: torch.Generator
) -> dict[str, Float[Tensor, " B"]]:
    """All measures that are means over sequences, in nats a frame (E_eq: a sequence)."""
    out = model(batch.x, g)
    terms = {"nll": out.nll, "kl_z": out.kl_z, "kl_u": out.kl_u, "elbo": out.elbo}
    values = {name: value.mean(1) for name, value in terms.items()}
    weights = model.log_weights(batch.x, exp.n_is_samples, g)
    values["log_p_sequence"] = metrics.importance_sampled(weights, "sequence")
    values["log_p_per_frame"] = metrics.importance_sampled(weights, "per_frame")
    if batch.x.shape[1] == 1:
        return values
    t = model.latents(batch.x)
    values["reconstruction"] = negative_log_likelihood(model.logits(t), batch.x, exp.likelihood).mean(1)
    values["e_eq"] = metrics.equivariance_error(t)
    rolled = negative_log_likelihood(model.traverse(t, exp.anchor), batch.x, exp.likelihood)
    seen = seen_frames(model, exp)
    held_out = [frame for frame in range(t.shape[1]) if frame not in seen]
    values["roll_seen"] = rolled[:, seen].mean(1)
    if held_out:
        values["roll_held_out"] = rolled[:, held_out].mean(1)
    return values


def _by_factor(names: tuple[str, ...], values: Tensor) -> dict[str, float | None]:
    return {n: None if v != v else v for n, v in zip(names, values.tolist(), strict=True)}


def evaluate(
    model: TVAE,
    exp: Experiment,
    seed: int | None = None,
    data: Path = DATA,
    progress: bool = False,
) -> Row:
    """One row of a table: every measure of the model on the test split of its experiment.

    Returns the means over `n_sequences` sequences, None where a measure is not defined (E_eq and rolls of
    single frames, rolls into held-out frames where there are none):
    nll, kl_z, kl_u, elbo, log_p_sequence, log_p_per_frame (metrics.importance_sampled), in nats a frame,
    at posterior draws; reconstruction, roll_seen, roll_held_out, in nats a frame, at posterior means;
    e_eq (metrics.equivariance_error); capcorr_first and capcorr_nearest, by factor.
    """
    device = next(model.parameters()).device
    seed = exp.seed if seed is None else seed
    names = ("reconstruction", "e_eq", "roll_seen", "roll_held_out")
    rows, latents, truth = [], [], []
    batches = test_batches(exp, seed, device, data)
    with torch.inference_mode():
        for batch, g in tqdm(batches, desc="measuring", unit="batch", disable=not progress, leave=False):
            rows.append(per_sequence(model, exp, batch, g))
            truth.append((batch.factors.cpu(), batch.varied.cpu()))
            latents.append(model.latents(batch.x).cpu())
    columns = {name: torch.cat([row[name] for row in rows]).mean().item() for name in rows[0]}
    result = {"n_sequences": sum(len(t) for t in latents), **dict.fromkeys(names), **columns}
    factors, varied = (torch.cat(part) for part in zip(*truth, strict=True))
    varying = exp.build_sequences("test", seed, "cpu", data).varying
    for omega in ("first", "nearest"):
        r = metrics.capsule_correlation(torch.cat(latents), factors, varied, omega)
        result[f"capcorr_{omega}"] = _by_factor(varying, r[: len(varying)])
    return result


def chance(exp: Experiment, seed: int | None = None, data: Path = DATA) -> Row:
    """What knowing nothing gives, under the names of evaluate.

    E_eq of random directions; CapCorr of random directions on the same sequences; for every likelihood
    that of the best decoder that ignores t, which paints the mean frame (in nats a frame).
    """
    batches = [b for b, _ in test_batches(exp, exp.seed if seed is None else seed, torch.device("cpu"), data)]
    n = sum(len(b.x) for b in batches)
    mean = sum(b.x.sum((0, 1)) for b in batches) / (n * batches[0].x.shape[1])
    entropy = torch.special.entr(mean) + torch.special.entr(1 - mean)
    nats = entropy.sum().item() if exp.likelihood == "bernoulli" else None
    row: Row = dict.fromkeys(("nll", "reconstruction", "roll_seen", "roll_held_out"), nats)
    row |= dict.fromkeys(("elbo", "log_p_sequence", "log_p_per_frame"), None if nats is None else -nats)
    if exp.n_transforms > 1:
        row["e_eq"] = metrics.equivariance_error_at_chance(exp.n_transforms, exp.n_caps, exp.cap_dim)
    factors, varied = torch.cat([b.factors for b in batches]), torch.cat([b.varied for b in batches])
    varying = exp.build_sequences("test", exp.seed, "cpu", data).varying
    for omega in ("first", "nearest"):
        r = metrics.capsule_correlation_at_chance(factors, varied, exp.cap_dim, omega)
        row[f"capcorr_{omega}"] = _by_factor(varying, r[: len(varying)])
    return row
