"""A simulated I2C bus: chips by address, and a bus that fails as real ones do."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Protocol

from retrowalk.platform import Clock
from retrowalk.sim.faults import Faults, has_contact, in_burst
from retrowalk.sim.noise import stream

TRANSFER_S = 25e-6
"""Time that passes with every transfer: one byte at 400 kHz.  Longer ones take no longer here, so that nobody else is
held up; but who asks again and again for something sees time pass."""

BUS_HZ = 400e3
NOISE_P = 0.02
CLOCK_OUT_S = 150e-6


def transfer_s(write: int, read: int) -> float:
    """Time on the wires of one transaction at 400 kHz: nine bits a byte, the address before each direction, and the
    start, repeated start and stop conditions.
    """
    sent = 9 * (1 + write) + 1 if write or not read else 0
    got = 9 * (1 + read) + 1 if read else 0
    return (sent + got + 1) / BUS_HZ


class Chip(Protocol):
    """A chip behind an address."""

    part: str
    """Part of the fault table, such as `imu`."""
    address: int
    """The address it has been given by software, or 0: it is where it is wired."""

    def transfer(self, write: bytes, read: int, now: float) -> bytes:
        """One combined transaction.  Raises `OSError` (NACK) or `StrictTwinError` (a driver's mistake)."""


class SimBus:
    """A bus with chips on it.  An absent chip raises `OSError(EREMOTEIO)`, as the kernel does for a NACK.

    A part that is `off` or has a loose wire does not answer; one that is `garbage` reads as if its data line were
    pulled up.  The other faults are the chip's own.  It is its own `BusLines`, too.
    """

    def __init__(self, clock: Clock, chips: Mapping[int, Chip], faults: Faults | None = None) -> None:
        self.transfers = 0
        self.busy_s: dict[int, float] = {}
        """Time on the wires so far, at 400 kHz, by address."""
        self.longest_s: dict[int, float] = {}
        """Time on the wires of the longest transaction, by address."""
        self._clock = clock
        self._chips = dict(chips)
        self._faults = faults or Faults()
        self._noise = stream(0, "bus.noise")
        self._closed = False
        self._let_go = False
        """Whether the chip that holds the data line has been given its nine clocks."""

    def _held(self, now: float) -> bool:
        """Whether the data line is held low."""
        fault = self._faults.active("bus", now)
        if fault != "held":
            self._let_go = False
        return fault == "stuck" or (fault == "held" and not self._let_go)

    def held(self) -> str:
        """As `BusLines.held`."""
        return "SDA" if self._held(self._clock.now()) else ""

    def clock_out(self) -> None:
        """As `BusLines.clock_out`."""
        self._clock.pause(CLOCK_OUT_S)
        self._let_go = True

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        if self._closed:
            raise OSError(errno.EBADF, "the bus is closed")
        self._clock.pause(TRANSFER_S)
        self.transfers += 1
        took_s = transfer_s(len(write), read)
        self.busy_s[address] = self.busy_s.get(address, 0.0) + took_s
        self.longest_s[address] = max(self.longest_s.get(address, 0.0), took_s)
        return self.answer(address, write, read, self._clock.now())

    def answer(self, address: int, write: bytes, read: int, now: float) -> bytes:
        """The transfer at session second `now`, with the faults of that moment."""
        bus_fault = self._faults.active("bus", now)
        if self._held(now):
            raise OSError(errno.ETIMEDOUT, "the bus is stuck: its data line stays low")
        chip = next((chip for wired, chip in self._chips.items() if (chip.address or wired) == address), None)
        if chip is None:
            raise OSError(errno.EREMOTEIO, f"no chip at 0x{address:02X}")
        fault = self._faults.active(chip.part, now)
        if (
            fault == "off"
            or (fault == "intermittent" and not has_contact(now))
            or ("nack" in (fault, bus_fault) and in_burst(now))
        ):
            raise OSError(errno.EREMOTEIO, f"0x{address:02X} does not acknowledge")
        if fault == "garbage":
            return b"\xff" * read
        data = chip.transfer(write, read, now)
        if bus_fault == "noise" and data and self._noise.random() < NOISE_P:
            bit = self._noise.randrange(8 * len(data))
            return (int.from_bytes(data, "big") ^ 1 << bit).to_bytes(len(data), "big")
        return data

    def close(self) -> None:
        self._closed = True
