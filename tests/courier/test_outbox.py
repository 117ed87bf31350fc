"""The outbox: committed before sent, never lost, recognisable when doubled."""

from __future__ import annotations

import random
import resource
import sqlite3
from contextlib import closing, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.courier.helpers import STAMP, event

from retrowalk.courier.outbox import ANSWER_LIMIT_S, BACK_OFF_MAX_S, Outbox, event_id
from retrowalk.errors import OutboxError


@contextmanager
def files_limited_to(size):
    """The disk is full: no file of this process may grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def outbox(tmp_path):
    found = Outbox(tmp_path / "outbox.db", owner="home/rw-0001", rng=random.Random(1))
    yield found
    found.close()


def seqs(outbox, now=0.0):
    return [row.seq for row in outbox.pending(1000, now)]


def asked(outbox, first, last, now):
    """A hub asks for these rows of the outbox's own epoch."""
    found = outbox.resync(outbox.epoch, first, last, now)
    assert found is not None
    return found


def test_a_commit_survives_its_process(outbox, tmp_path):
    """What was committed is there for the next process, in the same epoch, under the same id."""
    seq = outbox.commit(event(1, "fall.confirmed", fall=1), STAMP, 0.0)
    (before,) = outbox.pending(10, 0.0)
    outbox.close()
    again = Outbox(tmp_path / "outbox.db", owner="home/rw-0001")
    (after,) = again.pending(10, 0.0)
    assert (again.epoch, after) == (outbox.epoch, before)
    assert (after.seq, after.data, after.stamp) == (seq, b'{"fall":1}', STAMP)
    again.close()


def test_the_file_is_synced_at_each_commit(outbox, tmp_path):
    """Write-ahead log and full synchronisation, by the database's own answer."""
    with sqlite3.connect(tmp_path / "outbox.db") as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()
    assert outbox._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_numbers_are_never_used_twice(outbox, tmp_path):
    """Also after everything was delivered and the process restarted, seq goes on rising."""
    first = outbox.commit(event(1), STAMP, 0.0)
    outbox.delete([first], 0.0)
    outbox.close()
    again = Outbox(tmp_path / "outbox.db")
    assert again.commit(event(2), STAMP, 0.0) == first + 1
    again.close()


def test_each_file_has_its_own_epoch(tmp_path):
    """A hub can tell the numbers of one file from those of another."""
    found = [Outbox(tmp_path / f"{number}.db") for number in range(20)]
    assert len({outbox.epoch for outbox in found}) == 20
    for outbox in found:
        outbox.close()


@pytest.mark.slow
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("hand over"), st.integers(1, 30)),
            st.tuples(st.just("deliver"), st.integers(0, 5)),
            st.tuples(st.just("restart"), st.just(0)),
        ),
        max_size=40,
    )
)
@settings(max_examples=40, deadline=None)
def test_each_event_is_kept_once_until_delivered(tmp_path_factory, steps):
    """Whatever comes in whatever order: a number is answered only if it, and all that were ever handed over below
    it, are on disk or delivered; each event gets one seq.
    """
    path = tmp_path_factory.mktemp("outbox") / "outbox.db"
    outbox = Outbox(path)
    handed: set[int] = set()
    delivered: set[int] = set()
    for what, value in steps:
        if what == "hand over":
            outbox.commit(event(value), STAMP, 0.0)
            handed.add(value)
        elif what == "deliver":
            rows = outbox.pending(value, 0.0)
            outbox.delete([row.seq for row in rows], 0.0)
            assert not delivered & {row.number for row in rows}, "delivered once only"
            delivered |= {row.number for row in rows}
        else:
            outbox.close()
            outbox = Outbox(path)
        waiting = {row.number for row in outbox.pending(1000, 0.0)}
        assert waiting == handed - delivered
        assert outbox.waiting(0.0) == len(waiting)
        assert outbox.committed("s1", 0.0) in handed | {0}
        assert outbox.delivered("s1", 0.0) < min(waiting, default=31)
    outbox.close()


def test_order_is_priority_then_age(outbox):
    """High first, then medium, low and none; the oldest of each first."""
    kinds = ["hazard.raised", "fall.suspected", "walk.started", "sos.raised", "fall.confirmed", "hazard.raised"]
    outbox.commit_all([(event(number, kind), STAMP) for number, kind in enumerate(kinds, 1)], 0.0)
    assert seqs(outbox) == [4, 5, 2, 3, 1, 6]
    assert [row.seq for row in outbox.pending(2, 0.0)] == [4, 5]


