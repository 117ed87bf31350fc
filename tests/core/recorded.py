"""Recorded people as the clip would have felt them: decoded, turned into body axes, resampled to 104 Hz.

Formats, axes and licences stand in the README.md beside each set; nothing of the data is part of this repository.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.core.synth import IMU_HZ, Motion

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Recorded:
    """One trial."""

    name: str
    motion: Motion
    contacts_s: Array
    """When feet came to rest (ends of their movements)."""
    is_fall: bool = False
    activity: str = ""
    impact_s: float = -1.0


def resampled(accel: Array, gyro: Array, hz: float) -> Motion:
    """Rows at `hz` (n,3) to 104 Hz: a short moving average against aliasing, then linear interpolation."""
    n = len(accel)
    t = np.arange(n) / hz
    out = np.arange(0.0, t[-1], 1.0 / IMU_HZ)
    width = max(1, round(hz / IMU_HZ))
    if width > 1:
        kernel = np.ones(width) / width
        accel = np.stack([np.convolve(accel[:, i], kernel, mode="same") for i in (0, 1, 2)], axis=1)
        gyro = np.stack([np.convolve(gyro[:, i], kernel, mode="same") for i in (0, 1, 2)], axis=1)
    a = np.stack([np.interp(out, t, accel[:, i]) for i in (0, 1, 2)], axis=1)
    w = np.stack([np.interp(out, t, gyro[:, i]) for i in (0, 1, 2)], axis=1)
    return Motion(out, a, w, np.zeros_like(out), np.array([]))


def levelled(still: Array, accel: Array, gyro: Array) -> tuple[Array, Array]:
    """Turned by the smallest rotation that makes the mean of `still` point up (+z)."""
    u = still.mean(axis=0)
    x, y, z = u / np.linalg.norm(u)
    k = 1.0 / (1.0 + z)
    turn = np.array([[1.0 - k * x * x, -k * x * y, -x], [-k * x * y, 1.0 - k * y * y, -y], [x, y, z]])
    return accel @ turn.T, gyro @ turn.T


def gait_walks(data: Path) -> list[Recorded]:
    """gait_l5: lower back, 100 Hz; the sensor's x points up, so y and z take the place of left and forward."""
    walks: list[Recorded] = []
    folder = data / "gait_l5"
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with np.load(folder / "gait_l5.npz") as npz:
        for row in rows:
            name = row["trial_id"]
            to_body = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])  # x up: z back or front, unknown
            accel = (npz[f"{name}_acc_i16"] * npz["acc_scale"]).T @ to_body.T
            gyro = (npz[f"{name}_gyr_i16"] * npz["gyr_scale"]).T @ to_body.T
            accel, gyro = levelled(accel[:200], accel, gyro)
            ends = np.concatenate([npz[f"{name}_left"][:, 1], npz[f"{name}_right"][:, 1]])
            walks.append(Recorded(name, resampled(accel, gyro, 100.0), np.sort(ends) / 100.0))
    return walks


def sisfall(data: Path, names: set[str] | None = None) -> list[Recorded]:
    """SisFall: belt buckle, 200 Hz, x right, y down, z forward.  As a clip on the back: forward z, left -x, up -y.

    A clip on the back sees x and z of the buckle reversed; in body axes both are the same.
    """
    trials: list[Recorded] = []
    folder = data / "sisfall"
    with (folder / "trials.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if names is None or row["trial_id"] in names]
    by_file: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_file.setdefault(row["file"], []).append(row)
    to_body = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    for file_name, of_file in sorted(by_file.items()):
        with np.load(folder / file_name) as npz:
            start, acc, gyr = npz["trial_start"], npz["acc_i16"], npz["gyr_i16"]
            acc_scale, gyr_scale = float(npz["acc_scale"]), float(npz["gyr_scale"])
            for row in of_file:
                k = int(row["trial_index"])
                rows_of = slice(start[k], start[k + 1])
                accel = (acc[:, rows_of] * acc_scale).T @ to_body.T
                gyro = (gyr[:, rows_of] * gyr_scale).T @ to_body.T
                trials.append(
                    Recorded(
                        row["trial_id"],
                        resampled(accel, gyro, 200.0),
                        np.array([]),
                        row["is_fall"] == "1",
                        row["activity_code"],
                        float(row["impact_s"] or -1.0),
                    )
                )
    return trials


def sisfall_names(data: Path) -> tuple[list[str], list[str]]:
    """Names of all falls and of all activities of daily living, in the order of the list."""
    with (data / "sisfall" / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    falls = [row["trial_id"] for row in rows if row["is_fall"] == "1"]
    return falls, [row["trial_id"] for row in rows if row["is_fall"] == "0"]


@dataclass(frozen=True)
class AtSpeed:
    """Somebody who walks on at a known speed, m/s, between two seconds."""

    name: str
    motion: Motion
    from_s: float
    to_s: float
    speed_m_s: float


def gait_speeds(data: Path, names: set[str] | None = None) -> list[AtSpeed]:
    """Both ways of each walk of gait_l5: 10 m there, a turn, 10 m back, forward.  Speeds from the labelled times.

    The first 2 s and the last 0.8 s of a way, of starting and stopping, are left out.
    """
    with (data / "gait_l5" / "trials.csv").open(newline="") as file:
        rows = {row["trial_id"]: row for row in csv.DictReader(file)}
    found: list[AtSpeed] = []
    for walk in gait_walks(data):
        if names is not None and walk.name not in names:
            continue
        row = rows[walk.name]
        for begins, ends in (("walk_start_s", "uturn_start_s"), ("uturn_end_s", "walk_end_s")):
            from_s, to_s = float(row[begins]), float(row[ends])
            found.append(AtSpeed(walk.name, walk.motion, from_s + 2.0, to_s - 0.8, 10.0 / (to_s - from_s)))
    return found


def mocap_speeds(data: Path, direction: str) -> list[AtSpeed]:
    """backward_mocap: actors who walk `backward` or `forward`, true speeds; signals computed for a clip at the belt."""
    folder = data / "backward_mocap"
    found: list[AtSpeed] = []
    with (folder / "trials.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["direction"] == direction and row["edited_loop"] == "0"]
    with np.load(folder / "backward_mocap.npz") as npz:
        for row in rows:
            name = row["trial"]
            accel, gyro = npz[f"{name}__acc_back"].astype(float), npz[f"{name}__gyr"].astype(float)
            speed = np.hypot(npz[f"{name}__v_fwd"], npz[f"{name}__v_left"])
            end_s = len(speed) / 100.0
            found.append(AtSpeed(name, resampled(accel, gyro, 100.0), 1.5, end_s, float(speed[150:].mean())))
    return found
