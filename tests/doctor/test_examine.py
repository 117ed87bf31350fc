"""Each thing that can be wrong with a device: the line that names it, and what mends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from gpiozero import PinPWMUnsupported
from tests.doctor.clinic import CARDS, SPEED, SYNCHRONISED, Clinic, PretendMachine, Stranger, settings

from retrowalk import wire
from retrowalk.config import Config, load
from retrowalk.control import Control
from retrowalk.core.alerts import BUTTON, introduction
from retrowalk.doctor import examine as examine_module
from retrowalk.doctor.broker import Trial
from retrowalk.doctor.examine import ASK, HELLO, NO_PRESS, OFFER, THANKS, examine
from retrowalk.doctor.machine import Space
from retrowalk.doctor.report import Check, Report, State
from retrowalk.errors import ConfigError
from retrowalk.sim.pins import SimPin
from retrowalk.voice.texts import Texts


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong."""

    check: str
    """Id of the line that must tell of it."""
    words: tuple[str, ...]
    """Found in its detail."""
    mend: tuple[str, ...]
    """Found in what is to be done."""
    state: State = State.BAD
    device: dict[str, Any] = field(default_factory=dict)
    """For the `Clinic`."""
    machine: Callable[[PretendMachine], None] = lambda machine: None
    settings: str = ""


def without(*paths: str) -> Callable[[PretendMachine], None]:
    def change(machine: PretendMachine) -> None:
        for path in paths:
            del machine.files[path]

    return change


def having(**fields: Any) -> Callable[[PretendMachine], None]:
    def change(machine: PretendMachine) -> None:
        for name, value in fields.items():
            setattr(machine, name, value)

    return change


def holding(path: str, content: bytes) -> Callable[[PretendMachine], None]:
    return lambda machine: machine.files.update({path: content})


def closed(*paths: str, member_of: tuple[str, ...] = ()) -> Callable[[PretendMachine], None]:
    return having(closed=set(paths), groups=frozenset({"walker"}), member_of=frozenset(member_of))


class BusyPins:
    """lgpio where another program holds every line."""

    def pin(self, number: int) -> None:
        raise OSError("GPIO busy")


FULL = """
[[range_sensor]]
chip = "hc-sr04"
[[range_sensor]]
chip = "tf-luna"
[[range_sensor]]
chip = "tf-luna"
name = "drop"
role = "dropoff"
address = 0x11
[battery]
chip = "max17048"
"""

PAIR = """
[[range_sensor]]
chip = "hc-sr04"
name = "left"
bearing_left_deg = 12.0
[[range_sensor]]
chip = "hc-sr04"
name = "right"
bearing_left_deg = -12.0
trigger_pin = 5
echo_pin = 6
[battery]
chip = "none"
[air]
thermometer = "ds18b20"
[vibration]
right_pin = 26
"""
"""Two ultrasonic sensors that look to the sides, two motors, a thermometer."""

