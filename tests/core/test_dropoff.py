"""Drops told from ground that goes on: by samples of a lidar and a clip on made-up ground, without any device."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrowalk.config import Config, Dropoff, Mount, TfLuna, Walker
from retrowalk.core.dropoff import DropWatch, Ground, look_ahead_m, protected_drop_speed_m_s
from retrowalk.core.samples import RangeSample, RangeStatus

HEIGHT_M, DOWN_DEG = 0.9, 35.0
STEPS_HZ = 1.6
IMU_S, LIDAR_S = 1.0 / 104.0, 0.048
STRENGTH_AT_1_M = 650.0

Heights = Callable[[float], float]
"""Height of the ground by position behind the start."""


@dataclass
class Walk:
    """Somebody who walks backward over `heights`, as the clip and the lidar tell it.

    `lean` adds to the pitch by time; `told` is what the clip says of it, if not the truth.
    """

    heights: Heights = lambda x: 0.0
    speed_m_s: float = 0.6
    sway_deg: float = 3.0
    lean: Callable[[float], float] = lambda t: 0.0
    told: Callable[[float], float] = lambda pitch_deg: pitch_deg
    error_m: float = 0.0
    noise_m: float = 0.027
    strength_at_1_m: float = STRENGTH_AT_1_M
    seed: int = 1
    starts_s: float = 4.0
    watch: DropWatch = field(default_factory=lambda: DropWatch(Config()))

    def now_is(self, ground: Ground) -> bool:
        """Whether that is what is known of the ground now."""
        return self.watch.ground is ground

    def at_m(self, t_s: float) -> float:
        return max(0.0, t_s - self.starts_s) * self.speed_m_s

    def pitch_deg(self, t_s: float) -> float:
        sway = self.sway_deg * math.sin(math.tau * STEPS_HZ * t_s) if t_s > self.starts_s and self.speed_m_s else 0.0
        return sway + self.lean(t_s)

    def slant_m(self, t_s: float) -> float:
        """Along the beam, in steps of 1 cm and then exactly."""
        down = math.radians(DOWN_DEG - self.pitch_deg(t_s))
        at_m = self.at_m(t_s)
        top_m = HEIGHT_M + self.heights(at_m)
        distance_m = 0.0
        while distance_m < 8.0:
            if top_m - distance_m * math.sin(down) <= self.heights(at_m + distance_m * math.cos(down)):
                return distance_m
            distance_m += 0.01
        return math.inf

    def run(self, to_s: float) -> list[tuple[float, Ground, float | None]]:
        """Every change of what is known: when, what, and how deep."""
        draw = random.Random(self.seed)
        changes: list[tuple[float, Ground, float | None]] = []
        watch, ground, lidar_s = self.watch, self.watch.ground, 0.02
        for number in range(round(to_s / IMU_S)):
            t = number * IMU_S
            walks = t > self.starts_s + 1.0 and self.speed_m_s > 0.0
            steps = int(max(0.0, t - self.starts_s) * STEPS_HZ) if self.speed_m_s else 0
            pitch = self.told(self.pitch_deg(t))
            rate = (self.told(self.pitch_deg(t + 0.001)) - self.told(self.pitch_deg(t - 0.001))) / 0.002
            watch.turned(t, pitch, rate, 0.0)
            while watch.due:
                watch.judge(steps)
            if t >= lidar_s:
                sample = self.sample(lidar_s, draw)
                watch.feed(sample, steps, self.speed_m_s if walks else None, moves=t > self.starts_s + 0.3)
                lidar_s += LIDAR_S
            if watch.ground is not ground:
                ground = watch.ground
                changes.append((t, ground, watch.depth_m))
        return changes

    def sample(self, t_s: float, draw: random.Random) -> RangeSample:
        slant_m = self.slant_m(t_s)
        strength = self.strength_at_1_m / (slant_m * slant_m)
        if strength < 100.0:
            return RangeSample(t_s + 0.008, t_s, "drop", RangeStatus.NO_TARGET, None, strength)
        range_m = round(slant_m + self.error_m + draw.gauss(0.0, self.noise_m), 2)
        return RangeSample(t_s + 0.008, t_s, "drop", RangeStatus.VALID, range_m, strength)


def kerb(at_m: float, depth_m: float) -> Heights:
    return lambda x: -depth_m if x >= at_m else 0.0


def ramp(from_m: float, to_m: float, percent: float) -> Heights:
    return lambda x: -percent / 100.0 * (min(max(x, from_m), to_m) - from_m)


def grounds(changes: list[tuple[float, Ground, float | None]]) -> set[Ground]:
    return {ground for _, ground, _ in changes}


def first(changes: list[tuple[float, Ground, float | None]], ground: Ground) -> float:
    return min((t for t, what, _ in changes if what is ground), default=math.inf)


# ------------------------------------------------------------------------------------------------- what is a drop


@pytest.mark.parametrize("speed_m_s", [0.3, 0.6, 0.8], ids="{} m/s".format)
@pytest.mark.parametrize(
    "depth_m", [pytest.param(0.12, id="kerb"), pytest.param(0.17, id="step"), pytest.param(0.4, id="hole")]
)
def test_an_edge_is_found_before_the_foot_is_there(depth_m, speed_m_s):
    """No later than 0.25 s, and 5 cm of sway, after the beam's axis has reached it, with about its depth"""
    for seed in range(4):
        walk = Walk(kerb(3.0, depth_m), speed_m_s, seed=seed)
        changes = walk.run(walk.starts_s + 3.0 / speed_m_s)
        found = [(t, depth) for t, ground, depth in changes if ground is Ground.DROP]
        assert len(found) == 1
        t, depth = found[0]
        assert 3.0 - walk.at_m(t) > 1.285 - 0.05 - 0.25 * speed_m_s
        assert 3.0 - walk.at_m(t) < 1.285 + 0.2
        assert depth is not None
        assert 0.6 * depth_m < depth < depth_m + 0.07


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "heights",
    [
        pytest.param(lambda x: 0.0, id="level"),
        pytest.param(ramp(2.5, 6.0, 8.0), id="into and out of a ramp down"),
        pytest.param(ramp(2.5, 6.0, -8.0), id="into and out of a ramp up"),
        pytest.param(lambda x: ramp(2.0, 5.0, -8.0)(x) + ramp(5.0, 9.0, 8.0)(x), id="over a hump of 8 %"),
        pytest.param(lambda x: 0.02 * math.sin(2.0 * x), id="a wavy path"),
        pytest.param(kerb(3.0, 0.03), id="a gutter of 3 cm"),
        pytest.param(kerb(3.0, -0.12), id="a kerb up"),
        pytest.param(kerb(3.0, -0.04), id="a low kerb up"),
    ],
)
def test_ground_that_goes_on_is_no_drop(heights, seed):
    """Slopes of up to 8 %, entering and leaving them, bumps and steps up, slow and fast"""
    for speed_m_s in (0.3, 0.7, 1.1):
        changes = Walk(heights, speed_m_s, seed=seed).run(4.0 + 9.0 / speed_m_s)
        assert Ground.DROP not in grounds(changes)
        assert Ground.LOST not in grounds(changes)


