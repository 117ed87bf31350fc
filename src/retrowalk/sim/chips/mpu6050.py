"""A strict MPU-6050 (or a relative): registers, sample rate divider, byte FIFO, its own clock, noise, quantisation.

It is stricter than silicon: an unknown register, a write to a read-only one, a FIFO that is read while it is off or
empty, reset while it is on, counted low byte first, raise `StrictTwinError` with the register's name and the rule.
Samples are computed when somebody looks.  Register facts: `registers.md` section 3 of the project's reference; the
datasheet for reset values and filter delays.  The auxiliary bus, cycle mode and self-test are not simulated.
"""

from __future__ import annotations

import math
import struct

from retrowalk.errors import StrictTwinError
from retrowalk.sim.chips import inertial
from retrowalk.sim.chips.inertial import DELAYED_S, G_M_S2, PACE, TEMPERATURE_C, Counts, Measure, Ticker
from retrowalk.sim.chips.registers import RW, R, Registers, known, split
from retrowalk.sim.estimates import ImuParameters
from retrowalk.sim.faults import Faults

CHIP_ID = 0x68
"""Of a true MPU-6050.  Any other number makes the twin one of its relatives (0x70: MPU-6500)."""

REGISTERS: Registers = {
    **{0x0D + i: (f"SELF_TEST_{'XYZA'[i]}", RW, 0x00) for i in range(4)},
    0x19: ("SMPLRT_DIV", RW, 0x00),
    0x1A: ("CONFIG", RW, 0x00),
    0x1B: ("GYRO_CONFIG", RW, 0x00),
    0x1C: ("ACCEL_CONFIG", RW, 0x00),
    0x1D: ("FF_THR", RW, 0x00),
    0x1E: ("FF_DUR", RW, 0x00),
    0x1F: ("MOT_THR", RW, 0x00),
    0x20: ("MOT_DUR", RW, 0x00),
    0x21: ("ZRMOT_THR", RW, 0x00),
    0x22: ("ZRMOT_DUR", RW, 0x00),
    0x23: ("FIFO_EN", RW, 0x00),
    0x37: ("INT_PIN_CFG", RW, 0x00),
    0x38: ("INT_ENABLE", RW, 0x00),
    0x3A: ("INT_STATUS", R, 0x00),
    **{0x3B + i: (f"ACCEL_{'XYZ'[i // 2]}OUT_{'HL'[i % 2]}", R, 0x00) for i in range(6)},
    0x41: ("TEMP_OUT_H", R, 0x00),
    0x42: ("TEMP_OUT_L", R, 0x00),
    **{0x43 + i: (f"GYRO_{'XYZ'[i // 2]}OUT_{'HL'[i % 2]}", R, 0x00) for i in range(6)},
    0x68: ("SIGNAL_PATH_RESET", RW, 0x00),  # the maker's map says write-only; a driver that reads it first works
    0x69: ("MOT_DETECT_CTRL", RW, 0x00),
    0x6A: ("USER_CTRL", RW, 0x00),
    0x6B: ("PWR_MGMT_1", RW, 0x40),
    0x6C: ("PWR_MGMT_2", RW, 0x00),
    0x72: ("FIFO_COUNTH", R, 0x00),
    0x73: ("FIFO_COUNTL", R, 0x00),
    0x74: ("FIFO_R_W", RW, 0x00),
    0x75: ("WHO_AM_I", R, CHIP_ID),
}

# An MPU-6500 wakes awake, has a second filter register, and nothing of free fall and zero motion.
RELATIVES_REGISTERS: Registers = {
    **{register: entry for register, entry in REGISTERS.items() if register not in range(0x1D, 0x23)},
    0x1D: ("ACCEL_CONFIG2", RW, 0x00),
    0x1E: ("LP_ACCEL_ODR", RW, 0x00),
    0x1F: ("WOM_THR", RW, 0x00),
    0x6B: ("PWR_MGMT_1", RW, 0x01),
}

