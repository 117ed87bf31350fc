"""What may be sent to the device, and what is made of it.  No command silences a warning or cancels an alarm.

A stranger may have written a command: there is a closed list, each with its form; everything else is counted.
"""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta, Struct

from retrowalk import wire
from retrowalk.errors import WireError

COMMAND_MAX_BYTES = 4096
COMMAND_GAP_S = 2.0
"""One command of a name in this time; the rest is dropped and counted."""


class HubAck(Struct, frozen=True):
    """`cmd/ack`: the hub has stored every event of `epoch` up to `seq`."""

    epoch: Annotated[str, Meta(max_length=64)]
    seq: Annotated[int, Meta(ge=0, lt=2**62)]


class SeenCommand(Struct, frozen=True):
    """`cmd/seen`: a person has seen the event `id`."""

    id: Annotated[str, Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_-]+$")]
    by: Annotated[str, Meta(max_length=40)] = ""


COMMANDS: dict[str, type[HubAck] | type[SeenCommand]] = {"ack": HubAck, "seen": SeenCommand}
"""Everything that may be sent to the device."""


class Commands:
    """Reads what arrives below `cmd/`."""

    def __init__(self) -> None:
        self.rejected = 0
        """Commands that were not what they should be."""
        self._taken_at: dict[str, float] = {}

    def read(self, name: str, payload: bytes, retained: bool, now: float) -> HubAck | SeenCommand | None:
        """The command, or None for what is counted as rejected.  Only a retained `ack` still holds."""
        kind = COMMANDS.get(name)
        if kind is None or len(payload) > COMMAND_MAX_BYTES or (retained and name != "ack"):
            self.rejected += 1
            return None
        try:
            command: HubAck | SeenCommand = wire.decode(payload, kind)
        except WireError:
            self.rejected += 1
            return None
        if isinstance(command, HubAck):
            return command  # the latest of many is enough
        if now - self._taken_at.get(name, -math.inf) < COMMAND_GAP_S:
            self.rejected += 1
            return None
        self._taken_at[name] = now
        return command
