"""The MPU-6050 driver on the strict twin, and what both chips of the clip owe: one table, either chip."""

from __future__ import annotations

import errno
import logging
import math
from bisect import bisect_left
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devices.bench import Run, VirtualClock

from retrowalk.config import Imu
from retrowalk.core.samples import HealthReport, ImuSample
from retrowalk.devices.imu_fifo import DelayWatch
from retrowalk.devices.lsm6dsox import Lsm6dsox
from retrowalk.devices.mpu6050 import Mpu6050
from retrowalk.sim.chips.lsm6dsox import Lsm6dsoxTwin
from retrowalk.sim.chips.mpu6050 import Mpu6050Twin
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.i2c import SimBus

G = 9.80665
STILL = (0.0, 0.0, G, 0.0, 0.0, 0.0)
RATE_HZ = {"lsm6dsox": 104.0, "mpu6050": 100.0}
STATUS = {"lsm6dsox": 0x3A, "mpu6050": 0x72}
DATA = {"lsm6dsox": 0x78, "mpu6050": 0x74}
SETTING = {"lsm6dsox": 0x10, "mpu6050": 0x19}
BOTH = pytest.mark.parametrize("chip", ["lsm6dsox", "mpu6050"])


class Bench:
    """A clip's driver on its strict twin, over a bus on which transfers may be refused or spoilt."""

    def __init__(self, chip: str = "mpu6050", *faults: str, config: dict[str, Any] | None = None, **twin: Any) -> None:
        self.clock = VirtualClock()
        self.taken_s: list[float] = []
        """When each sample of the chip was true."""
        self.motion: Callable[[float], tuple[float, ...]] = lambda _t: STILL
        broken = Faults(Fault.parse(text) for text in faults)
        make: Any = Lsm6dsoxTwin if chip == "lsm6dsox" else Mpu6050Twin
        self.imu = Imu(chip=chip, **(config or {}))  # type: ignore[arg-type]  # one of the two
        self.twin = make(self._measure, 1, faults=broken, axes=self.imu.axes, **{"clock_error": 0.0, **twin})
        self.sim = SimBus(self.clock, {self.imu.bus_address: self.twin}, broken)
        self.fail: Callable[[int], int] = lambda _register: 0
        self.spoil: Callable[[bytes, int], bytes] = lambda data, _register: data
        self.slow_s: Callable[[int], float] = lambda _register: 0.0
        self.transfers: list[tuple[float, int, int]] = []
        driver: Any = Lsm6dsox if chip == "lsm6dsox" else Mpu6050
        self.driver = driver(self.imu, self, self.clock)
        self.run = Run(self.driver, self.clock)

    def _measure(self, t_s: float) -> Any:
        self.taken_s.append(t_s)
        return self.motion(t_s)

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        number = self.fail(write[0])
        if number:
            raise OSError(number, "transfer failed")
        self.transfers.append((self.clock.now(), write[0], read))
        data = self.sim.transfer(address, write, read)
        self.clock.pause(self.slow_s(write[0]))
        return self.spoil(data, write[0])

    def close(self) -> None:
        pass

    def until(self, t_s: float) -> Bench:
        self.run.until(t_s)
        return self

    def away_until(self, t_s: float) -> Bench:
        """Nobody looks until then."""
        self.run._due_s = t_s
        return self

    def samples(self, since_s: float = 0.0) -> list[ImuSample]:
        return self.run.of(ImuSample, since_s)

    def gaps(self) -> int:
        return sum(sample.gap for sample in self.samples())

    def faults(self) -> list[tuple[str, bool]]:
        return [(report.fault, report.active) for report in self.run.of(HealthReport)]

    def named(self) -> list[tuple[float, str]]:
        errors = [(t_s, error.fault) for t_s, error in self.run.errors]
        return sorted(errors + [(r.t_received_s, r.fault) for r in self.run.of(HealthReport) if r.active])

    def time_errors_s(self, since_s: float = 0.0) -> list[float]:
        """How far each sample's time is from that of the chip's sample nearest to it."""
        errors = []
        for sample in self.samples(since_s):
            at = bisect_left(self.taken_s, sample.t_measured_s)
            errors.append(min((sample.t_measured_s - t for t in self.taken_s[max(at - 1, 0) : at + 1]), key=abs))
        return errors

    def check_order(self) -> None:
        samples = self.samples()
        assert all(a.t_measured_s < b.t_measured_s for a, b in pairwise(samples))
        assert all(a.t_received_s <= b.t_received_s for a, b in pairwise(samples))
        assert all(sample.t_measured_s <= sample.t_received_s for sample in samples)


