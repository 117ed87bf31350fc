"""The TF-Luna driver: what each answer means, what each fault is called and when, and that nothing VALID is a lie."""

from __future__ import annotations

import errno
import math
import re
import struct
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.devices.bench import Run, VirtualClock
from tests.sim.helpers import Rig

from retrowalk.config import TfLuna
from retrowalk.core.samples import HealthReport, RangeSample, RangeStatus
from retrowalk.devices.tfluna import NEAR_M, TfLunaDriver
from retrowalk.sim.chips.tfluna import TfLunaTwin
from retrowalk.sim.i2c import SimBus
from retrowalk.sim.light import NOTHING, Spot

VALID, NO_TARGET, UNTRUSTED, REJECTED = (
    RangeStatus.VALID,
    RangeStatus.NO_TARGET,
    RangeStatus.UNTRUSTED,
    RangeStatus.REJECTED,
)
SETTINGS = {0x22, 0x23, 0x26, 0x27, 0x28, *range(0x2A, 0x32)}


def swaying(t_s: float) -> Spot:
    """Something bright 1.5 to 3.5 m away, nearing and leaving at up to 1.3 m/s."""
    return Spot(2.5 + math.sin(1.3 * t_s), 1500.0)


class Bench:
    """The driver on the strict twin; `look` is what the beam meets."""

    def __init__(
        self,
        *faults: str,
        look: Callable[[float], Spot] = swaying,
        config: TfLuna | None = None,
        seed: int = 1,
        **twin: object,
    ) -> None:
        config = config or TfLuna()
        self.rig = Rig(faults=faults)
        self.look = look
        self.twin = TfLunaTwin(lambda t_s: self.look(t_s), seed, faults=self.rig.faults, **twin)  # type: ignore[arg-type]
        self.bus = SimBus(self.rig.clock, {config.address: self.twin}, self.rig.faults)
        self.written: list[tuple[int, bytes]] = []
        transfer = self.bus.transfer

        def watched(address: int, write: bytes, read: int) -> bytes:
            if len(write) > 1:
                self.written.append((write[0], write[1:]))
            return transfer(address, write, read)

        self.bus.transfer = watched  # type: ignore[method-assign]
        self.driver = TfLunaDriver(config, self.bus, self.rig.clock)
        self.rig.run(self.driver)

    def until(self, t_s: float) -> Bench:
        self.rig.scheduler.run_until(t_s)
        return self

    def samples(self, since_s=0.0, until_s=math.inf) -> list[RangeSample]:
        return [i for i in self.rig.items if isinstance(i, RangeSample) and since_s <= i.t_received_s < until_s]

    def statuses(self, since_s=0.0, until_s=math.inf) -> set[RangeStatus]:
        return {sample.status for sample in self.samples(since_s, until_s)}

    def named(self) -> list[tuple[float, str]]:
        """When each fault was named, by an error or a report."""
        reports = [(i.t_received_s, i.fault) for i in self.rig.items if isinstance(i, HealthReport) and i.active]
        return sorted([(t, error.fault) for t, error in self.rig.errors] + reports)

    def details(self) -> str:
        reports = [i.detail for i in self.rig.items if isinstance(i, HealthReport)]
        return "\n".join(reports + [str(error) for _, error in self.rig.errors])

    def lies(self) -> list[RangeSample]:
        """VALID samples that are further from what was there than the unit's error and its noise allow."""
        return [
            s
            for s in self.samples()
            if s.range_m is not None and abs(s.range_m - self.look(s.t_measured_s).range_m) > 0.06 + 5 * 0.01 + 0.02
        ]


class Registers:
    """A module that answers what the test says: `answer` is (distance, amplitude), its tick keeps time."""

    def __init__(self, clock: VirtualClock, answer: tuple[int, int] = (200, 1000)) -> None:
        self.clock = clock
        self.answer = answer
        self.spoil: Callable[[bytes], bytes] = lambda data: data
        self.registers = dict(enumerate(b"\x03\x03\x01", 0x0A)) | dict(enumerate(b"LUNA", 0x3C))
        self.registers |= dict.fromkeys(SETTINGS, 0) | {0x22: 0x10, 0x26: 100, 0x2A: 100, 0x30: 0x20, 0x31: 3}
        self.reads = 0

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        self.clock.pause(25e-6)
        self.registers.update(enumerate(write[1:], write[0]))
        if write[0]:
            return bytes(self.registers[write[0] + i] for i in range(read))
        self.reads += 1
        tick = int(self.clock.now() * 100) * 10 & 0xFFFF
        return self.spoil(struct.pack("<HHhHH", *self.answer, 3100, tick, 0))

    def close(self) -> None:
        """Nothing to release."""


