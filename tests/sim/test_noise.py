from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrowalk.sim.estimates import TARGET_LOSS_DB, EchoParameters
from retrowalk.sim.noise import (
    EchoModel,
    Scene,
    Target,
    detection_probability,
    ground_slant_m,
    margin_db,
    speed_of_sound_m_s,
    stream,
)

PLAIN = EchoParameters()
# The model without its bursts and false echoes, to look at one thing at a time.
CLEAR = Scene([], nose_down_deg=-10.0)  # the ground is out of the beam, too
CALM = replace(PLAIN, bad_p=0.0, false_near_p=0.0, stamp_outlier_p=0.0)


def probability(kind, range_m, **air):
    return detection_probability(margin_db(kind, range_m, PLAIN, **air), PLAIN)


def answers(scene, parameters=CALM, pings=2000, seed=1):
    model = EchoModel(seed, parameters=parameters)
    return [model.ping(number * 0.065, scene) for number in range(pings)]


def ranges(scene, **more):
    half = speed_of_sound_m_s(scene.temperature_c) / 2
    return [echo.flight_s * half for echo in answers(scene, **more) if echo.flight_s is not None]


def seen(scene, kind, **more):
    echoes = answers(scene, **more)
    return sum(echo.source == kind for echo in echoes) / len(echoes)


@pytest.mark.parametrize(
    ("kind", "range_m", "expected"),
    [
        pytest.param("person_fleece", 1.0, 0.99, id="fleece at 1 m"),
        pytest.param("person_fleece", 2.0, 0.47, id="fleece at 2 m"),
        pytest.param("person_fleece", 3.0, 0.03, id="fleece at 3 m"),
        pytest.param("wall", 4.5, 0.50, id="wall"),
        pytest.param("wall_tilted_10", 3.6, 0.50, id="wall at 10 degrees"),
        pytest.param("wall_tilted_20", 2.1, 0.50, id="wall at 20 degrees"),
        pytest.param("car", 4.1, 0.50, id="car"),
        pytest.param("hedge", 2.9, 0.50, id="hedge"),
        pytest.param("pole_90mm", 2.7, 0.50, id="pole"),
        pytest.param("person_jacket", 2.6, 0.50, id="jacket"),
        pytest.param("rod_25mm", 1.9, 0.50, id="rod"),
        pytest.param("wire_6mm", 1.2, 0.50, id="wire"),
    ],
)
def test_detection_is_that_of_the_reference(kind, range_m, expected):
    """The table of ranging.md 5.4 comes out of the model, within its rounding."""
    assert probability(kind, range_m) == pytest.approx(expected, abs=0.12 if expected == 0.5 else 0.01)


@pytest.mark.parametrize(
    ("temperature_c", "reach_m"),
    [pytest.param(0.0, 6.4, id="freezing"), pytest.param(40.0, 4.0, id="hot and dry")],
)
def test_air_changes_the_reach_of_a_wall(temperature_c, reach_m):
    """A wall is seen at 6.4 m in frost and at 4.0 m in heat every second time (5.1)."""
    assert probability("wall", reach_m, temperature_c=temperature_c) == pytest.approx(0.5, abs=0.2)


@given(
    kind=st.sampled_from(sorted(TARGET_LOSS_DB)),
    near=st.floats(0.1, 6.0),
    farther=st.floats(0.0, 3.0),
    off=st.floats(0.0, 20.0),
    more_off=st.floats(0.0, 20.0),
)
def test_farther_or_further_off_axis_is_never_seen_better(kind, near, farther, off, more_off):
    """Detection falls with distance and with the angle off the axis."""
    assert probability(kind, near + farther, off_axis_deg=off + more_off) <= probability(kind, near, off_axis_deg=off)


def test_pings_follow_the_probability():
    """The share of pings that see a target is what the margin says."""
    scene = Scene([Target("person_fleece", 2.0)], temperature_c=20.0)
    assert seen(scene, "person_fleece", pings=5000) == pytest.approx(0.47, abs=0.03)


def test_a_target_out_of_the_beam_is_lost():
    """A trunk that leans 20 degrees looks past a person."""
    scene = Scene([Target("person_jacket", 2.0)], temperature_c=20.0)
    assert seen(scene, "person_jacket") > 0.8
    assert seen(replace(scene, nose_down_deg=-20.0), "person_jacket") < 0.01


def test_a_good_echo_is_millimetres_off():
    """A wall near by is read within the maker's 3 mm, without slips."""
    values = ranges(Scene([Target("wall", 1.5)]))
    assert statistics.mean(values) == pytest.approx(1.5, abs=0.001)
    assert statistics.stdev(values) == pytest.approx(0.003, abs=0.0005)


def test_a_weak_echo_slips_cycles():
    """A weak echo crosses its threshold 1 to 3 cycles late: it reads long, in steps of 4.3 mm."""
    scene = Scene([Target("person_fleece", 2.0)], temperature_c=20.0)
    values = ranges(scene, parameters=replace(CALM, missed_silent_p=1.0, sigma_m=0.0))
    steps = {round((value - 2.0) / 0.004_29) for value in values if value < 3.0}  # the ground answers beyond
    assert steps == {1, 2, 3}


def test_the_echo_is_as_far_as_the_target_was_at_mid_flight():
    """A target that nears at 1.2 m/s is read 7 mm a metre nearer than when the ping was sent."""
    values = ranges(Scene([Target("wall", 2.0, closing_m_s=1.2)], temperature_c=20.0))
    assert statistics.mean(values) == pytest.approx(2.0 - 1.2 * 2.0 / 343.2, abs=0.001)


