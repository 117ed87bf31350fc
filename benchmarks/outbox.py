"""What is lost of the events when whatever is on their way is killed and cut.

Three roads from what happened to whoever keeps it, side by side in one run.  Each has a mosquitto of its own, with the
persistence that Debian gives it (a snapshot each half hour), and lines of its own to it; each gets the same faults at
the same moments, drawn from the seed.

- `retrowalk`, `hub-ack`: the guard's keeping, the courier (`broker.hub = "required"`), the hub: as people have it
- `retrowalk`, `puback`: guard and courier with `broker.hub = "none"`; who listens is the most careful subscriber that
  knows nothing of a hub (`outbox_subscriber`): a session that is kept, and no confirmation before its commit
- `paho-mqtt`: what most people would write, `publish(qos=1)` of the library with its queue in memory, and the same
  subscriber

All of it is real: the processes, SQLite files, sockets, brokers.  The guard process is the device's (main loop,
mailbox, slot file, start) with a driver and a Companion that say "it happened" at a rate (`outbox_source`).  Each event
is put into a ledger, synced, before it is handed to anything; in the end the ledger is compared with what the receiver
has.

The faults: kill -9 of guard, courier, broker and hub; `power`: courier and guard at once, and the run directory
emptied, for it is in memory (what the kernel had not yet put on the disk stays, unlike at a true power cut).  Lines,
the device's and the hub's: reset; silent for ever without an end (half-open); stalled in one direction; slow.  paho's
program is spared the guard's kills, and meets the courier's and `power`.

- `events_lost`: in the ledger, and neither at the receiver nor still in the outbox when all has been quiet.  Not among
  them: `lost_in_the_act`: the program was killed between the ledger and the hand-over, so nothing ever had the event;
  `lost_at_power_cut`: events that nobody had said to have on disk when the power went (`age_ms max`: how old the oldest
  of them was; of paho, which never says so, those of the last 0.1 s)
- `events_waiting`: still in the outbox at the end (`drain_s` is then the limit)
- `duplicates_unrecognised`: the same event kept as two.  `duplicates_recognised`: it came again and was known
- `high_priority_out_of_order`: an event of high priority that reached the receiver after a less grave one which was
  committed later and yet sent before it, both over one connection of the device and one of the receiver
- `high_overtaken`: it reached the receiver after a less grave one which was committed later, whatever the reason; as a
  rule the broker or the line lost it and it had to be sent again (`overtaken_s max`: how much later it was)
- `arrival_s`: from the ledger to the receiver's line, down times and faults included; `high` those of high priority
- `drain_s`: from the last fault or event until everything has arrived
- `kills`, `line_faults`, and `died`: ended by itself, which nothing should
"""

from __future__ import annotations

import argparse
import getpass
import heapq
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from common import Row, arguments, run
from intervals import quantile
from outbox_line import Lines, Passed
from outbox_source import Happened, Ledger, number_of

HERE = Path(__file__).parent
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
SITE, DEVICE = "home", "rw-0001"
HUB_ACK, PUBACK, PAHO = "hub-ack", "puback", "paho"
ROADS = (HUB_ACK, PUBACK, PAHO)
RATE_HZ = 50.0
FIRST_S = 3.0
"""Before the first fault everything has once been there."""
JUST_BEFORE_S = 0.1
"""What paho is granted at a power cut."""
QUIET_S = 12.0
"""Nothing has arrived for longer than anything takes to be sent again for the first time."""
RANKS = {"none": 0, "low": 1, "medium": 2, "high": 3}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much happens, and how much goes wrong."""

    events: int
    rate_hz: float
    kills: dict[str, int]
    lines: dict[str, int]
    drain_s: float

    @property
    def seconds(self) -> float:
        """How long the events take while nothing is down."""
        return self.events / self.rate_hz


def plan(
    events: int,
    *,
    kills: int = 14,
    power: int = 6,
    lines: int = 5,
    drain_s: float = 120.0,
    rate_hz: float = RATE_HZ,
) -> Plan:
    """`kills` of each of guard, courier, broker, hub; `lines` of each way a line can fail."""
    wrongs = ("cut device", "cut hub", "half-open device", "half-open hub", "stall up", "stall down", "slow")
    return Plan(
        events,
        rate_hz,
        {**dict.fromkeys(("guard", "courier", "broker", "hub"), kills), "power": power},
        dict.fromkeys(wrongs, lines),
        drain_s,
    )


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something goes wrong; `down_s`: how long it stays away, or lasts."""

    at_s: float
    what: str
    down_s: float


