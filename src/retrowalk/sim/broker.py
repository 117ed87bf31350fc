"""A broker that answers from a script, in virtual time: the exchange for `mqtt.PahoLink`."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from retrowalk.platform import (
    Acknowledged,
    Arrived,
    Clock,
    Connected,
    Disconnected,
    LinkEvent,
    no_wake,
)


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


def accept_all(topic: str) -> int | None:
    """The broker's answer to a publish: 0, success."""
    return 0


class ScriptedLink:
    """A `BrokerLink` whose other end is a script.

    Connects `connect_s` after it is asked to (or after an outage) and answers each message `answer_s` later with
    what `answer(topic)` gives: a reason code, or None for no answer at all.  Like paho it keeps what was not answered
    when the connection ends, and sends it again on the next.  `published` has everything that reached the broker,
    duplicates included.
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
        self._agenda: list[tuple[float, int, Literal["connect", "cut"] | LinkEvent]] = []
        for outage in self._outages:
            self._plan(outage.start_s, "cut")
        for message in incoming:
            self._plan(message.t, Arrived(message.topic, message.payload, message.retained))

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
        return [Connected()]

    def _reach(self, token: int, message: Published) -> None:
        self.published.append(message)
        code = self._answer(message.topic)
        if message.qos > 0 and code is not None:
            self._plan(message.t + self._answer_s, Acknowledged(token, code))

    def _plan_connection(self, t: float) -> None:
        at = t + self._connect_s
        for outage in self._outages:
            if outage.start_s <= at and t < outage.end_s:
                t, at = outage.end_s, outage.end_s + self._connect_s
        self._plan(at, "connect")

    def _plan(self, t: float, what: Literal["connect", "cut"] | LinkEvent) -> None:
        heapq.heappush(self._agenda, (t, next(self._serial), what))
