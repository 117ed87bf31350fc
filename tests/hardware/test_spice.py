"""What ngspice says of the interface board stays within its limits, and a wrong part is seen."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from hardware.draw import __main__ as drawings
from hardware.draw import netlist, spice

FILE = Path(__file__).parents[2] / "hardware/board/board.toml"

pytestmark = pytest.mark.skipif(shutil.which("ngspice") is None, reason="ngspice is missing: script/setup --dev")


@pytest.fixture(scope="module")
def board() -> netlist.Board:
    return netlist.read(FILE)


def outside(board: netlist.Board, simulation: netlist.Simulation, text: str) -> list[str]:
    """The values that are not within their limits."""
    values = spice.run(text, simulation)
    limits = {name: (least, most) for name, (_, _, least, most, _) in simulation.measure.items()}
    return [name for name, value in values.items() if not limits[name][0] <= value <= limits[name][1]]


def named(board: netlist.Board, name: str) -> netlist.Simulation:
    return next(each for each in board.simulations if each.name == name)


def test_every_circuit_keeps_its_limits_in_the_middle(board):
    """With every part as its print says"""
    for simulation in board.simulations:
        assert outside(board, simulation, spice.deck(board, simulation, spice.nominal(board))) == [], simulation.name


@pytest.mark.slow
def test_every_circuit_keeps_its_limits_at_every_corner(board, tmp_path, monkeypatch):
    """And what is written down is what was found"""
    found: list[spice.Worst] = []
    everything = spice.results

    def results(board):
        found.extend(everything(board))
        return found

    monkeypatch.setattr(spice, "results", results)
    places = spice.render(drawings.HARDWARE, tmp_path)
    assert sorted(map(str, places)) == sorted(drawings.made()["spice"]["outputs"])
    for place in places:
        assert (tmp_path / place).read_text() == (drawings.HARDWARE / place).read_text(), place
    assert [worst for worst in found if not worst.fits] == []
    assert min(worst.corners for worst in found) >= 8


def test_every_resistor_transistor_and_diode_is_calculated_somewhere(board):
    """But for the second motor, which is the first one again, and what has no limit to keep"""
    used = {ref for simulation in board.simulations for ref in simulation.parts}
    left = {part.ref for part in board.parts if part.ref[0] in "RQD"} - used
    second = {"R17", "R18", "R19", "Q5", "D3"}
    assert left - second == {"R13", "R16", "R20"}  # LED, serial line, thermometer: ohms alone, see test_board.py


MOTOR = "motor, switched 200 times a second"
SWITCH = "sensor supply, nobody drives the pin"
MUTANTS = {
    "divider exchanged": ("echo divider", "R1 ECHO_5V GPIO24 1500", "R1 ECHO_5V GPIO24 150", "high_v"),
    "divider without its lower part": ("echo divider", "R2 GPIO24 0 2000", "R2 GPIO24 0 1e9", "high_v"),
    "no flyback diode": (MOTOR, "D1 MOT_MINUS MOT_PLUS", "*", "peak_v"),
    "base resistor too large": (MOTOR, "R8 GPIO27 MOT_BASE 1000", "R8 GPIO27 MOT_BASE 1e5", "saturated_v"),
    "no series resistor": (MOTOR, "R10 N5V MOT_PLUS 22", "R10 N5V MOT_PLUS 0.1", "current_a"),
    "no pull-down": ("motor while its pin floats", "R9 MOT_BASE 0 10000", "R9 MOT_BASE 0 1e9", "current_a"),
    "buzzer's diode turned": ("buzzer", "D2 BUZ_MINUS N5V", "D2 N5V BUZ_MINUS", "saturated_v"),
    "pull-up of the switch at ground": (SWITCH, "R5 GPIO5 N3V3 10000", "R5 GPIO5 0 10000", "drop_v"),
    "far too large": ("sensor supply, off and on again", "C3 REAR_5V 0 1e-05", "C3 REAR_5V 0 4.7e-3", "off_v"),
    "no pull-down at the trigger": ("trigger while its pin floats", "R21 GPIO23 0 4700", "R21 GPIO23 0 1e9", "pin_v"),
    "no pull-up": ("button with a bouncing contact", "R15 GPIO17 N3V3 10000", "R15 GPIO17 0 10000", "released_v"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_part_is_seen(board, name):
    """The limits notice what they are there for"""
    which, right, wrong, value = MUTANTS[name]
    simulation = named(board, which)
    text = spice.deck(board, simulation, spice.nominal(board))
    assert right in text, text
    assert value in outside(board, simulation, text.replace(right, wrong, 1))


def test_a_circuit_that_ngspice_refuses_is_an_error(board):
    simulation = dataclasses.replace(board.simulations[0], circuit="Rbroken ECHO_5V\n")
    with pytest.raises(RuntimeError, match="does not measure"):
        spice.run(spice.deck(board, simulation, spice.nominal(board)), simulation)