def faults(plan_: Plan, seed: int) -> list[Fault]:
    """When what goes wrong: the same for all, by the seed."""
    rng = random.Random(f"outbox:{seed}")
    last_s = plan_.seconds
    away = {"guard": 2.0, "courier": 2.5, "broker": 4.0, "hub": 6.0, "power": 4.0}
    found = []
    for what, count in {**plan_.kills, **plan_.lines}.items():
        longest = away.get(what, 8.0)
        found += [Fault(rng.uniform(FIRST_S, last_s), what, rng.uniform(0.05, 1.0) * longest) for _ in range(count)]
    return sorted(found)


# ------------------------------------------------------------------------------------------------------- processes


class Process:
    """A process that is killed and started again, as its service would be."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.name = name
        self.kills = 0
        self.died = 0
        self.wanted = False
        self._command = list(command)
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it unless it runs."""
        self.wanted = True
        if self._process is None:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
                )

    def kill(self) -> bool:
        """kill -9; returns whether it ran."""
        if self._process is None or self._process.poll() is not None:
            return False
        self._process.kill()
        self._process.wait()
        self._process = None
        self.wanted = False
        self.kills += 1
        return True

    def look(self) -> None:
        """Starts it again if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            self.died += 1
            with self._log.open("a") as log:
                log.write(f"--- ended by itself: {self._process.returncode}\n")
            self._process = None
            if self.wanted:
                self.start()

    def end(self) -> None:
        """At the end of it all."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
        self.wanted = False


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Programs:
    """What a road consists of; tests put broken ones in their place."""

    courier: tuple[str, ...] = (sys.executable, "-m", "retrowalk", "courier")
    hub: tuple[str, ...] = (sys.executable, "-m", "retrowalk", "hub")
    subscriber: tuple[str, ...] = (sys.executable, str(HERE / "outbox_subscriber.py"))
    source: tuple[str, ...] = (sys.executable, str(HERE / "outbox_source.py"))
    hub_is_subscriber: bool = False
    """The hub of `hub-ack` is a subscriber too (options as in `subscriber`)."""


