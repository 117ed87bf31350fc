"""Ranges that stand still though the wearer steps."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from retrowalk.config import Config, HcSr04, TfLuna
from retrowalk.core.hazards import Followed, RearHazard
from retrowalk.core.samples import RangeSample, RangeStatus
from retrowalk.core.standstill import SAME_ECHO_M, WINDOW_S, Standstill

PING_S, STEP_S = 0.065, 0.6
NOISE = random.Random(5)


def steps(range_m: Callable[[float], float | None], until_s: float = 6.0, walks_s: float = 0.0) -> list[float]:
    """Times of the steps at which the sensor is found to stand still; None is "no target"."""
    watch = Standstill(SAME_ECHO_M)
    found = []
    NOISE.seed(5)
    step_s = walks_s + STEP_S
    for ping in range(int(until_s / PING_S)):
        t = ping * PING_S
        seen = range_m(t)
        if seen is None:
            watch.saw_nothing()
        else:
            watch.saw_range(t, seen)
        if t >= step_s:
            if watch.stepped(t, walks_s):
                found.append(t)
            step_s += STEP_S
    return found


def stamped(t: float) -> float:
    """A module that always says 1 m, by edges whose stamps jitter by 30 us each."""
    return 1.0 + 171.0 * (NOISE.uniform(0.0, 30e-6) - NOISE.uniform(0.0, 30e-6))


def followed(t: float) -> float:
    """Somebody who follows a metre behind: two bodies, two steps, a few centimetres."""
    return 1.0 + 0.012 * math.sin(10.0 * t) + 0.010 * math.sin(8.3 * t + 1.0) + NOISE.gauss(0.0, 0.003)


def on_the_spot(t: float) -> float:
    """Stepping on the spot before a wall: the trunk sways by a centimetre to each side."""
    return 1.0 + 0.010 * math.sin(10.0 * t) + NOISE.gauss(0.0, 0.003)


@pytest.mark.parametrize(
    "range_m",
    [
        pytest.param(lambda t: 3.176, id="one number for ever"),
        pytest.param(stamped, id="but for the stamps"),
        pytest.param(lambda t: 0.5 if NOISE.random() < 0.03 else stamped(t), id="and stray echoes"),
    ],
)
def test_a_sensor_that_repeats_itself_is_known_within_three_seconds_of_stepping(range_m):
    """The window, and the step that ends it"""
    found = steps(range_m)
    assert found
    assert WINDOW_S <= found[0] <= 2.8


@pytest.mark.parametrize(
    "range_m",
    [
        pytest.param(lambda t: 3.0 - 0.1 * t, id="slow shuffling"),
        pytest.param(followed, id="somebody follows"),
        pytest.param(on_the_spot, id="on the spot before a wall"),
        pytest.param(lambda t: None if int(t / PING_S) % 20 == 0 else 1.0, id="it sees nothing now and then"),
        pytest.param(lambda t: stamped(t) if int(t / PING_S) % 3 == 0 else None, id="clutter"),
    ],
)
def test_ranges_that_move_are_believed(range_m):
    """Whoever walks, follows or steps on the spot keeps no distance to the millimetre"""
    assert steps(range_m, 60.0) == []


def test_who_stands_before_a_wall_keeps_his_distance():
    """It is judged at steps only, and over steps only: standing first and then walking off is no fault"""
    assert steps(lambda t: stamped(t) if t < 4.0 else 1.0 - 0.4 * (t - 4.0), 5.0, walks_s=4.0) == []


def test_it_is_over_when_the_ranges_move():
    """A second of other ranges, and the sensor is believed again"""
    watch = Standstill(SAME_ECHO_M)
    for ping in range(80):
        t = ping * PING_S
        watch.saw_range(t, 1.0 if t < 3.0 else 1.0 + 0.3 * (t - 3.0))
        if ping == 40:
            assert watch.stepped(t, 0.0)
    assert not watch.frozen


def _hazard(sensor: HcSr04 | TfLuna) -> RearHazard:
    config = Config()
    return RearHazard(sensor, config.walker, config.collision, config.freshness, config.tracker)


@pytest.mark.parametrize(("sensor", "expected"), [(HcSr04(), True), (TfLuna(), False)], ids=["ultrasonic", "lidar"])
def test_only_sensors_without_a_tick_are_judged_so(sensor, expected):
    """A lidar counts centimetres and its driver watches its tick"""
    rear = _hazard(sensor)
    for ping in range(60):
        t = ping * PING_S
        rear.feed(RangeSample(t, t, sensor.name, RangeStatus.VALID, 1.5), True)
    assert rear.stepped(60 * PING_S, 0.0) is expected
    assert rear.frozen is expected


def test_a_sensor_that_comes_back_asks_the_other_how_fast_the_wall_nears():
    """Two echoes of a wall that is being left are no "Stop" when another sensor has followed it for long"""
    alone, helped = _hazard(HcSr04()), _hazard(HcSr04())
    helped.others = [Followed(1.25, -0.6, with_walker=False, by_light=True)]
    for rear in (alone, helped):
        for ping in range(2):
            t = ping * PING_S
            rear.feed(RangeSample(t, t, "rear", RangeStatus.VALID, 1.2 + 0.6 * t), True)
    assert alone.behind.level.name == "WARNING"
    assert helped.behind.level.name == "NONE"
