"""The clip in hands, on the whole simulated device: real drivers, guard, voice and courier; nobody is called."""

from __future__ import annotations

import pytest

from retrowalk.config import Config
from retrowalk.sim.handling import HANDLINGS
from retrowalk.sim.scenarios import Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.walker import OLDER
from retrowalk.sim.world import HandBehind, Wear
from retrowalk.voice import bank

SEED = 3


@pytest.fixture(scope="module")
def phrases() -> bank.Bank:
    """The rendered phrases."""
    return bank.build(Config(), bank.default_directory())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        # Every third here; `tests/core/test_worn.py` has all of them without the device around.
        pytest.param(
            name, marks=[] if name == "cable plugged in" else [pytest.mark.repeats if at % 3 else pytest.mark.slow]
        )
        for at, name in enumerate(HANDLINGS)
    ],
)
def test_no_handling_calls_anybody(name, phrases):
    """What the caregiver's side receives of it: no fall, no call for help, and the state that it should be."""
    handling = HANDLINGS[name](SEED)
    script = ((0.0, Wear(handling)), (4.0, HandBehind(for_s=1.0)))
    scenario = Scenario(f"handling: {name}", handling.seconds, script, OLDER, (), {})
    walk = VirtualWalk(scenario.config, scenario, SEED, phrases)
    try:
        walk.run_until(handling.seconds)
        evidence = walk.finish()
    finally:
        walk.close()
    events = [p.payload for p in evidence.published if "/event/" in p.topic]
    kinds = {payload["eventtype"] for payload in events}
    assert not {kind for kind in kinds if kind.startswith(("fall.", "sos."))}
    states = [payload["data"]["state"] for payload in events if payload["eventtype"] == "guard.changed"]
    states = [state for state in states if state != "stopping"]
    assert states[-1] in handling.ends
    if handling.not_worn_by_s is not None:
        assert "not_worn" in states
        assert "not_worn" in [heard.key for heard in evidence.heard]
    if handling.stays:
        assert "not_worn" not in states
