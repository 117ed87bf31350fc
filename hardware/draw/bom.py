"""The parts list for reading: what to buy for each build, what it is about to cost, and what else does."""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from retrowalk.config import Config, Walker, from_table
from retrowalk.core.dropoff import protected_drop_speed_m_s
from retrowalk.core.governor import protected_speed_m_s
from retrowalk.core.reach import usual_reach_m

BUILDS = ("starter", "outdoor")
AGES = ("older", "younger")
PRICES = {"A": (0, 5), "B": (5, 15), "C": (15, 30), "D": (30, 60), "E": (60, 120)}
"""Euro or US dollars, about, of each class."""
KINDS = ("Modules and what is bought whole", "On the interface board", "Case and belt")


@dataclass(frozen=True)
class Row:
    """A row of bom.csv."""

    id: str
    name: str
    quantity: dict[str, int]
    check: str
    price_class: str
    drawn_in: tuple[str, ...]
    supply: str
    option_of: str
    substitutes: tuple[tuple[str, str], ...]
    """Each with what it costs."""

    @property
    def kind(self) -> str:
        """Under which heading it stands."""
        if self.drawn_in == ("enclosure",):
            return KINDS[2]
        return KINDS[1] if "board" in self.drawn_in else KINDS[0]

    def bought(self, build: str) -> int:
        """How often its price is paid: of class A a bag or a piece holds all, of the others each piece costs."""
        return min(self.quantity[build], 1) if self.price_class == "A" else self.quantity[build]


@dataclass(frozen=True)
class SensorSet:
    """Range sensors that may be fitted together."""

    name: str
    build: str
    """Which build has it; empty: none, it is what is left or put instead."""
    parts: dict[str, int]
    config: Config

    def speeds_m_s(self, *, drops: bool = False) -> list[float]:
        """Up to which speed an older and a younger walker is warned in time, rounded down."""
        if drops and not any(sensor.role == "dropoff" for sensor in self.config.range_sensor):
            return [0.0, 0.0]
        speeds = []
        for age in AGES:
            config = Config(walker=Walker(profile=age), range_sensor=self.config.range_sensor)  # type: ignore[arg-type]
            if drops:
                speed_m_s = protected_drop_speed_m_s(config)
            else:
                speed_m_s = protected_speed_m_s(usual_reach_m(config), config.walker, config.collision)
            speeds.append(int(100.0 * speed_m_s) / 100.0)
        return speeds


def sources(hardware: Path) -> list[Path]:
    return [hardware / "bom.csv", hardware / "sensor-sets.toml"]


def rows(hardware: Path) -> list[Row]:
    """The parts list."""
    with (hardware / "bom.csv").open(encoding="utf-8", newline="") as file:
        return [_row(entry) for entry in csv.DictReader(file)]


def _row(entry: dict[str, str]) -> Row:
    names, costs = (list(filter(None, entry[key].split(" | "))) for key in ("substitutes", "substitute_costs"))
    return Row(
        entry["id"],
        entry["name"],
        {build: int(entry[f"{build}_qty"]) for build in BUILDS},
        entry["key_specification"],
        entry["price_class"],
        tuple(entry["drawn_in"].split("+")),
        entry["supply"],
        entry["option_of"],
        tuple(zip(names, costs, strict=True)),
    )


def sensor_sets(hardware: Path) -> list[SensorSet]:
    """Both builds' sensors, and what may be fitted instead."""
    table = tomllib.loads((hardware / "sensor-sets.toml").read_text("utf-8"))
    return [
        SensorSet(
            entry["name"], entry.get("build", ""), entry["parts"], from_table({"range_sensor": entry["range_sensor"]})
        )
        for entry in table["set"]
    ]


def price(parts: list[Row], build: str, price_class: str) -> tuple[int, int, int]:
    """How many prices of a class are paid, and what they are at least and at most."""
    count = sum(row.bought(build) for row in parts if row.price_class == price_class)
    low, high = PRICES[price_class]
    return count, count * low, count * high


