"""The courier in virtual time: the same object as on the street, with a broker that answers from a script."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.courier.helpers import ROOT, Street, event, numbers, records, session_message

from retrowalk import wire
from retrowalk.config import Broker
from retrowalk.courier import recording
from retrowalk.courier.outbox import Outbox
from retrowalk.courier.times import timestamp
from retrowalk.sim.broker import Incoming, Outage
from retrowalk.sim.scheduler import VirtualClock


def test_an_event_is_published_as_cloud_event(tmp_path):
    """An event reaches the broker as CloudEvents JSON under its own type, not retained, and the guard is told."""
    street = Street(tmp_path)
    street.send(session_message(), event(1, "fall.confirmed", t_s=0.0, fall=1))
    street.run_until(1.0)
    (message,) = street.published("event/")
    assert (message.topic, message.retain, message.qos) == (f"{ROOT}/event/fall.confirmed", False, 1)
    envelope = json.loads(message.payload)
    assert len(envelope.pop("id")) == 26
    assert envelope == {
        "specversion": "1.0",
        "source": "retrowalk:home/rw-0001",
        "type": "io.retrowalk.fall.confirmed",
        "time": "2027-01-15T08:00:00.000Z",
        "datacontenttype": "application/json",
        "priority": "high",
        "eventtype": "fall.confirmed",
        "epoch": street.outbox.epoch,
        "seq": 1,
        "bootid": "boot-1",
        "monoms": 0,
        "clock": "ntp",
        "session": "s1",
        "historical": False,
        "data": {"fall": 1},
    }
    assert street.told(wire.CommittedMessage) == [wire.CommittedMessage("s1", 1)]
    assert street.told(wire.DeliveredMessage) == [wire.DeliveredMessage("s1", 1, 1)]
    assert street.outbox.waiting(1.0) == 0


def test_nothing_is_announced_that_is_not_on_disk(tmp_path):
    """While the outbox cannot be written the event stays with the guard, is not published, and the fault is told."""
    (tmp_path / "full").write_text("a file where the outbox's directory should be")
    street = Street(tmp_path, outbox=Outbox(tmp_path / "full" / "outbox.db"))
    street.run_until(0.5)
    street.send(event(1, "fall.confirmed"))
    street.run_until(8.0)
    assert street.events() == []
    assert street.told(wire.CommittedMessage) == []
    assert street.faults() == "outbox"
    (tmp_path / "full").unlink()
    street.run_until(11.0)
    street.send(event(1, "fall.confirmed"))  # the guard tries again
    street.run_until(13.0)
    assert [item["eventtype"] for item in street.events()] == ["fall.confirmed"]
    assert street.told(wire.CommittedMessage) == [wire.CommittedMessage("s1", 1)]
    assert street.faults() == ""


def test_a_fall_does_not_wait_for_what_piled_up(tmp_path):
    """After an outage the highest priority goes first, then the oldest."""
    street = Street(tmp_path, outages=[Outage(0.0, 100.0)])
    for number in range(1, 101):
        street.send(event(number))
        street.run_until(number * 0.5)
    street.send(event(101, "walk.ended"), event(102, "fall.confirmed"))
    street.run_until(200.0)
    assert numbers(street.events())[:3] == [102, 101, 1]
    assert numbers(street.events())[3:] == list(range(2, 101))


@pytest.mark.parametrize("seed", range(5))
def test_outages_lose_nothing(tmp_path, seed):
    """Whenever the broker goes and comes, every event arrives, and what arrives twice has the same id and content."""
    rng = random.Random(seed)
    starts = sorted(rng.uniform(0.0, 60.0) for _ in range(6))
    street = Street(tmp_path, outages=[Outage(t, t + rng.uniform(0.05, 8.0)) for t in starts])
    for number in range(1, 301):
        street.send(event(number, rng.choice(["hazard.raised", "sensor.lost", "fall.confirmed"]), t_s=number * 0.2))
        street.run_until(number * 0.2)
    street.run_until(120.0)
    by_seq: dict[int, set[str]] = {}
    for item in street.events():
        by_seq.setdefault(item["seq"], set()).add(item["id"])
    assert sorted(by_seq) == list(range(1, 301))
    assert all(len(ids) == 1 for ids in by_seq.values())
    assert street.told(wire.CommittedMessage)[-1].number == 300
    assert street.told(wire.DeliveredMessage)[-1].number == 300
    assert street.outbox.waiting(120.0) == 0


def test_a_refused_event_is_kept_and_told(tmp_path):
    """An event the broker refuses (an ACL) stays, is a fault, is tried again, and is delivered once it may be."""
    allowed: list[bool] = []
    street = Street(tmp_path, answer=lambda topic: 0 if allowed or "/event/" not in topic else 0x87)
    street.send(event(1, "sos.raised"))
    street.run_until(60.0)
    assert street.outbox.waiting(60.0) == 1
    assert street.faults() == "broker"
    assert street.told(wire.DeliveredMessage) == []
    assert 3 <= len(street.events()) <= 6, "tried again, less and less often"
    allowed.append(True)
    street.run_until(240.0)
    assert street.outbox.waiting(240.0) == 0
    assert street.faults() == ""
    assert len({item["id"] for item in street.events()}) == 1


def test_an_unanswered_event_is_sent_again_and_the_connection_renewed(tmp_path):
    """Unanswered for 10 s an event goes out again under its id; if that stays unanswered, over a new connection."""
    street = Street(tmp_path, answer=lambda topic: 0 if "/event/" not in topic else None)
    street.send(event(1, "fall.confirmed"))
    street.run_until(35.0)
    sent = street.published("event/")
    assert [round(message.t, 1) for message in sent] == [0.1, 10.1, 20.1, 30.1]
    assert len({json.loads(message.payload)["id"] for message in sent}) == 1
    assert street.link.connections == 2
    assert street.outbox.waiting(35.0) == 1


def test_state_topic_follows_the_walk(tmp_path):
    """`state` is retained and says ready, walking, ready, and disconnected at a clean end, with the will's conn id."""
    street = Street(tmp_path)
    street.run_until(0.5)
    street.send(event(1, "walk.started"))
    street.run_until(1.0)
    street.send(event(2, "walk.ended"))
    street.run_until(2.0)
    street.courier.close()
    said = [json.loads(message.payload) for message in street.published("state")]
    assert [item["state"] for item in said] == ["ready", "walking", "ready", "disconnected"]
    assert all(message.retain and message.qos == 1 for message in street.published("state"))
    assert street.link.will is not None
    topic, will = street.link.will
    assert topic == f"{ROOT}/state"
    assert json.loads(will) == {"state": "lost", "conn": said[0]["conn"], "boot": "boot-1"}
    assert street.link.stopped


