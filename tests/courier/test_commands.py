"""Commands to the device: a closed list, each taken once, in time and seldom; and what is told of them."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.courier.helpers import ROOT, Street, event

from retrowalk import wire
from retrowalk.core import events as ev
from retrowalk.courier import commands
from retrowalk.courier.commands import Commands
from retrowalk.sim.scheduler import VirtualClock

WALL_S = 1_800_000_000.0
"""What the clock of a `Street` shows at its beginning."""


def payload(name: str = "seen", *, id: str = "c1", issued_s: float = WALL_S, **fields: Any) -> bytes:
    """A command of good form, but for `fields`."""
    fitting: dict[str, dict[str, Any]] = {
        "seen": {"event": "01JD"},
        "say": {"phrase": "coming"},
        "resync": {"epoch": "e", "first": 1, "last": 2},
    }
    own = fitting.get(name, {})
    return json.dumps({"id": id, "by": "Anna", "issued_ms": round(issued_s * 1000), **own, **fields}).encode()


def sent(street: Street, t_s: float, name: str, content: bytes, retained: bool = False) -> None:
    """Somebody sends a command at `t_s`."""
    street.run_until(t_s)
    street.link.deliver(f"{ROOT}/cmd/{name}", content, retained)


def told(street: Street) -> list[dict[str, Any]]:
    """What the caregiver's side was told of commands by the courier."""
    return [event["data"] for event in street.events() if event["eventtype"] == "command.received"]


def passed(street: Street) -> list[wire.CommandMessage]:
    """The commands that reached the guard."""
    return street.told(wire.CommandMessage)


def reader(quality: str = "ntp", wall: Callable[[], float] = lambda: WALL_S) -> Commands:
    """Reads commands with a clock that shows what `wall` says."""
    return Commands(lambda: (wall(), quality))


# -------------------------------------------------------------------------------------------------- the list


@pytest.mark.parametrize(
    ("name", "args"),
    [
        pytest.param("seen", {"by": "Anna", "event": "01JD"}, id="seen"),
        pytest.param("say", {"by": "Anna", "phrase": "coming"}, id="say"),
        pytest.param("locate", {"by": "Anna"}, id="locate"),
    ],
)
def test_a_command_reaches_the_guard(tmp_path, name, args):
    """With its id, who gave it, and what it speaks of; what became of it is the guard's to tell."""
    street = Street(tmp_path)
    sent(street, 1.0, name, payload(name))
    street.run_until(2.0)
    assert passed(street) == [wire.CommandMessage("c1", name, args)]
    assert told(street) == []


def test_what_cannot_be_shown_is_taken_out_of_a_name(tmp_path):
    """A bell, a line feed, blanks around it."""
    street = Street(tmp_path)
    sent(street, 1.0, "seen", payload(by=" An\u0007na \n"))
    street.run_until(2.0)
    assert passed(street)[0].args["by"] == "Anna"


def test_the_guard_hears_how_old_the_event_is_that_was_seen(tmp_path):
    """So that nobody takes an answer to yesterday's alarm for one to theirs.  Of one that is not known, nothing."""
    street = Street(tmp_path)
    street.send(event(1, t_s=0.0))
    street.run_until(5.0)
    (envelope,) = street.events()
    sent(street, 10.0, "seen", payload(id="a", event=envelope["id"]))
    sent(street, 20.0, "seen", payload(id="b", event="01JD"))
    street.run_until(21.0)
    assert [command.args.get("age_s") for command in passed(street)] == ["10.0", None]


@pytest.mark.parametrize(
    ("quality", "age_s"), [pytest.param("ntp", "110.0", id="set"), pytest.param("unset", None, id="not set")]
)
def test_an_event_before_the_boot_is_as_old_as_the_clock_says(tmp_path, quality, age_s):
    """The device was off for a while; where a clock was not set, nothing is known."""
    street = Street(tmp_path)
    street.send(event(1, t_s=0.0))
    street.run_until(5.0)
    (envelope,) = street.events()
    street.kill()
    clock = VirtualClock(wall_origin_s=WALL_S + 100.0)
    again = Street(tmp_path, clock=clock, boot="boot-2", quality=lambda _: quality)
    sent(again, 10.0, "seen", payload(event=envelope["id"], issued_s=WALL_S + 110.0))
    again.run_until(11.0)
    assert [command.args.get("age_s") for command in passed(again)] == [age_s]


SEEN = payload()


