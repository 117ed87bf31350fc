"""The LSM6DSOX driver on simulated registers: set-up, time, faults, and bytes no chip should send."""

from __future__ import annotations

import errno
import math
from bisect import bisect_left
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devices.bench import FakeImu, Run, VirtualClock

from retrowalk.config import Imu
from retrowalk.core.samples import HealthReport, ImuSample
from retrowalk.devices.lsm6dsox import Lsm6dsox

G = 9.80665


class Bench:
    def __init__(self, config: Imu | None = None, rate_error: float = 0.0, seed: int = 1) -> None:
        self.clock = VirtualClock()
        self.chip = FakeImu(self.clock, rate_error, seed)
        self.driver = Lsm6dsox(config or Imu(), self.chip, self.clock)
        self.run = Run(self.driver, self.clock)

    def samples(self, since_s=0.0) -> list[ImuSample]:
        return self.run.of(ImuSample, since_s)

    def faults(self) -> list[tuple[str, bool]]:
        return [(report.fault, report.active) for report in self.run.of(HealthReport)]

    def time_errors_s(self, since_s=0.0) -> list[float]:
        """How far each sample's time is from that of the chip's sample nearest to it."""
        true_s = self.chip.taken_s
        errors = []
        for sample in self.samples(since_s):
            at = bisect_left(true_s, sample.t_measured_s)
            errors.append(min((sample.t_measured_s - t for t in true_s[max(at - 1, 0) : at + 1]), key=abs))
        return errors


def _check_order(samples):
    assert all(a.t_measured_s < b.t_measured_s for a, b in pairwise(samples))
    assert all(sample.t_measured_s <= sample.t_received_s for sample in samples)
    assert all(a.t_received_s <= b.t_received_s for a, b in pairwise(samples))


# ------------------------------------------------------------------------------------------------ values


def test_upright_and_still_reads_one_g_up():
    """Upright and still, acceleration is +9.81 up, in m/s², and rotation is about nothing"""
    bench = Bench()
    bench.run.until(2.0)
    for sample in bench.samples():
        assert sample.accel_m_s2 == pytest.approx((0.0, 0.0, G), abs=0.05)
        assert sample.gyro_rad_s == pytest.approx((0.0, 0.0, 0.0), abs=0.01)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        pytest.param(("+x", "+y", "+z"), (1, 2, 3), id="straight"),
        pytest.param(("-y", "+x", "+z"), (-2, 1, 3), id="turned about up"),
        pytest.param(("+z", "-y", "+x"), (3, -2, 1), id="standing on its edge"),
        pytest.param(("-x", "-y", "+z"), (-1, -2, 3), id="back to front"),
    ],
)
def test_axes_are_the_bodys(axes, expected):
    """Chip axes are turned to the body's front, left and up, for both kinds of measurement"""
    bench = Bench(Imu(axes=axes))
    lift = Random(1)
    bench.chip.motion = lambda _t: (1000, 2000, 3000 + lift.randint(-1, 1), 100, 200, 300)
    bench.run.until(0.5)
    sample = bench.samples()[0]
    assert [round(a / (0.488 * G)) for a in sample.accel_m_s2] == list(expected)
    assert [round(math.degrees(g) / 7.0) for g in sample.gyro_rad_s] == list(expected)


def test_axes_of_the_other_hand_are_refused():
    """A left-handed set of axes is refused at once"""
    with pytest.raises(ValueError, match="right-handed"):
        Lsm6dsox(Imu(axes=("+x", "+y", "-z")), FakeImu(VirtualClock()), VirtualClock())


