"""The interface for programs of others: documents made from the code, examples, and what really goes over the wire."""

from __future__ import annotations

import copy
import gzip
import json
import re
import subprocess
import sys
from functools import cache
from typing import Any

import jsonschema
import pytest
from tests.courier.helpers import ROOT as DEVICE_ROOT
from tests.courier.helpers import Street, session_message
from tests.messages import INTERFACE, ROOT, message_name, misfits, script, validator

from retrowalk import wire
from retrowalk.core import events as ev
from retrowalk.sim.broker import Incoming

NAMES = sorted(path.stem for path in (INTERFACE / "examples").glob("*.json"))


@cache
def document() -> Any:
    return json.loads((INTERFACE / "asyncapi.json").read_text(encoding="utf-8"))


def example(name: str) -> Any:
    return json.loads((INTERFACE / "examples" / f"{name}.json").read_text(encoding="utf-8"))


@cache
def official() -> Any:
    """The official JSON Schema of AsyncAPI 3.0 documents."""
    schema = json.loads(gzip.decompress((ROOT / "tests" / "interface" / "asyncapi-3.0.0.json.gz").read_bytes()))
    return jsonschema.Draft7Validator(schema)


def test_files_are_current():
    """The documents, schemas and examples are what script/interface makes of the code now"""
    command = [sys.executable, str(ROOT / "script" / "interface"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_message_has_an_example():
    """Each message that has a schema has an example, but for the event of a later version"""
    schemas = {path.stem for path in (INTERFACE / "schemas").glob("*.json")}
    assert schemas - set(NAMES) == {"event"}
    assert {f"event.{kind.type}" for kind in ev.EVENT_CLASSES} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_example_fits(name):
    """An example is what the schema for readers, and the strict one, describe"""
    validator(name, strict=False).validate(example(name))
    validator(name).validate(example(name))


@pytest.mark.parametrize("name", NAMES)
def test_example_is_read_by_the_program(name):
    """The program reads each example back as the message it is"""
    kinds = {
        "state": wire.DeviceState,
        "heartbeat": wire.Heartbeat,
        "alert": wire.OpenAlert,
        "hub.state": wire.HubState,
        **{f"cmd.{command}": kind for command, kind in wire.COMMANDS.items()},
    }
    message = wire.decode(json.dumps(example(name)).encode(), kinds.get(name, wire.CloudEvent))
    assert json.loads(wire.encode(message)) == example(name)


@pytest.mark.parametrize("name", NAMES)
def test_readers_take_what_is_added_later(name):
    """A field that is new is no error for a reader, while the strict schema knows it is not of this version"""
    later = {**example(name), "added": {"later": 1}}
    validator(name, strict=False).validate(later)
    assert [error.validator for error in validator(name).iter_errors(later)] == ["additionalProperties"]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        pytest.param("event.fall.confirmed", "seq", id="event without number"),
        pytest.param("event.fall.confirmed", "eventtype", id="event without type"),
        pytest.param("state", "conn", id="state without connection"),
        pytest.param("cmd.ack", "epoch", id="acknowledgement without epoch"),
        pytest.param("cmd.say", "phrase", id="say without phrase"),
    ],
)
def test_schemas_refuse_what_is_missing(name, field):
    """The schema for readers refuses a message without what names it"""
    message = example(name)
    del message[field]
    assert list(validator(name, strict=False).iter_errors(message))


def test_words_of_a_list_may_grow():
    """A reader takes a guard state of a later version; the strict schema does not know it"""
    message = example("event.guard.changed")
    message["data"]["state"] = "hovering"
    assert not list(validator("event.guard.changed", strict=False).iter_errors(message))
    assert list(validator("event.guard.changed").iter_errors(message))