# ------------------------------------------------------------------------------------------------ values


@BOTH
def test_upright_and_still_reads_one_g_up(chip):
    """Upright and still, acceleration is +9.81 up, in m/s², and rotation is the chip's bias"""
    bench = Bench(chip).until(3.0)
    samples = bench.samples()
    count = len(samples)
    accel = [sum(sample.accel_m_s2[i] for sample in samples) / count for i in range(3)]
    gyro = [sum(sample.gyro_rad_s[i] for sample in samples) / count for i in range(3)]
    assert accel == pytest.approx((0.0, 0.0, G), abs=0.01)
    assert gyro == pytest.approx(bench.twin.gyro_bias_rad_s, abs=0.001)


@BOTH
@pytest.mark.parametrize(
    "axes", [("+x", "+y", "+z"), ("+z", "-y", "+x"), ("-x", "+y", "-z"), ("+y", "+z", "+x")], ids=" ".join
)
def test_axes_are_the_bodys(chip, axes):
    """However the chip is mounted, both measurements come in the body's front, left and up"""
    bench = Bench(chip, config={"axes": axes})
    bench.motion = lambda _t: (1.0, 2.0, 3.0, 0.4, 0.8, 1.2)
    sample = bench.until(1.0).samples()[0]
    assert sample.accel_m_s2 == pytest.approx((1.0, 2.0, 3.0), abs=0.15)
    assert sample.gyro_rad_s == pytest.approx((0.4, 0.8, 1.2), abs=0.03)


@BOTH
def test_saturated_impact_is_a_sample(chip):
    """An impact beyond 16 g is given at full scale, not thrown away"""
    bench = Bench(chip)
    bench.motion = lambda t: (-400.0, 400.0, -400.0, 99.0, -99.0, 99.0) if 2.0 < t < 2.04 else STILL
    bench.until(3.0)
    assert max(abs(sample.accel_m_s2[0]) for sample in bench.samples()) == pytest.approx(16 * G, rel=0.001)
    assert bench.named() == []


@BOTH
def test_a_look_costs_two_transfers(chip):
    """The fill, and one burst of all that is there; the rest is a few looks at the settings a second"""
    bench = Bench(chip).until(11.0)
    registers = [register for t_s, register, _ in bench.transfers if t_s > 1.0]
    looks = registers.count(STATUS[chip])
    assert looks == pytest.approx(10.0 / 0.048, abs=3)
    assert registers.count(DATA[chip]) == looks
    assert len(registers) - 2 * looks <= 45


# -------------------------------------------------------------------------------------------------- time


@BOTH
@pytest.mark.parametrize("clock_error", [-0.05, -0.03, 0.0, 0.03, 0.05])
@pytest.mark.parametrize("poll_s", [0.01, 0.048, 0.193])
def test_time_follows_a_clock_that_is_off(chip, clock_error, poll_s):
    """With the chip's clock off, every sample comes once, its time true within one sample, its spacing even"""
    bench = Bench(chip, config={"poll_s": poll_s}, clock_error=clock_error).until(15.0)
    bench.check_order()
    assert bench.gaps() == 0
    samples = bench.samples()
    assert len(samples) == pytest.approx(15.0 * RATE_HZ[chip] * (1 + clock_error) - 10, abs=0.35 * RATE_HZ[chip])
    errors = [s.t_measured_s - t for s, t in zip(samples, bench.taken_s[10:], strict=False)]  # ten settle
    assert max(map(abs, errors)) < 0.012
    assert max(map(abs, errors[500:])) < 0.006
    steps = [b.t_measured_s - a.t_measured_s for a, b in pairwise(samples[500:])]
    period_s = 1.0 / RATE_HZ[chip] / (1 + clock_error)
    assert (min(steps), max(steps)) == pytest.approx((period_s, period_s), rel=0.1)


