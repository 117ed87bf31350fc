"""Has the clip slipped?  It turns on the belt, and from then on every lean it tells of is wrong.

Nobody walks on for seconds with the trunk suddenly 12 degrees further back or to a side, and nobody walks bent forward
by 30: what turns so between two strides, and stays, is the clip.  Judged on means of the acceleration over a stride
(`upright.Mean`), which neither the body's own swing nor a gyroscope that missed the turn can spoil.  Leaning forward is
left more room: recorded people who walk fast lean up to 18 degrees (one of 20), in a jog 29.
"""

from __future__ import annotations

import math
from enum import StrEnum

from retrowalk.core.falls import tilt_deg
from retrowalk.core.posture import Vector, unit
from retrowalk.core.upright import UPSET_DEG, Mean, wearable

TURNED_DEG = 11.5
"""A stride this far from the strides before it may be a clip that has slipped (15 degrees and more are to be named)."""
BACK_DEG = 12.0
SIDE_DEG = 12.0
FORWARD_DEG = 30.0
"""Against upright: so far does nobody lean who walks."""
UPRIGHT_DEG = 8.0
"""Who walks this upright stands right, however far the strides before it leaned: at the end of stairs, of a climb."""
FAR_DEG = 45.0
FAR_STRIDES = 4
"""What has turned further may be somebody who crawls: it is looked at for one more."""
AGREE_DEG = 8.0
"""What has slipped sits still again: the strides after it agree."""
STRIDES = 3
"""So many strides on end, each beginning a step after the one before: four steps, 2 to 3 s."""
KNOWN_STRIDES = 8
"""The usual walk is known after so many strides."""
USUAL_STRIDES = 25.0
"""It is a mean over so many ..."""
ODD_STRIDES = 120.0
"""... and follows what differs by more than `ODD_DEG` more slowly: a slip must not be learned before it is named."""
ODD_DEG = 6.0
STOOD_BLOCKS = 4.0
STOOD_DEG = 7.0
"""Who stands and walks alike, within this, and as crooked, wears a crooked clip."""
STRAIGHT_DEG = 7.0
"""Back within this of where it was, it stands right again."""
SLIPPED_SHARE = 0.25
"""Of each stride in where up is on a slipped clip."""
STAND_BLOCKS = 6
"""Half seconds of standing still that teach a new upright."""
SETTLED_DEG = 10.0
"""... with the trunk as in the walk before: who has sat down meanwhile leans otherwise."""


class Change(StrEnum):
    """What a mean has changed."""

    SLIPPED = "slipped"
    STRAIGHT = "straight"
    """It sits as it did before."""
    LEARNED = "learned"
    """It sits elsewhere, and `SlipWatch.learned` is the new upright."""


