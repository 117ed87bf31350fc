"""Beams that sway with the trunk: level ranges, and where the ground is, against the published geometry."""

from __future__ import annotations

import math

import pytest

from retrowalk.config import A02yyuw, HcSr04, Mount, TfLuna, Vl53l1x
from retrowalk.core.beam import Beam

LEVEL = Mount(height_m=0.9, rear_up_deg=0.0)

# ranging.md 5.3: slant at which the lower edge of a level beam meets the ground, at a nose-down pitch of -10 to +10.
PUBLISHED = [
    pytest.param(TfLuna(), (math.inf, math.inf, 51.0, 8.6, 4.7), id="1 degree"),
    pytest.param(Vl53l1x(), (14.7, 6.1, 3.9, 2.8, 2.3), id="13.5 degrees"),
    pytest.param(HcSr04(), (10.3, 5.2, 3.5, 2.6, 2.1), id="15 degrees"),
    pytest.param(A02yyuw(), (2.6, 2.1, 1.8, 1.6, 1.4), id="30 degrees"),
]


@pytest.mark.parametrize(("sensor", "slants"), PUBLISHED)
def test_the_ground_is_where_geometry_says(sensor, slants):
    """Leaning back brings the ground nearer, as published for each half-beam."""
    beam = Beam(sensor, LEVEL)
    for lean_back_deg, slant_m in zip((-10, -5, 0, 5, 10), slants, strict=True):
        assert beam.ground_m(-lean_back_deg) == pytest.approx(slant_m, rel=0.03)


@pytest.mark.parametrize("pitch_deg", range(-15, 16, 5))
def test_the_ground_is_told_wherever_the_trunk_leans(pitch_deg):
    """A return from the slant, give or take 0.2 m, may be the ground; one clearly nearer is not."""
    beam = Beam(HcSr04(), Mount())
    slant_m = beam.ground_m(pitch_deg)
    if slant_m < 8.0:
        assert all(beam.is_ground(slant_m + off_m, pitch_deg) for off_m in (-0.2, 0.0, 0.2))
        assert not beam.is_ground(0.6 * slant_m - 0.25, pitch_deg)


def test_what_is_near_is_never_the_ground():
    """Worn as it should be and upright, nothing within 3 m is taken for the ground."""
    beam = Beam(HcSr04(), Mount())
    assert not any(beam.is_ground(range_m / 10, 0.0) for range_m in range(2, 30))


def test_a_narrow_beam_measures_along_its_slant():
    """A lidar that looks 15 degrees up sees a wall at 2 m 2.07 m away."""
    assert Beam(TfLuna(), Mount(rear_up_deg=5.0)).level_m(2.0 / math.cos(math.radians(15.0)), 10.0) == pytest.approx(
        2.0, abs=0.01
    )


@pytest.mark.parametrize("pitch_deg", [-15.0, -8.0, 0.0, 8.0])
def test_a_wide_beam_hears_a_wall_straight_back(pitch_deg):
    """As long as straight back lies within the beam, its range is the distance."""
    assert Beam(HcSr04(), Mount()).level_m(2.0, pitch_deg) == 2.0
