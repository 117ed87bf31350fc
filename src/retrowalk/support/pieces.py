"""What goes into the file for whoever helps, piece by piece.

A piece is a name, a sentence of what it is, and a function that makes its text.  It may raise whatever it likes, be
slow or hang: `bundle` gives each its time, and writes down why one is missing.  No piece opens a device, wakes a
process or changes anything; `doctor --quick`, which looks at sensors through the guard that runs, is one of them.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrowalk import __version__
from retrowalk.calibration import FILE_NAME as CALIBRATION
from retrowalk.config import Config
from retrowalk.doctor.machine import Machine
from retrowalk.hub.settings import HubConfig
from retrowalk.support.secrets import FILES, SECRET_NAME, Hidden, settings_text

UNITS = tuple(
    word
    for name in ("guard", "voice", "courier", "bank", "hub", "poweroff", "firstboot")
    for word in ("-u", f"retrowalk-{name}.service")
)
"""Which lines of the journal are ours, systemd's own about them included."""
JOURNAL_LINES = 4000
KERNEL_LINES = 300
NO_LINE = "the journal has no such line, or does not show it to this person (group systemd-journal, or sudo)"
NAMES_MAX = 2000
"""So many files are named with their sizes."""
DOCTOR_S = 16.0
JOURNAL_S = 8.0
PROPERTIES = (
    "Id,LoadState,ActiveState,SubState,Result,NRestarts,ExecMainStartTimestamp,ExecMainStatus,ExecMainCode,StatusText,"
    "MemoryCurrent,CPUUsageNSec,TasksCurrent,WatchdogUSec,UnitFileState,InvocationID"
)
ENVIRONMENT_SHOWN = ("LANG", "LC_ALL", "TZ", "PATH", "RETROWALK_DATA", "JOURNAL_STREAM")
OURS = re.compile(r"RETROWALK|GPIOZERO|LG_|XDG_|PYTHON|ALSA|PULSE|PIPEWIRE|STATE_DIR|RUNTIME_DIR|SUDO_USER")
"""Variables that change what the program does; named without their values."""
PROC = ("meminfo", "loadavg", "uptime", "swaps", "pressure/cpu", "pressure/memory", "pressure/io", "asound/cards")
BOOT_FILES = ("config.txt", "cmdline.txt")
PACKAGES = (
    "gpiozero",
    "lgpio",
    "smbus2",
    "pyserial",
    "pyttsx3",
    "paho-mqtt",
    "msgspec",
    "click",
    "rich",
    "mcap",
    "apprise",
)
STATE_SHOWN = ("t_saved_s", "guard_state", "accepted", "sound_confirmed", "last_alert", "untold")
"""Of the saved state, what says nothing of the walker."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are on this device."""

    config: Path
    hub_config: Path
    state: Path
    hub_state: Path
    run: Path
    boot: tuple[Path, ...] = (Path("/boot/firmware"), Path("/boot"))
    networks: tuple[Path, ...] = (Path("/etc/NetworkManager/system-connections"), Path("/etc/wpa_supplicant"))
    """Read for their secrets alone, so that these can be blotted out elsewhere; nothing of them is shown."""
    etc: Path = Path("/etc/retrowalk")


@dataclass(frozen=True, slots=True)
class Source:
    """All that a piece may ask."""

    places: Places
    machine: Machine
    hidden: Hidden
    since: str = "-24h"
    """As journalctl takes it."""
    doctor: tuple[str, ...] = (sys.executable, "-m", "retrowalk", "doctor", "--quick", "--json")
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    asked: dict[tuple[str, ...], list[Line]] = field(default_factory=dict)
    """What the journal has answered already."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of the bundle."""

    name: str
    what: str
    make: Callable[[Source], str]
    seconds: float = 5.0
    """So long it may take."""


# ------------------------------------------------------------------------------------------- secrets that can be read


