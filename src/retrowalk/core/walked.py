"""How far the wearer has walked, step by step, whichever way; and what ten measured metres tell of their steps.

Two rules.  For a wearer whose step was never measured, a step is as long as the speed by the bounce (`OwnSpeed`) takes
it in its time.  For one whose step was measured, it grows with the fourth root of the bounce (the range of the vertical
acceleration from one step to the next: Weinberg 2002, AN-602), and with the square root of its time.

Why these.  On recorded people, root mean square error of speed (m/s) and distance, the constant from others or from the
person's own first walk (`benchmarks/walked.py`; ten people with a clip at the lower back, forward, 20 m at 0.7 to 1.3
m/s; seven backward bouts of an actor in as many styles, 0.4 to 1.0 m/s, computed from motion capture: of each bout one
half by the other, and each style by another one):

    rule                    forward                     backward
                            others       own            others       other half   other style
    speed by the bounce     0.08   9 %                  0.23  28 %
    this rule, measured                  0.06   9 %                  0.05   7 %   0.11  16 %
    inverted pendulum       0.09  10 %   0.05   7 %     0.37  42 %   0.07  11 %   0.25  29 %
    the same step always    0.14  12 %   0.08  10 %     0.32  54 %   0.08  12 %   0.16  23 %

Who walks backward bounces more for the same speed than forward walkers do, so what was fitted to those goes wrong by a
third or more, and a wearer's own way mends it.  Slow backward steps are found twice, or not at all, more often than
others; the time in the rule keeps most of that from the distance.  The exponents were chosen on these people, rounded.

Feet that mark time, and turns on the spot, count as steps of usual length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from retrowalk.config import Walker
from retrowalk.core.direction import Direction, Way
from retrowalk.core.gait import Gait
from retrowalk.core.own_speed import FACTOR, OwnSpeed
from retrowalk.core.posture import Posture
from retrowalk.core.samples import ImuSample

G_M_S2 = 9.80665
PAUSE_S = 2.0
"""Steps further apart have a pause between them, which is no step's time."""
SHARE = 0.25
"""Of the latest step in the step length that is told: about the last seven."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What has come together since the start; the difference of two is what lay between them."""

    steps: int = 0
    distance_m: float = 0.0
    moving_s: float = 0.0
    """Time that these steps took: without pauses."""
    roots: float = 0.0
    """Sum over the steps of the fourth root of their bounce (m/s2) times the square root of their time (s)."""

    def since(self, before: Totals) -> Totals:
        """What was added after `before`."""
        return Totals(
            self.steps - before.steps,
            self.distance_m - before.distance_m,
            self.moving_s - before.moving_s,
            self.roots - before.roots,
        )

    @property
    def speed_m_s(self) -> float | None:
        """Mean walking speed, pauses left out; None without a step."""
        return self.distance_m / self.moving_s if self.moving_s > 0.0 and self.distance_m > 0.0 else None

    @property
    def step_length_m(self) -> float | None:
        """Mean length of a step; None without one."""
        return self.distance_m / self.steps if self.steps and self.distance_m > 0.0 else None

    @property
    def cadence_spm(self) -> float | None:
        """Mean steps a minute, pauses left out; None without a step."""
        return 60.0 * self.steps / self.moving_s if self.moving_s > 0.0 else None


class Walked:
    """Adds up the way.  `bounced` with each sample of the clip, `stepped` with the steps that it has confirmed."""

    __slots__ = ("_constant", "_high", "_last_s", "_low", "_pending", "step_length_m", "totals")

    def __init__(self, walker: Walker) -> None:
        self._constant = constant(walker.step_length_m, walker.step_bounce_m_s2, walker.step_time_s)
        """Of the wearer's own step; 0: it is not known."""
        self._high = self._low = 0.0
        """Of the bounce since the latest step."""
        self._last_s = -math.inf
        self._pending = 0
        """Steps of a bout that was known by its third one: they were like the next."""
        self.step_length_m: float | None = None
        """Of the latest steps; None before the first."""
        self.totals = Totals()

    @property
    def measured(self) -> bool:
        """Whether the wearer's own step is known."""
        return self._constant > 0.0

    def bounced(self, bounce_m_s2: float) -> None:
        """Takes vertical acceleration in the band of the steps."""
        if bounce_m_s2 > self._high:
            self._high = bounce_m_s2
        elif bounce_m_s2 < self._low:
            self._low = bounce_m_s2

    def stepped(self, times_s: Sequence[float], speed_m_s: float | None) -> None:
        """Feet have come down at these measured times, in order; `speed_m_s` by the bounce, None: not walking any more.

        Steps are confirmed late, some of them together.
        """
        count, last_s = len(times_s), self._last_s
        self._last_s = times_s[-1]
        swing, self._high, self._low = self._high - self._low, 0.0, 0.0
        if not 0.0 < times_s[0] - last_s <= PAUSE_S:
            self._pending += count
            return
        took_s = (times_s[-1] - last_s) / count
        before_m = self.step_length_m
        root = math.sqrt(math.sqrt(swing) * took_s)
        if speed_m_s is None:
            length_m = before_m or 0.0  # the foot that was put beside the other one; since then the trunk has settled
            root = self.totals.roots / self.totals.steps if self.totals.steps else root
        else:
            length_m = self._constant * root if self._constant else speed_m_s * took_s
        count += self._pending
        self._pending = 0
        self.step_length_m = length_m if before_m is None else before_m + SHARE * (length_m - before_m)
        totals = self.totals
        self.totals = Totals(
            totals.steps + count,
            totals.distance_m + count * length_m,
            totals.moving_s + count * took_s,
            totals.roots + count * root,
        )


