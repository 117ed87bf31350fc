"""A look at the hub's store from outside: what the command line shows, while a hub runs or not.

Only the table `inbox` is written, by `ask`: the hub does what stands there, at once or when it starts.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from retrowalk import wire
from retrowalk.errors import StoreError
from retrowalk.hub.store import VERSION

OVERDUE_S = {"walking": 60.0}
OVERDUE_OTHERWISE_S = 150.0
"""A device that said nothing for longer is overdue: it speaks each 15 s while its walker walks, else each 60 s."""


class DeviceNow(Struct, frozen=True, kw_only=True):
    """A device, as the hub last heard of it.  None: not known."""

    device: str
    state: str
    state_at: float | None
    """Unix time at which it was told."""
    heard_s: float | None
    """Seconds since its last sign of life."""
    overdue: bool
    guard_state: str
    reasons: list[str]
    """Why it is not simply guarding."""
    battery_percent: float | None
    waiting: int | None
    """Events that wait on the device."""
    clock: str
    faults: list[str]
    events: int
    duplicates: int
    missing: int
    """Events that have not come though later ones have, and are asked for."""
    lost: int
    """Events that will not come."""


class HubNow(Struct, frozen=True, kw_only=True):
    """The hub itself."""

    running: bool
    started: float | None
    """Unix time."""
    contacts: int | None
    """How many people it tells; None: not known."""
    sites: dict[str, Any]
    """`connected` and the topics `refused` by the broker, of each site."""
    let_go: int
    """Messages that came faster than they could be read."""
    events: int
    open_alerts: int
    waiting_notices: int
    odd: int
    """Messages kept because they fit nowhere."""
    devices: list[DeviceNow]


class AlertNow(Struct, frozen=True, kw_only=True):
    """An alert, and who was told of it and answered."""

    number: int
    device: str
    kind: str
    stage: str
    priority: str
    opened: float
    """Unix time, by the hub's clock."""
    changed: float
    alert: dict[str, Any]
    told: list[dict[str, Any]]
    """`contact`, `why`, `state` and when (`wall_s`) of each notice; its last `detail`."""
    answers: list[dict[str, Any]]
    """`by`, `via`, `over` and when (`wall_s`)."""


class EventSeen(Struct, frozen=True, kw_only=True):
    """An event in the store."""

    row: int
    device: str
    type: str
    priority: str
    time: str
    clock: str
    received: float
    """Unix time."""
    historical: bool
    epoch: str
    seq: int
    id: str
    data: dict[str, Any]


