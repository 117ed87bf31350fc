"""The real microphone: libasound's capture through ctypes.

Opening a device may take a while (a USB card wakes up, a server is asked), and the voice has a loudspeaker to feed
every 10 ms: so a thread of its own opens it, and `read` fetches what has come without ever waiting.
"""

from __future__ import annotations

import ctypes
import errno
import threading
from collections import deque
from typing import Any

from retrowalk.errors import SoundError
from retrowalk.voice.alsa import _library, _text

_CAPTURE = 1
_NONBLOCK = 1
_RW_INTERLEAVED = 3
_S16_LE = 2

RATES_HZ = (16_000, 8_000, 48_000, 32_000)
"""Tried in this order without conversion: fewer samples are less work.  Then 48 kHz with it, as USB cards of
44.1 kHz need."""
BUFFER_US = 500_000
"""What the device keeps for a reader who is late."""
PERIOD_US = 10_000
READ_FRAMES = 4_800
READS = 8
"""At one go, so that a reader who was late for long does not stay."""


class AlsaMicrophones:
    """Opens ALSA's capture devices: `default`, or by card name (`plughw:CARD=Device`); `arecord -L` lists them."""

    def open(self, device: str) -> AlsaMicrophone:
        return AlsaMicrophone(device)


class AlsaMicrophone:
    """A microphone that is open, or being opened in a thread of its own."""

    def __init__(self, device: str) -> None:
        self.name = device
        self.rate_hz = 0
        self.lost = 0
        self._alsa: Any = None
        self._handle: ctypes.c_void_p | None = None
        self._buffer = ctypes.create_string_buffer(READ_FRAMES * 2)
        self._closed = False
        self._lock = threading.Lock()
        self._opened: deque[tuple[Any, ctypes.c_void_p, int] | SoundError] = deque(maxlen=1)
        threading.Thread(target=self._open, name="microphone", daemon=True).start()

    def read(self, now: float) -> bytes:
        if self._handle is None:
            if self._closed or not self._opened:
                return b""
            outcome = self._opened[0]
            if isinstance(outcome, SoundError):
                raise outcome
            self._alsa, self._handle, self.rate_hz = outcome
            self._check(self._alsa.snd_pcm_start(self._handle))
        pieces: list[bytes] = []
        for _ in range(READS):
            taken: int = self._alsa.snd_pcm_readi(self._handle, self._buffer, READ_FRAMES)
            if taken == -errno.EAGAIN or taken == 0:
                break
            if taken in (-errno.EPIPE, -errno.ESTRPIPE):
                self.lost += 1
                pieces.clear()  # what follows does not join on
                self._check(self._alsa.snd_pcm_prepare(self._handle))
                self._check(self._alsa.snd_pcm_start(self._handle))
                break
            self._check(taken)
            pieces.append(self._buffer.raw[: taken * 2])
            if taken < READ_FRAMES:
                break
        return b"".join(pieces)

    def close(self) -> None:
        # A device that is still being opened is closed by its thread: nobody waits for that.
        with self._lock:
            self._closed = True
            outcome = self._opened[0] if self._opened else None
        if isinstance(outcome, tuple):
            outcome[0].snd_pcm_drop(outcome[1])
            outcome[0].snd_pcm_close(outcome[1])
        self._opened.clear()
        self._handle = None

    def _open(self) -> None:
        outcome: tuple[Any, ctypes.c_void_p, int] | SoundError
        try:
            outcome = _open(self.name)
        except SoundError as error:
            outcome = error
        with self._lock:
            if not self._closed:
                self._opened.append(outcome)
                return
        if isinstance(outcome, tuple):
            outcome[0].snd_pcm_close(outcome[1])

    def _check(self, error: int) -> None:
        if error < 0:
            raise SoundError(f"microphone {self.name!r}: {_text(error)}; is it plugged in? `arecord -L` lists them")


def _open(device: str) -> tuple[Any, ctypes.c_void_p, int]:
    """Opens and configures; returns libasound, the handle and the rate.  Raises `SoundError`."""
    alsa = _library()
    alsa.snd_pcm_readi.restype = ctypes.c_long
    alsa.snd_pcm_readi.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong]
    alsa.snd_pcm_start.argtypes = [ctypes.c_void_p]
    handle = ctypes.c_void_p()
    error = alsa.snd_pcm_open(ctypes.byref(handle), device.encode(), _CAPTURE, _NONBLOCK)
    if error < 0:
        raise SoundError(
            f"microphone {device!r} cannot be opened: {_text(error)}; "
            "`arecord -L` lists them, voice.microphone names the one to use"
        )
    for rate_hz, convert in (*((rate_hz, 0) for rate_hz in RATES_HZ), (48_000, 1)):
        error = _configure(alsa, handle, rate_hz, convert)
        if error >= 0:
            return alsa, handle, rate_hz
    alsa.snd_pcm_close(handle)
    raise SoundError(
        f"microphone {device!r} does not give 16-bit sound of one channel: {_text(error)}; try 'plug:{device}'"
    )


def _configure(alsa: Any, handle: ctypes.c_void_p, rate_hz: int, convert: int) -> int:
    """Sets rate and format; a negative number is ALSA's error."""
    hardware = ctypes.c_void_p()
    near = ctypes.c_uint
    if alsa.snd_pcm_hw_params_malloc(ctypes.byref(hardware)) < 0:
        return -errno.ENOMEM
    try:
        direction = ctypes.c_int(0)
        for error in (
            alsa.snd_pcm_hw_params_any(handle, hardware),
            alsa.snd_pcm_hw_params_set_rate_resample(handle, hardware, convert),
            alsa.snd_pcm_hw_params_set_access(handle, hardware, _RW_INTERLEAVED),
            alsa.snd_pcm_hw_params_set_format(handle, hardware, _S16_LE),
            alsa.snd_pcm_hw_params_set_channels(handle, hardware, 1),
            alsa.snd_pcm_hw_params_set_rate(handle, hardware, rate_hz, 0),
            alsa.snd_pcm_hw_params_set_period_time_near(
                handle, hardware, ctypes.byref(near(PERIOD_US)), ctypes.byref(direction)
            ),
            alsa.snd_pcm_hw_params_set_buffer_time_near(
                handle, hardware, ctypes.byref(near(BUFFER_US)), ctypes.byref(direction)
            ),
            alsa.snd_pcm_hw_params(handle, hardware),
        ):
            if error < 0:
                return int(error)
    finally:
        alsa.snd_pcm_hw_params_free(hardware)
    return 0