def constant(step_length_m: float, step_bounce_m_s2: float, step_time_s: float) -> float:
    """What a step's fourth root of the bounce times square root of its time is multiplied with, for its length.

    0 when the step of the three was not measured.
    """
    root = math.sqrt(math.sqrt(step_bounce_m_s2) * step_time_s)
    return step_length_m / root if root > 0.0 else 0.0


# ------------------------------------------------------------------------------------------ a way of known length

LENGTH_M = (0.15, 0.80)
"""Mean length of a step that can be somebody walking backward: the old take 0.3 to 0.4 m, the young 0.5 to 0.6 m."""
LEAST_STEPS = 5
TURNED_DEG = 60.0
"""A walker whose trunk has turned so far has not gone straight: the pelvis itself turns by ten each way."""
STILL_RAD_S = 0.15
"""A clip that turns more slowly (sum of the three rates) may be standing: what it says then is its offset."""
OFFSET_SHARE = 0.01
"""Of each such sample in the offset: the last second counts."""
GAP_S = 0.1
"""Longer than this between two samples: what happened in between is not known."""
LATE_S = 2.2
"""A step is known so long after it was taken, at most: a foot put beside the other one, when nothing follows."""
FORWARD_SHARE = 0.5
"""Who was seen to walk forward for more than this share of the steps did: of slow steps the way is often not known."""
EARLY_S = 1.0
"""Who has stepped within this time before the beginning was walking already."""


class Unfit(StrEnum):
    """Why a way does not count."""

    EARLY = "early"
    """Walked before the first press."""
    NO_STEPS = "no_steps"
    """Fewer than five steps."""
    STOPPED = "stopped"
    """Stood on the way."""
    TURNED = "turned"
    """Turned by more than 60 degrees."""
    FORWARD = "forward"
    """Walked forward."""
    TOO_LONG = "too_long"
    """Steps that are longer than anybody's: the way was shorter, or steps were missed."""
    TOO_SHORT = "too_short"
    """Steps that are shorter than anybody's."""
    MISCOUNTED = "miscounted"
    """Somebody has counted other than the clip."""
    GAP = "gap"
    """Samples are missing."""


@dataclass(frozen=True, slots=True)
class OwnStep:
    """What a walker's own way tells, once or as the mean of several."""

    steps: int
    step_length_m: float
    """Mean length of a step (0.15 to 0.8 m)."""
    step_bounce_m_s2: float
    """Bounce that it belongs to: the range of the vertical acceleration in the band of the steps."""
    step_time_s: float
    """Mean time of a step."""
    speed_factor: float
    """That speed over what the bounce says of everybody (0.6 to 1.6)."""


