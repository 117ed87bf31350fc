"""From what espeak gives to what the bank holds: trimmed, of one loudness, 48 kHz.  Plain Python, done once."""

from __future__ import annotations

import math
from array import array
from operator import mul

from retrowalk.voice.mixer import RATE_HZ

ZERO_CROSSINGS = 12
"""Half length of the filter in input samples.  12 leave images more than 60 dB below speech."""
KAISER_BETA = 7.0
CUTOFF = 0.92
"""Of half the input rate; above it there is next to nothing in speech."""

LEAD_S = 0.005
TRAIL_S = 0.030
"""Kept before and after what is loud enough to be heard: soft first and last sounds lie there."""
AUDIBLE = 0.01
"""Of the peak: quieter than this, espeak's own lead and trail, is silence (-40 dB)."""

LOUDNESS = 0.17
"""RMS of the voiced blocks every clip is brought to, as a part of full scale (-15 dBFS)."""
KNEE = 0.7
"""Peaks above this part of full scale are rounded off instead of clipped."""


def trim(samples: array[int], rate_hz: int) -> array[int]:
    """Cuts the silence before and after.  Silence alone gives an empty array."""
    if not samples:
        return samples
    floor = max(1, int(max(map(abs, samples)) * AUDIBLE))
    loud = [i for i, sample in enumerate(samples) if sample > floor or sample < -floor]
    if not loud:
        return array("h")
    first = max(0, loud[0] - int(LEAD_S * rate_hz))
    last = min(len(samples), loud[-1] + int(TRAIL_S * rate_hz))
    cut = samples[first:last]
    for i in range(min(int(LEAD_S * rate_hz), len(cut))):
        cut[i] = cut[i] * i // int(LEAD_S * rate_hz)
    ramp = min(int(TRAIL_S * rate_hz), len(cut))
    for i in range(ramp):
        cut[-1 - i] = cut[-1 - i] * i // ramp
    return cut


def rms(samples: array[int]) -> float:
    """Root mean square as a part of full scale (0 to 1)."""
    return math.sqrt(sum(map(mul, samples, samples)) / len(samples)) / 32768.0 if samples else 0.0


def loudness(samples: array[int], rate_hz: int) -> float:
    """RMS of the voiced 20 ms blocks (0 to 1): pauses between words do not make a phrase quieter."""
    block = rate_hz // 50
    levels = [rms(samples[start : start + block]) for start in range(0, len(samples), block)]
    if not levels:
        return 0.0
    voiced = [level for level in levels if level > 0.25 * max(levels)]
    return math.sqrt(sum(map(mul, voiced, voiced)) / len(voiced)) if voiced else 0.0


def level(samples: array[int], rate_hz: int, volume: float) -> array[int]:
    """Brings a clip to the common loudness, then to `volume` (0 to 1); rounds peaks off so that none is clipped."""
    measured = loudness(samples, rate_hz)
    if not measured:
        return samples
    gain = LOUDNESS / measured / 32768.0
    room = 1.0 - KNEE
    out = []
    for sample in samples:
        x = sample * gain
        if x > KNEE:
            x = KNEE + room * math.tanh((x - KNEE) / room)
        elif x < -KNEE:
            x = -KNEE + room * math.tanh((x + KNEE) / room)
        out.append(round(x * volume * 32767.0))
    return array("h", out)


def resample(samples: array[int], rate_hz: int, to_hz: int = RATE_HZ) -> array[int]:
    """To a higher rate, by a windowed sinc: one short filter for each phase between two samples."""
    if rate_hz == to_hz:
        return samples
    if not 0 < rate_hz < to_hz:
        raise ValueError(f"rate_hz = {rate_hz}: must be above 0 and at most {to_hz}")
    common = math.gcd(to_hz, rate_hz)
    up, down = to_hz // common, rate_hz // common
    filters = [_filter(phase / up) for phase in range(up)]
    padded = array("h", bytes(2 * ZERO_CROSSINGS)) + samples + array("h", bytes(2 * ZERO_CROSSINGS + 2))
    out = array("h")
    width = 2 * ZERO_CROSSINGS
    for n in range(len(samples) * up // down):
        start, phase = divmod(n * down, up)
        value = sum(map(mul, filters[phase], padded[start : start + width]))
        out.append(max(-32768, min(32767, round(value))))
    return out


def _filter(fraction: float) -> list[float]:
    """Taps for a point `fraction` of a sample after the middle one; they sum to one."""
    taps = []
    for i in range(2 * ZERO_CROSSINGS):
        x = i - ZERO_CROSSINGS - fraction
        window = _bessel(KAISER_BETA * math.sqrt(max(0.0, 1.0 - (x / ZERO_CROSSINGS) ** 2)))
        angle = math.pi * CUTOFF * x
        taps.append(window * (math.sin(angle) / angle if angle else 1.0))
    total = sum(taps)
    return [tap / total for tap in taps]


def _bessel(x: float) -> float:
    """Modified Bessel function of the first kind, order 0."""
    term = total = 1.0
    k = 1
    while term > 1e-12 * total:
        term *= (x / (2 * k)) ** 2
        total += term
        k += 1
    return total
