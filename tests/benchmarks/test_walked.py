"""The judgement of `benchmarks/walked.py`: known ways, a pendulum that is one, and real people who calibrate first."""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.program import FOLDER, load

from retrowalk.core.walked import Totals, own_step


@pytest.fixture(scope="module")
def walked():
    """The program as a module, its neighbours within reach."""
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield load(FOLDER / "walked.py")
    finally:
        sys.path[:] = path


def stretch(walked, steps: int, roots: float, distance_m: float = 10.0):
    found = Totals(steps, 8.0, 0.5 * steps, roots)
    return walked.Stretch("P", "T", distance_m, 10.0, 20.0, found, 5.0, own_step(found, distance_m))


def test_calibrated_with_itself_every_rule_is_right(walked):
    """The way that a rule was calibrated with is as long as it was"""
    one = stretch(walked, 20, 14.0)
    assert all(walked.told_m(one, rule, [one], 0.57) == pytest.approx(10.0) for rule in walked.RULES)


def test_errors_are_what_they_are_called(walked):
    """9 m of 10, in 20 steps and 10 s: 0.1 m/s, 5 cm and 10 % too little"""
    judged = [(stretch(walked, 20, 14.0), 9.0)]
    got = {kind: float(walked.errors(judged, kind)[0]) for kind in walked.METRICS}
    assert got == pytest.approx({"speed": -0.1, "step": -0.05, "distance": -10.0})


def test_the_high_pass_keeps_steps_and_drops_drift(walked):
    """1.5 Hz passes, a slope does not"""
    t = np.arange(0.0, 60.0, 0.01)
    assert np.ptp(walked.high_passed(np.sin(2 * math.pi * 1.5 * t), 0.01)[3000:]) == pytest.approx(2.0, rel=0.05)
    assert abs(walked.high_passed(t, 0.01)[-1]) < 0.05


@pytest.mark.slow
def test_a_first_walk_calibrates_the_others(walked, recorded_data: Path):
    """Ten people, five walks of 20 m each, by their first one: distance within 10 % and speed within 0.08 m/s"""
    rows = walked.measure(Namespace(data=recorded_data, seed=1, quick=False))
    got = {(row.metric, row.subject, row.case): row.value for row in rows}
    assert got["distance_error_percent", "retrowalk", "rms forward, calibrated"] < 10.0
    assert got["walking_speed_error_m_s", "retrowalk", "rms forward, calibrated"] < 0.08
    assert got["distance_error_percent", "retrowalk", "rms backward, calibrated"] < 15.0
    assert got["distance_error_percent", "retrowalk", "rms backward, not calibrated"] < 40.0
