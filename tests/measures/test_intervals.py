"""Bootstrap intervals: held against theory and a plain loop, the same in every call."""

import numpy as np
import pytest
import torch

from tvae_core.measures.intervals import LEVEL, RESAMPLES, interval_of_correlation, interval_of_mean


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def a_pair(n, seed=0):
    start = torch.arange(n) % 15
    return start + torch.randint(-3, 4, (n,), generator=torch.Generator().manual_seed(seed)), start


def test_the_mean_of_normal_numbers():
    n = 2000
    low, high = interval_of_mean(normal(1, n))
    mean = normal(1, n).mean().item()
    assert low < mean < high
    assert (high - low) / 2 == pytest.approx(1.96 / n**0.5, rel=0.1)


def test_it_holds_the_truth_about_as_often_as_it_says():
    inside = [low < 0 < high for low, high in (interval_of_mean(normal(1, 60, seed=s)) for s in range(200))]
    assert 0.90 <= sum(inside) / 200 <= 0.99


def test_seeds_measured_on_the_same_sequences_share_what_is_hard_about_them():
    hard = normal(1, 500)
    low, high = interval_of_mean(hard.repeat(3, 1))
    assert (low, high) == pytest.approx(interval_of_mean(hard))  # three times the same says no more
    of_its_own = interval_of_mean(normal(3, 500))
    assert of_its_own[1] - of_its_own[0] == pytest.approx((high - low) / 3**0.5, rel=0.15)


def test_the_correlation_against_a_plain_loop():
    rolls, start = (part.numpy() for part in a_pair(80))
    drawing = np.random.RandomState(1)
    drawn = [drawing.randint(80, size=80) for _ in range(RESAMPLES)]
    r = [np.corrcoef(rolls[i], start[i])[0, 1] for i in drawn]
    tails = [100 * (1 - LEVEL) / 2, 100 * (1 + LEVEL) / 2]
    assert interval_of_correlation([a_pair(80)]) == pytest.approx(np.percentile(r, tails), abs=0.005)


def test_the_correlation_of_several_seeds():
    low, high = interval_of_correlation([a_pair(80, seed=s) for s in range(4)])
    one = interval_of_correlation([a_pair(80)])
    assert high - low == pytest.approx((one[1] - one[0]) / 2, rel=0.3)
    assert interval_of_correlation([a_pair(80), a_pair(75)]) is not None


def test_the_same_in_every_call():
    assert (
        interval_of_mean(normal(2, 30)) == interval_of_mean(normal(2, 30)) != interval_of_mean(normal(2, 31))
    )
    assert interval_of_correlation([a_pair(30)]) == interval_of_correlation([a_pair(30)])


def test_what_too_few_sequences_leave_undefined():
    assert interval_of_mean(normal(2, 1)) is None and interval_of_mean(normal(2, 0)) is None
    assert interval_of_correlation([a_pair(1)]) is None
    assert interval_of_correlation([a_pair(3)]) is None  # some resamples hold one sequence three times
    constant = torch.zeros(40, dtype=torch.long)
    assert interval_of_correlation([(constant, a_pair(40)[1])]) is None
