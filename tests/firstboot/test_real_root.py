"""The taking of a card as the service does it: as root with the one power it keeps, from a FAT file system.

It goes onto this machine's own folders, within mounts of its own, of which nothing is left (`script/test --system`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.firstboot.test_take import CARD, SECRETS

from retrowalk.firstboot import wifi

ROOT = Path(__file__).resolve().parents[2]
TOOLS = {
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "systemd-sysusers": "systemd",
    "mkfs.vfat": "dosfstools",
    "fusefat": "fusefat",
}

SCRIPT = """
    set -e
    mkdir boot memory
    mount -t tmpfs none memory
    mkdir memory/upper memory/work
    mount -t overlay none -o "lowerdir=/etc,upperdir=$PWD/memory/upper,workdir=$PWD/memory/work" /etc
    mount -t tmpfs none /var/lib
    systemd-sysusers "$PROJECT"/systemd/sysusers.d/*.conf
    mkdir -p /etc/retrowalk /etc/NetworkManager/system-connections
    cp "$PROJECT"/systemd/retrowalk.toml "$PROJECT"/systemd/hub.toml /etc/retrowalk/
    fusefat -o rw+ card.img boot
    echo "console=tty1" >boot/cmdline.txt
    cp card.toml boot/retrowalk.toml
    sync boot/retrowalk.toml
    cp card.img before.img
    setpriv --bounding-set -all,+chown --inh-caps -all --no-new-privs \\
        "$PYTHON" -m retrowalk first-boot --boot "$PWD/boot" --root / 2>log
    stat -c '%a %U %G %n' /etc/retrowalk/* /etc/NetworkManager/system-connections/* >modes
    umount boot
"""


@pytest.mark.system
def test_service_on_a_real_card(tmp_path):
    """Root with the power to give files away and no other takes a card over; no secret is left in its image"""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if missing:
        pytest.skip(f"apt-get install {' '.join(sorted(missing))}")
    image = tmp_path / "card.img"
    with image.open("wb") as file:
        file.truncate(40_000_000)
    subprocess.run(["mkfs.vfat", "-F", "32", str(image)], check=True, capture_output=True)
    (tmp_path / "card.toml").write_text(CARD)
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", textwrap.dedent(SCRIPT)],
        cwd=tmp_path,
        env={**os.environ, "PROJECT": str(ROOT), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    modes = dict(reversed(line.rsplit(" ", 1)) for line in (tmp_path / "modes").read_text().splitlines())
    assert modes == {
        "/etc/retrowalk/retrowalk.toml": "644 root root",
        "/etc/retrowalk/hub.toml": "640 root retrowalk-hub",
        "/etc/retrowalk/broker.password": "640 root retrowalk",
        "/etc/retrowalk/hub-broker.password": "640 root retrowalk-hub",
        "/etc/NetworkManager/system-connections/retrowalk-wifi.nmconnection": "600 root root",
    }
    before, after = (tmp_path / "before.img").read_bytes(), image.read_bytes()
    assert all(secret.encode() in before for secret in SECRETS)  # or the next line would prove nothing
    assert not any(secret.encode() in after for secret in SECRETS)
    assert not any(secret in (tmp_path / "log").read_text() + done.stdout + done.stderr for secret in SECRETS)


@pytest.mark.system
@pytest.mark.parametrize(
    ("name", "password", "security", "lines"),
    [
        pytest.param(
            "Müller", "correct horse", "wpa2", {f"psk={wifi.key('correct horse', 'Müller')}"}, id="umlaut, WPA2"
        ),
        pytest.param('a"b\\c', " b\\c;#", "wpa3", {'ssid=a"b\\\\c', "psk=\\sb\\\\c;#"}, id="quote, backslash, WPA3"),
        pytest.param("  sp  ", "", "none", {"ssid=\\s\\ssp  "}, id="spaces, open"),
    ],
)
def test_networkmanager_reads_it(name, password, security, lines):
    """NetworkManager's own reader takes the file, and writes the same name and key again"""
    if shutil.which("nmcli") is None:
        pytest.skip("apt-get install network-manager")
    done = subprocess.run(
        ["nmcli", "--offline", "connection", "modify", "connection.autoconnect", "yes"],
        input=wifi.connection(name, password, security=security, hidden=True),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert lines | {"hidden=true", "powersave=2"} <= set(done.stdout.splitlines())
