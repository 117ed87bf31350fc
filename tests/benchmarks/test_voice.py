"""`benchmarks/voice.py` and `benchmarks/voice_faults.py`: what they see in a card's record, and that they run."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from tests.benchmarks.program import FOLDER, load

RATE_HZ = 48_000


@pytest.fixture(scope="module")
def voice():
    """The program as a module, its neighbours within reach."""
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield load(FOLDER / "voice.py")
    finally:
        sys.path[:] = path


@pytest.fixture(scope="module")
def voice_faults():
    """The program as a module, its neighbours within reach."""
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield load(FOLDER / "voice_faults.py")
    finally:
        sys.path[:] = path


def tone(seconds: float, every: int) -> np.ndarray:
    """A tone whose like comes again every so many frames."""
    return np.round(9000 * np.sin(2 * np.pi * np.arange(round(seconds * RATE_HZ)) / every)).astype("<i2")


def pulse() -> np.ndarray:
    """As a warning begins: 80 ms of tone, then silence."""
    return np.concatenate([tone(0.08, 48), np.zeros(round(0.02 * RATE_HZ), "<i2")])


def test_a_sound_begins_where_the_card_says_so(voice):
    """Above 64, after 0.1 s without: a pause of 0.09 s within a sound begins no other"""
    left = np.zeros(RATE_HZ, "<i2")
    left[1000:1010] = 65
    left[1010 + 4300 : 1010 + 4310] = 300
    left[20_000:20_100] = -70
    left[40_000] = 64
    assert voice.onsets(left) == [1000, 20_000]


@pytest.mark.parametrize(
    "late_frames", [pytest.param(0, id="at once"), pytest.param(960, id="20 ms"), pytest.param(9600, id="200 ms")]
)
def test_the_end_of_the_old_sound_is_found_under_the_new_one(voice, late_frames: int):
    """The old one fades out over 4 ms while the new one has begun; the last frame of it that can be heard counts"""
    left = np.zeros(RATE_HZ, "<i2")
    begin, asked = 2000, 12_000
    start = asked + late_frames
    left[begin:start] = tone(1.0, 97)[: start - begin]
    left[start : start + len(pulse())] = pulse()
    left[start : start + 192] += np.linspace(4000, 100, 192).astype("<i2")
    assert voice.last_of_old(left, begin, asked, pulse().astype(np.int32)) == start + 191


def test_a_new_sound_that_did_not_come_is_not_found(voice):
    """The old sound goes on: nothing was cut"""
    left = np.zeros(RATE_HZ, "<i2")
    left[2000:40_000] = tone(1.0, 97)[:38_000]
    assert voice.last_of_old(left, 2000, 12_000, pulse().astype(np.int32)) is None


def test_goals_are_ours_alone(voice):
    """The same figures: a missed goal for us, a figure for the others; lost calls are counted"""
    found = voice.Run(onsets_ms=[30.0] * 100, asked=101, lost=1)
    ours = {(row.metric, row.case): row for row in voice.rows_of("retrowalk", "busy", found)}
    theirs = {(row.metric, row.case): row for row in voice.rows_of("aplay for each clip", "busy", found)}
    assert ours["onset_ms", "p50 busy"].met is False
    assert ours["onset_ms", "p99 busy"].met is True
    assert ours["lost", "busy"].met is False
    assert all(row.goal is None for row in theirs.values())
    assert theirs["onset_ms", "p50 busy"].value == ours["onset_ms", "p50 busy"].value == 30.0


def test_what_was_not_felt_named_or_told_is_counted(voice_faults):
    """A repetition without touch is silent, and has no time"""
    cases = [
        voice_faults.Case("killed", "idle", 300.0, named=True, told=True, over=True),
        voice_faults.Case("killed", "words", None, named=False, told=True, over=True),
    ]
    rows = {(row.metric, row.case): row for row in voice_faults.rows_of(cases)}
    assert (rows["touch_ms", "max killed"].value, rows["touch_ms", "max killed"].n) == (300.0, 1)
    assert (rows["silent", "killed"].value, rows["silent", "killed"].met) == (1, False)
    assert rows["cause_not_named", "all"].value == 1
    assert rows["caregiver_not_told", "all"].met is True


def ran(program: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The rows of a quick run, by metric, subject and case."""
    done = subprocess.run(
        [sys.executable, FOLDER / program, "--quick", "--json"], capture_output=True, text=True, timeout=400.0
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {(row["metric"], row["subject"], row["case"]): row for row in json.loads(done.stdout)["rows"]}


@pytest.mark.process
@pytest.mark.release
def test_the_voice_is_timed_beside_others():
    """Every row there is a goal for, of us and of those that are always there; and the others' failures are seen"""
    rows = ran("voice.py")
    for case in ("quiet", "busy"):
        for subject in ("retrowalk", "aplay for each clip"):
            for metric in ("onset_ms", "cut_ms"):
                for statistic in ("p50", "p99"):
                    assert rows[metric, subject, f"{statistic} {case}"]["value"] >= 0.0
            for metric in ("lost", "underruns"):
                assert (metric, subject, case) in rows
    assert rows["onset_ms", "retrowalk", "p99 quiet"]["n"] == 20
    for metric in ("idle_core_percent", "pss_mb"):
        assert rows[metric, "retrowalk", "quiet"]["value"] > 0.0
    for case in ("unplugged", "frozen"):
        assert rows["false_success", "retrowalk", case]["value"] == 0
    assert rows["false_success", "pyttsx3 say", "unplugged"]["value"] == 1
    assert rows["hangs", "aplay for each clip", "frozen"]["value"] == 1


@pytest.mark.process
@pytest.mark.release
def test_a_silent_voice_is_timed():
    """Rows for each fault of the quick run, and for all"""
    rows = ran("voice_faults.py")
    for case in ("freeze", "killed", "all"):
        assert rows["touch_ms", "retrowalk", f"max {case}"]["value"] > 0.0
        for metric in ("silent", "cause_not_named", "caregiver_not_told"):
            assert (metric, "retrowalk", case) in rows
