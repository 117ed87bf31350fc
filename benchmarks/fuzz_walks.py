"""Does it ever protect less than it says?  Random walks with random faults and settings, in virtual time.

Each walk is drawn from its number: how the walker goes, turns, stops, leans, falls and presses; what stands or steps
behind; the weather; which sensors there are and how every knob is set, within its limits; which parts break, how and
when; which process dies; when the broker, the card or the clock is not to be trusted.  The guard, the voice and the
courier are the real ones, and an ear takes in what leaves the sound device.  The last half minute is without trouble.

What is looked for (`ORACLES`): an exception or an error in the log; a broken sensor that is not noticed, or not named;
"guarding", "clear" or the guarding tick while every rear sensor is broken; something touched without any warning while
it guarded; a fall that was felt and not asked about; a countdown of another length; an event that never arrives, or
arrives twice; a published state that is not the guard's; a part that stays lost when its trouble is over; a recording
that replays to something else.

Not drawn: pins, addresses and names, and what the phrases are rendered with (rate, voice, volume).

Walks that are done are kept in `--state FILE`, a line each with the version they were walked with, and the next run
goes on after them.  `--walk N` lives one walk again and tells what happened; `--minimise N` drops from it what its
findings do not need.

Run: python benchmarks/fuzz_walks.py [--quick | --full] [--from 1] [--to N] [--hours H] [--state FILE] [--json]
"""

from __future__ import annotations

import errno
import functools
import json
import logging
import math
import random
import sqlite3
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from common import Row, arguments, run

from retrowalk import replay
from retrowalk.config import (
    A02yyuw,
    Air,
    Battery,
    Config,
    Device,
    HcSr04,
    Imu,
    TfLuna,
    Vl53l1x,
    Voice,
    bounds,
    from_table,
    to_table,
)
from retrowalk.config import Walker as WalkerSettings
from retrowalk.core import alerts
from retrowalk.core import events as ev
from retrowalk.core import samples as sm
from retrowalk.core.freshness import BACK_FROM_GARBAGE_S
from retrowalk.courier import recording
from retrowalk.devices.a02yyuw import HEARD_WITHIN_S
from retrowalk.devices.vl53l1x import DARK_KCPS, LONG, SHORT, surely_seen_m
from retrowalk.errors import ConfigError
from retrowalk.sim import world as w
from retrowalk.sim.broker import Outage
from retrowalk.sim.faults import KINDS, Fault, Faults
from retrowalk.sim.hardware import parts
from retrowalk.sim.scenarios import WALKER, Scenario
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice import bank as banks
from retrowalk.voice.mixer import Clip

LENGTH_S = 300.0
QUIET_S = 40.0
"""At the end of each walk nothing is broken any more for so long."""
LOOK_S = 0.25
STEADY_S = 15.0
"""A state that has been the same for so long must have been published: a heartbeat comes every five seconds."""
REPLAY_EVERY = 10
"""One walk in so many is replayed from its recording."""
HOUR_S = 3600.0

EXCEPTION, UNNOTICED, UNSAID, CLAIMED = "exception", "unnoticed", "unsaid", "claimed"
CONTACT, FALL, COUNTDOWN, EVENTS, STATE, STILL_LOST, REPLAY = (
    "contact",
    "fall",
    "countdown",
    "events",
    "state",
    "still_lost",
    "replay",
)
SILENT = (UNNOTICED, UNSAID, CLAIMED, CONTACT, FALL)
ORACLES = (EXCEPTION, *SILENT, COUNTDOWN, EVENTS, STATE, STILL_LOST, REPLAY)

SURE: dict[str, frozenset[str]] = {
    "rear": frozenset({"off", "stuck", "unplugged"}),
    "lidar": frozenset({"off", "wrong", "stuck", "garbage"}),
    "drop": frozenset({"off", "wrong", "stuck", "garbage"}),
    "tof": frozenset({"off", "wrong", "stuck", "garbage", "broken"}),
    "imu": frozenset({"off", "wrong", "stuck", "garbage"}),
    "bus": frozenset({"stuck"}),
}
"""Faults that leave no truth in what a part gives, whatever the walker does: these must be noticed."""
NOTICED_S = 4.0
"""Within so long, over and above `freshness.lost_after_s`: the longest row of the table for these is 3 s."""
SAID_S = 3.0
NEXT_NAME_S = 2.3
"""Of several that are lost together each is named so much later than the one before."""
TOGETHER_S = 3.0
SAID_AGAIN_S = alerts.ALERT_BY_KEY["sensor_lost"].repeat_s
URGENT_S = 6.0
"""What is urgent is said first; so long after it, a name may still wait."""
URGENT = ("warning", "stop", "touching", "fall", "countdown", "guard_silent", "balance", "sos", "caution", "restarted")


# ------------------------------------------------------------------------------------------------------ drawing


@dataclass(frozen=True)
class Trouble:
    """What is done to the device at `at_s`, until `to_s`: `what` names it."""

    what: str
    at_s: float
    to_s: float
    value: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """One walk, before it is walked."""

    number: int
    config: Config
    usual: bool
    """Whether the settings are those of the default device."""
    script: tuple[tuple[float, w.Action], ...]
    faults: tuple[Fault, ...]
    troubles: tuple[Trouble, ...]
    length_s: float = LENGTH_S

    @property
    def outages(self) -> list[Outage]:
        return [Outage(each.at_s, each.to_s) for each in self.troubles if each.what == "broker"]


