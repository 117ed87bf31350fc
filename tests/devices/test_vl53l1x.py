"""The VL53L1X driver on its strict twin: what a status means, light, time, address, and each fault named in time."""

from __future__ import annotations

import errno
import math
from itertools import pairwise
from random import Random

import pytest
from tests.devices.bench import Run, VirtualClock

from retrowalk.config import Vl53l1x
from retrowalk.core.samples import HealthReport, RangeSample, RangeStatus
from retrowalk.devices.vl53l1x import BLOCK, LONG, SHORT, Vl53l1xDriver, surely_seen_m
from retrowalk.sim.chips.vl53l1x import Vl53l1xTwin
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.i2c import SimBus
from retrowalk.sim.noise import Scene, Target
from retrowalk.sim.tof import Shot, Sight, TofModel

VALID, NO_TARGET, UNTRUSTED, REJECTED = (
    RangeStatus.VALID,
    RangeStatus.NO_TARGET,
    RangeStatus.UNTRUSTED,
    RangeStatus.REJECTED,
)
SHADE_KCPS = 8.0


class Chip:
    """A model that says what the test wants: `status` and `range_m`, with a little noise; None: what is there."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.range_m = 1.0
        self.still = False
        self.made: list[tuple[float, float]] = []
        """When each measurement could first be read, and its middle."""
        self._real = TofModel(1)
        self._noise = Random(1)

    def shot(self, sight, mode, *, field_deg, spads) -> Shot:
        if self.status is None:
            return self._real.shot(sight, mode, field_deg=field_deg, spads=spads)
        noise = 0.0 if self.still else self._noise.uniform(-1.0, 1.0)
        range_m = self.range_m + 0.004 * noise if self.range_m > 0.1 else self.range_m
        ambient_kcps = sight.ambient_kcps * 200.0 * (1.0 + 0.05 * noise)
        return Shot(self.status, range_m, 0.01, 8000.0 + 300.0 * noise, ambient_kcps, 200.0)


class Bench:
    def __init__(self, *faults: str, config: Vl53l1x | None = None, wall_m=1.0, light=SHADE_KCPS, **options) -> None:
        self.clock = VirtualClock()
        self.targets = [Target("wall", wall_m)] if math.isfinite(wall_m) else []
        self.light = light
        self.model = Chip()
        broken = Faults(Fault.parse(text) for text in faults)
        self.twin = Vl53l1xTwin(self._look, 1, model=self.model, faults=broken, **options)
        self.bus = SimBus(self.clock, {0x29: self.twin}, broken)
        self.transfers: list[tuple[float, int, bytes, int]] = []
        self.spoil = lambda data, _index: data
        self.fail = lambda _index: 0
        self.driver = Vl53l1xDriver(config or Vl53l1x(), self, self.clock)
        self.run = Run(self.driver, self.clock)

    def _look(self, t_s) -> Sight:
        self.model.made.append((self.clock.now(), t_s))
        return Sight(Scene(self.targets, nose_down_deg=-90.0), self.light)

    def transfer(self, address, write, read) -> bytes:
        index = write[0] << 8 | write[1]
        self.transfers.append((self.clock.now(), index, write[2:], read))
        number = self.fail(index)
        if number:
            raise OSError(number, "transfer failed")
        data = self.bus.transfer(address, write, read)
        return self.spoil(data, index) if read else data

    def close(self) -> None:
        pass

    def until(self, t_s) -> Bench:
        self.run.until(t_s)
        return self

    def samples(self, since_s=0.0, *statuses: RangeStatus) -> list[RangeSample]:
        return [s for s in self.run.of(RangeSample, since_s) if not statuses or s.status in statuses]

    def named(self) -> list[tuple[float, str]]:
        """When each fault was named, by an error or a report."""
        reports = [(r.t_received_s, r.fault) for r in self.run.of(HealthReport) if r.active]
        return sorted(reports + [(t_s, error.fault) for t_s, error in self.run.errors])

    def longest_gap_s(self, since_s: float = 0.5) -> float:
        times: list[float] = [since_s, *(s.t_received_s for s in self.samples(since_s)), self.clock.now()]
        return max(b - a for a, b in pairwise(times))


def _check(samples) -> None:
    """What holds of all samples, whatever the chip does."""
    for sample in samples:
        assert (sample.range_m is not None) == (sample.status is VALID)
        assert sample.range_m is None or 0.0 < sample.range_m <= 4.0
        assert sample.t_measured_s <= sample.t_received_s
    assert all(a.t_measured_s < b.t_measured_s for a, b in pairwise(samples))
    assert all(a.t_received_s < b.t_received_s for a, b in pairwise(samples))


# ------------------------------------------------------------------------------------------------ values


def test_range_is_the_register_as_it_is():
    """1234 in the register is 1.234 m: the factor 2011/2048 of the full driver is not applied"""
    bench = Bench()
    bench.model.status, bench.model.range_m, bench.model.still = 9, 1.234, True
    bench.until(0.5)
    assert bench.samples()[0].range_m == pytest.approx(1.234, abs=1e-9)
    assert bench.samples()[0].strength == pytest.approx(8000.0, abs=8.0)


def test_samples_come_at_the_clips_pace():
    """From 0.2 s on there is a sample every 48 ms, each of a measurement of its own, and nothing is named"""
    bench = Bench().until(10.0)
    samples = bench.samples()
    _check(samples)
    assert samples[0].t_received_s < 0.2
    assert len(samples) == pytest.approx(9.85 / 0.048, abs=3)
    assert {s.status for s in samples} == {VALID}
    assert bench.named() == []
    assert bench.driver.counts["missed"] == 0


def test_a_look_costs_three_transfers():
    """A look is "is it ready", one burst of 17 bytes with range, signal, sigma and light, and the interrupt's clear"""
    bench = Bench().until(0.9)
    looks = [(index, write, read) for t_s, index, write, read in bench.transfers if t_s > 0.2]
    assert looks[:3] == [(0x0031, b"", 1), (0x0089, b"", 17), (0x0086, b"\x01", 0)]
    assert looks == looks[:3] * (len(looks) // 3)


def test_the_bus_stays_free():
    """The set-up goes in one burst of 2.2 ms; ranging takes less than 2 % of the bus"""
    bench = Bench().until(1.0)
    assert bench.bus.longest_s[0x29] < 0.0022
    before_s = bench.bus.busy_s[0x29]
    bench.until(11.0)
    assert (bench.bus.busy_s[0x29] - before_s) / 10.0 < 0.02


def test_the_makers_settings_are_whole():
    """The block has a byte for every index from 0x002D to 0x0087, and does not start ranging by itself"""
    assert len(BLOCK) == 0x0087 - 0x002D + 1
    assert BLOCK[-1] == 0x00


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(9, VALID, id="9 complete"),
        pytest.param(22, VALID, id="22 two targets merged"),
        pytest.param(8, VALID, id="8 clipped: touching"),
        pytest.param(4, NO_TARGET, id="4 too little signal, in shade"),
        pytest.param(6, UNTRUSTED, id="6 too noisy"),
        pytest.param(5, UNTRUSTED, id="5 beyond the mode's phases"),
        pytest.param(7, UNTRUSTED, id="7 wrapped round"),
        pytest.param(12, UNTRUSTED, id="12 crosstalk"),
        pytest.param(13, UNTRUSTED, id="13 clipped by the region"),
        pytest.param(23, UNTRUSTED, id="23 no target before"),
        pytest.param(1, "broken", id="1 laser continuity"),
        pytest.param(2, "broken", id="2 laser watchdog"),
        pytest.param(3, "broken", id="3 no bias voltage"),
        pytest.param(17, "broken", id="17 laser clipped"),
        pytest.param(10, "garbage", id="10 underflow"),
        pytest.param(11, "garbage", id="11 overflow"),
        pytest.param(18, "frozen", id="18 synchronisation"),
        pytest.param(0, "frozen", id="0 no update"),
        pytest.param(31, "frozen", id="31 unknown"),
    ],
)
def test_status_decides_what_a_sample_means(status, expected):
    """Whatever stands in the range register, the chip's status says whether it is one; a failed part is named"""
    bench = Bench()
    bench.model.status = status
    bench.until(1.5)
    if isinstance(expected, RangeStatus):
        assert {s.status for s in bench.samples()} == {expected}
        assert len(bench.samples()) > 25
        assert bench.named() == []
    else:
        assert bench.samples() == []
        assert bench.named()[0][1] == expected
        assert bench.named()[0][0] < 0.5
    _check(bench.samples())


