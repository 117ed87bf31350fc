"""The one table of faults, tested as a table: whatever can be reported is in it, and nothing in it is silent."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import retrowalk
from retrowalk import wire
from retrowalk.config import Config, Freshness, HcSr04, TfLuna, Vibration, Vl53l1x
from retrowalk.core import alerts, charge, events, fault_table, freshness
from retrowalk.core.companion import USELESS, Companion
from retrowalk.core.events import GuardState, SensorLost, Speak
from retrowalk.core.fault_table import TABLE, Fault, find, named
from retrowalk.core.samples import (
    BatterySample,
    CourierHeartbeat,
    HealthReport,
    ImuSample,
    RangeSample,
    RangeStatus,
    Restored,
    SavedState,
    Tick,
    VoiceHeartbeat,
)
from retrowalk.courier import outbox
from retrowalk.devices import bus_watch, ds18b20, imu_fifo, pi_health, tfluna, ultrasonic
from retrowalk.guard import evidence, guard, late
from retrowalk.voice import process as voice
from retrowalk.voice.texts import Texts

PACKAGE = Path(retrowalk.__file__).parent
ROWS = [pytest.param(row, id=f"{row.part}-{row.fault}") for row in TABLE]
SENSORS = ("rear", "lidar", "drop", "tof", "imu")
EVERYTHING = Config(
    range_sensor=(HcSr04(), TfLuna(), TfLuna(name="drop", role="dropoff", address=0x11), Vl53l1x()),
    vibration=Vibration(right_pin=6),
)

# ------------------------------------------------------------------------------------ what the program can report

OF_FILE = {
    "ultrasonic": ("rear",),
    "a02yyuw": ("rear",),
    "tfluna": ("lidar", "drop"),
    "vl53l1x": ("tof",),
    "imu_fifo": ("imu",),
    "lsm6dsox": ("imu",),
    "mpu6050": ("imu",),
    "battery": ("battery",),
    "max17048": ("battery",),
    "ina219": ("battery",),
    "ds18b20": ("thermometer",),
    "button": ("button",),
    "led": ("led",),
    "bus_watch": ("bus",),
}
"""Whose faults a driver's file names.  The others share them out by hand, below."""
CHIPS = ("lidar", "drop", "tof", "imu", "battery")
STEPS = (*SENSORS, "battery", "button", "led", "pi", "thermometer", "bus")
"""Whatever has a driver of its own.  Touch has too, and without it the guard ends and is started again."""
WORD = re.compile(r"[a-z]+(_[a-z]+)*")
REPORTS = ("SensorError", "change", "_nothing", "_fail", "_withhold")


def strings(node: ast.expr) -> Iterator[str]:
    """String constants of an expression that may be one of several."""
    match node:
        case ast.Constant(value=str(text)) if WORD.fullmatch(text):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from strings(body)
            yield from strings(orelse)
        case ast.Tuple(elts=[first, _]) | ast.Starred(value=first):
            yield from strings(first)


