"""Looks into what script/package has laid out, before it becomes a package.

    packaging/contents.py PAYLOAD arm64|amd64

A package for the Pi is made on another machine, where nothing in it can be run.  What can be seen without running it is
looked at here: for both Pythons a wheel of everything in the locked list and of nothing else, each the very file that
the list names; everything compiled is for the processor and the C library it will meet; all of retrowalk is there.
"""

from __future__ import annotations

import hashlib
import re
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

PYTHONS = {"cp311": (2, 36), "cp313": (2, 41)}
"""Python of Bookworm and of Trixie, and the C library that each has."""
PROCESSORS = {"arm64": ("aarch64", 0xB7), "amd64": ("x86_64", 0x3E)}
"""What wheels call a processor, and what the head of a program does (ELF specification, e_machine)."""
BUILT_HERE = {("any", "retrowalk"), ("cp313", "lgpio")}
"""What is no file of a registry: our own, and what its makers publish as source alone."""


def locked(text: str) -> dict[str, set[str]]:
    """Hashes of the files that a locked list allows, by the name of the package."""
    entries = re.split(r"^(?=[a-z0-9][\w.-]*==)", text, flags=re.MULTILINE)[1:]
    return {canonical(entry.partition("==")[0]): set(re.findall(r"sha256:([0-9a-f]{64})", entry)) for entry in entries}


def canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def package_of(wheel: Path) -> str:
    return canonical(wheel.name.partition("-")[0])


def of_sources(wheel: Path, sources: Path) -> Iterator[str]:
    """What our own wheel lacks of its sources."""
    with zipfile.ZipFile(wheel) as archive:
        there = set(archive.namelist())
        for file in sorted(sources.rglob("*")):
            name = str(file.relative_to(sources.parent))
            if not file.is_file() or "__pycache__" in name or file.name.startswith(".lgd-nfy"):
                continue
            if name not in there:
                yield f"{wheel.name} lacks {name}"
            elif archive.read(name) != file.read_bytes():
                yield f"{wheel.name}: {name} is not the one of {sources}"


def of_programs(wheel: Path, arch: str) -> Iterator[str]:
    """What is compiled in a wheel and cannot run there."""
    machine, number = PROCESSORS[arch]
    count = 0
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            head = archive.read(name)[:20]
            if head[:4] == b"\x7fELF":
                count += 1
                if head[4] != 2 or int.from_bytes(head[18:20], "little") != number:
                    yield f"{wheel.name}: {name} is not for {machine}"
    if wheel.parent.name == "any":
        if count:
            yield f"{wheel.name} says that it is for every processor, and {count} of its files are for one"
        return
    if not count:
        yield f"{wheel.name} says that it is compiled, and holds nothing that is"
    libraries = [(int(a), int(b)) for a, b in re.findall(rf"manylinux_(\d+)_(\d+)_{machine}\b", wheel.name)]
    newest = PYTHONS[wheel.parent.name]
    if not libraries or min(libraries) > newest:
        yield f"{wheel.name} is not for glibc {newest[0]}.{newest[1]} on {machine}"


def problems(payload: Path, checkout: Path, arch: str) -> list[str]:
    """What is wrong with a payload for `arch` that was made of `checkout`, a line each."""
    said: list[str] = []
    hashes = locked((checkout / "requirements/hub.txt").read_text(encoding="utf-8"))
    wheels = sorted(payload.glob("wheels/*/*.whl"))
    for tag in PYTHONS:
        found = [package_of(wheel) for wheel in wheels if wheel.parent.name in ("any", tag)]
        wanted = {*hashes, "retrowalk"}
        said += [f"{tag}: {name} is missing" for name in sorted(wanted - set(found))]
        said += [f"{tag}: {name} is in no list" for name in sorted(set(found) - wanted)]
        said += [f"{tag}: {name} is there more than once" for name in sorted(wanted) if found.count(name) > 1]
    for wheel in wheels:
        name = package_of(wheel)
        said += of_programs(wheel, arch)
        if name == "retrowalk":
            said += of_sources(wheel, checkout / "src/retrowalk")
        if (wheel.parent.name, name) not in BUILT_HERE:
            if hashlib.sha256(wheel.read_bytes()).hexdigest() not in hashes.get(name, set()):
                said.append(f"{wheel.name} is not the file of requirements/hub.txt")
    return said


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]), Path(__file__).resolve().parents[1], sys.argv[2])
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)
