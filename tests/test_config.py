"""The configuration: its documented default file, what is found wrong in others, and the last good one."""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import logging
import math
import os
import random
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrowalk import config, lastgood
from retrowalk.config import Config
from retrowalk.core.alerts import FAULT_PARTS
from retrowalk.core.freshness import Freshness
from retrowalk.courier import hand_over
from retrowalk.errors import ConfigError, Finding
from retrowalk.voice import process as voice_process

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_FILE = ROOT / "systemd" / "retrowalk.toml"
DEFAULT_TEXT = DEFAULT_FILE.read_bytes()
DEFAULT_TABLE = tomllib.loads(DEFAULT_TEXT.decode())


def generator() -> ModuleType:
    """script/config-reference as a module."""
    loader = importlib.machinery.SourceFileLoader("config_reference", str(ROOT / "script" / "config-reference"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    had = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # or it leaves script/config-referencec behind
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = had
    return module


REFERENCE = generator()
FIELD_DOCS = functools.cache(REFERENCE.field_docs)

SECTIONS: list[tuple[str, type[config.Section]]] = list(config.sections())
KNOBS: list[tuple[str, type[config.Section], Any]] = [
    (name, kind, field) for name, kind in SECTIONS for field in msgspec.structs.fields(kind)
]


def knobs(which: Callable[[Any], object] = lambda _: True) -> pytest.MarkDecorator:
    """Runs a test for every knob whose type `which` chooses."""
    rows = [pytest.param(kind, field, id=f"{name}.{field.name}") for name, kind, field in KNOBS if which(field.type)]
    assert rows
    return pytest.mark.parametrize(("kind", "field"), rows)


def parsed(text: str | bytes) -> Config | list[Finding]:
    """The configuration in a file of this text, or what is found wrong with it.  Anything else raised is a failure."""
    try:
        return config.parse(text.encode() if isinstance(text, str) else text, "rw.toml")
    except ConfigError as error:
        return list(error.findings)


def findings_of(text: str | bytes) -> list[Finding]:
    found = parsed(text)
    assert isinstance(found, list), "nothing was found wrong"
    return found


def messages(text: str | bytes) -> list[str]:
    return [str(finding) for finding in findings_of(text)]


# ------------------------------------------------------------------------------------- the default file


def test_default_file_is_current():
    """systemd/retrowalk.toml is what script/config-reference makes of config.py today"""
    REFERENCE.main(["--check"])


@pytest.mark.slow
def test_check_notices_a_stale_file(tmp_path, monkeypatch):
    """script/config-reference --check fails when the file differs by one character"""
    stale = tmp_path / "systemd" / "retrowalk.toml"
    stale.parent.mkdir()
    stale.write_bytes(DEFAULT_TEXT.replace(b"gate = 12.0", b"gate = 12.5"))
    monkeypatch.setattr(REFERENCE, "TARGET", stale)
    monkeypatch.setattr(REFERENCE, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="is not what"):
        REFERENCE.main(["--check"])


def test_default_file_is_the_defaults():
    """The default file parses to exactly Config()"""
    assert config.load(DEFAULT_FILE) == Config()


def test_default_file_leaves_nothing_out():
    """Every knob stands in the default file, also those of kinds of sensors that are not in use"""
    text = re.sub(rb"(?m)^#(?=[a-z_]+ = |\[)", b"", DEFAULT_TEXT)  # the kinds that are not in the default set, too
    whole = tomllib.loads(text.decode())
    listed = {(name, "", key) for name, value in whole.items() if name != "range_sensor" for key in value}
    listed |= {("range_sensor", sensor["chip"], key) for sensor in whole["range_sensor"] for key in sensor}
    chip: dict[Any, str] = {kind: chip for chip, kind in config.RANGE_SENSOR_KINDS.items()}
    known = {(name, chip.get(kind, ""), field.name) for name, kind, field in KNOBS}
    assert listed == known | {("range_sensor", each, "chip") for each in chip.values()}


def test_every_kind_of_sensor_in_the_default_file_can_be_switched_on():
    """Uncommenting one of the kinds that are not in use gives a file that is in order"""
    head, *tables = re.split(rb"(?m)^(?=#\[\[range_sensor\]\])", DEFAULT_TEXT)
    assert len(tables) >= 1
    for table in tables:
        lines = table.split(b"\n\n")[0]
        switched = re.sub(rb"(?m)^#(?=[a-z_]+ = |\[)", b"", lines)
        assert isinstance(config.parse(switched, "rw.toml"), Config)


@knobs()
def test_every_knob_is_documented(kind, field):
    """Every knob has a string beneath it, and that string stands above its line in the default file"""
    doc = FIELD_DOCS(kind).get(field.name, "")
    assert len(doc) > 10
    stands = (f"# {doc}\n{off}{field.name} = ".encode() for off in ("", "#"))
    assert any(line in DEFAULT_TEXT for line in stands)


@knobs(config.bounds)
def test_documented_range_and_unit_are_the_checked_ones(kind, field):
    """A number's string states the range its type checks, and the unit its name says"""
    doc = FIELD_DOCS(kind)[field.name]
    stated = re.search(r"\((-?[0-9.x]+) to (-?[0-9.x]+[0-9A-Fa-f]*)(?: ([^)]+))?\)", doc)
    assert stated, f"no (range) in: {doc}"
    low, high, unit = stated.groups()
    number = (lambda text: int(text, 16)) if "0x" in low else float
    assert (number(low), number(high)) == config.bounds(field.type)
    assert (unit or "") == config.unit(field.name)


@knobs()
def test_every_number_has_a_range(kind, field):
    """No number is open at an end, because an open one lets a slip of the finger through"""
    base = get_args(field.type)[0] if get_origin(field.type) is not None else field.type
    if base in (int, float):
        assert config.bounds(field.type) is not None


@knobs(lambda kind: get_origin(kind) is Literal)
def test_every_choice_is_documented(kind, field):
    """A choice's string names every answer"""
    doc = FIELD_DOCS(kind)[field.name]
    assert all(choice in doc for choice in get_args(field.type))


@knobs(lambda kind: get_origin(kind) is not Literal or len(get_args(kind)) > 1)
def test_every_knob_is_used(kind, field):
    """The program asks for every knob by its name: none is there to be turned in vain"""
    asks = re.compile(rf"\.{field.name}\b")
    files = (ROOT / "src" / "retrowalk").rglob("*.py")
    assert any(asks.search(file.read_text()) for file in files if file.name != "config.py"), field.name


@pytest.mark.parametrize(
    ("knob", "beat_s"),
    [
        pytest.param("voice_lost_after_s", voice_process.BEAT_S, id="voice"),
        pytest.param("courier_lost_after_s", hand_over.BEAT_S, id="courier"),
    ],
)
def test_no_setting_loses_a_part_that_is_well(knob, beat_s):
    """The shortest patience that can be set is two signs of life: a healthy process is never called silent"""
    kind = next(field.type for field in msgspec.structs.fields(config.Freshness) if field.name == knob)
    limits = config.bounds(kind)
    assert limits is not None
    assert limits[0] >= 2.0 * beat_s


# ---------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "[walker]\nprofile = 'old'",
            'rw.toml: walker.profile = "old": must be one of: older, younger, measured',
            id="choice",
        ),
        pytest.param(
            "[freshness]\nlost_after_s = 9",
            "rw.toml: freshness.lost_after_s = 9: must be 0.2 to 2 (s)",
            id="above the range",
        ),
        pytest.param(
            "[collision]\nmoving_m_s = -0.1",
            "rw.toml: collision.moving_m_s = -0.1: must be 0.02 to 0.5 (m/s)",
            id="below the range",
        ),
        pytest.param("[voice]\nvolume = 2", "rw.toml: voice.volume = 2: must be 0.2 to 1", id="no unit"),
        pytest.param(
            "[fall]\nimpact_g = true",
            "rw.toml: fall.impact_g = true: must be a number, 1.5 to 8 (g)",
            id="truth for a number",
        ),
        pytest.param(
            "[fall]\nimpact_g = '2.5'",
            'rw.toml: fall.impact_g = "2.5": must be a number, 1.5 to 8 (g)',
            id="text for a number",
        ),
        pytest.param(
            "[fall]\nimpact_g = nan",
            "rw.toml: fall.impact_g = nan: must be a finite number, 1.5 to 8 (g)",
            id="not a number",
        ),
        pytest.param(
            "[fall]\nimpact_g = -inf",
            "rw.toml: fall.impact_g = -inf: must be a finite number, 1.5 to 8 (g)",
            id="infinite",
        ),
        pytest.param(
            "[fall]\nrecovered_steps = 4.0",
            "rw.toml: fall.recovered_steps = 4.0: must be a whole number, 2 to 20",
            id="fraction for a whole number",
        ),
        pytest.param("[button]\npin = 40", "rw.toml: button.pin = 40: must be 0 to 27", id="no such pin"),
        pytest.param(
            "[button]\npin = false", "rw.toml: button.pin = false: must be a whole number, 0 to 27", id="no pin"
        ),
        pytest.param(
            "[imu]\naddress = 0x80",
            "rw.toml: imu.address = 128: must be 0x00 (the chip's usual one) or a whole number, 0x08 to 0x77",
            id="address in the numbers of datasheets",
        ),
        pytest.param("[broker]\ntls = 1", "rw.toml: broker.tls = 1: must be true or false", id="number for truth"),
        pytest.param(
            "[broker]\nhost = 7",
            "rw.toml: broker.host = 7: must be text on one line, at most 200 characters",
            id="number for text",
        ),
        pytest.param(
            '[device]\nname = "rear\\n"',
            'rw.toml: device.name = "rear\\n": must be 1 to 32 of a to z, 0 to 9 and hyphen',
            id="name with a line feed",
        ),
        pytest.param(
            '[device]\nlanguage = "de\\n"',
            'rw.toml: device.language = "de\\n": must be one of: en, de',
            id="language with a line feed",
        ),
        pytest.param(
            '[voice]\ndevice = ""',
            'rw.toml: voice.device = "": must be text on one line, 1 to 200 characters',
            id="no sound device",
        ),
        pytest.param(
            '[imu]\naxes = ["+x", "+y"]',
            'rw.toml: imu.axes = [\'+x\', \'+y\']: must be three axes such as ["+x", "+y", "+z"]',
            id="two axes",
        ),
        pytest.param(
            '[imu]\naxes = ["+x", "+y", "-z"]',
            "rw.toml: imu.axes = ['+x', '+y', '-z']: must be three different axes such as +x, -y, +z that make a "
            "right-handed set",
            id="left-handed axes",
        ),
        pytest.param(
            "[walker]\nreach = 1",
            "rw.toml: walker.reach = 1: is not known; known here: profile, measured_stop_s, step_length_m, "
            "step_bounce_m_s2, step_time_s, speed_factor, reach_m, clearance_m, usual_speed_m_s, "
            "hearing",
            id="unknown key",
        ),
        pytest.param(
            "[[range_sensor]]\nchip = 'vl53l1x'\n[[range_sensor]]\nchip = 'vl53l1x'\nname = 'low'\naddress = 0x30",
            'rw.toml: range_sensor[1].chip = "vl53l1x": must not be a second vl53l1x (the first is range_sensor[0]): '
            "at power-on both answer at 0x29",
            id="two chips that begin at one address",
        ),
        pytest.param("walker = 3", "rw.toml: walker = 3: must be a table, [walker]", id="number for a table"),
        pytest.param(
            "range_sensor = []",
            "rw.toml: range_sensor = []: must be one or more tables, [[range_sensor]]",
            id="no range sensor",
        ),
        pytest.param(
            "[[range_sensor]]\nname = 'rear'",
            "rw.toml: range_sensor[0].chip = (missing): must be one of: a02yyuw, hc-sr04, tf-luna, vl53l1x",
            id="range sensor without a chip",
        ),
        pytest.param(
            "[[range_sensor]]\nchip = 'hc-sr04'\ntrigger_pin = 4.5",
            "rw.toml: range_sensor[0].trigger_pin = 4.5: must be a whole number, 0 to 27",
            id="in a range sensor",
        ),
        pytest.param(
            "[collision]\ncaution_floor_m = 0.5",
            "rw.toml: collision.caution_floor_m = 0.5: must be above warning_floor_m (0.5)",
            id="caution not before warning",
        ),
        pytest.param(
            "[imu]\npoll_s = 0.2\n[freshness]\ndegraded_after_s = 0.2",
            "rw.toml: imu.poll_s = 0.2: must be below freshness.degraded_after_s (0.2)",
            id="rule between two tables",
        ),
        pytest.param(
            "[recording]\nfile_max_mb = 2000",
            "rw.toml: recording.total_max_mb = 1024: must not be below file_max_mb (2000)",
            id="one recording larger than all",
        ),
        pytest.param(
            "[[range_sensor]]\nchip = 'hc-sr04'\nclear_range_m = 4.5",
            "rw.toml: range_sensor[0].clear_range_m = 4.5: must not be above range_max_m (4.0)",
            id="clear beyond what is seen",
        ),
        pytest.param(
            "[buzzer]\npin = 24",
            "rw.toml: buzzer.pin = 24: is already used by range_sensor[0].echo_pin",
            id="pin taken",
        ),
        pytest.param(
            "[buzzer]\npin = 2",
            "rw.toml: buzzer.pin = 2: is already used by imu, whose I2C bus needs it",
            id="pin of the bus",
        ),
        pytest.param(
            '[air]\nthermometer = "ds18b20"\n[buzzer]\npin = 4',
            "rw.toml: buzzer.pin = 4: is already used by air.thermometer, whose 1-Wire bus needs it",
            id="pin of the thermometer",
        ),
        pytest.param(
            "[vibration]\nright_pin = 27",
            "rw.toml: vibration.right_pin = 27: is already used by vibration.pin",
            id="two motors on one pin",
        ),
        pytest.param(
            "[led]\npin = 22",
            "rw.toml: led.pin = 22: is already used by buzzer.pin",
            id="light on the buzzer's pin",
        ),
        pytest.param(
            "[vibration]\nstrength = 0.0",
            "rw.toml: vibration.strength = 0.0: must be 0.3 to 1",
            id="vibration of no strength",
        ),
    ],
)
def test_finding_says_the_rule(text, message):
    """A finding names file, key and value, and says in plain words what must be there instead"""
    assert messages(text) == [message]