def names_in(file: Path) -> set[str]:
    """Names of faults in a driver: what it reports, and pairs of a name and its detail."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=args) if name in REPORTS:
                found |= {text for arg in args[:2] for text in strings(arg)}
            case ast.Tuple(elts=[ast.Constant(value=str(text)), ast.Constant(value=str()) | ast.JoinedStr()]):
                found |= {text} if WORD.fullmatch(text) else set()
            case ast.IfExp(body=ast.Constant(value=str(text))) if WORD.fullmatch(text):
                found.add(text)
    return found


NO_FAULTS = {"ultrasonic": {"too_short"}}
"""What looks like one: reasons for which an answer is thrown away."""


def reported() -> set[tuple[str, str]]:
    """Every (part, fault) that the program can report."""
    devices = PACKAGE / "devices"
    found: set[tuple[str, str]] = set()
    for stem, parts in OF_FILE.items():
        found |= {
            (part, name) for part in parts for name in names_in(devices / f"{stem}.py") - NO_FAULTS.get(stem, set())
        }
    found |= {(part, name) for part in CHIPS for name in ("absent",)}  # i2c.absent
    found |= {(part, "garbage") for part in ("imu", "battery")}  # i2c.Registers.keep
    found |= {(part, "absent") for part in ("buzzer", "vibration", "vibration-right")}  # touch
    found |= {("touch", "no_pwm"), ("power", "undervoltage"), ("heat", "hot"), ("memory", "low")}
    found |= {(part, name) for part in STEPS for name in ("crashed", evidence.HANGS)}
    # What the core itself finds.
    found |= {(part, "silent") for part in (*SENSORS, "voice", "courier")}
    found |= {(part, name) for part in ("rear", "lidar", "tof") for name in ("garbage", "frozen")}
    found |= {("clip", "slipped"), ("button", "stuck"), ("battery", "low"), ("battery", "empty")}
    # Between the processes.
    found |= {("voice", name) for name in alerts.VOICE_CAUSES}
    found |= {(alerts.COURIER_PARTS.get(name, "courier"), name) for name in courier_faults()}
    found |= {("courier", name) for name in ("gone", "outbox_damaged", "outbox_full")}
    found |= {("guard", name) for name in ("silent", "restarted", "paused", "starved", "state_not_kept")}
    found |= {("config", "rejected"), ("config", "unusable"), ("clock", "jumped")}
    # A sensor whose every answer is useless is lost for the kind of answers it gives.
    useless = {
        "ultrasonic": ("rear",),
        "a02yyuw": ("rear",),
        "tfluna": ("lidar", "drop"),
        "vl53l1x": ("tof",),
    }
    for stem, parts in useless.items():
        statuses = set(re.findall(r"RangeStatus\.([A-Z_]+)", (devices / f"{stem}.py").read_text(encoding="utf-8")))
        values = {RangeStatus[name].value for name in statuses - {"VALID", "NO_TARGET"}}
        found |= {(part, value) for part in parts for value in values}
    return found


def courier_faults() -> set[str]:
    """What a courier's beat can name."""
    source = (PACKAGE / "courier" / "courier.py").read_text(encoding="utf-8")
    recorder = (PACKAGE / "courier" / "recording.py").read_text(encoding="utf-8")
    named_here = set(re.findall(r'found\.append\("(\w+)"\)', source))
    return named_here | set(re.findall(r'self\.fault = "(\w+)"', recorder))


def test_the_search_finds_names():
    """The search through the drivers is not blind."""
    assert len(reported()) > 100
    assert {"frozen", "slow", "delayed", "reset", "wrong_chip", "garbage"} <= names_in(
        PACKAGE / "devices" / "tfluna.py"
    )
    assert courier_faults() == {"broker", "hub", "outbox", "recording", "state"}


def test_whatever_can_be_reported_is_in_the_table():
    """No orphan: a fault without a row is a fault nobody has thought through."""
    assert sorted(reported() - {(row.part, row.fault) for row in TABLE}) == []


def test_every_row_can_happen():
    """No row for what nobody reports."""
    assert sorted({(row.part, row.fault) for row in TABLE} - reported()) == []


def test_rows_are_named_once():
    """A part and a fault name one row."""
    names = [(row.part, row.fault) for row in TABLE]
    assert len(names) == len(set(names))


# ------------------------------------------------------------------------------------------------------ the rows


@pytest.fixture(scope="module")
def clips() -> set[tuple[str, str]]:
    """Everything that the bank of a device with every part holds."""
    return {*alerts.clips(EVERYTHING), ("guard_silent", "")}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_heard_in_every_language(row: Fault, clips: set[tuple[str, str]]):
    """It is heard or felt, and what is heard has words; the one that is not says why."""
    assert all((row.detected, row.protects, row.recovers))
    assert bool(row.said) != bool(row.only_told)
    assert row.felt in ("", *alerts.HAPTICS)
    for key in (*row.said, *row.over):
        phrase, _, value = key.partition(":")
        if phrase in alerts.ALERT_BY_KEY:
            phrase = alerts.ALERT_BY_KEY[phrase].phrase
        matching = [clip for clip in clips if clip[0] == phrase and (not value or clip[1] == value)]
        assert matching, f"{key} is in no bank"
        for language in ("de", "en"):
            assert all(Texts.load(language).words(*clip).strip(" .{}") for clip in matching)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_told(row: Fault):
    """A caregiver sees it: its events and states are ones that there are."""
    assert row.caregiver
    assert set(row.caregiver) <= set(wire.EVENT_TYPES)
    assert {GuardState(state) for state in row.state} <= {GuardState.LIMITED, GuardState.NOT_PROTECTING}
    assert bool(row.state) <= ("guard.changed" in row.caregiver)


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row.part}-{row.fault}") for row in TABLE if row.part in SENSORS]
)
def test_a_lost_sensor_is_heard_as_promised(row: Fault):
    """Promises 8, 10, 12 and 13: absent, stuck or garbage within 1 s, slow or late within 2 s, frozen within 3 s.

    Ranges that leap have no promise of their own: a hedge's leap, too, and it takes several to tell them apart.
    """
    limit_s = {"frozen": 3.0, "slow": 2.0, "blind": 2.0}.get(row.fault, 1.0)
    if (row.part, row.fault) == ("rear", "garbage"):
        limit_s = 1.5
    assert row.within_s <= row.spoken_within_s <= limit_s


