"""The echo of a 40 kHz module: what comes back, what is missed, what is made up.

After the project's ranging reference (section 5.4): a detection margin in decibels by target, distance, air and beam
angle; bursts of bad pings; cycle slips; late stamps; second echoes; false near echoes; clutter from the ground; rain.
Its numbers are estimates until a bench measures them (`estimates.EchoParameters`).
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from retrowalk.sim.estimates import EchoParameters

ABSORPTION_DB_M = ((-10.0, 0.30), (0.0, 0.45), (10.0, 1.04), (20.0, 1.32), (30.0, 1.53), (40.0, 1.73))
"""One-way absorption at 40 kHz by air temperature (C), dB/m: ISO 9613-1, extrapolated; usual humidity for each."""

WIDTH_M = {
    "car": 1.8,
    "pole_90mm": 0.09,
    "person_jacket": 0.45,
    "person_fleece": 0.45,
    "bicycle": 0.45,
    "child": 0.25,
    "rod_25mm": 0.025,
    "wire_6mm": 0.006,
}
"""Width of what may be narrower than a beam's wandering."""
WIDE_M = 4.0
"""Width of all else: walls, hedges, fences."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something behind.  `closing_m_s` is positive when it nears.

    `left_m` is how far its middle is to the walker's own left of the line that leads straight back.
    """

    kind: str
    range_m: float
    closing_m_s: float = 0.0
    left_m: float = 0.0

    def seen_from(self, bearing_left_deg: float) -> tuple[float, float]:
        """Distance to its nearest point, and how far that is off an axis of this bearing (degrees, left positive)."""
        aside_m = math.copysign(max(0.0, abs(self.left_m) - WIDTH_M.get(self.kind, WIDE_M) / 2.0), self.left_m)
        off_deg = math.degrees(math.atan2(aside_m, self.range_m)) - bearing_left_deg
        return math.hypot(self.range_m, aside_m), off_deg


@dataclass(frozen=True, slots=True)
class Scene:
    """What the module looks at.  `targets` are nearest first; `nose_down_deg` is the beam's angle below level."""

    targets: Sequence[Target]
    nose_down_deg: float = 0.0
    mount_height_m: float = 0.9
    ground: str = "asphalt"
    temperature_c: float = 20.0
    wind_m_s: float = 0.0
    rain: bool = False
    covered: bool = False
    """Whether the membrane is pressed against something: its own ringing hides every echo."""


@dataclass(frozen=True, slots=True)
class Echo:
    """What a ping gives: time of flight, or None for no target; how late each edge is stamped; what it came from."""

    flight_s: float | None
    rise_late_s: float
    fall_late_s: float
    source: str


def stream(seed: int, name: str) -> random.Random:
    """A random stream of its own for each consumer, so that one consumer's draws do not move another's."""
    return random.Random(f"{seed}:{name}")  # a string is hashed whole, the same on every machine


def speed_of_sound_m_s(temperature_c: float) -> float:
    """Speed of sound in air (about 331 m/s at 0 C, 343 m/s at 20 C)."""
    return 331.3 * math.sqrt(1.0 + temperature_c / 273.15)


def absorption_db_m(temperature_c: float) -> float:
    """One-way absorption at 40 kHz, dB/m, held beyond -10 and 40 C."""
    table = ABSORPTION_DB_M
    if temperature_c <= table[0][0]:
        return table[0][1]
    for (t0, a0), (t1, a1) in itertools.pairwise(table):
        if temperature_c <= t1:
            return a0 + (a1 - a0) * (temperature_c - t0) / (t1 - t0)
    return table[-1][1]


def margin_db(
    kind: str, range_m: float, parameters: EchoParameters, *, temperature_c: float = 20.0, off_axis_deg: float = 0.0
) -> float:
    """Detection margin of a target in good conditions; 0 dB is seen every second time."""
    beam_db = 6.0 * (off_axis_deg / parameters.half_beam_deg) ** 2
    return (
        parameters.wall_margin_db
        - 40.0 * math.log10(max(range_m, 0.02))
        - 2.0 * absorption_db_m(temperature_c) * range_m
        - parameters.target_loss_db[kind]
        - 2.0 * beam_db
    )


def detection_probability(margin: float, parameters: EchoParameters) -> float:
    """Chance that a ping detects a target of this margin (dB)."""
    return 1.0 / (1.0 + math.exp(min(60.0, max(-60.0, -margin / parameters.slope_db))))


def ground_slant_m(mount_height_m: float, nose_down_deg: float, half_beam_deg: float) -> float:
    """Slant distance at which the beam's lower edge meets level ground; infinite when it never does."""
    below_deg = nose_down_deg + half_beam_deg
    if below_deg <= 0.0:
        return math.inf
    return mount_height_m / math.sin(math.radians(min(below_deg, 90.0)))


