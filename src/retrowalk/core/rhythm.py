"""How even the steps are: variability of stride time, regularity of the bounce, its size, and shuffling.

Strides (two steps) are compared, not steps: left and right may differ for years without harm.  Turns, and the first and
last two steps of a bout, are left out.  The regularity is that of Moe-Nilssen and Helbostad (2004, J Biomech 37:121):
the autocorrelation of the vertical acceleration one step and one stride later, unbiased, over five seconds.

Both say how even the detector was, too: `JITTER_S` is taken out of the variability in quadrature, and all of them are
for comparing a wearer with themselves.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from operator import mul

STRIDES = 24
"""Latest strides that count (each step ends one) ..."""
STRIDES_LEAST = 12
"""... and fewer than this tell nothing."""
STRIDES_AGE_S = 60.0
"""Strides from longer ago tell nothing of now."""
STEP_S = (0.3, 1.5)
"""Steps further apart than this do not follow each other."""
MISSED = 0.3
"""A stride that differs from the median by more than this share has a step too many or too few."""
EDGE = 2
"""So many steps at each end of a bout are left out: starting and stopping."""
JITTER_S = 0.010
"""Scatter of a found contact about the true one, within a walk."""

RATE_HZ = 26.0
"""The band of the steps (up to 3 Hz) is kept at this rate."""
WINDOW_S = 5.0
EVERY_S = 1.0
STEP_LAGS = (0.75, 1.3)
STRIDE_LAGS = (1.7, 2.35)
"""Where the peaks are sought, in shares of the usual time of a step."""
STANDS_AFTER_S = 2.0
"""No step for longer: what was said of the bounce was of walking, and is not known any more."""

SHUFFLES_FOR = 3
"""So many looks in a row (a second apart) that show it."""
SHUFFLES_CADENCE = 1.2
SHUFFLES_RMS = 0.6
SHUFFLES_REGULARITY = 0.35
"""Cadence above and bounce below these shares of the wearer's own, and steps less regular than this.  No published
threshold for backward walking is known."""


@dataclass(frozen=True, slots=True)
class Usual:
    """How the wearer usually walks: medians of their own walks."""

    cadence_spm: float
    vertical_rms_m_s2: float


class Rhythm:
    """Fed with each step and each sample.  Times are measured times in session seconds."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forgets everything, as after a gap."""
        self._recent: deque[tuple[float, bool]] = deque(maxlen=2 * EDGE + 1)
        """Latest steps of the bout: when, and whether it is one of a turn or the bout's first."""
        self._bout_steps = 0
        self._bout_s = math.inf
        """The bout's first step, or the latest of a turn: what the bounce was before is not compared."""
        self._strides: deque[tuple[float, float]] = deque(maxlen=STRIDES)
        """When, and how long."""
        self._steps: deque[float] = deque(maxlen=8)
        """Times between the bout's latest steps."""
        self._bounce: deque[float] = deque(maxlen=round(WINDOW_S * RATE_HZ))
        self._sum = 0.0
        self._count = 0
        self._block_s: float | None = None
        self._now_s = -math.inf
        self._due_s = -math.inf
        self._looks: deque[tuple[float, float, float]] = deque(maxlen=SHUFFLES_FOR)
        """Cadence, size and regularity of the latest looks."""
        self._regularity: float | None = None
        self._stride_regularity: float | None = None
        self._rms: float | None = None

    # -- feeding ----------------------------------------------------------------------------------------------

    def step(self, t_s: float, *, turning: bool = False) -> None:
        """A step at `t_s`, not before the one before; `turning`: the wearer turns."""
        recent = self._recent
        since = t_s - recent[-1][0] if recent else math.inf
        if STEP_S[0] <= since <= STEP_S[1]:
            self._steps.append(since)
            self._bout_steps += 1
        else:
            recent.clear()
            self._steps.clear()
            self._bout_steps = 1
            self._bout_s = t_s
        if turning:
            self._bout_s = t_s
        recent.append((t_s, turning or self._bout_steps <= EDGE))
        # A stride counts once two more steps have followed: the last ones of a bout are slower.
        if len(recent) > 2 * EDGE and not any(odd for _, odd in recent):
            self._strides.append((t_s, recent[2][0] - recent[0][0]))

    def update(self, t_s: float, bounce_m_s2: float) -> None:
        """A sample: vertical acceleration in the band of the steps (0.6 to 3 Hz)."""
        self._sum += bounce_m_s2
        self._count += 1
        if self._block_s is None:
            self._block_s = t_s
        if (t_s - self._block_s) * RATE_HZ < 1.0 - 0.5 / self._count:
            return
        self._bounce.append(self._sum / self._count)
        self._sum, self._count, self._block_s = 0.0, 0, t_s
        self._now_s = t_s
        if t_s >= self._due_s:
            self._due_s = t_s + EVERY_S
            self._look(t_s)

    def _look(self, t_s: float) -> None:
        recent = self._recent
        if not recent or t_s - recent[-1][0] > STANDS_AFTER_S:
            self._regularity = self._stride_regularity = self._rms = None
            self._looks.clear()
            return
        values = list(self._bounce)
        if len(values) < (self._bounce.maxlen or 0) or t_s - self._bout_s < WINDOW_S or len(self._steps) < 4:
            return
        n = len(values)
        power = sum(map(mul, values, values)) / n
        if power <= 0.0:
            return
        usual = _median(self._steps) * RATE_HZ

        self._regularity = _likeness(values, power, usual, STEP_LAGS)
        self._stride_regularity = _likeness(values, power, usual, STRIDE_LAGS)
        self._rms = math.sqrt(power)
        self._looks.append((60.0 * RATE_HZ / usual, self._rms, self._regularity))

    # -- what is known ----------------------------------------------------------------------------------------

    @property
    def step_time_cv(self) -> float | None:
        """Variation of stride time (standard deviation over mean, as a share); None with too few strides."""
        lasts = [stride for t_s, stride in self._strides if self._now_s - t_s <= STRIDES_AGE_S]
        if len(lasts) < STRIDES_LEAST:
            return None
        middle = _median(lasts)
        lasts = [stride for stride in lasts if abs(stride - middle) <= MISSED * middle]
        if len(lasts) < STRIDES_LEAST:
            return None
        mean = sum(lasts) / len(lasts)
        variance = sum((stride - mean) ** 2 for stride in lasts) / (len(lasts) - 1)
        return math.sqrt(max(0.0, variance - 2.0 * JITTER_S**2)) / mean

    @property
    def regularity(self) -> float | None:
        """How like each other steps are (0 to 1); None until five seconds were walked straight on, and standing."""
        return self._regularity

    @property
    def stride_regularity(self) -> float | None:
        """How like each other strides are (0 to 1)."""
        return self._stride_regularity

    @property
    def vertical_rms_m_s2(self) -> float | None:
        """Size of the bounce over the same five seconds."""
        return self._rms

    def shuffling(self, usual: Usual) -> bool:
        """Whether, for three seconds, steps have been quicker, flatter and less regular than is usual."""
        return len(self._looks) == SHUFFLES_FOR and all(
            cadence > SHUFFLES_CADENCE * usual.cadence_spm
            and rms < SHUFFLES_RMS * usual.vertical_rms_m_s2
            and regularity < SHUFFLES_REGULARITY
            for cadence, rms, regularity in self._looks
        )


def _likeness(values: list[float], power: float, usual: float, shares: tuple[float, float]) -> float:
    """Highest autocorrelation (0 to 1) of `values`, of that mean square, at lags of these shares of a usual one."""
    n = len(values)
    lags = range(round(shares[0] * usual), min(n // 2, round(shares[1] * usual)) + 1)
    most = max((sum(map(mul, values, values[lag:]), 0.0) / (n - lag) for lag in lags), default=0.0)
    return max(0.0, min(1.0, most / power))


def _median(values: deque[float] | list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else 0.5 * (ordered[middle - 1] + ordered[middle])
