"""Bad input, made from a seed: messages that are malformed, oversized, replayed, from nobody, or nearly right."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**62, 2**63, 2**64, 10**40, -(2**63) - 1),
    *(0.5, -0.0, 1e308, -1e-320, "", "x", "x" * 5000, "\x00", "\ud800", "‮txet", "🧓", "1", "true", "none", "urgent"),
    *([], {}, [[]], [None] * 300, {"": {"": {}}}, {"a": [1, "b", None]}),
)
"""What stands in the place of a field's value."""

LITERALS = (
    *(b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e999999", b"9" * 4000),
    *(b"0x10", b"1_000", b"+1", b"01", b"'a'"),
)
"""What is no JSON, or no number that fits anywhere."""

WHOLE = (
    *(b"", b" ", b"null", b"true", b"0", b"-1", b'""', b"[]", b"{}", b"[{}]", b"{", b'{"'),
    *(b"\x00", b"\xff\xfe{}\x00", b"\xef\xbb\xbf{}"),
)
"""Payloads of a few bytes."""

MARK = "\x01here\x01"
"""Stands where a literal goes."""


def written(message: Any) -> bytes:
    """JSON of a message, be it one that no decoder takes."""
    return json.dumps(message).encode()


def _field(rng: random.Random, message: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """A field of the message or of what lies in it."""
    place = message
    while True:
        name = rng.choice(sorted(place))
        inner = place[name]
        if not isinstance(inner, dict) or not inner or rng.random() < 0.3:
            return place, name
        place = inner


def _wrong_value(rng: random.Random, message: dict[str, Any]) -> bytes:
    place, name = _field(rng, message)
    place[name] = rng.choice(VALUES)
    return written(message)


def _missing(rng: random.Random, message: dict[str, Any]) -> bytes:
    place, name = _field(rng, message)
    del place[name]
    return written(message)


def _literal(rng: random.Random, message: dict[str, Any]) -> bytes:
    place, name = _field(rng, message)
    place[name] = MARK
    return written(message).replace(json.dumps(MARK).encode(), rng.choice(LITERALS))


def _twice(rng: random.Random, message: dict[str, Any]) -> bytes:
    """The same key twice, with two values."""
    name = rng.choice(sorted(message))
    extra = json.dumps({name: rng.choice(VALUES)})[1:]
    return written(message)[:-1] + b", " + extra.encode()


def _cut(rng: random.Random, message: dict[str, Any]) -> bytes:
    text = written(message)
    return text[: rng.randrange(len(text))]


def _flipped(rng: random.Random, message: dict[str, Any]) -> bytes:
    text = bytearray(written(message))
    for _ in range(rng.randint(1, 5)):
        text[rng.randrange(len(text))] ^= 1 << rng.randrange(8)
    return bytes(text)


def _not_utf8(rng: random.Random, message: dict[str, Any]) -> bytes:
    text = written(message)
    at = rng.randrange(len(text))
    return text[:at] + rng.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80")) + text[at:]


def _followed(rng: random.Random, message: dict[str, Any]) -> bytes:
    return written(message) + rng.choice((b"}", b"\x00", b"{}", b",", b"x" * 100, written(message)))


def _deep(rng: random.Random, message: dict[str, Any]) -> bytes:
    depth = rng.choice((50, 1000, 1500))
    place, name = _field(rng, message)
    place[name] = MARK
    opened, closed = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
    inner = opened * depth + b"1" + (closed * depth if rng.random() < 0.7 else b"")
    return written(message).replace(json.dumps(MARK).encode(), inner)


def _long(rng: random.Random, message: dict[str, Any]) -> bytes:
    """Over every limit there is: a field of 5 or 70 KB."""
    place, name = _field(rng, message)
    place[name] = "x" * rng.choice((5000, 70_000))
    return written(message)


def _noise(rng: random.Random, message: dict[str, Any]) -> bytes:
    return rng.randbytes(rng.randrange(200))


def _few(rng: random.Random, message: dict[str, Any]) -> bytes:
    return rng.choice(WHOLE)


KINDS: tuple[tuple[int, Callable[[random.Random, dict[str, Any]], bytes]], ...] = (
    (30, _wrong_value),
    (10, _missing),
    (12, _literal),
    (8, _twice),
    (8, _cut),
    (10, _flipped),
    (6, _not_utf8),
    (5, _followed),
    (2, _deep),
    (1, _long),
    (5, _noise),
    (3, _few),
)
"""How often each kind of damage comes, and what does it."""


def spoilt(rng: random.Random, message: dict[str, Any]) -> bytes:
    """A message with one thing wrong with it, which may by chance be none that matters."""
    (damage,) = rng.choices([kind for _, kind in KINDS], [weight for weight, _ in KINDS])
    return damage(rng, json.loads(json.dumps(message)))


def held_bytes() -> int:
    """What lines of the program have allocated since `tracemalloc.start()` and still hold.

    Python's own tables, which grow by doubling and are exchanged whole, are left out.
    """
    own = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/src/retrowalk/*")])
    return sum(trace.size for trace in own.traces)
