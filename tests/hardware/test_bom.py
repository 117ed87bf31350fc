"""The parts list: whole, in its form, and with the very parts that are drawn."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # comes with WireViz, without types
from hardware.draw import bom, netlist

from retrowalk.config import Config, Walker, load
from retrowalk.core.governor import protected_speed_m_s
from retrowalk.core.reach import usual_reach_m

HARDWARE = Path(__file__).resolve().parent.parent.parent / "hardware"
COLUMNS = [
    *("id", "name", "starter_qty", "outdoor_qty", "key_specification", "price_class", "drawn_in", "supply"),
    *("option_of", "substitutes", "substitute_costs"),
]
SOURCES = ("harness", "board", "enclosure")
ROWS = bom.rows(HARDWARE)
BY_ID = {row.id: row for row in ROWS}
SETS = {choice.name: choice for choice in bom.sensor_sets(HARDWARE)}


def on_board(build: str) -> Counter[str]:
    """Parts of the netlist that this build has; what only somebody with more sensors fits is left out."""
    board = netlist.read(HARDWARE / "board" / "board.toml")
    return Counter(part.part for part in board.parts if part.build in ("", build))


def optional_on_board() -> set[str]:
    board = netlist.read(HARDWARE / "board" / "board.toml")
    return {part.part for part in board.parts if part.build == "option"}


def in_harness(build: str) -> Counter[str]:
    """Parts of the harness: what has a `pn`, connectors and cables."""
    drawn = yaml.safe_load((HARDWARE / "harness" / f"{build}.yml").read_text("utf-8"))
    items = [item for kind in ("connectors", "cables") for item in drawn[kind].values()]
    items += [more for item in items for more in item.get("additional_components", ())]
    return Counter(item["pn"] for item in items if "pn" in item)


def in_enclosure() -> set[str]:
    """Parts that the models are of, hold or are closed by, as their comments say; of either build."""
    files = list((HARDWARE / "enclosure").glob("*.scad"))
    return {part for file in files for part in re.findall(r"\bpart: ([a-z0-9-]+)", file.read_text("utf-8"))}


DRAWN = {"board": on_board, "harness": in_harness}


def test_the_form():
    """The columns, no id twice, whole quantities, a price class, and words in every cell that needs them"""
    with (HARDWARE / "bom.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        entries = list(reader)
    assert reader.fieldnames == COLUMNS
    assert len(BY_ID) == len(entries)
    for entry in entries:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", entry["id"])
        assert entry["starter_qty"].isdigit()
        assert entry["outdoor_qty"].isdigit()
        assert entry["price_class"] in bom.PRICES
        assert entry["supply"] in ("", "5 V", "3.3 V", "cell", "GPIO")
        assert set(entry["drawn_in"].split("+")) <= {*SOURCES, ""}
        assert entry["name"]
        assert entry["key_specification"]
        assert entry["substitutes"].count(" | ") == entry["substitute_costs"].count(" | ")
        assert bool(entry["substitutes"]) == bool(entry["substitute_costs"])


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_part_is_in_a_build_or_an_option(row: bom.Row):
    """What no build has stands for a part that one has, or is an option of the board; what a build has is drawn"""
    if any(row.quantity.values()):
        assert set(row.drawn_in) <= set(SOURCES)
        assert not row.option_of
    else:
        assert row.id in optional_on_board() or any(BY_ID[row.option_of].quantity.values())


@pytest.mark.parametrize("build", bom.BUILDS)
@pytest.mark.parametrize("source", DRAWN)
def test_what_is_drawn_is_listed_and_what_is_listed_is_drawn(build: str, source: str):
    """The same parts, as many of each, both ways round"""
    drawn = DRAWN[source](build)
    listed = {row.id: row.quantity[build] for row in ROWS if source in row.drawn_in and row.quantity[build]}
    assert drawn
    assert dict(drawn) == listed


def test_what_the_case_holds_is_listed_and_what_is_listed_it_holds():
    """The same parts, both ways round; the models say of none which build has it"""
    listed = {row.id for row in ROWS if "enclosure" in row.drawn_in and any(row.quantity.values())}
    assert len(in_enclosure()) > 20
    assert in_enclosure() == listed


@pytest.mark.parametrize("build", bom.BUILDS)
def test_what_goes_together_is_there_as_often(build: str):
    """Each screw has its insert, each lidar its window, each cable that leaves a sealed case its gland"""
    quantity = {row.id: row.quantity[build] for row in ROWS}
    geometry = (HARDWARE / "enclosure" / "parameters.scad").read_text("utf-8")
    glands = re.search(r"^gland_y = \[(.*)\];", geometry, re.MULTILINE)
    assert glands
    sealed = quantity["gasket"]
    assert quantity["cable-gland"] == sealed * len(glands[1].split(","))
    assert quantity["window-850"] == quantity["tf-luna"]
    # Four to close the case, four that hold it to the belt.
    assert quantity["screw-m3x8"] == quantity["insert-m3"] == 4 + 4
    # Two of the clip, four of an HC-SR04; the sealed sensor has a nut of its own.
    assert quantity["screw-m2x6"] == 2 + 4 * quantity["hc-sr04"]
    assert quantity["screw-m25x6"] == 4 * quantity["pi-zero-2w"]


@pytest.mark.parametrize("build", bom.BUILDS)
def test_sensors_are_those_of_the_sets(build: str):
    """Quantities of the range sensors are those of the set the build is said to have"""
    choice = next(choice for choice in SETS.values() if choice.build == build)
    sensors = {part for each in SETS.values() for part in each.parts}
    assert {part: n for part in sensors if (n := BY_ID[part].quantity[build])} == choice.parts


@pytest.mark.parametrize("build", bom.BUILDS)
def test_the_settings_of_a_build_are_its_set(build: str):
    """The build's own retrowalk configuration has these sensors"""
    settings = load(HARDWARE / f"{build}.toml")
    choice = next(choice for choice in SETS.values() if choice.build == build)
    kinds = [(type(sensor), sensor.role) for sensor in settings.range_sensor]
    assert kinds == [(type(sensor), sensor.role) for sensor in choice.config.range_sensor]