def test_first_sample_may_lack_the_wrap_check():
    """Status 19 counts on the first sample after a start and on no later one"""
    bench = Bench()
    bench.model.status = 19
    bench.until(1.0)
    assert [s.status for s in bench.samples()] == [VALID] + [UNTRUSTED] * (len(bench.samples()) - 1)
    assert len(bench.samples()) > 10


@pytest.mark.parametrize(
    ("status", "range_m", "expected", "reads_m"),
    [
        pytest.param(8, 0.02, VALID, 0.02, id="clipped at 2 cm"),
        pytest.param(8, 0.0, VALID, 0.04, id="clipped at nothing"),
        pytest.param(8, -0.03, VALID, 0.04, id="clipped below nothing"),
        pytest.param(8, 2.0, VALID, 0.04, id="clipped, with a number of no meaning"),
        pytest.param(9, 0.0, REJECTED, None, id="nothing at all"),
        pytest.param(9, -0.03, REJECTED, None, id="below nothing"),
        pytest.param(9, 3.7, NO_TARGET, None, id="beyond what is believed"),
    ],
)
def test_ranges_that_are_none(status, range_m, expected, reads_m):
    """What is clipped is touched; zero and less are no ranges; beyond `range_max_m` nothing is there"""
    bench = Bench()
    bench.model.status, bench.model.range_m = status, range_m
    bench.until(0.6)
    assert {s.status for s in bench.samples()} == {expected}
    if reads_m is not None:
        assert bench.samples()[0].range_m == pytest.approx(reads_m, abs=0.005)


