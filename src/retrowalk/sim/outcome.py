"""What a demonstration shows while it runs (`Frame`) and what it comes to (`Outcome`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from retrowalk import wire


class Spoken(NamedTuple):
    """Something that was said: the second it began, its level (`advisory`, `caution`, `warning`), its words."""

    t_s: float
    level: str
    words: str


class Message(NamedTuple):
    """Something the broker took: when, under which topic, and what it says in a few words."""

    t_s: float
    topic: str
    summary: str


class Expectation(NamedTuple):
    """A sentence about the walk, whether it held, and the numbers behind the verdict."""

    text: str
    met: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of the live view.  Times are seconds of the walk."""

    t_s: float
    title: str
    """Title of the part of the walk that is going on."""
    status: wire.Status | None
    """What the guard shows; None while it does not answer."""
    heard: Sequence[Spoken]
    """What was said so far, oldest first; the view shows the last few."""
    published: Sequence[Message]
    """What the broker took so far, oldest first."""
    notes: Sequence[str]
    """What a person should know, such as "no sound device: keeping the sound in DIR/walk.wav"."""
    sound: str
    """Where the sound goes: a device's name, or a file."""
    duration_s: float = 0.0
    """Length of the walk; 0: not known."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a demonstration came to."""

    ok: bool
    """Whether every expectation was met."""
    expectations: Sequence[Expectation]
    out: Path
    """Directory with walk.wav, walk.mcap, events.jsonl and transcript.txt."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """Numbers worth a line each, by their name."""
    heard: Sequence[Spoken] = ()
    """What was said, where that is to be shown, too; oldest first."""
    published: Sequence[Message] = ()
    """What the broker took, likewise."""