def test_looks_in_step_with_the_chip():
    """Looks that always come at the same moment between two samples say no more than which two: within one sample"""
    bench = Bench(config={"poll_s": 0.2}).until(15.0)
    bench.check_order()
    assert bench.gaps() == 0
    assert max(abs(s.t_measured_s - t) for s, t in zip(bench.samples(), bench.taken_s[10:], strict=False)) < 0.0105


@BOTH
def test_pause_without_loss_has_no_gap(chip):
    """After 0.8 s without a look all is still there: read in transfers under 5 ms, no gap, true times"""
    bench = Bench(chip, clock_error=0.03).until(5.0).away_until(5.75).until(8.0)
    bench.check_order()
    assert bench.gaps() == 0
    assert max(map(abs, bench.time_errors_s(3.0))) < 0.006
    assert 0.004 < bench.sim.longest_s[bench.imu.bus_address] <= 0.005
    period_s = 1.0 / RATE_HZ[chip] / 1.03
    assert max(b.t_measured_s - a.t_measured_s for a, b in pairwise(bench.samples(2.0))) < 1.1 * period_s


@BOTH
def test_slow_bus_gives_no_sample_of_the_future(chip):
    """However long the transfers take, no sample is stamped later than the poll that gives it"""
    bench = Bench(chip)
    bench.slow_s = lambda _register: 0.005
    bench.until(5.0)
    bench.check_order()
    assert len(bench.samples()) > 430


# ----------------------------------------------------------------------------------------------- losses


@BOTH
@pytest.mark.parametrize("away_s", [3.0, 6.0, 20.0])
def test_overrun_is_a_gap_not_stretched_time(chip, away_s):
    """After seconds without a look samples are lost: one gap, and the others have their true times"""
    bench = Bench(chip, clock_error=-0.02).until(5.0).away_until(5.0 + away_s).until(7.0 + away_s)
    bench.check_order()
    assert bench.gaps() == 1
    assert bench.driver.counts["overrun"] == 1
    assert max(b.t_measured_s - a.t_measured_s for a, b in pairwise(bench.samples(4.0)) if not b.gap) < 0.0115
    assert max(map(abs, bench.time_errors_s(4.0))) < 0.006
    assert bench.named() == []


@pytest.mark.parametrize("chip_id", [0x68, 0x70])
@pytest.mark.parametrize("frames", [-3, -2, -1, 0, 1, 2, 5])
def test_fifo_about_full_is_emptied_or_read_whole(chip_id, frames):
    """At the edge of running over, either all samples come or there is one gap; never a shifted one"""
    bench = Bench(chip_id=chip_id).until(5.0)
    looked_s = max(t_s for t_s, register, _ in bench.transfers if register == 0x74)
    full = (1024 if chip_id == 0x68 else 512) // 12
    bench.away_until(looked_s + (full + frames + 0.5) / 100.0).until(8.0)
    bench.check_order()
    lost = bench.driver.counts["overrun"]
    assert bench.gaps() == lost
    assert lost == 1 if frames > 0 else lost <= 1
    assert max(math.dist(sample.accel_m_s2, (0.0, 0.0, G)) for sample in bench.samples()) < 0.3
    assert max(map(abs, bench.time_errors_s(4.0))) < 0.006


@pytest.mark.parametrize("late_s", [0.1, 0.3, 0.8, 0.9, 2.0])
def test_delay_between_count_and_burst(late_s):
    """A thread that is held up between the two transfers gives what was counted, or nothing; never shifted bytes"""
    bench = Bench().until(3.0)
    held = iter([late_s])
    bench.slow_s = lambda register: next(held, 0.0) if register == 0x72 else 0.0
    bench.until(8.0)
    bench.check_order()
    assert bench.gaps() <= 1
    assert bench.gaps() == 1 or late_s < 0.85
    assert max(math.dist(sample.accel_m_s2, (0.0, 0.0, G)) for sample in bench.samples()) < 0.3
    assert max(map(abs, bench.time_errors_s(6.0))) < 0.006