@pytest.mark.parametrize("speed_m_s", [0.0, 0.6], ids=["standing", "walking"])
@pytest.mark.parametrize("lean_deg", [-15.0, -10.0, 10.0, 15.0])
def test_leaning_is_no_drop(lean_deg, speed_m_s):
    """Back or forward, within half a second, and upright again"""

    def lean(t):
        return lean_deg * min(1.0, max(0.0, (t - 7.0) / 0.5)) * min(1.0, max(0.0, (10.0 - t) / 0.5))

    for seed in range(3):
        changes = Walk(speed_m_s=speed_m_s, lean=lean, seed=seed).run(13.0)
        assert grounds(changes) == {Ground.LEVEL}


def test_without_the_clip_a_lean_would_be_one():
    """What pitch is good for: a clip that says "upright" makes ten degrees look like a step"""
    changes = Walk(lean=lambda t: 10.0 * min(1.0, max(0.0, (t - 7.0) / 0.5)), told=lambda pitch: 0.0, sway_deg=0.0).run(
        9.0
    )
    assert Ground.DROP in grounds(changes)


@pytest.mark.parametrize("sway_deg", [3.0, 10.0])
@pytest.mark.parametrize("error_m", [-0.06, 0.06], ids=["reads 6 cm near", "reads 6 cm far"])
@pytest.mark.parametrize("askew_deg", [-2.0, 2.0], ids=["clip 2 back", "clip 2 forward"])
def test_fixed_errors_are_learned(error_m, askew_deg, sway_deg):
    """The worst lidar its maker lets pass, and a clip that sits askew: level stays level, and a kerb is found"""
    options = {"error_m": error_m, "told": lambda pitch: pitch + askew_deg, "sway_deg": sway_deg}
    assert grounds(Walk(**options).run(12.0)) == {Ground.LEVEL}
    changes = Walk(kerb(3.0, 0.12), **options).run(4.0 + 2.6 / 0.6)
    assert Ground.DROP in grounds(changes)


