"""Every knob, typed, with its unit, default, range and reason.

One TOML file (`/etc/retrowalk/retrowalk.toml`) holds what a person may set; the program never writes it.
`load` reads it and reports *all* findings at once.  The string beneath each field is its documentation and
goes, word for word, into the commented default file (`systemd/retrowalk.toml`).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin

import msgspec
from msgspec import Meta, Struct

from retrowalk.errors import ConfigError, Finding

Pin = Annotated[int, Meta(ge=0, le=27)]
I2cAddress = Annotated[int, Meta(ge=0x08, le=0x77)]
Name = Annotated[str, Meta(pattern="^[a-z0-9-]{1,32}$")]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""


class Device(Section, frozen=True, kw_only=True):
    """Who this device is, on the broker and in recordings."""

    name: Name = "rw-0001"
    """Name of the device: broker user, client id and topic level (a to z, 0 to 9, hyphen; 1 to 32 characters)."""
    site: Name = "home"
    """Family or ward the device belongs to; the topic level above the device (as `name`)."""
    language: Annotated[str, Meta(pattern="^[a-z]{2}$")] = "en"
    """Language of the spoken phrases: the name of a file in voice/texts (two letters)."""


class Walker(Section, frozen=True, kw_only=True):
    """How the walker stops.  Nobody has published stopping while walking backward: measure it when you can."""

    profile: Literal["older", "younger", "measured"] = "older"
    """Whose stopping time to use; `measured` uses `measured_stop_s`.  When in doubt, older: it warns earlier."""
    measured_stop_s: Annotated[float, Meta(ge=0.3, le=4.0)] = 1.9
    """Cue to standstill of this walker, 95 of 100 stops (0.3 to 4 s).  Used with profile = "measured" only."""
    reach_m: Annotated[float, Meta(ge=0.0, le=0.8)] = 0.30
    """How far the foot reaches behind the sensor: half a backward step (0 to 0.8 m)."""
    clearance_m: Annotated[float, Meta(ge=0.05, le=1.0)] = 0.20
    """Room left between foot and obstacle after a stop (0.05 to 1 m)."""
    usual_speed_m_s: Annotated[float, Meta(ge=0.1, le=2.0)] = 0.7
    """Speed assumed while neither closing speed nor walking speed is known (0.1 to 2 m/s)."""


class HcSr04(Section, frozen=True, kw_only=True, tag_field="chip", tag="hc-sr04"):
    """An HC-SR04-class ultrasonic sensor on two GPIO lines (3.3 V type, or a divider on the echo line)."""

    name: Name = "rear"
    """Name of the sensor, as spoken and recorded (a to z, 0 to 9, hyphen)."""
    role: Literal["rear"] = "rear"
    """What it watches."""
    trigger_pin: Pin = 23
    """GPIO number (BCM) of the trigger line (0 to 27)."""
    echo_pin: Pin = 24
    """GPIO number (BCM) of the echo line (0 to 27), not above 3.3 V."""
    range_max_m: Annotated[float, Meta(ge=0.5, le=5.0)] = 4.0
    """Longest range believed (0.5 to 5 m); a longer echo counts as no target."""
    clear_range_m: Annotated[float, Meta(ge=0.5, le=5.0)] = 2.0
    """Range within which "no target" may be called clear (0.5 to 5 m).  A person in fleece is seen to about 2 m."""
    temperature_c: Annotated[float, Meta(ge=-20.0, le=45.0)] = 0.0
    """Air temperature for the speed of sound (-20 to 45 C).  Cold reads near, which is the safe side."""


class RangeTracker(Section, frozen=True, kw_only=True):
    """The gated two-state Kalman filter that turns ranges into range and closing speed."""

    sigma_accel_m_s2: Annotated[float, Meta(ge=0.1, le=5.0)] = 0.7
    """Acceleration noise of the motion model (0.1 to 5 m/s2).  Lower lags, higher rings; 0.7 measured best."""
    sigma_range_m: Annotated[float, Meta(ge=0.005, le=0.2)] = 0.03
    """Range noise assumed, on purpose larger than the sensor's (0.005 to 0.2 m)."""
    gate: Annotated[float, Meta(ge=3.0, le=50.0)] = 12.0
    """Squared innovation over its variance beyond which a sample is rejected (3 to 50)."""
    blind_after_s: Annotated[float, Meta(ge=0.2, le=2.0)] = 0.5
    """A track without an accepted sample for longer is blind (0.2 to 2 s)."""


