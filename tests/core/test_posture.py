"""Trunk orientation on synthetic walking whose truth is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.core.synth import IMU_HZ, Motion, motion, rotation, standing, walking

from retrowalk.core.posture import Posture


def follow(walk: Motion, learn_s: float = 3.0) -> tuple[np.ndarray, Posture]:
    """Pitch row by row (NaN until known) relative to the mean up of the first `learn_s` seconds."""
    posture = Posture()
    learn = int(learn_s * IMU_HZ)
    if learn:
        up = walk.accel_m_s2[:learn].mean(axis=0)
        x, y, z = (up / np.linalg.norm(up)).tolist()
        posture.set_upright((x, y, z))
    pitch = []
    for sample in walk.samples():
        posture.update(sample.t_measured_s, sample.accel_m_s2, sample.gyro_rad_s, sample.gap)
        pitch.append(math.nan if posture.trunk_pitch_deg is None else posture.trunk_pitch_deg)
    return np.array(pitch), posture


def rmse(walk: Motion, pitch: np.ndarray, after_s: float, learn_s: float = 3.0) -> float:
    rows = walk.t_s >= after_s
    truth = walk.pitch_deg - (walk.pitch_deg[: int(learn_s * IMU_HZ)].mean() if learn_s else 0.0)
    return float(np.sqrt(np.mean((pitch[rows] - truth[rows]) ** 2)))


@pytest.mark.slow
@pytest.mark.parametrize("bias", [0.0, 1.0, 2.0])
def test_pitch_is_right_while_walking(bias):
    """Five minutes of steps, heel strikes, stops, turns and gyroscope bias: less than 1 degree RMSE once settled."""
    walk = walking(300.0, bias_deg_s=(0.3 * bias, bias, -bias), seed=11)
    pitch, posture = follow(walk)
    error = rmse(walk, pitch, after_s=120.0)
    early = rmse(walk, pitch, after_s=10.0)
    print(
        f"\nbias {bias} deg/s: RMSE {error:.2f} deg after 2 min, {early:.2f} after 10 s; bias said "
        f"{[round(math.degrees(b), 2) for b in posture.bias]}"
    )
    assert error < 1.0


def test_standing_sway_is_not_taken_for_bias():
    """Two minutes of standing and swaying move the bias estimate by less than 0.1 degrees/s."""
    _, posture = follow(standing(120.0, seed=3))
    assert max(abs(math.degrees(b)) for b in posture.bias) < 0.1


def test_standing_sway_is_followed():
    """Slow leaning while standing is seen, not averaged away: RMSE below 0.5 degrees."""
    walk = standing(60.0, seed=4)
    pitch, _ = follow(walk, learn_s=0.0)
    assert rmse(walk, pitch, after_s=10.0, learn_s=0.0) < 0.5


@pytest.mark.parametrize("axis", ["pitch_deg", "roll_deg", "yaw_deg"])
@pytest.mark.parametrize("crooked_deg", [-20.0, 20.0])
def test_a_crooked_clip_tells_the_same_lean(axis, crooked_deg):
    """The clip worn 20 degrees off in any axis: a 10 degree lean is the same within 1 degree."""
    t = np.arange(0.0, 30.0, 1.0 / IMU_HZ)
    zero = np.zeros_like(t)
    lean = -10.0 / (1.0 + np.exp(-np.clip((t - 15.0) * 4.0, -50, 50)))
    clip = rotation(**{axis: crooked_deg}).T
    leaning = motion(t, lean, zero, zero, np.zeros((len(t), 3)), clip=clip)
    pitch, _ = follow(leaning)
    assert np.abs(pitch[t > 4.0] - lean[t > 4.0]).max() < 1.0


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["pitch_deg", "roll_deg"])
@pytest.mark.parametrize("crooked_deg", [-20.0, 20.0])
def test_a_crooked_clip_walks_the_same(axis, crooked_deg):
    """Walking with the clip 20 degrees off: pitch differs from the straight clip's by less than 1 degree RMS."""
    straight, _ = follow(walking(60.0, seed=7, turns=False))
    crooked, _ = follow(walking(60.0, seed=7, turns=False, clip=rotation(**{axis: crooked_deg}).T))
    assert np.sqrt(np.mean((straight - crooked)[400:] ** 2)) < 1.0


def test_signs_are_forward_and_right_positive():
    """Leaning forward is positive pitch, to the right positive roll; tipping forward has a positive rate."""
    t = np.arange(0.0, 10.0, 1.0 / IMU_HZ)
    forward, right = 8.0 * t / 10.0, 5.0 * t / 10.0
    walk = motion(t, forward, right, np.zeros_like(t), np.zeros((len(t), 3)))
    pitch, posture = follow(walk, learn_s=0.0)
    assert pitch[-1] == pytest.approx(8.0, abs=0.5)
    assert posture.trunk_roll_deg == pytest.approx(5.0, abs=0.5)
    assert posture.pitch_rate_deg_s == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("flagged", [True, False])
def test_a_gap_does_not_stretch_time(flagged):
    """Half a second of samples lost in a turn of the trunk: the old rate is not integrated over it."""
    posture = Posture()
    for i in range(1040):
        t = i / IMU_HZ
        posture.update(t, (0.0, 0.0, 9.81), (0.0, 1.5 if i >= 1030 else 0.0, 0.0))
    leaned = -math.sin(math.radians(20.0)) * 9.81, 0.0, math.cos(math.radians(20.0)) * 9.81
    for i in range(40):
        posture.update(10.5 + i / IMU_HZ, leaned, (0.0, 0.0, 0.0), gap=flagged and i == 0)
    assert posture.trunk_pitch_deg == pytest.approx(20.0, abs=0.5)


def test_time_that_runs_back_or_stands_is_a_gap():
    """Samples of one instant, or older ones, begin anew from gravity: their rate is not integrated over no time."""
    posture = Posture()
    for i in range(312):
        posture.update(i / IMU_HZ, (0.0, 0.0, 9.81), (0.0, 0.0, 0.0))
    for _ in range(50):
        for t in (3.0, 3.0, 2.9):
            posture.update(t, (0.0, 0.0, 9.81), (0.0, 5.0, 0.0))
    assert posture.trunk_pitch_deg == pytest.approx(0.0, abs=0.1)


def test_it_is_right_from_the_first_second():
    """Just clipped on, standing: pitch is right within a degree after one second, not after ten."""
    walk = standing(3.0, seed=9)
    walk = replace(walk, pitch_deg=walk.pitch_deg)
    pitch, _ = follow(walk, learn_s=0.0)
    assert np.abs(pitch[104:] - walk.pitch_deg[104:]).max() < 1.0
