"""How long the battery will last, and when the walker is told of it: at 20 %, at 10 % and at 5 %.

The charge that a gauge tells wavers with the load, so its rate is taken over minutes: the median of each minute, and
the median of the rates between minutes that lie half the known time apart.  Until ten minutes and three per cent are
known there is no rate, and the charge itself is said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from statistics import median

from retrowalk.core import events as ev
from retrowalk.core.alerts import charge_value
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.events import ms
from retrowalk.core.prewalk import BATTERY_TELL_PERCENT
from retrowalk.core.samples import BatterySample

STEPS = (20, 10, 5)
"""Each is told once: the first as "low", the others as "stop walking"."""
STOP_PERCENT = 10
STOP_MINUTES = 10.0
"""With less left, by the measured rate, it is time to stop whatever the charge: who is told has five at least, though
the rate were wrong by half."""
CHARGED_PERCENT = 5.0
"""A reading that wavers by less is not a battery that was charged."""
EMPTY_PERCENT = 2.0
"""A supply gives up before the cell is empty."""
MINUTE_S = 60.0
KNOWN_MINUTES, KNOWN_PERCENT = 10, 3.0
"""A rate is known after so many minutes in which the charge has fallen by so much."""
KEPT_MINUTES = 60


class Charge:
    """Follows the charge, 0 to 100 %.  Times are session seconds."""

    def __init__(self, arbiter: Arbiter, emit: Callable[[ev.Event], None]) -> None:
        self.percent: float | None = None
        """As last measured; None: never."""
        self._arbiter = arbiter
        self._emit = emit
        self._said = 100
        self._stop_said = False
        self._minute: list[float] = []
        self._minute_s = 0.0
        self._minutes: deque[float] = deque(maxlen=KEPT_MINUTES)
        """Charge in the middle of each minute, the latest last."""
        self._rate: float | None = None
        """Per cent a minute; None: not known."""

    @property
    def minutes_left(self) -> float | None:
        """How long it will last at the rate of the last hour at most; None: not known (yet), or it is being charged."""
        if self._rate is None or self.percent is None:
            return None
        return max(0.0, self.percent - EMPTY_PERCENT) / self._rate

    def feed(self, now: float, item: BatterySample) -> None:
        """Takes a reading, and says what there is to say."""
        charge = item.charge_percent
        self._follow(item.t_measured_s, charge)
        self.percent = charge
        left = self.minutes_left
        soon = left is not None and left <= STOP_MINUTES
        reached = min((step for step in STEPS if charge <= step), default=100)
        if reached < self._said:
            # Each once, and only the lowest: who is told "ten" need not be told "twenty" as well.
            self._said = reached
            self._tell(now, charge, stop=soon or reached <= STOP_PERCENT)
        elif soon and not self._stop_said:
            self._tell(now, charge, stop=True)
        elif charge > self._said + CHARGED_PERCENT:
            # It was charged: what it has left well behind may be said again.
            self._said = min((step for step in STEPS if charge <= step + CHARGED_PERCENT), default=100)

    def checked(self, now: float) -> None:
        """A walk may begin: a charge that is below what a walk may take is said, unless it has been."""
        if self.percent is not None and STEPS[0] < self.percent < BATTERY_TELL_PERCENT:
            self._arbiter.announce(now, "battery_low", charge_value(round(BATTERY_TELL_PERCENT), self.minutes_left))

    def _tell(self, now: float, charge: float, *, stop: bool) -> None:
        arbiter, left = self._arbiter, self.minutes_left
        self._stop_said = self._stop_said or stop
        arbiter.retract("battery_low")
        if stop:
            arbiter.announce(now, "battery_empty")
        limit = STOP_PERCENT if stop else STEPS[0]
        number = arbiter.announce(now, "battery_low", charge_value(limit if left is None else None, left))
        minutes = None if left is None else round(left)
        self._emit(ev.BatteryLow(t_s=ms(now), alert=number, charge_percent=round(charge), minutes_left=minutes))

    def _follow(self, t_s: float, charge: float) -> None:
        last = self._minutes[-1] if self._minutes else charge
        if charge > last + CHARGED_PERCENT:
            self._minutes.clear()
            self._minute.clear()
            self._rate = None
            self._stop_said = False
        if not self._minute:
            self._minute_s = t_s
        self._minute.append(charge)
        if t_s - self._minute_s < MINUTE_S:
            return
        # A gauge that was away leaves a hole: the minutes before it say nothing of those after.
        if t_s - self._minute_s > 3.0 * MINUTE_S:
            self._minutes.clear()
        self._minutes.append(median(self._minute))
        self._minute.clear()
        self._rate = self._measured()

    def _measured(self) -> float | None:
        """The rate by the minutes there are."""
        count = len(self._minutes)
        if count < KNOWN_MINUTES or self._minutes[0] - self._minutes[-1] < KNOWN_PERCENT:
            return None
        apart = count // 2
        falls = [(self._minutes[i] - self._minutes[i + apart]) / apart for i in range(count - apart)]
        rate = median(falls)
        return rate if rate > 0.0 else None
