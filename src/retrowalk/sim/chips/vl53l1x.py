"""A strict VL53L1X: 16-bit index, boot, address, two ways of setting it up, ranging by its own clock, results.

It is stricter than silicon where a driver's mistake would give a number: an unknown index, results read before anything
was measured, ranging started without a set-up, with registers of two distance modes or with the timing budget of
another mode raise `StrictTwinError` with the index and the rule.  It is as generous as silicon elsewhere: single bytes
or bursts, a read in the same transaction or in the next, the ultra-lite driver's block or named registers over the
values of the non-volatile memory.  Measurements are made when somebody looks.  Register facts: `registers.md` section 1
of the project's reference; what other people's drivers read and write.
"""

from __future__ import annotations

import errno
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from retrowalk.errors import StrictTwinError
from retrowalk.sim import tof
from retrowalk.sim.faults import Faults
from retrowalk.sim.noise import stream
from retrowalk.sim.tof import Shot, Sight, TofModel

Look = Callable[[float], Sight]
"""What the sensor looks at at a session second."""

WIRED_AT = 0x29

SOFT_RESET, I2C_ADDRESS = 0x0000, 0x0001
FAST_OSC_FREQUENCY = 0x0006
PART_TO_PART_OFFSET = 0x001E
DSS_TARGET_RATE = 0x0024
TEST_MODE = 0x0027
FIRST_CONFIG = 0x002D
GPIO_HV_MUX, TIO_HV_STATUS, INTERRUPT_CONFIG = 0x0030, 0x0031, 0x0046
EFFECTIVE_SPADS_SELECT, MANUAL_SPADS = 0x004F, 0x0054
TIMEOUT_A, VCSEL_A, TIMEOUT_B, VCSEL_B = 0x005E, 0x0060, 0x0061, 0x0063
VALID_PHASE_HIGH, INTER_MEASUREMENT = 0x0069, 0x006C
WOI_SD0, INITIAL_PHASE = 0x0078, 0x007A
ROI_CENTRE, ROI_SIZE, SEQUENCE_CONFIG = 0x007F, 0x0080, 0x0081
INTERRUPT_CLEAR, MODE_START = 0x0086, 0x0087
RESULTS, RANGE_STATUS, STREAM_COUNT = 0x0088, 0x0089, 0x008B
RESULTS_END = 0x00C4
OSC_CALIBRATE, FIRMWARE_STATUS = 0x00DE, 0x00E5
LAST_READABLE = 0x010D
MODEL_ID, LAST = 0x010F, 0x013F

STOP, SINGLE, BACK_TO_BACK, TIMED, ABORT = 0x00, 0x10, 0x20, 0x40, 0x80

NAMES = {
    SOFT_RESET: "SOFT_RESET",
    I2C_ADDRESS: "I2C_SLAVE__DEVICE_ADDRESS",
    TEST_MODE: "TEST_MODE__CTRL",
    GPIO_HV_MUX: "GPIO_HV_MUX__CTRL",
    TIO_HV_STATUS: "GPIO__TIO_HV_STATUS",
    INTERRUPT_CONFIG: "SYSTEM__INTERRUPT_CONFIG_GPIO",
    TIMEOUT_A: "RANGE_CONFIG__TIMEOUT_MACROP_A",
    TIMEOUT_B: "RANGE_CONFIG__TIMEOUT_MACROP_B",
    INTER_MEASUREMENT: "SYSTEM__INTERMEASUREMENT_PERIOD",
    ROI_SIZE: "ROI_CONFIG__USER_ROI_REQUESTED_GLOBAL_XY_SIZE",
    SEQUENCE_CONFIG: "SYSTEM__SEQUENCE_CONFIG",
    INTERRUPT_CLEAR: "SYSTEM__INTERRUPT_CLEAR",
    MODE_START: "SYSTEM__MODE_START",
    RANGE_STATUS: "RESULT__RANGE_STATUS",
    STREAM_COUNT: "RESULT__STREAM_COUNT",
    FIRMWARE_STATUS: "FIRMWARE__SYSTEM_STATUS",
    MODEL_ID: "IDENTIFICATION__MODEL_ID",
}

