"""The outbox: every event is on disk before anybody is told that it exists.

One SQLite file.  Each transaction is synced (WAL, synchronous=FULL), so a power cut after `commit` loses nothing.
`(epoch, seq)` names a row for ever: `epoch` is a random name made with the file and `seq` never goes backwards, so a
hub recognises duplicates and sees gaps.  One thread owns an `Outbox`; there is no lock.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retrowalk import wire
from retrowalk.core.events import Priority
from retrowalk.errors import OutboxError

RANKS: dict[str, int] = {priority.value: rank for rank, priority in enumerate(Priority)}
"""Order of sending: a fall never waits for what piled up before it."""

DROPPABLE = (RANKS[Priority.NONE], RANKS[Priority.LOW])
"""What may be given up when the outbox is full, first things first.  Medium and high are never given up."""

ANSWER_LIMIT_S = 10.0
"""A message without an answer of the broker (or hub) for longer is sent again, under the same id."""

BACK_OFF_MAX_S = 300.0
REOPEN_S = 2.0
"""A file that cannot be used is tried again after this time."""

ROW_OVERHEAD_BYTES = 300
"""Room of a row besides its data: the other columns and the indexes, measured."""

SESSIONS_KEPT = 50
MISSING_KEPT = 1000
DAMAGED_KEPT = 3

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- AUTOINCREMENT: a number is never used twice, even for a deleted row
    id TEXT NOT NULL UNIQUE,
    rank INTEGER NOT NULL,
    session TEXT NOT NULL,
    number INTEGER NOT NULL,
    type TEXT NOT NULL,
    priority TEXT NOT NULL,
    mono_s REAL NOT NULL,
    boot_id TEXT NOT NULL,
    wall_s REAL NOT NULL,
    clock TEXT NOT NULL,
    data BLOB NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0,  -- 1: the broker has it, the hub has not said so yet
    UNIQUE (session, number)
);
CREATE INDEX IF NOT EXISTS order_of_sending ON outbox (rank DESC, seq);
CREATE TABLE IF NOT EXISTS session (session TEXT PRIMARY KEY, committed INTEGER NOT NULL);
-- Numbers above `committed` that came while lower ones had not come.
CREATE TABLE IF NOT EXISTS beyond (session TEXT, number INTEGER, PRIMARY KEY (session, number)) WITHOUT ROWID;
-- Numbers below `committed` that never came: should one come after all, it is taken.
CREATE TABLE IF NOT EXISTS missing (session TEXT, number INTEGER, PRIMARY KEY (session, number)) WITHOUT ROWID;
-- Attempts need not survive a restart: nothing is synced to the card for a retry.
CREATE TEMP TABLE IF NOT EXISTS tried (seq INTEGER PRIMARY KEY, attempts INTEGER NOT NULL, next_try REAL NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the courier knows about when an event happened: the boot, wall time (Unix) and the clock's quality."""

    boot_id: str
    wall_s: float
    clock: str


@dataclass(frozen=True, slots=True)
class Row:
    """A committed event that waits to be delivered."""

    seq: int
    id: str
    session: str
    number: int
    type: str
    priority: str
    mono_s: float
    stamp: Stamp
    data: bytes
    attempts: int
    """How often it has been sent or refused since this process started."""


def event_id(owner: str, session: str, number: int) -> str:
    """Name of an event: 26 characters as in a ULID, the same wherever and however often the event is committed.

    It does not depend on the outbox, so that an event the guard hands over again after the file was lost is still
    recognised as the same.  Its order says nothing; `seq` has the order.
    """
    value = int.from_bytes(hashlib.sha256(f"{owner}\n{session}\n{number}".encode()).digest()[:16])
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value >> shift & 31] for shift in range(125, -1, -5))


