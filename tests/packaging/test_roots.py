"""The package in fresh Debian systems, of a Pi's processor (emulated) and of a PC's: installed, upgraded, taken off.

Nothing is installed with a network.  What acts under a running systemd (start, restart, going back when the guard does
not come up) is not here, as nothing is started in a folder: tests/boot and test_deploy.py have it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.packaging import packages, roots
from tests.packaging.roots import System

from retrowalk.voice.bank import default_directory

LACKS = roots.missing()
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(LACKS), reason=f"to make Debian systems it needs {', '.join(LACKS)}"),
]
KINDS = [
    pytest.param(("bookworm", "arm64"), id="bookworm arm64"),
    pytest.param(("trixie", "arm64"), id="trixie arm64"),
    pytest.param(("bookworm", "amd64"), id="bookworm amd64"),
    pytest.param(("trixie", "amd64"), id="trixie amd64"),
]
PROGRAM = "/opt/retrowalk/bin/retrowalk"
SETTINGS = "/etc/retrowalk/retrowalk.toml"
STATE = "/var/lib/retrowalk"


@dataclass(frozen=True)
class Kind:
    """A suite and a processor with the package built for it, and what installing it left behind."""

    arch: str
    package: Path
    folder: Path
    base: Path
    installed: System
    said: str

    @contextmanager
    def fresh(self, folder: Path) -> Iterator[System]:
        """A system that has what the package asks for, and not the package."""
        with roots.layer(folder, self.base) as system:
            yield system

    @contextmanager
    def used(self, folder: Path) -> Iterator[System]:
        """A system on which it was installed, with settings somebody has changed and something that is kept."""
        with roots.layer(folder, *self.installed.layers) as system:
            system.run(f"sed -i '/^.device.$/,/^site/ s/^name = .*/name = \"mine\"/' {SETTINGS}")
            system.run(f"mkdir -p {STATE}/recordings && echo kept >{STATE}/recordings/walk.mcap")
            system.run(f"echo kept >{STATE}/outbox.db && chown -R retrowalk:retrowalk {STATE}")
            yield system


def put(package: Path, system: System, name: str = "retrowalk.deb") -> str:
    """The package's path within the system."""
    shutil.copy(package, system.path / "tmp" / name)
    return f"/tmp/{name}"


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory) -> Iterator[Kind]:
    suite, arch = request.param
    package = packages.built(arch)
    folder = tmp_path_factory.mktemp(f"{suite}-{arch}")
    base = roots.system(suite, arch, roots.READY)
    with ExitStack() as stack:
        system = stack.enter_context(roots.layer(folder / "installed", base))
        said = system.run(f"apt-get install -y --no-install-recommends {put(package, system)}")
        (system.path / "tmp/retrowalk.deb").unlink()
        yield Kind(arch, package, folder, base, system, said)


@pytest.fixture
def used(kind, tmp_path) -> Iterator[System]:
    with kind.used(tmp_path) as system:
        yield system


def of_program(system: System) -> str:
    return system.run(f"{PROGRAM} --version")


def test_it_installs_without_a_network(kind):
    """apt installs it with nothing but its own file, and asks doctor at the end"""
    assert packages.version() in of_program(kind.installed)
    assert kind.installed.run("dpkg-query -W -f '${db:Status-Status}' retrowalk") == "installed"
    assert "retrowalk doctor" in kind.said
    assert "Traceback" not in kind.said


def test_user_groups_and_folders_are_there(kind):
    """The services' users are in no group but their own, and own what they write to"""
    run = kind.installed.run
    for user in ("retrowalk", "retrowalk-hub"):
        assert run(f"id -nG {user}") == user
        assert run(f"stat -c '%U:%G %a' /var/lib/{user}") == f"{user}:{user} 750"
    assert run(f"stat -c '%U:%G %a' {SETTINGS}") == "root:root 644"
    assert run("stat -c '%U:%G %a' /etc/retrowalk/hub.toml") == "root:retrowalk-hub 640"
    for group in ("gpio", "i2c", "audio", "dialout"):
        run(f"getent group {group}")


