"""The simulated walker: walks, sways, leans, hears, stops, falls, gets up; and what a clip on the lower back feels.

Kinematic, not dynamic: enough for every sensor to see one consistent person.  Directions: along the path, backward is
positive; body axes are forward, left, up; leaning forward turns about +left and is positive pitch.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass
from typing import NamedTuple

from retrowalk.sim.estimates import BodyParameters
from retrowalk.sim.noise import stream

G_M_S2 = 9.80665
TWO_PI = 2.0 * math.pi
DEG = math.pi / 180.0

LATE_2, LATE_3, LATE_7 = (cmath.rect(1.0, phase) for phase in (0.6, -0.4, 1.0))
LATE_PITCH, LATE_FORWARD = (cmath.rect(1.0, phase) for phase in (0.9, 2.0))
"""By how much harmonics and the trunk's pitch are ahead of the step [A]."""

REACH_M = 0.30
"""Half a backward step (human-factors reference 2.2)."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How a person stands, walks and stops."""

    stop_median_s: float = 1.05
    """Cue to standstill, as stopping distance over speed: median (human-factors reference 2.2: older walkers) ..."""
    stop_sigma: float = 0.35
    """... and sigma of its logarithm."""
    reaction_share: float = 0.7
    """Share of that time walked on at full speed; the braking takes twice the rest, so that distances agree."""
    acceleration_s: float = 0.4
    """Time constant with which a commanded speed is reached."""
    ripple: float = 0.20
    """Speed ripple at step rate, as a share of the speed."""
    sway_deg: float = 3.0
    """Amplitude of trunk pitch at step rate from 0.6 m/s on (6.7 degrees peak to peak, human-factors 3.1)."""
    step_time_cv: float = 0.04
    """Variation of step times (4 to 7 %, human-factors 3.1)."""
    stops_for: frozenset[str] = frozenset({"warning", "touching", "stop", "guard_silent"})
    """Clips of the ear that make this walker stop."""
    stops_for_touch: bool = True
    """Whether the vibration of a warning makes this walker stop, too."""
    slows_for: frozenset[str] = frozenset({"slow_down"})
    """Clips that make this walker go on more slowly ..."""
    slows_to: float = 0.8
    """... at this share of the speed [A]."""
    answers: frozenset[str] = frozenset({"self_test"})
    """Clips that this walker answers with a press of the button ..."""
    answers_after_s: float = 0.8
    """... so long after they were understood [A]."""
    reach_m: float = REACH_M
    """The foot reaches so far behind the sensor: nearer than this while moving back is a contact."""

    @property
    def reaction_s(self) -> float:
        """From a cue until this walker usually begins to do something about it."""
        return self.reaction_share * self.stop_median_s


OLDER = Profile()
YOUNGER = Profile(stop_median_s=0.75, stop_sigma=0.30)


class Moment(NamedTuple):
    """The walker at one instant; the first six are what the clip measures."""

    f_forward: float
    """Specific force, m/s2."""
    f_left: float
    f_up: float
    w_forward: float
    """Angular rate, rad/s."""
    w_left: float
    w_up: float
    position_m: float
    """Of the range sensor, along the path."""
    speed_m_s: float
    """Backward positive, with its ripple."""
    pitch_deg: float
    """Of the trunk, forward positive, as a clip that sits as the wearer wears it would see it."""
    rise_m: float
    """How much higher than standing the back is: it bobs with every step."""


