"""The rear channel: every rear sensor's hazard, the nearest trusted of them, what is known of the path, what is said.

Fusion is nearest trusted, never an average: each sensor misses what another sees, and what one of them has seen is
there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from retrowalk.config import Config, TfLuna
from retrowalk.core import events as ev
from retrowalk.core.air import AirSpeed
from retrowalk.core.alerts import distance_value
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.beam import Beam
from retrowalk.core.events import Level, ms, rounded
from retrowalk.core.freshness import Freshness
from retrowalk.core.hazards import Behind, Followed, Path, RearHazard, needed_m
from retrowalk.core.reach import Reach
from retrowalk.core.samples import RangeSample, RangeStatus

TIPPED_DEG = 40.0
"""A trunk that leans further looks at the ground or the sky: what is behind is not what its sensors see ..."""
TIPPED_STEPS = 3
"""... but nobody takes more steps like that: then it is the clip that has slipped, and the trunk is upright."""
AHEAD_S = 0.1
"""The trunk's pitch is carried on with its rate by so much at most, to when a range was measured."""
AIM_S = 0.02
"""How long before or after the pitch a range may have been measured: what the trunk turned meanwhile widens it."""
DENIED_M = 0.5
DENIED_SHARE = 1.5
"""Another sensor that sees nothing up to so much behind a track denies it: it is kept, and its noise is widened."""
APART_DEG = 10.0
"""Sensors whose bearings differ by more look elsewhere, and deny nothing."""
SAME_M = 0.30
"""What two sensors follow at so nearly the same range is one thing."""
TURNING_DEG_S = 60.0
TURNING_HOLD_S = 0.5
"""While the trunk tips this fast, and so long after, a beam sweeps over ground and sky: ranges that do not fit each
other are no sign of a broken sensor."""

NOTHING = Behind(Level.NONE, False, None, None, 0.0)