WRONG = {
    # ---- settings
    "setting out of range": Wrong(
        "settings.collision.caution_ahead_s",
        ("99.0", "0.5 to 5"),
        ("Correct it in",),
        settings="[collision]\ncaution_ahead_s = 99.0\n",
    ),
    "setting unknown": Wrong(
        "settings.voice.loudness", ("is not known",), ("Correct it in",), settings="[voice]\nloudness = 1\n"
    ),
    # ---- sensors on pins
    "sensor without power": Wrong(
        "sensors.rear", ("o echo pulse on GPIO24",), ("5 V", "GPIO23", "GPIO24"), device={"faults": ["rear:off"]}
    ),
    "sealed sensor without power": Wrong(
        "sensors.rear",
        ("o byte on /dev/serial0",),
        ("3.3 V", "GPIO15"),
        device={"faults": ["rear:off"]},
        settings='[[range_sensor]]\nchip = "a02yyuw"\n[battery]\nchip = "none"\n',
    ),
    "sealed sensor at an adapter": Wrong(
        "sensors.rear",
        ("o byte on /dev/ttyUSB0",),
        ("3.3 V", "adapter"),
        device={"faults": ["rear:off"]},
        settings='[[range_sensor]]\nchip = "a02yyuw"\nport = "/dev/ttyUSB0"\n[battery]\nchip = "none"\n',
    ),
    "sealed sensor that filters": Wrong(
        "sensors.rear",
        ("RX is not wired to ground",),
        ("RX", "ground"),
        device={"faults": ["rear:slow"]},
        settings='[[range_sensor]]\nchip = "a02yyuw"\n[battery]\nchip = "none"\n',
    ),
    "sealed sensor beside another": Wrong(
        "sensors.overheard",
        ("rear and sealed hear each other",),
        ("Wear one", "lidar"),
        state=State.LOOK,
        settings='[[range_sensor]]\nchip = "hc-sr04"\n[[range_sensor]]\nchip = "a02yyuw"\nname = "sealed"\n'
        '[battery]\nchip = "none"\n',
    ),
    "echo wire held high": Wrong(
        "sensors.rear", ("GPIO24 stays high",), ("power away", "GPIO24"), device={"faults": ["rear:stuck"]}
    ),
    "echo wire high before the first ping": Wrong(
        "pins.levels", ("GPIO24", "is high and must be low"), ("wire off the pin",), device={"faults": ["rear:stuck"]}
    ),
    "echo noisy": Wrong(
        "sensors.rear",
        ("no target can give",),
        ("Shorten the echo wire",),
        device={"faults": ["rear:garbage"]},
        state=State.LOOK,
    ),
    "thermometer not wired": Wrong(
        "sensors.thermometer",
        ("Nothing came from it", "cold air"),
        ("GPIO4", "4.7 kΩ", "dtoverlay=w1-gpio"),
        state=State.LOOK,
        device={"faults": ["thermometer:off"]},
        settings=PAIR,
    ),
    "button held or short": Wrong("sensors.button", ("GPIO17",), ("short",), device={"faults": ["button:stuck"]}),
    "button line chatters": Wrong(
        "sensors.button", ("never settles",), ("GPIO17",), device={"faults": ["button:garbage"]}
    ),
    # ---- sensors on the bus
    "chip not connected": Wrong(
        "sensors.imu", ("0x6A does not answer",), ("GPIO2", "GPIO3"), device={"faults": ["imu:off"]}
    ),
    "chip not connected, on the scan": Wrong(
        "bus.scan", ("No answer from 0x6A LSM6DSOX (imu)",), ("sensors",), State.LOOK, device={"faults": ["imu:off"]}
    ),
    "chip not connected, another answers": Wrong(
        "sensors.imu",
        ("does not answer",),
        ("3.3 V", "0x76 probably BME280"),
        device={"faults": ["imu:off"], "chips": lambda chips: {**chips, 0x76: Stranger()}},
    ),
    "chip at another address": Wrong(
        "sensors.imu",
        ("0x6A does not answer",),
        ("imu.address = 0x6B",),
        device={"chips": lambda chips: {0x6B: chips[0x6A]}},
    ),
    "another chip at the address": Wrong(
        "sensors.imu", ("WHO_AM_I", "0x69"), ("exchange it", "imu.chip"), device={"faults": ["imu:wrong"]}
    ),
    "chip frozen": Wrong("sensors.imu", ("same bits",), ("power away",), device={"faults": ["imu:stuck"]}),
    "chip slow": Wrong("sensors.imu", ("0x6A",), ("power away",), device={"faults": ["imu:slow"]}),
    "lidar not connected": Wrong(
        "sensors.lidar",
        ("0x10",),
        ("5 V", "pin 5", "0x11 TF-Luna"),
        device={"faults": ["lidar:off"]},
        settings=FULL,
    ),
    "lidar in the sun": Wrong("sensors.lidar", (), ("sun",), device={"faults": ["lidar:sun"]}, settings=FULL),
    "lidar frozen": Wrong("sensors.lidar", (), ("power away",), device={"faults": ["lidar:stuck"]}, settings=FULL),
    "both lidars at one address": Wrong(
        "sensors.drop",
        ("0x11",),
        ("0x10 TF-Luna", "connect it alone"),
        device={"chips": lambda chips: {at: chip for at, chip in chips.items() if at != 0x11}},
        settings=FULL,
    ),
    "fuel gauge not connected": Wrong(
        "sensors.battery", ("0x36",), ("SDA",), State.LOOK, device={"faults": ["battery:off"]}, settings=FULL
    ),
    "battery low": Wrong(
        "sensors.battery", ("15 %",), ("Charge",), State.LOOK, device={"faults": ["battery:low"]}, settings=FULL
    ),
    "bus held low": Wrong(
        "bus.scan", ("times out", "GPIO2"), ("Unplug the chips one after another",), device={"faults": ["bus:stuck"]}
    ),
    "bus held low, at the sensor": Wrong(
        "sensors.imu", ("held low",), ("bus is stuck",), device={"faults": ["bus:stuck"]}
    ),
    "bus at 100 kHz": Wrong(
        "bus.speed",
        ("100 kHz",),
        ("dtparam=i2c_arm_baudrate=400000", "/boot/firmware/config.txt"),
        State.LOOK,
        machine=holding(SPEED, (100_000).to_bytes(4, "big")),
    ),
    "bus switched off": Wrong(
        "bus.speed", ("/dev/i2c-1 is not there",), ("dtparam=i2c_arm=on",), machine=without("/dev/i2c-1")
    ),
    # ---- the computer
    "not in the group": Wrong(
        "computer.rights",
        ("may not use", "/dev/gpiochip0"),
        ("sudo usermod -aG gpio walker",),
        machine=closed("/dev/gpiochip0"),
    ),
    "in no group at all": Wrong(
        "computer.rights",
        ("pins", "I2C bus", "sound"),
        ("sudo usermod -aG audio,gpio,i2c walker",),
        machine=closed("/dev/gpiochip0", "/dev/i2c-1", "/dev/snd/pcmC0D0p"),
    ),
    "serial port closed": Wrong(
        "computer.rights",
        ("/dev/serial0",),
        ("sudo usermod -aG dialout walker",),
        machine=lambda machine: (holding("/dev/serial0", b"")(machine), closed("/dev/serial0")(machine), None)[2],
        settings='[[range_sensor]]\nchip = "a02yyuw"\n[battery]\nchip = "none"\n',
    ),
    "in the group, not logged in again": Wrong(
        "computer.rights", ("may not use",), ("log out",), machine=closed("/dev/i2c-1", member_of=("i2c",))
    ),
    "device rules missing": Wrong(
        "computer.rights", ("may not use",), ("udev",), machine=having(closed={"/dev/i2c-1"})
    ),
    "lgpio cannot write": Wrong(
        "pins.lgpio", ("Read-only file system",), ("LG_WD",), machine=having(lgpio_problem="Read-only file system")
    ),
    "header chip has another number": Wrong(
        "pins.chip",
        ("The header is gpiochip1", "opens gpiochip0"),
        ("full-upgrade",),
        machine=lambda machine: (
            machine.files.update({"/dev/gpiochip1": b""}),
            machine.labels.update({"/dev/gpiochip0": "raspberrypi-exp-gpio", "/dev/gpiochip1": "pinctrl-bcm2711"}),
            None,
        )[2],
    ),
    "not a Pi": Wrong(
        "computer.board", ("not a Raspberry Pi",), ("retrowalk demo",), machine=without("/proc/device-tree/model")
    ),
    "clock not set by the network": Wrong(
        "computer.clock", ("Not set by the network",), ("timedatectl",), State.LOOK, machine=without(SYNCHRONISED)
    ),
    "clock never set": Wrong(
        "computer.clock", ("never set",), ("network",), State.LOOK, machine=having(wall=1_000_000.0)
    ),
    "disk full": Wrong(
        "computer.disk", ("is full",), ("delete recordings",), machine=having(room=Space(1_000_000, 30_000_000_000))
    ),
    "disk nearly full": Wrong(
        "computer.disk", ("only 300 MB",), ("Make room",), State.LOOK, machine=having(room=Space(300_000_000, 10**10))
    ),
    "disk read-only": Wrong(
        "computer.disk",
        ("is read-only",),
        ("card may be failing",),
        machine=having(room=Space(10**10, 10**10, "Read-only file system")),
    ),
    "state directory is another's": Wrong(
        "computer.disk",
        ("Permission denied",),
        ("sudo retrowalk doctor",),
        State.LOOK,
        machine=having(room=Space(10**10, 10**10, "Permission denied")),
    ),
    "read-only root without a place to keep things": Wrong(
        "computer.readonly_root",
        ("in memory", "lost at power-off"),
        ("docs/read-only.md",),
        State.LOOK,
        machine=holding(
            "/proc/self/mountinfo",
            b"25 1 0:23 / / rw - overlay overlayroot rw,upperdir=/media/root-rw/overlay\n"
            b"26 25 0:24 / /media/root-rw rw - tmpfs tmpfs-root rw\n",
        ),
    ),
    "undervoltage": Wrong("computer.power", (), ("5 V and 2.5 A",), State.LOOK, device={"faults": ["pi:undervoltage"]}),
    "service failed": Wrong(
        "retrowalk.processes",
        ("retrowalk-voice is failed",),
        ("journalctl -b -u retrowalk-voice",),
        machine=having(services="active\nfailed\nactive\n"),
    ),
    "service runs and does not answer": Wrong(
        "retrowalk.processes",
        ("does not answer",),
        ("sudo retrowalk doctor",),
        State.LOOK,
        machine=having(services="active\nactive\nactive\n"),
    ),
    "guard hangs": Wrong(
        "retrowalk.processes",
        ("does not answer",),
        ("systemctl restart",),
        device={"hangs": "retrowalk runs in /run/retrowalk, but its guard does not answer"},
    ),
    "library missing": Wrong("retrowalk.versions", ("smbus2",), ("Install",), machine=having(versions={"smbus2": ""})),
    "the other lgpio": Wrong(
        "retrowalk.versions", ("another program",), ("lgpio>=0.2.2",), machine=having(versions={"lgpio": "0.0.0.2"})
    ),
    # ---- sound
    "no sound card": Wrong(
        "sound.cards", ("no sound card",), ("dtparam=audio=on",), machine=without("/proc/asound/cards")
    ),
    "sound card named wrong": Wrong(
        "sound.cards",
        ("there is no card Device", "Headphones"),
        ('device = "plughw:CARD=Headphones"',),
        settings='[voice]\ndevice = "plughw:CARD=Device"\n',
    ),
    "sound card by number": Wrong(
        "sound.cards",
        ("by its number",),
        ('device = "plughw:CARD=Headphones"',),
        State.LOOK,
        settings='[voice]\ndevice = "plughw:1,0"\n',
    ),
    "only a screen": Wrong(
        "sound.cards",
        ("screen",),
        ("open-ear",),
        State.LOOK,
        machine=holding("/proc/asound/cards", CARDS.split("\n", 2)[2].encode()),
    ),
    "device cannot be opened": Wrong(
        "sound.speech",
        ("Device or resource busy",),
        ("sound card",),
        State.LOOK,
        device={"no_card": "Device or resource busy"},
    ),
    "phrases missing": Wrong(
        "sound.phrases", ("12 spoken phrases",), ("retrowalk voices build",), State.LOOK, device={"missing": 12}
    ),
    # ---- broker
    "broker refuses": Wrong(
        "messages.broker",
        ("localhost:1883", "Connection refused"),
        ("systemctl status mosquitto",),
        State.LOOK,
        device={"trial": Trial("reach", "Connection refused")},
    ),
    "broker password wrong": Wrong(
        "messages.broker",
        ("does not let this device in", "Not authorized"),
        ("broker.username", "password file"),
        State.LOOK,
        device={"trial": Trial("login", "Not authorized")},
    ),
    "broker name unknown": Wrong(
        "messages.broker", ("not known",), ("broker.host",), State.LOOK, device={"trial": Trial("name", "unknown")}
    ),
    "broker certificate": Wrong(
        "messages.broker",
        ("encryption fails", "self-signed"),
        ("broker.ca_file", "clock"),
        State.LOOK,
        device={"trial": Trial("tls", "self-signed certificate")},
        settings='[broker]\nhost = "hub.local"\nport = 8883\ntls = true\n',
    ),
    "password file unreadable": Wrong(
        "messages.broker",
        ("password file",),
        ("sudo",),
        State.LOOK,
        device={"trial": Trial("file", "Permission denied")},
    ),
    "no broker set": Wrong(
        "messages.broker", ("No broker is set",), ("host",), State.LOOK, settings='[broker]\nhost = ""\n'
    ),
    # ---- the person
    "button not pressed": Wrong("person.press", ("No press within 10 s",), ("GPIO17",), State.LOOK),
}


