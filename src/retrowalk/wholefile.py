"""A file that is there whole, old or new, whatever moment the power goes."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

CUT_OFF_S = 3600.0
"""What was begun so long ago was never finished: the power went."""


def write(file: Path, content: bytes, *, for_all: bool = False, group_id: int | None = None) -> None:
    """Puts `content` in the place of `file`, or leaves it as it is and nothing beside it.  Raises `OSError`.

    `for_all`: every user may read it, and with sudo it belongs to whom the folder belongs to; else it is the writer's
    alone.  `group_id`: those of that group may read it, too (only root may give a file to any group).
    """
    _forget_cut_off(file)
    handle, temporary = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with open(handle, "wb") as opened:
            opened.write(content)
            if group_id is not None:
                os.fchown(opened.fileno(), -1, group_id)
                os.fchmod(opened.fileno(), 0o640)
            if for_all:
                os.fchmod(opened.fileno(), 0o644)
                if os.geteuid() == 0:
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


def _forget_cut_off(file: Path) -> None:
    """Deletes what power cuts left beside `file`; what another process is writing now is younger."""
    now = time.time()
    for left in file.parent.glob(f".{file.name}-????????"):
        try:
            if abs(now - left.stat().st_mtime) > CUT_OFF_S:
                left.unlink()
        except OSError:
            continue  # gone meanwhile, or not ours
