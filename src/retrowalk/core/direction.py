"""Forward, backward or unknown: which way the wearer walks, from the clip, with what nears behind as a witness.

Whoever walks vaults over the standing leg: slowest at mid-stance, fastest when both feet are down, whichever way they
go.  So acceleration along the way crosses zero upward at mid-stance, and *forward* acceleration does so walking forward
and downward walking backward.  Two clocks tell mid-stance, and neither knows the way:

- the vertical one: the trunk is highest there, its vertical acceleration lowest, once a step;
- the lateral one: the trunk is farthest over the standing foot there, once a step, left and right in turn: the square
  of lateral acceleration is largest, at twice the rhythm of the strides.

Each gives the sine of a phase, +1 forward and -1 backward.  The vertical clock is the surer one in real people who
walk forward, the lateral one in actors who bounce; they fail apart, so their mean is taken.  A clip that sits pitched
or rolled adds to forward acceleration what is in phase with a clock, and the sine does not see that.

**The clip sits behind the axis of the trunk**, and swings with it: rates of pitch and yaw that change are taken off
(`BEHIND_M`).  Without that the vertical clock errs in slow walking, and the lateral one in everybody.  On people who
wore their clip at the belt buckle instead the lateral clock is of no use before it is brought behind them.

How it is done: means of four samples, levelled; three times a second the last one or two whole strides are
multiplied with waves of the rhythm, of which `Gait` tells what it takes for the steps: true, half as many again, or
twice as many (two bounces a step); the one with the clearest strides holds.  Sines are averaged over 1.5 s.

Error on recorded people at 0.5 m/s or faster, as a share of the time from three steps on (`benchmarks/direction.py`;
constants were chosen on these same people): seven backward bouts of actors, computed from motion capture, right 88 %,
wrong 0, with the clip turned by 25 degrees 86 and 0; their fourteen forward bouts 89 and 0; ten people with a clip at
the lower back, forward, 99 and 0.  Nobody has been recorded walking backward with the clip itself, nor anybody older.
Who jogs forward is unknown nine tenths of the time, else backward.

**The direction must never silence an alarm.**  It words a message and counts what was walked; an obstacle is an
obstacle whichever way somebody seems to go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from operator import mul

from retrowalk.core.gait import Gait
from retrowalk.core.posture import Vector

BEHIND_M = 0.12
"""The clip is so far behind the vertical axis of the trunk: half the depth of a waist, and half a clip."""
BLOCK = 4
"""Samples that are averaged: 26 a second are enough for rhythms up to 3 Hz."""
BLOCK_S = BLOCK / 104.0
EVERY = 8
"""The strides are looked at after so many blocks: 0.31 s."""
STRIDES = 2
"""So many at most: longer is later and no surer."""
KEPT = 128
"""Blocks that are kept: two strides of the slowest."""
GAP_S = 0.1
"""After a longer pause between samples, all begins anew."""

READINGS = ((1.0, 1.0), (2.0 / 3.0, 0.8), (0.5, 0.9))
"""What a rhythm of steps may really be, and how readily that is believed."""
STEP_HZ = (0.75, 2.6)
"""Steps a second; beyond nobody walks."""
RUNS_M_S2 = 7.0
"""Who bounces more is in the air at times: runners are slowest at the lowest point, and would seem to go the other way.
Their strides say nothing."""
ALONG_M_S2 = 1.2
"""Forward waves of so much count half, smaller ones next to nothing (by the square): whoever steps on the spot wavers
by 0.2 or 0.3, and no way is to be read from that; people who walk at 0.5 m/s or more have 0.5 to 4."""
CLOCK_M_S2 = (0.2, 0.1)
"""Vertical and lateral waves of so much count half."""
LATERAL_WEIGHT = 0.65
"""Of the lateral clock, against 1 of the vertical one."""
CLEAR = (0.1, 0.4)
"""Share of lateral plus of forward motion that lies in the rhythm: less says nothing, more counts in full."""
CERTAIN = 1.0
"""With such a share no other reading is tried."""
ONE_STRIDE = 0.7
"""Weight of what rests on a single stride."""
TAU_S = 1.5
"""Evidence fades so fast."""
DOUBT = 0.3
"""Weight of having seen nothing: a first look alone must be clear."""
LEAST = 0.4
"""Weight of evidence below which nothing is known: of strides that hardly lead anywhere, or 3 to 5 s after the last."""
DECIDE = 0.22
"""Evidence beyond this decides ..."""
DOUBTFUL = 0.1
"""... and holds until there is less than this."""
TURN_RAD_S = 0.5
"""Strides in which somebody turns faster say nothing; meanwhile the evidence fades and the state holds."""
STALE_S = 2.0
"""Without a look at the strides for longer nothing is known."""

NEARS_M_S = (0.2, 1.6)
"""A speed within these limits, either way, can be the walker's own; beyond them something moves by itself."""
LIKE_WALKING = (0.5, 2.0)
"""And so it does when it is not within these multiples of the walking speed, where that is known."""
WITNESS_AFTER_S = 0.5
"""So long must something have neared, or have been left, before it counts."""
WITNESS_PAUSE_S = 0.4
"""Not seen for longer: something else."""
WITNESS_WEIGHT = 0.2
"""Of a witness seen all the time, against 1 of the vertical clock: it decides where the clip says nothing, and does not
turn round what the clip says.  At 0.5 it helped no more, and somebody coming up from behind made slow walkers forward
into backward ones a quarter of the time."""


