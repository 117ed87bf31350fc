"""The hub's store: every event once, the gaps, and what is left of a damaged file."""

from __future__ import annotations

import random
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrowalk.errors import StoreError
from retrowalk.hub import store as store_module
from retrowalk.hub.store import Came, Store, StoredEvent


def event(
    seq: int, *, epoch: str = "e1", id_: str = "", priority: str = "none", received_s: float = 0.0
) -> StoredEvent:
    return StoredEvent(
        device="home/rw-0001",
        epoch=epoch,
        seq=seq,
        id=id_ or f"{epoch}-{seq}",
        type="hazard.raised",
        priority=priority,
        time="2027-01-15T08:00:00.000Z",
        clock="ntp",
        session="s1",
        historical=False,
        received_s=received_s,
        received_wall_s=received_s,
        data="{}",
    )


def add(store: Store, *events: StoredEvent) -> list[Came]:
    with store.turn(0.0):
        return [store.add_event(one) for one in events]


def acked(store: Store, epoch: str = "e1") -> tuple[int, list[int]]:
    ack = store.acknowledgement("home/rw-0001", epoch, 0.0)
    assert ack is not None
    return ack.seq, ack.beyond


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 30), max_size=60), st.integers(0, 60))
def test_the_acknowledgement_is_what_has_come(seqs, restart_at):
    """Whatever the order and however often, and with a restart anywhere: the ack is the highest number without a gap
    below it, and names all others that came.
    """
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory) / "hub.db")
        came: set[int] = set()
        for index, seq in enumerate(seqs):
            if index == restart_at:
                store.close()
                store = Store(Path(directory) / "hub.db")
            (found,) = add(store, event(seq))
            assert found is (Came.DUPLICATE if seq in came else Came.NEW)
            came.add(seq)
        if came:
            contiguous = next(n for n in range(32) if n + 1 not in came)
            assert acked(store) == (contiguous, sorted(seq for seq in came if seq > contiguous))
        store.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 20), st.integers(-20, -1)), max_size=40))
def test_gaps_are_what_the_device_cannot_send(steps):
    """Gaps and numbers that came never overlap, and together fill everything below the acknowledgement.

    A negative step is the device's word that nothing below that number waits.
    """
    with tempfile.TemporaryDirectory() as directory:
        store = Store(Path(directory) / "hub.db")
        add(store, event(1, epoch="e0"))  # it is known: this is no first contact
        came: set[int] = set()
        for step in steps:
            if step > 0:
                add(store, event(step))
                came.add(step)
            else:
                with store.turn(0.0):
                    store.device_holds_nothing_below("home/rw-0001", "e1", -step, 0.0)
        if steps:
            seq, beyond = acked(store)
            missing = {n for gap in store.gaps(0.0) for n in range(gap.first, gap.last + 1)}
            assert not missing & came
            assert missing | {n for n in came if n <= seq} == set(range(1, seq + 1))
            assert beyond == sorted(n for n in came if n > seq)
        store.close()


def test_another_event_under_a_taken_number_is_seen(tmp_path):
    """A number that is taken by another event is told apart from a repetition."""
    store = Store(tmp_path / "hub.db")
    assert add(store, event(1), event(1), event(1, id_="x")) == [Came.NEW, Came.DUPLICATE, Came.OTHER]


def test_a_turn_that_fails_leaves_nothing(tmp_path):
    """What happened in a transaction that fails did not happen, in memory neither."""
    store = Store(tmp_path / "hub.db")
    add(store, event(1))

    def fails() -> None:
        with store.turn(0.0):
            store.add_event(event(2))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert acked(store) == (1, [])
    assert add(store, event(2)) == [Came.NEW]


