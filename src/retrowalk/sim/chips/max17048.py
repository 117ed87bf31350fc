"""A simulated MAX17048: a strict register file on a simulated battery.

16-bit registers, the high byte first; a read may go on over neighbours, or be of one byte.  A write of one byte is
acknowledged and changes nothing (so it is reported of its elder, the MAX17043).  It reads 0 V and 0 % until 1 s after
power-on, and the RI bit of STATUS stays set until somebody clears it.
"""

from __future__ import annotations

import errno

from retrowalk.errors import StrictTwinError
from retrowalk.sim.battery import SimBattery
from retrowalk.sim.chips.registers import RW, R, Registers, W, readable, writable
from retrowalk.sim.faults import Faults

VCELL, SOC, MODE, VERSION, HIBRT, CONFIG, VALRT, CRATE, VRESET, STATUS, COMMAND = (
    *(0x02, 0x04, 0x06, 0x08, 0x0A, 0x0C, 0x14, 0x16, 0x18, 0x1A),
    0xFE,
)
REGISTERS: Registers = {
    VCELL: ("VCELL", R, 0x0000),
    SOC: ("SOC", R, 0x0000),
    MODE: ("MODE", RW, 0x0000),
    VERSION: ("VERSION", R, 0x0012),
    HIBRT: ("HIBRT", RW, 0x8030),
    CONFIG: ("CONFIG", RW, 0x971C),
    VALRT: ("VALRT", RW, 0x00FF),
    CRATE: ("CRATE", R, 0x0000),
    VRESET: ("VRESET/ID", RW, 0x9600),
    STATUS: ("STATUS", RW, 0x0100),
    COMMAND: ("CMD", W, 0xFFFF),
}
READY_S = 1.0
QUICK_START = 0x4000
RESET = 0x5400
OTHER_CHIP = 0x0003
"""VERSION of a MAX17043, in the fault `wrong`."""


class Max17048Twin:
    """The chip on a cell.  Faults of part `battery`: `wrong`, `reboot`; `low` and `empty` are the battery's own."""

    part = "battery"
    address = 0

    def __init__(self, battery: SimBattery, *, faults: Faults | None = None, powered_s: float = -60.0) -> None:
        self.battery = battery
        self.percent_too_high = 0.0
        """How far its model reads above the truth; past 100 % it does not stop."""
        self._faults = faults or Faults()
        self._rebooted = False
        self._power_on(powered_s)

    def _power_on(self, now: float) -> None:
        self._registers = {register: reset for register, (_, _, reset) in REGISTERS.items()}
        self._begun_s = now

    def transfer(self, write: bytes, read: int, now: float) -> bytes:
        self._reboot(now)
        if not write and not read:
            return b""  # somebody asks whether anybody is there
        if not write:
            raise StrictTwinError("MAX17048: a read needs the register's address in the same transfer")
        register, values = write[0], write[1:]
        if values:
            if read:
                raise StrictTwinError(f"MAX17048 0x{register:02X}: written and read in one transfer")
            if len(values) > 2 or register % 2:
                raise StrictTwinError(
                    f"MAX17048 0x{register:02X}: registers have two bytes, {len(values)} were written"
                )
            if len(values) == 2:
                self._write(register, int.from_bytes(values, "big"), now)
            return b""
        first = register & ~1
        data = b"".join(self._read(at, now).to_bytes(2, "big") for at in range(first, register + read, 2))
        return data[register - first :][:read]

    def _reboot(self, now: float) -> None:
        rebooting = self._faults.active(self.part, now) == "reboot"
        if rebooting and not self._rebooted:
            self._power_on(now)
        self._rebooted = rebooting

    def _write(self, register: int, value: int, now: float) -> None:
        writable("MAX17048", REGISTERS, register, value, digits=4)
        if register == MODE and value & QUICK_START:
            raise StrictTwinError("MODE (0x06): a quick start throws away what the model has learnt")
        if register == COMMAND:
            if value != RESET:
                raise StrictTwinError(f"CMD (0xFE): there is no command 0x{value:04X}")
            self._power_on(now)
            raise OSError(errno.EREMOTEIO, "the chip resets before it acknowledges")
        if register == STATUS:
            value &= self._registers[STATUS] | 0x4000  # alerts can be cleared, not set
        self._registers[register] = value

    def _read(self, register: int, now: float) -> int:
        readable("MAX17048", REGISTERS, register)
        wrong = self._faults.active(self.part, now) == "wrong"
        if wrong:
            return OTHER_CHIP if register == VERSION else 0x0000
        if register in (VCELL, SOC, CRATE) and now < self._begun_s + READY_S:
            return 0x0000
        if register == VCELL:
            battery = self.battery
            return round(battery.cell_v(now, battery.mean_current_a(now, 0.25)) / 78.125e-6) & 0xFFFF
        if register == SOC:
            return min(0xFFFF, round((self.battery.charge(now) + self.percent_too_high) * 256.0))
        if register == CRATE:
            return round(-100.0 * self.battery.load_a / self.battery.capacity_ah / 0.208) & 0xFFFF
        return self._registers[register]
