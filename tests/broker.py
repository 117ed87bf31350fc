"""A real mosquitto for tests: on a free port, with a configuration and a directory of its own."""

from __future__ import annotations

import getpass
import json
import os
import queue
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def need_mosquitto() -> str:
    """Path of mosquitto; skips the test where there is none (in CI that is a failure)."""
    if MOSQUITTO is None:
        assert not os.environ.get("CI"), "mosquitto is not installed: script/setup --dev installs it"
        pytest.skip("mosquitto is not installed")
    return MOSQUITTO


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A mosquitto that can be stopped, killed and started again on the same port."""

    def __init__(self, directory: Path, *, acl: str = "", extra: str = "", anonymous: bool = True) -> None:
        self._program = need_mosquitto()
        self.directory = directory
        self.host = "127.0.0.1"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        lines = [
            f"listener {self.port} {self.host}",
            f"allow_anonymous {str(anonymous).lower()}",
            "persistence true",
            f"persistence_location {directory}/",
            # A home broker loses what it acknowledged since its last save; these tests are about the device.
            "autosave_on_changes true",
            "autosave_interval 1",
            f"user {getpass.getuser()}",  # started as root it would become another user, who may not write here
            extra,
        ]
        if acl:
            (directory / "acl").write_text(acl)
            (directory / "acl").chmod(0o600)
            lines.append(f"acl_file {directory}/acl")
        (directory / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> Mosquitto:
        """Starts it and waits until it listens."""
        log = (self.directory / "mosquitto.log").open("ab")
        self._process = subprocess.Popen(
            [self._program, "-v", "-c", str(self.directory / "mosquitto.conf")], stdout=log, stderr=log
        )
        log.close()
        until = time.monotonic() + 5.0
        while time.monotonic() < until:
            try:
                socket.create_connection((self.host, self.port), 0.2).close()
                return self
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.02)
        raise AssertionError(f"mosquitto did not start: {(self.directory / 'mosquitto.log').read_text()[-2000:]}")

    def stop(self) -> None:
        """Ends it cleanly."""
        self._end(lambda process: process.terminate())

    def kill(self) -> None:
        """kill -9."""
        self._end(lambda process: process.kill())

    def _end(self, act: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self._process is not None:
            act(self._process)
            self._process.wait(5.0)
            self._process = None

    def __enter__(self) -> Mosquitto:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(frozen=True)
class Heard:
    """A message that a stranger's client received."""

    topic: str
    payload: bytes
    retained: bool

    def json(self) -> Any:
        return json.loads(self.payload)


class Stranger:
    """A client that has nothing to do with retrowalk: subscribes and keeps what it hears."""

    def __init__(self, broker: Mosquitto, *topics: str, client_id: str = "stranger", username: str = "") -> None:
        self.heard: list[Heard] = []
        self._queue: queue.SimpleQueue[Heard] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv311, clean_session=False
        )
        if username:
            self._client.username_pw_set(username)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe([(topic, 1) for topic in topics])
        self._client.on_subscribe = lambda *_: self._ready.put(None)
        self._client.on_message = lambda _client, _data, message: self._queue.put(
            Heard(message.topic, bytes(message.payload), message.retain)
        )
        self._client.connect_async(broker.host, broker.port, keepalive=10)
        self._client.loop_start()
        self._ready.get(timeout=5.0)

    def wait(self, until: Callable[[list[Heard]], bool], limit_s: float = 10.0) -> list[Heard]:
        """Waits until `until(heard)`; returns everything heard so far.  Fails the test after `limit_s`."""
        deadline = time.monotonic() + limit_s
        while not until(self.heard):
            try:
                self.heard.append(self._queue.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                last = [(heard.topic, heard.payload[:200]) for heard in self.heard[-5:]]
                raise AssertionError(f"not heard within {limit_s} s; {len(self.heard)} messages, last {last}") from None
        return self.heard

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Sends a message and waits until the broker has it."""
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(5.0)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
