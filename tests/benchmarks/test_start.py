"""The measurement of starts: what it sums and scales."""

from __future__ import annotations

import sys

import pytest
from tests.benchmarks.program import FOLDER, load


@pytest.fixture(scope="module")
def start():
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        return load(FOLDER / "start.py")
    finally:
        sys.path[:] = path


def test_memory_is_judged_as_the_sum(start):
    """Three processes that are each small may together be too much."""
    rows = start.memory_rows({"guard": 40.0, "voice": 40.0, "courier": 31.0}, "at the end")
    assert [(row.value, row.met) for row in rows] == [(40.0, None), (40.0, None), (31.0, None), (111.0, False)]


def test_only_computing_is_slower_on_a_slower_machine(start):
    """The pause and the sensors take as long there as here."""
    assert start.zero2w_s(0.2, 0.3, 15.0) == pytest.approx(start.PAUSE_S + 3.0 + 0.3)


def test_imports_are_timed_inside_a_fresh_interpreter(start):
    """What sleeps a tenth of a second is measured as a tenth of a second, without the interpreter's start."""
    (took_s,) = start.imports("time.sleep(0.1)", 1)
    assert 0.1 <= took_s < 1.0


def test_the_pause_is_that_of_the_unit(start):
    """RestartSec of the guard's unit is what the estimate adds."""
    unit = (FOLDER.parent / "systemd" / "retrowalk-guard.service").read_text()
    assert f"RestartSec={start.PAUSE_S:g}\n" in unit