@pytest.mark.parametrize("lost", [1, 2, 6, 11, 13, 23])
def test_lost_bytes_are_a_gap(lost):
    """Bytes that vanish shift all that follow: the FIFO is emptied, with one gap and true times after"""
    bench = Bench().until(5.0)

    def lose() -> None:
        bench.twin._run(bench.clock.now())
        assert len(bench.twin._fifo) > lost
        del bench.twin._fifo[:lost]

    bench.away_until(5.2).clock.at(5.19, lose)
    bench.until(8.0)
    bench.check_order()
    assert bench.gaps() == 1
    assert max(math.dist(sample.accel_m_s2, (0.0, 0.0, G)) for sample in bench.samples()) < 0.3
    assert max(map(abs, bench.time_errors_s(6.0))) < 0.006
    assert bench.named() == []


def test_count_read_while_a_frame_is_put_in():
    """A count that is half a frame off once is read again, and costs nothing"""
    bench = Bench().until(3.0)
    halves = iter([6])

    def half(data: bytes, register: int) -> bytes:
        added: int = next(halves, 0) if register == 0x72 else 0
        return data[:-1] + bytes((data[-1] + added,)) if added else data

    bench.spoil = half
    bench.until(5.0)
    assert bench.gaps() == 0
    assert bench.driver.counts["overrun"] == 0


@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_spoilt_frame_costs_its_instant_only(byte: bytes) -> None:
    """A frame of nothing but ones or zeroes is counted and thrown away; the next sample has a gap, the others do not"""
    bench = Bench().until(3.0)
    once = iter([True])

    def spoil(data: bytes, register: int) -> bytes:
        if register == 0x74 and next(once, False):
            return data[:12] + byte * 12 + data[24:]
        return data

    bench.spoil = spoil
    bench.until(6.0)
    bench.check_order()
    assert bench.driver.counts["garbage_value"] == 1
    assert bench.gaps() == 1
    (gap,) = [(a, b) for a, b in pairwise(bench.samples()) if b.gap]
    assert gap[1].t_measured_s - gap[0].t_measured_s == pytest.approx(0.02, abs=0.002)
    assert bench.named() == []


# ------------------------------------------------------------------------------------------------- faults


@BOTH
@pytest.mark.parametrize(
    ("fault", "names", "within_s"),
    [
        pytest.param("imu:off", {"absent"}, 0.3, id="unplugged"),
        pytest.param("imu:intermittent", {"absent"}, 3.0, id="loose wire"),
        pytest.param("bus:stuck", {"absent"}, 0.3, id="bus stuck"),
        pytest.param("imu:wrong", {"wrong_chip"}, 1.2, id="another chip answers"),
        pytest.param("imu:garbage", {"wrong_chip", "garbage"}, 0.5, id="all ones"),
        pytest.param("imu:stuck", {"frozen"}, 1.3, id="frozen"),
        pytest.param("imu:slow", {"slow"}, 1.7, id="a quarter of the rate"),
        pytest.param("imu:delayed", {"slow", "frozen"}, 1.5, id="0.3 s late"),
    ],
)
def test_fault_is_named_in_time_and_mended(chip, fault, names, within_s):
    """Broken from 5 s to 10 s: named in time, no useful sample while it lasts, and all well 1.5 s after it is over"""
    bench = Bench(chip, f"{fault}@5-10").until(10.0)
    named = bench.named()
    assert named, "never named"
    assert named[0][1] in names
    assert 5.0 < named[0][0] <= 5.0 + within_s
    if fault != "imu:intermittent":
        assert [s for s in bench.samples(5.0 + within_s) if s.t_received_s < 10.0] == []
    bench.until(14.0)
    bench.check_order()
    assert all(not active for _, active in bench.faults()[-1:])
    assert len(bench.samples(11.5)) > 240
    assert max(map(abs, bench.time_errors_s(12.0))) < 0.012


