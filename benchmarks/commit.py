"""What it costs to keep an event: time of a commit, bytes written for each event and for an hour of walk.

Every subject takes the same events, those of a simulated walk of ten minutes (in virtual time: things stand and step in
the way, the walker stops, turns back, and falls once at the end), one event after the other, each on disk before the
next one comes.  The subjects take turns event by event, so that whatever else the disk has to do meets all alike.

- `retrowalk`: `courier.outbox.Outbox`, as the courier uses it
- `sqlite DELETE, FULL`: the same row in SQLite with its default journal
- `sqlite WAL, NORMAL`: not synced at every commit, so a power cut takes the last events along
- `JSON lines, fsync`: one line appended to a file, then `fsync`

`commit_ms`: the commit alone.  `delivered_ms`: taking the event out again when the receiver has it, ours alone.
`kib_per_event`: what the process had the kernel write (`write_bytes` of /proc/self/io) for a commit, and for commit and
delivery together (`whole life`).  `events_per_h`: of the walk, by priority and type.  `mib_per_h`: the events of such
an hour at that price (`events`; of the others nothing is ever taken out), and all that the courier really wrote on that
walk, recording and state included (`courier`).

The file system stands in a row of its own: on one that is kept in memory (tmpfs) nothing of this means anything.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import Row, arguments, run
from intervals import quantile, quantile_interval

from retrowalk import wire
from retrowalk.courier.outbox import Outbox, Stamp
from retrowalk.sim import scenarios
from retrowalk.sim.scenarios import Scenario, Scene
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.sim.world import Action, Fall, HandBehind, Place, Remove, Stand, Walk
from retrowalk.voice import bank as banks

OURS = "retrowalk"
ROUND_S = 60.0
FALL_S = 60.0
"""The last minute of the walk: the fall, its countdown and what follows."""
KIB, MIB = 1024.0, 1024.0 * 1024.0


# ------------------------------------------------------------------------------------------------------- the walk


def walk(seed: int, minutes: int) -> Scenario:
    """A walk of so many minutes: each of them something behind, standing, and forward again; the last one a fall."""
    draw = random.Random(f"commit:{seed}")
    hand_s = draw.uniform(4.0, 4.4)
    script: list[tuple[float, Action]] = [(hand_s, HandBehind(for_s=1.2))]
    for index in range(minutes):
        begin_s = 12.0 + index * ROUND_S
        if index == minutes - 1:
            script += [(begin_s, Stand()), (begin_s + 3.0, Fall())]
            break
        speed_m_s = draw.uniform(0.4, 0.55)
        wall_m = draw.uniform(6.0, 8.0)
        away_s = begin_s + wall_m / speed_m_s + 3.0
        script += [
            (begin_s, Place(draw.choice(("wall", "car", "hedge")), wall_m, name="thing")),
            (begin_s, Walk(speed_m_s)),
            (away_s, Walk(-0.6)),
            (away_s + 5.0, Remove("thing")),
            (away_s + 5.0, Stand()),
            (away_s + 8.0, Walk(speed_m_s)),
            (away_s + 12.0, Place("person_jacket", 1.5, name="person")),
            (away_s + 15.0, Remove("person")),
            (away_s + 18.0, Walk(speed_m_s)),
        ]
    duration_s = 12.0 + minutes * ROUND_S
    return Scenario("demo", duration_s, tuple(script), scenarios.WALKER, (Scene(0.0, "a walk"),), {})


@dataclass
class Walked:
    """What a walk gave: its events, as they were handed to the outbox, and the bytes that its courier wrote."""

    seconds: float
    events: list[wire.EventMessage] = field(default_factory=list)
    courier_bytes: int = 0


class Meter:
    """Bytes that this process had the kernel write since the last look."""

    def __init__(self) -> None:
        self._seen = self._written()

    @staticmethod
    def _written() -> int:
        for line in Path("/proc/self/io").read_text().splitlines():
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
        raise OSError("/proc/self/io: no write_bytes line")

    def look(self) -> int:
        """Bytes since then."""
        before, self._seen = self._seen, self._written()
        return self._seen - before


def walked(seed: int, minutes: int) -> Walked:
    """The walk, in virtual time, with a courier that writes to the disk as it does on a device."""
    scenario = walk(seed, minutes)
    bank = banks.build(scenario.config, banks.default_directory())
    device = VirtualWalk(scenario.config, scenario, seed, bank)
    found = Walked(scenario.duration_s)
    seen: set[tuple[str, int]] = set()
    commit_all = device.outbox.commit_all

    def committed(events: Sequence[tuple[wire.EventMessage, Stamp]], now: float) -> list[int]:
        for event, _ in events:
            if (event.session, event.number) not in seen:
                seen.add((event.session, event.number))
                found.events.append(event)
        return commit_all(events, now)

    device.outbox.commit_all = committed  # type: ignore[method-assign]  # the outbox's own door, and one who looks on
    meter = Meter()
    try:
        device.run_until(scenario.duration_s)
        os.sync()  # what is still in memory will be written, too
        found.courier_bytes = meter.look()
    finally:
        device.close()
    return found


# ----------------------------------------------------------------------------------------------------- the subjects


@dataclass
class Cost:
    """What one subject's commits took."""

    commit_ms: list[float] = field(default_factory=list)
    commit_bytes: int = 0
    delivered_ms: list[float] = field(default_factory=list)
    delivered_bytes: int = 0


