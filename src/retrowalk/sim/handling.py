"""The clip in hands: put on, taken off, laid down, dropped, carried; what it feels, as a function of time.

Nobody falls in any of these, so nobody may be asked or called.  A handling is a path of poses (pitch, roll, yaw of the
clip, degrees; 0 0 0 is worn upright) with stretches of what moves it besides: a body, a hand, a walk, an engine,
nothing.  Times and angles vary with the seed; rates are those of the path, so that integrating them gives it back.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from retrowalk.sim.world import Felt

G_M_S2 = 9.80665
STEP_S = 0.002
"""Rates are differences over so long."""
CHECKED_S = 8.0
"""By then the device, worn at the beginning, has been checked and guards."""
BEAT_S = 0.25
"""Poses are reached, and left, softly within this time at least."""

Pose = tuple[float, float, float]
"""Pitch (forward positive), roll (to the right positive) and yaw, degrees."""


@dataclass(frozen=True, slots=True)
class Shock:
    """A half sine of `peak_g` at `t_s`, `lasts_s` long, along a direction of the clip's own."""

    t_s: float
    peak_g: float
    lasts_s: float = 0.02
    along: tuple[float, float, float] = (0.3, 0.3, 0.9)


@dataclass(frozen=True, slots=True)
class Stretch:
    """From and until when the clip is `worn`, `held`, `walked` with, `swung`, `driven`, `rubbed`, `shaken` or `free`.

    In no stretch it lies dead still.
    """

    what: str
    from_s: float
    to_s: float


@dataclass(frozen=True, slots=True)
class Handling:
    """One scripted handling of `seconds`; called with a session second it gives what the clip feels."""

    name: str
    seconds: float
    path: tuple[tuple[float, Pose], ...]
    """Where it is, by when; softly in between."""
    stretches: tuple[Stretch, ...]
    shocks: tuple[Shock, ...] = ()
    ends: frozenset[str] = frozenset({"not_worn"})
    """States of the guard that are right at the end."""
    not_worn_by_s: float | None = None
    """When it must have been called not worn; None: it need not."""
    stays: bool = False
    """Whether it is worn all the time, and must never be called not worn."""
    phases: tuple[float, ...] = field(default=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0))

    def __call__(self, t_s: float) -> Felt:
        before, now = self._turned(t_s - STEP_S), self._turned(t_s + STEP_S)
        here = self._turned(t_s)
        wx, wy, wz = _rates(before, here, now, 2.0 * STEP_S)
        ax, ay, az = self._pushed(t_s)
        free = any(s.what == "free" and s.from_s <= t_s < s.to_s for s in self.stretches)
        up = 0.0 if free else G_M_S2
        world = (ax, ay, az + up)
        fx, fy, fz = (sum(here[row][axis] * world[row] for row in (0, 1, 2)) for axis in (0, 1, 2))
        for shock in self.shocks:
            since = t_s - shock.t_s
            if 0.0 <= since < shock.lasts_s:
                push = shock.peak_g * G_M_S2 * math.sin(math.pi * since / shock.lasts_s)
                fx, fy, fz = fx + push * shock.along[0], fy + push * shock.along[1], fz + push * shock.along[2]
        return fx, fy, fz, wx, wy, wz

    def _turned(self, t_s: float) -> _Rotation:
        pitch, roll, yaw = self._pose(t_s)
        for stretch in self.stretches:
            if stretch.from_s <= t_s < stretch.to_s:
                fade = min(1.0, (t_s - stretch.from_s) / BEAT_S, (stretch.to_s - t_s) / BEAT_S)
                dp, dr, dy = _TURNS.get(stretch.what, _no_turn)(t_s, self.phases)
                pitch, roll, yaw = pitch + fade * dp, roll + fade * dr, yaw + fade * dy
        return _rotation(pitch, roll, yaw)

    def _pose(self, t_s: float) -> Pose:
        path = self.path
        if t_s <= path[0][0]:
            return path[0][1]
        for (start, a), (end, b) in itertools.pairwise(path):
            if t_s < end:
                s = 0.5 - 0.5 * math.cos(math.pi * (t_s - start) / (end - start))
                return (a[0] + s * (b[0] - a[0]), a[1] + s * (b[1] - a[1]), a[2] + s * (b[2] - a[2]))
        return path[-1][1]

    def _pushed(self, t_s: float) -> tuple[float, float, float]:
        x = y = z = 0.0
        for stretch in self.stretches:
            if stretch.from_s <= t_s < stretch.to_s:
                fade = min(1.0, (t_s - stretch.from_s) / BEAT_S, (stretch.to_s - t_s) / BEAT_S)
                px, py, pz = _PUSHES.get(stretch.what, _no_turn)(t_s, self.phases)
                x, y, z = x + fade * px, y + fade * py, z + fade * pz
        return x, y, z


