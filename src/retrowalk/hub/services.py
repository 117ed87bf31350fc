"""Every other service through Apprise: mail, Telegram, Pushover, Gotify, text messages ...

Apprise is the extra `hub`; without it ntfy and webhooks work all the same.  Importing it takes a second or more, so
that the worker does it in the background before anybody needs it.
"""

from __future__ import annotations

import logging
import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from retrowalk.hub import web

CONNECT_S, READ_S = 4, 8
"""Apprise's limits for connecting and between two bytes."""

MISSING = "Apprise is not installed: pip install 'retrowalk[hub]'"

LOUDNESS: dict[tuple[str, ...], tuple[str, dict[str, str]]] = {
    ("pover",): ("priority", {"low": "normal", "medium": "high", "high": "high"}),
    ("gotify", "gotifys"): ("priority", {"low": "normal", "medium": "high", "high": "emergency"}),
    ("prowl", "join"): ("priority", {"low": "normal", "medium": "high", "high": "emergency"}),
    ("psafer", "psafers"): ("priority", {"low": "0", "medium": "1", "high": "2"}),
    ("opsgenie",): ("priority", {"low": "normal", "medium": "high", "high": "emergency"}),
    ("tgram", "nctalk", "nctalks"): ("silent", {"low": "yes", "medium": "no", "high": "no"}),
    ("bark", "barks"): ("level", {"low": "active", "medium": "timeSensitive", "high": "critical"}),
    ("signalgrid",): ("critical", {"low": "no", "medium": "no", "high": "yes"}),
    ("pagerduty",): ("severity", {"low": "info", "medium": "warning", "high": "critical"}),
    ("lametric", "lametrics"): ("priority", {"low": "info", "medium": "warning", "high": "critical"}),
    ("smseagle", "smseagles"): ("priority", {"low": "0", "medium": "0", "high": "1"}),
}
"""How loud a message is, in the words of each service that knows such a thing.  Pushover's `emergency`, which rings
until it is confirmed there, would ring on after the answer: whoever wants it writes it into the address."""

_TYPES = {"low": "info", "medium": "warning", "high": "failure"}
_log = logging.getLogger("apprise")


def with_loudness(address: str, level: str) -> str:
    """The address with the loudness of `level` and with time limits, where it does not set them itself."""
    parts = web.split(address)
    named = {name.lower() for name, _ in parts.query}
    wanted = {"cto": str(CONNECT_S), "rto": str(READ_S)}
    for schemes, (option, values) in LOUDNESS.items():
        if parts.scheme in schemes:
            wanted[option] = values.get(level, values["medium"])
    more = urllib.parse.urlencode({name: value for name, value in wanted.items() if name not in named})
    return address + ("&" if "?" in address else "?") * bool(more) + more


class Service:
    """One address.  `send` comes from one thread at a time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._made: dict[str, Any] = {}

    def problem(self) -> str:
        """Why the address cannot be used, without its secrets; empty if it can.  The first call imports Apprise."""
        with captured() as said:
            try:
                found = self._of("high")
            except ImportError:
                return MISSING
            except Exception as error:  # another's code, over an address that nobody has looked at yet
                return f"cannot be read ({type(error).__name__})"
        if found is not None:
            return ""
        return clean("; ".join(said) or "is no address that Apprise knows", self._address)

    def send(self, title: str, body: str, level: str, why: str) -> tuple[bool, str]:
        """Sends once; returns whether it was taken, and else the reason, without secrets."""
        with captured() as said:
            try:
                service = self._of(level)
                if service is None:
                    return False, "cannot be used"
                kind = "success" if why in ("all_clear", "answered") else _TYPES.get(level, "info")
                from apprise import NotifyType

                taken = bool(service.notify(title=title, body=body, notify_type=NotifyType(kind)))
            except ImportError:
                return False, MISSING
            except Exception as error:  # 180 services of others: one that fails in its own way has not taken it
                return False, f"failed ({type(error).__name__})"
        return taken, "" if taken else clean("; ".join(said[-2:]) or "was not taken", self._address)

    def _of(self, level: str) -> Any:
        if level not in self._made:
            import apprise

            self._made[level] = apprise.Apprise.instantiate(with_loudness(self._address, level))
        return self._made[level]


@contextmanager
def captured() -> Iterator[list[str]]:
    """What Apprise complains of in this thread: it says why nowhere else."""
    said: list[str] = []
    thread = threading.get_ident()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread and record.levelno >= logging.WARNING:
                said.append(record.getMessage())

    handler = Handler()
    _log.addHandler(handler)
    try:
        yield said
    finally:
        _log.removeHandler(handler)


def clean(text: str, address: str) -> str:
    """`text` on one line without anything that the address may keep secret."""
    for piece in sorted(web.pieces(address), key=len, reverse=True):
        if len(piece) >= 4:  # shorter ones would eat the words themselves
            text = text.replace(piece, "…")
    text = re.sub(r"\S*://\S*", "(the address)", text)  # Apprise shortens secrets in it; it says nothing then
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]
