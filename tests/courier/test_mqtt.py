"""The real link with a real broker; and the courier as a real process between a guard and that broker."""

from __future__ import annotations

import json
import math
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.broker import Heard, Mosquitto, Stranger, free_port
from tests.courier.helpers import ROOT, event, records, session_message

from retrowalk import wire
from retrowalk.config import Broker
from retrowalk.courier import recording
from retrowalk.mqtt import PahoLink
from retrowalk.platform import Acknowledged, Arrived, Connected, Disconnected, LinkEvent, SocketMailbox

pytestmark = pytest.mark.process

STATE = f"{ROOT}/state"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "broker") as found:
        yield found


# ------------------------------------------------------------------------------------------------- the link


class Link:
    """A `PahoLink` and what it has told."""

    def __init__(self, broker: Broker, client_id: str = "rw-0001") -> None:
        self.link = PahoLink(broker, client_id)
        self.told: list[LinkEvent] = []
        self._woken = threading.Event()
        self.link.wake = self._woken.set

    def wait(self, until: Callable[[list[LinkEvent]], bool], limit_s: float = 10.0) -> None:
        deadline = time.monotonic() + limit_s
        while True:
            self._woken.clear()
            self.told += self.link.events(time.monotonic())
            if until(self.told):
                return
            assert time.monotonic() < deadline, f"told only {self.told}"
            self._woken.wait(min(0.2, deadline - time.monotonic()))

    def answer(self, token: int) -> int:
        """The broker's answer to a publish."""
        self.wait(lambda told: any(isinstance(item, Acknowledged) and item.token == token for item in told))
        return next(item.reason_code for item in self.told if isinstance(item, Acknowledged) and item.token == token)


def connected(told: list[LinkEvent]) -> bool:
    return Connected() in told


@pytest.fixture
def make_link() -> Iterator[Callable[..., Link]]:
    made: list[Link] = []

    def make(port: int, **options: Any) -> Link:
        made.append(Link(Broker(host="127.0.0.1", port=port, **options)))
        made[-1].link.start(STATE, b"lost", [f"{ROOT}/cmd/#"])
        return made[-1]

    yield make
    for link in made:
        link.link.stop()


def test_publishes_and_receives(broker, make_link):
    """A message reaches a stranger and is answered; a stranger's command arrives."""
    link = make_link(broker.port)
    with Stranger(broker, f"{ROOT}/event/#") as stranger:
        link.wait(connected)
        assert link.answer(link.link.publish(f"{ROOT}/event/x", b"1")) < 0x80
        assert stranger.wait(lambda heard: len(heard) == 1) == [Heard(f"{ROOT}/event/x", b"1", False)]
        stranger.publish(f"{ROOT}/cmd/seen", b"{}")
        link.wait(lambda told: Arrived(f"{ROOT}/cmd/seen", b"{}", False) in told)


def test_connects_when_the_broker_comes(make_link, tmp_path):
    """Without a broker nothing blocks and nothing is lost; it connects by itself when there is one."""
    broker = Mosquitto(tmp_path / "broker")
    begun = time.monotonic()
    link = make_link(broker.port)
    token = link.link.publish(f"{ROOT}/event/x", b"1")
    assert time.monotonic() - begun < 0.5
    link.wait(lambda told: any(isinstance(item, Disconnected) for item in told))
    with broker:
        link.wait(connected, 20.0)
        assert link.answer(token) < 0x80


def test_a_lost_broker_is_noticed_and_found_again(broker, make_link):
    """The broker's end is told at once; when it is back the connection is, and messages go on."""
    link = make_link(broker.port)
    link.wait(connected)
    broker.kill()
    link.wait(lambda told: isinstance(told[-1], Disconnected))
    link.told.clear()
    broker.start()
    link.wait(connected, 20.0)
    assert link.answer(link.link.publish(f"{ROOT}/event/x", b"1")) < 0x80