class Road:
    """A device, its broker, and who listens, in `directory`."""

    def __init__(
        self, kind: str, directory: Path, lines: Lines, plan_: Plan, seed: int, programs: Programs = Programs()
    ) -> None:
        assert MOSQUITTO is not None
        self.kind = kind
        self.directory = directory
        self.lines = lines
        self.plan = plan_
        self.struck: Counter[str] = Counter()
        self.calm_s: float | None = None
        """Since when everything has happened and nothing more goes wrong."""
        self.at_power_cut: dict[int, float] = {}
        """Events that nobody had on disk when the power went, and how old they were (s)."""
        for name in ("broker", "run", "state", "hub"):
            (directory / name).mkdir(parents=True)
        port = free_port()
        self.device_line = lines.add(f"{kind} device", port)
        self.hub_line = lines.add(f"{kind} hub", port)
        (directory / "broker" / "mosquitto.conf").write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {directory}/broker/\nuser {getpass.getuser()}\n"
        )
        hub = "required" if kind == HUB_ACK else "none"
        (directory / "retrowalk.toml").write_text(
            f'[device]\nname = "{DEVICE}"\nsite = "{SITE}"\n'
            f'[broker]\nhost = "127.0.0.1"\nport = {self.device_line.port}\nhub = "{hub}"\n'
            "[recording]\nfile_max_mb = 8\ntotal_max_mb = 64\n"
        )
        self.ledger = Ledger(directory)
        self.broker = self._process("broker", MOSQUITTO, "-c", str(directory / "broker" / "mosquitto.conf"))
        settings = ("--config", str(directory / "retrowalk.toml"), "--run-dir", str(directory / "run"))
        source = (
            *programs.source,
            "paho" if kind == PAHO else "guard",
            *settings,
            *("--ledger", str(directory), "--events", str(plan_.events)),
            *("--rate-hz", str(plan_.rate_hz), "--seed", str(seed)),
        )
        self.guard = None if kind == PAHO else self._process("guard", *source)
        """Of paho there is no guard: its program is what the courier is elsewhere."""
        courier = (*programs.courier, *settings, "--state-dir", str(directory / "state"))
        self.courier = self._process("courier", *(source if kind == PAHO else courier))
        self.store = directory / "hub" / "events.db"
        if kind == HUB_ACK and not programs.hub_is_subscriber:
            self.hub = self._hub(programs)
        else:
            program = programs.hub if kind == HUB_ACK else programs.subscriber
            listens = ("--host", "127.0.0.1", "--port", str(self.hub_line.port), "--store", str(self.store))
            self.hub = self._process("hub", *program, *listens)

    def _hub(self, programs: Programs) -> Process:
        settings = self.directory / "hub.toml"
        settings.write_text(f'[hub]\nsites = ["{SITE}"]\n[broker]\nhost = "127.0.0.1"\nport = {self.hub_line.port}\n')
        settings.chmod(0o600)
        self.store = self.directory / "hub" / "hub.db"
        where = ("--config", str(settings), "--state-dir", str(self.directory / "hub"))
        return self._process("hub", *programs.hub, *where)

    def _process(self, name: str, *command: str) -> Process:
        return Process(name, command, self.directory / f"{name}.log")

    @property
    def processes(self) -> list[Process]:
        return [process for process in (self.broker, self.hub, self.courier, self.guard) if process is not None]

    def start(self) -> None:
        for process in self.processes:
            process.start()

    def end(self) -> None:
        for process in reversed(self.processes):
            process.end()

    # --------------------------------------------------------------------------------------------------- faults

    def strike(self, fault: Fault) -> list[tuple[float, Process]] | None:
        """Makes it go wrong; returns what is to be started again and after how long, None: it was down already."""
        match fault.what:
            case "power":
                return self._power(fault)
            case "guard" | "courier" | "broker" | "hub":
                process: Process | None = getattr(self, fault.what)
                if process is None:
                    return []
                if not process.kill():
                    return None
                self.struck[fault.what] += 1
                return [(fault.down_s, process)]
        self.struck[fault.what] += 1
        line = self.hub_line if fault.what.endswith("hub") else self.device_line
        match fault.what.split()[0]:
            case "cut":
                self.lines.cut(line)
            case "half-open":
                self.lines.swallow(line)
            case "stall":
                self.lines.stall(line, "up" if fault.what.endswith("up") else "down", fault.down_s)
            case "slow":
                self.lines.delay(line, 0.05 + fault.down_s / 10.0, fault.down_s)
        return []

    def _power(self, fault: Fault) -> list[tuple[float, Process]] | None:
        device = [process for process in (self.courier, self.guard) if process is not None]
        cut_s = time.monotonic()
        killed = [process.kill() for process in device]
        if not any(killed):
            return None
        self.struck["power"] += 1
        happened = self.ledger.read()
        if self.guard is None:
            open_ = [event for event in happened if event.at_s >= cut_s - JUST_BEFORE_S]
        else:
            open_ = [event for event in happened if event.number >= self.ledger.open_from]
        self.at_power_cut.update({event.number: cut_s - event.at_s for event in open_})
        for path in (self.directory / "run").iterdir():
            path.unlink()
        # Both at once, as systemd starts them.
        return [(fault.down_s, process) for process in device]

    # -------------------------------------------------------------------------------------------------- results

    def numbers(self) -> Counter[int]:
        """How often each event is kept at the receiver."""
        if not self.store.exists():
            return Counter()
        with closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=5.0)) as db:
            try:
                rows = db.execute("SELECT type, data FROM event").fetchall()
            except sqlite3.OperationalError:
                return Counter()  # it has only just been made
        found = (number_of(kind, json.loads(data)) for kind, data in rows)
        return Counter(number for number in found if number is not None)

    def waiting(self) -> set[int]:
        """Events that are still in the outbox."""
        path = self.directory / "state" / "outbox.db"
        if not path.exists():
            return set()
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0)) as db:
            rows = db.execute("SELECT type, data FROM outbox WHERE delivered IS NULL").fetchall()
        found = (number_of(kind, json.loads(data)) for kind, data in rows)
        return {number for number in found if number is not None}

    @property
    def finished(self) -> bool:
        """Whether everything has happened, and been taken from the guard."""
        happened = self.ledger.handed >= self.plan.events
        return happened and (self.guard is None or self.ledger.open_from > self.plan.events)

    def settled(self) -> bool:
        """Whether nothing more is to be expected."""
        if not self.finished:
            return False
        kept = self.numbers().keys()
        if len(kept) >= self.plan.events:
            return True
        arrived = [event.at_s for event in self.lines.passed if event.line == self.hub_line.name]
        quiet = not arrived or time.monotonic() - arrived[-1] > QUIET_S
        return quiet and (self.kind == PAHO or not self.waiting())


