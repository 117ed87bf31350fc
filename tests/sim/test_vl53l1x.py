"""The strict VL53L1X: what it refuses, how it is set up, and that its registers tell one story."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest

from retrowalk.devices.vl53l1x import BLOCK
from retrowalk.errors import StrictTwinError
from retrowalk.sim.chips.vl53l1x import Vl53l1xTwin
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.noise import Scene, Target
from retrowalk.sim.tof import Sight

SHORT = {0x60: 0x07, 0x63: 0x05, 0x69: 0x38, 0x78: 0x07, 0x79: 0x05, 0x7A: 0x06, 0x7B: 0x06}
MEDIUM = {0x60: 0x0B, 0x63: 0x09, 0x69: 0x78, 0x78: 0x0B, 0x79: 0x09, 0x7A: 0x0A, 0x7B: 0x0A}
NAMED = dict(
    zip(
        bytes.fromhex("24 25 31 36 37 39 3E 3F 40 50 51 52 53 57 64 65 66 67 71 7C 7E 82 77 81 54 55 4F"),
        bytes.fromhex("0A 00 02 08 10 01 FF 00 02 00 00 00 00 38 01 68 00 C0 01 01 02 00 01 8B C8 00 02"),
        strict=True,
    )
)
"""Way B: named registers over the non-volatile memory's values."""


class Chip:
    """A chip on its own, with a clock in the hand."""

    def __init__(self, *faults: str, wall_m=1.0, light=8.0, **options) -> None:
        self.looks: list[float] = []
        broken = Faults(Fault.parse(text) for text in faults)
        self.wall_m, self.light = wall_m, light
        self.twin = Vl53l1xTwin(self._look, 1, clock_error=options.pop("clock_error", 0.0), faults=broken, **options)
        self.now = 1.0

    def _look(self, t_s) -> Sight:
        self.looks.append(t_s)
        return Sight(Scene([Target("wall", self.wall_m)], nose_down_deg=-90.0), self.light)

    def put(self, index: int, *values: int) -> None:
        self.now += 25e-6
        self.twin.transfer(bytes((index >> 8, index & 0xFF, *values)), 0, self.now)

    def get(self, index: int, count: int = 1) -> bytes:
        self.now += 25e-6
        return self.twin.transfer(index.to_bytes(2, "big"), count, self.now)

    def word(self, index: int) -> int:
        return int.from_bytes(self.get(index, 2), "big")

    def set_up(self, mode: dict[int, int] | None = None) -> Chip:
        self.put(0x2D, *BLOCK)
        for index, value in (mode or {}).items():
            self.put(index, value)
        if mode:
            self.put(0x5E, 0x00, 0xD6)
            self.put(0x61, 0x00, 0x6E)
        return self

    def start(self, value: int = 0x40) -> Chip:
        self.put(0x87, value)
        return self

    def ready(self) -> bool:
        """As a client of the ultra-lite driver finds out."""
        active = 0 if self.get(0x30)[0] & 0x10 else 1
        return self.get(0x31)[0] & 1 == active

    def sample(self, limit_s: float = 1.0) -> bytes:
        """Waits for the next sample, reads and clears it: 17 bytes from 0x0089."""
        until = self.now + limit_s
        while not self.ready():
            assert self.now < until, "no sample"
            self.now += 0.001
        data = self.get(0x89, 17)
        self.put(0x86, 1)
        return data


def _started(chip: Chip) -> Chip:
    return chip.set_up().start()


# ---------------------------------------------------------------------------------------------- strictness


