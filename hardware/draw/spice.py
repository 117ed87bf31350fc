"""What ngspice says of the interface board, at every corner of its parts' tolerances; from `board/board.toml`.

A simulation is made of some of the board's parts, by their nets, and of what is outside of the board.  It is run at
each end of each resistor's tolerance, of both supplies and of the transistors' gain; what is worst is kept.  The models
are ours, from the figures that the makers publish: they are right where these circuits work, and no further.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hardware.draw import netlist
from hardware.draw.netlist import Board, Part, Simulation

TABLE = "board/simulated.md"
DECKS = "board/spice"

MODELS = """\
* 1N5819 (onsemi): 0.34 V at 100 mA, 0.55 V at 1 A, 110 pF at 4 V
.model d1n5819 D(IS=3u RS=0.05 N=1.1 CJO=200p BV=40)
* PN2222A (onsemi P2N2222A): 0.3 V and 0.6 to 1.2 V saturated at 150 mA and 15 mA; {beta}: gain, a corner
.model npn NPN(IS=1e-14 BF={beta} BR=3 RB=10 RC=0.8 RE=0.2 CJE=22p CJC=8p TF=0.4n VAF=75)
* BC327-40 (onsemi BC327): gain 250 to 630 at 100 mA, 0.7 V at 500 mA and 50 mA; the low end
.model pnp PNP(IS=1e-14 BF=250 BR=5 RB=5 RC=0.6 RE=0.2 CJE=30p CJC=12p VAF=50)
"""
CORNERS_MOST = 512


@dataclass(frozen=True)
class Worst:
    """The least and the most of a measured value over all corners, and what they may be."""

    simulation: str
    name: str
    least: float
    most: float
    allowed: tuple[float, float]
    why: str
    corners: int

    @property
    def fits(self) -> bool:
        return self.allowed[0] <= self.least and self.most <= self.allowed[1]


def sources(hardware: Path) -> list[Path]:
    return [hardware / "board/board.toml", hardware / "draw/netlist.py"]


def render(hardware: Path, into: Path) -> list[Path]:
    board = netlist.read(hardware / "board/board.toml")
    texts = {TABLE: table(board, results(board))}
    for simulation in board.simulations:
        texts[f"{DECKS}/{_slug(simulation.name)}.cir"] = deck(board, simulation, nominal(board))
    for place, text in texts.items():
        (into / place).parent.mkdir(parents=True, exist_ok=True)
        (into / place).write_text(text, "utf-8")
    return [Path(place) for place in texts]


def results(board: Board) -> list[Worst]:
    """Runs everything.  Raises `OSError` when ngspice is missing, `RuntimeError` when it refuses a circuit."""
    found = []
    for simulation in board.simulations:
        values: dict[str, list[float]] = {name: [] for name in simulation.measure}
        count = 0
        for corner in corners(board, simulation):
            count += 1
            for name, value in run(deck(board, simulation, corner), simulation).items():
                values[name].append(value)
        for name, (_, _, least, most, why) in simulation.measure.items():
            worst = Worst(simulation.name, name, min(values[name]), max(values[name]), (least, most), why, count)
            found.append(worst)
    return found


Corner = Mapping[str, float]
"""A factor for each resistor by its ref; "supply_v", "pi_v" and "beta" themselves."""


def nominal(board: Board) -> Corner:
    return {name: (low + high) / 2.0 for name, (low, high) in board.corners.items()}


def corners(board: Board, simulation: Simulation) -> Iterator[Corner]:
    """Every combination of the ends.  Raises `ValueError` if that were more than `CORNERS_MOST`."""
    ends: dict[str, tuple[float, float]] = {}
    for part in _parts(board, simulation):
        if part.ref.startswith("R"):
            share = part.tolerance_percent / 100.0
            ends[part.ref] = (1.0 - share, 1.0 + share)
    used = simulation.circuit + " ".join(part.part for part in _parts(board, simulation))
    for name, mark in (("supply_v", "{v5}"), ("pi_v", "{v33}"), ("beta", "npn")):
        if mark in used:
            ends[name] = board.corners[name]
    if 2 ** len(ends) > CORNERS_MOST:
        raise ValueError(f"{simulation.name} has {2 ** len(ends)} corners, at most {CORNERS_MOST} are calculated")
    base = dict(nominal(board))
    for choice in itertools.product(*ends.values()):
        yield {**base, **dict(zip(ends, choice, strict=True))}


def deck(board: Board, simulation: Simulation, corner: Corner) -> str:
    """The circuit in ngspice's own words."""
    values = {"v5": f"{corner['supply_v']:g}", "v33": f"{corner['pi_v']:g}", "beta": f"{corner['beta']:g}"}
    parts = _parts(board, simulation)
    lines = [f"* {simulation.name}", _fill(MODELS, values).rstrip()]
    lines += [_element(part, corner) for part in parts]
    resistances = {part.ref: f"{part.ohm * corner.get(part.ref, 1.0):g}" for part in parts if part.ref[0] == "R"}
    filled = {**values, **resistances}
    circuit = _fill(simulation.circuit.strip(), filled)
    # The board's own ground nets are ngspice's node 0, unless a circuit makes them otherwise.
    lines += [line.replace(" GND ", " 0 ") for line in circuit.splitlines()]
    lines += [f".tran {simulation.step:g} {simulation.seconds:g}"]
    for name, (kind, expression, *_) in simulation.measure.items():
        what = _fill(expression, filled)
        if kind in ("max", "min"):
            lines.append(f".meas tran {name} {kind} par('{what}')")
        elif kind == "find" and "-" in what:
            formula, moment = what.split(" at=")
            lines.append(f".meas tran {name} find par('{formula}') at={moment}")
        else:
            lines.append(f".meas tran {name} {kind} {what}")
    # A node's name may not begin with a digit where it stands in a formula.
    return re.sub(r"\b(5V|3V3)\b", r"N\1", "\n".join([*lines, ".end"])) + "\n"


