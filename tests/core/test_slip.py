"""Own upright and a clip that slips, through the whole Companion: on made-up walks and on recorded people."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.core.synth import (
    Array,
    Motion,
    Street,
    heartbeats,
    merged,
    motion,
    ranges,
    rotation,
    settled,
    steady,
    walking,
)

from retrowalk.core.falls import tilt_deg
from retrowalk.core.slip import SlipWatch, lean_deg
from retrowalk.core.upright import Mean, UprightKeeper

STRAIGHT = (0.0, 0.0, 1.0)


def turned(body: Motion, at_s: float, clip: Array, over_s: float = 0.0) -> Motion:
    """The clip turns from straight to `clip` at `at_s`, within `over_s`; its gyroscope feels that turn."""
    angle = math.acos(max(-1.0, min(1.0, (float(np.trace(clip)) - 1.0) / 2.0)))
    axis = np.array([clip[2, 1] - clip[1, 2], clip[0, 2] - clip[2, 0], clip[1, 0] - clip[0, 1]])
    axis = axis / (2.0 * math.sin(angle))
    cross = np.array([[0.0, -axis[2], axis[1]], [axis[2], 0.0, -axis[0]], [-axis[1], axis[0], 0.0]])
    accel, gyro = body.accel_m_s2.copy(), body.gyro_rad_s.copy()
    for i in np.flatnonzero(body.t_s >= at_s):
        share = min(1.0, (body.t_s[i] - at_s) / over_s) if over_s else 1.0
        turn = np.eye(3) + math.sin(angle * share) * cross + (1.0 - math.cos(angle * share)) * cross @ cross
        accel[i], gyro[i] = turn @ accel[i], turn @ gyro[i]
        if share < 1.0:
            gyro[i] -= axis * angle / over_s
    return Motion(body.t_s, accel, gyro, body.pitch_deg, body.step_times_s)


def wear(body: Motion, range_m: float | None = None) -> Street:
    """A guarding device on this body (from 6 s on)."""
    end = 6.0 + float(body.t_s[-1])
    life = merged(body.shifted(6.0).samples(), ranges(steady(6.0, end, range_m), latency_s=0.0), heartbeats(6.0, end))
    return Street(voice=True).run(settled()).run(life)


def slipped(street: Street) -> list[float]:
    """When the clip was called slipped, in seconds of the body's own time."""
    return [e.t_s - 6.0 for e in street.events("fault.raised") if e.part == "clip"]


WALK = walking(30.0, bouts=[(3.0, 28.0)], turns=False, seed=5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pitch_deg", "roll_deg", "over_s"),
    [
        pytest.param(-15.0, 0.0, 0.0, id="back in a jump"),
        pytest.param(0.0, -15.0, 0.0, id="to the left in a jump", marks=pytest.mark.slow),
        pytest.param(11.0, 11.0, 0.0, id="both in a jump", marks=pytest.mark.slow),
        pytest.param(16.0, 0.0, 1.0, id="forward within a second"),
        pytest.param(0.0, 18.0, 1.0, id="to the right within a second", marks=pytest.mark.slow),
        pytest.param(50.0, 0.0, 0.0, id="far forward", marks=pytest.mark.slow),
        pytest.param(0.0, 70.0, 0.05, id="far to the right"),
    ],
)
def test_a_clip_that_slips_on_a_walk_is_named(pitch_deg, roll_deg, over_s):
    """Within 3 s of having turned by 15 degrees or more, once; the protection is limited, and why is told."""
    street = wear(turned(WALK, 18.0, rotation(pitch_deg, roll_deg).T, over_s))
    told = slipped(street)
    assert len(told) == 1
    assert 18.0 < told[0] < 18.0 + over_s + 3.0
    assert [s.value for s in street.spoken("fault")] == ["clip"]
    assert "clip" in street.events("guard.changed")[-1].reasons


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pitch_deg", "roll_deg"),
    [
        pytest.param(16.0, 0.0, id="forward"),
        pytest.param(-16.0, 0.0, id="back", marks=pytest.mark.slow),
        pytest.param(0.0, 16.0, id="to the right", marks=pytest.mark.slow),
    ],
)
def test_a_clip_that_slipped_while_standing_is_named_when_steps_begin(pitch_deg, roll_deg):
    """Turned before the first step: named within 3 s of it."""
    body = walking(24.0, bouts=[(14.0, 22.0)], turns=False, seed=6)
    told = slipped(wear(turned(body, 5.0, rotation(pitch_deg, roll_deg).T, 0.5)))
    assert len(told) == 1
    assert 14.0 < told[0] < 14.3 + 3.0


