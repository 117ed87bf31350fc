"""A bench for drivers: virtual time, pins whose edges carry it, an echo module and an IMU that do as they are told.

Smaller and looser than the twins in `retrowalk.sim`, so that a test can give a driver what no device should.
"""

from __future__ import annotations

import errno
import heapq
import math
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from gpiozero.pins.mock import MockFactory, MockPin

from retrowalk.errors import SensorError
from retrowalk.platform import Step


class VirtualClock:
    """Session time that passes when told; what is to happen is called at its time."""

    def __init__(self, origin_mono_s: float = 0.0) -> None:
        self.origin_mono_s = origin_mono_s
        self.now_s = 0.0
        self._happenings: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def now(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        self.now_s += seconds

    def wall_s(self) -> float:
        return self.now_s

    def at(self, t_s: float, happening: Callable[[], None]) -> None:
        heapq.heappush(self._happenings, (t_s, next(self._order), happening))

    def next_s(self) -> float:
        return self._happenings[0][0] if self._happenings else math.inf

    def happen(self) -> None:
        t_s, _, happening = heapq.heappop(self._happenings)
        self.now_s = max(self.now_s, t_s)
        happening()


class Run:
    """Polls a step as a runner does, and keeps what came of it."""

    def __init__(self, step: Step, clock: VirtualClock) -> None:
        self.step = step
        self.clock = clock
        self.items: list[Any] = []
        self.errors: list[tuple[float, SensorError]] = []
        self.polls = 0
        self._due_s = clock.now()
        step.wake = self._wake

    def _wake(self) -> None:
        self._due_s = min(self._due_s, self.clock.now())

    def until(self, end_s: float) -> Run:
        clock = self.clock
        while min(self._due_s, clock.next_s()) <= end_s:
            if clock.next_s() <= self._due_s:
                clock.happen()
                continue
            clock.now_s = max(clock.now_s, self._due_s)
            now = clock.now()
            self.polls += 1
            try:
                items, self._due_s = self.step.poll(now)
            except SensorError as error:
                self.errors.append((now, error))
                items, self._due_s = (), now + self.step.retry_s
            self.items += items
        clock.now_s = max(clock.now_s, end_s)
        return self

    def of(self, kind: type[Any], since_s: float = 0.0) -> list[Any]:
        return [item for item in self.items if isinstance(item, kind) and item.t_received_s >= since_s]


class BenchPin(MockPin):  # type: ignore[misc]  # gpiozero is published without types
    """A mock pin whose edges are stamped with virtual time, or with whatever the test says."""

    _state: bool
    held: bool | None = None
    """The level at which something outside holds the line; None: its pull decides."""

    def _set_pull(self, value: Any) -> None:
        if self.held is None:
            super()._set_pull(value)
        self._pull = value

    def _change_state(self, value: Any) -> bool:
        if self._state == value:
            return False
        self._state = value
        self._factory.changed(self._number, bool(value))
        return True

    def _call_when_changed(self) -> None:
        self.edge(self._factory.ticks(), self._state)

    def edge(self, ticks: Any, state: Any) -> None:
        """Calls the handler with exactly this."""
        if self._when_changed is not None and not self._factory.deaf:
            super(MockPin, self)._call_when_changed(ticks, state)

    def _get_state(self) -> Any:
        self._factory.used(self._number)
        return self._state

    def _set_state(self, value: Any) -> None:
        self._factory.used(self._number)
        super()._set_state(value)

    def _set_function(self, value: Any) -> None:
        self._factory.used(self._number)
        super()._set_function(value)

    def drive(self, high: bool) -> None:
        self.held = high
        if self._change_state(high):
            self._call_when_changed()


class BenchPwmPin(BenchPin):
    """An output that also knows strengths between off and on, as gpiozero's `MockPWMPin` does."""

    _frequency: float | None = None

    def _get_frequency(self) -> float | None:
        return self._frequency

    def _set_frequency(self, value: float | None) -> None:
        self._factory.used(self._number)
        self._frequency = value

    def _change_state(self, value: Any) -> bool:
        if self._state == value:
            return False
        before, self._state = self._state, value
        self._factory.strengths.append((self._factory.clock.now(), self._number, float(value)))
        if bool(before) != bool(value):
            self._factory.changed(self._number, bool(value))
        return True

    def _set_state(self, value: Any) -> None:
        self._factory.used(self._number)
        assert 0 <= value <= 1
        assert self._frequency is not None or value in (0, 1), "a strength without a frequency"
        self._change_state(float(value))


class BenchFactory(MockFactory):  # type: ignore[misc]  # gpiozero is published without types
    """Pins on virtual time; `ticks` has an origin of its own, as a factory's may."""

    def __init__(self, clock: VirtualClock, tick_origin: float = 1000.0, *, pwm: bool = False) -> None:
        super().__init__(pin_class=BenchPwmPin if pwm else BenchPin)
        self.clock = clock
        self.tick_origin = tick_origin
        self.deaf = False
        """The notify thread has died: edges are heard by nobody."""
        self.broken: set[int] = set()
        """Pins that raise when used."""
        self.listeners: dict[int, Callable[[bool], None]] = {}
        self.history: list[tuple[float, int, bool]] = []
        self.strengths: list[tuple[float, int, float]] = []

    def ticks(self) -> float:
        return self.clock.now() + self.tick_origin

    def ticks_diff(self, later: float, earlier: float) -> float:
        return later - earlier

    def used(self, gpio: int) -> None:
        if gpio in self.broken:
            raise OSError(errno.ENODEV, "no such device")

    def changed(self, gpio: int, high: bool) -> None:
        self.history.append((self.clock.now(), gpio, high))
        if gpio in self.listeners:
            self.listeners[gpio](high)


class EchoModule:
    """An HC-SR04: `answer()` gives the next echo's width in seconds, or None for no echo at all."""

    def __init__(self, factory: BenchFactory, trigger: int, echo: int, answer: Callable[[], float | None]) -> None:
        self.answer = answer
        self.rise_after_s = 0.000_45
        self.plugged = True
        self.pings: list[float] = []
        self._clock = factory.clock
        self.echo: BenchPin = factory.pin(echo)
        factory.pin(trigger)
        factory.listeners[trigger] = self._on_trigger

    def _on_trigger(self, high: bool) -> None:
        if high:
            self.pings.append(self._clock.now())
            return
        width_s = self.answer() if self.plugged else None
        if width_s is not None:
            rise_s = self._clock.now() + self.rise_after_s
            self._clock.at(rise_s, lambda: self._drive(True))
            self._clock.at(rise_s + width_s, lambda: self._drive(False))

    def _drive(self, high: bool) -> None:
        if self.plugged or not high:
            self.echo.drive(high)


class FakeImu:
    """An LSM6DSOX's registers and FIFO on a bus; its clock may be off, its words may be spoilt.

    `motion(t)` gives the six raw counts (accelerometer, gyroscope) at virtual time t.
    """

    def __init__(self, clock: VirtualClock, rate_error: float = 0.0, seed: int = 1) -> None:
        self.clock = clock
        self.period_s = 1.0 / 104.0 / (1.0 + rate_error)
        self.random = Random(seed)
        self.motion: Callable[[float], tuple[int, ...]] = self.still
        self.spoil: Callable[[bytes, int], bytes] = lambda data, _register: data
        self.fail: Callable[[int], int] = lambda _register: 0
        """Error number of the next transfer of a register, 0 for none."""
        self.transfers: list[tuple[float, int, int]] = []
        self.taken_s: list[float] = []
        """True times of the samples in the order in which they were put into the FIFO."""
        self.chip_id = 0x6C
        self.power_on()

    def power_on(self) -> None:
        self.registers = {0x0F: self.chip_id, 0x12: 0x04, 0x18: 0xE0, 0x09: 0, 0x0A: 0, 0x10: 0, 0x11: 0}
        self.fifo: list[bytes] = []
        self.slot = 0
        self.next_s = math.inf
        self.overrun = False
        self.latest = bytes(12)
        """The output registers: rotation, then acceleration, of the newest sample."""

    def still(self, _t: float) -> tuple[int, ...]:
        noise = self.random.gauss
        return (*(round(noise(c, 1.6)) for c in (0, 0, 2049)), *(round(noise(0, 0.5)) for _ in range(3)))

    @staticmethod
    def word(sensor: int, counter: int, xyz: tuple[int, ...]) -> bytes:
        tag = sensor << 3 | (counter & 3) << 1
        return bytes((tag | tag.bit_count() % 2,)) + b"".join(v.to_bytes(2, "little", signed=True) for v in xyz)

    def _advance(self) -> None:
        if self.registers[0x0A] != 6 or not self.registers[0x10] or not self.registers[0x11]:
            self.next_s = math.inf
            return
        if math.isinf(self.next_s):
            self.next_s = self.clock.now() + self.period_s * 0.37
        while self.next_s <= self.clock.now():
            counts = self.motion(self.next_s)
            gyro, accel = self.word(1, self.slot, counts[3:]), self.word(2, self.slot, counts[:3])
            self.fifo += [gyro, accel]
            self.latest = gyro[1:] + accel[1:]
            self.taken_s.append(self.next_s)
            self.slot += 1
            self.next_s += self.period_s
        if len(self.fifo) > 512:
            del self.fifo[: len(self.fifo) - 512]
            self.overrun = True

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        self._advance()
        register = write[0]
        self.transfers.append((self.clock.now(), register, read))
        number = self.fail(register)
        if number:
            raise OSError(number, "transfer failed")
        if address != 0x6A:
            raise OSError(errno.EREMOTEIO, "no acknowledge")
        if read == 0:
            for i, value in enumerate(write[1:]):
                self._write(register + i, value)
            return b""
        return self.spoil(self._read(register, read), register)

    def _write(self, register: int, value: int) -> None:
        if register == 0x12 and value & 1:
            slot = self.slot
            self.power_on()
            self.slot = slot
            return
        self.registers[register] = value
        if register == 0x0A and value == 0:
            self.fifo.clear()
        self._advance()

    def _read(self, register: int, read: int) -> bytes:
        if register == 0x3A:
            level = len(self.fifo)
            flags = 0x48 if self.overrun else 0
            self.overrun = False
            return bytes((level & 0xFF, level >> 8 | flags))[:read]
        if register == 0x78:
            words, self.fifo = self.fifo[: read // 7], self.fifo[read // 7 :]
            return b"".join(words).ljust(read, b"\0")
        if register == 0x22:
            return self.latest[:read]
        return bytes(self.registers[register + i] for i in range(read))

    def close(self) -> None:
        pass
