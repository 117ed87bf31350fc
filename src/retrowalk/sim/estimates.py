"""The numbers of the simulated world that nobody has measured yet, in one place, and the file that replaces them.

Each field is an estimate or a maker's word, with where it comes from.  `retrowalk bench import` turns the filled-in
form of the bench tests (`hardware/bench/form.toml`) into a file of measured ones.  A world takes them from the file
that `retrowalk demo --world FILE` or the variable `RETROWALK_WORLD` names; without one, every number is as here.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from retrowalk.errors import ConfigError, Finding

DEG = math.radians(1.0)

VARIABLE = "RETROWALK_WORLD"
"""Names the file of measured numbers, for every program that simulates."""

Chance = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0, le=1e6)]
NotNegative = Annotated[float, Meta(ge=0.0, le=1e6)]
Decibels = Annotated[float, Meta(ge=-100.0, le=150.0)]
Factor = Annotated[float, Meta(ge=0.0, le=10.0)]
Degrees = Annotated[float, Meta(ge=0.0, le=90.0)]

TARGET_LOSS_DB: Mapping[str, float] = {
    "wall": 0.0,
    "wall_tilted_10": 6.0,
    "wall_tilted_20": 20.0,
    "car": 3.0,
    "hedge": 12.0,
    "pole_90mm": 14.0,
    "person_jacket": 15.0,
    "person_fleece": 21.0,
    "bicycle": 14.0,
    "child": 18.0,
    "chain_link": 22.0,
    "rod_25mm": 22.0,
    "wire_6mm": 32.0,
    "hand": 8.0,
    "glass": 1.0,
}
GROUND_CLUTTER: Mapping[str, float] = {"asphalt": 0.05, "gravel": 0.30, "grass": 0.30, "leaves": 0.60}
REFLECTANCE: Mapping[str, float] = {
    "wall": 0.50,
    "wall_tilted_10": 0.49,
    "wall_tilted_20": 0.47,
    "car": 0.25,
    "hedge": 0.50,
    "pole_90mm": 0.40,
    "person_jacket": 0.20,
    "person_fleece": 0.30,
    "bicycle": 0.25,
    "child": 0.25,
    "chain_link": 0.50,
    "rod_25mm": 0.30,
    "wire_6mm": 0.30,
    "hand": 0.55,
    "glass": 0.02,
}
GROUND_REFLECTANCE: Mapping[str, float] = {"asphalt": 0.10, "gravel": 0.25, "grass": 0.40, "leaves": 0.35}
ROUGH_M: Mapping[str, float] = {"asphalt": 0.003, "gravel": 0.010, "grass": 0.015, "leaves": 0.020}


@dataclass(frozen=True, slots=True)
class EchoParameters:
    """An ultrasonic module's echoes (`sim.noise`); the project's ranging reference, section 5.4."""

    wall_margin_db: Decibels = 38.0
    """Detection margin of a flat wall at 1 m, without absorption: 50 % at 4.5 m, 20 C (estimate, 5.4 item 2)."""
    slope_db: Positive = 3.0
    """P(detect) = logistic(margin / slope) (5.4 item 2)."""
    half_beam_deg: Annotated[float, Meta(gt=0.0, le=90.0)] = 15.0
    """Angle off the axis at which the beam has lost 6 dB one way (HC-SR04 wide, 5.3)."""
    hedge_spread_db: NotNegative = 6.0
    """A hedge differs by as much from ping to ping (5.4 item 2)."""
    sigma_m: NotNegative = 0.003
    """Gaussian range noise: the maker's accuracy (5.4 item 4)."""
    cycle_s: NotNegative = 25e-6
    """One period of 40 kHz: a late threshold crossing adds whole ones, 4.3 mm each (5.4 item 4)."""
    slip_below_db: Decibels = 12.0
    """Below this margin single slips begin; below half of it there are one to three (5.4 item 4)."""
    stamp_jitter_s: NotNegative = 30e-6
    """Kernel stamps are late by 0 up to this (5.4 item 4)."""
    stamp_outlier_p: Chance = 0.001
    """Share of pings with one stamp late by `stamp_outlier_s` (5.4 item 4)."""
    stamp_outlier_s: tuple[NotNegative, NotNegative] = (0.0002, 0.002)
    missed_silent_p: Chance = 0.6
    """A missed target gives the module's no-target pulse in so many cases, else a second echo (5.4 item 5)."""
    second_echo: tuple[Positive, Positive] = (1.0, 2.0)
    """Range of a second echo over the true one (5.4 item 5)."""
    second_echo_min_db: Decibels = -20.0
    """A target too weak for this margin has no second echo either (estimate)."""
    false_near_p: Chance = 0.001
    """False near echoes a ping ... (5.4 item 6)."""
    false_near_wind_p: Chance = 0.01
    """... and in wind above `windy_m_s`, or beside traffic (5.4 item 6)."""
    windy_m_s: NotNegative = 8.0
    false_near_m: tuple[Positive, Positive] = (0.2, 3.0)
    ground_spread: Chance = 0.05
    """Ground clutter comes from the slant distance of the beam's edge, give or take this share (5.4 item 7)."""
    reach_m: Positive = 4.5
    """Nothing is heard from farther than this, ground clutter included."""
    rain_db: Decibels = 6.0
    """Loss by rain on the membrane (5.4 item 8)."""
    droplet_p: Chance = 0.0005
    """Chance a ping, in rain, that a droplet blocks the membrane for `droplet_s` (two a minute; estimate)."""
    droplet_s: tuple[Positive, Positive] = (1.0, 5.0)
    droplet_range_m: Positive = 0.025
    """What a blocked membrane answers: its own ringing (5.4 item 8)."""
    bad_p: Chance = 0.02
    """Chance a ping that a burst of bad pings begins ... (5.4 item 9)."""
    good_p: Chance = 0.2
    """... and that it ends (5.4 item 9)."""
    bad_db: Decibels = 15.0
    """Loss while it lasts (5.4 item 9)."""
    bounce_db: Decibels = 12.0
    """Loss of every further way there and back between a body in clothes and an obstacle (estimate)."""
    target_loss_db: Mapping[str, Decibels] = field(default_factory=lambda: dict(TARGET_LOSS_DB))
    """Loss of each kind of target against a flat wall (5.4 item 2).  All estimates; `hand` is a palm held square to the
    beam, `child` a person in a jacket of half the size, `bicycle` one with its rider from in front."""
    ground_clutter: Mapping[str, Chance] = field(default_factory=lambda: dict(GROUND_CLUTTER))
    """Chance a ping that the ground answers when the beam's edge meets it (5.4 item 7)."""


