"""The plain road to a sound device, for systems without ALSA (macOS): PortAudio, through `sounddevice`.

PortAudio asks for frames from a thread of its own and is given what lies ready here; neither side ever waits for the
other.  Sound is heard one more buffer later than on ALSA's road, and takes some 20 MB more memory, so it is taken only
where there is no libasound.  Tested on Linux over ALSA; on macOS it was not tried.

PortAudio reports neither a muted device nor one that plays to nobody, and no error on one that is frozen: the play
pointer, which stands still when PortAudio asks for nothing any more, is all there is to tell.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from retrowalk.errors import SoundError
from retrowalk.platform import APLAY, Sound
from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ

BLOCK_FRAMES = RATE_HZ // 200
"""Frames that PortAudio asks for at a time: 5 ms."""
LATENCY_S = 0.020
"""What PortAudio is asked to keep in the device, beside what lies ready here.  With 5 ms it was measured to run dry
when the processor is busy."""
ROOM_FRAMES = RATE_HZ // 10
"""So much can lie ready at the most."""
BELIEVED_S = 5.0
"""No device keeps sound for longer, whatever it reports."""
OPEN_LIMIT_S = 0.9
"""A device that cannot be opened within this time hangs."""
CLOSE_LIMIT_S = 0.1

_SILENCE = memoryview(bytes(ROOM_FRAMES * FRAME_BYTES))


def _library() -> Any:
    """PortAudio, with the devices that were there when it was asked for the first time."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        # On Linux, nobody comes here unless ALSA's library is missing.
        raise SoundError(
            f"neither ALSA nor PortAudio can be loaded ({error}): sudo apt install alsa-utils (Linux), "
            "pip install sounddevice (elsewhere)"
        ) from error
    return sounddevice


class PortAudioSystem:
    """Opens sound devices by (a part of) their names: `python -m sounddevice` lists them; `default` is the system's."""

    def __init__(self) -> None:
        self._opened: list[PortAudioSound] = []
        self._opening: threading.Thread | None = None

    def open(self, device: str, buffer_ms: int) -> Sound:
        """Opens a device for 48 kHz stereo.  Raises `SoundError` with PortAudio's reason and what to do."""
        if device.startswith(APLAY):
            raise SoundError(f"sound device {device!r}: there is no aplay without ALSA")
        if self._opening is not None and self._opening.is_alive():
            raise SoundError(f"sound device {device!r}: another one still hangs while it is being opened")
        portaudio = _library()
        self._opened = [sound for sound in self._opened if not sound.released]
        outcome: list[PortAudioSound | SoundError] = []
        given_up = threading.Event()

        def work() -> None:
            try:
                if not self._opened:
                    # Its list of devices is as old as itself, and beginning anew closes every stream.
                    portaudio._terminate()
                    portaudio._initialize()
                outcome.append(PortAudioSound(portaudio, device, buffer_ms))
            except SoundError as error:
                outcome.append(error)
            except portaudio.PortAudioError as error:
                outcome.append(SoundError(f"PortAudio cannot begin: {error}"))
            if given_up.is_set() and isinstance(outcome[0], PortAudioSound):
                outcome[0].close()

        self._opening = threading.Thread(target=work, name="sound opening", daemon=True)
        self._opening.start()
        self._opening.join(OPEN_LIMIT_S)
        if not outcome:
            given_up.set()
            raise SoundError(f"sound device {device!r}: hangs while it is being opened")
        sound = outcome[0]
        if isinstance(sound, SoundError):
            raise sound
        self._opened.append(sound)
        return sound

    def condition(self, device: str, now: float) -> str:
        """Always empty: PortAudio knows nothing of it."""
        return ""


def _names(portaudio: Any) -> str:
    names = [each["name"] for each in portaudio.query_devices() if each["max_output_channels"] >= 2]
    return ", ".join(map(repr, names)) or "none"


