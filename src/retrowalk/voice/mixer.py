"""The mixer: requests and a number of frames in, sound and progress out.

Pure: no clock, device or file.  One message sounds at a time: an earcon, a short gap, the words.  A higher rank cuts
a lower one in the very next `render`, under a fade of 4 ms; what was cut is not resumed, because by then it may no
longer be true.  An equal rank never cuts: it waits, and replaces what waited at its rank.  Nothing begins after its
deadline.

Sound is 48 kHz, signed 16 bit, little-endian: one channel in the clips, two channels in what is rendered, equal unless
a request is panned.  Clips are at their final level, so that playing is copying: this runs a hundred times a second
beside a voice that must not stutter.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from retrowalk.core.events import Speak
from retrowalk.core.samples import VoicePhase
from retrowalk.voice.packing import Packed

RATE_HZ = 48_000
FRAME_BYTES = 4
"""One frame of what is rendered: two channels of two bytes."""
SAMPLE_BYTES = 2

FADE_FRAMES = RATE_HZ * 4 // 1000
"""What is cut fades over 4 ms: a hard edge would click louder than the earcon that follows."""
GAP_FRAMES = RATE_HZ * 25 // 1000
"""Silence between an earcon and its words.  The word "Stop" begins 215 ms after its first pulse."""
REST_FRAMES = RATE_HZ * 120 // 1000
"""Silence after words, so that two messages are not heard as one.  Only a higher rank breaks it."""
SUSTAINED = frozenset({"touching"})
"""Tones without words that go on: asked for again before they end, they sound on without a seam.  They hold one level
between a ramp of `FADE_FRAMES` at either end, and what lies between is a whole number of periods."""
WAITING_MAX = 16
"""Ranks that may wait at once; the table of alerts has fewer."""

FAR_MIN = 0.35
"""Level of the far ear at the least, 9 dB below the middle's: far enough to tell a side, and near enough that who is
deaf on the other ear is still warned."""
URGENT_RANK = 80
"""From here on messages belong to a fall or a call for help: whoever lies there hears them as loud as a warning."""
UNITY = 1 << 15
"""Gains are whole numbers over this: multiplying and shifting is cheap where there is no NumPy."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Words and their sound (one channel), as it is or packed."""

    words: str
    sound: bytes | Packed

    @property
    def pcm(self) -> bytes:
        """The whole sound as it is played: 48 kHz, one channel, signed 16 bit."""
        return bytes(self.sound[:])


@dataclass(frozen=True, slots=True)
class Progress:
    """What became of request `alert`, and the frame of the rendered block at which it did.

    STARTED: its first frame that is not zero.  Then one of FINISHED (the frame after its last), CUT (the frame at
    which its fade begins; also when it was hushed), UNKNOWN_PHRASE (its earcon, if any, has ended; there were no
    words).  EXPIRED: it never began, because its deadline passed, a newer request of its rank took its place, or it
    was hushed while it waited.
    """

    alert: int
    phase: VoicePhase
    frame: int
    words: str = ""


def pan_gains(pan: float, headroom: float = 1.0, loudness: float = 1.0) -> tuple[int, int] | None:
    """Gains of the left and of the right channel (over `UNITY`) for a `pan` of -1 (left) to 1; None: both as they are.

    Both together are as loud as in the middle, times `loudness`, as far as each ear's `headroom` goes.
    """
    if not pan:
        both = round(min(loudness, headroom) * UNITY)
        return None if both == UNITY else (both, both)
    turn = math.pi / 4.0 * (1.0 - min(1.0, abs(pan)))
    near = round(min(math.sqrt(2.0) * math.cos(turn) * loudness, headroom) * UNITY)
    far = round(min(max(math.sqrt(2.0) * math.sin(turn), FAR_MIN) * loudness, headroom) * UNITY)
    return (near, far) if pan < 0.0 else (far, near)


def _scaled(mono: array[int], gain: int) -> array[int]:
    try:
        return array("h", [sample * gain >> 15 for sample in mono])
    except OverflowError:  # clips that were made for another volume
        return array("h", [max(-32768, min(32767, sample * gain >> 15)) for sample in mono])


