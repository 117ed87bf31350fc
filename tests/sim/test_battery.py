"""The simulated battery and its two chips: strict registers, and what the drivers make of each fault."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Literal

import pytest
from tests.sim.helpers import Rig

from retrowalk.config import Battery
from retrowalk.core.samples import BatterySample, HealthReport
from retrowalk.devices.ina219 import Ina219Driver
from retrowalk.devices.max17048 import Max17048Driver
from retrowalk.errors import StrictTwinError
from retrowalk.platform import Step
from retrowalk.sim.battery import RESTING_V, SimBattery, resting_v
from retrowalk.sim.chips.ina219 import Ina219Twin
from retrowalk.sim.chips.max17048 import Max17048Twin
from retrowalk.sim.faults import KINDS
from retrowalk.sim.i2c import Chip, SimBus, transfer_s

ChipName = Literal["max17048", "ina219"]


class Gauge:
    """A MAX17048 with a clock in the hand."""

    twin: Max17048Twin | Ina219Twin

    def __init__(self, **options) -> None:
        self.twin = Max17048Twin(SimBattery(), **options)
        self.now = 10.0

    def put(self, register: int, value: int) -> None:
        self.twin.transfer(bytes((register, *value.to_bytes(2, "big"))), 0, self.now)

    def get(self, register: int, count: int = 2) -> int:
        return int.from_bytes(self.twin.transfer(bytes((register,)), count, self.now), "big")


class Monitor(Gauge):
    """An INA219 with a clock in the hand."""

    def __init__(self, **options) -> None:
        self.twin = Ina219Twin(SimBattery(cells=options.pop("cells", 1)), **options)
        self.now = 10.0


# ------------------------------------------------------------------------------------------------- strictness


@pytest.mark.parametrize(
    ("act", "says"),
    [
        pytest.param(lambda c: c.get(0x00), "no register 0x00", id="unknown register read"),
        pytest.param(lambda c: c.put(0x10, 1), "no register 0x10", id="unknown register written"),
        pytest.param(lambda c: c.put(0x04, 1), r"SOC \(0x04\) is read-only", id="SOC written"),
        pytest.param(lambda c: c.get(0xFE), r"CMD \(0xFE\) is write-only", id="CMD read"),
        pytest.param(lambda c: c.put(0x06, 0x4000), "quick start", id="quick start"),
        pytest.param(lambda c: c.put(0xFE, 0x1234), "no command 0x1234", id="unknown command"),
        pytest.param(lambda c: c.twin.transfer(b"\x0c123", 0, 1.0), "two bytes, 3 were written", id="too much written"),
        pytest.param(lambda c: c.twin.transfer(b"", 2, 1.0), "address in the same transfer", id="no address"),
        pytest.param(lambda c: c.twin.transfer(b"\x0c\x97\x1c", 2, 1.0), "in one transfer", id="write and read"),
    ],
)
def test_the_gauge_is_strict(act, says):
    """What the real MAX17048 does not allow is a driver's mistake, told with the register's name."""
    with pytest.raises(StrictTwinError, match=says):
        act(Gauge())


@pytest.mark.parametrize(
    ("act", "says"),
    [
        pytest.param(lambda c: c.get(0x06), "no register 0x06", id="unknown register"),
        pytest.param(lambda c: c.put(0x01, 1), "SHUNT is read-only", id="SHUNT written"),
        pytest.param(lambda c: c.get(0x02, 4), "two bytes, 4 were read", id="two registers at once"),
        pytest.param(lambda c: c.put(0x00, 0x1FF8), "only continuous", id="power-down"),
        pytest.param(lambda c: c.put(0x00, 0x5FFF), "bit 14", id="bit 14"),
        pytest.param(lambda c: c.put(0x00, 0x1807), "ADC is not simulated", id="9 bits"),
        pytest.param(lambda c: c.twin.transfer(b"", 2, 1.0), "address in the same transfer", id="no address"),
    ],
)
def test_the_monitor_is_strict(act, says):
    """What the real INA219 does not allow, or is not simulated, is told with the register's name."""
    with pytest.raises(StrictTwinError, match=says):
        act(Monitor())


# ------------------------------------------------------------------------------------------------- the chips


