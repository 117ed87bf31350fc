"""`benchmarks/outbox.py`: what it counts as lost and out of order, and that it sees a product that loses."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.benchmarks.program import FOLDER, load
from tests.broker import need_mosquitto

from retrowalk import wire
from retrowalk.core.events import Priority

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def outbox():
    """The program as a module, its neighbours within reach."""
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield load(FOLDER / "outbox.py")
    finally:
        sys.path[:] = path


@pytest.fixture(scope="module")
def source(outbox):
    return sys.modules["outbox_source"]


@pytest.fixture(scope="module")
def line(outbox):
    return sys.modules["outbox_line"]


# ------------------------------------------------------------------------------------------------------- its ledger


@pytest.mark.parametrize("priority", [priority.value for priority in Priority])
@pytest.mark.parametrize("fall", [0, 3])
def test_an_event_carries_its_number_and_priority(source, priority, fall):
    """Whatever happens can be found again in what the receiver keeps, and is as urgent as the ledger says"""
    event = source.event_of(17, priority, 1.0, fall)
    assert event.priority == priority
    assert source.number_of(event.type, wire.event_data(event)) == 17


def test_the_ledger_tells_what_was_cut_off_in_the_act(source, tmp_path):
    """An event written and not handed over, when its author is killed, is not forgotten"""
    ledger = source.Ledger(tmp_path, write=True)
    for priority in ("none", "high"):
        ledger.mark(ledger.write(priority), 1)
    ledger.write("low")
    assert ledger.acts() == {3}
    again = source.Ledger(tmp_path, write=True)
    assert (again.last, again.handed, again.acts()) == (3, 3, {3})
    assert again.write("none") == 4
    assert [line.priority for line in again.read()] == ["none", "high", "low", "none"]


# ------------------------------------------------------------------------------------------------------ its faults


def test_the_seed_says_what_goes_wrong(outbox):
    """The same seed, the same faults; as many as asked for, none before everything has been there"""
    plan = outbox.plan(1000, kills=4, power=2, lines=1)
    found = outbox.faults(plan, 5)
    assert found == outbox.faults(plan, 5)
    assert found != outbox.faults(plan, 6)
    assert Counter(fault.what for fault in found) == {**plan.kills, **plan.lines}
    assert all(outbox.FIRST_S <= fault.at_s <= plan.seconds for fault in found)


def test_the_default_is_as_much_as_was_asked_for(outbox):
    """Sixty kills and more, a dozen and more of each process"""
    kills = outbox.plan(20_000).kills
    assert sum(kills.values()) >= 60
    assert min(kills[what] for what in ("guard", "courier", "broker", "hub")) >= 12


# ------------------------------------------------------------------------------------------------------- its lines


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_packets_are_read_however_they_are_cut(line, version, piece):
    """Topic and payload of each message, whatever pieces the stream comes in"""
    properties = b"\x05\x02\x00\x00\x00\x3c" if version == 5 else b""
    connect = b"\x00\x04MQTT" + bytes([version]) + b"\x02\x00\x0a\x00\x00"
    payload = b"x" * 300
    publish = b"\x00\x03a/b\x00\x01" + properties + payload
    size = bytes([len(publish) & 127 | 128, len(publish) >> 7])
    stream = (
        b"\x10" + bytes([len(connect)]) + connect + b"\x32" + size + publish + b"\xc0\x00" + b"\x32" + size + publish
    )
    packets = line.Packets()
    found = []
    for at in range(0, len(stream), piece):
        found += packets.feed(stream[at : at + piece], 0)
    assert found == [("a/b", payload)] * 2


# ---------------------------------------------------------------------------------------------------- its judgement


def passed(line, *events):
    """Events on the lines: (line, way, connection, seq, priority)."""
    return [
        line.Passed(f"x {name}", way, connection, 0.0, "e", seq, priority, "x", {})
        for name, way, connection, seq, priority in events
    ]


SENT = [("device", "up", 1, 1, "none"), ("device", "up", 1, 2, "none"), ("device", "up", 1, 3, "high")]
LATE = [("device", "up", 1, 4, "none"), ("device", "up", 1, 3, "high"), ("hub", "down", 1, 4, "none")]
"""A high one that was committed first and sent last."""


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([*SENT, ("hub", "down", 1, 3, "high"), ("hub", "down", 1, 1, "none")], (0, 0), id="high first"),
        pytest.param([*SENT, ("hub", "down", 1, 2, "none"), ("hub", "down", 1, 3, "high")], (0, 0), id="there first"),
        pytest.param([*LATE, ("hub", "down", 1, 3, "high")], (1, 1), id="sent behind"),
        pytest.param([*LATE, ("hub", "down", 2, 3, "high")], (0, 1), id="over another connection of the receiver"),
        pytest.param(
            [("device", "up", 1, 4, "none"), ("hub", "down", 1, 4, "none"), ("device", "up", 2, 3, "high"),
             ("hub", "down", 1, 3, "high")],
            (0, 1),
            id="over another connection of the device",
        ),
        pytest.param(
            [("device", "up", 1, 3, "high"), ("device", "up", 1, 4, "none"), ("hub", "down", 1, 4, "none"),
             ("device", "up", 1, 3, "high"), ("hub", "down", 1, 3, "high")],
            (0, 1),
            id="sent first, lost and sent again",
        ),
        pytest.param(
            [("device", "up", 1, 3, "high"), ("hub", "down", 1, 3, "high"), ("hub", "down", 1, 4, "none"),
             ("hub", "down", 1, 3, "high")],
            (0, 0),
            id="came again",
        ),
        pytest.param(
            [("device", "up", 1, 4, "high"), ("device", "up", 1, 3, "high"), ("hub", "down", 1, 4, "high"),
             ("hub", "down", 1, 3, "high")],
            (0, 0),
            id="behind its equal",
        ),
    ],
)  # fmt: skip
def test_what_is_out_of_order(outbox, line, events, expected):
    """A grave event sent behind a slighter, later one, over one connection each; and any that came behind"""
    assert outbox.out_of_order(passed(line, *events))[:2] == expected


def outcome(outbox, source, **changes):
    """Ten events, all kept once."""
    happened = [source.Happened(number, "high" if number == 7 else "none", float(number)) for number in range(1, 11)]
    kept = Counter(range(1, 11))
    base = outbox.Outcome(outbox.HUB_ACK, happened, kept, set(), set(), {}, [], 0.0, Counter(power=1))
    return dataclasses.replace(base, **changes)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, {}, id="all there"),
        pytest.param({"kept": Counter(range(2, 11))}, {"events_lost": 1}, id="one lost"),
        pytest.param(
            {"kept": Counter(range(2, 11)), "waiting": {1}}, {"events_waiting": 1}, id="one waits"
        ),
        pytest.param({"kept": Counter(range(2, 11)), "acts": {1}}, {"lost_in_the_act": 1}, id="cut off in the act"),
        pytest.param(
            {"kept": Counter(range(3, 11)), "at_power_cut": {2: 0.02, 3: 0.01}},
            {"events_lost": 1, "lost_at_power_cut": 1, "lost_at_power_cut_age_ms": 20.0},
            id="one at the power cut",
        ),
        pytest.param({"kept": Counter([*range(1, 11), 4])}, {"duplicates_unrecognised": 1}, id="kept as two"),
    ],
)  # fmt: skip
def test_what_became_of_the_events(outbox, source, changes, expected):
    """Lost, waiting, cut off and kept twice are told apart, and nothing has two names"""
    counted = (
        *("events_lost", "events_waiting", "lost_in_the_act", "lost_at_power_cut", "lost_at_power_cut_age_ms"),
        "duplicates_unrecognised",
    )
    rows = outbox.rows(outcome(outbox, source, **changes))
    found = {row.metric: row.value for row in rows if row.metric in counted and "priority" not in row.case}
    assert found == dict.fromkeys(counted, 0) | expected


def test_a_grave_loss_has_a_row_of_its_own(outbox, source):
    """Of what is lost, the events of high priority are told apart"""
    rows = outbox.rows(outcome(outbox, source, kept=Counter(range(8, 11))))
    lost = {row.case: (row.value, row.n, row.met) for row in rows if row.metric == "events_lost"}
    assert lost == {"hub-ack": (7, 10, False), "hub-ack, high priority": (1, 1, False)}


# ------------------------------------------------------------------------------------------- a product that loses


def lost(outbox, kills, **programs):
    """Events that a small run of `hub-ack` calls lost, with these programs in place of the product's."""
    need_mosquitto()
    plan = outbox.Plan(300, 40.0, {"guard": 0, "courier": 0, "broker": 0, "hub": 0, "power": 0} | kills, {}, 30.0)
    (found,) = outbox.carry_out([outbox.HUB_ACK], plan, 3, outbox.Programs(**programs))
    assert len(found.happened) == 300
    assert found.struck.total() == sum(kills.values())
    return len(found.lost)


SUBSCRIBER = (sys.executable, str(FOLDER / "outbox_subscriber.py"))


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.release
def test_nothing_is_lost_that_is_kept_until_it_is_acknowledged(outbox):
    """The device's own programs, and whoever acknowledges what it has: the small run loses nothing"""
    assert lost(outbox, {"broker": 4, "hub": 4}, hub=(*SUBSCRIBER, "--ack"), hub_is_subscriber=True) == 0


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.release
def test_a_courier_that_forgets_too_early_is_found_out(outbox):
    """Who takes for delivered what it has only sent, loses events with the broker, and is told so"""
    courier = (sys.executable, str(HERE / "courier_that_forgets.py"), "courier")
    hub = (*SUBSCRIBER, "--ack")
    assert lost(outbox, {"broker": 4, "hub": 4}, courier=courier, hub=hub, hub_is_subscriber=True) > 0


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.release
def test_a_hub_that_acknowledges_too_early_is_found_out(outbox):
    """Who acknowledges what it has not committed, loses events when it is killed, and is told so"""
    assert lost(outbox, {"hub": 4}, hub=(*SUBSCRIBER, "--ack-early"), hub_is_subscriber=True) > 0
