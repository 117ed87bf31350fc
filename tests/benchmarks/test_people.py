"""The judgement of `benchmarks/people.py`: its yardstick on steps that are known, its draw, its verdicts."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.program import FOLDER, load

PROGRAM = FOLDER / "people.py"
G = 9.80665


@pytest.fixture(scope="module")
def people():
    """The program as a module."""
    return load(PROGRAM)


def trial(people, activity="D01", number=1, is_fall=False, duration_s=100.0, impact_s=math.nan, steps=0):
    name = f"{activity}_SA01_R{number:02}"
    walk_s = (0.0, duration_s)
    return people.Trial(Path("SA01.npz"), name, activity, is_fall, duration_s, impact_s, walk_s, steps)


# -------------------------------------------------------------------------------------------------- the yardstick


@pytest.mark.parametrize("hz", [1.1, 1.6, 2.3])
def test_the_yardstick_knows_known_steps(people, hz):
    """40 s of walking between two rests, on a tilted sensor: steps to within 3 %"""
    t = np.arange(0.0, 60.0, 0.01)
    walking = (t > 10.0) & (t < 50.0)
    up = np.array([0.6, 0.0, 0.8])
    noise = np.random.default_rng(1).normal(0.0, 0.05, (len(t), 3))
    bounce = walking * (2.0 * np.sin(2 * np.pi * hz * t) + 0.5 * np.sin(np.pi * hz * t))
    vertical = people.vertical_accel(up * (G + bounce)[:, None] + noise, 100.0)
    assert people.cadence_hz(vertical, 100.0) == pytest.approx(hz, rel=0.01)
    assert people.walking_s(vertical, 100.0) == pytest.approx(40.0, abs=2.0)
    steps = people.cadence_hz(vertical, 100.0) * people.walking_s(vertical, 100.0)
    assert steps == pytest.approx(40.0 * hz, rel=0.05)


def test_nobody_walks_who_stands(people):
    """Noise alone is no walking time"""
    noise = np.random.default_rng(1).normal(0.0, 0.05, 6000)
    assert people.walking_s(noise, 100.0) == 0.0


# ------------------------------------------------------------------------------------------------------- the draw


def test_a_draw_is_even_and_its_seed_gives_it_again(people):
    """As many of each activity as they go, whatever their numbers; the seed alone decides which"""
    every = [trial(people, code, i, code[0] == "F") for code in ("F01", "F02", "D01", "D07") for i in range(40)]
    every += [trial(people, "D02", i) for i in range(3)]
    chosen = people.drawn(every, (11, 10, 4), 7)
    counts = Counter(t.activity for t in chosen)
    assert sorted((counts["F01"], counts["F02"])) == [5, 6]
    assert (counts["D01"], counts["D02"], counts["D07"]) == (7, 3, 4)
    assert chosen == people.drawn(every, (11, 10, 4), 7) != people.drawn(every, (11, 10, 4), 8)


# ----------------------------------------------------------------------------------------------------- the verdict


def test_the_table_counts_what_it_says(people):
    """Falls found, walks alarmed, others alarmed; the goals are judged on all of them"""

    def result(of, confirmed=False, found=False, steps=0, spectral=0.0):
        return people.Result(of, confirmed, found, 2.0 if found else math.inf, steps, spectral)

    falls = [result(trial(people, "F01", i, True), i < 9, i < 8) for i in range(10)]  # one alarm came too early
    walks = [result(trial(people, "D01", 1), steps=99, spectral=100.0), result(trial(people, "D18", 2), True)]
    walks += [result(trial(people, "D02", 3), steps=206, spectral=200.0)]
    others = [result(trial(people, "D07", i, duration_s=1800.0), i == 0) for i in range(4)]
    table = {(row.metric, row.case): row for row in people.rows([*falls, *walks, *others], False)}
    assert (table["falls_confirmed_percent", "all falls"].value, table["falls_confirmed_percent", "all falls"].met) == (
        80.0,
        False,
    )
    assert (table["walks_alarmed", "all walks"].value, table["walks_alarmed", "all walks"].met) == (1, False)
    assert table["walks_alarmed", "stumbles"].value == 1
    assert table["adl_alarmed_percent", "other activities"].value == 25.0
    assert table["adl_alarms_per_h", "other activities"].value == 0.5
    assert table["steps_error_percent", "mean walking"].value == pytest.approx(2.0)
    assert table["steps_error_percent", "pooled walking"].value == pytest.approx(100 * 5 / 300)
    assert table["steps_error_percent", "pooled walking"].met is True


def test_the_speeds_table_counts_what_it_says(people):
    """Root mean square, bias and ninetieth of all ways' errors; without any, no row"""
    walks = [people.Result(trial(people, "gait_l5", i), False, False, 1.0, 0, 0.0, (0.1, -0.2)) for i in range(3)]
    table = {row.case: row for row in people.speed_rows(walks)}
    assert table["rmse gait_l5"].value == pytest.approx(math.sqrt(0.025))
    assert table["mean gait_l5"].value == pytest.approx(-0.05)
    assert table["p90 gait_l5"].value == pytest.approx(0.2)
    assert table["p90 gait_l5"].n == 6
    assert people.speed_rows([people.Result(trial(people, "F01"), False, False, 1.0, 0, 0.0)]) == []


@pytest.mark.parametrize(
    ("hits", "n", "interval"),
    [
        pytest.param(0, 10, (0.0, 27.75), id="none"),
        pytest.param(5, 10, (23.66, 76.34), id="half"),
        pytest.param(10, 10, (72.25, 100.0), id="all"),
    ],
)
def test_wilson_interval(people, hits, n, interval):
    """The published example values of the interval"""
    assert people.wilson_percent(hits, n) == pytest.approx(interval, abs=0.01)


# ----------------------------------------------------------------------------------------------------- the program


@pytest.mark.process
def test_without_data_it_says_what_to_set(tmp_path):
    """No data, no numbers: one plain line and exit status 2"""
    done = subprocess.run(
        [sys.executable, PROGRAM, "--quick"],
        env={"RETROWALK_DATA": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "set RETROWALK_DATA" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_sets_are_read(people, recorded_data):
    """Every development trial of both sets, with its label; no subject that is reserved"""
    every = people.trials(recorded_data)
    assert Counter(t.kind for t in every) == {"fall": 900, "walk": 358, "other": 1115}
    assert all(math.isfinite(t.impact_s) for t in every if t.is_fall)
    with (recorded_data / "sisfall" / "trials.csv").open(newline="") as file:
        assert all(int(row["subject"][2:]) % 2 for row in csv.DictReader(file))