def test_each_connection_has_its_own_id(tmp_path):
    """A will that comes late cannot be taken for the next connection's: the id changes, will and state agree."""
    street = Street(tmp_path, outages=[Outage(5.0, 6.0)])
    street.run_until(1.0)
    assert street.link.will is not None
    first = json.loads(street.link.will[1])["conn"]
    street.run_until(10.0)
    states = [json.loads(message.payload)["conn"] for message in street.published("state")]
    assert json.loads(street.link.will[1])["conn"] == states[-1]
    assert states[0] == first != states[-1]


def test_a_courier_that_starts_in_mid_walk_is_looked_for(tmp_path):
    """After a restart the guard's state stands for the walk, so that a device that falls silent is missed."""
    street = Street(tmp_path)
    street.send(wire.KeepAlive(0.0, "guarding"))
    street.run_until(1.0)
    assert json.loads(street.published("state")[-1].payload)["state"] == "walking"


ALERT_STORIES = [
    pytest.param(["fall.suspected"], "fall.suspected", id="suspected"),
    pytest.param(["fall.suspected", "fall.confirmed"], "fall.confirmed", id="confirmed"),
    pytest.param(["fall.suspected", "fall.cancelled"], None, id="cancelled"),
    pytest.param(["sos.raised", "fall.suspected"], "sos.raised", id="sos outranks a suspicion"),
    pytest.param(["sos.raised", "fall.confirmed", "fall.cancelled"], "sos.raised", id="sos stays open"),
    pytest.param(["sos.raised", "sos.cancelled", "hazard.raised"], None, id="all clear"),
]