_NOT_DRAWN = {
    *("pin", "trigger_pin", "echo_pin", "right_pin", "address", "port", "rate_wpm", "volume"),
    *("bearing_left_deg", "cells", "shunt_ohm", "height_m", "rear_up_deg", "dropoff_down_deg"),
}
"""How it is built, or rendered; mounting that does not fit the world would be a lie about the world."""

_SENSORS: tuple[tuple[Any, ...], ...] = (
    (HcSr04(), TfLuna(), TfLuna(name="drop", role="dropoff", address=0x11)),
    (HcSr04(), TfLuna(), TfLuna(name="drop", role="dropoff", address=0x11)),
    (HcSr04(), TfLuna()),
    (HcSr04(),),
    (TfLuna(),),
    (A02yyuw(), TfLuna(), TfLuna(name="drop", role="dropoff", address=0x11)),
    (A02yyuw(),),
    (HcSr04(), Vl53l1x()),
)


def _numbers(table: dict[str, Any], kinds: Any, draw: random.Random, share: float) -> None:
    """Draws a share of the numbers of a table anew, within their bounds."""
    import msgspec

    for known in msgspec.structs.fields(kinds):
        limits = bounds(known.type)
        if known.name in _NOT_DRAWN or limits is None or draw.random() >= share:
            continue
        low, high = limits
        whole = isinstance(table[known.name], int) and not isinstance(table[known.name], bool)
        table[known.name] = draw.randint(int(low), int(high)) if whole else round(draw.uniform(low, high), 3)


def draw_config(draw: random.Random) -> tuple[Config, bool]:
    """Settings, and whether they are the default ones but for the parts that there are."""
    usual = draw.random() < 0.5
    parts_of = Config(
        device=Device(language=draw.choice(("en", "en", "de"))),
        walker=WalkerSettings(hearing="touch" if draw.random() < 0.2 else "sound"),
        range_sensor=draw.choice(_SENSORS),
        imu=Imu(chip=draw.choice(("lsm6dsox", "lsm6dsox", "mpu6050"))),
        air=Air(thermometer=draw.choice(("none", "none", "ds18b20"))),
        battery=Battery(chip=draw.choice(("max17048", "max17048", "ina219", "none"))),
        voice=Voice(microphone="default" if draw.random() < 0.15 else ""),
    )
    if usual:
        return parts_of, True
    for _ in range(200):
        table = to_table(parts_of)
        share = draw.uniform(0.05, 0.4)
        for known in type(parts_of).__struct_fields__:
            section = getattr(parts_of, known)
            if isinstance(section, tuple):
                for entry, sensor in zip(table[known], section, strict=True):
                    _numbers(entry, type(sensor), draw, share)
            else:
                _numbers(table[known], type(section), draw, share)
        try:
            return from_table(table, "drawn"), False
        except ConfigError:
            continue  # two values that do not go together
    return parts_of, True


def draw_script(draw: random.Random, until_s: float) -> tuple[tuple[float, w.Action], ...]:
    """What the walker and the world do up to `until_s`."""
    script: list[tuple[float, w.Action]] = []
    if draw.random() < 0.85:
        script.append((draw.uniform(3.0, 6.0), w.HandBehind(for_s=draw.uniform(0.6, 2.0))))
    script.append((0.0, w.Weather(draw.uniform(-10.0, 35.0), draw.uniform(0.0, 8.0), draw.random() < 0.15)))
    script.append((0.0, w.Ground(draw.choice(("asphalt", "gravel", "grass", "leaves")))))
    t, number = draw.uniform(7.0, 14.0), 0
    while t < until_s:
        number += 1
        what = draw.choices(
            ("wall", "person", "walk", "forward", "along", "lean", "gait", "press", "fall", "kerb", "rest", "gone"),
            (20, 14, 20, 8, 4, 6, 5, 6, 3, 3, 6, 2),
        )[0]
        speed = draw.uniform(0.2, 0.6) if draw.random() < 0.8 else draw.uniform(0.6, 1.2)
        name = f"{what}-{number}"
        if what == "wall":
            kind = draw.choice(("wall", "wall", "car", "hedge", "pole_90mm", "chain_link", "glass"))
            wall_m = draw.uniform(3.0, 8.0)
            script += [(t, w.Place(kind, wall_m, name=name)), (t, w.Walk(speed))]
            t += wall_m / speed + draw.uniform(1.0, 6.0)
            script += [(t, w.Walk(-draw.uniform(0.3, 0.8))), (t + 5.0, w.Remove(name)), (t + 5.5, w.Stand())]
            t += 7.0
        elif what == "person":
            kind = draw.choice(("person_jacket", "person_fleece", "child", "bicycle"))
            nears = draw.choice((0.0, 0.0, 0.6, 1.2))
            script += [(t, w.Walk(speed)), (t + 3.0, w.Place(kind, draw.uniform(1.0, 4.0), name, nears, 5.0))]
            t += 3.0 + draw.uniform(5.0, 9.0)
        elif what == "walk":
            script += [(t, w.Walk(speed)), (t + draw.uniform(1.0, 5.0), w.LookBack(draw.choice((-40.0, 30.0, 40.0))))]
            t += draw.uniform(8.0, 25.0)
        elif what == "forward":
            script.append((t, w.Walk(-speed)))
            t += draw.uniform(3.0, 12.0)
        elif what == "along":
            script += [(t, w.Walk(speed)), (t, w.WalkAlong("person_jacket", draw.uniform(0.8, 2.5), for_s=8.0))]
            t += 10.0
        elif what == "lean":
            script += [(t, w.Walk(speed)), (t + 4.0, w.Lean(-draw.uniform(3.0, 14.0), hold_s=draw.uniform(0.5, 5.0)))]
            t += 10.0
        elif what == "gait":
            uneven = draw.choice((w.StepUnevenly(draw.uniform(0.04, 0.2)), w.Shuffle(draw.uniform(0.3, 1.0))))
            script += [(t, uneven), (t, w.Walk(speed))]
            t += 12.0
        elif what == "press":
            press = draw.choice((w.Press(), w.Press(0.2, 2), w.Press(1.5), w.Press(3.6), w.Press(11.0), w.Press(0.04)))
            script.append((t, press))
            t += draw.uniform(2.0, 15.0)
        elif what == "fall":
            script += [(t, w.Stand()), (t + 1.0, w.Fall())]
            if draw.random() < 0.5:
                script.append((t + draw.uniform(5.0, 25.0), w.Press()))
            t += draw.uniform(15.0, 50.0)
            script.append((t, w.GetUp()))
            t += 9.0
        elif what == "kerb":
            script += [(t, w.Kerb(draw.uniform(2.0, 5.0), draw.uniform(0.06, 0.2), name)), (t, w.Walk(speed))]
            t += draw.uniform(5.0, 12.0)
        else:  # rests, sits down
            script.append((t, w.Stand()))
            if what == "gone":
                script.append((t + 1.0, w.Lean(draw.uniform(20.0, 50.0), over_s=1.5, hold_s=12.0)))
            t += draw.uniform(4.0, 25.0)
    script = [entry for entry in script if entry[0] <= until_s or isinstance(entry[1], (w.Remove, w.GetUp, w.Stand))]
    end_s = max(until_s, t) + 0.5
    # A lidar that somebody has leant on, and left to the open sky, asks to be shown something (docs/faults.md).
    script += [(end_s, w.Stand()), (end_s + 3.0, w.HandBehind(for_s=1.5))]
    return tuple(sorted(script, key=lambda entry: entry[0]))