@pytest.mark.parametrize("path", sorted(INTERFACE.glob("schemas/*.json")), ids=lambda path: path.stem)
def test_schemas_are_schemas(path):
    """A schema is one of draft 2020-12, says what it is for, and has no pattern that only Python reads"""
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["description"]
    assert not re.search(r'"pattern": ".*\\\\[AZz]', path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_asyncapi_is_valid():
    """The AsyncAPI document fits the official schema"""
    assert [f"{error.json_path}: {error.message[:200]}" for error in official().iter_errors(document())] == []


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(("operations", "sendEvent", "bindings", "mqtt", "qos"), id="quality of service"),
        pytest.param(("operations", "sendEvent", "action"), id="action"),
        pytest.param(("channels", "event", "address"), id="address"),
        pytest.param(("servers", "broker", "bindings", "mqtt", "lastWill", "retain"), id="will"),
    ],
)
def test_official_schema_would_notice(path):
    """The check above is not quiet about a value of the wrong kind"""
    broken = copy.deepcopy(document())
    place = broken
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = ["nonsense"]
    assert list(official().iter_errors(broken))


def test_asyncapi_refers_to_what_is_there():
    """Each reference in the document leads to something in it, and each address names its parameters"""
    whole = document()
    text = json.dumps(whole)
    for target in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        place = whole
        for name in target.split("/"):
            place = place[name]
    for channel in whole["channels"].values():
        assert set(re.findall(r"\{(\w+)\}", channel["address"])) == set(channel["parameters"])


# ---------------------------------------------------------------------------- what really goes over the wire


def channel_of(topic: str) -> tuple[str, dict[str, Any]]:
    """The channel of the document whose address fits a topic; the one with the fewest blanks."""
    found = [
        (len(channel["parameters"]), name, channel)
        for name, channel in document()["channels"].items()
        if re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(channel["address"])), topic)
    ]
    assert found, topic
    return min(found, key=lambda item: item[0])[1:]


@cache
def binding_of(topic: str, action: str) -> dict[str, Any]:
    """What the document says of how messages of a topic are sent."""
    name, _ = channel_of(topic)
    (operation,) = [
        operation
        for operation in document()["operations"].values()
        if operation["action"] == action and operation["channel"]["$ref"] == f"#/channels/{name}"
    ]
    return dict(operation["bindings"]["mqtt"])


def handed_over(event: ev.Event, number: int) -> wire.EventMessage:
    """An event as the guard hands it to the courier."""
    return wire.EventMessage(
        "s1", number, event.type, event.priority, event.t_s, event.t_s, event.alert, wire.event_data(event)
    )


def test_what_a_courier_sends_is_what_is_documented(tmp_path):
    """One of each event, state, heartbeat and open alert: each fits its strict schema, quality and retention"""
    script_ = script()
    street = Street(tmp_path)
    street.send(session_message(), wire.KeepAlive(0.0, "guarding"))
    for number, event in enumerate(script_["EVENTS"], start=1):
        street.send(handed_over(event, number))
        street.run_until(float(number))
    street.run_until(90.0)
    street.courier.begin_stop(street.clock.now())
    street.run_until(95.0)
    sent = street.link.published
    assert {message_name(message.topic) for message in sent} == {
        *(f"event.{event.type}" for event in script_["EVENTS"]),
        "state",
        "heartbeat",
        "alert",
    }
    assert [text for message in sent for text in misfits(message.topic, message.payload)] == []
    for message in sent:
        told = binding_of(message.topic, "send")
        assert (message.qos, message.retain) == (told["qos"], told["retain"]), message.topic


def test_commands_of_the_document_are_taken(tmp_path):
    """The example of each command, sent to a courier, is none that it rejects"""
    names = [name for name in NAMES if name.startswith("cmd.")]
    wall_ms = 1_800_000_000_000
    street = Street(
        tmp_path,
        incoming=[
            Incoming(
                3.0 * number,
                f"{DEVICE_ROOT}/cmd/{name.removeprefix('cmd.')}",
                json.dumps({**example(name), **({"issued_ms": wall_ms} if name != "cmd.ack" else {})}).encode(),
                name == "cmd.ack",
            )
            for number, name in enumerate(names, start=1)
        ],
    )
    street.run_until(30.0)
    told = {message.name for message in street.told(wire.CommandMessage)}
    assert told == set(wire.COMMANDS) - {"ack", "resync"}
