"""Frees an I2C bus that a chip holds: nine clocks, as the I2C specification asks for (UM10204, 3.1.16).

A chip that lost count of the clock in the middle of a byte (a spike from the motor, a loose plug) waits for the rest of
it, and may hold the data line low for ever: nobody gets through.  The kernel's driver of the Pi Zero to 4
(`i2c-bcm2835`) does nothing about that; that of the Pi 5 (`i2c-designware`) clears its bus itself.  So the watch looks
at the two lines between transfers and, when one is low, takes them from the controller for a tenth of a millisecond.
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Sequence

from retrowalk.core.samples import Item
from retrowalk.devices.faults import FaultState
from retrowalk.platform import BusLines, Clock, I2CBus, no_wake

log = logging.getLogger("retrowalk.bus")

LOOK_S = 0.096
"""As every second read of the clip, in the same waking up."""
LOOK_AGAIN_S = 0.002
"""A line that is low twice in a row, with no transfer going on between, is held."""
AGAIN_S = 1.0
"""What nine clocks did not free is tried again this often."""
TIMED_OUT_S = 0.3
"""Where nobody can look at the lines: every transfer has timed out for so long."""
TIMED_OUT = (errno.ETIMEDOUT, errno.EAGAIN)
"""What the kernel says of a bus that is held.  A chip that is only absent does not acknowledge: another error."""


class WatchedBus:
    """A bus that remembers since when every transfer has timed out."""

    def __init__(self, bus: I2CBus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self.timing_out_since_s = math.inf

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        """As `I2CBus.transfer`."""
        try:
            answer = self._bus.transfer(address, write, read)
        except OSError as error:
            if error.errno not in TIMED_OUT:
                self.timing_out_since_s = math.inf
            elif self.timing_out_since_s == math.inf:
                self.timing_out_since_s = self._clock.now()
            raise
        self.timing_out_since_s = math.inf
        return answer

    def close(self) -> None:
        self._bus.close()


class BusWatch:
    """Reports `stuck` of part `bus` when nine clocks do not free it, and when it is free.  Never raises.

    A step in the thread of those who use the bus, so that it never looks in the middle of a transfer.  `lines` None:
    nobody can look at them, and nothing is done but to tell.
    """

    def __init__(self, bus: WatchedBus, lines: BusLines | None) -> None:
        self.name = "bus"
        self.retry_s = AGAIN_S
        self.shares = "i2c"
        self.wake = no_wake
        self.freed = 0
        """How often nine clocks have freed it."""
        self._bus = bus
        self._lines = lines
        self._fault = FaultState(self.name)
        self._low = False
        self._clock_out_s = -math.inf

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        lines = self._lines
        if lines is None:
            stuck = now - self._bus.timing_out_since_s >= TIMED_OUT_S
            detail = "every transfer times out: a line is held low, or its pull-up is off"
            return self._fault.change(now, "stuck" if stuck else "", detail if stuck else ""), now + LOOK_S
        try:
            held = lines.held()
            if held and self._low and now >= self._clock_out_s + AGAIN_S:
                self._clock_out_s = now
                lines.clock_out()
                held = lines.held()
                if not held:
                    self.freed += 1
                    log.info("the I2C bus was held by a chip; nine clocks have freed it (%d times so far)", self.freed)
        except OSError as error:
            log.warning("the lines of the I2C bus cannot be looked at: %s", error)
            self._lines = None
            return (), now + LOOK_S
        self._low = bool(held)
        if not held:
            return self._fault.change(now, ""), now + LOOK_S
        if now < self._clock_out_s + LOOK_S:
            detail = f"{held} is held low, and nine clocks did not free it: a short, or a chip that hangs"
            return self._fault.change(now, "stuck", detail), now + LOOK_S
        return (), now + (LOOK_S if self._fault.active else LOOK_AGAIN_S)

    def close(self) -> None:
        """The lines are not the watch's to close."""
