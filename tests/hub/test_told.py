"""From a fall on the broker to a phone and back to the walker: the hub as it runs, with every part real."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.broker import Mosquitto, Stranger
from tests.hub.helpers import ROOT, event
from tests.hub.ntfy_server import NtfyServer

pytestmark = pytest.mark.process

FALL = f"{ROOT}/event/fall.confirmed"


class RunningHub:
    """`retrowalk hub` as a process, that can be killed and started again."""

    def __init__(self, broker, server, directory):
        self._directory = directory
        self.log = directory / "hub.log"
        (directory / "hub.toml").write_text(
            f'[broker]\nhost = "{broker.host}"\nport = {broker.port}\n'
            f'[[contact]]\nname = "Anna"\nnotify = ["{server.address()}"]\n'
        )
        (directory / "hub.toml").chmod(0o600)
        self.start()

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "retrowalk", "hub", "--config", "hub.toml", "--state-dir", "state"],
                cwd=self._directory, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5.0)

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.kill()


@pytest.fixture
def parts(tmp_path):
    with Mosquitto(tmp_path / "broker") as broker, NtfyServer() as server:
        hub = RunningHub(broker, server, tmp_path)
        with Stranger(broker, f"{ROOT}/cmd/#", "retrowalk/v1/home/hub/state") as stranger:
            yield hub, server, stranger
        hub.end()


def is_up(heard):
    return any(one.topic.endswith("hub/state") and json.loads(one.payload).get("state") == "up" for one in heard)


def commands(heard, name):
    return [json.loads(one.payload) for one in heard if one.topic == f"{ROOT}/cmd/{name}"]


def test_a_fall_reaches_the_phone_and_the_answer_reaches_the_walker(parts):
    """The alarm rings with buttons; "I am coming" is `seen` and `say coming` on the broker, by that name."""
    hub, server, stranger = parts
    stranger.wait(is_up)
    stranger.publish(FALL, json.dumps(event(1, "fall.confirmed", priority="high")).encode())
    (message,) = server.wait(1)
    server.wait_for_stream()
    server.press(message, "I am coming")
    heard = stranger.wait(lambda all_: bool(commands(all_, "seen")) and bool(commands(all_, "say")))
    assert commands(heard, "seen")[0]["by"] == "Anna"
    (said,) = commands(heard, "say")
    assert (said["by"], said["phrase"]) == ("Anna", "coming")


@pytest.mark.slow
def test_a_hub_that_dies_before_the_message_went_sends_it_when_it_is_back(parts):
    """The notice is in the store: killed with the message under way, the hub tells it after its restart.

    And the worker dies with it: nobody sends in the name of a hub that is gone.
    """
    hub, server, stranger = parts
    stranger.wait(is_up)
    server.mood = "hang"
    stranger.publish(FALL, json.dumps(event(1, "fall.confirmed", priority="high")).encode())
    with server.news:
        assert server.news.wait_for(lambda: any(asked.method == "POST" for asked in server.asked), 10.0)
    children = subprocess.run(["pgrep", "-P", str(hub.process.pid)], capture_output=True, text=True).stdout.split()
    hub.kill()
    server.mood = "well"
    hub.start()
    (message,) = server.wait(1, within_s=15.0)
    server.wait_for_stream()
    server.press(message, "Seen")
    stranger.wait(lambda all_: bool(commands(all_, "seen")))
    assert children
    assert not any(lives(child) for child in children)


def lives(pid):
    """Whether a process is there and has not ended; one that nobody has buried has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
