"""A family to try the desk on: its contacts, one device, and a clock that goes from one thing due to the next."""

from __future__ import annotations

import json
import math
from typing import Any

from retrowalk.hub.alerts import Desk
from retrowalk.hub.facts import (
    Answered,
    Delivered,
    EventCame,
    HeartbeatCame,
    Item,
    LinkCame,
    NoteCame,
    Notify,
    Outcome,
    StateCame,
    Tick,
)
from retrowalk.hub.settings import Contact, Ladder, Silence

DEVICE = "home/rw-0001"
PRIORITIES = {
    "fall.suspected": "medium",
    "fall.risen": "medium",
    "battery.low": "medium",
    "sensor.lost": "medium",
    "balance.lost": "low",
    "balance.recovered": "low",
    "walk.started": "low",
}


class Family:
    """Feeds a desk and keeps what came of it.

    `cut`: the desk is put away and taken out again after every item.  `alive`: the device, which rests, is heard each
    minute, so that its silence is no news.
    """

    def __init__(self, *names: str, ladder: Ladder | None = None, cut: bool = False, alive: bool = False) -> None:
        self._contacts = [Contact(name=name) for name in names]
        self._ladder = ladder or Ladder()
        self._cut = cut
        self._beat_at = 0.0 if alive else math.inf
        self.desk = self._new()
        self.now = 0.0
        self.seq = 0
        self.outcomes: list[tuple[float, Outcome]] = []

    def _new(self) -> Desk:
        return Desk(self._contacts, self._ladder, Silence())

    def feed(self, item: Item) -> tuple[Outcome, ...]:
        """One item, now."""
        out = self.desk.feed(item)
        self.now = max(self.now, item.now_s)
        assert self.desk.deadline() > self.now
        self.outcomes += [(self.now, one) for one in out]
        if self._cut:
            kept, self.desk = json.loads(json.dumps(self.desk.state(), allow_nan=False)), self._new()
            self.desk.restore(kept)
        return out

    def until(self, at: float) -> None:
        """Time goes on to `at`, with everything that is due meanwhile."""
        while min(due := self.desk.deadline(), self._beat_at) <= at:
            if self._beat_at < due:
                self.feed(HeartbeatCame(now_s=self._beat_at, device=DEVICE, conn="c1", state="ready"))
                self._beat_at += 60.0
            else:
                self.feed(Tick(now_s=due))
        self.now = max(self.now, at)

    def event(self, at: float, type: str, seq: int | None = None, /, **data: Any) -> tuple[Outcome, ...]:
        """An event comes; `priority`, `id`, `epoch`, `session`, `historical` and the like are not its data."""
        self.until(at)
        self.seq = self.seq + 1 if seq is None else seq
        said: dict[str, Any] = {
            "epoch": "e1",
            "seq": self.seq,
            "id": f"i{self.seq}",
            "priority": PRIORITIES.get(type, "high"),
            "time": "2026-01-15T09:31:07.412Z",
            "clock": "ntp",
            "session": "s1",
            "historical": False,
        }
        said |= {key: data.pop(key) for key in list(data) if key in said}
        return self.feed(EventCame(now_s=at, device=DEVICE, type=type, data=data, **said))

    def backlog(self, at: float, *events: tuple[int, str, dict[str, Any]]) -> None:
        """Events of the past come in this order, each with its number."""
        for seq, kind, data in events:
            self.event(at, kind, seq, historical=True, **data)

    def walks(self, at: float, until: float, every_s: float = 15.0, state: str = "walking", conn: str = "c1") -> None:
        """The device speaks from `at` to `until`."""
        while at <= until:
            self.beat(at, state, conn)
            at += every_s

    def beat(self, at: float, state: str = "walking", conn: str = "c1", guard: str = "guarding") -> None:
        self.until(at)
        self.feed(HeartbeatCame(now_s=at, device=DEVICE, conn=conn, state=state, guard_state=guard, battery_percent=80))

    def state(self, at: float, state: str, conn: str = "c1") -> None:
        self.until(at)
        self.feed(StateCame(now_s=at, device=DEVICE, state=state, conn=conn))

    def answers(self, at: float, by: str, alert: int = 0, *, over: bool = False) -> tuple[Outcome, ...]:
        self.until(at)
        return self.feed(Answered(now_s=at, by=by, alert=alert, device=DEVICE, over=over))

    def unreached(self, notice: Notify, at: float | None = None) -> None:
        """No service of its contact took it."""
        at = self.now if at is None else at
        self.until(at)
        self.feed(Delivered(now_s=at, notice=notice.notice, ok=False))

    def taken(self, notice: Notify) -> None:
        self.feed(Delivered(now_s=self.now, notice=notice.notice, ok=True))

    def link(self, at: float, up: bool) -> None:
        self.until(at)
        self.feed(LinkCame(now_s=at, up=up))

    def noted(self, at: float, type: str, **data: Any) -> None:
        self.until(at)
        self.feed(NoteCame(now_s=at, device=DEVICE, type=type, data=data))

    def notices(self, since: float = -math.inf) -> list[Notify]:
        return [one for at, one in self.outcomes if isinstance(one, Notify) and at >= since]

    def told(self, since: float = -math.inf) -> list[tuple[float, str, str]]:
        """Who was told what, and when."""
        return [
            (round(at, 3), one.contact, one.why.value)
            for at, one in self.outcomes
            if isinstance(one, Notify) and at >= since
        ]
