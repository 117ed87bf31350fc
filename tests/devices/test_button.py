"""The button driver on simulated pins."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devices.bench import BenchFactory, Run, VirtualClock

from retrowalk.config import Button
from retrowalk.core.samples import ButtonEdge, HealthReport
from retrowalk.devices.button import ButtonDriver

PIN = 17


class Bench:
    def __init__(self, config: Button | None = None) -> None:
        self.clock = VirtualClock()
        self.factory = BenchFactory(self.clock)
        self.pin = self.factory.pin(PIN)
        self.driver = ButtonDriver(config or Button(), self.factory, self.clock)
        self.run = Run(self.driver, self.clock)

    def levels(self, *changes):
        """Drives the line: (time, pressed) each."""
        for t_s, pressed in changes:
            self.clock.at(t_s, partial(self.pin.drive, not pressed))
        return self

    def edges(self) -> list[ButtonEdge]:
        return self.run.of(ButtonEdge)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param([(1.0, True), (1.3, False)], [(1.0, True), (1.3, False)], id="clean press"),
        pytest.param(
            [(1.0, True), (1.002, False), (1.004, True), (1.3, False), (1.301, True), (1.303, False)],
            [(1.004, True), (1.303, False)],
            id="bounces at both ends",
        ),
        pytest.param([(1.0, True), (1.004, False)], [], id="spike is no press"),
        pytest.param(
            [(1.0, True), (1.5, False), (1.504, True), (1.9, False)], [(1.0, True), (1.9, False)], id="spike up"
        ),
        pytest.param([(1.0, True), (1.035, False)], [(1.0, True), (1.035, False)], id="shortest press"),
        pytest.param([(1.0, True), (1.1, False), (1.2, True), (1.3, False)], None, id="double press"),
    ],
)
def test_press_is_told_once_with_its_time(changes, expected):
    """A level that settles is one edge, stamped when the contact closed or opened"""
    bench = Bench().levels(*changes)
    bench.run.until(3.0)
    expected = changes if expected is None else expected
    assert [(pytest.approx(t, abs=1e-6), p) for t, p in expected] == [
        (e.t_measured_s, e.pressed) for e in bench.edges()
    ]


@pytest.mark.parametrize("debounce_s", [0.0, 0.03, 0.2])
def test_press_is_told_within_50_ms(debounce_s):
    """However long the debouncing is set, a clean press is told within 50 ms"""
    bench = Bench(Button(debounce_s=debounce_s)).levels((1.0, True))
    bench.run.until(2.0)
    (edge,) = bench.edges()
    assert edge.t_received_s <= 1.05
    assert edge.t_measured_s == pytest.approx(1.0, abs=1e-6)


def test_lost_edges_are_made_good():
    """When edges are lost, the level tells press and release all the same, within 100 ms"""
    bench = Bench()
    bench.run.until(0.5)
    bench.factory.deaf = True
    bench.levels((1.0, True), (2.0, False))
    bench.run.until(3.0)
    assert [e.pressed for e in bench.edges()] == [True, False]
    for edge, true_s in zip(bench.edges(), (1.0, 2.0), strict=True):
        assert true_s <= edge.t_measured_s <= true_s + 0.05 + 1e-9
        assert edge.t_received_s <= true_s + 0.1
    assert bench.driver.counts["edge_healed"] == 2


def test_held_since_before_the_start_is_a_press():
    """A button already down when the driver starts is told as a press"""
    bench = Bench()
    bench.pin.drive(False)
    bench.run.until(0.2)
    assert [e.pressed for e in bench.edges()] == [True]


def test_chattering_line_is_named():
    """A line that never settles is reported within 1.2 s and gives no edges; the report ends when it settles"""
    bench = Bench().levels(*((1.0 + i * 0.01, i % 2 == 0) for i in range(200)))
    bench.run.until(4.0)
    assert bench.edges() == []
    reports = bench.run.of(HealthReport)
    assert [(r.part, r.fault, r.active) for r in reports] == [("button", "garbage", True), ("button", "garbage", False)]
    assert reports[0].t_received_s < 2.2


def test_missing_pin_is_tried_again():
    """A pin that cannot be used is named once, and over as soon as it can; a press meanwhile is made good"""
    bench = Bench()
    bench.factory.broken.add(PIN)
    bench.run.until(1.2)
    (report,) = bench.run.of(HealthReport)
    assert (report.part, report.fault, report.active) == ("button", "absent", True)
    assert "GPIO17" in report.detail
    bench.factory.broken.clear()
    bench.run.until(2.0)
    assert [(r.fault, r.active) for r in bench.run.of(HealthReport)] == [("absent", True), ("absent", False)]
    bench.levels((2.1, True))
    bench.run.until(2.5)
    assert [e.pressed for e in bench.edges()] == [True]
    bench.factory.broken.add(PIN)
    bench.levels((2.6, False))
    bench.run.until(3.2)
    bench.factory.broken.clear()
    bench.run.until(4.0)
    assert [e.pressed for e in bench.edges()] == [True, False]


def test_close_lets_go():
    """A closed driver has taken its handler off"""
    bench = Bench()
    bench.run.until(0.1)
    bench.driver.close()
    assert bench.pin.when_changed is None


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    edges=st.lists(
        st.tuples(
            st.floats(0.0, 2.0),
            st.one_of(st.floats(-2.0, 4.0), st.floats(allow_nan=True), st.just(math.inf)),
            st.sampled_from([0, 1, 2, None]),
        ),
        max_size=30,
    ),
    levels=st.lists(st.tuples(st.floats(0.0, 2.0), st.booleans()), max_size=30),
)
def test_edges_alternate_and_are_in_order(edges, levels):
    """Whatever the line does: press and release alternate, in order, never from the future, and end as the line is"""
    bench = Bench().levels(*levels)
    for t_s, tick, level in edges:
        bench.clock.at(t_s, partial(bench.pin.edge, tick + bench.factory.tick_origin, level))
    bench.run.until(3.0)
    told = bench.edges()
    assert [e.pressed for e in told] == [i % 2 == 0 for i in range(len(told))]
    assert all(a.t_measured_s <= b.t_measured_s and a.t_received_s <= b.t_received_s for a, b in pairwise(told))
    assert all(e.t_received_s - 1.1 < e.t_measured_s <= e.t_received_s for e in told)
    assert (told[-1].pressed if told else False) == (not bench.pin.state)
