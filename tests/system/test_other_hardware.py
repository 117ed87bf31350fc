"""Devices that are built otherwise than the default one: chosen by configuration alone, and heard as well."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
from tests.system.walks import walk as real_walk

from retrowalk.config import A02yyuw, Battery, Config, Imu, Vl53l1x, from_table
from retrowalk.courier import recording
from retrowalk.sim import scenarios
from retrowalk.sim.demo import run_fast
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice import bank as banks

pytestmark = pytest.mark.slow

SEALED = Config(range_sensor=(A02yyuw(),), battery=Battery(chip="none"))
"""A sealed ultrasonic sensor on the serial port is all that looks back."""


@pytest.fixture(scope="module")
def phrases() -> banks.Bank:
    return banks.build(SEALED, banks.default_directory())


def walk(config: Config, phrases: banks.Bank, until_s: float, faults: Sequence[str] = (), seed: int = 1) -> VirtualWalk:
    made = VirtualWalk(config, scenarios.demo(seed), seed, phrases, faults=Faults(map(Fault.parse, faults)))
    made.run_until(until_s)
    made.close()
    return made


def heard(walk: VirtualWalk, *starts: str, from_s: float = 0.0) -> list[float]:
    return [h.start_s for h in walk.ear.heard if h.key.startswith(starts) and h.start_s >= from_s]


@pytest.fixture(scope="module", params=[1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
def sealed(request: pytest.FixtureRequest, phrases: banks.Bank) -> VirtualWalk:
    """The demo's walk up to the person who steps behind, with the sealed sensor alone."""
    return walk(SEALED, phrases, 46.0, seed=request.param)


def test_a_sealed_sensor_alone_warns_of_a_wall(sealed: VirtualWalk) -> None:
    """Ten readings a second are enough: "Stop" comes while there is room, and the walker touches nothing."""
    marks = sealed.scenario.marks
    stops = heard(sealed, "stop", from_s=marks["walk"])
    assert stops
    assert stops[0] <= marks["wall_near"] + 1.0
    assert sealed.world.contacts == []
    assert sealed.world.smallest_gap_m["wall"] >= 0.6


def test_a_sealed_sensor_alone_warns_of_someone_who_steps_in(sealed: VirtualWalk) -> None:
    """A person at 1.6 m, half a second of nothing, then "Stop"."""
    marks = sealed.scenario.marks
    assert heard(sealed, "stop", from_s=marks["person"])[0] - marks["person"] <= 2.0


def test_a_sealed_sensor_alone_passes_the_check_and_stays_well(sealed: VirtualWalk) -> None:
    """The hand is seen, the open path is clear though the module answers 0: guarding, no sensor named lost."""
    assert heard(sealed, "guarding")[0] <= sealed.scenario.marks["walk"]
    assert heard(sealed, "sensor_lost", "not_protecting") == []


OTHERS = {
    "mpu6050": Config(imu=Imu(chip="mpu6050")),
    "ina219": Config(battery=Battery(chip="ina219")),
    "no battery": Config(battery=Battery(chip="none")),
}
BESIDE = Config(range_sensor=(*Config().range_sensor, Vl53l1x()))


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_the_demo_goes_as_it_should_with_other_parts(phrases: banks.Bank, tmp_path: Path, name: str) -> None:
    """Another clip, another battery, one more sensor: every expectation of the default device is met, too."""
    outcome = run_fast(1, tmp_path, config=OTHERS[name])
    assert [e for e in outcome.expectations if not e.met] == []
    assert from_table(recording.read(tmp_path / "walk.mcap").session.config) == OTHERS[name]


@pytest.mark.slow
def test_a_time_of_flight_sensor_beside_the_others_is_lost_at_the_edge_of_its_reach(
    phrases: banks.Bank, tmp_path: Path
) -> None:
    """Its one shortcoming: a wall that passes from 1.6 to 1.4 m gives doubtful answers, and it is named meanwhile."""
    banks.build(BESIDE, banks.default_directory())  # one more sensor has more that can be said of it
    outcome = run_fast(1, tmp_path, config=BESIDE)
    assert [e.text for e in outcome.expectations if not e.met] in ([], ["no sensor or part is reported broken"])
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {line["data"]["sensor"] for line in lines if line["type"] == "sensor.lost"} <= {"tof"}


