"""Balance that is going, before the body meets the ground: a logistic on how the trunk moves, for who was walking.

Walking repeats itself, a slip or a trip does not.  So each movement is compared with the same moment of the stride
before and with the wearer's own walking of the last seconds; beside that stand what any fall has: the body sinks, the
trunk turns, the push of the ground fades.  Every feature has its sentence in `models/balance_lost.json`; how they are
put together was learned from people who fell on mats (`script/train balance-lost`), facing forward.
Of 420 recorded falls while walking or jogging 94 in 100 are told before contact, by weights that have not seen the
person: 0.30 s before on the mean, one in ten less than 0.10 s.  Nothing is told in 1.6 hours of walking and 0.7 before
those falls but for people who first sink onto a table; 3 times in 1.1 hours of jogging, and 28 times an hour on stairs.

It is looked at only while steps were seen in the last three seconds: sitting down, bending and handling the clip move
the trunk as a fall does.  After 200 to 500 ms somebody who loses balance is on the ground: what comes of it must be a
tone or a touch, never words.  Those wait until it is over (`Recovered`).

Signs: pitch forward and roll to the right positive, as in `Posture`; forward, left and up positive for accelerations.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from enum import StrEnum

from retrowalk import models
from retrowalk.core.gait import Gait
from retrowalk.core.pace import Pace
from retrowalk.core.posture import Posture, Vector

G_M_S2 = 9.80665
DEG = math.degrees(1.0)
OMEGA0_PER_S = 3.1
"""Inverted pendulum of a trunk 1 m above its pivot: sqrt(g / l)."""
WALKED_S = 3.0
"""Only who has taken a step within this time can lose balance by our means."""
WARM_S = 1.5
"""After a start or a gap nothing is decided for so long: what is usual for this wearer must be seen first."""
GAP_MAX_S = 0.1
"""Longer than this between samples is a gap, as for `Posture`."""
AGAIN_S = 0.8
"""Balance that goes on being lost is told again after this: a fall may come in two parts, as over a table."""
RECOVERED_S = 2.0
"""Upright, and walking or standing, for so long: it was a stumble."""
UPRIGHT_COS = math.cos(math.radians(30.0))
"""A trunk within 30 degrees of upright."""
STEPS = 2
"""Who takes so many is on the feet."""
SHOCK_G = 2.5
"""Who was shocked like this may have fallen: then steps alone show that all is well.  A trunk that sits on the ground
is upright, too."""
GIVEN_UP_S = 15.0
"""Who is not upright again by then has not stumbled: has fallen, or sat down."""
LYING_COS = math.cos(math.radians(75.0))
"""Who is already as flat as this has lost balance before."""
CHANGED_COS = math.cos(math.radians(5.0))
"""An upright that moves by more than 5 degrees is another one: angles before and after are not comparable."""
FLAT = 0.17
"""A trunk this near the horizontal (its sine, 10 degrees) faces up or down, and neither forward nor left."""
SIDEWAYS = 1.0
"""It goes to the side when roll goes farther than pitch by this factor."""

STRIDE_S = 1.1
"""Of somebody whose steps are not known yet."""
STRIDE_LIMITS_S = (0.5, 3.0)
SHORT_S, LONG_S = 0.1, 0.2
NOISE_S = 0.03
"""Time constants of low-passes."""
MATCH_S = 0.15
"""... of the difference from the stride before."""
USUAL_S = 2.0
"""... of what is usual, which is looked at as it stood `DELAY_S` ago: the fall itself must not raise it."""
DELAY_S = 0.6
REST_S = 3.0
"""... of what is taken off as the wearer's own mean."""
MEMORY = 256
LAST = MEMORY - 1
"""Places in the ring of what was (a power of two, less one: a mask): 4.9 s at 52 a second."""

# What walking repeats, in the order of the tuples below.  How much it differs from stride to stride is followed of the
# first five, and what is usual for this wearer of YAWING to ROLLING.
PITCHING, UP, YAWING, FORCE, SINKING, ROLLING, ROLL = range(7)
NOTHING = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
FLOORS = (12.0, 0.8, 12.0, 0.08, 0.1)
"""Deviations smaller than these say nothing: degrees/s, m/s2, degrees/s, g, m/s."""

