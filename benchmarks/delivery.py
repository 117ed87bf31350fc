"""How soon an event is where it matters: at a client of the broker, and as a notification in a caregiver's hand.

A real mosquitto, the courier as its service starts it, guard processes (`device.py`), the hub as its service starts it
with its worker, and a small server that speaks as ntfy does.  All on one machine: no radio, no push service, no phone
is in these figures.

- `event_ms`: from handing a `fall.confirmed` to the courier to its arrival at a client that knows only the topics.
  Peer, in turns with ours: `paho publish`, a client that keeps nothing, to the same client.
- `fall_ms`: from the moment at which the Companion of a guard process confirms a fall (played from a simulated one,
  with the shortest countdown) to the event's arrival at that client, by the event's own monotonic time (1 ms).
- `notify_ms`: from handing a `fall.confirmed` to the courier until the ntfy server has the request that tells a
  contact of it: through courier, broker, hub (committed) and its worker.  `notify_lost`: no request came in 30 s.
- `first_high_s`, `drained_s`: a device comes back after a time without a broker long enough for its attempts to be as
  rare as they become, with 10 000 events in its outbox (the priorities of a walk; the last one is high), told from the
  moment at which the broker can be reached again: the first event of high priority at a client, and everything
  delivered by the device's own word.  `reconnect_s`: of these, until it was connected.  `hub-ack`: its hub has every
  event, too (by the hub's own store); `puback`: a device without a hub.

With `--quick` the attempts are not yet that rare.  `--delay-ms` lays a line between device and broker that is so slow
each way: how a miss looks.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import pickle
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT)]
from caregiver import SITE, Hub, Ntfy, hub, hub_settings  # noqa: E402  # the path first
from common import Row, arguments, run  # noqa: E402
from device import READY_S, Client, Ear, Hands, Minute, Place, courier, guard, place, played, resumed  # noqa: E402
from intervals import quantile, quantile_interval  # noqa: E402
from line import Line  # noqa: E402
from msgspec import structs  # noqa: E402
from tests.broker import Mosquitto  # noqa: E402

from retrowalk import wire  # noqa: E402
from retrowalk.config import Config  # noqa: E402
from retrowalk.courier.outbox import Outbox, Stamp  # noqa: E402
from retrowalk.platform import boot_id  # noqa: E402
from retrowalk.sim import world as sim  # noqa: E402
from retrowalk.sim.walker import OLDER  # noqa: E402

OURS, PEER = "retrowalk", "paho publish"
EVENT_GOAL, NOTIFY_GOAL, FIRST_GOAL, DRAINED_GOAL = "<= 250", "<= 1000", "<= 10", "<= 60"
LOST_MS = 60_000.0
"""What did not come counts as long as this."""
LIMIT_S = 30.0
DRAIN_LIMIT_S = 240.0
FALLS_AT_A_TIME = 4
FALL_AT_S, CONFIRMED_BY_S = 2.5, 26.0
AWAY_S = (18.0, 33.0)
"""Without a broker so long, paho waits as long as it ever does between two attempts."""
AWAY_QUICK_S = (1.5, 3.0)
SHARES = {"none": 0.86, "low": 0.10, "medium": 0.03, "high": 0.01}
"""Of priorities on a walk, more or less (`commit.py`); high is more frequent here."""
TYPES = {"none": "alert.spoken", "low": "guard.changed", "medium": "fault.raised", "high": "fall.confirmed"}


@dataclass
class Found:
    """What was measured."""

    event_ms: dict[str, list[float]] = field(default_factory=lambda: {OURS: [], PEER: []})
    fall_ms: list[float] = field(default_factory=list)
    notify_ms: list[float] = field(default_factory=list)
    notified_again: int = 0
    backlogs: dict[str, list[Backlog]] = field(default_factory=dict)


@dataclass
class Backlog:
    """One return; seconds since the broker could be reached, infinite: not in time."""

    reconnect_s: float = math.inf
    first_high_s: float = math.inf
    drained_s: float = math.inf
    missing: int = 0
    """Events that the client never heard."""


# ------------------------------------------------------------------------------------------------ handed to the courier


def events(folder: Path, count: int, seed: int, delay_ms: float, found: Found) -> None:
    """One event after the other, in turns with the peer's."""
    draw = random.Random(f"events:{seed}")
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker"))
        line = stack.enter_context(Line(broker.port))
        line.set("healthy", delay_ms=delay_ms)
        where = place(folder / "device", line.port)
        client = stack.enter_context(Client(broker.port, f"{where.root}/event/#", "bench/#"))
        peer = stack.enter_context(Client(broker.port, name="a-peer"))
        stack.enter_context(courier(where))
        hands = Hands(where)
        stack.callback(hands.close)
        hands.give("walk.started", "low")
        if not hands.until(lambda each: each.connected, READY_S) or client.next(READY_S) is None:
            raise RuntimeError((where.folder / "courier.log").read_text()[-1500:])
        payload = b"x" * 500
        for index in range(count):
            time.sleep(draw.uniform(0.02, 0.15))
            began_s = hands.give("fall.confirmed", "high", {"impact_g": 3.1})
            came = client.until(lambda each: each.topic.endswith("/event/fall.confirmed"), LIMIT_S)
            found.event_ms[OURS].append(LOST_MS if came is None else (came.mono_s - began_s) * 1000.0)
            hands.read()
            time.sleep(draw.uniform(0.0, 0.03))
            began_s = time.monotonic()
            peer.publish("bench/event", payload)
            came = client.until(lambda each: each.topic == "bench/event", LIMIT_S)
            found.event_ms[PEER].append(LOST_MS if came is None else (came.mono_s - began_s) * 1000.0)
            if (index + 1) % 100 == 0:
                _told(f"{index + 1} of {count} events")


