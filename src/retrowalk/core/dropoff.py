"""Whether the ground behind goes on: kerbs, steps down, stairs and holes, told apart from a trunk that leans.

A lidar looks down and back, 35 degrees below level, and meets level ground 1.29 m behind from a height of 0.90 m.  The
trunk turns its beam: without the clip's pitch a lean of 10 degrees looks deeper than a step.  With it,
`depth = slant * sin(depression - pitch) - height - bob` is how far the ground there lies below the feet, whoever leans
(pitch forward positive: it raises a beam that looks back).

A drop is ground that is *suddenly* deeper than the ground before it.  A level that follows the ground takes up what is
not sudden: slopes and ramps, the lidar's fixed error (up to 6 cm of range), a clip that sits 2 degrees askew.  It does
not follow what looks like an edge.  No return where the ground ought to be seen is a possible drop, never clear; what
stands on the ground and hides it is neither.

Depths are metres, positive below the feet; angles degrees.  Numbers without a source are from simulated walks: 1.5 h on
level asphalt, gravel and grass with up to 10 degrees of sway, 0.9 h over slopes of up to 8 %, kerbs at 0.3 to 0.8 m/s.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from retrowalk.config import Config
from retrowalk.core.hazards import human_stop_s
from retrowalk.core.samples import RangeSample, RangeStatus

TRUNKS = 40
"""Latest samples of the clip that are kept: 0.4 s."""
CARRIED_ON_S = 0.12
"""So much later than the clip's last sample a range may have been measured: its pitch is carried on with its rate."""
SETTLED_S = 2.0
"""After a gap the clip's pitch is a guess for so long."""
BOB_RATE = 2.0
"""How the back bobs (2 cm up and down) is its vertical acceleration integrated twice; both are forgotten at this rate
(1/s) ..."""
BOB_AHEAD_S = 0.035
"""... which puts the result ahead of the back by so much at 1.7 steps a second."""
DEPRESSION_DEG = (14.0, 75.0)
"""Outside of this the beam looks at what is far off, or at the heels: nothing is made of it."""

FIRST = 10
"""Ranges whose median is the first level: half a second."""
TAU_M, TAU_S = 0.3, (0.3, 1.2)
"""The level follows the ground, and its trend, within so much way at walking speed, and within these times."""
STANDS_TAU_S = 2.5
"""Who stands has the same ground behind: the level follows nothing but the clip's pitch, which finds back in some
seconds after a stop."""
USUAL_M_S = 0.5
"""Walking speed where none is known."""
TREND_MAX_M_S = 0.2
"""A level that changes faster is no slope: 8 % up to 8 % down at 1.2 m/s."""
UNIT_M = 0.08
"""What the lidar's own error, its mount and the clip's seat may be worth in depth, together."""
SUSPECT_SHARE = 0.7
"""What differs from the level by this share of a drop's depth does not move it, unless it lasts."""
LASTS_S = 1.0
"""What differs so for so long, and is no drop, is the ground."""
WALKED_OVER_STEPS = 12
"""What is still seen so many steps later is no edge, or the foot would have been there: it is the ground."""

HIGHER_SHARE = 0.8
"""Of a drop's depth: what lies higher by this is not followed, or stepping up onto it would look like a drop."""
BACK_SHARE = 0.4
"""It is over when the mean of the latest three is within this share of a drop's depth of the level."""
DOUBT_M_S, DOUBT_MAX_M, DOUBT_TAU_S = 0.025, 0.06, 0.5
"""While something lies higher, or hides it, the level cannot be followed: the clip's pitch may shift by 2 degrees when
the walker turns from backward to forward.  So much more depth is then asked of a drop, until the ground has been seen
again."""

STRONG_SHARE = 1.25
"""One range that is deeper by this times a drop's depth decides alone (six standard deviations of its noise) ..."""
OF, OVER = 3, 2
OVER_SHARE, MEAN_SHARE = 0.65, 0.9
"""... else two of the latest three, each deeper than the first share, and their mean than the second.  An edge that
half of the spot is over looks half as deep; sway takes the beam back before the edge for half a step."""
PITCH_ERROR_DEG = 0.7
"""Error of the pitch from one moment to the next: further ahead than usual, it is worth more depth."""
PITCH_ERROR_S = 0.008
"""Error of the time between lidar and clip: worth depth while the trunk turns fast."""
HOLD_S = 2.0
"""A drop is held for so long after it was last seen."""
HIDES_M = 0.15
"""What is higher than the ground by this stands on it."""
THING_M = (-0.2, 0.5)
"""What the beam meets within this of something that the rear sensors follow belongs to it, unless it is deep: the legs
of somebody who walks along are no ground, but the kerb between them is a kerb."""
DETECTION_M = 0.10
"""So much nearer than where the beam's axis meets level ground is a kerb of 0.12 m when it is decided upon, or less, in
19 of 20 cases at 0.3 to 0.6 m/s (0.14 m at 0.8 m/s): the spot must be over it, and sway shortens the beam."""

