from __future__ import annotations

import itertools
import math
import statistics
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrowalk.sim.walker import G_M_S2, OLDER, REACH_M, YOUNGER, Profile
from retrowalk.sim.world import (
    STEP_S,
    Action,
    Fall,
    GetUp,
    Ground,
    HandBehind,
    Lean,
    Mount,
    Obstacle,
    Place,
    Press,
    Remove,
    Stand,
    Walk,
    WalkAlong,
    Weather,
    World,
)

IMU_HZ = 104.0


def moments(world, from_s, to_s, hz=200.0):
    """What the walker does from one second to another, in pieces that can be looked back at."""
    return [world.moment(from_s + i / hz) for i in range(round((to_s - from_s) * hz))]


def walking(speed_m_s, seconds=30.0, seed=1):
    world = World(seed, upright_deg=0.0)
    world.at(0.0, Walk(speed_m_s))
    moments(world, 0.0, 5.0)
    return world, moments(world, 5.0, 5.0 + seconds)


def column(rows, name):
    return np.array([getattr(row, name) for row in rows])


# --------------------------------------------------------------------------------------------- determinism


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.0, 12.0), min_size=1, max_size=20))
def test_who_looks_when_changes_nothing(looks):
    """A world that is looked at often and one that is looked at once end up equal."""
    script: list[tuple[float, Action]] = [
        (0.5, Walk(0.7)),
        (3.0, Place("wall", 2.0)),
        (5.0, Lean(-10.0)),
        (7.0, Fall()),
        (10.0, Press()),
    ]
    often, once = World(3), World(3)
    often.run(script)
    once.run(script)
    for t_s in sorted(looks):
        often.moment(t_s)
        often.scene(t_s)
    often.advance(12.0)
    once.advance(12.0)
    assert often.moment(11.9) == once.moment(11.9)
    assert often.contacts == once.contacts
    assert often.smallest_gap_m == once.smallest_gap_m


def test_a_seed_is_one_walker():
    """Another seed walks another way; the same one the same."""
    assert walking(0.6, 2.0, seed=1)[1] == walking(0.6, 2.0, seed=1)[1]
    assert walking(0.6, 2.0, seed=1)[1] != walking(0.6, 2.0, seed=2)[1]


@pytest.mark.slow
def test_ninety_seconds_cost_little():
    """The world's own share of a fast simulation: well under a second."""
    world = World(1)
    world.run([(1.0, Walk(0.6)), (2.0, Place("wall", 80.0))])
    start = time.process_time()
    for i in range(round(90 * IMU_HZ)):
        world.imu(i / IMU_HZ)
    assert time.process_time() - start < 2.0


# ------------------------------------------------------------------------------------------------- walking


@pytest.mark.parametrize("speed_m_s", [0.3, 0.6, 1.0, -0.6])
def test_the_walker_goes_as_fast_as_told(speed_m_s):
    """Commanded speed is reached in a second and held, with a ripple of 20 % at step rate."""
    world, rows = walking(speed_m_s, 20.0)
    speeds = column(rows, "speed_m_s")
    assert speeds.mean() == pytest.approx(speed_m_s, rel=0.02)
    assert np.ptp(speeds) / 2 == pytest.approx(0.2 * abs(speed_m_s), rel=0.05)
    assert world.walker.position_m == pytest.approx(speed_m_s * 25.0, rel=0.05)


@pytest.mark.parametrize(
    ("speed_m_s", "low", "high"),
    [
        pytest.param(0.45, 0.4, 0.65, id="0.45"),
        pytest.param(0.7, 0.65, 0.95, id="0.7"),
        pytest.param(1.0, 1.0, 1.4, id="1.0"),
    ],
)
def test_the_trunk_bounces_more_when_faster(speed_m_s, low, high):
    """Vertical acceleration in the band of the steps grows from 0.5 to 1.2 m/s2 RMS between 0.45 and 1.0 m/s.

    So it does of people: recorded walking has 1.15 at 0.95 m/s and 1.34 at 1.06, backward walking 0.45 to 0.6 at 0.5.
    """
    _, rows = walking(speed_m_s)
    up = column(rows, "f_up")
    spectrum = np.fft.rfft(up - up.mean())
    hz = np.fft.rfftfreq(len(up), STEP_S)
    spectrum[(hz < 0.6) | (hz > 4.0)] = 0.0
    assert low < np.fft.irfft(spectrum, len(up)).std() < high