def run(text: str, simulation: Simulation) -> dict[str, float]:
    """What ngspice measures.  Raises `RuntimeError` when a value is missing."""
    with tempfile.NamedTemporaryFile("w", suffix=".cir", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        done = subprocess.run(["ngspice", "-b", file.name], capture_output=True, text=True, check=False)
    found = {}
    for name in simulation.measure:
        match = re.search(rf"^{name}\s*=\s*([-+0-9.e]+)", done.stdout, re.MULTILINE | re.IGNORECASE)
        if match is None:
            said = (done.stdout + done.stderr)[-800:]
            raise RuntimeError(f"ngspice does not measure {name} of {simulation.name}:\n{said}")
        found[name] = float(match[1])
    return found


def table(board: Board, found: Iterable[Worst]) -> str:
    """The results as Markdown."""
    (low5, high5), (low3, high3) = board.corners["supply_v"], board.corners["pi_v"]
    lines = [
        "# What the interface board does, calculated",
        "",
        "Made by ngspice from [board.toml](board.toml), at every corner of the resistors' tolerances, of a supply of",
        f"{low5} to {high5} V, of a Pi's {low3} to {high3} V and of the transistors' gain. The circuits are in",
        "[spice](spice). Nothing here was measured on a board.",
        "",
        "| Circuit | Value | From | To | May be | Corners | Why |",
        "|---|---|---|---|---|---|---|",
    ]
    for worst in found:
        unit = {"v": "V", "a": "A", "s": "s"}[worst.name.rsplit("_", 1)[1]]
        name = worst.name.rsplit("_", 1)[0].replace("_", " ")
        low, high = (f"{value:.3g} {unit}" for value in worst.allowed)
        ends = f"{_shown(worst.least)} {unit} | {_shown(worst.most)} {unit} | {low} to {high}"
        lines.append(f"| {worst.simulation} | {name} | {ends} | {worst.corners} | {worst.why} |")
    return "\n".join(lines) + "\n"


def _shown(value: float) -> str:
    """Three digits; what is next to nothing is nothing, whatever the solver's last digit."""
    return "0" if abs(value) < 1e-8 else f"{value:.3g}"


def _parts(board: Board, simulation: Simulation) -> list[Part]:
    return [board.part(ref) for ref in simulation.parts]


def _element(part: Part, corner: Corner) -> str:
    nets = {name: {"GND": "0"}.get(pin.net, pin.net) for name, pin in part.pins.items()}
    if part.ref[0] == "R":
        return f"{part.ref} {' '.join(nets.values())} {part.ohm * corner.get(part.ref, 1.0):g}"
    if part.ref[0] == "C":
        return f"{part.ref} {' '.join(nets.values())} {netlist.number(part.value):g}"
    if part.ref[0] == "D":
        return f"{part.ref} {nets['a']} {nets['k']} d1n5819"
    return f"{part.ref} {nets['c']} {nets['b']} {nets['e']} {part.part}"


def _fill(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], text)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
