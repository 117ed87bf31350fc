"""A bus that a chip holds: seen, freed with nine clocks, and named when that does not help."""

from __future__ import annotations

import errno

import pytest
from tests.devices.bench import Run, VirtualClock

from retrowalk.core.samples import HealthReport
from retrowalk.devices.bus_watch import BusWatch, WatchedBus
from retrowalk.devices.pin_registers import CLEAR, FUNCTION, LEVEL, SCL, SDA, PinRegisters


class Wires:
    """GPIO 2 and 3 at their registers, pulled up, and a chip that holds SDA until it has got its clocks.

    Strict: what is not a register of these pins, or drives a line high against a chip, is a mistake.
    """

    def __init__(self, clocks: int) -> None:
        self.clocks_wanted = clocks
        self.clocks = self.stops = 0
        self.function = 0b100 << 3 * SDA | 0b100 << 3 * SCL | 0b001 << 3 * 5
        """Both belong to the I2C controller (ALT0); GPIO 5 is an output of somebody else."""
        self._latch: dict[int, bool] = {}

    def _driven_low(self, pin: int) -> bool:
        driven = self.function >> 3 * pin & 0b111 == 0b001
        assert not driven or self._latch.get(pin) is False, "drives a line of the bus high"
        return driven

    def level(self, pin: int) -> bool:
        held = pin == SDA and self.clocks < self.clocks_wanted
        return not (self._driven_low(pin) or held)

    def __getitem__(self, word: int) -> int:
        if word == LEVEL:
            return sum(1 << pin for pin in (SDA, SCL) if self.level(pin))
        assert word == FUNCTION
        return self.function

    def __setitem__(self, word: int, value: int) -> None:
        if word == CLEAR:
            self._latch |= {pin: False for pin in (SDA, SCL) if value >> pin & 1}
            return
        assert word == FUNCTION
        clock, data = self.level(SCL), self.level(SDA)
        self.function = value
        if self.level(SCL) and not clock:
            self.clocks += 1
        if clock and self.level(SCL) and self.level(SDA) and not data:
            self.stops += 1

    def of_controller(self) -> bool:
        return self.function == 0b100 << 3 * SDA | 0b100 << 3 * SCL | 0b001 << 3 * 5


@pytest.mark.parametrize("clocks", range(10))
def test_a_chip_gets_as_many_clocks_as_it_waits_for(clocks):
    """After up to nine the line is free, a STOP has ended what was going on, and the controller has its pins again."""
    wires = Wires(clocks)
    waited_s: list[float] = []
    lines = PinRegisters(wires, waited_s.append)
    assert lines.held() == ("SDA" if clocks else "")
    lines.clock_out()
    assert lines.held() == ""
    assert wires.clocks == clocks + 1  # the last is that of the STOP
    assert wires.stops == 1
    assert wires.of_controller()
    assert sum(waited_s) < 0.0002


def test_a_short_does_not_keep_the_pins():
    """A line that nine clocks do not free is still held, and the controller has its pins all the same."""
    wires = Wires(1000)
    lines = PinRegisters(wires, lambda _: None)
    lines.clock_out()
    assert lines.held() == "SDA"
    assert wires.of_controller()


class Lines:
    """A bus whose data line is held from second 10 on, until it has been given clocks so often."""

    def __init__(self, clock: VirtualClock, rounds: float) -> None:
        self._clock = clock
        self.rounds = rounds
        self.rounds_s: list[float] = []

    def held(self) -> str:
        return "SDA" if self._clock.now() >= 10.0 and len(self.rounds_s) < self.rounds else ""

    def clock_out(self) -> None:
        self.rounds_s.append(self._clock.now())


class Bus:
    """A bus that fails with an error number, if any."""

    def __init__(self) -> None:
        self.number = 0

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        if self.number:
            raise OSError(self.number, "no")
        return bytes(read)

    def close(self) -> None:
        """Nothing."""


def watched(rounds: float, until_s: float) -> tuple[list[tuple[bool, float]], Lines]:
    """What is reported of a bus that is freed by so many rounds of clocks, and its lines."""
    clock = VirtualClock()
    lines = Lines(clock, rounds)
    run = Run(BusWatch(WatchedBus(Bus(), clock), lines), clock)
    run.until(until_s)
    return [(report.active, report.t_received_s) for report in run.of(HealthReport)], lines


def test_a_bus_that_is_held_is_freed_before_a_sensor_is_lost():
    """Within 0.15 s, and nobody is troubled with it."""
    reports, lines = watched(1, 20.0)
    assert reports == []
    assert [round(t - 10.0, 1) for t in lines.rounds_s] in ([0.0], [0.1])


def test_a_bus_that_stays_held_is_named_and_tried_again_each_second():
    """Reported within 0.2 s; over with the round that frees it."""
    reports, lines = watched(4, 20.0)
    assert [active for active, _ in reports] == [True, False]
    assert reports[0][1] - 10.0 <= 0.2
    assert 3.0 <= reports[1][1] - 10.0 <= 3.5
    assert len(lines.rounds_s) == 4


def test_a_low_line_of_a_moment_is_left_alone():
    """One look that finds a line low is no held bus."""

    class Blinks(Lines):
        looks = 0

        def held(self) -> str:
            self.looks += 1
            return "SDA" if self.looks == 50 else ""

    clock = VirtualClock()
    lines = Blinks(clock, 1)
    run = Run(BusWatch(WatchedBus(Bus(), clock), lines), clock)
    run.until(20.0)
    assert run.of(HealthReport) == []
    assert lines.rounds_s == []


@pytest.mark.parametrize(
    ("number", "told"),
    [
        pytest.param(errno.ETIMEDOUT, [True, False], id="times out"),
        pytest.param(errno.EREMOTEIO, [], id="no acknowledge: chips that are absent"),
    ],
)
def test_where_nobody_can_look_timeouts_tell(number, told):
    """On a Pi whose lines cannot be looked at, every transfer that times out for 0.3 s is a bus that is held."""
    clock = VirtualClock()
    bus = Bus()
    watched_bus = WatchedBus(bus, clock)
    run = Run(BusWatch(watched_bus, None), clock)
    for tenth in range(100):
        run.until(tenth / 10.0)
        bus.number = number if 30 <= tenth < 60 else 0
        try:
            watched_bus.transfer(0x10, b"", 1)
        except OSError:
            pass
    reports = run.of(HealthReport)
    assert [report.active for report in reports] == told
    if told:
        assert reports[0].t_received_s - 3.0 <= 0.5
