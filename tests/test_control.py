"""The way to a guard that runs: who is asked, who is not, and one that does not answer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from retrowalk import wire
from retrowalk.control import connect
from retrowalk.errors import DeviceError
from retrowalk.platform import MonotonicClock, SocketMailbox

pytestmark = pytest.mark.process


def answer(guard: SocketMailbox, done: threading.Event) -> None:
    """What a guard says to `Examine`."""
    examined = wire.Examined("s1", "0.1.0", 1.0, "guarding", [], False, "")
    while not done.wait(0.01):
        while (data := guard.receive()) is not None:
            message = wire.decode_local(data)
            if isinstance(message, wire.Examine):
                guard.send(message.reply_to, wire.encode(examined))


def test_the_first_guard_that_answers_is_asked(tmp_path: Path) -> None:
    """Directories without a guard are passed over; the line is taken down at its end."""
    empty, there = tmp_path / "empty", tmp_path / "there"
    there.mkdir()
    guard = SocketMailbox(there, "guard")
    done = threading.Event()
    thread = threading.Thread(target=answer, args=(guard, done))
    thread.start()
    try:
        line = connect([empty, there], "doctor", MonotonicClock())
        assert line is not None
        assert line.examined is not None
        assert line.examined.guard_state == "guarding"
        line.close()
    finally:
        done.set()
        thread.join()
        guard.close()
    assert list(there.iterdir()) == []


def test_nobody_there(tmp_path: Path) -> None:
    """No directory, no socket."""
    assert connect([tmp_path, tmp_path / "none"], "doctor", MonotonicClock()) is None


def test_a_socket_left_by_a_guard_that_was_killed(tmp_path: Path) -> None:
    """A file without anybody behind it is no guard, and is found out at once."""
    guard = SocketMailbox(tmp_path, "guard")
    guard._socket.close()  # as the kernel does for a process that was killed: the file stays
    clock = MonotonicClock()
    assert connect([tmp_path], "doctor", clock) is None
    assert clock.now() < 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["guard.sock"]


def test_a_guard_that_hangs_is_no_absent_guard(tmp_path: Path) -> None:
    """Its mailbox takes the question and nothing comes: it still has its devices."""
    guard = SocketMailbox(tmp_path, "guard")
    with pytest.raises(DeviceError, match="does not answer"):
        connect([tmp_path], "doctor", MonotonicClock())
    guard.close()
    assert list(tmp_path.iterdir()) == []
