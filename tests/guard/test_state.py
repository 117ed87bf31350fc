"""The state that survives the guard's own death."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrowalk import wire
from retrowalk.core.samples import SavedState
from retrowalk.guard.state import Kept, StateFile, StateSaver, pack, unpack

STATE = SavedState(t_saved_s=12.0, guard_state="guarding", guarding_since_s=3.0, countdown_left_s=21.5)
EVENT = wire.EventMessage("s1", 4, "fall.suspected", "medium", 1.0, 101.0, 7, {"fall": 1})


def kept(count: int, state: SavedState | None = STATE) -> Kept:
    return Kept(count, "s1", "boot-1", 100.0, 1_767_225_600.0, state, [EVENT])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """State and unconfirmed events come back exactly."""
    StateFile(tmp_path).write(kept(1))
    assert StateFile(tmp_path).read() == kept(1)


def test_newest_whole_slot_holds(tmp_path: Path) -> None:
    """A write that was cut short leaves the one before it in force."""
    file = StateFile(tmp_path)
    file.write(kept(1))
    file.write(kept(2))
    newest = tmp_path / "state-a"
    newest.write_bytes(newest.read_bytes()[:-7])
    assert file.read() == kept(1)


def test_nothing_kept_is_nothing(tmp_path: Path) -> None:
    """An empty run directory is a first start."""
    assert StateFile(tmp_path).read() is None


@settings(max_examples=200)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_damaged_slot_is_never_believed(at: int, value: int) -> None:
    """One wrong byte anywhere is noticed."""
    content = bytearray(pack(kept(1)))
    at %= len(content)
    if content[at] == value:
        value ^= 1
    content[at] = value
    assert unpack(bytes(content)) is None


@pytest.mark.parametrize(
    ("boot_id", "mono_s", "wall_s", "expected_s"),
    [
        pytest.param("boot-1", 104.5, 0.0, 4.5, id="same boot: the monotonic clock"),
        pytest.param("boot-2", 3.0, 1_767_225_660.0, 60.0, id="another boot: the wall clock"),
        pytest.param("boot-2", 3.0, 0.0, 0.0, id="a wall clock that went back: never negative"),
    ],
)
def test_elapsed_time(boot_id: str, mono_s: float, wall_s: float, expected_s: float) -> None:
    """Time between save and restart is taken from the clock that can know it."""
    assert kept(1).elapsed_s(boot_id, mono_s, wall_s) == expected_s


def test_a_write_that_does_not_come_back_is_named_and_over_when_it_does(tmp_path: Path) -> None:
    """What hangs keeps nothing; nobody waits for it, and it is well again when it comes back."""

    class Hanging(StateFile):
        def __init__(self) -> None:
            super().__init__(tmp_path)
            self.began, self.goes_on = threading.Event(), threading.Event()

        def write(self, kept: Kept) -> None:
            self.began.set()
            assert self.goes_on.wait(30.0)
            super().write(kept)

    file = Hanging()
    saver = StateSaver(file)
    assert saver.problem(0.0) == ""
    saver.save(kept(1))
    assert file.began.wait(30.0)
    assert [saver.problem(now) for now in (10.0, 11.9)] == ["", ""]
    assert "has not come back" in saver.problem(12.0)
    file.goes_on.set()
    saver.close()
    assert saver.problem(13.0) == ""
    assert StateFile(tmp_path).read() == kept(1)


def test_saver_writes_the_latest(tmp_path: Path) -> None:
    """However fast states come, the last one is on file after closing."""
    saver = StateSaver(StateFile(tmp_path))
    for count in range(1, 50):
        saver.save(kept(count))
    saver.close()
    found = StateFile(tmp_path).read()
    assert found is not None
    assert found.count == 49
