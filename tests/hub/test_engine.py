"""The hub in virtual time: the same object as on the street, with a broker that answers from a script."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec
import pytest
from tests.hub.helpers import ROOT, SETTINGS, Ward, event

from retrowalk import wire
from retrowalk.hub import facts
from retrowalk.hub.alerts import Desk
from retrowalk.hub.settings import Hub as HubSection
from retrowalk.hub.store import Store
from retrowalk.hub.view import ask
from retrowalk.sim.broker import Outage


def test_an_event_is_stored_acknowledged_and_told(tmp_path):
    """A fall that arrives is on disk, may be forgotten by device and broker, and the first contact hears of it."""
    ward = Ward(tmp_path)
    ward.send(event(1, "fall.confirmed"))
    ward.run(0.01)
    assert ward.rows("SELECT device, epoch, seq, type FROM event") == [("home/rw-0001", "e1", 1, "fall.confirmed")]
    assert ward.acks() == [{"epoch": "e1", "seq": 1, "beyond": []}]
    assert ward.published("cmd/ack")[0].retain
    assert not ward.link.unhandled
    assert ward.told() == [("Anna", "alarm", "fall.confirmed")]


def test_what_comes_twice_is_kept_once_and_acknowledged_again(tmp_path):
    """A repeated event is counted and changes nothing; its device hears again that it was stored."""
    ward = Ward(tmp_path)
    for _ in range(3):
        ward.send(event(1, "fall.confirmed"))
        ward.run(1.0)
    assert ward.rows("SELECT count(*) FROM event") == [(1,)]
    assert ward.rows("SELECT duplicates FROM device") == [(2,)]
    assert [ack["seq"] for ack in ward.acks()] == [1, 1, 1]
    assert len(ward.told()) == 1


def test_the_same_event_of_another_epoch_is_told_once(tmp_path):
    """An event whose device lost its outbox and sends it under a new number is stored, and people hear of it once."""
    ward = Ward(tmp_path)
    ward.send(event(1, "fall.confirmed"))
    ward.run(1.0)
    ward.send(event(1, "fall.confirmed", epoch="e2", id="e1-1"))
    ward.run(1.0)
    assert ward.rows("SELECT epoch FROM event ORDER BY row") == [("e1",), ("e2",)]
    assert ward.acks()[-1] == {"epoch": "e2", "seq": 1, "beyond": []}
    assert len(ward.told()) == 1


def test_high_priority_that_overtook_is_acknowledged_first(tmp_path):
    """Events ahead of missing ones are named in the acknowledgement, the highest priority first."""
    ward = Ward(tmp_path)
    ward.send(event(3), event(9, "fall.confirmed"), event(5, "fall.suspected"), event(1))
    ward.run(0.1)
    assert ward.acks()[-1] == {"epoch": "e1", "seq": 1, "beyond": [9, 5, 3]}


def test_acknowledgements_are_put_together(tmp_path):
    """A flood of events is answered some twenty times a second, not once an event."""
    ward = Ward(tmp_path)
    for seq in range(1, 501):
        ward.send(event(seq))
        ward.run(0.002)
    ward.run(0.2)
    assert ward.acks()[-1]["seq"] == 500
    assert len(ward.acks()) <= 22


def test_a_store_that_fails_keeps_everything_back(tmp_path, monkeypatch):
    """While nothing can be written no event is acknowledged or told and the hub says `down`; then all of it follows."""
    ward = Ward(tmp_path)
    real = Store.add_event

    def full(self: Store, stored: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Store, "add_event", full)
    ward.send(event(1, "fall.confirmed"), event(2))
    ward.run(5.0)
    assert ward.acks() == []
    assert len(ward.link.unhandled) == 2
    assert ward.told() == []
    assert ward.words()[-1] == "down"
    monkeypatch.setattr(Store, "add_event", real)
    ward.run(5.0)
    assert ward.words()[-1] == "up"
    assert ward.acks()[-1]["seq"] == 2
    assert not ward.link.unhandled
    assert ward.told() == [("Anna", "alarm", "fall.confirmed")]


def test_a_failed_turn_leaves_the_desk_as_it_was(tmp_path, monkeypatch):
    """What the desk made of an event that could not be stored is forgotten with it: people hear of it once, later."""
    ward = Ward(tmp_path)
    real = Store.put

    def full(self: Store, key: str, value: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Store, "put", full)
    ward.send(event(1, "fall.confirmed"))
    ward.run(9.0)
    assert ward.desk.alerts() == ()
    monkeypatch.setattr(Store, "put", real)
    ward.run(3.0)
    assert [alert.number for alert in ward.desk.alerts()] == [1]
    assert ward.told() == [("Anna", "alarm", "fall.confirmed")]


def test_a_hub_that_is_killed_goes_on(tmp_path):
    """A notice that nobody had taken when the hub was killed is sent by the next one, and the ladder goes on."""
    ward = Ward(tmp_path)
    ward.send(event(1, "fall.confirmed"))
    ward.run(1.0)
    ward.kill()
    ward.run(30.0)
    after = Ward(tmp_path, clock=ward.clock)
    assert after.told() == [("Anna", "alarm", "fall.confirmed")]
    after.notifier.result(after.notifier.sent[0].notice, True)
    after.run(40.0)
    assert after.told()[1:] == [("Anna", "repeat", "fall.confirmed")]
    assert after.rows("SELECT state FROM notice ORDER BY notice") == [("sent",), ("waiting",)]


def test_a_notice_that_was_taken_is_not_sent_again(tmp_path):
    """What a contact's service has taken stays taken over a restart."""
    ward = Ward(tmp_path)
    ward.send(event(1, "fall.confirmed"))
    ward.run(1.0)
    ward.notifier.result(1, True, "taken")
    ward.run(1.0)
    ward.kill()
    assert Ward(tmp_path, clock=ward.clock).told() == []