class Collision(Section, frozen=True, kw_only=True):
    """When to warn of something behind: by the room left, and never later than the floors."""

    system_delay_s: Annotated[float, Meta(ge=0.05, le=2.0)] = 0.30
    """From a range sample to sound in the ear (0.05 to 2 s): three pings, filter, sound buffer."""
    caution_ahead_s: Annotated[float, Meta(ge=0.5, le=5.0)] = 1.5
    """Caution comes this much earlier than warning (0.5 to 5 s)."""
    advisory_time_to_collision_s: Annotated[float, Meta(ge=2.0, le=20.0)] = 6.0
    """A new object nearer than this in time gets one chime (2 to 20 s)."""
    warning_floor_m: Annotated[float, Meta(ge=0.2, le=2.0)] = 0.50
    """Nearer than this is a warning at any speed while moving back (0.2 to 2 m)."""
    caution_floor_m: Annotated[float, Meta(ge=0.3, le=3.0)] = 1.0
    """Nearer than this and closing is at least a caution (0.3 to 3 m)."""
    touching_m: Annotated[float, Meta(ge=0.05, le=1.0)] = 0.30
    """Nearer than this the tone is continuous, as in parking aids (0.05 to 1 m)."""
    moving_m_s: Annotated[float, Meta(ge=0.02, le=0.5)] = 0.10
    """Closing slower than this is standing still (0.02 to 0.5 m/s)."""
    release_m: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.20
    """A level is left only with this much more room than it needs (0 to 1 m) ..."""
    release_hold_s: Annotated[float, Meta(ge=0.0, le=5.0)] = 0.6
    """... for this long (0 to 5 s).  Raise at once, lower slowly."""
    quiet_after_still_s: Annotated[float, Meta(ge=0.5, le=30.0)] = 3.0
    """Standing still beside something, the alerts end after this time (0.5 to 30 s)."""


class Freshness(Section, frozen=True, kw_only=True):
    """When a reading is too old, and when clear may be believed."""

    degraded_after_s: Annotated[float, Meta(ge=0.1, le=1.0)] = 0.3
    """A sensor silent for longer is degraded (0.1 to 1 s)."""
    lost_after_s: Annotated[float, Meta(ge=0.2, le=2.0)] = 0.5
    """A sensor silent for longer is lost, and the walker is told (0.2 to 2 s).  Eight missed pings."""
    proof_s: Annotated[float, Meta(ge=1.0, le=30.0)] = 10.0
    """A range sensor must have proved itself alive within this time for its silence to mean clear (1 to 30 s)."""
    unknown_after_s: Annotated[float, Meta(ge=0.5, le=5.0)] = 1.5
    """The path behind is called unknown when nothing has proved it either way for this long (0.5 to 5 s)."""
    voice_lost_after_s: Annotated[float, Meta(ge=0.1, le=2.0)] = 0.3
    """No sign of life from the voice for longer: buzzer and vibration take over (0.1 to 2 s)."""
    courier_lost_after_s: Annotated[float, Meta(ge=0.5, le=30.0)] = 3.0
    """No sign of life from the courier for longer: the walker is told that messages are down (0.5 to 30 s)."""


class Imu(Section, frozen=True, kw_only=True):
    """The motion sensor clip on the lower back."""

    chip: Literal["lsm6dsox"] = "lsm6dsox"
    """Chip of the clip."""
    address: I2cAddress = 0x6A
    """I2C address: 0x6A, or 0x6B with SA0 high (8 to 119)."""
    axes: tuple[str, str, str] = ("+x", "+y", "+z")
    """Chip axes that point to the walker's front, left and up; a right-handed set such as +x +y +z."""
    poll_s: Annotated[float, Meta(ge=0.01, le=0.2)] = 0.048
    """How often the FIFO is read (0.01 to 0.2 s): five samples, so that none is older than 48 ms."""


class Balance(Section, frozen=True, kw_only=True):
    """Leaning back, losing balance."""

    upright_s: Annotated[float, Meta(ge=1.0, le=10.0)] = 3.0
    """Standing this long at the start teaches the wearer's own upright (1 to 10 s)."""
    lean_caution_deg: Annotated[float, Meta(ge=2.0, le=30.0)] = 6.0
    """Backward lean, step-averaged with its rate, that is worth a word (2 to 30 degrees)."""
    lean_hold_s: Annotated[float, Meta(ge=0.1, le=5.0)] = 0.6
    """How long it must last: one step (0.1 to 5 s)."""
    loss_deg: Annotated[float, Meta(ge=10.0, le=60.0)] = 20.0
    """Backward lean with its rate beyond which balance is lost (10 to 60 degrees) ..."""
    loss_rate_deg_s: Annotated[float, Meta(ge=20.0, le=300.0)] = 60.0
    """... while tipping back faster than this (20 to 300 degrees/s)."""
    message_gap_s: Annotated[float, Meta(ge=5.0, le=300.0)] = 30.0
    """At most one spoken balance message in this time (5 to 300 s)."""


