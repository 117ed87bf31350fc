"""The real broker link: paho-mqtt, MQTT 5 (3.1.1 where the broker knows no better), QoS 1.

paho runs its own thread.  Its callbacks only put what happened into a queue and call `wake`: a callback that raised
would end that thread, and one that took a lock of ours could wait for `publish`, which waits for paho's lock.
paho keeps messages in memory only, so it is given few at a time; the outbox is what remembers.
"""

from __future__ import annotations

import logging
import math
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from retrowalk import logs
from retrowalk.config import Broker
from retrowalk.errors import LinkError
from retrowalk.platform import Acknowledged, Arrived, Connected, Disconnected, LinkEvent, no_wake

RECONNECT_MIN_S = 1
RECONNECT_MAX_S = 8
"""A walker is not a server: paho's own 120 s would be two minutes without help after each tunnel.  However long the
broker was away, what waits is on its way within 10 s of its return."""

SESSION_EXPIRY_S = 7 * 24 * 3600
"""The broker keeps our subscription, and commands sent meanwhile, this long."""

RESTART_S = 15.0
"""After trouble that paho does not mend by itself (its thread ended, a file is missing) we begin anew so much later."""

PACKET_MAX_BYTES = 64 * 1024
"""A broker of MQTT 5 keeps longer messages to itself: nothing of ours is as long."""

UNCONFIRMED = 100
"""Messages that a broker of MQTT 5 sends ahead of our confirmations."""

WAITING_MAX = 5000
"""Arrived messages that wait for `events`; of more, those that the broker would not send again are let go."""

HANGS_S = 180.0
"""paho's thread turns each second, and waits for a name or a handshake for a minute or two at the worst.  One that has
not turned for so long never will, and cannot be ended but with its process."""

STOP_WAIT_S = 1.0
NOT_TAKEN = 0x80
"""Answer to a message that paho did not take."""

UNSUPPORTED_PROTOCOL = 0x84

_log = logging.getLogger(__name__)


class _Client(mqtt.Client):
    """paho's client, whose thread says that it ends instead of vanishing."""

    ended: threading.Event
    on_end: Callable[[str], None]
    turns: int = 0
    """How often its thread has come round."""

    def loop_misc(self) -> MQTTErrorCode:
        self.turns += 1
        return super().loop_misc()

    def reconnect(self) -> MQTTErrorCode:
        self.turns += 1
        try:
            return super().reconnect()
        finally:
            self.turns += 1

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        reason = "ended"
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as error:
            # A packet that cannot be parsed, a host name that cannot be encoded: the link begins anew.
            reason = f"{type(error).__name__}: {error}"
            return MQTTErrorCode.MQTT_ERR_UNKNOWN
        finally:
            self.ended.set()
            self.on_end(reason)


