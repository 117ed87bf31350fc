"""Recorded people: a trial of the movement data sets as the clip on the back would have felt it.

The data sets lie outside the project (formats, axes and licences: the README.md beside each).  A trial is one entry
of an .npz file, named by its `trial_id` in the trials.csv beside that file.  Read without NumPy, which a device does
not have: an .npz is a ZIP of .npy files, and an .npy a short header before plain numbers.

Read are SisFall (a file for each subject; belt buckle), gait_l5 (lower back), umafall_waist and backward_mocap (made
from motion capture).  WEDA-FALL was worn at the wrist, which says nothing about the trunk, and is refused.
"""

from __future__ import annotations

import array
import ast
import csv
import difflib
import math
import sys
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrowalk.core.falls import LOOK_UNTIL_S
from retrowalk.core.posture import Vector, unit
from retrowalk.errors import RecordingError
from retrowalk.sim.scenarios import RECORDED_FALL, RECORDED_LIFE, Scenario, Scene
from retrowalk.sim.walker import OLDER
from retrowalk.sim.world import Felt, Wear

BEFORE_S = 3.0
"""The first posture stands for so long before the trial: what the device needs to learn the wearer's own upright."""
POSTURE_S = 1.0
"""First and last posture are means over so much of the trial: a stride, where somebody is walking."""
MARGIN_S = 8.0
"""After the last deadline: for the words at its end to be said, and for the broker's answer."""

OFFSET_MAX_RAD_S = 0.09
"""A gyroscope at rest reads its own offset, up to about 5 degrees/s in these recordings; what is more is a turn, and
nobody who stands or lies goes on turning."""

LOW_PASS_HZ = 45.0
"""Cut-off of a chip's own low-pass near 104 Hz: an LSM6DSOX has 52 Hz (acceleration) and 33 Hz (rotation), an
MPU-6050 44 and 42 Hz."""
LOW_PASS_S = 0.03
"""Half the length of the filter that stands for it."""
EVEN_HZ = 100.0
"""Trials sampled unevenly are laid on this grid."""
LEVEL_S = 2.0
"""A sensor that was worn tilted by an unknown angle is levelled by the mean of the trial's beginning."""

MEMBER_MAX_BYTES = 256 * 1024 * 1024
"""A longer array is refused unread: fifty times the longest of the data sets."""
HEADER_MAX_BYTES = 64 * 1024

_MAGIC = b"\x93NUMPY"
_CODES = {"i1": "b", "u1": "B", "i2": "h", "i4": "i", "i8": "q", "f4": "f", "f8": "d"}

_Axes = tuple[tuple[int, float], tuple[int, float], tuple[int, float]]
"""For forward, left and up: which of the sensor's axes, and its sign."""

BUCKLE: _Axes = ((2, 1.0), (0, -1.0), (1, -1.0))
"""SisFall: x to the wearer's right, y down, z forward."""
BACK_X_UP: _Axes = ((2, -1.0), (1, 1.0), (0, 1.0))
"""gait_l5: x roughly up; that z points backward is assumed, which steps and falls do not depend on."""
BODY: _Axes = ((0, 1.0), (1, 1.0), (2, 1.0))


@dataclass(frozen=True, slots=True)
class Trial:
    """A recorded trial in body axes (forward, left, up), filtered as the chip would have."""

    trial_id: str
    activity: str
    """What was done, in the words of the data set."""
    is_fall: bool
    rate_hz: float
    felt: tuple[Felt, ...]
    """Sample after sample, `rate_hz` of them a second."""

    @property
    def duration_s(self) -> float:
        """From the first sample to the last."""
        return (len(self.felt) - 1) / self.rate_hz


class Playback:
    """What the clip feels at any session second: the first posture, the trial in its own time, the last posture.

    Called with a time as `World.imu` is.  The postures are means over `POSTURE_S`; the chip adds its own noise to them
    as to everything.
    """

    def __init__(self, trial: Trial, before_s: float = BEFORE_S) -> None:
        self.begins_s = before_s
        """Session second of the trial's first sample."""
        self.ends_s = before_s + trial.duration_s
        count = max(1, round(POSTURE_S * trial.rate_hz))
        self._felt = trial.felt
        self._rate_hz = trial.rate_hz
        self._first = _posture(trial.felt[:count])
        self._last = _posture(trial.felt[-count:])

    def __call__(self, t_s: float) -> Felt:
        at = (t_s - self.begins_s) * self._rate_hz
        if at < 0.0:
            return self._first
        index = int(at)
        if index + 1 >= len(self._felt):
            return self._last
        s = at - index
        r = 1.0 - s
        a, b = self._felt[index], self._felt[index + 1]
        return (
            r * a[0] + s * b[0],
            r * a[1] + s * b[1],
            r * a[2] + s * b[2],
            r * a[3] + s * b[3],
            r * a[4] + s * b[4],
            r * a[5] + s * b[5],
        )


