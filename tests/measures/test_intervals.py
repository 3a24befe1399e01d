"""Bootstrap intervals: held against theory, a plain loop and scipy, the same in every call."""

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap as scipy_bootstrap

from tvae_core.measures.catalog import MARGINS
from tvae_core.measures.intervals import LEVEL, RESAMPLES, interval_of

TAILS = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mean(*seeds):
    """Interval of the mean of some numbers, for each seed."""
    varied = [torch.zeros(len(values), dtype=torch.long) for values in seeds]
    return interval_of("nll", None, [{"nll": v, "varied": f} for v, f in zip(seeds, varied, strict=True)])


def a_pair(n, seed=0):
    start = torch.arange(n) % 15
    return start + torch.randint(-3, 4, (n,), generator=torch.Generator().manual_seed(seed)), start


def correlation(*pairs):
    """Interval of CapCorr of the pairs of each seed, which vary factor 1, among others that vary factor 0."""
    seeds = []
    for rolls, start in pairs:
        other = torch.arange(20) % 5
        varied = torch.cat([torch.ones(len(rolls)), torch.zeros(20)]).long()
        seeds.append({"observed_first": torch.cat([rolls.clamp(min=0), other]), "varied": varied})
        seeds[-1] |= {"start": torch.cat([start, other.flip(0)])}
    return interval_of("capcorr_first", 1, seeds)


def resamples(n, seed=1):
    drawing = np.random.RandomState(seed)
    return [drawing.randint(n, size=n) for _ in range(RESAMPLES)]


def test_the_mean_of_normal_numbers():
    n = 2000
    low, high = mean(normal(n))
    assert low < normal(n).mean().item() < high
    assert (high - low) / 2 == pytest.approx(1.96 / n**0.5, rel=0.1)
    truth = scipy_bootstrap((normal(n).numpy(),), np.mean, method="percentile", n_resamples=RESAMPLES, rng=1)
    assert (low, high) == pytest.approx(tuple(truth.confidence_interval), abs=0.005)


def test_it_holds_the_truth_about_as_often_as_it_says():
    inside = [low < 0 < high for low, high in (mean(normal(60, seed=s)) for s in range(200))]
    assert 0.90 <= sum(inside) / 200 <= 0.99


def test_seeds_measured_on_the_same_sequences_share_what_is_hard_about_them():
    hard = normal(500)
    low, high = mean(hard)
    assert mean(hard, hard, hard) == pytest.approx((low, high))  # three times the same says no more
    of_its_own = mean(*(normal(500, seed=s) for s in range(3)))
    assert of_its_own[1] - of_its_own[0] == pytest.approx((high - low) / 3**0.5, rel=0.15)


def test_the_correlation_against_a_plain_loop():
    rolls, start = (part.numpy() for part in a_pair(80))
    r = [np.corrcoef(rolls.clip(0)[i], start[i])[0, 1] for i in resamples(80)]
    assert correlation(a_pair(80)) == pytest.approx(np.quantile(r, TAILS), abs=0.005)


def test_the_correlation_of_several_seeds():
    low, high = correlation(*(a_pair(80, seed=s) for s in range(4)))
    one = correlation(a_pair(80))
    assert high - low < one[1] - one[0]
    assert correlation(a_pair(80), a_pair(75)) is not None


@pytest.mark.parametrize("key", MARGINS)
def test_a_margin_against_a_plain_loop(key):
    rolled, controls = MARGINS[key]
    values = {name: normal(120, seed=i) + 0.1 * i for i, name in enumerate((rolled, *controls))}
    values |= {"varied": torch.arange(120) % 2}
    own = {name: value[1::2].numpy() for name, value in values.items()}
    gains = []
    for i in resamples(60):
        cost = [own[name][i].mean() for name in controls]
        level = own[rolled][i].mean()
        gains.append(level - max(cost) if key.startswith("iou") else min(cost) - level)
    assert interval_of(key, 1, [values]) == pytest.approx(np.quantile(gains, TAILS), abs=0.02)


def test_a_share_against_a_plain_loop():
    values = {"e_eq": 5 + normal(90), "e_eq_chance": 9 + normal(90, seed=1), "varied": torch.zeros(90).long()}
    a, b = (values[key].numpy() for key in ("e_eq", "e_eq_chance"))
    share = [a[i].sum() / b[i].sum() for i in resamples(90)]
    assert interval_of("e_eq_share", None, [values]) == pytest.approx(np.quantile(share, TAILS), abs=0.004)


def test_the_same_in_every_call():
    assert mean(normal(30), normal(30)) == mean(normal(30), normal(30)) != mean(normal(31))
    assert correlation(a_pair(30)) == correlation(a_pair(30))


def test_what_too_few_sequences_leave_undefined():
    assert mean(normal(1)) is None and mean(normal(0)) is None
    assert correlation(a_pair(1)) is None
    assert correlation(a_pair(3)) is None  # some resamples hold one sequence three times
    constant = torch.zeros(40, dtype=torch.long)
    assert correlation((constant, a_pair(40)[1])) is None