def visit(directory: Path, wrong: Wrong | None = None, **device: Any) -> tuple[Clinic, Report]:
    machine = PretendMachine()
    file = settings(directory, wrong.settings if wrong is not None else "")
    if wrong is not None:
        wrong.machine(machine)
        device |= wrong.device
    try:
        config = load(file)
    except ConfigError:
        config = Config()
    clinic = Clinic(config, machine=machine, **device)
    # Speaking and waiting for a press is left out where it shows nothing.
    hands_on = wrong is None or wrong.check in ("sound.speech", "person.press")
    return clinic, examine(file, clinic.ground, hands_on=hands_on)


def line(report: Report, check: str) -> Check:
    found = [c for c in report.checks if c.id == check]
    assert found, [c.id for c in report.checks]
    return found[0]


def test_a_healthy_device_is_well(tmp_path: Path) -> None:
    """Nothing is wrong: every line is ok, the exit status is 0, and every promised thing has been looked at."""
    _, report = visit(tmp_path, press_s=1.0)
    assert [c for c in report.checks if c.state is not State.OK] == []
    assert report.ok
    assert report.status == 0
    ids = {c.id for c in report.checks}
    assert ids >= {
        *("settings.file", "computer.board", "computer.rights", "computer.clock", "computer.disk"),
        *(
            "retrowalk.versions",
            "retrowalk.processes",
            "bus.speed",
            "bus.scan",
            "pins.chip",
            "pins.levels",
            "pins.lgpio",
        ),
        *("sensors.rear", "sensors.imu", "sensors.button", "sound.cards", "sound.phrases", "sound.speech"),
        *("messages.broker", "person.touch", "person.press"),
    }


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_what_mends_it(name: str, tmp_path: Path) -> None:
    """Its line says what was found and what to do; the exit status says so, and every other part still has its line."""
    wrong = WRONG[name]
    _, report = visit(tmp_path, wrong)
    told = line(report, wrong.check)
    assert told.state is wrong.state, told
    assert all(words in told.detail for words in wrong.words), told
    assert all(words in told.mend for words in wrong.mend), told
    assert report.status >= (2 if wrong.state is State.BAD else 1)
    ids = {c.id for c in report.checks}
    assert ids >= {"computer.board", "computer.disk", "sound.cards", "messages.broker"}
    if name != "not a Pi" and not wrong.check.startswith(("settings.", "retrowalk.processes")):
        assert ids >= {"bus.speed", "bus.scan", "pins.chip", "sensors.imu", "sensors.button"}


