"""The interface board: its circuit, where its parts sit, and its connections to tick off; from `board/board.toml`.

The circuit is placed by hand, below, and each leg that is drawn is compared with the netlist: what is drawn as joined
has to be one net, every leg of every part has to be there once, and a net that is drawn in pieces needs its name at
each of them.  So the picture cannot say anything that the netlist does not.
"""

from __future__ import annotations

import itertools
import math
import re
import subprocess
from collections import defaultdict
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Literal

import schemdraw
from hardware.draw import netlist
from hardware.draw.netlist import Board, Part
from schemdraw import elements as elm

Point = tuple[float, float]

CIRCUIT = "drawings/board"
LAYOUT = "drawings/board-layout"
CONNECTIONS = "board/connections.md"

STUB = 0.6
ROW = 0.8
"""Length of a connector's stub, distance of its pins, in the units of the drawing."""


def sources(hardware: Path) -> list[Path]:
    return [hardware / "board/board.toml", hardware / "draw/netlist.py"]


def render(hardware: Path, into: Path) -> list[Path]:
    board = netlist.read(hardware / "board/board.toml")
    svgs = {CIRCUIT: circuit(board), LAYOUT: layout(board)}
    texts = {CONNECTIONS: connections(board), **{f"{name}.svg": svg for name, svg in svgs.items()}}
    for place, text in texts.items():
        (into / place).parent.mkdir(parents=True, exist_ok=True)
        (into / place).write_text(text, "utf-8")
    for name in svgs:
        subprocess.run(
            [
                "rsvg-convert",
                "--width",
                "1100",
                "--background-color",
                "white",
                "-o",
                into / f"{name}.png",
                into / f"{name}.svg",
            ],
            check=True,
        )
    return [Path(place) for place in (*texts, *(f"{name}.png" for name in svgs))]


# ----------------------------------------------------------------------------------------------------- the circuit


