"""VL53L1X time-of-flight range sensor on the I2C bus: for shade and indoors, where it sees 1.3 to 3 m.

Wiring: VIN to 3.3 V, GND to ground, SDA to GPIO2, SCL to GPIO3 (a breakout board has regulator and pull-ups); XSHUT and
GPIO1 stay open.  400 kHz (`dtparam=i2c_arm=on,i2c_arm_baudrate=400000`), cable under 30 cm.  It answers at 0x29 after
every power-on; another `address` is given to it at each start, when nothing answers there and a VL53L1X does at 0x29.
So a second one needs its XSHUT held low until the first has moved, which this driver does not do.

Traps.  Nothing may stand in front of it: a cover glass reflects.  It averages all light from a cone of 27 degrees: a
rod near and a wall far read somewhere between.  Daylight drowns its own light: at 200 kcps/SPAD of ambient light (5
klux, a bright sky at a window) long mode reaches 0.7 m, short mode 1.35 m [maker's figures, to be checked]; in the sun
nothing is to be believed.  So the ambient rate that comes with each sample chooses the mode, and "nothing seen" is told
as "no target" only where the light leaves a person's clothes visible up to `clear_range_m`.

The range is the register as it is.  The maker's full driver multiplies by 2011/2048; its ultra-lite driver, whose
settings these are, does not, nor do Adafruit and SparkFun, and against those boards a maker will compare.
"""

from __future__ import annotations

import errno
import struct
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from retrowalk.config import Vl53l1x
from retrowalk.core.samples import Item, RangeSample, RangeStatus
from retrowalk.devices.faults import FaultState
from retrowalk.devices.i2c import NACK_RETRY_S, Patience, absent
from retrowalk.errors import SensorError
from retrowalk.platform import Clock, I2CBus, no_wake

SOFT_RESET, I2C_ADDRESS = 0x0000, 0x0001
VHV_LOOP_BOUND, VHV_START = 0x0008, 0x000B
BLOCK_START = 0x002D
TIO_HV_STATUS = 0x0031
PHASECAL_TIMEOUT, TIMEOUT_A, INTER_MEASUREMENT, WOI_SD0 = 0x004B, 0x005E, 0x006C, 0x0078
INTERRUPT_CLEAR, MODE_START = 0x0086, 0x0087
RESULTS = 0x0089
OSC_CALIBRATE, FIRMWARE_STATUS, MODEL_ID = 0x00DE, 0x00E5, 0x010F

HOME = 0x29
"""The address after power-on."""
IDENTITY = bytes((0xEA, 0xCC, 0x10))
"""Model, type and revision of the mask."""
OTHERS = {0xEBAA: "a VL53L4CD or VL53L4CX", 0xEAAA: "a VL53L3CX", 0xFFFF: "nothing: the data line may be loose"}

BLOCK = bytes.fromhex(
    "00 00 00 01 02 00 02 08 00 08 10 01 01 00 00 00 00 FF 00 0F 00 00 00 00 00 20 0B 00 00 02 0A 21"  # from 0x2D
    "00 00 05 00 00 00 00 C8 00 00 38 FF 01 00 08 00 00 01 CC 0F 01 F1 0D 01 68 00 80 08 B8 00 00 00"  # from 0x4D
    "00 0F 89 00 00 00 00 00 00 00 01 0F 0D 0E 0E 00 00 02 C7 FF 9B 00 00 00 01 00 00"  # from 0x6D to 0x87
)
"""The maker's settings for 0x002D to 0x0087, which its ultra-lite driver publishes and calls not to be modified.

As in Adafruit's driver 1.2.9 and in ESPHome's copy of the maker's; SparkFun's 2.0.0 has the same but for the timeout
word at 0x005E, which is overwritten below, and for 0x002E and 0x002F: pads at the supply instead of at 1.8 V.  Theirs
stay at 1.8 V here, which reads a higher bus, too.  The interrupt is active high (0x0030), one for each sample (0x0046).
"""

BUDGET_S = 0.033
PERIOD_MS = 42
"""Time between two measurements: shorter than `POLL_S` with its clock 6 % slow, so that each look finds a new one."""
OSC_FACTOR = 1.065
"""Counts of the period a calibrated millisecond (the ultra-lite driver reads with this, and writes with 1.075)."""


