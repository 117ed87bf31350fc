"""Vibration motor and buzzer: what is felt and heard with a warning, and instead of the voice when it has failed.

Wiring: each behind a transistor or logic-level MOSFET, its gate to `vibration.pin` (GPIO27) or `buzzer.pin` (GPIO22)
with 10 kΩ to ground so that both stay off while the Pi boots; a diode across the motor; both fed from 5 V by a ground
return that the ultrasonic module does not share.  The buzzer is an active one.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from retrowalk.config import Buzzer, Vibration
from retrowalk.core.alerts import HAPTICS
from retrowalk.core.events import Touch
from retrowalk.core.samples import Item
from retrowalk.devices.faults import FaultState
from retrowalk.devices.lines import OutputLine
from retrowalk.errors import DeviceError
from retrowalk.platform import Clock, no_wake


class _Output:
    """One of the two lines: opened when it can be, tried again when it cannot, off whenever in doubt."""

    def __init__(self, part: str, gpio: int, factory: Any) -> None:
        self.part = part
        self._gpio = gpio
        self._factory = factory
        self._line: OutputLine | None = None
        self._on = False
        self._fault = FaultState(part)
        self.retry_due_s = -math.inf

    def set(self, on: bool, now: float, retry_s: float) -> list[Item]:
        """Switches the line and returns what there is to report."""
        if self._line is None and now < self.retry_due_s:
            return []
        try:
            if self._line is None:
                self._line = OutputLine(self._factory, self._gpio)
                self._on = False
            if on != self._on:
                self._line.set(on)
                self._on = on
        except DeviceError as error:
            self.close()
            self.retry_due_s = now + retry_s
            return self._fault.change(now, "absent", str(error))
        self.retry_due_s = math.inf
        return self._fault.change(now, "")

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None


class TouchDriver:
    """Plays a pattern of `core.alerts.HAPTICS`; a newer request takes the place of the running one.

    A line that cannot be used is reported as `absent` of part `vibration` or `buzzer` and tried again every
    `retry_s`; the other goes on.  `poll` raises nothing.
    """

    def __init__(self, buzzer: Buzzer, vibration: Vibration, pin_factory: Any, clock: Clock) -> None:
        self.name = "touch"
        self.retry_s = 0.5
        self.wake = no_wake
        self.shares = ""
        self.counts: Counter[str] = Counter()
        """Patterns begun, by name."""
        self._clock = clock
        self._vibration = _Output("vibration", vibration.pin, pin_factory)
        self._buzzer = _Output("buzzer", buzzer.pin, pin_factory)
        self._request: Touch | None = None
        # One place: a newer request pushes an older one out, and both ends are atomic, so no lock is needed.
        self._asked: deque[Touch] = deque(maxlen=1)
        self._began_s = -math.inf

    def touch(self, request: Touch) -> None:
        """Asks for a pattern, at once.  From any thread; returns without touching a pin."""
        self._asked.append(request)
        self.wake()

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        if self._asked:
            self._request, self._began_s = self._asked.popleft(), now
            self.counts[self._request.pattern] += 1
            self._vibration.retry_due_s = self._buzzer.retry_due_s = -math.inf  # a warning tries every line again
        on, next_s = self._now(now)
        buzzing = on and self._request is not None and self._request.buzzer
        items = self._vibration.set(on, now, self.retry_s) + self._buzzer.set(buzzing, now, self.retry_s)
        if math.isinf(next_s):
            self._request = None
        return items, min(next_s, self._vibration.retry_due_s, self._buzzer.retry_due_s)

    def close(self) -> None:
        self._request = None
        self._asked.clear()
        self._vibration.close()
        self._buzzer.close()

    def _now(self, now: float) -> tuple[bool, float]:
        """Whether the pattern is on now, and when that changes (`inf`: it is over)."""
        if self._request is None:
            return False, math.inf
        # An unknown name is felt as the strongest pattern rather than not at all; a test holds names and table to it.
        edge_s = self._began_s
        for on_s, off_s in HAPTICS.get(self._request.pattern, HAPTICS["warning"]):
            edge_s += on_s
            if now < edge_s:
                return True, edge_s
            edge_s += off_s
            if now < edge_s:
                return False, edge_s
        return False, math.inf
