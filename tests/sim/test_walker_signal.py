"""Does the simulated walker's back move as recorded people's do?

Medians, in brackets the 5th and 95th percentile.  Recorded: 78 ways of 10 m by ten people walking forward at 0.8 to
1.6 m/s, sensor at the lower back (gait_l5, without walks whose samples were lost); backward 7 and forward 12 walks of
actors at 0.4 to 1.6 m/s, signals computed from motion capture, which has hardly any shock in it.  Shares are of the
power from 0.3 to 8 Hz, at multiples of the step's frequency (0.5: the stride); `shock` is the share above 8 Hz.

| | gait_l5 | actors backward | actors forward | simulated, 0.6 | 0.9 | 1.2 m/s |
|---|---|---|---|---|---|---|
| forward rms, m/s2 | 1.31 [0.92, 3.55] | 2.36 [1.63, 4.08] | 2.58 [1.13, 3.66] | 0.93 | 1.50 | 2.21 |
| forward 1 | 0.49 [0.26, 0.70] | 0.42 [0.02, 0.82] | 0.58 [0.07, 0.77] | 0.72 | 0.87 | 0.94 |
| forward 2 | 0.14 [0.03, 0.28] | 0.05 [0.01, 0.21] | 0.15 [0.00, 0.27] | 0.11 | 0.04 | 0.02 |
| forward 3 | 0.15 [0.04, 0.40] | 0.01 [0.00, 0.07] | 0.02 [0.00, 0.08] | 0.12 | 0.06 | 0.03 |
| forward shock | 0.22 [0.07, 0.48] | 0.00 [0.00, 0.00] | 0.00 [0.00, 0.00] | 0.01 | 0.01 | 0.01 |
| left rms, m/s2 | 1.14 [0.80, 1.77] | 1.20 [0.96, 2.43] | 1.08 [0.50, 1.66] | 0.79 | 0.89 | 0.95 |
| left 0.5 | 0.09 [0.01, 0.34] | 0.19 [0.03, 0.61] | 0.03 [0.01, 0.35] | 0.21 | 0.19 | 0.17 |
| left 1.5 | 0.12 [0.02, 0.33] | 0.05 [0.02, 0.28] | 0.17 [0.04, 0.46] | 0.23 | 0.24 | 0.25 |
| left shock | 0.31 [0.15, 0.52] | 0.00 [0.00, 0.00] | 0.00 [0.00, 0.01] | 0.15 | 0.26 | 0.38 |
| up rms, m/s2 | 1.95 [1.33, 3.76] | 0.92 [0.74, 4.68] | 1.68 [0.80, 4.72] | 0.76 | 1.19 | 1.72 |
| up 1 | 0.63 [0.42, 0.80] | 0.45 [0.20, 0.65] | 0.33 [0.05, 0.72] | 0.79 | 0.79 | 0.79 |
| up 2 | 0.04 [0.01, 0.11] | 0.06 [0.03, 0.18] | 0.27 [0.09, 0.58] | 0.04 | 0.05 | 0.05 |
| up 3 | 0.08 [0.04, 0.24] | 0.03 [0.01, 0.11] | 0.07 [0.01, 0.21] | 0.12 | 0.12 | 0.12 |
| up shock | 0.19 [0.09, 0.33] | 0.00 [0.00, 0.01] | 0.00 [0.00, 0.00] | 0.15 | 0.16 | 0.16 |
| roll rms, deg/s | 21 [9.41, 32] | 26 [18, 40] | 29 [11, 50] | 12 | 15 | 17 |
| roll 0.5 | 0.31 [0.06, 0.45] | 0.13 [0.02, 0.69] | 0.14 [0.01, 0.58] | 0.40 | 0.40 | 0.40 |
| roll 1.5 | 0.44 [0.31, 0.72] | 0.12 [0.03, 0.52] | 0.35 [0.00, 0.77] | 0.57 | 0.57 | 0.57 |
| pitch rms, deg/s | 14 [8.17, 52] | 18 [16, 29] | 21 [12, 29] | 23 | 26 | 29 |
| pitch 1 | 0.32 [0.08, 0.75] | 0.11 [0.04, 0.64] | 0.29 [0.11, 0.67] | 0.98 | 0.98 | 0.98 |
| yaw rms, deg/s | 18 [10, 38] | 23 [17, 84] | 23 [12, 70] | 11 | 14 | 16 |
| yaw 0.5 | 0.52 [0.10, 0.81] | 0.38 [0.14, 0.82] | 0.18 [0.03, 0.75] | 0.77 | 0.77 | 0.77 |
| yaw 1.5 | 0.09 [0.02, 0.33] | 0.06 [0.03, 0.14] | 0.15 [0.02, 0.45] | 0.22 | 0.22 | 0.22 |
| regularity of steps | 0.97 [0.84, 1.00] | 0.57 [0.29, 0.82] | 0.87 [0.50, 0.96] | 0.98 | 0.98 | 0.97 |
| regularity of strides | 0.98 [0.83, 1.00] | 0.65 [0.21, 0.88] | 0.87 [0.48, 0.96] | 0.95 | 0.95 | 0.94 |
| band rms, m/s2 | 1.50 [0.98, 3.19] | 0.77 [0.47, 4.01] | 1.06 [0.59, 3.75] | 0.68 | 1.07 | 1.56 |

What is left different, and why: the speed ripple along the way is that of backward walkers, larger than forward; it is
the one cause of forward acceleration here, so its share is high.  The trunk pitches as much as walkers do (human
factors), in one sine.  Steps are as regular as healthy people's walking forward; backward, actors are less so, each in
another way: scenarios that need that ask for unevenness.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.core.recorded import AtSpeed, gait_speeds, levelled, mocap_speeds

from retrowalk.sim.walker import Walker

Array = NDArray[np.float64]
RATE_HZ = 104.0
POINTS = 8192
LOST = {
    "P01": "36",
    "P03": "3456",
    "P05": "26",
    "P07": "123",
    "P09": "5",
    "P11": "6",
    "P15": "3",
    "P17": "23",
    "P19": "56",
}
OUT_OF_TIME = {f"{who}_T0{number}" for who, numbers in LOST.items() for number in numbers}
"""Walks in which samples of the back were lost, or feet step outside them (`benchmarks/steps.py` tells them)."""

SPREAD: dict[str, tuple[float, float]] = {
    "forward rms": (0.92, 4.08),
    "forward 2": (0.00, 0.28),
    "forward 3": (0.00, 0.40),
    "forward shock": (0.00, 0.48),
    "left rms": (0.50, 2.43),
    "left 0.5": (0.01, 0.61),
    "left 1.5": (0.02, 0.46),
    "left shock": (0.00, 0.52),
    "up rms": (0.74, 4.72),
    "up 1": (0.05, 0.80),
    "up 2": (0.01, 0.58),
    "up 3": (0.01, 0.24),
    "up shock": (0.00, 0.33),
    "roll rms": (9.41, 50.02),
    "roll 0.5": (0.01, 0.69),
    "roll 1.5": (0.00, 0.77),
    "pitch rms": (8.17, 51.63),
    "yaw rms": (10.17, 84.34),
    "yaw 0.5": (0.03, 0.82),
    "yaw 1.5": (0.02, 0.45),
    "regularity of steps": (0.29, 1.00),
    "regularity of strides": (0.21, 1.00),
    "band rms": (0.47, 4.01),
}
"""Of recorded people together: lowest 5th and highest 95th percentile of the three groups."""


def figures(accel: Array, gyro: Array) -> dict[str, float]:
    """What describes some seconds of even walking; rows of forward, left, up at 104 Hz."""
    accel, gyro = levelled(accel, accel, gyro)
    accel, gyro = accel - accel.mean(axis=0), gyro - gyro.mean(axis=0)
    n = len(accel)
    window = np.hanning(n)[:, None]
    hz = np.fft.rfftfreq(POINTS, 1.0 / RATE_HZ)
    pushed, turned = (np.abs(np.fft.rfft(x * window, POINTS, axis=0)) ** 2 for x in (accel, gyro))

    def power(of: Array, low: float, high: float) -> float:
        return float(of[(hz >= low) & (hz < high)].sum())

    def share(of: Array, middle: float, width: float) -> float:
        return power(of, middle - width, middle + width) / power(of, 0.3, 8.0)

    def steps(at: float) -> float:
        """How well a frequency would do for the steps: up and down with them, side and roll with half of it."""
        across = 0.5 * share(pushed[:, 1], 0.5 * at, 0.05 * at) + 0.3 * share(turned[:, 0], 0.5 * at, 0.05 * at)
        return share(pushed[:, 2], at, 0.1 * at) + across

    step = max(hz[(hz > 0.95) & (hz < 2.7)].tolist(), key=steps)
    scale = 2.0 / (POINTS * float((window**2).sum()))
    out = {"step_hz": step}
    for i, axis in enumerate(("forward", "left", "up")):
        of = pushed[:, i]
        out[f"{axis} rms"] = float(np.sqrt(scale * power(of, 0.3, 8.0)))
        for times in (0.5, 1.0, 1.5, 2.0, 3.0):
            out[f"{axis} {times:g}"] = share(of, times * step, 0.12 * step)
        out[f"{axis} shock"] = power(of, 8.0, 45.0) / power(of, 0.3, 45.0)
    for i, axis in enumerate(("roll", "pitch", "yaw")):
        of = turned[:, i]
        out[f"{axis} rms"] = float(np.degrees(np.sqrt(scale * power(of, 0.3, 8.0))))
        for times in (0.5, 1.0, 1.5):
            out[f"{axis} {times:g}"] = share(of, times * step, 0.12 * step)
    spectrum = np.fft.rfft(accel[:, 2], POINTS)
    spectrum[(hz < 0.6) | (hz > 3.0)] = 0.0
    band = np.fft.irfft(spectrum, POINTS)[:n]

    def alike(lag: float) -> float:
        k = round(lag)
        return float((band[: n - k] * band[k:]).sum() / (n - k) / (band * band).mean())

    for name, times in (("regularity of steps", 1.0), ("regularity of strides", 2.0)):
        lags = np.arange((times - 0.15) * RATE_HZ / step, (times + 0.15) * RATE_HZ / step)
        out[name] = min(1.0, max(alike(lag) for lag in lags.tolist()))
    out["band rms"] = float(band.std())
    return out


def simulated(speed_m_s: float, seed: int) -> dict[str, float]:
    """Twelve seconds of a simulated walker, once the speed is reached."""
    walker = Walker(seed)
    walker.walk(speed_m_s)
    moments = [walker.moment(i / RATE_HZ, 1.0 / RATE_HZ) for i in range(round(16.0 * RATE_HZ))]
    rows = np.array([moment[:6] for moment in moments[round(4.0 * RATE_HZ) :]])
    return figures(rows[:, :3], rows[:, 3:])


def recorded(ways: Iterable[AtSpeed]) -> list[dict[str, float]]:
    """Every way that is long enough."""
    out = []
    for way in ways:
        inside = (way.motion.t_s >= way.from_s) & (way.motion.t_s <= way.to_s)
        if way.name not in OUT_OF_TIME and inside.sum() > 420:
            out.append(figures(way.motion.accel_m_s2[inside], way.motion.gyro_rad_s[inside]))
    return out


def middle(many: list[dict[str, float]], name: str) -> tuple[float, float, float]:
    """5th percentile, median, 95th percentile."""
    low, median, high = np.percentile([one[name] for one in many], [5, 50, 95]).tolist()
    return low, median, high


@pytest.fixture(scope="module")
def walkers() -> dict[float, list[dict[str, float]]]:
    """Three simulated people at three speeds."""
    return {speed: [simulated(speed, seed) for seed in (1, 2, 3)] for speed in (0.6, 0.9, 1.2)}


@pytest.mark.parametrize("name", sorted(SPREAD))
def test_the_simulated_back_moves_as_recorded_ones(walkers, name):
    """Each figure lies within the spread of recorded people, at each speed"""
    low, high = SPREAD[name]
    for speed, many in walkers.items():
        median = middle(many, name)[1]
        assert low <= median <= high, f"at {speed} m/s"


@pytest.mark.slow
def test_who_walks_faster_bounces_more():
    """The bounce in the band of the steps grows with speed as it does in recorded people (`core/own_speed.py`)"""
    for speed, rms in ((0.45, 0.5), (0.6, 0.7), (1.0, 1.2), (1.2, 1.5)):
        told = np.median([simulated(speed, seed)["band rms"] for seed in range(4)])
        assert told == pytest.approx(rms, rel=0.2)


def test_one_leg_pushes_a_little_more_than_the_other():
    """Strides of a walker are at least as alike as steps; how lopsided differs from walker to walker"""
    off = [one["regularity of strides"] - one["regularity of steps"] for one in (simulated(0.8, s) for s in range(6))]
    assert max(off) - min(off) > 0.01


@pytest.mark.slow
def test_recorded_people_are_as_written_here(recorded_data):
    """The spread that simulated walkers are held to is that of the recordings"""
    groups = [
        recorded(gait_speeds(recorded_data)),
        recorded(mocap_speeds(recorded_data, "backward")),
        recorded(mocap_speeds(recorded_data, "forward")),
    ]
    for name, (low, high) in SPREAD.items():
        spreads = [middle(group, name) for group in groups]
        assert low == pytest.approx(min(spread[0] for spread in spreads), abs=0.006 + 0.01 * abs(low)), name
        assert high == pytest.approx(max(spread[2] for spread in spreads), abs=0.006 + 0.01 * abs(high)), name
