"""A VL53L1X that three drivers take for a real one: Adafruit's, SparkFun's, and the maker's own in C (Pimoroni).

The last waits for the chip in real time, as long as its polls say; so its readings are few, and its period is short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.peers.conftest import Bench

from retrowalk.config import Vl53l1x
from retrowalk.core.samples import HealthReport, RangeSample, RangeStatus
from retrowalk.devices.vl53l1x import Vl53l1xDriver
from retrowalk.sim.chips.vl53l1x import MODES, Vl53l1xTwin
from retrowalk.sim.noise import Scene, Target
from retrowalk.sim.tof import CLIPPED, MERGED, PHASE, SIGMA, SIGNAL, VALID, VCSEL, WRAP, Shot, Sight

HOME, MOVED = 0x29, 0x31
SHADE = Sight(Scene((Target("wall", 1.0),)), 0.5)

pytestmark = [
    pytest.mark.peers,
    # An exception in a call from C can only be told to nobody.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Says:
    """A model that measures what it is told; only the last count of range and signal moves."""

    def __init__(self, range_mm: int = 1234, status: int = VALID) -> None:
        self.range_mm = range_mm
        self.status = status
        self.shots = 0

    def shot(self, sight: Sight, mode: str, *, field_deg: float, spads: float) -> Shot:
        self.shots += 1
        return Shot(self.status, self.range_mm / 1000.0, 0.003, 2000.0 + 8.0 * (self.shots % 7), 100.0, spads)


def solder(bench: Bench, says: Says | None = None, look: Callable[[float], Sight] = lambda t_s: SHADE) -> Vl53l1xTwin:
    chip = Vl53l1xTwin(look, 7, faults=bench.faults, model=says)
    bench.connect(HOME, chip)
    return chip


class Adafruit:
    """adafruit-circuitpython-vl53l1x.  `read` gives millimetres, or None."""

    def __init__(self, bench: Bench, address: int = HOME) -> None:
        self._bench = bench
        self.driver = bench.peer("adafruit_vl53l1x").VL53L1X(bench.busio, address)
        self.driver.distance_mode = 1
        self.driver.timing_budget = 33
        self.driver.start_ranging()

    def read(self) -> float | None:
        until_s = self._bench.clock.now() + 1.0
        while not self.driver.data_ready and self._bench.clock.now() < until_s:
            self._bench.wait(0.005)
        distance_cm: float | None = self.driver.distance
        self.driver.clear_interrupt()
        return None if distance_cm is None else round(distance_cm * 10.0)

    def move(self, address: int) -> None:
        self.driver.set_address(address)


class SparkFun:
    """sparkfun-qwiic-vl53l1x over sparkfun-qwiic-i2c.  `read` gives millimetres, whatever the status."""

    def __init__(self, bench: Bench, address: int = HOME, transfer_s: float = 0.001) -> None:
        self._bench = bench
        bus = bench.peer("qwiic_i2c.linux_i2c")
        bench.replace(bench.peer("smbus2"), "SMBus", bench.smbus(transfer_s))
        self.driver = bench.peer("qwiic_vl53l1x").QwiicVL53L1X(address, i2c_driver=bus.LinuxI2C())
        self.said = self.driver.sensor_init()
        self.driver.set_distance_mode(1)
        self.driver.set_timing_budget_in_ms(33)
        self.driver.start_ranging()

    def read(self) -> int:
        until_s = self._bench.clock.now() + 1.0
        while not self.driver.check_for_data_ready() and self._bench.clock.now() < until_s:
            pass
        distance_mm: int = self.driver.get_distance()
        self.status = self.driver.get_range_status()
        self.driver.clear_interrupt()
        return distance_mm

    def move(self, address: int) -> None:
        self.driver.set_i2c_address(address)


class Pimoroni:
    """VL53L1X: the maker's full driver.  `read` gives millimetres, or -1."""

    def __init__(self, bench: Bench, address: int = HOME) -> None:
        self.bus = bench.smbus(0.002)
        self.driver = bench.peer("VL53L1X", SMBus=self.bus).VL53L1X(1, address)
        self.driver.open()
        self.driver.set_timing(20_000, 24)
        self.driver.start_ranging(1)
        self.driver.get_distance()  # the first is never checked for wrapping

    def read(self) -> int:
        distance_mm: int = self.driver.get_distance()
        self.status = self.driver.get_range_status()
        return distance_mm

    def move(self, address: int) -> None:
        self.driver.change_address(address)