def test_one_stray_range_decides_nothing():
    """A leaf, a torn read: one range that is 0.14 m too far is 0.08 m of depth, and no drop"""
    watch = DropWatch(Config())
    for number in range(800):
        t = number * IMU_S
        watch.turned(t, 0.0, 0.0, 0.0)
        if number % 5 == 0:
            range_m = 1.57 + (0.14 if number == 600 else 0.0)
            watch.feed(RangeSample(t, t, "drop", RangeStatus.VALID, range_m, 260.0), 0, None, moves=True)
        assert watch.ground in (Ground.STARTING, Ground.LEVEL)


# ------------------------------------------------------------------------------------------------- hidden, lost


def test_what_stands_on_the_ground_hides_it():
    """A wall is no drop and no lost ground, neither as it comes nor as it is left"""

    def wall(x):
        return 3.0 if x >= 3.0 else 0.0

    near = Walk(wall, speed_m_s=0.5)
    changes = near.run(9.0)
    assert near.watch.ground is Ground.HIDDEN
    assert grounds(changes) <= {Ground.LEVEL, Ground.HIDDEN}
    near.heights = lambda x: 0.0
    near.starts_s, near.speed_m_s = 0.0, 0.0
    more = near.run(4.0)
    assert not {Ground.DROP, Ground.LOST} & grounds(more)


def test_nothing_back_from_ground_that_was_seen_is_lost_ground():
    """A shaft: within 0.3 s of the edge; never clear, and level again where it is seen again"""
    walk = Walk(lambda x: -20.0 if 3.0 <= x < 5.0 else 0.0, noise_m=0.01)
    changes = walk.run(4.0 + 6.0 / 0.6)
    edge_s = walk.starts_s + (3.0 - 1.285) / 0.6
    alarmed_s = min(first(changes, Ground.LOST), first(changes, Ground.DROP))
    assert edge_s - 0.4 < alarmed_s < edge_s + 0.3
    assert walk.watch.ground is Ground.LEVEL


def test_wet_asphalt_is_lost_slowly_and_is_no_drop():
    """Too faint from the beginning: unknown, said as such after three seconds"""
    changes = Walk(strength_at_1_m=160.0).run(12.0)
    assert grounds(changes) == {Ground.LOST}
    assert 3.0 < first(changes, Ground.LOST) < 6.0


def test_ground_that_leaning_forward_hides_is_not_lost():
    """The beam then reaches farther than asphalt answers: nothing to say of it for a moment"""
    changes = Walk(speed_m_s=0.0, lean=lambda t: 18.0 if 6.0 < t < 8.0 else 0.0).run(11.0)
    assert grounds(changes) == {Ground.LEVEL}