# ----------------------------------------------------------------------------------------------------- from the guard


def fall_config() -> Config:
    """With the shortest countdown."""
    config = Config()
    return structs.replace(config, fall=structs.replace(config.fall, countdown_s=10.0))


def fall_minute(seed: int) -> Minute:
    """Somebody stands, falls, and stays down."""
    world = sim.World(seed, profile=dataclasses.replace(OLDER, answers=frozenset()))
    world.at(FALL_AT_S, sim.Fall())
    return played(world, fall_config(), CONFIRMED_BY_S)


def falls(folder: Path, count: int, seed: int, found: Found) -> None:
    """Falls of several devices at a time, each of its own seed, a little after one another."""
    with Mosquitto(folder / "broker") as broker, Client(broker.port, "retrowalk/v1/+/+/event/fall.confirmed") as client:
        for first in range(0, count, FALLS_AT_A_TIME):
            some = range(first, min(count, first + FALLS_AT_A_TIME))
            with contextlib.ExitStack() as stack:
                places = [
                    place(folder / f"fall{index}", broker.port, f"rw-{index:04d}", fall_config()) for index in some
                ]
                minutes = [fall_minute(seed * 1000 + index) for index in some]
                ear = Ear(places)
                stack.callback(ear.close)
                origin_s = time.monotonic() + 1.5
                for index, (where, minute) in enumerate(zip(places, minutes, strict=True)):
                    items = where.folder / "items.pickle"
                    items.write_bytes(pickle.dumps(minute))
                    stack.enter_context(courier(where))
                    resumed(where, minute)
                    stack.enter_context(guard(where, items, origin_s=origin_s + 0.7 * index, repeat=False))
                waiting = {where.root for where in places}
                while waiting and time.monotonic() < origin_s + CONFIRMED_BY_S + 10.0:
                    ear.poll()
                    came = client.next(0.02)
                    if came is not None:
                        waiting.discard(came.topic.partition("/event/")[0])
                        mono_s = json.loads(came.payload)["monoms"] / 1000.0
                        found.fall_ms.append((came.mono_s - mono_s) * 1000.0)
                found.fall_ms += [LOST_MS] * len(waiting)
                _told(f"{some.stop} of {count} falls")


# -------------------------------------------------------------------------------------------------- the notification


def notifications(folder: Path, count: int, seed: int, delay_ms: float, found: Found) -> None:
    """Falls of many devices, one after the other, each with an alert of its own."""
    draw = random.Random(f"notifications:{seed}")
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker"))
        ntfy = stack.enter_context(Ntfy())
        line = stack.enter_context(Line(broker.port))
        line.set("healthy", delay_ms=delay_ms)
        client = stack.enter_context(Client(broker.port, f"retrowalk/v1/{SITE}/hub/state"))
        stack.enter_context(hub(folder / "hub", hub_settings(folder / "hub", broker.port, ntfy.port)))
        up = client.until(lambda each: json.loads(each.payload or b"{}").get("state") == "up", READY_S)
        if up is None:
            raise RuntimeError((folder / "hub" / "hub.log").read_text()[-1500:])
        for index in range(count):
            where = place(folder / f"notified{index}", line.port, f"rw-{index:04d}")
            with courier(where):
                hands = Hands(where)
                try:
                    # A note about the beginning of a walk may be told, too: it is not what is waited for.
                    if not hands.until(lambda each: each.connected, READY_S):
                        raise RuntimeError((where.folder / "courier.log").read_text()[-1500:])
                    time.sleep(draw.uniform(0.1, 0.3))
                    known = len(ntfy.came)
                    began_s = hands.give("fall.confirmed", "high", {"impact_g": 3.1})
                    came_s = ntfy.after(known, LIMIT_S)
                    found.notify_ms.append(LOST_MS if came_s is None else (came_s - began_s) * 1000.0)
                    # The fall is called off, so that nothing is repeated into the next one's time.
                    known = len(ntfy.came)
                    hands.give("fall.cancelled", "high", {"cause": "button"})
                    ntfy.after(known, 5.0)
                    time.sleep(0.1)
                finally:
                    hands.close()
            if (index + 1) % 20 == 0:
                _told(f"{index + 1} of {count} notifications")


