"""Recorded people as the clip would have given them: trials of the movement data sets as items for the core.

The data is not part of the project: `--data` or RETROWALK_DATA names its folder (default: ../shared/data beside the
checkout); formats and licences stand in the README.md beside each set.  A folder may hold some of the sets only, and
other people's recordings in the same format.

What the chip does to a recording: its low-pass (45 Hz), 104 samples a second, noise, 16 g and 2000 degrees/s in 16
bits, and a FIFO that is read every 48 ms: `t_received_s` is when the guard gets a sample, `t_measured_s` when it was.
The first posture stands for 3 s before the trial (what the device needs to learn the wearer's own upright), the last
one stays for some seconds after it.  Times of a trial count from its first sample, as its labels do.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrowalk.core.samples import ImuSample
from retrowalk.sim.estimates import current
from retrowalk.sim.recorded import BEFORE_S, LOW_PASS_HZ, OFFSET_MAX_RAD_S, POSTURE_S

Array = NDArray[np.float64]

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RATE_HZ = 104.0
FIFO_S = 0.048
AFTER_S = 5.0
"""The last posture stays for so long after a trial: what is to be found at its very end can be."""
ACCEL_LSB_M_S2 = 16.0 * 9.80665 / 32768.0
ACCEL_MAX = 32767.0 * ACCEL_LSB_M_S2
GYRO_LSB_RAD_S = math.radians(0.07)  # LSM6DSOX at 2000 degrees/s
GYRO_MAX = 32767.0 * GYRO_LSB_RAD_S


@dataclass(frozen=True)
class Trial:
    """A row of a trials.csv.  Times in seconds from the trial's first sample; nan where there is no label."""

    set_name: str
    file: Path
    trial_id: str
    subject: str
    group: str
    """`young`, `elderly` or empty."""
    activity: str
    """SisFall's and WEDA-FALL's code, UMAFall's name, `WALK10M_UTURN`, or the direction of backward_mocap."""
    is_fall: bool
    fall_direction: str
    """`backward`, `forward`, `lateral`, `vertical` or empty."""
    duration_s: float
    impact_s: float
    event_start_s: float
    row: dict[str, str]
    """Everything the row says."""


@dataclass(frozen=True)
class Recording:
    """Body axes (forward, left, up): specific force m/s2 and rate rad/s, (n, 3), evenly `rate_hz` a second."""

    rate_hz: float
    accel: Array
    gyro: Array


def data_argument(parser: argparse.ArgumentParser) -> None:
    """`--data DIR`."""
    parser.add_argument("--data", type=Path, default=None, help="folder of the data sets (default: RETROWALK_DATA)")


def data_directory(options: argparse.Namespace | None = None) -> Path:
    """Where the data sets lie.  Ends the program with a word on what to do when they are not there."""
    named = getattr(options, "data", None) or os.environ.get("RETROWALK_DATA")
    data = Path(named) if named else DEFAULT_DATA
    if not data.is_dir():
        sys.exit(f"{data} is not there: name the folder of the data sets with --data or RETROWALK_DATA")
    return data


def trials(data: Path, set_name: str) -> list[Trial]:
    """Every trial of a set; none where the folder does not hold it.  `data` may be the set's own folder, too."""
    folder = data / set_name
    if not folder.is_dir() and data.name == set_name:
        folder = data
    path = folder / "trials.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Trial(
                set_name,
                folder / (row.get("file") or f"{set_name}.npz"),
                row.get("trial_id") or row["trial"],
                row.get("subject") or row.get("subject_group", ""),
                row.get("group", ""),
                row.get("activity_code") or row["direction"],
                row.get("is_fall") == "1",
                row.get("fall_direction", ""),
                float(row["duration_s"]),
                float(row.get("impact_s") or math.nan),
                float(row.get("event_start_s") or math.nan),
                row,
            )
            for row in csv.DictReader(file)
        ]


# ---------------------------------------------------------------------------------------------------- reading


@lru_cache(maxsize=2)
def _file(path: Path) -> dict[str, Any]:
    with np.load(path) as npz:
        return {name: npz[name] for name in npz.files}