@pytest.mark.slow
def test_the_whole_default_set_is_well(tmp_path: Path) -> None:
    """Ultrasonic, two lidars, clip and fuel gauge: each is found, read and plausible."""
    _, report = visit(tmp_path, Wrong("person.press", (), (), settings=FULL), press_s=1.0)
    assert [c for c in report.checks if c.state is not State.OK] == []
    assert {"sensors.rear", "sensors.lidar", "sensors.drop", "sensors.imu", "sensors.battery"} <= {
        c.id for c in report.checks
    }


def test_a_stranger_on_the_bus_is_said(tmp_path: Path) -> None:
    """A part that answers and is not in the settings is named as what it probably is."""
    _, report = visit(tmp_path, press_s=1.0, chips=lambda chips: {**chips, 0x76: Stranger()})
    told = line(report, "bus.scan")
    assert "0x76 probably BME280" in told.detail
    assert "not in the settings" in told.detail
    assert report.ok


def test_it_speaks_signals_and_feels_the_press(tmp_path: Path) -> None:
    """In this order: a sentence, vibration and buzzer, the question, the press, and the answer."""
    clinic, report = visit(tmp_path, press_s=1.0)
    assert clinic.played == [HELLO, ASK, THANKS, OFFER]
    assert {what for _, what in clinic.world.felt} == {"vibration", "buzzer"}
    assert line(report, "person.press").state is State.OK


