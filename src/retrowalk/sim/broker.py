"""A broker that answers from a script, in virtual time: the exchange for `mqtt.PahoLink`."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from retrowalk import wire
from retrowalk.platform import (
    Acknowledged,
    Arrived,
    Clock,
    Connected,
    Disconnected,
    LinkEvent,
    no_wake,
)

Happening = Literal["connect", "cut", "hub up", "hub gone", "hub lost", "hub ack"] | LinkEvent


@dataclass(frozen=True, slots=True)
class Published:
    """A message that reached the broker, at session second `t`."""

    t: float
    topic: str
    payload: bytes
    retain: bool
    qos: int


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that somebody sends to the device at session second `t`."""

    t: float
    topic: str
    payload: bytes
    retained: bool = False


@dataclass(frozen=True, slots=True)
class Outage:
    """The broker cannot be reached from `start_s` to `end_s`."""

    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub at the broker: takes events and acknowledges them `ack_s` later, and tells that it is there.

    During `outages` it is gone: the broker says so `will_s` after each begins, keeps what comes meanwhile, and hands it
    over at the end.
    """

    site: str = "home"
    ack_s: float = 0.050
    will_s: float = 0.0
    outages: tuple[Outage, ...] = ()


class _HubEnd:
    """The hub's side of a `ScriptedLink`: what it has, and what the broker keeps of it."""

    def __init__(self, script: Hub) -> None:
        self.script = script
        self.up = False
        self.state = b""
        self.acks: dict[str, bytes] = {}
        """Retained, by topic."""
        self.ack_planned = False
        self._conn = 0
        self._queue: list[Published] = []
        self._has: dict[tuple[str, str], set[int]] = {}
        self._reached: dict[tuple[str, str], int] = {}
        self._latest: dict[str, str] = {}

    def say(self, up: bool) -> None:
        """It comes or goes."""
        self.up = up
        self._conn += up
        self.state = wire.encode(wire.HubState(state="up" if up else "lost", conn=f"hub-{self._conn}"))

    def hear(self, message: Published) -> bool:
        """A message that reached the broker; returns whether the hub took it."""
        self._queue.append(message)
        if self.up:
            self.work_off()
        return self.up

    def work_off(self) -> None:
        """Takes what the broker has for it."""
        for message in self._queue:
            root, _, leaf = message.topic.rpartition("/event/")
            if root:
                event = wire.decode(message.payload, wire.CloudEvent)
                self._has.setdefault((root, event.epoch), set()).add(event.seq)
                self._latest[root] = event.epoch
            elif message.topic.endswith("/heartbeat"):
                beat = wire.decode(message.payload, wire.Heartbeat)
                low = beat.seq_low if beat.seq_low is not None else (beat.seq_head or 0) + 1
                key = (message.topic.removesuffix("/heartbeat"), beat.epoch)
                self._reached[key] = max(self._reached.get(key, 0), low - 1)  # what has not come, will not come
        self._queue.clear()
        for root, epoch in self._latest.items():
            has = self._has.setdefault((root, epoch), set())
            reached = self._reached.get((root, epoch), 0)
            while reached + 1 in has:
                reached += 1
            self._reached[root, epoch] = reached
            has.difference_update([seq for seq in has if seq <= reached])
            beyond = sorted(has)[:100]
            self.acks[f"{root}/cmd/ack"] = wire.encode(wire.HubAck(epoch, reached, beyond))


def accept_all(topic: str) -> int | None:
    """The broker's answer to a publish: 0, success."""
    return 0


