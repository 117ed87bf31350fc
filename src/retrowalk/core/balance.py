"""Balance that is going: from the trunk's pitch and its rate, backward only.

What counts is the capture point of an inverted pendulum, where the trunk is going to be: pitch and rate / omega0.
"""

from __future__ import annotations

import math

from retrowalk.config import Balance as Knobs

OMEGA0_PER_S = 3.1
"""Inverted pendulum of a trunk 1 m above its pivot: sqrt(g / l)."""
LYING_DEG = 60.0
"""Beyond this the trunk lies, or nearly: the fall detector's matter."""
LOSS_S = 0.06
"""Balance is lost when the limits hold for this long."""
LOSS_GAP_S = 3.0
LOSS_LEAN_DEG = 5.0
"""... and the trunk already leans back this much.  Heel strikes alone reach 100 degrees/s in healthy people: with this,
recorded walking gives 1 false loss in 29 min instead of 15, and backward slips are still seen (0.95, 0.22 s ahead)."""


class BalanceWatch:
    """Feeds on trunk pitch (degrees, forward positive) and its rate (degrees/s) at measured times."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._loss_since_s: float | None = None
        self._lost_s = -math.inf

    def update(self, t_s: float, pitch_deg: float, rate_deg_s: float) -> bool:
        """Takes one sample; returns whether balance has been lost just now."""
        if abs(pitch_deg) > LYING_DEG:
            self._loss_since_s = None
            return False
        knobs = self._knobs
        back_deg = -(pitch_deg + rate_deg_s / OMEGA0_PER_S)
        tipping = back_deg > knobs.loss_deg and -rate_deg_s > knobs.loss_rate_deg_s and -pitch_deg > LOSS_LEAN_DEG
        if not tipping:
            self._loss_since_s = None
            return False
        if self._loss_since_s is None:
            self._loss_since_s = t_s
        elif t_s - self._loss_since_s >= LOSS_S and t_s - self._lost_s > LOSS_GAP_S:
            self._lost_s = t_s
            return True
        return False