def canned(answer=(200, 1000), config: TfLuna | None = None) -> tuple[Registers, Run]:
    clock = VirtualClock()
    clock.now_s = 5.0
    chip = Registers(clock, answer)
    return chip, Run(TfLunaDriver(config or TfLuna(), chip, clock), clock)


# ------------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize(
    ("distance_cm", "amplitude", "status", "range_m"),
    [
        pytest.param(300, 1000, VALID, 3.0, id="a target"),
        pytest.param(300, 100, VALID, 3.0, id="just strong enough"),
        pytest.param(300, 32768, VALID, 3.0, id="just not the sun"),
        pytest.param(800, 500, VALID, 8.0, id="as far as it is believed"),
        pytest.param(801, 500, NO_TARGET, None, id="farther"),
        pytest.param(0, 20, NO_TARGET, None, id="nothing"),
        pytest.param(0, 99, NO_TARGET, None, id="just too weak"),
        pytest.param(300, 99, NO_TARGET, None, id="weak with a number"),
        pytest.param(65535, 20, NO_TARGET, None, id="minus one, weak"),
        pytest.param(20, 9000, VALID, 0.20, id="as near as it can tell"),
        pytest.param(19, 9000, VALID, NEAR_M, id="in the blind zone"),
        pytest.param(1, 9000, VALID, NEAR_M, id="at the lens"),
        pytest.param(0, 1000, REJECTED, None, id="zero with a good return"),
        pytest.param(65535, 1000, REJECTED, None, id="minus one with a good return"),
        pytest.param(1201, 500, REJECTED, None, id="beyond what it can count"),
        pytest.param(300, 32769, UNTRUSTED, None, id="the sun"),
        pytest.param(300, 65535, UNTRUSTED, None, id="overexposed"),
        pytest.param(0, 65535, UNTRUSTED, None, id="overexposed, no distance"),
        pytest.param(65535, 65535, UNTRUSTED, None, id="overexposed, minus one"),
    ],
)
def test_what_an_answer_means(distance_cm, amplitude, status, range_m):
    """Zero is "nothing" and never "touching"; a contradiction is neither object nor clear; amplitude is the strength"""
    _, run = canned((distance_cm, amplitude))
    run.until(6.0)
    samples = run.of(RangeSample)
    assert len(samples) > 15
    assert {(s.status, s.range_m, s.strength) for s in samples} == {(status, range_m, float(amplitude))}
    assert run.errors == []
    assert run.of(HealthReport) == []


@given(st.integers(0, 65535), st.integers(0, 65535))
@settings(max_examples=60, deadline=None)
def test_no_answer_is_two_things(distance_cm, amplitude):
    """A range if and only if VALID, within what is believed; a good return within reach is never "no target"."""
    _, run = canned((distance_cm, amplitude))
    run.until(5.5)
    (status,) = {s.status for s in run.of(RangeSample)}
    for sample in run.of(RangeSample):
        assert (sample.range_m is not None) == (status is VALID)
        if sample.range_m is not None:
            assert 0.0 < sample.range_m <= 8.0
    if 1 <= distance_cm <= 800 and 100 <= amplitude <= 32768:
        assert status is VALID


@pytest.mark.parametrize("poll_s", [0.01, 0.048, 0.1])
def test_ranges_are_true_and_fresh(poll_s):
    """Every poll gives one range, within the unit's error, of light that flew 5 to 25 ms ago"""
    bench = Bench(config=TfLuna(poll_s=poll_s)).until(10.0)
    samples = bench.samples()
    assert len(samples) == pytest.approx(9.9 / poll_s, rel=0.05)
    assert bench.statuses() == {VALID}
    assert bench.lies() == []
    ages = [s.t_received_s - s.t_measured_s for s in bench.samples(1.0)]
    assert min(ages) >= 0.0
    assert max(ages) < 0.025
    assert bench.named() == []


