"""Parts that do not work and are no sensors: what is said of them, what is told, and when it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from retrowalk.core import events as ev
from retrowalk.core.alerts import FAULT_PARTS
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.events import Level, ms


class Faults:
    """Which faults hold, by part and name.  Each is said (while it holds, again and again) and told once."""

    def __init__(self, arbiter: Arbiter, emit: Callable[[ev.Event], None]) -> None:
        self._arbiter = arbiter
        self._emit = emit
        self._holding: set[tuple[str, str]] = set()

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
            self._arbiter.release(now, "fault", part)
            self._emit(ev.FaultCleared(t_s=ms(now), alert=None, part=part, fault=fault))
