"""Clips as they are kept, on disk and in memory: 24 kHz, one byte a sample, a quarter of what is played.

espeak's sound ends at 11 kHz, so half of the card's rate holds it; a byte on a logarithmic scale keeps the noise 37 dB
below the voice at any level, which a telephone has made everybody used to.  `Packed` is read like the 48 kHz sound it
stands for, piece by piece as it is played: nothing is unpacked ahead, so a clip begins as soon as any other.

Plain tables and slices do the work: 10 ms of speech cost 0.1 ms on a PC, and only while somebody speaks.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import pairwise

RATE_HZ = 24_000
"""Samples a second as packed; what is played has twice as many."""
PLAYED_BYTES = 4
"""Bytes of played sound for each packed sample: two samples of two bytes."""

STEEPNESS = 255.0
"""Of the scale, as in telephony (ITU-T G.711's mu): fine steps for soft sounds, coarse ones for loud."""

_LEVELS = [round(32767.0 * ((1.0 + STEEPNESS) ** (code / 127.0) - 1.0) / STEEPNESS) for code in range(128)]
"""What the codes 0 to 127 stand for; code 0 is silence.  128 more stand for the same below zero."""
_EDGES = [(low + high + 1) // 2 for low, high in pairwise(_LEVELS)]
_SAMPLES = array("h", [*_LEVELS, *(-level for level in _LEVELS)])
_LOW = bytes(sample & 0xFF for sample in _SAMPLES)
_HIGH = bytes(sample >> 8 & 0xFF for sample in _SAMPLES)

# The half-band filter that finds the samples in between, over 256: within 1 dB to 8 kHz, where little speech
# is left; what it leaves of the image lies above 16 kHz there.
_NEAR, _FAR, _OUTER = 150, -25, 3
_REACH = 3
"""Packed samples on each side of a sample in between."""


def pack(samples: array[int]) -> bytes:
    """Samples at 24 kHz (signed 16 bit) as one byte each."""
    return bytes(
        bisect_right(_EDGES, sample) if sample >= 0 else 128 + bisect_right(_EDGES, -sample) for sample in samples
    )


def unpack(codes: bytes) -> array[int]:
    """The samples at 24 kHz that packed ones stand for."""
    both = bytearray(2 * len(codes))
    both[0::2] = codes.translate(_LOW)
    both[1::2] = codes.translate(_HIGH)
    samples: array[int] = array("h")
    samples.frombytes(both)
    return samples


class Packed:
    """A packed clip, read as the bytes it sounds as: 48 kHz, one channel, signed 16 bit, little-endian.

    Only whole samples can be asked for; however it is cut into pieces, the pieces join to the same sound.
    """

    __slots__ = ("_codes", "lead")

    def __init__(self, codes: bytes) -> None:
        self._codes = codes
        self.lead = self._zeros()
        """Played samples before the first that is not zero."""

    def __len__(self) -> int:
        return len(self._codes) * PLAYED_BYTES

    def __getitem__(self, piece: slice) -> bytes:
        begin, end, step = piece.indices(len(self))
        if step != 1 or begin % 2 or end % 2:
            raise ValueError(f"piece {begin}:{end}:{step}: only whole samples, one after the other")
        if end <= begin:
            return b""
        first, last = begin // PLAYED_BYTES, (end - 1) // PLAYED_BYTES + 1
        # What lies around the piece, silence before and after the clip.
        lead, trail = max(0, _REACH - 1 - first), max(0, last + _REACH - len(self._codes))
        around = bytes(lead) + self._codes[max(0, first - _REACH + 1) : last + _REACH] + bytes(trail)
        x = unpack(around)
        played: array[int] = array("h", bytes(PLAYED_BYTES * (last - first)))
        played[0::2] = x[_REACH - 1 : -_REACH]
        between = [
            (_NEAR * (c + d) + _FAR * (b + e) + _OUTER * (a + f) + 128) >> 8
            for a, b, c, d, e, f in zip(x, x[1:], x[2:], x[3:], x[4:], x[5:], strict=False)
        ]
        try:
            played[1::2] = array("h", between)
        except OverflowError:  # a peak between two samples at the very top
            played[1::2] = array("h", [max(-32768, min(32767, sample)) for sample in between])
        skipped = begin - first * PLAYED_BYTES
        return played.tobytes()[skipped : skipped + end - begin]

    def _zeros(self) -> int:
        # The filter looks ahead, so the sample in between may sound three packed samples before the first that does.
        silent = len(self._codes) - len(self._codes.lstrip(b"\0\x80"))
        start = max(0, silent - _REACH)
        for at, sample in enumerate(array("h", self[start * PLAYED_BYTES : (silent + 1) * PLAYED_BYTES])):
            if sample:
                return 2 * start + at
        return 2 * len(self._codes)
