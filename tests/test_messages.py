"""docs/messages.md and the README's section on messages say what is true: tables, access rules, command lines."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from tests.broker import Mosquitto
from tests.courier.helpers import Street, event, session_message
from tests.messages import INTERFACE, ROOT

from retrowalk import wire
from retrowalk.config import Broker
from retrowalk.courier import commands, outbox
from retrowalk.hub.settings import Ladder, Silence
from retrowalk.sim.broker import Published

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
        return self.send(topic, b"{}")

    def send(self, topic: str, payload: bytes, retain: bool = False) -> int:
        self._client.publish(topic, payload, qos=1, retain=retain)
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


# ------------------------------------------------------------------------------- command lines of the README

README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = re.findall(r"^mosquitto_sub .*$", README, re.MULTILINE)


class Listening:
    """A command line of the README, run by a shell, with another broker for its own."""

    def __init__(self, line: str, broker: Mosquitto) -> None:
        assert "-h localhost" in line
        here = line.replace("-h localhost", f"-h {broker.host} -p {broker.port}")
        self._process = subprocess.Popen(
            ["sh", "-c", here], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def until_end(self) -> str:
        """What it writes, when it ends by itself."""
        return self._process.communicate(timeout=10.0)[0]

    def lines(self, count: int) -> list[str]:
        """The first lines it writes; then it is ended."""
        assert self._process.stdout is not None
        ends = threading.Timer(10.0, self._end)
        ends.start()
        try:
            return [self._process.stdout.readline() for _ in range(count)]
        finally:
            ends.cancel()
            self._end()
            self._process.communicate()

    def _end(self) -> None:
        """The shell and what it has started."""
        os.killpg(self._process.pid, signal.SIGKILL)


def told_by_a_courier(directory: Path) -> list[Published]:
    """What a courier publishes of a walk that ends in a fall."""
    street = Street(directory)
    street.send(session_message(), wire.KeepAlive(0.0, "guarding"), event(1, "walk.started"))
    street.run_until(5.0)
    street.send(event(2, "fall.suspected", fall=1, countdown_s=30.0), event(3, "fall.confirmed", fall=1))
    street.run_until(20.0)
    return street.link.published


@pytest.fixture
def listened(tmp_path: Path) -> Iterator[tuple[Mosquitto, Callable[[str], None]]]:
    """A broker, and how to have a courier's messages sent to it: those of a topic that ends so."""
    if shutil.which("mosquitto_sub") is None:
        assert not os.environ.get("CI"), "mosquitto_sub is not installed: script/setup --dev installs it"
        pytest.skip("mosquitto_sub is not installed")
    told = told_by_a_courier(tmp_path / "street")
    with Mosquitto(tmp_path / "broker") as running:
        client = Client(running, "courier")

        def send(leaf: str = "") -> None:
            for message in told:
                if message.topic.endswith(leaf):
                    client.send(message.topic, message.payload, message.retain)

        try:
            yield running, send
        finally:
            client.close()


def subscribed(broker: Mosquitto, count: int = 1) -> None:
    """Waits until so many subscriptions were made at the broker."""
    log = broker.directory / "mosquitto.log"
    until = time.monotonic() + 10.0
    while log.read_text(errors="replace").count("Sending SUBACK") < count:
        assert time.monotonic() < until, "nobody has subscribed"
        time.sleep(0.02)


def test_readme_has_its_command_lines():
    """The README has four of them: everything, who is there, falls, one heartbeat"""
    assert len(LINES) == 4


@pytest.mark.process
def test_line_for_everything(listened):
    """The first line shows each message behind its topic"""
    broker, send = listened
    listening = Listening(LINES[0], broker)
    subscribed(broker)
    send("fall.confirmed")
    (line,) = listening.lines(1)
    topic, _, payload = line.partition(" ")
    assert topic == "retrowalk/v1/home/rw-0001/event/fall.confirmed"
    assert json.loads(payload)["eventtype"] == "fall.confirmed"


@pytest.mark.process
@pytest.mark.slow
def test_line_for_who_is_there(listened):
    """The second line shows state and open alert as the broker has kept them, and ends by itself"""
    broker, send = listened
    send()
    shown = dict(line.split(" ", 1) for line in Listening(LINES[1], broker).until_end().splitlines() if "{" in line)
    assert json.loads(shown["retrowalk/v1/home/rw-0001/state"])["state"] == "walking"
    assert json.loads(shown["retrowalk/v1/home/rw-0001/alert"])["type"] == "fall.confirmed"


@pytest.mark.process
def test_line_for_falls(listened):
    """The third line shows a fall, and one that came while it was not running"""
    broker, send = listened
    first = Listening(LINES[2], broker)
    subscribed(broker)
    send("fall.confirmed")
    assert json.loads(first.lines(1)[0])["eventtype"] == "fall.confirmed"
    send("fall.confirmed")
    (later,) = Listening(LINES[2], broker).lines(1)
    assert json.loads(later)["priority"] == "high"


@pytest.mark.process
def test_line_for_a_heartbeat(listened):
    """The fourth line shows one heartbeat, for people to read, and ends"""
    broker, send = listened
    listening = Listening(LINES[3], broker)
    subscribed(broker)
    send("heartbeat")
    assert "outbox_depth" in json.loads(listening.until_end())
