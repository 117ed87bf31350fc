"""Does the wearer lie, since when, and when did they last move?  For what follows a fall, and for falls nobody felt.

A slow slide to the ground gives no shock.  So somebody who lies without a step, though out on a walk, is asked whether
all is well: after 2 min without a movement, as after a faint; or after 5 min in all, as of somebody who cannot get up
and tries.  Who rests on a bench sits or leans (the lower back tilts by 20 to 45 degrees, not by 60); who rests on a
lawn is asked once, answers with a press, and is left in peace until they have been up again.
"""

from __future__ import annotations

import math

LYING_DEG = 60.0
"""Trunk tilted by more, in any direction: lies ..."""
NOT_LYING_DEG = 45.0
"""... until it is tilted by less than this."""
UPRIGHT_DEG = 35.0
"""Tilted by less: upright.  As for the steps that call a fall off."""
ASK_STILL_S = 120.0
ASK_LAIN_S = 300.0
ON_WALK_S = 1800.0
"""Who has not taken a step for longer before lying down may be at home by now, and in bed."""
HEARD_S = 1.0
"""A clip that has said nothing for so long tells nothing of the posture."""


class Lying:
    """Feeds on how the trunk is, some times a second.  Times are session seconds."""

    def __init__(self) -> None:
        self.since_s: float | None = None
        """Lies since then; None: does not lie."""
        self.moved_s: float | None = None
        """When the last movement was noticed; None: none was."""
        self.upright_since_s: float | None = None
        self._lean_deg = 0.0
        self._heard_s = -math.inf
        self._first_motion_s: float | None = None
        self._walked = False
        """Whether they lay down on a walk."""

    def update(self, now: float, lean_deg: float, motion_s: float, last_step_s: float) -> None:
        """Takes the tilt from upright (0 to 180 degrees), and when the clip last moved and felt a step."""
        self._heard_s = now
        self._lean_deg = lean_deg
        if self._first_motion_s is None:
            self._first_motion_s = motion_s  # before the first movement this is the start of the program
        elif motion_s > self._first_motion_s:
            self.moved_s = motion_s
        if lean_deg >= UPRIGHT_DEG:
            self.upright_since_s = None
        elif self.upright_since_s is None:
            self.upright_since_s = now
        if self.since_s is None:
            if lean_deg > LYING_DEG:
                self.since_s = now
                self._walked = now - last_step_s <= ON_WALK_S
        elif lean_deg < NOT_LYING_DEG:
            self.since_s = None
        elif last_step_s > self.since_s:
            self.since_s = now  # nobody walks lying down: the clip sits askew

    @property
    def lean_deg(self) -> float:
        """Tilt from upright, as last heard."""
        return self._lean_deg

    def posture(self, now: float) -> str:
        """`lying`, `leaning`, `upright`, or `unknown`: the clip is silent."""
        if now - self._heard_s > HEARD_S:
            return "unknown"
        if self.since_s is not None:
            return "lying"
        return "upright" if self.upright_since_s is not None else "leaning"

    def lain_s(self, now: float) -> float | None:
        """How long the wearer has lain; None: does not lie, or that is not known."""
        since_s = self.since_s
        return None if since_s is None or now - self._heard_s > HEARD_S else max(0.0, now - since_s)

    def still_s(self, now: float) -> float | None:
        """How long no movement was noticed; None: none was at all."""
        return None if self.moved_s is None else max(0.0, now - self.moved_s)

    def upright_s(self, now: float) -> float:
        """How long the trunk has been upright."""
        return 0.0 if self.upright_since_s is None else now - self.upright_since_s

    def worrying(self, now: float) -> bool:
        """Whether somebody who was out on a walk has lain there for too long not to be asked."""
        since_s = self.since_s
        if since_s is None or not self._walked:
            return False
        return now >= since_s + ASK_LAIN_S or now >= max(since_s, self.moved_s or since_s) + ASK_STILL_S

    def restored(self, now: float, lain_s: float | None, still_s: float | None) -> None:
        """Goes on after a restart: lies since `lain_s`, did not move for `still_s`."""
        if lain_s is not None:
            self.since_s = now - lain_s
            self._walked = True
            self._lean_deg = 90.0
        if still_s is not None:
            self.moved_s = now - still_s
