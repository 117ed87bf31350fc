"""Falls: a table of motions made up from their physics, and recorded (simulated) falls of volunteers."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest
from tests.core.recorded import Recorded, sisfall, sisfall_names
from tests.core.synth import IMU_HZ, LYING_ON_BACK, G, fall, posed, upright, walking

from retrowalk import models
from retrowalk.config import Fall
from retrowalk.core.falls import FEATURES, LOOK_UNTIL_S, FallDetector, Fallen, tilt_deg
from retrowalk.core.samples import ImuSample

UPRIGHT = (0.0, 0.0, 1.0)
FOLDS = Path(__file__).parents[2] / "benchmarks" / "folds" / "fall.json"


def watch(
    items: Iterable[ImuSample], knobs: Fall | None = None, upright: tuple[float, float, float] | None = UPRIGHT
) -> list[tuple[float, Fallen]]:
    """When falls were suspected."""
    detector = FallDetector(knobs or Fall())
    found = []
    for item in items:
        fallen = detector.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s, upright)
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


def over(
    start_s: float,
    seconds: float,
    *,
    from_deg: float = 0.0,
    to_deg: float = 90.0,
    least_g: float = 1.0,
    impact_g: float = 0.0,
    lands_s: float = 0.06,
    still_s: float = 6.0,
) -> list[ImuSample]:
    """Backward from one tilt to another: `least_g` is felt in the middle of it, `impact_g` while landing."""
    items = []
    n = int(seconds * IMU_HZ)
    rate = math.radians(to_deg - from_deg) / seconds
    for i in range(n):
        t, part = start_s + i / IMU_HZ, i / n
        angle = math.radians(from_deg + (to_deg - from_deg) * part)
        size = G * (1.0 - (1.0 - least_g) * math.sin(math.pi * part))
        items.append(ImuSample(t, t, (size * math.sin(angle), 0.0, size * math.cos(angle)), (0.0, -rate, 0.0)))
    angle = math.radians(to_deg)
    up = math.sin(angle), 0.0, math.cos(angle)
    t = start_s + n / IMU_HZ
    if impact_g:
        n = round(lands_s * IMU_HZ)
        items += shock(t, impact_g, up, n)
        t += n / IMU_HZ
    return [*items, *posed(still_s, t, up)]


def askew(items: Iterable[ImuSample], pitch_deg: float, roll_deg: float) -> list[ImuSample]:
    """The same from a clip that sits crooked."""
    p, r = math.radians(pitch_deg), math.radians(roll_deg)
    pitched = np.array([[math.cos(p), 0, math.sin(p)], [0, 1, 0], [-math.sin(p), 0, math.cos(p)]])
    rolled = np.array([[1, 0, 0], [0, math.cos(r), -math.sin(r)], [0, math.sin(r), math.cos(r)]])
    turn = (pitched @ rolled).T
    turned = []
    for item in items:
        (ax, ay, az), (wx, wy, wz) = (turn @ item.accel_m_s2).tolist(), (turn @ item.gyro_rad_s).tolist()
        turned.append(replace(item, accel_m_s2=(ax, ay, az), gyro_rad_s=(wx, wy, wz)))
    return turned


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
    pytest.param(
        [*upright(5.0), *over(5.0, 0.6, least_g=0.4, impact_g=2.2, lands_s=0.15)], True, id="onto something soft"
    ),
    pytest.param(
        [*upright(5.0), *over(5.0, 0.5, least_g=0.2, to_deg=48.0, impact_g=7.0)], True, id="hard, ending against a wall"
    ),
    pytest.param(
        [*posed(5.0, 0.0, SLANTED), *over(5.0, 0.6, from_deg=40.0, to_deg=110.0, least_g=0.4, impact_g=4.0)],
        True,
        id="off a chair, leaning back before",
    ),
    pytest.param([*upright(5.0), *shock(5.0, 3.0), *upright(5.0, 5.05)], False, id="stumble, caught"),
    pytest.param([*upright(5.0), *shock(5.0, 9.0), *upright(5.0, 5.05)], False, id="a knock on the clip"),
    pytest.param([*upright(5.0), *shock(5.0, 4.0), *posed(4.0, 5.05, SLANTED)], False, id="sitting down hard"),
    pytest.param([*upright(5.0), *over(5.0, 1.2, to_deg=-60.0), *upright(3.0, 12.2)], False, id="bending down"),
    pytest.param(
        [*upright(5.0), *over(5.0, 1.2, to_deg=-60.0, impact_g=1.7)], False, id="bending down, and a knock on the clip"
    ),
    pytest.param(
        [*upright(5.0), *shock(5.0, 4.5), *upright(0.6, 5.05), *shock(5.7, 4.5), *upright(4.0, 5.75)],
        False,
        id="jumping",
    ),
    pytest.param([*upright(5.0), *shock(5.0, 1.9), *posed(4.0, 5.05, LYING_ON_BACK)], False, id="dropping onto a bed"),
    pytest.param([*upright(5.0), *posed(4.0, 5.0, LYING_ON_BACK)], False, id="lying down"),
    pytest.param([*upright(5.0), *over(5.0, 2.0)], False, id="lying down slowly"),
    pytest.param(
        [*upright(5.0), *shock(5.0, 4.0, FACE), *restless(4.0, 5.05, FACE, 90.0)], False, id="rolling and getting up"
    ),
    pytest.param(
        [*upright(5.0), *shock(5.0, 4.0, FACE), *restless(2.5, 5.05, FACE, 90.0), *posed(3.0, 7.6, SIDE)],
        True,
        id="rolling, then lying still",
    ),
    pytest.param(
        [
            *upright(5.0),
            *shock(5.0, 4.0, FACE),
            *restless(3.0, 5.05, FACE, 90.0),
            *shock(8.1, 1.8, SIDE),
            *restless(2.0, 8.2, SIDE, 90.0),
            *posed(4.0, 10.3, SIDE),
        ],
        True,
        id="trying to get up, then lying still",
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
    pytest.param(
        [*upright(5.0), *shock(5.0, 4.0, SIDE), *posed(0.5, 14.6, SIDE)], False, id="samples missing after it"
    ),
]


@pytest.mark.parametrize(("items", "fallen"), MADE_UP)
def test_a_fall_is_a_shock_then_lying_then_stillness(items, fallen):
    """All three make a fall; each alone, or two of them, do not."""
    assert bool(watch(items)) is fallen


@pytest.mark.slow
@pytest.mark.parametrize(("pitch_deg", "roll_deg"), [(25.0, 0.0), (-25.0, 0.0), (0.0, 25.0), (18.0, -18.0)])
def test_a_clip_that_sits_crooked_sees_the_same_falls(pitch_deg, roll_deg):
    """Every verdict of the table stays when the clip is off by 25 degrees and upright was learned with it."""
    standing = askew([ImuSample(0.0, 0.0, UPRIGHT, (0.0, 0.0, 0.0))], pitch_deg, roll_deg)[0].accel_m_s2
    for case in MADE_UP:
        items, fallen = cast("tuple[list[ImuSample], bool]", case.values)
        assert bool(watch(askew(items, pitch_deg, roll_deg), upright=standing)) is fallen, case.id


def test_a_fall_is_seen_before_upright_is_known():
    """Up of the clip itself stands in for it."""
    assert watch([*upright(1.0), *fall(1.0)], upright=None)


@pytest.mark.parametrize("known", [pytest.param(True, id="known"), pytest.param(False, id="not known yet")])
def test_before_upright_is_known_nobody_has_fallen_who_is_as_before(known):
    """A clip may sit so crooked that its wearer seems to lie while they walk; then a stumble is none."""
    detector = FallDetector(Fall())
    lying_still = [*posed(4.0, 0.0, SIDE), *shock(4.0, 5.0, SIDE), *posed(6.0, 4.05, SIDE)]
    found = []
    for i, item in enumerate(lying_still):
        if i == 400:
            detector.stepped()
        upright = UPRIGHT if known else None
        found.append(detector.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s, upright))
    assert any(found) is known


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
    assert 1.0 < t - 5.6 < 2.5
    assert fallen.impact_g == pytest.approx(4.0, abs=0.2)
    assert fallen.tilt_deg == pytest.approx(90.0, abs=2.0)


def test_a_second_fall_is_a_fall():
    """Who got up and falls again is found again."""
    again = [*upright(4.0, 12.0), *fall(16.0)]
    assert len(watch([*upright(5.0), *fall(5.0, lying_s=6.0), *again])) == 2


def test_shocks_of_walking_open_nothing_for_ever():
    """A walker whose clip sits upside down, so that lying cannot be told, is watched anew all the time."""
    detector = FallDetector(Fall())
    seconds = LOOK_UNTIL_S + 5.0
    for i in range(int(seconds * IMU_HZ)):
        t = i / IMU_HZ
        g = 2.0 if i % 60 < 4 else 0.95
        detector.update(t, (0.8 * g * G, 0.0, 0.6 * g * G), (0.3, 0.0, 0.0), UPRIGHT)
        if i % 60 == 0:
            detector.stepped()
    found = [
        detector.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s, UPRIGHT)
        for item in over(seconds, 0.5, from_deg=53.0, to_deg=150.0, least_g=0.3, impact_g=5.0)
    ]
    assert any(found)


@pytest.mark.parametrize("crooked_deg", [-20.0, 20.0])
def test_lying_is_measured_from_the_wearers_own_upright(crooked_deg):
    """A clip worn 20 degrees off sees the same tilt, because upright was learned with it."""
    c = math.radians(crooked_deg)
    standing = (math.sin(c), 0.0, math.cos(c))
    items = over(2.0, 0.6, from_deg=crooked_deg, to_deg=crooked_deg + 90.0, least_g=0.4, impact_g=4.0)
    found = watch([*posed(2.0, 0.0, standing), *items], upright=standing)
    assert [f.tilt_deg for _, f in found] == [pytest.approx(90.0, abs=1.0)]


def test_walking_is_no_fall():
    """Ten seconds of it, with heavy steps, and standing still after them: nothing."""
    assert not watch(walking(12.0, bouts=[(0.5, 8.0)], seed=3, vertical_m_s2=4.0).samples())


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


# ------------------------------------------------------------------------------------------------ weights


def test_a_model_of_other_features_is_refused():
    """Weights that belong to other numbers would decide anything."""
    shipped = models.shipped("fall")
    with pytest.raises(ValueError, match="fall model: judges by"):
        FallDetector(Fall(), msgspec.structs.replace(shipped, features=shipped.features[1:]))


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("peak", 1),
        ("push", 1),
        ("descent", 1),
        ("spin", 1),
        ("tipping", 1),
        ("turned_little", -1),
        ("tilt_least", -1),
        ("jitter", -1),
        ("lay", -1),
    ],
)
def test_weights_point_where_their_sentences_do(name, sign):
    """Harder, faster, further over is more of a fall; being up, moving, having lain before is less."""
    weights = {feature.name: feature.weight for feature in models.shipped("fall").features}
    assert weights.keys() == set(FEATURES)
    assert weights[name] * sign > 0.0


# --------------------------------------------------------------------------------------------- recorded

SAMPLE = 60


class Fold(msgspec.Struct):
    """Weights, and who had no part in them."""

    subjects: tuple[str, ...]
    model: models.Logistic


def model_without(trial: Recorded) -> models.Logistic:
    """Weights that were learned without this person."""
    folds = msgspec.json.decode(FOLDS.read_bytes(), type=list[Fold])
    who = trial.name.split("_")[1]
    return next(fold.model for fold in folds if who in fold.subjects)


def suspected(trial: Recorded) -> bool:
    """Whether a fall was suspected: for a fall, within 10 s of its shock (0.5 s before counts as its onset)."""
    up = trial.motion.accel_m_s2[:104].mean(axis=0)
    x, y, z = (up / np.linalg.norm(up)).tolist()
    detector = FallDetector(Fall(), model_without(trial))
    for item in trial.motion.samples():
        fallen = detector.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s, (x, y, z))
        if fallen is not None and (not trial.is_fall or -0.5 <= item.t_measured_s - trial.impact_s <= 10.0):
            return True
    return False


@pytest.mark.slow
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
    assert len(found) >= 0.95 * SAMPLE
    assert len(false) <= 1
