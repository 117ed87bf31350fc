"""The TF-Luna's twin: what it refuses, its frames and tick, its modes, its address, its faults."""

from __future__ import annotations

import errno
import math
import statistics
import struct
from itertools import pairwise

import pytest
from tests.sim.helpers import Rig

from retrowalk.errors import StrictTwinError
from retrowalk.sim.chips.tfluna import BOOT_S, SAVE_S, TfLunaTwin
from retrowalk.sim.i2c import SimBus
from retrowalk.sim.light import NOTHING, Spot

DIST, AMP, TICK, MODE, TRIGGER, FPS, AMP_THR, DUMMY, MAX_DIST = 0x00, 0x02, 0x06, 0x23, 0x24, 0x26, 0x2A, 0x2C, 0x30


class Chip:
    """A module on its own, with a clock in the hand."""

    def __init__(self, look=lambda t: Spot(2.0, 1500.0), seed=1, **options) -> None:
        self.twin = TfLunaTwin(look, seed, **options)
        self.now = 1.0

    def put(self, register: int, *values: int, wait_s: float = 0.11) -> None:
        self.now += 25e-6
        self.twin.transfer(bytes((register, *values)), 0, self.now)
        self.now += wait_s

    def get(self, register: int, count: int = 1) -> bytes:
        self.now += 25e-6
        return self.twin.transfer(bytes((register,)), count, self.now)

    def word(self, register: int) -> int:
        return int(struct.unpack("<H", self.get(register, 2))[0])

    def frames(self, seconds: float, every_s: float = 0.001) -> list[tuple[int, ...]]:
        """Every frame that appears in this time, once."""
        seen: list[tuple[int, ...]] = []
        for _ in range(round(seconds / every_s)):
            self.now += every_s
            frame = struct.unpack("<HHhHH", self.twin.transfer(b"\x00", 10, self.now))
            if not seen or frame != seen[-1]:
                seen.append(frame)
        return seen


# ---------------------------------------------------------------------------------------------- strictness


@pytest.mark.parametrize(
    ("act", "says"),
    [
        pytest.param(lambda c: c.get(0x0D), "no register 0x0D", id="unknown register read"),
        pytest.param(lambda c: c.get(0x2F, 4), "no register 0x32", id="burst over the end"),
        pytest.param(lambda c: c.put(0x40, 1), "no register 0x40", id="unknown register written"),
        pytest.param(lambda c: c.put(0x00, 1), r"DIST_LOW \(0x00\) is read-only", id="measurement written"),
        pytest.param(lambda c: c.put(0x3C, 1), r"SIGNATURE_0 \(0x3C\) is read-only", id="signature written"),
        pytest.param(lambda c: c.get(0x20), r"SAVE \(0x20\) is write-only", id="command read"),
        pytest.param(lambda c: c.get(0x22, 16), r"TRIG_ONE_SHOT \(0x24\) is write-only", id="settings in one read"),
        pytest.param(lambda c: c.put(FPS, 101, 0), "no frame rate 101 Hz; only 500/n", id="frame rate"),
        pytest.param(lambda c: c.put(FPS, 0xF4, 1), "no frame rate 500 Hz", id="frame rate above 250"),
        pytest.param(lambda c: c.put(FPS, 0, 0), "no frame rate 0 Hz", id="frame rate 0"),
        pytest.param(lambda c: (c.put(FPS, 50, 0, wait_s=0.05), c.get(FPS, 2)), "within 0.1 s", id="read back early"),
        pytest.param(lambda c: c.put(0x25, 1), r"ENABLE \(0x25\) = 0x01: firmwares disagree", id="enable"),
        pytest.param(lambda c: c.put(0x22, 0x78), "an address is 0x08 to 0x77", id="address"),
        pytest.param(lambda c: c.put(MODE, 2), r"MODE \(0x23\) = 0x02: only 0 and 1", id="mode"),
        pytest.param(lambda c: c.put(TRIGGER, 1), r"only in trigger mode \(MODE, 0x23", id="trigger while running"),
        pytest.param(lambda c: c.put(0x1F, 1), "ultra-low power is not simulated", id="ultra-low power"),
        pytest.param(lambda c: c.put(0x28, 1), "power saving is not simulated", id="power saving"),
        pytest.param(lambda c: c.put(0x21, 1), "only 2 means anything", id="reboot with a wrong value"),
        pytest.param(lambda c: (c.put(0x20, 1), c.get(DIST, 2)), "while it saves", id="used while it saves"),
        pytest.param(lambda c: c.twin.transfer(b"", 1, 1.0), "address in the same transfer", id="no address"),
        pytest.param(lambda c: c.twin.transfer(b"\x23\x00", 1, 1.0), "written and read", id="write and read"),
    ],
)
def test_what_the_module_does_not_allow_is_named(act, says):
    """A driver's mistake raises with the register and the rule, instead of giving a number."""
    with pytest.raises(StrictTwinError, match=says):
        act(Chip())