class RearWatch:
    """All rear sensors of a device.  Times are session seconds; what follows is said through `arbiter` and `emit`."""

    def __init__(
        self, config: Config, freshness: Freshness, arbiter: Arbiter, emit: Callable[[ev.Event], None]
    ) -> None:
        self._config = config
        self._freshness = freshness
        self._arbiter = arbiter
        self._emit = emit
        self.sensors = {
            sensor.name: RearHazard(sensor, config.walker, config.collision, config.freshness, config.tracker)
            for sensor in config.range_sensor
            if sensor.role == "rear"
        }
        """The hazard of each rear sensor, by its name."""
        self._beams = {sensor.name: Beam(sensor, config.mount) for sensor in config.range_sensor}
        self._bearings_deg = {sensor.name: sensor.bearing_left_deg for sensor in config.range_sensor}
        self.air = AirSpeed(config.range_sensor)
        self.reach = Reach(config, freshness, self.air)
        self.level = Level.NONE
        """What is held now, of all sensors."""
        self.unknown_since_s: float | None = None
        """Since when the path has been called unknown; None: it is not."""
        self._name = ""
        self._turning_until_s = -math.inf
        self._pitch: tuple[float, float] | None = None
        """Measured time and trunk pitch (degrees, forward positive); None: not known."""
        self._rate_deg_s = 0.0
        self._tipped_steps = 0
        """Steps taken since the trunk leans so far that it counts as tipped."""
        self._sees: dict[str, tuple[float, float]] = {}
        """By sensor: when it answered last, and how far there was nothing."""
        self._announced = False
        self._told: dict[str, int] = {}
        """By sensor: the thing that it followed when something was last said of what is behind."""

    # -- feeding --------------------------------------------------------------------------------------------

    def turned(self, now: float, t_s: float, pitch_deg: float | None, rate_deg_s: float) -> None:
        """How the trunk leans and tips, with every sample of the clip; pitch None: not known."""
        if pitch_deg is None or abs(pitch_deg) <= TIPPED_DEG:
            self._tipped_steps = 0
        if self._tipped_steps > TIPPED_STEPS:
            pitch_deg = None
        self._pitch = None if pitch_deg is None else (t_s, pitch_deg)
        self._rate_deg_s = rate_deg_s
        self.reach.leans(t_s, pitch_deg or 0.0)
        if abs(rate_deg_s) > TURNING_DEG_S:
            self._turning_until_s = now + TURNING_HOLD_S

    def feed(self, item: RangeSample, now: float, walking: bool | None, own_speed_m_s: float | None) -> str:
        """Takes a sample of one of `sensors`; returns why its readings cannot be true (`garbage`, `frozen`), or ""."""
        name = item.sensor
        rear = self.sensors[name]
        if item.t_measured_s > now:
            # A track that is ahead of time would take nothing until time has caught up with it.
            item = replace(item, t_measured_s=now)
        rear.others = self._followed_by_others(rear, now)
        rear.own_speed_m_s = own_speed_m_s
        sigma_m = ground_m = None
        said, range_m = item, item.range_m
        if item.status is RangeStatus.VALID and range_m is not None:
            range_m *= self.air.factor(name, now)
            sigma_m = self._config.tracker.sigma_range_m
            if not self._freshness.parts["imu"].lost:
                rate_deg_s = self._rate_deg_s
                # Never rejected for it: in a stride of 10 degrees the trunk turns this fast most of the time.
                sigma_m += range_m * math.radians(abs(rate_deg_s)) * AIM_S
                if self._pitch is not None:
                    at_s, pitch_deg = self._pitch
                    pitch_deg += rate_deg_s * max(-AHEAD_S, min(AHEAD_S, item.t_measured_s - at_s))
                    beam = self._beams[name]
                    if beam.is_ground(range_m, pitch_deg):
                        ground_m = beam.ground_m(pitch_deg)
                    range_m = beam.level_m(range_m, pitch_deg)
            if self._denied(name, range_m, now):
                sigma_m *= DENIED_SHARE
            item = replace(item, range_m=range_m)
        if self.tipped and item.status in (RangeStatus.VALID, RangeStatus.NO_TARGET):
            # Ground or sky: it proves the sensor alive and says nothing of the path.
            item = replace(item, status=RangeStatus.UNTRUSTED, range_m=None)
        elif item.status is RangeStatus.NO_TARGET:
            self._sees[name] = now, rear.sensor.clear_range_m
        elif range_m is not None:
            self._sees[name] = now, range_m
        self.reach.saw(said, ground=ground_m is not None)
        rear.feed(item, walking, sigma_m, turning=now < self._turning_until_s, ground_m=ground_m)
        return "garbage" if rear.nonsense else "frozen" if rear.frozen else ""

    def followed(self, item: RangeSample, now: float) -> float | None:
        """Closing speed of what the sample's sensor follows for sure, if the sample was an echo; else None."""
        rear = self.sensors[item.sensor]
        if item.status is not RangeStatus.VALID or not rear.sure or rear.blind(now):
            return None
        return rear.tracker.closing_speed_m_s

    @property
    def tipped(self) -> bool:
        """Whether the trunk leans so far that the sensors do not look behind."""
        return self._pitch is not None and abs(self._pitch[1]) > TIPPED_DEG and not self._freshness.parts["imu"].lost

    def _denied(self, name: str, range_m: float, now: float) -> bool:
        """Whether another sensor has just seen nothing where this one sees something."""
        fresh_s = now - self._config.freshness.degraded_after_s
        return any(
            seen_s >= fresh_s and nothing_to_m > range_m + DENIED_M
            for other, (seen_s, nothing_to_m) in self._sees.items()
            if other != name and abs(self._bearings_deg[other] - self._bearings_deg[name]) <= APART_DEG
        )

    def stepped(self, t_s: float, walking_since_s: float) -> list[str]:
        """The wearer took a step; returns the sensors whose ranges stand still all the same."""
        self._tipped_steps += 1
        return [name for name, rear in self.sensors.items() if rear.stepped(t_s, walking_since_s)]

    def advance(self, now: float, walking: bool | None) -> None:
        """Brings every sensor up to `now`."""
        for rear in self.sensors.values():
            rear.advance(now, walking)

    def deadline(self) -> float:
        """When `advance` may change something without a sample."""
        return min(rear.deadline() for rear in self.sensors.values())

    def stop(self, now: float) -> None:
        """The device is being switched off: nothing is held any more."""
        for key in ("rear", "touching", "unknown"):
            self._arbiter.release(now, key)
        self.level = Level.NONE

    # -- what is known --------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The worst of what the working sensors know.  A lost one has been named, and knows nothing."""
        known = [rear.path for name, rear in self.sensors.items() if not self._freshness.parts[name].lost]
        for path in (Path.UNKNOWN, Path.STARTING, Path.OBJECT, Path.CLEAR):
            if path in known:
                return path
        return Path.BROKEN

    @property
    def checked(self) -> bool:
        """Whether every sensor has seen the hand of the check at the start, and seen it leave."""
        rears = self.sensors.values()
        return (
            all(self._freshness.seen(name) for name in self.sensors)
            and all(rear.hand_seen for rear in rears)
            and all(rear.path is Path.CLEAR or (rear.behind.range_m or 0.0) > 0.8 for rear in rears)
            and all(rear.behind.level < Level.CAUTION for rear in rears)  # else the hand's would be said: "Stop"
        )

    @property
    def hand_missed(self) -> tuple[str, ...]:
        """Names of the sensors that have not seen the hand, where others have."""
        missed = tuple(name for name, rear in self.sensors.items() if not rear.hand_seen)
        return missed if len(missed) < len(self.sensors) else ()

    def check_anew(self) -> None:
        """The device is worn anew: the hand of the check must be seen again."""
        for rear in self.sensors.values():
            rear.hand_seen = False

    def nearest(self) -> tuple[Behind, str]:
        """The most urgent, then the nearest, of what the trusted sensors see; with the sensor's name."""
        best = (NOTHING, "")
        for name, rear in self.sensors.items():
            behind = rear.behind
            if self._believed(name) and _urgency(behind) > _urgency(best[0]):
                best = (behind, name)
        return best

    def _bearing_left_deg(self, behind: Behind) -> float | None:
        """Where it is, by the sensors with a bearing that see it; None: only straight ones do.

        Seen from both sides at the same range it is in the middle.
        """
        if behind.range_m is None:
            return None
        seen = [
            bearing_deg
            for name, rear in self.sensors.items()
            if (bearing_deg := self._bearings_deg[name]) and self._believed(name)
            if (range_m := rear.behind.range_m) is not None and abs(range_m - behind.range_m) <= SAME_M
        ]
        return sum(seen) / len(seen) if seen else None

    def accompanied(self, now: float) -> bool:
        """Whether somebody walks along behind: the way between has been walked by them."""
        return any(
            rear.with_walker and not rear.blind(now) and self._believed(name) for name, rear in self.sensors.items()
        )

    def thing_m(self, now: float) -> float | None:
        """How far behind the nearest thing is that a working sensor follows now; None: nothing is followed."""
        found = [
            rear.tracker.range_m(now)
            for name, rear in self.sensors.items()
            if rear.tracker.closing_speed_m_s is not None and not rear.blind(now) and self._believed(name)
        ]
        return min(found, default=None)

    def _believed(self, name: str) -> bool:
        """Whether a sensor's readings count: one that talks nonsense is named instead, until it makes sense again.

        What it follows without a break meanwhile counts all the same: silence would be worse.
        """
        part = self._freshness.parts[name]
        return not (part.lost and part.cause == "garbage") or self.sensors[name].makes_sense

    def _followed_by_others(self, rear: RearHazard, now: float) -> list[Followed]:
        """What the other sensors follow now where this one looks, too, and are sure of."""
        parts, found, mine_deg = self._freshness.parts, [], self._bearings_deg[rear.name]
        for name, other in self.sensors.items():
            speed_m_s = other.tracker.closing_speed_m_s
            if other is rear or speed_m_s is None or not other.sure or other.blind(now) or parts[name].lost:
                continue
            if abs(self._bearings_deg[name] - mine_deg) <= APART_DEG:
                by_light = isinstance(other.sensor, TfLuna)
                found.append(Followed(other.tracker.range_m(now), speed_m_s, other.with_walker, by_light))
        return found

    # -- what is said ---------------------------------------------------------------------------------------

    def update(self, now: float, *, quiet: bool, path_quiet: bool, fallen: bool, trunk_pitch_deg: float | None) -> None:
        """Says what has changed.

        `quiet`: whatever is behind is no hazard now (not worn, the hand of the check).  `path_quiet`: nor does it
        matter whether the path is known.  `fallen`: the walker lies there; words on the path would only be noise.
        """
        behind, name = self.nearest()
        level = Level.NONE if quiet or self.tipped else behind.level
        arbiter = self._arbiter
        if level > Level.NONE:
            value = distance_value(behind.range_m) if level is Level.CAUTION and behind.range_m is not None else ""
            bearing_deg = self._bearing_left_deg(behind)
            number = None
            if self._is_news(behind, name) or level > Level.ADVISORY or arbiter.holds("rear"):
                number = arbiter.hold(
                    now, "rear", level, value=value, because=_because(behind), bearing_left_deg=bearing_deg
                )
            if level > self.level:
                self._emit(self._hazard(now, behind, name, level, number, trunk_pitch_deg))
            elif level < self.level:
                self._emit(_cleared(now, behind, self._name, level))
        elif self.level > Level.NONE:
            arbiter.release(now, "rear")
            self._emit(_cleared(now, behind, self._name, level))
        self.level = level
        self._name = name if level > Level.NONE else ""
        if level is Level.WARNING and behind.touching:
            arbiter.hold(
                now,
                "touching",
                Level.WARNING,
                because=_because(behind),
                bearing_left_deg=self._bearing_left_deg(behind),
            )
        else:
            arbiter.release(now, "touching")
        self._update_approaching(now, behind, name, level)
        self._update_unknown(now, path_quiet or self.tipped, fallen)

    def _is_news(self, behind: Behind, name: str) -> bool:
        """Whether nothing has been said of it yet: a thing is chimed for once, however often it comes near anew.

        What another sensor follows at the same range is the same thing.
        """
        if self._told.get(name) == self.sensors[name].thing:
            return False
        for other, rear in self.sensors.items():
            seen_m = rear.behind.range_m
            if seen_m is not None and behind.range_m is not None and abs(seen_m - behind.range_m) <= SAME_M:
                self._told[other] = rear.thing
        self._told[name] = self.sensors[name].thing
        return True

    def _update_approaching(self, now: float, behind: Behind, name: str, level: Level) -> None:
        """Something that comes by itself is announced once, unless "Stop" is said of it."""
        if self._announced:
            if level is Level.NONE:
                self._announced = False
                self._emit(ev.HazardCleared(t_s=ms(now), hazard="approaching", level="none"))
            return
        if not behind.approaching or level is Level.NONE:
            return
        self._announced = True
        number = None
        if level < Level.WARNING:
            number = self._arbiter.announce(
                now,
                "approaching",
                because=_because(behind),
                insist=False,
                bearing_left_deg=self._bearing_left_deg(behind),
            )
        hazard = self._hazard(now, behind, name, level, number, None)
        self._emit(replace(hazard, hazard="approaching"))

    def _update_unknown(self, now: float, quiet: bool, fallen: bool) -> None:
        path = self.path
        if path is Path.UNKNOWN and not quiet and not fallen:
            if self.unknown_since_s is None:
                self.unknown_since_s = now
                self._arbiter.retract("clear")
                number = self._arbiter.hold(now, "unknown", Level.CAUTION, because="nothing proves the path clear")
                self._emit(
                    ev.HazardRaised(t_s=ms(now), alert=number, hazard="unknown", level=Level.CAUTION.name.lower())
                )
        elif self.unknown_since_s is not None:
            self.unknown_since_s = None
            self._arbiter.release(now, "unknown")
            self._emit(ev.HazardCleared(t_s=ms(now), hazard="unknown", level="none"))
            # To somebody who lies there it would only be noise between the numbers.
            if path is Path.CLEAR and not quiet and not fallen:
                self._arbiter.announce(now, "clear")

    def _hazard(
        self, now: float, behind: Behind, name: str, level: Level, number: int | None, trunk_pitch_deg: float | None
    ) -> ev.HazardRaised:
        need = needed_m(
            Level.WARNING if level is Level.WARNING else Level.CAUTION,
            behind.speed_used_m_s,
            self._config.walker,
            self._config.collision,
        )
        return ev.HazardRaised(
            t_s=ms(now),
            alert=number,
            hazard="rear",
            level=level.name.lower(),
            sensor=name,
            range_m=rounded(behind.range_m, 3),
            closing_speed_m_s=rounded(behind.closing_speed_m_s, 2),
            time_to_collision_s=rounded(behind.time_to_collision_s, 1),
            needed_m=rounded(need, 2),
            trunk_pitch_deg=rounded(trunk_pitch_deg, 1),
            bearing_left_deg=rounded(self._bearing_left_deg(behind), 1),
        )


def _cleared(now: float, behind: Behind, name: str, level: Level) -> ev.HazardCleared:
    return ev.HazardCleared(
        t_s=ms(now), hazard="rear", level=level.name.lower(), sensor=name, range_m=rounded(behind.range_m, 3)
    )


def _urgency(behind: Behind) -> tuple[int, float]:
    return behind.level, -(behind.range_m if behind.range_m is not None else math.inf)


def _because(behind: Behind) -> str:
    if behind.range_m is None:
        return ""
    text = f"{behind.range_m:.2f} m behind"
    if behind.closing_speed_m_s is not None:
        text += f", closing {behind.closing_speed_m_s:.2f} m/s"
    left = behind.time_to_collision_s
    return f"{text}, {left:.1f} s left" if left is not None else text