def test_heel_strikes_ring():
    """A good part of the vertical power is above 4 Hz, as at a real lower back."""
    _, rows = walking(0.7)
    up = column(rows, "f_up")
    power = np.abs(np.fft.rfft(up - up.mean())) ** 2
    hz = np.fft.rfftfreq(len(up), STEP_S)
    assert 0.15 < power[hz > 4.0].sum() / power.sum() < 0.6


@pytest.mark.parametrize(
    ("speed_m_s", "sign"), [pytest.param(0.6, -1, id="backward"), pytest.param(-0.6, 1, id="forward")]
)
def test_forward_acceleration_is_a_quarter_step_from_the_vertical(speed_m_s, sign):
    """The quadrature rule: D = -<a_forward x v_vertical> is near +1 walking forward, near -1 walking backward."""
    _, rows = walking(speed_m_s)

    def band(values):
        spectrum = np.fft.rfft(values - values.mean())
        hz = np.fft.rfftfreq(len(values), STEP_S)
        spectrum[(hz < 0.6) | (hz > 3.0)] = 0.0
        return np.fft.irfft(spectrum, len(values)), spectrum, hz

    ahead, _, _ = band(column(rows, "f_forward"))
    _, up, hz = band(column(rows, "f_up"))
    with np.errstate(divide="ignore", invalid="ignore"):
        rising = np.fft.irfft(np.where(hz > 0, up / (2j * np.pi * hz), 0), len(ahead))
    d = -np.mean(ahead * rising) / (ahead.std() * rising.std())
    assert d * sign > 0.6


@pytest.mark.slow
@pytest.mark.parametrize(("speed_m_s", "spm"), [pytest.param(0.3, 88, id="0.3"), pytest.param(0.8, 111, id="0.8")])
def test_cadence_changes_little_with_speed(speed_m_s, spm):
    """Between 0.3 and 0.8 m/s it is mostly the step that grows; step times vary by about 4 %."""
    world, _ = walking(speed_m_s, 60.0)
    times = np.diff([t for t in world.walker.step_times_s if t > 5.0])
    assert 60.0 / times.mean() == pytest.approx(spm, rel=0.04)
    assert 0.02 < times.std() / times.mean() < 0.07


@pytest.mark.slow
def test_the_trunk_sways_at_step_rate_and_not_when_standing():
    """About 6 degrees peak to peak walking, under 2 standing."""
    world, rows = walking(0.7)
    pitch = column(rows, "pitch_deg")
    assert 5.0 < np.ptp(pitch) < 9.0
    power = np.abs(np.fft.rfft(pitch - pitch.mean())) ** 2
    peak_hz = np.fft.rfftfreq(len(pitch), STEP_S)[power.argmax()]
    assert peak_hz == pytest.approx(1.775, abs=0.15)
    standing = World(1, upright_deg=0.0)
    assert np.ptp(column(moments(standing, 0.0, 30.0), "pitch_deg")) < 2.0


def test_rates_are_the_derivatives_of_the_angles():
    """Integrating the pitch rate through a walk, a lean and a fall gives the pitch back."""
    world = World(2)
    world.run([(0.5, Walk(0.6)), (4.0, Lean(-12.0)), (7.0, Stand()), (9.0, Fall())])
    rows = moments(world, 0.0, 14.0)
    # Roll and yaw rates mix in by less than a degree.
    pitch = rows[0].pitch_deg + np.cumsum(np.degrees(column(rows, "w_left"))) * STEP_S
    assert np.abs(pitch - column(rows, "pitch_deg")).max() < 2.0


def test_standing_still_the_clip_feels_gravity_and_its_own_tilt():
    """Upright, the specific force is 9.81 m/s2, turned by how the clip sits."""
    world = World(1, upright_deg=8.0)
    rows = moments(world, 0.0, 10.0)
    norm = np.sqrt(sum(column(rows, name) ** 2 for name in ("f_forward", "f_left", "f_up")))
    assert norm.mean() == pytest.approx(G_M_S2, abs=0.01)
    tilt = np.degrees(np.arctan2(-column(rows, "f_forward").mean(), column(rows, "f_up").mean()))
    assert tilt == pytest.approx(8.0, abs=1.0)  # leaning forward, the forward axis points down


def test_leaning_back_ramps_and_ends():
    """A commanded lean is there after its ramp, and gone after its hold."""
    world = World(1, upright_deg=0.0)
    world.at(2.0, Lean(-12.0, over_s=1.0, hold_s=3.0))
    pitch = [world.moment(t).pitch_deg for t in (1.9, 3.1, 5.9, 7.2)]
    assert pitch == pytest.approx([0.0, -12.0, -12.0, 0.0], abs=1.5)


