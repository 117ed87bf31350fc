"""Does it stay as it was?  Hours of the three real processes, and days in virtual time.

Real: guard, voice and courier as processes of their own on a simulated street, a real broker and the sound device, for
`--real-s`.  Every ten seconds: the memory that each has to itself (PSS), its open files, its threads.  The slope is
Theil and Sen's, over all pairs of samples after the warm-up, with its 95 % interval, of what each has written for
itself (private dirty pages): its share of what others map, too, changes whenever one of those comes or goes.

Virtual: the same guard, voice and courier in one process, days in segments of six hours.  The wall clock jumps all the
time (a year, an hour, a minute; forward and back); the first hour of each segment is walked a second time with a clock
that does not, and every event of both must be the same, its data included, save those that tell of a jump: one for
each, and no other.  How much the device holds in memory is
counted once in ten minutes, object by object; what belongs to the simulation is left out.

Days that are done are kept in `--state FILE`, and the next run goes on after them.

Run: python benchmarks/soak.py [--quick | --full] [--real-s 3600] [--virtual-h 24] [--state FILE] [--seed N] [--json]
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import msgspec
from common import Row, arguments, run

from retrowalk.config import Config
from retrowalk.core.events import ClockChanged
from retrowalk.guard.late import JUMP_S
from retrowalk.sim import scenarios
from retrowalk.sim.realtime import RealWalk
from retrowalk.sim.scenarios import Published
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice import bank as banks

PROCESSES = ("guard", "voice", "courier")
SAMPLE_S = 10.0
WARM_UP_S = 600.0
"""Caches fill, the first walk is recorded, the first events are sent."""
WARM_UP_SHARE = 0.25
"""Of a shorter run, this much is left out."""
JUDGED_S = 1800.0
"""A slope over less is shown, and not judged."""
SEGMENT_H = 6.0
TWIN_H = 1.0
COUNT_S = 600.0
PAIRS_MAX = 200_000
HOUR_S = 3600.0
MB = 1e6

BAD_WORDS = ("Traceback", "a fault in the program", "Unhandled", "never retrieved")
"""What a log says of an exception that nobody has expected."""

CLOCK_CHANGED = ClockChanged.type
NOTICED_S = 2.0
"""The wall clock is looked at about once a second."""
JUMPS_S = (365.25 * 86400.0, -365.25 * 86400.0, 3600.0, -3600.0, -60.0, 1.0, -1.0)


# -------------------------------------------------------------------------------------------------------- slopes


@dataclass(frozen=True)
class Slope:
    """Units an hour, with the 95 % interval."""

    per_h: float
    low: float
    high: float
    n: int


def slope(samples: Sequence[tuple[float, float]]) -> Slope:
    """Theil and Sen's: the median of the slopes between all pairs of (seconds, value), and Sen's interval of ranks.

    Raises `ValueError` for fewer than three samples, or samples of one instant.
    """
    found = sorted(
        (y2 - y1) / (t2 - t1) * HOUR_S for (t1, y1), (t2, y2) in itertools.combinations(samples, 2) if t2 > t1
    )
    n = len(samples)
    if n < 3 or not found:
        raise ValueError(f"{n} samples are too few for a slope: at least three at different times are needed")
    # The variance of Kendall's statistic, without ties: wider than need be where there are some.
    spread = 1.96 * (n * (n - 1) * (2 * n + 5) / 18.0) ** 0.5
    low = max(0, int((len(found) - spread) / 2.0))
    high = min(len(found) - 1, int((len(found) + spread) / 2.0) + 1)
    return Slope(statistics.median(found), found[low], found[high], n)


def settled(samples: Sequence[tuple[float, float]], length_s: float) -> list[tuple[float, float]]:
    """Those after the warm-up of a run that took `length_s`; at most as many as there is time to pair."""
    begin_s = min(WARM_UP_S, WARM_UP_SHARE * length_s)
    kept = [sample for sample in samples if sample[0] >= begin_s]
    every = max(1, round((len(kept) ** 2 / 2 / PAIRS_MAX) ** 0.5))
    return kept[::every]


# ---------------------------------------------------------------------------------------------------------- real


@dataclass
class Series:
    """What was seen of one process: (second, value)."""

    pss_bytes: list[tuple[float, float]] = field(default_factory=list)
    own_bytes: list[tuple[float, float]] = field(default_factory=list)
    files: list[tuple[float, float]] = field(default_factory=list)
    threads: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Real:
    """What the real processes did."""

    seconds: float = 0.0
    series: dict[str, Series] = field(default_factory=dict)
    exceptions: list[str] = field(default_factory=list)
    restarts: int = 0
    disk_bytes: int = 0


def memory_bytes(pid: int) -> tuple[float, float]:
    """Of a process: its proportional set size (what shared pages are divided by), and its private dirty pages."""
    kib = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value = line.split()[:2]
        kib[name.rstrip(":")] = float(value)
    return kib["Pss"] * 1024.0, (kib["Private_Dirty"] + kib.get("Swap", 0.0)) * 1024.0


def look(pid: int, t_s: float, series: Series) -> None:
    """Takes one sample of a process."""
    pss, own = memory_bytes(pid)
    series.pss_bytes.append((t_s, pss))
    series.own_bytes.append((t_s, own))
    series.files.append((t_s, float(len(os.listdir(f"/proc/{pid}/fd")))))
    series.threads.append((t_s, float(len(os.listdir(f"/proc/{pid}/task")))))


def exceptions_in(text: str) -> list[str]:
    """Lines of a log that speak of an exception nobody has expected."""
    return [line for line in text.splitlines() if any(word in line for word in BAD_WORDS)]


def real(seconds: float, seed: int, say: Callable[[str], None]) -> Real:
    """Lets the three processes walk for so long."""
    found = Real(seconds, {name: Series() for name in PROCESSES})
    with (
        tempfile.TemporaryDirectory(prefix="rw-soak-") as folder,
        RealWalk(seed, Path(folder), scenario="hours", until_s=seconds, tick_s=0.5) as walk,
    ):
        next_s = SAMPLE_S
        while next_s <= seconds:
            walk.run_until(next_s)
            # What the ear took in is no part of the device, and would fill the disk.
            os.truncate(walk.out / "walk.wav", 0)
            for name, pid in walk.pids().items():
                look(pid, next_s, found.series[name])
            if next_s % 600.0 < SAMPLE_S:
                latest = {name: round(each.pss_bytes[-1][1] / MB, 1) for name, each in found.series.items()}
                say(f"real: {next_s / 60.0:.0f} of {seconds / 60.0:.0f} min, MB {latest}")
            next_s += SAMPLE_S
        found.disk_bytes = sum(file.stat().st_size for file in walk.state_dir.rglob("*") if file.is_file())
        found.exceptions = exceptions_in(walk.log("processes"))
        found.restarts = sum(told.what == "started" for told in walk.events) - len(PROCESSES)
    return found


def real_rows(found: Real) -> list[Row]:
    """The rows of the real processes."""
    rows = []
    case = f"real {found.seconds / HOUR_S:.2g} h"
    whole: dict[float, float] = {}
    for name, series in found.series.items():
        samples = settled(series.own_bytes, found.seconds)
        for t_s, value in samples:
            whole[t_s] = whole.get(t_s, 0.0) + value
        rows.append(_slope_row("memory_mb_per_h", f"{case} {name}", samples, MB, "MB/h"))
        level = settled(series.pss_bytes, found.seconds)
        rows.append(Row("pss_mb", "retrowalk", f"median {case} {name}", _median(level) / MB, "MB", len(level)))
    rows.insert(0, _slope_row("memory_mb_per_h", f"{case} all", sorted(whole.items()), MB, "MB/h"))
    for metric in ("files", "threads"):
        for name, series in found.series.items():
            samples = settled(getattr(series, metric), found.seconds)
            grown = _median(samples[-(len(samples) // 4 or 1) :]) - _median(samples[: len(samples) // 4 or 1])
            rows.append(Row(f"{metric}_grown", "retrowalk", f"{case} {name}", grown, metric, len(samples), goal="<= 0"))
    rows.append(
        Row("unhandled_exceptions", "retrowalk", case, float(len(found.exceptions)), "", 1, goal="<= 0"),
    )
    rows.append(Row("restarts", "retrowalk", case, float(found.restarts), "", len(PROCESSES), goal="<= 0"))
    rows.append(
        Row("disk_mb_per_h", "retrowalk", case, found.disk_bytes / MB / (found.seconds / HOUR_S), "MB/h", 1),
    )
    return rows


def _median(samples: Sequence[tuple[float, float]]) -> float:
    return statistics.median(value for _, value in samples)


def _slope_row(metric: str, case: str, samples: Sequence[tuple[float, float]], unit: float, name: str) -> Row:
    found = slope(samples)
    interval = (round(found.low / unit, 4), round(found.high / unit, 4))
    # A slope of minutes is no promise of hours.
    goal = "<= 1" if samples[-1][0] - samples[0][0] >= JUDGED_S else None
    return Row(metric, "retrowalk", case, found.per_h / unit, name, found.n, ci95=interval, goal=goal)


# ------------------------------------------------------------------------------------------------------- virtual

_NOT_THE_DEVICE = (ModuleType, FunctionType, BuiltinFunctionType, type)


def held_bytes(roots: Iterable[object]) -> int:
    """Bytes of all objects that can be reached from `roots`, without what the simulation is made of."""
    seen: set[int] = set()
    waiting = list(roots)
    total = 0
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, _NOT_THE_DEVICE):
            continue
        seen.add(id(thing))
        if type(thing).__module__.startswith("retrowalk.sim"):
            continue
        # msgspec's own answer for a Raw is no number of bytes.
        total += len(memoryview(thing)) if isinstance(thing, msgspec.Raw) else sys.getsizeof(thing, 0)
        if isinstance(thing, MethodType):
            waiting.append(thing.__self__)
        else:
            waiting.extend(gc.get_referents(thing))
    return total


def jumps(seed: int, length_s: float) -> Iterator[tuple[float, float]]:
    """(second, by how many seconds the wall clock jumps), every quarter of an hour or so."""
    draw = random.Random(f"jumps:{seed}")
    t_s = draw.uniform(60.0, 300.0)
    while t_s < length_s:
        yield t_s, draw.choice(JUMPS_S)
        t_s += draw.uniform(300.0, 1500.0)


def told(messages: Iterable[Published]) -> list[tuple[str, float, str]]:
    """Every event that reached the broker, once: its type, its second and its data."""
    found = {}
    for message in messages:
        if "/event/" in message.topic:
            event = message.payload
            found[event["id"]] = (
                event["eventtype"],
                event["monoms"] / 1000.0,
                json.dumps(event["data"], sort_keys=True),
            )
    return sorted(found.values(), key=lambda event: event[1])


def differences(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many entries of two lists have no partner in the other."""
    left, right = list(first), list(second)
    for entry in first:
        if entry in right:
            right.remove(entry)
            left.remove(entry)
    return len(left) + len(right)


