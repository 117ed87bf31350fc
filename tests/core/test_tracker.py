"""The range tracker, by Monte Carlo: late by little, and silent while nothing happens.

The numbers regress against the reference simulation: 15 Hz, sigma 1 cm, 3 % outliers (a third of them at full range),
5 % dropouts.
"""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import pytest
from tests.core.synth import approach, ranges, steady, times
from tests.core.test_hazards import Rear

from retrowalk.config import Collision, RangeTracker, Walker
from retrowalk.core.events import Level
from retrowalk.core.hazards import collision_level, needed_m
from retrowalk.core.tracker import RangeTracker as Tracker

RUNS = 200
NOISE: dict[str, Any] = {"sigma_m": 0.01, "outliers": 0.03, "dropouts": 0.05}
STRESS: dict[str, Any] = {"sigma_m": 0.03, "outliers": 0.10, "dropouts": 0.15}


def warning_errors(speed: float, noise: dict[str, Any], runs: int, seed: int) -> list[float]:
    """Time of the first warning less the true time (positive: late), run by run; a missing warning counts 9 s."""
    errors = []
    rng = random.Random(seed)
    start_m = 3.9
    due = (start_m - needed_m(Level.WARNING, speed, Walker(), Collision())) / speed
    for _ in range(runs):
        rear = Rear()
        for sample in ranges(approach(0.0, start_m, speed, until_m=0.3), latency_s=0.0, rng=rng, **noise):
            rear.hazard.feed(sample, True)
            if rear.level is Level.WARNING:
                errors.append(sample.t_received_s - due)
                break
        else:
            errors.append(9.0)
    return errors


@pytest.mark.slow
@pytest.mark.parametrize("speed", [0.4, 0.6, 0.8])
def test_warnings_come_in_time(speed):
    """200 noisy approaches: 95 of 100 warnings within 0.35 s of the true moment, and never half a second late."""
    errors = sorted(warning_errors(speed, NOISE, RUNS, seed=round(100 * speed)))
    late, early = errors[int(0.95 * RUNS)], errors[int(0.05 * RUNS)]
    print(
        f"\n{speed} m/s: median {statistics.median(errors):+.3f} s, "
        f"p5 {early:+.3f}, p95 {late:+.3f}, max {errors[-1]:+.3f}"
    )
    assert max(abs(late), abs(early)) < 0.35
    assert errors[-1] < 0.6


def test_warnings_come_in_time_under_stress():
    """Three times the noise and outliers: 95 of 100 are not later than 0.5 s."""
    errors = sorted(warning_errors(0.6, STRESS, 100, seed=5))
    print(f"\nstress: median {statistics.median(errors):+.3f} s, p95 {errors[95]:+.3f}, max {errors[-1]:+.3f}")
    assert errors[95] < 0.5


@pytest.mark.parametrize("walking", [pytest.param(False, id="known to stand"), pytest.param(None, id="no clip")])
@pytest.mark.slow
def test_an_hour_beside_a_wall_is_silent(walking):
    """Standing 1.5 m from a wall for an hour, with outliers and dropouts, raises no warning and no caution."""
    rear = Rear(walking).feed(steady(-2.0, 0.0, 1.5))
    raised = 0
    for sample in ranges(steady(0.0, 3600.0, 1.5), latency_s=0.0, rng=random.Random(4), **NOISE):
        before = rear.level
        rear.hazard.feed(sample, walking)
        raised += rear.level > max(before, Level.ADVISORY)
    assert raised == 0


@pytest.mark.slow
@pytest.mark.parametrize("range_m", [0.25, 0.4, 0.55, 0.8])
@pytest.mark.parametrize("sway_m", [0.0, 0.03])
def test_standing_close_beside_a_wall_does_not_nag(range_m, sway_m):
    """Ten minutes of standing near a wall: after the first warning has grown quiet, at most one more."""
    rear = Rear(walking=False)
    place = [(t, range_m + sway_m * math.sin(2 * math.pi * 0.3 * t)) for t in times(0.0, 600.0)]
    raised = 0
    for sample in ranges(place, latency_s=0.0, rng=random.Random(1), **NOISE):
        before = rear.level
        rear.hazard.feed(sample, False)
        raised += rear.level > max(before, Level.ADVISORY)
    assert raised <= 2


