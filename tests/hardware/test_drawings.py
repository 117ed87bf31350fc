"""What is drawn in `hardware/` is what its sources say, and is seen when it is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hardware.draw import __main__ as drawings

TEXT = {".svg", ".md", ".tsv", ".cir", ".scad", ".csv", ".toml"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hardware folder with one maker, which writes a source in capitals."""
    hardware = tmp_path / "hardware"
    (hardware / "draw").mkdir(parents=True)
    (hardware / "draw" / "capitals.py").write_text("the maker\ndef render(")
    (hardware / "source.txt").write_text("brown to pin 4")

    class Capitals:
        @staticmethod
        def sources(hardware: Path) -> list[Path]:
            return [hardware / "source.txt"]

        @staticmethod
        def render(hardware: Path, into: Path) -> list[Path]:
            (into / "drawings").mkdir()
            (into / "drawings" / "capitals.md").write_text((hardware / "source.txt").read_text().upper())
            return [Path("drawings/capitals.md")]

    monkeypatch.setattr(drawings, "maker", lambda name: Capitals)
    return hardware


def test_everything_kept_is_current():
    """No source has changed since, nothing is missing or was mended by hand"""
    assert drawings.findings() == []


def test_nothing_is_left_over():
    """Every picture, mesh and table in the generated places was made by a maker that is still there"""
    made = {place for kept in drawings.made().values() for place in kept["outputs"]}
    lying = {
        str(file.relative_to(drawings.HARDWARE))
        for file in drawings.HARDWARE.rglob("*")
        if file.suffix in {".svg", ".png", ".stl", ".tsv", ".cir"}
    }
    assert lying - made == set()


@pytest.mark.parametrize("change", ["source", "maker", "output", "missing", "gone"])
def test_what_is_not_current_is_seen(folder: Path, change: str):
    """A changed source or maker, an output changed by hand or lost, a maker that is gone"""
    assert drawings.findings(folder) == ["draw/capitals.py has made nothing yet: script/drawings capitals"]
    drawings.make("capitals", folder)
    assert drawings.findings(folder) == []
    if change == "source":
        (folder / "source.txt").write_text("brown to pin 2")
    elif change == "maker":
        (folder / "draw" / "capitals.py").write_text("another maker\ndef render(")
    elif change == "output":
        (folder / "drawings" / "capitals.md").write_text("BROWN TO PIN 2")
    elif change == "missing":
        (folder / "drawings" / "capitals.md").unlink()
    else:
        (folder / "draw" / "capitals.py").unlink()
    assert len(drawings.findings(folder)) == 1


def test_a_maker_that_fails_leaves_everything_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """All or nothing"""
    drawings.make("capitals", folder)
    (folder / "source.txt").write_bytes(b"\xff")
    with pytest.raises(UnicodeDecodeError):
        drawings.make("capitals", folder)
    assert (folder / "drawings" / "capitals.md").read_text() == "BROWN TO PIN 4"


def test_what_is_made_no_more_is_removed(folder: Path):
    """A drawing under its former name does not stay beside the new one"""
    drawings.make("capitals", folder)
    kept = json.loads((folder / drawings.MADE).read_text())
    kept["capitals"]["outputs"]["drawings/former.md"] = "0"
    (folder / drawings.MADE).write_text(json.dumps(kept))
    (folder / "drawings" / "former.md").write_text("FORMER")
    drawings.make("capitals", folder)
    assert not (folder / "drawings" / "former.md").exists()


RENDERED_BY_THEIR_OWN_TESTS = {"spice": "test_spice.py", "enclosure": "test_enclosure.py"}
"""They take half a minute each, and their own tests look closer at what was rendered."""


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in drawings.names() if name not in RENDERED_BY_THEIR_OWN_TESTS])
def test_made_anew_it_is_the_same(name: str, tmp_path: Path):
    """Texts and drawings to the byte; of pictures that there are the same"""
    needed = {
        "harness": ["dot", "rsvg-convert"],
        "board": ["rsvg-convert"],
        "power": ["rsvg-convert"],
    }
    if missing := [tool for tool in needed.get(name, []) if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(missing)} is missing: script/setup --dev")
    places = sorted(str(place) for place in drawings.maker(name).render(drawings.HARDWARE, tmp_path))
    assert places == sorted(drawings.made()[name]["outputs"])
    for place in places:
        if Path(place).suffix in TEXT:
            assert (tmp_path / place).read_text() == (drawings.HARDWARE / place).read_text(), place