def test_an_unknown_priority_is_treated_as_high(outbox):
    """Better too early than too late."""
    outbox.commit(event(1), STAMP, 0.0)
    odd = event(2)
    outbox.commit(type(odd)(odd.session, 2, odd.type, "urgent", 1.0, 1.0, None, {}), STAMP, 0.0)
    assert seqs(outbox) == [2, 1]


def test_what_was_sent_rests_until_its_answer_is_overdue(outbox):
    """A row is not sent twice within 10 s, and is sent again after."""
    outbox.commit(event(1), STAMP, 0.0)
    outbox.mark_sent([1], 100.0)
    assert seqs(outbox, 100.0 + ANSWER_LIMIT_S - 0.01) == []
    assert outbox.next_try(100.0) == 100.0 + ANSWER_LIMIT_S
    assert seqs(outbox, 100.0 + ANSWER_LIMIT_S) == [1]


def test_refused_rows_are_tried_less_and_less_often(outbox):
    """Waiting grows to five minutes, with jitter, and never ends."""
    outbox.commit(event(1), STAMP, 0.0)
    now, waits = 0.0, []
    for _ in range(12):
        outbox.mark_sent([1], now)
        outbox.refused(1, now)
        due = outbox.next_try(now)
        assert due is not None
        waits.append(due - now)
        now = due
    assert 7.5 <= waits[0] <= 12.5
    assert all(0.75 * BACK_OFF_MAX_S <= wait <= 1.25 * BACK_OFF_MAX_S for wait in waits[-5:])
    assert len(set(waits[-5:])) == 5, "jitter"


def test_a_new_connection_makes_everything_pending(outbox):
    """Nothing waits out its back-off when the broker is back."""
    outbox.commit_all([(event(number), STAMP) for number in (1, 2)], 0.0)
    outbox.mark_sent([1, 2], 0.0)
    outbox.refused(2, 0.0)
    outbox.forget_attempts(1.0)
    assert seqs(outbox, 1.0) == [1, 2]


def test_hub_deletes_only_what_the_broker_has(outbox):
    """A cumulative acknowledgement covers rows up to it that the broker has acknowledged, and no others."""
    outbox.commit_all([(event(number), STAMP) for number in range(1, 7)], 0.0)
    outbox.broker_has([1, 2, 4], 0.0)
    assert not outbox.hub_has("another", 4, 0.0)
    assert not outbox.hub_has(outbox.epoch, 7, 0.0), "beyond what there is: not believed"
    assert outbox.waiting(0.0) == 6
    assert outbox.hub_has(outbox.epoch, 5, 0.0)
    assert sorted(seqs(outbox, 1e6)) == [3, 5, 6]


def test_an_early_acknowledgement_is_applied_when_the_broker_catches_up(outbox):
    """The hub may be quicker than the broker's answer: its word is kept until that comes."""
    outbox.commit(event(1), STAMP, 0.0)
    assert outbox.hub_has(outbox.epoch, 1, 0.0)
    assert outbox.waiting(0.0) == 1
    outbox.broker_has([1], 0.0)
    assert outbox.waiting(0.0) == 0


def test_unimportant_events_make_room(tmp_path):
    """Beyond the limit the oldest `none` go, then `low`; medium and high stay."""
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=55_000)
    kinds = ["hazard.raised", "walk.started", "fall.suspected", "fall.confirmed"]
    for number in range(1, 401):
        outbox.commit(event(number, kinds[number % 4]), STAMP, 0.0)
    left = [row.priority for row in outbox.pending(1000, 0.0)]
    assert (left.count("high"), left.count("medium")) == (100, 100)
    assert outbox.dropped == 400 - len(left) > 0
    assert left.count("none") == 0
    dropped = outbox.dropped
    outbox.close()
    again = Outbox(tmp_path / "outbox.db")
    assert again.dropped == dropped, "the count survives"
    again.close()


@pytest.mark.slow
def test_what_somebody_waits_for_goes_last(tmp_path):
    """Beyond one and a half times the limit the oldest medium go, and of high none before all of these have gone."""
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=40_000)
    most = [0, 0]
    for number in range(1, 601):
        outbox.commit(event(number, "fall.suspected" if number % 4 else "fall.confirmed"), STAMP, 0.0)
        left = [row.priority for row in outbox.pending(1000, 0.0)]
        most = [max(most[0], left.count("medium")), left.count("high")]
        assert left.count("medium") == 0 or left.count("high") == number // 4
    assert most[0] > 100
    assert most[1] > 90
    outbox.close()