@dataclass
class Sheet:
    """A circuit that is being drawn, and what has been drawn as joined to what."""

    board: Board
    drawing: schemdraw.Drawing
    legs: list[tuple[str, str, Point]] = field(default_factory=list)
    """(ref, pin, where)."""
    wires: list[tuple[Point, Point]] = field(default_factory=list)
    names: list[tuple[Point, str]] = field(default_factory=list)

    def wire(self, *points: Point) -> None:
        for a, b in itertools.pairwise(points):
            self.drawing += elm.Line().at(a).to(b)
            self.wires.append((at(a), at(b)))

    def name(self, point: Point, net: str, side: str = "right") -> None:
        """Writes a net's name at a point; grounds and supplies by their signs."""
        self.names.append((at(point), net))
        if net.endswith("GND") and side == "below":
            self.drawing += elm.GroundSignal().at(point).theta(0)
            self.drawing += elm.Label().at((point[0] + 0.35, point[1] - 0.35)).label(net, fontsize=9, halign="left")
            return
        shift = {"right": (0.15, -0.12), "left": (-0.15, -0.12), "above": (0.0, 0.15), "below": (0.0, -0.45)}[side]
        aligns: dict[str, Literal["left", "right", "center"]] = {"right": "left", "left": "right"}
        halign = aligns.get(side, "center")
        self.drawing += elm.Dot(open=True, radius=0.06).at(point)
        self.drawing += (
            elm.Label()
            .at((point[0] + shift[0], point[1] + shift[1]))
            .label(net, fontsize=10, halign=halign, color="#14508c")
        )

    def two(self, ref: str, first: str, a: Point, b: Point, side: str = "top") -> None:
        """A part with two legs from `a`, where its pin `first` is, to `b`."""
        part = self.board.part(ref)
        second = next(name for name in part.pins if name != first)
        kind = {"R": elm.ResistorIEC, "C": elm.Capacitor, "D": elm.Schottky}[ref[0]]()
        if ref[0] == "C" and "+" in part.pins:
            kind = elm.Capacitor2()
        text = f"{ref}  {part.value}" + ("" if not part.build else f"\n{part.build}")
        self.drawing += kind.at(a).to(b).label(text, side, fontsize=9)
        self.legs += [(ref, first, at(a)), (ref, second, at(b))]

    def transistor(self, ref: str, base: Point) -> tuple[Point, Point]:
        """A transistor with its base at a point; where collector and emitter are."""
        part = self.board.part(ref)
        kind = elm.BjtNpn(circle=True) if part.part == "npn" else elm.BjtPnp(circle=True)
        element = kind.theta(0).anchor("base").at(base).label(f"{ref} {part.value}", "right", fontsize=9)
        self.drawing += element
        collector, emitter = element.absanchors["collector"], element.absanchors["emitter"]
        ends = (float(collector[0]), float(collector[1])), (float(emitter[0]), float(emitter[1]))
        self.legs += [(ref, "b", at(base)), (ref, "c", at(ends[0])), (ref, "e", at(ends[1]))]
        return ends

    def connector(self, ref: str, corner: Point) -> None:
        """A connector as a box, a pin a line, each with its net."""
        part = self.board.part(ref)
        x, y = corner
        height = ROW * len(part.pins)
        self.drawing += elm.Rect(corner1=(0, 0), corner2=(1.0, -height)).at(corner).theta(0)
        more = f" ({part.build})" if part.build else ""
        self.drawing += (
            elm.Label().at((x - 0.1, y + 0.2)).label(f"{ref}  {part.value}{more}", fontsize=10, halign="left")
        )
        for number, (pin, to) in enumerate(part.pins.items()):
            here = (x + 1.0, y - ROW * (number + 0.5))
            self.drawing += elm.Label().at((x + 0.5, here[1] - 0.12)).label(pin, fontsize=9)
            self.legs.append((ref, pin, at(here)))
            if to.net:
                there = (here[0] + STUB, here[1])
                self.wire(here, there)
                self.name(there, to.net)

    def findings(self) -> list[str]:
        """Where the drawing is not the netlist."""
        found = []
        group: dict[Point, Point] = {}

        def root(point: Point) -> Point:
            while group.setdefault(point, point) != point:
                point = group[point]
            return point

        for a, b in self.wires:
            group[root(a)] = root(b)
        nets = {(part.ref, name): pin.net for part in self.board.parts for name, pin in part.pins.items()}
        drawn = [(ref, name) for ref, name, _ in self.legs]
        found += [f"{ref} pin {name} is not drawn once" for ref, name in nets if drawn.count((ref, name)) != 1]
        in_group: dict[Point, set[str]] = defaultdict(set)
        named: dict[Point, set[str]] = defaultdict(set)
        for ref, name, point in self.legs:
            if nets.get((ref, name)):
                in_group[root(point)].add(nets[ref, name])
        for point, net in self.names:
            in_group[root(point)].add(net)
            named[root(point)].add(net)
        found += [f"{sorted(several)} are drawn as one" for several in in_group.values() if len(several) > 1]
        pieces: dict[str, list[Point]] = defaultdict(list)
        for point, one in in_group.items():
            for net in one:
                pieces[net].append(point)
        for net, points in pieces.items():
            if len(points) > 1:
                found += [f"a piece of {net} has no name" for point in points if net not in named[point]]
        return found


def at(point: Point) -> Point:
    return round(float(point[0]), 3), round(float(point[1]), 3)


def circuit(board: Board) -> str:
    """The circuit as SVG.  Raises `ValueError` where it would not be what the netlist says."""
    sheet = draw(board)
    if found := sheet.findings():
        raise ValueError("draw/board.py does not draw board.toml: " + "; ".join(found))
    svg = sheet.drawing.get_imagedata("svg").decode("utf-8")
    return re.sub(r"<\?xml[^>]*\?>\s*", "", svg).strip() + "\n"


