"""The INA219 driver on a bench bus: settings that get lost, numbers that cannot be, and the charge it estimates."""

from __future__ import annotations

import errno
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.devices.bench import Run, VirtualClock

from retrowalk.config import Battery
from retrowalk.core.samples import BatterySample, HealthReport
from retrowalk.devices.ina219 import CELL_OHM, CHARGE_OF_V, Ina219Driver, charge_percent

CONFIG, SHUNT, BUS, POWER, CURRENT, CALIBRATION = range(6)
READY, OVERFLOW = 2, 1


class Chip:
    """The chip in the line of a battery of `rest_v` a cell, which gives `current_a`."""

    def __init__(self, cells: int = 1, shunt_ohm: float = 0.1) -> None:
        self.cells, self.shunt_ohm = cells, shunt_ohm
        self.rest_v, self.current_a = 3.75, 0.5
        self.cell_ohm = CELL_OHM
        self.takes = True
        """Whether it keeps what is written."""
        self.spoil: Callable[[int, int], int] = lambda register, value: value
        self.fail: Callable[[], int] = lambda: 0
        self.power_on()

    def power_on(self) -> None:
        self.config, self.calibration, self.ready = 0x399F, 0, True

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        number = self.fail()
        if number or address != 0x40:
            raise OSError(number or errno.EREMOTEIO, "transfer failed")
        register = write[0]
        if len(write) == 3:
            assert register in (CONFIG, CALIBRATION), register
            if self.takes:
                value = int.from_bytes(write[1:], "big")
                if register == CONFIG:
                    self.config = value
                else:
                    self.calibration = value & 0xFFFE
            return b""
        return (self.spoil(register, self._read(register)) & 0xFFFF).to_bytes(2, "big")

    def _read(self, register: int) -> int:
        shunt = max(-32000, min(32000, round(self.current_a * self.shunt_ohm / 10e-6)))
        bus_v = self.cells * (self.rest_v - self.current_a * self.cell_ohm) - self.current_a * self.shunt_ohm
        if register == POWER:
            self.ready = True  # measured again before the next look
        return {
            CONFIG: self.config,
            SHUNT: shunt,
            BUS: round(bus_v / 0.004) << 3 | (READY if self.ready else 0),
            POWER: 0,
            CURRENT: shunt * self.calibration // 4096,
            CALIBRATION: self.calibration,
        }[register]

    def close(self) -> None:
        pass


class Bench:
    def __init__(self, **battery) -> None:
        self.config = Battery(chip="ina219", **battery)
        self.clock = VirtualClock()
        self.chip = Chip(self.config.cells, self.config.shunt_ohm)
        self.driver = Ina219Driver(self.config, self.chip, self.clock)
        self.run = Run(self.driver, self.clock)

    def until(self, end_s: float) -> Bench:
        self.run.until(end_s)
        return self

    def samples(self, since_s: float = 0.0) -> list[BatterySample]:
        return self.run.of(BatterySample, since_s)

    def faults(self) -> list[tuple[str, bool]]:
        return [(r.fault, r.active) for r in self.run.of(HealthReport)]


@pytest.mark.parametrize(
    "battery",
    [
        pytest.param({}, id="one cell"),
        pytest.param({"cells": 3, "shunt_ohm": 0.05}, id="three cells, 0.05 ohm"),
        pytest.param({"cells": 4}, id="four cells"),
    ],
)
def test_voltage_and_current_are_measured(battery):
    """The battery's own voltage, before the shunt, and the current by the shunt's resistance."""
    bench = Bench(**battery).until(1.0)
    sample = bench.samples()[0]
    cells = bench.config.cells
    assert sample.voltage_v == pytest.approx(cells * (3.75 - 0.05), abs=0.005)
    assert sample.current_a == pytest.approx(0.5, abs=0.001)
    assert bool(bench.chip.config & 0x2000) == (cells == 4)  # 16 V are not enough for four


def test_a_charger_s_current_is_negative():
    """The sign of the shunt is that of the current drawn."""
    bench = Bench()
    bench.chip.current_a = -0.8
    assert bench.until(1.0).samples()[0].current_a == pytest.approx(-0.8, abs=0.001)


def test_it_is_set_up_before_it_is_read():
    """The first sample comes after setting and calibration have been written and a measurement has been made."""
    bench = Bench().until(1.0)
    assert (bench.chip.config, bench.chip.calibration) == (0x1FFF, 4096)
    assert bench.samples()[0].t_received_s >= 0.137


def test_a_brown_out_is_mended():
    """Settings of the reset, current 0: written anew before anything is believed, without a word."""
    bench = Bench().until(12.0)
    bench.chip.power_on()
    bench.until(30.0)
    assert all(sample.current_a == pytest.approx(0.5, abs=0.001) for sample in bench.samples())
    assert bench.faults() == []
    assert bench.driver.counts["chip_reset"] == 1
    assert max(b.t_received_s - a.t_received_s for a, b in pairwise(bench.samples())) <= 5.5


@given(st.floats(3.0, 4.3), st.floats(3.0, 4.3))
def test_more_voltage_is_no_less_charge(a, b):
    """The curve rises, from 0 to 100 %."""
    low, high = sorted((a, b))
    assert 0.0 <= charge_percent(low) <= charge_percent(high) <= 100.0


