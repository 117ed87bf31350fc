"""The outbox and its trouble: a disk that refuses is a fault, asked again after a while, and never an exception.

What is lost with it is told as an event, as soon as there is somewhere to keep it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from retrowalk import wire
from retrowalk.core.events import Priority
from retrowalk.courier.outbox import Outbox, Stamp
from retrowalk.courier.times import Times
from retrowalk.errors import OutboxError
from retrowalk.logs import about

OUTBOX_RETRY_S = 2.0
DAMAGE_TOLD_S = 30.0
"""A damaged outbox is a fault for as long: two heartbeats tell of it."""

OWN_SESSION = "courier-"
"""Sessions of events that the courier itself makes."""

DROPS_TOLD_S = 600.0
"""While events are given up, that is told again after so long; and once more when there is room."""

Commit = Callable[[wire.EventMessage, Stamp, float], object]

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
        self._drops_told_at = -math.inf

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
                failed = about("outbox.failed", part="outbox")
                _log.warning("%s; events stay with the guard", error, extra=failed)
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

    def age_s(self, event_id: str, now: float) -> float | None:
        """How long ago an event happened; None: not known."""
        found = None
        with self.caught(now):
            found = self.outbox.happened(event_id, now)
        if found is None:
            return None
        stamp, mono_s = found
        if stamp.boot_id == self._times.boot:
            return self._times.mono_s(now) - mono_s
        wall_s, quality = self._times.wall()
        return wall_s - stamp.wall_s if quality == stamp.clock == "ntp" else None

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
            self._report("outbox_damaged", outbox.damage, now)
        count = outbox.dropped_untold
        if count and self.ready(now) and (now >= self._drops_told_at + DROPS_TOLD_S or not outbox.full()):
            self._drops_told_at = now
            self._report("outbox_full", f"{count} events dropped, the least important first", now, outbox.commit_report)

    def record(self, kind: str, priority: str, data: dict[str, Any], now: float) -> None:
        """Keeps an event that the courier itself makes, of type `kind`, to be sent as the guard's are."""
        with self.caught(now):
            self._commit(kind, priority, data, now, self.outbox.commit)

    def _report(self, fault: str, detail: str, now: float, commit: Commit | None = None) -> None:
        data = {"part": "courier", "fault": fault, "detail": detail}
        with self.caught(now):
            self._commit("fault.raised", Priority.MEDIUM, data, now, commit or self.outbox.commit)

    def _commit(self, kind: str, priority: str, data: dict[str, Any], now: float, commit: Commit) -> None:
        session = f"{OWN_SESSION}{self.outbox.epoch}"
        number = self.outbox.committed(session, now) + 1
        event = wire.EventMessage(session, number, kind, priority, now, self._times.mono_s(now), None, data)
        commit(event, self._times.stamp(event, now), now)
        self.look_at = now