FAINT = 120.0
"""Ground whose return was to be fainter than this (the lidar believes 100) may be missing for that alone: wet asphalt,
or a beam that leaning forward has raised."""
LOST_OF, LOST_OVER = 4, 3
"""So many of the latest answers without a return where one was due: the ground is lost."""
UNSEEN_S = 3.0
"""Nor may it be unseen for longer, for whatever reason."""
BACK_S = 0.4
"""Ground that is seen again for so long is no longer lost."""
OTHER, OTHER_STEPS = 1.5, 3
"""What returns so many times as much light as the ground, or as little, is something else, such as the foot of a wall,
and after so many steps another ground."""
STRENGTH_TAU_S = 1.0
"""How fast the usual strength of the return is learned."""


class Ground(StrEnum):
    """What a sensor knows of the ground behind."""

    STARTING = "starting"
    LEVEL = "level"
    """It goes on."""
    HIDDEN = "hidden"
    """Something stands on it, which is the rear sensors' matter."""
    DROP = "drop"
    LOST = "lost"
    """Not seen where it ought to be, or not for a while."""
    BROKEN = "broken"


def look_ahead_m(config: Config) -> float:
    """How far behind the beam meets level ground when the walker stands upright."""
    return config.mount.height_m / math.tan(math.radians(config.mount.dropoff_down_deg))


def protected_drop_speed_m_s(config: Config) -> float:
    """Fastest backward speed at which this walker stops short of an edge; 0 when it never is so.

    The stopping-distance rule for what is seen only where the beam meets the ground:
    `look-ahead - detection >= v (t_system + t_human) + foot reach + clearance`.
    """
    room_m = look_ahead_m(config) - DETECTION_M - config.walker.reach_m - config.walker.clearance_m
    return max(0.0, room_m / (config.collision.system_delay_s + human_stop_s(config.walker)))


class _Trunk(NamedTuple):
    """The trunk at one instant."""

    t_s: float
    pitch_deg: float
    rate_deg_s: float
    upward_m_s: float
    rise_m: float
    """How much higher than usual it is."""


def _agree(overs: Sequence[float], drop_m: float) -> bool:
    """Whether two of three depths agree on a drop."""
    over = sorted(overs)[-OVER:]
    return len(over) == OVER and over[0] >= OVER_SHARE * drop_m and sum(over) >= OVER * MEAN_SHARE * drop_m