class Fall(Section, frozen=True, kw_only=True):
    """Recognising a fall, and asking before alarming."""

    impact_g: Annotated[float, Meta(ge=1.5, le=8.0)] = 2.5
    """Shock that may be a fall (1.5 to 8 g) ..."""
    lying_deg: Annotated[float, Meta(ge=30.0, le=85.0)] = 50.0
    """... when 1 to 2 s later the trunk is tilted by more than this (30 to 85 degrees) ..."""
    still_deg_s: Annotated[float, Meta(ge=5.0, le=120.0)] = 30.0
    """... and turns more slowly than this (5 to 120 degrees/s)."""
    countdown_s: Annotated[float, Meta(ge=10.0, le=120.0)] = 30.0
    """Time to cancel before the caregiver is called (10 to 120 s)."""
    recovered_steps: Annotated[int, Meta(ge=2, le=20)] = 4
    """Steps taken upright that cancel the countdown: the walker got up (2 to 20)."""


class Button(Section, frozen=True, kw_only=True):
    """The one button, between its pin and ground."""

    pin: Pin = 17
    """GPIO number (BCM) (0 to 27); the internal pull-up is used."""
    debounce_s: Annotated[float, Meta(ge=0.0, le=0.2)] = 0.03
    """Edges closer together than this are one (0 to 0.2 s)."""


class Buzzer(Section, frozen=True, kw_only=True):
    """The active buzzer: sounds with every warning, and is the voice's last stand-in."""

    pin: Pin = 22
    """GPIO number (BCM) of its transistor (0 to 27)."""


class Vibration(Section, frozen=True, kw_only=True):
    """The vibration motor."""

    pin: Pin = 27
    """GPIO number (BCM) of its transistor (0 to 27)."""


class Voice(Section, frozen=True, kw_only=True):
    """What the walker hears."""

    device: str = "default"
    """ALSA device, by name: "default", or "plughw:CARD=Device" (see `aplay -L`).  Never a card number."""
    espeak_voice: str = "en"
    """Voice that renders the phrases, as `espeak-ng --voices` lists them."""
    rate_wpm: Annotated[int, Meta(ge=100, le=260)] = 160
    """Speaking rate of phrases (100 to 260 words a minute).  "Stop" is always said at 200."""
    volume: Annotated[float, Meta(ge=0.2, le=1.0)] = 0.9
    """Level of warnings (0.2 to 1); everything else is a little lower.  Cannot be set to silence."""
    buffer_ms: Annotated[int, Meta(ge=10, le=200)] = 20
    """Sound kept in the device (10 to 200 ms).  20 ms keeps a warning within 25 ms of its decision."""
    tick_s: Annotated[float, Meta(ge=2.0, le=30.0)] = 8.0
    """The guarding tick, the proof of life, comes this often (2 to 30 s)."""


class Broker(Section, frozen=True, kw_only=True):
    """The MQTT broker that carries messages to the caregiver."""

    host: str = "localhost"
    """Name or address of the broker.  Empty: no messages are sent, and the device says so."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    """Port (1 to 65535); 8883 is usual with TLS."""
    tls: bool = False
    """Whether to encrypt.  Use it for every broker that is not on the device itself."""
    ca_file: str = ""
    """Certificate authority file for TLS; empty: the system's."""
    username: str = ""
    """User name; empty: the device's name when a password is set, else none."""
    password_file: str = ""
    """File that holds the password, readable by the service only; empty: none.  The password never stands here."""
    keepalive_s: Annotated[int, Meta(ge=5, le=120)] = 10
    """The broker gives up on a silent device after 1.5 times this (5 to 120 s)."""
    require_hub_ack: bool = False
    """Keep each event until a hub has acknowledged it, not only the broker."""


