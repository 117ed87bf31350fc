"""The README says what is true: the words that are heard, the pins, the files it points to."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from retrowalk.config import Config, HcSr04
from retrowalk.core import alerts
from retrowalk.voice.texts import Texts

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
HEARD = README.partition("## What you hear")[2].partition("**The button**")[0]
WIRING = README.partition("Wire it with the power off")[2].partition("Then, with the package")[0]
WORDS = [Texts.load("en").words(*clip) for clip in alerts.clips(Config())]


@pytest.mark.parametrize("quoted", sorted(set(re.findall(r'"([^"]+)"', HEARD))))
def test_words_are_those_that_are_spoken(quoted):
    """What the README says is heard is what the voice says; three points stand for the rest"""
    begin = quoted.removesuffix("...").strip()
    assert any(words.startswith(begin) if begin != quoted else words == quoted for words in WORDS)


@pytest.mark.parametrize(
    ("part", "pins"),
    [
        pytest.param("Trig", [HcSr04().trigger_pin], id="trigger"),
        pytest.param("Echo", [HcSr04().echo_pin], id="echo"),
        pytest.param("button", [Config().button.pin], id="button"),
        pytest.param("active buzzer", [Config().buzzer.pin], id="buzzer"),
        pytest.param("vibration motor", [Config().vibration.pin], id="vibration"),
    ],
)
def test_wiring_is_that_of_the_default_settings(part, pins):
    """The pins of the wiring table are the defaults"""
    (row,) = [line for line in WIRING.splitlines() if re.match(rf"\|[^|]*\|? *{part}|\| *{part}", line)]
    assert sorted({int(pin) for pin in re.findall(r"GPIO (\d+)", row)}) == pins


def test_motion_sensor_has_its_address():
    """The clip's address is the default one"""
    assert f"0x{Config().imu.bus_address:02X}" in WIRING


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)", README))))
def test_links_lead_somewhere(target):
    """What the README points to is there"""
    assert (ROOT / target).exists()


@pytest.mark.parametrize(
    "file", sorted(set(re.findall(r"(?<![\w/])(?:systemd|requirements|firmware|script)/[\w./-]*\w", README)))
)
def test_files_of_the_instructions_are_there(file):
    """What a reader is told to install or run is there"""
    assert (ROOT / file).exists() or list(ROOT.glob(f"{file}*"))


def test_table_of_drop_speeds_is_worked_out():
    """What the README says of the speed for kerbs is what script/drop-speeds makes of the settings"""
    done = subprocess.run([sys.executable, ROOT / "script" / "drop-speeds"], check=True, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert len(lines) > 5
    assert "\n".join(lines) in README