def test_a_refused_message_is_answered_with_the_reason(make_link, tmp_path):
    """MQTT 5 says that an ACL refused the message; other topics go through."""
    acl = f"topic write {ROOT}/state\ntopic read {ROOT}/cmd/#\n"
    with Mosquitto(tmp_path / "broker", acl=acl) as broker:
        link = make_link(broker.port)
        link.wait(connected)
        assert link.answer(link.link.publish(f"{ROOT}/event/x", b"1")) == 0x87
        assert link.answer(link.link.publish(STATE, b"1")) < 0x80


def test_the_will_is_published_when_the_connection_breaks(broker):
    """A process that is killed leaves its will, retained; a clean stop leaves none."""
    code = (
        "import sys, time; from retrowalk.config import Broker; from retrowalk.mqtt import PahoLink\n"
        f"link = PahoLink(Broker(host='127.0.0.1', port={broker.port}), 'rw-0001')\n"
        f"link.start({STATE!r}, b'lost', [])\n"
        "while not link.events(0.0): time.sleep(0.01)\n"
        "print('connected', flush=True)\n"
        "sys.stdin.read()\n"
        "link.stop()\n"
    )
    with Stranger(broker, STATE) as stranger:
        for act, expected in (("close", 0), ("kill", 1)):
            with subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            ) as process:
                assert process.stdout is not None
                assert process.stdin is not None
                assert process.stdout.readline() == b"connected\n"
                if act == "kill":
                    process.kill()
                else:
                    process.stdin.close()
                process.wait(10.0)
            if expected:
                stranger.wait(lambda heard: len(heard) == 1)
        assert [heard.payload for heard in stranger.heard] == [b"lost"]


def test_what_cannot_be_published_is_answered_as_refused(broker, make_link):
    """A topic that may not be published to is refused here, not raised."""
    link = make_link(broker.port)
    link.wait(connected)
    assert link.answer(link.link.publish("retrowalk/#", b"1")) >= 0x80


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param({"password_file": "/none/secret"}, "broker.password_file = '/none/secret'", id="password"),
        pytest.param({"tls": True, "ca_file": "/nonexistent/ca"}, "broker.ca_file = '/nonexistent/ca'", id="ca"),
    ],
)
def test_missing_files_are_named(make_link, options, says):
    """A file that cannot be read is told as a reason, and tried again later."""
    link = make_link(free_port(), **options)
    link.wait(lambda told: any(isinstance(item, Disconnected) and says in item.reason for item in told))
    assert link.link.next_due(0.0) < time.monotonic() + 20.0


def test_a_password_is_used_and_never_told(tmp_path, make_link):
    """User name and password of the file let in; a wrong one is a reason without its content."""
    program = shutil.which("mosquitto_passwd")
    if program is None:
        pytest.skip("mosquitto_passwd is not installed")
    passwords = tmp_path / "passwords"
    subprocess.run([program, "-b", "-c", str(passwords), "rw-0001", "geheim"], check=True, capture_output=True)
    secret = tmp_path / "secret"
    secret.write_text("geheim\n")
    wrong = tmp_path / "wrong"
    wrong.write_text("verraten\n")
    extra = f"password_file {passwords}"
    with Mosquitto(tmp_path / "broker", extra=extra, anonymous=False) as broker:
        link = make_link(broker.port, password_file=str(secret))
        link.wait(connected)
        link.link.stop()
        other = make_link(broker.port, password_file=str(wrong))
        other.wait(lambda told: any(isinstance(item, Disconnected) for item in told))
        assert not connected(other.told)
        assert "verraten" not in str(other.told)


class OldBroker(threading.Thread):
    """A broker that knows only MQTT 3.1.1: refuses version 5 as the standard says, then answers."""

    def __init__(self) -> None:
        super().__init__(name="old broker", daemon=True)
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.versions: list[int] = []

    def run(self) -> None:
        try:
            while True:
                connection, _ = self.server.accept()
                with connection:
                    self.serve(connection)
        except OSError:
            pass  # closed by the test

    def serve(self, connection: socket.socket) -> None:
        packet = connection.recv(1000)
        version = packet[packet.index(b"MQTT") + 4]
        self.versions.append(version)
        if version != 4:
            connection.sendall(b"\x20\x02\x00\x01")
            return
        connection.sendall(b"\x20\x02\x00\x00")
        while packet := connection.recv(1000):
            if packet[0] & 0xF0 == 0x80:
                connection.sendall(b"\x90\x03" + packet[2:4] + b"\x01")
            elif packet[0] & 0xF0 == 0x30:
                length = int.from_bytes(packet[2:4])
                connection.sendall(b"\x40\x02" + packet[4 + length : 6 + length])