# ------------------------------------------------------------------------------------------------------------- run


@dataclass
class Outcome:
    """What became of a road's events."""

    kind: str
    happened: list[Happened]
    kept: Counter[int]
    waiting: set[int]
    acts: set[int]
    at_power_cut: dict[int, float]
    passed: list[Passed]
    """On the lines of this road, both of them, in order."""
    drain_s: float
    struck: Counter[str] = field(default_factory=Counter)
    died: dict[str, int] = field(default_factory=dict)

    @property
    def missing(self) -> set[int]:
        """What is neither at the receiver nor on its way."""
        return {event.number for event in self.happened} - set(self.kept) - self.waiting

    @property
    def lost(self) -> set[int]:
        """Of these, what has no excuse."""
        return self.missing - self.acts - set(self.at_power_cut)


@contextmanager
def _roads(kinds: Sequence[str], plan_: Plan, seed: int, programs: Programs) -> Iterator[list[Road]]:
    # Whoever ends this program ends the others with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="rw-") as name, Lines() as lines:
        roads = [Road(kind, Path(name) / kind, lines, plan_, seed, programs) for kind in kinds]
        try:
            for road in roads:
                road.start()
            yield roads
        except BaseException:
            _show(roads)
            raise
        finally:
            for road in roads:
                road.end()
            keep = os.environ.get("RETROWALK_KEEP")
            if keep:
                shutil.copytree(name, keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))


def _show(roads: Sequence[Road]) -> None:
    for road in roads:
        for process in road.processes:
            with suppress(OSError):
                text = (road.directory / f"{process.name}.log").read_text(errors="replace")
                print(f"--- {road.kind} {process.name}\n{text[-1500:]}", file=sys.stderr)


def carry_out(kinds: Sequence[str], plan_: Plan, seed: int, programs: Programs = Programs()) -> list[Outcome]:
    """Lets it all happen on these roads, and tells what became of the events."""
    with _roads(kinds, plan_, seed, programs) as roads:
        begin_s = time.monotonic()
        # (when, order, road, what): a fault to strike, or a process to start again.
        actions: list[tuple[float, int, Road, Fault | Process]] = []
        order = 0
        for fault in faults(plan_, seed):
            for road in roads:
                actions.append((begin_s + fault.at_s, order, road, fault))
                order += 1
        heapq.heapify(actions)
        limit_s = begin_s + plan_.seconds * 3.0 + 60.0
        while actions or not all(road.finished for road in roads):
            now = time.monotonic()
            if now > limit_s:
                _show(roads)
                break
            while actions and actions[0][0] <= now:
                _, _, road, action = heapq.heappop(actions)
                if isinstance(action, Process):
                    action.start()
                    continue
                again = road.strike(action)
                if again is None:  # down already: a little later
                    again, retry = [], True
                else:
                    retry = False
                order += 1
                if retry:
                    heapq.heappush(actions, (now + 0.7, order, road, action))
                for down_s, process in again:
                    order += 1
                    heapq.heappush(actions, (now + down_s, order, road, process))
            busy = {road.kind for _, _, road, _ in actions}
            for road in roads:
                for process in road.processes:
                    process.look()
                if road.calm_s is None and road.kind not in busy and road.ledger.handed >= plan_.events:
                    road.calm_s = now
            time.sleep(0.005 if actions and actions[0][0] - now < 0.05 else 0.02)
        return _settled(roads, plan_)