class _Message:
    """What sounds now: its parts, how far they have been played, and the gains of both channels."""

    __slots__ = (
        "alert",
        "gains",
        "known",
        "lead",
        "part",
        "parts",
        "position",
        "rank",
        "started",
        "sustained",
        "words",
    )

    def __init__(
        self,
        alert: int,
        rank: int,
        parts: Sequence[memoryview | Packed],
        words: str,
        known: bool,
        gains: tuple[int, int] | None = None,
        sustained: str = "",
    ) -> None:
        self.alert = alert
        self.sustained = sustained
        """Name of a tone that may go on; its last part is its ramp down."""
        self.gains = gains
        self.rank = rank
        self.parts = parts
        self.words = words
        self.known = known
        self.part = 0
        self.position = 0  # bytes played of parts[part]
        self.lead = _leading_zeros(parts)  # samples before the first that is not zero
        self.started = False

    def take(self, samples: int) -> bytes | memoryview:
        """The next `samples` samples, or fewer at the end."""
        part = self.parts[self.part]
        end = self.position + samples * SAMPLE_BYTES
        if self.sustained and end > len(part):
            end = len(part)  # whether the ramp down comes next is not known yet
        if end < len(part) or self.sustained:
            piece = part[self.position : end]
            self.position = end
            if end == len(part):
                self.part += 1
                self.position = 0
            return piece
        pieces = []
        left = samples * SAMPLE_BYTES
        while left and self.part < len(self.parts):
            piece = self.parts[self.part][self.position : self.position + left]
            pieces.append(piece)
            left -= len(piece)
            self.position += len(piece)
            if self.position >= len(self.parts[self.part]):
                self.part += 1
                self.position = 0
        return b"".join(pieces)

    @property
    def over(self) -> bool:
        return self.part >= len(self.parts)


_GAP = memoryview(bytes(GAP_FRAMES * SAMPLE_BYTES))
_REST = memoryview(bytes(REST_FRAMES * SAMPLE_BYTES))
_NOBODY = -(1 << 62)
"""Alert number of the rest after a message: it reports nothing."""


