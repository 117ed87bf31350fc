"""What was measured of a walker, kept in the state directory and laid over the settings.

`calibration.json` holds the newest measurement first; what came before is kept, and can be gone back to.  Only the
command that measures writes it, never a process that guards.  The settings file is a person's and stays as it is.

Two kinds are kept apart: how the walker stops (`Measured`), and how long their steps are (`MeasuredGait`).

Which counts: what was measured takes the place of an *assumed* profile (`older`, `younger`), and of a step that nobody
knows.  A settings file whose `walker.profile` is `measured`, or whose `walker.step_length_m` is not 0, holds a number
that a person has decided on, and that stands.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct, structs

from retrowalk import wholefile
from retrowalk.config import Config, Walker
from retrowalk.errors import CalibrationError

FILE_NAME = "calibration.json"
FILE_MAX_BYTES = 256 * 1024
KEPT = 200
"""Measurements kept; nobody measures more often."""

Seconds = Annotated[float, Meta(ge=0.1, le=5.5)]
Moment = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]


class Measured(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one walker stops."""

    measured_at: Moment
    """When, UTC by the device's clock, such as 2026-05-01T09:30:00Z."""
    stops_s: Annotated[list[Seconds], Meta(min_length=2, max_length=50)]
    """Cue to standstill of each stop, in seconds, in order."""
    stop_s: Annotated[float, Meta(ge=0.3, le=4.0)]
    """What is allowed for, in seconds: `core.stopping.allowed_s` of them when they were measured."""
    profile: Literal["older", "younger"]
    """The assumed profile that it takes the place of."""
    undone: bool = False
    """Whether a person has gone back to the one before."""


