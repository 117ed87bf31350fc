"""Does a warning come later because the broker is in trouble?  Measured through the guard.

Three devices at a time, each with a guard process and a courier process of its own (under the priorities of their
services), over lines that can be made bad (`line.py`) to a real mosquitto.  The guards' driver hands over, in real
time, what the real drivers handed over on a simulated walk on which somebody stands in the way again and again
(`device.py`); mailbox, threads, main loop and Companion are the device's.  The benchmark is in the voice's place.

`warning_ms`: from the item that decided (when its driver handed it to the guard, by the recording that the courier
wrote) to the arrival of the warning's request in the voice's mailbox.  Requests of the level `warning` alone.

Cases: `healthy`, twice in every round (`healthy again`: what differs between the two is noise); `absent` (nothing
listens), `refusing` (every connection is reset), `swallowing` (packets are taken and vanish), `unanswered` (nobody
hears anything, nor does who connects), `slow` (one byte a second), `commands` (1000 a second to each device: valid
ones, replayed, expired, malformed, oversized, unknown), `junk` (1000 retained messages a second below each device's
topics, 300 of which are there when it connects, and the connection is cut every 4 s).  The cases take turns in blocks
of some seconds, in an order drawn for every round, so that other work of the machine meets all alike.

`change_ms`: p99 (and p50) of a case less that of `healthy` and `healthy again` together; the interval is from 2000
bootstrap samples.  Goal: no more than 5 ms at p99.  `lost`: requests in the recordings that never came.  `dropped`:
entries that the recordings lack.  That the trouble was what it is called: `reached_hz`, messages of the devices a
second that reached a client of the broker, and `flood_hz`, messages a second that were sent to the devices.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import math
import multiprocessing
import os
import pickle
import random
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
from common import Row, arguments, run  # noqa: E402  # the path first
from device import (  # noqa: E402
    READY_S,
    VOICE_NICE,
    Client,
    Ear,
    Minute,
    Place,
    courier,
    guard,
    nice,
    place,
    played,
    resumed,
)
from intervals import quantile, quantile_interval  # noqa: E402
from line import Line  # noqa: E402
from tests.broker import Mosquitto  # noqa: E402

from retrowalk.config import Config  # noqa: E402
from retrowalk.core import events as ev  # noqa: E402
from retrowalk.courier import recording  # noqa: E402
from retrowalk.sim import world as sim  # noqa: E402
from retrowalk.sim.walker import OLDER  # noqa: E402

OURS = "retrowalk"
HEALTHY, AGAIN = "healthy", "healthy again"
TROUBLES = ("absent", "refusing", "swallowing", "unanswered", "slow", "commands", "junk")
CONNECTED = (HEALTHY, AGAIN, "commands", "junk")
"""Cases that begin when every courier is connected."""
DEVICES = 3
MINUTE_S = 60.0
PERIOD_S, THERE_S, BEHIND_M = 1.2, 0.5, 0.8
"""Somebody stands in the way that often, that long, that near: a warning and a half a second come of it."""
WALK_M_S = 0.45
FLOOD_HZ = 1000
FLOOD_EVERY_S = 0.02
JUNK_TOPICS = 300
CUT_EVERY_S = 4.0
SETTLE_S = 30.0
"""So long at most a courier is waited for to find its way back."""
WRITTEN_S = 3.0
GOAL_MS = 5.0
SAMPLES = 2000


# ------------------------------------------------------------------------------------------------------- the minute


def minute(seed: int, seconds: float = MINUTE_S) -> Minute:
    """What the drivers handed over on a walk backward, on which somebody stands in the way again and again."""
    profile = replace(OLDER, stops_for=frozenset(), slows_for=frozenset(), stops_for_touch=False)
    world = sim.World(seed, profile=profile)
    draw = random.Random(f"broker trouble:{seed}")
    world.at(2.5, sim.Walk(WALK_M_S))
    t_s = 5.0
    while t_s < seconds - 1.0:
        world.at(t_s, sim.Place("person_jacket", BEHIND_M, name="person"))
        world.at(t_s + THERE_S, sim.Remove("person"))
        t_s += PERIOD_S * draw.uniform(0.9, 1.1)
    return played(world, Config(), seconds)


# -------------------------------------------------------------------------------------------------------- the floods


def commands(root: str, draw: random.Random, number: int) -> tuple[str, bytes]:
    """One of the flood: valid by its looks, or not."""
    now_ms = int(time.time() * 1000)
    head: dict[str, Any] = {"id": f"flood-{number}", "by": "Anna", "issued_ms": now_ms, "ttl_s": 60}
    match draw.randrange(10):
        case 0:
            return f"{root}/cmd/seen", json.dumps({**head, "event": "01JD"}).encode()
        case 1:
            return f"{root}/cmd/say", json.dumps({**head, "phrase": "coming"}).encode()
        case 2:
            return f"{root}/cmd/locate", json.dumps(head).encode()
        case 3:
            return f"{root}/cmd/ack", json.dumps({"epoch": "0" * 16, "seq": draw.randrange(10**6)}).encode()
        case 4:
            return f"{root}/cmd/resync", json.dumps({**head, "epoch": "0" * 16, "first": 1, "last": 10**6}).encode()
        case 5:
            return f"{root}/cmd/seen", json.dumps({**head, "id": "flood-0", "event": "01JD"}).encode()
        case 6:
            return f"{root}/cmd/say", json.dumps({**head, "issued_ms": now_ms - 10**9, "phrase": "coming"}).encode()
        case 7:
            return f"{root}/cmd/say", draw.randbytes(200)
        case 8:
            return f"{root}/cmd/seen", b'{"id":"' + b"a" * 5000 + b'"}'
        case _:
            return f"{root}/cmd/mute", json.dumps(head).encode()


def junk(root: str, draw: random.Random, number: int) -> tuple[str, bytes]:
    """A retained message that is nobody's."""
    return f"{root}/cmd/junk-{number % JUNK_TOPICS}", draw.randbytes(draw.randrange(20, 4000))


