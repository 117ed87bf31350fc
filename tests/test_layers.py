"""The import rule: what may know of what.

Read from the source, so that an import inside a function or behind `if TYPE_CHECKING` counts like any other.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "retrowalk"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("calibrate", "support", "firstboot", "bench"),
    ("sim", "replay", "doctor", "record", "foreground"),
    ("guard", "voice", "courier", "hub"),
    ("devices",),
    ("supervise", "control", "mqtt"),
    ("platform",),
    ("wire",),
    ("core",),
    ("lastgood", "calibration"),
    ("config", "models", "wholefile", "logs", "mounts"),
    ("errors",),
    ("__init__",),
)
"""From top to bottom.  Each may import what stands in a lower line, and itself; names of one line never each other."""

RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

CORE_MAY_IMPORT = {
    "__future__",
    "bisect",
    "collections",
    "collections.abc",
    "dataclasses",
    "enum",
    "functools",
    "itertools",
    "math",
    "operator",
    "statistics",
    "typing",
}
"""The standard library's pure parts: no clock, thread, logger, file or chance."""


@dataclass(frozen=True)
class Import:
    """One import of a file."""

    file: str
    line: int
    module: str
    """Full name of what is imported; for `from retrowalk import x`, retrowalk.x."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def imports(source: str, file: str) -> Iterator[Import]:
    """Every import of a module, wherever it stands.  `file` is its path below src/retrowalk."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                # `from . import x` in core/gait.py is retrowalk.core.x.
                package = ["retrowalk", *Path(file).parent.parts]
                module = ".".join(package[: len(package) - node.level + 1] + ([module] if module else []))
            if module == "retrowalk":
                yield from (Import(file, node.lineno, f"retrowalk.{alias.name}") for alias in node.names)
            else:
                yield Import(file, node.lineno, module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "__import__"):
            what = node.args[0] if node.args else None
            named = isinstance(what, ast.Constant) and isinstance(what.value, str)
            yield Import(
                file, node.lineno, str(what.value) if named and isinstance(what, ast.Constant) else "(computed)"
            )


def place(file: str) -> str:
    """Where a file of the package stands: its folder, or its own name."""
    first = Path(file).parts[0]
    return first.removesuffix(".py")


def target(module: str) -> str:
    """Where an imported module of retrowalk stands; `from retrowalk import __version__` is the package itself."""
    parts = module.split(".")
    if len(parts) < 2 or not ((SOURCE / parts[1]).is_dir() or (SOURCE / f"{parts[1]}.py").exists()):
        return "__init__"
    return parts[1]


def broken_rules(source: str, file: str) -> list[str]:
    """The imports of a module that break the rule, in words."""
    own = place(file)
    found = []
    for item in imports(source, file):
        top = item.module.partition(".")[0]
        if item.module == "(computed)":
            found.append(f"{item}, which nobody can check")
        elif top == "retrowalk":
            other = target(item.module)
            if other != own and RANK[other] <= RANK[own]:
                found.append(f"{item}: {own} may not know of {other}")
            if own == "core" and other not in ("core", "config", "models", "errors"):
                found.append(f"{item}: core imports only config, models and errors")
        elif own == "core" and item.module not in CORE_MAY_IMPORT:
            found.append(f"{item}, which is not a pure part of the standard library")
        if top == "pyttsx3" and file != "voice/render.py":
            found.append(f"{item}: only voice/render.py may")
    return found


def engine_uses(source: str, file: str) -> list[str]:
    """Where a speech engine is asked to play: `x.say(...)` in the voice, and runAndWait in any form.

    Elsewhere an object may have a `say` of its own: there is no engine to be had, by the import rule.  Rendering needs
    runAndWait, which then saves to a file.
    """
    found = []
    for node in ast.walk(ast.parse(source)):
        if place(file) == "voice" and isinstance(node, ast.Attribute) and node.attr == "say":
            found.append(f"{file}:{node.lineno} uses say")
        name = getattr(node, "attr", None) or getattr(node, "id", None) or getattr(node, "value", None)
        if name == "runAndWait" and file != "voice/render.py":
            found.append(f"{file}:{getattr(node, 'lineno', 0)} uses runAndWait")
    return found