@pytest.mark.parametrize("clock_error", [-0.03, 0.0, 0.03])
def test_measured_is_when_the_light_flew(clock_error):
    """The time of a sample is the middle of the frame's flashes, early by no more than 2 ms, late by at most 12 ms"""
    flashes: list[float] = []

    def look(t_s: float) -> Spot:
        flashes.append(t_s)
        return swaying(t_s)

    bench = Bench(look=look, clock_error=clock_error).until(20.0)
    middles = sorted({sum(flashes[i : i + 5]) / 5 for i in range(0, len(flashes), 5)})
    given_s = [s.t_measured_s for s in bench.samples(1.0)]
    errors = [t_s - min(middles, key=lambda m: abs(m - t_s)) for t_s in given_s]
    assert min(errors) > -0.002
    assert max(errors) < 0.012


def test_what_is_near_is_not_lost():
    """From 1 m to the lens at walking speed: VALID all the way, then "touching", whatever number the module makes up"""
    bench = Bench(look=lambda t_s: Spot(max(0.05, 1.2 - 0.5 * t_s), 8000.0)).until(4.0)
    samples = bench.samples()
    assert {s.status for s in samples} == {VALID}
    assert {s.range_m for s in samples if s.t_measured_s > 2.4} <= {NEAR_M, 0.20}
    assert max(b.t_received_s - a.t_received_s for a, b in pairwise(samples)) < 0.06


def test_covered_lens_is_no_open_sky():
    """What came up to the lens and then gives no light is UNTRUSTED, until something is seen farther away again"""

    def look(t_s: float) -> Spot:
        if t_s < 2.4:
            return Spot(1.2 - 0.5 * t_s, 8000.0)
        return NOTHING if t_s < 6.0 or t_s > 7.0 else Spot(0.6, 8000.0)

    bench = Bench(look=look).until(8.0)
    assert bench.statuses(2.5, 6.0) == {UNTRUSTED}
    assert bench.statuses(6.1, 6.9) == {VALID}
    assert bench.statuses(7.1) == {NO_TARGET}


def test_coat_that_flaps_leaves_an_open_sky():
    """What appears before the lens out of nothing and goes leaves "no target"."""
    bench = Bench(look=lambda t_s: Spot(0.1, 8000.0) if 2.0 <= t_s < 2.3 else NOTHING).until(4.0)
    assert bench.statuses(2.1, 2.2) == {VALID}
    assert bench.statuses(2.4) == {NO_TARGET}


@pytest.mark.parametrize(("from_m", "to_m"), [(5.0, 1.0), (1.0, 5.0), (0.5, math.inf), (math.inf, 0.8)])
def test_real_jump_costs_no_time(from_m, to_m):
    """Somebody steps in, or away: told with the next poll, confirmed by a second look and not by waiting"""

    def look(t_s: float) -> Spot:
        range_m = from_m if t_s < 3.0 else to_m
        return Spot(range_m, 1500.0) if range_m < math.inf else NOTHING

    bench = Bench(look=look).until(4.0)
    after = bench.samples(3.0 + 0.012)
    assert after[0].t_received_s < 3.07
    if to_m < math.inf:
        assert after[0].range_m == pytest.approx(to_m, abs=0.12)
    else:
        assert after[0].status is NO_TARGET
    assert bench.named() == []


def test_two_on_one_bus_do_not_disturb_each_other():
    """One at 0x10 and one at 0x11: when one breaks, the other goes on without a gap"""
    rig = Rig(faults=["drop:off@3-6"])
    twins = {
        0x10: TfLunaTwin(lambda t: Spot(3.0, 900.0), 1, faults=rig.faults),
        0x11: TfLunaTwin(lambda t: Spot(1.3, 900.0), 1, part="drop", at=0x11, faults=rig.faults),
    }
    bus = SimBus(rig.clock, twins, rig.faults)
    for config in (TfLuna(), TfLuna(name="drop", role="dropoff", address=0x11)):
        rig.run(TfLunaDriver(config, bus, rig.clock))
    rig.scheduler.run_until(9.0)
    ranges: dict[str, list[RangeSample]] = {"lidar": [], "drop": []}
    for item in rig.items:
        if isinstance(item, RangeSample):
            ranges[item.sensor].append(item)
    assert len(ranges["lidar"]) > 180
    assert all(s.range_m == pytest.approx(3.0, abs=0.12) for s in ranges["lidar"])
    assert all(s.range_m == pytest.approx(1.3, abs=0.12) for s in ranges["drop"])
    assert not [s for s in ranges["drop"] if 3.05 < s.t_received_s < 6.0]
    assert any(s.t_received_s > 6.5 for s in ranges["drop"])
    assert {error.fault for _, error in rig.errors} == {"absent"}
    assert all("0x11" in error.detail for _, error in rig.errors)


