"""The real sound: straight to libasound through ctypes, with a short buffer and calls that never wait.

Measured against six other ways to play sound on Linux: same onset as the best of them (23 ms with a 20 ms buffer),
a fifth of their memory, and it says when the device is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import select
from functools import cache
from typing import Any

from retrowalk.errors import SoundError
from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ

# From alsa/pcm.h; part of its binary interface.
_PLAYBACK = 0
_NONBLOCK = 1
_RW_INTERLEAVED = 3
_S16_LE = 2
_CHANNELS = 2

_DRY = (-errno.EPIPE, -errno.ESTRPIPE)
"""The device ran out of frames, or was suspended: prepare it again and go on."""

_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)


class _PollDescriptor(ctypes.Structure):
    """`struct pollfd`."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


_kept: list[Any] = []
"""Callbacks libasound holds: ctypes frees them when nobody else does."""


@cache
def _library() -> Any:
    try:
        alsa = ctypes.CDLL("libasound.so.2")
    except OSError as error:
        raise SoundError(f"libasound.so.2 cannot be loaded ({error}): sudo apt install alsa-utils") from error
    alsa.snd_strerror.restype = ctypes.c_char_p
    for name in ("snd_pcm_avail", "snd_pcm_writei"):
        getattr(alsa, name).restype = ctypes.c_long
    alsa.snd_pcm_avail.argtypes = [ctypes.c_void_p]
    alsa.snd_pcm_delay.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_long)]
    alsa.snd_pcm_writei.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_ulong]
    for name in ("prepare", "drop", "close"):
        getattr(alsa, f"snd_pcm_{name}").argtypes = [ctypes.c_void_p]
    alsa.snd_pcm_poll_descriptors_count.argtypes = [ctypes.c_void_p]
    alsa.snd_pcm_poll_descriptors.argtypes = [ctypes.c_void_p, ctypes.POINTER(_PollDescriptor), ctypes.c_uint]
    # libasound would write every failed try to stderr; the error that matters is raised.
    with contextlib.suppress(MemoryError):  # a sandbox may forbid callbacks; then there is chatter, and still sound
        _kept.append(_HANDLER(lambda _file, _line, _function, _error, _format: None))
        alsa.snd_lib_error_set_handler(_kept[-1])
    return alsa


def _text(error: int) -> str:
    message: bytes = _library().snd_strerror(error)
    return message.decode(errors="replace")


class AlsaSystem:
    """Opens ALSA devices: `default`, or by card name (`plughw:CARD=Device`); `aplay -L` lists them."""

    def open(self, device: str, buffer_ms: int) -> AlsaSound:
        """Opens a device for 48 kHz stereo.  Raises `SoundError` with ALSA's reason and what to do."""
        alsa = _library()
        handle = ctypes.c_void_p()
        error = alsa.snd_pcm_open(ctypes.byref(handle), device.encode(), _PLAYBACK, _NONBLOCK)
        if error < 0:
            raise SoundError(
                f"sound device {device!r} cannot be opened: {_text(error)}; "
                "`aplay -L` lists the devices, voice.device names the one to use"
            )
        try:
            buffer_frames = _configure(alsa, handle, device, buffer_ms)
        except SoundError:
            alsa.snd_pcm_close(handle)
            raise
        return AlsaSound(alsa, handle, device, buffer_frames)


