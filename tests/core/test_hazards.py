"""Whether something is behind, how urgent it is, when the path is known: by the published tables and by property."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.synth import Street, approach, heartbeats, merged, ranges, settled, standing, steady, times, upright

from retrowalk.config import Collision, Config, Freshness, HcSr04, RangeTracker, Walker
from retrowalk.core.events import Level
from retrowalk.core.hazards import STRAYS_WITHIN_S, Path, RearHazard, collision_level, needed_m
from retrowalk.core.samples import RangeSample, RangeStatus

OLDER, YOUNGER = Walker(profile="older"), Walker(profile="younger")
COLLISION = Collision()

# human_factors 2.2: speed, and distance for younger warning, older warning, younger caution, older caution.
PUBLISHED = [
    (0.20, 0.81, 0.93, 1.11, 1.23),
    (0.30, 0.96, 1.15, 1.41, 1.60),
    (0.42, 1.14, 1.41, 1.77, 2.04),
    (0.50, 1.26, 1.58, 2.01, 2.33),
    (0.60, 1.42, 1.80, 2.32, 2.70),
    (0.69, 1.55, 2.00, 2.59, 3.03),
    (0.80, 1.72, 2.23, 2.92, 3.43),
    (1.00, 2.03, 2.67, 3.53, 4.17),
    (1.20, 2.33, 3.10, 4.13, 4.90),
]


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row[0]} m/s")
def test_room_needed_is_the_published_table(row):
    """The stopping-distance rule gives the derived table to 2 cm, for both profiles and both levels."""
    speed, *expected = row
    got = [
        needed_m(level, speed, walker, COLLISION)
        for level in (Level.WARNING, Level.CAUTION)
        for walker in (YOUNGER, OLDER)
    ]
    assert got == pytest.approx(expected, abs=0.02)


def test_a_measured_walker_is_given_the_measured_room():
    """With a stop calibration, cue to standstill is the walker's own."""
    walker = Walker(profile="measured", measured_stop_s=1.0)
    assert needed_m(Level.WARNING, 0.5, walker, COLLISION) == pytest.approx(0.5 * 1.3 + 0.5)


@pytest.mark.parametrize(
    ("range_m", "closing_m_s", "expected"),
    [
        pytest.param(4.0, 0.3, Level.NONE, id="far and slow"),
        pytest.param(3.5, 0.69, Level.ADVISORY, id="less than six seconds away"),
        pytest.param(2.9, 0.69, Level.CAUTION, id="a second and a half before the warning"),
        pytest.param(1.9, 0.69, Level.WARNING, id="no room to stop"),
        pytest.param(1.9, 0.30, Level.NONE, id="the same distance, slowly"),
        pytest.param(1.4, 0.30, Level.CAUTION, id="near, slowly"),
        pytest.param(0.9, 0.12, Level.CAUTION, id="caution floor"),
        pytest.param(0.9, 0.0, Level.NONE, id="standing beside it"),
        pytest.param(0.5, 0.0, Level.WARNING, id="warning floor"),
        pytest.param(0.51, 0.05, Level.NONE, id="just above the floor, standing"),
        pytest.param(2.0, -0.5, Level.NONE, id="walking away"),
    ],
)
def test_level_follows_room_left(range_m, closing_m_s, expected):
    """The less room is left for this speed, the more urgent the level."""
    assert collision_level(range_m, closing_m_s, OLDER, COLLISION) is expected


walkers = st.builds(
    Walker,
    profile=st.sampled_from(["older", "younger", "measured"]),
    measured_stop_s=st.floats(0.3, 4.0),
    reach_m=st.floats(0.0, 0.8),
    clearance_m=st.floats(0.05, 1.0),
)


@given(
    walkers,
    st.floats(0.0, 6.0),
    st.floats(0.0, 3.0),
    st.floats(-2.0, 3.0),
    st.floats(0.0, 2.0),
    st.floats(0.2, 0.3),
    st.floats(0.02, 0.5),
)
def test_nearer_or_faster_is_never_calmer(walker, range_m, nearer_m, speed, faster, floor, moving):
    """For every walker and every knob: less distance or more speed never lowers the level."""
    collision = Collision(warning_floor_m=floor, moving_m_s=moving)
    calm = collision_level(range_m + nearer_m, speed, walker, collision)
    assert collision_level(range_m, speed, walker, collision) >= calm
    assert collision_level(range_m, speed + faster, walker, collision) >= calm


# ----------------------------------------------------------------------------------- one sensor, by samples


