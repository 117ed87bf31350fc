"""The judgement of `benchmarks/ladder.py`: the desk agrees with the rules, and one that breaks a rule is found out."""

from __future__ import annotations

import sys
from argparse import Namespace

import pytest
from tests.benchmarks.program import FOLDER, load


@pytest.fixture(scope="module")
def ladder():
    """The program as a module, its neighbours within reach."""
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield load(FOLDER / "ladder.py")
    finally:
        sys.path[:] = path


def sent(ladder, at: float, contact: str = "Anna", why: str = "repeat"):
    return ladder.Sent(at, contact, "fall", why, "high", False)


@pytest.mark.parametrize(
    ("desk", "missing", "extra", "late"),
    [
        pytest.param([60.0], 0, 0, 0, id="as it should be"),
        pytest.param([60.04], 0, 0, 0, id="no later than can be told"),
        pytest.param([62.0], 0, 0, 1, id="late"),
        pytest.param([], 1, 0, 0, id="not told"),
        pytest.param([120.0], 1, 1, 0, id="at another time"),
        pytest.param([60.0, 60.0], 0, 1, 0, id="told twice"),
    ],
)
def test_messages_are_compared_one_by_one(ladder, desk, missing, extra, late):
    """Nothing is used twice, and only what is near counts as late"""
    found = ladder.compared([sent(ladder, 60.0)], [sent(ladder, at) for at in desk])
    assert (found.missing, found.extra, found.late) == (missing, extra, late)


def test_another_person_is_another_message(ladder):
    """What Ben hears does not stand for what Anna should have heard"""
    found = ladder.compared([sent(ladder, 60.0, "Anna")], [sent(ladder, 60.0, "Ben")])
    assert (found.missing, found.extra) == (1, 1)


def test_days_are_full_of_trouble(ladder):
    """Within a few families everything occurs that the rules speak of"""
    rules = [one for number in range(25) for one in ladder.expected(ladder.family(number))[0]]
    kinds = {(one.kind, one.why) for one in rules}
    whys = {"alarm", "escalated", "repeat", "answered", "reminder", "all_clear"}
    assert {("fall", why) for why in whys | {"possible", "update"}} <= kinds
    assert {("silent", why) for why in whys | {"possible"}} <= kinds
    assert {("sos", why) for why in whys} <= kinds
    assert any(one.urgent for one in rules)


@pytest.mark.slow
def test_the_desk_agrees_with_the_rules(ladder):
    """A few families, to the message"""
    for number in range(40):
        day = ladder.family(number)
        rules, answers = ladder.expected(day)
        assert ladder.compared(rules, ladder.heard_from(day, answers)).wrong() == 0


@pytest.mark.slow
def test_every_broken_desk_is_told_from_a_whole_one(ladder):
    """60 families: no deviation, and each of the broken rules is found"""
    rows = ladder.measure(Namespace(families=0, quick=True, full=False, seed=7, json=True))
    got = {(row.metric, row.subject): row.value for row in rows}
    assert [got[f"notices_{name}", "retrowalk"] for name in ("missing", "extra", "late")] == [0, 0, 0]
    assert got["broken_desks_caught", "retrowalk"] == len(ladder.BROKEN)