# ------------------------------------------------------------------------------------------------- faults

FAULTS = [
    # broken from 4 s to 8 s; what it is called, within how long, what samples come meanwhile
    pytest.param("lidar:off", {"absent"}, 0.25, set(), id="unplugged"),
    pytest.param("lidar:intermittent", {"absent"}, 0.6, {VALID}, id="loose wire"),
    pytest.param("lidar:nack", set(), 0.0, {VALID}, id="bursts of refused transfers"),
    pytest.param("lidar:garbage", {"garbage", "wrong_chip"}, 0.45, set(), id="every byte 0xFF"),
    pytest.param("lidar:wrong", {"garbage", "wrong_chip"}, 0.45, set(), id="another chip"),
    pytest.param("lidar:stuck", {"frozen"}, 0.45, set(), id="the same measurement for ever"),
    pytest.param("lidar:torn", set(), 0.0, {VALID}, id="torn reads"),
    pytest.param("lidar:slow", {"slow"}, 1.2, set(), id="one measurement in ten"),
    pytest.param("lidar:delayed", {"delayed"}, 0.55, set(), id="0.3 s old"),
    pytest.param("lidar:reboot", {"absent"}, 0.25, {VALID}, id="brown-out"),
    pytest.param("lidar:sun", set(), 0.0, {UNTRUSTED}, id="sun"),
    pytest.param("lidar:weak", set(), 0.0, {NO_TARGET}, id="nothing reflects"),
    pytest.param("bus:stuck", {"absent"}, 0.25, set(), id="bus stuck"),
    pytest.param("bus:nack", set(), 0.0, {VALID}, id="bus refuses in bursts"),
]


@pytest.mark.parametrize(("fault", "names", "within_s", "statuses"), FAULTS)
@pytest.mark.parametrize("clock_error", [-0.03, 0.03], ids=["clock slow", "clock fast"])
def test_fault_is_named_in_time_and_nothing_valid_is_a_lie(fault, names, within_s, statuses, clock_error):
    """Named as what it is, or ridden out; samples that come are true; and it works again after"""
    bench = Bench(f"{fault}@4-8", clock_error=clock_error).until(10.0)
    assert {name for _, name in bench.named()} == names
    if names:
        assert 4.0 < bench.named()[0][0] <= 4.0 + within_s
    grace_s = 1.1 if fault == "lidar:slow" else 0.1
    assert bench.statuses(4.0 + grace_s, 8.0) == statuses
    assert bench.lies() == []
    assert len(bench.samples(9.0)) >= 20
    assert bench.statuses(9.0) == {VALID}
    reports = [i for i in bench.rig.items if isinstance(i, HealthReport)]
    assert not reports or not reports[-1].active


@pytest.mark.parametrize("clock_error", [-0.03, 0.03], ids=["clock slow", "clock fast"])
@pytest.mark.parametrize("stood_s", [20.0, 31.0, 34.0, 50.0, 64.0, 67.0, 81.0, 97.0, 100.0, 131.0, 140.0, 163.0, 205.0])
def test_it_is_back_however_long_it_stood_still(stood_s, clock_error):
    """Its tick wraps after 65.5 s: how often it did while nothing moved is told by our clock, and it is not late"""
    end_s = 4.0 + stood_s
    bench = Bench(f"lidar:stuck@4-{end_s}", clock_error=clock_error).until(end_s + 3.0)
    assert {name for _, name in bench.named()} <= {"frozen", "reset"}
    assert bench.samples(4.6, end_s) == []
    assert bench.lies() == []
    assert bench.statuses(end_s + 2.0) == {VALID}
    assert len(bench.samples(end_s + 2.0)) >= 18


@pytest.mark.parametrize("fault", ["lidar:nack", "bus:nack"])
def test_bursts_of_refused_transfers_cost_little(fault):
    """Readings come at least every 0.1 s, though a motor spoils transfers for 30 ms at a time"""
    bench = Bench(f"{fault}@2-20").until(20.0)
    samples = bench.samples(2.0)
    assert bench.driver.counts["nack"] > 10
    assert max(b.t_received_s - a.t_received_s for a, b in pairwise(samples)) < 0.1