class Rear:
    """A rear sensor fed as the Companion feeds it; collects (time, level, path)."""

    def __init__(self, walking: bool | None = True, **collision: float) -> None:
        config = Config(collision=Collision(**collision))
        self.hazard = RearHazard(HcSr04(), config.walker, config.collision, Freshness(), RangeTracker())
        self.walking = walking
        self.log: list[tuple[float, Level, Path]] = []

    def feed(self, *pieces: Sequence[tuple[float, float | None]], status: RangeStatus = RangeStatus.NO_TARGET) -> Rear:
        for piece in pieces:
            for t, range_m in piece:
                self.until(t)
                kind = RangeStatus.VALID if range_m is not None else status
                self.hazard.feed(RangeSample(t, t, "rear", kind, range_m), self.walking)
                self._note(t)
        return self

    def until(self, t: float) -> None:
        """Lets time pass, stopping at each deadline."""
        while (due := self.hazard.deadline()) < t:
            self.hazard.advance(due, self.walking)
            assert self.hazard.deadline() > due, "a deadline that does not move on"
            self._note(due)

    def _note(self, t: float) -> None:
        self.log.append((t, self.hazard.behind.level, self.hazard.path))

    def first(self, what: Level | Path, after: float = -math.inf) -> float:
        """When a level (or more) or a path was first there."""
        for t, level, path in self.log:
            if t >= after and (path is what if isinstance(what, Path) else level >= what):
                return t
        return math.inf

    @property
    def level(self) -> Level:
        return self.hazard.behind.level


def test_one_echo_is_nothing():
    """A single echo starts neither track nor hazard, however near."""
    rear = Rear().feed([(0.0, 0.3)], [(0.067, None)], [(0.5, 0.4)], [(0.567, None)])
    assert rear.level is Level.NONE
    assert not rear.hazard.tracker.alive


def test_two_agreeing_echoes_near_are_a_warning():
    """What is too near for any speed is warned of at the second echo."""
    assert Rear().feed(steady(0.0, 0.1, 0.4)).level is Level.WARNING


def test_two_echoes_that_disagree_are_nothing():
    """Two echoes a metre apart speak of two things, or none."""
    assert Rear().feed([(0.0, 0.4), (0.067, 1.4)]).level is Level.NONE


@pytest.mark.parametrize("speed", [0.3, 0.5, 0.7, 1.0])
def test_levels_come_in_order_and_in_time(speed):
    """On an approach: advisory, caution, warning, each within 0.3 s of the room it stands for."""
    rear = Rear().feed(approach(0.0, 4.0 if speed < 0.9 else 4.8, speed))
    start = 4.0 if speed < 0.9 else 4.8
    for level in (Level.CAUTION, Level.WARNING):
        due = (start - needed_m(level, speed, OLDER, COLLISION)) / speed
        assert rear.first(level) == pytest.approx(max(due, 0.2), abs=0.3)
    assert rear.first(Level.ADVISORY) <= rear.first(Level.CAUTION) <= rear.first(Level.WARNING)


def test_a_level_is_raised_at_once_and_lowered_slowly():
    """After stepping away the warning stays for the hold time, then goes; it comes back at the next echo or two."""
    rear = Rear().feed(approach(0.0, 2.0, 0.6, until_m=0.8))
    assert rear.level is Level.WARNING
    t = rear.log[-1][0]
    away = [(t + 0.067 * i, 0.8 + 0.6 * 0.067 * i) for i in range(1, 31)]
    rear.feed(away)
    lowered = next(s for s, level, _ in rear.log if s > t and level < Level.WARNING)
    assert 0.6 <= lowered - t < 1.6
    assert rear.log[-1][1] is Level.NONE


def test_a_level_does_not_flicker_at_its_edge():
    """A range that wavers by 4 cm with every step raises one warning on the way, not many."""
    walk = [(t, 2.4 - 0.3 * t + 0.04 * math.sin(2 * math.pi * 1.8 * t)) for t in times(0.0, 5.5)]
    levels = [level for _, level, _ in Rear().feed(walk).log]
    rises = [b for a, b in itertools.pairwise(levels) if b > a]
    assert rises[-1] is Level.WARNING
    assert len(rises) == len(set(rises))