def test_the_curve_is_that_of_its_table():
    """At each point of the table the estimate is the table's."""
    assert [charge_percent(voltage) for voltage, _ in CHARGE_OF_V] == pytest.approx([c for _, c in CHARGE_OF_V])


@pytest.mark.parametrize("current_a", [-0.8, 0.1, 0.5, 1.5])
def test_the_load_s_sag_is_taken_out(current_a):
    """The same cell has the same charge whatever is drawn from it."""
    bench = Bench(cells=2)
    bench.chip.current_a = current_a
    assert bench.until(1.0).samples()[0].charge_percent == pytest.approx(charge_percent(3.75), abs=2.0)


def test_the_charge_does_not_dance_with_the_load():
    """A cell twice as resistive as assumed, and bursts of a motor: within 6 % from one reading to the next."""
    bench = Bench()
    bench.chip.cell_ohm = 2 * CELL_OHM
    random = Random(3)
    bench.chip.spoil = lambda register, value: _shift(bench.chip, random, register, value)
    bench.until(300.0)
    charges = [sample.charge_percent for sample in bench.samples(30.0)]
    assert max(abs(b - a) for a, b in pairwise(charges)) <= 6.0
    assert bench.faults() == []


def _shift(chip: Chip, random: Random, register: int, value: int) -> int:
    if register == POWER:
        chip.current_a = random.choice((0.45, 0.45, 0.45, 0.95))
    return value


def test_it_warns_early_rather_than_late():
    """A cell as measured by others that has 20 % left is not called fuller than that."""
    assert charge_percent(3.50) <= 20.0  # Samsung 40T, Molicel P42A: 3.50 V at 21 %
    assert charge_percent(3.42) <= 10.0  # 13 %


# ------------------------------------------------------------------------------------------------- faults


def _overflow(register: int, value: int) -> int:
    return value | OVERFLOW if register == BUS else value


IMPOSSIBLE = [
    pytest.param(lambda chip: setattr(chip, "current_a", 3.5), "shunt", id="more than the shunt measures"),
    pytest.param(lambda chip: setattr(chip, "spoil", _overflow), "shunt", id="overflow bit"),
    pytest.param(lambda chip: setattr(chip, "rest_v", 7.4), "battery.cells", id="two cells where one is meant"),
    pytest.param(lambda chip: setattr(chip, "rest_v", 0.4), "battery.cells", id="no battery"),
    pytest.param(
        lambda chip: setattr(chip, "spoil", lambda r, v: 0 if r == CURRENT else v), "do not agree", id="current lost"
    ),
    pytest.param(
        lambda chip: setattr(chip, "spoil", lambda r, v: v & ~READY if r == BUS else v), "no charge", id="hung"
    ),
]


@pytest.mark.parametrize(("breaks", "says"), IMPOSSIBLE)
def test_what_cannot_be_is_named_once(breaks, says):
    """Within 12 s, with what to check; no charge is given meanwhile; over when it makes sense again."""
    bench = Bench().until(12.0)
    sound = bench.chip.spoil
    breaks(bench.chip)
    bench.until(40.0)
    assert bench.faults() == [("garbage", True)]
    report = bench.run.of(HealthReport)[0]
    assert report.t_received_s - 12.0 <= 12.0
    assert says in report.detail
    assert bench.samples(16.0) == []
    bench.chip.spoil, bench.chip.rest_v, bench.chip.current_a = sound, 3.75, 0.5
    bench.until(60.0)
    assert bench.faults() == [("garbage", True), ("garbage", False)]
    assert bench.samples(45.0)


@pytest.mark.parametrize(
    ("breaks", "fault", "says"),
    [
        pytest.param(
            lambda chip: setattr(chip, "fail", lambda: errno.EREMOTEIO), "absent", "no acknowledge", id="absent"
        ),
        pytest.param(lambda chip: setattr(chip, "takes", False), "wrong_chip", "keep its settings", id="another chip"),
        pytest.param(
            lambda chip: setattr(chip, "spoil", lambda r, v: 0xFFFF), "garbage", "every bit", id="all bits set"
        ),
    ],
)
@pytest.mark.parametrize("since_s", [0.0, 12.0])
def test_an_error_is_named_within_ten_seconds(breaks, fault, says, since_s):
    """From the start, and while it works."""
    bench = Bench()
    if since_s:
        bench.until(since_s)
        bench.chip.power_on()  # another chip, or one without power, has lost its settings
    breaks(bench.chip)
    bench.until(since_s + 20.0)
    t_s, error = bench.run.errors[0]
    assert error.fault == fault
    assert says in error.detail
    assert t_s - since_s <= 10.0
    assert bench.samples(since_s) == []


def test_a_battery_that_is_exchanged_is_believed_after_a_while():
    """From full to nearly empty at once: doubted for 10 s, then said."""
    bench = Bench()
    bench.chip.rest_v = 4.15
    bench.until(12.0)
    bench.chip.rest_v = 3.4
    bench.until(40.0)
    assert bench.faults() == [("garbage", True), ("garbage", False)]
    assert bench.samples(12.5)[0].charge_percent == pytest.approx(charge_percent(3.4), abs=1.0)
