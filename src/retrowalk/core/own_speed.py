"""How fast the wearer walks, from the bounce of the back; and what the path behind teaches about it.

Whoever walks faster bounces more: the root mean square of the vertical acceleration in the band of the steps (0.6 to
3 Hz, as `Gait` filters it) is near the walking speed in numbers, up to about 0.9 m/s, and grows faster beyond it:
`v = 1.5 tanh(rms / 1.5)`.  An inverted pendulum has speed grow with its root; real people's slow steps do not.
Cadence adds nothing (older people walk faster by cadence, younger ones by longer steps), nor does height.

Error on recorded people (mean over a walk): 120 ways of 10 m by ten people walking forward at 0.8 to 1.6 m/s, clip at
the lower back: root mean square 0.10 m/s, bias -0.03, 90 % within 0.16.  Seven backward walks of actors at 0.44 to 1.0
m/s, clip computed from motion capture: 0.21, bias +0.10, 90 % within 0.32; without the one who hops 0.11, +0.04, 0.16.
Fifteen forward ones of the same actors: 0.15, 0.00, 0.15.  Fitted again without the person judged: 0.10, 0.24 and 0.18.
Nobody older has been recorded walking backward.

It does not tell forward from backward, and who hops seems fast.  A wearer's own factor is learned while something that
stands still nears: its closing speed is the walking speed.
"""

from __future__ import annotations

import math
from collections import deque

FASTEST_M_S = 1.5
"""The estimate goes no higher: nobody walks backward faster, and bouncing beyond that is no speed."""
RMS_M_S2 = 1.5
"""Scale of the bounce."""
SMOOTH_S = 0.8
"""Time constant of the mean square: a step and a half.  Longer is no better on recorded people, and later."""
STALE_S = 0.5
"""Without a sample for longer nothing is known."""
POPULATION_ERROR = 0.15
"""Error of the estimate for somebody unknown, as a share of the speed (one standard deviation) ..."""
CALIBRATED_ERROR = 0.10
"""... for somebody who has walked a way of known length (ten people's other walks, forward: 0.06 in place of 0.07; no
such walks backward are recorded) ..."""
LEARNED_ERROR = 0.06
"""... and once enough has been learned about the wearer."""

TEACHES_M_S = (0.2, 1.6)
"""Closing speeds that can be somebody walking; slower ones belong to things that move along."""
TEACHES_AFTER_S = 1.5
"""So long must a thing have been nearing before it has given its first lesson."""
PAUSE_S = 0.4
"""A thing that was not seen for longer is another one."""
LESSON_S = 1.0
"""A thing gives one lesson in so much time: the median of what it said meanwhile."""
LESSONS = 15
"""Latest lessons that count."""
DOUBTS = 4
"""So many lessons that say "as everybody", or as a measured way has said, count from the beginning."""
REMEMBERED = 2 * DOUBTS
"""So many lessons of earlier walks count at most: enough to know the wearer, few enough to learn another."""
FACTOR = (0.6, 1.6)
"""Limits of the wearer's factor."""
BELIEVED = (0.6, 1.5)
"""A lesson outside these limits (four standard deviations) is about a thing that moves by itself."""
STEADY = 0.3
"""The estimate may have changed by this share within a lesson; else the wearer sped up or slowed down."""
STANDS_STILL = (0.75, 1.35)
"""A thing that nears at the estimated speed, give or take this, stands still: its closing speed is the walking speed
now."""
SEEN_S = 1.5
"""So long after its lesson a thing tells the walking speed."""
LEAVES_M_S = -0.3
LEAVES_S = 1.0
"""Something that is left so fast for so long: the wearer walks forward ..."""
FORWARD_S = 30.0
"""... and is taken to do so for this long after, unless they stand, or something nears."""


