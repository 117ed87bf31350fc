"""The walker's ear: recognises known clips in the frames that leave the sound device, and nothing else.

What the program says of itself does not count; only sound does.  A clip is found by the signs of its samples, which no
volume changes: an early stretch without samples near zero, its anchor, is looked for wherever zero is crossed as in an
anchor (looking for every clip's in turn took a fifth of a simulated walk).  From there on the samples are compared,
block by block, up to one common gain.  A clip is understood when 60 % of it has sounded and no other known clip sounds
the same so far.  Stretches under the mixer's 4 ms fades need not match.
"""

from __future__ import annotations

import math
import operator
import re
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

RATE_HZ = 48_000
FRAME_BYTES = 4

UNDERSTOOD_SHARE = 0.60
BLOCK = 240
"""Samples compared at a time: 5 ms."""
STRIDE = 3
"""Every third sample is compared."""
FADED = 240
"""So much at the start of a clip may be mixed with the fading rest of another (4 ms, rounded up to a block)."""
ERROR_MAX = 0.03
"""Largest energy of the difference, as a share of the block's."""
FLOOR_SHARE = 0.01
"""Differences below this share of the clip's peak do not count: rounding, and blocks of silence."""
GAIN_MIN, GAIN_MAX = 0.1, 1.6
ANCHOR_LENGTHS = (240, 160, 96, 64)
ANCHOR_LEVEL = 12
"""No sample of an anchor is nearer to zero, so that its sign survives a volume of 10 %."""
ANCHOR_CROSSINGS = 3
BREAK_S = 0.050
"""After a pause of the device this long, what sounded before it is over."""
HISTORY = 6 * RATE_HZ
APART_S = 0.050
"""Two clips that begin alike are told apart when they have differed for so long."""

_SIGNS = bytes(0 if high < 0x80 else 1 for high in range(256))
_CROSSING = re.compile(b"\0(?=\1)|\1(?=\0)")
"""The last sample before zero is crossed."""
TELLING = 24
"""So many signs from an anchor's first crossing on tell which anchors it may be: most places are none's."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A clip sounded.  `understood_s` is when enough of it had left the device; `end_s` when the last of it had.

    `complete` is False while it sounds, and stays so when it is cut.
    """

    key: str
    start_s: float
    understood_s: float
    end_s: float
    complete: bool
    also: tuple[str, ...] = ()
    """Other keys with the very same sound: the ear cannot know which was meant."""


@lru_cache(maxsize=1024)
def _shape(pcm: bytes) -> tuple[array[int], int, int, bytes]:
    """Samples of a clip from its first to its last that is not zero, their peak, where its anchor is, and its signs.

    Remembered: a bank of phrases is listened for in every walk.  Raises `ValueError` for no sound, or no anchor.
    """
    lead = len(pcm) - len(pcm.lstrip(b"\0"))
    body = pcm[lead - lead % 2 :].rstrip(b"\0")
    samples = array("h", body + bytes(len(body) % 2))
    if not samples:
        raise ValueError("is silent")
    return (samples, max(max(samples), -min(samples)), *_anchor(samples))


