"""Has the wearer fallen?  A shock, a fast descent or a fast turn of the trunk; then lying; then stillness.

What may be a fall is a shock (`impact_g`), half a second of falling, or a trunk that turns over within a second.  From
1.5 s after it, and every half second up to `LOOK_UNTIL_S`, a trunk that is tilted and hardly turns is judged.
After a hard shock (`hard_g`), flat and still is a fall.  Else it is weighed how hard, how fast, how far over and how
still, and whether it had been lying before, by weights learned from recorded people (`retrowalk/models/fall.json` has
them, with a sentence for each): so a hard fall may end half sitting against a wall, and a soft one must end flat.  A
shock of a body that lies (it bounces, rolls, is helped) belongs to the fall before it and only puts the next look off.

Not seen: a fall out of bed, for who has been lying for a while, without a step, turns over in bed; a fall that ends
sitting upright, which at the lower back is a jump or a chair; somebody who slides down slowly, who is asked later
(`core/lying.py`).  How good it is: `benchmarks/falls.py`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from retrowalk.config import Fall as Knobs
from retrowalk.core.posture import Vector
from retrowalk.models import Logistic, shipped

G_M_S2 = 9.80665
SLICE_S = 0.048
"""Samples are put together for so long: all that a fall is made of lasts longer."""
KEPT = 280
"""Slices that are kept: as far back as the last look may reach."""
LOOK_FROM_S = 1.5
LOOK_EVERY_S = 0.5
LOOK_UNTIL_S = 9.5
"""Somebody who lies and does not keep still is looked at until so long after what may have been a fall."""
LOOK_S = 1.0
"""A look is at so much time ..."""
ENOUGH = 12
"""... and at no fewer slices of it: else most of it is missing (a gap), and nothing can be said."""
DESCENT_M_S = 0.9
"""Speed downward that may be a fall, by how much less than gravity is felt."""
DESCENT_TAU_S = 0.8
TURN_DEG = 45.0
TURN_SLICES = 21
"""A trunk whose gravity turns by more in about a second may be falling."""
UP_AGAIN_DEG = 35.0
"""Tilted by less the wearer is up, and a shock may be a new fall."""
LAY_DEG = 60.0
LAY_BEFORE_S = 5.0
"""Who has been tilted by more than that for so long was in bed, not on the way to the ground."""
LAY_SHARE = 0.5
"""Who lay for so much of some seconds before a hard shock may be turning over in bed: then it is weighed, too."""
GRAVITY_TAU_S = 0.3
"""Time constant of the mean acceleration that tells where the trunk is, roughly, at any time."""
GAP_S = 0.2
"""A slice stands for no more time than this, however long there was none."""
UP: Vector = (0.0, 0.0, 1.0)
"""Of the clip itself, taken for the wearer's own while that is not known."""

PEAK_MAX_G = 8.0
TURNED_DEG = 50.0
LYING_DEG = 60.0
HARD_G = 1.5


@dataclass(frozen=True, slots=True)
class Fallen:
    """A fall is suspected."""

    impact_g: float
    tilt_deg: float


class Slice(NamedTuple):
    """What some samples in a row say."""

    t_s: float
    x: float
    y: float
    z: float
    """Mean acceleration, m/s2."""
    size_m_s2: float
    """Of that."""
    rate_deg_s: float
    high_m_s2: float
    """Largest acceleration of a sample."""
    descent_m_s: float
    """Speed downward, about; forgotten within a second."""
    gravity: Vector
    """Mean acceleration of the last third of a second."""
    tilt_deg: float
    """Angle between that and upright."""


class Look(NamedTuple):
    """What somebody who may have fallen is judged by.  The model's file says what each is."""

    peak: float
    push: float
    descent: float
    spin: float
    tipping: float
    turned: float
    turned_little: float
    tilted_little: float
    tilt_most: float
    tilt_least: float
    rate: float
    jitter: float
    lay: float
    shocks: float


FEATURES = Look._fields


def tilt_deg(up: Vector, upright: Vector) -> float:
    """Angle between two directions in degrees; 0 for zero vectors."""
    dot = up[0] * upright[0] + up[1] * upright[1] + up[2] * upright[2]
    norm = math.sqrt((up[0] ** 2 + up[1] ** 2 + up[2] ** 2) * (upright[0] ** 2 + upright[1] ** 2 + upright[2] ** 2))
    if norm < 1e-9:
        return 0.0
    return math.degrees(math.acos(max(-1.0, min(1.0, dot / norm))))


