"""Events that outlive the guard: mapped memory in the run directory."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pytest

from retrowalk import wire
from retrowalk.guard.pending import _HEADER_BYTES, FILE, HALF_BYTES, Pending


def event(number: int, *, size: int = 0) -> wire.EventMessage:
    return wire.EventMessage("s1", number, "guard.changed", "low", 1.0, float(number), None, {"x": "." * size})


def encoded(number: int, *, size: int = 0) -> bytes:
    return wire.encode(event(number, size=size))


def numbers(pending: Pending) -> list[int]:
    return [message.number for message in pending.read()]


def test_what_was_added_is_there_for_the_next(tmp_path):
    """Events are read back as they were, oldest first, without anybody having closed the file"""
    first = Pending(tmp_path)
    assert all(first.add(encoded(number)) for number in (1, 2, 3))
    assert Pending(tmp_path).read() == [event(1), event(2), event(3)]


def test_the_next_goes_on_behind_them(tmp_path):
    """A second guard's events stand behind those of the first"""
    Pending(tmp_path).add(encoded(1))
    second = Pending(tmp_path)
    second.add(encoded(2))
    assert numbers(Pending(tmp_path)) == [1, 2]


def test_nothing_is_left_of_what_was_cleared(tmp_path):
    """Once all is confirmed, nothing is handed over again"""
    pending = Pending(tmp_path)
    for number in range(1, 50):
        pending.add(encoded(number))
    pending.clear()
    assert numbers(Pending(tmp_path)) == []
    pending.add(encoded(50))
    assert numbers(Pending(tmp_path)) == [50], "no old one shows behind it"


def test_a_full_half_says_so_and_makes_room(tmp_path):
    """Without room `add` says no; `replace` keeps what waits, and there is room again"""
    pending = Pending(tmp_path)
    number = 1
    while pending.add(encoded(number, size=500)):
        number += 1
    assert number > 300
    pending.replace([encoded(waiting, size=500) for waiting in range(number - 5, number + 1)])
    assert numbers(Pending(tmp_path)) == list(range(number - 5, number + 1))
    assert pending.add(encoded(number + 1))
    assert numbers(Pending(tmp_path))[-1] == number + 1


def test_of_too_many_the_latest_stay(tmp_path):
    """What has no room at all are the oldest"""
    pending = Pending(tmp_path)
    pending.replace([encoded(number, size=1000) for number in range(1, 1000)])
    left = numbers(Pending(tmp_path))
    assert left == list(range(left[0], 1000))
    assert len(left) > 100
    assert pending.add(encoded(1000, size=1000))


def test_an_event_larger_than_all_room_stops_nothing(tmp_path):
    """It is not kept; the others are"""
    pending = Pending(tmp_path)
    assert not pending.add(b"x" * HALF_BYTES)
    pending.replace([b"x" * HALF_BYTES])
    assert pending.add(encoded(2))
    assert numbers(Pending(tmp_path)) == [2]


@pytest.mark.parametrize("seed", range(20))
def test_torn_content_costs_only_what_is_behind(tmp_path, seed):
    """A byte that is wrong hides what stands at it and behind it, and never makes an event that was none"""
    rng = random.Random(seed)
    pending = Pending(tmp_path)
    for number in range(1, 40):
        pending.add(encoded(number))
    content = bytearray((tmp_path / FILE).read_bytes())
    end = _HEADER_BYTES + 39 * (len(encoded(10)) + 8)
    content[rng.randrange(_HEADER_BYTES, end)] ^= 1 << rng.randrange(8)
    (tmp_path / FILE).write_bytes(content)
    left = Pending(tmp_path).read()
    assert left == [event(number) for number in range(1, len(left) + 1)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff" * 100, id="short"),
        pytest.param(b"\xff" * (_HEADER_BYTES + 2 * HALF_BYTES), id="foreign"),
    ],
)
def test_a_file_that_is_none_of_ours_is_made_anew(tmp_path, content):
    """Whatever lies there, the guard starts, and keeps its events"""
    (tmp_path / FILE).write_bytes(content)
    pending = Pending(tmp_path)
    assert pending.read() == []
    pending.add(encoded(1))
    assert numbers(Pending(tmp_path)) == [1]


WRITER = """
import os, sys
from retrowalk.guard.pending import Pending
from retrowalk import wire
pending = Pending(sys.argv[1])
number = 0
while True:
    number += 1
    data = wire.encode(wire.EventMessage("s1", number, "guard.changed", "low", 1.0, float(number), None, {}))
    if not pending.add(data):
        pending.replace([data])
    os.write(1, b"%d\\n" % number)
"""


@pytest.mark.process
def test_no_kill_takes_what_was_added(tmp_path):
    """After kill -9 at random instants everything that was added last is there, whole and in order"""
    rng = random.Random(1)
    for _ in range(5):
        (tmp_path / FILE).unlink(missing_ok=True)
        told = tmp_path / "told"
        with told.open("wb") as file:
            writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=file)
        until = time.monotonic() + 20.0
        while not told.stat().st_size and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.05, 0.4))
        writer.send_signal(signal.SIGKILL)
        writer.wait(5.0)
        said = int(told.read_bytes().rpartition(b"\n")[0].splitlines()[-1])
        found = numbers(Pending(tmp_path))
        assert found == list(range(found[0], found[-1] + 1))
        assert found[-1] >= said