def test_fifo_is_read_in_one_transfer():
    """A look costs two transfers: the status, and one burst of all words"""
    bench = Bench()
    bench.run.until(5.0)
    registers = [register for t_s, register, _ in bench.chip.transfers if t_s > 0.2 and register in (0x3A, 0x78)]
    assert registers == [0x3A, 0x78] * (len(registers) // 2)
    assert len(registers) / 2 == pytest.approx(4.8 / 0.048, abs=2)


def test_samples_keep_the_chips_pace():
    """Every sample of the chip after its start-up is given once, within 0.06 s, without a gap"""
    bench = Bench()
    bench.run.until(10.0)
    assert len(bench.samples()) == len(bench.chip.taken_s) - 10 - len(bench.chip.fifo) // 2
    assert not any(sample.gap for sample in bench.samples())
    assert max(sample.t_received_s - sample.t_measured_s for sample in bench.samples()) < 0.06


# -------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize("rate_error", [-0.05, -0.03, 0.0, 0.03, 0.05])
@pytest.mark.parametrize("poll_s", [0.01, 0.048, 0.2])
def test_time_follows_a_clock_that_is_off(rate_error, poll_s):
    """With the chip's clock up to 5 % off, times stay within a sample, their spacing is true, none is of the future"""
    bench = Bench(Imu(poll_s=poll_s), rate_error)
    bench.run.until(20.0)
    _check_order(bench.samples())
    assert len(bench.samples()) == len(bench.chip.taken_s) - 10 - len(bench.chip.fifo) // 2
    given = [sample.t_measured_s for sample in bench.samples()]
    errors = [g - t for g, t in zip(given, bench.chip.taken_s[10:], strict=False)]
    assert max(map(abs, errors)) < 0.012
    assert max(map(abs, errors[500:])) < 0.006
    steps = [b - a for a, b in pairwise(given[500:])]
    assert min(steps) == pytest.approx(bench.chip.period_s, rel=0.1)
    assert max(steps) == pytest.approx(bench.chip.period_s, rel=0.1)
    assert not any(sample.gap for sample in bench.samples())


def test_jitter_of_the_looks_is_not_in_the_samples():
    """Looks that come 0 to 40 ms late change the spacing of the samples by less than a tenth"""
    bench = Bench(rate_error=0.02)
    late = Random(3)
    poll = bench.driver.poll

    def late_poll(now):
        items, due_s = poll(now)
        return items, due_s + late.uniform(0.0, 0.04)

    bench.driver.poll = late_poll  # type: ignore[method-assign]
    bench.run.until(20.0)
    _check_order(bench.samples())
    steps = [b.t_measured_s - a.t_measured_s for a, b in pairwise(bench.samples(5.0))]
    assert min(steps) > 0.9 * bench.chip.period_s
    assert max(steps) < 1.1 * bench.chip.period_s


def test_pause_without_loss_has_no_gap():
    """After 2 s without a look the FIFO still has all: read in several bursts, no gap, true times"""
    bench = Bench(rate_error=0.03)
    bench.run.until(5.0)
    bench.run._due_s = 7.0
    bench.run.until(9.0)
    _check_order(bench.samples())
    assert not any(sample.gap for sample in bench.samples())
    assert max(read for _, _, read in bench.chip.transfers) <= 31 * 7
    assert len(bench.samples()) == len(bench.chip.taken_s) - 10 - len(bench.chip.fifo) // 2
    errors = [s.t_measured_s - t for s, t in zip(bench.samples(), bench.chip.taken_s[10:], strict=False)]
    assert max(map(abs, errors[300:])) < 0.006


def test_slow_bus_gives_no_sample_of_the_future():
    """However long the transfers take, no sample is stamped later than the poll that gives it"""
    bench = Bench()
    transfer = bench.chip.transfer

    def slow(address, write, read):
        bench.clock.pause(0.005)
        return transfer(address, write, read)

    bench.chip.transfer = slow  # type: ignore[method-assign]
    bench.run.until(5.0)
    _check_order(bench.samples())
    assert len(bench.samples()) > 450


# ----------------------------------------------------------------------------------------------- losses


def test_overrun_is_a_gap_not_stretched_time():
    """After 5 s without a look the oldest samples are lost: one gap, and the others have their true times"""
    bench = Bench(rate_error=-0.02)
    bench.run.until(5.0)
    bench.run._due_s = 10.0
    bench.run.until(12.0)
    _check_order(bench.samples())
    assert sum(sample.gap for sample in bench.samples()) == 1
    assert max(b.t_measured_s - a.t_measured_s for a, b in pairwise(bench.samples(4.0)) if not b.gap) < 0.011
    assert max(map(abs, bench.time_errors_s(9.0))) < 0.006
    assert bench.driver.counts["overrun"] == 1


@pytest.mark.parametrize("slots", [257, 260, 264, 268, 275])
def test_small_overrun_is_a_gap(slots):
    """Also when a few samples only did not fit, the next one has a gap before it"""
    bench = Bench()
    bench.run.until(5.0)
    looked_s = max(t_s for t_s, register, _ in bench.chip.transfers if register == 0x78)
    bench.run._due_s = looked_s + (slots + 0.9) * bench.chip.period_s
    bench.run.until(10.0)
    _check_order(bench.samples())
    assert bench.driver.counts["overrun"] == 1
    assert sum(sample.gap for sample in bench.samples()) == 1
    assert max(map(abs, bench.time_errors_s(9.0))) < 0.006


@pytest.mark.parametrize("lost", [1, 2, 3, 4, 5, 8, 11])
def test_lost_instants_are_a_gap(lost):
    """Instants that vanish on the way are a gap, whatever their number; times stay true"""
    bench = Bench(rate_error=0.01)
    bench.run.until(5.0)

    def lose() -> None:
        bench.chip._advance()
        del bench.chip.fifo[-2 * lost :]

    bench.run._due_s = bench.clock.now() + 0.2
    bench.clock.at(5.19, lose)
    bench.run.until(8.0)
    _check_order(bench.samples())
    assert any(sample.gap for sample in bench.samples(5.1))
    assert not any(sample.gap for sample in bench.samples(5.5))
    assert max(map(abs, bench.time_errors_s(6.0))) < 0.006


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(lambda word: b"\xff" * 7, id="all ones"),
        pytest.param(lambda word: b"\x00" * 7, id="all zeroes"),
        pytest.param(lambda word: bytes((word[0] ^ 1,)) + word[1:], id="parity"),
        pytest.param(lambda word: word[:1] + b"\x00" * 6 if word[0] >> 3 == 2 else word, id="no weight"),
        pytest.param(lambda word: word[:1] + b"\xff" * 6 if word[0] >> 3 == 2 else word, id="minus one"),
    ],
)
def test_spoilt_word_costs_its_instant_only(spoilt):
    """A spoilt word is counted and thrown away with its instant; the next sample has a gap, the others do not"""
    bench = Bench()
    bench.run.until(3.0)

    def spoil(data, register):
        if register == 0x78 and bench.clock.now() > 3.0:
            bench.chip.spoil = lambda later, _register: later
            return data[:21] + spoilt(data[21:28]) + data[28:] if data[21] >> 3 == 2 else data
        return data

    bench.chip.spoil = spoil
    bench.run.until(6.0)
    _check_order(bench.samples())
    assert bench.driver.counts["garbage_word"] + bench.driver.counts["garbage_value"] == 1
    assert sum(sample.gap for sample in bench.samples()) == 1
    assert len(bench.samples()) == len(bench.chip.taken_s) - 10 - 1 - len(bench.chip.fifo) // 2
    assert max(map(abs, bench.time_errors_s())) < 0.006
    assert bench.faults() == []