def test_the_stream_count_wraps_to_128():
    """Over more than 256 samples the count goes from 255 to 128, and no sample is lost or told twice for it"""
    bench = Bench().until(25.0)
    assert len(bench.samples()) > 400
    assert bench.driver.counts["missed"] == bench.driver.counts["stale"] == 0
    assert bench.longest_gap_s() < 0.06


# -------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize("holds", [True, False], ids=["waits for the clear", "ranges on"])
@pytest.mark.parametrize("clock_error", [-0.06, -0.03, 0.0, 0.03, 0.06])
def test_time_is_the_middle_of_the_measurement(clock_error, holds):
    """With the chip's clock up to 6 % off, each look finds a new sample, and its time is that of its middle to 30 ms"""
    bench = Bench(clock_error=clock_error, holds=holds).until(10.0)
    samples = bench.samples()
    _check(samples)
    assert len(samples) == pytest.approx(9.85 / 0.048, abs=3)
    errors = []
    for sample in samples:
        middle_s = max(middle_s for made_s, middle_s in bench.model.made if made_s < sample.t_received_s + 0.001)
        errors.append(sample.t_measured_s - middle_s)
    assert max(map(abs, errors)) < 0.030
    assert abs(sum(errors) / len(errors)) < 0.015


def test_what_has_waited_is_thrown_away():
    """After 3 s without a look the measurement that waits is old: it is not given, and time is not stretched"""
    bench = Bench().until(2.0)
    bench.run._due_s = 5.0
    bench.until(6.0)
    after = bench.samples(5.0)
    assert bench.driver.counts["old"] == 1
    assert after[0].t_measured_s > 4.99
    assert after[0].t_received_s < 5.2
    assert bench.named() == []


# ------------------------------------------------------------------------------------------------- light


@pytest.mark.parametrize(
    ("light", "clear_range_m", "expected"),
    [
        pytest.param(0.05, 1.3, NO_TARGET, id="dark"),
        pytest.param(0.8, 1.3, NO_TARGET, id="a room"),
        pytest.param(8.0, 1.3, NO_TARGET, id="deep shade"),
        pytest.param(20.0, 1.3, UNTRUSTED, id="too light for 1.3 m"),
        pytest.param(20.0, 1.0, NO_TARGET, id="and not for 1.0 m"),
        pytest.param(0.05, 2.0, UNTRUSTED, id="nobody is surely seen at 2 m"),
        pytest.param(200.0, 1.3, UNTRUSTED, id="at a window"),
        pytest.param(3000.0, 0.5, UNTRUSTED, id="sun"),
    ],
)
def test_nothing_seen_is_clear_only_in_the_dark(light, clear_range_m, expected):
    """Nothing came back: "no target" only where the light would leave a person visible as far as is called clear"""
    bench = Bench(config=Vl53l1x(clear_range_m=clear_range_m), wall_m=math.inf, light=light).until(5.0)
    assert {s.status for s in bench.samples()} == {expected}
    assert len(bench.samples()) > 90