STRANGERS = [pytest.param(kind, id=kind.__name__) for kind in (Adafruit, SparkFun, Pimoroni)]


def gain(range_mm: int) -> int:
    """The maker's full driver scales ranges; the ultra-lite driver, with its own settings, does not."""
    return (range_mm * 2011 + 1024) // 2048


def our_driver(bench: Bench, address: int = HOME) -> Vl53l1xDriver:
    return Vl53l1xDriver(Vl53l1x(address=address), bench.bus, bench.clock)


def ours(bench: Bench, seconds: float = 1.0, address: int = HOME) -> list[RangeSample]:
    items = bench.ours(our_driver(bench, address), seconds)
    return [item for item in items if isinstance(item, RangeSample)]


# ------------------------------------------------------------------------------------------------- ranges


@pytest.mark.parametrize("range_mm", [57, 400, 1234])
def test_same_millimetres(bench, range_mm):
    """From the same registers all read the same millimetres; the maker's full driver times 2011/2048"""
    solder(bench, Says(range_mm))
    assert {sample.range_m for sample in ours(bench)} == {range_mm / 1000.0}
    assert [Adafruit(bench).read() for _ in range(3)] == [range_mm] * 3
    assert [SparkFun(bench).read() for _ in range(3)] == [range_mm] * 3
    pimoroni = Pimoroni(bench)
    assert [pimoroni.read() for _ in range(3)] == [gain(range_mm)] * 3


