"""Talking with a walker who is to be measured: sentences said by the guard that runs, answers by its button.

Everything is spoken, so that a person alone can do it.  Real alerts go first as always.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from retrowalk.control import Control
from retrowalk.core import events as ev
from retrowalk.core.events import GuardState, Level
from retrowalk.core.gestures import HOLD_SPOKEN_S
from retrowalk.core.samples import ButtonEdge, Item
from retrowalk.record import Speaker

GUARDING_WITHIN_S = 90.0
"""The guard's own check takes half a minute when nobody does it."""
PRESS_WITHIN_S = 300.0
LOOK_S = 0.1

ENDED = "Ended. Nothing is changed."
SAVED = "I use it from the next start on."

_ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_TEENS = ("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def counted(number: int) -> str:
    """A whole number from 0 to 999 as it is said."""
    if number >= 100:
        hundreds, rest = divmod(number, 100)
        return f"{_ONES[hundreds]} hundred{f' and {counted(rest)}' if rest else ''}"
    if number < 20:
        return (*_ONES, *_TEENS)[number]
    tens, ones = divmod(number, 10)
    return f"{_TENS[tens]}-{_ONES[ones]}" if ones else _TENS[tens]


def in_words(value: float) -> str:
    """A number from 0 to 9.9 as it is said, to one decimal place."""
    whole, tenth = divmod(round(10.0 * value), 10)
    return f"{_ONES[whole]} point {_ONES[tenth]}" if tenth else _ONES[whole]


class Dialogue:
    """One conversation.  `stop` may be called at any time, also from a signal handler.

    `render` is called with each text before it is said, so that the voice finds its sound; `tell` with a line for
    whoever watches; `take` with the items that the guard was fed.
    """

    def __init__(
        self,
        control: Control,
        render: Callable[[str], object],
        tell: Callable[[str], None],
        take: Callable[[Item], None],
    ) -> None:
        self.control = control
        self.tell = tell
        self._render = render
        self._give = take
        self._speaker = Speaker(control, self._take)
        self._stopped = self._speaker.stopped
        self._down_s: float | None = None
        self._presses: list[float] = []

    def stop(self) -> None:
        """Ends it."""
        self._stopped.set()

    def over(self) -> bool:
        """Whether it was ended: by `stop`, or by the walker who held the button."""
        return self._stopped.is_set()

    def say(self, text: str) -> None:
        """Says a text and shows it."""
        self.tell(text)
        self._render(text)
        if not self._speaker.say(text):
            self.tell("   (it could not be said)")

    def say_ended(self) -> None:
        """Says that nothing is changed.  It was asked for, so this one thing is said though it is over."""
        self._stopped.clear()
        self.say(ENDED)
        self._stopped.set()

    def look(self) -> None:
        """Lets a moment pass, and takes in what comes."""
        self.control.wait(LOOK_S)
        self._speaker.items()

    def press(self, within_s: float = PRESS_WITHIN_S, unless: Callable[[], bool] = lambda: False) -> float | None:
        """Waits for a press; returns when the button went down, in session seconds.

        None: there was none in time, it was ended, or `unless` came true.
        """
        self._presses.clear()
        until = self.control.now() + within_s
        while not self.over() and self.control.now() < until and not unless():
            self.look()
            if self._presses and not self.over():
                return self._presses[-1]
        return None

    def guarding(self) -> bool:
        """Waits until the device guards; returns whether it does."""
        began_s = self.control.now()
        told = False
        while not self.over() and self.control.now() < began_s + GUARDING_WITHIN_S:
            self.look()
            examined = self.control.examined
            if examined is not None and examined.guard_state in ("guarding", "limited"):
                return True
            if not told and self.control.now() > began_s + 3.0:  # it is asked every two seconds
                told = True
                self.tell("   waiting until it guards: press when it asks, hold a hand behind you, and take it away")
        return False

    def disturbed(self, alert: int = 0, least: Level = Level.CAUTION) -> bool:
        """Whether the guard has had something else to say that a walker acts on; `alert`: our own "Stop".

        `least`: how urgent a hazard must be for that.
        """
        urgent = [level.name.lower() for level in Level if level >= least]
        for event in self.control.events():
            match event:
                case ev.AlertSpoken(phrase="limited"):
                    pass  # the answer to the press, of a device that guards with less than usual
                case ev.AlertSpoken() if event.alert != alert and event.level in urgent:
                    return True
                case ev.HazardRaised() if event.level in urgent:
                    return True
                case ev.GuardChanged() if least <= Level.CAUTION or event.state is GuardState.NOT_PROTECTING:
                    return True
                case ev.BalanceLost() | ev.FallSuspected() | ev.SosRaised():
                    return True
                case _:
                    pass
        return False

    def _take(self, items: Sequence[Item]) -> None:
        for item in items:
            self._give(item)
            if isinstance(item, ButtonEdge):
                self._edge(item)

    def _edge(self, edge: ButtonEdge) -> None:
        if edge.pressed:
            self._down_s = edge.t_measured_s
        elif self._down_s is not None:
            down_s, self._down_s = self._down_s, None
            if edge.t_measured_s - down_s >= HOLD_SPOKEN_S:
                self._stopped.set()
            else:
                self._presses.append(down_s)
