#!/usr/bin/python3
"""Puts retrowalk onto a system, and takes it off again: the one road of `./install` and of the Debian package.

Every version lives in a folder of its own, and one link says which of them is used:

    /opt/retrowalk/versions/0.1.0-1a2b3c4d/    its own environment, what it was made from, and its system files
    /opt/retrowalk/current -> versions/...     put in place in one step, so there is always a whole version behind it
    /opt/retrowalk/bin -> current/bin          where the units look

A new version is unpacked beside the old one, loaded, and asked to read the settings of this device before the link
moves.  If the guard of a running device does not come up with it, link, units and settings go back, and the old one is
started again.
Recordings, outbox and calibration (/var/lib/retrowalk) are touched by nothing but `remove --purge`.

Needs nothing but Python's own library, and no network.
"""

from __future__ import annotations

import argparse
import base64
import csv
import fcntl
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

PYTHONS = ((3, 11), (3, 12), (3, 13))
PROCESSES = ("guard", "voice", "courier")
"""The services that a running device had before an upgrade must have after it."""
UP_WITHIN_S = 30.0
"""A Zero 2 W starts the guard within 5 s; the units have 30 s.  If it fails, nobody guards for so long."""
STAYS_UP_S = 2.0
VERIFY_WITHIN_S = 300.0
DOCTOR_WITHIN_S = 120.0
FOLDERS = {
    "system.conf.d": "etc/systemd/system.conf.d",
    "journald.conf.d": "etc/systemd/journald.conf.d",
    "sysusers.d": "etc/sysusers.d",
    "tmpfiles.d": "etc/tmpfiles.d",
    "modules-load.d": "etc/modules-load.d",
    "udev/rules.d": "etc/udev/rules.d",
}
"""Where the folders of systemd/ go to; the units beside them go to etc/systemd/system."""
UNITS = "etc/systemd/system"
LOADED = (
    *(f"retrowalk.{name}" for name in ("guard.process", "voice.process", "courier.process", "doctor", "firstboot")),
    *("gpiozero", "lgpio", "lz4.frame", "mcap", "msgspec", "paho.mqtt.client", "pyttsx3", "rich", "serial", "smbus2"),
    "zstandard",
)
"""What must load before a version is used."""
VERIFY = """
import importlib, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
from retrowalk import config, errors
try:
    config.load(sys.argv[1])
except FileNotFoundError:
    pass
except errors.RetrowalkError as error:
    print(error)
    sys.exit(3)
"""


class DeployError(Exception):
    """What could not be done, in words for whoever installs; the version in use is the one that was before."""


@dataclass(frozen=True, slots=True)
class Places:
    """A system: its root folder, and what of it belongs to retrowalk."""

    root: Path

    @property
    def opt(self) -> Path:
        return self.root / "opt/retrowalk"

    @property
    def versions(self) -> Path:
        return self.opt / "versions"

    @property
    def current(self) -> Path:
        return self.opt / "current"

    @property
    def settings(self) -> Path:
        return self.root / "etc/retrowalk"

    @property
    def boot_config(self) -> Path:
        return self.root / "boot/firmware/config.txt"

    @property
    def is_host(self) -> bool:
        """Whether this is the system that we run on, not a folder with one."""
        return self.root == Path("/")

    @property
    def runs_systemd(self) -> bool:
        """Whether its services can be started; not in a chroot, nor while an image is made."""
        return self.is_host and Path("/run/systemd/system").is_dir()

    def used(self) -> Path | None:
        """The folder of the version in use."""
        return self.current.resolve() if self.current.is_dir() else None


@dataclass(frozen=True, slots=True)
class Options:
    """How to install.

    `device`: walker's side, else the hub alone.  `start`: start or restart its services.  `doctor`: ask it at the end.
    """

    device: bool = True
    start: bool = True
    doctor: bool = True
    up_within_s: float = UP_WITHIN_S


def say(text: str) -> None:
    print(text, flush=True)


