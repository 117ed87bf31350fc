"""The fault matrix: every part, broken in every way, in every phase of use; what is heard, by when, what goes on.

Eleven parts times seven ways to fail times seven phases.  Each cell is a walk of a quarter of a minute in virtual
time: the real guard, voice and courier on simulated chips, and an ear that takes in what leaves the sound device.  A
cell fails unless

- the fault is an event, and heard (or felt, where the sound itself is broken) within the time of its row in
  `retrowalk.core.fault_table`,
- what still works warns in time: of a wall, of somebody who steps behind, or of the fall that is being counted down,
- nothing else is said that is not so: no other part is called broken, nobody is told to stop out of nothing,
- when the fault is over the part is said to work again, where the table says so, and the device guards,
- no part of the program raised what it must not.

Besides, how soon a broken sensor or sound is told of and heard is measured at instants drawn by chance within a clear
walk (`--instants` of each way; the cells above know one instant each).

With `--blind` every cell is run again with its detector put out (`BLIND`): a cell that passes then has asserted
nothing.  `--evidence FILE` writes the table that is kept with a release.

Run: python benchmarks/faults.py [--quick | --full] [--blind] [--evidence FILE]
     [--only PART:WAY:PHASE] [--instants N] [--processes N] [--seed N] [--json]
"""

from __future__ import annotations

import errno
import functools
import itertools
import logging
import math
import multiprocessing
import os
import random
import sqlite3
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from common import Row, arguments, run

from retrowalk import wire
from retrowalk.config import Config, Fall, Voice
from retrowalk.core import events as ev
from retrowalk.core import fault_table
from retrowalk.core import samples as sm
from retrowalk.core.events import GuardState
from retrowalk.core.samples import SavedState
from retrowalk.guard import guard as guard_module
from retrowalk.guard.state import Kept
from retrowalk.sim import world as w
from retrowalk.sim.broker import Outage
from retrowalk.sim.faults import Fault, Faults
from retrowalk.sim.scenarios import WALKER, Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice import bank as banks

PARTS = ("rear", "lidar", "drop", "imu", "sound", "broker", "disk", "clock", "power", "processor", "process")
WAYS = ("off", "stuck", "garbage", "wrong", "slow", "delayed", "intermittent")
PHASES = ("checking", "guarding", "caution", "warning", "countdown", "starting", "stopping")

FAULT_S = 6.0
"""When a part breaks in the phases that lead up to something; a little later by the seed."""
LASTS_S = 8.0
COUNTDOWN_S = 15.0
SPEED_M_S = 0.45
WARN_WITHIN_S = 1.7
"""Somebody steps behind, 1.5 m away: "Stop" is heard within this."""
NAMED_S = 0.6
"""The words come so long after the tone, ..."""
CUT_S = 5.0
"""... and so much later where something more urgent was being said: a warning, or a countdown."""
BACK_S = 8.0
GOODBYE_S = 5.0
FELT_S = 0.6
"""Of a fault of the sound: buzzer and vibration."""

NOT_RUN: dict[str, str] = {
    "standing": "a value that stands still is right while nobody walks",
    "sound is silent": "a device that takes frames too slowly runs dry, which is the way called stuck",
    "disk waits": "a write that waits holds up the courier's own process alone: outbox.py kills and holds that",
    "no charge": "a charge that is told late is the charge of a minute ago: nothing follows from it",
    "no computer": "what computes wrongly cannot be found out by what it computes",
    "not yet": "a device that starts has spoken to nobody yet whom it could be late for",
    "no walk": "the fault shows in steps, and the walk is over",
    "always late": "what was late by the same time from its first reading on is late by nothing that could be told",
    "no message": "a headset that comes late is found out by what is said, and nothing more is said",
    "is off": "whoever dies while the device is switched off is not started again",
}
"""Why a cell is not run: at most ten reasons."""


# ---------------------------------------------------------------------------------------------------- injections


@dataclass(frozen=True)
class Injection:
    """One way in which a part fails."""

    row: tuple[str, str]
    """Part and fault of the table's row that holds, or ("", ""): nobody need know."""
    faults: tuple[str, ...] = ()
    """`part:kind` of the twins, for as long as the fault lasts."""
    hook: Callable[[Device, float, float], None] | None = None
    """Else what is done to the device from one second to another."""
    lasts_s: float = LASTS_S
    limit_s: float | None = None
    """Until its sound, if not the row's."""
    event: str = ""
    """Type of the event that tells, if not the usual ones of the row."""
    felt: bool = False
    """The sound is broken: it is felt."""
    later: bool = False
    """It is named when it can be: once the sound is back, or once steps have shown it."""
    over: bool = True
    """Whether it is said to be over within `BACK_S`."""
    steps: bool = False
    """Only steps show it."""
    windows: tuple[tuple[float, float], ...] = ()
    """Pieces of its time in which it holds; empty: all of it."""
    config: str = ""
    """The device it needs, if not the default."""
    deaf: bool = False
    """It says "Stop" out of nothing, and only who walks on finds that out."""

    @property
    def expected(self) -> fault_table.Fault | None:
        return fault_table.find(*self.row) if self.row[0] else None


