"""The threads that poll the drivers: who shares one, how seldom it wakes, and what trouble of one does to others."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from typing import Any

import pytest
from tests.sim.helpers import Rig

from retrowalk.config import Battery, Config, HcSr04, Imu, TfLuna
from retrowalk.core.samples import Item, Tick
from retrowalk.devices.lsm6dsox import Lsm6dsox
from retrowalk.devices.max17048 import Max17048Driver
from retrowalk.devices.tfluna import TfLunaDriver
from retrowalk.devices.ultrasonic import Ultrasonic
from retrowalk.errors import SensorError
from retrowalk.guard.evidence import STEP_LATE_S
from retrowalk.guard.process import Inbox, StepThread, build_steps, threads_of
from retrowalk.platform import I2C_TIMEOUT_10_MS, Platform, Step, no_wake
from retrowalk.sim.scheduler import MemoryMail


class Clock:
    """Time that passes while a thread waits, and while a step works."""

    origin_mono_s = 0.0

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        self.now_s += seconds

    def wall_s(self) -> float:
        return 0.0


class Chip:
    """A step that wants to be polled every `every_s`, and fails when told."""

    retry_s = 0.5

    def __init__(
        self, name: str, clock: Clock, *, every_s: float = 0.048, shares: str = "i2c", fails: bool = False
    ) -> None:
        self.name = name
        self.clock = clock
        self.every_s = every_s
        self.shares = shares
        self.fails = fails
        self.takes_s = 0.0005
        self.polls: list[float] = []
        self.crashes_at: set[int] = set()
        self.closed = 0
        self.wake: Callable[[], None] = no_wake

    def poll(self, now: float) -> tuple[list[Item], float]:
        self.polls.append(now)
        self.clock.pause(self.takes_s)
        if len(self.polls) in self.crashes_at:
            raise ZeroDivisionError("what nobody thought of")
        if self.fails:
            raise SensorError("absent", "no acknowledge")
        return [Tick(now)], now + self.every_s

    def close(self) -> None:
        self.closed += 1


class News:
    """Stands in for the event on which a thread waits: time passes instead."""

    def __init__(self, clock: Clock, thread: StepThread, until_s: float) -> None:
        self.waits = 0
        self._clock, self._thread, self._until_s = clock, thread, until_s
        self.at: dict[int, Callable[[], None]] = {}
        """What happens instead of a wait, by its number."""

    def clear(self) -> None:
        """Nothing was set."""

    def set(self) -> None:
        """Somebody has news; the wait is over in any case."""

    def wait(self, seconds: float) -> None:
        self.waits += 1
        if self.waits in self.at:
            self.at[self.waits]()
        else:
            self._clock.pause(seconds)
        if self._clock.now_s >= self._until_s:
            self._thread.stop()


class Heard:
    """Takes the place of the guard."""

    def __init__(self) -> None:
        self.took: list[str] = []
        self.failed: list[str] = []

    def take(self, items: Any, now: float, step: str) -> None:
        self.took.append(step)

    def step_failed(self, step: str, error: SensorError, now: float) -> bool:
        self.failed.append(step)
        return False


def run(clock: Clock, *steps: Step, until_s: float = 10.0, wakes: dict[int, Chip] | None = None) -> tuple[News, Heard]:
    """Runs the one thread of these steps, and gives how often it waited and what the guard was told."""
    inbox = Inbox()
    (thread,) = threads_of(steps, clock, inbox)
    news = News(clock, thread, until_s)
    for number, chip in (wakes or {}).items():
        news.at[number] = chip.wake
    thread._news = news  # type: ignore[assignment]
    thread.run()
    heard = Heard()
    inbox.drain(heard)  # type: ignore[arg-type]
    os.close(inbox.fileno())
    return news, heard


def test_steps_on_the_same_wires_share_a_thread():
    """The chips on the bus have one thread, everything else has its own."""
    clock = Clock()
    steps = [Chip("lidar", clock), Chip("button", clock, shares=""), Chip("imu", clock), Chip("rear", clock, shares="")]
    assert [thread.name for thread in threads_of(steps, clock, Inbox())] == ["lidar+imu", "button", "rear"]


def test_ultrasonic_sensors_take_turns_in_one_thread():
    """However many there are; each has the same turns, and all else its own thread."""
    rig = Rig()
    config = Config(range_sensor=(HcSr04(), HcSr04(name="right", trigger_pin=5, echo_pin=6)))
    mail = MemoryMail().open("guard")
    platform = Platform(rig.clock, mail, pin_factory=rig.pins, bus=rig.bus)
    steps, _ = build_steps(config, platform)
    names = [thread.name for thread in threads_of(steps, rig.clock, Inbox())]
    assert names == ["rear+right", "imu+bus+battery", "button", "touch", "led"]
    sensors = [step for step in steps if isinstance(step, Ultrasonic)]
    assert sensors[0]._turns is sensors[1]._turns


def test_chips_of_one_rhythm_are_read_in_one_waking_up():
    """Three chips that are read every 48 ms cost as many wake-ups as one, however they began."""
    clock = Clock()
    chips = [Chip("imu", clock), Chip("lidar", clock), Chip("drop", clock)]
    news, heard = run(clock, *chips)
    assert all(200 <= len(chip.polls) <= 215 for chip in chips)
    assert news.waits <= 215
    assert len(heard.took) == sum(len(chip.polls) for chip in chips)


def test_a_slow_rhythm_is_not_hurried():
    """A gauge that is read every five seconds is read as often beside the clip, and alone, as in virtual time."""
    for others in (["imu"], []):
        clock = Clock()
        gauge = Chip("battery", clock, every_s=5.0)
        run(clock, *(Chip(name, clock) for name in others), gauge, until_s=11.0)
        assert len(gauge.polls) == 3


def test_a_step_that_only_wants_to_be_woken_waits():
    """Motor and buzzer are due when somebody asks; until then their thread sleeps."""
    clock = Clock()
    touch = Chip("touch", clock, every_s=math.inf, shares="")
    news, _ = run(clock, touch, until_s=300.0)
    assert len(touch.polls) == 1
    assert news.waits <= 6


def test_a_chip_that_fails_leaves_the_others_alone():
    """One that does not answer is told of and tried again every half second; the clip is read all the same."""
    clock = Clock()
    dead, imu = Chip("lidar", clock, fails=True), Chip("imu", clock)
    _, heard = run(clock, dead, imu)
    assert len(imu.polls) >= 200
    assert 15 <= len(dead.polls) <= 22
    assert heard.failed == ["lidar"] * len(dead.polls)


def test_what_others_have_said_does_not_wait_for_a_chip_that_hangs(monkeypatch):
    """Behind a chip that takes 30 ms each time, a lidar's reading is handed over before that chip is asked again."""
    clock = Clock()
    lidar, hangs = Chip("lidar", clock), Chip("drop", clock)
    hangs.takes_s = 0.030
    handed_over: list[float] = []
    put = Inbox.put

    def noted(inbox: Inbox, *entries: Any) -> None:
        handed_over.append(clock.now_s)
        put(inbox, *entries)

    monkeypatch.setattr(Inbox, "put", noted)
    run(clock, lidar, hangs, until_s=2.0)
    for polled_s in lidar.polls[1:]:
        assert min(t_s - polled_s for t_s in handed_over if t_s >= polled_s) < 0.005


