"""The wearer's own upright: found in the first seconds of standing, or from the walk, and followed slowly afterwards.

A clip sits 5 to 20 degrees off on a belt, and creeps.  What is looked at are means of the acceleration in the clip's
own axes, over a stride or over half a second of standing: over those a body's own acceleration averages out and
gravity's reaction stays, without any orientation filter, and whatever a gyroscope missed.

Gravity shows pitch and roll of a clip, not its yaw: a clip that sits turned about the vertical mixes lean forward with
lean to the side (at 25 degrees of yaw a lean back of 10 reads as 9.1 back and 4.2 to the side).  Pitch is all but the
same, so that neither ranges nor warnings depend on it; which way a fall or a slip goes does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from retrowalk.config import Balance as Knobs
from retrowalk.core.falls import tilt_deg
from retrowalk.core.posture import Vector, unit

CLIP_LIMIT_DEG = 35.0
"""A clip worn more crooked than this is not taken for upright standing."""

STEP_S = (0.25, 1.6)
"""Two steps this far apart follow each other."""
STOOD_AFTER_S = 1.8
"""Without a step for longer the wearer stands, or sits."""
BLOCK_S = 0.5
"""Standing is looked at in pieces of this length."""
STILL_RATE_RAD_S = 0.6
STILL_ACCEL_M_S2 = 2.0
"""Who turns faster (sum of the three rates), or is pushed harder, does not stand still."""
G_M_S2 = 9.81
SIZE_M_S2 = (8.3, 11.5)
"""A mean whose length lies outside was no walk and no stand: a jump, a shock, a piece of a stride."""

TOLD_DEG = 0.25
"""Upright is told anew when it has moved so far: it is kept over a restart each time."""

WALK_STRIDES = 16
"""Somebody who never stands still teaches upright by so many strides on end ..."""
WALK_SPREAD_DEG = 6.0
"""... that agree so well (in the mean: 20 recorded people who walk have 1 to 3 degrees)."""
STOOD_LEAST_BLOCKS = 4
"""Standing counts from the third second on: before, the walker is still stopping."""
STOOD_MOST_S = 20.0
"""Who has not stepped for longer may have sat down: nothing is learned of that."""
UPSET_DEG = 20.0
"""Nor after the trunk has leaned so far since the last step: that is how people sit down."""
LEAN_DEG = 6.0
"""A mean further off is a lean, or a clip that slips, and teaches nothing."""
TAU_S = 180.0
RATE_DEG_S = 0.8 / 60.0
"""Upright follows with this time constant, and never faster than 0.8 degrees a minute: a lean of 5 degrees that is
held for a minute moves it by less than 1."""
REACH_DEG = 12.0
"""Nor ever further than so much from where standing last showed it: the rest is for a stand to show."""


@dataclass(frozen=True, slots=True)
class Mean:
    """Where up was, in the clip's axes, over a while."""

    t_s: float
    up: Vector
    seconds: float
    stride: bool
    """Over a stride; else over half a second without steps."""
    still: bool = False
    """Without steps: whether the clip hardly moved."""


class Means:
    """Sums acceleration sample by sample; gives a `Mean` at every step of a walk, and twice a second of a stand.

    A step is told by `peaked`: the bounce of one, whether the walk has been recognised yet or not.
    """

    def __init__(self) -> None:
        self._x = self._y = self._z = 0.0
        self._count = 0
        self._calm = True
        self._from_s = 0.0
        self._last_s = -math.inf
        self._step_s = -math.inf
        self._half: tuple[Vector, int, float] | None = None
        """Sum, count and beginning of the step before."""

    def update(self, t_s: float, accel: Vector, gyro: Vector, peaked: bool, gap: bool = False) -> Mean | None:
        """Feeds one sample (m/s2, rad/s)."""
        if gap or not 0.0 < t_s - self._last_s < 0.1:
            self._begin(t_s)
            self._half, self._step_s = None, -math.inf
        self._last_s = t_s
        ax, ay, az = accel
        self._x += ax
        self._y += ay
        self._z += az
        self._count += 1
        if self._calm:
            size2 = ax * ax + ay * ay + az * az
            low, high = G_M_S2 - STILL_ACCEL_M_S2, G_M_S2 + STILL_ACCEL_M_S2
            if not low * low < size2 < high * high or abs(gyro[0]) + abs(gyro[1]) + abs(gyro[2]) > STILL_RATE_RAD_S:
                self._calm = False
        if peaked:
            return self._stepped(t_s)
        if t_s - self._from_s >= BLOCK_S and t_s - self._step_s > STOOD_AFTER_S:
            mean = self._mean(t_s, (self._x, self._y, self._z), self._count, self._from_s, stride=False)
            self._half = None
            self._begin(t_s)
            return mean
        return None

    def _stepped(self, t_s: float) -> Mean | None:
        follows = STEP_S[0] <= t_s - self._step_s <= STEP_S[1]
        block, count, from_s = (self._x, self._y, self._z), self._count, self._from_s
        half, self._step_s = self._half, t_s
        self._begin(t_s)
        if not follows:
            self._half = None
            return None
        self._half = block, count, from_s
        if half is None:
            return None
        (x, y, z), before, began_s = half
        return self._mean(t_s, (x + block[0], y + block[1], z + block[2]), before + count, began_s, stride=True)

    def _mean(self, t_s: float, total: Vector, count: int, from_s: float, *, stride: bool) -> Mean | None:
        size = math.sqrt(total[0] ** 2 + total[1] ** 2 + total[2] ** 2) / max(1, count)
        if not SIZE_M_S2[0] <= size <= SIZE_M_S2[1]:
            return None
        return Mean(t_s, unit(total), t_s - from_s, stride, self._calm)

    def _begin(self, t_s: float) -> None:
        self._x = self._y = self._z = 0.0
        self._count = 0
        self._calm = True
        self._from_s = t_s


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
        turning = abs(gyro[0]) + abs(gyro[1]) + abs(gyro[2]) > STILL_RATE_RAD_S
        if turning or abs(size - G_M_S2) > STILL_ACCEL_M_S2 or self._from_s is None:
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
        return up if wearable(up) else None


