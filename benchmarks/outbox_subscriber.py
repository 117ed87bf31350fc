"""The most careful subscriber that knows nothing of a hub: its session is kept, and it confirms what it has committed.

`outbox` uses it where the broker is all there is.  As a program it stores every event once by (source, epoch, seq) in
SQLite (WAL, FULL), then confirms it to the broker.  `--ack`: it also tells the device what it has (`cmd/ack`, retained,
cumulative), as a hub does.  `--ack-early`: it does so before it stores anything, which is wrong, and stays for
`HELD_S` in memory what it acknowledged.
"""

from __future__ import annotations

import argparse
import contextlib
import queue
import sqlite3
import time
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from retrowalk import wire
from retrowalk.errors import WireError

HELD_S = 0.5
ACK_S = 0.05

SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    row INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT, epoch TEXT, seq INTEGER, id TEXT, type TEXT, data TEXT,
    UNIQUE (device, epoch, seq)
);
"""


class Subscriber:
    """Stores what arrives below `retrowalk/v1/<site>/+/event/`."""

    def __init__(self, path: Path, site: str, *, ack: bool, early: bool) -> None:
        self._site, self._ack, self._early = site, ack, early
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(SCHEMA)
        self._connection = 0
        self._arrived: queue.SimpleQueue[tuple[int, mqtt.MQTTMessage]] = queue.SimpleQueue()
        self._held: list[tuple[float, wire.CloudEvent]] = []
        self._acked: dict[tuple[str, str], int] = {}
        self._seen: dict[tuple[str, str], set[int]] = {}
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="hub", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
        )
        self._client.reconnect_delay_set(1, 15)

        def on_connect(client: mqtt.Client, *_: object) -> None:
            self._connection += 1
            client.subscribe(f"{wire.topic_root(site, '+')}/event/#", qos=1)

        def on_message(client: mqtt.Client, data: object, message: mqtt.MQTTMessage) -> None:
            self._arrived.put((self._connection, message))

        self._client.on_connect = on_connect
        self._client.on_message = on_message

    def run(self, host: str, port: int) -> None:
        """For ever."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it so
        properties.SessionExpiryInterval = 7 * 24 * 3600
        self._client.connect_async(host, port, keepalive=10, clean_start=False, properties=properties)
        self._client.loop_start()
        while True:
            messages = []
            with contextlib.suppress(queue.Empty):
                messages.append(self._arrived.get(timeout=ACK_S))
                while len(messages) < 100:
                    messages.append(self._arrived.get_nowait())
            self._take(messages)

    def _take(self, messages: list[tuple[int, mqtt.MQTTMessage]]) -> None:
        events = []
        for _, message in messages:
            with contextlib.suppress(WireError):
                events.append(wire.decode(bytes(message.payload), wire.CloudEvent))
        if self._early:
            self._acknowledge(events)
            self._held += [(time.monotonic() + HELD_S, event) for event in events]
            due = [event for at_s, event in self._held if at_s <= time.monotonic()]
            self._held = [(at_s, event) for at_s, event in self._held if at_s > time.monotonic()]
            self._store(due)
        else:
            self._store(events)
            self._acknowledge(events)
        for connection, message in messages:
            if connection == self._connection:  # on another one the number may be another message's
                self._client.ack(message.mid, message.qos)

    def _store(self, events: list[wire.CloudEvent]) -> None:
        if not events:
            return
        self._db.execute("BEGIN IMMEDIATE")
        for event in events:
            device = event.source.removeprefix("retrowalk:")
            self._db.execute(
                "INSERT OR IGNORE INTO event (device, epoch, seq, id, type, data) VALUES (?, ?, ?, ?, ?, ?)",
                (device, event.epoch, event.seq, event.id, event.eventtype, wire.encode(event.data).decode()),
            )
        self._db.execute("COMMIT")

    def _acknowledge(self, events: list[wire.CloudEvent]) -> None:
        if not self._ack:
            return
        for device, epoch in {(event.source.removeprefix("retrowalk:"), event.epoch) for event in events}:
            seen = self._seen.get((device, epoch))
            if seen is None:
                rows = self._db.execute("SELECT seq FROM event WHERE device = ? AND epoch = ?", (device, epoch))
                seen = self._seen[device, epoch] = {row[0] for row in rows}
            seen |= {event.seq for event in events if event.epoch == epoch}
            acked = self._acked.get((device, epoch), 0)
            while acked + 1 in seen:
                acked += 1
            self._acked[device, epoch] = acked
            topic = f"{wire.topic_root(*device.split('/'))}/cmd/ack"
            self._client.publish(topic, wire.encode(wire.HubAck(epoch, acked)), qos=1, retain=True)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--site", default="home")
    parser.add_argument("--ack", action="store_true")
    parser.add_argument("--ack-early", action="store_true")
    options = parser.parse_args()
    early = options.ack_early
    Subscriber(options.store, options.site, ack=options.ack or early, early=early).run(options.host, options.port)


if __name__ == "__main__":
    _main()
