"""The one button.

Wiring: between `pin` (GPIO17) and ground; the internal pull-up is used, so pressed is low.  With a cable longer than
20 cm add 10 kΩ to 3.3 V and 100 nF to ground at the Pi.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from retrowalk.config import Button
from retrowalk.core.samples import ButtonEdge, Item
from retrowalk.devices.faults import FaultState
from retrowalk.devices.lines import InputLine, TickClock
from retrowalk.errors import DeviceError
from retrowalk.platform import Clock, no_wake

LEVEL_POLL_S = 0.2
"""How often the level is read even without an edge: edges lost in a burst are made good by it.  Each time costs a
wake-up of its thread, so not more often than a person can press."""

STABLE_MAX_S = 0.040
"""However long the debouncing is set, a press is told within 50 ms."""

CHATTER_REPORT_S = 1.0
"""A line that never settles for so long is reported."""

EDGE_AGE_MAX_S = 1.0
"""An edge cannot have waited longer than this: an older stamp is wrong."""


class ButtonDriver:
    """A `ButtonEdge` when the button has settled down or up, stamped with the edge that it settled by.

    A level counts once it has held for `debounce_s` (40 ms at most).  A spike shorter than that, from the motor's
    line for instance, is no press: it must not cancel the countdown after a fall.  Faults: `garbage` while the line
    never settles, `absent` while the pin cannot be used; it is tried again every `retry_s`.  `poll` raises nothing.
    """

    def __init__(self, config: Button, pin_factory: Any, clock: Clock) -> None:
        self.name = "button"
        self.retry_s = 0.5
        self.wake = no_wake
        self.shares = ""
        self.counts: Counter[str] = Counter()
        self._config = config
        self._factory = pin_factory
        self._ticks = TickClock(pin_factory, clock)
        self._stable_s = min(config.debounce_s, STABLE_MAX_S)
        self._line: InputLine | None = None
        self._told = False
        """What was last told: pressed or not."""
        self._told_s = -math.inf
        self._pressed = False
        """What the line says now, settled or not."""
        self._changed_s = -math.inf
        self._settled_s = -math.inf
        """When the line last held still long enough."""
        self._fault = FaultState(self.name)

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        items: list[Item] = []
        try:
            line = self._line or self._open(now)
            if line.edges:
                self._take_edges(line, now, items)
            pressed = not line.level()
        except DeviceError as error:
            self.close()
            # Not raised: a button that is back gives nothing until it is pressed, so it must say itself that it is.
            return [*items, *self._fault.change(now, "absent", f"button: {error}")], now + self.retry_s
        if pressed != self._pressed and not line.edges:
            self.counts["edge_healed"] += 1
            self._change(pressed, now)
        self._settle(now, now, items)
        if now >= self._changed_s + self._stable_s:
            self._settled_s = now
            items += self._fault.change(now, "")
            return items, now + LEVEL_POLL_S
        if now - self._settled_s >= CHATTER_REPORT_S:
            items += self._fault.change(now, "garbage", f"button line GPIO{self._config.pin} never settles")
        return items, min(self._changed_s + self._stable_s, now + LEVEL_POLL_S)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None

    def _open(self, now: float) -> InputLine:
        self._line = InputLine(self._factory, self._config.pin, "up", lambda _level: self.wake())
        self._settled_s = now
        return self._line

    def _take_edges(self, line: InputLine, now: float, items: list[Item]) -> None:
        mark_s = self._ticks.mark()
        while line.edges:
            tick, level = line.edges.popleft()
            at_s = mark_s + self._ticks.after_mark_s(tick)
            if not now - EDGE_AGE_MAX_S <= at_s:  # also NaN
                at_s = now
            at_s = min(max(at_s, self._changed_s), now)
            self._settle(at_s, now, items)
            self._change(not level, at_s)

    def _change(self, pressed: bool, at_s: float) -> None:
        if pressed != self._pressed:
            self._pressed, self._changed_s = pressed, at_s

    def _settle(self, until_s: float, now: float, items: list[Item]) -> None:
        """Tells the level if it has held from its edge to `until_s` for long enough."""
        if self._pressed != self._told and until_s >= self._changed_s + self._stable_s:
            self._told, self._told_s = self._pressed, max(self._changed_s, self._told_s)
            items.append(ButtonEdge(now, self._told_s, self._told))
