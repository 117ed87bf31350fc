"""The documents for people: what they name exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.test_layers import LAYERS

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "retrowalk"
DOCUMENTS = (
    "docs/design.md",
    "docs/messages.md",
    "docs/recordings.md",
    "docs/faults.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
)


def named_paths(text: str) -> set[str]:
    """Everything in backquotes that looks like a file or folder of the project."""
    quoted = re.findall(r"`([\w./-]+)`", text)
    return {word for word in quoted if word.endswith("/") or re.search(r"\w\.(py|toml|md|txt)$", word)}


def links(text: str) -> set[str]:
    """Targets of links within the project."""
    return {target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_files_exist(name):
    """A file or folder that a document names is there, in the repository or in the package"""
    found = named_paths((ROOT / name).read_text(encoding="utf-8"))
    assert not {path for path in found if not (ROOT / path).exists() and not (PACKAGE / path).exists()}


@pytest.mark.parametrize("name", [*DOCUMENTS, "docs/first-boot.md", "docs/read-only.md"])
def test_links_lead_somewhere(name):
    """A link within the project leads to a file that is there"""
    document = ROOT / name
    assert not {link for link in links(document.read_text(encoding="utf-8")) if not (document.parent / link).exists()}


def test_documents_name_files():
    """The two tests above have something to look at"""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert len(named_paths(text)) > 20
    assert links(text)


def test_picture_is_true():
    """The picture of the core shows every module of it that the Companion decides with, and no other"""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    picture = text.partition("```\n")[2].partition("```")[0]
    parts = re.findall(r"│ +│  (\w+)  +\w", picture)
    modules = {file.stem for file in (PACKAGE / "core").glob("*.py")}
    assert sorted(parts) == sorted(
        modules - {"__init__", "companion", "samples", "events", "alerts", "fault_table", "stopping"}
    )


def drawn_layers(text: str) -> list[tuple[str, ...]]:
    """The layers as the list in CONTRIBUTING.md has them."""
    block = text.partition("```\n__main__")[2].partition("```")[0]
    lines = ["__main__", *block.strip().splitlines()]
    return [tuple(re.findall(r"\w+", line.split("   ")[0])) for line in lines]


def test_layers_are_those_that_are_checked():
    """CONTRIBUTING.md draws the layers that tests/test_layers.py holds"""
    drawn = drawn_layers((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert drawn == [layer for layer in LAYERS if layer != ("__init__",)]
