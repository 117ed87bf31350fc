"""Whether something is behind, how urgent it is, and whether the path is known at all.

The stopping-distance rule: a warning comes when the room left is no more than what this walker needs to stop,
`v (t_system + t_human) + reach + clearance`; a caution 1.5 s earlier; an advisory when a new object is less than 6 s
away.  t_human is the 95th percentile of cue-to-standstill; nobody has published it for backward walking, so it is an
assumption per age until it is measured.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import NamedTuple

from retrowalk.config import A02yyuw, Collision, Freshness, HcSr04, RangeSensor, TfLuna, Walker
from retrowalk.config import RangeTracker as TrackerKnobs
from retrowalk.core.events import Level
from retrowalk.core.samples import RangeSample, RangeStatus
from retrowalk.core.standstill import SAME_ECHO_M, SAME_M, Standstill
from retrowalk.core.tracker import AGREE_SPEED_M_S, LINE_SPEED_M_S, RangeTracker

T_HUMAN_S = {"older": 1.87, "younger": 1.23}
"""95th percentile of cue to standstill, lognormal models with medians 1.05 s and 0.75 s (assumed, to be measured)."""
RECEDING_M_S = -0.15
"""A track that leaves faster than this may vanish without leaving the path unknown."""
CLEAR_PROOF_S = 1.0
"""So long must "no target" last, but for a lone stray echo, before a held hazard is given up."""
SLOW_LASTS_S = 0.5
"""So long must something near slowly (up to three times the speed of standing still) to count, of one who stands."""
NEARER_M = 0.10
"""So much nearer than where the alerts grew quiet, and they begin again."""
STRAYS_WITHIN_S = 0.6
"""A second echo within this time of the last ends the proof that nothing is there."""
SURE_AFTER = 6
SURE_AFTER_OF_LIGHT = 4
UNSURE_MAX_M_S = 1.0
"""Faster than this is believed only of a track with so many updates: three echoes, one of them a second one that came
by way of another wall, look like a bicycle.  Light takes no such ways."""
SAME_THING_M = 0.3
"""Two sensors whose ranges differ by less see the same thing; so do two tracks, one after the other."""
SETTLED_AFTER = 15
"""An echo's track with fewer updates, or one that says twice what it has said over the last two steps, is asked what a
lidar that follows the same thing says: a second echo has carried it off."""
BEHIND_IT_M = 0.15
"""What begins so much behind a thing that another sensor follows surely is that thing's second echo."""
AGREES_M, AGREES_SHARE = 0.02, 0.1
"""An echo that is so near to one of the two before it, this and this share of its range, fits something, whether it is
followed or not."""
NONSENSE_OF = 8
NONSENSE_REJECTS = 6
NONSENSE_WITHIN_S = 1.5
"""Of so many echoes within this time, so many that fit nothing: the sensor answers garbage."""
IMPOSSIBLE_OF = 12
IMPOSSIBLE_REJECTS = 6
IMPOSSIBLE_ONES, IMPOSSIBLE_MISFITS = 3, 2
"""Where some of the latest are such as no thing can give (a sensor that works gives none), fewer need fit nothing: of
so many so many, so many of them impossible and so many possible.  Lengths drawn by chance fit each other now and then;
without this, one in nine such sensors was named after 1 to 2.5 s."""
FORGET_UNKNOWN_S = 3.0
"""So long must "no target" last before a path that was unknown is clear again, counted from when it became so."""
STRIDE_S = 1.2
"""Two steps: how fast something nears on the whole is judged over so long, in which the sway of both cancels."""
TREND_OFF_M = 0.08
"""Ranges that are further off their line (root mean square) speak of two things, or of one and its second echo."""
NEARS_AGAIN_M_S = 0.3
NEARS_AGAIN_OF = 3
"""What moved with the walker nears again when so many updates in a row say that it nears so fast."""
LIKE_OBSTACLE_UPDATES = 8
LIKE_OBSTACLE_S = 0.6
LIKE_OBSTACLE_M_S = 0.2
LIKE_OBSTACLE_M = 0.15
"""Where the ground is, only what nears so steadily, over a whole step in which the ground would come and go, is an
obstacle."""
APPROACHING_OF = 3
"""So many updates in a row must say that something comes faster than the walker walks."""
CLEAR_AFTER_S = 0.3
"""So long must "no target" last before a path of which nothing is known is clear."""