class Walker:
    """Moves in steps of `dt`.  Draws from streams of its own.

    Phase counts steps: whole numbers are the middle of double support, where the body is lowest and fastest.
    """

    def __init__(
        self,
        seed: int,
        profile: Profile = OLDER,
        *,
        upright_deg: float | None = None,
        body: BodyParameters | None = None,
    ) -> None:
        self.profile = profile
        self._measured = measured = body or BodyParameters()
        gait = stream(seed, "walker.gait")
        drawn = stream(seed, "walker.body")
        self._gait = gait
        self._reaction = stream(seed, "walker.reaction")
        self._falls = stream(seed, "walker.falls")
        self.upright_deg = drawn.uniform(-6.0, 10.0) if upright_deg is None else upright_deg
        """Pitch of the clip when the wearer stands upright: how it sits on this back."""
        self._sway = [
            (hz, drawn.uniform(0.4, 1.0) * 0.35 * measured.idle_sway, drawn.uniform(0.0, TWO_PI))
            for hz in (0.07, 0.13, 0.29, 0.47)
        ]
        self.bounciness = min(1.3, max(0.85, stream(seed, "walker.bounce").lognormvariate(0.0, 0.12)))
        """How much this walker bounces at a speed, over how much people do [A]: no two are alike."""
        self._lopsided = stream(seed, "walker.sides").gauss(0.0, 0.05)
        """How much more one leg pushes than the other."""
        self.position_m = 0.0
        self.speed_m_s = 0.0
        """Backward positive, without ripple."""
        self.steps = 0
        """Steps taken."""
        self.step_times_s: list[float] = []
        """When they were taken (mid double support)."""
        self.lying = False
        self.fell_s: float | None = None
        """When balance was lost, the latest time."""
        self.impact_s: float | None = None
        """When the body hit the ground, the latest time."""
        self.stops: list[tuple[float, float]] = []
        """(cue, drawn cue-to-standstill time) of every stop for a warning."""
        self._target_m_s = 0.0
        self._brake_s: float | None = None
        self._brake_for_s = 0.0
        self._brake_from: tuple[float, float] | None = None
        self._phase = 0.5
        self._tempo = 1.0
        self._strength = 1.0
        self._struck_s = -math.inf
        self._strike = 1.0
        self._lean_deg = 0.0
        self._lean: list[tuple[float, float, float, float]] = []
        self._look_deg = 0.0
        self._look: list[tuple[float, float, float, float]] = []
        self._step_time_cv = profile.step_time_cv
        self._lift = 1.0
        self._quick = 1.0
        self._fall: _Fall | None = None
        self._rise: tuple[float, float] | None = None
        self._before: tuple[float, float, float, float] | None = None

    # ---------------------------------------------------------------------------------------- what it does

    def walk(self, speed_m_s: float) -> None:
        """Walks backward (positive) or forward (negative) from now on."""
        if not self._fall:
            self._target_m_s = speed_m_s
            self._brake_s = self._brake_from = None

    def lean(self, t_s: float, degrees: float, over_s: float = 0.8, hold_s: float = math.inf) -> None:
        """Leans by `degrees` (backward negative) within `over_s`; upright again after `hold_s` more."""
        self._lean = _there_and_back(t_s, self._lean_deg, degrees, over_s, hold_s)

    def look(self, t_s: float, degrees: float, over_s: float = 0.6, hold_s: float = math.inf) -> None:
        """Turns the trunk aside by `degrees` (left positive), walking on as before; back after `hold_s` more."""
        self._look = _there_and_back(t_s, self._look_deg, degrees, over_s, hold_s)

    def step_unevenly(self, step_time_cv: float) -> None:
        """Step times vary by this share from now on, and so does how much each lifts the body."""
        self._step_time_cv = step_time_cv

    def shuffle(self, lift: float, quick: float) -> None:
        """The feet are lifted by this share of what is usual from now on, in steps so many times as quick."""
        self._lift, self._quick = lift, quick

    def fall(self, t_s: float) -> None:
        """Loses balance backward now."""
        if not self._fall:
            self._fall = _Fall(t_s, self.upright_deg + self._lean_deg, self._falls.uniform(120.0, 140.0))
            self._fall.peak_g = self._falls.uniform(4.0, 7.0)
            self.fell_s = t_s
            self.impact_s = t_s + self._fall.impact_after_s
            self._lean, self._target_m_s = [], 0.0
            self._brake_s = self._brake_from = None

    def get_up(self, t_s: float, over_s: float = 6.0) -> None:
        """Gets up within `over_s` and stands."""
        if self._fall and self._rise is None:
            self._rise = (max(t_s, self._fall.t_s + self._fall.impact_after_s + 1.0), max(over_s, 1.0))

    def warned(self, t_s: float) -> None:
        """Has understood a warning at `t_s`: walking backward, stops after the time it takes this person."""
        if self.speed_m_s < 0.05 or self._brake_s is not None or self._fall:
            return
        profile = self.profile
        takes_s = self._reaction.lognormvariate(math.log(profile.stop_median_s), profile.stop_sigma)
        self._brake_s = t_s + profile.reaction_share * takes_s
        self._brake_for_s = 2.0 * (1.0 - profile.reaction_share) * takes_s
        self._brake_from = None
        self.stops.append((t_s, takes_s))

    def slowed(self) -> None:
        """Has been told to slow down, and does, if walking backward."""
        if self._target_m_s > 0.0 and self._brake_s is None and not self._fall:
            self._target_m_s *= self.profile.slows_to

    def bump(self, t_s: float) -> None:
        """Has touched something: stops as fast as a body can."""
        if self._brake_from is None:
            self._brake_s, self._brake_for_s = t_s, 0.15

    @property
    def standing(self) -> bool:
        """Upright and not stepping."""
        return not self._fall and abs(self.speed_m_s) < 0.02

    # ---------------------------------------------------------------------------------------- how it moves

    def moment(self, t: float, dt: float) -> Moment:
        """Moves on by `dt` to `t`."""
        measured = self._measured
        self._change_speed(t, dt)
        size = abs(self.speed_m_s)
        share = min(1.0, size / 0.3)  # slow shuffling rocks less
        ringing = self._step(t, dt, size) if size > 0.02 else 0.0

        # What swings does so with the stride (z) and its multiples: those of two are of the step.
        z = cmath.rect(1.0, math.pi * self._phase)
        z2 = z * z
        z3, z4 = z2 * z, z2 * z2
        z5, z6, z7 = z4 * z, z4 * z2, z4 * z3
        wave = z2.real
        velocity = self.speed_m_s * (1.0 + self.profile.ripple * wave)
        self.position_m += velocity * dt

        # Recorded people (lower back; backward walking by motion capture) have 0.5 m/s2 RMS in the band of the steps
        # at 0.45 m/s, 0.7 at 0.6, 1.2 at 1.0, 1.5 at 1.2.  The harmonics are as strong as theirs (the test of the
        # walker's signal has the table): the third of the step; of the stride, to the side, the odd ones.
        bounce = 0.0
        if size > 0.02:
            bounce = 1.27 * share * (0.2 + size * (0.5 + 0.55 * size)) * self.bounciness * self._strength * self._lift
            bounce *= measured.bounce * (1.0 + self._lopsided * z.real)
        a_up = bounce * (wave + 0.25 * (z4 * LATE_2).real + 0.5 * (z6 * LATE_3).real) + ringing
        rise_m = -bounce * wave / (TWO_PI * self._steps_a_second(size)) ** 2
        shake = share * (0.7 + 0.3 * min(1.0, size)) if size > 0.02 else 0.0
        jolt = 0.7 * z5.real + 0.6 * (z7 * LATE_7).real
        a_left = shake * (0.25 * z.imag - 0.4 * z3.imag + jolt) + (ringing if z.real > 0.0 else -ringing)
        roll = measured.roll * shake * DEG * (2.2 * z.imag - 0.9 * z3.imag)
        self._look_deg = _eased(t, self._look, self._look_deg)
        yaw = measured.yaw * shake * DEG * (3.0 * z.real + 0.5 * z3.real) + self._look_deg * DEG
        amplitude = measured.sway * self.profile.sway_deg * min(1.0, size / 0.6)
        self._lean_deg = self._leaning(t)
        pitch_deg = self.upright_deg + self._lean_deg + amplitude * (z2 * LATE_PITCH).imag
        for hz, degrees, start in self._sway:
            pitch_deg += degrees * math.sin(TWO_PI * hz * t + start)

        if self._fall:
            pitch_deg, a_up = self._falling(t, pitch_deg)
        pitch = pitch_deg * DEG
        before = self._before
        self._before = (velocity, pitch, roll, yaw)
        if before is None:
            before = self._before
        # Rates are differences of the angles, so that integrating them gives the angles back.
        a_forward = -(velocity - before[0]) / dt - 0.4 * math.copysign(ringing, self.speed_m_s)
        a_forward += 0.6 * shake * (z4.real + (z6 * LATE_FORWARD).real)
        d_pitch, d_roll, d_yaw = (pitch - before[1]) / dt, (roll - before[2]) / dt, (yaw - before[3]) / dt
        sp, cp, sr, cr = math.sin(pitch), math.cos(pitch), math.sin(roll), math.cos(roll)
        f_up = a_up + G_M_S2
        along_up = sp * a_forward + cp * f_up
        return Moment(
            cp * a_forward - sp * f_up,
            cr * a_left + sr * along_up,
            -sr * a_left + cr * along_up,
            d_roll - d_yaw * sp,
            d_pitch * cr + d_yaw * cp * sr,
            -d_pitch * sr + d_yaw * cp * cr,
            self.position_m,
            velocity,
            pitch_deg,
            rise_m,
        )

    def _change_speed(self, t: float, dt: float) -> None:
        if self._brake_s is not None and t >= self._brake_s:
            if self._brake_from is None:
                self._brake_from = (t, self.speed_m_s)
            start_s, from_m_s = self._brake_from
            left = 1.0 - (t - start_s) / self._brake_for_s
            if left > 0.0:
                self.speed_m_s = from_m_s * left
                return
            self._target_m_s = self.speed_m_s = 0.0
            self._brake_s = self._brake_from = None
        speed = self.speed_m_s + (self._target_m_s - self.speed_m_s) * min(1.0, dt / self.profile.acceleration_s)
        self.speed_m_s = 0.0 if self._target_m_s == 0.0 and abs(speed) < 0.0005 else speed

    def _steps_a_second(self, size: float) -> float:
        return (1.25 + 0.75 * min(size, 1.5)) * self._tempo * self._quick * self._measured.step_rate

    def _step(self, t: float, dt: float, size: float) -> float:
        """Moves the phase; returns the ringing of the last foot contact."""
        before = self._phase
        self._phase = phase = before + self._steps_a_second(size) * dt
        if math.floor(phase) != math.floor(before):
            self.steps += 1
            self.step_times_s.append(t)
        if math.floor(phase + 0.12) != math.floor(before + 0.12):  # contact comes before the middle of double support
            self._struck_s = t
            cv = self._step_time_cv
            self._strike = 5.0 * min(size, 1.2) * self._gait.uniform(0.8, 1.2) * self._lift
            self._tempo = min(2.0, max(min(0.8, 1.0 - 2.0 * cv), self._gait.gauss(1.0, cv)))
            self._strength += 0.5 * (max(0.7, self._gait.gauss(1.0, max(0.1, cv))) - self._strength)
        since = t - self._struck_s
        return self._strike * math.exp(-since / 0.035) * math.sin(TWO_PI * 18.0 * since) if since < 0.25 else 0.0

    def _leaning(self, t: float) -> float:
        return _eased(t, self._lean, self._lean_deg) if not self._fall else 0.0

    def _falling(self, t: float, upright_deg: float) -> tuple[float, float]:
        fall = self._fall
        assert fall is not None  # asked only while there is one
        age = t - fall.t_s
        pitch_deg, a_up = fall.at(age, upright_deg)
        self.lying = age > fall.impact_after_s
        if self._rise is not None and t >= self._rise[0]:
            share = min(1.0, (t - self._rise[0]) / self._rise[1])
            smooth = share * share * (3.0 - 2.0 * share)
            pitch_deg += (upright_deg - pitch_deg) * smooth
            pitch_deg += 4.0 * math.sin(TWO_PI * 0.8 * (t - self._rise[0])) * math.sin(math.pi * share)
            self.lying = share < 0.5
            if share >= 1.0:
                self._fall = self._rise = None
                self._lean_deg, self._lean = 0.0, []
                self.lying = False
        return pitch_deg, a_up