@pytest.mark.parametrize("name", sorted({*FAULT_PARTS, *Freshness(config.Freshness(), ("imu",)).parts}))
def test_sensor_called_like_another_part(name):
    """A range sensor called "voice" would hide that the voice is dead: whatever is followed by name keeps its own"""
    assert messages(f"[[range_sensor]]\nchip = 'hc-sr04'\nname = '{name}'\n") == [
        f'rw.toml: range_sensor[0].name = "{name}": is already the name of another part of the device'
    ]


def test_two_sensors_of_one_name():
    """Two range sensors cannot share a name: the walker would not know which one is meant"""
    sensor = "[[range_sensor]]\nchip = 'hc-sr04'\ntrigger_pin = {}\necho_pin = {}\n"
    assert messages(sensor.format(5, 6) + sensor.format(7, 8)) == [
        'rw.toml: range_sensor[1].name = "rear": is already the name of range_sensor[0]'
    ]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        pytest.param(b"", "holds no setting", id="empty, as after a power cut"),
        pytest.param(b"# nothing but words\n", "holds no setting", id="comments only"),
        pytest.param(b"\0" * 512, "is not TOML", id="zeros, as after a power cut"),
        pytest.param(b"[device]\n\n[walker\n", "is not TOML: .*line 3", id="bracket missing"),
        pytest.param(b"[device]\n[device]\n", "is not TOML: .*line 2", id="table twice"),
        pytest.param(b"[device]\n# \xff\n", "is not UTF-8 text .at line 2.", id="not UTF-8"),
        pytest.param(b"x = " + b"[" * 5000, "is not TOML", id="brackets without end"),
        pytest.param(b"x = " + b"9" * 5000, "is not TOML", id="digits without end"),
        pytest.param(b"# \n" * 100_000, "longer than 256 KiB", id="long"),
    ],
)
def test_text_that_is_no_configuration(text, rule):
    """What cannot be read as settings is one finding, with the line where there is one"""
    (finding,) = findings_of(text)
    assert finding.file == "rw.toml"
    assert re.search(rule, finding.rule)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"voice.volume = 0x" + b"f" * 9000, id="number of 36000 bits"),
        pytest.param(b"button.pin = 0x" + b"f" * 9000, id="whole number of 36000 bits"),
        pytest.param(b"walker" + b".a" * 2000 + b" = 1", id="table 2000 deep"),
        pytest.param(b"voice.device = '" + b"a" * 9000 + b"'", id="text of 9000 letters"),
    ],
)
def test_huge_value_is_a_short_finding(text):
    """A value too large to show is shortened, not the cause of another error"""
    (message,) = messages(text)
    assert len(message) < 400


