"""Whether the broker takes us, and whether a hub is behind it: one connection of our own, in plain words.

What is tried leaves nothing behind: an empty message on `event/doctor.tried`, which nobody takes for an event, and a
look at what the broker has kept.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrowalk import wire
from retrowalk.config import Broker
from retrowalk.doctor.report import Check, State
from retrowalk.errors import WireError

if TYPE_CHECKING:
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import MQTTProtocolVersion

LIMIT_S = 4.0
KEPT_S = 0.5
"""What a broker has kept comes so soon after it has confirmed that it was asked for."""

OLD_PROTOCOL = 0x84
"""A broker of MQTT 3.1.1 that is spoken to in MQTT 5."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How far a connection came: `name`, `reach`, `tls`, `login`, `file` failed, or empty: it was accepted."""

    failed: str = ""
    detail: str = ""
    """The reason, as the system or the broker gave it."""
    takes: bool | None = None
    """Whether it takes events of this device; None: it does not say."""
    keeps: bool = True
    """Whether it keeps messages for whoever comes later."""
    hub: str = ""
    """What is known of a hub: `up`, `down`, `lost`; empty: none was ever there."""
    old: bool = False
    """It speaks MQTT 3.1.1 only, and cannot say that it refuses."""


def try_broker(broker: Broker, site: str, device: str) -> Trial:
    """Connects as `<device>-doctor`, with the device's user name and password, looks, and goes away again."""
    import paho.mqtt.client as mqtt  # here: whoever only asks for help need not load it

    trial = _Visit(broker, site, device, mqtt.MQTTv5).made()
    if trial.old:
        trial = _Visit(broker, site, device, mqtt.MQTTv311).made()
    return trial


class _Visit:
    """One connection.  paho's callbacks run inside `loop`, in our own thread."""

    def __init__(self, broker: Broker, site: str, device: str, protocol: MQTTProtocolVersion) -> None:
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        self._broker = broker
        self._device = device
        self._hub_topic = wire.hub_topic(site)
        self._event_topic = f"{wire.topic_root(site, device)}/event/{wire.TRIED}"
        self._v5 = protocol == mqtt.MQTTv5
        self._accepted = False
        self._refused = ""
        self._old = False
        self._keeps = True
        self._asked = False
        self._hub = ""
        self._answer: int | None = None
        client = self._client = mqtt.Client(CallbackAPIVersion.VERSION2, f"{device}-doctor", protocol=protocol)
        client.connect_timeout = LIMIT_S
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message

    def made(self) -> Trial:
        """Makes it; returns what became of it."""
        try:
            password = self._password()
        except (OSError, UnicodeDecodeError) as error:
            return Trial("file", getattr(error, "strerror", None) or "is not UTF-8")
        broker, client = self._broker, self._client
        if password is not None or broker.username:
            client.username_pw_set(broker.username or self._device, password)
        try:
            if broker.tls:
                client.tls_set_context(ssl.create_default_context(cafile=broker.ca_file or None))
            client.connect(broker.host, broker.port, keepalive=10)
            if not self._until(lambda: self._accepted or bool(self._refused), LIMIT_S):
                return Trial("login", "it closed the connection without an answer")
            if not self._accepted:
                reason = self._refused or f"no answer within {LIMIT_S:g} s: it may be no MQTT broker"
                return Trial("login", reason, old=self._old)
            client.subscribe(self._hub_topic, 1)
            client.publish(self._event_topic, b"", qos=1)
            self._until(lambda: self._asked and self._answer is not None, LIMIT_S)
            self._until(lambda: bool(self._hub), KEPT_S)
        except ssl.SSLError as error:
            return Trial("tls", getattr(error, "verify_message", "") or error.reason or str(error))
        except socket.gaierror as error:
            return Trial("name", error.strerror or str(error))
        except (OSError, ValueError) as error:
            return Trial("reach", str(getattr(error, "strerror", None) or error))
        finally:
            client.disconnect()
        takes = self._answer < 0x80 if self._v5 and self._answer is not None else None
        return Trial(takes=takes, keeps=self._keeps, hub=self._hub, old=not self._v5)

    def _password(self) -> str | None:
        file = self._broker.password_file
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n") if file else None

    def _until(self, done: Callable[[], bool], limit_s: float) -> bool:
        """Goes on until `done` or the limit; False: the connection has ended before."""
        until = time.monotonic() + limit_s
        while not done() and time.monotonic() < until:
            if self._client.loop(0.1) != 0 and not done():
                return False
        return True

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        self._accepted = not reason.is_failure
        if reason.is_failure:
            self._refused = str(reason)
            self._old = self._v5 and reason.value == OLD_PROTOCOL
        self._keeps = bool(getattr(properties, "RetainAvailable", 1))

    def _on_publish(self, _client: Any, _data: Any, _mid: int, reason: Any, _properties: Any) -> None:
        self._answer = reason.value

    def _on_subscribe(self, *_: Any) -> None:
        self._asked = True

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic == self._hub_topic:
            try:
                self._hub = wire.decode(bytes(message.payload), wire.HubState).state
            except WireError:
                pass  # nothing of a hub