class MeasuredGait(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the steps of one walker are, going backward; the fields of `config.Walker` that have these names."""

    measured_at: Moment
    """When, UTC by the device's clock."""
    distance_m: Annotated[float, Meta(ge=1.0, le=100.0)]
    """How far they walked each time, in metres."""
    steps: Annotated[list[Annotated[int, Meta(ge=1, le=1000)]], Meta(min_length=1, max_length=10)]
    """Steps of each way."""
    step_length_m: Annotated[float, Meta(ge=0.1, le=0.8)]
    step_bounce_m_s2: Annotated[float, Meta(gt=0.0, le=40.0)]
    step_time_s: Annotated[float, Meta(gt=0.0, le=2.0)]
    speed_factor: Annotated[float, Meta(ge=0.6, le=1.6)]
    undone: bool = False
    """Whether a person has gone back to the one before."""


Kind = TypeVar("Kind", Measured, MeasuredGait)


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    version: Literal[1]
    measurements: Annotated[list[Measured], Meta(max_length=KEPT)]
    gaits: Annotated[list[MeasuredGait], Meta(max_length=KEPT)] = []


def read(file: Path) -> list[Measured]:
    """The measured stops, newest first; none where there is no file.

    Raises `CalibrationError` when the file is damaged or cannot be read.
    """
    return _read(file).measurements


def read_gait(file: Path) -> list[MeasuredGait]:
    """The measured steps, newest first; as `read`."""
    return _read(file).gaits


def _read(file: Path) -> _File:
    try:
        with open(file, "rb") as opened:
            content = opened.read(FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        return _File(version=1, measurements=[])
    except OSError as error:
        raise CalibrationError(f"{file}: cannot be read: {error.strerror or error}") from error
    try:
        if len(content) > FILE_MAX_BYTES:
            raise ValueError(f"longer than {FILE_MAX_BYTES // 1024} KiB")
        found = msgspec.json.decode(content, type=_File)
        for measured in found.measurements:
            if measured.stop_s < min(4.0, max(measured.stops_s)):
                raise ValueError(f"{measured.measured_at}: stop_s = {measured.stop_s}: less than the slowest stop took")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CalibrationError(f"{file}: is damaged: {error}") from error
    return found


def current(measurements: Sequence[Kind]) -> Kind | None:
    """The measurement that counts: the newest that nobody has undone."""
    return next((measured for measured in measurements if not measured.undone), None)


def add(file: Path, measured: Measured | MeasuredGait) -> None:
    """Keeps one more, as the newest.  Raises `CalibrationError` (a damaged file is not written over) and `OSError`."""
    kept = _read(file)
    if isinstance(measured, Measured):
        kept = structs.replace(kept, measurements=[measured, *kept.measurements][:KEPT])
    else:
        kept = structs.replace(kept, gaits=[measured, *kept.gaits][:KEPT])
    _write(file, kept)


def undo(file: Path) -> Measured | None:
    """Goes back to the stops measured before; returns what counts now, None for the assumed profile.

    Raises `CalibrationError` when there is nothing to undo or the file is damaged, and `OSError`.
    """
    kept = _read(file)
    changed = _undone(file, kept.measurements)
    _write(file, structs.replace(kept, measurements=changed))
    return current(changed)


def undo_gait(file: Path) -> MeasuredGait | None:
    """Goes back to the steps measured before; as `undo`, None for what is usual."""
    kept = _read(file)
    changed = _undone(file, kept.gaits)
    _write(file, structs.replace(kept, gaits=changed))
    return current(changed)


def _undone(file: Path, measurements: list[Kind]) -> list[Kind]:
    newest = current(measurements)
    if newest is None:
        raise CalibrationError(f"{file}: there is no measurement to undo")
    return [structs.replace(m, undone=True) if m is newest else m for m in measurements]


def set_aside(file: Path) -> Path:
    """Puts a damaged file out of the way, where a person can look at it; returns its new name.  Raises `OSError`."""
    kept = file.with_name(f"{file.name}.damaged")
    os.replace(file, kept)
    return kept


@dataclass(frozen=True, slots=True)
class Laid:
    """Settings with what was measured laid over them."""

    config: Config
    stop: str = ""
    """What was done about the stopping time, and why; empty: nothing was measured."""
    gait: str = ""
    """The same of the steps."""
    damage: str = ""
    """What is wrong with the file; empty: nothing."""


def lay(config: Config, file: Path) -> Laid:
    """Lays what was measured over the settings.  A damaged file changes nothing: they hold as they are."""
    try:
        kept = _read(file)
    except CalibrationError as error:
        return Laid(config, damage=f"{error}; what was measured of the walker is not used")
    walker, stop = _stop_over(config.walker, current(kept.measurements))
    walker, gait = _gait_over(walker, current(kept.gaits))
    return Laid(structs.replace(config, walker=walker) if walker is not config.walker else config, stop, gait)


def lay_over(config: Config, file: Path) -> tuple[Config, str, str]:
    """The settings with what was measured; what there is to log; what is wrong with the file (empty: nothing)."""
    laid = lay(config, file)
    return laid.config, "; ".join(filter(None, (laid.stop, laid.gait))), laid.damage


def _stop_over(walker: Walker, measured: Measured | None) -> tuple[Walker, str]:
    if measured is None:
        return walker, ""
    on = f"measured on {measured.measured_at[:10]}"
    if walker.profile == "measured":
        own_s = walker.measured_stop_s
        return walker, f"walker.measured_stop_s = {own_s} of the settings stands; {on}: {measured.stop_s}"
    note = f"walker.measured_stop_s = {measured.stop_s}, {on}, in place of {walker.profile}"
    return structs.replace(walker, profile="measured", measured_stop_s=measured.stop_s), note


def _gait_over(walker: Walker, measured: MeasuredGait | None) -> tuple[Walker, str]:
    if measured is None:
        return walker, ""
    on = f"measured on {measured.measured_at[:10]}"
    if walker.step_length_m:
        own_m = walker.step_length_m
        return walker, f"walker.step_length_m = {own_m} of the settings stands; {on}: {measured.step_length_m}"
    laid = structs.replace(
        walker,
        step_length_m=measured.step_length_m,
        step_bounce_m_s2=measured.step_bounce_m_s2,
        step_time_s=measured.step_time_s,
        speed_factor=measured.speed_factor,
    )
    return laid, f"walker.step_length_m = {measured.step_length_m}, {on}"


def _write(file: Path, kept: _File) -> None:
    """The guard's user may read it, and with sudo the folder's owner may undo it."""
    while len(content := msgspec.json.format(msgspec.json.encode(kept)) + b"\n") > FILE_MAX_BYTES:
        # A longer one would be read as damaged: the oldest of the longer list go.
        if len(kept.measurements) >= len(kept.gaits):
            kept = structs.replace(kept, measurements=kept.measurements[:-1])
        else:
            kept = structs.replace(kept, gaits=kept.gaits[:-1])
    wholefile.write(file, content, for_all=True)
