"""The intervals of the bench: against known tables, and against what they promise."""

from __future__ import annotations

import random

import pytest

from retrowalk.bench import stats


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [
        pytest.param(0, 1000, 0.0, 0.003682, id="none seen"),
        pytest.param(5, 100, 0.01643, 0.11284, id="five of a hundred"),
        pytest.param(100, 100, 0.96378, 1.0, id="all seen"),
    ],
)
def test_share_has_the_exact_interval(hits, of, low, high):
    """Clopper and Pearson's, as tables have it; a share that was never seen is not never"""
    value, found_low, found_high = stats.share(hits, of)
    assert [found_low, found_high] == pytest.approx([low, high], abs=1e-5)
    assert 0.0 < value < 1.0


@pytest.mark.parametrize(("freedom", "t"), [(2, 4.3027), (4, 2.7764), (20, 2.0860)])
def test_student(freedom, t):
    """Student's quantile, as tables have it"""
    assert stats.t95(freedom) == pytest.approx(t, abs=1e-3)


@pytest.mark.parametrize(("p", "freedom", "value"), [(0.975, 20, 34.170), (0.025, 20, 9.591), (0.975, 200, 241.06)])
def test_chi_squared(p, freedom, value):
    """Its quantile, as tables have it"""
    assert stats.chi2(p, freedom) == pytest.approx(value, rel=2e-3)


def test_minimum_is_found_and_its_curvature():
    """A bowl that lies askew: its lowest point, and the spread that its shape means"""

    def bowl(x):
        return 2.0 * (x[0] - 1.0) ** 2 + 0.5 * (x[1] + 3.0) ** 2 + 0.8 * (x[0] - 1.0) * (x[1] + 3.0)

    best = stats.minimise(bowl, [0.0, 0.0])
    assert best == pytest.approx([1.0, -3.0], abs=1e-2)
    spread = stats.covariance(bowl, best)
    assert spread[0][0] == pytest.approx(1.0 / (4.0 - 0.64), rel=1e-3)
    assert spread[0][1] == pytest.approx(-0.8 / (4.0 - 0.64), rel=1e-3)


def test_interval_of_a_spread_holds_what_it_promises():
    """Of many spreads of twenty numbers 95 in 100 intervals have the true one"""
    draw = random.Random(1)
    inside = 0
    for _ in range(1000):
        values = [draw.gauss(0.0, 2.0) for _ in range(20)]
        middle = sum(values) / 20
        sigma = (sum((value - middle) ** 2 for value in values) / 19) ** 0.5
        _, low, high = stats.spread(sigma, 19)
        inside += low <= 2.0 <= high
    assert 930 <= inside <= 970
