"""Bad commands by way of a real broker to a real courier's link: its own messages stay as documented."""

from __future__ import annotations

import random
import time

import pytest
from tests.broker import Mosquitto, Stranger
from tests.courier.helpers import ROOT, Street, event, session_message
from tests.courier.test_fuzz import examples, message
from tests.messages import misfits

from retrowalk import wire
from retrowalk.config import Broker
from retrowalk.courier.courier import Courier
from retrowalk.courier.outbox import Outbox
from retrowalk.courier.recording import Recorder
from retrowalk.mqtt import PahoLink
from retrowalk.platform import MonotonicClock, Platform
from retrowalk.sim.scheduler import MemoryMail


@pytest.mark.process
@pytest.mark.slow
def test_bad_commands_by_a_real_broker(tmp_path):
    """Among 1500 bad commands each event arrives, and all that the courier sends fits the strict schemas"""
    rng = random.Random(3)
    street = Street(tmp_path / "street")  # only to make the messages
    good = examples()
    with Mosquitto(tmp_path / "broker") as broker, Stranger(broker, f"{ROOT}/#") as stranger:
        clock, mail = MonotonicClock(), MemoryMail()
        guard = mail.open("guard")
        config = street.config.__class__(broker=Broker(host=broker.host, port=broker.port))
        link = PahoLink(config.broker, "retrowalk-rw-0001")
        outbox = Outbox(tmp_path / "outbox.db", owner="home/rw-0001")
        recorder = Recorder(tmp_path / "recordings", config.recording)
        courier = Courier(
            config, outbox, recorder, link, Platform(clock, mail.open("courier")), tmp_path / "guard.state"
        )
        try:
            guard.send("courier", wire.encode(session_message()))
            for turn in range(1500):
                topic, payload, retained = message(rng, street, good)
                if topic.startswith(f"{ROOT}/cmd/") and topic.isprintable():  # else the broker ends the connection
                    stranger.publish(topic, payload, retain=retained)
                if turn % 30 == 0:
                    number = turn // 30 + 1
                    guard.send("courier", wire.encode(event(number, fall=number)))
                courier.poll(clock.now())
            until = time.monotonic() + 20.0
            expected = set(range(1, 51))
            while time.monotonic() < until:
                courier.poll(clock.now())
                stranger.wait(lambda heard: True)
                found = arrived(stranger)
                if found >= expected:
                    break
                time.sleep(0.02)
        finally:
            courier.close()
    assert arrived(stranger) == expected
    own = [heard for heard in stranger.heard if not heard.topic.startswith(f"{ROOT}/cmd")]
    # The data of these events is only a number, so the envelope is what is held.
    assert [text for heard in own for text in misfits(heard.topic, heard.payload) if "$.data" not in text] == []


def arrived(stranger: Stranger) -> set[int]:
    """The numbers of the events that somebody else has heard."""
    while not stranger._queue.empty():
        stranger.heard.append(stranger._queue.get())
    events = [heard.json() for heard in stranger.heard if "/event/hazard" in heard.topic]
    return {found["data"]["fall"] for found in events}
