"""The light: what a helper sees at a glance, and the last that still tells something when nothing is heard or felt.

Wiring: `led.pin` (GPIO25) through 470 ohm to the LED's longer leg, the other leg to ground; 3 mA, which a pin gives
without a transistor.  A light that is not fitted costs nothing: a pin with nothing on it is switched all the same.

A light that is off is no promise.  It is off while the device is not worn, when it has been switched off, and when the
guard is dead: the kernel takes the line away from a process that ends.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

from retrowalk.config import Led
from retrowalk.core.samples import Item
from retrowalk.devices.faults import FaultState
from retrowalk.devices.lines import OutputLine
from retrowalk.errors import DeviceError
from retrowalk.platform import no_wake

LIGHTS: dict[str, tuple[float, float]] = {
    "off": (0.0, math.inf),
    "steady": (math.inf, 0.0),
    "slow": (0.5, 0.5),
    "fast": (0.1, 0.1),
}
"""Seconds on and seconds off, again and again.  Five a second are told from one at a glance, and are no flicker."""


class LedDriver:
    """Shows one of `LIGHTS`.  A line that cannot be used is reported as `absent` of part `led`, and tried again every
    `retry_s`.  `poll` raises nothing.
    """

    def __init__(self, led: Led, pin_factory: Any) -> None:
        self.name = "led"
        self.retry_s = 5.0
        self.wake = no_wake
        self.shares = ""
        self._gpio = led.pin
        self._factory = pin_factory
        self._line: OutputLine | None = None
        self._on = False
        self._fault = FaultState("led")
        self._light = "off"
        self._began_s = 0.0
        # One place: a newer light pushes an older one out, and both ends are atomic, so no lock is needed.
        self._asked: deque[str] = deque(maxlen=1)

    def show(self, light: str) -> None:
        """Asks for a light.  From any thread; returns without touching a pin."""
        self._asked.append(light)
        self.wake()

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        if self._asked:
            light = self._asked.popleft()
            if light != self._light:
                self._light, self._began_s = light, now
        on_s, off_s = LIGHTS[self._light]
        on, next_s = on_s > 0.0, math.inf
        if math.isfinite(on_s) and math.isfinite(off_s):
            periods, into_s = divmod(now - self._began_s + 1e-9, on_s + off_s)
            on = into_s < on_s
            next_s = self._began_s + periods * (on_s + off_s) + (on_s if on else on_s + off_s)
        try:
            if self._line is None:
                self._line = OutputLine(self._factory, self._gpio)
                self._on = False
            if on is not self._on:
                self._line.set(on)
                self._on = on
        except DeviceError as error:
            self.close()
            return self._fault.change(now, "absent", str(error)), now + self.retry_s
        return self._fault.change(now, ""), next_s

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        self._line = None