_Rotation = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


def _rotation(pitch_deg: float, roll_deg: float, yaw_deg: float) -> _Rotation:
    """Body to world: yaw about up, pitch about left, roll about forward."""
    p, r, y = math.radians(pitch_deg), math.radians(roll_deg), math.radians(yaw_deg)
    sp, cp, sr, cr, sy, cy = math.sin(p), math.cos(p), math.sin(r), math.cos(r), math.sin(y), math.cos(y)
    return (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )


def _rates(before: _Rotation, here: _Rotation, after: _Rotation, dt_s: float) -> tuple[float, float, float]:
    """Angular rate in the clip's axes, from the rotation a little before and after."""

    def element(i: int, j: int) -> float:
        return sum(here[row][i] * (after[row][j] - before[row][j]) for row in (0, 1, 2)) / dt_s

    return element(2, 1), element(0, 2), element(1, 0)


def _no_turn(t_s: float, phases: tuple[float, ...]) -> Pose:
    return 0.0, 0.0, 0.0


def _sine(t_s: float, hz: float, phase: float) -> float:
    return math.sin(2.0 * math.pi * hz * t_s + phase)


def _worn(t_s: float, ph: tuple[float, ...]) -> Pose:
    """Sway and breath of somebody who stands or sits."""
    breath = 0.25 * _sine(t_s, 0.26, ph[0])
    return breath + 0.4 * _sine(t_s, 0.11, ph[1]) + 0.2 * _sine(t_s, 0.43, ph[2]), 0.3 * _sine(t_s, 0.17, ph[3]), 0.0


def _held(t_s: float, ph: tuple[float, ...]) -> Pose:
    """A hand that trembles and is never quite still."""
    return (
        2.0 * _sine(t_s, 0.6, ph[0]) + 0.15 * _sine(t_s, 8.0, ph[1]),
        2.5 * _sine(t_s, 0.45, ph[2]) + 0.1 * _sine(t_s, 9.0, ph[3]),
        1.5 * _sine(t_s, 0.3, ph[4]),
    )


def _walked(t_s: float, ph: tuple[float, ...]) -> Pose:
    return 4.0 * _sine(t_s, 1.8, ph[0]), 5.0 * _sine(t_s, 0.9, ph[1]), 3.0 * _sine(t_s, 0.9, ph[2])


def _swung(t_s: float, ph: tuple[float, ...]) -> Pose:
    return 30.0 * _sine(t_s, 0.9, ph[0]), 6.0 * _sine(t_s, 1.8, ph[1]), 0.0


def _driven(t_s: float, ph: tuple[float, ...]) -> Pose:
    turns = 0.25 * _sine(t_s, 1.4, ph[0]) + 0.05 * _sine(t_s, 11.0, ph[1])
    return turns, 0.4 * _sine(t_s, 0.9, ph[2]), 20.0 * _sine(t_s, 0.05, ph[3])


def _rubbed(t_s: float, ph: tuple[float, ...]) -> Pose:
    return 8.0 * _sine(t_s, 3.0, ph[0]), 15.0 * _sine(t_s, 0.7, ph[1]), 10.0 * _sine(t_s, 1.1, ph[2])


