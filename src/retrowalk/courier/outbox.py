"""The outbox: every event is on disk before anybody is told that it exists.

One SQLite file.  Each transaction is synced (WAL, synchronous=FULL), so a power cut after `commit` loses nothing.
`(epoch, seq)` names a row for ever: `epoch` is a random name made with the file and `seq` never goes backwards, so a
hub recognises duplicates and sees gaps.  One thread owns an `Outbox`; there is no lock.

A row that was delivered stays as a copy for `COPY_KEPT_S`, in case the hub loses what it had.  Its age is counted in
seconds that a courier has run, never by the calendar: a clock that jumps by years makes no copy older.
"""

from __future__ import annotations

import dataclasses
import hashlib
import heapq
import math
import os
import random
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrowalk import wire
from retrowalk.core.events import Priority
from retrowalk.courier import salvage
from retrowalk.courier.order import Order
from retrowalk.errors import OutboxError

RANKS: dict[str, int] = {priority.value: rank for rank, priority in enumerate(Priority)}
"""Order of sending: a fall never waits for what piled up before it."""

DROPPABLE = (
    (RANKS[Priority.NONE], 1.0),
    (RANKS[Priority.LOW], 1.0),
    (RANKS[Priority.MEDIUM], 1.5),
    (RANKS[Priority.HIGH], 2.0),
)
"""What is given up when the outbox is full, first things first, and by how many times it must be so.  What somebody
waits for goes only when all of it is of its kind: a hundred thousand events that nobody has fetched, where the next
would find no card to be kept on."""

ANSWER_LIMIT_S = 10.0
"""A message without an answer of the broker (or hub) for longer is sent again, under the same id."""

BACK_OFF_MAX_S = 300.0
REOPEN_S = 2.0
"""A file that cannot be used is tried again after this time."""

ROW_OVERHEAD_BYTES = 300
"""Room of a row besides its data: the other columns and the indexes, measured."""

COPY_KEPT_S = 7 * 24 * 3600.0
COPY_MAX_BYTES = 8 * 1024 * 1024
"""Copies of what was delivered go sooner, the least important and the oldest first, when they take more room."""

COPIES_A_SWEEP = 500
SWEEP_S = 3600.0
LIVED_KEPT_S = 600.0
"""How long it has run is written so often, with something that is written anyway; what is not, adds to no age."""

RESYNC_MAX = 1000
"""Rows that are sent again at one request."""

LATEST = 5000
"""An event that somebody speaks of is looked for among so many: there is no index for what is asked so seldom."""

SESSIONS_KEPT = 50
MISSING_KEPT = 1000

LOG_BYTES = 4 * 1024 * 1024
"""The log beside the file is written into it at this size."""

CACHE_KIB = 256
"""What is kept of the file in memory; the usual 2 MB fill over hours, and the kernel keeps the same once more."""

PAGE_BYTES = 1024
"""A commit writes the pages it touches: small ones spare the card."""

FILE_VERSION = 1
"""`user_version` of the file.  0: without copies."""

_SCHEMA = """
BEGIN IMMEDIATE;
PRAGMA user_version = 1;
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,  -- AUTOINCREMENT: a number is never used twice, even for a deleted row
    id TEXT NOT NULL,  -- a function of session and number
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
    delivered REAL,  -- NULL: it waits; else a copy, made when couriers had run so many seconds
    UNIQUE (session, number)
);
CREATE INDEX IF NOT EXISTS waiting ON outbox (rank, seq) WHERE delivered IS NULL;
CREATE TABLE IF NOT EXISTS session (session TEXT PRIMARY KEY, committed INTEGER NOT NULL);
-- Numbers above `committed` that came while lower ones had not come.
CREATE TABLE IF NOT EXISTS beyond (session TEXT, number INTEGER, PRIMARY KEY (session, number)) WITHOUT ROWID;
-- Numbers below `committed` that never came: should one come after all, it is taken.
CREATE TABLE IF NOT EXISTS missing (session TEXT, number INTEGER, PRIMARY KEY (session, number)) WITHOUT ROWID;
COMMIT;
"""