def test_the_gauge_reads_its_cell():
    """Voltage under load in 78.125 uV, charge in 1/256 %; neighbours can be read in one go."""
    chip = Gauge()
    assert chip.get(0x08) == 0x0012
    assert chip.get(0x04) / 256 == pytest.approx(80.0, abs=0.2)
    assert 3.9 <= chip.get(0x02) * 78.125e-6 <= resting_v(80.0)
    both = chip.get(0x02, 4)
    assert both >> 16 == chip.get(0x02)
    assert both & 0xFFFF == chip.get(0x04)


def test_a_reset_gauge_has_no_charge_for_a_second():
    """The reset command is not acknowledged; RI is set until it is cleared; 0 V and 0 % until 1 s later."""
    chip = Gauge()
    chip.put(0x1A, 0x0000)
    assert chip.get(0x1A) == 0x0000
    with pytest.raises(OSError) as refused:
        chip.put(0xFE, 0x5400)
    assert refused.value.errno == errno.EREMOTEIO
    assert chip.get(0x1A) == 0x0100
    assert chip.get(0x02, 4) == 0
    chip.now += 1.1
    assert chip.get(0x04) / 256 == pytest.approx(80.0, abs=0.2)


def test_an_alert_can_be_cleared_and_not_set():
    """Writing a one to STATUS raises no alert."""
    chip = Gauge()
    chip.put(0x1A, 0x0000)
    chip.put(0x1A, 0x3F00)
    assert chip.get(0x1A) == 0x0000


def test_a_model_that_does_not_fit_reads_above_full():
    """SOC does not stop at 100 %."""
    chip = Gauge()
    assert isinstance(chip.twin, Max17048Twin)
    chip.twin.percent_too_high = 25.0
    assert chip.get(0x04) / 256 > 100.0


def test_the_monitor_reads_nothing_until_it_is_calibrated():
    """After power-on shunt and bus are measured, current and power read 0."""
    chip = Monitor()
    shunt = chip.get(0x01)
    assert shunt > 0
    assert chip.get(0x04) == chip.get(0x03) == 0
    chip.put(0x05, 4097)
    assert chip.get(0x05) == 4096  # bit 0 is always 0
    assert chip.get(0x04) == shunt


def test_the_ready_bit_is_cleared_by_reading_power():
    """A measurement is new until POWER has been read, and again when the next one is made."""
    chip = Monitor()
    chip.put(0x00, 0x1FFF)
    assert not chip.get(0x02) & 2
    chip.now += 0.2
    assert chip.get(0x02) & 2
    chip.get(0x03)
    assert not chip.get(0x02) & 2
    chip.now += 0.2
    assert chip.get(0x02) & 2


def test_a_reversed_shunt_reads_negative():
    """VIN+ and VIN- exchanged: the current has the other sign."""
    chip = Monitor(reversed_=True)
    assert chip.get(0x01) > 0x8000


def test_the_battery_sags_and_runs_down():
    """Load pulls its voltage down; an hour at 0.5 A takes a fifth of 2.5 Ah."""
    battery = SimBattery()
    assert battery.cell_v(1.0, 1.0) == pytest.approx(resting_v(battery.charge(1.0)) - battery.cell_ohm)
    assert battery.charge(0.0) - battery.charge(3600.0) == pytest.approx(20.2, abs=0.5)
    voltages = [voltage for _, voltage in RESTING_V]
    assert voltages == sorted(voltages)


# ------------------------------------------------------------------------------------------------- the drivers

CHIPS: tuple[ChipName, ...] = ("max17048", "ina219")
MADE: dict[ChipName, tuple[Callable[..., Chip], Callable[..., Step]]] = {
    "max17048": (Max17048Twin, Max17048Driver),
    "ina219": (Ina219Twin, Ina219Driver),
}


def drive(chip: ChipName, faults: list[str], until_s: float = 60.0, **battery) -> tuple[Rig, SimBus]:
    """The driver on its twin."""
    rig = Rig(faults=faults)
    config = Battery(chip=chip)
    twin, driver = MADE[chip]
    made = twin(SimBattery(faults=rig.faults, **battery), faults=rig.faults)
    bus = SimBus(rig.clock, {config.bus_address: made}, rig.faults)
    rig.run(driver(config, bus, rig.clock))
    rig.scheduler.run_until(until_s)
    return rig, bus


