"""How long a walker takes from a cue to standstill, by the clip; and from five such times, what to allow for.

The collision rule wants the way walked after a warning, `v * t_human`.  A walker who brakes walks less than `v * t`
until they stand: with even braking, half of the braking time is too much.  What is measured here is the whole time from
cue to standstill, which no bad estimate of speed can spoil.

That excess is left in, because something else is missing: the walker of a calibration expects a cue.  The assumed
medians lie 0.47 s (older) and 0.24 s (younger) above those of lab walkers, who expected theirs, too (1.05 against
0.58 s, 0.75 against 0.51 s), for surprise, for going backward and for a second step; the latter two are measured.
Drivers brake 0.5 s later for a common signal that they do not expect (Green 2000, Transportation Human Factors 2:195).
Half of the braking time is 0.3 s of an assumed older walker.  With it, and with a real surprise of 0.24 s (older) or
0.12 s (younger), `allowed_s` covers 98 of 100 further stops of walkers as even as assumed, 94 of those nearly twice as
uneven; with one of 0.47 s, 94 and 92 (simulated; tests hold it).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from retrowalk.core.gait import Gait
from retrowalk.core.posture import Posture, Vector
from retrowalk.core.samples import ImuSample

STEPS_BEFORE = 4
"""So many steps in rhythm before the cue, or nobody was walking."""
LAST_STEP_S = 1.5
"""The last of them was no longer ago than this, which is the slowest rhythm that counts as walking."""
QUICKEST_S = 0.15
"""Who stands sooner than this after the cue has not stopped for it: nobody reacts to a sound within 0.1 s."""
SLOWEST_S = 5.0
"""No standstill within this time: the cue was not followed."""
STILL_S = 0.5
STILL_ACCEL_M_S2 = 0.35
STILL_GYRO_RAD_S = 0.15
"""For `STILL_S` the smoothed acceleration stays this near its mean and the rotation below this.  Of ten people's half
seconds, clip at the lower back: of standing 91 % (medians 0.08 and 0.04), of walking 1 in 1000 (lowest hundredth 1.25
and 0.49).  The trunk settles 0.6 s after the last foot has come to rest (median), which is measured as well: wider
limits would call a slow walker standing who still creeps."""
MOVED_ON_S = 1.0
MOVED_TIMES = 2.0
"""A movement of so many times those limits within this time after that half second: it was a pause, and not a stop."""
MANY = 256
"""More samples than any clip gives in half a second."""
KEPT = 2000
"""Samples kept for a cue that is not yet known of."""
SMOOTHED = 5
"""Samples averaged (48 ms): the shaking of the vibration motor and the ringing of a foot are no movement."""
GAP_S = 0.1
"""Longer than this between two samples: what happened in between is not known."""

STOPS = 5
"""So many measured stops make a calibration."""
LEAST_S = 0.8
MOST_S = 4.0
"""Whatever was measured, not less than this (just above what half of the stops of an assumed younger walker take), and
not more than the configuration takes."""
SIGMA = {"older": 0.35, "younger": 0.30}
"""Spread of the logarithm of a person's stopping times, as assumed of each profile."""
SIGMA_COUNTS_AS = 3.0
"""The assumed spread counts like so many stops more: five stops alone know theirs to a factor of two.  More would hide
a walker who is less even than assumed."""


class Void(StrEnum):
    """Why an attempt does not count."""

    NOT_WALKING = "not_walking"
    """Fewer than four steps before the cue, or already standing."""
    MOVED_ON = "moved_on"
    """Stood, and moved on within a second."""
    NO_STANDSTILL = "no_standstill"
    """Had not come to stand 5 s after the cue."""
    GAP = "gap"
    """Samples are missing."""


