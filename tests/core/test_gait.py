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


@pytest.mark.slow
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


def pushes(*peaks: tuple[float, float], seconds: float, width_s: float = 0.09) -> list[float]:
    """Vertical acceleration of somebody whose back is pushed up at these times, by so much."""
    t = np.arange(0.0, seconds, 1.0 / RATE_HZ)
    total = sum((size * np.exp(-(((t - at) / width_s) ** 2)) for at, size in peaks), np.zeros_like(t))
    return list(total)


def feed(gait: Gait, vertical: list[float], roll: list[float] | None = None) -> list[float]:
    """Feeds accelerations from second 0 on; returns the contacts that were confirmed."""
    contacts: list[float] = []
    for i, value in enumerate(vertical):
        gait.update(i / RATE_HZ, value, roll[i] if roll else 0.0)
        contacts += gait.step_times_s
    return contacts


STEADY = [(2.0 + 0.55 * k, 2.5) for k in range(12)]
"""Twelve steps, the last at 8.05 s."""


def test_a_step_is_dated_to_its_contact():
    """Contacts come before the peak that shows them: as far apart as the steps, and in order"""
    contacts = feed(Gait(), pushes(*STEADY, seconds=12.0))
    assert len(contacts) == 12
    assert np.diff(contacts) == pytest.approx(0.55, abs=0.03)
    assert np.median(np.array(contacts) - [at for at, _ in STEADY]) == pytest.approx(-0.02, abs=0.05)


def test_lifting_the_first_foot_is_no_step():
    """A small push 0.4 s before the first contact lifts the foot: twelve steps, the first of them at its contact"""
    contacts = feed(Gait(), pushes((1.6, 1.2), *STEADY, seconds=12.0))
    assert len(contacts) == 12
    assert contacts[0] > 1.8


def test_a_push_off_within_a_turn_is_no_step():
    """After a pause of two steps a small push before a whole one is none; a small one at its time is a step"""
    later = [(at + 1.1, size) for at, size in STEADY[6:]]
    assert len(feed(Gait(), pushes(*STEADY[:6], (later[0][0] - 0.42, 0.6), *later, seconds=13.0))) == 12
    assert len(feed(Gait(), pushes(*STEADY[:6], (STEADY[6][0], 0.6), *STEADY[7:], seconds=12.0))) == 12


def test_the_closing_step_counts_when_the_bout_is_over():
    """The foot put beside the other one is a step, told when standing begins, and no sign of walking then"""
    gait = Gait()
    vertical = pushes(*STEADY, (8.55, 0.3), seconds=12.0)
    told: list[tuple[float, bool]] = []
    for i, value in enumerate(vertical):
        walked = gait.update(i / RATE_HZ, value)
        told += [(i / RATE_HZ, walked)] * len(gait.step_times_s)
    assert len(told) == 13
    assert told[-1][0] == pytest.approx(9.8, abs=0.2)
    assert not told[-1][1]
    assert gait.last_step_s == pytest.approx(8.6, abs=0.15)
    assert not gait.walking(11.0)


def test_swaying_after_the_last_step_does_not_go_on_for_ever():
    """Half a minute of small bounces in the rhythm of the steps: after some of them, nobody walks"""
    sway = [(8.6 + 0.55 * k, 0.45) for k in range(50)]
    gait = Gait()
    feed(gait, pushes(*STEADY, *sway, seconds=37.0))
    assert gait.steps <= 12 + 6
    assert gait.bout_started_s is None


def test_slow_shuffling_begins_a_bout_by_its_evenness():
    """Weak bounces begin a bout when six of them are even; uneven ones do not"""
    even = [(2.0 + 0.8 * k, 0.75) for k in range(20)]
    uneven = [(2.0 + 0.8 * k + (0.3 if k % 3 == 0 else 0.0), 0.75) for k in range(20)]
    assert len(feed(Gait(), pushes(*even, seconds=20.0))) == pytest.approx(20, abs=1)
    assert feed(Gait(), pushes(*uneven, seconds=20.0)) == []


@pytest.mark.parametrize(
    ("roll_hz", "steps"),
    [
        pytest.param(0.55, 44, id="the pelvis rolls once in two pairs: each pair is one step"),
        pytest.param(1.1, 88, id="the pelvis rolls once in a pair: each peak is a step"),
    ],
)
def test_the_roll_tells_slow_steps_with_two_peaks(roll_hz, steps):
    """40 s of like peaks, 0.455 s apart: the roll of the pelvis tells whether two of them are one step"""
    peaks = [(2.0 + k / 2.2, 1.6) for k in range(88)]
    vertical = pushes(*peaks, seconds=42.0)
    roll = [0.5 * math.sin(2.0 * math.pi * roll_hz * i / RATE_HZ) for i in range(len(vertical))]
    gait = Gait()
    assert len(feed(gait, vertical, roll)) == pytest.approx(steps, abs=6)  # what was counted first stays counted
    assert gait.cadence_spm(gait.last_step_s + 0.5) == pytest.approx(60.0 * 2.0 * roll_hz, abs=2.0)


def test_steps_go_on_after_a_gap():
    """Two seconds without samples: the bout ends, steps after it begin another, and each counts once"""
    gait = Gait()
    vertical = pushes(*[(1.0 + 0.55 * k, 2.5) for k in range(40)], seconds=24.0)
    contacts: list[float] = []
    for i, value in enumerate(vertical):
        if not 10.0 < i / RATE_HZ < 12.0:
            gait.update(i / RATE_HZ, value)
            contacts += gait.step_times_s
    assert gait.steps == len(contacts) == pytest.approx(36, abs=2)
    assert contacts == sorted(contacts)


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


@pytest.mark.slow
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
