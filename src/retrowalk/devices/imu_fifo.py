"""What the chips of the clip have in common: a FIFO that is read now and then, and samples that get their times.

A chip's own file holds its registers and the framing of its FIFO (`FifoChip`).  Here is the rest: absent, reset, set
up, mended after a brown-out, looked at in time; which of its measurements are worth giving; when they were taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from retrowalk.config import Imu, axis_matrix
from retrowalk.core.samples import ImuSample, Item
from retrowalk.devices.faults import FaultState
from retrowalk.devices.i2c import Attempts
from retrowalk.devices.sample_clock import SampleClock
from retrowalk.errors import SensorError
from retrowalk.platform import Clock, no_wake

SETTLE_SAMPLES = 10
"""A gyroscope needs 30 to 70 ms after it is switched on; what the FIFO holds of that time is thrown away."""

CHECK_EVERY_S = 1.0
"""A brown-out sets all registers back, and a chip that is off answers like one that has nothing to tell."""

RESET_POLL_S = 0.010

NOTHING_CHECK_S = 0.090
"""Two looks without a sample: has the chip lost its settings?  Asked before half a second of silence is over."""
NOTHING_LIMIT_S = 0.300
"""No sample for so long, though the chip answers, is a fault; the chip is set up again, this often."""

RATE_WINDOW_S = 0.5
RATE_TOLERANCE = 0.3
"""A chip whose rate is further off than this, in two windows running, is not the one that the times are made for."""

BAD_SHARE_MAX = 0.2
"""More garbage than this is a fault, even if good measurements arrive."""

FROZEN_SAMPLES = 104
"""At 16 g the noise is over a count on each axis: the same bits for a second are no measurement."""
MOVES_MIN = 3

DELAY_EVERY_S = 1.0
DELAY_MAX_S = 0.15
DELAY_READS = 2
"""What the chip measures now is in the FIFO by the time it is next read to its end, if not at once."""
DELAY_GIVEN_UP_S = 1.0
DELAY_PROOFS = 2

Counts = tuple[int, int, int]
Pair = tuple[int, Counts, Counts, bool]
"""One instant: index, acceleration, rotation, and whether instants before it are missing."""

_NO_ACCEL: frozenset[Counts] = frozenset({(0, 0, 0), (-1, -1, -1)})
"""A bus that is pulled low or high; no body is without weight to the last count."""

_FROZEN = ("frozen", f"acceleration has had the same bits for {FROZEN_SAMPLES} samples")
_GARBAGE = ("garbage", "the FIFO gives what it cannot hold")


@dataclass(frozen=True, slots=True)
class Traits:
    """What a kind of chip is to the reader of its FIFO."""

    rate_hz: float
    """Samples a second, as set up, by a clock without error."""
    units: int
    """Units of the FIFO (words, frames) that make one sample."""
    burst: int
    """Units that are read in one transfer at most: under 5 ms at 400 kHz.  A fuller FIFO takes several polls."""
    delay_s: float
    """By how much the chip's filters are behind when a sample is put into the FIFO."""
    accel_m_s2: float
    """One count of acceleration."""
    gyro_rad_s: float
    """One count of rotation."""
    reset_wait_s: float
    """After a reset nothing is written for so long ..."""
    reset_limit_s: float
    """... and the chip is back by then."""


class Look(NamedTuple):
    """What the FIFO says of itself."""

    ready: int
    """Units that can be read."""
    lost: bool = False
    """Units before them are lost: what is read next does not go on from what was read before."""
    impossible: str = ""
    """Why this cannot be the state of a FIFO; empty when it can."""


class FifoChip(Protocol):
    """A chip behind its registers.  Every method may raise `OSError`: the bus."""

    traits: Traits
    where: str
    """Name and address, for messages."""
    counts: Counter[str]

    def reset(self) -> None:
        """Begins a reset.  Raises `SensorError`: `wrong_chip`."""

    def is_back(self) -> bool:
        """Whether the reset is over."""

    def set_up(self) -> None:
        """From a reset to samples that fill the FIFO.  Raises `SensorError`: `garbage`."""

    def is_set_up(self) -> bool:
        """Whether all settings are still there."""

    def look(self) -> Look:
        """How full the FIFO is."""

    def take(self, ready: int) -> list[Pair] | None:
        """Reads so many units; None when the FIFO has run over meanwhile, and they mean nothing."""

    def newest(self, left: int) -> int:
        """Index of the newest sample in the FIFO, of which `left` units have not been read."""

    def forget(self) -> None:
        """What comes next does not go on from what came before."""

    def measured_now(self) -> tuple[Counts, Counts]:
        """Acceleration and rotation from the output registers, past the FIFO."""