def test_it_is_what_the_makers_table_says():
    """Signature, address and factory settings, low byte first."""
    chip = Chip()
    assert chip.get(0x3C, 4) == b"LUNA"
    assert chip.get(0x22, 2) == b"\x10\x00"
    assert chip.get(FPS, 3) == b"\x64\x00\x00"
    assert chip.get(AMP_THR, 8) == b"\x64\x00\x00\x00\x00\x00\x20\x03"
    assert len(chip.get(0x10, 14)) == 14
    assert chip.twin.transfer(b"", 0, chip.now) == b""  # a probe of the address alone


# --------------------------------------------------------------------------------------------- measurement


@pytest.mark.parametrize(("fps", "period_ms"), [(250, 4), (166, 6), (100, 10), (50, 20), (10, 100), (1, 1000)])
def test_frames_come_at_their_rate_and_the_tick_is_theirs(fps, period_ms):
    """500/n frames a second by its own clock; the tick of each is when it was ready, in milliseconds."""
    chip = Chip(clock_error=0.0)
    chip.put(FPS, fps & 0xFF, fps >> 8)
    frames = chip.frames(max(1.0, 5 * period_ms / 1000), 0.0005)[2:]
    steps = [(b[3] - a[3]) & 0xFFFF for a, b in pairwise(frames)]
    assert statistics.mean(steps) == pytest.approx(period_ms, abs=0.05)
    assert set(steps) <= {period_ms - 1, period_ms, period_ms + 1}


@pytest.mark.parametrize("clock_error", [-0.03, 0.0, 0.03])
def test_the_tick_runs_by_its_own_clock_and_wraps(clock_error):
    """After 100 s it has counted 100 s and its error, past 65536."""
    chip = Chip(clock_error=clock_error)
    counted = 0
    before = chip.word(TICK)
    for _ in range(1000):
        chip.now += 0.1
        tick = chip.word(TICK)
        counted += (tick - before) & 0xFFFF
        before = tick
    assert counted == pytest.approx(100_000 * (1 + clock_error), abs=20)


def test_a_frame_is_an_average_that_lags_by_half_a_period():
    """A target that nears at 1 m/s is given as far as it was 50 ms before a 10 Hz frame was ready."""
    chip = Chip(lambda t: Spot(8.0 - t, 3000.0), clock_error=0.0)
    chip.twin.unit_error = 0.0
    chip.put(FPS, 10, 0)
    chip.now += 0.5
    lags = []
    before = None
    for _ in range(3000):
        chip.now += 0.001
        frame = struct.unpack("<HHhHH", chip.get(DIST, 10))
        if before is not None and frame[3] != before:
            lags.append(frame[0] / 100.0 - (8.0 - chip.now))
        before = frame[3]
    assert statistics.mean(lags) == pytest.approx(0.05, abs=0.003)


@pytest.mark.parametrize(
    ("amplitude", "sigma_cm"),
    [pytest.param(150.0, 3.0, id="weak"), pytest.param(1000.0, 1.0, id="good"), pytest.param(5000.0, 0.5, id="strong")],
)
def test_noise_is_that_of_the_amplitude(amplitude, sigma_cm):
    """Whole centimetres around the truth and the unit's own error, with the maker's spread."""
    chip = Chip(lambda t: Spot(2.503, amplitude))
    distances = [frame[0] for frame in chip.frames(20.0, 0.01)]
    assert statistics.mean(distances) == pytest.approx(250.3 + 6.0 * chip.twin.unit_error, abs=0.3)
    assert statistics.stdev(distances) == pytest.approx(math.hypot(sigma_cm, 0.29), rel=0.1)


def test_each_unit_has_its_own_fixed_error_within_the_makers():
    """6 cm to 3 m, 2 % beyond; another seed, part or address is another unit."""
    units = [TfLunaTwin(lambda t: NOTHING, seed).unit_error for seed in range(20)]
    units += [TfLunaTwin(lambda t: NOTHING, 1, part="drop", at=0x11).unit_error]
    assert len(set(units)) == 21
    assert max(map(abs, units)) <= 1.0
    far = Chip(lambda t: Spot(6.0, 3000.0))
    far.twin.unit_error = 1.0
    assert statistics.mean(frame[0] for frame in far.frames(5.0, 0.01)) == pytest.approx(612, abs=0.5)