class Recording(Section, frozen=True, kw_only=True):
    """The recording of each walk."""

    enabled: bool = True
    """Whether walks are recorded (on the device only)."""
    file_max_mb: Annotated[int, Meta(ge=1, le=2000)] = 64
    """A recording file is closed and a new one begun at this size (1 to 2000 MB)."""
    total_max_mb: Annotated[int, Meta(ge=2, le=100000)] = 1024
    """The oldest recordings are deleted beyond this (2 to 100000 MB)."""


class Guard(Section, frozen=True, kw_only=True):
    """The guard's own behaviour."""

    check_limit_s: Annotated[float, Meta(ge=10.0, le=120.0)] = 30.0
    """A check at the start that nobody answers becomes limited protection after this (10 to 120 s)."""
    resume_within_s: Annotated[float, Meta(ge=0.0, le=3600.0)] = 600.0
    """A restart within this time of guarding resumes without the hand check (0 to 3600 s)."""
    repeat_not_protecting_s: Annotated[float, Meta(ge=5.0, le=120.0)] = 30.0
    """"Not protecting" is said again this often (5 to 120 s)."""


RangeSensor = HcSr04
"""Every kind of range sensor the configuration knows, told apart by `chip`."""

RANGE_SENSOR_KINDS: dict[str, type[HcSr04]] = {"hc-sr04": HcSr04}


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration.  `Config()` is the documented default."""

    device: Device = Device()
    walker: Walker = Walker()
    range_sensor: tuple[RangeSensor, ...] = (HcSr04(),)
    tracker: RangeTracker = RangeTracker()
    collision: Collision = Collision()
    freshness: Freshness = Freshness()
    imu: Imu = Imu()
    balance: Balance = Balance()
    fall: Fall = Fall()
    button: Button = Button()
    buzzer: Buzzer = Buzzer()
    vibration: Vibration = Vibration()
    voice: Voice = Voice()
    broker: Broker = Broker()
    recording: Recording = Recording()
    guard: Guard = Guard()


# ---------------------------------------------------------------------------------------------- reading


def load(path: str | Path) -> Config:
    """Reads and checks a configuration file.

    Raises `ConfigError` with every finding: unknown keys, wrong types, values out of range, broken rules
    between values, and text that is not TOML (with its line).  Raises `OSError` if it cannot be read.
    """
    return parse(Path(path).read_bytes(), str(path))


def parse(text: bytes, file: str) -> Config:
    """As `load`, from the bytes of a file that is called `file` in the findings."""
    try:
        table = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Finding(file, "(file)", "", f"is not TOML: {error}")]) from error
    return from_table(table, file)


def from_table(table: dict[str, Any], file: str = "(table)") -> Config:
    """As `load`, from a table that has been parsed already (a recording's, for instance)."""
    findings: list[Finding] = []
    values: dict[str, Any] = {}
    fields = {field.name: field for field in msgspec.structs.fields(Config)}
    for key, value in table.items():
        if key not in fields:
            findings.append(_unknown(file, key, value, fields))
        elif key == "range_sensor":
            values[key] = _range_sensors(file, value, findings)
        else:
            values[key] = _section(file, key, value, fields[key].type, findings)
    if not findings:
        config = Config(**values)
        findings.extend(Finding(file, *broken) for broken in _rules(config))
    if findings:
        raise ConfigError(findings)
    return config


def to_table(config: Config) -> dict[str, Any]:
    """The configuration as plain tables, for recordings; `from_table` reads it back."""
    table: dict[str, Any] = msgspec.to_builtins(config, builtin_types=())
    return table


def _section(file: str, prefix: str, value: Any, kind: type[Section], findings: list[Finding]) -> Section | None:
    if not isinstance(value, dict):
        findings.append(Finding(file, prefix, _shown(value), "must be a table"))
        return None
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    good: dict[str, Any] = {}
    for key, item in value.items():
        if key == kind.__struct_config__.tag_field:
            continue
        if key not in fields:
            findings.append(_unknown(file, f"{prefix}.{key}", item, fields))
            continue
        if isinstance(item, float) and not math.isfinite(item):
            findings.append(Finding(file, f"{prefix}.{key}", _shown(item), "must be a finite number"))
            continue
        try:
            good[key] = msgspec.convert(item, fields[key].type)
        except msgspec.ValidationError as error:
            findings.append(Finding(file, f"{prefix}.{key}", _shown(item), _rule_text(error)))
    return kind(**good)


def _range_sensors(file: str, value: Any, findings: list[Finding]) -> tuple[RangeSensor, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        findings.append(Finding(file, "range_sensor", _shown(value), "must be one or more [[range_sensor]] tables"))
        return ()
    sensors: list[RangeSensor] = []
    for index, item in enumerate(value):
        key = f"range_sensor[{index}]"
        chip = item.get("chip") if isinstance(item, dict) else None
        kind = RANGE_SENSOR_KINDS.get(chip) if isinstance(chip, str) else None
        if kind is None:
            known = ", ".join(sorted(RANGE_SENSOR_KINDS))
            findings.append(Finding(file, f"{key}.chip", _shown(chip), f"must be one of: {known}"))
            continue
        section = _section(file, key, item, kind, findings)
        if isinstance(section, kind):
            sensors.append(section)
    return tuple(sensors)


def _rules(config: Config) -> Iterator[tuple[str, str, str]]:
    """Rules that bind several values: (key, value, rule) for each that is broken."""
    collision = config.collision
    if collision.caution_floor_m <= collision.warning_floor_m:
        yield (
            "collision.caution_floor_m",
            f"{collision.caution_floor_m}",
            f"must be above warning_floor_m ({collision.warning_floor_m})",
        )
    if collision.touching_m >= collision.warning_floor_m:
        yield (
            "collision.touching_m",
            f"{collision.touching_m}",
            f"must be below warning_floor_m ({collision.warning_floor_m})",
        )
    if config.freshness.degraded_after_s >= config.freshness.lost_after_s:
        yield (
            "freshness.degraded_after_s",
            f"{config.freshness.degraded_after_s}",
            f"must be below lost_after_s ({config.freshness.lost_after_s})",
        )
    if config.recording.total_max_mb < config.recording.file_max_mb:
        yield (
            "recording.total_max_mb",
            f"{config.recording.total_max_mb}",
            f"must not be below file_max_mb ({config.recording.file_max_mb})",
        )
    names = [sensor.name for sensor in config.range_sensor]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "range_sensor.name", repr(name), "must be used once only"
    for sensor in config.range_sensor:
        if sensor.clear_range_m > sensor.range_max_m:
            yield (
                f"range_sensor.{sensor.name}.clear_range_m",
                f"{sensor.clear_range_m}",
                f"must not be above range_max_m ({sensor.range_max_m})",
            )
    taken: dict[int, str] = {}
    for key, pin in _pins(config):
        if pin in taken:
            yield key, f"{pin}", f"is already used by {taken[pin]}"
        taken.setdefault(pin, key)
    if axis_matrix(config.imu.axes) is None:
        yield "imu.axes", f"{list(config.imu.axes)}", "must be three different axes such as +x, -y, +z, right-handed"


def _pins(config: Config) -> Iterator[tuple[str, int]]:
    for sensor in config.range_sensor:
        yield f"range_sensor.{sensor.name}.trigger_pin", sensor.trigger_pin
        yield f"range_sensor.{sensor.name}.echo_pin", sensor.echo_pin
    yield "button.pin", config.button.pin
    yield "buzzer.pin", config.buzzer.pin
    yield "vibration.pin", config.vibration.pin


def axis_matrix(axes: Iterable[str]) -> tuple[tuple[int, float], ...] | None:
    """Turns names such as `("+x", "-z", "+y")` into (index, sign) for each body axis; None if not right-handed."""
    result: list[tuple[int, float]] = []
    for axis in axes:
        if len(axis) != 2 or axis[0] not in "+-" or axis[1] not in "xyz":
            return None
        result.append(("xyz".index(axis[1]), 1.0 if axis[0] == "+" else -1.0))
    indices = [index for index, _ in result]
    if sorted(indices) != [0, 1, 2]:
        return None
    inversions = sum(indices[i] > indices[j] for i in range(3) for j in range(i + 1, 3))
    handed = (-1.0) ** inversions * result[0][1] * result[1][1] * result[2][1]
    return tuple(result) if handed > 0 else None


def _unknown(file: str, key: str, value: Any, fields: Iterable[str]) -> Finding:
    return Finding(file, key, _shown(value), f"is not known; known here: {', '.join(fields)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _rule_text(error: msgspec.ValidationError) -> str:
    text = str(error)
    return "must be " + text.removeprefix("Expected ") if text.startswith("Expected") else text


def sections(config_type: type[Struct] = Config) -> Iterator[tuple[str, Any]]:
    """Name and type of each table, in the order of the file."""
    for field in msgspec.structs.fields(config_type):
        yield field.name, RangeSensor if get_origin(field.type) is tuple else field.type
