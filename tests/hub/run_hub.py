"""The hub as a process of its own, with a notifier that only writes down: `run_hub.py SETTINGS.json STATE_DIR`.

Each notice is a line of `notices.jsonl` in STATE_DIR: when it was handed over (CLOCK_MONOTONIC) and what it says.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from retrowalk.hub import facts
from retrowalk.hub.process import run
from retrowalk.hub.settings import HubConfig
from retrowalk.platform import no_wake


class Scribe:
    """Takes every notice at once."""

    def __init__(self, path: Path) -> None:
        self.wake: Callable[[], None] = no_wake
        self.now: Callable[[], float] | None = None
        self._path = path
        self._taken: list[tuple[int, bool, str]] = []

    def send(self, notice: facts.Notify) -> None:
        line = {"mono_s": time.monotonic(), "notice": msgspec.to_builtins(notice)}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._taken.append((notice.notice, True, "written down"))
        self.wake()

    def void(self, notice: int) -> None:
        pass

    def results(self) -> list[tuple[int, bool, str]]:
        taken, self._taken = self._taken, []
        return taken

    def alive(self) -> bool:
        return True

    def attempts(self) -> list[tuple[int, str, str, bool, str, float]]:
        return []

    def answers(self) -> list[tuple[str, int, bool, str, str]]:
        return []

    def close(self) -> None:
        pass


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=HubConfig)
    state_dir = Path(sys.argv[2])
    state_dir.mkdir(parents=True, exist_ok=True)
    run(settings, state_dir, lambda: Scribe(state_dir / "notices.jsonl"))