def read(trial: Trial) -> Recording:
    """The recording itself, in body axes, before any chip."""
    npz, name = _file(trial.file), trial.trial_id
    if trial.set_name == "sisfall":
        k = int(trial.row["trial_index"])
        start, end = (int(i) for i in npz["trial_start"][k : k + 2])
        # x right, y down, z forward; a clip on the back sees x and z reversed, in body axes it is the same.
        to_body = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        accel = (npz["acc_i16"][:, start:end] * npz["acc_scale"]).T @ to_body.T
        gyro = (npz["gyr_i16"][:, start:end] * npz["gyr_scale"]).T @ to_body.T
        return Recording(float(npz["fs_hz"]), accel, gyro)
    if trial.set_name == "gait_l5":
        # x roughly up; that z points backward is what direction finding confirms in every one of the walks.
        to_body = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        accel = (npz[f"{name}_acc_i16"] * npz["acc_scale"]).T @ to_body.T
        gyro = (npz[f"{name}_gyr_i16"] * npz["gyr_scale"]).T @ to_body.T
        return Recording(100.0, *levelled(accel[:200], accel, gyro))
    if trial.set_name == "backward_mocap":
        accel, gyro = npz[f"{name}__acc_back"].astype(float), npz[f"{name}__gyr"].astype(float)
        return Recording(100.0, accel, gyro)
    if trial.set_name == "umafall_waist":
        t = npz[f"{name}_t"].astype(float)
        accel, gyro = (_evened(t, npz[f"{name}_{kind}"].astype(float), t) for kind in ("acc", "gyr"))
        return Recording(100.0, *levelled(accel[:200], accel, gyro))
    if trial.set_name == "weda_fall":
        t_acc, t_gyr = npz[f"{name}_t_acc"].astype(float), npz[f"{name}_t_gyr"].astype(float)
        accel = _evened(t_acc, npz[f"{name}_acc"].astype(float), t_acc)
        gyro = _evened(t_gyr, npz[f"{name}_gyr"].astype(float), t_acc)
        return Recording(100.0, *levelled(accel[:200], accel, gyro))
    raise ValueError(f"{trial.set_name}: is not a set that can be read")


def labels(trial: Trial) -> dict[str, Any]:
    """What the file holds for this trial besides the two sensors, under the names its README gives."""
    npz, name = _file(trial.file), trial.trial_id
    if trial.set_name == "sisfall":
        k = int(trial.row["trial_index"])
        start, end = (int(i) for i in npz["trial_start"][k : k + 2])
        return {"phase": npz["phase"][start:end]}
    separator = "__" if trial.set_name == "backward_mocap" else "_"
    return {key[len(name) + len(separator) :]: value for key, value in npz.items() if key.startswith(name + separator)}


def levelled(still: Array, accel: Array, gyro: Array) -> tuple[Array, Array]:
    """Turned by the smallest rotation that makes the mean of `still` point up (+z)."""
    u = still.mean(axis=0)
    x, y, z = u / np.linalg.norm(u)
    k = 1.0 / max(1e-9, 1.0 + z)
    turn = np.array([[1.0 - k * x * x, -k * x * y, -x], [-k * x * y, 1.0 - k * y * y, -y], [x, y, z]])
    return accel @ turn.T, gyro @ turn.T


def _evened(t: Array, values: Array, grid_from: Array) -> Array:
    order = np.argsort(t, kind="stable")
    grid = np.arange(grid_from.min(), grid_from.max(), 0.01)
    return np.stack([np.interp(grid, t[order], values[order, i]) for i in (0, 1, 2)], axis=1)


# ------------------------------------------------------------------------------------------------- the chip


@dataclass(frozen=True)
class Clip:
    """What the chip gives, sample by sample, in body axes; `t_s` counts from the trial's first sample."""

    t_s: Array
    accel: Array
    gyro: Array

    def items(self, starts_s: float = BEFORE_S, hangs_s: float = 0.0) -> Iterator[ImuSample]:
        """As the guard gets them; the trial's first sample is session second `starts_s`."""
        t = self.t_s + starts_s
        received = (np.floor((t - hangs_s) / FIFO_S) + 1.0) * FIFO_S + hangs_s
        for at, got, a, w in zip(t.tolist(), received.tolist(), self.accel.tolist(), self.gyro.tolist(), strict=True):
            yield ImuSample(got, at, (a[0], a[1], a[2]), (w[0], w[1], w[2]))


