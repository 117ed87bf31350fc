"""The Debian packages that tests install: this checkout's, and later versions made of it, good and bad."""

from __future__ import annotations

import base64
import csv
import functools
import hashlib
import importlib.util
import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.packaging.roots import ROOT, call

OWN = "usr/lib/retrowalk"
_SPEC = importlib.util.spec_from_file_location("contents", ROOT / "packaging/contents.py")
assert _SPEC is not None
assert _SPEC.loader is not None
contents = importlib.util.module_from_spec(_SPEC)
"""packaging/contents.py, which is a program and in no package of Python's."""
_SPEC.loader.exec_module(contents)


@functools.cache
def built(arch: str) -> Path:
    """The package of this checkout, built now; or the one in `$RETROWALK_DIST`, to judge what is given out."""
    folder = os.environ.get("RETROWALK_DIST")
    if not folder:
        call(ROOT / "script" / "package", arch)
    (made,) = Path(folder or ROOT / "dist").glob(f"retrowalk_{version()}_{arch}.deb")
    return made


def version() -> str:
    """The version of this checkout."""
    from retrowalk import __version__

    return __version__


def another(package: Path, folder: Path, number: str, change: Callable[[Path], None]) -> Path:
    """A package that says it is version `number`; `change` is given retrowalk's own sources and may spoil them."""
    tree = folder / number
    call("dpkg-deb", "--raw-extract", package, tree)
    own = tree / OWN
    (own / "VERSION").write_text(f"{number}\n")
    (own / "FINGERPRINT").write_text(hashlib.sha256(number.encode()).hexdigest() + "\n")
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {version()}\n", f"Version: {number}\n"))
    (wheel,) = own.glob("wheels/any/retrowalk-*.whl")
    source = folder / f"{number}-source"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(source)
    begin = source / "retrowalk/__init__.py"
    begin.write_text(begin.read_text().replace(f'"{version()}"', f'"{number}"'))
    change(source / "retrowalk")
    wheel.unlink()
    pack(source, wheel)
    made = folder / f"retrowalk_{number}_{package.stem.rpartition('_')[2]}.deb"
    call("dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, made)
    shutil.rmtree(tree)
    shutil.rmtree(source)
    return made


def pack(source: Path, wheel: Path) -> None:
    """A wheel of the files in `source`, with its list of hashes made anew."""
    (info,) = source.glob("*.dist-info")
    record = info / "RECORD"
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(path for path in source.rglob("*") if path.is_file() and path != record):
            content = file.read_bytes()
            hashed = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            name = str(file.relative_to(source))
            writer.writerow((name, f"sha256={hashed}", len(content)))
            archive.writestr(name, content)
        name = str(record.relative_to(source))
        writer.writerow((name, "", ""))
        archive.writestr(name, rows.getvalue())
