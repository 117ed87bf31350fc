"""The ground along the simulated path: its shape, what a beam meets there, and the foot that goes over an edge."""

from __future__ import annotations

import dataclasses
import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrowalk.sim import light, terrain
from retrowalk.sim.estimates import ROUGH_M
from retrowalk.sim.light import DROPOFF_UP_DEG, Beam
from retrowalk.sim.terrain import Terrain
from retrowalk.sim.walker import OLDER
from retrowalk.sim.world import Hole, Kerb, Slope, Stairs, Stand, Walk, World

DEAF = dataclasses.replace(OLDER, stops_for=frozenset(), stops_for_touch=False)


def ground(*features: tuple[float, terrain.Shape]) -> Terrain:
    made = Terrain()
    for position_m, shape in features:
        made.add("thing", position_m, shape)
    return made


@pytest.mark.parametrize(
    ("shape", "heights"),
    [
        pytest.param(terrain.kerb(0.12), [(-1.0, 0.0), (-0.01, 0.0), (0.0, -0.12), (9.0, -0.12)], id="kerb"),
        pytest.param(terrain.kerb(-0.12), [(-0.01, 0.0), (0.0, 0.12)], id="kerb up"),
        pytest.param(
            terrain.stairs(2, 0.17, 0.3), [(0.1, -0.17), (0.29, -0.17), (0.3, -0.34), (5.0, -0.34)], id="stairs"
        ),
        pytest.param(terrain.hole(0.5, 0.3), [(0.0, -0.3), (0.49, -0.3), (0.5, 0.0)], id="hole"),
        pytest.param(terrain.slope(8.0, 2.0), [(0.0, 0.0), (1.0, -0.08), (2.0, -0.16), (3.0, -0.16)], id="slope down"),
        pytest.param(terrain.slope(-8.0, 2.0), [(1.0, 0.08), (4.0, 0.16)], id="slope up"),
    ],
)
def test_the_ground_has_its_shape(shape, heights):
    """Heights before, on and behind each feature; at a jump, what lies behind it"""
    made = ground((3.0, shape))
    assert [made.height_m(3.0 + x) for x, _ in heights] == pytest.approx([h for _, h in heights])


def test_features_add_up():
    """A kerb at the foot of a ramp, and a hole beyond it"""
    made = ground((1.0, terrain.slope(5.0, 2.0)), (3.0, terrain.kerb(0.12)), (4.0, terrain.hole(0.5, 0.3)))
    assert [made.height_m(x) for x in (0.5, 2.0, 2.999, 3.0, 4.2, 4.6)] == pytest.approx(
        [0.0, -0.05, -0.1, -0.22, -0.52, -0.22], abs=1e-4
    )


features = st.one_of(
    st.floats(-0.3, 0.5).map(terrain.kerb),
    st.tuples(st.integers(1, 5), st.floats(0.05, 0.3), st.floats(0.1, 0.5)).map(lambda a: terrain.stairs(*a)),
    st.tuples(st.floats(0.1, 2.0), st.floats(0.05, 1.0)).map(lambda a: terrain.hole(*a)),
    st.tuples(st.floats(-10.0, 10.0), st.floats(0.5, 4.0)).map(lambda a: terrain.slope(*a)),
)


@pytest.mark.slow
@given(st.lists(st.tuples(st.floats(0.0, 5.0), features), max_size=4), st.floats(0.0, 4.0), st.floats(15.0, 70.0))
def test_a_beam_ends_where_it_meets_the_ground(placed, at_m, down_deg):
    """Nowhere before is it below the ground, and there it no longer is above"""
    made = ground(*placed)
    height_m = made.height_m(at_m) + 0.9
    hit_m = made.hit_m(at_m, height_m, down_deg)
    down = math.radians(down_deg)

    def above_m(distance_m):
        return height_m - distance_m * math.sin(down) - made.height_m(at_m + distance_m * math.cos(down))

    assert min(above_m(hit_m * share / 50.0) for share in range(50)) > -1e-9
    assert above_m(hit_m + 1e-6) < 1e-6


def test_level_ground_is_met_at_its_slant():
    """As `slant_m` has it; a beam above level meets none"""
    assert Terrain().hit_m(2.0, 0.9, 35.0) == pytest.approx(light.slant_m(0.9, 35.0))
    assert Terrain().hit_m(2.0, 0.9, -1.0) == math.inf


# ------------------------------------------------------------------------------------------------- the beam


def looks(world: World, from_s: float, to_s: float, hz: float = 50.0) -> list[tuple[float, float]]:
    """Depth below the feet by the beam of the drop-off lidar, pitch known, over the sensor's position."""
    beam = Beam(world, "drop", up_deg=DROPOFF_UP_DEG)
    found = []
    for number in range(round((to_s - from_s) * hz)):
        t_s = from_s + number / hz
        spot, moment = beam.look(t_s), world.moment(t_s)
        down = math.radians(-DROPOFF_UP_DEG - moment.pitch_deg + world.walker.upright_deg)
        found.append((moment.position_m, spot.range_m * math.sin(down) - 0.9 - moment.rise_m))
    return found