def human_stop_s(walker: Walker) -> float:
    """Cue to standstill to allow for, in seconds."""
    return walker.measured_stop_s if walker.profile == "measured" else T_HUMAN_S[walker.profile]


def needed_m(level: Level, speed_m_s: float, walker: Walker, collision: Collision) -> float:
    """Room needed at `speed_m_s` for `level` (WARNING or CAUTION)."""
    speed = max(0.0, speed_m_s)
    room = speed * (collision.system_delay_s + human_stop_s(walker)) + walker.reach_m + walker.clearance_m
    return room + collision.caution_ahead_s * speed if level is Level.CAUTION else room


def collision_level(range_m: float, speed_m_s: float, walker: Walker, collision: Collision) -> Level:
    """How urgent something at `range_m`, nearing at `speed_m_s`, is.  Nearer or faster never lowers it."""
    if range_m <= collision.warning_floor_m:
        return Level.WARNING
    if speed_m_s < collision.moving_m_s:
        return Level.NONE
    if range_m <= needed_m(Level.WARNING, speed_m_s, walker, collision):
        return Level.WARNING
    if range_m <= max(collision.caution_floor_m, needed_m(Level.CAUTION, speed_m_s, walker, collision)):
        return Level.CAUTION
    if range_m <= speed_m_s * collision.advisory_time_to_collision_s:
        return Level.ADVISORY
    return Level.NONE


class Path(StrEnum):
    """What a rear sensor knows of the path."""

    STARTING = "starting"
    OBJECT = "object"
    CLEAR = "clear"
    UNKNOWN = "unknown"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Behind:
    """What is behind, after one sample or one deadline."""

    level: Level
    touching: bool
    range_m: float | None
    closing_speed_m_s: float | None
    speed_used_m_s: float
    approaching: bool = False
    """Whether it comes by itself: it nears faster than the walker walks."""

    @property
    def time_to_collision_s(self) -> float | None:
        """Seconds left at this speed; None when nothing nears."""
        if self.range_m is None or self.closing_speed_m_s is None or self.closing_speed_m_s < 0.05:
            return None
        return self.range_m / self.closing_speed_m_s


class Followed(NamedTuple):
    """What a sensor follows, and is sure of."""

    range_m: float
    closing_speed_m_s: float
    with_walker: bool
    by_light: bool


class Trend:
    """How fast something nears on the whole: the slope of its ranges over the last `STRIDE_S`."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque()
        self.closing_m_s: float | None = None
        """Positive when nearing; None until there is a stride's worth, and while the ranges are on no line."""

    def clear(self) -> None:
        """Begins anew."""
        self._samples.clear()
        self.closing_m_s = None

    def add(self, t_s: float, range_m: float) -> None:
        """The thing was at `range_m` at `t_s`."""
        samples = self._samples
        samples.append((t_s, range_m))
        while samples[0][0] < t_s - STRIDE_S:
            samples.popleft()
        self.closing_m_s = self._slope_m_s()

    @property
    def mean_m(self) -> float | None:
        """Mean of the ranges; None without any."""
        samples = self._samples
        return sum(range_m for _, range_m in samples) / len(samples) if samples else None

    def _slope_m_s(self) -> float | None:
        samples = self._samples
        if len(samples) < 8 or samples[-1][0] - samples[0][0] < 0.7 * STRIDE_S:
            return None
        count, began_s = len(samples), samples[0][0]
        sum_t = sum_r = sum_tt = sum_tr = sum_rr = 0.0
        for at_s, range_m in samples:
            t = at_s - began_s
            sum_t += t
            sum_r += range_m
            sum_tt += t * t
            sum_tr += t * range_m
            sum_rr += range_m * range_m
        t_t, t_r = count * sum_tt - sum_t * sum_t, count * sum_tr - sum_t * sum_r
        slope = t_r / t_t
        off_m2 = (count * sum_rr - sum_r * sum_r - slope * t_r) / (count * count)
        return -slope if off_m2 <= TREND_OFF_M * TREND_OFF_M else None


