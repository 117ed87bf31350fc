"""The ultrasonic driver on simulated pins: what each kind of echo, line and fault becomes."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devices.bench import BenchFactory, EchoModule, Run, VirtualClock

from retrowalk.config import HcSr04
from retrowalk.core.air import speed_of_sound_m_s
from retrowalk.core.samples import HealthReport, RangeSample, RangeStatus
from retrowalk.devices.ultrasonic import Ultrasonic

TRIGGER, ECHO = 23, 24


class Bench:
    """A driver and a module that answers with the echo of a wall at `wall_m`, or as `answer` says."""

    def __init__(self, config: HcSr04 | None = None, wall_m: float = 1.5, origin_mono_s: float = 0.0) -> None:
        self.config = config or HcSr04()
        self.wall_m = wall_m
        self.clock = VirtualClock(origin_mono_s)
        self.factory = BenchFactory(self.clock)
        self.module = EchoModule(self.factory, TRIGGER, ECHO, self.echo_s)
        self.driver = Ultrasonic(self.config, self.factory, self.clock)
        self.run = Run(self.driver, self.clock)
        self.pin = self.module.echo

    def echo_s(self) -> float | None:
        return 2.0 * self.wall_m / speed_of_sound_m_s(self.config.temperature_c)

    def samples(self, since_s=0.0) -> list[RangeSample]:
        return self.run.of(RangeSample, since_s)

    def statuses(self, since_s=0.0) -> set[RangeStatus]:
        return {sample.status for sample in self.samples(since_s)}

    def reports(self) -> list[HealthReport]:
        return self.run.of(HealthReport)


# --------------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize("temperature_c", [-20.0, 0.0, 20.0, 45.0])
@pytest.mark.parametrize("wall_m", [0.0201, 0.05, 0.5, 1.0, 2.0, 3.0, 3.999])
def test_range_is_the_walls(wall_m, temperature_c):
    """With exact edges the range is within 3 mm of the truth at every distance and temperature"""
    bench = Bench(HcSr04(temperature_c=temperature_c), wall_m)
    bench.run.until(1.0)
    assert len(bench.samples()) >= 10
    for sample in bench.samples():
        assert sample.status is RangeStatus.VALID
        assert sample.range_m == pytest.approx(wall_m, abs=0.003)


def test_speed_of_sound_is_the_published_one():
    """Speed of sound at the temperatures of the table it was taken from"""
    assert [round(speed_of_sound_m_s(t), 1) for t in (-10, 0, 10, 20, 30, 40)] == [
        325.2,
        331.3,
        337.3,
        343.2,
        349.0,
        354.7,
    ]


def test_sample_is_measured_at_mid_flight():
    """A sample is stamped with the moment the sound was at the target, on the session's clock"""
    bench = Bench(wall_m=3.0)
    bench.run.until(0.05)
    (sample,) = bench.samples()
    trigger_s = bench.module.pings[0] + 12e-6
    assert sample.t_measured_s == pytest.approx(trigger_s + 0.000_45 + 3.0 / 331.3, abs=20e-6)
    assert sample.t_received_s == pytest.approx(trigger_s + 0.000_45 + 6.0 / 331.3, abs=20e-6)


@pytest.mark.parametrize("wall_m", [0.3, 1.0, 3.0])
def test_rate_is_enough(wall_m):
    """At least 14 samples a second at every range, and never two pings within 60 ms"""
    bench = Bench(wall_m=wall_m)
    bench.run.until(10.0)
    assert len(bench.samples()) >= 140
    assert min(b - a for a, b in pairwise(bench.module.pings)) >= 0.060 - 1e-9


def test_two_walkers_do_not_lock():
    """Pings are jittered, and devices switched on at other moments begin elsewhere in the jitter"""
    first, second = Bench(), Bench(origin_mono_s=0.003)
    first.run.until(5.0)
    second.run.until(5.0)
    apart = [round(a - b, 4) for a, b in zip(first.module.pings, second.module.pings, strict=False)]
    assert max(apart.count(value) for value in apart[1:]) <= len(apart) / 4


