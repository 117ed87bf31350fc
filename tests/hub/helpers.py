"""What the hub's tests share: a hub in virtual time, with a broker from a script and a notifier that writes down."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from retrowalk import wire
from retrowalk.hub import facts
from retrowalk.hub.alerts import Desk
from retrowalk.hub.engine import Hub
from retrowalk.hub.settings import Contact, HubConfig
from retrowalk.hub.store import Store
from retrowalk.hub.times import HubTime
from retrowalk.platform import Arrived, LinkEvent, no_wake
from retrowalk.sim.broker import Published, ScriptedLink
from retrowalk.sim.scheduler import Scheduler, VirtualClock

ROOT = "retrowalk/v1/home/rw-0001"
SETTINGS = HubConfig(contact=(Contact(name="Anna"), Contact(name="Ben")))
PRIORITIES = {"fall.confirmed": "high", "sos.raised": "high", "fall.cancelled": "high", "fall.suspected": "medium"}


def event(seq: int, kind: str = "hazard.raised", *, epoch: str = "e1", **changes: Any) -> dict[str, Any]:
    """An event as a device sends it."""
    return {
        "specversion": "1.0",
        "id": f"{epoch}-{seq}",
        "source": "retrowalk:home/rw-0001",
        "type": f"io.retrowalk.{kind}",
        "time": "2027-01-15T08:00:00.000Z",
        "datacontenttype": "application/json",
        "priority": PRIORITIES.get(kind, "none"),
        "eventtype": kind,
        "epoch": epoch,
        "seq": seq,
        "bootid": "boot-1",
        "monoms": 1000 * seq,
        "clock": "ntp",
        "session": "s1",
        "historical": False,
        "data": {"fall": 1} if kind.startswith("fall") else {},
    } | changes


def heartbeat(**changes: Any) -> dict[str, Any]:
    """A sign of life as a device sends it."""
    return {
        "conn": "c1",
        "state": "walking",
        "boot": "boot-1",
        "time": "2027-01-15T08:00:00.000Z",
        "monoms": 1000,
        "clock": "ntp",
        "epoch": "e1",
        "seq_head": None,
        "seq_low": None,
        "outbox_depth": 0,
        "dropped": 0,
        "battery_percent": 80.0,
        "guard_state": "guarding",
        "faults": [],
    } | changes


class ConfirmedLink(ScriptedLink):
    """A scripted broker that keeps what it sent until it is handled, and sends it again on the next connection."""

    def __init__(self, clock: VirtualClock, **script: Any) -> None:
        super().__init__(clock, **script)
        self.unhandled: dict[int, Arrived] = {}
        self._tokens = itertools.count(1)

    def events(self, now: float) -> list[LinkEvent]:
        found: list[LinkEvent] = []
        for item in super().events(now):
            if isinstance(item, Arrived) and not item.topic.endswith("/heartbeat"):
                item = Arrived(item.topic, item.payload, item.retained, next(self._tokens))
                self.unhandled[item.token] = item
            found.append(item)
        return found

    def handled(self, token: int) -> None:
        self.unhandled.pop(token, None)


class Scribe:
    """A notifier that keeps what it is given; `take` says that the rest was taken."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] = no_wake
        self.now: Callable[[], float] | None = None
        self.sent: list[facts.Notify] = []
        self.voided: list[int] = []
        self.closed = False
        self._results: list[tuple[int, bool, str]] = []
        self._answers: list[tuple[str, int, bool, str, str]] = []

    def send(self, notice: facts.Notify) -> None:
        self.sent.append(notice)

    def void(self, notice: int) -> None:
        self.voided.append(notice)

    def result(self, notice: int, ok: bool, detail: str = "") -> None:
        self._results.append((notice, ok, detail))
        self.wake()

    def answer(self, by: str, alert: int, *, over: bool = False, via: str = "ntfy", say: str = "") -> None:
        self._answers.append((by, alert, over, via, say))
        self.wake()

    def results(self) -> list[tuple[int, bool, str]]:
        found, self._results = self._results, []
        return found

    def alive(self) -> bool:
        return True

    def attempts(self) -> list[tuple[int, str, str, bool, str, float]]:
        return []

    def answers(self) -> list[tuple[str, int, bool, str, str]]:
        found, self._answers = self._answers, []
        return found

    def close(self) -> None:
        self.closed = True


class Ward:
    """A hub in virtual time.  `boot` and the clock of another one go on where that one ended."""

    def __init__(
        self,
        directory: Path,
        *,
        settings: HubConfig = SETTINGS,
        clock: VirtualClock | None = None,
        boot: str = "boot-h",
        store: Store | None = None,
        desk: Any = None,
        **script: Any,
    ) -> None:
        self.directory = directory
        self.clock = clock or VirtualClock(wall_origin_s=1_800_000_000.0)
        self.scheduler = Scheduler(self.clock)
        self.links = {site: ConfirmedLink(self.clock, **script) for site in settings.hub.sites}
        self.link = next(iter(self.links.values()))
        self.notifier = Scribe()
        self.store = store or Store(directory / "hub.db", rng=random.Random(1))
        self.times = HubTime(boot, None, boottime=self.clock.now, wall=self.clock.wall_s)
        self.desk = desk or Desk(settings.contact, settings.ladder, settings.silence)
        self.hub = Hub(
            settings,
            self.store,
            self.desk,
            self.notifier,
            self.links,
            self.clock,
            self.times,
            rng=random.Random(2),
        )
        self.scheduler.add(self.hub)
        self.run(0.5)

    def run(self, seconds: float) -> None:
        self.scheduler.run_until(self.clock.now() + seconds)

    def send(self, *events: dict[str, Any], device: str = "home/rw-0001") -> None:
        """The device's events arrive now."""
        for item in events:
            topic = f"retrowalk/v1/{device}/event/{item['eventtype']}"
            self.links[device.partition("/")[0]].deliver(topic, wire.encode(item))

    def beat(self, *, device: str = "home/rw-0001", **changes: Any) -> None:
        """A sign of life arrives now."""
        topic = f"retrowalk/v1/{device}/heartbeat"
        self.links[device.partition("/")[0]].deliver(topic, wire.encode(heartbeat(**changes)))

    def state(self, word: str, conn: str = "c1", *, retained: bool = False) -> None:
        """The device, or the broker for it, says how it is."""
        payload = wire.encode({"state": word, "conn": conn, "boot": "boot-1"})
        self.link.deliver(f"{ROOT}/state", payload, retained)

    def kill(self) -> None:
        """As kill -9: files are left as they are."""
        self.scheduler.remove(self.hub)
        self.store.close()

    def published(self, leaf: str) -> list[Published]:
        """What reached the broker for the device, below `leaf`."""
        return [message for message in self.link.published if message.topic == f"{ROOT}/{leaf}"]

    def acks(self) -> list[dict[str, Any]]:
        """Every acknowledgement, in order."""
        return [json.loads(message.payload) for message in self.published("cmd/ack")]

    def words(self, site: str = "home") -> list[str]:
        """What the hub said of itself, in order."""
        topic = wire.hub_topic(site)
        published = self.links[site].published
        return [json.loads(message.payload)["state"] for message in published if message.topic == topic]

    def rows(self, query: str, *values: object) -> list[Any]:
        """What lies in the store."""
        import sqlite3

        with sqlite3.connect(self.directory / "hub.db") as db:
            found = db.execute(query, values).fetchall()
        db.close()
        return found

    def told(self) -> Sequence[tuple[str, str, str]]:
        """Contact, reason and type of event of every notice handed over."""
        return [(notice.contact, notice.why.value, notice.alert.event_type) for notice in self.notifier.sent]
