"""A package whose contents are wrong is not made: what packaging/contents.py finds in a payload that was spoiled."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.packaging.packages import contents
from tests.packaging.roots import ROOT

AARCH64 = bytes.fromhex("7f454c46 02010100 00000000 00000000 0300 b700")
X86_64 = bytes.fromhex("7f454c46 02010100 00000000 00000000 0300 3e00")
MADE_FOR_11 = "manylinux_2_17_aarch64"
MADE_FOR_13 = "manylinux2014_aarch64.manylinux_2_17_aarch64"
FILES = {
    "any/pure_one-1-py3-none-any.whl": {"pure_one.py": b"1"},
    f"cp311/lgpio-1-cp311-cp311-{MADE_FOR_11}.whl": {"_lgpio.so": AARCH64},
    f"cp313/lgpio-1-cp313-cp313-{MADE_FOR_11}.whl": {"_lgpio.so": AARCH64},
    f"cp311/fast-1-cp311-cp311-{MADE_FOR_11}.whl": {"fast.so": AARCH64, "fast.libs/libother.so.1": AARCH64},
    f"cp313/fast-1-cp313-cp313-{MADE_FOR_13}.whl": {"fast.so": AARCH64},
    "any/retrowalk-1-py3-none-any.whl": {"retrowalk/__init__.py": b"", "retrowalk/voice/texts/en.toml": b"stop"},
}


@dataclass(frozen=True)
class Laid:
    """A payload for a Pi, and the checkout that it was made of."""

    checkout: Path
    payload: Path

    def write(self, name: str, files: dict[str, bytes]) -> Path:
        wheel = self.payload / "wheels" / name
        wheel.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel, "w") as archive:
            for file, content in files.items():
                archive.writestr(zipfile.ZipInfo(file), content)
        return wheel

    def one(self, pattern: str) -> Path:
        (wheel,) = self.payload.glob(f"wheels/{pattern}")
        return wheel

    def lock(self, wheels: Iterable[Path]) -> None:
        """Locks these: a list that names the hash of each but of what is built here."""
        hashes: dict[str, list[str]] = {}
        for wheel in wheels:
            name = wheel.name.partition("-")[0].replace("_", "-")
            if name != "retrowalk":
                hashes.setdefault(name, [])
                if name != "lgpio" or wheel.parent.name == "cp311":
                    hashes[name].append(hashlib.sha256(wheel.read_bytes()).hexdigest())
        lines = [" \\\n    ".join([f"{name}==1", *(f"--hash=sha256:{h}" for h in hashes[name])]) for name in hashes]
        (self.checkout / "requirements").mkdir(exist_ok=True)
        (self.checkout / "requirements/hub.txt").write_text("# What is needed.\n" + "\n".join(lines) + "\n")

    def problems(self) -> str:
        return "\n".join(contents.problems(self.payload, self.checkout, "arm64"))


@pytest.fixture
def laid(tmp_path) -> Laid:
    made = Laid(tmp_path / "checkout", tmp_path / "payload")
    for name, content in FILES["any/retrowalk-1-py3-none-any.whl"].items():
        file = made.checkout / "src" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    made.lock([made.write(name, files) for name, files in FILES.items()])
    return made


def test_a_whole_payload_is_taken(laid):
    """Nothing is found where nothing is wrong"""
    assert laid.problems() == ""


def relocked(laid: Laid, old: str, name: str, files: dict[str, bytes]) -> None:
    """Another wheel in the place of one, and the list agrees: what is wrong lies in the wheel itself."""
    laid.one(old).unlink()
    laid.write(name, files)
    laid.lock(laid.payload.glob("wheels/*/*.whl"))


SPOILED = [
    pytest.param(lambda laid: laid.one("cp313/fast-*").unlink(), "cp313: fast is missing", id="none for one Python"),
    pytest.param(
        lambda laid: laid.one("any/pure_one-*").unlink(),
        "cp311: pure-one is missing\ncp313: pure-one is missing",
        id="none at all",
    ),
    pytest.param(
        lambda laid: laid.one("any/retrowalk-*").unlink(),
        "cp311: retrowalk is missing\ncp313: retrowalk is missing",
        id="not even our own",
    ),
    pytest.param(
        lambda laid: laid.write("any/stranger-1-py3-none-any.whl", {}),
        "cp311: stranger is in no list\ncp313: stranger is in no list\n"
        "stranger-1-py3-none-any.whl is not the file of requirements/hub.txt",
        id="one that nobody asked for",
    ),
    pytest.param(
        lambda laid: laid.write("cp311/pure_one-1-cp311-cp311-manylinux_2_17_aarch64.whl", {"a.so": AARCH64}),
        "cp311: pure-one is there more than once\n"
        "pure_one-1-cp311-cp311-manylinux_2_17_aarch64.whl is not the file of requirements/hub.txt",
        id="two of one",
    ),
    pytest.param(
        lambda laid: laid.write("any/pure_one-1-py3-none-any.whl", {"pure_one.py": b"2"}),
        "pure_one-1-py3-none-any.whl is not the file of requirements/hub.txt",
        id="another file than the locked one",
    ),
    pytest.param(
        lambda laid: laid.write(f"cp311/lgpio-1-cp311-cp311-{MADE_FOR_11}.whl", {"other.so": AARCH64}),
        f"lgpio-1-cp311-cp311-{MADE_FOR_11}.whl is not the file of requirements/hub.txt",
        id="built here although there is a locked one",
    ),
    pytest.param(
        lambda laid: laid.write(f"cp313/lgpio-1-cp313-cp313-{MADE_FOR_11}.whl", {"_lgpio.so": X86_64}),
        f"lgpio-1-cp313-cp313-{MADE_FOR_11}.whl: _lgpio.so is not for aarch64",
        id="built with this machine's own compiler",
    ),
    pytest.param(
        lambda laid: relocked(
            laid,
            "cp311/fast-*",
            f"cp311/fast-1-cp311-cp311-{MADE_FOR_11}.whl",
            {"fast.so": AARCH64, "fast.libs/libother.so.1": X86_64},
        ),
        f"fast-1-cp311-cp311-{MADE_FOR_11}.whl: fast.libs/libother.so.1 is not for aarch64",
        id="a library inside for another processor",
    ),
    pytest.param(
        lambda laid: relocked(
            laid, "cp311/fast-*", "cp311/fast-1-cp311-cp311-manylinux_2_17_x86_64.whl", {"fast.so": AARCH64}
        ),
        "fast-1-cp311-cp311-manylinux_2_17_x86_64.whl is not for glibc 2.36 on aarch64",
        id="named for another processor",
    ),
    pytest.param(
        lambda laid: relocked(
            laid, "cp311/fast-*", "cp311/fast-1-cp311-cp311-manylinux_2_38_aarch64.whl", {"fast.so": AARCH64}
        ),
        "fast-1-cp311-cp311-manylinux_2_38_aarch64.whl is not for glibc 2.36 on aarch64",
        id="for a newer C library than Bookworm's",
    ),
    pytest.param(
        lambda laid: relocked(laid, "cp311/fast-*", f"cp311/fast-1-cp311-cp311-{MADE_FOR_11}.whl", {"fast.py": b""}),
        f"fast-1-cp311-cp311-{MADE_FOR_11}.whl says that it is compiled, and holds nothing that is",
        id="compiled in name alone",
    ),
    pytest.param(
        lambda laid: relocked(
            laid, "any/pure_one-*", "any/pure_one-1-py3-none-any.whl", {"pure_one.py": b"1", "quick.so": AARCH64}
        ),
        "pure_one-1-py3-none-any.whl says that it is for every processor, and 1 of its files are for one",
        id="for every processor in name alone",
    ),
    pytest.param(
        lambda laid: laid.write("any/retrowalk-1-py3-none-any.whl", {"retrowalk/__init__.py": b""}),
        "retrowalk-1-py3-none-any.whl lacks retrowalk/voice/texts/en.toml",
        id="a data file left out",
    ),
    pytest.param(
        lambda laid: (laid.checkout / "src/retrowalk/voice/texts/en.toml").write_bytes(b"halt"),
        "retrowalk-1-py3-none-any.whl: retrowalk/voice/texts/en.toml is not the one of ",
        id="made of other sources",
    ),
]


@pytest.mark.parametrize(("spoil", "said"), SPOILED)
def test_what_is_wrong_is_named(laid, spoil: Callable[[Laid], object], said):
    """Each fault is named with its file, and nothing else is"""
    spoil(laid)
    found = laid.problems()
    assert found.startswith(said)
    assert found.count("\n") == said.count("\n"), found


def test_the_locked_list_is_read_whole():
    """Every package of the real list is seen, with at least one hash of its own"""
    text = (ROOT / "requirements/hub.txt").read_text()
    read = contents.locked(text)
    assert len(read) == len(re.findall(r"^[^#\s].*==", text, re.MULTILINE))
    assert all(read.values())
    assert sum(map(len, read.values())) == text.count("--hash=sha256:")
