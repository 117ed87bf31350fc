"""Steps and cadence: on synthetic walking over the whole range of cadences, and on recorded people."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.core.recorded import Recorded, gait_walks
from tests.core.synth import G, Motion, standing, walking

from retrowalk.core.gait import Gait
from retrowalk.core.posture import Posture

RATE_HZ = 104.0


def follow(gait: Gait, walk: Motion) -> tuple[list[float], dict[float, float | None]]:
    """Feeds a walk through posture and gait as the Companion does; returns step instants and cadence over time."""
    posture = Posture()
    steps: list[float] = []
    cadence: dict[float, float | None] = {}
    for i, sample in enumerate(walk.samples()):
        posture.update(sample.t_measured_s, sample.accel_m_s2, sample.gyro_rad_s, sample.gap)
        up = posture.up
        if up is None:
            continue
        a = sample.accel_m_s2
        vertical = a[0] * up[0] + a[1] * up[1] + a[2] * up[2] - G
        gait.update(sample.t_measured_s, vertical)
        steps += gait.step_times_s
        if i % 26 == 0:
            cadence[sample.t_measured_s] = gait.cadence_spm(sample.t_measured_s)
    return steps, cadence


@pytest.mark.parametrize("step_hz", [0.7, 0.9, 1.2, 1.7, 2.0, 2.4])
def test_sixty_steps_are_counted_to_one(step_hz):
    """A bout of 60 steps is counted to within one, and cadence told within 2 a minute, at every usual cadence."""
    seconds = 60.0 / step_hz
    walk = walking(seconds + 9.0, step_hz=step_hz, bouts=[(5.0, 5.0 + seconds)], seed=2)
    gait = Gait()
    _, cadence = follow(gait, walk)
    assert abs(gait.steps - 60) <= 1
    told = [spm for t, spm in cadence.items() if spm is not None and 12.0 < t < 4.0 + seconds]
    assert np.median(told) == pytest.approx(60.0 * step_hz, abs=2.0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_standing_sway_is_no_step(seed):
    """Two minutes of standing and swaying: no step, no cadence."""
    gait = Gait()
    _, cadence = follow(gait, standing(120.0, seed=seed))
    assert gait.steps == 0
    assert set(cadence.values()) == {None}


@pytest.mark.parametrize("size_m_s2", [3.0, 10.0, 30.0])
def test_a_single_bump_is_no_step(size_m_s2):
    """One knock, however hard, is not walking."""
    gait = Gait()
    for i in range(1040):
        t = i / RATE_HZ
        late = t - 5.0
        bump = size_m_s2 * math.exp(-late / 0.08) * math.sin(2 * math.pi * 4.0 * late) if late > 0 else 0.0
        gait.update(t, bump)
    assert gait.steps == 0
    assert not gait.walking(9.9)


def test_a_second_peak_now_and_then_is_no_step_of_its_own():
    """Every fifth of 50 slow steps pushes twice, 0.4 s apart: it is still one step"""
    gait = Gait()
    for i in range(round(60.0 * RATE_HZ)):
        number, since = divmod(i / RATE_HZ, 1.2)
        pushes = ((0.3, 2.0), (0.7, 2.0)) if number % 5 == 4 else ((0.3, 2.0),)
        gait.update(i / RATE_HZ, sum(size * math.exp(-(((since - at) / 0.09) ** 2)) for at, size in pushes))
    assert gait.steps == pytest.approx(50, abs=1)


def test_walking_begins_with_the_third_step_and_ends_after_the_last():
    """A bout is known from its third step on and ends 1.8 s after the last; each step has its own time."""
    gait = Gait()
    steps, cadence = follow(gait, walking(15.0, bouts=[(4.0, 10.0)], turns=False))
    assert gait.steps == len(steps)
    assert steps[0] < 5.2
    told = [t for t, spm in cadence.items() if spm is not None]
    assert told[0] == pytest.approx(steps[2] + 0.15, abs=0.3)
    assert told[-1] == pytest.approx(steps[-1] + 1.8, abs=0.3)


# --------------------------------------------------------------------------------------------- recorded


def match(found: NDArray[np.float64], truth: NDArray[np.float64], within_s: float = 0.25) -> int:
    """How many of `truth` have a step of their own within reach (greedy in time, offset left in)."""
    used = np.zeros(len(found), dtype=bool)
    hits = 0
    for t in truth:
        near = np.where(~used & (np.abs(found - t) <= within_s))[0]
        if len(near):
            used[near[np.argmin(np.abs(found[near] - t))]] = True
            hits += 1
    return hits


@pytest.fixture(scope="module")
def walks(recorded_data) -> list[Recorded]:
    return gait_walks(recorded_data)


def test_steps_of_recorded_people(walks):
    """60 recorded walks of ten people: steps are found (end of foot movement, +-250 ms) and as many as were taken."""
    hits = counted = truth = 0
    for walk in walks:
        gait = Gait()
        steps, _ = follow(gait, walk.motion)
        hits += match(np.array(steps), walk.contacts_s)
        counted += len(steps)
        truth += len(walk.contacts_s)
    recall, precision = hits / truth, hits / counted
    print(f"\n{len(walks)} walks, {truth} steps: recall {recall:.3f}, precision {precision:.3f}")
    assert recall >= 0.93
    assert precision >= 0.94
    assert counted == pytest.approx(truth, rel=0.02)
