"""Steps and cadence from vertical acceleration: direction-agnostic, causal, cheap.

High-pass 0.6 Hz, low-pass 3 Hz, and the peaks of what is left.  A bout begins after three steps in rhythm (six, when
they are weak).  Within a bout a peak like those before it is a step at once; a weak one waits for what comes next: the
push-off that lifts a foot, before the contact that follows it, is no step of its own.  When the bout is over, the last
weak peak is the foot that was put beside the other one.

A step is dated back to the foot's contact, which comes `CONTACT_S` before the peak is seen (its scatter on recorded
people: 27 ms, 60 ms in turns).  Never on forward acceleration: that is mirrored when walking backward.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise

from retrowalk.core.pace import Pace

CONTACT_S = 0.086
"""From a foot's contact to the peak in the band (median; end of the foot's movement by sensors on the feet)."""
LEAST_M_S2 = 0.10
DROP = 0.25
RISE = 0.15
TURN_M_S2 = 0.08
"""A peak is seen when the signal has dropped by this share of it, and a trough when it has risen so, and by this."""
BEGIN_M_S2 = 0.5
BEGIN_STEPS = 3
"""So many peaks of so much, in rhythm, begin a bout ..."""
WEAK_BEGIN_M_S2 = 0.25
WEAK_BEGIN_STEPS = 6
WEAK_EVEN = 0.2
"""... or so many weaker ones that are even to this share: slow shuffling.  Anything that sways comes near."""
RHYTHM_S = (0.3, 1.5)
"""Steps follow each other within these limits: 40 to 200 a minute, so that slow shuffling counts."""
PUSH_OFF = 0.7
PUSH_OFF_TIME = 0.85
"""A first peak below this share of the second, and sooner before it than this share of a step, is a push-off."""
STRONG = 0.3
"""Within a bout a peak of this share of the usual one is a step at once ..."""
WEAK = 0.12
WEAK_M_S2 = 0.15
"""... and one above this share, and this, waits for the next."""
REFRACTORY_S = 0.27
REFRACTORY_SHARE = 0.6
"""Steps are at least so far apart, and so far of what is usual: slow steps have two peaks each."""
WAIT = 0.9
GROWS = 2.0
"""A weak peak is a push-off when one of more than so many times its size follows within this share of a step ..."""
GAP = 1.35
GAP_SHARE = 0.3
"""... and it was no step's turn: it came later than this (so that a step is missing), or the two make up one step.
So late a peak below this share of the usual one is nothing at all: the trunk turns while the feet pivot."""
WEAK_RUN = 4
"""More weak steps in a row are none: who stands sways."""
CLOSING = (0.6, 1.5)
CLOSING_M_S2 = 0.12
"""The foot put beside the other one: a peak above this, within these shares of a usual step after the last."""
STANDING_AFTER_S = 1.8
"""No step for longer: standing."""
USUAL_S = 0.6
"""A step's time before anything is known of the bout's."""
STIRS_M_S2 = 0.35
"""A peak within a bout that may be a step."""


class _Biquad:
    __slots__ = ("a1", "a2", "b0", "b1", "b2", "cutoff_hz", "high", "s1", "s2")

    def __init__(self, cutoff_hz: float, period_s: float, high: bool) -> None:
        self.cutoff_hz = cutoff_hz
        self.high = high
        self.s1 = self.s2 = 0.0
        self.tune(period_s)

    def tune(self, period_s: float) -> None:
        """Samples come `period_s` apart from now on."""
        k = math.tan(math.pi * self.cutoff_hz * period_s)
        norm = 1.0 / (1.0 + math.sqrt(2.0) * k + k * k)
        self.a1 = 2.0 * (k * k - 1.0) * norm
        self.a2 = (1.0 - math.sqrt(2.0) * k + k * k) * norm
        if self.high:
            self.b0, self.b1, self.b2 = norm, -2.0 * norm, norm
        else:
            self.b0, self.b1, self.b2 = k * k * norm, 2.0 * k * k * norm, k * k * norm

    def step(self, x: float) -> float:
        y = self.b0 * x + self.s1
        self.s1 = self.b1 * x - self.a1 * y + self.s2
        self.s2 = self.b2 * x - self.a2 * y
        return y


_Peak = tuple[float, float]
"""When (the time of the filtered signal's maximum), and how much (m/s2)."""


class Gait:
    """Counts steps; knows cadence and whether the wearer walks.  Times are measured times in session seconds."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._high = _Biquad(0.6, self._pace.period_s, high=True)
        self._low = _Biquad(3.0, self._pace.period_s, high=False)
        self._rising = True
        self._top = -math.inf
        """Highest (rising) or lowest value since the signal last turned, and when that was."""
        self._top_s = 0.0
        self.last_peak_s = -math.inf
        """When the back last bounced as it does at a step, whether it was one or not."""
        self._beginning: list[_Peak] = []
        """Peaks in rhythm that are not enough for a bout yet."""
        self._last: _Peak = (-math.inf, 0.0)
        """Of the latest step."""
        self._waiting: _Peak | None = None
        self._closing: _Peak | None = None
        """The first weak peak since the latest step: the foot put beside the other one, if no other step follows."""
        self._weak_run = 0
        self._intervals: deque[float] = deque(maxlen=8)
        self._usual_s = 0.0
        """Median time between the bout's last steps; 0 without any."""
        self._sizes: deque[float] = deque(maxlen=6)
        self._size = 0.0
        """Median of the bout's latest strong peaks."""
        self.steps = 0
        """Steps taken in bouts since the start."""
        self.step_times_s: tuple[float, ...] = ()
        """Contacts of the steps that the latest sample has confirmed, in order: three at once where a bout begins.

        That of a foot put beside the other one is given when the bout is over.
        """
        self.last_step_s = -math.inf
        """The contact of the latest step."""
        self.bout_started_s: float | None = None
        """The contact of the bout's first step; None while standing."""
        self.bounce_m_s2 = 0.0
        """Vertical acceleration in the band of the steps, of the latest sample."""

    def update(self, t_measured_s: float, vertical_m_s2: float) -> bool:
        """Feeds vertical acceleration without gravity; returns whether steps of walking were counted just now.

        A closing step that is given back with the end of a bout counts, but is no sign of walking now.
        """
        if self.step_times_s:
            self.step_times_s = ()
        if self._pace.update(t_measured_s):
            self._high.tune(self._pace.period_s)
            self._low.tune(self._pace.period_s)
        x = self.bounce_m_s2 = self._low.step(self._high.step(vertical_m_s2))
        walked = False
        if self.bout_started_s is not None:
            waiting = self._waiting
            if waiting is not None and t_measured_s - waiting[0] > WAIT * self._usual_s:
                walked = self._settle(waiting, None)
            if t_measured_s - self.last_step_s > STANDING_AFTER_S:
                self._end_bout()
        if self._rising:
            if x > self._top:
                self._top, self._top_s = x, t_measured_s
            elif x < self._top - TURN_M_S2 and x < (1.0 - DROP) * self._top:
                peak = (self._top_s, self._top)
                self._rising, self._top = False, x
                if peak[1] > LEAST_M_S2:
                    return self._peak(peak) or walked
        elif x < self._top:
            self._top = x
        elif x > self._top + max(TURN_M_S2, -RISE * self._top):
            self._rising, self._top, self._top_s = True, x, t_measured_s
        return walked

    def _peak(self, peak: _Peak) -> bool:
        """The band has peaked; returns whether steps are counted for it."""
        at, size = peak
        if self.bout_started_s is None:
            return self._begin(peak)
        if size >= STIRS_M_S2:
            self.last_peak_s = at
        if self._closing is None and at - self._last[0] >= CLOSING[0] * self._usual_s and size >= CLOSING_M_S2:
            self._closing = peak
        if self._too_soon(at):
            return False
        counted = False
        if size >= STRONG * self._size:
            if self._waiting is not None:
                counted = self._settle(self._waiting, peak)
            if not self._too_soon(at):
                self._weak_run = 0
                self._take(peak)
                counted = True
        elif size >= WEAK_M_S2 and size >= WEAK * self._size:
            if self._waiting is not None:
                counted = self._settle(self._waiting, peak)
            if not self._too_soon(at):
                self._waiting = peak
        return counted

    def _too_soon(self, at: float) -> bool:
        return at - self._last[0] < max(REFRACTORY_S, REFRACTORY_SHARE * self._usual_s)

    def _settle(self, weak: _Peak, following: _Peak | None) -> bool:
        """Whether a weak peak was a step, now that it is known what follows; counts it if so."""
        self._waiting = None
        since = (weak[0] - self._last[0]) / self._usual_s
        if following is not None and following[1] > GROWS * weak[1]:
            until = (following[0] - weak[0]) / self._usual_s
            if until < WAIT and (since > GAP or since + until < 1.6):
                return False
        if (since > GAP and weak[1] < GAP_SHARE * self._size) or self._weak_run >= WEAK_RUN:
            return False
        self._weak_run += 1
        self._take(weak)
        return True

    def _take(self, peak: _Peak) -> None:
        interval = peak[0] - self._last[0]
        if RHYTHM_S[0] <= interval <= RHYTHM_S[1]:
            self._intervals.append(interval)
            self._usual_s = _median(self._intervals)
        if peak[1] >= STRONG * self._size:
            self._sizes.append(peak[1])
            self._size = _median(self._sizes)
        self._last = peak
        self._closing = None
        self._count(peak)

    def _count(self, peak: _Peak) -> None:
        self.steps += 1
        self.last_step_s = peak[0] - CONTACT_S
        self.step_times_s = (*self.step_times_s, self.last_step_s)

    def _begin(self, peak: _Peak) -> bool:
        """A peak while standing; returns whether a bout begins with it."""
        at, size = peak
        if size < WEAK_BEGIN_M_S2:
            return False
        if size >= BEGIN_M_S2:
            self.last_peak_s = at
        peaks = self._beginning
        if peaks:
            since = at - peaks[-1][0]
            if since < REFRACTORY_S:
                return False
            if not RHYTHM_S[0] <= since <= RHYTHM_S[1]:
                peaks.clear()
        peaks.append(peak)
        strong = 0
        while strong < len(peaks) and peaks[-1 - strong][1] >= BEGIN_M_S2:
            strong += 1
        if strong >= BEGIN_STEPS:
            steps = peaks[-BEGIN_STEPS:]
            first, second, third = steps
            soon = second[0] - first[0] < PUSH_OFF_TIME * (third[0] - second[0])
            if soon and first[1] < PUSH_OFF * second[1]:
                steps = steps[1:]
        elif len(peaks) >= WEAK_BEGIN_STEPS and _even(peaks):
            steps = peaks[:]
        else:
            del peaks[: 1 - WEAK_BEGIN_STEPS]
            return False
        self.bout_started_s = steps[0][0] - CONTACT_S
        self._last = (-math.inf, 0.0)
        for step in steps:
            self._take(step)
        peaks.clear()
        return True

    def _end_bout(self) -> None:
        closing = self._closing
        if closing is not None and closing[0] - self._last[0] <= CLOSING[1] * self._usual_s:
            self._count(closing)
        self.bout_started_s = None
        self._intervals.clear()
        self._sizes.clear()
        self._usual_s = self._size = 0.0
        self._waiting = self._closing = None
        self._weak_run = 0

    def walking(self, now: float) -> bool:
        """Whether the wearer walks at `now`."""
        return self.bout_started_s is not None and now - self.last_step_s <= STANDING_AFTER_S

    def cadence_spm(self, now: float) -> float | None:
        """Steps per minute over the last eight steps; None when standing."""
        return 60.0 / self._usual_s if self.walking(now) and self._usual_s else None


def _even(peaks: list[_Peak]) -> bool:
    """Whether peaks come as regularly as steps do."""
    intervals = [after[0] - before[0] for before, after in pairwise(peaks)]
    middle = _median(intervals)
    return all(abs(interval - middle) <= WEAK_EVEN * middle for interval in intervals)


def _median(values: deque[float] | list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else 0.5 * (ordered[middle - 1] + ordered[middle])
