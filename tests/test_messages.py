"""docs/messages.md and the README's section on messages say what is true: tables, access rules, command lines."""

from __future__ import annotations

import json
import queue
import re
from collections.abc import Iterator

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from tests.broker import Mosquitto
from tests.messages import INTERFACE, ROOT

from retrowalk import wire
from retrowalk.config import Broker
from retrowalk.courier import commands, outbox
from retrowalk.hub.settings import Ladder, Silence

PAGE = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")
DOCUMENT = json.loads((INTERFACE / "asyncapi.json").read_text(encoding="utf-8"))

REFUSED = 0x87


def block(kind: str, about: str) -> str:
    """The first block of code of a kind behind some words of the page."""
    found = re.search(rf"```{kind}\n(.*?)```", PAGE.partition(about)[2], re.DOTALL)
    assert found, about
    return found[1]


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table behind a heading, without its head."""
    lines = PAGE.partition(heading)[2].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


# -------------------------------------------------------------------------------------------------- tables


def test_topics_are_those_of_the_document():
    """Topic, quality and retention of the page's table are those of the AsyncAPI document"""
    told = {row[0].strip("`"): (int(row[2]), row[3].startswith("yes")) for row in rows("## Topics")}
    found = {}
    for operation in DOCUMENT["operations"].values():
        address = DOCUMENT["channels"][operation["channel"]["$ref"].rpartition("/")[2]]["address"]
        address = re.sub(r"\{(\w+)\}", r"<\1>", address).replace("<eventtype>", "<type>")
        address = re.sub(r"/cmd/(?!ack)\w+", "/cmd/<name>", address)
        binding = operation["bindings"]["mqtt"]
        found[address] = (binding["qos"], binding["retain"])
    assert told == found


def test_every_event_has_its_priority():
    """The page lists each event once, with the priority that it has"""
    table = rows("what belongs together")
    told = [(name, row[1]) for row in table for name in re.findall(r"`([a-z.]+)`", row[0])]
    assert sorted(told) == sorted((name, kind.priority.value) for name, kind in wire.EVENT_TYPES.items())


def test_every_command_has_its_limit():
    """The page lists each command with the limit that the courier keeps"""
    words = {2.0: "one in 2 s", 10.0: "one in 10 s", 60.0: "one a minute"}
    table = {row[0].strip("`"): row[2] for row in rows("## Commands")}
    assert set(table) == set(wire.COMMANDS)
    for name, gap_s in commands.GAPS_S.items():
        assert words[gap_s] in table[name]
    assert f"{outbox.RESYNC_MAX} at a time" in table["resync"]
    assert f"{commands.COMMAND_MAX_BYTES // 1024} KiB" in PAGE


def test_times_of_the_ladder_are_the_defaults():
    """The page's minutes are those of the settings"""
    ladder, silence = Ladder(), Silence()
    told = [row[0] for row in rows("## From an alert to a person")]
    assert (ladder.repeat_s, ladder.next_after_s, ladder.all_after_s, ladder.remind_after_s) == (60, 120, 300, 900)
    assert {"each minute", "after 2 min", "after 5 min", "15 min after the answer, and it is not over"} <= set(told)
    assert (silence.notice_after_s, silence.page_after_s) == (60, 180)
    assert "after 60 s without any sign of life, and pages somebody after 180 s" in PAGE
    assert f"`broker.keepalive_s` ({Broker().keepalive_s} s)" in PAGE


def test_it_says_that_it_is_no_alarm_system():
    """Page, README and AsyncAPI document say that nobody's life may hang on it"""
    said = "not a certified alarm system"
    assert said in PAGE
    assert said in DOCUMENT["info"]["description"]


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)", PAGE))))
def test_links_lead_somewhere(target):
    """What the page points to is there"""
    assert (ROOT / "docs" / target).exists()


# -------------------------------------------------------------------------------------------- access rules


