"""A simulated I2C bus: chips by address, and a bus that fails as real ones do."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Protocol

from retrowalk.platform import Clock
from retrowalk.sim.faults import Faults, has_contact

TRANSFER_S = 25e-6
"""Time that passes with every transfer: one byte at 400 kHz.  Longer ones take no longer here, so that nobody else is
held up; but who asks again and again for something sees time pass."""


class Chip(Protocol):
    """A chip behind an address."""

    part: str
    """Part of the fault table, such as `imu`."""

    def transfer(self, write: bytes, read: int, now: float) -> bytes:
        """One combined transaction.  Raises `OSError` (NACK) or `StrictTwinError` (a driver's mistake)."""


class SimBus:
    """A bus with chips on it.  An absent chip raises `OSError(EREMOTEIO)`, as the kernel does for a NACK.

    A part that is `off` or has a loose wire does not answer; one that is `garbage` reads as if its data line were
    pulled up.  The other faults are the chip's own.
    """

    def __init__(self, clock: Clock, chips: Mapping[int, Chip], faults: Faults | None = None) -> None:
        self.transfers = 0
        self._clock = clock
        self._chips = dict(chips)
        self._faults = faults or Faults()
        self._closed = False

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        if self._closed:
            raise OSError(errno.EBADF, "the bus is closed")
        self._clock.pause(TRANSFER_S)
        self.transfers += 1
        return self.answer(address, write, read, self._clock.now())

    def answer(self, address: int, write: bytes, read: int, now: float) -> bytes:
        """The transfer at session second `now`, with the faults of that moment."""
        chip = self._chips.get(address)
        if chip is None:
            raise OSError(errno.EREMOTEIO, f"no chip at 0x{address:02X}")
        fault = self._faults.active(chip.part, now)
        if fault == "off" or (fault == "intermittent" and not has_contact(now)):
            raise OSError(errno.EREMOTEIO, f"0x{address:02X} does not acknowledge")
        if fault == "garbage":
            return b"\xff" * read
        return chip.transfer(write, read, now)

    def close(self) -> None:
        self._closed = True
