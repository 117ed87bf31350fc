"""Which device carries the sound: one kept open, watched by what really leaves it, and the next one when it fails.

The road: the configured device, `voice.other_devices` in their order, `default`, then the same devices through a
child `aplay` (for a library that fails in this process), then nothing; the guard's buzzer and vibration act whenever
`output` is empty.  A device is believed by its play pointer alone: one that stands still is frozen, one that runs
away plays to nobody.  What the pointer cannot tell (a muted card, a server that plays to nowhere) the sound system is
asked some times a second.

Pure but for the sound system: time is an argument, nothing waits.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from retrowalk.config import Voice
from retrowalk.errors import SoundError
from retrowalk.logs import about
from retrowalk.platform import APLAY, Sound, SoundSystem
from retrowalk.voice.mixer import FRAME_BYTES, RATE_HZ

log = logging.getLogger("retrowalk.voice")
STOPPED, BACK = about("sound.failed", part="voice"), about("sound.restored", part="voice")
"""What a line is about."""

STAND_IN_DEVICE = "default"
"""Tried after all devices that are named in the settings."""

FROZEN_AFTER_S = 0.3
"""A play pointer that stands still for longer: nothing is heard, whatever the device says."""
START_S = 1.0
"""A device may need so long until its first frame leaves: a child process, a sink that slept, a radio link.  Meanwhile
nothing is said to be heard."""
RUNAWAY_S = 0.25
RUNAWAY = 1.5
"""A pointer that runs so many times as fast as time, over `RUNAWAY_S`, plays to nobody.  ALSA's `null` takes all there
is room for at every turn, which makes 2; a pointer that only moves in steps of some 20 ms stays below 1.2."""
LOOK_S = 0.25
"""The sound system is asked this often whether the device can be heard at all."""

OPEN_RETRY_S = 1.0
FROZEN_REOPEN_S = 2.0
"""A device that has not played a frame since it was opened is opened again after this."""
UNHEARD_RETRY_S = 5.0
"""A device whose frames nobody hears is tried again no sooner than this."""
APLAY_RETRY_S = 10.0
RECENT_S = 10.0
"""A device that failed within this time comes after those that did not."""

RETURN_S = 5.0
"""While a stand-in plays, the configured device is tried again this often, in silence."""
RETURN_MAX_S = 60.0
PROBE_S = 0.4
"""The configured device is returned to when it has played silence for so long, at the pace of time."""

BUFFER_STEP_MS = 20
BUFFER_MAX_MS = 60
DRY_WITHIN_S = 60.0
"""A device that runs dry twice within this time keeps `BUFFER_STEP_MS` more from then on."""
SETTLED_S = 5.0
"""When a device was opened less long ago, it is the program that begins, or the server, and not the usual load."""

LATE_S = 0.060
"""Sound that takes so much longer than this buffer is late: fit for calm words, not for "Stop"."""
LATE_FOR_S = 0.5
"""A device's first reports of its delay are not believed."""
IN_TIME_FOR_S = 2.0


@dataclass(slots=True)
class _Candidate:
    """A device of the road, with what is known of it."""

    name: str
    """As the sound system is asked for it; `aplay:` before it asks for a child process."""
    again_s: float = -math.inf
    """Not tried before."""
    failed_s: float = -math.inf

    @property
    def device(self) -> str:
        return self.name.removeprefix(APLAY)

    @property
    def child(self) -> bool:
        return self.name.startswith(APLAY)


