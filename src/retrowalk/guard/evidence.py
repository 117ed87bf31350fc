"""Whether the threads that poll the drivers come back, and what to do about one that does not.

The service manager is told that all is well only while every driver has been asked when it wanted to be, or is named
as one that hangs.  A driver whose call never returns costs the walker that part and nothing else: the guard ends and is
started again once, because that frees what a process can hold on to; when the same driver hangs again, it is named, and
the others go on protecting.  Pure rules: times are session seconds, and the file is the only thing outside.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from retrowalk.errors import SensorError

STEP_LATE_S = 2.0
"""A step that has not come back for so long hangs.  A stuck bus holds one transfer for a second at most."""
FIRST_LATE_S = 15.0
"""So does one that has not come back from its first call, which imports libraries and opens parts: 0.2 s of computing
here, which a Zero 2 W does in 3 s, and reads from a cold card as well."""
FORGIVEN_S = 60.0
"""A step that hung before the last start and has come back for so long may hang once more before it is left behind."""
HANGS = "hangs"
"""The fault of a step that does not come back."""
FILE = "hangs"
"""Names, in the run directory, of the steps because of which the guard was started again."""


class Polling(Protocol):
    """A thread that polls steps, as it is seen from outside."""

    due_s: float
    """When its next step will be polled, or when the one that is being polled was."""
    polls: str
    """The step that is being polled; empty: none."""
    answered: bool
    """Whether each of its steps has come back once."""

    @property
    def steps(self) -> Sequence[str]:
        """Names of its steps."""

    def is_alive(self) -> bool:
        """Whether it has not ended."""


class HangError(RuntimeError):
    """A driver does not come back: the process ends, and is started again."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the threads has found."""

    well: bool
    """Whether the service manager may be told that all is well."""
    ready: bool
    """Whether every step has come back once, or is named."""
    failed: tuple[tuple[str, SensorError], ...] = ()
    """Steps to name: the one that hangs, and those that wait behind it.  To be told each time."""


class Evidence:
    """Judges the threads.  `vital`: steps without which the guard must not go on; `run_dir` in memory."""

    def __init__(self, threads: Sequence[Polling], run_dir: Path, vital: Collection[str], now: float) -> None:
        self._threads = threads
        self._file = run_dir / FILE
        self._vital = vital
        self._began_s = now
        self._before = self._read()
        """Hung in the life before."""
        self._forgive_s = now + FORGIVEN_S if self._before else math.inf
        self._ready = False
        self._late: dict[int, float] = {}
        """Since when a thread was late at an earlier look."""

    def look(self, now: float) -> Look:
        """Looks at all threads.  Raises `HangError` when the process must end."""
        well, ready = True, True
        failed: list[tuple[str, SensorError]] = []
        for number, thread in enumerate(self._threads):
            if not thread.is_alive():
                # One that ended without a word: whatever it read is not read any more.
                raise HangError("a thread of the guard died; the process ends and is started again")
            due_s, hangs = thread.due_s, thread.polls
            late_s = now - max(due_s, self._began_s)
            if late_s < (STEP_LATE_S if thread.answered else FIRST_LATE_S):
                # Before a thread has answered once the service manager has a limit of its own, and is not fed.
                ready = ready and thread.answered
            elif not hangs or self._late.get(number) != due_s:
                # The whole process may have stood still, and this thread is the first to go on: one look is no proof.
                self._late[number] = due_s
                ready = ready and thread.answered
                well = False  # without a step it is not the driver: the processor is not given to the thread
            else:
                failed += self._left_behind(thread, hangs, late_s)
        self._ready = self._ready or ready
        if now >= self._forgive_s and not failed:
            self._forgive_s = math.inf
            self._before = frozenset()
            self._file.unlink(missing_ok=True)
        return Look(well and self._ready, self._ready, tuple(failed))

    def _left_behind(self, thread: Polling, hangs: str, late_s: float) -> list[tuple[str, SensorError]]:
        if hangs in self._vital or hangs not in self._before:
            self._blame(hangs)
            raise HangError(f"{hangs}: its driver has not come back for {late_s:.0f} s; it is tried in a new process")
        detail = f"{hangs}: its driver does not come back"
        behind = f"waits for {hangs}, whose driver does not come back"
        return [(name, SensorError(HANGS, detail if name == hangs else f"{name}: {behind}")) for name in thread.steps]

    def _read(self) -> frozenset[str]:
        try:
            return frozenset(self._file.read_text(encoding="utf-8").split("\n")) - {""}
        except (OSError, UnicodeDecodeError):
            return frozenset()

    def _blame(self, step: str) -> None:
        try:
            self._file.write_text("\n".join(sorted(self._before | {step})), encoding="utf-8")
        except OSError:
            pass  # it is blamed anew, and the guard started again, for as long as nothing can be written
