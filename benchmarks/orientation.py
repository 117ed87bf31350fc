"""Trunk inclination on simulated walking whose truth is known, beside a published filter and a plain one.

    python -m benchmarks.orientation [--quick] [--full] [--seed N] [--json]

Ten minutes of somebody who stands and sways, starts, walks at 1.7 steps a second with heel strikes that ring at 18 Hz,
turns round half way of every bout, and stops; the gyroscope has a bias of 0, 1 or 2 degrees/s, and the clip sits 8
degrees off.  The error is that of the whole inclination (the angle between where up is and where it is said to be),
over all of it and over the last half.  Nobody is told how the clip sits or what the bias is.

Peers: `vqf` (Laidig & Seel 2023, its 6-D estimate with default settings; pip install --require-hashes -r
requirements/orientation.txt) and a complementary filter with 1 s.  `difference_to_vqf_deg` is between `vqf` and us on
the same samples without noise and bias, the last half: with its rest detection off, as ours has none, and, for what it
is worth, with it on, when it takes the sway of standing for bias.
The one cost is that of a sample of our filter, on the machine at hand.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.common import Row, arguments, run
from benchmarks.recordings import turned
from numpy.typing import NDArray

from retrowalk.core.posture import Posture

Array = NDArray[np.float64]

RATE_HZ = 104.0
STEP_HZ = 1.7
G_M_S2 = 9.80665
ACCEL_NOISE_M_S2, GYRO_NOISE_DEG_S = 0.03, 0.1
STAND_S, WALK_S = 8.0, 32.0
BIAS_AXES = (0.4, 1.0, -0.7)
"""A bias of 1 degree/s is so much about each axis: most about the one of pitch."""
COMPLEMENTARY_S = 1.0


@dataclass(frozen=True)
class Walk:
    """What a clip would read, and the truth."""

    t_s: Array
    accel: Array
    gyro: Array
    up: Array
    """Unit vector of up in the clip's axes."""


def walk(seconds: float, seed: int, bias_deg_s: float, *, noise: bool = True) -> Walk:
    """Somebody who stands, walks and turns; body axes forward, left, up, seen by a clip that sits askew."""
    rng = np.random.default_rng(seed)
    t = np.arange(0.0, seconds, 1.0 / RATE_HZ)
    on, yaw, phase, steps = np.zeros_like(t), np.zeros_like(t), np.zeros_like(t), []
    start = STAND_S
    while start < seconds - STAND_S:
        length = min(WALK_S * rng.uniform(0.7, 1.3), seconds - start - 2.0)
        rows = (t >= start) & (t < start + length)
        on[rows] = 1.0
        phase[rows] = 2 * np.pi * STEP_HZ * (t[rows] - start)
        steps += (np.arange(start, start + length, 1.0 / STEP_HZ) + 0.2).tolist()
        half_turn = rng.choice([-180.0, 180.0])
        yaw += half_turn / (1.0 + np.exp(-np.clip((t - start - length / 2) * 3.0, -50, 50)))
        start += length + STAND_S * rng.uniform(0.5, 1.5)
    kernel = np.hanning(81)
    envelope = np.convolve(on, kernel / kernel.sum(), mode="same")
    rocks = np.gradient(envelope, 1.0 / RATE_HZ)
    ringing = np.zeros_like(t)
    late = np.arange(int(0.25 * RATE_HZ)) / RATE_HZ
    for step in steps:
        first = int(step * RATE_HZ)
        n = min(len(late), len(t) - first)
        strike = rng.uniform(3.0, 8.0) * np.exp(-late[:n] / 0.04) * np.sin(2 * np.pi * 18 * late[:n])
        ringing[first : first + n] += strike
    forward = envelope * 1.2 * np.cos(phase) + 0.9 * rocks + 0.35 * ringing
    left = envelope * 0.9 * np.sin(phase / 2)
    vertical = envelope * (1.8 * np.sin(phase) + 0.6 * np.sin(2 * phase + 0.6)) + ringing
    pitch = _sway(rng, t, 1.0) + envelope * (2.0 + 2.5 * np.sin(phase + 1.0)) - 3.0 * rocks
    roll = _sway(rng, t, 0.7) + envelope * 3.0 * np.sin(phase / 2 + 0.4)
    yaw = yaw + envelope * 4.0 * np.sin(phase / 2) + _sway(rng, t, 0.7)

    p, r = np.radians(pitch), np.radians(roll)
    dp, dr, dy = (np.gradient(np.radians(angle), 1.0 / RATE_HZ) for angle in (pitch, roll, yaw))
    sp, cp, sr, cr = np.sin(p), np.cos(p), np.sin(r), np.cos(r)
    gyro = np.stack([dr - dy * sp, dp * cr + dy * cp * sr, -dp * sr + dy * cp * cr], axis=1)
    fx, fz = cp * forward - sp * (vertical + G_M_S2), sp * forward + cp * (vertical + G_M_S2)
    accel = np.stack([fx, cr * left + sr * fz, -sr * left + cr * fz], axis=1)
    up = np.stack([-sp, sr * cp, cr * cp], axis=1)

    clip = turned(8.0, -5.0, 10.0)
    accel, gyro, up = accel @ clip.T, gyro @ clip.T, up @ clip.T
    gyro = gyro + np.radians(bias_deg_s * np.array(BIAS_AXES))
    if noise:
        accel = accel + rng.normal(0.0, ACCEL_NOISE_M_S2, accel.shape)
        gyro = gyro + rng.normal(0.0, math.radians(GYRO_NOISE_DEG_S), gyro.shape)
    return Walk(t, accel, gyro, up)


