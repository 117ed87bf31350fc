"""Hours of an ordinary day out, in rounds of ten minutes: for what shows only after a long time."""

from __future__ import annotations

import random

from retrowalk.sim.world import (
    Action,
    Fall,
    GetUp,
    HandBehind,
    Lean,
    LookBack,
    Place,
    Press,
    Remove,
    Stand,
    Walk,
)

ROUND_S = 600.0
"""Longer than what ends a walk (three minutes without a step), so that each round is a walk with its totals."""
FALL_EVERY = 3
"""One round in so many has a fall, which a press calls off."""

Script = tuple[tuple[float, Action], ...]


def rounds(seed: int, duration_s: float) -> Script:
    """What happens: walks back and forth, walls, people, looks over the shoulder, presses, falls, long rests.

    Every round has another draw.  A round that would not be over by `duration_s` is left out.
    """
    script: list[tuple[float, Action]] = [(4.0, HandBehind(for_s=1.2))]
    for number in range(int(duration_s // ROUND_S)):
        begin_s = number * ROUND_S
        draw = random.Random(f"hours:{seed}:{number}")
        # A brisk one: what the default settings protect is a little more than this.
        speed_m_s = draw.uniform(0.3, 0.55)
        wall_m = draw.uniform(12.0, 18.0)
        t = begin_s + draw.uniform(14.0, 30.0)
        wall = f"wall {number}"
        script += [
            (t, Place("wall", wall_m, name=wall)),
            (t, Walk(speed_m_s)),
            (t + 8.0, LookBack(draw.choice((-40.0, 40.0)), hold_s=2.0)),
        ]
        t += wall_m / speed_m_s + 6.0  # they have stopped by then
        script += [(t, Walk(-0.65)), (t + 12.0, Remove(wall)), (t + 13.0, Stand())]
        t += draw.uniform(20.0, 40.0)
        person = f"person {number}"
        script += [
            (t, Walk(speed_m_s)),
            (t + 6.0, Place("person_jacket", 1.6, name=person)),
            (t + 12.0, Remove(person)),
            (t + 15.0, Walk(speed_m_s)),
            (t + 20.0, Lean(-draw.uniform(5.0, 9.0), over_s=0.8, hold_s=2.0)),
            (t + 40.0, Stand()),
            (t + 50.0, Press()),
        ]
        if number % FALL_EVERY == FALL_EVERY - 1:
            t += 70.0
            script += [(t, Fall()), (t + 12.0, Press()), (t + 20.0, GetUp())]
    return tuple(sorted(script, key=lambda entry: entry[0]))
