"""A02YYUW-class sealed ultrasonic range sensor on a serial port: rain and dust do not harm it.

Wiring, by the names of its wires (their colours differ): VCC to 3.3 V (with 5 V its TX line may carry 5 V, which the
Pi's pins do not bear), GND to ground, TX to GPIO15.  RX to **ground**: that is its real-time mode, one reading every
100 ms.  Left open, or on the Pi's TX, whose idle line is high, it filters over 100 to 300 ms; when its frames come that
seldom it is called `slow`, but a module that filters and still sends every 100 ms cannot be told from one that does
not: check the wire.  The serial port must be switched on and free of the console (firmware/boot/config.txt).  A USB
adapter does as well (`port = "/dev/ttyUSB0"`).

On the line: 9600 baud, 8N1, nobody asks.  A frame is 0xFF, high byte, low byte (mm), and the low byte of the sum of
the three: 4.2 ms, then silence until the next.  0xFF may stand among the data and in the sum, so the pause before a
frame counts as much as its checksum.

What the numbers mean (the maker's page names none of the special ones; sources in the constants below):

- 30 mm up to `range_max_m`: an echo.  VALID.
- above that, up to 6 m: an echo from beyond.  NO_TARGET.
- 0 or 0xFFFD: it heard nothing.  Modules in the open answer so; those that are covered, or touch something, do, too.
  NO_TARGET only while the membrane has proved that it hears: its last echo came within 30 s, and not from within 0.3 m.
  Otherwise UNTRUSTED: unknown is never clear.
- 0xFFFE: it heard another module.  UNTRUSTED.
- 1 to 29, and all others: REJECTED.

Whether the module corrects for temperature is not documented: it is taken for one that is right at 20 °C, and read as
if the air had 0 °C, 3.5 % nearer, as `HcSr04.temperature_c` does.

It pings by itself, every 100 ms or so, and nothing tells it when: it takes no turns (`devices.turns`).  Beside an
HC-SR04 each hears the other, as soon as there is something behind: one reading in six is then false.  The HC-SR04's
jitter lets what is false jump about, and a track wants readings that agree; most of it comes to nothing, and now and
then something seems nearer than it is.  Two of this kind drift through each other's time for minutes: wear one.
"""

from __future__ import annotations

import errno
import math
import os
from collections import Counter, deque
from collections.abc import Sequence

from retrowalk.config import A02yyuw
from retrowalk.core.samples import Item, RangeSample, RangeStatus
from retrowalk.devices.faults import FaultState
from retrowalk.errors import SensorError
from retrowalk.platform import Clock, SerialPort, SerialPorts, no_wake

BAUD = 9600
BYTE_S = 10 / BAUD
HEADER = 0xFF
FRAME = 4
FRAME_S = FRAME * BYTE_S

MEASURING_S = 0.100
"""From the ping to the frame.  The maker says no more than "response time 100 ms": taken whole, a reading that was made
sooner is extrapolated too far ahead, and so reads near."""

PERIOD_S = 0.100
PERIOD_MIN_S, PERIOD_MAX_S = 0.080, 0.350
"""Real-time mode 10 to 11 a second; filtered, as seldom as 3."""

RANGE_MIN_MM = 30
FAR_MAX_MM = 6000
"""In the open, modules have been seen to answer 5500 (riteshRcH/waterproof_small_blind_..._DYP-A02YYxx, issue 2)."""
NOTHING = frozenset({0, 0xFFFD})
"""0: nothing in front, or a covered membrane (the same issue; esphome/issues 6394).  0xFFFD: the maker's code for "no
object" in a newer module (DFRobot SEN0754); not seen in this one."""
FOREIGN_SOUND = 0xFFFE
"""The maker's code for a second module on the same frequency (DFRobot SEN0754)."""
COLD = 331.3 / 343.2
"""Speed of sound at 0 °C over that at 20 °C."""