LIMITS = {
    ("rear", "silent"): Freshness().lost_after_s,
    ("lidar", "absent"): Freshness().lost_after_s,
    ("imu", "silent"): Freshness().lost_after_s,
    ("imu", "frozen"): imu_fifo.FROZEN_SAMPLES / 104.0 + 0.34,
    ("voice", "silent"): Freshness().voice_lost_after_s + 0.1,
    ("guard", "silent"): voice.GUARD_SILENT_AFTER_S,
    ("guard", "paused"): guard.PAUSED_S,
    ("guard", "starved"): late.LATE_WINDOW_S,
    ("courier", "gone"): guard.COURIER_GONE_S + 2.0 * guard.FLUSH_S + 0.1,
    ("courier", "silent"): Freshness().courier_lost_after_s + 1.0,
    ("courier", "broker"): outbox.ANSWER_LIMIT_S + 1.0,
    ("power", "undervoltage"): pi_health.POLL_S,
    ("heat", "hot"): pi_health.HOT_AFTER_S + pi_health.POLL_S,
    ("memory", "low"): (pi_health.LOW_LOOKS + 1) * pi_health.POLL_S,
    ("bus", "stuck"): bus_watch.TIMED_OUT_S + 2.0 * bus_watch.LOOK_S + 0.008,
    ("thermometer", "absent"): ds18b20.POLL_S + (ds18b20.FAILED_MAX - 1) * ds18b20.RETRY_S,
    ("clock", "jumped"): guard.KEEP_ALIVE_COURIER_S + 2 * guard.KEEP_ALIVE_S,
}
"""When the fault is known at the latest, by the constants of those who find it."""


@pytest.mark.parametrize(("name", "limit_s"), [pytest.param(*item, id="-".join(item[0])) for item in LIMITS.items()])
def test_times_are_those_of_the_code(name: tuple[str, str], limit_s: float):
    """The table promises what the constants keep, and not much more time than they take."""
    row = find(*name)
    assert row.within_s == pytest.approx(limit_s, abs=0.11)


def test_what_is_said_of_parts_comes_in_time():
    """Parts that are judged while pinging or reading are so within the time of their rows."""
    assert find("rear", "slow").within_s >= ultrasonic.SHARE_OF_PINGS * 0.070
    assert find("lidar", "slow").within_s >= tfluna.SHARE_WINDOW_S
    assert find("lidar", "delayed").within_s >= tfluna.DELAY_READS * 0.05 + tfluna.DELAY_LIMIT_S
    assert freshness.BACK_FROM_GARBAGE_S == 2.0
    assert charge.STEPS[:2] == (20, 10)


# --------------------------------------------------------------------------------------------- what the core does


class Street:
    """A Companion with every sensor alive, and a voice that never answers."""

    def __init__(self) -> None:
        self.companion = Companion(EVERYTHING)
        self.now = 0.0
        self.outputs: list[events.Output] = []
        self.mute: set[str] = set()
        self.courier = ""
        self.run(0.6)

    def feed(self, *items: object) -> None:
        for item in items:
            self.outputs += self.companion.feed(item)  # type: ignore[arg-type]

    def run(self, for_s: float) -> None:
        end_s = self.now + for_s
        while self.now < end_s:
            now = self.now = round(self.now + 0.05, 3)
            for name in ("rear", "lidar", "drop", "tof"):
                if name not in self.mute:
                    self.feed(RangeSample(now, now, name, RangeStatus.NO_TARGET))
            if "imu" not in self.mute:
                self.feed(ImuSample(now, now, (0.1, 0.0, 9.8), (0.0, 0.0, 0.0)))
            if "voice" not in self.mute:
                self.feed(VoiceHeartbeat(now, "default", round(now * 48000)))
            self.feed(CourierHeartbeat(now, True, 0, True, self.courier), Tick(now))

    def said(self) -> list[str]:
        return [f"{o.phrase}:{o.value}".rstrip(":") for o in self.outputs if isinstance(o, Speak)]


