"""The computer as the doctor sees it: files, devices, groups and commands, behind one small seam.

Tests give a `Machine` of their own, so that each thing that can be wrong with a computer can be seen on any.
"""

from __future__ import annotations

import fcntl
import grp
import importlib.metadata
import os
import pwd
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

COMMAND_S = 3.0
"""A command that takes longer is given up."""

GPIO_GET_CHIPINFO = 0x8044B401
"""ioctl of a gpiochip: name (32 bytes), label (32 bytes), number of lines (from linux/gpio.h)."""


@dataclass(frozen=True, slots=True)
class Space:
    """Room in a directory."""

    free_bytes: int
    total_bytes: int
    problem: str = ""
    """Why nothing can be written there; empty: it can."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who runs this."""

    name: str
    groups: frozenset[str]
    """Groups that count now."""
    member_of: frozenset[str]
    """Groups that will count after the next login."""


class Machine(Protocol):
    """What can be asked of the computer.  Every method raises `OSError` when there is no answer."""

    def read(self, path: str) -> bytes:
        """Content of a file, of /proc and /sys as well."""

    def names(self, directory: str) -> Sequence[str]:
        """Names in a directory, sorted; none when it is not there."""

    def exists(self, path: str) -> bool:
        """Whether something is there."""

    def may_use(self, path: str) -> bool:
        """Whether this process may read and write it."""

    def space(self, directory: str) -> Space:
        """Room in a directory (or where it would be made), and whether it can be written."""

    def person(self) -> Person:
        """Who runs this."""

    def gpio_label(self, path: str) -> str:
        """Label of a gpiochip, such as `pinctrl-bcm2835`."""

    def run(self, *command: str) -> str:
        """Output of a command, whatever its exit status."""

    def version(self, package: str) -> str:
        """Version of an installed Python package; empty: it is not installed."""

    def wall_s(self) -> float:
        """Unix time."""


class ThisMachine:
    """The real one."""

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def names(self, directory: str) -> Sequence[str]:
        try:
            return sorted(os.listdir(directory))
        except OSError:
            return ()

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def may_use(self, path: str) -> bool:
        return os.access(path, os.R_OK | os.W_OK)

    def space(self, directory: str) -> Space:
        place = Path(directory)
        while not place.exists() and place != place.parent:
            place = place.parent
        room = os.statvfs(place)
        problem = ""
        try:
            with tempfile.TemporaryFile(dir=place) as file:
                file.write(b"retrowalk")
        except OSError as error:
            problem = error.strerror or str(error)
        return Space(room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize, problem)

    def person(self) -> Person:
        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = str(os.getuid())
        numbers = {os.getegid(), *os.getgroups()}
        groups = frozenset(group.gr_name for group in grp.getgrall() if group.gr_gid in numbers)
        return Person(name, groups, frozenset(group.gr_name for group in grp.getgrall() if name in group.gr_mem))

    def gpio_label(self, path: str) -> str:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            info = fcntl.ioctl(descriptor, GPIO_GET_CHIPINFO, bytes(68))
        finally:
            os.close(descriptor)
        label: bytes = struct.unpack("32s32sI", info)[1]
        return label.rstrip(b"\0").decode(errors="replace")

    def run(self, *command: str) -> str:
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S, errors="replace"
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"{command[0]} does not answer within {COMMAND_S:g} s") from error
        return done.stdout

    def version(self, package: str) -> str:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return ""

    def wall_s(self) -> float:
        return time.time()


def text(machine: Machine, path: str) -> str:
    """Text of a file without its end (line ends, the zero of a device tree); empty when there is none."""
    try:
        return machine.read(path).decode(errors="replace").strip("\0\n ")
    except OSError:
        return ""