MODE_REGISTERS = (VCSEL_A, VCSEL_B, VALID_PHASE_HIGH, WOI_SD0, WOI_SD0 + 1, INITIAL_PHASE, INITIAL_PHASE + 1)
MODES: dict[tuple[int, ...], str] = {
    (0x07, 0x05, 0x38, 0x07, 0x05, 0x06, 0x06): "short",
    (0x0B, 0x09, 0x78, 0x0B, 0x09, 0x0A, 0x0A): "medium",
    (0x0F, 0x0D, 0xB8, 0x0F, 0x0D, 0x0E, 0x0E): "long",
}
"""Values of `MODE_REGISTERS` that belong together."""
EVERYBODY_WRITES = frozenset(
    {TIMEOUT_A, TIMEOUT_A + 1, TIMEOUT_B, TIMEOUT_B + 1, 0x64, 0x65, 0x66, 0x67, SEQUENCE_CONFIG, *MODE_REGISTERS}
)
"""Written by every way of setting the chip up."""
BLOCK = frozenset(range(FIRST_CONFIG, MODE_START))
"""Way A, ultra-lite driver: all of these."""
NAMED = frozenset({DSS_TARGET_RATE, DSS_TARGET_RATE + 1, TIO_HV_STATUS, 0x36, 0x37, 0x39, 0x57, 0x77})
"""Way B, named registers: these at least."""

NVM = {
    FAST_OSC_FREQUENCY: b"\xbc\xcc",
    DSS_TARGET_RATE: b"\x0a\x00",
    GPIO_HV_MUX: b"\x11",  # active low until somebody says otherwise
    TIO_HV_STATUS: b"\x02",
    INTERRUPT_CONFIG: b"\x20",
    MANUAL_SPADS: b"\xc8\x00",
    INTER_MEASUREMENT: b"\x00\x00\x0f\x89",
    ROI_CENTRE: b"\xc7\xff",
    OSC_CALIBRATE: b"\x00\x26",
    MODEL_ID: b"\xea\xcc\x10",
    0x013E: b"\xc7\xff",
}
"""What stands in the registers after a reset."""

SILENT_S = 0.0010
"""After a reset the chip acknowledges nothing for so long ..."""
BOOT_S = 0.0012
"""... and its firmware has booted after this."""
TEST_S = 0.005
"""A measurement in test mode (counting SPADs)."""
INTER_MEASUREMENT_FACTOR = 1.065
"""Counts of the period a calibrated millisecond: what the ultra-lite driver reads back."""
CLOCK_MAX = 0.06
REMEMBERED_S = 4.0
"""The world can be looked back at for 5 s; a measurement that has waited longer is of this time ago."""
STATUS_OF = {"phase": tof.PHASE, "underflow": 10, "idle": 18}
DELAY_S = 0.3
BLINDING_KCPS = 4000.0


class Model(Protocol):
    """Makes measurements: `tof.TofModel`, or whatever a test wants the chip to say."""

    def shot(self, sight: Sight, mode: str, *, field_deg: float, spads: float) -> Shot:
        """Measures once."""


