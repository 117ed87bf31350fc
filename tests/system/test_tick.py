"""The guarding tick is the proof of life: it ends with the guard, whatever ends that, by ear and by touch."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from retrowalk import wire
from retrowalk.config import Config, Voice, Walker
from retrowalk.core.events import GuardState
from retrowalk.core.samples import SavedState
from retrowalk.guard.state import Kept
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.scenarios import WALKER
from retrowalk.sim.virtual import WornAlone
from retrowalk.sim.world import World
from retrowalk.voice import bank as banks

TICK_S = 2.0
STOPS_S = 8.3
UNTIL_S = 15.0
WITHIN_S = 1.0
"""Beside the one that was on its way: the tick is over within so long (and within one of its periods)."""


def _stand_still(device: WornAlone) -> None:
    """Its main loop and its drivers are never called again, and nothing is closed."""
    device.scheduler.remove(device.guard)
    for step in device.steps():
        device.scheduler.remove(step)


def _switch_off(device: WornAlone) -> None:
    device.mail.deliver("guard", wire.encode(wire.StopMessage("person")))
    device.guard.wake()


def _break(*faults: str) -> Callable[[WornAlone], None]:
    def apply(device: WornAlone) -> None:
        pairs = (text.split(":") for text in faults)
        device._faults.all = tuple(Fault(part, kind, STOPS_S) for part, kind in pairs)

    return apply


CAUSES: dict[str, Callable[[WornAlone], None]] = {
    "killed": WornAlone.kill_guard,
    "frozen": _stand_still,
    "switched off": _switch_off,
    "no rear sensor": _break("rear:off", "lidar:off"),
    "rear sensors lie": _break("rear:garbage", "lidar:garbage"),
    "voice killed": WornAlone.kill_voice,
    "sound device gone": _break("voice:off"),
    "sound frozen": _break("voice:stuck"),
}
BY_EAR_ONLY = ("voice killed", "sound device gone", "sound frozen", "rear sensors lie")
"""Who is told by touch goes on being told; and what lies may be felt as a warning until it is found out."""


def ticks(device: WornAlone, *, by_touch: bool) -> list[float]:
    """When the wearer had a sign of life."""
    if by_touch:
        return [t_s for t_s, _ in device.world.felt]
    return [heard.start_s for heard in device.ear.heard if heard.key == "tick"]


@pytest.mark.parametrize(
    ("cause", "by_touch"),
    [
        *(pytest.param(cause, False, id=f"{cause}, by ear") for cause in CAUSES),
        *(
            pytest.param(cause, True, id=f"{cause}, by touch", marks=() if cause == "killed" else pytest.mark.repeats)
            for cause in CAUSES
        ),
    ],
)
@pytest.mark.slow
def test_the_tick_ends_with_the_guard(cause: str, by_touch: bool) -> None:
    """Two ticks or more before; none later than a second after the guard, or what it needs, has stopped."""
    if by_touch and cause in BY_EAR_ONLY:
        pytest.skip("not of the tick that is felt")
    config = Config(voice=Voice(tick_s=TICK_S), walker=Walker(hearing="touch" if by_touch else "sound"))
    world = World(1, profile=WALKER)
    pitch = math.radians(world.walker.upright_deg)
    upright = (-math.sin(pitch), 0.0, math.cos(pitch))
    state = SavedState(0.0, GuardState.GUARDING.value, 0.0, upright, accepted=True, sound_confirmed=True)
    bank = banks.build(Config(), banks.default_directory())
    kept = Kept(1, "before", "simulated", 0.0, 0.0, state, [])
    device = WornAlone(config, world, bank, kept, faults=Faults())
    try:
        device.run_until(STOPS_S)
        before = ticks(device, by_touch=by_touch)
        assert len(before) >= 2
        CAUSES[cause](device)
        device.run_until(UNTIL_S)
        after = ticks(device, by_touch=by_touch)[len(before) :]
        if by_touch and cause not in ("killed", "frozen"):
            # What is wrong is told by touch as well: only single taps are ticks.
            told = list(device.world.felt[len(before) :])
            after = [t_s for t_s in after if not any(0.0 < abs(t_s - other) < 1.0 for other, _ in told)]
        assert [t_s for t_s in after if t_s > STOPS_S + WITHIN_S] == []
    finally:
        if cause not in ("killed", "voice killed"):
            device.close()
