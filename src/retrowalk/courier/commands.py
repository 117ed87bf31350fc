"""What may be sent to the device, and what is made of it.  No command silences a warning or cancels an alarm.

A stranger may have written a command: there is a closed list (`wire.COMMANDS`), each with its form.  What has no such
form is only counted.  What has is taken once, in time, and not too often; whether it was taken, and why not, becomes
an event `command.received`, so that whoever looks later knows what was asked of the device, and by whom.

*In time*: a device whose clock is right (`ntp`) refuses what is older than its `ttl_s`, and what comes from the future.
Where the clock is not trusted nobody can tell how old a command is.  There the broker's expiry of messages, and that
no id is taken twice, are what remains: `IDS_KEPT` at the greatest rate span more than the longest `ttl_s`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from retrowalk import wire
from retrowalk.errors import WireError

COMMAND_MAX_BYTES = 4096
GAPS_S: dict[str, float] = {"seen": 2.0, "say": 10.0, "locate": 60.0, "resync": 60.0}
"""One command of a name is taken in this time ..."""
BURST = 4
"""... and so many of all names at once, then one a second."""
IDS_KEPT = 256
"""Ids of so many commands that were taken are remembered, over a restart, too."""
TOLERANCE_S = 30.0
"""The clocks of whoever commands and of the device may differ by so much."""
TOLD_APART = 5
"""So many refusals in `TOLD_EVERY_S` are told each by itself; the others are counted and told together."""
TOLD_EVERY_S = 60.0
SEVERAL = "several"
"""Name in the event that tells of many."""


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a command, as `core.events.CommandReceived` tells it; `count`: of so many."""

    name: str
    id: str
    by: str
    accepted: bool
    reason: str
    what: str = ""
    count: int = 1

    def data(self) -> dict[str, Any]:
        """The event's own fields."""
        return {name: getattr(self, name) for name in self.__slots__}


class Commands:
    """Reads what arrives below `cmd/`.  `wall` gives wall time (Unix seconds) and what it is worth."""

    def __init__(self, wall: Callable[[], tuple[float, str]]) -> None:
        self.rejected = 0
        """Commands that were not taken."""
        self.changed = False
        """Whether `kept` has something new."""
        self._wall = wall
        self._ids: dict[str, None] = {}
        self._taken_at: dict[str, float] = {}
        self._tokens = float(BURST)
        self._tokens_at = -math.inf
        self._received: list[Received] = []
        self._apart = 0
        self._window_ends = -math.inf
        self._uncounted: dict[str, int] = {}
        """Refusals of this window that are told together, by why."""

    # -- what arrives -----------------------------------------------------------------------------------------

    def read(self, name: str, payload: bytes, retained: bool, now: float) -> wire.HubAck | wire.RemoteCommand | None:
        """The command, to be carried out; None for what is not taken.  Only a retained `ack` still holds."""
        kind = wire.COMMANDS.get(name)
        if kind is None or len(payload) > COMMAND_MAX_BYTES:
            self._malformed("not on the list of commands" if kind is None else "too long", now)
            return None
        try:
            command: wire.HubAck | wire.RemoteCommand = wire.decode(payload, kind)
        except WireError:
            self._malformed("not of its form", now)
            return None
        if isinstance(command, wire.HubAck):
            return command  # the latest of many is enough
        command = msgspec.structs.replace(command, by=shown(command.by))
        reason = "kept by the broker" if retained else self._why_not(name, command, now)
        if reason:
            self.rejected += 1
            self.tell(name, command, now, reason)
            return None
        self._taken_at[name] = now
        self._tokens -= 1.0
        self._ids[command.id] = None
        while len(self._ids) > IDS_KEPT:
            del self._ids[next(iter(self._ids))]
        self.changed = True
        return command

    def _why_not(self, name: str, command: wire.RemoteCommand, now: float) -> str:
        """Why a command of good form is not taken; empty: it is."""
        if command.id in self._ids:
            return "came before"
        wall_s, quality = self._wall()
        if quality == "ntp" and math.isfinite(wall_s):
            age_s = wall_s - command.issued_ms / 1000.0
            if age_s > command.ttl_s + TOLERANCE_S:
                return "expired"
            if age_s < -TOLERANCE_S:
                return "from the future"
        self._tokens = min(float(BURST), self._tokens + max(0.0, now - self._tokens_at))
        self._tokens_at = now
        if now - self._taken_at.get(name, -math.inf) < GAPS_S[name] or self._tokens < 1.0:
            return "too soon after another"
        return ""

    def _malformed(self, reason: str, now: float) -> None:
        self.rejected += 1
        self._begin_window(now)
        self._uncounted[reason] = self._uncounted.get(reason, 0) + 1

    # -- what became of it ------------------------------------------------------------------------------------

    def tell(self, name: str, command: wire.RemoteCommand, now: float, refused: str = "") -> None:
        """To be told of a command that the courier carried out itself, or that was `refused`."""
        self._begin_window(now)
        if refused:
            self._apart += 1
            if self._apart > TOLD_APART:
                self._uncounted[refused] = self._uncounted.get(refused, 0) + 1
                return
        self._received.append(Received(name, command.id, command.by, not refused, refused, what(command)))

    def received(self, now: float) -> list[Received]:
        """What is to be told now."""
        if self._uncounted and now >= self._window_ends:
            several, self._uncounted = self._uncounted, {}
            self._window_ends = -math.inf
            reasons = ", ".join(f"{several[reason]} {reason}" for reason in sorted(several))
            self._received.append(Received(SEVERAL, "", "", False, reasons, count=sum(several.values())))
        told, self._received = self._received, []
        return told

    def due(self) -> float:
        """When `received` has something that it does not have now (`math.inf`: nothing waits)."""
        return self._window_ends if self._uncounted else math.inf

    def _begin_window(self, now: float) -> None:
        if now >= self._window_ends and not self._uncounted:
            self._window_ends = now + TOLD_EVERY_S
            self._apart = 0

    # -- what survives ----------------------------------------------------------------------------------------

    def kept(self) -> bytes:
        """The ids that were taken, for the next courier."""
        self.changed = False
        return wire.encode(list(self._ids))

    def load(self, kept: bytes) -> None:
        """Ids that an earlier courier took.  Raises `WireError`."""
        earlier = wire.decode(kept, list[str])
        self._ids = {**dict.fromkeys(earlier[-IDS_KEPT:]), **self._ids}


def shown(name: str) -> str:
    """A person's name as it can be shown."""
    return " ".join("".join(character for character in name if character.isprintable()).split())


def what(command: wire.RemoteCommand) -> str:
    """What a command speaks of: the event that was seen, the phrase to be said, the numbers that are missing."""
    match command:
        case wire.SeenCommand(event=event):
            return event
        case wire.SayCommand(phrase=phrase):
            return phrase
        case wire.ResyncCommand(first=first, last=last):
            return f"{first} to {last}"
    return ""


def message(name: str, command: wire.RemoteCommand, age_s: float | None = None) -> wire.CommandMessage:
    """The command, for the guard; `age_s`: how long ago the event happened that was seen, where that is known."""
    args = {"by": command.by}
    if age_s is not None:
        args["age_s"] = f"{age_s:.1f}"
    match command:
        case wire.SeenCommand(event=event):
            args["event"] = event
        case wire.SayCommand(phrase=phrase):
            args["phrase"] = phrase
    return wire.CommandMessage(command.id, name, args)
