"""LSM6DSOX inertial sensor in the clip on the lower back, read through its FIFO.

Wiring: VIN to 3.3 V, GND to ground, SDA to GPIO2, SCL to GPIO3; SA0 open or low for address 0x6A, high for 0x6B.
400 kHz (`dtparam=i2c_arm=on,i2c_arm_baudrate=400000`).  Keep the cable under 30 cm, away from the motor's.

Set up for 104 Hz, 16 g, 2000 °/s, both in the FIFO.  At this rate the chip's own low-pass is 52 Hz for acceleration
(half the rate, high-performance mode) and about 33 Hz for rotation, which is what 104 Hz leaves room for; both are the
reset values [datasheet, to be checked on the bench], so no filter register is written.
"""

from __future__ import annotations

import errno
import math
import os
import struct
from collections import Counter
from collections.abc import Sequence

from retrowalk.config import Imu, axis_matrix
from retrowalk.core.samples import ImuSample, Item
from retrowalk.devices.faults import FaultState
from retrowalk.devices.sample_clock import SampleClock
from retrowalk.errors import SensorError
from retrowalk.platform import Clock, I2CBus, no_wake

FIFO_CTRL3, FIFO_CTRL4 = 0x09, 0x0A
WHO_AM_I = 0x0F
CTRL1_XL, CTRL2_G, CTRL3_C = 0x10, 0x11, 0x12
CTRL9_XL = 0x18
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
RATE_HZ = 104.0
ACCEL_M_S2 = 0.488e-3 * 9.80665
"""One count at 16 g."""
GYRO_RAD_S = math.radians(0.070)
"""One count at 2000 °/s."""

BURST_WORDS = 64
"""At most so many words in one transfer: 10 ms at 400 kHz.  A fuller FIFO is read in several polls, one at once."""

RESET_WAIT_S = 0.010
RESET_LIMIT_S = 0.100
SETTLE_SAMPLES = 10
"""The gyroscope needs about 70 ms after it is switched on; what the FIFO holds of that time is thrown away."""

CHECK_EVERY_S = 1.0
"""A brown-out sets all registers back, and a chip that is off answers like one that has nothing to tell."""

NACK_LIMIT_S = 0.100
NACK_RETRY_S = 0.020
"""A motor that switches on can spoil a transfer; the FIFO waits.  Longer than the limit, and the clip is gone."""

NOTHING_LIMIT_S = 0.300
"""No sample for so long, though the chip answers, is a fault; the chip is set up again, this often."""

RATE_WINDOW_S = 0.5
RATE_TOLERANCE = 0.3
"""A chip whose rate is further off than this, in two windows running, is not the one that the times are made for."""

BAD_SHARE_MAX = 0.2
"""More garbage among the words than this is a fault, even if good ones arrive."""

FROZEN_SAMPLES = 104
"""At 16 g the noise is about 1.6 counts on each axis: the same bits for a second are no measurement."""
MOVES_MIN = 3

_WORDS = struct.Struct("<Bhhh")
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

_Counts = tuple[int, int, int]
_Pair = tuple[int, _Counts, _Counts, bool]
"""One instant: index, acceleration, rotation, and whether instants before it are missing."""
_NO_ACCEL: frozenset[_Counts] = frozenset({(0, 0, 0), (-1, -1, -1)})
"""A bus that is pulled low or high; no body is without weight to the last count."""

_FROZEN = ("frozen", f"acceleration has had the same bits for {FROZEN_SAMPLES} samples")
_GARBAGE = ("garbage", "the FIFO gives words it cannot hold")

_ERRNO_MEANS = {
    errno.EREMOTEIO: "no acknowledge: not connected, not powered, or another address",
    errno.ENXIO: "no acknowledge: not connected, not powered, or another address",
    errno.ETIMEDOUT: "timed out: a bus line is held low",
    errno.EIO: "input/output error: a loose wire, or noise",
    errno.EAGAIN: "arbitration lost: another master, or noise",
}