class WayWatch:
    """One way of known length: fed with the clip's samples from before the walk, told when it began and ended.

    Times are measured times of the session.
    """

    def __init__(self) -> None:
        self._posture = Posture()
        self._gait = Gait()
        self._direction = Direction()
        self._own_speed = OwnSpeed()
        self._walked = Walked(Walker())
        self._last_s = -math.inf
        self._offset_rad_s = 0.0
        self._yaw_rad = self._turned_rad = 0.0
        self._step_s = -math.inf
        self._gap_s = -math.inf
        self._began_s = self._ended_s = math.inf
        self._way = Totals()
        self._early = self._stopped = False
        self._steps_of = dict.fromkeys(Way, 0)

    @property
    def now_s(self) -> float:
        """When the latest sample was measured."""
        return self._last_s

    @property
    def steps(self) -> int:
        """Steps since it began, as far as is known."""
        return self._walked.totals.steps

    def feed(self, sample: ImuSample) -> None:
        """Takes the next sample."""
        t, accel, gyro = sample.t_measured_s, sample.accel_m_s2, sample.gyro_rad_s
        dt = t - self._last_s
        self._last_s = t
        if sample.gap or dt > GAP_S:
            self._gap_s = t
        self._posture.update(t, accel, gyro, sample.gap)
        up = self._posture.up
        if up is None:
            return
        gait = self._gait
        gait.update(t, accel[0] * up[0] + accel[1] * up[1] + accel[2] * up[2] - G_M_S2, gyro[0])
        self._direction.update(t, accel, gyro, up, gait)
        self._own_speed.update(t, gait.bounce_m_s2, gait.walking(t))
        self._walked.bounced(gait.bounce_m_s2)
        if gait.step_times_s:
            self._walked.stepped(gait.step_times_s, self._own_speed.by_bounce_m_s(t))
            self._stepped(gait.step_times_s)
        turning = gyro[0] * up[0] + gyro[1] * up[1] + gyro[2] * up[2]
        if not gait.walking(t) and abs(gyro[0]) + abs(gyro[1]) + abs(gyro[2]) < STILL_RAD_S:
            self._offset_rad_s += OFFSET_SHARE * (turning - self._offset_rad_s)
        elif t > self._began_s and 0.0 < dt <= GAP_S:
            self._yaw_rad += (turning - self._offset_rad_s) * dt

    def _stepped(self, times_s: Sequence[float]) -> None:
        for t in times_s:
            if self._began_s < t <= self._ended_s:
                self._steps_of[self._direction.state(self._last_s)] += 1
                if t - self._step_s > PAUSE_S and self._step_s > self._began_s:
                    self._stopped = True
                self._turned_rad = max(self._turned_rad, abs(self._yaw_rad))
            elif t <= self._began_s < self._last_s:
                self._early = True  # known only now
            self._step_s = t
        if self._step_s <= self._ended_s:
            self._way = self._walked.totals

    def begin(self, t_s: float) -> None:
        """The walker stands at the start, and sets out."""
        self._began_s = t_s
        self._walked = Walked(Walker())
        self._way = self._walked.totals
        self._early = t_s - self._step_s < EARLY_S
        self._stopped = False
        self._steps_of = dict.fromkeys(Way, 0)
        self._yaw_rad = self._turned_rad = 0.0

    def end(self, t_s: float) -> None:
        """The walker has arrived, and stands.  What came of it is known `LATE_S` later."""
        self._ended_s = t_s

    def outcome(self, distance_m: float, *, counted: int = 0, either_way: bool = False) -> OwnStep | Unfit:
        """The way is over: `distance_m` were walked since `begin`, in `counted` steps (0: nobody has counted).

        `either_way`: who walked forward is measured, too.
        """
        way = self._way
        if self._gap_s > self._began_s:
            return Unfit.GAP
        if self._early:
            return Unfit.EARLY
        if way.steps < LEAST_STEPS or not way.distance_m:
            return Unfit.NO_STEPS
        if self._stopped:
            return Unfit.STOPPED
        if math.degrees(self._turned_rad) > TURNED_DEG:
            return Unfit.TURNED
        if self._steps_of[Way.FORWARD] > FORWARD_SHARE * way.steps and not either_way:
            return Unfit.FORWARD
        if counted and abs(counted - way.steps) > max(2.0, 0.1 * counted):
            return Unfit.MISCOUNTED
        length_m = distance_m / way.steps
        if not LENGTH_M[0] <= length_m <= LENGTH_M[1]:
            return Unfit.TOO_LONG if length_m > LENGTH_M[1] else Unfit.TOO_SHORT
        return own_step(way, distance_m)


def own_step(way: Totals, distance_m: float) -> OwnStep:
    """What a way of so many metres tells; `way`: as somebody whose step was never measured would have walked it."""
    step_time_s = way.moving_s / way.steps
    return OwnStep(
        steps=way.steps,
        step_length_m=distance_m / way.steps,
        step_bounce_m_s2=(way.roots / way.steps) ** 4 / step_time_s**2,
        step_time_s=step_time_s,
        speed_factor=max(FACTOR[0], min(FACTOR[1], distance_m / way.distance_m)),
    )


AGREE = 0.10
"""Two ways agree when they differ by no more than this share."""


def agree(one: OwnStep, other: OwnStep) -> bool:
    """Whether two ways tell the same of a step.  Who walked one faster, with longer steps, may agree all the same."""
    a, b = (constant(step.step_length_m, step.step_bounce_m_s2, step.step_time_s) for step in (one, other))
    return abs(a - b) <= AGREE * min(a, b)


def mean(one: OwnStep, other: OwnStep) -> OwnStep:
    """The mean of two ways that agree; `steps` of both together."""
    return OwnStep(
        steps=one.steps + other.steps,
        step_length_m=0.5 * (one.step_length_m + other.step_length_m),
        step_bounce_m_s2=0.5 * (one.step_bounce_m_s2 + other.step_bounce_m_s2),
        step_time_s=0.5 * (one.step_time_s + other.step_time_s),
        speed_factor=0.5 * (one.speed_factor + other.speed_factor),
    )
