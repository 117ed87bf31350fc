"""The thermometer: what the kernel's files say, what of it is believed, and how seldom it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from tests.sim.helpers import Rig

from retrowalk.config import Air, Config, HcSr04, from_table
from retrowalk.core.air import AirSpeed, speed_of_sound_m_s
from retrowalk.core.samples import AirSample, HealthReport
from retrowalk.devices.ds18b20 import DEVICES, POLL_S, Ds18b20, parse
from retrowalk.guard.process import build_steps
from retrowalk.platform import Platform, SysFiles, no_wake
from retrowalk.sim.chips.ds18b20 import LAG_S, NAME, Ds18b20Twin, crc8
from retrowalk.sim.hardware import Hardware, parts
from retrowalk.sim.host import SimHost
from retrowalk.sim.scheduler import MemoryMail
from retrowalk.sim.world import Weather

# Texts that people have posted of their own chips.
GOOD = "5e 01 ff ff 7f ff ff ff 52 : crc=52 YES\n5e 01 ff ff 7f ff ff ff 52 t=21875\n"
WARM = "8d 01 4b 46 7f ff 03 10 03 : crc=03 YES\n8d 01 4b 46 7f ff 03 10 03 t=24812\n"
POWER_ON = "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n"
COLD = "5e ff 4b 46 7f ff 02 10 d9 : crc=d9 YES\n5e ff 4b 46 7f ff 02 10 d9 t=-10125\n"


class Bench:
    """A driver on a computer whose kernel has the twin."""

    def __init__(self, *faults: str, air_c: float = 12.0) -> None:
        self.rig = Rig(faults=faults)
        self.rig.world.temperature_c = air_c
        twin = Ds18b20Twin(lambda: self.rig.world.temperature_c, self.rig.faults)
        self.host = SimHost(self.rig.clock, self.rig.faults, twin)
        self.driver = Ds18b20(self.host, self.rig.clock)
        self.wake = no_wake
        self.polls = 0
        self.longest_s = 0.0
        self.rig.run(self)
        self.name = self.driver.name

    name = "thermometer"
    retry_s = 1.0

    def poll(self, now):
        self.polls += 1
        answer = self.driver.poll(now)
        self.longest_s = max(self.longest_s, self.rig.clock.now() - now)
        return answer

    def until(self, t_s: float) -> Bench:
        self.rig.scheduler.run_until(t_s)
        return self

    @property
    def samples(self) -> list[AirSample]:
        return [item for item in self.rig.items if isinstance(item, AirSample)]

    @property
    def reports(self) -> list[tuple[str, bool]]:
        found = [item for item in self.rig.items if isinstance(item, HealthReport)]
        assert all(report.part == "thermometer" for report in found)
        return [(report.fault, report.active) for report in found]


# -------------------------------------------------------------------------------------------------- its files


@pytest.mark.parametrize(
    ("text", "expected_c"),
    [
        pytest.param(GOOD, 21.875, id="w1_slave"),
        pytest.param(WARM, 24.812, id="w1_slave of another"),
        pytest.param(COLD, -10.125, id="below zero"),
        pytest.param("-62\n", -0.062, id="temperature"),
        pytest.param("21875", 21.875, id="temperature without a line feed"),
    ],
)
def test_a_file_is_read(text, expected_c):
    """Both of the kernel's forms, in thousandths of a degree."""
    assert parse(text) == expected_c


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        pytest.param("", OSError, "does not answer", id="empty"),
        pytest.param(GOOD.replace("YES", "NO"), ValueError, "checksum", id="checksum"),
        pytest.param(POWER_ON, ValueError, "lost its power", id="power-on value"),
        pytest.param("85000\n", ValueError, "85.0 C", id="power-on value, number alone"),
        pytest.param("127937\n", ValueError, "127.9 C", id="all ones"),
        pytest.param("-40000\n", ValueError, "-40.0 C", id="too cold"),
        pytest.param("?\n", ValueError, "says", id="no number"),
        pytest.param(GOOD[:60], ValueError, "says", id="torn"),
    ],
)
def test_what_must_not_be_believed_is_refused(text, error, says):
    """An empty file is a chip that does not answer; all else that is no temperature of a walk is nonsense."""
    with pytest.raises(error, match=says):
        parse(text)


def test_the_twins_bytes_are_the_chips():
    """The twin makes the very lines that real chips gave, with their checksums."""
    assert [crc8(bytes.fromhex(text[:23])) for text in (GOOD, WARM, POWER_ON)] == [0x52, 0x03, 0x1C]
    for air_c in (-10.125, 0.0, 24.8125, 49.9375):
        twin = Ds18b20Twin(partial(float, air_c))
        assert parse(twin.file("w1_slave", 1.0)) == pytest.approx(air_c, abs=0.001)
        assert parse(twin.file("temperature", 1.0)) == pytest.approx(air_c, abs=0.001)


# -------------------------------------------------------------------------------------------------- the driver


def test_the_air_is_told_every_half_minute():
    """The first reading after a second, then one each 30 s; the step never waits for the chip, and sleeps between."""
    bench = Bench(air_c=-4.3).until(95.0)
    assert [sample.temperature_c for sample in bench.samples] == pytest.approx([-4.3] * 4, abs=0.04)
    assert bench.samples[0].t_received_s < 1.0
    measured = [sample.t_measured_s for sample in bench.samples]
    assert [b - a for a, b in pairwise(measured)] == pytest.approx([POLL_S] * 3)
    assert bench.longest_s == 0.0
    assert bench.polls <= 10
    assert bench.reports == []