def _shaken(t_s: float, ph: tuple[float, ...]) -> Pose:
    return 12.0 * _sine(t_s, 5.0, ph[0]), 6.0 * _sine(t_s, 5.0, ph[1]), 0.0


def _hung(t_s: float, ph: tuple[float, ...]) -> Pose:
    return 3.0 * _sine(t_s, 1.1, ph[0]), 0.0, 2.0 * _sine(t_s, 0.4, ph[1])


_Moves = Callable[[float, tuple[float, ...]], Pose]

_TURNS: dict[str, _Moves] = {
    "worn": _worn,
    "held": _held,
    "walked": _walked,
    "swung": _swung,
    "driven": _driven,
    "rubbed": _rubbed,
    "shaken": _shaken,
    "hung": _hung,
}


def _steps(t_s: float, ph: tuple[float, ...]) -> Pose:
    bounce = 2.2 * _sine(t_s, 1.8, ph[5]) + 0.8 * _sine(t_s, 3.6, ph[4])
    return 0.8 * _sine(t_s, 1.8, ph[3]), 0.7 * _sine(t_s, 0.9, ph[2]), bounce


def _hand(t_s: float, ph: tuple[float, ...]) -> Pose:
    return 0.3 * _sine(t_s, 1.1, ph[5]), 0.3 * _sine(t_s, 0.8, ph[4]), 0.3 * _sine(t_s, 1.4, ph[3])


def _engine(t_s: float, ph: tuple[float, ...]) -> Pose:
    rough = 0.25 * _sine(t_s, 11.0, ph[5]) + 0.35 * _sine(t_s, 1.5, ph[4]) + 0.15 * _sine(t_s, 23.0, ph[3])
    return 0.8 * _sine(t_s, 0.07, ph[2]), 0.6 * _sine(t_s, 0.11, ph[1]), rough


def _rub(t_s: float, ph: tuple[float, ...]) -> Pose:
    return 5.0 * _sine(t_s, 3.0, ph[5]), 3.0 * _sine(t_s, 3.3, ph[4]), 2.0 * _sine(t_s, 6.1, ph[3])


def _shake(t_s: float, ph: tuple[float, ...]) -> Pose:
    return 5.0 * _sine(t_s, 5.0, ph[5]), 3.0 * _sine(t_s, 10.0, ph[4]), 42.0 * _sine(t_s, 5.0, ph[3])


_PUSHES: dict[str, _Moves] = {
    "held": _hand,
    "walked": _steps,
    "swung": _steps,
    "driven": _engine,
    "rubbed": _rub,
    "shaken": _shake,
}


# -------------------------------------------------------------------------------------------------- the table

_WORN: Pose = (0.0, 0.0, 0.0)
_ON_BACK: Pose = (-88.0, 0.0, 170.0)
_ON_FACE: Pose = (86.0, 4.0, 60.0)
_ON_SIDE: Pose = (6.0, 90.0, 120.0)
_HANGING: Pose = (10.0, 80.0, 150.0)
_UPSIDE_DOWN: Pose = (5.0, 178.0, 90.0)


class _Draw:
    """Varies times and angles with the seed."""

    def __init__(self, name: str, seed: int) -> None:
        self._random = random.Random(f"handling:{name}:{seed}")
        self.phases = tuple(self._random.uniform(0.0, 2.0 * math.pi) for _ in range(6))

    def near(self, value: float, share: float = 0.2) -> float:
        """`value`, more or less."""
        return value * self._random.uniform(1.0 - share, 1.0 + share)

    def pose(self, pose: Pose, by_deg: float = 8.0) -> Pose:
        """A pose near this one."""
        p, r, y = (angle + self._random.uniform(-by_deg, by_deg) for angle in pose)
        return p, r, y


_Script = Callable[[_Draw], Handling]
HANDLINGS: dict[str, Callable[[int], Handling]] = {}
"""Every handling by its name, drawn from a seed."""


def _handling(name: str) -> Callable[[_Script], _Script]:
    def add(script: _Script) -> _Script:
        def drawn(seed: int) -> Handling:
            return script(_Draw(name, seed))

        HANDLINGS[name] = drawn
        return script

    return add


