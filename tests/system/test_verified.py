"""A device with a microphone, whole and in virtual time: nobody else would notice that its loudspeaker is silent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from retrowalk.config import Config, Voice
from retrowalk.core.events import GuardState
from retrowalk.core.samples import SavedState
from retrowalk.guard.state import Kept
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.scenarios import WALKER
from retrowalk.sim.virtual import WornAlone
from retrowalk.sim.world import Place, Press, Walk, World
from retrowalk.voice import bank as banks

CONFIG = Config(voice=Voice(microphone="simulated"))
WALL_M = 2.6


@pytest.fixture(scope="session")
def phrases() -> banks.Bank:
    """The rendered phrases (script/setup has rendered them; else they are now)."""
    return banks.build(Config(), banks.default_directory())


@contextmanager
def worn(phrases: banks.Bank, *faults: Fault) -> Iterator[WornAlone]:
    """A device that goes on guarding."""
    world = World(3, profile=WALKER)
    pitch = math.radians(world.walker.upright_deg)
    upright = (-math.sin(pitch), 0.0, math.cos(pitch))
    state = SavedState(0.0, GuardState.GUARDING.value, 0.0, upright, accepted=True, sound_confirmed=True)
    kept = Kept(1, "before", "simulated", 0.0, 0.0, state, [])
    device = WornAlone(CONFIG, world, phrases, kept, faults=Faults(list(faults)))
    try:
        yield device
    finally:
        device.close()


def faults_of(device: WornAlone, type: str = "fault.raised") -> list[str]:
    """Names of faults of the voice that were told, in order."""
    device.take_events()
    return [e.data["fault"] for e in device.events if e.type == type and e.data["part"] == "voice"]


def buzzed(device: WornAlone, from_s: float) -> bool:
    return any(t >= from_s for t, _ in device.world.felt)


@pytest.mark.slow
def test_a_walk_with_a_microphone_is_a_walk_without_faults(phrases: banks.Bank):
    """The self-test is heard, words are heard, and nothing is told."""
    with worn(phrases) as device:
        device.run_until(8.0)
        device.world.at(8.0, Press())
        device.run_until(13.0)
        assert device.voice.fault == ""
        assert faults_of(device) == []


@pytest.mark.slow
def test_a_loudspeaker_that_is_unplugged_is_told_and_felt(phrases: banks.Bank):
    """Frames leave as ever, so only the microphone knows: after two messages, and warnings are felt all the same."""
    with worn(phrases, Fault("voice", "unplugged", 8.0)) as device:
        for t in (8.5, 12.5):
            device.run_until(t)
            device.world.at(t, Press())
        device.run_until(18.0)
        assert "unheard" in faults_of(device)
        device.world.at(18.0, Place("wall", WALL_M))
        device.world.at(18.0, Walk(0.5))
        device.run_until(24.0)
        assert buzzed(device, 18.0)


@pytest.mark.slow
def test_a_slow_headset_is_refused_for_warnings(phrases: banks.Bank):
    """It is kept to calm words, and the caregiver knows why, once a pause lets the sweep tell."""
    with worn(phrases, Fault("voice", "headset", 0.0)) as device:
        for t in (4.0, 8.0, 12.0):
            device.run_until(t)
            device.world.at(t, Press())
        device.run_until(27.0)
        told = faults_of(device)
        assert {"slow", "clipped", "unheard"} & set(told), told
        device.world.at(27.0, Place("wall", WALL_M))
        device.world.at(27.0, Walk(0.5))
        device.run_until(33.0)
        assert buzzed(device, 27.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["off", "deaf", "stuck"])
def test_a_microphone_that_fails_takes_nothing_else_with_it(kind: str, phrases: banks.Bank):
    """It is named; the walker goes on being guarded, by voice."""
    with worn(phrases, Fault("microphone", kind, 8.0)) as device:
        device.run_until(14.0)
        assert faults_of(device) == ["microphone"]
        assert not device.guard.companion._arbiter.voice_lost
        assert not device.guard.companion._arbiter.voice_doubted