def _configure(alsa: Any, handle: ctypes.c_void_p, device: str, buffer_ms: int) -> int:
    """Sets format, buffer and thresholds; returns how many frames are to be kept in the device."""

    def check(error: int, what: str) -> None:
        if error < 0:
            raise SoundError(
                f"sound device {device!r} does not take {what}: {_text(error)}; "
                f"try 'plug:{device}', or another device that `aplay -L` lists, as voice.device"
            )

    wanted = ctypes.c_ulong(buffer_ms * RATE_HZ // 1000)
    period = ctypes.c_ulong(wanted.value // 4)
    with _allocated(alsa, "hw") as hardware:
        check(alsa.snd_pcm_hw_params_any(handle, hardware), "any configuration")
        check(alsa.snd_pcm_hw_params_set_access(handle, hardware, _RW_INTERLEAVED), "interleaved frames")
        check(alsa.snd_pcm_hw_params_set_format(handle, hardware, _S16_LE), "16-bit samples")
        check(alsa.snd_pcm_hw_params_set_channels(handle, hardware, _CHANNELS), "two channels")
        check(alsa.snd_pcm_hw_params_set_rate(handle, hardware, RATE_HZ, 0), "48 kHz")
        size = ctypes.c_ulong(wanted.value)
        check(alsa.snd_pcm_hw_params_set_buffer_size_near(handle, hardware, ctypes.byref(size)), f"{buffer_ms} ms")
        none = ctypes.c_void_p()
        check(
            alsa.snd_pcm_hw_params_set_period_size_near(handle, hardware, ctypes.byref(period), none), "a short period"
        )
        check(alsa.snd_pcm_hw_params(handle, hardware), "these parameters together")
        alsa.snd_pcm_hw_params_get_buffer_size(hardware, ctypes.byref(size))
        alsa.snd_pcm_hw_params_get_period_size(hardware, ctypes.byref(period), none)
    with _allocated(alsa, "sw") as software:
        check(alsa.snd_pcm_sw_params_current(handle, software), "its own thresholds")
        check(alsa.snd_pcm_sw_params_set_start_threshold(handle, software, ctypes.c_ulong(1)), "an early start")
        check(alsa.snd_pcm_sw_params_set_avail_min(handle, software, period), "early wake-ups")
        check(alsa.snd_pcm_sw_params(handle, software), "these thresholds")
    # Some devices insist on a longer buffer.  It need not be filled: what is queued is heard before a warning is.
    # Two periods must lie in it, or it runs dry between two steps of its pointer.
    return min(size.value, max(wanted.value, 2 * period.value))


@contextlib.contextmanager
def _allocated(alsa: Any, kind: str) -> Any:
    block = ctypes.c_void_p()
    if getattr(alsa, f"snd_pcm_{kind}_params_malloc")(ctypes.byref(block)) < 0:
        raise SoundError("libasound has no memory left")
    try:
        yield block
    finally:
        getattr(alsa, f"snd_pcm_{kind}_params_free")(block)


class AlsaSound:
    """An open device.  After it has run dry it is started again by itself, and `underruns` counts it."""

    def __init__(self, alsa: Any, handle: ctypes.c_void_p, device: str, buffer_frames: int) -> None:
        self.name = device
        self.underruns = 0
        self.buffer_frames = buffer_frames
        """Frames kept in the device."""
        self._alsa = alsa
        self._handle: ctypes.c_void_p | None = handle
        self._delay = ctypes.c_long()
        self._poll: select.poll | None = None
        self._written = 0
        self._played = 0

    def writable(self, now: float) -> int:
        available: int = self._alsa.snd_pcm_avail(self._open_handle())
        if available in _DRY:
            self._restart(available)
            available = self._alsa.snd_pcm_avail(self._open_handle())
        if available == -errno.EAGAIN:
            return 0
        if available < 0:
            raise self._gone(available)
        return max(0, min(available, self.buffer_frames - self._queued()))

    def write(self, pcm: bytes, now: float) -> int:
        frames = len(pcm) // FRAME_BYTES
        taken: int = self._alsa.snd_pcm_writei(self._open_handle(), pcm, frames)
        if taken in _DRY:
            self._restart(taken)
            taken = self._alsa.snd_pcm_writei(self._open_handle(), pcm, frames)
        if taken == -errno.EAGAIN:
            return 0
        if taken < 0:
            raise self._gone(taken)
        self._written += taken
        return taken

    def played(self, now: float) -> int:
        # Never backward: some drivers correct their pointer by a few frames.
        self._played = max(self._played, self._written - self._queued())
        return self._played

    def wait(self, timeout_s: float) -> None:
        # Not snd_pcm_wait: when a plug-in's descriptor wakes it without room for frames, it begins its time anew, and
        # on a frozen card that is for ever.
        self._descriptors().poll(max(0.0, timeout_s * 1000.0))

    def close(self) -> None:
        self._poll = None
        if self._handle is not None:
            self._alsa.snd_pcm_drop(self._handle)  # else close waits until all has been played
            self._alsa.snd_pcm_close(self._handle)
            self._handle = None

    def _descriptors(self) -> select.poll:
        if self._poll is None:
            count = max(0, self._alsa.snd_pcm_poll_descriptors_count(self._open_handle()))
            descriptors = (_PollDescriptor * count)()
            self._alsa.snd_pcm_poll_descriptors(self._open_handle(), descriptors, count)
            self._poll = select.poll()
            for descriptor in descriptors:
                self._poll.register(descriptor.fd, descriptor.events & 0xFFFF)
        return self._poll

    def _queued(self) -> int:
        """Frames in the device that have not been played."""
        if self._written == 0:
            return 0
        error: int = self._alsa.snd_pcm_delay(self._open_handle(), ctypes.byref(self._delay))
        if error in _DRY:
            return 0
        if error < 0:
            raise self._gone(error)
        return max(0, self._delay.value)

    def _restart(self, reason: int) -> None:
        self.underruns += 1
        error: int = self._alsa.snd_pcm_prepare(self._open_handle())
        if error < 0:
            raise self._gone(error)

    def _open_handle(self) -> ctypes.c_void_p:
        if self._handle is None:
            raise SoundError(f"sound device {self.name!r}: is closed")
        return self._handle

    def _gone(self, error: int) -> SoundError:
        return SoundError(
            f"sound device {self.name!r}: {_text(error)}; is it plugged in? `aplay -L` lists the devices that are there"
        )
