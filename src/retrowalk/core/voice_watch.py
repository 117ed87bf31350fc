"""Whether the voice can be heard: told by its signs of life, and by name when it cannot.

Nothing may be silent unnoticed.  A voice that is *lost* is stood in for by buzzer and vibration, from the very item
that says so on.  One that is *doubted* (a microphone does not hear it) is helped by them in all it says.  One that is
*refused* (its sound comes late, or loses its beginning) still says what is calm, while warnings buzz and are felt.  Why
nothing was heard is said as soon as something is heard again, and told at once.

A fault that comes and goes many times a second is one fault: buzzer and vibration act each time, but it is told and
said once.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from retrowalk.core.alerts import VOICE_CAUSES
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.events import Level, Touch, ms
from retrowalk.core.faults import Faults
from retrowalk.core.samples import VoiceHeartbeat

SILENT = "silent"
"""Fault of a voice that gives no sign of life: killed, or hung."""
STANDS_STILL = ("no_device", "frozen")
"""Nothing is heard as long as no frame leaves; once one does, another device stands in."""
TO_NOBODY = ("muted", "null_sink")
"""Frames leave, and nobody hears them, unless another device than the configured one plays them."""
DOUBTED = "unheard"
"""A microphone does not hear it.  It may be the microphone: all is said as before, and felt and buzzed as well."""
REFUSED = ("slow", "clipped")
"""It can be heard, too late or without its beginning: good for calm words, and not for "Stop"."""
ITSELF = {"microphone": "microphone"}
"""Faults of which it is not the voice that works again."""
STILL_S = 0.25
"""A play pointer that stands still for so long on a device that stands in: nothing is heard there either."""
OPENING_S = 1.2
"""A voice whose sound has not begun and that names no fault is opening a device; for longer than this it is not."""
LATE_MS = 160
LATE_FOR_S = 0.5
"""Sound that is heard so late for so long is refused whatever else is named: the device that stands in may be slow."""
SAME_FAULT_S = 5.0
"""A fault that comes again within this time of its end is told and said only ..."""
LASTS_S = 2.0
"""... once it has lasted for so long."""
STEADY_S = 1.0
"""Protection is whole again when the voice has been heard for so long without a pause."""
TOUCH_AGAIN_S = 1.6
"""The pattern of a fault takes so long: it is not begun anew before."""


class VoiceWatch:
    """Follows the voice.  Times are session seconds; `device` is the one that is configured."""

    def __init__(self, device: str, arbiter: Arbiter, faults: Faults, emit: Callable[[Touch], None]) -> None:
        self._device = device
        self._arbiter = arbiter
        self._faults = faults
        self._emit = emit
        self._frames = -1
        self._moved_s = -math.inf
        """When the play pointer was last seen to have moved."""
        self._nothing_s: float | None = None
        """Since when nothing carries the frames."""
        self._fault = ""
        """What the latest sign of life names, and since when."""
        self._fault_s = -math.inf
        self._raised = ""
        """What is raised of that."""
        self._raised_s: dict[str, float] = {}
        """When each fault was raised, the latest time."""
        self._seen_s: dict[str, float] = {}
        """When each fault was last over."""
        self._unsaid: dict[str, float] = {}
        """Causes that are over and could not be said, with the seconds they lasted."""
        self._cause = ""
        """What was said last to have kept it from being heard, and when; empty: it has been heard."""
        self._cause_s = -math.inf
        self._in_time_s = math.inf
        """When its sound was last known to be heard in time, or not known to be late."""
        self._impaired_s = -math.inf
        """When it was last anything but well."""
        self._touched_s = -math.inf

    def heartbeat(self, now: float, item: VoiceHeartbeat) -> None:
        """Takes a sign of life."""
        arbiter = self._arbiter
        deaf = self._deaf(now, item)
        back = arbiter.voice_lost and not deaf
        # First of all whether it can be heard: nothing is asked of a voice that would say it when it works again.
        if deaf and not arbiter.voice_lost:
            self._deafen(now)
        elif back:
            arbiter.voice_back(now)
            self._impaired_s = now
        doubted = item.fault == DOUBTED and not deaf
        if item.fault != self._fault and not deaf and item.fault in (*STANDS_STILL, *TO_NOBODY):
            self._touch(now)  # another device took over at once; what was being said was lost all the same
        if doubted and not arbiter.voice_doubted:
            self._touch(now)
        if item.delay_ms <= LATE_MS or self._in_time_s == math.inf:
            self._in_time_s = now
        refused = item.fault in REFUSED or now >= self._in_time_s + LATE_FOR_S
        if (arbiter.voice_refused and not refused) or (arbiter.voice_doubted and not doubted):
            self._impaired_s = now
        arbiter.voice_refused = refused
        arbiter.voice_doubted = doubted
        fault = item.fault or ("no_device" if deaf and not self._raised else "")
        if not deaf:
            self._say_cause(now, fault, back=back)
        self._name(now, fault, item.device, deaf=deaf)
        if not deaf:
            self._end(now, SILENT)

    def silent(self, now: float) -> None:
        """No sign of life has come for too long."""
        if not self._arbiter.voice_lost:
            self._deafen(now)
        self._begin(now, SILENT)

    def limits(self, now: float) -> bool:
        """Whether the voice is no voice to rely on now, or was not a moment ago."""
        arbiter = self._arbiter
        impaired = arbiter.voice_lost or arbiter.voice_doubted or arbiter.voice_refused
        return impaired or now < self._impaired_s + STEADY_S

    def deadline(self, now: float) -> float:
        """When `limits` may change if nothing comes (`math.inf`: it will not)."""
        steady_s = self._impaired_s + STEADY_S
        return steady_s if steady_s > now else math.inf

    def _deaf(self, now: float, item: VoiceHeartbeat) -> bool:
        """Whether nothing is heard."""
        if item.frames_played != self._frames:
            self._frames, self._moved_s = item.frames_played, now
        if not item.output:
            if self._nothing_s is None:
                self._nothing_s = now
            if item.fault or now >= self._nothing_s + OPENING_S:
                return True
            return self._arbiter.voice_lost
        self._nothing_s = None
        if item.fault in STANDS_STILL:
            return item.frames_played == 0 or now >= self._moved_s + STILL_S
        return item.fault in TO_NOBODY and item.device == self._device

    def _deafen(self, now: float) -> None:
        """Nothing can be heard: touch and buzzer say so at once, and stand in from now on."""
        if not self._arbiter.lose_voice(now):
            self._touch(now)

    def _touch(self, now: float) -> None:
        if now >= self._touched_s + TOUCH_AGAIN_S:
            self._touched_s = now
            self._emit(Touch(t_s=ms(now), pattern="fault", buzzer=True))

    # -- by name --------------------------------------------------------------------------------------------

    def _name(self, now: float, fault: str, device: str, *, deaf: bool) -> None:
        """`fault` is what the sign of life names; empty: none."""
        if fault != self._fault:
            if self._fault in self._raised_s:
                self._seen_s[self._fault] = now
            self._fault, self._fault_s = fault, now
        if fault and fault != self._raised:
            wait_s = LASTS_S if now < self._seen_s.get(fault, -math.inf) + SAME_FAULT_S else 0.0
            if deaf and ("voice", SILENT) in self._faults:
                wait_s = max(wait_s, OPENING_S)  # it has just come up
            if now >= self._fault_s + wait_s:
                self._begin(now, fault, device)
                self._end(now, self._raised)
                self._raised = fault
        if self._raised and self._raised != fault and not deaf:
            self._end(now, self._raised)
            self._raised = ""

    def _begin(self, now: float, fault: str, device: str = "") -> None:
        self._raised_s[fault] = now
        # Who is told by touch loses nothing with the voice: it is no reason to be shaken every minute.
        repeat = not self._arbiter.by_touch
        self._faults.begin(now, "voice", fault, device, value=VOICE_CAUSES.get(fault, "voice"), repeat=repeat)

    def _end(self, now: float, fault: str) -> None:
        if ("voice", fault) not in self._faults:
            return
        if self._arbiter.voice_lost:
            self._note(now, fault)
        self._faults.end(now, "voice", fault, value=ITSELF.get(fault, ""))
        left = next(self._faults.of("voice"), "")
        if left:
            value = VOICE_CAUSES.get(left, "voice")
            self._arbiter.hold(now, "fault", Level.CAUTION, value=value, because=left, name="voice")

    def _note(self, now: float, fault: str) -> None:
        """A fault is over, or nearly: remembers it if the walker has not been told."""
        if ("voice", fault) in self._faults and (fault == DOUBTED or not self._arbiter.told("fault", "voice")):
            self._unsaid[fault] = now - self._raised_s[fault]

    def _say_cause(self, now: float, fault: str, *, back: bool) -> None:
        """What kept it from being heard and is over, if that was not said yet: of several causes the one that lasted.

        `back`: it could not be heard up to now, so what was being said of it may have been cut off.
        """
        arbiter = self._arbiter
        self._note(now, SILENT)
        if self._raised != fault:
            self._note(now, self._raised)
        if self._unsaid:
            self._cause, self._cause_s = max(self._unsaid, key=lambda each: self._unsaid[each]), now
            self._unsaid.clear()
        elif not back or not self._cause:
            return
        elif arbiter.ended_s("voice_cause") > self._cause_s:
            self._cause = ""
            return
        arbiter.announce(now, "voice_cause", VOICE_CAUSES.get(self._cause, "voice"), because=self._cause)
