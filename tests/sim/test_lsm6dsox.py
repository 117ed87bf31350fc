from __future__ import annotations

import errno
import math
import struct
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sim.helpers import Rig

from retrowalk.config import Imu
from retrowalk.core.samples import HealthReport, ImuSample
from retrowalk.devices.lsm6dsox import Lsm6dsox
from retrowalk.errors import StrictTwinError
from retrowalk.sim.chips.lsm6dsox import FIFO_WORDS, Lsm6dsoxTwin
from retrowalk.sim.walker import G_M_S2
from retrowalk.sim.world import Fall, Walk

ADDRESS = 0x6A
STILL = (0.0, 0.0, G_M_S2, 0.0, 0.0, 0.0)


class Chip:
    """A chip on its own, with a clock in the hand."""

    def __init__(self, measure=lambda t: STILL, **options) -> None:
        self.twin = Lsm6dsoxTwin(measure, options.pop("seed", 1), **options)
        self.now = 1.0

    def put(self, register: int, *values: int) -> None:
        self.now += 25e-6
        self.twin.transfer(bytes((register, *values)), 0, self.now)

    def get(self, register: int, count: int = 1) -> bytes:
        self.now += 25e-6
        return self.twin.transfer(bytes((register,)), count, self.now)

    def set_up(self, accel: int = 0x44, gyro: int = 0x4C, batch: int = 0x44, mode: int = 6) -> Chip:
        self.put(0x12, 0x44)
        self.put(0x09, batch)
        self.put(0x0A, mode)
        self.put(0x10, accel)
        self.put(0x11, gyro)
        return self

    def level(self) -> int:
        low, high = self.get(0x3A, 2)
        return low | (high & 3) << 8

    def words(self, count: int) -> list[tuple[int, int, int, int]]:
        return list(struct.iter_unpack("<Bhhh", self.get(0x78, count * 7)))


# ---------------------------------------------------------------------------------------------- strictness


@pytest.mark.parametrize(
    ("act", "says"),
    [
        pytest.param(lambda c: c.get(0x05), "no register 0x05", id="unknown register read"),
        pytest.param(lambda c: c.put(0x66, 1), "no register 0x66", id="unknown register written"),
        pytest.param(lambda c: c.put(0x0F, 1), r"WHO_AM_I \(0x0F\) is read-only", id="read-only"),
        pytest.param(lambda c: c.put(0x3A, 1), r"FIFO_STATUS1 \(0x3A\) is read-only", id="status written"),
        pytest.param(lambda c: c.get(0x1C, 4), "no register 0x1C", id="burst over a hole"),
        pytest.param(lambda c: c.get(0x78, 7), r"FIFO_CTRL4, 0x0A, is in bypass", id="FIFO before set-up"),
        pytest.param(lambda c: c.put(0x0A, 6), r"no batch rate in FIFO_CTRL3 \(0x09\)", id="FIFO without a rate"),
        pytest.param(lambda c: c.put(0x0A, 3), "only bypass, FIFO and continuous", id="mode not simulated"),
        pytest.param(lambda c: c.set_up(batch=0x33), "batch rate 3 is not the output rate 4", id="rates differ"),
        pytest.param(lambda c: c.set_up().get(0x78, 10), "whole words of 7", id="half a word"),
        pytest.param(lambda c: c.set_up().get(0x7B), r"FIFO_DATA_OUT_Y_L \(0x7B\)", id="middle of a word"),
        pytest.param(lambda c: c.get(0x28, 6), "nothing is measured", id="output while off"),
        pytest.param(lambda c: (c.put(0x10, 0x44), c.get(0x22, 6)), "CTRL2_G has no rate", id="gyro while off"),
        pytest.param(lambda c: c.put(0x11, 0x4A), "no such full scale", id="wrong full scale"),
        pytest.param(lambda c: c.put(0x10, 0xC0), "no output rate 12", id="wrong rate"),
        pytest.param(lambda c: (c.put(0x12, 1), c.put(0x10, 0x44)), "before the reset was over", id="during reset"),
        pytest.param(lambda c: c.get(0x40, 4), r"CTRL10_C bit 5", id="time stamp off"),
        pytest.param(lambda c: c.put(0x01, 0x80), "bank", id="other bank"),
        pytest.param(lambda c: c.twin.transfer(b"", 1, 0.0), "address in the same transfer", id="no address"),
        pytest.param(lambda c: c.twin.transfer(b"\x10\x44", 1, 0.0), "written and read", id="write and read"),
    ],
)
def test_what_the_chip_does_not_allow_is_named(act, says):
    """A driver's mistake raises with the register and the rule, instead of giving a number."""
    with pytest.raises(StrictTwinError, match=says):
        act(Chip())


