"""The little statistics that a bench needs: intervals of shares, means and spreads, and a minimiser.  No NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean, stdev

Z95 = NormalDist().inv_cdf(0.975)


def beta_cdf(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function (continued fraction)."""
    if x <= 0.0 or x >= 1.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - beta_cdf(1.0 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1.0 / max(1e-300, 1.0 - (a + b) * x / (a + 1.0))
    total = d
    for m in range(1, 400):
        step = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1.0 / (1.0 + step * d), 1.0 + step / c
        total *= d * c
        step = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1.0 / (1.0 + step * d), 1.0 + step / c
        total *= d * c
        if abs(d * c - 1.0) < 1e-13:
            break
    return front * total


def _solve(rising: Callable[[float], float], goal: float, low: float, high: float) -> float:
    for _ in range(100):
        middle = (low + high) / 2.0
        low, high = (middle, high) if rising(middle) < goal else (low, middle)
    return (low + high) / 2.0


def share(hits: int, of: int) -> tuple[float, float, float]:
    """A chance from counts, with its exact 95 % interval (Clopper and Pearson).

    None seen does not mean never: the value is (hits + 1/2) / (of + 1).
    """
    low = 0.0 if hits == 0 else _solve(lambda x: beta_cdf(x, hits, of - hits + 1), 0.025, 0.0, 1.0)
    high = 1.0 if hits == of else _solve(lambda x: beta_cdf(x, hits + 1, of - hits), 0.975, 0.0, 1.0)
    return (hits + 0.5) / (of + 1.0), low, high


def t95(freedom: float) -> float:
    """Student's quantile for a 95 % interval."""

    def cdf(t: float) -> float:
        return 1.0 - 0.5 * beta_cdf(freedom / (freedom + t * t), freedom / 2.0, 0.5)

    return _solve(cdf, 0.975, 0.0, 1000.0)


def chi2(p: float, freedom: float) -> float:
    """Quantile of chi squared (Wilson and Hilferty)."""
    h = 2.0 / (9.0 * freedom)
    return float(freedom * max(1e-9, 1.0 - h + NormalDist().inv_cdf(p) * math.sqrt(h)) ** 3)


def mean(values: Sequence[float], least: float = 0.0) -> tuple[float, float, float]:
    """A mean with its 95 % interval, which is `least` of it at least either way: what one run alone cannot show."""
    middle = fmean(values)
    half = t95(len(values) - 1) * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    half = max(half, least * abs(middle))
    return middle, middle - half, middle + half


def spread(value: float, freedom: float) -> tuple[float, float, float]:
    """A standard deviation with its 95 % interval."""
    return value, value * math.sqrt(freedom / chi2(0.975, freedom)), value * math.sqrt(freedom / chi2(0.025, freedom))


Function = Callable[[Sequence[float]], float]


def gradient(f: Function, x: Sequence[float], step: float = 1e-4) -> list[float]:
    """Slope by central differences."""
    found = []
    for i in range(len(x)):
        up, down = list(x), list(x)
        up[i] += step
        down[i] -= step
        found.append((f(up) - f(down)) / (2.0 * step))
    return found


def minimise(f: Function, start: Sequence[float], turns: int = 200) -> list[float]:
    """Where a smooth function is smallest (BFGS with numerical slopes)."""
    n = len(start)
    x, value, slope = list(start), f(start), gradient(f, start)
    inverse = [[0.01 * (i == j) for j in range(n)] for i in range(n)]
    for _ in range(turns):
        way = [-sum(inverse[i][j] * slope[j] for j in range(n)) for i in range(n)]
        falls = sum(a * b for a, b in zip(way, slope, strict=True))
        if falls >= 0.0:
            inverse = [[0.01 * (i == j) for j in range(n)] for i in range(n)]
            way = [-0.01 * g for g in slope]
            falls = sum(a * b for a, b in zip(way, slope, strict=True))
        longest = max(map(abs, way), default=0.0)
        share_of = min(1.0, 2.0 / longest) if longest > 0.0 else 1.0
        while True:
            there = [a + share_of * b for a, b in zip(x, way, strict=True)]
            found = f(there)
            if found <= value + 1e-4 * share_of * falls or share_of < 1e-8:
                break
            share_of /= 2.0
        after = gradient(f, there)
        s = [a - b for a, b in zip(there, x, strict=True)]
        y = [a - b for a, b in zip(after, slope, strict=True)]
        done = value - found < 1e-7
        x, value, slope = there, found, after
        sy = sum(a * b for a, b in zip(s, y, strict=True))
        if done:
            break
        if sy > 1e-10:
            hy = [sum(inverse[i][j] * y[j] for j in range(n)) for i in range(n)]
            yhy = sum(a * b for a, b in zip(y, hy, strict=True))
            for i in range(n):
                for j in range(n):
                    inverse[i][j] += (1.0 + yhy / sy) * s[i] * s[j] / sy - (hy[i] * s[j] + s[i] * hy[j]) / sy
    return x


def covariance(f: Function, x: Sequence[float], step: float = 0.02) -> list[list[float]]:
    """Of estimates that minimise a negative log-likelihood: the inverse of its curvature."""
    n = len(x)

    def at(*moves: tuple[int, float]) -> float:
        there = list(x)
        for i, by in moves:
            there[i] += by
        return f(there)

    curve = [[0.0] * n for _ in range(n)]
    middle = f(x)
    for i in range(n):
        curve[i][i] = (at((i, step)) - 2.0 * middle + at((i, -step))) / step**2
        for j in range(i):
            mixed = at((i, step), (j, step)) - at((i, step), (j, -step)) - at((i, -step), (j, step))
            curve[i][j] = curve[j][i] = (mixed + at((i, -step), (j, -step))) / (4.0 * step**2)
    return inverted(curve)


def inverted(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """Inverse of a small matrix (Gauss and Jordan)."""
    n = len(matrix)
    rows = [[*row, *(float(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for i in range(n):
        pivot = max(range(i, n), key=lambda k: abs(rows[k][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        scale = rows[i][i] or 1e-12
        rows[i] = [value / scale for value in rows[i]]
        for k in range(n):
            if k != i and rows[k][i]:
                factor = rows[k][i]
                rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i], strict=True)]
    return [row[n:] for row in rows]
