"""Takes the settings of the card's boot partition over into the device, as root, once.

The order makes a power cut harmless at any instant.  What the device gets is written file by file, each whole, its
settings last; only then the card's file goes.  Cut before that, it is all done again at the next start, with the same
result.  The card's file is first set aside under another name, then overwritten, then deleted: half overwritten, it is
never read again.

Flash memory may keep old blocks where no program reaches them: a password that must not be found on a card that is
given away has to be changed, not deleted (docs/first-boot.md).
"""

from __future__ import annotations

import contextlib
import grp
import logging
import os
import re
import stat
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrowalk import config, logs, wholefile
from retrowalk.errors import ConfigError
from retrowalk.firstboot import card, wifi
from retrowalk.mounts import this_machine_forgets

GroupOf = Callable[[str], int]

_log = logging.getLogger("retrowalk.firstboot")

NAMES = ("retrowalk.toml", "retrowalk.toml.txt")
"""The file on the boot partition; the second is what editors make of it that hide the ends of names."""
ASIDE = "retrowalk-old.toml"
TAKEN = "retrowalk-taken.toml"
PROBLEM = "retrowalk-problem.txt"
NOT_TAKEN = "not-taken.txt"
"""Beside the device's settings: why those of the card are not in force.  The guard says so aloud."""

ETC = "etc/retrowalk"
COUNTRY = "cfg80211.ieee80211_regdom="
SERVICES = tuple(f"retrowalk-{name}.service" for name in ("guard", "voice", "courier", "bank"))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did."""

    changed: frozenset[str] = frozenset()
    """Of device, hub, wifi: what is new on the device."""
    problem: str = ""
    """Why nothing was taken: a line for each finding; empty: nothing is wrong."""


def take(boot: Path, root: Path, *, forgets: bool = False, group_of: GroupOf = lambda _: os.getegid()) -> Outcome:
    """Takes over what lies on the boot partition mounted at `boot` into the system below `root`.

    `forgets`: the system loses what is written (a read-only root).  `group_of` has the number of a group, by default
    the own one, as only root may give files away.  A card that cannot be taken is left as it is, with the reason beside
    it.  Raises `OSError` where not even that can be written.
    """
    _forget(boot)
    names = [name for name in NAMES if os.path.lexists(boot / name)]
    note = root / ETC / NOT_TAKEN
    if not names:
        was = os.path.lexists(note)
        note.unlink(missing_ok=True)
        return Outcome(frozenset({"device"} if was else ()))
    file = boot / names[0]
    try:
        if len(names) > 1:
            raise OSError(0, f"there is also {names[1]}: delete one of the two")
        if forgets:
            raise OSError(0, "the device forgets changes: switch its read-only root off first (docs/read-only.md)")
        changed = _taken(boot, root, file, group_of)
    except (ConfigError, OSError) as error:
        words = str(error) if isinstance(error, ConfigError) else f"{_named(error, file.name)}: {error.strerror}"
        problem = logs.hidden(words)
        new = _tell(boot, note, problem)
        return Outcome(frozenset({"device"} if new else ()), problem)
    had_note = os.path.lexists(note)
    for old in (boot / PROBLEM, note):
        old.unlink(missing_ok=True)
    return Outcome(changed | ({"device"} if had_note else frozenset()))


def _named(error: OSError, otherwise: str) -> str:
    return Path(error.filename).name if isinstance(error.filename, str) else otherwise


def _taken(boot: Path, root: Path, file: Path, group_of: GroupOf) -> frozenset[str]:
    etc, network = root / ETC, root / wifi.CONNECTION
    text = read(file)
    assert text is not None
    old = {path: read(path) for path in (etc / "retrowalk.toml", etc / "hub.toml", network)}
    plan = card.plan(text, *old.values(), file=file.name)
    logs.hide(*plan.secrets)
    device, hub = etc / "retrowalk.toml", etc / "hub.toml"
    changed = set()
    if plan.connection is not None and _put(network, plan.connection):
        changed.add("wifi")
    if plan.country:
        _set_country(boot / "cmdline.txt", plan.country)
        state = root / wifi.STATE
        before = read(state)
        if before is not None and _put(state, wifi.switched_on(before.decode(errors="replace"))):
            changed.add("wifi")
    for name, path, content, group in (
        ("hub", _below(root, card.HUB_PASSWORD_FILE), plan.hub_password, "retrowalk-hub"),
        ("hub", hub, plan.hub, "retrowalk-hub"),
        ("device", _below(root, card.PASSWORD_FILE), plan.broker_password, "retrowalk"),
    ):
        if content is not None and _put(path, content, group_id=group_of(group)):
            changed.add(name)
    if _put(device, plan.device, for_all=True):
        changed.add("device")
    wholefile.write(boot / TAKEN, card.taken(text))
    os.replace(file, boot / ASIDE)
    _forget(boot)
    return frozenset(changed)


def _below(root: Path, path: str) -> Path:
    return root / path.removeprefix("/")


def read(path: Path) -> bytes | None:
    """The bytes of a plain file of a settings file's size, and one more at most; None: it is not there.

    Never follows a link.  Raises `OSError`, for a link or anything but a file, too.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(handle, "rb") as opened:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(0, "is no plain file", str(path))
        return opened.read(config.FILE_MAX_BYTES + 1)


