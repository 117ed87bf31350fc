"""Whether the broker takes us: one connection of our own, to its answer, in plain words."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

from retrowalk.config import Broker
from retrowalk.doctor.report import Check, State

LIMIT_S = 4.0


@dataclass(frozen=True, slots=True)
class Trial:
    """How far a connection came: `name`, `reach`, `tls`, `login`, `file` failed, or empty: it was accepted."""

    failed: str = ""
    detail: str = ""
    """The reason, as the system or the broker gave it."""


def try_broker(broker: Broker, device: str) -> Trial:
    """Connects as `<device>-doctor`, with the device's user name and password, and goes away again."""
    import paho.mqtt.client as mqtt  # here: whoever only asks for help need not load it
    from paho.mqtt.enums import CallbackAPIVersion

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"{device}-doctor", protocol=mqtt.MQTTv5)
    client.connect_timeout = LIMIT_S
    answer: list[str] = []
    refused: list[str] = []

    def on_connect(_client: mqtt.Client, _data: object, _flags: object, reason: object, _properties: object) -> None:
        (refused if getattr(reason, "is_failure", False) else answer).append(str(reason))

    client.on_connect = on_connect
    try:
        password = (
            Path(broker.password_file).read_text(encoding="utf-8").rstrip("\r\n") if broker.password_file else None
        )
    except (OSError, UnicodeDecodeError) as error:
        return Trial("file", getattr(error, "strerror", None) or "is not UTF-8")
    if password is not None or broker.username:
        client.username_pw_set(broker.username or device, password)
    try:
        if broker.tls:
            client.tls_set_context(ssl.create_default_context(cafile=broker.ca_file or None))
        client.connect(broker.host, broker.port, keepalive=10)
        until = time.monotonic() + LIMIT_S
        while not answer and not refused and time.monotonic() < until:
            if client.loop(0.1) != mqtt.MQTT_ERR_SUCCESS and not answer and not refused:
                return Trial("login", "it closed the connection without an answer")
    except ssl.SSLError as error:
        return Trial("tls", getattr(error, "verify_message", "") or error.reason or str(error))
    except socket.gaierror as error:
        return Trial("name", error.strerror or str(error))
    except (OSError, ValueError) as error:
        return Trial("reach", str(getattr(error, "strerror", None) or error))
    finally:
        client.disconnect()
    if refused:
        return Trial("login", refused[0])
    return Trial() if answer else Trial("login", f"no answer within {LIMIT_S:g} s: it may be no MQTT broker")


def look_at_broker(broker: Broker, trial: Trial) -> Check:
    """The line of a trial."""
    where = f"{broker.host}:{broker.port}{' with TLS' if broker.tls else ''}"
    if not broker.host:
        detail = "No broker is set: no messages reach anybody."
        return Check(
            "messages.broker", State.LOOK, "broker", detail, "Set host under [broker], or live without messages"
        )
    match trial.failed:
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