# ------------------------------------------------------------------------------------------------------ the backlog


def fill(where: Place, count: int, seed: int) -> None:
    """An outbox as after an hour without a broker: so many events of a session, the last of them high."""
    draw = random.Random(f"backlog:{seed}")
    now_s, wall_s = time.monotonic(), time.time()
    outbox = Outbox(where.state_dir / "outbox.db", owner=f"{where.config.device.site}/{where.config.device.name}")
    boot = boot_id()
    batch: list[tuple[wire.EventMessage, Stamp]] = []
    for number in range(1, count + 1):
        priority = "high" if number == count else draw.choices(list(SHARES), list(SHARES.values()))[0]
        ago_s = 3600.0 * (1.0 - number / count)
        kind = TYPES[priority]
        mono_s = now_s - ago_s
        data = {"phrase": "stop", "earcon": "warning", "level": "warning", "delay_s": 0.021, "detail": "x" * 80}
        event = wire.EventMessage("away", number, kind, priority, number * 0.1, mono_s, number, data)
        batch.append((event, Stamp(boot, wall_s - ago_s, "ntp")))
        if len(batch) == 500 or number == count:
            outbox.commit_all(batch, now_s)
            batch.clear()
    assert outbox.waiting(now_s) == count
    outbox.close()


def backlogs(
    folder: Path, count: int, repetitions: int, with_hub: bool, seed: int, away_s: tuple[float, float], found: Found
) -> None:
    """Returns, one after the other: so many devices that have been away together."""
    draw = random.Random(f"away:{seed}:{with_hub}")
    case = "hub-ack" if with_hub else "puback"
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(folder / "broker", extra="max_queued_messages 0"))
        client = stack.enter_context(Client(broker.port, "retrowalk/v1/+/+/event/#", "retrowalk/v1/+/+/state"))
        watching = None
        if with_hub:
            ntfy = stack.enter_context(Ntfy())
            watching = stack.enter_context(hub(folder / "hub", hub_settings(folder / "hub", broker.port, ntfy.port)))
            if client.until(lambda each: b'"up"' in each.payload, READY_S) is None:
                raise RuntimeError((folder / "hub" / "hub.log").read_text()[-1500:])
        for index in range(repetitions):
            with contextlib.ExitStack() as one:
                line = one.enter_context(Line(broker.port))
                line.set("absent")
                where = place(
                    folder / f"away{index}", line.port, f"rw-{index:04d}", hub="required" if with_hub else "none"
                )
                fill(where, count, seed * 100 + index)
                one.enter_context(courier(where))
                hands = Hands(where)
                one.callback(hands.close)
                time.sleep(draw.uniform(*away_s))
                line.set("healthy")
                back = _come_back(where, client, hands, count, watching)
                found.backlogs.setdefault(case, []).append(back)
            _told(f"{index + 1} of {repetitions} returns, {case}: {back}")


def _come_back(where: Place, client: Client, hands: Hands, count: int, watching: Hub | None) -> Backlog:
    began_s = time.monotonic()
    back = Backlog()
    heard: set[int] = set()
    looked_s = began_s
    while time.monotonic() < began_s + DRAIN_LIMIT_S and math.isinf(back.drained_s):
        came = client.next(0.02)
        if came is not None and came.topic == f"{where.root}/state":
            if b'"lost"' not in came.payload and math.isinf(back.reconnect_s):
                back.reconnect_s = came.mono_s - began_s
        elif came is not None and came.topic.startswith(f"{where.root}/event/"):
            event = json.loads(came.payload)
            heard.add(event["seq"])
            if event["priority"] == "high" and math.isinf(back.first_high_s):
                back.first_high_s = came.mono_s - began_s
        if time.monotonic() >= looked_s + 0.1:
            looked_s = time.monotonic()
            hands.read()
            # The device's own word, which comes each second.
            if hands.beat is not None and hands.beat.waiting == 0 and hands.beat.connected and heard:
                back.drained_s = time.monotonic() - began_s
    while (came := client.next(0.3)) is not None:
        if came.topic.startswith(f"{where.root}/event/"):
            heard.add(json.loads(came.payload)["seq"])
    back.missing = count - len(heard) if watching is None else count - _at_the_hub(watching, where)
    return back


