"""Whether what is written to a folder is still there after the power was off: file systems of a read-only root.

Pure: texts of /proc in, answers out.  Sources: proc_pid_mountinfo(5); overlayroot, which `raspi-config nonint
do_overlayfs 0` sets up on Raspberry Pi OS Bookworm and Trixie (an overlay whose upper folder lies in memory).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True)
class Mount:
    """A file system in its place."""

    place: str
    kind: str
    read_only: bool
    options: tuple[str, ...]
    """Those of the file system itself."""


def parse(mountinfo: str) -> Iterator[Mount]:
    """The lines of /proc/self/mountinfo that can be understood, in their order."""
    for line in mountinfo.splitlines():
        words, dash, rest = line.partition(" - ")
        left, right = words.split(" "), rest.split(" ")
        if dash and len(left) >= 6 and len(right) >= 3:
            place = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), left[4])
            options = tuple(right[2].split(","))
            read_only = "ro" in left[5].split(",") or "ro" in options
            yield Mount(place, right[0], read_only, options)


def mount_of(path: str, mountinfo: str) -> Mount | None:
    """What a path lies on; of several at one place the last, which hides the others."""
    found = None
    for mount in parse(mountinfo):
        if PurePosixPath(path).is_relative_to(mount.place) and (found is None or len(mount.place) >= len(found.place)):
            found = mount
    return found


def forgets(path: str, mountinfo: str, cmdline: str = "") -> bool:
    """Whether what is written below `path` is lost when the power goes, though the write succeeds.

    An overlay alone does not forget: a container's keeps everything.  One whose upper folder lies in memory does, or
    one that the kernel's command line (`cmdline`, of /proc/cmdline) calls so.
    """
    mount = mount_of(path, mountinfo)
    if mount is None or mount.kind != "overlay":
        return mount is not None and mount.place == "/" and mount.kind == "tmpfs"
    upper = next((option.partition("=")[2] for option in mount.options if option.startswith("upperdir=")), "")
    below = mount_of(upper, mountinfo) if upper else None
    in_memory = below is not None and below.kind == "tmpfs"
    return in_memory or any(word.startswith("overlayroot=tmpfs") for word in cmdline.split())


def this_machine_forgets(path: str | Path) -> bool:
    """`forgets` for a folder here; where /proc says nothing, False."""
    try:
        mountinfo, cmdline = (Path("/proc", name).read_text() for name in ("self/mountinfo", "cmdline"))
    except (OSError, UnicodeDecodeError):
        return False
    return forgets(str(Path(path).absolute()), mountinfo, cmdline)
