"""What a simulated walk left behind, seen from outside, and its judgement as an `Outcome`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from retrowalk.sim.outcome import Expectation, Outcome
from retrowalk.sim.scenarios import Evidence, Published, Scenario, judge


def published(messages: Iterable[tuple[float, str, bytes]]) -> list[Published]:
    """Messages a client received, as (time, topic, payload); payloads that are not JSON objects are left out."""
    found = []
    for t_s, topic, payload in messages:
        try:
            decoded: Any = json.loads(payload)
        except ValueError:
            continue
        if isinstance(decoded, dict):
            found.append(Published(t_s, topic, decoded))
    return found


def outcome(scenario: Scenario, evidence: Evidence, out: Path, summary: dict[str, Any]) -> Outcome:
    """Judges a walk."""
    results = judge(scenario, evidence)
    expectations = [Expectation(result.text, result.met, result.detail) for result in results]
    return Outcome(all(result.met for result in results), expectations, out, summary)


def save(evidence: Evidence, path: Path) -> None:
    """Writes evidence as JSON (the world's process hands it to the demo)."""
    path.write_bytes(msgspec.json.encode(evidence))


def load(path: Path) -> Evidence:
    """Reads what `save` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Evidence)