@pytest.mark.parametrize(
    ("topic", "content"),
    [
        pytest.param("cmd/mute", b"{}", id="not on the list"),
        pytest.param("cmd/config", SEEN, id="no settings from afar"),
        pytest.param("cmd/seen/x", SEEN, id="below a command"),
        pytest.param("cmd/", SEEN, id="no name"),
        pytest.param("state", SEEN, id="no command"),
        pytest.param("cmd/seen", b"", id="empty"),
        pytest.param("cmd/seen", b"\xff\xfe", id="not text"),
        pytest.param("cmd/seen", b'{"by":"Anna"}', id="without id"),
        pytest.param("cmd/seen", payload(id="../../etc"), id="odd id"),
        pytest.param("cmd/seen", payload(id=""), id="empty id"),
        pytest.param("cmd/seen", payload(by="a" * 41), id="name too long"),
        pytest.param("cmd/seen", payload(issued_ms=-1), id="before all time"),
        pytest.param("cmd/seen", payload(issued_ms=None), id="of no time"),
        pytest.param("cmd/seen", payload(ttl_s=0), id="over at once"),
        pytest.param("cmd/seen", payload(ttl_s=86400), id="holds for a day"),
        pytest.param("cmd/seen", SEEN + b" " * 4096, id="too big"),
        pytest.param("cmd/seen", b"[" * 4000, id="nested"),
        pytest.param("cmd/say", payload("say", phrase="Turn left now"), id="free text"),
        pytest.param("cmd/resync", payload("resync", first=0), id="a number that is none"),
    ],
)
def test_anything_else_is_dropped_and_counted(tmp_path, topic, content):
    """The list of commands is closed, and each has its form."""
    street = Street(tmp_path)
    street.run_until(1.0)
    street.link.deliver(f"{ROOT}/{topic}", content)
    street.run_until(2.0)
    assert passed(street) == []
    assert street.courier.rejected == 1
    assert told(street) == []


@given(name=st.sampled_from([*sorted(wire.COMMANDS), "other"]), content=st.binary(max_size=300), retained=st.booleans())
def test_no_bytes_break_the_reader(name, content, retained):
    """Whatever arrives is a command of its form, or none."""
    read = reader().read(name, content, retained, 1.0)
    assert read is None or isinstance(read, wire.HubAck | wire.RemoteCommand)


# -------------------------------------------------------------------------------------------------- once


def test_a_command_that_comes_again_is_refused_and_told(tmp_path):
    """The broker may deliver twice, and a stranger may play back what they heard."""
    street = Street(tmp_path)
    for t_s in (1.0, 1.1, 20.0):
        sent(street, t_s, "seen", payload())
    street.run_until(21.0)
    assert len(passed(street)) == 1
    assert [(data["reason"], data["by"], data["what"], data["accepted"]) for data in told(street)] == [
        ("came before", "Anna", "01JD", False)
    ] * 2


def test_a_command_is_not_taken_again_after_a_restart(tmp_path):
    """The courier was killed, and the broker delivers the command once more."""
    street = Street(tmp_path)
    sent(street, 1.0, "seen", payload())
    street.run_until(2.0)
    street.kill()
    again = Street(tmp_path)
    sent(again, 20.0, "seen", payload())
    again.run_until(21.0)
    assert (len(passed(street)), passed(again)) == (1, [])
    assert [data["reason"] for data in told(again)] == ["came before"]


def test_unreadable_ids_of_another_version_are_forgotten(tmp_path):
    """What was kept and cannot be understood stops no command."""
    street = Street(tmp_path)
    street.outbox.keep("commands", b'{"ids": 7}', 0.0)
    sent(street, 1.0, "seen", payload())
    street.run_until(2.0)
    assert len(passed(street)) == 1


@pytest.mark.slow
def test_ids_are_remembered_for_longer_than_any_command_holds():
    """However fast commands are taken: an id is forgotten only when its command would have expired anyway."""
    kept = reader("unset")
    taken: dict[str, float] = {}
    for i in range(20_000):
        now = i * 0.05
        name = ("seen", "say", "locate", "resync")[i % 4]
        if kept.read(name, payload(name, id=f"c{i}"), False, now) is not None:
            taken[f"c{i}"] = now
    ids = json.loads(kept.kept())
    assert len(ids) == commands.IDS_KEPT < len(taken)
    assert 1000.0 - taken[ids[0]] > 300.0  # the longest `ttl_s`


def test_what_was_refused_may_come_again_later(tmp_path):
    """Refused because it came too soon, the same command is taken when the hub sends it again."""
    street = Street(tmp_path)
    sent(street, 1.0, "seen", payload(id="a"))
    sent(street, 1.5, "seen", payload(id="b"))
    sent(street, 5.0, "seen", payload(id="b"))
    street.run_until(6.0)
    assert [command.id for command in passed(street)] == ["a", "b"]


# -------------------------------------------------------------------------------------------------- in time


@pytest.mark.parametrize(
    ("issued_ago_s", "ttl_s", "reason"),
    [
        pytest.param(0.0, 60, "", id="now"),
        pytest.param(80.0, 60, "", id="clocks may differ by 30 s"),
        pytest.param(100.0, 60, "expired", id="over"),
        pytest.param(100.0, 120, "", id="holds longer"),
        pytest.param(3.2e8, 300, "expired", id="ten years old"),
        pytest.param(-20.0, 60, "", id="a clock that is a little fast"),
        pytest.param(-40.0, 60, "from the future", id="from the future"),
        pytest.param(-3.2e8, 60, "from the future", id="from the far future"),
    ],
)
def test_a_command_holds_for_a_time(issued_ago_s, ttl_s, reason):
    """With a clock that is right an old command is refused, and so is one that is not given yet."""
    kept = reader()
    read = kept.read("seen", payload(issued_s=WALL_S - issued_ago_s, ttl_s=ttl_s), False, 1.0)
    assert (read is None) == bool(reason)
    assert [received.reason for received in kept.received(1.0)] == ([reason] if reason else [])