def run(*command: str | Path, within_s: float = 60.0, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end, with `more` in its environment; its failure is the caller's to judge."""
    arguments = [str(word) for word in command]
    # A new version is tried as systemd will start it: not with what whoever installs has set for Python.
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env |= {"LC_ALL": "C.UTF-8", **more}
    try:
        return subprocess.run(
            arguments, capture_output=True, text=True, timeout=within_s, env=env, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(arguments, 127, "", str(error))


def must(what: str, *command: str | Path) -> None:
    """As `run`; raises `DeployError`, with the end of what it said, if it fails."""
    done = run(*command)
    if done.returncode != 0:
        end = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise DeployError(f"{what} failed: {' '.join(map(str, command))}\n{end}")


def whole(file: Path, content: bytes, mode: int) -> None:
    """Writes a file so that after a power cut either the old or the new one is there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    with new.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    new.chmod(mode)
    new.replace(file)


def link(place: Path, target: str) -> bool:
    """Makes `place` a link to `target` in one step.  Returns whether that changed anything."""
    if place.is_symlink() and os.readlink(place) == target:
        return False
    new = place.with_name(f".{place.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(place)
    return True


# --- a version --------------------------------------------------------------------------------------------------------


def wheels(payload: Path) -> list[Path]:
    """The wheels of a payload that fit this Python: those for every Python, and those for this one."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    found = sorted(payload.glob("wheels/any/*.whl")) + sorted(payload.glob(f"wheels/{tag}/*.whl"))
    if not list(payload.glob(f"wheels/{tag}/*.whl")):
        there = ", ".join(sorted(folder.name for folder in payload.glob("wheels/cp*"))) or "none"
        raise DeployError(f"it has no packages for Python {platform_python()}, only for {there}")
    return found


def platform_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def name_of(payload: Path) -> str:
    """The name of the version that a payload makes: number, what it is made from, and for which Python."""
    version = (payload / "VERSION").read_text(encoding="utf-8").strip()
    print_ = (payload / "FINGERPRINT").read_text(encoding="utf-8").strip()
    if not re.fullmatch(r"[\w.+~]+", version) or not re.fullmatch(r"[0-9a-f]{8,}", print_):
        raise DeployError(f"{payload} is damaged: version {version!r}, fingerprint {print_!r}")
    return f"{version}-{print_[:8]}-py{platform_python()}"


def unpack(wheel: Path, site: Path) -> None:
    """Unpacks a wheel, every file checked against the wheel's own list of hashes.  Raises `DeployError`."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            record = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/RECORD", name))
            listed = {row[0]: row[1] for row in csv.reader(io.StringIO(archive.read(record).decode())) if row}
            for name in archive.namelist():
                path = PurePosixPath(name)
                if name.endswith("/"):
                    continue
                if path.is_absolute() or ".." in path.parts:
                    raise DeployError(f"{wheel.name} holds a file that would leave its folder: {name}")
                content = archive.read(name)
                if name != record and not name.endswith((".jws", ".p7s")):
                    kind, _, wanted = listed.get(name, "").partition("=")
                    hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                    if kind != "sha256" or wanted != hashed:
                        raise DeployError(f"{wheel.name} is damaged: {name}")
                if path.parts[0].endswith(".data"):
                    if path.parts[1] not in ("purelib", "platlib"):
                        continue  # manual pages, headers, scripts of other people: not needed
                    path = PurePosixPath(*path.parts[2:])
                file = site / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    except (OSError, zipfile.BadZipFile, StopIteration, UnicodeDecodeError) as error:
        raise DeployError(f"{wheel.name} cannot be unpacked: {error!r}") from error


def build(payload: Path, places: Places) -> Path:
    """The folder of the payload's version, made now unless it is there.  Raises `DeployError`."""
    folder = places.versions / name_of(payload)
    if (folder / "complete").exists():
        return folder
    found = wheels(payload)
    say(f"  unpacking {len(found)} packages into {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
        site = folder / "lib" / f"python{platform_python()}" / "site-packages"
        for wheel in found:
            unpack(wheel, site)
        for name in ("system", "boot"):
            shutil.copytree(payload / name, folder / "payload" / name)
        for name in ("VERSION", "FINGERPRINT", "hub"):
            if (payload / name).exists():
                shutil.copy(payload / name, folder / "payload" / name)
        program = folder / "bin/retrowalk"
        program.write_text(
            f"#!{folder}/bin/python\nimport sys\nfrom retrowalk.cli import main\nsys.exit(main())\n", encoding="utf-8"
        )
        for file in folder.rglob("*"):
            if not file.is_symlink():
                file.chmod(0o755 if file.is_dir() or file.parent == folder / "bin" else 0o644)
        # The services may write nowhere: without this each start would compile everything anew.
        run(folder / "bin/python", "-m", "compileall", "-q", folder / "lib", within_s=900.0)
    except DeployError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise DeployError(f"{folder} could not be made: {error}") from error
    return folder


def reads(folder: Path, settings: Path) -> subprocess.CompletedProcess[str]:
    """What happens when the version in `folder` loads everything and reads `settings`: status 3 if it refuses them."""
    with tempfile.TemporaryDirectory() as scratch:
        return run(
            folder / "bin/python", "-c", VERIFY, settings, *LOADED,
            within_s=VERIFY_WITHIN_S, LG_WD=scratch, HOME=scratch,
        )  # fmt: skip


def verify(folder: Path, payload: Path, places: Places) -> None:
    """Raises `DeployError` unless the version loads, says its number, and reads the settings that the old one reads."""
    version = (payload / "VERSION").read_text(encoding="utf-8").strip()
    said = run(folder / "bin/retrowalk", "--version", within_s=VERIFY_WITHIN_S)
    if said.returncode != 0 or version not in said.stdout:
        raise DeployError(f"the new version does not start:\n{(said.stdout + said.stderr).strip()[-2000:]}")
    settings = places.settings / "retrowalk.toml"
    done = reads(folder, settings)
    problem = (done.stdout + done.stderr).strip()[-2000:]
    if done.returncode == 3:
        old = places.used()
        if old is not None and old != folder and reads(old, settings).returncode == 0:
            raise DeployError(f"the new version does not take {settings}, which the old one does:\n{problem}")
        say(f"  {settings} is not in order:\n{problem}")
    elif done.returncode != 0:
        raise DeployError(f"the new version does not load:\n{problem}")
    (folder / "complete").touch()


# --- the system -------------------------------------------------------------------------------------------------------


def system_files(payload: Path, *, device: bool) -> Iterator[tuple[str, Path]]:
    """Path within the system, and file of the payload, of everything that belongs to neither program nor settings."""
    hub = (payload / "hub").exists()
    system = payload / "system"
    for folder, target in (("", UNITS), *FOLDERS.items()):
        for file in sorted((system / folder).iterdir()):
            if not file.is_file() or file.suffix == ".toml":
                continue
            of_hub = "-hub" in file.name
            # The card's settings may name the hub's user, so every device has it; the service needs the hub's packages.
            if (of_hub and not hub and file.suffix == ".service") or (not of_hub and not device):
                continue
            yield f"{target}/{file.name}", file


def settings_files(payload: Path, *, device: bool) -> Iterator[tuple[str, int, Path]]:
    """Name, mode and file of the settings."""
    if device:
        yield "retrowalk.toml", 0o644, payload / "system/retrowalk.toml"
    if (payload / "hub").exists():
        yield "hub.toml", 0o640, payload / "system/hub.toml"


class Changes:
    """What was changed on the system, and how to take it back."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._before: list[tuple[Path, bytes | str | None, int]] = []

    @property
    def files(self) -> list[str]:
        return ["/" + str(file.relative_to(self._places.root)) for file, _, _ in self._before]

    def _keep(self, file: Path) -> None:
        if file.is_symlink():
            self._before.append((file, os.readlink(file), 0))
        elif file.exists():
            self._before.append((file, file.read_bytes(), file.stat().st_mode & 0o7777))
        else:
            self._before.append((file, None, 0))

    def write(self, file: Path, content: bytes, mode: int) -> None:
        """Puts a file in place unless it is there just so."""
        if file.is_file() and not file.is_symlink() and file.read_bytes() == content:
            return
        self._keep(file)
        whole(file, content, mode)

    def link(self, place: Path, target: str) -> None:
        if not place.is_symlink() or os.readlink(place) != target:
            self._keep(place)
            place.parent.mkdir(parents=True, exist_ok=True)
            link(place, target)

    def remove(self, file: Path) -> None:
        if file.is_symlink() or file.exists():
            self._keep(file)
            file.unlink()

    def take_back(self) -> None:
        for file, content, mode in reversed(self._before):
            if content is None:
                file.unlink(missing_ok=True)
            elif isinstance(content, str):
                link(file, content)
            else:
                whole(file, content, mode)
        self._before.clear()


def place_settings(payload: Path, places: Places, changes: Changes, *, device: bool) -> None:
    """Puts the settings where there are none; one that nobody has changed follows the program, any other stays."""
    old = places.used()
    for name, mode, file in settings_files(payload, device=device):
        here = places.settings / name
        if not here.exists():
            changes.write(here, file.read_bytes(), mode)
            continue
        shipped = old / "payload/system" / name if old else None
        if here.read_bytes() == file.read_bytes():
            continue
        if shipped and shipped.exists() and shipped.read_bytes() == here.read_bytes():
            changes.write(here, file.read_bytes(), here.stat().st_mode & 0o7777)
            say(f"  /etc/retrowalk/{name}: nobody had changed it, so it is the new version's")
        else:
            say(f"  /etc/retrowalk/{name}: kept as it is")


def rooted(places: Places, command: str) -> list[str]:
    return [command] if places.is_host else [command, f"--root={places.root}"]


def make_users(places: Places, names: list[str]) -> None:
    """Users, groups and folders, by systemd's own tools; what is there already stays."""
    tools: tuple[tuple[str, str, list[str]], ...] = (
        ("systemd-sysusers", "sysusers.d", []),
        ("systemd-tmpfiles", "tmpfiles.d", ["--create"]),
    )
    for tool, kind, arguments in tools:
        files = [name.rpartition("/")[2] for name in names if name.startswith(f"etc/{kind}/")]
        must("making users and folders", *rooted(places, tool), *arguments, *files)


def owns_settings(places: Places) -> None:
    """The hub's settings can be read by the hub alone: tmpfiles sets that, and needs the file to be there."""
    hub = places.settings / "hub.toml"
    if hub.exists():
        must("giving hub.toml to the hub", *rooted(places, "systemd-tmpfiles"), "--create", "retrowalk-hub.conf")


def boot_files(payload: Path, places: Places, *, remove: bool = False) -> bool:
    """retrowalk's lines in the Pi's config.txt.  Returns whether the Pi must be started again for them."""
    if not places.boot_config.exists():
        return False
    tool = payload / "boot/apply-config"
    done = run("/bin/sh", tool, *(["--remove"] if remove else []), places.boot_config)
    if done.returncode != 0:
        say(f"  {places.boot_config} could not be changed: {done.stderr.strip()}")
        return False
    return "unchanged" not in done.stdout


def active(name: str) -> bool:
    return run("systemctl", "is-active", "--quiet", f"retrowalk-{name}.service").returncode == 0


def come_up(names: list[str], within_s: float) -> list[str]:
    """Waits until the services are active and stay so.  Returns those that are not, in time."""
    end = time.monotonic() + within_s
    since: float | None = None
    while True:
        down = [name for name in names if not active(name)]
        now = time.monotonic()
        since = None if down else (now if since is None else since)
        if since is not None and now - since >= STAYS_UP_S:
            return []
        if now >= end:
            return down or names
        time.sleep(0.25)


def tell_systemd(changed: list[str]) -> None:
    """Has the running system take up what was changed; each of these may fail where there is nothing to tell."""
    if any(name.startswith("/etc/systemd/system.conf.d") for name in changed):
        run("systemctl", "daemon-reexec")
    elif any(name.startswith("/etc/systemd/system/") for name in changed):
        run("systemctl", "daemon-reload")
    if any(name.startswith("/etc/systemd/journald.conf.d") for name in changed):
        run("systemctl", "restart", "systemd-journald.service")
    if any(name.startswith("/etc/udev") for name in changed):
        run("udevadm", "control", "--reload")
        run("udevadm", "trigger", "--subsystem-match=gpio", "--subsystem-match=i2c-dev", "--subsystem-match=tty")
    if any(name.startswith("/etc/modules-load.d") for name in changed):
        run("modprobe", "-q", "i2c-dev")


def make_way(places: Places) -> Path | None:
    """An environment that an older set-up made in /opt/retrowalk itself is put aside.  Returns where it went."""
    if not (places.opt / "pyvenv.cfg").exists():
        return None
    aside = places.opt / "before"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for name in ("bin", "include", "lib", "lib64", "share", "pyvenv.cfg"):
        if (places.opt / name).is_symlink() or (places.opt / name).exists():
            (places.opt / name).rename(aside / name)
    return aside


def put_back(places: Places, aside: Path | None) -> None:
    if aside is not None:
        for file in aside.iterdir():
            file.rename(places.opt / file.name)
        aside.rmdir()


def install(payload: Path, places: Places, options: Options) -> bool:
    """Puts the payload's version into use.  Returns whether anything was changed.

    Raises `DeployError` when it could not be; then everything is as before.
    """
    if sys.version_info[:2] not in PYTHONS:
        raise DeployError(f"Python 3.11, 3.12 or 3.13 is needed; this is {platform_python()}")
    places.opt.mkdir(parents=True, exist_ok=True)
    old = places.used()
    fresh = not (places.versions / name_of(payload) / "complete").exists()
    folder = build(payload, places)
    if fresh:
        say("  trying it: does it load, and does it take the settings of this device?")
        try:
            verify(folder, payload, places)
        except DeployError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        os.sync()

    device = options.device
    were_up = [name for name in PROCESSES if active(name)] if places.runs_systemd else []
    changes = Changes(places)
    aside: Path | None = None
    try:
        named = dict(system_files(payload, device=device))
        place_settings(payload, places, changes, device=device)
        for name, file in named.items():
            changes.write(places.root / name, file.read_bytes(), 0o644)
        for name in placed(old) if old else []:
            if name not in named and not name.startswith("usr/local/"):
                changes.remove(places.root / name)
        make_users(places, list(named))
        owns_settings(places)
        aside = make_way(places)
        changes.link(places.current, f"versions/{folder.name}")
        changes.link(places.opt / "bin", "current/bin")
        command = places.root / "usr/local/bin/retrowalk"
        if command.is_symlink() or not command.exists():
            changes.link(command, "/opt/retrowalk/bin/retrowalk")
        if old is None:
            enabled = ["retrowalk.target", "retrowalk-firstboot.service"] if device else []
            if enabled:
                must("enabling the services", *rooted(places, "systemctl"), "enable", "--quiet", *enabled)
        changed = changes.files
        if places.runs_systemd:
            tell_systemd(changed)
            if options.start:
                start(changed, were_up, first=old is None and device, within_s=options.up_within_s)
    except (DeployError, OSError) as error:
        changes.take_back()
        put_back(places, aside)
        if places.runs_systemd:
            run("systemctl", "daemon-reload")
            if were_up and options.start:
                run("systemctl", "restart", "retrowalk.target")
        if old != folder:
            shutil.rmtree(folder, ignore_errors=True)
        still = f"The old version, {old.name}, is in use as before." if old else "Nothing was installed."
        raise DeployError(f"{error}\n{still}") from error

    if placed(folder) != sorted(named):
        whole(folder / "placed", "\n".join(sorted(named)).encode() + b"\n", 0o644)
    prune(places, folder, old)
    shutil.rmtree(places.opt / "before", ignore_errors=True)
    if device and boot_files(payload, places):
        say("  config.txt of the Pi was changed (I2C, watchdog, sound, pins): start the Pi again for that: sudo reboot")
        changed.append("/boot/firmware/config.txt")
    for name in changed:
        say(f"  changed: {name}")
    os.sync()
    return bool(changed)


def start(changed: list[str], were_up: list[str], *, first: bool, within_s: float) -> None:
    """Starts or restarts the services as `changed` asks for.  Raises `DeployError` if one that was up is not again."""
    if first:
        run("systemctl", "start", "retrowalk.target")
        if down := come_up(["guard"], within_s):
            say(f"  not running yet: {', '.join(down)}; see what doctor says below")
    elif were_up and changed:
        say("  restarting the services")
        run("systemctl", "restart", "retrowalk.target", within_s=within_s)
        if down := come_up(were_up, within_s):
            raise DeployError(f"{', '.join(down)} did not come up within {within_s:.0f} s with the new version")
    if changed and run("systemctl", "is-active", "--quiet", "retrowalk-hub.service").returncode == 0:
        run("systemctl", "restart", "retrowalk-hub.service")


def placed(folder: Path) -> list[str]:
    """The files that a version has put into the system."""
    try:
        return (folder / "placed").read_text(encoding="utf-8").split()
    except OSError:
        return []


def prune(places: Places, used: Path, before: Path | None) -> None:
    """Removes all versions but the one in use and the one before it."""
    keep = {used.resolve()}
    if before is not None and before != used:
        keep.add(before)
    others = sorted((f for f in places.versions.iterdir() if f not in keep), key=lambda f: f.stat().st_mtime)
    if len(keep) == 1 and others:
        others.pop()
    for folder in others:
        shutil.rmtree(folder, ignore_errors=True)


def doctor(places: Places) -> None:
    """What retrowalk itself finds; its findings are for whoever reads them and fail nothing."""
    program = places.opt / "bin/retrowalk"
    say(f"\n== {program} doctor --quick")
    with tempfile.TemporaryDirectory() as scratch:
        done = run(program, "doctor", "--quick", within_s=DOCTOR_WITHIN_S, LG_WD=scratch)
    say((done.stdout + done.stderr).rstrip())


def remove(places: Places, *, purge: bool) -> None:
    """Takes retrowalk off; settings, recordings, outbox and calibration stay unless `purge`."""
    used = places.used()
    names = placed(used) if used else []
    units = [name.rpartition("/")[2] for name in names if name.startswith(UNITS)]
    if places.runs_systemd:
        for unit in ("retrowalk.target", *units):
            run("systemctl", "stop", unit)
    if units:
        run(*rooted(places, "systemctl"), "disable", "--quiet", *units)
    if used and boot_files(used / "payload", places, remove=True):
        say("  retrowalk's lines were taken out of config.txt; they count until the next start")
    for name in (*names, "usr/local/bin/retrowalk"):
        file = places.root / name
        if name in names or (file.is_symlink() and os.readlink(file) == "/opt/retrowalk/bin/retrowalk"):
            file.unlink(missing_ok=True)
    for folder in FOLDERS.values():
        file = places.root / folder
        # Folders that Debian itself does not make.
        if folder.startswith(("etc/systemd/", "etc/sysusers")) and file.is_dir() and not any(file.iterdir()):
            file.rmdir()
    shutil.rmtree(places.opt, ignore_errors=True)
    if places.is_host:
        shutil.rmtree("/run/retrowalk", ignore_errors=True)
    if places.runs_systemd:
        run("systemctl", "daemon-reload")
        run("systemctl", "reset-failed", "retrowalk-*")
        run("udevadm", "control", "--reload")
    if purge:
        must("removing what it kept", "/bin/sh", Path(__file__).with_name("purge"), places.root)
        say("retrowalk is removed, with its settings, recordings and messages")
    else:
        say("retrowalk is removed; kept: settings (/etc/retrowalk), recordings and messages (/var/lib/retrowalk)")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Puts retrowalk onto a system, and takes it off again.")
    parser.add_argument("--root", type=Path, default=Path("/"), help="the system to act on, if not this one")
    commands = parser.add_subparsers(dest="command", required=True)
    put = commands.add_parser("install", help="put a version into use")
    put.add_argument("payload", type=Path)
    put.add_argument("--hub-only", action="store_true", help="nothing of the walker's side")
    put.add_argument("--no-start", action="store_true", help="neither start nor restart its services")
    put.add_argument("--no-doctor", action="store_true", help="do not ask doctor at the end")
    has = commands.add_parser("has", help="whether the version in use is made from this; prints its payload")
    has.add_argument("fingerprint")
    off = commands.add_parser("remove", help="take it off")
    off.add_argument("--purge", action="store_true", help="with settings, recordings and everything")
    asked = parser.parse_args(arguments)
    places = Places(asked.root.resolve())
    os.umask(0o022)

    if asked.command == "has":
        used = places.used()
        payload = used / "payload" if used else None
        if used is None or payload is None or not (used / "complete").exists():
            return 1
        mine = (payload / "FINGERPRINT").read_text(encoding="utf-8").strip()
        if mine != asked.fingerprint or name_of(payload) != used.name:
            return 1
        print(payload)
        return 0

    lock = places.root / "run/lock"
    lock.mkdir(parents=True, exist_ok=True)
    with (lock / "retrowalk-deploy").open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another installation of retrowalk is under way: try again when it has ended")
            return 1
        try:
            if asked.command == "remove":
                remove(places, purge=asked.purge)
                return 0
            options = Options(device=not asked.hub_only, start=not asked.no_start, doctor=not asked.no_doctor)
            changed = install(asked.payload.resolve(), places, options)
        except DeployError as error:
            print(f"\nretrowalk could not be installed: {error}", file=sys.stderr)
            return 1
    used = places.used()
    say(f"retrowalk {used.name if used else ''} is in use" + ("" if changed else "; nothing was changed"))
    if options.doctor and options.device:
        doctor(places)
    return 0


if __name__ == "__main__":
    sys.exit(main())
