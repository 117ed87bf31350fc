"""Events that nobody has confirmed yet, where a death of the guard cannot reach them: in mapped memory.

A file of the run directory, mapped.  An event is copied there before it is handed to anybody; the copy is a few hundred
bytes in memory, no call that could wait, and the kernel has it however the process ends.  The slots of `state` hold the
same events, but a thread of its own writes them, a little later.

Two halves: events are appended to one; when it is full, what still waits moves to the other.  Each has its length and
checksum before it, and counts only from the moment its length is there.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from retrowalk.errors import WireError
from retrowalk.wire import EventMessage, decode_local

FILE = "pending-events"
HALF_BYTES = 256 * 1024
"""Room for some 800 events; the guard saves 500 at most."""

_MAGIC = b"rw-pend1"
_HEADER_BYTES = 16
_ACTIVE_AT = len(_MAGIC)
_RECORD = struct.Struct("=II")
_END = b"\0\0\0\0"


class Pending:
    """The file in `directory`, for one guard.  Raises `OSError` when it cannot be made."""

    def __init__(self, directory: str | Path) -> None:
        size = _HEADER_BYTES + 2 * HALF_BYTES
        descriptor = os.open(Path(directory) / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size != size:
                os.ftruncate(descriptor, 0)
                # Written, not only made long: every page is there before the first event needs one.
                os.write(descriptor, _MAGIC + bytes(size - len(_MAGIC)))
            if os.fstat(descriptor).st_size != size:
                raise OSError(f"{FILE}: no room for {size} bytes")
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        if self._map[: len(_MAGIC)] != _MAGIC:
            self._map[:] = _MAGIC + bytes(size - len(_MAGIC))
        self._half = self._map[_ACTIVE_AT] & 1
        self._at = self._start(self._half)
        for data in _records(self._map, self._half):
            self._at += _RECORD.size + len(data)

    def read(self) -> list[EventMessage]:
        """What an earlier guard left, oldest first."""
        found = []
        for data in _records(self._map, self._half):
            try:
                message = decode_local(data)
            except WireError:
                continue  # of another version
            if isinstance(message, EventMessage):
                found.append(message)
        return found

    def add(self, data: bytes) -> bool:
        """Appends an encoded `EventMessage`; False when there is no room, and `replace` must make some."""
        end = self._at + _RECORD.size + len(data)
        if end + len(_END) > self._start(self._half) + HALF_BYTES:
            return False
        self._put(self._at, data)
        self._at = end
        return True

    def replace(self, waiting: Sequence[bytes]) -> None:
        """Only these still wait; of too many, the latest that have room."""
        other = 1 - self._half
        room = HALF_BYTES * 3 // 4  # else the next event would ask for the same again
        first = len(waiting)
        while first and room >= (needs := _RECORD.size + len(waiting[first - 1])):
            room -= needs
            first -= 1
        at = self._start(other)
        self._map[at : at + len(_END)] = _END
        for data in waiting[first:]:
            self._put(at, data)
            at += _RECORD.size + len(data)
        self._map[_ACTIVE_AT] = other
        self._half, self._at = other, at

    def clear(self) -> None:
        """Nothing waits any more."""
        self._at = self._start(self._half)
        self._map[self._at : self._at + len(_END)] = _END

    def close(self) -> None:
        """Lets go of the file; what is in it stays."""
        self._map.close()

    def _put(self, at: int, data: bytes) -> None:
        """A record at `at`: what follows it and its content first, so that its length makes all of it count at once."""
        body = at + _RECORD.size
        end = body + len(data)
        self._map[end : end + len(_END)] = _END
        self._map[body:end] = data
        self._map[at : at + _RECORD.size] = _RECORD.pack(len(data), zlib.crc32(data))

    @staticmethod
    def _start(half: int) -> int:
        return _HEADER_BYTES + half * HALF_BYTES


def _records(content: mmap.mmap, half: int) -> list[bytes]:
    """The whole records of a half, up to the first that is torn."""
    at = _HEADER_BYTES + half * HALF_BYTES
    end = at + HALF_BYTES
    found = []
    while at + _RECORD.size <= end:
        length, checksum = _RECORD.unpack_from(content, at)
        body = at + _RECORD.size
        if not length or body + length > end:
            break
        data = content[body : body + length]
        if zlib.crc32(data) != checksum:
            break
        found.append(data)
        at = body + length
    return found