def test_sensors_and_motors_of_both_sides_are_well(tmp_path: Path) -> None:
    """Two ultrasonic sensors in turn are not called slow; the air is read; left is felt, then right."""
    clinic, report = visit(tmp_path, Wrong("person.press", (), (), settings=PAIR), press_s=1.0)
    assert [c for c in report.checks if c.state is not State.OK] == []
    assert "15.0 °C" in line(report, "sensors.thermometer").detail
    assert {"sensors.left", "sensors.right"} <= {c.id for c in report.checks}
    motors = [what for _, what in sorted(clinic.world.felt) if what != "buzzer"]
    assert motors == ["vibration", "vibration-right"]
    assert "GPIO27 and GPIO26 and GPIO22" in line(report, "person.touch").detail


def test_a_press_in_mid_sentence_counts(tmp_path: Path) -> None:
    """Who presses while still being asked has pressed."""
    clinic, report = visit(tmp_path, press_s=0.1)
    assert line(report, "person.press").state is State.OK
    assert clinic.played[2] == THANKS


def test_who_presses_again_hears_what_the_button_does(tmp_path: Path) -> None:
    """Once they are known to be there: each row of the button's table, then what the device cannot do."""
    clinic, report = visit(tmp_path, press_s=1.0, press_again_s=1.0)
    said = clinic.played[4:]
    words = [Texts.load("en").words("introduction", value) for value in (*BUTTON, *introduction(clinic.config))]
    assert said == list(dict.fromkeys(words))[:-1]
    assert line(report, "person.button").state is State.OK


