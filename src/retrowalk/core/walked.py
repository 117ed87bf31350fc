"""How far the wearer has walked, step by step, whichever way; and what ten measured metres tell of their steps.

Two rules.  For a wearer whose step was never measured, a step is as long as the speed by the bounce (`OwnSpeed`) takes
it in its time.  For one whose step was measured (`step_length_m` at `step_bounce_m_s2`), it grows with the fourth root
of the bounce: the range of the vertical acceleration from one step to the next (Weinberg 2002, AN-602).

Why two.  Errors on recorded people, with a factor from the others, and with one from the person's own first walk; root
mean square of the speed over a way of 10 m (gait at the lower back, forward, ten people, 0.8 to 1.6 m/s), and over half
a bout of six backward and one hopping style of one actor (0.4 to 1.0 m/s, clip computed from motion capture), in m/s:

    rule                          forward: others, own      backward: others, own
    tanh of the bounce            0.15, 0.13                0.23, 0.19
    inverted pendulum             0.15, 0.10                0.40, 0.25
    fourth root, by steps         0.11, 0.10                0.31, 0.14
    the same length every step    0.15, 0.12                0.36, 0.15

People who walk backward bounce more for the same speed than they do forward, so a constant from forward walkers is too
large by a third; one's own takes that away, and then the rule that follows the bounce least is the safest.  The
exponent is as published, and the constants of the first rule are those of `OwnSpeed`: nothing here was fitted.

Feet that mark time, and turns on the spot, count as steps of usual length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from retrowalk.config import Walker
from retrowalk.core.gait import Gait
from retrowalk.core.own_speed import FACTOR, OwnSpeed
from retrowalk.core.posture import Posture
from retrowalk.core.samples import ImuSample

G_M_S2 = 9.80665
PAUSE_S = 2.0
"""Steps further apart have a pause between them, which is no step's time."""
EXPONENT = 0.25
"""Weinberg's."""
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
    """Sum over the steps of the fourth root of their bounce, in m/s2."""

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
    """Adds up the way.  `bounced` with each sample of the clip, `stepped` with each step (measured times)."""

    __slots__ = ("_high", "_last_s", "_low", "_measured_at", "_measured_m", "_pending", "step_length_m", "totals")

    def __init__(self, walker: Walker) -> None:
        self._measured_m = walker.step_length_m
        self._measured_at = walker.step_bounce_m_s2
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
        return self._measured_m > 0.0

    def bounced(self, bounce_m_s2: float) -> None:
        """Takes vertical acceleration in the band of the steps."""
        if bounce_m_s2 > self._high:
            self._high = bounce_m_s2
        elif bounce_m_s2 < self._low:
            self._low = bounce_m_s2

    def stepped(self, t_measured_s: float, count: int, speed_m_s: float | None) -> None:
        """`count` steps were found at once, the last just now; `speed_m_s` by the bounce, None: not known."""
        took_s = t_measured_s - self._last_s
        self._last_s = t_measured_s
        swing, self._high, self._low = self._high - self._low, 0.0, 0.0
        if count != 1 or not 0.0 < took_s <= PAUSE_S:
            self._pending += count
            return
        root = swing**EXPONENT
        if self._measured_m > 0.0:
            length_m = self._measured_m
            if self._measured_at > 0.0:
                length_m *= root / self._measured_at**EXPONENT
        else:
            length_m = (speed_m_s or 0.0) * took_s
        count += self._pending
        self._pending = 0
        before = self.step_length_m
        self.step_length_m = length_m if before is None else before + SHARE * (length_m - before)
        totals = self.totals
        self.totals = Totals(
            totals.steps + count,
            totals.distance_m + count * length_m,
            totals.moving_s + count * took_s,
            totals.roots + count * root,
        )


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
LATE_S = 0.6
"""A step is known so long after it was taken, at most."""


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
    speed_m_s: float
    speed_factor: float
    """That speed over what the bounce says of everybody (0.6 to 1.6)."""


