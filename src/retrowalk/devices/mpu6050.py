"""MPU-6050 inertial sensor in the clip on the lower back, read through its FIFO; its relative MPU-6500 likewise.

Wiring (GY-521 board): VCC to 3.3 V (the board's own regulator then gives a little less, which is enough; with 5 V its
pull-ups still end at 3.3 V), GND to ground, SDA to GPIO2, SCL to GPIO3; AD0 open or low for address 0x68, high for
0x69; XDA, XCL and INT stay open.  400 kHz (`dtparam=i2c_arm=on,i2c_arm_baudrate=400000`).  Keep the cable under 30 cm,
away from the motor's.  A clock module (DS3231, DS1307) also lives at 0x68: then AD0 high, and `address = 0x69`.

Set up for 100 Hz (1 kHz / 10: the divider knows nothing nearer to the other clip's 104 Hz), 16 g, 2000 °/s; low-pass 3
(44 Hz for acceleration, 42 Hz for rotation), whose delay of 4.8 ms is taken off the times of the samples.

Traps: it wakes asleep.  Its FIFO has bytes and no frames: when it runs over, the oldest bytes are lost and with them
the order of the rest, so it is emptied, never read on.  Half of what is sold as MPU-6050 is not one: an MPU-6500, or
a chip without a name; they work the same here and have half the FIFO.  What they are is logged and in `found`.
"""

from __future__ import annotations

import logging
import math
import struct
from collections import Counter

from retrowalk.config import Imu
from retrowalk.devices.i2c import Registers
from retrowalk.devices.imu_fifo import Counts, ImuFifo, Look, Pair, Traits
from retrowalk.errors import SensorError
from retrowalk.platform import Clock, I2CBus

log = logging.getLogger("retrowalk.devices.mpu6050")

SMPLRT_DIV, ACCEL_CONFIG2, FIFO_EN = 0x19, 0x1D, 0x23
INT_ENABLE, INT_STATUS, ACCEL_XOUT_H = 0x38, 0x3A, 0x3B
USER_CTRL, PWR_MGMT_1 = 0x6A, 0x6B
FIFO_COUNT_H, FIFO_R_W, WHO_AM_I = 0x72, 0x74, 0x75

CHIP_ID = 0x68
"""Of an MPU-6050, whatever AD0 is."""
RELATIVES = {
    0x70: "MPU-6500",
    0x71: "MPU-9250",
    0x73: "MPU-9255",
    0x72: "an unnamed relative",
    0x74: "an unnamed relative",
    0x75: "an unnamed relative",
    0x98: "an unnamed relative",
}
"""Other answers to WHO_AM_I that are known from boards sold as MPU-6050 or MPU-6500 [reports of their buyers]."""

DEVICE_RESET = 0x80
CLOCK_PLL = b"\x01"
"""PWR_MGMT_1: awake, clock from the gyroscope, which is steadier than the chip's RC oscillator."""
SAMPLING = bytes((9, 3, 0x18, 0x18))
"""SMPLRT_DIV: 1 kHz / 10.  CONFIG: low-pass 3.  GYRO_CONFIG: 2000 °/s.  ACCEL_CONFIG: 16 g."""
ACCEL_LOW_PASS = b"\x03"
"""ACCEL_CONFIG2 of the relatives, whose acceleration has a low-pass of its own."""
OVERFLOW = 0x10
"""Bit of INT_ENABLE and INT_STATUS.  Nobody listens to the pin; the bit is set only if it is enabled."""
ACCEL_AND_GYRO = 0x78
"""FIFO_EN: acceleration, then rotation, 12 bytes a sample."""
FIFO_RESET, FIFO_ON = 0x04, 0x40

CAPACITY, RELATIVES_CAPACITY = 1024, 512
FRAME = 12
STALE_S = 0.2
"""Half of a relative's FIFO is full after so long."""

TRAITS = Traits(
    rate_hz=100.0,
    units=1,  # a frame has both
    burst=18,  # 216 bytes: 4.9 ms
    delay_s=0.0048,
    accel_m_s2=9.80665 / 2048.0,
    gyro_rad_s=math.radians(1.0 / 16.4),
    reset_wait_s=0.100,
    reset_limit_s=0.300,
)

_FRAMES = struct.Struct(">hhhhhh")
_OUTPUT = struct.Struct(">hhhxxhhh")
"""The output registers have the temperature between the two."""


class Mpu6050(ImuFifo):
    """The driver; what it gives, raises and reports is `ImuFifo`'s."""

    def __init__(self, config: Imu, bus: I2CBus, clock: Clock) -> None:
        self._mpu = _Chip(config.bus_address, bus, clock)
        super().__init__(config, self._mpu, clock)

    @property
    def found(self) -> str:
        """Which chip answered, such as `MPU-6500 (WHO_AM_I 0x70)`; empty before one has."""
        return self._mpu.found


