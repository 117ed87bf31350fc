"""A stranger who may write to the broker: whatever is sent to a device, its own events get out and it lives on."""

from __future__ import annotations

import itertools
import json
import logging
import random
import re
import tracemalloc

import pytest
from tests.courier.helpers import ROOT, Street, event, session_message
from tests.fuzz import held_bytes, spoilt, written
from tests.messages import INTERFACE

from retrowalk import wire
from retrowalk.config import Broker

TOLD_GAP_S = 0.5
"""No command may come to the guard more often than every so many seconds, whatever the limit is."""

TOLD_MAX_HZ = 1.2
"""What becomes of commands is told, too: events of it are no more than so many a second."""

ODD_LEAVES = (
    *("cmd", "cmd/", "cmd//ack", "cmd/ack/more", "cmd/mute", "cmd/config", "cmd/ACK", "cmd/\x7f"),
    *("event/x", "state"),
)


def examples() -> dict[str, dict[str, object]]:
    return {
        path.stem.removeprefix("cmd."): json.loads(path.read_text(encoding="utf-8"))
        for path in INTERFACE.glob("examples/cmd.*.json")
    }


def message(rng: random.Random, street: Street, good: dict[str, dict[str, object]]) -> tuple[str, bytes, bool]:
    """Topic, payload and whether it is retained, of something that somebody sends now."""
    name = rng.choice(sorted(good))
    topic = f"{ROOT}/cmd/{name}"
    form = {**good[name]}
    if "epoch" in form:
        form["epoch"] = rng.choice((street.outbox.epoch, "another"))
    if "issued_ms" in form:
        form["issued_ms"] = round(street.clock.wall_s() * 1000) + rng.randrange(-100_000, 100_000)
        form["id"] = f"c-{rng.randrange(300)}"
    chance = rng.random()
    if chance < 0.02:
        # An acknowledgement of what was never sent, which must delete nothing.
        forged = {"epoch": street.outbox.epoch, "seq": rng.choice((10**6, 2**61)), "beyond": [10**6 + 1]}
        return f"{ROOT}/cmd/ack", written(forged), True
    if chance < 0.06:
        return topic, written(form), rng.random() < 0.2  # in order, often an id that came before
    if chance < 0.10:
        topic = rng.choice((f"retrowalk/v1/home/rw-0002/cmd/{name}", *(f"{ROOT}/{leaf}" for leaf in ODD_LEAVES)))
    return topic, spoilt(rng, form), rng.random() < 0.2


@pytest.mark.parametrize("hub", ["auto", "required", "none"])
@pytest.mark.parametrize(
    "count", [pytest.param(700, id="some"), pytest.param(34_000, id="many", marks=pytest.mark.slow)]
)
def test_bad_commands_stop_no_event(count, hub, tmp_path, caplog):
    """Among any messages each event is published once, nothing fails, and nothing of it stays in memory"""
    rng = random.Random(f"{count} {hub}")
    caplog.set_level(logging.WARNING)
    street = Street(tmp_path, broker=Broker(hub=hub))
    good = examples()
    street.send(session_message())
    street.run_until(1.0)
    numbers: list[int] = []
    about_commands: set[str] = set()
    told: list[tuple[float, wire.CommandMessage]] = []
    handed_over = settled = 0
    for turn in range(count // 10):
        for _ in range(10):
            street.link.deliver(*message(rng, street, good))
        if turn % 4 == 0:
            handed_over += 1
            street.send(event(handed_over, "fall.confirmed" if turn % 40 == 0 else "hazard.raised", fall=handed_over))
        street.run_until(1.0 + (turn + 1) * 0.05)
        sent = street.events()
        numbers += [found["data"]["fall"] for found in sent if "fall" in found["data"]]
        about_commands |= {found["id"] for found in sent if found["eventtype"] == "command.received"}
        told += [(street.clock.now(), found) for found in street.told(wire.CommandMessage)]
        street.link.published.clear()
        street.inbox.clear()
        if turn == count // 20:
            tracemalloc.start()
        elif turn == count // 40 * 3:
            settled = held_bytes()  # what is only exchanged for something newer has been by now
    kept = held_bytes() - settled
    tracemalloc.stop()
    street.run_until(street.clock.now() + 30.0)
    numbers += [found["data"]["fall"] for found in street.events() if "fall" in found["data"]]

    assert sorted(set(numbers)) == list(range(1, handed_over + 1))
    # Where a hub is believed to be, and does not answer, events are sent again under their ids.
    assert hub != "none" or len(numbers) == handed_over
    assert kept < 1_000_000
    assert 0 < len(about_commands) < 10 + TOLD_MAX_HZ * street.clock.now()
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []
    assert street.courier.rejected > count / 2
    for _, command in told:
        assert command.name in {"seen", "say", "locate"}
        assert re.fullmatch(r"[a-z_]{1,32}", command.args.get("phrase", "none"))
        assert all(value.isprintable() and len(value) <= 64 for value in command.args.values())
    for name in ("seen", "say", "locate"):
        times = [t_s for t_s, command in told if command.name == name]
        assert all(later - earlier >= TOLD_GAP_S for earlier, later in itertools.pairwise(times))
    assert len({command.id for _, command in told}) == len(told)


def test_nothing_of_a_bad_message_is_in_the_log(tmp_path, caplog):
    """What a stranger writes does not get into the log, where it could pass for a line of ours"""
    caplog.set_level(logging.DEBUG)
    street = Street(tmp_path)
    street.run_until(1.0)
    for name, form in examples().items():
        street.link.deliver(f"{ROOT}/cmd/{name}", written({**form, "by": "x\nALL IS WELL", "id": "ALL IS WELL"}))
    street.run_until(3.0)
    assert "ALL IS WELL" not in caplog.text