@pytest.mark.parametrize(
    ("act", "says"),
    [
        pytest.param(lambda c: c.get(0x0150), "no index 0x0150", id="unknown index"),
        pytest.param(lambda c: c.get(0x010E), "no index 0x010E", id="the hole before the identity"),
        pytest.param(lambda c: c.get(0x013E, 4), "no index 0x0140", id="burst beyond the end"),
        pytest.param(lambda c: c.put(0x010F, 1), r"IDENTIFICATION__MODEL_ID \(0x010F\) is read-only", id="identity"),
        pytest.param(lambda c: c.put(0x0086, 1, 0, 0), "0x0088 is read-only", id="burst into the results"),
        pytest.param(lambda c: c.get(0x89, 17), "before anything was measured", id="results before ranging"),
        pytest.param(lambda c: c.set_up().get(0x96, 2), "before anything was measured", id="range before ranging"),
        pytest.param(lambda c: c.start(), "without set-up", id="started as it was made"),
        pytest.param(lambda c: (c.put(0x2D, *BLOCK[:60]), c.start()), "without set-up", id="half a block"),
        pytest.param(lambda c: c.set_up({**SHORT, 0x63: 0x0D}).start(), "no one distance mode", id="mixed modes"),
        pytest.param(lambda c: c.set_up({**SHORT, 0x7B: 0x0E}).start(), "0x007B 0x0E", id="phase of another mode"),
        pytest.param(
            lambda c: (_started(c).start(0), [c.put(i, v) for i, v in SHORT.items()], c.start()),
            "timing budget .* must be written again",
            id="timing of another mode",
        ),
        pytest.param(lambda c: c.set_up({0x80: 0x32}).start(), "at least 4 by 4", id="region too small"),
        pytest.param(lambda c: c.set_up({0x46: 0x01}).start(), "only 0x20", id="interrupt by distance"),
        pytest.param(lambda c: c.set_up({0x81: 0x1B}).start(), "nothing would be measured", id="no ranging"),
        pytest.param(lambda c: c.set_up().start(0x60), "one way of ranging", id="two ways at once"),
        pytest.param(lambda c: c.put(0x01, 0x00), "moved to 0x00", id="address nobody has"),
        pytest.param(lambda c: c.twin.transfer(b"\x01", 2, 1.1), "an index has two bytes", id="short index"),
        pytest.param(lambda c: c.twin.transfer(b"\0\x87\x40", 1, 1.1), "written and read", id="write and read"),
        pytest.param(lambda c: (c.put(0x00, 0), c.get(0xE5)), "held in reset", id="read in reset"),
        pytest.param(
            lambda c: (c.put(0, 0), c.put(0, 1), c.twin.transfer(b"\0\x2d\0", 0, c.now + 0.0011)),
            "before the firmware has booted",
            id="written before it booted",
        ),
    ],
)
def test_what_the_chip_does_not_allow_is_named(act, says):
    """A driver's mistake raises with the index and the rule, instead of giving a number."""
    with pytest.raises(StrictTwinError, match=says):
        act(Chip())