def test_an_answer_stops_the_ladder_and_the_walker_hears_it(tmp_path):
    """Who answers is kept with how; the device is told, with an expiry; nobody is called again."""
    ward = Ward(tmp_path)
    ward.send(event(1, "fall.confirmed"))
    ward.run(1.0)
    ward.notifier.answer("Anna", 1)
    ward.run(200.0)
    assert ward.rows("SELECT by, alert, over, via FROM answer") == [("Anna", 1, 0, "ntfy")]
    (seen,) = ward.published("cmd/seen")
    command = wire.decode(seen.payload, wire.SeenCommand)
    assert (command.event, command.by, command.ttl_s, seen.retain) == ("e1-1", "Anna", 300, False)
    assert "repeat" not in [why for _, why, _ in ward.told()]
    assert "Ben" not in [contact for contact, _, _ in ward.told()]


def test_who_is_coming_is_heard_saying_so(tmp_path):
    """An answer that says "I am coming" has the walker told that, too."""
    ward = Ward(tmp_path)
    ward.send(event(1, "fall.confirmed"))
    ward.run(1.0)
    ward.notifier.answer("Ben", 1, say="coming")
    ward.run(1.0)
    (said,) = ward.published("cmd/say")
    command = wire.decode(said.payload, wire.SayCommand)
    assert (command.phrase, command.by) == ("coming", "Ben")
    assert len(ward.published("cmd/seen")) == 1


def test_the_command_line_answers_through_the_store(tmp_path):
    """What somebody puts into the inbox is done within half a second, and the result stands beside it."""
    ward = Ward(tmp_path)
    ward.send(event(1, "fall.confirmed"))
    ward.run(1.0)
    row = ask(tmp_path / "hub.db", "answer", {"by": "Ben", "alert": 0, "over": False}, ward.clock.wall_s())
    ward.run(0.5)
    assert ward.rows("SELECT result FROM inbox WHERE row = ?", row) == [("done",)]
    assert [alert.answered_by for alert in ward.desk.alerts()] == ["Ben"]


@pytest.mark.parametrize(
    ("kind", "form", "age_s", "result"),
    [
        pytest.param("answer", {"by": "Ben", "alert": 7}, 0.0, "not open", id="no such alert"),
        pytest.param("answer", {"by": "", "alert": 1}, 0.0, "not understood", id="nobody"),
        pytest.param("answer", {"by": "Ben", "alert": "1"}, 0.0, "not understood", id="alert in words"),
        pytest.param("locate", {"by": "Ben", "device": "home/rw-0009"}, 0.0, "no such device", id="no such device"),
        pytest.param("locate", {"by": "Ben", "device": "home/rw-0001"}, 61.0, "too late", id="long ago"),
        pytest.param("say", {"by": "Ben", "device": "home/rw-0001", "phrase": "../x"}, 0.0, "not understood", id="bad"),
        pytest.param("say", {"by": "Ben", "device": "home/rw-0001", "phrase": "coming"}, 0.0, "sent", id="sentence"),
        pytest.param("mute", {"by": "Ben", "device": "home/rw-0001"}, 0.0, "not understood", id="no such wish"),
        pytest.param("answer", {}, 0.0, "not understood", id="nothing in it"),
    ],
)
def test_a_wish_is_judged(tmp_path, kind, form, age_s, result):
    """Only what is of the closed list, whole and fresh is done; of all else the reason is told."""
    ward = Ward(tmp_path)
    ward.state("ready")
    ward.run(0.1)
    row = ask(tmp_path / "hub.db", kind, form, ward.clock.wall_s() - age_s)
    ward.run(0.5)
    assert ward.rows("SELECT result FROM inbox WHERE row = ?", row) == [(result,)]
    assert len(ward.published(f"cmd/{kind}")) == (result == "sent")


