"""The caregiver's side for the benchmarks of messages: a hub process with its settings, and a server such as ntfy."""

from __future__ import annotations

import contextlib
import http.server
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device import child

SITE = "home"


class Ntfy:
    """A server that takes messages as ntfy does, and notes when each came.  A context manager."""

    def __init__(self) -> None:
        self.came: list[tuple[float, str, bytes]] = []
        """Monotonic seconds, path, body."""
        self.news = threading.Condition()

    def __enter__(self) -> Ntfy:
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with outer.news:
                    outer.came.append((time.monotonic(), self.path, body))
                    outer.news.notify_all()
                answer = json.dumps({"id": f"m{len(outer.came)}", "event": "message"}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            do_PUT = do_POST  # noqa: N815  # http.server names them so

            def do_GET(self) -> None:
                """A subscription (`/topic/json`): open, and nothing in it."""
                self.send_response(200)
                self.send_header("Content-Type", "application/x-ndjson")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                with contextlib.suppress(OSError):
                    while not outer.ended.wait(5.0):
                        self.wfile.write(b'{"event":"keepalive"}\n')
                        self.wfile.flush()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.ended = threading.Event()
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, name="ntfy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()

    def after(self, since: int, limit_s: float) -> float | None:
        """When the first message after the first `since` ones came; None: none did in time."""
        with self.news:
            self.news.wait_for(lambda: len(self.came) > since, limit_s)
            return self.came[since][0] if len(self.came) > since else None


@dataclass(frozen=True)
class Hub:
    """A hub that runs."""

    process: subprocess.Popen[bytes]
    state: Path
    log: Path

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What its store says."""
        file = self.state / "hub.db"
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5.0)) as db:
            return db.execute(query, values).fetchall()


def hub_settings(folder: Path, port: int, ntfy_port: int, *, extra: str = "") -> Path:
    """The hub's settings: this broker, and one contact."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "hub.toml"
    notify = f'"ntfy://127.0.0.1:{ntfy_port}/bench"'
    path.write_text(
        f'[hub]\nsites = ["{SITE}"]\n[broker]\nhost = "127.0.0.1"\nport = {port}\n'
        f'[[contact]]\nname = "Anna"\nnotify = [{notify}]\n{extra}',
        encoding="utf-8",
    )
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def hub(folder: Path, settings: Path) -> Iterator[Hub]:
    """The hub, by the command of its service."""
    state = folder / "state"
    state.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "retrowalk", "hub", "--config", settings, "--state-dir", state]
    with child(command, folder / "hub.log") as process:
        yield Hub(process, state, folder / "hub.log")