# ---------------------------------------------------------------------------------------------- obstacles


def test_the_gap_closes_as_the_walker_backs():
    """From 5 m at 0.5 m/s the gap shrinks by 0.5 m a second, and nothing is nearer."""
    world = World(1)
    world.run([(0.0, Place("wall", 5.0)), (1.0, Walk(0.5))])
    assert world.gap_m(0.9) == pytest.approx(5.0, abs=0.01)
    first, second = world.gap_m(4.0), world.gap_m(6.0)
    assert first - second == pytest.approx(1.0, abs=0.07)


def test_obstacles_come_and_go():
    """Who steps in is there from then on, and gone when gone."""
    world = World(1)
    world.run([(2.0, Place("person_jacket", 1.6, "ann")), (5.0, Remove("ann")), (6.0, Place("car", 3.0, for_s=1.0))])
    gaps = [world.gap_m(t) for t in (1.9, 2.1, 4.9, 5.1, 6.5, 7.5)]
    assert gaps == pytest.approx([math.inf, 1.6, 1.6, math.inf, 3.0, math.inf], abs=0.01)


def test_somebody_who_comes_nearer_nears():
    """An obstacle's own speed counts in the gap and in the closing speed that the sensor sees."""
    world = World(1)
    world.place(Obstacle("bike", "person_jacket", 8.0, nears_m_s=2.0, from_s=1.0))
    world.at(0.0, Walk(0.5))
    world.advance(3.0)
    scene = world.scene(3.0)
    assert scene.targets[0].closing_m_s == pytest.approx(2.5, abs=0.12)
    assert world.gap_m(2.0) - world.gap_m(3.0) == pytest.approx(2.5, abs=0.12)


def test_a_hand_is_seen_and_touches_nothing():
    """The hand check is an obstacle at 0.40 m for its time, wherever the walker goes."""
    world = World(1)
    world.run([(0.0, Walk(0.6)), (3.0, HandBehind(for_s=1.0))])
    assert [bool(world.scene(t).targets) for t in (2.9, 3.5, 4.1)] == [False, True, False]
    assert world.gap_m(3.5) == 0.40
    world.advance(6.0)
    assert not world.contacts


@pytest.mark.parametrize("speed_m_s", [0.3, 0.6, 1.0])
def test_a_walker_who_hears_nothing_walks_into_the_wall(speed_m_s):
    """One contact, when the foot reaches the wall; and the walker stands then."""
    world = World(1)
    world.run([(0.0, Place("wall", 3.0)), (0.0, Walk(speed_m_s))])
    world.advance(30.0)
    assert len(world.contacts) == 1
    assert world.contacts[0].name == "wall"
    assert world.smallest_gap_m["wall"] < REACH_M
    assert abs(world.moment(29.0).speed_m_s) < 0.01


def test_standing_beside_something_is_no_contact():
    """Somebody who steps up close to a standing walker has not been walked into."""
    world = World(1)
    world.run([(1.0, Place("person_jacket", 0.25)), (5.0, Remove("person_jacket"))])
    world.advance(10.0)
    assert not world.contacts
    assert world.smallest_gap_m["person_jacket"] == pytest.approx(0.25, abs=0.01)


def test_walking_off_and_into_it_again_is_a_second_contact():
    """Contacts are counted one approach at a time."""
    world = World(1)
    world.run([(0.0, Place("wall", 2.0)), (0.0, Walk(0.5)), (8.0, Walk(-0.5)), (11.0, Walk(0.5))])
    world.advance(20.0)
    assert len(world.contacts) == 2


# ------------------------------------------------------------------------------------------- being warned


def stops(profile, speed_m_s=0.7, people=400):
    """Distance over speed from the warning to standstill, of many people."""
    took = []
    for seed in range(people):
        world = World(seed, profile=profile)
        world.at(0.0, Walk(speed_m_s))
        world.advance(4.0)
        before = world.walker.position_m
        world.hear("warning", 4.0)
        world.advance(4.0 + 8.0)
        assert world.walker.speed_m_s == 0.0
        took.append((world.walker.position_m - before) / speed_m_s)
    return took