def test_outbox_has_an_end(tmp_path):
    """Were there nothing but falls, and nobody to fetch them: the latest stay, the file does not grow for ever."""
    outbox = Outbox(tmp_path / "outbox.db", max_bytes=40_000)
    for number in range(1, 1001):
        outbox.commit(event(number, "fall.confirmed"), STAMP, 0.0)
        if number == 600:
            size = (tmp_path / "outbox.db").stat().st_size
    left = [row.number for row in outbox.pending(1000, 0.0)]
    assert left[-1] == 1000
    assert 100 < len(left) < 300
    assert outbox.dropped == 1000 - len(left)
    outbox.close()
    assert (tmp_path / "outbox.db").stat().st_size <= max(size, 250_000)


DAMAGE = [
    pytest.param(lambda data: b"", 0, id="empty"),
    pytest.param(lambda data: b"not a database" * 1000, 0, id="foreign"),
    pytest.param(lambda data: data[:20480] + b"\xff" * 4096 + data[24576:], 150, id="pages overwritten"),
    pytest.param(lambda data: b"\0" * 100 + data[100:], 0, id="header zeroed"),
    pytest.param(lambda data: data[: len(data) // 2], 60, id="half of it missing"),
]


@pytest.mark.parametrize(("damage", "at_least"), DAMAGE)
def test_a_damaged_file_is_moved_aside(tmp_path, damage, at_least):
    """A damaged file stays for whoever wants to look; a new epoch takes events at once, and what can be read of the
    old one waits in it under its old names.
    """
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, owner="home/rw-0001")
    outbox.commit_all([(event(number, text="x" * 200), STAMP) for number in range(1, 201)], 0.0)
    before = {row.id: row.data for row in outbox.pending(1000, 0.0)}
    epoch = outbox.epoch
    outbox.close()
    path.write_bytes(damage(path.read_bytes()))
    again = Outbox(path, owner="home/rw-0001")
    assert again.epoch != epoch
    assert again.damaged == 1
    assert len(list(tmp_path.glob("outbox.db.damaged-*"))) == (damage(bytes(9)) != b"")
    after = {row.id: row.data for row in again.pending(1000, 0.0)}
    assert len(after) >= at_least
    assert after.items() <= before.items()
    assert f"{len(after)} waiting events" in again.damage
    again.commit_all([(event(number, text="x" * 200), STAMP) for number in range(1, 202)], 0.0)
    assert again.waiting(0.0) >= len(after) + 1
    again.close()


def test_an_unreadable_log_is_damage(tmp_path):
    """Commits behind a wrong page of the log were announced: they are missed, and no number is used for another event.
    A log that ends in the middle of its last commit is how a power cut looks: no damage.
    """
    for cut, lost in ((None, True), (200, False)):
        path = tmp_path / f"{lost}.db"
        outbox = Outbox(path, owner="o")
        for number in range(1, 6):
            outbox.commit(event(number), STAMP, 0.0)
        log = path.with_name(path.name + "-wal").read_bytes()
        crashed = tmp_path / "crashed" / path.name
        crashed.parent.mkdir(exist_ok=True)
        crashed.write_bytes(path.read_bytes())
        if cut is None:
            middle = len(log) - 12_000
            log = log[:middle] + b"\xff" * 1500 + log[middle + 1500 :]
        else:
            log = log[:-cut]
        crashed.with_name(path.name + "-wal").write_bytes(log)
        outbox.close()
        again = Outbox(crashed, owner="o")
        assert (again.damaged == 1) is lost
        assert (again.epoch != outbox.epoch) is lost
        assert 1 <= again.waiting(0.0) <= 4
        again.close()


@pytest.mark.parametrize("way", ["deleted", "replaced"])
def test_a_file_that_is_taken_away_is_missed(tmp_path, way):
    """What waited and what is committed meanwhile goes into a new file; nothing is answered that is not on disk."""
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, owner="o")
    outbox.commit_all([(event(number), STAMP) for number in (1, 2, 3)], 0.0)
    outbox.delete([2], 0.0)
    epoch = outbox.epoch
    path.unlink()
    if way == "replaced":
        path.write_bytes(b"something else")
    with pytest.raises(OutboxError, match="taken away"):
        outbox.commit(event(4), STAMP, 1.0)
    outbox.commit(event(4), STAMP, 2.0)
    assert outbox.epoch != epoch
    outbox.close()
    again = Outbox(path, owner="o")
    assert [row.number for row in again.pending(10, 3.0)] == [1, 3, 4]
    assert again.damaged == 0
    again.close()