def test_a_newer_file_is_refused(tmp_path):
    """A store of a newer program is left alone, with words that say what to do."""
    Store(tmp_path / "hub.db").ask(0.0)
    with sqlite3.connect(tmp_path / "hub.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer retrowalk"):
        Store(tmp_path / "hub.db").ask(0.0)


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_gives_what_can_be_read(tmp_path, seed):
    """Of a file with a damaged page most rows are taken over; the file itself is kept beside the new one."""
    path = tmp_path / "hub.db"
    store = Store(path)
    for start in range(1, 2001, 200):
        add(store, *(event(seq) for seq in range(start, start + 200)))
    store.close()
    content = bytearray(path.read_bytes())
    page = 4096 * random.Random(seed).randrange(12, len(content) // 4096)
    content[page : page + 4096] = bytes(4096)
    path.write_bytes(content)
    store = Store(path)
    add(store, event(2001))
    assert store.damaged == 1
    assert (tmp_path / "hub.db.damaged-0001").exists()
    with sqlite3.connect(path) as db:
        (count,) = db.execute("SELECT count(*) FROM event").fetchone()
    assert count >= 1000


def test_a_file_that_is_none_is_replaced(tmp_path):
    """Even where nothing can be read the hub goes on with a new file."""
    (tmp_path / "hub.db").write_bytes(b"no database at all" * 500)
    store = Store(tmp_path / "hub.db")
    assert add(store, event(1)) == [Came.NEW]
    assert (store.damaged, store.salvaged) == (1, 0)


def test_old_events_of_low_priority_go_in_small_steps(tmp_path):
    """The sweep deletes what is old and unimportant, a bounded number at a time; numbers stay known."""
    store = Store(tmp_path / "hub.db")
    add(store, *(event(seq, priority="high" if seq % 100 == 0 else "low", received_s=seq) for seq in range(1, 1301)))
    with store.turn(0.0):
        assert store.sweep(1200.0, 1300.0)
    with store.turn(0.0):
        assert store.sweep(1200.0, 1300.0)
    with store.turn(0.0):
        assert not store.sweep(1200.0, 1300.0)
    with sqlite3.connect(tmp_path / "hub.db") as db:
        kept = [row[0] for row in db.execute("SELECT seq FROM event WHERE received_s < 1200")]
    assert kept == list(range(100, 1200, 100))
    assert add(store, event(5)) == [Came.DUPLICATE]


def test_store_has_an_end(tmp_path):
    """Beyond its size the least important of the oldest go, young as they are, and no event of high priority."""
    store = Store(tmp_path / "hub.db")
    kinds = ["low", "medium", "none", "high"]
    add(store, *(event(seq, priority=kinds[seq % 4], received_s=seq) for seq in range(1, 2001)))
    with sqlite3.connect(tmp_path / "hub.db") as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0] * db.execute("PRAGMA page_size").fetchone()[0]
    counts = []
    for _ in range(20):
        with store.turn(0.0):
            more = store.sweep(0.0, 0.0, pages / 2)
        with sqlite3.connect(tmp_path / "hub.db") as db:
            counts.append(dict(db.execute("SELECT priority, count(*) FROM event GROUP BY priority")))
        if not more:
            break
    assert not more
    assert counts[0] == {"low": 500, "medium": 500, "high": 500}
    assert counts[1] == {"medium": 500, "high": 500}
    assert counts[-1]["high"] == 500
    add(store, event(2001))
    for _ in range(3):
        with store.turn(0.0):
            more = store.sweep(0.0, 0.0, 1.0)
    assert not more, "what is left stays, were it ever so much"


def test_what_fits_nowhere_is_bounded(tmp_path):
    """Of odd messages the last 200 are kept, each cut to 1 KiB."""
    store = Store(tmp_path / "hub.db")
    with store.turn(0.0):
        for number in range(250):
            store.add_odd(f"topic/{number}", "why", b"x" * 5000, 0.0)
    with sqlite3.connect(tmp_path / "hub.db") as db:
        found = db.execute("SELECT count(*), max(length(payload)), min(row) FROM odd").fetchone()
    assert found == (200, 1024, 51)


def test_epochs_are_bounded(tmp_path):
    """A device that begins a new outbox again and again does not fill the store."""
    store = Store(tmp_path / "hub.db")
    for number in range(80):
        add(store, event(1, epoch=f"e{number}", received_s=number))
    with sqlite3.connect(tmp_path / "hub.db") as db:
        assert db.execute("SELECT count(*) FROM progress").fetchone()[0] <= 51


def test_an_event_that_a_heartbeat_has_overtaken_is_kept(tmp_path):
    """At first contact the device may hold nothing any more while the broker still brings what it held: nothing of
    that is taken for a duplicate, and what comes twice is kept once.
    """
    store = Store(tmp_path / "hub.db")
    assert add(store, event(9, priority="high")) == [Came.NEW]
    with store.turn(0.0):
        store.device_holds_nothing_below("home/rw-0001", "e1", 11, 0.0)
    assert acked(store) == (10, [])
    assert add(store, event(3), event(10), event(3), event(9, id_="other")) == [
        Came.NEW,
        Came.NEW,
        Came.DUPLICATE,
        Came.OTHER,
    ]
    assert acked(store) == (10, [])
    store.close()


def test_attempts_are_bounded(tmp_path):
    """An address that takes nothing for days is tried thousands of times; the latest attempts are kept."""
    store = Store(tmp_path / "hub.db")
    with store.turn(0.0):
        for number in range(store_module.ATTEMPTS_KEPT + 50):
            store.add_attempt(number, "ntfy", False, "not reached", 0.1, 0.0)
        store.sweep(0.0, 0.0)
    with sqlite3.connect(tmp_path / "hub.db") as db:
        found = db.execute("SELECT count(*), min(notice) FROM attempt").fetchone()
    assert found == (store_module.ATTEMPTS_KEPT, 50)