_TABLE = (
    "CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, priority TEXT NOT NULL,"
    " type TEXT NOT NULL, wall_s REAL NOT NULL, data BLOB NOT NULL)"
)


def sqlite_committer(
    stack: contextlib.ExitStack, path: Path, journal: str, synchronous: str
) -> Callable[[wire.EventMessage], None]:
    """One row a transaction, in SQLite set up so."""
    db = stack.enter_context(contextlib.closing(sqlite3.connect(path, isolation_level=None)))
    answer = db.execute(f"PRAGMA journal_mode = {journal}").fetchone()[0]
    assert answer == journal.lower(), answer
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute(_TABLE)

    def commit(event: wire.EventMessage) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "INSERT INTO outbox (id, priority, type, wall_s, data) VALUES (?, ?, ?, ?, ?)",
            (f"{event.session}-{event.number}", event.priority, event.type, 0.0, wire.encode(event.data)),
        )
        db.execute("COMMIT")

    return commit


def lines_committer(stack: contextlib.ExitStack, path: Path) -> Callable[[wire.EventMessage], None]:
    """One line an event, synced."""
    file = stack.enter_context(open(path, "ab", buffering=0))  # noqa: SIM115  # the stack is its context

    def commit(event: wire.EventMessage) -> None:
        file.write(wire.encode(event) + b"\n")
        os.fsync(file.fileno())

    return commit


def numbered(events: Sequence[wire.EventMessage], count: int) -> list[wire.EventMessage]:
    """So many events: those of the walk over and over, each with a number of its own."""
    return [
        wire.EventMessage(
            "commit", index + 1, each.type, each.priority, each.t_s, each.mono_s, each.alert, dict(each.data)
        )
        for index in range(count)
        for each in (events[index % len(events)],)
    ]


def measured(events: Sequence[wire.EventMessage], folder: Path) -> dict[str, Cost]:
    """Every subject commits every event, in turns."""
    with contextlib.ExitStack() as stack:
        return _in_turns(events, folder, stack)


