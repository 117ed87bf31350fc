"""What is told without hurry, and how seldom: a note to the first contact.  Times are hub time."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from retrowalk.hub.facts import EventCame
from retrowalk.hub.values import real

AGAIN_S = 3600.0
"""The same note of the same part is told no more often ..."""
AT_MOST = 6
"""... and no more notes of one device in that time.  What is left out is counted, and told with the next."""
STUMBLES = 3
STUMBLES_WITHIN_S = 1800.0
"""So many times within so long balance was lost: that is told."""
KEYS_MAX = 64


class Notes(Struct):
    """What was told of one device."""

    told: dict[str, float] = field(default_factory=dict)
    """When each note was told last."""
    left_out: dict[str, int] = field(default_factory=dict)
    """How many of each were not told since."""
    lost: list[float] = field(default_factory=list)
    """When balance was lost ..."""
    caught: list[float] = field(default_factory=list)
    """... and when it was caught."""

    def due(self, now: float, type: str, data: dict[str, Any]) -> dict[str, Any] | None:
        """What to tell; None: nothing now.  Left-out ones are counted in as `more`."""
        key = f"{type} {part(data)}"
        self.told = {name: told_s for name, told_s in self.told.items() if now - told_s < AGAIN_S}
        if key in self.told or len(self.told) >= AT_MOST:
            if key in self.left_out or len(self.left_out) < KEYS_MAX:
                self.left_out[key] = self.left_out.get(key, 0) + 1
            return None
        self.told[key] = now
        more = self.left_out.pop(key, 0)
        return {**data, "more": more} if more else dict(data)

    def stumbled(self, now: float, event: EventCame) -> bool:
        """Whether this event makes it often enough to be told.  What happened long ago is not counted."""
        if event.historical or event.type not in ("balance.lost", "balance.recovered"):
            return False
        kept = [at for at in self._times(event.type) if now - at < STUMBLES_WITHIN_S] + [now]
        if event.type == "balance.lost":
            self.lost = kept[-KEYS_MAX:]
        else:
            self.caught = kept[-KEYS_MAX:]
        return len(kept) >= STUMBLES

    def stumbles(self, now: float) -> dict[str, Any]:
        """How often that was."""
        count = max(sum(now - at < STUMBLES_WITHIN_S for at in times) for times in (self.lost, self.caught))
        return {"count": count, "within_s": STUMBLES_WITHIN_S}

    def _times(self, type: str) -> list[float]:
        return self.lost if type == "balance.lost" else self.caught


def part(data: dict[str, Any]) -> str:
    """Which part of a device a note is about; an almost empty battery is another than a low one."""
    named = data.get("sensor", data.get("part", ""))
    charge = real(data.get("charge_percent"))
    if charge is not None:
        named = "empty" if charge <= 10 else "low"
    return str(named)[:40]