class FallDetector:
    """Feeds on IMU samples; answers `Fallen` at most once for whatever may have been a fall.

    `model` stands in place of the shipped one.  Raises `ValueError` for a model of other features.
    """

    def __init__(self, knobs: Knobs, model: Logistic | None = None) -> None:
        self._knobs = knobs
        model = model or shipped("fall")
        if model.names() != FEATURES:
            raise ValueError(f"fall model: judges by {', '.join(model.names())}: must be {', '.join(FEATURES)}")
        self._model = model.plain()
        self._hard = math.log(knobs.hard_g)
        self.looked: Look | None = None
        """What was judged at the latest sample; None: nothing was."""
        self._slices: deque[Slice] = deque(maxlen=KEPT)
        self._ends_s = -math.inf
        self._x = self._y = self._z = 0.0
        self._rates = 0.0
        self._high = 0.0
        self._count = 0
        self._slice_s = self._stepped_s = -math.inf
        self._descent_m_s = 0.0
        self._gravity: Vector = (0.0, 0.0, 0.0)
        self._lying_since_s: float | None = None
        self._event_s: float | None = None
        self._look_s = 0.0

    def update(self, t_measured_s: float, accel: Vector, gyro: Vector, upright: Vector | None) -> Fallen | None:
        """Feeds one sample (m/s2, rad/s).  `upright` is up in body axes when standing (None: the clip's own)."""
        x, y, z = accel
        p, q, r = gyro
        self._x += x
        self._y += y
        self._z += z
        self._rates += p * p + q * q + r * r
        size = x * x + y * y + z * z
        if size > self._high:
            self._high = size
        self._count += 1
        if t_measured_s < self._ends_s:
            self.looked = None
            return None
        return self._sliced(t_measured_s, upright)

    def stepped(self) -> None:
        """The wearer has taken a step: does not lie, however the clip may sit."""
        self._lying_since_s = None
        self._stepped_s = self._slice_s

    # -- twenty times a second ------------------------------------------------------------------------------

    def _begin(self, t_s: float) -> None:
        self._ends_s = t_s + SLICE_S - 0.001  # the times of samples are never quite even
        self._x = self._y = self._z = 0.0
        self._rates = self._high = 0.0
        self._count = 0

    def _sliced(self, t_s: float, known: Vector | None) -> Fallen | None:
        """At the end of a slice; `known` is the wearer's own upright."""
        upright = known or UP
        self.looked = None
        count = self._count
        x, y, z = self._x / count, self._y / count, self._z / count
        dt = max(0.0, min(t_s - self._slice_s, GAP_S))
        self._slice_s = t_s
        size = math.sqrt(x * x + y * y + z * z)
        self._descent_m_s += dt * (G_M_S2 - size - self._descent_m_s / DESCENT_TAU_S)
        share = dt / GRAVITY_TAU_S
        gx, gy, gz = self._gravity
        gravity = self._gravity = (gx + share * (x - gx), gy + share * (y - gy), gz + share * (z - gz))
        tilt = tilt_deg(gravity, upright)
        rate = math.degrees(math.sqrt(self._rates / count))
        high = math.sqrt(self._high)
        self._slices.append(Slice(t_s, x, y, z, size, rate, high, self._descent_m_s, gravity, tilt))
        self._begin(t_s)
        if high > self._knobs.impact_g * G_M_S2:
            self._shock(t_s, tilt)
        elif self._event_s is None and (self._descent_m_s > DESCENT_M_S or self._turning(gravity)):
            self._open(t_s)
        if tilt < LAY_DEG:
            self._lying_since_s = None
        elif self._lying_since_s is None:
            self._lying_since_s = t_s
        if self._event_s is None or t_s < self._look_s:
            return None
        return self._look(t_s, self._event_s, upright, known is None)

    def _turning(self, gravity: Vector) -> bool:
        return len(self._slices) > TURN_SLICES and tilt_deg(gravity, self._slices[-1 - TURN_SLICES].gravity) > TURN_DEG

    def _shock(self, t_s: float, tilt: float) -> None:
        event_s = self._event_s
        if event_s is not None and tilt > UP_AGAIN_DEG and t_s <= event_s + LOOK_UNTIL_S:
            self._look_s = t_s + LOOK_FROM_S  # of the same fall
        else:
            self._open(t_s)

    def _open(self, t_s: float) -> None:
        """Something may have been a fall."""
        if self._lying_since_s is None or t_s - self._lying_since_s <= LAY_BEFORE_S:
            self._event_s = t_s
            self._look_s = t_s + LOOK_FROM_S

    # -- looks ----------------------------------------------------------------------------------------------

    def _look(self, t_s: float, event_s: float, upright: Vector, assumed: bool) -> Fallen | None:
        self._look_s += LOOK_EVERY_S
        if self._look_s > event_s + LOOK_UNTIL_S:
            self._event_s = None
        slices = list(self._slices)
        now = [s for s in slices if s.t_s > t_s - LOOK_S]
        if len(now) < ENOUGH:
            return None
        # Lying still, the mean acceleration is gravity's reaction; no orientation filter is needed to see it.
        gravity = _sum(now)
        tilt = tilt_deg(gravity, upright)
        rate = sorted(s.rate_deg_s for s in now)[len(now) // 2]
        last = slices[-1]
        getting_up = tilt_deg((last.x, last.y, last.z), upright) < self._knobs.lying_deg
        if tilt < self._knobs.lying_deg or getting_up or rate > self._knobs.still_deg_s:
            return None
        shock = max((s for s in slices if event_s - 3.0 <= s.t_s <= t_s - 0.5), key=lambda s: s.high_m_s2)
        look = self.looked = _look(slices, now, shock, gravity, tilt, rate, self._stepped_s)
        if assumed and look.turned_little:
            return None  # a clip that sits crooked seems to lie while its wearer stands
        flat = look.peak > self._hard and not look.tilted_little and look.lay < LAY_SHARE
        if not flat and self._model.logit(look) < self._model.threshold:
            return None
        self._event_s = None
        return Fallen(impact_g=shock.high_m_s2 / G_M_S2, tilt_deg=tilt)


def _look(
    slices: Sequence[Slice],
    now: Sequence[Slice],
    shock: Slice,
    gravity: Vector,
    tilt: float,
    rate: float,
    stepped_s: float,
) -> Look:
    """What a look is judged by; gravity, tilt (degrees) and rate (degrees/s) are of now; `stepped_s`: the last step."""
    at_s = shock.t_s
    before = [s for s in slices if at_s - 3.0 <= s.t_s <= at_s - 1.2] or slices[:5]
    long_before = [s for s in slices if at_s - 6.0 <= s.t_s <= at_s - 1.0] or slices[:5]
    falling = [s for s in slices if at_s - 1.5 <= s.t_s <= at_s + 0.3]
    tipping = [s.gravity for s in slices if at_s - 1.5 <= s.t_s <= at_s + 1.2]
    after = [s.tilt_deg for s in slices if s.t_s >= at_s + 0.5]
    push_m_s = SLICE_S * sum(max(0.0, s.size_m_s2 - G_M_S2) for s in slices if abs(s.t_s - at_s) <= 0.35)
    shocks = sum(s.high_m_s2 > HARD_G * G_M_S2 for s in slices if -0.5 <= s.t_s - at_s <= 1.5)
    turned = tilt_deg(gravity, _sum(before))
    mean = sum(s.size_m_s2 for s in now) / len(now)
    jitter = math.sqrt(sum((s.size_m_s2 - mean) ** 2 for s in now) / len(now))
    return Look(
        peak=math.log(min(shock.high_m_s2 / G_M_S2, PEAK_MAX_G)),
        push=math.log(0.05 + push_m_s),
        descent=max(s.descent_m_s for s in falling),
        spin=math.log(20.0 + max(s.rate_deg_s for s in falling)),
        tipping=max((tilt_deg(a, b) for a, b in zip(tipping, tipping[12:], strict=False)), default=0.0),
        turned=turned,
        turned_little=max(0.0, TURNED_DEG - turned),
        tilted_little=max(0.0, LYING_DEG - tilt),
        tilt_most=max(after),
        tilt_least=min(after),
        rate=math.log(3.0 + rate),
        jitter=math.log(0.05 + jitter),
        lay=sum(s.tilt_deg > LAY_DEG and s.t_s > stepped_s for s in long_before) / len(long_before),
        shocks=math.log(1.0 + shocks),
    )


def _sum(slices: Sequence[Slice]) -> Vector:
    """In the direction of their mean acceleration."""
    return sum(s.x for s in slices), sum(s.y for s in slices), sum(s.z for s in slices)