def test_the_beam_finds_a_kerb_1_29_m_ahead():
    """Level before, 0.12 m deeper behind, and between them a mix over the width of the spot"""
    world = World(2, profile=dataclasses.replace(DEAF, sway_deg=0.0), upright_deg=0.0)
    world.run([(0.0, Kerb(3.0)), (0.5, Walk(0.5))])
    seen = looks(world, 1.0, 5.5)
    before = [depth for at, depth in seen if at < 3.0 - 1.45]
    behind = [depth for at, depth in seen if 3.0 - 1.1 < at < 3.0 - 0.5]
    mixed = [at for at, depth in seen if 0.03 < depth < 0.09]
    assert statistics.mean(before) == pytest.approx(0.0, abs=0.005)
    assert statistics.mean(behind) == pytest.approx(0.12, abs=0.006)
    assert mixed
    assert all(1.15 < 3.0 - at < 1.40 for at in mixed)


def test_on_a_ramp_the_beam_finds_its_slope():
    """8 % over 1.29 m: about a tenth of a metre below or above the feet"""
    for percent in (8.0, -8.0):
        world = World(2, profile=dataclasses.replace(DEAF, sway_deg=0.0), upright_deg=0.0)
        world.run([(0.0, Slope(0.5, percent, 20.0)), (0.0, Walk(0.5))])
        depths = [depth for _, depth in looks(world, 4.0, 8.0)]
        assert statistics.mean(depths) == pytest.approx(percent / 100.0 * 1.29, rel=0.15)


def test_nothing_comes_back_from_a_shaft():
    """What returns from 20 m down is far below what the lidar believes"""
    world = World(2, upright_deg=0.0)
    world.at(0.0, Hole(0.6, 8.0, 20.0))
    assert Beam(world, "drop", up_deg=DROPOFF_UP_DEG).look(1.0).amplitude < light.AMPLITUDE_MIN / 5.0


def test_rough_ground_is_rough():
    """Grass scatters by its 15 mm, asphalt by its 3; the same place is as high whenever one looks"""
    made = Terrain(4)
    for kind in ("asphalt", "grass"):
        heights = [made.roughness_m(kind, 0.037 * number) for number in range(1000)]
        assert statistics.pstdev(heights) == pytest.approx(ROUGH_M[kind], rel=0.15)
        assert made.roughness_m(kind, 3.3) == made.roughness_m(kind, 3.3)
    assert Terrain(5).roughness_m("grass", 3.3) != made.roughness_m("grass", 3.3)


# ------------------------------------------------------------------------------------------------- the foot


@pytest.mark.parametrize(
    ("action", "name", "edge_m"),
    [
        pytest.param(Kerb(2.0), "kerb", 2.0, id="kerb"),
        pytest.param(Stairs(2.0), "stairs", 2.0, id="stairs"),
        pytest.param(Stairs(2.0, steps=1, name="step"), "step", 2.0, id="step down"),
        pytest.param(Hole(2.0), "hole", 2.0, id="hole"),
        pytest.param(Kerb(2.0, depth_m=0.03), "", 0.0, id="no more than a gutter"),
        pytest.param(Kerb(2.0, depth_m=-0.12), "", 0.0, id="kerb up"),
        pytest.param(Slope(1.0, 8.0, 1.0), "", 0.0, id="ramp"),
    ],
)
def test_a_foot_that_goes_over_an_edge_is_a_contact(action, name, edge_m):
    """Once, named after the thing, at the moment when the foot was there"""
    world = World(3, profile=DEAF)
    world.run([(0.0, action), (0.5, Walk(0.5))])
    world.advance(5.5)
    assert [contact.name for contact in world.contacts] == ([name] if name else [])
    if name:
        at_m = world.moment(world.contacts[0].t_s).position_m
        assert at_m == pytest.approx(edge_m - world.walker.profile.reach_m, abs=0.01)
        assert world.smallest_gap_m[name] < world.walker.profile.reach_m


def test_who_stops_before_the_edge_has_not_touched_it():
    """And how near it came is known"""
    world = World(3, profile=DEAF)
    world.run([(0.0, Kerb(2.0)), (0.5, Walk(0.5)), (3.0, Stand())])
    world.advance(8.0)
    assert world.contacts == []
    assert 0.4 < world.smallest_gap_m["kerb"] < 1.0


def test_an_edge_is_met_again_after_it_was_left():
    """Walking forward over it is none"""
    world = World(3, profile=DEAF)
    world.run([(0.0, Kerb(1.5)), (0.5, Walk(0.5)), (4.0, Walk(-0.5)), (7.0, Walk(0.5))])
    world.advance(12.0)
    assert len(world.contacts) == 2


def test_the_back_bobs_as_its_acceleration_says():
    """Two centimetres or less either way, lowest in double support, none when standing"""
    world = World(1)
    world.run([(2.0, Walk(0.6))])
    assert all(world.moment(number / 50.0).rise_m == 0.0 for number in range(90))
    moments = [world.moment(4.0 + number / 200.0) for number in range(2000)]
    rises = [moment.rise_m for moment in moments]
    assert 0.004 < max(rises) < 0.025
    covariance = statistics.covariance(rises, [moment.f_up for moment in moments])
    assert covariance < 0.0
