"""What a VL53L1X sees: photons of everything in a 27 degree cone, averaged into one range, and drowned by daylight.

After the project's ranging reference (section 5.4).  All targets in the cone give one range, weighted by the light each
sends back: a rod near and a wall far read somewhere between.  Daylight shortens the reach, most of all in long mode;
the reach of each mode in the dark and at 200 kcps/SPAD is the maker's for a white target that fills the cone, as
commonly quoted [to be checked], and between and beyond them it falls as shot noise has it, with the fourth root of the
light.  What targets reflect is as for the lidar (`estimates.LightParameters`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from retrowalk.sim import noise
from retrowalk.sim.estimates import LightParameters
from retrowalk.sim.noise import Scene, Target, ground_slant_m, stream
from retrowalk.sim.world import World

MODES = ("short", "medium", "long")

WHITE = 0.88
"""Reflectance of the target for which the reach is told."""
DARK_REACH_M = 3.6
"""Reach in the dark, were there no other limit."""
SUN_KCPS = 200.0
SUN_REACH_M = {"short": 1.35, "medium": 0.76, "long": 0.73}
"""Reach at 200 kcps/SPAD of ambient light, about 5 klux of daylight."""
LIMIT_M = {"short": 1.36, "medium": 2.9, "long": 4.0}
"""A target farther than this is out of the phases that the mode counts, however bright it is."""
PHASE_M = 0.1985
"""Distance of one unit of phase: half the way of light in a period of the PLL (1.32 ns)."""

FIELD_DEG = 27.0
SPADS = 201.0
"""Effective SPADs with all in use."""
TARGET_RATE_KCPS = 20_000.0
"""The chip uses fewer SPADs when signal and ambient light together would give more than this."""
SIGNAL_AT_REACH_KCPS = 1024.0
"""Signal of a white target at the reach in the dark: the smallest that the chip accepts in its usual setting."""
DARK_COUNT_KCPS = 0.05
"""Counts of a SPAD that sees nothing."""

HEIGHT_M = {"hand": 0.18, "car": 1.4, "child": 0.9}
WIDTH_M = {**noise.WIDTH_M, "hand": 0.10, "hedge": 3.0}
"""Size of what may be smaller than the cone; all else fills it.  What it reflects is as for the lidar."""
GROUND_COVER = 0.15
"""Share of the cone that the ground fills when the lower edge meets it."""

SUN_WITHIN_DEG = 25.0
"""A sun so near to the axis shines into the lens ..."""
SUN_SEEN_KCPS, SUN_ELSEWHERE_KCPS = 4000.0, 1500.0
"""... with this much light, kcps/SPAD; the sunlit world around gives the second."""

SIGMA_BEST_MM, SIGMA_WORST_MM = 2.0, 20.0
SEEN_SLOPE_DB = 0.7
"""P(seen) = logistic(margin / slope): it falls from nearly all to nearly none within a tenth of the reach."""
CONTACT_M = 0.04
"""Nearer than this the chip says that its answer is clipped."""
MERGED_M = 0.25
"""Targets further apart than this (standard deviation over their light) may be told to be merged."""

# What the chip says (its own numbers, `registers.md` 1.9).
VALID, SIGMA, SIGNAL, PHASE, WRAP, CLIPPED, MERGED, VCSEL = 9, 6, 4, 5, 7, 8, 22, 2


@dataclass(frozen=True, slots=True)
class Sight:
    """What the sensor looks at, and the daylight that falls into it, kcps/SPAD."""

    scene: Scene
    ambient_kcps: float
    bearing_left_deg: float = 0.0
    """Where its axis points, from straight behind towards the walker's own left."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One measurement.  Rates in kcps over all SPADs in use; without a target range and sigma mean nothing."""

    status: int
    range_m: float
    sigma_m: float
    signal_kcps: float
    ambient_kcps: float
    spads: float


def light_reach_m(mode: str, ambient_kcps: float) -> float:
    """Distance to which a white target is bright enough in this light (kcps/SPAD), whatever the mode's phases."""
    half_kcps = SUN_KCPS / ((DARK_REACH_M / SUN_REACH_M[mode]) ** 4 - 1.0)
    return DARK_REACH_M * float((1.0 + max(0.0, ambient_kcps) / half_kcps) ** -0.25)


def reach_m(mode: str, ambient_kcps: float) -> float:
    """Distance to which a white target that fills the cone is measured (m)."""
    return min(LIMIT_M[mode], light_reach_m(mode, ambient_kcps))


def cover(kind: str, range_m: float, field_deg: float = FIELD_DEG, light: LightParameters | None = None) -> float:
    """Share of the cone that a target fills (0 to 1)."""
    if kind == "chain_link":
        light = light or LightParameters()
        return 0.5 * (light.mesh_fill + light.mesh_knot_fill)
    across_m = 2.0 * max(range_m, 0.005) * math.tan(math.radians(field_deg / 2.0))
    return min(1.0, WIDTH_M.get(kind, math.inf) / across_m) * min(1.0, HEIGHT_M.get(kind, math.inf) / across_m)


def sight(world: World, t_s: float, bearing_left_deg: float = 0.0) -> Sight:
    """What a sensor on the walker's back sees of the world at session second `t_s` (no more than 5 s ago)."""
    scene = world.scene(t_s)
    ambient_kcps = world.ambient_kcps
    if world.sun_deg > 0.0:
        seen = abs(world.sun_deg + scene.nose_down_deg) < SUN_WITHIN_DEG
        ambient_kcps = max(ambient_kcps, SUN_SEEN_KCPS if seen else SUN_ELSEWHERE_KCPS)
    return Sight(scene, ambient_kcps, bearing_left_deg)


