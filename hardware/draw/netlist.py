"""The interface board as a netlist (`board/board.toml`), and the rules it has to keep."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BUILDS = ("starter", "outdoor")
ROWS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

PI_POWER = {
    "3V3": (1, 17),
    "5V": (2, 4),
    "GND": (6, 9, 14, 20, 25, 30, 34, 39),
}
"""The header's supply pins (the same on every Pi with 40 pins)."""
_PAIRS = (
    "3:2 5:3 7:4 8:14 10:15 11:17 12:18 13:27 15:22 16:23 18:24 19:10 21:9 22:25 23:11 24:8 26:7 27:0 28:1 29:5 31:6 "
    "32:12 33:13 35:19 36:16 37:26 38:20 40:21"
)
PI_GPIO = {int(pin): int(gpio) for pin, gpio in (pair.split(":") for pair in _PAIRS.split())}
"""Header pin -> GPIO number (BCM)."""
NAMED = {"SDA": 2, "SCL": 3}
"""Nets of GPIO pins that go by another name."""
SUPPLIES = ("5V", "3V3", "GND", "MOT_GND", "AMP_5V", "AMP_GND", "REAR_5V")
HIGH_V = {"5V": 5.25, "AMP_5V": 5.25, "REAR_5V": 5.25, "ECHO_5V": 5.25, "5V_IN": 5.25}
"""Nets that may carry more than a pin of the Pi bears, and how much."""
PIN_V = 3.3
SENSOR_PULL_OHM = {("TRIG", "REAR_5V"): 10_000.0}
"""What is outside of the board: some HC-SR04 pull their trigger up to their supply."""
GROUNDS = {"GND": 0.0, "MOT_GND": 0.0, "AMP_GND": 0.0, "GND_IN": 0.0}
GPIO_A = 0.008
"""What a pin of the Pi gives as it comes out of reset (8 mA)."""
COILS = ("motor", "motor 2", "buzzer")


@dataclass(frozen=True)
class Pin:
    """One leg of a part: its net ("" if it goes nowhere) and its hole."""

    net: str
    hole: str


@dataclass(frozen=True)
class Part:
    """A part of the board; `build` is "", or starter, outdoor or option where not every board has it."""

    ref: str
    part: str
    value: str
    pins: Mapping[str, Pin]
    build: str = ""
    tolerance_percent: float = 0.0
    note: str = ""

    @property
    def ohm(self) -> float:
        return number(self.value)


@dataclass(frozen=True)
class Simulation:
    """What ngspice calculates of some of the parts; measure: name -> (kind, expression, least, most, why)."""

    name: str
    parts: tuple[str, ...]
    circuit: str
    seconds: float
    step: float
    measure: Mapping[str, tuple[str, str, float, float, str]]


@dataclass(frozen=True)
class Board:
    columns: int
    rows: int
    pitch_mm: float
    star: Mapping[str, str]
    parts: tuple[Part, ...]
    simulations: tuple[Simulation, ...] = ()
    corners: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def part(self, ref: str) -> Part:
        return next(part for part in self.parts if part.ref == ref)

    def of(self, build: str) -> list[Part]:
        """The parts of a build; what either may have is counted in."""
        return [part for part in self.parts if part.build in ("", "option", build)]

    def nets(self, build: str) -> dict[str, list[tuple[str, str, str]]]:
        """Net -> (ref, pin, hole) of everything on it."""
        found: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        for part in self.of(build):
            for name, pin in part.pins.items():
                if pin.net:
                    found[pin.net].append((part.ref, name, pin.hole))
        return dict(found)


def number(value: str) -> float:
    """What a part's print says as a number: "4.7k" -> 4700, "470u" -> 470e-6, "22" -> 22."""
    match = re.fullmatch(r"([0-9.]+)([kMunp]?)", value)
    if match is None:
        raise ValueError(f"{value!r} is no value: a number, and k, M, u, n or p if need be")
    return float(match[1]) * {"": 1.0, "k": 1e3, "M": 1e6, "u": 1e-6, "n": 1e-9, "p": 1e-12}[match[2]]


def read(file: Path) -> Board:
    """Raises `KeyError` or `ValueError` where the file is not as its head says."""
    return board(tomllib.loads(file.read_text("utf-8")))


def board(table: Mapping[str, Any]) -> Board:
    parts = tuple(
        Part(
            each["ref"],
            each["part"],
            each["value"],
            {name: Pin(net, hole) for name, (net, hole) in each["pins"].items()},
            each.get("build", ""),
            each.get("tolerance_percent", 0.0),
            each.get("note", ""),
        )
        for each in table["part"]
    )
    simulations = tuple(
        Simulation(
            each["name"],
            tuple(each["parts"]),
            each["circuit"],
            each["seconds"],
            each["step"],
            {name: tuple(limits) for name, limits in each["measure"].items()},
        )
        for each in table.get("simulation", ())
    )
    head = table["board"]
    corners = {name: tuple(pair) for name, pair in table.get("simulation_limits", {}).items()}
    return Board(head["columns"], head["rows"], head["pitch_mm"], table["star"], parts, simulations, corners)


def place(hole: str) -> tuple[int, int]:
    """Row and column of a hole: "C4" -> (row 3, column 4), both from 1."""
    return ROWS.index(hole[0]) + 1, int(hole[1:])


def is_pin(net: str) -> bool:
    return net.startswith("GPIO") or net in NAMED