def draw(board: Board) -> Sheet:
    schemdraw.use("svg")
    drawing = schemdraw.Drawing(show=False)
    drawing.config(fontsize=10, lw=1.3, inches_per_unit=0.42, margin=0.4)
    sheet = Sheet(board, drawing)

    def title(point: Point, text: str) -> None:
        sheet.drawing += elm.Label().at(point).label(text, fontsize=13, halign="left")

    def driver(x: float, y: float, text: str, gpio: str, refs: tuple[str, str, str, str, str], ground: str) -> None:
        """Base resistor, pull-down, transistor, diode, series resistor ("" if none)."""
        base_r, pull, transistor, diode, series = refs
        title((x - 1.0, y + 7.6), text)
        sheet.name((x, y), gpio, "left")
        sheet.two(base_r, _pin(board, base_r, gpio), (x, y), (x + 3, y))
        sheet.two(pull, "1", (x + 3, y), (x + 3, y - 3), "bottom")
        sheet.name((x + 3, y - 3), "GND", "below")
        sheet.wire((x + 3, y), (x + 4, y))
        collector, emitter = sheet.transistor(transistor, (x + 4, y))
        sheet.name(emitter, ground, "below")
        low = (collector[0], y + 1.6)
        high = (collector[0], y + 4.6)
        sheet.wire(collector, low)
        sheet.two(diode, "a", low, high, "bottom")
        right = (low[0] + 1.5, low[1])
        sheet.wire(low, right)
        sheet.name(right, board.part(diode).pins["a"].net)
        plus = board.part(diode).pins["k"].net
        other = (high[0] + 1.5, high[1])
        sheet.wire(high, other)
        sheet.name(other, plus)
        if series:
            sheet.two(series, _pin(board, series, plus), high, (high[0], high[1] + 2.4), "bottom")
            sheet.name((high[0], high[1] + 2.4), "5V", "above")

    # Column 1: the ultrasonic sensor.
    title((-1, 7.6), "Echo: 5 V become 3.3 V")
    sheet.name((0, 5.5), "ECHO_5V", "left")
    sheet.two("R1", "1", (0, 5.5), (3, 5.5))
    sheet.wire((3, 5.5), (4, 5.5))
    sheet.name((4, 5.5), "GPIO24")
    sheet.two("R2", "1", (3, 5.5), (3, 2.5), "bottom")
    sheet.name((3, 2.5), "GND", "below")

    title((8, 7.6), "Trigger")
    sheet.name((9, 5.5), "GPIO23", "left")
    sheet.wire((9, 5.5), (10, 5.5))
    sheet.two("R3", "1", (10, 5.5), (13, 5.5))
    sheet.name((13, 5.5), "TRIG")
    sheet.two("R21", "1", (10, 5.5), (10, 2.5), "bottom")
    sheet.name((10, 2.5), "GND", "below")

    title((17, 7.6), "Switched 5 V of the ultrasonic sensor (GPIO 5 low: off)")
    sheet.name((18, 0), "GPIO5", "left")
    sheet.wire((18, 0), (19, 0))
    sheet.two("R4", "1", (19, 0), (22, 0))
    sheet.two("R5", "1", (19, 0), (19, 3), "bottom")
    sheet.name((19, 3), "3V3", "above")
    q1_c, q1_e = sheet.transistor("Q1", (22, 0))
    sheet.name(q1_e, "GND", "below")
    sheet.wire(q1_c, (q1_c[0], 1.2))
    sheet.two("R6", "1", (q1_c[0], 1.2), (q1_c[0], 3.9), "bottom")
    node = (q1_c[0], 3.9)
    sheet.two("R7", "1", node, (node[0], 6.5), "bottom")
    sheet.name((node[0], 6.5), "5V", "above")
    sheet.wire(node, (node[0] + 2.2, 3.9))
    ends = sheet.transistor("Q2", (node[0] + 2.2, 3.9))
    upper, lower = ends[1], ends[0]  # a PNP's emitter is the upper one
    sheet.wire(upper, (upper[0], 6.0))
    sheet.name((upper[0], 6.0), "5V", "above")
    sheet.wire(lower, (lower[0], 2.2), (lower[0] + 2, 2.2), (lower[0] + 4, 2.2), (lower[0] + 5, 2.2))
    sheet.two("C3", "+", (lower[0] + 2, 2.2), (lower[0] + 2, -0.3), "bottom")
    sheet.name((lower[0] + 2, -0.3), "GND", "below")
    sheet.two("C4", "1", (lower[0] + 4, 2.2), (lower[0] + 4, -0.3), "bottom")
    sheet.name((lower[0] + 4, -0.3), "GND", "below")
    sheet.name((lower[0] + 5, 2.2), "REAR_5V")

    driver(0, -10.5, "Vibration motor", "GPIO27", ("R8", "R9", "Q3", "D1", "R10"), "MOT_GND")
    driver(10, -10.5, "Buzzer", "GPIO22", ("R11", "R12", "Q4", "D2", ""), "GND")
    driver(20, -10.5, "Second motor (option)", "GPIO26", ("R17", "R18", "Q5", "D3", "R19"), "MOT_GND")

    y = -18.5
    title((-1, y + 3.8), "Button")
    sheet.name((0, y), "BUTTON", "left")
    sheet.two("R14", "1", (0, y), (3, y))
    sheet.two("R15", "1", (3, y), (3, y + 3), "bottom")
    sheet.name((3, y + 3), "3V3", "above")
    sheet.two("C5", "1", (3, y), (3, y - 2.5), "bottom")
    sheet.name((3, y - 2.5), "GND", "below")
    sheet.wire((3, y), (4.5, y))
    sheet.name((4.5, y), "GPIO17")

    title((9, y + 3.8), "Light")
    sheet.name((10, y + 1), "GPIO25", "left")
    sheet.two("R13", "1", (10, y + 1), (13, y + 1))
    sheet.name((13, y + 1), "LED_PLUS")
    title((9, y - 0.6), "Serial line of the sealed ultrasonic sensor")
    sheet.name((10, y - 2), "SERIAL", "left")
    sheet.two("R16", "1", (10, y - 2), (13, y - 2))
    sheet.name((13, y - 2), "GPIO15")

    title((20, y + 3.8), "Thermometer")
    sheet.name((21, y + 2.4), "3V3", "above")
    sheet.two("R20", "2", (21, y + 2.4), (21, y - 0.6), "bottom")
    sheet.name((21, y - 0.6), "GPIO4", "below")

    title((24, y + 3.8), "Bulk")
    for number, (ref, plus, minus) in enumerate(
        (("C1", "5V", "GND"), ("C6", "5V", "GND"), ("C2", "AMP_5V", "AMP_GND"))
    ):
        x = 25.5 + 3.2 * number
        sheet.two(ref, next(iter(board.part(ref).pins)), (x, y + 2), (x, y - 0.5), "bottom")
        sheet.name((x, y + 2), plus, "above")
        sheet.name((x, y - 0.5), minus, "below")

    # Below: the plugs in columns, and the Pi.
    y0 = -25.5
    title((-1, y0 + 1.6), "Plugs")
    columns = (
        (-0.5, ("J2", "J3", "J4", "J5", "J6")),
        (5.5, ("J7", "J8", "J9", "J11")),
        (11.5, ("J10", "J12", "J13")),
        (17.5, ("J14", "J15")),
    )
    for x, refs in columns:
        y = y0
        for ref in refs:
            sheet.connector(ref, (x, y))
            y -= ROW * len(board.part(ref).pins) + 1.6
    title((24, y0 + 1.6), "The Pi (its own pin numbers)")
    _header(sheet, (27.5, y0))
    # Room around what the drawing takes for its edge.
    for corner in ((-4.0, 8.8), (36.0, y0 - ROW * 20 - 1.0)):
        sheet.drawing += elm.Label().at(corner).label(".", fontsize=1, color="white")
    return sheet


