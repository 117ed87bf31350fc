"""Buzzer and vibration on simulated pins."""

from __future__ import annotations

import pytest
from tests.devices.bench import BenchFactory, Run, VirtualClock

from retrowalk.config import Buzzer, Vibration
from retrowalk.core.alerts import ALERTS, HAPTICS
from retrowalk.core.events import Touch
from retrowalk.core.samples import HealthReport
from retrowalk.devices.touch import KICK_S, TURNS_MIN, TouchDriver

BUZZER, MOTOR, RIGHT = 22, 27, 26


class Bench:
    def __init__(self, right_pin: int = -1, strength: float = 1.0, *, pwm: bool = True) -> None:
        self.clock = VirtualClock()
        self.factory = BenchFactory(self.clock, pwm=pwm)
        vibration = Vibration(right_pin=right_pin, strength=strength)
        self.driver = TouchDriver(Buzzer(), vibration, self.factory, self.clock)
        self.run = Run(self.driver, self.clock)

    def ask(self, t_s, pattern, *, buzzer=False, side=""):
        self.clock.at(t_s, lambda: self.driver.touch(Touch(t_s=t_s, pattern=pattern, buzzer=buzzer, side=side)))

    def changes(self, gpio):
        return [(pytest.approx(t_s, abs=1e-6), high) for t_s, at, high in self.factory.history if at == gpio]

    def strengths(self, gpio):
        return [(pytest.approx(t_s, abs=1e-6), value) for t_s, at, value in self.factory.strengths if at == gpio]


def _expected(start_s, pattern):
    changes, t_s = [], start_s
    for on_s, off_s, _ in HAPTICS[pattern]:
        changes += [(t_s, True), (t_s + on_s, False)]
        t_s += on_s + off_s
    return changes


@pytest.mark.parametrize("pattern", sorted(HAPTICS))
@pytest.mark.parametrize("buzzer", [False, True])
def test_pattern_is_played_at_once(pattern, buzzer):
    """A request starts its pattern at once on the motor, and on the buzzer if asked; both are off after it"""
    bench = Bench()
    bench.ask(1.0, pattern, buzzer=buzzer)
    bench.run.until(5.0)
    assert bench.changes(MOTOR) == _expected(1.0, pattern)
    assert bench.changes(BUZZER) == (_expected(1.0, pattern) if buzzer else [])
    assert bench.run.items == []


def _expected_strengths(start_s, pattern, share=1.0):
    changes, t_s = [], start_s
    for on_s, off_s, part in HAPTICS[pattern]:
        strength = max(TURNS_MIN, part * share)
        changes.append((t_s, 1.0))
        if strength < 1.0:
            changes.append((t_s + KICK_S, strength))
        changes.append((t_s + on_s, 0.0))
        t_s += on_s + off_s
    return changes


@pytest.mark.parametrize("pattern", sorted(HAPTICS))
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_burst_has_its_strength_after_a_kick(pattern, share):
    """Full power for 20 ms, then the table's strength times the setting's; the motor never gets too little to turn"""
    bench = Bench(strength=share)
    bench.ask(1.0, pattern, buzzer=True)
    bench.run.until(5.0)
    assert bench.strengths(MOTOR) == _expected_strengths(1.0, pattern, share)
    assert {value for _, value in bench.strengths(BUZZER)} == {0.0, 1.0}
    assert bench.run.items == []


@pytest.mark.parametrize("pattern", sorted(HAPTICS))
def test_pins_without_pulses_are_switched_fully(pattern):
    """Where pins know no strength the pattern keeps its rhythm, and that is reported once"""
    bench = Bench(RIGHT, pwm=False)
    bench.ask(1.0, pattern)
    bench.ask(3.0, pattern)
    bench.run.until(6.0)
    assert bench.changes(MOTOR) == bench.changes(RIGHT) == [*_expected(1.0, pattern), *_expected(3.0, pattern)]
    told = [(item.part, item.fault, item.active) for item in bench.run.items]
    weak = any(strength < 1.0 for _, _, strength in HAPTICS[pattern])
    assert told == ([("touch", "no_pwm", True)] if weak else [])


def test_newer_pattern_replaces_the_running_one():
    """The newest request wins, from its first burst"""
    bench = Bench()
    bench.ask(1.0, "fault", buzzer=True)
    bench.ask(1.1, "warning")
    bench.run.until(5.0)
    assert bench.changes(BUZZER) == [(1.0, True), (1.1, False)]
    assert bench.changes(MOTOR) == [(1.0, True), *_expected(1.1, "warning")[1:]]


def test_every_pattern_of_the_alert_table_is_known():
    """Each alert that is felt has its pattern"""
    assert {alert.haptic for alert in ALERTS.values()} - {""} <= set(HAPTICS)


def test_unknown_pattern_is_felt():
    """A name nobody knows is felt as a warning rather than not at all"""
    bench = Bench()
    bench.ask(1.0, "no-such-pattern")
    bench.run.until(3.0)
    assert bench.changes(MOTOR) == _expected(1.0, "warning")


