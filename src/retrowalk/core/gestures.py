"""What the one button means: press, double, triple, hold, stuck.  Edges in, gestures out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

HOLD_SPOKEN_S = 1.0
"""Held this long: "hold for help" is said."""
HOLD_SOS_S = 3.0
"""Held this long: SOS."""
STUCK_S = 10.0
"""Held this long: a stuck button, named, never a cancel."""
MULTI_S = 0.45
"""A next press within this time of a release belongs to the same double or triple press."""


class Gesture(StrEnum):
    """One meaning."""

    CLICK = "click"
    """A short press was released: tells at once, before it is known whether more presses follow."""
    PRESS = "press"
    DOUBLE = "double"
    TRIPLE = "triple"
    HOLD = "hold"
    ABORTED = "aborted"
    SOS = "sos"
    STUCK = "stuck"
    FREED = "freed"


@dataclass(frozen=True, slots=True)
class Meant:
    """A gesture, and when its press began."""

    gesture: Gesture
    down_s: float


class Button:
    """Turns edges into gestures.  Times are session seconds."""

    def __init__(self) -> None:
        self._down_s: float | None = None
        self._clicks = 0
        self._last_up_s = 0.0
        self._first_down_s = 0.0
        self._stage = 0  # 0 short, 1 said, 2 SOS, 3 stuck

    def deadline(self) -> float:
        """When `advance` has something to say if no edge comes (`math.inf`: never)."""
        if self._down_s is not None:
            if self._stage == 3:
                return math.inf
            return self._down_s + (HOLD_SPOKEN_S, HOLD_SOS_S, STUCK_S)[self._stage]
        return self._last_up_s + MULTI_S if self._clicks else math.inf

    def edge(self, t_s: float, pressed: bool) -> list[Meant]:
        """Feeds an edge.  A repeated level changes nothing."""
        meant = self.advance(t_s)
        if pressed and self._down_s is None:
            self._down_s = t_s
            self._stage = 0
            if self._clicks == 0:
                self._first_down_s = t_s
        elif not pressed and self._down_s is not None:
            down_s, stage = self._down_s, self._stage
            self._down_s = None
            if stage == 0:
                self._clicks += 1
                self._last_up_s = t_s
                meant.append(Meant(Gesture.CLICK, down_s))
                if self._clicks == 3:
                    meant.append(Meant(Gesture.TRIPLE, self._first_down_s))
                    self._clicks = 0
            elif stage == 1:
                self._clicks = 0
                meant.append(Meant(Gesture.ABORTED, down_s))
            elif stage == 3:
                meant.append(Meant(Gesture.FREED, down_s))
            self._stage = 0
        return meant

    def advance(self, now: float) -> list[Meant]:
        """What time alone has made clear by `now`."""
        meant: list[Meant] = []
        while self.deadline() <= now:
            if self._down_s is not None:
                self._clicks = 0
                self._stage += 1
                meant.append(Meant((Gesture.HOLD, Gesture.SOS, Gesture.STUCK)[self._stage - 1], self._down_s))
            else:
                meant.append(Meant(Gesture.PRESS if self._clicks == 1 else Gesture.DOUBLE, self._first_down_s))
                self._clicks = 0
        return meant
