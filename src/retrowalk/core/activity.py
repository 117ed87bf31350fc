"""What the wearer does: walks, stands, sits, lies; or it is not known.

Walking is steps.  Lying is a trunk far from upright.  A trunk that is upright and does not walk stands or sits, which
its posture does not tell: that shows only in the way there.  Between two moments of stillness the height of the back is
integrated from its vertical acceleration; speed is zero at both ends, which takes the drift out.  Who has come down by
a chair's height sits, who has come up stands, and who takes steps does not sit.  Where the way was not seen, as after
lying, or at the start, it is not known.

On recorded people (SisFall, 20 of them, one trial of each activity; sensor at the belt buckle): of 80 who sat down 52
were seen to, and 78 to stand again afterwards; of 40 walks and stairs none was sitting; of 20 who bent down to their
toes 6 lay, as those who stay down for more than 3 s do.  Who collapses back into a chair while getting up is missed.
"""

from __future__ import annotations

import math
from enum import StrEnum

STILL_RAD_S = 0.25
STILL_M_S2 = 0.35
"""Smoothed rate and change of vertical acceleration below these are stillness, ..."""
STILL_S = 0.35
"""... once they have been so for so long."""
SMOOTH_S = 0.10
LEVEL_S = 0.5
"""Time constants of what is smoothed, and of the level it is compared with: a chip's gravity is wrong by up to 2 %."""
MOST_S = 5.0
"""A movement that lasts longer is no way into or out of a chair, and would not be integrated well."""
DOWN_M = 0.12
UP_M = 0.15
"""So much lower or higher is a chair.  It takes the waist 0.2 to 0.5 m down and up again; half of the error is that
the trunk leans forward meanwhile, which a chip's error of gravity turns into a rise."""
LIES_DEG = 60.0
UPRIGHT_DEG = 45.0
"""Tilt of the trunk beyond which the wearer lies, and below which they do not."""
LIES_AFTER_S = 3.0
"""Who bends down is up again sooner."""
GAP_S = 0.1


class Activity(StrEnum):
    """What the wearer does."""

    WALKING = "walking"
    STANDING = "standing"
    SITTING = "sitting"
    LYING = "lying"
    UNKNOWN = "unknown"


class ActivityWatch:
    """Fed with each sample of the clip.  Times are measured times in session seconds."""

    def __init__(self) -> None:
        self.activity = Activity.UNKNOWN
        self.changed_s = -math.inf
        """Since when that is so."""
        self.restart()

    def restart(self) -> None:
        """Begins anew, as after a gap: what was done meanwhile is not known."""
        self._last_s: float | None = None
        self._rate = self._acceleration = self._level = self._offset = 0.0
        self._upright = Activity.UNKNOWN
        """What an upright trunk that does not walk does."""
        self._tilted_s: float | None = None
        self._still_s: float | None = None
        """Since when it has been still; None: it moves."""
        self._moved_s: float | None = None
        """Since when it moves."""
        self._speed = self._height = 0.0
        self._came = (0.0, 0.0)
        """Speed and height at which stillness began."""
        self.risen_m = 0.0
        """How far the back rose in the latest movement between two moments of stillness."""

    def update(
        self, t_s: float, vertical_m_s2: float, rate_rad_s: float, *, tilt_deg: float, walking: bool
    ) -> Activity:
        """Feeds a sample: acceleration along the vertical without gravity, how fast the trunk turns (about any axis).

        `tilt_deg` (0 to 180) is that of the trunk from the wearer's own upright.
        """
        dt = 0.0 if self._last_s is None else t_s - self._last_s
        if dt < 0.0 or dt > GAP_S:
            self.restart()
            dt = 0.0
        self._last_s = t_s
        share = min(1.0, dt / SMOOTH_S)
        self._rate += share * (rate_rad_s - self._rate)
        self._acceleration += share * (vertical_m_s2 - self._acceleration)
        self._level += min(1.0, dt / LEVEL_S) * (vertical_m_s2 - self._level)
        self._move(t_s, dt, vertical_m_s2)
        if walking:
            self._upright = Activity.STANDING
        if tilt_deg > LIES_DEG:
            if self._tilted_s is None:
                self._tilted_s = t_s
        elif tilt_deg < UPRIGHT_DEG:
            self._tilted_s = None
        if self._tilted_s is not None and t_s - self._tilted_s >= LIES_AFTER_S:
            # How somebody gets up from lying tells little: on the edge of the bed, or to their feet.
            self._upright = Activity.UNKNOWN
            now = Activity.LYING
        else:
            now = Activity.WALKING if walking else self._upright
        if now is not self.activity:
            self.activity, self.changed_s = now, t_s
        return now

    def _move(self, t_s: float, dt: float, vertical_m_s2: float) -> None:
        """Follows the height of the back from one stillness to the next."""
        still = self._rate < STILL_RAD_S and abs(self._acceleration - self._level) < STILL_M_S2
        if not still:
            self._still_s = None
        elif self._still_s is None:
            self._still_s = t_s
            self._came = (self._speed, self._height)
        settled = self._still_s is not None and t_s - self._still_s >= STILL_S
        if settled:
            if self._moved_s is not None and self._still_s is not None:
                self._arrive(self._still_s - self._moved_s)
            self._moved_s = None
            self._speed = self._height = 0.0
            self._offset = self._level
            return
        if self._moved_s is None:
            self._moved_s = t_s
        self._speed += (vertical_m_s2 - self._offset) * dt
        self._height += self._speed * dt

    def _arrive(self, lasted_s: float) -> None:
        if lasted_s > MOST_S:
            return
        # Gravity as the chip gives it differs with how the trunk leans: it is taken to have changed evenly from one
        # stillness to the other.  The speed that is left over then is drift, which grew evenly, too.
        changed = self._level - self._offset
        speed, height = self._came
        left_over = speed - 0.5 * changed * lasted_s
        self.risen_m = height - changed * lasted_s**2 / 6.0 - 0.5 * left_over * lasted_s
        if self.risen_m < -DOWN_M:
            self._upright = Activity.SITTING
        elif self.risen_m > UP_M:
            self._upright = Activity.STANDING
