"""The outbox and its trouble: a disk that refuses is a fault, asked again after a while, and never an exception.

What is lost with it is told as an event, as soon as there is somewhere to keep it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from retrowalk import wire
from retrowalk.core.events import Priority
from retrowalk.courier.outbox import Outbox
from retrowalk.courier.times import Times
from retrowalk.errors import OutboxError

OUTBOX_RETRY_S = 2.0
DAMAGE_TOLD_S = 30.0
"""A damaged outbox is a fault for as long: two heartbeats tell of it."""

OWN_SESSION = "courier-"
"""Sessions of events that the courier itself makes."""

_log = logging.getLogger(__name__)


class Store:
    """The courier's `outbox`, when it may be asked again and when something may wait in it."""

    def __init__(self, outbox: Outbox, times: Times) -> None:
        self.outbox = outbox
        self.retry_at = -math.inf
        self.look_at = -math.inf
        """When an event may be due to be sent."""
        self._times = times
        self._failing = False
        self._damage_seen = outbox.damaged
        self._damage_until = -math.inf
        self._dropped_seen = outbox.dropped
        self._dropping = False

    def ready(self, now: float) -> bool:
        """Whether the outbox may be asked again."""
        return now >= self.retry_at

    def fault(self, now: float) -> bool:
        """Whether the outbox fails, or was found damaged a short while ago."""
        return self._failing or now < self._damage_until

    @contextmanager
    def caught(self, now: float) -> Iterator[None]:
        """Ends what is done inside when the outbox raises `OutboxError`, which becomes a fault."""
        try:
            yield
        except OutboxError as error:
            if not self._failing:
                _log.warning("%s; events stay with the guard", error)
            self._failing = True
            self.retry_at = now + OUTBOX_RETRY_S

    def works(self, now: float) -> None:
        """Something was written: it works (again), and there may be something to send."""
        self._failing = False
        self.look_at = now

    def keep(self, key: str, value: bytes, now: float) -> None:
        """Keeps a value for the next courier, if the disk takes it."""
        with self.caught(now):
            self.outbox.keep(key, value, now)

    def watch(self, alerts: Callable[[], bytes], now: float) -> None:
        """Loss is an event too: a damaged file, events given up because there were too many.

        `alerts` is what is kept as such anyway: to write it is how a failing outbox is tried.
        """
        outbox = self.outbox
        if self._failing and self.ready(now):
            with self.caught(now):
                outbox.keep("alerts", alerts(), now)  # a write is the only proof
                self.works(now)
        if outbox.damaged != self._damage_seen:
            self._damage_seen = outbox.damaged
            self._damage_until = now + DAMAGE_TOLD_S
            self._report("outbox_damaged", "its file was moved aside, a new epoch began", now)
        if outbox.dropped > self._dropped_seen and not self._dropping:
            self._dropping = True
            self._report("outbox_full", f"{outbox.dropped - self._dropped_seen} unimportant events dropped", now)
        if self._dropping and not outbox.full():
            self._dropping = False
            self._dropped_seen = outbox.dropped

    def _report(self, fault: str, detail: str, now: float) -> None:
        session = f"{OWN_SESSION}{self.outbox.epoch}"
        with self.caught(now):
            number = self.outbox.committed(session, now) + 1
            mono_s = self._times.mono_s(now)
            data = {"part": "courier", "fault": fault, "detail": detail}
            event = wire.EventMessage(session, number, "fault.raised", Priority.MEDIUM, now, mono_s, None, data)
            self.outbox.commit(event, self._times.stamp(event, now), now)
            self.look_at = now
