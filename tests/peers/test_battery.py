"""A MAX17048 and an INA219 that Adafruit's drivers take for real ones."""

from __future__ import annotations

from typing import Any

import pytest
from tests.peers.conftest import Bench

from retrowalk.config import Battery
from retrowalk.core.samples import BatterySample
from retrowalk.devices.ina219 import Ina219Driver
from retrowalk.devices.max17048 import Max17048Driver
from retrowalk.sim.battery import SimBattery
from retrowalk.sim.chips.ina219 import Ina219Twin
from retrowalk.sim.chips.max17048 import Max17048Twin

pytestmark = pytest.mark.peers

GAUGE = Battery(chip="max17048")
MONITOR = Battery(chip="ina219")


def sampled(bench: Bench, driver: Any) -> BatterySample:
    """The latest sample of a driver of ours after 11 s."""
    items = [item for item in bench.ours(driver, 11.0) if isinstance(item, BatterySample)]
    assert bench.errors == []
    return items[-1]


def gauge(bench: Bench) -> Any:
    return bench.peer("adafruit_max1704x").MAX17048(bench.busio)


def monitor(bench: Bench) -> Any:
    return bench.peer("adafruit_ina219").INA219(bench.busio)


@pytest.mark.parametrize("charge_percent", [5.0, 42.0, 99.0])
def test_gauge_reads_the_same(bench, charge_percent):
    """Adafruit's driver and ours read the same charge and voltage of one cell, and they are the cell's"""
    battery = SimBattery(charge_percent, burst_a=0.0)
    bench.connect(0x36, Max17048Twin(battery))
    sample = sampled(bench, Max17048Driver(GAUGE, bench.bus, bench.clock))
    theirs = gauge(bench)
    bench.wait(1.0)
    assert theirs.cell_voltage == pytest.approx(battery.cell_v(bench.clock.now(), 0.45), abs=0.001)
    assert theirs.cell_percent == pytest.approx(sample.charge_percent, abs=0.1)
    assert theirs.cell_voltage == pytest.approx(sample.voltage_v, abs=0.001)
    assert theirs.charge_rate == pytest.approx(-18.0, abs=0.2)  # 0.45 A from 2.5 Ah
    assert not theirs.hibernating


def test_gauge_is_reset_by_a_write_that_it_refuses(bench):
    """A reset is the one write that succeeds by not being acknowledged; ours then waits for the model"""
    bench.connect(0x36, Max17048Twin(SimBattery(burst_a=0.0)))
    ours = Max17048Driver(GAUGE, bench.bus, bench.clock)
    before = sampled(bench, ours)
    theirs = gauge(bench)
    assert theirs.cell_percent == 0.0
    items = bench.ours(ours, 6.0)
    assert [item.charge_percent for item in items] == pytest.approx([before.charge_percent], abs=0.1)


def test_gauge_of_another_kind(bench_with):
    """A MAX17043 at its address is refused by both"""
    bench = bench_with("battery:wrong")
    bench.connect(0x36, Max17048Twin(SimBattery(), faults=bench.faults))
    with pytest.raises(RuntimeError, match="check your wiring"):
        gauge(bench)
    bench.ours(Max17048Driver(GAUGE, bench.bus, bench.clock), 1.0)
    assert {error.fault for error in bench.errors} == {"wrong_chip"}


@pytest.mark.parametrize("load_a", [0.05, 0.45, 1.9, -0.8], ids=["idle", "walk", "all at once", "charging"])
def test_monitor_reads_the_same(bench, load_a):
    """Adafruit's driver and ours read the same voltage and current, and they are the battery's"""
    battery = SimBattery(load_a=load_a, burst_a=0.0)
    bench.connect(0x40, Ina219Twin(battery))
    sample = sampled(bench, Ina219Driver(MONITOR, bench.bus, bench.clock))
    theirs = monitor(bench)
    bench.wait(0.1)
    assert theirs.current == pytest.approx(load_a * 1000.0, abs=0.1)
    assert sample.current_a == pytest.approx(load_a, abs=0.001)
    assert theirs.bus_voltage + theirs.shunt_voltage == pytest.approx(
        battery.cell_v(bench.clock.now(), load_a), abs=0.005
    )
    # It reads behind the shunt; ours gives the battery's own voltage.
    assert theirs.bus_voltage + theirs.shunt_voltage == pytest.approx(sample.voltage_v, abs=0.005)
    assert theirs.power == pytest.approx(theirs.bus_voltage * abs(load_a), abs=0.004)


@pytest.mark.parametrize(
    ("calibration", "limit_a"),
    [
        pytest.param("set_calibration_32V_2A", 3.2, id="320 mV"),
        pytest.param("set_calibration_32V_1A", 1.6, id="160 mV"),
        pytest.param("set_calibration_16V_400mA", 0.4, id="40 mV"),
    ],
)
def test_monitor_has_a_range(bench, calibration, limit_a):
    """Beyond the range that a driver has chosen, the shunt reads its end"""
    bench.connect(0x40, Ina219Twin(SimBattery(load_a=3.5, burst_a=0.0)))
    theirs = monitor(bench)
    getattr(theirs, calibration)()
    bench.wait(0.1)
    assert theirs.current == pytest.approx(limit_a * 1000.0, abs=0.1)


def test_ours_sets_up_what_a_stranger_left(bench):
    """A monitor that a stranger has set to another range is set up anew"""
    bench.connect(0x40, Ina219Twin(SimBattery(load_a=0.9, burst_a=0.0)))
    monitor(bench).set_calibration_16V_400mA()
    assert sampled(bench, Ina219Driver(MONITOR, bench.bus, bench.clock)).current_a == pytest.approx(0.9, abs=0.001)


@pytest.mark.parametrize(("address", "theirs"), [(0x36, gauge), (0x40, monitor)], ids=["max17048", "ina219"])
def test_absent(bench_with, address, theirs):
    """An absent chip is refused by both"""
    bench = bench_with("battery:off")
    chip = Max17048Twin(SimBattery()) if address == 0x36 else Ina219Twin(SimBattery())
    bench.connect(address, chip)
    with pytest.raises(ValueError, match="No I2C device"):
        theirs(bench)
    ours = Max17048Driver if address == 0x36 else Ina219Driver
    bench.ours(ours(GAUGE if address == 0x36 else MONITOR, bench.bus, bench.clock), 4.0)
    assert {error.fault for error in bench.errors} == {"absent"}
