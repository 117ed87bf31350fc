"""Cables, interface board, settings, parts list and power budget tell the same of each build."""

from __future__ import annotations

import csv
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hardware.draw import harness, netlist
from hardware.draw.harness import Wiring
from PIL import Image

from retrowalk.config import SERIAL_PINS, A02yyuw, Config, HcSr04, TfLuna, load, to_table

ROOT = Path(__file__).parents[2]
HARDWARE = ROOT / "hardware"
BOOT = (ROOT / "firmware/boot/config.txt").read_text("utf-8")

SOUND = {"BCLK": 18, "LRC": 19, "DIN": 21}
SOUND_PINS = {18, 19, 20, 21}
"""What the kernel's I2S takes, wired or not."""
I2C = {"SDA": 2, "SCL": 3}
UNREAD = {"ina219": "a power bank's 5 V tell nothing of its charge (hardware/starter.toml)"}
"""On the bus, and read by no program."""
HANDED_OUT = {"power-bank", "lipo-cell", "charger-boost", "ina219", "power-switch", "max17048"}
"""What the 5 V pass before they are at the board."""


class Build:
    """Everything that is said of a build."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = (HARDWARE / f"harness/{name}.yml").read_text("utf-8")
        self.wiring = harness.read(self.text)
        self.board = netlist.read(HARDWARE / "board/board.toml")
        self.known = harness.modules(HARDWARE)
        self.config = load(HARDWARE / f"{name}.toml")
        self.power = tomllib.loads((HARDWARE / "power/power.toml").read_text("utf-8"))
        with (HARDWARE / "bom.csv").open(encoding="utf-8", newline="") as file:
            self.bom = {row["id"]: row for row in csv.DictReader(file)}


@pytest.fixture(params=netlist.BUILDS)
def build(request) -> Build:
    return Build(request.param)


# ------------------------------------------------------------------------------------------------------ the rules


def lines(config: Config) -> dict[tuple[str, str], int]:
    """(part, what its pin is called) -> the GPIO line that the settings give it."""
    found = {
        ("button", "contact"): config.button.pin,
        ("buzzer", "-"): config.buzzer.pin,
        ("vibration-motor", "lead"): config.vibration.pin,
        ("led", "longer leg"): config.led.pin,
        **{("max98357a", pin): gpio for pin, gpio in SOUND.items()},
        **{("lsm6dsox", pin): gpio for pin, gpio in I2C.items()},
    }
    for sensor in config.range_sensor:
        if isinstance(sensor, HcSr04):
            found["hc-sr04", "Trig"] = sensor.trigger_pin
            found["hc-sr04", "Echo"] = sensor.echo_pin
            found["hc-sr04", "VCC"] = sensor.power_pin
        elif isinstance(sensor, A02yyuw):
            found["a02yyuw", "TX"] = SERIAL_PINS[sensor.port][1]
        elif isinstance(sensor, TfLuna):
            found |= {("tf-luna", pin): gpio for pin, gpio in I2C.items()}
    if config.battery.chip != "none":
        found |= {(config.battery.chip, pin): gpio for pin, gpio in I2C.items()}
    return found


def addresses(config: Config) -> Counter[tuple[str, int]]:
    found: Counter[tuple[str, int]] = Counter({(config.imu.chip, config.imu.bus_address): 1})
    found.update((("tf-luna", sensor.address)) for sensor in config.range_sensor if isinstance(sensor, TfLuna))
    if config.battery.chip != "none":
        found[config.battery.chip, config.battery.bus_address] += 1
    return found


def said_addresses(wiring: Wiring) -> Counter[tuple[str, int]]:
    """As the drawing tells the maker."""
    return Counter(
        (plug.part, int(match[1], 16))
        for plug in wiring.plugs.values()
        if (match := re.search(r"I2C address (0x[0-9A-F]{2})\b", plug.notes))
    )


def wrong_lines(build: Build) -> Iterator[str]:
    """Settings against board and cables, both ways, and no line used twice."""
    expected = lines(build.config)
    seen: set[tuple[str, str]] = set()
    users: dict[int, set[str]] = {}
    for wire in build.wiring.wires:
        for here, there in (wire.ends, wire.ends[::-1]):
            if not here.plug.name.startswith("J"):
                continue
            for gpio in harness.reached(build.board, build.name, here.label):
                key = (there.plug.part, there.label)
                seen.add(key)
                users.setdefault(gpio, set()).add(there.plug.name)
                if there.plug.part in UNREAD:
                    if I2C.get(there.label) != gpio:
                        yield f"{there} is on GPIO {gpio}"
                elif expected.get(key) != gpio:
                    yield f"{there} is on GPIO {gpio}; the settings say {expected.get(key)}"
    yield from (
        f"{part} {pin} goes nowhere; the settings say GPIO {expected[part, pin]}"
        for part, pin in expected.keys() - seen
    )
    for gpio, names in users.items():
        if len(names) > 1 and gpio not in I2C.values():
            yield f"GPIO {gpio} is used by {' and '.join(sorted(names))}"
    yield from (
        f"GPIO {gpio} is the sound's, and {part}'s"
        for (part, _), gpio in expected.items()
        if gpio in SOUND_PINS and part != "max98357a"
    )


def wrong_addresses(build: Build) -> Iterator[str]:
    said, expected = said_addresses(build.wiring), addresses(build.config)
    for part in UNREAD.keys() & {plug.part for plug in build.wiring.plugs.values()}:
        expected[part, build.known["module"][part]["address"]] += 1
    if said != expected:
        yield f"addresses: the drawing says {dict(said - expected)} and the settings {dict(expected - said)}"
    shared = [f"0x{address:02X}" for address, n in Counter(address for _, address in said.elements()).items() if n > 1]
    yield from (f"two modules answer at {address}" for address in shared)
    silent = [plug.name for plug in build.wiring.plugs.values() if "bus" in build.known["module"].get(plug.part, {})]
    if len(silent) != said.total():
        yield "a module on the bus does not say its address"


def wrong_plugs(build: Build) -> Iterator[str]:
    """The board's connectors as the board has them, each with a cable; what both builds have is the same."""
    sockets = {part.ref: part for part in build.board.of(build.name) if part.ref[0] == "J" and part.build != "option"}
    drawn = {name: plug for name, plug in build.wiring.plugs.items() if re.fullmatch(r"J\d+", name)}
    yield from (f"{ref} is on the board or in the harness only" for ref in sockets.keys() ^ drawn.keys())
    for ref in sockets.keys() & drawn.keys() - {"J1"}:
        nets = {pin: net.net for pin, net in sockets[ref].pins.items()}
        if nets != drawn[ref].pins:
            yield f"{ref} has {dict(drawn[ref].pins)} in the harness, and {nets} on the board"
        if sockets[ref].part != drawn[ref].part:
            yield f"{ref} is a {sockets[ref].part} on the board, and a {drawn[ref].part} in the harness"
    for name in build.wiring.plugs.keys() - {"PI", "J1", "GAIN"}:
        at = build.wiring.at(name)
        if not at:
            yield f"{name} has no cable"
        if name.startswith("J"):
            yield from (f"{name} {pin} has {len(wires)} wires" for pin, wires in at.items() if len(wires) > 1)
    used = Counter((wire.cable, wire.number) for wire in build.wiring.wires)
    yield from (f"{cable} has wire {number} in two places" for (cable, number), n in used.items() if n > 1)


