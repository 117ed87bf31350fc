"""The lidar's light in the world: how far what is seen, what a spot of two degrees mixes and misses, sun and rain."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrowalk.sim import light
from retrowalk.sim.estimates import REFLECTANCE, TARGET_LOSS_DB, LightParameters
from retrowalk.sim.light import DROPOFF_UP_DEG, NOTHING, Beam, amplitude, fill, sigma_m, slant_m, unit_error_m
from retrowalk.sim.world import Fall, Lean, Obstacle, Walk, Weather, World


def world(*obstacles: tuple[str, float], **options) -> World:
    """Somebody who stands, with things behind."""
    made = World(3, **options)
    for number, (kind, range_m) in enumerate(obstacles):
        made.place(Obstacle(f"{kind}{number}", kind, range_m))
    return made


def reach_m(reflectance: float) -> float:
    """The farthest that gives amplitude 100."""
    return math.sqrt(light.AMPLITUDE_AT_1_M * reflectance / light.AMPLITUDE_MIN)


# ------------------------------------------------------------------------------------------------- the beam


@pytest.mark.parametrize(
    ("reflectance", "limit_m"), [pytest.param(0.1, 2.5, id="10 %"), pytest.param(0.9, 8.0, id="90 %")]
)
def test_reach_is_the_makers(reflectance, limit_m):
    """2.5 m on 10 %, 8 m on 90 %, within 6 %."""
    assert reach_m(reflectance) == pytest.approx(limit_m, rel=0.06)


@given(st.floats(0.05, 0.9), st.floats(0.7, 8.0), st.floats(1.05, 2.0))
def test_amplitude_falls_with_the_square_of_the_distance(reflectance, range_m, further):
    """And with what is reflected; near and bright it is limited."""
    ratio = amplitude(reflectance, range_m) / amplitude(reflectance, range_m * further)
    if amplitude(reflectance, range_m) < light.AMPLITUDE_MAX:
        assert ratio == pytest.approx(further**2)
    assert amplitude(reflectance, range_m, 0.5) <= amplitude(reflectance, range_m)
    assert amplitude(0.9, 0.05) == light.AMPLITUDE_MAX


def test_every_kind_of_target_reflects_something():
    """What the ultrasonic model knows, the light knows, too."""
    assert REFLECTANCE.keys() == TARGET_LOSS_DB.keys()
    assert all(0.0 < value < 1.0 for value in REFLECTANCE.values())


@pytest.mark.parametrize(
    ("strength", "cm"),
    [(50.0, 3.0), (100.0, 3.0), (200.0, 3.0), (400.0, 2.0), (1000.0, 1.0), (2000.0, 0.5), (20_000.0, 0.5)],
)
def test_noise_by_amplitude_is_the_makers_table(strength, cm):
    """3 cm when weak to 0.5 cm when strong, at 100 Hz."""
    assert sigma_m(strength) == pytest.approx(cm / 100.0)


@given(st.floats(50.0, 40_000.0), st.floats(1.0, 3.0))
def test_stronger_is_never_noisier(strength, times):
    """Between the rows of the table as well."""
    assert sigma_m(strength * times) <= sigma_m(strength) + 1e-12


def test_accuracy_is_six_centimetres_then_two_per_cent():
    """The fixed error of the worst unit the maker lets pass."""
    assert [unit_error_m(1.0, r) for r in (0.5, 3.0, 6.0)] == pytest.approx([0.06, 0.06, 0.12])
    assert unit_error_m(-0.5, 2.0) == pytest.approx(-0.03)


@pytest.mark.parametrize(
    ("width_m", "range_m", "off_m", "share"),
    [
        pytest.param(0.09, 2.0, 0.0, 1.0, id="pole wider than the spot"),
        pytest.param(0.025, 2.0, 0.0, 0.358, id="rod in the middle"),
        pytest.param(0.006, 4.0, 0.0, 0.043, id="wire far away"),
        pytest.param(0.09, 2.0, 0.045, 0.5, id="half on the pole"),
        pytest.param(0.09, 2.0, 0.10, 0.0, id="beside the pole"),
    ],
)
def test_a_spot_is_filled_by_what_is_in_it(width_m, range_m, off_m, share):
    """The spot is 3.5 cm wide for each metre."""
    assert fill(width_m, range_m, off_m) == pytest.approx(share, abs=0.01)


@pytest.mark.slow
@given(st.floats(0.001, 2.0), st.floats(0.1, 8.0), st.floats(-1.0, 1.0))
def test_a_share_is_a_share(width_m, range_m, off_m):
    """0 to 1, whatever is where."""
    assert 0.0 <= fill(width_m, range_m, off_m) <= 1.0 + 1e-9


# ----------------------------------------------------------------------------------------------- the world


@pytest.mark.parametrize(
    ("kind", "near_m", "seen"),
    [
        pytest.param("wall", 5.0, True, id="wall at 5 m"),
        pytest.param("wall", 7.0, False, id="wall at 7 m"),
        pytest.param("person_jacket", 3.0, True, id="jacket at 3 m"),
        pytest.param("person_jacket", 5.0, False, id="jacket at 5 m"),
        pytest.param("car", 3.5, True, id="car at 3.5 m"),
        pytest.param("hand", 0.4, True, id="hand at 0.4 m"),
        pytest.param("glass", 1.5, False, id="glass door at 1.5 m"),
    ],
)
def test_what_is_seen_of_one_who_stands(kind, near_m, seen):
    """Seen means amplitude 100; what is seen is where it is, but for the tilt of the beam."""
    spot = Beam(world((kind, near_m)), "lidar").look(2.0)
    assert (spot.amplitude >= light.AMPLITUDE_MIN) == seen
    assert spot.range_m == pytest.approx(near_m, rel=0.01)


def test_a_clear_path_gives_nothing():
    """A beam tilted up by five degrees meets no ground."""
    assert Beam(world(), "lidar").look(2.0) == NOTHING


def test_half_a_pole_before_a_wall_gives_a_range_between():
    """A spot that is half on the pole and half on the wall: a range where nothing stands."""
    made = world(("pole_90mm", 2.0), ("wall", 4.0))
    made.at(0.0, Walk(0.0001))
    beam = Beam(made, "lidar")
    beam._aim_deg = math.degrees(math.atan(0.045 / 2.0))
    spot = beam.look(1.0)
    assert 2.05 < spot.range_m < 3.5
    assert spot.amplitude < amplitude(0.4, 2.0)


def test_a_narrow_beam_misses_a_pole_now_and_then():
    """Walking towards a pole, the beam wanders off it: some looks see it, others what is behind, or nothing."""
    made = world(("pole_90mm", 6.0))
    made.at(0.0, Walk(0.6))
    beam = Beam(made, "lidar")
    seen = [beam.look(t / 50).amplitude >= 100 for t in range(150, 400)]
    assert 0.1 < statistics.mean(seen) < 0.9


def test_a_hedge_is_no_flat_thing():
    """Twigs at the front and deeper ones take turns: ranges spread over centimetres."""
    beam = Beam(world(("hedge", 3.0)), "lidar")
    ranges = [beam.look(1.0 + t / 20).range_m for t in range(100)]
    assert min(ranges) > 2.95
    assert max(ranges) < 3.35
    assert statistics.stdev(ranges) > 0.02


@pytest.mark.slow
def test_through_a_fence_the_light_sees_a_mixture():
    """A range between the wire and what is behind it, now nearer, now farther; with nothing behind, the wire"""
    open_fence = [Beam(world(("chain_link", 1.5)), "lidar").look(t / 50) for t in range(500)]
    assert {round(spot.range_m / 1.5, 2) for spot in open_fence} == {1.0}
    both = [Beam(world(("chain_link", 1.5), ("hedge", 4.0)), "lidar").look(t / 50).range_m for t in range(500)]
    assert min(both) < 2.1
    assert max(both) > 2.4
    assert all(1.5 < range_m < 4.4 for range_m in both)


def test_through_glass_the_light_sees_what_is_behind():
    """A wall behind a glass door is given, weaker, and the door is not."""
    through = Beam(world(("glass", 1.5), ("wall", 3.0)), "lidar").look(1.0)
    bare = Beam(world(("wall", 3.0)), "lidar").look(1.0)
    assert 2.5 < through.range_m < 3.0
    assert through.amplitude < bare.amplitude


def test_what_is_covered_gives_nothing():
    """Who lies on it covers the lens."""
    made = world()
    made.at(1.0, Fall())
    assert Beam(made, "lidar").look(4.0).amplitude == 0.0


@pytest.mark.parametrize(("sun_deg", "blind"), [(-90.0, False), (5.0, True), (8.0, True), (30.0, False)])
def test_a_low_sun_behind_blinds_the_rear_beam(sun_deg, blind):
    """Within five degrees of its axis, which points five degrees up; the beam that looks down sees none."""
    made = world(("wall", 2.0), upright_deg=0.0)
    made.at(0.0, Weather(sun_deg=sun_deg))
    assert Beam(made, "lidar").look(1.0).sun == blind
    assert not Beam(made, "drop", up_deg=DROPOFF_UP_DEG).look(1.0).sun


# ------------------------------------------------------------------------------------------------ the ground


@pytest.mark.parametrize(
    ("lean_deg", "slant"),
    [
        pytest.param(0.0, 1.569, id="upright"),
        pytest.param(-10.0, 1.273, id="back"),
        pytest.param(10.0, 2.13, id="fore"),
    ],
)
def test_the_dropoff_beam_meets_level_ground_at_its_slant(lean_deg, slant):
    """0.90 m / sin(35 degrees, more when leaning back)."""
    made = world(upright_deg=2.0)
    if lean_deg:
        made.at(0.5, Lean(lean_deg, over_s=0.5))
    beam = Beam(made, "drop", up_deg=DROPOFF_UP_DEG)
    looks = [beam.look(3.0 + t / 10) for t in range(100)]
    assert statistics.mean(spot.range_m for spot in looks) == pytest.approx(slant, rel=0.03)
    assert slant_m(0.9, 35.0 - lean_deg) == pytest.approx(slant, rel=0.001)


def test_dry_asphalt_is_seen_and_wet_is_not():
    """10 % at 1.57 m is well above the threshold; wet, with three tenths of that and rain between, it is not."""
    beam = Beam(world(), "drop", up_deg=DROPOFF_UP_DEG)
    dry = beam.look(1.0).amplitude
    wet = Beam(world(rain=True), "drop", up_deg=DROPOFF_UP_DEG).look(1.0).amplitude
    assert dry == pytest.approx(6500 * 0.1 / 1.57**2, rel=0.1)
    assert wet == pytest.approx(dry * 0.3 * 0.8, rel=0.01)
    assert wet < light.AMPLITUDE_MIN < dry


def test_a_wall_before_the_ground_hides_it():
    """At 0.8 m the drop-off beam meets the wall first."""
    spot = Beam(world(("wall", 0.8)), "drop", up_deg=DROPOFF_UP_DEG).look(1.0)
    assert spot.range_m == pytest.approx(0.8 / math.cos(math.radians(35.0)), rel=0.02)


def test_leaning_far_back_the_rear_beam_meets_the_ground():
    """20 degrees back, its axis points 15 below level: ground at 3.5 m hides a wall at 6 m."""
    made = world(("wall", 6.0), ground="grass", upright_deg=0.0)
    made.at(0.5, Lean(-20.0, over_s=0.5))
    beam = Beam(made, "lidar")
    assert statistics.mean(beam.look(3.0 + t / 20).range_m for t in range(40)) == pytest.approx(3.5, rel=0.06)


# ----------------------------------------------------------------------------------------------- seeds


def test_each_sensor_is_aimed_for_itself():
    """Equal seeds and names look the same way; another name or seed another."""
    aims = {(seed, name): Beam(World(seed), name)._aim_deg for seed in (1, 2) for name in ("lidar", "other")}
    assert len(set(aims.values())) == 4
    assert Beam(World(1), "lidar")._aim_deg == aims[1, "lidar"]
    assert max(map(abs, aims.values())) <= LightParameters().aim_deg