@pytest.mark.parametrize(
    ("width_s", "status"),
    [
        pytest.param(0.000_010, RangeStatus.REJECTED, id="a spike"),
        pytest.param(0.000_115, RangeStatus.REJECTED, id="nearer than 2 cm"),
        pytest.param(0.000_125, RangeStatus.VALID, id="2 cm"),
        pytest.param(0.024_1, RangeStatus.VALID, id="just under 4 m"),
        pytest.param(0.024_2, RangeStatus.NO_TARGET, id="just over 4 m"),
        pytest.param(0.030, RangeStatus.NO_TARGET, id="beyond reach"),
        pytest.param(0.036, RangeStatus.NO_TARGET, id="module with 36 ms"),
        pytest.param(0.038, RangeStatus.NO_TARGET, id="module with 38 ms"),
        pytest.param(0.060, RangeStatus.NO_TARGET, id="module with 60 ms"),
        pytest.param(0.110, RangeStatus.NO_TARGET, id="module with 110 ms"),
        pytest.param(0.200, RangeStatus.NO_TARGET, id="module with 200 ms"),
        pytest.param(1.000, RangeStatus.STUCK, id="longer than any module"),
        pytest.param(None, RangeStatus.NO_ECHO, id="no pulse at all"),
    ],
)
def test_pulse_becomes(width_s, status):
    """Each width of pulse has one meaning, a range only when valid, and samples never pause for 0.3 s"""
    bench = Bench()
    bench.module.answer = lambda: width_s
    bench.run.until(0.9)
    assert bench.statuses() == {status}
    assert all((sample.range_m is None) == (status is not RangeStatus.VALID) for sample in bench.samples())
    assert max(b - a for a, b in pairwise([0.0, *(sample.t_received_s for sample in bench.samples())])) < 0.3
    assert bench.driver.counts[status.value] == len(bench.samples())


def test_range_beyond_the_configured_one_is_no_target():
    """An echo from beyond `range_max_m` counts as no target"""
    bench = Bench(HcSr04(range_max_m=2.0, clear_range_m=2.0), wall_m=2.5)
    bench.run.until(0.5)
    assert bench.statuses() == {RangeStatus.NO_TARGET}


@pytest.mark.parametrize("status", [RangeStatus.NO_TARGET, RangeStatus.NO_ECHO])
def test_without_range_measured_is_the_trigger(status):
    """What has no echo is stamped with its trigger"""
    bench = Bench()
    bench.module.answer = lambda: 0.038 if status is RangeStatus.NO_TARGET else None
    bench.run.until(0.09)
    assert bench.samples()[0].status is status
    assert bench.samples()[0].t_measured_s == pytest.approx(bench.module.pings[0], abs=1e-6)


@pytest.mark.parametrize("width_s", [0.038, 0.060, 0.110, 0.200])
def test_no_ping_into_a_running_pulse(width_s):
    """The next ping waits until the echo line is low again"""
    bench = Bench()
    bench.module.answer = lambda: width_s
    bench.run.until(3.0)
    level, since = False, {}
    for t_s, gpio, high in bench.factory.history:
        if gpio == ECHO:
            level = high
        elif high:
            since[t_s] = level
    assert since
    assert not any(since.values())


# ------------------------------------------------------------------------------------------------- faults


def test_unplugged_sensor_is_named_within_a_second():
    """Unplugged while working: samples go on as no-echo, one report names it, one says it is over"""
    bench = Bench()
    bench.run.until(2.0)
    bench.module.plugged = False
    bench.run.until(6.0)
    assert bench.statuses(2.1) == {RangeStatus.NO_ECHO}
    assert len(bench.samples(2.1)) >= 14 * 3.9
    (report,) = bench.reports()
    assert (report.part, report.fault, report.active) == ("rear", "absent", True)
    assert 2.5 < report.t_received_s < 2.9
    assert "GPIO24" in report.detail
    bench.module.plugged = True
    bench.run.until(6.2)
    assert [(r.fault, r.active) for r in bench.reports()] == [("absent", True), ("absent", False)]
    assert bench.samples()[-1].status is RangeStatus.VALID


def test_dead_edge_thread_is_noticed():
    """When no edge is ever delivered again, pings go on and the silence is named"""
    bench = Bench()
    bench.run.until(1.0)
    bench.factory.deaf = True
    pings = len(bench.module.pings)
    bench.run.until(2.0)
    assert bench.statuses(1.1) <= {RangeStatus.NO_ECHO, RangeStatus.REJECTED}
    assert len(bench.module.pings) > pings + 12
    assert [r.active for r in bench.reports()] == [True]


