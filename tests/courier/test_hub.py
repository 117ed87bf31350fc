"""The courier and its hub: who decides what is delivered, whether anybody watches, and what is told of it."""

from __future__ import annotations

import json
import random
from contextlib import closing

import pytest
from tests.courier.helpers import ROOT, STAMP, Street, event, numbers, session_message

from retrowalk import wire
from retrowalk.config import Broker
from retrowalk.courier.outbox import Outbox
from retrowalk.sim.broker import Hub, Incoming, Outage
from retrowalk.sim.scheduler import VirtualClock

HUB = "retrowalk/v1/home/hub/state"


def hub_says(t: float, state: str, conn: str = "h1", *, retained: bool = False) -> Incoming:
    return Incoming(t, HUB, wire.encode(wire.HubState(state=state, conn=conn)), retained)


def words(street: Street) -> list[str]:
    """What the guard was told of the hub, each change once."""
    found: list[str] = []
    for beat in street.told(wire.CourierBeat):
        if found[-1:] != [beat.hub]:
            found.append(beat.hub)
    return found


# ---------------------------------------------------------------------------------------------- who decides


def test_without_a_hub_the_broker_decides(tmp_path):
    """Nobody has heard of a hub: what the broker took is delivered, and nobody misses one."""
    street = Street(tmp_path)
    street.send(event(1), event(2, "fall.confirmed"))
    street.run_until(5.0)
    assert street.outbox.waiting(5.0) == 0
    assert words(street) == [""]


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param(lambda epoch: hub_says(2.0, "up", retained=True), id="its state, kept by the broker"),
        pytest.param(lambda epoch: hub_says(2.0, "lost", retained=True), id="its will"),
        pytest.param(
            lambda epoch: Incoming(2.0, f"{ROOT}/cmd/ack", wire.encode(wire.HubAck(epoch, 1)), True), id="its ack"
        ),
    ],
)
def test_a_hub_that_was_heard_of_decides_from_then_on(tmp_path, sign):
    """Also for the next courier: nothing is delivered on the broker's word alone any more."""
    epoch = Outbox(tmp_path / "outbox.db", owner="home/rw-0001", rng=random.Random(1)).epoch
    street = Street(tmp_path, incoming=[sign(epoch)])
    street.send(event(1))
    street.run_until(1.0)
    assert street.outbox.waiting(1.0) == 0
    street.run_until(3.0)
    street.send(event(2))
    street.run_until(4.0)
    assert street.outbox.waiting(4.0) == 1
    street.kill()
    again = Street(tmp_path)
    again.send(event(3))
    again.run_until(4.0)
    assert again.outbox.waiting(4.0) == 2
    assert words(again)[-1] == "away"
    again.kill()
    told_otherwise = Street(tmp_path, broker=Broker(hub="none"))
    told_otherwise.run_until(4.0)
    assert told_otherwise.outbox.waiting(4.0) == 0, "whoever has given up the hub says so in the configuration"


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[]", b'{"state":"here","conn":"1"}', b'{"state":"up"}', b"\xff", b'{"state":1,"conn":"1"}'],
    ids=["empty", "no fields", "list", "unknown word", "no conn", "not text", "number"],
)
def test_no_hub_is_heard_of_in_nonsense(tmp_path, payload):
    """What does not read as a hub's state changes nothing, and is counted."""
    street = Street(tmp_path, incoming=[Incoming(1.0, HUB, payload, True)])
    street.send(event(1))
    street.run_until(3.0)
    assert street.outbox.waiting(3.0) == 0
    assert street.courier.rejected == 1


def test_a_hub_that_comes_in_mid_run_loses_nothing(tmp_path):
    """From the broker's word to the hub's while events flow: each is with one of them, none is left."""
    street = Street(tmp_path, hub=Hub(outages=(Outage(0.0, 10.0),)), answer_s=0.3)
    for number in range(1, 60):
        street.send(event(number, "sensor.lost"))
        street.run_until(number * 0.4)
    street.run_until(60.0)
    assert street.outbox.waiting(60.0) == 0
    assert set(numbers(street.events())) == set(range(1, 60))


# -------------------------------------------------------------------------------------------- is it there?