def _header(sheet: Sheet, corner: Point) -> None:
    part = next(part for part in sheet.board.parts if part.part == "header-2x20")
    x, y = corner
    sheet.drawing += elm.Rect(corner1=(0, 0), corner2=(2.0, -ROW * 20)).at(corner).theta(0)
    for pin, to in part.pins.items():
        row, odd = (int(pin) - 1) // 2, int(pin) % 2
        here = (x if odd else x + 2.0, y - ROW * (row + 0.5))
        sheet.drawing += elm.Label().at((x + (0.5 if odd else 1.5), here[1] - 0.12)).label(pin, fontsize=9)
        sheet.legs.append((part.ref, pin, at(here)))
        if to.net:
            there = (here[0] + (-STUB if odd else STUB), here[1])
            sheet.wire(here, there)
            sheet.name(there, to.net, "left" if odd else "right")
    sheet.drawing += elm.Label().at((x + 1.0, y + 0.2)).label(part.ref, fontsize=10)


def _pin(board: Board, ref: str, net: str) -> str:
    """Raises `ValueError` if the part has none on the net."""
    for name, pin in board.part(ref).pins.items():
        if pin.net == net:
            return name
    raise ValueError(f"{ref} has no pin on {net}, where draw/board.py draws one")


# --------------------------------------------------------------------------------------------------- the placement

MM = 14.0
"""Drawing units a hole."""
EDGE_ROW = 18
COLOURS = {"": "#ffffff", "starter": "#dcebff", "outdoor": "#dff5df", "option": "#fff3cf"}
NETS = {"5V": "#c62828", "AMP_5V": "#c62828", "REAR_5V": "#c62828", "5V_IN": "#c62828", "3V3": "#ef8a00"}