class Way(StrEnum):
    """Which way somebody walks."""

    FORWARD = "forward"
    BACKWARD = "backward"
    UNKNOWN = "unknown"


def levelled(vector: Vector, up: Vector) -> Vector:
    """A vector in body axes as its level forward, level left and vertical parts; `up` is a unit vector in body axes.

    Level forward is the body's forward axis projected onto the ground.  Lying on the front or the back there is none:
    then forward and left are 0.
    """
    ax, ay, az = vector
    ux, uy, uz = up
    vertical = ax * ux + ay * uy + az * uz
    level2 = 1.0 - ux * ux
    if level2 < 1e-3:
        return (0.0, 0.0, vertical)
    k = 1.0 / math.sqrt(level2)
    return ((ax - ux * vertical) * k, (ay * uz - az * uy) * k, vertical)


class Direction:
    """Follows which way the wearer walks.  Times are session seconds: of `update` measured ones, else now.

    Says `UNKNOWN` at first, standing, after a gap, and whenever the strides do not tell.
    """

    __slots__ = (
        "_block_s",
        "_blocks",
        "_count",
        "_forward",
        "_last_s",
        "_lateral",
        "_looked_s",
        "_mid_up",
        "_period_s",
        "_rates",
        "_sum_x",
        "_sum_y",
        "_sum_z",
        "_total",
        "_vertical",
        "_walking",
        "_way",
        "_weight",
        "_witness",
        "_witness_since_s",
        "_witness_total",
        "_witness_weight",
        "_witnessed_s",
        "_yaw",
    )

    def __init__(self) -> None:
        self._last_s = -math.inf
        self._period_s = BLOCK_S
        self._restart()

    def _restart(self) -> None:
        self._count = 0
        self._sum_x = self._sum_y = self._sum_z = 0.0
        self._mid_up: Vector = (0.0, 0.0, 1.0)
        self._rates: Vector | None = None
        self._block_s = -math.inf
        self._forward: list[float] = []
        self._lateral: list[float] = []
        self._vertical: list[float] = []
        self._yaw: list[float] = []
        self._walking = False
        self._stand()

    def _stand(self) -> None:
        self._blocks = EVERY - 1  # the first steps are looked at as soon as they are known to be steps
        self._looked_s = -math.inf
        self._way = Way.UNKNOWN
        self._total = self._weight = 0.0
        self._witness = 0
        self._witness_since_s = self._witnessed_s = -math.inf
        self._witness_total = self._witness_weight = 0.0

    # -- what is known ----------------------------------------------------------------------------------------

    @property
    def evidence(self) -> float:
        """-1 (surely backward) to 1 (surely forward); 0: nothing known."""
        weight = self._weight + self._witness_weight
        return (self._total + self._witness_total) / (weight + DOUBT)

    def state(self, now: float) -> Way:
        """Which way the wearer walks at `now`.  It must never silence an alarm: see the module's docstring."""
        return self._way if now - self._looked_s <= STALE_S else Way.UNKNOWN

    # -- the clip ---------------------------------------------------------------------------------------------

    def update(self, t_measured_s: float, accel: Vector, gyro: Vector, up: Vector, gait: Gait) -> None:
        """Feeds a sample of the clip: m/s2 and rad/s in body axes (forward, left, up), `up` as `Posture` has it.

        `gait` has been fed the same sample.
        """
        if not 0.0 < t_measured_s - self._last_s <= GAP_S:
            self._restart()
        self._last_s = t_measured_s
        self._sum_x += accel[0]
        self._sum_y += accel[1]
        self._sum_z += accel[2]
        self._count += 1
        if self._count == BLOCK // 2 + 1:
            self._mid_up = up
        elif self._count == BLOCK:
            self._block_over(t_measured_s, gyro, gait)

    def _block_over(self, t: float, gyro: Vector, gait: Gait) -> None:
        up = self._mid_up
        k = 1.0 / BLOCK
        forward, lateral, vertical = levelled((self._sum_x * k, self._sum_y * k, self._sum_z * k), up)
        self._sum_x = self._sum_y = self._sum_z = 0.0
        self._count = 0
        _, pitch_rate, yaw_rate = rates = levelled(gyro, up)
        before = self._rates
        self._rates = rates
        period_s = t - self._block_s
        self._block_s = t
        if before is None:
            return
        self._period_s += 0.02 * (period_s - self._period_s)
        # A point behind the axis is thrown left by a yaw that slows and up by a pitch that grows.
        lever = BEHIND_M / period_s
        self._forward.append(forward)
        self._lateral.append(lateral + lever * (yaw_rate - before[2]))
        self._vertical.append(vertical - lever * (pitch_rate - before[1]))
        self._yaw.append(yaw_rate)
        if len(self._yaw) > 2 * KEPT:
            for values in (self._forward, self._lateral, self._vertical, self._yaw):
                del values[:KEPT]
        walked, self._walking = self._walking, gait.walking(t)
        if not self._walking:
            if walked:
                self._stand()
            return
        self._blocks += 1
        if self._blocks >= EVERY:
            self._blocks = 0
            self._look(t, gait)

    def _look(self, t: float, gait: Gait) -> None:
        """Judges the latest strides."""
        fade = math.exp(-(t - self._looked_s) / TAU_S)
        self._looked_s = t
        self._total *= fade
        self._weight *= fade
        self._witness_total *= fade
        self._witness_weight *= fade
        cadence_spm, began_s = gait.cadence_spm(t), gait.bout_started_s
        if cadence_spm is not None and began_s is not None:
            share, sines, weight, turn_rad_s = self._clearest(cadence_spm / 60.0, t - began_s)
            if abs(turn_rad_s) < TURN_RAD_S:
                clear = max(0.0, min(1.0, (share - CLEAR[0]) / (CLEAR[1] - CLEAR[0])))
                self._total += clear * sines
                self._weight += clear * weight
        self._decide()

    def _clearest(self, step_hz: float, since_s: float) -> tuple[float, float, float, float]:
        """Of the readings of the rhythm the one with the clearest strides: share, sines, weight, rate of turn."""
        best = (0.0, 0.0, 0.0, 0.0)
        for reading, belief in READINGS:
            hz = step_hz * reading
            if not STEP_HZ[0] <= hz <= STEP_HZ[1]:
                continue
            stride_s = 2.0 / hz
            # The bout begins at the first step's peak: half a step before it belongs to it.
            strides = int((since_s + 0.3 * stride_s) / stride_s)
            if strides < 1 and reading < 1.0:
                continue
            strides = max(1, min(STRIDES, strides))
            blocks = round(strides * stride_s / self._period_s)
            if not 8 <= blocks <= min(KEPT, len(self._yaw)):
                continue
            best = max(best, self._strides(blocks, strides, belief))
            if best[0] >= CERTAIN:
                break
        return best

    def _strides(self, blocks: int, strides: int, belief: float) -> tuple[float, float, float, float]:
        """The two clocks over so many blocks, which are so many strides."""
        forward, lateral, vertical = self._forward[-blocks:], self._lateral[-blocks:], self._vertical[-blocks:]
        cos1, sin1, cos2, sin2 = _waves(blocks, strides)
        k = 2.0 / blocks
        fc, fs = k * _dot(forward, cos2), k * _dot(forward, sin2)
        uc, us = k * _dot(vertical, cos2), k * _dot(vertical, sin2)
        lc, ls = k * _dot(lateral, cos1), k * _dot(lateral, sin1)
        f2, u2, l2 = fc * fc + fs * fs, uc * uc + us * us, lc * lc + ls * ls
        share = belief * (l2 / (2.0 * _variance(lateral) + 0.02) + f2 / (2.0 * _variance(forward) + 0.02))
        f, u, ll = math.sqrt(f2), math.sqrt(u2), math.sqrt(l2)
        if u > RUNS_M_S2:
            return (share, 0.0, 0.0, 0.0)
        # Forward leads the vertical clock by a quarter of a step; the square of the lateral wave leads forward.
        by_vertical = (fc * us - fs * uc) / (f * u + 1e-9)
        by_lateral = (fs * (lc * lc - ls * ls) - fc * 2.0 * lc * ls) / (f * l2 + 1e-9)
        w_forward = f2 / (f2 + ALONG_M_S2 * ALONG_M_S2) * (1.0 if strides > 1 else ONE_STRIDE)
        w_vertical = w_forward * u / (u + CLOCK_M_S2[0])
        w_lateral = w_forward * LATERAL_WEIGHT * ll / (ll + CLOCK_M_S2[1])
        turn_rad_s = sum(self._yaw[-blocks:]) / blocks
        return share, w_vertical * by_vertical + w_lateral * by_lateral, w_vertical + w_lateral, turn_rad_s

    def _decide(self) -> None:
        evidence = self.evidence
        if self._weight + self._witness_weight < LEAST:
            self._way = Way.UNKNOWN
        elif abs(evidence) > DECIDE:
            self._way = Way.FORWARD if evidence > 0.0 else Way.BACKWARD
        elif abs(evidence) < DOUBTFUL or (evidence > 0.0) != (self._way is Way.FORWARD):
            self._way = Way.UNKNOWN

    # -- the witness ------------------------------------------------------------------------------------------

    def witness(self, now: float, closing_speed_m_s: float, walking_speed_m_s: float | None = None) -> None:
        """Something behind nears so fast (positive) or is left so fast, at `now`; counts only while steps are taken.

        What stands still nears whoever walks backward, as fast as they walk.  What moves by itself is believed for as
        long as its speed could be theirs, and against clear strides never.
        """
        said = self._said(closing_speed_m_s, walking_speed_m_s) if self._walking else 0
        pause_s = now - self._witnessed_s
        if said != self._witness or pause_s > WITNESS_PAUSE_S:
            self._witness, self._witness_since_s = said, now
        self._witnessed_s = now
        if said and now - self._witness_since_s >= WITNESS_AFTER_S:
            # As much as a look at the strides has, when it was seen all the time since the last one.
            part = WITNESS_WEIGHT * min(pause_s, WITNESS_PAUSE_S) / (EVERY * self._period_s)
            self._witness_total += part * said
            self._witness_weight += part

    @staticmethod
    def _said(closing_m_s: float, walking_m_s: float | None) -> int:
        """What a closing speed says of the way: -1 backward, 1 forward, 0 nothing."""
        speed = abs(closing_m_s)
        if not NEARS_M_S[0] <= speed <= NEARS_M_S[1]:
            return 0
        if walking_m_s and not LIKE_WALKING[0] <= speed / walking_m_s <= LIKE_WALKING[1]:
            return 0
        return -1 if closing_m_s > 0.0 else 1


@lru_cache(maxsize=64)
def _waves(blocks: int, strides: int) -> tuple[tuple[float, ...], ...]:
    """Cosine and sine of the strides, then of the steps, for each of so many blocks."""
    w = 2.0 * math.pi * strides / blocks
    return (
        tuple(math.cos(w * i) for i in range(blocks)),
        tuple(math.sin(w * i) for i in range(blocks)),
        tuple(math.cos(2.0 * w * i) for i in range(blocks)),
        tuple(math.sin(2.0 * w * i) for i in range(blocks)),
    )


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    total: float = sum(map(mul, a, b))
    return total


def _variance(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return max(0.0, _dot(values, values) / len(values) - mean * mean)