def test_standing_still_beside_something_grows_quiet():
    """Three seconds after standing still the warning ends; it does not come back while nothing moves."""
    rear = Rear().feed(approach(0.0, 1.5, 0.5, until_m=0.4))
    stopped = rear.log[-1][0]
    rear.feed(steady(stopped + 0.067, stopped + 20.0, 0.4))
    quiet = next(t for t, level, _ in rear.log if t > stopped and level is Level.NONE)
    assert 2.5 < quiet - stopped < 5.0
    assert rear.first(Level.ADVISORY, after=quiet) == math.inf


@pytest.mark.parametrize(
    "nears",
    [
        pytest.param([(10.0 + i / 15, 0.4 - 0.3 * i / 15) for i in range(12)], id="quickly"),
        pytest.param([(10.0 + i / 15, 0.4 - 0.05 * i / 15) for i in range(60)], id="creeping"),
    ],
)
def test_quiet_ends_when_it_nears_again(nears):
    """After the quiet, 10 cm nearer (or faster than standing) is a warning again."""
    rear = Rear().feed(approach(0.0, 1.5, 0.5, until_m=0.4), steady(2.3, 10.0, 0.4))
    assert rear.level is Level.NONE
    rear.feed(nears)
    raised = rear.first(Level.WARNING, after=10.0)
    assert raised < math.inf
    at = dict(nears)[min(dict(nears), key=lambda t: abs(t - raised))]
    assert at > 0.25


def test_touching_is_told_and_ends():
    """Nearer than the touching distance the tone is continuous; farther it is not."""
    rear = Rear().feed(approach(0.0, 1.2, 0.5, until_m=0.2))
    assert rear.hazard.behind.touching
    t = rear.log[-1][0]
    rear.feed([(t + i / 15, 0.2 + 0.5 * i / 15) for i in range(1, 8)])
    assert rear.level is Level.WARNING
    assert not rear.hazard.behind.touching


# -------------------------------------------------------------------------------------- a missing return


def test_a_missing_echo_alone_never_lowers_a_warning():
    """While nothing at all comes back, the warning that held is held."""
    rear = Rear().feed(approach(0.0, 2.5, 0.6, until_m=1.0))
    t = rear.log[-1][0]
    rear.feed(steady(t + 0.067, t + 20.0, None), status=RangeStatus.NO_ECHO)
    assert rear.level is Level.WARNING
    assert rear.first(Path.CLEAR) == math.inf


def test_silence_never_leads_towards_clear():
    """One "no target" and then nothing is no proof: time alone makes no path clear."""
    rear = Rear().feed(steady(0.0, 1.0, 1.2), steady(1.0, 1.05, None))
    rear.until(60.0)
    rear.hazard.advance(60.0, True)
    assert rear.hazard.path is not Path.CLEAR


def test_what_vanished_within_reach_is_unknown_then_clear_after_proof():
    """A track lost within reach: unknown within 2 s, clear only after 3 s more of "no target"."""
    rear = Rear().feed(steady(0.0, 2.0, 1.2), steady(2.0, 9.0, None))
    unknown, clear = rear.first(Path.UNKNOWN), rear.first(Path.CLEAR)
    assert 0.9 < unknown - 2.0 <= 2.0
    assert 3.0 <= clear - unknown < 3.2


def test_proof_that_is_interrupted_begins_anew():
    """Two stray echoes within a step while the path is unknown start the three seconds again."""
    strays = [(5.5, 3.1), (5.57, 2.2)]
    rear = Rear().feed(steady(0.0, 2.0, 1.2), steady(2.0, 5.5, None), strays, steady(5.65, 12.0, None))
    assert rear.first(Path.CLEAR) - 5.65 >= 2.95


def test_a_lone_stray_does_not_spoil_the_proof():
    """One echo that fits nothing (the ground, the wind) does not keep a proven path unknown."""
    rear = Rear().feed(steady(0.0, 2.0, 1.2), steady(2.0, 5.0, None), [(5.0, 3.1)], steady(5.1, 12.0, None))
    assert rear.first(Path.CLEAR) < 7.0


@pytest.mark.parametrize("walking", [True, False, None])
@pytest.mark.parametrize(
    "profile",
    [
        pytest.param(steady(0.0, 2.0, 3.4), id="far"),
        pytest.param([(t, 1.0 + 0.4 * t) for t in times(0.0, 2.0)], id="receding"),
    ],
)
def test_what_was_far_or_left_may_vanish(profile, walking):
    """A far or receding track that ends in "no target" leaves a clear path, and nothing is said."""
    rear = Rear(walking).feed(profile, steady(2.0, 5.0, None))
    assert rear.hazard.path is Path.CLEAR
    assert rear.first(Path.UNKNOWN) == math.inf


