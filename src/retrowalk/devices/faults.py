"""How a driver that goes on running tells of a fault: a `HealthReport` when it begins, one when it ends."""

from __future__ import annotations

from retrowalk.core.samples import HealthReport, Item


class FaultState:
    """The one fault a part has now, or none; `change` gives reports only when that alters."""

    def __init__(self, part: str) -> None:
        self.active = ""
        """Name of the fault that holds now, empty for none."""
        self._part = part

    def change(self, now: float, fault: str, detail: str = "") -> list[Item]:
        """Sets the fault (empty: none) and returns the reports this makes necessary: none, one, or over and begun."""
        if fault == self.active:
            return []
        reports: list[Item] = []
        if self.active:
            reports.append(HealthReport(now, self._part, self.active, False))
        if fault:
            reports.append(HealthReport(now, self._part, fault, True, detail))
        self.active = fault
        return reports
