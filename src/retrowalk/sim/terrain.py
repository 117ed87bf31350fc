"""The ground along the path: kerbs, steps, holes and slopes, how rough it is, and where a beam meets it.

Heights are metres above the ground on which the walk began, over the position along the path (backward positive).
A ground is a sum of features, each a polyline that begins at height 0 and goes on for ever at its last height; a jump
is two points at one position.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from retrowalk.sim.estimates import GroundParameters
from retrowalk.sim.noise import stream

Shape = Sequence[tuple[float, float]]
"""Points (metres from where the feature begins, height in metres), in order."""

DROP_M = 0.05
"""A foot that comes down by more than this in one place has gone over an edge."""
FOOT_M = 0.15
"""The body stands on the mean of the ground so far before and behind the sensor: nobody falls down a kerb at once."""

ROUGH_CELL_M = 0.10
ROUGH_CELLS = 512


@dataclass(frozen=True, slots=True)
class Edge:
    """Where the ground lies lower behind: a foot that goes over it backward steps down."""

    name: str
    position_m: float
    depth_m: float


class Terrain:
    """The ground of one path."""

    def __init__(self, seed: int = 0, parameters: GroundParameters | None = None) -> None:
        self._rough_m = (parameters or GroundParameters()).rough_m
        self.edges: list[Edge] = []
        """The first edge down of each feature."""
        self._features: list[Shape] = []
        self._points: list[tuple[float, float]] = []
        self._x: list[float] = []
        draw = stream(seed, "terrain.rough")
        self._rough = [draw.gauss(0.0, 1.0) for _ in range(ROUGH_CELLS)]

    @property
    def flat(self) -> bool:
        """Whether there is nothing but level ground."""
        return not self._features

    def add(self, name: str, position_m: float, shape: Shape) -> None:
        """Adds a feature that begins at `position_m`."""
        feature = [(position_m + x, h) for x, h in shape]
        self._features.append(feature)
        for (x0, h0), (x1, h1) in itertools.pairwise(feature):
            if x0 == x1 and h0 - h1 >= DROP_M:
                self.edges.append(Edge(name, x0, h0 - h1))
                break
        self._points = []
        for x in sorted({x for feature in self._features for x, _ in feature}):
            before, after = (
                sum(_height(feature, find(_positions(feature), x), x) for feature in self._features)
                for find in (bisect_left, bisect_right)
            )
            self._points += [(x, before), (x, after)] if before != after else [(x, before)]
        self._x = _positions(self._points)

    def height_m(self, position_m: float) -> float:
        """Height of the ground; at a jump, of what lies behind it."""
        return _height(self._points, bisect_right(self._x, position_m), position_m)

    def stands_m(self, position_m: float) -> float:
        """Height on which a body stands."""
        if not self._points:
            return 0.0
        return sum(self.height_m(position_m + FOOT_M * share) for share in (-1.0, -0.5, 0.0, 0.5, 1.0)) / 5.0

    def hit_m(self, position_m: float, height_m: float, down_deg: float) -> float:
        """Distance along a beam from `position_m`, `height_m` up, `down_deg` below level; infinite if it meets none."""
        fall = math.tan(math.radians(down_deg))
        stretch = 1.0 / math.cos(math.radians(down_deg))
        x, z, ground = position_m, height_m, self.height_m(position_m)
        for next_x, next_ground in self._points[bisect_right(self._x, x) :]:
            next_z = height_m - fall * (next_x - position_m)
            if next_z <= next_ground:
                if next_x > x:
                    x += (z - ground) / ((next_ground - ground) / (next_x - x) + fall)
                return (x - position_m) * stretch  # it may be the face of a step up
            x, z, ground = next_x, next_z, next_ground
        return (x + (z - ground) / fall - position_m) * stretch if fall > 0.0 else math.inf

    def roughness_m(self, ground: str, position_m: float) -> float:
        """How much higher a spot of this kind of ground lies at `position_m` than the ground as a whole."""
        cell = position_m / ROUGH_CELL_M
        below = math.floor(cell)
        share = cell - below
        a, b = self._rough[below % ROUGH_CELLS], self._rough[(below + 1) % ROUGH_CELLS]
        # Between two independent cells a weighted mean would be smoother than the cells are.
        even = math.sqrt(share * share + (1.0 - share) * (1.0 - share))
        return self._rough_m[ground] * (a * (1.0 - share) + b * share) / even


def _positions(points: Shape) -> list[float]:
    return [x for x, _ in points]


def _height(points: Shape, number: int, x: float) -> float:
    """Height at `x`, where `number` points lie before it."""
    if number == 0:
        return 0.0
    x0, h0 = points[number - 1]
    if number == len(points):
        return h0
    x1, h1 = points[number]
    return h0 + (h1 - h0) * (x - x0) / (x1 - x0)


# ------------------------------------------------------------------------------------------------- features


def kerb(depth_m: float) -> Shape:
    """The ground lies `depth_m` lower from here on (negative: higher)."""
    return [(0.0, 0.0), (0.0, -depth_m)]


def stairs(steps: int, rise_m: float, tread_m: float) -> Shape:
    """Stairs down, and level ground below."""
    shape: list[tuple[float, float]] = []
    for step in range(steps):
        shape += [(step * tread_m, -step * rise_m), (step * tread_m, -(step + 1) * rise_m)]
    return shape


def hole(length_m: float, depth_m: float) -> Shape:
    """A hole with upright walls, and the ground as before behind it."""
    return [(0.0, 0.0), (0.0, -depth_m), (length_m, -depth_m), (length_m, 0.0)]


def slope(percent: float, length_m: float) -> Shape:
    """Ground that falls (positive) or rises backward, and is level again behind it."""
    return [(0.0, 0.0), (length_m, -percent / 100.0 * length_m)]
