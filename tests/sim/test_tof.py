"""What a time-of-flight sensor sees: reach by light and mode, the average over its cone, and its own doubts."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from statistics import mean, stdev

import pytest

from retrowalk.sim.estimates import TARGET_LOSS_DB
from retrowalk.sim.noise import Scene, Target
from retrowalk.sim.tof import (
    CLIPPED,
    LIMIT_M,
    MERGED,
    MODES,
    PHASE,
    SIGMA,
    SIGNAL,
    VALID,
    WRAP,
    Shot,
    Sight,
    TofModel,
    cover,
    light_reach_m,
    reach_m,
    sight,
)
from retrowalk.sim.world import Lean, Obstacle, Weather, World


def shots(targets, ambient_kcps=0.0, mode="short", count=400, **options) -> list[Shot]:
    """Measurements of targets before an empty background."""
    model = TofModel(options.pop("seed", 1))
    view = Sight(Scene([Target(*target) for target in targets], nose_down_deg=-90.0), ambient_kcps)
    return [model.shot(view, mode, **options) for _ in range(count)]


def share(measured, *statuses) -> float:
    return sum(shot.status in statuses for shot in measured) / len(measured)


@pytest.mark.parametrize(
    ("mode", "ambient_kcps", "expected_m"),
    [
        pytest.param("short", 0.0, 1.36, id="short in the dark"),
        pytest.param("medium", 0.0, 2.9, id="medium in the dark"),
        pytest.param("long", 0.0, 3.6, id="long in the dark"),
        pytest.param("short", 200.0, 1.35, id="short in light"),
        pytest.param("medium", 200.0, 0.76, id="medium in light"),
        pytest.param("long", 200.0, 0.73, id="long in light"),
    ],
)
def test_reach_is_the_makers(mode, ambient_kcps, expected_m):
    """In the dark and at 200 kcps/SPAD a white target is seen as far as the maker says."""
    assert reach_m(mode, ambient_kcps) == pytest.approx(expected_m, abs=0.01)


@pytest.mark.parametrize("mode", MODES)
def test_reach_falls_with_the_light(mode):
    """More light never lets it see farther, and in the sun it sees less than at 200 kcps/SPAD."""
    reaches = [reach_m(mode, 10.0 ** (i / 10)) for i in range(-20, 40)]
    assert all(a >= b for a, b in pairwise(reaches))
    assert reaches[-1] < 0.6 * reach_m(mode, 200.0)


@pytest.mark.parametrize(
    ("mode", "ambient_kcps"), [("short", 8.0), ("short", 400.0), ("long", 0.1), ("long", 8.0), ("long", 200.0)]
)
def test_a_wall_is_seen_up_to_its_reach(mode, ambient_kcps):
    """Seen nearly always at 0.8 of its reach, and hardly ever at 1.3 of it."""
    wall_m = min(LIMIT_M[mode], light_reach_m(mode, ambient_kcps) * math.sqrt(0.50 / 0.88))
    near = shots([("wall", 0.8 * wall_m)], ambient_kcps, mode)
    far = shots([("wall", 1.3 * wall_m)], ambient_kcps, mode)
    assert share(near, VALID) > 0.85
    assert share(far, VALID, MERGED, CLIPPED) < 0.1


@pytest.mark.parametrize("range_m", [0.2, 0.6, 1.0, 1.3])
def test_range_is_true_within_its_sigma(range_m):
    """The mean of many is the distance; its spread is what the sigma register says."""
    measured = [shot for shot in shots([("wall", range_m)], 1.0) if shot.status == VALID]
    assert mean(shot.range_m for shot in measured) == pytest.approx(range_m, abs=0.004)
    assert stdev(shot.range_m for shot in measured) == pytest.approx(mean(s.sigma_m for s in measured), rel=0.15)
    assert 0.0015 < mean(shot.sigma_m for shot in measured) < 0.022


def test_nothing_there_is_too_little_signal():
    """With an empty cone the chip says that no signal came back, and its range jumps about."""
    measured = shots([])
    assert share(measured, SIGNAL) == 1.0
    assert stdev(shot.range_m for shot in measured) > 0.2


def test_two_depths_are_averaged():
    """A pole near and a wall far read between the two, and some of these are told to be merged."""
    measured = shots([("pole_90mm", 0.5), ("wall", 1.3)], 1.0)
    seen = [shot for shot in measured if shot.status in (VALID, MERGED)]
    assert 0.55 < mean(shot.range_m for shot in seen) < 1.2
    assert share(measured, MERGED) > 0.2


def test_what_is_near_hides_what_is_behind():
    """A wall before a wall is one wall; through glass the one behind is seen."""
    hidden = shots([("wall", 0.8), ("wall", 1.2)])
    behind_glass = shots([("glass", 0.8), ("wall", 1.2)])
    assert mean(shot.range_m for shot in hidden) == pytest.approx(0.8, abs=0.005)
    assert mean(shot.range_m for shot in behind_glass) == pytest.approx(1.15, abs=0.06)


@pytest.mark.parametrize("kind", sorted(TARGET_LOSS_DB))
def test_every_kind_of_target_has_its_size(kind):
    """Whatever a scenario places fills part of the cone, less the farther it is."""
    covers = [cover(kind, range_m) for range_m in (0.1, 0.5, 1.0, 2.0, 4.0)]
    assert all(0.0 < b <= a <= 1.0 for a, b in pairwise(covers))
    assert shots([(kind, 0.5)], count=5)


def test_a_thin_wire_is_not_seen():
    """A wire at a metre sends back too little."""
    assert share(shots([("wire_6mm", 1.0)], 8.0), VALID, MERGED) < 0.02


def test_a_bright_wall_beyond_the_phases_is_told():
    """In short mode a wall at 1.5 m is out of phase in seven of ten, too little signal in the others, never near."""
    measured = shots([("wall", 1.5)], 0.0)
    counts = Counter(shot.status for shot in measured)
    assert counts[PHASE] / len(measured) == pytest.approx(0.70, abs=0.08)
    assert counts[SIGNAL] / len(measured) == pytest.approx(0.30, abs=0.08)
    assert counts[VALID] == counts[WRAP] == 0


def test_in_long_mode_a_far_mirror_looks_near():
    """Beyond four metres one in twenty is told with a false near range, and marked as wrapped."""
    model = TofModel(1)
    bright = Sight(Scene([Target("wall", 0.05)], nose_down_deg=-90.0), 0.0)
    model._returns = lambda sight, field_deg: [(4.6, 1.0)]  # type: ignore[method-assign]
    measured = [model.shot(bright, "long") for _ in range(1000)]
    assert share(measured, WRAP) == pytest.approx(0.05, abs=0.02)
    assert all(shot.range_m < 1.0 for shot in measured if shot.status == WRAP)


def test_touching_is_clipped():
    """A hand on the sensor, and the ground under somebody who lies on it, are clipped."""
    assert share(shots([("wall", 0.02)]), CLIPPED) == 1.0
    lying = TofModel(1).shot(Sight(Scene([], covered=True), 8.0), "short", field_deg=27.0, spads=201.0)
    assert lying.status == CLIPPED
    assert lying.range_m < 0.04


def test_noise_is_marginal_only():
    """Doubt for its sigma comes near the end of the reach, and has a large sigma."""
    wall_m = reach_m("long", 8.0) * math.sqrt(0.50 / 0.88)
    measured = shots([("wall", 1.05 * wall_m)], 8.0, "long")
    assert 0.1 < share(measured, SIGMA) < 0.6
    assert all(shot.sigma_m > 0.08 for shot in measured if shot.status == SIGMA)
    assert share(shots([("wall", 0.4 * wall_m)], 8.0, "long"), SIGMA) == 0.0


@pytest.mark.parametrize("ambient_kcps", [1.0, 50.0, 1000.0])
def test_rates_agree_with_the_spads(ambient_kcps):
    """Ambient light per SPAD is the world's, whatever number of SPADs the chip chose."""
    for shot in shots([("wall", 0.7)], ambient_kcps, count=20):
        assert shot.ambient_kcps / shot.spads == pytest.approx(ambient_kcps, rel=0.15)
        assert 3.0 <= shot.spads <= 201.0
        assert shot.ambient_kcps + shot.signal_kcps < 30_000.0