def test_a_set_has_as_many_parts_as_sensors():
    """What is fitted is what is configured"""
    for choice in SETS.values():
        assert sum(choice.parts.values()) == len(choice.config.range_sensor)
        assert choice.parts.keys() <= BY_ID.keys()


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+\.\d+", text)]


LOSSES = [
    ("hc-sr04", "none (lidar alone)", "TF-Luna alone"),
    ("a02yyuw", "none (lidar alone)", "TF-Luna alone"),
    ("tf-luna", "none (no rear lidar)", "HC-SR04 alone"),
    ("tf-luna", "vl53l1x", "HC-SR04, VL53L1X"),
]


@pytest.mark.parametrize(("part", "substitute", "left"), LOSSES)
def test_what_a_substitute_costs_is_what_the_rule_says(part: str, substitute: str, left: str):
    """Loss, what is left and what was: as the device works them out"""
    cost = dict(BY_ID[part].substitutes)[substitute]
    whole_m_s = SETS["starter: HC-SR04, TF-Luna"].speeds_m_s()[0]
    left_m_s = SETS[left].speeds_m_s()[0]
    assert numbers(cost)[:3] == [pytest.approx(whole_m_s - left_m_s, abs=0.001), left_m_s, whole_m_s]


def test_what_no_second_lidar_costs():
    """All of the speed up to which kerbs are told"""
    cost = dict(BY_ID["tf-luna"].substitutes)["none (no second lidar)"]
    kerb_m_s = SETS["outdoor: A02YYUW, TF-Luna, TF-Luna down"].speeds_m_s(drops=True)[0]
    assert numbers(cost) == [kerb_m_s, kerb_m_s]
    assert SETS["starter: HC-SR04, TF-Luna"].speeds_m_s(drops=True) == [0.0, 0.0]


def test_what_bluetooth_costs():
    """The rule with the delay of a sleeping link, 1.35 s more (human-factors reference 2.2)"""
    config = Config(walker=Walker(profile="older"), range_sensor=SETS["starter: HC-SR04, TF-Luna"].config.range_sensor)
    usual_m_s = protected_speed_m_s(usual_reach_m(config), config.walker, config.collision)
    room_m = usual_reach_m(config) - config.walker.reach_m - config.walker.clearance_m
    late_m_s = room_m / (room_m / usual_m_s + 1.35)
    cost = dict(BY_ID["max98357a"].substitutes)["Bluetooth loudspeaker"]
    assert numbers(cost) == [
        pytest.approx(int(100 * usual_m_s) / 100 - int(100 * late_m_s) / 100),
        int(100 * late_m_s) / 100,
        int(100 * usual_m_s) / 100,
        1.35,
    ]


@pytest.mark.parametrize("row", [row for row in ROWS if row.substitutes], ids=lambda row: row.id)
def test_every_cost_begins_with_a_speed(row: bom.Row):
    """Or says that it cannot be used"""
    for name, cost in row.substitutes:
        assert re.match(r"(\d+(\.\d+)? m/s\b|not usable: )", cost), name


@pytest.mark.parametrize("build", bom.BUILDS)
def test_prices_are_added_up(build: str):
    """By class, a bag of screws once, and the sums stand in the table"""
    page = bom.markdown(HARDWARE)
    least = most = 0
    for price_class, (low, high) in bom.PRICES.items():
        paid = [row for row in ROWS if row.price_class == price_class and row.quantity[build]]
        times = len(paid) if price_class == "A" else sum(row.quantity[build] for row in paid)
        assert bom.price(ROWS, build, price_class) == (times, times * low, times * high)
        least, most = least + times * low, most + times * high
    assert f"**{least} to {most}**" in page


def test_the_page_is_current_and_whole():
    """parts.md is what bom.csv gives, and every part of a build and every option has its line"""
    page = (HARDWARE / "parts.md").read_text("utf-8")
    assert page == bom.markdown(HARDWARE)
    for row in ROWS:
        if any(row.quantity.values()) or row.option_of:
            assert page.count(f"`{row.id}`") == 1
