"""A real courier process and a real broker in trouble: who hears of it, how soon, and what is there afterwards."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.broker import Mosquitto, Stranger
from tests.courier.helpers import ROOT, Street, session_message
from tests.courier.test_mqtt import STATE, Guard, envelopes, said

from retrowalk import wire

pytestmark = [pytest.mark.process, pytest.mark.slow]

HUB = "retrowalk/v1/home/hub/state"


class Proxy:
    """A way to a broker that can be made to swallow everything, in both directions, while connections stay open."""

    def __init__(self, broker: Mosquitto) -> None:
        self.swallows = False
        self._to = (broker.host, broker.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._ends: list[socket.socket] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="proxy", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        other: dict[socket.socket, socket.socket] = {}
        while not self._stopping:
            ready, _, _ = select.select([self._listener, *other], [], [], 0.05)
            for end in ready:
                if end is self._listener:
                    near, _ = end.accept()
                    far = socket.create_connection(self._to, 5.0)
                    other[near], other[far] = far, near
                    continue
                with contextlib.suppress(OSError):
                    data = end.recv(65536)
                    if data:
                        if not self.swallows:
                            other[end].sendall(data)
                        continue
                for each in (end, other.get(end)):
                    if each is not None:
                        other.pop(each, None)
                        each.close()
        for end in other:
            end.close()

    def close(self) -> None:
        self._stopping = True
        self._thread.join(5.0)
        self._listener.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as found:
        yield found


@pytest.fixture
def proxied(tmp_path: Path, broker: Mosquitto) -> Iterator[SimpleNamespace]:
    """A guard whose courier reaches the broker through a proxy."""
    proxy = Proxy(broker)
    guard = Guard(tmp_path, proxy)  # type: ignore[arg-type]  # of the broker it wants to know the port alone
    yield SimpleNamespace(guard=guard, proxy=proxy)
    guard.close()
    proxy.close()


@pytest.mark.parametrize("kind", [pytest.param("hazard.raised", marks=pytest.mark.repeats), "fall.confirmed"])
def test_a_broker_that_swallows_is_said_within_30_s(proxied, broker, kind):
    """The connection stands and nothing ever comes back: the guard hears of it in time, and the event arrives later."""
    guard, proxy = proxied.guard, proxied.proxy
    guard.start_courier()
    with Stranger(broker, f"{ROOT}/event/#") as stranger:
        guard.ready()
        proxy.swallows = True
        began = time.monotonic()
        guard.emit(kind)
        guard.wait(lambda: "broker" in guard.beats()[-1].fault, 32.0)
        assert time.monotonic() - began <= 30.0
        assert guard.beats()[-1].waiting == 1
        proxy.swallows = False
        (envelope,) = envelopes(stranger.wait(lambda heard: len(envelopes(heard)) == 1, 40.0))
        assert envelope["eventtype"] == kind
        guard.wait(lambda: (guard.beats()[-1].fault, guard.beats()[-1].waiting) == ("", 0), 40.0)


def test_nobody_who_listens_is_said(tmp_path, broker):
    """A broker without a single subscriber takes the fall: it is not delivered, that is said, and it is kept."""
    guard = Guard(tmp_path, broker)
    try:
        guard.start_courier()
        guard.ready()
        guard.emit("fall.confirmed")
        guard.wait(lambda: (guard.beats()[-1].waiting, guard.beats()[-1].fault) == (1, "broker"))
        with Stranger(broker, f"{ROOT}/event/#") as stranger:
            stranger.wait(lambda heard: len(envelopes(heard)) == 1, 30.0)
            guard.wait(lambda: (guard.beats()[-1].waiting, guard.beats()[-1].fault) == (0, ""))
    finally:
        guard.close()


def test_a_hub_is_remembered_over_kill_9(tmp_path, broker):
    """`auto`: heard of once, it decides, also for the courier that comes after; a stranger's subscription does not."""
    guard = Guard(tmp_path, broker)
    text = guard.config.read_text().replace('hub = "none"', 'hub = "auto"')
    guard.config.write_text(text)
    try:
        with (
            Stranger(broker, f"{ROOT}/event/#", client_id="page"),
            Stranger(broker, f"{ROOT}/#", client_id="hub") as hub,
        ):
            guard.start_courier()
            guard.ready()
            guard.emit()
            guard.wait(lambda: wire.DeliveredMessage("s1", 1) in guard.told)
            assert guard.beats()[-1].hub == ""
            hub.publish(HUB, wire.encode(wire.HubState(state="up", conn="h1")), retain=True)
            guard.wait(lambda: guard.beats()[-1].hub == "up")
            guard.emit()
            guard.listen(1.5)
            assert guard.beats()[-1].waiting == 1
            guard.kill_courier()
            hub.publish(HUB, b"", retain=True)
            guard.told.clear()
            guard.start_courier()
            guard.ready()
            guard.wait(lambda: (guard.beats()[-1].hub, guard.beats()[-1].waiting) == ("away", 1))
            found = envelopes(hub.wait(lambda heard: len({item["seq"] for item in envelopes(heard)}) == 2))
            ack: dict[str, Any] = {"epoch": found[0]["epoch"], "seq": 2}
            hub.publish(f"{ROOT}/cmd/ack", json.dumps(ack).encode(), retain=True)
            guard.wait(lambda: (guard.beats()[-1].hub, guard.beats()[-1].waiting) == ("up", 0))
    finally:
        guard.close()


def test_a_late_will_is_answered_through_the_broker(tmp_path, broker):
    """Whoever reads the retained state after an old connection's will came late reads that the device is there."""
    guard = Guard(tmp_path, broker)
    try:
        guard.start_courier()
        guard.ready()
        with Stranger(broker, STATE) as stranger:
            stranger.wait(lambda heard: said(heard) == ["ready"])
            late = wire.encode(wire.DeviceState(state="lost", conn="old", boot="b"))
            stranger.publish(STATE, late, retain=True)
            stranger.wait(lambda heard: said(heard) == ["ready", "lost", "ready"])
        guard.listen(1.0)
        with Stranger(broker, STATE, client_id="late comer") as late_comer:
            (message,) = late_comer.wait(lambda heard: len(heard) == 1)
            assert (message.retained, message.json()["state"]) == (True, "ready")
    finally:
        guard.close()


def test_folder_that_forgets(tmp_path):
    """On a read-only root without a partition of its own, the guard hears that nothing is recorded and nothing kept"""
    street = Street(tmp_path, forgets=True)
    street.send(session_message())
    street.run_until(2.0)
    assert set(street.faults().split(",")) >= {"recording", "state"}


def test_folder_that_keeps(tmp_path):
    """A usual card is no fault"""
    street = Street(tmp_path)
    street.send(session_message())
    street.run_until(2.0)
    assert not set(street.faults().split(",")) & {"recording", "state"}
