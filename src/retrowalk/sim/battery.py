"""A simulated lithium battery: its charge, the load on it, and how its voltage sags.

Resting voltage as measured on a Samsung 40T (C/20, Sunil, Pattipati and Balasingam 2025); the drivers estimate with
another curve, as they must of a cell they do not know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from retrowalk.sim.faults import Faults

RESTING_V = (
    (0.0, 2.500),
    (0.5, 2.808),
    (3.5, 3.118),
    (8.5, 3.318),
    (13.6, 3.419),
    (29.2, 3.583),
    (45.2, 3.694),
    (83.9, 4.066),
    (95.5, 4.112),
    (100.0, 4.200),
)
"""Charge (%) and resting voltage of a cell."""
LOW_PERCENT, EMPTY_PERCENT = 15.0, 5.0
BURST_EVERY_S, BURST_S = 3.7, 0.4


def resting_v(charge_percent: float) -> float:
    """Voltage of a cell that rests at this charge."""
    below, below_v = RESTING_V[0]
    for above, above_v in RESTING_V[1:]:
        if charge_percent <= above:
            return below_v + (above_v - below_v) * max(0.0, charge_percent - below) / (above - below)
        below, below_v = above, above_v
    return below_v


@dataclass(frozen=True, slots=True)
class SimBattery:
    """A battery that feeds the device; time is session seconds.

    With the fault `low` or `empty` of part `battery` it has 15 or 5 % left from the beginning of the fault on.
    """

    charge_percent: float = 80.0
    """At second 0."""
    capacity_ah: float = 2.5
    load_a: float = 0.45
    """A Pi Zero 2 W with its sensors; negative: a charger wins over it."""
    burst_a: float = 0.5
    """What motor and amplifier draw on top, for 0.4 s of every 3.7."""
    cell_ohm: float = 0.08
    cells: int = 1
    faults: Faults | None = None

    def charge(self, now: float) -> float:
        """Charge at `now`, 0 to 100 %."""
        fault = self.faults.active("battery", now) if self.faults is not None else ""
        if fault in ("low", "empty"):
            return LOW_PERCENT if fault == "low" else EMPTY_PERCENT
        used_ah = (self.load_a + self.burst_a * BURST_S / BURST_EVERY_S) * now / 3600.0
        return min(100.0, max(0.0, self.charge_percent - 100.0 * used_ah / self.capacity_ah))

    def current_a(self, now: float) -> float:
        """Drawn from the battery; negative while it is charged."""
        return self.load_a + (self.burst_a if math.fmod(now, BURST_EVERY_S) < BURST_S else 0.0)

    def mean_current_a(self, now: float, over_s: float) -> float:
        """The mean of the time before `now`, as a chip that averages sees it."""
        return sum(self.current_a(now - over_s * (i + 0.5) / 16.0) for i in range(16)) / 16.0

    def cell_v(self, now: float, current_a: float) -> float:
        """Voltage of one cell under this load."""
        return resting_v(self.charge(now)) - current_a * self.cell_ohm
