"""A device that runs, and gets another version: a good one, one whose guard does not come up, and in the end none."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.boot.machine import Machine, arch, missing, running, suites
from tests.boot.street import put_phrases
from tests.packaging import packages, roots
from tests.packaging.roots import System

LACKS = missing()
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(LACKS), reason=f"to start a Debian system it needs {', '.join(LACKS)}"),
    pytest.mark.parametrize("installed", suites()[-1:], indirect=True, scope="session"),
]
PROCESSES = ("guard", "voice", "courier")
READY_S = 45.0
WITHIN_S = 180.0
GOOD, BAD = "9.1", "9.2"
ENDS = "def run(*_given, **_named):\n    raise SystemExit('spoiled')\n"
"""At the end of the guard's own file: such a version loads, takes the settings, and has no guard."""


@pytest.fixture(scope="module")
def device(installed: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine that runs this checkout's version; what it lacks of devices is no matter here."""
    with roots.layer(tmp_path_factory.mktemp("upgrade"), *installed.layers) as system:
        put_phrases(system)
        with running(system) as machine:
            for name in PROCESSES:
                machine.back(name, machine.started_s, READY_S)
            yield machine


@pytest.fixture(scope="module")
def later(device: Machine, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], str]:
    """Makes a later package and puts it into the machine; `spoilt` goes to the end of the guard's own file."""

    def make(number: str, spoilt: str) -> str:
        def change(sources: Path) -> None:
            with (sources / "guard/process.py").open("a", encoding="utf-8") as out:
                out.write(f"\n\n{spoilt}")

        made = packages.another(packages.built(arch()), tmp_path_factory.mktemp("later"), number, change)
        shutil.copy(made, device.system.path / "root")
        return f"/root/{made.name}"

    return make


def lives(machine: Machine) -> dict[str, str]:
    """Version of the program that each process runs, as its command line says."""
    found = {}
    for name in PROCESSES:
        line = machine.run(f"tr '\\0' ' ' </proc/{machine.main_pid(name)}/cmdline")
        found[name] = line.partition("/versions/")[2].partition("-")[0]
    return found


def test_an_upgrade_is_taken_up_by_what_runs(device, later):
    """After an upgrade guard, voice and courier run in the new version, within seconds, and nobody had to do a thing"""
    package = later(GOOD, "")
    device.run(f"dpkg -i {package}", within_s=WITHIN_S)
    assert lives(device) == dict.fromkeys(PROCESSES, GOOD)
    assert device.run("systemctl is-active retrowalk.target") == "active"


def test_a_version_without_a_guard_is_taken_back(device, later, capsys, record_property):
    """One whose guard does not come up is left again: the one before it runs, and dpkg says that it failed"""
    package = later(BAD, ENDS)
    before_s = time.monotonic()
    answer = device.try_(f"dpkg -i {package}", within_s=WITHIN_S)
    took_s = time.monotonic() - before_s
    assert answer.status != 0
    assert "did not come up" in answer.output
    assert lives(device) == dict.fromkeys(PROCESSES, GOOD)
    # What its guard said last before it was left, and how long nobody guarded.
    ended = [line for line in device.lines("guard", since_s=before_s) if "spoiled" in line["MESSAGE"]]
    since_s = device.active_since("guard")
    assert ended
    assert since_s is not None
    away_s = since_s - int(ended[0]["__MONOTONIC_TIMESTAMP"]) / 1e6
    with capsys.disabled():
        print(f"\n  taken back after {took_s:.0f} s; nobody guarded for {away_s:.0f} s")
    record_property("away_s", away_s)
    assert away_s < 60.0


def test_taken_off_nothing_runs(device):
    """Removed, its processes have ended, its units are gone, and systemd has nothing to complain of"""
    device.run("dpkg --purge retrowalk", within_s=WITHIN_S)
    assert device.run("systemctl list-units --all --plain --no-legend 'retrowalk*'") == ""
    assert device.run("systemctl list-units --failed --plain --no-legend") == ""
    assert device.try_("ps ax | grep '[/]opt/retrowalk'").output == ""
