"""How the wearer walks usually, and how they did a moment ago: what `Steadiness` compares with.

`Own` is learned over walks and kept between them; `Lean` only while the clip is worn, because it sits differently each
time it is put on; `Aside` looks no further back than the path does.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from retrowalk.core.samples import Usual

EVERY_S = 0.2
"""`update` wants to be called so often."""

LEARN_S = 120.0
"""The first two minutes of steady walking teach what is usual: the plain mean of them."""
FOLLOW_S = 600.0
"""From then on it follows with this time constant ..."""
PULL = 0.25
"""... nothing pulling harder than a value so much, as a share, above or below it ..."""
SESSION = 0.15
"""... and no further than by this share in one session: one bad walk changes little."""
LEAST, MOST = 0.01, 300.0
"""No number that is usual for anybody lies beyond these."""

LEAN_LEARN_S = 6.0
"""The lean is known after so much walking: how the trunk stands in the clip differs each time it is put on ..."""
LEAN_FOLLOW_S = 30.0
"""... and it is followed with this time constant: what the orientation filter still drifts is no lean."""
DRIFT_S = 5.0
"""The drift is that of the mean over so long."""
LAST_S = 1.5
"""So much of the end of even walking teaches nothing."""
STEPS_S = (0.4, 1.2)
"""A step takes no less and no more."""
OMEGA0_PER_S = 3.1
"""Inverted pendulum of a trunk 1 m above its pivot: sqrt(g / l)."""

LOOK_WITHIN_S = 5.0
"""Who has turned aside for no longer than this may have looked back; who does not turn back walks round a bend."""
BEND_DEG = 10.0
"""What is left of a bend, which fades, after that time."""


class Seen(NamedTuple):
    """What is known of the wearer at a moment.  None: not known."""

    walking: bool
    pitch_deg: float | None = None
    """Trunk pitch from upright, forward positive, and its rate: means since the last update."""
    pitch_rate_deg_s: float = 0.0
    bout_started_s: float | None = None
    last_step_s: float = -math.inf
    cadence_spm: float | None = None
    speed_m_s: float | None = None
    step_time_cv: float | None = None
    """Standard deviation of step times over their mean."""
    regularity: float | None = None
    """Autocorrelation of vertical acceleration at a step, up to 1."""
    stride_regularity: float | None = None
    """... and at a stride: of who limps, the regular one."""
    vertical_rms_m_s2: float | None = None
    turning: bool = False
    """The trunk turns, be it by little ..."""
    turned_s: float = -math.inf
    """... and when it last had turned far enough to walk another way."""
    yaw_held_deg: float = 0.0
    """How far the trunk is turned from where it usually points, left positive."""
    forward: bool | None = None
    """Which way they walk."""


class Own:
    """What is usual for this wearer: learned in walking, kept between walks, moved little by one of them."""

    __slots__ = ("_anchor", "_learned_s", "_values")

    def __init__(self) -> None:
        self._learned_s = 0.0
        self._values: list[float] = []
        """In the order of `Usual`."""
        self._anchor: list[float] = []
        """What was known when this session began, or when enough was."""

    def learn(self, dt_s: float, seen: Seen) -> None:
        """Takes `dt_s` of steady walking."""
        now = (seen.step_time_cv, seen.regularity, seen.vertical_rms_m_s2, seen.cadence_spm, seen.speed_m_s)
        values = [max(LEAST, value) for value in now if value is not None]
        if len(values) < len(now):
            return
        self._learned_s += dt_s
        if self._learned_s < LEARN_S:
            share, before = dt_s / self._learned_s, self._values or values
            self._values = [own + share * (value - own) for own, value in zip(before, values, strict=True)]
            return
        if not self._anchor:
            self._anchor = list(self._values)
        share = dt_s / FOLLOW_S
        for i, value in enumerate(values):
            own = self._values[i]
            self._values[i] = _within(own + share * (_within(value, own, PULL) - own), self._anchor[i], SESSION)

    @property
    def known(self) -> Usual | None:
        """What is usual; None until enough has been seen."""
        return Usual(self._learned_s, *self._values) if self._anchor else None

    @property
    def mean_cv(self) -> float:
        """Variation of step times as far as it has been seen; 0: not yet."""
        return self._values[0] if self._values else 0.0

    @property
    def learned(self) -> Usual | None:
        """What has been learned up to now, to be kept; None: nothing."""
        return Usual(round(self._learned_s, 1), *(round(value, 4) for value in self._values)) if self._values else None

    def restore(self, learned: Usual) -> None:
        """Goes on from what was kept; numbers that nobody can have walked are not taken."""
        values = [
            learned.step_time_cv,
            learned.regularity,
            learned.vertical_rms_m_s2,
            learned.cadence_spm,
            learned.speed_m_s,
        ]
        if not learned.learned_s > 0.0 or not all(LEAST <= value <= MOST for value in values):
            return
        self._learned_s = learned.learned_s
        self._values = values
        self._anchor = list(values) if learned.learned_s >= LEARN_S else []


def _within(value: float, middle: float, share: float) -> float:
    return max(middle * (1.0 - share), min(middle * (1.0 + share), value))


class Lean:
    """How the trunk leans in walking now, and how it does usually.  Degrees of pitch, forward positive."""

    __slots__ = ("_learned_s", "_mean_deg", "_sum", "_window", "capture_deg", "drifting_deg")

    def __init__(self) -> None:
        self._learned_s = 0.0
        self._mean_deg = 0.0
        self._window: deque[tuple[float, float, float]] = deque()
        """Time, pitch and where it is going to be, of the last seconds of even walking."""
        self._sum = 0.0
        self.capture_deg: float | None = None
        """Where the trunk is going to be (pitch and rate / omega0), mean over two steps; None: not known."""
        self.drifting_deg: float | None = None
        """Mean pitch of the last seconds."""

    def forget_moment(self, *, learns: bool = False) -> None:
        """What was a moment ago says nothing about now; what is usual stays, and `learns` from all but the very last.

        The last of a walk is how somebody brakes, or begins to turn.
        """
        window = self._window
        if not window:
            return
        if learns:
            until_s = window[-1][0] - LAST_S
            for at_s, pitch_deg, _ in window:
                if at_s <= until_s:
                    self._learn(pitch_deg)
        window.clear()
        self._sum = 0.0
        self.capture_deg = self.drifting_deg = None

    def _learn(self, pitch_deg: float) -> None:
        self._learned_s = min(LEAN_FOLLOW_S, self._learned_s + EVERY_S)
        self._mean_deg += EVERY_S / self._learned_s * (pitch_deg - self._mean_deg)

    @property
    def usual_deg(self) -> float | None:
        """The wearer's mean pitch in walking since the clip was put on; None until it is known."""
        return self._mean_deg if self._learned_s >= LEAN_LEARN_S else None

    def restore(self, usual_deg: float) -> None:
        """Takes over what was known before a restart, of a clip that has not been taken off."""
        self._mean_deg, self._learned_s = usual_deg, LEAN_FOLLOW_S

    def update(self, t_s: float, pitch_deg: float, rate_deg_s: float, step_s: float, *, learns: bool) -> None:
        """Takes mean pitch and rate since the last update, in even walking; a step takes `step_s`."""
        window = self._window
        window.append((t_s, pitch_deg, pitch_deg + rate_deg_s / OMEGA0_PER_S))
        self._sum += pitch_deg
        whole = False
        while window[0][0] <= t_s - DRIFT_S:
            _, old_deg, _ = window.popleft()
            self._sum -= old_deg
            whole = True
            if learns:
                self._learn(old_deg)  # what is usual is what was before: the drift itself is no part of it
        self.drifting_deg = self._sum / len(window) if whole else None
        from_s, total, count = t_s - 2.0 * max(STEPS_S[0], min(STEPS_S[1], step_s)), 0.0, 0
        for at_s, _, capture in reversed(window):
            if at_s <= from_s:
                break
            total += capture
            count += 1
        self.capture_deg = total / count if window[0][0] <= from_s else None