def test_a_command_waits_for_the_broker_and_expires(tmp_path):
    """Without a connection a sentence waits; when that comes too late for it, it is never said."""
    ward = Ward(tmp_path, outages=[Outage(2.0, 30.0), Outage(40.0, 200.0)])
    ward.state("ready")
    ward.run(2.0)
    ask(tmp_path / "hub.db", "say", {"by": "Ben", "device": "home/rw-0001", "phrase": "coming"}, ward.clock.wall_s())
    ward.run(30.0)
    assert len(ward.published("cmd/say")) == 1
    ward.run(10.0)
    ask(tmp_path / "hub.db", "say", {"by": "Ben", "device": "home/rw-0001", "phrase": "sit"}, ward.clock.wall_s())
    ward.run(200.0)
    assert len(ward.published("cmd/say")) == 1


def test_a_late_will_changes_nothing(tmp_path):
    """That an old connection is lost says nothing of the device; that its own is lost does."""
    ward = Ward(tmp_path)
    ward.state("walking", "c2")
    ward.run(0.1)
    ward.state("lost", "c1")
    ward.run(0.1)
    assert ward.rows("SELECT state, conn FROM device") == [("walking", "c2")]
    ward.state("lost", "c2")
    ward.run(0.1)
    assert ward.rows("SELECT state, conn FROM device") == [("lost", "c2")]


def test_the_hub_says_over_what_an_old_will_said(tmp_path):
    """A will of its old connection that comes late is followed by `up`; so is another hub's farewell."""
    ward = Ward(tmp_path)
    assert ward.words() == ["up"]
    ward.link.deliver(wire.hub_topic("home"), wire.encode({"state": "lost", "conn": "old"}), True)
    ward.run(2.0)
    assert ward.words() == ["up", "up"]
    ward.link.deliver(wire.hub_topic("home"), wire.encode({"state": "up", "conn": "of another hub"}), True)
    ward.run(5.0)
    assert ward.words() == ["up", "up"]


def test_each_site_is_told_for_itself(tmp_path):
    """Two sites have a connection, a will and a word each; a device of one is nothing to the other."""
    ward = Ward(tmp_path, settings=msgspec.structs.replace(SETTINGS, hub=HubSection(sites=("home", "ward"))))
    assert (ward.words("home"), ward.words("ward")) == (["up"], ["up"])
    assert ward.links["ward"].will is not None
    assert ward.links["ward"].will[0] == "retrowalk/v1/ward/hub/state"
    ward.send(event(1, source="retrowalk:ward/rw-0001"), device="ward/rw-0001")
    ward.run(0.1)
    assert [m.topic for m in ward.links["ward"].published][-1] == "retrowalk/v1/ward/rw-0001/cmd/ack"
    assert ward.rows("SELECT device FROM event") == [("ward/rw-0001",)]


def test_a_gap_is_asked_for_and_filled(tmp_path):
    """What the device no longer holds ready and never came is asked for, and told to people when it comes."""
    ward = Ward(tmp_path)
    ward.send(event(1))
    ward.beat(seq_head=1)
    ward.run(1.0)
    ward.send(event(4))
    ward.beat(seq_head=4)
    ward.run(10.0)
    (asked,) = ward.published("cmd/resync")
    command = wire.decode(asked.payload, wire.ResyncCommand)
    assert (command.epoch, command.first, command.last) == ("e1", 2, 3)
    assert ward.acks()[-1]["seq"] == 4
    ward.send(event(3, "fall.confirmed"), event(2))
    ward.run(100.0)
    assert ward.rows("SELECT count(*) FROM gap") == [(0,)]
    assert len(ward.published("cmd/resync")) == 1
    assert ("Anna", "alarm", "fall.confirmed") in ward.told()


