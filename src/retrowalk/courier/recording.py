"""Recordings: every item that entered the Companion and everything that left it, as MCAP files.

Foxglove, PlotJuggler and every `mcap` tool open them; `retrowalk replay` reads them back.  Log time is when an item was
received, publish time when it was measured (nanoseconds of the session), `sequence` its place in the order.  Messages
are JSON, each channel has its JSON schema, ranges have a channel per sensor (`/item/range/rear`).  `/status` is there
for viewers only, without a place in the order; reading back leaves it out.  `/label` is what `retrowalk record` was
told of the walk, in no order with the rest either: `Recording.labels`.

A file is written in chunks that are complete on their own and on disk at least every 5 s of data: whatever cuts it,
all before the last chunk can be read, without the summary at the end of a file that was closed properly.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from io import FileIO
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import msgspec
import zstandard
from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import ChunkIndex
from mcap.writer import CompressionType, IndexType, Writer

from retrowalk import wire
from retrowalk.config import Recording as RecordingLimits
from retrowalk.core.events import Level
from retrowalk.errors import RecordingError, WireError
from retrowalk.logs import about

SUFFIX = ".mcap"
CHUNK_S = 5.0
"""A chunk holds at most this much: what a cut can cost, with as much again for the disk's own delay."""

CHUNK_BYTES = 1024 * 1024
RETRY_S = 10.0
"""After a failed write a new file is tried this much later."""

RESERVE_BYTES = 16 * 1024 * 1024
"""Room left on the disk for events and state: they matter more than a recording."""

MB = 1_000_000

_MAGIC = b"\x89MCAP0\r\n"
_log = logging.getLogger(__name__)

# ------------------------------------------------------------------------------------------------ channels


def channel_type(channel: str) -> type | None:
    """The type of a channel's messages; the last part of a topic may be a sensor's name.  None: not known."""
    if channel == wire.SESSION_CHANNEL:
        return wire.Session
    if channel == wire.STATUS_CHANNEL:
        return wire.StatusRecord
    if channel == wire.LABEL_CHANNEL:
        return wire.LabelRecord
    return wire.CHANNEL_TYPES.get(channel) or wire.CHANNEL_TYPES.get(channel.rpartition("/")[0])


def channel_schema(kind: type) -> bytes:
    """JSON schema of a channel, in the part of JSON Schema that viewers know.

    Foxglove refuses a channel that has a field without one plain `type`, and follows no references.  So what may be
    None is a field that may be missing (`wire.encode_entry` leaves it out), and an enumeration of numbers names each.
    """
    schema = msgspec.json.schema(kind)
    plain = _plain(schema, schema.pop("$defs", {}))
    return msgspec.json.encode({"$schema": "https://json-schema.org/draft/2020-12/schema", **plain})


_NUMBERED: dict[str, type[IntEnum]] = {kind.__name__: kind for kind in (wire.GuardCode, Level)}


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is not None:
        named = definitions[reference.rpartition("/")[2]]
        return _plain(named, definitions)
    if "anyOf" in schema:
        kinds = [kind for kind in schema["anyOf"] if kind != {"type": "null"}]
        assert len(kinds) == 1, f"{schema}: viewers know only one type for a field"
        return _plain(kinds[0], definitions)
    result = dict(schema)
    if numbered := _NUMBERED.get(schema.get("title", "")):
        del result["enum"]
        result["oneOf"] = [{"title": member.name, "const": member.value} for member in numbered]
    elif "enum" in schema:
        result["type"] = "string"
    if "properties" in schema:
        fields = schema["properties"]
        result["properties"] = {name: _plain(field, definitions) for name, field in fields.items()}
        result["required"] = [name for name in schema.get("required", ()) if "anyOf" not in fields[name]]
    if "prefixItems" in schema:  # three equal numbers: viewers plot only `items`
        kinds = result.pop("prefixItems")
        assert all(kind == kinds[0] for kind in kinds), f"{schema}: viewers know only one type for an array"
        result["items"] = _plain(kinds[0], definitions)
    elif isinstance(schema.get("items"), dict):
        result["items"] = _plain(schema["items"], definitions)
    return result


