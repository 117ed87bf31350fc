"""What the clip on the lower back tells of its wearer: posture, steps, speed, balance, falls.

`feed` takes each sample of the clip, and answers what the rest of the core must know at once.  An alarm tone (balance
going) is announced from here; calm words about how somebody walks are in `core/coaching.py`, what a fall leads to is in
`core/care.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from retrowalk.config import Config
from retrowalk.core import events as ev
from retrowalk.core.activity import ActivityWatch
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.coaching import Coaching
from retrowalk.core.direction import Direction, Way
from retrowalk.core.events import ms
from retrowalk.core.falls import FallDetector, Fallen, tilt_deg
from retrowalk.core.gait import Gait
from retrowalk.core.imbalance import Imbalance, Lost
from retrowalk.core.own_speed import OwnSpeed
from retrowalk.core.posture import Posture, Vector
from retrowalk.core.rhythm import Rhythm
from retrowalk.core.samples import ImuSample
from retrowalk.core.slip import Change as ClipChange
from retrowalk.core.slip import SlipWatch
from retrowalk.core.turning import Turning
from retrowalk.core.upright import Mean, Means, UprightKeeper, UprightLearner
from retrowalk.core.walked import Walked
from retrowalk.models import Models

MOVES_RAD_S = 0.15
"""A clip that turns faster is being moved (sum of the three rates)."""
STEP_MAX_S = 2.0
"""Steps further apart have a pause between them."""
LYING_DEG = 60.0
"""A clip that leans further is worn by nobody who walks."""
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
    clip: ClipChange | None = None
    """The clip has just slipped, or sits right again."""
    recovered: bool = False
    """Balance was going, and a step has caught it: upright for two seconds."""


class BodyWatch:
    """Follows the wearer's body.  Times are session seconds: measured ones for filters, `now` for what is said."""

    def __init__(self, config: Config, models: Models, arbiter: Arbiter, emit: Callable[[ev.Event], None]) -> None:
        self._knobs = config.balance
        self._arbiter = arbiter
        self._emit = emit
        self.posture = Posture()
        self.gait = Gait()
        self.rhythm = Rhythm()
        self.turning = Turning()
        self.activity = ActivityWatch()
        self.direction = Direction()
        self.forward_s = self.backward_s = 0.0
        """How long the wearer has walked so; the rest of the walking is not known."""
        self.near_falls = 0
        """How often balance was going and a step caught it."""
        self._stepped_s = -math.inf
        self.own_speed = OwnSpeed(config.walker.speed_factor)
        self.walked = Walked(config.walker)
        self.falls = FallDetector(config.fall, models.fall)
        self._imbalance = Imbalance(models.balance_lost)
        self._means = Means()
        self._upright_learner = UprightLearner(config.balance)
        self._upright_keeper = UprightKeeper()
        self.slip = SlipWatch()
        self.coaching = Coaching(
            config.balance,
            arbiter,
            emit,
            self.posture,
            self.gait,
            self.rhythm,
            self.turning,
            self.direction,
            self.own_speed,
        )
        self.motion_s = -math.inf
        """When the clip last moved."""

    def feed(self, item: ImuSample, now: float, *, protecting: bool, down: bool = False) -> News | None:
        """Takes a sample; None while it is not known where up is.  Words are for somebody who is protected.

        `down`: the walker is being asked after a fall or has called help, or nobody wears the clip: it cannot slip.
        """
        t, accel, gyro = item.t_measured_s, item.accel_m_s2, item.gyro_rad_s
        posture = self.posture
        posture.update(t, accel, gyro, item.gap)
        up = posture.up
        if up is None:
            return None
        if abs(gyro[0]) + abs(gyro[1]) + abs(gyro[2]) > MOVES_RAD_S:
            self.motion_s = now
        upright_known = posture.upright is None and self._learn_upright(item)
        bias = posture.bias
        yaw = (gyro[0] - bias[0]) * up[0] + (gyro[1] - bias[1]) * up[1] + (gyro[2] - bias[2]) * up[2]
        self.turning.update(t, yaw)
        vertical = accel[0] * up[0] + accel[1] * up[1] + accel[2] * up[2] - G_M_S2
        gait = self.gait
        peaked_s = gait.last_peak_s
        stepped = gait.update(t, vertical, gyro[0])
        mean = self._means.update(t, accel, gyro, gait.last_peak_s != peaked_s, item.gap)
        clip = None
        if mean is not None and not posture.repeats and not down:
            clip, found = self._judge_clip(mean, gait.walking(t))
            upright_known = upright_known or found
        self.direction.update(t, accel, gyro, up, gait)
        rate_rad_s = math.sqrt(gyro[0] * gyro[0] + gyro[1] * gyro[1] + gyro[2] * gyro[2])
        self.activity.update(t, vertical, rate_rad_s, tilt_deg=self.lean_deg(), walking=gait.walking(t))
        for step_s in gait.step_times_s:
            self.rhythm.step(step_s, turning=self.turning.turning)
        self.rhythm.update(t, gait.bounce_m_s2)
        self.own_speed.update(t, gait.bounce_m_s2, gait.walking(t))
        self.walked.bounced(gait.bounce_m_s2)
        if gait.step_times_s:
            self.walked.stepped(gait.step_times_s, self.own_speed.by_bounce_m_s(t))
        if stepped and self._upright_enough(up):
            self.falls.stepped()
        if stepped:
            self._count_way(t)
        fallen = self.falls.update(t, accel, gyro, self.slip.up or posture.upright)
        if fallen is not None:
            self._imbalance.fallen()
        recovered = not posture.slipped and self._balance(item, now)
        self.coaching.update(now, t, protecting=protecting and not down)
        return News(vertical, stepped, upright_known, fallen, clip, recovered)

    @property
    def lies(self) -> bool:
        """Whether the trunk lies, or nearly, by how the clip sits now."""
        up = self.posture.up
        return up is not None and not self._upright_enough(up)

    def _upright_enough(self, up: Vector) -> bool:
        """Whether what feels like a step may be one: not that of an engine, or of a hand that carries the clip."""
        upright = self.slip.up or self.posture.upright
        return upright is None or tilt_deg(up, upright) < LYING_DEG

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
        """Trunk pitch, forward positive; None while upright is not known, the clip hangs or has slipped.

        Before upright is known the pitch is that of a clip that may sit anyhow.
        """
        posture = self.posture
        known = posture.upright is not None and not posture.hangs and not posture.slipped
        return posture.trunk_pitch_deg if known else None

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
        self.rhythm.restart()
        self.turning.restart()
        self.activity.restart()

    # -- how the clip sits ----------------------------------------------------------------------------------

    def restore_upright(self, up: Vector) -> None:
        """Goes on with the upright of an earlier life."""
        self._set_upright(up)

    def worn_anew(self) -> None:
        """The clip was taken off and put on: how it sits must be found again."""
        self.posture.forget_upright()
        self.coaching.forget_lean()
        self._upright_learner = UprightLearner(self._knobs)
        self._upright_keeper = UprightKeeper()
        self.slip.begin()

    def _learn_upright(self, item: ImuSample) -> bool:
        upright = self._upright_learner.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s)
        if upright is None:
            return False
        self._set_upright(upright)
        return True

    def _set_upright(self, up: Vector) -> None:
        self.posture.set_upright(up)
        self.posture.slipped = False
        self._upright_keeper.shown(up)
        self.slip.begin()

    def _judge_clip(self, mean: Mean, walking: bool) -> tuple[ClipChange | None, bool]:
        """With every mean: does the clip sit as it did?  Also returns whether the walk has just taught upright."""
        posture, keeper, slip = self.posture, self._upright_keeper, self.slip
        upright = posture.upright
        if upright is None:
            up = keeper.learn(mean)
            if up is not None:
                posture.set_upright(up)
                slip.begin()
            return None, up is not None
        if not slip.slipped:
            moved = keeper.follow(mean, upright)
            if moved is not None:
                posture.set_upright(moved)
        change = slip.update(mean, upright, walking=walking)
        if change is ClipChange.LEARNED and slip.learned is not None:
            self._set_upright(slip.learned)
        posture.slipped = slip.slipped
        return change, False

    # -- balance --------------------------------------------------------------------------------------------

    def _balance(self, item: ImuSample, now: float) -> bool:
        """Tells of balance that is going; returns whether it has just turned out to be a stumble."""
        found = self._imbalance.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s, self.posture, self.gait)
        if isinstance(found, Lost):
            toward, pitch, rate = found.direction.value, found.trunk_pitch_deg, found.pitch_rate_deg_s
            because = f"{toward}, {pitch:.0f} degrees, {rate:.0f} degrees/s"
            number = self._arbiter.announce(now, "balance_lost", because=because, insist=False)
            self._emit(
                ev.BalanceLost(
                    t_s=ms(now),
                    alert=number,
                    direction=toward,
                    trunk_pitch_deg=round(pitch, 1),
                    pitch_rate_deg_s=round(rate, 1),
                )
            )
        elif found is not None:
            self.near_falls += 1
            return True
        return False