def test_the_walker_can_hear_whether_anybody_watches(tmp_path):
    """Up, away while it is lost, up again; each change reaches the guard at once."""
    street = Street(tmp_path, hub=Hub(outages=(Outage(10.0, 20.0),)))
    street.run_until(9.9)
    assert street.told(wire.CourierBeat)[-1].hub == "up"
    street.run_until(10.1)
    assert street.told(wire.CourierBeat)[-1].hub == "away"
    street.run_until(20.1)
    assert street.told(wire.CourierBeat)[-1].hub == "up"
    assert words(street)[-3:] == ["up", "away", "up"]


def test_a_required_hub_that_was_never_heard_is_away(tmp_path):
    """The configuration expects one: silence is not taken for its presence."""
    street = Street(tmp_path, broker=Broker(hub="required"))
    street.run_until(5.0)
    assert words(street) == ["away"]


def test_a_late_will_of_the_hub_changes_nothing(tmp_path):
    """The hub came back over a new connection before the broker noticed that the old one was dead."""
    street = Street(
        tmp_path, incoming=[hub_says(1.0, "up", "h1"), hub_says(2.0, "up", "h2"), hub_says(3.0, "lost", "h1")]
    )
    street.run_until(5.0)
    assert words(street)[-1] == "up"


def test_a_connection_that_is_lost_is_a_hub_that_is_away(tmp_path):
    """Whoever cannot reach the broker cannot know; and the next connection has to tell anew."""
    street = Street(tmp_path, hub=Hub(), outages=[Outage(5.0, 15.0)])
    street.run_until(6.0)
    assert street.told(wire.CourierBeat)[-1].hub == "away"
    street.run_until(16.0)
    assert street.told(wire.CourierBeat)[-1].hub == "up"


def test_what_a_hub_missed_comes_when_it_is_back(tmp_path):
    """The broker forgot what it took meanwhile: when the hub returns everything is sent at once, and a fall, which was
    repeated all the time, first.
    """
    street = Street(tmp_path, hub=Hub(outages=(Outage(5.0, 400.0),)))
    street.run_until(6.0)
    street.send(*[event(number) for number in range(1, 50)], event(50, "fall.confirmed"))
    street.run_until(390.0)
    sent = numbers(street.events())
    assert sent.count(50) >= 4
    assert sent.count(1) == 1
    assert street.link._hub is not None
    street.link._hub._queue.clear()  # the broker was started anew
    street.run_until(402.0)
    assert street.outbox.waiting(402.0) == 0
    assert numbers(street.events())[len(sent)] == 50


def test_a_hub_that_keeps_silent_is_said_aloud(tmp_path):
    """It says that it is up and never that it has anything: after 20 s that is a fault, whatever the priority."""
    street = Street(tmp_path, incoming=[hub_says(0.5, "up")])
    street.run_until(1.0)
    street.send(event(1))
    street.run_until(20.0)
    assert street.faults() == ""
    street.run_until(22.5)
    assert street.faults() == "hub"
    street.link.deliver(f"{ROOT}/cmd/ack", wire.encode(wire.HubAck(street.outbox.epoch, 1)))
    street.run_until(23.0)
    assert street.faults() == ""


# ------------------------------------------------------------------------------------- what is told, and when


def test_a_delivered_fall_is_told_though_others_wait(tmp_path):
    """The hub has the fall and not the rest: the guard hears of the fall at once."""
    street = Street(tmp_path, incoming=[hub_says(0.5, "up")])
    street.run_until(1.0)
    street.send(*[event(number) for number in range(1, 6)], event(6, "fall.confirmed"))
    street.run_until(2.0)
    ack = wire.encode(wire.HubAck(street.outbox.epoch, 0, [6]))
    street.link.deliver(f"{ROOT}/cmd/ack", ack)
    street.run_until(2.5)
    assert street.told(wire.DeliveredMessage) == [wire.DeliveredMessage("s1", 0, 6)]
    assert street.outbox.waiting(2.5) == 5


