"""The governor: tells a walker who is faster than the working sensors can protect to slow down.

What protects is the range to which things are seen (`Reach`); turned round, the stopping-distance rule makes a speed of
it.  The walker's own speed is known to some 15 % at first (`OwnSpeed`), so it is said of who is faster by more than
that, for a while, and it is over when they are no faster than protected.  Who does not slow down hears it ever more
seldom: it has been understood.

It does not know forward from backward walking, but for things left behind: somebody who walks forward in the open
faster than they could backward is told to slow down, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from retrowalk.config import Collision, Walker
from retrowalk.config import Governor as Knobs
from retrowalk.core import events as ev
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.events import Level
from retrowalk.core.hazards import human_stop_s

OVER_S = 1.0
"""So long no faster than protected, and it is over."""
LONGEST_GAPS = 8
"""Each time it is said in vain the gap doubles, up to so many gaps ..."""
FORGET_S = 60.0
"""... and who has not been too fast for so long is told anew."""


def protected_speed_m_s(reach_m: float, walker: Walker, collision: Collision) -> float:
    """Fastest backward speed at which this walker stops short of what is seen `reach_m` away; 0 when it never is so.

    The stopping-distance rule (`hazards.needed_m`) turned round: (R - foot reach - clearance) / (t_system + t_human).
    """
    room_m = reach_m - walker.reach_m - walker.clearance_m
    return max(0.0, room_m / (collision.system_delay_s + human_stop_s(walker)))


class Governor:
    """Judges now and then (`judge`), and says so when it is due (`advance`).  Times are session seconds, received."""

    def __init__(self, knobs: Knobs, arbiter: Arbiter, emit: Callable[[ev.Event], None]) -> None:
        self._knobs = knobs
        self._arbiter = arbiter
        self._emit = emit
        self._since_s: float | None = None
        """Since when the walker has been too fast without a break."""
        self._slower_since_s: float | None = None
        self._raised = False
        self._said_s = -math.inf
        self._too_fast_s = -math.inf
        self._gaps = 1
        self._speeds = (0.0, 0.0)

    def judge(self, now: float, speed_m_s: float | None, error: float, protected_m_s: float) -> None:
        """The walker goes so fast (None: stands, or nobody knows), give or take this share; so much is protected."""
        speed = 0.0 if speed_m_s is None else speed_m_s
        self._speeds = (speed, protected_m_s)
        if speed > protected_m_s * (1.0 + error):
            self._slower_since_s = None
            if now - self._too_fast_s > FORGET_S:
                self._gaps = 1
            self._too_fast_s = now
            if self._since_s is None:
                self._since_s = now
            return
        self._since_s = None
        if self._raised and speed <= protected_m_s:
            if self._slower_since_s is None:
                self._slower_since_s = now
        else:
            self._slower_since_s = None

    def advance(self, now: float, *, quiet: bool) -> None:
        """Says what is due.  `quiet`: something more urgent is being said, or it does not matter now."""
        if self._raised and self._slower_since_s is not None and now >= self._slower_since_s + OVER_S:
            self._raised = False
            self._slower_since_s = None
            self._arbiter.retract("governor")
            self._emit(ev.HazardCleared(t_s=round(now, 3), hazard="too_fast", level="none"))
        if quiet:
            self._since_s = None  # what was said meanwhile makes most people stop
        elif now >= self._due_s():
            self._say(now)

    def deadline(self) -> float:
        """When `advance` may do something."""
        over_s = math.inf if self._slower_since_s is None else self._slower_since_s + OVER_S
        return min(over_s, self._due_s())

    def _due_s(self) -> float:
        if self._since_s is None:
            return math.inf
        return max(self._since_s + self._knobs.after_s, self._said_s + self._gaps * self._knobs.gap_s)

    def _say(self, now: float) -> None:
        speed, protected = self._speeds
        if now < self._said_s + FORGET_S:
            self._gaps = min(LONGEST_GAPS, 2 * self._gaps)
        self._said_s = now
        because = f"walking {speed:.2f} m/s, protected up to {protected:.2f} m/s"
        number = self._arbiter.announce(now, "governor", because=because, insist=False)
        if self._raised:
            return
        self._raised = True
        self._emit(
            ev.HazardRaised(
                t_s=round(now, 3),
                alert=number,
                hazard="too_fast",
                level=Level.CAUTION.name.lower(),
                protected_speed_m_s=round(protected, 2),
            )
        )