def broken(row: Fault) -> Street:
    """A street on which a row has just happened."""
    street = Street()
    street.outputs.clear()
    now = street.now
    if row.part in SENSORS:
        if row.fault not in USELESS:
            street.mute = {row.part}
        if row.fault != "silent":
            street.feed(HealthReport(now, row.part, row.fault, active=True))
        street.run(row.spoken_within_s)
    elif row.part == "voice" and row.fault == "microphone":
        street.feed(VoiceHeartbeat(now, "default", 1, 0, "microphone"))
    elif row.part == "voice":
        street.mute = {"voice"}
        for tenth in range(1, 30):
            fault = row.fault if row.fault != "silent" else ""
            if fault:
                street.feed(VoiceHeartbeat(now + tenth / 10.0, "default", 0, 0, fault, output=""))
            street.feed(Tick(now + tenth / 10.0))
    elif row.part in ("courier", *alerts.COURIER_PARTS.values()) and row.fault not in ("gone", "silent"):
        street.courier = {"outbox_damaged": "outbox", "outbox_full": "broker"}.get(row.fault, row.fault)
        street.run(1.0)
    elif row.part == "battery" and row.fault in ("low", "empty"):
        street.feed(BatterySample(now, now, 19.0 if row.fault == "low" else 9.0, 3.5))
    elif (row.part, row.fault) == ("guard", "restarted"):
        street.companion, street.outputs = Companion(EVERYTHING), []
        street.feed(Restored(0.0, SavedState(10.0, "guarding"), 2.0), VoiceHeartbeat(0.05, "default", 1))
    else:
        street.feed(HealthReport(now, row.part, row.fault, active=True))
    return street


WITHOUT_CORE = ("guard", "silent")
"""The voice says it, when there is no core (tests/voice/test_process.py)."""


@pytest.mark.parametrize("row", [row for row in ROWS if row.id != "-".join(WITHOUT_CORE)])
def test_the_core_says_and_tells_what_the_row_has(row: Fault):
    """What comes in as this fault leads to its words, or its touch, and to its event, under its name."""
    street = broken(row)
    touched = [o for o in street.outputs if isinstance(o, events.Touch)]
    said = street.said()
    heard = [key for key in row.said if any(one == key or one.startswith(f"{key.rstrip(':')}:") for one in said)]
    if row.part == "voice" and row.fault != "microphone":
        assert touched
        assert touched[0].buzzer
    elif (row.part, row.fault) != ("guard", "paused") and row.part != "bus" and not row.only_told:
        assert heard, said
    told = [o for o in street.outputs if isinstance(o, events.Event) and o.type in row.caregiver]
    named_so = [
        o
        for o in told
        if (isinstance(o, SensorLost) and (o.sensor, o.cause) == (row.part, row.fault))
        or (isinstance(o, events.FaultRaised) and (o.part, o.fault) == (row.part, row.fault))
    ]
    by_the_courier = row.fault in ("outbox_damaged", "outbox_full")
    nameless = (row.part, row.fault) in {("guard", "restarted"), ("battery", "low"), ("battery", "empty")}
    if row.part == "clock" or nameless:
        assert told
    elif not by_the_courier:
        assert named_so, told


def test_a_sensor_with_another_name_has_its_row():
    """`named` gives the row of the kind, with the words that name the sensor."""
    row = named(TfLuna(name="left", bearing_left_deg=20.0), "delayed")
    assert (row.part, row.fault, row.said) == ("left", "delayed", ("sensor_lost:left", "not_protecting:rear"))
    assert row.over == ("sensor_back:left",)
    assert fault_table.kind(TfLuna(name="kerb", role="dropoff")) == "drop"


def test_the_document_is_the_table():
    """docs/faults.md is what script/faults-reference makes of the code today."""
    root = PACKAGE.parent.parent
    done = subprocess.run(
        [sys.executable, str(root / "script" / "faults-reference"), "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
