"""When an event happened, as far as anybody can know: wall time in Unix seconds, with what it is worth.

Within one boot the monotonic clock says how long ago something was, so that a clock which is set late mends the times
of what happened before.  Another boot's monotonic time says nothing.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from pathlib import Path

from retrowalk import wire
from retrowalk.courier.outbox import Row, Stamp
from retrowalk.platform import Clock

HISTORICAL_S = 600.0
"""An event sent later than this is one of the past."""

RELEASED_WALL_S = 1_767_225_600.0
"""2026-01-01: a clock that shows less was never set."""

MAX_WALL_S = 253_402_300_799.0


def clock_quality(wall_s: float) -> str:
    """What wall time is worth: `ntp`, `rtc` (a battery clock set it) or `unset`."""
    if wall_s < RELEASED_WALL_S:
        return "unset"
    if Path("/run/systemd/timesync/synchronized").exists():
        return "ntp"
    return "rtc" if Path("/dev/rtc0").exists() else "unset"


def timestamp(wall_s: float) -> str:
    """RFC 3339 in UTC, to the millisecond.  Never raises: a clock may show anything."""
    wall_s = min(max(wall_s, 0.0), MAX_WALL_S) if math.isfinite(wall_s) else 0.0
    moment = datetime.datetime.fromtimestamp(int(wall_s * 1000) / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Times:
    """The times of this boot (`boot`) and of the sessions that the guard told of; `quality` judges wall time."""

    def __init__(self, clock: Clock, boot: str, quality: Callable[[float], str]) -> None:
        self.boot = boot
        self.boots: dict[str, str] = {}
        """The boot in which each session was."""
        self._clock = clock
        self._quality = quality

    def wall(self) -> tuple[float, str]:
        """Wall time now, and what it is worth."""
        wall_s = self._clock.wall_s()
        return wall_s, self._quality(wall_s)

    def mono_s(self, now: float) -> float:
        """The machine's monotonic time of the session's moment `now`."""
        return now + self._clock.origin_mono_s

    def stamp(self, event: wire.EventMessage, now: float) -> Stamp:
        """What is known at `now` about when an event happened."""
        wall_s = self._clock.wall_s()
        age_s = self.mono_s(now) - event.mono_s
        boot = self.boots.get(event.session, self.boot)
        if boot != self.boot or age_s < -1.0:
            # Another boot's monotonic time says nothing now: it happened before this boot, no more is known.
            return Stamp(boot if boot != self.boot else "unknown", wall_s, "unset")
        return Stamp(boot, wall_s - max(age_s, 0.0), self._quality(wall_s))

    def of(self, row: Row, now: float) -> tuple[float, str, bool]:
        """When a kept event happened (wall time, its worth), and whether it is one of the past."""
        stamp, wall_s = row.stamp, self._clock.wall_s()
        age_s = wall_s - stamp.wall_s
        time_s, quality = stamp.wall_s, stamp.clock
        if stamp.boot_id == self.boot:
            age_s = self.mono_s(now) - row.mono_s
            if quality != "ntp" and self._quality(wall_s) == "ntp":
                time_s, quality = wall_s - age_s, "ntp"  # the clock was set since: now it is known when that was
        return time_s, quality, age_s > HISTORICAL_S or stamp.boot_id != self.boot
