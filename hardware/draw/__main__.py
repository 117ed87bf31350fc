"""Makes all drawings, meshes and tables of the hardware folder, or checks that they are current.

usage: script/drawings [--check] [NAME ...]

NAME is one of the modules beside this file; without a name all of them are made.  --check makes nothing: it tells which
are older than their sources, changed by hand, or left over, and fails if there are any.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HARDWARE = Path(__file__).resolve().parent.parent
MADE = "made.json"


def names(hardware: Path = HARDWARE) -> list[str]:
    """The modules that make something; others are shared by them."""
    files = (hardware / "draw").glob("*.py")
    return sorted(file.stem for file in files if file.read_text("utf-8").count("\ndef render("))


def maker(name: str) -> Any:
    return importlib.import_module(f"hardware.draw.{name}")


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def hashes(root: Path, files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file by its place below `root`."""
    return {str(file.resolve().relative_to(root.resolve())): sha256(file) for file in sorted(files)}


def sources(name: str, hardware: Path = HARDWARE) -> dict[str, str]:
    """Hashes of what a module reads and of the module itself, by their places in the repository."""
    module = maker(name)
    return hashes(hardware.parent, {*module.sources(hardware), hardware / "draw" / f"{name}.py"})


def made(hardware: Path = HARDWARE) -> dict[str, Any]:
    """What was made when, as `made.json` has it: a module's sources and outputs, each with its hash."""
    file = hardware / MADE
    return dict(json.loads(file.read_text("utf-8"))) if file.exists() else {}


def findings(hardware: Path = HARDWARE) -> list[str]:
    """What is not current: a line each, which says what to do.  Nothing is rendered, so it takes a moment."""
    kept = made(hardware)
    known = names(hardware)
    gone = sorted(set(kept) - set(known))
    found = [f"{MADE} knows {name}, and draw/{name}.py is gone: script/drawings" for name in gone]
    for name in known:
        if name not in kept:
            found.append(f"draw/{name}.py has made nothing yet: script/drawings {name}")
            continue
        now, then = sources(name, hardware), kept[name]["sources"]
        found += [
            f"{place} is not what draw/{name}.py worked from: script/drawings {name}"
            for place in sorted(now.keys() | then.keys())
            if now.get(place) != then.get(place)
        ]
        for place, digest in kept[name]["outputs"].items():
            file = hardware / place
            if not file.exists():
                found.append(f"hardware/{place} is missing: script/drawings {name}")
            elif sha256(file) != digest:
                found.append(f"hardware/{place} was changed by hand: change its source, then script/drawings {name}")
    return found


def make(name: str, hardware: Path = HARDWARE) -> list[str]:
    """Has a module make its outputs, puts them in place, removes what it made before and makes no more.

    All or nothing: a module that fails leaves everything as it was.
    """
    before = made(hardware)
    with tempfile.TemporaryDirectory() as scratch:
        into = Path(scratch)
        places = sorted(str(place) for place in maker(name).render(hardware, into))
        written = sorted(str(file.relative_to(into)) for file in into.rglob("*") if file.is_file())
        if written != places:
            raise RuntimeError(f"draw/{name}.py says it made {places}, and made {written}")
        for place in before.get(name, {}).get("outputs", {}):
            (hardware / place).unlink(missing_ok=True)
        for place in places:
            (hardware / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(into / place, hardware / place)
    before[name] = {"sources": sources(name, hardware), "outputs": hashes(hardware, [hardware / p for p in places])}
    text = json.dumps({key: before[key] for key in sorted(before) if key in names(hardware)}, indent=1) + "\n"
    (hardware / MADE).write_text(text, "utf-8")
    return places


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/drawings", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--check", action="store_true", help="make nothing; fail if anything is not current")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names())}")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(names())):
        parser.error(f"{', '.join(unknown)}: not known; known are {', '.join(names())}")
    if options.check:
        found = findings()
        print("\n".join(found) or "the hardware folder is current")
        sys.exit(1 if found else 0)
    chosen = options.names or names()
    for number, name in enumerate(chosen, 1):
        print(f"{number} of {len(chosen)}: {name} ...", end=" ", flush=True)
        began_s = time.monotonic()
        print(f"{len(make(name))} files, {time.monotonic() - began_s:.0f} s")


if __name__ == "__main__":
    main()