def _put(file: Path, text: str, *, group_id: int | None = None, for_all: bool = False) -> bool:
    """Writes a file where it differs; True when it did.  Readable by root alone, by a group, or by all."""
    content = text.encode()
    with contextlib.suppress(OSError):
        if read(file) == content:
            return False
    wholefile.write(file, content, for_all=for_all, group_id=group_id)
    return True


def group_of_this_machine(name: str) -> int:
    """Number of a group of this machine."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise OSError(0, f"there is no group {name}: retrowalk is not installed whole") from None


def _set_country(cmdline: Path, country: str) -> None:
    """The kernel's Wi-Fi rules by the command line, as Raspberry Pi OS keeps them; a copy of the first one is kept."""
    text = read(cmdline)
    if text is None:
        return
    words = [word for word in text.decode(errors="surrogateescape").split() if not word.startswith(COUNTRY)]
    new = (" ".join([*words, COUNTRY + country]) + "\n").encode(errors="surrogateescape")
    if new.split() == text.split():
        return
    before = cmdline.with_name("cmdline.before-retrowalk.txt")
    if not os.path.lexists(before):
        wholefile.write(before, text)
    wholefile.write(cmdline, new)


def _forget(boot: Path) -> None:
    """Overwrites and deletes a file that was set aside, by this run or by one that was cut off."""
    old = boot / ASIDE
    try:
        handle = os.open(old, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError:  # a link: nothing of ours
        old.unlink()
        return
    try:
        # In place, and not made shorter before: FAT then writes to the same blocks.
        left = os.fstat(handle).st_size
        while left > 0:
            left -= os.write(handle, b" " * min(left, config.FILE_MAX_BYTES))
        os.fsync(handle)
    finally:
        os.close(handle)
    old.unlink()
    _settle(boot)


def _settle(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _tell(boot: Path, note: Path, problem: str) -> bool:
    """Leaves the reason on the card and beside the settings, for the guard; True when that is news to the guard.

    A card that is full or read-only does not keep it from the guard.
    """
    text = (
        "retrowalk has not taken the settings in retrowalk.toml.  What is wrong, a line each (no value is shown):\n\n"
        f"{problem}\n\nMend the file, put the card back and start the Pi.  Until then the settings from before hold.\n"
    )
    try:
        # Line ends that every editor shows.
        _put(boot / PROBLEM, text.replace("\n", "\r\n"))
    finally:
        new = note.parent.is_dir() and _put(note, f"{problem}\n", for_all=True)
    return new


# ---------------------------------------------------------------------------------------------------- afterwards, live

RFKILL = "/dev/rfkill"
_UNBLOCK_WLAN = struct.pack("=IBBBB", 0, 1, 3, 0, 0)
"""struct rfkill_event of linux/rfkill.h: every device (CHANGE_ALL) of type WLAN, neither soft nor hard blocked."""


def follow_up(outcome: Outcome) -> tuple[tuple[str, ...], ...]:
    """The commands by which what runs takes up what changed; none waits for anything, and none holds a value."""
    commands: list[tuple[str, ...]] = []
    if "device" in outcome.changed:
        # One that waits for its start is not running yet and finds the new settings by itself.
        commands.append(("/usr/bin/systemctl", "--no-block", "try-restart", *SERVICES))
    if "hub" in outcome.changed:
        hub = "retrowalk-hub.service"
        commands.append(("/usr/bin/systemctl", "--no-block", "enable", hub))
        commands.append(("/usr/bin/systemctl", "--no-block", "restart", hub))
    return tuple(commands)


def unblock_wifi(device: str = RFKILL) -> None:
    """Lets the radio send: Raspberry Pi OS keeps it blocked until a country is known.  Without a radio: nothing."""
    with contextlib.suppress(OSError):
        handle = os.open(device, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(handle, _UNBLOCK_WLAN)
        finally:
            os.close(handle)


def run(boot: Path, root: Path) -> Outcome:
    """A whole run, for the service (`root` /) and for tests; a real device is told to take up what changed."""
    real = root == Path("/")
    if real:
        outcome = take(boot, root, forgets=this_machine_forgets("/"), group_of=group_of_this_machine)
    else:
        outcome = take(boot, root)
    for line in outcome.problem.splitlines():
        _log.error("settings of the card are not taken: %s", line, extra=logs.about("config.rejected", part="config"))
    if outcome.changed:
        _log.info("settings of the card are taken: %s", ", ".join(sorted(outcome.changed)))
    if real:
        if "wifi" in outcome.changed:
            unblock_wifi()
        for command in follow_up(outcome):
            _run(command)
    return outcome


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        _log.warning("%s: %s", " ".join(command), error)
        return
    if done.returncode != 0:
        words = re.sub(r"\s+", " ", done.stderr.decode(errors="replace")).strip()
        _log.warning("%s: status %d: %s", " ".join(command), done.returncode, words)
