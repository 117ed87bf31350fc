"""What the simulated chips of the clip have in common: what they feel, in counts, and a clock of their own."""

from __future__ import annotations

from collections.abc import Callable

from retrowalk.config import axis_matrix
from retrowalk.sim.estimates import ImuParameters
from retrowalk.sim.faults import Faults
from retrowalk.sim.noise import stream

Measure = Callable[[float], tuple[float, float, float, float, float, float]]
"""Specific force (m/s2) and angular rate (rad/s) in body axes at a session second: `World.imu`."""

Counts = tuple[int, int, int]

G_M_S2 = 9.80665
TEMPERATURE_C = 22.0

PACE = {"slow": 4.0, "fast": 1.0 / 1.03}
"""By how much longer the time between two samples is with a fault."""
DELAYED_S = 0.3


class Inertial:
    """Motion of the body in the chip's own axes, with noise and bias, in counts.

    `axes` is how the chip is mounted, as `config.imu.axes` says; the part `imu` of `faults` may be stuck.
    """

    def __init__(
        self,
        measure: Measure,
        seed: int,
        axes: tuple[str, str, str],
        faults: Faults,
        parameters: ImuParameters,
    ) -> None:
        matrix = axis_matrix(axes)
        if matrix is None:
            raise ValueError(f"axes = {list(axes)}: must be right-handed, such as +x +y +z")
        # Body axis i points along chip axis matrix[i]; the chip needs the inverse: which body axis each of its own is.
        self._from_body = [(0, 1.0)] * 3
        for body, (chip, sign) in enumerate(matrix):
            self._from_body[chip] = (body, sign)
        self._measure = measure
        self._faults = faults
        self._noise = stream(seed, "imu.noise")
        bias = stream(seed, "imu.bias")
        most = parameters.gyro_bias_rad_s
        self.gyro_bias_rad_s = tuple(bias.uniform(-most, most) for _ in range(3))
        self._accel_noise, self._gyro_noise = parameters.accel_noise_m_s2, parameters.gyro_noise_rad_s
        self._frozen: tuple[Counts, Counts] | None = None

    def sample(self, t_s: float, accel_scale: float, gyro_scale: float, delay_s: float = 0.0) -> tuple[Counts, Counts]:
        """Acceleration and rotation put out at `t_s`, felt `delay_s` before; a scale is what one count means."""
        stuck = self._faults.active("imu", t_s) == "stuck"
        if stuck and self._frozen is not None:
            return self._frozen
        body = self._measure(t_s - delay_s)
        gauss = self._noise.gauss
        bias = self.gyro_bias_rad_s
        accel_noise, gyro_noise = self._accel_noise, self._gyro_noise
        (ix, sx), (iy, sy), (iz, sz) = self._from_body
        accel = (
            _counts(sx * body[ix] + gauss(0.0, accel_noise), accel_scale),
            _counts(sy * body[iy] + gauss(0.0, accel_noise), accel_scale),
            _counts(sz * body[iz] + gauss(0.0, accel_noise), accel_scale),
        )
        gyro = (
            _counts(sx * body[3 + ix] + bias[0] + gauss(0.0, gyro_noise), gyro_scale),
            _counts(sy * body[3 + iy] + bias[1] + gauss(0.0, gyro_noise), gyro_scale),
            _counts(sz * body[3 + iz] + bias[2] + gauss(0.0, gyro_noise), gyro_scale),
        )
        self._frozen = (accel, gyro) if stuck else None
        return accel, gyro


class Ticker:
    """When the chip samples, by its own oscillator; its pace may change with a fault."""

    def __init__(self) -> None:
        self.period_s = 0.0
        """Time between two samples without a fault; 0: it does not sample."""
        self._begun_s = 0.0
        self._count = 0
        self._pace = 1.0

    def begin(self, now: float, period_s: float) -> None:
        """Sampling begins anew."""
        self.period_s, self._begun_s, self._count, self._pace = period_s, now, 0, 1.0

    def due(self, now: float, pace: float, most: int | None) -> tuple[int, list[float]]:
        """Times of the samples since the last call, the newest `most` of them, and how many were left out."""
        if not self.period_s:
            return 0, []
        if pace != self._pace:
            # The pace has just changed: count on from the latest sample.
            self._begun_s += self._count * self.period_s * self._pace
            self._count, self._pace = 0, pace
        step_s = self.period_s * pace
        due = int((now - self._begun_s) / step_s)
        left_out = max(0, due - self._count - most) if most is not None else 0
        times = [self._begun_s + number * step_s for number in range(self._count + 1 + left_out, due + 1)]
        self._count = max(due, self._count)
        return left_out, times


def _counts(value: float, scale: float) -> int:
    return max(-32768, min(32767, round(value / scale)))