def test_what_is_missed_is_silent_or_reads_long():
    """Of the missed pings 60 % give no target, the rest a second echo at 1 to 2 times the range."""
    scene = Scene([Target("wall_tilted_20", 2.2)], temperature_c=20.0)
    echoes = answers(scene, pings=6000)
    missed = [echo for echo in echoes if echo.source != "wall_tilted_20"]
    silent = [echo for echo in missed if echo.flight_s is None]
    long = [echo.flight_s * 343.2 / 2 for echo in missed if echo.source == "second_echo"]
    assert len(silent) / len(missed) == pytest.approx(0.6, abs=0.04)
    assert min(long) >= 2.2
    assert max(long) <= 4.5


def test_nothing_at_all_gives_no_echo():
    """On an empty path there is no second echo of nothing."""
    assert all(echo.flight_s is None for echo in answers(CLEAR))


def test_a_missed_person_does_not_hide_the_wall_behind():
    """What stands behind a soft target is seen past it."""
    scene = Scene([Target("person_fleece", 3.0), Target("wall", 3.5)], temperature_c=20.0)
    assert seen(scene, "wall") > 0.8


@pytest.mark.parametrize(
    ("wind_m_s", "expected"), [pytest.param(3.0, 0.001, id="calm"), pytest.param(9.0, 0.01, id="windy")]
)
def test_false_near_echoes_come_with_the_wind(wind_m_s, expected):
    """False near echoes: 0.1 % a ping, 1 % in wind, between 0.2 and 3 m."""
    echoes = answers(replace(CLEAR, wind_m_s=wind_m_s), parameters=replace(PLAIN, bad_p=0.0), pings=20_000)
    false = [echo.flight_s * 343.2 / 2 for echo in echoes if echo.source == "false_near"]
    assert len(false) / len(echoes) == pytest.approx(expected, rel=0.5)
    assert min(false) > 0.19
    assert max(false) < 3.01


@pytest.mark.parametrize(
    ("ground", "expected"),
    [
        pytest.param("asphalt", 0.05, id="asphalt"),
        pytest.param("gravel", 0.30, id="gravel"),
        pytest.param("grass", 0.30, id="grass"),
        pytest.param("leaves", 0.60, id="leaves"),
    ],
)
def test_the_ground_answers_where_the_beam_meets_it(ground, expected):
    """Clutter comes at the slant distance, give or take 5 %, as often as the ground is rough."""
    scene = Scene([], nose_down_deg=0.0, ground=ground)
    values = ranges(scene, pings=4000)
    slant_m = ground_slant_m(0.9, 0.0, PLAIN.half_beam_deg)
    assert slant_m == pytest.approx(3.5, abs=0.05)
    assert len(values) / 4000 == pytest.approx(expected, abs=0.03)
    assert all(0.949 * slant_m < value < 1.051 * slant_m for value in values)


@pytest.mark.parametrize(
    ("nose_down_deg", "expected_m"),
    [pytest.param(-10.0, 10.3, id="-10"), pytest.param(5.0, 2.6, id="+5"), pytest.param(10.0, 2.1, id="+10")],
)
def test_the_slant_distance_is_that_of_the_reference(nose_down_deg, expected_m):
    """Row 15 degrees of the table in ranging.md 5.3."""
    assert ground_slant_m(0.9, nose_down_deg, 15.0) == pytest.approx(expected_m, abs=0.06)


def test_bad_pings_come_in_bursts():
    """Bursts of five pings on average: a loss is mostly followed by a loss."""
    scene = Scene([Target("wall_tilted_10", 2.2)])
    lost = [echo.source != "wall_tilted_10" for echo in answers(scene, parameters=PLAIN, pings=20_000)]
    after_lost = [b for a, b in itertools.pairwise(lost) if a]
    share = sum(lost) / len(lost)
    assert 0.02 < share < 0.12
    assert sum(after_lost) / len(after_lost) > 4 * share


def test_stamps_are_late_and_sometimes_very_late():
    """Kernel stamps: 0 to 30 us, one ping in a thousand 0.2 to 2 ms."""
    late = [max(e.rise_late_s, e.fall_late_s) for e in answers(CLEAR, parameters=PLAIN, pings=20_000)]
    outliers = [value for value in late if value > 30e-6]
    assert len(outliers) / len(late) == pytest.approx(0.001, rel=0.6)
    assert all(0.0002 <= value <= 0.00204 for value in outliers)


def test_rain_weakens_and_droplets_blind():
    """Rain costs 6 dB; a droplet answers with the module's own ringing for seconds."""
    scene = Scene([Target("person_jacket", 2.2)], temperature_c=20.0)
    assert seen(replace(scene, rain=True), "person_jacket") < seen(scene, "person_jacket") - 0.2
    assert 0.001 < seen(replace(scene, rain=True), "droplet", pings=20_000) < 0.1


def test_another_walkers_module_is_heard():
    """Crosstalk: false ranges that slide, on as many pings as asked for."""
    model = EchoModel(1, parameters=CALM)
    model.crosstalk_p = 0.2
    echoes = [model.ping(i * 0.065, CLEAR) for i in range(4000)]
    assert sum(echo.source == "crosstalk" for echo in echoes) / 4000 == pytest.approx(0.2, abs=0.03)


def test_equal_seeds_give_equal_echoes_and_others_other_ones():
    """A seed is one walk."""
    scene = Scene([Target("person_fleece", 2.0)])
    assert answers(scene, seed=3) == answers(scene, seed=3)
    assert answers(scene, seed=3) != answers(scene, seed=4)


def test_streams_do_not_disturb_each_other():
    """One consumer's draws leave another's as they are."""
    alone = [stream(7, "a").random() for _ in range(1)]
    first, other = stream(7, "a"), stream(7, "b")
    other.random()
    assert [first.random()] == alone
    assert math.isfinite(other.random())