MEANINGS: dict[str, tuple[str, str]] = {
    "sinking_fast": ("m/s", "Vertical speed gathered in the last 0.2 s; down is negative."),
    "sinking_slow": ("m/s", "Vertical speed gathered in the last 0.8 s; down is negative."),
    "vertical": ("m/s2", "Vertical acceleration over 0.1 s; the ground giving way is negative."),
    "sinking_unusual": ("", "Vertical speed of the last 0.4 s against this wearer's own, in own deviations."),
    "pitch": ("deg", "Trunk pitch from the mean of the last 3 s; forward is positive."),
    "backward": ("deg2/s", "How far the trunk leans back of its own mean, times how fast it goes on: a slip."),
    "turned_0.2": ("deg", "How far the trunk has turned against the vertical in 0.2 s."),
    "turned_0.4": ("deg", "How far the trunk has turned against the vertical in 0.4 s."),
    "turned_1": ("deg", "How far the trunk has turned against the vertical in 1 s."),
    "pitched": ("deg", "How far the trunk has pitched in 0.4 s; forward is positive."),
    "rolled": ("deg", "How far the trunk has rolled in 0.4 s, to either side."),
    "rolling": ("deg/s", "How fast the trunk rolls, to either side."),
    "yawing_fast": ("deg/s", "How fast the body turns about the vertical, over 0.1 s, either way."),
    "yawing_slow": ("deg/s", "How fast the body turns about the vertical, over 0.2 s, either way."),
    "pushed": ("m/s2", "Forward acceleration over 0.3 s from its mean of 3 s."),
    "speed_forward": ("m/s", "Forward speed gathered in the last 0.5 s."),
    "speed_level": ("m/s", "Level speed gathered in the last 0.5 s, in any direction."),
    "shoved": ("m/s2", "Level acceleration over 0.1 s from its mean of 3 s, in any direction."),
    "force": ("g", "Size of the acceleration; 0 in free fall."),
    "force_unusual": ("", "Size of the acceleration against this wearer's own, in own deviations."),
    "force_varies_fast": ("g", "Deviation of that size over a tenth of a second."),
    "force_varies_slow": ("g", "Deviation of that size over a quarter of a second."),
    "force_peak": ("g", "Its peak, fading within 0.4 s."),
    "moving": ("deg/s", "How fast the trunk has turned, mean of 2 s: a lively walker is not a falling one."),
    "off_up": ("m/s2", "Vertical acceleration: root mean square difference from the stride before."),
    "off_pitching": ("deg/s", "Pitch rate: the same difference."),
    "off_rolling": ("deg/s", "Roll rate: the same difference."),
    "off_yawing": ("deg/s", "Yaw rate: the same difference."),
    "off_roll": ("deg", "Roll: the same difference."),
    "odd_up": ("", "Vertical acceleration: that difference against what is usual from stride to stride."),
    "odd_pitching": ("", "Pitch rate: that difference against what is usual."),
    "odd_yawing": ("", "Yaw rate: that difference against what is usual."),
    "odd_force": ("", "Size of the acceleration: that difference against what is usual."),
    "odd_sinking": ("", "Vertical speed of the last 0.4 s: that difference against what is usual."),
    "usual_rolling": ("deg/s", "Deviation of the roll rate while this wearer walks: how lively the gait is."),
    "usual_yawing": ("deg/s", "Deviation of the yaw rate while this wearer walks."),
    "usual_force": ("g", "Deviation of the size of the acceleration while this wearer walks: runners have most."),
    "usual_sinking": ("m/s", "Deviation of the vertical speed while this wearer walks."),
}
"""Unit and sentence of every feature, in the order of the values."""
FORCE_AT = list(MEANINGS).index("force")


class Toward(StrEnum):
    """Where the trunk goes."""

    BACKWARD = "backward"
    FORWARD = "forward"
    SIDE = "side"


@dataclass(frozen=True, slots=True)
class Lost:
    """Balance is going."""

    direction: Toward
    chance: float
    """Of the model, 0 to 1."""
    trunk_pitch_deg: float
    """From the wearer's own upright, forward positive."""
    pitch_rate_deg_s: float


@dataclass(frozen=True, slots=True)
class Recovered:
    """It was a stumble: upright again for two seconds."""

    lost_s: float
    """When balance was lost (measured time of the first sign)."""


