"""Measuring how long a walker's steps are: a way of known length, walked backward between two presses of the button.

A `Session` drives a guard that runs, through its control socket; the clip counts the steps (`core.walked.WayWatch`).
One way is enough; a second one makes it surer, and when both agree within 10 % their mean is taken.  When they do not,
a further one decides.  Nothing that cannot be is kept: `Unfit` says what.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retrowalk import calibration
from retrowalk.calibrate.dialogue import SAVED, Dialogue, counted
from retrowalk.calibration import MeasuredGait
from retrowalk.control import Control
from retrowalk.core.events import Level
from retrowalk.core.samples import ImuSample, Item
from retrowalk.core.walked import LATE_S, OwnStep, Unfit, WayWatch, agree, mean
from retrowalk.errors import StartError

DISTANCE_M = 10
DISTANCES_M = (5, 50)
"""Shorter ways are too few steps; on longer ones the walker tires, or has to turn."""
ATTEMPTS_MAX = 8
WALK_WITHIN_S = 30.0
"""Who presses and does not walk within this time is asked again."""
WAY_S_PER_M = 8.0
"""The slowest walk 0.15 m/s, and need a moment at both ends: this long a way may last, for each metre."""
OFFER_S = 60.0
"""So long the second way is waited for."""
SETTLE_S = LATE_S + 0.5
LABEL = "calibrate_gait"
"""Holds in the recording for each way, from the first press to the second."""
BOUNCE_MAX_M_S2 = 40.0

OFFER = "A second way makes it surer. Press at its start, or wait a minute, and I keep this one."
DIFFER = "The two ways differ by more than a tenth. Once more."
TOO_MANY = "That did not work today. Nothing is changed."
KEPT_ONE = "I keep that one."
AGREED = "Both ways agree."

AGAIN = {
    Unfit.EARLY.value: "You walked before you pressed. Stand still, press, then walk. Once more.",
    Unfit.NO_STEPS.value: "I counted hardly a step. Once more.",
    Unfit.STOPPED.value: "You stood still on the way. Walk it in one go. Once more.",
    Unfit.TURNED.value: "You turned round. Keep straight on. Once more.",
    Unfit.FORWARD.value: "You walked forward. Walk backward. Once more.",
    Unfit.TOO_LONG.value: "Those steps would be longer than eighty centimetres. Check the distance. Once more.",
    Unfit.TOO_SHORT.value: "Those steps would be shorter than fifteen centimetres. Check the distance. Once more.",
    Unfit.MISCOUNTED.value: "I counted other than you did. Once more.",
    Unfit.GAP.value: "I could not measure that. Once more.",
    "no_walk": "You did not walk. Once more.",
    "too_late": "That took too long. Once more.",
    "disturbed": "Something else was more important. Once more.",
}
"""What is said of a way that does not count, by its cause."""


def ready(distance_m: int) -> str:
    """How each way is asked for."""
    far = counted(distance_m)
    return f"Stand at the start line. Press, then walk backward {far} metres, stop, and press again."


def intro(distance_m: int) -> tuple[str, ...]:
    """What is said before the first way, one sentence or two at a time."""
    return (
        f"I measure how long your steps are. You need {counted(distance_m)} metres of even ground, and nobody close.",
        "Walk as you usually do. To end it, hold the button for two seconds.",
    )


def said_of(step: OwnStep) -> str:
    """What is said of a way that counts."""
    return f"{counted(step.steps).capitalize()} steps of {counted(round(100.0 * step.step_length_m))} centimetres."


def texts(distance_m: int) -> tuple[str, ...]:
    """What is known beforehand, to be rendered before anybody waits for it."""
    fixed = (OFFER, DIFFER, AGREED, KEPT_ONE, SAVED, TOO_MANY)
    return tuple(dict.fromkeys((*intro(distance_m), ready(distance_m), *AGAIN.values(), *fixed)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a session has measured."""

    step: OwnStep
    ways: tuple[OwnStep, ...]
    """Those that `step` is the mean of."""


def measure(session: Session, file: Path, measured_at: str) -> MeasuredGait | None:
    """Has a session run, and keeps what it measured in `file`; None: it was ended before.

    Raises `StartError`, `CalibrationError` and `OSError`.
    """
    found = session.run()
    if found is None:
        return None
    step = found.step
    measured = MeasuredGait(
        measured_at=measured_at,
        distance_m=float(session.distance_m),
        steps=[way.steps for way in found.ways],
        step_length_m=round(step.step_length_m, 3),
        step_bounce_m_s2=round(min(BOUNCE_MAX_M_S2, max(0.001, step.step_bounce_m_s2)), 3),
        step_time_s=round(step.step_time_s, 3),
        speed_factor=round(step.speed_factor, 3),
    )
    calibration.add(file, measured)
    session.say(SAVED)
    return measured


