"""Whether a sound that was played is in what the microphone heard: when, and whether its beginning is missing.  Pure.

Only the signs of the samples are compared (polarity coincidence correlation): a sign does not know how loud
something was, a thousand of them are compared by one exclusive-or of two whole numbers and a count of bits, and
against ordinary noise no more than 2 dB are lost.  So several thousand delays are tried in a few milliseconds without
NumPy, and a share of them at each poll.

Everything here is at `RATE_HZ`, one channel, in the band in which older ears are still good.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from operator import add, mul, sub

RATE_HZ = 8_000
"""Rate of everything that is looked at: earcons and the body of speech lie far below its half."""

SETTLE = 7
"""Samples a piece loses in `band`, before which its filter has not settled."""
BLOCK = 40
"""Samples (5 ms) that count, or do not, as a whole: pauses and the soft ends of a clip say nothing."""
LOUD_SHARE = 0.2
"""Blocks below this share of the loudest one do not count: noise would decide their signs."""
COUNT_MIN = 1000
"""Samples (125 ms) that must count, else nothing is concluded: noise may look like a shorter sound by chance."""
COUNT_SHARP_MIN = 600
"""The same for words and sweeps, which little else looks like; they must score `FOUND_SHORT`."""

FOUND = 0.33
"""Score from which a sound is found.  Noise, music and the speech of others reach 0.3 at the best of all delays; a
small loudspeaker in a room, 10 dB over them, gives 0.36 and more, 0.5 to 0.7 usually."""
FOUND_SHORT = 0.38
ABOVE_CONTROL = 1.5
"""A sound must score so many times what the same template scores before it could have been heard: a hum at the very
pitch of an earcon, or somebody's singing, is there before it, too."""

PART = 80
"""Samples (10 ms) in which the beginning of a sound is looked for."""
PART_FOUND = 0.45
"""Correlation from which such a part is there; two in a row must be."""
SHARP = 0.4
"""A template that scores this against itself at another delay cannot tell how much of its beginning is missing."""

_SIGNS = bytes(ord("0") if high < 0x80 else ord("1") for high in range(256))


def decimated(samples: Sequence[int], factor: int) -> array[int]:
    """Sums of `factor` neighbouring samples each: 48 kHz become 8 kHz with factor 6.  An incomplete rest is left out.

    The sum is a filter of a kind: what lies above is damped where it would be folded into the band.
    """
    whole = len(samples) // factor * factor
    total: Sequence[int] = samples[0:whole:factor]
    for start in range(1, factor):
        total = list(map(add, total, samples[start:whole:factor]))
    return array("i", total)


def band(samples: Sequence[int]) -> array[int]:
    """What lies between 500 and 2000 Hz; shorter by `SETTLE` samples.

    Two differences over three samples take away wind, traffic's rumble and a constant (100 Hz: -37 dB); a sum over
    two takes away what lies above.  The peak is near 1.1 kHz; 500 Hz and 2 kHz are 9 dB below it.
    """
    once = list(map(sub, samples[3:], samples))
    twice = list(map(sub, once[3:], once))
    return array("i", map(add, twice[1:], twice))


def power(samples: Sequence[int]) -> float:
    """Mean square; 0 for no samples."""
    return sum(map(mul, samples, samples)) / len(samples) if samples else 0.0


def _bits(samples: array[int]) -> int:
    """Their signs, the first sample's in the highest bit."""
    return int(samples.tobytes()[3::4].translate(_SIGNS), 2) if samples else 0