def test_reset_clears_itself_and_everything_else():
    """SW_RESET reads 1 for 50 us, then 0; every register is back at its reset value."""
    chip = Chip().set_up()
    chip.put(0x12, 0x45)
    assert chip.get(0x12)[0] & 1
    chip.now += 50e-6
    assert chip.get(0x12) == b"\x04"
    assert chip.get(0x10, 2) == b"\x00\x00"
    assert chip.get(0x0F) == b"\x6c"


# ----------------------------------------------------------------------------------------------- the FIFO


def test_a_burst_reads_whole_words_with_tags():
    """Tags alternate gyroscope and accelerometer; a slot counts on by one; parity is even."""
    chip = Chip().set_up()
    chip.now += 1.0
    words = chip.words(chip.level())
    sensors = [tag >> 3 for tag, *_ in words]
    slots = [tag >> 1 & 3 for tag, *_ in words]
    assert len(words) > 200
    assert sensors == [1, 2] * (len(words) // 2)
    assert slots == [(slots[0] + i // 2) % 4 for i in range(len(words))]
    assert all(tag.bit_count() % 2 == 0 for tag, *_ in words)
    assert chip.level() == 0


@pytest.mark.parametrize("clock_error", [-0.03, 0.0, 0.015])
def test_the_chip_counts_by_its_own_clock(clock_error):
    """Samples come as fast as its oscillator runs, which it tells in steps of 0.15 %."""
    chip = Chip(clock_error=clock_error).set_up()
    taken = 0
    for _ in range(100):
        chip.now += 0.1
        taken += len(chip.words(chip.level()))
    assert taken / 2 == pytest.approx(1040 * (1 + clock_error), abs=2)
    assert struct.unpack("b", chip.get(0x63))[0] == round(clock_error / 0.0015)


def test_an_overrun_is_latched_and_keeps_the_newest():
    """Left alone for 10 s, the FIFO holds its last 512 words and says that it ran over until that has been read."""
    ramp = Chip(lambda t: (0.0, 0.0, t, 0.0, 0.0, 0.0)).set_up()
    ramp.now = 11.0
    status = ramp.get(0x3A, 2)
    assert status[0] | (status[1] & 3) << 8 == FIFO_WORDS
    assert status[1] & 0x48 == 0x48
    assert ramp.get(0x3A, 2)[1] & 0x48 == 0x40
    words = ramp.words(FIFO_WORDS)
    newest = words[-1][3] * 0.488e-3 * G_M_S2
    oldest = words[1][3] * 0.488e-3 * G_M_S2
    assert newest == pytest.approx(11.0, abs=0.15)
    assert newest - oldest == pytest.approx(255 / (104 * 1.015), abs=0.2)
    assert ramp.get(0x3A, 2)[1] & 0x48 == 0


def test_fifo_mode_stops_when_full():
    """Mode 1 keeps the oldest."""
    chip = Chip(lambda t: (0.0, 0.0, t, 0.0, 0.0, 0.0)).set_up(mode=1)
    chip.now = 9.0
    words = chip.words(chip.level())
    assert len(words) == FIFO_WORDS
    assert words[1][3] * 0.488e-3 * G_M_S2 == pytest.approx(1.0, abs=0.15)


def test_an_empty_fifo_gives_empty_words():
    """Reading more than there is gives words with tag 0."""
    chip = Chip().set_up()
    assert chip.words(3) == [(0, 0, 0, 0)] * 3


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_no_word_is_lost_or_doubled_however_it_is_read(reads):
    """Read in any portions, the slots follow each other without a gap."""
    chip = Chip().set_up()
    tags: list[int] = []
    for count in reads:
        chip.now += 0.03
        tags += [word[0] for word in chip.words(min(count, chip.level()))] if chip.level() else []
    slots = [tag >> 1 & 3 for tag in tags if tag >> 3 == 1]
    assert slots == [(slots[0] + i) % 4 for i in range(len(slots))]


# --------------------------------------------------------------------------------------------- measurement


@pytest.mark.parametrize(
    ("code", "mg"),
    [
        pytest.param(0x40, 0.061, id="2 g"),
        pytest.param(0x44, 0.488, id="16 g"),
        pytest.param(0x48, 0.122, id="4 g"),
        pytest.param(0x4C, 0.244, id="8 g"),
    ],
)
def test_accelerometer_scales_are_not_in_order(code, mg):
    """CTRL1_XL codes 0, 1, 2, 3 are 2, 16, 4, 8 g."""
    chip = Chip().set_up(accel=code)
    chip.now += 1.0
    up = [z for tag, _, _, z in chip.words(chip.level()) if tag >> 3 == 2]
    assert np.mean(up) * mg * 1e-3 == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize(
    ("code", "mdps"),
    [pytest.param(0x40, 8.75, id="250"), pytest.param(0x4C, 70.0, id="2000"), pytest.param(0x42, 4.375, id="125")],
)
def test_gyroscope_scales(code, mdps):
    """CTRL2_G full scales by their codes."""
    chip = Chip(lambda t: (0, 0, G_M_S2, 0.5, 0, 0)).set_up(gyro=code)
    chip.now += 1.0
    rates = [x for tag, x, _, _ in chip.words(chip.level()) if tag >> 3 == 1]
    measured = math.radians(np.mean(rates) * mdps * 1e-3)
    assert measured - chip.twin.gyro_bias_rad_s[0] == pytest.approx(0.5, abs=0.002)


def test_strong_motion_saturates():
    """Beyond its range the chip gives its largest number, never one of the other sign."""
    chip = Chip(lambda t: (400.0, -400.0, 0.0, 100.0, -100.0, 0.0)).set_up()
    chip.now += 0.2
    assert {word[1:3] for word in chip.words(chip.level())} == {(32767, -32768)}


def test_noise_and_bias_are_those_of_a_cheap_part():
    """0.03 m/s2 and 0.1 degrees/s RMS; a bias of at most 1 degree/s from the seed."""
    chip = Chip().set_up(accel=0x40, gyro=0x42)
    rows: list[tuple[int, int, int, int]] = []
    for _ in range(40):
        chip.now += 1.0
        rows += chip.words(chip.level())
    accel = np.array([row[1:] for row in rows if row[0] >> 3 == 2]) * 0.061e-3 * G_M_S2
    gyro = np.array([row[1:] for row in rows if row[0] >> 3 == 1]) * 4.375e-3
    assert accel.std(axis=0) == pytest.approx([0.03] * 3, rel=0.1)
    assert gyro.std(axis=0) == pytest.approx([0.1] * 3, rel=0.1)
    assert np.abs(gyro.mean(axis=0)).max() <= 1.0
    biases = {Lsm6dsoxTwin(lambda t: STILL, seed).gyro_bias_rad_s for seed in range(5)}
    assert len(biases) == 5


def test_output_registers_give_the_latest_sample_and_status_says_fresh():
    """Polling works, too: fresh bits until a vector has been read."""
    chip = Chip().set_up(batch=0, mode=0)
    chip.now += 0.05
    assert chip.get(0x1E)[0] & 3 == 3
    z = struct.unpack("<hhh", chip.get(0x28, 6))[2]
    assert z * 0.488e-3 == pytest.approx(1.0, abs=0.02)
    assert chip.get(0x1E)[0] & 3 == 2


def test_equal_seeds_give_equal_bytes():
    """However it is read."""
    one, other = Chip(seed=4).set_up(), Chip(seed=4).set_up()
    one.now += 1.0
    for _ in range(10):
        other.now += 0.1
        other.level()
    count = min(one.level(), other.level())
    assert one.words(count) == other.words(count)


def test_a_sample_costs_little():
    """Under 40 us each, on this machine's worst day."""
    rig = Rig()
    rig.world.at(0.0, Walk(0.6))
    rig.run(Lsm6dsox(Imu(), rig.bus, rig.clock))
    start = time.process_time()
    rig.scheduler.run_until(20.0)
    samples = sum(isinstance(item, ImuSample) for item in rig.items)
    assert samples > 2000
    assert (time.process_time() - start) / samples < 200e-6  # driver, world and chip; the machine may be busy


# ------------------------------------------------------------------------------- on a bus, under its driver


def test_an_absent_chip_does_not_acknowledge():
    """As the kernel says it: OSError 121."""
    with pytest.raises(OSError, match="no chip") as raised:
        Rig().bus.transfer(0x29, b"\x00", 1)
    assert raised.value.errno == errno.EREMOTEIO


def test_time_passes_with_every_transfer():
    """A driver that polls a register in a loop sees it change."""
    rig = Rig()
    rig.bus.transfer(ADDRESS, b"\x12\x01", 0)
    reads = 0
    while rig.bus.transfer(ADDRESS, b"\x12", 1)[0] & 1:
        reads += 1
    assert 0 < reads < 10


@pytest.mark.parametrize(
    "axes", [("+x", "+y", "+z"), ("+z", "-y", "+x"), ("-x", "+y", "-z"), ("+y", "+z", "+x")], ids=" ".join
)
def test_a_turned_chip_is_put_right_by_its_driver(axes):
    """However the clip is mounted, the samples are in body axes, in time, through the FIFO and its noise."""
    rig = Rig(seed=2)
    rig.bus = type(rig.bus)(rig.clock, {ADDRESS: Lsm6dsoxTwin(rig.world.imu, 2, axes=axes)})
    rig.world.run([(1.0, Walk(0.6)), (6.0, Fall())])
    rig.run(Lsm6dsox(Imu(axes=axes), rig.bus, rig.clock))
    worst = 0.0
    seen = 0
    for tenth in range(1, 101):
        rig.scheduler.run_until(tenth / 10)
        for item in rig.items[seen:]:
            if isinstance(item, ImuSample) and item.t_measured_s > 1.0:
                truth = rig.world.imu(item.t_measured_s)
                error = np.abs(np.array(item.gyro_rad_s) - truth[3:])
                worst = max(worst, float(error.max()))
        seen = len(rig.items)
    assert seen > 900
    assert worst < 0.5  # a sample's time is right within one sample, and an impact turns fast


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param("imu:off", "absent", id="off"),
        pytest.param("imu:stuck", "frozen", id="stuck"),
        pytest.param("imu:garbage", "wrong_chip", id="garbage"),
        pytest.param("imu:wrong", "wrong_chip", id="wrong"),
        pytest.param("imu:intermittent", "absent", id="intermittent"),
    ],
)
def test_every_fault_of_the_chip_is_named_by_the_driver(fault, expected):
    """Broken from 2 s to 6 s: named within 1.2 s, and samples flow again after."""
    rig = Rig(faults=[f"{fault}@2-6"])
    rig.run(Lsm6dsox(Imu(), rig.bus, rig.clock))
    rig.scheduler.run_until(9.0)
    named = [(t, error.fault) for t, error in rig.errors]
    named += [(i.t_received_s, i.fault) for i in rig.items if isinstance(i, HealthReport) and i.active]
    assert any(2.0 < t < 3.2 and name == expected for t, name in named)
    assert sum(isinstance(item, ImuSample) and item.t_received_s > 7.5 for item in rig.items) > 140


@pytest.mark.parametrize(
    ("fault", "low", "high"),
    [pytest.param("imu:slow", 25, 30, id="a quarter"), pytest.param("imu:delayed", 95, 110, id="late, but all")],
)
def test_slow_and_delayed_chips_still_measure(fault, low, high):
    """Slow makes a quarter of the samples; delayed makes all of them, 0.3 s late."""
    chip = Chip(faults=Rig(faults=[fault]).faults).set_up()
    taken = 0
    for _ in range(40):
        chip.now += 0.05
        taken += len(chip.words(chip.level()))
    if "delayed" in fault:
        taken += 2 * 31  # withheld
    assert low <= taken / 2 / 2.0 <= high