def charges(rig: Rig, from_s: float = 0.0, to_s: float = 1e9) -> list[float]:
    return [i.charge_percent for i in rig.items if isinstance(i, BatterySample) and from_s <= i.t_received_s < to_s]


def named(rig: Rig) -> list[tuple[float, str]]:
    """Faults in order, each when it was told first in a row."""
    told = [(i.t_received_s, i.fault) for i in rig.items if isinstance(i, HealthReport) and i.active]
    errors = [(t, error.fault) for t, error in rig.errors]
    first = [entry for i, entry in enumerate(errors) if not i or errors[i - 1][1] != entry[1]]
    return sorted([*told, *first])


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize(
    ("kind", "faults"),
    [
        pytest.param("off", {"absent"}, id="no acknowledge"),
        pytest.param("garbage", {"garbage"}, id="all bits set"),
        pytest.param("wrong", {"wrong_chip", "garbage"}, id="another chip"),
        pytest.param("nack", set(), id="refusals in bursts"),
        pytest.param("intermittent", {"absent"}, id="a loose wire"),
        pytest.param("reboot", set(), id="a brown-out"),
        pytest.param("low", {"garbage"}, id="suddenly 15 %"),
        pytest.param("empty", {"garbage"}, id="suddenly 5 %"),
    ],
)
def test_a_fault_of_the_chip_is_named_within_ten_seconds(chip, kind, faults):
    """Named once for each cause, over when it ends, and readings are there again within 16 s."""
    rig, _ = drive(chip, [f"battery:{kind}@20-45"], 70.0)
    found = [entry for entry in named(rig) if entry[0] < 45.0]
    assert {fault for _, fault in found} <= faults
    if kind in ("off", "garbage", "wrong"):
        assert len(found) == 1
        assert found[0][0] - 20.0 <= 10.0
        assert charges(rig, 30.0, 45.0) == []
    assert charges(rig, 61.0)
    assert all(charge > 60.0 for charge in charges(rig, 61.0))


def test_every_fault_of_the_battery_has_a_row():
    """The table above knows all kinds of part `battery`."""
    rows = test_a_fault_of_the_chip_is_named_within_ten_seconds.pytestmark[0].args[1]
    assert {row.values[0] for row in rows} == set(KINDS["battery"])


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize(("kind", "at_most"), [("low", 16.0), ("empty", 6.0)])
def test_a_low_battery_is_seen_from_the_start(chip, kind, at_most):
    """15 and 5 % are not taken for more."""
    rig, _ = drive(chip, [f"battery:{kind}"], 20.0)
    assert charges(rig)
    assert max(charges(rig)) <= at_most
    assert named(rig) == []


@pytest.mark.parametrize("charge", [100.0, 80.0, 60.0, 40.0, 30.0, 20.0, 10.0, 5.0])
def test_the_estimate_errs_by_what_is_said_of_it(charge):
    """The INA219's charge of a cell it does not know: off by 15 % at most, and below half never too high."""
    rig, _ = drive("ina219", [], 20.0, charge_percent=charge)
    assert all(abs(found - charge) <= 15.0 for found in charges(rig))
    if charge < 50.0:
        assert max(charges(rig)) <= charge + 1.0


class Meter:
    """A bus that adds up the time each transfer takes on the wires."""

    def __init__(self, bus: SimBus) -> None:
        self.times_s: list[float] = []
        self._bus = bus

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        self.times_s.append(transfer_s(len(write), read))
        return self._bus.transfer(address, write, read)

    def close(self) -> None:
        self._bus.close()


@pytest.mark.parametrize("chip", CHIPS)
def test_the_bus_is_hardly_used(chip):
    """A chip that is read every 5 s takes less than 0.03 % of the bus, in transfers under 0.2 ms."""
    rig = Rig()
    config = Battery(chip=chip)
    twin, driver = MADE[chip]
    meter = Meter(SimBus(rig.clock, {config.bus_address: twin(SimBattery())}))
    rig.run(driver(config, meter, rig.clock))
    rig.scheduler.run_until(100.0)
    assert max(meter.times_s) <= 0.0002
    assert sum(meter.times_s) / 100.0 <= 0.0003
