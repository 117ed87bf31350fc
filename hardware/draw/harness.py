"""The cables of each build: drawn by WireViz, and as a list of wires to tick off; from `harness/*.yml`.

Everything is taken from what WireViz itself has understood of the file, so that drawing, list and tests tell the same.
"""

from __future__ import annotations

import io
import math
import re
import subprocess
import tomllib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware.draw import netlist
from hardware.draw.netlist import BUILDS, Board
from PIL import Image
from wireviz import wireviz, wv_colors

SHEETS = {
    "": "the cables of the sensors, the button, the light, the buzzer and the motor",
    "-supply": "supply and sound",
}
COLOURS = {"RD": "red", "OG": "orange", "YE": "yellow", "GN": "green", "BU": "blue", "VT": "violet"}
COLOURS |= {"PK": "pink", "BN": "brown", "GY": "grey", "WH": "white", "BK": "black"}


def rgb(code: str) -> tuple[int, int, int]:
    """A wire's colour as it is drawn."""
    drawn = wv_colors.get_color_hex(code)[0]
    return int(drawn[1:3], 16), int(drawn[3:5], 16), int(drawn[5:7], 16)


def _palette() -> list[tuple[int, int, int]]:
    """The wires' colours, and what lies between each and the black and white beside it."""
    colours = [(level, level, level) for level in range(0, 256, 17)]
    for red, green, blue in (rgb(code) for code in COLOURS):
        colours += [(red * k // 5, green * k // 5, blue * k // 5) for k in range(1, 6)]
        colours += [
            (255 - (255 - red) * k // 4, 255 - (255 - green) * k // 4, 255 - (255 - blue) * k // 4) for k in (1, 2, 3)
        ]
    return colours


PALETTE = _palette()
POWER = frozenset({"5V", "3V3", "GND", "MOT_GND", "AMP_5V", "AMP_GND", "5V_IN", "GND_IN"})
"""Nets of the board that are no line to the Pi."""


def sources(hardware: Path) -> list[Path]:
    return [
        *(hardware / f"harness/{build}.yml" for build in BUILDS),
        hardware / "harness/modules.toml",
        hardware / "board/board.toml",
        hardware / "draw/netlist.py",
    ]


def render(hardware: Path, into: Path) -> list[Path]:
    board = netlist.read(hardware / "board/board.toml")
    known = modules(hardware)
    made: list[Path] = []
    for folder in ("drawings", "harness"):
        (into / folder).mkdir(parents=True, exist_ok=True)
    for build in BUILDS:
        text = (hardware / f"harness/{build}.yml").read_text("utf-8")
        for sheet in SHEETS:
            place = Path(f"drawings/harness-{build}{sheet}")
            (into / place).with_suffix(".svg").write_text(svg(text, sheet), "utf-8")
            png((into / place).with_suffix(".svg"), (into / place).with_suffix(".png"))
            made += [place.with_suffix(".svg"), place.with_suffix(".png")]
        wiring = read(text)
        for suffix, lines in {
            "md": to_solder(wiring, board, build, bus(wiring, known), known["i2c"]),
            "tsv": table(wiring, board, build),
        }.items():
            made.append(Path(f"harness/{build}.wires.{suffix}"))
            (into / made[-1]).write_text("\n".join(lines) + "\n", "utf-8")
    return made


# ---------------------------------------------------------------------------------------------------- what is in it


@dataclass(frozen=True)
class Plug:
    """A connector or a module: its id in bom.csv, and each pin with its label."""

    name: str
    part: str
    kind: str
    notes: str
    pins: Mapping[str, str]


@dataclass(frozen=True)
class End:
    """Where a wire ends; `label` is the board's net, or what the pin is called on the module."""

    plug: Plug
    pin: str

    @property
    def label(self) -> str:
        return self.plug.pins[self.pin]

    def __str__(self) -> str:
        same = self.label == self.pin
        return f"{self.plug.name} {self.pin}" if same else f"{self.plug.name} {self.pin} ({self.label})"


@dataclass(frozen=True)
class Wire:
    cable: str
    number: int
    colour: str
    ends: tuple[End, End]


@dataclass(frozen=True)
class Cable:
    name: str
    part: str
    length_m: float
    awg: int
    """0 where the wire belongs to a part."""
    notes: str


@dataclass(frozen=True)
class Wiring:
    title: str
    plugs: Mapping[str, Plug]
    cables: Mapping[str, Cable]
    wires: tuple[Wire, ...]
    supply_sheet: frozenset[str]
    holes: tuple[tuple[str, ...], ...]
    """The cables that leave the case, by the hole of its underside that they leave it by, from the left."""

    def at(self, name: str) -> dict[str, list[tuple[Wire, End]]]:
        """Pin -> the wires that end there, each with its other end."""
        found: dict[str, list[tuple[Wire, End]]] = defaultdict(list)
        for wire in self.wires:
            for here, there in (wire.ends, wire.ends[::-1]):
                if here.plug.name == name:
                    found[here.pin].append((wire, there))
        return dict(found)


def modules(hardware: Path) -> dict[str, Any]:
    return tomllib.loads((hardware / "harness/modules.toml").read_text("utf-8"))


def read(text: str) -> Wiring:
    """What WireViz understands of a harness file.  Raises whatever it raises where the file is wrong."""
    harness = wireviz.parse(text, return_types="harness")
    plugs = {}
    for each in harness.connectors.values():
        pins = [str(pin) for pin in each.pins]
        labels = [str(label) for label in each.pinlabels] or pins
        named = dict(zip(pins, labels, strict=True))
        plugs[each.name] = Plug(each.name, each.pn or "", each.type or "", (each.notes or "").replace("\n", " "), named)
    cables, wires = {}, []
    for each in harness.cables.values():
        length_m = each.length * {"mm": 1e-3, "m": 1.0}[each.length_unit]
        awg = int(each.gauge) if each.gauge_unit == "AWG" else 0
        cables[each.name] = Cable(each.name, each.pn or "", length_m, awg, each.notes or "")
        for joined in each.connections:
            ends = (
                End(plugs[joined.from_name], str(joined.from_pin)),
                End(plugs[joined.to_name], str(joined.to_pin)),
            )
            wires.append(Wire(each.name, joined.via_port, each.colors[joined.via_port - 1], ends))
    supply = frozenset(harness.metadata["supply_sheet"])
    holes = tuple(tuple(hole) for hole in harness.metadata["holes"])
    return Wiring(harness.metadata["title"], plugs, cables, tuple(wires), supply, holes)


def reached(board: Board, build: str, net: str) -> dict[int, tuple[str, ...]]:
    """The GPIO lines that a net of the board leads to, each with the parts in between.

    Through resistors, and from what a transistor switches to its base; a supply is the end of the way.
    """
    if net in POWER:
        return {}
    edges: list[tuple[str, str, str]] = []
    for part in board.of(build):
        if part.ref[0] == "R":
            a, b = (pin.net for pin in part.pins.values())
            edges += [(a, part.ref, b), (b, part.ref, a)]
        elif part.ref[0] == "Q":
            edges.append((part.pins["c"].net, part.ref, part.pins["b"].net))
    found: dict[int, tuple[str, ...]] = {}
    ways: dict[str, tuple[str, ...]] = {net: ()}
    waiting = [net]
    while waiting:
        here = waiting.pop(0)
        if netlist.is_pin(here):
            found[netlist.NAMED[here] if here in netlist.NAMED else int(here.removeprefix("GPIO"))] = ways[here]
            continue
        for a, ref, b in edges:
            if a == here and b not in ways and b not in POWER:
                ways[b] = (*ways[here], ref)
                waiting.append(b)
    return found


# ---------------------------------------------------------------------------------------------------------- I2C bus


@dataclass(frozen=True)
class Bus:
    """The I2C bus of a build at its worst."""

    chips: tuple[str, ...]
    cable_m: float
    capacitance_f: float
    pull_up_max_ohm: float
    """No pull-up on any carrier, the Pi's own at its highest: the slowest edge."""
    pull_up_min_ohm: float
    """Every carrier's pull-up in parallel, all at their lowest: the most current."""
    rise_s: float
    sink_a: float


def bus(wiring: Wiring, known: Mapping[str, Any]) -> Bus:
    given = known["i2c"]
    chips = [plug for plug in wiring.plugs.values() if "bus" in known["module"].get(plug.part, {})]
    on_bus = {
        wire.cable
        for plug in chips
        for pin, wires in wiring.at(plug.name).items()
        for wire, _ in wires
        if plug.pins[pin] in known["module"][plug.part]["bus"]
    }
    cable_m = sum(wiring.cables[name].length_m for name in sorted(on_bus))
    capacitance_f = 1e-12 * ((1 + len(chips)) * given["pin_pf"] + given["board_pf"] + cable_m * given["cable_pf_per_m"])
    carriers = [
        known["module"][plug.part]["pull_up_ohm"] for plug in chips if "pull_up_ohm" in known["module"][plug.part]
    ]
    low = 1.0 - given["tolerance"]
    pull_up_max_ohm = given["pi_ohm"] * (1.0 + given["tolerance"])
    pull_up_min_ohm = 1.0 / sum(1.0 / (ohm * low) for ohm in (given["pi_ohm"], *carriers))
    return Bus(
        tuple(plug.name for plug in chips),
        cable_m,
        capacitance_f,
        pull_up_max_ohm,
        pull_up_min_ohm,
        math.log(7.0 / 3.0) * pull_up_max_ohm * capacitance_f,
        (given["supply_v"] - given["low_v"]) / pull_up_min_ohm,
    )


# ------------------------------------------------------------------------------------------------------ the outputs


def svg(text: str, sheet: str) -> str:
    """A sheet as WireViz draws it, without what differs between machines' versions."""
    harness = wireviz.parse(text, return_types="harness")
    supply = set(harness.metadata["supply_sheet"])
    harness.cables = {name: each for name, each in harness.cables.items() if (name in supply) == bool(sheet)}
    shown = {
        name
        for each in harness.cables.values()
        for joined in each.connections
        for name in (joined.from_name, joined.to_name)
    }
    # What is plugged together without a cable stands beside what has one, else on the first sheet.
    cabled = {name for name, plug in harness.connectors.items() if plug.ports_left or plug.ports_right}
    harness.mates = [
        mate
        for mate in harness.mates
        if ({mate.from_name, mate.to_name} & shown if {mate.from_name, mate.to_name} & cabled else not sheet)
    ]
    shown |= {name for mate in harness.mates for name in (mate.from_name, mate.to_name)}
    harness.connectors = {name: each for name, each in harness.connectors.items() if name in shown}
    drawn = subprocess.run(
        ["dot", "-Tsvg"], input=harness.graph.source.encode("utf-8"), stdout=subprocess.PIPE, check=True
    ).stdout.decode("utf-8")
    return re.sub(r"<!--.*?-->\n?", "", drawn, flags=re.DOTALL)


def png(drawn: Path, into: Path) -> None:
    """A third of the size by few colours, which are those of the wires: colours chosen by their area lose the wires."""
    picture = subprocess.run(
        ["rsvg-convert", "--background-color", "white", drawn], stdout=subprocess.PIPE, check=True
    ).stdout
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(level for rgb in PALETTE for level in rgb), *PALETTE[-1] * (256 - len(PALETTE))])
    few = Image.open(io.BytesIO(picture)).convert("RGB").quantize(palette=palette, dither=Image.Dither.NONE)
    few.save(into, optimize=True)


def to_pi(board: Board, build: str, wire: Wire) -> str:
    """Where a wire leads on the board: "GPIO 24 by R1", or nothing."""
    for end in wire.ends:
        if end.plug.name.startswith("J"):
            ways = reached(board, build, end.label)
            return ", ".join(f"GPIO {gpio}" + (f" by {' '.join(way)}" if way else "") for gpio, way in ways.items())
    return ""


def table(wiring: Wiring, board: Board, build: str) -> list[str]:
    head = (
        "cable",
        "wire",
        "colour",
        "gauge_awg",
        "length_mm",
        "from",
        "from_pin",
        "from_label",
        "to",
        "to_pin",
        "to_label",
        "pi",
    )
    rows = [head]
    for wire in wiring.wires:
        cable = wiring.cables[wire.cable]
        a, b = wire.ends
        length_mm = f"{cable.length_m * 1e3:.0f}"
        ends = (a.plug.name, a.pin, a.label, b.plug.name, b.pin, b.label)
        first = (wire.cable, str(wire.number), COLOURS[wire.colour], str(cable.awg or ""), length_mm)
        rows.append((*first, *ends, to_pi(board, build, wire)))
    return ["\t".join(row) for row in rows]


def hole(wiring: Wiring, cable: str) -> str:
    """Where a cable leaves the case; nothing of one that stays inside."""
    for number, cables in enumerate(wiring.holes, 1):
        if cable in cables:
            others = [other for other in cables if other != cable]
            beside = f", beside {' and '.join(others)}" if others else ""
            return f"It leaves the case by hole {number}{beside}."
    return ""


def to_solder(wiring: Wiring, board: Board, build: str, i2c: Bus, limits: Mapping[str, float]) -> list[str]:
    lines = [
        f"# The cables of the {build} build",
        "",
        f"Made from [{build}.yml]({build}.yml). J2 to J15 are the connectors of the",
        "[interface board](../board/connections.md); the modules' ids are those of the [parts list](../bom.csv). Cut,",
        "crimp, measure from end to end, tick off. Twist what belongs to one cable, and keep the motor's away from the",
        "lidars' and the clip's.",
        "",
    ]
    for sheet, what in SHEETS.items():
        lines += [f"![{what}](../drawings/harness-{build}{sheet}.svg)", ""]
    told: set[str] = set()
    for cable in wiring.cables.values():
        mine = [wire for wire in wiring.wires if wire.cable == cable.name]
        far = mine[0].ends[1].plug
        size = f", {cable.awg} AWG" if cable.awg else ""
        near = mine[0].ends[0].plug
        lines += [
            f"## {cable.name}: {near.name} to {far.name}, {far.kind}",
            "",
            " ".join(filter(None, (f"{cable.length_m * 1e3:.0f} mm{size}.", cable.notes, hole(wiring, cable.name)))),
            *([f"{far.name}: {far.notes}"] if far.notes and far.name not in told else []),
            "",
            "| | wire | from | to | leads to |",
            "|---|---|---|---|---|",
        ]
        told.add(far.name)
        for wire in mine:
            a, b = wire.ends
            lines.append(f"| ☐ | {COLOURS[wire.colour]} | {a} | {b} | {to_pi(board, build, wire)} |")
        lines.append("")
    cut: Counter[tuple[int, str]] = Counter()
    for wire in wiring.wires:
        cable = wiring.cables[wire.cable]
        if cable.awg and not cable.part:
            cut[cable.awg, COLOURS[wire.colour]] += round(cable.length_m * 1e3)
    lines += ["## Wire in all", "", "| gauge | colour | length |", "|---|---|---|"]
    lines += [f"| {awg} AWG | {name} | {length_mm} mm |" for (awg, name), length_mm in sorted(cut.items())]
    lines += [
        "",
        "## The I2C bus, calculated",
        "",
        f"{', '.join(i2c.chips)} and the Pi share SDA and SCL. Figures and sources: [modules.toml](modules.toml).",
        "Nothing of this was measured.",
        "",
        "| | at its worst | may be |",
        "|---|---|---|",
        f"| cable | {i2c.cable_m:.2f} m | |",
        f"| capacitance | {i2c.capacitance_f * 1e12:.0f} pF | {limits['bus_pf_max']:.0f} pF |",
        f"| rise, the Pi's pull-up alone | {i2c.rise_s * 1e9:.0f} ns | {limits['rise_s_max'] * 1e9:.0f} ns |",
        f"| pull-up, with those of every carrier | {i2c.pull_up_min_ohm:.0f} ohm | |",
        f"| current that a chip must sink | {i2c.sink_a * 1e3:.2f} mA | {limits['sink_a_max'] * 1e3:.0f} mA |",
    ]
    return lines