@pytest.mark.parametrize("wall_s", [0.0, 9e9, math.nan, math.inf])
def test_a_clock_that_is_not_set_refuses_nothing_for_its_age(wall_s):
    """A Pi without a network does not know the time; the command is taken, and only once."""
    kept = reader("unset", lambda: wall_s)
    assert kept.read("seen", payload(), False, 1.0) is not None
    assert kept.read("seen", payload(), False, 30.0) is None


def test_a_retained_command_is_refused_and_told(tmp_path):
    """Else each new connection would bring it again.  A retained `ack` holds."""
    street = Street(tmp_path)
    sent(street, 1.0, "say", payload("say"), True)
    street.run_until(2.0)
    assert passed(street) == []
    assert [data["reason"] for data in told(street)] == ["kept by the broker"]


# -------------------------------------------------------------------------------------------------- seldom


@pytest.mark.parametrize(("name", "gap_s"), commands.GAPS_S.items())
def test_commands_of_a_name_are_taken_seldom(name, gap_s):
    """Each name has its own time."""
    kept = reader()
    taken = [
        now
        for now in (i * 0.5 for i in range(400))
        if kept.read(name, payload(name, id=f"c{now}".replace(".", "-")), False, now) is not None
    ]
    assert len(taken) == math.ceil(200.0 / gap_s)
    assert all(b - a >= gap_s for a, b in itertools.pairwise(taken))


def test_every_command_has_its_gap():
    """A command that is added to the list is not forgotten here, nor in the event that tells of it."""
    assert set(commands.GAPS_S) == set(wire.COMMANDS) - {"ack"}
    fields = commands.Received("", "", "", True, "").data()
    assert set(fields) == set(wire.event_data(ev.CommandReceived(t_s=0.0, name="", id="", accepted=True)))


@pytest.mark.slow
def test_a_flood_of_commands_costs_the_guard_nothing(tmp_path):
    """1000 a second of every kind for a minute: some pass, few are told one by one, the rest once a minute."""
    street = Street(tmp_path)
    names = ("seen", "say", "locate", "resync", "mute")
    for second in range(60):
        street.run_until(1.0 + second)
        for i in range(1000):
            name = names[i % 5]
            content = payload(name, id=f"c{second}-{i}", issued_s=WALL_S + second) if i % 7 else b"{"
            street.link.deliver(f"{ROOT}/cmd/{name}", content)
    street.run_until(125.0)
    assert len(passed(street)) <= 60 / 2 + 60 / 10 + 1
    reports = told(street)
    assert len(reports) <= 2 * commands.TOLD_APART + 4
    refused = [data for data in reports if not data["accepted"]]
    taken = [data for data in reports if data["accepted"]]
    assert sum(data["count"] for data in refused) + len(passed(street)) + len(taken) == 60_000
    several = [data for data in refused if data["name"] == commands.SEVERAL]
    assert several
    assert re.fullmatch(r"\d+ not of its form, \d+ not on the list.*", several[0]["reason"])


def test_what_is_malformed_is_told_within_a_minute(tmp_path):
    """Once, with how many, and why."""
    street = Street(tmp_path)
    for t_s in (1.0, 2.0, 3.0):
        sent(street, t_s, "seen", b"{")
    street.run_until(50.0)
    assert told(street) == []
    street.run_until(65.0)
    assert [(data["name"], data["count"], data["reason"]) for data in told(street)] == [
        (commands.SEVERAL, 3, "3 not of its form")
    ]


def test_a_flood_of_one_command_does_not_keep_the_others_out(tmp_path):
    """While somebody floods `say`, what a helper has seen is heard."""
    street = Street(tmp_path)
    street.run_until(1.0)
    for i in range(500):
        street.link.deliver(f"{ROOT}/cmd/say", payload("say", id=f"s{i}"))
    street.link.deliver(f"{ROOT}/cmd/seen", payload())
    street.run_until(2.0)
    assert [command.name for command in passed(street)] == ["say", "seen"]


def test_a_resync_is_told(tmp_path):
    """It never reaches the guard; that it was asked for is told all the same."""
    street = Street(tmp_path)
    street.send(event(1, t_s=0.0))
    street.run_until(2.0)
    epoch = street.outbox.epoch
    sent(street, 3.0, "resync", payload("resync", id="a", epoch=epoch))
    sent(street, 70.0, "resync", payload("resync", id="b", epoch="another", issued_s=WALL_S + 70.0))
    street.run_until(72.0)
    assert passed(street) == []
    resyncs = [(data["name"], data["id"], data["accepted"], data["what"]) for data in told(street)]
    assert resyncs == [("resync", "a", True, "1 to 2"), ("resync", "b", False, "1 to 2")]
