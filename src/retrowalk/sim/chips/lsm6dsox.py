"""A strict LSM6DSOX: registers, output rates, FIFO with tags, its own clock, noise and quantisation.

It is stricter than silicon: an unknown register, a write to a read-only one, a FIFO read before it is set up, a rate
that cannot work, raise `StrictTwinError` with the register's name and the rule.  Samples are computed when somebody
looks.  Register facts: `registers.md` section 4 of the project's reference; the datasheet for reset values.
"""

from __future__ import annotations

import math
import struct
from collections import deque

from retrowalk.errors import StrictTwinError
from retrowalk.sim.chips import inertial
from retrowalk.sim.chips.inertial import DELAYED_S, G_M_S2, PACE, TEMPERATURE_C, Counts, Measure, Ticker
from retrowalk.sim.chips.registers import RW, R, Registers, readable, split, writable
from retrowalk.sim.estimates import ImuParameters
from retrowalk.sim.faults import Faults

REGISTERS: Registers = {
    0x01: ("FUNC_CFG_ACCESS", RW, 0x00),
    0x02: ("PIN_CTRL", RW, 0x3F),
    0x07: ("FIFO_CTRL1", RW, 0x00),
    0x08: ("FIFO_CTRL2", RW, 0x00),
    0x09: ("FIFO_CTRL3", RW, 0x00),
    0x0A: ("FIFO_CTRL4", RW, 0x00),
    0x0B: ("COUNTER_BDR_REG1", RW, 0x00),
    0x0C: ("COUNTER_BDR_REG2", RW, 0x00),
    0x0D: ("INT1_CTRL", RW, 0x00),
    0x0E: ("INT2_CTRL", RW, 0x00),
    0x0F: ("WHO_AM_I", R, 0x6C),
    0x10: ("CTRL1_XL", RW, 0x00),
    0x11: ("CTRL2_G", RW, 0x00),
    0x12: ("CTRL3_C", RW, 0x04),
    0x13: ("CTRL4_C", RW, 0x00),
    0x14: ("CTRL5_C", RW, 0x00),
    0x15: ("CTRL6_C", RW, 0x00),
    0x16: ("CTRL7_G", RW, 0x00),
    0x17: ("CTRL8_XL", RW, 0x00),
    0x18: ("CTRL9_XL", RW, 0xE0),
    0x19: ("CTRL10_C", RW, 0x00),
    0x1A: ("ALL_INT_SRC", R, 0x00),
    0x1E: ("STATUS_REG", R, 0x00),
    0x20: ("OUT_TEMP_L", R, 0x00),
    0x21: ("OUT_TEMP_H", R, 0x00),
    **{0x22 + i: (f"OUT{'XYZ'[i // 2]}_{'LH'[i % 2]}_G", R, 0x00) for i in range(6)},
    **{0x28 + i: (f"OUT{'XYZ'[i // 2]}_{'LH'[i % 2]}_A", R, 0x00) for i in range(6)},
    0x3A: ("FIFO_STATUS1", R, 0x00),
    0x3B: ("FIFO_STATUS2", R, 0x00),
    0x40: ("TIMESTAMP0", R, 0x00),
    0x41: ("TIMESTAMP1", R, 0x00),
    0x42: ("TIMESTAMP2", RW, 0x00),
    0x43: ("TIMESTAMP3", R, 0x00),
    0x63: ("INTERNAL_FREQ_FINE", R, 0x00),
    0x78: ("FIFO_DATA_OUT_TAG", R, 0x00),
    **{0x79 + i: (f"FIFO_DATA_OUT_{'XYZ'[i // 2]}_{'LH'[i % 2]}", R, 0x00) for i in range(6)},
}

FIFO_CTRL1, FIFO_CTRL2, FIFO_CTRL3, FIFO_CTRL4 = 0x07, 0x08, 0x09, 0x0A
WHO_AM_I, CTRL1_XL, CTRL2_G, CTRL3_C, CTRL10_C = 0x0F, 0x10, 0x11, 0x12, 0x19
STATUS_REG, OUT_TEMP_L, OUTX_L_G, OUTX_L_A = 0x1E, 0x20, 0x22, 0x28
FIFO_STATUS1, FIFO_STATUS2, TIMESTAMP0, TIMESTAMP2, INTERNAL_FREQ_FINE = 0x3A, 0x3B, 0x40, 0x42, 0x63
FIFO_TAG, FIFO_LAST = 0x78, 0x7E

