"""The check at the start: a hand that was seen behind, and a press that answers a question which was heard.

An open port is no proof.  A hand held behind the wearer, and taken away, proves the rear sensors; "Press the button if
you hear this", answered, proves that loudspeaker, ear and button work together.  Either may come first.  A microphone
that hears the device needs no press, and a wearer who is told by touch is asked by touch.
"""

from __future__ import annotations

import math

from retrowalk.core.arbiter import Arbiter

ANSWER_S = 8.0
"""So long after the hand and the question, whichever was last, protection is limited without an answer."""
ASK_AGAIN_S = 12.0
"""A question that has not begun to sound is asked again so much later, when the voice is there."""
AGAIN_S = 14.0
"""What it waits for is said once more this long after the check began: stand, or hold out a hand."""
REMIND_S = 2.0
"""Who holds out a hand longer than this after the question began is asked once more: they may have waited for it."""


class Check:
    """What has been proved.  Times are session seconds; `limit_s` is how long a check may take."""

    def __init__(self, arbiter: Arbiter, limit_s: float, *, by_touch: bool = False) -> None:
        self._arbiter = arbiter
        self._limit_s = limit_s
        self._by_touch = by_touch
        self.hand = False
        """The hand behind was seen, the clip gives samples and knows upright."""
        self.sound = False
        """The wearer, or a microphone, has heard the device."""
        self.answered_down_s = -math.inf
        """When the press began that answered: it asks nothing else."""
        self._started_s = -math.inf
        self._hand_s = math.inf
        self._asked_s = math.inf
        """When it was first asked ..."""
        self._latest_s = -math.inf
        """... and the latest time."""
        self._again_s = math.inf
        """When it says again what it waits for."""

    def start(self, now: float, *, sound: bool) -> None:
        """A check begins; `sound`: that part was passed a short while ago and still holds."""
        self.hand = False
        self.sound = sound
        self._started_s = now
        self._hand_s = self._asked_s = math.inf
        self._latest_s = -math.inf
        self._again_s = now + AGAIN_S
        self._arbiter.forget_begun("self_test")

    def resume(self, now: float, *, sound: bool) -> None:
        """Goes on after a restart: the hand was seen before it, and `sound` tells whether the device was heard."""
        self.hand, self._hand_s = True, now
        self.sound = sound

    def ask(self, now: float) -> None:
        """Asks for the press, unless that is known."""
        if self.sound:
            return
        self._arbiter.announce(now, "self_test")
        self._asked_s = min(self._asked_s, now)
        self._latest_s = now

    def advance(self, now: float, *, hand: bool, voice: bool, upright: bool = True) -> None:
        """`hand`: that part is passed; `voice`: the voice is there and can be heard.

        `upright`: nobody waits for the wearer to stand upright.
        """
        if self.sound and self.hand:
            return
        if hand and not self.hand:
            self.hand = True
            self._hand_s = now
            if not self.sound and now >= max(self._latest_s, self._begun_s) + REMIND_S:
                self.ask(now)
        if not self.hand and now >= self._again_s:
            self._again_s = math.inf
            self._arbiter.announce(now, "checking" if upright else "stand_still")
        if not self.sound and voice and self._begun_s == math.inf and now >= self._latest_s + ASK_AGAIN_S:
            self.ask(now)

    def missing(self, now: float, *, waiting: bool, deaf: bool) -> str:
        """What keeps protection from being whole: empty, `checking` (wait), `unchecked` or `unheard`.

        `waiting`: the device has not begun to guard; once it has, it guards on without an answer.  `deaf`: the voice
        is lost, which says more than that it was not confirmed.
        """
        late = now >= self._started_s + self._limit_s
        if not self.hand:
            return "unchecked" if late else "checking"
        if self.sound or deaf:
            return ""
        return "checking" if waiting and not late and now < self._answer_by_s else "unheard"

    def deadline(self, now: float) -> float:
        """When `missing` or `advance` may have something new if nothing comes (`math.inf`: never)."""
        if self.hand and self.sound:
            return math.inf
        due = [self._started_s + self._limit_s, self._answer_by_s]
        if not self.hand:
            due.append(self._again_s)
        if not self.sound and self._begun_s == math.inf:
            due.append(self._latest_s + ASK_AGAIN_S)
        return min((at_s for at_s in due if now < at_s < math.inf), default=math.inf)

    @property
    def asked(self) -> bool:
        """Whether the press has been asked for, and not been given."""
        return not self.sound and self._asked_s < math.inf

    def answers(self, down_s: float) -> bool:
        """Whether a press that began at `down_s` and was released answers: it came after the question began."""
        return not self.sound and down_s > self._begun_s

    def confirm(self, down_s: float | None = None) -> None:
        """It was heard, by the wearer whose press began at `down_s` or by a microphone."""
        self.sound = True
        if down_s is not None:
            self.answered_down_s = down_s
        self._arbiter.retract("self_test")
        self._arbiter.retract("unheard")

    @property
    def _answer_by_s(self) -> float:
        return max(self._hand_s, self._asked_s) + ANSWER_S

    @property
    def _begun_s(self) -> float:
        """When the question began to sound, or to be felt (`math.inf`: it has not)."""
        begun_s = self._arbiter.begun_s("self_test")
        return min(begun_s, self._asked_s) if self._by_touch else begun_s