def learn_secrets(source: Source) -> str:
    """Reads every secret that this person may read, so that it can be blotted out wherever it turns up; no text."""
    places, hidden = source.places, source.hidden
    for file, root in ((places.config, Config), (places.hub_config, HubConfig)):
        text = _bytes(file)
        if text is not None:
            settings_text(text, root, hidden)
            for name in re.findall(rb'^\s*\w+_file\s*=\s*"([^"]+)"', text, re.MULTILINE):
                hidden.add(_lines(Path(os.fsdecode(name)), 64 * 1024))
    for last_good in places.state.glob("last-good*"):
        text = _bytes(last_good)
        if text is not None:
            settings_text(text, Config, hidden)
    for folder in (*places.networks, places.etc, *places.boot):
        for file in _files(folder, 200):
            if folder in places.networks or SECRET_NAME.search(file.name):
                for line in _lines(file, 256 * 1024):
                    key, _, value = line.partition("=")
                    if SECRET_NAME.search(key):
                        hidden.add([value.strip().strip("\"'")])
                if folder not in places.networks:
                    hidden.add(_lines(file, 4096))
            elif file.suffix == ".toml":
                text = _bytes(file)
                if text is not None and file not in (places.config, places.hub_config):
                    settings_text(text, Config, hidden)
    hidden.add(value for name, value in source.environ.items() if SECRET_NAME.search(name) and not FILES.search(name))
    return ""


def _bytes(file: Path, most: int = 512 * 1024) -> bytes | None:
    try:
        with file.open("rb") as opened:
            return opened.read(most)
    except OSError:
        return None


def _lines(file: Path, most: int) -> list[str]:
    return [line.strip() for line in (_bytes(file, most) or b"").decode(errors="replace").splitlines()]


def _files(folder: Path, most: int) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))[:most]
    except OSError:
        return
    for name in names:
        file = folder / name
        if file.is_file():
            yield file


# ---------------------------------------------------------------------------------------------------------- the pieces


def version(source: Source) -> str:
    """Program, Python, system, board, packages."""
    machine = source.machine
    lines = [f"retrowalk {__version__}", f"Python {sys.version.split()[0]} at {sys.prefix}"]
    for title, path in (("board", "/proc/device-tree/model"), ("kernel", "/proc/version")):
        lines.append(f"{title}: {_read(machine, path)}")
    system = re.search(r'^PRETTY_NAME="?([^"\n]+)', _read(machine, "/etc/os-release"), re.MULTILINE)
    lines.append(f"system: {system[1] if system else '(unknown)'}")
    lines += [f"{name} {machine.version(name) or '(not installed)'}" for name in PACKAGES]
    person = machine.person()
    lines.append(f"groups of who made this: {', '.join(sorted(person.groups))}")
    return "\n".join(lines) + "\n"


def settings(source: Source) -> str:
    """The device's settings, secrets replaced."""
    return _settings(source.places.config, Config, source.hidden)


def hub_settings(source: Source) -> str:
    """The hub's settings, secrets and names replaced."""
    return _settings(source.places.hub_config, HubConfig, source.hidden)


def _settings(file: Path, root: Any, hidden: Hidden) -> str:
    with file.open("rb") as opened:
        text = opened.read(512 * 1024)
    mode = file.stat()
    return f"# {file}, {mode.st_size} bytes, mode {mode.st_mode & 0o7777:04o}\n" + settings_text(text, root, hidden)


def last_good(source: Source) -> str:
    """How the settings differ from the last ones that were in order."""
    places = source.places
    kept = places.state / "last-good.toml"
    before = settings_text(kept.read_bytes(), Config, source.hidden)
    try:
        now = settings_text(places.config.read_bytes(), Config, source.hidden)
    except OSError as error:
        return f"# {places.config} cannot be read ({error.strerror}); the last that was in order:\n{before}"
    if before == now:
        return "no difference\n"
    lines = difflib.unified_diff(before.splitlines(), now.splitlines(), "last-good.toml", "retrowalk.toml", lineterm="")
    return "\n".join(lines) + "\n"


def calibration(source: Source) -> str:
    """Whether the walker was measured; not what was measured."""
    table = json.loads((source.places.state / CALIBRATION).read_bytes())
    counts = {name: len(value) for name, value in table.items() if isinstance(value, list)}
    return "".join(f"{name}: {count}\n" for name, count in counts.items()) or "empty\n"


def units(source: Source) -> str:
    """What systemd says of each unit."""
    return source.machine.run("systemctl", "show", "retrowalk*", "--all", "-p", PROPERTIES) or "systemd knows no unit\n"


