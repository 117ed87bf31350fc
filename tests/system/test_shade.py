"""A device whose only range sensor is a VL53L1X: it warns in the shade, and in the sun it is never called clear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrowalk.config import parse
from retrowalk.core.samples import RangeSample, RangeStatus
from retrowalk.courier import recording
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.scenarios import WALKER, Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import Action, HandBehind, Place, Walk, Weather
from retrowalk.voice import bank as banks

ONLY_TOF = '[[range_sensor]]\nchip = "vl53l1x"\n'
HAND_S, WALK_S, SPEED_M_S = 4.0, 11.0, 0.4
WALL_M = 3.0
AT_WALL_S = WALK_S + (WALL_M - 1.36) / SPEED_M_S
"""From here on it could see the wall."""

Walks = Callable[..., VirtualWalk]


@pytest.fixture(scope="module")
def phrases() -> banks.Bank:
    """The phrases of this device, all in memory."""
    bank = banks.build(parse(ONLY_TOF.encode(), "shade"), banks.default_directory())
    while bank.load_next():
        pass
    return bank


@pytest.fixture
def walks(phrases: banks.Bank) -> Iterator[Walks]:
    """Makes a walk towards a wall, in the light and with the faults that the test asks for."""
    made: list[VirtualWalk] = []

    def make(
        until_s: float, *more: tuple[float, Action], faults: tuple[str, ...] = (), wall: bool = True
    ) -> VirtualWalk:
        script: list[tuple[float, Action]] = [(HAND_S, HandBehind(for_s=1.2)), (WALK_S, Walk(SPEED_M_S)), *more]
        if wall:
            script.append((WALK_S, Place("wall", WALL_M)))
        scenario = Scenario("shade", until_s, tuple(script), WALKER, (), {}, ONLY_TOF)
        broken = Faults(Fault.parse(text) for text in faults)
        walk = VirtualWalk(scenario.config, scenario, 1, phrases, faults=broken)
        made.append(walk)
        walk.run_until(until_s)
        return walk

    yield make
    for walk in made:
        walk.close()


def heard(walk: VirtualWalk, *starts: str) -> list[float]:
    """When clips whose key begins so were heard."""
    return [h.start_s for h in walk.ear.heard if h.key.startswith(starts)]


@pytest.mark.slow
def test_a_wall_in_the_shade_is_warned_of(walks: Walks) -> None:
    """The hand is checked, the path is guarded, and within a second of the wall coming into reach "Stop" is said."""
    walk = walks(22.0)
    assert heard(walk, "guarding")
    assert not heard(walk, "not_protecting", "sensor_lost", "behind_unknown")
    assert AT_WALL_S - 0.5 < heard(walk, "stop")[0] < AT_WALL_S + 1.0
    assert walk.world.contacts == []


@pytest.mark.slow
def test_walking_into_the_sun_it_is_lost(walks: Walks) -> None:
    """Out of the shade into the sun: within a second the walker hears that nothing guards the path behind."""
    walk = walks(20.0, (13.0, Weather(ambient_kcps=3000.0)), wall=False)
    assert 13.0 < heard(walk, "not_protecting")[0] < 14.5
    assert [t for t in heard(walk, "guarding", "clear", "sensor_back") if t > 13.0] == []


@pytest.mark.slow
def test_in_the_sun_it_is_never_clear(walks: Walks, tmp_path: Path) -> None:
    """In the sun from the start, the path is never guarded and no sample says that nothing is there."""
    walk = walks(15.0, (0.0, Weather(sun_deg=20.0)), wall=False)
    assert heard(walk, "not_protecting")[0] < 1.5
    assert not heard(walk, "guarding", "clear")
    walk.recorder.close()
    samples = [
        entry.value
        for path in sorted((walk._directory / "recordings").rglob("*.mcap"))
        for entry in recording.read([path]).entries
        if isinstance(entry.value, RangeSample)
    ]
    assert len(samples) > 200
    assert {sample.status for sample in samples} <= {RangeStatus.UNTRUSTED, RangeStatus.VALID}


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["off", "stuck", "garbage", "wrong", "broken", "slow", "delayed", "sun"])
def test_a_fault_is_heard(walks: Walks, fault: str) -> None:
    """Whatever happens to the sensor, within two seconds the walker hears that nothing guards the path behind."""
    walk = walks(15.0, faults=(f"tof:{fault}@12.5",), wall=False)
    assert 12.5 < heard(walk, "not_protecting")[0] < 14.5


@pytest.mark.slow
def test_a_brown_out_is_not_heard(walks: Walks) -> None:
    """A sensor that forgot its settings and is set up again costs the walker nothing."""
    walk = walks(15.0, faults=("tof:reboot@12.5",), wall=False)
    assert not heard(walk, "not_protecting", "sensor_lost", "fault")
