"""The hub's store: every event once, what became of it, and whatever must survive a restart.

One SQLite file (WAL, synchronous=FULL).  One thread of one process owns a `Store` and writes inside `turn`, which is
one transaction; others read the file (`hub.view`), and the command line puts what people ask into the table `inbox`.

Of each outbox (`device`, `epoch`) the store knows the highest number below which nothing is missing (`contiguous`),
what came beyond it, and the gaps that the device itself cannot fill any more.  All of it is kept up event by event.
"""

from __future__ import annotations

import heapq
import logging
import math
import random
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from retrowalk import wire
from retrowalk.errors import StoreError
from retrowalk.hub import facts
from retrowalk.hub.times import Anchor, timestamp

VERSION = 1
"""Of the tables.  A file of a newer program is not touched."""

REOPEN_S = 2.0
"""A file that cannot be used is tried again after this time."""

WISHES_KEPT = 1000
ODD_KEPT = 200
ATTEMPTS_KEPT = 20_000
"""An address that takes nothing for a day is tried thousands of times."""
ODD_BYTES = 1024
DAMAGED_KEPT = 3
DAMAGED_BYTES = 256 * 1024 * 1024
"""Files that were damaged stay for whoever wants to look, as long as there are no more and they take no more; the
latest always stays."""
LOG_BYTES = 8 * 1024 * 1024
"""The log beside the file is no larger for long: a reader that held it up has gone."""
EPOCHS_KEPT = 50
"""Of one device; a new one begins only when its outbox was lost."""

BEFORE_US = 2
"""`gap.lost` of what a device had before this hub heard of it: never asked for, counted nowhere, taken should it come.
1: asked for in vain."""

DEVICES_MAX = 5000
"""More names than any hub watches over: somebody makes them up."""

RETENTION_STEP = 500
"""Rows looked at in one turn: the sweep of a year must not keep a fall waiting."""

OLDEST = 5000
"""Among so many of the oldest it is looked for what may go when the store is too large."""

RANKS = {"none": 0, "low": 1, "medium": 2, "high": 3}
"""Order of `priority`; an unknown one counts as high."""