def _taken_off(draw: _Draw, to: Pose, over_s: float) -> tuple[list[tuple[float, Pose]], float]:
    """Worn and checked; then unbuckled, pulled round the body and held; the path, and when it is in the hand."""
    at_s = draw.near(CHECKED_S + 2.0, 0.1)
    tug = draw.pose((8.0, 10.0, 20.0))
    end_s = at_s + 0.8 + draw.near(over_s)
    return [(0.0, _WORN), (at_s, _WORN), (at_s + 0.8, tug), (end_s, draw.pose(to))], end_s


@_handling("taken off and laid down")
def _laid_down(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.8)
    lies_s = hand_s + draw.near(3.0)
    path += [(hand_s + 1.5, path[-1][1]), (lies_s, draw.pose(_ON_BACK, 3.0))]
    stretches = (Stretch("worn", 0.0, path[1][0]), Stretch("held", path[1][0], lies_s))
    return Handling(
        "taken off and laid down",
        lies_s + 26.0,
        tuple(path),
        stretches,
        (Shock(lies_s, 0.6),),
        not_worn_by_s=lies_s + 23.0,
        phases=draw.phases,
    )


@_handling("laid hard on a table")
def _laid_hard(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.5)
    lies_s = hand_s + draw.near(1.2)
    path.append((lies_s, draw.pose(_ON_FACE, 2.0)))
    stretches = (Stretch("worn", 0.0, path[1][0]), Stretch("held", path[1][0], lies_s))
    shocks = (Shock(lies_s, draw.near(5.0), 0.025, (0.9, 0.1, 0.3)), Shock(lies_s + 0.08, draw.near(2.2), 0.03))
    return Handling(
        "laid hard on a table",
        lies_s + 64.0,
        tuple(path),
        stretches,
        shocks,
        not_worn_by_s=lies_s + 63.0,
        phases=draw.phases,
    )


@_handling("dropped while taken off")
def _dropped(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.2)
    slips_s = hand_s + draw.near(0.5)
    lands_s = slips_s + 0.45
    rests_s = lands_s + 0.55
    path += [
        (slips_s, path[-1][1]),
        (lands_s, draw.pose((-60.0, 140.0, 200.0), 30.0)),
        (rests_s, draw.pose(_ON_BACK, 5.0)),
    ]
    stretches = (
        Stretch("worn", 0.0, path[1][0]),
        Stretch("held", path[1][0], slips_s),
        Stretch("free", slips_s, lands_s),
        Stretch("free", lands_s + 0.03, lands_s + 0.16),
    )
    shocks = (Shock(lands_s, draw.near(13.0), 0.012), Shock(lands_s + 0.16, draw.near(5.0), 0.015), Shock(rests_s, 1.5))
    return Handling(
        "dropped while taken off",
        rests_s + 64.0,
        tuple(path),
        stretches,
        shocks,
        not_worn_by_s=rests_s + 63.0,
        phases=draw.phases,
    )


@_handling("thrown on a sofa")
def _thrown(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.3)
    swing_s = hand_s + draw.near(1.0)
    flies_s = swing_s + 0.35
    lands_s = flies_s + draw.near(0.5, 0.1)
    path += [
        (swing_s, path[-1][1]),
        (flies_s, draw.pose((-40.0, 40.0, 190.0))),
        (lands_s, draw.pose((30.0, 120.0, 300.0), 40.0)),
        (lands_s + 0.5, draw.pose(_ON_SIDE)),
    ]
    stretches = (
        Stretch("worn", 0.0, path[1][0]),
        Stretch("held", path[1][0], flies_s),
        Stretch("free", flies_s, lands_s),
    )
    shocks = (Shock(swing_s, 1.6, 0.35, (0.8, 0.0, 0.6)), Shock(lands_s, draw.near(5.0), 0.07, (0.2, 0.9, 0.3)))
    return Handling(
        "thrown on a sofa",
        lands_s + 64.0,
        tuple(path),
        stretches,
        shocks,
        not_worn_by_s=lands_s + 63.0,
        phases=draw.phases,
    )