def test_who_presses_no_more_is_told_no_more(tmp_path: Path) -> None:
    """One press is an answer to one question."""
    clinic, report = visit(tmp_path, press_s=0.1)
    assert clinic.played[-1] == OFFER
    assert not [check for check in report.checks if check.id == "person.button"]


def test_without_a_press_it_says_so(tmp_path: Path) -> None:
    """The result is said as well as shown."""
    clinic, _ = visit(tmp_path)
    assert clinic.played[-1] == NO_PRESS


def test_quick_only_looks(tmp_path: Path) -> None:
    """Nothing is said, switched or asked for."""
    clinic = Clinic(load(settings(tmp_path)))
    report = examine(settings(tmp_path), clinic.ground, hands_on=False)
    assert clinic.played == []
    assert clinic.world.felt == []
    assert not [c for c in report.checks if c.section == "person"]


def test_without_sound_the_motor_alone_is_tried(tmp_path: Path) -> None:
    """--no-sound: no voice and no buzzer, but the motor and the press."""
    clinic = Clinic(load(settings(tmp_path)))
    report = examine(settings(tmp_path), clinic.ground, sound=False)
    assert clinic.played == []
    assert {what for _, what in clinic.world.felt} == {"vibration"}
    assert line(report, "person.press").state is State.LOOK