def _table(head: list[str], cells: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in cells), ""]


def _text(words: str) -> list[str]:
    """A paragraph, written here over several lines."""
    return [" ".join(words.split()), ""]


def _to_buy(parts: list[Row]) -> Iterator[str]:
    for kind in KINDS:
        yield from (f"## {kind}", "")
        yield from _table(
            ["part", *BUILDS, "look for", "price", "id"],
            [
                [row.name, *(str(row.quantity[b] or "") for b in BUILDS), row.check, row.price_class, f"`{row.id}`"]
                for row in parts
                if row.kind == kind and any(row.quantity.values())
            ],
        )


def _prices(parts: list[Row]) -> Iterator[str]:
    yield from ("## What it costs, about", "")
    cells = []
    sums = {build: [0, 0] for build in BUILDS}
    for price_class, (low, high) in PRICES.items():
        line = [price_class, f"{low} to {high}" if price_class != "E" else f"more than {low}"]
        for build in BUILDS:
            count, least, most = price(parts, build, price_class)
            sums[build] = [sums[build][0] + least, sums[build][1] + most]
            line += [str(count), f"{least} to {most}"]
        cells.append(line)
    together = ["**together**", ""]
    for build in BUILDS:
        together += ["", f"**{sums[build][0]} to {sums[build][1]}**"]
    head = ["class", "EUR or USD", *(word for build in BUILDS for word in (f"{build}: times", f"{build}: sum"))]
    yield from _table(head, [*cells, together])
    yield from _text(
        """Classes are those of the shops in 2026, about; nobody has bought a whole set. Class A is paid once however
        many pieces: resistors and screws come in bags. Printed parts are class A, their plastic. Wire, solder and
        heat-shrink tube are not in it."""
    )


def _protects(sets: list[SensorSet]) -> Iterator[str]:
    yield from ("## What the sensors protect", "")
    yield from _text(
        """Up to these walking speeds (m/s) you are warned in time of what you walk backward towards, worked out from
        the settings as the device does it. How that holds in simulated walks stands in
        [benchmarks/RESULTS.md](../benchmarks/RESULTS.md#parts-what-the-choice-of-sensors-costs). An easy walk has
        0.7."""
    )
    cells = []
    for choice in sets:
        drops = [f"{speed:.2f}" if speed else "no warning" for speed in choice.speeds_m_s(drops=True)]
        cells.append([choice.name, *(f"{speed:.2f}" for speed in choice.speeds_m_s()), *drops])
    head = ["sensors", *(f"behind, {age}" for age in AGES), *(f"kerbs, {age}" for age in AGES)]
    yield from _table(head, cells)


def _instead(parts: list[Row]) -> Iterator[str]:
    yield from ("## What else does, and what that costs in protected speed", "")
    yield from _table(
        ["instead of", "this", "costs"],
        [[row.name, name, cost] for row in parts for name, cost in row.substitutes],
    )
    names = {row.id: row.name for row in parts}
    yield from _table(
        ["part that may be fitted instead", "of", "look for", "price", "id"],
        [[row.name, names[row.option_of], row.check, row.price_class, f"`{row.id}`"] for row in parts if row.option_of],
    )


def markdown(hardware: Path) -> str:
    """parts.md."""
    parts = rows(hardware)
    out = ["# Parts", ""]
    out += _text(
        """Made by `script/drawings bom` from [bom.csv](bom.csv) and [sensor-sets.toml](sensor-sets.toml); change those.
        *starter* is the cheap and quick one for dry, level paths; *outdoor* bears rain and tells kerbs. “Look for” is
        what to check on the shop's page before you buy. Price classes are explained below. The id is the name of the
        part in the drawings."""
    )
    return "\n".join([*out, *_to_buy(parts), *_prices(parts), *_protects(sensor_sets(hardware)), *_instead(parts)])


def render(hardware: Path, into: Path) -> list[Path]:
    (into / "parts.md").write_text(markdown(hardware), "utf-8")
    return [Path("parts.md")]