@dataclass(frozen=True, slots=True)
class Line:
    """An entry of the journal."""

    wall_s: float
    identifier: str
    priority: int
    message: str
    event: str = ""
    part: str = ""
    fault: str = ""


def journal_lines(text: str) -> Iterator[Line]:
    """What `journalctl -o json` prints; what is no entry is passed over."""
    for row in text.splitlines():
        try:
            entry = json.loads(row)
            message = entry.get("MESSAGE") or ""
            if isinstance(message, list):  # bytes that are no UTF-8
                message = bytes(message).decode(errors="replace")
            yield Line(
                int(entry["__REALTIME_TIMESTAMP"]) / 1e6,
                str(entry.get("SYSLOG_IDENTIFIER", "?")),
                int(entry.get("PRIORITY", 6)),
                str(message),
                str(entry.get("RETROWALK_EVENT", "")),
                str(entry.get("RETROWALK_PART", "")),
                str(entry.get("RETROWALK_FAULT", "")),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue


def _journal(source: Source, *which: str) -> list[Line]:
    command = ("journalctl", *which, "--since", source.since, "-o", "json", "--no-pager", "-q")
    if which not in source.asked:
        try:
            source.asked[which] = list(journal_lines(command_output(command, JOURNAL_S)))
        except OSError as error:
            raise OSError(f"{error}; {NO_LINE}") from error
    found = source.asked[which]
    if not found:
        raise OSError(NO_LINE)
    return found


def journal(source: Source) -> str:
    """Lines of retrowalk's units."""
    found = _journal(source, "-n", str(JOURNAL_LINES), *UNITS)
    return "".join(_shown(line) for line in found)


def kernel(source: Source) -> str:
    """What the kernel complained of."""
    return "".join(_shown(line) for line in _journal(source, "-k", "-p", "warning", "-n", str(KERNEL_LINES)))


def _shown(line: Line) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(line.wall_s))
    words = line.message.replace("\n", "\n    ")
    return f"{when}.{int(line.wall_s * 1000) % 1000:03d}Z {line.identifier} <{line.priority}> {words}\n"


def faults(source: Source) -> str:
    """How often each fault began, and what the table of faults says of it."""
    found = _journal(source, "-n", str(JOURNAL_LINES), *UNITS)
    began = Counter((line.part, line.fault) for line in found if line.event in ("fault.raised", "sensor.lost"))
    lines = [f"{count:6} {part} {fault}" for (part, fault), count in began.most_common()]
    lines = lines or ["no fault began"]
    from retrowalk.core import fault_table

    known = {(row.part, row.fault): row for row in fault_table.TABLE}
    for key in began:
        row = known.get(key)
        if row is not None:
            lines.append(
                f"{row.part} {row.fault}: {row.detected}; still protects: {row.protects}; ends: {row.recovers}"
            )
    return "\n".join(lines) + "\n"


def doctor(source: Source) -> str:
    """The doctor's report as JSON; it says, switches and asks nothing."""
    text = command_output(source.doctor, DOCTOR_S)
    json.loads(text)
    return text


def doctor_page(report: str) -> str:
    """The same report as a page to read."""
    import io

    from rich.console import Console

    from retrowalk.doctor.page import show
    from retrowalk.doctor.report import Check, Report, State

    checks = tuple(Check(**{**check, "state": State(check["state"])}) for check in json.loads(report)["checks"])
    page = io.StringIO()
    show(Console(file=page, width=100), Report(checks))
    return page.getvalue()


def state(source: Source) -> str:
    """What the guard keeps for its next life, without what it knows of the walker."""
    from retrowalk.guard.state import Kept, StateFile
    from retrowalk.wire import decode

    lines: list[str] = []
    copy = _bytes(source.places.state / "guard.state")
    for where, kept in (
        ("run directory", StateFile(source.places.run).read()),
        ("card", decode(copy, Kept) if copy else None),
    ):
        if kept is None:
            lines.append(f"{where}: nothing")
            continue
        shown = {} if kept.state is None else {name: getattr(kept.state, name) for name in STATE_SHOWN}
        waiting = Counter(event.priority for event in kept.events)
        lines.append(f"{where}: write {kept.count}, session {kept.session}, {shown}, events waiting: {dict(waiting)}")
    return "\n".join(lines) + "\n"