class OwnSpeed:
    """The wearer's walking speed, m/s; never negative, whichever way they walk.

    `update` with each sample of the clip, `learn` with each closing speed of a trusted track.  Times are session
    seconds: of `update` measured ones, else now.
    """

    __slots__ = (
        "_calibrated",
        "_forward_until_s",
        "_leaving_since_s",
        "_lesson",
        "_lesson_began_s",
        "_lessons",
        "_mean_square",
        "_nearing_s",
        "_nearing_since_s",
        "_still",
        "_t",
        "_walking",
        "factor",
    )

    def __init__(self, calibrated: float = 1.0) -> None:
        """`calibrated`: the wearer's factor by a way of known length; 1: none was walked."""
        self._calibrated = calibrated
        self._t = -math.inf
        self._mean_square = 0.0
        self._walking = False
        self.factor = calibrated
        """The wearer's speed over that of everybody with this bounce (0.6 to 1.6)."""
        self._lessons: deque[float] = deque(maxlen=LESSONS)
        self._lesson: list[tuple[float, float, float]] = []
        """Of the lesson that is being given: ratio, what the bounce means for everybody, closing speed."""
        self._lesson_began_s = 0.0
        self._nearing_since_s = 0.0
        self._nearing_s = -math.inf
        self._still = (-math.inf, 0.0)
        """When a thing that stands still last told the walking speed, and what."""
        self._leaving_since_s: float | None = None
        self._forward_until_s = -math.inf

    def update(self, t_measured_s: float, bounce_m_s2: float, walking: bool) -> None:
        """Feeds a sample: vertical acceleration in the band of the steps, and whether steps are being taken."""
        dt = t_measured_s - self._t
        self._t = t_measured_s
        self._walking = walking
        if not walking:
            self._forward_until_s = -math.inf
        if dt > STALE_S:
            self._mean_square = 0.0
        elif dt > 0.0:
            self._mean_square += min(1.0, dt / SMOOTH_S) * (bounce_m_s2 * bounce_m_s2 - self._mean_square)

    def speed_m_s(self, now: float) -> float | None:
        """Walking speed at `now` (up to 2.4 m/s); None when standing or not known.

        The larger of what the bounce says and what something that stands still says.
        """
        speed = self.by_bounce_m_s(now)
        if speed is None:
            return None
        told_s, told_m_s = self._still
        return max(speed, told_m_s) if now - told_s <= SEEN_S else speed

    def by_bounce_m_s(self, now: float) -> float | None:
        """What the bounce says of this wearer (up to 2.4 m/s), the likeliest speed; None when standing or not known."""
        common = self._common_m_s(now)
        return None if common is None else common * self.factor

    @property
    def error(self) -> float:
        """Uncertainty of the speed as a share of it (one standard deviation)."""
        known = min(1.0, len(self._lessons) / (2.0 * DOUBTS))
        unlearned = POPULATION_ERROR if self._calibrated == 1.0 else CALIBRATED_ERROR
        return unlearned + known * (LEARNED_ERROR - unlearned)

    @property
    def lessons(self) -> int:
        """Lessons that the factor rests on, to be kept with it between walks."""
        return len(self._lessons)

    def remember(self, factor: float, lessons: int) -> None:
        """What was learned in earlier walks counts again, at most as much as `REMEMBERED` lessons."""
        if lessons > 0 and FACTOR[0] <= factor <= FACTOR[1]:
            self._lessons.extend([factor] * min(REMEMBERED, lessons))
            self.factor = factor

    def forward(self, now: float) -> bool:
        """Whether the wearer has lately left something behind, walking forward."""
        return now <= self._forward_until_s

    def _common_m_s(self, now: float) -> float | None:
        """What the bounce means for everybody."""
        if not self._walking or now - self._t > STALE_S:
            return None
        return FASTEST_M_S * math.tanh(math.sqrt(self._mean_square) / RMS_M_S2)

    # -- learning ---------------------------------------------------------------------------------------------

    def learn(self, now: float, closing_speed_m_s: float) -> None:
        """A trusted track nears so fast at `now`.  What moves by itself, or along, teaches nothing, or little."""
        self._leave(now, closing_speed_m_s)
        common = self._common_m_s(now)
        slow, fast = TEACHES_M_S
        if not common or not slow <= closing_speed_m_s <= fast or now - self._nearing_s > PAUSE_S:
            self._nearing_since_s = now
            self._lesson.clear()
        self._nearing_s = now
        if not common or now - self._nearing_since_s < TEACHES_AFTER_S - LESSON_S:
            self._lesson_began_s = now
            return
        self._lesson.append((closing_speed_m_s / common, common, closing_speed_m_s))
        if now - self._lesson_began_s >= LESSON_S:
            self._lesson_began_s = now
            self._taught(now)
            self._lesson.clear()

    def _taught(self, now: float) -> None:
        """A lesson is over."""
        speeds = [common for _, common, _ in self._lesson]
        ratio = _median([ratio for ratio, _, _ in self._lesson])
        if max(speeds) > (1.0 + STEADY) * min(speeds) or not BELIEVED[0] <= ratio <= BELIEVED[1]:
            return
        if STANDS_STILL[0] <= ratio / self.factor <= STANDS_STILL[1]:
            self._still = (now, _median([closing for _, _, closing in self._lesson]))
        self._lessons.append(ratio)
        # A median of lessons and doubts: one bicycle, or one carer, moves it little.
        self.factor = max(FACTOR[0], min(FACTOR[1], _median([*self._lessons, *[self._calibrated] * DOUBTS])))

    def _leave(self, now: float, closing_speed_m_s: float) -> None:
        if closing_speed_m_s > LEAVES_M_S or now - self._nearing_s > PAUSE_S:
            self._leaving_since_s = None
            if closing_speed_m_s >= TEACHES_M_S[0]:
                self._forward_until_s = -math.inf  # something nears again: backward
        if closing_speed_m_s <= LEAVES_M_S:
            if self._leaving_since_s is None:
                self._leaving_since_s = now
            if now - self._leaving_since_s >= LEAVES_S:
                self._forward_until_s = now + FORWARD_S


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else 0.5 * (ordered[middle - 1] + ordered[middle])
