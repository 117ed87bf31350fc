"""Labelled recordings: a person is told what to do, and the recording says when they did it.

A `Session` drives a guard that runs, through its control socket: it has each prompt said at the lowest rank (a warning
cuts it, and then it is said again), and keeps a label in the recording from the end of its words until its time is
over.  The guard records as always; nothing of this takes part in any decision, and a replay leaves it out.
"""

from __future__ import annotations

import select
import shutil
import signal
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from retrowalk import supervise
from retrowalk.control import Control
from retrowalk.core.samples import ButtonEdge, Item, VoiceHeartbeat
from retrowalk.errors import ConfigError, Finding, StartError
from retrowalk.platform import MonotonicClock, SocketMailbox

SAY_S = 12.0
"""A prompt is waited for so long: the voice may have something more urgent to say."""
AGAIN_S = 30.0
"""What was cut off is said again, and again, for so long: a warning lasts until somebody moves."""
FLUSH_S = 1.0
"""The guard hands its records over every half second."""
BUTTON_S = 300.0
"""For the button is waited so long."""
START_LIMIT_S = 15.0
"""A guard that was started for the recording is there by then, or is not coming."""
TURN_S = 0.05

COUNTDOWN = "In three, two, one."
GO_ON = "Press the button when you are ready."
DONE = "That was all. Thank you."


