"""Bootstrap intervals: how far a measure would move on other test sequences of the same kind.

Percentile intervals over resampled sequences (Efron & Tibshirani 1993), the same in every call. They say
nothing about other seeds, which the standard deviation beside them does.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

LEVEL = 0.95
RESAMPLES = 2000
_BATCH = 100  # resamples at a time: 10,000 sequences then take 8 MB

Interval = tuple[float, float]


def interval_of_mean(values: Float[Tensor, "seeds n"]) -> Interval | None:
    """Interval of the mean over n sequences, itself averaged over seeds; None for a single sequence.

    A sequence is drawn for all seeds at once, which is right both where the seeds are measured on the same
    sequences and where each has its own.
    """
    if values.shape[1] < 2:
        return None
    return _interval((values.double().mean(0).numpy(),), np.mean)


def interval_of_correlation(
    pairs: Sequence[tuple[Int[Tensor, " _"], Int[Tensor, " _"]]],
) -> Interval | None:
    """Interval of Pearson's r of two numbers a sequence (CapCorr: observed roll and start), mean over seeds.

    One pair for each seed, resampled as whole sequences. None where r is not defined for the data
    or for one of the resamples, as when too few sequences are left.
    """
    data = [(x.double().numpy(), y.double().numpy()) for x, y in pairs]
    if min(len(x) for x, _ in data) < 2:
        return None

    def mean_r(*drawn: np.ndarray, axis: int) -> np.ndarray:
        return np.mean([_pearson(x[i], y[i], axis) for (x, y), i in zip(data, drawn, strict=True)], axis=0)

    return _interval(tuple(np.arange(len(x)) for x, _ in data), mean_r)


def _interval(data: tuple[np.ndarray, ...], statistic) -> Interval | None:
    from scipy.stats import DegenerateDataWarning, bootstrap  # takes a second, which few processes need

    options = {"n_resamples": RESAMPLES, "batch": _BATCH, "confidence_level": LEVEL, "method": "percentile"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # it says in words what nan says here
        found = bootstrap(data, statistic, vectorized=True, rng=np.random.default_rng(0), **options)
    low, high = (float(end) for end in found.confidence_interval)
    return None if np.isnan(low) else (low, high)


def _pearson(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    x, y = (v - v.mean(axis, keepdims=True) for v in (x, y))
    with np.errstate(invalid="ignore"):  # 0/0 where all rolls or all starts are equal
        return (x * y).sum(axis) / np.sqrt((x * x).sum(axis) * (y * y).sum(axis))