def test_a_file_that_is_gone_at_the_start_is_missed(tmp_path):
    """Between two runs somebody deleted it: the loss is told, though nothing of it is left.  A first start is none."""
    first = Outbox(tmp_path / "outbox.db")
    assert first.damaged == 0
    first.close()
    (tmp_path / "outbox.db").unlink()
    again = Outbox(tmp_path / "outbox.db")
    assert (again.damaged, "was gone" in again.damage) == (1, True)
    again.close()


def test_a_directory_in_its_place_is_moved_aside(tmp_path):
    """Whatever lies there, events are taken."""
    (tmp_path / "outbox.db").mkdir()
    (tmp_path / "outbox.db" / "thing").write_text("kept")
    outbox = Outbox(tmp_path / "outbox.db")
    assert outbox.commit(event(1), STAMP, 0.0) == 1
    assert outbox.damaged == 1
    assert (tmp_path / "outbox.db.damaged-0001" / "thing").read_text() == "kept"
    outbox.close()


def test_a_file_of_a_later_version_stays_as_it_is(tmp_path):
    """An older program does not touch what it cannot know: the file is moved aside, what waits in it is taken over."""
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, owner="o")
    outbox.commit_all([(event(number), STAMP) for number in (1, 2)], 0.0)
    assert outbox._db is not None
    outbox._db.execute("PRAGMA user_version = 9")
    outbox.close()
    again = Outbox(path, owner="o")
    assert [row.number for row in again.pending(10, 0.0)] == [1, 2]
    assert "later version" in again.damage
    with closing(sqlite3.connect(tmp_path / "outbox.db.later-0001")) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (9,)
        assert old.execute("SELECT count(*) FROM outbox").fetchone() == (2,)
    again.close()


VERSION_0 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, rank INTEGER NOT NULL,
    session TEXT NOT NULL, number INTEGER NOT NULL, type TEXT NOT NULL, priority TEXT NOT NULL, mono_s REAL NOT NULL,
    boot_id TEXT NOT NULL, wall_s REAL NOT NULL, clock TEXT NOT NULL, data BLOB NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0, UNIQUE (session, number));