class EchoModel:
    """One module's echoes.  Draws only from its own streams: equal pings and seeds give equal echoes.

    `bearing_left_deg` is where its axis points, from straight behind towards the walker's own left.
    """

    def __init__(
        self,
        seed: int,
        name: str = "rear",
        parameters: EchoParameters | None = None,
        *,
        bearing_left_deg: float = 0.0,
    ) -> None:
        self.parameters = parameters or EchoParameters()
        self.bearing_left_deg = bearing_left_deg
        self.crosstalk_p = 0.0
        """Share of pings that hear another walker's module (5.4 item 6: 0.05 to 0.2 when one is near)."""
        self._detect = stream(seed, f"{name}.detect")
        self._noise = stream(seed, f"{name}.noise")
        self._stamps = stream(seed, f"{name}.stamps")
        self._burst = stream(seed, f"{name}.burst")
        self._clutter = stream(seed, f"{name}.clutter")
        self._bad = False
        self._blocked_until_s = -math.inf
        self._crosstalk_m = self._clutter.uniform(0.2, 3.0)

    def ping(self, t_s: float, scene: Scene) -> Echo:
        """What a ping sent at session second `t_s` gives."""
        parameters = self.parameters
        speed_m_s = speed_of_sound_m_s(scene.temperature_c)
        lost_db = self._lost_db(t_s, scene)
        candidates: list[tuple[float, str]] = []
        missed: tuple[float, str] | None = None
        bearing_deg = self.bearing_left_deg
        for (at_m, off_deg), target in sorted(
            ((target.seen_from(bearing_deg), target) for target in scene.targets), key=lambda seen: seen[0][0]
        ):
            # The echo is as far as the target was at mid-flight.
            range_m = max(0.02, at_m - target.closing_m_s * at_m / speed_m_s)
            margin = margin_db(
                target.kind,
                range_m,
                parameters,
                temperature_c=scene.temperature_c,
                off_axis_deg=math.hypot(scene.nose_down_deg, off_deg),
            )
            if target.kind == "hedge":
                margin += self._detect.uniform(-parameters.hedge_spread_db, parameters.hedge_spread_db)
            heard = self._detect.random() < detection_probability(margin - lost_db, parameters)
            if heard:
                candidates.append((range_m + self._error_m(margin - lost_db, speed_m_s), target.kind))
                break
            if missed is None and margin > parameters.second_echo_min_db:
                missed = (range_m, target.kind)
        if not candidates and missed is not None and self._detect.random() >= parameters.missed_silent_p:
            range_m = missed[0] * self._detect.uniform(*parameters.second_echo)
            if range_m <= parameters.reach_m:
                candidates.append((range_m, "second_echo"))
        self._add_clutter(scene, candidates)
        if t_s < self._blocked_until_s:
            candidates = [(parameters.droplet_range_m, "droplet")]
        rise_late_s, fall_late_s = self._late_s()
        if not candidates or scene.covered:
            return Echo(None, rise_late_s, fall_late_s, "")
        range_m, source = min(candidates)
        return Echo(2.0 * max(range_m, 0.01) / speed_m_s, rise_late_s, fall_late_s, source)

    def _lost_db(self, t_s: float, scene: Scene) -> float:
        parameters = self.parameters
        chance = self._burst.random()
        self._bad = chance >= parameters.good_p if self._bad else chance < parameters.bad_p
        lost_db = parameters.bad_db if self._bad else 0.0
        if scene.rain:
            lost_db += parameters.rain_db
            if self._burst.random() < parameters.droplet_p and t_s >= self._blocked_until_s:
                self._blocked_until_s = t_s + self._burst.uniform(*parameters.droplet_s)
        return lost_db

    def _error_m(self, margin: float, speed_m_s: float) -> float:
        parameters = self.parameters
        noise = self._noise
        error_m = noise.gauss(0.0, parameters.sigma_m)
        slips = 0
        if margin < parameters.slip_below_db / 2.0:
            slips = noise.randint(1, 3)
        elif margin < parameters.slip_below_db:
            slips = int(noise.random() < 2.0 * (1.0 - margin / parameters.slip_below_db))
        return error_m + slips * parameters.cycle_s * speed_m_s / 2.0

    def _add_clutter(self, scene: Scene, candidates: list[tuple[float, str]]) -> None:
        parameters, clutter = self.parameters, self._clutter
        windy = scene.wind_m_s > parameters.windy_m_s
        # Every ping draws the same number of numbers here, so that one kind of clutter does not move another.
        false_near, ground, spread, crosstalk, where = (clutter.random() for _ in range(5))
        if false_near < (parameters.false_near_wind_p if windy else parameters.false_near_p):
            near_m, far_m = parameters.false_near_m
            candidates.append((near_m + where * (far_m - near_m), "false_near"))
        slant_m = ground_slant_m(scene.mount_height_m, scene.nose_down_deg, parameters.half_beam_deg)
        if slant_m <= parameters.reach_m and ground < parameters.ground_clutter[scene.ground]:
            candidates.append((slant_m * (1.0 + parameters.ground_spread * (2.0 * spread - 1.0)), "ground"))
        if self.crosstalk_p > 0.0:
            # Another module's clock drifts against ours: its false range slides.
            self._crosstalk_m = 0.2 + (self._crosstalk_m - 0.2 + 0.05 + 0.02 * where) % 2.8
            if crosstalk < self.crosstalk_p:
                candidates.append((self._crosstalk_m, "crosstalk"))

    def _late_s(self) -> tuple[float, float]:
        parameters, stamps = self.parameters, self._stamps
        rise_s = stamps.random() * parameters.stamp_jitter_s
        fall_s = stamps.random() * parameters.stamp_jitter_s
        if stamps.random() < parameters.stamp_outlier_p:
            late_s = stamps.uniform(*parameters.stamp_outlier_s)
            if stamps.random() < 0.5:
                rise_s += late_s
            else:
                fall_s += late_s
        return rise_s, fall_s
