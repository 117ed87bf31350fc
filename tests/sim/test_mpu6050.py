"""The simulated MPU-6050 by itself: what it refuses, its FIFO of bytes, scales, clock, and readers that poll it."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrowalk.errors import StrictTwinError
from retrowalk.sim.chips.inertial import G_M_S2
from retrowalk.sim.chips.mpu6050 import Mpu6050Twin
from retrowalk.sim.faults import Fault, Faults

STILL = (0.0, 0.0, G_M_S2, 0.0, 0.0, 0.0)


class Chip:
    """A chip on its own, with a clock in the hand."""

    def __init__(self, measure: Any = lambda t: STILL, **options: Any) -> None:
        self.twin = Mpu6050Twin(measure, options.pop("seed", 1), **options)
        self.now = 1.0

    def put(self, register: int, *values: int) -> None:
        self.now += 25e-6
        self.twin.transfer(bytes((register, *values)), 0, self.now)

    def get(self, register: int, count: int = 1) -> bytes:
        self.now += 25e-6
        return self.twin.transfer(bytes((register,)), count, self.now)

    def wake(self, div: int = 9, low_pass: int = 3, gyro: int = 3, accel: int = 3) -> Chip:
        self.put(0x6B, 0x01)
        self.put(0x19, div, low_pass, gyro << 3, accel << 3)
        return self

    def set_up(self, what: int = 0x78, **options: int) -> Chip:
        self.wake(**options)
        self.put(0x6A, 0x40)
        self.put(0x23, what)
        return self

    def count(self) -> int:
        high, low = self.get(0x72, 2)
        return high << 8 | low

    def frames(self) -> list[tuple[int, ...]]:
        return list(struct.iter_unpack(">6h", self.get(0x74, self.count() // 12 * 12)))


# ---------------------------------------------------------------------------------------------- strictness


@pytest.mark.parametrize(
    ("act", "says"),
    [
        pytest.param(lambda c: c.get(0x05), "no register 0x05", id="unknown register read"),
        pytest.param(lambda c: c.put(0x02, 1), "no register 0x02", id="unknown register written"),
        pytest.param(lambda c: c.put(0x75, 1), r"WHO_AM_I \(0x75\) is read-only", id="read-only"),
        pytest.param(lambda c: c.put(0x72, 1), r"FIFO_COUNTH \(0x72\) is read-only", id="count written"),
        pytest.param(lambda c: c.get(0x22, 4), "no register 0x24", id="burst over a hole"),
        pytest.param(lambda c: c.get(0x74, 12), r"the FIFO is off \(USER_CTRL", id="FIFO while off"),
        pytest.param(lambda c: c.set_up().get(0x74, 12), "12 bytes are read and 0 are in it", id="FIFO while empty"),
        pytest.param(lambda c: c.get(0x73), r"read FIFO_COUNTH \(0x72\) first", id="low count first"),
        pytest.param(lambda c: (c.get(0x72, 2), c.get(0x73)), "FIFO_COUNTH", id="low count again"),
        pytest.param(lambda c: c.get(0x3B, 14), r"it sleeps \(PWR_MGMT_1 bit 6\)", id="output while asleep"),
        pytest.param(lambda c: c.put(0x6A, 0x44), "only while it is off", id="reset of a FIFO that is on"),
        pytest.param(lambda c: c.put(0x6A, 0x20), "auxiliary bus", id="auxiliary bus"),
        pytest.param(lambda c: c.put(0x23, 0x79), "slaves", id="slaves in the FIFO"),
        pytest.param(lambda c: c.put(0x6B, 0x20), "cycle mode", id="cycle mode"),
        pytest.param(lambda c: c.put(0x6B, 0x04), "external clocks", id="external clock"),
        pytest.param(lambda c: c.put(0x1A, 0x07), "low-pass 7 is reserved", id="reserved low-pass"),
        pytest.param(lambda c: c.put(0x1A, 0x43), "bits 0x40 must be 0", id="a relative's FIFO mode"),
        pytest.param(lambda c: c.put(0x1B, 0xF8), "self-test", id="self-test"),
        pytest.param(lambda c: (c.put(0x6B, 0x80), c.put(0x6B, 0x01)), "within 0.1 s of a reset", id="during reset"),
        pytest.param(lambda c: c.twin.transfer(b"", 1, 0.0), "address in the same transfer", id="no address"),
        pytest.param(lambda c: c.twin.transfer(b"\x6b\x01", 1, 0.0), "written and read", id="write and read"),
    ],
)
def test_what_the_chip_does_not_allow_is_named(act, says):
    """A driver's mistake raises with the register and the rule, instead of giving a number."""
    with pytest.raises(StrictTwinError, match=says):
        act(Chip())