class Mixer:
    """Mixes what is asked for.  `lookup(phrase, value)` gives a clip or None; `earcons` are sounds by name.

    Times are seconds on the clock of `Speak.deadline_s`.  `headroom` is what every sound may be multiplied by (1 or
    more) before it is clipped.
    """

    def __init__(
        self,
        lookup: Callable[[str, str], Clip | None],
        earcons: Mapping[str, bytes],
        *,
        headroom: float = 1.0,
    ) -> None:
        self.calm = 1.0
        """What advisories, and messages without a level, are multiplied by from their beginning to their end."""
        self.urgent = 1.0
        """The same for cautions and warnings, and from `URGENT_RANK` on."""
        self._lookup = lookup
        self._headroom = headroom
        self._earcons = {name: memoryview(pcm) for name, pcm in earcons.items()}
        self._sounding: _Message | None = None
        self._waiting: dict[int, Speak] = {}
        self._tail: tuple[array[int], array[int]] | None = None
        """Left and right of what fades; one array where both are the same."""
        self._progress: list[Progress] = []
        self._silence: dict[int, bytes] = {}
        self._seamless = False
        """Whether what begins next takes over from the same tone."""

    @property
    def sounding(self) -> int | None:
        """Number of the alert that sounds now."""
        message = self._sounding
        return message.alert if message is not None and message.alert != _NOBODY else None

    @property
    def idle(self) -> bool:
        """Whether the next `render` gives silence."""
        return self._sounding is None and not self._waiting and self._tail is None

    def speak(self, request: Speak, now: float) -> None:
        """Takes a request.  What becomes of it is told by the `render` calls that follow."""
        replaced = self._waiting.pop(request.rank, None)
        if replaced is not None:
            self._tell(replaced.alert, VoicePhase.EXPIRED)
        if now > request.deadline_s:
            self._tell(request.alert, VoicePhase.EXPIRED)
            return
        if len(self._waiting) >= WAITING_MAX:
            lowest = min(self._waiting)
            if lowest > request.rank:
                self._tell(request.alert, VoicePhase.EXPIRED)
                return
            self._tell(self._waiting.pop(lowest).alert, VoicePhase.EXPIRED)
        self._waiting[request.rank] = request

    def hush(self, alert: int, now: float) -> None:
        """Ends an alert that is no longer true: fades it, or drops it if it waits."""
        for rank, request in self._waiting.items():
            if request.alert == alert:
                del self._waiting[rank]
                self._tell(alert, VoicePhase.EXPIRED)
                break
        if self._sounding is not None and self._sounding.alert == alert:
            self._cut(0)

    def drop(self, now: float) -> None:
        """Forgets what sounds: the device that took its frames is gone.  What waits keeps waiting."""
        self._tail = None
        if self._sounding is not None:
            self._cut(0)
            self._tail = None

    def render(self, frames: int, now: float) -> tuple[bytes, list[Progress]]:
        """Exactly `frames` frames of sound, and what became of requests.  With 0 frames, deadlines still pass."""
        if self._waiting:
            self._expire(now)
            if frames:
                self._cut_lower()
        progress, self._progress = self._progress, []
        if not frames:
            return b"", progress
        if self._sounding is None and self._tail is None and not self._waiting:
            return self._zeros(frames), progress

        filled = 0
        pieces: list[bytes | memoryview] = []
        panned: list[tuple[int, int, tuple[int, int]]] = []
        while filled < frames:
            message = self._sounding
            if message is not None and message.sustained and self._goes_on(message):
                self._end(message, filled, progress)
                self._seamless = True
                message = None
            if message is None:
                if not self._waiting:
                    break
                message = self._begin(self._waiting.pop(max(self._waiting)), filled, progress)
                if message is None:
                    continue
            piece = message.take(frames - filled)
            samples = len(piece) // SAMPLE_BYTES
            if not message.started:
                if message.lead < samples:
                    message.started = True
                    progress.append(Progress(message.alert, VoicePhase.STARTED, filled + message.lead, message.words))
                else:
                    message.lead -= samples
            pieces.append(piece)
            if message.gains is not None:
                panned.append((filled, filled + samples, message.gains))
            filled += samples
            if message.over:
                self._end(message, filled, progress)

        mono: array[int] = array("h")
        for piece in pieces:
            mono.frombytes(piece)
        if filled < frames:
            mono.frombytes(bytes((frames - filled) * SAMPLE_BYTES))
        left = right = mono
        if panned:
            left, right = array("h", mono), array("h", mono)
            for begin, end, gains in panned:
                left[begin:end] = _scaled(mono[begin:end], gains[0])
                right[begin:end] = _scaled(mono[begin:end], gains[1])
        if self._tail is not None:
            fading_left, fading_right = self._tail
            if left is right and fading_left is fading_right:
                rest = _mix_into(left, fading_left)
                self._tail = None if rest is None else (rest, rest)
            else:
                right = array("h", right)
                rests = _mix_into(left, fading_left), _mix_into(right, fading_right)
                self._tail = None if rests[0] is None or rests[1] is None else (rests[0], rests[1])
        stereo: array[int] = array("h", bytes(frames * FRAME_BYTES))
        stereo[0::2] = left
        stereo[1::2] = right
        return stereo.tobytes(), progress

    def _zeros(self, frames: int) -> bytes:
        silence = self._silence.get(frames)
        if silence is None:
            silence = bytes(frames * FRAME_BYTES)
            if len(self._silence) < 64:
                self._silence[frames] = silence
        return silence

    def _tell(self, alert: int, phase: VoicePhase, words: str = "") -> None:
        self._progress.append(Progress(alert, phase, 0, words))

    def _expire(self, now: float) -> None:
        for rank in [rank for rank, request in self._waiting.items() if now > request.deadline_s]:
            self._tell(self._waiting.pop(rank).alert, VoicePhase.EXPIRED)

    def _cut_lower(self) -> None:
        if self._waiting and self._sounding is not None and max(self._waiting) > self._sounding.rank:
            self._cut(0)

    def _cut(self, frame: int) -> None:
        """Ends what sounds, leaving 4 ms of it to fade under whatever follows."""
        message = self._sounding
        if message is None:
            return
        self._sounding = None
        if message.alert == _NOBODY:
            return
        self._progress.append(Progress(message.alert, VoicePhase.CUT, frame, message.words))
        if not message.started:
            return
        message.sustained = ""
        tail: array[int] = array("h")
        tail.frombytes(message.take(FADE_FRAMES))
        left = right = tail
        if message.gains is not None or (self._tail is not None and self._tail[0] is not self._tail[1]):
            gains = message.gains or (UNITY, UNITY)
            left, right = _scaled(tail, gains[0]), _scaled(tail, gains[1])
        if self._tail is not None:
            _mix_into(left, self._tail[0])
            if right is not left:
                _mix_into(right, self._tail[1])
        faded = _faded(left)
        self._tail = (faded, faded if right is left else _faded(right)) if tail else None

    def _goes_on(self, message: _Message) -> bool:
        """Whether a tone that is about to ramp down is what is to sound next, too: then that takes over seamlessly."""
        if not self._waiting or message.part != len(message.parts) - 1 or message.position:
            return False
        following = self._waiting[max(self._waiting)]
        if following.phrase or following.earcon != message.sustained:
            return False
        return self._gains(following) == message.gains

    def _gains(self, request: Speak) -> tuple[int, int] | None:
        calm = request.level not in ("caution", "warning") and request.rank < URGENT_RANK
        return pan_gains(request.pan, self._headroom, self.calm if calm else self.urgent)

    def _begin(self, request: Speak, filled: int, progress: list[Progress]) -> _Message | None:
        clip = self._lookup(request.phrase, request.value) if request.phrase else None
        earcon = self._earcons.get(request.earcon)
        parts: list[memoryview | Packed] = []
        if earcon:
            parts.append(earcon)
        if clip is not None and clip.sound:
            if earcon:
                parts.append(_GAP)
            parts.append(clip.sound if isinstance(clip.sound, Packed) else memoryview(clip.sound))
        known = clip is not None or (not request.phrase and earcon is not None)
        sustained = request.earcon if earcon and not request.phrase and request.earcon in SUSTAINED else ""
        if earcon and sustained:
            ramp = FADE_FRAMES * SAMPLE_BYTES
            parts = [earcon[ramp if self._seamless else 0 : -ramp], earcon[-ramp:]]
        self._seamless = False
        if not parts:
            progress.append(Progress(request.alert, VoicePhase.UNKNOWN_PHRASE, filled))
            return None
        gains = self._gains(request)
        words = clip.words if clip else ""
        self._sounding = _Message(request.alert, request.rank, parts, words, known, gains, sustained)
        return self._sounding

    def _end(self, message: _Message, filled: int, progress: list[Progress]) -> None:
        self._sounding = None
        if message.alert == _NOBODY:
            return
        phase = VoicePhase.FINISHED if message.known else VoicePhase.UNKNOWN_PHRASE
        progress.append(Progress(message.alert, phase, filled, message.words))
        if message.words:
            rest = _Message(_NOBODY, message.rank, [_REST], "", True)
            rest.started = True
            self._sounding = rest


def _faded(tail: array[int]) -> array[int]:
    length = len(tail)
    return array("h", [sample * (length - i) // length for i, sample in enumerate(tail)])


def _leading_zeros(parts: Sequence[memoryview | Packed]) -> int:
    count = 0
    for part in parts:
        if isinstance(part, Packed):
            count += part.lead
            if part.lead * SAMPLE_BYTES < len(part):
                return count
            continue
        for sample in part.cast("h"):
            if sample:
                return count
            count += 1
    return count


def _mix_into(mono: array[int], tail: array[int]) -> array[int] | None:
    """Adds a fading tail to the start of a block; returns what of the tail is left."""
    length = min(len(mono), len(tail))
    for i in range(length):
        mono[i] = max(-32768, min(32767, mono[i] + tail[i]))
    return tail[length:] if length < len(tail) else None