@pytest.mark.parametrize(
    ("fault", "named", "by_s"),
    [
        pytest.param("thermometer:off@40-100", "absent", 85.0, id="pulled off"),
        pytest.param("thermometer:intermittent@40-100", "absent", 85.0, id="loose wire"),
        pytest.param("thermometer:garbage@40-100", "garbage", 85.0, id="checksum"),
        pytest.param("thermometer:reboot@40-100", "garbage", 85.0, id="loses its power"),
        pytest.param("thermometer:slow@40-100", "slow", 67.0, id="slow"),
    ],
)
def test_a_fault_is_reported_and_over(fault, named, by_s):
    """After three readings that failed, or one that takes too long; no false sample; over with the next good one."""
    bench = Bench(fault).until(by_s)
    assert bench.reports == [(named, True)]
    bench.until(150.0)
    assert bench.reports == [(named, True), (named, False)]
    assert {round(sample.temperature_c) for sample in bench.samples} == {12}


def test_one_bad_reading_is_no_fault():
    """Noise on the wire spoils one: it is asked again ten seconds later, and nothing is said."""
    bench = Bench("thermometer:garbage@29-32").until(60.0)
    assert bench.reports == []
    assert len(bench.samples) == 2


def test_none_at_all_is_named_once_and_costs_nothing():
    """A thermometer that is set and not there: one report within half a minute, a look every ten seconds."""
    bench = Bench("thermometer:off").until(120.0)
    assert bench.reports == [("absent", True)]
    assert bench.samples == []
    assert bench.polls <= 13


def wait_for(reading: Callable[[], str | None]) -> str | None:
    """What it gives at last, within five seconds."""
    until = time.monotonic() + 5.0
    while time.monotonic() < until:
        if (text := reading()) is not None:
            return text
    return None


def test_the_kernels_files_are_read_beside():
    """The real files: reading begins at once, takes as long as it takes in a thread of its own, and tells of errors."""
    files = SysFiles()
    reading, missing = files.begin("/proc/self/comm"), files.begin(f"{DEVICES}/{NAME}/not-there")
    assert wait_for(reading) == Path("/proc/self/comm").read_text()
    with pytest.raises(FileNotFoundError):
        wait_for(missing)


# -------------------------------------------------------------------------------------------- the whole device

WITH = Config(air=Air(thermometer="ds18b20"))


def test_a_device_has_it_only_if_it_is_set():
    """The settings decide; by default nothing looks for one."""
    for config, expected in ((Config(), False), (WITH, True)):
        rig = Rig()
        hardware = Hardware(config, rig.scheduler, rig.world, rig.faults)
        mail = MemoryMail().open("guard")
        platform = Platform(
            rig.clock, mail, pin_factory=rig.pins, bus=rig.bus, serial=hardware.serial, host=hardware.host
        )
        steps, _ = build_steps(config, platform)
        assert ("thermometer" in [step.name for step in steps]) is expected
        assert ("thermometer" in parts(config)) is expected


def test_a_range_sensor_may_not_be_called_so():
    """Its faults would pass for the thermometer's."""
    with pytest.raises(ValueError, match="another part"):
        from_table({"range_sensor": [{"chip": "hc-sr04", "name": "thermometer"}]})


@pytest.mark.parametrize("fault", ["", "thermometer:sun"])
def test_ranges_are_right_to_3_percent_from_winter_to_summer(fault):
    """-10 to 40 C, with the chip that a device has, even in the sun: what an ultrasonic sensor says is turned right."""
    for air_c in range(-10, 41, 10):
        bench = Bench(*([fault] if fault else []), air_c=air_c).until(2.0)
        speed = AirSpeed((HcSr04(),))
        speed.factor("rear", 0.0)
        for sample in bench.samples:
            speed.feed(sample)
        read = speed_of_sound_m_s(0.0) / speed_of_sound_m_s(air_c) * speed.factor("rear", 20.0)
        assert read == pytest.approx(1.0, abs=0.03), air_c


@pytest.mark.slow
def test_out_of_the_house_ranges_are_right_within_a_minute():
    """From 21 C to -10 C with a chip that lags: 3 % too far for 45 s at most."""
    bench = Bench(air_c=21.0)
    bench.rig.world.at(60.0, Weather(temperature_c=-10.0))
    speed, taken, wrong_s = AirSpeed((HcSr04(),)), 0, []
    for step in range(1, 600):
        now = 0.5 * step
        bench.until(now)
        bench.rig.world.advance(now)
        for sample in bench.samples[taken:]:
            speed.feed(sample)
        taken = len(bench.samples)
        read = speed_of_sound_m_s(0.0) / speed_of_sound_m_s(bench.rig.world.temperature_c) * speed.factor("rear", now)
        if abs(read - 1.0) > 0.03 and now > 30.0:
            wrong_s.append(now)
    assert LAG_S > 30.0
    assert not wrong_s or wrong_s[-1] - 60.0 <= 45.0