class SlipWatch:
    """Feeds on the means of somebody whose upright is known."""

    def __init__(self) -> None:
        self.slipped = False
        self.up: Vector | None = None
        """Where the walker's up is on a clip that has slipped, as far as it is known."""
        self.turned_deg = 0.0
        """How far it has slipped."""
        self.learned: Vector | None = None
        self.begin()

    def begin(self) -> None:
        """Upright is new: what is usual is found anew."""
        self.slipped = False
        self.up = None
        self._usual: Vector | None = None
        self._known = 0
        self._stood: Vector | None = None
        self._odd: list[Vector] = []
        self._right = 0
        self._still = 0
        self._upset = False

    def update(self, mean: Mean, upright: Vector, *, walking: bool) -> Change | None:
        """Takes a mean; `walking` tells whether its steps are those of a walk (a stride may be taken for one early)."""
        if self.slipped:
            return self._righted(mean, upright)
        if not mean.stride:
            self._odd = []
            self._stood = _towards(self._stood, mean.up, 1.0 / STOOD_BLOCKS) if mean.still else None
            return None
        if not self._is_odd(mean.up, upright):
            self._odd = []
            self._learn(mean.up)
            return None
        self._odd = [*self._odd[1 - FAR_STRIDES :], mean.up]
        far = tilt_deg(mean.up, upright) > FAR_DEG
        if len(self._odd) < (FAR_STRIDES if far else STRIDES) or not walking:
            return None
        odd = self._odd if far else self._odd[-STRIDES:]
        up = unit((sum(v[0] for v in odd), sum(v[1] for v in odd), sum(v[2] for v in odd)))
        if max(tilt_deg(v, up) for v in odd) > AGREE_DEG:
            return None
        self.slipped, self.up = True, up
        self.turned_deg = tilt_deg(up, self._usual or upright)
        self._right = self._still = 0
        self._upset = False
        self._odd = []
        return Change.SLIPPED

    def _is_odd(self, up: Vector, upright: Vector) -> bool:
        usual, stood = self._usual, self._stood
        if tilt_deg(up, upright) < UPRIGHT_DEG:
            return False
        if usual is not None and self._known >= KNOWN_STRIDES and tilt_deg(up, usual) > TURNED_DEG:
            return True
        forward_deg, right_deg = lean_deg(up, upright)
        if not -BACK_DEG < forward_deg < FORWARD_DEG or abs(right_deg) > SIDE_DEG:
            return True
        return stood is not None and tilt_deg(stood, upright) > TURNED_DEG and tilt_deg(up, stood) < STOOD_DEG

    def _learn(self, up: Vector) -> None:
        usual = self._usual
        if usual is None:
            self._usual, self._known = up, 1
            return
        self._known += 1
        odd = self._known > KNOWN_STRIDES and tilt_deg(up, usual) > ODD_DEG
        share = 1.0 / ODD_STRIDES if odd else max(1.0 / USUAL_STRIDES, 1.0 / self._known)
        self._usual = _towards(usual, up, share)

    def _righted(self, mean: Mean, upright: Vector) -> Change | None:
        """Tells whether a slipped clip sits right again, or somewhere else for good."""
        now = self.up or mean.up
        if mean.stride:
            self._still, self._upset = 0, False
            self.up = _towards(now, mean.up, SLIPPED_SHARE)
        straight = tilt_deg(mean.up, self._usual or upright) < STRAIGHT_DEG and (mean.stride or mean.still)
        straight = straight and not self._is_odd(mean.up, upright)
        self._right = self._right + 1 if straight else 0
        if self._right >= STRIDES:
            self.slipped, self.up = False, None
            return Change.STRAIGHT
        if mean.stride:
            return None
        off_deg = tilt_deg(mean.up, now)
        self._upset = self._upset or off_deg > UPSET_DEG
        stands = mean.still and not self._upset and not straight and off_deg < SETTLED_DEG and wearable(mean.up)
        self._still = self._still + 1 if stands else 0
        if self._still < STAND_BLOCKS:
            return None
        self.learned = mean.up
        return Change.LEARNED


def lean_deg(up: Vector, upright: Vector) -> tuple[float, float]:
    """How far `up` leans from `upright`: forward and to the right, degrees."""
    x, y, z = in_trunk(up, upright)
    return math.degrees(math.atan2(-x, z)), math.degrees(math.atan2(y, z))


def in_trunk(up: Vector, upright: Vector) -> Vector:
    """`up` of the clip's axes in those of a trunk (forward, left, up) on which the clip sits so that it has `upright`.

    A trunk that leans forward sees up behind it: x is negative then.
    """
    x, y, z = upright
    k = 1.0 / max(1e-6, 1.0 + z)
    return (
        (1.0 - k * x * x) * up[0] - k * x * y * up[1] - x * up[2],
        -k * x * y * up[0] + (1.0 - k * y * y) * up[1] - y * up[2],
        x * up[0] + y * up[1] + z * up[2],
    )


def _towards(mean: Vector | None, up: Vector, share: float) -> Vector:
    if mean is None:
        return up
    return unit(
        (mean[0] + share * (up[0] - mean[0]), mean[1] + share * (up[1] - mean[1]), mean[2] + share * (up[2] - mean[2]))
    )
