"""The checks before a walk: the table, a motion sensor that is wrong at rest, a low battery, a hand that one missed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.core.synth import Street, heartbeats, merged, ranges, steady
from tests.core.test_care import UP, still
from tests.core.test_check import start, states

from retrowalk.config import Battery, Config, HcSr04, TfLuna
from retrowalk.core.alerts import FAULT_PARTS, LIMITS
from retrowalk.core.prewalk import CHECKS, GYRO_BIAS_RAD_S, STILL_S, Effect, Stillness
from retrowalk.core.samples import BatterySample, ImuSample, Restored, SavedState

ONE = Config(range_sensor=(HcSr04(),))
TWO = Config(range_sensor=(HcSr04(), TfLuna()))

ROOT = Path(__file__).resolve().parents[2]
PERIOD_S = 1.0 / 104.0
G = 9.81


def standing(
    seconds: float, size: float = G, rate_rad_s: float = 0.01, *, noise: float = 0.02, sway_rad_s: float = 0.0
) -> list[ImuSample]:
    """Somebody who stands; gravity has this size, and a rate at rest about one axis."""
    return [
        ImuSample(t, t, (0.0, 0.0, size + noise * (-1) ** n), (rate_rad_s, sway_rad_s * math.sin(2.0 * t), 0.0))
        for n in range(int(seconds / PERIOD_S))
        for t in (n * PERIOD_S,)
    ]


def judged(samples: Sequence[ImuSample]) -> Stillness:
    stillness = Stillness()
    for sample in samples:
        stillness.update(sample.t_measured_s, sample.accel_m_s2, sample.gyro_rad_s)
    return stillness


# ------------------------------------------------------------------------------------------------------- the table


def test_every_check_has_words():
    """What fails is said: each reason is one that the texts have, or the part of a fault that they have"""
    for check in CHECKS:
        known = FAULT_PARTS if check.effect in (Effect.TELLS, Effect.INFORMS) else LIMITS
        assert set(check.reasons) <= {*known, "courier"}, check.name
        assert check.wants
        assert check.why


def test_what_only_informs_never_limits():
    """Network, helper and clock keep nobody from walking"""
    assert {check.name for check in CHECKS if check.effect is Effect.INFORMS} == {"network", "helper", "clock"}


def test_the_page_has_the_table():
    """docs/check.md says of each check what it wants, what it does and why"""
    page = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert [row for row in rows if row[0] not in ("Check", "---")] == [
        (check.name, check.wants, check.effect.value, check.why) for check in CHECKS
    ]


# ------------------------------------------------------------------------------------------------- right at rest


@pytest.mark.parametrize(
    ("samples", "proved", "inexact"),
    [
        pytest.param(standing(3.0), True, False, id="as it should be"),
        pytest.param(standing(3.0, size=G * 1.049), True, False, id="gravity within 0.05 g"),
        pytest.param(standing(3.0, size=G * 1.051), False, True, id="gravity too large"),
        pytest.param(standing(3.0, size=G * 0.949), False, True, id="gravity too small"),
        pytest.param(standing(3.0, rate_rad_s=1.02 * GYRO_BIAS_RAD_S), False, True, id="turns at rest"),
        pytest.param(standing(3.0, rate_rad_s=-0.98 * GYRO_BIAS_RAD_S), True, False, id="turns a little"),
        pytest.param(standing(3.0, noise=0.0), False, False, id="says one and the same"),
        pytest.param(standing(3.0, rate_rad_s=0.5), False, False, id="somebody who moves"),
        pytest.param(standing(0.9 * STILL_S), False, False, id="too short"),
        pytest.param([], False, False, id="nothing"),
    ],
)
def test_a_motion_sensor_is_judged_at_rest(samples, proved, inexact):
    """By two seconds in which the wearer stands still, and by nothing else"""
    found = judged(samples)
    assert (found.proved, found.inexact) == (proved, inexact)


def test_a_gap_begins_anew():
    """What was still before and after a pause was not still in it"""
    early = standing(0.7 * STILL_S)
    late = [
        ImuSample(s.t_received_s + 30.0, s.t_measured_s + 30.0, s.accel_m_s2, s.gyro_rad_s)
        for s in standing(0.7 * STILL_S)
    ]
    assert not judged([*early, *late]).proved


def test_a_wrong_sensor_that_is_right_again_is_believed():
    """It is looked at again with every stretch of standing still, until it is right once"""
    found = judged(standing(2.5, size=10.6))
    assert found.inexact
    for sample in standing(2.5):
        found.update(sample.t_measured_s + 10.0, sample.accel_m_s2, sample.gyro_rad_s)
    assert found.proved
    assert not found.inexact


@pytest.mark.slow
def test_an_inexact_motion_sensor_is_a_limitation_that_is_said():
    """It guards, and says what of it is not to be trusted"""
    hand = [*steady(0.0, 2.5, None), *steady(2.5, 3.5, 0.5), *steady(3.5, 25.0, None)]
    beats = heartbeats(0.0, 25.0)
    worn = standing(25.0, size=1.08 * G, sway_rad_s=0.1)
    street = Street(ONE, voice=True).run(merged(ranges(hand, latency_s=0.0), worn, beats), 25.0)
    assert "inexact" in states(street)[-1][1]
    assert "limited:inexact" in [f"{s.phrase}:{s.value}" for _, s in street.heard]


# ----------------------------------------------------------------------------------------------------- the battery


def charge(percent: float, until_s: float = 20.0) -> list[BatterySample]:
    return [BatterySample(float(t), float(t), percent, 3.6) for t in range(1, int(until_s))]


@pytest.mark.parametrize(
    ("percent", "state", "said"),
    [
        pytest.param(31.0, "limited", None, id="enough"),
        pytest.param(25.0, "limited", ("battery_low", "30"), id="for a part of a walk"),
        pytest.param(9.0, "not_protecting", ("not_protecting", "battery"), id="for none"),
    ],
)
def test_a_walk_is_begun_with_enough_battery(percent, state, said):
    """Below 30 % it is said before the walk, below 10 % it does not call itself guarding"""
    street = start(charge(percent))
    assert states(street)[-1][0] == state  # limited: nobody has pressed
    heard = [(speak.phrase, speak.value) for _, speak in street.heard]
    if said is None:
        assert not [phrase for phrase, value in heard if phrase.startswith("battery")]
    else:
        assert heard.count(said) >= 1


def test_a_walk_that_was_begun_is_not_blocked():
    """The battery falls below 10 % while it guards, or while it is started anew: it guards on"""
    street = start(charge(35.0))
    path = ranges(steady(20.0, 30.0, None), latency_s=0.0)
    low = [BatterySample(25.0, 25.0, 8.0, 3.4)]
    street.run(merged(still(20.0, 30.0, UP), path, heartbeats(20.0, 30.0), low), 30.0)
    assert states(street)[-1][0] in ("guarding", "limited")
    kept = SavedState(0.0, guard_state="guarding", upright=(0.0, 0.0, 1.0), sound_confirmed=True)
    anew = start(charge(8.0), hand_s=0.0, until_s=12.0, before=[Restored(0.0, kept, 1.0)])
    assert "battery" not in {reason for _, reasons in states(anew) for reason in reasons}


# -------------------------------------------------------------------------------------------------------- the hand


def test_who_missed_the_hand_is_named():
    """One of two rear sensors has seen it: after the time for the check the other is named, and it guards"""
    hand = [*steady(0.0, 2.5, None), *steady(2.5, 3.5, 0.5), *steady(3.5, 40.0, None)]
    seen = ranges(hand, latency_s=0.0)
    blind = ranges(steady(0.0, 40.0, None), latency_s=0.0, sensor="lidar")
    street = Street(TWO, voice=True).run(merged(seen, blind, still(0.0, 40.0, UP), heartbeats(0.0, 40.0)), 40.0)
    assert states(street)[-1] == ("limited", ("unchecked",))
    assert [value for phrase, value in ((s.phrase, s.value) for _, s in street.heard) if phrase == "hand_missed"] == [
        "lidar"
    ]


def test_what_it_waits_for_is_said_once_more():
    """Nobody holds out a hand: it asks again; nobody stands upright: it asks for that"""
    street = start(hand_s=0.0)
    assert len([s for _, s in street.heard if s.phrase == "checking"]) == 2
    leaning = (0.0, math.sin(math.radians(50.0)), math.cos(math.radians(50.0)))
    rear = ranges(steady(0.0, 20.0, None), latency_s=0.0)
    beats = heartbeats(0.0, 20.0)
    crooked = Street(ONE, voice=True).run(merged(rear, still(0.0, 20.0, leaning), beats), 20.0)
    assert len([s for _, s in crooked.heard if s.phrase == "stand_still"]) == 1


def test_a_device_without_a_gauge_is_not_asked_for_its_charge():
    """No chip, no charge: nothing is said of it, and nothing blocks"""
    street = start(config=Config(range_sensor=(HcSr04(),), battery=Battery(chip="none")))
    assert states(street)[-1][0] in ("limited", "guarding")