def test_an_edge_behind_which_nothing_answers_stays_an_edge():
    """A step, and then a shaft: the drop holds until it is long unseen"""
    walk = Walk(lambda x: 0.0 if x < 3.0 else -0.2 if x < 3.7 else -20.0, speed_m_s=0.5, noise_m=0.01)
    changes = walk.run(4.0 + 2.5 / 0.5)
    assert Ground.DROP in grounds(changes)
    assert walk.watch.ground in (Ground.DROP, Ground.LOST)
    assert Ground.LEVEL not in {ground for t, ground, _ in changes if t > first(changes, Ground.DROP)}


# ------------------------------------------------------------------------------------------------- time, the clip


def test_a_drop_is_held_through_the_sway():
    """The beam swings back before the edge with every step; the drop does not flicker"""
    walk = Walk(kerb(3.0, 0.12), speed_m_s=0.25, sway_deg=5.0)
    changes = walk.run(4.0 + 2.6 / 0.25)
    assert [ground for _, ground, _ in changes].count(Ground.DROP) == 1


def test_a_drop_ends_when_it_has_been_left():
    """Two seconds after the ground goes on again"""
    walk = Walk(lambda x: -0.3 if 3.0 <= x < 3.5 else 0.0)
    changes = walk.run(14.0)
    raised_s, over_s = first(changes, Ground.DROP), changes[-1][0]
    assert changes[-1][1] is Ground.LEVEL
    assert raised_s + 2.0 < over_s < raised_s + 4.0


def test_what_was_walked_over_was_no_drop():
    """A belt that slipped by 10 cm: one warning, and after twelve steps this is the ground"""
    walk = Walk()
    walk.run(8.0)
    walk.error_m, walk.starts_s = 0.18, -4.0
    changes = walk.run(14.0)
    assert [ground for _, ground, _ in changes] == [Ground.DROP, Ground.LEVEL]
    assert changes[1][0] == pytest.approx(12 / STEPS_HZ, abs=1.0)


def test_without_the_clip_nothing_is_known():
    """Neither level nor drop, and after a gap only when the pitch has settled"""
    walk = Walk(kerb(0.5, 0.3))
    walk.told = lambda pitch: math.nan
    watch = walk.watch
    for number in range(100):
        t = number * LIDAR_S
        watch.turned(t, None, 0.0, 0.0)
        watch.feed(RangeSample(t, t, "drop", RangeStatus.VALID, 3.0, 260.0), 0, 0.6, moves=True)
    assert watch.ground is Ground.STARTING


def test_a_range_waits_for_its_pitch():
    """One measured while the trunk swings is judged by how the trunk was then, whenever the clip is read"""
    for behind_s in (0.0, 0.02, 0.048):
        watch = DropWatch(Config())
        pending: list[tuple[float, float, float]] = []
        lidar_s = 0.0
        for number in range(1500):
            t = number * IMU_S
            swing = math.tau * 1.8
            pending.append((t, 10.0 * math.sin(swing * t), 10.0 * swing * math.cos(swing * t)))
            if t >= lidar_s:
                down = math.radians(DOWN_DEG - 10.0 * math.sin(swing * t))
                sample = RangeSample(t, t, "drop", RangeStatus.VALID, HEIGHT_M / math.sin(down), 260.0)
                watch.feed(sample, 0, 0.6, moves=True)
                lidar_s += LIDAR_S
            while pending and pending[0][0] <= t - behind_s:
                at_s, pitch, rate = pending.pop(0)
                watch.turned(at_s, pitch, rate, 0.0)
                if watch.due:
                    watch.judge(0)
        assert watch.ground is Ground.LEVEL
        assert watch._level_m == pytest.approx(0.0, abs=0.02)


def test_the_bobbing_of_the_back_is_taken_out():
    """Three centimetres either way at step rate, felt by the clip, leave a tenth of a kerb"""
    watch = DropWatch(Config())
    swing = math.tau * 1.7
    worst = 0.0
    for number in range(2000):
        t = number * IMU_S
        rise = 0.03 * math.sin(swing * t)
        watch.turned(t, 0.0, 0.0, -rise * swing * swing)
        if watch.due:
            watch.judge(0)
        if number % 5 == 0:
            range_m = (HEIGHT_M + rise) / math.sin(math.radians(DOWN_DEG))
            watch.feed(RangeSample(t, t - 0.005, "drop", RangeStatus.VALID, range_m, 260.0), 0, 0.6, moves=True)
            if t > 6.0:
                worst = max(worst, *map(abs, watch._overs))
    assert worst < 0.013