def test_every_finding_at_once():
    """Unknown tables and keys, wrong types, ranges and broken rules of one file are found in one go"""
    found = findings_of(
        """
        [device]
        name = "Great Aunt"
        [colision]
        touching_m = 0.3
        [walker]
        reach_m = true
        shoe_size = 42
        [freshness]
        lost_after_s = 0.2
        [[range_sensor]]
        chip = "hc-sr05"
        echo_pin = 17
        """
    )
    assert {finding.key for finding in found} == {
        "device.name",
        "colision",
        "walker.reach_m",
        "walker.shoe_size",
        "freshness.degraded_after_s",
        "range_sensor[0].chip",
    }
    assert all(finding.file == "rw.toml" and finding.value and finding.rule for finding in found)


def test_bad_value_is_one_finding():
    """A value that is bad itself is not also blamed for not fitting the others"""
    assert [finding.key for finding in findings_of("[collision]\nwarning_floor_m = 99\ncaution_floor_m = 0.4")] == [
        "collision.warning_floor_m"
    ]


@pytest.mark.parametrize(
    ("text", "where", "value"),
    [
        pytest.param("[fall]\ncountdown_s = 40", ("fall", "countdown_s"), 40.0, id="40 for 40.0"),
        pytest.param("fall.countdown_s = 4e1", ("fall", "countdown_s"), 40.0, id="dotted key"),
        pytest.param("[broker]\nhost = ''", ("broker", "host"), "", id="no broker"),
        pytest.param("\ufeff[device]\r\nname = 'x'\r\n", ("device", "name"), "x", id="written on Windows"),
        pytest.param("[device]\nsite = 'ward-7'", ("device", "site"), "ward-7", id="part of the file"),
    ],
)
def test_accepted(text, where, value):
    """What a person means is taken as meant"""
    section, key = where
    found = getattr(getattr(config.parse(text.encode(), "rw.toml"), section), key)
    assert found == value
    assert type(found) is type(value)