def net_of(build: Build, name: str, pin: str) -> str:
    """The board's net at the other end of a module's pin, or "" ."""
    ends = [there for _, there in build.wiring.at(name).get(pin, []) if there.plug.name.startswith("J")]
    return ends[0].label if ends else ""


def wrong_volts(build: Build) -> Iterator[str]:
    """Each module gets a supply that it bears, gives the Pi no more than 3.3 V, and has its ground pins at ground."""
    parts = build.board.of(build.name)
    most_v = build.power["supply"][build.name]["output_v"]
    volts = {"3V3": (3.3, 3.3), **dict.fromkeys(("5V", "AMP_5V", "REAR_5V"), (4.75, most_v))}
    for plug in build.wiring.plugs.values():
        module = build.known["module"].get(plug.part)
        if module is None:
            continue
        pin_of = {label: pin for pin, label in plug.pins.items()}
        named = [
            *module["supply"],
            *module["ground"],
            *module.get("in", ()),
            *module.get("out", ()),
            *module.get("bus", ()),
        ]
        yield from (f"{plug.name} has no pin {label}" for label in named if label not in pin_of)
        pin_of |= {label: "" for label in named if label not in pin_of}
        supply = net_of(build, plug.name, pin_of[module["supply"][0]])
        if supply not in volts:
            yield f"{plug.name} is fed by {supply or 'nothing'}"
            continue
        low, high = volts[supply]
        if not module["supply_v"][0] <= low <= high <= module["supply_v"][1]:
            yield f"{plug.name} gets {low} to {high} V and bears {module['supply_v']}"
        gives_v = high if module["high_v"] == "supply" else module["high_v"]
        for label in (*module.get("out", ()), *module.get("bus", ())):
            net = net_of(build, plug.name, pin_of[label])
            if gives_v > netlist.PIN_V and net not in netlist.HIGH_V:
                yield f"{plug.name} {label} gives {gives_v} V to {net or 'nothing'}, which has no divider"
            for gpio in harness.reached(build.board, build.name, net):
                pin = {number: name for name, number in netlist.NAMED.items()}.get(gpio, f"GPIO{gpio}")
                if netlist.levels(parts, pin) > netlist.PIN_V + 1e-6:
                    yield f"{plug.name} {label} lifts {pin} above 3.3 V"
        for label in module["ground"]:
            pin = pin_of[label]
            ends = [there.label for _, there in build.wiring.at(plug.name).get(pin, [])]
            if not any(end in ("GND", "AMP_GND", "CELL -") for end in ends):
                yield f"{plug.name} {label} is not at ground"


