"""What is drawn, how long it lasts and what is left of 5 V: worked out a second time, and held to the limits."""

from __future__ import annotations

import copy
import csv
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hardware.draw import power

from retrowalk.core.charge import STOP_MINUTES, STOP_PERCENT
from retrowalk.devices import ina219

HARDWARE = Path(__file__).resolve().parent.parent.parent / "hardware"
DATA: dict[str, Any] = tomllib.loads((HARDWARE / "power" / "power.toml").read_text("utf-8"))
BOM = list(csv.DictReader((HARDWARE / "bom.csv").read_text("utf-8").splitlines()))
BUILDS = ("starter", "outdoor")
FEEDS = {"power-bank", "charger-boost"}
"""They give, and do not draw."""


def milliamperes(data: dict[str, Any], build: str, state: str) -> float:
    """The sum over the parts of a build, from the two files alone."""
    sound = data["sound"]
    crest_v = math.sqrt(2.0) * 10 ** ((sound["full_scale_dbv"] + sound["gain_db"]) / 20)
    crest_ma = 1000 * min(5.0, crest_v) ** 2 / (sound["speaker_ohm"] * sound["efficiency"] * 5.0)
    whole = 0.0
    for row in BOM:
        for load in data["load"]:
            if load["part"] == row["id"]:
                ma = load.get(state)
                if ma is None:
                    share = {"warning": sound["sounding_share"] / 2, "peak": 1.0}[state]
                    ma = load["standing"] + share * crest_ma
                whole += int(row[f"{build}_qty"]) * ma
    return whole


def problems(budget: power.Budget) -> list[str]:
    """Every limit of power.toml that the budget breaks."""
    limits, found = budget.data["limits"], []
    for build in BUILDS:
        supply = budget.supply(build)
        worst_ma = budget.ma(build, "peak")
        alarm_v = limits["pi_undervoltage_v"] + limits["pi_undervoltage_tolerance_v"]
        if budget.line_v(build, worst_ma) < alarm_v + limits["margin_min_v"]:
            found.append(f"{build}: the Pi's alarm")
        found += [f"{build}: {part}" for part, has_v, needs_v, _ in budget.branches(build) if has_v < needs_v]
        if worst_ma / 1000 > supply["rated_a"]:
            found.append(f"{build}: rated current")
        if budget.ma(build, "standing") < limits["bank_min_load_share"] * supply["off_below_ma"]:
            found.append(f"{build}: switches off for too small a load")
        coldest = min(budget.data["cold"], key=float)
        if STOP_PERCENT / 100 * 60 * budget.hours(build, coldest, aged=True) < limits["stop_minutes_min"]:
            found.append(f"{build}: no time left to stop")
        if "cell_ohm_cold" in supply and budget.cell(build, supply["cell_ohm_cold"])[0] < supply["cell_stop_v"]:
            found.append(f"{build}: the cell gives up")
        if budget.data["heat"]["air_c"][1] + budget.heat_k(build) > limits["skin_c"]:
            found.append(f"{build}: too warm")
    return found


@pytest.fixture
def budget() -> power.Budget:
    """As it is in the repository."""
    return power.read(HARDWARE)


def test_every_part_that_is_supplied_draws_something():
    """Each part with supply pins has its row; nothing that has none, or that nobody lists, has one"""
    supplied = {row["id"] for row in BOM if row["supply"]} - FEEDS
    assert {load["part"] for load in DATA["load"]} == supplied
    assert {row["id"] for row in BOM} >= FEEDS | {branch["part"] for branch in DATA["branch"]}
    assert {DATA["supply"][build]["part"] for build in BUILDS} == FEEDS


@pytest.mark.parametrize("load", DATA["load"], ids=lambda load: load["name"])
def test_a_figure_says_where_it_comes_from(load: dict[str, Any]):
    """Datasheet, maker, computed or assumed; and no state draws less than the calmer one, nor more than the peak"""
    assert any(word in load["source"] for word in ("datasheet", "sheet", "manual", "[A]", "[U]", "computed", "bom.csv"))
    states = [load[state] for state in power.STATES if state in load]
    assert states == sorted(states)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("state", power.STATES)
def test_the_sums_are_right(budget: power.Budget, build: str, state: str):
    """Added up a second time, from the files"""
    assert budget.ma(build, state) == pytest.approx(milliamperes(DATA, build, state))


@pytest.mark.parametrize("build", BUILDS)
def test_the_life_of_a_charge_is_right(budget: power.Budget, build: str):
    """Watt hours over watts, worked out a second time"""
    supply, use = DATA["supply"][build], DATA["use"]
    wh = supply["capacity_mah"] * supply["cell_v"] * supply["usable_share"] * supply["efficiency"] / 1000
    share = use["warning_share"]
    walking = milliamperes(DATA, build, "walking") * (1 - share) + milliamperes(DATA, build, "warning") * share
    rest_min = use["on_minutes_a_day"] - use["walk_minutes_a_day"]
    day_wh = (use["walk_minutes_a_day"] * walking + rest_min * milliamperes(DATA, build, "standing")) / 60 * 5.0 / 1000
    assert budget.hours(build) == pytest.approx(wh / (walking * 5.0 / 1000))
    assert budget.days(build) == pytest.approx(wh / day_wh)
    assert budget.hours(build, "-10", aged=True) == pytest.approx(
        budget.hours(build) * DATA["cold"]["-10"] * use["aged_share"]
    )


