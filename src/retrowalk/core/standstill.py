"""Ranges that stand still though the wearer steps: a sensor that hangs, or that sees only what is carried along.

A body that walks never keeps one distance: its trunk sways and its speed ripples with every step, and whoever follows
has another step.  Ten centimetres of change in two seconds are usual, two centimetres the least; a module that repeats
itself changes by what the time stamps of its edges are worth, a few millimetres.  It is judged at steps only: who
stands before a wall keeps his distance.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 2.0
"""With the step that ends it and the fault's sound, a sensor is named within 3 s of stepping."""
RANGES_MIN = 13
SAME_M = 0.001
"""Eight in ten of a window's ranges lie within this: it stands still."""
SAME_ECHO_M = 0.008
"""The same for a range that is worked out from two edges, whose kernel time stamps jitter by 30 us, 5 mm, each."""
MOVED_M = 0.025
"""As many of the latest second spread over this: it moves again."""
MOVED_S = 1.0
MOVED_MIN = 6
LATE_S = 0.3
"""The first range of a window may come so much after its beginning."""


class Standstill:
    """Follows one sensor's ranges, which are the same within `same_m`.

    Times are measured times in session seconds, ranges metres.
    """

    def __init__(self, same_m: float = SAME_M) -> None:
        self._same_m = same_m
        self._ranges: deque[tuple[float, float]] = deque()
        self.frozen = False
        """Whether its ranges stood still while the wearer stepped, and have not moved since."""

    def saw_range(self, t_measured_s: float, range_m: float) -> None:
        """Something at `range_m`."""
        ranges = self._ranges
        ranges.append((t_measured_s, range_m))
        while ranges[0][0] < t_measured_s - WINDOW_S:
            ranges.popleft()
        if self.frozen:
            latest = [range_m for t_s, range_m in ranges if t_s >= t_measured_s - MOVED_S]
            if len(latest) >= MOVED_MIN and _spread_m(latest) > MOVED_M:
                self.frozen = False

    def saw_nothing(self) -> None:
        """The sensor answered that nothing is there: it does not hang."""
        self._ranges.clear()
        self.frozen = False

    def stepped(self, t_s: float, walking_since_s: float) -> bool:
        """A step at `t_s` of a walk that began at `walking_since_s`; returns whether the ranges stand still."""
        since_s = t_s - WINDOW_S
        if not self.frozen and walking_since_s <= since_s:
            ranges = [range_m for at_s, range_m in self._ranges if since_s <= at_s <= t_s]
            whole = bool(ranges) and self._ranges[0][0] <= since_s + LATE_S
            self.frozen = whole and len(ranges) >= RANGES_MIN and _spread_m(ranges) <= self._same_m
        return self.frozen


def _spread_m(ranges: list[float]) -> float:
    """Spread of a list of ranges without the nearest and the farthest tenth: stray echoes."""
    ordered = sorted(ranges)
    cut = len(ordered) // 10
    return ordered[-1 - cut] - ordered[cut]