def _anchor(samples: array[int]) -> tuple[int, bytes]:
    signs = samples.tobytes()[1::2].translate(_SIGNS)
    for length in ANCHOR_LENGTHS:
        # Behind the stretch over which the fading rest of another clip may lie.
        begin = first = min(FADED, len(samples) // 4)
        for at, sample in enumerate(samples[first:], first):
            if -ANCHOR_LEVEL < sample < ANCHOR_LEVEL:
                begin = at + 1
            elif at + 1 - begin >= length:
                found = signs[at + 1 - length : at + 1]
                if found.count(b"\0\1") + found.count(b"\1\0") >= ANCHOR_CROSSINGS:
                    return at + 1 - length, found
    raise ValueError("has no stretch that could be recognised at another volume")


class _Clip:
    """A known clip: samples from its first to its last that is not zero, its anchor, when it is understood."""

    def __init__(self, key: str, pcm: bytes) -> None:
        self.key = key
        self.also: tuple[str, ...] = ()
        """Keys of other clips with the same sound."""
        try:
            self.samples, self.peak, self.anchor_at, self.anchor = _shape(pcm)
        except ValueError as error:
            raise ValueError(f"clip {key!r}: {error}") from None
        self.understood_at = math.ceil(len(self.samples) * UNDERSTOOD_SHARE)

    def same_until(self, other: _Clip) -> int:
        """How many samples both have in common from the start."""
        mine, theirs = self.samples, other.samples
        low, high = 0, min(len(mine), len(theirs))
        while low < high:
            middle = (low + high + 1) // 2
            if mine[:middle] == theirs[:middle]:
                low = middle
            else:
                high = middle - 1
        return low


class _Match:
    """A clip that may be sounding since sample `at` of the stream."""

    __slots__ = ("at", "clip", "delayed", "done", "ended", "floor", "gain", "reported")

    def __init__(self, clip: _Clip, at: int, gain: float) -> None:
        self.clip = clip
        self.at = at
        self.gain = gain
        self.floor = (FLOOR_SHARE * gain * clip.peak + 1.0) ** 2
        self.done = 0
        """Samples of the clip compared so far."""
        self.ended = False
        self.delayed = False
        """Whether it could still have been another clip when enough of it had sounded."""
        self.reported: int | None = None
        """Place in `Ear.heard`, or -1: it was another clip that sounds the same."""


class Ear:
    """Told the clips it may hear; fed the frames that leave the device; reports through `on_heard` and in `heard`.

    `on_heard` is called once for each clip, when it is understood.  Raises `ValueError` for a clip that is silent or
    too short to be recognised.
    """

    def __init__(self, clips: Iterable[tuple[str, bytes]], on_heard: Callable[[Heard], None] | None = None) -> None:
        self.heard: list[Heard] = []
        self.on_heard = on_heard
        self._clips = _related(clips)
        self._longest_anchor = max((clip.anchor_at + len(clip.anchor) for clip in self._clips), default=0)
        self._crossings: dict[bytes, list[tuple[_Clip, int]]] = {}
        """Clips by what follows the first crossing of their anchors, and where in the anchor that is."""
        self._others: list[_Clip] = []
        """Clips whose anchors cross zero too late for that."""
        for clip in self._clips:
            crossing = _CROSSING.search(clip.anchor)
            if crossing is None or crossing.start() + TELLING > len(clip.anchor):
                self._others.append(clip)
            else:
                at = crossing.start()
                self._crossings.setdefault(clip.anchor[at : at + TELLING], []).append((clip, at))
        self._before = self._longest_anchor + FADED
        """So much silence is kept before a sound: a clip must not be found to begin in it."""
        self._samples: array[int] = array("h", bytes(2 * self._before))
        self._signs = bytearray(self._before)
        self._base = -self._before
        """Place in the stream of the first sample kept."""
        self._times: deque[tuple[int, float]] = deque()
        """(place in the stream, session second) wherever the stream does not just go on."""
        self._next_s: float | None = None
        self._matches: list[_Match] = []
        self._searched = 0
        """Place up to which anchors have been looked for."""
        self._sound = False

    def feed(self, pcm: bytes, t_s: float) -> None:
        """Frames (48 kHz, two channels, 16 bit); the first leaves the device at session second `t_s`."""
        frames = len(pcm) // FRAME_BYTES
        if not frames:
            return
        end = self._base + len(self._samples)
        if self._next_s is None or abs(t_s - self._next_s) > 1e-4:
            if self._next_s is not None and t_s - self._next_s > BREAK_S:
                self._silence(end)
            self._times.append((end, t_s))
        self._next_s = t_s + frames / RATE_HZ
        if not any_sound(pcm):
            if not self._sound:
                # Long silence costs nothing: the stream just moves on.
                self._base += frames
                self._searched = end + frames
                self._forget_times()
                return
            if not self._matches and not any(self._samples[-self._before :]):
                self._silence(end + frames)
                self._forget_times()
                return
        else:
            self._sound = True
        stereo = array("h", pcm)
        mono = stereo[0::2]
        if not any(mono):
            mono = stereo[1::2]
        self._samples.extend(mono)
        self._signs += mono.tobytes()[1::2].translate(_SIGNS)
        self._listen()
        self._trim()

    def _silence(self, end: int) -> None:
        """It has been silent up to the place `end`: whatever sounded is over."""
        self._matches = []
        self._samples = array("h", bytes(2 * self._before))
        self._signs = bytearray(self._before)
        self._base = end - self._before
        self._searched = end
        self._sound = False

    # --------------------------------------------------------------------------------------- recognising

    def _listen(self) -> None:
        while True:
            broken = [match for match in self._matches if not self._compare(match)]
            if broken:
                self._matches = [match for match in self._matches if match not in broken]
            for match in broken:
                if match.reported is not None and match.reported >= 0:
                    # What was understood explains the sound up to its break; what was not explains nothing.
                    self._searched = max(self._searched, match.at + match.done)
            self._resolve()
            # While something known sounds there is nothing to look for.
            if self._matches or not self._search():
                return

    def _compare(self, match: _Match) -> bool:
        """Compares the blocks that have arrived; False when they differ."""
        clip, gain = match.clip, match.gain
        length = len(clip.samples)
        while match.done < length:
            done = match.done
            until = min(done + BLOCK, length)
            at = match.at + done - self._base
            if at + until - done > len(self._samples):
                return True
            error, energy = _difference(self._samples[at : at + until - done], clip.samples[done:until], gain)
            count = (until - done + STRIDE - 1) // STRIDE
            excused = (done < FADED and self._sounds_before(match.at)) or until == length
            if error > ERROR_MAX * energy + match.floor * count and not excused:
                return False
            match.done = until
        match.ended = True
        return True

    def _sounds_before(self, place: int) -> bool:
        at = place - self._base
        return any(self._samples[max(0, at - 96) : max(0, at)])

    def _resolve(self) -> None:
        """Reports what is understood, and lets go of what has ended."""
        for match in self._matches:
            if match.reported is None and (match.ended or match.done >= match.clip.understood_at):
                rivals = [other for other in self._matches if other is not match and other.reported is None]
                if any(not other.ended or len(other.clip.samples) > len(match.clip.samples) for other in rivals):
                    match.delayed = True
                    continue
                self._report(match)
                for other in rivals:
                    other.reported = -1
        going_on = []
        for match in self._matches:
            place = match.reported
            if place is not None and place >= 0:
                end_s = self._time(match.at + match.done)
                self.heard[place] = replace(self.heard[place], end_s=end_s, complete=match.ended)
            if place is None or not match.ended:
                going_on.append(match)
            elif place >= 0:
                self._searched = max(self._searched, match.at + match.done)
        self._matches = going_on

    def _report(self, match: _Match) -> None:
        understood_at = match.done if match.delayed else match.clip.understood_at
        heard = Heard(
            match.clip.key,
            self._time(match.at),
            self._time(match.at + understood_at),
            self._time(match.at + match.done),
            match.ended,
            match.clip.also,
        )
        match.reported = len(self.heard)
        self.heard.append(heard)
        if self.on_heard is not None:
            self.on_heard(heard)

    def _search(self) -> bool:
        """Looks for the earliest anchor in what has not been searched; True if something matched."""
        begin = max(0, self._searched - self._base)
        if not self._sound:
            self._searched = self._base + len(self._signs)
            return False
        found: list[_Match] = []
        matched: set[str] = set()
        for clip, at in self._anchors(bytes(self._signs), begin):
            if clip.key not in matched and (match := self._try(clip, at - clip.anchor_at)) is not None:
                matched.add(clip.key)
                found.append(match)
        found.sort(key=lambda match: self._clips.index(match.clip))
        if found:
            earliest = min(match.at for match in found)
            self._matches = [match for match in found if match.at <= earliest + FADED]
            self._searched = max(self._base, earliest)
            return True
        # An anchor may lie across the end of what has arrived.
        self._searched = max(self._searched, self._base + max(0, len(self._signs) - self._longest_anchor))
        return False

    def _anchors(self, signs: bytes, begin: int) -> Iterator[tuple[_Clip, int]]:
        """Every anchor in what has been heard from `begin` on, and where; of one clip in their order."""
        for crossing in _CROSSING.finditer(signs, begin):
            place = crossing.start()
            for clip, before in self._crossings.get(signs[place : place + TELLING], ()):
                at = place - before
                if at >= begin and signs.startswith(clip.anchor, at):
                    yield clip, at
        for clip in self._others:
            at = signs.find(clip.anchor, begin)
            while at >= 0:
                yield clip, at
                at = signs.find(clip.anchor, at + 1)

    def _try(self, clip: _Clip, start: int) -> _Match | None:
        """A match if the samples up to the anchor's end agree."""
        end = clip.anchor_at + len(clip.anchor)
        if start < 0:
            return None  # it would have begun before what is kept
        a = self._samples[start + clip.anchor_at : start + end]
        b = clip.samples[clip.anchor_at : end]
        energy = sum(map(operator.mul, b, b))
        gain = sum(map(operator.mul, a, b)) / energy
        if not GAIN_MIN <= gain <= GAIN_MAX:
            return None
        error, energy = _difference(a, b, gain)
        if error > ERROR_MAX * energy:
            return None
        match = _Match(clip, self._base + start, gain)
        return None if self._known(match) or not self._compare(match) else match

    def _known(self, match: _Match) -> bool:
        """Whether this very sounding has been reported: the search went back across it."""
        start_s = self._time(match.at)
        for heard in reversed(self.heard[-4:]):
            if heard.key == match.clip.key and abs(heard.start_s - start_s) < 0.02:
                return True
        return False

    # ------------------------------------------------------------------------------------------- time

    def _time(self, place: int) -> float:
        """Session second at which a sample of the stream left the device."""
        times = self._times
        for at, t_s in reversed(times):
            if place >= at:
                return t_s + (place - at) / RATE_HZ
        at, t_s = times[0]
        return t_s + (place - at) / RATE_HZ

    def _trim(self) -> None:
        keep = min([match.at for match in self._matches] + [self._searched - self._longest_anchor])
        spare = keep - 2 * FADED - self._base
        if len(self._samples) > HISTORY:
            spare = max(spare, len(self._samples) - HISTORY)
        if spare > RATE_HZ // 4:
            del self._samples[:spare], self._signs[:spare]
            self._base += spare
            self._forget_times()

    def _forget_times(self) -> None:
        times = self._times
        while len(times) > 1 and times[1][0] <= self._base:
            times.popleft()


def any_sound(pcm: bytes) -> bool:
    """Whether any byte is not zero, at the speed of a byte count."""
    return pcm.count(0) != len(pcm)


def _difference(heard: array[int], clip: array[int], gain: float) -> tuple[float, float]:
    """Energy of the difference and of the clip at this gain, over every third sample."""
    a, b = heard[::STRIDE], clip[::STRIDE]
    aa, bb = sum(map(operator.mul, a, a)), sum(map(operator.mul, b, b))
    ab = sum(map(operator.mul, a, b))
    energy = gain * gain * bb
    return max(0.0, aa - 2.0 * gain * ab + energy), energy


def _related(sounds: Iterable[tuple[str, bytes]]) -> list[_Clip]:
    """Clips, each sound once; understanding one is put off until it is no longer like any other."""
    by_sound: dict[bytes, _Clip] = {}
    for key, pcm in sounds:
        known = by_sound.get(pcm)
        if known is None:
            by_sound[pcm] = _Clip(key, pcm)
        else:
            known.also = (*known.also, key)
    clips = list(by_sound.values())
    by_start: dict[bytes, list[_Clip]] = {}
    for clip in clips:
        by_start.setdefault(clip.samples[:64].tobytes(), []).append(clip)
    for group in by_start.values():
        for clip in group:
            same = [clip.same_until(other) for other in group if other is not clip]
            if same:
                apart = max(same) + round(APART_S * RATE_HZ)
                clip.understood_at = max(clip.understood_at, min(apart, len(clip.samples)))
    return clips