@BOTH
@pytest.mark.parametrize(
    ("fault", "gaps"),
    [
        pytest.param("imu:nack", 0, id="transfers refused for 30 ms"),
        pytest.param("bus:nack", 0, id="all of the bus refused for 30 ms"),
        pytest.param("imu:fast", 0, id="clock 3 % fast"),
        pytest.param("imu:overflow", 5, id="runs over every second"),
    ],
)
def test_what_can_be_borne_is_borne(chip, fault, gaps):
    """From 5 s to 10 s: nothing is named, nearly all samples come, gaps only where samples were lost, times true"""
    bench = Bench(chip, f"{fault}@5-10").until(13.0)
    bench.check_order()
    assert bench.named() == []
    assert bench.gaps() == gaps
    assert len([s for s in bench.samples(5.0) if s.t_received_s < 10.0]) > 0.93 * 5 * RATE_HZ[chip]
    assert max(map(abs, bench.time_errors_s(3.0))) < 0.012


@BOTH
@pytest.mark.parametrize("number", [errno.EREMOTEIO, errno.ETIMEDOUT, errno.EIO])
def test_absent_at_start_is_named_and_tried_again(chip, number):
    """An absent clip is an expected error with its address, tried each 0.2 s, and works when it comes"""
    bench = Bench(chip)
    bench.fail = lambda _register: number
    bench.until(1.05)
    assert [t_s for t_s, _ in bench.run.errors] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert bench.run.errors[0][1].fault == "absent"
    assert f"0x{bench.imu.bus_address:02X}" in bench.run.errors[0][1].detail
    bench.fail = lambda _register: 0
    bench.until(2.0)
    assert bench.samples()[0].t_received_s < 1.65
    assert not bench.samples()[0].gap


@BOTH
@pytest.mark.parametrize("which", ["status", "data", "setting"])
def test_one_failed_transfer_costs_nothing(chip, which):
    """A transfer spoilt by a motor that starts is repeated: no error, no gap, nothing lost"""
    bench = Bench(chip).until(3.0)
    failures = iter([errno.EREMOTEIO])
    failing = {"status": STATUS, "data": DATA, "setting": SETTING}[which][chip]
    bench.fail = lambda register: next(failures, 0) if register == failing else 0
    bench.until(6.0)
    assert bench.named() == []
    assert bench.driver.counts["nack"] == 1
    assert bench.gaps() == 0
    assert max(b.t_measured_s - a.t_measured_s for a, b in pairwise(bench.samples(2.0))) < 0.0115


@BOTH
def test_bursts_of_failed_transfers(chip):
    """With one transfer in five failing, samples still come, in order, and nearly all"""
    bench = Bench(chip).until(1.0)
    luck = Random(5)
    bench.fail = lambda _register: errno.EREMOTEIO if luck.random() < 0.2 else 0
    bench.until(20.0)
    bench.check_order()
    assert len(bench.samples()) > 0.88 * RATE_HZ[chip] * 19


def test_bytes_that_left_on_the_way():
    """A burst that broke off in its middle, its first bytes gone: one gap, no shifted sample"""
    bench = Bench().until(3.0)
    failures = iter([True])

    def fail(register: int) -> int:
        if register == 0x74 and next(failures, False):
            del bench.twin._fifo[:17]
            return errno.EIO
        return 0

    bench.fail = fail
    bench.until(6.0)
    bench.check_order()
    assert bench.gaps() == 1
    assert max(math.dist(sample.accel_m_s2, (0.0, 0.0, G)) for sample in bench.samples()) < 0.3


@pytest.mark.parametrize("chip_id", [0x00, 0x12, 0x69, 0x6C, 0xFF])
def test_other_chip_is_refused(chip_id):
    """Something else at the address is named with what it says"""
    bench = Bench(chip_id=chip_id).until(0.5)
    assert {error.fault for _, error in bench.run.errors} == {"wrong_chip"}
    assert f"0x{chip_id:02X}" in bench.run.errors[0][1].detail


