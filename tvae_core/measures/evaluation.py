"""Every measure of one model on the test split: one row of a table."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from tvae_core.config import Experiment
from tvae_core.data.kinds import SplitSequences
from tvae_core.data.sequences import Batch
from tvae_core.files import DATA
from tvae_core.measures import metrics, rolls
from tvae_core.measures.catalog import DRAWS, MEASURES
from tvae_core.model.losses import Gaussian, gaussian_log_density, negative_log_likelihood
from tvae_core.model.tvae import TVAE
from tvae_core.seeding import generator

BATCH = 25  # sequences; with 10 importance samples 4,500 frames of MNIST at once

Row = dict[str, object]


def measured(exp: Experiment, sequences: SplitSequences) -> int:
    """Return how many sequences of the test split are measured."""
    return min(len(sequences), exp.eval_sequences or len(sequences))


def test_batches(exp: Experiment, sequences: SplitSequences) -> Iterator[tuple[Batch, torch.Generator]]:
    """Yield the test split in batches, and a generator for each; on one device the same for every model."""
    device = sequences.device
    for chunk in torch.arange(measured(exp, sequences), device=device).split(BATCH):
        g = generator(device, 0, "test", int(chunk[0]))
        yield sequences.batch(chunk, g), g


def first_batches(exp: Experiment, sequences: int) -> Iterator[tuple[Batch, torch.Generator]]:
    """Yield at most so many of the test sequences that evaluate measures, in its batches, on the CPU."""
    test = exp.build_sequences("test", exp.seed)
    return test_batches(exp.with_options(eval_sequences=min(sequences, measured(exp, test))), test)


def nats(exp: Experiment, logits: Tensor, x: Tensor) -> Float[Tensor, "*batch"]:
    """Return −log p(x|t) of each frame, in nats."""
    return negative_log_likelihood(logits, x, exp.likelihood)


def posterior_draws(
    model: TVAE,
    x: Float[Tensor, "B S ch h w"],
    q: tuple[Gaussian, Gaussian | None],
    n: int,
    g: torch.Generator,
) -> tuple[Float[Tensor, "B S C D"], Float[Tensor, "B S ch h w"], Float[Tensor, "n B S"]]:
    """Return t and logits of the first of n draws from the posteriors q of x, and the log weights of all n.

    The log weight of a frame is log p(x, z, u) - log q(z, u | x) in nats (metrics.importance_sampled).
    """
    many = [p.repeat(n) for p in q if p]
    drawn = [p.sample(g) for p in many]
    log_w = sum(gaussian_log_density(v) - p.log_density(v) for p, v in zip(many, drawn, strict=True))
    t = model.group(*drawn, *[None] * (2 - len(drawn)))
    logits = model.logits(t)
    nll = negative_log_likelihood(logits, x.expand(n, *x.shape).flatten(0, 1), model.likelihood)
    return t[: len(x)], logits[: len(x)], (log_w - nll).unflatten(0, (n, len(x)))


def per_sequence(
    model: TVAE, exp: Experiment, batch: Batch, g: torch.Generator
) -> tuple[dict[str, Float[Tensor, "B ..."]], Float[Tensor, "B S C D"]]:
    """Return the measures of each sequence that need its frames, in nats a frame, and a posterior draw of t.

    The first of the draws that IWAE takes is the posterior draw of all other measures.
    """
    x, q = batch.x, model.encode(batch.x)
    t, logits, log_w = posterior_draws(model, x, q, exp.n_is_samples, g)
    nll, kl_z = nats(exp, logits, x), q[0].kl()
    kl_u = q[1].kl() if q[1] else torch.zeros_like(kl_z)
    terms = {"nll": nll, "kl_z": kl_z, "kl_u": kl_u, "elbo": -(nll + kl_z + kl_u)}
    values = {name: value.mean(1) for name, value in terms.items()}
    for over in ("sequence", "per_frame"):
        values[f"iwae_{over}"] = metrics.importance_sampled(log_w, over)
    values |= rolls.roll_likelihoods(model, exp, x, model.latents_of(*q)) | rolls.baselines(exp, x)
    drawn = rolls.roll_likelihoods(model, exp, x, t, logits)
    return values | {f"{name}{DRAWS}": value for name, value in drawn.items()}, t


def equivariance(t: Float[Tensor, "n S C D"], closed: bool = True) -> dict[str, Float[Tensor, " n"]]:
    """Return E_eq of n sequences, E_eq with the next sequence as partner, and E_eq centred."""
    error, parts = partial(metrics.equivariance_error, closed=closed), t.split(BATCH)
    found = {
        "e_eq": [error(own) for own in parts],
        "e_eq_centred": [error(own, centred=True) for own in parts],
    }
    if len(t) > 1:
        pairs = zip(parts, t.roll(-1, 0).split(BATCH), strict=True)
        found["e_eq_chance"] = [error(own, other) for own, other in pairs]
    return {key: torch.cat(values) for key, values in found.items()}


def evaluate(model: TVAE, exp: Experiment, data: Path = DATA, progress: bool = False) -> Row:
    """Return one row of a table: every measure of the model on the test split of its experiment.

    The keys are those of catalog.MEASURES; values are means over `n_sequences` sequences, or for measures
    by factor a value for each factor. None stands where a measure is not defined (E_eq and rolls of single
    frames, IoU of digits). Likelihoods and divergences are in nats a frame.

    At posterior draws: nll, kl_z, kl_u, elbo, iwae_sequence and iwae_per_frame (metrics.importance_sampled),
    the four e_eq (metrics.equivariance_error), capcorr_first and capcorr_nearest
    (metrics.capsule_correlation), and the measures of rolls (rolls.roll_likelihoods) whose keys end in
    `_at_draws`; the others of rolls are at E[z] and E[u²] (TVAE.latents). e_eq_chance takes partners from
    another sequence, and e_eq_share is e_eq / e_eq_chance.

    data: the folder of downloaded data. progress: whether a bar is shown. Raises ValueError for a model of
    other images or latents than the experiment's.

    >>> from tvae_core import EXPERIMENTS
    >>> exp = EXPERIMENTS["tvae_Lshort_mnist"].at_scale("smoke").with_options(n_caps=2, eval_sequences=4)
    >>> evaluate(exp.build_model(), exp)["n_sequences"]
    4
    """
    if not isinstance(model, TVAE):
        raise ValueError(f"model is {model!r:.60}, but must be a TVAE")
    if not isinstance(exp, Experiment):
        raise ValueError(f"exp is a {type(exp).__name__}, but must be an Experiment, one of EXPERIMENTS")
    own, wanted = (model.image_shape, model.capsules), (exp.image_shape, exp.n_caps)
    if (*own, model.units) != (*wanted, exp.cap_dim):
        words = f"images {own[0]}, {own[1]} capsules of {model.units} units"
        raise ValueError(f"the model has {words}, but {exp.name} {wanted[0]}, {wanted[1]} of {exp.cap_dim}")
    device = next(model.parameters()).device
    return evaluate_sequences(model, exp, exp.build_sequences("test", exp.seed, device, data), progress)[0]


def evaluate_sequences(
    model: TVAE, exp: Experiment, sequences: SplitSequences, progress: bool = False
) -> tuple[Row, dict[str, Tensor]]:
    """Return the row of `evaluate` on some sequences, and the values by sequence behind it, each (n,).

    These are the measures that are means, under their keys, and the integers behind CapCorr: `start`,
    `varied` (metrics.capsule_correlation) and the observed rolls `observed_first` and `observed_nearest`.
    """
    rows, latents, truth = [], [], []
    n = measured(exp, sequences)
    bar = tqdm(desc="measuring", total=n, unit="sequence", disable=not progress, leave=False)
    with torch.inference_mode(), bar:
        for batch, g in test_batches(exp, sequences):
            row, t = per_sequence(model, exp, batch, g)
            rows.append(row)
            latents.append(t)
            truth.append((batch.factors, batch.varied))
            bar.update(len(t))
        values = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        t, factors, varied = torch.cat(latents), *(torch.cat(part) for part in zip(*truth, strict=True))
        if exp.n_transforms > 1:
            values |= equivariance(t, exp.closed)
        if "seen_mean" in values:
            values["seen_mean"] = rolls.best_clamp(values["seen_mean"], varied)
        observed, correlations = capsule_correlations(t, factors, varied, sequences)
    means = {name: value.mean().item() for name, value in values.items()}
    if "e_eq_chance" in means:
        means["e_eq_share"] = means["e_eq"] / chance if (chance := means["e_eq_chance"]) else None
    row = dict.fromkeys(MEASURES) | {"n_sequences": n} | means
    row |= rolls.margins(values, varied, sequences.varying) | correlations
    values |= observed  # cloned, since a view of a single sequence keeps the strides of what it was cut from
    kept = {k: v.cpu().clone(memory_format=torch.contiguous_format) for k, v in values.items()}
    return row, kept


def capsule_correlations(
    t: Float[Tensor, "n S C D"],
    factors: Int[Tensor, "n S F"],
    varied: Int[Tensor, " n"],
    sequences: SplitSequences,
) -> tuple[dict[str, Int[Tensor, " n"]], Row]:
    """Return the integers behind CapCorr for each sequence, and CapCorr by factor, with either kind of Ω.

    It is defined for factors that walk through all their values and come round again.
    """
    names = sequences.varying
    other = torch.tensor([n not in sequences.cyclic for n in names] + [False] * factors.shape[2])[
        : factors.shape[2]
    ]
    observed, row = {"varied": varied}, {}
    for omega in ("first", "nearest"):
        found, observed["start"] = metrics.omega_rolls(t, factors, varied, omega)
        found = found.masked_fill(other.to(t.device)[varied], -1)
        observed[f"observed_{omega}"] = found
        r = metrics.pearson_per_factor(found, observed["start"], varied, factors.shape[2])
        row[f"capcorr_{omega}"] = by_factor(names, r[: len(names)])
    return observed, row


def by_factor(names: tuple[str, ...], values: Tensor) -> dict[str, float | None]:
    """Return values under the names of factors, None in place of nan."""
    return {n: None if v != v else v for n, v in zip(names, values.tolist(), strict=True)}