class Prompt(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing the walker is asked to do."""

    label: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,32}\Z")]
    """Name of it in the recording (a to z, 0 to 9, hyphen, underscore)."""
    say: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,200}\Z")]
    """What the walker hears."""
    seconds: Annotated[float, Meta(ge=0.5, le=600.0)]
    """How long it lasts (0.5 to 600 s)."""
    countdown: bool = True
    """Whether it begins after "in three, two, one"; without, at the end of its words."""


class _Script(Struct, frozen=True, forbid_unknown_fields=True):
    prompt: Annotated[list[Prompt], Meta(min_length=1, max_length=200)]


DEFAULT: tuple[Prompt, ...] = (
    Prompt("stand", "Stand still.", 5.0),
    Prompt("walk_slow", "Walk back slowly.", 10.0),
    Prompt("stop", "Stop.", 4.0, countdown=False),
    Prompt("walk_usual", "Walk back as you usually do.", 10.0),
    Prompt("stop", "Stop.", 4.0, countdown=False),
    Prompt("turn", "Turn around on the spot.", 8.0),
    Prompt("stand", "Stand still.", 5.0),
)
"""A minute and a half that gives every benchmark something: standing, two speeds, stops, a turn."""


def script(name: str | Path) -> tuple[Prompt, ...]:
    """The prompts of a script: `default`, or a TOML file of `[[prompt]]` tables.  Raises `ConfigError`, `OSError`."""
    if str(name) == "default":
        return DEFAULT
    file = Path(name)
    try:
        return tuple(msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), _Script).prompt)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        rule = 'must hold [[prompt]] tables with label = "stand", say = "Stand still." and seconds = 5'
        raise ConfigError([Finding(str(file), "(file)", "", f"{error}; {rule}")]) from error


def texts(prompts: Sequence[Prompt], *, by_button: bool) -> list[str]:
    """Everything that will be said: rendered before the beginning, so that nothing waits for it."""
    found = [words(prompt) for prompt in prompts] + [DONE] + ([GO_ON] if by_button else [])
    return list(dict.fromkeys(found))


def words(prompt: Prompt) -> str:
    """What is said for a prompt."""
    return f"{prompt.say} {COUNTDOWN}" if prompt.countdown else prompt.say


@dataclass(frozen=True, slots=True)
class Labelled:
    """What became of a prompt.  Times are seconds of the `Control`'s clock."""

    label: str
    begin_s: float
    end_s: float
    heard: bool
    """Whether its words were played to their end."""


class Speaker:
    """Has texts said through a guard that runs: at the lowest rank, and again when something more urgent cut them."""

    def __init__(self, control: Control, take: Callable[[Sequence[Item]], None] = lambda items: None) -> None:
        self.stopped = threading.Event()
        """Set: nothing is said again, whatever cut it."""
        self._control = control
        self._take = take
        self._again_s = AGAIN_S
        self._mute = False
        """Whether the voice has nothing to play on."""
        self._frames = -1

    def say(self, text: str) -> bool:
        """Says a text; returns whether it was played to its end."""
        self.items()
        if self._mute and not self._again_s:
            return False
        until = self._control.now() + self._again_s
        while (became := self._control.say(text, SAY_S)) in ("cut", "expired"):
            self.items()
            if self._control.now() >= until or self.stopped.is_set() or self._mute:
                break
            self._control.wait(1.0)  # what was more urgent is to be understood first
        # A voice that cannot be heard keeps nobody waiting again; the terminal shows what is asked.
        self._again_s = AGAIN_S if became == "finished" else 0.0
        return became == "finished"

    def items(self) -> list[Item]:
        """What the guard was fed since the last call; the voice's latest sign of life is kept."""
        items = self._control.items()
        for item in items:
            if isinstance(item, VoiceHeartbeat):
                # A stand-in may play though the device of the settings cannot: its pointer tells.
                advanced = item.frames_played not in (0, self._frames)
                self._mute = item.fault in ("no_device", "frozen") and not advanced
                self._frames = item.frames_played
        self._take(items)
        return items


class Session:
    """Goes through prompts.  `tell` is called with a line for whoever watches; `stop` may be called at any time."""

    def __init__(self, control: Control, tell: Callable[[str], None] = lambda line: None) -> None:
        self.done: list[Labelled] = []
        self._control = control
        self._tell = tell
        self._speaker = Speaker(control)
        self._stopped = self._speaker.stopped

    def stop(self) -> None:
        """Ends after the label that holds now; may be called from a signal handler."""
        self._stopped.set()

    def run(self, prompts: Sequence[Prompt], *, by_button: bool = False, label: str = "") -> None:
        """Asks for each in turn.  `label`: a name that holds from the first to the last, for the whole recording."""
        control = self._control
        if label:
            control.label(label, "begin")
        try:
            for number, prompt in enumerate(prompts, 1):
                if self._stopped.is_set():
                    return
                if by_button and number > 1 and not self._button(prompt):
                    return
                self._one(number, len(prompts), prompt)
            if not self._stopped.is_set():
                self._speaker.say(DONE)
        finally:
            if label:
                control.label(label, "end")

    def _one(self, number: int, count: int, prompt: Prompt) -> None:
        control = self._control
        self._tell(f"{number} of {count}: {prompt.say} ({prompt.seconds:g} s)")
        heard = self._speaker.say(words(prompt))
        if not heard:
            self._tell("   it could not be said; the label holds all the same")
        if self._stopped.is_set():
            return
        begin_s = control.label(prompt.label, "begin", prompt.say)
        try:
            while not self._stopped.is_set() and control.now() < begin_s + prompt.seconds:
                control.wait(min(0.2, begin_s + prompt.seconds - control.now()))
                self._speaker.items()
        finally:
            self.done.append(Labelled(prompt.label, begin_s, control.label(prompt.label, "end", prompt.say), heard))

    def _button(self, prompt: Prompt) -> bool:
        """Waits for a press; returns whether to go on."""
        self._tell(f"   waiting for the button; then: {prompt.say}")
        self._speaker.items()
        self._speaker.say(GO_ON)
        until = self._control.now() + BUTTON_S
        while not self._stopped.is_set() and self._control.now() < until:
            if any(isinstance(item, ButtonEdge) and not item.pressed for item in self._speaker.items()):
                return True
            self._control.wait(0.1)
        return False


def collect(control: Control, out: Path) -> list[Path]:
    """Has the recording's file finished, and copies the session's files to `out`; empty: there are none.

    Raises `OSError` when they cannot be read or written.
    """
    control.wait(FLUSH_S)
    files = control.finish_part() or []
    return keep(files, out)


def keep(files: Sequence[Path], out: Path) -> list[Path]:
    """Copies recordings into a directory."""
    out.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(file, out / file.name)) for file in files]


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Ctrl-C once: ends in good order.  Twice: at once."""

    def handler(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def alone(
    config_file: Path,
    prompts: Sequence[Prompt],
    out: Path,
    tell: Callable[[str], None],
    *,
    by_button: bool,
    label: str,
) -> list[Path]:
    """Starts retrowalk in directories of its own for as long as a session takes; returns what is kept in `out`.

    Takes Ctrl-C for the session's end.  Raises `StartError` when the guard does not come up.
    """
    with own_guard(config_file, "record") as own:
        session = Session(own.control, tell)
        stop_on_signals(session.stop)
        session.run(prompts, by_button=by_button, label=label)
        own.control.wait(FLUSH_S)
        own.end()
        return keep(sorted((own.state_dir / "recordings").glob("*.mcap")), out)


@dataclass(frozen=True, slots=True)
class OwnGuard:
    """A retrowalk that was started for as long as something takes."""

    control: Control
    state_dir: Path
    end: Callable[[], None]
    """Lets it say goodbye and finish its files."""


@contextmanager
def own_guard(config_file: Path, name: str, kept: Sequence[Path] = ()) -> Iterator[OwnGuard]:
    """Starts retrowalk in directories of its own; `kept`: files that it is to find in its state directory.

    `name` is that of the mailbox.  Raises `StartError` when the guard does not come up.
    """
    with tempfile.TemporaryDirectory(prefix="retrowalk-") as place:
        run_dir, state_dir = Path(place) / "run", Path(place) / "state"
        for directory in (run_dir, state_dir):
            directory.mkdir(mode=0o700)
        for file in kept:
            shutil.copyfile(file, state_dir / file.name)
        supervisor = supervise.device(config_file, run_dir, state_dir)
        mailbox = SocketMailbox(run_dir, name)

        def wait(seconds: float) -> None:
            supervisor.poll(time.monotonic())
            select.select([mailbox.fileno()], [], [], min(TURN_S, max(0.0, seconds)))

        def end() -> None:
            supervisor.stop()
            while not supervisor.finished:
                wait(TURN_S)

        control = Control(mailbox, MonotonicClock(), wait)
        try:
            until = time.monotonic() + START_LIMIT_S
            while control.examined is None and time.monotonic() < until:
                control.wait(0.1)
            if control.examined is None:
                raise StartError("the guard did not start: retrowalk doctor says what is wrong")
            control.wait(1.0)  # the voice opens its device
            yield OwnGuard(control, state_dir, end)
        finally:
            supervisor.kill()
            mailbox.close()
