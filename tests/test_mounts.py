"""Where what is written is kept: roots that are read-only, in memory, or an overlay of the two."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap

import pytest

from retrowalk.mounts import forgets, mount_of, this_machine_forgets

PLAIN = "25 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw"
PROC = "22 25 0:21 / /proc rw,relatime - proc proc rw"
OVERLAY = "25 1 0:23 / / rw,relatime - overlay overlayroot rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/overlay"
UPPER = "26 25 0:24 / /media/root-rw rw,relatime - tmpfs tmpfs-root rw"
DATA = "31 25 179:3 / /var/lib/retrowalk rw,noatime - ext4 /dev/mmcblk0p3 rw"
SPACE = "32 25 179:3 / /mnt/my\\040card ro,noatime - vfat /dev/sda1 rw"
STATE = "/var/lib/retrowalk"


@pytest.mark.parametrize(
    ("lines", "path", "expected"),
    [
        pytest.param([PLAIN, PROC], STATE, False, id="usual"),
        pytest.param([OVERLAY, UPPER, PROC], STATE, True, id="overlay in memory"),
        pytest.param([OVERLAY, UPPER, DATA], STATE, False, id="with a partition of its own"),
        pytest.param([OVERLAY, UPPER, DATA], "/var/lib/retrowalk-hub", True, id="beside that partition"),
        pytest.param([OVERLAY, PROC], STATE, False, id="overlay on a disk, as of containers"),
        pytest.param(["25 1 0:2 / / rw - tmpfs rootfs rw"], STATE, True, id="root in memory"),
        pytest.param([PLAIN, "30 25 0:9 / /tmp rw - tmpfs tmpfs rw"], "/tmp/x", False, id="a folder meant for it"),
        pytest.param(["", "25 1", "x - y"], STATE, False, id="nothing that can be read"),
    ],
)
def test_what_forgets(lines, path, expected):
    """Only a root whose changes lie in memory forgets what was written"""
    assert forgets(path, "\n".join(lines)) is expected


def test_command_line_tells():
    """Where the upper folder is hidden, the kernel's command line tells that it is in memory"""
    assert forgets(STATE, OVERLAY, "root=/dev/mmcblk0p2 overlayroot=tmpfs:recurse=0 rw")
    assert not forgets(STATE, PLAIN, "overlayroot=tmpfs")


def test_place_with_a_space():
    """A place is named as people see it, and whether it may be written is told"""
    found = mount_of("/mnt/my card/file", f"{PLAIN}\n{SPACE}")
    assert found is not None
    assert (found.place, found.read_only) == ("/mnt/my card", True)


def test_this_machine(tmp_path):
    """The folders of tests are kept"""
    assert not this_machine_forgets(tmp_path)


@pytest.mark.process
@pytest.mark.together
def test_real_overlay(tmp_path):
    """The kernel's own overlay in memory is known as one, and settings are not taken from a card onto it"""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is missing: apt-get install util-linux")
    script = f"""
        set -e
        cd "{tmp_path}"
        mkdir lower lower/etc lower/etc/retrowalk memory root boot
        mount -t tmpfs none memory || exit 77
        mkdir memory/upper memory/work
        folders="lowerdir=$PWD/lower,upperdir=$PWD/memory/upper,workdir=$PWD/memory/work"
        mount -t overlay none -o "$folders" root || exit 77
        echo '[device]' >boot/retrowalk.toml
        echo 'name = "rw-9"' >>boot/retrowalk.toml
        exec "{sys.executable}" -c '{{python}}'
    """
    python = """
        from pathlib import Path
        from retrowalk.firstboot import take
        from retrowalk.mounts import this_machine_forgets
        root = Path("root")
        assert this_machine_forgets(root)
        assert not this_machine_forgets("boot")
        outcome = take.take(Path("boot"), root, forgets=this_machine_forgets(root))
        assert "forgets" in outcome.problem, outcome
        assert Path("boot/retrowalk.toml").exists()
        assert not (root / "etc/retrowalk/retrowalk.toml").exists()
    """
    text = textwrap.dedent(script).replace("{python}", textwrap.dedent(python))
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", "sh", "-c", text], capture_output=True, text=True, check=False
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"this kernel lets nobody mount here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr


@pytest.mark.process
@pytest.mark.together
def test_real_read_only_root(tmp_path):
    """On a root that is mounted read-only nothing is taken off the card, and the card says why"""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare is missing: apt-get install util-linux")
    for name in ("boot", "root/etc/retrowalk"):
        (tmp_path / name).mkdir(parents=True)
    card = tmp_path / "boot" / "retrowalk.toml"
    card.write_text('[device]\nname = "rw-9"\n')
    script = f"""
        cd "{tmp_path}"
        mount --bind root root && mount -o remount,bind,ro root || exit 77
        exec "{sys.executable}" -m retrowalk first-boot --boot boot --root root
    """
    done = subprocess.run(
        [unshare, "--user", "--map-root-user", "--mount", "sh", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"this kernel lets nobody mount here: {done.stderr.strip()}")
    assert done.returncode == 1, done.stderr
    assert card.exists()
    assert "Read-only file system" in (tmp_path / "boot" / "retrowalk-problem.txt").read_text()