def _there_and_back(
    t_s: float, from_deg: float, to_deg: float, over_s: float, hold_s: float
) -> list[tuple[float, float, float, float]]:
    """A movement from one angle to another, and to 0 after `hold_s` if that ends: (start, time it takes, from, to)."""
    over_s = max(over_s, 0.05)
    moves = [(t_s, over_s, from_deg, to_deg)]
    if math.isfinite(hold_s):
        moves.append((t_s + over_s + hold_s, over_s, to_deg, 0.0))
    return moves


def _eased(t: float, moves: list[tuple[float, float, float, float]], now_deg: float) -> float:
    """The angle at `t`: eased from one to the next; `now_deg` before the first."""
    angle = now_deg if not moves else 0.0
    for start_s, over_s, from_deg, to_deg in moves:
        if t >= start_s:
            share = min(1.0, (t - start_s) / over_s)
            angle = from_deg + (to_deg - from_deg) * (0.5 - 0.5 * math.cos(math.pi * share))
        elif start_s == moves[0][0]:
            angle = from_deg
    return angle


TIP_S = 0.5
"""Losing balance: the trunk tips ever faster for so long."""
LYING_DEG = -88.0
IMPACT_S = 0.060


class _Fall:
    """A backward fall: tipping, dropping at full rate, an impact of 60 ms, a bounce, lying still and breathing."""

    __slots__ = ("_drop_s", "_from_deg", "_rate", "impact_after_s", "peak_g", "t_s")

    def __init__(self, t_s: float, from_deg: float, rate_deg_s: float) -> None:
        self.t_s = t_s
        self.peak_g = 5.0
        self._from_deg = from_deg
        self._rate = rate_deg_s
        tipped, stopping = rate_deg_s * TIP_S / 2.0, rate_deg_s * IMPACT_S / 2.0
        self._drop_s = max(0.1, (from_deg - LYING_DEG - tipped - stopping) / rate_deg_s)
        self.impact_after_s = TIP_S + self._drop_s

    def at(self, age: float, upright_deg: float) -> tuple[float, float]:
        """Trunk pitch (degrees) and upward acceleration (m/s2) so long after balance was lost."""
        rate = self._rate
        # What the trunk did before (sway) fades out within the tipping.
        start_deg = self._from_deg + (upright_deg - self._from_deg) * max(0.0, 1.0 - age / TIP_S)
        if age <= TIP_S:
            turned = age / 2.0 - TIP_S / TWO_PI * math.sin(math.pi * age / TIP_S)
            return start_deg - rate * turned, -0.25 * G_M_S2 * (age / TIP_S) ** 2
        tipped = start_deg - rate * TIP_S / 2.0
        if age <= self.impact_after_s:
            dropping = age - TIP_S
            return tipped - rate * dropping, -G_M_S2 * (0.25 + 0.5 * min(1.0, dropping / 0.15))
        since = age - self.impact_after_s
        turned = since - since * since / (2.0 * IMPACT_S) if since < IMPACT_S else IMPACT_S / 2.0
        pitch_deg = tipped - rate * (self._drop_s + turned)
        if since < IMPACT_S:
            return pitch_deg, (self.peak_g - 1.0) * G_M_S2 * math.sin(math.pi * since / IMPACT_S)
        breath = math.sin(TWO_PI * 0.25 * since)
        bounce = 0.8 * G_M_S2 * math.sin(math.pi * (since - 0.15) / 0.05) if 0.15 < since < 0.20 else 0.0
        return pitch_deg + 0.3 * breath, 0.02 * breath + bounce
