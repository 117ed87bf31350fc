"""The fault matrix: its size, what a cell asserts, and that a device whose detector is put out fails it."""

from __future__ import annotations

import sys

import pytest
from tests.benchmarks.program import FOLDER, load

from retrowalk.config import Config
from retrowalk.core import fault_table
from retrowalk.sim.faults import KINDS
from retrowalk.voice import bank as banks


@pytest.fixture(scope="module")
def faults():
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        return load(FOLDER / "faults.py")
    finally:
        sys.path[:] = path


@pytest.fixture(scope="module")
def bank() -> banks.Bank:
    return banks.build(Config(), banks.default_directory())


def test_the_matrix_is_whole(faults):
    """Every part, way and phase is a cell; more than 400 are run, and the others for at most ten reasons"""
    assert set(faults.MATRIX) == set(faults.PARTS)
    assert all(set(ways) == set(faults.WAYS) for ways in faults.MATRIX.values())
    assert len(faults.CELLS) == len(faults.PARTS) * len(faults.WAYS) * len(faults.PHASES)
    skipped = [cell.injection for cell in faults.CELLS if isinstance(cell.injection, str)]
    assert len(faults.CELLS) - len(skipped) >= 400
    assert len(faults.NOT_RUN) <= 10
    assert set(skipped) == set(faults.NOT_RUN)


def test_what_is_injected_exists(faults):
    """Each kind is one that the twins have, each row one of the table"""
    for cell in faults.CELLS:
        injection = cell.injection
        if isinstance(injection, str):
            continue
        assert injection.row == ("", "") or injection.expected == fault_table.find(*injection.row)
        for text in injection.faults:
            part, kind = text.split(":")
            assert kind in KINDS[part]
        assert injection.faults or injection.hook or cell.part == "broker", str(cell)


def test_the_numbers_are_those_of_the_cells(faults):
    """Failed cells, cells that pass blind and cells that were not run are counted; times are of those that began"""
    cells = [faults.Cell("rear", "off", phase) for phase in ("guarding", "caution", "stopping")]
    found = [
        faults.Found(cells[0], [], detect_s=0.5, spoken_s=0.6),
        faults.Found(cells[1], ["named too late"], detect_s=0.7, spoken_s=3.0),
        faults.Found(cells[2], [], reason="no walk"),
    ]
    rows = {(row.metric, row.case): row for row in faults.rows_of(found, [faults.Found(cells[0], [])])}
    assert rows["cells_run", "all"].value == 2
    assert (rows["cells_failed", "all"].value, rows["cells_failed", "all"].met) == (1, False)
    assert (rows["blind_cells_passed", "all"].value, rows["blind_cells_passed", "all"].met) == (1, False)
    assert rows["detect_s", "max rear, all phases"].value == 0.7
    assert rows["spoken_s", "p50 rear, all phases"].value == 1.8


def test_a_fault_that_is_never_heard_counts_as_late(faults):
    """Times at instants drawn by chance are held to the goal of their class, and silence counts as late"""
    on_time = faults.Found(faults.Cell("rear", "off", "guarding"), [], detect_s=0.5, spoken_s=0.6)
    frozen = faults.Found(faults.Cell("rear", "wrong", "guarding"), [], detect_s=2.4, spoken_s=2.5)
    silent = faults.Found(faults.Cell("rear", "stuck", "guarding"), ["not heard"])
    rows = {(row.metric, row.case): row for row in faults.rows_of_instants([on_time, silent, frozen])}
    assert rows["spoken_s", "p50 rear gone"].value == 0.6
    assert (rows["spoken_s", "max rear gone"].value, rows["spoken_s", "max rear gone"].met) == (8.0, False)
    assert (rows["spoken_s", "max rear frozen"].goal, rows["spoken_s", "max rear frozen"].met) == ("<= 3", True)


def test_the_table_shows_what_failed(faults):
    """A failed cell stands out, one that was not run has a letter with its reason"""
    cells = [faults.Cell("rear", "off", phase) for phase in ("guarding", "caution", "stopping")]
    found = [
        faults.Found(cells[0], [], spoken_s=0.61),
        faults.Found(cells[1], ["x"]),
        faults.Found(cells[2], [], reason="no walk"),
    ]
    letter = chr(ord("a") + list(faults.NOT_RUN).index("no walk"))
    text = faults.evidence(found, 1)
    assert f"| rear | off |  | 0.61 | **failed** |  |  |  | {letter} |" in text
    assert f"- {letter}: {faults.NOT_RUN['no walk']}" in text


SAMPLE = ("lidar:stuck:warning", "imu:garbage:warning", "sound:off:guarding", "process:off:caution")


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_a_cell_passes_and_fails_blind(faults, bank, name):
    """The device says what must be said; with its detector put out the same cell fails"""
    cell = faults.Cell(*name.split(":"))
    assert faults.lived(cell, 1, bank).problems == []
    assert faults.lived(cell, 1, bank, blind=True).problems != []
