"""The way to the broker: the connection, events on their way, and what the broker answered.

Events go out highest priority first, a bounded number at a time, and again under their id until there is an answer.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import msgspec

from retrowalk import wire
from retrowalk.config import Device
from retrowalk.courier.hub import HubWatch
from retrowalk.courier.outbox import ANSWER_LIMIT_S, Row
from retrowalk.courier.store import Store
from retrowalk.courier.times import Times, timestamp
from retrowalk.errors import LinkError
from retrowalk.logs import about
from retrowalk.platform import Acknowledged, Arrived, BrokerLink, Connected, Disconnected

WINDOW = 20
"""Events on their way to the broker at one time: what paho sends without waiting."""

URGENT = 4
"""Of these, so many places are for events of high priority alone."""

UNHEARD = 0x10
"""The broker's answer when nobody listens: no person will see it."""

REFUSED_S = 450.0
"""What was refused, and never tried again for so long, is gone from the outbox."""

BROKER_FAULT_S = 5.0
"""Without a connection for longer, messages are down."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """An event on its way."""

    seq: int
    epoch: str
    session: str
    topic: str
    at_s: float
    first_s: float
    """When this message was handed over; it may have been sent again on another connection since."""


class Uplink:
    """The link to the broker, if there is one (`link`).  `rng` makes the connection ids."""

    def __init__(
        self,
        device: Device,
        link: BrokerLink | None,
        store: Store,
        times: Times,
        hub: HubWatch,
        rng: random.Random,
    ) -> None:
        self.root = wire.topic_root(device.site, device.name)
        self.connected = False
        self.conn = ""
        """Name of this connection, in its will and in what is published on it."""
        self.done: list[Sent] = []
        """Events that the broker has, not yet taken out of the outbox."""
        self.hub_topic = wire.hub_topic(device.site)
        self._device = device
        self._hub = hub
        self._link = link
        self._store = store
        self._times = times
        self._rng = rng
        self._down_since: float | None = None
        self._refused: dict[str, float] = {}
        self._inflight: dict[int, Sent] = {}
        self._late: dict[int, Sent] = {}
        self._other: dict[int, str] = {}
        self._overdue_rounds = 0

    def begin(self, now: float) -> None:
        """Asks for the first connection, once."""
        if self._down_since is None:
            self._down_since = now
            self._connect()

    def stop(self) -> None:
        """Ends the connection cleanly, so that its will is not sent."""
        if self._link is not None:
            self._link.stop()

    def fault(self, now: float) -> bool:
        """Whether messages are down: no broker, none for a while, or one that refuses or does not answer."""
        down_s = now - self._down_since if self._down_since is not None else 0.0
        unanswered = any(now >= sent.first_s + ANSWER_LIMIT_S for sent in self._inflight.values())
        refused = bool(self._refused) or unanswered
        return self._link is None or refused or (not self.connected and down_s >= BROKER_FAULT_S)

    def connects(self, now: float) -> bool:
        """Whether a connection is on its way, as far as anybody can hope."""
        down_s = now - self._down_since if self._down_since is not None else 0.0
        return self._link is not None and not self.connected and down_s < BROKER_FAULT_S

    def due(self, now: float) -> list[float]:
        """When there may be something to do; after `begin`."""
        assert self._down_since is not None
        due = [self._link.next_due(now)] if self._link is not None else []
        if not self.connected and now < self._down_since + BROKER_FAULT_S:
            due.append(self._down_since + BROKER_FAULT_S)
        if self.connected:
            due += [sent.at_s + ANSWER_LIMIT_S for sent in self._inflight.values()]
            if len(self._inflight) < WINDOW:
                due.append(max(self._store.look_at, self._store.retry_at))
        return due

    def waits_for(self, token: int | None) -> bool:
        """Whether the answer to a message of `publish`, or to any event, is still to come."""
        return token in self._other or bool(self._inflight)

    # ------------------------------------------------------------------------------------------ connection

    def _connect(self) -> None:
        """Begins a connection, or gives the next one a name and a will of its own."""
        if self._link is None:
            return
        self.conn = f"{self._rng.getrandbits(48):012x}"
        will = wire.encode(wire.DeviceState(state="lost", conn=self.conn, boot=self._times.boot))
        try:
            topics = (f"{self.root}/cmd/#", f"{self.root}/state", self.hub_topic)
            self._link.start(f"{self.root}/state", will, topics)
        except LinkError as error:
            _log.warning("%s", error)

    def read(self, now: float) -> Iterator[Connected | Arrived]:
        """Handles what happened on the link; yields what concerns others, too."""
        if self._link is None:
            return
        for event in self._link.events(now):
            match event:
                case Connected():
                    self._on_connected(now)
                    yield event
                case Disconnected(reason):
                    self._on_disconnected(reason, now)
                case Acknowledged(token, code):
                    self._on_answer(token, code, now)
                case Arrived():
                    yield event

    def _on_connected(self, now: float) -> None:
        if not self.connected:
            _log.info("connected to the broker", extra=about("broker.connected"))
        self.connected = True
        self._store.look_at = now
        # The link itself sends again what it has not seen answered; everything else is pending at once.
        self._inflight = {token: replace(sent, at_s=now) for token, sent in self._inflight.items()}
        with self._store.caught(now):
            self._store.outbox.forget_attempts(now)
            epoch = self._store.outbox.epoch
            on_their_way = [sent.seq for sent in self._inflight.values() if sent.epoch == epoch]
            self._store.outbox.mark_sent(on_their_way, now)

    def _on_disconnected(self, reason: str, now: float) -> None:
        if self.connected:
            _log.warning("connection to the broker lost: %s", reason, extra=about("broker.lost"))
            self.connected = False
            self._down_since = now
            # A will that comes late must not be taken for the next connection's.
            self._connect()

    def _on_answer(self, token: int, code: int, now: float) -> None:
        sent = self._inflight.pop(token, None) or self._late.pop(token, None)
        topic = sent.topic if sent else self._other.pop(token, "")
        self._overdue_rounds = 0
        self._store.look_at = min(self._store.look_at, now)  # there is room for others
        if code < 0x80 and not (sent and code == UNHEARD and not self._hub.decides):
            self._refused.pop(topic, None)
            if sent:
                self.done.append(sent)
            return
        if topic not in self._refused:
            _log.warning(
                "the broker %s %s: reason code 0x%02x", "refused" if code >= 0x80 else "has nobody for", topic, code
            )
        self._refused[topic] = now
        if sent and sent.epoch == self._store.outbox.epoch:
            with self._store.caught(now):
                self._store.outbox.refused(sent.seq, now)

    def overdue(self, now: float) -> None:
        """A message without an answer is sent again under its id; if that too stays unanswered, connect anew."""
        events = f"{self.root}/event/"
        for topic, at_s in list(self._refused.items()):
            if topic.startswith(events) and now >= at_s + REFUSED_S:
                del self._refused[topic]
        late = [token for token, sent in self._inflight.items() if now >= sent.at_s + ANSWER_LIMIT_S]
        if not late or not self.connected:
            return
        for token in late:
            self._late[token] = sent = self._inflight.pop(token)
            self._refused[sent.topic] = now
        while len(self._late) > 10 * WINDOW:
            del self._late[next(iter(self._late))]
        self._store.look_at = now
        self._overdue_rounds += 1
        if self._overdue_rounds >= 2 and self._link is not None:
            _log.warning("the broker takes messages and never answers: connecting anew")
            self._overdue_rounds = 0
            self._link.stop()
            self._inflight.clear()
            self._late.clear()
            self._other.clear()
            self.connected = False
            self._down_since = now
            self._connect()

    # --------------------------------------------------------------------------------------------- sending

    def send(self, now: float) -> None:
        """Hands events to the broker: highest priority first, a bounded number at a time."""
        store = self._store
        free = WINDOW - len(self._inflight)
        if self._link is None or not self.connected or not free or now < max(store.look_at, store.retry_at):
            return
        with store.caught(now):
            found = store.outbox.pending(free, now)
            # A window full of messages that nobody answers must not hold up a fall.
            rows = [row for place, row in enumerate(found) if place < free - URGENT or row.urgent]
            store.outbox.mark_sent([row.seq for row in rows], now)
            if len(found) < free:
                next_try = store.outbox.next_try(now)
                store.look_at = math.inf if next_try is None else next_try
            elif len(rows) < len(found) or not rows:
                store.look_at = math.inf  # until there is an answer, or something new
            for row in rows:
                topic = f"{self.root}/event/{row.type}"
                token = self._link.publish(topic, self._envelope(row, now))
                self._inflight[token] = Sent(row.seq, store.outbox.epoch, row.session, topic, now, now)

    def _envelope(self, row: Row, now: float) -> bytes:
        time_s, quality, historical = self._times.of(row, now)
        return wire.encode(
            wire.CloudEvent(
                id=row.id,
                source=f"retrowalk:{self._device.site}/{self._device.name}",
                type=f"io.retrowalk.{row.type}",
                time=timestamp(time_s),
                priority=row.priority,
                eventtype=row.type,
                epoch=self._store.outbox.epoch,
                seq=row.seq,
                bootid=row.stamp.boot_id,
                monoms=round(row.mono_s * 1000),
                clock=quality,
                session=row.session,
                historical=historical,
                data=msgspec.json.decode(row.data),
            )
        )

    def publish(self, leaf: str, payload: bytes) -> int:
        """Sends what a late comer must see, to stay at the broker; needs a connection."""
        assert self._link is not None
        topic = f"{self.root}/{leaf}"
        token = self._link.publish(topic, payload, retain=True)
        self._other[token] = topic
        while len(self._other) > 100:  # never answered
            del self._other[next(iter(self._other))]
        return token

    def mention(self, leaf: str, payload: bytes) -> None:
        """Sends what may be lost; needs a connection."""
        assert self._link is not None
        self._link.publish(f"{self.root}/{leaf}", payload, qos=0)