def test_pins_that_know_no_strength_are_told(tmp_path: Path) -> None:
    """The signal is felt all the same, at full power, and the doctor says so."""
    clinic = Clinic(load(settings(tmp_path)))

    class Switched(SimPin):
        """A pin that is on or off."""

        def _set_frequency(self, value: float | None) -> None:
            raise PinPWMUnsupported("these pins have no pulses")

    clinic.ground.platform.pin_factory.pin_class = Switched
    report = examine(settings(tmp_path), clinic.ground, sound=False)
    assert "no strength" in line(report, "person.strength").detail
    assert {what for _, what in clinic.world.felt} == {"vibration"}
    assert line(report, "person.touch").state is State.OK


def test_the_broker_is_asked_as_somebody_else(tmp_path: Path) -> None:
    """The trial gets the device's name once; a session under the courier's own id would throw the courier out."""
    clinic, _ = visit(tmp_path)
    assert clinic.asked_for == ["rw-0001"]


@pytest.mark.parametrize(
    ("device", "services"),
    [
        pytest.param({"hangs": "it does not answer"}, "inactive\ninactive\ninactive\n", id="a guard that hangs"),
        pytest.param({}, "active\nactive\nactive\n", id="a service that is not for us"),
    ],
)
def test_devices_of_another_guard_are_left_alone(tmp_path: Path, device: dict[str, Any], services: str) -> None:
    """Where a guard may run that cannot be asked, no pin is opened and no chip is spoken to."""
    clinic, report = visit(tmp_path, Wrong("", (), (), machine=having(services=services)), **device)
    assert clinic.bus.transfers == 0
    assert clinic.board.outputs == {}
    assert clinic.played == []
    assert not [c for c in report.checks if c.section in ("sensors", "person")]


def test_pins_that_somebody_else_holds_end_the_visit(tmp_path: Path) -> None:
    """Another program has the device ("GPIO busy"), and its chips are not touched."""
    file = settings(tmp_path)
    clinic = Clinic(load(file))
    clinic.ground.platform.pin_factory = BusyPins()
    report = examine(file, clinic.ground)
    assert "busy" in line(report, "pins.levels").detail
    assert clinic.bus.transfers == 0


class NoPins:
    """gpiozero where no pin can be had, though nobody holds it."""

    def pin(self, number: int) -> None:
        raise OSError("unable to locate Pi revision")


class NoBus:
    """A machine without /dev/i2c-1."""

    def transfer(self, address: int, write: bytes, read: int) -> bytes:
        raise FileNotFoundError(2, "No such file or directory")

    def close(self) -> None:
        """It was never open."""


def test_no_wire_is_blamed_for_pins_and_bus_that_cannot_be_opened(tmp_path: Path) -> None:
    """Every part says so, and sends to where it can be mended; a signal that nobody could feel is no good signal."""
    file = settings(tmp_path, FULL)
    clinic = Clinic(load(file))
    clinic.ground.platform.pin_factory, clinic.ground.platform.bus = NoPins(), NoBus()
    report = examine(file, clinic.ground)
    for check in ("sensors.rear", "sensors.button", "sensors.buzzer", "sensors.vibration", "sensors.led"):
        assert "the pins cannot be opened" in line(report, check).mend
    for check in ("sensors.lidar", "sensors.drop", "sensors.imu", "sensors.battery"):
        assert "the bus cannot be used" in line(report, check).mend
    assert "i2c_arm=on" in line(report, "bus.scan").mend
    assert line(report, "person.touch").state is State.LOOK