class TofModel:
    """One sensor's measurements.  Draws only from its own streams: equal looks and seeds give equal shots."""

    def __init__(self, seed: int, name: str = "tof", parameters: LightParameters | None = None) -> None:
        self._light = parameters or LightParameters()
        self._chance = stream(seed, f"{name}.chance")
        self._noise = stream(seed, f"{name}.noise")

    def shot(self, sight: Sight, mode: str, *, field_deg: float = FIELD_DEG, spads: float = SPADS) -> Shot:
        """Measures once, in `mode`, with a cone of `field_deg` and at most so many SPADs."""
        ambient_kcps = max(0.0, sight.ambient_kcps) + DARK_COUNT_KCPS
        returns = self._returns(sight, field_deg)
        photons = sum(share for _, share in returns)
        # Every shot draws the same numbers, so that what is seen does not move what will be drawn later.
        seen, which, wide, spread, jitter = (self._chance.random() for _ in range(5))
        noise = [self._noise.gauss(0.0, 1.0) for _ in range(5)]
        full_kcps = SIGNAL_AT_REACH_KCPS * photons * DARK_REACH_M**2 / WHITE
        used = max(3.0, min(spads, SPADS * TARGET_RATE_KCPS / (full_kcps + ambient_kcps * SPADS)))
        ambient = used * ambient_kcps * (1.0 + 0.02 * noise[0]) + 4.0 * noise[3]
        signal = max(0.0, full_kcps * used / SPADS * (1.0 + 0.015 * noise[1]) + 6.0 * noise[2])
        if sight.scene.covered:
            return Shot(CLIPPED, 0.01 + 0.01 * spread, 0.002, signal, max(0.0, ambient), used)
        strength = photons * light_reach_m(mode, ambient_kcps) ** 2 / WHITE
        margin_db = 10.0 * math.log10(max(strength, 1e-9))
        mean_m = sum(range_m * share for range_m, share in returns) / photons if photons else 0.0
        # Without a target the chip's number is whatever its phase detector found in the noise.
        status, range_m, sigma_m = SIGNAL, LIMIT_M[mode] * spread, 0.09 + 0.07 * jitter
        if seen >= _logistic(margin_db / SEEN_SLOPE_DB):
            if margin_db > -3.0 and which < 0.5:
                status, range_m = SIGMA, max(0.0, mean_m + (wide - 0.5) * 0.5)
        elif mean_m > LIMIT_M[mode]:
            status, range_m = _beyond(mode, mean_m, which), mean_m % LIMIT_M[mode]
            sigma_m = 0.03
        else:
            sigma_mm = max(SIGMA_BEST_MM, SIGMA_WORST_MM / math.sqrt(max(1.0, strength)))
            range_m = max(0.0, mean_m + noise[4] * sigma_mm * 1e-3)
            sigma_m = sigma_mm * (0.9 + 0.2 * jitter) * 1e-3
            depth_m = math.sqrt(sum(share * (at_m - mean_m) ** 2 for at_m, share in returns) / photons)
            status = CLIPPED if range_m < CONTACT_M else MERGED if depth_m > MERGED_M and which < 0.5 else VALID
        return Shot(status, range_m, sigma_m, signal, max(0.0, ambient), used)

    def _returns(self, sight: Sight, field_deg: float) -> list[tuple[float, float]]:
        """(range, light) of everything that can be seen: what is near hides what is behind it."""
        scene, light = sight.scene, self._light
        parts = [
            (
                range_m,
                light.reflectance[target.kind],
                cover(target.kind, range_m, field_deg, light),
                target.kind == "glass",
            )
            for target in scene.targets
            for range_m in _in_cone(target, sight.bearing_left_deg, field_deg)
        ]
        slant_m = ground_slant_m(scene.mount_height_m, scene.nose_down_deg, field_deg / 2.0)
        if math.isfinite(slant_m):
            # The cone's edge meets the ground there; most of what comes back comes from farther off.
            parts.append((1.3 * slant_m, light.ground_reflectance[scene.ground], GROUND_COVER, False))
        returns: list[tuple[float, float]] = []
        free = 1.0
        for range_m, reflectance, covers, glass in sorted(parts):
            shown = min(free, covers)
            if shown > 0.0:
                returns.append((range_m, reflectance * shown / range_m**2))
            free -= shown * (1.0 - light.glass_passes) if glass else shown
        return returns


def _in_cone(target: Target, bearing_left_deg: float, field_deg: float) -> Iterator[float]:
    """Distance of a target if the cone meets it."""
    range_m, off_deg = target.seen_from(bearing_left_deg)
    if target.kind not in noise.WIDTH_M and target.left_m == 0.0:
        # What is wide is met wherever the cone points.
        range_m, off_deg = target.range_m / math.cos(math.radians(bearing_left_deg)), 0.0
    if abs(off_deg) < field_deg / 2.0:
        yield max(0.005, range_m)


def _beyond(mode: str, range_m: float, which: float) -> int:
    """Status of a bright target beyond the mode's phases; in long mode one in twenty looks near."""
    if which < 0.70:
        return PHASE
    return WRAP if mode == "long" and which >= 0.95 else SIGNAL


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(min(60.0, max(-60.0, -value))))