# ------------------------------------------------------------------------------------------------- faults


def _nack(number):
    return lambda _register: number


@pytest.mark.parametrize(
    ("number", "means"),
    [
        pytest.param(errno.EREMOTEIO, "no acknowledge", id="121"),
        pytest.param(errno.ETIMEDOUT, "held low", id="110"),
        pytest.param(errno.EIO, "loose wire", id="5"),
    ],
)
def test_absent_at_start_is_named_and_tried_again(number, means):
    """An absent clip is an expected error with address and meaning, tried each 0.2 s, and works when it comes"""
    bench = Bench()
    bench.chip.fail = _nack(number)
    bench.run.until(1.05)
    assert [t_s for t_s, _ in bench.run.errors] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    error = bench.run.errors[0][1]
    assert error.fault == "absent"
    assert "0x6A" in error.detail
    assert means in error.detail
    bench.chip.fail = _nack(0)
    bench.run.until(2.0)
    assert bench.samples()[0].t_received_s < 1.4
    assert not bench.samples()[0].gap


def test_unplugged_while_working():
    """Unplugged, the clip is named within 0.2 s; back again it is set up anew, with one gap and true times"""
    bench = Bench()
    bench.run.until(3.0)
    bench.chip.fail = _nack(errno.EREMOTEIO)
    bench.run.until(5.0)
    assert 3.0 < bench.run.errors[0][0] < 3.2
    assert {error.fault for _, error in bench.run.errors} == {"absent"}
    assert bench.samples()[-1].t_received_s <= 3.0
    bench.chip.power_on()
    bench.chip.fail = _nack(0)
    bench.run.until(8.0)
    assert bench.samples(5.0)[0].t_received_s < 5.4
    assert [sample.t_received_s for sample in bench.samples() if sample.gap] == [bench.samples(5.0)[0].t_received_s]
    _check_order(bench.samples())
    assert max(map(abs, bench.time_errors_s(5.0))) < 0.006


