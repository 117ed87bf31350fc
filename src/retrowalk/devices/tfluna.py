"""TF-Luna lidar, read over I2C: a beam of two degrees, 0.2 to 8 m, in daylight; as rear or as drop-off sensor.

Wiring: pin 1 to 5 V (up to 150 mA), pin 2 (SDA) to GPIO2, pin 3 (SCL) to GPIO3, pin 4 to ground, and **pin 5 to ground
before power comes**, or the module speaks serial and answers nothing here.  Its logic is 3.3 V: the Pi's own pull-ups
are the right ones, none to 5 V.  Pin 6 stays free.  400 kHz at most; keep the cable under 30 cm, away from the motor's.
It is not waterproof: give it a window that lets 850 nm through, and no gap between window and lens.

Address 0x10 from the maker.  A second one on the bus is set to 0x11 once, alone on the bus: write it to register 0x22,
1 to 0x20 (save, wait 2 s) and 2 to 0x21 (reboot).  This driver never saves: every start sets what differs.

Ranges are in centimetres and amplitudes in counts of the module.  Traps: distance 0 means "no return", not "touching".
An amplitude above 32768 means that the sun shines into it.  Nothing below 20 cm is reliable.  A spot that is half on a
pole gives a range between the pole and what is behind it.  The module updates its registers whenever it likes, so a
read may mix two measurements.  Register 0x25 means "on" to one firmware and "off" to another: it is left alone.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from retrowalk.config import TfLuna
from retrowalk.core.samples import Item, RangeSample, RangeStatus
from retrowalk.devices.faults import FaultState
from retrowalk.devices.i2c import Attempts, Registers
from retrowalk.errors import SensorError
from retrowalk.platform import Clock, I2CBus, no_wake

DISTANCE, VERSION, ADDRESS, FRAME_RATE, THRESHOLD, SIGNATURE = 0x00, 0x0A, 0x22, 0x26, 0x2A, 0x3C
NAME = b"LUNA"

FRAME_RATE_HZ = 100
"""The maker's default: a frame is never older than 10 ms when it is read, and averages five flashes."""
WRAP_MS = 0x10000
WRAP_S = WRAP_MS / 1000.0
FRAME_S = 1.0 / FRAME_RATE_HZ
AMPLITUDE_MIN = 100
"""A weaker return is no return (maker's default)."""
AMPLITUDE_SUN = 0x8000
"""A stronger one is the sun (maker's manual 6.4)."""
DISTANCE_MAX_CM = 1200
"""No target is farther than the module can count in one turn of its light (public drivers)."""
LIMIT_MAX_CM = 800
"""Its own upper limit from the maker, by manual A05; manual A03 says 900.  A lower one would hide or move targets."""

RANGE_MIN_M = 0.20
NEAR_M = 0.15
"""What a reading below 20 cm is given as.  It is only sure that something is in there, and nothing more urgent can be
said of it than "touching"; the jumps of its number would look like nonsense to the tracker."""

COVERED_FROM_M, COVERED_AFTER_S, UNCOVERED_M = 1.0, 0.5, 0.3
"""What has been within this range for this long, comes into the blind 20 cm and then gives no light back has covered
the lens, as the wall one leans on does.  That is no open sky until something is seen beyond 30 cm again.  A coat that
flaps before the lens comes from nowhere; who falls on it comes faster."""

JUMP_M = 0.20
"""Twice walking speed between two reads.  A reading further from the last one is believed when two looks at once
agree."""
LOOKS_MAX = 3
LEAD_S = 0.050
"""So far ahead of our clock may its own be before it counts as a jump."""
TWICE_MS = 25
"""Two looks at once are of one measurement, or of two that follow each other this soon."""

SETTLE_S = 0.110
"""The maker asks for 100 ms before a setting is read back."""
SET_TRIES = 3
CHECK_EVERY_S = 5.0
"""A reset by a brown-out brings back what was saved, and need not be seen otherwise."""

NOTHING_LIMIT_S = 0.300
"""No new measurement for so long, though the module answers, is a fault; it is identified again, this often."""