@pytest.mark.parametrize(
    ("gpio", "part", "other"),
    [pytest.param(BUZZER, "buzzer", MOTOR, id="buzzer"), pytest.param(MOTOR, "vibration", BUZZER, id="motor")],
)
def test_missing_line_is_named_and_the_other_goes_on(gpio, part, other):
    """A line that cannot be used is reported once, tried again, reported mended; the other plays meanwhile"""
    bench = Bench()
    bench.factory.broken.add(gpio)
    bench.ask(1.0, "warning", buzzer=True)
    bench.run.until(3.0)
    (report,) = bench.run.items
    assert isinstance(report, HealthReport)
    assert (report.part, report.fault, report.active) == (part, "absent", True)
    assert f"GPIO{gpio}" in report.detail
    assert report.t_received_s == 0.0
    assert bench.changes(other) == _expected(1.0, "warning")
    assert bench.changes(gpio) == []
    bench.factory.broken.clear()
    bench.ask(4.0, "warning", buzzer=True)
    bench.run.until(6.0)
    assert bench.changes(gpio) == _expected(4.0, "warning")
    assert [(r.part, r.active) for r in bench.run.items] == [(part, True), (part, False)]


def test_warning_does_not_wait_for_the_retry():
    """A request tries a missing line at once, not only when its retry is due"""
    bench = Bench()
    bench.factory.broken.add(MOTOR)
    bench.run.until(1.1)
    bench.factory.broken.clear()
    bench.ask(1.15, "warning")
    bench.run.until(3.0)
    assert bench.changes(MOTOR) == _expected(1.15, "warning")


def test_line_lost_in_a_pattern_is_reported():
    """A line that fails in the middle of a pattern is reported, nothing is raised, and it is low when it is back"""
    bench = Bench()
    bench.ask(1.0, "fault", buzzer=True)
    bench.run.until(1.1)
    bench.factory.broken.add(MOTOR)
    bench.run.until(3.0)
    assert [(r.part, r.active) for r in bench.run.items] == [("vibration", True)]
    assert bench.changes(BUZZER) == _expected(1.0, "fault")
    bench.factory.broken.clear()
    bench.run.until(4.0)
    assert not bench.factory.pin(MOTOR).state
    assert [(r.part, r.active) for r in bench.run.items] == [("vibration", True), ("vibration", False)]
    assert bench.run.errors == []


def test_close_switches_off():
    """Both lines are off after closing, in the middle of a pattern too"""
    bench = Bench()
    bench.ask(1.0, "fault", buzzer=True)
    bench.run.until(1.1)
    bench.driver.close()
    assert not bench.factory.pin(MOTOR).state
    assert not bench.factory.pin(BUZZER).state


def test_late_poll_does_not_stretch_the_pattern():
    """A poll that comes late skips what is over"""
    bench = Bench()
    bench.run.until(1.0)
    bench.driver.touch(Touch(t_s=1.0, pattern="caution", buzzer=False))
    bench.driver.poll(1.0)
    _, due_s = bench.driver.poll(9.0)
    assert due_s == float("inf")
    assert not bench.factory.pin(MOTOR).state


# ------------------------------------------------------------------------------------------------- two motors


@pytest.mark.parametrize("pattern", sorted(HAPTICS))
@pytest.mark.parametrize("side", ["left", "right"])
def test_one_motor_is_felt_alike_for_every_side(pattern, side):
    """Without a second motor the side changes nothing: no pattern is weaker for it"""
    bench = Bench()
    bench.ask(1.0, pattern, side=side)
    bench.run.until(5.0)
    assert bench.changes(MOTOR) == _expected(1.0, pattern)


@pytest.mark.parametrize("pattern", sorted(HAPTICS))
def test_what_has_no_side_is_felt_on_both(pattern):
    """Both motors play the whole pattern"""
    bench = Bench(RIGHT)
    bench.ask(1.0, pattern)
    bench.run.until(5.0)
    assert bench.changes(MOTOR) == bench.changes(RIGHT) == _expected(1.0, pattern)


@pytest.mark.parametrize("pattern", sorted(HAPTICS))
@pytest.mark.parametrize(
    ("side", "here", "there"),
    [pytest.param("left", MOTOR, RIGHT, id="left"), pytest.param("right", RIGHT, MOTOR, id="right")],
)
def test_a_side_is_felt_there(pattern, side, here, there):
    """The whole pattern on its side; the other joins in with the third burst of a warning, and stays still else"""
    bench = Bench(RIGHT)
    bench.ask(1.0, pattern, side=side)
    bench.run.until(5.0)
    assert bench.changes(here) == _expected(1.0, pattern)
    assert bench.changes(there) == (_expected(1.0, pattern)[4:] if pattern == "warning" else [])


@pytest.mark.parametrize(
    ("side", "gone", "other", "part"),
    [
        pytest.param("left", MOTOR, RIGHT, "vibration", id="left"),
        pytest.param("right", RIGHT, MOTOR, "vibration-right", id="right"),
    ],
)
def test_a_motor_that_cannot_be_used_is_stood_in_for(side, gone, other, part):
    """A warning of the side whose line is gone is felt whole on the other; the part is named"""
    bench = Bench(RIGHT)
    bench.factory.broken.add(gone)
    bench.ask(1.0, "warning", side=side)
    bench.run.until(3.0)
    assert bench.changes(other) == _expected(1.0, "warning")
    assert [(r.part, r.fault, r.active) for r in bench.run.items] == [(part, "absent", True)]
