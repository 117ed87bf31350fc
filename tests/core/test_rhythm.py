"""How even the steps are: on made steps whose variability is known, and beside foot sensors on recorded people."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from tests.core.recorded import gait_walks

from retrowalk.core.gait import Gait
from retrowalk.core.posture import Posture
from retrowalk.core.rhythm import Rhythm, Usual
from retrowalk.core.turning import Turning

RATE_HZ = 104.0


def steps(
    rhythm: Rhythm, count: int, cv: float = 0.0, *, from_s: float = 1.0, step_s: float = 0.6, seed: int = 1
) -> float:
    """Feeds steps whose strides vary by `cv`, and samples between them; returns when the last was."""
    rng = random.Random(seed)
    at = from_s
    for _ in range(count):
        rhythm.step(at)
        rhythm.update(at, 0.0)
        # Two independent steps make a stride: each varies by sqrt(2) more, as a share.
        at += max(0.35, rng.gauss(step_s, math.sqrt(2.0) * cv * step_s))
    return at


def bounce(rhythm: Rhythm, seconds: float, *, step_hz: float = 1.8, size: float = 1.5, noise: float = 0.0) -> None:
    """Feeds a walk: a step and a bounce at `step_hz`, with noise in the band over it."""
    rng = np.random.default_rng(3)
    random_bounce = np.convolve(rng.normal(0.0, 1.0, round(seconds * RATE_HZ) + 40), np.ones(21) / 4.6, mode="same")
    next_s = 0.0
    for i in range(round(seconds * RATE_HZ)):
        t = i / RATE_HZ
        if t >= next_s:
            rhythm.step(t)
            next_s += 1.0 / step_hz
        rhythm.update(t, size * math.sin(2.0 * math.pi * step_hz * t) + noise * float(random_bounce[i]))


def test_nothing_is_known_before_steps_are():
    """Each answer is None until there is enough to give one, and again after a restart"""
    rhythm = Rhythm()
    answers = lambda: (rhythm.step_time_cv, rhythm.regularity, rhythm.stride_regularity, rhythm.vertical_rms_m_s2)  # noqa: E731
    assert answers() == (None,) * 4
    bounce(rhythm, 4.0)
    assert answers() == (None,) * 4
    bounce(rhythm, 20.0)
    assert None not in answers()
    rhythm.restart()
    assert answers() == (None,) * 4


@pytest.mark.parametrize("cv", [0.03, 0.06, 0.10, 0.14])
def test_variability_is_that_of_the_strides(cv):
    """Over 20 walkers of a variability, the answer is near it on average"""
    told = []
    for seed in range(20):
        rhythm = Rhythm()
        steps(rhythm, 60, cv, seed=seed)
        told.append(rhythm.step_time_cv or 0.0)
    assert np.mean(told) == pytest.approx(cv, rel=0.2, abs=0.004)


def test_left_and_right_may_differ():
    """A leg that takes a third longer at every step is no variability"""
    rhythm = Rhythm()
    at = 0.0
    for k in range(60):
        rhythm.step(at)
        rhythm.update(at, 0.0)
        at += 0.5 if k % 2 else 0.67
    assert rhythm.step_time_cv == pytest.approx(0.0, abs=0.005)


@pytest.mark.parametrize(
    ("odd", "turning"),
    [
        pytest.param(0.9, True, id="slow steps of a turn"),
        pytest.param(2.5, False, id="a stop"),
    ],
)
def test_turns_and_stops_are_left_out(odd, turning):
    """A pause or slow steps of a turn, after every twelve even ones, change nothing"""
    rhythm = Rhythm()
    at = 0.0
    for k in range(120):
        of_turn = k % 14 >= 12
        rhythm.step(at, turning=turning and of_turn)
        rhythm.update(at, 0.0)
        at += odd if of_turn else 0.55
    assert rhythm.step_time_cv == pytest.approx(0.0, abs=0.005)


def test_starting_and_stopping_are_left_out():
    """The first two and the last two steps of a bout, slow as they are, change nothing"""
    rhythm = Rhythm()
    at = 0.0
    for _ in range(6):
        for wait in (0.9, 0.8, *(0.55,) * 12, 0.8, 1.0, 4.0):
            rhythm.step(at)
            rhythm.update(at, 0.0)
            at += wait
    assert rhythm.step_time_cv == pytest.approx(0.0, abs=0.005)


def test_strides_of_a_minute_ago_tell_nothing():
    """After a minute of standing the variability is not known"""
    rhythm = Rhythm()
    at = steps(rhythm, 40)
    assert rhythm.step_time_cv is not None
    rhythm.update(at + 70.0, 0.0)
    assert rhythm.step_time_cv is None


@pytest.mark.parametrize(("noise", "least", "most"), [(0.0, 0.95, 1.0), (1.0, 0.5, 0.9), (6.0, 0.0, 0.45)])
def test_noise_makes_the_bounce_less_regular(noise, least, most):
    """A bounce that repeats itself is 1; the more chance there is in it, the less"""
    rhythm = Rhythm()
    bounce(rhythm, 20.0, noise=noise)
    assert least <= (rhythm.regularity or 0.0) <= most
    assert least <= (rhythm.stride_regularity or 0.0) <= most


def test_a_limp_is_less_regular_by_steps_than_by_strides():
    """Left bounces half as much as right: strides are alike, steps are not"""
    rhythm = Rhythm()
    for i in range(round(12.0 * RATE_HZ)):
        t = i / RATE_HZ
        if i % 58 == 0:
            rhythm.step(t)
        phase = 2.0 * math.pi * t * RATE_HZ / 58.0
        rhythm.update(t, math.sin(phase) + 0.8 * math.sin(0.5 * phase))
    assert rhythm.regularity is not None
    assert rhythm.stride_regularity is not None
    assert rhythm.stride_regularity > 0.95
    assert rhythm.regularity < 0.75


def test_the_size_of_the_bounce_is_its_root_mean_square():
    """A sine of 1.5 m/s2 has 1.06"""
    rhythm = Rhythm()
    bounce(rhythm, 12.0, size=1.5)
    assert rhythm.vertical_rms_m_s2 == pytest.approx(1.5 / math.sqrt(2.0), rel=0.05)


@pytest.mark.parametrize(
    ("step_hz", "size", "noise", "shuffles"),
    [
        pytest.param(2.3, 0.3, 3.0, True, id="quick, flat, uneven"),
        pytest.param(1.8, 1.4, 0.0, False, id="as usual"),
        pytest.param(2.3, 1.4, 0.0, False, id="quick"),
        pytest.param(2.3, 0.3, 0.0, False, id="quick and flat, but even"),
        pytest.param(1.8, 0.3, 3.0, False, id="flat and uneven at the usual cadence"),
    ],
)
def test_shuffling_is_quick_flat_and_uneven_at_once(step_hz, size, noise, shuffles):
    """Compared with the wearer's own way of walking"""
    rhythm = Rhythm()
    bounce(rhythm, 12.0, step_hz=step_hz, size=size, noise=noise * size)
    assert rhythm.shuffling(Usual(cadence_spm=108.0, vertical_rms_m_s2=1.4)) is shuffles