@pytest.mark.parametrize("register", [0x3A, 0x78, 0x10])
def test_one_failed_transfer_costs_nothing(register):
    """A transfer spoilt by a motor that starts is repeated: no error, no gap, nothing lost"""
    bench = Bench()
    bench.run.until(3.0)
    failures = iter([errno.EREMOTEIO])
    bench.chip.fail = lambda at: next(failures, 0) if at == register else 0
    bench.run.until(6.0)
    assert bench.run.errors == []
    assert bench.driver.counts["nack"] == 1
    assert not any(sample.gap for sample in bench.samples())
    assert len(bench.samples()) == len(bench.chip.taken_s) - 10 - len(bench.chip.fifo) // 2


def test_bursts_of_failed_transfers():
    """With one transfer in five failing, samples still come, in order, and nearly all"""
    bench = Bench()
    bench.run.until(1.0)
    luck = Random(5)
    bench.chip.fail = lambda _register: errno.EREMOTEIO if luck.random() < 0.2 else 0
    bench.run.until(20.0)
    _check_order(bench.samples())
    assert len(bench.samples()) > 0.9 * 104 * 19


@pytest.mark.parametrize("chip_id", [0x00, 0x6B, 0xFF])
def test_other_chip_is_named(chip_id):
    """Something else at the address is named with what it says"""
    bench = Bench()
    bench.chip.registers[0x0F] = chip_id
    bench.run.until(0.5)
    assert {error.fault for _, error in bench.run.errors} == {"wrong_chip"}
    assert f"0x{chip_id:02X}" in bench.run.errors[0][1].detail


@pytest.mark.parametrize("register", [0x0A, 0x10, 0x11, 0x12, 0x18])
def test_register_that_does_not_keep_is_garbage(register):
    """A setting that does not read back is an error that names the register"""
    bench = Bench()
    write = bench.chip._write

    def forgetful(at, value):
        write(at, value)
        if at == register and not (at == 0x12 and value & 1):
            bench.chip.registers[register] = 0xA0

    bench.chip._write = forgetful  # type: ignore[method-assign]
    bench.run.until(0.5)
    assert {error.fault for _, error in bench.run.errors} == {"garbage"}
    assert f"0x{register:02X}" in bench.run.errors[0][1].detail


def test_reset_that_never_ends_is_garbage():
    """A chip that stays in reset is given up after 0.1 s, and tried again"""
    bench = Bench()
    bench.chip.spoil = lambda data, register: b"\x01" if register == 0x12 else data
    bench.run.until(0.5)
    assert bench.run.errors[0][1].fault == "garbage"
    assert bench.run.errors[0][0] < 0.15


