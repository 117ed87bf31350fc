"""The drop-off channel: what every drop-off sensor knows of the ground behind, and what is said of it.

A drop is said at once, whether the walker moves or not, and again while they do; who has stopped beside it is left in
peace after a moment and warned anew when stepping begins.  Ground that is not seen is told when that is news, and then
now and then.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from retrowalk.config import Config
from retrowalk.core import events as ev
from retrowalk.core.alerts import DROP_SPEEDS
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.dropoff import DropWatch, Ground, protected_drop_speed_m_s
from retrowalk.core.events import Level, ms, rounded
from retrowalk.core.freshness import Freshness
from retrowalk.core.posture import Posture
from retrowalk.core.samples import ImuSample, RangeSample

NEWS_S = 3.0
"""So long is it said whether the walker moves or not: who turns round on the spot must hear it, too."""
STIRS_S = 1.5
"""A bounce of the back that may be a step counts as moving for so long: three steps in rhythm would be too late."""
PATCH_S = 3.0
"""Ground must be seen for so long before its loss is news again: puddles are one matter."""
NEWS_GAP_S = 10.0
AGAIN_S = 60.0
"""Lost ground is told again after these times at the earliest: when it is news, and while it stays lost."""
LIMITS_AFTER_S = 10.0
"""Ground that is lost for longer limits what the walker may rely on."""


class GroundWatch:
    """All drop-off sensors of a device.  Times are session seconds."""

    def __init__(
        self, config: Config, freshness: Freshness, arbiter: Arbiter, emit: Callable[[ev.Event], None]
    ) -> None:
        self._freshness = freshness
        self._arbiter = arbiter
        self._emit = emit
        self.sensors = {sensor.name: DropWatch(config) for sensor in config.range_sensor if sensor.role == "dropoff"}
        """By name."""
        self.warning = False
        """Whether a drop is being told."""
        self.lost_since_s: float | None = None
        """Since when the ground has been lost to every sensor that works; None: it is not."""
        self._raised = ""
        self._lost_told_s = -math.inf
        self._last_lost_s = -math.inf
        self._protected_m_s = protected_drop_speed_m_s(config)

    # -- feeding --------------------------------------------------------------------------------------------

    def turned(self, item: ImuSample, posture: Posture, vertical_m_s2: float, steps: int) -> bool:
        """How the trunk moves, with every sample of the clip; returns whether a waiting range was judged by it.

        `vertical_m_s2` is its upward acceleration without gravity.
        """
        # A clip that hangs is named within 3 s of stepping; until then the beam would seem to sweep over edges.
        known = posture.upright is not None and not (item.gap or posture.repeats or posture.slipped)
        pitch_deg = posture.trunk_pitch_deg if known else None
        judged = False
        for drop in self.sensors.values():
            drop.turned(item.t_measured_s, pitch_deg, posture.pitch_rate_deg_s, vertical_m_s2)
            if drop.due:
                drop.judge(steps)
                judged = True
        return judged

    def feed(
        self, item: RangeSample, steps: int, speed_m_s: float | None, *, moves: bool, thing_m: float | None
    ) -> None:
        """Takes a sample of one of `sensors`; `steps` have been taken so far, at this speed (None: not known).

        `thing_m`: how far behind something is followed, None: nothing.
        """
        self.sensors[item.sensor].feed(item, steps, speed_m_s, moves=moves, thing_m=thing_m)

    # -- what is known ----------------------------------------------------------------------------------------

    @property
    def lost_sensor(self) -> bool:
        """Whether there are drop-off sensors, and one of them does not work."""
        return any(self._freshness.parts[name].lost for name in self.sensors)

    def limited(self, now: float) -> bool:
        """Whether the ground has been lost for too long to speak of guarding."""
        return self.lost_since_s is not None and now >= self.lost_since_s + LIMITS_AFTER_S

    def deadline(self, now: float) -> float:
        """When that begins."""
        limit_s = math.inf if self.lost_since_s is None else self.lost_since_s + LIMITS_AFTER_S
        return limit_s if limit_s > now else math.inf

    def silent(self, now: float) -> bool:
        """Whether no tick may be heard: a drop is behind, or the ground has just been lost."""
        return self.warning or (self.lost_since_s is not None and not self.limited(now))

    @property
    def speed_said(self) -> str:
        """The sayable speed up to which drops are told in time, rounded down; empty without a sensor that works."""
        if not self.sensors or self.lost_sensor:
            return ""
        return max((value for value in DROP_SPEEDS if float(value) <= self._protected_m_s), default=DROP_SPEEDS[0])

    # -- what is said -----------------------------------------------------------------------------------------

    def update(self, now: float, *, quiet: bool, moves: bool, trunk_pitch_deg: float | None) -> None:
        """Says what has changed.

        `quiet`: the ground does not matter now (not worn, lying, the check at the start).  `moves`: steps are being
        taken, or one may have been.
        """
        working = {name: drop for name, drop in self.sensors.items() if not self._freshness.parts[name].lost}
        drops = {} if quiet else {name: d for name, d in working.items() if d.ground is Ground.DROP}
        self._tell_drop(now, drops, moves, trunk_pitch_deg)
        grounds = [drop.ground for drop in working.values()]
        self._tell_lost(now, Ground.LOST in grounds and not quiet, quiet, moves and not drops)

    def _tell_drop(self, now: float, drops: dict[str, DropWatch], moves: bool, trunk_pitch_deg: float | None) -> None:
        arbiter = self._arbiter
        self.warning = any(moves or now < drop.changed_s + NEWS_S for drop in drops.values())
        if self.warning:
            name, drop = max(drops.items(), key=lambda item: item[1].changed_s)
            because = f"{drop.depth_m or 0.0:.2f} m down, {drop.ahead_m or 0.0:.2f} m behind"
            number = arbiter.hold(now, "drop", Level.WARNING, because=because)
            if not self._raised:
                self._raised = name
                self._emit(
                    ev.HazardRaised(
                        t_s=ms(now),
                        alert=number,
                        hazard="drop",
                        level=Level.WARNING.name.lower(),
                        sensor=name,
                        range_m=rounded(drop.ahead_m, 3),
                        depth_m=rounded(drop.depth_m, 3),
                        trunk_pitch_deg=rounded(trunk_pitch_deg, 1),
                        protected_speed_m_s=rounded(self._protected_m_s, 2),
                    )
                )
        else:
            arbiter.release(now, "drop")
        if self._raised and not drops:
            self._emit(ev.HazardCleared(t_s=ms(now), hazard="drop", level="none", sensor=self._raised))
            self._raised = ""

    def _tell_lost(self, now: float, lost: bool, quiet: bool, moves: bool) -> None:
        if lost:
            self._last_lost_s = now
            news = self.lost_since_s is None
            number: int | None = None
            if (news or moves) and now >= self._lost_told_s + (NEWS_GAP_S if news else AGAIN_S):
                self._lost_told_s = now
                number = self._arbiter.announce(now, "ground", because="no return where the ground ought to be")
            if news:
                self.lost_since_s = now
                level = Level.CAUTION.name.lower()
                self._emit(ev.HazardRaised(t_s=ms(now), alert=number, hazard="ground", level=level))
        elif self.lost_since_s is not None and (quiet or now >= self._last_lost_s + PATCH_S):
            self.lost_since_s = None
            self._arbiter.retract("ground")
            self._emit(ev.HazardCleared(t_s=ms(now), hazard="ground", level="none"))