@_handling("put on briskly")
def _put_on(draw: _Draw) -> Handling:
    up_s = draw.near(28.0, 0.05)
    on_s = up_s + draw.near(2.5)
    path = [
        (0.0, _ON_BACK),
        (up_s, _ON_BACK),
        (up_s + 0.7, draw.pose((-30.0, 70.0, 60.0), 20.0)),
        (up_s + 1.5, draw.pose((40.0, -50.0, -90.0), 20.0)),
        (on_s, draw.pose((0.0, 15.0, 0.0), 4.0)),
        (on_s + 1.2, draw.pose(_WORN, 4.0)),
    ]
    stretches = (Stretch("held", up_s, on_s + 1.2), Stretch("worn", on_s + 1.2, 99.0))
    shocks = (Shock(on_s, draw.near(2.8), 0.02, (0.2, 0.9, 0.2)), Shock(on_s + 0.7, draw.near(2.6), 0.015))
    return Handling(
        "put on briskly",
        on_s + 12.0,
        tuple(path),
        stretches,
        shocks,
        ends=frozenset({"checking"}),
        not_worn_by_s=23.0,
        phases=draw.phases,
    )


@_handling("into a bag and carried")
def _bag(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.0)
    in_s = hand_s + draw.near(1.5)
    path += [(in_s - 0.6, draw.pose(_HANGING, 15.0)), (in_s, draw.pose((70.0, 30.0, 240.0)))]
    lies = draw.pose((80.0, 20.0, 260.0))
    path += [(in_s + 2.0, path[-1][1]), (in_s + 2.6, lies)]
    stretches = (
        Stretch("worn", 0.0, path[1][0]),
        Stretch("held", path[1][0], in_s + 2.6),
        Stretch("walked", in_s + 2.6, in_s + 25.0),
    )
    shocks = (Shock(in_s, draw.near(3.0), 0.04, (0.9, 0.2, 0.2)), Shock(in_s + 25.0, draw.near(3.5), 0.03))
    return Handling(
        "into a bag and carried",
        in_s + 90.0,
        tuple(path),
        stretches,
        shocks,
        not_worn_by_s=in_s + 87.0,
        phases=draw.phases,
    )


@_handling("in a hand, swung")
def _swinging(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.2)
    path.append((hand_s + 1.0, draw.pose((85.0, 10.0, 170.0))))
    stretches = (
        Stretch("worn", 0.0, path[1][0]),
        Stretch("held", path[1][0], hand_s + 1.5),
        Stretch("swung", hand_s + 1.5, 99.0),
    )
    shocks = (Shock(hand_s + 9.0, draw.near(2.8), 0.03),)  # it knocks against the thigh
    return Handling(
        "in a hand, swung",
        hand_s + 25.0,
        tuple(path),
        stretches,
        shocks,
        ends=frozenset({"not_worn", "guarding", "limited", "checking"}),
        phases=draw.phases,
    )


@_handling("on a car seat")
def _car(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.5)
    lies_s = hand_s + draw.near(2.0)
    path.append((lies_s, draw.pose(_ON_BACK)))
    drives_s = lies_s + 8.0
    stretches = (
        Stretch("worn", 0.0, path[1][0]),
        Stretch("held", path[1][0], lies_s),
        Stretch("driven", drives_s, drives_s + 25.0),
    )
    shocks = (Shock(lies_s, 1.5, 0.08), Shock(drives_s + 12.0, draw.near(2.3), 0.05, (0.9, 0.0, 0.4)))
    return Handling(
        "on a car seat",
        drives_s + 90.0,
        tuple(path),
        stretches,
        shocks,
        not_worn_by_s=drives_s + 88.0,
        phases=draw.phases,
    )