class Session:
    """Measures once.  `stop` may be called at any time, also from a signal handler; then nothing is measured.

    `render` is called with each text before it is said, so that the voice finds its sound; `tell` with a line for
    whoever watches.  `steps`: as many as somebody beside the walker counts on each way; 0: nobody counts.
    """

    def __init__(
        self,
        control: Control,
        render: Callable[[str], object],
        tell: Callable[[str], None] = lambda line: None,
        *,
        distance_m: int = DISTANCE_M,
        steps: int = 0,
    ) -> None:
        self.distance_m = distance_m
        self.attempts: list[OwnStep | str] = []
        """What became of each way: what it tells, or why it does not count."""
        self._steps = steps
        self._control = control
        self._dialogue = Dialogue(control, render, tell, self._take)
        self._watch: WayWatch | None = None

    def stop(self) -> None:
        """Ends it."""
        self._dialogue.stop()

    def say(self, text: str) -> None:
        """Says a text and shows it."""
        self._dialogue.say(text)

    def run(self) -> Outcome | None:
        """Measures; None when it was ended before, or did not work.  Raises `StartError` when nothing guards."""
        talk = self._dialogue
        if not talk.guarding():
            if talk.over():
                return None
            raise StartError("the device does not guard: do its check; retrowalk doctor says what is wrong")
        for text in intro(self.distance_m):
            if not talk.over():
                self.say(text)
        found = self._ways()
        if talk.over():
            talk.say_ended()
            return None
        if found is None:
            self.say(TOO_MANY)
        return found

    def _ways(self) -> Outcome | None:
        talk = self._dialogue
        good: list[OwnStep] = []
        while not talk.over() and len(self.attempts) < ATTEMPTS_MAX:
            offered = len(good) == 1
            self.say(OFFER if offered else ready(self.distance_m))
            attempt = self._attempt(offered=offered)
            if talk.over():
                return None
            if attempt is None:
                self.say(KEPT_ONE)
                return Outcome(good[0], (good[0],))
            self.attempts.append(attempt)
            if isinstance(attempt, str):
                self.say(AGAIN[attempt])
                continue
            self.say(said_of(attempt))
            for other in good:
                if agree(other, attempt):
                    self.say(AGREED)
                    return Outcome(mean(other, attempt), (other, attempt))
            good.append(attempt)
            if len(good) > 1:
                self.say(DIFFER)
        return None

    # -- one way --------------------------------------------------------------------------------------------

    def _attempt(self, *, offered: bool) -> OwnStep | str | None:
        """One way: what it tells, or why it does not count; None: the walker wants no further one."""
        talk = self._dialogue
        self._watch = WayWatch()
        try:
            begun_s = talk.press(OFFER_S) if offered else talk.press()
            if begun_s is None:
                if not offered:
                    talk.stop()
                return None
            self._control.label(LABEL, "begin", ready(self.distance_m))
            try:
                return self._way(self._watch, begun_s)
            finally:
                self._control.label(LABEL, "end", ready(self.distance_m))
        finally:
            self._watch = None

    def _way(self, watch: WayWatch, begun_s: float) -> OwnStep | str:
        talk = self._dialogue
        watch.begin(begun_s)
        self._control.events()
        causes: list[str] = []
        began_s = self._control.now()

        def over() -> bool:
            if talk.disturbed(least=Level.WARNING):
                causes.append("disturbed")
            elif not watch.steps and self._control.now() > began_s + WALK_WITHIN_S:
                causes.append("no_walk")
            return bool(causes)

        ended_s = talk.press(WALK_WITHIN_S + WAY_S_PER_M * self.distance_m, over)
        if ended_s is None:
            return causes[0] if causes else "too_late"
        watch.end(ended_s)
        until = self._control.now() + SETTLE_S
        while not talk.over() and watch.now_s < ended_s + LATE_S and self._control.now() < until:
            talk.look()
        outcome = watch.outcome(float(self.distance_m), counted=self._steps)
        return outcome.value if isinstance(outcome, Unfit) else outcome

    def _take(self, item: Item) -> None:
        if self._watch is not None and isinstance(item, ImuSample):
            self._watch.feed(item)
