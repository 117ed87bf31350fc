"""Very near things: what the ear takes in, and what is felt, where there is no room left."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from retrowalk.config import Config
from retrowalk.sim import scenarios
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import HandBehind, Place
from retrowalk.voice import bank as banks


@pytest.mark.slow
def test_closer_than_touching_a_tone_sounds_between_the_words() -> None:
    """A wall at 0.26 m: "Stop" again and again, the long tone in every pause between, and the touch goes on."""
    phrases = banks.build(Config(), banks.default_directory())
    demo = scenarios.demo(1)
    check = tuple((t_s, action) for t_s, action in demo.script if isinstance(action, HandBehind))
    walk = VirtualWalk(Config(), dataclasses.replace(demo, script=(*check, (20.0, Place("wall", 0.26)))), 1, phrases)
    try:
        walk.run_until(23.0)
        keys = [h.key for h in walk.ear.heard if h.start_s >= 20.0]
        felt = [t_s for t_s, what in walk.world.felt if what == "vibration" and t_s >= 20.0]
    finally:
        walk.close()
    assert keys[:6] == ["warning", "stop", "touching"] * 2
    assert max(b - a for a, b in itertools.pairwise(felt)) <= 0.3
