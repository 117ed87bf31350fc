"""A stranger who may write to the broker: whatever comes, every event of a device is kept once, and people are told."""

from __future__ import annotations

import json
import logging
import random
import sqlite3
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fuzz import held_bytes, spoilt, written
from tests.messages import INTERFACE, message_name, misfits

from retrowalk import wire
from retrowalk.hub import facts
from retrowalk.hub.alerts import Desk
from retrowalk.hub.engine import Hub
from retrowalk.hub.settings import Contact, HubConfig
from retrowalk.hub.store import ODD_KEPT, Store
from retrowalk.hub.times import HubTime
from retrowalk.platform import Arrived, no_wake
from retrowalk.sim.broker import ScriptedLink
from retrowalk.sim.scheduler import Scheduler, VirtualClock

EPOCH = "of-the-device"
DEVICE = "home/rw-0001"
ROOT = f"retrowalk/v1/{DEVICE}"
PRIORITIES = ("none", "low", "medium", "high", "catastrophic", "")
TYPES = ("hazard.raised", "walk.started", "walk.ended", "fall.suspected", "fall.cancelled", "tea.spilt", "sensor.lost")

ODD_TOPICS = (
    *("retrowalk", "retrowalk/v1", "retrowalk/v1/home", "retrowalk/v1/home/rw-0001", "retrowalk/v1/home/rw-0001/"),
    *("retrowalk/v1/home//event/fall.confirmed", "retrowalk/v1//rw-0001/event/x", "retrowalk/v2/home/rw-0001/event/x"),
    *("retrowalk/v1/home/RW_0001/event/x", f"retrowalk/v1/home/{'x' * 40}/state", "retrowalk/v1/home/hub/state"),
    *("retrowalk/v1/home/hub/event/x", f"{ROOT}/event", f"{ROOT}/event/", f"{ROOT}/event/a/b/c", f"{ROOT}/cmd/ack"),
    *(f"{ROOT}/telemetry", f"{ROOT}/event/" + "x" * 5000, f"{ROOT}/event/\u202e🧓", "/", "", "$SYS/broker/uptime"),
)


class Told:
    """A notifier that takes everything at once."""

    def __init__(self) -> None:
        self.wake: Callable[[], None] = no_wake
        self.now: Callable[[], float] | None = None
        self.latest: facts.Notify | None = None
        self.count = 0
        self.reply: tuple[str, int, bool, str, str] | None = None
        """What somebody answers next."""
        self._taken: list[tuple[int, bool, str]] = []

    def send(self, notice: facts.Notify) -> None:
        self.latest = notice
        self.count += 1
        self._taken.append((notice.notice, True, ""))

    def void(self, notice: int) -> None:
        pass

    def results(self) -> list[tuple[int, bool, str]]:
        taken, self._taken = self._taken, []
        return taken

    def alive(self) -> bool:
        return True

    def attempts(self) -> list[tuple[int, str, str, bool, str, float]]:
        return []

    def answers(self) -> list[tuple[str, int, bool, str, str]]:
        reply, self.reply = self.reply, None
        return [reply] if reply else []

    def close(self) -> None:
        pass


class WaitingLink(ScriptedLink):
    """A broker that waits for each message to be handled before it forgets it."""

    unhandled: dict[int, str]

    def send(self, topic: str, payload: bytes, *, retained: bool = False, sure: bool = True) -> None:
        token = next(self._serial) if sure else 0
        if sure:
            self.unhandled[token] = topic
        self._plan(self._clock.now(), Arrived(topic, payload, retained, token))
        self.wake()

    def handled(self, token: int) -> None:
        self.unhandled.pop(token, None)