def unexplained(changes: Sequence[tuple[float, str]], plan: Iterable[tuple[float, float]], until_s: float) -> int:
    """How many jumps before `until_s` were not told as what they are, and how many were told that nobody made.

    `changes` are the second and the data of every `clock.changed`; `plan` has (second, by how many seconds).
    """
    left = [change for change in changes if change[0] <= until_s]
    missing = 0
    for t_s, by_s in plan:
        if abs(by_s) < JUMP_S or t_s > until_s:
            continue
        words = f"set {'forward' if by_s > 0 else 'back'} by {abs(by_s):.0f} s"
        fits = [c for c in left if t_s <= c[0] <= t_s + NOTICED_S and json.loads(c[1])["detail"] == words]
        if fits:
            left.remove(fits[0])
        else:
            missing += 1
    return missing + sum(change[0] <= until_s - NOTICED_S for change in left)


class Complaints(logging.Handler):
    """Counts what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@dataclass
class Segment:
    """What a piece of a virtual day came to."""

    seed: int
    hours: float
    held: list[tuple[float, float]]
    """(second, bytes of all objects of the device)."""
    exceptions: list[str]
    differ: int
    """Events that are not the same with a wall clock that jumps, and without; and jumps not told as they were."""
    events: int
    jumps: int
    walked_s: float
    disk_bytes: int


def one_walk(
    seed: int, length_s: float, bank: banks.Bank, plan: Iterable[tuple[float, float]], held: list[tuple[float, float]]
) -> tuple[VirtualWalk, str]:
    """Walks for so long, with these jumps of the wall clock.  Returns the walk, open, and what ended it too early."""
    scenario = scenarios.SCENARIOS["hours"](seed).worn(Config())
    walk = VirtualWalk(scenario.config, scenario, seed, bank)
    for t_s, by_s in plan:
        walk.scheduler.at(t_s, partial(walk.clock.jump_wall, by_s), "wall clock")
    t_s, every_s = 0.0, min(COUNT_S, length_s / 8.0)
    try:
        while t_s < length_s:
            t_s = min(length_s, t_s + every_s)
            walk.run_until(t_s)
            held.append((t_s, float(held_bytes((walk.guard, walk.voice, walk.courier)))))
    except Exception as error:  # any at all: it is what is looked for
        return walk, f"{error!r} at second {walk.clock.now():.3f} of seed {seed}"
    return walk, ""


def one_segment(seed: int, hours: float, bank: banks.Bank, *, twin_h: float = TWIN_H) -> Segment:
    """Walks `hours` with a wall clock that jumps, and the beginning of them with one that does not."""
    length_s, twin_s = hours * HOUR_S, min(hours, twin_h) * HOUR_S
    plan = list(jumps(seed, length_s))
    held: list[tuple[float, float]] = []
    complaints = Complaints()
    logging.getLogger("retrowalk").addHandler(complaints)
    try:
        walk, ended = one_walk(seed, length_s, bank, plan, held)
        first = told(walk.evidence().published)
        disk_bytes = sum(file.stat().st_size for file in walk.recordings())
        walk.close()
        twin, twin_ended = one_walk(seed, twin_s, bank, (), [])
        second = told(twin.evidence().published)
        twin.close()
    finally:
        logging.getLogger("retrowalk").removeHandler(complaints)
    until_s = twin_s - 5.0  # what is on its way at the very end may have arrived in one of them only
    # That the clock was set is itself told, and only where it was.
    changes = [(t_s, data) for kind, t_s, data in first if kind == CLOCK_CHANGED]
    others = [event for event in first if event[0] != CLOCK_CHANGED]
    differ = differences([e for e in others if e[1] <= until_s], [e for e in second if e[1] <= until_s])
    differ += unexplained(changes, plan, length_s - 5.0)
    walked_s = sum(float(json.loads(data)["duration_s"]) for kind, _, data in first if kind == "walk.ended")
    errors = [*complaints.lines, *filter(None, (ended, twin_ended))]
    return Segment(seed, hours, held, errors, differ, len(first), len(plan), walked_s, disk_bytes)


def virtual(hours: float, seed: int, state: Path | None, say: Callable[[str], None]) -> list[Segment]:
    """Segments that come to so many hours: those that `state` has, and the others, which are added to it."""
    done: list[Segment] = []
    if state is not None and state.exists():
        lines = [json.loads(line) for line in state.read_text(encoding="utf-8").splitlines()]
        done = [Segment(**line) for line in lines]
        say(f"virtual: {sum(each.hours for each in done):g} h are in {state}")
    config = Config()
    bank = banks.build(config, banks.default_directory())
    number = 0
    while (left := hours - sum(each.hours for each in done)) > 1e-6:
        number += 1
        begun = seed * 1000 + number
        if any(each.seed == begun for each in done):
            continue
        segment = one_segment(begun, min(left, SEGMENT_H), bank)
        done.append(segment)
        if state is not None:
            with open(state, "a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(segment)) + "\n")
        say(f"virtual: {sum(each.hours for each in done):g} of {hours:g} h, {segment.differ} events differ")
    return done


def virtual_rows(done: Sequence[Segment]) -> list[Row]:
    """The rows of the virtual days."""
    hours = sum(each.hours for each in done)
    case = f"virtual {hours:.4g} h"
    samples = [settled(each.held, each.hours * HOUR_S) for each in done]
    worst = max(samples, key=lambda each: slope(each).per_h)
    rows = [
        _slope_row("held_mb_per_h", f"max of segments {case}", worst, MB, "MB/h"),
        Row("held_mb", "retrowalk", f"max {case}", max(v for each in done for _, v in each.held) / MB, "MB", len(done)),
    ]
    errors = sum(len(each.exceptions) for each in done)
    rows.append(Row("unhandled_exceptions", "retrowalk", case, float(errors), "", len(done), goal="<= 0"))
    events, differ = sum(each.events for each in done), sum(each.differ for each in done)
    rows.append(Row("totals_differ", "retrowalk", case, float(differ), "events", events, goal="<= 0"))
    rows.append(Row("clock_jumps", "retrowalk", case, float(sum(each.jumps for each in done)), "", len(done)))
    walked_h = sum(each.walked_s for each in done) / HOUR_S
    rows.append(Row("walked_h", "retrowalk", case, walked_h, "h", events))
    return rows


# ----------------------------------------------------------------------------------------------------- the program


def measure(options: Any) -> list[Row]:
    """Both parts, as long as was asked for."""
    real_s = options.real_s if options.real_s is not None else 30.0 if options.quick else 3600.0
    full_h = 168.0 if options.full else 24.0
    virtual_h = options.virtual_h if options.virtual_h is not None else 0.05 if options.quick else full_h

    def say(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    rows = []
    if virtual_h > 0.0:
        rows += virtual_rows(virtual(virtual_h, options.seed, options.state, say))
    if real_s > 0.0:
        rows += real_rows(real(real_s, options.seed, say))
    return rows


def main() -> None:
    """The program."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--real-s", type=float, help="seconds of the real processes (default 3600; 0: not at all)")
    parser.add_argument("--virtual-h", type=float, help="virtual hours (default 24, with --full 168; 0: not at all)")
    parser.add_argument("--state", type=Path, help="file of what was walked already: goes on after it")
    run("soak", parser.parse_args(), measure)


if __name__ == "__main__":
    main()
