"""Turning round, and looking back: from the trunk's rate about the vertical.

A turn as El-Gohary and others (2014, Sensors 14:356) find it at the lower back: the rate, low-passed, exceeds 15
degrees/s, until it is below 5; at least 45 degrees within 0.5 to 10 s.  The low-pass is a mean over one usual stride:
it cuts off near their 0.5 Hz and is blind to the swing of the hips, which in some people exceeds 100 degrees/s.

Who looks back turns the trunk by less, and goes on walking the old way: `yaw_held_deg` says how far it is turned from
the heading of the last ten seconds.  A finished turn is a new heading, and nobody looks back while they turn.

Signs: left (counter-clockwise, seen from above) positive.
"""

from __future__ import annotations

import math
from collections import deque

from retrowalk.core.pace import Pace

MEAN_S = 1.1
"""The rate is averaged over so long: two steps at 110 a minute."""
DELAY_S = 0.5 * MEAN_S
"""What that delays: times of turns are dated back by it."""
BEGINS_RAD_S = math.radians(15.0)
ENDS_RAD_S = math.radians(5.0)
LEAST_DEG = 45.0
LASTS_S = (0.5, 10.0)
HEADING_TAU_S = 10.0
"""The heading is what the trunk kept to on average, in so much time."""
BIAS_TAU_S = 30.0
"""Gravity does not show a gyroscope's bias about the vertical.  What stays for longer than this outside turns is taken
for it (a degree per second would look like ten degrees of yaw held), or for a bend of the path, which is no look."""
BIAS_MAX_RAD_S = math.radians(3.0)
GAP_S = 0.1
"""Longer than this between samples: how far the trunk has turned meanwhile is not known."""


class Turning:
    """Follows the trunk about the vertical.  Times are measured times in session seconds."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._bias = 0.0
        self.turned_deg = 0.0
        """The latest finished turn (45 degrees or more either way); 0: none yet."""
        self.turn_began_s = -math.inf
        self.turn_ended_s = -math.inf
        """When that was."""
        self.restart()

    def restart(self) -> None:
        """Begins anew, as after a gap: keeps the bias and the latest turn."""
        self._last_s: float | None = None
        self._rates: deque[float] = deque()
        self._sum = 0.0
        self._rate = 0.0
        self._held = 0.0
        self._angle = 0.0
        """Since the rate was last below `ENDS_RAD_S`."""
        self._began_s = 0.0
        self.turning = False
        """Whether the trunk turns now, as far as can be known; whether it becomes a turn shows at its end."""

    def update(self, t_s: float, yaw_rate_rad_s: float) -> None:
        """Feeds the rate about the estimated vertical."""
        if self._pace.update(t_s):
            self._rates.clear()
            self._sum = 0.0
        last_s = self._last_s
        dt = self._pace.period_s if last_s is None else t_s - last_s
        if not 0.0 < dt <= GAP_S:
            self.restart()
            dt = self._pace.period_s
        self._last_s = t_s
        rates = self._rates
        rates.append(yaw_rate_rad_s)
        self._sum += yaw_rate_rad_s
        most = MEAN_S / self._pace.period_s
        if len(rates) > most:
            self._sum -= rates.popleft()
        # Too few samples yet: the rest were standing still.
        rate = self._sum / most - self._bias
        turned = rate * dt
        before, self._rate = self._rate, rate
        self._held += turned - self._held * dt / HEADING_TAU_S
        size = abs(rate)
        if size < ENDS_RAD_S or rate * before < 0.0:
            if self.turning:
                self._end(t_s - DELAY_S)
            self._angle = 0.0
            self._began_s = t_s - DELAY_S
            limit = BIAS_MAX_RAD_S
            self._bias = max(-limit, min(limit, self._bias + rate * dt / BIAS_TAU_S))
            return
        self._angle += turned
        if size > BEGINS_RAD_S:
            self.turning = True

    def _end(self, t_s: float) -> None:
        self.turning = False
        degrees = math.degrees(self._angle)
        if abs(degrees) >= LEAST_DEG and LASTS_S[0] <= t_s - self._began_s <= LASTS_S[1]:
            self.turned_deg = degrees
            self.turn_began_s, self.turn_ended_s = self._began_s, t_s
            # A new heading; what the trunk was turned from the old one is no look.
            self._held = 0.0

    @property
    def yaw_held_deg(self) -> float:
        """How far the trunk is turned from the walking heading, left positive; 0 while it turns.

        It fades within ten seconds: 25 degrees that are held read 20 after two.
        """
        return 0.0 if self.turning else math.degrees(self._held)
