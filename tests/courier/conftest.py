"""Takes down what a test of the courier made."""

from __future__ import annotations

import pytest
from tests.courier.helpers import Street


@pytest.fixture(autouse=True)
def _take_down():
    yield
    while Street.alive:
        Street.alive.pop().kill()