_Sample = tuple[float, float, float, float, float]
"""Time, smoothed acceleration, size of the rotation."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one cue.  Times in session seconds."""

    cue_s: float
    standstill_s: float | None = None
    """From when on the trunk neither stepped nor moved; None when the attempt is void."""
    void: Void | None = None

    @property
    def stop_s(self) -> float | None:
        """Cue to standstill; None when the attempt is void."""
        return None if self.standstill_s is None else self.standstill_s - self.cue_s


class StopWatch:
    """One attempt: fed with the clip's samples from before the first step, told of the cue, then asked.

    Times are measured times.  The samples may run ahead of what is known of the cue: those from the last seconds are
    kept.
    """

    def __init__(self) -> None:
        self._posture = Posture()
        self._gait = Gait()
        self._bout_s: list[float] = []
        """When the steps of the bout that goes on now were taken."""
        self._samples: list[_Sample] = []
        self._raw: list[tuple[float, Vector, float]] = []
        """Time, acceleration and rotation of the latest few."""
        self._gap_s = -math.inf
        """When samples were last missing."""
        self._cue_s: float | None = None
        self._walked = False
        self._at = 0
        """The sample at which the next look for a standstill begins."""
        self._standstill_s: float | None = None

    @property
    def now_s(self) -> float:
        """When the latest sample was measured."""
        return self._samples[-1][0] if self._samples else -math.inf

    @property
    def steady_steps(self) -> int:
        """Steps of the bout that goes on; 0 when nobody walks."""
        return len(self._bout_s) if self._samples and self._goes_on(self._bout_s, self.now_s) else 0

    def feed(self, sample: ImuSample) -> None:
        """Takes the next sample."""
        t, accel, gyro = sample.t_measured_s, sample.accel_m_s2, sample.gyro_rad_s
        raw = self._raw
        if sample.gap or (raw and not 0.0 < t - raw[-1][0] <= GAP_S):
            self._gap_s = t
            raw.clear()
        self._posture.update(t, accel, gyro, sample.gap)
        up = self._posture.up
        if up is not None:
            self._step(t, accel[0] * up[0] + accel[1] * up[1] + accel[2] * up[2] - 9.80665)
        raw.append((t, accel, math.sqrt(gyro[0] ** 2 + gyro[1] ** 2 + gyro[2] ** 2)))
        if len(raw) > SMOOTHED:
            del raw[0]
        n = len(raw)
        x, y, z = (sum(one[1][axis] for one in raw) / n for axis in (0, 1, 2))
        # A mean belongs to the middle of what it was taken of.
        self._samples.append((raw[n // 2][0], x, y, z, raw[n // 2][2]))
        if self._cue_s is None and len(self._samples) > 2 * KEPT:
            del self._samples[:KEPT]

    def _step(self, t: float, vertical_m_s2: float) -> None:
        gait = self._gait
        if gait.update(t, vertical_m_s2):
            began_s = gait.bout_started_s
            if self._bout_s and began_s is not None and self._bout_s[0] < began_s:
                self._bout_s = []
            self._bout_s += gait.step_times_s

    @staticmethod
    def _goes_on(steps_s: Sequence[float], at_s: float) -> bool:
        return bool(steps_s) and at_s - steps_s[-1] <= LAST_STEP_S

    def cue(self, t_s: float) -> None:
        """The first frame of the cue was played at `t_s`."""
        self._cue_s = t_s
        before = [t for t in self._bout_s if t <= t_s]
        self._walked = len(before) >= STEPS_BEFORE and self._goes_on(before, t_s)
        self._at = next((i for i, sample in enumerate(self._samples) if sample[0] >= t_s), len(self._samples))

    def outcome(self) -> Attempt | None:
        """What became of it; None while that is not known yet."""
        cue_s = self._cue_s
        if cue_s is None:
            return None
        if self._gap_s > cue_s - LAST_STEP_S:
            return Attempt(cue_s, void=Void.GAP)
        if not self._walked:
            return Attempt(cue_s, void=Void.NOT_WALKING)
        if self._standstill_s is None:
            self._look()
        found_s = self._standstill_s
        if found_s is None or found_s > cue_s + SLOWEST_S:
            waited = self.now_s > cue_s + SLOWEST_S + STILL_S
            return Attempt(cue_s, void=Void.NO_STANDSTILL) if waited else None
        if found_s < cue_s + QUICKEST_S:
            return Attempt(cue_s, void=Void.NOT_WALKING)
        if self._moved_after():
            return Attempt(cue_s, void=Void.MOVED_ON)
        proved = self.now_s >= self._samples[self._at][0] + STILL_S + MOVED_ON_S
        return Attempt(cue_s, found_s) if proved else None

    def _look(self) -> None:
        """Looks for the first half second in which nothing moves."""
        samples = self._samples
        while self._at < len(samples) and samples[-1][0] >= samples[self._at][0] + STILL_S:
            begin_s = samples[self._at][0]
            window = [sample for sample in samples[self._at : self._at + MANY] if sample[0] <= begin_s + STILL_S]
            middle = _middle(window)
            if all(_near(sample, middle) for sample in window):
                self._standstill_s = begin_s
                return
            self._at += 1

    def _moved_after(self) -> bool:
        """Whether the trunk moves again.  Steps are not asked: a filter that rings after the last one tells of more."""
        samples = self._samples
        from_s = samples[self._at][0] + STILL_S
        after = [s for s in samples[self._at : self._at + 4 * MANY] if from_s < s[0] <= from_s + MOVED_ON_S]
        if len(after) < SMOOTHED:
            return False
        middle = _middle(after)
        return not all(_near(sample, middle, MOVED_TIMES) for sample in after)


def _middle(window: Sequence[_Sample]) -> Vector:
    """Mean acceleration."""
    n = len(window)
    return (sum(s[1] for s in window) / n, sum(s[2] for s in window) / n, sum(s[3] for s in window) / n)


def _near(sample: _Sample, middle: Vector, times: float = 1.0) -> bool:
    """Whether a sample is one of standing: it keeps to both limits, or to so many `times` of them."""
    _, x, y, z, turning = sample
    if turning > times * STILL_GYRO_RAD_S:
        return False
    off = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 + (z - middle[2]) ** 2
    return off <= (times * STILL_ACCEL_M_S2) ** 2


def allowed_s(stops_s: Sequence[float], profile: str) -> float:
    """Cue to standstill to allow for, by a walker's measured stops (seconds, at least two) and their assumed profile.

    The time that 95 of 100 further stops are expected within: log-normal, the mean not known beforehand, the spread
    known as well as `SIGMA_COUNTS_AS` stops know it (a scaled inverse chi-squared prior; then the next logarithm has a
    Student distribution).  Not below the slowest that was measured; within `LEAST_S` to `MOST_S`.
    """
    logs = [math.log(stop_s) for stop_s in stops_s]
    n = len(logs)
    mean = sum(logs) / n
    freedom = SIGMA_COUNTS_AS + n - 1
    squares = sum((value - mean) ** 2 for value in logs) + SIGMA_COUNTS_AS * SIGMA[profile] ** 2
    predicted_s = math.exp(mean + _student95(freedom) * math.sqrt(squares / freedom * (1.0 + 1.0 / n)))
    return min(MOST_S, max(LEAST_S, predicted_s, *stops_s))


def _student95(freedom: float) -> float:
    """95th percentile of Student's distribution: Cornish-Fisher about the normal's, to 0.001 from 7 degrees on."""
    z = 1.6448536
    a = (z**3 + z) / (4.0 * freedom)
    b = (5.0 * z**5 + 16.0 * z**3 + 3.0 * z) / (96.0 * freedom**2)
    c = (3.0 * z**7 + 19.0 * z**5 + 17.0 * z**3 - 15.0 * z) / (384.0 * freedom**3)
    return z + a + b + c
