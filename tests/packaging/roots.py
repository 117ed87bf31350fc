"""Fresh Debian systems in folders, of this processor's kind and of a Pi's, and commands that run in them.

What is slow to make is kept in `$RETROWALK_CACHE` (else `~/.cache/retrowalk`), folder `roots`: a system of each suite
and processor, made by mmdebstrap.  A test gets a layer of its own over it (overlayfs), so none can harm another.
Programs of another processor run through QEMU's user emulation, which the kernel starts by itself (binfmt_misc).

Needs root, the Debian packages below, and Debian's mirror the first time.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"mmdebstrap": "mmdebstrap", "arch-test": "arch-test", "qemu-aarch64-static": "qemu-user-static"}
"""What is needed, and the Debian package that has it."""
BARE = "systemd-sysv,udev,kmod,procps,python3"
"""A system as `./install` finds it: Python is there, little else of what retrowalk needs."""
READY = f"{BARE},passwd,libespeak-ng1,espeak-ng-data,alsa-utils"
"""A system that has what the package asks for, so that it can be installed with no network at all."""
ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


def missing() -> list[str]:
    """Why no system can be made here: Debian packages that are missing, and rights."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    lacks = [package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None]
    return lacks + ([] if os.geteuid() == 0 else ["root"])


def call(*command: str | Path, **options: Any) -> str:
    """What a command writes; raises with that when it fails."""
    words = [str(word) for word in command]
    both = subprocess.STDOUT
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=both, text=True, check=False, **options
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}: status {done.returncode}\n{done.stdout[-4000:]}")
    return str(done.stdout)


def cache() -> Path:
    """Where slow things are kept."""
    base = os.environ.get("RETROWALK_CACHE")
    folder = (Path(base) if base else Path.home() / ".cache" / "retrowalk") / "roots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def system(suite: str, arch: str, packages: str) -> Path:
    """A fresh system of this suite and processor with these packages; made the first time, never written to."""
    kind = "" if packages == READY else "-bare"
    made = cache() / f"{suite}-{arch}{kind}"
    if not made.exists():
        part = made.with_name(f"{made.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        if arch != {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]:
            _emulation()
        call("mmdebstrap", "--variant=minbase", f"--architectures={arch}", f"--include={packages}", suite, part)
        part.rename(made)
    return made


def _emulation() -> None:
    """Has the kernel start programs of a Pi through QEMU, unless it does so."""
    folder = Path("/proc/sys/fs/binfmt_misc")
    if not (folder / "register").exists():
        call("mount", "-t", "binfmt_misc", "binfmt_misc", folder)
    if not (folder / "qemu-aarch64").exists():
        (folder / "register").write_bytes(Path("/usr/lib/binfmt.d/qemu-aarch64.conf").read_bytes().strip())


@dataclass(frozen=True)
class Answer:
    """What a shell line in a system gave."""

    status: int
    output: str


@dataclass(frozen=True)
class System:
    """A system that can be used: its folder, and the layers it is made of (lowest first, the last is written to)."""

    path: Path
    layers: tuple[Path, ...]

    def try_(self, line: str, *, network: bool = False, within_s: float = 1800.0, **env: str) -> Answer:
        """Runs a shell line in it, as root; without `network` there is none at all."""
        inner = f'mount -t proc proc "{self.path}/proc" && exec chroot "{self.path}" sh -c "$1"'
        alone = ["unshare", "--mount", "--pid", "--fork", *([] if network else ["--net"])]
        done = subprocess.run(
            [*alone, "sh", "-c", inner, "sh", line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=within_s,
            env={**ENV, **env},
            check=False,
        )
        return Answer(done.returncode, done.stdout)

    def run(self, line: str, *, network: bool = False, within_s: float = 1800.0, **env: str) -> str:
        """What a shell line that must succeed writes."""
        answer = self.try_(line, network=network, within_s=within_s, **env)
        assert answer.status == 0, f"{line}: status {answer.status}\n{answer.output[-4000:]}"
        return answer.output.strip()

    def files(self) -> set[str]:
        """Paths of everything in it."""
        return set(call("find", self.path, "-xdev", "-mindepth", "1", "-printf", "/%P\\n").splitlines())


@contextmanager
def layer(folder: Path, *below: Path) -> Iterator[System]:
    """A system over `below` (lowest first) whose changes are kept in `folder`/changes."""
    changes, work, path = folder / "changes", folder / "work", folder / "system"
    for made in (changes, work, path):
        made.mkdir(parents=True, exist_ok=True)
    lower = ":".join(str(layer) for layer in reversed(below))
    call("mount", "-t", "overlay", "overlay", "-o", f"lowerdir={lower},upperdir={changes},workdir={work}", path)
    try:
        yield System(path, (*below, changes))
    finally:
        call("umount", "--lazy", path)
