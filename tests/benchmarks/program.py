"""A benchmark as a module, so that its judgement can be tested apart from what it measures."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[2] / "benchmarks"


def load(program: Path) -> ModuleType:
    """The program as a module; the path on which it looks for its neighbours is left as it was."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{program.stem}", program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module
