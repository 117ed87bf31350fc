"""The checks before a walk: what each wants to see, what it does when it does not, and why.

Each wants fresh data: a driver that was loaded, or a port that was opened, proves nothing.  What a check may do:

- `blocks`: the device does not call itself guarding ("Stop now, ...").  It warns all the same of what it sees.
- `limits`: it guards, and the guard state is `limited` with a reason that is said ("Go slowly, ...").
- `tells`: it is said by its own words, and protection is whole.
- `informs`: the helper's side and a press tell it; it never keeps anybody from walking.

A device that refuses for a trifle is left at home, where it protects nobody: only what leaves nothing to warn with
blocks.  The table is held to docs/check.md and to the words of each language by tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from retrowalk.core.posture import Vector

G_M_S2 = 9.81
STILL_S = 2.0
"""Stillness is looked at over so long."""
STILL_RATE_RAD_S = 0.35
"""Sum of the three rates: somebody who sways on the spot stays below 0.2, somebody who walks does not."""
BIAS_M_S2 = 0.05 * G_M_S2
"""The mean of gravity must be right to so much.  An LSM6DSOX is within 0.02 g, a used MPU-6050 within 0.05 g; more
turns a lean of 6 degrees into none."""
GYRO_BIAS_RAD_S = math.radians(5.0)
"""A rate at rest beyond this is not followed any more: of it 3 degrees/s are found and taken off while walking."""
BATTERY_TELL_PERCENT = 30.0
"""Below it a walk may not be finished: an hour and a quarter of the four that a full battery lasts."""
BATTERY_BLOCK_PERCENT = 10.0
"""Below it no walk is begun.  A walk that was begun goes on: the walker is told to stop walking, in time."""


class Effect(Enum):
    """What a check does when it fails."""

    BLOCKS = "blocks"
    LIMITS = "limits"
    TELLS = "tells"
    INFORMS = "informs"


@dataclass(frozen=True, slots=True)
class PreWalk:
    """One check."""

    name: str
    wants: str
    """What it must see, in words."""
    effect: Effect
    reasons: tuple[str, ...]
    """Of the guard state while it fails (`alerts.LIMITS`), or the part of its fault (`alerts.FAULT_PARTS`); what of
    these is said is in the texts."""
    why: str
    """Why it does that much, and not more or less."""


CHECKS: tuple[PreWalk, ...] = (
    PreWalk(
        "rear range",
        "a hand behind, seen by each rear sensor that is fitted, and seen to leave; readings less than 0.5 s old since",
        Effect.LIMITS,
        ("unchecked", "rear"),
        "a sensor that has not seen the hand is named; what the others see is warned of all the same",
    ),
    PreWalk(
        "any rear range",
        "readings of at least one rear sensor",
        Effect.BLOCKS,
        ("rear",),
        "without any nothing behind is seen",
    ),
    PreWalk(
        "drop-off",
        "the ground, where it must be, less than 0.5 s ago",
        Effect.LIMITS,
        ("drop", "ground"),
        "people walk where there are no kerbs, and are told that it sees none",
    ),
    PreWalk(
        "motion sensor",
        "samples that differ from each other, less than 0.5 s old; and two seconds of standing still in which gravity "
        "is right to 0.05 g and no rate is beyond 5 degrees/s",
        Effect.LIMITS,
        ("imu", "inexact"),
        "ranges are warned of without it; falls and balance are not watched, or not as well",
    ),
    PreWalk(
        "clip",
        "upright within 35 degrees of the clip's own axes, and within 15 degrees of where it sat",
        Effect.LIMITS,
        ("clip", "unchecked"),
        "a clip that hangs tells nothing of the trunk",
    ),
    PreWalk(
        "sound",
        "a press that answers a question which was heard, or a microphone that hears it",
        Effect.LIMITS,
        ("unheard", "voice"),
        "buzzer and vibration go with each warning",
    ),
    PreWalk(
        "touch",
        "lines of buzzer and motor that can be driven; whether they are felt only the wearer knows",
        Effect.TELLS,
        ("buzzer", "vibration"),
        "the voice says the same",
    ),
    PreWalk(
        "any warning",
        "a voice that plays, or buzzer and motor",
        Effect.BLOCKS,
        ("voice", "vibration"),
        "a warning that cannot be told is none",
    ),
    PreWalk(
        "configuration",
        "settings that can be used, if only the last good ones",
        Effect.BLOCKS,
        ("config",),
        "defaults nobody has chosen may be those of another walker",
    ),
    PreWalk(
        "battery, begun",
        "10 % of charge, if there is a gauge and it answers",
        Effect.BLOCKS,
        ("battery",),
        "the walk would end without warnings far from home; one that has begun is not blocked",
    ),
    PreWalk(
        "battery",
        "30 % of charge, and a gauge that answers if there is one",
        Effect.TELLS,
        ("battery",),
        "the time that is left is said, and is for the walker to judge",
    ),
    PreWalk(
        "disk",
        "room, and writes that succeed",
        Effect.TELLS,
        ("recording", "outbox", "state"),
        "nothing between a sample and a warning needs it",
    ),
    PreWalk(
        "air temperature",
        "a temperature, if there is a thermometer",
        Effect.TELLS,
        ("thermometer",),
        "without one the air is taken for cold: it warns 5 % too early, never late",
    ),
    PreWalk(
        "supply and heat", "5 V, and a processor that is not slowed", Effect.TELLS, ("power", "heat"), "it works on"
    ),
    PreWalk(
        "network", "a broker that answers, if one is set", Effect.INFORMS, ("courier",), "warnings need no network"
    ),
    PreWalk(
        "helper", "a hub, or somebody who listens", Effect.INFORMS, ("courier",), "a fall is told to passers-by, too"
    ),
    PreWalk("clock", "a wall clock that was set", Effect.INFORMS, (), "every duration is counted by another clock"),
)
"""In the order in which they matter."""


class Stillness:
    """Whether the motion sensor is right at rest, by the first two seconds of standing still.

    Feed it samples until `proved` or `inexact`; it goes on looking while it is `inexact`.  Nobody who never stands
    still is blamed for that: then nothing is known of it.
    """

    def __init__(self) -> None:
        self.proved = False
        self.inexact = False
        """The last still stretch was wrong."""
        self.detail = ""
        self._begin(-math.inf)

    def start(self) -> None:
        """The check begins anew."""
        self.proved = self.inexact = False
        self.detail = ""
        self._begin(-math.inf)

    def _begin(self, t_s: float) -> None:
        self._from_s = t_s
        self._count = 0
        self._sums = [0.0] * 6
        self._first: Vector | None = None
        self._differs = False

    def update(self, t_s: float, accel: Vector, gyro: Vector) -> bool:
        """Takes a sample (m/s2, rad/s); returns whether what is known of it has changed."""
        if self.proved:
            return False
        if abs(gyro[0]) + abs(gyro[1]) + abs(gyro[2]) > STILL_RATE_RAD_S or not 0.0 <= t_s - self._from_s < 2 * STILL_S:
            self._begin(t_s)
            return False
        self._differs = self._differs or (self._first is not None and accel != self._first)
        self._first = accel
        sums = self._sums
        for axis in range(3):
            sums[axis] += accel[axis]
            sums[axis + 3] += gyro[axis]
        self._count += 1
        if t_s - self._from_s < STILL_S:
            return False
        before = self.inexact, self.proved
        self._judge()
        self._begin(t_s)
        return before != (self.inexact, self.proved)

    def _judge(self) -> None:
        count = self._count
        ax, ay, az, gx, gy, gz = (value / count for value in self._sums)
        off_m_s2 = math.sqrt(ax * ax + ay * ay + az * az) - G_M_S2
        rate_rad_s = max(abs(gx), abs(gy), abs(gz))
        if not self._differs:
            return  # one and the same sample: a chip that hangs, which is another fault
        self.inexact = abs(off_m_s2) > BIAS_M_S2 or rate_rad_s > GYRO_BIAS_RAD_S
        self.proved = not self.inexact
        self.detail = f"gravity off by {off_m_s2 / G_M_S2:+.3f} g, {math.degrees(rate_rad_s):.1f} degrees/s at rest"