@pytest.mark.parametrize("at_s", [3.0, 3.3, 3.6, 3.9])
def test_brown_out_is_mended(at_s):
    """A chip that was reset by its supply is set up again within 0.6 s, with a gap, no error and no report"""
    bench = Bench()
    bench.run.until(at_s)
    bench.chip.power_on()
    bench.run.until(7.0)
    assert bench.run.errors == []
    assert bench.faults() == []
    assert bench.samples(at_s + 0.06)[0].gap
    assert bench.samples(at_s + 0.06)[0].t_received_s < at_s + 0.6
    assert sum(sample.gap for sample in bench.samples()) == 1
    _check_order(bench.samples())


def test_register_that_changes_is_set_again():
    """A setting that is lost while samples go on is noticed within a second and set again"""
    bench = Bench()
    bench.run.until(3.3)
    bench.chip.registers[0x10] = 0x40  # 2 g
    bench.run.until(5.0)
    assert bench.chip.registers[0x10] == 0x44
    assert bench.driver.counts["chip_reset"] == 1


def test_empty_fifo_is_named():
    """A chip that answers but takes no samples is named within 0.5 s, and the report ends when it goes on"""
    bench = Bench()
    bench.run.until(3.0)
    bench.chip.spoil = lambda data, register: b"\x00\x00" if register == 0x3A else data
    bench.run.until(5.0)
    assert bench.faults() == [("frozen", True)]
    assert bench.run.of(HealthReport)[0].t_received_s < 3.5
    bench.chip.spoil = lambda data, _register: data
    bench.run.until(6.0)
    assert bench.faults() == [("frozen", True), ("frozen", False)]
    _check_order(bench.samples())


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
@pytest.mark.parametrize("registers", [{0x78}, {0x3A, 0x78}], ids=["words", "words and status"])
def test_garbage_is_named(byte, registers):
    """A FIFO of nothing but ones or zeroes is named within 0.5 s, gives no sample, and is over when it is"""
    bench = Bench()
    bench.run.until(3.0)
    bench.chip.spoil = lambda data, register: byte * len(data) if register in registers else data
    bench.run.until(5.0)
    ((fault, active),) = bench.faults()
    assert (fault, active) == ("frozen" if byte == b"\x00" and 0x3A in registers else "garbage", True)
    assert bench.run.of(HealthReport)[0].t_received_s < 3.5
    assert bench.samples(3.1) == []
    bench.chip.spoil = lambda data, _register: data
    bench.run.until(7.0)
    assert bench.faults()[-1] == (fault, False)
    assert len(bench.samples(6.0)) > 95
    _check_order(bench.samples())


def test_noisy_bus_is_named_while_samples_go_on():
    """A bus that spoils every third word is reported as garbage; what is whole is still given"""
    bench = Bench()
    bench.run.until(3.0)
    luck = Random(9)

    def spoil(data, register):
        if register != 0x78:
            return data
        words = [data[i : i + 7] for i in range(0, len(data), 7)]
        return b"".join(word if luck.random() > 0.33 else luck.randbytes(7) for word in words)

    bench.chip.spoil = spoil
    bench.run.until(6.0)
    assert ("garbage", True) in bench.faults()
    assert len(bench.samples(3.1)) > 100
    _check_order(bench.samples())


def test_frozen_value_is_named():
    """The same bits for a second are named, are no samples, and the report ends only when they move again"""
    bench = Bench()
    bench.run.until(3.0)
    bench.chip.motion = lambda _t: (12, -7, 2049, 1, 2, 3)
    bench.run.until(8.0)
    assert bench.faults() == [("frozen", True)]
    assert 3.9 < bench.run.of(HealthReport)[0].t_received_s < 4.2
    assert bench.samples(4.2) == []
    bench.chip.motion = bench.chip.still
    bench.run.until(10.0)
    assert bench.faults() == [("frozen", True), ("frozen", False)]
    assert bench.samples(8.0)[0].gap
    assert max(map(abs, bench.time_errors_s(8.0))) < 0.006
    assert len(bench.samples(9.0)) > 95


