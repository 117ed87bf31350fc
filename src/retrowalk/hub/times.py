"""The hub's own time: never goes back, survives a restart, and no clock that is set moves it.

Within a boot it follows CLOCK_BOOTTIME, which counts suspended time too.  Between two boots only the wall clock can
say how long it was; that counts between nothing and `LEAP_MAX_S`, because a wall clock may be wrong by years.
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable

from msgspec import Struct

LEAP_MAX_S = 30 * 86400.0
"""The most that a restart in another boot lets pass: all that the hub waits for is shorter."""

MAX_WALL_S = 253_402_300_799.0


class Anchor(Struct, frozen=True):
    """One moment on all clocks, kept in the store."""

    hub_s: float
    boot: str
    boottime_s: float
    wall_s: float


def boottime_s() -> float:
    """Seconds since this computer started, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class HubTime:
    """Hub time from `boottime` and `wall` (Unix seconds) in the boot `boot`, continuing from `kept`.

    The first hub time of all is 0.
    """

    def __init__(
        self,
        boot: str,
        kept: Anchor | None,
        *,
        boottime: Callable[[], float] = boottime_s,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.boot = boot
        self._boottime = boottime
        self._wall = wall
        self._latest_s = 0.0
        self._base_s = 0.0
        """Hub time minus CLOCK_BOOTTIME."""
        self.follow(kept)

    def follow(self, kept: Anchor | None) -> None:
        """Goes on from an anchor of the store, never to an earlier time than was told."""
        start_s = self._latest_s
        if kept is not None and math.isfinite(kept.hub_s):
            if kept.boot == self.boot:
                passed_s = self._boottime() - kept.boottime_s
                passed_s = max(passed_s, 0.0)
            else:
                passed_s = min(max(self._wall() - kept.wall_s, 0.0), LEAP_MAX_S)
            start_s = max(start_s, kept.hub_s + passed_s)
        self._base_s = start_s - self._boottime()

    def now(self) -> float:
        """Hub time in seconds."""
        self._latest_s = max(self._latest_s, self._boottime() + self._base_s)
        return self._latest_s

    def wall_s(self) -> float:
        """Unix time, for people to read."""
        return self._wall()

    def anchor(self) -> Anchor:
        """This moment, to be kept."""
        return Anchor(self.now(), self.boot, self._boottime(), self._wall())


def timestamp(wall_s: float) -> str:
    """RFC 3339 in UTC, to the millisecond.  Never raises: a clock may show anything."""
    wall_s = min(max(wall_s, 0.0), MAX_WALL_S) if math.isfinite(wall_s) else 0.0
    moment = datetime.datetime.fromtimestamp(int(wall_s * 1000) / 1000, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