class Outbox:
    """Events that are committed and not yet delivered.

    `owner` (site/device) goes into the ids.  `rng` makes epoch and jitter; pass a seeded one in virtual time.
    Beyond `max_bytes` the oldest events of priority `none`, then `low`, are dropped and counted in `dropped`.

    Every method that touches the file raises `OutboxError` while that is impossible (disk full, read-only, absent) and
    opens it again by itself.  A damaged file is moved aside and a new epoch begins: `damaged` counts these.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        owner: str = "",
        rng: random.Random | None = None,
        max_bytes: int = 32 * 1024 * 1024,
    ) -> None:
        self.path = Path(path)
        self.epoch = ""
        self.dropped = 0
        self.damaged = 0
        self._owner = owner
        self._rng = rng or random.SystemRandom()
        self._max_bytes = max_bytes
        self._bytes = 0
        self._highest_sent = 0
        self._latest_ack = 0
        self._db: sqlite3.Connection | None = None
        self._reopen_at = -1e300
        try:
            self._open(-1e300)
        except OutboxError:
            pass  # whoever uses it hears of it then; until the disk is back, events stay with the guard

    # ------------------------------------------------------------------------------------------- committing

    def commit(self, event: wire.EventMessage, stamp: Stamp, now: float) -> int:
        """Puts one event on disk; returns its `seq`.  An event handed over again keeps its number."""
        return self.commit_all([(event, stamp)], now)[0]

    def commit_all(self, events: Sequence[tuple[wire.EventMessage, Stamp]], now: float) -> list[int]:
        """Puts events on disk in one transaction; returns their `seq`, 0 for one that was delivered long ago."""
        with self._transaction(now) as db:
            return [self._insert(db, event, stamp) for event, stamp in events]

    def _insert(self, db: sqlite3.Connection, event: wire.EventMessage, stamp: Stamp) -> int:
        if not self._is_new(db, event.session, event.number):
            row = db.execute(
                "SELECT seq FROM outbox WHERE session = ? AND number = ?", (event.session, event.number)
            ).fetchone()
            return int(row[0]) if row else 0
        data = wire.encode(event.data)
        cursor = db.execute(
            "INSERT INTO outbox (id, rank, session, number, type, priority, mono_s, boot_id, wall_s, clock, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.id_of(event.session, event.number),
                RANKS.get(event.priority, RANKS[Priority.HIGH]),  # unknown: better too early than too late
                event.session,
                event.number,
                event.type,
                event.priority,
                event.mono_s,
                stamp.boot_id,
                stamp.wall_s,
                stamp.clock,
                data,
            ),
        )
        self._bytes += len(data) + ROW_OVERHEAD_BYTES
        if self._bytes > self._max_bytes:
            self._drop(db)
        return int(cursor.lastrowid or 0)

    def _is_new(self, db: sqlite3.Connection, session: str, number: int) -> bool:
        """Whether an event is handed over for the first time; keeps account of it.

        The guard sends an event when it happens, and what has no answer again and again, the lowest number first.  So
        a number that comes twice while lower ones are missing says that the guard has given those up.
        """
        committed = self._committed(db, session)
        if number <= committed:  # handed over before, unless it was believed to be given up
            return db.execute("DELETE FROM missing WHERE session = ? AND number = ?", (session, number)).rowcount > 0
        repeated = db.execute("SELECT 1 FROM beyond WHERE session = ? AND number = ?", (session, number)).fetchone()
        if not repeated and number > committed + 1:
            db.execute("INSERT OR IGNORE INTO session VALUES (?, 0)", (session,))
            db.execute("INSERT INTO beyond VALUES (?, ?)", (session, number))
            return True
        came = {row[0] for row in db.execute("SELECT number FROM beyond WHERE session = ?", (session,))}
        db.executemany(
            "INSERT INTO missing VALUES (?, ?)",
            [
                (session, lower)
                for lower in range(max(committed + 1, number - MISSING_KEPT), number)
                if lower not in came
            ],
        )
        committed = number
        while committed + 1 in came:
            committed += 1
        db.execute("DELETE FROM beyond WHERE session = ? AND number <= ?", (session, committed))
        db.execute("INSERT OR REPLACE INTO session VALUES (?, ?)", (session, committed))
        return repeated is None

    def _committed(self, db: sqlite3.Connection, session: str) -> int:
        row = db.execute("SELECT committed FROM session WHERE session = ?", (session,)).fetchone()
        return int(row[0]) if row else 0

    def committed(self, session: str, now: float) -> int:
        """Every event of `session` up to this number is on disk (or delivered, or given up); 0: none yet."""
        db = self._connection(now)
        with self._reading():
            return self._committed(db, session)

    def delivered(self, session: str, now: float) -> int:
        """Every event of `session` up to this number has been delivered (or dropped); 0: none yet."""
        db = self._connection(now)
        with self._reading():
            waits = db.execute("SELECT min(number) FROM outbox WHERE session = ?", (session,)).fetchone()[0]
            return self._committed(db, session) if waits is None else int(waits) - 1

    def keep(self, key: str, value: bytes, now: float) -> None:
        """Keeps a small value on disk, beside the events."""
        with self._transaction(now) as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"kept.{key}", value))

    def kept(self, key: str, now: float) -> bytes | None:
        """What was kept under `key`."""
        db = self._connection(now)
        with self._reading():
            row = db.execute("SELECT value FROM meta WHERE key = ?", (f"kept.{key}",)).fetchone()
        return row[0] if row and isinstance(row[0], bytes) else None

    # --------------------------------------------------------------------------------------------- sending

    def pending(self, limit: int, now: float) -> list[Row]:
        """What is to be sent now: highest priority first, then oldest first."""
        db = self._connection(now)
        with self._reading():
            rows = db.execute(
                "SELECT o.seq, id, session, number, type, priority, mono_s, boot_id, wall_s, clock, data,"
                " coalesce(attempts, 0) FROM outbox o LEFT JOIN tried USING (seq)"
                " WHERE coalesce(next_try, ?) <= ? ORDER BY rank DESC, seq LIMIT ?",
                (now, now, limit),
            ).fetchall()
        return [
            Row(seq, id_, session, number, type_, priority, mono_s, Stamp(boot_id, wall_s, clock), data, attempts)
            for seq, id_, session, number, type_, priority, mono_s, boot_id, wall_s, clock, data, attempts in rows
        ]

    def next_try(self, now: float) -> float | None:
        """When `pending` will have something again that it does not have now; None: when something is committed."""
        db = self._connection(now)
        with self._reading():
            value = db.execute("SELECT min(next_try) FROM tried WHERE next_try > ?", (now,)).fetchone()[0]
        return None if value is None else float(value)

    def mark_sent(self, seqs: Sequence[int], now: float) -> None:
        """These have been handed to the broker: not pending again before the answer is overdue."""
        db = self._connection(now)
        with self._reading():
            db.executemany(
                "INSERT INTO tried VALUES (?, 1, ?) ON CONFLICT (seq)"
                " DO UPDATE SET attempts = attempts + 1, next_try = excluded.next_try",
                [(seq, now + ANSWER_LIMIT_S) for seq in seqs],
            )

    def refused(self, seq: int, now: float) -> None:
        """The broker refused it: it stays, and is tried again later and later (with jitter), never given up."""
        self._back_off(self._connection(now), seq, now)

    def _back_off(self, db: sqlite3.Connection, seq: int, now: float) -> None:
        with self._reading():
            row = db.execute("SELECT attempts FROM tried WHERE seq = ?", (seq,)).fetchone()
            attempts = row[0] if row else 1
            wait_s = min(BACK_OFF_MAX_S, ANSWER_LIMIT_S * 2.0 ** min(attempts - 1, 10))
            db.execute("INSERT OR REPLACE INTO tried VALUES (?, ?, ?)", (seq, attempts, now + self._jitter(wait_s)))

    def _jitter(self, wait_s: float) -> float:
        return wait_s * self._rng.uniform(0.75, 1.25)

    def forget_attempts(self, now: float) -> None:
        """The connection is new: everything is pending."""
        db = self._connection(now)
        with self._reading():
            db.execute("DELETE FROM tried")

    def delete(self, seqs: Sequence[int], now: float) -> None:
        """These have been delivered."""
        with self._transaction(now) as db:
            self._delete(db, "SELECT value FROM json_each(?)", wire.encode(list(seqs)).decode())
            self._raise_highest(db, seqs)

    def broker_has(self, seqs: Sequence[int], now: float) -> None:
        """The broker has these; they are kept, and sent again now and then, until the hub acknowledges them."""
        with self._transaction(now) as db:
            db.executemany("UPDATE outbox SET sent = 1 WHERE seq = ?", [(seq,) for seq in seqs])
            self._raise_highest(db, seqs)
            self._apply_ack(db)
            for seq in seqs:
                self._back_off(db, seq, now)

    def hub_has(self, epoch: str, seq: int, now: float) -> bool:
        """The hub has stored everything up to `seq`; returns whether that was believable.

        Only what the broker has acknowledged can be at the hub: an acknowledgement beyond that, or of another epoch,
        deletes nothing (somebody may be lying).  One beyond is applied when the broker's answers have caught up.
        """
        if epoch != self.epoch or seq < 0:
            return False
        with self._transaction(now) as db:
            self._latest_ack = seq
            return self._apply_ack(db)

    def _apply_ack(self, db: sqlite3.Connection) -> bool:
        if self._latest_ack > self._highest_sent:
            return False
        self._delete(db, "SELECT seq FROM outbox WHERE seq <= ? AND sent = 1", self._latest_ack)
        return True

    def _raise_highest(self, db: sqlite3.Connection, seqs: Sequence[int]) -> None:
        highest = max(seqs, default=0)
        if highest > self._highest_sent:
            self._highest_sent = highest
            db.execute("INSERT OR REPLACE INTO meta VALUES ('highest_sent', ?)", (highest,))

    def _delete(self, db: sqlite3.Connection, which: str, *values: object) -> int:
        """Deletes the rows whose `seq` the query `which` gives; returns how many."""
        size = f"SELECT count(*), coalesce(sum(length(data)), 0) FROM outbox WHERE seq IN ({which})"
        count, data_bytes = db.execute(size, values).fetchone()
        db.execute(f"DELETE FROM tried WHERE seq IN ({which})", values)
        db.execute(f"DELETE FROM outbox WHERE seq IN ({which})", values)
        self._bytes -= data_bytes + count * ROW_OVERHEAD_BYTES
        return int(count)

    def _drop(self, db: sqlite3.Connection) -> None:
        for rank in DROPPABLE:
            while self._bytes > self._max_bytes * 0.95:  # some room at once, not one row for each new one
                oldest = "SELECT seq FROM outbox WHERE rank = ? ORDER BY seq LIMIT 20"
                count = self._delete(db, oldest, rank)
                self.dropped += count
                if not count:
                    break
        db.execute("INSERT OR REPLACE INTO meta VALUES ('dropped', ?)", (self.dropped,))

    # --------------------------------------------------------------------------------------------- asking

    def id_of(self, session: str, number: int) -> str:
        """The name of an event, as it is published."""
        return event_id(self._owner, session, number)

    def waiting(self, now: float) -> int:
        """How many events are committed and not delivered."""
        db = self._connection(now)
        with self._reading():
            return int(db.execute("SELECT count(*) FROM outbox").fetchone()[0])

    def head(self, now: float) -> int:
        """The highest `seq` ever used in this epoch."""
        db = self._connection(now)
        with self._reading():
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        return int(row[0]) if row else 0

    def full(self) -> bool:
        """Whether much is waiting: what was full is said to have room again below half."""
        return self._bytes > self._max_bytes / 2

    def close(self) -> None:
        """Releases the file."""
        if self._db is not None:
            try:
                self._db.close()
            except sqlite3.Error:
                pass  # every commit is on disk already
            self._db = None

    # ------------------------------------------------------------------------------------------- the file

    def _connection(self, now: float) -> sqlite3.Connection:
        if self._db is None:
            if now < self._reopen_at:
                raise OutboxError(f"outbox {self.path} cannot be used")
            self._open(now)
        assert self._db is not None
        return self._db

    @contextmanager
    def _transaction(self, now: float) -> Iterator[sqlite3.Connection]:
        db = self._connection(now)
        before = (self._bytes, self._highest_sent, self._latest_ack, self.dropped)
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except BaseException as error:
            self._bytes, self._highest_sent, self._latest_ack, self.dropped = before
            try:
                db.execute("ROLLBACK")
            except sqlite3.Error:
                pass  # SQLite has rolled back already, or the file is gone
            if isinstance(error, sqlite3.Error):
                raise self._failed(error) from error
            raise

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> OutboxError:
        """A full disk may pass; after anything worse the file is opened and checked anew at the next use."""
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY):
            self.close()
            self._reopen_at = -1e300
        return OutboxError(f"outbox {self.path}: {error}")

    def _open(self, now: float) -> None:
        self._reopen_at = now + REOPEN_S
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = self._opened()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._move_aside()
                self.damaged += 1
                self._db = self._opened()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise OutboxError(f"outbox {self.path}: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=2.0, isolation_level=None, check_same_thread=True)
        try:
            db.execute("PRAGMA temp_store = MEMORY")
            answer = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if answer != "wal":
                raise OutboxError(f"outbox {self.path}: journal_mode is {answer!r}: must be 'wal'")
            db.execute("PRAGMA synchronous = FULL")
            answer = db.execute("PRAGMA synchronous").fetchone()[0]
            if answer != 2:
                raise OutboxError(f"outbox {self.path}: synchronous is {answer!r}: must be 2 (FULL)")
            answer = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if answer != "ok":
                raise _DamageError(answer)
            db.executescript(_SCHEMA)
            self._load(db)
        except BaseException:
            db.close()
            raise
        return db

    def _load(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        epoch = f"{self._rng.getrandbits(64):016x}"
        db.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?)", (epoch,))
        # Numbers of sessions long past; those with something waiting are kept by their rows.
        db.execute(
            "DELETE FROM session WHERE session NOT IN (SELECT session FROM outbox) AND session NOT IN"
            " (SELECT session FROM session ORDER BY rowid DESC LIMIT ?)",
            (SESSIONS_KEPT,),
        )
        for table in ("beyond", "missing"):
            db.execute(f"DELETE FROM {table} WHERE session NOT IN (SELECT session FROM session)")
        db.execute("COMMIT")
        meta = dict(db.execute("SELECT key, value FROM meta WHERE key NOT LIKE 'kept.%'"))
        count, data_bytes = db.execute("SELECT count(*), coalesce(sum(length(data)), 0) FROM outbox").fetchone()
        self.epoch = str(meta["epoch"])
        self.dropped = max(self.dropped, int(meta.get("dropped", 0)))
        self._highest_sent = int(meta.get("highest_sent", 0))
        self._latest_ack = 0
        self._bytes = data_bytes + count * ROW_OVERHEAD_BYTES

    def _move_aside(self) -> None:
        """The damaged file stays for whoever wants to look, the last few of them."""
        old = sorted(self.path.parent.glob(f"{self.path.name}.damaged-*"))
        numbers = [int(text) for text in (path.name.rpartition("-")[2] for path in old) if text.isdigit()]
        self.path.replace(self.path.with_name(f"{self.path.name}.damaged-{max(numbers, default=0) + 1:04d}"))
        for path in old[: max(0, len(old) - DAMAGED_KEPT + 1)]:
            path.unlink(missing_ok=True)
        for suffix in ("-wal", "-shm"):  # of the damaged file: they must not be laid over the new one
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)


class _DamageError(sqlite3.DatabaseError):
    """`quick_check` found the file damaged."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, _DamageError) or (code is not None and code & 0xFF in damage)
