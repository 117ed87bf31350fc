"""An LSM6DSOX that Adafruit's driver takes for a real one (adafruit-circuitpython-lsm6ds)."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from tests.peers.conftest import Bench

from retrowalk.config import Imu
from retrowalk.core.samples import ImuSample
from retrowalk.devices.lsm6dsox import Lsm6dsox
from retrowalk.sim.chips.inertial import TEMPERATURE_C
from retrowalk.sim.chips.lsm6dsox import Lsm6dsoxTwin

pytestmark = pytest.mark.peers

MOTION = (3.0, -4.0, 8.5, 0.5, -1.0, 1.5)
"""Tilted, and turning about all axes."""


def solder(bench: Bench) -> Lsm6dsoxTwin:
    chip = Lsm6dsoxTwin(lambda t_s: MOTION, 7, faults=bench.faults)
    bench.connect(0x6A, chip)
    return chip


def adafruit(bench: Bench) -> Any:
    return bench.peer("adafruit_lsm6ds.lsm6dsox").LSM6DSOX(bench.busio)


def means(vectors: list[tuple[float, float, float]]) -> list[float]:
    return [statistics.fmean(axis) for axis in zip(*vectors, strict=True)]


@pytest.mark.parametrize("gyro", ["125_DPS", "250_DPS", "500_DPS", "1000_DPS", "2000_DPS"])
@pytest.mark.parametrize("accel", ["2G", "4G", "8G", "16G"])
def test_scales_agree(bench, accel, gyro):
    """In each of its ranges Adafruit's driver reads the acceleration and rotation that ours reads from the FIFO"""
    solder(bench)
    samples = [item for item in bench.ours(Lsm6dsox(Imu(), bench.bus, bench.clock), 2.0) if isinstance(item, ImuSample)]
    theirs, ranges = adafruit(bench), bench.peer("adafruit_lsm6ds")
    theirs.accelerometer_range = getattr(ranges.AccelRange, f"RANGE_{accel}")
    theirs.gyro_range = getattr(ranges.GyroRange, f"RANGE_{gyro}")
    accelerations, rotations = [], []
    for _ in range(150):
        bench.wait(0.01)
        accelerations.append(theirs.acceleration)
        rotations.append(theirs.gyro)
    assert means(accelerations) == pytest.approx(means([s.accel_m_s2 for s in samples]), abs=0.015)
    assert means(rotations) == pytest.approx(means([s.gyro_rad_s for s in samples]), abs=0.001)


def test_temperature(bench):
    """Adafruit's driver reads the temperature that the chip has"""
    solder(bench)
    assert adafruit(bench).temperature == pytest.approx(TEMPERATURE_C, abs=0.01)


@pytest.mark.parametrize("rate_hz", [26, 104, 416])
def test_samples_come_at_the_rate_that_was_set(bench, rate_hz):
    """Read faster than it samples, the chip gives each sample until the next one is there"""
    solder(bench)
    theirs, rates = adafruit(bench), bench.peer("adafruit_lsm6ds").Rate
    theirs.accelerometer_data_rate = theirs.gyro_data_rate = getattr(rates, f"RATE_{rate_hz}_HZ")
    seen = set()
    end_s = bench.clock.now() + 1.0
    while bench.clock.now() < end_s:
        seen.add(theirs.acceleration)
        bench.wait(0.0005)
    assert len(seen) == pytest.approx(rate_hz * 1.015, abs=1.5, rel=0.01)  # the twin's clock is 1.5 % fast


def test_ours_sets_up_what_a_stranger_left(bench):
    """A chip that a stranger has left in other ranges is set up anew, with the right scales"""
    solder(bench)
    adafruit(bench)
    samples = [item for item in bench.ours(Lsm6dsox(Imu(), bench.bus, bench.clock), 2.0) if isinstance(item, ImuSample)]
    assert len(samples) > 150
    assert means([s.accel_m_s2 for s in samples]) == pytest.approx(MOTION[:3], abs=0.015)
    assert bench.errors == []


@pytest.mark.parametrize(
    ("fault", "says", "ours"),
    [
        pytest.param("imu:off", (ValueError, "No I2C device"), "absent", id="absent"),
        pytest.param("imu:wrong", (RuntimeError, "check your wiring"), "wrong_chip", id="another chip"),
    ],
)
def test_what_is_wrong_at_the_start(bench_with, fault, says, ours):
    """An absent chip and a wrong one are refused by both; ours says which"""
    bench = bench_with(fault)
    solder(bench)
    bench.ours(Lsm6dsox(Imu(), bench.bus, bench.clock), 0.3)
    assert {error.fault for error in bench.errors} == {ours}
    kind, text = says
    with pytest.raises(kind, match=text):
        adafruit(bench)


def test_unplugged(bench_with):
    """Unplugged, the chip gives an error with each reading of Adafruit's driver, and is named by ours"""
    bench = bench_with("imu:off@5")
    solder(bench)
    theirs = adafruit(bench)
    ours = Lsm6dsox(Imu(), bench.bus, bench.clock)
    bench.ours(ours, 2.0)
    bench.clock.reach(5.0)
    for _ in range(3):
        with pytest.raises(OSError, match="does not acknowledge"):
            _ = theirs.acceleration
    bench.ours(ours, 0.3)
    assert {error.fault for error in bench.errors} == {"absent"}