def test_several_gaps_are_asked_for_at_once(tmp_path):
    """One question covers gaps that lie near each other; a device is asked no more than once a minute."""
    ward = Ward(tmp_path)
    ward.send(event(1))
    ward.beat(seq_head=1)
    ward.run(1.0)
    ward.send(event(3), event(5), event(1500))
    for _ in range(6):
        ward.beat(seq_head=1500)
        ward.run(15.0)
    asked = [wire.decode(item.payload, wire.ResyncCommand) for item in ward.published("cmd/resync")]
    assert [(one.first, one.last) for one in asked] == [(2, 4), (2, 4)]
    ward.send(event(2), event(4))
    for _ in range(6):
        ward.beat(seq_head=1500)
        ward.run(15.0)
    last = wire.decode(ward.published("cmd/resync")[2].payload, wire.ResyncCommand)
    assert (last.first, last.last) == (6, 1005)


def test_a_gap_that_nobody_can_fill_is_lost_for_good(tmp_path):
    """After three questions a gap is given up, somebody is told, and it is taken all the same when it comes."""
    ward = Ward(tmp_path)
    ward.send(event(1))
    ward.beat(seq_head=1)
    ward.run(1.0)
    for _ in range(20):
        ward.beat(seq_head=3)
        ward.run(15.0)
    assert len(ward.published("cmd/resync")) == 3
    assert ward.rows("SELECT first, last, lost FROM gap") == [(2, 3, 1)]
    assert ("Anna", "note", "events.missed") in ward.told()
    ward.send(event(2))
    ward.run(1.0)
    assert ward.rows("SELECT first, last, lost FROM gap") == [(3, 3, 0)]
    assert ward.rows("SELECT seq FROM event ORDER BY seq") == [(1,), (2,)]


def test_of_a_long_gap_only_what_was_asked_for_is_given_up(tmp_path):
    """A gap longer than one question is given up piece by piece."""
    ward = Ward(tmp_path)
    ward.send(event(1))
    ward.beat(seq_head=1)
    ward.run(1.0)
    for _ in range(18):
        ward.beat(seq_head=1501)
        ward.run(15.0)
    assert ward.rows("SELECT first, last, lost FROM gap ORDER BY first") == [(2, 1001, 1), (1002, 1501, 0)]


def test_what_still_waits_on_the_device_is_no_gap(tmp_path):
    """Numbers that the device will send by itself are not asked for, however long it takes."""
    ward = Ward(tmp_path)
    ward.send(event(1))
    ward.beat(seq_head=1)
    ward.run(1.0)
    ward.send(event(50, "fall.confirmed"))
    for _ in range(10):
        ward.beat(seq_head=50, seq_low=2, outbox_depth=48)
        ward.run(15.0)
    assert ward.published("cmd/resync") == []
    assert ward.acks()[-1] == {"epoch": "e1", "seq": 1, "beyond": [50]}


def test_a_new_hub_does_not_ask_for_years(tmp_path):
    """Of a device heard for the first time, what it delivered before is not this hub's affair."""
    ward = Ward(tmp_path)
    ward.send(event(5001))
    ward.beat(seq_head=5001)
    ward.run(30.0)
    assert ward.published("cmd/resync") == []
    assert ward.acks()[-1] == {"epoch": "e1", "seq": 5001, "beyond": []}