def _in_turns(events: Sequence[wire.EventMessage], folder: Path, stack: contextlib.ExitStack) -> dict[str, Cost]:
    outbox = Outbox(folder / "outbox.db", owner="home/rw-0001", rng=random.Random(1))
    stack.callback(outbox.close)
    stamp = Stamp("boot", 1_800_000_000.0, "ntp")
    seqs: list[int] = []

    def ours(event: wire.EventMessage) -> None:
        seqs.append(outbox.commit(event, stamp, 0.0))

    subjects: dict[str, Callable[[wire.EventMessage], None]] = {
        OURS: ours,
        "sqlite DELETE, FULL": sqlite_committer(stack, folder / "delete.db", "DELETE", "FULL"),
        "sqlite WAL, NORMAL": sqlite_committer(stack, folder / "normal.db", "WAL", "NORMAL"),
        "JSON lines, fsync": lines_committer(stack, folder / "events.jsonl"),
    }
    costs = {subject: Cost() for subject in subjects}
    meter = Meter()
    for event in events:
        for subject, commit in subjects.items():
            cost = costs[subject]
            meter.look()
            began = time.perf_counter()
            commit(event)
            cost.commit_ms.append((time.perf_counter() - began) * 1000.0)
            cost.commit_bytes += meter.look()
        cost = costs[OURS]
        began = time.perf_counter()
        outbox.delete(seqs[-1:], 0.0)
        cost.delivered_ms.append((time.perf_counter() - began) * 1000.0)
        cost.delivered_bytes += meter.look()
    return costs


# --------------------------------------------------------------------------------------------------------- the rows


def timed(metric: str, subject: str, values: Sequence[float]) -> list[Row]:
    """p50, p99 and the longest."""
    rows = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        low, high = quantile_interval(values, share)
        interval = (round(low, 3), round(high, 3))
        rows.append(Row(metric, subject, name, round(quantile(values, share), 3), "ms", len(values), interval))
    return [*rows, Row(metric, subject, "max", round(max(values), 3), "ms", len(values))]


def rows_of(found: Walked, costs: dict[str, Cost]) -> list[Row]:
    """The table."""
    rows: list[Row] = []
    hours = found.seconds / 3600.0
    for subject, cost in costs.items():
        n = len(cost.commit_ms)
        rows += timed("commit_ms", subject, cost.commit_ms)
        rows.append(Row("kib_per_event", subject, "mean commit", cost.commit_bytes / n / KIB, "KiB", n))
        whole = cost.commit_bytes + cost.delivered_bytes
        if cost.delivered_ms:
            rows += timed("delivered_ms", subject, cost.delivered_ms)
            rows.append(Row("kib_per_event", subject, "mean whole life", whole / n / KIB, "KiB", n))
        an_hour = whole / n * len(found.events) / hours / MIB
        rows.append(Row("mib_per_h", subject, "events", an_hour, "MiB/h", n))
    rows.append(Row("mib_per_h", OURS, "courier, recording included", found.courier_bytes / hours / MIB, "MiB/h", 1))
    n = len(found.events)
    rows.append(Row("events_per_h", OURS, "all", n / hours, "1/h", n))
    for priority, count in Counter(event.priority for event in found.events).most_common():
        rows.append(Row("events_per_h", OURS, f"priority {priority}", count / hours, "1/h", count))
    for kind, count in Counter(event.type for event in found.events).most_common():
        rows.append(Row("events_per_h", OURS, f"type {kind}", count / hours, "1/h", count))
    return rows


def file_system(folder: Path) -> str:
    """Of the folder: the longest mount point that holds it."""
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if str(folder).startswith(place) and len(place) > len(best[0]):
            best = (place, kind)
    return best[1]


def measure(options: argparse.Namespace) -> list[Row]:
    """The walk, then the commits."""
    minutes, count = (2, 300) if options.quick else (10, 20_000) if options.full else (10, 3000)
    found = walked(options.seed, minutes)
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rw-", dir=options.folder) as temporary:
        costs = measured(numbered(found.events, count), Path(temporary))
    rows = rows_of(found, costs)
    kind = file_system(options.folder.resolve())
    return [*rows, Row("on_disk", "this machine", f"file system {kind}", float(kind != "tmpfs"), "yes", 1)]


if __name__ == "__main__":
    parser = arguments((__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk that is asked about"
    )
    run("commit", parser.parse_args(), measure)
