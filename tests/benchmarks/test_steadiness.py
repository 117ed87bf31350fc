"""The judgement of `benchmarks/steadiness.py`: its bounds, its counting, and what its walkers do."""

from __future__ import annotations

import argparse
import math

import pytest
from tests.benchmarks.program import FOLDER, load


@pytest.fixture(scope="module")
def steadiness():
    """The program as a module."""
    return load(FOLDER / "steadiness.py")


@pytest.mark.parametrize(
    ("count", "bounds"),
    [
        pytest.param(0, (0.0, 3.689), id="none"),
        pytest.param(1, (0.0253, 5.572), id="one"),
        pytest.param(10, (4.795, 18.39), id="ten"),
    ],
)
def test_bounds_of_a_count(steadiness, count, bounds):
    """The exact 95 % bounds of published tables."""
    assert steadiness.poisson_95(count) == pytest.approx(bounds, abs=0.005)


def test_a_rate_is_an_hour_of_walking(steadiness):
    """Three messages in two hours: 1.5 an hour, and the goal of one is missed."""
    row = steadiness.rate("said", "all", 3, 7200.0, "<= 1")
    assert row.value == 1.5
    assert row.ci95 == pytest.approx((0.31, 4.38), abs=0.01)
    assert row.met is False


def test_every_set_is_counted_in_all(steadiness):
    """What is said in each set adds up; a set without walking has no row."""
    one, two = steadiness.Found(walked_s=3600.0), steadiness.Found(walked_s=3600.0)
    one.said["unsteady"] += 1
    two.said["lean_back"] += 2
    rows = steadiness.rows_of({"gait_l5": one, "sisfall": two, "backward_mocap": steadiness.Found()}, "x")
    values = {row.case: row.value for row in rows if row.metric == "steadiness_said_per_h"}
    assert "backward_mocap" not in values
    assert (values["gait_l5"], values["sisfall"], values["all"]) == (1.0, 2.0, 1.5)
    assert (values["unsteady"], values["lean_back"], values["shuffling"]) == (0.5, 1.0, 0.0)


def test_simulated_walkers_change_when_they_are_said_to(steadiness):
    """Nothing before, something after: the clip of one who hurries differs from that of one who does not."""
    does, _ = steadiness.IMPAIRED["hurries, 45 % faster"]
    pairs = zip(steadiness.walks(1, does), steadiness.walks(1, None), strict=True)
    first = next(a.t_measured_s for a, b in pairs if a != b)
    assert first == pytest.approx(steadiness.CHECKED_S + steadiness.STEADY_S, abs=0.05)


def test_quick_takes_whole_people(steadiness, recorded_data):
    """Every walk of some of them, none of the others; edited loops never."""
    every = steadiness.chosen(recorded_data, argparse.Namespace(quick=False, seed=1))
    few = steadiness.chosen(recorded_data, argparse.Namespace(quick=True, seed=1))
    people = {(t.set_name, t.subject) for t in few}
    assert few == [t for t in every if (t.set_name, t.subject) in people]
    assert 0 < len(few) < len(every) / 3
    assert not any(t.row.get("edited_loop") == "1" for t in every)
    assert math.isfinite(sum(t.duration_s for t in every))
