"""A simulated microphone, a simulated Bluetooth headset, and what lies between a device and those who hear.

The microphone is a `Listener` of the simulated sound device: it hears what leaves, later and softer, and the noise of
the surroundings.  The headset is one, too: it stands between the device and those who hear.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import add
from random import Random

from retrowalk.errors import SoundError
from retrowalk.sim.sound import FRAME_BYTES, RATE_HZ, Listener

NOISE_S = 4.0
"""Noise of the surroundings repeats after this."""
MICROPHONE_HZ = 16_000
_FACTOR = RATE_HZ // MICROPHONE_HZ
KEEP_S = 2.0


@lru_cache(maxsize=4)
def _noise(seed: int) -> array[int]:
    """Noise with a root mean square of 4096, softer towards high pitches, as surroundings are."""
    random = Random(seed)
    last = 0.0
    values = []
    for _ in range(round(NOISE_S * MICROPHONE_HZ)):
        last = 0.7 * last + random.gauss(0.0, 1.0)
        values.append(last)
    scale = 4096.0 / math.sqrt(sum(value * value for value in values) / len(values))
    return array("h", [max(-32768, min(32767, round(value * scale))) for value in values])


class SimMicrophone:
    """Hears what is fed to it, and `surroundings(now)`: their root mean square in full scales of the microphone.

    `delay_s` is the way through the air, `coupling` what is left of a sample after it.  `fault(now)` is `off` (raises
    `SoundError`), `deaf` (gives zeros), `stuck` (gives nothing any more) or empty.
    """

    def __init__(
        self,
        *,
        coupling: float = 0.1,
        delay_s: float = 0.003,
        surroundings: Callable[[float], float] = lambda now: 0.002,
        fault: Callable[[float], str] = lambda now: "",
        seed: int = 0,
    ) -> None:
        self.name = "simulated microphone"
        self.rate_hz = MICROPHONE_HZ
        self.lost = 0
        self.closed = False
        self._coupling = coupling
        self._delay_s = delay_s
        self._surroundings = surroundings
        self._fault = fault
        self._noise = _noise(seed)
        self._own: dict[int, array[int]] = {}
        """What arrives, by the number of its block of 10 ms."""
        self._read: int | None = None
        """Place up to which it was read, in samples since session second 0."""

    def feed(self, pcm: bytes, t_s: float) -> None:
        """Frames that leave the device from `t_s` on; they arrive later."""
        stereo = array("h", pcm)
        if not stereo or (max(stereo) == 0 and min(stereo) == 0):
            return
        at = round((t_s + self._delay_s) * RATE_HZ)
        block = RATE_HZ // 100
        gain = self._coupling / 2.0
        left, right = stereo[0::2], stereo[1::2]
        for begin in range(0, len(left), block):
            mono = [
                gain * (a + b) for a, b in zip(left[begin : begin + block], right[begin : begin + block], strict=True)
            ]
            self._put(at + begin, mono)

    def _put(self, at: int, mono: Sequence[float]) -> None:
        place = at // _FACTOR
        size = MICROPHONE_HZ // 100
        for i in range(0, len(mono) - _FACTOR + 1, _FACTOR):
            number, within = divmod(place + i // _FACTOR, size)
            piece = self._own.get(number)
            if piece is None:
                piece = self._own[number] = array("i", bytes(4 * size))
            piece[within] += round(sum(mono[i : i + _FACTOR]) / _FACTOR)

    def read(self, now: float) -> bytes:
        """What was heard since the last call."""
        fault = self._fault(now)
        if fault == "off":
            raise SoundError(f"microphone {self.name!r}: no such device; is it plugged in?")
        end = int(now * MICROPHONE_HZ)
        begin, self._read = (end if self._read is None else self._read), end
        if fault == "stuck" or end <= begin:
            return b""
        begin = max(begin, end - round(KEEP_S * MICROPHONE_HZ))
        if fault == "deaf":
            return bytes(2 * (end - begin))
        size = MICROPHONE_HZ // 100
        heard: array[int] = array("h")
        level = self._surroundings(now) * 32767.0 / 4096.0
        for number in range(begin // size, (end - 1) // size + 1):
            first, last = max(begin, number * size), min(end, (number + 1) * size)
            noise = self._surrounding(first, last, level)
            own = self._own.get(number)
            if own is not None:
                noise = list(map(add, noise, own[first - number * size : last - number * size]))
            heard.extend([max(-32768, min(32767, sample)) for sample in noise])
        for number in [number for number in self._own if number < begin // size]:
            del self._own[number]
        return heard.tobytes()

    def _surrounding(self, first: int, last: int, level: float) -> list[int]:
        at = first % len(self._noise)
        piece = self._noise[at : at + last - first]
        if len(piece) < last - first:
            piece = piece + self._noise[: last - first - len(piece)]
        return [round(sample * level) for sample in piece]

    def close(self) -> None:
        self.closed = True


class SimMicrophones:
    """Opens the one simulated microphone there is."""

    def __init__(self, microphone: SimMicrophone) -> None:
        self.microphone = microphone
        self.opened = 0

    def open(self, device: str) -> SimMicrophone:
        self.opened += 1
        self.microphone.closed = False
        return self.microphone


class SimHeadset:
    """A Bluetooth headset that falls asleep when it hears only zeros.

    Everything comes `latency_s` later; after `sleeps_after_s` of zeros it sleeps, and swallows the first `wakes_in_s`
    of what wakes it.
    """

    def __init__(
        self,
        listeners: tuple[Listener, ...],
        *,
        latency_s: float = 0.2,
        sleeps_after_s: float = 2.0,
        wakes_in_s: float = 0.5,
    ) -> None:
        self.swallowed = 0
        """Frames that were no silence and that nobody heard."""
        self._listeners = listeners
        self._latency_s = latency_s
        self._sleeps_after_s = sleeps_after_s
        self._wakes_in_s = wakes_in_s
        self._sound_s = -math.inf
        """When the last frame that was not zero had come."""
        self._awake_s = -math.inf

    def set_waking(self, wakes_in_s: float) -> None:
        """From now on it swallows so much when it wakes up."""
        self._wakes_in_s = wakes_in_s

    def feed(self, pcm: bytes, t_s: float) -> None:
        step = RATE_HZ // 100 * FRAME_BYTES
        for at in range(0, len(pcm), step):
            piece, now = pcm[at : at + step], t_s + at / FRAME_BYTES / RATE_HZ
            if any(piece):
                if now - self._sound_s > self._sleeps_after_s:
                    self._awake_s = now + self._wakes_in_s
                self._sound_s = now
            if now < self._awake_s:
                self.swallowed += len(piece) // FRAME_BYTES if any(piece) else 0
                piece = bytes(len(piece))
            for listener in self._listeners:
                listener.feed(piece, now + self._latency_s)


class Air:
    """Between a sound device and those who hear: what a fault of `voice` leaves of it.

    `unplugged` lets nothing through, `headset` what a Bluetooth headset does; with any other, all is heard.
    """

    def __init__(self, listeners: tuple[Listener, ...], fault: Callable[[float], str]) -> None:
        self._listeners = listeners
        self._headset = SimHeadset(listeners)
        self._fault = fault

    def feed(self, pcm: bytes, t_s: float) -> None:
        fault = self._fault(t_s)
        if fault == "unplugged":
            pcm = bytes(len(pcm))
        if fault == "headset":
            self._headset.feed(pcm, t_s)
            return
        for listener in self._listeners:
            listener.feed(pcm, t_s)
