"""The judgement of `benchmarks/falls.py`: what it counts as found, false and foreseen; and a made-up data set."""

from __future__ import annotations

import argparse
import csv
import math
from pathlib import Path

import numpy as np
import pytest
from tests.benchmarks.program import FOLDER, load

from retrowalk.core.events import BalanceLost, FallSuspected
from retrowalk.core.samples import ButtonEdge, ImuSample
from retrowalk.models import shipped

G = 9.80665
IMPACT_S = 6.0


@pytest.fixture(scope="module")
def falls():
    """The program as a module."""
    return load(FOLDER / "falls.py")


def trial(falls, activity="F01", is_fall=True, subject="SA01", duration_s=12.0, file=Path("none.npz")):
    impact_s = IMPACT_S if is_fall else math.nan
    name = f"{activity}_{subject}_R01"
    direction = "backward" if activity in falls.BACKWARD else "forward"
    return falls.Trial(
        "sisfall", file, name, subject, "young", activity, is_fall, direction, duration_s, impact_s, impact_s, {}
    )


# ----------------------------------------------------------------------------------------------- found and false


@pytest.mark.parametrize(
    ("suspected_s", "is_fall", "latency_s", "false"),
    [
        pytest.param((8.0,), True, 2.0, 0, id="after the shock"),
        pytest.param((5.6,), True, -0.4, 0, id="just before it"),
        pytest.param((5.4,), True, None, 1, id="too early"),
        pytest.param((16.1,), True, None, 1, id="too late"),
        pytest.param((2.0, 8.0), True, 2.0, 1, id="before, and at the fall"),
        pytest.param((8.0, 11.0), True, 2.0, 1, id="twice: the second finds nothing"),
        pytest.param((), True, None, 0, id="missed"),
        pytest.param((8.0,), False, None, 1, id="nobody fell"),
        pytest.param((), False, None, 0, id="peace"),
    ],
)
def test_one_suspicion_finds_a_fall_and_every_other_is_false(falls, suspected_s, is_fall, latency_s, false):
    """From 0.5 s before to 10 s after the shock, once"""
    result = falls.Result(trial(falls, is_fall=is_fall), falls.OURS, suspected_s)
    assert result.latency_s == (None if latency_s is None else pytest.approx(latency_s))
    assert result.false == false


@pytest.mark.parametrize(
    ("lost_s", "lead_s", "false"),
    [
        pytest.param((5.5,), 0.275, 0, id="in time"),
        pytest.param((5.79,), None, 0, id="the tone comes with the ground"),
        pytest.param((4.77,), None, 1, id="a second and more before"),
        pytest.param((2.0, 5.5), 0.275, 1, id="false, then in time"),
    ],
)
def test_lead_counts_from_the_tone_to_contact(falls, lost_s, lead_s, false):
    """0 to 1 s between them, and what comes earlier is false"""
    result = falls.Result(trial(falls), falls.OURS, (), lost_s, contact_s=5.8)
    assert result.lead_s == (None if lead_s is None else pytest.approx(lead_s))
    assert result.false_lost == false
    assert result.walked_s == pytest.approx(4.8)


# --------------------------------------------------------------------------------------------------- streaming


class Nervous:
    """In place of the core: suspects a fall whenever it is `due`, unless it still asks about the one before."""

    def __init__(self, due_s):
        self.due_s = list(due_s)
        self.asking = False
        self.times: list[float] = []

    def deadline(self):
        return None

    def feed(self, item):
        self.times.append(item.t_received_s)
        if isinstance(item, ButtonEdge):
            self.asking = self.asking and item.pressed
        if not isinstance(item, ImuSample) or not self.due_s or item.t_received_s < self.due_s[0] + 3.0:
            return ()
        self.due_s.pop(0)
        if self.asking:
            return ()
        self.asking = True
        t_s = item.t_received_s
        lost = BalanceLost(t_s=t_s, alert=None, direction="backward", trunk_pitch_deg=0.0, pitch_rate_deg_s=0.0)
        fallen = FallSuspected(t_s=t_s, alert=None, fall=1, impact_g=1.0, tilt_deg=1.0, countdown_s=30.0)
        return lost, fallen


def still(falls, seconds):
    n = round((seconds + 8.0) * 104.0)
    accel = np.tile([0.0, 0.0, G], (n, 1))
    return falls.Clip(np.arange(n) / 104.0 - 3.0, accel, np.zeros((n, 3)))


@pytest.mark.parametrize(
    ("is_fall", "counted"),
    [pytest.param(False, 3, id="nobody fell"), pytest.param(True, 2, id="the third is asked about already")],
)
def test_no_countdown_hides_a_false_alarm(falls, is_fall, counted):
    """Who has not fallen presses the button, so that the next suspicion counts; who lies there does not"""
    core = Nervous([2.0, 7.0, 9.0])
    suspected, lost = falls.streamed(trial(falls, is_fall=is_fall), still(falls, 12.0), core)
    assert len(suspected) == len(lost) == counted
    assert suspected[0] == pytest.approx(2.0, abs=0.05)


def test_items_come_in_order_of_time(falls):
    """Signs of life, presses and samples: received times never decrease"""
    core = Nervous([2.0, 5.0])
    falls.streamed(trial(falls, is_fall=False), still(falls, 8.0), core)
    assert core.times == sorted(core.times)
    assert len(core.times) > 16 * 104


# --------------------------------------------------------------------------------------------------------- peer