class Vl53l1xTwin:
    """The chip.  `look` is what it sees; `clock_error` how much faster than nominal its clock runs (None: drawn).

    `holds`: the next measurement waits until the interrupt of the last one has been cleared.  The maker's documents say
    both; False lets the chip go on, and what was not read is lost.
    """

    address = 0

    def __init__(
        self,
        look: Look,
        seed: int = 0,
        *,
        part: str = "tof",
        clock_error: float | None = None,
        faults: Faults | None = None,
        model: Model | None = None,
        wired_at: int = WIRED_AT,
        holds: bool = True,
    ) -> None:
        self.part = part
        self.measurements = 0
        """Made since it was built."""
        self._look = look
        drawn = stream(seed, f"{part}.clock").uniform(-CLOCK_MAX, CLOCK_MAX)
        self._slower = 1.0 / (1.0 + (drawn if clock_error is None else clock_error))
        self._faults = faults or Faults()
        self._model: Model = model or TofModel(seed, part)
        self._wired_at = wired_at
        self._holds = holds
        self._used_s = -math.inf
        self._power_on(-1.0)

    def power_cycle(self, now: float) -> None:
        """A brown-out: every register back to its reset value, the address too."""
        self._power_on(now)

    def _power_on(self, now: float) -> None:
        self.address = 0
        self._reset(now)
        self._forgot = now >= 0.0

    def _reset(self, now: float) -> None:
        self._memory = bytearray(LAST + 1)
        for index, data in NVM.items():
            self._memory[index : index + len(data)] = data
        self._index = 0
        self._held = False
        self._forgot = False
        """It has lost its settings by itself: what a driver does that cannot know it yet is no mistake."""
        self._up_s = now
        self._written: set[int] = set()
        self._vcsel_changed = self._timeouts_written = False
        self._mode = STOP
        self._begun_s: float | None = None
        """When the measurement that is under way began."""
        self._lasts_s = 0.0
        self._next_s = now
        self._ready = False
        self._measured = False
        self._count = -1

    # --------------------------------------------------------------------------------------------- the bus

    def transfer(self, write: bytes, read: int, now: float) -> bytes:
        self._feel_power(now)
        if self._held:
            if len(write) < 3 or write[0] << 8 | write[1] != SOFT_RESET or read:
                raise StrictTwinError("VL53L1X: it is held in reset; write 0x01 to SOFT_RESET (0x0000) first")
        elif now - self._up_s < SILENT_S:
            raise OSError(errno.EREMOTEIO, "the chip is booting")
        if len(write) == 1:
            if read > 1:
                raise StrictTwinError("VL53L1X: an index has two bytes, the higher one first")
            self._index = write[0] << 8  # somebody asks whether anybody is there
        elif write:
            self._index = write[0] << 8 | write[1]
            if len(write) > 2 and read:
                raise StrictTwinError(f"{_name(self._index)}: written and read in one transfer")
        if self._faults.active(self.part, now) == "wrong":
            return self._other_chip(read)
        self._run(now)
        for value in write[2:]:
            self._write(self._index, value, now)
            self._index += 1
        data = bytearray()
        for _ in range(read):
            data.append(self._read(self._index, now))
            self._index += 1
        return bytes(data)

    def _feel_power(self, now: float) -> None:
        """Forgets everything if its power has failed since the last transfer."""
        before_s, self._used_s = self._used_s, now
        for fault in self._faults.all:
            if fault.part != self.part or fault.kind not in ("off", "reboot"):
                continue
            back_s = fault.end_s if fault.kind == "off" else fault.start_s
            if before_s < back_s <= now:
                moved = self.address not in (0, self._wired_at)
                self._power_on(back_s)
                if moved:
                    raise OSError(errno.EREMOTEIO, "the chip is back at the address at which it is wired")

    def _other_chip(self, read: int) -> bytes:
        other = {MODEL_ID: 0xEB, MODEL_ID + 1: 0xAA, FIRMWARE_STATUS: 0x03}
        data = bytes(other.get(self._index + i, 0) for i in range(read))
        self._index += read
        return data

    # ------------------------------------------------------------------------------------------- registers

    def _write(self, index: int, value: int, now: float) -> None:
        if index == SOFT_RESET:
            if value & 0x01:
                if self._held:
                    self._reset(now)
            else:
                self._held = True
            return
        if index > MODE_START:
            _known(index)
            raise StrictTwinError(f"{_name(index)} is read-only; 0x{value:02X} was written")
        if now - self._up_s < BOOT_S:
            raise StrictTwinError(f"{_name(index)}: written before the firmware has booted (0x00E5 bit 0)")
        if index in (VCSEL_A, VCSEL_B) and self._memory[index] != value:
            self._vcsel_changed = True
        elif index in (TIMEOUT_A, TIMEOUT_A + 1, TIMEOUT_B, TIMEOUT_B + 1):
            self._timeouts_written = True
        self._written.add(index)
        self._memory[index] = value
        if index == I2C_ADDRESS:
            address = value & 0x7F
            if not 0x08 <= address <= 0x77:
                raise StrictTwinError(f"{_name(index)}: moved to 0x{address:02X}, where nobody will find it")
            self.address = address
        elif index == INTERRUPT_CLEAR and value & 0x01:
            self._clear(now)
        elif index == MODE_START:
            self._start(value, now)
        elif index == TEST_MODE and value:
            self._measured, self._ready = True, False
            self._begun_s, self._lasts_s = now, TEST_S

    def _read(self, index: int, now: float) -> int:
        _known(index)
        if RESULTS <= index < RESULTS_END and not self._measured and not self._forgot:
            raise StrictTwinError(f"{_name(index)}: results were read before anything was measured (0x0087)")
        if index == I2C_ADDRESS:
            return self.address or self._wired_at
        if index == TIO_HV_STATUS:
            active = not self._memory[GPIO_HV_MUX] & 0x10
            return self._memory[index] & 0xFE | (self._ready == active)
        if index == FIRMWARE_STATUS:
            return 0x03 if now - self._up_s >= BOOT_S else 0x00
        if index == INTERRUPT_CLEAR:
            return 0x00
        if index == MODE_START:
            return self._mode
        return self._memory[index]

    def _word(self, index: int, size: int = 2) -> int:
        return int.from_bytes(self._memory[index : index + size], "big")

    # --------------------------------------------------------------------------------------------- ranging

    def _start(self, value: int, now: float) -> None:
        mode = value & (SINGLE | BACK_TO_BACK | TIMED)
        if value & ABORT or not mode:
            self._mode, self._begun_s = STOP, None
            return
        if mode not in (SINGLE, BACK_TO_BACK, TIMED):
            raise StrictTwinError(f"{_name(MODE_START)} = 0x{value:02X}: one way of ranging at a time")
        if mode == self._mode:
            return  # it goes on: the full driver writes all its registers after each sample
        missing = EVERYBODY_WRITES - self._written
        if missing or not (self._written >= BLOCK or self._written >= NAMED):
            if self._forgot:
                return  # it measures nothing
            missing = missing or NAMED - self._written
            raise StrictTwinError(f"{_name(MODE_START)}: started without set-up; {_name(min(missing))} was not written")
        if self._vcsel_changed and not self._timeouts_written:
            raise StrictTwinError(
                f"{_name(MODE_START)}: after a change of the distance mode the timing budget (0x005E, 0x0061) must be "
                "written again"
            )
        if not self._memory[SEQUENCE_CONFIG] & 0x80:
            raise StrictTwinError(f"{_name(SEQUENCE_CONFIG)}: bit 7 is not set, so nothing would be measured")
        if self._memory[INTERRUPT_CONFIG] != 0x20:
            raise StrictTwinError(f"{_name(INTERRUPT_CONFIG)}: only 0x20, each new sample, is simulated")
        size = self._memory[ROI_SIZE]
        if min(size & 0x0F, size >> 4) < 3:
            raise StrictTwinError(f"{_name(ROI_SIZE)} = 0x{size:02X}: at least 4 by 4 SPADs")
        self._distance_mode()
        self._vcsel_changed = self._timeouts_written = False
        self._mode = mode
        self._count = -1
        self._measured, self._ready = True, False
        self._begin(now)

    def _distance_mode(self) -> str:
        values = tuple(self._memory[index] for index in MODE_REGISTERS)
        mode = MODES.get(values)
        if mode is None:
            told = ", ".join(f"0x{i:04X} 0x{value:02X}" for i, value in zip(MODE_REGISTERS, values, strict=True))
            raise StrictTwinError(f"VL53L1X: registers of no one distance mode: {told}")
        return mode

    def _begin(self, at_s: float) -> None:
        self._begun_s, self._lasts_s = at_s, self._budget_s()

    def _budget_s(self) -> float:
        """How long a measurement takes, by its timeouts in macro periods (1.6) and what comes before it."""
        pll_us = (1 << 30) / self._word(FAST_OSC_FREQUENCY) / (1 << 24)
        ranging_us = sum(
            _macro_periods(self._word(timeout)) * 2304.0 * pll_us * 2.0 * (self._memory[vcsel] + 1)
            for timeout, vcsel in ((TIMEOUT_A, VCSEL_A), (TIMEOUT_B, VCSEL_B))
        )
        # The ultra-lite block lets the chip choose its SPADs twice; its table of budgets fits 14 ms and 6 % more.
        twice = self._memory[SEQUENCE_CONFIG] & 0x10
        return (1.06 * ranging_us + 14_000.0 if twice else ranging_us + 4_528.0) * 1e-6 * self._slower

    def _period_s(self, now: float) -> float:
        if self._mode == BACK_TO_BACK:
            return 0.0
        count_s = 1e-3 / ((self._word(OSC_CALIBRATE) & 0x3FF) * INTER_MEASUREMENT_FACTOR)
        period_s = self._word(INTER_MEASUREMENT, 4) * count_s * self._slower
        return 4.0 * max(period_s, self._lasts_s) if self._faults.active(self.part, now) == "slow" else period_s

    def _clear(self, now: float) -> None:
        self._ready = False
        if self._mode in (TIMED, BACK_TO_BACK) and self._begun_s is None:
            self._begin(max(now, self._next_s))

    def _run(self, now: float) -> None:
        """Makes the measurements that are due up to `now`."""
        while self._begun_s is not None:
            begun_s = self._begun_s
            late_s = DELAY_S if self._faults.active(self.part, begun_s) == "delayed" else 0.0
            done_s = begun_s + self._lasts_s
            if done_s + late_s > now:
                return
            self._begun_s = None
            self._ready = True
            if self._memory[TEST_MODE]:
                self._put(Shot(tof.VALID, 0.0, 0.0, 0.0, 0.0, 0.0))
                return
            self._measure(max((begun_s + done_s) / 2.0, now - REMEMBERED_S))
            self._next_s = max(begun_s + self._period_s(done_s), done_s + late_s)
            if self._mode == SINGLE:
                self._mode = STOP
            elif self._mode == TIMED and not self._holds:
                missed = max(0, int((now - REMEMBERED_S - self._next_s) / max(self._next_s - begun_s, 1e-3)))
                self._begin(self._next_s + missed * (self._next_s - begun_s))

    def _measure(self, at_s: float) -> None:
        fault = self._faults.active(self.part, at_s)
        mode = self._distance_mode()
        self.measurements += 1
        if fault == "stuck" and self._count >= 0:
            return
        sight = self._look(at_s)
        if fault == "sun":
            sight = replace(sight, ambient_kcps=BLINDING_KCPS)
        elif fault == "weak":
            sight = replace(sight, scene=replace(sight.scene, targets=(), nose_down_deg=-90.0))
        side = min(self._memory[ROI_SIZE] & 0x0F, self._memory[ROI_SIZE] >> 4) + 1
        field_deg = 15.0 + (tof.FIELD_DEG - 15.0) * (side - 4) / 12.0
        manual = self._word(MANUAL_SPADS) / 256.0 if self._memory[EFFECTIVE_SPADS_SELECT] & 0x03 == 2 else 0.0
        spads = min(tof.SPADS * side * side / 256.0, manual or math.inf)
        shot = self._model.shot(sight, mode, field_deg=field_deg, spads=spads)
        if fault == "sun" and shot.status in (tof.VALID, tof.MERGED, tof.CLIPPED):
            shot = replace(shot, status=tof.SIGMA, sigma_m=0.15)
        elif fault == "broken":
            shot = replace(shot, status=tof.VCSEL, signal_kcps=0.0, range_m=0.0)
        elif fault in STATUS_OF:
            shot = replace(shot, status=STATUS_OF[fault])
        elif fault == "wrap":
            shot = replace(shot, status=tof.WRAP, range_m=0.2 + shot.range_m % 0.8)
        self._count = 128 if self._count == 255 else self._count + 1
        self._put(shot)

    def _put(self, shot: Shot) -> None:
        """Writes the results, in agreement with each other."""
        memory = self._memory
        offset_mm = int.from_bytes(memory[PART_TO_PART_OFFSET : PART_TO_PART_OFFSET + 2], "big", signed=True) / 4.0
        range_mm = round(shot.range_m * 1e3 + offset_mm)
        memory[RESULTS:RESULTS_END] = bytes(RESULTS_END - RESULTS)
        memory[RANGE_STATUS] = shot.status
        memory[STREAM_COUNT] = max(self._count, 0)
        struct.pack_into(
            ">HHHHHHH",
            memory,
            STREAM_COUNT + 1,
            _limit(shot.spads * 256.0),
            _limit(shot.signal_kcps * 0.128),
            _limit(shot.ambient_kcps * 0.128),
            _limit(shot.sigma_m * 4e3),
            round(shot.range_m / tof.PHASE_M * 2048.0) & 0xFFFF,
            range_mm & 0xFFFF,
            _limit(shot.signal_kcps * 0.128),
        )


def _macro_periods(word: int) -> int:
    """Macro periods of a timeout word: a mantissa in the low byte, its exponent in the high one."""
    return ((word & 0xFF) << (word >> 8)) + 1


def _limit(value: float) -> int:
    return max(0, min(0xFFFF, round(value)))


def _name(index: int) -> str:
    return f"{NAMES[index]} (0x{index:04X})" if index in NAMES else f"VL53L1X index 0x{index:04X}"


def _known(index: int) -> None:
    if not (0 <= index <= LAST_READABLE or MODEL_ID <= index <= LAST):
        raise StrictTwinError(f"VL53L1X: there is no index 0x{index:04X}")