def look_at_broker(broker: Broker, trial: Trial) -> Check:
    """The line of a trial."""
    where = f"{broker.host}:{broker.port}{' with TLS' if broker.tls else ''}"
    if not broker.host:
        detail = "No broker is set: no messages reach anybody."
        return Check(
            "messages.broker", State.LOOK, "broker", detail, "Set host under [broker], or live without messages"
        )
    match trial.failed:
        case "" if trial.takes is False:
            detail = f"{where} lets this device in, but refuses its events: nobody hears of a fall."
            mend = (
                "On the broker: let it write to retrowalk/v1/<site>/<device>/event/# (docs/messages.md has the rules)"
            )
        case "" if not trial.keeps:
            detail = f"{where} accepts this device, but keeps no messages: who looks later does not see an open alert."
            mend = "On the broker: allow retained messages (retain_available true for mosquitto)"
        case "" if trial.old:
            detail = f"{where} accepts this device, but speaks MQTT 3.1.1 only: it cannot say when it refuses an event."
            mend = 'A broker of MQTT 5 (mosquitto 2), or a hub with broker.hub = "required"'
        case "":
            return Check("messages.broker", State.OK, "broker", f"{where} accepts this device.")
        case "file":
            detail = f"The password file {broker.password_file} cannot be read: {trial.detail}."
            mend = "sudo retrowalk doctor, or write the password into the file that broker.password_file names"
        case "name":
            detail = f"The name {broker.host} is not known: {trial.detail}."
            mend = "Check broker.host, and the network: ip address"
        case "tls":
            detail = f"{where}: encryption fails: {trial.detail}."
            mend = "Check broker.ca_file (the authority's certificate), broker.port (8883 is usual), and the clock"
        case "login":
            detail = f"{where} answers, but does not let this device in: {trial.detail}."
            mend = "Check broker.username and the password file; on the broker: mosquitto_passwd, and its acl"
        case _:
            detail = f"{where} cannot be reached: {trial.detail}."
            mend = "Check broker.host and broker.port, the network, and the broker: systemctl status mosquitto"
            if broker.host in ("localhost", "127.0.0.1", "::1"):
                mend = "On this device: sudo apt install mosquitto, systemctl status mosquitto; or set broker.host"
    # Warnings do not need it; somebody who waits for help does.
    return Check("messages.broker", State.LOOK, "broker", detail, mend)


def look_at_hub(broker: Broker, trial: Trial) -> Check | None:
    """Whether somebody watches, behind a broker that lets us in; None: nothing is known of a hub, nor expected."""
    if not broker.host or trial.failed:
        return None
    match trial.hub:
        case "up":
            return Check("messages.hub", State.OK, "hub", "A hub watches, and tells people.")
        case "down":
            detail = "The hub is switched off: events wait on this device, and nobody is told."
        case "lost":
            detail = "The hub has vanished from the broker: events wait on this device, and nobody is told."
        case _ if broker.hub == "required":
            detail = 'No hub is there, and broker.hub = "required": events wait on this device, and nobody is told.'
        case _:
            return None
    mend = (
        "On the hub's machine: systemctl status retrowalk-hub; it needs this broker, and the device's site in hub.toml"
    )
    return Check("messages.hub", State.LOOK, "hub", detail, mend)
