"""How far the working rear sensors can be relied upon: the least that is seen in time of what may stand behind.

Each sensor's `clear_range_m` is what it sees in usual conditions.  Its state takes from that: a lost sensor sees
nothing; late, doubtful or contradictory answers cost range; air colder than a sensor computes with reads far; a trunk
that leans turns the beams to the ground or over heads.

Then the set.  The nearest trusted counts, so a thing is seen as far as by the sensor that sees it best; but no sensor
sees everything.  Things fall into two kinds, and the kind that the set sees worse counts:

* broad and soft ones (people, hedges, tilted walls).  Sound is swallowed by cloth, a lidar sees even black cloth to its
  `clear_range_m`;
* thin ones (poles, chain-link).  A lidar's beam is a few centimetres wide and beside them most of the time.

In the simulated physics (60 approaches at 0.7 m/s, 15 C; the distance from which 95 and 50 of 100 are followed):
ultrasonic alone jacket 2.0 / 2.7, fleece 1.6 / 2.0, wall tilted by 20 degrees 1.6 / 2.2, pole 2.2 / 2.8, chain-link 1.3
/ 1.9 m; lidar alone jacket 3.3 / 3.5, fleece 4.1 / 4.2, pole straight behind 3.0 / 3.2, chain-link 1.6 / 1.9 m.  With
the defaults: ultrasonic and lidar 1.96 m, ultrasonic alone 1.77 m, lidar alone 1.75 m.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from retrowalk.config import A02yyuw, Config, HcSr04, RangeSensor, TfLuna, Vl53l1x
from retrowalk.core.air import AirSpeed, speed_of_sound_m_s
from retrowalk.core.beam import HALF_BEAM_DEG, Beam
from retrowalk.core.freshness import Freshness
from retrowalk.core.samples import RangeSample, RangeStatus

BROAD_SHARE = {HcSr04: 0.9, A02yyuw: 0.9, TfLuna: 1.0, Vl53l1x: 1.0}
"""Share of `clear_range_m` to which broad, soft things are seen ..."""
THIN_SHARE = {HcSr04: 1.0, A02yyuw: 1.0, TfLuna: 0.7, Vl53l1x: 0.7}
"""... and thin ones."""

SPOILT_S = 5.0
"""Answers of about this time tell how many are spoilt."""
SPOILT_USUAL = 0.10
"""So many are spoilt in usual conditions (second echoes of what is hardly seen, a gust): they cost nothing."""
AGREE_M = 0.35
AGREE_S = 0.4
"""An echo agrees with another one of this time that is so near: else it is a stray, and spoilt."""
COLDEST_C = -10.0
"""Coldest walk; without a thermometer every walk may be as cold."""
LEAN_S = 4.0
"""The trunk's mean pitch over this time counts: single steps do not."""
LEAN_FREE_DEG = 3.0
"""So much of a lean is within what `clear_range_m` allows for."""
LOWEST_M, HIGHEST_M = 0.3, 1.4
"""What stands behind is met by the axis of a narrow beam between these heights: above the ground, below the roof of a
car."""
WIDE_DEG = 10.0
"""Half a beam from this on is wide: what it points past is heard more weakly, not missed."""


@dataclass(slots=True)
class _Answers:
    """The latest answers of a sensor."""

    spoilt: float = 0.0
    """Share of them that were worth nothing."""
    heard_s: float = -math.inf
    near: tuple[tuple[float, float], tuple[float, float]] = ((-math.inf, 0.0), (-math.inf, 0.0))
    """When the last two echoes were received, and their ranges."""


def usual_reach_m(config: Config) -> float:
    """Distance to which the configured rear sensors see what may stand behind, on a walk on which all of them work."""
    known = config.air.thermometer != "none"
    rears = (sensor for sensor in config.range_sensor if sensor.role == "rear")
    return _of_set((sensor, sensor.clear_range_m * (1.0 if known else _coldest(sensor))) for sensor in rears)


def _of_set(reaches_m: Iterable[tuple[RangeSensor, float]]) -> float:
    """Of what each sensor sees alone, what the set sees."""
    broad_m = thin_m = 0.0
    for sensor, alone_m in reaches_m:
        broad_m = max(broad_m, BROAD_SHARE[type(sensor)] * alone_m)
        thin_m = max(thin_m, THIN_SHARE[type(sensor)] * alone_m)
    return min(broad_m, thin_m)