def test_stuck_line_is_named_and_not_pinged():
    """An echo line that stays high is reported within 0.5 s, without a ping, and is over when it falls"""
    bench = Bench()
    bench.run.until(1.0)
    bench.module.answer = lambda: 2.0
    bench.run.until(2.8)
    (report,) = bench.reports()
    assert (report.fault, report.active) == ("stuck", True)
    assert "GPIO24 stays high" in report.detail
    assert report.t_received_s < 1.5
    assert bench.statuses(1.4) == {RangeStatus.STUCK}
    assert sum(ping > 1.1 for ping in bench.module.pings) == 0
    bench.module.answer = bench.echo_s
    bench.run.until(3.4)
    assert bench.samples()[-1].status is RangeStatus.VALID
    assert [(r.fault, r.active) for r in bench.reports()] == [("stuck", True), ("stuck", False)]


def test_line_high_from_the_start_is_stuck():
    """A line that is high before the first ping is named after three tries"""
    bench = Bench()
    bench.pin.drive(True)
    bench.run.until(0.5)
    assert bench.statuses() == {RangeStatus.STUCK}
    assert bench.reports()[0].t_received_s < 0.2
    assert [(r.fault, r.active) for r in bench.reports()] == [("stuck", True)]


@pytest.mark.parametrize("gpio", [TRIGGER, ECHO])
def test_line_that_cannot_be_opened_is_tried_again(gpio):
    """A pin that is not there at start is an expected error with its number; the sensor works once it is"""
    bench = Bench()
    bench.factory.broken.add(gpio)
    bench.run.until(1.2)
    assert [error.fault for _, error in bench.run.errors] == ["absent"] * 3
    assert f"GPIO{gpio}" in bench.run.errors[0][1].detail
    bench.factory.broken.clear()
    bench.run.until(2.0)
    assert bench.statuses() == {RangeStatus.VALID}


@pytest.mark.parametrize("gpio", [TRIGGER, ECHO])
def test_line_that_is_lost_is_opened_again(gpio):
    """A pin that fails while working is an expected error, and is opened again"""
    bench = Bench()
    bench.run.until(1.0)
    bench.factory.broken.add(gpio)
    bench.run.until(1.8)
    assert {error.fault for _, error in bench.run.errors} == {"absent"}
    bench.factory.broken.clear()
    bench.run.until(3.0)
    assert len(bench.samples(2.4)) >= 8
    assert bench.statuses(2.4) == {RangeStatus.VALID}


def test_error_in_waking_does_not_reach_the_factory():
    """An exception on the way of an edge is counted, kept from the factory's thread, and costs no sample"""
    bench = Bench()

    def broken_wake() -> None:
        raise RuntimeError("runner is gone")

    bench.driver.wake = broken_wake
    bench.run.until(2.0)
    assert bench.statuses() == {RangeStatus.VALID}
    assert len(bench.samples()) >= 28


def test_close_leaves_the_trigger_low_and_no_handler():
    """A closed sensor has let go of its lines"""
    bench = Bench()
    bench.run.until(0.5)
    bench.driver.close()
    assert bench.pin.when_changed is None
    assert not bench.factory.pin(TRIGGER).state
    bench.driver.close()


# -------------------------------------------------------------------------------------------------- edges


def _edges(bench, *edges):
    """Lets the module answer each ping with edges given as (delivered after s, stamped after s, level)."""

    def answer() -> None:
        trigger_s, ticks = bench.clock.now(), bench.factory.ticks()
        for delivered_s, stamped_s, level in edges:
            bench.clock.at(trigger_s + delivered_s, partial(bench.pin.edge, ticks + stamped_s, level))

    bench.module.answer = answer


