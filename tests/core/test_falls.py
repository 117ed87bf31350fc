"""Falls: a table of motions made up from their physics, and recorded (simulated) falls of volunteers."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from tests.core.recorded import Recorded, sisfall, sisfall_names
from tests.core.synth import IMU_HZ, LYING_ON_BACK, G, fall, posed, upright

from retrowalk.config import Fall
from retrowalk.core.falls import FallDetector, Fallen, tilt_deg
from retrowalk.core.samples import ImuSample

UPRIGHT = (0.0, 0.0, 1.0)


def watch(items: Iterable[ImuSample], knobs: Fall | None = None) -> list[tuple[float, Fallen]]:
    """When falls were suspected."""
    detector = FallDetector(knobs or Fall())
    found = []
    for item in items:
        fallen = detector.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s, UPRIGHT)
        if fallen is not None:
            found.append((item.t_measured_s, fallen))
    return found


def shock(t: float, g: float, up: tuple[float, float, float] = UPRIGHT, n: int = 3) -> Iterator[ImuSample]:
    for i in range(n):
        s = t + i / IMU_HZ
        yield ImuSample(s, s, (g * G * up[0], g * G * up[1], g * G * up[2]), (0.5, 0.5, 0.0))


def restless(seconds: float, start_s: float, up: tuple[float, float, float], rate_deg_s: float) -> Iterator[ImuSample]:
    rate = math.radians(rate_deg_s)
    for item in posed(seconds, start_s, up):
        yield ImuSample(item.t_received_s, item.t_measured_s, item.accel_m_s2, (rate, 0.0, 0.0))


SLANTED = (math.sin(math.radians(40.0)), 0.0, math.cos(math.radians(40.0)))
SIDE = (0.0, 1.0, 0.0)
FACE = (-1.0, 0.0, 0.0)

MADE_UP = [
    pytest.param([*upright(5.0), *fall(5.0)], True, id="backward fall"),
    pytest.param([*upright(5.0), *shock(5.0, 3.5, SIDE), *posed(4.0, 5.05, SIDE)], True, id="onto the side"),
    pytest.param([*upright(5.0), *shock(5.0, 5.0, FACE), *posed(4.0, 5.05, FACE)], True, id="onto the face"),
    pytest.param(
        [*upright(5.0), *shock(5.0, 3.0), *shock(5.4, 4.0, FACE), *posed(4.0, 5.45, FACE)], True, id="knees first"
    ),
    pytest.param([*upright(5.0), *shock(5.0, 3.0), *upright(5.0, 5.05)], False, id="stumble, caught"),
    pytest.param([*upright(5.0), *shock(5.0, 4.0), *posed(4.0, 5.05, SLANTED)], False, id="sitting down hard"),
    pytest.param(
        [*upright(5.0), *shock(5.0, 4.5), *upright(0.6, 5.05), *shock(5.7, 4.5), *upright(4.0, 5.75)],
        False,
        id="jumping",
    ),
    pytest.param([*upright(5.0), *shock(5.0, 1.9), *posed(4.0, 5.05, LYING_ON_BACK)], False, id="dropping onto a bed"),
    pytest.param([*upright(5.0), *posed(4.0, 5.0, LYING_ON_BACK)], False, id="lying down"),
    pytest.param(
        [*upright(5.0), *shock(5.0, 4.0, FACE), *restless(4.0, 5.05, FACE, 90.0)], False, id="rolling and getting up"
    ),
    pytest.param(
        [*upright(5.0), *shock(5.0, 4.0, FACE), *restless(2.5, 5.05, FACE, 90.0), *posed(3.0, 7.6, SIDE)],
        True,
        id="rolling, then lying still",
    ),
    pytest.param(
        [*upright(5.0), *posed(7.0, 5.0, LYING_ON_BACK), *shock(12.0, 3.0, SIDE), *posed(4.0, 12.05, SIDE)],
        False,
        id="turning over in bed",
    ),
    pytest.param(
        [*upright(5.0), *posed(2.0, 5.0, FACE), *shock(7.0, 3.0, FACE), *posed(4.0, 7.05, FACE)],
        True,
        id="bent down, then falling",
    ),
    pytest.param(
        [*upright(5.0), *shock(5.0, 4.0, FACE), *posed(0.8, 5.05, FACE), *upright(4.0, 5.9)], False, id="up at once"
    ),
    pytest.param([*upright(5.0), *shock(5.0, 4.0, SIDE), *posed(4.0, 9.0, SIDE)], False, id="samples missing after it"),
]


@pytest.mark.parametrize(("items", "fallen"), MADE_UP)
def test_a_fall_is_a_shock_then_lying_then_stillness(items, fallen):
    """All three make a fall; each alone, or two of them, do not."""
    assert bool(watch(items)) is fallen


@pytest.mark.parametrize("steps", [pytest.param(True, id="after a step"), pytest.param(False, id="in bed")])
def test_who_takes_steps_does_not_lie(steps):
    """A clip that hangs sideways looks like lying; a step shows that its wearer stands, and can fall"""
    detector = FallDetector(Fall())
    for item in posed(8.0, 0.0, SIDE):
        assert detector.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s, None) is None
    if steps:
        detector.stepped()
    found = [
        detector.update(i.t_measured_s, i.accel_m_s2, i.gyro_rad_s, None)
        for i in [*shock(8.0, 4.0, FACE), *posed(4.0, 8.05, FACE)]
    ]
    assert any(found) is steps


def test_a_fall_is_told_soon_and_once():
    """Suspected within 2.5 s of the shock, with its size and tilt, and once for one fall."""
    found = watch([*upright(5.0), *fall(5.0, impact_g=4.0, lying_s=20.0)])
    assert len(found) == 1
    t, fallen = found[0]
    assert 1.5 < t - 5.6 < 2.5
    assert fallen.impact_g == pytest.approx(4.0, abs=0.2)
    assert fallen.tilt_deg == pytest.approx(90.0, abs=2.0)


@pytest.mark.parametrize("crooked_deg", [-20.0, 20.0])
def test_lying_is_measured_from_the_wearers_own_upright(crooked_deg):
    """A clip worn 20 degrees off sees the same tilt, because upright was learned with it."""
    c = math.radians(crooked_deg)
    standing = (math.sin(c), 0.0, math.cos(c))
    lying = (math.sin(c + math.pi / 2), 0.0, math.cos(c + math.pi / 2))
    detector = FallDetector(Fall())
    found = [
        detector.update(i.t_measured_s, i.accel_m_s2, i.gyro_rad_s, standing)
        for i in [*shock(0.0, 4.0, standing), *posed(4.0, 0.05, lying)]
    ]
    tilts = [f.tilt_deg for f in found if f is not None]
    assert tilts == [pytest.approx(90.0, abs=1.0)]


@pytest.mark.parametrize(
    ("a", "b", "degrees"),
    [
        pytest.param((0, 0, 1), (0, 0, 5), 0.0, id="same"),
        pytest.param((0, 0, 1), (1, 0, 0), 90.0, id="lying"),
        pytest.param((0, 0, 1), (0, 0, -1), 180.0, id="upside down"),
        pytest.param((0, 0, 0), (0, 0, 1), 0.0, id="nothing known"),
    ],
)
def test_tilt(a, b, degrees):
    """The angle between two directions; of a zero vector nothing is claimed."""
    assert tilt_deg(a, b) == pytest.approx(degrees)


# --------------------------------------------------------------------------------------------- recorded

SAMPLE = 60


def suspected(trial: Recorded) -> bool:
    """Whether a fall was suspected: for a fall, within 10 s of its shock (0.5 s before counts as its onset)."""
    up = trial.motion.accel_m_s2[:104].mean(axis=0)
    x, y, z = (up / np.linalg.norm(up)).tolist()
    detector = FallDetector(Fall())
    for item in trial.motion.samples():
        fallen = detector.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s, (x, y, z))
        if fallen is not None and (not trial.is_fall or -0.5 <= item.t_measured_s - trial.impact_s <= 10.0):
            return True
    return False


def test_recorded_falls_are_found_and_daily_life_is_not(recorded_data):
    """A seeded sample of 60 falls and 60 daily activities of SisFall (simulated falls, development subjects)."""
    rng = random.Random(1)
    falls, adls = sisfall_names(recorded_data)
    names = {*rng.sample(falls, SAMPLE), *rng.sample(adls, SAMPLE)}
    trials = sisfall(recorded_data, names)
    found = [t.name for t in trials if t.is_fall and suspected(t)]
    false = [t.name for t in trials if not t.is_fall and suspected(t)]
    missed = sorted(t.name for t in trials if t.is_fall and t.name not in found)
    print(
        f"\n{len(found)} of {SAMPLE} falls found (missed {missed}); "
        f"{len(false)} of {SAMPLE} activities taken for falls {false}"
    )
    assert len(found) >= 0.9 * SAMPLE
    assert len(false) <= 1