def test_table_round_trip():
    """A configuration goes into a recording as plain tables and comes back equal"""
    changed = config.parse(b"[fall]\ncountdown_s = 40\n[[range_sensor]]\nchip = 'hc-sr04'\nname = 'left'", "rw.toml")
    assert config.from_table(config.to_table(changed)) == changed
    assert config.from_table(msgspec.json.decode(msgspec.json.encode(config.to_table(changed)))) == changed


@pytest.mark.parametrize("kind", config.RANGE_SENSOR_KINDS)
def test_file_round_trip(kind):
    """Every kind of sensor, and text with what files set apart, is written so that it reads back equal"""
    voice = config.Voice(device='plughw:CARD="\\µ\U0001f50a"')
    changed = Config(range_sensor=(config.RANGE_SENSOR_KINDS[kind](),), voice=voice)
    assert config.parse(config.to_toml(changed).encode(), "rw.toml") == changed


def test_file_that_cannot_be_read(tmp_path):
    """`load` leaves it to the caller to say that a file is absent"""
    with pytest.raises(FileNotFoundError):
        config.load(tmp_path / "absent.toml")


# ------------------------------------------------------------------------------------------ properties


def within_limits(value: Any) -> bool:
    """Whether every number of a configuration is finite and in its range."""
    for section in msgspec.structs.fields(Config):
        part = getattr(value, section.name)
        for table in part if isinstance(part, tuple) else (part,):
            for field in msgspec.structs.fields(type(table)):
                limits = config.bounds(field.type)
                number = getattr(table, field.name)
                if limits and not (math.isfinite(number) and limits[0] <= number <= limits[1]):
                    return False
    return True