@pytest.mark.parametrize("hub", ["auto", "none"])
def test_what_nobody_listens_to_is_not_delivered(tmp_path, hub):
    """No subscriber at the broker: it stays, is said, is sent again, and is delivered once somebody listens."""
    listens: list[bool] = []
    street = Street(
        tmp_path, broker=Broker(hub=hub), answer=lambda topic: 0 if listens or "/event/" not in topic else 0x10
    )
    street.send(event(1, "fall.confirmed"))
    street.run_until(2.0)
    assert (street.outbox.waiting(2.0), street.faults()) == (1, "broker")
    listens.append(True)
    street.run_until(60.0)
    assert (street.outbox.waiting(60.0), street.faults()) == (0, "")


def test_a_copy_is_sent_again_when_the_hub_asks(tmp_path):
    """`resync`: what was delivered long ago is sent under its number; that it was asked for is itself an event."""
    street = Street(tmp_path, hub=Hub())
    street.run_until(1.0)
    street.send(*[event(number) for number in range(1, 10)])
    street.run_until(2.0)
    assert street.outbox.waiting(2.0) == 0
    before = len(street.events())

    def asks(number: int, first: int, last: int, t: float) -> None:
        command = wire.ResyncCommand(
            id=f"r{number}",
            by="hub",
            issued_ms=round((1_800_000_000.0 + t) * 1000),
            epoch=street.outbox.epoch,
            first=first,
            last=last,
        )
        street.link.deliver(f"{ROOT}/cmd/resync", wire.encode(command))

    asks(1, 3, 5, 2.0)
    asks(2, 6, 7, 2.0)
    street.run_until(5.0)
    again = street.events()[before:]
    assert [item["seq"] for item in again if item["eventtype"] == "hazard.raised"] == [3, 4, 5]
    told = [item["data"] for item in again if item["eventtype"] == "command.received"]
    assert [(item["name"], item["accepted"]) for item in told] == [("resync", True), ("resync", False)]
    asks(3, 500, 600, 70.0)
    street.run_until(65.0)
    asks(4, 500, 600, 65.0)
    street.run_until(70.0)
    (told,) = [item["data"] for item in street.events() if item["data"].get("id") == "r4"]
    assert (told["accepted"], told["reason"]) == (False, "101 are no longer there")


def test_answers_to_numbers_of_an_epoch_that_ended_count_for_nothing(tmp_path):
    """The file was taken away while messages were on their way: their answers deliver nothing of the new file."""
    street = Street(tmp_path, answer_s=3.0)
    street.run_until(1.0)
    street.send(event(1), event(2))
    street.run_until(2.0)
    (tmp_path / "outbox.db").unlink()
    street.send(event(3))
    street.run_until(4.2)
    assert street.outbox.damaged == 1
    street.send(event(3))
    street.run_until(4.4)
    assert street.outbox.waiting(4.4) >= 3
    street.run_until(60.0)
    assert street.outbox.waiting(60.0) == 0
    found = [item for item in street.events() if item["epoch"] == street.outbox.epoch]
    assert {item["eventtype"] for item in found} == {"hazard.raised", "fault.raised"}
    assert len({item["id"] for item in found}) == 4
    (told,) = [item["data"] for item in found if item["eventtype"] == "fault.raised"]
    assert "2 waiting events were taken over" in told["detail"] or "3 waiting events were taken over" in told["detail"]


def test_a_file_that_went_back_begins_a_new_epoch(tmp_path):
    """The hub's kept acknowledgement knows numbers that the file has forgotten: none of them is used twice."""
    with closing(Outbox(tmp_path / "outbox.db", owner="home/rw-0001", rng=random.Random(1))) as outbox:
        outbox.commit(event(1), STAMP, 0.0)
        epoch = outbox.epoch
    ack = wire.encode(wire.HubAck(epoch, 40))
    street = Street(tmp_path, incoming=[Incoming(0.2, f"{ROOT}/cmd/ack", ack, True)])
    street.run_until(3.0)
    assert street.outbox.epoch != epoch
    assert street.outbox.damaged == 1
    assert [item["data"]["fault"] for item in street.events() if item["eventtype"] == "fault.raised"] == [
        "outbox_damaged"
    ]


# ------------------------------------------------------------------------------------------------- presence


