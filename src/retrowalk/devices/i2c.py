"""What drivers of chips on the I2C bus share: registers, patience with transfers that fail, and what errors mean."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Sequence

from retrowalk.core.samples import Item
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
    """How a chip has not answered: given up once that was for `limit_s`, and `tries` times in a row."""

    def __init__(self, limit_s: float = NACK_LIMIT_S, tries: int = 1, retry_s: float = NACK_RETRY_S) -> None:
        self.retry_s = retry_s
        self._limit_s = limit_s
        self._tries = tries
        self._since_s: float | None = None
        self._failed = 0

    def answered(self) -> None:
        """A poll went well."""
        self._since_s = None
        self._failed = 0

    def left(self, now: float) -> bool:
        """A transfer has failed at `now`: whether to try again after `retry_s`."""
        if self._since_s is None:
            self._since_s = now
        self._failed += 1
        return self._failed < self._tries or now - self._since_s < self._limit_s


class Attempts:
    """Polls a driver's steps; what the bus refuses is counted as `nack` and tried again, with patience.

    `forget` is called whenever the chip is lost.  A chip that is not `known` yet is not waited for.  `where` is its
    name and address.
    """

    def __init__(
        self,
        where: str,
        counts: Counter[str],
        forget: Callable[[], None],
        known: Callable[[], bool] = lambda: True,
        patience: Patience | None = None,
    ) -> None:
        self._where = where
        self._counts = counts
        self._forget = forget
        self._known = known
        self._patience = patience or Patience()
        self._failing = False

    def poll(self, step: Callable[[float], tuple[Sequence[Item], float]], now: float) -> tuple[Sequence[Item], float]:
        """What `step(now)` gives, or nothing and when to try again.  Raises `SensorError`: `absent`, or the step's."""
        try:
            answer = step(now)
        except SensorError:
            self._forget()
            raise
        except OSError as error:
            self._counts["nack"] += 1
            self._failing = True
            if self._patience.left(now) and self._known():
                return (), now + self._patience.retry_s
            self._forget()
            raise absent(self._where, error) from error
        if self._failing:
            self._failing = False
            self._patience.answered()
        return answer


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
