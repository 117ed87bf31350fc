"""What the guard writes into the log: one line when a fault begins, one when it is over, one a change of its state.

From the events themselves, so that nothing is told to the caregiver and missing here.  Of the walker (falls, hazards,
how they walk) there is nothing in it: that is theirs, and stands in the recording.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from retrowalk.core import events as ev
from retrowalk.logs import about

_log = logging.getLogger("retrowalk.guard")

_TROUBLED = (ev.GuardState.NOT_PROTECTING,)
HELD_MAX = 100
"""Faults whose beginning is remembered, for how long they lasted: many times what a device has parts for."""


class Journal:
    """Writes lines of events.  `detail_of` knows what a part's driver last complained of (empty: nothing)."""

    def __init__(self, session: str, detail_of: Callable[[str], str] = lambda part: "") -> None:
        self._session = session
        self._detail_of = detail_of
        self._began: dict[tuple[str, str], float] = {}

    def event(self, event: ev.Event) -> None:
        """Takes every event; most are no business of the log."""
        match event:
            case ev.SensorLost():
                self._began_at(event.sensor, "", event.t_s)
                self._line(logging.WARNING, event, event.sensor, event.cause, _words(self._detail_of(event.sensor)))
            case ev.SensorRestored():
                self._line(logging.INFO, event, event.sensor, "", self._lasted(event.sensor, "", event.t_s))
            case ev.FaultRaised():
                self._began_at(event.part, event.fault, event.t_s)
                self._line(logging.WARNING, event, event.part, event.fault, _words(event.detail))
            case ev.FaultCleared():
                lasted = self._lasted(event.part, event.fault, event.t_s)
                self._line(logging.INFO, event, event.part, event.fault, lasted)
            case ev.GuardChanged():
                level = logging.WARNING if event.state in _TROUBLED else logging.INFO
                self._line(level, event, "guard", event.state.value, _words(", ".join(event.reasons)))
            case ev.BatteryLow():
                self._line(logging.WARNING, event, "battery", "low", f", {event.charge_percent:.0f} % left")

    def _line(self, level: int, event: ev.Event, part: str, fault: str, more: str) -> None:
        if not _log.isEnabledFor(level):
            return
        sensor = part if isinstance(event, ev.SensorLost | ev.SensorRestored) else ""
        what = fault.replace("_", " ")
        match event:
            case ev.SensorLost():
                words = f"{part}: lost ({what}){more}" if what else f"{part}: lost{more}"
            case ev.SensorRestored():
                words = f"{part}: works again{more}"
            case ev.GuardChanged():
                words = f"now {what}{more}"
            case ev.FaultCleared():
                words = f"{part}: {what} is over{more}"
            case _:
                words = f"{part}: {what}{more}"
        state = isinstance(event, ev.GuardChanged)
        extra = about(event.type, part=part, fault="" if state else fault, sensor=sensor, session=self._session)
        _log.log(level, "%s", words, extra=extra)

    def _began_at(self, part: str, fault: str, t_s: float) -> None:
        if len(self._began) < HELD_MAX:
            self._began.setdefault((part, fault), t_s)

    def _lasted(self, part: str, fault: str, t_s: float) -> str:
        """Nothing is known of one that began before this guard did."""
        began_s = self._began.pop((part, fault), None)
        return "" if began_s is None else f", after {t_s - began_s:.1f} s"


def _words(detail: str) -> str:
    return f": {' '.join(detail.split())[:200]}" if detail else ""