def _at_the_hub(watching: Hub, where: Place) -> int:
    """How many of a device's events the hub's store has."""
    device = f"{where.config.device.site}/{where.config.device.name}"
    return int(watching.rows("SELECT count(*) FROM event WHERE device = ? AND session = 'away'", device)[0][0])


# --------------------------------------------------------------------------------------------------------- the rows


def timed(metric: str, subject: str, values: Sequence[float], goal: str | None, prefix: str = "") -> list[Row]:
    """p50, p99 and the longest; the goal is for p99."""
    rows = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        low, high = quantile_interval(values, share)
        interval = (round(low, 2), round(high, 2))
        wanted = goal if name == "p99" else None
        rows.append(
            Row(metric, subject, name + prefix, round(quantile(values, share), 2), "ms", len(values), interval, wanted)
        )
    return [*rows, Row(metric, subject, "max" + prefix, round(max(values), 2), "ms", len(values))]


def rows_of(found: Found) -> list[Row]:
    """The table."""
    rows: list[Row] = []
    for subject, values in found.event_ms.items():
        if values:
            rows += timed("event_ms", subject, values, EVENT_GOAL if subject == OURS else None)
    if found.fall_ms:
        rows += timed("fall_ms", OURS, found.fall_ms, EVENT_GOAL)
    if found.notify_ms:
        rows += timed("notify_ms", OURS, found.notify_ms, NOTIFY_GOAL)
        lost = sum(value >= LOST_MS for value in found.notify_ms)
        rows.append(Row("notify_lost", OURS, "all", lost, "falls", len(found.notify_ms), goal="<= 0"))
    for case, backs in found.backlogs.items():
        n = len(backs)
        for metric, goal in (("reconnect_s", None), ("first_high_s", FIRST_GOAL), ("drained_s", DRAINED_GOAL)):
            values = [min(float(getattr(back, metric)), DRAIN_LIMIT_S) for back in backs]
            rows.append(Row(metric, OURS, f"max {case}", round(max(values), 2), "s", n, goal=goal))
            rows.append(Row(metric, OURS, f"mean {case}", round(sum(values) / n, 2), "s", n))
        missing = sum(back.missing for back in backs)
        rows.append(Row("missing", OURS, case, missing, "events", n, goal="<= 0"))
    return rows


def _told(text: str) -> None:
    print(f"delivery: {text}", file=sys.stderr, flush=True)


SIZES = {
    "quick": (20, 2, 4, 1000, 1),
    "default": (300, 12, 100, 10_000, 3),
    "full": (3000, 100, 300, 10_000, 10),
}
"""Events, falls, notifications, events in a backlog, returns."""
PARTS = ("events", "falls", "notifications", "puback", "hub-ack")


def measure(options: argparse.Namespace) -> list[Row]:
    """Every part, or those that were asked for."""
    size = "quick" if options.quick else "full" if options.full else "default"
    event_count, fall_count, notify_count, waiting, returns = SIZES[size]
    away_s = AWAY_QUICK_S if options.quick else AWAY_S
    parts = options.parts.split(",") if options.parts else PARTS
    found = Found()
    with tempfile.TemporaryDirectory(prefix="rw-") as temporary:
        folder = Path(temporary)
        if "events" in parts:
            events(folder / "events", event_count, options.seed, options.delay_ms, found)
        if "falls" in parts:
            falls(folder / "falls", fall_count, options.seed, found)
        if "notifications" in parts:
            notifications(folder / "notes", notify_count, options.seed, options.delay_ms, found)
        for part in ("puback", "hub-ack"):
            if part in parts:
                backlogs(folder / part, waiting, returns, part == "hub-ack", options.seed, away_s, found)
    return rows_of(found)


if __name__ == "__main__":
    parser = arguments((__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", default="", help=f"of {', '.join(PARTS)}, with commas (default: all)")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="of the line to the broker, each way")
    run("delivery", parser.parse_args(), measure)
