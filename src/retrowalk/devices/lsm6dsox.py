"""LSM6DSOX inertial sensor in the clip on the lower back, read through its FIFO.

Wiring: VIN to 3.3 V, GND to ground, SDA to GPIO2, SCL to GPIO3; SA0 open or low for address 0x6A, high for 0x6B.
400 kHz (`dtparam=i2c_arm=on,i2c_arm_baudrate=400000`).  Keep the cable under 30 cm, away from the motor's.

Set up for 104 Hz, 16 g, 2000 °/s, both in the FIFO.  At this rate the chip's own low-pass is 52 Hz for acceleration
(half the rate, high-performance mode) and about 33 Hz for rotation, which is what 104 Hz leaves room for; both are the
reset values [datasheet, to be checked on the bench], so no filter register is written.
"""

from __future__ import annotations

import math
import struct
from collections import Counter

from retrowalk.config import Imu
from retrowalk.devices.i2c import Registers
from retrowalk.devices.imu_fifo import Counts, ImuFifo, Look, Pair, Traits
from retrowalk.errors import SensorError
from retrowalk.platform import Clock, I2CBus

FIFO_CTRL3, FIFO_CTRL4 = 0x09, 0x0A
WHO_AM_I = 0x0F
CTRL1_XL, CTRL2_G, CTRL3_C = 0x10, 0x11, 0x12
CTRL9_XL = 0x18
OUTX_L_G = 0x22
FIFO_STATUS1, FIFO_STATUS2 = 0x3A, 0x3B
FIFO_DATA_OUT_TAG = 0x78

CHIP_ID = 0x6C
SW_RESET = 0x01
I3C_DISABLE = 0x02
CTRL_SETTING = bytes((0x44, 0x4C, 0x44))
"""CTRL1_XL: 104 Hz, 16 g.  CTRL2_G: 104 Hz, 2000 °/s.  CTRL3_C: no update within a read, index counts up."""
FIFO_SETTING = bytes((0x44, 0x06))
"""FIFO_CTRL3: both at 104 Hz.  FIFO_CTRL4: continuous, the oldest is lost first."""

FIFO_WORDS = 512
TRAITS = Traits(
    rate_hz=104.0,
    units=2,  # a word for acceleration, a word for rotation
    burst=30,  # 210 bytes: 4.8 ms
    delay_s=0.0,
    accel_m_s2=0.488e-3 * 9.80665,
    gyro_rad_s=math.radians(0.070),
    reset_wait_s=0.010,
    reset_limit_s=0.100,
)

_WORDS = struct.Struct("<Bhhh")
_OUTPUT = struct.Struct("<hhhhhh")
_GYRO, _ACCEL, _OTHER = 1, 2, 3
_OTHER_SENSORS = frozenset({0x03, 0x04, 0x05, *range(0x06, 0x16), 0x19})


def _tag(byte: int) -> tuple[int, int]:
    """(kind, 2-bit counter) of a FIFO tag; kind 0 is no tag at all: odd parity or a sensor the chip does not have."""
    sensor = byte >> 3
    if byte.bit_count() % 2:
        return 0, 0
    kind = sensor if sensor in (_GYRO, _ACCEL) else _OTHER if sensor in _OTHER_SENSORS else 0
    return kind, byte >> 1 & 3


_TAGS = tuple(_tag(byte) for byte in range(256))


class Lsm6dsox(ImuFifo):
    """The driver; what it gives, raises and reports is `ImuFifo`'s."""

    def __init__(self, config: Imu, bus: I2CBus, clock: Clock) -> None:
        super().__init__(config, _Chip(config.bus_address, bus), clock)


class _Chip:
    """Words of 7 bytes, tagged with what they hold and a counter of instants."""

    traits = TRAITS

    def __init__(self, address: int, bus: I2CBus) -> None:
        self.where = f"LSM6DSOX at 0x{address:02X}"
        self.counts: Counter[str] = Counter()
        self._registers = Registers(bus, address, self.where)
        self._half: tuple[int, int, Counts] | None = None
        """The word of an instant whose other word has not been read yet."""
        self._counter: int | None = None
        self._index = 0

    def reset(self) -> None:
        found = self._registers.get(WHO_AM_I, 1)[0]
        if found != CHIP_ID:
            detail = f"{self.where} answers WHO_AM_I with 0x{found:02X}; an LSM6DSOX says 0x{CHIP_ID:02X}"
            raise SensorError("wrong_chip", detail)
        self._registers.put(CTRL3_C, SW_RESET)

    def is_back(self) -> bool:
        return not self._registers.get(CTRL3_C, 1)[0] & SW_RESET

    def set_up(self) -> None:
        # Few transfers, each of neighbours: on a noisy bus a long set-up would never come to its end.
        no_i3c = bytes((self._registers.get(CTRL9_XL, 1)[0] | I3C_DISABLE,))
        self._registers.keep(((CTRL9_XL, no_i3c), (FIFO_CTRL3, FIFO_SETTING), (CTRL1_XL, CTRL_SETTING)))

    def is_set_up(self) -> bool:
        return self._registers.get(CTRL1_XL, 3) == CTRL_SETTING and self._registers.get(FIFO_CTRL3, 2) == FIFO_SETTING

    def look(self) -> Look:
        low, high = self._registers.get(FIFO_STATUS1, 2)
        words = low | (high & 0x03) << 8
        if words > FIFO_WORDS or high & 0x04:  # more than it holds, or a bit that is always 0
            return Look(words, impossible=f"FIFO status 0x{high:02X}{low:02X} is impossible")
        return Look(words, lost=bool(high & 0x48))

    def take(self, ready: int) -> list[Pair]:
        try:
            data = self._registers.get(FIFO_DATA_OUT_TAG, ready * _WORDS.size)
        except OSError:
            self._half = None  # words may have left the chip without arriving; the time of the next look shows it
            raise
        pairs: list[Pair] = []
        half = self._half
        for tag, x, y, z in _WORDS.iter_unpack(data):
            kind, counter = _TAGS[tag]
            if kind == _OTHER:
                continue
            if not kind:
                self.counts["garbage_word"] += 1
                continue
            if half is None or half[0] != counter or half[1] == kind:
                if half is not None:
                    self.counts["unpaired_word"] += 1
                half = (counter, kind, (x, y, z))
                continue
            accel, gyro = ((x, y, z), half[2]) if kind == _ACCEL else (half[2], (x, y, z))
            half = None
            missing = 0 if self._counter is None else (counter - self._counter - 1) & 3
            self._counter = counter
            self._index += 1 + missing
            if missing:
                self.counts["missing"] += missing
            pairs.append((self._index, accel, gyro, missing > 0))
        self._half = half
        return pairs

    def newest(self, left: int) -> int:
        return self._index + ((left + 1) // 2 if self._half else left // 2)

    def forget(self) -> None:
        self._half = self._counter = None

    def measured_now(self) -> tuple[Counts, Counts]:
        gx, gy, gz, ax, ay, az = _OUTPUT.unpack(self._registers.get(OUTX_L_G, 12))
        return (ax, ay, az), (gx, gy, gz)