FILES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))


def text(file: str) -> str:
    return (SOURCE / file).read_text(encoding="utf-8")


def test_every_file_has_a_layer():
    """A new file or folder of the package gets its place in LAYERS first"""
    assert [file for file in FILES if place(file) not in RANK] == []


def test_imports_go_down_only():
    """No file imports from its own height or above; core imports only config, models, errors and what is pure"""
    assert [broken for file in FILES for broken in broken_rules(text(file), file)] == []


def test_speech_engine_only_renders():
    """Nothing outside voice/render.py asks pyttsx3 to play or to wait: that takes seconds, and fails in silence"""
    assert [use for file in FILES for use in engine_uses(text(file), file)] == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        pytest.param("core/gait.py", "import time", id="clock in the core"),
        pytest.param("core/gait.py", "import random", id="chance in the core"),
        pytest.param("core/gait.py", "def f():\n    import threading", id="lazy import in the core"),
        pytest.param("core/gait.py", "from logging import getLogger", id="logger in the core"),
        pytest.param("core/gait.py", "import os.path", id="files in the core"),
        pytest.param("core/gait.py", "import msgspec", id="dependency in the core"),
        pytest.param("core/gait.py", "from retrowalk.wire import encode", id="wire in the core"),
        pytest.param("core/gait.py", "from retrowalk import lastgood", id="files by way of lastgood in the core"),
        pytest.param("core/gait.py", "from ..wire import encode", id="relative import"),
        pytest.param("config.py", "from . import wire", id="relative import at the top"),
        pytest.param("wire.py", "import retrowalk.platform", id="upward"),
        pytest.param("guard/guard.py", "from retrowalk.voice import mixer", id="process into process"),
        pytest.param("voice/process.py", "from retrowalk.courier.outbox import Outbox", id="another process"),
        pytest.param("devices/button.py", "if True:\n    from retrowalk.sim import pins", id="product into simulation"),
        pytest.param("guard/guard.py", "import importlib\nimportlib.import_module('retrowalk.sim')", id="by name"),
        pytest.param("guard/guard.py", "import importlib\nimportlib.import_module(name)", id="by computed name"),
        pytest.param("voice/process.py", "import pyttsx3", id="engine outside render"),
        pytest.param("voice/process.py", "from pyttsx3.engine import Engine", id="part of the engine outside render"),
    ],
)
def test_rule_would_notice(file, source):
    """The rule is not kept by looking away: each of these breaks it"""
    assert broken_rules(source, file)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        pytest.param("core/gait.py", "import math\nfrom collections.abc import Iterator", id="pure parts"),
        pytest.param("core/gait.py", "from retrowalk.config import Fall\nfrom . import samples", id="core on config"),
        pytest.param("core/gait.py", "from retrowalk.errors import RetrowalkError", id="core on errors"),
        pytest.param("sim/world.py", "from retrowalk.guard.guard import Guard", id="simulation runs the product"),
        pytest.param("cli.py", "from retrowalk import __version__, sim", id="command line on everything"),
        pytest.param("voice/render.py", "import pyttsx3", id="engine in render"),
        pytest.param("guard/guard.py", "import time, logging", id="clock in a process"),
    ],
)
def test_rule_lets_pass(file, source):
    """What the design allows is not refused"""
    assert broken_rules(source, file) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        pytest.param("voice/process.py", "engine.say('Stop')", id="say"),
        pytest.param("voice/render.py", "pyttsx3.init().say('Stop')", id="say where saving is allowed"),
        pytest.param("voice/process.py", "talk = engine.say", id="say under another name"),
        pytest.param("voice/process.py", "engine.runAndWait()", id="wait"),
        pytest.param("guard/guard.py", "wait = engine.runAndWait", id="wait under another name"),
        pytest.param("cli.py", "getattr(engine, 'runAndWait')()", id="wait by name"),
    ],
)
def test_engine_rule_would_notice(file, source):
    """Each of these asks an engine to play"""
    assert engine_uses(source, file)