def test_torn_reads_do_lie_without_the_second_look():
    """Over the step from 255 to 256 cm raw torn reads are metres off; not one of them is given"""
    bench = Bench("lidar:torn", look=lambda t_s: Spot(2.555 + 0.02 * math.sin(t_s), 500.0), seed=5)
    bench.twin.unit_error = 0.0
    bench.until(60.0)
    raw = [struct.unpack("<H", bench.twin.transfer(b"\x00", 2, 60.0 + i * 0.048))[0] for i in range(1000)]
    assert sum(abs(value - 255) > 100 for value in raw) > 5
    assert bench.driver.counts["torn"] > 5
    assert bench.lies() == []
    assert len(bench.samples()) > 1100
    assert bench.named() == []


@pytest.mark.slow
@pytest.mark.parametrize("clock_error", [-0.03, 0.0, 0.03])
def test_delay_is_noticed_after_an_hour_with_a_clock_that_is_off(clock_error):
    """3 % off either way names nothing for an hour; a delay of 0.3 s after it is named, and its end, too"""
    bench = Bench("lidar:delayed@3600-3604", look=lambda _: Spot(2.0, 900.0), clock_error=clock_error).until(3600.0)
    assert bench.named() == []
    assert max(s.t_received_s - s.t_measured_s for s in bench.samples(10.0)) < 0.03
    bench.until(3606.0)
    assert [name for _, name in bench.named()] == ["delayed"]
    assert bench.named()[0][0] < 3600.6
    assert bench.statuses(3600.1, 3604.0) == set()
    assert len(bench.samples(3604.5)) > 25


@pytest.mark.slow
@pytest.mark.parametrize("clock_error", [-0.03, 0.0, 0.03])
def test_delay_that_stays_is_not_forgotten(clock_error):
    """However long measurements are late, that does not become the new "in time"; and its end is noticed."""
    bench = Bench("lidar:delayed@5-600", look=swaying, clock_error=clock_error).until(600.0)
    assert bench.samples(5.1) == []
    assert [name for _, name in bench.named()] == ["delayed"]
    bench.until(603.0)
    assert [name for _, name in bench.named()] == ["delayed"]
    assert bench.samples(600.0)[0].t_received_s < 600.5
    assert bench.lies() == []


@pytest.mark.parametrize("delay_s", [0.18, 0.3, 0.5, 2.0])
def test_delay_of_any_length_is_named_and_gives_nothing(delay_s, monkeypatch):
    """Whether or not it stood still for so long, as it became late, that it was looked at anew"""
    monkeypatch.setattr("retrowalk.sim.chips.tfluna.DELAY_S", delay_s)
    bench = Bench("lidar:delayed@5-12").until(15.0)
    names = [name for _, name in bench.named()]
    assert names in (["delayed"], ["frozen", "delayed"])
    assert bench.named()[0][0] < 5.6
    assert bench.samples(5.16, 12.0) == []
    assert bench.lies() == []
    assert len(bench.samples(12.5)) > 48


def test_settings_that_are_lost_are_noticed_and_mended():
    """Another threshold, set by nobody who told, is found within five seconds, told, and set again"""
    bench = Bench().until(3.0)
    bench.bus.transfer(0x10, b"\x2a\xe8\x03", 0)
    bench.until(10.0)
    assert [name for _, name in bench.named()] == ["reset"]
    assert bench.named()[0][0] < 5.2
    assert bench.twin.transfer(b"\x2a", 2, 10.0) == b"\x64\x00"
    assert len(bench.samples(5.5)) > 85


@pytest.mark.parametrize("at_s", [3.0, 3.011, 3.032])
def test_brown_out_between_two_polls_is_told(at_s):
    """A module that starts anew within 40 ms, with another mode in its flash, is told and measures again in 0.5 s"""
    bench = Bench(saved={0x23: 1}, boot_s=0.04).until(at_s)
    bench.twin.power_cycle(at_s)
    bench.until(6.0)
    names = [name for _, name in bench.named()]
    assert names
    assert set(names) <= {"reset", "frozen", "garbage"}
    assert bench.samples(at_s + 0.06)[0].t_received_s < at_s + 0.7
    assert bench.lies() == []
    assert len(bench.samples(4.0)) > 38