def clip(
    trial: Trial, seed: int = 1, *, worn: Array | None = None, after_s: float = AFTER_S, before_s: float = BEFORE_S
) -> Clip:
    """The trial through the chip.  `worn` turns body axes into those of a clip that sits askew (3, 3)."""
    return clipped(
        read(trial), zlib.crc32(trial.trial_id.encode()) ^ seed, worn=worn, after_s=after_s, before_s=before_s
    )


def clipped(
    recording: Recording, seed: int, *, worn: Array | None = None, after_s: float = AFTER_S, before_s: float = BEFORE_S
) -> Clip:
    """As `clip`, of a recording."""
    hz = recording.rate_hz
    count = len(recording.accel)
    t = np.arange(count) / hz
    inside = np.arange(0.0, t[-1], 1.0 / RATE_HZ)
    before = np.arange(round(before_s * RATE_HZ), 0, -1) / -RATE_HZ
    after = inside[-1] + np.arange(1, round(after_s * RATE_HZ) + 1) / RATE_HZ
    rng = np.random.default_rng(seed & 0xFFFFFFFF)
    out = []
    first = max(1, round(POSTURE_S * hz))
    for values, rates in ((recording.accel, False), (recording.gyro, True)):
        smooth = low_passed(values, hz)
        body = np.stack([np.interp(inside, t, smooth[:, i]) for i in (0, 1, 2)], axis=1)
        ends = []
        for part in (values[:first], values[-first:]):
            mean = part.mean(axis=0)
            if rates and np.linalg.norm(mean) > OFFSET_MAX_RAD_S:
                mean = np.zeros(3)  # nobody who stands or lies goes on turning
            ends.append(mean)
        whole = np.vstack([np.tile(ends[0], (len(before), 1)), body, np.tile(ends[1], (len(after), 1))])
        if worn is not None:
            whole = whole @ worn.T
        chip = current().imu
        sigma, lsb, limit = (
            (chip.gyro_noise_rad_s, GYRO_LSB_RAD_S, GYRO_MAX)
            if rates
            else (chip.accel_noise_m_s2, ACCEL_LSB_M_S2, ACCEL_MAX)
        )
        noisy = whole + rng.normal(0.0, sigma, whole.shape)
        out.append(np.clip(np.round(noisy / lsb) * lsb, -limit - lsb, limit))
    return Clip(np.concatenate([before, inside, after]), out[0], out[1])


def low_passed(values: Array, rate_hz: float) -> Array:
    """Without what lies above the chip's cut-off: a windowed sinc without delay, (n, 3)."""
    if rate_hz <= 2.2 * LOW_PASS_HZ:
        return values
    half = round(0.03 * rate_hz)
    k = np.arange(-half, half + 1)
    x = 2.0 * LOW_PASS_HZ / rate_hz * k
    taps = np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * k / (half + 1)))
    taps /= taps.sum()
    padded = np.pad(values, ((half, half), (0, 0)), mode="edge")
    return np.stack([np.convolve(padded[:, i], taps, mode="valid") for i in (0, 1, 2)], axis=1)


def turned(pitch_deg: float = 0.0, roll_deg: float = 0.0, yaw_deg: float = 0.0) -> Array:
    """Body axes into those of a clip that is turned so (`worn` of `clip`): pitch about left, roll about forward."""
    p, r, y = (math.radians(d) for d in (pitch_deg, roll_deg, yaw_deg))
    about_y = np.array([[math.cos(p), 0, math.sin(p)], [0, 1, 0], [-math.sin(p), 0, math.cos(p)]])
    about_x = np.array([[1, 0, 0], [0, math.cos(r), -math.sin(r)], [0, math.sin(r), math.cos(r)]])
    about_z = np.array([[math.cos(y), -math.sin(y), 0], [math.sin(y), math.cos(y), 0], [0, 0, 1]])
    whole: Array = (about_z @ about_y @ about_x).T
    return whole