# ------------------------------------------------------------------------------------------ power and address


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        pytest.param(0x010F, "eacc10", id="identity"),
        pytest.param(0x0001, "29", id="its own address"),
        pytest.param(0x00E5, "03", id="booted"),
        pytest.param(0x0006, "bccc", id="fast oscillator"),
        pytest.param(0x00DE, "0026", id="calibration of the slow clock"),
        pytest.param(0x013E, "c7ff", id="factory region"),
        pytest.param(0x0030, "11", id="active low"),
        pytest.param(0x0087, "00", id="not ranging"),
    ],
)
def test_power_on_values(index, expected):
    """What drivers read before they write anything."""
    assert Chip().get(index, len(expected) // 2).hex() == expected


def test_reset_boots_and_forgets_settings():
    """After a reset it acknowledges nothing for a millisecond, then boots, with its registers as they were made."""
    chip = _started(Chip())
    chip.put(0x00, 0x00)
    chip.put(0x00, 0x01)
    with pytest.raises(OSError, match="booting"):
        chip.get(0xE5)
    chip.now += 0.001
    assert chip.get(0xE5) == b"\x00"
    chip.now += 0.0002
    assert chip.get(0xE5) == b"\x03"
    assert chip.get(0x46) == b"\x20"
    assert chip.get(0x2E, 2) == b"\x00\x00"
    with pytest.raises(StrictTwinError, match="without set-up"):
        chip.start()


def test_address_moves_and_is_told():
    """A written address holds at once, reads back, and is gone after a power failure."""
    chip = Chip()
    chip.put(0x01, 0x31)
    assert chip.twin.address == 0x31
    assert chip.get(0x01) == b"\x31"
    chip.twin.power_cycle(chip.now)
    assert chip.twin.address == 0


def test_index_goes_on_after_a_read_of_its_own():
    """The index may be written in a transfer of its own; it counts up over reads and writes."""
    chip = Chip()
    chip.twin.transfer(b"\x01\x0f", 0, 1.1)
    assert chip.twin.transfer(b"", 2, 1.2) == b"\xea\xcc"
    assert chip.twin.transfer(b"", 1, 1.3) == b"\x10"
    chip.put(0x64, 0x12, 0x34)
    assert chip.twin.transfer(b"", 2, 1.4) == chip.get(0x66, 2)


def test_who_only_asks_is_acknowledged():
    """A scan of the bus, by nothing or by one byte, harms nothing."""
    chip = Chip()
    assert chip.twin.transfer(b"", 0, 1.0) == b""
    assert len(chip.twin.transfer(b"", 1, 1.0)) == 1
    assert len(chip.twin.transfer(b"\x00", 1, 1.0)) == 1


# ------------------------------------------------------------------------------------------------- ranging


def test_single_bytes_set_it_up_as_well():
    """The block may come as 91 single writes."""
    chip = Chip()
    for offset, value in enumerate(BLOCK):
        chip.put(0x2D + offset, value)
    assert chip.start().sample()[0] == 9


@pytest.mark.parametrize("mode", [SHORT, MEDIUM], ids=["short", "medium"])
def test_named_registers_set_it_up_as_well(mode):
    """Way B: named registers, mode and timing over what the memory holds; the interrupt stays active low."""
    chip = Chip(wall_m=0.8)
    for index, value in {**NAMED, **mode, 0x5E: 0x01, 0x5F: 0xBA, 0x61: 0x01, 0x62: 0xF9}.items():
        chip.put(index, value)
    assert chip.get(0x30) == b"\x11"
    assert chip.start().sample()[0] == 9


def test_data_ready_is_the_interrupt_line():
    """Bit 0 of 0x0031 follows the line in either polarity, from the end of a measurement until it is cleared."""
    chip = _started(Chip())
    assert not chip.ready()
    chip.now += 0.2
    assert chip.get(0x31)[0] & 1 == 1
    chip.put(0x30, 0x11)
    assert chip.get(0x31)[0] & 1 == 0
    assert chip.ready()
    chip.put(0x86, 0x01)
    assert chip.get(0x31)[0] & 1 == 1
    assert not chip.ready()


def test_until_it_is_cleared_the_sample_stays():
    """Read again without a clear, the same sample is there, however long one waits."""
    chip = _started(Chip())
    chip.now += 0.5
    first = chip.get(0x89, 17)
    chip.now += 0.5
    assert chip.get(0x89, 17) == first
    chip.put(0x86, 0x01)
    chip.now += 0.5
    assert chip.get(0x89, 17)[2] == first[2] + 1


@pytest.mark.slow
def test_stream_count_wraps_to_128():
    """It counts from 0 to 255, goes on with 128, and begins anew with each start."""
    chip = _started(Chip(light=0.1))
    counts = [chip.sample()[2] for _ in range(400)]
    assert counts[:256] == list(range(256))
    assert counts[256:384] == list(range(128, 256))
    assert counts[384] == 128
    chip.start(0x00)
    assert chip.start().sample()[2] == 0


def test_writing_the_same_start_goes_on():
    """The full driver writes all its registers after each sample, the start too: the count goes on."""
    chip = _started(Chip())
    counts = []
    for _ in range(3):
        counts.append(chip.sample()[2])
        chip.put(0x2D, *BLOCK[:-1], 0x40)
    assert counts == [0, 1, 2]


@pytest.mark.parametrize("light", [0.5, 8.0, 60.0])
def test_results_tell_one_story(light):
    """SPADs, signal, ambient light, sigma, phase and range agree with each other and with the world."""
    chip = Chip(wall_m=0.7, light=light).set_up(SHORT).start()
    for _ in range(20):
        status, count, spads, signal, ambient, sigma, phase, range_mm, corrected = struct.unpack(
            ">BxBHHHHHHH", chip.sample()
        )
        assert status == 9
        assert range_mm == pytest.approx(700, abs=40)
        assert phase / 2048 * 198.5 == pytest.approx(range_mm, abs=2)
        assert 2000.0 * ambient / spads == pytest.approx(light, rel=0.2, abs=0.1)
        assert 8 <= sigma <= 100
        assert signal == corrected > 100
        assert 3 << 8 <= spads <= 201 << 8
        assert count < 20


def test_offset_is_added():
    """The part-to-part offset, in quarters of a millimetre, moves the range."""
    chip = Chip(light=0.1)
    chip.put(0x1E, *((-400 & 0xFFFF).to_bytes(2, "big")))
    _started(chip)
    assert int.from_bytes(chip.sample()[13:15], "big") == pytest.approx(900, abs=40)


@pytest.mark.parametrize("clock_error", [-0.06, 0.0, 0.06])
def test_it_ranges_by_its_own_clock(clock_error):
    """The period is what was asked for by the calibration word, as wrong as its clock is."""
    chip = Chip(clock_error=clock_error).set_up(SHORT)
    chip.put(0x6C, *round(60 * 38 * 1.065).to_bytes(4, "big"))
    chip.start()
    for _ in range(50):
        chip.sample()
    periods = [b - a for a, b in pairwise(chip.looks)]
    assert sum(periods) / len(periods) == pytest.approx(0.060 / (1.0 + clock_error), rel=0.002)


def test_without_pause_it_ranges_at_its_budget():
    """A period shorter than the budget is the budget: 33 ms of the short table are about 30 ms."""
    chip = Chip().set_up(SHORT)
    chip.put(0x6C, 0, 0, 0, 1)
    chip.start()
    for _ in range(20):
        chip.sample()
    assert (chip.looks[-1] - chip.looks[0]) / 19 == pytest.approx(0.031, abs=0.003)


@pytest.mark.parametrize(
    ("a", "b", "budget_s"),
    [
        pytest.param(0x001E, 0x0022, 0.020, id="20 ms"),
        pytest.param(0x0060, 0x006E, 0.033, id="33 ms"),
        pytest.param(0x00AD, 0x00C6, 0.050, id="50 ms"),
        pytest.param(0x01CC, 0x01EA, 0.100, id="100 ms"),
        pytest.param(0x02D9, 0x02F8, 0.200, id="200 ms"),
        pytest.param(0x048F, 0x04A4, 0.500, id="500 ms"),
    ],
)
def test_timeouts_are_the_budget(a, b, budget_s):
    """The words of the ultra-lite driver's table make a measurement last what the table says."""
    chip = Chip().set_up()
    chip.put(0x5E, *a.to_bytes(2, "big"))
    chip.put(0x61, *b.to_bytes(2, "big"))
    chip.start()
    began = chip.now
    while not chip.ready():
        chip.now += 0.0005
    assert chip.now - began == pytest.approx(budget_s, rel=0.06)


def test_what_is_not_read_is_lost_where_it_ranges_on():
    """A chip that does not wait for the clear gives its newest sample, and its count tells what was lost."""
    chip = _started(Chip(holds=False))
    chip.now += 1.0
    assert chip.get(0x8B)[0] > 5
    assert chip.looks[-1] > chip.now - 0.2


def test_single_shot_measures_once():
    """One measurement, then it stands still until it is started again."""
    chip = Chip().set_up().start(0x10)
    chip.sample()
    chip.now += 1.0
    assert not chip.ready()
    assert chip.get(0x87) == b"\x00"
    assert chip.start(0x10).sample()[2] == 0


def test_back_to_back_goes_on_at_the_clear():
    """The next measurement begins when the interrupt is cleared."""
    chip = Chip().set_up(SHORT).start(0x20)
    for _ in range(5):
        chip.sample()
    assert all(b - a < 0.045 for a, b in pairwise(chip.looks))


def test_test_mode_comes_to_its_end():
    """Counting SPADs (test mode) ends with an interrupt, as the full driver waits for."""
    chip = Chip()
    chip.put(0x27, 0x08)
    chip.now += 0.010
    assert chip.ready()
    assert chip.get(0x89, 2)[0] == 9
    chip.put(0x86, 0x01)
    chip.put(0x27, 0x00)
    assert not chip.ready()


def test_a_smaller_region_sees_less():
    """With 4 by 4 SPADs the cone is narrower and the light less."""
    full = _started(Chip()).sample()
    small = Chip().set_up({0x80: 0x33, 0x7F: 0xC7}).start().sample()
    assert struct.unpack(">H", small[3:5])[0] < struct.unpack(">H", full[3:5])[0] / 10


# ------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param("tof:sun", {4, 6}, id="sun"),
        pytest.param("tof:weak", {4}, id="weak"),
        pytest.param("tof:wrap", {7}, id="wrap"),
        pytest.param("tof:broken", {2}, id="broken"),
    ],
)
def test_a_fault_is_told_by_the_status(fault, status):
    """In the sun, without a target bright enough, aliased or with a dead laser the status says so."""
    chip = _started(Chip(fault))
    assert {chip.sample()[0] for _ in range(20)} <= status