HEARD_WITHIN_S = 30.0
NEAR_M = 0.30
NEAR_ECHOES = 2
"""One near echo may be the wind; this many in a row are something that may now touch the membrane."""

LATE_S = 0.0015
"""A look comes so much after the end of the frame is expected ..."""
NUDGE_S = 0.0002
"""... which moves forward by so much more with every frame, until a look comes too soon: so it stays known."""
TIGHT_S = 0.010
"""An arrival known to within this teaches the period."""
IN_STEP_S = 2.0
"""After so long without one, when frames come is found out anew."""
AGAIN_S = 0.002
AGAIN_MAX_S = 0.016
"""A frame that is not there is looked for after 2, 4, 8, 16, 16 ... ms."""
IDLE_S = 0.050
"""How often a silent line is looked at."""
TORN_S = 0.030
"""A frame not complete within this time never will be: USB adapters hold bytes back for 16 ms, the Pi's own for 4."""

SILENT_REPORT_S = 0.7
"""Without a frame for so long (seven of them), it is reported; the walker is to hear of it within 1 s."""
SLOW_GAP_S = 0.15
SLOW_OF, SLOW_GAPS, SLOW_ENDS = 5, 4, 1
"""Slow: of the last five pauses between frames so many are longer than that; over when no more than one is."""
FAST_HZ = 16.0
FAST_WINDOW_S = 1.0
"""No module measures more often; more frames come from two of them on one line, or from something else."""
SHARE_OF = 20
BAD_FROM, BAD_UNTIL = 0.5, 0.25
"""Garbage: of the last 20 arrivals more than half were damaged; over when less than a quarter is."""
FROZEN_S = 5.0
"""The same millimetre for so long: a body breathes and sways, and what hangs on it never reads the same for 5 s.  (On a
table in front of a wall it may: there the fault is a false one.)"""
BLOCKED_MM = 50
BLOCKED_S = 3.0
"""Something on the membrane reads like something at arm's length does not: near, and for so long."""
MOVES_MIN = 3

_Frame = tuple[int, int]
"""Number in a frame, and where in the data the frame ends."""


def _checked(data: bytes, at: int) -> int | None:
    """The number of the frame at `at`; None if there is none."""
    header, high, low, total = data[at : at + FRAME]
    if header != HEADER or (header + high + low) & 0xFF != total:
        return None
    return high << 8 | low


def _possible(number: int) -> bool:
    return number <= FAR_MAX_MM or number in NOTHING or number == FOREIGN_SOUND


def split(data: bytes) -> tuple[list[_Frame], int, int]:
    """Frames in `data`, which begins after a pause; how many bytes belong to none; where an unfinished one begins.

    Once bytes have been thrown away, a frame is only believed if the data end with it, or go on with another.
    """
    frames: list[_Frame] = []
    at = lost = 0
    sure = True
    while len(data) - at >= FRAME:
        number = _checked(data, at)
        if number is not None and _possible(number) and (sure or _goes_on(data, at + FRAME)):
            at += FRAME
            frames.append((number, at))
            sure = True
        else:
            at += 1
            lost += 1
            sure = False
    while at < len(data) and data[at] != HEADER:
        at += 1
        lost += 1
    return frames, lost, at


def _goes_on(data: bytes, at: int) -> bool:
    if at == len(data):
        return True
    if len(data) - at < FRAME:
        return data[at] == HEADER
    number = _checked(data, at)
    return number is not None and _possible(number)