def flood(port: int, roots: Sequence[str], kind: str, seed: int, begun: Event, sent: Any) -> None:
    """A process: `FLOOD_HZ` messages a second to each device, until it is killed; counts them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    draw = random.Random(f"{kind}:{seed}")
    make = {"commands": commands, "junk": junk}[kind]
    with Client(port, name=f"flood-{os.getpid()}") as client:
        number = 0
        next_s = time.monotonic()
        while True:
            for _ in range(round(FLOOD_HZ * len(roots) * FLOOD_EVERY_S)):
                number += 1
                topic, payload = make(roots[number % len(roots)], draw, number)
                client.publish(topic, payload, qos=number % 2, retain=kind == "junk")
            if number >= (JUNK_TOPICS * len(roots) if kind == "junk" else 1):
                begun.set()
            sent.value = number
            next_s += FLOOD_EVERY_S
            time.sleep(max(0.0, next_s - time.monotonic()))


# ------------------------------------------------------------------------------------------------------- the measure


@dataclass
class Block:
    """A stretch of time in which one case held."""

    case: str
    begin_s: float
    end_s: float
    reached: int = 0
    """Messages of the devices that came to a client of the broker."""
    flooded: int = 0
    """Messages sent to the devices."""


@dataclass
class Found:
    """What was measured."""

    warnings_ms: dict[str, list[float]] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    lost: int = 0
    dropped: int = 0


class Street:
    """The devices, their lines, and a broker for all of them.  A context manager."""

    def __init__(self, folder: Path, seed: int, played: Minute, devices: int, waits_ms: float = 0.0) -> None:
        self._folder = folder
        self._seed = seed
        self._played = played
        self._waits_ms = waits_ms
        self._count = devices
        self.sent: Any = None
        self.places: list[Place] = []

    def __enter__(self) -> Street:
        with contextlib.ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, stack: contextlib.ExitStack) -> None:
        self.broker = Mosquitto(self._folder / "broker", extra="max_queued_messages 1000").start()
        stack.callback(self.broker.kill)
        self.lines = [stack.enter_context(Line(self.broker.port)) for _ in range(self._count)]
        self.places = [
            place(self._folder / f"device{index}", line.port, f"rw-{index:04d}")
            for index, line in enumerate(self.lines)
        ]
        self.states: dict[str, tuple[float, str]] = {}
        self.reached = 0
        topics = [f"retrowalk/v1/+/+/{leaf}" for leaf in ("state", "alert", "heartbeat", "event/#")]
        client = Client(self.broker.port, *topics, on_message=self._heard)
        stack.callback(client.close)
        items = self._folder / "items.pickle"
        items.write_bytes(pickle.dumps(self._played))
        self.ear = Ear(self.places)
        stack.callback(self.ear.close)
        self.origin_s = time.monotonic() + 1.5
        for index, where in enumerate(self.places):
            stack.enter_context(courier(where))
            resumed(where, self._played)
            # They do not walk in step.
            origin_s = self.origin_s + index * 0.37
            stack.enter_context(guard(where, items, origin_s=origin_s, waits_ms=self._waits_ms))

    def _heard(self, came: Any) -> None:
        if not came.topic.endswith("/state"):
            self.reached += 1
            return
        with contextlib.suppress(ValueError):
            self.states[came.topic] = came.mono_s, str(json.loads(came.payload).get("state", ""))

    def connected(self) -> list[bool]:
        """Which devices the broker has."""
        said = [self.states.get(f"{where.root}/state", (0.0, ""))[1] for where in self.places]
        return [state in ("ready", "walking") for state in said]

    def go(self, seconds: float, look: Callable[[], bool] | None = None) -> bool:
        """Lets the walk go on for so long, or until `look` says so; returns whether it did."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0.0:
            select.select(self.ear.filenos(), [], [], min(left_s, 0.05))
            self.ear.poll()
            if look is not None and look():
                return True
        return False

    def flooded(self) -> int:
        """How many messages the flood has sent."""
        return int(self.sent.value) if self.sent is not None else 0

    def set(self, mode: str, **options: Any) -> None:
        for line in self.lines:
            line.set(mode, **options)

    @contextlib.contextmanager
    def trouble(self, case: str) -> Iterator[None]:
        """The case holds inside."""
        if case not in ("commands", "junk"):
            self.set("healthy" if case in (HEALTHY, AGAIN) else case)
            yield
            return
        self.set("healthy")
        context = multiprocessing.get_context("spawn")
        begun = context.Event()
        roots = [where.root for where in self.places]
        self.sent = context.Value("q", 0)
        arguments_ = (self.broker.port, roots, case, self._seed, begun, self.sent)
        process = context.Process(target=flood, args=arguments_, daemon=True)
        process.start()
        try:
            if not self.go(10.0, begun.is_set):
                raise RuntimeError(f"the flood of {case} did not begin")
            yield
        finally:
            process.kill()
            process.join()
            self.sent = None
            if case == "junk":
                with Client(self.broker.port, name="sweeper") as sweeper:
                    for root in roots:
                        for number in range(JUNK_TOPICS):
                            sweeper.publish(f"{root}/cmd/junk-{number}", b"", retain=True)
                    sweeper.publish("swept", b"", wait=True)

    def block(self, case: str, seconds: float) -> Block:
        """One block of a case."""
        with self.trouble(case):
            if case in CONNECTED:
                self.go(SETTLE_S, lambda: all(self.connected()))
            else:
                self.go(0.5)
            found = Block(case, time.monotonic(), 0.0)
            reached, flooded = self.reached, self.flooded()
            cut_s = found.begin_s + 0.5
            end_s = found.begin_s + seconds
            while (left_s := end_s - time.monotonic()) > 0.0:
                self.go(min(0.5, left_s))
                if case == "junk" and time.monotonic() >= cut_s:
                    self.set("healthy", cut=True)
                    cut_s += CUT_EVERY_S
            found.end_s = time.monotonic()
            found.reached, found.flooded = self.reached - reached, self.flooded() - flooded
        return found


