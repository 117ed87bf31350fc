"""The speed of sound: what a range is multiplied by while a thermometer tells of the air."""

from __future__ import annotations

import math

import pytest

from retrowalk.config import A02yyuw, HcSr04, TfLuna
from retrowalk.core.air import FRESH_S, LAG_S, PLAUSIBLE_C, SLEW_PER_S, AirSpeed, speed_of_sound_m_s
from retrowalk.core.samples import AirSample
from retrowalk.devices.a02yyuw import COLD

SETTLED_S = 30.0
"""The widest change of the factor takes less."""


def air(*sensors) -> AirSpeed:
    return AirSpeed(sensors or (HcSr04(),))


def told(speed: AirSpeed, temperature_c: float, t_s: float = 0.0) -> bool:
    return speed.feed(AirSample(t_s, t_s, temperature_c))


def settled(speed: AirSpeed, sensor: str = "rear", at_s: float = 0.0) -> float:
    speed.factor(sensor, at_s)
    return speed.factor(sensor, at_s + SETTLED_S)


def read_over_truth(air_c: float, assumed_c: float, factor: float) -> float:
    """What an HC-SR04's driver says that computes for `assumed_c`, in air of `air_c`, over the truth."""
    return speed_of_sound_m_s(assumed_c) / speed_of_sound_m_s(air_c) * factor


@pytest.mark.parametrize(
    ("temperature_c", "expected_m_s"),
    [(-10, 325.2), (0, 331.3), (10, 337.3), (20, 343.2), (30, 349.0), (40, 354.7)],
)
def test_sound_is_as_fast_as_tables_say(temperature_c, expected_m_s):
    """Dry air, to 0.1 m/s."""
    assert speed_of_sound_m_s(temperature_c) == pytest.approx(expected_m_s, abs=0.1)


@pytest.mark.parametrize("assumed_c", [-20.0, 0.0, 20.0])
@pytest.mark.parametrize("off_c", [-2.0, 0.0, 2.0])
def test_with_a_thermometer_no_range_is_wrong_by_3_percent(assumed_c, off_c):
    """From -10 to 40 C, whatever the driver computes for, with a thermometer that is off by 2 C either way."""
    for air_c in range(-10, 41, 5):
        speed = air(HcSr04(temperature_c=assumed_c))
        told(speed, air_c + off_c)
        assert read_over_truth(air_c, assumed_c, settled(speed)) == pytest.approx(1.0, abs=0.03)


def test_without_one_nothing_reads_far_by_more_than_2_percent():
    """The cold that the driver computes for stands: from -10 C up what it says is nearly right, or too near."""
    for air_c in range(-10, 41, 5):
        assert read_over_truth(air_c, HcSr04().temperature_c, settled(air())) <= 1.02


@pytest.mark.parametrize("module_c", [20.0, None], ids=["computes for 20 C", "measures its own"])
def test_a_sealed_module_never_reads_far_whatever_it_knows(module_c):
    """Nobody tells whether an A02YYUW corrects for the air: neither kind reads far, and none near by more than 6 %."""
    for air_c in range(-10, 41, 5):
        speed = air(A02yyuw())
        told(speed, air_c)
        module = 1.0 if module_c is None else speed_of_sound_m_s(module_c) / speed_of_sound_m_s(air_c)
        assert 0.94 <= module * COLD * settled(speed) <= 1.001


def test_a_lidar_knows_no_air():
    """Only sound is turned; a sensor that nobody knows is not."""
    speed = air(HcSr04(), TfLuna())
    told(speed, 40.0)
    assert settled(speed, "lidar") == settled(speed, "nobody") == 1.0


@pytest.mark.parametrize("said_c", [85.0, 127.94, -55.0, PLAUSIBLE_C[0] - 1, PLAUSIBLE_C[1] + 1, math.nan, math.inf])
def test_what_no_walk_has_is_not_believed(said_c):
    """An implausible sample is thrown away, and what was known stands."""
    speed = air()
    told(speed, 10.0)
    assert not told(speed, said_c, 30.0)
    assert speed.temperature_c(30.0) == 10.0


def test_a_thermometer_that_falls_silent_counts_for_nothing():
    """After five minutes the cold side stands again."""
    speed = air()
    told(speed, 25.0)
    assert speed.temperature_c(FRESH_S) == 25.0
    assert settled(speed, at_s=FRESH_S) == settled(air())


def test_the_factor_never_jumps():
    """However the air changes, a wall at 4 m does not seem to move by more than 20 mm/s."""
    speed = air()
    last = speed.factor("rear", 0.0)
    for step in range(1, 2000):
        now = step * 0.065
        if step % 200 == 0:
            told(speed, 40.0 if step % 400 else -10.0, now)
        factor = speed.factor("rear", now)
        assert abs(factor - last) <= SLEW_PER_S * 0.065 + 1e-12
        assert abs(factor - last) / 0.065 * 4.0 <= 0.020
        last = factor


def test_out_of_a_warm_house_no_range_is_far_by_3_percent_for_long():
    """A thermometer that lags by a minute, from 21 C to -10 C: 3 % too far for 15 s after it has first told of it."""
    speed, warm_c, cold_c = air(), 21.0, -10.0
    told(speed, warm_c)
    speed.factor("rear", 0.0)
    worst = 0.0
    for second in range(1, 600):
        now = float(second)
        if second % 30 == 0:
            # A sixteenth of a degree is what the chip tells apart.
            told(speed, round((cold_c + (warm_c - cold_c) * math.exp(-now / LAG_S)) * 16) / 16, now)
        factor = speed.factor("rear", now)
        if now >= 45.0:
            worst = max(worst, read_over_truth(cold_c, 0.0, factor))
    assert worst <= 1.03


def test_a_fall_is_not_carried_on_below_what_is_plausible():
    """However fast it falls, nothing colder than any walk is computed with."""
    speed = air()
    told(speed, 45.0)
    told(speed, -25.0, 30.0)
    assert speed.temperature_c(30.0) == PLAUSIBLE_C[0]