def test_an_old_broker_is_spoken_to_in_its_own_words(make_link):
    """A broker that refuses MQTT 5 is asked again in 3.1.1 at once, and for ever after."""
    broker = OldBroker()
    broker.start()
    try:
        link = make_link(broker.port)
        link.wait(connected)
        time.sleep(0.2)  # its answer to the subscription, apart from the next
        assert link.answer(link.link.publish("a/b", b"1")) == 0
        assert broker.versions == [5, 4]
    finally:
        broker.server.close()


@pytest.mark.parametrize("seed", range(3))
def test_a_broker_that_talks_nonsense_does_not_end_the_link(seed, make_link):
    """Whatever comes over the wire, the link goes on trying."""
    rng = random.Random(seed)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20.0)
        link = make_link(server.getsockname()[1])
        for _ in range(2):
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"\x20\x03\x00\x00\x00" + rng.randbytes(200))
            link.wait(lambda told: any(isinstance(item, Disconnected) for item in told))
            link.told.clear()
            if link.link.next_due(0.0) < math.inf:  # its thread ended: it would begin anew in 15 s
                link.link._restart_at = 0.0


# --------------------------------------------------------------------------------------- the courier's process


class Guard:
    """A guard that hands events over until they are committed, and a courier it talks to."""

    def __init__(self, directory: Path, broker: Mosquitto, *, require_hub_ack: bool = False) -> None:
        self._sockets = tempfile.TemporaryDirectory(prefix="rw")  # short: a socket's path is at most 100 bytes
        self.run_dir = Path(self._sockets.name)
        self.state_dir = directory / "state"
        self.config = directory / "retrowalk.toml"
        hub = "required" if require_hub_ack else "none"
        self.config.write_text(f'[broker]\nhost = "127.0.0.1"\nport = {broker.port}\nhub = "{hub}"\n')
        self.mailbox = SocketMailbox(self.run_dir, "guard")
        self.open: dict[int, wire.EventMessage] = {}
        self.number = 0
        self.told: list[wire.LocalMessage] = []
        self.courier: subprocess.Popen[bytes] | None = None
        self._log = (directory / "courier.log").open("ab")

    def start_courier(self) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("run_courier.py")
        self.courier = subprocess.Popen(
            [sys.executable, str(script), str(self.config), str(self.run_dir), str(self.state_dir)],
            stdout=self._log,
            stderr=self._log,
        )
        return self.courier

    def kill_courier(self) -> None:
        assert self.courier is not None
        self.courier.kill()
        self.courier.wait(5.0)

    def emit(self, kind: str = "hazard.raised", **data: Any) -> None:
        """Something happens."""
        self.number += 1
        message = event(self.number, kind, t_s=time.monotonic(), **data)
        self.open[self.number] = message
        self.mailbox.send("courier", wire.encode(message))

    def listen(self, seconds: float) -> None:
        """Time passes; answers are read."""
        deadline = time.monotonic() + seconds
        while True:
            while (datagram := self.mailbox.receive()) is not None:
                message = wire.decode_local(datagram)
                self.told.append(message)
                if isinstance(message, wire.CommittedMessage):
                    for number in [number for number in self.open if number <= message.number]:
                        del self.open[number]
            left = deadline - time.monotonic()
            if left <= 0:
                return
            select.select([self.mailbox.fileno()], [], [], left)

    def wait(self, until: Callable[[], bool], limit_s: float = 20.0) -> None:
        """Hands over again what has no answer until `until()`."""
        deadline = time.monotonic() + limit_s
        while not until():
            assert time.monotonic() < deadline, f"open {list(self.open)[:5]}, told {self.told[-3:]}"
            for message in list(self.open.values())[:100]:
                if not self.mailbox.send("courier", wire.encode(message)):
                    break
            self.listen(0.3)

    def beats(self) -> list[wire.CourierBeat]:
        return [message for message in self.told if isinstance(message, wire.CourierBeat)]

    def ready(self) -> None:
        """Waits until the courier is connected."""
        self.wait(lambda: bool(self.beats()) and self.beats()[-1].connected)

    def close(self) -> None:
        if self.courier is not None and self.courier.poll() is None:
            self.kill_courier()
        self.mailbox.close()
        self._log.close()
        self._sockets.cleanup()


