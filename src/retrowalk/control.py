"""The control socket of a running retrowalk: what `doctor` and `record` ask the guard, from their own process.

Nothing here waits for an answer by itself: who owns a `Control` lets time pass with `wait` and looks at what has come.
The guard answers between two decisions and never waits for us; what we do not take in time is gone.
"""

from __future__ import annotations

import math
import os
import select
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from retrowalk import wire
from retrowalk.core import events as ev
from retrowalk.core.samples import Item
from retrowalk.errors import DeviceError, WireError
from retrowalk.platform import Clock, Mailbox, SocketMailbox

EXAMINE_AGAIN_S = 2.0
"""The guard sends copies for 5 s after each question."""

EVENTS_KEPT = 200
"""Of events nobody asks for, the latest are kept."""

Wait = Callable[[float], None]
"""Lets so many seconds pass, or fewer when something has come."""


class Control:
    """A line to the running guard."""

    def __init__(self, mailbox: Mailbox, clock: Clock, wait: Wait) -> None:
        self.mailbox = mailbox
        self.examined: wire.Examined | None = None
        """The guard's latest answer; None: it has not answered."""
        self.taken = False
        """Whether somebody took our latest question."""
        self._clock = clock
        self._wait = wait
        self._again_s = -math.inf
        self._items: list[Item] = []
        self._said: list[wire.ProgressMessage] = []
        self._tested: list[wire.TouchTested] = []
        self._cues: list[wire.CueTested] = []
        self._events: list[ev.Event] = []
        self._parts: list[wire.Parts] = []

    def now(self) -> float:
        return self._clock.now()

    def wait(self, seconds: float) -> None:
        """Lets time pass and takes in what comes, asking again before the guard would stop sending."""
        until = self.now() + seconds
        while True:
            self._take_in()
            now = self.now()
            if now >= self._again_s:
                self._again_s = now + (EXAMINE_AGAIN_S if self._ask() else 0.2)
            if now >= until:
                return
            self._wait(min(until, self._again_s) - now)

    def items(self) -> list[Item]:
        """Items that the guard has been fed since the last call; their times are seconds of its session."""
        found, self._items = self._items, []
        return found

    def events(self) -> list[ev.Event]:
        """What the guard has found out since the last call; times are seconds of its session."""
        found, self._events = self._events, []
        return found

    def say(self, text: str, limit_s: float, sound: str = "") -> str:
        """Has rendered text said at the lowest rank; returns what became of it.

        `sound`: the file that holds it, where it is not in the voice's own bank.

        `finished`, `cut` (by something more urgent), `expired` (something more urgent lasted too long),
        `unknown_phrase` (the voice has no such sound), or empty: nobody answered within `limit_s`.
        """
        self._said.clear()
        until = self.now() + limit_s
        message = wire.encode(wire.SayMessage(text, self.mailbox.name, sound))
        while not self.mailbox.send("guard", message):
            if self.now() >= until:
                return ""
            self.wait(0.1)
        while self.now() < until:
            for happened in self._said:
                if happened.phase != "started":
                    return happened.phase.value
            self.wait(0.05)
        return ""

    def touch(self, pattern: str, *, buzzer: bool, side: str = "") -> str | None:
        """Lets a pattern be felt, on one `side` (`left`, `right`) or on both.

        Empty: it is; else why not (`alarm`, `hazard`, `walking`); None: no answer.
        """
        self._tested.clear()
        if not self.mailbox.send("guard", wire.encode(wire.TouchTest(self.mailbox.name, pattern, buzzer, side))):
            return None
        until = self.now() + 1.0
        while not self._tested and self.now() < until:
            self.wait(0.05)
        return self._tested[-1].refused if self._tested else None

    def cue(self) -> wire.CueTested | None:
        """Has "Stop" said as in a warning, for a walker who is to be measured.  None: the guard did not answer."""
        self._cues.clear()
        if not self.mailbox.send("guard", wire.encode(wire.CueTest(self.mailbox.name))):
            return None
        until = self.now() + 1.0
        while not self._cues and self.now() < until:
            self.wait(0.02)
        return self._cues[-1] if self._cues else None

    def label(self, label: str, phase: Literal["begin", "end"], words: str = "") -> float:
        """Keeps a label in the recording that holds from now on; returns that moment, whenever the guard takes it."""
        now = self.now()
        message = wire.encode(wire.LabelMessage(label, phase, self._clock.origin_mono_s + now, words))
        until = now + 2.0
        while not self.mailbox.send("guard", message) and self.now() < until:
            self.wait(0.05)
        return now

    def finish_part(self) -> list[Path] | None:
        """Has the courier finish the file of the recording; returns the session's files.  None: no answer."""
        self._parts.clear()
        if not self.mailbox.send("courier", wire.encode(wire.NextPart(self.mailbox.name))):
            return None
        until = self.now() + 10.0  # a worn card takes its time
        while not self._parts and self.now() < until:
            self.wait(0.1)
        return [Path(file) for file in self._parts[-1].files] if self._parts else None

    def close(self) -> None:
        self.mailbox.close()

    def _ask(self) -> bool:
        self.taken = self.mailbox.send("guard", wire.encode(wire.Examine(self.mailbox.name)))
        return self.taken

    def _take_in(self) -> None:
        while (data := self.mailbox.receive()) is not None:
            try:
                message = wire.decode_local(data)
            except WireError:
                continue  # of another version
            match message:
                case wire.Examined():
                    self.examined = message
                case wire.RecordsMessage():
                    for record in message.records:
                        self._take_record(record)
                case wire.ProgressMessage():
                    self._said.append(message)
                case wire.TouchTested():
                    self._tested.append(message)
                case wire.CueTested():
                    self._cues.append(message)
                case wire.Parts():
                    self._parts.append(message)
                case _:
                    pass

    def _take_record(self, record: wire.Record) -> None:
        # The last part of a range's channel is the name of its sensor.
        kind = wire.CHANNEL_TYPES.get(record.channel) or wire.CHANNEL_TYPES.get(record.channel.rpartition("/")[0])
        if kind is not None and record.channel.startswith("/item/"):
            self._items.append(wire.decode(bytes(record.data), kind))
        elif kind is not None and record.channel.startswith("/event/"):
            self._events.append(wire.decode(bytes(record.data), kind))
            del self._events[:-EVENTS_KEPT]


ANSWER_S = 2.0


def connect(directories: Sequence[Path], name: str, clock: Clock) -> Control | None:
    """A line to the guard whose socket lies in one of these run directories; None: none is there, or not for us.

    Raises `DeviceError` when somebody takes the question and does not answer: a guard that hangs still has its devices.
    """
    for directory in directories:
        try:
            (directory / "guard.sock").stat()
            mailbox = SocketMailbox(directory, f"{name}-{os.getpid()}")
        except OSError:
            continue  # it is not there, or not ours to talk to

        def wait(seconds: float, mailbox: SocketMailbox = mailbox) -> None:
            select.select([mailbox.fileno()], [], [], max(0.0, seconds))

        control = Control(mailbox, clock, wait)
        until = clock.now() + ANSWER_S
        while control.examined is None and clock.now() < until:
            control.wait(0.05)
            if not control.taken:
                break  # left by a guard that was killed
        if control.examined is not None:
            return control
        control.close()
        if control.taken:
            raise DeviceError(f"retrowalk runs in {directory}, but its guard does not answer")
    return None