@pytest.mark.parametrize(
    ("leaf", "payload"),
    [
        pytest.param("event/fall.confirmed", b"", id="empty"),
        pytest.param("event/fall.confirmed", b"\xff\xfe\x00", id="no text"),
        pytest.param("event/fall.confirmed", b"[" * 50_000, id="brackets without end"),
        pytest.param("event/fall.confirmed", b'{"id":"x"}', id="no number"),
        pytest.param("event/fall.confirmed", wire.encode(event(2) | {"seq": 0}), id="number nought"),
        pytest.param("event/fall.confirmed", wire.encode(event(2) | {"seq": 2**63}), id="number without end"),
        pytest.param("event/fall.confirmed", wire.encode(event(2, source="retrowalk:home/rw-0002")), id="of another"),
        pytest.param("event/fall.confirmed", wire.encode(event(2, data={"a": "x" * 70_000})), id="too long"),
        pytest.param("state", b'{"state":7}', id="state"),
        pytest.param("heartbeat", b'{"conn":"c1"}', id="heartbeat"),
        pytest.param("telemetry", b"{}", id="unknown topic"),
    ],
)
def test_what_fits_nowhere_is_kept_aside(tmp_path, leaf, payload):
    """Bad messages are shown, cut to 1 KiB, and neither stop the hub nor the good ones beside them."""
    ward = Ward(tmp_path)
    ward.send(event(1))
    ward.run(0.1)
    ward.link.deliver(f"{ROOT}/{leaf}", payload)
    ward.send(event(2))
    ward.run(3.0)
    assert ward.rows("SELECT topic, length(payload) <= 1024 FROM odd") == [(f"{ROOT}/{leaf}", 1)]
    assert ward.rows("SELECT seq FROM event ORDER BY seq") == [(1,), (2,)]
    assert not ward.link.unhandled


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"eventtype": "knee.hurts"}, id="type"),
        pytest.param({"priority": "apocalyptic"}, id="priority"),
        pytest.param({"colour": "green"}, id="field"),
        pytest.param({"clock": 7, "monoms": "soon"}, id="fields of another kind"),
        pytest.param({"data": [1, 2]}, id="data of another kind"),
        pytest.param({"data": {"n": 10**30}}, id="a number of thirty digits"),
    ],
)
def test_what_is_unknown_is_stored(tmp_path, changes):
    """Unknown types, priorities and fields are no reason to refuse an event."""
    ward = Ward(tmp_path)
    ward.send(event(1) | changes)
    ward.run(0.1)
    assert ward.rows("SELECT seq, type, priority FROM event") == [
        (1, changes.get("eventtype", "hazard.raised"), changes.get("priority", "none"))
    ]
    assert ward.acks()[-1]["seq"] == 1


class Brittle(Desk):
    """A desk that cannot cope with some events."""

    def feed(self, item: facts.Item) -> tuple[facts.Outcome, ...]:
        if isinstance(item, facts.EventCame) and "poison" in item.data:
            raise ZeroDivisionError("a mistake of ours")
        return super().feed(item)


def test_a_mistake_of_ours_costs_one_event_at_most(tmp_path):
    """An event that this program cannot cope with is stored and told as unread; the others of the batch go through."""
    desk = Brittle(SETTINGS.contact, SETTINGS.ladder, SETTINGS.silence)
    ward = Ward(tmp_path, desk=desk)
    ward.send(event(1, "fall.confirmed"), event(2, "sos.raised", data={"poison": 1}), event(3))
    ward.run(5.0)
    assert ward.rows("SELECT seq FROM event ORDER BY seq") == [(1,), (2,), (3,)]
    assert ward.acks()[-1]["seq"] == 3
    assert ("Anna", "alarm", "fall.confirmed") in ward.told()
    assert ("Anna", "note", "event.unread") in ward.told()


def test_a_silent_device_is_paged_for(tmp_path):
    """A walker's device that says nothing is noticed by the deadline, and the alert ends when it speaks again."""
    ward = Ward(tmp_path)
    ward.state("walking")
    for _ in range(4):
        ward.beat()
        ward.run(15.0)
    ward.run(190.0)
    assert [alert.kind for alert in ward.desk.alerts()] == [facts.Kind.SILENT]
    for _ in range(6):
        ward.beat()
        ward.run(15.0)
    assert ward.desk.alerts() == ()


def test_a_clean_stop_says_down(tmp_path):
    """Whoever ends the hub on purpose leaves `down` at the broker, and the link ends without its will."""
    ward = Ward(tmp_path)
    ward.hub.begin_stop(ward.clock.now())
    ward.run(0.5)
    assert ward.hub.stopped(ward.clock.now())
    ward.hub.close()
    assert ward.words() == ["up", "down"]
    assert ward.link.stopped
    assert ward.notifier.closed


def test_a_damaged_store_is_told_and_alerts_survive(tmp_path):
    """A store found damaged at the start is moved aside, somebody hears of it, and no number is used twice."""
    ward = Ward(tmp_path)
    ward.send(event(1, "fall.confirmed"))
    ward.run(1.0)
    ward.hub.close()
    file = tmp_path / "hub.db"
    content = bytearray(file.read_bytes())
    content[100:400] = bytes(300)  # the first page's tables
    file.write_bytes(content)
    after = Ward(tmp_path, clock=ward.clock)
    assert after.store.damaged == 1
    assert ("Anna", "note", "store.damaged") in after.told()
    after.send(event(2))
    after.run(1.0)
    assert after.rows("SELECT count(*) >= 1 FROM event") == [(1,)]