def test_equal_seeds_give_equal_shots():
    """A seed gives one sequence, another seed another."""
    wall = [("wall", 1.0)]
    assert shots(wall, 8.0, seed=3) == shots(wall, 8.0, seed=3)
    assert shots(wall, 8.0, seed=3) != shots(wall, 8.0, seed=4)


# ------------------------------------------------------------------------------------------------- the world


def test_the_world_has_its_light():
    """Shade unless somebody says otherwise; weather may change it."""
    world = World(1)
    assert sight(world, 0.0).ambient_kcps == 8.0
    world.at(1.0, Weather(ambient_kcps=150.0))
    world.advance(1.5)
    assert sight(world, 1.5).ambient_kcps == 150.0


@pytest.mark.parametrize(
    ("sun_deg", "more_than_kcps"),
    [pytest.param(15.0, 3000.0, id="into the lens"), pytest.param(60.0, 1000.0, id="high above")],
)
def test_a_sun_behind_brings_its_light(sun_deg, more_than_kcps):
    """A sun that stands behind lights the world, most of all when it shines into the lens."""
    assert sight(World(1, sun_deg=sun_deg), 0.0).ambient_kcps > more_than_kcps


def test_leaning_back_shows_the_ground():
    """Upright it looks over the ground; leaning back by 25 degrees brings the cone down to it."""
    world = World(1)
    world.place(Obstacle("wall", "wall", 30.0))
    upright = TofModel(1).shot(sight(world, 0.0), "long").signal_kcps
    world.at(1.0, Lean(-25.0))
    world.advance(3.0)
    leaning = TofModel(1).shot(sight(world, 3.0), "long").signal_kcps
    assert leaning > upright