class WayWatch:
    """One way of known length: fed with the clip's samples from before the walk, told when it began and ended.

    Times are measured times of the session.
    """

    def __init__(self) -> None:
        self._posture = Posture()
        self._gait = Gait()
        self._own_speed = OwnSpeed()
        self._walked = Walked(Walker())
        self._last_s = -math.inf
        self._offset_rad_s = 0.0
        self._yaw_rad = self._turned_rad = 0.0
        self._step_s = -math.inf
        self._first_s: float | None = None
        self._stopped_s = -math.inf
        self._gap_s = -math.inf
        self._began_s = math.inf
        self._before = Totals()
        self._early = False

    @property
    def now_s(self) -> float:
        """When the latest sample was measured."""
        return self._last_s

    @property
    def steps(self) -> int:
        """Steps since it began."""
        return self._walked.totals.steps - self._before.steps

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
        steps = gait.steps
        stepped = gait.update(t, accel[0] * up[0] + accel[1] * up[1] + accel[2] * up[2] - G_M_S2)
        self._own_speed.update(t, gait.bounce_m_s2, gait.walking(t))
        self._walked.bounced(gait.bounce_m_s2)
        if stepped:
            self._walked.stepped(t, gait.steps - steps, self._own_speed.by_bounce_m_s(t))
            self._step(t)
        turning = gyro[0] * up[0] + gyro[1] * up[1] + gyro[2] * up[2]
        if not gait.walking(t) and abs(gyro[0]) + abs(gyro[1]) + abs(gyro[2]) < STILL_RAD_S:
            self._offset_rad_s += OFFSET_SHARE * (turning - self._offset_rad_s)
        elif t > self._began_s and 0.0 < dt <= GAP_S:
            self._yaw_rad += (turning - self._offset_rad_s) * dt

    def _step(self, t: float) -> None:
        began_s = self._gait.bout_started_s
        if t > self._began_s:
            self._turned_rad = max(self._turned_rad, abs(self._yaw_rad))
            if self._first_s is None:
                self._first_s = t
                # A bout that is known by its third step had begun before: then somebody was walking already.
                self._early = self._early or (began_s is not None and began_s < self._began_s)
            elif t - self._step_s > PAUSE_S:
                self._stopped_s = t
        self._step_s = t

    def begin(self, t_s: float) -> None:
        """The walker stands at the start, and sets out."""
        self._began_s = t_s
        self._before = self._walked.totals
        self._early = self._gait.walking(self._last_s)
        self._yaw_rad = self._turned_rad = 0.0

    def outcome(self, distance_m: float, *, forward: bool | None = None, counted: int = 0) -> OwnStep | Unfit:
        """The way is over: `distance_m` were walked since `begin`, in `counted` steps (0: nobody has counted).

        `forward`: whether the walker went forward; None: not known.
        """
        way = self._walked.totals.since(self._before)
        if self._gap_s > self._began_s:
            return Unfit.GAP
        if self._early:
            return Unfit.EARLY
        if way.steps < LEAST_STEPS or not way.distance_m:
            return Unfit.NO_STEPS
        if self._stopped_s > self._began_s:
            return Unfit.STOPPED
        if math.degrees(self._turned_rad) > TURNED_DEG:
            return Unfit.TURNED
        if forward:
            return Unfit.FORWARD
        if counted and abs(counted - way.steps) > max(2.0, 0.1 * counted):
            return Unfit.MISCOUNTED
        length_m = distance_m / way.steps
        if not LENGTH_M[0] <= length_m <= LENGTH_M[1]:
            return Unfit.TOO_LONG if length_m > LENGTH_M[1] else Unfit.TOO_SHORT
        return OwnStep(
            steps=way.steps,
            step_length_m=length_m,
            step_bounce_m_s2=(way.roots / way.steps) ** (1.0 / EXPONENT),
            speed_m_s=distance_m / way.moving_s,
            speed_factor=max(FACTOR[0], min(FACTOR[1], distance_m / way.distance_m)),
        )


AGREE = 0.10
"""Two ways agree when they differ by no more than this share."""


def agree(one: OwnStep, other: OwnStep) -> bool:
    """Whether two ways tell the same of a step.  Who walked one faster, with longer steps, may agree all the same."""
    a, b = _constant(one), _constant(other)
    return abs(a - b) <= AGREE * min(a, b)


def _constant(step: OwnStep) -> float:
    """What the fourth root of the bounce is multiplied with."""
    return step.step_length_m / math.pow(step.step_bounce_m_s2, EXPONENT)


def mean(one: OwnStep, other: OwnStep) -> OwnStep:
    """The mean of two ways; `steps` of both together."""
    roots = 0.5 * (one.step_bounce_m_s2**EXPONENT + other.step_bounce_m_s2**EXPONENT)
    return OwnStep(
        steps=one.steps + other.steps,
        step_length_m=0.5 * (_constant(one) + _constant(other)) * roots,
        step_bounce_m_s2=roots ** (1.0 / EXPONENT),
        speed_m_s=0.5 * (one.speed_m_s + other.speed_m_s),
        speed_factor=0.5 * (one.speed_factor + other.speed_factor),
    )
