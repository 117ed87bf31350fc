"""Everything that is kept on the card has a limit, and is driven past it here: nothing grows for ever.

What has its test elsewhere: recordings beyond their total (tests/courier/test_recording.py), the outbox, its copies and
the files that were moved aside (tests/courier/test_outbox.py), the journal (tests/test_systemd.py), measurements of the
walker (tests/test_calibration.py).
"""

from __future__ import annotations

import inspect
import os
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from retrowalk import calibration, wholefile, wire
from retrowalk.calibration import Measured, MeasuredGait
from retrowalk.config import Config, Recording
from retrowalk.courier import outbox, recording, salvage
from retrowalk.courier.outbox import Outbox, Stamp
from retrowalk.courier.recording import Recorder
from retrowalk.courier.state_file import StateFile
from retrowalk.hub import store
from retrowalk.hub.settings import Hub
from retrowalk.hub.store import Store
from retrowalk.voice import builder
from retrowalk.voice.render import RenderJob

STAMP = Stamp("boot-1", 0.0, "ntp")
MB = 1_000_000
MIB = 1024 * 1024


def event(number: int, priority: str) -> wire.EventMessage:
    return wire.EventMessage("s1", number, "fault.raised", priority, 1.0, 1.0, None, {"text": "x" * 200})


class Card:
    """A card of a size: what is free on it is what the files in a folder leave."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder, self.size_bytes = folder, size_bytes

    def statvfs(self, _path: object) -> SimpleNamespace:
        used = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        return SimpleNamespace(f_bavail=max(0, self.size_bytes - used), f_frsize=1)


def begin(recorder: Recorder, name: str) -> None:
    recorder.begin(wire.Session(name, wire.SCHEMA_VERSION, "0", "2026-01-01T00:00:00Z", "boot", {}), 0.0)


def test_recordings_give_way_to_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a card that is nearly full the oldest recordings go, until there is room for events again."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number in range(1, 6):
        (folder / f"{number:06d}_old_{number}.mcap").write_bytes(b"x" * 10 * MB)
    (tmp_path / "outbox.db").write_bytes(b"x" * MB)
    card = Card(tmp_path, 51 * MB + recording.RESERVE_BYTES // 2)
    monkeypatch.setattr(os, "statvfs", card.statvfs)
    recorder = Recorder(folder, Recording())
    begin(recorder, "new")
    recorder.close()
    assert recorder.fault == ""
    assert [file.name[:6] for file in sorted(folder.iterdir())] == ["000002", "000003", "000004", "000005", "000006"]
    assert (tmp_path / "outbox.db").exists()
    assert card.statvfs("").f_bavail >= recording.RESERVE_BYTES


def test_recording_stops_before_events_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing more can be given up, no recording is made, and that is a fault; the room that is left stays."""
    monkeypatch.setattr(os, "statvfs", Card(tmp_path, recording.RESERVE_BYTES // 2).statvfs)
    recorder = Recorder(tmp_path / "recordings", Recording())
    begin(recorder, "new")
    assert recorder.fault == "recording"
    assert not recorder.active
    recorder.close()


def test_copies_of_grave_events_stay_longest(tmp_path: Path) -> None:
    """When copies of what was delivered are too large, those of faults go before those of falls."""
    box = Outbox(tmp_path / "outbox.db", copy_max_bytes=100_000)
    for block in range(20):
        numbers = range(1 + block * 50, 51 + block * 50)
        found = box.commit_all([(event(n, "low" if n % 10 else "high"), STAMP) for n in numbers], 0.0)
        box.delete(found, 0.0)
    box.close()
    with sqlite3.connect(tmp_path / "outbox.db") as db:
        left = dict(db.execute("SELECT priority, count(*) FROM outbox GROUP BY priority"))
    db.close()
    assert left["high"] == 100
    assert 0 < left["low"] < 150


def test_files_that_were_moved_aside_take_bounded_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large damaged files do not pile up: the latest stays, earlier ones as far as there is room for them."""
    monkeypatch.setattr(salvage, "KEPT_BYTES", 2500)
    path = tmp_path / "outbox.db"
    for _ in range(5):
        path.write_bytes(b"x" * 1000)
        path.with_name("outbox.db-wal").write_bytes(b"x" * 200)
        salvage.move_aside(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "outbox.db.damaged-0004", "outbox.db.damaged-0004-wal", "outbox.db.damaged-0005", "outbox.db.damaged-0005-wal"
    ]  # fmt: skip


def test_huge_file_that_was_moved_aside_stays_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is larger than all may be stays for whoever wants to look, and no other beside it."""
    monkeypatch.setattr(salvage, "KEPT_BYTES", 500)
    path = tmp_path / "outbox.db"
    for _ in range(3):
        path.write_bytes(b"x" * 1000)
        salvage.move_aside(path)
    assert [file.name for file in tmp_path.iterdir()] == ["outbox.db.damaged-0003"]


def test_log_of_the_outbox_shrinks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that held the log up leaves none behind that stays large."""
    monkeypatch.setattr("retrowalk.courier.outbox.LOG_BYTES", 64 * 1024)
    box = Outbox(tmp_path / "outbox.db")
    box.commit(event(1, "low"), STAMP, 0.0)
    log = tmp_path / "outbox.db-wal"
    reader = sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM outbox").fetchone()
    for number in range(2, 300):
        box.commit(event(number, "low"), STAMP, 0.0)
    held_up = log.stat().st_size
    reader.close()
    for number in range(300, 500):
        box.commit(event(number, "low"), STAMP, 0.0)
    assert held_up > 4 * 64 * 1024
    assert log.stat().st_size < 2 * 64 * 1024
    box.close()


def test_what_power_cuts_leave_is_taken_away(tmp_path: Path) -> None:
    """A file that was cut off while it was written is deleted later; one that is being written now is not."""
    old = [tmp_path / f".last-good.toml-abcdef{number:02d}" for number in range(5)]
    for file in old:
        file.write_bytes(b"half")
        os.utime(file, (time.time() - 7200.0,) * 2)
    new = tmp_path / ".last-good.toml-new45678"
    new.write_bytes(b"half")
    wholefile.write(tmp_path / "last-good.toml", b"whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == [new.name, "last-good.toml"]


def test_state_is_one_file(tmp_path: Path) -> None:
    """However often the guard's state is written, there is one file of it."""
    state = StateFile(tmp_path / "guard.state")
    for number in range(50):
        state.put(b"x" * (1000 + number))
        state.poll(float(2 * number))
    assert {file.name: file.stat().st_size for file in tmp_path.iterdir()} == {"guard.state": 1049}


def test_measurements_of_the_walker_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many measurements the latest stay, and as many as are kept fit into what is read."""
    file = tmp_path / "calibration.json"
    measured = Measured(measured_at="2026-01-01T00:00:00Z", stops_s=[1.25] * 50, stop_s=1.5, profile="older")
    gait = MeasuredGait(
        measured_at="2026-01-01T00:00:00Z",
        distance_m=10.123,
        steps=[1000] * 10,
        step_length_m=0.4321,
        step_bounce_m_s2=1.2345,
        step_time_s=0.5678,
        speed_factor=1.0123,
    )
    calibration.add(file, measured)
    calibration.add(file, gait)
    monkeypatch.setattr(calibration, "KEPT", 5)
    for _ in range(10):
        calibration.add(file, measured)
    assert len(calibration.read(file)) == 5
    monkeypatch.setattr(calibration, "KEPT", 200)
    monkeypatch.setattr(calibration, "FILE_MAX_BYTES", 8000)
    for _ in range(20):
        calibration.add(file, measured)
        assert file.stat().st_size <= 8000
    assert len(calibration.read(file)) > 5
    assert len(calibration.read_gait(file)) == 1


def test_documented_limits_are_those_of_the_program() -> None:
    """docs/storage.md says what the program does."""
    text = (Path(__file__).parents[1] / "docs" / "storage.md").read_text()
    rows = {line.split("|")[1].split(",")[0].strip(): line for line in text.splitlines() if line.startswith("| ")}
    outbox_mib = inspect.signature(Outbox.__init__).parameters["max_bytes"].default // MIB
    limits = Recording()
    assert f"| {limits.total_max_mb} MB, in files of {limits.file_max_mb} MB" in rows["recordings"]
    assert f"| {outbox_mib} MB" in rows["events that wait"]
    assert [times * outbox_mib for _, times in outbox.DROPPABLE] == [32.0, 32.0, 48.0, 64.0]
    assert f"| a week of running, {outbox.COPY_MAX_BYTES // MIB} MB" in rows["copies of events that were delivered"]
    assert f"| {outbox.LOG_BYTES // MIB} MB" in rows["the log beside it"]
    assert f"of each kind, {salvage.KEPT_BYTES // MIB} MB" in rows["outbox files that could not be trusted"]
    assert f"| {calibration.KEPT} measurements of each kind" in rows["what was measured of the walker"]
    assert f"| {builder.KEPT_TEXTS} texts" in rows["free texts"]
    assert f"| {Hub().keep_mb} MB" in rows["all events"]
    assert f"| {Hub().keep_days} days" in rows["events of low priority"]


def test_damaged_stores_of_the_hub_take_bounded_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large stores that were damaged do not pile up on the hub."""
    monkeypatch.setattr(store, "DAMAGED_BYTES", 25_000)
    for _ in range(4):
        (tmp_path / "hub.db").write_bytes(b"no database" * 1000)
        damaged = Store(tmp_path / "hub.db")
        damaged.ask(0.0)
        damaged.close()
    assert sorted(file.name for file in tmp_path.glob("*.damaged-????")) == [
        "hub.db.damaged-0003",
        "hub.db.damaged-0004",
    ]


def test_texts_take_bounded_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of free texts the latest stay, and of long ones fewer."""

    def render(job: RenderJob) -> None:
        Path(job.target).write_bytes(b"\x01\x00" * 50_000)

    monkeypatch.setattr(builder, "render", render)
    monkeypatch.setattr(builder, "KEPT_TEXTS_BYTES", 350_000)
    for number in range(10):
        file = builder.render_text(Config(), tmp_path, f"text {number}")
        os.utime(file, (1e9 + number,) * 2)
    assert len(list((tmp_path / "texts").iterdir())) == 3
    assert file.exists()