@pytest.mark.parametrize(
    ("peak_g", "lying", "alarms"),
    [
        pytest.param(3.0, True, 1, id="shock and lying"),
        pytest.param(3.0, False, 0, id="shock and standing"),
        pytest.param(2.4, True, 0, id="a lesser shock"),
    ],
)
def test_the_peer_is_what_it_is_said_to_be(falls, peak_g, lying, alarms):
    """2.5 g, then less than 0.5 g along the vertical from 1.6 to 2.0 s after it"""
    clip = still(falls, 10.0)
    at = np.searchsorted(clip.t_s, IMPACT_S)
    if lying:
        clip.accel[at:] = [G, 0.0, 0.0]
    clip.accel[at] = [0.0, 0.0, peak_g * G]
    found = falls.peer(clip)
    assert len(found) == alarms
    assert all(at_s == pytest.approx(IMPACT_S + 2.0, abs=0.02) for at_s in found)


# ------------------------------------------------------------------------------------------------- a whole run


def made_up_set(folder):
    """SisFall's form, two trials: somebody stands; somebody stands, tips over backward and lies."""
    (folder / "sisfall").mkdir(parents=True)
    hz = 200
    rows: list[dict[str, object]] = []
    parts = []
    for name, seconds in (("D01_SA99_R01", 18.0), ("F02_SA99_R01", 12.0)):
        n = round(seconds * hz)
        t = np.arange(n) / hz
        angle = np.zeros(n)
        size = np.full(n, G)
        if name.startswith("F"):
            angle = np.radians(90.0) * np.clip((t - IMPACT_S + 0.6) / 0.6, 0.0, 1.0) ** 2
            size = np.where((t > IMPACT_S - 0.5) & (t < IMPACT_S), 0.5 * G, size)
            size = np.where(np.abs(t - IMPACT_S - 0.04) < 0.04, 6.0 * G, size)
        # Buckle: x right, y down, z forward.
        accel = np.stack([np.zeros(n), -size * np.cos(angle), size * np.sin(angle)])
        breath = np.radians(0.5) * np.sin(2 * np.pi * 0.6 * t)  # what is dead still is a thing, and not asked
        gyro = np.stack([np.gradient(angle, 1.0 / hz) + breath, np.zeros(n), np.zeros(n)])
        parts.append((accel, gyro))
        is_fall = name.startswith("F")
        rows.append(
            {
                "trial_id": name,
                "subject": "SA99",
                "group": "young",
                "activity_code": name[:3],
                "is_fall": int(is_fall),
                "fall_direction": "backward" if is_fall else "",
                "duration_s": seconds,
                "file": "SA99.npz",
                "trial_index": len(rows),
                "impact_s": IMPACT_S if is_fall else "",
                "event_start_s": IMPACT_S - 0.3 if is_fall else "",
            }
        )
    with (folder / "sisfall" / "trials.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    accel, gyro = (np.concatenate([part[k] for part in parts], axis=1) for k in (0, 1))
    np.savez(
        folder / "sisfall" / "SA99.npz",
        acc_i16=np.round(accel / 0.01).astype(np.int16),
        acc_scale=0.01,
        gyr_i16=np.round(gyro / 0.001).astype(np.int16),
        gyr_scale=0.001,
        trial_start=np.cumsum([0, *(part[0].shape[1] for part in parts)]),
        fs_hz=hz,
    )


@pytest.mark.slow
def test_other_peoples_recordings_are_scored(falls, tmp_path, capsys):
    """A folder with one set, of somebody unknown: shipped weights, a fall found, quiet else, no row of nothing"""
    made_up_set(tmp_path)
    options = argparse.Namespace(data=tmp_path, seed=1, quick=False, full=False, jobs=1, misses=True, json=True)
    rows = {(row.metric, row.case): row for row in falls.measure(options) if row.subject == falls.OURS}
    assert rows["fall_sensitivity", "all"].value == rows["fall_sensitivity", "F02"].value == 100.0
    assert rows["fall_false_alarms_upright_per_h", "all"].value == 0.0
    low, high = rows["fall_false_alarms_per_h", "all"].ci95
    assert low == 0.0
    assert high == pytest.approx(3.689 * 200.0, rel=0.01)  # nothing in 18 s says little
    assert 1.0 < rows["fall_latency_s", "p50"].value < 5.0
    assert not [case for _, case in rows if case.startswith(("UMAFall", "WEDA"))]
    assert "fall: 0 people scored with weights learned without them, 1 with the shipped ones" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------ weights


def test_every_fold_has_its_own_weights(falls):
    """Five folds of the people that are known, other weights in each, and of the same form as the shipped ones"""
    known = falls.folds("fall")
    assert len(known) == 20
    intercepts = {model.intercept for model in known.values()}
    assert len(intercepts) == 5
    assert shipped("fall").intercept not in intercepts
    assert all(model.names() == shipped("fall").names() for model in known.values())


@pytest.mark.parametrize(
    ("subject", "known"), [pytest.param("SA01", True, id="learned from"), pytest.param("SA99", False, id="a stranger")]
)
def test_who_was_learned_from_is_judged_without_that(falls, monkeypatch, subject, known):
    """The core gets the weights of the fold that a known person is out of; for strangers it keeps the shipped ones"""
    monkeypatch.setattr(falls, "Companion", lambda config, models: models)
    given = falls.companion_for(trial(falls, subject=subject)).fall
    assert given == (falls.folds("fall")[subject] if known else None)
