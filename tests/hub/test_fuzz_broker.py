"""Bad messages by way of a real broker to a real hub: what lies between them is kept, and the hub goes on."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from tests.broker import Mosquitto, Stranger
from tests.fuzz import written
from tests.hub.test_fuzz import EPOCH, ROOT, TYPES, bad, good_event

from retrowalk.config import Broker
from retrowalk.hub.settings import Contact, HubConfig

PROGRAM = Path(__file__).parent / "run_hub.py"


def kept(file: Path) -> int:
    """How many of the device's own events the hub has."""
    if not file.exists():
        return 0
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return int(db.execute("SELECT count(*) FROM event WHERE epoch = ?", (EPOCH,)).fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        db.close()


@pytest.mark.process
@pytest.mark.slow
def test_bad_messages_by_a_real_broker(tmp_path):
    """Of 3000 messages through a real broker, each of the device's events is kept once and nothing has failed"""
    rng = random.Random(5)
    with Mosquitto(tmp_path / "broker") as broker, Stranger(broker, "retrowalk/v1/home/hub/state") as watcher:
        contact = Contact(name="Anna", notify=("json://localhost",))
        settings = HubConfig(broker=Broker(host=broker.host, port=broker.port), contact=(contact,))
        (tmp_path / "hub.json").write_bytes(msgspec.json.encode(settings))
        state = tmp_path / "state"
        with (tmp_path / "hub.log").open("wb") as log:
            hub = subprocess.Popen([sys.executable, PROGRAM, tmp_path / "hub.json", state], stdout=log, stderr=log)
        try:
            watcher.wait(lambda heard: any(message.json()["state"] == "up" for message in heard))
            client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="somebody")
            client.connect(broker.host, broker.port)
            client.loop_start()
            sent = 0
            for turn in range(3000):
                if turn % 30 == 0:
                    sent += 1
                    topic, payload = f"{ROOT}/event/tea.spilt", written(good_event(sent, rng.choice(TYPES), "low"))
                else:
                    topic, payload = bad(rng, sent)
                if topic and topic != "retrowalk/v1/home/hub/state":
                    client.publish(topic, payload, qos=1, retain=rng.random() < 0.02).wait_for_publish(5.0)
            client.disconnect()
            client.loop_stop()
            until = time.monotonic() + 30.0
            while kept(state / "hub.db") < sent and time.monotonic() < until:
                time.sleep(0.1)
            assert kept(state / "hub.db") == sent
            assert hub.poll() is None
        finally:
            hub.terminate()
            hub.wait(10.0)
    text = (tmp_path / "hub.log").read_text()
    assert not [
        line for line in text.splitlines() if "Traceback" in line or "failed" in line or "cannot be taken" in line
    ]
