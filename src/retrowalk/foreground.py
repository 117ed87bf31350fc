"""The device in the foreground, for a person at a terminal: what `retrowalk run` does.

The three processes under a supervisor, a line whenever something changes, and the phrases made meanwhile, if there are
some to be made.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from retrowalk import supervise
from retrowalk.config import Config
from retrowalk.errors import WireError
from retrowalk.platform import SocketMailbox
from retrowalk.voice.bank import complete, default_directory
from retrowalk.voice.texts import why
from retrowalk.wire import Status, Watch, decode_local, encode

WATCH_AGAIN_S = 2.0
"""The guard tells its status to who has asked for it lately."""
TURN_S = 0.05


def run(config_file: Path, config: Config, run_dir: Path, state_dir: Path, echo: Callable[[str], None]) -> int:
    """Runs until it is told to stop (Ctrl-C: in good order; twice: at once); returns the exit status.

    `echo` is called with each line.
    """
    tell = _Teller(time.monotonic(), echo)
    supervisor = supervise.device(config_file, run_dir, state_dir, tell.line)
    asked = 0

    def stop(_number: int, _frame: object) -> None:
        nonlocal asked
        asked += 1
        supervisor.stop()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    bank = _bank_in_background(config, config_file, tell.line)
    mailbox = SocketMailbox(run_dir, f"run-{os.getpid()}")
    watch = encode(Watch(mailbox.name))
    watch_s = 0.0
    try:
        while not supervisor.finished:
            now = time.monotonic()
            supervisor.poll(now)
            if asked > 1:
                supervisor.kill()
            if now >= watch_s:
                watch_s = now + WATCH_AGAIN_S if mailbox.send("guard", watch) else now + 0.2
            select.select([mailbox.fileno()], [], [], TURN_S)
            while (message := mailbox.receive()) is not None:
                tell.message(message)
    finally:
        supervisor.kill()
        mailbox.close()
        if bank is not None:
            bank.terminate()
            bank.wait()
    return supervisor.status


class _Teller:
    """Gives a line whenever something changes."""

    def __init__(self, began_s: float, echo: Callable[[str], None]) -> None:
        self._began_s = began_s
        self._echo = echo
        self._state = ""
        self._saying = ""

    def line(self, name: str, what: str) -> None:
        self._echo(f"{time.monotonic() - self._began_s:8.1f} s  {name:8} {what}")

    def message(self, data: bytes) -> None:
        try:
            status = decode_local(data)
        except WireError:
            return
        if isinstance(status, Status):
            self._status(status)

    def _status(self, status: Status) -> None:
        state = status.guard_state.replace("_", " ")
        if status.reasons:
            state += f" ({why(status.reasons)})"
        if state != self._state:
            self._state = state
            self.line("state", state)
        if status.saying and status.saying != self._saying and status.saying != "tick":
            self.line("says", status.saying)
        self._saying = status.saying


def _bank_in_background(
    config: Config, config_file: Path, tell: Callable[[str, str], None]
) -> subprocess.Popen[bytes] | None:
    """Makes the phrases while the device already guards with its few built-in words; None when they are there."""
    if complete(config, default_directory()):
        return None
    tell("voices", "some phrases are still to be made; until then only a few words are said")
    return subprocess.Popen(
        [sys.executable, "-m", "retrowalk", "voices", "build", "--config", str(config_file)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        process_group=0,
        preexec_fn=supervise.end_with_parent(os.getpid()),
    )
