"""The hub as a real process, and its link that confirms, with a real broker."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from click.testing import CliRunner, Result
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from tests.broker import Mosquitto, Stranger
from tests.hub.helpers import ROOT, event

from retrowalk import wire
from retrowalk.cli import cli
from retrowalk.config import Broker
from retrowalk.mqtt import UNCONFIRMED, WAITING_MAX, PahoLink
from retrowalk.platform import Arrived, Connected, LinkEvent

pytestmark = pytest.mark.process

HUB_STATE = wire.hub_topic("home")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as found:
        yield found


# ------------------------------------------------------------------------------------------------- the link


class Listener:
    """A confirming link, and what arrived on it."""

    def __init__(self, broker: Mosquitto, *, old: bool = False) -> None:
        self.link = PahoLink(Broker(host=broker.host, port=broker.port), "hub-home", confirm=True)
        if old:
            self.link._protocol = MQTTProtocolVersion.MQTTv311
        self.told: list[LinkEvent] = []
        self._woken = threading.Event()
        self.link.wake = self._woken.set
        self.link.start(HUB_STATE, b"{}", [f"{ROOT}/event/#", f"{ROOT}/heartbeat"])

    @property
    def arrived(self) -> list[Arrived]:
        return [item for item in self.told if isinstance(item, Arrived)]

    def wait(self, until: Callable[[], bool], limit_s: float = 10.0) -> None:
        deadline = time.monotonic() + limit_s
        while not until():
            assert time.monotonic() < deadline, f"told only {self.told[-5:]}"
            self._woken.wait(0.05)
            self._woken.clear()
            self.told += self.link.events(time.monotonic())

    def drop(self) -> None:
        """Ends as if the process had died: the broker hears nothing more."""
        client = self.link._client
        assert client is not None
        self.link._leave = lambda: None  # type: ignore[method-assign]  # nothing is said any more
        client.suppress_exceptions = True
        sock = client.socket()
        assert sock is not None
        client._thread_terminate = True
        sock.close()


@pytest.mark.parametrize("old", [pytest.param(False, id="MQTT 5"), pytest.param(True, id="3.1.1")])
def test_what_was_not_confirmed_comes_again(broker, old):
    """A broker keeps what was not confirmed, and sends it to the next connection; what was confirmed stays away."""
    first = Listener(broker, old=old)
    with Stranger(broker, "nothing") as stranger:
        first.wait(lambda: Connected() in first.told)
        time.sleep(0.2)  # subscribed
        for number in range(4):
            stranger.publish(f"{ROOT}/event/x", b"%d" % number)
        first.wait(lambda: len(first.arrived) == 4)
        for item in first.arrived[:2]:
            first.link.handled(item.token)
        time.sleep(0.2)  # the confirmations are on their way in paho's thread
        first.drop()
        second = Listener(broker, old=old)
        second.wait(lambda: len(second.arrived) >= 2)
        assert [item.payload for item in second.arrived] == [b"2", b"3"]
        second.link.stop()


@pytest.mark.slow
def test_no_more_comes_than_was_confirmed(broker):
    """A broker of MQTT 5 sends a bounded number ahead of the confirmations; with these it goes on."""
    listener = Listener(broker)
    with Stranger(broker, "nothing") as stranger:
        listener.wait(lambda: Connected() in listener.told)
        time.sleep(0.2)
        for number in range(UNCONFIRMED + 50):
            stranger.publish(f"{ROOT}/event/x", b"%d" % number)
        listener.wait(lambda: len(listener.arrived) >= 20)
        time.sleep(0.3)
        listener.told += listener.link.events(0.0)
        assert len(listener.arrived) <= UNCONFIRMED
        while len(listener.arrived) < UNCONFIRMED + 50:
            count = len(listener.arrived)
            for item in listener.arrived:
                listener.link.handled(item.token)
            listener.wait(lambda count=count: len(listener.arrived) > count)  # type: ignore[misc]  # a default value
    assert [item.payload for item in listener.arrived] == [b"%d" % number for number in range(UNCONFIRMED + 50)]
    listener.link.stop()


@pytest.mark.slow
def test_a_flood_that_nobody_reads_is_bounded(broker):
    """What the broker would not send again is let go when nobody reads it; what it would send again is not."""
    listener = Listener(broker)
    listener.wait(lambda: Connected() in listener.told)
    time.sleep(0.2)
    flood = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="flood")
    flood.connect(broker.host, broker.port)
    flood.loop_start()
    for _ in range(WAITING_MAX + 500):
        flood.publish(f"{ROOT}/heartbeat", b"x", qos=0)
    flood.publish(f"{ROOT}/event/fall.confirmed", b"fall", qos=1).wait_for_publish(10.0)
    deadline = time.monotonic() + 20.0
    while listener.link._happened.qsize() <= WAITING_MAX:  # what came last is let in although it is full
        assert time.monotonic() < deadline, "what came last never came"
        time.sleep(0.05)
    listener.wait(lambda: any(item.payload == b"fall" for item in listener.arrived))
    assert listener.link.let_go >= 400
    assert len(listener.arrived) <= WAITING_MAX + 10
    flood.disconnect()
    flood.loop_stop()
    listener.link.stop()


@pytest.mark.slow
def test_a_command_expires_at_the_broker(broker):
    """A device that comes back after the expiry of a command does not hear it any more."""
    listener = Listener(broker)
    listener.wait(lambda: Connected() in listener.told)
    Stranger(broker, f"{ROOT}/cmd/#", client_id="device").close()
    listener.link.publish(f"{ROOT}/cmd/say", b"early", expiry_s=1)
    listener.link.publish(f"{ROOT}/cmd/say", b"late", expiry_s=60)
    time.sleep(2.2)
    with Stranger(broker, f"{ROOT}/cmd/#", client_id="device") as device:
        assert [heard.payload for heard in device.wait(lambda heard: bool(heard))] == [b"late"]
    listener.link.stop()


# ---------------------------------------------------------------------------------------------- the process


class Process:
    """A hub that tests can kill."""

    def __init__(self, directory: Path, broker: Mosquitto) -> None:
        self.state_dir = directory / "hub"
        self._settings = directory / "hub.json"
        self._log = directory / "hub.log"
        settings = {"broker": {"host": broker.host, "port": broker.port}, "contact": [{"name": "Anna"}]}
        self._settings.write_text(json.dumps(settings))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> None:
        program = Path(__file__).parent / "run_hub.py"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, program, self._settings, self.state_dir],
                stdout=log,
                stderr=log,
                env=os.environ | environment,
            )

    def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        return process.wait(10.0)

    def rows(self, query: str) -> list[Any]:
        with sqlite3.connect(self.state_dir / "hub.db") as db:
            return db.execute(query).fetchall()

    def notices(self) -> list[dict[str, Any]]:
        file = self.state_dir / "notices.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def said(self, *words: str) -> Result:
        return CliRunner().invoke(cli, ["hub", "--state-dir", str(self.state_dir), *words])


@pytest.fixture
def hub(tmp_path: Path, broker: Mosquitto) -> Iterator[Process]:
    process = Process(tmp_path, broker)
    yield process
    process.end()


def up(heard: list[Any]) -> bool:
    return bool(heard) and heard[-1].json()["state"] == "up"


@pytest.mark.slow
def test_a_hub_that_is_killed_again_and_again_stores_everything_once(hub, broker):
    """Events that a stranger sends once, while the hub is killed four times, are all stored, and none twice."""
    with Stranger(broker, HUB_STATE, f"{ROOT}/cmd/ack") as stranger:
        hub.start()
        stranger.wait(lambda heard: up([item for item in heard if item.topic == HUB_STATE]))
        for seq in range(1, 401):
            stranger.publish(f"{ROOT}/event/hazard.raised", wire.encode(event(seq)))
            if seq % 80 == 0 and seq < 400:
                hub.end()
                hub.start()
        stranger.wait(lambda heard: any("ack" in item.topic and item.json()["seq"] == 400 for item in heard), 20.0)
    assert hub.rows("SELECT count(*), count(DISTINCT seq) FROM event") == [(400, 400)]


def test_the_command_line_looks_and_answers(hub, broker):
    """A fall is shown with who was told, answered by name, and shown as answered; the walker is told."""
    with Stranger(broker, HUB_STATE, f"{ROOT}/cmd/seen") as stranger:
        hub.start()
        stranger.wait(up)
        stranger.publish(f"{ROOT}/event/fall.confirmed", wire.encode(event(1, "fall.confirmed")))
        deadline = time.monotonic() + 5.0
        while not hub.notices() and time.monotonic() < deadline:
            time.sleep(0.02)
        found = hub.said("ack", "1", "--by", "Anna")
        assert (found.exit_code, found.output) == (0, "Anna has it in hand.\n")
        seen = stranger.wait(lambda heard: heard[-1].topic.endswith("cmd/seen"))[-1].json()
        assert (seen["by"], seen["event"]) == ("Anna", "e1-1")
        found = hub.said("alerts")
        assert "Anna has it in hand (by command line)" in found.output
        assert json.loads(hub.said("status", "--json").output)["open_alerts"] == 1
        assert hub.said("ack", "7", "--by", "Anna").exit_code == 2


def test_an_answer_waits_for_a_hub_that_is_away(hub, broker):
    """Who answers while no hub runs is told so; the next hub does it."""
    with Stranger(broker, HUB_STATE, f"{ROOT}/cmd/seen", f"{ROOT}/cmd/ack") as stranger:
        hub.start()
        stranger.wait(up)
        stranger.publish(f"{ROOT}/event/fall.confirmed", wire.encode(event(1, "fall.confirmed")))
        stranger.wait(lambda heard: heard[-1].topic.endswith("cmd/ack"))
        hub.end()
        found = hub.said("ack", "all", "--by", "Anna", "--over")
        assert found.exit_code == 1
        assert "The hub is not running; it will be done when it starts." in found.output
        hub.start()
        stranger.wait(lambda heard: heard[-1].topic.endswith("cmd/seen"))
    assert hub.rows("SELECT stage FROM alert") == [("over",)]


@pytest.mark.slow
def test_a_clean_end_says_down(hub, broker):
    """SIGTERM ends the hub with `down` at the broker and status 0; a kill leaves `lost`."""
    with Stranger(broker, HUB_STATE) as stranger:
        hub.start()
        stranger.wait(up)
        assert hub.end(signal.SIGTERM) == 0
        stranger.wait(lambda heard: heard[-1].json()["state"] == "down")
        hub.start()
        stranger.wait(up)
        hub.end()
        stranger.wait(lambda heard: heard[-1].json()["state"] == "lost")


@pytest.mark.slow
def test_a_store_has_one_owner(hub, broker, tmp_path):
    """A second hub on the same directory ends with words, and the first goes on."""
    with Stranger(broker, HUB_STATE) as stranger:
        hub.start()
        stranger.wait(up)
        second = Process(tmp_path, broker)
        second.start()
        assert second._process is not None
        assert second._process.wait(10.0) != 0
        assert "another hub runs on" in (tmp_path / "hub.log").read_text()
        assert hub.said("status").exit_code == 0


@pytest.mark.slow
def test_the_watchdog_is_fed_by_a_turning_loop(hub, tmp_path):
    """systemd hears that the hub is ready, and of each second in which its loop turned; of a stopped one nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5.0)
        hub.start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert manager.recv(100) == b"READY=1"
        assert [manager.recv(100) for _ in range(2)] == [b"WATCHDOG=1"] * 2
        hub._process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        manager.setblocking(False)
        with suppress(BlockingIOError):
            manager.recv(100)  # what it had said before it was stopped
        manager.settimeout(1.5)
        with pytest.raises(TimeoutError):
            manager.recv(100)
