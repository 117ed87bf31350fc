"""A simulated sound device: a buffer, a play pointer that follows the clock, and somebody who hears what leaves it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

from retrowalk.errors import SoundError
from retrowalk.platform import APLAY, Clock
from retrowalk.sim.faults import Faults

RATE_HZ = 48_000
FRAME_BYTES = 4
_EPSILON_FRAMES = 1e-6
"""Times are floats: a frame that is due by less than this is due."""


class Listener(Protocol):
    """Takes the frames that leave the device: an `Ear`, a `WalkWav`."""

    def feed(self, pcm: bytes, t_s: float) -> None:
        """Frames, the first of which leaves the device at session second `t_s`."""


class WalkWav:
    """A WAV file whose second 0 is session second 0: what was given where it sounded, silence elsewhere.

    `join_s`: a start that differs by less from the end before it is moved there, because real clocks and sound cards
    disagree a little; 0 in virtual time.  The header is right after `close`; a file cut short before that holds its
    sound all the same.
    """

    def __init__(self, path: str | Path, *, join_s: float = 0.0) -> None:
        self._file: BinaryIO | None = Path(path).open("wb")  # noqa: SIM115 - it lives as long as the walk
        self._join = round(join_s * RATE_HZ)
        self._frames = 0
        self._file.write(_header(0x7FFF_F000))

    def feed(self, pcm: bytes, t_s: float) -> None:
        if self._file is None:
            return
        start = round(t_s * RATE_HZ)
        if abs(start - self._frames) <= self._join:
            start = self._frames
        if start < self._frames:
            pcm = pcm[(self._frames - start) * FRAME_BYTES :]  # it has sounded already
        else:
            self._pad(start)
        self._file.write(pcm)
        self._frames += len(pcm) // FRAME_BYTES

    def close(self, end_s: float = 0.0) -> None:
        """Fills up with silence to session second `end_s` and completes the header."""
        if self._file is not None:
            self._pad(round(end_s * RATE_HZ))
            self._file.seek(0)
            self._file.write(_header(self._frames * FRAME_BYTES))
            self._file.close()
            self._file = None

    def _pad(self, until: int) -> None:
        while self._file is not None and self._frames < until:
            frames = min(until - self._frames, RATE_HZ)
            self._file.write(bytes(frames * FRAME_BYTES))
            self._frames += frames


def _header(data_bytes: int) -> bytes:
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 2, RATE_HZ, RATE_HZ * FRAME_BYTES, FRAME_BYTES, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + data_bytes, b"WAVE") + form + struct.pack("<4sI", b"data", data_bytes)


class SimSound:
    """An open simulated device.  It starts with the first frame written; when it runs dry it stops until the next.

    `leave(pcm, t_s)` gets every frame that passes the play pointer.  Faults of `voice`: `muted` plays zeros, `stuck`
    stands still, `null` takes every frame at once and plays none, `off` raises `SoundError`.
    """

    output = "alsa"
    beyond_s = 0.0

    def __init__(
        self,
        name: str,
        buffer_ms: int,
        clock: Clock,
        leave: Callable[[bytes, float], None],
        fault: Callable[[float], str],
    ) -> None:
        self.name = name
        self.underruns = 0
        self.buffer_frames = buffer_ms * RATE_HZ // 1000
        self._clock = clock
        self._leave = leave
        self._fault = fault
        self._queue = bytearray()
        self._played = 0
        self._running = False
        self._begun_s = 0.0
        self._since_begin = 0
        """Frames that have left since the pointer last began to move, at `_begun_s`."""
        self._closed = False

    def keep(self, buffer_ms: int) -> None:
        self.buffer_frames = buffer_ms * RATE_HZ // 1000

    def writable(self, now: float) -> int:
        self.advance(now)
        return self.buffer_frames - len(self._queue) // FRAME_BYTES

    def write(self, pcm: bytes, now: float) -> int:
        self.advance(now)
        frames = min(len(pcm) // FRAME_BYTES, self.buffer_frames - len(self._queue) // FRAME_BYTES)
        if frames > 0:
            if not self._running:
                self._running, self._begun_s, self._since_begin = True, now, 0
            self._queue += pcm[: frames * FRAME_BYTES]
        return max(0, frames)

    def played(self, now: float) -> int:
        self.advance(now)
        return self._played

    def wait(self, timeout_s: float) -> None:
        """Returns at once: time passes elsewhere."""

    def close(self) -> None:
        """Frames that have not left are lost, as with a device that is dropped."""
        if not self._closed:
            self._move(self._clock.now())
            self._closed = True
            self._queue.clear()

    def advance(self, now: float) -> None:
        """Lets leave what is due.  Raises `SoundError` when the device is gone."""
        if self._closed:
            raise SoundError(f"sound device {self.name!r}: is closed")
        if self._fault(now) == "off":
            self.close()
            raise SoundError(f"sound device {self.name!r}: no such device; is it plugged in?")
        self._move(now)

    def _move(self, now: float) -> None:
        if not self._running:
            return
        if self._fault(now) == "stuck":
            # Where it stands; it goes on from there.
            self._begun_s, self._since_begin = now, 0
            return
        queued = len(self._queue) // FRAME_BYTES
        if self._fault(now) == "null":
            self._played += queued
            self._queue.clear()
            self._begun_s, self._since_begin = now, 0
            return
        due = int((now - self._begun_s) * RATE_HZ + _EPSILON_FRAMES) - self._since_begin
        frames = min(due, queued)
        if frames > 0:
            pcm = bytes(self._queue[: frames * FRAME_BYTES])
            del self._queue[: frames * FRAME_BYTES]
            at_s = self._begun_s + self._since_begin / RATE_HZ
            self._since_begin += frames
            self._played += frames
            self._leave(bytes(len(pcm)) if self._fault(at_s) == "muted" else pcm, at_s)
        if due > queued:
            self._running = False
            self.underruns += 1


def condition(fault: str) -> str:
    """What a sound system knows of a device with this fault: that it is muted, and nothing else."""
    return "muted" if fault == "muted" else ""


class SimSoundSystem:
    """Opens simulated devices; everything that leaves one goes to all `listeners`.

    Call `advance` at the end of a run: the last frames leave even if nobody writes any more.  `names` are the devices
    that exist (empty: any).
    """

    def __init__(
        self,
        clock: Clock,
        listeners: tuple[Listener, ...] = (),
        *,
        faults: Faults | None = None,
        names: frozenset[str] = frozenset(),
    ) -> None:
        self.listeners = list(listeners)
        self.opened = 0
        """How often a device was opened."""
        self._clock = clock
        self._faults = faults or Faults()
        self._names = names
        self._sounds: list[SimSound] = []

    def open(self, device: str, buffer_ms: int) -> SimSound:
        """Opens a device.  Raises `SoundError` when it is not there."""
        now = self._clock.now()
        if (self._names and device not in self._names) or device.startswith(APLAY) or self._fault(now) == "off":
            raise SoundError(f"sound device {device!r} cannot be opened: no such device; is it plugged in?")
        sound = SimSound(device, buffer_ms, self._clock, self._leave, self._fault)
        self._sounds = [other for other in self._sounds if not other._closed]
        self._sounds.append(sound)
        self.opened += 1
        return sound

    def condition(self, device: str, now: float) -> str:
        """As the card's mixer tells it."""
        return condition(self._fault(now))

    def advance(self, now: float) -> None:
        """Lets leave what is due, though its writer may be dead."""
        for sound in self._sounds:
            if not sound._closed:
                sound._move(now)

    def _fault(self, now: float) -> str:
        return self._faults.active("voice", now)

    def _leave(self, pcm: bytes, t_s: float) -> None:
        for listener in self.listeners:
            listener.feed(pcm, t_s)