def wrong_bus(build: Build) -> Iterator[str]:
    bus, limits = harness.bus(build.wiring, build.known), build.known["i2c"]
    if bus.capacitance_f > limits["bus_pf_max"] * 1e-12:
        yield f"the I2C bus has {bus.capacitance_f * 1e12:.0f} pF"
    if bus.rise_s > limits["rise_s_max"]:
        yield f"an edge on the I2C bus takes {bus.rise_s * 1e9:.0f} ns"
    if bus.sink_a > limits["sink_a_max"]:
        yield f"a chip on the I2C bus must sink {bus.sink_a * 1e3:.2f} mA"
    for plug in build.wiring.plugs.values():
        module = build.known["module"].get(plug.part, {})
        if "bus" in module:
            swapped = [
                label
                for label in module["bus"]
                if net_of(build, plug.name, {v: k for k, v in plug.pins.items()}[label]) != label
            ]
            yield from (f"{plug.name} {label} is not on {label}" for label in swapped)


def wrong_colours(build: Build) -> Iterator[str]:
    """A colour that means something means it on every cable."""
    means = {
        "RD": {"5V", "AMP_5V", "REAR_5V", "5V_IN", "CELL +", "contact", "VIN+", "+", "+5 V"},
        "OG": {"3V3"},
        "BK": {"GND", "AMP_GND", "GND_IN", "CELL -"},
        "BU": {"SDA"},
        "YE": {"SCL"},
    }
    for wire in build.wiring.wires:
        labels = {end.label for end in wire.ends}
        for code, nets in means.items():
            if (wire.colour == code) and not labels & nets:
                joined = " to ".join(sorted(labels))
                yield f"{wire.cable} wire {wire.number} is {harness.COLOURS[code]} and joins {joined}"
        board = [end.label for end in wire.ends if end.plug.name.startswith("J")]
        for code, nets in means.items():
            if board and board[0] in nets and wire.colour not in (code, "BN"):
                yield f"{wire.cable} wire {wire.number} is at {board[0]} and not {harness.COLOURS[code]}"