def measured(
    seed: int, folder: Path, *, rounds: int, block_s: float, troubles: Sequence[str] = TROUBLES, waits_ms: float = 0.0,
    devices: int = DEVICES,
) -> Found:  # fmt: skip
    """The rounds, one after the other, and then what the recordings say."""
    draw = random.Random(f"rounds:{seed}")
    found = Found()
    gc.collect()
    gc.disable()
    nice(VOICE_NICE)()
    try:
        with Street(folder, seed, minute(seed), devices, waits_ms) as street:
            if not street.go(READY_S, lambda: all(street.connected()) and bool(street.ear.requests)):
                raise RuntimeError(f"the devices did not begin: {log(street)}")
            street.go(4.0)
            for number in range(rounds):
                cases = [HEALTHY, *draw.sample(troubles, len(troubles))]
                cases.insert(draw.randrange(2, len(cases) + 1), AGAIN)
                for case in cases:
                    found.blocks.append(street.block(case, block_s))
                    print(f"broker_trouble: round {number + 1} of {rounds}, {case}", file=sys.stderr, flush=True)
            street.set("healthy")
            street.go(WRITTEN_S)
            requests = list(street.ear.requests)
            places, origin_s = street.places, street.origin_s
    finally:
        gc.enable()
    for index, where in enumerate(places):
        _judge(where, origin_s + index * 0.37, [each for each in requests if each[0] == index], found)
    return found


def log(street: Street) -> str:
    """What guards and couriers wrote last."""
    return "".join(path.read_text()[-800:] for where in street.places for path in where.folder.glob("*.log"))