RATES_HZ = {1: 12.5, 2: 26.0, 3: 52.0, 4: 104.0, 5: 208.0, 6: 417.0, 7: 833.0, 8: 1667.0, 9: 3333.0, 10: 6667.0}
ACCEL_MG = {0: 0.061, 1: 0.488, 2: 0.122, 3: 0.244}
"""mg a count by CTRL1_XL bits 3:2.  Not in order: 0 is 2 g, 1 is 16 g, 2 is 4 g, 3 is 8 g."""
GYRO_MDPS = {0: 8.75, 1: 4.375, 2: 17.5, 4: 35.0, 6: 70.0}
"""mdps a count by CTRL2_G bits 3:1: 250, 125, 500, 1000, 2000 degrees/s."""
FIFO_WORDS = 512
WORD_BYTES = 7
TAG_GYRO, TAG_ACCEL = 0x01, 0x02
BYPASS, FIFO_MODE, CONTINUOUS = 0, 1, 6
SW_RESET_S = 50e-6
BOOT_S = 0.010

_XYZ = struct.Struct("<hhh")


class Lsm6dsoxTwin:
    """The chip.  `measure` is what its clip feels; `axes` how it is mounted, as `config.imu.axes` says.

    `clock_error` is how much faster than nominal its oscillator runs (0.015: 1.5 %; None: as `parameters` say).
    """

    part = "imu"
    address = 0

    def __init__(
        self,
        measure: Measure,
        seed: int = 0,
        *,
        clock_error: float | None = None,
        parameters: ImuParameters | None = None,
        axes: tuple[str, str, str] = ("+x", "+y", "+z"),
        faults: Faults | None = None,
    ) -> None:
        self._faults = faults or Faults()
        parameters = parameters or ImuParameters()
        self._felt = inertial.Inertial(measure, seed, axes, self._faults, parameters)
        self.gyro_bias_rad_s = self._felt.gyro_bias_rad_s
        self._clock_error = parameters.clock_error if clock_error is None else clock_error
        self._ticker = Ticker()
        self.samples = 0
        """Instants put into the FIFO."""
        self._registers: dict[int, int] = {}
        self._busy_until_s = -math.inf
        self._power_on(0.0)

    def power_cycle(self, now: float) -> None:
        """A brown-out: every register back to its reset value, the FIFO empty."""
        self._power_on(now)

    # --------------------------------------------------------------------------------------------- the bus

    def transfer(self, write: bytes, read: int, now: float) -> bytes:
        if not write and not read:
            return b""  # somebody asks whether anybody is there
        register, values = split("LSM6DSOX", write, read)
        for value in values:
            self._write(register, value, now)
            register = self._after(register)
        if not read:
            return b""
        if register == FIFO_TAG and read > 1:
            return self._read_fifo(read, now)
        data = bytearray()
        for _ in range(read):
            data.append(self._read(register, now))
            register = self._after(register)
        return bytes(data)

    def _after(self, register: int) -> int:
        if not self._registers[CTRL3_C] & 0x04:
            return register
        return FIFO_TAG if register == FIFO_LAST else register + 1

    def _write(self, register: int, value: int, now: float) -> None:
        name, _, _ = writable("LSM6DSOX", REGISTERS, register, value)
        if now < self._busy_until_s:
            raise StrictTwinError(f"{name} (0x{register:02X}) was written before the reset was over (CTRL3_C bit 0)")
        self._run(now)
        if register == CTRL3_C and value & 0x81:
            self._power_on(now)
            self._busy_until_s = now + (SW_RESET_S if value & 0x01 else BOOT_S)
            self._registers[CTRL3_C] |= value & 0x81
            return
        self._check(register, name, value)
        self._registers[register] = value
        if register in (CTRL1_XL, CTRL2_G):
            self._restart(now)
        elif register == FIFO_CTRL3:
            self._check_rates()
        elif register == FIFO_CTRL4:
            self._set_mode(value & 0x07)
        elif register == TIMESTAMP2 and value == 0xAA:
            self._timestamp_s = now

    def _check(self, register: int, name: str, value: int) -> None:
        where = f"{name} (0x{register:02X}) = 0x{value:02X}"
        if register == CTRL1_XL and value >> 4 not in (0, *RATES_HZ, 11):
            raise StrictTwinError(f"{where}: there is no output rate {value >> 4}")
        if register == CTRL2_G:
            if value >> 4 not in (0, *RATES_HZ):
                raise StrictTwinError(f"{where}: there is no output rate {value >> 4}")
            if value >> 1 & 0x07 not in GYRO_MDPS or value & 0x01:
                raise StrictTwinError(f"{where}: there is no such full scale")
        if register == FIFO_CTRL4 and value & 0x07 not in (BYPASS, FIFO_MODE, CONTINUOUS):
            raise StrictTwinError(f"{where}: only bypass, FIFO and continuous mode are simulated")
        if register == FIFO_CTRL4 and value & 0xF0:
            raise StrictTwinError(f"{where}: time stamps and temperature in the FIFO are not simulated")
        if register == FIFO_CTRL2 and value & 0x40:
            raise StrictTwinError(f"{where}: compression is not simulated")
        if register == 0x01 and value:
            raise StrictTwinError(f"{where}: the embedded and the sensor-hub bank are not simulated")

    def _read(self, register: int, now: float) -> int:
        name, _, _ = readable("LSM6DSOX", REGISTERS, register)
        if register == CTRL3_C and now >= self._busy_until_s:
            self._registers[CTRL3_C] &= ~0x81
        if self._faults.active(self.part, now) == "wrong":
            return 0x69 if register == WHO_AM_I else 0x00
        if register in (STATUS_REG, FIFO_STATUS1, FIFO_STATUS2, FIFO_TAG):
            self._run(now)
        if register == STATUS_REG:
            return (self._fresh_accel and 1) | (self._fresh_gyro and 2) | (4 if self._ticker.period_s else 0)
        if OUT_TEMP_L <= register <= OUTX_L_A + 5:
            return self._output(register, name, now)
        if register == FIFO_STATUS1:
            return self._visible(now) & 0xFF
        if register == FIFO_STATUS2:
            return self._status2(now)
        if TIMESTAMP0 <= register <= TIMESTAMP0 + 3:
            if not self._registers[CTRL10_C] & 0x20:
                raise StrictTwinError(f"{name} (0x{register:02X}): time stamps are not enabled (CTRL10_C bit 5)")
            ticks = int((now - self._timestamp_s) / 25e-6 * (1.0 + self._clock_error))
            return ticks >> 8 * (register - TIMESTAMP0) & 0xFF
        if register == INTERNAL_FREQ_FINE:
            return round(self._clock_error / 0.0015) & 0xFF
        if register == FIFO_TAG:
            self._need_fifo()
            return self._fifo[0][0] if self._visible(now) else 0
        if FIFO_TAG < register <= FIFO_LAST:
            raise StrictTwinError(f"{name} (0x{register:02X}): read whole words of 7 bytes from 0x78")
        return self._registers[register]

    # -------------------------------------------------------------------------------------------- sampling

    def _power_on(self, now: float) -> None:
        self._registers = {register: value for register, (_, _, value) in REGISTERS.items()}
        self._fifo: deque[bytes] = deque()
        self._overrun = self._overrun_latched = False
        self._fresh_accel = self._fresh_gyro = False
        self._latest: tuple[Counts, Counts] = ((0, 0, 0), (0, 0, 0))
        self._timestamp_s = now
        self._ticker.begin(now, 0.0)
        self._ran_s = now
        self._slot = 0

    def _restart(self, now: float) -> None:
        """A rate changed: the sampling begins anew."""
        accel, gyro = self._registers[CTRL1_XL] >> 4, self._registers[CTRL2_G] >> 4
        rate_hz = max(RATES_HZ.get(accel, 1.6 if accel == 11 else 0.0), RATES_HZ.get(gyro, 0.0))
        self._ticker.begin(now, 1.0 / (rate_hz * (1.0 + self._clock_error)) if rate_hz else 0.0)
        self._check_rates()

    def _check_rates(self) -> None:
        """The FIFO batches what is measured: each rate equal to the output rate, or 0."""
        batches = self._registers[FIFO_CTRL3]
        for name, batch, output in (
            ("CTRL1_XL", batches & 0x0F, self._registers[CTRL1_XL] >> 4),
            ("CTRL2_G", batches >> 4, self._registers[CTRL2_G] >> 4),
        ):
            if batch and output and batch != output:
                raise StrictTwinError(
                    f"FIFO_CTRL3 (0x09) = 0x{batches:02X}: batch rate {batch} is not the output rate {output} of {name}"
                )

    def _set_mode(self, mode: int) -> None:
        if mode == BYPASS:
            self._fifo.clear()
            self._overrun = self._overrun_latched = False
        elif not self._registers[FIFO_CTRL3]:
            raise StrictTwinError("FIFO_CTRL4 (0x0A): the FIFO is switched on with no batch rate in FIFO_CTRL3 (0x09)")

    def _run(self, now: float) -> None:
        """Makes every sample that is due up to `now`."""
        fault = self._faults.active(self.part, now)
        mode = self._registers[FIFO_CTRL4] & 0x07
        batch = self._registers[FIFO_CTRL3]
        accel_on, gyro_on = self._registers[CTRL1_XL] >> 4, self._registers[CTRL2_G] >> 4
        with_gyro = mode != BYPASS and bool(batch >> 4 and gyro_on)
        with_accel = mode != BYPASS and bool(batch & 0x0F and accel_on)
        words = int(with_gyro) + int(with_accel)
        fifo = self._fifo
        # Samples that nobody can see any more need not be computed.
        most = None if mode == FIFO_MODE else FIFO_WORDS // words + 2 if words else 2
        left_out, times = self._ticker.due(now, PACE.get(fault, 1.0), most)
        if left_out:
            self._slot += left_out
            if words:
                fifo.clear()
                self._overrun = self._overrun_latched = True
        accel_scale = ACCEL_MG[self._registers[CTRL1_XL] >> 2 & 0x03] * 1e-3 * G_M_S2
        gyro_scale = math.radians(GYRO_MDPS.get(self._registers[CTRL2_G] >> 1 & 0x07, 8.75) * 1e-3)
        for t_s in times:
            accel, gyro = self._latest = self._felt.sample(t_s, accel_scale, gyro_scale)
            if words and not (mode == FIFO_MODE and len(fifo) + words > FIFO_WORDS):
                counter = (self._slot & 3) << 1
                if with_gyro:
                    fifo.append(_word(TAG_GYRO << 3 | counter, gyro))
                if with_accel:
                    fifo.append(_word(TAG_ACCEL << 3 | counter, accel))
                self._slot += 1
                self.samples += 1
        while len(fifo) > FIFO_WORDS:
            fifo.popleft()
            self._overrun = self._overrun_latched = True
        if fault == "overflow" and words and int(now) > int(self._ran_s):
            for _ in range(len(fifo) // (2 * words) * words):  # as if it were shorter: its older half is lost
                fifo.popleft()
            self._overrun = self._overrun_latched = True
        self._ran_s = now
        if times:
            self._fresh_accel, self._fresh_gyro = bool(accel_on), bool(gyro_on)

    # -------------------------------------------------------------------------------------------- reading out

    def _output(self, register: int, name: str, now: float) -> int:
        if not self._ticker.period_s:
            raise StrictTwinError(f"{name} (0x{register:02X}): nothing is measured; set a rate in CTRL1_XL or CTRL2_G")
        if register < OUTX_L_G:
            return (round((TEMPERATURE_C - 25.0) * 256.0) & 0xFFFF) >> 8 * (register - OUT_TEMP_L) & 0xFF
        gyro = register < OUTX_L_A
        control, which = (CTRL2_G, "CTRL2_G") if gyro else (CTRL1_XL, "CTRL1_XL")
        if not self._registers[control] >> 4:
            raise StrictTwinError(f"{name} (0x{register:02X}): switched off ({which} has no rate)")
        offset = register - (OUTX_L_G if gyro else OUTX_L_A)
        if offset % 2 == 0 and (offset == 0 or not self._registers[CTRL3_C] & 0x40):
            self._run(now)  # with BDU a vector stays one instant until it has been read
        if gyro:
            self._fresh_gyro = False
        else:
            self._fresh_accel = False
        return (self._latest[gyro][offset // 2] & 0xFFFF) >> 8 * (offset % 2) & 0xFF

    def _visible(self, now: float) -> int:
        """Words that can be read now."""
        if self._faults.active(self.part, now) == "delayed":
            withheld = int(DELAYED_S / self._ticker.period_s) * 2 if self._ticker.period_s else 0
            return max(0, len(self._fifo) - withheld)
        return len(self._fifo)

    def _status2(self, now: float) -> int:
        level = self._visible(now)
        watermark = self._registers[FIFO_CTRL1] | (self._registers[FIFO_CTRL2] & 0x01) << 8
        status = level >> 8 & 0x03
        status |= 0x80 if watermark and level >= watermark else 0
        status |= 0x40 if self._overrun else 0
        status |= 0x20 if level >= FIFO_WORDS - 2 else 0
        status |= 0x08 if self._overrun_latched else 0
        self._overrun_latched = False  # reading it clears it
        return status

    def _need_fifo(self) -> None:
        if not self._registers[FIFO_CTRL4] & 0x07:
            raise StrictTwinError("FIFO_DATA_OUT_TAG (0x78): the FIFO is off (FIFO_CTRL4, 0x0A, is in bypass)")

    def _read_fifo(self, read: int, now: float) -> bytes:
        self._need_fifo()
        if read % WORD_BYTES:
            raise StrictTwinError(f"FIFO_DATA_OUT_TAG (0x78): {read} bytes; read whole words of {WORD_BYTES}")
        if not self._registers[CTRL3_C] & 0x04:
            raise StrictTwinError("FIFO_DATA_OUT_TAG (0x78): a burst needs address increment (CTRL3_C bit 2)")
        self._run(now)
        count = min(read // WORD_BYTES, self._visible(now))
        words = [self._fifo.popleft() for _ in range(count)]
        if count:
            self._overrun = False
        return b"".join(words).ljust(read, b"\0")


def _word(tag: int, xyz: tuple[int, int, int]) -> bytes:
    return bytes((tag | tag.bit_count() & 1,)) + _XYZ.pack(*xyz)