@pytest.mark.slow
@pytest.mark.parametrize(
    ("profile", "median_s", "p95_s"),
    [pytest.param(YOUNGER, 0.75, 1.23, id="younger"), pytest.param(OLDER, 1.05, 1.87, id="older")],
)
def test_people_stop_as_the_reference_says(profile, median_s, p95_s):
    """Cue to standstill, as distance over speed: the lognormals of human_factors.md 2.2."""
    took = stops(profile)
    assert statistics.median(took) == pytest.approx(median_s, rel=0.08)
    assert statistics.quantiles(took, n=20)[18] == pytest.approx(p95_s, rel=0.15)


@pytest.mark.parametrize(
    ("key", "stopped"),
    [
        pytest.param("warning", True, id="the warning's tone"),
        pytest.param("stop", True, id="the word"),
        pytest.param("touching", True, id="touching"),
        pytest.param("tick", False, id="the tick"),
        pytest.param("object:2", False, id="a caution"),
    ],
)
def test_only_warnings_stop_the_walker(key, stopped):
    """Everything else is heard, and walked on by."""
    world = World(1)
    world.at(0.0, Walk(0.6))
    world.advance(3.0)
    world.hear(key, 3.0)
    world.advance(9.0)
    assert (world.walker.speed_m_s == 0.0) is stopped
    assert world.heard == [(3.0, key)]


def test_a_second_warning_does_not_start_the_stop_anew():
    """The walker reacts once, however often it is said."""
    once, twice = World(1), World(1)
    for world in (once, twice):
        world.at(0.0, Walk(0.6))
        world.advance(3.0)
        world.hear("warning", 3.0)
    twice.hear("stop", 3.2)
    assert once.moment(6.0).position_m == twice.moment(6.0).position_m


def test_the_vibration_of_a_warning_is_felt():
    """Two short pulses stop the walker, one long one does not; a numb walker feels neither."""

    def after(pulse_s, profile):
        world = World(1, profile=profile)
        world.at(0.0, Walk(0.6))
        world.advance(3.0)
        for number in range(3):
            start_s = 3.0 + number * (pulse_s + 0.06)
            world.feel("vibration", True, start_s)
            world.feel("vibration", False, start_s + pulse_s)
        world.advance(9.0)
        return world.walker.speed_m_s

    assert after(0.12, OLDER) == 0.0
    assert after(0.40, OLDER) > 0.5
    assert after(0.12, Profile(stops_for_touch=False)) > 0.5


def test_a_warning_in_time_prevents_the_contact():
    """Who hears the warning 2.2 m before a wall at 0.5 m/s stops short of it."""
    world = World(1)
    world.run([(0.0, Place("wall", 4.0)), (0.0, Walk(0.5))])
    t_s = next(i * 0.01 for i in itertools.count() if world.gap_m(i * 0.01) < 2.2)
    world.hear("warning", t_s)
    world.advance(20.0)
    assert not world.contacts
    assert REACH_M < world.smallest_gap_m["wall"] < 2.2


# ------------------------------------------------------------------------------------------------ falling


@pytest.mark.parametrize("seed", range(6))
def test_a_fall_has_its_phases(seed):
    """Tipping up to 120 to 140 degrees/s, a free-fall dip, an impact of 4 to 7 g, lying still on the back."""
    world = World(seed)
    world.run([(1.0, Walk(0.6)), (4.0, Fall())])
    rows = moments(world, 0.0, 9.0)
    size_g = np.sqrt(sum(column(rows, name) ** 2 for name in ("f_forward", "f_left", "f_up"))) / G_M_S2
    rate = np.degrees(column(rows, "w_left"))
    impact = world.walker.impact_s
    assert impact is not None
    at = round(impact / STEP_S)
    assert world.walker.fell_s == pytest.approx(4.0, abs=STEP_S)
    assert 0.7 < impact - 4.0 < 1.3
    assert -145.0 < rate.min() < -115.0
    assert size_g[at - 60 : at].min() < 0.5
    assert 3.5 < size_g[at : at + 14].max() < 7.2
    after = slice(at + 100, None)
    assert np.abs(column(rows, "pitch_deg")[after] + 88.0).max() < 4.0
    assert np.abs(rate[after]).max() < 2.0
    assert size_g[after] == pytest.approx(1.0, abs=0.02)
    assert world.walker.lying


def test_who_lies_on_the_sensor_sees_nothing():
    """On the ground the module's membrane is covered."""
    world = World(1)
    world.run([(0.0, Place("wall", 1.0)), (1.0, Fall())])
    assert not world.scene(0.9).covered
    assert world.scene(4.0).covered


