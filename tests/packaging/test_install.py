"""`sudo ./install` in a fresh Debian system of this machine's kind: twice, changed, taken off.  Needs a network."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.packaging import roots
from tests.packaging.roots import System

ROOT = Path(__file__).parents[2]
LACKS = roots.missing()
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(LACKS), reason=f"to make Debian systems it needs {', '.join(LACKS)}"),
]
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
INSTALL = "/root/retrowalk/install"
BUNDLE = "/root/certificates.pem"
PARTS = (
    *("install", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"),
    *("requirements", "packaging", "systemd", "firmware", "src"),
)


def install(system: System, arguments: str = "") -> str:
    """What `./install` says, where it reaches the packages as this machine does."""
    # Debian's own bundle of certificates comes with what is installed, and would replace this machine's.
    pip = {"PIP_CERT": BUNDLE} if "PIP_CERT" in os.environ else {}
    return system.run(f"{INSTALL} {arguments} 2>&1", network=True, within_s=1800.0, **pip)


@pytest.fixture(scope="module", params=["bookworm"])
def system(request, tmp_path_factory) -> Iterator[System]:
    """A bare system with a checkout in it, as of a clone: nothing of what this one has built."""
    base = roots.system(request.param, ARCH, roots.BARE)
    with roots.layer(tmp_path_factory.mktemp("install"), base) as made:
        checkout = made.path / "root/retrowalk"
        checkout.mkdir()
        for part in PARTS:
            if (ROOT / part).is_dir():
                shutil.copytree(
                    ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
                )
            else:
                shutil.copy(ROOT / part, checkout / part)
        for file in ("/etc/resolv.conf", "/etc/hosts"):
            shutil.copy(file, made.path / file.lstrip("/"))
        if "PIP_CERT" in os.environ:
            shutil.copy(os.environ["PIP_CERT"], made.path / BUNDLE.lstrip("/"))
        yield made


@pytest.fixture(scope="module")
def said(system) -> str:
    """What the first run says."""
    return install(system)


def test_names_what_it_installs(said):
    """Every step is named, and every Debian package with its reason; doctor has the last word"""
    assert [line[:11] for line in said.splitlines() if line.startswith("step ")] == [
        f"step {n} of 5" for n in range(1, 6)
    ]
    assert "python3-venv      builds retrowalk's packages" in said
    assert "This is not a Raspberry Pi" in said


def test_the_program_runs(system, said):
    """It runs as a command, in an environment of its own, and its services are enabled"""
    assert "retrowalk" in system.run("retrowalk --version")
    assert system.run("readlink -f /opt/retrowalk/bin").startswith("/opt/retrowalk/versions/")
    assert system.run("systemctl is-enabled retrowalk.target retrowalk-firstboot.service") == "enabled\nenabled"


def test_leaves_nothing_in_the_checkout(system, said):
    """Nothing of root's is left in the checkout"""
    assert system.run("cd /root/retrowalk && find . -name __pycache__ -o -name build -o -name '*.egg-info'") == ""


def test_second_run_changes_nothing(system, said):
    """A second run fetches nothing, changes nothing, and says so"""
    system.run("sed -i 's/^profile = .*/profile = \"older\"/' /etc/retrowalk/retrowalk.toml && touch /root/mark")
    again = install(system)
    assert "nothing was changed" in again
    assert "nothing to fetch" in again
    assert system.run("find /etc /opt /usr -newer /root/mark -type f -not -name '*.pyc'") == ""


def test_removed_it_keeps_what_is_the_walkers_and_comes_back(system, said):
    """--remove keeps settings and recordings; --remove --purge leaves nothing behind"""
    system.run("mkdir -p /var/lib/retrowalk/recordings && echo kept >/var/lib/retrowalk/recordings/walk.mcap")
    system.run("echo '# mine' >>/etc/retrowalk/retrowalk.toml")
    install(system, "--remove")
    assert not (system.path / "opt/retrowalk").exists()
    assert system.run("tail -n 1 /etc/retrowalk/retrowalk.toml; cat /var/lib/retrowalk/recordings/*") == "# mine\nkept"
    assert system.run("find /etc/systemd /etc/udev /usr/local -name '*retrowalk*'") == ""

    assert "kept as it is" in install(system)
    install(system, "--remove --purge")
    left = {name for name in system.files() if "retrowalk" in name and not name.startswith(("/root/", "/tmp/"))}
    assert left == set()
    assert system.run("grep -c retrowalk /etc/passwd /etc/group || true") == "/etc/passwd:0\n/etc/group:0"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        pytest.param(["--help"], 0, id="help"),
        pytest.param(["--purge"], 2, id="purge without remove"),
        pytest.param(["--whatever"], 2, id="unknown"),
    ],
)
def test_arguments(arguments, status):
    """Help is given; what makes no sense is refused before anything is done"""
    done = subprocess.run([ROOT / "install", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "usage: sudo ./install" in done.stdout + done.stderr or "--purge goes with --remove" in done.stderr