@pytest.mark.slow
def test_nothing_is_said_of_the_trunk_on_a_slipped_clip():
    """Slipped back by 20 degrees, named; from then on no lean is claimed, and no loss of balance."""
    street = wear(turned(WALK, 12.0, rotation(-20.0).T))
    named_s = slipped(street)[0] + 6.0
    said = [e for e in street.events("hazard.raised") if e.t_s > named_s]
    assert said == []
    assert street.events("balance.lost") == []
    assert street.companion.snapshot().guard_state == "limited"


@pytest.mark.slow
def test_a_clip_put_straight_again_is_forgiven():
    """Turned back to where it was: the fault is over within some steps."""
    there = turned(WALK, 12.0, rotation(0.0, 20.0).T)
    rows = (there.t_s < 20.0)[:, None]
    body = Motion(
        WALK.t_s,
        np.where(rows, there.accel_m_s2, WALK.accel_m_s2),
        np.where(rows, there.gyro_rad_s, WALK.gyro_rad_s),
        WALK.pitch_deg,
        WALK.step_times_s,
    )
    cleared = [e.t_s - 6.0 for e in wear(body).events("fault.cleared") if e.part == "clip"]
    assert len(cleared) == 1
    assert 20.0 < cleared[0] < 25.0


@pytest.mark.slow
def test_standing_still_teaches_a_slipped_clip_its_new_upright():
    """Named, then the walker stands for some seconds: the new seat is upright, and a lean is measured from it."""
    body = walking(40.0, bouts=[(3.0, 22.0)], turns=False, seed=8)
    street = wear(turned(body, 14.0, rotation(0.0, 20.0).T))
    cleared = [e.t_s - 6.0 for e in street.events("fault.cleared") if e.part == "clip"]
    assert len(cleared) == 1
    assert 22.0 < cleared[0] < 30.0
    assert street.companion.snapshot().trunk_pitch_deg == pytest.approx(0.0, abs=2.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pitch_deg", "from_s", "to_s"),
    [
        pytest.param(70.0, 30.0, 34.0, id="bends down while standing", marks=pytest.mark.slow),
        pytest.param(-9.0, 10.0, 20.0, id="leans back while walking"),
        pytest.param(9.0, 10.0, 20.0, id="leans forward while walking", marks=pytest.mark.slow),
        pytest.param(-12.0, 30.0, 38.0, id="leans back while standing", marks=pytest.mark.slow),
    ],
)
def test_a_trunk_that_leans_is_no_clip_that_slips(pitch_deg, from_s, to_s):
    """The wearer moves, and the clip sits as it did."""
    walk = walking(40.0, bouts=[(3.0, 26.0)], turns=False, seed=9)
    t = walk.t_s
    lean = pitch_deg * np.clip((t - from_s) / 0.8, 0.0, 1.0) * np.clip((to_s + 0.8 - t) / 0.8, 0.0, 1.0)
    zero = np.zeros_like(t)
    leaning = motion(t, lean, zero, zero, np.zeros((len(t), 3)))
    # What the lean alone would feel, added to the walk: exact for gravity, near enough for the rest.
    accel = walk.accel_m_s2 + leaning.accel_m_s2 - np.array([0.0, 0.0, 9.80665])
    body = Motion(t, accel, walk.gyro_rad_s + leaning.gyro_rad_s, walk.pitch_deg, walk.step_times_s)
    assert slipped(wear(body)) == []


# -------------------------------------------------------------------------------------------------- upright


