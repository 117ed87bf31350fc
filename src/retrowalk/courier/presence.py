"""What the world sees of the device at any time: retained state and alert, and the heartbeat."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from retrowalk import wire
from retrowalk.core.alerts import COURIER_PARTS
from retrowalk.core.events import GuardState, Priority
from retrowalk.courier.store import Store
from retrowalk.courier.times import Times, timestamp
from retrowalk.courier.uplink import Uplink
from retrowalk.errors import WireError

HEARTBEAT_WALKING_S = 15.0
HEARTBEAT_S = 60.0
SAID_AGAIN_S = 5.0
"""The state is said again at most so often when another's word has taken its place."""
GUARD_SILENT_S = 3.0
OWN_PARTS = frozenset({"courier", *COURIER_PARTS.values()})
"""Parts of which the courier tells itself."""

ALERTS: dict[str, tuple[str, bool]] = {
    "fall.suspected": ("fall", True),
    "fall.confirmed": ("fall", True),
    "fall.lasted": ("fall", True),
    "fall.cancelled": ("fall", False),
    "sos.raised": ("sos", True),
    "sos.cancelled": ("sos", False),
}
"""Which events open (True) and close the alert that a late comer must see."""

REPORTS = ("fall.lasted", "fall.risen")
"""What tells how an open fall goes on: the alert stays that of the event which opened it, as grave as it was."""


class Presence:
    """Learns from the guard's events how the walker is, and tells the broker when that changes."""

    def __init__(self, uplink: Uplink, store: Store, times: Times) -> None:
        self.heartbeat_at = -math.inf
        self._uplink = uplink
        self._store = store
        self._times = times
        self._alerts: dict[str, dict[str, Any]] = {}
        self._walking: bool | None = None
        self._guard = wire.KeepAlive(0.0, "")
        """Its latest sign of life."""
        self._guard_heard_s = -math.inf
        self._told_state = ""
        self._told_alert = b""
        self._beat_state = ""
        self._leaving = False
        self._overwritten = False
        self._said_again_at = -math.inf

    # -------------------------------------------------------------------------------------------- learning

    def hear_guard(self, alive: wire.KeepAlive, now: float) -> None:
        """The guard lives, and says how it is."""
        self._guard = alive
        self._guard_heard_s = now

    def follow(self, event: wire.EventMessage, event_id: str) -> None:
        """Learns from an event what the retained topics say."""
        if event.type == "walk.started":
            self._walking = True
        elif event.type == "walk.ended":
            self._walking = False
        kind, opens = ALERTS.get(event.type, ("", False))
        if event.type in REPORTS and "fall" in self._alerts:
            # The fall may have been told of long ago: whoever comes now sees how it stands.
            report = {"type": event.type, "alert": event.alert, "data": event.data}
            self._alerts["fall"] = {**self._alerts["fall"], **report}
        elif opens:
            self._alerts.pop(kind, None)  # the latest stands last
            self._alerts[kind] = {
                "type": event.type,
                "priority": event.priority,
                "id": event_id,
                "session": event.session,
                "alert": event.alert,
                "data": event.data,
            }
        elif kind:
            self._alerts.pop(kind, None)

    def kept(self) -> bytes:
        """The open alerts, for the next courier."""
        return wire.encode(self._alerts)

    def load(self, kept: bytes) -> None:
        """The open alerts of an earlier courier; what was learnt since goes first.  Raises `WireError`."""
        self._alerts = {**wire.decode(kept, dict[str, dict[str, Any]]), **self._alerts}

    def hear_state(self, payload: bytes, retained: bool, now: float) -> bool:
        """What stands in the device's own `state`; returns whether it could be read.

        The will of an old connection may come late, and take the place of what this one has said.  What the broker
        kept from before this connection (`retained`) has been replaced already.
        """
        try:
            told = wire.decode(payload, wire.DeviceState)
        except WireError:
            return False
        own = told.conn == self._uplink.conn and told.state in ("ready", "walking", "disconnected")
        if not own and not retained:
            self._overwritten = True
        return True

    # --------------------------------------------------------------------------------------------- telling

    def begin(self, now: float) -> None:
        """A new connection: everything is told again."""
        self._told_state = ""
        self._told_alert = b""
        self.heartbeat_at = now

    def leave(self) -> int | None:
        """Says `disconnected` if there is a connection, and no more; returns the message's token."""
        self._leaving = True
        return self._tell_state("disconnected") if self._uplink.connected else None

    def tell(self, faults: Callable[[float], Sequence[str]], now: float) -> None:
        """Retained state and alert when they change, and the heartbeat."""
        if not self._uplink.connected or self._leaving:
            self.heartbeat_at = math.inf
            return
        if self._overwritten and now >= self._said_again_at + SAID_AGAIN_S:
            self._overwritten = False
            self._said_again_at = now
            self._told_state = ""
        state = self._state_word()
        self._tell_state(state)
        alert = self._alert()
        if alert != self._told_alert:
            self._told_alert = alert
            self._uplink.publish("alert", alert)
        if now >= self.heartbeat_at or state != self._beat_state:
            self._beat_state = state
            self.heartbeat_at = now + (HEARTBEAT_WALKING_S if state == "walking" else HEARTBEAT_S)
            self._uplink.mention("heartbeat", self._heartbeat(faults, now))

    def _state_word(self) -> str:
        if self._walking is None:
            # This courier began in mid-walk, perhaps: the word that has a silent device looked for.
            return "walking" if self._guard.guard_state in (GuardState.GUARDING, GuardState.LIMITED) else "ready"
        return "walking" if self._walking else "ready"

    def _tell_state(self, word: str) -> int | None:
        if word == self._told_state:
            return None
        self._told_state = word
        told = wire.DeviceState(state=word, conn=self._uplink.conn, boot=self._times.boot)
        return self._uplink.publish("state", wire.encode(told))

    def _alert(self) -> bytes:
        """The open alert of the highest priority, the latest of these; `{}` if none is open."""
        best: dict[str, Any] = {}
        for alert in self._alerts.values():
            if alert["priority"] == Priority.HIGH or best.get("priority") != Priority.HIGH:
                best = alert
        return wire.encode(wire.OpenAlert(**best)) if best else b"{}"

    def _heartbeat(self, faults: Callable[[float], Sequence[str]], now: float) -> bytes:
        wall_s, quality = self._times.wall()
        outbox = self._store.outbox
        depth: int | None = None
        head: int | None = None
        low: int | None = None
        if self._store.ready(now):
            with self._store.caught(now):
                depth, head, low = outbox.waiting(now), outbox.head(now), outbox.low(now)
        guard, silent = self._guard, now - self._guard_heard_s > GUARD_SILENT_S
        charge, minutes = guard.battery_percent, guard.battery_minutes
        # Of the way of messages the courier itself knows more, and sooner.
        others = [] if silent else [name for name in guard.faults if name.partition(":")[0] not in OWN_PARTS]
        return wire.encode(
            wire.Heartbeat(
                conn=self._uplink.conn,
                state=self._state_word(),
                boot=self._times.boot,
                time=timestamp(wall_s),
                monoms=round(self._times.mono_s(now) * 1000),
                clock=quality,
                epoch=outbox.epoch,
                seq_head=head,
                seq_low=low,
                outbox_depth=depth,
                dropped=outbox.dropped,
                battery_percent=None if charge is None else round(charge, 1),
                battery_minutes=None if minutes is None else round(minutes),
                guard_state="silent" if silent else guard.guard_state,
                reasons=[] if silent else guard.reasons,
                restarts=guard.restarts,
                faults=[*faults(now), *others],
            )
        )