@dataclass(frozen=True, slots=True)
class Template:
    """A sound as it left, ready to be looked for."""

    samples: array[int]
    signs: int
    counts: int
    """A one for every sample that counts."""
    counted: int
    """How many do."""

    @classmethod
    def of(cls, samples: array[int]) -> Template:
        """From what was played, in band (`band`)."""
        powers = [power(samples[at : at + BLOCK]) for at in range(0, len(samples), BLOCK)]
        least = max(powers, default=0.0) * LOUD_SHARE**2
        text = "".join(
            ("1" if 0.0 < least <= loud else "0") * min(BLOCK, len(samples) - at * BLOCK)
            for at, loud in enumerate(powers)
        )
        counts = int(text, 2) if text else 0
        return cls(samples, _bits(samples), counts, counts.bit_count())

    @property
    def tells(self) -> bool:
        """Whether it is long enough that finding it, or not, proves something."""
        return self.counted >= COUNT_MIN or (self.counted >= COUNT_SHARP_MIN and self.sharp())

    @property
    def found(self) -> float:
        """Score from which it is found."""
        return FOUND if self.counted >= COUNT_MIN else FOUND_SHORT

    def power(self) -> float:
        """Mean square of the samples that count."""
        return counted_power(self, self.samples, 0)

    def sharp(self) -> bool:
        """Whether it is like itself at one delay only, as words and sweeps are, and tones are not."""
        length = len(self.samples)
        for shift in range(PART * 2, length // 2, 2):
            both = self.counts & (self.counts >> shift)
            differ = ((self.signs ^ (self.signs >> shift)) & both).bit_count()
            if abs(both.bit_count() - 2 * differ) > SHARP * self.counted:
                return False
        return True


def counted_power(template: Template, heard: Sequence[int], at: int) -> float:
    """Mean square of what was heard under the samples of the template that count, when it begins at `at`."""
    total = 0.0
    count = 0
    length = len(template.samples)
    for start in range(0, length, BLOCK):
        if template.counts >> (length - 1 - start) & 1:
            piece = heard[at + start : at + start + BLOCK]
            total += sum(map(mul, piece, piece))
            count += len(piece)
    return total / count if count else 0.0


class Search:
    """Looks for a template in what was heard, a few delays at a time, while what was heard still grows.

    Delays are whole samples from the first sample of `heard`; `last` is the greatest that is tried.
    """

    def __init__(self, template: Template, first: int, last: int) -> None:
        self.template = template
        self.best = 0.0
        """Highest score so far, 0 to 1; a microphone that turns the sign of everything is none the worse."""
        self.at = -1
        """Delay of the best."""
        self._next = first
        self._last = last

    def go_on(self, heard: array[int], most: int) -> int:
        """Tries the next delays, `most` at the most, as far as `heard` reaches; returns how many."""
        template = self.template
        length = len(template.samples)
        end = min(self._last, len(heard) - length, self._next + most - 1)
        begin = self._next
        if end < begin or not template.counted:
            return 0
        span = heard[begin : end + length]
        bits, behind = _bits(span), len(span) - length
        signs, counts, counted = template.signs, template.counts, template.counted
        # Scores are compared as counts of bits: a multiple of two away from the half.
        best = round(self.best * counted)
        for shift in range(behind, -1, -1):
            differ = ((bits >> shift ^ signs) & counts).bit_count()
            score = abs(counted - 2 * differ)
            if score > best:
                best = score
                self.at = begin + behind - shift
        self.best = best / counted
        self._next = end + 1
        return behind + 1

    @property
    def passed(self) -> int:
        """How many delays, in samples, lie between the best and the next to be tried."""
        return self._next - self.at

    @property
    def over(self) -> bool:
        """Whether every delay has been tried."""
        return self._next > self._last


def missing_s(template: Template, heard: array[int], at: int) -> float:
    """How much of the beginning was not heard of a template found at delay `at`, seconds."""
    length = len(template.samples)
    sign = 1.0 if sum(map(mul, template.samples, heard[at : at + length])) >= 0 else -1.0
    before = False
    first = 0
    for start in range(0, length - PART + 1, PART):
        if not template.counts >> (length - 1 - start - PART // 2) & 1:
            continue
        sent, came = template.samples[start : start + PART], heard[at + start : at + start + PART]
        norm = math.sqrt(power(sent) * power(came)) * PART
        there = norm > 0.0 and sign * sum(map(mul, sent, came)) > PART_FOUND * norm
        if there and before:
            break
        if there:
            first = start
        before = there
    else:
        return length / RATE_HZ
    # What stands before the first part that counts (a soft attack) is not missing.
    lead = length - template.counts.bit_length()
    return max(0, first - lead - PART) / RATE_HZ if first > lead else 0.0