@pytest.mark.process
def test_other_parts_are_worn_in_real_time(phrases: banks.Bank, tmp_path: Path) -> None:
    """Sealed sensor, MPU-6050 and INA219 under real processes: they stay well, and a fall reaches the caregiver."""
    config = Config(range_sensor=(A02yyuw(),), imu=Imu(chip="mpu6050"), battery=Battery(chip="ina219"))
    finished = real_walk(tmp_path, 1, config=config)
    assert [met for met in scenarios.judge(finished.scenario, finished.evidence) if not met.met] == []
    assert [told for told in finished.told if told.what not in ("started", "ended")] == []
    assert [s["chip"] for s in finished.recordings[0].session.config["range_sensor"]] == ["a02yyuw"]


@pytest.mark.parametrize(
    ("fault", "limit_s"),
    [
        pytest.param("rear:off@14-20", 1.0, id="no power"),
        pytest.param("rear:unplugged@14-20", 1.0, id="adapter pulled out"),
        pytest.param("rear:garbage@14-20", 1.0, id="bytes without meaning"),
        pytest.param("rear:slow@14-20", 2.0, id="it filters"),
        pytest.param("rear:off", 1.0, id="absent at the start"),
    ],
)
def test_a_broken_sealed_sensor_is_named_aloud(phrases: banks.Bank, fault: str, limit_s: float) -> None:
    """The only rear sensor is gone: the walker hears it in time."""
    parsed = Fault.parse(fault)
    made = walk(SEALED, phrases, parsed.start_s + limit_s + 1.5, [fault])
    tones = heard(made, "fault", from_s=parsed.start_s)
    assert tones[0] <= parsed.start_s + limit_s
    assert heard(made, "not_protecting:rear", from_s=parsed.start_s)[0] <= parsed.start_s + limit_s + 1.0


@pytest.mark.parametrize(
    ("chip", "fault", "key"),
    [
        pytest.param("max17048", "battery:low", "battery_low:20", id="gauge: low"),
        pytest.param("max17048", "battery:off", "fault:battery", id="gauge: missing"),
        pytest.param("max17048", "battery:wrong", "fault:battery", id="gauge: another chip"),
        pytest.param("max17048", "battery:garbage", "fault:battery", id="gauge: all bits set"),
        pytest.param("ina219", "battery:off", "fault:battery", id="monitor: missing"),
        pytest.param("ina219", "battery:wrong", "fault:battery", id="monitor: another chip"),
        pytest.param("ina219", "battery:garbage", "fault:battery", id="monitor: all bits set"),
    ],
)
@pytest.mark.slow
def test_battery_trouble_is_said_once(
    phrases: banks.Bank, chip: Literal["max17048", "ina219"], fault: str, key: str
) -> None:
    """The walker hears which it is, once, and the walk goes on."""
    config = Config(range_sensor=(A02yyuw(),), battery=Battery(chip=chip))
    made = walk(config, phrases, 24.0, [fault])
    assert [h.key for h in made.ear.heard if h.key.startswith(("battery_low", "fault:"))] == [key]
    assert heard(made, "guarding")


@pytest.mark.parametrize(
    ("chip", "fault"),
    [
        pytest.param("max17048", "battery:empty", id="gauge: nearly empty"),
        # It estimates, and of a cell that falls slowly it speaks early.
        pytest.param("ina219", "battery:low", id="monitor: low"),
        pytest.param("ina219", "battery:empty", id="monitor: nearly empty"),
    ],
)
@pytest.mark.slow
def test_no_walk_is_begun_with_an_empty_battery(
    phrases: banks.Bank, chip: Literal["max17048", "ina219"], fault: str
) -> None:
    """It says so and does not call itself guarding; of what comes near it warns all the same."""
    config = Config(range_sensor=(A02yyuw(),), battery=Battery(chip=chip))
    made = walk(config, phrases, 24.0, [fault])
    assert heard(made, "not_protecting:battery")
    assert not heard(made, "guarding")
    assert heard(made, "stop")


@pytest.mark.parametrize(
    ("fault", "key"),
    [
        pytest.param("pi:undervoltage@3-8", "fault:power", id="weak power"),
        pytest.param("pi:hot@3", "fault:heat", id="hot"),
    ],
)
def test_trouble_of_the_pi_itself_is_said(phrases: banks.Bank, fault: str, key: str) -> None:
    """Weak power and heat are named within 12 s."""
    made = walk(SEALED, phrases, 20.0, [fault])
    assert heard(made, key)
    assert heard(made, key)[0] <= 15.0


def test_a_computer_that_is_no_pi_says_nothing(phrases: banks.Bank) -> None:
    """Without the files of a Raspberry Pi nothing is wrong."""
    made = walk(SEALED, phrases, 20.0, ["pi:off"])
    assert heard(made, "fault") == []