UNFIT = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
"""A row does not fit.  The file works: whoever wrote the row hears of it, and the others go on."""

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    device TEXT NOT NULL,
    epoch TEXT NOT NULL,
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    priority TEXT NOT NULL,
    time TEXT NOT NULL,
    clock TEXT NOT NULL,
    session TEXT NOT NULL,
    historical INTEGER NOT NULL,
    received_s REAL NOT NULL,       -- hub time
    received_wall_s REAL NOT NULL,  -- Unix time
    data TEXT NOT NULL,
    UNIQUE (device, epoch, seq)
);
CREATE INDEX IF NOT EXISTS event_id ON event (device, id);
CREATE TABLE IF NOT EXISTS progress (
    device TEXT, epoch TEXT, contiguous INTEGER NOT NULL, highest INTEGER NOT NULL,
    fresh INTEGER NOT NULL,  -- 1: first contact; what lies before it was never meant for this hub
    heard_s REAL NOT NULL, PRIMARY KEY (device, epoch)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS beyond (
    device TEXT, epoch TEXT, seq INTEGER, rank INTEGER NOT NULL, PRIMARY KEY (device, epoch, seq)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gap (
    device TEXT, epoch TEXT, first INTEGER, last INTEGER NOT NULL, found_s REAL NOT NULL,
    asked INTEGER NOT NULL DEFAULT 0, asked_s REAL NOT NULL DEFAULT -1e300, lost INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (device, epoch, first)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS device (
    device TEXT PRIMARY KEY, state TEXT NOT NULL, conn TEXT NOT NULL, boot TEXT NOT NULL, state_wall_s REAL NOT NULL,
    heard_s REAL NOT NULL, heard_wall_s REAL NOT NULL, epoch TEXT NOT NULL, heartbeat TEXT NOT NULL,
    duplicates INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS desk (device TEXT PRIMARY KEY, form BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS alert (
    number INTEGER PRIMARY KEY, device TEXT NOT NULL, stage TEXT NOT NULL, form TEXT NOT NULL, wall_s REAL NOT NULL,
    changed_wall_s REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS notice (
    notice INTEGER PRIMARY KEY, alert INTEGER NOT NULL, contact TEXT NOT NULL, why TEXT NOT NULL, form TEXT NOT NULL,
    state TEXT NOT NULL,  -- waiting, sent, failed, void (not wanted any more), missed (its time is over)
    wall_s REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS notice_waiting ON notice (notice) WHERE state IN ('waiting', 'failed');
CREATE INDEX IF NOT EXISTS notice_alert ON notice (alert);
CREATE TABLE IF NOT EXISTS attempt (
    row INTEGER PRIMARY KEY, notice INTEGER NOT NULL, wall_s REAL NOT NULL, way TEXT NOT NULL, ok INTEGER NOT NULL,
    detail TEXT NOT NULL, took_s REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS attempt_notice ON attempt (notice);
CREATE TABLE IF NOT EXISTS answer (
    row INTEGER PRIMARY KEY, wall_s REAL NOT NULL, by TEXT NOT NULL, alert INTEGER NOT NULL, device TEXT NOT NULL,
    over INTEGER NOT NULL, via TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS command (
    row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    device TEXT NOT NULL, name TEXT NOT NULL, by TEXT NOT NULL, args TEXT NOT NULL,
    issued_ms INTEGER NOT NULL, ttl_s INTEGER NOT NULL, sent INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS command_waiting ON command (row) WHERE sent = 0;
CREATE TABLE IF NOT EXISTS inbox (
    row INTEGER PRIMARY KEY AUTOINCREMENT, wall_s REAL NOT NULL, kind TEXT NOT NULL, form TEXT NOT NULL,
    result TEXT  -- NULL: the hub has not seen it yet
);
CREATE INDEX IF NOT EXISTS inbox_waiting ON inbox (row) WHERE result IS NULL;
CREATE TABLE IF NOT EXISTS odd (
    row INTEGER PRIMARY KEY AUTOINCREMENT, wall_s REAL NOT NULL, topic TEXT NOT NULL, why TEXT NOT NULL,
    payload BLOB NOT NULL
);
"""

_SALVAGED = (
    *("progress", "beyond", "gap", "device", "event", "alert", "notice", "attempt", "answer", "command", "inbox"),
    *("desk", "meta"),
)


class Came(Enum):
    """What an event is to the store."""

    NEW = "new"
    AGAIN = "again"
    """The same id under another number: the device's outbox was lost, and its guard handed it over again."""
    DUPLICATE = "duplicate"
    OTHER = "other"
    """Another event under a number that is taken: nobody of ours sends that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as it is kept.  Times of reception: hub time, Unix time."""

    device: str
    epoch: str
    seq: int
    id: str
    type: str
    priority: str
    time: str
    clock: str
    session: str
    historical: bool
    received_s: float
    received_wall_s: float
    data: str


@dataclass(slots=True)
class Device:
    """What is known of a device."""

    device: str
    state: str = ""
    """As last told: `ready`, `walking`, `disconnected`, `lost`; empty: never told."""
    conn: str = ""
    boot: str = ""
    state_wall_s: float = 0.0
    heard_s: float = -1e300
    """Hub time of the last sign of life."""
    heard_wall_s: float = 0.0
    epoch: str = ""
    """Of the latest message that named one."""
    heartbeat: str = "{}"
    """The latest, as it came."""
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers `first` to `last` that the device does not hold ready any more."""

    device: str
    epoch: str
    first: int
    last: int
    found_s: float
    asked: int
    asked_s: float
    lost: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """What somebody asked for on the command line (`kind`: `answer`, `say`, `locate`)."""

    row: int
    wall_s: float
    kind: str
    form: dict[str, Any]


@dataclass(slots=True)
class _Progress:
    contiguous: int = 0
    highest: int = 0
    fresh: bool = False
    heard_s: float = 0.0
    """Hub time of the last change."""
    beyond: dict[int, int] = field(default_factory=dict)


class Store:
    """The hub's file.  `rng` makes its name; pass a seeded one in virtual time.

    Whatever touches the file raises `StoreError` while that is impossible and opens it again by itself.  A damaged file
    is moved aside, and what can still be read of it is taken over: `damaged` counts these, `salvaged` says how much.
    """

    def __init__(self, path: str | Path, *, rng: random.Random | None = None) -> None:
        self.path = Path(path)
        self.epoch = ""
        """Random name of this file."""
        self.damaged = 0
        self.salvaged = 0
        self._rng = rng or random.SystemRandom()
        self._db: sqlite3.Connection | None = None
        self._reopen_at = -1e300
        self._progress: dict[tuple[str, str], _Progress] = {}
        self._changed: set[tuple[str, str]] = set()
        self._devices: dict[str, Device] | None = None
        self._turning = False

    # ----------------------------------------------------------------------------------------- transactions

    @contextmanager
    def turn(self, now: float) -> Iterator[None]:
        """Everything inside is on disk when it ends, or nothing is.  Raises `StoreError`.

        `now`: seconds of a clock that only says when to try again.
        """
        db = self._connection(now)
        try:
            db.execute("BEGIN IMMEDIATE")
            self._turning = True
            yield
            self._write_progress(db)
            db.execute("COMMIT")
        except BaseException as error:
            # What the memory holds may be ahead of the file.
            self._progress.clear()
            self._devices = None
            self._changed.clear()
            try:
                db.execute("ROLLBACK")
            except sqlite3.Error:
                pass  # SQLite has rolled back already, or the file is gone
            if isinstance(error, sqlite3.Error) and not isinstance(error, UNFIT):
                raise self._failed(error) from error
            raise
        finally:
            self._turning = False

    @contextmanager
    def _reading(self, now: float) -> Iterator[sqlite3.Connection]:
        db = self._connection(now)
        try:
            yield db
        except sqlite3.Error as error:
            raise self._failed(error) from error

    @property
    def _now(self) -> sqlite3.Connection:
        """The connection inside `turn`."""
        assert self._db is not None, "outside of a turn"
        assert self._turning, "outside of a turn"
        return self._db

    def ask(self, now: float) -> None:
        """Evidence for the watchdog: returns when the file has answered.  Raises `StoreError`."""
        with self._reading(now) as db:
            db.execute("SELECT 1 FROM meta LIMIT 1").fetchone()

    def changes(self, now: float) -> int:
        """A number that changes when somebody else has written to the file."""
        with self._reading(now) as db:
            return int(db.execute("PRAGMA data_version").fetchone()[0])

    # --------------------------------------------------------------------------------------- inside a turn

    def add_event(self, event: StoredEvent) -> Came:
        """Keeps an event, unless it is there."""
        db = self._now
        place = (event.device, event.epoch)
        progress = self._of(place, event.received_s)
        seq = event.seq
        if seq in progress.beyond or (seq <= progress.contiguous and not self._gap_around(place, seq)):
            known = db.execute("SELECT id FROM event WHERE device = ? AND epoch = ? AND seq = ?", (*place, seq))
            row = known.fetchone()
            return Came.OTHER if row is not None and row[0] != event.id else Came.DUPLICATE
        again = db.execute("SELECT 1 FROM event WHERE device = ? AND id = ?", (event.device, event.id)).fetchone()
        # The progress of an outbox that was not heard for long is forgotten; its events are not.
        kept = db.execute("SELECT id FROM event WHERE device = ? AND epoch = ? AND seq = ?", (*place, seq)).fetchone()
        if kept is None:
            db.execute(
                "INSERT INTO event (device, epoch, seq, id, type, priority, time, clock, session, historical,"
                " received_s, received_wall_s, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(event.device, event.epoch, seq, event.id, event.type, event.priority, event.time, event.clock),
                    *(event.session, event.historical, event.received_s, event.received_wall_s, event.data),
                ),
            )
        if seq <= progress.contiguous:
            self._fill(place, seq, event.received_s)
        elif seq == progress.contiguous + 1:
            progress.contiguous = seq
            self._absorb(place, progress)
        else:
            rank = RANKS.get(event.priority, RANKS["high"])
            progress.beyond[seq] = rank
            db.execute("INSERT INTO beyond VALUES (?, ?, ?, ?)", (*place, seq, rank))
        progress.highest = max(progress.highest, seq)
        progress.heard_s = event.received_s
        self._changed.add(place)
        if kept is not None:
            return Came.DUPLICATE if kept[0] == event.id else Came.OTHER
        return Came.AGAIN if again else Came.NEW

    def add_own(self, device: str, type_: str, now_s: float, wall_s: float, data: dict[str, Any]) -> None:
        """Keeps something that the hub itself has seen of a device among its events, in an epoch of the hub's own."""
        epoch = f"hub-{self.epoch}"
        db = self._now
        last = db.execute("SELECT max(seq) FROM event WHERE device = ? AND epoch = ?", (device, epoch)).fetchone()[0]
        seq = (last or 0) + 1
        db.execute(
            "INSERT INTO event (device, epoch, seq, id, type, priority, time, clock, session, historical,"
            " received_s, received_wall_s, data) VALUES (?, ?, ?, ?, ?, 'none', ?, 'hub', 'hub', 0, ?, ?, ?)",
            (device, epoch, seq, f"{epoch}-{seq}", type_, timestamp(wall_s), now_s, wall_s, _text(data)),
        )

    def device_holds_nothing_below(self, device: str, epoch: str, low: int, now_s: float) -> None:
        """The device says that of `epoch` no number below `low` waits any more: what has not come, is a gap.

        Nothing keeps the acknowledgement from going over it: there is nothing that the device could delete by that.
        """
        place = (device, epoch)
        progress = self._of(place, now_s)
        progress.heard_s = now_s
        self._changed.add(place)
        floor = low - 1
        fresh, progress.fresh = progress.fresh, False
        if floor <= progress.contiguous:
            return
        first = progress.contiguous + 1
        came = sorted(seq for seq in progress.beyond if seq <= floor)
        for last in (*(seq - 1 for seq in came), floor):
            if first <= last:
                # What was before this hub is not asked for; but a heartbeat overtakes what the broker still brings.
                self._now.execute(
                    "INSERT OR IGNORE INTO gap (device, epoch, first, last, found_s, lost) VALUES (?, ?, ?, ?, ?, ?)",
                    (*place, first, last, now_s, BEFORE_US if fresh else 0),
                )
            first = last + 2
        progress.contiguous = floor
        progress.highest = max(progress.highest, floor)
        for seq in came:
            del progress.beyond[seq]
        self._now.execute("DELETE FROM beyond WHERE device = ? AND epoch = ? AND seq <= ?", (*place, floor))
        self._absorb(place, progress)

    def _of(self, place: tuple[str, str], now_s: float) -> _Progress:
        progress = self._progress.get(place)
        if progress is None:
            progress = self._kept_progress(self._now, place)
            if progress is None:
                known = self._now.execute("SELECT 1 FROM progress WHERE device = ?", (place[0],)).fetchone()
                progress = _Progress(fresh=known is None and not self._get("salvaged"))
                self._now.execute("INSERT INTO progress VALUES (?, ?, 0, 0, ?, ?)", (*place, progress.fresh, now_s))
                self._forget_epochs(place[0])
            self._progress[place] = progress
        return progress

    def _absorb(self, place: tuple[str, str], progress: _Progress) -> None:
        """Takes what had come beyond and now follows."""
        absorbed = False
        while progress.beyond.pop(progress.contiguous + 1, None) is not None:
            progress.contiguous += 1
            absorbed = True
        if absorbed:
            self._now.execute(
                "DELETE FROM beyond WHERE device = ? AND epoch = ? AND seq <= ?", (*place, progress.contiguous)
            )

    def _gap_around(self, place: tuple[str, str], seq: int) -> tuple[int, int, float, int, float, int] | None:
        row = self._now.execute(
            "SELECT first, last, found_s, asked, asked_s, lost FROM gap WHERE device = ? AND epoch = ? AND first <= ?"
            " ORDER BY first DESC LIMIT 1",
            (*place, seq),
        ).fetchone()
        return row if row is not None and row[1] >= seq else None

    def _fill(self, place: tuple[str, str], seq: int, now_s: float) -> None:
        """One number of a gap has come after all: while it moves, it is not asked for again."""
        gap = self._gap_around(place, seq)
        assert gap is not None
        first, last, found_s, _, _, lost = gap
        lost = lost if lost == BEFORE_US else 0
        db = self._now
        db.execute("DELETE FROM gap WHERE device = ? AND epoch = ? AND first = ?", (*place, first))
        for begin, end in ((first, seq - 1), (seq + 1, last)):
            if begin <= end:
                db.execute(
                    "INSERT INTO gap VALUES (?, ?, ?, ?, ?, 0, ?, ?)", (*place, begin, end, found_s, now_s, lost)
                )

    def _write_progress(self, db: sqlite3.Connection) -> None:
        for place in self._changed:
            progress = self._progress[place]
            db.execute(
                "UPDATE progress SET contiguous = ?, highest = ?, fresh = ?, heard_s = ?"
                " WHERE device = ? AND epoch = ?",
                (progress.contiguous, progress.highest, progress.fresh, progress.heard_s, *place),
            )
        self._changed.clear()

    def _forget_epochs(self, device: str) -> None:
        old = self._now.execute(
            "SELECT epoch FROM progress WHERE device = ? ORDER BY heard_s DESC LIMIT -1 OFFSET ?", (device, EPOCHS_KEPT)
        ).fetchall()
        for (epoch,) in old:
            if (device, epoch) in self._changed:
                continue  # heard in this very turn, which is not written yet
            for table in ("progress", "beyond", "gap"):
                self._now.execute(f"DELETE FROM {table} WHERE device = ? AND epoch = ?", (device, epoch))
            self._progress.pop((device, epoch), None)

    def asked(self, gap: Gap, now_s: float) -> None:
        """The device has been asked for a gap once more."""
        self._now.execute(
            "UPDATE gap SET asked = asked + 1, asked_s = ? WHERE device = ? AND epoch = ? AND first = ?",
            (now_s, gap.device, gap.epoch, gap.first),
        )

    def lost(self, gap: Gap, last: int) -> None:
        """Nothing of a gap up to `last` will come; it is kept as lost, and taken all the same should it come."""
        db = self._now
        db.execute(
            "UPDATE gap SET lost = 1, last = ? WHERE device = ? AND epoch = ? AND first = ?",
            (last, gap.device, gap.epoch, gap.first),
        )
        if last < gap.last:  # what was not asked for yet
            db.execute(
                "INSERT INTO gap (device, epoch, first, last, found_s) VALUES (?, ?, ?, ?, ?)",
                (gap.device, gap.epoch, last + 1, gap.last, gap.found_s),
            )

    def device(self, name: str) -> Device | None:
        """What is known of a device, to be changed and given to `put_device`; None: too many names."""
        devices = self._known()
        found = devices.get(name)
        if found is None and len(devices) < DEVICES_MAX:
            found = devices[name] = Device(name)
        return found

    def knows(self, name: str) -> bool:
        """Whether a device has ever been heard of."""
        return name in self._known()

    def forget_name(self, name: str) -> None:
        """A name under which nothing of a device's has come is not one."""
        device = self._known().get(name)
        if device is not None and not (device.conn or device.epoch):
            del self._known()[name]

    def put_device(self, device: Device) -> None:
        """Keeps what is known of a device."""
        self._now.execute(
            "INSERT OR REPLACE INTO device VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(device.device, device.state, device.conn, device.boot, device.state_wall_s, device.heard_s),
                *(device.heard_wall_s, device.epoch, device.heartbeat, device.duplicates),
            ),
        )

    def put_alert(self, alert: facts.Alert, wall_s: float) -> None:
        """Keeps an alert as it is now."""
        self._now.execute(
            "INSERT INTO alert VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET device = excluded.device,"
            " stage = excluded.stage, form = excluded.form, changed_wall_s = excluded.changed_wall_s",
            (alert.number, alert.device, alert.stage.value, _text(alert), wall_s, wall_s),
        )

    def put_notice(self, notice: facts.Notify, wall_s: float) -> None:
        """Keeps what somebody is to be told, until it has been."""
        self._now.execute(
            "INSERT OR REPLACE INTO notice VALUES (?, ?, ?, ?, ?, 'waiting', ?)",
            (notice.notice, notice.alert.number, notice.contact, notice.why.value, _text(notice), wall_s),
        )

    def void_notice(self, notice: int) -> None:
        """A notice that has not been sent must not be any more."""
        self._now.execute(
            "UPDATE notice SET state = 'void' WHERE notice = ? AND state IN ('waiting', 'failed')", (notice,)
        )

    def notice_went(self, notice: int, ok: bool, wall_s: float) -> None:
        """A notice was taken, or could not be handed over for the time being."""
        state, before = ("sent", "('waiting', 'failed', 'void', 'missed')") if ok else ("failed", "('waiting')")
        self._now.execute(
            f"UPDATE notice SET state = ?, wall_s = ? WHERE notice = ? AND state IN {before}", (state, wall_s, notice)
        )

    def add_attempt(self, notice: int, way: str, ok: bool, detail: str, took_s: float, wall_s: float) -> None:
        """One message by one way (its kind, no address), with what became of it."""
        self._now.execute(
            "INSERT INTO attempt (notice, wall_s, way, ok, detail, took_s) VALUES (?, ?, ?, ?, ?, ?)",
            (notice, wall_s, way, ok, detail[:500], took_s),
        )

    def add_answer(self, by: str, alert: int, device: str, over: bool, via: str, wall_s: float) -> None:
        """Somebody has answered."""
        self._now.execute(
            "INSERT INTO answer (wall_s, by, alert, device, over, via) VALUES (?, ?, ?, ?, ?, ?)",
            (wall_s, by, alert, device, over, via),
        )

    def add_command(self, id_: str, device: str, name: str, by: str, args: dict[str, Any], ms: int, ttl_s: int) -> None:
        """Keeps a command until it has been sent."""
        self._now.execute(
            "INSERT INTO command (id, device, name, by, args, issued_ms, ttl_s) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (id_, device, name, by, _text(args), ms, ttl_s),
        )

    def command_sent(self, id_: str) -> None:
        """A command has been handed to the broker, or is too old for it."""
        self._now.execute("UPDATE command SET sent = 1 WHERE id = ?", (id_,))

    def inbox_done(self, row: int, result: str) -> None:
        """The hub has done what the command line asked, or says why not."""
        self._now.execute("UPDATE inbox SET result = ? WHERE row = ?", (result, row))

    def add_odd(self, topic: str, why: str, payload: bytes, wall_s: float) -> None:
        """Keeps the beginning of something that fits nowhere, for whoever looks into it; the latest of these."""
        db = self._now
        topic = topic.encode("utf-8", "replace")[:200].decode("utf-8", "replace")
        row = db.execute(
            "INSERT INTO odd (wall_s, topic, why, payload) VALUES (?, ?, ?, ?)",
            (wall_s, topic, why[:200], payload[:ODD_BYTES]),
        ).lastrowid
        db.execute("DELETE FROM odd WHERE row <= ?", ((row or 0) - ODD_KEPT,))

    def put(self, key: str, value: bytes | float | str) -> None:
        """Keeps a value under a name."""
        self._now.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def put_desk(self, of_all: bytes, of_devices: dict[str, bytes], *, anew: bool) -> None:
        """Keeps the desk: what concerns all, and those devices that have changed (500 devices are 400 kB).

        `anew`: nothing of what was kept before holds.
        """
        if anew:
            self._now.execute("DELETE FROM desk")
        self.put("desk", of_all)
        self._now.executemany(
            "INSERT INTO desk VALUES (?, ?) ON CONFLICT (device) DO UPDATE SET form = excluded.form",
            of_devices.items(),
        )

    def put_anchor(self, anchor: Anchor) -> None:
        """Keeps a moment of the hub's time."""
        self.put("anchor", wire.encode(anchor))

    def sweep(self, older_than_s: float, now_s: float, most_bytes: float = math.inf) -> bool:
        """Deletes some events of low priority received before that hub time; whether there may be more.

        Beyond `most_bytes` also younger ones and those of medium priority, the least important of the oldest first.
        Of what was asked, commanded and attempted the latest are kept.  Notices whose time is over (`now_s`: hub time)
        wait no longer.
        """
        db = self._now
        for table, done in (("inbox", "result IS NOT NULL"), ("command", "sent = 1")):
            db.execute(
                f"DELETE FROM {table} WHERE {done} AND row <= (SELECT max(row) FROM {table}) - ?", (WISHES_KEPT,)
            )
        db.execute("DELETE FROM attempt WHERE row <= (SELECT max(row) FROM attempt) - ?", (ATTEMPTS_KEPT,))
        rows = db.execute("SELECT notice, form FROM notice WHERE state IN ('waiting', 'failed')").fetchall()
        for number, form in rows:
            notice = _read(form, facts.Notify)
            if notice is None or notice.void_s <= now_s:
                db.execute("UPDATE notice SET state = 'missed' WHERE notice = ?", (number,))
        after = int(self._get("swept") or 0)
        rows = db.execute(
            "SELECT row, priority, received_s FROM event WHERE row > ? ORDER BY row LIMIT ?", (after, RETENTION_STEP)
        ).fetchall()
        old = [row for row in rows if row[2] < older_than_s]
        gone = [(row[0],) for row in old if row[1] in ("none", "low")]
        db.executemany("DELETE FROM event WHERE row = ?", gone)
        if old:
            self.put("swept", old[-1][0])
        return self._make_room(db, most_bytes) or len(old) == RETENTION_STEP

    def _make_room(self, db: sqlite3.Connection, most_bytes: float) -> bool:
        """Deletes some of the oldest events when all of them take too much room; whether it has to go on."""
        pages, free, size = (
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free) * size <= most_bytes:
            return False
        oldest = db.execute("SELECT row, priority FROM event ORDER BY row LIMIT ?", (OLDEST,)).fetchall()
        going = sorted((rank, row) for row, priority in oldest if (rank := RANKS.get(priority, 3)) < RANKS["high"])
        db.executemany("DELETE FROM event WHERE row = ?", [(row,) for _, row in going[:RETENTION_STEP]])
        return bool(going)

    # ------------------------------------------------------------------------------------------- asking

    def acknowledgement(self, device: str, epoch: str, now: float) -> wire.HubAck | None:
        """What the device may delete of `epoch`; None: nothing of it has come.  Of high priority first, beyond."""
        place = (device, epoch)
        progress = self._progress.get(place)
        if progress is None:
            with self._reading(now) as db:
                progress = self._kept_progress(db, place)
            if progress is None:
                return None
        first = heapq.nsmallest(100, progress.beyond.items(), key=lambda item: (-item[1], item[0]))
        return wire.HubAck(epoch, progress.contiguous, [seq for seq, _ in first])

    def _kept_progress(self, db: sqlite3.Connection, place: tuple[str, str]) -> _Progress | None:
        row = db.execute(
            "SELECT contiguous, highest, fresh FROM progress WHERE device = ? AND epoch = ?", place
        ).fetchone()
        if row is None:
            return None
        beyond = db.execute("SELECT seq, rank FROM beyond WHERE device = ? AND epoch = ?", place)
        return _Progress(row[0], row[1], bool(row[2]), beyond=dict(beyond.fetchall()))

    def numbers(self, now: float) -> tuple[int, int]:
        """The highest numbers used of alerts and of notices."""
        with self._reading(now) as db:
            alert = db.execute("SELECT coalesce(max(number), 0) FROM alert").fetchone()[0]
            notice = db.execute("SELECT coalesce(max(notice), 0) FROM notice").fetchone()[0]
        return int(alert), int(notice)

    def gaps(self, now: float) -> list[Gap]:
        """Gaps that may still be filled."""
        with self._reading(now) as db:
            rows = db.execute(
                "SELECT device, epoch, first, last, found_s, asked, asked_s, lost FROM gap WHERE lost = 0"
                " ORDER BY device, epoch, first"
            ).fetchall()
        return [Gap(*row) for row in rows]

    def devices(self, now: float) -> Iterable[Device]:
        """Every device that has ever been heard of."""
        with self._reading(now):
            return self._known().values()

    def _known(self) -> dict[str, Device]:
        if self._devices is None:
            assert self._db is not None
            self._devices = {row[0]: Device(*row) for row in self._db.execute("SELECT * FROM device")}
        return self._devices

    def desk(self, now: float) -> tuple[bytes, dict[str, bytes]]:
        """What `put_desk` has kept; empty: nothing."""
        with self._reading(now) as db:
            rows = db.execute("SELECT device, form FROM desk ORDER BY rowid").fetchall()
            kept = self._get("desk")
        return kept if isinstance(kept, bytes) else b"", dict(rows)

    def waiting_notices(self, now: float) -> list[facts.Notify]:
        """Notices that nobody has taken yet, tried or not."""
        with self._reading(now) as db:
            rows = db.execute("SELECT form FROM notice WHERE state IN ('waiting', 'failed') ORDER BY notice").fetchall()
        return [notice for (form,) in rows if (notice := _read(form, facts.Notify)) is not None]

    def waiting_commands(self, now: float) -> list[tuple[str, str, str, str, dict[str, Any], int, int]]:
        """Commands not sent yet: id, device, name, by, args, issued_ms, ttl_s."""
        with self._reading(now) as db:
            rows = db.execute(
                "SELECT id, device, name, by, args, issued_ms, ttl_s FROM command WHERE sent = 0 ORDER BY row"
            ).fetchall()
        return [(*row[:4], msgspec.json.decode(row[4]), row[5], row[6]) for row in rows]

    def waiting_inbox(self, now: float) -> list[Waiting]:
        """What the command line asked for and nobody has looked at yet."""
        with self._reading(now) as db:
            rows = db.execute("SELECT row, wall_s, kind, form FROM inbox WHERE result IS NULL ORDER BY row LIMIT 100")
            return [Waiting(row, wall_s, kind, _read(form, dict) or {}) for row, wall_s, kind, form in rows.fetchall()]

    def get(self, key: str, now: float) -> Any:
        """What was kept under a name; None: nothing."""
        with self._reading(now):
            return self._get(key)

    def anchor(self, now: float) -> Anchor | None:
        """The last moment kept."""
        kept = self.get("anchor", now)
        return _read(kept, Anchor) if isinstance(kept, bytes) else None

    def _get(self, key: str) -> Any:
        assert self._db is not None
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        """Releases the file."""
        if self._db is not None:
            try:
                self._db.close()
            except sqlite3.Error:
                pass  # every commit is on disk already
            self._db = None
        self._progress.clear()
        self._devices = None

    # ------------------------------------------------------------------------------------------- the file

    def _connection(self, now: float) -> sqlite3.Connection:
        if self._db is None:
            if now < self._reopen_at:
                raise StoreError(f"store {self.path} cannot be used")
            self._reopen_at = now + REOPEN_S
            self._open()
        assert self._db is not None
        return self._db

    def _failed(self, error: sqlite3.Error) -> StoreError:
        """A full disk may pass; after anything worse the file is opened and checked anew at the next use."""
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY):
            self.close()
            self._reopen_at = -1e300
        return StoreError(f"store {self.path}: {error}")

    def _open(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = self._opened()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                _log.error("store %s is damaged (%s): it is moved aside", self.path, error)
                aside = self._move_aside()
                self.damaged += 1
                self._db = self._opened()
                self.salvaged = self._salvage(self._db, aside)
                _log.error("%d rows of the damaged store could be taken over", self.salvaged)
        except (OSError, sqlite3.Error) as error:
            if isinstance(error, StoreError):
                raise
            self.close()
            raise StoreError(f"store {self.path}: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=2.0, isolation_level=None, check_same_thread=True)
        try:
            db.execute("PRAGMA temp_store = MEMORY")
            answer = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if answer != "wal":
                raise StoreError(f"store {self.path}: journal_mode is {answer!r}: must be 'wal'")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
            answer = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if answer != "ok":
                raise _DamageError(answer)
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise StoreError(
                    f"store {self.path} was written by a newer retrowalk (version {version} of its tables; this one"
                    f" knows {VERSION}): install that one again, or give another --state-dir"
                )
            db.executescript(_SCHEMA)
            db.execute("BEGIN IMMEDIATE")
            db.execute(f"PRAGMA user_version = {VERSION}")
            name = f"{self._rng.getrandbits(64):016x}"
            db.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?)", (name,))
            db.execute("COMMIT")
            self.epoch = str(db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0])
        except BaseException:
            db.close()
            raise
        return db

    def _move_aside(self) -> Path:
        """The damaged file stays for whoever wants to look, the last few of them."""
        old = sorted(self.path.parent.glob(f"{self.path.name}.damaged-????"))
        numbers = [int(text) for text in (path.name.rpartition("-")[2] for path in old) if text.isdigit()]
        aside = self.path.with_name(f"{self.path.name}.damaged-{max(numbers, default=0) + 1:04d}")
        for suffix in ("", "-wal", "-shm"):  # the log goes with its file: it holds what came last
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.replace(aside.with_name(aside.name + suffix))
        taken = _size(aside)
        for count, path in enumerate(reversed(old), 2):
            taken += _size(path)
            if count > DAMAGED_KEPT or taken > DAMAGED_BYTES:
                for suffix in ("", "-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
        return aside

    def _salvage(self, db: sqlite3.Connection, aside: Path) -> int:
        """Takes over what can be read of a damaged file; returns how many rows."""
        taken = 0
        try:
            old = sqlite3.connect(aside, isolation_level=None)
        except sqlite3.Error:
            return 0
        try:
            db.execute("BEGIN IMMEDIATE")
            for table in _SALVAGED:
                taken += _copied(old, db, table)
            db.execute("INSERT OR REPLACE INTO meta VALUES ('salvaged', 1)")  # gaps are asked for, whatever epoch
            db.execute("COMMIT")
        finally:
            old.close()
        return taken


def _copied(old: sqlite3.Connection, db: sqlite3.Connection, table: str) -> int:
    """Copies a table from its beginning as far as it can be read, and from its end."""
    names = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    keys = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[5]]
    kept = "WHERE key NOT IN ('epoch', 'swept')" if table == "meta" else ""
    insert = f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    taken = 0
    for order in ("ASC", "DESC"):
        try:
            rows = old.execute(
                f"SELECT {', '.join(names)} FROM {table} {kept} ORDER BY {', '.join(f'{key} {order}' for key in keys)}"
            )
            for row in rows:
                try:
                    taken += max(0, db.execute(insert, row).rowcount)
                except sqlite3.IntegrityError:
                    continue  # a row whose values were damaged
        except (sqlite3.Error, UnicodeDecodeError, OverflowError):
            continue  # as far as it goes; then from the other end
        break
    return taken


class _DamageError(sqlite3.DatabaseError):
    """`quick_check` found the file damaged."""


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    damage = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return isinstance(error, _DamageError) or (code is not None and code & 0xFF in damage)


def _text(value: Any) -> str:
    return wire.encode(value).decode()


def _read(form: str | bytes, kind: type) -> Any:
    """Reads a value back; None if it is damaged or of a newer program."""
    try:
        return msgspec.json.decode(form, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _size(path: Path) -> int:
    """Bytes of a database file with its log."""
    parts = (path.with_name(path.name + suffix) for suffix in ("", "-wal", "-shm"))
    return sum(part.stat().st_size for part in parts if part.is_file())
