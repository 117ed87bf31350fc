"""What a play pointer cannot tell: whether a card is muted, and whether a sound server plays to anybody.

`MixerWatch` looks at the card's own mixer through libasound; `ServerWatch` asks a sound server through `pactl`
(PulseAudio's, which PipeWire answers, too) in a child process.  Neither ever waits, and the want of either costs
nothing: a card without a mixer is not muted, and a server that cannot be asked is believed.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import re
import select
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import Any

AGAIN_S = 5.0
"""What could not be asked is tried again after this, and after twice as long each time, up to `AGAIN_MAX_S`."""
AGAIN_MAX_S = 60.0

SILENT_BELOW_CB = -4800
"""An element that stands 48 dB (in hundredths) below its loudest cannot be heard outdoors."""

_SERIES = ("master", "pcm", "digital", "playback")
"""Elements that everything goes through: one of them silent is enough."""
_INPUTS = ("mic", "capture", "line in", "aux", "cd", "beep", "sidetone", "loopback", "input", "iec958")
"""Elements that are no way out for what is played, whatever volume they have."""


# --------------------------------------------------------------------------------------------------- the mixer


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a card's mixer: `silent` when its switch is off or its volume at the floor, on every channel."""

    name: str
    silent: bool


def muted(elements: list[Element]) -> bool:
    """Whether nothing can come out: an element that all sound goes through is silent, or every other way out is."""
    series, outputs = [], []
    for element in elements:
        name = element.name.lower()
        if name in _SERIES:
            series.append(element)
        elif not any(word in name for word in _INPUTS):
            outputs.append(element)
    return any(element.silent for element in series) or (bool(outputs) and all(out.silent for out in outputs))


class MixerWatch:
    """Follows the mixer `name` (`hw:0`) by its descriptors: as long as nothing changes, a look costs one system call.

    It is opened in a thread, because a mixer on USB may take some ms to read.
    """

    def __init__(self, alsa: Any, name: str) -> None:
        self._alsa = _typed(alsa)
        self._name = name
        self._muted = False
        self._mixer: ctypes.c_void_p | None = None
        self._poll: select.poll | None = None
        self._opening: threading.Thread | None = None
        self._again_s = -math.inf
        self._every_s = AGAIN_S

    def condition(self, now: float) -> str:
        """`muted` or empty."""
        if self._opening is not None:
            if self._opening.is_alive():
                return ""
            self._opening = None
            self._every_s = AGAIN_S if self._mixer is not None else min(2.0 * self._every_s, AGAIN_MAX_S)
        if self._mixer is None:
            if now >= self._again_s:
                self._again_s = now + self._every_s
                self._opening = threading.Thread(target=self._open, name="mixer opening", daemon=True)
                self._opening.start()
            return ""
        if self._poll is None or self._poll.poll(0):
            if self._alsa.snd_mixer_handle_events(self._mixer) < 0:
                self.close()  # the card is gone; the sound says so itself
                return ""
            self._muted = muted(self._elements(self._mixer))
        return "muted" if self._muted else ""

    def close(self) -> None:
        """Lets go of the mixer."""
        if self._mixer is not None:
            self._alsa.snd_mixer_close(self._mixer)
        self._mixer = self._poll = None
        self._muted = False

    def _open(self) -> None:
        alsa, mixer = self._alsa, ctypes.c_void_p()
        if alsa.snd_mixer_open(ctypes.byref(mixer), 0) < 0:
            return
        if (
            alsa.snd_mixer_attach(mixer, self._name.encode()) < 0
            or alsa.snd_mixer_selem_register(mixer, None, None) < 0
            or alsa.snd_mixer_load(mixer) < 0
        ):
            alsa.snd_mixer_close(mixer)
            return
        count = max(0, alsa.snd_mixer_poll_descriptors_count(mixer))
        descriptors = (_PollDescriptor * count)()
        alsa.snd_mixer_poll_descriptors(mixer, descriptors, count)
        watched = select.poll()
        for descriptor in descriptors:
            watched.register(descriptor.fd, descriptor.events & 0xFFFF)
        self._muted = muted(self._elements(mixer))
        self._poll = watched if count else None
        self._mixer = mixer

    def _elements(self, mixer: ctypes.c_void_p) -> list[Element]:
        alsa, found = self._alsa, []
        element = alsa.snd_mixer_first_elem(mixer)
        while element:
            if alsa.snd_mixer_selem_is_active(element):
                silent = self._silent(element)
                if silent is not None:
                    found.append(Element(alsa.snd_mixer_selem_get_name(element).decode(errors="replace"), silent))
            element = alsa.snd_mixer_elem_next(element)
        return found

    def _silent(self, element: int) -> bool | None:
        """Whether every channel is; None: it has neither volume nor switch for what is played."""
        alsa = self._alsa
        switched = alsa.snd_mixer_selem_has_playback_switch(element)
        volumes = alsa.snd_mixer_selem_has_playback_volume(element)
        if not switched and not volumes:
            return None
        low, high = ctypes.c_long(), ctypes.c_long()
        decibels = volumes and alsa.snd_mixer_selem_get_playback_dB_range(element, _ref(low), _ref(high)) == 0
        if volumes and not decibels:
            alsa.snd_mixer_selem_get_playback_volume_range(element, _ref(low), _ref(high))
        value, on = ctypes.c_long(), ctypes.c_int(1)
        for channel in (0, 1):
            if not alsa.snd_mixer_selem_has_playback_channel(element, channel):
                continue
            on.value = 1
            if switched:
                alsa.snd_mixer_selem_get_playback_switch(element, channel, _ref(on))
            floor = False
            if decibels and alsa.snd_mixer_selem_get_playback_dB(element, channel, _ref(value)) == 0:
                floor = value.value < high.value + SILENT_BELOW_CB
            elif volumes and not decibels and high.value > low.value:
                alsa.snd_mixer_selem_get_playback_volume(element, channel, _ref(value))
                floor = value.value <= low.value
            if on.value and not floor:
                return False
        return True