DELAY_LIMIT_S = 0.150
"""A measurement is 0 to 10 ms old when it is read; one that is older than this is not given ..."""
DELAY_READS = 3
"""... and so many in a row are a fault."""

SHARE_WINDOW_S = 1.0
SLOW_BELOW, SLOW_UNTIL = 0.6, 0.8
"""New measurements a read, as a share of what the frame rate allows, below which it is slow, until it is this good."""

DRIFT_MAX = 0.05
"""The module's clock is believed to be this much off at most."""
DRIFT_WINDOWS = 30
LEAK, LEAK_UNKNOWN = 0.002, 0.04
"""The smallest offset between the two clocks is forgotten this fast (s/s), once the drift is known and before."""

_DATA = struct.Struct("<HHhHH")
_SETTINGS = struct.Struct("<BBHBHHHH")

_Fix = tuple[int, bytes, str]
"""Register, what to write there, and what was found."""


class _Reading(NamedTuple):
    distance_cm: int
    amplitude: int
    temperature: int
    tick: int
    error: int

    @property
    def status(self) -> RangeStatus:
        if self.amplitude > AMPLITUDE_SUN:
            return RangeStatus.UNTRUSTED
        if self.amplitude < AMPLITUDE_MIN:
            return RangeStatus.NO_TARGET
        # With a good return neither "nothing" nor more than the module can count is an answer.
        return RangeStatus.VALID if 0 < self.distance_cm <= DISTANCE_MAX_CM else RangeStatus.REJECTED

    def agrees(self, other: _Reading) -> bool:
        """Whether both may be right, one poll apart."""
        if self.status is not other.status:
            return False
        return self.status is not RangeStatus.VALID or abs(self.distance_cm - other.distance_cm) <= JUMP_M * 100.0

    def follows(self, first: _Reading) -> bool:
        """Whether two looks at once say the same: all of it, or the measurement after it."""
        return self == first if self.tick == first.tick else 0 < _ticks(self, first) <= TWICE_MS and self.agrees(first)


class _Settings(NamedTuple):
    """Registers 0x22, 0x23, 0x26 to 0x28 and 0x2A to 0x31."""

    address: int
    mode: int
    frame_rate_hz: int
    low_power: int
    threshold: int
    dummy_cm: int
    limit_min_cm: int
    limit_max_cm: int

    def fixes(self) -> list[_Fix]:
        """Everything that must be set."""
        fixes: list[_Fix] = []
        if self.mode:
            fixes.append((ADDRESS + 1, b"\x00", f"mode {self.mode}"))
        if (self.frame_rate_hz, self.low_power) != (FRAME_RATE_HZ, 0):
            found = f"frame rate {self.frame_rate_hz} Hz, low power {self.low_power}"
            fixes.append((FRAME_RATE, struct.pack("<HB", FRAME_RATE_HZ, 0), found))
        # The manuals disagree on the unit of the limits: whatever it is, what the maker has set sees to 8 m.
        limited = self.limit_min_cm > RANGE_MIN_M * 100.0 or self.limit_max_cm < LIMIT_MAX_CM
        if (self.threshold, self.dummy_cm) != (AMPLITUDE_MIN, 0) or limited:
            found = f"threshold {self.threshold}, dummy {self.dummy_cm}, {self.limit_min_cm} to {self.limit_max_cm} cm"
            limits = (0, LIMIT_MAX_CM) if limited else (self.limit_min_cm, self.limit_max_cm)
            fixes.append((THRESHOLD, struct.pack("<HHHH", AMPLITUDE_MIN, 0, *limits), found))
        return fixes


