"""Where recorded data lies, when it is there; which tests of real processes may run beside others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.again import Again

DEFAULT = Path(__file__).parents[2] / "shared" / "data"

TOGETHER = ("courier", "hub", "test_messages.py", "voice/test_bank.py", "voice/test_texts.py")
"""Folders and files whose real processes are judged by what they do and not by how soon: they share the machine."""


def pytest_configure(config: pytest.Config) -> None:
    """A test of real processes is asked again when the machine stood still."""
    config.pluginmanager.register(Again())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks these, for `script/test`."""
    here = Path(__file__).parent
    together = [here / name for name in TOGETHER]
    for item in items:
        if any(item.path.is_relative_to(path) for path in together):
            item.add_marker(pytest.mark.together)


@pytest.fixture(scope="session")
def recorded_data() -> Path:
    """The directory of recorded people; a test that needs it is skipped where it is absent.

    `RETROWALK_DATA` names it (default: `shared/data` beside the checkout).  Who sets the variable means it: then a
    missing directory is a failure.
    """
    named = os.environ.get("RETROWALK_DATA")
    path = Path(named) if named else DEFAULT
    if not path.is_dir():
        reason = f"no recorded data at {path} (set RETROWALK_DATA)"
        if named:
            pytest.fail(reason)
        pytest.skip(reason)
    return path