def scenario(trial: Trial, countdown_s: float) -> Scenario:
    """The walk of a recorded person: nothing behind, nobody at the button.

    It lasts until every deadline has passed: a fall at the very end has been asked about for `countdown_s` and told.
    """
    playback = Playback(trial)
    return Scenario(
        RECORDED_FALL if trial.is_fall else RECORDED_LIFE,
        playback.ends_s + LOOK_UNTIL_S + countdown_s + MARGIN_S,
        ((0.0, Wear(playback)),),
        OLDER,
        (
            Scene(0.0, "The first posture stands"),
            Scene(playback.begins_s, f"{trial.trial_id}: {trial.activity}"),
            Scene(playback.ends_s, "The last posture stays"),
        ),
        {"trial": playback.begins_s, "end": playback.ends_s},
    )


def _posture(felt: Sequence[Felt]) -> Felt:
    n = len(felt)
    x, y, z, wx, wy, wz = (sum(channel) / n for channel in zip(*felt, strict=True))
    if math.sqrt(wx * wx + wy * wy + wz * wz) > OFFSET_MAX_RAD_S:
        return (x, y, z, 0.0, 0.0, 0.0)
    return (x, y, z, wx, wy, wz)


# ---------------------------------------------------------------------------------------------------- reading


def read(file: Path, trial_id: str) -> Trial:
    """Reads one trial.

    Raises `RecordingError` for a trial that is not known (with the nearest names), a trials.csv that is missing and a
    file that is not one of the data sets; `OSError` for a file that cannot be read.
    """
    with _open(file) as npz:
        row = _row(file, _rows(file), trial_id)
        arrays = _Arrays(file, npz)
        if "trial_start" in arrays:
            return _sisfall(arrays, row, trial_id)
        if f"{trial_id}_acc_i16" in arrays:
            return _gait(arrays, row, trial_id)
        if f"{trial_id}_t" in arrays:
            return _umafall(arrays, row, trial_id)
        if f"{trial_id}__acc_back" in arrays:
            return _mocap(arrays, row, trial_id)
        if f"{trial_id}_t_acc" in arrays:
            raise RecordingError(f"{file}: was worn at the wrist; only recordings of the trunk can be played")
        raise _foreign(file, f"holds nothing called {trial_id}")


def trial_ids(file: Path) -> list[str]:
    """The trials of a file, in the order of its list.  Raises as `read`."""
    with _open(file):
        return [_id(row) for row in _rows(file) if row.get("file", file.name) == file.name]