class A02yyuwDriver:
    """One `RangeSample` a frame, ten a second, and a `HealthReport` when a fault begins or ends.

    VALID has 0.03 m to `range_max_m`.  `t_measured_s` is that of the ping, at most 0.1 s earlier than the truth; frames
    that were found late, several at once, keep their distance in time.  A frame damaged on its way gives no sample.

    Faults: `absent` (no byte for 0.7 s), `garbage` (no frame among the bytes for 0.7 s, more than half of them damaged,
    or more of them than a module can make), `slow` (three a second: it filters), `frozen` (the same millimetre for 5 s,
    or nothing but 50 mm and less for 3 s: something lies on the membrane), `blind` (it hears nothing, and has not
    proved that it could).  With `garbage`, `slow` and `frozen` no sample is VALID.  Raises `SensorError("absent")`
    while the port cannot be opened, or fails; the next poll opens it again.
    """

    def __init__(self, config: A02yyuw, ports: SerialPorts, clock: Clock) -> None:
        self.name = config.name
        self.retry_s = 0.5
        self.shares = ""
        self.wake = no_wake
        self.counts: Counter[str] = Counter()
        """Samples by status, and by reason what was thrown away."""
        self._config = config
        self._ports = ports
        self._clock = clock
        self._port: SerialPort | None = None
        self._fault = FaultState(config.name)
        self._period_s = PERIOD_S
        self._heard_s = clock.now()
        """Its latest echo; a module that has just been switched on is given the time to show one."""
        self._begin(clock.now())

    def _begin(self, now: float) -> None:
        """Forgets everything that came over the line."""
        self._looked_s = self._frame_s = self._byte_s = now
        """The latest look; the latest frame and byte were received no later."""
        self._rest = b""
        self._rest_s = now
        self._end_s: float | None = None
        """When the latest frame is believed to have ended."""
        self._tight_s: float | None = None
        """When the latest one ended of which that is known well."""
        self._tight = 0
        """How many have been known well, one after the other."""
        self._periods = 0
        """Since the latest of them."""
        self._nudge_s = 0.0
        self._again_s = AGAIN_S
        self._given_s = -math.inf
        self._gaps: deque[bool] = deque(maxlen=SLOW_OF)
        self._arrivals: deque[bool] = deque(maxlen=SHARE_OF)
        self._damaged = False
        self._window_s, self._window = now, 0
        self._fast = False
        self._near = 0
        self._same_mm, self._same_s = -1, now
        self._clear_s = now
        """Since when nothing but the very near has been read."""
        self._moves = MOVES_MIN
        self._blind_since_s: float | None = None

    # ------------------------------------------------------------------------------------------- as a step

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        try:
            if self._port is None:
                self._port = self._ports.open(self._config.port, BAUD)
                self._begin(now)
            data = self._port.read()
        except OSError as error:
            self.close()
            raise SensorError("absent", f"{self.name}: {self._config.port}: {_means(error)}") from error
        items: list[Item] = []
        after_s = max(now, self._clock.now())
        frames = self._take(data, now, after_s, items)
        self._looked_s = after_s
        items += self._fault.change(now, *self._wrong(now))
        return items, self._next_look_s(now, frames > 0)

    def close(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            try:
                port.close()
            except OSError:
                pass  # an adapter that is gone takes its port with it

    def _next_look_s(self, now: float, found: bool) -> float:
        if self._rest:
            return now + (FRAME - len(self._rest)) * BYTE_S + LATE_S
        if found and self._end_s is not None:
            self._again_s = AGAIN_S
            # As long as it is not known when frames come, the next is looked for from its earliest time on.
            due_s = self._end_s + (self._period_s if self._in_step() else PERIOD_MIN_S) + LATE_S
            return due_s if due_s > now else now + AGAIN_S
        if now - self._frame_s >= SILENT_REPORT_S:
            return now + IDLE_S
        again_s, self._again_s = self._again_s, min(2.0 * self._again_s, AGAIN_MAX_S)
        if not self._in_step():
            again_s = min(again_s, 2.0 * AGAIN_S)
        # Before its time nothing is looked for again; and silence is reported when it is due.
        return min(now + again_s, max(self._frame_s + SILENT_REPORT_S, now + AGAIN_S))

    def _in_step(self) -> bool:
        """Whether it is known when frames come."""
        return self._tight > 0 and self._tight_s is not None and self._looked_s - self._tight_s < IN_STEP_S

    # --------------------------------------------------------------------------------------------- frames

    def _take(self, data: bytes, now: float, after_s: float, items: list[Item]) -> int:
        """Takes what has arrived; returns how many frames that were."""
        if self._rest and now - self._rest_s > TORN_S:
            self.counts["torn"] += 1
            self._rest = b""
            self._arrivals.append(False)
        if not data:
            return 0
        self._byte_s = now
        if not self._rest:
            self._rest_s = now
        line = self._rest + data
        frames, lost, begin = split(line)
        self._rest = line[begin:]
        if frames and self._rest:
            self._rest_s = now
        if lost:
            self.counts["lost_byte"] += lost
            self._arrivals.append(False)
            if not frames and len(line) >= FRAME and (number := _checked(line, 0)) is not None:
                self._frame_s = now
                self._give(now, min(now, after_s - MEASURING_S), number, items)
        if not frames:
            return 0
        self._count(now, len(frames))
        newest_s = self._end(len(frames), len(line) - frames[-1][1], after_s)
        for older, (number, _) in zip(range(len(frames) - 1, -1, -1), frames, strict=True):
            self._arrivals.append(True)
            end_s = newest_s - older * self._period_s
            self._pause(end_s)
            self._end_s = end_s
            self._give(now, min(now, end_s - FRAME_S - MEASURING_S), number, items)
        self._frame_s = now
        return len(frames)

    def _end(self, frames: int, after: int, after_s: float) -> float:
        """When the newest of the frames just found ended: it was not there at the look before, `after` bytes ago."""
        latest_s = after_s - after * BYTE_S
        if after and self._rest:
            latest_s -= PERIOD_MIN_S - FRAME_S  # the pause before the frame that has begun
        earliest_s = min(self._looked_s, latest_s)
        if self._end_s is None:
            return latest_s
        periods = max(frames, round((latest_s - self._end_s) / self._period_s))
        self._periods += periods
        self._nudge_s += NUDGE_S
        expected_s = self._end_s + periods * self._period_s - self._nudge_s
        end_s = min(max(expected_s, earliest_s), latest_s)
        if frames > 1:
            self._tight_s, self._tight = None, 0  # looked for too late: held up, or the module is faster than thought
        elif latest_s - earliest_s <= TIGHT_S:
            if self._tight_s is not None:
                measured_s = (end_s - self._tight_s) / self._periods
                learnt_s = self._period_s + (measured_s - self._period_s) / min(1 + self._tight, 4)
                self._period_s = min(max(learnt_s, PERIOD_MIN_S), PERIOD_MAX_S)
                self._tight += 1
            self._tight_s, self._periods, self._nudge_s = end_s, 0, 0.0
        return end_s

    def _pause(self, end_s: float) -> None:
        if self._end_s is not None:
            gap_s = end_s - self._end_s
            if gap_s >= SILENT_REPORT_S:
                self._gaps.clear()  # that was silence; what follows is judged on its own
            else:
                self._gaps.append(gap_s > SLOW_GAP_S)

    def _count(self, now: float, frames: int) -> None:
        self._window += frames
        passed_s = now - self._window_s
        if passed_s >= FAST_WINDOW_S:
            self._fast = self._window > FAST_HZ * passed_s
            self._window_s, self._window = now, 0

    # -------------------------------------------------------------------------------------------- numbers

    def _give(self, now: float, measured_s: float, number: int, items: list[Item]) -> None:
        status, range_m = self._judge(measured_s, number)
        if status is not RangeStatus.UNTRUSTED:
            self._blind_since_s = None
        elif self._blind_since_s is None:
            self._blind_since_s = now
        if status in (RangeStatus.VALID, RangeStatus.NO_TARGET) and self._useless():
            status, range_m = RangeStatus.UNTRUSTED, None
        measured_s = self._given_s = max(measured_s, self._given_s + BYTE_S)
        self.counts[status.value] += 1
        items.append(RangeSample(now, min(measured_s, now), self.name, status, range_m))

    def _judge(self, at_s: float, number: int) -> tuple[RangeStatus, float | None]:
        if number in NOTHING:
            self._look_alike(at_s, -1)
            heard = at_s - self._heard_s <= HEARD_WITHIN_S and self._near < NEAR_ECHOES
            return (RangeStatus.NO_TARGET if heard else RangeStatus.UNTRUSTED), None
        if number > FAR_MAX_MM:
            self._look_alike(at_s, -1)
            return (RangeStatus.UNTRUSTED if number == FOREIGN_SOUND else RangeStatus.REJECTED), None
        range_m = number / 1000.0 * COLD
        self._near = self._near + 1 if range_m < NEAR_M else 0
        if range_m >= NEAR_M:
            self._heard_s = at_s
        self._look_alike(at_s, number)
        if number < RANGE_MIN_MM:
            return RangeStatus.REJECTED, None
        if range_m > self._config.range_max_m:
            return RangeStatus.NO_TARGET, None
        return RangeStatus.VALID, range_m

    def _look_alike(self, at_s: float, number: int) -> None:
        """Follows how long it has been the same number, or a very near one; -1: no echo."""
        if number < 0 or number > BLOCKED_MM:
            self._clear_s = at_s
        if number != self._same_mm or number < 0:
            self._same_mm, self._same_s = number, at_s
            self._moves += 1
        else:
            self._moves = 0

    def _still(self) -> bool:
        """Whether it reads the same for ever, or nothing but what lies on it."""
        if self._fault.active == "frozen":
            return self._moves < MOVES_MIN or self._given_s - self._clear_s > FRAME_S
        return self._given_s - self._same_s >= FROZEN_S or self._given_s - self._clear_s >= BLOCKED_S

    # --------------------------------------------------------------------------------------------- faults

    def _useless(self) -> bool:
        return self._fault.active in ("garbage", "slow", "frozen")

    def _wrong(self, now: float) -> tuple[str, str]:
        """The fault that holds now, and what to say of it; empty for none."""
        port = self._config.port
        if now - self._frame_s >= SILENT_REPORT_S:
            if now - self._byte_s < SILENT_REPORT_S and self._byte_s > self._frame_s:
                return (
                    "garbage",
                    f"no frame among the bytes on {port}: another device, another speed, or a loose ground",
                )
            return (
                "absent",
                f"no byte on {port} for {SILENT_REPORT_S} s: check power, ground, TX to GPIO15, the console",
            )
        bad = self._arrivals.count(False)
        limit = BAD_UNTIL if self._fault.active == "garbage" else BAD_FROM
        if self._fast:
            return "garbage", f"more frames on {port} than a module can make: two on one line?"
        if len(self._arrivals) >= SHARE_OF // 2 and bad > limit * len(self._arrivals):
            return "garbage", f"{bad} of {len(self._arrivals)} arrivals on {port} were damaged"
        long = self._gaps.count(True)
        if long >= SLOW_GAPS or (self._fault.active == "slow" and long > SLOW_ENDS):
            return "slow", "fewer than 7 readings a second: RX is not wired to ground, so it filters"
        if self._still():
            return "frozen", f"the same {self._same_mm} mm for {FROZEN_S:g} s, or something lies on its membrane"
        if self._blind_since_s is not None and now - self._blind_since_s >= SILENT_REPORT_S:
            return "blind", "it hears nothing, and has not proved that it can: covered, or an open place"
        return "", ""


_ERRNO_MEANS = {
    errno.ENOENT: "not there: is the serial port switched on (enable_uart=1), the adapter plugged in?",
    errno.EACCES: "not allowed: the user must be in group dialout",
    errno.EPERM: "not allowed: the unit must allow this device",
    errno.EBUSY: "in use by another program: the serial console?",
    errno.EAGAIN: "in use by another program: the serial console?",
    errno.EIO: "unplugged",
}


def _means(error: OSError) -> str:
    number = error.errno
    return (_ERRNO_MEANS.get(number) or os.strerror(number)) if number else str(error)
