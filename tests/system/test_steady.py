"""Calm words about how somebody walks, through the whole simulated device: what the ear takes in, and by when."""

from __future__ import annotations

import dataclasses
import math

import pytest

from retrowalk.config import Config
from retrowalk.core.events import GuardState
from retrowalk.core.samples import SavedState, Usual
from retrowalk.guard.state import Kept
from retrowalk.sim.virtual import WornAlone
from retrowalk.sim.walker import OLDER
from retrowalk.sim.world import Action, Lean, LookBack, Shuffle, StepUnevenly, Walk, World
from retrowalk.voice import bank as banks

pytestmark = pytest.mark.slow

DEAF = dataclasses.replace(OLDER, stops_for=frozenset(), stops_for_touch=False, slows_for=frozenset())
SPEED_M_S = 0.45
CHANGES_S = 75.0
"""A minute of straight walking lies before: looks are told from bends only then."""
USUAL = Usual(600.0, 0.023, 0.96, 0.50, 96.0, 0.45)
WORDS = ("lean_back", "unsteady", "hurrying", "shuffling", "looking_back")


@pytest.fixture(scope="session")
def phrases() -> banks.Bank:
    """The rendered phrases (script/setup has rendered them; else they are now)."""
    return banks.build(Config(), banks.default_directory())


def heard(phrases: banks.Bank, *changes: Action, until_s: float) -> list[tuple[str, float]]:
    """Which of the words the walker heard, and when they began: one who is known, walks backward, and changes."""
    world = World(1, profile=DEAF)
    world.run([(6.0, Walk(SPEED_M_S)), *((CHANGES_S, change) for change in changes)])
    pitch = math.radians(world.walker.upright_deg)
    upright = (-math.sin(pitch), 0.0, math.cos(pitch))
    state = SavedState(0.0, GuardState.GUARDING.value, 0.0, upright, accepted=True, sound_confirmed=True, usual=USUAL)
    device = WornAlone(Config(), world, phrases, Kept(1, "before", "simulated", 0.0, 0.0, state, []))
    try:
        device.run_until(until_s)
        return [(h.key, h.start_s) for h in device.ear.heard if h.key in WORDS]
    finally:
        device.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(Lean(-8.0), "lean_back", id="leans back"),
        pytest.param(Lean(-8.0, over_s=8.0), "lean_back", id="leans back slowly"),
        pytest.param(StepUnevenly(0.3), "unsteady", id="steps unevenly"),
        pytest.param(Shuffle(), "shuffling", id="shuffles"),
        pytest.param(LookBack(), "looking_back", id="looks back"),
    ],
)
def test_what_changes_is_heard_within_ten_seconds(phrases: banks.Bank, change: Action, words: str) -> None:
    """Those words, once, and nothing of the kind before"""
    ((key, at_s),) = heard(phrases, change, until_s=CHANGES_S + 12.0)
    assert key == words
    assert CHANGES_S < at_s <= CHANGES_S + 10.0


@pytest.mark.parametrize(
    "minutes", [pytest.param(5.0, id="five"), pytest.param(20.0, id="twenty", marks=pytest.mark.repeats)]
)
def test_a_steady_walker_hears_nothing_of_it(phrases: banks.Bank, minutes: float) -> None:
    """So many minutes at one pace"""
    assert heard(phrases, until_s=minutes * 60.0 + 6.0) == []