@pytest.mark.parametrize("light", [0.3, 3.0, 12.0])
def test_a_person_is_seen_where_the_path_is_called_clear(light):
    """Somebody in fleece at 1.1 m is seen in any light in which an empty path counts as clear to 1.3 m"""
    bench = Bench(light=light)
    bench.targets = [Target("person_fleece", 1.1)]
    bench.until(5.0)
    assert len(bench.samples(0.0, VALID)) > 0.8 * len(bench.samples())


@pytest.mark.parametrize("mode", [SHORT, LONG], ids=lambda mode: mode.name)
def test_more_light_never_lets_it_see_farther(mode):
    """The distance that is surely seen falls with the light, and never grows"""
    reaches = [surely_seen_m(mode, 10.0 ** (i / 5)) for i in range(-10, 25)]
    assert all(a >= b for a, b in pairwise(reaches))


@pytest.mark.parametrize(
    ("light", "name"), [pytest.param(0.1, "long", id="dark"), pytest.param(50.0, "short", id="light")]
)
def test_the_light_at_the_start_chooses_the_mode(light, name):
    """The first measurement, of the set-up, already says which mode to begin with"""
    bench = Bench(light=light).until(0.3)
    assert bench.driver.mode.name == name
    assert bench.samples()


def test_the_mode_follows_the_light():
    """Out of the dark it ranges in short mode, back in it in long mode; each change costs less than 0.2 s"""
    bench = Bench(light=0.1).until(5.0)
    bench.light = 20.0
    bench.until(10.0)
    assert bench.driver.mode is SHORT
    bench.light = 0.1
    bench.until(15.0)
    assert bench.driver.mode is LONG
    assert bench.driver.counts["to_short"] == bench.driver.counts["to_long"] == 1
    assert bench.longest_gap_s() < 0.2
    assert bench.named() == []


def test_leaves_do_not_change_the_mode_at_every_look():
    """Light that changes ten times a second changes the mode at most every 2 s; light between the limits never does"""
    bench = Bench(light=0.7).until(5.0)
    assert bench.driver.counts["to_short"] + bench.driver.counts["to_long"] == 0
    for step in range(200):
        bench.light = 40.0 if step // 10 % 2 else 0.05
        bench.until(5.0 + 0.1 * step)
    assert 0 < bench.driver.counts["to_short"] + bench.driver.counts["to_long"] <= 10


# ----------------------------------------------------------------------------------------------- address


def test_another_address_is_given_at_the_start():
    """A sensor at its maker's address is moved to the configured one, and looked for there"""
    bench = Bench(config=Vl53l1x(address=0x31)).until(2.0)
    assert bench.twin.address == 0x31
    assert bench.driver.counts["moved"] == 1
    assert len(bench.samples()) > 35
    assert bench.named() == []


def test_a_sensor_that_answers_is_not_moved():
    """Where the configured address answers, whatever is at 0x29 stays there"""
    bench = Bench(config=Vl53l1x(address=0x31))
    bench.twin.address = 0x31
    other = Vl53l1xTwin(lambda t: Sight(Scene([]), 1.0), 2)
    bench.bus._chips[0x2A] = other
    other.address = 0x29
    bench.until(1.0)
    assert other.address == 0x29
    assert other.measurements == 0
    assert len(bench.samples()) > 15


def test_a_stranger_at_0x29_is_not_moved():
    """Another chip at 0x29 is named, and nothing is written to it"""
    bench = Bench("tof:wrong", config=Vl53l1x(address=0x31)).until(1.0)
    assert {fault for _, fault in bench.named()} == {"wrong_chip"}
    assert [write for _, _, write, _ in bench.transfers if write] == []