@pytest.mark.parametrize(("chip_id", "power"), [(0x68, 0x40), (0x70, 0x01)])
def test_reset_puts_everything_back(chip_id, power):
    """The bit clears itself, the settings are gone; an MPU-6050 sleeps then, an MPU-6500 does not."""
    chip = Chip(chip_id=chip_id).set_up()
    chip.put(0x6B, 0x80)
    assert chip.get(0x6B)[0] & 0x80
    chip.now += 0.1
    assert chip.get(0x6B)[0] == power
    assert chip.get(0x19, 4) == bytes(4)
    assert chip.get(0x23) == chip.get(0x6A) == b"\0"
    assert chip.get(0x75)[0] == chip_id


def test_asleep_it_measures_nothing():
    """Set up but not awake, its FIFO stays empty."""
    chip = Chip()
    chip.put(0x6A, 0x40)
    chip.put(0x23, 0x78)
    chip.now += 1.0
    assert chip.count() == 0


# ----------------------------------------------------------------------------------------------- the FIFO


@pytest.mark.parametrize(
    ("div", "low_pass", "rate_hz"),
    [
        pytest.param(9, 3, 100.0, id="1 kHz / 10"),
        pytest.param(4, 1, 200.0, id="1 kHz / 5"),
        pytest.param(79, 0, 100.0, id="8 kHz / 80, low-pass off"),
    ],
)
@pytest.mark.parametrize("clock_error", [-0.03, 0.0, 0.015])
def test_the_chip_counts_by_its_own_clock(div, low_pass, rate_hz, clock_error):
    """The divider divides 1 kHz, or 8 kHz without the low-pass, of an oscillator that is off."""
    chip = Chip(clock_error=clock_error).set_up(div=div, low_pass=low_pass)
    taken = 0
    for _ in range(100):
        chip.now += 0.1
        taken += len(chip.frames())
    assert taken == pytest.approx(10 * rate_hz * (1 + clock_error), abs=2)


@pytest.mark.parametrize(
    ("what", "size"),
    [
        pytest.param(0x78, 12, id="both"),
        pytest.param(0xF8, 14, id="with temperature"),
        pytest.param(0x08, 6, id="acceleration"),
        pytest.param(0x50, 4, id="two of rotation"),
    ],
)
def test_the_fifo_has_what_is_asked_for(what, size):
    """In the order of the registers, high byte first, and nothing that tells frames apart."""
    chip = Chip().set_up(what)
    chip.now += 0.055
    assert chip.count() == 5 * size
    data = chip.get(0x74, 5 * size)
    if what & 0x08:
        ups = [struct.unpack(">h", data[at + 4 : at + 6])[0] for at in range(0, len(data), size)]
        assert ups == pytest.approx([2048] * 5, abs=40)


@pytest.mark.parametrize(("chip_id", "capacity"), [(0x68, 1024), (0x70, 512)])
def test_overflow_loses_the_oldest_bytes_and_the_order(chip_id, capacity):
    """Left alone it stays full of the newest bytes, which no longer begin with a frame; the bit is set, once."""
    chip = Chip(lambda t: (0.0, 0.0, t, 0.0, 0.0, 0.0), chip_id=chip_id, clock_error=0.0)
    chip.put(0x38, 0x10)
    chip.set_up()
    chip.now = 11.005
    assert chip.count() == capacity
    assert chip.get(0x3A)[0] == 0x10
    assert chip.get(0x3A)[0] == 0
    data = chip.get(0x74, capacity)
    assert capacity % 12
    whole = data[capacity % 12 :]
    ups = [frame[2] * G_M_S2 / 2048 for frame in struct.iter_unpack(">6h", whole)]
    assert ups[-1] == pytest.approx(11.0, abs=0.15)
    assert ups[-1] - ups[0] == pytest.approx((len(ups) - 1) / 100.0, abs=0.2)