class RearHazard:
    """The collision hazard of one rear sensor: tracker, level with hysteresis, and what is known of the path."""

    def __init__(
        self,
        sensor: RangeSensor,
        walker: Walker,
        collision: Collision,
        freshness: Freshness,
        tracker: TrackerKnobs,
    ) -> None:
        self.name = sensor.name
        self.sensor = sensor
        self._walker = walker
        self._collision = collision
        self._freshness = freshness
        self._blind_after_s = tracker.blind_after_s
        self._knobs = tracker
        self._fastest_m_s = LINE_SPEED_M_S if isinstance(sensor, TfLuna) else AGREE_SPEED_M_S
        self.tracker = RangeTracker(tracker, self._fastest_m_s)
        self._ground = RangeTracker(tracker, self._fastest_m_s)
        """What answers where the ground is: the ground, until it nears like an obstacle."""
        self._trend = Trend()
        self.with_walker = False
        """Whether what is followed moves with the walker."""
        self.thing = 0
        """Counts the things that have been followed: the same number, the same thing."""
        self._chimed = False
        """Whether what walks along has been told of."""
        self._nears_again = 0
        self._approaches = 0
        self.own_speed_m_s: float | None = None
        """How fast the walker walks, as far as it is known otherwise."""
        self.path = Path.STARTING
        self.behind = Behind(Level.NONE, False, None, None, 0.0)
        self._lower_since_s: float | None = None
        self._still_since_s: float | None = None
        self._quiet_range_m: float | None = None
        self._no_target_since_s: float | None = None
        self._proof_s = -math.inf
        self._stray_s = -math.inf
        self.heard_s = -math.inf
        self._doubt_since_s: float | None = None
        self._unknown_since_s = -math.inf
        self._slow_since_s: float | None = None
        self._echoes: deque[tuple[float, bool, bool]] = deque(maxlen=IMPOSSIBLE_OF)
        """When, whether it fits what came before, and whether any thing can give it."""
        self._latest: deque[float] = deque(maxlen=2)
        self._sure_after = SURE_AFTER_OF_LIGHT if isinstance(sensor, TfLuna) else SURE_AFTER
        # The drivers of lidars have a tick or a count to go by; their centimetres are too coarse to tell.
        self._standstill: Standstill | None = None
        if isinstance(sensor, HcSr04 | A02yyuw):
            self._standstill = Standstill(SAME_ECHO_M if isinstance(sensor, HcSr04) else SAME_M)
        self.others: Sequence[Followed] = ()
        """What other sensors follow, and are sure of.  One that has just come back does not know yet how fast a thing
        nears, and would say "Stop" of a wall far off, or of one that is being left."""
        self.hand_seen = False
        """Whether something within arm's length was seen, for the check at the start."""

    # -- feeding ------------------------------------------------------------------------------------------

    def feed(
        self,
        sample: RangeSample,
        walking: bool | None,
        sigma_range_m: float | None = None,
        *,
        turning: bool = False,
        ground_m: float | None = None,
    ) -> None:
        """Takes one sample.  `walking` None: not known (no clip), so it is assumed.

        `turning`: the trunk tips so fast that ranges need not fit each other.  `ground_m`: the range may be that of the
        ground, which is so far away there.
        """
        now = self.heard_s = sample.t_received_s
        status = sample.status
        if self.path is Path.BROKEN and status in (RangeStatus.VALID, RangeStatus.NO_TARGET):
            self.path = Path.STARTING
        if status is RangeStatus.VALID and sample.range_m is not None:
            self._proof_s = now
            if self._standstill is not None:
                self._standstill.saw_range(sample.t_measured_s, sample.range_m)
            if ground_m is not None and not self._is_obstacle(sample.t_measured_s, sample.range_m):
                # Nothing nearer than the ground has answered, which proves the path as far as to there.
                self._echoes.append((now, True, True))
                status = RangeStatus.NO_TARGET if ground_m >= self.sensor.clear_range_m else RangeStatus.UNTRUSTED
            else:
                self._saw(now, sample.t_measured_s, sample.range_m, sigma_range_m, turning, walking)
        elif status is RangeStatus.NO_TARGET:
            self._proof_s = now
            if self._standstill is not None:
                self._standstill.saw_nothing()
        else:
            self._no_target_since_s = None
            if status is RangeStatus.REJECTED:
                self._echoes.append((now, False, False))
        # Only "no target" leads towards clear: never an echo, nor the mere passing of time between samples.
        if status is RangeStatus.NO_TARGET:
            if self._no_target_since_s is None:
                self._no_target_since_s = now
            if not self.tracker.alive:
                self._settle_path(now)
            elif self.blind(now):
                self._give_up_or_hold(now)
        if self.tracker.alive:
            self._judge(now, walking)
        self.advance(now, walking)

    def _saw(
        self,
        now: float,
        t_s: float,
        range_m: float,
        sigma_range_m: float | None,
        turning: bool,
        walking: bool | None,
    ) -> None:
        """Something answered that is not the ground."""
        tracker = self.tracker
        began_s, before_m = tracker.started_s, tracker.range_m(t_s)
        accepted = tracker.update(t_s, range_m, sigma_range_m)
        # One echo that fits nothing is the ground or the wind; two of them within a step may be something.
        if accepted or now - self._stray_s < STRAYS_WITHIN_S:
            self._no_target_since_s = None
        self._stray_s = now
        # An echo that a track begins with, or begins anew with, fits those before it: no nonsense.
        fits = accepted or (tracker.alive and tracker.last_s == t_s)
        agrees = any(abs(range_m - other_m) <= AGREES_M + AGREES_SHARE * range_m for other_m in self._latest)
        self._latest.append(range_m)
        self._echoes.append((now, fits or agrees or turning, True))
        if tracker.started_s != began_s:
            # A stray echo may have carried the track off: what is found again where it was is the same thing.
            same = began_s > 0.0 and abs(range_m - (self._trend.mean_m or before_m)) <= SAME_THING_M
            with_walker, chimed, thing = self.with_walker and same, self._chimed and same, self.thing
            self._begin_anew()
            self.with_walker, self._chimed = with_walker, chimed
            if same:
                self.thing = thing
        if fits:
            self._follow(t_s, walking)
        if accepted:
            self._doubt_since_s = None
            self.path = Path.OBJECT
            if range_m < 0.8:
                self.hand_seen = True
        elif self.path in (Path.STARTING, Path.CLEAR) and self._doubt_since_s is None:
            self._doubt_since_s = now  # something answers now and then; it proves neither object nor clear

    def _is_obstacle(self, t_s: float, range_m: float) -> bool:
        """Whether a return from where the ground is belongs to an obstacle: one that is followed, or one that nears."""
        if self.tracker.expects(t_s, range_m):
            return True
        ground = self._ground
        if ground.alive and t_s - ground.last_s > self._blind_after_s:
            ground.drop()
        began_m = ground.first_m
        ground.update(t_s, range_m)
        closing = ground.closing_speed_m_s
        like_obstacle = (
            ground.accepted >= LIKE_OBSTACLE_UPDATES
            and ground.last_s - ground.started_s >= LIKE_OBSTACLE_S
            and closing is not None
            and closing >= LIKE_OBSTACLE_M_S
            and began_m - range_m >= LIKE_OBSTACLE_M
        )
        nearer = not self.tracker.alive or range_m < self.tracker.range_m(t_s)
        if like_obstacle and nearer:
            self.tracker, self._ground = ground, RangeTracker(self._knobs, self._fastest_m_s)
            self._begin_anew()
        return like_obstacle and nearer

    def _begin_anew(self) -> None:
        """Another thing is followed from now on."""
        self.thing += 1
        self._trend.clear()
        self.with_walker = self._chimed = False
        self._nears_again = self._approaches = 0

    def _follow(self, t_s: float, walking: bool | None) -> None:
        """The track was updated at `t_s`: whether it moves with the walker, or comes by itself.

        Of one who stands nobody can tell: a wall keeps its distance as well.
        """
        tracker = self.tracker
        self._trend.add(t_s, tracker.range_m(t_s))
        closing = tracker.closing_speed_m_s
        if closing is None:
            return
        collision = self._collision
        self._nears_again = self._nears_again + 1 if closing >= NEARS_AGAIN_M_S else 0
        if self.with_walker:
            trend = self._trend.closing_m_s
            self.with_walker = self._nears_again < NEARS_AGAIN_OF and (
                trend is None or abs(trend) < 2.0 * collision.moving_m_s
            )
        elif (
            walking is not False
            and t_s - tracker.started_s >= collision.with_walker_after_s
            and self._nears_again < NEARS_AGAIN_OF
        ):
            trend = self._trend.closing_m_s
            self.with_walker = trend is not None and abs(trend) < collision.moving_m_s
        own = self._walker.usual_speed_m_s if self.own_speed_m_s is None else self.own_speed_m_s
        comes = self.sure and closing >= own + collision.approaching_m_s
        self._approaches = self._approaches + 1 if comes else 0

    @property
    def sure(self) -> bool:
        """Whether it has followed something for long enough to know how fast it nears."""
        return self.tracker.accepted >= self._sure_after

    def stepped(self, t_s: float, walking_since_s: float) -> bool:
        """The wearer has taken a step at `t_s` (measured); returns whether the sensor's ranges stand still."""
        return self._standstill is not None and self._standstill.stepped(t_s, walking_since_s)

    @property
    def frozen(self) -> bool:
        """Whether its ranges have stood still while the wearer stepped."""
        return self._standstill is not None and self._standstill.frozen

    @property
    def nonsense(self) -> bool:
        """Whether the sensor's latest echoes contradict each other: readings come, and mean nothing."""
        echoes = self._echoes
        return self._misfits(NONSENSE_OF) >= NONSENSE_REJECTS or (
            self._misfits(IMPOSSIBLE_OF) >= IMPOSSIBLE_REJECTS
            and sum(not possible for _, _, possible in echoes) >= IMPOSSIBLE_ONES
            and sum(possible and not fits for _, fits, possible in echoes) >= IMPOSSIBLE_MISFITS
        )

    def _misfits(self, count: int) -> int:
        """How many of the latest `count` echoes fit nothing; 0 where they are fewer, or lie too far apart."""
        begin = len(self._echoes) - count
        if begin < 0 or self.heard_s - self._echoes[begin][0] > NONSENSE_WITHIN_S:
            return 0
        return sum(not fits for _, fits, _ in islice(self._echoes, begin, None))

    @property
    def makes_sense(self) -> bool:
        """Whether its latest echoes fit what it follows, all but one."""
        begin = len(self._echoes) - NONSENSE_OF
        return self.sure and begin >= 0 and sum(not fits for _, fits, _ in islice(self._echoes, begin, None)) <= 1

    def broken(self) -> None:
        """The sensor is lost: nothing is known, and what was held is given up to the fault that is named."""
        self.tracker.drop()
        self._ground.drop()
        self._begin_anew()
        self.path = Path.BROKEN
        self.behind = Behind(Level.NONE, False, None, None, 0.0)
        self._lower_since_s = self._still_since_s = self._no_target_since_s = self._doubt_since_s = None
        self._quiet_range_m = None

    # -- time ---------------------------------------------------------------------------------------------

    def deadline(self) -> float:
        """When `advance` may change something without a sample."""
        return min(self._judge_due_s(), self._unknown_due_s())

    def _judge_due_s(self) -> float:
        due = math.inf
        if self._lower_since_s is not None:
            due = self._lower_since_s + self._collision.release_hold_s
        if self._still_since_s is not None:
            due = min(due, self._still_since_s + self._collision.quiet_after_still_s)
        return due

    def _unknown_due_s(self) -> float:
        """When the path will be unknown if nothing comes."""
        if self.path is Path.OBJECT and self.tracker.alive:
            # A far track that seems to have ended in "no target" is waited for.
            waits = self._no_target_since_s is not None and not self._lost_within_reach()
            return math.inf if waits else self.tracker.last_s + self._freshness.unknown_after_s
        if self.path not in (Path.STARTING, Path.CLEAR):
            return math.inf
        due = math.inf
        if self._doubt_since_s is not None:
            due = self._doubt_since_s + self._freshness.unknown_after_s
        if self.path is Path.CLEAR:
            due = min(due, self._proof_s + self._freshness.proof_s)
        return due

    def blind(self, now: float) -> bool:
        """Whether there is a track that no sample has confirmed for too long."""
        return self.tracker.alive and now - self.tracker.last_s > self._blind_after_s

    def advance(self, now: float, walking: bool | None) -> None:
        """Brings level and path up to `now`: what time alone changes, at its deadlines and not between them."""
        if self.path is Path.BROKEN:
            return
        if now >= self._unknown_due_s():
            self._become_unknown(now)
        if self.tracker.alive and now >= self._judge_due_s():
            self._judge(now, walking)

    def _become_unknown(self, now: float) -> None:
        """A track that still holds a level keeps it: that the path is unknown makes nothing less urgent."""
        self.path = Path.UNKNOWN
        self._unknown_since_s = now

    def _lost_within_reach(self) -> bool:
        """Whether what was tracked last ought to be seen still: near, and not leaving."""
        closing = self.tracker.closing_speed_m_s
        receding = closing is not None and closing < RECEDING_M_S
        return not receding and self.tracker.range_m(self.tracker.last_s) <= self.sensor.clear_range_m

    def _give_up_or_hold(self, now: float) -> None:
        """A blind track is held until "no target" has lasted: a missing return alone is never clear."""
        since = self._no_target_since_s
        if since is None or now < since + CLEAR_PROOF_S:
            return
        if self.path is not Path.UNKNOWN:
            if self._lost_within_reach():
                self._become_unknown(now)
            else:
                self.path = Path.CLEAR
        self.tracker.drop()
        self._begin_anew()
        self.behind = Behind(Level.NONE, False, None, None, 0.0)
        self._lower_since_s = self._still_since_s = self._quiet_range_m = self._doubt_since_s = None

    def _settle_path(self, now: float) -> None:
        """Nothing is tracked: calls the path clear when "no target" has lasted long enough."""
        since = self._no_target_since_s
        if since is None:
            return
        if self.path is Path.UNKNOWN:
            due = max(since, self._unknown_since_s) + FORGET_UNKNOWN_S
        else:
            due = since + CLEAR_AFTER_S
        if now >= due:
            self.path = Path.CLEAR
            self._doubt_since_s = None

    def _judge(self, now: float, walking: bool | None) -> None:
        collision = self._collision
        range_m = self.tracker.range_m(now)
        last_s = self.tracker.last_s
        last_m = self.tracker.range_m(last_s)
        closing = self.tracker.closing_speed_m_s
        along, hidden = self.with_walker, False
        same = [other for other in self.others if abs(other.range_m - last_m) <= SAME_THING_M]
        if self.sure and closing is not None and self._doubts(closing):
            hidden = any(other.by_light and other.range_m < last_m - BEHIND_IT_M for other in self.others)
            if any(other.by_light for other in same):
                closing = min(closing, max(other.closing_speed_m_s for other in same if other.by_light))
                range_m = max(0.0, last_m - closing * (now - last_s))
                along = along or any(other.with_walker for other in same)
        elif not self.sure:
            along = along or any(other.with_walker for other in same)
            hidden = any(other.range_m < range_m - BEHIND_IT_M for other in self.others)
            others = [other.closing_speed_m_s for other in same]
            closing = max(others, default=None if closing is None else min(closing, UNSURE_MAX_M_S))
            if closing is not None and closing > collision.moving_m_s and walking is not False:
                # What it is cannot be slower than the walker while it has not been followed for a step.
                closing = max(closing, min(self.own_speed_m_s or 0.0, UNSURE_MAX_M_S))
        trend = self._trend.closing_m_s
        if closing is not None and trend is not None and closing >= collision.moving_m_s:
            # Every step has a moment in which the walker is slow; the next one is not.
            speed = max(closing, trend)
        elif closing is not None:
            speed = closing
        elif walking is False:
            speed = 0.0
        else:
            # Until closing speed is known, walking speed stands in for it.
            speed = self._walker.usual_speed_m_s if self.own_speed_m_s is None else self.own_speed_m_s
        still = closing is not None and abs(closing) < collision.moving_m_s
        if walking is False and closing is not None and self._only_seems_to_near(now, closing):
            speed, still = 0.0, True
        level = collision_level(range_m, speed, self._walker, collision)
        if closing is None and level < Level.WARNING:
            level = Level.NONE  # two echoes may be the ground; what is not yet urgent waits for the third
        if along and range_m > collision.warning_floor_m:
            # Somebody walks along: one chime, if they are near at all, and then only the floor.
            near = range_m <= collision.advisory_time_to_collision_s * self._walker.usual_speed_m_s
            chime = near and (not self._chimed or self.behind.level > Level.NONE)
            level = Level.ADVISORY if chime else Level.NONE
            self._chimed = True
        elif closing is not None and closing <= -collision.moving_m_s:
            level = Level.NONE  # walking away from it
        if hidden:
            level = Level.NONE
        elif not self.sure and self.blind(now):
            level = min(level, self.behind.level)  # what was hardly seen does not go on nearing unseen
        nears = not still and (closing is None or closing > 0.0)
        level = self._quieten(now, level, still, nears, range_m)
        touching = level is Level.WARNING and range_m < collision.touching_m
        behind = Behind(level, touching, range_m, closing, speed, self._approaches >= APPROACHING_OF)
        if level >= self.behind.level:
            self.behind = behind
            self._lower_since_s = None
            return
        # Lower only with room to spare, and slowly.
        spare = collision_level(max(0.0, range_m - collision.release_m), speed, self._walker, collision)
        left = closing is not None and closing <= -collision.moving_m_s
        if (
            left
            or (along and range_m > collision.warning_floor_m + collision.release_m)
            or (closing is not None and self._quiet_range_m is not None)
        ):
            spare = level
        held = self.behind.level
        self._lower(now, min(held, spare), behind)

    def _doubts(self, closing_speed_m_s: float) -> bool:
        """Whether what an echo's track says of its speed may come from a second echo."""
        if closing_speed_m_s < self._collision.moving_m_s or isinstance(self.sensor, TfLuna):
            return False
        trend = self._trend.closing_m_s
        return self.tracker.accepted < SETTLED_AFTER or trend is None or trend < 0.5 * closing_speed_m_s

    def _only_seems_to_near(self, now: float, closing_speed_m_s: float) -> bool:
        """Beside a wall a stray echo can look like slow nearing for a moment: of one who stands, it must last."""
        slow = self._collision.moving_m_s <= closing_speed_m_s < 3.0 * self._collision.moving_m_s
        if not slow:
            self._slow_since_s = None
            return False
        if self._slow_since_s is None:
            self._slow_since_s = now
        return now < self._slow_since_s + SLOW_LASTS_S

    def _quieten(self, now: float, level: Level, still: bool, nears: bool, range_m: float) -> Level:
        """Standing still beside something: the alerts end after a while, until it nears again or has been left."""
        quiet_m = self._quiet_range_m
        if quiet_m is not None:
            if not nears and quiet_m - NEARER_M < range_m < quiet_m + self._collision.release_m:
                return Level.NONE
            self._quiet_range_m = self._still_since_s = None
        if not still:
            self._still_since_s = None
            return level
        if level is Level.NONE and self.behind.level is Level.NONE:
            self._still_since_s = None
            return level
        if self._still_since_s is None:
            self._still_since_s = now
        if now >= self._still_since_s + self._collision.quiet_after_still_s:
            self._quiet_range_m = range_m
            self._still_since_s = None
            return Level.NONE
        return level

    def _lower(self, now: float, level: Level, behind: Behind) -> None:
        held = self.behind.level
        if level >= held:
            self._lower_since_s = None
            self.behind = replace(behind, level=held)
            return
        if self._lower_since_s is None:
            self._lower_since_s = now
        quiet = self._quiet_range_m is not None
        if quiet or now >= self._lower_since_s + self._collision.release_hold_s:
            self._lower_since_s = None
            self.behind = replace(behind, level=level, touching=False)
        else:
            self.behind = replace(behind, level=held, touching=False)
