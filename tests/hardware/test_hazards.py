"""The page of hazards and limits: what it names exists, nothing that takes protection away is left out, nothing is
promised that is not so.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from retrowalk.config import Config, Walker
from retrowalk.core.dropoff import UNIT_M, look_ahead_m, protected_drop_speed_m_s
from retrowalk.core.fault_table import TABLE
from retrowalk.core.governor import protected_speed_m_s
from retrowalk.core.reach import LOWEST_M, usual_reach_m

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "hardware" / "hazards.md").read_text("utf-8")
COLUMNS = (
    "no",
    "hazard",
    "hazardous situation",
    "harm",
    "at first",
    "measures",
    "faults that bring it",
    "verified by",
    "what is left",
    "what the walker must do",
)
RISK = {
    "low": {"S1P1", "S1P2", "S2P1"},
    "medium": {"S1P3", "S2P2", "S3P1"},
    "high": {"S2P3", "S3P2", "S3P3"},
}
ORDER = {cell: rank for rank, level in enumerate(RISK) for cell in RISK[level]}
TURNED_ROUND = re.compile(r"\b(not|no|nobody|never|cannot|nor)\b", re.IGNORECASE)
CLAIM = re.compile(
    r"safety[- ](rated|certified|device|integrity)|medical (device|product)|protective (device|equipment)|fail[- ]?safe"
    r"|certified|guarantees?\b|completely safe|fully waterproof|IP(54|65|67)[- ]rated",
    re.IGNORECASE,
)


def table() -> list[dict[str, str]]:
    """The rows of residual risks."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    start = next(i for i, line in enumerate(lines) if line.startswith("| no |"))
    assert tuple(cell.strip() for cell in lines[start].strip("|").split("|")) == COLUMNS
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[start + 2 :]]
    assert all(len(row) == len(COLUMNS) for row in rows)
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


ROWS = table()


def claims(text: str) -> list[str]:
    """Sentences (or cells, or lines) that claim what this is not, without turning it round."""
    sentences = re.split(r"(?<=[.:;!?])\s|\n|\|", text)
    return [s.strip() for s in sentences if CLAIM.search(s) and not TURNED_ROUND.search(s)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["hazard"])
def test_what_verifies_a_measure_exists(row: dict[str, str]):
    """Each test, benchmark or script that is named is a file of this repository; what nobody verified says so"""
    places = re.findall(r"(?:tests|benchmarks|script)/[\w./-]+", row["verified by"])
    assert [place for place in places if not (ROOT / place).is_file()] == []
    assert places or "*not verified*" in row["verified by"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["hazard"])
def test_a_row_is_whole(row: dict[str, str]):
    """Both risks are in the page's scale, none grows by its measures, and what is only told gets no less severe"""
    first, left = row["at first"], row["what is left"]
    assert ORDER[left] <= ORDER[first]
    assert left[:2] <= first[:2]
    assert left[2:] <= first[2:]
    assert re.search(r"\b[DSI]: ", row["measures"])
    assert all(row[column] for column in COLUMNS if column != "faults that bring it")
    if not re.search(r"\b[DS]: ", row["measures"]):
        assert left[:2] == first[:2]


def test_rows_are_numbered_in_order():
    """So that others can name them"""
    assert [row["no"] for row in ROWS] == [str(number) for number in range(1, len(ROWS) + 1)]


def test_the_scale_is_complete():
    """Every pair of severity and probability has one risk, and the page says which"""
    assert ORDER.keys() == {f"S{s}P{p}" for s in (1, 2, 3) for p in (1, 2, 3)}
    assert "; ".join(f"{', '.join(sorted(cells))} {level}" for level, cells in RISK.items()) in PAGE


def listed() -> set[tuple[str, str]]:
    """Faults that stand in the table."""
    found = set()
    for row in ROWS:
        for group in filter(None, row["faults that bring it"].split("; ")):
            part, faults = group.split(": ")
            found |= {(part, fault) for fault in faults.split(", ")}
    return found


def takes_protection() -> set[tuple[str, str]]:
    """Faults after which the guard protects less, or something that protects is gone."""
    whole = ("everything", "every warning")
    return {
        (fault.part, fault.fault)
        for fault in TABLE
        if {"limited", "not_protecting"} & set(fault.state) or not fault.protects.startswith(whole)
    }


def test_no_loss_of_protection_is_left_out():
    """Every fault of the program's table that takes protection away stands in a row; no row names one that is none"""
    assert len(takes_protection()) > 50
    assert takes_protection() - listed() == set()
    assert listed() - {(fault.part, fault.fault) for fault in TABLE} == set()


def test_a_fault_that_is_forgotten_is_noticed():
    """The comparison is not empty"""
    assert ("guard", "silent") in takes_protection()
    assert ("led", "absent") not in takes_protection()
    assert takes_protection() - (listed() - {("drop", "reset")}) == {("drop", "reset")}


def test_the_numbers_are_those_of_the_program():
    """Speeds and distances in this page are what the settings give"""
    older, younger = (Config(walker=Walker(profile=age)) for age in ("older", "younger"))
    behind = [int(100 * protected_speed_m_s(usual_reach_m(c), c.walker, c.collision)) / 100 for c in (older, younger)]
    drops = [int(100 * protected_drop_speed_m_s(c)) / 100 for c in (older, younger)]
    assert f"| {behind[0]} m/s (older), {behind[1]} m/s (younger) |" in PAGE
    assert f"| {drops[0]} m/s (older), {drops[1]} m/s (younger) |" in PAGE
    assert f"below {drops[0]} m/s near kerbs" in PAGE
    assert PAGE.count(f"{look_ahead_m(older):.2f} m") == 2
    assert f"ends below about {LOWEST_M} m" in PAGE
    assert f"none under {100 * UNIT_M:.0f} cm" in PAGE


@pytest.mark.parametrize(
    "file", ["README.md", *sorted(str(f.relative_to(ROOT)) for f in (ROOT / "hardware").rglob("*.md"))]
)
def test_nothing_claims_what_it_is_not(file: str):
    """No medical or safety-rated device, no certificate, no guarantee"""
    assert claims((ROOT / file).read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("text", "is_claim"),
    [
        ("A safety-rated aid.", True),
        ("It is a medical device. It is not heavy.", True),
        ("It is not a medical device.", False),
        ("No part of it is certified.", False),
        ("This guarantees a safe walk.", True),
        ("A walk with somebody beside you.", False),
    ],
)
def test_a_claim_is_found(text: str, is_claim: bool):
    """The words are looked for, and a sentence that turns them round is none"""
    assert bool(claims(text)) is is_claim


def test_it_says_what_it_is_not():
    """In the first section, in plain words"""
    first = PAGE.split("## ")[1]
    for words in ("not a safety-rated device", "not a medical device", "Nothing here was measured on a built unit"):
        assert words in first


SUBJECTS = """batteries, heat and skin, cables, startle, hearing, falls onto it, rain, implants,
light and sound that you do not notice, electricity, cleaning, disposal"""


@pytest.mark.parametrize("subject", " ".join(SUBJECTS.split()).split(", "))
def test_every_subject_has_its_paragraph(subject: str):
    """What a maker looks up is there"""
    assert f"**{subject[0].upper()}{subject[1:]}.**" in PAGE
