"""The lidar on a whole walk: it warns alone, beside the ultrasonic sensor, and its faults are heard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from retrowalk.config import Battery, Config, load
from retrowalk.sim import scenarios
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.scenarios import judge
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import Weather
from retrowalk.voice import bank as banks

ALONE = '[[range_sensor]]\nchip = "tf-luna"\n[battery]\nchip = "none"\n'
BESIDE = '[[range_sensor]]\nchip = "hc-sr04"\n' + ALONE


def config(tmp_path: Path, text: str) -> Config:
    """As a device reads it from its file."""
    file = tmp_path / "retrowalk.toml"
    file.write_text(text)
    return load(file)


@contextmanager
def walk(config: Config, until_s: float, faults: Sequence[str] = (), seed: int = 1) -> Iterator[VirtualWalk]:
    """The demo's walk on this equipment."""
    # The default device's phrases have all that is said here: rendering others would change them under other walks.
    phrases = banks.build(Config(), banks.default_directory())
    made = VirtualWalk(config, scenarios.demo(seed), seed, phrases, faults=Faults(map(Fault.parse, faults)))
    try:
        made.run_until(until_s)
        yield made
    finally:
        made.close()


def heard(walk: VirtualWalk, *starts: str, from_s: float = 0.0) -> list[float]:
    return [h.start_s for h in walk.ear.heard if h.key.startswith(starts) and h.start_s >= from_s]


@pytest.mark.parametrize(
    "text", [pytest.param(ALONE, id="alone", marks=pytest.mark.slow), pytest.param(BESIDE, id="beside ultrasonic")]
)
@pytest.mark.parametrize(
    "seed",
    [1, pytest.param(2, marks=pytest.mark.slow), *(pytest.param(seed, marks=pytest.mark.repeats) for seed in (3, 4))],
)
def test_the_walk_goes_as_it_should(tmp_path: Path, text: str, seed: int) -> None:
    """With a file that has a lidar, alone or with an HC-SR04, every expectation of the demo is met."""
    with walk(config(tmp_path, text), 90.0, seed=seed) as made:
        assert [met for met in judge(made.scenario, made.finish()) if not met.met] == []
        assert made.world.contacts == []
        assert heard(made, "sensor_lost", "not_protecting") == []


@pytest.mark.parametrize("fault", ["rear:off@12", "rear:wrong@12"])
@pytest.mark.slow
def test_the_lidar_warns_of_the_wall_when_the_ultrasonic_sensor_cannot(tmp_path: Path, fault: str) -> None:
    """Dead, or always 1.00 m: "Stop" comes before the wall is near, and nothing is touched."""
    with walk(config(tmp_path, BESIDE), 36.0, [fault]) as made:
        near_s = made.scenario.marks["wall_near"]
        assert [s for s in heard(made, "stop") if near_s - 3.0 < s < near_s + 1.0]
        assert made.world.contacts == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "limit_s"),
    [
        pytest.param("lidar:off@14-17", 1.0, id="unplugged"),
        pytest.param("lidar:off", 1.0, id="absent at the start"),
        pytest.param("lidar:wrong", 1.0, id="another chip at the start"),
        pytest.param("lidar:garbage@14-17", 1.0, id="garbage"),
        pytest.param("lidar:stuck@14-17", 1.0, id="frozen"),
        pytest.param("lidar:delayed@14-17", 1.0, id="delayed"),
        pytest.param("lidar:sun@14-17", 1.0, id="sun"),
        pytest.param("lidar:slow@14-17", 2.0, id="slow"),
        pytest.param("lidar:reboot@14", 1.2, id="brown-out"),
        pytest.param("bus:stuck@14-17", 1.0, id="bus stuck"),
    ],
)
def test_a_broken_lidar_is_heard_in_time(tmp_path: Path, fault: str, limit_s: float) -> None:
    """The fault tone within its limit, the name after it; and the lidar is said to be back when it is."""
    parsed = Fault.parse(fault)
    with walk(config(tmp_path, BESIDE), parsed.start_s + 6.0, [fault]) as made:
        tones = heard(made, "fault", from_s=parsed.start_s)
        assert tones
        assert tones[0] <= parsed.start_s + limit_s
        assert heard(made, "sensor_lost:lidar", from_s=parsed.start_s)
        lasts = parsed.end_s > parsed.start_s + 6.0 and parsed.kind != "reboot"
        assert made.guard.companion.snapshot().health["lidar"] == ("lost" if lasts else "ok")
        assert heard(made, "sensor_lost:rear") == []


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["lidar:nack@14-17", "lidar:torn@14-20", "bus:nack@14-20"])
def test_what_is_ridden_out_is_not_heard(tmp_path: Path, fault: str) -> None:
    """A motor that spoils transfers, or torn reads, cost nobody a word."""
    with walk(config(tmp_path, BESIDE), 20.0, [fault]) as made:
        assert heard(made, "sensor_lost") == []


@pytest.mark.slow
def test_a_low_sun_behind_is_named_and_passes(tmp_path: Path) -> None:
    """Walking away from a low sun, the lidar is lost aloud within 1 s and the ultrasonic sensor goes on."""
    file = config(tmp_path, BESIDE)
    with walk(file, 12.0) as made:
        made.world.at(14.0, Weather(sun_deg=5.0))
        made.world.at(18.0, Weather(sun_deg=-90.0))
        made.run_until(21.0)
        assert 14.0 < heard(made, "fault", from_s=14.0)[0] < 15.0
        assert heard(made, "sensor_lost:lidar", from_s=14.0)
        assert heard(made, "sensor_lost:rear") == []
        assert heard(made, "sensor_back:lidar", from_s=18.0)


@pytest.mark.slow
def test_the_bus_has_time_for_the_lidar(tmp_path: Path) -> None:
    """Under 1 % of the bus at 400 kHz for a second of walk, and no transfer over 0.5 ms."""
    with walk(config(tmp_path, ALONE), 30.0) as made:
        bus = made.hardware.bus
        assert bus.busy_s[0x10] / 30.0 < 0.01
        assert bus.longest_s[0x10] < 0.0005


@pytest.mark.slow
def test_the_dropoff_lidar_stays_well_on_level_ground(tmp_path: Path) -> None:
    """On dry asphalt it always has its ground, walking and standing."""
    drop = '[[range_sensor]]\nchip = "tf-luna"\nname = "drop"\nrole = "dropoff"\naddress = 0x11\n'
    text = BESIDE.replace("[battery]", drop + "[battery]")
    file = config(tmp_path, text)
    assert file.battery == Battery(chip="none")
    with walk(file, 44.0) as made:
        assert heard(made, "sensor_lost") == []
