"""Calm words about how the wearer walks: gathers what `Steadiness` looks at, says what is due, tells what has changed.

Words are for somebody who walks and is protected, and only while nothing more urgent sounds or has just been said: a
walker who has stopped for a warning is leaning back for a good reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from retrowalk.config import Balance as Knobs
from retrowalk.core import events as ev
from retrowalk.core.alerts import ALERT_BY_KEY
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.direction import Direction, Way
from retrowalk.core.events import ms, rounded
from retrowalk.core.gait import Gait
from retrowalk.core.habits import EVERY_S, Seen
from retrowalk.core.own_speed import OwnSpeed
from retrowalk.core.posture import Posture
from retrowalk.core.rhythm import Rhythm
from retrowalk.core.samples import SavedState
from retrowalk.core.steadiness import Steadiness
from retrowalk.core.turning import Turning

REST_S = 3.0
"""Nothing is said so soon after anything more urgent."""
DIGITS = {
    "capture_pitch_deg": 1,
    "trunk_pitch_deg": 1,
    "yaw_deg": 1,
    "cadence_spm": 0,
    "step_time_cv": 3,
    "regularity": 2,
    "vertical_rms_m_s2": 2,
    "speed_m_s": 2,
}
"""What the numbers of an event are rounded to."""
PITCH_MAX_DEG = 90.0
"""A lean beyond this was of no walker."""


class Coaching:
    """Follows the wearer by what others know of them.  Times are measured ones, but `now`, of what is said."""

    def __init__(
        self,
        knobs: Knobs,
        arbiter: Arbiter,
        emit: Callable[[ev.Event], None],
        posture: Posture,
        gait: Gait,
        rhythm: Rhythm,
        turning: Turning,
        direction: Direction,
        own_speed: OwnSpeed,
    ) -> None:
        self._arbiter = arbiter
        self._emit = emit
        self._posture = posture
        self._gait = gait
        self._rhythm = rhythm
        self._turning = turning
        self._direction = direction
        self._own_speed = own_speed
        self.steadiness = Steadiness(knobs)
        self._looked_s = -math.inf
        self._pitch_sum = 0.0
        self._rate_sum = 0.0
        self._count = 0

    def update(self, now: float, t_s: float, *, protecting: bool) -> None:
        """A sample of the clip was taken in by the others.  Words are for somebody who is protected."""
        posture = self._posture
        pitch = posture.trunk_pitch_deg
        if pitch is not None:
            self._pitch_sum += pitch
            self._rate_sum += posture.pitch_rate_deg_s
            self._count += 1
        if 0.0 <= t_s - self._looked_s < EVERY_S:
            return
        self._looked_s = t_s
        steadiness = self.steadiness
        changes = steadiness.update(t_s, self._seen(t_s))
        due = steadiness.due(t_s) if protecting else None
        number: int | None = None
        if due is not None and self._arbiter.free(now, ALERT_BY_KEY[due].rank, REST_S):
            number = self._arbiter.announce(now, due, because=steadiness.because(due), insist=False)
            steadiness.said(t_s, due)
        for hazard, raised, finding in changes:
            if not raised or finding is None:
                self._emit(ev.HazardCleared(t_s=ms(now), hazard=hazard, level="none"))
                continue
            digits = DIGITS[finding.measure]
            self._emit(
                ev.HazardRaised(
                    t_s=ms(now),
                    alert=number if hazard == due else None,
                    hazard=hazard,
                    level=ALERT_BY_KEY[hazard].level.name.lower(),
                    trunk_pitch_deg=rounded(posture.trunk_pitch_deg, 1),
                    measure=finding.measure,
                    value=round(finding.value, digits),
                    usual=rounded(finding.usual, digits),
                )
            )

    def _seen(self, t_s: float) -> Seen:
        gait, rhythm, turning = self._gait, self._rhythm, self._turning
        if not gait.walking(t_s):
            self._pitch_sum = self._rate_sum = 0.0
            self._count = 0
            return Seen(walking=False, turning=turning.turning, turned_s=turning.turn_ended_s)
        posture = self._posture
        believed = posture.upright is not None and posture.settled and not (posture.hangs or posture.slipped)
        pitch = self._pitch_sum / self._count if self._count and believed else None
        rate = self._rate_sum / max(1, self._count)
        self._pitch_sum = self._rate_sum = 0.0
        self._count = 0
        way = self._direction.state(t_s)
        return Seen(
            True,
            pitch,
            rate,
            gait.bout_started_s,
            gait.last_step_s,
            gait.cadence_spm(t_s),
            self._own_speed.speed_m_s(t_s),
            rhythm.step_time_cv,
            rhythm.regularity,
            rhythm.stride_regularity,
            rhythm.vertical_rms_m_s2,
            turning.turning,
            turning.turn_ended_s,
            turning.yaw_held_deg,
            None if way is Way.UNKNOWN else way is Way.FORWARD,
        )

    def forget_lean(self) -> None:
        """The clip was taken off and put on: how the trunk leans in it must be seen anew."""
        self.steadiness.forget_lean()

    # -- what survives ------------------------------------------------------------------------------------------

    def saved(self, state: SavedState) -> SavedState:
        """`state` with what was learned of the wearer."""
        backward, forward = self.steadiness.backward, self.steadiness.forward
        return replace(
            state,
            usual=backward.own.learned,
            usual_forward=forward.own.learned,
            usual_lean_deg=rounded(backward.lean.usual_deg, 2),
            usual_lean_forward_deg=rounded(forward.lean.usual_deg, 2),
        )

    def restored(self, state: SavedState, *, worn_on: bool) -> None:
        """Goes on from what was learned, however long ago; the lean only where the clip has stayed where it was."""
        for habits, usual, lean_deg in (
            (self.steadiness.backward, state.usual, state.usual_lean_deg),
            (self.steadiness.forward, state.usual_forward, state.usual_lean_forward_deg),
        ):
            if usual is not None:
                habits.own.restore(usual)
            if worn_on and lean_deg is not None and abs(lean_deg) < PITCH_MAX_DEG:
                habits.lean.restore(lean_deg)
