"""Trunk orientation from the clip: a scalar 6-D filter with a motion-bias estimate.

Principle of VQF (Laidig & Seel 2023): the accelerometer is low-passed in the almost inertial frame that the
gyroscope gives, where walking averages out and gravity stays.  The slow turn of that gravity direction *is* the
gyroscope bias, so it is fed back with a time constant of 30 s, faster at first.  No rest detection (a swaying person
would teach it a false bias) and no rejection of accelerations (it makes bias errors worse).
"""

from __future__ import annotations

import math

from retrowalk.core.pace import Pace

TAU_S = 3.0
"""Time constant of the accelerometer low-pass."""
BIAS_TAU_S = 30.0
"""Time constant of the bias estimate ..."""
BIAS_FIRST_TAU_S = 6.0
BIAS_GROWS = 0.25
"""... which it has after a minute and a half; at first it is 6 s, so that a bias of 2 degrees/s is found in the first
minute (the error over ten minutes is 0.8 degrees instead of 1.2).  Shorter, it would swing with the low-pass."""
BIAS_MAX_RAD_S = math.radians(3.0)
"""Largest bias believed."""
SETTLED_S = 0.6
"""A step."""
DT_MAX_S = 0.1
"""Longer than this between samples is a gap: orientation begins anew."""
REPEATS = 5
"""A chip's noise never gives one and the same six numbers so many times more in a row."""

Vector = tuple[float, float, float]


def unit(v: Vector) -> Vector:
    """`v` at length 1 (the zero vector stays)."""
    size = math.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2) or 1.0
    return (v[0] / size, v[1] / size, v[2] / size)


def _butterworth(dt_s: float) -> tuple[float, float, float, float, float]:
    """Second-order low-pass with the cut-off sqrt(2)/(2 pi tau): b0 b1 b2 a1 a2."""
    k = math.tan(math.pi * math.sqrt(2.0) / (2.0 * math.pi * TAU_S) * dt_s)
    norm = 1.0 / (1.0 + math.sqrt(2.0) * k + k * k)
    b0 = k * k * norm
    return b0, 2.0 * b0, b0, 2.0 * (k * k - 1.0) * norm, (1.0 - math.sqrt(2.0) * k + k * k) * norm