def strides(keeper: UprightKeeper, upright: tuple[float, float, float], seconds: float, pitch_deg, from_s: float = 0.0):
    """Walks on in strides whose mean pitch is `pitch_deg` of the time; returns upright then."""
    for i in range(int(seconds / 0.6)):
        t = from_s + 0.6 * i
        p = math.radians(pitch_deg(t))
        mean = Mean(t, (-math.sin(p), 0.0, math.cos(p)), 1.2, stride=True)
        upright = keeper.follow(mean, upright) or upright
    return upright


@pytest.mark.parametrize("lean", [-8.0, -5.0, 8.0])
def test_a_lean_of_a_minute_is_not_learned(lean):
    """A lean held for 60 s moves upright by less than a degree."""
    keeper = UprightKeeper()
    keeper.shown(STRAIGHT)
    upright = strides(keeper, STRAIGHT, 60.0, lambda t: 3.0)
    upright = strides(keeper, upright, 60.0, lambda t: 3.0 + lean, 60.0)
    assert tilt_deg(upright, STRAIGHT) < 1.0


@pytest.mark.parametrize("creep_deg", [-5.0, 5.0])
def test_a_clip_that_creeps_is_followed(creep_deg):
    """5 degrees within 20 min of walking: upright is within 1.5 degrees of them at the end."""
    keeper = UprightKeeper()
    keeper.shown(STRAIGHT)
    upright = strides(keeper, STRAIGHT, 60.0, lambda t: 3.0)
    upright = strides(keeper, upright, 1200.0, lambda t: 3.0 + creep_deg * (t - 60.0) / 1200.0, 60.0)
    assert lean_deg(upright, STRAIGHT)[0] == pytest.approx(creep_deg, abs=1.5)


def test_who_sits_down_teaches_nothing():
    """After a walk, bends to sit, and sits leaning back 15 degrees for ten minutes: upright stays."""
    keeper = UprightKeeper()
    keeper.shown(STRAIGHT)
    upright = strides(keeper, STRAIGHT, 60.0, lambda t: 3.0)
    for i in range(1200):
        p = math.radians(45.0 if i < 3 else -15.0 + 12.0 * min(1.0, i / 1000.0))
        mean = Mean(60.0 + 0.5 * i, (-math.sin(p), 0.0, math.cos(p)), 0.5, stride=False, still=True)
        upright = keeper.follow(mean, upright) or upright
    assert tilt_deg(upright, STRAIGHT) < 0.5


@pytest.mark.slow
def test_who_never_stands_still_is_learned_from_the_walk():
    """Steps from the first second on: after a steady walk upright is known, and leans are measured from there."""
    body = walking(40.0, bouts=[(0.3, 39.0)], turns=False, seed=12, clip=rotation(15.0, 10.0).T)
    street = Street().run(body.samples())
    state = [o for o in street.outputs if hasattr(o, "state") and hasattr(o.state, "upright")][-1].state
    assert state.upright is not None
    true_up = rotation(15.0, 10.0).T @ np.array([0.0, 0.0, 1.0])
    assert tilt_deg(state.upright, tuple(true_up.tolist())) < 4.0


def test_upright_is_kept_over_small_steps_only():
    """Following is told in steps of a quarter of a degree: what is kept is not written with every stride."""
    keeper, told, upright = UprightKeeper(), 0, STRAIGHT
    keeper.shown(STRAIGHT)
    for i in range(1000):
        p = math.radians(4.0 * i / 1000.0)
        moved = keeper.follow(Mean(0.6 * i, (-math.sin(p), 0.0, math.cos(p)), 1.2, stride=True), upright)
        if moved is not None:
            told, upright = told + 1, moved
    assert 5 < told <= 16


def test_strides_that_do_not_agree_are_no_slip():
    """A trunk that goes this way and that has not slipped: only what sits still again has."""
    watch = SlipWatch()
    for i in range(60):
        p = math.radians(0.0 if i < 30 else (-25.0 if i % 2 else 25.0))
        watch.update(Mean(0.6 * i, (0.0, math.sin(p), math.cos(p)), 1.2, stride=True), STRAIGHT, walking=True)
    assert not watch.slipped