def settings_of(table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every (key, value) of a parsed file, keys as findings write them."""
    for name, value in table.items():
        if isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                yield from ((f"{name}[{index}].{key}", item[key]) for key in item)
        else:
            yield from ((f"{name}.{key}", value[key]) for key in value)


def means_what_it_says(loaded: Config, table: dict[str, Any]) -> bool:
    """Whether every value of the file, and no default in its place, is in the configuration."""
    said = dict(settings_of(config.to_table(loaded)))
    return all(key in said and said[key] == (tuple(v) if isinstance(v, list) else v) for key, v in settings_of(table))


ANY_VALUE = st.one_of(
    st.booleans(),
    st.integers(),
    st.integers(min_value=-1, max_value=130),
    st.floats(),
    st.floats(min_value=-1, max_value=50),
    st.text(max_size=40),
    st.sampled_from(["older", "younger", "measured", "rear", "hc-sr04", "lsm6dsox"]),
    st.dates(),
    st.lists(st.sampled_from(["+x", "-x", "+y", "-y", "+z", "-z", 1]), max_size=4),
    st.dictionaries(st.sampled_from(["chip", "pin"]), st.integers(), max_size=2),
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.sampled_from([key for key, _ in settings_of(DEFAULT_TABLE)]), ANY_VALUE)
def test_any_value_loads_within_limits_or_is_named(key, value):
    """Whatever a key of the default file is set to: it is in force and within limits, or a finding names it

    What is in force can be written down as a file that says the same.
    """
    table: dict[str, Any] = tomllib.loads(DEFAULT_TEXT.decode())
    section, _, name = key.rpartition(".")
    of_list = section.startswith("range_sensor[")
    (table["range_sensor"][int(section[13:-1])] if of_list else table[section])[name] = value
    try:
        loaded = config.from_table(table, "rw.toml")
    except ConfigError as error:
        # Another kind of sensor has other keys: then what is found is found in its table.
        of_it = section if name == "chip" else key
        named = [
            f.key == key or key in f.rule or f" {name} (" in f.rule or f.key.startswith(of_it) for f in error.findings
        ]
    else:
        again = config.parse(config.to_toml(loaded).encode(), "again.toml")
        named = [within_limits(loaded), means_what_it_says(loaded, table), again == loaded]
    assert all(named)


def mutations(count: int) -> Iterator[bytes]:
    """The default file, spoiled in ways of which each is one a card, an editor or a person makes."""
    chance = random.Random(7)
    values = [
        b"nan",
        b"-inf",
        b"true",
        b"-1",
        b"0",
        b"1e9",
        b'""',
        b'"x"',
        b"[]",
        b"{}",
        b"1979-05-27",
        b"0x7F",
        b"",
        b"[[",
    ]
    lines = DEFAULT_TEXT.splitlines(keepends=True)
    settings_at = [index for index, line in enumerate(lines) if b" = " in line and not line.startswith(b"#")]
    for _ in range(count):
        text = bytearray(DEFAULT_TEXT)
        way = chance.randrange(6)
        where = chance.randrange(len(text))
        if way == 0:
            for _ in range(chance.randint(1, 4)):
                text[chance.randrange(len(text))] = chance.randrange(256)
        elif way == 1:
            text[where : where + chance.randint(1, 60)] = b""
        elif way == 2:
            text[where:where] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
        elif way == 3:
            text[where : where + 512] = bytes(len(text[where : where + 512]))
        elif way == 4:
            text = text[:where]
        else:
            changed = list(lines)
            for index in chance.sample(settings_at, chance.randint(1, 4)):
                changed[index] = changed[index].split(b" = ")[0] + b" = " + chance.choice(values) + b"\n"
            text = bytearray(b"".join(changed))
        yield bytes(text)


@pytest.mark.slow
def test_500_spoiled_files():
    """A spoiled file loads with every value it states in force and within limits, or gives findings: nothing else"""
    refused = 0
    for text in mutations(500):
        found = parsed(text)
        if isinstance(found, list):
            refused += 1
            assert found
            assert all(finding.key and finding.rule for finding in found)
        else:
            table = tomllib.loads(text.decode())
            assert table
            assert within_limits(found)
            assert means_what_it_says(found, table)
    assert 150 < refused < 500  # both outcomes were seen


@pytest.mark.process
def test_import_is_cheap():
    """Importing config and lastgood pulls in no device, network, data base or parser of Python source"""
    code = "import sys, retrowalk.config, retrowalk.lastgood; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    heavy = {"gpiozero", "lgpio", "smbus2", "pyttsx3", "paho", "mcap", "click", "rich", "numpy", "asyncio", "sqlite3"}
    assert not heavy & set(answer.stdout.split())


# ----------------------------------------------------------------------------------------- last good one


@pytest.fixture
def file(tmp_path):
    """A configuration file in order, unlike the default."""
    path = tmp_path / "etc" / "retrowalk.toml"
    path.parent.mkdir()
    path.write_bytes(b"[fall]\ncountdown_s = 40\n")
    return path


@pytest.fixture
def last_good(tmp_path):
    """Where the last good one goes; nothing is there yet."""
    path = tmp_path / "state" / "last-good.toml"
    path.parent.mkdir()
    return path


def test_good_file_is_used_and_kept(file, last_good):
    """A file in order is used, and its copy is the last good one, byte for byte"""
    found, problem = lastgood.resolve(file, last_good)
    assert (found.fall.countdown_s, problem) == (40.0, "")
    assert last_good.read_bytes() == file.read_bytes()
    assert [path.name for path in last_good.parent.iterdir()] == [last_good.name]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.write_bytes(b"[fall]\ncountdown_s = 400\n"), id="out of range"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"\0\0\0"), id="zeros"),
        pytest.param(lambda path: path.unlink(), id="gone"),
        pytest.param(lambda path: (path.unlink(), path.mkdir()), id="a folder"),
    ],
)
def test_spoiled_file_falls_back_and_says_so(file, last_good, spoil):
    """When the file cannot be used, the last good settings are, the file is named, and the copy stays"""
    lastgood.resolve(file, last_good)
    kept = last_good.read_bytes()
    spoil(file)
    found, problem = lastgood.resolve(file, last_good)
    assert found.fall.countdown_s == 40.0
    assert problem.startswith(f"{file}: ")
    assert last_good.read_bytes() == kept


def test_problem_has_every_finding(file, last_good):
    """The problem text lists all that is wrong, a line each"""
    lastgood.resolve(file, last_good)
    file.write_bytes(b"[fall]\ncountdown_s = 400\nimpact_g = 0\n[nonsense]\n")
    _, problem = lastgood.resolve(file, last_good)
    assert [line.split(" = ")[0] for line in problem.splitlines()] == [
        f"{file}: fall.countdown_s",
        f"{file}: fall.impact_g",
        f"{file}: nonsense",
    ]


def test_neither_usable(file, last_good):
    """With no file in order there are no settings, not even the defaults; the findings of both are told"""
    file.write_bytes(b"[fall]\ncountdown_s = 400\n")
    last_good.write_bytes(b"[fall")
    with pytest.raises(ConfigError) as caught:
        lastgood.resolve(file, last_good)
    assert [finding.file for finding in caught.value.findings] == [str(file), str(last_good)]


def test_new_settings_replace_the_last_good_ones(file, last_good):
    """The last good one is the latest that was in order"""
    lastgood.resolve(file, last_good)
    file.write_bytes(b"[fall]\ncountdown_s = 50\n")
    lastgood.resolve(file, last_good)
    file.unlink()
    assert lastgood.resolve(file, last_good)[0].fall.countdown_s == 50.0


def test_equal_copy_is_not_written_again(file, last_good):
    """Starting again with the same settings writes nothing to the card"""
    lastgood.resolve(file, last_good)
    before = last_good.stat()
    lastgood.resolve(file, last_good)
    after = last_good.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_absent_folder_is_no_problem(file, tmp_path, caplog):
    """A process without a folder to write in uses the file all the same, in silence"""
    found, problem = lastgood.resolve(file, tmp_path / "nowhere" / "last-good.toml")
    assert (found.fall.countdown_s, problem) == (40.0, "")
    assert not caplog.records


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_that_is_not_ours_is_left_alone(file, last_good):
    """A process that may only read the folder (the guard) uses the file and writes nothing"""
    last_good.parent.chmod(0o500)
    try:
        assert lastgood.resolve(file, last_good)[1] == ""
        assert not last_good.exists()
    finally:
        last_good.parent.chmod(0o700)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_card_is_reported_not_fatal(file, last_good, caplog, monkeypatch, call):
    """A copy that cannot be kept is logged; the settings are used, the older copy is whole, nothing is left over"""
    last_good.write_bytes(b"[fall]\ncountdown_s = 20\n")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with caplog.at_level(logging.WARNING):
        found, problem = lastgood.resolve(file, last_good)
    assert (found.fall.countdown_s, problem) == (40.0, "")
    assert "No space left on device" in caplog.text
    assert last_good.read_bytes() == b"[fall]\ncountdown_s = 20\n"
    assert [path.name for path in last_good.parent.iterdir()] == [last_good.name]