@pytest.mark.parametrize(("story", "open_alert"), ALERT_STORIES)
@pytest.mark.parametrize("restart", [False, True], ids=["one courier", "courier restarted"])
def test_alert_topic_holds_the_open_alert(tmp_path, story, open_alert, restart):
    """Whoever comes late sees the open alert, also after the courier was restarted."""
    street = Street(tmp_path)
    for number, kind in enumerate(story, 1):
        street.send(event(number, kind))
        street.run_until(number)
    if restart:
        street.kill()
        street = Street(tmp_path)
        street.run_until(1.0)
    message = street.published("alert")[-1]
    assert message.retain
    assert json.loads(message.payload).get("type") == open_alert


def test_heartbeat_tells_depth_and_guard_state(tmp_path):
    """Every 15 s, QoS 0, not retained: how much waits, what the guard says, what the clock is worth."""
    street = Street(tmp_path, answer=lambda topic: 0x87 if "/event/" in topic else 0)
    street.send(event(1), event(2))
    for tenth in range(400):
        street.send(wire.KeepAlive(tenth / 10, "guarding"))
        street.run_until(tenth / 10)
    beats = street.published("heartbeat")
    assert [round(beat.t, 2) for beat in beats] == [0.05, 15.05, 30.05]
    assert all(beat.qos == 0 and not beat.retain for beat in beats)
    said = json.loads(beats[-1].payload)
    assert (said["seq_head"], said["outbox_depth"], said["guard_state"]) == (2, 2, "guarding")
    assert (said["clock"], said["faults"], said["epoch"]) == ("ntp", ["broker"], street.outbox.epoch)
    street.run_until(60.0)
    assert json.loads(street.published("heartbeat")[-1].payload)["guard_state"] == "silent"


def test_beat_comes_each_second_and_on_change(tmp_path):
    """The guard hears of the courier each second, and at once when the connection changes."""
    street = Street(tmp_path, outages=[Outage(2.5, 20.0)])
    seen = []
    for tenth in range(1, 150):
        street.run_until(tenth / 10)
        seen += [(tenth / 10, beat.connected, beat.fault) for beat in street.told(wire.CourierBeat)]
        street.inbox.clear()
    changes = [(t, *news) for (_, *old), (t, *news) in itertools.pairwise(seen) if news != old]
    assert changes == [(0.1, True, ""), (2.5, False, ""), (7.5, False, "broker")]
    gaps = [later[0] - earlier[0] for earlier, later in itertools.pairwise(seen)]
    assert max(gaps) <= 1.1


def test_no_broker_configured_is_said(tmp_path):
    """Without a broker events are kept on disk and the device says that no messages go out."""
    street = Street(tmp_path, linked=False)
    street.send(event(1))
    street.run_until(2.0)
    assert street.faults() == "broker"
    assert street.outbox.waiting(2.0) == 1


def test_state_is_kept_for_power_cuts(tmp_path):
    """The guard's state lies on disk, whole, and is given back after a boot."""
    street = Street(tmp_path)
    street.send(wire.StateRequest())
    street.run_until(0.1)
    assert street.told(wire.StateMessage) == [wire.StateMessage(b"")]
    for number in range(50):
        street.send(wire.StateMessage(b"state %d \x00\xff" % number))
        street.run_until(0.2 + number * 0.05)
    street.run_until(5.0)
    street.kill()
    again = Street(tmp_path)
    again.send(wire.StateRequest())
    again.run_until(0.1)
    assert again.told(wire.StateMessage) == [wire.StateMessage(b"state 49 \x00\xff")]
    assert [path.name for path in tmp_path.glob("guard.state*")] == ["guard.state"]