def test_weak_is_the_dummy_distance():
    """Below the threshold the distance is the dummy one: 0 from the maker, or what was set."""
    chip = Chip(lambda t: Spot(2.0, 60.0))
    assert {frame[0] for frame in chip.frames(1.0, 0.01)} == {0}
    chip.put(DUMMY, 0xE7, 0x03)
    assert {frame[0] for frame in chip.frames(1.0, 0.01)[2:]} == {999}
    chip.put(AMP_THR, 20, 0)
    assert statistics.mean(frame[0] for frame in chip.frames(1.0, 0.01)[2:]) == pytest.approx(200, abs=8)


def test_limits_move_what_is_beyond_them():
    """A module that was set to 1 m calls a far wall 1 m: who uses it must know its settings."""
    chip = Chip(lambda t: Spot(5.0, 900.0))
    chip.put(MAX_DIST, 100, 0)
    assert {frame[0] for frame in chip.frames(0.5, 0.01)[2:]} == {100}


def test_nearer_than_twenty_centimetres_is_anything():
    """Some number up to 20 cm with a strong return, never zero."""
    distances = [frame[0] for frame in Chip(lambda t: Spot(0.08, 20_000.0)).frames(2.0, 0.01)]
    assert min(distances) >= 1
    assert max(distances) <= 20
    assert statistics.stdev(distances) > 3


def test_a_read_may_tear_but_the_next_look_at_that_frame_is_whole():
    """With the fault, many first reads of a frame mix it with the one before it; an immediate second one does not."""
    chip = Chip(lambda t: Spot(3.0, 1500.0), faults=Rig(faults=["lidar:torn"]).faults)
    torn = 0
    for _ in range(400):
        chip.now += 0.0101
        first, second = chip.get(DIST, 10), chip.get(DIST, 10)
        if first[6:8] == second[6:8]:
            torn += first != second
    assert torn > 80


def test_equal_seeds_give_equal_frames_whoever_looks():
    """Looking twice as often changes no frame."""
    one, other = Chip(seed=4, look=lambda t: Spot(3.0, 700.0)), Chip(seed=4, look=lambda t: Spot(3.0, 700.0))
    often = set(one.frames(2.0, 0.005))
    assert len(set(other.frames(2.0, 0.010)) & often) > 190
    assert not set(Chip(seed=5, look=lambda t: Spot(3.0, 700.0)).frames(2.0, 0.01)) & often


# --------------------------------------------------------------------------------------------- modes, address


def test_trigger_mode_measures_once_when_told():
    """The registers keep the last measurement until the one that was asked for is ready."""
    chip = Chip(lambda t: Spot(t, 3000.0), clock_error=0.0)
    chip.put(MODE, 1)
    chip.now = 2.5
    tick = chip.word(TICK)
    chip.now += 0.5
    assert chip.word(TICK) == tick
    chip.put(TRIGGER, 1, wait_s=0.0)
    assert chip.word(TICK) == tick
    chip.now += 0.011
    assert chip.word(TICK) != tick
    assert chip.word(DIST) == pytest.approx(300, abs=9)
    chip.put(MODE, 0)
    assert len(chip.frames(0.2)) > 15


@pytest.mark.parametrize("save", [True, False])
def test_a_new_address_is_answered_at_when_saved_and_rebooted(save):
    """0x22 alone changes nothing; saved and rebooted it is found at its new address, and nowhere else."""
    rig = Rig()
    twin = TfLunaTwin(lambda t: Spot(2.0, 1500.0), 1)
    bus = SimBus(rig.clock, {0x10: twin})
    rig.clock.reach(1.0)
    bus.transfer(0x10, b"\x22\x11", 0)
    assert bus.transfer(0x10, b"\x3c", 4) == b"LUNA"
    if save:
        bus.transfer(0x10, b"\x20\x01", 0)
        rig.clock.reach(1.0 + 1.1 * SAVE_S)
    bus.transfer(0x10, b"\x21\x02", 0)
    with pytest.raises(OSError, match="starting") as raised:
        bus.transfer(0x10 if not save else 0x11, b"\x3c", 4)
    assert raised.value.errno == errno.EREMOTEIO
    rig.clock.reach(rig.clock.now() + BOOT_S)
    new, old = (0x11, 0x10) if save else (0x10, 0x11)
    assert bus.transfer(new, b"\x3c", 4) == b"LUNA"
    assert bus.transfer(new, b"\x22", 1)[0] == new
    with pytest.raises(OSError, match="no chip"):
        bus.transfer(old, b"\x3c", 4)