@pytest.mark.parametrize("chip_id", [0x70, 0x71, 0x72, 0x73, 0x98])
def test_relative_is_used_with_a_word(caplog, chip_id):
    """A relative works, low-pass of its acceleration set as well; what it is stands in the log, once"""
    with caplog.at_level(logging.WARNING):
        bench = Bench("mpu6050", "imu:off@2-3", chip_id=chip_id).until(6.0)
    assert f"WHO_AM_I 0x{chip_id:02X}" in bench.driver.found
    assert caplog.text.count(f"0x{chip_id:02X}") == 1
    assert len(bench.samples(4.0)) > 190
    assert bench.twin._registers[0x1D] == 3


def test_true_chip_needs_no_word(caplog):
    """An MPU-6050 says what it is, and nothing is logged"""
    bench = Bench().until(1.0)
    assert bench.driver.found == "MPU-6050 (WHO_AM_I 0x68)"
    assert caplog.records == []


@pytest.mark.parametrize("register", [0x19, 0x1A, 0x1B, 0x1C, 0x38, 0x6B])
def test_register_that_does_not_keep_is_garbage(register):
    """A setting that does not read back is an error that names the register"""
    bench = Bench()

    def forgetful(data: bytes, first: int) -> bytes:
        if not first <= register < first + len(data) or bench.clock.now() < 0.1001:
            return data
        return data[: register - first] + b"\x15" + data[register - first + 1 :]

    bench.spoil = forgetful
    bench.until(0.5)
    assert {error.fault for _, error in bench.run.errors} == {"garbage"}
    assert f"0x{register:02X}" in bench.run.errors[0][1].detail


@BOTH
def test_reset_that_never_ends_is_garbage(chip):
    """A chip that stays in reset is given up, and tried again"""
    bench = Bench(chip)
    register, value = {"lsm6dsox": (0x12, b"\x01"), "mpu6050": (0x6B, b"\x80")}[chip]
    bench.spoil = lambda data, at: value if at == register else data
    bench.until(0.5)
    assert bench.run.errors[0][1].fault == "garbage"
    assert bench.run.errors[0][0] < 0.35


@BOTH
@pytest.mark.parametrize("at_s", [3.0, 3.3, 3.6, 3.9])
def test_brown_out_is_mended(chip, at_s):
    """A chip that was reset by its supply (an MPU-6050 sleeps then) works within 0.5 s, one gap, nothing named"""
    bench = Bench(chip).until(at_s)
    bench.twin.power_cycle(bench.clock.now())
    bench.until(7.0)
    assert bench.named() == []
    assert bench.samples(at_s + 0.06)[0].gap
    assert bench.samples(at_s + 0.06)[0].t_received_s < at_s + 0.5
    assert bench.gaps() == 1
    bench.check_order()
    assert bench.driver.counts["chip_reset"] == 1


@pytest.mark.parametrize(("register", "value"), [(0x1C, 0x00), (0x1B, 0x00), (0x19, 0x08), (0x23, 0x70), (0x6B, 0x41)])
def test_setting_that_changes_is_set_again(register, value):
    """A setting that is lost while the chip goes on, or that sends it to sleep, is noticed and set again"""
    bench = Bench().until(3.3)
    before = bench.twin._registers[register]
    bench.twin._registers[register] = value
    bench.until(5.0)
    assert bench.twin._registers[register] == before
    assert bench.driver.counts["chip_reset"] + bench.driver.counts["overrun"] >= 1
    assert bench.named() == []
    assert max(math.dist(sample.accel_m_s2, (0.0, 0.0, G)) for sample in bench.samples(4.6)) < 0.3


@BOTH
@pytest.mark.parametrize("byte", [b"\x00", b"\xff"])
def test_garbage_of_the_fifo_is_named(chip, byte):
    """A FIFO of nothing but ones or zeroes, counts and settings right, is named within 0.5 s and gives no sample"""
    bench = Bench(chip).until(3.0)
    bench.spoil = lambda data, register: byte * len(data) if register == DATA[chip] else data
    bench.until(5.0)
    assert bench.faults() == [("garbage", True)]
    assert bench.named()[0][0] < 3.5
    assert bench.samples(3.1) == []
    bench.spoil = lambda data, _register: data
    bench.until(7.0)
    assert bench.faults() == [("garbage", True), ("garbage", False)]
    assert len(bench.samples(6.0)) > 95


