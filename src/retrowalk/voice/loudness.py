"""How loud to be: follows the surroundings, so that a warning stands out and a calm word does not shout.  Pure.

Levels are decibels on the microphone's own scale: how loud our sound arrives and how loud the surroundings are, are
heard by the same microphone in the same band, so nothing has to be calibrated.  ISO 7731 asks for 15 dB over the
surroundings.  `voice.volume` is what warnings have at the least; full scale is the most, and a maker sets the
amplifier so that this is no more than 90 dB(A) at the ear.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from statistics import median

MARGIN_DB = 15.0
"""A warning stands so far over the surroundings (ISO 7731:2003)."""
RESERVE_DB = 5.0
"""Traffic is up to 4 dB louder by the A curve, against a warning, than in the band that is listened to; and
surroundings change within a message, while its gain does not."""
CALM_LEAST_DB = -9.0
"""Chimes, ticks and coaching in a quiet room may be so much softer than `voice.volume`; never silent."""

BLOCK_S = 0.1
"""One level is taken so often."""
MEDIAN_OF = 5
"""Levels of which the middle one counts: a door that slams is not the surroundings."""
RISE_S = 0.5
FALL_S = 10.0
"""Time constants: quick to follow a lorry that comes, slow to believe that it has gone."""


@dataclass(frozen=True, slots=True)
class Gains:
    """What messages that begin now are multiplied by."""

    calm: float = 1.0
    """Messages without a level, and advisories."""
    urgent: float = 1.0
    """Cautions and warnings; never below 1."""


def gains(surroundings_db: float, warning_db: float, headroom_db: float) -> Gains:
    """Gains in such surroundings, when a warning at the configured volume arrives with `warning_db`.

    `headroom_db` is what lies between the configured volume and full scale.
    """
    wanted_db = surroundings_db + MARGIN_DB + RESERVE_DB - warning_db
    return Gains(
        10.0 ** (min(max(wanted_db, CALM_LEAST_DB), headroom_db) / 20.0),
        10.0 ** (min(max(wanted_db, 0.0), headroom_db) / 20.0),
    )


class Surroundings:
    """The level of the surroundings: quick to rise, slow to fall.

    Louder input never gives a lower level, at any time.
    """

    def __init__(self) -> None:
        self.level_db: float | None = None
        """None until there were `MEDIAN_OF` blocks."""
        self._blocks: deque[float] = deque(maxlen=MEDIAN_OF)

    def feed(self, power: float, seconds: float = BLOCK_S) -> None:
        """Takes the mean square of a block in which we were silent."""
        self._blocks.append(10.0 * math.log10(max(power, 1.0)))
        if len(self._blocks) < MEDIAN_OF:
            return
        now_db = median(self._blocks)
        if self.level_db is None:
            self.level_db = now_db
            return
        share = 1.0 - math.exp(-seconds / (RISE_S if now_db > self.level_db else FALL_S))
        self.level_db += share * (now_db - self.level_db)