def draw_faults(draw: random.Random, config: Config, until_s: float) -> tuple[Fault, ...]:
    """What breaks; each part has one fault at a time."""
    found: list[Fault] = []
    there = [part for part in parts(config) if part != "button"] + ["button"] * (draw.random() < 0.2)
    sure = [part for part in there if part in SURE]
    serial = any(isinstance(sensor, A02yyuw) for sensor in config.range_sensor)
    without = set() if serial else {("rear", "unplugged")}  # an adapter that is not there cannot be pulled out
    for _ in range(draw.choices((0, 1, 2, 3, 5, 8), (1, 2, 4, 4, 3, 2))[0]):
        # Half of them leave no doubt, and last: those are the ones that must be named.
        certain = draw.random() < 0.5
        part = draw.choice(sure if certain else there)
        at_s = draw.choice((0.0, *[draw.uniform(2.0, max(3.0, until_s - 30.0))] * 6))
        to_s = min(until_s, at_s + math.exp(draw.uniform(math.log(3.0 if certain else 0.3), math.log(90.0))))
        if to_s > at_s and all(each.part != part or each.end_s < at_s or each.start_s > to_s for each in found):
            known = sorted(SURE[part]) if certain else list(KINDS[part])
            kind = draw.choice([kind for kind in known if kind in KINDS[part] and (part, kind) not in without])
            found.append(Fault(part, kind, round(at_s, 2), round(to_s, 2) + 0.01))
    return tuple(found)


def draw_troubles(draw: random.Random, until_s: float) -> tuple[Trouble, ...]:
    """What happens to processes, broker, card and clock, one after the other."""
    found = []
    t = draw.uniform(5.0, 120.0)
    while t < until_s - 12.0:
        what = draw.choice(("guard", "voice", "courier", "pause", "broker", "disk", "clock", "clock"))
        lasts = {"guard": (0.3, 3.0), "voice": (0.3, 3.0), "courier": (0.3, 6.0), "pause": (0.05, 2.0)}
        low, high = lasts.get(what, (1.0, 60.0))
        to_s = min(until_s, t + draw.uniform(low, high))
        by_s = draw.choice((-365.25 * 86400.0, 365.25 * 86400.0, 3600.0, -3600.0, -60.0, 1.0)) if what == "clock" else 0
        found.append(Trouble(what, round(t, 2), round(to_s, 2), by_s))
        t = to_s + draw.uniform(8.0, 200.0)
    return tuple(found)


def drawn(number: int, length_s: float = LENGTH_S) -> Drawn:
    """The walk of this number."""
    draw = random.Random(f"fuzz:{number}")
    config, usual = draw_config(draw)
    until_s = length_s - QUIET_S
    script = draw_script(draw, until_s)
    return Drawn(
        number,
        config,
        usual,
        script,
        draw_faults(draw, config, until_s),
        draw_troubles(draw, until_s),
        max(length_s, script[-1][0] + QUIET_S),
    )


# ------------------------------------------------------------------------------------------------------- living