SMPLRT_DIV, CONFIG, GYRO_CONFIG, ACCEL_CONFIG, FIFO_EN = 0x19, 0x1A, 0x1B, 0x1C, 0x23
INT_ENABLE, INT_STATUS, OUTPUT, OUTPUT_END = 0x38, 0x3A, 0x3B, 0x49
SIGNAL_PATH_RESET, USER_CTRL, PWR_MGMT_1, PWR_MGMT_2 = 0x68, 0x6A, 0x6B, 0x6C
FIFO_COUNTH, FIFO_COUNTL, FIFO_R_W, WHO_AM_I = 0x72, 0x73, 0x74, 0x75

ACCEL_PER_G = (16384.0, 8192.0, 4096.0, 2048.0)
GYRO_PER_DPS = (131.0, 65.5, 32.8, 16.4)
DELAY_S = (0.00098, 0.0019, 0.0028, 0.0048, 0.0083, 0.0134, 0.0186, 0.00017)
"""Of the low-pass, by CONFIG bits 2:0."""
CAPACITY, RELATIVES_CAPACITY = 1024, 512
SLEEP, RESET, FIFO_ON, FIFO_RESET = 0x40, 0x80, 0x40, 0x04
READY, OVERFLOW = 0x01, 0x10
RESET_BIT_S = 0.005
RESET_S = 0.100
"""The reset bit clears itself before the reset is over."""

_OUTPUTS = struct.Struct(">7h")

_FORBIDDEN = {
    # register: bits that must stay 0, and why
    CONFIG: (0xB8, "an external sync is not simulated"),
    GYRO_CONFIG: (0xE7, "self-test and filter bypass are not simulated"),
    ACCEL_CONFIG: (0xE7, "self-test is not simulated"),
    FIFO_EN: (0x07, "slaves of the auxiliary bus are not simulated"),
    INT_ENABLE: (0xAE, "only data ready, overflow and motion exist"),
    USER_CTRL: (0xB0, "the auxiliary bus and SPI are not simulated"),
    PWR_MGMT_1: (0x34, "cycle mode and external clocks are not simulated"),
    PWR_MGMT_2: (0xFF, "standby is not simulated"),
}