def test_a_state_file_that_cannot_be_written_is_a_fault(tmp_path):
    """The state is tried again until it is on disk, and meanwhile the guard knows."""
    (tmp_path / "guard.state").mkdir()
    street = Street(tmp_path)
    street.send(wire.StateMessage(b"x"))
    street.run_until(2.0)
    assert street.faults() == "state"
    (tmp_path / "guard.state").rmdir()
    street.run_until(4.0)
    assert street.faults() == ""
    assert (tmp_path / "guard.state").read_bytes() == b"x"


def test_handing_over_again_changes_nothing(tmp_path):
    """Events handed over again, also to a restarted courier, are answered again and published once."""
    street = Street(tmp_path)
    story = [event(number, "sensor.lost") for number in range(1, 6)]
    street.send(*story)
    street.run_until(1.0)
    street.send(*story)
    street.run_until(2.0)
    street.kill()
    again = Street(tmp_path)
    again.send(*story, event(6))
    again.run_until(1.0)
    assert again.told(wire.CommittedMessage)[-1] == wire.CommittedMessage("s1", 6)
    assert again.told(wire.DeliveredMessage)[-1] == wire.DeliveredMessage("s1", 6)
    assert numbers(street.events() + again.events()) == [1, 2, 3, 4, 5, 6]


def test_a_lost_hand_over_is_not_answered(tmp_path):
    """An event that did not arrive holds back the answer for those after it, until the guard hands it over again."""
    street = Street(tmp_path)
    street.send(event(1), event(3))
    street.run_until(1.0)
    assert street.told(wire.CommittedMessage)[-1].number == 1
    street.send(event(2), event(3))
    street.run_until(2.0)
    assert street.told(wire.CommittedMessage)[-1].number == 3
    assert sorted(item["monoms"] for item in street.events()) == [1000] * 3, "each published once"


def test_what_the_guard_gave_up_does_not_hold_back_the_rest(tmp_path):
    """A guard that was restarted hands over only what matters: the second time it is answered, and published once."""
    street = Street(tmp_path)
    for t in range(4):
        street.send(event(37, "fall.confirmed"), event(52, "sos.raised"))
        street.run_until(t + 1.0)
    assert street.told(wire.CommittedMessage)[-1].number == 52
    assert len(street.events()) == 2


def test_an_old_event_is_marked(tmp_path):
    """Sent more than ten minutes late, or in another boot, an event is one of the past; its time is still its own."""
    street = Street(tmp_path, outages=[Outage(0.0, 700.0)])
    street.send(event(1, t_s=0.0))
    street.run_until(650.0)
    street.send(event(2, t_s=649.0), event(3, session="old", t_s=90_000.0))
    street.run_until(710.0)
    found = {item["monoms"]: item for item in street.events()}
    assert [found[key]["historical"] for key in (0, 649_000, 90_000_000)] == [True, False, True]
    assert found[649_000]["time"] == "2027-01-15T08:10:49.000Z"
    assert (found[90_000_000]["bootid"], found[90_000_000]["clock"]) == ("unknown", "unset")


def test_a_clock_that_is_set_later_mends_the_time(tmp_path):
    """An event of before the clock was set gets its right time when it is sent after."""
    quality = ["unset"]
    clock = VirtualClock(wall_origin_s=1000.0)
    street = Street(tmp_path, clock=clock, quality=lambda _: quality[0], outages=[Outage(0.0, 50.0)])
    street.send(event(1, t_s=0.0))
    street.run_until(20.0)
    clock._wall_origin_s = 1_800_000_000.0
    quality[0] = "ntp"
    street.run_until(60.0)
    (envelope,) = street.events()
    assert (envelope["time"], envelope["clock"]) == ("2027-01-15T08:00:00.000Z", "ntp")


