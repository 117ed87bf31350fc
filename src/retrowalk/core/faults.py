"""Parts that do not work and are no sensors: what is said of them, what is told, and when it is over.

A fault that comes and goes is one fault: once it has come three times in a minute it is over only when it has stayed
away for ten seconds.  Until then it holds, and is said again like any other.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator

from retrowalk.core import events as ev
from retrowalk.core.alerts import FAULT_PARTS
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.events import Level, ms

FLAPS, FLAP_WINDOW_S = 3, 60.0
"""So many times in so long: it comes and goes."""
STEADY_S = 10.0
OWN_RULES = ("voice",)
"""Parts of which somebody else says when a fault that comes and goes is told."""


class Faults:
    """Which faults hold, by part and name.  Each is said (while it holds, again and again) and told once."""

    def __init__(self, arbiter: Arbiter, emit: Callable[[ev.Event], None]) -> None:
        self._arbiter = arbiter
        self._emit = emit
        self._holding: set[tuple[str, str]] = set()
        self._begun: dict[tuple[str, str], deque[float]] = {}
        """When each came, the latest times."""
        self._ending: dict[tuple[str, str], tuple[float, str]] = {}
        """What has gone and may come again: when that is believed to be the end, and what is said then."""

    def __contains__(self, fault: tuple[str, str]) -> bool:
        return fault in self._holding

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._holding)

    def parts(self) -> set[str]:
        """Parts of which some fault holds."""
        return {part for part, _ in self._holding}

    def of(self, part: str) -> Iterator[str]:
        """Faults of a part that hold."""
        return (fault for other, fault in self._holding if other == part)

    def begin(
        self,
        now: float,
        part: str,
        fault: str,
        detail: str = "",
        *,
        value: str = "",
        repeat: bool = True,
        said: bool = True,
    ) -> None:
        """A fault is there.  `value` is what is said of it (default: the part's name, if it has words at all).

        `repeat` False: it is said once and no more.  `said` False: somebody else says it.
        """
        again = self._ending.pop((part, fault), None) is not None
        if again or (part, fault) not in self._holding:
            self._begun.setdefault((part, fault), deque(maxlen=FLAPS)).append(now)
        if (part, fault) in self._holding:
            return
        self._holding.add((part, fault))
        self._arbiter.retract("fault_over", part)
        if value:
            self._arbiter.retract("fault_over", value)
        number: int | None = None
        if said and part in FAULT_PARTS:
            value = value or part
            if repeat:
                number = self._arbiter.hold(now, "fault", Level.CAUTION, value=value, because=fault, name=part)
            else:
                number = self._arbiter.announce(now, "fault", value, because=fault)
        self._emit(ev.FaultRaised(t_s=ms(now), alert=number, part=part, fault=fault, detail=detail[:200]))

    def end(self, now: float, part: str, fault: str, *, value: str = "") -> None:
        """A fault is over: once the part has none, `value` (default: the part) is said to work again."""
        if (part, fault) not in self._holding:
            return
        begun = self._begun[part, fault]
        if part not in OWN_RULES and len(begun) == FLAPS and now < begun[0] + FLAP_WINDOW_S:
            self._ending[part, fault] = (now + STEADY_S, value)
        else:
            self._over(now, part, fault, value)

    def advance(self, now: float) -> None:
        """Ends what has stayed away for long enough."""
        for (part, fault), (due_s, value) in list(self._ending.items()):
            if now >= due_s:
                del self._ending[part, fault]
                self._over(now, part, fault, value)

    def deadline(self) -> float:
        """When `advance` has something to do (`math.inf`: never)."""
        return min((due_s for due_s, _ in self._ending.values()), default=math.inf)

    def _over(self, now: float, part: str, fault: str, value: str) -> None:
        self._holding.discard((part, fault))
        number: int | None = None
        if not any(self.of(part)):
            self._arbiter.release(now, "fault", part)
            if part in FAULT_PARTS:
                number = self._arbiter.announce(now, "fault_over", value or part)
        self._emit(ev.FaultCleared(t_s=ms(now), alert=number, part=part, fault=fault))

    def forget(self, now: float, part: str, fault: str) -> None:
        """A fault does not matter any more: it is over without a word."""
        if (part, fault) in self._holding:
            self._holding.discard((part, fault))
            self._ending.pop((part, fault), None)
            self._arbiter.release(now, "fault", part)
            self._emit(ev.FaultCleared(t_s=ms(now), alert=None, part=part, fault=fault))
