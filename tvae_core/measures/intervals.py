"""Bootstrap intervals: how far a measure would move on other test sequences of the same kind.

Percentile intervals over resampled sequences (Efron & Tibshirani 1993), the same in every call. They say
nothing about other seeds, which the standard deviation beside them does.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tvae_core.measures.catalog import MARGINS
from tvae_core.measures.rolls import margin_costs

LEVEL = 0.95
RESAMPLES = 2000

Interval = tuple[float, float]
Values = Float[np.ndarray, "K _"]  # K numbers of each sequence
Statistic = Callable[[Float[np.ndarray, "R K"]], Float[np.ndarray, " R"]]  # of the K means of R resamples


def interval_of(key: str, factor: int | None, seeds: Sequence[Mapping[str, Tensor]]) -> Interval | None:
    """Return the interval of a measure (catalog.MEASURES), averaged over seeds; None where it is undefined.

    factor: the index of the factor for measures that have a value for each. seeds: for each seed the values
    by sequence (evaluation.evaluate_sequences).
    """
    found = [_values(key, factor, values) for values in seeds]
    return bootstrap(found[0][0], [values for _, values in found])


def _values(key: str, factor: int | None, values: Mapping[str, Tensor]) -> tuple[Statistic, Values]:
    member = slice(None) if factor is None else values["varied"] == factor
    if key in MARGINS:
        return _margin, margin_costs(key, values)[:, member].double().numpy()
    if key.startswith("capcorr"):
        x, y = values[key.replace("capcorr", "observed")], values["start"]
        x, y = (v[member & (x >= 0)].double().numpy() for v in (x, y))
        return _correlation, np.stack([x, y, x * x, y * y, x * y])
    names = ("e_eq", "e_eq_chance") if key == "e_eq_share" else (key,)
    return _ratio if len(names) > 1 else _mean, np.stack([values[name].double().numpy() for name in names])


def bootstrap(statistic: Statistic, seeds: Sequence[Values]) -> Interval | None:
    """Return the percentile interval of a statistic of K means over sequences, averaged over seeds.

    A sequence is drawn for all seeds at once where they have the same number of sequences, since these are
    then the same ones. None for fewer than two sequences, and where a resample leaves the statistic
    undefined.
    """
    if min(values.shape[1] for values in seeds) < 2:
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        resampled = [statistic(_shares(values.shape[1]) @ values.T) for values in seeds]
    ends = np.quantile(np.mean(resampled, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return None if np.isnan(ends).any() else (float(ends[0]), float(ends[1]))


@lru_cache(maxsize=8)
def _shares(n: int) -> Float[np.ndarray, "R n"]:
    """How large a share each of n sequences has of each resample."""
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    return (drawn / n).astype(np.float32 if n > 1000 else np.float64)


def _mean(means: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    return means[:, 0]


def _ratio(means: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    return means[:, 0] / means[:, 1]


def _margin(means: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    return means[:, 1:].min(1) - means[:, 0]


def _correlation(means: Float[np.ndarray, "R K"]) -> Float[np.ndarray, " R"]:
    x, y, xx, yy, xy = means.T
    spread = np.maximum(xx - x * x, 0) * np.maximum(yy - y * y, 0)
    return (xy - x * y) / np.sqrt(np.where(spread > 1e-12, spread, np.nan))
