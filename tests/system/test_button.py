"""What a press brings to the walker's ear, through button, guard, voice and mixer, in virtual time."""

from __future__ import annotations

import dataclasses

import pytest

from retrowalk.config import Config
from retrowalk.sim import scenarios
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import Action, HandBehind, Place, Press, Walk
from retrowalk.voice import bank as banks

pytestmark = pytest.mark.slow

MEANT_S = 0.45
"""A press has its meaning so long after its release: by then no second one has come."""


def heard(scenario: scenarios.Scenario, until_s: float, *faults: str) -> list[tuple[float, str]]:
    """When the ear took in what, up to a time."""
    phrases = banks.build(Config(), banks.default_directory())
    broken = Faults([Fault.parse(text) for text in faults])
    walk = VirtualWalk(scenario.config, scenario, 1, phrases, faults=broken)
    try:
        walk.run_until(until_s)
        return [(h.start_s, h.key) for h in walk.ear.heard if h.key != "tick"]
    finally:
        walk.close()


def with_more(scenario: scenarios.Scenario, *more: tuple[float, Action]) -> scenarios.Scenario:
    """The same walk, and something more happens."""
    return dataclasses.replace(scenario, script=(*scenario.script, *more))


@pytest.mark.parametrize(
    ("faults", "expected"),
    [
        pytest.param((), ["good", "guarding", "around:linked-"], id="all is well"),
        pytest.param(("imu:off@14",), ["fault", "limited:imu", "around:linked-"], id="no clip"),
    ],
)
def test_a_press_is_answered_within_a_second(faults: tuple[str, ...], expected: list[str]) -> None:
    """What guards and what does not, who is reached, the battery; the first of it sounds within a second."""
    pressed_s = 18.0
    scenario = dataclasses.replace(scenarios.fall(1), script=((4.0, HandBehind(for_s=1.0)), (pressed_s, Press(0.2))))
    meant_s = pressed_s + 0.2 + MEANT_S
    answer = [(t, key) for t, key in heard(scenario, 27.0, *faults) if t >= meant_s - 0.01]
    assert answer[0][0] < meant_s + 1.0
    assert all(key.startswith(begin) for (_, key), begin in zip(answer, expected, strict=False)), answer


def test_the_limits_delay_no_warning() -> None:
    """A wall comes near while the limits are said: the warning sounds when it sounds on a device that says nothing."""
    more = ((12.0, Walk(0.5)), (12.0, Place("wall", 4.5)))
    script = scenarios.first_use(1).script[:1]
    new = dataclasses.replace(scenarios.first_use(1), script=script)
    stops = []
    for first_use in (True, False):
        took = heard(with_more(dataclasses.replace(new, first_use=first_use), *more), 24.0)
        assert any(key.startswith("introduction") for _, key in took) == first_use
        stops.append([t for t, key in took if key in ("warning", "stop")][:2])
    assert stops[0]
    assert stops[0] == pytest.approx(stops[1], abs=0.03)
