"""Where what is behind is: sensors that look to the sides, what is heard and felt of it, and what is not said."""

from __future__ import annotations

import math

import pytest
from tests.core.synth import RANGE_HZ, Street, heartbeats, merged, ranges, steady, upright, walking

from retrowalk.config import Config, HcSr04, RangeSensor, TfLuna, Voice
from retrowalk.core.samples import Item, RangeSample, RangeStatus

LEFT = HcSr04(name="left", trigger_pin=5, echo_pin=6, bearing_left_deg=15.0)
RIGHT = HcSr04(name="right", trigger_pin=13, echo_pin=19, bearing_left_deg=-15.0)
STRAIGHT = HcSr04(name="middle")
SIDES = (LEFT, RIGHT)

Ranges = list[tuple[float, float | None]]


def wall(start_s: float, from_m: float, end_s: float, speed_m_s: float = 0.5) -> Ranges:
    """Something that comes nearer."""
    profile = steady(start_s, end_s, from_m)
    return [(t, from_m - speed_m_s * (t - start_s)) for t, _ in profile]


def walk(
    sees: dict[str, Ranges], sensors: tuple[RangeSensor, ...] = SIDES, end_s: float = 14.0, **config: object
) -> Street:
    """Stands and shows a hand to every sensor; walks from 6 s on, each sensor seeing what is said, else nothing."""
    streams: list[list[Item]] = []
    for sensor in sensors:
        hand = [*steady(0.0, 1.0, 0.5), *steady(1.0, 6.0, None)]
        profile = [*hand, *(sees.get(sensor.name) or steady(6.0, end_s, None))]
        streams.append(list(ranges(profile, sensor=sensor.name, latency_s=0.0)))
    body = walking(end_s, bouts=[(6.0, end_s)], turns=False).samples()
    whole = Config(range_sensor=sensors, **config)  # type: ignore[arg-type]
    return Street(whole).run(merged(*streams, body, heartbeats(0.0, end_s)), end_s)


def raised(street: Street) -> list[float | None]:
    """The bearing with each level of what is behind, after the check."""
    return [e.bearing_left_deg for e in street.events("hazard.raised") if e.hazard == "rear" and e.t_s > 6.0]


def stops(street: Street) -> list[float]:
    return [speak.pan for speak in street.spoken("stop") if speak.t_s > 6.0]


def felt(street: Street) -> set[str]:
    return {touch.side for touch in street.touches() if touch.pattern == "warning" and touch.t_s > 6.0}


@pytest.mark.parametrize(
    ("sees", "bearing_deg", "pan", "side"),
    [
        pytest.param(("left",), 15.0, -0.5, "left", id="left"),
        pytest.param(("right",), -15.0, 0.5, "right", id="right"),
        pytest.param(("left", "right"), 0.0, 0.0, "", id="both: in the middle"),
    ],
)
def test_what_one_side_sees_is_heard_and_felt_there(sees, bearing_deg, pan, side):
    """From the chime to "Stop" it comes from the walker's own side; seen from both at one range it is in the middle."""
    street = walk({name: wall(6.0, 3.5, 12.0) for name in sees}, end_s=12.0)
    assert raised(street)
    assert set(raised(street)) == {bearing_deg}
    assert stops(street)
    assert set(stops(street)) == {pan}
    assert felt(street) == {side}
    assert {s.phrase for s in street.spoken() if s.t_s > 6.0 and s.phrase.startswith("object")} <= {"object"}


def test_the_nearer_of_two_things_has_the_say():
    """A pole on the left at 2 m, a wall on the right at 4 m: the warning is of the pole, and from the left."""
    street = walk({"left": wall(6.0, 2.5, 9.0), "right": wall(6.0, 4.0, 9.0)}, end_s=9.0)
    assert set(stops(street)) == {-0.5}


def test_a_straight_sensor_says_nothing_of_a_side():
    """Without a bearing all is as it was: the middle, both motors, and no bearing in the event."""
    street = walk({"middle": wall(6.0, 3.5, 12.0)}, (STRAIGHT,), end_s=12.0)
    assert set(raised(street)) == {None}
    assert set(stops(street)) == {0.0}
    assert felt(street) == {""}


@pytest.mark.slow
def test_what_a_straight_sensor_and_one_side_see_is_on_that_side():
    """A wide beam straight back sees it as well, and knows nothing of where; alone it knows nothing either."""
    both = walk({name: wall(6.0, 3.5, 12.0) for name in ("middle", "left")}, (STRAIGHT, *SIDES), end_s=12.0)
    alone = walk({"middle": wall(6.0, 3.5, 12.0)}, (STRAIGHT, *SIDES), end_s=12.0)
    assert set(stops(both)) == {-0.5}
    assert set(stops(alone)) == {0.0}


@pytest.mark.slow
def test_two_on_one_side_say_that_side():
    """A lidar and an ultrasonic sensor on the left: their mean."""
    lidar = TfLuna(bearing_left_deg=25.0)
    street = walk({name: wall(6.0, 3.5, 12.0) for name in ("left", "lidar")}, (LEFT, RIGHT, lidar), end_s=12.0)
    assert set(raised(street)) <= {15.0, 20.0, 25.0}
    assert all(pan < 0.0 for pan in stops(street))


@pytest.mark.parametrize(("say_side", "phrase"), [(False, "object"), (True, "object_right")])
def test_a_side_is_spoken_only_if_enabled(say_side, phrase):
    """`voice.say_side`: "Object right, ..."; without it the sound alone tells."""
    street = walk({"right": wall(6.0, 3.5, 9.5)}, end_s=9.5, voice=Voice(say_side=say_side))
    said = [s.phrase for s in street.spoken() if s.t_s > 6.0 and s.phrase.startswith("object")]
    assert said
    assert set(said) == {phrase}


def test_one_side_that_is_lost_leaves_the_other_warning():
    """The left sensor falls silent: it is named; what the right one sees is warned of, from the right."""
    silent = [RangeSample(t, t, "left", RangeStatus.NO_ECHO) for t, _ in steady(6.0, 12.0, None, RANGE_HZ)]
    seen = [*steady(0.0, 1.0, 0.5), *steady(1.0, 6.0, None), *wall(6.0, 3.5, 12.0)]
    hand = [*steady(0.0, 1.0, 0.5), *steady(1.0, 6.0, None)]
    street = Street(Config(range_sensor=SIDES)).run(
        merged(
            ranges(hand, sensor="left", latency_s=0.0),
            silent,
            ranges(seen, sensor="right", latency_s=0.0),
            upright(12.0),
            heartbeats(0.0, 12.0),
        ),
        12.0,
    )
    assert street.first("sensor.lost", sensor="left") is not None
    assert set(stops(street)) == {0.5}


def test_who_walks_along_on_one_side_hides_nothing_on_the_other():
    """A post that is suddenly 1.3 m behind on the right is warned of as soon beside a carer on the left as without."""
    post = [*steady(6.0, 10.0, None), *wall(10.0, 1.3, 11.2, 1.0)]
    carer: Ranges = [(t, 0.9 + 0.02 * math.sin(9.0 * t)) for t, _ in steady(6.0, 12.0, None)]
    alone = walk({"right": post}, end_s=12.0)
    beside = walk({"right": post, "left": carer}, end_s=12.0)
    first_s = [min(s.t_s for s in street.spoken("stop") if s.t_s > 9.9) for street in (alone, beside)]
    assert first_s[1] == first_s[0]
