"""The emergency road to a sound device: a child `aplay`, fed through a small pipe.

Used when no device can be opened, or kept going, in this process.  It is heard some 60 ms later than the direct road
and tells nothing about the device; but a pipe that is not emptied any more, or a child that has ended, says enough.
The child is killed by its process and never waited for.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import subprocess
import termios

from retrowalk.errors import SoundError
from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ

PIPE_BYTES = 4096
"""The smallest pipe there is (one page): 21 ms of sound."""
BUFFER_MS = 40
"""What the child keeps in the device."""
PERIOD_MS = 10

_ended: list[subprocess.Popen[bytes]] = []
"""Children that were killed and have not been seen to be dead."""


class AplaySound:
    """A device played by a child.  Raises `SoundError` when the program is not there.

    The play pointer is what the child has taken less what the device may hold of it, so it never runs ahead.
    """

    output = "aplay"

    def __init__(self, device: str) -> None:
        self.name = device
        self.underruns = 0
        self.beyond_s = BUFFER_MS / 1000.0
        _ended[:] = [child for child in _ended if child.poll() is None]
        command = ["aplay", "-q", "-D", device, "-t", "raw", "-f", "S16_LE", "-c", "2", "-r", str(RATE_HZ)]
        command += [f"--buffer-time={BUFFER_MS * 1000}", f"--period-time={PERIOD_MS * 1000}", "-"]
        try:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                pipesize=PIPE_BYTES,
                start_new_session=True,
            )
        except OSError as error:
            raise SoundError(f"aplay cannot be started ({error}): sudo apt install alsa-utils") from error
        assert self._child.stdin is not None  # it was asked for
        self._pipe = self._child.stdin.fileno()
        os.set_blocking(self._pipe, False)
        self._open = True
        self._written = 0
        self._played = 0

    def keep(self, buffer_ms: int) -> None:
        """The child's buffer stays as it is."""

    def writable(self, now: float) -> int:
        return max(0, PIPE_BYTES - self._in_pipe()) // FRAME_BYTES

    def write(self, pcm: bytes, now: float) -> int:
        self._check()
        try:
            # A write to a pipe that is no longer than its page is taken as a whole or not at all.
            taken = os.write(self._pipe, pcm[:PIPE_BYTES])
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._gone(str(error)) from error
        self._written += taken // FRAME_BYTES
        return taken // FRAME_BYTES

    def played(self, now: float) -> int:
        held = self._in_pipe() // FRAME_BYTES + BUFFER_MS * RATE_HZ // 1000
        self._played = max(self._played, self._written - held)
        return self._played

    def wait(self, timeout_s: float) -> None:
        select.select([], [self._pipe], [], max(0.0, timeout_s))

    def close(self) -> None:
        if self._open:
            self._open = False
            self._child.kill()
            assert self._child.stdin is not None  # it was asked for
            self._child.stdin.close()
            if self._child.poll() is None:
                _ended.append(self._child)

    def _in_pipe(self) -> int:
        self._check()
        held = array.array("i", [0])
        fcntl.ioctl(self._pipe, termios.FIONREAD, held)
        return held[0]

    def _check(self) -> None:
        if not self._open:
            raise SoundError(f"sound device {self.name!r}: its aplay is closed")
        if self._child.poll() is not None:
            raise self._gone(f"it ended with {self._child.returncode}")

    def _gone(self, why: str) -> SoundError:
        return SoundError(f"sound device {self.name!r}: aplay does not play ({why}); `aplay -L` lists the devices")
