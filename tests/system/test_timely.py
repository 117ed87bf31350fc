"""What is said is true when it is said: nothing late, and nothing of what was cut taken up where it ended."""

from __future__ import annotations

import random

import pytest
from tests.system.test_silent_voice import phrases, worn

from retrowalk.core.alerts import ALERTS
from retrowalk.sim.faults import Faults
from retrowalk.sim.world import Place, Press, Remove, Stand, Walk
from retrowalk.voice import bank as banks

__all__ = ["phrases"]

BUFFER_S = 0.06
"""What has been asked for in time leaves the device so much later at the most."""
HELD_S = 1.5
"""What was near is believed to be gone within this time."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_said_late(phrases: banks.Bank, seed: int) -> None:
    """Questions, things that come and go, a walk: every sound begins within the deadline of its row, or not at all."""
    draw = random.Random(f"timely:{seed}")
    limits_s: dict[str, float] = {}
    for row in ALERTS.values():
        name = row.phrase or row.earcon
        limits_s[name] = max(limits_s.get(name, 0.0), row.deadline_s)
    with worn(phrases, seed, Faults()) as device:
        t = 6.0
        while t < 30.0:
            device.world.at(t, Press())
            device.world.at(t + draw.uniform(0.3, 1.5), Place("wall", draw.uniform(0.5, 2.5)))
            device.world.at(t + draw.uniform(1.5, 2.5), Remove("wall"))
            device.world.at(t + draw.uniform(0.0, 1.0), Walk(draw.uniform(0.2, 0.6)))
            device.world.at(t + draw.uniform(1.0, 3.0), Stand())
            t += draw.uniform(3.0, 4.0)
        device.run_until(32.0)
        device.take_events()
        spoken = [event.data for event in device.events if event.type == "alert.spoken"]
        assert len(spoken) > 15
        late = [
            (said["phrase"], said["delay_s"])
            for said in spoken
            if said["delay_s"] > limits_s[said["phrase"]] + BUFFER_S
        ]
        assert late == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_what_a_warning_cuts_is_judged_anew(phrases: banks.Bank, seed: int) -> None:
    """Somebody steps behind in the middle of the answer to a press: "Stop" at once; then the answer, from its start.

    The caution that was cut before is not said again once nothing is there any more.
    """
    draw = random.Random(f"anew:{seed}")
    with worn(phrases, seed, Faults()) as device:
        device.world.at(7.0, Press())
        device.world.at(8.2, Walk(0.4))
        near_s = 8.2 + draw.uniform(0.1, 0.4)
        device.world.at(near_s, Place("person_jacket", 0.7, name="person"))
        device.world.at(near_s + 2.0, Remove("person"))
        device.run_until(near_s + 10.5)
        heard = [(h.start_s, h.key, h.complete) for h in device.ear.heard if h.start_s > 7.0]
        stops = [t for t, key, _ in heard if key == "warning"]
        assert stops
        assert stops[0] <= near_s + 0.7, heard
        answers = [(t, complete) for t, key, complete in heard if key.startswith("around:")]
        assert answers[-1][1], heard
        gone_s = near_s + 2.0
        assert not [t for t, key, _ in heard if key.startswith(("object:", "stop")) and t > gone_s + HELD_S], heard
