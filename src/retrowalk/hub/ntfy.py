"""ntfy: alarms with buttons, and the stream on which the answers come back.

A button makes the phone post a few bytes to an answer topic of the same ntfy server; the hub holds an outgoing
connection to that server and hears it.  So nothing of the hub's must be reachable from outside, and no broker login
is on any phone.  The answer topic has a long random name; what is posted there counts only with a valid signature.

After ntfy's documentation: docs.ntfy.sh/publish (publish as JSON, action buttons), docs.ntfy.sh/subscribe/api.
"""

from __future__ import annotations

import json
import random
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from retrowalk.hub import web

SCHEMES = ("ntfy", "ntfys")
PUBLIC = "ntfy.sh"

LEVELS = {"low": 3, "medium": 4, "high": 5}
"""ntfy's priorities: 5 rings through a phone's quiet hours where the owner has allowed it, 3 is the usual."""
TAGS = {"low": "information_source", "medium": "warning", "high": "rotating_light"}
_NAMES = {"min": 1, "low": 2, "default": 3, "high": 4, "max": 5, "urgent": 5}

SILENT_S = 100.0
"""A server sends a sign of life each 45 s unless somebody has set it otherwise; two of them missed are a dead line."""
RETRY_S, RETRY_MAX_S = 1.0, 30.0
LINE_MAX_BYTES = 16 * 1024


class Ntfy(NamedTuple):
    """Where to publish."""

    server: str
    """`https://host`, without a slash at the end."""
    topics: tuple[str, ...]
    authorization: str
    """Value of the header; empty: none."""
    verify: bool
    priority: int | None
    """As the address asks; nothing lowers an alarm of high priority."""


def read(address: str) -> Ntfy:
    """Reads `ntfy://topic` (ntfy.sh), `ntfy://[user:password@|token@]host[:port]/topic`, ntfys:// with TLS.

    Raises `ValueError` (in words without secrets) if it names no topic.
    """
    parts = web.split(address)
    topics = [urllib.parse.unquote(part) for part in parts.path.split("/") if part]
    topics += [part.strip() for part in (parts.option("to") or "").split(",") if part.strip()]
    public = parts.option("mode") == "cloud" or not topics or parts.host.lower() in (PUBLIC, f"{PUBLIC}:443")
    if public:
        server = f"https://{PUBLIC}"
        if parts.host and parts.host.lower().partition(":")[0] != PUBLIC:
            topics = [parts.host, *topics]
    else:
        server = f"{'https' if parts.scheme == 'ntfys' else 'http'}://{parts.host}"
    if not topics:
        raise ValueError("names no topic")
    token = parts.option("token") or ""
    if not token and (parts.option("auth") == "token" or (parts.user.startswith("tk_") and not parts.password)):
        token = parts.password or parts.user
    authorization = f"Bearer {token}" if token else web.basic(parts.user, parts.password) if parts.user else ""
    level = (parts.option("priority") or "").lower()
    priority = int(level) if level in ("1", "2", "3", "4", "5") else _NAMES.get(level)
    return Ntfy(server, tuple(topics), authorization, web.yes(parts.option("verify"), True), priority)


def message(
    to: Ntfy, topic: str, title: str, body: str, level: str, why: str, buttons: list[dict[str, str]], answer_topic: str
) -> dict[str, Any]:
    """What is published.  `buttons`: `label` and the `body` that the phone posts to the answer topic."""
    priority = LEVELS.get(level, 3)
    if to.priority is not None and level != "high":
        priority = to.priority
    tag = "white_check_mark" if why in ("all_clear", "answered") else TAGS.get(level, "bell")
    form: dict[str, Any] = {"topic": topic, "title": title, "message": body, "priority": priority, "tags": [tag]}
    if buttons and answer_topic:
        form["actions"] = [
            {
                "action": "http",
                "label": button["label"],
                "url": f"{to.server}/{answer_topic}",
                "method": "POST",
                "body": button["body"],
                "clear": True,  # the message goes from the phone when the answer has arrived
            }
            for button in buttons[:3]  # ntfy allows three
        ]
    return form


def publish(to: Ntfy, form: dict[str, Any], total_s: float = web.TOTAL_S) -> web.Reply:
    """Publishes once.  Raises `web.WebError`."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": to.authorization} if to.authorization else {})
    body = json.dumps(form).encode()
    return web.request("POST", to.server + "/", body, headers, verify=to.verify, total_s=total_s)


class Stream:
    """Hears the answer topic of one server, in a thread of its own, and connects again for as long as it lives.

    `on_message(id, text)` gets each message; `on_state(heard, words)` is told when the server is heard, or no longer.
    `since`: id of the last message that was heard, or `all` that the server still keeps.
    """

    def __init__(
        self,
        to: Ntfy,
        topic: str,
        since: str,
        on_message: Callable[[str, str], None],
        on_state: Callable[[bool, str], None],
        *,
        silent_s: float = SILENT_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._to = to
        self._topic = topic
        self._since = since
        self._on_message = on_message
        self._on_state = on_state
        self._silent_s = silent_s
        self._retry_s = retry_s
        self._stop = threading.Event()
        self._connection: web.Connection | None = None
        self._heard: bool | None = None

    def start(self) -> None:
        """Begins to listen."""
        threading.Thread(target=self._run, name="answers", daemon=True).start()

    def stop(self) -> None:
        """Ends it; a thread that waits is woken."""
        self._stop.set()
        connection = self._connection
        if connection is not None:
            connection.close()

    def _run(self) -> None:
        wait_s = self._retry_s
        while not self._stop.is_set():
            try:
                for event in self._events():
                    wait_s = self._retry_s
                    self._on_event(event)
                words = "the connection broke off"
            except web.WebError as error:
                words = str(error)
            self._say(False, words)
            # A thousand hubs that lost the same server do not all come back in the same second.
            self._stop.wait(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(wait_s * 2.0, RETRY_MAX_S)

    def _events(self) -> Iterator[dict[str, Any]]:
        since = urllib.parse.quote(self._since, safe="")
        url = f"{self._to.server}/{self._topic}/json?since={since}"
        headers = {"Authorization": self._to.authorization} if self._to.authorization else {}
        self._connection = connection = web.Connection(url, verify=self._to.verify)
        try:
            answer = connection.ask("GET", None, headers, self._silent_s)
            if answer.status != 200:
                raise web.WebError(web.refusal(answer.status))
            while not self._stop.is_set():
                with web.words_for_errors():
                    line = answer.readline(LINE_MAX_BYTES)
                if not line:
                    return
                try:
                    event = json.loads(line)
                except (ValueError, RecursionError):
                    continue  # too long, or nothing of ntfy's
                if isinstance(event, dict):
                    yield event
        finally:
            connection.close()

    def _on_event(self, event: dict[str, Any]) -> None:
        self._say(True, "")
        if event.get("event") == "message" and isinstance(event.get("id"), str):
            self._since = event["id"]
            text = event.get("message")
            self._on_message(self._since, text if isinstance(text, str) else "")

    def _say(self, heard: bool, words: str) -> None:
        if heard != self._heard and not self._stop.is_set():
            self._heard = heard
            self._on_state(heard, words)