class _PollDescriptor(ctypes.Structure):
    """`struct pollfd`."""

    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


_ref = ctypes.byref


def _typed(alsa: Any) -> Any:
    for name in ("first_elem", "elem_next"):
        getattr(alsa, f"snd_mixer_{name}").argtypes = [ctypes.c_void_p]
        getattr(alsa, f"snd_mixer_{name}").restype = ctypes.c_void_p
    one = ("is_active", "get_name", "has_playback_switch", "has_playback_volume")
    for name in one:
        getattr(alsa, f"snd_mixer_selem_{name}").argtypes = [ctypes.c_void_p]
    alsa.snd_mixer_selem_get_name.restype = ctypes.c_char_p
    for name in ("dB_range", "volume_range"):
        getattr(alsa, f"snd_mixer_selem_get_playback_{name}").argtypes = [ctypes.c_void_p] * 3
    for name in ("dB", "volume", "switch"):
        getattr(alsa, f"snd_mixer_selem_get_playback_{name}").argtypes = [
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_void_p,
        ]
    alsa.snd_mixer_selem_has_playback_channel.argtypes = [ctypes.c_void_p, ctypes.c_int]
    alsa.snd_mixer_attach.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    alsa.snd_mixer_selem_register.argtypes = [ctypes.c_void_p] * 3
    for name in ("load", "close", "handle_events", "poll_descriptors_count"):
        getattr(alsa, f"snd_mixer_{name}").argtypes = [ctypes.c_void_p]
    alsa.snd_mixer_poll_descriptors.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint]
    return alsa


# --------------------------------------------------------------------------------------------------- the server

_ASK = """
exec 3<&0
( cat <&3 >/dev/null; kill -9 0 ) &
{ pactl subscribe & echo "Event 'begin' on server"; sleep 1; echo "Event 'begin' on server"; wait; } |
while read -r line; do
  case $line in
    *" on sink"*|*" on server"*) pactl list sinks; pactl list sink-inputs; echo '== end ==' ;;
  esac
done
kill -9 0
"""
"""Lists sinks and streams at the start and after every change of one.  Its standard input is the life of whoever
started it, and the server's life is that of `pactl subscribe`: once either ends, so does everything here (it is a
session of its own).  Whoever reads sees the end, and asks the next server."""

_END = "== end =="
_NOWHERE = re.compile(r"auto_null|dummy output", re.IGNORECASE)
_VOLUME = re.compile(r"(\d+)%")
LISTED_MAX = 256 * 1024