def test_value_that_jumps_now_and_then_is_frozen_still():
    """A chip that has frozen and takes another value at each set-up has not thawed"""
    bench = Bench()
    bench.run.until(3.0)
    bench.chip.motion = lambda t: (12, -7, 2049 if t < 4.5 else 2000 + int(t / 0.3), 1, 2, 3)
    bench.run.until(8.0)
    assert bench.faults() == [("frozen", True)]
    assert bench.samples(4.2) == []


def test_spoilt_status_moves_no_sample():
    """A word count that the time since the last look cannot have filled is not believed"""
    bench = Bench()
    bench.run.until(3.0)
    spoilt = iter([b"\xc8\x00"])
    bench.chip.spoil = lambda data, register: next(spoilt, data) if register == 0x3A else data
    bench.run.until(5.0)
    assert bench.driver.counts["garbage_status"] == 1
    errors = [s.t_measured_s - t for s, t in zip(bench.samples(), bench.chip.taken_s[10:], strict=False)]
    assert max(map(abs, errors)) < 0.012
    assert not any(sample.gap for sample in bench.samples())


def test_still_rotation_is_not_frozen():
    """A gyroscope whose last bits do not move is normal at 2000 °/s; the accelerometer's noise proves life"""
    bench = Bench()
    bench.chip.motion = lambda t: (*bench.chip.still(t)[:3], 4, -3, 2)
    bench.run.until(5.0)
    assert bench.faults() == []


def test_saturated_impact_is_a_sample():
    """An impact beyond 16 g is given at full scale, not thrown away"""
    bench = Bench()
    bench.chip.motion = lambda t: (
        (-32768, 32767, -32768, *bench.chip.still(t)[3:]) if 2.0 < t < 2.03 else bench.chip.still(t)
    )
    bench.run.until(3.0)
    assert max(abs(sample.accel_m_s2[0]) for sample in bench.samples()) == pytest.approx(16 * G, rel=0.01)


# -------------------------------------------------------------------------------------------- properties


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), rate=st.floats(0.0, 1.0), rate_error=st.floats(-0.08, 0.08))
def test_nothing_impossible_leaves_the_driver(seed, rate, rate_error):
    """Whatever the bytes are: samples are finite, in range and in order, and only expected errors are raised"""
    luck = Random(seed)
    bench = Bench(rate_error=rate_error, seed=seed)

    def spoil(data, register):
        if luck.random() > rate:
            return data
        kind = luck.randrange(6)
        if kind == 0:
            return luck.randbytes(len(data))
        if kind == 1:
            return bytes((luck.choice((0, 255)),)) * len(data)
        if kind == 2:
            return data[: luck.randrange(len(data) + 1)]
        if kind == 3 and register == 0x78:
            sensors = [luck.choice((1, 2)) << 3 | luck.randrange(4) << 1 for _ in range(len(data) // 7)]
            return b"".join(bytes((tag | tag.bit_count() % 2,)) + luck.randbytes(6) for tag in sensors)
        at = luck.randrange(len(data))
        return data[:at] + luck.randbytes(1) + data[at + 1 :]

    bench.chip.spoil = spoil
    bench.chip.fail = lambda _register: luck.choice((5, 11, 110, 121)) if luck.random() < rate / 20 else 0
    bench.run.until(3.0)
    _check_order(bench.samples())
    for sample in bench.samples():
        assert max(map(abs, sample.accel_m_s2)) <= 32768 * 0.488e-3 * G + 1e-9
        assert max(map(abs, sample.gyro_rad_s)) <= math.radians(32768 * 0.07) + 1e-9
        assert sample.t_measured_s >= 0.0
    bench.chip.spoil = lambda data, _register: data
    bench.chip.fail = _nack(0)
    bench.run.until(6.5)
    assert len(bench.samples(5.5)) > 85
    assert [active for _, active in bench.faults()][-1:] in ([], [False])