class View:
    """The store in `path`, to be read.  Raises `StoreError` when it cannot be."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise StoreError(f"no hub has kept anything in {self.path.parent}: give its --state-dir")
        with self._errors():
            self._db = sqlite3.connect(f"file:{_quoted(self.path)}?mode=ro", uri=True, timeout=2.0)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StoreError(f"store {self.path} was written by a newer retrowalk: use that one")

    def close(self) -> None:
        """Releases the file."""
        self._db.close()

    def hub(self, *, running: bool, wall_s: float) -> HubNow:
        """How things stand at the Unix time `wall_s`."""
        with self._errors():
            status = self._status()
            return HubNow(
                running=running,
                started=status.get("started_wall_s"),
                contacts=status.get("contacts"),
                sites=status.get("sites", {}) if running else {},
                let_go=status.get("let_go", 0),
                events=self._count("event"),
                open_alerts=self._count("alert WHERE stage != 'over'"),
                waiting_notices=self._count("notice WHERE state IN ('waiting', 'failed')"),
                odd=self._count("odd"),
                devices=[self._device(row, wall_s) for row in self._db.execute("SELECT * FROM device ORDER BY device")],
            )

    def _status(self) -> dict[str, Any]:
        row = self._db.execute("SELECT value FROM meta WHERE key = 'status'").fetchone()
        found = json.loads(row[0]) if row else {}
        return found if isinstance(found, dict) else {}

    def _count(self, what: str, *values: object) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {what}", values).fetchone()[0])

    def _device(self, row: Sequence[Any], wall_s: float) -> DeviceNow:
        name, state, _, _, state_wall_s, _, heard_wall_s, _, heartbeat, duplicates = row
        beat = json.loads(heartbeat)
        heard_s = max(0.0, wall_s - heard_wall_s) if heard_wall_s else None
        expected = state not in ("disconnected", "")
        own = beat.get("state", "") if state == "lost" else state
        overdue = expected and (heard_s is None or heard_s > OVERDUE_S.get(own, OVERDUE_OTHERWISE_S))
        gaps = "SELECT coalesce(sum(last - first + 1), 0) FROM gap WHERE device = ? AND lost = ?"
        return DeviceNow(
            device=name,
            state=state,
            state_at=state_wall_s or None,
            heard_s=heard_s,
            overdue=overdue,
            guard_state=beat.get("guard_state", ""),
            reasons=beat.get("reasons", []),
            battery_percent=beat.get("battery_percent"),
            waiting=beat.get("outbox_depth"),
            clock=beat.get("clock", ""),
            faults=beat.get("faults", []),
            events=self._count("event WHERE device = ?", name),
            duplicates=duplicates,
            missing=self._db.execute(gaps, (name, 0)).fetchone()[0],
            lost=self._db.execute(gaps, (name, 1)).fetchone()[0],
        )

    def alerts(self, *, all_of_them: bool = False, limit: int = 100) -> list[AlertNow]:
        """Open alerts, or the latest of all, oldest first."""
        where = "" if all_of_them else "WHERE stage != 'over'"
        with self._errors():
            rows = self._db.execute(
                f"SELECT number, form, wall_s, changed_wall_s FROM alert {where} ORDER BY number DESC LIMIT ?", (limit,)
            ).fetchall()
            return [self._alert(*row) for row in reversed(rows)]

    def _alert(self, number: int, form: str, wall_s: float, changed_wall_s: float) -> AlertNow:
        alert = json.loads(form)
        told = self._db.execute(
            "SELECT contact, why, state, wall_s, (SELECT detail FROM attempt WHERE attempt.notice = notice.notice"
            " AND NOT ok ORDER BY row DESC LIMIT 1) FROM notice WHERE alert = ? ORDER BY notice",
            (number,),
        )
        answers = self._db.execute(
            "SELECT by, via, over, wall_s FROM answer WHERE alert = ? OR (alert = 0 AND device = ?) ORDER BY row",
            (number, alert["device"]),
        )
        return AlertNow(
            number=number,
            device=alert["device"],
            kind=alert["kind"],
            stage=alert["stage"],
            priority=alert["priority"],
            opened=wall_s,
            changed=changed_wall_s,
            alert=alert,
            told=[dict(zip(("contact", "why", "state", "wall_s", "detail"), row, strict=True)) for row in told],
            answers=[dict(zip(("by", "via", "over", "wall_s"), row, strict=True)) for row in answers],
        )

    def events(
        self, *, device: str = "", type_: str = "", since_wall_s: float = 0.0, after: int = 0, limit: int = 50
    ) -> list[EventSeen]:
        """The latest events, oldest first; `type_` also names all below it (`fall`); those behind row `after`."""
        where = ["row > ?", "received_wall_s >= ?"]
        values: list[object] = [after, since_wall_s]
        if device:
            where.append("(device = ? OR device LIKE '%/' || ?)")
            values += [device, device]
        if type_:
            where.append("(type = ? OR substr(type, 1, length(?) + 1) = ? || '.')")
            values += [type_, type_, type_]
        query = (
            "SELECT row, device, type, priority, time, clock, received_wall_s, historical, epoch, seq, id, data"
            f" FROM event WHERE {' AND '.join(where)} ORDER BY row DESC LIMIT ?"
        )
        with self._errors():
            rows = self._db.execute(query, (*values, limit)).fetchall()
        return [
            EventSeen(
                row=row[0],
                device=row[1],
                type=row[2],
                priority=row[3],
                time=row[4],
                clock=row[5],
                received=row[6],
                historical=bool(row[7]),
                epoch=row[8],
                seq=row[9],
                id=row[10],
                data=json.loads(row[11]),
            )
            for row in reversed(rows)
        ]

    def odd(self, limit: int = 20) -> list[tuple[float, str, str]]:
        """The latest messages that fit nowhere: Unix time, topic, why."""
        with self._errors():
            rows = self._db.execute("SELECT wall_s, topic, why FROM odd ORDER BY row DESC LIMIT ?", (limit,)).fetchall()
        return [(row[0], row[1], row[2]) for row in reversed(rows)]

    def named(self, device: str) -> str:
        """The full name of a device that somebody names.  Raises `StoreError` when it is none, or several."""
        with self._errors():
            known = [row[0] for row in self._db.execute("SELECT device FROM device ORDER BY device")]
        found = [name for name in known if name == device or name.partition("/")[2] == device]
        if len(found) == 1:
            return str(found[0])
        choice = ", ".join(found or known) or "none has been heard of yet"
        raise StoreError(f"{device}: {'several devices are called so' if found else 'no such device'}: {choice}")

    def result(self, row: int) -> str | None:
        """What became of something that was asked; None: nothing yet."""
        with self._errors():
            found = self._db.execute("SELECT result FROM inbox WHERE row = ?", (row,)).fetchone()
        return found[0] if found else None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValueError) as error:
            hint = "" if self.path.stat().st_uid == 0 else ": it may need sudo"
            raise StoreError(f"store {self.path} cannot be read: {error}{hint}") from error


def ask(path: str | Path, kind: str, form: dict[str, Any], wall_s: float) -> int:
    """Puts a wish into the hub's inbox; returns its row.  Raises `StoreError`."""
    try:
        db = sqlite3.connect(f"file:{_quoted(Path(path))}?mode=rw", uri=True, timeout=5.0, isolation_level=None)
        try:
            db.execute("PRAGMA synchronous = FULL")
            row = db.execute(
                "INSERT INTO inbox (wall_s, kind, form) VALUES (?, ?, ?)", (wall_s, kind, wire.encode(form).decode())
            ).lastrowid
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreError(f"store {path} cannot be written: {error}: it may need sudo") from error
    return int(row or 0)


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