def test_fifo_that_is_always_full_is_named():
    """A count that stands at the end, whatever is emptied, is named within 0.5 s"""
    bench = Bench().until(3.0)
    bench.spoil = lambda data, register: b"\x04\x00" if register == 0x72 else data
    bench.until(5.0)
    assert bench.faults() == [("garbage", True)]
    assert bench.named()[0][0] < 3.5


# ------------------------------------------------------------------------------------------- late samples


@BOTH
def test_late_from_the_start_is_named(chip):
    """Samples that have come late ever since the start are noticed, too: by what the chip measures now"""
    bench = Bench(chip, "imu:delayed").until(4.0)
    assert bench.named()
    assert bench.named()[0][0] < 2.5
    assert bench.samples(2.5) == []


@BOTH
def test_chip_whose_registers_differ_from_its_fifo_is_not_blamed(chip):
    """Output registers that never agree with the FIFO prove nothing: samples go on, nothing is named"""
    bench = Bench(chip)
    luck = Random(3)
    output = {"lsm6dsox": 0x22, "mpu6050": 0x3B}[chip]
    bench.spoil = lambda data, register: luck.randbytes(len(data)) if register == output else data
    bench.until(20.0)
    assert bench.named() == []
    assert bench.gaps() == 0


@pytest.mark.slow
@BOTH
def test_looks_that_are_far_apart_make_nothing_late(chip):
    """At the slowest polling, nothing is named in two minutes, wherever the samples lie between the looks"""
    bench = Bench(chip, config={"poll_s": 0.2}, clock_error=0.0123).until(120.0)
    assert bench.named() == []
    assert bench.gaps() == 0


def test_one_late_find_is_no_proof():
    """Two late finds in a row make the samples late, two finds in time make them good again"""
    watch = DelayWatch()
    pair = (1, (1, 2, 3), (4, 5, 6), False)
    lateness = []
    for number, delay_s in enumerate((0.3, 0.0, 0.3, 0.3, 0.0, 0.0)):
        watch.hurry()
        assert watch.wanted(number)
        watch.take((pair[1], pair[2]), number)
        for _ in range(3 if delay_s else 0):
            watch.search([], number + 0.01, emptied=True)
        watch.search([pair], number + delay_s, emptied=True)
        lateness.append(watch.late)
    assert lateness == [1, 0, 1, 2, 1, 0]


# -------------------------------------------------------------------------------------------- properties


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rate=st.floats(0.0, 1.0),
    clock_error=st.floats(-0.07, 0.07),
    chip_id=st.sampled_from([0x68, 0x70]),
)
def test_nothing_impossible_leaves_the_driver(seed, rate, clock_error, chip_id):
    """Whatever the bytes are: samples are in range and in order, only expected errors are raised, and it recovers"""
    luck = Random(seed)
    bench = Bench(clock_error=clock_error, chip_id=chip_id)

    def spoil(data: bytes, register: int) -> bytes:
        if register == 0x72 or not data or luck.random() > rate:
            return data  # a count that lies would make the strict twin refuse what a real chip answers with old bytes
        kind = luck.randrange(4)
        if kind == 0:
            return luck.randbytes(len(data))
        if kind == 1:
            return bytes((luck.choice((0, 255)),)) * len(data)
        if kind == 2:
            return data[: luck.randrange(len(data) + 1)]
        at = luck.randrange(len(data))
        return data[:at] + luck.randbytes(1) + data[at + 1 :]

    bench.spoil = spoil
    bench.fail = lambda _register: luck.choice((5, 11, 110, 121)) if luck.random() < rate / 20 else 0
    bench.until(3.0)
    bench.check_order()
    for sample in bench.samples():
        assert max(map(abs, sample.accel_m_s2)) <= 16 * G + 1e-9
        assert max(map(abs, sample.gyro_rad_s)) <= math.radians(32768 / 16.4) + 1e-9
    bench.spoil = lambda data, _register: data
    bench.fail = lambda _register: 0
    bench.until(7.0)
    assert len(bench.samples(6.0)) > 85
    assert [active for _, active in bench.faults()][-1:] in ([], [False])