def _sway(rng: np.random.Generator, t: Array, amplitude_deg: float) -> Array:
    """Slow wandering: up to about a degree a second."""
    waves = [
        rng.uniform(0.4, 1.0) * np.sin(2 * np.pi * hz * t + rng.uniform(0, 2 * np.pi)) for hz in (0.07, 0.19, 0.43)
    ]
    return np.asarray(amplitude_deg * sum(waves) / 2.0)


# ------------------------------------------------------------------------------------------------ the filters


def ours(data: Walk) -> tuple[Array, float]:
    """Up by `Posture`, row by row, and what a sample costs in microseconds."""
    posture = Posture()
    rows = list(zip(data.t_s.tolist(), data.accel.tolist(), data.gyro.tolist(), strict=True))
    up = np.zeros_like(data.up)
    started = time.perf_counter()
    for i, (t, a, w) in enumerate(rows):
        posture.update(t, (a[0], a[1], a[2]), (w[0], w[1], w[2]))
        up[i] = posture.up or (0.0, 0.0, 1.0)
    return up, (time.perf_counter() - started) / len(rows) * 1e6


def by_vqf(module: Any, data: Walk, *, rests: bool = True) -> Array:
    """Up by `vqf`'s 6-D estimate; `rests`: whether it may take standing for rest, as it does by default."""
    found = module.VQF(1.0 / RATE_HZ, restBiasEstEnabled=rests).updateBatch(
        np.ascontiguousarray(data.gyro), np.ascontiguousarray(data.accel)
    )
    w, x, y, z = found["quat6D"].T
    return np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], axis=1)


def by_complementary(data: Walk) -> Array:
    """Up carried on by the rates, drawn to the accelerometer with a time constant of a second."""
    up = data.accel[0] / np.linalg.norm(data.accel[0])
    out, dt = np.zeros_like(data.up), 1.0 / RATE_HZ
    for i in range(len(out)):
        up = up + np.cross(up, data.gyro[i]) * dt
        up = up + dt / COMPLEMENTARY_S * (data.accel[i] / np.linalg.norm(data.accel[i]) - up)
        up = up / np.linalg.norm(up)
        out[i] = up
    return out


def angle_deg(a: Array, b: Array) -> Array:
    """Between two directions, row by row."""
    return np.asarray(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=1), (a * b).sum(axis=1))))


def rms(values: Array) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(values**2)))


# --------------------------------------------------------------------------------------------------- rows


def measure(options: argparse.Namespace) -> list[Row]:
    """Every number."""
    seconds = 240.0 if options.quick else 600.0
    seeds = [options.seed + i for i in range(5 if options.full else 1 if options.quick else 3)]
    module = _vqf()
    filters: list[tuple[str, Callable[[Walk], Array]]] = [("complementary 1 s", by_complementary)]
    if module is not None:
        filters.insert(0, ("vqf", lambda data: by_vqf(module, data)))
    rows: list[Row] = []
    costs: list[float] = []
    for bias in (0.0, 1.0, 2.0):
        errors: dict[str, list[Array]] = {}
        for seed in seeds:
            data = walk(seconds, seed, bias)
            up, cost = ours(data)
            costs.append(cost)
            errors.setdefault("retrowalk", []).append(angle_deg(up, data.up))
            for name, estimate in filters:
                errors.setdefault(name, []).append(angle_deg(estimate(data), data.up))
        case = f"bias {bias:g} deg/s"
        for name, found in errors.items():
            goals = ("<= 0.85", "<= 0.75") if name == "retrowalk" else (None, None)
            whole, settled = rms(np.concatenate(found)), rms(np.concatenate([e[len(e) // 2 :] for e in found]))
            count = sum(len(e) for e in found)
            rows.append(Row("orientation_rmse_deg", name, case, round(whole, 3), "deg", count, goal=goals[0]))
            rows.append(
                Row("orientation_settled_rmse_deg", name, case, round(settled, 3), "deg", count // 2, goal=goals[1])
            )
    rows += _against(module, seconds, seeds)
    rows.append(Row("cost_us_per_sample", "retrowalk", "p50", round(float(np.median(costs)), 2), "us", len(costs)))
    return rows


def _against(module: Any, seconds: float, seeds: Sequence[int]) -> list[Row]:
    """How far we are from `vqf` where nothing spoils the samples."""
    if module is None:
        return []
    rows = []
    for rests, case, goal in ((False, "clean", "<= 0.15"), (True, "clean, vqf rests", None)):
        apart = []
        for seed in seeds:
            data = walk(seconds, seed, 0.0, noise=False)
            difference = angle_deg(ours(data)[0], by_vqf(module, data, rests=rests))
            apart.append(difference[len(difference) // 2 :])
        value = rms(np.concatenate(apart))
        count = sum(len(a) for a in apart)
        rows.append(Row("difference_to_vqf_deg", "retrowalk", case, round(value, 3), "deg", count, goal=goal))
    return rows


def _vqf() -> Any:
    try:
        return importlib.import_module("vqf")
    except ImportError:
        print("vqf is not installed, and left out: pip install vqf", file=sys.stderr)
        return None


if __name__ == "__main__":
    run("orientation", arguments(__doc__ or "").parse_args(), measure)
