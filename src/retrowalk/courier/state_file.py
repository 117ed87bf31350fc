"""The guard's state on the card, for power cuts: whole at any moment, and not written too often."""

from __future__ import annotations

import logging
import math
import os
from pathlib import Path

STATE_GAP_S = 1.0
"""The state file is written at most this often: a card has only so many writes."""

_log = logging.getLogger(__name__)


class StateFile:
    """The guard's state on disk, for power cuts: the latest content, replaced in one step."""

    def __init__(self, path: Path) -> None:
        self.failed = False
        self._path = path
        self._content: bytes | None = None
        self._written_at = -math.inf

    def put(self, content: bytes) -> None:
        self._content = content

    def read(self) -> bytes:
        """The latest content; empty if there is none."""
        if self._content is not None:
            return self._content
        try:
            return self._path.read_bytes()
        except OSError:
            return b""

    def poll(self, now: float) -> float:
        """Writes what is new, but not too often; returns when to be called again."""
        if self._content is None:
            return math.inf
        if now < self._written_at + STATE_GAP_S:
            return self._written_at + STATE_GAP_S
        try:
            replace_file(self._path, self._content)
            self._content = None
            self.failed = False
        except OSError as error:
            if not self.failed:
                _log.warning("state file %s: %s", self._path, error)
            self.failed = True
        self._written_at = now
        return math.inf if self._content is None else now + STATE_GAP_S


def replace_file(path: Path, content: bytes) -> None:
    """Writes a file so that a power cut leaves the old content or the new.  Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    with open(beside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