# ------------------------------------------------------------------------------------------------- protected speed


def with_drop(walker: Walker = Walker(), mount: Mount = Mount()) -> Config:  # noqa: B008 - frozen
    return Config(
        range_sensor=(TfLuna(), TfLuna(name="drop", role="dropoff", address=0x11)), walker=walker, mount=mount
    )


@pytest.mark.parametrize(
    ("walker", "height_m", "speed_m_s"),
    [
        pytest.param(Walker(profile="older"), 0.9, 0.316, id="older"),
        pytest.param(Walker(profile="younger"), 0.9, 0.448, id="younger"),
        pytest.param(Walker(profile="measured", measured_stop_s=0.9), 0.9, 0.571, id="measured"),
        pytest.param(Walker(profile="older"), 1.1, 0.447, id="worn higher"),
    ],
)
def test_protected_speed(walker, height_m, speed_m_s):
    """Look-ahead less detection, reach and clearance, over system and human time"""
    config = with_drop(walker, Mount(height_m=height_m))
    assert protected_drop_speed_m_s(config) == pytest.approx(speed_m_s, abs=0.006)


@given(st.floats(0.5, 1.4), st.floats(20.0, 60.0), st.floats(0.3, 4.0))
def test_at_the_protected_speed_there_is_just_room(height_m, down_deg, stop_s):
    """What is walked until standstill, with reach and clearance, is the look-ahead; or there is no such speed"""
    walker = Walker(profile="measured", measured_stop_s=stop_s)
    config = with_drop(walker, Mount(height_m=height_m, dropoff_down_deg=down_deg))
    speed_m_s = protected_drop_speed_m_s(config)
    room_m = look_ahead_m(config) - 0.1 - walker.reach_m - walker.clearance_m
    if room_m <= 0.0:
        assert speed_m_s == 0.0
    else:
        assert speed_m_s * (config.collision.system_delay_s + stop_s) == pytest.approx(room_m)


def test_depth_and_slope_are_settings():
    """Who sets 0.2 m is not told of kerbs"""
    config = Config(dropoff=Dropoff(depth_m=0.2))
    assert Ground.DROP not in grounds(Walk(kerb(3.0, 0.12), watch=DropWatch(config)).run(9.0))
    assert Ground.DROP in grounds(Walk(kerb(3.0, 0.35), watch=DropWatch(config)).run(9.0))


def test_a_drop_ends_when_the_clip_falls_silent():
    """A drop that nothing tells of any more, because the clip is gone, is not told for ever."""
    walk = Walk(kerb(3.0, 0.17))
    walk.run(4.0 + 2.2 / 0.6)
    assert walk.watch.ground is Ground.DROP
    draw = random.Random(2)
    for number in range(80):
        t = 4.0 + 2.2 / 0.6 + number * LIDAR_S
        walk.watch.feed(walk.sample(t, draw), 5, None, moves=True)
    assert walk.now_is(Ground.STARTING)


def test_a_drop_ends_when_it_is_passed_though_somebody_stands_before_it():
    """Somebody who comes to walk along hides the ground behind: what was a drop is none after twelve more steps."""
    walk = Walk(kerb(3.0, 0.17))
    walk.run(4.0 + 2.2 / 0.6)
    assert walk.watch.ground is Ground.DROP
    began_s = 4.0 + 2.2 / 0.6
    for number in range(round(10.0 / IMU_S)):
        t = began_s + number * IMU_S
        walk.watch.turned(t, 0.0, 0.0, 0.0)
        if number % 5 == 0:
            legs = RangeSample(t + 0.008, t, "drop", RangeStatus.VALID, 1.3, 400.0)
            walk.watch.feed(legs, 3 + int((t - began_s) * STEPS_HZ), 0.6, moves=True, thing_m=1.1)
    assert walk.now_is(Ground.HIDDEN)