def _judge(where: Place, origin_s: float, requests: Sequence[Any], found: Found) -> None:
    """Joins what the guard recorded of its decisions with what came into the voice's mailbox."""
    read = recording.read(sorted((where.state_dir / "recordings").glob("*.mcap")))
    item_s = -math.inf
    decided: dict[int, list[float]] = {}
    sequence = 0
    for entry in read.entries:
        value = entry.value
        found.dropped += max(0, entry.sequence - sequence - 1) if sequence else 0
        sequence = entry.sequence
        if isinstance(value, ev.Speak):
            if value.level == "warning":
                decided.setdefault(value.alert, []).append(origin_s + item_s)
        elif hasattr(value, "t_received_s"):
            item_s = value.t_received_s
    came: dict[int, list[float]] = {}
    for _, mono_s, message in requests:
        if message.level == "warning":
            came.setdefault(message.alert, []).append(mono_s)
    for alert, times_s in decided.items():
        heard_s = came.get(alert, [])
        found.lost += max(0, len(times_s) - len(heard_s))
        for begin_s, end_s in zip(times_s, heard_s, strict=False):
            case = next((block.case for block in found.blocks if block.begin_s <= begin_s < block.end_s), None)
            if case is not None:
                found.warnings_ms.setdefault(case, []).append((end_s - begin_s) * 1000.0)


# --------------------------------------------------------------------------------------------------------- the rows


def change(
    values: Sequence[float], base: Sequence[float], share: float, seed: int
) -> tuple[float, tuple[float, float]]:
    """How much later a quantile is than that of `base`, and its 95 % interval by bootstrap."""
    draw = random.Random(f"bootstrap:{seed}")
    found = [
        quantile(draw.choices(values, k=len(values)), share) - quantile(draw.choices(base, k=len(base)), share)
        for _ in range(SAMPLES)
    ]
    return quantile(values, share) - quantile(base, share), (quantile(found, 0.025), quantile(found, 0.975))


def rows_of(found: Found, seed: int = 1) -> list[Row]:
    """The table."""
    rows: list[Row] = []
    base = found.warnings_ms.get(HEALTHY, []) + found.warnings_ms.get(AGAIN, [])
    for case in (HEALTHY, AGAIN, *TROUBLES):
        values = found.warnings_ms.get(case, [])
        if not values:
            continue
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            low, high = quantile_interval(values, share)
            value, interval = quantile(values, share), (round(low, 2), round(high, 2))
            rows.append(Row("warning_ms", OURS, f"{name} {case}", round(value, 2), "ms", len(values), interval))
        rows.append(Row("warning_ms", OURS, f"max {case}", round(max(values), 2), "ms", len(values)))
        if case not in (HEALTHY, AGAIN):
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                value, (low, high) = change(values, base, share, seed)
                goal = f"<= {GOAL_MS:g}" if name == "p99" else None
                interval = (round(low, 2), round(high, 2))
                rows.append(
                    Row("change_ms", OURS, f"{name} {case}", round(value, 2), "ms", len(values), interval, goal)
                )
        else:
            value, (low, high) = change(values, base, 0.99, seed)
            interval = (round(low, 2), round(high, 2))
            rows.append(Row("change_ms", OURS, f"p99 {case} (noise)", round(value, 2), "ms", len(values), interval))
        blocks = [block for block in found.blocks if block.case == case]
        seconds = sum(block.end_s - block.begin_s for block in blocks)
        reached, flooded = sum(block.reached for block in blocks), sum(block.flooded for block in blocks)
        rows.append(Row("reached_hz", OURS, case, round(reached / seconds, 2), "1/s", reached))
        if flooded:
            rows.append(Row("flood_hz", OURS, case, round(flooded / seconds, 1), "1/s", flooded))
    n = sum(map(len, found.warnings_ms.values()))
    rows.append(Row("lost", OURS, "all", found.lost, "requests", n, goal="<= 0"))
    rows.append(Row("dropped", OURS, "all", found.dropped, "entries", n))
    return rows


def measure(options: argparse.Namespace) -> list[Row]:
    """Rounds by size: default 3 of 16 s a block, nearly ten minutes."""
    rounds, block_s, troubles = (
        (1, 5.0, ("swallowing", "commands"))
        if options.quick
        else (12, 20.0, TROUBLES)
        if options.full
        else (3, 16.0, TROUBLES)
    )
    if options.cases:
        troubles = tuple(options.cases.split(","))
    with tempfile.TemporaryDirectory(prefix="rw-") as temporary:
        found = measured(
            options.seed, Path(temporary), rounds=rounds, block_s=block_s, troubles=troubles, waits_ms=options.waits_ms
        )
    return rows_of(found, options.seed)


if __name__ == "__main__":
    parser = arguments((__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", default="", help="troubles, with commas (default: all)")
    parser.add_argument(
        "--waits-ms", type=float, default=0.0, help="a guard that waits so long for a courier in trouble"
    )
    run("broker_trouble", parser.parse_args(), measure)
