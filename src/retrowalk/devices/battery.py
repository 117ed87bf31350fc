"""What the drivers of battery chips share: how often they are read, and what is not believed of them."""

from __future__ import annotations

from retrowalk.devices.i2c import Patience, Registers
from retrowalk.platform import I2CBus

NAME = "battery"
POLL_S = 5.0
"""A walk lasts an hour; charge moves by 1 % in a minute at most."""
TRY_AGAIN_S = 1.0
NACK_TRIES = 3
"""A motor that switches can spoil a transfer: so many in a row, 1 s apart, are no answer."""

JUMP_READINGS = 3
"""A charge that has been there for so many readings in a row (10 s) is believed, however it came there."""
NOT_READY_S = 6.0
"""A model that has not begun after this never will."""


def patience() -> Patience:
    """How long a battery chip is waited for."""
    return Patience(0.0, NACK_TRIES, TRY_AGAIN_S)


class Words:
    """The registers of a chip that have 16 bits, the high byte first.  Raises `OSError` as `Registers` does."""

    def __init__(self, bus: I2CBus, address: int, where: str) -> None:
        self._registers = Registers(bus, address, where)

    def get(self, register: int) -> int:
        """Reads a register, 0 to 0xFFFF."""
        return int.from_bytes(self._registers.get(register, 2), "big")

    def put(self, register: int, value: int) -> None:
        """Writes a register, 0 to 0xFFFF."""
        self._registers.put(register, *value.to_bytes(2, "big"))


class Jumps:
    """Holds back a charge that has jumped by more than `limit_percent`, until it has stayed where it is."""

    def __init__(self, limit_percent: float) -> None:
        self.limit_percent = limit_percent
        self._last_percent: float | None = None
        self._new_percent: float | None = None
        self._new_count = 0
        self._nothing_s: float | None = None

    def forget(self) -> None:
        """The next charge may be any: the chip has begun anew, or the cell was exchanged."""
        self._last_percent = self._new_percent = self._nothing_s = None

    def believed(self, charge_percent: float) -> bool:
        """Whether a charge (0 to 100) is one to go by."""
        self._nothing_s = None
        last, new = self._last_percent, self._new_percent
        if last is None or abs(charge_percent - last) <= self.limit_percent:
            self._last_percent, self._new_percent = charge_percent, None
            return True
        self._new_count = (
            self._new_count + 1 if new is not None and abs(charge_percent - new) <= self.limit_percent else 1
        )
        self._new_percent = charge_percent
        if self._new_count < JUMP_READINGS:
            return False
        self._last_percent, self._new_percent = charge_percent, None
        return True

    def nothing(self, now: float) -> tuple[str, str]:
        """There was no charge to read; the fault and its detail once that has lasted."""
        if self._nothing_s is None:
            self._nothing_s = now
        if now - self._nothing_s < NOT_READY_S:
            return "", ""
        return "garbage", f"no charge for {NOT_READY_S:.0f} s, though the chip answers"
