"""A Debian system that runs: systemd as the first process of namespaces of its own, retrowalk installed by its package.

No emulator: the kernel is this machine's, everything above it is the device's own, from power-on to power-off.  The
system's folder becomes the root by `pivot_root`, not by `chroot`: from within a chroot no user namespace can be made,
and units with `PrivateUsers=yes` would end at each start with 217/USER, again and again.

What it may not do is taken from it before systemd starts: no network but what it is given, the kernel's settings
(/proc/sys, /sys) read-only, no devices but those of every container, no right to set the clock, which is everybody's.

What it is not: a Pi.  The processor's and the memory's weights between services do nothing where this machine's cgroups
of the second kind have no such controllers; there is no hardware watchdog; there are no pins.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.packaging import roots
from tests.packaging.roots import Answer, System

PROGRAMS = {"unshare": "util-linux", "nsenter": "util-linux", "setpriv": "util-linux"}
FAKETIME = "libfaketime.so.1"
"""Debian's libfaketime, which moves the clock of the programs it is loaded into, and of nothing else."""

_BOOT = r"""
root=$1
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
while read -r name minor; do mknod -m 666 "$root/dev/$name" c 1 "$minor"; done <<'DEVICES'
null 3
zero 5
full 7
random 8
urandom 9
DEVICES
mknod -m 666 "$root/dev/tty" c 5 0
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
hostname walker
cd "$root"
pivot_root . .
umount -l .
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  setpriv --bounding-set=-sys_time,-sys_module,-syslog,-sys_rawio /lib/systemd/systemd
"""


def cgroups() -> Path | None:
    """Where this machine has control groups of the second kind, which systemd needs; None: nowhere."""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None


def faketime() -> Path | None:
    """The library that moves a program's clock, if Debian's package of it is here."""
    return next(iter(sorted(Path("/usr/lib").glob(f"*/faketime/{FAKETIME}"))), None)


def suites() -> list[str]:
    """Debian's suites that can be started here, this machine's own first: `FAKETIME` wants no older C library."""
    known = ["bookworm", "trixie"]
    here = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    return known[known.index(here) :] if here in known else known


def arch() -> str:
    """This machine's processor, as Debian calls it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def missing() -> list[str]:
    """Why no machine can be started here: programs, rights, and what the kernel must have."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    lacks = [package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None]
    lacks += [] if faketime() else ["libfaketime"]
    lacks += [] if cgroups() else ["cgroup2"]
    return roots.missing() + sorted(set(lacks))


