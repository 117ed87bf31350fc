"""The real voice process for tests, and the guard's side of its sockets."""

from __future__ import annotations

import itertools
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from retrowalk import wire
from retrowalk.core.samples import VoicePhase
from retrowalk.platform import SocketMailbox

MAIN = Path(__file__).with_name("voice_main.py")
PATIENCE_S = 10.0
"""For what must happen at all; machines that run tests can be slow."""


class Guard:
    """The guard's side of the sockets."""

    def __init__(self, run_dir: Path) -> None:
        self.mailbox = SocketMailbox(run_dir, "guard")
        self.heard: list[wire.LocalMessage] = []
        self._beats_s: list[float] = []

    def send(self, message: wire.LocalMessage) -> None:
        assert self.mailbox.send("voice", wire.encode(message))

    def listen(self, seconds: float) -> None:
        """Reads for a while, with signs of life."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return
            select.select([self.mailbox], [], [], min(left, 0.1))
            while (data := self.mailbox.receive()) is not None:
                self.heard.append(wire.decode_local(data))
                if isinstance(self.heard[-1], wire.VoiceBeat):
                    self._beats_s.append(time.monotonic())
            self.mailbox.send("voice", wire.encode(wire.KeepAlive(time.monotonic(), "guarding")))

    def until(self, true: Callable[[], object]) -> None:
        """Reads until something is true, or fails."""
        end = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < end, f"it did not happen; heard last: {self.heard[-3:]}"
            self.listen(0.02)

    def beat(self) -> wire.VoiceBeat | None:
        """The latest beat, None before the first."""
        beats = self.beats()
        return beats[-1] if beats else None

    def beats(self) -> list[wire.VoiceBeat]:
        """Every beat that was heard."""
        return [message for message in self.heard if isinstance(message, wire.VoiceBeat)]

    def longest_silence_s(self) -> float:
        """The longest time between two beats, after the first second."""
        beats = [t for t in self._beats_s if t > self._beats_s[0] + 1.0]
        return max(later - earlier for earlier, later in itertools.pairwise(beats))

    def fault(self) -> str | None:
        """The fault of the latest beat, None before the first."""
        beats = [message for message in self.heard if isinstance(message, wire.VoiceBeat)]
        return beats[-1].fault if beats else None

    def phase(self, alert: int, phase: VoicePhase) -> wire.ProgressMessage | None:
        for message in self.heard:
            if isinstance(message, wire.ProgressMessage) and (message.alert, message.phase) == (alert, phase):
                return message
        return None

    def speak(self, alert: int, phrase: str = "stop", earcon: str = "warning", rank: int = 100) -> float:
        asked_s = time.monotonic()
        self.send(wire.SpeakMessage(alert, phrase, "", earcon, "warning", rank, asked_s + 1.0))
        return asked_s


class Start(Protocol):
    def __call__(self, bank_dir: Path, *devices: str, **environment: str) -> subprocess.Popen[bytes]: ...
