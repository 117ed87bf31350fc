"""What drivers of chips on the I2C bus share: registers, a little patience, and what an error number means."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from retrowalk.errors import SensorError
from retrowalk.platform import I2CBus

NACK_LIMIT_S = 0.100
NACK_RETRY_S = 0.020
"""A motor that switches on can spoil a transfer; it is tried again.  Longer than the limit, and the chip is gone."""

_ERRNO_MEANS = {
    errno.EREMOTEIO: "no acknowledge: not connected, not powered, or another address",
    errno.ENXIO: "no acknowledge: not connected, not powered, or another address",
    errno.ETIMEDOUT: "timed out: a bus line is held low",
    errno.EIO: "input/output error: a loose wire, or noise",
    errno.EAGAIN: "arbitration lost: another master, or noise",
}


def absent(where: str, error: OSError) -> SensorError:
    """The error to raise for a chip that does not answer; `where` is its name and address."""
    number = error.errno or errno.EIO
    means = _ERRNO_MEANS.get(number) or os.strerror(number)
    return SensorError("absent", f"{where} does not answer (error {error.errno}: {means})")


class Patience:
    """For how long a chip has not answered."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def answered(self) -> None:
        """A poll went well."""
        self._since_s = None

    def left(self, now: float) -> bool:
        """A transfer has failed at `now`: whether to try again after `NACK_RETRY_S`."""
        if self._since_s is None:
            self._since_s = now
        return now - self._since_s < NACK_LIMIT_S


class Registers:
    """The registers of the chip at `address`, by an index of one byte; every access is one transfer.

    Raises `OSError`: the bus, or an answer of another length than was asked for.
    """

    def __init__(self, bus: I2CBus, address: int, where: str) -> None:
        self._bus = bus
        self._address = address
        self._where = where

    def get(self, register: int, count: int) -> bytes:
        """Reads `count` bytes from `register` on."""
        data = self._bus.transfer(self._address, bytes((register,)), count)
        if len(data) != count:
            raise OSError(errno.EIO, f"{len(data)} bytes instead of {count}")
        return data

    def put(self, register: int, *values: int) -> None:
        """Writes `values` from `register` on."""
        self._bus.transfer(self._address, bytes((register, *values)), 0)

    def keep(self, settings: Sequence[tuple[int, bytes]]) -> None:
        """Writes settings and reads them back.  Raises `SensorError`: `garbage` (a register that does not keep)."""
        for register, setting in settings:
            self.put(register, *setting)
        for register, setting in settings:
            found = self.get(register, len(setting))
            for at, (reads, written) in enumerate(zip(found, setting, strict=True), register):
                if reads != written:
                    detail = f"register 0x{at:02X} reads 0x{reads:02X} after 0x{written:02X} was written"
                    raise SensorError("garbage", f"{self._where}: {detail}")
