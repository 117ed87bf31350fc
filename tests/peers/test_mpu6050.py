"""An MPU-6050 that Adafruit's driver and mpu6050-raspberrypi take for a real one."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest
from tests.peers.conftest import Bench

from retrowalk.config import Imu
from retrowalk.core.samples import ImuSample
from retrowalk.devices.mpu6050 import Mpu6050
from retrowalk.sim.chips.inertial import TEMPERATURE_C
from retrowalk.sim.chips.mpu6050 import Mpu6050Twin

pytestmark = pytest.mark.peers

MOTION = (3.0, -4.0, 8.5, 0.5, -1.0, 1.5)
CONFIG = Imu(chip="mpu6050")
SMBUS_S = 0.0005


def solder(bench: Bench) -> Mpu6050Twin:
    chip = Mpu6050Twin(lambda t_s: MOTION, 7, faults=bench.faults)
    bench.connect(0x68, chip)
    return chip


def adafruit(bench: Bench) -> Any:
    return bench.peer("adafruit_mpu6050").MPU6050(bench.busio)


def raspberrypi(bench: Bench) -> Any:
    smbus = bench.smbus(SMBUS_S)
    smbus.open(1)
    module = bench.peer("mpu6050.mpu6050")
    bench.replace(module.smbus, "SMBus", smbus)
    return module.mpu6050(0x68)


def ours(bench: Bench) -> list[ImuSample]:
    driver = Mpu6050(CONFIG, bench.bus, bench.clock)
    return [item for item in bench.ours(driver, 2.0) if isinstance(item, ImuSample)]


def means(vectors: Any) -> list[float]:
    return [statistics.fmean(axis) for axis in zip(*vectors, strict=True)]


@pytest.mark.parametrize("range_", range(4), ids=["2 g, 250 dps", "4 g, 500 dps", "8 g, 1000 dps", "16 g, 2000 dps"])
@pytest.mark.parametrize("who", ["adafruit", "raspberrypi"])
def test_scales_agree(bench, who, range_):
    """In each range both drivers read the acceleration and rotation that ours reads from the FIFO"""
    solder(bench)
    samples = ours(bench)
    accelerations, rotations = [], []
    if who == "adafruit":
        theirs = adafruit(bench)
        theirs.accelerometer_range = theirs.gyro_range = range_
        for _ in range(100):
            bench.wait(0.01)
            accelerations.append(theirs.acceleration)
            rotations.append(theirs.gyro)
    else:
        theirs = raspberrypi(bench)
        theirs.set_accel_range(range_ << 3)
        theirs.set_gyro_range(range_ << 3)
        theirs.set_filter_range(theirs.FILTER_BW_20)
        for _ in range(100):
            bench.wait(0.01)
            accelerations.append(tuple(theirs.get_accel_data().values()))
            rotations.append(tuple(map(math.radians, theirs.get_gyro_data().values())))
    assert means(accelerations) == pytest.approx(means(s.accel_m_s2 for s in samples), abs=0.02)
    assert means(rotations) == pytest.approx(means(s.gyro_rad_s for s in samples), abs=0.002)


def test_temperature(bench):
    """Both drivers read the temperature that the chip has"""
    solder(bench)
    assert adafruit(bench).temperature == pytest.approx(TEMPERATURE_C, abs=0.01)
    assert raspberrypi(bench).get_temp() == pytest.approx(TEMPERATURE_C, abs=0.01)


def test_fifo_has_the_same_frames(bench):
    """Adafruit's driver finds as much in the FIFO as the rate says, and in each frame what the chip feels"""
    solder(bench)
    theirs = adafruit(bench)
    theirs.filter_bandwidth = 3
    theirs.sample_rate_divisor = 9
    theirs.accelerometer_range = 1
    theirs.accel_fifo_en = True
    theirs.fifo_en = True
    bench.wait(0.5)
    count = theirs.fifo_count
    assert count // 6 == pytest.approx(50 * 1.015, abs=1.0)
    data = theirs.read_whole_fifo()
    assert len(data) == count
    frames = [
        [int.from_bytes(data[at + i : at + i + 2], "big", signed=True) for i in (0, 2, 4)] for at in range(0, count, 6)
    ]
    assert means(map(theirs.scale_accel, frames)) == pytest.approx(MOTION[:3], abs=0.02)


@pytest.mark.parametrize("who", [adafruit, raspberrypi])
def test_ours_sets_up_what_a_stranger_left(bench, who):
    """A chip that a stranger has left in other ranges is set up anew, with the right scales"""
    solder(bench)
    who(bench)
    samples = ours(bench)
    assert len(samples) > 150
    assert means(s.accel_m_s2 for s in samples) == pytest.approx(MOTION[:3], abs=0.02)
    assert bench.errors == []


def test_absent(bench_with):
    """An absent chip: an error from both at the start, and ours says what it may be"""
    bench = bench_with("imu:off")
    solder(bench)
    with pytest.raises(ValueError, match="No I2C device"):
        adafruit(bench)
    with pytest.raises(OSError, match="does not acknowledge"):
        raspberrypi(bench)
    ours(bench)
    assert {error.fault for error in bench.errors} == {"absent"}
    assert "not connected" in bench.errors[0].detail


def test_wrong_chip(bench_with):
    """Another chip at the address is refused by Adafruit's driver and named by ours; the third one takes its numbers"""
    bench = bench_with("imu:wrong")
    solder(bench)
    with pytest.raises(RuntimeError, match="check your wiring"):
        adafruit(bench)
    assert raspberrypi(bench).get_accel_data() == {"x": 0.0, "y": 0.0, "z": 0.0}
    ours(bench)
    assert {error.fault for error in bench.errors} == {"wrong_chip"}


def test_motor_that_switches(bench_with):
    """Bursts of refused transfers: errors reach the users of both, and ours goes on without a word"""
    bench = bench_with("imu:nack@5")
    solder(bench)
    theirs = adafruit(bench), raspberrypi(bench)
    driver = Mpu6050(CONFIG, bench.bus, bench.clock)
    bench.ours(driver, 5.0 - bench.clock.now())
    refused = 0
    samples = 0
    for _ in range(60):
        samples += len(bench.ours(driver, 0.05))
        for read in (lambda: theirs[0].acceleration, theirs[1].get_accel_data):
            try:
                read()
            except OSError:
                refused += 1
    assert refused > 3
    assert samples > 270
    assert bench.errors == []
