"""The fall countdown and the SOS: what is open, what calls it off, when it is confirmed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from retrowalk.core.alerts import COUNTS

ASK_S = 5.0
"""A second press within this time of the question sends the all-clear."""


class Open(StrEnum):
    """What the caregiver can have been told of and not yet been told is over."""

    FALL = "fall"
    SOS = "sos"


@dataclass(slots=True)
class Alarm:
    """State of the alarm.  Times are session seconds."""

    fall: int = 0
    """Number of the latest fall."""
    countdown_started_s: float | None = None
    countdown_ends_s: float | None = None
    open: set[Open] = field(default_factory=set)
    """Confirmed and not called off.  A fall and a call for help can be open at once."""
    asked_s: float = -math.inf
    """When the all-clear question was asked."""
    upright_steps: int = 0
    """Steps taken upright since the countdown began."""
    last_count: str = ""
    """Number said last."""

    @property
    def counting(self) -> bool:
        """Whether a countdown runs."""
        return self.countdown_ends_s is not None

    def left_s(self, now: float) -> float | None:
        """Seconds left of the countdown, None if none runs."""
        return None if self.countdown_ends_s is None else max(0.0, self.countdown_ends_s - now)

    def start(self, now: float, seconds: float) -> None:
        """A countdown begins (or goes on with `seconds` left, after a restart)."""
        self.countdown_started_s = now
        self.countdown_ends_s = now + seconds
        self.upright_steps = 0
        self.last_count = ""

    def stop(self) -> None:
        """The countdown is over, one way or another."""
        self.countdown_started_s = None
        self.countdown_ends_s = None

    def next_count_s(self, now: float) -> float:
        """When the next number is due (`math.inf`: none)."""
        ends = self.countdown_ends_s
        if ends is None:
            return math.inf
        return min((ends - float(c) for c in COUNTS if ends - float(c) > now), default=ends)

    def count(self, now: float) -> str:
        """The number to say now, once each; empty if none."""
        started, ends = self.countdown_started_s, self.countdown_ends_s
        if started is None or ends is None:
            return ""
        for value in COUNTS:
            due = ends - float(value)
            # The question comes first: a countdown of ten seconds does not begin with "ten".
            if started + 1e-6 < due <= now < due + 0.5 and value != self.last_count:
                self.last_count = value
                return value
        return ""