# ------------------------------------------------------------------------------------------------- writing


class Recorder:
    """Writes recordings into `directory`: a file for each session, in parts when it grows.

    Files are called `<count>_<session>_<part>.mcap`; the count rises, because the clock of a device without a battery
    for it does not.  Beyond `limits.total_max_mb`, and where the disk has no room left for events, the oldest are
    deleted, never the current one.  No method raises:
    `fault` says what is wrong ("" when nothing is), `lost` counts entries that could not be written, and a new file
    is tried every 10 s.  `sync` puts a file's data on the disk; a thread may do it, the default waits.
    """

    def __init__(
        self,
        directory: str | Path,
        limits: RecordingLimits,
        sync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.directory = Path(directory)
        self.fault = ""
        self.lost = 0
        self.path: Path | None = None
        """The current file."""
        self._limits = limits
        self._sync = sync
        self._session: wire.Session | None = None
        self._part = 0
        self._file: FileIO | None = None
        self._writer: Writer | None = None
        self._channels: dict[str, int] = {}
        self._chunk_since_ns: int | None = None
        self._chunk_since_s = 0.0
        self._retry_at = -1e300

    @property
    def active(self) -> bool:
        """Whether a session is being recorded."""
        return self._writer is not None

    @property
    def session(self) -> str:
        """Name of the session that is recorded, or would be if the disk let us."""
        return self._session.session if self._session else ""

    def begin(self, session: wire.Session, now: float) -> None:
        """A session begins; one that is being recorded ends.  Said again for the same session, nothing happens."""
        if not self._limits.enabled or (self._session is not None and self._session.session == session.session):
            return
        self.close()
        self._session = session
        self._part = 0
        self._retry_at = -1e300
        self._open(now)

    def write(self, message: wire.RecordsMessage, now: float) -> None:
        """Adds entries to the recording of their session; those of another are counted as lost."""
        if not self._limits.enabled:
            return
        if self._session is None or message.session != self._session.session:
            self.lost += len(message.records)
            return
        if self._writer is None and now >= self._retry_at:
            self._open(now)
        if self._writer is None:
            self.lost += len(message.records)
            return
        done = 0
        try:
            for record in message.records:
                self._add(record, now)
                done += 1
            self.poll(now)
        except (OSError, ValueError, struct.error) as error:
            self.lost += len(message.records) - done
            self._fail(error, now)

    def _add(self, record: wire.Record, now: float) -> None:
        if self._chunk_since_ns is not None and record.log_ns - self._chunk_since_ns >= CHUNK_S * 1e9:
            self._flush(now)
        if self._writer is None:
            raise OSError(f"{self.directory}: no file to write to")  # the next part could not be opened
        if self._chunk_since_ns is None:
            self._chunk_since_ns, self._chunk_since_s = record.log_ns, now
        channel = self._channels.get(record.channel) or self._register(record.channel)
        self._writer.add_message(
            channel_id=channel,
            log_time=record.log_ns,
            data=bytes(record.data),
            publish_time=max(0, record.publish_ns),  # back-dated to before the session: unsigned in MCAP
            sequence=record.sequence,
        )

    def _register(self, channel: str) -> int:
        assert self._writer is not None
        kind = channel_type(channel)
        schema = 0  # a channel nobody knows is kept all the same: it may be told from a later version
        if kind is not None:
            schema = self._writer.register_schema(f"retrowalk.{kind.__name__}", "jsonschema", channel_schema(kind))
        self._channels[channel] = self._writer.register_channel(channel, "json", schema)
        return self._channels[channel]

    def poll(self, now: float) -> float:
        """Puts on disk what is due; returns when to be called again (seconds of the caller's time)."""
        if self._writer is None or self._chunk_since_ns is None:
            return float("inf")
        if now >= self._chunk_since_s + CHUNK_S:  # in the very form of the due time below, or both may miss it
            try:
                self._flush(now)
            except (OSError, ValueError, struct.error) as error:
                self._fail(error, now)
            return float("inf")
        return self._chunk_since_s + CHUNK_S

    def next_part(self, now: float) -> list[Path]:
        """Finishes the file and goes on in a new one; returns the finished files of the session, in order."""
        if self._session is None or self._writer is None:
            return []
        try:
            self._finish()
        except (OSError, ValueError, struct.error) as error:
            self._fail(error, now)
            return []
        name = self._file_name()
        found = [path for path in self._recordings() if path.name.partition("_")[2].startswith(f"{name}_")]
        self._open(now)
        return found

    def close(self) -> None:
        """Finishes the file.  The next `begin` starts another."""
        try:
            self._finish()
        except (OSError, ValueError, struct.error) as error:
            self._fail(error, -1e300)
        self._session = None

    def _open(self, now: float) -> None:
        session = self._session
        assert session is not None
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._make_room()
            name = self._file_name()
            earlier = self._recordings()
            counts = [int(path.name.partition("_")[0]) for path in earlier]
            parts = [
                int(path.stem.rpartition("_")[2])
                for path in earlier
                if path.name.partition("_")[2].startswith(f"{name}_")
            ]
            self._part = max([*parts, self._part]) + 1  # a courier that died left the parts before
            self.path = self.directory / f"{max(counts, default=0) + 1:06d}_{name}_{self._part}{SUFFIX}"
            self._file = FileIO(self.path, "xb")
            # 16 bytes a message, a third of the file; but Foxglove opens no file that has only the other index.
            self._writer = Writer(
                cast(IO[bytes], _WholeWrites(self._file)),
                chunk_size=CHUNK_BYTES,
                compression=CompressionType.ZSTD,
                index_types=IndexType.CHUNK | IndexType.MESSAGE,
            )
            # Kept as objects until the file ends, its indices would be 2 MB for each hour.
            vars(self._writer)[_INDICES] = _Indices()
            self._channels = {}
            self._chunk_since_ns = None
            self._writer.start(profile="", library="retrowalk")
            channel = self._register(wire.SESSION_CHANNEL)
            self._writer.add_message(channel, log_time=0, data=wire.encode(session), publish_time=0, sequence=0)
            self._flush(now)
            _sync_directory(self.directory)
            self.fault = ""
        except (OSError, ValueError, struct.error) as error:
            self._fail(error, now)

    def _file_name(self) -> str:
        return re.sub(r"[^A-Za-z0-9-]", "-", self.session)[:64]

    def _flush(self, now: float) -> None:
        assert self._writer is not None
        assert self._file is not None
        self._writer.flush()  # type: ignore[no-untyped-call]  # mcap leaves it so
        self._sync(self._file.fileno())
        self._chunk_since_ns = None
        if self._file.tell() >= self._limits.file_max_mb * MB:
            self._finish()
            self._open(now)
        else:
            self._make_room()

    def _make_room(self) -> None:
        """Deletes the oldest recordings beyond the limit, and for room that events need.

        Raises OSError when the disk is nearly full all the same.
        """
        sizes = [(path, path.stat().st_size) for path in self._recordings()]
        total = sum(size for _, size in sizes)
        free = self._free_bytes()
        for path, size in sizes:
            if total <= self._limits.total_max_mb * MB and free >= RESERVE_BYTES:
                break
            if path != self.path or self._writer is None:
                path.unlink(missing_ok=True)
                total -= size
                free = self._free_bytes()
        if free < RESERVE_BYTES:
            raise OSError(errno.ENOSPC, f"less than {RESERVE_BYTES // 1024 // 1024} MiB left on the disk")

    def _free_bytes(self) -> int:
        disk = os.statvfs(self.directory)
        return disk.f_bavail * disk.f_frsize

    def _recordings(self) -> list[Path]:
        """All recordings, the oldest first."""
        return sorted(path for path in self.directory.glob(f"*{SUFFIX}") if re.match(r"\d{6}_.*_\d+$", path.stem))

    def _finish(self) -> None:
        if self._writer is not None and self._file is not None:
            self._writer.finish()  # type: ignore[no-untyped-call]  # mcap leaves it so
            self._sync(self._file.fileno())
            self._file.close()
        self._writer = None
        self._file = None

    def _fail(self, error: Exception, now: float) -> None:
        if not self.fault:
            where, failed = self.path or self.directory, about("recording.failed", part="recording")
            _log.warning("recording %s: %s; trying again every %.0f s", where, error, RETRY_S, extra=failed)
        self.fault = "recording"
        self._retry_at = now + RETRY_S
        self._writer = None
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                pass  # it could not be written; it cannot be closed either
            self._file = None


_INDICES = "_Writer__chunk_indices"
"""Where mcap's writer keeps them; a test sees that it does."""


class _Indices:
    """The chunk indices of a file that is being written, each as the bytes it will be, in mcap's list's place."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def append(self, index: ChunkIndex) -> None:
        builder = RecordBuilder()
        index.write(builder)
        self._written.append(builder.end())  # type: ignore[no-untyped-call]  # mcap leaves it so

    def __len__(self) -> int:
        return len(self._written)

    def __iter__(self) -> Iterator[_Written]:
        return map(_Written, self._written)


class _Written(bytes):
    """A record that has been written."""

    def write(self, stream: RecordBuilder) -> None:
        stream.write(self)


class _WholeWrites:
    """An unbuffered file whose `write` writes everything or raises: no data waits where an error would be lost."""

    def __init__(self, file: FileIO) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]
        return len(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        """Nothing is held back."""


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a recording: its place in the order, its channel, and the item, event or request itself."""

    sequence: int
    channel: str
    log_ns: int
    publish_ns: int
    value: Any


@dataclass(frozen=True, slots=True)
class Recording:
    """What a recording holds."""

    session: wire.Session
    entries: tuple[Entry, ...]
    complete: bool
    """Whether it was closed properly and nothing is missing or wrong."""
    problem: str
    """What is wrong, with the byte or the second; empty when nothing is."""
    intact: int
    """How many entries come before the first problem: only up to here a replay can say the same."""
    labels: tuple[wire.LabelRecord, ...] = ()
    """What a person said was going on, in the order in which it was said; no part of what is replayed."""


def read(path: str | Path | Sequence[str | Path]) -> Recording:
    """Reads a recording: a file, the parts of one session, or a directory that holds the parts of one session.

    Of a truncated or damaged recording everything before the damage is returned, and `problem` says what is wrong.
    Raises `RecordingError`, with the position, when it is no recording of retrowalk at all, and `OSError` when it
    cannot be read.
    """
    paths = _paths(path)
    collector = _Collector()
    for part in paths:
        collector.begin(part, several=len(paths) > 1)
        with open(part, "rb") as file:
            _read_file(file, collector)
    return collector.result()


def _paths(path: str | Path | Sequence[str | Path]) -> list[Path]:
    if not isinstance(path, str | Path):
        paths = [Path(part) for part in path]
    elif Path(path).is_dir():
        paths = sorted(Path(path).glob(f"*{SUFFIX}"))
    else:
        paths = [Path(path)]
    if not paths:
        raise RecordingError(f"{path}: holds no {SUFFIX} file", 0)
    return paths


class _DamageError(Exception):
    """Reading cannot go on in this file."""

    def __init__(self, text: str, position: int) -> None:
        self.text = text
        self.position = position
        super().__init__(f"{text} (at byte {position})")


class _Collector:
    """Gathers what one or several files hold, and the first thing wrong with it."""

    def __init__(self) -> None:
        self.session: wire.Session | None = None
        self.entries: list[Entry] = []
        self.labels: list[wire.LabelRecord] = []
        self.problem = ""
        self.intact = 0
        self.name = ""
        self.first = True
        self.messages = 0
        """Messages of this file so far."""
        self._several = False

    def begin(self, path: Path, several: bool) -> None:
        self.name = str(path)
        self._several = several
        self.first = True
        self.messages = 0

    def wrong(self, text: str) -> None:
        if not self.problem:
            self.problem = f"{self.name}: {text}" if self._several else text
            self.intact = len(self.entries)

    def message(self, position: int, channel: str, sequence: int, log_ns: int, publish_ns: int, data: bytes) -> None:
        """Takes one message.  Raises `RecordingError` if the first is no session, or of another session."""
        self.messages += 1
        if self.first:
            self._begin_session(position, channel, data)
            return
        if channel == wire.STATUS_CHANNEL:
            return
        kind = channel_type(channel)
        if kind is None:
            self.wrong(f"unknown channel {channel!r} (at byte {position})")
            return
        try:
            value = wire.decode(data, kind)
        except WireError as error:
            self.wrong(f"message {sequence} on {channel} cannot be decoded: {error} (at byte {position})")
            return
        if channel == wire.LABEL_CHANNEL:
            self.labels.append(value)
            return
        if self.entries and sequence != self.entries[-1].sequence + 1 and not self.problem:
            last = self.entries[-1].sequence
            what = f"{sequence - last - 1} entries missing" if sequence > last else "order broken"
            self.wrong(f"{what} after number {last}: next is {sequence}, at {log_ns / 1e9:.3f} s (at byte {position})")
        self.entries.append(Entry(sequence, channel, log_ns, publish_ns, value))

    def _begin_session(self, position: int, channel: str, data: bytes) -> None:
        if channel != wire.SESSION_CHANNEL:
            raise RecordingError(f"{self.name}: begins with {channel!r}, not with {wire.SESSION_CHANNEL}", position)
        try:
            session: wire.Session = wire.decode(data, wire.Session)
        except WireError as error:
            raise RecordingError(f"{self.name}: its session cannot be decoded: {error}", position) from error
        if session.schema_version > wire.SCHEMA_VERSION:
            known = wire.SCHEMA_VERSION
            raise RecordingError(
                f"{self.name}: schema_version = {session.schema_version}: this program reads up to {known}", position
            )
        if self.session is not None and session.session != self.session.session:
            raise RecordingError(
                f"{self.name}: is of session {session.session}, not {self.session.session}: give one session", position
            )
        self.session = session
        self.first = False

    def result(self) -> Recording:
        if self.session is None:
            raise RecordingError(f"{self.name}: no {wire.SESSION_CHANNEL} message: {self.problem or 'empty'}", 0)
        intact = self.intact if self.problem else len(self.entries)
        labels = tuple(self.labels)
        return Recording(self.session, tuple(self.entries), not self.problem, self.problem, intact, labels)


def _read_file(file: BinaryIO, collector: _Collector) -> None:
    """Feeds one file's messages to the collector, as far as it can be read."""
    size = os.fstat(file.fileno()).st_size
    magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        if magic and _MAGIC.startswith(magic):
            raise RecordingError(f"{collector.name}: ends within its first {len(_MAGIC)} bytes", len(magic))
        raise RecordingError(f"{collector.name}: is no MCAP file", 0)
    try:
        _read_records(file, size, collector)
    except _DamageError as damage:
        if collector.first:
            text = f"{collector.name}: {damage.text}, before its {wire.SESSION_CHANNEL} message"
            raise RecordingError(text, damage.position) from damage
        collector.wrong(str(damage))


def _read_records(file: BinaryIO, size: int, collector: _Collector) -> None:
    channels: dict[int, str] = {}
    told: int | None = None
    while True:
        position = file.tell()
        head = file.read(9)
        if len(head) < 9:
            raise _DamageError("truncated: ends without its summary", size)
        opcode, length = struct.unpack("<BQ", head)
        if opcode == 0:
            raise _DamageError("damaged: an empty record", position)
        if position + 9 + length > size:
            raise _DamageError(f"truncated: a record of {length} bytes ends beyond the file of {size}", position)
        if opcode == Opcode.FOOTER:
            if length != 20 or file.read(20 + len(_MAGIC))[20:] != _MAGIC:
                raise _DamageError("damaged: its end", position)
            if collector.first:
                raise RecordingError(f"{collector.name}: no {wire.SESSION_CHANNEL} message", position)
            if file.read(1):
                raise _DamageError("damaged: something follows its end", position)
            if told is not None and told != collector.messages:
                raise _DamageError(f"damaged: {collector.messages} messages, its summary tells {told}", position)
            return
        if opcode in (Opcode.CHUNK, Opcode.CHANNEL, Opcode.MESSAGE):
            content = file.read(length)
            if opcode == Opcode.CHUNK:
                records: Iterable[tuple[int, bytes]] = _chunk_records(_chunk(content, position), position)
            else:
                records = [(opcode, content)]
            for kind, record in records:
                _take(kind, record, position, channels, collector)
        elif opcode == Opcode.STATISTICS and length >= 8:
            told = struct.unpack_from("<Q", file.read(length))[0]
        else:
            file.seek(length, os.SEEK_CUR)  # header, schemas, indexes, summary: nothing that we need


def _take(kind: int, record: bytes, position: int, channels: dict[int, str], collector: _Collector) -> None:
    if kind == Opcode.CHANNEL:
        try:
            number, _, length = struct.unpack_from("<HHI", record)
            name = record[8 : 8 + length].decode()
        except (struct.error, UnicodeDecodeError) as error:
            raise _DamageError(f"damaged: a channel: {error}", position) from error
        channels[number] = name
    elif kind == Opcode.MESSAGE:
        if len(record) < 22:
            raise _DamageError("damaged: a message is cut", position)
        number, sequence, log_ns, publish_ns = struct.unpack_from("<HIQQ", record)
        if number not in channels:
            raise _DamageError(f"damaged: a message on channel {number}, which was not announced", position)
        collector.message(position, channels[number], sequence, log_ns, publish_ns, record[22:])


CHUNK_LIMIT_BYTES = 256 * 1024 * 1024
"""More than this in one chunk is damage, not data; it would be memory asked for by a broken length."""


def _chunk(content: bytes, position: int) -> bytes:
    """The records of a chunk, decompressed and checked."""
    try:
        _, _, size, crc, name_length = struct.unpack_from("<QQQII", content)
        compression = content[32 : 32 + name_length].decode()
        (data_length,) = struct.unpack_from("<Q", content, 32 + name_length)
        data = content[40 + name_length :]
        if len(data) != data_length:
            raise ValueError(f"{len(data)} bytes instead of {data_length}")
        if size > CHUNK_LIMIT_BYTES:
            raise ValueError(f"{size} bytes: must be at most {CHUNK_LIMIT_BYTES}")
        records = _decompressed(compression, data, size)
        if len(records) != size or (crc and zlib.crc32(records) != crc):
            raise ValueError("its check sum differs")
    except (ValueError, RuntimeError, struct.error, zstandard.ZstdError, MemoryError) as error:
        raise _DamageError(f"damaged: a chunk: {error}", position) from error
    return records


def _decompressed(compression: str, data: bytes, size: int) -> bytes:
    if compression == "":
        return data
    if compression == "zstd":
        told = zstandard.frame_content_size(data)
        if told not in (-1, size):
            raise ValueError(f"its frame tells {told} bytes, its header {size}")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=size)
    raise ValueError(f"compression {compression[:20]!r} is not known")


def _chunk_records(records: bytes, position: int) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(records):
        if offset + 9 > len(records):
            raise _DamageError("damaged: a record of a chunk is cut", position)
        opcode, length = struct.unpack_from("<BQ", records, offset)
        offset += 9
        if offset + length > len(records):
            raise _DamageError("damaged: a record of a chunk is cut", position)
        yield opcode, records[offset : offset + length]
        offset += length