def wrong_parts(build: Build) -> Iterator[str]:
    """What is drawn is bought, and what is bought for the harness is drawn."""
    drawn = Counter(plug.part for plug in build.wiring.plugs.values())
    drawn.update(cable.part for cable in build.wiring.cables.values() if cable.part)
    bought = {
        part: int(row[f"{build.name}_qty"])
        for part, row in build.bom.items()
        if "harness" in row["drawn_in"].split("+") and int(row[f"{build.name}_qty"])
    }
    for part in drawn.keys() | bought.keys():
        if drawn[part] != bought.get(part, 0):
            yield f"{part}: {drawn[part]} drawn in the harness, {bought.get(part, 0)} in bom.csv"


def ohm(build: Build, names: set[str]) -> float:
    """Of the wires of some cables, one after the other."""
    per_m = build.power["wire_ohm_per_m"]
    return sum(
        float(per_m[f"AWG{build.wiring.cables[wire.cable].awg}"]) * build.wiring.cables[wire.cable].length_m
        for wire in build.wiring.wires
        if wire.cable in names
    )


def wrong_wires(build: Build) -> Iterator[str]:
    """No wire is longer or thinner than the power budget reckons with, or than a driver bears."""
    cables, per_m = build.wiring.cables, build.power["wire_ohm_per_m"]
    lead = {name for name, cable in cables.items() if cable.part == "usb-lead"}
    supply = {
        wire.cable
        for wire in build.wiring.wires
        if all(end.plug.part in {*HANDED_OUT, "terminal-2"} for end in wire.ends) and cables[wire.cable].awg
    }
    # The gauge's two wires to the cell carry no current.
    supply -= {
        wire.cable for wire in build.wiring.wires if {"max17048", "charger-boost"} == {e.plug.part for e in wire.ends}
    }
    steps = {
        step["what"]: 2 * per_m[step["wire"]] * step["length_m"]
        for step in build.power["supply"][build.name]["path"]
        if "wire" in step
    }
    for what, names in {"USB lead": lead, "wires in the case": supply - lead}.items():
        mine, reckoned = ohm(build, names), steps.get(what, 0.0)
        if mine > reckoned + 1e-9:
            yield f"{what}: {mine * 1e3:.1f} mohm; power.toml reckons with {reckoned * 1e3:.1f}"
    for branch in build.power["branch"]:
        for plug in build.wiring.plugs.values():
            if plug.part == branch["part"]:
                names = {wire.cable for wires in build.wiring.at(plug.name).values() for wire, _ in wires}
                mine = sum(per_m[f"AWG{cables[name].awg}"] * cables[name].length_m for name in names)
                if mine > per_m[branch["wire"]] * branch["length_m"] + 1e-9:
                    yield f"{plug.name}: {mine * 1e3:.1f} mohm a wire, more than power.toml reckons with"
    for wire in build.wiring.wires:
        parts, cable = {end.plug.part for end in wire.ends}, cables[wire.cable]
        if parts & {"tf-luna", "lsm6dsox"} and cable.length_m > 0.30:
            yield f"{wire.cable} is {cable.length_m * 1e3:.0f} mm long; its driver bears 300"
        plugs = {part for part in parts if part.startswith("jst-xh-")}
        if plugs and not 22 <= cable.awg <= 28:
            yield f"{wire.cable}: JST XH takes 22 to 28 AWG"
        if "terminal-2" in parts and cable.awg > 20:
            yield f"{wire.cable}: the terminal takes 0.5 mm2, 20 AWG, and more"


