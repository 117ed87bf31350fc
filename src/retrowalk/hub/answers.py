"""Tickets: what a button or a link carries, so that an answer is known to be one.

A ticket says which alert it is about and which contact it was sent to, and is signed with a key that only this hub
has.  Whoever holds it may answer in that contact's name; nobody can make one.  It counts for a day of hub time, and
each answer on it counts once.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import tomllib
from collections import deque
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from retrowalk import wholefile

FILE = "answers.json"
"""In the state directory of the hub, readable by its user only."""

VALID_S = 24 * 3600.0
AHEAD_S = 60.0
"""A ticket of the future is one of an earlier life of a hub whose time began anew."""
USED_MAX = 1024
MAC_BYTES = 16
TOKEN_MAX = 1024
BY_MAX = 40

SEEN, COMING, OVER = "seen", "coming", "over"
TEST = "test"
"""Kind of a ticket of which nothing follows."""
DEEDS = (SEEN, COMING, OVER)
"""What can be answered: I have seen it; I am coming (the walker hears it); it is over."""


class Ticket(NamedTuple):
    """What a token says."""

    alert: int
    contact: str
    device: str
    kind: str
    """Of the alert; `TEST`: of none."""
    issued_s: float
    """Hub time."""


class Answer(NamedTuple):
    """What a person answered, as the hub's engine takes it."""

    by: str
    alert: int
    over: bool
    via: str
    say: str = ""
    """A phrase that the walker shall hear from them (`coming`)."""


def token(key: bytes, ticket: Ticket) -> str:
    """The ticket, signed: letters, digits, hyphen, underscore and one dot."""
    form = json.dumps(list(ticket), separators=(",", ":")).encode()
    return f"{_text(form)}.{_text(_mac(key, form))}"


def read(key: bytes, text: str) -> Ticket | None:
    """The ticket of a token; None if it is not signed by `key`."""
    if len(text) > TOKEN_MAX or not text.isascii():
        return None
    form, _, mac = text.partition(".")
    try:
        content = _bytes(form)
        if not hmac.compare_digest(_mac(key, content), _bytes(mac)):
            return None
        return Ticket(*json.loads(content))
    except (ValueError, TypeError):
        return None


def _mac(key: bytes, form: bytes) -> bytes:
    return hmac.new(key, b"ticket:" + form, hashlib.sha256).digest()[:MAC_BYTES]


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    # Strict: a letter of another alphabet must not be skipped, or one answer had many spellings.
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def name(text: str) -> str:
    """A name that somebody else wrote: one line of printable characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:BY_MAX]


class Book:
    """The key, the answer topic, and which answers have counted already, in one file.

    A damaged file is put aside and a new one begun: buttons sent before then do nothing any more.
    """

    def __init__(self, key: bytes, topic: str, used: Iterable[str] = (), file: Path | None = None) -> None:
        self.key = key
        self.topic = topic
        self._file = file
        self._used = deque(used, maxlen=USED_MAX)
        self._taken: list[str] = []

    @classmethod
    def new(cls, file: Path | None = None) -> Book:
        """One that nobody knows yet."""
        return cls(secrets.token_bytes(32), f"rw-answers-{secrets.token_hex(16)}", (), file)

    @classmethod
    def open(cls, directory: Path) -> Book:
        """The book of a hub, made if there is none.  Raises `OSError` if it can be neither read nor written."""
        book, file = None, directory / FILE
        try:
            book = cls.peek(directory)
        except ValueError:
            with contextlib.suppress(OSError):
                file.replace(file.with_name(f"{FILE}.damaged"))
        if book is None:
            directory.mkdir(parents=True, exist_ok=True)
            book = cls.new(file)
            book.keep()
        elif file.stat().st_mode & 0o077:
            os.chmod(file, 0o600)
        return book

    @classmethod
    def peek(cls, directory: Path) -> Book | None:
        """The book of a hub, or None if there is none.  Raises `OSError`, or `ValueError` if it is damaged."""
        file = directory / FILE
        try:
            form = json.loads(file.read_bytes())
            key, topic, used = bytes.fromhex(form["key"]), form["topic"], form.get("used", [])
        except FileNotFoundError:
            return None
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("not a book of answers") from error
        good = len(key) == 32 and isinstance(topic, str) and len(topic) >= 16 and isinstance(used, list)
        if not good or not all(isinstance(mark, str) for mark in used):
            raise ValueError("not a book of answers")
        return cls(key, topic, used, file)

    @classmethod
    def borrowed(cls, directory: str | Path | None) -> Book:
        """The book of a hub to make tickets with, or a new one if there is none that may be read; never written."""
        book = None
        if directory is not None:
            with contextlib.suppress(OSError, ValueError):
                book = cls.peek(Path(directory))
        return cls(book.key, book.topic) if book is not None else cls.new()

    def take(self, text: str, deed: str, now_s: float) -> Ticket | str:
        """The ticket, if this answer counts; else why not.  `now_s`: hub time."""
        ticket = read(self.key, text)
        if ticket is None or deed not in DEEDS:
            return "is not signed"
        if not -AHEAD_S <= now_s - ticket.issued_s <= VALID_S:
            return "has expired"
        if ticket.kind == TEST:
            return ticket  # it does nothing, as often as it comes
        mark = f"{text.partition('.')[2]}.{deed}"
        if mark in self._used or mark in self._taken:
            return "has counted already"
        self._taken.append(mark)
        return ticket

    def settle(self, count: int) -> None:
        """The first `count` answers that were taken are safe: they are remembered as used, also over a restart."""
        self._used.extend(self._taken[:count])
        del self._taken[:count]
        if count:
            self.keep()

    def keep(self) -> None:
        """Writes the file, if there is one.  Raises `OSError`."""
        if self._file is not None:
            form = {"key": self.key.hex(), "topic": self.topic, "used": list(self._used)}
            wholefile.write(self._file, json.dumps(form).encode())  # the writer's alone


@cache
def words(language: str) -> dict[str, Any]:
    """The words of buttons, page and links."""
    file = Path(__file__).parent / "texts" / f"answers.{language}.toml"
    return tomllib.loads(file.read_text("utf-8"))
