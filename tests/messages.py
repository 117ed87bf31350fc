"""Messages over the broker against their schemas, as `script/interface` makes them."""

from __future__ import annotations

import json
import re
import runpy
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

ROOT = Path(__file__).resolve().parent.parent
INTERFACE = ROOT / "docs" / "interface"


@cache
def script() -> dict[str, Any]:
    """What `script/interface` defines."""
    return runpy.run_path(str(ROOT / "script" / "interface"))


@cache
def schemas(strict: bool) -> dict[str, dict[str, Any]]:
    """The schemas by the name of their message."""
    found: dict[str, dict[str, Any]] = script()["strict_schemas" if strict else "reader_schemas"]()
    return found


@cache
def validator(name: str, *, strict: bool = True) -> Any:
    """Holds messages to the schema of `name`: `strict`, what this version writes, or else what readers take."""
    return jsonschema.Draft202012Validator(schemas(strict)[name])


def message_name(topic: str) -> str:
    """The name of the schema for messages of a topic: `event.fall.confirmed`, `cmd.ack`, `hub.state` ..."""
    found = re.fullmatch(r"retrowalk/v1/[^/]+/([^/]+)/(.+)", topic)
    assert found, topic
    device, leaf = found.groups()
    return ("hub." if device == "hub" else "") + leaf.replace("/", ".")


def misfits(topic: str, payload: bytes, *, strict: bool = True) -> list[str]:
    """What is wrong with a message by the schema of its topic; empty: it fits."""
    found = validator(message_name(topic), strict=strict).iter_errors(json.loads(payload))
    return [f"{topic} {error.json_path}: {error.message}" for error in found]
