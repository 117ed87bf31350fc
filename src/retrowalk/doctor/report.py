"""What a doctor's visit leaves: one line for each thing looked at, and what to do where it is not well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import msgspec


class State(StrEnum):
    """How it is with one thing."""

    OK = "ok"
    """Nothing to do."""
    LOOK = "look"
    """It works, or may; somebody should look."""
    BAD = "bad"
    """The device cannot do what it is for until this is mended."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    id: str
    """Dotted and stable, for programs: its section, then its name (`sensors.rear`)."""
    state: State
    title: str
    """What it is, in a word or two."""
    detail: str
    """What was found, one sentence."""
    mend: str = ""
    """What to do; empty when there is nothing to do."""

    @property
    def section(self) -> str:
        return self.id.partition(".")[0]


SECTIONS = {
    "settings": "Settings",
    "computer": "Computer",
    "retrowalk": "Retrowalk",
    "bus": "I2C bus",
    "pins": "Pins",
    "sensors": "Sensors",
    "sound": "Sound",
    "messages": "Messages",
    "person": "You",
}
"""Sections in the order in which they are shown, with their titles."""


@dataclass(frozen=True, slots=True)
class Report:
    """Every line of a visit."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return self.status == 0

    @property
    def status(self) -> int:
        """Exit status: 0 all is well, 1 something to look at, 2 it cannot be used like this."""
        states = {check.state for check in self.checks}
        return 2 if State.BAD in states else 1 if State.LOOK in states else 0

    def sections(self) -> Iterator[tuple[str, list[Check]]]:
        """Title and lines of each section that has any."""
        for section, title in SECTIONS.items():
            found = [check for check in self.checks if check.section == section]
            if found:
                yield title, found

    def json(self) -> bytes:
        """One object: `checks` (id, state, title, detail, mend) and `ok`."""
        return msgspec.json.encode({"checks": self.checks, "ok": self.ok})


def report(checks: Iterable[Check]) -> Report:
    """The lines in the order of the sections."""
    order = list(SECTIONS)
    return Report(tuple(sorted(checks, key=lambda check: order.index(check.section))))