def test_a_number_that_is_used_twice_hides_no_fall(tmp_path):
    """A card that lost its last commits numbers a fall as an event that the hub has: it is stored and told all the
    same, once, since the device lets it go when it hears that the number has come.
    """
    ward = Ward(tmp_path)
    ward.send(*(event(seq) for seq in range(1, 5)))
    ward.run(1.0)
    for _ in range(2):
        ward.send(event(3, "fall.confirmed", id="another"))
        ward.run(1.0)
    assert ward.rows("SELECT id FROM event WHERE type = 'fall.confirmed'") == [("another",)]
    assert ward.told() == [("Anna", "alarm", "fall.confirmed")]
    ward.send(event(3, "sos.raised", id="a third"))
    ward.run(1.0)
    assert len(ward.rows("SELECT topic FROM odd")) == 1


def test_a_hub_that_cannot_write_does_not_count_as_alive(tmp_path, monkeypatch):
    """It asks the notifier for nothing, by which whoever watches over the hub is told that it lives."""
    ward = Ward(tmp_path)
    asked: list[float] = []

    def results() -> list[Any]:
        asked.append(ward.clock.now())
        return []

    monkeypatch.setattr(ward.notifier, "results", results)
    real = Store.put

    def full(self: Store, key: str, value: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Store, "put", full)
    ward.send(event(1, "fall.confirmed"))
    ward.run(1.0)
    asked.clear()
    ward.run(60.0)
    assert asked == []
    monkeypatch.setattr(Store, "put", real)
    ward.run(5.0)
    assert asked


@pytest.mark.parametrize(
    ("beat", "changes", "age_s"),
    [
        pytest.param({"monoms": 500_000}, {"monoms": 440_000, "historical": True}, 60.0, id="same boot"),
        pytest.param({"monoms": 500_000}, {"monoms": 900_000}, 0.0, id="later than now"),
        pytest.param({"monoms": 2**62}, {"monoms": 440_000}, None, id="sign of life that cannot be"),
        pytest.param({"boot": "boot-2"}, {}, None, id="another boot"),
        pytest.param(None, {}, None, id="never heard"),
    ],
)
def test_the_hub_reckons_when_it_happened(tmp_path, beat, changes, age_s):
    """Where the device's clock is not set, the monotonic times of event and sign of life say how long ago it was."""
    ward = Ward(tmp_path)
    ward.run(30.0)
    if beat is not None:
        ward.beat(**beat)
        ward.run(0.01)
    ward.send(event(1, "fall.confirmed", clock="unset", time="1970-01-01T00:07:20Z", **changes))
    ward.run(10.0)
    ((notice,),) = (ward.notifier.sent,)
    found = notice.alert.happened_s
    age = None if found is None else notice.alert.opened_s - found
    assert age is None if age_s is None else age == pytest.approx(age_s, abs=0.1)


def test_a_lost_connection_stands_among_the_events(tmp_path):
    """The broker's word that a connection broke off, and its return, are kept with their times; nobody is told."""
    ward = Ward(tmp_path)
    ward.beat()
    ward.state("walking")
    ward.run(12.0)
    ward.state("lost")
    ward.state("lost")
    ward.run(5.0)
    ward.state("walking", "c2")
    ward.state("walking", "c2")
    ward.run(1.0)
    rows = ward.rows(
        "SELECT type, priority, data, CAST(received_wall_s - 1800000000 AS INTEGER) FROM event ORDER BY row"
    )
    assert rows == [
        ("connection.lost", "none", '{"silent_s":12}', 12),
        ("connection.back", "none", '{"silent_s":17}', 17),
    ]
    assert ward.told() == []
    assert ward.acks() == []


@pytest.mark.slow
def test_what_was_never_taken_waits_no_longer(tmp_path):
    """A notice whose time is over is shown as missed, and not as one that is still on its way."""
    ward = Ward(tmp_path)
    ward.send(event(1, "fall.confirmed"))
    ward.run(1.0)
    ward.notifier.result(1, False, "ntfy: not reached")
    ward.run(3700.0)
    assert ward.rows("SELECT state FROM notice WHERE notice = 1") == [("missed",)]