@dataclass(frozen=True, slots=True)
class ModuleParameters:
    """An HC-SR04-class module itself (`sim.pins`)."""

    no_target_s: Annotated[float, Meta(gt=0.0, le=0.25)] | Literal["none", "stuck"] = 0.038
    """What it does when it hears nothing: a pulse of so many seconds (36, 38, 60, 110, 200 ms by make), no pulse at
    all, or an echo line that hangs high until power is cut (5.1)."""


@dataclass(frozen=True, slots=True)
class SealedParameters:
    """An A02YYUW-class module itself (`sim.chips.a02yyuw`)."""

    answer_s: Annotated[float, Meta(gt=0.0, le=0.2)] = 0.060
    """From the ping to the first bit of its frame (estimate: the maker says 100 ms for both)."""
    sound_m_s: Annotated[float, Meta(ge=300.0, le=400.0)] = 343.2
    """Speed of sound it computes with: that of 20 C (estimate: whether it corrects is not documented)."""


@dataclass(frozen=True, slots=True)
class LightParameters:
    """A TF-Luna's light (`sim.light`), and what a VL53L1X shares with it; reference 5.4."""

    sigma_scale: Factor = 1.0
    """Range noise over that of the maker's table (`light.SIGMA_M`)."""
    sun_within_deg: Degrees = 5.0
    """The sun overexposes it within this angle of the axis ("a few degrees")."""
    hedge_fill: Chance = 0.6
    """A hedge lets part of the light through ... [A]"""
    hedge_depth_m: NotNegative = 0.3
    """... to twigs up to this much deeper [A]."""
    mesh_fill: Chance = 0.08
    """Share of the spot that the wire of a chain-link fence fills between its wires ... [A]"""
    mesh_knot_fill: Chance = 0.35
    """... and where they cross [A]."""
    glass_passes: Chance = 0.8
    """Share of the light that comes back through glass from what stands behind it [A]."""
    wet: Chance = 0.3
    """Wet ground reflects so much of what it does dry (5.4)."""
    rain_passes: Chance = 0.8
    """Share of the light that rain leaves [A]."""
    yaw_sway_deg: Degrees = 3.0
    """The trunk turns so far with every stride while it walks at 0.6 m/s or faster [A]: a narrow beam misses thin
    things ..."""
    yaw_sway_hz: Positive = 0.9
    """... so many times a second [A]."""
    aim_deg: Degrees = 1.0
    """So far to one side may the beam be mounted [A]."""
    covered_m: NotNegative = 0.02
    """So near, a target covers the lens: nothing comes back [A]."""
    amplitude_noise: NotNegative = 2.0
    """Amplitude varies from frame to frame by this ... [A]"""
    amplitude_noise_share: Chance = 0.01
    """... and by this share of itself (standard deviation) [A]."""
    clock_error: Annotated[float, Meta(ge=-0.2, le=0.2)] = 0.01
    """How much faster than nominal a TF-Luna's oscillator runs [A]."""
    reflectance: Mapping[str, Chance] = field(default_factory=lambda: dict(REFLECTANCE))
    """Share of the light at 850 nm that comes back, for each kind of target [A].  Black cloth, the worst, has 0.1."""
    ground_reflectance: Mapping[str, Chance] = field(default_factory=lambda: dict(GROUND_REFLECTANCE))
    """Grounds at 850 nm [A]; asphalt is the dark limit of the maker."""


