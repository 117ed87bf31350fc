"""A small server that speaks ntfy's published protocol, for tests: publish as JSON or PUT, and the stream of a topic.

It also plays the bad servers: one that hangs, resets, drips, or answers with an error.  After docs.ntfy.sh.
"""

from __future__ import annotations

import http.server
import itertools
import json
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """A request that arrived, and when (time.monotonic)."""

    at_s: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


@dataclass
class NtfyServer:
    """Runs on a free port of this machine until it is closed.

    `mood`: `well`, `hang` (says nothing), `reset`, `drip` (a byte each 0.2 s), a status such as `500`, or `webhook`,
    which answers every POST with `response`.  `token`: what a reader or writer must carry, if anything.
    """

    mood: str = "well"
    response: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    retry_after: str = ""
    keepalive_s: float = 0.3
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self.asked: list[Asked] = []
        self.kept: dict[str, list[dict[str, Any]]] = {}
        self.news = threading.Condition()
        self.closing = threading.Event()
        self.streams = 0
        self._numbers = itertools.count(1)
        self._open: set[socket.socket] = set()
        owner = self

        class Handler(_Handler):
            server_of = owner

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # who asks may break off at any moment

        self._server = Server(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> NtfyServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closing.set()
        with self.news:
            self.news.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self.cut()

    def cut(self) -> None:
        """Breaks every connection there is."""
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def address(self, topic: str = "family", more: str = "") -> str:
        """The Apprise address of a topic here."""
        return f"ntfy://127.0.0.1:{self.port}/{topic}{more}"

    def messages(self, topic: str = "family") -> list[dict[str, Any]]:
        """What was published to a topic."""
        with self.news:
            return list(self.kept.get(topic, ()))

    def wait(self, count: int, topic: str = "family", within_s: float = 10.0) -> list[dict[str, Any]]:
        """Waits until so many messages have been published to a topic."""
        with self.news:
            arrived = self.news.wait_for(lambda: len(self.kept.get(topic, ())) >= count, within_s)
            assert arrived, f"{len(self.kept.get(topic, ()))} of {count} messages on {topic}; asked: {len(self.asked)}"
            return list(self.kept[topic])

    def wait_for_stream(self, within_s: float = 10.0) -> None:
        """Waits until somebody listens to a topic."""
        with self.news:
            assert self.news.wait_for(lambda: self.streams > 0, within_s), "nobody listens"

    def publish(self, topic: str, form: dict[str, Any]) -> dict[str, Any]:
        with self.news:
            message = {
                "id": f"m{next(self._numbers):09d}",
                "time": int(time.time()),
                "event": "message",
                "topic": topic,
            }
            message |= {key: value for key, value in form.items() if key != "topic"}
            message.setdefault("message", "triggered")
            self.kept.setdefault(topic, []).append(message)
            self.news.notify_all()
            return message

    def press(self, message: dict[str, Any], label: str) -> int:
        """Does what a phone does when a button is pressed; returns the status."""
        import urllib.request

        (action,) = [action for action in message["actions"] if action["label"] == label]
        assert action["action"] == "http"
        request = urllib.request.Request(action["url"], action["body"].encode(), method=action["method"])
        with urllib.request.urlopen(request, timeout=5.0) as reply:
            return int(reply.status)


class _Handler(http.server.BaseHTTPRequestHandler):
    server_of: NtfyServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.server_of._open.add(self.connection)

    def finish(self) -> None:
        self.server_of._open.discard(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _asked(self) -> Asked:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(time.monotonic(), self.command, self.path, headers, body)
        with self.server_of.news:
            self.server_of.asked.append(asked)
            self.server_of.news.notify_all()
        return asked

    def _say(self, status: int, form: dict[str, Any]) -> None:
        body = json.dumps(form).encode()
        self.send_response(status)
        if self.server_of.retry_after:
            self.send_header("Retry-After", self.server_of.retry_after)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _moody(self) -> bool:
        """Whether this server is in no mood to answer as it should."""
        server = self.server_of
        if server.mood == "well":
            return False
        if server.mood == "hang":
            server.closing.wait(60.0)
        elif server.mood == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif server.mood == "drip":
            for byte in b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Long: " + b"x" * 1000:
                self.wfile.write(bytes([byte]))
                if server.closing.wait(0.2):
                    break
        elif server.mood == "webhook":
            self._say(200, server.response)
            return True
        else:
            self._say(int(server.mood), {"code": int(server.mood) * 100, "http": int(server.mood), "error": "no"})
            return True
        self.close_connection = True
        return True

    def _allowed(self, asked: Asked) -> bool:
        if self.server_of.token and asked.headers.get("authorization") != f"Bearer {self.server_of.token}":
            self._say(403, {"code": 40301, "http": 403, "error": "forbidden"})
            return False
        return True

    def do_POST(self) -> None:
        asked = self._asked()
        if self._moody():
            return
        topic = self.path.strip("/").partition("?")[0]
        if topic.startswith("rw-answers"):  # open for writing to everybody, as a family would set it up
            self._say(200, self.server_of.publish(topic, {"message": asked.body.decode()}))
        elif self._allowed(asked):
            form = {"message": asked.body.decode()} if topic else asked.json()
            self._say(200, self.server_of.publish(topic or str(form["topic"]), form))

    do_PUT = do_POST  # noqa: N815 - the name that http.server calls

    def do_GET(self) -> None:
        asked = self._asked()
        if self.path.startswith("/alive"):
            self._say(200, {})
            return
        if self._moody() or not self._allowed(asked):
            return
        topic, _, rest = self.path.strip("/").partition("/json")
        since = dict(part.partition("=")[::2] for part in rest.strip("?").split("&")).get("since", "")
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        server = self.server_of
        with server.news:
            kept = server.kept.setdefault(topic, [])
            ids = [message["id"] for message in kept]
            sent = 0 if since == "all" else ids.index(since) + 1 if since in ids else 0 if since else len(kept)
            server.streams += 1
            server.news.notify_all()
        try:
            self._line({"id": "open", "time": int(time.time()), "event": "open", "topic": topic})
            while not server.closing.is_set():
                with server.news:
                    server.news.wait_for(lambda n=sent: len(kept) > n or server.closing.is_set(), server.keepalive_s)  # type: ignore[misc]
                    new = kept[sent:]
                    sent = len(kept)
                for message in new:
                    self._line(message)
                if not new:
                    self._line({"id": "k", "time": int(time.time()), "event": "keepalive", "topic": topic})
        finally:
            self.close_connection = True
            with server.news:
                server.streams -= 1

    def _line(self, form: dict[str, Any]) -> None:
        line = json.dumps(form).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()