def test_stuck_repeats_its_sample():
    """The interrupt comes, and the sample is the same to the last bit."""
    chip = _started(Chip("tof:stuck@1.2"))
    samples = [chip.sample() for _ in range(20)]
    assert len(set(samples[-15:])) == 1
    assert len(set(samples[:2])) == 2


@pytest.mark.parametrize(("fault", "longer_s"), [("tof:slow", 0.25), ("tof:delayed", 0.3)])
def test_slow_and_delayed_keep_one_waiting(fault, longer_s):
    """Samples come seldom, or long after they were measured."""
    chip = _started(Chip(fault))
    chip.sample()
    began = chip.now
    chip.sample()
    assert chip.now - began > longer_s


def test_another_chip_has_another_identity():
    """The wrong chip acknowledges, says what it is, and measures nothing."""
    chip = Chip("tof:wrong")
    assert chip.get(0x010F, 2) == b"\xeb\xaa"
    chip.put(0x2D, *BLOCK)
    chip.start()
    chip.now += 1.0
    assert chip.get(0x87) == b"\x00"


@pytest.mark.parametrize("fault", ["tof:reboot@2-3", "tof:off@2-2.5"])
def test_power_that_failed_takes_everything(fault):
    """After it the chip is at the address at which it is wired, not ranging, and says nothing of a sample."""
    chip = _started(Chip(fault))
    chip.put(0x01, 0x31)
    chip.sample()
    chip.now = 3.0
    with pytest.raises(OSError, match="wired"):
        chip.get(0x010F, 2)
    assert chip.twin.address == 0
    chip.now += 0.01
    assert chip.get(0x87) == b"\x00"
    assert chip.get(0x89, 17) == bytes(17)
