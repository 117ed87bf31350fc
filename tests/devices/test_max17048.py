"""The MAX17048 driver on a bench bus: what a charge is, and what is none."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

import pytest
from tests.devices.bench import Run, VirtualClock

from retrowalk.config import Battery
from retrowalk.core.samples import BatterySample, HealthReport
from retrowalk.devices.max17048 import Max17048Driver

VCELL, SOC, VERSION, STATUS = 0x02, 0x04, 0x08, 0x1A


class Chip:
    """Registers on a bus; `fail(register)` gives the error number of the next transfer, 0 for none."""

    def __init__(self) -> None:
        self.registers = {VERSION: 0x0012, STATUS: 0x0000}
        self.cell(3.9, 62.5)
        self.fail: Callable[[int], int] = lambda register: 0
        self.written: list[tuple[int, int]] = []
        self.transfers = 0

    def cell(self, voltage_v: float, percent: float) -> None:
        self.registers[VCELL], self.registers[SOC] = round(voltage_v / 78.125e-6), round(percent * 256)

    def all_ones(self) -> None:
        self.registers = dict.fromkeys(self.registers, 0xFFFF)

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        self.transfers += 1
        if address != 0x36:
            raise OSError(errno.EREMOTEIO, "no acknowledge")
        number = self.fail(write[0])
        if number:
            raise OSError(number, "transfer failed")
        if len(write) == 3:
            value = int.from_bytes(write[1:], "big")
            self.written.append((write[0], value))
            self.registers[write[0]] = value
        return self.registers[write[0]].to_bytes(2, "big")[:read]

    def close(self) -> None:
        pass


class Bench:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.chip = Chip()
        self.driver = Max17048Driver(Battery(chip="max17048"), self.chip, self.clock)
        self.run = Run(self.driver, self.clock)

    def until(self, end_s: float) -> Bench:
        self.run.until(end_s)
        return self

    def samples(self, since_s: float = 0.0) -> list[BatterySample]:
        return self.run.of(BatterySample, since_s)

    def faults(self) -> list[tuple[str, bool]]:
        return [(r.fault, r.active) for r in self.run.of(HealthReport)]


def test_charge_and_voltage_are_those_of_the_registers():
    """Big-endian words: 78.125 uV and 1/256 % a count; no current is made up."""
    sample = Bench().until(0.1).samples()[0]
    assert (sample.charge_percent, sample.voltage_v, sample.current_a) == (62.5, 3.9, None)


def test_it_is_read_seldom():
    """Every 5 s, in four short transfers: a wake-up costs more than the charge changes."""
    bench = Bench().until(101.0)
    assert len(bench.samples()) == 21
    assert bench.chip.transfers <= 21 * 4


def test_more_than_full_is_full():
    """The model may read above 100 %."""
    bench = Bench()
    bench.chip.cell(4.2, 103.6)
    assert bench.until(0.1).samples()[0].charge_percent == 100.0


def test_a_chip_that_has_begun_anew_is_waited_for():
    """RI set: the bit is cleared, nothing else is written, and what it reads in its first second is no charge."""
    bench = Bench()
    bench.chip.registers[STATUS] = 0x4100
    bench.chip.cell(0.0, 0.0)
    bench.clock.at(1.0, lambda: bench.chip.cell(3.8, 55.0))
    bench.until(3.0)
    assert bench.chip.written == [(STATUS, 0x4000)]
    assert [sample.charge_percent for sample in bench.samples()] == [55.0]
    assert bench.faults() == []
    assert bench.driver.counts["chip_reset"] == 1


def test_a_brown_out_is_noticed_and_may_move_the_charge():
    """After RI the model has guessed anew: that jump is no fault."""
    bench = Bench().until(20.0)
    bench.chip.registers[STATUS] = 0x0100
    bench.chip.cell(3.6, 30.0)
    bench.until(30.0)
    assert bench.samples(21.0)[0].charge_percent == 30.0
    assert bench.faults() == []
    assert bench.driver.counts["chip_reset"] == 1


def test_a_quick_start_is_never_given():
    """Whatever happens, the MODE register is not written."""
    bench = Bench()
    for t_s, status in ((5.0, 0x0100), (15.0, 0x0100)):
        bench.clock.at(t_s, partial(bench.chip.registers.update, {STATUS: status}))
    bench.until(40.0)
    assert {register for register, _ in bench.chip.written} == {STATUS}


def test_an_empty_cell_is_empty():
    """0 % of a cell at 3.3 V is a charge; of one at 3.9 V it is a model that has not begun."""
    bench = Bench()
    bench.chip.cell(3.3, 0.0)
    assert bench.until(0.1).samples()[0].charge_percent == 0.0


NACK = errno.EREMOTEIO
ERRORS = [
    pytest.param(lambda chip: setattr(chip, "fail", lambda r: NACK), "absent", "no acknowledge", id="absent"),
    pytest.param(lambda chip: setattr(chip, "fail", lambda r: errno.ETIMEDOUT), "absent", "held low", id="stuck bus"),
    pytest.param(lambda chip: chip.registers.update({VERSION: 0x0003}), "wrong_chip", "0x0003", id="MAX17043"),
    pytest.param(lambda chip: chip.all_ones(), "garbage", "every bit", id="all bits set"),
]


@pytest.mark.parametrize(("breaks", "fault", "says"), ERRORS)
def test_an_error_at_the_start_says_what_it_is(breaks, fault, says):
    """Each within 3 s, and tried again every 5 s."""
    bench = Bench()
    breaks(bench.chip)
    bench.until(20.0)
    t_s, error = bench.run.errors[0]
    assert (error.fault, t_s <= 3.0) == (fault, True)
    assert says in error.detail
    assert 3 <= len(bench.run.errors) <= 5
    assert bench.samples() == []


@pytest.mark.parametrize(("breaks", "fault", "says"), ERRORS)
def test_an_error_while_it_works_is_named_within_ten_seconds(breaks, fault, says):
    """As at the start; a chip that is exchanged is found out when it reads like no cell."""
    bench = Bench().until(12.0)
    breaks(bench.chip)
    if fault == "wrong_chip":
        bench.chip.cell(0.0, 0.0)
    bench.until(30.0)
    named = [t for t, _ in bench.run.errors] + [r.t_received_s for r in bench.run.of(HealthReport) if r.active]
    assert min(named) - 12.0 <= 10.0
    assert bench.samples(16.0) == []


@pytest.mark.parametrize(
    ("voltage_v", "percent"),
    [pytest.param(1.2, 50.0, id="no cell has 1.2 V"), pytest.param(3.8, 200.0, id="nor 200 %")],
)
def test_what_no_cell_has_is_garbage(voltage_v, percent):
    """Named once, with the numbers, and over when they make sense."""
    bench = Bench().until(12.0)
    bench.chip.cell(voltage_v, percent)
    bench.until(40.0)
    bench.chip.cell(3.9, 62.0)
    bench.until(50.0)
    assert bench.faults() == [("garbage", True), ("garbage", False)]
    assert bench.run.of(HealthReport)[0].t_received_s - 12.0 <= 10.0
    assert bench.samples(16.0)[0].t_received_s >= 40.0


def test_a_jump_is_named_and_then_believed():
    """60 to 12 % within 5 s is doubted for 10 s; if it stays so, it was true."""
    bench = Bench().until(12.0)
    bench.chip.cell(3.5, 12.0)
    bench.until(40.0)
    assert bench.faults() == [("garbage", True), ("garbage", False)]
    first = bench.samples(12.5)[0]
    assert first.charge_percent == 12.0
    assert 10.0 <= first.t_received_s - 15.0 <= 10.5


def test_a_reading_that_is_wrong_once_is_left_out():
    """One torn word gives no charge; the next is as before."""
    bench = Bench().until(12.0)
    bench.chip.cell(3.9, 3.0)
    bench.until(17.0)
    bench.chip.cell(3.9, 62.0)
    bench.until(30.0)
    assert {sample.charge_percent for sample in bench.samples(12.0)} == {62.0}


def test_single_refusals_are_borne():
    """A motor that switches spoils one transfer or two; nobody hears of it."""
    bench = Bench()
    refused = iter([NACK, NACK] + [0] * 40 + [NACK] + [0] * 1000)
    bench.chip.fail = lambda register: next(refused)
    bench.until(60.0)
    assert bench.run.errors == []
    assert len(bench.samples()) >= 10