@pytest.mark.parametrize("rate_hz", [52.0, 104.0, 208.0, 416.0])
def test_the_rate_of_the_samples_changes_nothing(rate_hz):
    """The same walk at other rates has the same regularity and size"""
    rhythm = Rhythm()
    for i in range(round(12.0 * rate_hz)):
        t = i / rate_hz
        if i % round(rate_hz / 2.0) == 0:
            rhythm.step(t)
        rhythm.update(t, math.sin(4.0 * math.pi * t) + 0.5 * math.sin(2.0 * math.pi * t))
    assert rhythm.regularity == pytest.approx(0.6, abs=0.05)
    assert rhythm.vertical_rms_m_s2 == pytest.approx(math.sqrt(0.625), rel=0.03)


@pytest.mark.slow
def test_variability_beside_foot_sensors(recorded_data):
    """On recorded people the variability of strides is within 1 percentage point of the foot sensors' (median)"""
    off = []
    for walk in gait_walks(recorded_data):
        posture, gait, rhythm = Posture(), Gait(), Rhythm()
        turning, turned_s = Turning(), []
        for sample in walk.motion.samples():
            t, a, w = sample.t_measured_s, sample.accel_m_s2, sample.gyro_rad_s
            posture.update(t, a, w, sample.gap)
            up = posture.up
            if up is None:
                continue
            gait.update(t, sum(x * u for x, u in zip(a, up, strict=True)) - 9.80665, w[0])
            turning.update(t, sum(x * u for x, u in zip(w, up, strict=True)))
            if turning.turning:
                turned_s.append(t)
            for at in gait.step_times_s:
                rhythm.step(at, turning=turning.turning)
            rhythm.update(t, gait.bounce_m_s2)
        truth = Rhythm()
        for at in walk.contacts_s.tolist():
            truth.step(at, turning=bool(turned_s) and turned_s[0] - 0.5 < at < turned_s[-1])
            truth.update(at, 0.0)
        if rhythm.step_time_cv is not None and truth.step_time_cv is not None:
            off.append(abs(rhythm.step_time_cv - truth.step_time_cv))
    print(
        f"\n{len(off)} walks: {100 * np.median(off):.1f} points off (median), {100 * np.percentile(off, 90):.1f} (p90)"
    )
    assert len(off) >= 30
    assert np.median(off) < 0.01