def _open(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise _foreign(file, "is not an .npz file") from error


def _foreign(file: Path, why: str) -> RecordingError:
    return RecordingError(
        f"{file}: {why}; files of SisFall (SA01.npz), gait_l5, umafall_waist and backward_mocap can be played"
    )


def _rows(file: Path) -> list[dict[str, str]]:
    path = file.with_name("trials.csv")
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except FileNotFoundError as error:
        raise RecordingError(
            f"{path}: is not there; the list of trials must stand beside {file.name}, as in the data set"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path}: is not a list of trials: {error}") from error
    if not rows or not _id(rows[0]):
        raise RecordingError(f"{path}: is not a list of trials: no column trial_id")
    return rows


def _id(row: dict[str, str]) -> str:
    return row.get("trial_id") or row.get("trial") or ""


def _row(file: Path, rows: list[dict[str, str]], trial_id: str) -> dict[str, str]:
    found = next((row for row in rows if _id(row) == trial_id), None)
    if found is None:
        here = [_id(row) for row in rows if row.get("file", file.name) == file.name]
        near = difflib.get_close_matches(trial_id, here or [_id(row) for row in rows], n=4, cutoff=0.4) or here[:4]
        raise RecordingError(f"{file}: there is no trial {trial_id}; near it: {', '.join(near) or '(none)'}")
    if found.get("file", file.name) != file.name:
        raise RecordingError(f"{file}: trial {trial_id} is in {found['file']}, not in this file")
    return found


def _sisfall(arrays: _Arrays, row: dict[str, str], trial_id: str) -> Trial:
    start = arrays["trial_start"]
    try:
        number = int(row["trial_index"])
    except (KeyError, ValueError) as error:
        raise RecordingError(f"{arrays.file}: trials.csv gives no trial_index for {trial_id}") from error
    count = len(start.values) - 1
    if not 0 <= number < count:
        raise RecordingError(f"{arrays.file}: trial_index = {number}: the file holds {count} trials")
    first, end = int(start.values[number]), int(start.values[number + 1])
    channels = [
        *arrays["acc_i16"].channels(0, first, end, arrays.number("acc_scale")),
        *arrays["gyr_i16"].channels(0, first, end, arrays.number("gyr_scale")),
    ]
    return _made(row, trial_id, arrays, arrays.number("fs_hz"), _turned(channels, BUCKLE))


def _gait(arrays: _Arrays, row: dict[str, str], trial_id: str) -> Trial:
    channels = [
        *arrays[f"{trial_id}_acc_i16"].channels(0, scale=arrays.number("acc_scale")),
        *arrays[f"{trial_id}_gyr_i16"].channels(0, scale=arrays.number("gyr_scale")),
    ]
    rate_hz = float(row.get("fs_hz") or 100.0)
    return _made(row, trial_id, arrays, rate_hz, _levelled(_turned(channels, BACK_X_UP), rate_hz))


def _umafall(arrays: _Arrays, row: dict[str, str], trial_id: str) -> Trial:
    times = [float(t) for t in arrays[f"{trial_id}_t"].values]
    uneven = [*arrays[f"{trial_id}_acc"].channels(1), *arrays[f"{trial_id}_gyr"].channels(1)]
    channels = [_evened(times, channel) for channel in uneven]
    return _made(row, trial_id, arrays, EVEN_HZ, _levelled(channels, EVEN_HZ))


def _mocap(arrays: _Arrays, row: dict[str, str], trial_id: str) -> Trial:
    channels = [*arrays[f"{trial_id}__acc_back"].channels(1), *arrays[f"{trial_id}__gyr"].channels(1)]
    return _made(row, trial_id, arrays, arrays.number("fs_hz"), channels)


def _made(
    row: dict[str, str], trial_id: str, arrays: _Arrays, rate_hz: float, channels: Sequence[Sequence[float]]
) -> Trial:
    length = len(channels[0])
    if rate_hz <= 0.0 or length < 2 or any(len(channel) != length for channel in channels):
        raise _foreign(arrays.file, f"{trial_id} is no trial of acceleration and rotation of equal length")
    felt = tuple(zip(*(_low_passed(channel, rate_hz) for channel in channels), strict=True))
    if not all(map(math.isfinite, map(sum, felt))):
        raise RecordingError(f"{arrays.file}: {trial_id} holds values that are no numbers")
    activity = row.get("activity") or f"Walking {row.get('direction', '')}".strip()
    return Trial(trial_id, activity, row.get("is_fall") == "1", rate_hz, felt)


# ------------------------------------------------------------------------------------------------------ axes


def _turned(channels: Sequence[Sequence[float]], axes: _Axes) -> list[list[float]]:
    """Both sensors' channels in the order and with the signs of the body's axes."""
    return [[sign * value for value in channels[sensor + axis]] for sensor in (0, 3) for axis, sign in axes]


def _levelled(channels: Sequence[Sequence[float]], rate_hz: float) -> list[list[float]]:
    """Turned by the smallest rotation that makes the mean of the beginning point up."""
    count = max(1, round(LEVEL_S * rate_hz))
    x, y, z = unit(_mean(channels, count))
    k = 1.0 / max(1e-9, 1.0 + z)
    turn: tuple[Vector, ...] = ((1.0 - k * x * x, -k * x * y, -x), (-k * x * y, 1.0 - k * y * y, -y), (x, y, z))
    turned = []
    for sensor in (0, 3):
        triple = channels[sensor : sensor + 3]
        for a, b, c in turn:
            turned.append([a * u + b * v + c * w for u, v, w in zip(*triple, strict=True)])
    return turned


def _mean(channels: Sequence[Sequence[float]], count: int) -> Vector:
    x, y, z = (sum(channel[:count]) / max(1, len(channel[:count])) for channel in channels[:3])
    return (x, y, z)


# ------------------------------------------------------------------------------------------------------ time


def _evened(times: Sequence[float], values: Sequence[float]) -> list[float]:
    """Values at uneven, increasing times, at `EVEN_HZ` (linear between them)."""
    if len(times) != len(values) or len(times) < 2:
        return []
    count = int((times[-1] - times[0]) * EVEN_HZ) + 1
    even = []
    for number in range(count):
        t = times[0] + number / EVEN_HZ
        index = min(max(bisect_right(times, t) - 1, 0), len(times) - 2)
        span = times[index + 1] - times[index]
        share = (t - times[index]) / span if span > 0.0 else 0.0
        even.append(values[index] + (values[index + 1] - values[index]) * min(max(share, 0.0), 1.0))
    return even


def _low_passed(values: Sequence[float], rate_hz: float) -> Sequence[float]:
    """Without what lies above `LOW_PASS_HZ` and would come back as slow movement in the chip's samples.

    A windowed sinc without delay.  A recording that is too slow to hold such frequencies stays as it is.
    """
    if rate_hz <= 2.2 * LOW_PASS_HZ:
        return values
    half = round(LOW_PASS_S * rate_hz)
    taps = []
    for k in range(half + 1):
        x = 2.0 * LOW_PASS_HZ / rate_hz * k
        sinc = math.sin(math.pi * x) / (math.pi * x) if k else 1.0
        taps.append(sinc * (0.54 + 0.46 * math.cos(math.pi * k / (half + 1))))
    total = taps[0] + 2.0 * sum(taps[1:])
    padded = [values[0]] * half + list(values) + [values[-1]] * half
    n = len(values)
    filtered = [taps[0] / total * value for value in values]
    for k in range(1, half + 1):
        tap = taps[k] / total
        before, after = padded[half - k : half - k + n], padded[half + k : half + k + n]
        filtered = [f + tap * (a + b) for f, a, b in zip(filtered, before, after, strict=True)]
    return filtered


# ---------------------------------------------------------------------------------------------------- arrays


@dataclass(frozen=True, slots=True)
class _Array:
    shape: tuple[int, ...]
    fortran: bool
    """Whether the first index runs fastest."""
    values: Sequence[float]
    fail: Callable[[str], RecordingError]

    def channels(
        self, axis: int, first: int = 0, end: int | None = None, scale: float = 1.0
    ) -> tuple[list[float], list[float], list[float]]:
        """The three channels, which lie along `axis`, from sample `first` up to `end`."""
        if len(self.shape) != 2 or self.shape[axis] != 3:
            raise self.fail(f"has the shape {self.shape}, not three channels")
        samples = self.shape[1 - axis]
        end = samples if end is None else end
        if not 0 <= first < end <= samples:
            raise self.fail(f"holds {samples} samples, not those from {first} to {end}")
        if (axis == 0) is self.fortran:
            parts = [self.values[3 * first + i : 3 * end : 3] for i in (0, 1, 2)]
        else:
            parts = [self.values[i * samples + first : i * samples + end] for i in (0, 1, 2)]
        x, y, z = ([scale * value for value in part] for part in parts)
        return x, y, z


class _Arrays:
    """The arrays of an .npz file, by their names."""

    def __init__(self, file: Path, npz: zipfile.ZipFile) -> None:
        self.file = file
        self._npz = npz
        self._names = set(npz.namelist())

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self._names

    def number(self, name: str) -> float:
        """An array of one number."""
        array = self[name]
        if len(array.values) != 1:
            raise array.fail("is not one number")
        return float(array.values[0])

    def __getitem__(self, name: str) -> _Array:
        def fail(why: str) -> RecordingError:
            return _foreign(self.file, f"{name} {why}")

        if name not in self:
            raise fail("is not there")
        if self._npz.getinfo(f"{name}.npy").file_size > MEMBER_MAX_BYTES:
            raise fail(f"is longer than {MEMBER_MAX_BYTES // 1024 // 1024} MB")
        try:
            data = self._npz.read(f"{name}.npy")
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise fail(f"cannot be unpacked: {error}") from error
        return _parsed(data, fail)


def _parsed(data: bytes, fail: Callable[[str], RecordingError]) -> _Array:
    """One .npy file: magic, version, length of the header, the header (a Python dictionary), the numbers."""
    wide = data[6:7] != b"\x01"
    begin = 12 if wide else 10
    length = int.from_bytes(data[8:begin], "little")
    if data[:6] != _MAGIC or length > HEADER_MAX_BYTES or len(data) < begin + length:
        raise fail("is not an array")
    try:
        header = ast.literal_eval(data[begin : begin + length].decode("latin-1").strip())
        kind, fortran, shape = header["descr"], header["fortran_order"], header["shape"]
        code = _CODES[kind[1:]]
        count = math.prod(shape)
    except (ValueError, SyntaxError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise fail("is not an array of numbers") from error
    values = array.array(code)
    body = data[begin + length :]
    if not isinstance(count, int) or len(body) != count * values.itemsize:
        raise fail("is cut short")
    values.frombytes(body)
    if kind[0] == ("<" if sys.byteorder == "big" else ">"):
        values.byteswap()
    return _Array(tuple(shape), bool(fortran) and len(shape) > 1, values, fail)