class Lsm6dsox:
    """Reads the FIFO every `poll_s`; one `ImuSample` for each instant, in body axes, m/s² and rad/s.

    `t_measured_s` counts the chip's samples and is slewed to the session's clock: increasing, never after
    `t_received_s`, within about one sample (10 ms) of the truth.  `gap` is true for the first sample after lost ones.

    Raises `SensorError`: `absent` (no answer on the bus for 0.1 s, with what the error number means), `wrong_chip`
    (WHO_AM_I is of something else), `garbage` (registers do not keep what is written).  Reports, and sets up again by
    itself: `garbage` (words no FIFO holds), `frozen` (the same bits for a second, or an empty FIFO for 0.3 s), `slow`
    (a rate more than 30 % off: its samples are withheld, since their times would be wrong).  A reset by a brown-out is
    mended within half a second, without a report: the gap is in the samples.
    """

    def __init__(self, config: Imu, bus: I2CBus, clock: Clock) -> None:
        axes = axis_matrix(config.axes)
        if axes is None:
            raise ValueError(f"imu.axes = {list(config.axes)}: must be right-handed, such as +x +y +z")
        self.name = "imu"
        self.retry_s = 0.2
        self.wake = no_wake
        self.shares = "i2c"
        self.counts: Counter[str] = Counter()
        """Samples given, and by reason what was thrown away or repaired."""
        self._axes = axes
        self._config = config
        self._where = f"LSM6DSOX at 0x{config.bus_address:02X}"
        self._bus = bus
        self._clock = clock
        self._step = self._identify
        self._reset_s = 0.0
        self._check_s = 0.0
        self._nack_since_s: float | None = None
        self._nothing_since_s = 0.0
        self._look_s = 0.0
        self._left = 0
        """Words left in the FIFO by the look at `_look_s`."""
        self._alive = False
        """A sample has come since the set-up."""
        self._bad_share = 0.0
        """Share of the words that were garbage, over about a quarter of a second."""
        self._rate_from: tuple[int, float] | None = None
        """Newest index and time of the look that began the rate window."""
        self._wrong_rate = 0
        """2 after two windows with a wrong rate, 0 after two with the right one."""
        self._fault = FaultState(self.name)
        self._times = SampleClock(1.0 / RATE_HZ)
        # What is known of the stream of words.
        self._half: tuple[int, int, _Counts] | None = None
        self._counter: int | None = None
        self._index = 0
        self._settling = 0
        self._gap = False
        # The latest sample given.
        self._given_s: float | None = None
        self._given_index = 0
        # How long the acceleration has had the same bits, and how often in a row it has changed since.
        self._same: _Counts | None = None
        self._same_count = 0
        self._moves = 0

    # ------------------------------------------------------------------------------------------- as a step

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        try:
            items, due_s = self._step(now)
        except SensorError:
            self._begin_again()
            raise
        except OSError as error:
            return self._not_answered(now, error)
        self._nack_since_s = None
        return items, due_s

    def close(self) -> None:
        """Leaves the chip as it is; the bus is not the driver's to close."""
        self._begin_again()

    def _begin_again(self) -> None:
        self._step = self._identify

    def _not_answered(self, now: float, error: OSError) -> tuple[Sequence[Item], float]:
        self.counts["nack"] += 1
        if self._nack_since_s is None:
            self._nack_since_s = now
        if self._step != self._identify and now - self._nack_since_s < NACK_LIMIT_S:
            return (), now + NACK_RETRY_S
        self._begin_again()
        means = _ERRNO_MEANS.get(error.errno or 0) or os.strerror(error.errno or errno.EIO)
        raise SensorError("absent", f"{self._where} does not answer (error {error.errno}: {means})") from error

    # -------------------------------------------------------------------------------------------- set-up

    def _identify(self, now: float) -> tuple[Sequence[Item], float]:
        found = self._get(WHO_AM_I, 1)[0]
        if found != CHIP_ID:
            raise SensorError(
                "wrong_chip",
                f"{self._where} answers WHO_AM_I with 0x{found:02X}; an LSM6DSOX says 0x{CHIP_ID:02X}",
            )
        self._put(CTRL3_C, bytes((SW_RESET,)))
        self._reset_s = now
        self._step = self._set_up
        return (), now + RESET_WAIT_S

    def _set_up(self, now: float) -> tuple[Sequence[Item], float]:
        if self._get(CTRL3_C, 1)[0] & SW_RESET:
            if now - self._reset_s > RESET_LIMIT_S:
                raise SensorError("garbage", f"LSM6DSOX does not come back from a reset within {RESET_LIMIT_S} s")
            return (), now + RESET_WAIT_S
        # Few transfers, each of neighbours: on a noisy bus a long set-up would never come to its end.
        settings = (
            (CTRL9_XL, bytes((self._get(CTRL9_XL, 1)[0] | I3C_DISABLE,))),
            (FIFO_CTRL3, FIFO_SETTING),
            (CTRL1_XL, CTRL_SETTING),
        )
        for register, setting in settings:
            self._put(register, setting)
        for register, setting in settings:
            found = self._get(register, len(setting))
            for at, (reads, written) in enumerate(zip(found, setting, strict=True), register):
                if reads != written:
                    detail = f"LSM6DSOX register 0x{at:02X} reads 0x{reads:02X} after 0x{written:02X} was written"
                    raise SensorError("garbage", detail)
        self._step = self._read
        self._check_s = now + CHECK_EVERY_S
        self._nothing_since_s = self._look_s = now
        self._left = 0
        self._alive = False
        self._bad_share = 0.0
        self._half = None
        self._lost()
        self._settling = SETTLE_SAMPLES
        return (), now + self._config.poll_s

    def _lost(self) -> None:
        """Samples were lost, nobody knows how many: the next one has a gap before it, and time is anchored anew."""
        self._counter = None
        self._gap = self._given_s is not None
        self._times.restart()
        self._rate_from = None

    def _still_set_up(self) -> bool:
        return self._get(CTRL1_XL, 3) == CTRL_SETTING and self._get(FIFO_CTRL3, 2) == FIFO_SETTING

    # -------------------------------------------------------------------------------------------- reading

    def _read(self, now: float) -> tuple[Sequence[Item], float]:
        if now >= self._check_s:
            self._check_s = now + CHECK_EVERY_S
            if not self._still_set_up():
                return self._chip_was_reset(now)
        before_s = self._clock.now()
        status = self._get(FIFO_STATUS1, 2)
        after_s = self._clock.now()
        words = status[0] | (status[1] & 0x03) << 8
        # More than it holds, a bit that is always 0, or more than it can have taken since the last look?
        since_s = after_s - self._look_s
        if words > FIFO_WORDS or status[1] & 0x04 or words > self._left + 4 + since_s * 2.2 * RATE_HZ:
            self.counts["garbage_status"] += 1
            return self._nothing(now, "garbage", f"FIFO status 0x{status[1]:02X}{status[0]:02X} is impossible")
        if status[1] & 0x48:
            self.counts["overrun"] += 1
            self._half = None
            self._lost()
        if not words:
            return self._nothing(now, "frozen", "the FIFO stays empty")
        self._look_s, self._left = after_s, words  # less what is taken, once it has been
        taken = min(words, BURST_WORDS)
        try:
            data = self._get(FIFO_DATA_OUT_TAG, taken * _WORDS.size)
        except OSError:
            self._half = None  # words may have left the chip without arriving; the time of the next look shows it
            raise
        left = self._left = words - taken
        due_s = now if left else now + self._config.poll_s
        bad_before = self.counts["garbage_word"] + self.counts["garbage_value"]
        pairs = self._pair(data)
        bad = self.counts["garbage_word"] + self.counts["garbage_value"] - bad_before
        self._bad_share += (bad / taken - self._bad_share) / 5.0
        if not pairs:
            return self._nothing(now, *_GARBAGE)
        newest = self._index + ((left + 1) // 2 if self._half else left // 2)
        newest_s, anew = self._times.newest(newest, before_s, after_s)
        if self._slow(newest, after_s):
            self.counts["slow"] += len(pairs)
            self._gap = self._given_s is not None
            self._nothing_since_s = now  # setting it up again would mend nothing: its registers are looked at anyway
            return self._fault.change(now, "slow", f"{self._where}: its rate is not {RATE_HZ:.0f} Hz"), due_s
        moving = self._moving(pairs)
        if not moving:
            return self._nothing(now, *_FROZEN, at_once=True)
        last_s = newest_s - (newest - moving[-1][0]) * self._times.period_s
        items = self._give(now, moving, min(last_s, now), anew)
        if not items:
            return self._nothing(now, *_GARBAGE)
        self._nothing_since_s = now
        self._alive = True
        if self._bad_share > BAD_SHARE_MAX:
            items += self._fault.change(now, _GARBAGE[0], f"{self._where}: {_GARBAGE[1]}")
        elif self._fault.active and self._bad_share < BAD_SHARE_MAX / 4.0:
            items += self._fault.change(now, "")
        return items, due_s

    def _nothing(self, now: float, fault: str, detail: str, at_once: bool = False) -> tuple[list[Item], float]:
        """A look without a sample: a fault at once or after a while, and then the chip is set up again."""
        silent = now - self._nothing_since_s >= NOTHING_LIMIT_S
        if not (silent or at_once):
            return [], now + self._config.poll_s
        if silent:
            self._nothing_since_s = now
            if self._alive and not self._still_set_up():
                return self._chip_was_reset(now)
        items = self._fault.change(now, fault, f"{self._where}: {detail}")
        if silent:
            self.counts["set_up_again"] += 1
            return items, self._identify(now)[1]
        return items, now + self._config.poll_s

    def _chip_was_reset(self, now: float) -> tuple[list[Item], float]:
        """A brown-out, mended without a word: the gap is in the samples."""
        self.counts["chip_reset"] += 1
        return [], self._identify(now)[1]

    def _pair(self, data: bytes) -> list[_Pair]:
        """Words to instants; a half whose other half has not been read yet is kept."""
        pairs: list[_Pair] = []
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
            if accel in _NO_ACCEL:
                self.counts["garbage_value"] += 1
                self._gap = self._given_s is not None
                continue
            if self._settling:
                self._settling -= 1
                continue
            pairs.append((self._index, accel, gyro, missing > 0))
        self._half = half
        return pairs

    def _slow(self, newest: int, look_s: float) -> bool:
        """Whether the chip makes samples at another rate than it should; `newest` is the newest index at `look_s`."""
        if self._rate_from is None:
            self._rate_from = newest, look_s
        index, since_s = self._rate_from
        if look_s - since_s >= RATE_WINDOW_S:
            self._rate_from = newest, look_s
            wrong = abs((newest - index) / ((look_s - since_s) * RATE_HZ) - 1.0) > RATE_TOLERANCE
            self._wrong_rate = min(self._wrong_rate + 1, 2) if wrong else max(self._wrong_rate - 1, 0)
        return self._wrong_rate == 2 or (self._wrong_rate == 1 and self._fault.active == "slow")

    def _moving(self, pairs: list[_Pair]) -> list[_Pair]:
        """The pairs without those of a chip that repeats itself."""
        moving = []
        for pair in pairs:
            if pair[1] == self._same:
                self._same_count += 1
                self._moves = 0
            else:
                self._same, self._same_count = pair[1], 1
                self._moves += 1
            # Once frozen, one new value proves nothing; a few in a row do.
            if self._same_count > FROZEN_SAMPLES or (self._fault.active == "frozen" and self._moves < MOVES_MIN):
                self.counts["frozen"] += 1
                self._gap = True
                continue
            moving.append(pair)
        return moving

    def _give(self, now: float, pairs: list[_Pair], last_s: float, anew: bool) -> list[Item]:
        """Samples of the pairs; `last_s` is the last one's time; `anew`: it does not continue the earlier ones."""
        given_s, first, last = self._given_s, pairs[0][0], pairs[-1][0]
        step_s = self._times.period_s
        if given_s is not None:
            if last_s <= given_s:
                last_s = (given_s + now) / 2.0
            if anew:
                self._gap = True
                if last_s - (last - first) * step_s <= given_s:
                    step_s = (last_s - given_s) / (last - first + 1)
            else:
                # The correction of this look is spread over its samples: their spacing stays even.
                step_s = (last_s - given_s) / (last - self._given_index)
        (forward, forward_sign), (left, left_sign), (up, up_sign) = self._axes
        a_f, a_l, a_u = forward_sign * ACCEL_M_S2, left_sign * ACCEL_M_S2, up_sign * ACCEL_M_S2
        g_f, g_l, g_u = forward_sign * GYRO_RAD_S, left_sign * GYRO_RAD_S, up_sign * GYRO_RAD_S
        items: list[Item] = []
        for index, accel, gyro, missing in pairs:
            measured_s = last_s - (last - index) * step_s
            if given_s is not None and measured_s <= given_s:  # the clock stood still between two looks
                self.counts["stalled"] += 1
                self._gap = True
                continue
            given_s = measured_s
            items.append(
                ImuSample(
                    now,
                    measured_s,
                    (accel[forward] * a_f, accel[left] * a_l, accel[up] * a_u),
                    (gyro[forward] * g_f, gyro[left] * g_l, gyro[up] * g_u),
                    self._gap or missing,
                )
            )
            self._gap = False
        self._given_s, self._given_index = given_s, last
        self.counts["samples"] += len(items)
        return items

    # ---------------------------------------------------------------------------------------------- bus

    def _get(self, register: int, count: int) -> bytes:
        data = self._bus.transfer(self._config.bus_address, bytes((register,)), count)
        if len(data) != count:
            raise OSError(errno.EIO, f"{len(data)} bytes instead of {count}")
        return data

    def _put(self, register: int, data: bytes) -> None:
        self._bus.transfer(self._config.bus_address, bytes((register,)) + data, 0)
