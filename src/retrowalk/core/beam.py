"""Where a rear beam points while the trunk sways: its range made level, and where it meets the ground.

The trunk's pitch (forward positive, from the wearer's own upright) raises a beam that looks back; leaning back lowers
it.  Ranges are metres along the beam, angles degrees.
"""

from __future__ import annotations

import math

from retrowalk.config import A02yyuw, HcSr04, Mount, RangeSensor, TfLuna, Vl53l1x

HALF_BEAM_DEG: dict[type[RangeSensor], float] = {HcSr04: 15.0, A02yyuw: 30.0, Vl53l1x: 13.5, TfLuna: 1.0}
"""Half the angle of each chip's beam: -6 dB of a wide HC-SR04, the makers' figures for the others."""
GROUND_M = 0.25
"""A return so near the computed slant of the ground may be the ground ..."""
PITCH_ERROR_DEG = 1.5
"""... and besides what so much error of the pitch is worth there."""
TILT_MAX_DEG = 45.0
"""Beyond this the cosine is held: a range is never turned into nothing."""


class Beam:
    """The beam of one sensor on its mount."""

    __slots__ = ("_half_deg", "_height_m", "_up_deg")

    def __init__(self, sensor: RangeSensor, mount: Mount) -> None:
        self._half_deg = HALF_BEAM_DEG[type(sensor)]
        self._height_m = mount.height_m
        self._up_deg = mount.rear_up_deg

    def level_m(self, range_m: float, pitch_deg: float) -> float:
        """How far away what answered is, along the ground.

        A wide beam hears an upright thing where it is nearest, straight back, as long as that lies within it; only a
        beam that points past it measures along a slant.
        """
        past_deg = abs(self._up_deg + pitch_deg) - self._half_deg
        return range_m * math.cos(math.radians(min(past_deg, TILT_MAX_DEG))) if past_deg > 0.0 else range_m

    def ground_m(self, pitch_deg: float) -> float:
        """Slant range at which the lower edge of the beam meets level ground; infinite when it never does."""
        below_deg = self._half_deg - self._up_deg - pitch_deg
        return self._height_m / math.sin(math.radians(min(below_deg, 90.0))) if below_deg > 0.0 else math.inf

    def is_ground(self, range_m: float, pitch_deg: float) -> bool:
        """Whether a return at `range_m` may be the ground: within `GROUND_M` of the slant, give or take the pitch."""
        slant_m = self.ground_m(pitch_deg)
        if slant_m - range_m > 4.0:  # also infinite
            return False
        below = math.radians(min(self._half_deg - self._up_deg - pitch_deg, 90.0))
        return abs(range_m - slant_m) <= GROUND_M + slant_m / max(math.tan(below), 0.02) * math.radians(PITCH_ERROR_DEG)
