"""Bluetooth: which device is one, and what keeps it from falling asleep.

A headset that has heard nothing but zeros for a few seconds switches its amplifier off, and swallows the first half
second of what comes then.  So it is never given zeros: noise at -80 dBFS, which nobody hears, is something.
"""

from __future__ import annotations

from array import array
from random import Random

from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ

DITHER_PEAK = 5
"""Whole numbers up to this, both signs and never zero: -80 dBFS."""
DITHER_S = 1.0
"""The noise repeats after this."""

SERVERS = ("PulseAudio", "PipeWire")
"""How ALSA's plug-ins of sound servers are described."""
_NAMES = ("bluealsa", "bluez")


def is_bluetooth(*names: str) -> bool:
    """Whether any name of a device (ALSA's, the card's own, a sound server's sink) tells that it is Bluetooth.

    BlueALSA's devices and plug-in are called bluealsa; sinks of PulseAudio and PipeWire are called bluez_....
    """
    return any(part in name.lower() for name in names for part in _NAMES)


def may_sleep(device: str, described: str) -> bool:
    """Whether a device may be one that sleeps in silence: Bluetooth, or behind a sound server, where any may be.

    `described` is what libasound says of everything between it and the hardware.
    """
    return is_bluetooth(device, described) or any(server in described for server in SERVERS)


class Awake:
    """What is played instead of silence, so that a headset stays awake."""

    def __init__(self) -> None:
        steps = [step for step in range(-DITHER_PEAK, DITHER_PEAK + 1) if step]
        table = array("b", [steps[byte % len(steps)] for byte in range(256)]).tobytes()
        noise = array("h", array("b", Random(1).randbytes(round(DITHER_S * RATE_HZ)).translate(table)))
        stereo = array("h", bytes(2 * len(noise) * noise.itemsize))
        stereo[0::2] = stereo[1::2] = noise
        self._noise = stereo.tobytes()
        self._at = 0

    def silence(self, frames: int) -> bytes:
        """The next frames; at most a second of them."""
        end = self._at + frames * FRAME_BYTES
        piece = self._noise[self._at : end]
        self._at = 0
        if len(piece) < frames * FRAME_BYTES:
            self._at = frames * FRAME_BYTES - len(piece)
            return piece + self._noise[: self._at]
        self._at = end
        return piece