class DelayWatch:
    """Whether the FIFO holds what the chip measures now.

    A FIFO gives no times: samples that all come late look like samples.  So now and then a measurement is read from
    the output registers, and looked for in what the FIFO gives after: noise on six axes makes it one of a kind.  It
    must come at once; found later, the FIFO is late.  Not found at all is no verdict: a chip that fills its FIFO from
    another filter than its registers is never blamed.
    """

    def __init__(self) -> None:
        self.late = 0
        """Late finds in a row, up to `DELAY_PROOFS`: then the samples are late, until as many came in time."""
        self._taken: tuple[Counts, Counts] | None = None
        self._taken_s = 0.0
        self._reads = 0
        """How often the FIFO has been read to its end since."""
        self._due_s = 0.0

    def wanted(self, now: float) -> bool:
        """Whether to read the output registers now."""
        return self._taken is None and now >= self._due_s

    def hurry(self) -> None:
        """Something is odd: look at the next chance."""
        self._due_s = 0.0

    def drop(self) -> None:
        """Samples were lost, and with them perhaps the one that is looked for."""
        self._taken = None

    def take(self, measured: tuple[Counts, Counts], now: float) -> None:
        """Looks for this measurement from now on."""
        self._taken, self._taken_s, self._reads = measured, now, 0

    def search(self, pairs: Sequence[Pair], now: float, *, emptied: bool) -> None:
        """Takes what has been read at `now`; `emptied`: that was all there was."""
        if self._taken is None:
            return
        self._reads += emptied
        accel, gyro = self._taken
        if any(pair[1] == accel and pair[2] == gyro for pair in pairs):
            late = self._reads > DELAY_READS and now - self._taken_s > DELAY_MAX_S
            self.late = min(self.late + 1, DELAY_PROOFS) if late else max(self.late - 1, 0)
            self._taken = None
            self._due_s = now if self.late else now + DELAY_EVERY_S
        elif now - self._taken_s > DELAY_GIVEN_UP_S:
            self._taken = None
            self._due_s = now + DELAY_EVERY_S


