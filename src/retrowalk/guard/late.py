"""Whether the guard itself comes too late, and whether somebody has set the clock.

Both are told as health reports.  A processor that others keep busy lets the main loop run late, and every warning with
it: the walker is told to go slowly.  The wall clock is nothing but a label; that it was set is for those who read the
labels later.
"""

from __future__ import annotations

from collections import deque

from retrowalk.core.samples import HealthReport, Item

LATE_S = 0.1
"""A warning may take 0.3 s of which the sensor's period is a third; with this added it takes 0.4."""
LATE_TIMES, LATE_WINDOW_S = 5, 10.0
"""One late turn is a hiccup.  So many within the window (it has a hundred turns or more) are one in twenty."""
IN_TIME_S = 20.0
"""It is over when no turn was late for so long: who starves for a while is told once."""
START_S = 8.0
"""While everything is being opened and imported nobody is guarded yet, and turns are late."""
JUMP_S = 2.0
"""A clock that is slewed differs by less from one second to the next."""


class Punctuality:
    """Counts late turns of the loop.  Times are session seconds."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._late_s: deque[float] = deque(maxlen=LATE_TIMES)
        """When the latest late turns were."""
        self._starved = False

    def turn(self, now: float, wanted_s: float) -> list[Item]:
        """A turn of the loop at `now` that was wanted at `wanted_s`; what there is to report."""
        if self._since_s is None:
            self._since_s = now
        if now < self._since_s + START_S:
            return []
        late_s = now - wanted_s
        if late_s > LATE_S:
            self._late_s.append(now)
            often = len(self._late_s) == LATE_TIMES and now - self._late_s[0] <= LATE_WINDOW_S
            if often and not self._starved:
                self._starved = True
                detail = f"{LATE_TIMES} turns of the main loop were more than {LATE_S} s late, the last by {late_s:.2f}"
                return [HealthReport(now, "guard", "starved", active=True, detail=detail)]
        elif self._starved and now - self._late_s[-1] > IN_TIME_S:
            self._starved = False
            return [HealthReport(now, "guard", "starved", active=False)]
        return []


class WallClock:
    """Notices that the wall clock was set."""

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def look(self, now: float, mono_s: float, wall_s: float) -> list[Item]:
        """Compares the two clocks at session second `now`, about once a second; what there is to report."""
        offset_s = wall_s - mono_s
        before_s, self._offset_s = self._offset_s, offset_s
        if before_s is None or abs(offset_s - before_s) < JUMP_S:
            return []
        by_s = offset_s - before_s
        detail = f"set {'forward' if by_s > 0 else 'back'} by {abs(by_s):.0f} s"
        return [HealthReport(now, "clock", "jumped", active=True, detail=detail)]