def resistors(parts: Iterable[Part]) -> Iterator[tuple[str, str, float]]:
    for part in parts:
        if part.ref.startswith("R"):
            first, second = (pin.net for pin in part.pins.values())
            yield first, second, part.ohm


def levels(parts: Iterable[Part], floating: str) -> float:
    """Volts at a net that nobody drives, with every net that can be at 5 V at its highest.

    Through resistors alone; each other pin of the Pi counts as ground, which is the lower side, and as 3.3 V does not
    lift anything above 3.3 V, the safe one here.
    """
    fixed = {**HIGH_V, **GROUNDS, "3V3": PIN_V}
    edges = [*resistors(parts), *((a, b, ohm) for (a, b), ohm in SENSOR_PULL_OHM.items())]
    volts = {net: 0.0 for edge in edges for net in edge[:2]}
    around: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for a, b, ohm in edges:
        around[a].append((b, ohm))
        around[b].append((a, ohm))
    volts |= {net: fixed[net] for net in volts if net in fixed}
    free = [net for net in volts if net not in fixed and not (is_pin(net) and net != floating)]
    # Gauss and Seidel's way: it converges on every network of resistors.
    for _ in range(1000):
        before = [volts[net] for net in free]
        for net in free:
            total = sum(volts[other] / ohm for other, ohm in around[net])
            volts[net] = total / sum(1.0 / ohm for _, ohm in around[net])
        if max((abs(volts[net] - was) for net, was in zip(free, before, strict=True)), default=0.0) < 1e-9:
            break
    return volts.get(floating, 0.0)


def held(parts: list[Part], net: str) -> bool:
    """Whether resistors alone lead from a net to a supply, so that it has a level while nobody drives it."""
    reached, waiting = {net}, [net]
    while waiting:
        here = waiting.pop()
        if here in SUPPLIES:
            return True
        for a, b, _ in resistors(parts):
            there = b if a == here else a if b == here else None
            if there is not None and there not in reached:
                reached.add(there)
                waiting.append(there)
    return False


def findings(whole: Board, build: str) -> list[str]:
    """What is wrong with the board of a build, a line each."""
    parts = whole.of(build)
    nets = whole.nets(build)
    found: list[str] = []
    holes: dict[str, str] = {}
    for part in whole.parts:
        for name, pin in part.pins.items():
            row, column = place(pin.hole)
            if not (1 <= row <= whole.rows and 1 <= column <= whole.columns):
                found.append(f"{part.ref} pin {name}: hole {pin.hole} is not on the board")
            if pin.hole in holes:
                found.append(f"{part.ref} pin {name}: hole {pin.hole} has {holes[pin.hole]} already")
            holes[pin.hole] = f"{part.ref} pin {name}"
    refs = [part.ref for part in whole.parts]
    found += [f"{ref} is there twice" for ref in sorted({ref for ref in refs if refs.count(ref) > 1})]
    star = set(whole.star) | set(whole.star.values())
    everywhere = {net for other in BUILDS for net, pins in whole.nets(other).items() if len(pins) > 1}
    for net, pins in nets.items():
        # A pin of the Pi that only the other build uses lies free.
        free = pins[0][0] == "J1" and net in everywhere
        if len(pins) < 2 and net not in star and not free:
            found.append(f"net {net} has one pin only, {pins[0][0]}")

    header = next(part for part in parts if part.part == "header-2x20")
    for name, pin in header.pins.items():
        supply = next((net for net, pins in PI_POWER.items() if int(name) in pins), "")
        gpio = PI_GPIO.get(int(name), -1)
        right = supply or next((net for net, pin_ in NAMED.items() if pin_ == gpio), f"GPIO{gpio}")
        if pin.net and pin.net != right:
            found.append(f"{header.ref} pin {name} is {right}, and lies on {pin.net}")
        if supply and not pin.net:
            found.append(f"{header.ref} pin {name}, {supply}, is not connected")

    for net in nets:
        if is_pin(net):
            volts = levels(parts, net)
            if volts > PIN_V + 1e-6:
                found.append(f"{net} comes to {volts:.2f} V, and a pin of the Pi bears {PIN_V} V")
            ohms = [ohm for a, b, ohm in resistors(parts) if net in (a, b)]
            others = [ref for ref, _, _ in nets[net] if ref[0] in "QD"]
            found += [f"{net} goes to {ref} without a resistor" for ref in others]
            if ohms and sum(PIN_V / ohm for ohm in ohms) > GPIO_A:
                found.append(f"{net} may have to give more than {GPIO_A * 1e3:.0f} mA")

    for part in parts:
        if part.ref.startswith("Q"):
            base = part.pins["b"].net
            if is_pin(base):
                found.append(f"the base of {part.ref} is at {base} without a resistor")
            if not held(parts, base):
                found.append(f"the base of {part.ref} floats while nobody drives it")
        if part.value in COILS:
            legs = {pin.net for pin in part.pins.values()}
            switched = {q.pins["c"].net for q in parts if q.ref.startswith("Q")} & legs
            diodes = [d for d in parts if d.ref.startswith("D") and {p.net for p in d.pins.values()} == legs]
            if len(switched) != 1:
                found.append(f"{part.ref}, {part.value}: no transistor switches it")
            elif not any(d.pins["a"].net in switched for d in diodes):
                found.append(f"{part.ref}, {part.value}: no diode from the transistor back to plus")
    return found
