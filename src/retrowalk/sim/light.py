"""The light of a single-spot lidar: what a beam of two degrees meets in the world, and how sure its range is.

After the project's ranging reference (sections 2, 5.2 to 5.4) for a TF-Luna: the amplitude falls with the square of the
distance and with what the target reflects at 850 nm; a target that fills only part of the spot gives a mix of two
depths; glass lets most of the light through; a sun in view blinds it.  What is not from the maker's manual is an
estimate until a bench measures it (`estimates.LightParameters`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from retrowalk.sim.noise import WIDE_M, WIDTH_M, stream
from retrowalk.sim.world import World

SPOT_HALF_DEG = 1.0
"""Half the angle of the spot: 3.5 cm wide for each metre (maker's manual)."""

AMPLITUDE_AT_1_M = 6500.0
"""Amplitude of a target that reflects everything, at 1 m.  Amplitude 100, the least that is believed, is then met at
2.55 m by 10 % and at 7.6 m by 90 %; the maker says 2.5 m and 8 m."""

AMPLITUDE_MAX = 30_000.0
"""The lidar turns its light down near a bright target; the manual has no amplitude above this but for the sun."""

AMPLITUDE_MIN = 100.0

SUN_AMPLITUDE = 0xFFFF

SIGMA_M = ((100.0, 0.03), (200.0, 0.03), (400.0, 0.02), (1000.0, 0.01), (2000.0, 0.005))
"""Range noise by amplitude at 100 Hz (manual, by way of public drivers)."""

ACCURACY_M, ACCURACY_SHARE = 0.06, 0.02
"""A unit is off by a fixed error of up to 6 cm as far as 3 m, and up to 2 % beyond (manual)."""

BLIND_M = 0.20
"""Nearer than this the range means little (manual): it is anything up to here."""

FALLING_DEG = 30.0

DROPOFF_UP_DEG = -35.0
"""Tilt of the drop-off sensor: below level."""


class Spot(NamedTuple):
    """What one flash of light gives, without noise: a range, how strong the return is, and whether the sun blinds it.

    `range_m` is infinite and `amplitude` 0 when nothing comes back.
    """

    range_m: float
    amplitude: float
    sun: bool = False


NOTHING = Spot(math.inf, 0.0)

Depth = tuple[float, float]
"""Distance of a surface, and the share of the spot that it fills."""


def _rays(number: int) -> list[Depth]:
    """Rays that stand for the spot: angle off its axis (degrees), from the lowest up, and the share of a round spot."""
    offs = [(2.0 * i + 1.0) / number - 1.0 for i in range(number)]
    chords = [math.sqrt(1.0 - off * off) for off in offs]
    return [(-SPOT_HALF_DEG * off, chord / sum(chords)) for off, chord in zip(offs, chords, strict=True)]


SPOT_RAYS = _rays(9)


def amplitude(reflectance: float, range_m: float, fill: float = 1.0) -> float:
    """Amplitude of a target that fills the share `fill` of the spot."""
    return min(AMPLITUDE_AT_1_M * reflectance * fill / max(range_m, 0.02) ** 2, AMPLITUDE_MAX)


def sigma_m(strength: float) -> float:
    """Range noise (standard deviation) of a 100 Hz frame of this amplitude."""
    previous, low_m = SIGMA_M[0]
    for upper, sigma in SIGMA_M:
        if strength <= upper:
            share = (strength - previous) / (upper - previous) if upper > previous else 1.0
            return low_m + (sigma - low_m) * max(0.0, share)
        previous, low_m = upper, sigma
    return SIGMA_M[-1][1]


def unit_error_m(unit: float, range_m: float) -> float:
    """The fixed error of a unit; `unit` is -1 to 1 and belongs to it as its serial number does."""
    return unit * max(ACCURACY_M, ACCURACY_SHARE * range_m)


def slant_m(height_m: float, depression_deg: float) -> float:
    """Distance along a beam that looks `depression_deg` below level to the ground `height_m` below it, or infinite."""
    down = math.sin(math.radians(min(depression_deg, 90.0)))
    return height_m / down if down > 0.0 else math.inf


def fill(width_m: float, range_m: float, off_m: float) -> float:
    """Share of the spot at `range_m` that something upright, `width_m` wide and `off_m` beside the axis, fills."""
    half = range_m * math.tan(math.radians(SPOT_HALF_DEG))
    left, right = max(off_m - width_m / 2.0, -half), min(off_m + width_m / 2.0, half)
    return max(0.0, right - left) / (2.0 * half)


class Beam:
    """A lidar's beam on the walker's back: `look(t_s)` is what it meets.

    `up_deg` is the tilt of its axis above level when the wearer stands upright (the drop-off sensor's is -35),
    `bearing_left_deg` where it points, from straight behind towards the walker's own left.  Its height is that of the
    world's range sensor.
    """

    def __init__(self, world: World, name: str, *, up_deg: float | None = None, bearing_left_deg: float = 0.0) -> None:
        self._world = world
        self._light = world.estimates.light
        self._bearing_deg = bearing_left_deg
        self._up_deg = world.mount.up_deg if up_deg is None else up_deg
        aim = stream(world.seed, f"{name}.aim")
        self._aim_deg = aim.uniform(-self._light.aim_deg, self._light.aim_deg)
        self._sway = aim.uniform(0.0, 2.0 * math.pi)
        self._hedge = aim.uniform(0.0, 2.0 * math.pi)

    def look(self, t_s: float) -> Spot:
        """What a flash at session second `t_s` gives; no more than 5 s ago."""
        world, parameters = self._world, self._light
        scene = world.scene(t_s)
        if scene.covered:
            return NOTHING  # lying on it
        # The scene's angle is that of the wide sensor, which is tilted by the mount.
        depression_deg = scene.nose_down_deg + world.mount.up_deg - self._up_deg
        if world.sun_deg > 0.0 and abs(world.sun_deg + depression_deg) < parameters.sun_within_deg:
            return Spot(math.inf, SUN_AMPLITUDE, True)
        moment = world.moment(t_s)
        # Who leans bends at the hip, below the sensor; who leans further than this is falling, and it comes down.
        lean_deg = scene.nose_down_deg + world.mount.up_deg
        sinks = min(1.0, math.cos(math.radians(lean_deg)) / math.cos(math.radians(FALLING_DEG)))
        height_m = scene.mount_height_m * max(0.0, sinks) + moment.rise_m
        ground_m, grounds = self._ground(moment.position_m, height_m, depression_deg)
        speed = min(1.0, abs(moment.speed_m_s) / 0.6)
        turn = math.sin(2.0 * math.pi * parameters.yaw_sway_hz * t_s + self._sway)
        yaw_deg = self._aim_deg + parameters.yaw_sway_deg * speed * turn + self._bearing_deg
        along = math.cos(math.radians(depression_deg)) * math.cos(math.radians(self._bearing_deg))
        light = parameters.rain_passes if scene.rain else 1.0
        total = weighted = 0.0
        for target in scene.targets:
            kind, range_m = target.kind, target.range_m / along
            if range_m >= ground_m or light <= 0.01:
                break
            beside_m = target.range_m * math.tan(math.radians(yaw_deg)) - target.left_m
            for depth_m, share in self._surfaces(kind, range_m, beside_m, t_s):
                back = amplitude(parameters.reflectance[kind], depth_m, share) * light
                if depth_m < parameters.covered_m:
                    back = 0.0
                total += back
                weighted += back * depth_m
                light *= 1.0 - share * (1.0 - parameters.glass_passes if kind == "glass" else 1.0)
        if light > 0.01:
            reflects = parameters.ground_reflectance[scene.ground] * (parameters.wet if scene.rain else 1.0)
            for depth_m, share in grounds:
                back = amplitude(reflects, depth_m, share) * light
                total += back
                weighted += back * depth_m
        return Spot(weighted / total, min(total, AMPLITUDE_MAX)) if total > 0.0 else NOTHING

    def _ground(self, position_m: float, height_m: float, depression_deg: float) -> tuple[float, list[Depth]]:
        """Distance to the ground on the axis of the beam, and the depths, each a share of the spot, that it lights."""
        terrain = self._world.terrain
        if terrain.flat:
            axis_m = slant_m(height_m, depression_deg)
            rays = [(axis_m, depression_deg, 1.0)]
        else:
            height_m += terrain.stands_m(position_m)
            rays = [
                (terrain.hit_m(position_m, height_m, depression_deg + off_deg), depression_deg + off_deg, share)
                for off_deg, share in SPOT_RAYS
            ]
            axis_m = rays[len(rays) // 2][0]
        depths = []
        for hit_m, down_deg, share in rays:
            if hit_m < math.inf:
                rough_m = terrain.roughness_m(self._world.ground, position_m + hit_m * math.cos(math.radians(down_deg)))
                depths.append((max(0.02, hit_m - rough_m / math.sin(math.radians(max(5.0, down_deg)))), share))
        return axis_m, depths

    def _surfaces(self, kind: str, range_m: float, beside_m: float, t_s: float) -> Iterator[Depth]:
        """What an obstacle puts into the beam, whose axis passes so far beside its middle."""
        if kind not in WIDTH_M and abs(beside_m) > WIDE_M / 2.0:
            return
        light = self._light
        if kind == "hedge":
            # Other leaves at every moment: the near ones and the deep ones take turns.
            sway = math.sin(7.3 * t_s + self._hedge) * math.sin(11.9 * t_s)
            near = light.hedge_fill * (1.0 + 0.6 * sway)
            yield range_m, near
            yield range_m + light.hedge_depth_m * (0.5 + 0.5 * math.sin(5.1 * t_s)), 1.0 - near
        elif kind == "chain_link":
            # As the beam wanders over the mesh, its wires and their crossings come and go; the rest goes through.
            crossing = math.sin(23.0 * t_s + self._hedge) * math.sin(3.7 * t_s + self._sway)
            yield range_m, light.mesh_fill + (light.mesh_knot_fill - light.mesh_fill) * crossing * crossing
        elif kind in WIDTH_M:
            yield range_m, fill(WIDTH_M[kind], range_m, beside_m)
        else:
            yield range_m, 1.0
