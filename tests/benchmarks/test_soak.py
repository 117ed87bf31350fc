"""The judgement of `benchmarks/soak.py`: a device that grows is seen to grow, by what grows."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter

import pytest
from tests.benchmarks.program import FOLDER, load

from retrowalk.config import Config
from retrowalk.sim.scenarios import Published
from retrowalk.voice import bank as banks


@pytest.fixture(scope="module")
def soak():
    """The program as a module, its neighbours within reach."""
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield load(FOLDER / "soak.py")
    finally:
        sys.path[:] = path


def samples(per_h: float, count: int = 40, every_s: float = 100.0, jitter: float = 0.0):
    """A straight line of so many units an hour, and every other sample off it by `jitter`."""
    return [(i * every_s, 5.0 + per_h * i * every_s / 3600.0 + (jitter if i % 2 else 0.0)) for i in range(count)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(samples(2.0), 2.0, id="a line"),
        pytest.param(samples(0.0), 0.0, id="flat"),
        pytest.param([*samples(2.0)[:-1], (3900.0, 500.0)], 2.0, id="one wild sample"),
    ],
)
def test_the_slope_is_the_median_of_all_pairs(soak, given, expected):
    """Units an hour, whatever a single sample says, and inside its own interval"""
    found = soak.slope(given)
    assert found.per_h == pytest.approx(expected, abs=0.01)
    assert found.low <= found.per_h <= found.high


def test_a_noisy_slope_has_a_wide_interval(soak):
    """What jitters is known less well"""
    quiet, noisy = soak.slope(samples(2.0)), soak.slope(samples(2.0, jitter=3.0))
    assert noisy.high - noisy.low > quiet.high - quiet.low


@pytest.mark.parametrize(
    "given", [pytest.param([(0.0, 1.0), (1.0, 1.0)], id="two"), pytest.param([(1.0, 1.0)] * 9, id="one time")]
)
def test_too_few_samples_are_refused(soak, given):
    """No slope is made up"""
    with pytest.raises(ValueError, match="too few"):
        soak.slope(given)


def test_what_holds_more_weighs_more(soak):
    """Objects are counted once, however often they are held, and by all that they hold"""
    piece = bytearray(100_000)
    assert soak.held_bytes([[piece, piece]]) - soak.held_bytes([[]]) == pytest.approx(100_000, abs=500)


def test_a_process_that_opens_and_starts_is_seen_to(soak, tmp_path):
    """An open file and a thread are one more of each, and memory that is used is more memory"""
    series, stop = soak.Series(), threading.Event()
    soak.look(os.getpid(), 0.0, series)
    used = bytearray(os.urandom(1 << 20) * 16)
    thread = threading.Thread(target=stop.wait)
    thread.start()
    with open(tmp_path / "file", "wb"):
        soak.look(os.getpid(), 10.0, series)
    stop.set()
    thread.join()
    assert series.files[1][1] - series.files[0][1] == 1.0
    assert series.threads[1][1] - series.threads[0][1] == 1.0
    assert series.pss_bytes[1][1] - series.pss_bytes[0][1] > len(used) / 2
    assert series.own_bytes[1][1] - series.own_bytes[0][1] > len(used) / 2


def grown(soak, **more: float):
    """What real processes of an hour come to whose guard has so much more of something each hour."""
    found = soak.Real(3600.0, {name: soak.Series() for name in soak.PROCESSES})
    for name, series in found.series.items():
        mine = Counter(more) if name == "guard" else Counter()
        for t_s in range(10, 3610, 10):
            memory = 30e6 + mine["mb"] * 1e6 * t_s / 3600.0
            series.pss_bytes.append((t_s, memory))
            series.own_bytes.append((t_s, memory))
            series.files.append((t_s, 10.0 + int(mine["files"] * t_s / 3600.0)))
            series.threads.append((t_s, 3.0 + int(mine["threads"] * t_s / 3600.0)))
    return {(row.metric, row.case.rpartition(" ")[2]): row for row in soak.real_rows(found)}


@pytest.mark.parametrize(
    ("more", "metric"),
    [
        pytest.param({"mb": 1.5}, "memory_mb_per_h", id="memory"),
        pytest.param({"files": 4.0}, "files_grown", id="a file a quarter of an hour"),
        pytest.param({"threads": 4.0}, "threads_grown", id="a thread a quarter of an hour"),
    ],
)
def test_a_process_that_leaks_misses_its_goal(soak, more, metric):
    """What leaks is told of the process that does, and of no other"""
    assert grown(soak)[metric, "guard"].met
    found = grown(soak, **more)
    assert not found[metric, "guard"].met
    assert found[metric, "voice"].met


def test_a_log_with_an_exception_is_told(soak):
    """A traceback in the log is an exception, an ordinary line is none"""
    assert soak.exceptions_in("guard: started\nTraceback (most recent call last):\n") != []
    assert soak.exceptions_in("guard: started\nrear: lost, no echo\n") == []


def message(number: int, data: dict[str, object]) -> Published:
    event = {"id": f"e-{number}", "eventtype": "walk.ended", "monoms": number * 1000, "data": data}
    return Published(float(number), "retrowalk/v1/home/rw/event/walk.ended", event)


def test_a_total_that_a_clock_has_changed_is_told(soak):
    """Equal walks have equal totals; one second more is a difference, and what came twice is none"""
    first = soak.told([message(1, {"duration_s": 60.0}), message(1, {"duration_s": 60.0})])
    other = soak.told([message(1, {"duration_s": 61.0})])
    assert soak.differences(first, first) == 0
    assert soak.differences(first, other) == 2
    assert soak.differences(first, []) == 1


def test_every_jump_of_the_clock_is_told_once(soak):
    """One that is not told counts, one of another size, one that nobody made; a small one need not be told"""
    plan = [(100.0, 3600.0), (400.0, -60.0), (700.0, 1.0), (3999.0, 3600.0)]

    def changed(*pairs):
        return [(t_s, json.dumps({"detail": words})) for t_s, words in pairs]

    right = changed((100.6, "set forward by 3600 s"), (400.9, "set back by 60 s"))
    assert soak.unexplained(right, plan, 3995.0) == 0
    assert soak.unexplained(right[:1], plan, 3995.0) == 1
    assert soak.unexplained(changed((100.6, "set forward by 3600 s"), (400.9, "set back by 61 s")), plan, 3995.0) == 2
    assert soak.unexplained([*right, *changed((900.0, "set forward by 5 s"))], plan, 3995.0) == 1


def segment(soak, seed: int, hours: float):
    held = [(60.0 * i, 1e6) for i in range(20)]
    return soak.Segment(seed, hours, held, [], 0, 10, 3, 100.0, 1000)


def test_virtual_days_go_on_where_they_were(soak, tmp_path, monkeypatch):
    """Segments that stand in the file are not lived again"""
    lived = []

    def one(seed: int, hours: float, bank: object):
        lived.append(seed)
        return segment(soak, seed, hours)

    monkeypatch.setattr(soak, "one_segment", one)
    monkeypatch.setattr(banks, "build", lambda *_: None)
    state = tmp_path / "days.jsonl"
    soak.virtual(6.0, 1, state, lambda _: None)
    done = soak.virtual(18.0, 1, state, lambda _: None)
    assert lived == [1001, 1002, 1003]
    assert sum(each.hours for each in done) == 18.0


@pytest.mark.slow
def test_an_object_a_sample_is_seen(soak, monkeypatch):
    """A Companion that keeps every item grows in memory by the hour, and one that does not misses no goal"""
    from retrowalk.core.companion import Companion

    bank = banks.build(Config(), banks.default_directory())
    feed, kept = Companion.feed, []

    def keeping(self, item):
        kept.append(item)
        self.__dict__["_kept_for_ever"] = kept
        return feed(self, item)

    slopes = []
    for leaks in (False, True):
        if leaks:
            monkeypatch.setattr(Companion, "feed", keeping)
        held: list[tuple[float, float]] = []
        walk, ended = soak.one_walk(1, 60.0, bank, (), held)
        walk.close()
        assert ended == ""
        slopes.append(soak.slope([entry for entry in held if entry[0] >= 30.0]))
    # Five samples are too few for an interval; 150 objects a second are some 100 MB an hour.
    assert slopes[1].per_h - slopes[0].per_h > 50.0 * soak.MB
