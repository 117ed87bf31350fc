"""Answers by link: a small page with buttons, and nothing else.

Off unless `answers.port` is set.  Programs that show a preview of a link fetch it: so GET only shows, and only POST
answers.  The path carries a signed ticket (`hub.answers`); everything else is 404.  No scripts, no cookies, nothing
from elsewhere.  It speaks plain HTTP: a proxy in front of it gives it TLS.
"""

from __future__ import annotations

import html
import http.server
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from retrowalk.hub import answers

PATH = "/a/"
BODY_MAX_BYTES = 1024
TIMEOUT_S = 10.0
"""Whoever sends nothing for so long is let go ..."""
WHOLE_S = 15.0
"""... and so is everybody after this."""
CONNECTIONS_MAX = 16
PER_S, BURST = 5.0, 30.0
"""So many requests a second in the long run, from everybody together; so many at once."""

STYLE = (
    "body{font:18px/1.4 system-ui,sans-serif;margin:0 auto;max-width:30em;padding:1em;background:#fff;color:#111}"
    "h1{font-size:1.4em}button{display:block;width:100%;font:inherit;font-weight:600;padding:.9em;margin:1.2em 0 .2em;"
    "border:2px solid #123;border-radius:.5em;background:#123;color:#fff}button.over{background:#fff;color:#123}"
    "button:focus{outline:3px solid #fa0}p{margin:.2em 0}"
)

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}

Take = Callable[[str, str, str], str]
"""(token, deed, by) to an empty text if it counts, else why not."""


def page(ticket: answers.Ticket, language: str) -> str:
    """The page behind a link."""
    words = answers.words(language)
    values = {"alert": ticket.alert, "device": ticket.device, "contact": ticket.contact}
    buttons = "".join(
        f'<button class="{deed}" name="do" value="{deed}">{_escaped(words["button"][deed])}</button>'
        f"<p>{_escaped(words['page'][deed])}</p>"
        for deed in answers.DEEDS
    )
    heading = "test" if ticket.kind == answers.TEST else "heading"
    device = f"<p>{_escaped(words['page']['device'], values)}</p>" if ticket.device else ""
    return _document(
        language,
        f"<h1>{_escaped(words['page'][heading], values)}</h1>{device}"
        f"<p>{_escaped(words['page']['asked'], values)}</p>"
        f'<form method="post">{buttons}</form>',
    )


def thanks(ticket: answers.Ticket, language: str, problem: str) -> str:
    """The page after an answer."""
    words = answers.words(language)["page"]
    said = {"": "noted", "has counted already": "counted", "has expired": "expired"}.get(problem, "not_noted")
    hello = f"<h1>{_escaped(words['thanks'], {'contact': ticket.contact})}</h1>" if said in ("noted", "counted") else ""
    return _document(language, f"{hello}<p>{_escaped(words[said])}</p>")


def _document(language: str, body: str) -> str:
    title = _escaped(answers.words(language)["page"]["title"])
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{STYLE}</style></head>'
        f"<body>{body}</body></html>"
    )


def _escaped(words: str, values: dict[str, Any] | None = None) -> str:
    return html.escape(words.format(**values) if values else words)


class Server:
    """The page, served by threads of its own.  `take` decides whether an answer counts.  Raises `OSError`."""

    def __init__(self, address: str, port: int, key: bytes, language: str, take: Take) -> None:
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self.bucket = bucket = _Bucket()

        class Handler(_Handler):
            pass

        Handler.key, Handler.language, Handler.take, Handler.bucket = key, language, staticmethod(take), bucket
        places = self._places

        class Bounded(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 2 * CONNECTIONS_MAX
            address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

            def process_request(self, request: Any, client_address: Any) -> None:
                if places.acquire(blocking=False):
                    super().process_request(request, client_address)
                else:
                    self.shutdown_request(request)

            def process_request_thread(self, request: Any, client_address: Any) -> None:
                def end() -> None:
                    try:
                        request.shutdown(socket.SHUT_RDWR)
                    except OSError:
                        pass  # it has ended already

                timer = threading.Timer(WHOLE_S, end)
                timer.daemon = True
                timer.start()
                try:
                    super().process_request_thread(request, client_address)
                finally:
                    timer.cancel()
                    places.release()

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that broke off; nothing of it is worth a line

        self._server = Bounded((address, port), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.2,), name="links", daemon=True).start()

    def stop(self) -> None:
        """Listens no more."""
        self._server.shutdown()
        self._server.server_close()


class _Bucket:
    """So many requests and no more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.fill()

    def fill(self) -> None:
        self._left, self._at = BURST, time.monotonic()

    def take(self) -> bool:
        with self._lock:
            now = time.monotonic()
            self._left = min(BURST, self._left + (now - self._at) * PER_S)
            self._at = now
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True


class _Handler(http.server.BaseHTTPRequestHandler):
    """One request a connection."""

    key: bytes
    language: str
    take: Take
    bucket: _Bucket
    timeout = TIMEOUT_S
    server_version, sys_version = "retrowalk", ""
    protocol_version = "HTTP/1.0"

    def log_message(self, format: str, *args: Any) -> None:
        pass  # the path is a secret

    def _ticket(self) -> tuple[str, answers.Ticket] | None:
        token = self.path.partition("?")[0].removeprefix(PATH)
        ticket = answers.read(self.key, token) if self.path.startswith(PATH) else None
        if not self.bucket.take():
            self._say(429, "text/plain", "too many requests\n")
        elif ticket is None:
            self._say(404, "text/plain", "nothing here\n")
        else:
            return token, ticket
        return None

    def do_GET(self) -> None:
        found = self._ticket()
        if found is not None:
            self._say(200, "text/html", page(found[1], self.language))

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        found = self._ticket()
        if found is None:
            return
        token, ticket = found
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > BODY_MAX_BYTES:
            self._say(413, "text/plain", "too long\n")
            return
        body = self.rfile.read(int(length))
        as_json = (self.headers.get("Content-Type") or "").startswith("application/json")
        deed, by = _json_deed(body) if as_json else _form_deed(body)
        if deed not in answers.DEEDS:
            self._say(400, "text/plain", "not an answer\n")
            return
        problem = self.take(token, deed, by)
        status = {"": 200, "has counted already": 200, "has expired": 410}.get(problem, 503)
        if as_json:
            self._say(status, "application/json", json.dumps({"ok": status == 200, "detail": problem}))
        else:
            self._say(status, "text/html", thanks(ticket, self.language, problem))

    def _say(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _form_deed(body: bytes) -> tuple[str, str]:
    try:
        return dict(urllib.parse.parse_qsl(body.decode(), max_num_fields=4)).get("do", ""), ""
    except ValueError:
        return "", ""


def _json_deed(body: bytes) -> tuple[str, str]:
    """`{"do": "seen"}`, or the form of a webhook's response."""
    from retrowalk.hub import web, webhook

    reply = web.Reply(200, {}, body)
    form = reply.json()
    if isinstance(form.get("do"), str):
        by = form.get("by")
        return form["do"], by if isinstance(by, str) else ""
    return webhook.answer(reply)
