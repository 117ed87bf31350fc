"""What is in the Debian package: everything it needs, for both Pythons, and nothing of whoever built it."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.packaging import packages
from tests.packaging.packages import contents
from tests.packaging.roots import ROOT, call

DEBIAN = ROOT / "packaging" / "debian"


@pytest.mark.parametrize("name", ["postinst", "prerm", "postrm"])
def test_maintainer_scripts_can_be_read_by_every_shell(name):
    """They are plain sh, stop at the first thing that goes wrong, and end well when asked what they do not know"""
    file = DEBIAN / name
    assert file.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", file], check=True)
    subprocess.run(["sh", file, "something-new"], check=True)


def test_settings_are_no_conffiles():
    """dpkg would stop and ask about them where nobody is; deploy.py keeps what somebody has changed"""
    assert not (DEBIAN / "conffiles").exists()


@dataclass(frozen=True)
class Package:
    """A package, unpacked."""

    arch: str
    file: Path
    tree: Path

    @property
    def own(self) -> Path:
        return self.tree / packages.OWN

    def files(self) -> list[Path]:
        return [path for path in self.tree.rglob("*") if path.is_file()]

    def wheels(self) -> list[Path]:
        return sorted(self.own.glob("wheels/*/*.whl"))


@pytest.fixture(scope="module", params=["arm64", "amd64"])
def package(request, tmp_path_factory) -> Package:
    file = packages.built(request.param)
    tree = tmp_path_factory.mktemp("package") / "tree"
    call("dpkg-deb", "--raw-extract", file, tree)
    return Package(request.param, file, tree)


@pytest.mark.system
def test_owners_and_modes(package):
    """Everything belongs to root, nobody else may write to it, and only what is started is executable"""
    executable = set()
    for line in call("dpkg-deb", "--contents", package.file).splitlines():
        mode, owner, _, _, _, name = line.split(maxsplit=5)
        assert owner == "root/root", line
        assert mode[5] == mode[8] == "-", line
        if mode.startswith("-") and "x" in mode:
            executable.add(name.removeprefix("./"))
    assert executable == {f"{packages.OWN}/boot/apply-config", f"{packages.OWN}/purge"}


@pytest.mark.system
def test_every_wheel_is_there_and_for_its_processor(package):
    """For both Pythons everything that is locked and nothing else, and compiled for no other processor"""
    assert contents.problems(package.own, ROOT, package.arch) == []
    assert len(package.wheels()) > 30


@pytest.mark.system
def test_nothing_of_whoever_built_it(package):
    """No path of the building machine, no address of a registry, no password, no compiled Python of ours"""
    told = [str(ROOT), str(Path.home()), "index-url", "extra-index", "BEGIN PRIVATE KEY", "BEGIN OPENSSH"]
    texts = {str(file): file.read_bytes() for file in package.files() if file.suffix != ".whl"}
    (own,) = package.own.glob("wheels/any/retrowalk-*.whl")
    built = [own, *package.own.glob("wheels/cp313/lgpio-*.whl")]
    for wheel in built:
        with zipfile.ZipFile(wheel) as archive:
            texts |= {f"{wheel.name}/{name}": archive.read(name) for name in archive.namelist()}
    for name, text in texts.items():
        assert not name.endswith((".pyc", ".pyo")), name
        for words in told:
            assert words.encode() not in text, f"{name}: {words}"
    names = "\n".join(texts)
    assert not re.search(r"/tests?/|\.git/|\.env$|__pycache__", names)


@pytest.mark.system
def test_its_own_list_of_files_is_right(package):
    """The sums by which a damaged card is found out are those of the files"""
    listed = dict(
        reversed(line.split(maxsplit=1)) for line in (package.tree / "DEBIAN/md5sums").read_text().splitlines()
    )
    there = {str(file.relative_to(package.tree)): file for file in package.files() if "DEBIAN" not in file.parts}
    assert listed.keys() == there.keys()
    assert all(hashlib.md5(there[name].read_bytes()).hexdigest() == sum_ for name, sum_ in listed.items())


@pytest.mark.system
def test_a_purge_is_the_one_of_install(package):
    """What a purge removes stands in one place"""
    assert (
        (package.tree / "DEBIAN/postrm")
        .read_text()
        .endswith("\n".join((ROOT / "packaging/purge").read_text().split("\n")[1:]))
    )


@pytest.mark.system
@pytest.mark.skipif(shutil.which("lintian") is None, reason="Debian's own look at packages needs lintian")
def test_debian_finds_no_fault_with_it(package):
    """Debian's own look at packages finds no error"""
    call("lintian", "--allow-root", "--fail-on", "error", package.file)


@pytest.mark.system
def test_it_is_small_enough_for_a_card(package):
    """It fits beside others on a boot partition, and downloads over a slow line"""
    assert package.file.stat().st_size < 30_000_000