@_handling("in a rucksack")
def _rucksack(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.0)
    in_s = hand_s + draw.near(1.5)
    path += [
        (in_s, draw.pose((-70.0, 30.0, 200.0))),
        (in_s + 2.0, draw.pose((-75.0, 30.0, 200.0))),
        (in_s + 3.2, draw.pose((-20.0, 100.0, 330.0))),
        (in_s + 4.0, draw.pose((15.0, 95.0, 350.0))),
    ]
    stretches = (
        Stretch("worn", 0.0, path[1][0]),
        Stretch("held", path[1][0], in_s + 4.0),
        Stretch("walked", in_s + 4.5, 999.0),
    )
    shocks = (
        Shock(in_s, draw.near(2.8), 0.04),
        Shock(in_s + 3.2, draw.near(2.2), 0.1, (0.1, 0.9, 0.3)),
        Shock(in_s + 4.0, draw.near(3.2), 0.05, (0.1, 0.9, 0.3)),
    )
    return Handling(
        "in a rucksack",
        in_s + 25.0,
        tuple(path),
        stretches,
        shocks,
        ends=frozenset({"not_worn", "guarding", "limited", "checking"}),
        phases=draw.phases,
    )


@_handling("turned upside down and looked at")
def _upside_down(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.3)
    path += [(hand_s + 1.2, draw.pose(_UPSIDE_DOWN)), (hand_s + 7.0, draw.pose(_UPSIDE_DOWN))]
    path += [(hand_s + 8.0, draw.pose(_ON_BACK)), (hand_s + 12.0, draw.pose(_ON_BACK))]
    stretches = (Stretch("worn", 0.0, path[1][0]), Stretch("held", path[1][0], 999.0))
    shocks = (Shock(hand_s + 9.0, draw.near(2.8), 0.02),)
    return Handling(
        "turned upside down and looked at",
        hand_s + 16.0,
        tuple(path),
        stretches,
        shocks,
        not_worn_by_s=hand_s + 8.0,
        phases=draw.phases,
    )


@_handling("cleaned and rubbed")
def _cleaned(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _ON_BACK, 1.5)
    ends_s = hand_s + draw.near(9.0)
    path += [(ends_s, draw.pose(_ON_BACK)), (ends_s + 1.5, draw.pose(_ON_BACK, 2.0))]
    stretches = (
        Stretch("worn", 0.0, path[1][0]),
        Stretch("held", path[1][0], ends_s + 1.5),
        Stretch("rubbed", hand_s + 0.5, ends_s),
    )
    shocks = (Shock(hand_s + 3.0, draw.near(2.6)), Shock(ends_s + 1.5, draw.near(2.6)))
    return Handling(
        "cleaned and rubbed",
        ends_s + 66.0,
        tuple(path),
        stretches,
        shocks,
        not_worn_by_s=ends_s + 64.0,
        phases=draw.phases,
    )


@_handling("cable plugged in")
def _plugged(draw: _Draw) -> Handling:
    at_s = draw.near(26.0, 0.05)
    lies = draw.pose(_ON_BACK, 3.0)
    path = [(0.0, lies), (at_s, lies), (at_s + 0.4, (lies[0] + 12.0, lies[1] + 6.0, lies[2] + 5.0)), (at_s + 2.0, lies)]
    stretches = (Stretch("held", at_s, at_s + 2.0),)
    shocks = (Shock(at_s + 0.8, draw.near(2.8), 0.015, (0.9, 0.2, 0.1)), Shock(at_s + 2.0, draw.near(2.6), 0.015))
    return Handling(
        "cable plugged in",
        at_s + 12.0,
        tuple(path),
        stretches,
        shocks,
        not_worn_by_s=23.0,
        phases=draw.phases,
    )


@_handling("handed to another person")
def _handed(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 0.9)
    path += [
        (hand_s + 2.0, draw.pose((30.0, 40.0, 260.0))),
        (hand_s + 3.0, draw.pose((-60.0, 60.0, 180.0))),
        (hand_s + 6.0, draw.pose((-70.0, 40.0, 160.0))),
    ]
    stretches = (Stretch("worn", 0.0, path[1][0]), Stretch("held", path[1][0], 999.0))
    shocks = (Shock(hand_s + 2.4, draw.near(2.3), 0.03),)
    return Handling(
        "handed to another person",
        hand_s + 14.0,
        tuple(path),
        stretches,
        shocks,
        ends=frozenset({"not_worn", "guarding", "limited", "checking"}),
        phases=draw.phases,
    )