def test_it_will_start_with_the_system(kind):
    """Guard and its companions start at the next power-on, the take-over of a card's settings, too; the hub does not"""
    run = kind.installed.try_
    assert run("systemctl is-enabled retrowalk.target").output.strip() == "enabled"
    assert run("systemctl is-enabled retrowalk-firstboot.service").output.strip() == "enabled"
    assert run("systemctl is-enabled retrowalk-hub.service").output.strip() == "disabled"


def test_units_and_rules_are_those_of_the_project(kind):
    """Every file of systemd/ is in its place, word for word"""
    places = {
        "": "systemd/system",
        "system.conf.d": "systemd/system.conf.d",
        "journald.conf.d": "systemd/journald.conf.d",
    }
    places |= {name: name for name in ("sysusers.d", "tmpfiles.d", "modules-load.d", "udev/rules.d")}
    count = 0
    for folder, place in places.items():
        for file in (roots.ROOT / "systemd" / folder).iterdir():
            if file.is_file() and file.suffix != ".toml":
                assert (kind.installed.path / "etc" / place / file.name).read_text() == file.read_text(), file
                count += 1
    assert count > 15


def test_nobody_but_root_may_change_the_program(kind):
    """Everything of the program belongs to root, and no one else may write to it"""
    assert kind.installed.run("find /opt/retrowalk /usr/lib/retrowalk ! -user root -o ! -type l -perm /022") == ""


def test_doctor_runs_and_names_what_is_missing(kind, tmp_path):
    """On a machine without a single sensor doctor says so, and does not fall over"""
    with kind.used(tmp_path) as system:
        answer = system.try_(f"cd /tmp && {PROGRAM} doctor --quick")
    assert answer.status in (1, 2), answer.output
    assert "Traceback" not in answer.output
    assert "rear" in answer.output


def test_a_simulated_walk_goes_well(kind, tmp_path):
    """The installed program, with its own Python packages, guards a whole simulated walk"""
    with kind.used(tmp_path) as system:
        # To render them anew takes minutes where every program is emulated, and is not what is shown here.
        shutil.copytree(default_directory(), system.path / "root/.cache/retrowalk/bank")
        said = system.run(f"cd /tmp && {PROGRAM} demo --fast --seed 1 --out /tmp/walk")
        left = {file.name for file in (system.path / "tmp/walk").iterdir()}
        heard = (system.path / "tmp/walk/transcript.txt").read_text()
    assert {"walk.wav", "events.jsonl", "walk.mcap"} <= left
    assert "Stop" in heard, said


def test_to_install_it_again_changes_nothing(kind, used):
    """The same package a second time says that nothing was changed, and nothing was"""
    before = used.run("find /opt/retrowalk /etc -xdev -type f ! -name 'ld.so.cache' -exec sha256sum {} + | sort")
    said = used.run(f"dpkg -i {put(kind.package, used)}")
    after = used.run("find /opt/retrowalk /etc -xdev -type f ! -name 'ld.so.cache' -exec sha256sum {} + | sort")
    assert "nothing was changed" in said
    assert after == before


def test_dpkg_reconfigure_keeps_the_settings(used):
    """Set up anew, it keeps the settings as somebody has changed them, and asks nobody"""
    used.run("dpkg-reconfigure retrowalk")
    assert 'name = "mine"' in used.run(f"cat {SETTINGS}")


@contextmanager
def later(kind: Kind, system: System, number: str, change: str = "", file: str = "guard/process.py") -> Iterator[str]:
    """A later package, whose `file` ends with `change`, put into the system."""

    def spoil(sources: Path) -> None:
        if change:
            with (sources / file).open("a") as out:
                out.write(f"\n{change}\n")

    made = packages.another(kind.package, kind.folder, number, spoil)
    yield put(made, system, made.name)
    made.unlink()


def test_an_upgrade_keeps_everything(kind, used):
    """After an upgrade the new version is in use, with the settings, recordings and messages of before"""
    with later(kind, used, "9.1") as package:
        used.run(f"dpkg -i {package}")
    assert "9.1" in of_program(used)
    assert 'name = "mine"' in used.run(f"cat {SETTINGS}")
    assert used.run(f"cat {STATE}/recordings/walk.mcap {STATE}/outbox.db") == "kept\nkept"
    assert used.run(f"stat -c %U {STATE}/outbox.db") == "retrowalk"
    assert len(used.run("ls /opt/retrowalk/versions").split()) == 2