@dataclass(frozen=True, slots=True)
class GroundParameters:
    """The ground (`sim.terrain`)."""

    rough_m: Mapping[str, NotNegative] = field(default_factory=lambda: dict(ROUGH_M))
    """Standard deviation of what a spot of 6 by 10 cm finds on each ground [A]."""


@dataclass(frozen=True, slots=True)
class BodyParameters:
    """How a body moves that walks backward (`sim.walker`): times as much as the simulated walker's formulas have it.

    Those come from filmed and recorded people, none of whom wore this device; each walker draws its own about them.
    """

    sway: Factor = 1.0
    """Trunk pitch at step rate, over `Profile.sway_deg` (3 degrees; human-factors reference 3.1) [A: no figure for
    backward walking is known]."""
    idle_sway: Factor = 1.0
    """Slow sway of the trunk below half a turn a second [A]."""
    step_rate: Positive = 1.0
    """Steps a second at a speed, over 1.25 + 0.75 per m/s."""
    bounce: Factor = 1.0
    """Vertical acceleration at step rate."""
    roll: Factor = 1.0
    """Trunk roll with the stride, over 2.2 degrees [A]."""
    yaw: Factor = 1.0
    """Trunk turning with the stride, over 3 degrees [A]."""


@dataclass(frozen=True, slots=True)
class ImuParameters:
    """The balance clip's chip (`sim.chips.inertial`): a cheap MEMS part, as the balance reference (1.2) has it."""

    accel_noise_m_s2: NotNegative = 0.03
    gyro_noise_rad_s: NotNegative = 0.1 * DEG
    gyro_bias_rad_s: NotNegative = 1.0 * DEG
    """Largest bias."""
    clock_error: Annotated[float, Meta(ge=-0.2, le=0.2)] = 0.015
    """How much faster than nominal its oscillator runs."""