@pytest.fixture
def guard(tmp_path: Path, broker: Mosquitto) -> Iterator[Guard]:
    found = Guard(tmp_path, broker)
    yield found
    found.close()


def envelopes(heard: list[Heard]) -> list[dict[str, Any]]:
    return [message.json() for message in heard if message.topic.startswith(f"{ROOT}/event/")]


def said(heard: list[Heard]) -> list[str]:
    """The words of the state topic."""
    return [message.json()["state"] for message in heard if message.topic == STATE]


def test_a_stranger_receives_a_fall(guard, broker):
    """A client that knows nothing of retrowalk receives a valid CloudEvent, and the guard is told."""
    guard.start_courier()
    with Stranger(broker, "retrowalk/#") as stranger:
        guard.ready()
        guard.emit("fall.confirmed", fall=1)
        (envelope,) = envelopes(stranger.wait(lambda heard: len(envelopes(heard)) == 1))
        assert {"specversion", "id", "source", "type"} <= set(envelope)
        assert (envelope["specversion"], envelope["type"]) == ("1.0", "io.retrowalk.fall.confirmed")
        assert (envelope["priority"], envelope["data"], envelope["historical"]) == ("high", {"fall": 1}, False)
        guard.wait(lambda: wire.DeliveredMessage("s1", 1, 1) in guard.told)
        assert guard.open == {}
        stranger.wait(lambda heard: any(m.topic.endswith("/alert") and m.json().get("type") for m in heard))


def test_a_clean_stop_says_disconnected(guard, broker):
    """SIGTERM: the last state is `disconnected`, the recording is finished, the exit clean."""
    courier = guard.start_courier()
    with Stranger(broker, STATE) as stranger:
        guard.ready()
        guard.mailbox.send("courier", wire.encode(session_message()))
        guard.mailbox.send("courier", wire.encode(wire.RecordsMessage("s1", records(200))))
        guard.listen(0.5)
        courier.send_signal(signal.SIGTERM)
        assert courier.wait(5.0) == 0
        stranger.wait(lambda heard: "disconnected" in said(heard))
        assert said(stranger.heard) == ["ready", "disconnected"]
    found = recording.read(guard.state_dir / "recordings")
    assert (found.complete, len(found.entries)) == (True, 200)


def test_a_killed_courier_is_lost_and_comes_back(guard, broker):
    """kill -9: the broker says `lost` for that connection; the next courier has another and says `ready`."""
    guard.start_courier()
    with Stranger(broker, STATE) as stranger:
        guard.ready()
        guard.kill_courier()
        stranger.wait(lambda heard: said(heard)[-1:] == ["lost"])
        guard.start_courier()
        stranger.wait(lambda heard: said(heard)[-1:] == ["ready"])
        conns = [message.json()["conn"] for message in stranger.heard]
        assert conns[0] == conns[1] != conns[2]


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_stopped_broker_loses_nothing(guard, broker, when):
    """The broker is stopped before, while or after events happen; every one arrives, doubles have one id."""
    stranger = Stranger(broker, f"{ROOT}/event/#")
    try:
        guard.start_courier()
        guard.ready()
        if when == "before":
            broker.stop()
        for number in range(60):
            if when == "during" and number in (20, 40):
                broker.stop() if number == 20 else broker.start()
            guard.emit("sensor.lost" if number % 5 else "fall.confirmed")
            guard.listen(0.02)
        if when == "after":
            broker.kill()
        if when != "during":
            guard.listen(1.0)
            broker.start()
        guard.wait(lambda: not guard.open)
        heard = stranger.wait(lambda heard: len({item["seq"] for item in envelopes(heard)}) == 60, 40.0)
    finally:
        stranger.close()
    assert len({item["id"] for item in envelopes(heard)}) == 60