@pytest.mark.parametrize(
    ("change", "file", "why"),
    [
        pytest.param("raise ImportError('spoiled')", "guard/process.py", "spoiled", id="does not load"),
        pytest.param(
            "def load(path):\n    raise ConfigError([_whole_file(str(path), 'no longer')])",
            "config.py",
            "which the old one does",
            id="refuses the settings",
        ),
    ],
)
def test_a_bad_version_leaves_the_old_one_in_use(kind, used, change, file, why):
    """A version that cannot be used is not: the old one stays as it was, and the good one can be installed after it"""
    with later(kind, used, "9.2", change, file) as package:
        answer = used.try_(f"dpkg -i {package}")
    assert answer.status != 0
    assert why in answer.output
    assert packages.version() in of_program(used)
    assert len(used.run("ls /opt/retrowalk/versions").split()) == 1
    assert 'name = "mine"' in used.run(f"cat {SETTINGS}")
    used.run(f"dpkg -i --force-downgrade {put(kind.package, used)}")
    assert used.run("dpkg-query -W -f '${db:Status-Status} ${Version}' retrowalk") == f"installed {packages.version()}"
    assert packages.version() in of_program(used)


def test_removed_it_keeps_what_is_the_walkers(kind, used):
    """Taken off, program and services are gone; settings and recordings stay, and serve it when it comes back"""
    used.run("apt-get remove -y retrowalk")
    assert used.try_("ls /opt/retrowalk /usr/lib/retrowalk /usr/local/bin/retrowalk").output.count("No such file") == 3
    assert used.run("find /etc -name '*retrowalk*' ! -path '/etc/retrowalk*'") == ""
    assert used.run(f"cat {STATE}/outbox.db") == "kept"
    used.run(f"dpkg -i {put(kind.package, used)}")
    assert 'name = "mine"' in used.run(f"cat {SETTINGS}")
    assert used.run("systemctl is-enabled retrowalk.target") == "enabled"


def test_purged_it_leaves_nothing(kind, used, tmp_path):
    """After a purge there is no file and no user that was not there before it came"""
    used.run("dpkg --purge retrowalk")
    with kind.fresh(tmp_path / "fresh") as system:
        before = system.files()
    # dpkg's own books, copies of the user list that its tools keep, and what systemd's tools note of themselves.
    others = ("/var/lib/dpkg/", "/var/log/", "/var/cache/", "/tmp/", "/var/lib/apt/", "/var/lib/systemd")
    kept = {"/etc/passwd-", "/etc/shadow-", "/etc/group-", "/etc/gshadow-", "/etc/.pwd.lock"}
    left = {name for name in used.files() - before if not name.startswith(others)} - kept
    assert left == set()
    assert "retrowalk" not in used.run("cat /etc/passwd /etc/group /etc/shadow /etc/gshadow")


def trigger(system: System) -> str:
    """What is said when dpkg has just brought a Python."""
    return system.run("dpkg-trigger --by-package=python3-minimal /usr/bin/python3 && dpkg --triggers-only retrowalk")


def test_the_same_python_changes_nothing(kind, used):
    """When Debian mends its Python, dpkg asks, and the environment stays as it is"""
    assert "nothing was changed" in trigger(used)


def test_another_python_gets_its_own_environment(kind, used):
    """When Debian brings another Python, dpkg has an environment made for it, and the settings stay"""
    # As it looks after such an upgrade: packages of the Python before, and a link to the Python of now.
    used.run("cd /opt/retrowalk/versions && mv * old-py3.9 && mv old-py3.9/lib/python3* old-py3.9/lib/python3.9")
    used.run("ln -sfn versions/old-py3.9 /opt/retrowalk/current")
    assert used.try_(f"{PROGRAM} --version").status != 0
    trigger(used)
    assert packages.version() in of_program(used)
    assert 'name = "mine"' in used.run(f"cat {SETTINGS}")
    assert used.run("systemctl is-enabled retrowalk.target") == "enabled"