@dataclass(frozen=True, slots=True)
class Sink:
    """Where a stream of this process plays."""

    name: str
    """Its name in the server; empty when the server does not tell."""
    nowhere: bool
    """It is the server's stand-in for no device at all."""
    muted: bool
    """It, or the stream itself, is muted or at volume 0."""


def parse(text: str, pids: frozenset[str]) -> Sink | None:
    """Where one of these processes plays, from `pactl list sinks` and `list sink-inputs`; None: nowhere."""
    sinks: dict[str, Sink] = {}
    for kind, number, block in _blocks(text):
        if kind == "Sink":
            name = _field(block, "Name")
            nowhere = bool(_NOWHERE.search(name) or _NOWHERE.search(_field(block, "Description")))
            sinks[number] = Sink(name, nowhere, _mute(block))
    for kind, _, block in _blocks(text):
        if kind == "Sink Input" and _property(block, "application.process.id") in pids:
            sink = sinks.get(_field(block, "Sink"))
            if sink is not None:
                return Sink(sink.name, sink.nowhere, sink.muted or _mute(block))
    return None


def _blocks(text: str) -> list[tuple[str, str, str]]:
    parts = re.split(r"^(Sink|Sink Input) #(\d+)$", text, flags=re.MULTILINE)
    return [(parts[i], parts[i + 1], parts[i + 2]) for i in range(1, len(parts) - 2, 3)]


def _field(block: str, name: str) -> str:
    found = re.search(rf"^\t{name}: (.*)$", block, flags=re.MULTILINE)
    return found[1].strip() if found else ""


def _property(block: str, name: str) -> str:
    found = re.search(rf'^\t\t{re.escape(name)} = "(.*)"$', block, flags=re.MULTILINE)
    return found[1] if found else ""


def _mute(block: str) -> bool:
    volumes = [int(percent) for percent in _VOLUME.findall(_field(block, "Volume"))]
    return _field(block, "Mute") == "yes" or (bool(volumes) and max(volumes) == 0)


class ServerWatch:
    """Follows where a sound server plays this process's stream.

    A sink other than the first one a device was seen to play on is nowhere, too: whoever wears that one hears nothing.
    """

    def __init__(self, *, pid: int | None = None) -> None:
        self._pids = frozenset({str(os.getpid() if pid is None else pid)})
        self._child: subprocess.Popen[bytes] | None = None
        self._text = ""
        self._sink: Sink | None = None
        self._meant: dict[str, str] = {}
        self._again_s = -math.inf
        self._every_s = AGAIN_S

    def forget(self, device: str) -> None:
        """The device was opened anew: what was seen of its stream before tells nothing."""
        self._sink = None

    def condition(self, device: str, now: float) -> str:
        """`null_sink`, `muted` or empty."""
        self._read(now)
        sink = self._sink
        if sink is None:
            return ""
        if sink.nowhere:
            return "null_sink"
        if sink.name != self._meant.setdefault(device, sink.name):
            return "null_sink"
        return "muted" if sink.muted else ""

    def close(self) -> None:
        """Ends the child."""
        child, self._child = self._child, None
        if child is None:
            return
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        child.poll()

    def _read(self, now: float) -> None:
        if self._child is None:
            if now >= self._again_s:
                self._again_s = now + self._every_s
                self._every_s = min(2.0 * self._every_s, AGAIN_MAX_S)
                self._begin()
            return
        assert self._child.stdout is not None  # it was asked for
        try:
            data = os.read(self._child.stdout.fileno(), LISTED_MAX)
        except BlockingIOError:
            return
        if not data:
            self.close()
            self._text, self._sink = "", None
            return
        self._text += data.decode(errors="replace")
        *whole, self._text = self._text.split(_END)
        self._text = self._text[-LISTED_MAX:]
        if whole:
            self._every_s = AGAIN_S
            found = parse(whole[-1], self._pids)
            if found is not None or "Sink #" in whole[-1]:
                self._sink = found

    def _begin(self) -> None:
        try:
            self._child = subprocess.Popen(
                ["/bin/sh", "-c", _ASK],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,
                bufsize=0,
            )
        except OSError:
            return
        assert self._child.stdout is not None  # it was asked for
        os.set_blocking(self._child.stdout.fileno(), False)
