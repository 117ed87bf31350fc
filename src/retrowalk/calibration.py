"""What was measured of a walker, kept in the state directory and laid over the settings.

`calibration.json` holds the newest measurement first; what came before is kept, and can be gone back to.  Only the
command that measures writes it, never a process that guards.  The settings file is a person's and stays as it is.

Which counts: what was measured takes the place of an *assumed* profile (`older`, `younger`).  A file whose
`walker.profile` is `measured` holds a number that a person has decided on, and that stands.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, structs

from retrowalk.config import Config
from retrowalk.errors import CalibrationError

FILE_NAME = "calibration.json"
FILE_MAX_BYTES = 256 * 1024
KEPT = 200
"""Measurements kept; nobody measures more often."""

Seconds = Annotated[float, Meta(ge=0.1, le=5.5)]


class Measured(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One calibration of one walker."""

    measured_at: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]
    """When, UTC by the device's clock, such as 2026-05-01T09:30:00Z."""
    stops_s: Annotated[list[Seconds], Meta(min_length=2, max_length=50)]
    """Cue to standstill of each stop, in seconds, in order."""
    stop_s: Annotated[float, Meta(ge=0.3, le=4.0)]
    """What is allowed for, in seconds: `core.stopping.allowed_s` of them when they were measured."""
    profile: Literal["older", "younger"]
    """The assumed profile that it takes the place of."""
    undone: bool = False
    """Whether a person has gone back to the one before."""


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: Literal[1]
    measurements: Annotated[list[Measured], Meta(max_length=KEPT)]


def read(file: Path) -> list[Measured]:
    """The measurements, newest first; none where there is no file.

    Raises `CalibrationError` when the file is damaged or cannot be read.
    """
    try:
        with open(file, "rb") as opened:
            content = opened.read(FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CalibrationError(f"{file}: cannot be read: {error.strerror or error}") from error
    try:
        if len(content) > FILE_MAX_BYTES:
            raise ValueError(f"longer than {FILE_MAX_BYTES // 1024} KiB")
        found = msgspec.json.decode(content, type=_File).measurements
        for measured in found:
            if measured.stop_s < min(4.0, max(measured.stops_s)):
                raise ValueError(f"{measured.measured_at}: stop_s = {measured.stop_s}: less than the slowest stop took")
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CalibrationError(f"{file}: is damaged: {error}") from error
    return found


def current(measurements: Sequence[Measured]) -> Measured | None:
    """The measurement that counts: the newest that nobody has undone."""
    return next((measured for measured in measurements if not measured.undone), None)


def add(file: Path, measured: Measured) -> None:
    """Keeps one more, as the newest.  Raises `CalibrationError` (a damaged file is not written over) and `OSError`."""
    _write(file, [measured, *read(file)][:KEPT])


def undo(file: Path) -> Measured | None:
    """Goes back to the one before; returns what counts now, None for the assumed profile.

    Raises `CalibrationError` when there is nothing to undo or the file is damaged, and `OSError`.
    """
    measurements = read(file)
    newest = current(measurements)
    if newest is None:
        raise CalibrationError(f"{file}: there is no measurement to undo")
    changed = [structs.replace(m, undone=True) if m is newest else m for m in measurements]
    _write(file, changed)
    return current(changed)


def set_aside(file: Path) -> Path:
    """Puts a damaged file out of the way, where a person can look at it; returns its new name.  Raises `OSError`."""
    kept = file.with_name(f"{file.name}.damaged")
    os.replace(file, kept)
    return kept


def lay_over(config: Config, file: Path) -> tuple[Config, str, str]:
    """The settings with what was measured; what there is to log; what is wrong with the file (empty: nothing).

    A damaged file changes nothing: the settings hold as they are.
    """
    try:
        measured = current(read(file))
    except CalibrationError as error:
        return config, "", f"{error}; the measured stop is not used"
    if measured is None:
        return config, "", ""
    on = f"measured on {measured.measured_at[:10]}"
    if config.walker.profile == "measured":
        own_s = config.walker.measured_stop_s
        return config, f"walker.measured_stop_s = {own_s} of the settings stands; {on}: {measured.stop_s}", ""
    walker = structs.replace(config.walker, profile="measured", measured_stop_s=measured.stop_s)
    note = f"walker.measured_stop_s = {measured.stop_s}, {on}, in place of {config.walker.profile}"
    return structs.replace(config, walker=walker), note, ""


def _write(file: Path, measurements: list[Measured]) -> None:
    """The file is there whole, old or new, whatever moment the power goes; the guard's user may read it."""
    content = msgspec.json.format(msgspec.json.encode(_File(version=1, measurements=measurements))) + b"\n"
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with open(handle, "wb") as opened:
            opened.write(content)
            os.fchmod(opened.fileno(), 0o644)
            if os.geteuid() == 0:
                # With sudo: it belongs to whom the folder belongs to, who may then undo it.
                owner = file.parent.stat()
                os.fchown(opened.fileno(), owner.st_uid, owner.st_gid)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, file)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # without it the new name may be lost, though not the old file
    finally:
        os.close(folder)
