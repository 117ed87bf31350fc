"""The governor on whole walks in virtual time: "Slow down" is heard of who is too fast for what the sensors see."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from retrowalk.config import Config, parse
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.scenarios import WALKER, Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import Action, HandBehind, Walk, Weather
from retrowalk.voice import bank as banks

TWO_REAR = '[[range_sensor]]\nchip = "hc-sr04"\n[[range_sensor]]\nchip = "tf-luna"\n'
WALK_S = 8.0
PROTECTED_M_S = 0.675
"""Older walker, ultrasonic and lidar; 0.58 with one of them."""
BETWEEN_M_S = 0.70
"""Slow enough for both sensors, given what the clip knows of the speed; too fast for one."""

Walks = Callable[..., VirtualWalk]


@pytest.fixture
def walks() -> Iterator[Walks]:
    """Makes a walk on a clear path, at a speed, in the weather and with the faults that the test asks for."""
    made: list[VirtualWalk] = []
    # The default device's phrases have all that is said here.
    phrases = banks.build(Config(), banks.default_directory())

    def make(
        until_s: float, speed_m_s: float, *more: tuple[float, Action], faults: tuple[str, ...] = ()
    ) -> VirtualWalk:
        script: tuple[tuple[float, Action], ...] = ((3.5, HandBehind(for_s=1.2)), (WALK_S, Walk(speed_m_s)), *more)
        scenario = Scenario("governor", until_s, script, WALKER, (), {})
        config = parse(TWO_REAR.encode(), "governor")
        walk = VirtualWalk(config, scenario, 1, phrases, faults=Faults(Fault.parse(text) for text in faults))
        walk.world.walker.bounciness = 1.0
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
def test_a_fast_walker_is_told_to_slow_down(walks: Walks) -> None:
    """At 1.1 m/s on a clear path: heard within 5 s of the first step, felt, published.

    The walker, who obeys, ends up no faster than the sensors protect, give or take what the clip knows.
    """
    walk = walks(32.0, 1.1)
    said = heard(walk, "slow_down")
    assert WALK_S + 2.0 < said[0] < WALK_S + 5.0
    assert all(b - a >= 9.9 for a, b in itertools.pairwise(said))
    assert "vibration" in [what for t, what in walk.world.felt if said[0] - 0.2 < t < said[0] + 0.8]
    raised = [p.payload["data"] for p in walk.evidence().published if p.payload.get("eventtype") == "hazard.raised"]
    assert [(data["hazard"], data["level"]) for data in raised] == [("too_fast", "caution")]
    assert raised[0]["protected_speed_m_s"] == pytest.approx(PROTECTED_M_S, abs=0.01)
    assert walk.world.walker.speed_m_s < 1.15 * PROTECTED_M_S
    snapshot = walk.guard.companion.snapshot()
    assert snapshot.own_speed_m_s == pytest.approx(walk.world.walker.speed_m_s, rel=0.15)
    assert snapshot.protected_speed_m_s == pytest.approx(PROTECTED_M_S, abs=0.01)


@pytest.mark.slow
def test_a_walker_whom_the_sensors_protect_hears_nothing(walks: Walks) -> None:
    """At the default set's speed: the guarding tick, and no other word."""
    walk = walks(28.0, BETWEEN_M_S)
    assert heard(walk, "slow_down") == []
    assert heard(walk, "tick")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weather", "faults"),
    [
        pytest.param((Weather(sun_deg=5.0),), (), id="low sun behind"),
        pytest.param((), ("lidar:off@16",), id="lidar lost", marks=pytest.mark.slow),
        pytest.param((), ("rear:off@16",), id="ultrasonic lost"),
    ],
)
def test_with_a_sensor_less_it_comes_at_a_lower_speed(
    walks: Walks, weather: tuple[Action, ...], faults: tuple[str, ...]
) -> None:
    """The sensor is named first; then who goes on at the speed that both of them protected hears "Slow down"."""
    walk = walks(27.0, BETWEEN_M_S, *((16.0, action) for action in weather), faults=faults)
    said = heard(walk, "slow_down")
    assert said
    assert 16.0 + 2.0 < said[0] < 26.0
    assert heard(walk, "sensor_lost")[0] < said[0]
    assert walk.guard.companion.snapshot().protected_speed_m_s == pytest.approx(0.58, abs=0.01)
