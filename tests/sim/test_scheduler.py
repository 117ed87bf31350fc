from __future__ import annotations

import math
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrowalk.errors import SensorError
from retrowalk.platform import MESSAGE_MAX_BYTES, no_wake
from retrowalk.sim.scheduler import MAILBOX_MESSAGES, MemoryMail, Scheduler, VirtualClock


class Every:
    """A step that is due again `period_s` after each poll, and notes when it ran."""

    def __init__(self, name: str, period_s: float, log: list[tuple[float, str]]) -> None:
        self.name = name
        self.retry_s = 0.5
        self.wake = no_wake
        self.period_s = period_s
        self.fail = False
        self.log = log

    def poll(self, now: float) -> tuple[tuple[()], float]:
        self.log.append((now, self.name))
        if self.fail:
            raise SensorError("absent", "nobody there")
        return (), now + self.period_s


def test_what_is_due_together_runs_by_name_then_by_order():
    """Two runs of the same scenario call the same steps in the same order."""
    clock = VirtualClock()
    scheduler = Scheduler(clock)
    log: list[tuple[float, str]] = []
    for name in ("zebra", "ant", "mole"):
        scheduler.add(Every(name, 1.0, log))
    scheduler.at(1.0, lambda: log.append((clock.now(), "first call")), "bee")
    scheduler.at(1.0, lambda: log.append((clock.now(), "second call")), "bee")
    scheduler.run_until(1.0)
    assert [name for _, name in log] == [
        *("ant", "mole", "zebra"),
        *("ant", "first call", "second call", "mole", "zebra"),
    ]


def test_a_wake_makes_a_sleeping_step_due_now():
    """An edge or a message is dealt with at the moment it comes."""
    log: list[tuple[float, str]] = []
    scheduler = Scheduler(VirtualClock())
    step = Every("sleeper", math.inf, log)
    scheduler.add(step)
    scheduler.at(2.5, lambda: step.wake())
    scheduler.run_until(10.0)
    assert [t for t, _ in log] == [0.0, 2.5]


def test_a_wake_within_its_own_poll_is_not_lost():
    """A step that is woken while it runs runs once more."""

    class Selfish(Every):
        def poll(self, now: float) -> tuple[tuple[()], float]:
            if len(self.log) < 2:
                self.wake()
            return super().poll(now)[0], math.inf

    log: list[tuple[float, str]] = []
    scheduler = Scheduler(VirtualClock())
    scheduler.add(Selfish("selfish", 1.0, log))
    scheduler.run_until(5.0)
    assert [t for t, _ in log] == [0.0, 0.0, 0.0]


def test_a_sensor_error_is_told_and_the_step_tries_again():
    """A sensor that fails is asked again after its retry time, and the others go on."""
    log: list[tuple[float, str]] = []
    told: list[tuple[float, str, str]] = []
    clock = VirtualClock()
    scheduler = Scheduler(clock, lambda step, error: told.append((clock.now(), step.name, error.fault)))
    broken, sound = Every("broken", 1.0, log), Every("sound", 1.0, log)
    broken.fail = True
    scheduler.add(broken)
    scheduler.add(sound)
    scheduler.run_until(1.0)
    assert told == [(0.0, "broken", "absent"), (0.5, "broken", "absent"), (1.0, "broken", "absent")]
    assert [t for t, name in log if name == "sound"] == [0.0, 1.0]


def test_a_removed_step_is_never_polled_again():
    """A process that was killed does nothing more, even if it was due or is woken."""
    log: list[tuple[float, str]] = []
    scheduler = Scheduler(VirtualClock())
    step = Every("killed", 1.0, log)
    scheduler.add(step)
    wake = step.wake
    scheduler.at(1.5, lambda: scheduler.remove(step))
    scheduler.at(1.7, wake)
    scheduler.run_until(5.0)
    assert [t for t, _ in log] == [0.0, 1.0]


def test_time_that_stands_still_is_named():
    """A step that is always due at once does not hang the simulation."""
    scheduler = Scheduler(VirtualClock())
    scheduler.add(Every("eager", 0.0, []))
    with pytest.raises(RuntimeError, match="eager"):
        scheduler.run_until(1.0)


@given(st.lists(st.floats(0, 5), max_size=30), st.lists(st.floats(0, 0.01), max_size=30))
def test_time_never_goes_back(dues, pauses):
    """Whatever is due when, and however long calls take, the clock only moves forward."""
    clock = VirtualClock()
    scheduler = Scheduler(clock)
    seen: list[float] = []

    def call(pause: float) -> None:
        seen.append(clock.now())
        clock.pause(pause)

    for due, pause in zip(dues, [*pauses, *[0.0] * len(dues)], strict=False):
        scheduler.at(due, partial(call, pause))
    scheduler.run_until(6.0)
    assert seen == sorted(seen)
    assert len(seen) == len(dues)
    assert clock.now() >= 6.0


@pytest.mark.parametrize("seconds", [pytest.param(-1e-6, id="back"), pytest.param(0.2, id="long")])
def test_a_pause_is_short(seconds):
    """A wait that would hold up everybody else is refused."""
    with pytest.raises(ValueError, match="pause"):
        VirtualClock().pause(seconds)


def test_mail_reaches_its_box_and_wakes_its_owner():
    """A message is there at once, in order, and its receiver is woken."""
    mail = MemoryMail()
    guard, voice = mail.open("guard"), mail.open("voice")
    woken: list[str] = []
    voice.wake = lambda: woken.append("voice")
    assert guard.send("voice", b"one")
    assert guard.send("voice", b"two")
    assert [voice.receive(), voice.receive(), voice.receive()] == [b"one", b"two", None]
    assert woken == ["voice", "voice"]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        pytest.param("nobody", b"x", id="nobody there"),
        pytest.param("closed", b"x", id="closed"),
        pytest.param("full", b"x", id="queue full"),
        pytest.param("open", bytes(MESSAGE_MAX_BYTES + 1), id="too long"),
    ],
)
def test_mail_that_cannot_be_taken_is_refused_at_once(prepare, message):
    """The sender learns it, and never waits."""
    mail = MemoryMail()
    guard = mail.open("guard")
    if prepare != "nobody":
        voice = mail.open("voice")
        if prepare == "closed":
            voice.close()
        if prepare == "full":
            assert all(guard.send("voice", b"x") for _ in range(MAILBOX_MESSAGES))
    assert not guard.send("voice", message)


def test_a_reopened_box_is_empty_and_outlives_the_old_one():
    """A process that comes back gets its mail, whatever its dead self still does."""
    mail = MemoryMail()
    old = mail.open("guard")
    mail.deliver("guard", b"for the old one")
    new = mail.open("guard")
    old.close()
    assert new.receive() is None
    assert mail.deliver("guard", b"hello")
    assert new.receive() == b"hello"
