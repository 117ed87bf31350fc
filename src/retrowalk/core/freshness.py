"""How old the last useful reading of each sensor is, and since when a part has been silent."""

from __future__ import annotations

import math
from dataclasses import dataclass

from retrowalk.config import Freshness as Knobs

START_GRACE_S = 0.6
"""A sensor that has not spoken this long after the session began is absent (it is named within 1 s)."""
PROCESS_GRACE_S = 4.0
"""The voice and the courier are processes of their own and may take a while to come up."""
BACK_AFTER_S = 0.5
"""A lost sensor is back when it has given readings for so long without a pause ..."""
BACK_FROM_GARBAGE_S = 2.0
"""... and one that talked nonsense when it has made sense for so long."""
BUS_HASTE_S = 0.1
"""Where the bus is known to be held, the clip counts as lost so much sooner than what hangs on the same bus: it is the
one that must be named within a second, and the names follow one another by two."""
FLAPS_S, FLAPS_MAX = 20.0, 4
"""One that is lost again within this time of being back must prove itself twice as long, up to four times in a row: a
loose plug is named once, and not with every step.  What it sees meanwhile is warned of all the same."""
STEADY_MAX_S = 10.0


@dataclass(slots=True)
class Part:
    """One sensor, or process, whose silence matters."""

    name: str
    lost_after_s: float
    process: bool = False
    """A process beats now and then; a sensor gives samples all the time."""
    last_s: float | None = None
    """Last sign of life, received time."""
    lost: bool = False
    back_since_s: float | None = None
    """While lost: since when it has been giving signs of life without a pause."""
    back_s: float = -math.inf
    """When it was last back ..."""
    flaps: int = 0
    """... and how often in a row that did not last."""
    cause: str = ""
    """What was last reported to be wrong with it."""


class Freshness:
    """Follows the signs of life of parts.  All times are received times in session seconds."""

    def __init__(self, knobs: Knobs, sensors: tuple[str, ...]) -> None:
        self._degraded_after_s = knobs.degraded_after_s
        self.parts: dict[str, Part] = {name: Part(name, knobs.lost_after_s) for name in sensors}
        self.parts["voice"] = Part("voice", knobs.voice_lost_after_s, process=True)
        self.parts["courier"] = Part("courier", knobs.courier_lost_after_s, process=True)
        self._start_s: float | None = None
        self._hastened = ""

    def begin(self, now: float) -> None:
        """The session begins: the time of grace for the first readings runs."""
        if self._start_s is None:
            self._start_s = now

    def heard(self, name: str, now: float) -> bool:
        """A sign of life; returns whether the part had been lost."""
        part = self.parts[name]
        before, part.last_s = part.last_s, now
        if not part.lost:
            return False
        if part.back_since_s is None or before is None or now - before > self._degraded_after_s:
            part.back_since_s = now
        # A loose plug answers now and then: it is back when it has answered for a while.
        steady_s = BACK_FROM_GARBAGE_S if part.cause == "garbage" else BACK_AFTER_S
        if not part.process and now - part.back_since_s < min(steady_s * 2**part.flaps, STEADY_MAX_S):
            return False
        part.lost = False
        part.back_s = now
        part.back_since_s = None
        part.cause = ""
        return True

    def limit_s(self, part: Part) -> float:
        """The instant from which the part counts as lost."""
        if part.last_s is not None:
            return part.last_s + part.lost_after_s - (BUS_HASTE_S if part.name == self._hastened else 0.0)
        if self._start_s is None:
            return math.inf
        return self._start_s + (PROCESS_GRACE_S + part.lost_after_s if part.process else START_GRACE_S)

    def deadline(self) -> float:
        """When the next part will be lost if it stays silent."""
        return min((self.limit_s(part) for part in self.parts.values() if not part.lost), default=math.inf)

    def newly_lost(self, now: float) -> list[Part]:
        """Parts whose limit has passed by `now`, each told once."""
        lost = [part for part in self.parts.values() if not part.lost and self.limit_s(part) <= now]
        for part in lost:
            _lose(part, now)
        return lost

    def lose(self, name: str) -> bool:
        """The part is lost though it speaks (what it says is nonsense); returns whether that is news."""
        part = self.parts[name]
        was_lost = part.lost
        if not was_lost:
            _lose(part, part.last_s or 0.0)
        part.back_since_s = None
        return not was_lost

    def hasten(self, name: str) -> None:
        """The wires of this part are known to be dead: it counts as lost a little sooner; an empty name: none is."""
        self._hastened = name

    def excuse(self, now: float) -> None:
        """Nobody listened up to now: whoever was there before is given the time to speak again."""
        for part in self.parts.values():
            if not part.lost and part.last_s is not None:
                part.last_s = now

    def useless(self, name: str, cause: str) -> None:
        """The part answered, and the answer was no reading: while it is lost, the proof begins anew."""
        part = self.parts[name]
        part.back_since_s = None
        if not part.lost or part.cause != "garbage":
            part.cause = cause

    def seen(self, name: str) -> bool:
        """Whether the part has ever given a sign of life and is not lost."""
        part = self.parts[name]
        return part.last_s is not None and not part.lost

    def health(self, name: str, now: float) -> str:
        """`ok`, `degraded`, `lost`, or `starting`."""
        part = self.parts[name]
        if part.lost:
            return "lost"
        if part.last_s is None:
            return "starting"
        late = not part.process and now - part.last_s > self._degraded_after_s
        return "degraded" if late else "ok"


def _lose(part: Part, now: float) -> None:
    part.lost = True
    part.flaps = min(part.flaps + 1, FLAPS_MAX) if now < part.back_s + FLAPS_S else 0