CREATE INDEX order_of_sending ON outbox (rank DESC, seq);
CREATE TABLE session (session TEXT PRIMARY KEY, committed INTEGER NOT NULL);
CREATE TABLE beyond (session TEXT, number INTEGER, PRIMARY KEY (session, number)) WITHOUT ROWID;
CREATE TABLE missing (session TEXT, number INTEGER, PRIMARY KEY (session, number)) WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', 'abc'), ('highest_sent', 7), ('kept.alerts', x'7b7d');
INSERT INTO outbox VALUES (7, 'ID', 3, 's1', 9, 'sos.raised', 'high', 1, 'b', 2, 'ntp', x'7b7d', 1);
INSERT INTO session VALUES ('s1', 9);
"""


def test_a_file_of_the_version_before_goes_on(tmp_path):
    """Epoch, numbers and what waits stay what they were."""
    with closing(sqlite3.connect(tmp_path / "outbox.db")) as old:
        old.executescript(VERSION_0)
    outbox = Outbox(tmp_path / "outbox.db")
    assert (outbox.epoch, outbox.damaged, outbox.kept("alerts", 0.0)) == ("abc", 0, b"{}")
    assert seqs(outbox) == [7]
    assert outbox.commit(event(10), STAMP, 0.0) == 8
    outbox.delete([7], 0.0)
    assert asked(outbox, 7, 7, 0.0).again == 1
    assert outbox.delivered_high("s1", 0.0) == 8
    outbox.close()


# ---------------------------------------------------------------------------------------- copies, and the hub


def test_what_was_delivered_can_be_sent_again(outbox):
    """For a week: rows are pending again under number and name; what still waits is sent at once; the rest is gone."""
    outbox.commit_all([(event(number), STAMP) for number in range(1, 7)], 0.0)
    outbox.delete([1, 2, 3], 0.0)
    outbox.mark_sent([4], 0.0)
    assert outbox.low(0.0) == 4
    found = asked(outbox, 2, 9, 1.0)
    assert (found.again, found.waiting, found.gone) == (2, 3, 3)
    assert (seqs(outbox, 1.0), outbox.low(1.0), outbox.waiting(1.0)) == ([2, 3, 4, 5, 6], 2, 5)
    assert outbox.resync("another", 2, 9, 1.0) is None
    assert outbox.resync(outbox.epoch, 1, 1001, 1.0) is None
    assert outbox.resync(outbox.epoch, 5, 4, 1.0) is None


def test_what_the_hub_asks_for_again_is_kept_until_it_has_it(outbox):
    """An acknowledgement of before does not count for what was asked for after."""
    outbox.commit_all([(event(number), STAMP) for number in (1, 2, 3)], 0.0)
    outbox.broker_has([1, 2, 3], 0.0)
    outbox.hub_has(outbox.epoch, 3, 0.0)
    assert asked(outbox, 2, 2, 1.0).again == 1
    outbox.broker_has([2], 1.0)
    assert outbox.waiting(1.0) == 1
    outbox.hub_has(outbox.epoch, 3, 2.0)
    assert outbox.waiting(2.0) == 0


def test_what_overtook_the_rest_is_delivered(outbox):
    """`beyond` names rows above a gap that the hub has; of these, too, only what the broker has is believed."""
    kinds = ["hazard.raised", "hazard.raised", "sos.raised", "fall.confirmed"]
    outbox.commit_all([(event(number, kind), STAMP) for number, kind in enumerate(kinds, 1)], 0.0)
    outbox.broker_has([3], 0.0)
    outbox.hub_has(outbox.epoch, 0, 0.0, [3, 4])
    assert (outbox.delivered("s1", 0.0), outbox.delivered_high("s1", 0.0)) == (0, 3)
    outbox.broker_has([4], 0.0)
    assert (outbox.delivered("s1", 0.0), outbox.delivered_high("s1", 0.0)) == (0, 4)
    assert outbox.waiting(0.0) == 2


def test_a_copy_lives_for_a_week_of_running(tmp_path):
    """Its age is what couriers have run since, across restarts: a device that lay in a drawer for years forgets
    nothing, and no clock that jumps makes a copy older.
    """
    day = 86_400.0
    outbox = Outbox(tmp_path / "outbox.db")
    for number in range(1, 10):
        seq = outbox.commit(event(number), STAMP, (number - 1) * day)
        outbox.delete([seq], (number - 1) * day + 1.0)
    assert asked(outbox, 1, 9, 8 * day + 2.0).gone == 1
    outbox.delete(list(range(1, 10)), 8 * day + 3.0)
    outbox.close()
    again = Outbox(tmp_path / "outbox.db")
    for hour in range(6 * 24):
        seq = again.commit(event(100 + hour), STAMP, 5e9 + hour * 3600.0)
        again.delete([seq], 5e9 + hour * 3600.0)
    assert asked(again, 2, 9, 5e9 + 6 * day).again == 8
    again.close()


def test_copies_take_bounded_room(tmp_path):
    """The oldest copies go first, and no event that waits goes for a copy."""
    outbox = Outbox(tmp_path / "outbox.db", copy_max_bytes=400_000)
    first = outbox.commit(event(1, text="waits"), STAMP, 0.0)
    for block in range(20):
        numbers = range(2 + block * 100, 102 + block * 100)
        found = outbox.commit_all([(event(number, text="x" * 100), STAMP) for number in numbers], 0.0)
        outbox.delete(found, 0.0)
    assert 500 < asked(outbox, 1002, 2001, 0.0).again < 1000
    assert asked(outbox, 1, 500, 0.0).waiting == 1
    assert first in seqs(outbox)
    outbox.close()


def test_while_the_hub_works_off_nothing_is_repeated(outbox):
    """As long as its acknowledgement rises every 10 s, what overtook waits for its turn; then it is sent again."""
    outbox.commit_all([(event(number), STAMP) for number in range(1, 5)], 0.0)
    outbox.mark_sent([1, 2, 3, 4], 0.0)
    outbox.broker_has([1, 2, 4], 0.0)
    outbox.hub_has(outbox.epoch, 1, 8.0)
    assert seqs(outbox, 9.9) == []
    outbox.hub_has(outbox.epoch, 2, 16.0)
    assert seqs(outbox, 17.9) == [3], "the broker has not answered for this one"
    assert seqs(outbox, 26.5) == [3, 4]


def test_while_the_hub_is_away_only_the_urgent_is_repeated(outbox):
    """What the broker has rests until the hub is back, then all of it is pending at once; a fall is repeated."""
    outbox.commit_all([(event(1), STAMP), (event(2, "fall.confirmed"), STAMP), (event(3), STAMP)], 0.0)
    outbox.mark_sent([1, 2, 3], 0.0)
    outbox.broker_has([1, 2], 1.0, hub_gone=True)
    assert seqs(outbox, 9.0) == []
    assert seqs(outbox, 1000.0) == [2, 3]
    outbox.mark_sent([2, 3], 1000.0)
    outbox.hub_returned(1000.0)
    assert seqs(outbox, 1000.0) == [2, 1], "3 is on its way"


def test_an_older_file_is_recognised_by_the_hubs_number(tmp_path):
    """A hub that has numbers the file does not know: its last commits were lost.  A new epoch begins, and every event
    that waits goes there under its name.
    """
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, owner="o")
    outbox.commit_all([(event(number), STAMP) for number in (1, 2)], 0.0)
    epoch = outbox.epoch
    assert not outbox.has_gone_back(epoch, 9), "nothing of it can be lost that was never closed"
    outbox.close()
    again = Outbox(path, owner="o")
    assert not again.has_gone_back(epoch, 2)
    assert again.has_gone_back(epoch, 3)
    again.begin_anew(0.0, "the hub knows numbers that the file does not know")
    assert again.epoch != epoch
    assert [row.number for row in again.pending(10, 0.0)] == [1, 2]
    assert not again.has_gone_back(again.epoch, 9)
    again.close()


def test_only_a_few_damaged_files_are_kept(tmp_path):
    """A card that eats files does not fill itself with their remains."""
    path = tmp_path / "outbox.db"
    for _ in range(6):
        path.write_bytes(b"no database" * 1000)
        Outbox(path).close()
    names = sorted(file.name for file in tmp_path.glob("outbox.db.damaged-*"))
    assert names == ["outbox.db.damaged-0004", "outbox.db.damaged-0005", "outbox.db.damaged-0006"]


def test_a_full_disk_refuses_and_recovers(tmp_path):
    """While nothing can be written each commit raises; what was committed stays; room again, it goes on."""
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.commit(event(1), STAMP, 0.0)
    assert outbox._db is not None
    outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with files_limited_to(4096):
        for now in range(5):
            with pytest.raises(OutboxError):
                outbox.commit(event(2), STAMP, now * 10.0)
    assert outbox.commit(event(2), STAMP, 100.0) > 1
    assert outbox.committed("s1", 100.0) == 2
    assert [row.number for row in outbox.pending(10, 100.0)] == [1, 2]
    outbox.close()


def test_a_full_disk_forgets_no_acknowledgement(tmp_path):
    """The hub's word that could not be written down counts as soon as there is room; nothing is half delivered."""
    outbox = Outbox(tmp_path / "outbox.db")
    outbox.commit_all([(event(number, "fall.confirmed"), STAMP) for number in range(1, 41)], 0.0)
    outbox.broker_has(list(range(1, 41)), 0.0)
    assert outbox._db is not None
    outbox._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with files_limited_to(2048), pytest.raises(OutboxError):
        outbox.hub_has(outbox.epoch, 30, 1.0)
    assert (outbox.waiting(2.0), outbox.low(2.0), outbox.delivered_high("s1", 2.0)) == (40, 1, 0)
    assert outbox.hub_has(outbox.epoch, 30, 3.0)
    assert (outbox.waiting(4.0), outbox.low(4.0), outbox.delivered_high("s1", 4.0)) == (10, 31, 30)
    outbox.close()


def test_a_directory_that_cannot_be_used_is_an_error_not_the_end(tmp_path):
    """An outbox without a place for its file raises at each use, and works once there is one."""
    (tmp_path / "state").write_text("in the way")
    outbox = Outbox(tmp_path / "state" / "outbox.db")
    for use in (outbox.waiting, outbox.head, lambda now: outbox.commit(event(1), STAMP, now)):
        with pytest.raises(OutboxError):
            use(10.0)
    (tmp_path / "state").unlink()
    assert outbox.commit(event(1), STAMP, 20.0) == 1
    outbox.close()


def test_ids_are_the_same_wherever_the_event_is_committed():
    """26 characters that depend on device, session and number only, and differ when one of these does."""
    assert event_id("home/a", "s1", 1) == event_id("home/a", "s1", 1)
    found = {
        event_id(owner, session, number) for owner in ("home/a", "home/b") for session in "st" for number in range(500)
    }
    assert len(found) == 2000
    assert all(len(name) == 26 and name.isalnum() for name in found)