def test_signs_of_life_follow_the_walk(tmp_path):
    """Each minute, each 15 s while walking, and at once when that changes; with state, charge and what waits."""
    street = Street(tmp_path, answer=lambda topic: 0x87 if "hazard" in topic else 0)
    street.send(wire.KeepAlive(0.0, "checking", 81.26, 42.4, ["courier:broker", "imu:absent"], 2, ["imu"]))
    street.run_until(70.0)
    street.send(event(1), event(2, "walk.started"))
    street.run_until(101.0)
    street.send(event(3, "walk.ended"))
    street.run_until(170.0)
    beats = street.published("heartbeat")
    assert [round(beat.t) for beat in beats] == [0, 60, 70, 85, 100, 101, 161]
    told = [wire.decode(beat.payload, wire.Heartbeat) for beat in beats]
    assert [beat.state for beat in told] == ["ready", "ready", "walking", "walking", "walking", "ready", "ready"]
    assert (told[0].battery_percent, told[0].battery_minutes) == (81.3, 42)
    assert (told[0].faults, told[0].restarts, told[0].reasons) == (["imu:absent"], 2, ["imu"])
    assert (told[0].seq_low, told[0].seq_head) == (None, 0)
    assert (told[-1].seq_low, told[-1].seq_head, told[-1].outbox_depth) == (1, 3, 1)


@pytest.mark.parametrize("state", ["lost", "ready"])
def test_a_late_will_is_answered(tmp_path, state):
    """Another connection's word stands in the device's state: it says its own again, now and then at most."""
    street = Street(tmp_path)
    street.run_until(1.0)
    late = wire.encode(wire.DeviceState(state=state, conn="old", boot="boot-1"))
    street.link.deliver(f"{ROOT}/state", late, retained=True)
    street.run_until(2.0)
    assert len(street.published("state")) == 1, "kept from before this connection, and replaced since"
    for _ in range(20):
        street.link.deliver(f"{ROOT}/state", late)
        street.run_until(street.clock.now() + 0.5)
    street.run_until(30.0)
    said = [json.loads(message.payload) for message in street.published("state")]
    assert 3 <= len(said) <= 4
    assert {item["state"] for item in said} == {"ready"}
    assert len({item["conn"] for item in said}) == 1


def test_its_own_word_is_not_answered(tmp_path):
    """The broker sends the device what it has said itself: that is no news."""
    street = Street(tmp_path)
    street.run_until(1.0)
    for message in list(street.published("state")):
        street.link.deliver(f"{ROOT}/state", message.payload)
    street.send(event(1, "walk.started"))
    street.run_until(10.0)
    assert len(street.published("state")) == 2


def test_an_open_fall_tells_how_it_goes_on(tmp_path):
    """Who comes late sees that nobody got up, or that somebody did; the alert stays that of the fall."""
    street = Street(tmp_path)
    for number, kind in enumerate(["fall.confirmed", "fall.lasted", "fall.risen"], 1):
        street.send(event(number, kind, reported=number))
        street.run_until(float(number))
    told = [json.loads(message.payload) for message in street.published("alert")]
    assert [item.get("type") for item in told] == ["fall.confirmed", "fall.lasted", "fall.risen"]
    assert len({(item["id"], item["priority"]) for item in told}) == 1
    assert told[-1]["data"] == {"reported": 3}
    for item in told:
        wire.decode(json.dumps(item).encode(), wire.OpenAlert)


def test_switched_off_while_the_broker_comes_back_is_said(tmp_path):
    """A stop in the moment of a lost connection waits a little for the next, to say `disconnected`."""
    street = Street(tmp_path, outages=[Outage(5.0, 6.0)])
    street.run_until(5.5)
    street.courier.begin_stop(5.5)
    assert not street.courier.stopped(5.5)
    street.run_until(6.5)
    assert street.courier.stopped(6.5)
    assert json.loads(street.published("state")[-1].payload)["state"] == "disconnected"


# ---------------------------------------------------------------------------------------- broker in trouble