def wearable(up: Vector) -> bool:
    """Whether a clip with `up` there may be worn by somebody who stands."""
    return tilt_deg(up, (0.0, 0.0, 1.0)) <= CLIP_LIMIT_DEG


class UprightKeeper:
    """Keeps upright true: follows a clip that creeps, and teaches it from a walk where nobody ever stands still."""

    def __init__(self) -> None:
        self._habit: Vector = (0.0, 0.0, 0.0)
        """How the mean of walking differs from standing."""
        self._strides = 0
        self._shown: Vector | None = None
        """Upright as standing last showed it."""
        self._fine: Vector | None = None
        """Upright now, between the steps in which it is told."""
        self._last_s = -math.inf
        self._stood_blocks = 0
        self._stood_from_s = 0.0
        self._upset = False
        self._walk: list[Vector] = []
        self.from_walk = False
        """Whether upright is known from walking only, and waits for a stand."""

    def shown(self, up: Vector) -> None:
        """Upright has just been learned from standing, or restored: the walk is measured against it anew."""
        self._shown = self._fine = up
        self._habit, self._strides = (0.0, 0.0, 0.0), 0
        self.from_walk = False

    def learn(self, mean: Mean) -> Vector | None:
        """While upright is not known: returns it once a walk has shown it."""
        if not mean.stride:
            self._walk = []
            return None
        self._walk.append(mean.up)
        if len(self._walk) < WALK_STRIDES:
            return None
        up = unit((sum(v[0] for v in self._walk), sum(v[1] for v in self._walk), sum(v[2] for v in self._walk)))
        spread = sum(tilt_deg(v, up) for v in self._walk) / len(self._walk)
        if spread > WALK_SPREAD_DEG or not wearable(up):
            del self._walk[: WALK_STRIDES // 2]
            return None
        self._walk = []
        self.shown(up)
        self.from_walk = True
        return up

    def follow(self, mean: Mean, upright: Vector) -> Vector | None:
        """With every mean while upright is known; returns it anew when it has moved."""
        seconds = min(2.0, max(0.0, mean.t_s - self._last_s))
        self._last_s = mean.t_s
        if mean.stride:
            self._stood_blocks, self._upset = 0, False
            return self._walked(mean, upright, seconds)
        if not self._stands(mean, upright):
            return None
        return self._moved(upright, mean.up, seconds)

    def _walked(self, mean: Mean, upright: Vector, seconds: float) -> Vector | None:
        habit, up = self._habit, mean.up
        off = (up[0] - upright[0], up[1] - upright[1], up[2] - upright[2])
        count = self._strides = self._strides + 1
        if count <= WALK_STRIDES:
            # The first strides tell how this wearer walks: leaning 2 to 7 degrees forward, most of them.
            share = 1.0 / count
            self._habit = (
                habit[0] + share * (off[0] - habit[0]),
                habit[1] + share * (off[1] - habit[1]),
                habit[2] + share * (off[2] - habit[2]),
            )
            return None
        return self._moved(upright, unit((up[0] - habit[0], up[1] - habit[1], up[2] - habit[2])), seconds)

    def _stands(self, mean: Mean, upright: Vector) -> bool:
        """Whether this is somebody who has walked, and stands since."""
        if self._stood_blocks == 0:
            self._stood_from_s = mean.t_s
        self._stood_blocks += 1
        if tilt_deg(mean.up, upright) > UPSET_DEG:
            self._upset = True
        return (
            mean.still
            and not self._upset
            and self._strides > 0
            and self._stood_blocks > STOOD_LEAST_BLOCKS
            and mean.t_s - self._stood_from_s <= STOOD_MOST_S
        )

    def _moved(self, upright: Vector, towards: Vector, seconds: float) -> Vector | None:
        fine = self._fine or upright
        off_deg = tilt_deg(towards, fine)
        if off_deg > LEAN_DEG or off_deg < 0.01:
            return None
        share = min(seconds / TAU_S, RATE_DEG_S * seconds / off_deg)
        moved = unit(
            (
                fine[0] + share * (towards[0] - fine[0]),
                fine[1] + share * (towards[1] - fine[1]),
                fine[2] + share * (towards[2] - fine[2]),
            )
        )
        if (self._shown is not None and tilt_deg(moved, self._shown) > REACH_DEG) or not wearable(moved):
            return None
        self._fine = moved
        return moved if tilt_deg(moved, upright) >= TOLD_DEG else None