@pytest.mark.parametrize("stranger", STRANGERS)
def test_same_wall(bench, stranger):
    """In one and the same world, with its light and noise, a stranger reads what ours reads"""
    solder(bench)
    ranges_m = [sample.range_m or 0.0 for sample in ours(bench)]
    theirs = stranger(bench)
    readings = sorted(theirs.read() for _ in range(5))
    wall_mm = sorted(ranges_m)[len(ranges_m) // 2] * 1000.0
    assert wall_mm == pytest.approx(1000.0, abs=10.0)
    assert readings[2] == pytest.approx(gain(round(wall_mm)) if stranger is Pimoroni else wall_mm, abs=12.0)


@pytest.mark.parametrize(
    ("status", "expected", "adafruit", "sparkfun", "pimoroni"),
    [
        # What each makes of the chip's own number: ours, a distance or None, their status, a distance or -1 and status.
        pytest.param(VALID, RangeStatus.VALID, True, 0, (True, 0), id="valid"),
        pytest.param(SIGMA, RangeStatus.UNTRUSTED, False, 1, (False, 1), id="sigma"),
        pytest.param(SIGNAL, RangeStatus.NO_TARGET, False, 2, (False, 2), id="signal"),
        pytest.param(PHASE, RangeStatus.UNTRUSTED, False, 4, (False, 4), id="out of bounds"),
        pytest.param(WRAP, RangeStatus.UNTRUSTED, False, 7, (False, 7), id="wrap"),
        pytest.param(CLIPPED, RangeStatus.VALID, False, 3, (True, 3), id="too near"),
        pytest.param(MERGED, RangeStatus.VALID, False, 11, (False, 255), id="merged"),
        pytest.param(VCSEL, None, False, 255, (False, 5), id="laser"),
    ],
)
def test_same_status(bench, status, expected, adafruit, sparkfun, pimoroni):
    """Every status of the chip means the same to all, as far as they look at it"""
    range_mm = 23 if status == CLIPPED else 800
    solder(bench, Says(range_mm, status))
    items = bench.ours(our_driver(bench), 1.0)
    if expected is None:
        assert {item.fault for item in items if isinstance(item, HealthReport)} == {"broken"}
    assert {item.status for item in items if isinstance(item, RangeSample)} == ({expected} if expected else set())
    assert Adafruit(bench).read() == (range_mm if adafruit else None)
    by_number = SparkFun(bench)
    assert (by_number.read(), by_number.status) == (range_mm, sparkfun)
    full = Pimoroni(bench)
    assert (full.read(), full.status) == (gain(range_mm) if pimoroni[0] else -1, pimoroni[1])


# ------------------------------------------------------------------------------------------------- set-up


def test_set_up_in_one_write_or_in_91(bench):
    """Adafruit's one write of 91 bytes and SparkFun's 91 writes leave the same settings, but for where theirs differ"""
    chip = solder(bench, Says())

    def settings() -> bytes:
        data: bytes = bench.bus.transfer(HOME, b"\x00\x2d", 0x86 - 0x2D)
        return data

    driver = bench.peer("adafruit_vl53l1x").VL53L1X(bench.busio)
    assert max(bench.busio.log, key=len)[:2] == b"\x00\x2d"
    assert max(map(len, bench.busio.log)) == 2 + 91
    driver.distance_mode = 2
    driver.timing_budget = 100
    one = settings()
    chip.power_cycle(bench.clock.now())
    bench.wait(0.01)
    written: list[int] = []
    transfer = bench.bus.transfer

    def listen(address: int, write: bytes, read: int) -> bytes:
        if len(write) == 3:
            written.append(write[0] << 8 | write[1])
        data: bytes = transfer(address, write, read)
        return data

    bench.replace(bench.bus, "transfer", listen)
    sparkfun = SparkFun(bench)
    assert written[:91] == list(range(0x2D, 0x88))
    sparkfun.driver.stop_ranging()
    sparkfun.driver.set_distance_mode(2)
    sparkfun.driver.set_timing_budget_in_ms(100)
    assert {0x2D + at for at, (a, b) in enumerate(zip(one, settings(), strict=True)) if a != b} <= {0x2E, 0x2F}


@pytest.mark.slow
def test_every_mode_is_one_the_chip_has(bench):
    """Modes and timing budgets of all three are accepted, and each then measures"""
    solder(bench, Says())
    adafruit = Adafruit(bench)
    for mode, budgets in ((1, (15, 20, 33, 50, 100, 200, 500)), (2, (20, 33, 50, 100, 200, 500))):
        for budget_ms in budgets:
            adafruit.driver.stop_ranging()
            adafruit.driver.distance_mode = mode
            adafruit.driver.timing_budget = budget_ms
            adafruit.driver.start_ranging()
            adafruit.driver.clear_interrupt()
            begun_s = bench.clock.now()
            assert adafruit.read() == 1234
            assert bench.clock.now() - begun_s == pytest.approx(budget_ms * 1e-3, rel=0.12, abs=0.006), (
                mode,
                budget_ms,
            )
    pimoroni = Pimoroni(bench)
    for mode in range(1, len(MODES) + 1):
        pimoroni.driver.stop_ranging()
        pimoroni.driver.set_distance_mode(mode)
        pimoroni.driver.set_timing(33_000, 40)
        pimoroni.driver.start_ranging(0)
        pimoroni.read()
        assert pimoroni.read() == gain(1234)


@pytest.mark.parametrize(
    ("transfer_s", "says"),
    [
        pytest.param(0.0, -7, id="too fast for the chip"),
        pytest.param(0.001, None, id="as slow as Python on a small computer"),
    ],
)
def test_fifty_polls(bench, transfer_s, says):
    """SparkFun's driver asks 50 times whether the first measurement is there; on a fast bus it gives up too early"""
    solder(bench, Says())
    assert SparkFun(bench, transfer_s=transfer_s).said == says


def test_full_driver_needs_little(bench):
    """The maker's full driver opens in a few transfers, leaves the chip at its address, and counts its SPADs at once"""
    chip = solder(bench, Says())
    before = bench.bus.transfers
    driver = bench.peer("VL53L1X", SMBus=bench.smbus(0.002)).VL53L1X(1, HOME)
    driver.open()
    assert bench.bus.transfers - before < 40
    assert chip.address in (0, HOME)


# ------------------------------------------------------------------------------------------------- address


@pytest.mark.parametrize("stranger", STRANGERS)
def test_address_change_is_followed(bench, stranger):
    """Moved by a stranger, the chip is where both look for it, and nobody is left at the old address"""
    solder(bench, Says())
    theirs = stranger(bench)
    theirs.move(MOVED)
    assert theirs.read() in (1234, gain(1234))
    with pytest.raises(OSError, match="no chip at 0x29"):
        bench.bus.transfer(HOME, b"\x01\x0f", 3)
    assert {sample.range_m for sample in ours(bench, address=MOVED)} == {1.234}
    assert bench.errors == []


@pytest.mark.parametrize("stranger", STRANGERS)
def test_our_address_change_is_followed(bench, stranger):
    """Moved by ours, the chip is found by a stranger at its new address"""
    solder(bench, Says())
    ours(bench, address=MOVED)
    assert stranger(bench, MOVED).read() in (1234, gain(1234))


def test_power_cut_sends_it_home(bench):
    """After a power cut it is at 0x29 again; ours moves it once more, a stranger's readings are errors for ever"""
    chip = solder(bench, Says())
    theirs = Adafruit(bench)
    theirs.move(MOVED)
    chip.power_cycle(bench.clock.now())
    bench.wait(0.01)
    with pytest.raises(OSError, match="no chip at 0x31"):
        theirs.read()
    assert {sample.range_m for sample in ours(bench, address=MOVED)} == {1.234}


# -------------------------------------------------------------------------------------------------- faults


@pytest.fixture
def told_to_nobody(monkeypatch) -> Iterator[list[Any]]:
    """Exceptions that a driver in C could not pass on."""
    lost: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", lambda told: lost.append(told.exc_value))
    yield lost
    lost.clear()


@pytest.mark.parametrize("stranger", [Adafruit, SparkFun])
def test_unplugged_is_an_error(bench_with, stranger):
    """Unplugged while ranging: an error with each reading of the drivers in Python"""
    bench = bench_with("tof:off@20")
    solder(bench, Says())
    theirs = stranger(bench)
    assert theirs.read() == 1234
    bench.clock.reach(20.0)
    for _ in range(3):
        with pytest.raises(OSError, match="does not acknowledge"):
            theirs.read()


def test_refused_transfers_are_no_error_to_the_full_driver(bench_with, told_to_nobody):
    """Beside a motor that switches, Pimoroni's driver hides every error of the bus; ours counts and repeats"""
    bench = bench_with("tof:nack@20")
    solder(bench, Says())
    theirs = Pimoroni(bench)
    assert theirs.read() == gain(1234)
    bench.clock.reach(20.0)
    for _ in range(12):
        theirs.read()
    assert {type(error) for error in told_to_nobody} == {OSError}
    assert len(told_to_nobody) == theirs.bus.errors > 3
    driver = our_driver(bench)
    statuses = {item.status for item in bench.ours(driver, 3.0)}
    assert driver.counts["nack"] > 0
    assert statuses == {RangeStatus.VALID}
    assert bench.errors == []


def test_unplugged_is_named_by_ours(bench_with):
    """Unplugged while ranging: named within 0.2 s, with what it may be"""
    bench = bench_with("tof:off@20")
    solder(bench, Says())
    driver = our_driver(bench)
    bench.clock.reach(18.0)
    bench.ours(driver, 2.0)
    assert bench.errors == []
    bench.ours(driver, 0.2)
    assert {error.fault for error in bench.errors} == {"absent"}
    assert "not connected" in bench.errors[0].detail


def test_absent_at_the_start(bench_with):
    """Absent from the start: all of them say so"""
    bench = bench_with("tof:off")
    solder(bench, Says())
    with pytest.raises(ValueError, match="No I2C device"):
        Adafruit(bench)
    with pytest.raises(OSError, match="does not acknowledge"):
        SparkFun(bench)
    with pytest.raises(RuntimeError, match="not found"):
        Pimoroni(bench)
    ours(bench)
    assert {error.fault for error in bench.errors} == {"absent"}


def test_wrong_chip(bench_with):
    """A relative at the address is refused by Adafruit's driver and named by ours"""
    bench = bench_with("tof:wrong")
    solder(bench, Says())
    with pytest.raises(RuntimeError, match="Wrong sensor"):
        Adafruit(bench)
    ours(bench)
    assert {error.fault for error in bench.errors} == {"wrong_chip"}


def test_sample_that_stands_still(bench_with):
    """One sample for ever: strangers go on reading it, ours reports it as frozen"""
    bench = bench_with("tof:stuck@20")
    solder(bench)
    theirs = Adafruit(bench)
    bench.clock.reach(20.5)
    theirs.read()
    assert len({theirs.read() for _ in range(10)}) == 1
    items = bench.ours(our_driver(bench), 3.0)
    assert "frozen" in {item.fault for item in items if isinstance(item, HealthReport)}


def test_sun(bench_with):
    """In the sun Adafruit's driver has no distance, SparkFun's has one with a status, and ours trusts none"""
    bench = bench_with("tof:sun")
    solder(bench)
    assert {Adafruit(bench).read() for _ in range(3)} == {None}
    by_number = SparkFun(bench)
    assert by_number.read() >= 0
    assert by_number.status in (1, 2)
    assert {sample.status for sample in ours(bench, 2.0)} == {RangeStatus.UNTRUSTED}
