"""The sounds before the words: short tones, made in code, each told from the others by rhythm and direction.

Energy lies between 500 and 2000 Hz, where older ears and small speakers are still good.  Pulses of the warning and
the caution follow the timing of IEC 60601-1-8 in kind, not in claim.  Every edge is a ramp of 4 ms, so nothing
clicks.  A tone's period is a whole number of samples: one period is computed and repeated, which makes the whole set
in milliseconds even on the smallest Pi.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from retrowalk.voice.mixer import RATE_HZ

RAMP_S = 0.004

HARSH = (1.0, 0.9, 0.3)
"""Relative strength of the harmonics: the second is nearly as strong as the first, so it cuts through traffic."""
PLAIN = (1.0, 0.5, 0.2)
SOFT = (1.0, 0.15)


@dataclass(frozen=True, slots=True)
class Tone:
    """One tone.  A `frequency_hz` of 0 is a pause."""

    frequency_hz: int
    """Must divide 48000, so that its period is a whole number of samples."""
    seconds: float
    harmonics: Sequence[float] = PLAIN
    fades: bool = False
    """Whether it dies away like a bell instead of holding its level."""


def _pause(seconds: float) -> Tone:
    return Tone(0, seconds)


TONES: dict[str, tuple[Tone, ...]] = {
    "warning": (Tone(750, 0.060, HARSH), _pause(0.030), Tone(750, 0.060, HARSH)),
    "caution": (Tone(600, 0.130),),
    "touching": (Tone(1000, 0.600, (1.0, 0.9)),),
    "balance": (Tone(1000, 0.035), Tone(600, 0.035), Tone(1000, 0.035), Tone(600, 0.035)),
    "fault": (Tone(1200, 0.090), _pause(0.015), Tone(800, 0.090), _pause(0.015), Tone(600, 0.120)),
    "countdown": (Tone(600, 0.060), Tone(800, 0.060), Tone(1000, 0.080)),
    "good": (Tone(800, 0.080, SOFT, fades=True), Tone(1200, 0.140, SOFT, fades=True)),
    "chime": (Tone(600, 0.180, SOFT, fades=True),),
    "tick": (Tone(1000, 0.040, SOFT, fades=True),),
}
"""What each earcon of `core.alerts.EARCONS` is made of."""

LEVELS: dict[str, float] = {
    "warning": 0.95,
    "touching": 0.70,
    "balance": 0.68,
    "fault": 0.65,
    "countdown": 0.65,
    "caution": 0.60,
    "good": 0.40,
    "chime": 0.30,
    "tick": 0.12,
}
"""Peak of each earcon, as a part of the configured volume.  The warning is the loudest; the tick is never mute."""


def synthesise(volume: float) -> dict[str, bytes]:
    """Every earcon by name: 48 kHz, one channel, signed 16 bit.  `volume` is `config.voice.volume` (0.2 to 1)."""
    return {
        name: b"".join(_samples(tone, LEVELS[name] * volume).tobytes() for tone in tones)
        for name, tones in TONES.items()
    }


def _samples(tone: Tone, level: float) -> array[int]:
    count = round(tone.seconds * RATE_HZ)
    if not tone.frequency_hz:
        return array("h", bytes(2 * count))
    period = RATE_HZ // tone.frequency_hz
    wave = [
        # Sampled between the zero crossings: no sample within the tone is zero, so an ear that follows its signs can.
        sum(part * math.sin(2.0 * math.pi * (n + 1) * (i + 0.3) / period) for n, part in enumerate(tone.harmonics))
        for i in range(period)
    ]
    peak = max(map(abs, wave))
    wave = [sample / peak * level * 32767.0 for sample in wave]
    samples = array("h", [round(sample) for sample in wave]) * (count // period + 1)
    del samples[count:]

    ramp = round(RAMP_S * RATE_HZ)
    if tone.fades:
        # To 5 % at the end, where the ramp takes over.
        falling = math.exp(math.log(0.05) / count)
        gain = 1.0
        for i in range(count):
            samples[i] = round(samples[i] * gain)
            gain *= falling
    for i in range(ramp):
        samples[i] = samples[i] * i // ramp
        samples[-1 - i] = samples[-1 - i] * i // ramp
    return samples