def _coldest(sensor: RangeSensor) -> float:
    """True range over the one that is read in the coldest air; 1 for light."""
    if not isinstance(sensor, HcSr04 | A02yyuw):
        return 1.0
    computed_c = sensor.temperature_c if isinstance(sensor, HcSr04) else 0.0
    return min(1.0, speed_of_sound_m_s(COLDEST_C) / speed_of_sound_m_s(computed_c))


class Reach:
    """Feeds on every answer of the rear sensors; `reach_m` is asked for now and then.  Times are session seconds."""

    def __init__(self, config: Config, freshness: Freshness, air: AirSpeed) -> None:
        self._freshness = freshness
        self._air = air
        self._late_s = config.freshness.degraded_after_s
        self._mount = config.mount
        self._sensors = {sensor.name: sensor for sensor in config.range_sensor if sensor.role == "rear"}
        self._answers = {name: _Answers() for name in self._sensors}
        self._beams = {name: Beam(sensor, config.mount) for name, sensor in self._sensors.items()}
        self._pitch_deg = 0.0
        self._pitch_s = -math.inf

    def saw(self, item: RangeSample, *, ground: bool = False) -> None:
        """Takes an answer, as the sensor gave it; `ground`: it comes from where the ground is."""
        answers = self._answers[item.sensor]
        now = item.t_received_s
        since_s = now - answers.heard_s
        answers.heard_s = now
        if since_s > self._late_s:
            answers.spoilt += min(1.0, since_s / SPOILT_S) * (1.0 - answers.spoilt) if since_s < SPOILT_S else 0.0
            since_s = 0.0
        spoilt = item.status is not RangeStatus.NO_TARGET
        range_m = item.range_m
        if item.status is RangeStatus.VALID and range_m is not None:
            fresh_s = now - AGREE_S
            spoilt = not ground and not any(t >= fresh_s and abs(m - range_m) <= AGREE_M for t, m in answers.near)
            answers.near = (answers.near[1], (now, range_m))
        answers.spoilt += since_s / SPOILT_S * ((1.0 if spoilt else 0.0) - answers.spoilt)

    def leans(self, t_s: float, pitch_deg: float) -> None:
        """The trunk's pitch from the wearer's own upright (degrees, forward positive) at `t_s`, measured."""
        dt = t_s - self._pitch_s
        self._pitch_s = t_s
        if 0.0 < dt < LEAN_S:
            self._pitch_deg += dt / LEAN_S * (pitch_deg - self._pitch_deg)

    def spoilt(self, name: str) -> float:
        """Share of the latest answers of a sensor that were worth nothing (0 to 1)."""
        return self._answers[name].spoilt

    def reach_m(self, now: float) -> float:
        """Distance to which the set sees what may stand behind; 0 when no rear sensor works."""
        return _of_set((sensor, self._sensor_m(sensor, now)) for sensor in self._sensors.values())

    def _sensor_m(self, sensor: RangeSensor, now: float) -> float:
        """What is left of a sensor's `clear_range_m`."""
        if not self._freshness.seen(sensor.name):
            return 0.0
        lost = max(0.0, self._answers[sensor.name].spoilt - SPOILT_USUAL)
        usual_m = sensor.clear_range_m * (1.0 - lost) * self._cold(sensor, now)
        return min(usual_m, self._leaning_m(sensor, usual_m))

    def _cold(self, sensor: RangeSensor, now: float) -> float:
        """True range over the one that is read, at worst; 1 with a thermometer, and for light."""
        return 1.0 if self._air.temperature_c(now) is not None else _coldest(sensor)

    def _leaning_m(self, sensor: RangeSensor, usual_m: float) -> float:
        """How far a beam that leaning has turned up or down still meets what stands behind."""
        leans_deg = max(0.0, abs(self._pitch_deg) - LEAN_FREE_DEG)
        if leans_deg == 0.0:
            return usual_m
        height_m, up_deg = self._mount.height_m, self._mount.rear_up_deg + math.copysign(leans_deg, self._pitch_deg)
        half_deg = HALF_BEAM_DEG[type(sensor)]
        if half_deg >= WIDE_DEG:
            # 6 dB one way at the edge of the beam, both ways, and 40 dB a decade of range.
            past = (up_deg / half_deg) ** 2 - (self._mount.rear_up_deg / half_deg) ** 2
            weaker_m = usual_m * min(1.0, float(10.0 ** (-0.3 * past)))
            return min(weaker_m, self._beams[sensor.name].ground_m(self._pitch_deg))
        tangent = math.tan(math.radians(max(-60.0, min(60.0, up_deg))))
        limit_m = HIGHEST_M if tangent > 0.0 else LOWEST_M
        room_m = max(0.1, abs(limit_m - height_m))
        return room_m / abs(tangent) if tangent else usual_m