@pytest.mark.parametrize("kind", ["hazard.raised", "walk.started", "fall.suspected", "fall.confirmed"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda topic: 0x87 if "/event/" in topic else 0, id="refuses"),
        pytest.param(lambda topic: None if "/event/" in topic else 0, id="never answers an event"),
        pytest.param(lambda topic: None, id="never answers"),
    ],
)
def test_whoever_is_not_reached_is_said_within_30_s(tmp_path, kind, answer):
    """Whatever the priority: the guard hears that the caregiver is not reached, and keeps hearing it."""
    street = Street(tmp_path, answer=answer)
    street.run_until(10.0)
    street.send(event(1, kind))
    street.run_until(100.0)
    beats = [beat.fault for beat in street.told(wire.CourierBeat)]
    first = beats.index("broker")
    assert first <= 10 + 30
    assert set(beats[first:]) == {"broker"}, "not taken back while nothing has changed"


def test_a_fall_does_not_wait_behind_messages_that_nobody_answers(tmp_path):
    """Some places of the window are for high priority alone."""
    street = Street(tmp_path, answer=lambda topic: None if "hazard" in topic else 0)
    street.send(*[event(number) for number in range(1, 101)])
    street.run_until(1.0)
    street.send(event(101, "fall.confirmed"))
    street.run_until(1.2)
    assert street.told(wire.DeliveredMessage) == [wire.DeliveredMessage("s1", 0, 101)]


def test_refused_topics_do_not_hold_up_the_others(tmp_path):
    """Hundreds of refused events are tried now and then; what may pass passes at once."""
    street = Street(tmp_path, answer=lambda topic: 0x87 if "hazard" in topic else 0)
    for block in range(3):
        street.send(*[event(number) for number in range(1 + block * 100, 101 + block * 100)])
        street.run_until(1.0 + block)
    street.run_until(5.0)
    street.send(*[event(number, "sensor.lost") for number in range(301, 341)])
    street.run_until(6.0)
    assert street.outbox.waiting(6.0) == 300


# ----------------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize(
    "step_s", [-10 * 365 * 86400.0, -3600.0, 3600.0, 10 * 365 * 86400.0], ids=["-10 y", "-1 h", "+1 h", "+10 y"]
)
@pytest.mark.parametrize("quality", ["ntp", "unset"])
def test_a_clock_that_steps_in_a_countdown_hides_no_fall(tmp_path, step_s, quality):
    """Wall time jumps between suspicion and confirmation: everything is sent at once, in order, each with the time its
    clock showed; what orders them is the monotonic time, and none counts as one of the past.
    """
    clock = VirtualClock(wall_origin_s=1_800_000_000.0)
    street = Street(tmp_path, clock=clock, quality=lambda _: quality)
    street.run_until(5.0)
    street.send(session_message(), event(1, "fall.suspected", t_s=5.0))
    street.run_until(6.0)
    clock._wall_origin_s += step_s
    street.run_until(20.0)
    street.send(event(2, "fall.confirmed", t_s=20.0))
    street.run_until(200.0)
    found = street.events()
    assert [(item["seq"], item["monoms"], item["historical"]) for item in found] == [
        (1, 5000, False),
        (2, 20000, False),
    ]
    assert street.outbox.waiting(200.0) == 0
    beats = [wire.decode(message.payload, wire.Heartbeat) for message in street.published("heartbeat")]
    assert [beat.monoms for beat in beats] == sorted(beat.monoms for beat in beats)
    assert (
        max(
            later.t - earlier.t
            for earlier, later in zip(street.published("heartbeat"), street.published("heartbeat")[1:], strict=False)
        )
        <= 60.1
    )


@pytest.mark.parametrize("step_s", [-10 * 365 * 86400.0, 10 * 365 * 86400.0], ids=["back", "on"])
def test_a_clock_that_steps_delays_no_retry(tmp_path, step_s):
    """Retries and faults go by monotonic time."""
    allowed: list[bool] = []
    clock = VirtualClock(wall_origin_s=1_800_000_000.0)
    street = Street(tmp_path, clock=clock, answer=lambda topic: 0 if allowed or "/event/" not in topic else 0x87)
    street.send(event(1, "fall.confirmed"))
    street.run_until(5.0)
    clock._wall_origin_s += step_s
    allowed.append(True)
    street.run_until(20.0)
    assert street.outbox.waiting(20.0) == 0
    assert street.faults() == ""
