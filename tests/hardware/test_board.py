"""The interface board keeps the rules of its trade, and is wired for the pins that the program uses."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hardware.draw import board as drawing
from hardware.draw import netlist

from retrowalk.config import Button, Buzzer, Config, HcSr04, Led, Vibration

ROOT = Path(__file__).parents[2]
FILE = ROOT / "hardware/board/board.toml"
BOOT = ROOT / "firmware/boot/config.txt"


@pytest.fixture(scope="module")
def board() -> netlist.Board:
    return netlist.read(FILE)


@pytest.mark.parametrize("build", netlist.BUILDS)
def test_nothing_is_wrong_with_it(board, build):
    """No pin that bears more than 3.3 V, no floating base, no coil without its diode, no hole used twice"""
    assert netlist.findings(board, build) == []


def test_its_parts_have_room(board):
    assert drawing.overlaps(board) == []


def change(ref: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    def apply(table: dict[str, Any]) -> None:
        next(part for part in table["part"] if part["ref"] == ref).update(changes)

    return apply


def without(ref: str) -> Callable[[dict[str, Any]], None]:
    def apply(table: dict[str, Any]) -> None:
        table["part"] = [part for part in table["part"] if part["ref"] != ref]

    return apply


def net(ref: str, pin: str, to: str) -> Callable[[dict[str, Any]], None]:
    def apply(table: dict[str, Any]) -> None:
        next(part for part in table["part"] if part["ref"] == ref)["pins"][pin][0] = to

    return apply


def hole(ref: str, pin: str, to: str) -> Callable[[dict[str, Any]], None]:
    def apply(table: dict[str, Any]) -> None:
        next(part for part in table["part"] if part["ref"] == ref)["pins"][pin][1] = to

    return apply


def turned(ref: str) -> Callable[[dict[str, Any]], None]:
    def apply(table: dict[str, Any]) -> None:
        pins = next(part for part in table["part"] if part["ref"] == ref)["pins"]
        pins["a"], pins["k"] = pins["k"], pins["a"]

    return apply


WRONG = {
    "echo without its lower resistor": (without("R2"), "GPIO24 comes to"),
    "echo divider exchanged": (change("R2", value="20k"), "GPIO24 comes to"),
    "echo straight to the pin": (net("R1", "1", "GPIO24"), "ECHO_5V has one pin"),
    "trigger without its pull-down": (without("R21"), "GPIO23 comes to"),
    "motor's base without a pull-down": (without("R9"), "base of Q3 floats"),
    "buzzer's base without a pull-down": (without("R12"), "base of Q4 floats"),
    "base straight at the pin": (net("Q3", "b", "GPIO27"), "base of Q3 is at GPIO27"),
    "motor's diode turned": (turned("D1"), "no diode"),
    "buzzer's diode missing": (without("D2"), "no diode"),
    "motor's transistor on another net": (net("Q3", "c", "5V"), "no transistor"),
    "LED resistor too small": (change("R13", value="47"), "more than 8 mA"),
    "a pin of the Pi on another's net": (net("J1", "16", "GPIO24"), "J1 pin 16 is GPIO23"),
    "5 V at a signal pin": (net("J1", "11", "5V"), "J1 pin 11 is GPIO17"),
    "a ground pin left free": (net("J1", "39", ""), "J1 pin 39, GND"),
    "two legs in one hole": (hole("R1", "1", "D2"), "has"),
    "a hole beside the board": (hole("R1", "1", "D25"), "is not on the board"),
    "a name with a slip": (net("R8", "2", "MOT_BSAE"), "one pin only"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(name):
    """Each rule sees the mistake that it is there for"""
    mutate, words = WRONG[name]
    table = tomllib.loads(FILE.read_text())
    mutate(table)
    found = netlist.findings(netlist.board(table), "starter")
    assert any(words in line for line in found), found


def test_parts_that_collide_are_found(board):
    table = tomllib.loads(FILE.read_text())
    hole("C1", "+", "I20")(table)
    hole("C1", "-", "I21")(table)
    assert "Q5 and C1 overlap" in drawing.overlaps(netlist.board(table))


def test_the_circuit_is_drawn_as_it_is(board):
    """Every leg once; what is joined in the picture is one net, and nothing else is"""
    assert drawing.draw(board).findings() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "mutate", [net("R9", "2", "3V3"), net("Q1", "e", "3V3"), turned("D1"), net("C5", "1", "GPIO4")]
)
def test_a_drawing_that_is_not_the_netlist_is_refused(mutate):
    """The picture is placed by hand: it cannot go on showing what the netlist no longer says"""
    table = copy.deepcopy(tomllib.loads(FILE.read_text()))
    mutate(table)
    with pytest.raises(ValueError):
        drawing.circuit(netlist.board(table))


# ------------------------------------------------------------------------------------ with the program's own settings


def plug(board: netlist.Board, value: str) -> netlist.Part:
    return next(part for part in board.parts if part.ref.startswith("J") and part.value == value)


def reaches(board: netlist.Board, net_: str, through: str = "RQ") -> set[str]:
    """The nets one resistor or one transistor away."""
    found = {net_}
    for part in board.parts:
        nets = {pin.net for pin in part.pins.values()}
        if part.ref[0] in through and net_ in nets:
            found |= nets
    return found


def test_every_line_goes_where_the_settings_say(board):
    """Trigger, echo, supply switch, button, light, buzzer and both motors"""
    config = Config()
    rear = next(sensor for sensor in config.range_sensor if isinstance(sensor, HcSr04))
    assert plug(board, "rear").pins["2"].net in reaches(board, f"GPIO{rear.trigger_pin}")
    assert plug(board, "rear").pins["3"].net in reaches(board, f"GPIO{rear.echo_pin}")
    assert plug(board, "button").pins["1"].net in reaches(board, f"GPIO{Button().pin}")
    assert plug(board, "led").pins["1"].net in reaches(board, f"GPIO{Led().pin}")
    for value, pin in (("buzzer", Buzzer().pin), ("motor", Vibration().pin)):
        base = reaches(board, f"GPIO{pin}", "R") - {f"GPIO{pin}"}
        driver = next(part for part in board.parts if part.ref[0] == "Q" and part.pins["b"].net in base)
        assert driver.pins["c"].net in {each.net for each in plug(board, value).pins.values()}


def test_the_start_of_the_pi_sets_the_same_pins(board):
    """What firmware/boot holds at a level from power-on has its driver here, and every driver is held"""
    lines = re.findall(r"^gpio=([\d,]+)=(\S+)$", BOOT.read_text(), re.MULTILINE)
    held = {int(pin): how for pins, how in lines for pin in pins.split(",")}
    assert held[Vibration().pin] == held[Buzzer().pin] == "op,dl"
    nets = board.nets("starter")
    assert all(f"GPIO{pin}" in nets for pin in held)


def test_i2c_and_sound_are_the_kernels_own_pins(board):
    """SDA and SCL of bus 1 at 3 and 5; the sound's clock, word and data at GPIO 18, 19 and 21"""
    assert (board.part("J1").pins["3"].net, board.part("J1").pins["5"].net) == ("SDA", "SCL")
    assert [plug(board, "sound").pins[pin].net for pin in "345"] == ["GPIO18", "GPIO19", "GPIO21"]
    for value in ("lidar", "drop"):
        assert plug(board, value).pins["5"].net == "GND"  # its pin 5: at ground it speaks I2C


def test_motor_and_amplifier_have_a_way_of_their_own(board):
    """Their current goes back to the terminal by wires that carry nothing else"""
    star = board.star
    assert star["MOT_GND"] == star["AMP_GND"] == star["GND"] == plug(board, "5 V in").pins["-"].net
    sensors = {
        pin.net for value in ("rear", "lidar", "drop", "imu", "gauge") for pin in plug(board, value).pins.values()
    }
    assert sensors.isdisjoint({"MOT_GND", "AMP_GND", "AMP_5V"})