@pytest.mark.parametrize("seed", range(2))
def test_a_courier_killed_again_and_again_loses_nothing(guard, broker, seed):
    """kill -9 of the courier at random moments while events flow: every event arrives, doubles have one id."""
    rng = random.Random(seed)
    with Stranger(broker, f"{ROOT}/event/#") as stranger:
        for _ in range(4):
            guard.start_courier()
            kill_at = time.monotonic() + rng.uniform(0.3, 1.5)
            while time.monotonic() < kill_at:
                guard.emit(rng.choice(["hazard.raised", "fall.suspected", "sos.raised"]))
                guard.listen(0.005)
            guard.kill_courier()
        guard.start_courier()
        guard.wait(lambda: not guard.open)
        heard = stranger.wait(lambda heard: len({item["id"] for item in envelopes(heard)}) >= guard.number, 40.0)
    found = envelopes(heard)
    assert len({item["id"] for item in found}) == guard.number > 100
    assert len({item["seq"] for item in found}) == guard.number
    assert len({item["epoch"] for item in found}) == 1


def test_a_refused_event_stays_on_disk(tmp_path):
    """An ACL that refuses events loses none: the guard hears of it, and once allowed they arrive."""
    with Mosquitto(tmp_path / "broker", acl=f"topic readwrite {STATE}\ntopic read #\n") as broker:
        guard = Guard(tmp_path, broker)
        try:
            guard.start_courier()
            guard.ready()
            guard.emit("fall.confirmed")
            guard.wait(lambda: (guard.beats()[-1].waiting, guard.beats()[-1].fault) == (1, "broker"))
            guard.kill_courier()
            (broker.directory / "acl").write_text("topic readwrite #\n")
            broker.stop()
            broker.start()
            with Stranger(broker, f"{ROOT}/event/#") as stranger:
                guard.start_courier()
                (envelope,) = envelopes(stranger.wait(lambda heard: len(heard) == 1))
                assert envelope["eventtype"] == "fall.confirmed"
        finally:
            guard.close()


def test_a_hub_takes_over(tmp_path, broker):
    """With `require_hub_ack` events stay until the hub has said so; a person's `seen` reaches the guard."""
    guard = Guard(tmp_path, broker, require_hub_ack=True)
    try:
        guard.start_courier()
        with Stranger(broker, f"{ROOT}/event/#") as hub:
            guard.ready()
            for _ in range(5):
                guard.emit()
            found = envelopes(hub.wait(lambda heard: len(envelopes(heard)) == 5))
            guard.listen(1.5)
            assert guard.beats()[-1].waiting == 5
            ack = {"epoch": found[0]["epoch"], "seq": 5}
            hub.publish(f"{ROOT}/cmd/ack", json.dumps(ack).encode(), retain=True)
            seen = {"id": "c1", "by": "Anna", "issued_ms": round(time.time() * 1000), "event": found[0]["id"]}
            hub.publish(f"{ROOT}/cmd/seen", json.dumps(seen).encode())
            guard.wait(lambda: wire.DeliveredMessage("s1", 5) in guard.told)
            guard.wait(lambda: any(type(told) is wire.CommandMessage and told.id == "c1" for told in guard.told))
            guard.wait(lambda: guard.beats()[-1].waiting == 0)
    finally:
        guard.close()


def test_the_watchdog_is_fed_by_a_turning_loop(guard, tmp_path):
    """systemd hears READY at once and WATCHDOG each second; a stopped courier feeds nothing."""
    address = guard.run_dir / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(address))
        service.settimeout(5.0)
        os.environ["NOTIFY_SOCKET"] = str(address)
        try:
            courier = guard.start_courier()
        finally:
            del os.environ["NOTIFY_SOCKET"]
        assert [service.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        courier.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, courier.pid, os.WSTOPPED)
        while select.select([service], [], [], 0.0)[0]:
            service.recv(100)
        assert not select.select([service], [], [], 2.5)[0]
        courier.send_signal(signal.SIGCONT)
        assert service.recv(100) == b"WATCHDOG=1"