class Town:
    """A hub in virtual time, one site, one contact."""

    def __init__(self, directory: Path) -> None:
        self.clock = VirtualClock(wall_origin_s=1_800_000_000.0)
        self.scheduler = Scheduler(self.clock)
        self.link = WaitingLink(self.clock)
        self.link.unhandled = {}
        self.told = Told()
        self.file = directory / "hub.db"
        settings = HubConfig(contact=(Contact(name="Anna", notify=("json://localhost",)),))
        self.hub = Hub(
            settings,
            Store(self.file, rng=random.Random(1)),
            Desk(settings.contact, settings.ladder, settings.silence),
            self.told,
            {"home": self.link},
            self.clock,
            HubTime("boot-1", None, boottime=self.clock.now, wall=self.clock.wall_s),
            rng=random.Random(2),
        )
        self.scheduler.add(self.hub)

    def pass_s(self, seconds: float) -> None:
        self.scheduler.run_until(self.clock.now() + seconds)

    def rows(self, query: str) -> list[Any]:
        with sqlite3.connect(f"file:{self.file}?mode=ro", uri=True) as db:
            found = db.execute(query).fetchall()
        db.close()
        return found


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((INTERFACE / "examples" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def good_event(seq: int, kind: str, priority: str, **data: Any) -> dict[str, Any]:
    """An event as the device sends it."""
    return {
        **example("event.fall.confirmed"),
        "id": f"id-{seq}",
        "epoch": EPOCH,
        "seq": seq,
        "type": f"io.retrowalk.{kind}",
        "eventtype": kind,
        "priority": priority,
        "data": data,
    }


def bad(rng: random.Random, sent: int) -> tuple[str, bytes]:
    """Something that somebody sends.  It never takes a number that the device itself is still to use."""
    what = rng.choices(("event", "again", "state", "heartbeat", "hub"), (60, 10, 15, 12, 3))[0]
    device = rng.choice((ROOT, ROOT, "retrowalk/v1/home/rw-0002", f"retrowalk/v1/home/d-{rng.randrange(5)}"))
    if what == "again" and sent:
        old = good_event(rng.randint(1, sent), "hazard.raised", "none")
        # Replayed; under a number that is taken; from the wrong device.
        changed: dict[str, Any] = rng.choice(({}, {"id": "another"}, {"source": "retrowalk:home/rw-0009"}))
        return f"{ROOT}/event/hazard.raised", written({**old, **changed})
    if what == "hub":
        return "retrowalk/v1/home/hub/state", spoilt(rng, example("hub.state"))
    if what in ("state", "heartbeat"):
        topic, form = f"{device}/{what}", example(what)
        form["epoch"] = f"bad-{rng.randrange(20)}"
    else:
        kind = rng.choice(TYPES)
        topic = f"{device}/event/{kind}"
        number = rng.randint(1, 20 if rng.random() < 0.95 else 10**6)
        form = good_event(number, kind, rng.choice(PRIORITIES))
        form |= {"epoch": f"bad-{rng.randrange(20)}", "id": f"bad-{rng.randrange(10**9)}"}
        form["source"] = f"retrowalk:{'/'.join(device.split('/')[2:])}"
    if rng.random() < 0.06:
        topic = rng.choice(ODD_TOPICS)
    return topic, spoilt(rng, form)


@pytest.mark.slow
@pytest.mark.parametrize(
    "count", [pytest.param(2_000, id="some"), pytest.param(100_000, id="many", marks=pytest.mark.repeats)]
)
def test_bad_messages_lose_no_event(count, tmp_path, caplog):
    """Among any messages each event is kept once, known or not; nothing fails, and people are told of the next fall"""
    rng = random.Random(count)
    caplog.set_level(logging.ERROR)
    town = Town(tmp_path)
    town.pass_s(1.0)
    kinds: dict[int, tuple[str, str]] = {}
    turn_messages = 50
    settled = 0
    for turn in range(count // turn_messages):
        for _ in range(turn_messages - 1):
            town.link.send(*bad(rng, len(kinds)), retained=rng.random() < 0.05, sure=rng.random() < 0.8)
        seq = len(kinds) + 1
        kinds[seq] = (rng.choice(TYPES), rng.choice(PRIORITIES))
        town.link.send(f"{ROOT}/event/{kinds[seq][0]}", written(good_event(seq, *kinds[seq])))
        town.pass_s(0.2)
        town.link.published.clear()
        if turn == count // turn_messages // 2:
            tracemalloc.start()
        elif turn == count // turn_messages * 3 // 4:
            settled = held_bytes()  # what is only exchanged for something newer has been by now
    kept = held_bytes() - settled
    tracemalloc.stop()
    before = town.told.count
    last = len(kinds) + 1
    town.link.send(f"{ROOT}/event/sos.raised", written(good_event(last, "sos.raised", "high")))
    town.pass_s(5.0)

    stored = town.rows(f"SELECT seq, type, priority FROM event WHERE device = '{DEVICE}' AND epoch = '{EPOCH}'")
    assert sorted(stored) == [*((seq, *kind) for seq, kind in kinds.items()), (last, "sos.raised", "high")]
    assert [record.message for record in caplog.records] == []
    assert town.link.unhandled == {}
    acks = [json.loads(sent.payload) for sent in town.link.published if sent.topic == f"{ROOT}/cmd/ack"]
    assert {"epoch": EPOCH, "seq": last, "beyond": []} in acks
    assert town.told.count > before
    assert town.rows("SELECT count(*) FROM odd")[0][0] <= ODD_KEPT
    assert kept < 1_000_000
    town.hub.close()


def test_the_trial_of_a_doctor_is_nobody_s_event(tmp_path):
    """The empty message with which a doctor tries the broker is neither an event nor anything odd"""
    town = Town(tmp_path)
    town.pass_s(1.0)
    town.link.send(f"{ROOT}/event/{wire.TRIED}", b"")
    town.pass_s(1.0)
    assert town.link.unhandled == {}
    assert town.rows("SELECT count(*) FROM odd") == town.rows("SELECT count(*) FROM event") == [(0,)]
    town.hub.close()


@pytest.mark.slow
def test_what_a_hub_sends_is_what_is_documented(tmp_path):
    """Its state, its acknowledgements and its commands fit the strict schemas, and nothing else is sent"""
    town = Town(tmp_path)
    town.pass_s(1.0)
    town.link.send(f"{ROOT}/state", written(example("state")))
    town.link.send(f"{ROOT}/heartbeat", written({**example("heartbeat"), "epoch": EPOCH, "seq_low": 9, "seq_head": 9}))
    town.link.send(f"{ROOT}/event/tea.spilt", written(good_event(2, "tea.spilt", "none")))
    town.pass_s(1.0)
    town.link.send(f"{ROOT}/event/fall.confirmed", written(good_event(9, "fall.confirmed", "high", fall=1)))
    town.pass_s(1.0)
    town.told.reply = ("Anna", 1, False, "ntfy", "coming")
    for _ in range(8):
        town.link.send(f"{ROOT}/heartbeat", written({**example("heartbeat"), "epoch": EPOCH, "seq_low": 20}))
        town.pass_s(15.0)
    town.hub.begin_stop(town.clock.now())
    town.pass_s(1.0)
    sent = town.link.published
    assert [text for message in sent for text in misfits(message.topic, message.payload)] == []
    assert {message_name(message.topic) for message in sent} == {
        *("hub.state", "cmd.ack", "cmd.seen", "cmd.say", "cmd.resync"),
    }
    for message in sent:
        retained = message_name(message.topic) in ("hub.state", "cmd.ack")
        assert (message.qos, message.retain) == (1, retained), message.topic
    town.hub.close()