def test_garbage_once_is_thrown_away():
    """One read of nothing but ones costs one sample, and is not named"""
    chip, run = canned()
    run.until(6.0)
    spoilt = iter([b"\xff" * 10])
    chip.spoil = lambda data: next(spoilt, data)
    run.until(7.0)
    assert next(spoilt, None) is None
    gaps_s = [b.t_received_s - a.t_received_s for a, b in pairwise(run.of(RangeSample))]
    assert 0.09 < max(gaps_s) < 0.1
    assert {s.status for s in run.of(RangeSample)} == {VALID}
    assert run.of(HealthReport) == []


def test_spurious_reading_is_not_believed():
    """A single reading of something that the second look does not see gives what the second look sees"""
    chip, run = canned()
    run.until(6.0)
    once = iter([struct.pack("<HH", 30, 9000)])
    chip.spoil = lambda data: next(once, data[:4]) + data[4:]
    run.until(7.0)
    assert {s.range_m for s in run.of(RangeSample)} == {2.0}
    assert next(once, None) is None


def test_readings_that_only_contradict_each_other_are_garbage():
    """A module whose every reading is somewhere else is named within 1.2 s, chance hits included"""
    chip, run = canned()
    run.until(6.0)
    luck = Random(2)
    chip.spoil = lambda data: struct.pack("<HH", luck.randint(20, 800), 900) + data[4:]
    run.until(8.0)
    reports = [(r.t_received_s, r.fault) for r in run.of(HealthReport) if r.active]
    assert reports[0][1] == "garbage"
    assert reports[0][0] < 7.2


@given(st.integers(0, 2**32), st.floats(0.02, 0.9))
@settings(max_examples=25, deadline=None)
def test_no_bytes_upset_it(seed, rate):
    """Whatever bytes come: samples are well-formed and in order, faults are SensorError, and it recovers"""
    chip, run = canned()
    luck = Random(seed)

    def spoil(data: bytes) -> bytes:
        if luck.random() > rate:
            return data
        return luck.choice((luck.randbytes(10), data[:3] + luck.randbytes(7), b"\xff" * 10, b"\x00" * 10))

    chip.spoil = spoil
    run.until(9.0)
    samples: Sequence[RangeSample] = run.of(RangeSample)
    for sample in samples:
        assert sample.t_measured_s <= sample.t_received_s
        assert (sample.range_m is not None) == (sample.status is VALID)
    chip.spoil = lambda data: data
    run.until(20.0)
    assert {s.range_m for s in run.of(RangeSample, 16.0)} == {2.0}
    assert len(run.of(RangeSample, 16.0)) > 75


# ------------------------------------------------------------------------------------------------- set-up


@pytest.mark.parametrize(
    ("fault", "name", "says"),
    [
        pytest.param("lidar:off", "absent", r"0x10 \(pin 5 at ground\?\) does not answer \(error 121", id="absent"),
        pytest.param("bus:stuck", "absent", "held low", id="bus stuck"),
        pytest.param("lidar:garbage", "wrong_chip", "signature is 0xFFFFFFFF", id="garbage"),
        pytest.param("lidar:wrong", "wrong_chip", "signature is 0x59595959 .* 0x59; a TF-Luna says LUNA", id="wrong"),
    ],
)
def test_fault_at_the_start_is_named_at_once_and_tried_again(fault, name, says):
    """With what it answered, every 0.2 s, and it works when it comes"""
    bench = Bench(f"{fault}@0-2").until(4.0)
    times = [t_s for t_s, error in bench.rig.errors]
    assert {error.fault for _, error in bench.rig.errors} == {name}
    assert times[0] < 0.01
    assert len(times) in (10, 11)
    assert re.search(says, bench.details())
    assert bench.samples()[0].t_received_s < 2.5


def test_module_from_the_maker_is_not_written_to():
    """Its factory settings are the ones that are needed: nothing is written, nothing is saved"""
    bench = Bench().until(12.0)
    assert bench.written == []
    assert bench.driver.version == "1.3.3"


