"""MAX17048 fuel gauge: the charge of one lithium cell, from the chip's own model of it.

Wiring: CELL and VDD to the battery's plus (most boards do that themselves), GND to its minus, SDA to GPIO2, SCL to
GPIO3; address 0x36, which cannot be changed.  It lives on the cell itself: without a battery it does not answer.  A
board's pull-ups must end at 3.3 V (its pin VIN or 3V3), not at the cell, whose 4.2 V the Pi's pins do not bear.

Registers have 16 bits, the high byte first.  VCELL 78.125 uV a count, SOC 1/256 % a count and sometimes above 100 %.
The model is started by the chip itself when a cell is connected; a quick start, which libraries like to give, would
replace what it has learnt by a guess from the loaded voltage: it is never given.  A set RI bit (STATUS) tells that it
has started anew; until about 1 s later it reads 0 V or 0 %, which is no charge.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from retrowalk.config import Battery
from retrowalk.core.samples import BatterySample, Item
from retrowalk.devices.battery import NAME, POLL_S, Jumps, Words, patience
from retrowalk.devices.faults import FaultState
from retrowalk.devices.i2c import Attempts
from retrowalk.errors import SensorError
from retrowalk.platform import Clock, I2CBus, no_wake

log = logging.getLogger("retrowalk.battery")

VCELL, SOC, VERSION, STATUS = 0x02, 0x04, 0x08, 0x1A
RESET_INDICATOR = 0x0100
VERSION_MASK, CHIP_VERSION = 0xFFF0, 0x0010
VOLT = 78.125e-6
PERCENT = 1.0 / 256.0

SETTLE_S = 1.5
"""After it has started anew (maker: the first SOC after 1 s)."""
VOLTAGE_MIN_V, VOLTAGE_MAX_V = 2.4, 4.6
"""No lithium cell that still runs a Pi, or is still one, is outside."""
JUMP_PERCENT = 15.0
"""The model moves slowly: no load and no charger makes it jump so far between two readings, a new cell does."""
READY_V = 3.6
"""A cell of more than that is not empty: 0 % is then the word of a model that has not begun."""
SOC_MAX_PERCENT = 140.0
"""Models that do not fit the cell go above 100; this far none does."""


class Max17048Driver:
    """A `BatterySample` every 5 s: charge 0 to 100 %, cell voltage, no current.

    Raises `SensorError`: `absent` (three times no answer), `wrong_chip` (its version is of something else), `garbage`
    (all bits set).  Reports `garbage` for numbers that no cell has, and for a charge that jumps by more than 15 %
    within 5 s, until it has stayed there for 10 s.  A chip that has started anew is given time, and may jump.
    """

    def __init__(self, config: Battery, bus: I2CBus, clock: Clock) -> None:
        self.name = NAME
        self.retry_s = POLL_S
        self.shares = "i2c"
        self.wake = no_wake
        self.counts: Counter[str] = Counter()
        """Samples given, and by reason what was thrown away."""
        self._where = f"MAX17048 at 0x{config.bus_address:02X}"
        self._words = Words(bus, config.bus_address, self._where)
        self._known = False
        self._fault = FaultState(self.name)
        self._jumps = Jumps(JUMP_PERCENT)
        self._attempts = Attempts(self._where, self.counts, self.close, patience=patience())

    # ------------------------------------------------------------------------------------------- as a step

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        return self._attempts.poll(self._read, now)

    def close(self) -> None:
        """Leaves the chip as it is; the bus is not the driver's to close."""
        self._known = False

    def _read(self, now: float) -> tuple[Sequence[Item], float]:
        if not self._known:
            self._identify()
        status = self._words.get(STATUS)
        if status == 0xFFFF:
            raise SensorError("garbage", f"{self._where}: every bit reads 1")
        if status & RESET_INDICATOR:
            self.counts["chip_reset"] += 1
            log.info("%s has started anew: the cell was connected, or its voltage had broken down", self._where)
            self._words.put(STATUS, status & ~RESET_INDICATOR)
            self._jumps.forget()
            return (), now + SETTLE_S
        cell, charge = self._words.get(VCELL), self._words.get(SOC)
        voltage_v, charge_percent = cell * VOLT, charge * PERCENT
        if not cell or (not charge and voltage_v > READY_V):
            self.counts["not_ready"] += 1  # 0 V or 0 %: the model has not begun
            return self._fault.change(now, *self._jumps.nothing(now)), now + SETTLE_S
        if not VOLTAGE_MIN_V <= voltage_v <= VOLTAGE_MAX_V or charge_percent > SOC_MAX_PERCENT:
            self.counts["impossible"] += 1
            detail = f"{self._where}: {voltage_v:.2f} V and {charge_percent:.0f} % are not those of a cell"
            return self._fault.change(now, "garbage", detail), now + POLL_S
        charge_percent = min(charge_percent, 100.0)
        if not self._jumps.believed(charge_percent):
            self.counts["jump"] += 1
            detail = f"{self._where}: charge jumped to {charge_percent:.0f} %, by more than {JUMP_PERCENT:.0f}"
            return self._fault.change(now, "garbage", detail), now + POLL_S
        self.counts["sample"] += 1
        sample = BatterySample(now, now, round(charge_percent, 1), round(voltage_v, 3))
        return [*self._fault.change(now, ""), sample], now + POLL_S

    def _identify(self) -> None:
        version = self._words.get(VERSION)
        if version == 0xFFFF:
            raise SensorError("garbage", f"{self._where}: every bit reads 1")
        if version & VERSION_MASK != CHIP_VERSION:
            raise SensorError(
                "wrong_chip", f"{self._where} has version 0x{version:04X}; a MAX17048 has 0x001x: another chip?"
            )
        self._known = True