def test_a_driver_with_a_mistake_leaves_the_others_alone():
    """One that raises what it should not is named, closed, and begun anew after a second; the clip is read on."""
    clock = Clock()
    odd, imu = Chip("lidar", clock), Chip("imu", clock)
    odd.crashes_at = {5, 6}
    _, heard = run(clock, odd, imu)
    assert heard.failed == ["lidar"] * 2
    assert odd.closed == 2
    assert 0.9 < odd.polls[5] - odd.polls[4] < 1.1
    assert len(odd.polls) > 150
    assert len(imu.polls) >= 200


def test_without_buzzer_and_motor_the_guard_ends():
    """What can no longer reach the walker is no guard: the process ends and is started again."""
    clock = Clock()
    touch = Chip("touch", clock, shares="")
    touch.crashes_at = {3}
    with pytest.raises(RuntimeError, match="started again"):
        run(clock, touch)


def test_a_step_that_is_woken_is_polled_at_once():
    """Whatever happens outside a poll is looked at in the next waking up, long before the step is due."""
    clock = Clock()
    echo = Chip("rear", clock, every_s=0.9, shares="")
    run(clock, echo, until_s=0.5, wakes={1: echo})
    assert echo.polls[:2] == [0.0, echo.takes_s]


class StuckBus:
    """A bus whose data line is held low: the kernel gives up on each transfer after its timeout."""

    def __init__(self, clock: Clock) -> None:
        self.transfers: list[float] = []
        self._clock = clock

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        self.transfers.append(self._clock.now_s)
        self._clock.pause(I2C_TIMEOUT_10_MS * 0.010)
        raise OSError(errno.ETIMEDOUT, "timed out")

    def close(self) -> None:
        """Nothing to release."""


class Timed:
    """A step, and how long its polls take."""

    def __init__(self, step: Step, clock: Clock) -> None:
        self.name, self.retry_s, self.shares, self.wake = step.name, step.retry_s, step.shares, no_wake
        self.longest_s = 0.0
        self._step, self._clock = step, clock

    def poll(self, now: float) -> tuple[Any, float]:
        try:
            return self._step.poll(now)
        finally:
            self.longest_s = max(self.longest_s, self._clock.now_s - now)

    def close(self) -> None:
        """Nothing to release."""


def test_a_stuck_bus_does_not_stop_the_watchdog():
    """Each transfer times out after 30 ms: no poll takes long, every chip is told of, and half of the time is left."""
    clock = Clock()
    bus = StuckBus(clock)
    drop = TfLuna(name="drop", role="dropoff", address=0x11)
    drivers: tuple[Step, ...] = (
        *(TfLunaDriver(lidar, bus, clock) for lidar in (TfLuna(), drop)),
        Lsm6dsox(Imu(), bus, clock),
        Max17048Driver(Battery(), bus, clock),
    )
    steps = [Timed(driver, clock) for driver in drivers]
    _, heard = run(clock, *steps)
    assert max(step.longest_s for step in steps) <= 0.1 < STEP_LATE_S
    assert set(heard.failed) == {"lidar", "drop", "imu", "battery"}
    assert len(bus.transfers) * 0.030 <= 5.5