@pytest.mark.parametrize("wall_s", [-1e18, -1.0, 0.0, 1.8e9, 1e18, float("inf"), float("nan")])
def test_any_clock_can_be_written(wall_s):
    """Whatever the clock shows, there is a time stamp."""
    assert timestamp(wall_s).endswith("Z")


# ------------------------------------------------------------------------------------------------- commands


@given(
    messages=st.lists(
        st.tuples(
            st.one_of(st.text(max_size=20), st.sampled_from(["cmd/ack", "cmd/seen", "cmd/", "cmd/say"])),
            st.one_of(
                st.binary(max_size=200),
                st.recursive(
                    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
                    lambda inner: (
                        st.lists(inner, max_size=3)
                        | st.dictionaries(st.sampled_from(["epoch", "seq", "id", "by"]) | st.text(max_size=5), inner)
                    ),
                    max_leaves=6,
                ).map(lambda value: json.dumps(value).encode()),
            ),
            st.booleans(),
        ),
        max_size=8,
    ),
    hub=st.booleans(),
)
@settings(max_examples=80, deadline=None)
@pytest.mark.slow
def test_no_stranger_can_disturb_the_courier(messages, hub):
    """Arbitrary topics and bytes never raise and never delete an event that the broker does not have."""
    with tempfile.TemporaryDirectory() as directory:
        incoming = [
            Incoming(0.2 + 3 * index, f"{ROOT}/{topic}", payload, retained)
            for index, (topic, payload, retained) in enumerate(messages)
        ]
        street = Street(
            Path(directory),
            broker=Broker(hub="required" if hub else "none"),
            incoming=incoming,
            answer=lambda topic: None if "/event/" in topic else 0,
        )
        street.send(event(1, "fall.confirmed"))
        street.run_until(30.0)
        assert street.outbox.waiting(30.0) == 1
        street.kill()


@given(datagrams=st.lists(st.binary(max_size=100), max_size=10))
@settings(max_examples=50, deadline=None)
@pytest.mark.slow
def test_no_datagram_can_disturb_the_courier(datagrams):
    """What is no local message is counted, nothing more."""
    with tempfile.TemporaryDirectory() as directory:
        street = Street(Path(directory))
        for datagram in datagrams:
            street.guard.send("courier", datagram)
        street.run_until(2.0)
        assert street.courier.rejected == len(datagrams)
        street.kill()


# -------------------------------------------------------------------------------------------------- hub ack


def hub_street(directory, *acks):
    """A courier that keeps events until a hub has them."""
    incoming = [Incoming(t, f"{ROOT}/cmd/ack", json.dumps(ack).encode(), retained) for t, ack, retained in acks]
    return Street(directory, broker=Broker(hub="required"), incoming=incoming)


def test_an_event_is_kept_until_the_hub_has_it(tmp_path):
    """The broker's answer alone delivers nothing; the hub's cumulative one does, retained or not."""
    epoch = Street(tmp_path / "probe").outbox.epoch
    street = hub_street(tmp_path, (5.0, {"epoch": epoch, "seq": 2}, True))
    street.send(*[event(number) for number in (1, 2, 3)])
    street.run_until(4.0)
    assert street.outbox.waiting(4.0) == 3
    assert street.told(wire.DeliveredMessage) == []
    street.run_until(6.0)
    assert street.outbox.waiting(6.0) == 1
    assert street.told(wire.DeliveredMessage) == [wire.DeliveredMessage("s1", 2)]
    street.run_until(60.0)
    assert numbers(street.events()).count(3) >= 3, "sent again until the hub has it"


