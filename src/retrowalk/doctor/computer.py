"""What the computer itself must be and have: board, groups, pins' chip, bus speed, sound cards, clock, disk, services.

Functions from a `Machine` to lines.  Sources: Raspberry Pi documentation for config.txt, the traps met on real kernels.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrowalk import __version__, mounts
from retrowalk.config import A02yyuw, Config, HcSr04, TfLuna, Vl53l1x
from retrowalk.doctor.machine import Machine, text
from retrowalk.doctor.report import Check, State

OK, LOOK, BAD = State.OK, State.LOOK, State.BAD

CONFIG_TXT = "/boot/firmware/config.txt"
I2C_BUS = 1
BUS_HZ = 400_000
HEADER_LABELS = ("pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1")
"""Labels of the chip behind the 40-pin header: Zero to 3, 4, 5.  Its number differs from kernel to kernel."""
LIBRARIES = ("gpiozero", "lgpio", "smbus2", "pyserial", "pyttsx3", "paho-mqtt", "msgspec", "mcap")
MB = 1_000_000
LITTLE_MB, TOO_LITTLE_MB = 500, 50
UNSET_BEFORE_S = 1_767_225_600.0
"""2026-01-01: a clock that shows less was never set."""
SERVICES = ("retrowalk-guard", "retrowalk-voice", "retrowalk-courier")


def board(machine: Machine) -> str:
    """Model of the Raspberry Pi; empty: this is none."""
    model = text(machine, "/proc/device-tree/model")
    return model if model.startswith("Raspberry Pi") else ""


def look_at_board(machine: Machine) -> Iterator[Check]:
    """The Pi, its system and the versions of what runs on it."""
    model = board(machine)
    system = re.search(r'^PRETTY_NAME="?([^"\n]+)', text(machine, "/etc/os-release"), re.MULTILINE)
    kernel = text(machine, "/proc/sys/kernel/osrelease") or "unknown kernel"
    where = f"{system[1] if system else 'unknown system'}, Linux {kernel}"
    if model:
        yield Check("computer.board", OK, "board", f"{model}; {where}.")
    else:
        yield Check(
            "computer.board",
            BAD,
            "board",
            f"This is not a Raspberry Pi ({where}): it has no pins and no sensors.",
            "Run this on the device itself. To see a simulated walk here: retrowalk demo",
        )
    found = {name: machine.version(name) for name in LIBRARIES}
    missing = [name for name, version in found.items() if not version]
    shown = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    python = platform.python_version()
    if missing:
        mend = f"Install retrowalk again; missing: {', '.join(missing)}"
        yield Check("retrowalk.versions", BAD, "versions", f"Not installed: {', '.join(missing)}.", mend)
    elif found["lgpio"].startswith("0.0."):
        detail = f"lgpio {found['lgpio']} is another program of that name."
        yield Check("retrowalk.versions", BAD, "versions", detail, 'pip install --upgrade "lgpio>=0.2.2"')
    else:
        yield Check("retrowalk.versions", OK, "versions", f"retrowalk {__version__}, Python {python}, {shown}.")


# ------------------------------------------------------------------------------------------- what may be used


@dataclass(frozen=True, slots=True)
class _Need:
    group: str
    path: str
    what: str


def _needs(machine: Machine, config: Config) -> Iterator[_Need]:
    yield _Need("gpio", f"/dev/gpiochip{header_number(machine)}", "pins")
    yield _Need("i2c", f"/dev/i2c-{I2C_BUS}", "I2C bus")
    for sensor in config.range_sensor:
        if isinstance(sensor, A02yyuw):
            yield _Need("dialout", sensor.port, "serial port")
    for name in machine.names("/dev/snd"):
        if re.fullmatch(r"pcmC\d+D\d+p", name):
            yield _Need("audio", f"/dev/snd/{name}", "sound")


def look_at_rights(machine: Machine, config: Config) -> Iterator[Check]:
    """Whether this person may use pins, bus, serial port and sound, and the command that mends it."""
    try:
        person = machine.person()
    except OSError as error:
        yield Check("computer.rights", LOOK, "permissions", f"Nobody knows who runs this: {error}.")
        return
    closed = [need for need in _needs(machine, config) if machine.exists(need.path) and not machine.may_use(need.path)]
    if not closed:
        yield Check("computer.rights", OK, "permissions", f"{person.name} may use everything that is there.")
        return
    what = ", ".join(dict.fromkeys(f"{need.what} ({need.path})" for need in closed))
    detail = f"{person.name} may not use: {what}."
    groups = sorted({need.group for need in closed})
    new = [group for group in groups if group not in person.member_of]
    if new:
        mend = f"sudo usermod -aG {','.join(new)} {person.name}   then log out and in again"
    elif not all(group in person.groups for group in groups):
        mend = f"{person.name} is in the group already, but not in this session: log out and in again"
    else:
        paths = " ".join(dict.fromkeys(need.path for need in closed))
        mend = f"The device rules are missing: copy systemd/udev of the project to /etc/udev/rules.d, restart ({paths})"
    yield Check("computer.rights", BAD, "permissions", detail, mend)


def look_at_lgpio_directory(machine: Machine) -> Iterator[Check]:
    """lgpio makes a FIFO in its directory when it is imported, and fails where it cannot."""
    directory = os.environ.get("LG_WD") or "."
    shown = f"LG_WD={directory}" if directory != "." else f"the working directory, {Path.cwd()}"
    try:
        problem = machine.space(directory).problem
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        mend = "cd to a directory of your own, or: LG_WD=/tmp retrowalk doctor"
        yield Check("pins.lgpio", BAD, "lgpio", f"lgpio cannot write to {shown}: {problem}.", mend)
    else:
        yield Check("pins.lgpio", OK, "lgpio", f"lgpio can write to {shown}.")


# --------------------------------------------------------------------------------------------------- pins, bus


def header_number(machine: Machine) -> int:
    """Number of the gpiochip that gpiozero opens: 4 on a Pi 5 whose kernel has it, else 0."""
    return 4 if "Raspberry Pi 5" in board(machine) and machine.exists("/dev/gpiochip4") else 0


def look_at_gpio_chip(machine: Machine) -> Iterator[Check]:
    """The chip of the header by its label: its number is not the same on every kernel."""
    labels: dict[str, str] = {}
    for name in machine.names("/dev"):
        if name.startswith("gpiochip"):
            try:
                labels[name] = machine.gpio_label(f"/dev/{name}")
            except OSError as error:
                labels[name] = f"({error.strerror or error})"
    header = [name for name, label in labels.items() if label in HEADER_LABELS]
    opened = f"gpiochip{header_number(machine)}"
    shown = ", ".join(f"{name} {label}" for name, label in labels.items())
    if opened in header:
        yield Check("pins.chip", OK, "pin chip", f"The header is {opened}, {labels[opened]}.")
    elif header:
        detail = f"The header is {header[0]} ({labels[header[0]]}), but gpiozero opens {opened}."
        yield Check(
            "pins.chip", BAD, "pin chip", detail, "sudo apt full-upgrade, then restart: kernel and gpiozero differ"
        )
    elif any(label.startswith("(") for label in labels.values()):
        yield Check("pins.chip", LOOK, "pin chip", f"Not to be opened: {shown}.", "See permissions.")
    elif labels:
        detail = f"No chip of the header among: {shown}."
        yield Check("pins.chip", BAD, "pin chip", detail, "sudo apt full-upgrade, then restart")
    else:
        mend = "Use a kernel of Raspberry Pi OS; it has /dev/gpiochip0"
        yield Check("pins.chip", BAD, "pin chip", "There is no gpiochip in /dev.", mend)


def look_at_bus_speed(machine: Machine) -> Iterator[Check]:
    """Whether the bus is switched on, and how fast it is."""
    device = f"/dev/i2c-{I2C_BUS}"
    lines = "dtparam=i2c_arm=on and dtparam=i2c_arm_baudrate=400000"
    if not machine.exists(device):
        mend = f"Write {lines} (a line each) into {CONFIG_TXT}, sudo modprobe i2c-dev, restart"
        yield Check("bus.speed", BAD, "bus", f"{device} is not there: I2C is switched off.", mend)
        return
    try:
        raw = machine.read(f"/sys/class/i2c-adapter/i2c-{I2C_BUS}/of_node/clock-frequency")
    except OSError:
        yield Check("bus.speed", LOOK, "bus", f"{device} is there; its speed cannot be told.")
        return
    hertz = int.from_bytes(raw[:4], "big")
    if hertz == BUS_HZ:
        yield Check("bus.speed", OK, "bus", f"{device} runs at {hertz // 1000} kHz.")
    else:
        mend = f"Write dtparam=i2c_arm_baudrate=400000 into {CONFIG_TXT} and restart"
        why = "reading the sensors takes too long" if hertz < BUS_HZ else "cables and chips are made for less"
        yield Check("bus.speed", LOOK, "bus", f"{device} runs at {hertz // 1000} kHz, not 400: {why}.", mend)


# ------------------------------------------------------------------------------------------------------- sound


@dataclass(frozen=True, slots=True)
class Card:
    """A sound card of ALSA."""

    number: int
    name: str
    words: str


def cards(machine: Machine) -> list[Card]:
    """The sound cards, by /proc/asound/cards."""
    lines = text(machine, "/proc/asound/cards").splitlines()
    found = (re.match(r"\s*(\d+) \[(\S+)\s*\]: (.*)", line) for line in lines)
    return [Card(int(match[1]), match[2], match[3].strip()) for match in found if match]


def look_at_cards(machine: Machine, config: Config) -> Iterator[Check]:
    """Sound cards by name, and whether the settings name one of them."""
    device = config.voice.device
    there = cards(machine)
    names = [card.name for card in there]
    shown = ", ".join(names)
    if not there:
        mend = f"Plug the sound device in; for the Pi's own write dtparam=audio=on into {CONFIG_TXT} and restart"
        yield Check("sound.cards", BAD, "sound card", "There is no sound card.", mend)
        return
    named = re.search(r"CARD=([^,]+)", device) or re.search(r"hw:([A-Za-z]\w*)", device)
    numbered = re.search(r"hw:(\d+)", device) or re.search(r"CARD=(\d+)", device)
    # A screen at the HDMI socket is no voice that is worn.
    better = next((card.name for card in there if "hdmi" not in card.name.lower()), "")
    instead = f'Set device = "plughw:CARD={better or names[0]}" under [voice]'
    if numbered:
        detail = f"voice.device = {device} names a card by its number, which changes. Cards: {shown}."
        yield Check("sound.cards", LOOK, "sound card", detail, instead)
    elif named and named[1] not in names:
        detail = f"voice.device = {device}: there is no card {named[1]}. Cards: {shown}."
        yield Check("sound.cards", BAD, "sound card", detail, f"Plug it in, or: {instead}")
    elif not named and not better:
        detail = f"voice.device = {device}, and the only card is a screen's ({shown})."
        yield Check("sound.cards", LOOK, "sound card", detail, "Plug in a speaker or an open-ear device that is worn")
    else:
        yield Check("sound.cards", OK, "sound card", f"voice.device = {device}; cards: {shown}.")


# --------------------------------------------------------------------------------------------------- clock, disk


def look_at_clock(machine: Machine) -> Iterator[Check]:
    """What wall time is worth: the caregiver reads it, nothing is decided by it."""
    rtc = machine.exists("/dev/rtc0")
    battery = "with a battery clock" if rtc else "without a battery clock"
    if machine.wall_s() < UNSET_BEFORE_S:
        mend = "Connect to a network once: the clock is set by itself (timedatectl shows it)"
        yield Check("computer.clock", LOOK, "clock", f"The clock was never set, {battery}.", mend)
    elif machine.exists("/run/systemd/timesync/synchronized"):
        yield Check("computer.clock", OK, "clock", f"Set by the network, {battery}.")
    else:
        detail = f"Not set by the network since the start, {battery}: times in messages may be wrong."
        yield Check("computer.clock", LOOK, "clock", detail, "sudo timedatectl set-ntp true, and a network once")


def look_at_disk(machine: Machine, state_dir: str) -> Iterator[Check]:
    """Room for events and recordings."""
    try:
        space = machine.space(state_dir)
    except OSError as error:
        yield Check("computer.disk", BAD, "disk", f"{state_dir}: {error.strerror or error}.", "Check the card")
        return
    free_mb = space.free_bytes // MB
    room = f"{free_mb / 1000:.1f} GB" if free_mb >= 1000 else f"{free_mb} MB"
    if "read-only" in space.problem.lower():
        mend = "The card may be failing: save what is on it. Or make the state directory writable"
        yield Check("computer.disk", BAD, "disk", f"{state_dir} is read-only: no event can be kept.", mend)
    elif space.problem and free_mb >= TOO_LITTLE_MB:
        mend = f"As its owner, or: sudo retrowalk doctor   (directory {state_dir})"
        yield Check("computer.disk", LOOK, "disk", f"{state_dir} cannot be written by you: {space.problem}.", mend)
    elif space.problem or free_mb < TOO_LITTLE_MB:
        mend = f"Make room: delete recordings in {state_dir}/recordings, or lower recording.total_max_mb"
        yield Check("computer.disk", BAD, "disk", f"{state_dir} is full: {room} left.", mend)
    elif free_mb < LITTLE_MB:
        mend = f"Make room, or lower recording.total_max_mb; recordings lie in {state_dir}/recordings"
        yield Check("computer.disk", LOOK, "disk", f"{state_dir} has only {room} left.", mend)
    else:
        yield Check("computer.disk", OK, "disk", f"{state_dir} has {room} left.")


def look_at_readonly_root(machine: Machine, state_dir: str) -> Iterator[Check]:
    """Whether the card is protected from writes, and whether what must be kept is kept all the same."""
    mountinfo, cmdline = text(machine, "/proc/self/mountinfo"), text(machine, "/proc/cmdline")
    root = mounts.mount_of("/", mountinfo)
    if root is None or not (root.read_only or mounts.forgets("/", mountinfo, cmdline)):
        return
    if mounts.forgets(state_dir, mountinfo, cmdline):
        detail = f"Read-only, and {state_dir} is in memory: recordings and events that wait are lost at power-off."
        mend = "Give it a partition of its own: docs/read-only.md"
        yield Check("computer.readonly_root", LOOK, "read-only root", detail, mend)
    else:
        yield Check("computer.readonly_root", OK, "read-only root", f"The card is protected; {state_dir} is kept.")


# ----------------------------------------------------------------------------------------------------- services


def services(machine: Machine) -> list[str]:
    """State of each of `SERVICES` by systemd; empty: it has none of them, or none was started."""
    try:
        states = machine.run("systemctl", "is-active", *SERVICES).split()
    except OSError:
        return []
    known = len(states) == len(SERVICES) and set(states) != {"inactive"} and "offline" not in states
    return states if known else []


def look_at_services(machine: Machine, *, running: bool, hangs: str = "") -> Iterator[Check]:
    """What systemd says of the three processes, and whether a guard answers; `hangs`: one is there and does not."""
    states = services(machine)
    known = bool(states)
    wrong = [f"{name} is {state}" for name, state in zip(SERVICES, states, strict=False) if state != "active"]
    if hangs:
        mend = "End it and start it again: sudo systemctl restart retrowalk.target, or Ctrl-C where it runs"
        yield Check("retrowalk.processes", BAD, "processes", f"{hangs[0].upper()}{hangs[1:]}.", mend)
    elif wrong:
        mend = f"journalctl -b -u {wrong[0].split()[0]}   says why; then: sudo systemctl restart retrowalk.target"
        yield Check("retrowalk.processes", BAD, "processes", f"{', '.join(wrong)}.", mend)
    elif known and not running:
        mend = "sudo retrowalk doctor   (only its own group may ask it)"
        yield Check("retrowalk.processes", LOOK, "processes", "The service runs, but does not answer you.", mend)
    elif running:
        by = "as a service" if known else "in the foreground"
        yield Check("retrowalk.processes", OK, "processes", f"Retrowalk runs {by} and was asked; it went on meanwhile.")
    else:
        yield Check("retrowalk.processes", OK, "processes", "Retrowalk does not run now.")


def configured_lines(config: Config) -> Iterator[tuple[str, int, str]]:
    """Name, GPIO number and idle level (`low`, `high`, or `` for an output) of every line in use."""
    for sensor in config.range_sensor:
        if isinstance(sensor, HcSr04):
            yield f"echo of {sensor.name}", sensor.echo_pin, "low"
    yield "button", config.button.pin, "high"


def configured_chips(config: Config) -> Sequence[tuple[str, int, str, str]]:
    """Name, I2C address, kind of chip, and the setting that holds the address, of every chip in use."""
    found: list[tuple[str, int, str, str]] = []
    for index, sensor in enumerate(config.range_sensor):
        if isinstance(sensor, TfLuna | Vl53l1x):
            kind = "TF-Luna" if isinstance(sensor, TfLuna) else "VL53L1X"
            found.append((sensor.name, sensor.address, kind, f"range_sensor[{index}].address"))
    found.append(("imu", config.imu.bus_address, config.imu.chip.upper(), "imu.address"))
    if config.battery.chip != "none":
        found.append(("battery", config.battery.bus_address, config.battery.chip.upper(), "battery.address"))
    return found
