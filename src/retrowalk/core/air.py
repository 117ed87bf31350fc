"""How far sound really goes: turns what ultrasonic sensors measured by the temperature of the air.

Sound is slower in cold air: 325 m/s at -10 C, 343 at 20 C, 355 at 40 C.  A range that is computed for warmer air than
there is comes out too far, which is the dangerous side.  Drivers therefore compute for cold air (`temperature_c` of an
HC-SR04, 0 C), and here the range is turned to the air there is while a thermometer tells.  Without one, or when it
has fallen silent, what the driver said stands: 1.9 % too far at -10 C, right at 0 C, 3.5 % too near at 20 C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from retrowalk.config import A02yyuw, HcSr04, RangeSensor
from retrowalk.core.samples import AirSample

FRESH_S = 300.0
"""Air does not change within minutes, a walker who goes through a door does: an older sample counts for nothing."""
PLAUSIBLE_C = (-30.0, 60.0)
"""No walk is colder; none is warmer, even by a thermometer in the sun, which reads 15 C and 2.5 % too far."""
LAG_S = 60.0
"""A thermometer follows the air by about a minute.  Coming out of a warm house it would read far for as long: while it
falls, the air is taken for as much colder as it will fall in that time.  While it rises it is taken at its word."""
AGREE_MIN_S = 5.0
"""Two samples closer together than this tell no trend: a sixteenth of a degree would be one."""
SLEW_PER_S = 0.004
"""The factor changes no faster, so that no range jumps out of its track's gate and nothing seems to move: 16 mm/s at
4 m.  From 0 C to 30 C takes 13 s, on the side that reads near."""
A02YYUW_COMPUTED_C = 20.0
"""The temperature an A02YYUW computes with, unless it measures its own: nobody tells."""


def speed_of_sound_m_s(temperature_c: float) -> float:
    """Speed of sound in dry air, about 331 m/s at 0 C and 343 m/s at 20 C.  From -273 C on."""
    return 331.3 * math.sqrt(1.0 + temperature_c / 273.15)


class AirSpeed:
    """What the ranges of each sensor are multiplied by.  Fed with every `AirSample`; implausible ones are thrown away.

    Only ultrasonic sensors have a factor other than 1.
    """

    def __init__(self, sensors: Sequence[RangeSensor]) -> None:
        self._sensors = {sensor.name: sensor for sensor in sensors if isinstance(sensor, HcSr04 | A02yyuw)}
        self._factors: dict[str, tuple[float, float]] = {}
        """By sensor: when its factor was asked for last, and what it was."""
        self._sample: tuple[float, float] | None = None
        """When the latest plausible sample was measured, and what it said."""
        self._air_c = 0.0

    def feed(self, sample: AirSample) -> bool:
        """Takes a sample; returns whether it is plausible."""
        t, said_c = sample.t_measured_s, sample.temperature_c
        if not PLAUSIBLE_C[0] <= said_c <= PLAUSIBLE_C[1]:  # also NaN
            return False
        air_c = said_c
        if self._sample is not None:
            earlier_s, earlier_c = self._sample
            apart_s = t - earlier_s
            if apart_s < AGREE_MIN_S:
                return True  # the trend from before is still the better one
            if apart_s <= FRESH_S and said_c < earlier_c:
                air_c = max(PLAUSIBLE_C[0], said_c - (earlier_c - said_c) * LAG_S / apart_s)
        self._sample, self._air_c = (t, said_c), air_c
        return True

    def temperature_c(self, now: float) -> float | None:
        """The air at `now` (session seconds) as it is computed with; None: nobody knows."""
        if self._sample is None or now - self._sample[0] > FRESH_S:
            return None
        return self._air_c

    def factor(self, sensor: str, now: float) -> float:
        """What a range that `sensor` gives at `now` is multiplied by; 1 for what is no ultrasonic sensor.

        To be asked with a `now` that does not go back.
        """
        known = self._sensors.get(sensor)
        if known is None:
            return 1.0
        asked_s, factor = self._factors.get(sensor, (now, 1.0))
        wanted = self._wanted(known, now)
        if factor != wanted:
            most = SLEW_PER_S * (now - asked_s)
            factor += max(-most, min(most, wanted - factor))
        self._factors[sensor] = (now, factor)
        return factor

    def _wanted(self, sensor: RangeSensor, now: float) -> float:
        air_c = self.temperature_c(now)
        if air_c is None:
            return 1.0
        if isinstance(sensor, HcSr04):
            return speed_of_sound_m_s(air_c) / speed_of_sound_m_s(sensor.temperature_c)
        # Its driver has read it as if the air had 0 C.  A module that measures the temperature itself is right already,
        # one that does not is right at 20 C: what is nearer of the two holds.
        of_module = min(1.0, speed_of_sound_m_s(air_c) / speed_of_sound_m_s(A02YYUW_COMPUTED_C))
        return of_module * speed_of_sound_m_s(A02YYUW_COMPUTED_C) / speed_of_sound_m_s(0.0)