@pytest.mark.parametrize(
    "ack",
    [
        pytest.param({"epoch": "of another file", "seq": 1}, id="another epoch"),
        pytest.param({"epoch": "", "seq": 10**6}, id="beyond what was sent"),
        pytest.param({"epoch": "", "seq": -1}, id="negative"),
        pytest.param({"seq": 1}, id="no epoch"),
    ],
)
def test_a_hub_that_lies_deletes_nothing(tmp_path, ack):
    """Only what the broker has acknowledged, in this epoch, can be at the hub."""
    if ack.get("epoch") == "":
        ack = {**ack, "epoch": Street(tmp_path / "probe").outbox.epoch}
    street = hub_street(tmp_path, (2.0, ack, False))
    street.send(event(1))
    street.run_until(4.0)
    assert street.outbox.waiting(4.0) == 1
    assert street.courier.rejected == 1


# ------------------------------------------------------------------------------------------------ recording


def test_the_session_is_recorded(tmp_path):
    """Records go to a file that begins with the session."""
    street = Street(tmp_path)
    street.send(session_message(), wire.RecordsMessage("s1", records(100)))
    street.run_until(1.0)
    assert street.told(wire.CourierBeat)[-1].recording
    street.courier.close()
    (path,) = (tmp_path / "recordings").glob("*.mcap")
    found = recording.read(path)
    assert (found.session.session, len(found.entries), found.complete) == ("s1", 100, True)


def test_a_restarted_courier_continues_the_recording(tmp_path):
    """The guard need not say again who it is: the next part begins, and both read as one."""
    street = Street(tmp_path)
    street.send(session_message(), wire.RecordsMessage("s1", records(100)))
    street.run_until(10.0)
    street.kill()
    again = Street(tmp_path)
    again.send(wire.RecordsMessage("s1", records(50, first=101)))
    again.run_until(1.0)
    again.courier.close()
    found = recording.read(tmp_path / "recordings")
    assert [entry.sequence for entry in found.entries] == list(range(1, 151))
    assert "truncated" in found.problem


# ------------------------------------------------------------------------------------------------- overall


def test_equal_input_is_published_equally(tmp_path):
    """Two runs of one story publish the same bytes at the same times."""
    runs = []
    for name in ("one", "two"):
        street = Street(tmp_path / name, outages=[Outage(3.0, 5.0), Outage(9.0, 30.0)])
        for number in range(1, 60):
            street.send(event(number, "sensor.lost" if number % 7 else "fall.suspected", t_s=number * 0.3))
            street.run_until(number * 0.3)
        street.run_until(90.0)
        runs.append(street.link.published)
    assert runs[0] == runs[1]
    assert len(runs[0]) > 60


@pytest.mark.slow
def test_a_full_outbox_reports_what_it_dropped(tmp_path):
    """Beyond its size the oldest unimportant events go, a fall stays, and the loss is itself an event."""
    outbox = Outbox(tmp_path / "outbox.db", rng=random.Random(1), max_bytes=100_000)
    street = Street(tmp_path, outbox=outbox, outages=[Outage(0.0, 100.0)])
    street.send(event(1, "fall.confirmed"))
    for number in range(2, 1000):
        street.send(event(number, text="x" * 50))
        street.run_until(number * 0.05)
    street.run_until(150.0)
    kinds = [item["eventtype"] for item in street.events()]
    reports = [item["data"] for item in street.events() if item["eventtype"] == "fault.raised"]
    assert kinds[:2] == ["fall.confirmed", "fault.raised"]
    assert {report["fault"] for report in reports} == {"outbox_full"}
    told = [int(report["detail"].split()[0]) for report in reports]
    assert sum(told) == outbox.dropped > 500, "every one is told of, once"
    assert len(told) <= 3
    assert kinds.count("hazard.raised") == 998 - outbox.dropped
    assert street.told(wire.CommittedMessage)[-1].number == 999