class _Chip:
    """Frames of 12 bytes, told apart by nothing but their place."""

    traits = TRAITS

    def __init__(self, address: int, bus: I2CBus, clock: Clock) -> None:
        self.where = f"MPU-6050 at 0x{address:02X}"
        self.counts: Counter[str] = Counter()
        self.found = ""
        self._registers = Registers(bus, address, self.where)
        self._clock = clock
        self._relative = False
        self._capacity = CAPACITY
        self._index = 0
        self._count = 0
        self._look_s = 0.0
        """Bytes in the FIFO at the latest look, and when that began."""
        self._doubtful = False
        """A transfer of frames has failed: some bytes may have left the FIFO."""

    def reset(self) -> None:
        chip_id = self._registers.get(WHO_AM_I, 1)[0]
        if chip_id != CHIP_ID and chip_id not in RELATIVES:
            detail = f"{self.where} answers WHO_AM_I with 0x{chip_id:02X}; an MPU-6050 says 0x{CHIP_ID:02X}"
            raise SensorError("wrong_chip", detail)
        found = f"{RELATIVES.get(chip_id, 'MPU-6050')} (WHO_AM_I 0x{chip_id:02X})"
        self._relative = chip_id != CHIP_ID
        if self._relative and found != self.found:
            log.warning("%s is %s; it is used as an MPU-6050 with half the FIFO", self.where, found)
        self.found = found
        self._capacity = RELATIVES_CAPACITY if self._relative else CAPACITY
        self._registers.put(PWR_MGMT_1, DEVICE_RESET)

    def is_back(self) -> bool:
        return not self._registers.get(PWR_MGMT_1, 1)[0] & DEVICE_RESET

    def set_up(self) -> None:
        settings = [(PWR_MGMT_1, CLOCK_PLL), (SMPLRT_DIV, SAMPLING), (INT_ENABLE, bytes((OVERFLOW,)))]
        if self._relative:
            settings.append((ACCEL_CONFIG2, ACCEL_LOW_PASS))
        self._registers.keep(settings)
        self._empty()

    def is_set_up(self) -> bool:
        # A brown-out puts the chip to sleep; the settings are looked at as well, since a spark can change one bit.
        get = self._registers.get
        return (
            get(USER_CTRL, 2) == bytes((FIFO_ON,)) + CLOCK_PLL
            and get(SMPLRT_DIV, len(SAMPLING)) == SAMPLING
            and get(FIFO_EN, 1)[0] == ACCEL_AND_GYRO
        )

    def look(self) -> Look:
        self._look_s = self._clock.now()
        count = self._bytes()
        if count % FRAME:
            count = self._bytes()  # a frame was just being put in; now it is whole
        if count > CAPACITY:
            return Look(count // FRAME, impossible=f"FIFO count {count} is more than it holds ({CAPACITY})")
        gone = self._doubtful and count < self._count
        self._count, self._doubtful = count, False
        if gone or count % FRAME or count > self._capacity - FRAME:
            self._empty()
            return Look(0, lost=True)
        return Look(count // FRAME)

    def take(self, ready: int) -> list[Pair] | None:
        try:
            data = self._registers.get(FIFO_R_W, ready * FRAME)
        except OSError:
            self._doubtful = True
            raise
        # Between the look and the end of the transfer there may have been time, and other work for this processor.
        risky = self._count > self._capacity // 2 or self._clock.now() - self._look_s > STALE_S
        if risky and self._registers.get(INT_STATUS, 1)[0] & OVERFLOW:
            self._empty()
            return None
        self._count -= len(data)
        index = self._index
        pairs = [
            (number, (ax, ay, az), (gx, gy, gz), False)
            for number, (ax, ay, az, gx, gy, gz) in enumerate(_FRAMES.iter_unpack(data), index + 1)
        ]
        self._index = index + len(pairs)
        return pairs

    def newest(self, left: int) -> int:
        return self._index + left

    def forget(self) -> None:
        """Frames have no order that could be forgotten."""

    def measured_now(self) -> tuple[Counts, Counts]:
        ax, ay, az, gx, gy, gz = _OUTPUT.unpack(self._registers.get(ACCEL_XOUT_H, _OUTPUT.size))
        return (ax, ay, az), (gx, gy, gz)

    def _bytes(self) -> int:
        high, low = self._registers.get(FIFO_COUNT_H, 2)  # the high byte first: it holds the low one still
        return high << 8 | low

    def _empty(self) -> None:
        """Nothing may be put in meanwhile: a frame that begins in the middle would shift all that follow."""
        put = self._registers.put
        put(FIFO_EN, 0)
        put(USER_CTRL, FIFO_RESET)
        put(USER_CTRL, FIFO_ON)
        self._registers.get(INT_STATUS, 1)  # reading clears the overflow of before
        put(FIFO_EN, ACCEL_AND_GYRO)
        self._count, self._doubtful = 0, False