@pytest.mark.parametrize(
    ("edges", "expected", "reason"),
    [
        pytest.param([(0.001, 0.001, 1), (0.011, 0.011, 0)], RangeStatus.VALID, "", id="an echo"),
        pytest.param([(0.040, 0.001, 1), (0.041, 0.011, 0)], RangeStatus.VALID, "", id="delivered late"),
        pytest.param([(0.011, 0.011, 0)], RangeStatus.REJECTED, "fall_without_rise", id="rise lost"),
        pytest.param([(0.001, 0.001, 1)], RangeStatus.REJECTED, "fall_lost", id="fall lost"),
        pytest.param(
            [(0.001, 0.001, 1), (0.002, 0.002, 1), (0.011, 0.011, 0)],
            RangeStatus.REJECTED,
            "second_rise",
            id="two rises",
        ),
        pytest.param(
            [(0.001, 0.005, 1), (0.011, 0.003, 0)], RangeStatus.REJECTED, "too_short", id="falls before it rises"
        ),
        pytest.param([(0.001, 0.150, 1), (0.011, 0.160, 0)], RangeStatus.REJECTED, "late_rise", id="rise too late"),
        pytest.param(
            [(0.001, -0.020, 1), (0.011, -0.010, 0)], RangeStatus.NO_ECHO, "stale_edge", id="before its trigger"
        ),
        pytest.param(
            [(0.001, -0.020, 0), (0.002, 0.001, 1), (0.011, 0.011, 0)], RangeStatus.VALID, "stale_edge", id="one stale"
        ),
        pytest.param(
            [(0.001, 1e6, 1), (0.011, 1e6 + 0.01, 0)], RangeStatus.REJECTED, "foreign_clock", id="another clock"
        ),
        pytest.param(
            [(0.001, math.nan, 1), (0.011, math.nan, 0)], RangeStatus.REJECTED, "foreign_clock", id="not a number"
        ),
        pytest.param(
            [(0.001, 0.001, 1), (0.011, math.nan, 0)], RangeStatus.REJECTED, "fall_lost", id="fall not a number"
        ),
        pytest.param([(0.001, 0.001, 2), (0.011, 0.011, 2)], RangeStatus.NO_ECHO, "", id="lgpio's watchdog"),
    ],
)
def test_edges_become(edges, expected, reason):
    """Edges are matched to their ping by their stamps; what no echo can give is rejected and counted by reason"""
    bench = Bench()
    _edges(bench, *edges)
    bench.run.until(0.5)
    assert bench.statuses() == {expected}
    assert not reason or bench.driver.counts[reason] >= len(bench.samples())
    if expected is RangeStatus.VALID:
        assert bench.samples()[0].range_m == pytest.approx(0.010 * 331.3 / 2, abs=1e-6)


def test_only_impossible_echoes_are_garbage():
    """A sensor that gives nothing but impossible echoes is named as such within a second"""
    bench = Bench()
    bench.module.answer = lambda: 0.000_02
    bench.run.until(1.0)
    (report,) = bench.reports()
    assert (report.fault, report.active) == ("garbage", True)
    assert "too_short" in report.detail


_TICK = st.one_of(
    st.floats(-0.2, 0.4),
    st.floats(0.0, 0.03),
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(10**9), 10**9),
)


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    pings=st.lists(
        st.lists(st.tuples(st.floats(0.0, 0.3), _TICK, st.sampled_from([0, 1, 2, True, False, None])), max_size=6),
        min_size=1,
        max_size=6,
    ),
    levels=st.lists(st.tuples(st.floats(0.0, 1.5), st.booleans()), max_size=6),
)
def test_nothing_impossible_leaves_the_driver(pings, levels):
    """Whatever the edges and levels are: samples are in range and in order, and never silent for 0.5 s"""
    bench = Bench()
    queue = list(pings)

    def answer() -> None:
        ticks = bench.factory.ticks()
        for delivered_s, tick, level in queue.pop(0) if queue else ():
            bench.clock.at(bench.clock.now() + delivered_s, partial(bench.pin.edge, ticks + tick, level))

    bench.module.answer = answer
    for t_s, high in levels:
        bench.clock.at(t_s, partial(bench.pin.drive, high))
    bench.run.until(2.0)
    assert not bench.run.errors
    received = [0.0]
    for sample in bench.samples():
        assert (sample.range_m is not None) == (sample.status is RangeStatus.VALID)
        assert sample.range_m is None or 0.02 - 1e-9 <= sample.range_m <= 4.0
        assert received[-1] <= sample.t_received_s
        assert sample.t_received_s - 0.4 < sample.t_measured_s <= sample.t_received_s
        received.append(sample.t_received_s)
    assert max(b - a for a, b in pairwise([*received, 2.0])) < 0.5