def _settled(roads: Sequence[Road], plan_: Plan) -> list[Outcome]:
    """Waits until nothing more is to be expected; everything works now."""
    until_s = time.monotonic() + plan_.drain_s
    while time.monotonic() < until_s and not all(road.settled() for road in roads):
        for road in roads:
            for process in road.processes:
                process.look()
        time.sleep(0.5)
    return [_outcome(road, road.calm_s or until_s, plan_) for road in roads]


def _outcome(road: Road, calm_s: float, plan_: Plan) -> Outcome:
    died = {process.name: process.died for process in road.processes}
    road.end()
    names = {road.device_line.name, road.hub_line.name}
    passed = [event for event in road.lines.passed if event.line in names]
    kept = road.numbers()
    waiting = road.waiting() - set(kept)
    arrivals = [event.at_s for event in passed if event.line == road.hub_line.name and event.way == "down"]
    drain_s = plan_.drain_s if waiting else max(0.0, max(arrivals, default=calm_s) - calm_s)
    return Outcome(
        road.kind,
        *(road.ledger.read(), kept, waiting, road.ledger.acts(), road.at_power_cut, passed, drain_s),
        *(road.struck, died),
    )


# -------------------------------------------------------------------------------------------------------- judging


def duplicates(outcome: Outcome) -> tuple[int, int]:
    """Events kept as two, and how often one came again and was known."""
    unrecognised = sum(count - 1 for count in outcome.kept.values())
    came = Counter(number for event in _arrivals(outcome) if (number := number_of(event.type, event.data)) is not None)
    return unrecognised, sum(came.values()) - len(came) - unrecognised


def _arrivals(outcome: Outcome) -> list[Passed]:
    return [event for event in outcome.passed if event.line.endswith(" hub") and event.way == "down"]


def out_of_order(passed: Sequence[Passed]) -> tuple[int, int, float]:
    """Events of high priority that came after a less grave one which was committed later.

    First those for which that was sent earlier, all over one connection each of device and receiver; then all of them;
    then by how much the latest of these was late (s).  Only the first time counts that an event comes.
    """
    last: dict[tuple[str, int], int] = {}
    """The connection on which an event was sent last."""
    order: dict[tuple[int, str, int], int] = {}
    """When, in the order of all that passed, it was first sent on a connection."""
    came: set[tuple[str, int]] = set()
    slight: list[tuple[str, int, int, int, float]] = []
    """Less grave ones that came: epoch, number, both connections, when."""
    strictly = widely = 0
    late_s = 0.0
    for place, event in enumerate(passed):
        name = (event.epoch, event.seq)
        if event.line.endswith(" device"):
            if event.way == "up":
                last[name] = event.connection
                order.setdefault((event.connection, *name), place)
            continue
        if event.way != "down" or name in came:
            continue
        came.add(name)
        sent = last.get(name, 0)
        if event.priority != "high":
            slight.append((*name, sent, event.connection, event.at_s))
            continue
        mine = order.get((sent, *name), -1)
        overtook = [other for other in slight if other[0] == event.epoch and other[1] > event.seq]
        if overtook:
            widely += 1
            late_s = max(late_s, event.at_s - min(other[4] for other in overtook))
        strictly += any(
            other[2:4] == (sent, event.connection) and order.get((sent, *other[:2]), mine) < mine for other in overtook
        )
    return strictly, widely, late_s


