"""A walk: when it began, when it is over, and what it came to."""

from __future__ import annotations

import math
from collections.abc import Callable

from retrowalk.core import events as ev
from retrowalk.core.body import BodyWatch
from retrowalk.core.events import ms, rounded

BEGINS_AFTER_STEPS = 8
ENDS_AFTER_S = 180.0
"""Without a step for so long."""


class Walk:
    """Tells of walks.  Times are session seconds."""

    def __init__(self, body: BodyWatch, emit: Callable[[ev.Event], None]) -> None:
        self._body = body
        self._emit = emit
        self.open = False
        self.walked_s = 0.0
        """How long all walks so far took."""
        self._started_s = 0.0
        self._first_step = 0
        self._from = body.walked.totals
        self._ways_s = (0.0, 0.0)
        self._near_falls = 0

    def advance(self, now: float) -> None:
        """A walk begins with its eighth step, and ends three minutes after its last."""
        body, gait = self._body, self._body.gait
        if not self.open:
            if gait.bout_started_s is None:
                self._first_step = gait.steps
                self._from = body.walked.totals
                self._ways_s = (body.forward_s, body.backward_s)
            elif gait.steps - self._first_step >= BEGINS_AFTER_STEPS:
                self.open = True
                self._started_s = now
                self._near_falls = body.near_falls
                self._emit(ev.WalkStarted(t_s=ms(now)))
        elif now >= self.deadline():
            self.end(now)

    def deadline(self) -> float:
        """When the walk is over if no step comes (`math.inf`: there is none)."""
        if not self.open:
            return math.inf
        return max(self._body.gait.last_step_s, self._started_s) + ENDS_AFTER_S

    def end(self, now: float) -> None:
        """It is over."""
        if not self.open:
            return
        self.open = False
        body, gait = self._body, self._body.gait
        duration_s = max(0.0, min(now, gait.last_step_s) - self._started_s)
        self.walked_s += duration_s
        walked = body.walked
        way = walked.totals.since(self._from)
        self._emit(
            ev.WalkEnded(
                t_s=ms(now),
                steps=gait.steps - self._first_step,
                duration_s=round(duration_s, 1),
                backward_s=round(body.backward_s - self._ways_s[1]),
                forward_s=round(body.forward_s - self._ways_s[0]),
                near_falls=body.near_falls - self._near_falls,
                distance_m=rounded(way.distance_m or None, 1),
                speed_m_s=rounded(way.speed_m_s, 2),
                step_length_m=rounded(way.step_length_m, 2),
                cadence_spm=rounded(way.cadence_spm, 0),
                step_measured=walked.measured,
            )
        )
        self._first_step = gait.steps
        self._from = walked.totals
        self._ways_s = (body.forward_s, body.backward_s)
