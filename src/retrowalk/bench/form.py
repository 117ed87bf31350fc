"""The form of the bench tests (`hardware/bench/form.toml`): what was measured, one table a run; empty: not measured.

`retrowalk bench take` adds runs at its end; a person may write them, too.
"""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from retrowalk import wholefile
from retrowalk.errors import ConfigError, Finding
from retrowalk.sim.estimates import ESTIMATED, GROUND_CLUTTER, TARGET_LOSS_DB, each, from_table

Count = Annotated[int, Meta(ge=0, le=10_000_000)]
Metres = Annotated[float, Meta(ge=0.0, le=50.0)]
Degrees = Annotated[float, Meta(ge=0.0, le=90.0)]
Celsius = Annotated[float, Meta(ge=-30.0, le=60.0)]
NotNegative = Annotated[float, Meta(ge=0.0, le=1e6)]
Three = Annotated[list[float], Meta(min_length=3, max_length=3)]
Text = Annotated[str, Meta(max_length=200)]

HIT, LONG, NEAR, NOTHING = "h", "l", "n", "."
"""What a ping gave: an answer at the target, behind it, before it, none."""
_RUNS = re.compile(r"(\d*)([hln.])")


class _Run(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    note: Text = ""
    """Anything worth knowing."""


class EchoRun(_Run, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One run of an ultrasonic sensor: at a target, over a ground, or with nothing behind (neither)."""

    sensor: Literal["hc-sr04", "a02yyuw"] = "hc-sr04"
    target: str = ""
    """What stands there, by the names of the model; a board is a `wall`."""
    distance_m: Metres = 0.0
    """From the sensor's face to it, by tape."""
    off_axis_deg: Degrees = 0.0
    """How far the sensor is turned away from it."""
    ground: str = ""
    """With the sensor level at `height_m` and nothing behind: what lies below."""
    height_m: Metres = 0.0
    temperature_c: Celsius = 20.0
    """Air, by a thermometer in the shade."""
    wet: bool = False
    """Sprayed with water, or in rain."""
    wind: bool = False
    """Wind above 8 m/s, or beside traffic."""
    switched: Literal["", "motor", "amplifier", "buzzer"] = ""
    """What was running on the same supply."""
    pings: Count = 0
    hits: Count = 0
    """Answers within 15 cm of the distance; over a ground: within 15 % of their median."""
    longer: Count = 0
    """Answers from behind it."""
    nearer: Count = 0
    """Answers from before it; with nothing behind: every answer from 0.2 to 3 m."""
    blocked: Count = 0
    """How often the membrane was blocked: readings below 5 cm, one after the other."""
    sequence: str = ""
    """Every ping in order, as numbers of equal ones: 312h4.20h.  It tells how misses come in bursts."""
    median_m: Metres = 0.0
    """Of the hits, for the air there was."""
    spread_m: Metres = 0.0
    """Of the hits: standard deviation without outliers."""
    outliers: Count = 0
    """Hits and others that are 3 to 35 cm off the median."""

    @property
    def kind(self) -> str:
        return "target" if self.target else "ground" if self.ground else "empty"


class LidarRun(_Run, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One run of a TF-Luna: at a target, on a ground, or at the sun."""

    role: Literal["rear", "dropoff"] = "rear"
    target: str = ""
    distance_m: Metres = 0.0
    ground: str = ""
    height_m: Metres = 0.0
    down_deg: Degrees = 35.0
    """Below level, on a ground."""
    wet: bool = False
    """The ground is wet."""
    rain: bool = False
    """Rain or spray in the beam or on the window."""
    window: Literal["", "clean"] = ""
    """Whether it looks through the case's window."""
    sun_deg: Annotated[float, Meta(ge=-1.0, le=90.0)] = -1.0
    """How far the sun stood off its axis; -1: elsewhere."""
    frames: Count = 0
    answered: Count = 0
    """Frames with a range."""
    blinded: Count = 0
    """Frames that the sensor itself doubted."""
    rate_hz: NotNegative = 0.0
    """Frames a second it was set to."""
    amplitude: NotNegative = 0.0
    """Mean."""
    amplitude_spread: NotNegative = 0.0
    mean_m: Metres = 0.0
    spread_m: Metres = 0.0
    """Standard deviation; the centimetre it counts in is taken out."""
    spots_m: list[Metres] = []
    """Mean range on each of many spots of the ground, 20 cm or more apart."""

    @property
    def kind(self) -> str:
        return "sun" if self.sun_deg >= 0.0 else "ground" if self.ground else "target"


class WalkRun(_Run, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A walk backward with nobody behind, over a measured way."""

    ground: str = "asphalt"
    distance_m: Metres = 20.0
    seconds: NotNegative = 0.0
    """Of the steady part."""
    speed_m_s: Annotated[float, Meta(ge=0.1, le=3.0)] = 0.8
    """Way over time."""
    steps_hz: NotNegative = 0.0
    pitch_deg: NotNegative = 0.0
    """Amplitude of trunk pitch at step rate."""
    roll_deg: NotNegative = 0.0
    """Amplitude of trunk roll with the stride."""
    yaw_deg: NotNegative = 0.0
    """Amplitude of trunk turning with the stride."""
    bounce_m_s2: NotNegative = 0.0
    """RMS of vertical acceleration at step rate."""
    pings: Count = 0
    false_answers: Count = 0
    """Answers of the ultrasonic sensor though nothing was behind."""


class StillRun(_Run, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The clip on a table."""

    samples: Count = 0
    rate_hz: NotNegative = 0.0
    nominal_hz: NotNegative = 104.0
    accel_noise_m_s2: Three | None = None
    gyro_noise_deg_s: Three | None = None
    gyro_bias_deg_s: Three | None = None


class KerbRun(_Run, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Walking backward to a kerb, in a harness or with somebody beside: by hand."""

    ground: str = "asphalt"
    drop_m: Metres = 0.12
    approaches: Count = 0
    named: Count = 0
    """How often "step down" was said in time."""
    nearest_m: Metres = 0.0
    """Smallest distance from sensor to edge when it was said."""


class Module(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an ultrasonic module does when it hears nothing (`bench take module`)."""

    no_target_ms: Annotated[float, Meta(gt=0.0, le=250.0)] | None = None
    no_pulse: bool = False
    hangs: bool = False
    """Whether its echo line stays high until power is cut."""


class Other(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A number of the model measured in some other way."""

    parameter: str
    value: float | str | list[float]
    low: float | None = None
    high: float | None = None
    n: Count = 0
    how: Text = ""


class Bench(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which device, when and by whom."""

    device: Text = ""
    build: Literal["", "starter", "outdoor"] = ""
    date: Text = ""
    by: Text = ""


class Form(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that was measured."""

    bench: Bench = Bench()
    module: Module = Module()
    echo: list[EchoRun] = []
    lidar: list[LidarRun] = []
    walk: list[WalkRun] = []
    still: list[StillRun] = []
    kerb: list[KerbRun] = []
    other: list[Other] = []

    @property
    def empty(self) -> bool:
        """Whether nothing was measured."""
        return self.module == Module() and not any(
            (self.echo, self.lidar, self.walk, self.still, self.kerb, self.other)
        )


def symbols(sequence: str) -> list[tuple[str, int]]:
    """What each ping gave and how often in a row.  Raises `ValueError` for anything else."""
    if _RUNS.sub("", sequence):
        raise ValueError("only numbers and the letters h, l, n and the point")
    return [(symbol, int(count or 1)) for count, symbol in _RUNS.findall(sequence)]


def packed(each_ping: str) -> str:
    """Pings one after the other, as the form keeps them."""
    parts = re.findall(r"((.)\2*)", each_ping)
    return "".join(f"{len(run) if len(run) > 1 else ''}{symbol}" for run, symbol in parts)


def read(file: Path) -> Form:
    """What a form holds.  Raises `ConfigError` that names field, value and rule, and `OSError`."""
    try:
        return parsed(file.read_text(encoding="utf-8"), str(file))
    except UnicodeDecodeError as error:
        raise ConfigError([Finding(str(file), "(file)", "", f"is not text: {error}")]) from error


def parsed(text: str, file: str) -> Form:
    """As `read`, of a text that `file` held."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Finding(file, "(file)", "", f"is not TOML: {error}")]) from error
    try:
        form = msgspec.convert(table, Form)
    except msgspec.ValidationError as error:
        rule, _, place = str(error).rpartition(" - at `$.")
        rule, key = (rule, place.rstrip("`")) if rule else (str(error), "(file)")
        raise ConfigError([Finding(file, key, _value(table, key), rule[:1].lower() + rule[1:])]) from error
    findings = [Finding(file, *wrong) for wrong in _contradictions(form)]
    if findings:
        raise ConfigError(findings)
    return form


def check(run: Struct, file: str) -> None:
    """Raises `ConfigError` for what cannot be of one run."""
    wrong = _echo(run) if isinstance(run, EchoRun) else _lidar(run) if isinstance(run, LidarRun) else []
    if isinstance(run, WalkRun) and run.ground not in GROUND_CLUTTER:
        wrong = [("ground", run.ground, _one_of(GROUND_CLUTTER))]
    if wrong:
        raise ConfigError([Finding(file, *one) for one in wrong])


def add(file: Path, kind: str, run: Struct) -> None:
    """Writes one more run at the end of a form; its words and comments stay.  Raises `ConfigError`, `OSError`."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    after = f"{before.rstrip()}\n\n{text_of(kind, run)}" if before.strip() else text_of(kind, run)
    parsed(after, str(file))
    wholefile.write(file, after.encode(), for_all=True)


def _value(table: Any, key: str) -> str:
    for name, number in re.findall(r"(\w+)|\[(\d+)\]", key):
        try:
            table = table[name or int(number)]
        except (KeyError, IndexError, TypeError):
            return ""
    return str(table)


def _contradictions(form: Form) -> list[tuple[str, str, str]]:
    """What cannot be, though each value by itself could: (key, value, rule)."""
    wrong: list[tuple[str, str, str]] = []
    for number, run in enumerate(form.echo):
        wrong += [(f"echo[{number}].{key}", value, rule) for key, value, rule in _echo(run)]
    for number, look in enumerate(form.lidar):
        wrong += [(f"lidar[{number}].{key}", value, rule) for key, value, rule in _lidar(look)]
    grounds = chain(
        ((f"walk[{number}]", walk.ground) for number, walk in enumerate(form.walk)),
        ((f"kerb[{number}]", kerb.ground) for number, kerb in enumerate(form.kerb)),
    )
    wrong += [
        (f"{key}.ground", ground, _one_of(GROUND_CLUTTER)) for key, ground in grounds if ground not in GROUND_CLUTTER
    ]
    for number, kerb in enumerate(form.kerb):
        if kerb.named > kerb.approaches:
            wrong.append((f"kerb[{number}].named", str(kerb.named), f"more than the {kerb.approaches} approaches"))
    for number, walk in enumerate(form.walk):
        if walk.false_answers > walk.pings:
            wrong.append(
                (f"walk[{number}].false_answers", str(walk.false_answers), f"more than the {walk.pings} pings")
            )
    for number, other in enumerate(form.other):
        wrong += [(f"other[{number}].{key}", value, rule) for key, value, rule in _other(other)]
    return wrong


def _one_of(names: Any) -> str:
    return f"must be one of {', '.join(names)}"


def _echo(run: EchoRun) -> list[tuple[str, str, str]]:
    wrong = []
    if run.target and run.target not in TARGET_LOSS_DB:
        wrong.append(("target", run.target, _one_of(TARGET_LOSS_DB)))
    if run.ground and run.ground not in GROUND_CLUTTER:
        wrong.append(("ground", run.ground, _one_of(GROUND_CLUTTER)))
    if run.target and run.ground:
        wrong.append(("ground", run.ground, "a run is at a target or over a ground, not both"))
    if run.target and run.distance_m < 0.2:
        wrong.append(("distance_m", str(run.distance_m), "a target stands at 0.2 m or farther"))
    if run.ground and run.height_m <= 0.0:
        wrong.append(("height_m", str(run.height_m), "over a ground the height of the sensor must be given"))
    told = run.hits + run.longer + run.nearer
    if told > run.pings:
        wrong.append(("pings", str(run.pings), f"hits, longer and nearer are {told}, more than that"))
    if run.sequence:
        try:
            counted = symbols(run.sequence)
        except ValueError as error:
            return [*wrong, ("sequence", run.sequence[:40], str(error))]
        for key, symbol in (("pings", ""), ("hits", HIT), ("longer", LONG), ("nearer", NEAR)):
            there = sum(count for what, count in counted if not symbol or what == symbol)
            if there != getattr(run, key):
                wrong.append((key, str(getattr(run, key)), f"the sequence has {there}"))
    return wrong


def _lidar(run: LidarRun) -> list[tuple[str, str, str]]:
    wrong = []
    if run.target and run.target not in TARGET_LOSS_DB:
        wrong.append(("target", run.target, _one_of(TARGET_LOSS_DB)))
    if run.ground and run.ground not in GROUND_CLUTTER:
        wrong.append(("ground", run.ground, _one_of(GROUND_CLUTTER)))
    if bool(run.target) + bool(run.ground) + (run.sun_deg >= 0.0) != 1:
        wrong.append(("target", run.target, "a run is at a target, on a ground, or at the sun: give one of them"))
    if run.target and run.distance_m < 0.2:
        wrong.append(("distance_m", str(run.distance_m), "a target stands at 0.2 m or farther"))
    if run.ground and run.height_m <= 0.0:
        wrong.append(("height_m", str(run.height_m), "over a ground the height of the sensor must be given"))
    counts = {"answered": run.answered, "blinded": run.blinded}
    wrong += [(key, str(n), f"more than the {run.frames} frames") for key, n in counts.items() if n > run.frames]
    return wrong


def _other(other: Other) -> list[tuple[str, str, str]]:
    if other.parameter not in dict(each(ESTIMATED)):
        return [("parameter", other.parameter, "the model has no such number")]
    try:
        from_table(nested({other.parameter: other.value}), "")
    except ConfigError as error:
        return [("value", str(other.value), error.findings[0].rule)]
    return []


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Tables of names with points."""
    table: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        inner = table
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return table


def text_of(kind: str, run: Struct) -> str:
    """A run as the form writes it."""
    lines = [f"[[{kind}]]"]
    for name, value in msgspec.to_builtins(run).items():
        lines.append(f"{name} = {msgspec.json.encode(value).decode()}")
    return "\n".join(lines) + "\n"
