"""Laws of the whole model: bounds of log p(x) that is integrated, and a model that has learnt by heart."""

import itertools
import math

import numpy as np
import pytest
import torch

from tvae_core.measures.evaluation import posterior_draws
from tvae_core.measures.metrics import importance_sampled
from tvae_core.model.grouper import Grouper
from tvae_core.model.losses import negative_log_likelihood
from tvae_core.model.torus import offsets
from tvae_core.model.tvae import TVAE

NODES = 24  # of Gauss and Hermite's rule, for each of four latents


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def small():
    """A model of two frames with one unit, whose t couples both frames; a sequence; its log p(x) a frame."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = TVAE((1, 2, 2), 1, 1, Grouper((2, 1), [offsets(2, 1)], 1.0, 1.0)).double()
        for parameter in model.parameters():
            parameter.data *= 1.3  # away from the prior, so that the bounds are apart
    x = torch.rand(1, 2, 1, 2, 2, generator=seeded()).round().double()
    return model, x, integrated(model, x, NODES)


@torch.inference_mode()
def integrated(model, x, nodes):
    """log p(x) / S by a product rule over z and u of both frames."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = torch.from_numpy(np.stack(np.meshgrid(*[points] * 4, indexing="ij"), -1).reshape(-1, 2, 2, 1, 1))
    log_weight = torch.from_numpy(np.log(weights / math.sqrt(2 * math.pi)))
    log_weight = torch.cartesian_prod(*[log_weight] * 4).sum(1)
    z, u = grid.unbind(1)
    logits = model.logits(model.group(z, u))
    nll = negative_log_likelihood(logits, x.expand_as(logits)).sum(1)
    return ((log_weight - nll).logsumexp(0) / 2).item()


@pytest.fixture(scope="module")
def log_weights(small):
    model, x, _ = small
    with torch.inference_mode():
        return posterior_draws(model, x, model.encode(x), 2**15, seeded(1))[2]  # (n, 1, S)


def iwae(log_weights, n):
    """Mean and standard error of IWAE-n over independent groups of n draws."""
    groups = log_weights.unflatten(0, (-1, n)).squeeze(2).transpose(0, 1)  # (n, groups, S)
    values = importance_sampled(groups)
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


def test_the_integral_has_converged(small):
    model, x, exact = small
    assert integrated(model, x, NODES - 6) == pytest.approx(exact, abs=1e-5)


def test_elbo_and_iwae_are_bounds_that_grow_to_log_p(small, log_weights):
    model, x, exact = small
    found = [iwae(log_weights, n) for n in (1, 4, 16, 64)]
    with torch.inference_mode():
        elbos = torch.stack([model(x, seeded(seed)).elbo.mean() for seed in range(400)])
    elbo, error = elbos.mean().item(), elbos.std().item() / 20
    assert abs(elbo - found[0][0]) < 4 * (error + found[0][1])  # IWAE-1 is the ELBO
    for (low, a), (high, b) in itertools.pairwise(found):
        assert low + 2 * (a + b) < high
    assert all(value < exact + 4 * error for value, error in found) and exact - found[0][0] > 0.3
    assert importance_sampled(log_weights).item() == pytest.approx(exact, abs=0.01)


def test_without_log_n_iwae_is_no_bound(small, log_weights):
    groups = log_weights.unflatten(0, (-1, 16)).squeeze(2).transpose(0, 1)
    official = importance_sampled(groups).mean().item() + math.log(16) / 2
    assert official > small[2] + 0.5


def test_a_model_that_learnt_eight_sequences_by_heart_decodes_what_it_encodes():
    first = (torch.rand(8, 1, 1, 8, 6, generator=seeded()) > 0.5).float()
    x = torch.cat([first.roll(frame, -1) for frame in range(6)], 1)  # patterns that move to the right
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TVAE((1, 8, 6), 6, 6, Grouper((6, 6), [offsets(3, 3, 1)], 2.0), he=True)
    optimizer, g = torch.optim.Adam(model.parameters(), 3e-3), seeded(1)

    def wrong():
        with torch.inference_mode():
            return (model.decode(model.latents(x)) - x).abs().mean().item()

    before = wrong()
    for _ in range(250):
        optimizer.zero_grad()
        out = model(x, g)
        (out.nll + 0.01 * (out.kl_z + out.kl_u)).mean().backward()
        optimizer.step()
    assert before > 0.3 and wrong() < 0.02
    with torch.inference_mode():
        assert ((model.decode(model.latents(x)) > 0.5) == (x > 0.5)).float().mean() > 0.995
        other = model.decode(model.latents(x.roll(1, 0)))
    assert ((other > 0.5) == (x > 0.5)).float().mean() < 0.7
