"""A TF-Luna that tfli2c takes for a real one.

Its driver keeps everything in its module: one sensor in a program, always in triggered mode.
"""

from __future__ import annotations

import statistics
from types import ModuleType

import pytest
from tests.peers.conftest import Bench

from retrowalk.config import TfLuna
from retrowalk.core.samples import RangeSample, RangeStatus
from retrowalk.devices.tfluna import TfLunaDriver
from retrowalk.sim.chips.tfluna import TfLunaTwin
from retrowalk.sim.light import NOTHING, Spot

pytestmark = pytest.mark.peers

READY, WEAK, STRONG, FLOOD = 0, 10, 11, 12
"""Its status codes."""


TARGET = Spot(2.34, 1500.0)


def solder(bench: Bench, spot: Spot = TARGET, at: int = 0x10) -> TfLunaTwin:
    chip = TfLunaTwin(lambda t_s: spot, 7, at=at, faults=bench.faults)
    bench.connect(at, chip)
    return chip


def tfli2c(bench: Bench, address: int = 0x10) -> ModuleType:
    module = bench.peer("tfli2c", SMBus=bench.smbus(0.0005))
    assert module.begin(address, 1)
    bench.wait(0.2)  # the mode has just been written
    return module


def measure(bench: Bench, module: ModuleType) -> tuple[bool, int, int, int]:
    """Whether it is content, its centimetres, amplitude and status.  What it reads was triggered by the call before."""
    module.getData()
    bench.wait(0.02)
    content = module.getData()
    return content, module.dist, module.flux, module.status


def ours(bench: Bench, seconds: float = 2.0, address: int = 0x10) -> list[RangeSample]:
    driver = TfLunaDriver(TfLuna(address=address), bench.bus, bench.clock)
    return [item for item in bench.ours(driver, seconds) if isinstance(item, RangeSample)]


@pytest.mark.parametrize(
    "spot",
    [
        pytest.param(Spot(0.5, 12_000.0), id="near and bright"),
        pytest.param(TARGET, id="2.34 m"),
        pytest.param(Spot(7.5, 130.0), id="far and dim"),
    ],
)
def test_same_range_and_amplitude(bench, spot):
    """Both read the same centimetres and the same amplitude of one target"""
    solder(bench, spot)
    samples = ours(bench)
    assert {sample.status for sample in samples} == {RangeStatus.VALID}
    module = tfli2c(bench)
    readings = [measure(bench, module) for _ in range(40)]
    assert all(content and status == READY for content, _, _, status in readings)
    range_m = statistics.fmean(sample.range_m or 0.0 for sample in samples)
    strength = statistics.fmean(sample.strength or 0.0 for sample in samples)
    assert statistics.fmean(dist for _, dist, _, _ in readings) == pytest.approx(range_m * 100.0, abs=1.5)
    assert statistics.fmean(flux for _, _, flux, _ in readings) == pytest.approx(strength, rel=0.02)


@pytest.mark.parametrize(
    ("spot", "status", "theirs"),
    [
        pytest.param(TARGET, RangeStatus.VALID, READY, id="target"),
        pytest.param(NOTHING, RangeStatus.NO_TARGET, WEAK, id="nothing"),
        pytest.param(Spot(2.34, 40.0), RangeStatus.NO_TARGET, WEAK, id="too weak"),
        pytest.param(Spot(2.34, 65_535.0, True), RangeStatus.UNTRUSTED, FLOOD, id="sun"),
    ],
)
def test_same_status(bench, spot, status, theirs):
    """Both accept and reject the same readings, for the same reason"""
    solder(bench, spot)
    assert {sample.status for sample in ours(bench)} == {status}
    module = tfli2c(bench)
    for _ in range(10):
        assert measure(bench, module)[::3] == (theirs == READY, theirs)


def test_what_it_is(bench):
    """Version, serial number, mode, frame rate and clock read as a driver expects them"""
    solder(bench)
    driver = TfLunaDriver(TfLuna(), bench.bus, bench.clock)
    bench.ours(driver, 0.5)
    module = tfli2c(bench)
    assert module.getFirmwareVersion() == driver.version == "1.3.3"
    assert len(module.getProdCode()) == 14
    assert module.getMode() == "trigger"
    assert module.getFrameRate() == 100
    measure(bench, module)
    begun_s, before_ms = bench.clock.now(), module.getTime()
    bench.wait(2.0)
    measure(bench, module)
    passed_s = bench.clock.now() - begun_s
    assert (module.getTime() - before_ms) & 0xFFFF == pytest.approx(passed_s * 1010.0, abs=5)  # its clock is 1 % fast
    assert 25.0 < module.temp < 40.0


def test_first_reading_is_of_no_trigger(bench):
    """tfli2c triggers and reads at once: what it reads first is nothing, and later one call old"""
    solder(bench)
    module = tfli2c(bench)
    assert not module.getData()
    assert (module.dist, module.status) == (0, WEAK)


def test_address_change_is_followed(bench):
    """A new address, saved and rebooted by tfli2c, is where both find it, and nobody answers at the old one"""
    solder(bench)
    module = tfli2c(bench)
    module.setI2Caddr(0x11)
    module.saveSettings()
    bench.wait(2.0)
    module.softReset()
    bench.wait(1.0)
    assert not module.begin(0x10, 1)
    assert module.begin(0x11, 1)
    bench.wait(0.2)
    samples = ours(bench, address=0x11)
    assert samples[-1].status is RangeStatus.VALID
    ours(bench, 0.5)
    assert {error.fault for error in bench.errors} == {"absent"}


def test_ours_sets_up_what_a_stranger_left(bench):
    """A module that was left triggered, at another frame rate, is set back and measures by itself"""
    solder(bench)
    module = tfli2c(bench)
    module.setFrameRate(10)
    bench.wait(0.2)
    samples = ours(bench)
    assert bench.errors == []
    assert len(samples) > 30
    assert {sample.status for sample in samples} == {RangeStatus.VALID}


def test_absent(bench_with):
    """An absent module: tfli2c says False and nothing more, ours names it and what to look at"""
    bench = bench_with("lidar:off")
    solder(bench)
    module = bench.peer("tfli2c", SMBus=bench.smbus(0.0005))
    assert not module.begin(0x10, 1)
    ours(bench, 0.3)
    assert {error.fault for error in bench.errors} == {"absent"}
    assert "0x10" in bench.errors[0].detail


def test_measurement_that_stands_still(bench_with):
    """A module that repeats one measurement for ever is content to tfli2c; ours reports it as frozen"""
    bench = bench_with("lidar:stuck@2")
    solder(bench)
    driver = TfLunaDriver(TfLuna(), bench.bus, bench.clock)
    bench.ours(driver, 2.0 - bench.clock.now())
    items = bench.ours(driver, 1.0)
    assert [item.fault for item in items if not isinstance(item, RangeSample)] == ["frozen"]
    module = tfli2c(bench)
    assert len({measure(bench, module) for _ in range(10)}) == 1
    assert module.status == READY
