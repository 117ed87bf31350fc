"""First use: what the device is, what it cannot do, what the button does; and a press that accepts it.

Said once the device guards for the first time, sentence by sentence, at the lowest rank there is: everything else cuts
it, and it goes on where it was cut.  Without a press the device guards all the same, and says it again at its next
start.  Whether it was accepted is kept with the state that survives.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from retrowalk.core import events as ev
from retrowalk.core.alerts import ALERT_BY_KEY
from retrowalk.core.arbiter import ANSWER_S, Arbiter
from retrowalk.core.events import ms
from retrowalk.core.samples import VoicePhase, VoiceProgress

BEGIN_S = 4.0
"""After "Guarding." there is something to be said of kerbs."""
PAUSE_S = 0.5
AGAIN_S = 4.0
"""What was cut is said again so much later."""
LONGEST_S = 15.0
"""A sentence that has begun and not ended within this is lost: the voice was started anew."""
ACCEPT_S = 30.0
"""A press accepts within this time of the question's end; later it asks how things are, as ever."""


class Introduction:
    """Says the limits, and takes the press.  Times are session seconds."""

    def __init__(self, sentences: tuple[str, ...], arbiter: Arbiter, emit: Callable[[ev.Event], None]) -> None:
        self._sentences = sentences
        self._arbiter = arbiter
        self._emit = emit
        self.accepted = False
        """Whether the walker has accepted the limits, now or before."""
        self._wanted = False
        self._next = 0
        """Which sentence comes next."""
        self._number = 0
        """Of the request that is under way."""
        self._ready_s = math.inf
        self._due_s = 0.0
        self._asked_s = math.inf
        """When the question began to sound."""
        self._answer_by_s = -math.inf

    def first_use(self, accepted: bool) -> None:
        """What the device remembers: whether somebody has accepted its limits already."""
        self.accepted = self.accepted or accepted
        self._wanted = not self.accepted

    def advance(self, now: float, *, ready: bool) -> None:
        """Says the next sentence when it is due; `ready`: the device guards, can be heard, and no alarm is open."""
        if not self._wanted or self._next >= len(self._sentences):
            return
        if not ready:
            self._ready_s = math.inf
            return
        if self._ready_s == math.inf:
            self._ready_s = now + BEGIN_S
        if now < max(self._ready_s, self._due_s):
            return
        self._number = self._arbiter.announce(now, "introduction", self._sentences[self._next], insist=False)
        self._due_s = now + ALERT_BY_KEY["introduction"].deadline_s + ANSWER_S

    def deadline(self) -> float:
        """When `advance` has something to do if nothing else comes (`math.inf`: never)."""
        if not self._wanted or self._next >= len(self._sentences) or self._ready_s == math.inf:
            return math.inf
        return max(self._ready_s, self._due_s)

    def progress(self, now: float, item: VoiceProgress) -> None:
        """What became of a sentence."""
        if not self._wanted or item.alert != self._number:
            return
        question = self._next == len(self._sentences) - 1
        if item.phase is VoicePhase.STARTED:
            self._due_s = now + LONGEST_S
            if question:
                self._asked_s = now
                self._answer_by_s = math.inf
            return
        self._number = 0
        if item.phase is VoicePhase.FINISHED:
            self._next += 1
            self._due_s = now + PAUSE_S
            if question:
                self._answer_by_s = now + ACCEPT_S
        elif item.phase is VoicePhase.UNKNOWN_PHRASE:
            self._wanted = False  # a voice without these words: nobody can accept what was not said
        else:
            self._due_s = now + AGAIN_S
            self._answer_by_s = -math.inf

    def asks(self, now: float, down_s: float) -> bool:
        """Whether a single press that began at `down_s` would be the answer to the question."""
        return self._wanted and now <= self._answer_by_s and down_s > self._asked_s

    def pressed(self, now: float, down_s: float) -> bool:
        """A single press that began at `down_s`: whether it was the answer to the question."""
        if not self.asks(now, down_s):
            return False
        self._wanted, self.accepted = False, True
        self._emit(ev.LimitsAccepted(t_s=ms(now), alert=self._arbiter.announce(now, "accepted")))
        return True
