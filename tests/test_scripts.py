"""The scripts of script/, and the lists they install from."""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LISTS = ["build", "base", "dev", "peers", "gait", "orientation", "words"]

BASE = PYPROJECT["project"]["dependencies"]
DEV = PYPROJECT["dependency-groups"]["dev"]
PEERS = PYPROJECT["dependency-groups"]["peers"]
GAIT = PYPROJECT["dependency-groups"]["gait"]
WORDS = PYPROJECT["dependency-groups"]["words"]
ORIENTATION = PYPROJECT["dependency-groups"]["orientation"]
EXTRAS = [line for lines in PYPROJECT["project"]["optional-dependencies"].values() for line in lines]


def read_list(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.txt").read_text()


def locked(name: str) -> dict[str, set[Version]]:
    """The versions a list allows of each package: several where markers tell Pythons apart."""
    versions: dict[str, set[Version]] = {}
    for line in re.findall(r"^[a-z].*", read_list(name), re.MULTILINE):
        package, version = re.split(r"==|[ ;]", line)[:2]
        versions.setdefault(canonicalize_name(package), set()).add(Version(version))
    return versions


@pytest.mark.parametrize("script", ["script/setup", "script/test", "script/lock", "script/demo", ".ci/run"])
def test_script_can_be_started(script):
    """Every script is executable, and bash can read it."""
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", path], check=True)


@pytest.mark.parametrize(
    ("there", "named", "expected"),
    [
        pytest.param(True, "", "shared/data", id="beside the checkout"),
        pytest.param(True, "/elsewhere", "/elsewhere", id="named already"),
        pytest.param(False, "", "", id="not there"),
    ],
)
def test_the_checks_use_recorded_people_where_they_lie(tmp_path, there, named, expected):
    """.ci/run names the data beside the checkout, so that no test skips it; without it the variable stays unset."""
    checkout = tmp_path / "checkout"
    for directory in (checkout / ".ci", checkout / "script", *([tmp_path / "shared" / "data"] if there else [])):
        directory.mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", checkout / ".ci" / "run")
    stand_in = checkout / "script" / "test"
    stand_in.write_text('#!/bin/sh\nprintf "%s" "${RETROWALK_DATA-}"\n')
    stand_in.chmod(0o755)
    env = {**os.environ, "RETROWALK_DATA": named}
    if not named:
        del env["RETROWALK_DATA"]
    done = subprocess.run([checkout / ".ci" / "run"], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == (str(tmp_path / expected) if expected.startswith("shared") else expected)


@pytest.mark.parametrize("script", ["setup", "test", "lock"])
def test_script_explains_itself(script):
    """--help says how to use it and does nothing else."""
    done = subprocess.run([ROOT / "script" / script, "--help"], check=True, capture_output=True, text=True)
    assert done.stdout.startswith(f"usage: script/{script}")


@pytest.mark.parametrize("script", ["setup", "lock"])
def test_script_refuses_what_it_does_not_know(script):
    """A misspelt option is named, and nothing is done."""
    done = subprocess.run([ROOT / "script" / script, "--dve"], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--dve" in done.stderr


@pytest.mark.parametrize("name", LISTS)
def test_lock_names_files_by_hash_and_no_place(name):
    """Every file is known by its hash; where packages come from is the installing machine's affair."""
    text = read_list(name)
    assert not re.search(r"://|^-|@ |file:", text, re.MULTILINE)
    for entry in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        pytest.param("base", BASE, id="base"),
        pytest.param("dev", BASE + EXTRAS + DEV, id="dev"),
        pytest.param("build", PYPROJECT["build-system"]["requires"], id="build"),
        pytest.param("peers", PEERS, id="peers"),
        pytest.param("gait", GAIT, id="gait"),
        pytest.param("orientation", ORIENTATION, id="orientation"),
        pytest.param("words", WORDS, id="words"),
    ],
)
def test_lock_keeps_what_pyproject_asks(name, declared):
    """After a change to pyproject.toml the lists were made anew (script/lock)."""
    versions = locked(name)
    for requirement in map(Requirement, declared):
        found = versions.get(canonicalize_name(requirement.name), set())
        assert found, f"{requirement.name} is not in requirements/{name}.txt"
        assert all(requirement.specifier.contains(version) for version in found)


def test_lists_agree_on_versions():
    """What is tested is what is installed."""
    dev = locked("dev")
    assert {package: dev.get(package) for package in locked("base")} == locked("base")


def test_peers_bring_nothing_else():
    """Strangers' drivers are installed as they are: not what they ask for, and not over what retrowalk runs on."""
    assert locked("peers").keys() == {canonicalize_name(Requirement(line).name) for line in PEERS}
    assert not locked("peers").keys() & locked("dev").keys()


def test_lgpio_is_never_the_old_namesake():
    """lgpio 0.0.0.2 is another, pure-Python program; without a wheel for 3.13 pip could fall back on it."""
    assert min(locked("base")["lgpio"]) >= Version("0.2.2")


def test_every_dependency_has_a_reason():
    """The reason stands beside it."""
    text = (ROOT / "pyproject.toml").read_text()
    for dependency in BASE + EXTRAS + DEV + PEERS:
        assert re.search(rf'"{re.escape(dependency)}",?\s+# \w', text), dependency


@pytest.mark.slow
def test_wheel_carries_its_data(tmp_path):
    """The words and other data that the code reads are in the wheel, and no tests are."""
    # A copy: setuptools builds in the tree it is given.
    source = tmp_path / "source"
    source.mkdir()
    for part in ["src", "pyproject.toml", "LICENSE", "README.md"]:
        subprocess.run(["cp", "-r", str(ROOT / part), str(source)], check=True)
    wheel_in = tmp_path / "wheel"
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", str(wheel_in), str(source)], check=True)
    [wheel] = wheel_in.glob("retrowalk-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    data = [path for suffix in ("toml", "json", "wav", "pcm") for path in (ROOT / "src").rglob(f"*.{suffix}")]
    assert {str(path.relative_to(ROOT / "src")) for path in data} <= inside
    assert "retrowalk/py.typed" in inside
    assert not [name for name in inside if name.startswith("tests")]


@pytest.mark.system
def test_second_setup_is_quick_and_quiet():
    """Where everything is there, set-up takes a moment and says nothing."""
    command = [str(ROOT / "script" / "setup"), "--dev", "--quiet"]
    subprocess.run(command, check=True)
    started = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True)
    assert time.monotonic() - started < 3
    assert done.stdout == b""