def wrong_holes(build: Build) -> Iterator[str]:
    """Each cable of what is worn outside of the case has its hole, and a gland of its own where it must be tight."""
    outside = {"BUTTON", "MOTOR", "CLIP", "BANK"}
    leaves = {wire.cable for wire in build.wiring.wires if {end.plug.name for end in wire.ends} & outside}
    through = Counter(cable for hole in build.wiring.holes for cable in hole)
    yield from (
        f"{cable} leaves the case by {through[cable]} holes"
        for cable in leaves | through.keys()
        if through[cable] != (cable in leaves)
    )
    openings = tomllib.loads((HARDWARE / "geometry.toml").read_text("utf-8"))["openings"]
    if len(build.wiring.holes) != len(openings["gland_y_mm"]):
        yield f"the case has {len(openings['gland_y_mm'])} holes for cables, {len(build.wiring.holes)} are used"
    glands = int(build.bom["cable-gland"][f"{build.name}_qty"])
    if glands and (glands != len(through) or max(len(hole) for hole in build.wiring.holes) > 1):
        yield f"{len(through)} cables leave the case, through {glands} glands"
    for hole in build.wiring.holes:
        across = [
            float(match[1])
            for cable in hole
            if (row := build.bom.get(build.wiring.cables[cable].part))
            and (match := re.search(r"to ([\d.]+) mm across", row["key_specification"]))
        ]
        if not glands and sum(across) > openings["gland_starter_mm"]:
            yield f"{' and '.join(hole)} do not pass a hole of {openings['gland_starter_mm']} mm side by side"
        if glands and any(mm > 6.5 for mm in across):
            yield f"{' and '.join(hole)}: PG7 takes up to 6.5 mm"
    for cable in through:
        # A gland grips what is round, and so does the tie in a plain hole.
        if not build.wiring.cables[cable].part:
            yield f"{cable} leaves the case as loose wires"


RULES = (
    wrong_holes,
    wrong_lines,
    wrong_addresses,
    wrong_plugs,
    wrong_volts,
    wrong_bus,
    wrong_colours,
    wrong_parts,
    wrong_wires,
)


@pytest.mark.parametrize("rule", RULES, ids=[rule.__name__ for rule in RULES])
def test_nothing_is_wrong(build, rule):
    """Cables, board, settings, parts list and power budget agree"""
    assert list(rule(build)) == []


# -------------------------------------------------------------------------------------------- the rules find something


def text(*changes: tuple[str, str]) -> Callable[[Build], None]:
    """Changes the harness file, each place exactly once."""

    def apply(build: Build) -> None:
        for old, new in changes:
            assert build.text.count(old) == 1, old
            build.text = build.text.replace(old, new)
        build.wiring = harness.read(build.text)

    return apply


def setting(**changes: Any) -> Callable[[Build], None]:
    def apply(build: Build) -> None:
        build.config = replace_sections(build.config, changes)

    return apply


def replace_sections(config: Config, changes: dict[str, dict[str, Any]]) -> Config:
    done = {name: msgspec.structs.replace(getattr(config, name), **values) for name, values in changes.items()}
    return msgspec.structs.replace(config, **done)


def module(part: str, **changes: Any) -> Callable[[Build], None]:
    return lambda build: build.known["module"][part].update(changes)


def drawn_on_board(ref: str, pin: str, net: str) -> Callable[[Build], None]:
    def apply(build: Build) -> None:
        parts = tuple(
            replace(part, pins={**part.pins, pin: netlist.Pin(net, part.pins[pin].hole)}) if part.ref == ref else part
            for part in build.board.parts
        )
        build.board = replace(build.board, parts=parts)

    return apply


def bought(part: str, column: str, value: str) -> Callable[[Build], None]:
    return lambda build: build.bom[part].update({column: value})