def feed(tracker: Tracker, *values: float | None, start_s: float = 0.0, dt_s: float = 0.067) -> Tracker:
    for i, value in enumerate(values):
        if value is not None:
            tracker.update(start_s + i * dt_s, value)
    return tracker


def test_it_starts_on_two_agreeing_samples_never_on_one():
    """One sample starts nothing; two that agree do; closing speed is published from the third on."""
    tracker = Tracker(RangeTracker())
    assert not feed(tracker, 2.0).alive
    assert not feed(tracker, 1.0, start_s=0.067).alive
    assert feed(tracker, 1.0, start_s=0.134).alive
    assert tracker.closing_speed_m_s is None
    assert feed(tracker, 1.0, start_s=0.2).closing_speed_m_s == pytest.approx(0.0, abs=0.01)


def test_samples_far_apart_in_time_do_not_start_a_track():
    """Two echoes a second apart speak of nothing."""
    assert not feed(Tracker(RangeTracker()), 1.0, 1.0, dt_s=1.0).alive


def test_an_outlier_moves_nothing():
    """A single stray echo neither moves the range nor the speed."""
    tracker = feed(Tracker(RangeTracker()), *[3.0 - 0.04 * i for i in range(30)])
    before = tracker.range_m(2.0), tracker.closing_speed_m_s
    feed(tracker, 0.4, start_s=30 * 0.067)
    assert (tracker.range_m(2.0), tracker.closing_speed_m_s) == before
    assert tracker.rejected == 1


def test_three_agreeing_rejects_are_something_new():
    """Someone steps in: the third echo in a row from there moves the track there."""
    tracker = feed(Tracker(RangeTracker()), *[3.0] * 30)
    feed(tracker, 1.2, 1.2, 1.2, start_s=30 * 0.067)
    assert tracker.range_m(tracker.last_s) == pytest.approx(1.2, abs=0.05)


def test_one_echo_never_revives_a_blind_track():
    """After a second without an accepted echo the gate would take anything: it takes two that agree."""
    tracker = feed(Tracker(RangeTracker()), *[1.5] * 30)
    last = tracker.last_s
    feed(tracker, 2.6, start_s=last + 1.5)
    assert tracker.last_s == last
    feed(tracker, 2.6, start_s=last + 1.567)
    assert tracker.last_s > last
    assert tracker.range_m(tracker.last_s) == pytest.approx(2.6, abs=0.1)


@pytest.mark.parametrize("range_m", [0.5, 1.5, 3.5])
def test_it_is_blind_after_half_a_second(range_m):
    """Without an accepted sample for 0.5 s the track is blind, not before."""
    rear = Rear().feed(steady(0.0, 2.0, range_m))
    last = rear.hazard.tracker.last_s
    assert not rear.hazard.blind(last + 0.49)
    assert rear.hazard.blind(last + 0.51)


def test_older_echoes_tell_nothing_new():
    """A sample measured before the last one is left out, so that order of arrival cannot turn speed round."""
    tracker = feed(Tracker(RangeTracker()), *[3.0 - 0.04 * i for i in range(30)])
    before = tracker.closing_speed_m_s
    assert not tracker.update(1.0, 2.4)
    assert tracker.closing_speed_m_s == before


def test_closing_speed_is_right():
    """A steady approach: closing speed within 3 cm/s after a second."""
    tracker = feed(Tracker(RangeTracker()), *[3.0 - 0.6 * 0.067 * i for i in range(20)])
    assert tracker.closing_speed_m_s == pytest.approx(0.6, abs=0.03)
    assert collision_level(tracker.range_m(tracker.last_s), 0.6, Walker(), Collision()) is Level.CAUTION