def test_overflow_bit_needs_to_be_enabled():
    """As in the register map: INT_STATUS tells only what INT_ENABLE asks for."""
    chip = Chip().set_up()
    chip.now += 5.0
    assert chip.get(0x3A)[0] == 0


def test_relative_can_stop_when_full():
    """CONFIG bit 6 of an MPU-6500 keeps the oldest."""
    chip = Chip(lambda t: (0.0, 0.0, t, 0.0, 0.0, 0.0), chip_id=0x70).set_up(low_pass=0x43)
    chip.now = 9.0
    assert chip.count() == 504
    assert chip.frames()[0][2] * G_M_S2 / 2048 == pytest.approx(1.0, abs=0.15)


def test_emptying_it():
    """Bit 2 of USER_CTRL empties it while it is off, and clears itself."""
    chip = Chip().set_up()
    chip.now += 0.5
    chip.put(0x6A, 0x04)
    assert chip.get(0x6A) == b"\0"
    chip.put(0x6A, 0x40)
    assert chip.count() == 0


def test_count_is_held_by_its_high_byte():
    """Read byte by byte, the low byte is that of the moment of the high one."""
    chip = Chip(clock_error=0.0).set_up()
    chip.now += 0.0255
    high = chip.get(0x72)[0]
    chip.now += 1.0
    assert high << 8 | chip.get(0x73)[0] == 24


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_no_byte_is_lost_or_doubled_however_it_is_read(reads):
    """Read in any portions, before it is full, the samples follow each other."""
    chip = Chip(lambda t: (t, 0.0, 0.0, 0.0, 0.0, 0.0), clock_error=0.0).set_up(accel=0)
    data = b""
    for count in reads:
        chip.now += 0.02
        data += chip.get(0x74, min(count, chip.count())) if chip.count() else b""
    frames = list(struct.iter_unpack(">6h", data[: len(data) // 12 * 12]))
    times = [frame[0] * G_M_S2 / 16384 for frame in frames]
    assert times == pytest.approx([1.005 + 0.01 * i for i in range(len(times))], abs=0.15)


# --------------------------------------------------------------------------------------------- measurement


@pytest.mark.parametrize("code", range(4))
def test_scales(code):
    """2, 4, 8, 16 g and 250, 500, 1000, 2000 degrees/s in order."""
    chip = Chip(lambda t: (0, 0, G_M_S2, 0.5, 0, 0)).set_up(accel=code, gyro=code)
    chip.now += 0.8
    frames = np.array(chip.frames())
    assert frames[:, 2].mean() / (16384 >> code) == pytest.approx(1.0, abs=0.002)
    measured = math.radians(frames[:, 3].mean() / (131.0 / 2**code))
    assert measured - chip.twin.gyro_bias_rad_s[0] == pytest.approx(0.5, abs=0.002)


def test_strong_motion_saturates():
    """Beyond its range the chip gives its largest number, never one of the other sign."""
    chip = Chip(lambda t: (400.0, -400.0, 400.0, 100.0, -100.0, 100.0)).set_up()
    chip.now += 0.2
    assert set(chip.frames()) == {(32767, -32768, 32767, 32767, -32768, 32767)}


@pytest.mark.parametrize(("low_pass", "delay_s"), [(1, 0.0019), (3, 0.0048), (6, 0.0186)])
def test_a_sample_is_as_old_as_its_filter(low_pass, delay_s):
    """The stronger the low-pass, the later a motion is seen."""
    felt_s: list[float] = []

    def felt(t_s: float) -> tuple[float, ...]:
        felt_s.append(t_s)
        return STILL

    chip = Chip(felt, clock_error=0.0).set_up(low_pass=low_pass)
    begun_s = chip.now
    chip.now += 0.1
    chip.count()
    assert felt_s[0] + delay_s == pytest.approx(begun_s + 0.01, abs=0.0005)


def test_outputs_byte_by_byte_and_in_one():
    """Others read each byte by itself; in one burst all 14 are of one instant, temperature between."""
    chip = Chip().wake(accel=0, gyro=0)
    chip.now += 0.1
    high, low = chip.get(0x3F)[0], chip.get(0x40)[0]
    assert struct.unpack(">h", bytes((high, low)))[0] / 16384 == pytest.approx(1.0, abs=0.03)
    ax, ay, az, temperature, *gyro = struct.unpack(">7h", chip.get(0x3B, 14))
    assert math.hypot(ax, ay, az) / 16384 == pytest.approx(1.0, abs=0.03)
    assert temperature / 340 + 36.53 == pytest.approx(22.0, abs=0.01)
    assert max(map(abs, gyro)) / 131 < 1.6


def test_relative_has_another_thermometer():
    """333.87 counts a degree from 21 degrees on."""
    chip = Chip(chip_id=0x70).wake()
    chip.now += 0.1
    assert struct.unpack(">h", chip.get(0x41, 2))[0] / 333.87 + 21.0 == pytest.approx(22.0, abs=0.01)


def test_data_ready_clears_when_it_is_read():
    """If it is enabled; by INT_STATUS, or by the data."""
    chip = Chip()
    chip.put(0x38, 0x01)
    chip.wake()
    for register in (0x3A, 0x3B):
        chip.now += 0.011
        assert chip.get(0x3A)[0] == 1
        chip.now += 0.0101
        chip.get(register)
        assert chip.get(0x3A)[0] == 0


def test_noise_and_bias_are_those_of_a_cheap_part():
    """0.03 m/s2 and 0.1 degrees/s RMS; a bias of at most 1 degree/s from the seed."""
    chip = Chip().set_up(accel=0, gyro=0)
    rows: list[tuple[int, ...]] = []
    for _ in range(60):
        chip.now += 0.5
        rows += chip.frames()
    counts = np.array(rows)
    assert (counts[:, :3] * G_M_S2 / 16384).std(axis=0) == pytest.approx([0.03] * 3, rel=0.1)
    assert (counts[:, 3:] / 131).std(axis=0) == pytest.approx([0.1] * 3, rel=0.1)
    assert np.abs(counts[:, 3:].mean(axis=0) / 131).max() <= 1.0


def test_equal_seeds_give_equal_bytes():
    """However it is read."""
    one, other = Chip(seed=4).set_up(), Chip(seed=4).set_up()
    one.now += 0.6
    for _ in range(6):
        other.now += 0.1
        other.count()
    assert one.get(0x74, 600) == other.get(0x74, 600)


# ------------------------------------------------------------------------------------------------- faults


def _faulty(kind: str) -> Chip:
    return Chip(faults=Faults([Fault("imu", kind, 2.0)]), clock_error=0.0).set_up()


@pytest.mark.parametrize(("kind", "rate_hz"), [("slow", 25.0), ("fast", 103.0), ("delayed", 100.0)])
def test_pace_of_a_fault(kind, rate_hz):
    """A quarter, 3 % more, or all of the samples but the last 0.3 s."""
    chip = _faulty(kind)
    chip.now = 2.001
    chip.frames()
    taken = 0
    for _ in range(100):
        chip.now += 0.04
        taken += len(chip.frames())
    assert taken + (30 if kind == "delayed" else 0) == pytest.approx(4 * rate_hz, abs=3 if kind != "delayed" else 33)


def test_stuck_repeats_one_sample():
    """The FIFO fills with the same bits."""
    chip = _faulty("stuck")
    chip.now = 2.001
    chip.frames()
    chip.now = 2.5
    assert len(set(chip.frames())) == 1


def test_wrong_is_another_chip():
    """WHO_AM_I answers 0x69."""
    chip = _faulty("wrong")
    chip.now = 2.5
    assert chip.get(0x75) == b"\x69"


def test_overflow_comes_every_second():
    """Full, order lost, whatever the reader does."""
    chip = _faulty("overflow")
    full = 0
    for _ in range(100):
        chip.now += 0.05
        count = chip.count()
        full += count == 1024
        chip.get(0x74, count)
    assert full == 5