def bodies(part: Part) -> tuple[float, float, float, float]:
    """(least row, least column, most row, most column) that a part covers, in holes."""
    places = [netlist.place(pin.hole) for pin in part.pins.values()]
    rows, columns = [r for r, _ in places], [c for _, c in places]
    grow_row, grow_column = {"R": (0.0, 0.45), "D": (0.0, 0.45), "Q": (0.45, 0.45), "J": (0.95, 0.95)}.get(
        part.ref[0], (0.5, 0.5)
    )
    if part.value == "470u":
        # A can of 8 mm.
        grow_row, grow_column = 1.55, 1.05
    if part.part == "header-2x20":
        grow_row, grow_column = 0.5, 0.5
    low, high = grow_row, grow_row
    if part.part.startswith("jst-xh"):
        # 2.35 mm to one side of its pins and 3.4 mm to the other, which looks away from the board's edge (JST, XH).
        low, high = (1.35, 0.95) if max(rows) == EDGE_ROW else (0.95, 1.35)
    return min(rows) - low, min(columns) - grow_column, max(rows) + high, max(columns) + grow_column


def overlaps(board: Board) -> list[str]:
    """Parts that would stand in each other's way; those that never sit on one board are let be."""
    found = []
    for number, one in enumerate(board.parts):
        for other in board.parts[number + 1 :]:
            if {one.build, other.build} == {"starter", "outdoor"}:
                continue
            a, b = bodies(one), bodies(other)
            if min(a[2], b[2]) - max(a[0], b[0]) > 0.11 and min(a[3], b[3]) - max(a[1], b[1]) > 0.11:
                found.append(f"{one.ref} and {other.ref} overlap")
    return found