def test_every_finding_of_the_settings_has_a_line(tmp_path: Path) -> None:
    """Not only the first mistake."""
    wrong = Wrong("", (), (), settings="[voice]\nvolume = 0\nrate_wpm = 1\n[collision]\nnothing = 1\n")
    _, report = visit(tmp_path, wrong)
    assert {"settings.voice.volume", "settings.voice.rate_wpm", "settings.collision.nothing"} <= {
        c.id for c in report.checks
    }


def test_json_is_one_object(tmp_path: Path) -> None:
    """{checks: [{id, state, title, detail, mend}], ok}"""
    _, report = visit(tmp_path)
    told = json.loads(report.json())
    assert set(told) == {"checks", "ok"}
    assert told["ok"] is False
    assert all(set(check) == {"id", "state", "title", "detail", "mend"} for check in told["checks"])
    assert len({check["id"] for check in told["checks"]}) == len(told["checks"])


def test_nothing_is_left_open(tmp_path: Path) -> None:
    """After a visit every output is off and the pins are free: a second visit finds the same."""
    clinic, _ = visit(tmp_path)
    assert set(clinic.board.outputs.values()) == {0.0}
    again = examine(settings(tmp_path), clinic.ground, hands_on=False)
    assert line(again, "sensors.rear").state is State.OK


MEASURED = (
    '{"version": 1, "measurements": [{"measured_at": "2026-05-01T09:30:00Z", "stops_s": [1.0, 1.2], "stop_s": 1.62, '
    '"profile": "older"}]}'
)


@pytest.mark.parametrize(
    ("walker", "kept", "state", "said"),
    [
        pytest.param("", None, State.OK, ("1.87 s", "assumed"), id="assumed"),
        pytest.param("", MEASURED, State.OK, ("1.62 s", "2026-05-01", "older"), id="measured"),
        pytest.param(
            '[walker]\nprofile = "measured"\nmeasured_stop_s = 2.4\n',
            MEASURED,
            State.OK,
            ("2.4", "stands", "1.62"),
            id="set by a person, and measured",
        ),
        pytest.param("", MEASURED[:-20], State.LOOK, ("1.87 s", "damaged", "calibration.json"), id="damaged"),
    ],
)
def test_how_long_the_walker_is_given_to_stop_is_shown(
    tmp_path: Path, walker: str, kept: str | None, state: State, said: tuple[str, ...]
) -> None:
    """Assumed, measured or set: the time, and where it comes from."""
    if kept is not None:
        (tmp_path / "calibration.json").write_text(kept)
    file = settings(tmp_path, walker)
    clinic = Clinic(load(file))
    clinic.ground.state_dir = str(tmp_path)
    check = line(examine(file, clinic.ground, hands_on=False), "settings.stop")
    assert check.state is state
    assert all(words in check.detail for words in said)


@pytest.mark.parametrize(
    ("guard_state", "reasons", "state", "words"),
    [
        pytest.param("guarding", [], State.OK, "It is guarding.", id="guarding"),
        pytest.param("checking", [], State.OK, "hand behind", id="checking"),
        pytest.param("limited", ["unchecked", "unheard"], State.OK, "not yet checked, sound untested", id="on a desk"),
        pytest.param("limited", ["unheard", "drop"], State.LOOK, "in part only: sound untested, kerbs", id="limited"),
        pytest.param("not_protecting", ["rear"], State.BAD, "no rear sensor", id="not protecting"),
        pytest.param("not_worn", ["still"], State.OK, "It is not worn.", id="not worn"),
    ],
)
def test_what_the_walker_may_rely_on_is_told(guard_state: str, reasons: list[str], state: State, words: str) -> None:
    """The guard that runs is asked what it guards against, and why it does no more."""
    asked = SimpleNamespace(examined=wire.Examined("s", "1", 1.0, guard_state, [], False, "", reasons))
    (told,) = examine_module._guard(cast(Control, asked))
    assert (told.id, told.state) == ("retrowalk.guard", state)
    assert words in told.detail
