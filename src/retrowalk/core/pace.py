"""How fast the samples of the clip come, by their own times: its chips differ, and each by a few per cent more."""

from __future__ import annotations

import math

NOMINAL_DT_S = 1.0 / 104.0
"""Believed until samples have shown otherwise."""
WINDOW = 64
CHANGE = 0.02
"""Filters are tuned anew for a change beyond this: less moves a cut-off by less than people differ."""
GAP = 1.5
"""Samples further apart than this many periods do not follow each other."""


class Pace:
    """Follows the time between samples.  Feeds on measured times in session seconds."""

    __slots__ = ("_count", "_from_s", "_last_s", "period_s")

    def __init__(self) -> None:
        self.period_s = NOMINAL_DT_S
        self._last_s = -math.inf
        self._from_s = 0.0
        self._count = 0

    def update(self, t_s: float) -> bool:
        """Takes the time of one sample; returns whether `period_s` has just changed."""
        follows = 0.0 < t_s - self._last_s < GAP * self.period_s
        self._last_s = t_s
        if not follows:
            self._from_s, self._count = t_s, 0
            return False
        self._count += 1
        if self._count < WINDOW:
            return False
        period_s = (t_s - self._from_s) / WINDOW
        self._from_s, self._count = t_s, 0
        if abs(period_s / self.period_s - 1.0) < CHANGE:
            return False
        self.period_s = period_s
        return True