class ImuFifo:
    """Reads the FIFO of the clip every `poll_s`; one `ImuSample` for each instant, in body axes, m/s² and rad/s.

    `t_measured_s` counts the chip's samples and is slewed to the session's clock: increasing, never after
    `t_received_s`, within about one sample (10 ms) of the truth.  `gap` is true for the first sample after lost ones.

    Raises `SensorError`: `absent` (no answer on the bus for 0.1 s, with what the error number means), `wrong_chip`
    (it says that it is something else), `garbage` (registers do not keep what is written).  Reports, and sets up again
    by itself: `garbage` (what no FIFO holds), `frozen` (the same bits for a second, or an empty FIFO for 0.3 s), `slow`
    (a rate more than 30 % off, or samples that come over 0.15 s late: they are withheld, since their times would be
    wrong).  A reset by a brown-out is mended within half a second, without a report: the gap is in the samples.
    """

    def __init__(self, config: Imu, chip: FifoChip, clock: Clock) -> None:
        axes = axis_matrix(config.axes)
        if axes is None:
            raise ValueError(f"imu.axes = {list(config.axes)}: must be right-handed, such as +x +y +z")
        self.name = "imu"
        self.retry_s = 0.2
        self.wake = no_wake
        self.shares = "i2c"
        self.counts = chip.counts
        """Samples given, and by reason what was thrown away or repaired."""
        self._axes = axes
        self._poll_s = config.poll_s
        self._chip = chip
        self._traits = chip.traits
        self._clock = clock
        self._step = self._identify
        self._reset_s = 0.0
        self._check_s = 0.0
        self._attempts = Attempts(chip.where, chip.counts, self.close, self._known)
        self._nothing_since_s = 0.0
        self._look_s = 0.0
        self._left = 0
        """Units left in the FIFO by the look at `_look_s`."""
        self._alive = False
        """A sample has come since the set-up."""
        self._bad_share = 0.0
        """Share of the measurements that were garbage, over about a quarter of a second."""
        self._rate_from: tuple[int, float] | None = None
        """Newest index and time of the look that began the rate window."""
        self._wrong_rate = 0
        """2 after two windows with a wrong rate, 0 after two with the right one."""
        self._delay = DelayWatch()
        self._fault = FaultState(self.name)
        self._times = SampleClock(1.0 / chip.traits.rate_hz)
        self._settling = 0
        self._gap = False
        # The latest sample given.
        self._given_s: float | None = None
        self._given_index = 0
        # How long the acceleration has had the same bits, and how often in a row it has changed since.
        self._same: Counts | None = None
        self._same_count = 0
        self._moves = 0

    # ------------------------------------------------------------------------------------------- as a step

    def poll(self, now: float) -> tuple[Sequence[Item], float]:
        return self._attempts.poll(self._step, now)

    def close(self) -> None:
        """Leaves the chip as it is; the bus is not the driver's to close."""
        self._step = self._identify

    def _known(self) -> bool:
        return self._step != self._identify

    # -------------------------------------------------------------------------------------------- set-up

    def _identify(self, now: float) -> tuple[Sequence[Item], float]:
        self._chip.reset()
        self._reset_s = self._clock.now()
        self._step = self._set_up
        return (), self._reset_s + self._traits.reset_wait_s

    def _set_up(self, now: float) -> tuple[Sequence[Item], float]:
        left_s = self._reset_s + self._traits.reset_wait_s - now
        if left_s > 1e-6:  # polled early, together with another chip on the bus
            return (), now + left_s
        if not self._chip.is_back():
            limit_s = self._traits.reset_limit_s
            if now - self._reset_s > limit_s:
                raise SensorError("garbage", f"{self._chip.where} does not come back from a reset within {limit_s} s")
            return (), now + RESET_POLL_S
        self._chip.set_up()
        self._step = self._read
        self._check_s = now + CHECK_EVERY_S
        self._nothing_since_s = self._look_s = now
        self._left = 0
        self._alive = False
        self._bad_share = 0.0
        self._lost()
        self._settling = SETTLE_SAMPLES
        return (), now + self._poll_s

    def _lost(self) -> None:
        """Samples were lost, nobody knows how many: the next one has a gap before it, and time is anchored anew."""
        self._chip.forget()
        self._delay.drop()
        self._gap = self._given_s is not None
        self._times.restart()
        self._rate_from = None

    # -------------------------------------------------------------------------------------------- reading

    def _read(self, now: float) -> tuple[Sequence[Item], float]:
        chip, traits = self._chip, self._traits
        if now >= self._check_s:
            self._check_s = now + CHECK_EVERY_S
            if not chip.is_set_up():
                return self._chip_was_reset(now)
        before_s = self._clock.now()
        look = chip.look()
        after_s = self._clock.now()
        # More than it can have taken since the last look?
        room = self._left + 2 * traits.units + (after_s - self._look_s) * 1.1 * traits.rate_hz * traits.units
        if look.impossible or look.ready > room:
            self.counts["garbage_status"] += 1
            detail = look.impossible or f"the FIFO claims to hold {look.ready} where there are {room:.0f} at most"
            return self._nothing(now, "garbage", detail)
        if look.lost:
            self._ran_over()
            if not look.ready:  # it was emptied, and begins anew
                if after_s - self._look_s > NOTHING_LIMIT_S:
                    self._nothing_since_s = now  # nobody looked: it had to
                self._look_s, self._left = after_s, 0
                return self._nothing(now, "garbage", "the FIFO runs over though it is read in time")
        if not look.ready:
            return self._nothing(now, "frozen", "the FIFO stays empty")
        self._look_s, self._left = after_s, look.ready  # less what is taken, once it has been
        taken = min(look.ready, traits.burst)
        left = look.ready - taken
        if not left and self._delay.wanted(now):
            self._delay.take(chip.measured_now(), now)
        bad_before = self.counts["garbage_word"]
        pairs = chip.take(taken)
        if pairs is None:
            self._ran_over()
            self._left = 0
            return self._nothing(now, *_GARBAGE)
        self._left = left
        due_s = now if left else now + self._poll_s
        self._delay.search(pairs, now, emptied=not left)
        sound = self._sound(pairs)
        bad = self.counts["garbage_word"] - bad_before + traits.units * (len(pairs) - len(sound))
        self._bad_share += (min(1.0, bad / taken) - self._bad_share) / 5.0
        if self._settling:
            settled = min(self._settling, len(sound))
            self._settling -= settled
            del sound[:settled]
        if not sound:
            return self._nothing(now, *_GARBAGE)
        newest = chip.newest(left)
        newest_s, anew = self._times.newest(newest, before_s, after_s)
        if anew:
            self._delay.hurry()
        if self._slow(newest, after_s):
            return self._withhold(now, len(sound), f"its rate is not {traits.rate_hz:.0f} Hz"), due_s
        if self._late():
            return self._withhold(now, len(sound), "its samples come late"), due_s
        moving = self._moving(sound)
        if not moving:
            return self._nothing(now, *_FROZEN, at_once=True)
        last_s = newest_s - (newest - moving[-1][0]) * self._times.period_s
        items = self._give(now, moving, min(last_s, now), anew)
        if not items:
            return self._nothing(now, *_GARBAGE)
        self._nothing_since_s = now
        self._alive = True
        if self._bad_share > BAD_SHARE_MAX:
            items += self._fault.change(now, _GARBAGE[0], f"{chip.where}: {_GARBAGE[1]}")
        elif self._fault.active and self._bad_share < BAD_SHARE_MAX / 4.0:
            items += self._fault.change(now, "")
        return items, due_s

    def _ran_over(self) -> None:
        self.counts["overrun"] += 1
        self._lost()

    def _nothing(self, now: float, fault: str, detail: str, at_once: bool = False) -> tuple[list[Item], float]:
        """A look without a sample: a fault at once or after a while, and then the chip is set up again."""
        silent_s = now - self._nothing_since_s
        if self._alive and silent_s >= NOTHING_CHECK_S and not self._chip.is_set_up():
            return self._chip_was_reset(now)
        silent = silent_s >= NOTHING_LIMIT_S
        if not (silent or at_once):
            return [], now + self._poll_s
        items = self._fault.change(now, fault, f"{self._chip.where}: {detail}")
        if silent:
            self._nothing_since_s = now
            self.counts["set_up_again"] += 1
            return items, self._identify(now)[1]
        return items, now + self._poll_s

    def _withhold(self, now: float, count: int, detail: str) -> list[Item]:
        """Samples whose times would be wrong are not given."""
        self.counts["slow"] += count
        self._gap = self._given_s is not None
        self._nothing_since_s = now  # setting it up again would mend nothing: its registers are looked at anyway
        return self._fault.change(now, "slow", f"{self._chip.where}: {detail}")

    def _chip_was_reset(self, now: float) -> tuple[list[Item], float]:
        """A brown-out, mended without a word: the gap is in the samples."""
        self.counts["chip_reset"] += 1
        self._nothing_since_s = now
        return [], self._identify(now)[1]

    def _sound(self, pairs: list[Pair]) -> list[Pair]:
        """The pairs without those that no chip measures."""
        sound = [pair for pair in pairs if pair[1] not in _NO_ACCEL]
        if len(sound) == len(pairs):
            return sound
        self.counts["garbage_value"] += len(pairs) - len(sound)
        sound, missing = [], False
        for index, accel, gyro, lost in pairs:
            if accel in _NO_ACCEL:
                missing = True
                continue
            sound.append((index, accel, gyro, lost or missing))
            missing = False
        self._gap = self._gap or (missing and self._given_s is not None)
        return sound

    def _slow(self, newest: int, look_s: float) -> bool:
        """Whether the chip makes samples at another rate than it should; `newest` is the newest index at `look_s`."""
        if self._rate_from is None:
            self._rate_from = newest, look_s
        index, since_s = self._rate_from
        if look_s - since_s >= RATE_WINDOW_S:
            self._rate_from = newest, look_s
            rate_hz = self._traits.rate_hz
            wrong = abs((newest - index) / ((look_s - since_s) * rate_hz) - 1.0) > RATE_TOLERANCE
            self._wrong_rate = min(self._wrong_rate + 1, 2) if wrong else max(self._wrong_rate - 1, 0)
        return self._wrong_rate == 2 or (self._wrong_rate == 1 and self._fault.active == "slow")

    def _late(self) -> bool:
        """Whether the samples are old when they come."""
        return self._delay.late == DELAY_PROOFS or (self._delay.late > 0 and self._fault.active == "slow")

    def _moving(self, pairs: list[Pair]) -> list[Pair]:
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

    def _give(self, now: float, pairs: list[Pair], last_s: float, anew: bool) -> list[Item]:
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
        traits = self._traits
        (forward, forward_sign), (left, left_sign), (up, up_sign) = self._axes
        a, g, delay_s = traits.accel_m_s2, traits.gyro_rad_s, traits.delay_s
        a_f, a_l, a_u = forward_sign * a, left_sign * a, up_sign * a
        g_f, g_l, g_u = forward_sign * g, left_sign * g, up_sign * g
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
                    measured_s - delay_s,
                    (accel[forward] * a_f, accel[left] * a_l, accel[up] * a_u),
                    (gyro[forward] * g_f, gyro[left] * g_l, gyro[up] * g_u),
                    self._gap or missing,
                )
            )
            self._gap = False
        self._given_s, self._given_index = given_s, last
        self.counts["samples"] += len(items)
        return items