class Outputs:
    """Keeps one device open.  `exchanged(now, written)` is called whenever what was in the device is lost.

    `written` is how many frames the device that plays now has taken already (0 for a new one).

    Call `tend` before frames are mixed, feed `sound` if there is one, then call `watch`; tell `fail` of a `SoundError`.
    """

    def __init__(self, system: SoundSystem, voice: Voice, exchanged: Callable[[float, int], None]) -> None:
        self.sound: Sound | None = None
        self.played = 0
        """Play pointer of the open device: frames that have left since it was opened."""
        self.advanced_s = -math.inf
        """When it was last seen to have moved."""
        self.buffer_ms = voice.buffer_ms
        self.slow = False
        """Whether what is written now is heard too late for a warning."""
        self._system = system
        self._configured_ms = voice.buffer_ms
        self._exchanged = exchanged
        names = list(dict.fromkeys((voice.device, *voice.other_devices, STAND_IN_DEVICE)))
        self._candidates = [_Candidate(name) for name in names]
        self._children = [_Candidate(APLAY + name) for name in dict.fromkeys((voice.device, STAND_IN_DEVICE))]
        self._first = self._candidates[0]
        self._now = self._first
        self._complaint = ""

        self._cause = ""
        """Why the device was changed last."""
        self._condition = ""
        """Why nobody hears the frames that leave: `muted`, `null_sink`."""
        self._moving = False
        """Whether a frame has left since the device was opened."""
        self._stalled = False
        self._opened_s = 0.0
        self._next_s = -math.inf
        self._look_s = 0.0
        self._pace: tuple[float, int] = (0.0, 0)
        self._runaway = False
        self._dry: deque[float] = deque()
        self._underruns = 0
        self._late_s: float | None = None
        self._in_time_s: float | None = None

        self._probe: Sound | None = None
        self._probe_written = 0
        self._probe_began: tuple[float, int] | None = None
        self._probe_s = 0.0
        self._return_s = math.inf
        self._return_every_s = RETURN_S

    # ---------------------------------------------------------------------------------------- what is known

    @property
    def device(self) -> str:
        """The device that plays, else the configured one."""
        return self._now.device if self.sound is not None else self._first.device

    @property
    def described(self) -> str:
        """What libasound says of the open device; empty when it is none of libasound's."""
        described: str = getattr(self.sound, "described", "")
        return described

    @property
    def moving(self) -> bool:
        """Whether a frame has left the open device.  Until then it is fed with silence, so that no words are lost."""
        return self._moving

    @property
    def output(self) -> str:
        """What carries the frames that are heard (`alsa`, `aplay`, `portaudio`); empty: nothing is heard."""
        if self.sound is None or not self._moving or self._stalled or self._condition:
            return ""
        return self.sound.output

    @property
    def fault(self) -> str:
        """What is wrong, or why a stand-in plays; empty when the configured device can be heard."""
        if self.sound is None:
            return "no_device"
        if self._condition:
            return self._condition
        if self._stalled:
            return "frozen"
        if not self._moving:
            return self._cause
        if self._now is not self._first:
            return self._cause or "no_device"
        return "slow" if self.slow else ""

    @property
    def underruns(self) -> int:
        """How often the open device ran dry."""
        return self.sound.underruns if self.sound is not None else 0

    # ---------------------------------------------------------------------------------------------- the step

    def tend(self, now: float, *, quiet: bool) -> None:
        """Opens what is to be opened; returns to the configured device if nothing sounds (`quiet`)."""
        if self.sound is None:
            if now >= self._next_s:
                self._open_next(now, self._order(now))
            return
        if now >= self._look_s:
            self._look(now)
        if self._now is not self._first:
            self._try_return(now, quiet)

    def watch(self, now: float) -> None:
        """Looks at what has left the device.  Raises `SoundError` when it is gone."""
        sound = self.sound
        if sound is None:
            return
        played = sound.played(now)
        if now <= self._opened_s:
            return  # a change of device is told before the new one is: something was missed
        if played > self.played:
            self.played = played
            self.advanced_s = now
            if not self._moving:
                self._moving = True
                if self._now is self._first and not self._condition:
                    self._cause = ""
            if self._stalled:
                self._stalled = False
                log.info("sound device %s: frames leave again", sound.name, extra=BACK)
        elif now - max(self.advanced_s, self._opened_s) >= self._patience_s():
            if not self._stalled:
                self._stalled = True
                patience_s = self._patience_s()
                log.error("sound device %s: no frame left for %.1f s", sound.name, patience_s, extra=STOPPED)
                self._change("frozen", now)
            elif now >= self._next_s:
                self._open_next(now, self._order(now))
            return
        self._watch_pace(now)
        self._watch_buffer(sound, now)
        self._watch_delay(sound, now)

    def fail(self, error: SoundError, now: float) -> None:
        """The open device raised: it is closed, and the next one is tried at once."""
        log.error("%s", error, extra=STOPPED)
        self._close(now)
        self._condition = ""
        self._change("no_device", now)

    def close(self) -> None:
        """Lets go of every device."""
        for sound in (self.sound, self._probe):
            if sound is not None:
                sound.close()
        self.sound = self._probe = None

    # ------------------------------------------------------------------------------------------- the watches

    def _patience_s(self) -> float:
        return FROZEN_AFTER_S if self._moving else START_S

    def _watch_pace(self, now: float) -> None:
        began_s, began = self._pace
        if now - began_s < RUNAWAY_S:
            return
        self._runaway = self.played - began > RUNAWAY * (now - began_s) * RATE_HZ
        self._pace = now, self.played
        if self._runaway and not self._condition:
            self._look(now)

    def _watch_buffer(self, sound: Sound, now: float) -> None:
        if sound.underruns == self._underruns:
            return
        if now - self._opened_s >= SETTLED_S:
            self._dry.extend([now] * (sound.underruns - self._underruns))
        self._underruns = sound.underruns
        while self._dry and self._dry[0] < now - DRY_WITHIN_S:
            self._dry.popleft()
        if len(self._dry) >= 2 and self.buffer_ms < BUFFER_MAX_MS:
            self._dry.clear()
            self.buffer_ms = min(self.buffer_ms + BUFFER_STEP_MS, BUFFER_MAX_MS)
            sound.keep(self.buffer_ms)
            log.warning("sound device %s: ran dry twice in a minute; keeps %d ms now", sound.name, self.buffer_ms)

    def _watch_delay(self, sound: Sound, now: float) -> None:
        if sound.beyond_s > LATE_S:
            self._in_time_s = None
            if self._late_s is None:
                self._late_s = now
            if not self.slow and now - self._late_s >= LATE_FOR_S:
                self.slow = True
                log.warning("sound device %s: sound is heard %.0f ms late", sound.name, sound.beyond_s * 1000)
        else:
            self._late_s = None
            if self._in_time_s is None:
                self._in_time_s = now
            if self.slow and now - self._in_time_s >= IN_TIME_FOR_S:
                self.slow = False

    def _look(self, now: float) -> None:
        """Asks whether the frames that leave are heard; if not, tries the devices that may be."""
        self._look_s = now + LOOK_S
        condition = self._system.condition(self._now.device, now)
        if not condition and self._runaway:
            condition = "null_sink"
        if condition and condition != self._condition:
            log.error("sound device %s: %s, nobody hears it", self._now.device, condition, extra=STOPPED)
            self._condition = condition
            self._change(condition, now)
        elif condition:
            if now >= self._next_s:
                self._open_next(now, self._others(now))
        elif self._condition:
            self._condition = ""
            log.info("sound device %s can be heard again", self._now.device, extra=BACK)
            if self._now is self._first:
                self._cause = ""

    # -------------------------------------------------------------------------------------------- the change

    def _change(self, cause: str, now: float) -> None:
        """Tries the other devices; without another one, what is open stays, and may come to itself."""
        failed = self._now
        self._cause = cause
        failed.failed_s = now
        unheard = bool(self._condition)
        if unheard:
            failed.again_s = now + UNHEARD_RETRY_S
        elif failed.child:
            failed.again_s = now + APLAY_RETRY_S
        elif self._moving:
            failed.again_s = now  # it worked until now: opened again it may work at once
        else:
            failed.again_s = now + FROZEN_REOPEN_S
        if unheard:
            self._open_next(now, self._others(now))
            return
        self._open_next(now, self._order(now))

    def _others(self, now: float) -> list[_Candidate]:
        """What may be tried while something plays to nobody: a child process would be heard no better."""
        return [candidate for candidate in self._order(now) if candidate is not self._now and not candidate.child]

    def _order(self, now: float) -> list[_Candidate]:
        """What may be tried now, in order: what failed just now comes last, and children after all devices."""

        def lately(candidate: _Candidate) -> float:
            return candidate.failed_s if now - candidate.failed_s < RECENT_S else -math.inf

        devices = sorted((c for c in self._candidates if now >= c.again_s), key=lately)
        children = sorted((c for c in self._children if now >= c.again_s), key=lately)
        return devices + children

    def _open_next(self, now: float, order: list[_Candidate]) -> None:
        if self.sound is not None and self._now not in order and any(candidate.child for candidate in order):
            order.append(self._now)  # it is closed for a child's sake; should there be none, it is all there is
        for candidate in order:
            if self.sound is not None and (candidate is self._now or candidate.child):
                self._close(now)  # the card may let in only one
            try:
                sound = self._system.open(candidate.name, self._configured_ms)
            except SoundError as error:
                candidate.failed_s = now
                candidate.again_s = now + (APLAY_RETRY_S if candidate.child else OPEN_RETRY_S)
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    log.error("%s", error, extra=STOPPED)
                continue
            self._complaint = ""
            if self.sound is not None:
                self._close(now)
            self._take(candidate, sound, now)
            break
        else:
            if self.sound is None:
                self._now = self._first
                self._condition = ""
                self._stalled = self._moving = False
                if not self._cause:
                    self._cause = "no_device"
        self._next_s = max(now, min(c.again_s for c in (*self._candidates, *self._children)))

    def _take(self, candidate: _Candidate, sound: Sound, now: float, written: int = 0) -> None:
        """From now on this device plays."""
        if candidate is not self._first and not self._cause:
            self._cause = "no_device"
        self.sound = sound
        self._now = candidate
        self.played = 0
        self.buffer_ms = self._configured_ms
        self._opened_s = now
        self._moving = self._stalled = self._runaway = self.slow = False
        self._condition = ""
        self._look_s = now
        self._pace = now, 0
        self._dry.clear()
        self._underruns = sound.underruns
        self._late_s = self._in_time_s = None
        self._drop_probe()
        self._return_s = now + self._return_every_s
        self._exchanged(now, written)
        log.info("sound device %s opened", sound.name, extra=BACK)

    def _close(self, now: float) -> None:
        if self.sound is not None:
            self.sound.close()
            self.sound = None
            self._exchanged(now, 0)

    # -------------------------------------------------------------------------------------------- the return

    def _try_return(self, now: float, quiet: bool) -> None:
        """Lets the configured device play silence beside the stand-in, and changes to it once it has."""
        if self._probe is None:
            if now < self._return_s or not quiet:
                return
            self._return_s = now + self._return_every_s
            if self._system.condition(self._first.device, now):
                return
            if self._now.child:
                self._leave_child(now)
                return
            try:
                self._probe = self._system.open(self._first.name, self._configured_ms)
            except SoundError:
                return
            self._probe_written, self._probe_began, self._probe_s = 0, None, now
        try:
            self._feed_probe(self._probe, now, quiet)
        except SoundError:
            self._drop_probe()

    def _leave_child(self, now: float) -> None:
        """A child holds the card that is to be tried, so it ends first; each try costs a moment, so they get fewer."""
        self._return_every_s = min(2.0 * self._return_every_s, RETURN_MAX_S)
        for candidate in (*self._candidates, *self._children):
            candidate.again_s = now
        self._now.failed_s = now
        self._close(now)
        self._open_next(now, self._order(now))

    def _feed_probe(self, probe: Sound, now: float, quiet: bool) -> None:
        room = probe.writable(now)
        if room > 0:
            self._probe_written += probe.write(bytes(room * FRAME_BYTES), now)
        played = probe.played(now)
        if self._probe_began is None:
            if played > 0:
                self._probe_began = now, played
            elif now - self._probe_s >= START_S:
                self._drop_probe()
            return
        began_s, began = self._probe_began
        seconds = now - began_s
        if seconds < PROBE_S or not quiet:
            return
        pace = (played - began) / (seconds * RATE_HZ)
        if not 0.5 <= pace <= RUNAWAY or self._system.condition(self._first.device, now):
            self._drop_probe()
            return
        written = self._probe_written
        self._probe = None
        log.info("sound device %s is back", self._first.device, extra=BACK)
        self._return_every_s = RETURN_S
        self._cause = ""
        self._close(now)
        self._take(self._first, probe, now, written)
        self.played, self.advanced_s, self._moving = played, now, True
        self._pace = now, played
        self._first.failed_s = -math.inf

    def _drop_probe(self) -> None:
        if self._probe is not None:
            self._probe.close()
            self._probe = None