class PahoLink:
    """A `BrokerLink` to the broker of the configuration, as client `client_id`.

    The password is read from its file at each start and never appears in a message.  `confirm`: the broker keeps what
    it sent until `handled` says that it is on disk, and sends no more than `UNCONFIRMED` messages ahead of that.
    """

    def __init__(self, broker: Broker, client_id: str, *, confirm: bool = False) -> None:
        self.wake: Callable[[], None] = no_wake
        self._broker = broker
        self._client_id = client_id
        self._confirm = confirm
        self._to_confirm: dict[int, tuple[int, int, int]] = {}
        """Messages taken and not handled, by token: connection, their number there and quality of service."""
        self._connection = 0
        """Serial number of the connection, counted in paho's thread before anything arrives on it."""
        self.let_go = 0
        """Messages that arrived faster than they were read and were let go."""
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._happened: queue.SimpleQueue[tuple[int, str, Any]] = queue.SimpleQueue()
        self._client: _Client | None = None
        self._generation = 0
        self._tokens: dict[int, int] = {}
        self._serial = 0
        self._will: tuple[str, bytes] | None = None
        self._subscriptions: tuple[str, ...] = ()
        self._restart_at = math.inf
        self._turn = (-1, 0)
        self._turned_s = 0.0
        self._hangs = False

    # ------------------------------------------------------------------------------------- the courier's side

    def start(self, will_topic: str, will_payload: bytes, subscriptions: Sequence[str]) -> None:
        """Begins to connect.  Called again while it connects, the next connection has the new will."""
        self._will = (will_topic, will_payload)
        self._subscriptions = tuple(subscriptions)
        if self._client is not None:
            self._set_will(self._client)
        else:
            self._open()

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1, expiry_s: int | None = None
    ) -> int:
        self._serial += 1
        token = self._serial
        if self._client is None:
            self._refuse(token)
            return token
        try:
            info = self._client.publish(topic, payload, qos=qos, retain=retain, properties=self._expiring(expiry_s))
        except (ValueError, RuntimeError) as error:  # a topic with a wildcard, a payload that is too long
            _log.warning("publish %s: %s", topic, error)
            self._refuse(token)
            return token
        if info.rc in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
            if qos > 0:
                # paho's thread may have answered already; its answer waits in the queue until `events` looks here.
                self._tokens[info.mid] = token
        else:
            self._refuse(token)  # 15: paho's queue is full, and the message was not taken
        return token

    def _expiring(self, expiry_s: int | None) -> Properties | None:
        if expiry_s is None or self._protocol != MQTTProtocolVersion.MQTTv5:
            return None
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it so
        properties.MessageExpiryInterval = expiry_s
        return properties

    def _refuse(self, token: int) -> None:
        self._happened.put((self._generation, "refused", token))
        self.wake()

    def handled(self, token: int) -> None:
        connection, mid, qos = self._to_confirm.pop(token, (-1, 0, 0))
        # On another connection the number may be another message's, which nobody has stored yet.
        if connection == self._connection and self._client is not None:
            self._client.ack(mid, qos)

    def events(self, now: float) -> list[LinkEvent]:
        found: list[LinkEvent] = []
        while True:
            try:
                generation, kind, value = self._happened.get_nowait()
            except queue.Empty:
                break
            if generation == self._generation:  # else: of a client that we have left
                found.extend(self._translated(kind, value, now))
        if now >= self._restart_at:
            self._open()
        return found

    def _translated(self, kind: str, value: Any, now: float) -> list[LinkEvent]:
        match kind:
            case "connected":
                self._to_confirm.clear()  # what was not confirmed comes again
                return [Connected()]
            case "answered":
                mid, code = value
                token = self._tokens.pop(mid, None)
                return [] if token is None else [Acknowledged(token, code)]
            case "refused":
                return [Acknowledged(value, NOT_TAKEN)]
            case "arrived":
                topic, payload, retained, connection, mid, qos = value
                token = 0
                if self._confirm and qos > 0:
                    self._serial += 1
                    token = self._serial
                    self._to_confirm[token] = (connection, mid, qos)
                return [Arrived(topic, payload, retained, token)]
            case "old protocol":
                _log.warning("the broker refuses MQTT 5: 3.1.1 from now on; it cannot say that it refused an event")
                self._protocol = MQTTProtocolVersion.MQTTv311
                self._leave()
                self._open()
                return [Disconnected(value)]
            case "ended":
                self._leave()
                self._restart_at = now + RESTART_S
                return [Disconnected(value)]
            case _:
                return [Disconnected(value)]

    def next_due(self, now: float) -> float:
        return self._restart_at

    def alive(self, now: float) -> bool:
        """Evidence for the watchdog: paho's thread has turned lately, or there is none.  To be asked each second."""
        client = self._client
        turn = self._generation, client.turns if client is not None else 0
        if client is None or turn != self._turn:
            self._turn, self._turned_s, self._hangs = turn, now, False
        elif now - self._turned_s >= HANGS_S and not self._hangs:
            self._hangs = True
            _log.error("the thread of the broker link has not come round for %g s", HANGS_S)
        return not self._hangs

    def stop(self) -> None:
        """Ends the connection cleanly; waits at most a second for that."""
        client = self._client
        self._leave()
        if client is not None:
            client.ended.wait(STOP_WAIT_S)

    # ------------------------------------------------------------------------------------------ the client

    def _leave(self) -> None:
        """Lets go of the client: it says goodbye in its own thread, and nothing of it is heard any more."""
        client, self._client = self._client, None
        self._generation += 1
        self._tokens.clear()
        self._to_confirm.clear()
        self._restart_at = math.inf
        if client is not None:
            client.disconnect()

    def _open(self) -> None:
        self._restart_at = math.inf
        self._generation += 1
        self._tokens.clear()
        self._to_confirm.clear()
        generation = self._generation
        try:
            client = self._configured(generation)
        except (LinkError, OSError, ValueError) as error:
            # `now` is not known here; the wake brings `events`, which plans the next attempt.
            self._happened.put((generation, "ended", str(error)))
            self.wake()
            return
        self._client = client
        client.loop_start()

    def _configured(self, generation: int) -> _Client:
        broker = self._broker
        client = _Client(
            CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=self._protocol, **self._clean()
        )
        client.suppress_exceptions = True
        client.manual_ack_set(self._confirm)
        client.ended = threading.Event()
        client.on_end = self._reporter(generation, "ended")
        client.reconnect_delay_set(RECONNECT_MIN_S, RECONNECT_MAX_S)
        password = _password(broker.password_file)
        logs.hide(password or "")
        if password is not None or broker.username:
            client.username_pw_set(broker.username or self._client_id, password)
        if broker.tls:
            try:
                context = ssl.create_default_context(cafile=broker.ca_file or None)
            except (OSError, ssl.SSLError) as error:
                raise LinkError(f"broker.ca_file = {broker.ca_file!r}: cannot be used: {error}") from error
            client.tls_set_context(context)
        self._set_will(client)
        self._listen(client, generation)
        if self._protocol == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it so
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.MaximumPacketSize = PACKET_MAX_BYTES
            if self._confirm:
                properties.ReceiveMaximum = UNCONFIRMED
            client.connect_async(
                broker.host, broker.port, keepalive=broker.keepalive_s, clean_start=False, properties=properties
            )
        else:
            client.connect_async(broker.host, broker.port, keepalive=broker.keepalive_s)
        return client

    def _clean(self) -> dict[str, Any]:
        return {} if self._protocol == MQTTProtocolVersion.MQTTv5 else {"clean_session": False}

    def _set_will(self, client: _Client) -> None:
        if self._will is not None:
            client.will_set(self._will[0], self._will[1], qos=1, retain=True)

    def _reporter(self, generation: int, kind: str) -> Callable[[Any], None]:
        def report(value: Any) -> None:
            self._happened.put((generation, kind, value))
            try:
                self.wake()
            except Exception:
                # In paho's thread, which must not end; the courier's own beat looks here within a second.
                _log.exception("wake")

        return report

    def _listen(self, client: _Client, generation: int) -> None:
        """Sets the callbacks.  They run in paho's thread, one of them with its lock held: they only report."""
        connected = self._reporter(generation, "connected")
        old_protocol = self._reporter(generation, "old protocol")
        lost = self._reporter(generation, "lost")
        answered = self._reporter(generation, "answered")
        arrived = self._reporter(generation, "arrived")
        subscriptions = [(topic, 1) for topic in self._subscriptions]
        v5 = self._protocol == MQTTProtocolVersion.MQTTv5

        def on_connect(client_: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
            if not reason.is_failure:
                self._connection += 1
                if subscriptions:
                    client_.subscribe(subscriptions)
                connected(None)
            elif v5 and reason.value == UNSUPPORTED_PROTOCOL:
                old_protocol(f"refused: {reason}")
            else:
                lost(f"refused: {reason}")

        def on_socket_open(client_: mqtt.Client, _data: Any, sock: Any) -> None:
            _hurry(sock)

        def on_connect_fail(client_: mqtt.Client, _data: Any) -> None:
            lost("no connection")

        def on_disconnect(client_: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
            lost(str(reason))

        def on_publish(client_: mqtt.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any) -> None:
            answered((mid, reason.value))

        def on_message(client_: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
            try:
                topic = message.topic
            except UnicodeDecodeError:
                return  # not addressed to anything we know
            _hurry(client_.socket())
            sure = self._confirm and message.qos > 0  # the broker waits for us, and sends no more than it may
            if not sure and self._happened.qsize() >= WAITING_MAX:
                self.let_go += 1
                return
            arrived((topic, bytes(message.payload), bool(message.retain), self._connection, message.mid, message.qos))

        def on_subscribe(
            client_: mqtt.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
        ) -> None:
            for topic, reason in zip(self._subscriptions, reasons, strict=False):
                if reason.is_failure:
                    _log.warning("the broker refuses to tell of %s: %s", topic, reason)

        client.on_socket_open = on_socket_open
        client.on_connect = on_connect
        client.on_connect_fail = on_connect_fail
        client.on_disconnect = on_disconnect
        client.on_publish = on_publish
        client.on_message = on_message
        client.on_subscribe = on_subscribe


def _hurry(sock: Any) -> None:
    """Small packets go out at once, and what comes is acknowledged at once.

    Else each side waits for the other: a message that follows another soon would stand for 40 ms, at the broker too.
    """
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    except (OSError, AttributeError):
        pass  # no TCP, or another system: slower by that, and as good


def _password(file: str) -> str | None:
    """The content of the password file without its last line end; None if none is named.  Raises `LinkError`."""
    if not file:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise LinkError(f"broker.password_file = {file!r}: {reason}") from None