def _pulses(on_s: float, off_s: float, lasts_s: float) -> tuple[tuple[float, float], ...]:
    count = int(lasts_s // (on_s + off_s)) + 1
    return tuple((i * (on_s + off_s), i * (on_s + off_s) + on_s) for i in range(count))


def _sensor(part: str, way: str, fault: str, limit_s: float | None = None, **more: Any) -> Injection:
    return Injection((part, fault), (f"{part}:{way}",), limit_s=limit_s, **more)


def _skip(reason: str) -> str:
    assert reason in NOT_RUN
    return reason


# ------------------------------------------------------------------------------------------------- the device


class Complaints(logging.Handler):
    """What is logged of the program's own mistakes: what a part lacks is logged as an error, too, and belongs there."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info or "fault in the program" in record.getMessage():
            self.lines.append(f"logged: {record.getMessage()[:120]}")


class Device(VirtualWalk):
    """A virtual walk whose Companion is listened to, and may be made blind."""

    def __init__(self, *args: Any, blind: Blind | None = None, kept: Kept | None = None, **options: Any) -> None:
        self.told: list[ev.Event] = []
        self._blind = blind
        self._kept = kept
        super().__init__(*args, **options)

    def start_guard(self) -> None:
        """Starts the guard, from what is kept if that is the first time, and listens to it."""
        if self._kept is not None:
            self.shelf.kept, self._kept = self._kept, None
        companion_of = guard_module.Companion
        device = self

        class Listened(companion_of):  # type: ignore[misc,valid-type]
            def feed(self, item: sm.Item) -> tuple[ev.Output, ...]:
                if device._blind is not None:
                    seen = device._blind.item(item)
                    if seen is None:
                        return ()
                    item = seen
                outputs: tuple[ev.Output, ...] = super().feed(item)
                device.told += [output for output in outputs if isinstance(output, ev.Event)]
                return outputs

        guard_module.Companion = Listened
        try:
            super().start_guard()
        finally:
            guard_module.Companion = companion_of
        if self._blind is not None:
            self._blind.companion(self.guard.companion)

    def pause_guard(self) -> None:
        """As SIGSTOP: its main loop and its drivers stand still."""
        self.scheduler.remove(self.guard)
        for step in self._guard_steps:
            self.scheduler.remove(step)

    def go_on(self) -> None:
        """As SIGCONT."""
        for step in self._guard_steps:
            self.scheduler.add(step, self._sink(step))
        self.scheduler.add(self.guard)


class Slow:
    """A step that is polled late, as on a processor that others keep busy."""

    retry_s = 1.0
    shares = ""

    def __init__(self, step: Any, late_s: float) -> None:
        self.name = step.name
        self._step = step
        self._late_s = late_s
        self._due_s: float | None = None

    @property
    def wake(self) -> Callable[[], None]:
        return self._step.wake  # type: ignore[no-any-return]

    @wake.setter
    def wake(self, wake: Callable[[], None]) -> None:
        self._step.wake = wake

    def poll(self, now: float) -> Any:
        """Polls it so much later than it is asked to."""
        if self._due_s is None:
            self._due_s = now + self._late_s
        if now < self._due_s:
            return self._due_s
        self._due_s = None
        return self._step.poll(now)


# ------------------------------------------------------------------------------------------------ hooks of faults


def _answers(answer: Callable[[str], int | None], answer_s: float = 0.02) -> Callable[[Device, float, float], None]:
    """The broker answers otherwise."""

    def hook(device: Device, from_s: float, to_s: float) -> None:
        def change(answers: Any, seconds: float) -> None:
            device.link._answer, device.link._answer_s = answers, seconds

        device.scheduler.at(from_s, functools.partial(change, answer, answer_s), "broker")
        device.scheduler.at(to_s, functools.partial(change, lambda topic: 0, 0.02), "broker")

    return hook


def _disk(error: Callable[[], Exception], *, pulses: bool = False) -> Callable[[Device, float, float], None]:
    """What writes to the card fails."""

    def hook(device: Device, from_s: float, to_s: float) -> None:
        pieces = _pulses(3.0, 2.0, to_s - from_s) if pulses else ((0.0, to_s - from_s),)
        holds = [(from_s + a, from_s + b) for a, b in pieces]

        def broken() -> bool:
            now = device.clock.now()
            return any(a <= now < b for a, b in holds)

        outbox, recorder = device.outbox, device.recorder
        connection, add = outbox._connection, recorder._add

        def refused(now: float) -> sqlite3.Connection:
            if broken():
                found = error()
                refusal = found if isinstance(found, sqlite3.Error) else sqlite3.OperationalError("disk I/O error")
                raise outbox._failed(refusal)
            return connection(now)

        def not_added(record: wire.Record, now: float) -> None:
            if broken():
                found = error()
                raise found if isinstance(found, OSError) else OSError(errno.EIO, "input/output error")
            add(record, now)

        outbox._connection = refused  # type: ignore[method-assign]
        recorder._add = not_added  # type: ignore[method-assign]

    return hook


def _wall(jumps: Callable[[float], Iterator[tuple[float, float]]]) -> Callable[[Device, float, float], None]:
    """The wall clock is set: (seconds after the beginning, by how much)."""

    def hook(device: Device, from_s: float, to_s: float) -> None:
        for after_s, by_s in jumps(to_s - from_s):
            device.scheduler.at(from_s + after_s, functools.partial(device.clock.jump_wall, by_s), "wall clock")

    return hook


def _every(period_s: float, *by_s: float) -> Callable[[float], Iterator[tuple[float, float]]]:
    def jumps(lasts_s: float) -> Iterator[tuple[float, float]]:
        for index in range(max(1, int(lasts_s / period_s))):
            yield index * period_s, by_s[index % len(by_s)]

    return jumps


def _pauses(*pieces: tuple[float, float]) -> Callable[[Device, float, float], None]:
    """The guard stands still from one second to another, counted from the beginning of the fault."""

    def hook(device: Device, from_s: float, to_s: float) -> None:
        for begin_s, end_s in pieces:
            device.scheduler.at(from_s + begin_s, device.pause_guard, "processor")
            device.scheduler.at(from_s + end_s, device.go_on, "processor")

    return hook


def _late(late_s: float) -> Callable[[Device, float, float], None]:
    """The guard's loop is called late."""

    def hook(device: Device, from_s: float, to_s: float) -> None:
        def begin() -> None:
            device.scheduler.remove(device.guard)
            device._late = Slow(device.guard, late_s)  # type: ignore[attr-defined]
            device.scheduler.add(device._late)  # type: ignore[attr-defined]

        def end() -> None:
            device.scheduler.remove(device._late)  # type: ignore[attr-defined]
            device.scheduler.add(device.guard)

        device.scheduler.at(from_s, begin, "processor")
        device.scheduler.at(to_s, end, "processor")

    return hook


def _killed(*times: tuple[float, float], frozen_s: float = 0.0) -> Callable[[Device, float, float], None]:
    """The guard dies, and is there again: (when, after how long)."""

    def hook(device: Device, from_s: float, to_s: float) -> None:
        for at_s, after_s in times:
            if frozen_s:
                device.scheduler.at(from_s + at_s, device.pause_guard, "process")
            device.scheduler.at(from_s + at_s + frozen_s, device.kill_guard, "process")
            device.scheduler.at(from_s + at_s + frozen_s + after_s, device.start_guard, "process")

    return hook


def _no_voice(device: Device, from_s: float, to_s: float) -> None:
    device.scheduler.at(from_s, device.kill_voice, "process")
    device.scheduler.at(from_s + 1.5, device.start_voice, "process")


def _letters(content: Callable[[random.Random], bytes]) -> Callable[[Device, float, float], None]:
    """Somebody fills the guard's mailbox."""

    def hook(device: Device, from_s: float, to_s: float) -> None:
        draw = random.Random("letters")

        def send(at_s: float) -> None:
            for _ in range(10):
                device.mail.deliver("guard", content(draw))
            device.guard.wake()
            if at_s + 0.1 < to_s:
                device.scheduler.at(at_s + 0.1, functools.partial(send, at_s + 0.1), "letters")

        device.scheduler.at(from_s, functools.partial(send, from_s), "letters")

    return hook


_READ_ONLY = functools.partial(OSError, errno.EROFS, "read-only file system")
_FULL = functools.partial(OSError, errno.ENOSPC, "no space left on device")
_FAILING = functools.partial(OSError, errno.EIO, "input/output error")
_TORN = functools.partial(sqlite3.DatabaseError, "database disk image is malformed")
_YEAR_S = 365.25 * 86400.0
_MESSAGE_OF_NOBODY = wire.encode(wire.CommittedMessage("nobody", 1 << 40))

MATRIX: dict[str, dict[str, Injection | str]] = {
    "rear": {
        "off": _sensor("rear", "off", "absent"),
        "stuck": _sensor("rear", "stuck", "stuck"),
        "garbage": _sensor("rear", "garbage", "garbage"),
        "wrong": _sensor("rear", "wrong", "frozen", steps=True, deaf=True),
        "slow": _sensor("rear", "slow", "slow"),
        "delayed": _sensor("rear", "delayed", "absent"),
        "intermittent": _sensor("rear", "intermittent", "absent"),
    },
    "lidar": {
        "off": _sensor("lidar", "off", "absent"),
        "stuck": _sensor("lidar", "stuck", "absent"),
        "garbage": _sensor("lidar", "garbage", "garbage"),
        "wrong": _sensor("lidar", "wrong", "wrong_chip"),
        "slow": _sensor("lidar", "slow", "slow"),
        "delayed": _sensor("lidar", "delayed", "delayed"),
        "intermittent": _sensor("lidar", "intermittent", "absent"),
    },
    "drop": {
        "off": _sensor("drop", "off", "absent"),
        "stuck": _sensor("drop", "stuck", "absent"),
        "garbage": _sensor("drop", "garbage", "garbage"),
        "wrong": _sensor("drop", "wrong", "wrong_chip"),
        "slow": _sensor("drop", "slow", "slow"),
        "delayed": _sensor("drop", "delayed", "delayed"),
        "intermittent": _sensor("drop", "intermittent", "absent"),
    },
    "imu": {
        "off": _sensor("imu", "off", "absent"),
        "stuck": _sensor("imu", "stuck", "frozen"),
        "garbage": _sensor("imu", "garbage", "garbage"),
        "wrong": _sensor("imu", "wrong", "wrong_chip"),
        "slow": _sensor("imu", "slow", "slow"),
        "delayed": _sensor("imu", "delayed", "slow"),
        "intermittent": _sensor("imu", "intermittent", "absent"),
    },
    "sound": {
        "off": _sensor("voice", "off", "no_device", felt=True),
        "stuck": _sensor("voice", "stuck", "frozen", felt=True),
        "garbage": _sensor("voice", "null", "null_sink", felt=True),
        "wrong": _sensor("voice", "muted", "muted", felt=True),
        "slow": _skip("sound is silent"),
        "delayed": _sensor("voice", "headset", "slow", later=True, config="microphone", over=False, lasts_s=40.0),
        "intermittent": _sensor("voice", "off", "no_device", felt=True, windows=_pulses(1.5, 1.5, LASTS_S)),
    },
    "broker": {
        "off": Injection(("courier", "broker"), hook=None, lasts_s=18.0),
        "stuck": Injection(("courier", "broker"), hook=_answers(lambda topic: None), lasts_s=18.0, over=False),
        "garbage": Injection(("courier", "broker"), hook=_answers(lambda topic: 0x80), lasts_s=18.0, over=False),
        "wrong": Injection(("courier", "broker"), hook=_answers(lambda topic: 0x87), lasts_s=18.0, over=False),
        "slow": Injection(("", ""), hook=_answers(lambda topic: 0, 2.0)),
        "delayed": Injection(("courier", "broker"), hook=_answers(lambda topic: 0, 14.0), lasts_s=18.0, over=False),
        "intermittent": Injection(("", ""), windows=_pulses(1.0, 2.0, LASTS_S)),
    },
    "disk": {
        "off": Injection(("outbox", "outbox"), hook=_disk(_READ_ONLY)),
        "stuck": _skip("disk waits"),
        "garbage": Injection(("outbox", "outbox"), hook=_disk(_TORN)),
        "wrong": Injection(("outbox", "outbox"), hook=_disk(_FAILING)),
        "slow": _skip("disk waits"),
        "delayed": _skip("disk waits"),
        "intermittent": Injection(("outbox", "outbox"), hook=_disk(_FULL, pulses=True)),
    },
    "clock": {
        "off": Injection(("", ""), hook=_wall(_every(99.0, -1.7e9)), event="clock.changed"),
        "stuck": Injection(("", ""), hook=_wall(_every(1.0, -1.0))),
        "garbage": Injection(("", ""), hook=_wall(_every(1.0, _YEAR_S, -_YEAR_S, 3600.0)), event="clock.changed"),
        "wrong": Injection(("", ""), hook=_wall(_every(99.0, _YEAR_S)), event="clock.changed"),
        "slow": Injection(("", ""), hook=_wall(_every(1.0, -0.5))),
        "delayed": Injection(("", ""), hook=_wall(_every(99.0, -3600.0)), event="clock.changed"),
        "intermittent": Injection(("", ""), hook=_wall(_every(2.0, 3600.0, -3600.0)), event="clock.changed"),
    },
    "power": {
        "off": _sensor("battery", "off", "absent", over=False, lasts_s=12.0),
        "stuck": Injection(("power", "undervoltage"), ("pi:undervoltage",), over=False),
        "garbage": _sensor("battery", "garbage", "garbage", over=False, lasts_s=20.0),
        "wrong": _sensor("battery", "wrong", "garbage", over=False, lasts_s=20.0),
        "slow": Injection(("heat", "hot"), ("pi:hot",), lasts_s=12.0, over=False),
        "delayed": _skip("no charge"),
        "intermittent": Injection(
            ("power", "undervoltage"), ("pi:undervoltage",), over=False, windows=_pulses(2.5, 2.5, LASTS_S)
        ),
    },
    "processor": {
        "off": Injection(("guard", "paused"), hook=_pauses((0.0, 2.0)), lasts_s=2.0, over=False),
        "stuck": Injection(("guard", "silent"), hook=_killed((0.0, 1.2), frozen_s=3.0), lasts_s=4.2, over=False),
        "garbage": _skip("no computer"),
        "wrong": _skip("no computer"),
        "slow": Injection(("guard", "starved"), hook=_late(0.15), lasts_s=14.0, over=False),
        "delayed": Injection(("guard", "starved"), hook=_late(0.25), lasts_s=14.0, over=False),
        "intermittent": Injection(("guard", "paused"), hook=_pauses((0.0, 0.9), (3.0, 3.9)), lasts_s=4.0, over=False),
    },
    "process": {
        "off": Injection(("guard", "silent"), hook=_killed((0.0, 1.2)), lasts_s=1.2, over=False),
        "stuck": Injection(("guard", "silent"), hook=_killed((0.0, 1.2), frozen_s=3.0), lasts_s=4.2, over=False),
        "garbage": Injection(("", ""), hook=_letters(lambda draw: draw.randbytes(draw.randint(0, 300)))),
        "wrong": Injection(("", ""), hook=_letters(lambda draw: _MESSAGE_OF_NOBODY)),
        "slow": Injection(("guard", "silent"), hook=_killed((0.0, 4.0)), lasts_s=4.0, over=False),
        "delayed": Injection(("voice", "silent"), hook=_no_voice, lasts_s=1.5, felt=True),
        "intermittent": Injection(("guard", "silent"), hook=_killed((0.0, 1.2), (4.0, 1.2)), lasts_s=5.2, over=False),
    },
}
"""Every part and way: what is done, or why nothing is."""


# ------------------------------------------------------------------------------------------------------- blindness


class Blind:
    """A device whose detector of one part is put out: what the cells of that part must notice."""

    def __init__(self, part: str, row: tuple[str, str]) -> None:
        self._part = part
        self._name = row[0] or part

    def item(self, item: sm.Item) -> sm.Item | None:
        """What is left of an item; None: nothing."""
        if isinstance(item, sm.HealthReport):
            names = {
                "power": ("battery", "power", "heat"),
                "clock": ("clock",),
                "broker": ("courier",),
                "disk": ("courier",),
            }
            mine = names.get(
                self._part, (self._name, "guard" if self._part in ("process", "processor") else self._name)
            )
            return None if item.part in mine else item
        if isinstance(item, sm.VoiceHeartbeat) and self._name == "voice":
            return replace(item, fault="", output="alsa", proof="", delay_ms=0)
        if isinstance(item, sm.CourierHeartbeat) and self._part in ("broker", "disk"):
            return replace(item, fault="", connected=True)
        if isinstance(item, sm.BatterySample) and self._part == "power":
            return None
        if isinstance(item, sm.Restored) and self._part in ("process", "processor") and item.t_received_s > 1.0:
            return replace(item, state=replace(item.state, guard_state=GuardState.STOPPING.value))
        return item

    def companion(self, companion: Any) -> None:
        """Puts out what looks at the age and the sense of readings."""
        newly_lost, lie = companion._freshness.newly_lost, companion._lie
        companion._freshness.newly_lost = lambda now: [part for part in newly_lost(now) if part.name != self._name]
        companion._lie = lambda now, name, cause: None if name == self._name else lie(now, name, cause)

    def device(self, device: Device) -> None:
        """The voice does not watch over the guard any more."""
        if self._name == "guard":
            device.voice._watch_guard = lambda now: None  # type: ignore[method-assign]


# ----------------------------------------------------------------------------------------------------------- cells


@dataclass(frozen=True)
class Cell:
    """One part, broken in one way, in one phase."""

    part: str
    way: str
    phase: str

    @property
    def injection(self) -> Injection | str:
        """What is done, or why nothing is."""
        found = MATRIX[self.part][self.way]
        if isinstance(found, str):
            return found
        if found.steps and self.phase in ("checking", "countdown", "starting", "stopping"):
            return "no walk" if self.phase == "stopping" else "standing"
        if self.phase == "starting" and found.row == ("guard", "starved"):
            return "not yet"
        if self.phase == "starting" and self.way == "delayed" and self.part in ("lidar", "drop"):
            return "always late"
        if self.phase == "stopping" and found.row == ("guard", "silent"):
            return "is off"
        if self.phase == "stopping" and found.later:
            return "no message"
        return found

    def __str__(self) -> str:
        return f"{self.part}:{self.way}:{self.phase}"


CELLS = tuple(Cell(*each) for each in itertools.product(PARTS, WAYS, PHASES))


@dataclass(frozen=True)
class Timeline:
    """What happens in a phase; the fault holds from `from_s` to `to_s`."""

    script: tuple[tuple[float, w.Action], ...]
    from_s: float
    to_s: float
    until_s: float
    resumed: bool
    warned: tuple[float, float] | None
    """"Stop" must be told within these seconds."""
    config: Config = field(default_factory=Config)
    stop_s: float = math.inf
    """When it is switched off."""


def timeline(cell: Cell, injection: Injection, jitter_s: float) -> Timeline:
    """The walk of a cell."""
    from_s = FAULT_S + jitter_s
    to_s = from_s + injection.lasts_s
    walk: list[tuple[float, w.Action]] = [(1.0, w.Walk(SPEED_M_S))]
    # Somebody steps behind while the fault holds, or, where nobody is there to warn, when that is over.
    steps_in_s = from_s + (4.0 if injection.lasts_s >= LASTS_S else injection.lasts_s + 2.5)
    person: list[tuple[float, w.Action]] = [
        (steps_in_s, w.Place("person_jacket", 1.5, name="person")),
        (steps_in_s + 3.0, w.Remove("person")),
    ]
    warned = (steps_in_s, steps_in_s + WARN_WITHIN_S)
    config = Config(voice=Voice(microphone="default")) if injection.config == "microphone" else Config()
    after_s = max(to_s, steps_in_s) + BACK_S + CUT_S
    if injection.config == "microphone":
        # What is heard late shows in what is said.
        person += [(from_s + after, w.Press()) for after in (2.0, 7.0, 12.0, 17.0, 22.0, 27.0)]
    if cell.phase == "guarding":
        # Who was told to stop by what is broken walks on.
        walk.append((steps_in_s - 1.0, w.Walk(SPEED_M_S)))
        return Timeline((*walk, *person), from_s, to_s, after_s, True, warned, config)
    if cell.phase == "caution":
        wall_m = 1.9 + SPEED_M_S * (FAULT_S - 1.0)
        script = (*walk, (1.0, w.Place("wall", wall_m)), (from_s + 4.0, w.Walk(-0.6)), (from_s + 6.0, w.Remove("wall")))
        return Timeline(script, from_s, to_s, after_s, True, (from_s - 1.0, from_s + 2.4), config)
    if cell.phase == "warning":
        wall_m = 1.35 + SPEED_M_S * (FAULT_S - 1.0)
        again_s = from_s + 8.0
        script = (
            *(*walk, (1.0, w.Place("wall", wall_m)), (from_s + 3.0, w.Walk(-0.6)), (from_s + 5.0, w.Remove("wall"))),
            *((again_s, w.Walk(SPEED_M_S)), (again_s + 2.0, w.Place("person_jacket", 1.5, name="person"))),
            (again_s + 5.0, w.Remove("person")),
        )
        to_s = max(to_s, from_s + 12.0) if injection.lasts_s >= LASTS_S else to_s
        return Timeline(
            script, from_s, to_s, to_s + BACK_S + CUT_S, True, (again_s + 2.0, again_s + 2.0 + WARN_WITHIN_S), config
        )
    if cell.phase == "countdown":
        config = replace_config(config, fall=Fall(countdown_s=COUNTDOWN_S))
        from_s = 9.0 + jitter_s
        script = ((0.5, w.Stand()), (1.5, w.Fall()))
        return Timeline(script, from_s, from_s + injection.lasts_s, 26.0, True, None, config)
    if cell.phase == "checking":
        from_s = 1.5 + jitter_s
        script = (
            *((3.2, w.HandBehind(for_s=1.0)), (9.0, w.Place("wall", 3.4)), (9.0, w.Walk(SPEED_M_S))),
            (15.0, w.Walk(-0.6)),
        )
        lasts_s = math.inf if injection.lasts_s >= LASTS_S else injection.lasts_s
        until_s = max(17.0, from_s + min(injection.lasts_s, 45.0) + 3.0)
        return Timeline(script, from_s, from_s + lasts_s, until_s, False, (12.4, 14.6), config)
    if cell.phase == "starting":
        # What is wrong is so before it is switched on; a process has to be there before it can die.
        from_s = 0.4 + jitter_s if cell.part in ("process", "processor") else 0.0
        lasts_s = math.inf if injection.lasts_s >= LASTS_S else injection.lasts_s
        script = ((7.0, w.Place("wall", 3.4)), (7.0, w.Walk(SPEED_M_S)), (13.5, w.Walk(-0.6)))
        until_s = max(16.0, min(injection.lasts_s, 45.0) + 3.0)
        return Timeline(script, from_s, from_s + lasts_s, until_s, True, (10.0, 12.8), config)
    stop_s = from_s - 0.3
    return Timeline(tuple(walk), from_s, math.inf, stop_s + GOODBYE_S + 1.0, True, None, config, stop_s)


def replace_config(config: Config, **sections: Any) -> Config:
    """The configuration with other sections."""
    from msgspec import structs

    return structs.replace(config, **sections)


URGENT = (
    *("warning", "stop", "touching", "fall_question", "fall_confirmed", "countdown", "caregiver", "guard_silent"),
    *("balance", "restarted"),
)
TOLD_TO_STOP = ("warning", "stop", "touching", "guard_silent", "coming")


@dataclass
class Found:
    """What became of a cell."""

    cell: Cell
    problems: list[str]
    detect_s: float | None = None
    spoken_s: float | None = None
    heard: str = ""
    """What named it, for the table."""
    reason: str = ""
    """Why it was not run."""


def _event_of(injection: Injection, event: ev.Event) -> bool:
    """Whether an event tells of the fault."""
    if injection.event:
        return event.type == injection.event
    part = injection.row[0]
    if isinstance(event, ev.SensorLost):
        return event.sensor == part
    if isinstance(event, ev.FaultRaised):
        courier = ("courier", "outbox", "recording", "state")
        return event.part == part or (part in courier and event.part in courier)
    if isinstance(event, ev.GuardChanged) and injection.later:
        return part in event.reasons
    return isinstance(event, ev.BatteryLow) and part == "battery"


def twins_of(injection: Injection, pieces: Sequence[tuple[float, float]]) -> list[Fault]:
    """What the twins are told: in which pieces of time (session seconds) they are broken."""
    parts = [text.split(":", 1) for text in injection.faults]
    return [Fault(part, kind, from_s, to_s) for part, kind in parts for from_s, to_s in pieces]


def guarding_before(seed: int) -> Kept:
    """What a guard keeps that guarded this walker until a moment ago."""
    pitch = math.radians(w.World(seed, profile=WALKER).walker.upright_deg)
    upright = (-math.sin(pitch), 0.0, math.cos(pitch))
    state = SavedState(0.0, GuardState.GUARDING.value, 0.0, upright, accepted=True, sound_confirmed=True)
    return Kept(1, "before", "simulated", 0.0, 0.0, state, [])


def lived(cell: Cell, seed: int, bank: banks.Bank, *, blind: bool = False) -> Found:
    """Runs a cell."""
    injection = cell.injection
    if isinstance(injection, str):
        return Found(cell, [], reason=injection)
    draw = random.Random(f"{cell}:{seed}")
    line = timeline(cell, injection, draw.uniform(0.0, 0.4))
    windows = injection.windows or ((0.0, line.to_s - line.from_s),)
    pieces = [(line.from_s + a, min(line.from_s + b, line.to_s)) for a, b in windows if line.from_s + a < line.to_s]
    faults = twins_of(injection, pieces)
    outages = []
    if cell.part == "broker" and injection.hook is None:
        outages = [Outage(from_s, min(to_s, line.until_s + 60.0)) for from_s, to_s in pieces]
    kept = guarding_before(seed) if line.resumed else None
    eyes = Blind(cell.part, injection.row) if blind else None
    script = line.script
    if injection.config == "microphone" and cell.phase in ("caution", "warning", "checking", "starting"):
        script = (
            *script,
            *((max(line.from_s, 8.0) + after, w.Press()) for after in (4.0, 8.0, 12.0, 16.0, 20.0, 24.0)),
        )
    profile = (
        replace(WALKER, stops_for=frozenset(), stops_for_touch=False)
        if injection.deaf and cell.phase == "guarding"
        else WALKER
    )
    scenario = Scenario("cell", line.until_s, script, profile, (), {}, device=line.config)
    complaints = Complaints()
    logging.getLogger("retrowalk").addHandler(complaints)
    device = Device(line.config, scenario, seed, bank, faults=Faults(faults), outages=outages, blind=eyes, kept=kept)
    try:
        if eyes is not None:
            eyes.device(device)
            if cell.phase == "stopping":
                device.guard.companion._stop = lambda now, reason: None  # type: ignore[method-assign]
        if injection.hook is not None:
            injection.hook(device, line.from_s, min(line.to_s, line.until_s))
        if line.stop_s < math.inf:
            device.scheduler.at(line.stop_s, functools.partial(switch_off, device), "switch")
        device.run_until(line.until_s)
        return judge(cell, injection, line, device, complaints.lines)
    except Exception as error:  # whatever a part of the program raises fails the cell
        return Found(cell, [f"raised {error!r}"])
    finally:
        logging.getLogger("retrowalk").removeHandler(complaints)
        device.close()


def switch_off(device: Device) -> None:
    """Somebody switches it off."""
    device.mail.deliver("guard", wire.encode(wire.StopMessage("person")))
    device.guard.wake()


def judge(cell: Cell, injection: Injection, line: Timeline, device: Device, errors: Sequence[str]) -> Found:
    """What a cell shows that it must not."""
    found = Found(cell, list(errors))
    heard = [(h.start_s, h.key) for h in device.ear.heard]
    felt = [t_s for t_s, _ in device.world.felt]
    if cell.phase == "stopping":
        _judge_goodbye(found, line, device, heard, felt, broken_sound=injection.row[0] == "voice")
        return found
    _judge_naming(found, injection, line, device, heard, felt)
    _judge_others(found, injection, line, heard)
    _judge_warning(found, injection, line, device, heard, felt)
    if cell.phase == "countdown":
        _judge_countdown(found, device)
    if (
        injection.over
        and injection.row[0]
        and line.to_s < math.inf
        and cell.phase in ("guarding", "caution", "warning")
    ):
        row = injection.expected
        back = [t_s for t_s, key in heard if row is not None and key.startswith(row.over) and t_s >= line.from_s]
        late = [t_s for t_s, key in heard if key.startswith(URGENT) and t_s >= line.to_s - 1.0]
        by_s = max([line.to_s, *late]) + BACK_S
        if row is not None and row.over and not (back and back[-1] <= by_s):
            found.problems.append(f"that it works again is heard at {[round(t, 2) for t in back]}, not by {by_s:.1f}")
    if line.to_s < math.inf and cell.phase in ("guarding", "caution", "warning") and not injection.later:
        state = device.guard.companion.snapshot()
        if state.guard_state != "guarding" and set(state.reasons) - {"unknown", "ground", "late"}:
            found.problems.append(f"ends {state.guard_state}, {', '.join(state.reasons)}")
    return found


def _judge_naming(
    found: Found,
    injection: Injection,
    line: Timeline,
    device: Device,
    heard: Sequence[tuple[float, str]],
    felt: Sequence[float],
) -> None:
    row, from_s = injection.expected, line.from_s
    told = [event.t_s for event in device.told if event.t_s >= from_s and _event_of(injection, event)]
    if row is None:
        if injection.event:
            found.detect_s = told[0] - from_s if told else None
            if not told or told[0] > from_s + 3.0:
                found.problems.append(f"{injection.event} at {[round(t, 2) for t in told[:2]]}")
        elif told:
            found.problems.append(f"told at {told[0]:.2f}, and nobody need know")
        return
    limit_s = injection.limit_s if injection.limit_s is not None else row.spoken_within_s
    steps = device.world.walker.step_times_s
    if injection.steps:
        # Three seconds of stepping, wherever they are.
        stepped, last = 0.0, None
        for t_s in steps:
            if t_s >= from_s:
                stepped += t_s - last if last is not None and t_s - last < 1.3 else 0.0
                if stepped >= 3.0:
                    limit_s = max(limit_s, t_s - from_s + 0.3)
                    break
                last = t_s
        else:
            limit_s = math.inf
    said = (*row.said, "fault:voice", "limited:voice") if injection.later else row.said
    named = [(t_s, key) for t_s, key in heard if t_s >= from_s and key.startswith(said)]
    if row == fault_table.find("guard", "silent") or row == fault_table.find("guard", "paused"):
        # Its tone, where the guard is back with a warning before the words.
        cut = [t for t, key in heard if key == "fault" and t >= from_s]
        warned = [t for t, key in heard if key == "warning" and t >= from_s]
        if cut and warned and cut[0] < warned[0] < cut[0] + 1.8:
            named = sorted([(cut[0], "fault"), *named])
    if row.part == "guard":
        told = [t_s for t_s, key in named]
    found.detect_s = told[0] - from_s if told else None
    found.heard = named[0][1] if named else ""
    if named:
        # Its tone comes first; words that were cut are said again.
        tones = [t_s for t_s, key in heard if key == "fault" and named[0][0] - CUT_S <= t_s <= named[0][0]]
        found.spoken_s = max(0.0, min([named[0][0], *(t_s for t_s in tones if t_s >= from_s)]) - from_s)
    if injection.felt:
        # A voice that starts has to find out first.
        felt_s = row.spoken_within_s if found.cell.phase in ("starting", "checking") else FELT_S + 0.4
        near = [t_s for t_s in felt if from_s <= t_s <= from_s + felt_s]
        found.spoken_s, found.heard = (near[0] - from_s, "felt") if near else (None, "")
        if not near:
            found.problems.append("nothing is felt")
        if not told or told[0] > from_s + felt_s:
            found.problems.append(f"told at {[round(t, 2) for t in told[:2]]}")
        return
    if math.isinf(limit_s):
        return
    if row.part != "guard":
        limit_s = _free(heard, from_s, limit_s)
    limit_s += NAMED_S
    if injection.later:
        limit_s = injection.lasts_s
    if not named or named[0][0] > from_s + limit_s:
        found.problems.append(f"named at {[(round(t, 2), k) for t, k in named[:1]]}, not by {from_s + limit_s:.2f}")
    if row.part != "guard" and (not told or told[0] > from_s + limit_s):
        found.problems.append(f"told at {[round(t, 2) for t in told[:2]]}")


def _free(heard: Sequence[tuple[float, str]], from_s: float, limit_s: float) -> float:
    """Until when words may come, in seconds after the fault: what is more urgent is said first, however long."""
    for t_s, key in heard:
        if key.startswith(URGENT) and from_s - 1.5 <= t_s <= from_s + limit_s + 1.0:
            limit_s = max(limit_s, t_s - from_s + CUT_S)
    return limit_s


COURIER_WORDS = ("fault:courier", "fault:outbox", "fault:recording", "fault:state")


def _judge_others(found: Found, injection: Injection, line: Timeline, heard: Sequence[tuple[float, str]]) -> None:
    row = injection.expected
    mine: tuple[str, ...] = (*row.said, *row.over) if row is not None else ()
    limit_s = row.spoken_within_s if row is not None else 0.0
    if injection.row[0] in ("courier", "outbox"):
        mine = (*mine, *COURIER_WORDS, "fault_over:")
    if injection.row[0] in ("voice", "guard"):
        mine = (*mine, "fault:voice", "fault:guard", "fault:late", "voice_cause")
    for t_s, key in heard:
        if key.startswith(("sensor_lost", "fault:", "not_protecting")) and not key.startswith(mine or ("-",)):
            found.problems.append(f"{key} is heard at {t_s:.2f}")
    # What lies is believed until it is found out: better told to stop for nothing than not at all.
    known_s = line.from_s + limit_s + NAMED_S
    early = [
        t_s
        for t_s, key in heard
        if key in ("stop", "touching")
        and line.warned
        and t_s < line.warned[0] - 0.5
        and not line.from_s < t_s < known_s
    ]
    if early and found.cell.phase in ("guarding", "starting") and injection.row[0] != "imu" and not injection.deaf:
        found.problems.append(f"out of nothing: stop at {early[0]:.2f}")


def _judge_warning(
    found: Found,
    injection: Injection,
    line: Timeline,
    device: Device,
    heard: Sequence[tuple[float, str]],
    felt: Sequence[float],
) -> None:
    if line.warned is None:
        return
    from_s, to_s = line.warned
    stops = [t_s for t_s, key in heard if key in TOLD_TO_STOP and from_s <= t_s <= to_s]
    if injection.row[0] == "voice":
        stops += [t_s for t_s in felt if from_s <= t_s <= to_s]
    if not stops:
        found.problems.append(f"no warning from {from_s:.2f} to {to_s:.2f}")
    if [contact for contact in device.world.contacts if contact.name == "wall"]:
        found.problems.append("the wall is touched")


def _judge_countdown(found: Found, device: Device) -> None:
    suspected = [event.t_s for event in device.told if event.type == "fall.suspected"]
    confirmed = [event.t_s for event in device.told if event.type == "fall.confirmed"]
    if len(suspected) != 1 or len(confirmed) != 1 or abs(confirmed[0] - suspected[0] - COUNTDOWN_S) > 0.6:
        found.problems.append(f"fall suspected at {suspected}, confirmed at {confirmed}")


def _judge_goodbye(
    found: Found,
    line: Timeline,
    device: Device,
    heard: Sequence[tuple[float, str]],
    felt: Sequence[float],
    *,
    broken_sound: bool,
) -> None:
    said = [t_s for t_s, key in heard if key == "stopping" and line.stop_s <= t_s <= line.stop_s + 2.0]
    if broken_sound:
        said += [t_s for t_s in felt if line.stop_s <= t_s <= line.stop_s + 2.0]
    found.heard = "stopping" if said else ""
    if not said and found.cell.part not in ("process", "processor"):
        found.problems.append("no goodbye is heard or felt")
    if not device.guard.finished:
        found.problems.append(f"not over {GOODBYE_S + 1.0:.0f} s after it was switched off")


# --------------------------------------------------------------------------------------- instants drawn by chance

GOALS_S = {"gone": 1.0, "nonsense": 1.5, "late": 2.0, "now and then": 2.0, "frozen": 3.0, "sound": 2.0}
"""Until the first sound (or touch) of a fault, by its class; `frozen` counts seconds of stepping.  What answers now and
then gives too few readings, and is judged as what gives them too late; echoes without a meaning are told from those of
a hedge by several of them."""
INSTANTS_S = (4.0, 9.0)
"""Within these it breaks: the words of the start are over, and the walker walks."""
GIVEN_UP_S = 8.0


def class_of(part: str, way: str, injection: Injection) -> str:
    """Which goal holds: a sensor that is gone, answers late, stands still or talks nonsense, or the sound."""
    if part == "sound":
        return "sound"
    if way == "intermittent":
        return "now and then"
    if injection.row == ("rear", "garbage"):
        return "nonsense"
    return {"slow": "late", "frozen": "frozen"}.get(injection.row[1], "gone")


TIMED = tuple(
    (part, way)
    for part in ("rear", "lidar", "drop", "imu", "sound")
    for way, injection in MATRIX[part].items()
    # A headset that comes late is found out by what is said, whenever that is.
    if isinstance(injection, Injection) and not injection.later
)
"""What is timed at instants drawn by chance."""


def timed(part: str, way: str, number: int, seed: int, bank: banks.Bank) -> Found:
    """How soon a fault is told of and heard (or felt) that begins at an instant drawn by chance, on a clear walk."""
    cell = Cell(part, way, "guarding")
    injection = MATRIX[part][way]
    assert isinstance(injection, Injection)
    row = injection.expected
    assert row is not None
    from_s = random.Random(f"{part}:{way}:{number}:{seed}").uniform(*INSTANTS_S)
    to_s = from_s + GIVEN_UP_S
    pieces = [(from_s + a, min(from_s + b, to_s)) for a, b in injection.windows or ((0.0, GIVEN_UP_S),)]
    faults = twins_of(injection, [(a, b) for a, b in pieces if a < b])
    # Who stops for what is broken hides for how long it would have gone on.
    profile = replace(WALKER, stops_for=frozenset(), stops_for_touch=False)
    scenario = Scenario("instant", to_s, ((1.0, w.Walk(SPEED_M_S)),), profile, (), {})
    draw = seed * 1000 + number
    device = Device(Config(), scenario, draw, bank, faults=Faults(faults), kept=guarding_before(draw))
    found = Found(cell, [])
    try:
        now = from_s
        while now < to_s and (found.detect_s is None or found.spoken_s is None):
            now += 0.25
            device.run_until(now)
            told = [event.t_s for event in device.told if event.t_s >= from_s and _event_of(injection, event)]
            found.detect_s = told[0] - from_s if told else None
            if injection.felt:
                sounds = [t_s for t_s, _ in device.world.felt if t_s >= from_s]
            else:
                heard = [(h.start_s, h.key) for h in device.ear.heard if h.start_s >= from_s]
                named = [t_s for t_s, key in heard if key.startswith(row.said)]
                # Its tone comes first, and only what names it makes it its tone.
                sounds = [t_s for t_s, key in heard if key == "fault" and named and named[0] - 1.0 < t_s] + named
            found.spoken_s = min(sounds) - from_s if sounds else None
        if found.detect_s is None or found.spoken_s is None:
            found.problems.append(f"not told of and heard within {GIVEN_UP_S:.0f} s")
    finally:
        device.close()
    return found


# ------------------------------------------------------------------------------------------------------------ rows


@functools.cache
def real_bank() -> banks.Bank:
    """What the device says by default, rendered once a process."""
    return banks.build(Config(), banks.default_directory())


def _lived(job: tuple[Cell, int, bool]) -> Found:
    cell, seed, blind = job
    return lived(cell, seed, real_bank(), blind=blind)


def _timed(job: tuple[str, str, int, int]) -> Found:
    part, way, number, seed = job
    return timed(part, way, number, seed, real_bank())


def measured(what: Callable[[Any], Found], jobs: Sequence[Any], processes: int, label: str) -> list[Found]:
    """What became of each job, in their order, with progress on the terminal."""
    begun = time.monotonic()
    found: list[Found] = []

    def take(results: Iterable[Found]) -> None:
        for each in results:
            found.append(each)
            if len(found) % 50 == 0 or len(found) == len(jobs):
                failed = sum(bool(one.problems) for one in found)
                seconds = time.monotonic() - begun
                print(f"{len(found)} of {len(jobs)} {label} {failed}, {seconds:.0f} s", file=sys.stderr, flush=True)

    if processes == 1:
        take(map(what, jobs))
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            take(pool.imap(what, jobs, chunksize=4))
    return found


def rows_of(found: Sequence[Found], blind: Sequence[Found], instants: Sequence[Found] = ()) -> list[Row]:
    """The numbers of a run."""
    ran = [each for each in found if not each.reason]
    failed = [each for each in ran if each.problems]
    reasons = {each.reason for each in found if each.reason}
    rows = [
        Row(
            "cells_run", "retrowalk", "all", len(ran), "cells", len(found), goal=">= 400" if len(found) > 500 else None
        ),
        Row("cells_failed", "retrowalk", "all", len(failed), "cells", len(ran), goal="<= 0"),
        Row("reasons_not_run", "retrowalk", "all", len(reasons), "", len(found) - len(ran), goal="<= 10"),
    ]
    if blind:
        passed = [each for each in blind if not each.problems]
        rows.append(Row("blind_cells_passed", "retrowalk", "all", len(passed), "cells", len(blind), goal="<= 0"))
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for each in ran:
        if each.cell.phase in ("stopping", "checking", "starting"):
            continue  # what is broken from the start has no instant at which it began to be
        for metric, value in (("detect_s", each.detect_s), ("spoken_s", each.spoken_s)):
            if value is not None:
                times[metric, each.cell.part].append(value)
    for (metric, part), values in sorted(times.items()):
        ordered = sorted(values)
        for name, value in (("p50", statistics.median(ordered)), ("max", ordered[-1])):
            rows.append(Row(metric, "retrowalk", f"{name} {part}, all phases", round(value, 3), "s", len(ordered)))
    return rows + rows_of_instants(instants)


def rows_of_instants(instants: Sequence[Found]) -> list[Row]:
    """Times of faults that began at instants drawn by chance, by part and class, with the goal of each."""
    times: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for each in instants:
        injection = MATRIX[each.cell.part][each.cell.way]
        assert isinstance(injection, Injection)
        kind = class_of(each.cell.part, each.cell.way, injection)
        for metric, value in (("detect_s", each.detect_s), ("spoken_s", each.spoken_s)):
            # What was never told of counts as later than any.
            times[metric, each.cell.part, kind].append(GIVEN_UP_S if value is None else value)
    rows = []
    for (metric, part, kind), values in sorted(times.items()):
        ordered = sorted(values)
        case = part if part == kind else f"{part} {kind}"
        goal = f"<= {GOALS_S[kind]:g}" if metric == "spoken_s" else None
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            value = ordered[max(0, math.ceil(share * len(ordered)) - 1)]
            held = goal if name != "p50" else None
            rows.append(Row(metric, "retrowalk", f"{name} {case}", round(value, 3), "s", len(ordered), goal=held))
    return rows


def evidence(found: Sequence[Found], seed: int) -> str:
    """The table kept with a release: a row for each part and way, a column for each phase."""
    cells = {(each.cell.part, each.cell.way, each.cell.phase): each for each in found}
    lines = [
        "# What is heard of each fault, and when",
        "",
        f"Made by `python benchmarks/faults.py --evidence FILE`, seed {seed}. In each cell: seconds from the fault to",
        "the first sound (or touch) that tells of it; *ok*: it is ridden out, and all else went as it should; a",
        "letter: why it was not run. In *stopping*: the goodbye was whole.",
        "",
        "| Part | Way | " + " | ".join(PHASES) + " |",
        "|---|---|" + "---|" * len(PHASES),
    ]
    letters = {reason: chr(ord("a") + index) for index, reason in enumerate(NOT_RUN)}
    for part, way in itertools.product(PARTS, WAYS):
        columns = []
        for phase in PHASES:
            each = cells.get((part, way, phase))
            if each is None:
                columns.append("")
            elif each.reason:
                columns.append(letters[each.reason])
            elif each.problems:
                columns.append("**failed**")
            else:
                columns.append("ok" if each.spoken_s is None else f"{each.spoken_s:.2f}")
        lines.append(f"| {part} | {way} | " + " | ".join(columns) + " |")
    lines += ["", *(f"- {letters[reason]}: {text}" for reason, text in NOT_RUN.items())]
    return "\n".join(lines) + "\n"


def measure(options: Any) -> list[Row]:
    """Runs the matrix."""
    cells = list(CELLS)
    if options.only:
        wanted = options.only.split(":")
        cells = [
            cell for cell in cells if all(w in ("", "*", v) for w, v in zip(wanted, str(cell).split(":"), strict=False))
        ]
    if options.quick:
        cells = random.Random(options.seed).sample(cells, min(40, len(cells)))

    found = measured(_lived, [(cell, options.seed, False) for cell in cells], options.processes, "cells, failed")
    for each in found:
        for problem in each.problems:
            print(f"{each.cell}: {problem}", file=sys.stderr)
    blind: list[Found] = []
    if options.blind or options.full:
        judged = [
            c
            for c in cells
            if isinstance(c.injection, Injection) and (c.phase == "stopping" or c.injection.row[0] or c.injection.event)
        ]
        jobs = [(cell, options.seed, True) for cell in judged]
        blind = measured(_lived, jobs, options.processes, "blind cells, noticed")
        for each in blind:
            if not each.problems:
                print(f"passes blind: {each.cell}", file=sys.stderr)
    if options.evidence:
        options.evidence.write_text(evidence(found, options.seed), encoding="utf-8")
    count = options.instants if options.instants is not None else 20 if options.full else 0 if options.quick else 4
    moments = [(part, way, number, options.seed) for number in range(count) for part, way in TIMED]
    instants = measured(_timed, moments, options.processes, "instants, not noticed") if not options.only else []
    for each in instants:
        injection = MATRIX[each.cell.part][each.cell.way]
        assert isinstance(injection, Injection)
        if each.problems or (each.spoken_s or 0.0) > GOALS_S[class_of(each.cell.part, each.cell.way, injection)]:
            print(f"at an instant: {each.cell}: told {each.detect_s}, heard {each.spoken_s}", file=sys.stderr)
    return rows_of(found, blind, instants)


def main() -> None:
    """The program."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument(
        "--blind", action="store_true", help="run each cell with its detector put out as well (--full, too)"
    )
    parser.add_argument("--evidence", type=Path, help="write the table of a release to this file")
    parser.add_argument("--only", default="", help="only cells PART:WAY:PHASE; * or nothing: all")
    parser.add_argument("--instants", type=int, help="instants drawn by chance for each way (4; --quick 0, --full 20)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many work at it (all cores)")
    run("faults", parser.parse_args(), measure)


if __name__ == "__main__":
    main()