@dataclass(frozen=True, slots=True)
class Estimates:
    """All of them.  `retrowalk bench import` writes a table for each field."""

    echo: EchoParameters = EchoParameters()
    """An HC-SR04-class module."""
    sealed_echo: EchoParameters = EchoParameters(half_beam_deg=30.0)
    """An A02YYUW-class one: the maker's 60 degrees, wide enough to see the ground."""
    module: ModuleParameters = ModuleParameters()
    sealed: SealedParameters = SealedParameters()
    light: LightParameters = LightParameters()
    ground: GroundParameters = GroundParameters()
    body: BodyParameters = BodyParameters()
    imu: ImuParameters = ImuParameters()


Value = float | str | tuple[float, ...]


def each(estimates: Estimates) -> Iterator[tuple[str, Value]]:
    """Every number by its name, such as `echo.target_loss_db.rod_25mm`."""
    for part in fields(estimates):
        for name in fields(parameters := getattr(estimates, part.name)):
            value = getattr(parameters, name.name)
            if isinstance(value, Mapping):
                yield from ((f"{part.name}.{name.name}.{key}", number) for key, number in value.items())
            else:
                yield f"{part.name}.{name.name}", value


def read(file: Path) -> Estimates:
    """The numbers of a file; what it does not name stays as it is estimated.

    Raises `ConfigError` that names every unknown name, or the first value out of its range, and `OSError`.
    """
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([Finding(str(file), "(file)", "", f"is not TOML: {error}")]) from error
    table.pop("measured", None)  # how each was measured, for people
    return from_table(table, str(file))


def from_table(table: Mapping[str, Any], file: str) -> Estimates:
    """As `read`, of a table that `file` held."""
    known = asdict(Estimates())
    findings: list[Finding] = []
    _lay(known, table, "", file, findings)
    if findings:
        raise ConfigError(findings)
    try:
        found = msgspec.convert(known, Estimates)
    except msgspec.ValidationError as error:
        rule, _, place = str(error).rpartition(" - at `$.")
        key = place.rstrip("`")
        if key.endswith("[...]"):  # which of a free table it is, msgspec does not say
            key = _culprit(table, key.removesuffix("[...]"))
        raise ConfigError([Finding(file, key, _shown(known, key), rule[:1].lower() + rule[1:])]) from error
    for name, value in each(found):
        if isinstance(value, tuple) and value[0] > value[1]:
            findings.append(Finding(file, name, str(list(value)), "the first must not be above the second"))
    if findings:
        raise ConfigError(findings)
    return found


def _lay(known: dict[str, Any], given: Mapping[str, Any], above: str, file: str, findings: list[Finding]) -> None:
    for key, value in given.items():
        name = f"{above}{key}"
        if key not in known:
            findings.append(Finding(file, name, "", f"unknown; there are {', '.join(known)}"))
        elif isinstance(known[key], dict) != isinstance(value, dict):
            findings.append(
                Finding(file, name, str(value), "must be a table" if isinstance(known[key], dict) else "is no table")
            )
        elif isinstance(value, dict):
            _lay(known[key], value, f"{name}.", file, findings)
        else:
            known[key] = value


def _culprit(table: Mapping[str, Any], key: str) -> str:
    part, name = key.split(".")
    for kind, value in table[part][name].items():
        known = asdict(Estimates())
        known[part][name][kind] = value
        try:
            msgspec.convert(known, Estimates)
        except msgspec.ValidationError:
            return f"{key}.{kind}"
    return key


def _shown(table: Any, key: str) -> str:
    """The value at a place that msgspec names."""
    for part in key.split("."):
        name = part.partition("[")[0]  # one of a pair: show both
        if not isinstance(table, dict) or name not in table:
            return ""
        table = table[name]
    return str(table)


@lru_cache(maxsize=8)
def _kept(file: str) -> Estimates:
    return read(Path(file))


def current() -> Estimates:
    """What a world is made with: the numbers of the file that `RETROWALK_WORLD` names, else the estimates."""
    file = os.environ.get(VARIABLE, "")
    return _kept(file) if file else ESTIMATED


ESTIMATED = Estimates()
