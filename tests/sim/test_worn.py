"""A device worn without its courier: it guards from the start, and what it tells is there once."""

from __future__ import annotations

import math

import pytest

from retrowalk.config import Config
from retrowalk.core.samples import SavedState
from retrowalk.guard.state import Kept
from retrowalk.sim.virtual import WornAlone
from retrowalk.sim.world import Place, Walk, World
from retrowalk.voice import bank


@pytest.fixture(scope="module")
def walked():
    """A walk towards a wall, resumed as after a restart."""
    phrases = bank.build(Config(), bank.default_directory())
    world = World(1)
    world.run([(0.0, Place("wall", 4.0)), (2.5, Walk(0.6))])
    pitch = math.radians(world.walker.upright_deg)
    state = SavedState(
        0.0, "guarding", 0.0, (-math.sin(pitch), 0.0, math.cos(pitch)), accepted=True, sound_confirmed=True
    )
    kept = Kept(1, "before", "simulated", 0.0, 0.0, state, [])
    device = WornAlone(Config(), world, phrases, kept, keep_records=True)
    device.run_until(9.0)
    device.take_events()
    yield device
    device.close()


@pytest.mark.slow
def test_it_guards_without_a_hand_behind(walked):
    """Within half a second, and stops the walker short of the wall"""
    changes = [event for event in walked.events if event.type == "guard.changed"]
    assert changes[-1].data["state"] == "guarding"
    assert changes[-1].t_s < 0.5
    assert "warning" in [heard.key for heard in walked.ear.heard]
    assert walked.world.contacts == []
    assert walked.world.walker.standing


@pytest.mark.slow
def test_what_is_told_is_there_once(walked):
    """Events are confirmed like a courier does: none comes again, none is missing"""
    numbers = [event.number for event in walked.events]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {record.channel for record in walked.records} >= {"/item/range/rear", "/item/imu"}
    assert "fault.raised" not in {event.type for event in walked.events}
