"""What failed while the machine stood still is asked again, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

CONFTEST = """
from tests.again import Again

def pytest_configure(config):
    config.addinivalue_line("markers", "timed: judged by time")
    config.pluginmanager.register(Again("timed", limit_s=2.0))
"""

TESTS = """
import ctypes
from pathlib import Path

import pytest

pytestmark = pytest.mark.timed

def stand_still():
    ctypes.PyDLL(None).usleep(2_300_000)  # no thread of this process runs meanwhile

def times(name):
    path = Path(__file__).with_name(name)
    count = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(count))
    return count

@pytest.fixture(scope="module")
def walk():
    count = times("walk")
    if count == 1:
        stand_still()
    return count

def test_good_walk(walk):
    times("good")

def test_disturbed_walk(walk):
    times("disturbed")
    assert walk == 2

def test_wrong():
    times("wrong")
    assert False

def test_disturbed_once():
    if times("once") == 1:
        stand_still()
        assert False

def test_disturbed_and_wrong():
    times("always")
    stand_still()
    assert False

def test_disturbed_and_right():
    times("right")
    stand_still()

"""

UNMARKED = """
import ctypes
from pathlib import Path

def test_unmarked():
    path = Path(__file__).with_name("unmarked")
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    ctypes.PyDLL(None).usleep(2_300_000)
    assert False
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", [pytest.param([], id="one process"), pytest.param(["-n", "2"], id="two workers")])
def test_only_what_was_disturbed_is_asked_again(tmp_path: Path, options: list[str]) -> None:
    """A wrong test fails at once; a disturbed one is made anew with its walk; what stays wrong fails, all listed."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_timed.py").write_text(TESTS)
    (tmp_path / "test_unmarked.py").write_text(UNMARKED)
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), "--dist", "loadfile", *options]
    ran = subprocess.run(
        [*command, "-p", "no:cacheprovider", str(tmp_path)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120.0,
    )
    counted = {
        name: (tmp_path / name).read_text()
        for name in ("walk", "good", "disturbed", "wrong", "once", "always", "right", "unmarked")
    }
    assert counted == {
        "walk": "2",
        "good": "1",
        "disturbed": "2",
        "wrong": "1",
        "once": "2",
        "always": "3",
        "right": "1",
        "unmarked": "x",
    }, ran.stdout
    assert "3 failed, 4 passed" in ran.stdout
    listed = [
        line for line in ran.stdout.splitlines() if line.endswith(" s") and "the machine stood still for 2." in line
    ]
    assert [line.split("::")[1].split(":")[0] for line in listed] == [
        "test_disturbed_walk",
        "test_disturbed_once",
        "test_disturbed_and_wrong",
        "test_disturbed_and_wrong",
    ]