# ------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("fault", "names", "within_s", "back_s"),
    [
        pytest.param("tof:off@2-4", "absent", 0.25, 0.5, id="unplugged"),
        pytest.param("bus:stuck@2-4", "absent", 0.25, 0.5, id="bus stuck"),
        pytest.param("tof:garbage@2-4", "wrong_chip", 0.3, 0.6, id="garbage"),
        pytest.param("tof:wrong@2-4", "wrong_chip", 0.3, 0.6, id="wrong chip"),
        pytest.param("tof:stuck@2-4", "frozen", 0.5, 1.0, id="frozen count"),
        pytest.param("tof:broken@2-4", "broken", 0.3, 0.6, id="laser"),
        pytest.param("tof:slow@2-4", "slow", 1.0, 0.8, id="slow"),
        pytest.param("tof:delayed@2-4", "slow", 0.5, 0.8, id="delayed"),
    ],
)
def test_fault_is_named_and_ends(fault, names, within_s, back_s):
    """A fault is named within its time, no valid sample comes while it is named, and ranging goes on after it"""
    bench = Bench(fault).until(8.0)
    first_s, first = bench.named()[0]
    assert first == names
    assert 2.0 < first_s < 2.0 + within_s
    assert {name for _, name in bench.named()} == {names}
    assert [s for s in bench.samples(first_s, VALID, NO_TARGET) if s.t_received_s < 4.0] == []
    assert bench.samples(4.0, VALID)[0].t_received_s < 4.0 + back_s
    assert bench.longest_gap_s(4.0 + back_s) < 0.1
    reports = bench.run.of(HealthReport)
    assert [r.active for r in reports] == [True, False] * (len(reports) // 2)
    _check(bench.samples())


@pytest.mark.parametrize(
    ("fault", "statuses"),
    [
        pytest.param("tof:sun@2-4", {UNTRUSTED}, id="sun"),
        pytest.param("tof:wrap@2-4", {UNTRUSTED}, id="wrapped"),
        pytest.param("tof:weak@2-4", {NO_TARGET}, id="target too dark"),
    ],
)
def test_doubt_is_in_the_samples(fault, statuses):
    """In the sun and with false near ranges every sample is doubtful; a target too dark to see is nothing seen"""
    bench = Bench(fault).until(4.0)
    assert {s.status for s in bench.samples(2.1)} == statuses
    assert bench.longest_gap_s() < 0.1
    assert bench.named() == []


def test_absent_from_the_start_is_named_and_found_later():
    """Nobody answers: named at once, asked again five times a second, and ranging 0.4 s after it is plugged in"""
    bench = Bench("tof:off@0-3").until(5.0)
    assert {fault for _, fault in bench.named()} == {"absent"}
    assert bench.named()[0][0] == pytest.approx(0.0, abs=0.001)
    assert "0x29" in bench.run.errors[0][1].detail
    assert len(bench.run.errors) == pytest.approx(15, abs=1)
    assert bench.samples()[0].t_received_s < 3.4


def test_a_loose_wire_is_named_each_time():
    """Contact that comes and goes is named absent while it is gone"""
    bench = Bench("tof:intermittent@2").until(8.0)
    assert {fault for _, fault in bench.named()} == {"absent"}
    assert bench.named()[0][0] < 2.6
    _check(bench.samples())


@pytest.mark.parametrize("fault", ["tof:nack@1", "bus:nack@1"])
def test_refused_transfers_are_ridden_out(fault):
    """Bursts of 30 ms without acknowledge cost no sample more than 0.1 s, and nothing is named"""
    bench = Bench(fault).until(10.0)
    assert bench.driver.counts["nack"] > 10
    assert bench.named() == []
    assert bench.longest_gap_s() < 0.15
    _check(bench.samples())


def test_set_up_in_bursts_of_refusals_comes_to_its_end():
    """With every fourth transfer refused the set-up still ends, and samples come"""
    bench = Bench()
    refuse = Random(4)
    bench.fail = lambda _index: errno.EREMOTEIO if refuse.random() < 0.25 else 0
    bench.until(10.0)
    assert len(bench.samples()) > 60
    _check(bench.samples())


@pytest.mark.parametrize(
    ("at", "identity", "says"),
    [
        pytest.param(0x010F, b"\xeb\xaa\x10", "VL53L4CD", id="VL53L4CD"),
        pytest.param(0x010F, b"\xea\xaa\x10", "VL53L3CX", id="VL53L3CX"),
        pytest.param(0x010F, b"\xea\xcc\x20", "mask revision 0x20", id="another revision"),
        pytest.param(0x010F, b"\xff\xff\xff", "loose", id="nothing but ones"),
        pytest.param(0x010F, b"\x00\x00\x00", "no VL53L1X", id="nothing but zeroes"),
    ],
)
def test_what_is_no_vl53l1x_is_refused_by_name(at, identity, says):
    """A clone, a relative or another revision is named with what it says of itself, and never set up"""
    bench = Bench()
    bench.spoil = lambda data, index: identity if index == at else data
    bench.until(1.0)
    assert {error.fault for _, error in bench.run.errors} == {"wrong_chip"}
    assert says in bench.run.errors[0][1].detail
    assert [write for _, _, write, _ in bench.transfers if write] == []


def test_another_chip_put_in_its_place_is_noticed():
    """While it ranges it is asked every second who it is"""
    bench = Bench().until(2.0)
    bench.spoil = lambda data, index: b"\xea\xaa\x10" if index == 0x010F else data
    bench.until(3.2)
    assert bench.named()[0][1] == "wrong_chip"


def test_settings_that_are_not_kept_are_garbage():
    """A chip whose timing reads back otherwise than written is named, and not used"""
    bench = Bench()
    bench.spoil = lambda data, index: bytes(len(data)) if index == 0x005E else data
    bench.until(1.0)
    assert {fault for _, fault in bench.named()} == {"garbage"}
    assert bench.samples() == []


def test_a_chip_that_does_not_boot_is_absent():
    """Half a second after its reset it must have booted; who waits for that is not asked more than every 3 ms"""
    bench = Bench()
    bench.spoil = lambda data, index: b"\x00" if index == 0x00E5 else data
    bench.until(2.0)
    assert {fault for _, fault in bench.named()} == {"absent"}
    assert bench.named()[0][0] < 0.6
    assert len([index for _, index, _, _ in bench.transfers if index == 0x00E5]) < 2.0 / 0.003


@pytest.mark.parametrize("status", [9, 4], ids=["a target", "no target"])
def test_same_range_and_signal_for_ever_are_frozen(status):
    """A chip that counts on but repeats itself is named within 1.5 s, and gives no sample from then on"""
    bench = Bench().until(2.0)
    bench.model.status, bench.model.still = status, True
    bench.until(6.0)
    assert bench.named()[0][1] == "frozen"
    assert bench.named()[0][0] < 3.5
    assert bench.samples(bench.named()[0][0] + 0.1) == []
    bench.model.still = False
    bench.until(8.0)
    assert len(bench.samples(7.0)) > 15


def test_one_failed_measurement_is_no_fault():
    """A single hardware status among good samples costs that sample only"""
    bench = Bench()
    for at_s in (1.0, 2.0, 3.0):
        bench.clock.at(at_s, lambda: setattr(bench.model, "status", 2))
        bench.clock.at(at_s + 0.06, lambda: setattr(bench.model, "status", None))
    bench.until(4.0)
    assert bench.driver.counts["laser_watchdog"] >= 3
    assert bench.named() == []
    assert bench.longest_gap_s() < 0.2


@pytest.mark.parametrize("address", [0x29, 0x31], ids=["where it was made", "moved"])
@pytest.mark.parametrize("at_s", [2.0, 2.01, 2.02, 2.03, 2.04])
def test_a_brown_out_is_mended(at_s, address):
    """A chip that forgets everything, its address too, ranges again within 0.4 s; nothing is named, the gap is one"""
    bench = Bench(f"tof:reboot@{at_s}-{at_s + 0.5}", config=Vl53l1x(address=address)).until(5.0)
    assert bench.named() == []
    assert 0.1 < bench.longest_gap_s() < 0.4
    assert bench.longest_gap_s(2.6) < 0.06
    _check(bench.samples())


@pytest.mark.parametrize("seed", range(6))
def test_spoilt_bytes_never_end_the_driver(seed):
    """Whatever bytes come, nothing but a `SensorError` leaves the driver, and every sample has its form"""
    bench = Bench()
    draw = Random(seed)

    def spoil(data, index):
        if draw.random() > 0.15:
            return data
        kind = draw.randrange(4)
        return [draw.randbytes(len(data)), bytes(len(data)), b"\xff" * len(data), data[: len(data) // 2]][kind]

    bench.spoil = spoil
    bench.until(20.0)
    assert bench.samples()
    _check(bench.samples())