@_handling("hung on a hook")
def _hooked(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.2)
    hangs_s = hand_s + draw.near(2.0)
    rest = draw.pose((5.0, 88.0, 150.0), 3.0)
    path.append((hangs_s, rest))
    for number in range(6):  # it swings, less and less
        side = 35.0 * 0.6**number * (1.0 if number % 2 else -1.0)
        path.append((hangs_s + 0.5 * (number + 1), (rest[0] + side, rest[1], rest[2])))
    path.append((hangs_s + 4.0, rest))
    stretches = (Stretch("worn", 0.0, path[1][0]), Stretch("held", path[1][0], hangs_s))
    shocks = (Shock(hangs_s, draw.near(2.2), 0.03), Shock(hangs_s + 0.5, draw.near(2.7), 0.015, (0.9, 0.1, 0.1)))
    return Handling(
        "hung on a hook",
        hangs_s + 70.0,
        tuple(path),
        stretches,
        shocks,
        not_worn_by_s=hangs_s + 66.0,
        phases=draw.phases,
    )


@_handling("shaken")
def _shaking(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.5)
    path.append((hand_s + 1.0, draw.pose((70.0, 20.0, 150.0))))
    stretches = (
        Stretch("worn", 0.0, path[1][0]),
        Stretch("held", path[1][0], 999.0),
        Stretch("shaken", hand_s + 1.5, hand_s + 5.0),
    )
    return Handling(
        "shaken",
        hand_s + 14.0,
        tuple(path),
        stretches,
        not_worn_by_s=hand_s + 9.0,
        phases=draw.phases,
    )


@_handling("knocked off a table")
def _knocked(draw: _Draw) -> Handling:
    at_s = draw.near(26.0, 0.05)
    lies = draw.pose(_ON_BACK, 3.0)
    lands_s = at_s + 0.3 + 0.39
    rests_s = lands_s + 0.5
    path = [
        (0.0, lies),
        (at_s, lies),
        (at_s + 0.3, (lies[0] + 20.0, lies[1], lies[2])),
        (lands_s, draw.pose((60.0, 80.0, 120.0), 30.0)),
        (rests_s, draw.pose(_ON_FACE, 4.0)),
    ]
    stretches = (Stretch("free", at_s + 0.3, lands_s), Stretch("free", lands_s + 0.02, lands_s + 0.2))
    shocks = (Shock(at_s, 1.2, 0.05), Shock(lands_s, 15.0, 0.01), Shock(lands_s + 0.2, draw.near(6.0), 0.012))
    return Handling(
        "knocked off a table",
        rests_s + 12.0,
        tuple(path),
        stretches,
        shocks,
        not_worn_by_s=23.0,
        phases=draw.phases,
    )


@_handling("into a pocket")
def _pocket(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.5)
    in_s = hand_s + draw.near(2.0)
    pocket = draw.pose((-20.0, 100.0, 200.0))
    sits = draw.pose((-80.0, 60.0, 200.0))
    path += [(in_s, pocket), (in_s + 12.0, pocket), (in_s + 13.5, sits)]
    stretches = (
        Stretch("worn", 0.0, path[1][0]),
        Stretch("held", path[1][0], in_s),
        Stretch("walked", in_s + 1.0, in_s + 12.0),
        Stretch("worn", in_s + 13.0, 999.0),
    )
    shocks = (Shock(in_s + 13.4, draw.near(2.0), 0.08, (0.3, 0.9, 0.2)),)
    return Handling(
        "into a pocket",
        in_s + 25.0,
        tuple(path),
        stretches,
        shocks,
        ends=frozenset({"not_worn", "guarding", "limited", "checking"}),
        phases=draw.phases,
    )