class Posture:
    """Feeds on IMU samples in body axes (forward, left, up); tells where up is, and how the trunk leans.

    `trunk_pitch_deg` is relative to the wearer's own upright (forward positive), `trunk_roll_deg` to the right
    positive; both are None until there is enough data.
    """

    def __init__(self) -> None:
        self._pace = Pace()
        self._b0, self._b1, self._b2, self._a1, self._a2 = _butterworth(self._pace.period_s)
        self.bias: Vector = (0.0, 0.0, 0.0)
        self._bias_s = 0.0
        """For how long it has been estimated, all in all."""
        self.upright: Vector | None = None
        """Up in body axes when the wearer stands, learned or restored."""
        self._to_upright: tuple[Vector, Vector, Vector] | None = None
        self.slipped = False
        """Whether the clip is known to have slipped: pitch and roll are not the trunk's then."""
        self._last_s: float | None = None
        self._reading: tuple[Vector, Vector] | None = None
        self._repeats = 0
        self.restart()

    @property
    def repeats(self) -> bool:
        """Whether the clip says one and the same thing over and over: it hangs, or nothing real moves it."""
        return self._repeats >= REPEATS

    @property
    def hangs(self) -> bool:
        """Whether it does so in the midst of a turn, which would be followed round and round.

        What hangs is named within 3 s of stepping; until then nothing must be made of where the trunk seems to lean.
        """
        return self.repeats and self._reading is not None and self._reading[1] != (0.0, 0.0, 0.0)

    def restart(self) -> None:
        """Begins anew, as after a gap: keeps upright and bias, forgets the orientation."""
        self._q = (1.0, 0.0, 0.0, 0.0)
        self._count = 0
        self._sum = [0.0, 0.0, 0.0]
        self._s1 = [0.0, 0.0, 0.0]
        self._s2 = [0.0, 0.0, 0.0]
        self._g: Vector | None = None
        self.up: Vector | None = None
        """Up in body axes now."""
        self.trunk_pitch_deg: float | None = None
        self.trunk_roll_deg: float | None = None
        self.pitch_rate_deg_s = 0.0

    @property
    def settled(self) -> bool:
        """Whether it has averaged over a step since it began anew: before, a foot that brakes looks like a lean."""
        return self._count * self._pace.period_s >= SETTLED_S

    def set_upright(self, up: Vector) -> None:
        """Takes `up` (unit vector in body axes) as the wearer's own upright."""
        self.upright = up
        x, y, z = up
        # Smallest rotation that takes `up` to (0, 0, 1); a clip worn upside down is refused by the caller.
        k = 1.0 / (1.0 + z)
        self._to_upright = ((1.0 - k * x * x, -k * x * y, -x), (-k * x * y, 1.0 - k * y * y, -y), (x, y, z))

    def forget_upright(self) -> None:
        """The clip is worn anew: how it sits is not known any more."""
        self.upright = self._to_upright = None
        self.slipped = False

    def update(self, t_measured_s: float, accel: Vector, gyro: Vector, gap: bool = False) -> None:
        """Feeds one sample (m/s2, rad/s)."""
        last = self._last_s
        self._last_s = t_measured_s
        reading = accel, gyro
        self._repeats = self._repeats + 1 if reading == self._reading else 0
        self._reading = reading
        if self._pace.update(t_measured_s):
            self._tune()
        period_s = self._pace.period_s
        dt = period_s if last is None else t_measured_s - last
        if gap or not 0.0 < dt <= DT_MAX_S:
            self.restart()
            dt = period_s
        bx, by, bz = self.bias
        wx, wy, wz = gyro[0] - bx, gyro[1] - by, gyro[2] - bz

        # Integrate the rate: q <- q * exp(w dt / 2).
        w, x, y, z = self._q
        hx, hy, hz = 0.5 * dt * wx, 0.5 * dt * wy, 0.5 * dt * wz
        angle2 = hx * hx + hy * hy + hz * hz
        c = 1.0 - 0.5 * angle2
        s = 1.0 - angle2 / 6.0
        hx, hy, hz = hx * s, hy * s, hz * s
        w, x, y, z = (
            w * c - x * hx - y * hy - z * hz,
            x * c + w * hx + y * hz - z * hy,
            y * c + w * hy + z * hx - x * hz,
            z * c + w * hz + x * hy - y * hx,
        )
        norm = 1.0 / math.sqrt(w * w + x * x + y * y + z * z)
        w, x, y, z = w * norm, x * norm, y * norm, z * norm
        self._q = (w, x, y, z)

        # Rotation matrix, rows: body axes into the almost inertial frame.
        r00, r01, r02 = 1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)
        r10, r11, r12 = 2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)
        r20, r21, r22 = 2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)
        ax, ay, az = accel
        gx, gy, gz = self._low_pass(
            r00 * ax + r01 * ay + r02 * az, r10 * ax + r11 * ay + r12 * az, r20 * ax + r21 * ay + r22 * az
        )
        length = math.sqrt(gx * gx + gy * gy + gz * gz)
        if length < 1e-6:
            return
        gx, gy, gz = gx / length, gy / length, gz / length

        before = self._g
        self._g = (gx, gy, gz)
        if before is not None and self._count * period_s > 2.0 * TAU_S:
            # Gravity stands still in the world; that it turns in the gyroscope's frame is the bias left over.
            px, py, pz = before
            dx, dy, dz = py * gz - pz * gy, pz * gx - px * gz, px * gy - py * gx
            limit = BIAS_MAX_RAD_S
            tau_s = BIAS_TAU_S
            if self._bias_s < (BIAS_TAU_S - BIAS_FIRST_TAU_S) / BIAS_GROWS:
                self._bias_s += dt
                tau_s = BIAS_FIRST_TAU_S + BIAS_GROWS * self._bias_s
            self.bias = (
                max(-limit, min(limit, bx + (r00 * dx + r10 * dy + r20 * dz) / tau_s)),
                max(-limit, min(limit, by + (r01 * dx + r11 * dy + r21 * dz) / tau_s)),
                max(-limit, min(limit, bz + (r02 * dx + r12 * dy + r22 * dz) / tau_s)),
            )

        # Up in body axes: the inverse rotation of gravity's reaction.
        ux = r00 * gx + r10 * gy + r20 * gz
        uy = r01 * gx + r11 * gy + r21 * gz
        uz = r02 * gx + r12 * gy + r22 * gz
        self.up = (ux, uy, uz)
        turn = self._to_upright
        if turn is None:
            self.trunk_pitch_deg = math.degrees(math.atan2(-ux, uz))
            self.trunk_roll_deg = math.degrees(math.atan2(uy, uz))
            self.pitch_rate_deg_s = math.degrees(wy)
            return
        (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = turn
        vx = m00 * ux + m01 * uy + m02 * uz
        vy = m10 * ux + m11 * uy + m12 * uz
        vz = m20 * ux + m21 * uy + m22 * uz
        self.trunk_pitch_deg = math.degrees(math.atan2(-vx, vz))
        self.trunk_roll_deg = math.degrees(math.atan2(vy, vz))
        self.pitch_rate_deg_s = math.degrees(m10 * wx + m11 * wy + m12 * wz)

    def _tune(self) -> None:
        """Samples come at another rate: the filter goes on from the mean it has, with coefficients for that."""
        b0, b1, b2, a1, a2 = _butterworth(self._pace.period_s)
        for i in (0, 1, 2):
            mean = self._s1[i] / (self._b1 - self._a1 + self._b2 - self._a2)
            self._s2[i] = (b2 - a2) * mean
            self._s1[i] = (b1 - a1) * mean + self._s2[i]
        self._b0, self._b1, self._b2, self._a1, self._a2 = b0, b1, b2, a1, a2

    def _low_pass(self, ax: float, ay: float, az: float) -> Vector:
        count = self._count = self._count + 1
        if count * self._pace.period_s <= TAU_S:
            # A running mean for the first tau seconds: settled at once instead of after 10 s.
            total = self._sum
            total[0] += ax
            total[1] += ay
            total[2] += az
            mean = (total[0] / count, total[1] / count, total[2] / count)
            for i in (0, 1, 2):
                # State of the filter as if it had seen the mean for ever.
                self._s2[i] = (self._b2 - self._a2) * mean[i]
                self._s1[i] = (self._b1 - self._a1) * mean[i] + self._s2[i]
            return mean
        s1, s2 = self._s1, self._s2
        b0, b1, b2, a1, a2 = self._b0, self._b1, self._b2, self._a1, self._a2
        x = b0 * ax + s1[0]
        s1[0] = b1 * ax - a1 * x + s2[0]
        s2[0] = b2 * ax - a2 * x
        y = b0 * ay + s1[1]
        s1[1] = b1 * ay - a1 * y + s2[1]
        s2[1] = b2 * ay - a2 * y
        z = b0 * az + s1[2]
        s1[2] = b1 * az - a1 * z + s2[2]
        s2[2] = b2 * az - a2 * z
        return x, y, z