class Signals:
    """The features, from samples and from what `Posture` and `Gait` know; every second sample gives a set of them."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._upright: Vector | None = None
        self._forward: Vector = (1.0, 0.0, 0.0)
        self._last_s = -math.inf
        self._step_s = -math.inf
        self._stride_s = STRIDE_S
        self._tune()
        self.restart()

    def restart(self) -> None:
        """Forgets what was: a gap, or another upright."""
        self._half: tuple[Vector, Vector] | None = None
        self.count = 0
        """Sets since then."""
        # What was: up, the smoothed movements, how odd they were, and the wearer's own means and squares of them.
        self._ups: list[Vector] = [(0.0, 0.0, 1.0)] * MEMORY
        self._pitches = [0.0] * MEMORY
        self._smooth = self._off = NOTHING
        self._odd = NOTHING[:5]
        self._mean = self._square = NOTHING[:4]
        self._moved = [self._smooth] * MEMORY
        self._usual = [(self._odd, self._mean, self._square)] * MEMORY
        self._vertical_mean = self._vertical_short = 0.0
        self._sinking_fast = self._sinking = self._sinking_slow = 0.0
        self._pitch_mean = self._roll_mean = 0.0
        self._forward_mean = self._left_mean = self._pushed = 0.0
        self._shoved_forward = self._shoved_left = 0.0
        self._speed_forward = self._speed_left = 0.0
        self._yaw_fast = self._yaw_slow = 0.0
        self._force_fast = self._force_slow = 1.0
        self._force_fast_2 = self._force_slow_2 = 1.0
        self._force_peak = 1.0
        self._moving = 0.0
        self.going: tuple[float, float] = (0.0, 0.0)
        """Where pitch and roll are going, degrees from their own means: the capture point of an inverted pendulum."""

    @property
    def seen_s(self) -> float:
        """What has been seen since the last gap, in seconds."""
        return self.count * self._dt

    def _tune(self) -> None:
        dt = self._dt = 2.0 * self._pace.period_s

        def share(tau_s: float) -> float:
            return 1.0 - math.exp(-dt / tau_s)

        self._k_noise, self._k_short, self._k_long = share(NOISE_S), share(SHORT_S), share(LONG_S)
        self._k_match, self._k_usual, self._k_rest = share(MATCH_S), share(USUAL_S), share(REST_S)
        self._k_push, self._k_tenth, self._k_quarter = share(0.3), share(0.12), share(0.25)
        self._fade_fast, self._fade, self._fade_slow = 1.0 - share(0.2), 1.0 - share(0.4), 1.0 - share(0.8)
        self._fade_level = 1.0 - share(0.5)
        self._ago_usual = round(DELAY_S / dt)
        self._ago_02, self._ago_04, self._ago_1 = round(0.2 / dt), round(0.4 / dt), round(1.0 / dt)
        self._ago_stride = round(self._stride_s / dt)

    def update(self, t_s: float, accel: Vector, gyro: Vector, posture: Posture, gait: Gait) -> tuple[float, ...] | None:
        """Takes one sample (m/s2, rad/s), after `posture` and `gait` had it; the features at every second one."""
        up, pitch, roll = posture.up, posture.trunk_pitch_deg, posture.trunk_roll_deg
        if self._pace.update(t_s):
            self._tune()
        if up is None or pitch is None or roll is None or not 0.0 < t_s - self._last_s <= GAP_MAX_S:
            if self.count or self._half:
                self.restart()
            self._last_s = t_s
            return None
        self._last_s = t_s
        if posture.upright is not self._upright:
            self._take_upright(posture.upright)
        half = self._half
        if half is None:
            self._half = accel, gyro
            return None
        self._half = None
        if gait.last_step_s != self._step_s:
            self._follow_steps(t_s, gait)
        (ax, ay, az), (wx, wy, wz) = half
        bx, by, bz = posture.bias
        return self._features(
            up,
            pitch,
            roll,
            (0.5 * (ax + accel[0]), 0.5 * (ay + accel[1]), 0.5 * (az + accel[2])),
            (0.5 * (wx + gyro[0]) - bx, 0.5 * (wy + gyro[1]) - by, 0.5 * (wz + gyro[2]) - bz),
        )

    def _take_upright(self, upright: Vector | None) -> None:
        before = self._upright or (0.0, 0.0, 1.0)
        x, y, z = upright or (0.0, 0.0, 1.0)
        if before[0] * x + before[1] * y + before[2] * z < CHANGED_COS:
            self.restart()
        self._upright = upright
        # The first row of the smallest rotation that takes upright to (0, 0, 1): forward, in the clip's axes.
        k = 1.0 / (1.0 + z)
        self._forward = (1.0 - k * x * x, -k * x * y, -x)

    def _follow_steps(self, t_s: float, gait: Gait) -> None:
        self._step_s = gait.last_step_s
        cadence_spm = gait.cadence_spm(t_s)
        if cadence_spm:
            self._stride_s = min(max(120.0 / cadence_spm, STRIDE_LIMITS_S[0]), STRIDE_LIMITS_S[1])
            self._ago_stride = round(self._stride_s / self._dt)

    def _features(self, up: Vector, pitch: float, roll: float, accel: Vector, gyro: Vector) -> tuple[float, ...]:
        ux, uy, uz = up
        fx, fy, fz = self._forward
        ax, ay, az = accel
        wx, wy, wz = gyro
        dt = self._dt
        # Forward and left along the ground, as the trunk faces.
        along = fx * ux + fy * uy + fz * uz
        fx, fy, fz = fx - along * ux, fy - along * uy, fz - along * uz
        size = math.sqrt(fx * fx + fy * fy + fz * fz)
        size = 1.0 / size if size > FLAT else 0.0
        fx, fy, fz = fx * size, fy * size, fz * size
        lx, ly, lz = uy * fz - uz * fy, uz * fx - ux * fz, ux * fy - uy * fx
        vertical = ax * ux + ay * uy + az * uz - G_M_S2
        forward = ax * fx + ay * fy + az * fz
        left = ax * lx + ay * ly + az * lz
        force = math.sqrt(ax * ax + ay * ay + az * az) / G_M_S2
        pitching = DEG * (wx * lx + wy * ly + wz * lz)
        rolling = DEG * (wx * fx + wy * fy + wz * fz)
        yawing = DEG * (wx * ux + wy * uy + wz * uz)
        count = self.count
        if not count:
            self._pitch_mean, self._roll_mean = pitch, roll
            self._forward_mean, self._left_mean = forward, left
            self._smooth = (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, roll)
            self._mean = (0.0, 1.0, 0.0, 0.0)

        k = self._k_rest
        self._vertical_mean += k * (vertical - self._vertical_mean)
        self._pitch_mean += k * (pitch - self._pitch_mean)
        self._roll_mean += k * (roll - self._roll_mean)
        self._forward_mean += k * (forward - self._forward_mean)
        self._left_mean += k * (left - self._left_mean)
        gained = dt * (vertical - self._vertical_mean)
        self._sinking_fast = self._fade_fast * self._sinking_fast + gained
        sinking = self._sinking = self._fade * self._sinking + gained
        self._sinking_slow = self._fade_slow * self._sinking_slow + gained
        forward -= self._forward_mean
        left -= self._left_mean
        self._speed_forward = self._fade_level * self._speed_forward + dt * forward
        self._speed_left = self._fade_level * self._speed_left + dt * left
        self._pushed += self._k_push * (forward - self._pushed)
        k = self._k_short
        self._vertical_short += k * (vertical - self._vertical_short)
        self._shoved_forward += k * (forward - self._shoved_forward)
        self._shoved_left += k * (left - self._shoved_left)
        self._yaw_fast += k * (yawing - self._yaw_fast)
        self._yaw_slow += self._k_long * (yawing - self._yaw_slow)
        k = self._k_tenth
        self._force_fast += k * (force - self._force_fast)
        self._force_fast_2 += k * (force * force - self._force_fast_2)
        k = self._k_quarter
        self._force_slow += k * (force - self._force_slow)
        self._force_slow_2 += k * (force * force - self._force_slow_2)
        self._force_peak = max(force, 1.0 + self._fade * (self._force_peak - 1.0))
        k = self._k_usual
        self._moving += k * (DEG * math.sqrt(wx * wx + wy * wy + wz * wz) - self._moving)

        # Smoothed, then the wearer's own, and the difference from the same moment of the stride before.  Written out:
        # this runs fifty times a second for ever, and loops over short lists take twice as long.
        k = self._k_noise
        s0, s1, s2, s3, s4, s5, s6 = self._smooth
        s0 += k * (pitching - s0)
        s1 += k * (vertical - s1)
        s2 += k * (yawing - s2)
        s3 += k * (force - s3)
        s4 += k * (sinking - s4)
        s5 += k * (rolling - s5)
        s6 += k * (roll - s6)
        smooth = self._smooth = s0, s1, s2, s3, s4, s5, s6
        k = self._k_usual
        m2, m3, m4, m5 = self._mean
        m2 += k * (s2 - m2)
        m3 += k * (s3 - m3)
        m4 += k * (s4 - m4)
        m5 += k * (s5 - m5)
        mean = self._mean = m2, m3, m4, m5
        q2, q3, q4, q5 = self._square
        q2 += k * ((s2 - m2) * (s2 - m2) - q2)
        q3 += k * ((s3 - m3) * (s3 - m3) - q3)
        q4 += k * ((s4 - m4) * (s4 - m4) - q4)
        q5 += k * ((s5 - m5) * (s5 - m5) - q5)
        square = self._square = q2, q3, q4, q5
        odd = self._odd
        if count >= self._ago_stride:
            d0, d1, d2, d3, d4, d5, d6 = self._moved[(count - self._ago_stride) & LAST]
            d0, d1, d2, d3 = (s0 - d0) * (s0 - d0), (s1 - d1) * (s1 - d1), (s2 - d2) * (s2 - d2), (s3 - d3) * (s3 - d3)
            d4, d5, d6 = (s4 - d4) * (s4 - d4), (s5 - d5) * (s5 - d5), (s6 - d6) * (s6 - d6)
            o0, o1, o2, o3, o4, o5, o6 = self._off
            match = self._k_match
            o0 += match * (d0 - o0)
            o1 += match * (d1 - o1)
            o2 += match * (d2 - o2)
            o3 += match * (d3 - o3)
            o4 += match * (d4 - o4)
            o5 += match * (d5 - o5)
            o6 += match * (d6 - o6)
            self._off = o0, o1, o2, o3, o4, o5, o6
            o0, o1, o2, o3, o4 = odd
            odd = self._odd = (
                o0 + k * (d0 - o0),
                o1 + k * (d1 - o1),
                o2 + k * (d2 - o2),
                o3 + k * (d3 - o3),
                o4 + k * (d4 - o4),
            )
        here = count & LAST
        self._ups[here] = up
        self._pitches[here] = pitch
        self._moved[here] = smooth
        self._usual[here] = odd, mean, square
        odd, mean, square = self._usual[max(0, count - self._ago_usual) & LAST]
        self.count = count + 1

        pitch_off = pitch - self._pitch_mean
        self.going = (
            pitch_off + smooth[PITCHING] / OMEGA0_PER_S,
            roll - self._roll_mean + smooth[ROLLING] / OMEGA0_PER_S,
        )
        x, y, z = self._ups[max(0, count - self._ago_02) & LAST]
        turned_02 = DEG * math.acos(max(-1.0, min(1.0, x * ux + y * uy + z * uz)))
        ago_04 = max(0, count - self._ago_04) & LAST
        x, y, z = self._ups[ago_04]
        turned_04 = DEG * math.acos(max(-1.0, min(1.0, x * ux + y * uy + z * uz)))
        x, y, z = self._ups[max(0, count - self._ago_1) & LAST]
        turned_1 = DEG * math.acos(max(-1.0, min(1.0, x * ux + y * uy + z * uz)))
        off_pitching, off_up, off_yawing, off_force, off_sinking, off_rolling, off_roll = map(math.sqrt, self._off)
        odd_pitching, odd_up, odd_yawing, odd_force, odd_sinking = map(math.sqrt, odd)
        own_yawing, own_force, own_sinking, own_rolling = map(math.sqrt, square)
        return (
            self._sinking_fast,
            self._sinking_slow,
            self._vertical_short,
            (smooth[SINKING] - mean[2]) / (own_sinking + FLOORS[SINKING]),
            pitch_off,
            pitch_off * smooth[PITCHING] if pitch_off < 0.0 > smooth[PITCHING] else 0.0,
            turned_02,
            turned_04,
            turned_1,
            pitch - self._pitches[ago_04],
            abs(roll - self._moved[ago_04][ROLL]),
            abs(rolling),
            abs(self._yaw_fast),
            abs(self._yaw_slow),
            self._pushed,
            self._speed_forward,
            math.sqrt(self._speed_forward**2 + self._speed_left**2),
            math.sqrt(self._shoved_forward**2 + self._shoved_left**2),
            force,
            (smooth[FORCE] - mean[1]) / (own_force + FLOORS[FORCE]),
            math.sqrt(max(0.0, self._force_fast_2 - self._force_fast**2)),
            math.sqrt(max(0.0, self._force_slow_2 - self._force_slow**2)),
            self._force_peak,
            self._moving,
            off_up,
            off_pitching,
            off_rolling,
            off_yawing,
            off_roll,
            off_up / (odd_up + FLOORS[UP]),
            off_pitching / (odd_pitching + FLOORS[PITCHING]),
            off_yawing / (odd_yawing + FLOORS[YAWING]),
            off_force / (odd_force + FLOORS[FORCE]),
            off_sinking / (odd_sinking + FLOORS[SINKING]),
            own_rolling,
            own_yawing,
            own_force,
            own_sinking,
        )


class Imbalance:
    """Tells when balance is going, and when it was a stumble."""

    def __init__(self, model: models.Logistic | None = None) -> None:
        """Decides by `model`; None: the one that is shipped.  Raises `ValueError` for one with other features."""
        model = models.shipped("balance_lost") if model is None else model
        if model.names() != tuple(MEANINGS):
            raise ValueError(f"{model.what}: was learned from other features than these")
        self._model = model.plain()
        self._signals = Signals()
        self._lost_s = -math.inf
        self._open_s: float | None = None
        self._steps = 0
        self._upright_since_s: float | None = None
        self._shocked = False

    def update(self, t_s: float, accel: Vector, gyro: Vector, posture: Posture, gait: Gait) -> Lost | Recovered | None:
        """Takes one sample (measured time; m/s2, rad/s), after `posture` and `gait` had it."""
        values = self._signals.update(t_s, accel, gyro, posture, gait)
        if values is None:
            return None
        losing = is_open(t_s, self._signals, posture, gait)
        if losing:
            logit = sum(map(operator.mul, self._model.weights, values), self._model.intercept)
            losing = logit > self._model.threshold
        if self._open_s is not None:
            recovered = self._follow(t_s, self._open_s, losing, values[FORCE_AT], posture, gait)
            if recovered is not None:
                return recovered
        if not losing or t_s - self._lost_s <= AGAIN_S:
            return None
        self._lost_s = t_s
        if self._open_s is None:
            self._open_s = t_s
            self._steps = gait.steps
            self._upright_since_s = None
            self._shocked = False
        pitch, roll = self._signals.going
        if abs(roll) > SIDEWAYS * abs(pitch):
            toward = Toward.SIDE
        else:
            toward = Toward.FORWARD if pitch > 0.0 else Toward.BACKWARD
        return Lost(
            toward,
            1.0 / (1.0 + math.exp(-min(logit, models.MOST))),
            posture.trunk_pitch_deg or 0.0,
            posture.pitch_rate_deg_s,
        )

    def fallen(self) -> None:
        """A fall is suspected: no stumble comes of what was lost."""
        self._open_s = None

    def _follow(
        self, t_s: float, lost_s: float, losing: bool, force_g: float, posture: Posture, gait: Gait
    ) -> Recovered | None:
        if force_g > SHOCK_G:
            self._shocked = True
            self._steps = gait.steps
        if t_s - lost_s > GIVEN_UP_S:
            self._open_s = None
            return None
        if losing or upright_cos(posture) < UPRIGHT_COS:
            self._upright_since_s = None
            return None
        if self._upright_since_s is None:
            self._upright_since_s = t_s
        on_feet = gait.steps - self._steps >= STEPS or not self._shocked
        if on_feet and t_s - self._upright_since_s >= RECOVERED_S:
            self._open_s = None
            return Recovered(lost_s)
        return None


def is_open(t_s: float, signals: Signals, posture: Posture, gait: Gait) -> bool:
    """Whether balance can be lost: by somebody who was walking and does not lie, with a clip that is understood."""
    return (
        t_s - gait.last_step_s <= WALKED_S
        and signals.seen_s >= WARM_S
        and posture.settled
        and not posture.repeats
        and upright_cos(posture) > LYING_COS
    )


def upright_cos(posture: Posture) -> float:
    """Cosine of the angle between the trunk and the wearer's own upright (the clip's own while that is not known)."""
    up, upright = posture.up, posture.upright
    if up is None:
        return -1.0
    return up[2] if upright is None else up[0] * upright[0] + up[1] * upright[1] + up[2] * upright[2]
