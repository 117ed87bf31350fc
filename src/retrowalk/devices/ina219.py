"""INA219 current and voltage monitor in the battery's plus line: voltage, current, and an estimate of the charge.

Wiring: VIN+ to the battery's plus, VIN- to the load (the converter that feeds the Pi), GND to the battery's minus, VCC
to 3.3 V, SDA to GPIO2, SCL to GPIO3; address 0x40, by its solder bridges to 0x4F.  Current from the battery is then
positive, a charger's negative.  On most boards the shunt is 0.1 ohm (printed R100): 3.2 A at most.

Registers have 16 bits, the high byte first.  It keeps no settings: after a brown-out it measures on with those of its
reset and a calibration of 0, and current reads 0.  So both are looked at with every reading, and written anew.

The charge is an estimate.  The voltage of a resting cell tells it; under load it sags by the cell's own resistance
(about 0.1 ohm new, cold or old twice that), which is added again.  What is left, cell to cell and by chemistry, is
about 15 % of charge in the middle, less towards the end.  A MAX17048 knows better.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from retrowalk.config import Battery
from retrowalk.core.samples import BatterySample, Item
from retrowalk.devices.battery import NAME, POLL_S, TRY_AGAIN_S, Jumps, Words, patience
from retrowalk.devices.faults import FaultState
from retrowalk.devices.i2c import Attempts
from retrowalk.errors import SensorError
from retrowalk.platform import Clock, I2CBus, no_wake

log = logging.getLogger("retrowalk.battery")

CONFIG, SHUNT, BUS, POWER, CURRENT, CALIBRATION = range(6)
SETTING_16V, SETTING_32V = 0x1FFF, 0x3FFF
"""320 mV across the shunt, 128 samples averaged for both (bursts of a motor average out), continuous; for batteries of
up to three cells, and for four."""
CALIBRATE = 4096
"""One count of CURRENT is then one of SHUNT, 10 uV: what the one says can be held against the other."""
MEASURE_S = 0.2
"""Two averages of 128 samples take 137 ms."""
READY, OVERFLOW = 0x0002, 0x0001
VOLT = 0.004
SHUNT_VOLT = 10e-6
SHUNT_COUNTS_MAX = 32000

CELL_OHM = 0.10
"""Inner resistance of a cell with its wires."""
CELL_MIN_V, CELL_MAX_V = 2.3, 4.4
JUMP_PERCENT = 35.0
"""Between two readings.  A charger that is plugged in can make the estimate jump by 20 %, since the cell's resistance
is not known; another battery, or a bad contact, by more."""
SMOOTH_S = 30.0
"""Time constant of the charge: no battery is that fast, a load is."""

# Resting voltage of a cell and its charge.  Midway between NMC/NCA cells as measured (Molicel P42A, Samsung 40T, by
# Sunil, Pattipati and Balasingam, "Piecewise Linear Approximation of Battery Open-Circuit Voltage Characteristics
# Using Dynamic Programming", 2025) and the rule of thumb for cobalt pouch cells, which fall later and faster: so the
# former are called low early (20 % at 35 %), the latter late (at 8 %, which still is a quarter of an hour).  Empty is
# where a converter to 5 V gives up.
CHARGE_OF_V = (
    (3.20, 0.0),
    (3.45, 5.0),
    (3.55, 10.0),
    (3.63, 20.0),
    (3.70, 30.0),
    (3.75, 40.0),
    (3.80, 52.0),
    (3.90, 66.0),
    (4.00, 78.0),
    (4.08, 90.0),
    (4.19, 100.0),
)


def charge_percent(resting_v: float) -> float:
    """Charge of a lithium cell that rests at this voltage, 0 to 100 %."""
    below_v, below = CHARGE_OF_V[0]
    if resting_v <= below_v:
        return below
    for above_v, above in CHARGE_OF_V[1:]:
        if resting_v <= above_v:
            return below + (above - below) * (resting_v - below_v) / (above_v - below_v)
        below_v, below = above_v, above
    return 100.0


class Ina219Driver:
    """A `BatterySample` every 5 s: charge 0 to 100 % (estimated), voltage of the battery, current drawn from it.

    Raises `SensorError`: `absent` (three times no answer), `wrong_chip` (it does not keep its settings), `garbage` (all
    bits set).  Reports `garbage`: numbers that this battery cannot have, a shunt out of its range, current and shunt
    that do not agree, no new measurement, a charge that jumps by more than 35 %.
    """

    def __init__(self, config: Battery, bus: I2CBus, clock: Clock) -> None:
        self.name = NAME
        self.retry_s = POLL_S
        self.shares = "i2c"
        self.wake = no_wake
        self.counts: Counter[str] = Counter()
        """Samples given, and by reason what was thrown away."""
        self._where = f"INA219 at 0x{config.bus_address:02X}"
        self._cells = config.cells
        self._shunt_ohm = config.shunt_ohm
        self._setting = SETTING_32V if config.cells > 3 else SETTING_16V
        self._words = Words(bus, config.bus_address, self._where)
        self._written = False
        self._resets = 0
        self._fault = FaultState(self.name)
        self._jumps = Jumps(JUMP_PERCENT)
        self._attempts = Attempts(self._where, self.counts, self.close, patience=patience())
        self._charge: tuple[float, float] | None = None
        """When the charge was estimated last, and what it was."""

    # ------------------------------------------------------------------------------------------- as a step

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        return self._attempts.poll(self._read, now)

    def close(self) -> None:
        """Leaves the chip as it is; the bus is not the driver's to close."""
        self._written = False

    def _read(self, now: float) -> tuple[Sequence[Item], float]:
        setting, calibration = self._words.get(CONFIG), self._words.get(CALIBRATION)
        if setting == calibration == 0xFFFF:
            raise SensorError("garbage", f"{self._where}: every bit reads 1")
        if (setting, calibration) != (self._setting, CALIBRATE):
            return self._set_up(now, setting)
        self._resets = 0
        self._written = True
        bus, shunt, current = self._words.get(BUS), _signed(self._words.get(SHUNT)), _signed(self._words.get(CURRENT))
        if not bus & READY:
            self.counts["not_ready"] += 1
            return self._fault.change(now, *self._jumps.nothing(now)), now + TRY_AGAIN_S
        problem = self._impossible(bus, shunt, current)
        if problem:
            self.counts["impossible"] += 1
            return self._fault.change(now, "garbage", f"{self._where}: {problem}"), now + POLL_S
        current_a = shunt * SHUNT_VOLT / self._shunt_ohm
        voltage_v = (bus >> 3) * VOLT + shunt * SHUNT_VOLT
        percent = charge_percent(voltage_v / self._cells + current_a * CELL_OHM)
        if not self._jumps.believed(percent):
            self.counts["jump"] += 1
            detail = f"{self._where}: charge jumped to {percent:.0f} %"
            return self._fault.change(now, "garbage", detail), now + POLL_S
        self.counts["sample"] += 1
        sample = BatterySample(now, now, round(self._smooth(now, percent), 1), round(voltage_v, 3), round(current_a, 3))
        # Reading POWER clears the ready bit, and nothing else does without starting anew.
        self._words.get(POWER)
        return [*self._fault.change(now, ""), sample], now + POLL_S

    def _set_up(self, now: float, setting: int) -> tuple[Sequence[Item], float]:
        if self._written:
            self.counts["chip_reset"] += 1
            log.info("%s had lost its settings: its voltage had broken down", self._where)
            self._written = False
        elif self._resets >= 2:
            self._resets = 0
            raise SensorError(
                "wrong_chip", f"{self._where} does not keep its settings (0x{setting:04X}): another chip?"
            )
        self._resets += 1
        self._words.put(CONFIG, self._setting)
        self._words.put(CALIBRATION, CALIBRATE)
        return (), now + MEASURE_S

    def _impossible(self, bus: int, shunt: int, current: int) -> str:
        if bus & OVERFLOW or abs(shunt) >= SHUNT_COUNTS_MAX:
            return "more current than its shunt can measure: a short circuit, or another shunt than battery.shunt_ohm"
        if abs(current - shunt) > 1:
            return f"current {current} and shunt {shunt} do not agree"
        cell_v = (bus >> 3) * VOLT / self._cells
        if not CELL_MIN_V <= cell_v <= CELL_MAX_V:
            return f"{cell_v:.2f} V is not that of a cell: is battery.cells right ({self._cells})?"
        return ""

    def _smooth(self, now: float, percent: float) -> float:
        if self._charge is not None:
            before_s, before = self._charge
            if abs(percent - before) <= JUMP_PERCENT:
                share = min(1.0, (now - before_s) / SMOOTH_S)
                percent = before + share * (percent - before)
        self._charge = (now, percent)
        return percent


def _signed(value: int) -> int:
    return value - 0x10000 if value & 0x8000 else value