@pytest.mark.parametrize(
    ("saved", "written"),
    [
        pytest.param({0x23: 1}, {0x23}, id="trigger mode"),
        pytest.param({0x26: 10}, {0x26}, id="slow frames"),
        pytest.param({0x2A: 0xF4, 0x2B: 0x01}, {0x2A}, id="other threshold"),
        pytest.param({0x2C: 0xB0, 0x2D: 0x04}, {0x2A}, id="dummy distance"),
        pytest.param({0x30: 100, 0x31: 0}, {0x2A}, id="sees one metre"),
        pytest.param({0x23: 1, 0x26: 1, 0x2A: 0}, {0x23, 0x26, 0x2A}, id="all of it"),
    ],
)
def test_what_differs_is_set(saved, written):
    """Settings left by another program are put right within 0.3 s, without saving, and without register 0x25"""
    bench = Bench(saved=saved).until(2.0)
    assert {register for register, _ in bench.written} == written
    assert bench.samples()[0].t_received_s < 0.3
    assert bench.lies() == []
    assert bench.named() == []
    assert bench.twin.transfer(b"\x23", 1, 2.0) == b"\x00"
    assert bench.twin.transfer(b"\x26", 3, 2.0) == b"\x64\x00\x00"
    assert bench.twin.transfer(b"\x2a", 8, 2.0) == b"\x64\x00\x00\x00\x00\x00\x20\x03"


def test_transfer_that_fails_in_the_middle_of_setting_is_made_up_for():
    """Each write fails once: the settings stand all the same, and none was read back too early"""
    bench = Bench(saved={0x23: 1, 0x26: 10, 0x2C: 5})
    transfer, failed = bench.bus.transfer, set()

    def fail_once(address: int, write: bytes, read: int) -> bytes:
        if len(write) > 1 and write[0] not in failed:
            failed.add(write[0])
            raise OSError(errno.EREMOTEIO, "no acknowledge")
        return transfer(address, write, read)

    bench.bus.transfer = fail_once  # type: ignore[method-assign]
    bench.until(3.0)
    assert failed == {0x23, 0x26, 0x2A}
    assert bench.samples()[0].t_received_s < 1.0
    assert bench.lies() == []


def test_settings_that_do_not_stay_are_garbage():
    """A module that forgets at once is named with the register, and not used"""
    chip, run = canned()
    chip.registers[0x23] = 1
    transfer = chip.transfer

    def forgetful(address: int, write: bytes, read: int) -> bytes:
        answer = transfer(address, write, read)
        chip.registers[0x23] = 1
        return answer

    chip.transfer = forgetful  # type: ignore[method-assign]
    run.until(7.0)
    assert {error.fault for _, error in run.errors} == {"garbage"}
    assert "0x23: mode 1" in run.errors[0][1].detail
    assert run.of(RangeSample) == []


def test_firmware_that_takes_settings_only_when_saved_is_named():
    """It keeps what is written and goes on in trigger mode: no sample, and a fault within half a second"""
    bench = Bench(saved={0x23: 1}, late_settings=True).until(3.0)
    assert bench.samples() == []
    assert bench.named()[0][0] < 0.6


def test_module_without_signature_is_believed_for_its_registers():
    """The signature is not in every manual: an address register that knows its address, and a tick, do as well"""
    bench = Bench(signature=False).until(3.0)
    assert bench.named() == []
    assert bench.driver.counts["no_signature"] == 1
    assert len(bench.samples()) > 55


@pytest.mark.parametrize("register", [0x22, 0x23, 0x26, 0x28])
def test_chip_without_signature_and_other_registers_is_refused(register):
    """Neither signature nor a TF-Luna's registers: something else sits at the address"""
    chip, run = canned()
    chip.registers |= dict.fromkeys(range(0x3C, 0x40), 0) | {register: 0x77}
    run.until(6.0)
    assert {error.fault for _, error in run.errors} == {"wrong_chip"}
    assert run.of(RangeSample) == []


# --------------------------------------------------------------------------------------------------- cost


def test_bus_and_processor_are_hardly_used():
    """Under 1 % of the bus at 400 kHz, no transfer over 0.5 ms, and one read a poll"""
    bench = Bench().until(60.0)
    assert bench.bus.busy_s[0x10] / 60.0 < 0.01
    assert bench.bus.longest_s[0x10] < 0.0005
    assert bench.bus.transfers < 60.0 / 0.048 * 1.1

    chip, run = canned()
    run.until(6.0)
    began_s, polls = time.process_time(), run.polls
    run.until(106.0)
    assert (time.process_time() - began_s) / (run.polls - polls) < 300e-6  # the machine may be busy