@_handling("the belt is washed")
def _washed(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _ON_SIDE, 1.5)
    ends_s = hand_s + draw.near(12.0)
    path += [
        (hand_s + 4.0, draw.pose(_ON_SIDE, 20.0)),
        (hand_s + 8.0, draw.pose((30.0, 150.0, 100.0), 20.0)),
        (ends_s, draw.pose(_ON_SIDE, 20.0)),
        (ends_s + 1.5, draw.pose(_HANGING, 5.0)),
    ]
    stretches = (
        Stretch("worn", 0.0, path[1][0]),
        Stretch("held", path[1][0], ends_s + 1.5),
        Stretch("rubbed", hand_s + 0.5, hand_s + 6.0),
        Stretch("shaken", hand_s + 6.5, hand_s + 10.0),
    )
    return Handling(
        "the belt is washed",
        ends_s + 30.0,
        tuple(path),
        stretches,
        (Shock(ends_s + 1.5, 1.2),),
        not_worn_by_s=ends_s + 2.0,
        phases=draw.phases,
    )


@_handling("slides off a chair")
def _slides_off(draw: _Draw) -> Handling:
    path, hand_s = _taken_off(draw, _HANGING, 1.5)
    lies_s = hand_s + draw.near(1.5)
    slides_s = lies_s + draw.near(3.0)
    lands_s = slides_s + 0.5 + 0.3
    seat = draw.pose((-50.0, 20.0, 150.0))
    path += [
        (lies_s, seat),
        (slides_s, seat),
        (slides_s + 0.5, draw.pose((-20.0, 60.0, 150.0))),
        (lands_s, draw.pose((20.0, 100.0, 190.0))),
        (lands_s + 0.4, draw.pose(_ON_SIDE, 4.0)),
    ]
    stretches = (
        Stretch("worn", 0.0, path[1][0]),
        Stretch("held", path[1][0], lies_s),
        Stretch("free", slides_s + 0.5, lands_s),
    )
    shocks = (Shock(lies_s, draw.near(2.3), 0.03), Shock(lands_s, draw.near(9.0), 0.015), Shock(lands_s + 0.3, 2.0))
    return Handling(
        "slides off a chair",
        lands_s + 64.0,
        tuple(path),
        stretches,
        shocks,
        not_worn_by_s=lands_s + 63.0,
        phases=draw.phases,
    )


@_handling("the belt is tightened")
def _tightened(draw: _Draw) -> Handling:
    at_s = draw.near(CHECKED_S + 2.0, 0.1)
    path = [
        (0.0, _WORN),
        (at_s, _WORN),
        (at_s + 0.5, draw.pose((5.0, 6.0, 4.0), 3.0)),
        (at_s + 1.2, draw.pose((-3.0, -4.0, -5.0), 3.0)),
        (at_s + 2.0, draw.pose(_WORN, 3.0)),
    ]
    shocks = (Shock(at_s + 0.5, draw.near(2.7), 0.03), Shock(at_s + 1.2, draw.near(2.7), 0.02, (0.2, 0.9, 0.2)))
    return Handling(
        "the belt is tightened",
        at_s + 20.0,
        tuple(path),
        (Stretch("worn", 0.0, 999.0), Stretch("held", at_s, at_s + 2.0)),
        shocks,
        ends=frozenset({"guarding", "limited"}),
        stays=True,
        phases=draw.phases,
    )


@_handling("a slap on the back")
def _slapped(draw: _Draw) -> Handling:
    at_s = draw.near(CHECKED_S + 2.0, 0.1)
    path = [(0.0, _WORN), (at_s, _WORN), (at_s + 0.3, draw.pose((9.0, 0.0, 3.0), 3.0)), (at_s + 1.2, _WORN)]
    shocks = (
        Shock(at_s, draw.near(4.0), 0.03, (0.95, 0.1, 0.2)),
        Shock(at_s + 0.6, draw.near(3.0), 0.03, (0.9, 0.1, 0)),
    )
    return Handling(
        "a slap on the back",
        at_s + 20.0,
        tuple(path),
        (Stretch("worn", 0.0, 999.0),),
        shocks,
        ends=frozenset({"guarding", "limited"}),
        stays=True,
        phases=draw.phases,
    )