_UPGRADE = """
BEGIN IMMEDIATE;
ALTER TABLE outbox ADD COLUMN delivered REAL;
DROP INDEX IF EXISTS order_of_sending;
DELETE FROM meta WHERE key = 'highest_sent';
PRAGMA user_version = 1;
COMMIT;
"""
"""Of a file of version 0."""


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
    """How often it has been sent or refused on this connection."""

    @property
    def urgent(self) -> bool:
        """Whether it may overtake everything else."""
        return RANKS.get(self.priority, RANKS[Priority.HIGH]) == RANKS[Priority.HIGH]


def event_id(owner: str, session: str, number: int) -> str:
    """Name of an event: 26 characters as in a ULID, the same wherever and however often the event is committed.

    It does not depend on the outbox, so that an event the guard hands over again after the file was lost is still
    recognised as the same.  Its order says nothing; `seq` has the order.
    """
    value = int.from_bytes(hashlib.sha256(f"{owner}\n{session}\n{number}".encode()).digest()[:16])
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value >> shift & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True, slots=True)
class Resynced:
    """What became of a request to send rows again: `again` from the copies, `waiting` anyway, `gone` for ever."""

    again: int
    waiting: int
    gone: int


class Outbox:
    """Events that are committed and not yet delivered, and copies of those that were.

    `owner` (site/device) goes into the ids.  `rng` makes epoch and jitter; pass a seeded one in virtual time.
    Beyond `max_bytes` the oldest events of priority `none`, then `low`, are dropped and counted in `dropped`; beyond
    1.5 times as much `medium` as well, beyond twice as much `high`.

    Every method that touches the file raises `OutboxError` while that is impossible (disk full, read-only, absent) and
    opens it again by itself.  A file that is damaged, gone, older than it was or of a later version is moved aside;
    what waits in it and can be read is taken over into a new epoch.  `damaged` counts these, `damage` says what it was.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        owner: str = "",
        rng: random.Random | None = None,
        max_bytes: int = 32 * 1024 * 1024,
        copy_max_bytes: int = COPY_MAX_BYTES,
    ) -> None:
        self.path = Path(path)
        self.epoch = ""
        self.dropped = 0
        """Events given up in this epoch."""
        self.dropped_untold = 0
        """Of these, how many no event tells of yet."""
        self.damaged = 0
        self.damage = ""
        self._owner = owner
        self._rng = rng or random.SystemRandom()
        self._max_bytes = max_bytes
        self._copy_max_bytes = copy_max_bytes
        self._bytes = 0
        self._count = 0
        self._copy_bytes = 0
        self._head = 0
        self._order = Order(len(RANKS))
        self._at_broker: set[int] = set()
        self._at_broker_order: list[int] = []
        self._latest_ack = 0
        self._beyond: frozenset[int] = frozenset()
        self._progress_at = -math.inf
        self._left: list[int] = []
        self._lived_s = 0.0
        self._lived_kept_s = 0.0
        self._swept_s = 0.0
        self._seen_now: float | None = None
        self._reached: dict[str, int] = {}
        self._high_delivered: dict[str, int] = {}
        self._high_left: list[tuple[str, int]] = []
        self._file: tuple[int, int] = (0, 0)
        self._may_be_old = False
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

    def commit_report(self, event: wire.EventMessage, stamp: Stamp, now: float) -> None:
        """Puts an event on disk that tells of everything that was dropped until now."""
        with self._transaction(now) as db:
            self.dropped_untold = 0
            self._insert(db, event, stamp)
            self._keep_dropped(db)

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
        seq = int(cursor.lastrowid or 0)
        self._head = max(self._head, seq)
        self._waits(len(data), 1)
        if event.number <= self._reached.get(event.session, 0):  # it comes late
            self._reached[event.session] = event.number - 1
        if self._bytes > self._max_bytes:
            self._drop(db)
        return seq

    def _waits(self, data_bytes: int, count: int) -> None:
        self._bytes += data_bytes + count * ROW_OVERHEAD_BYTES
        self._count += count

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
        lower = [
            (session, lower) for lower in range(max(committed + 1, number - MISSING_KEPT), number) if lower not in came
        ]
        if lower:
            db.executemany("INSERT INTO missing VALUES (?, ?)", lower)
        committed = number
        while committed + 1 in came:
            committed += 1
        if came:
            db.execute("DELETE FROM beyond WHERE session = ? AND number <= ?", (session, committed))
        if not db.execute("UPDATE session SET committed = ? WHERE session = ?", (committed, session)).rowcount:
            db.execute("INSERT INTO session VALUES (?, ?)", (session, committed))
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
        reached = self._reached.get(session, 0)
        with self._reading():
            # From where it was the last time: the copies before that are not looked at again.
            waits = db.execute(
                "SELECT number FROM outbox WHERE session = ? AND number > ? AND delivered IS NULL"
                " ORDER BY number LIMIT 1",
                (session, reached),
            ).fetchone()
            reached = self._committed(db, session) if waits is None else int(waits[0]) - 1
        while len(self._reached) > SESSIONS_KEPT:
            del self._reached[next(iter(self._reached))]
        self._reached[session] = reached
        return reached

    def delivered_high(self, session: str, now: float) -> int:
        """As `delivered`, for the events of high priority alone: the others may still wait.  0: none was delivered."""
        db = self._connection(now)
        reached = self._high_delivered.get(session, 0)
        with self._reading():
            waits = db.execute(
                "SELECT min(number) FROM outbox INDEXED BY waiting"
                " WHERE delivered IS NULL AND rank = ? AND session = ?",
                (RANKS[Priority.HIGH], session),
            ).fetchone()[0]
        return reached if waits is None else min(reached, int(waits) - 1)

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
            # A hub that works off a backlog has not lost what it does not name yet.
            found = self._order.due(limit, now, self._at_broker, self._progress_at + ANSWER_LIMIT_S)
            for rank in reversed(range(len(RANKS))):
                if sum(-better >= rank for better, _ in found) >= limit:
                    break
                found += [(-rank, seq) for seq in self._fresh(db, rank, limit)]
            wanted = [seq for _, seq in sorted(found)[:limit]]
            rows = {
                values[0]: values
                for values in db.execute(
                    f"SELECT {salvage.COLUMNS} FROM outbox WHERE seq IN (SELECT value FROM json_each(?))",
                    (wire.encode(wanted).decode(),),
                )
            }
        return [_row(rows[seq], self._order.attempts(seq)) for seq in wanted if seq in rows]

    def _fresh(self, db: sqlite3.Connection, rank: int, limit: int) -> list[int]:
        """The oldest of those that were not tried on this connection."""
        found: list[int] = []
        after = self._order.passed[rank]
        while len(found) < limit:
            page = [
                row[0]
                for row in db.execute(
                    "SELECT seq FROM outbox INDEXED BY waiting"
                    " WHERE delivered IS NULL AND rank = ? AND seq > ? ORDER BY seq LIMIT ?",
                    (rank, after, limit),
                )
            ]
            for after in page:
                if after not in self._order:
                    found.append(after)
                elif not found:
                    self._order.passed[rank] = after
            if len(page) < limit:
                break
        return found[:limit]

    def next_try(self, now: float) -> float | None:
        """When `pending` will have something again that it does not have now; None: when something is committed."""
        self._connection(now)
        return self._order.next_try(now)

    def mark_sent(self, seqs: Sequence[int], now: float) -> None:
        """These have been handed to the broker: not pending again before the answer is overdue."""
        self._rest(seqs, 1, ANSWER_LIMIT_S, now)

    def refused(self, seq: int, now: float) -> None:
        """The broker refused it: it stays, and is tried again later and later (with jitter), never given up."""
        self._rest([seq], 0, None, now)

    def _rest(self, seqs: Sequence[int], tries: int, rest_s: float | None, now: float) -> None:
        """Lets waiting rows rest, for longer after each attempt if `rest_s` is None."""
        db = self._connection(now)
        with self._reading():
            ranks = db.execute(
                "SELECT seq, rank FROM outbox WHERE delivered IS NULL AND seq IN (SELECT value FROM json_each(?))",
                (wire.encode(list(seqs)).decode(),),
            ).fetchall()
        for seq, rank in ranks:
            attempts = self._order.attempts(seq) + tries
            wait_s = rest_s
            if wait_s is None:
                longer_s = min(BACK_OFF_MAX_S, ANSWER_LIMIT_S * 2.0 ** min(max(attempts - 1, 0), 10))
                wait_s = longer_s * self._rng.uniform(0.75, 1.25)
            self._order.put(seq, rank, attempts, now + wait_s)

    def forget_attempts(self, now: float) -> None:
        """The connection is new: everything is pending."""
        self._connection(now)
        self._order.clear()

    def hub_returned(self, now: float) -> None:
        """The hub is there again: what the broker took while it was not may never have come to it, and is pending."""
        self._connection(now)
        self._order.again(self._at_broker)

    # --------------------------------------------------------------------------------------------- delivery

    def delete(self, seqs: Sequence[int], now: float) -> None:
        """These have been delivered."""
        with self._transaction(now) as db:
            self._deliver(db, seqs)

    def broker_has(self, seqs: Sequence[int], now: float, *, hub_gone: bool = False) -> None:
        """The broker has these; they are kept, and sent again now and then, until the hub acknowledges them.

        `hub_gone`: nobody takes them from the broker, and it will be said when somebody does; what is not of high
        priority rests until `hub_returned`.
        """
        db = self._connection(now)
        fresh = [seq for seq in seqs if seq not in self._at_broker]
        self._at_broker.update(fresh)
        for seq in fresh:
            heapq.heappush(self._at_broker_order, seq)
        self._apply_ack(now)
        left = [seq for seq in seqs if seq in self._at_broker]
        if left and hub_gone:
            with self._reading():
                high = {
                    row[0]
                    for row in db.execute(
                        "SELECT seq FROM outbox WHERE rank = ? AND seq IN (SELECT value FROM json_each(?))",
                        (RANKS[Priority.HIGH], wire.encode(left).decode()),
                    )
                }
            self._rest([seq for seq in left if seq not in high], 0, math.inf, now)
            left = [seq for seq in left if seq in high]
        if left:
            self._rest(left, 0, None, now)

    def hub_has(self, epoch: str, seq: int, now: float, beyond: Collection[int] = ()) -> bool:
        """The hub has stored everything up to `seq`, and the rows `beyond`; returns whether that was believable.

        Of these only what the broker has acknowledged, since this process began, can be at the hub: nothing else is
        taken for delivered (somebody may be lying).  What the broker acknowledges later is, then.
        """
        self._connection(now)
        if epoch != self.epoch or not 0 <= seq <= self._head:
            return False
        if seq > self._latest_ack:
            self._progress_at = now
        self._latest_ack = seq
        self._beyond = frozenset(beyond)
        self._apply_ack(now)
        return True

    def _apply_ack(self, now: float) -> None:
        ready = []
        order, at_broker = self._at_broker_order, self._at_broker
        while order and order[0] <= self._latest_ack:
            seq = heapq.heappop(order)
            if seq in at_broker:
                ready.append(seq)
        try:
            overtook = at_broker & self._beyond if self._beyond else ()
            if ready or overtook:
                with self._transaction(now) as db:
                    self._deliver(db, [*ready, *(seq for seq in overtook if seq > self._latest_ack)])
        except BaseException:
            for seq in ready:
                heapq.heappush(order, seq)
            raise

    def has_gone_back(self, epoch: str, seq: int) -> bool:
        """Whether the hub has numbers of this file that the file does not know: it was opened without its last commits.

        That happens when a card lost what it had said to be written, or somebody put an old copy in its place.  Its
        numbers would be used twice, and the hub would take the new events for the old ones.
        """
        return self._may_be_old and epoch == self.epoch and seq > self._head

    def begin_anew(self, now: float, why: str) -> None:
        """Begins a new epoch with what waits; the file is moved aside."""
        self._connection(now)
        self._renew(why)

    def resync(self, epoch: str, first: int, last: int, now: float) -> Resynced | None:
        """What of the rows `first` to `last` is still there is pending (again); None: not this epoch, or too many."""
        if epoch != self.epoch or not 0 < first <= last < first + RESYNC_MAX:
            return None
        with self._transaction(now) as db:
            rows = db.execute(
                "SELECT seq, rank, session, number, delivered IS NOT NULL, length(data) FROM outbox"
                " WHERE seq BETWEEN ? AND ?",
                (first, last),
            ).fetchall()
            copies = [row for row in rows if row[4]]
            db.execute("UPDATE outbox SET delivered = NULL WHERE seq BETWEEN ? AND ?", (first, last))
            for _, _, session, number, _, data_bytes in copies:
                self._waits(data_bytes, 1)
                self._copy_bytes -= data_bytes + ROW_OVERHEAD_BYTES
                if number <= self._reached.get(session, 0):
                    self._reached[session] = number - 1
        self._order.again(row[0] for row in rows)
        for seq, rank, *_ in copies:
            self._order.waits_again(seq, rank)
        if self._latest_ack >= first:
            self._latest_ack = first - 1  # whoever asks for them does not have them, whatever was said before
        return Resynced(len(copies), len(rows) - len(copies), last - first + 1 - len(rows))

    def _deliver(self, db: sqlite3.Connection, seqs: Sequence[int]) -> None:
        """Makes copies of waiting rows."""
        wanted = wire.encode(list(seqs)).decode()
        which = "delivered IS NULL AND seq IN (SELECT value FROM json_each(?))"
        count, data_bytes = db.execute(
            f"SELECT count(*), coalesce(sum(length(data)), 0) FROM outbox WHERE {which}", (wanted,)
        ).fetchone()
        self._high_left += db.execute(
            f"SELECT session, number FROM outbox WHERE rank = ? AND {which}", (RANKS[Priority.HIGH], wanted)
        ).fetchall()
        db.execute(f"UPDATE outbox SET delivered = ? WHERE {which}", (self._lived_s, wanted))
        self._waits(-data_bytes, -count)
        self._copy_bytes += data_bytes + count * ROW_OVERHEAD_BYTES
        self._left += seqs
        if self._lived_s - self._lived_kept_s >= LIVED_KEPT_S:
            self._lived_kept_s = self._lived_s
            db.execute("INSERT OR REPLACE INTO meta VALUES ('lived', ?)", (self._lived_s,))
        if self._copy_bytes > self._copy_max_bytes or self._lived_s - self._swept_s >= SWEEP_S:
            self._sweep(db)

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Deletes copies that are too old, and of too many the least important and the oldest, in few large steps."""
        self._swept_s = self._lived_s
        old_s = self._lived_s - COPY_KEPT_S
        for which, order in (("delivered < ?", "seq"), ("delivered >= ?", "rank, seq")):
            while True:
                copies = db.execute(
                    f"SELECT seq, length(data), delivered FROM outbox WHERE {which} ORDER BY {order} LIMIT ?",
                    (old_s, COPIES_A_SWEEP),
                ).fetchall()
                going = []
                for seq, data_bytes, delivered_s in copies:
                    if delivered_s < old_s or self._copy_bytes > self._copy_max_bytes * 0.9:
                        going.append(seq)
                        self._copy_bytes -= data_bytes + ROW_OVERHEAD_BYTES
                db.execute(
                    "DELETE FROM outbox WHERE seq IN (SELECT value FROM json_each(?))", (wire.encode(going).decode(),)
                )
                if len(going) < COPIES_A_SWEEP:
                    break

    def _drop(self, db: sqlite3.Connection) -> None:
        dropped = 0
        for rank, times in DROPPABLE:
            if self._bytes <= self._max_bytes * times:
                break
            while self._bytes > self._max_bytes * times * 0.95:  # some room at once, not one row for each new one
                rows = db.execute(
                    "SELECT seq, length(data) FROM outbox INDEXED BY waiting"
                    " WHERE delivered IS NULL AND rank = ? ORDER BY seq LIMIT 20",
                    (rank,),
                ).fetchall()
                if not rows:
                    break
                going = [seq for seq, _ in rows]
                db.execute(
                    "DELETE FROM outbox WHERE seq IN (SELECT value FROM json_each(?))", (wire.encode(going).decode(),)
                )
                self._waits(-sum(data_bytes for _, data_bytes in rows), -len(rows))
                self._left += going
                dropped += len(rows)
        if dropped:
            self.dropped += dropped
            self.dropped_untold += dropped
            self._keep_dropped(db)

    def _keep_dropped(self, db: sqlite3.Connection) -> None:
        values = [("dropped", self.dropped), ("dropped_untold", self.dropped_untold)]
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)

    # --------------------------------------------------------------------------------------------- asking

    def id_of(self, session: str, number: int) -> str:
        """The name of an event, as it is published."""
        return event_id(self._owner, session, number)

    def happened(self, id_: str, now: float) -> tuple[Stamp, float] | None:
        """When the event named `id_` happened: what is known, and its monotonic time.  None: not one of the latest."""
        db = self._connection(now)
        with self._reading():
            row = db.execute(
                "SELECT boot_id, wall_s, clock, mono_s FROM (SELECT * FROM outbox ORDER BY seq DESC LIMIT ?)"
                " WHERE id = ?",
                (LATEST, id_),
            ).fetchone()
        return (Stamp(row[0], row[1], row[2]), row[3]) if row else None

    def waiting(self, now: float) -> int:
        """How many events are committed and not delivered."""
        self._connection(now)
        return self._count

    @property
    def at_broker(self) -> int:
        """How many events the broker has, as far as this process knows, and the hub has not acknowledged."""
        return len(self._at_broker)

    def low(self, now: float) -> int | None:
        """The lowest `seq` that waits; None: none waits."""
        db = self._connection(now)
        with self._reading():
            found = [
                db.execute(
                    "SELECT min(seq) FROM outbox INDEXED BY waiting WHERE delivered IS NULL AND rank = ?", (rank,)
                ).fetchone()[0]
                for rank in RANKS.values()
            ]
        return min((seq for seq in found if seq is not None), default=None)

    def head(self, now: float) -> int:
        """The highest `seq` ever used in this epoch."""
        db = self._connection(now)
        with self._reading():
            if self._is_gone():
                self._lost()
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
        if self._seen_now is not None:
            self._lived_s += max(0.0, now - self._seen_now)
        self._seen_now = now
        before = (self._bytes, self._count, self._copy_bytes, self._head, self.dropped, self.dropped_untold)
        self._left = []
        self._high_left = []
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except BaseException as error:
            self._bytes, self._count, self._copy_bytes, self._head, self.dropped, self.dropped_untold = before
            try:
                db.execute("ROLLBACK")
            except sqlite3.Error:
                pass  # SQLite has rolled back already, or the file is gone
            if isinstance(error, sqlite3.Error):
                raise self._failed(error) from error
            raise
        for session, number in self._high_left:
            self._high_delivered[session] = max(number, self._high_delivered.get(session, 0))
        if self._left:
            self._order.gone(self._left)
            self._at_broker.difference_update(self._left)
        if self._is_gone():
            self._lost()

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

    def _is_gone(self) -> bool:
        """Whether the name leads to another file, or to none: what is written to ours is lost when it is closed."""
        try:
            found = self.path.stat()
        except OSError:
            return True
        return (found.st_dev, found.st_ino) != self._file

    def _lost(self) -> None:
        """Somebody has taken the file away while it was open: what waits is still in our hands."""
        self._renew("its file was taken away")
        raise OutboxError(f"outbox {self.path}: {self.damage}; once more")

    def _renew(self, why: str) -> None:
        """Moves the file aside, if it is there, and takes over what waits from the open one."""
        assert self._db is not None
        found = salvage.read(self._db, self.id_of)
        self.close()  # before there is a new one: SQLite removes the log by its name
        try:
            if os.path.lexists(self.path):
                salvage.move_aside(self.path)
            self._db = self._opened(known=False)
            self._damage(why, self._take_over(self._db, found))
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise OutboxError(f"outbox {self.path}: {error}") from error

    def _damage(self, why: str, taken_over: int) -> None:
        self.damaged += 1
        self.damage = f"{why}, a new epoch began, {taken_over} waiting events were taken over"

    def _open(self, now: float) -> None:
        self._reopen_at = now + REOPEN_S
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                if self.path.is_dir():
                    raise _DamageError("a directory lies in its place")
                self._db = self._opened()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                later = isinstance(error, _LaterError)
                aside = salvage.move_aside(self.path, "later" if later else "damaged")
                self._db = self._opened(known=False)
                taken_over = 0
                if aside.is_file():
                    if not later:
                        salvage.fill_up(aside)
                    with closing(sqlite3.connect(aside, isolation_level=None)) as old:
                        taken_over = self._take_over(self._db, salvage.read(old, self.id_of))
                what = "its file is of a later version" if later else f"its file was damaged ({error})"
                self._damage(f"{what} and was moved aside", taken_over)
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise OutboxError(f"outbox {self.path}: {error}") from error

    def _opened(self, *, known: bool = True) -> sqlite3.Connection:
        """The open file, made if there is none; `known`: whether there should be one if there was one."""
        db = sqlite3.connect(self.path, timeout=2.0, isolation_level=None, check_same_thread=True)
        try:
            db.execute("PRAGMA temp_store = MEMORY")
            db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new file
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > FILE_VERSION:
                raise _LaterError(f"version {version}")
            answer = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if answer != "wal":
                raise OutboxError(f"outbox {self.path}: journal_mode is {answer!r}: must be 'wal'")
            db.execute("PRAGMA synchronous = FULL")
            answer = db.execute("PRAGMA synchronous").fetchone()[0]
            if answer != 2:
                raise OutboxError(f"outbox {self.path}: synchronous is {answer!r}: must be 2 (FULL)")
            db.execute(f"PRAGMA wal_autocheckpoint = {LOG_BYTES // PAGE_BYTES}")
            db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")  # one that a reader held up shrinks again
            answer = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if answer != "ok":
                raise _DamageError(answer)
            _, frames, _ = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if salvage.log_is_damaged(self.path, max(frames, 0)):
                raise _DamageError("commits in its log cannot be read")
            if salvage.table(db, "SELECT 1 FROM sqlite_master WHERE name = 'outbox'") and version == 0:
                db.executescript(_UPGRADE)
            db.executescript(_SCHEMA)
            self._load(db, known)
        except BaseException:
            db.close()
            raise
        return db

    def _load(self, db: sqlite3.Connection, known: bool) -> None:
        db.execute("BEGIN IMMEDIATE")
        epoch = f"{self._rng.getrandbits(64):016x}"
        new = db.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?)", (epoch,)).rowcount > 0
        # Numbers of sessions long past; those with something waiting are kept by their rows.
        db.execute(
            "DELETE FROM session WHERE session NOT IN (SELECT session FROM outbox WHERE delivered IS NULL)"
            " AND session NOT IN (SELECT session FROM session ORDER BY rowid DESC LIMIT ?)",
            (SESSIONS_KEPT,),
        )
        for table in ("beyond", "missing"):
            db.execute(f"DELETE FROM {table} WHERE session NOT IN (SELECT session FROM session)")
        db.execute("COMMIT")
        meta = dict(db.execute("SELECT key, value FROM meta WHERE key NOT LIKE 'kept.%'"))
        sums = "SELECT count(*), coalesce(sum(length(data)), 0) FROM outbox WHERE delivered IS"
        count, data_bytes = db.execute(f"{sums} NULL").fetchone()
        copies, copy_bytes = db.execute(f"{sums} NOT NULL").fetchone()
        head = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        high = "SELECT session, max(number) FROM outbox WHERE rank = ? AND delivered IS NOT NULL GROUP BY session"
        self._high_delivered = dict(db.execute(high, (RANKS[Priority.HIGH],)))
        before, self.epoch = self.epoch, str(meta["epoch"])
        self.dropped = int(meta.get("dropped", 0))
        self.dropped_untold = int(meta.get("dropped_untold", 0))
        self._lived_s = self._lived_kept_s = self._swept_s = float(meta.get("lived", 0.0))
        if self.epoch != before:  # else it is the file that was closed a moment ago: what is known of its rows holds
            self._latest_ack = 0
            self._beyond = frozenset()
            self._progress_at = -math.inf
            self._at_broker.clear()
            self._at_broker_order.clear()
            self._order.clear()
        self._reached.clear()
        self._count, self._bytes, self._copy_bytes = 0, 0, copy_bytes + copies * ROW_OVERHEAD_BYTES
        self._waits(data_bytes, count)
        self._head = int(head[0]) if head else 0
        self._may_be_old = not new
        found = self.path.stat()
        self._file = (found.st_dev, found.st_ino)
        self._remember(new and known)

    def _remember(self, new: bool) -> None:
        """Beside the file stands the name of its epoch: whoever finds that alone knows that the file is gone."""
        name = self.path.with_name(self.path.name + ".epoch")
        try:
            written = name.read_text(encoding="utf-8", errors="replace") if name.exists() else ""
            if new and written:
                self._damage("its file was gone", 0)
            if written != self.epoch:
                name.write_text(self.epoch, encoding="utf-8")
        except OSError:
            pass  # the file itself decides whether the disk can be used

    def _take_over(self, db: sqlite3.Connection, found: salvage.Salvaged) -> int:
        """Takes what could be read of another file over into the new one; returns how many events."""
        db.execute("BEGIN IMMEDIATE")
        for name, rows in found.accounts.items():
            db.executemany(f"INSERT OR IGNORE INTO {name} VALUES (?, ?)", [row for row in rows if len(row) == 2])
        db.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", found.kept)
        count = 0
        for row in found.rows:
            count += db.execute(
                "INSERT OR IGNORE INTO outbox"
                " (id, rank, session, number, type, priority, mono_s, boot_id, wall_s, clock, data)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                dataclasses.astuple(row),
            ).rowcount
        db.execute("COMMIT")
        self._load(db, False)
        self._may_be_old = False
        return count


def _row(values: tuple[Any, ...], attempts: int) -> Row:
    seq, id_, _, session, number, type_, priority, mono_s, boot_id, wall_s, clock, data = values
    return Row(seq, id_, session, number, type_, priority, mono_s, Stamp(boot_id, wall_s, clock), data, attempts)


class _DamageError(sqlite3.DatabaseError):
    """`quick_check` found the file damaged."""


class _LaterError(_DamageError):
    """The file was written by a later version of this program."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, _DamageError) or (code is not None and code & 0xFF in damage)