def test_a_reboot_forgets_what_was_not_saved():
    """And begins its tick anew."""
    chip = Chip()
    chip.put(FPS, 50, 0)
    chip.put(0x20, 1, wait_s=1.1 * SAVE_S)
    chip.put(MODE, 1)
    chip.put(0x21, 2, wait_s=1.1 * BOOT_S)
    assert chip.get(MODE) == b"\x00"
    assert chip.word(FPS) == 50
    assert chip.word(TICK) < 1000


def test_factory_reset_brings_back_the_makers_settings():
    """Address included, from the next start on."""
    chip = Chip(at=0x11)
    chip.put(FPS, 50, 0)
    chip.put(0x29, 1, wait_s=1.1 * SAVE_S)
    assert chip.word(FPS) == 100
    chip.put(0x21, 2, wait_s=1.1 * BOOT_S)
    assert chip.twin.address == 0x10


def test_an_old_firmware_takes_settings_when_saved_and_rebooted():
    """Until then they only read back."""
    chip = Chip(saved={MODE: 1}, late_settings=True)
    chip.put(MODE, 0)
    assert chip.get(MODE) == b"\x00"
    assert len(chip.frames(0.2)) == 1
    chip.put(0x20, 1, wait_s=1.1 * SAVE_S)
    chip.put(0x21, 2, wait_s=1.1 * BOOT_S)
    assert len(chip.frames(0.2)) > 15


# ------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("kind", "frames", "check"),
    [
        pytest.param("stuck", (1, 1), lambda f: True, id="stuck"),
        pytest.param("slow", (9, 12), lambda f: f[0] > 0, id="slow"),
        pytest.param("sun", (95, 105), lambda f: f[1] > 0x8000, id="sun"),
        pytest.param("weak", (95, 105), lambda f: f[0] == 0 and f[1] < 100, id="weak"),
        pytest.param("wrong", (1, 1), lambda f: f[0] == 0x5959, id="wrong"),
        pytest.param("delayed", (95, 105), lambda f: f[0] > 0, id="delayed"),
    ],
)
def test_faults_of_the_module_are_its_own(kind, frames, check):
    """Each does what the fault table says of it."""
    chip = Chip(faults=Rig(faults=[f"lidar:{kind}"]).faults, clock_error=0.0)
    chip.now += 0.4
    seen = chip.frames(1.0)
    assert frames[0] <= len(seen) <= frames[1]
    assert all(check(frame) for frame in seen[1:] or seen)


def test_delayed_measurements_are_old_and_never_go_back():
    """0.3 s old with the tick of their time; when it begins, the tick stands still until it is as old."""
    chip = Chip(lambda t: Spot(8.0 - t, 3000.0), faults=Rig(faults=["lidar:delayed@2-4"]).faults, clock_error=0.0)
    chip.twin.unit_error = 0.0
    ticks = []
    while chip.now < 5.0:
        chip.now += 0.01
        distance_m, tick = chip.word(DIST) / 100.0, chip.word(TICK)
        ticks.append(tick)
        late_s = distance_m - (8.0 - chip.now)
        if 2.4 < chip.now < 4.0:
            assert late_s == pytest.approx(0.31, abs=0.04)
        elif not 1.99 < chip.now < 2.4:
            assert late_s == pytest.approx(0.01, abs=0.04)
    assert all(0 <= ((b - a) & 0xFFFF) < 1000 for a, b in pairwise(ticks))


def test_another_part_has_faults_of_its_own():
    """`drop:off` does not touch the lidar."""
    faults = Rig(faults=["drop:stuck"]).faults
    assert len(Chip(part="drop", at=0x11, faults=faults).frames(0.5)) == 1
    assert len(Chip(faults=faults).frames(0.5)) > 40


def test_a_brown_out_fault_starts_it_anew():
    """No acknowledge while it starts, then the settings that were saved."""
    chip = Chip(faults=Rig(faults=["lidar:reboot@2"]).faults)
    chip.put(MODE, 1)
    chip.now = 2.01
    with pytest.raises(OSError, match="starting"):
        chip.get(MODE)
    chip.now = 2.01 + BOOT_S
    assert chip.get(MODE) == b"\x00"