class Mpu6050Twin:
    """The chip.  `measure` is what its clip feels; `axes` how it is mounted, as `config.imu.axes` says.

    `clock_error` is how much faster than nominal its oscillator runs (0.015: 1.5 %; None: as `parameters` say).
    `chip_id` other than 0x68 makes it a relative: 512 bytes of FIFO, other reset values, a filter
    register of its own for acceleration.
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
        chip_id: int = CHIP_ID,
    ) -> None:
        self._faults = faults or Faults()
        parameters = parameters or ImuParameters()
        self._felt = inertial.Inertial(measure, seed, axes, self._faults, parameters)
        self.gyro_bias_rad_s = self._felt.gyro_bias_rad_s
        self.samples = 0
        """Frames put into the FIFO."""
        self._chip_id = chip_id
        self._name = "MPU-6050" if chip_id == CHIP_ID else f"MPU-6050's relative 0x{chip_id:02X}"
        self._map = REGISTERS if chip_id == CHIP_ID else RELATIVES_REGISTERS
        self._capacity = CAPACITY if chip_id == CHIP_ID else RELATIVES_CAPACITY
        self._clock_error = parameters.clock_error if clock_error is None else clock_error
        self._ticker = Ticker()
        self._registers: dict[int, int] = {}
        self._fifo = bytearray()
        self._counted: int | None = None
        """FIFO count as it was when its high byte was read."""
        self._interrupts = 0
        self._latest: tuple[Counts, Counts] = ((0, 0, 0), (0, 0, 0))
        self._shown = b""
        """Output registers as a transfer sees them."""
        self._busy_until_s = -math.inf
        self._ran_s = 0.0
        self._power_on(0.0)

    def power_cycle(self, now: float) -> None:
        """A brown-out: every register back to its reset value, the FIFO empty."""
        self._power_on(now)

    # --------------------------------------------------------------------------------------------- the bus

    def transfer(self, write: bytes, read: int, now: float) -> bytes:
        if not write and not read:
            return b""  # somebody asks whether anybody is there
        register, values = split(self._name, write, read)
        for value in values:
            self._write(register, value, now)
            register += register != FIFO_R_W
        if not read:
            return b""
        self._run(now)
        if register == FIFO_R_W:
            return self._read_fifo(read)
        # Within one transfer the outputs stay one instant.
        self._shown = self._outputs() if register < OUTPUT_END and register + read > OUTPUT else b""
        data = bytearray()
        for _ in range(read):
            data.append(self._read(register, now))
            register += register != FIFO_R_W
        return bytes(data)

    def _write(self, register: int, value: int, now: float) -> None:
        name, access, _ = known(self._name, self._map, register)
        where = f"{name} (0x{register:02X}) = 0x{value:02X}"
        if access == R or register == FIFO_R_W:
            raise StrictTwinError(f"{name} (0x{register:02X}) is read-only; 0x{value:02X} was written")
        if now < self._busy_until_s:
            raise StrictTwinError(f"{where}: written within {RESET_S} s of a reset (PWR_MGMT_1 bit 7)")
        self._run(now)
        if register == PWR_MGMT_1 and value & RESET:
            self._power_on(now)
            self._busy_until_s = now + RESET_S
            return
        self._check(register, where, value)
        if register == SIGNAL_PATH_RESET:
            return
        before = self._registers[register]
        self._registers[register] = value
        if register == USER_CTRL:
            if value & FIFO_RESET:
                self._fifo.clear()
            self._registers[register] = value & ~(FIFO_RESET | 0x01)  # both clear themselves
        elif register in (SMPLRT_DIV, CONFIG) or (register == PWR_MGMT_1 and (before ^ value) & SLEEP):
            self._restart(now)

    def _check(self, register: int, where: str, value: int) -> None:
        bits, why = _FORBIDDEN.get(register, (0, ""))
        if register == CONFIG and self._chip_id != CHIP_ID:
            bits &= ~0x40
        elif register == CONFIG:
            bits |= 0x40
        if value & bits:
            raise StrictTwinError(f"{where}: bits 0x{value & bits:02X} must be 0; {why}")
        if register == CONFIG and value & 0x07 == 7 and self._chip_id == CHIP_ID:
            raise StrictTwinError(f"{where}: low-pass 7 is reserved")
        if register == USER_CTRL and value & FIFO_RESET and value & FIFO_ON:
            raise StrictTwinError(f"{where}: the FIFO is reset only while it is off (bit 6 = 0)")

    def _read(self, register: int, now: float) -> int:
        name, _, _ = known(self._name, self._map, register)
        if self._faults.active(self.part, now) == "wrong":
            return 0x69 if register == WHO_AM_I else 0x00
        if register == WHO_AM_I:
            return self._chip_id
        if register == PWR_MGMT_1 and now < self._busy_until_s - RESET_S + RESET_BIT_S:
            return self._registers[register] | RESET
        if OUTPUT <= register < OUTPUT_END:
            if not self._ticker.period_s:
                raise StrictTwinError(f"{name} (0x{register:02X}): nothing is measured; it sleeps (PWR_MGMT_1 bit 6)")
            self._interrupts &= ~READY
            return self._shown[register - OUTPUT]
        if register == INT_STATUS:
            status = self._interrupts & self._registers[INT_ENABLE]
            self._interrupts = 0
            return status
        if register == FIFO_COUNTH:
            self._counted = self._visible(now)
            return self._counted >> 8
        if register == FIFO_COUNTL:
            if self._counted is None:
                raise StrictTwinError(f"{name} (0x{register:02X}): read FIFO_COUNTH (0x72) first, which holds it still")
            low, self._counted = self._counted & 0xFF, None
            return low
        if register == FIFO_R_W:
            return self._read_fifo(1)[0]
        return self._registers[register]

    # -------------------------------------------------------------------------------------------- sampling

    def _power_on(self, now: float) -> None:
        self._registers = {register: value for register, (_, _, value) in self._map.items()}
        self._fifo.clear()
        self._counted = None
        self._interrupts = 0
        self._latest = ((0, 0, 0), (0, 0, 0))
        self._busy_until_s = -math.inf
        self._ran_s = now
        self._restart(now)

    def _restart(self, now: float) -> None:
        """It falls asleep, wakes, or samples at another rate."""
        low_pass = self._registers[CONFIG] & 0x07
        rate_hz = (8000.0 if low_pass in (0, 7) else 1000.0) / (1 + self._registers[SMPLRT_DIV])
        asleep = self._registers[PWR_MGMT_1] & SLEEP
        self._ticker.begin(now, 0.0 if asleep else 1.0 / (rate_hz * (1.0 + self._clock_error)))

    def _run(self, now: float) -> None:
        """Makes every sample that is due up to `now`."""
        fault = self._faults.active(self.part, now)
        filling = bool(self._registers[USER_CTRL] & FIFO_ON)
        stops = filling and bool(self._registers[CONFIG] & 0x40)
        # Samples that nobody can see any more need not be computed: the FIFO's last bytes are the same without.
        frame_bytes = len(self._frame()) if filling else 0
        most = None if stops else self._capacity // frame_bytes + 2 if frame_bytes else 1
        _, times = self._ticker.due(now, PACE.get(fault, 1.0), most)
        accel_scale = G_M_S2 / ACCEL_PER_G[self._registers[ACCEL_CONFIG] >> 3 & 3]
        gyro_scale = math.radians(1.0 / GYRO_PER_DPS[self._registers[GYRO_CONFIG] >> 3 & 3])
        delay_s = DELAY_S[self._registers[CONFIG] & 0x07]
        fifo = self._fifo
        for t_s in times:
            self._latest = self._felt.sample(t_s, accel_scale, gyro_scale, delay_s)
            if not frame_bytes:
                continue
            if stops and len(fifo) + frame_bytes > self._capacity:
                self._interrupts |= OVERFLOW
                continue
            fifo += self._frame()
            self.samples += 1
        if times:
            self._interrupts |= READY
        if fault == "overflow" and frame_bytes and int(now) > int(self._ran_s):
            # As if nobody had looked for long: full, its oldest bytes lost, and with them the order of the rest.
            fifo[:0] = self._frame() * (self._capacity // frame_bytes + 1)
        self._ran_s = now
        if len(fifo) > self._capacity:
            del fifo[: len(fifo) - self._capacity]
            self._interrupts |= OVERFLOW

    def _frame(self) -> bytes:
        """The latest sample as it goes into the FIFO: what FIFO_EN asks for, in the order of the registers."""
        which = self._registers[FIFO_EN]
        outputs = self._outputs()
        if which == 0x78:
            return outputs[:6] + outputs[8:]
        parts = ((0x08, 0, 6), (0x80, 6, 8), (0x40, 8, 10), (0x20, 10, 12), (0x10, 12, 14))
        return b"".join(outputs[begin:end] for bit, begin, end in parts if which & bit)

    def _outputs(self) -> bytes:
        """The 14 output registers."""
        temperature = (TEMPERATURE_C - 36.53) * 340.0 if self._chip_id == CHIP_ID else (TEMPERATURE_C - 21.0) * 333.87
        return _OUTPUTS.pack(*self._latest[0], round(temperature), *self._latest[1])

    # -------------------------------------------------------------------------------------------- reading out

    def _visible(self, now: float) -> int:
        """Bytes that can be read now."""
        if self._faults.active(self.part, now) == "delayed" and self._ticker.period_s:
            return max(0, len(self._fifo) - int(DELAYED_S / self._ticker.period_s) * len(self._frame()))
        return len(self._fifo)

    def _read_fifo(self, count: int) -> bytes:
        if not self._registers[USER_CTRL] & FIFO_ON:
            raise StrictTwinError("FIFO_R_W (0x74): the FIFO is off (USER_CTRL, 0x6A, bit 6)")
        if count > len(self._fifo):
            raise StrictTwinError(f"FIFO_R_W (0x74): {count} bytes are read and {len(self._fifo)} are in it")
        data = bytes(self._fifo[:count])
        del self._fifo[:count]
        return data