class _ChipClock:
    """Session time of the module's milliseconds.

    A reading is seen some time after it was made, never before: the smallest difference between our clock and its tick
    is the truth, and what a reading has more is its age.  The module's clock may be some per cent off, so that the
    difference drifts; the drift is learnt over up to 30 s, and what little it is wrong by leaks away.
    """

    def __init__(self) -> None:
        self._drift: float | None = None  # kept over restarts: the module stays the same
        self.restart()

    def restart(self) -> None:
        self._offset_s: float | None = None
        self._at_s = 0.0
        self._window: tuple[float, float] | None = None
        self._windows: deque[tuple[float, float]] = deque(maxlen=DRIFT_WINDOWS)

    @property
    def known(self) -> bool:
        """Whether a reading has told the time since the start."""
        return self._offset_s is not None

    def made_s(self, chip_s: float) -> float:
        """Session time at which a frame of `chip_s` was complete; late by what the quickest read took (1 to 10 ms)."""
        assert self._offset_s is not None  # after `age_s` only
        return chip_s + self._offset_s

    def lead_s(self, chip_s: float, now: float) -> float | None:
        """How far a reading is ahead of what it can be at `now`; None while that is not known."""
        if self._offset_s is None:
            return None
        return chip_s + self._offset_s + (now - self._at_s) * (self._drift or 0.0) - now

    def age_s(self, chip_s: float, before_s: float, after_s: float) -> float:
        """How old, at least, the reading `chip_s` was in a read from `before_s` to `after_s`."""
        offset_s = after_s - chip_s
        if self._offset_s is None:
            self._offset_s = offset_s
        else:
            passed_s = after_s - self._at_s
            expected_s = self._offset_s + passed_s * (self._drift or 0.0)
            if before_s - chip_s - expected_s > DELAY_LIMIT_S:
                # Late readings are no reason to forget what being in time is.
                self._offset_s, self._at_s = expected_s, after_s
                return before_s - chip_s - expected_s
            leak = LEAK_UNKNOWN if self._drift is None else LEAK
            self._offset_s = min(expected_s + passed_s * leak, offset_s)
        self._at_s = after_s
        self._learn(after_s, offset_s)
        return before_s - chip_s - self._offset_s

    def _learn(self, now: float, offset_s: float) -> None:
        """From the smallest offset of each second."""
        window = self._window
        if window is None:
            self._window = (now, offset_s)
            return
        began_s, least_s = window
        least_s = min(least_s, offset_s)
        self._window = (began_s, least_s)
        if now - began_s < 1.0:
            return
        self._window = None
        self._windows.append((began_s, least_s))
        first_s, first_offset_s = self._windows[0]
        if began_s > first_s:
            drift = (least_s - first_offset_s) / (began_s - first_s)
            self._drift = min(max(drift, -DRIFT_MAX), DRIFT_MAX)