@pytest.mark.parametrize("build", BUILDS)
def test_what_is_left_of_5_v_is_right(budget: power.Budget, build: str):
    """Ohm's law along the path, there and back"""
    supply = DATA["supply"][build]
    ohm = supply["output_ohm"]
    for step in supply["path"]:
        ohm += step["ohm"] if "ohm" in step else DATA["wire_ohm_per_m"][step["wire"]] * step["length_m"] * 2
    worst_a = milliamperes(DATA, build, "peak") / 1000
    assert budget.line_v(build, 1000 * worst_a) == pytest.approx(supply["output_v"] - worst_a * ohm)


def test_the_cell_in_the_worst_moment(budget: power.Budget):
    """Its volts times its amperes are what the converter takes, and the loss over its resistance is what is missing"""
    supply = DATA["supply"]["outdoor"]
    volts, amperes = budget.cell("outdoor", supply["cell_ohm"])
    assert volts * amperes == pytest.approx(milliamperes(DATA, "outdoor", "peak") / 1000 * 5.0 / supply["efficiency"])
    assert supply["cell_low_v"] - volts == pytest.approx(amperes * supply["cell_ohm"])
    assert budget.cell("outdoor", 1.0) == (0.0, 0.0)


def test_every_limit_is_kept(budget: power.Budget):
    """Alarm of the Pi, least voltage of the sensors, rating, small load, time to stop, cold cell, warmth"""
    assert problems(budget) == []


@pytest.mark.parametrize(
    ("place", "value", "broken"),
    [
        pytest.param(("sound", "gain_db"), 9.0, "starter: the Pi's alarm", id="amplifier's gain left open"),
        pytest.param(("supply", "starter", "path", 1, "wire"), "AWG28", "starter: the Pi's alarm", id="charging lead"),
        pytest.param(("supply", "starter", "rated_a"), 1.0, "starter: rated current", id="bank of 1 A"),
        pytest.param(
            ("supply", "starter", "off_below_ma"), 200, "starter: switches off for too small a load", id="bank"
        ),
        pytest.param(("supply", "outdoor", "capacity_mah"), 1000, "outdoor: no time left to stop", id="small cell"),
        pytest.param(("supply", "outdoor", "cell_ohm_cold"), 0.3, "outdoor: the cell gives up", id="cold cell"),
        pytest.param(("branch", 0, "drop_v"), 0.3, "starter: hc-sr04", id="weak supply switch"),
        pytest.param(("heat", "surface_m2"), 0.010, "outdoor: too warm", id="small case"),
    ],
)
def test_a_worse_part_is_noticed(place: tuple[str | int, ...], value: Any, broken: str):
    """Each limit is broken by the mistake it is there for"""
    data = copy.deepcopy(DATA)
    at: Any = data
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    assert broken in problems(power.worked_out(data, BOM))


def test_what_the_program_knows_of_the_cell_is_the_same():
    """Resistance and voltage of the cell are those that the driver of the INA219 reckons with"""
    supply = DATA["supply"]["outdoor"]
    assert supply["cell_ohm"] == ina219.CELL_OHM
    assert supply["cell_ohm_cold"] == 2 * ina219.CELL_OHM
    assert (supply["cell_low_v"], float(STOP_PERCENT)) in ina219.CHARGE_OF_V
    assert DATA["limits"]["stop_minutes_min"] <= STOP_MINUTES


def test_what_ngspice_says_of_the_board_is_reckoned_with():
    """Motor, buzzer and supply switch draw and lose no less here than board/simulated.md says"""
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in (HARDWARE / "board" / "simulated.md").read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    most = {(cell[0].split(",")[0], cell[1]): float(cell[3].split()[0]) for cell in cells if cell[3][:1].isdigit()}
    peak_a = {load["part"]: load["peak"] / 1000 for load in DATA["load"] if "peak" in load}
    assert peak_a["vibration-motor"] >= most["motor", "current"]
    assert peak_a["buzzer"] >= most["buzzer", "current"]
    drop_v = next(branch["drop_v"] for branch in DATA["branch"] if branch["part"] == "hc-sr04")
    assert drop_v >= most["sensor supply", "drop"]
    assert len(most) > 10


def test_the_table_is_current(budget: power.Budget):
    """power.md is what these figures give"""
    assert (HARDWARE / "power" / "power.md").read_text("utf-8") == power.markdown(budget)
    assert (HARDWARE / "power" / "current.svg").read_text("utf-8") == power.svg(budget)
