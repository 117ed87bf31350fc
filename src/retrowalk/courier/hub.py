"""Whether a hub decides what is delivered, and whether it is there.

Without a hub the broker's word is all there is.  Once one was heard of, nothing is delivered before it says so.
"""

from __future__ import annotations

import math

from retrowalk import wire
from retrowalk.courier.store import Store
from retrowalk.errors import WireError

ASKED_S = 2.0
"""After a new connection the broker tells within this time what it keeps of the hub."""

ACK_LATE_S = 20.0
"""A hub that has not said for longer that it has what the broker took: the caregiver is not reached."""

KEPT = "hub"


class HubWatch:
    """What the courier knows of its hub.  `mode` is `broker.hub`: `auto`, `required` or `none`."""

    def __init__(self, mode: str, store: Store) -> None:
        self._mode = mode
        self._store = store
        self._known = False
        self._loaded = False
        self._to_keep = False
        self._up = False
        self._gone = False
        self._conn = ""
        self._asked_at = math.inf
        self._waits_since: float | None = None

    @property
    def decides(self) -> bool:
        """Whether an event is delivered only when the hub has it."""
        return self._mode == "required" or (self._mode == "auto" and self._known)

    @property
    def gone(self) -> bool:
        """Whether the hub has said that it goes, or the broker that it is lost: it will say when it is back."""
        return self.decides and self._gone

    def word(self, connected: bool) -> str:
        """For `wire.CourierBeat.hub`."""
        if not self.decides:
            return ""
        return "up" if connected and self._up else "away"

    def fault(self, now: float) -> bool:
        """Whether it has kept silent for too long about what the broker took for it."""
        return self._waits_since is not None and now >= self._waits_since + ACK_LATE_S

    def poll(self, now: float) -> None:
        """Reads once what an earlier courier knew, and keeps what this one learnt."""
        if not self._loaded and self._store.ready(now):
            with self._store.caught(now):
                self._known = self._store.outbox.kept(KEPT, now) is not None or self._known
                self._loaded = True
        if self._to_keep and self._loaded and self._store.ready(now):
            with self._store.caught(now):
                self._store.outbox.keep(KEPT, b"1", now)
                self._to_keep = False
        if now >= self._asked_at + ASKED_S:
            self._asked_at = math.inf
            self._up = False

    def due(self) -> float:
        """When `poll` has something to do."""
        return self._asked_at + ASKED_S

    def connected(self, now: float) -> None:
        """A new connection: what it was before may have changed."""
        self._asked_at = now

    def hear_state(self, payload: bytes, now: float) -> bool:
        """The hub tells of itself, or the broker of it; returns whether that could be read."""
        try:
            told = wire.decode(payload, wire.HubState)
        except WireError:
            return False
        if told.state not in ("up", "down", "lost"):
            return False
        self._heard_of()
        up = told.state == "up"
        if not up and told.conn != self._conn and self._conn and self._up and self._asked_at == math.inf:
            return True  # the late will of an old connection of the hub
        returned = up and (not self._up or told.conn != self._conn)
        self._up, self._gone, self._conn, self._asked_at = up, not up, told.conn, math.inf
        if returned:
            self._returned(now)
        return True

    def hear_ack(self, retained: bool, now: float) -> None:
        """A believable acknowledgement came; `retained`: perhaps long ago."""
        self._heard_of()
        if not retained and not self._up:
            self._up, self._gone, self._asked_at = True, False, math.inf
            self._returned(now)

    def waits(self, at_broker: int, progress: bool, now: float) -> None:
        """So many events are with the broker and not yet with the hub; `progress`: it has just taken some."""
        if not at_broker or not self.decides:
            self._waits_since = None
        elif self._waits_since is None or progress:
            self._waits_since = now

    def _heard_of(self) -> None:
        if not self._known:
            self._known = True
            self._to_keep = self._mode == "auto"

    def _returned(self, now: float) -> None:
        with self._store.caught(now):
            self._store.outbox.hub_returned(now)
            self._store.look_at = now
