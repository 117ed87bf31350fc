"""Leaning back too far, and balance that is going: both from the trunk's pitch and its rate, backward only.

Both look at the capture point of an inverted pendulum, where the trunk is going to be: pitch and rate / omega0.
Leaning is judged on its mean over a step, because within one the rate swings either way.
"""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum

from retrowalk.config import Balance as Knobs
from retrowalk.core.falls import tilt_deg
from retrowalk.core.posture import Vector, unit

OMEGA0_PER_S = 3.1
"""Inverted pendulum of a trunk 1 m above its pivot: sqrt(g / l)."""
LYING_DEG = 60.0
"""Beyond this the trunk lies, or nearly: the fall detector's matter."""
LOSS_S = 0.06
"""Balance is lost when the limits hold for this long."""
LOSS_GAP_S = 3.0
LOSS_LEAN_DEG = 5.0
"""... and the trunk already leans back this much.  Heel strikes alone reach 100 degrees/s in healthy people: with this,
recorded walking gives 1 false loss in 29 min instead of 15, and backward slips are still seen (0.95, 0.22 s ahead)."""
CLIP_LIMIT_DEG = 35.0
"""A clip worn more crooked than this is not taken for upright standing."""


class Change(StrEnum):
    """What a sample has changed."""

    LOST = "lost"
    LEANING = "leaning"
    UPRIGHT = "upright"


class BalanceWatch:
    """Feeds on trunk pitch (degrees, forward positive) and its rate (degrees/s) at measured times."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._window: deque[tuple[float, float]] = deque()
        self._sum = 0.0
        self._leaning_since_s: float | None = None
        self._loss_since_s: float | None = None
        self._lost_s = -math.inf
        self.leaning = False
        self.lean_deg = 0.0
        """How far the capture point is back, averaged over a step."""

    def update(self, t_s: float, pitch_deg: float, rate_deg_s: float) -> list[Change]:
        """Takes one sample and returns what it has changed (mostly nothing)."""
        if abs(pitch_deg) > LYING_DEG:
            self._loss_since_s = self._leaning_since_s = None
            return []
        back_deg = -(pitch_deg + rate_deg_s / OMEGA0_PER_S)
        changes: list[Change] = []
        if self._losing(t_s, pitch_deg, rate_deg_s, back_deg):
            changes.append(Change.LOST)
        window = self._window
        window.append((t_s, back_deg))
        self._sum += back_deg
        while window and t_s - window[0][0] > self._knobs.lean_hold_s:
            self._sum -= window.popleft()[1]
        self.lean_deg = self._sum / len(window) if window else 0.0
        if self.lean_deg > self._knobs.lean_caution_deg:
            if self._leaning_since_s is None:
                self._leaning_since_s = t_s
            elif not self.leaning and t_s - self._leaning_since_s >= self._knobs.lean_hold_s:
                self.leaning = True
                changes.append(Change.LEANING)
        else:
            self._leaning_since_s = None
            if self.leaning and self.lean_deg < 0.5 * self._knobs.lean_caution_deg:
                self.leaning = False
                changes.append(Change.UPRIGHT)
        return changes

    def _losing(self, t_s: float, pitch_deg: float, rate_deg_s: float, back_deg: float) -> bool:
        knobs = self._knobs
        tipping = back_deg > knobs.loss_deg and -rate_deg_s > knobs.loss_rate_deg_s and -pitch_deg > LOSS_LEAN_DEG
        if not tipping:
            self._loss_since_s = None
            return False
        if self._loss_since_s is None:
            self._loss_since_s = t_s
        elif t_s - self._loss_since_s >= LOSS_S and t_s - self._lost_s > LOSS_GAP_S:
            self._lost_s = t_s
            return True
        return False


class UprightLearner:
    """Learns the wearer's own upright from the first seconds of standing still."""

    def __init__(self, knobs: Knobs) -> None:
        self._seconds = knobs.upright_s
        self._from_s: float | None = None
        self._sum = [0.0, 0.0, 0.0]
        self._count = 0

    def update(self, t_s: float, accel: Vector, gyro: Vector) -> Vector | None:
        """Takes one sample (m/s2, rad/s); returns up in body axes once it has stood still for long enough."""
        size = math.sqrt(accel[0] ** 2 + accel[1] ** 2 + accel[2] ** 2)
        turning = abs(gyro[0]) + abs(gyro[1]) + abs(gyro[2]) > 0.6
        if turning or abs(size - 9.81) > 2.0 or self._from_s is None:
            self._from_s = t_s
            self._count = 0
            self._sum = [0.0, 0.0, 0.0]
            return None
        for i in (0, 1, 2):
            self._sum[i] += accel[i]
        self._count += 1
        if t_s - self._from_s < self._seconds or self._count <= 50:
            return None
        self._from_s = None
        up = unit((self._sum[0], self._sum[1], self._sum[2]))
        return up if tilt_deg(up, (0.0, 0.0, 1.0)) <= CLIP_LIMIT_DEG else None