class ScriptedLink:
    """A `BrokerLink` whose other end is a script.

    Connects `connect_s` after it is asked to (or after an outage) and answers each message `answer_s` later with
    what `answer(topic)` gives: a reason code, or None for no answer at all.  Like paho it keeps what was not answered
    when the connection ends, and sends it again on the next.  `hub`: who acknowledges events; None: nobody.
    `published` has everything that reached the broker, duplicates included.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        connect_s: float = 0.050,
        answer_s: float = 0.020,
        outages: Sequence[Outage] = (),
        incoming: Sequence[Incoming] = (),
        answer: Callable[[str], int | None] = accept_all,
        hub: Hub | None = None,
    ) -> None:
        self.wake: Callable[[], None] = no_wake
        self.published: list[Published] = []
        self.will: tuple[str, bytes] | None = None
        self.subscriptions: tuple[str, ...] = ()
        self.connections = 0
        """How often the connection was made."""
        self.stopped = False
        """Whether it was ended cleanly, so that the will was not sent."""
        self._clock = clock
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._outages = tuple(sorted(outages, key=lambda outage: outage.start_s))
        self._answer = answer
        self._connected = False
        self._started = False
        self._serial = itertools.count(1)
        self._unanswered: dict[int, Published] = {}
        self._hub = _HubEnd(hub) if hub is not None else None
        self._agenda: list[tuple[float, int, Happening]] = []
        for outage in self._outages:
            self._plan(outage.start_s, "cut")
        for message in incoming:
            self._plan(message.t, Arrived(message.topic, message.payload, message.retained))

        if hub is not None:
            self._plan(0.0, "hub up")
            for outage in hub.outages:
                self._plan(outage.start_s, "hub gone")
                self._plan(outage.start_s + hub.will_s, "hub lost")
                self._plan(outage.end_s, "hub up")

    def start(self, will_topic: str, will_payload: bytes, subscriptions: Sequence[str]) -> None:
        self.will = (will_topic, will_payload)
        self.subscriptions = tuple(subscriptions)
        self.stopped = False
        if not self._started:
            self._started = True
            self._plan_connection(self._clock.now())

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, expiry_s: int | None = None
    ) -> int:
        token = next(self._serial)
        message = Published(self._clock.now(), topic, payload, retain, qos)
        if qos > 0:
            self._unanswered[token] = message
        if self._connected:
            self._reach(token, message)
        return token

    def deliver(self, topic: str, payload: bytes, retained: bool = False) -> None:
        """Somebody sends a message to the device now."""
        self._plan(self._clock.now(), Arrived(topic, payload, retained))
        self.wake()

    def handled(self, token: int) -> None:
        pass  # this broker forgets at once

    def events(self, now: float) -> list[LinkEvent]:
        happened: list[LinkEvent] = []
        while self._agenda and self._agenda[0][0] <= now:
            t, _, what = heapq.heappop(self._agenda)
            if what == "connect":
                happened.extend(self._connect(t))
            elif what == "cut":
                if self._connected:
                    self._connected = False
                    happened.append(Disconnected("the broker cannot be reached"))
                    self._plan_connection(t)
            elif isinstance(what, str):
                happened.extend(self._hub_does(what, t))
            elif isinstance(what, Acknowledged):
                if self._connected and self._unanswered.pop(what.token, None) is not None:
                    happened.append(what)
            elif self._connected:
                happened.append(what)
        return happened

    def next_due(self, now: float) -> float:
        return self._agenda[0][0] if self._agenda else math.inf

    def stop(self) -> None:
        self._started = False
        self._connected = False
        self.stopped = True
        self._unanswered.clear()

    def _connect(self, t: float) -> list[LinkEvent]:
        if not self._started or self._connected:
            return []
        self._connected = True
        self.connections += 1
        for token, message in list(self._unanswered.items()):
            self._reach(token, Published(t, message.topic, message.payload, message.retain, message.qos))
        kept: list[LinkEvent] = []
        if self._hub is not None:
            if self._hub.state:
                kept.append(Arrived(wire.hub_topic(self._hub.script.site), self._hub.state, True))
            kept += [Arrived(topic, payload, True) for topic, payload in self._hub.acks.items()]
        return [Connected(), *kept]

    def _hub_does(self, what: str, t: float) -> list[LinkEvent]:
        hub = self._hub
        assert hub is not None
        if what == "hub gone":
            hub.up = False
            return []
        if what == "hub ack":
            hub.ack_planned = False
            if not hub.up or not self._connected:
                return []
            return [Arrived(topic, payload, False) for topic, payload in hub.acks.items()]
        hub.say(what == "hub up")
        if hub.up:
            hub.work_off()
            self._plan_ack(t)
        return [Arrived(wire.hub_topic(hub.script.site), hub.state, False)] if self._connected else []

    def _plan_ack(self, t: float) -> None:
        assert self._hub is not None
        if not self._hub.ack_planned:
            self._hub.ack_planned = True
            self._plan(t + self._hub.script.ack_s, "hub ack")

    def _reach(self, token: int, message: Published) -> None:
        self.published.append(message)
        code = self._answer(message.topic)
        if self._hub is not None and (code is None or code < 0x80) and self._hub.hear(message):
            self._plan_ack(message.t)
        if message.qos > 0 and code is not None:
            self._plan(message.t + self._answer_s, Acknowledged(token, code))

    def _plan_connection(self, t: float) -> None:
        at = t + self._connect_s
        for outage in self._outages:
            if outage.start_s <= at and t < outage.end_s:
                t, at = outage.end_s, outage.end_s + self._connect_s
        self._plan(at, "connect")

    def _plan(self, t: float, what: Happening) -> None:
        heapq.heappush(self._agenda, (t, next(self._serial), what))