@dataclass
class Machine:
    """A machine that runs.  Times are of the kernel's monotonic clock, which it shares with whoever looks at it."""

    system: System
    first: int
    """Process number of its systemd, as seen from here."""
    process: subprocess.Popen[bytes]
    started_s: float

    def try_(self, line: str, *, within_s: float = 60.0) -> Answer:
        """Runs a shell line in it, as root."""
        enter = ["nsenter", "--target", str(self.first), "--all", "--root", "--wd", "env", "-i"]
        env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER="]
        done = subprocess.run(
            [*enter, *env, "sh", "-c", line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=within_s,
            check=False,
        )
        return Answer(done.returncode, done.stdout)

    def run(self, line: str, *, within_s: float = 60.0) -> str:
        """What a shell line that must succeed writes."""
        answer = self.try_(line, within_s=within_s)
        assert answer.status == 0, f"{line}: status {answer.status}\n{answer.output[-4000:]}"
        return answer.output.strip()

    def show(self, name: str) -> dict[str, str]:
        """What systemd knows of a unit of retrowalk."""
        lines = self.run(f"systemctl show retrowalk-{name}.service").splitlines()
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def lines(self, *names: str, since_s: float = 0.0) -> list[dict[str, Any]]:
        """What these services wrote into the journal after a moment, oldest first, with all fields."""
        units = " ".join(f"_SYSTEMD_UNIT=retrowalk-{name}.service" for name in names)
        found = [json.loads(line) for line in self.run(f"journalctl -q -b -o json {units}").splitlines()]
        return [line for line in found if int(line["__MONOTONIC_TIMESTAMP"]) / 1e6 > since_s]

    def main_pid(self, name: str) -> int:
        """The number within the machine of a service's process; 0: there is none now."""
        return int(self.show(name)["MainPID"])

    def send(self, name: str, number: signal.Signals) -> float:
        """Sends a signal to a service's process.  Returns the moment just before."""
        pid = self.main_pid(name)
        assert pid > 0, f"{name} does not run"
        now = time.monotonic()
        self.run(f"kill -{number.name.removeprefix('SIG')} {pid}")
        return now

    def active_since(self, name: str) -> float | None:
        """Since when a service serves, by its own word; None: it does not."""
        unit = self.show(name)
        return int(unit["ActiveEnterTimestampMonotonic"]) / 1e6 if unit["ActiveState"] == "active" else None

    def back(self, name: str, after_s: float, within_s: float = 15.0) -> float:
        """Seconds from a moment until the service served again, by its own word."""

        def again() -> float | None:
            since_s = self.active_since(name)
            return since_s if since_s is not None and since_s > after_s else None

        return float(self.until(again, f"{name} serves again", within_s)) - after_s

    def until(self, look: Callable[[], Any], what: str, within_s: float) -> Any:
        """What `look` finds, as soon as it finds anything; the test fails when that takes longer than `within_s`."""

        def last() -> str:
            return f"{what}\n{self.try_('journalctl -q -b -n 60').output}"

        return wait_for(look, last, within_s)

    def ended(self, within_s: float) -> bool:
        """Whether it has switched itself off, waiting for that."""
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True


def wait_for(look: Callable[[], Any], what: Callable[[], str], within_s: float, every_s: float = 0.1) -> Any:
    """What `look` finds, as soon as it finds anything; the test fails, with `what`, when that takes too long."""
    end = time.monotonic() + within_s
    while True:
        if found := look():
            return found
        assert time.monotonic() < end, f"not within {within_s} s: {what()}"
        time.sleep(every_s)


@contextmanager
def running(system: System) -> Iterator[Machine]:
    """Switches a system on.  In the end, however that comes, it is off, and nothing of it is left."""
    groups = cgroups()
    assert groups is not None
    group = groups / f"retrowalk-{os.getpid()}-{time.monotonic_ns()}"
    group.mkdir()
    own = "--mount --pid --uts --ipc --net --cgroup --fork --kill-child"
    join = f'echo $$ >{shlex.quote(str(group / "cgroup.procs"))}; exec unshare {own} sh -ec "$0" sh "$1"'
    started_s = time.monotonic()
    console = system.layers[-1].with_name("console")
    # unshare itself waits for the end and takes no other notice: only this signal has it end when we do.
    with console.open("wb") as out:
        process = subprocess.Popen(
            [*("setpriv", "--pdeathsig", "KILL"), *("sh", "-ec", join, _BOOT, str(system.path))],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

        def systemd() -> int:
            assert process.poll() is None, f"it ended: {console.read_text(errors='replace')}"
            found = [int(word) for word in children.read_text(encoding="ascii").split()]
            names = [Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip() for pid in found]
            return found[0] if names == ["systemd"] else 0

        first: int = wait_for(systemd, lambda: "systemd starts", 10.0, every_s=0.02)
        machine = Machine(system, first, process, started_s)
        machine.until(lambda: machine.try_("systemctl show --property=Version").status == 0, "systemd answers", 20.0)
        yield machine
    finally:
        process.kill()  # and with it, by --kill-child, systemd and everything that it has started
        process.wait()
        _remove(group)


def _remove(group: Path) -> None:
    """Ends whatever is left in a control group and takes it down."""
    if (group / "cgroup.kill").exists():
        (group / "cgroup.kill").write_text("1", encoding="ascii")
    for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
        _rmdir(folder)
    _rmdir(group)


def _rmdir(folder: Path) -> None:
    end = time.monotonic() + 5.0
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            # A process that was killed keeps its group until it is gone.
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