@dataclass(frozen=True, slots=True)
class Mode:
    """A distance mode with a budget of 33 ms, and how far it sees."""

    name: str
    phasecal: bytes
    ranging: bytes
    """0x005E to 0x0069: timeout and laser period A, B, limits of sigma and signal as in `BLOCK`, highest phase."""
    windows: bytes
    """0x0078 to 0x007B."""
    limit_m: float
    """However bright, nothing is seen beyond this."""
    half_kcps: float
    """Ambient light (kcps/SPAD) that lengthens the fourth power of what is needed by as much as the dark needs."""


SHORT = Mode("short", b"\x14", bytes.fromhex("00D6 07 006E 05 0168 0080 08 38"), bytes.fromhex("0705 0606"), 1.36, 4.03)
LONG = Mode("long", b"\x0a", bytes.fromhex("0060 0F 006E 0D 0168 0080 08 B8"), bytes.fromhex("0F0D 0E0E"), 4.0, 0.338)

DARK_REACH_M = 3.6
CLOTHES = 0.30 * 0.8 / 0.88
"""What a person in fleece returns of what a white wall does: 30 %, filling four fifths of the cone (assumed)."""

LIGHT_KCPS, DARK_KCPS = 1.0, 0.5
"""Ambient light from which long mode no longer surely sees as far as short mode, and below which it is used."""
DWELL_S = 2.0
"""A change of mode costs a sample or two: under trees it would come with every leaf."""
AMBIENT_SHARE = 0.3
"""Weight of the newest sample in the ambient light that chooses the mode."""

POLL_S = 0.048
"""As often as the clip is read, so that one wake-up reads both."""
LOOK_AGAIN_S = 0.012
FIRST_LOOK_S = 0.036
OLD_S = 0.12
"""A measurement that may have waited for longer is thrown away."""

RESET_S = 0.0002
BOOT_LOOK_S = 0.003
BOOT_LIMIT_S = 0.5
FIRST_LIMIT_S = 0.5

STALE_S = 0.146
"""Twice the poll and 50 ms without a new sample: the chip may have been reset."""
NOTHING_LIMIT_S = 0.300
"""No sample for so long, though the chip answers, is a fault; the chip is set up again, this often."""
CHECK_EVERY_S = 1.0

BROKEN_AFTER = 3
FROZEN_SAMPLES = 24
"""Range and signal are never twice the same for long: the same for a second are no measurement."""
MOVES_MIN = 3
GAPS = 4
SLOW_S, PROMPT_S = 0.44, 0.30
"""Four samples that took longer are slow, until four take less; they should take 0.19 s."""

CONTACT_M = 0.04
"""Nearer than this the chip cannot tell."""

VALID, NO_WRAP_CHECK, MERGED, CLIPPED, NO_SIGNAL, SYNC = 9, 19, 22, 8, 4, 18
DOUBTED = {6: "sigma", 5: "phase", 7: "wrap", 12: "crosstalk", 13: "region", 23: "no_target_before"}
HARDWARE = {1: "laser continuity", 2: "laser watchdog", 3: "no bias voltage", 17: "laser clipped"}
PROCESSING = {10: "algorithm underflow", 11: "algorithm overflow"}

_RESULTS = struct.Struct(">BxBHHHHHHH")
_NOBODY = frozenset({errno.EREMOTEIO, errno.ENXIO})


def surely_seen_m(mode: Mode, ambient_kcps: float) -> float:
    """Distance to which a person's clothes are seen in this ambient light (kcps/SPAD): the fourth root of light.

    The maker tells the reach for a white target in the dark and at 200 kcps/SPAD; between and beyond them shot noise
    decides.  Estimates, to be measured on a bench.
    """
    light_m = DARK_REACH_M * (1.0 + ambient_kcps / mode.half_kcps) ** -0.25
    return float(min(mode.limit_m, light_m * CLOTHES**0.5))


