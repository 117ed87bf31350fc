"""The doctor's page: complete, and readable at 80 columns."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from tests.doctor.clinic import Clinic, PretendMachine, settings

from retrowalk.config import load
from retrowalk.doctor.examine import examine
from retrowalk.doctor.page import show
from retrowalk.doctor.report import SECTIONS, Check, Report, State, report


def shown(found: Report, width: int = 80) -> str:
    out = StringIO()
    show(Console(file=out, width=width, force_terminal=False), found)
    return out.getvalue()


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_word_is_on_the_page(tmp_path: Path, width: int) -> None:
    """Nothing is cut off, whatever the width of the terminal."""
    file = settings(tmp_path)
    clinic = Clinic(load(file), faults=["rear:off", "imu:off"], machine=PretendMachine(closed={"/dev/i2c-1"}))
    found = examine(file, clinic.ground, hands_on=False)
    page = shown(found, width)
    assert all(len(line) <= width for line in page.splitlines())
    words = set(flat(page).split())
    for check in found.checks:
        for word in f"{check.detail} {check.mend}".split():
            # A path longer than the column is broken over lines.
            assert word in words or len(word) > width // 3, (check.id, word)


def test_what_is_to_be_done_stands_below_what_was_found() -> None:
    """A line of its own that begins with an arrow."""
    page = shown(Report((Check("bus.speed", State.LOOK, "bus", "It runs at 100 kHz.", "Write a line"),)))
    lines = page.splitlines()
    at = next(number for number, line in enumerate(lines) if "100 kHz" in line)
    assert lines[at].split()[0] == "look"
    assert lines[at + 1].strip() == "> Write a line"


@pytest.mark.parametrize(
    ("states", "status", "words"),
    [
        pytest.param([State.OK], 0, "All is well.", id="well"),
        pytest.param([State.OK, State.LOOK], 1, "It works. Look at: part 1.", id="look"),
        pytest.param([State.BAD, State.LOOK], 2, "Mend first: part 0. Then look at: part 1.", id="bad"),
        pytest.param([], 0, "All is well.", id="nothing looked at"),
    ],
)
def test_it_ends_with_a_verdict(states: list[State], status: int, words: str) -> None:
    """The last line says whether to walk, and with what to begin; the exit status says the same."""
    found = Report(tuple(Check(f"bus.{n}", state, f"part {n}", "So.") for n, state in enumerate(states)))
    assert found.status == status
    assert flat(shown(found)).endswith(words)


def test_sections_come_in_order() -> None:
    """However the lines were found, they are shown from the settings to the person."""
    found = report(Check(f"{section}.x", State.OK, "x", "So.") for section in reversed(SECTIONS))
    assert [check.section for check in found.checks] == list(SECTIONS)
    assert [title for title, _ in found.sections()] == list(SECTIONS.values())
