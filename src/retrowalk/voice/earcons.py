"""The sounds before the words: short tones, made in code, each told from the others by rhythm and direction.

Energy lies between 500 and 2000 Hz, where older ears and small speakers are still good.  Pulses of the warning and
the caution follow timing and harmonics of IEC 60601-1-8 in kind, not in claim.  Every edge is a ramp of 4 ms, so
nothing clicks.  A tone's period is a whole number of samples: one period is computed and repeated, which makes the
whole set in milliseconds even on the smallest Pi.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from retrowalk.voice.mixer import RATE_HZ

RAMP_S = 0.004

HARSH = (1.0, 0.9, 0.25, 0.2)
"""Relative strength of the harmonics: four of them, as medical alarms have, and the second nearly as strong as the
first, so that it cuts through traffic; only a twentieth of its energy lies above 2000 Hz."""
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


def _rising(first_hz: int, second_hz: int, third_hz: int, harmonics: Sequence[float]) -> tuple[Tone, ...]:
    return Tone(first_hz, 0.060, harmonics), Tone(second_hz, 0.060, harmonics), Tone(third_hz, 0.080, harmonics)


TONES: dict[str, tuple[Tone, ...]] = {
    "warning": (Tone(800, 0.080, HARSH), _pause(0.030), Tone(800, 0.080, HARSH)),
    "caution": (Tone(600, 0.130),),
    # Longer than what it is repeated after, so that the next one waits when it ends: `mixer.SUSTAINED`.
    "touching": (Tone(1000, 0.800, (1.0, 0.2)),),
    "balance": (Tone(1000, 0.035), Tone(600, 0.035), Tone(1000, 0.035), Tone(600, 0.035)),
    "fault": (Tone(1200, 0.090), _pause(0.015), Tone(800, 0.090), _pause(0.015), Tone(600, 0.120)),
    # Three tones that rise; and each of them begins higher than the one before, from calm to urgent.
    "countdown": _rising(600, 750, 960, SOFT),
    "countdown_2": _rising(640, 800, 1000, SOFT),
    "countdown_3": _rising(750, 960, 1200, SOFT),
    "countdown_4": _rising(960, 1200, 1500, SOFT),
    "countdown_5": _rising(1200, 1500, 1920, SOFT),
    "good": (Tone(800, 0.080, SOFT, fades=True), Tone(1200, 0.140, SOFT, fades=True)),
    "chime": (Tone(600, 0.180, SOFT, fades=True),),
    "tick": (Tone(1000, 0.040, SOFT, fades=True),),
}
"""What each earcon of `core.alerts.EARCONS` is made of."""

LEVELS: dict[str, float] = {
    "warning": 0.95,
    "touching": 0.55,
    "balance": 0.65,
    "fault": 0.58,
    "countdown": 0.38,
    "countdown_2": 0.41,
    "countdown_3": 0.44,
    "countdown_4": 0.46,
    "countdown_5": 0.48,
    "caution": 0.55,
    "good": 0.40,
    "chime": 0.30,
    "tick": 0.12,
}
"""Peak of each earcon, as a part of the configured volume.  The warning is the loudest, as an ear weighs an eighth of a
second (A-weighted), by 1 dB and more; the tick is never mute."""


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