class Complaints(logging.Handler):
    """What is logged as an error and is no fault that has a name."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # A line of a known kind tells of a fault that was put in, such as a guard that was killed.
        if record.exc_info or not hasattr(record, "retrowalk"):
            self.lines.append(record.getMessage()[:200])


Outputs = tuple[ev.Output, ...]
Swallow = Callable[[Outputs], Outputs]


class Listened(VirtualWalk):
    """A walk whose guard is listened to.  `swallow` alters what its Companion says: a test makes it lie so."""

    def __init__(self, *args: Any, swallow: Swallow | None = None, **options: Any) -> None:
        self.told: list[ev.Event] = []
        self.begun: list[float] = []
        """When a guard began."""
        self.ended: list[float] = []
        """When one died."""
        self._swallow = swallow
        super().__init__(*args, **options)

    def start_guard(self) -> None:
        """Starts the guard, and listens to it."""
        module = sys.modules["retrowalk.guard.guard"]
        companion_of = module.Companion
        walk = self

        class Heard(companion_of):  # type: ignore[misc,valid-type]  # for this one life
            def feed(self, item: sm.Item) -> Outputs:
                outputs: Outputs = super().feed(item)
                if walk._swallow is not None:
                    outputs = walk._swallow(outputs)
                walk.told += [output for output in outputs if isinstance(output, ev.Event)]
                return outputs

        self.begun.append(self.clock.now())
        module.Companion = Heard  # type: ignore[attr-defined]
        try:
            super().start_guard()
        finally:
            module.Companion = companion_of  # type: ignore[attr-defined]

    def kill_guard(self) -> None:
        """As kill -9."""
        self.ended.append(self.clock.now())
        super().kill_guard()

    def pause_guard(self) -> None:
        """As SIGSTOP."""
        self.scheduler.remove(self.guard)
        for step in self._guard_steps:
            self.scheduler.remove(step)

    def go_on(self) -> None:
        """As SIGCONT."""
        for step in self._guard_steps:
            self.scheduler.add(step, self._sink(step))
        self.scheduler.add(self.guard)

    def suffer(self, trouble: Trouble) -> None:
        """Plans a trouble."""
        at = self.scheduler.at
        match trouble.what:
            case "guard":
                at(trouble.at_s, self.kill_guard, "trouble")
                at(trouble.to_s, self.start_guard, "trouble")
            case "voice":
                at(trouble.at_s, self.kill_voice, "trouble")
                at(trouble.to_s, self.start_voice, "trouble")
            case "courier":
                at(trouble.at_s, self.kill_courier, "trouble")
                at(trouble.to_s, self.start_courier, "trouble")
            case "pause":
                at(trouble.at_s, self.pause_guard, "trouble")
                at(trouble.to_s, self.go_on, "trouble")
            case "clock":
                at(trouble.at_s, functools.partial(self.clock.jump_wall, trouble.value), "trouble")
            case "disk":
                self._refuse(trouble)

    def _refuse(self, trouble: Trouble) -> None:
        outbox, recorder = self.outbox, self.recorder
        connection, add = outbox._connection, recorder._add

        def broken() -> bool:
            return trouble.at_s <= self.clock.now() < trouble.to_s

        def refusing(now: float) -> Any:
            return Refusing(connection(now), broken)

        def not_added(record: Any, now: float) -> None:
            if broken():
                raise OSError(errno.ENOSPC, "no space left on device")
            add(record, now)

        outbox._connection = refusing  # type: ignore[method-assign]
        recorder._add = not_added  # type: ignore[method-assign]


class Refusing:
    """A connection to a database on a card that fails while `broken()`."""

    def __init__(self, db: sqlite3.Connection, broken: Callable[[], bool]) -> None:
        self._db = db
        self._broken = broken

    def __getattr__(self, name: str) -> Any:
        if name in ("execute", "executemany", "executescript") and self._broken():
            raise sqlite3.OperationalError("disk I/O error")
        return getattr(self._db, name)


@dataclass(frozen=True)
class Look:
    """One glance at the guard."""

    t_s: float
    state: str
    path: str
    level: str
    alive: bool


@dataclass
class Lived:
    """What became of a walk."""

    number: int
    hours: float
    walked_h: float
    took_s: float
    version: str
    events: int = 0
    falls: int = 0
    replayed: int = 0
    faults: int = 0
    """Parts that broke."""
    sure: int = 0
    """Of them, those in a way that must be noticed, for long enough."""
    troubles: int = 0
    """Of processes, broker, card and clock."""
    contacts: int = 0
    """Times that something was touched, warned of or not."""
    findings: list[tuple[str, str]] = field(default_factory=list)
    """(oracle, in words)."""


_BANKS: dict[str, banks.Bank] = {}


def bank_of(config: Config) -> banks.Bank:
    """The phrases of a language for every sensor there is, unpacked: unpacking them takes longer than the walk.

    They are kept beside the bank of whoever runs this, and leave that one as it is.
    """
    language = config.device.language
    if language not in _BANKS:
        sensors = (*Config().range_sensor, Vl53l1x())
        whole = Config(device=Device(language=language), range_sensor=sensors)
        bank = banks.build(whole, banks.default_directory().parent / f"fuzz-{language}")
        for key in alerts.clips(whole):
            if (clip := bank.lookup(*key)) is not None:
                bank._clips[key] = Clip(clip.words, clip.pcm)
        _BANKS[language] = bank
    return _BANKS[language]


def live(walk: Drawn, version: str = "", *, swallow: Swallow | None = None) -> Lived:
    """Walks it, and looks for what must not be."""
    scenario = Scenario("fuzz", walk.length_s, walk.script, WALKER, (), {}, device=walk.config)
    complaints = Complaints()
    logging.getLogger("retrowalk").addHandler(complaints)
    began = time.perf_counter()
    found = Lived(walk.number, walk.length_s / HOUR_S, 0.0, 0.0, version)
    looks: list[Look] = []
    device: Listened | None = None
    try:
        device = Listened(
            walk.config,
            scenario,
            walk.number,
            bank_of(walk.config),
            faults=Faults(walk.faults),
            outages=walk.outages,
            swallow=swallow,
        )
        for trouble in walk.troubles:
            device.suffer(trouble)
        t_s = walking_s = 0.0
        while t_s < walk.length_s:
            t_s = min(walk.length_s, t_s + LOOK_S)
            device.run_until(t_s)
            seen = device.guard.companion.snapshot()
            alive = len(device.ended) < len(device.begun)
            looks.append(Look(t_s, seen.guard_state, seen.path, seen.hazard_level, alive))
            walking_s += LOOK_S * (abs(device.world.walker.speed_m_s) > 0.05)
        found.walked_h = walking_s / HOUR_S
        found.faults, found.troubles = len(walk.faults), len(walk.troubles)
        notice_s = walk.config.freshness.lost_after_s + NOTICED_S
        found.sure = sum(
            each.kind in SURE.get(each.part, ()) and each.end_s - each.start_s > notice_s for each in walk.faults
        )
        found.contacts = len(device.world.contacts)
        found.findings += judge(walk, device, looks)
        found.events = len(device.told)
        found.falls = sum(event.type == "fall.suspected" for event in device.told)
        if walk.number % REPLAY_EVERY == 0:
            device.finish()
            found.findings += list(replayed(device, found))
    except Exception as error:  # any at all: it is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        at = f"{device.clock.now():.3f}" if device is not None else "the start"
        found.findings.append((EXCEPTION, f"{error!r} at {at} ({Path(where.filename).name}:{where.lineno})"))
    finally:
        logging.getLogger("retrowalk").removeHandler(complaints)
        if device is not None:
            device.close()
    found.findings += [(EXCEPTION, f"logged: {line}") for line in complaints.lines]
    found.took_s = round(time.perf_counter() - began, 2)
    return found


def replayed(device: Listened, found: Lived) -> Iterator[tuple[str, str]]:
    """Whether the recordings say the same again."""
    for path in device.recordings():
        comparison = replay.replay(recording.read(path))
        found.replayed += 1
        if not comparison.identical:
            assert comparison.difference is not None
            yield REPLAY, f"{path.name} differs at {comparison.difference.t_s:.3f}: {comparison.difference.got[:120]}"


# ------------------------------------------------------------------------------------------------------ judging


def _at(fault: Fault, now: float) -> bool:
    return fault.start_s <= now < fault.end_s


def _broken(walk: Drawn, part: str, on_bus: bool, now: float) -> bool:
    """Whether no truth comes from a part at `now`."""
    for fault in walk.faults:
        if _at(fault, now):
            if fault.part == part and fault.kind in SURE[part]:
                return True
            if on_bus and fault.part == "bus" and fault.kind in SURE["bus"]:
                return True
    return False


def _watched(config: Config) -> list[tuple[str, str, bool, bool]]:
    """(name, part of the twin, on the bus, looks to the rear) of each sensor."""
    found = [("imu", "imu", True, False)]
    for sensor in config.range_sensor:
        match sensor:
            case TfLuna():
                found.append(
                    (sensor.name, "drop" if sensor.role == "dropoff" else "lidar", True, sensor.role == "rear")
                )
            case Vl53l1x():
                found.append((sensor.name, "tof", True, True))
            case _:
                found.append((sensor.name, "rear", False, True))
    return found


def judge(walk: Drawn, device: Listened, looks: Sequence[Look]) -> list[tuple[str, str]]:
    """What a walk shows that must not be, each kind once for each part."""
    return [
        *_judge_sensors(walk, device, looks),
        *_judge_contacts(walk, device, looks),
        *_judge_falls(walk, device, looks),
        *_judge_events(walk, device),
        *_judge_end(walk, device, looks),
    ]


def _calm(walk: Drawn, device: Listened, looks: Sequence[Look]) -> list[bool]:
    """At which of the looks words can be expected: the guard and the voice live, and nothing urgent is said."""
    silent = [
        # Nobody can know that a loudspeaker's plug is out: what was said into it is said again when it is due.
        (fault.start_s, fault.end_s + 4.0 + (SAID_AGAIN_S if fault.kind == "unplugged" else 0.0))
        for fault in walk.faults
        if fault.part in ("voice", "microphone")
    ]
    silent += [(each.at_s - 0.5, each.to_s + 6.0) for each in walk.troubles if each.what in ("guard", "voice", "pause")]
    silent += [(h.start_s - 0.5, h.end_s + URGENT_S) for h in device.ear.heard if h.key.startswith(URGENT)]
    silent.sort()
    calm, active, index = [], -math.inf, 0
    for look in looks:
        while index < len(silent) and silent[index][0] <= look.t_s:
            active = max(active, silent[index][1])
            index += 1
        calm.append(look.t_s > active and look.alive)
    return calm


def _judge_sensors(walk: Drawn, device: Listened, looks: Sequence[Look]) -> Iterator[tuple[str, str]]:
    config = walk.config
    notice_s = config.freshness.lost_after_s + NOTICED_S
    calm = _calm(walk, device, looks)
    lives = [(each.at_s, each.to_s + 2.0) for each in walk.troubles if each.what in ("guard", "pause")]
    heard = [(h.start_s, h.key) for h in device.ear.heard]
    sensors = _watched(config)
    # A serial sensor that says for ever what it said last is no other than one that works while nobody walks: one that
    # stands at "nothing" is to be found out when the proof that it can hear is too old.
    stuck = {each.name for each in config.range_sensor if isinstance(each, A02yyuw)}
    limit_s = {name: notice_s + (HEARD_WITHIN_S if name in stuck else 0.0) for name, *_ in sensors}

    def broken(name: str, part: str, on_bus: bool, look: Look) -> bool:
        if name in stuck and any(f.part == part and f.kind == "stuck" and _at(f, look.t_s) for f in walk.faults):
            return look.path == "clear"
        return _broken(walk, part, on_bus, look.t_s)

    bad_s = dict.fromkeys((name for name, *_ in sensors), 0.0)
    unsaid_s = dict(bad_s)
    told = sorted(
        [
            *[(e.t_s, e.sensor, True) for e in device.told if isinstance(e, ev.SensorLost)],
            *[(e.t_s, e.sensor, False) for e in device.told if isinstance(e, ev.SensorRestored)],
            *[(t_s, name, False) for t_s in device.begun for name, *_ in sensors],
        ]
    )
    lost_s: dict[str, float | None] = dict.fromkeys(bad_s)
    given: set[tuple[str, str]] = set()
    excused: set[str] = set()
    at = 0
    rear_bad_s = 0.0
    ticks = [t_s for t_s, key in heard if key == "tick"]
    for look, quiet in zip(looks, calm, strict=True):
        while at < len(told) and told[at][0] <= look.t_s:
            t_s, name, lost = told[at]
            if name in lost_s:
                lost_s[name] = t_s if lost else None
                if not lost:
                    unsaid_s[name] = 0.0
                    # What was held up by one fault and comes back into another needs its time again; but only once.
                    if bad_s[name] and name not in excused:
                        bad_s[name] = 0.0
                        excused.add(name)
            at += 1
        up = look.alive and not any(a <= look.t_s <= b for a, b in lives) and look.state not in ("not_worn", "stopping")
        for name, part, on_bus, _ in sensors:
            bad = broken(name, part, on_bus, look)
            bad_s[name] = bad_s[name] + LOOK_S if up and bad else 0.0
            if not bad:
                excused.discard(name)
            since_s = lost_s[name]
            if bad_s[name] > limit_s[name] and since_s is None and (UNNOTICED, name) not in given:
                given.add((UNNOTICED, name))
                yield UNNOTICED, f"{name} is broken for {bad_s[name]:.1f} s at {look.t_s:.1f}, state {look.state}"
            if since_s is not None and up and quiet:
                unsaid_s[name] += LOOK_S
                others = {other for t_s, other, gone in told if gone and abs(t_s - since_s) < TOGETHER_S} - {name}
                named_s = SAID_S + 1.0 + NEXT_NAME_S * len(others)
                if unsaid_s[name] > named_s and (UNSAID, name) not in given:
                    keys = (f"sensor_lost:{name}", "not_protecting")
                    named = any(t_s >= since_s - 0.1 and key.startswith(keys) for t_s, key in heard if t_s <= look.t_s)
                    if not named:
                        given.add((UNSAID, name))
                        yield UNSAID, f"{name} is lost since {since_s:.1f}, unnamed at {look.t_s:.1f}, {look.state}"
        all_bad = all(broken(name, part, on_bus, look) for name, part, on_bus, rear in sensors if rear)
        rear_bad_s = rear_bad_s + LOOK_S if all_bad and up else 0.0
        if rear_bad_s > max(limit_s[name] for name, *_, rear in sensors if rear) and (CLAIMED, "") not in given:
            ticked = [t_s for t_s in ticks if look.t_s - LOOK_S < t_s <= look.t_s]
            if look.state == "guarding" or look.path == "clear" or ticked:
                given.add((CLAIMED, ""))
                yield CLAIMED, f"{look.state}, path {look.path}, ticks {ticked} at {look.t_s:.1f}, all rear broken"


SEEN = frozenset({"wall", "car", "hedge"})
"""Kinds that every rear sensor sees from afar."""


def _judge_contacts(walk: Drawn, device: Listened, looks: Sequence[Look]) -> Iterator[tuple[str, str]]:
    if not walk.usual:
        return  # a warning may be set to come after the foot has touched
    places = {a.name: (t_s, a) for t_s, a in walk.script if isinstance(a, w.Place)}
    warned = [h.start_s for h in device.ear.heard if h.key in ("warning", "stop", "touching", "caution", "slow_down")]
    warned += [t_s for t_s, _ in device.world.felt]
    for contact in device.world.contacts:
        t_s, place = places.get(contact.name, (0.0, None))
        if place is None or place.kind not in SEEN or contact.t_s - t_s < 3.0 or contact.speed_m_s < 0.1:
            continue
        before = [look for look in looks if contact.t_s - 5.0 <= look.t_s <= contact.t_s]
        if any(look.state != "guarding" or not look.alive for look in before):
            continue
        if not any(contact.t_s - 8.0 <= t <= contact.t_s for t in warned):
            yield CONTACT, f"{contact.name} is touched at {contact.t_s:.2f} with {contact.speed_m_s:.2f} m/s, unwarned"


def _judge_falls(walk: Drawn, device: Listened, looks: Sequence[Look]) -> Iterator[tuple[str, str]]:
    suspected = [e for e in device.told if isinstance(e, ev.FallSuspected)]
    confirmed = [e for e in device.told if isinstance(e, ev.FallConfirmed)]
    down_s = sum(b - a for a, b in zip(device.ended, device.begun[1:], strict=False))
    down_s += sum(each.to_s - each.at_s for each in walk.troubles if each.what == "pause")
    for event in confirmed:
        asked = [e for e in suspected if e.fall == event.fall and e.t_s <= event.t_s]
        if not asked:
            yield COUNTDOWN, f"fall {event.fall} is confirmed at {event.t_s:.1f}, and was never asked about"
        elif not -0.6 <= event.t_s - asked[-1].t_s - asked[-1].countdown_s <= down_s + 2.0:
            yield COUNTDOWN, f"asked at {asked[-1].t_s:.1f}, confirmed at {event.t_s:.1f}, not {asked[-1].countdown_s}"
    if not walk.usual:
        return
    trouble = [(f.start_s, f.end_s + BACK_FROM_GARBAGE_S) for f in walk.faults if f.part in ("imu", "bus")]
    trouble += [(each.at_s, each.to_s + 6.0) for each in walk.troubles if each.what in ("guard", "pause")]
    for t_s, action in walk.script:
        if not isinstance(action, w.Fall):
            continue
        if any(a < t_s + 14.0 and b > t_s - 6.0 for a, b in trouble):
            continue
        state = next((look.state for look in looks if look.t_s >= t_s), "")
        near = [e for e in suspected if t_s <= e.t_s <= t_s + 14.0]
        if not near and state not in ("not_worn", "stopping") and not _open(device.told, t_s):
            yield FALL, f"the fall at {t_s:.1f} is not asked about ({state})"


def _open(told: Sequence[ev.Event], t_s: float) -> bool:
    """Whether an earlier fall was still open at `t_s`: another one is then a part of it."""
    still: set[int] = set()
    for event in told:
        if event.t_s > t_s:
            break
        if isinstance(event, ev.FallSuspected):
            still.add(event.fall)
        elif isinstance(event, ev.FallCancelled):
            still.discard(event.fall)
    return bool(still)


def _judge_events(walk: Drawn, device: Listened) -> Iterator[tuple[str, str]]:
    """Every event told arrives, once by its id."""
    end_s = walk.length_s - 5.0
    arrived: Counter[tuple[str, int]] = Counter()
    ids: set[str] = set()
    for message in device.evidence().published:
        if "/event/" in message.topic and message.payload["id"] not in ids:
            ids.add(message.payload["id"])
            arrived[message.payload["eventtype"], message.payload["monoms"]] += 1
    wanted = Counter((event.type, round(event.t_s * 1000.0)) for event in device.told if event.t_s <= end_s)
    missing = [key for key in (wanted - arrived) if not any(abs(key[1] / 1000.0 - t_s) < 0.05 for t_s in device.ended)]
    if missing:
        yield EVENTS, f"{len(missing)} of {len(wanted)} events have not arrived: {missing[:3]}"
    double = [key for key in (arrived - wanted) if key in wanted]
    if double:
        yield EVENTS, f"{len(double)} events have arrived twice: {double[:3]}"


def _judge_end(walk: Drawn, device: Listened, looks: Sequence[Look]) -> Iterator[tuple[str, str]]:
    last = looks[-1]
    if last.state in ("stopping",):
        return
    shown = [message for message in device.evidence().published if message.topic.endswith("/heartbeat")]
    steady = {look.state for look in looks[-round(STEADY_S / LOOK_S) :]}
    if steady == {last.state} and (not shown or shown[-1].payload["guard_state"] != last.state):
        state = shown[-1].payload["guard_state"] if shown else "nothing"
        yield STATE, f"published {state}, and it is {last.state}"
    lost: set[str] = set()
    for event in device.told:
        if event.type == "guard.changed" and event.t_s in device.begun:
            lost.clear()
        if isinstance(event, ev.SensorLost):
            lost.add(event.sensor)
        elif isinstance(event, ev.SensorRestored):
            lost.discard(event.sensor)
    snapshot = device.guard.companion.snapshot()
    really = sorted(name for name in lost if snapshot.health.get(name) == "lost")
    # One that is to call a path clear further than the light lets it see says that it cannot, for as long as it is.
    light_kcps = device.world.ambient_kcps
    seen_m = surely_seen_m(LONG if light_kcps < DARK_KCPS else SHORT, light_kcps)
    blinded = {
        f"{sensor.name}:untrusted"
        for sensor in walk.config.range_sensor
        if isinstance(sensor, Vl53l1x) and seen_m < sensor.clear_range_m
    }
    really = [name for name in really if f"{name}:untrusted" not in blinded & set(device.guard.companion.troubles)]
    if really and last.state != "not_worn":
        yield STILL_LOST, f"{really} lost at the end, {QUIET_S:.0f} s after the last trouble"


# -------------------------------------------------------------------------------------------------- many walks


def upper_bound(count: int, hours: float) -> float:
    """The 95 % upper bound (one-sided, exact Poisson) of a rate an hour after `count` in `hours`; none: 3 by hours."""
    if hours <= 0.0:
        return math.inf

    def at_most(mean: float) -> float:
        term = total = math.exp(-mean)
        for k in range(1, count + 1):
            term *= mean / k
            total += term
        return total

    low, high = 0.0, 10.0 + 3.0 * count
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if at_most(middle) > 0.05 else (low, middle)
    return high / hours


def version() -> str:
    """The commit that is walked with, with a plus where files differ from it."""
    folder = Path(__file__).resolve().parent
    asked = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=9"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def already(state: Path | None) -> list[Lived]:
    """Walks that are done."""
    if state is None or not state.exists():
        return []
    done = [Lived(**json.loads(line)) for line in state.read_text(encoding="utf-8").splitlines()]
    for each in done:
        each.findings = [(str(oracle), str(words)) for oracle, words in each.findings]
    return done


def many(numbers: Iterator[int], hours: float, state: Path | None, length_s: float) -> list[Lived]:
    """Walks these numbers until there are so many hours, those of `state` included."""
    done = already(state)
    known = {each.number for each in done}
    lived_h = sum(each.hours for each in done)
    stamp = version()
    for number in numbers:
        if lived_h >= hours:
            break
        if number in known:
            continue
        found = live(drawn(number, length_s), stamp)
        done.append(found)
        lived_h += found.hours
        if state is not None:
            with open(state, "a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(found)) + "\n")
        for oracle, words in found.findings:
            print(f"walk {number}: {oracle}: {words}", file=sys.stderr, flush=True)
    return done


def minimise(number: int) -> Drawn:
    """The walk with less in it, and findings of the same kinds."""
    walk = drawn(number)
    kinds = {oracle for oracle, _ in live(walk).findings}
    if not kinds:
        return walk
    for name in ("faults", "troubles", "script"):
        size = max(1, len(getattr(walk, name)) // 2)
        while size:
            start = 0
            while start < len(getattr(walk, name)):
                entries = getattr(walk, name)
                less = replace(walk, **{name: entries[:start] + entries[start + size :]})
                if kinds & {oracle for oracle, _ in live(less).findings}:
                    walk = less
                else:
                    start += size
            size //= 2
    return walk


def rows(done: Sequence[Lived]) -> list[Row]:
    """What many walks come to."""
    hours = sum(each.hours for each in done)
    n = len(done)
    case = "all walks"
    found = Counter(oracle for each in done for oracle, _ in each.findings)
    silent = sum(found[oracle] for oracle in SILENT)
    took_s = sum(each.took_s for each in done)
    result = [
        Row("worn_h", "retrowalk", case, hours, "h", n, goal=">= 50"),
        Row("walked_h", "retrowalk", case, sum(each.walked_h for each in done), "h", n),
        Row("exceptions", "retrowalk", case, float(found[EXCEPTION]), "", n, goal="<= 0"),
        Row("silent_losses", "retrowalk", case, float(silent), "", n, goal="<= 0"),
        Row("exceptions_per_h", "retrowalk", "95 % bound", upper_bound(found[EXCEPTION], hours), "1/h", n),
        Row("silent_losses_per_h", "retrowalk", "95 % bound", upper_bound(silent, hours), "1/h", n),
    ]
    result += [Row("findings", "retrowalk", oracle, float(found[oracle]), "", n, goal="<= 0") for oracle in ORACLES]
    result += [
        Row("falls_asked", "retrowalk", case, float(sum(each.falls for each in done)), "", n),
        Row("events", "retrowalk", case, float(sum(each.events for each in done)), "", n),
        Row("faults", "retrowalk", case, float(sum(each.faults for each in done)), "", n),
        Row("faults_sure", "retrowalk", case, float(sum(each.sure for each in done)), "", n),
        Row("troubles", "retrowalk", case, float(sum(each.troubles for each in done)), "", n),
        Row("contacts", "retrowalk", case, float(sum(each.contacts for each in done)), "", n),
        Row("replayed", "retrowalk", case, float(sum(each.replayed for each in done)), "files", n),
        Row("speed", "retrowalk", case, hours * HOUR_S / took_s if took_s else 0.0, "x", n),
        Row("versions", "retrowalk", case, float(len({each.version for each in done})), "", n),
    ]
    return result


def tell(walk: Drawn, found: Lived) -> None:
    """Prints a walk for whoever looks into it."""
    print(f"walk {walk.number}, usual settings: {walk.usual}")
    changed, usual = to_table(walk.config), to_table(Config())
    for section, values in changed.items():
        if values != usual[section]:
            print(f"  {section}: {values}")
    for t_s, action in walk.script:
        print(f"  {t_s:7.2f} {action}")
    for fault in walk.faults:
        print(f"  fault {fault}")
    for trouble in walk.troubles:
        print(f"  {trouble}")
    for oracle, words in found.findings:
        print(f"FOUND {oracle}: {words}")


def measure(options: Any) -> list[Row]:
    """As many walks as were asked for."""
    length_s = 90.0 if options.quick else LENGTH_S
    last = options.to if options.to is not None else options.from_ + (4 if options.quick else 99)
    hours = options.hours if options.hours is not None else 1000.0 if options.full else math.inf
    if options.hours is not None or options.full:
        last = options.to if options.to is not None else sys.maxsize
    return rows(many(iter(range(options.from_, last + 1)), hours, options.state, length_s))


def main() -> None:
    """The program."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--from", dest="from_", type=int, default=1, help="number of the first walk (default 1)")
    parser.add_argument("--to", type=int, help="number of the last walk")
    parser.add_argument("--hours", type=float, help="walk until there are so many hours, those of --state included")
    parser.add_argument("--state", type=Path, help="file of the walks that are done, a line each: goes on after them")
    parser.add_argument("--walk", type=int, help="live one walk again and tell what happened")
    parser.add_argument("--minimise", type=int, help="drop from a walk what its findings do not need, and tell it")
    options = parser.parse_args()
    if options.walk is not None or options.minimise is not None:
        walk = drawn(options.walk) if options.walk is not None else minimise(options.minimise)
        tell(walk, live(walk))
        return
    run("fuzz_walks", options, measure)


if __name__ == "__main__":
    main()
