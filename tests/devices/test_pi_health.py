"""The health of the Pi, from files that say what a kernel says, or are not there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from tests.devices.bench import Run, VirtualClock

from retrowalk.config import Pi
from retrowalk.core.samples import HealthReport
from retrowalk.devices.pi_health import PiHealthDriver
from retrowalk.platform import SysFiles

HWMON = "/sys/class/hwmon"
THERMAL = "/sys/class/thermal/thermal_zone0/temp"


class Files:
    """A `HostFiles` of a few texts."""

    def __init__(self, volt: str = "hwmon1") -> None:
        self.volt = volt
        self.texts = {f"{HWMON}/hwmon0/name": "cpu_thermal\n", THERMAL: "48312\n"}
        self.reads = 0
        self.number(volt)

    def number(self, volt: str) -> None:
        """The voltage device gets another number."""
        for path in [path for path in self.texts if path.startswith(f"{HWMON}/{self.volt}/")]:
            del self.texts[path]
        self.volt = volt
        self.texts |= {f"{HWMON}/{volt}/name": "rpi_volt\n", f"{HWMON}/{volt}/in0_lcrit_alarm": "0\n"}

    def alarm(self, on: bool) -> None:
        self.texts[f"{HWMON}/{self.volt}/in0_lcrit_alarm"] = f"{int(on)}\n"

    def heat(self, temperature_c: float) -> None:
        self.texts[THERMAL] = f"{round(temperature_c * 1000)}\n"

    def read(self, path: str) -> str:
        self.reads += 1
        if path not in self.texts:
            raise FileNotFoundError(path)
        return self.texts[path]

    def begin(self, path: str) -> Callable[[], str | None]:
        text = self.read(path)
        return lambda: text

    def names(self, directory: str) -> Sequence[str]:
        return sorted({path.split("/")[4] for path in self.texts if path.startswith(f"{directory}/")})


class Bench:
    def __init__(self, volt: str = "hwmon1", hot_c: float = 78.0) -> None:
        self.clock = VirtualClock()
        self.files = Files(volt)
        self.run = Run(PiHealthDriver(Pi(hot_c=hot_c), self.files, self.clock), self.clock)

    def until(self, end_s: float) -> Bench:
        self.run.until(end_s)
        return self

    def said(self) -> list[tuple[str, str, bool]]:
        return [(r.part, r.fault, r.active) for r in self.run.of(HealthReport)]

    def told_s(self) -> list[float]:
        return [r.t_received_s for r in self.run.of(HealthReport)]


def test_a_pi_in_good_health_is_not_spoken_of():
    """An hour without a word, three files every 2 s."""
    bench = Bench().until(3600.0)
    assert bench.said() == []
    assert bench.run.polls <= 1801
    assert bench.files.reads <= 3 * 1801 + 5


@pytest.mark.parametrize("volt", ["hwmon1", "hwmon2", "hwmon11"])
def test_undervoltage_is_named_whatever_the_number_of_its_file(volt):
    """The device is found by its name; the first alarm is reported within 2 s."""
    bench = Bench(volt).until(10.0)
    bench.files.alarm(True)
    bench.until(20.0)
    assert bench.said() == [("power", "undervoltage", True)]
    assert bench.told_s()[0] - 10.0 <= 2.0


def test_a_supply_that_sags_again_and_again_is_named_once():
    """Each burst of the motor raises the alarm for 2 s: one fault, until it has been well for 30 s."""
    bench = Bench()
    for t_s in range(10, 60, 10):
        bench.clock.at(t_s + 0.5, lambda: bench.files.alarm(True))
        bench.clock.at(t_s + 2.5, lambda: bench.files.alarm(False))
    bench.until(120.0)
    assert bench.said() == [("power", "undervoltage", True), ("power", "undervoltage", False)]
    assert bench.told_s()[1] == pytest.approx(82.0, abs=2.1)


def test_a_device_that_gets_another_number_is_found_again():
    """Its module was unloaded and loaded: the alarm is seen all the same, within a minute."""
    bench = Bench().until(10.0)
    bench.files.number("hwmon7")
    bench.files.alarm(True)
    bench.until(80.0)
    assert ("power", "undervoltage", True) in bench.said()


def test_heat_is_named_when_it_lasts_and_until_it_has_gone():
    """Over 78 C for 5 s; over when it has been under 73 C for 5 s."""
    bench = Bench().until(10.0)
    for t_s, temperature_c in ((10.1, 78.0), (30.1, 75.0), (60.1, 72.9)):
        bench.clock.at(t_s, partial(bench.files.heat, temperature_c))
    bench.until(90.0)
    assert bench.said() == [("heat", "hot", True), ("heat", "hot", False)]
    begun_s, over_s = bench.told_s()
    assert 5.0 <= begun_s - 10.1 <= 10.0
    assert 5.0 <= over_s - 60.1 <= 10.0


def test_a_short_peak_is_no_heat():
    """4 s at 80 C, again and again, are borne."""
    bench = Bench()
    for t_s in range(10, 100, 10):
        bench.clock.at(t_s + 0.1, lambda: bench.files.heat(80.0))
        bench.clock.at(t_s + 3.9, lambda: bench.files.heat(70.0))
    assert bench.until(120.0).said() == []


def test_the_limit_is_a_setting():
    """`pi.hot_c` says what is hot."""
    bench = Bench(hot_c=60.0)
    bench.files.heat(65.0)
    assert bench.until(20.0).said() == [("heat", "hot", True)]


@pytest.mark.parametrize("text", ["", "warm\n", "999999\n", "-80000\n", "78 000\n"])
def test_a_temperature_that_is_none_is_not_believed(text):
    """Nonsense is neither hot nor the end of heat."""
    bench = Bench()
    bench.files.texts[THERMAL] = text
    assert bench.until(30.0).said() == []
    bench.files.heat(80.0)
    bench.until(60.0)
    bench.files.texts[THERMAL] = text
    assert bench.until(120.0).said() == [("heat", "hot", True)]


def test_a_computer_without_these_files_is_not_a_fault(caplog):
    """Not a Pi: nothing is said, and it is logged once."""
    bench = Bench()
    bench.files.texts.clear()
    with caplog.at_level(logging.INFO, "retrowalk.pi"):
        bench.until(600.0)
    assert bench.said() == []
    assert bench.run.errors == []
    assert len(caplog.records) == 2


def test_on_this_computer_it_raises_nothing():
    """The real files, whatever this machine has of them."""
    clock = VirtualClock()
    run = Run(PiHealthDriver(Pi(), SysFiles(), clock), clock).until(5.0)
    assert run.errors == []


def memory(bench: Bench, free_mib: int) -> None:
    """This much can be given."""
    bench.files.texts["/proc/meminfo"] = f"MemTotal:  426248 kB\nMemFree: 1 kB\nMemAvailable: {free_mib * 1024} kB\n"


def test_memory_that_runs_out_is_named_before_anybody_is_killed():
    """With less than 24 MiB for two looks it is named within 6 s; over with 48 MiB, and not between."""
    bench = Bench()
    memory(bench, 200)
    bench.clock.at(10.5, lambda: memory(bench, 20))
    bench.clock.at(30.5, lambda: memory(bench, 40))
    bench.clock.at(50.5, lambda: memory(bench, 60))
    bench.until(60.0)
    assert bench.said() == [("memory", "low", True), ("memory", "low", False)]
    begun_s, over_s = bench.told_s()
    assert begun_s - 10.5 <= 6.0
    assert 0.0 < over_s - 50.5 <= 2.0


def test_a_program_that_starts_is_no_shortage():
    """One look with little memory is borne."""
    bench = Bench()
    for t_s in range(10, 60, 10):
        bench.clock.at(t_s + 0.5, lambda: memory(bench, 10))
        bench.clock.at(t_s + 2.4, lambda: memory(bench, 100))
    assert bench.until(70.0).said() == []