class TfLunaDriver:
    """One block read every `poll_s`; one `RangeSample` for each new measurement, and a `HealthReport` on a fault.

    VALID has 0.15 m (anything below 0.20 m) to `range_max_m`.  NO_TARGET: too weak a return, or one from farther.
    UNTRUSTED: the sun shines into it, or something has come so near that it covers the lens.  REJECTED: distances no
    target can have.  `strength` is the amplitude.

    `t_measured_s` is when the light flew, by the module's tick: the middle of the five flashes of a frame.  It is late
    by what the quickest read of the last seconds took, 1 to 10 ms, and never later than the poll.

    Raises `SensorError`: `absent` (no answer for 0.1 s), `wrong_chip` (neither the signature nor the registers are a
    TF-Luna's), `garbage` (settings do not stay).  Reports, and gives no sample meanwhile: `frozen` (the tick stands
    still for 0.3 s), `garbage` (no bytes of a measurement), `delayed` (measurements more than 0.15 s old), `slow` (too
    few new ones).  `reset`: it has lost its settings, or started anew; told, and mended within 0.2 s.
    Two things it cannot know: that a module was late from its first reading on, and that the lens was covered from the
    beginning; the hand held behind at the start shows the latter.
    """

    def __init__(self, config: TfLuna, bus: I2CBus, clock: Clock) -> None:
        self.name = config.name
        self.retry_s = 0.2
        self.wake = no_wake
        self.shares = "i2c"
        self.counts: Counter[str] = Counter()
        """Samples by status, and by reason what was thrown away or repaired."""
        self.version = ""
        """Firmware, such as `1.3.3`; empty until it has been read."""
        self._config = config
        self._where = f"TF-Luna at 0x{config.address:02X}"
        self._registers = Registers(bus, config.address, self._where)
        self._clock = clock
        self._fault = FaultState(config.name)
        self._times = _ChipClock()
        self._step = self._identify
        self._ready_s = 0.0
        self._tries = 0
        self._check_s = 0.0
        where = f"{self._where} (pin 5 at ground?)"
        self._attempts = Attempts(where, self.counts, self._forget, self._known)
        self._nothing_since_s: float | None = None
        self._last: tuple[_Reading, float] | None = None
        """The latest reading that is believed, and when it was read."""
        self._chip_s = 0.0
        """The module's time, without the wrapping of its tick."""
        self._moved_s = 0.0
        """When its tick was last seen to move."""
        self._close_since_s: float | None = None
        """Since when everything seen has been within 1 m."""
        self._covered = False
        """Something has come from there into the blind 20 cm, and has not been seen to leave."""
        self._late = 0
        """Late readings in a row."""
        self._late_s = 0.0
        """How late it was when it was found to be; 0: it is not.  Only by catching up is it in time again: what the two
        clocks are wrong by would, in the end, hide a delay or its end."""
        self._regained_s = 0.0
        """How much of it has been made up for in the last polls."""
        self._news: deque[bool] = deque(maxlen=max(8, round(SHARE_WINDOW_S / config.poll_s)))
        self._share_full = min(1.0, config.poll_s / FRAME_S)
        """New measurements a read, of a module that is well."""

    # ------------------------------------------------------------------------------------------- as a step

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        return self._attempts.poll(self._step, now)

    def close(self) -> None:
        """Leaves the module as it is; the bus is not the driver's to close."""
        self._forget()

    def _forget(self) -> None:
        """It was away, or something else was there: nothing that was known of its time holds any more."""
        self._step = self._identify
        self._last = None
        self._late, self._late_s = 0, 0.0
        self._times.restart()

    def _known(self) -> bool:
        return self._step != self._identify

    # -------------------------------------------------------------------------------------------- set-up

    def _identify(self, now: float) -> tuple[Sequence[Item], float]:
        signature = self._registers.get(SIGNATURE, len(NAME))
        revision, minor, major = self._registers.get(VERSION, 3)
        settings = self._settings()
        # The signature is in the maker's manual A05 and not in A03: a module without it is taken for what it says to
        # be when its address register knows its address and its settings are ones a TF-Luna can have.  What it then
        # measures must still prove itself by a tick that keeps our time.
        if signature != NAME and not self._plausible(settings):
            raise SensorError(
                "wrong_chip",
                f"{self._where}: its signature is 0x{signature.hex().upper()} and its address register "
                f"0x{settings.address:02X}; a TF-Luna says LUNA and 0x{self._config.address:02X}",
            )
        self.counts["no_signature"] += signature != NAME
        self.version = f"{major}.{minor}.{revision}"
        self._tries = 1
        return [], self._set(now, settings.fixes())

    def _plausible(self, settings: _Settings) -> bool:
        rate_hz = settings.frame_rate_hz
        return (
            settings.address == self._config.address
            and settings.mode in (0, 1)
            and settings.low_power in (0, 1)
            and 1 <= rate_hz <= 250
            and 500 // (500 // rate_hz) == rate_hz
        )

    def _set(self, now: float, fixes: Sequence[_Fix]) -> float:
        """Sets what must be set, and returns when to go on."""
        if not fixes:
            self._begin(now)
            return now
        # First of all: whatever was written before a transfer fails must not be read back too early either.
        self._step = self._verify
        for register, setting, _ in fixes:
            self.counts[f"set_0x{register:02X}"] += 1
            self._ready_s = self._clock.now() + SETTLE_S
            self._registers.put(register, *setting)
        return self._ready_s

    def _verify(self, now: float) -> tuple[Sequence[Item], float]:
        if now < self._ready_s - 0.001:
            return (), self._ready_s
        fixes = self._settings().fixes()
        if fixes and self._tries >= SET_TRIES:
            register, _, found = fixes[0]
            raise SensorError("garbage", f"{self._where} does not keep its settings (0x{register:02X}: {found})")
        self._tries += 1
        return (), self._set(now, fixes)

    def _begin(self, now: float) -> None:
        self._step = self._read
        self._check_s = now + CHECK_EVERY_S
        self._nothing_since_s = None
        self._news.clear()

    def _settings(self) -> _Settings:
        # In pieces: the registers between are not for reading.
        data = self._registers.get(ADDRESS, 2) + self._registers.get(FRAME_RATE, 3) + self._registers.get(THRESHOLD, 8)
        return _Settings(*_SETTINGS.unpack(data))

    def _check(self, now: float) -> float | None:
        """Looks whether the settings are still there; returns when to go on if they must be set again."""
        fixes = self._settings().fixes()
        if not fixes or self._settings().fixes() != fixes:
            self._check_s = now + CHECK_EVERY_S
            return None  # a spoilt read is no reason to write
        self.counts["settings_lost"] += 1
        self._tries = 1
        return self._set(now, fixes)

    # -------------------------------------------------------------------------------------------- reading

    def _read(self, now: float) -> tuple[Sequence[Item], float]:
        if now >= self._check_s:
            again_s = self._check(now)
            if again_s is not None:
                return self._fault.change(now, "reset", f"{self._where} has lost its settings"), again_s
        due_s = now + self._config.poll_s
        reading, before_s, after_s = self._look()
        if reading is None:
            return self._nothing(now, "garbage", "it gives no measurement, only one and the same byte"), due_s
        last = self._last
        if last is None or self._jumps(reading, *last, after_s):
            reading, before_s, after_s = self._look_twice(reading)
            if reading is None:
                return self._nothing(now, "garbage", "readings in a row contradict each other"), due_s
        if last is None:
            # A first reading proves nothing: its tick has not moved yet.
            self._last = (reading, after_s)
            self._moved_s = after_s
            self._chip_s = reading.tick / 1000.0
            self._nothing_since_s = now
            return (), due_s
        return self._take(now, reading, *last, before_s, after_s), due_s

    def _look(self) -> tuple[_Reading | None, float, float]:
        """The measurement registers in one transfer, and when it began and ended; None for what a dead bus reads."""
        before_s = self._clock.now()
        data = self._registers.get(DISTANCE, _DATA.size)
        after_s = self._clock.now()
        if data.count(data[0]) == len(data):
            self.counts["garbage"] += 1
            return None, before_s, after_s
        return _Reading(*_DATA.unpack(data)), before_s, after_s

    def _look_twice(self, reading: _Reading | None) -> tuple[_Reading | None, float, float]:
        """The first look that says the same as the one before it; None if there is none."""
        before_s = after_s = 0.0
        for _ in range(LOOKS_MAX - 1):
            first = reading
            reading, before_s, after_s = self._look()
            if first is not None and reading is not None and reading.follows(first):
                return reading, before_s, after_s
            self.counts["torn"] += 1
        return None, before_s, after_s

    def _jumps(self, reading: _Reading, last: _Reading, last_s: float, now: float) -> bool:
        return not reading.agrees(last) or self._leaps(_ticks(reading, last), last_s, now)

    def _leaps(self, ticks: int, last_s: float, now: float) -> bool:
        """Whether its time has gone back, or further than time has passed.  That it lags is another matter."""
        lead_s = self._times.lead_s(self._chip_s + ticks / 1000.0, now)
        if lead_s is None:
            lead_s = ticks / 1000.0 - (now - last_s)
        return ticks < 0 or lead_s > LEAD_S

    def _take(
        self, now: float, reading: _Reading, last: _Reading, last_s: float, before_s: float, after_s: float
    ) -> list[Item]:
        """What a believed reading gives."""
        ticks = _ticks(reading, last)
        stood_s = after_s - self._moved_s
        if ticks and stood_s > WRAP_S / 2.0:
            # It may have wrapped meanwhile, nobody knows how often: as often as our clock says.
            ticks += round((stood_s - ticks / 1000.0) / WRAP_S) * WRAP_MS
        if ticks:
            self._moved_s = after_s
        self._last = (reading, after_s)
        if self._late_s:
            self._regained_s = max(0.0, self._regained_s * 0.9 + ticks / 1000.0 - (after_s - last_s))
            if self._regained_s > self._late_s - LEAD_S:
                self._chip_s += ticks / 1000.0
                self._late_s = 0.0
                self._times.restart()
                self._times.age_s(self._chip_s, before_s, after_s)
                return self._fault.change(now, "")
        if self._leaps(ticks, last_s, after_s):
            self.counts["restarted"] += 1
            self._chip_s = reading.tick / 1000.0
            self._late, self._late_s = 0, 0.0
            if not self._times.known and ticks > 0:
                return []  # a tick that stood still goes on from where it ought to be
            self._times.restart()
            self._check_s = now
            return self._fault.change(now, "reset", f"{self._where} has started anew")
        self._news.append(ticks > 0)
        if not ticks:
            return self._nothing(now, "frozen", "its tick stands still: it measures nothing new")
        self._chip_s += ticks / 1000.0
        if reading.error:
            self.counts["error_register"] += 1  # what its numbers mean is nowhere written
        age_s = self._times.age_s(self._chip_s, before_s, after_s)
        fault = self._doubt(age_s)
        if fault[0]:
            self.counts[fault[0]] += 1
            self._nothing_since_s = now
            return self._fault.change(now, *fault) if fault[1] else []
        self._nothing_since_s = now
        return [self._sample(now, reading), *self._fault.change(now, "")]

    def _doubt(self, age_s: float) -> tuple[str, str]:
        """Fault and detail of a new reading, if it must not be given; without detail, it is not a fault yet."""
        self._late = self._late + 1 if age_s > DELAY_LIMIT_S else 0
        if self._late >= DELAY_READS and not self._late_s:
            self._late_s, self._regained_s = age_s, 0.0
        if self._late_s:
            return "delayed", f"{self._where}: its measurements are {self._late_s:.2f} s old"
        if self._late:
            return "delayed", ""
        share = sum(self._news) / len(self._news) / self._share_full
        limit = SLOW_UNTIL if self._fault.active == "slow" else SLOW_BELOW
        if len(self._news) == self._news.maxlen and share < limit:
            return "slow", f"{self._where}: only {share:.0%} of the measurements come"
        return "", ""

    def _sample(self, now: float, reading: _Reading) -> RangeSample:
        status, range_m = reading.status, None
        if status is RangeStatus.VALID:
            range_m = reading.distance_cm / 100.0
            if range_m < RANGE_MIN_M:
                came = self._close_since_s is not None and now - self._close_since_s >= COVERED_AFTER_S
                self._covered = self._covered or came
                range_m = NEAR_M
            else:
                self._covered = self._covered and range_m < UNCOVERED_M
                if range_m > COVERED_FROM_M:
                    self._close_since_s = None
                elif self._close_since_s is None:
                    self._close_since_s = now
                if range_m > self._config.range_max_m:
                    status, range_m = RangeStatus.NO_TARGET, None
        elif self._covered and status is RangeStatus.NO_TARGET:
            status = RangeStatus.UNTRUSTED
            self.counts["covered"] += 1
        elif status is RangeStatus.NO_TARGET:
            self._close_since_s = None
        self.counts[status.value] += 1
        measured_s = min(self._times.made_s(self._chip_s) - FRAME_S / 2.0, now)
        return RangeSample(now, measured_s, self.name, status, range_m, float(reading.amplitude))

    def _nothing(self, now: float, fault: str, detail: str) -> list[Item]:
        """A look without a measurement: a fault after a while, and then the module is identified anew."""
        if self._nothing_since_s is None:
            self._nothing_since_s = now
        if now - self._nothing_since_s < NOTHING_LIMIT_S:
            return []
        self._nothing_since_s = None
        self._step = self._identify
        return self._fault.change(now, fault, f"{self._where}: {detail}")


def _ticks(later: _Reading, earlier: _Reading) -> int:
    """Milliseconds between two ticks, -32768 to 32767: the tick wraps after 65.5 s."""
    return (later.tick - earlier.tick + 0x8000 & 0xFFFF) - 0x8000
