"""A device that looks, sounds and is felt to both sides, with a thermometer, worn in virtual time."""

from __future__ import annotations

import math
import wave
from array import array
from pathlib import Path

import pytest

from retrowalk.config import Air, Battery, Config, HcSr04, Vibration, Voice
from retrowalk.core import events as ev
from retrowalk.core.samples import AirSample, RangeSample, RangeStatus
from retrowalk.courier import recording
from retrowalk.replay import replay
from retrowalk.sim.scenarios import WALKER, Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import Action, HandBehind, Place, Walk, Weather
from retrowalk.voice import bank as banks

pytestmark = pytest.mark.slow

SIDES = Config(
    range_sensor=(
        HcSr04(name="left", bearing_left_deg=15.0),
        HcSr04(name="right", bearing_left_deg=-15.0, trigger_pin=5, echo_pin=6),
    ),
    air=Air(thermometer="ds18b20"),
    battery=Battery(chip="none"),
    vibration=Vibration(right_pin=26),
    voice=Voice(say_side=True),
)
AIR_C = 30.0
WALK_S, END_S = 8.0, 16.0


class Walked:
    """A walk towards somebody who stands `left_m` to the left of the path's line, in summer."""

    def __init__(self, folder: Path, left_m: float) -> None:
        script: list[tuple[float, Action]] = [
            (0.0, Weather(temperature_c=AIR_C)),
            (3.2, HandBehind(for_s=1.0)),
            (WALK_S, Place("person_jacket", 2.6, left_m=left_m)),
            (WALK_S, Walk(0.3)),
        ]
        scenario = Scenario("sides", END_S, tuple(script), WALKER, (), {})
        bank = banks.build(SIDES, banks.default_directory())
        walk = VirtualWalk(SIDES, scenario, 1, bank, wav=folder / "walk.wav")
        try:
            walk.run_until(END_S)
            walk.recorder.close()
            self.recording = recording.read(walk.recordings())
            self.heard = [(h.start_s, h.end_s, h.key) for h in walk.ear.heard if h.start_s > WALK_S]
            self.felt = [(t_s, what) for t_s, what in walk.world.felt if t_s > WALK_S]
            self.stops_s = [t_s for t_s, _ in walk.world.walker.stops]
        finally:
            walk.close()
        with wave.open(str(folder / "walk.wav")) as sound:
            self._sound = array("h", sound.readframes(sound.getnframes()))

    def louder_left_db(self, key: str) -> float:
        """How much louder a clip was on the left."""
        start_s, end_s, _ = next(heard for heard in self.heard if heard[2] == key)
        part = self._sound[2 * round(start_s * 48_000) : 2 * round(end_s * 48_000)]
        left, right = (sum(sample * sample for sample in part[channel::2]) for channel in (0, 1))
        return 10.0 * math.log10(left / right)

    def values(self, kind: type) -> list[object]:
        return [entry.value for entry in self.recording.entries if isinstance(entry.value, kind)]


@pytest.fixture(scope="module", params=[0.7, -0.7], ids=["left", "right"])
def walked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Walked, float]:
    return Walked(tmp_path_factory.mktemp("sides"), request.param), request.param


@pytest.mark.slow
def test_somebody_to_one_side_is_heard_felt_and_said_there(walked: tuple[Walked, float]) -> None:
    """From their sound waves to the walker's ear: the side is right, and the walker stops."""
    walk, left_m = walked
    side, other = ("left", "right") if left_m > 0 else ("right", "left")
    said = [key for _, _, key in walk.heard if key.startswith("object")]
    assert said
    assert said[0].startswith(f"object_{side}:")
    assert not [key for key in said if other in key]
    assert walk.louder_left_db("stop") * math.copysign(1.0, left_m) > 5.0
    motors = {"left": "vibration", "right": "vibration-right"}
    first = next(what for _, what in walk.felt if what != "buzzer")
    assert first == motors[side]
    assert walk.stops_s


@pytest.mark.slow
def test_ranges_follow_the_air(walked: tuple[Walked, float]) -> None:
    """In 30 C the drivers read 5 % too near; what is said of the hazard is right to 3 %, give or take the noise."""
    walk, left_m = walked
    (*_, air) = walk.values(AirSample)
    assert isinstance(air, AirSample)
    assert air.temperature_c == pytest.approx(AIR_C, abs=0.1)
    raised = [
        event
        for event in walk.values(ev.HazardRaised)
        if isinstance(event, ev.HazardRaised) and event.level == "warning" and event.t_s > WALK_S
    ]
    sensor = raised[0].sensor
    said = [
        sample
        for sample in walk.values(RangeSample)
        if isinstance(sample, RangeSample) and sample.sensor == sensor and sample.status is RangeStatus.VALID
    ]
    before = min(said, key=lambda sample: abs(sample.t_received_s - raised[0].t_s))
    assert raised[0].range_m is not None
    assert before.range_m is not None
    assert raised[0].range_m / before.range_m == pytest.approx(1.053, abs=0.03)
    assert raised[0].bearing_left_deg == math.copysign(15.0, left_m)


def test_it_replays_to_the_same_events(walked: tuple[Walked, float]) -> None:
    """Thermometer, sides and all: what was recorded gives the same again."""
    assert replay(walked[0].recording).identical
