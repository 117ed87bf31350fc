"""The wall clock is set in the middle of a walk and of a countdown: nothing but its labels changes."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from retrowalk.config import Config, Fall
from retrowalk.courier import recording
from retrowalk.sim import world
from retrowalk.sim.scenarios import WALKER, Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import HandBehind, Place, Stand, Walk
from retrowalk.voice import bank as banks

CONFIG = Config(fall=Fall(countdown_s=15.0))
SCRIPT = (
    (3.2, HandBehind(for_s=1.0)),
    (9.0, Place("wall", 3.4)),
    (9.0, Walk(0.45)),
    (16.0, Walk(-0.6)),
    (21.0, Stand()),
    (22.0, world.Fall()),
)
JUMPS_S = (12.0, 30.0)
"""While it cautions of the wall, and while it counts down."""
UNTIL_S = 44.0
YEAR_S = 365.0 * 86400.0


@cache
def walked(first_s: float, *by_s: float) -> tuple[list[tuple[float, str]], list[tuple[float, str, Any]], list[str]]:
    """What is heard, what happens, and what is said of the clock, when that is wrong at first and set by so much."""
    scenario = Scenario("clock", UNTIL_S, SCRIPT, WALKER, (), {})
    walk = VirtualWalk(CONFIG, scenario, 1, banks.build(CONFIG, banks.default_directory()))
    walk.clock.jump_wall(first_s)
    try:
        for t_s, jump_s in zip(JUMPS_S, by_s, strict=False):
            walk.run_until(t_s)
            walk.clock.jump_wall(jump_s)
        walk.run_until(UNTIL_S)
        walk.recorder.close()
        entries = [entry for path in walk.recordings() for entry in recording.read([path]).entries]
        outputs = [entry.value for entry in entries if entry.channel.startswith("/event/")]
        clock = [output.detail for output in outputs if output.type == "clock.changed"]
        happened = [
            (
                output.t_s,
                output.type,
                {name: getattr(output, name) for name in ("duration_s", "steps", "fall") if hasattr(output, name)},
            )
            for output in outputs
            if output.type != "clock.changed"
        ]
        return [(heard.start_s, heard.key) for heard in walk.ear.heard], happened, clock
    finally:
        walk.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first_s", "by_s", "told"),
    [
        pytest.param(0.0, (YEAR_S, -YEAR_S), ["set forward by 31536000 s", "set back by 31536000 s"], id="a year"),
        pytest.param(0.0, (-60.0, 3600.0), ["set back by 60 s", "set forward by 3600 s"], id="a minute, an hour"),
        pytest.param(-1.7e9, (0.0, 1.7e9), ["set forward by 1700000000 s"], id="unset at first"),
    ],
)
def test_a_clock_that_is_set_changes_no_warning_no_duration_and_no_countdown(first_s, by_s, told):
    """Heard and told at the same instants as by a clock that runs; that it was set is an event of its own."""
    heard, happened, clock = walked(first_s, *by_s)
    undisturbed_heard, undisturbed, nothing = walked(0.0)
    assert [key for _, key in undisturbed_heard if key == "stop"]
    assert [kind for _, kind, _ in undisturbed if kind == "fall.confirmed"]
    assert nothing == []
    assert heard == undisturbed_heard
    assert happened == undisturbed
    assert clock == told
