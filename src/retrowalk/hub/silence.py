"""Whether a device that should speak does.  Times are hub time.

A device should speak while its walker walks (each 15 s), while it guards, and while a fall or a call for help is open
(each 60 s).  Time during which this hub could hear nobody (not running, or no broker) is not the device's silence;
only a hub that is cut off for long says so in the place of every device that it should hear.

The broker's word that a connection is gone (`lost`) is a hint: it shortens no deadline, because a link that flaps
would then call people all day; it lets a fall countdown end without the wait for its answer.
"""

from __future__ import annotations

import math

from msgspec import Struct

from retrowalk.hub.facts import HeartbeatCame, StateCame
from retrowalk.hub.settings import Silence

SLOW_NOTICE_S = 150.0
"""Who speaks each 60 s is noticed as silent after two messages that did not come ..."""
SLOW_PAGE_S = 240.0
"""... and paged for after three."""
NOTICE_EVERY_S = 900.0
"""That a device is silent for a short while is told no more often."""
STEADY_S = 30.0
"""Somebody was paged for: it must have spoken for so long before it counts as heard."""
STEADY_AGAIN_S = 300.0
"""The same for a device that was paged for ..."""
AGAIN_S = 1800.0
"""... within this time after the end of the last time: its link flaps."""
AWAY_S = 10.0
"""A hub that is this late for what it had to do was not running."""
WATCHED_STATES = ("guarding", "limited")


class Ears(Struct):
    """Since when this hub hears, and how long it could not."""

    up: bool = True
    since_s: float = 0.0
    """When `up` changed."""
    deaf_s: float = 0.0
    """Sum of the times without hearing that are over."""

    def changed(self, now: float, last_s: float, up: bool) -> None:
        """The connection has come or gone; `last_s`: when the hub was last known to run."""
        if up:
            # Up twice: the program ended without a word and has begun again.
            self.deaf_s += now - (last_s if self.up else self.since_s)
        elif not self.up:
            return
        self.up, self.since_s = up, now


class Life(Struct):
    """What is known of how a device is."""

    conn: str = ""
    state: str = ""
    """Its own last word; `lost` is not."""
    guard_state: str = ""
    guard_silent: bool = False
    """The device speaks, and its guard does not."""
    lost_s: float | None = None
    """When the broker gave its connection up; None: it has not."""
    battery_percent: float | None = None
    heard_s: float | None = None
    deaf_s: float = 0.0
    """`Ears.deaf_s` when it was heard."""
    noted: bool = False
    """Its silence was told as news of another alert."""
    excused: bool = False
    """A person has called its silence over."""
    notice_s: float | None = None
    """When its silence was last told as a notice."""
    back_s: float | None = None
    """Since when it speaks again, while an alert of its silence is open."""
    steady_s: float = STEADY_S
    paged_end_s: float | None = None
    """When the last silence that somebody was paged for was over."""

    def state_came(self, item: StateCame) -> bool:
        """Learns from a state; returns whether it is a sign of life."""
        if item.state == "lost":
            if self.lost_s is None and (not self.conn or item.conn == self.conn):
                self.lost_s = item.now_s
            return False
        if (item.conn, item.state) == (self.conn, self.state) and self.lost_s is None:
            return False  # kept by the broker and told again to a hub that has just come
        self.conn, self.state, self.lost_s = item.conn, item.state, None
        if item.state == "disconnected":
            self.guard_state, self.guard_silent = "", False
        return True

    def heartbeat_came(self, item: HeartbeatCame) -> bool:
        """Learns from a heartbeat; returns whether it is a sign of life: of a guard that guards."""
        self.conn, self.lost_s = item.conn, None
        self.state = item.state or self.state
        if item.battery_percent is not None:
            self.battery_percent = item.battery_percent
        self.guard_silent = item.guard_state == "silent"
        if self.guard_silent and self.watched:
            return False
        self.guard_state = item.guard_state
        return True

    @property
    def watched(self) -> bool:
        """Whether somebody relies on it now, as far as it has told."""
        if self.state == "disconnected":
            return False
        return self.state == "walking" or self.guard_state in WATCHED_STATES

    @property
    def cause(self) -> str:
        """Why it is silent, as far as known: `guard`, `lost` or nothing."""
        return "guard" if self.guard_silent else "lost" if self.lost_s is not None else ""

    def due(self, ears: Ears, knobs: Silence) -> tuple[float, float]:
        """When it is noticed as silent, and when somebody is paged, if it is not heard before (`math.inf`: never)."""
        if self.heard_s is None:
            return math.inf, math.inf
        walking = self.state == "walking"
        notice_s = knobs.notice_after_s if walking else max(knobs.notice_after_s, SLOW_NOTICE_S)
        page_s = max(knobs.page_after_s, notice_s) if walking else max(knobs.page_after_s, SLOW_PAGE_S, notice_s)
        if not ears.up:
            return math.inf, max(ears.since_s, self.heard_s) + page_s
        from_s = self.heard_s + ears.deaf_s - self.deaf_s
        return from_s + notice_s, from_s + page_s
