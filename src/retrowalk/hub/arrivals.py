"""What arrives from a broker, read leniently: a fall that is told in an unknown way is told all the same.

Fields that are not known are ignored, and those that are not there are left empty.  Only what cannot be numbered, or
was not sent by the device of its topic, is nobody's event: `OddError` says why.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from retrowalk import wire
from retrowalk.errors import WireError

PAYLOAD_MAX_BYTES = 64 * 1024
"""Nothing of ours is as long."""

NAME = re.compile(r"^[a-z0-9-]{1,32}\Z")
SEQ_MAX = 2**62
COUNT_MAX = 2**53


class OddError(Exception):
    """A message that is none of ours; the text says why."""


class Place(Struct, frozen=True):
    """Where a message belongs: the device (`<site>/<device>`) and what stands behind it in the topic."""

    device: str
    leaf: str


def place(topic: str) -> Place:
    """The place of a topic `retrowalk/v1/<site>/<device>/<leaf>`.  Raises `OddError`."""
    levels = topic.split("/", 4)
    if len(levels) < 5 or levels[0] != "retrowalk":
        raise OddError("not a topic of ours")
    _, _, site, device, leaf = levels
    if not NAME.match(site) or not NAME.match(device) or device == "hub":
        raise OddError("no device can be called so")
    return Place(f"{site}/{device}", leaf)


def event(device: str, payload: bytes) -> wire.CloudEvent:
    """The event in a payload that arrived for `device` (`<site>/<device>`).  Raises `OddError`."""
    _check_size(payload)
    try:
        found: wire.CloudEvent = wire.decode(payload, wire.CloudEvent)
    except WireError as error:
        found = _loose_event(payload, str(error))
    if found.source and found.source != f"retrowalk:{device}":
        raise OddError(f"from the wrong device ({found.source[:60]})")
    return found


def _loose_event(payload: bytes, why: str) -> wire.CloudEvent:
    try:
        fields = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise OddError(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise OddError("not an event")
    id_, epoch, seq = _word(fields, "id", 64), _word(fields, "epoch", 64), fields.get("seq")
    if not id_ or not epoch or type(seq) is not int or not 1 <= seq < SEQ_MAX:
        raise OddError(why)
    kind = _word(fields, "eventtype", 80) or _word(fields, "type", 100).removeprefix("io.retrowalk.")
    data = fields.get("data")
    monoms = fields.get("monoms")
    return wire.CloudEvent(
        id=id_,
        source=_word(fields, "source", 100),
        type=_word(fields, "type", 100) or f"io.retrowalk.{kind}",
        time=_word(fields, "time", 40),
        priority=_word(fields, "priority", 20),
        eventtype=kind,
        epoch=epoch,
        seq=seq,
        bootid=_word(fields, "bootid", 64),
        monoms=monoms if type(monoms) is int else 0,
        clock=_word(fields, "clock", 20),
        session=_word(fields, "session", 100),
        historical=fields.get("historical") is True,
        data=data if isinstance(data, dict) else {} if data is None else {"value": data},
    )


def _word(fields: dict[str, Any], name: str, length: int) -> str:
    value = fields.get(name)
    return value[:length] if isinstance(value, str) else ""


def state(payload: bytes) -> wire.DeviceState:
    """How a device says it is.  Raises `OddError`."""
    found: wire.DeviceState = _strict(payload, wire.DeviceState)
    return found


def heartbeat(payload: bytes) -> wire.Heartbeat:
    """A sign of life.  Raises `OddError`."""
    found: wire.Heartbeat = _strict(payload, wire.Heartbeat)
    counts = (found.seq_head, found.seq_low, found.outbox_depth, found.dropped)
    if any(count is not None and not 0 <= count < COUNT_MAX for count in counts):
        raise OddError("a count that nobody can count to")
    return found


def hub_state(payload: bytes) -> wire.HubState | None:
    """What is said of a hub; None: nothing of ours."""
    try:
        found: wire.HubState = _strict(payload, wire.HubState)
    except OddError:
        return None
    return found


def _strict(payload: bytes, kind: type) -> Any:
    _check_size(payload)
    try:
        return wire.decode(payload, kind)
    except WireError as error:
        raise OddError(str(error)) from error


def _check_size(payload: bytes) -> None:
    if len(payload) > PAYLOAD_MAX_BYTES:
        raise OddError(f"{len(payload)} bytes: longer than {PAYLOAD_MAX_BYTES}")
