"""What becomes of an outbox file that cannot be trusted: it is moved aside, and what can be read of it is read.

A power cut, a worn card or a stranger's program may have damaged it anywhere, so each row is checked for itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

KEPT_FILES = 3
"""So many files that were moved aside stay for whoever wants to look ..."""
KEPT_BYTES = 64 * 1024 * 1024
"""... as long as they take no more room than this; the latest stays however large it is."""

LOG_MAGIC = (0x377F0682, 0x377F0683)

COLUMNS = "seq, id, rank, session, number, type, priority, mono_s, boot_id, wall_s, clock, data"

SIZE_MAX_BYTES = 256 * 1024 * 1024

GAP_MAX = 50_000
"""Numbers between the readable ends of a damaged file that are looked up one by one."""


@dataclass(frozen=True, slots=True)
class OldRow:
    """A waiting event in a file that was given up."""

    id: str
    rank: int
    session: str
    number: int
    type: str
    priority: str
    mono_s: float
    boot_id: str
    wall_s: float
    clock: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What could be read: waiting events, the accounts of what was handed over, and small values kept beside them."""

    rows: list[OldRow]
    accounts: dict[str, list[tuple[Any, ...]]]
    kept: list[tuple[Any, ...]]


def move_aside(path: Path, kind: str = "damaged") -> Path:
    """Moves the file and its log to `<name>.<kind>-<number>`; returns the new path.  The oldest of many go."""
    numbers = {
        int(name.name.removeprefix(f"{path.name}.{kind}-")): name
        for name in path.parent.glob(f"{path.name}.{kind}-*")
        if name.name.removeprefix(f"{path.name}.{kind}-").isdigit()
    }
    aside = path.with_name(f"{path.name}.{kind}-{max(numbers, default=0) + 1:04d}")
    path.replace(aside)
    log = path.with_name(path.name + "-wal")
    if log.exists():  # it holds the latest commits of the old file, and must not be laid over the new one
        log.replace(aside.with_name(aside.name + "-wal"))
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    _forget([numbers[number] for number in sorted(numbers)], _size(aside))
    return aside


def _forget(earlier: list[Path], taken_bytes: int) -> None:
    """Deletes of the files that were moved aside before, the latest last, those that are too many or too large."""
    for count, file in enumerate(reversed(earlier), 2):
        if file.is_dir():
            continue
        taken_bytes += _size(file)
        if count > KEPT_FILES or taken_bytes > KEPT_BYTES:
            for suffix in _PARTS:
                file.with_name(file.name + suffix).unlink(missing_ok=True)


_PARTS = ("", "-wal", "-shm")


def _size(file: Path) -> int:
    found = (file.with_name(file.name + suffix) for suffix in _PARTS)
    return sum(part.stat().st_size for part in found if part.is_file())


def fill_up(aside: Path) -> None:
    """Fills a file that lacks its end with zeros up to the size it says it has: SQLite opens no shorter one."""
    try:
        with aside.open("r+b") as file:
            header = file.read(100)
            size = int.from_bytes(header[16:18]) * int.from_bytes(header[28:32])
            if header.startswith(b"SQLite format 3\0") and aside.stat().st_size < size <= SIZE_MAX_BYTES:
                file.truncate(size)
    except OSError:
        pass


def log_is_damaged(path: Path, readable_frames: int) -> bool:
    """Whether the write-ahead log of `path` holds commits behind the `readable_frames` that SQLite could read of it.

    SQLite ends at the first frame whose checksum is wrong, silently: right after a power cut in the middle of the last
    commit, for nobody was told of that one.  But what was committed behind a wrong frame had been announced.
    """
    try:
        with path.with_name(path.name + "-wal").open("rb") as log:
            header = log.read(32)
            if len(header) < 32:
                return False
            if int.from_bytes(header[:4]) not in LOG_MAGIC:
                return True
            frame_size = 24 + int.from_bytes(header[8:12])
            commits = []
            last = frame = readable_frames
            while True:
                log.seek(32 + frame * frame_size)
                head = log.read(24)
                if len(head) < 24:
                    break
                frame += 1
                if head[8:16] == header[16:24]:  # of this generation of the log; older ones lie behind it
                    last = frame
                    if int.from_bytes(head[4:8]):
                        commits.append(frame)
            return any(commit < last for commit in commits)
    except OSError:
        return False


def waiting_rows(db: sqlite3.Connection, id_of: Callable[[str, int], str]) -> Iterator[OldRow]:
    """Every waiting event that can still be read and is what it says it is.  Never raises `sqlite3.Error`.

    `id_of` gives the name that an event must have: a row with another one was overwritten.
    """
    where = "delivered IS NULL" if _has_column(db, "delivered") else "1"
    query = f"SELECT {COLUMNS} FROM outbox NOT INDEXED WHERE {where}"
    seen: set[int] = set()
    ends = []
    for way in ("ASC", "DESC"):  # from both ends towards the page that cannot be read
        end = 0
        try:
            for values in db.execute(f"{query} ORDER BY seq {way}"):
                end = values[0]
                if end not in seen:
                    seen.add(end)
                    yield from _checked(values, id_of)
            return
        except sqlite3.Error:
            ends.append(end)
    first, last = ends
    for seq in range(first + 1, min(last, first + GAP_MAX)):
        try:
            for values in db.execute(f"{query} AND seq = ?", (seq,)):
                if seq not in seen:
                    yield from _checked(values, id_of)
        except sqlite3.Error:
            continue


def table(db: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    """What can be read of a small table."""
    found: list[tuple[Any, ...]] = []
    with suppress(sqlite3.Error):
        found.extend(db.execute(query))
    return found


def read(db: sqlite3.Connection, id_of: Callable[[str, int], str]) -> Salvaged:
    """Everything of use that can be read of an outbox; never raises `sqlite3.Error`."""
    accounts = {name: table(db, f"SELECT * FROM {name}") for name in ("session", "beyond", "missing")}
    kept = table(db, "SELECT key, value FROM meta WHERE key LIKE 'kept.%'")
    return Salvaged(list(waiting_rows(db, id_of)), accounts, kept)


def _has_column(db: sqlite3.Connection, name: str) -> bool:
    return any(row[1] == name for row in table(db, "PRAGMA table_info(outbox)"))


def _checked(values: tuple[Any, ...], id_of: Callable[[str, int], str]) -> list[OldRow]:
    try:
        row = msgspec.convert(dict(zip(OldRow.__slots__, values[1:], strict=True)), OldRow)
        if row.id == id_of(row.session, row.number) and isinstance(msgspec.json.decode(row.data), dict):
            return [row]
    except (msgspec.MsgspecError, ValueError, TypeError):
        pass
    return []
