"""Measuring how a walker stops: five "Stop" at random moments, while they walk backward in a clear space.

A `Session` drives a guard that runs, through its control socket.  The guard says each "Stop" itself, as it says a
warning, and only when it has nothing to warn of; the clip tells when the walker stood (`core.stopping`).  Everything
is spoken, and the button begins each walk, so that a person alone can do it.  Real alerts go first as always, and make
the attempt void.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

from msgspec import structs

from retrowalk import calibration
from retrowalk.calibrate.dialogue import ENDED, SAVED, Dialogue, counted, in_words
from retrowalk.calibration import Measured
from retrowalk.config import Config
from retrowalk.control import Control
from retrowalk.core.alerts import FAULT_PARTS
from retrowalk.core.governor import protected_speed_m_s
from retrowalk.core.reach import usual_reach_m
from retrowalk.core.samples import ImuSample, Item, VoicePhase, VoiceProgress
from retrowalk.core.stopping import STEPS_BEFORE, STOPS, Attempt, StopWatch, Void, allowed_s
from retrowalk.errors import StartError

CUE_AFTER_S = (3.0, 8.0)
"""The cue comes so long after the walk is steady, drawn anew each time: who can foresee it has no need to react."""
ATTEMPTS_MAX = 15
WALK_WITHIN_S = 30.0
"""Who presses and does not walk within this time is asked again."""
CUE_HEARD_WITHIN_S = 1.5
DECIDED_WITHIN_S = 9.0
"""A stop is decided 7 s after its cue at the latest; samples come up to half a second late."""
_chance = random.SystemRandom()
LABEL = "calibrate_stop"
"""Holds in the recording for each attempt, from the press to its end."""

INTRO = (
    "I measure how you stop. You need ten metres of free, even ground behind you, and nobody close.",
    "Each time, walk backward until you hear Stop. Then stop as you usually do, and stand for two seconds.",
    "That is done five times. To end it, hold the button for two seconds.",
)
"""One by one: a sentence is waited for no longer than `record.SAY_S`."""
READY = "Press the button when the way behind you is clear. Then walk backward."
TOO_MANY = "That did not work today. Nothing is changed."

AGAIN = {
    Void.NOT_WALKING.value: "You were not walking when it came. Once more.",
    Void.MOVED_ON.value: "You moved on too soon. Stand for two seconds. Once more.",
    Void.NO_STANDSTILL.value: "You did not stop. Once more.",
    Void.GAP.value: "I could not measure that. Once more.",
    "no_walk": "You did not walk. Once more.",
    "disturbed": "Something else was more important. Once more.",
    "alarm": "A call for help is open. End that first.",
    "hazard": "Something else needs you: perhaps too little room behind. Once more.",
    "not_guarding": "I am not guarding. Once more.",
    "standing": "You were not walking when it came. Once more.",
    "voice": "I could not be heard. Once more.",
}
"""What is said of an attempt that does not count, by its cause: `Void`, or why the guard said no "Stop"."""

TEXTS = tuple(dict.fromkeys((*INTRO, READY, *AGAIN.values(), SAVED, ENDED, TOO_MANY)))
"""What is known beforehand, to be rendered before anybody waits for it: on the smallest Pi a sentence takes seconds."""


def said_of(stop_s: float, left: int) -> str:
    """What is said after a stop that counts."""
    more = f"{counted(left).capitalize()} more." if left else "That was the last."
    words = in_words(stop_s)
    return f"{words[0].upper()}{words[1:]} seconds. {more}"


def result(stop_s: float, protected_m_s: float) -> str:
    """What is said at the end.  The speed is rounded down: it is promised."""
    protected_m_s = math.floor(10.0 * protected_m_s) / 10.0
    return (
        f"From now on I give you {in_words(stop_s)} seconds to stop. "
        f"You are protected up to {in_words(protected_m_s)} metres a second."
    )


def measure(session: Session, config: Config, file: Path, measured_at: str) -> Measured | None:
    """Has a session run, keeps what it measured in `file`, and says what follows from it; None: it was ended before.

    `config`: settings with an assumed profile.  Raises `StartError`, `CalibrationError` and `OSError`.
    """
    profile = config.walker.profile
    assert profile != "measured"  # that number stands before any measurement, so nobody is asked to walk
    stops_s = [round(stop_s, 2) for stop_s in session.run()]
    if not stops_s:
        return None
    stop_s = round(allowed_s(stops_s, profile), 2)
    measured = Measured(measured_at=measured_at, stops_s=stops_s, stop_s=stop_s, profile=profile)
    calibration.add(file, measured)
    walker = structs.replace(config.walker, profile="measured", measured_stop_s=stop_s)
    session.say(result(stop_s, protected_speed_m_s(usual_reach_m(config), walker, config.collision)))
    session.say(SAVED)
    return measured


class Session:
    """Measures once.  `stop` may be called at any time, also from a signal handler; then nothing is measured.

    `render` is called with each text before it is said, so that the voice finds its sound; `tell` with a line for
    whoever watches; `draw` gives a random number between its two arguments.
    """

    def __init__(
        self,
        control: Control,
        render: Callable[[str], object],
        tell: Callable[[str], None] = lambda line: None,
        draw: Callable[[float, float], float] = _chance.uniform,
    ) -> None:
        self.attempts: list[Attempt | str] = []
        """What became of each: an attempt that was measured or void, or why there was no cue."""
        self._control = control
        self._draw = draw
        self._dialogue = Dialogue(control, render, tell, self._take)
        self._watch: StopWatch | None = None
        self._progress: dict[int, list[VoiceProgress]] = {}

    def stop(self) -> None:
        """Ends it."""
        self._dialogue.stop()

    def run(self) -> list[float]:
        """Measures; returns cue to standstill of each stop, in seconds, or nothing when it was ended before.

        Raises `StartError` when the guard does not guard, has a fault to tell of, or does not answer any more.
        """
        talk = self._dialogue
        if not talk.guarding():
            if talk.over():
                return []
            raise StartError("the device does not guard: do its check; retrowalk doctor says what is wrong")
        self._nothing_wrong()
        stops_s: list[float] = []
        for text in INTRO:
            if not talk.over():
                self.say(text)
        while len(stops_s) < STOPS and not talk.over():
            if len(self.attempts) >= ATTEMPTS_MAX:
                self.say(TOO_MANY)
                return []
            self._control.label(LABEL, "begin", READY)
            try:
                attempt = self._attempt()
            finally:
                self._watch = None
                self._control.label(LABEL, "end", READY)
            if talk.over():
                break
            self.attempts.append(attempt)
            stop_s = attempt.stop_s if isinstance(attempt, Attempt) else None
            if stop_s is not None:
                stops_s.append(stop_s)
                talk.tell(f"   {stop_s:.2f} s")
                self.say(said_of(stop_s, STOPS - len(stops_s)))
            else:
                self.say(AGAIN[attempt.void.value if isinstance(attempt, Attempt) and attempt.void else str(attempt)])
        if talk.over():
            talk.say_ended()
            return []
        return stops_s

    def say(self, text: str) -> None:
        """Says a text and shows it."""
        self._dialogue.say(text)

    # -- one attempt ----------------------------------------------------------------------------------------

    def _attempt(self) -> Attempt | str:
        self.say(READY)
        if self._dialogue.press() is None:
            self._dialogue.stop()
            return ""
        self._watch = watch = StopWatch()
        self._control.events()
        asked = self._walk(watch)
        if isinstance(asked, str):
            return asked
        return self._standstill(watch, asked)

    def _walk(self, watch: StopWatch) -> str | int:
        """Waits for a steady walk and a random moment, and has "Stop" said: its number, or why not."""
        control = self._control
        walks_by_s = control.now() + WALK_WITHIN_S
        cue_s: float | None = None
        while not self._dialogue.over():
            self._dialogue.look()
            if self._dialogue.disturbed():
                return "disturbed"
            walking = watch.steady_steps >= STEPS_BEFORE
            now = control.now()
            if cue_s is None and walking:
                cue_s = now + self._draw(*CUE_AFTER_S)
            elif cue_s is None and now >= walks_by_s:
                return "no_walk"
            elif cue_s is not None and not watch.steady_steps:
                return Void.NOT_WALKING.value
            elif cue_s is not None and now >= cue_s:
                answer = control.cue()
                if answer is None:
                    raise StartError("the guard does not answer any more")
                return answer.refused or answer.alert
        return ""

    def _standstill(self, watch: StopWatch, alert: int) -> Attempt | str:
        control = self._control
        asked_s = control.now()
        cued = False
        while not self._dialogue.over():
            self._dialogue.look()
            if self._dialogue.disturbed(alert):
                return "disturbed"
            for progress in self._progress.get(alert, ()):
                if progress.phase is VoicePhase.STARTED and not cued:
                    cued = True
                    watch.cue(progress.t_measured_s)
                elif progress.phase is VoicePhase.CUT:
                    return "disturbed"
            outcome = watch.outcome()
            if outcome is not None:
                return outcome
            waited_s = control.now() - asked_s
            if not cued and waited_s > CUE_HEARD_WITHIN_S:
                return "voice"
            if waited_s > DECIDED_WITHIN_S:
                return Void.GAP.value  # no samples come any more
        return ""

    def _nothing_wrong(self) -> None:
        """A guard that has a fault to tell of says no cue: told before anybody walks."""
        examined = self._control.examined
        for fault in examined.faults if examined is not None else ():
            if fault.part in FAULT_PARTS:
                what = f"{fault.part}: {fault.fault}{f', {fault.detail}' if fault.detail else ''}"
                raise StartError(f"mend this first, then start retrowalk again: {what}")

    def _take(self, item: Item) -> None:
        if isinstance(item, ImuSample):
            if self._watch is not None:
                self._watch.feed(item)
        elif isinstance(item, VoiceProgress):
            self._progress.setdefault(item.alert, []).append(item)