def test_answers_that_fit_nothing_make_the_path_unknown():
    """A near track lost amid echoes that never agree is unknown within 2 s, though the sensor answers."""
    garbage = [(2.0 + i / 15, (2.6, 3.3, 3.9)[i % 3]) for i in range(90)]
    rear = Rear().feed(steady(0.0, 2.0, 1.5), garbage)
    assert rear.first(Path.UNKNOWN) - 2.0 <= 2.0


def pulses_by_chance(draw: random.Random, begin_s: float, count: int) -> Iterator[RangeSample]:
    """What a broken sensor answers whose pulses are 5 us to 32 ms long, every decade as often."""
    for number in range(count):
        t, range_m = begin_s + number / 15, 172.0 * 10.0 ** draw.uniform(-5.3, -1.5)
        kind = RangeStatus.REJECTED if range_m < 0.02 else RangeStatus.NO_TARGET if range_m > 4.0 else RangeStatus.VALID
        yield RangeSample(t, t, "rear", kind, range_m if kind is RangeStatus.VALID else None)


def test_pulses_of_any_length_are_nonsense_within_a_second():
    """... but for one in twenty that chance lets make sense for longer, and then within a second and a half"""
    named_s = []
    for seed in range(60):
        rear = Rear().feed(steady(0.0, 2.0, 2.5))
        for sample in pulses_by_chance(random.Random(seed), 2.0, 30):
            rear.hazard.feed(sample, True)
            if rear.hazard.nonsense:
                named_s.append(sample.t_received_s - 2.0)
                break
    assert len(named_s) == 60
    assert sum(t_s > 1.0 for t_s in named_s) <= 3
    assert max(named_s) <= 1.5


def test_lost_edges_between_echoes_of_a_wall_are_no_nonsense():
    """A processor that is kept busy loses edges of every other ping; the wall that the others follow is one"""
    rear = Rear().feed(steady(0.0, 2.0, 2.5))
    for number in range(60):
        t = 2.0 + number / 15
        lost = number % 2 == 0
        kind = RangeStatus.REJECTED if lost else RangeStatus.VALID
        rear.hazard.feed(RangeSample(t, t, "rear", kind, None if lost else 2.5 - 0.03 * number), True)
        assert not rear.hazard.nonsense


def test_what_a_track_begins_with_is_no_nonsense():
    """Ground and second echoes of a wide beam, then something steps in: its first echoes make sense of the sensor."""
    echoes = (1.87, 1.91, 2.59, 1.35, 2.05, None, 1.19, 1.14, 1.10, 1.07)  # ten a second, at 0.5 m/s
    rear = Rear().feed([(i / 10, range_m) for i, range_m in enumerate(echoes)])
    assert not rear.hazard.nonsense
    assert rear.level >= Level.CAUTION


def test_nothing_but_scattered_echoes_from_the_start_is_unknown():
    """A sensor that never says the same twice proves neither object nor clear."""
    rear = Rear().feed([(i / 15, (0.6, 2.2, 3.8)[i % 3]) for i in range(60)])
    assert rear.first(Path.UNKNOWN) <= 2.0
    assert rear.first(Path.CLEAR) == math.inf


def test_no_target_from_the_start_is_clear():
    """An empty field is proved healthy by the sensor's own "nothing seen"."""
    assert Rear().feed(steady(0.0, 1.0, None)).first(Path.CLEAR) < 0.6


@pytest.mark.parametrize("walking", [True, False, None])
@pytest.mark.parametrize("speed", [0.0, 0.3, 0.7])
def test_someone_stepping_in_before_a_far_wall_is_warned_of(speed, walking):
    """While a wall at 3.5 m is tracked, something new at 0.45 m is a warning within 0.35 s of its first echo."""
    before = [(t, 3.5 - 0.2 * t) for t in times(0.0, 3.0)]
    new = [(t, 0.45 - speed * (t - 3.0)) for t in times(3.0, 3.6)]
    rear = Rear(walking).feed(before, new)
    assert rear.first(Level.WARNING) - 3.0 <= 0.35