def outbox(source: Source) -> str:
    """How many events wait and how many were delivered, by priority; nothing of what they say."""
    file = source.places.state / "outbox.db"
    query = (
        "SELECT priority, delivered IS NULL AS waits, count(*), sum(length(data)) FROM outbox"
        " GROUP BY priority, waits ORDER BY rank, waits DESC"
    )
    lines = []
    with closing(_database(file)) as db:
        for priority, waits, count, size in db.execute(query):
            lines.append(f"{'waiting' if waits else 'delivered, kept as copy'}: {count} {priority}, {size} bytes")
        for key, value in db.execute("SELECT key, value FROM meta WHERE key NOT LIKE 'kept.%' ORDER BY key"):
            lines.append(f"{key}: {value}")
    return "\n".join(lines) + "\n"


def messages(source: Source) -> str:
    """The events themselves, the latest first: only when asked for."""
    with closing(_database(source.places.state / "outbox.db")) as db:
        rows = db.execute(
            "SELECT seq, type, priority, wall_s, clock, delivered IS NULL, data FROM outbox"
            " ORDER BY seq DESC LIMIT 1000"
        )
        names = ("seq", "type", "priority", "wall_s", "clock", "waits", "data")
        return "".join(
            json.dumps(dict(zip(names, [*row[:-1], json.loads(row[-1])], strict=True))) + "\n" for row in rows
        )


def hub_store(source: Source) -> str:
    """How much the hub keeps."""
    tables = ("event", "alert", "notice", "attempt", "odd", "gap", "command", "answer")
    with closing(_database(source.places.hub_state / "hub.db")) as db:
        there = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        counts = {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables if name in there}
    return "".join(f"{name}: {count}\n" for name, count in counts.items())


def _database(file: Path) -> sqlite3.Connection:
    """Read-only, and without a file being made beside it: a log of another owner would keep the courier out."""
    file.stat()
    logged = file.with_name(file.name + "-wal").exists() and file.with_name(file.name + "-shm").exists()
    for how in ("mode=ro", "mode=ro&immutable=1") if logged else ("mode=ro&immutable=1",):
        db = sqlite3.connect(f"file:{file}?{how}", uri=True, timeout=1.0)
        try:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error:
            db.close()
            continue
        return db
    raise OSError(f"{file}: cannot be opened")


def sizes(source: Source) -> str:
    """Every file of ours with its size, owner, mode and age."""
    places = source.places
    lines: list[str] = []
    for folder in (places.state, places.run, places.hub_state, places.etc):
        lines.append(f"{folder}:")
        count = 0
        for root, folders, names in os.walk(folder, onerror=lambda error: lines.append(f"  {error}")):
            folders.sort()
            for name in sorted(names):
                count += 1
                if count > NAMES_MAX:
                    continue
                file = Path(root) / name
                try:
                    found = file.lstat()
                except OSError as error:
                    lines.append(f"  {file}: {error.strerror}")
                    continue
                age = source.machine.wall_s() - found.st_mtime
                owner = f"{found.st_uid}:{found.st_gid} {found.st_mode & 0o7777:04o}"
                lines.append(f"  {found.st_size:12} {owner} {age / 3600:9.1f} h  {file.relative_to(folder)}")
        if count > NAMES_MAX:
            lines.append(f"  ... {count - NAMES_MAX} more")
        try:
            room = os.statvfs(folder)
            free = room.f_bavail * room.f_frsize // 1_000_000
            lines.append(f"  ({free} MB free of {room.f_blocks * room.f_frsize // 1_000_000} MB)")
        except OSError as error:
            lines.append(f"  {error.strerror}")
    return "\n".join(lines) + "\n"


def boot(source: Source) -> str:
    """Lines of the Pi's boot configuration that count."""
    lines: list[str] = []
    for folder in source.places.boot:
        for name in BOOT_FILES:
            found = [line for line in _lines(folder / name, 64 * 1024) if line and not line.startswith("#")]
            if found:
                lines += [f"{folder / name}:", *(f"  {line}" for line in found)]
    if not lines:
        raise OSError("no boot configuration is here: this is no Raspberry Pi")
    return "\n".join(lines) + "\n"


