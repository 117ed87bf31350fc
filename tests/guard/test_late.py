"""A guard that runs late, and a wall clock that is set."""

from __future__ import annotations

import pytest
from tests.guard.test_guard import Bench

from retrowalk import wire
from retrowalk.core.samples import HealthReport
from retrowalk.guard.late import Punctuality, WallClock


def turns(late_s: list[float], every_s: float = 0.1) -> list[tuple[float, bool]]:
    """Ten minutes and more of turns, of which the n-th is so late; when starving began and ended."""
    loop = Punctuality()
    told: list[tuple[float, bool]] = []
    now = 0.0
    for late in late_s:
        wanted_s = now + every_s
        now = wanted_s + late
        told += [
            (round(now, 1), report.active) for report in loop.turn(now, wanted_s) if isinstance(report, HealthReport)
        ]
    return told


def test_a_loop_that_is_late_again_and_again_is_told_and_over():
    """Late by 0.15 s every second from second 20 to 60: known within 10 s, over 20 s after the last."""
    pattern = [0.0] * 200 + [0.15, *[0.0] * 8] * 40 + [0.0] * 400
    told = turns(pattern)
    assert [active for _, active in told] == [True, False]
    assert told[0][0] <= 30.0
    assert 78.0 <= told[1][0] <= 85.0


@pytest.mark.parametrize(
    "late_s",
    [
        pytest.param([0.0] * 3000, id="in time"),
        pytest.param([0.0] * 100 + [0.09] * 1000, id="a little late each time"),
        pytest.param(([0.0] * 100 + [0.3] * 3) * 20, id="hiccups"),
        pytest.param([0.5] * 12 + [0.0] * 500, id="while it starts"),
    ],
)
def test_no_loop_is_blamed_for_a_hiccup(late_s):
    """A turn that is late now and then, or while everything is opened, is nobody's news."""
    assert turns(late_s) == []


@pytest.mark.parametrize(
    ("by_s", "words"),
    [
        pytest.param(31_536_000.0, "set forward by 31536000 s", id="a year on"),
        pytest.param(-31_536_000.0, "set back by 31536000 s", id="a year back"),
        pytest.param(3600.0, "set forward by 3600 s", id="an hour on"),
        pytest.param(-60.0, "set back by 60 s", id="a minute back"),
        pytest.param(1.0, "", id="a leap second"),
        pytest.param(0.0, "", id="not at all"),
    ],
)
def test_a_clock_that_was_set_is_told_once(by_s, words):
    """By how much, within a second or so; and never again for the same."""
    clock = WallClock()
    told = [r for t in range(10) for r in clock.look(t, 50.0 + t, 1e9 + t + (by_s if t >= 5 else 0.0))]
    assert [r.detail for r in told if isinstance(r, HealthReport)] == ([words] if words else [])


def test_the_courier_hears_that_the_clock_was_set():
    """As an event that nobody is woken by, within 2 s; the guard's state is as before."""
    bench = Bench()
    bench.run(10.0)
    before = bench.guard.companion.snapshot_state
    bench.clock.jump_wall(-3600.0)
    bench.run(12.0)
    events = {event.number: event for event in bench.messages(bench.courier, wire.EventMessage)}
    told = [event for event in events.values() if event.type == "clock.changed"]
    assert [(event.priority, event.data) for event in told] == [("none", {"detail": "set back by 3600 s"})]
    assert 10.0 < told[0].t_s <= 12.0
    assert bench.guard.companion.snapshot_state == before


def test_a_starved_guard_says_so_and_goes_on():
    """Turns that come 0.2 s late are a fault of the guard by name, and told to the courier with every sign of life."""
    bench = Bench()
    due = bench.clock.now()
    while due <= 30.0:
        bench.clock.reach(due + (0.2 if due > 12.0 else 0.0))
        _, due = bench.guard.poll(bench.clock.now())
    got = bench.messages(bench.courier, wire.EventMessage | wire.KeepAlive)  # type: ignore[arg-type]
    raised = {e.number: e for e in got if isinstance(e, wire.EventMessage) and e.data.get("fault") == "starved"}
    assert [(event.type, event.t_s <= 22.0) for event in raised.values()] == [("fault.raised", True)]
    assert "guard:starved" in [beat for beat in got if isinstance(beat, wire.KeepAlive)][-1].faults