def layout(board: Board) -> str:
    """The side of the parts, as SVG."""
    left, top = 40.0, 40.0
    width, height = left + (board.columns + 1) * MM * 2, top + (board.rows + 1) * MM * 2
    step = MM * 2

    def xy(row: float, column: float) -> tuple[float, float]:
        return left + (column - 0.5) * step, top + (row - 0.5) * step

    out = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height + 76:.0f}" '
            'font-family="DejaVu Sans, sans-serif">'
        ),
        f'<rect width="{width:.0f}" height="{height + 76:.0f}" fill="#ffffff"/>',
        (
            f'<rect x="{left - 4:.0f}" y="{top - 4:.0f}" width="{board.columns * step + 8:.0f}" '
            f'height="{board.rows * step + 8:.0f}" rx="6" fill="#f4efe2" stroke="#8d7b4f"/>'
        ),
    ]
    for column in range(1, board.columns + 1):
        x, _ = xy(1, column)
        out.append(f'<text x="{x:.0f}" y="{top - 12:.0f}" font-size="11" text-anchor="middle">{column}</text>')
    for row in range(1, board.rows + 1):
        _, y = xy(row, 1)
        letter = netlist.ROWS[row - 1]
        out.append(f'<text x="{left - 18:.0f}" y="{y + 4:.0f}" font-size="11" text-anchor="middle">{letter}</text>')
        out += [
            f'<circle cx="{xy(row, column)[0]:.0f}" cy="{y:.0f}" r="2" fill="#cbbd97"/>'
            for column in range(1, board.columns + 1)
        ]
    for part in board.parts:
        r1, c1, r2, c2 = bodies(part)
        (x1, y1), (x2, y2) = xy(r1, c1), xy(r2, c2)
        round_ = 40 if part.value == "470u" else 4
        out.append(
            f'<rect x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}" rx="{round_}" '
            f'fill="{COLOURS[part.build]}" fill-opacity="0.85" stroke="#444"/>'
        )
        if part.ref.startswith("D"):
            row, column = netlist.place(part.pins["k"].hole)
            x, y = xy(row + 0.8, column)
            out.append(f'<rect x="{x - 12:.1f}" y="{y:.1f}" width="24" height="5" fill="#222"/>')
        for name, pin in part.pins.items():
            x, y = xy(*netlist.place(pin.hole))
            colour = NETS.get(pin.net, "#222222" if "GND" in pin.net else "#1565c0" if pin.net else "#bbbbbb")
            out.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="4.5" fill="{colour}"/>')
            small = part.part == "header-2x20" and name not in ("1", "2", "39", "40")
            if not small and part.ref[0] in "JQC" and part.value != "100n":
                label = escape(name)
                out.append(f'<text x="{x:.0f}" y="{y - 6:.0f}" font-size="9" text-anchor="middle">{label}</text>')
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        if part.ref[0] in "RD":
            words = f"{part.ref} {part.value}"
            out.append(
                f'<text x="{x:.0f}" y="{y:.0f}" font-size="11" text-anchor="middle" dominant-baseline="middle" '
                f'transform="rotate(-90 {x:.0f} {y:.0f})">{words}</text>'
            )
        else:
            words = f"{part.ref} {part.value}" if part.value != "2x20 socket" else f"{part.ref} to the Pi"
            below = {"J": y2 - 4, "Q": y2 - 3, "C": y2 - 14 if part.value == "470u" else y2 + 10}
            offset = y + 4 if part.ref == "J1" else below[part.ref[0]]
            size = 9 if part.ref[0] in "QC" else 10
            out.append(f'<text x="{x:.0f}" y="{offset:.0f}" font-size="{size}" text-anchor="middle">{words}</text>')
    y = height + 24
    legend = [("", "both builds"), ("starter", "starter only"), ("outdoor", "outdoor only"), ("option", "option")]
    for number, (build, words) in enumerate(legend):
        x = left + number * 150
        out.append(f'<rect x="{x:.0f}" y="{y - 11:.0f}" width="16" height="14" fill="{COLOURS[build]}" stroke="#444"/>')
        out.append(f'<text x="{x + 22:.0f}" y="{y:.0f}" font-size="12">{words}</text>')
    for number, words in enumerate(
        (
            "Seen from the side of the parts. Dots: red 5 V, orange 3.3 V, black ground, blue signals.",
            "The bar of a diode is its ring. Transistors: flat side down, toward the plugs.",
        )
    ):
        out.append(f'<text x="{left:.0f}" y="{y + 22 + 16 * number:.0f}" font-size="12">{words}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


# ------------------------------------------------------------------------------------------------- the connections


def shortest(board: Board, pins: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The pins of a net in an order in which a wire goes from each to the nearest next."""
    left = sorted(pins, key=lambda pin: netlist.place(pin[2]))
    chain = [left.pop(0)]
    while left:
        row, column = netlist.place(chain[-1][2])
        nearest = min(left, key=lambda pin: math.dist((row, column), netlist.place(pin[2])))
        left.remove(nearest)
        chain.append(nearest)
    return chain


def connections(board: Board) -> str:
    """The nets as a list to tick off, in Markdown."""
    lines = [
        "# Connections of the interface board",
        "",
        "Made from [board.toml](board.toml). Each row is one net: everything in it is joined by wire on the underside,",
        "from hole to hole in this order, and to nothing else. Holes are counted as in",
        "[the picture](../drawings/board-layout.png). Parts of the other build that you leave out are passed over.",
        "Tick a row when the meter beeps from its first place to its last.",
        "",
        "**Five nets meet at the terminal J11 and nowhere else**, each with a wire of its own to it (0.5 mm² or more): "
        + ", ".join(
            f"{net} to {to.replace('5V_IN', 'J11 +').replace('GND_IN', 'J11 −')}" for net, to in board.star.items()
        )
        + ". So what motor and amplifier draw does not shake the ground of the sensors.",
        "",
        "| | Net | From hole to hole |",
        "|---|---|---|",
    ]
    nets = board.nets("starter")
    for net, pins in board.nets("outdoor").items():
        nets.setdefault(net, [])
        nets[net] += [pin for pin in pins if pin not in nets[net]]
    for net in sorted(nets, key=lambda net: (not net.startswith(("5V", "3V3", "GND")), net)):
        steps = " → ".join(f"{hole} ({ref}.{name})" for ref, name, hole in shortest(board, nets[net]))
        lines.append(f"| ☐ | {net} | {steps} |")
    lines += [
        "",
        "# Parts of the board",
        "",
        "| Part | Value | Build | Holes | What for |",
        "|---|---|---|---|---|",
    ]
    for part in board.parts:
        if part.part == "header-2x20":
            holes = "A3 to B22, pin 1 at " + part.pins["1"].hole
        else:
            holes = ", ".join(f"{name}: {pin.hole}" for name, pin in part.pins.items())
        lines.append(f"| {part.ref} | {part.value} | {part.build or 'both'} | {holes} | {part.note} |")
    return "\n".join(lines) + "\n"