def test_who_gets_up_stands_and_walks_again():
    """After getting up the trunk is upright, and a command to walk is followed."""
    world = World(1)
    world.run([(1.0, Fall()), (2.5, Walk(0.6)), (6.0, GetUp(4.0)), (11.0, Walk(0.6))])
    rows = moments(world, 0.0, 10.9)
    assert abs(rows[500].speed_m_s) < 0.01  # lying, nobody walks
    assert abs(rows[-1].pitch_deg - world.walker.upright_deg) < 2.0
    assert world.moment(14.0).speed_m_s > 0.4
    assert not world.walker.lying


# ------------------------------------------------------------------------------------------ button, weather


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 3), st.floats(0.1, 3.5))
def test_a_press_has_exact_edges_and_bounce(seed, times, hold_s):
    """Each press begins and ends at its second, bounces for less than 3 ms, and levels alternate."""
    world = World(seed)
    world.at(2.0, Press(hold_s=hold_s, times=times, gap_s=0.25))
    edges = world.button_edges
    assert [closed for _, closed in edges] == [i % 2 == 0 for i in range(len(edges))]
    assert edges[0] == (2.0, True)
    assert edges == sorted(edges)
    starts = [t for (t, _), (before, _) in zip(edges[1:], edges, strict=False) if t - before > 0.05]
    expected = [2.0 + n * (hold_s + 0.25) + part for n in range(times) for part in (0.0, hold_s)]
    assert [2.0, *starts] == pytest.approx(expected)
    clusters = itertools.groupby(edges, key=lambda edge: max(t for t in expected if t <= edge[0] + 1e-9))
    assert all(max(t for t, _ in cluster) - start <= 0.003 for start, cluster in clusters)


def test_ground_and_weather_reach_the_sensor():
    """What a scenario says of ground and weather is what the echo model gets."""
    world = World(1, mount=Mount(height_m=0.8, up_deg=0.0), upright_deg=0.0)
    world.run([(1.0, Ground("leaves")), (1.0, Weather(temperature_c=-5.0, rain=True)), (2.0, Lean(-10.0))])
    scene = world.scene(4.0)
    assert (scene.ground, scene.temperature_c, scene.rain, scene.mount_height_m) == ("leaves", -5.0, True, 0.8)
    assert scene.nose_down_deg == pytest.approx(10.0, abs=1.5)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda: Ground("sand"), id="ground"),
        pytest.param(lambda: World().place(Obstacle("x", "elephant", 1.0)), id="obstacle"),
        pytest.param(lambda: Place("elephant", 1.0), id="obstacle of a scenario"),
    ],
)
def test_an_unknown_thing_is_refused(wrong):
    """A scenario's typing error is told with what there is."""
    with pytest.raises(ValueError, match="must be one of"):
        wrong()


def test_the_distant_past_is_forgotten_loudly():
    """Looking back further than the world remembers is an error, not a wrong answer."""
    world = World(1)
    world.advance(20.0)
    with pytest.raises(ValueError, match="remembers"):
        world.imu(10.0)


def test_who_walks_along_keeps_their_distance_in_steps_of_their_own():
    """A companion stays 1 m behind, 4 cm either way at their own pace, and is no contact"""
    world = World(1, profile=Profile(sway_deg=0.0))
    world.run([(0.0, WalkAlong("person_jacket", 1.0, sways_m=0.04, sways_hz=1.6)), (1.0, Walk(0.6))])
    gaps = [world.gap_m(t * 0.01) for t in range(100, 1000)]
    assert max(gaps) == pytest.approx(1.04, abs=0.002)
    assert min(gaps) == pytest.approx(0.96, abs=0.002)
    rises = sum(a < 1.0 <= b for a, b in itertools.pairwise(gaps))
    assert rises == pytest.approx(9.0 * 1.6, abs=1)
    assert world.contacts == []


def test_told_to_slow_down_the_walker_does_after_a_moment():
    """A fifth of the speed goes off at "Slow down", once the walker has reacted"""
    world = World(1, profile=Profile(ripple=0.0))
    world.run([(0.0, Walk(0.8))])
    world.advance(5.0)
    world.hear("slow_down", 5.0)
    world.advance(5.0 + world.walker.profile.reaction_s)
    assert world.walker.speed_m_s == pytest.approx(0.8, abs=0.01)
    world.advance(9.0)
    assert world.walker.speed_m_s == pytest.approx(0.64, abs=0.01)
