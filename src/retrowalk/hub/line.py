"""The hub's connection for one site: each site has one of its own, because a connection has one will.

While it is there, `<site>/hub/state` (retained) says whether somebody watches; when it breaks, the broker says `lost`.
An old connection's will that comes late, or another hub's farewell, is said over again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from typing import Any

from retrowalk import wire
from retrowalk.errors import LinkError
from retrowalk.hub import arrivals
from retrowalk.logs import about
from retrowalk.platform import Acknowledged, Arrived, BrokerLink, Connected, Disconnected

SAY_AGAIN_S = 1.0
"""Two hubs that contradict each other do it no more often."""

_log = logging.getLogger(__name__)


class Line:
    """One site's `link`.  `rng` makes the names of the connections."""

    def __init__(self, site: str, link: BrokerLink, rng: random.Random) -> None:
        self.site = site
        self.link = link
        self.connected = False
        self.refused: set[str] = set()
        """Topics that the broker does not take from this hub."""
        self._rng = rng
        self._conn = ""
        self._word = ""
        self._told_at = -1e300
        self._contradicted = False
        self._topics: dict[int, str] = {}

    def begin(self) -> None:
        """Begins a connection, or gives the next one a name and a will of its own."""
        self._conn = f"{self._rng.getrandbits(48):012x}"
        root = wire.topic_root(self.site, "+")
        heard = (f"{root}/event/#", f"{root}/state", f"{root}/heartbeat")
        try:
            self.link.start(wire.hub_topic(self.site), self._payload("lost"), heard)
        except LinkError as error:
            _log.warning("%s", error)

    def read(self, word: str, now: float) -> Iterator[Connected | Disconnected | Arrived]:
        """What happened; `word` (`up`, `down`) is what this hub says of itself."""
        for event in self.link.events(now):
            match event:
                case Connected():
                    _log.info("connected to the broker for %s", self.site, extra=about("broker.connected"))
                    self.connected = True
                    self._word = ""
                    yield event
                case Disconnected(reason):
                    if self.connected:
                        lost = about("broker.lost")
                        _log.warning("connection to the broker for %s lost: %s", self.site, reason, extra=lost)
                        self.connected = False
                        self._topics.clear()
                        self.begin()
                        yield event
                case Acknowledged(token, code):
                    self._on_answer(token, code)
                case Arrived():
                    if event.topic == wire.hub_topic(self.site):
                        said = arrivals.hub_state(event.payload)
                        self._contradicted = said is None or (said.state != self._word and said.state != "up")
                        self.link.handled(event.token)
                    else:
                        yield event
        if self.connected and (word != self._word or (self._contradicted and now >= self._told_at + SAY_AGAIN_S)):
            self.say(word, now)

    def say(self, word: str, now: float) -> int:
        """Says how this hub is; returns the message's token."""
        self._word, self._told_at, self._contradicted = word, now, False
        return self.publish(wire.hub_topic(self.site), self._payload(word), retain=True)

    def waits_for(self, token: int) -> bool:
        """Whether the answer to a message of `publish` is still to come."""
        return self.connected and token in self._topics

    def due(self, now: float) -> Sequence[float]:
        """When there may be something to do."""
        again = [self._told_at + SAY_AGAIN_S] if self.connected and self._contradicted else []
        return [self.link.next_due(now), *again]

    def publish(self, topic: str, payload: bytes, **how: Any) -> int:
        """Hands a message to the broker; a refusal is logged once and shown."""
        token = self.link.publish(topic, payload, **how)
        self._topics[token] = topic
        while len(self._topics) > 1000:  # never answered
            del self._topics[next(iter(self._topics))]
        return token

    def _on_answer(self, token: int, code: int) -> None:
        topic = self._topics.pop(token, "")
        if code < 0x80:
            self.refused.discard(topic)
        elif topic and topic not in self.refused and len(self.refused) < 100:
            self.refused.add(topic)
            _log.warning("the broker refused %s: reason code 0x%02x", topic, code)

    def _payload(self, word: str) -> bytes:
        return wire.encode(wire.HubState(state=word, conn=self._conn))