class Client:
    """A client of MQTT 5 that says what the broker answered."""

    def __init__(self, broker: Mosquitto, username: str) -> None:
        self._answers: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.heard: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"{username}-test", protocol=MQTTProtocolVersion.MQTTv5
        )
        self._client.username_pw_set(username)
        self._client.on_connect = lambda *_: self._ready.put(None)
        self._client.on_publish = lambda _client, _data, _mid, reason, _properties: self._answers.put(reason.value)
        self._client.on_subscribe = lambda *_: self._ready.put(None)
        self._client.on_message = lambda _client, _data, message: self.heard.put(message.topic)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        self._ready.get(timeout=5.0)

    def publish(self, topic: str) -> int:
        """The reason code."""
        self._client.publish(topic, b"{}", qos=1)
        return self._answers.get(timeout=5.0)

    def subscribe(self, topic: str) -> None:
        self._client.subscribe(topic, 1)
        self._ready.get(timeout=5.0)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker with the access rules of the page, word for word."""
    rules = block("", "## Who may do what at the broker")
    with Mosquitto(tmp_path_factory.mktemp("acl") / "broker", acl=rules) as running:
        yield running


@pytest.mark.process
@pytest.mark.parametrize(
    ("username", "topic", "allowed"),
    [
        pytest.param("rw-0001", "rw-0001/event/fall.confirmed", True, id="own event"),
        pytest.param("rw-0001", "rw-0001/state", True, id="own state"),
        pytest.param("rw-0001", "rw-0001/alert", True, id="own alert"),
        pytest.param("rw-0001", "rw-0001/heartbeat", True, id="own heartbeat"),
        pytest.param("rw-0001", "rw-0002/event/fall.confirmed", False, id="another's event"),
        pytest.param("rw-0001", "rw-0002/state", False, id="another's state"),
        pytest.param("rw-0001", "rw-0001/cmd/ack", False, id="own command"),
        pytest.param("rw-0001", "rw-0002/cmd/say", False, id="another's command"),
        pytest.param("rw-0001", "hub/state", False, id="the hub's state"),
        pytest.param("hub", "rw-0001/cmd/ack", True, id="hub: acknowledgement"),
        pytest.param("hub", "rw-0002/cmd/say", True, id="hub: command"),
        pytest.param("hub", "hub/state", True, id="hub: its state"),
        pytest.param("hub", "rw-0001/event/fall.cancelled", False, id="hub: a device's event"),
        pytest.param("hub", "rw-0001/state", False, id="hub: a device's state"),
    ],
)
def test_who_may_write_what(guarded, username, topic, allowed):
    """The access rules of the page let each write what is theirs, and a real broker says so when it is not"""
    client = Client(guarded, username)
    try:
        code = client.publish(f"retrowalk/v1/home/{topic}")
    finally:
        client.close()
    assert code < 0x80 if allowed else code == REFUSED


@pytest.mark.process
def test_who_hears_what(guarded):
    """A device hears its own commands and the hub's state, and nothing of another; the hub hears every device"""
    device, other, hub = (Client(guarded, name) for name in ("rw-0001", "rw-0002", "hub"))
    try:
        root = "retrowalk/v1/home"
        device.subscribe("retrowalk/v1/#")
        hub.subscribe("retrowalk/v1/#")
        other.publish(f"{root}/rw-0002/event/fall.confirmed")
        hub.publish(f"{root}/rw-0002/cmd/say")
        hub.publish(f"{root}/hub/state")
        hub.publish(f"{root}/rw-0001/cmd/say")
        device.publish(f"{root}/rw-0001/state")  # a will of its own that comes late, which it says over
        own = [f"{root}/hub/state", f"{root}/rw-0001/cmd/say", f"{root}/rw-0001/state"]
        assert [device.heard.get(timeout=5.0) for _ in own] == own
        assert hub.heard.get(timeout=5.0) == f"{root}/rw-0002/event/fall.confirmed"
    finally:
        for client in (device, other, hub):
            client.close()
