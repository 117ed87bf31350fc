"""One HTTP request with a limit on everything: how long it takes, and how much is read.

Of the standard library alone.  Redirections are not followed: an alarm goes where the settings say.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from retrowalk import __version__

CONNECT_S = 5.0
TOTAL_S = 12.0
"""From the first packet to the last byte.  Only the search for a name's address is not held to it."""
BODY_MAX_BYTES = 64 * 1024

AGENT = f"retrowalk/{__version__}"


class WebError(OSError):
    """A request came to nothing.  The words name no address and no secret."""


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body if it is a JSON object; else an empty one."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return value if isinstance(value, dict) else {}


class Connection:
    """One request on a connection of its own.  `close` may be called from another thread and ends it."""

    def __init__(self, url: str, *, verify: bool = True, connect_s: float = CONNECT_S) -> None:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        self._target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        self._http: http.client.HTTPConnection
        try:
            port = parts.port
            if parts.scheme == "https":
                self._http = http.client.HTTPSConnection(host, port, timeout=connect_s, context=_context(verify))
            else:
                self._http = http.client.HTTPConnection(host, port, timeout=connect_s)
        except (ValueError, http.client.HTTPException) as error:
            raise WebError("is no address of a server") from error

    def ask(self, method: str, body: bytes | None, headers: Mapping[str, str], silence_s: float) -> Any:
        """Sends the request; returns the answer, its body unread.  Between two bytes at most `silence_s` pass."""
        with words_for_errors():
            self._http.connect()
            assert self._http.sock is not None
            self._http.sock.settimeout(silence_s)
            self._http.request(method, self._target, body, {"User-Agent": AGENT, **headers})
            return self._http.getresponse()

    def close(self) -> None:
        """Ends it, whatever it waits for."""
        sock = self._http.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended already
        self._http.close()


@cache
def _context(verify: bool) -> ssl.SSLContext:
    """To read the system's certificates takes a Pi a tenth of a second: it is done once."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class words_for_errors:  # noqa: N801 - reads as a function where it stands
    """Turns whatever goes wrong on the way into a `WebError` in plain words."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, WebError) or not isinstance(error, Exception):
            return
        raise WebError(_in_words(error)) from error


def _in_words(error: Exception) -> str:
    match error:
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not to be trusted ({error.verify_message})"
        case ssl.SSLError():
            return "no encrypted connection"
        case socket.gaierror():
            return "its name is not known"
        case http.client.HTTPException() | ValueError() | AttributeError():
            return "the connection broke off"  # AttributeError: it was closed under the reader
        case OSError():
            return f"not reached: {(error.strerror or type(error).__name__).lower()}"
    return f"failed ({type(error).__name__})"


def request(
    method: str,
    url: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    verify: bool = True,
    total_s: float = TOTAL_S,
) -> Reply:
    """Asks once, and reads the answer.  Raises `WebError`, after `total_s` at the latest."""
    connection = Connection(url, verify=verify, connect_s=min(CONNECT_S, total_s))
    late = threading.Event()

    def end() -> None:
        late.set()
        connection.close()

    # A server that sends a byte a second keeps every limit between two bytes; this one is for the whole.
    timer = threading.Timer(total_s, end)
    timer.daemon = True
    timer.start()
    try:
        with words_for_errors():
            answer = connection.ask(method, body, headers or {}, total_s)
            content = answer.read(BODY_MAX_BYTES)
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, content)
    except WebError as error:
        raise WebError("no answer in time") if late.is_set() else error from error
    finally:
        timer.cancel()
        connection.close()


def refusal(status: int) -> str:
    """What a status other than success says, in words."""
    match status:
        case 401 | 403:
            return f"not allowed ({status}): check user, password or token"
        case 404 | 410:
            return f"nothing there ({status})"
        case 413:
            return "the message is too long (413)"
        case 429:
            return "too many messages (429)"
        case _ if 300 <= status < 400:
            return f"has moved ({status})"
        case _ if status >= 500:
            return f"the server is in trouble ({status})"
    return f"refused ({status})"


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Address(NamedTuple):
    """The parts of an Apprise address, with nothing decoded but what must be."""

    scheme: str
    user: str
    password: str
    host: str
    """As written, in upper and lower case; with its port."""
    path: str
    query: tuple[tuple[str, str], ...]
    """A plus sign that begins a name stays: Apprise marks headers so."""

    def option(self, name: str) -> str | None:
        """The first value of an option."""
        return next((value for key, value in self.query if key.lower() == name), None)


def split(address: str) -> Address:
    """Takes an Apprise address apart."""
    scheme, _, rest = address.partition("://")
    rest, _, query = rest.partition("?")
    netloc, slash, path = rest.partition("/")
    account, _, host = netloc.rpartition("@")
    user, _, password = account.partition(":")
    unquote = urllib.parse.unquote
    options = tuple(
        (unquote(name), urllib.parse.unquote_plus(value))
        for name, _, value in (part.partition("=") for part in query.split("&") if part)
    )
    return Address(scheme.lower(), unquote(user), unquote(password), host, slash + path, options)


def pieces(address: str) -> set[str]:
    """Everything in an Apprise address that may be a secret, whole and in parts, as written and decoded."""
    parts = split(address)
    rest = address.partition("://")[2]
    unquote = urllib.parse.unquote
    host = parts.host.rpartition(":")[0] or parts.host
    found = {rest, parts.user, parts.password, parts.host, host, *(value for _, value in parts.query)}
    found |= {piece for raw in parts.path.split("/") for piece in (raw, unquote(raw))}
    found |= {piece for raw in (parts.user, parts.host, unquote(parts.path)) for piece in raw.split(":")}
    return found - {""}


USUAL_PIECES = {"services", "webhook", "webhooks", "message", "messages", "hooks", "notify", "token", "localhost"}
"""Pieces of addresses that are words of their own, and no secret."""
_HOST = re.compile(r"([\w-]+\.)+[A-Za-z]{2,}(:\d+)?")
"""A server's name; where a token stands in its place, it has no such form."""


def secret_pieces(address: str) -> set[str]:
    """Of `pieces`, those worth hiding wherever they turn up: no name of a server, no usual word, nothing short."""
    return {
        piece
        for piece in pieces(address)
        if len(piece) > 4 and piece.lower() not in USUAL_PIECES and not _HOST.fullmatch(piece)
    }


def yes(value: str | None, otherwise: bool) -> bool:
    """A truth value as Apprise reads it."""
    return otherwise if value is None else value.strip().lower() not in ("no", "n", "false", "f", "0", "off", "deny")