class PortAudioSound:
    """An open device.  Raises `SoundError` if it cannot be opened."""

    output = "portaudio"

    def __init__(self, portaudio: Any, device: str, buffer_ms: int) -> None:
        self.name = device
        self.underruns = 0
        self.beyond_s = LATENCY_S
        self.buffer_frames = 0
        """Frames kept ready for PortAudio."""
        self.released = False
        """Whether PortAudio has let go of it."""
        self._ring = memoryview(bytearray(ROOM_FRAMES * FRAME_BYTES))
        # One thread writes and counts up `_written`, the other reads and counts up `_taken`: no lock is needed.
        self._written = 0
        self._taken = 0
        self._dry = False
        self._heard: tuple[int, float] = (0, 0.0)
        """So many frames had been taken before the last ones, which are heard from that time (monotonic) on."""
        self._played = 0
        self._room = threading.Event()
        self._closing = False
        self.keep(buffer_ms)
        stream = None
        try:
            stream = portaudio.RawOutputStream(
                samplerate=RATE_HZ,
                channels=2,
                dtype="int16",
                device=None if device == "default" else device,
                blocksize=BLOCK_FRAMES,
                latency=LATENCY_S,
                callback=self._give,
            )
            stream.start()
            self._stream = stream
        except (portaudio.PortAudioError, ValueError) as error:
            if stream is not None:
                stream.close(ignore_errors=True)
            raise SoundError(
                f"sound device {device!r} cannot be opened: {error}; there are {_names(portaudio)}, "
                "voice.device names the one to use"
            ) from error

    def keep(self, buffer_ms: int) -> None:
        self.buffer_frames = min(ROOM_FRAMES, max(buffer_ms * RATE_HZ // 1000, 2 * BLOCK_FRAMES))

    def writable(self, now: float) -> int:
        self._check()
        return max(0, self.buffer_frames - (self._written - self._taken))

    def write(self, pcm: bytes, now: float) -> int:
        self._check()
        frames = min(len(pcm) // FRAME_BYTES, self.buffer_frames - (self._written - self._taken))
        if frames <= 0:
            return 0
        at = self._written % ROOM_FRAMES
        first = min(frames, ROOM_FRAMES - at)
        self._ring[at * FRAME_BYTES : (at + first) * FRAME_BYTES] = pcm[: first * FRAME_BYTES]
        self._ring[: (frames - first) * FRAME_BYTES] = pcm[first * FRAME_BYTES : frames * FRAME_BYTES]
        self._written += frames
        return frames

    def played(self, now: float) -> int:
        self._check()
        taken, heard_s = self._heard
        heard = taken + int((time.monotonic() - heard_s) * RATE_HZ)
        # PortAudio cannot be asked for a pointer; it runs on between two of its questions, and no further.
        self._played = max(self._played, min(heard, self._taken))
        return self._played

    def wait(self, timeout_s: float) -> None:
        self._room.clear()
        if self._written - self._taken >= self.buffer_frames:
            self._room.wait(max(0.0, timeout_s))

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True

        def work() -> None:
            self._stream.abort(ignore_errors=True)
            self._stream.close(ignore_errors=True)
            self.released = True

        # A device that does not answer may keep PortAudio waiting; the next device must not.
        thread = threading.Thread(target=work, name="sound closing", daemon=True)
        thread.start()
        thread.join(CLOSE_LIMIT_S)

    def _check(self) -> None:
        if self._closing:
            raise SoundError(f"sound device {self.name!r}: is closed")
        if not self._stream.active:
            raise SoundError(
                f"sound device {self.name!r}: PortAudio has given it up; is it plugged in? "
                "`python -m sounddevice` lists the devices that are there"
            )

    def _give(self, out: Any, frames: int, times: Any, status: Any) -> None:
        """What PortAudio calls, in its own thread, when it wants frames."""
        taken = self._taken
        there = min(frames, self._written - taken)
        at = taken % ROOM_FRAMES
        first = min(there, ROOM_FRAMES - at)
        out[: first * FRAME_BYTES] = self._ring[at * FRAME_BYTES : (at + first) * FRAME_BYTES]
        out[first * FRAME_BYTES : there * FRAME_BYTES] = self._ring[: (there - first) * FRAME_BYTES]
        out[there * FRAME_BYTES :] = _SILENCE[: (frames - there) * FRAME_BYTES]
        # Its clock may be the one that shows the date, and jump; how far ahead of it the frames are is still true.
        ahead_s = times.outputBufferDacTime - times.currentTime
        if 0.0 < ahead_s < BELIEVED_S:
            self.beyond_s = ahead_s
        self._heard = taken, time.monotonic() + self.beyond_s
        self._taken = taken + there
        dry = bool(status.output_underflow) or (there < frames and self._written > 0)
        if dry and not self._dry:
            self.underruns += 1
        self._dry = dry
        self._room.set()
