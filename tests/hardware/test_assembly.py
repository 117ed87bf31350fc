"""The guide to building one: its checks are lines that the doctor has, and hold as soon as their step is done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.doctor.clinic import Clinic

from retrowalk.config import load
from retrowalk.doctor.examine import examine
from retrowalk.doctor.report import State

HARDWARE = Path(__file__).parents[2] / "hardware"
GUIDE = HARDWARE / "assembly/README.md"
BUILDS = ("starter", "outdoor")
SENSORS = {7: "imu", 8: "lidar", 9: "drop", 10: "rear", 11: "battery"}
"""The step in which each is connected, where the build has it."""
FIRST_LOOK, LAST_ON_THE_TABLE = 2, 11


def steps() -> dict[int, str]:
    """The guide's steps by their numbers."""
    parts = re.split(r"^## (\d+)\. ", GUIDE.read_text("utf-8"), flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def expected(text: str, build: str) -> set[str]:
    """The doctor's lines that a step's check wants to be ok; what follows the other build's name is passed over."""
    check = text.split("**Check**", 1)[1].split("\n\n")[0]
    other = BUILDS[1 - BUILDS.index(build)]
    if f"({other})" in text.splitlines()[0]:
        return set()  # the step is the other build's
    spans = re.split(r"(\*(?:starter|outdoor)\*)", check, flags=re.IGNORECASE)
    kept, skip = "", False
    for span in spans:
        named = span.strip("*").lower()
        if named in BUILDS:
            skip = named == other
        elif not skip:
            kept += span
    return set(re.findall(r"`ok ([a-z ]+)`", kept))


def titles(build: str, step: int, directory: Path) -> dict[str, State]:
    """What the doctor says of each line when everything up to a step is connected, and nothing after it."""
    config = load(HARDWARE / f"{build}.toml")
    missing = [name for number, name in SENSORS.items() if number > step]
    clinic = Clinic(config, faults=[f"{name}:off@0-900" for name in missing], press_s=1.0)
    cards = " 0 [MAX98357A      ]: MAX98357A - MAX98357A\n                      MAX98357A\n"
    clinic.machine.files["/proc/asound/cards"] = cards.encode()
    report = examine(HARDWARE / f"{build}.toml", clinic.ground, hands_on=True)
    return {check.title.split(" (")[0]: check.state for check in report.checks}


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("step", range(FIRST_LOOK, LAST_ON_THE_TABLE + 1))
def test_the_checks_of_a_step_hold_when_it_is_done(build, step, tmp_path):
    """... and every line the guide names is one that the doctor has"""
    wanted = expected(steps()[step], build)
    states = titles(build, step, tmp_path)
    assert {title: states.get(title) for title in wanted} == dict.fromkeys(wanted, State.OK)


@pytest.mark.parametrize("build", BUILDS)
def test_a_sensor_that_is_not_connected_yet_is_not_ok(build, tmp_path):
    """A check that held before its step would show nothing"""
    states = titles(build, FIRST_LOOK, tmp_path)
    fitted = {sensor.name for sensor in load(HARDWARE / f"{build}.toml").range_sensor} | {"imu"}
    for name in fitted:
        assert states[name] is not State.OK, name


def test_every_step_ends_in_a_check():
    found = steps()
    assert sorted(found) == list(range(1, len(found) + 1))
    assert all("**Check**" in text for text in found.values())


def test_every_picture_and_link_is_there():
    links = re.findall(r"\]\(([^)#]+)\)", GUIDE.read_text("utf-8"))
    assert len(links) > 20
    assert [link for link in links if not (GUIDE.parent / link).exists()] == []


def test_every_rendered_picture_is_shown():
    """None is made that nobody sees: each stands in the guide or at the folder's door"""
    texts = GUIDE.read_text("utf-8") + (HARDWARE / "README.md").read_text("utf-8")
    assert [file.name for file in GUIDE.parent.glob("*.png") if f"{file.name})" not in texts] == []
