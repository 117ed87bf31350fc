"""Vibration motors and buzzer: what is felt and heard with a warning, and instead of the voice when it has failed.

Wiring: each behind a transistor or logic-level MOSFET, its gate to `vibration.pin` (GPIO27) or `buzzer.pin` (GPIO22)
with 10 kΩ to ground so that all stay off while the Pi boots; a diode across each motor; all fed from 5 V by a ground
return that the ultrasonic modules do not share.  The buzzer is an active one.  A second motor, at `vibration.right_pin`
as the first, is worn on the walker's own right, and the first on the left.

One motor says nothing of a side: few patterns are told apart, and the one that matters is the warning.
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

JOINS_AFTER = 2
"""In a warning the motor of the other side joins in after so many bursts: a wire that has come off costs no warning."""
SIDES = ("left", "right")


class _Output:
    """One of the lines: opened when it can be, tried again when it cannot, off whenever in doubt."""

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

    @property
    def works(self) -> bool:
        """Whether nothing is known to be wrong with it."""
        return not self._fault.active

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None


class TouchDriver:
    """Plays a pattern of `core.alerts.HAPTICS`; a newer request takes the place of the running one.

    With two motors a request of a `side` is felt there alone, a warning on both from its third burst on.  A line that
    cannot be used is reported as `absent` of part `vibration`, `vibration-right` or `buzzer` and tried again every
    `retry_s`; the others go on, and a motor that cannot be used is stood in for by the other.  `poll` raises nothing.
    """

    def __init__(self, buzzer: Buzzer, vibration: Vibration, pin_factory: Any, clock: Clock) -> None:
        self.name = "touch"
        self.retry_s = 0.5
        self.wake = no_wake
        self.shares = ""
        self.counts: Counter[str] = Counter()
        """Patterns begun, by name."""
        self._clock = clock
        self._motors = [_Output("vibration", vibration.pin, pin_factory)]
        if vibration.right_pin >= 0:
            self._motors.append(_Output("vibration-right", vibration.right_pin, pin_factory))
        self._buzzer = _Output("buzzer", buzzer.pin, pin_factory)
        self._outputs = [*self._motors, self._buzzer]
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
            for output in self._outputs:
                output.retry_due_s = -math.inf  # a warning tries every line again
        on, burst, next_s = self._now(now)
        buzzing = on and self._request is not None and self._request.buzzer
        items = []
        for side, motor in zip(SIDES, self._motors, strict=False):
            items += motor.set(on and self._felt_at(side, burst), now, self.retry_s)
        items += self._buzzer.set(buzzing, now, self.retry_s)
        if math.isinf(next_s):
            self._request = None
        return items, min(next_s, *(output.retry_due_s for output in self._outputs))

    def close(self) -> None:
        self._request = None
        self._asked.clear()
        for output in self._outputs:
            output.close()

    def _felt_at(self, side: str, burst: int) -> bool:
        """Whether a burst is felt at this side."""
        request = self._request
        if request is None or request.side in ("", side) or len(self._motors) == 1:
            return True
        wanted = self._motors[SIDES.index(request.side)]
        return not wanted.works or (burst >= JOINS_AFTER and _bursts(request.pattern) is HAPTICS["warning"])

    def _now(self, now: float) -> tuple[bool, int, float]:
        """Whether the pattern is on now, in which burst, and when that changes (`inf`: it is over)."""
        if self._request is None:
            return False, 0, math.inf
        edge_s = self._began_s
        for burst, (on_s, off_s, _) in enumerate(_bursts(self._request.pattern)):
            edge_s += on_s
            if now < edge_s:
                return True, burst, edge_s
            edge_s += off_s
            if now < edge_s:
                return False, burst, edge_s
        return False, 0, math.inf


def _bursts(pattern: str) -> tuple[tuple[float, float, float], ...]:
    # An unknown name is felt as the strongest pattern rather than not at all; a test holds names and table to it.
    return HAPTICS.get(pattern, HAPTICS["warning"])
