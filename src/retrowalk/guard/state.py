"""What survives the guard's own death: a checksummed two-slot file in the run directory.

The run directory is in memory (tmpfs) and kept over restarts, so nothing here waits for a disk; the courier keeps a
copy on disk for power cuts.  Two slots: a death in mid-write leaves the other one whole.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from msgspec import Struct

from retrowalk.core.events import GuardState
from retrowalk.core.samples import SavedState
from retrowalk.errors import WireError
from retrowalk.wire import EventMessage, decode, encode


class Kept(Struct, frozen=True):
    """Content of the state file: the Companion's state, and the events nobody has confirmed yet."""

    count: int
    """Rises with every write; the slot with the higher count holds."""
    session: str
    boot_id: str
    saved_mono_s: float
    """CLOCK_MONOTONIC of when the state was as it is here; events beside it may be later."""
    saved_wall_s: float
    state: SavedState | None
    events: list[EventMessage]
    important: tuple[str, int] = ("", 0)
    """Session and number of the latest event of high priority, which the walker is told the delivery of."""

    def elapsed_s(self, boot_id: str, mono_s: float, wall_s: float) -> float:
        """Seconds since the state was so, never negative: by the monotonic clock within a boot, else by wall time."""
        same = boot_id == self.boot_id and boot_id != "unknown"
        return max(0.0, mono_s - self.saved_mono_s if same else wall_s - self.saved_wall_s)


def accepted_before(boot_id: str) -> Kept:
    """What is kept on a device that was used before, whose limits were accepted, and that was switched off cleanly."""
    state = SavedState(t_saved_s=0.0, guard_state=GuardState.STOPPING.value, accepted=True)
    return Kept(0, "before", boot_id, saved_mono_s=0.0, saved_wall_s=0.0, state=state, events=[])


def pack(kept: Kept) -> bytes:
    """Content with its checksum."""
    body = encode(kept)
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def unpack(content: bytes) -> Kept | None:
    """Content of a slot, None if it is empty, torn or foreign."""
    digest, _, body = content.partition(b"\n")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    try:
        kept = decode(body, Kept)
    except WireError:
        return None
    assert isinstance(kept, Kept)
    return kept


class StateFile:
    """`state-a` and `state-b` in `directory`, written in turn."""

    def __init__(self, directory: str | Path) -> None:
        self._slots = (Path(directory) / "state-a", Path(directory) / "state-b")

    def read(self) -> Kept | None:
        """The newest whole slot; None if there is none."""
        found = [kept for kept in (self._read_slot(slot) for slot in self._slots) if kept is not None]
        return max(found, key=lambda kept: kept.count, default=None)

    def _read_slot(self, slot: Path) -> Kept | None:
        try:
            return unpack(slot.read_bytes())
        except OSError:
            return None

    def write(self, kept: Kept) -> None:
        """Writes the slot that is due.  Raises `OSError`."""
        slot = self._slots[kept.count % 2]
        with open(slot, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(pack(kept))


HANGS_S = 2.0
"""A write into memory takes well below a millisecond."""


class StateSaver:
    """Writes the latest content in a thread of its own: the main loop never waits for a file."""

    def __init__(self, file: StateFile) -> None:
        self._file = file
        self._latest: Kept | None = None
        self._news = threading.Condition()
        self._stopping = False
        self._problem = ""
        self._writes = 0
        """Which write is going on, by its number; below zero: that one is done."""
        self._seen, self._since_s = 0, 0.0
        self._thread = threading.Thread(target=self._run, name="state", daemon=True)
        self._thread.start()

    def save(self, kept: Kept) -> None:
        """Hands over content; only the latest is written."""
        with self._news:
            self._latest = kept
            self._news.notify()

    def problem(self, now: float) -> str:
        """Why nothing is kept, or empty.  To be asked now and then: a write may never come back."""
        writes = self._writes
        if writes != self._seen:
            self._seen, self._since_s = writes, now
        hangs = writes > 0 and now - self._since_s >= HANGS_S
        return f"a write has not come back for {HANGS_S:g} s" if hangs else self._problem

    def _run(self) -> None:
        count = 0
        while True:
            with self._news:
                while self._latest is None and not self._stopping:
                    self._news.wait()
                kept, self._latest = self._latest, None
                if kept is None:
                    return
            count += 1
            self._writes = count
            try:
                self._file.write(kept)
                self._problem = ""
            except OSError as error:
                self._problem = str(error)
            self._writes = -count

    def close(self) -> None:
        """Writes what is left and ends."""
        with self._news:
            self._stopping = True
            self._news.notify()
        self._thread.join(timeout=2.0)