@pytest.mark.parametrize("walking", [True, None])
def test_someone_stepping_in_at_walking_speed_needs_no_speed_estimate(walking):
    """At 1.4 m while walking there is no room to stop: warned of within 0.35 s, before closing speed is known."""
    before = [(t, 3.9 - 0.2 * t) for t in times(0.0, 3.0)]
    rear = Rear(walking).feed(before, [(t, 1.4 - 0.7 * (t - 3.0)) for t in times(3.0, 3.6)])
    assert rear.first(Level.WARNING) - 3.0 <= 0.35


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["valid", "valid", "no_target", "no_echo", "rejected"]),
            st.floats(0.05, 4.0),
            st.one_of(st.integers(1, 3), st.integers(1, 40)),
        ),
        max_size=12,
    )
)
def test_clear_always_has_proof(pieces):
    """However samples fall: a path becomes clear by "no target", after a run of them with lone stray echoes at most."""
    rear = Rear()
    t, streak_s, echo_s, was = 0.0, None, -math.inf, Path.STARTING
    for kind, range_m, n in pieces:
        for _ in range(n):
            t += 1.0 / 15.0
            if kind in ("valid", "no_target"):
                rear.feed([(t, range_m if kind == "valid" else None)])
            else:
                rear.feed([(t, None)], status=RangeStatus(kind))
            now = rear.hazard.path
            if kind == "valid":
                # One echo amid half a second without any is a stray, whatever was followed before.
                amid = streak_s is not None and t - streak_s >= 0.5
                stray = t >= echo_s + STRAYS_WITHIN_S and (now is not Path.OBJECT or amid)
                streak_s = streak_s if stray else None
                echo_s = t
            elif kind == "no_target":
                streak_s = t if streak_s is None else streak_s
            else:
                streak_s = None
            if now is Path.CLEAR and was is not Path.CLEAR:
                assert kind == "no_target"
                assert streak_s is not None
                assert t - streak_s >= (2.9 if was is Path.UNKNOWN else 0.25)
            was = now


# ------------------------------------------------------------------------------------------ whole device


def walk_into(profile: Sequence[tuple[float, float | None]], config: Config | None = None) -> Street:
    """A checked and guarding device, then this range over time (from 6 s on)."""
    end = profile[-1][0] + 0.2
    later = merged(
        ranges(profile, latency_s=0.0),
        standing(end - 6.0, seed=3).shifted(6.0).samples(),
        heartbeats(6.0, end),
    )
    return Street(config, voice=True).run(settled(config)).run(later)


def test_an_approach_is_heard_as_tone_and_stop():
    """Walking towards a wall: caution with the distance, then "Stop" with its tone, buzzer and vibration."""
    street = walk_into(approach(6.0, 3.6, 0.6, until_m=0.9))
    stop = street.spoken("stop")[0]
    assert stop.earcon == "warning"
    due = 6.0 + (3.6 - needed_m(Level.WARNING, 0.6, OLDER, COLLISION)) / 0.6
    assert stop.t_s == pytest.approx(due, abs=0.25)
    assert any(touch.pattern == "warning" and touch.buzzer and touch.t_s == stop.t_s for touch in street.touches())
    assert street.spoken("object")
    raised = street.first("hazard.raised", level="warning")
    assert raised is not None
    assert raised.alert == stop.alert


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    st.floats(2.0, 3.9),
    st.floats(0.15, 1.0),
    st.floats(0.0, 0.8),
    st.floats(0.0, 0.5),
    st.sampled_from(["older", "younger"]),
)
@pytest.mark.slow
def test_nearer_and_faster_is_warned_of_no_later(start_m, speed, nearer_m, faster, profile):
    """Of two approaches, the one that is nearer and faster at all times reaches no lower level, no later."""
    config = Config(walker=Walker(profile=profile))
    n = times(6.0, 6.0 + min(4.0, (start_m - nearer_m - 0.2) / (speed + faster)))
    results = []
    for start, v in ((start_m, speed), (start_m - nearer_m, speed + faster)):
        items = merged(ranges([(t, start - v * (t - 6.0)) for t in n], latency_s=0.0), upright(n[-1] - 5.9, 6.0))
        street = Street(config, ticks=True).run(settled(config)).run(items)
        levels = [Level[e.level.upper()] for e in street.events("hazard.raised") if e.hazard == "rear"]
        warned = street.first("hazard.raised", hazard="rear", level="warning")
        results.append((max(levels, default=Level.NONE), warned.t_s if warned else math.inf))
    (calm_level, calm_s), (urgent_level, urgent_s) = results
    assert urgent_level >= calm_level
    assert urgent_s <= calm_s


def test_three_echoes_do_not_make_a_bicycle():
    """The first echoes of something far, one of them by way of another wall, are no reason to say "Stop"."""
    rear = Rear().feed([(0.0, 3.92), (0.065, 3.75), (0.13, 3.55)])
    assert rear.hazard.behind.level < Level.WARNING