def computer(source: Source) -> str:
    """Memory, load, disks, heat, voltage."""
    machine = source.machine
    lines: list[str] = []
    for name in PROC:
        text = _read(machine, f"/proc/{name}")
        if text:
            lines += [f"/proc/{name}:", *(f"  {line}" for line in text.splitlines()[:60])]
    mounts = [line for line in _read(machine, "/proc/mounts").splitlines() if line.startswith("/dev/")]
    lines += ["mounts:", *(f"  {line}" for line in mounts[:40])]
    heat = _read(machine, "/sys/class/thermal/thermal_zone0/temp")
    lines.append(f"processor: {int(heat) / 1000:.1f} C" if heat.isdigit() else "processor: no thermometer")
    for path in ("/sys/devices/platform/soc/soc:firmware/get_throttled",):
        lines.append(f"throttled: {_read(machine, path) or '(unknown)'}")
    for name in machine.names("/sys/class/hwmon"):
        if _read(machine, f"/sys/class/hwmon/{name}/name") == "rpi_volt":
            alarm = _read(machine, f"/sys/class/hwmon/{name}/in0_lcrit_alarm")
            lines.append(f"undervoltage alarm: {alarm or '(unknown)'}")
    for name in machine.names("/dev"):
        if re.match(r"(gpiochip|i2c-|ttyAMA|ttyUSB|serial|watchdog|rtc)", name):
            lines.append(f"/dev/{name}{'' if machine.may_use(f'/dev/{name}') else ' (not for this person)'}")
    return "\n".join(lines) + "\n"


def environment(source: Source) -> str:
    """Names of what is set, and the few values that are none of a secret."""
    shown = [f"{name}={source.environ[name]}" for name in ENVIRONMENT_SHOWN if name in source.environ]
    others = sorted(name for name in source.environ if OURS.match(name) and name not in ENVIRONMENT_SHOWN)
    return "\n".join([*shown, f"also set: {', '.join(others) or 'nothing that matters here'}"]) + "\n"


def _read(machine: Machine, path: str) -> str:
    try:
        return machine.read(path).decode(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def command_output(command: tuple[str, ...], seconds: float) -> str:
    """What a command prints, ended with all that it started when it takes longer.  Raises `OSError`."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        with contextlib.suppress(subprocess.TimeoutExpired):  # in the kernel's hands: it ends when its disk answers
            process.wait(1.0)
        raise OSError(f"{Path(command[0]).name} did not answer within {seconds:g} s") from None
    finally:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    if not out.strip():
        said = " ".join(err.decode(errors="replace").split())[-300:]
        raise OSError(f"{Path(command[0]).name} said nothing{': ' + said if said else ''}")
    return out.decode(errors="replace")


PIECES: tuple[Piece, ...] = (
    Piece("version.txt", "program, Python, system, board and packages", version),
    Piece("doctor.json", "the doctor's report, for programs", doctor, DOCTOR_S + 1.0),
    Piece("units.txt", "what systemd says of each unit", units),
    Piece("journal.txt", "lines of retrowalk's units", journal, JOURNAL_S + 1.0),
    Piece("faults.txt", "how often each fault began", faults, JOURNAL_S + 1.0),
    Piece("kernel.txt", "what the kernel complained of", kernel, JOURNAL_S + 1.0),
    Piece("settings.toml", "the settings, secrets replaced, comments left out", settings),
    Piece("last-good.diff", "how they differ from the last ones that were in order", last_good),
    Piece("hub-settings.toml", "the hub's settings, secrets and names replaced", hub_settings),
    Piece("calibration.txt", "how often the walker was measured", calibration),
    Piece("state.txt", "what the guard keeps for its next life, without what it knows of the walker", state),
    Piece("outbox.txt", "how many events wait, by priority", outbox),
    Piece("hub-store.txt", "how much the hub keeps", hub_store),
    Piece("files.txt", "files of retrowalk with sizes, and the room that is left", sizes),
    Piece("boot.txt", "the lines of the Pi's boot configuration", boot),
    Piece("computer.txt", "memory, load, disks, heat, voltage, devices", computer),
    Piece("environment.txt", "names of environment variables", environment),
)
"""In the order in which they are made."""

MESSAGES = Piece("messages.jsonl", "the latest events themselves", messages)
