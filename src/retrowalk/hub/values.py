"""Numbers as devices write them: whatever JSON may hold, up to whole numbers with hundreds of digits."""

from __future__ import annotations

import math
from typing import Any

LIMIT = 2**53
"""Beyond it no number means anything here."""


def real(value: Any) -> float | None:
    """A number within the limit; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LIMIT < value < LIMIT:
        return None
    return float(value) if math.isfinite(value) else None


def whole(value: Any) -> int | None:
    """A whole number within the limit; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and -LIMIT < value < LIMIT else None