class DropWatch:
    """The ground as one drop-off sensor sees it.

    Feed it how the trunk moves (`turned`) and the sensor's samples (`feed`).  A sample waits until the clip has told of
    the instant at which it was measured: `due` tells when, and `judge` goes on.
    """

    def __init__(self, config: Config) -> None:
        self._height_m = config.mount.height_m
        self._down_deg = config.mount.dropoff_down_deg
        self._ahead_m = look_ahead_m(config)
        self._drop_m = config.dropoff.depth_m
        self._level_max_m = config.dropoff.slope_percent / 100.0 * self._ahead_m + UNIT_M
        self._trunk: deque[_Trunk] = deque(maxlen=TRUNKS)
        self._trunk_from_s = -math.inf
        self._waiting: RangeSample | None = None
        self._thing_m: float | None = None
        self._restart(Ground.STARTING)

    def _restart(self, ground: Ground) -> None:
        self.ground = ground
        self.changed_s = -math.inf
        """Since when it has been so (received)."""
        self.depth_m: float | None = None
        """Of a drop: how far it goes down from the ground before it."""
        self.ahead_m: float | None = None
        """Of a drop: how far behind it was seen."""
        self._tau_s = TAU_S[1]
        self._moves = False
        self._level_m: float | None = None
        self._trend_m_s = 0.0
        self._first: list[float] = []
        self._measured_s = -math.inf
        self._overs: deque[float] = deque(maxlen=OF)
        self._deeper: deque[float] = deque(maxlen=OF)
        self._is_higher = False
        self._doubt_m = 0.0
        self._suspect_since_s: float | None = None
        self._since_steps = 0
        self._deep_s = -math.inf
        self._missing: deque[bool] = deque(maxlen=LOST_OF)
        self._strength_at_1_m = 0.0
        self._other = False
        self._other_steps = 0
        self._seen_s: float | None = None
        self._back_since_s: float | None = None

    def broken(self) -> None:
        """The sensor is lost: nothing is known until it comes back."""
        self._restart(Ground.BROKEN)
        self._waiting = None

    # -- the trunk ----------------------------------------------------------------------------------------

    def turned(self, t_s: float, pitch_deg: float | None, rate_deg_s: float, vertical_m_s2: float) -> None:
        """How the trunk leans, tips and is accelerated upward at `t_s` (measured).

        `pitch_deg` None: not known; what comes after it settles first.
        """
        trunk = self._trunk
        if pitch_deg is None:
            trunk.clear()
            return
        upward_m_s = rise_m = 0.0
        if trunk and 0.0 <= t_s - trunk[-1].t_s <= CARRIED_ON_S:
            last = trunk[-1]
            dt = t_s - last.t_s
            upward_m_s = last.upward_m_s + (vertical_m_s2 - BOB_RATE * last.upward_m_s) * dt
            rise_m = last.rise_m + (upward_m_s - BOB_RATE * last.rise_m) * dt
        else:
            trunk.clear()
            self._trunk_from_s = t_s + SETTLED_S
        trunk.append(_Trunk(t_s, pitch_deg, rate_deg_s, upward_m_s, rise_m))

    def _trunk_at(self, t_s: float) -> tuple[float, float, float] | None:
        """Pitch, its rate and the rise at `t_s`; None when they are not known."""
        trunk = self._trunk
        if not trunk or not self._trunk_from_s <= t_s <= trunk[-1].t_s + CARRIED_ON_S:
            return None
        before, after, share = self._around(t_s)
        pitch_deg = before.pitch_deg + (after.pitch_deg - before.pitch_deg) * share
        if t_s > after.t_s:
            pitch_deg += after.rate_deg_s * (t_s - after.t_s)
        bobbed, then, part = self._around(t_s - BOB_AHEAD_S)
        return pitch_deg, before.rate_deg_s, bobbed.rise_m + (then.rise_m - bobbed.rise_m) * part

    def _around(self, t_s: float) -> tuple[_Trunk, _Trunk, float]:
        """The samples before and after `t_s` and how far between them it lies; at either end that one twice."""
        after = self._trunk[-1]
        if t_s < after.t_s:
            for number in range(len(self._trunk) - 2, -1, -1):
                before = self._trunk[number]
                if before.t_s <= t_s:
                    return before, after, (t_s - before.t_s) / (after.t_s - before.t_s)
                after = before
        return after, after, 0.0

    # -- feeding ------------------------------------------------------------------------------------------

    def feed(
        self, sample: RangeSample, steps: int, speed_m_s: float | None, *, moves: bool, thing_m: float | None = None
    ) -> None:
        """Takes a sample.

        `steps` have been taken so far; walking speed None: not known; `moves`: the walker may be stepping; `thing_m`:
        how far behind the rear sensors follow something, None: nothing.
        """
        self.judge(steps)
        self._thing_m = thing_m
        self._moves = moves
        self._tau_s = min(max(TAU_M / max(speed_m_s or USUAL_M_S, 0.05), TAU_S[0]), TAU_S[1]) if moves else STANDS_TAU_S
        self._waiting = sample
        if self.due:
            self.judge(steps)

    @property
    def due(self) -> bool:
        """Whether a sample waits, and the clip has told how the trunk was then."""
        trunk, waiting = self._trunk, self._waiting
        return waiting is not None and bool(trunk) and trunk[-1].t_s >= waiting.t_measured_s

    def judge(self, steps: int) -> None:
        """Judges the sample that waits, if there is one, by what is known of the trunk."""
        sample, self._waiting = self._waiting, None
        trunk = self._trunk_at(sample.t_measured_s) if sample is not None else None
        if sample is None:
            return
        now = sample.t_received_s
        if trunk is None:
            # Without the clip nothing is known, which is said as such: nor is there a drop for ever.
            if self.ground is Ground.DROP and now - self._deep_s >= HOLD_S:
                self._become(now, Ground.STARTING)
            return
        pitch_deg, rate_deg_s, rise_m = trunk
        down_deg = self._down_deg - pitch_deg
        if not DEPRESSION_DEG[0] <= down_deg <= DEPRESSION_DEG[1]:
            self._unseen(now, due=False)
            return
        sine, cosine = math.sin(math.radians(down_deg)), math.cos(math.radians(down_deg))
        if sample.status is not RangeStatus.VALID or sample.range_m is None:
            slant_m = (self._height_m + (self._level_m or 0.0)) / sine
            due = sample.status is RangeStatus.NO_TARGET and self._strength_at_1_m > FAINT * slant_m * slant_m
            self._unseen(now, due)
            return
        depth_m = sample.range_m * sine - self._height_m - rise_m
        ahead_m = sample.range_m * cosine
        thing_m = self._thing_m
        deep = self._level_m is not None and depth_m - self._level_m > OVER_SHARE * self._drop_m
        if thing_m is not None and thing_m + THING_M[0] <= ahead_m <= thing_m + THING_M[1] and not deep:
            self._overs.clear()
            self._deeper.clear()
            dt = min(max(sample.t_measured_s - self._measured_s, 0.0), 0.2)
            self._measured_s = sample.t_measured_s
            self._doubt_m = min(DOUBT_MAX_M, self._doubt_m + DOUBT_M_S * dt)
            if self.ground is Ground.DROP and steps - self._since_steps >= WALKED_OVER_STEPS:
                self._become(now, Ground.LEVEL)  # whoever hides it, the walker has passed it
            self._hidden(now)
            return
        spare_m = math.radians(PITCH_ERROR_DEG) * max(0.0, ahead_m - self._ahead_m)
        spare_m += math.radians(abs(rate_deg_s)) * PITCH_ERROR_S * ahead_m
        self._seen(sample, depth_m, ahead_m, spare_m, steps)

    # -- the ground is seen -------------------------------------------------------------------------------

    def _seen(self, sample: RangeSample, depth_m: float, ahead_m: float, spare_m: float, steps: int) -> None:
        now, dt = sample.t_received_s, min(max(sample.t_measured_s - self._measured_s, 0.0), 0.2)
        self._measured_s = sample.t_measured_s
        if self._level_m is None and not self._begin(now, depth_m):
            return
        assert self._level_m is not None
        level_m = self._level_m + self._trend_m_s * dt
        over_m = depth_m - level_m
        self._overs.append(over_m)
        self._deeper.append(over_m - spare_m - self._doubt_m)
        if over_m < -HIDES_M:
            self._hidden(now)
        else:
            self._found(now, sample, dt, steps)
        if self._deep():
            self._deep_s = now
            if self.ground is not Ground.DROP:
                self._since_steps = steps
                self._become(now, Ground.DROP)
                self.depth_m, self.ahead_m = max(self._overs), ahead_m
        elif self.ground is Ground.DROP and over_m > 0.5 * self._drop_m:
            self._deep_s = now
        if self.ground is Ground.DROP and now - self._deep_s >= HOLD_S:
            self._become(now, Ground.LEVEL)
        self._follow(now, dt, level_m, depth_m, steps)

    def _begin(self, now: float, depth_m: float) -> bool:
        """Learns the first level; returns whether it is known."""
        self._first.append(depth_m)
        if len(self._first) < FIRST:
            return False
        middle_m = sorted(self._first)[FIRST // 2]
        self._first.clear()
        if middle_m < -self._level_max_m:
            self._hidden(now)
            return False
        self._level_m = min(self._level_max_m, middle_m)
        return True

    def _deep(self) -> bool:
        """Whether the latest ranges are those of a drop."""
        return self._deeper[-1] >= STRONG_SHARE * self._drop_m or _agree(self._deeper, self._drop_m)

    def _higher(self, steps: int) -> bool:
        """Whether the latest ranges are of something that lies higher than the ground: a wall's foot, a step up."""
        if self._is_higher:
            self._is_higher = sum(self._overs) < -BACK_SHARE * self._drop_m * len(self._overs)
        elif _agree([-over for over in self._overs], HIGHER_SHARE * self._drop_m):
            self._is_higher = True
            self._since_steps = steps
        return self._is_higher

    def _follow(self, now: float, dt: float, level_m: float, depth_m: float, steps: int) -> None:
        """Moves the level towards what is seen, unless that looks like an edge."""
        over_m = depth_m - level_m
        higher = self._higher(steps) or self._other
        if higher or abs(over_m) >= SUSPECT_SHARE * self._drop_m + self._doubt_m:
            if self._suspect_since_s is None:
                self._suspect_since_s = now
                if self.ground is not Ground.DROP:
                    self._since_steps = steps
            # What lies higher may be the foot of a wall, and when it has been left the ground must not look deep.
            settled = now - self._suspect_since_s >= LASTS_S and not higher and self.ground is not Ground.DROP
            lasts = settled and over_m > 0.0 and max(self._overs) < self._drop_m
            walked = steps - self._since_steps >= WALKED_OVER_STEPS and abs(depth_m) <= self._level_max_m
            if lasts or walked:
                self._take(now, depth_m)
                return
            self._trend_m_s *= 0.0 if higher else math.exp(-dt / self._tau_s)
            if higher:
                level_m, self._doubt_m = self._level_m or 0.0, min(DOUBT_MAX_M, self._doubt_m + DOUBT_M_S * dt)
        else:
            self._suspect_since_s = None
            fade = math.exp(-dt / self._tau_s)
            level_m += (1.0 - fade * fade) * over_m
            if not self._moves:
                self._trend_m_s = 0.0
            elif dt > 0.0:
                self._trend_m_s += (1.0 - fade) ** 2 * over_m / dt
                self._trend_m_s = max(-TREND_MAX_M_S, min(TREND_MAX_M_S, self._trend_m_s))
            self._doubt_m *= math.exp(-dt / DOUBT_TAU_S)
        self._set_level(level_m)

    def _set_level(self, level_m: float) -> None:
        self._level_m = max(-self._level_max_m, min(self._level_max_m, level_m))

    def _take(self, now: float, depth_m: float) -> None:
        """What looked like an edge is the ground."""
        self._set_level(depth_m)
        self._trend_m_s = 0.0
        self._suspect_since_s = None
        self._overs.clear()
        self._deeper.clear()
        self._is_higher = False
        if self.ground is Ground.DROP:
            self._become(now, Ground.LEVEL)

    def _hidden(self, now: float) -> None:
        """Something stands on the ground."""
        self._missing.clear()
        self._seen_s = now
        if self.ground is not Ground.DROP:
            self._become(now, Ground.HIDDEN)

    def _found(self, now: float, sample: RangeSample, dt: float, steps: int) -> None:
        """The ground is seen, or what lies in its place."""
        self._missing.append(False)
        self._seen_s = now
        if sample.strength is not None and sample.range_m is not None:
            self._learn_strength(sample.strength * sample.range_m * sample.range_m, dt, steps)
        if self.ground is Ground.LOST:
            if self._back_since_s is None:
                self._back_since_s = now
            if now - self._back_since_s < BACK_S:
                return
        if self.ground is not Ground.DROP:
            self._become(now, Ground.LEVEL)

    def _learn_strength(self, at_1_m: float, dt: float, steps: int) -> None:
        """How much light the ground returns, and whether this is something else."""
        usual = self._strength_at_1_m
        self._other = usual > 0.0 and not usual / OTHER <= at_1_m <= usual * OTHER
        if not self._other:
            self._strength_at_1_m += min(1.0, dt / STRENGTH_TAU_S) * (at_1_m - usual) if usual else at_1_m
            self._other_steps = steps
        elif steps - self._other_steps >= OTHER_STEPS:
            self._strength_at_1_m = at_1_m
            self._other = False

    # -- it is not ----------------------------------------------------------------------------------------

    def _unseen(self, now: float, due: bool) -> None:
        """No ground in this sample; `due`: where there ought to be some."""
        self._missing.append(due)
        self._back_since_s = None
        if self._seen_s is None:
            self._seen_s = now
        long = now - self._seen_s >= UNSEEN_S
        if self.ground is Ground.DROP and not long:
            return  # beyond an edge nothing comes back: the edge counts
        if long or sum(self._missing) >= LOST_OVER:
            self._become(now, Ground.LOST)
        if long:
            self._level_m = None  # where it is seen again it may be another one
            self._trend_m_s = 0.0
            self._overs.clear()
        self._deeper.clear()
        self._is_higher = False

    def _become(self, now: float, ground: Ground) -> None:
        if ground is self.ground:
            return
        self.ground = ground
        self.changed_s = now
        self.depth_m = self.ahead_m = None
        self._back_since_s = None