MUTANTS: dict[str, tuple[str, Callable[[Build], None], Callable[[Build], Iterator[str]]]] = {
    "trigger and echo crossed": ("starter", text(("ULTRASONIC: [1-4]]", "ULTRASONIC: [1, 3, 2, 4]]")), wrong_lines),
    "a 5 V echo at the trigger": ("starter", text(("ULTRASONIC: [1-4]]", "ULTRASONIC: [1, 3, 2, 4]]")), wrong_volts),
    "another button pin in the settings": ("starter", setting(button={"pin": 16}), wrong_lines),
    "a supply that nobody switches": (
        "starter",
        lambda build: setattr(build, "config", Config(battery=build.config.battery, range_sensor=(HcSr04(), TfLuna()))),
        wrong_lines,
    ),
    "a buzzer on the sound's pins": ("outdoor", setting(buzzer={"pin": 18}), wrong_lines),
    "another net on the board": ("starter", drawn_on_board("R8", "1", "GPIO22"), wrong_lines),
    "no cable to the buzzer": ("outdoor", text(('  - [J4: [1, 2], W4: [1, 2], BUZZER: [+, "-"]]\n', "")), wrong_plugs),
    "no line to the motor": ("outdoor", text(("  - [J5: [1, 2], W5: [1, 2], MOTOR: [1, 2]]\n", "")), wrong_lines),
    "pins of a connector in another order": (
        "outdoor",
        text(("pinlabels: [BUTTON, GND]", "pinlabels: [GND, BUTTON]")),
        wrong_plugs,
    ),
    "another connector": (
        "outdoor",
        text(("{pn: jst-xh-2, type: board, subtype: led", "{pn: jst-xh-4, type: board, subtype: led")),
        wrong_plugs,
    ),
    "two wires in one contact": ("outdoor", text(('J11: ["-"], W22', "J11: [+], W22")), wrong_plugs),
    "both lidars at one address": ("outdoor", text(("0x11, set before", "0x10, set before")), wrong_addresses),
    "another address of the clip": ("starter", setting(imu={"address": 0x6B}), wrong_addresses),
    "a gauge that the settings do not know": ("outdoor", setting(battery={"chip": "none"}), wrong_addresses),
    "another net at a connector of the board": ("outdoor", drawn_on_board("J9", "1", "5V"), wrong_plugs),
    "5 V on a line of a sealed sensor": (
        "outdoor",
        text(("pinlabels: [3V3, GND, GND, SERIAL]", "pinlabels: [5V, GND, GND, SERIAL]")),
        wrong_volts,
    ),
    "a lidar on 3.3 V": (
        "starter",
        text(("subtype: lidar, pinlabels: [5V,", "subtype: lidar, pinlabels: [3V3,")),
        wrong_volts,
    ),
    "a bank of too many volts": ("starter", lambda b: b.power["supply"]["starter"].update(output_v=5.3), wrong_volts),
    "the lidar's mode left open": ("starter", text(("LIDAR: [1-5]]", "LIDAR: [1, 2, 3, 4, 6]]")), wrong_volts),
    "the sealed sensor's RX at its TX": (
        "outdoor",
        text(("ULTRASONIC: [VCC, GND, RX, TX]]", "ULTRASONIC: [VCC, GND, TX, RX]]")),
        wrong_volts,
    ),
    "SDA and SCL crossed": ("starter", text(("CLIP: [VIN, GND, SDA, SCL]]", "CLIP: [VIN, GND, SCL, SDA]]")), wrong_bus),
    "a bus too long": (
        "outdoor",
        text(("length: 300\n", "length: 1300\n")),
        wrong_bus,
    ),
    "pull-ups too strong": ("starter", module("lsm6dsox", pull_up_ohm=2200), wrong_bus),
    "a clip too far away": (
        "outdoor",
        text(("length: 300\n", "length: 320\n")),
        wrong_wires,
    ),
    "a wire too thin for 5 V": (
        "outdoor",
        text(("W22: {gauge: 20 AWG, length: 150", "W22: {gauge: 26 AWG, length: 150")),
        wrong_wires,
    ),
    "a lead too long": ("starter", text(("gauge: 20 AWG, length: 300", "gauge: 20 AWG, length: 500")), wrong_wires),
    "a wire too thick for its contact": ("starter", text(("W10: {gauge: 24 AWG", "W10: {gauge: 20 AWG")), wrong_wires),
    "ground in red": (
        "starter",
        text(
            (
                "W3: {gauge: 26 AWG, length: 100, length_unit: mm, colors: [GN, BK]",
                "W3: {gauge: 26 AWG, length: 100, length_unit: mm, colors: [GN, RD]",
            )
        ),
        wrong_colours,
    ),
    "a cable that has no hole": ("starter", text(("[[W2, W5], [W14], [W22]]", "[[W2, W5], [W14], []]")), wrong_holes),
    "two cables in one gland": ("outdoor", text(("[[W2], [W14], [W5]]", "[[W2, W14], [W5], []]")), wrong_holes),
    "two cables too thick for their hole": (
        "starter",
        bought("cable-2", "key_specification", "soft sheath, 3 to 4.2 mm across"),
        wrong_holes,
    ),
    "loose wires in a gland": ("outdoor", text(("  W2: {pn: cable-2, ", "  W2: {")), wrong_holes),
    "a part that is not bought": ("outdoor", bought("tf-luna", "outdoor_qty", "1"), wrong_parts),
    "a part that is not drawn": ("starter", bought("a02yyuw", "starter_qty", "1"), wrong_parts),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_wrong_is_found(name):
    """Each rule sees the mistake that it is there for"""
    of, mutate, rule = MUTANTS[name]
    build = Build(of)
    mutate(build)
    assert list(rule(build))


# ----------------------------------------------------------------------------------------------------- around them


def test_what_both_builds_have_is_the_same():
    """A cable or a plug of that name is not another one in the other build, but for the supply and the ultrasonic"""
    starter, outdoor = (Build(name).wiring for name in netlist.BUILDS)
    own = {"W11", "W15", "W21", "W22"}
    for name in starter.cables.keys() & outdoor.cables.keys() - own:
        assert starter.cables[name] == outdoor.cables[name]
        first, second = ([wire for wire in each.wires if wire.cable == name] for each in (starter, outdoor))
        assert first == second
    for name in starter.plugs.keys() & outdoor.plugs.keys() - {"ULTRASONIC"}:
        assert starter.plugs[name] == outdoor.plugs[name]


def test_settings_hold_only_what_differs(build):
    """Nobody has to look through a copy of the defaults"""
    with (HARDWARE / f"{build.name}.toml").open("rb") as file:
        written = tomllib.load(file)
    default = to_table(Config())
    for section, values in written.items():
        if isinstance(values, dict):
            assert all(default[section][key] != value for key, value in values.items()), section
    kinds = {type(sensor) for sensor in Config().range_sensor}
    assert written["range_sensor"] != default["range_sensor"]
    assert {type(sensor) for sensor in build.config.range_sensor} <= kinds | {A02yyuw}


def test_the_amplifier_has_its_line_at_the_start():
    """The kernel's driver gives the card the name that the settings use, and leaves the thermometer's pin alone"""
    assert re.search(r"^#?dtoverlay=max98357a,no-sdmode$", BOOT, re.MULTILINE)
    for name in netlist.BUILDS:
        assert Build(name).config.voice.device == "plughw:CARD=MAX98357A"


@pytest.mark.slow
@pytest.mark.parametrize("sheet", harness.SHEETS)
def test_the_picture_shows_each_colour(build, sheet):
    """A picture of few colours still has those of its wires"""
    with Image.open(HARDWARE / f"drawings/harness-{build.name}{sheet}.png") as picture:
        seen = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []}
    supply = build.wiring.supply_sheet
    drawn = {wire.colour for wire in build.wiring.wires if (wire.cable in supply) == bool(sheet)}
    assert drawn
    assert {harness.rgb(code) for code in drawn} <= seen


def test_every_wire_is_in_list_and_table(build):
    """What is drawn is also written, once"""
    table = (HARDWARE / f"harness/{build.name}.wires.tsv").read_text("utf-8").splitlines()[1:]
    assert [row.split("\t")[:2] for row in table] == [[wire.cable, str(wire.number)] for wire in build.wiring.wires]
    listed = (HARDWARE / f"harness/{build.name}.wires.md").read_text("utf-8")
    assert listed.count("| ☐ |") == len(build.wiring.wires)
    for sheet in harness.SHEETS:
        svg = (HARDWARE / f"drawings/harness-{build.name}{sheet}.svg").read_text("utf-8")
        shown = set(re.findall(r"<title>(\w+)</title>", svg))
        mine = {name for name in build.wiring.cables if (name in build.wiring.supply_sheet) == bool(sheet)}
        assert shown & build.wiring.cables.keys() == mine
