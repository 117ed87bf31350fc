"""What the clip on the lower back tells of its wearer: posture, steps, speed, balance, falls.

`feed` takes each sample of the clip, and answers what the rest of the core must know at once.  What is only worth a
word (leaning, unsteady) or an alarm tone (balance going) is announced from here; what a fall leads to is in
`core/care.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from retrowalk.config import Config
from retrowalk.core import events as ev
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.balance import BalanceWatch, Change, UprightLearner
from retrowalk.core.direction import Direction, Way
from retrowalk.core.events import Level, ms, rounded
from retrowalk.core.falls import FallDetector, Fallen, tilt_deg
from retrowalk.core.gait import Gait
from retrowalk.core.own_speed import OwnSpeed
from retrowalk.core.posture import Posture
from retrowalk.core.samples import ImuSample
from retrowalk.core.walked import Walked
from retrowalk.models import Models

MOVES_RAD_S = 0.15
"""A clip that turns faster is being moved (sum of the three rates)."""
STEP_MAX_S = 2.0
"""Steps further apart have a pause between them."""
G_M_S2 = 9.80665


@dataclass(frozen=True, slots=True)
class News:
    """What a sample has changed that others must know of."""

    vertical_m_s2: float
    """Acceleration along the vertical, without gravity."""
    stepped: bool = False
    upright_known: bool = False
    """The wearer's own upright has just been learned."""
    fallen: Fallen | None = None


class BodyWatch:
    """Follows the wearer's body.  Times are session seconds: measured ones for filters, `now` for what is said."""

    def __init__(self, config: Config, models: Models, arbiter: Arbiter, emit: Callable[[ev.Event], None]) -> None:
        self._knobs = config.balance
        self._arbiter = arbiter
        self._emit = emit
        self.posture = Posture()
        self.gait = Gait()
        self.direction = Direction()
        self.forward_s = self.backward_s = 0.0
        """How long the wearer has walked so; the rest of the walking is not known."""
        self.near_falls = 0
        self._stepped_s = -math.inf
        self.own_speed = OwnSpeed(config.walker.speed_factor)
        self.walked = Walked(config.walker)
        self._fall_detector = FallDetector(config.fall)
        self._balance_watch = BalanceWatch(config.balance)
        self._upright_learner = UprightLearner(config.balance)
        self._lean_said_s = -math.inf
        self.motion_s = -math.inf
        """When the clip last moved."""

    def feed(self, item: ImuSample, now: float, *, protecting: bool) -> News | None:
        """Takes a sample; None while it is not known where up is.  Words are for somebody who is protected."""
        t, accel, gyro = item.t_measured_s, item.accel_m_s2, item.gyro_rad_s
        posture = self.posture
        posture.update(t, accel, gyro, item.gap)
        up = posture.up
        if up is None:
            return None
        if abs(gyro[0]) + abs(gyro[1]) + abs(gyro[2]) > MOVES_RAD_S:
            self.motion_s = now
        upright_known = posture.upright is None and self._learn_upright(item)
        vertical = accel[0] * up[0] + accel[1] * up[1] + accel[2] * up[2] - G_M_S2
        gait = self.gait
        stepped = gait.update(t, vertical, gyro[0])
        self.direction.update(t, accel, gyro, up, gait)
        self.own_speed.update(t, gait.bounce_m_s2, gait.walking(t))
        self.walked.bounced(gait.bounce_m_s2)
        if gait.step_times_s:
            self.walked.stepped(gait.step_times_s, self.own_speed.by_bounce_m_s(t))
        if stepped:
            self._fall_detector.stepped()
            self._count_way(t)
        fallen = self._fall_detector.update(t, accel, gyro, posture.upright)
        if posture.upright is not None and posture.settled:
            self._balance(now, t, protecting)
        return News(vertical, stepped, upright_known, fallen)

    def _count_way(self, t: float) -> None:
        """A step was taken: the time since the one before went the way the strides tell."""
        took_s, self._stepped_s = t - self._stepped_s, t
        if took_s > STEP_MAX_S:
            return
        way = self.direction.state(t)
        if way is Way.FORWARD:
            self.forward_s += took_s
        elif way is Way.BACKWARD:
            self.backward_s += took_s

    @property
    def pitch_deg(self) -> float | None:
        """Trunk pitch, forward positive; None while upright is not known, or the clip hangs.

        Before upright is known the pitch is that of a clip that may sit anyhow.
        """
        posture = self.posture
        return posture.trunk_pitch_deg if posture.upright is not None and not posture.hangs else None

    @property
    def pitch_rate_deg_s(self) -> float:
        """How fast the trunk pitches forward; 0 while the clip hangs."""
        return 0.0 if self.posture.hangs else self.posture.pitch_rate_deg_s

    def lean_deg(self) -> float:
        """How far the trunk is from upright, in any direction (0 to 180); 90 while it is not known."""
        up = self.posture.up
        return 90.0 if up is None else tilt_deg(up, self.posture.upright or (0.0, 0.0, 1.0))

    def lost(self) -> None:
        """The clip is silent: what it was doing is not known any more."""
        self.posture.restart()

    def _learn_upright(self, item: ImuSample) -> bool:
        upright = self._upright_learner.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s)
        if upright is None:
            return False
        self.posture.set_upright(upright)
        return True

    # -- balance --------------------------------------------------------------------------------------------

    def _balance(self, now: float, t: float, protecting: bool) -> None:
        pitch, rate = self.posture.trunk_pitch_deg, self.posture.pitch_rate_deg_s
        if pitch is None:
            return
        for change in self._balance_watch.update(t, pitch, rate):
            if change is Change.LOST:
                because = f"{pitch:.0f} degrees, {rate:.0f} degrees/s"
                number = self._arbiter.announce(now, "balance_lost", because=because, insist=False)
                self._emit(
                    ev.BalanceLost(
                        t_s=ms(now), alert=number, trunk_pitch_deg=round(pitch, 1), pitch_rate_deg_s=round(rate, 1)
                    )
                )
            elif change is Change.LEANING:
                self._raise_lean(now, self._balance_watch.lean_deg, protecting)
            else:
                self._emit(ev.HazardCleared(t_s=ms(now), hazard="lean_back", level="none"))

    def _raise_lean(self, now: float, mean_deg: float, protecting: bool) -> None:
        number: int | None = None
        if now - self._lean_said_s >= self._knobs.message_gap_s and protecting:
            self._lean_said_s = now
            number = self._arbiter.announce(now, "lean_back", because=f"leaning {mean_deg:.0f} degrees back")
        self._emit(
            ev.HazardRaised(
                t_s=ms(now),
                alert=number,
                hazard="lean_back",
                level=Level.CAUTION.name.lower(),
                trunk_pitch_deg=rounded(self.posture.trunk_pitch_deg, 1),
            )
        )
