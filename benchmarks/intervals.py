"""95 % intervals of what benchmarks count: shares, rates, quantiles."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z = 1.959964
"""Two-sided 95 % of a normal distribution."""


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Interval of a share (Wilson's score interval, without continuity correction), as shares; n = 0: all of it."""
    if n == 0:
        return 0.0, 1.0
    middle = (hits + Z * Z / 2.0) / (n + Z * Z)
    half = Z / (n + Z * Z) * math.sqrt(hits * (n - hits) / n + Z * Z / 4.0)
    return max(0.0, middle - half), min(1.0, middle + half)


def poisson(count: int) -> tuple[float, float]:
    """Exact interval of the mean of a Poisson count (Garwood)."""
    low = 0.0 if count == 0 else _solve(lambda mean: 1.0 - _poisson_cdf(count - 1, mean), 0.025, count)
    return low, _solve(lambda mean: 1.0 - _poisson_cdf(count, mean), 0.975, count + 1)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def quantile_interval(values: Sequence[float], share: float) -> tuple[float, float]:
    """Distribution-free interval of a quantile, by order statistics.

    The outermost values stand in where the sample is too small for 95 %.
    """
    ordered = sorted(values)
    n = len(ordered)
    low = high = 0
    below = 0.0  # P(fewer than k values lie below the quantile), k rising
    for k in range(n + 1):
        chance = _binomial(k, n, share)
        if below + chance <= 0.025:
            low = k + 1
        if below < 0.975:
            high = k
        below += chance
    return ordered[min(max(low - 1, 0), n - 1)], ordered[min(high, n - 1)]


def _binomial(k: int, n: int, p: float) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
    return math.exp(log)


def _poisson_cdf(count: int, mean: float) -> float:
    return math.fsum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(count + 1))


def _solve(rising: object, target: float, near: float) -> float:
    """Where a rising function of a positive number reaches the target."""
    low, high = 1e-9, 2.0 * near + 20.0
    for _ in range(80):
        middle = (low + high) / 2.0
        if rising(middle) < target:  # type: ignore[operator]
            low = middle
        else:
            high = middle
    return (low + high) / 2.0