class Aside:
    """How far the trunk has turned aside from where the wearer goes: a look back, or a bend, which nobody can tell at
    once.  So it tells where the path was straight before, and what has turned aside there has turned back.
    """

    __slots__ = ("_before_deg", "_turning_s", "deg", "straight_s")

    def __init__(self) -> None:
        self._turning_s = -math.inf
        self._before_deg = 0.0
        """Yaw that was held before the latest turning."""
        self.straight_s = 0.0
        """For how long the wearer has walked straight on."""
        self.deg: float | None = None
        """Left positive; 0 when long since; None while it turns."""

    def update(self, t_s: float, dt_s: float, seen: Seen) -> None:
        """Takes what is seen."""
        if t_s - seen.turned_s < dt_s + EVERY_S:
            self.straight_s = 0.0
            self._before_deg = 0.0
        if seen.walking:
            self.straight_s += dt_s
        if seen.turning:
            self._turning_s, self.deg = t_s, None
            return
        aside = seen.yaw_held_deg - self._before_deg
        if t_s - self._turning_s <= LOOK_WITHIN_S:
            self.deg = aside
            return
        if self.deg is not None and abs(self.deg) > BEND_DEG:
            self.straight_s = 0.0
        self.deg, self._before_deg = 0.0, seen.yaw_held_deg


class Habits:
    """How the wearer walks one way: forward and backward differ in everything."""

    __slots__ = ("lean", "own")

    def __init__(self) -> None:
        self.own = Own()
        self.lean = Lean()
