"""A simulated INA219: a strict register file between a simulated battery and its load.

16-bit registers, the high byte first.  Its shunt lies in the plus line: BUS is the voltage behind it.  CURRENT and
POWER are 0 until CALIBRATION has been written, and again after a brown-out.
"""

from __future__ import annotations

from retrowalk.errors import StrictTwinError
from retrowalk.sim.battery import SimBattery
from retrowalk.sim.faults import Faults

CONFIG, SHUNT, BUS, POWER, CURRENT, CALIBRATION = range(6)
NAMES = ("CONFIG", "SHUNT", "BUS", "POWER", "CURRENT", "CALIBRATION")
CONFIG_RESET = 0x399F
RESET_BIT = 0x8000
READY, OVERFLOW = 0x0002, 0x0001
CONTINUOUS = 7
ADC_S = {3: 532e-6, 9: 1.06e-3, 10: 2.13e-3, 11: 4.26e-3, 12: 8.51e-3, 13: 17.02e-3, 14: 34.05e-3, 15: 68.10e-3}
"""Conversion time by ADC setting: 12 bits, and its averages of 2 to 128."""
OTHER_CHIP = 0x4127
"""CONFIG of an INA226, in the fault `wrong`; it does not take what is written for an INA219."""


class Ina219Twin:
    """The chip on a battery.  Faults of part `battery`: `wrong`, `reboot`; `low` and `empty` are the battery's own."""

    part = "battery"
    address = 0

    def __init__(
        self, battery: SimBattery, *, shunt_ohm: float = 0.1, reversed_: bool = False, faults: Faults | None = None
    ) -> None:
        self.battery = battery
        self.shunt_ohm = shunt_ohm
        self._sign = -1.0 if reversed_ else 1.0
        self._faults = faults or Faults()
        self._rebooted = False
        self._power_on(0.0)

    def _power_on(self, now: float) -> None:
        self._config, self._calibration = CONFIG_RESET, 0
        self._restart(now)

    def _restart(self, now: float) -> None:
        """A written CONFIG begins a new conversion; the old results stay until it is done."""
        self._began_s = now
        self._read_s = now
        """When the ready bit was cleared last."""

    def transfer(self, write: bytes, read: int, now: float) -> bytes:
        rebooting = self._faults.active(self.part, now) == "reboot"
        if rebooting and not self._rebooted:
            self._power_on(now)
        self._rebooted = rebooting
        if not write and not read:
            return b""  # somebody asks whether anybody is there
        if not write:
            raise StrictTwinError("INA219: a read needs the register's address in the same transfer")
        register, values = write[0], write[1:]
        if register >= len(NAMES):
            raise StrictTwinError(f"INA219: there is no register 0x{register:02X}")
        if values:
            if read or len(values) != 2:
                raise StrictTwinError(f"{NAMES[register]}: registers have two bytes; write them and read nothing")
            self._write(register, int.from_bytes(values, "big"), now)
            return b""
        if read != 2:
            raise StrictTwinError(f"{NAMES[register]}: registers have two bytes, {read} were read")
        return (self._read(register, now) & 0xFFFF).to_bytes(2, "big")

    def _write(self, register: int, value: int, now: float) -> None:
        if register not in (CONFIG, CALIBRATION):
            raise StrictTwinError(f"{NAMES[register]} is read-only; 0x{value:04X} was written")
        if self._faults.active(self.part, now) == "wrong":
            return
        if register == CALIBRATION:
            self._calibration = value & 0xFFFE
            return
        if value & RESET_BIT:
            self._power_on(now)
            return
        if value & 0x4000:
            raise StrictTwinError(f"CONFIG = 0x{value:04X}: bit 14 is not used")
        if value & 7 != CONTINUOUS:
            raise StrictTwinError(f"CONFIG = 0x{value:04X}: only continuous measurement of both is simulated")
        for shift, name in ((7, "bus"), (3, "shunt")):
            if value >> shift & 15 not in ADC_S:
                raise StrictTwinError(f"CONFIG = 0x{value:04X}: this setting of the {name} ADC is not simulated")
        self._config = value
        self._restart(now)

    def _read(self, register: int, now: float) -> int:
        if self._faults.active(self.part, now) == "wrong":
            return OTHER_CHIP if register == CONFIG else 0x0000
        if register == CONFIG:
            return self._config
        if register == CALIBRATION:
            return self._calibration
        both_s = ADC_S[self._config >> 7 & 15] + ADC_S[self._config >> 3 & 15]
        done = int((now - self._began_s) / both_s)
        if not done:
            return 0x0000
        at_s = self._began_s + done * both_s
        current_a = self.battery.mean_current_a(at_s, both_s)
        shunt_v = self._sign * current_a * self.shunt_ohm
        full = 4000 << (self._config >> 11 & 3)
        shunt = max(-full, min(full, round(shunt_v / 10e-6)))
        current = shunt * self._calibration // 4096
        bus_v = self.battery.cells * self.battery.cell_v(at_s, current_a) - current_a * self.shunt_ohm
        bus = round(min(bus_v, 32.0 if self._config & 0x2000 else 16.0) / 0.004)
        power = abs(current) * bus // 5000
        overflow = abs(current) > 0x7FFF or power > 0xFFFF
        if register == SHUNT:
            return shunt
        if register == BUS:
            return bus << 3 | (READY if at_s > self._read_s else 0) | (OVERFLOW if overflow else 0)
        if register == CURRENT:
            return current
        self._read_s = now  # reading POWER clears the ready bit
        return power