def settings(mode: Mode, period: bytes) -> bytes:
    """What stands in 0x004B to 0x0087 for a distance mode: with its timing, the interrupt cleared, ranging started."""
    values = bytearray(BLOCK[PHASECAL_TIMEOUT - BLOCK_START :])
    for index, data in (
        (PHASECAL_TIMEOUT, mode.phasecal),
        (TIMEOUT_A, mode.ranging),
        (INTER_MEASUREMENT, period),
        (WOI_SD0, mode.windows),
        (INTERRUPT_CLEAR, b"\x01"),
        (MODE_START, b"\x40"),
    ):
        values[index - PHASECAL_TIMEOUT : index - PHASECAL_TIMEOUT + len(data)] = data
    return bytes(values)


class Vl53l1xDriver:
    """Reads a sample every 48 ms; one `RangeSample` for each, m, with its signal in kcps as `strength`.

    VALID: up to `range_max_m` (beyond is NO_TARGET), also of two targets that merge; what is too near to measure reads
    0.04 m.  NO_TARGET: nothing came back, in a light that leaves clothes visible up to `clear_range_m`.  UNTRUSTED:
    nothing came back in more light than that, or the chip doubts its answer, or the samples come too slowly.  REJECTED:
    a range that none can be.  `t_measured_s` is the middle of the measurement, within about 25 ms.

    Raises `SensorError`: `absent` (no answer for 0.1 s, or no boot), `wrong_chip`, `garbage` (settings are not kept),
    `slow` (no first measurement).  Reports, and sets up again by itself: `frozen` (the stream count stands still, or
    range and signal do), `slow` (no sample for 0.3 s, or less than half of them), `broken` (laser), `garbage`.  A reset
    by a brown-out is mended within 0.4 s, without a report; so is a change of the mode, a gap of 0.1 s.
    """

    def __init__(self, config: Vl53l1x, bus: I2CBus, clock: Clock) -> None:
        self.name = config.name
        self.retry_s = 0.2
        self.wake = no_wake
        self.shares = "i2c"
        self.counts: Counter[str] = Counter()
        """Samples by status, by the chip's doubt, and by reason what was thrown away or repaired."""
        self.ambient_kcps = 0.0
        """Daylight that falls in, kcps/SPAD."""
        self.mode = LONG
        self._config = config
        self._bus = bus
        self._clock = clock
        self._address = config.address
        self._step = self._reset
        self._held = False
        """The chip has been put into reset and not yet out of it."""
        self._since_s = 0.0
        """When the set-up's present step began."""
        self._mode_s = 0.0
        self._check_s = 0.0
        self._patience = Patience()
        self._fault = FaultState(config.name)
        self._period = b""
        # Of the samples.
        self._count: int | None = None
        self._sample_s = 0.0
        """When the latest new sample was read, or ranging began."""
        self._unready_s = 0.0
        """When the sample that comes next was certainly not ready."""
        self._looked_s = 0.0
        self._checked_silence = False
        self._bad = 0
        self._gaps: deque[float] = deque(maxlen=GAPS)
        self._last_s: float | None = None
        self._given_s = 0.0
        self._same: object = None
        self._same_count = 0
        self._moves = MOVES_MIN

    # ------------------------------------------------------------------------------------------- as a step

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        try:
            items, due_s = self._step(now)
        except SensorError:
            self._begin_again()
            raise
        except OSError as error:
            return self._not_answered(now, error)
        self._patience.answered()
        return items, due_s

    def close(self) -> None:
        """Leaves the chip as it is; the bus is not the driver's to close."""
        self._begin_again()

    def _begin_again(self) -> None:
        self._step = self._reset

    def _not_answered(self, now: float, error: OSError) -> tuple[Sequence[Item], float]:
        self.counts["nack"] += 1
        patient = self._patience.left(now)
        if self._step != self._reset:
            if patient:
                return (), now + NACK_RETRY_S
            # A brown-out sends it back to the address it was made with.
            self._begin_again()
            try:
                items, due_s = self._step(now)
            except SensorError:
                raise
            except OSError as again:
                error = again
            else:
                self._patience.answered()
                return items, due_s
        raise absent(f"VL53L1X at 0x{self._config.address:02X}", error) from error

    # -------------------------------------------------------------------------------------------- set-up

    def _reset(self, now: float) -> tuple[Sequence[Item], float]:
        if not self._held:
            self._find()
            self._put(SOFT_RESET, b"\x00")
            self._held = True
            self._clock.pause(RESET_S)
            self._step = self._release
        return self._release(now)

    def _release(self, now: float) -> tuple[Sequence[Item], float]:
        """Ends the reset: until that has come through, the chip can do nothing else."""
        try:
            self._put(SOFT_RESET, b"\x01")
        except OSError:
            self._address = HOME if self._address != HOME else self._config.address
            raise
        self._held = False
        self._since_s = now
        self._step = self._boot
        return (), now + BOOT_LOOK_S

    def _find(self) -> None:
        """Where the sensor is: where it should be, else where it is at power-on."""
        self._address = self._config.address
        try:
            self._identify()
        except OSError as error:
            if self._config.address == HOME or error.errno not in _NOBODY:
                raise
            self._address = HOME
            self._identify()

    def _identify(self) -> None:
        found = self._get(MODEL_ID, len(IDENTITY))
        if found == IDENTITY:
            return
        where, number = f"0x{self._address:02X}", found[0] << 8 | found[1]
        if number == 0xEACC:
            what = f"the VL53L1X at {where} is of mask revision 0x{found[2]:02X}; only 0x10 is known"
        else:
            other = OTHERS.get(number, "no VL53L1X")
            what = f"at {where} there is {other} (it says 0x{number:04X}, a VL53L1X says 0xEACC)"
        raise SensorError("wrong_chip", what)

    def _boot(self, now: float) -> tuple[Sequence[Item], float]:
        try:
            self._find()
            booted = self._get(FIRMWARE_STATUS, 1)[0] & 0x01
        except SensorError:
            raise
        except OSError:
            booted = 0  # it acknowledges nothing for a millisecond
            if now - self._since_s > BOOT_LIMIT_S:
                raise
        if not booted:
            if now - self._since_s > BOOT_LIMIT_S:
                raise SensorError("absent", f"VL53L1X does not come back from a reset within {BOOT_LIMIT_S} s")
            return (), now + BOOT_LOOK_S
        if self._address != self._config.address:
            self._put(I2C_ADDRESS, bytes((self._config.address,)))
            self._address = self._config.address
            self.counts["moved"] += 1
            self._identify()
        osc = int.from_bytes(self._get(OSC_CALIBRATE, 2), "big") & 0x3FF
        self._period = round(PERIOD_MS * osc * OSC_FACTOR).to_bytes(4, "big")
        self._put(BLOCK_START, BLOCK)
        kept = self._get(TIMEOUT_A, 12)
        if not osc or kept != BLOCK[TIMEOUT_A - BLOCK_START :][:12]:
            raise SensorError("garbage", f"VL53L1X does not keep its settings (0x005E reads {kept.hex()})")
        self.mode = LONG
        self._put(MODE_START, b"\x40")
        self._since_s = self._unready_s = now
        self._step = self._first
        return (), now + FIRST_LOOK_S

    def _first(self, now: float) -> tuple[Sequence[Item], float]:
        """The first measurement calibrates the chip; its ambient light says which mode to begin with."""
        if not self._get(TIO_HV_STATUS, 1)[0] & 0x01:
            if now - self._since_s > FIRST_LIMIT_S:
                raise SensorError("slow", f"VL53L1X has measured nothing within {FIRST_LIMIT_S} s")
            return (), now + LOOK_AGAIN_S
        _, _, spads, _, ambient, *_ = _RESULTS.unpack(self._get(RESULTS, _RESULTS.size))
        self.ambient_kcps = 2000.0 * ambient / max(spads, 1)
        self.mode = LONG if self.ambient_kcps < DARK_KCPS else SHORT
        self._mode_s = now
        self._step = self._begin
        return self._begin(now)

    def _begin(self, now: float) -> tuple[Sequence[Item], float]:
        """Stops, sets the mode with its timing, and ranges.  It may be done twice."""
        self._put(MODE_START, b"\x00")
        self._put(VHV_LOOP_BOUND, b"\x09")
        self._put(VHV_START, b"\x00")
        # One burst: on a noisy bus a long set-up would never come to its end.
        self._put(PHASECAL_TIMEOUT, settings(self.mode, self._period))
        self._step = self._read
        self._count = None
        self._last_s = None
        self._check_s = now + CHECK_EVERY_S
        self._sample_s = self._unready_s = self._looked_s = now
        self._checked_silence = False
        return (), now + FIRST_LOOK_S

    def _still_ranging(self) -> bool:
        """Whether it is the same chip and has not been reset.  Raises `SensorError` (`wrong_chip`)."""
        self._identify()
        return self._get(MODE_START, 1) == b"\x40"

    # -------------------------------------------------------------------------------------------- reading

    def _read(self, now: float) -> tuple[Sequence[Item], float]:
        if now - self._looked_s > OLD_S:
            self._sample_s = now  # nobody has looked: that was not the sensor's silence
        self._looked_s = now
        if now >= self._check_s:
            if not self._still_ranging():
                return self._chip_was_reset(now)
            self._check_s = now + CHECK_EVERY_S
        if not self._get(TIO_HV_STATUS, 1)[0] & 0x01:
            self._unready_s = now
            return self._nothing(now, "slow", "no new sample", LOOK_AGAIN_S)
        data = self._get(RESULTS, _RESULTS.size)
        self._put(INTERRUPT_CLEAR, b"\x01")
        waited_s, self._unready_s = now - self._unready_s, now
        if data in (b"\xff" * len(data), bytes(len(data))):
            self.counts["garbage"] += 1
            return self._nothing(now, "garbage", "every byte reads the same", check=True)
        if data[2] == self._count:
            self.counts["stale"] += 1
            self._moves = 0
            return self._nothing(now, "frozen", "its stream count stands still")
        first = self._count is None
        if self._count is not None and data[2] != (128 if self._count == 255 else self._count + 1):
            self.counts["missed"] += 1
        self._count = data[2]
        if waited_s > OLD_S:
            self.counts["old"] += 1
            self._last_s = None
            return self._nothing(now, "slow", "no new sample")
        # Ready at some moment since it certainly was not; half a budget earlier it was in the middle.
        return self._take(now, now - (waited_s + BUDGET_S) / 2.0, data, first)

    def _take(self, now: float, measured_s: float, data: bytes, first: bool) -> tuple[Sequence[Item], float]:
        """A new sample."""
        status, _, spads, signal, ambient, _, _, range_mm, _ = _RESULTS.unpack(data)
        status &= 0x1F
        fault = HARDWARE.get(status) or PROCESSING.get(status)
        if fault:
            self.counts[fault.replace(" ", "_")] += 1
            self._bad += 1
            name = "broken" if status in HARDWARE else "garbage"
            return self._nothing(now, name, f"status {status}, {fault}", at_once=self._bad >= BROKEN_AFTER)
        if spads:
            ambient_kcps = 2000.0 * ambient / spads
            self.ambient_kcps += AMBIENT_SHARE * (ambient_kcps - self.ambient_kcps)
        sample = self._judge(status, range_mm, first)
        if sample is None:
            self.counts["no_update"] += 1
            return self._nothing(now, "frozen", f"status {status}, no update")
        if not self._moving((range_mm, signal) if sample[0] is RangeStatus.VALID else data[3:]):
            self.counts["frozen"] += 1
            return self._nothing(now, "frozen", "range and signal stand still", at_once=True)
        items: list[Item] = []
        slow = self._slow(now)
        told, range_m = (RangeStatus.UNTRUSTED, None) if slow else sample
        self._sample_s, self._checked_silence = now, False
        self._bad = 0
        measured_s = min(now, max(measured_s, (self._given_s + now) / 2.0 if self._given_s >= measured_s else 0.0))
        self._given_s = measured_s
        self.counts[told.value] += 1
        items.append(RangeSample(now, measured_s, self.name, told, range_m, signal * 1000.0 / 128.0))
        items += self._fault.change(now, *(("slow", "less than half of its samples come") if slow else ("", "")))
        return items, self._mode_due(now)

    def _judge(self, status: int, range_mm: int, first: bool) -> tuple[RangeStatus, float | None] | None:
        """What a sample says; None for no sample.  Status decides: without it the range is not a measurement."""
        if status == CLIPPED:
            # Its number may be below zero; whatever it is, something is there.
            return RangeStatus.VALID, CONTACT_M if not 0 < range_mm < CONTACT_M * 1e3 else range_mm * 1e-3
        if status == NO_SIGNAL:
            seen_m = surely_seen_m(self.mode, self.ambient_kcps)
            if seen_m >= self._config.clear_range_m:
                return RangeStatus.NO_TARGET, None
            self.counts["too_light"] += 1
            return RangeStatus.UNTRUSTED, None
        if status in (VALID, MERGED) or (status == NO_WRAP_CHECK and first):
            if not 0 < range_mm <= 0x7FFF:
                return RangeStatus.REJECTED, None
            if range_mm * 1e-3 > self._config.range_max_m:
                return RangeStatus.NO_TARGET, None
            return RangeStatus.VALID, range_mm * 1e-3
        if status in DOUBTED or status == NO_WRAP_CHECK:
            self.counts[DOUBTED.get(status, "no_wrap_check")] += 1
            return RangeStatus.UNTRUSTED, None
        return None

    def _moving(self, key: object) -> bool:
        """Whether the samples still differ from each other."""
        if key == self._same:
            self._same_count += 1
            self._moves = 0
        else:
            self._same, self._same_count = key, 1
            self._moves += 1
        # Once frozen, one new sample proves nothing; a few in a row do.
        return self._same_count < FROZEN_SAMPLES and (self._fault.active != "frozen" or self._moves >= MOVES_MIN)

    def _slow(self, now: float) -> bool:
        """Whether the samples come too seldom; `now` is the time of a new one."""
        if self._last_s is not None:
            self._gaps.append(now - self._last_s)
        self._last_s = now
        limit_s = PROMPT_S if self._fault.active == "slow" else SLOW_S
        return len(self._gaps) == GAPS and sum(self._gaps) > limit_s

    def _mode_due(self, now: float) -> float:
        """When to look next; changes the mode first if the light has changed."""
        wanted = SHORT if self.ambient_kcps > LIGHT_KCPS else LONG if self.ambient_kcps < DARK_KCPS else self.mode
        if wanted is self.mode or now - self._mode_s < DWELL_S:
            return now + POLL_S
        self.mode, self._mode_s = wanted, now
        self.counts[f"to_{wanted.name}"] += 1
        self._step = self._begin
        return now  # the sample is given first

    def _nothing(
        self,
        now: float,
        fault: str,
        detail: str,
        again_s: float = POLL_S,
        *,
        at_once: bool = False,
        check: bool = False,
    ) -> tuple[Sequence[Item], float]:
        """A look without a sample: perhaps a reset; after a while a fault, and the chip is set up again."""
        silent_s = now - self._sample_s
        if (check or silent_s >= STALE_S) and not self._checked_silence:
            self._checked_silence = True
            if not self._still_ranging():
                return self._chip_was_reset(now)
        items: Sequence[Item] = ()
        if at_once or silent_s >= NOTHING_LIMIT_S:
            items = self._fault.change(now, fault, f"VL53L1X at 0x{self._address:02X}: {detail}")
        if silent_s >= NOTHING_LIMIT_S:
            self.counts["set_up_again"] += 1
            self._begin_again()
            return items, now
        return items, now + again_s

    def _chip_was_reset(self, now: float) -> tuple[Sequence[Item], float]:
        """A brown-out, mended without a word: the gap is in the samples."""
        self.counts["chip_reset"] += 1
        self._begin_again()
        return (), now

    # ---------------------------------------------------------------------------------------------- bus

    def _get(self, index: int, count: int) -> bytes:
        data = self._bus.transfer(self._address, index.to_bytes(2, "big"), count)
        if len(data) != count:
            raise OSError(errno.EIO, f"{len(data)} bytes instead of {count}")
        return data

    def _put(self, index: int, data: bytes) -> None:
        self._bus.transfer(self._address, index.to_bytes(2, "big") + data, 0)