def rows(outcome: Outcome) -> list[Row]:
    """The numbers of a road."""
    subject = "paho-mqtt" if outcome.kind == PAHO else "retrowalk"
    case = outcome.kind
    goal = "<= 0" if case == HUB_ACK else None
    n = len(outcome.happened)
    unrecognised, recognised = duplicates(outcome)
    strictly, widely, late_s = out_of_order(outcome.passed)
    high = {event.number for event in outcome.happened if event.priority == "high"}
    missing = outcome.missing
    acts = missing & outcome.acts
    cut_off = (missing & set(outcome.at_power_cut)) - acts
    oldest_ms = max((outcome.at_power_cut[number] for number in cut_off), default=0.0) * 1000.0
    first: dict[int, float] = {}
    for event in _arrivals(outcome):
        number = number_of(event.type, event.data)
        if number is not None:
            first.setdefault(number, event.at_s)
    late = [first[event.number] - event.at_s for event in outcome.happened if event.number in first]
    late_high = [
        first[event.number] - event.at_s for event in outcome.happened if event.number in first and event.number in high
    ]
    cuts = outcome.struck["power"]
    found = [
        Row("events_lost", subject, case, len(outcome.lost), "events", n, goal=goal),
        Row("events_lost", subject, f"{case}, high priority", len(outcome.lost & high), "events", len(high), goal=goal),
        Row("duplicates_unrecognised", subject, case, unrecognised, "events", n, goal=goal),
        Row("high_priority_out_of_order", subject, case, strictly, "events", len(high), goal=goal),
        Row("high_overtaken", subject, case, widely, "events", len(high)),
        Row("overtaken_s", subject, f"max {case}", round(late_s, 3), "s", widely),
        Row("duplicates_recognised", subject, case, recognised, "events", n),
        Row("events_waiting", subject, case, len(outcome.waiting), "events", n),
        Row("lost_in_the_act", subject, case, len(acts), "events", outcome.struck["guard"] + cuts),
        Row("lost_at_power_cut", subject, case, len(cut_off), "events", cuts),
        Row("lost_at_power_cut_age_ms", subject, f"max {case}", round(oldest_ms, 1), "ms", cuts),
        Row("drain_s", subject, case, round(outcome.drain_s, 1), "s", 1),
    ]
    for name, values in ((case, late), (f"{case}, high priority", late_high)):
        for share, label in ((0.5, "p50"), (0.99, "p99"), (1.0, "max")):
            if values:
                value = max(values) if share == 1.0 else quantile(values, share)
                found.append(Row("arrival_s", subject, f"{label} {name}", round(value, 3), "s", len(values)))
    kinds = ("guard", "courier", "broker", "hub", "power")
    found += [Row("kills", subject, f"{case}, {kind}", outcome.struck[kind], "", 1) for kind in kinds]
    wrongs = sum(count for what, count in outcome.struck.items() if what not in kinds)
    found.append(Row("line_faults", subject, case, wrongs, "", 1))
    found.append(Row("died", subject, case, sum(outcome.died.values()), "", 1, goal=goal))
    return found


def measure(options: argparse.Namespace) -> list[Row]:
    if MOSQUITTO is None:
        raise SystemExit("mosquitto is not installed: script/setup --dev installs it")
    if options.quick:
        plan_ = plan(options.events or 900, kills=3, power=1, lines=1, drain_s=20.0, rate_hz=30.0)
    elif options.full:
        plan_ = plan(options.events or 100_000, kills=70, power=30, lines=25, drain_s=300.0)
    else:
        plan_ = plan(options.events or 20_000)
    return [row for outcome in carry_out(options.roads, plan_, options.seed) for row in rows(outcome)]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=0, help="events on each road (default 20000)")
    parser.add_argument("--roads", nargs="+", choices=ROADS, default=list(ROADS), help="not all of them")
    run("outbox", parser.parse_args(), measure)


if __name__ == "__main__":
    main()
