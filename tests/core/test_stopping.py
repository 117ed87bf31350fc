"""Cue to standstill by the clip, and what five such times allow: against a walker who knows the truth."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Callable, Iterator
from statistics import NormalDist, mean, quantiles

import pytest
from tests.core.recorded import gait_walks

from retrowalk.core.samples import ImuSample
from retrowalk.core.stopping import LEAST_S, MOST_S, SIGMA, Attempt, StopWatch, Void, allowed_s
from retrowalk.sim.walker import OLDER, YOUNGER, Profile
from retrowalk.sim.world import Action, Stand, Walk, World

HZ = 104.0
TOLD_S = 0.3
"""So much later than it was played does one hear of the cue."""

Change = Callable[[ImuSample], ImuSample | None]


def samples(world: World, until_s: float, noise: random.Random) -> Iterator[ImuSample]:
    """What the clip on this walker's back measures, with the noise of its chip."""
    for n in range(1, round(until_s * HZ)):
        t = n / HZ
        world.advance(t)
        x, y, z, p, q, r = (v + noise.gauss(0.0, 0.02 if axis < 3 else 0.003) for axis, v in enumerate(world.imu(t)))
        yield ImuSample(t, t, (x, y, z), (p, q, r))


def attempt(
    seed: int,
    speed_m_s: float,
    cue_s: float,
    *,
    profile: Profile = OLDER,
    obeys: bool = True,
    script: tuple[tuple[float, Action], ...] = (),
    change: Change = lambda sample: sample,
) -> tuple[Attempt | None, World]:
    """A walker who stands a second, walks, and is told to stop."""
    world = World(seed, profile=profile)
    world.run([(1.0, Walk(speed_m_s)), *script])
    watch = StopWatch()
    warned = cued = False
    for sample in samples(world, cue_s + 9.0, random.Random(seed)):
        t = sample.t_measured_s
        if t >= cue_s and obeys and not warned:
            warned = True
            world.walker.warned(t)
        felt = change(sample)
        if felt is not None:
            watch.feed(felt)
        if t >= cue_s + TOLD_S and not cued:
            cued = True
            watch.cue(cue_s)
        outcome = watch.outcome()
        if outcome is not None:
            return outcome, world
    return None, world


@pytest.mark.slow
@pytest.mark.parametrize(
    ("profile", "seeds"),
    [
        pytest.param(OLDER, 12, id="older"),
        pytest.param(YOUNGER, 12, id="younger"),
        pytest.param(OLDER, 200, id="200 older", marks=pytest.mark.slow),
    ],
)
def test_the_standstill_is_found_where_the_walker_stands(profile: Profile, seeds: int) -> None:
    """At most speeds within 0.05 s; of the slowest, whose creeping is not felt any more, up to 0.7 s early.

    And in 95 of 100 no less than distance over speed, which is what the collision rule needs.
    """
    errors_s, shares = [], []
    for seed in range(seeds):
        draw = random.Random(seed)
        found, world = attempt(seed, draw.uniform(0.3, 1.0), draw.uniform(5.0, 9.0), profile=profile)
        assert found is not None
        assert found.void is None
        assert found.stop_s is not None
        ((_, drawn_s),) = world.walker.stops
        # `drawn_s` is distance over speed; braking takes twice its share of that.
        lasts_s = drawn_s * (profile.reaction_share + 2.0 * (1.0 - profile.reaction_share))
        errors_s.append(found.stop_s - lasts_s)
        shares.append(found.stop_s / drawn_s)
    assert -0.1 < mean(errors_s) < 0.05
    assert min(errors_s) > -0.7
    assert max(errors_s) < 0.06
    assert quantiles(shares, n=20)[0] > 0.97


def _without(from_s: float, to_s: float) -> Change:
    return lambda sample: None if from_s < sample.t_measured_s < to_s else sample


@pytest.mark.parametrize(
    ("script", "obeys", "change", "void"),
    [
        pytest.param(((5.0, Stand()),), False, lambda s: s, Void.NOT_WALKING, id="stood before the cue"),
        pytest.param(((1.1, Stand()), (7.2, Walk(0.5))), False, lambda s: s, Void.NOT_WALKING, id="two steps"),
        pytest.param((), False, lambda s: s, Void.NO_STANDSTILL, id="walks on"),
        pytest.param(((9.8, Walk(0.5)),), True, lambda s: s, Void.MOVED_ON, id="walks on after a pause"),
        pytest.param((), True, _without(7.5, 8.0), Void.GAP, id="samples missing while stopping"),
        pytest.param((), True, _without(6.0, 7.0), Void.GAP, id="samples missing before the cue"),
    ],
)
def test_what_is_no_stop_does_not_count(
    script: tuple[tuple[float, Action], ...], obeys: bool, change: Change, void: Void
) -> None:
    """Each with its reason, and without a time."""
    found, _ = attempt(4, 0.5, 7.5, obeys=obeys, script=script, change=change)
    assert found is not None
    assert (found.void, found.stop_s) == (void, None)


def test_a_gap_long_before_the_cue_is_no_harm() -> None:
    """The walk went on for seconds after it."""
    found, _ = attempt(4, 0.5, 9.5, change=_without(2.0, 2.4))
    assert found is not None
    assert found.stop_s is not None


def test_nobody_is_judged_before_the_cue() -> None:
    """Without a cue there is no outcome, and the steps of the walk are counted while it lasts."""
    world = World(1)
    world.run([(1.0, Walk(0.5)), (8.0, Stand())])
    watch = StopWatch()
    steps = []
    for sample in samples(world, 12.0, random.Random(1)):
        watch.feed(sample)
        assert watch.outcome() is None
        steps.append(watch.steady_steps)
    assert steps[round(0.9 * HZ)] == 0
    assert steps[round(7.5 * HZ)] >= 8
    assert steps[-1] == 0


@pytest.mark.slow
def test_recorded_people_stand_when_their_feet_do(recorded_data) -> None:
    """Ten people who end a walk: where a stop is found, the trunk rests 0.3 to 1 s after the last foot, mostly."""
    with (recorded_data / "gait_l5" / "trials.csv").open(newline="") as file:
        ends_s = {row["trial_id"]: float(row["walk_end_s"]) for row in csv.DictReader(file)}
    after_s = []
    for walk in gait_walks(recorded_data):
        watch = StopWatch()
        cue_s = ends_s[walk.name] - 1.0
        told = False
        for sample in walk.motion.samples():
            watch.feed(sample)
            if not told and sample.t_measured_s >= cue_s:
                told = True
                watch.cue(cue_s)
            outcome = watch.outcome()
            if outcome is not None:
                if outcome.standstill_s is not None:
                    after_s.append(outcome.standstill_s - ends_s[walk.name])
                break
    assert len(after_s) >= 30
    low, *_, high = quantiles(after_s, n=10)
    assert low > -0.4
    assert 0.3 < quantiles(after_s, n=2)[0] < 0.8
    assert high < 1.1


# ------------------------------------------------------------------------------------------- what is allowed for


EVEN = [1.0, 1.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("profile", ["older", "younger"])
def test_more_is_allowed_than_the_slowest_took(profile: str) -> None:
    """Never less than the slowest of the five took."""
    draw = random.Random(1)
    for _ in range(300):
        stops_s = [draw.lognormvariate(0.1, 0.4) for _ in range(5)]
        assert allowed_s(stops_s, profile) >= min(MOST_S, max(stops_s))


def test_five_equal_stops_do_not_prove_an_even_walker() -> None:
    """The spread that is assumed of everybody still counts: half as much again as was measured."""
    assert 1.3 < allowed_s(EVEN, "older") < 1.7
    assert allowed_s(EVEN, "younger") < allowed_s(EVEN, "older")


def test_slower_or_less_even_is_never_given_less() -> None:
    """Every stop that takes longer, and any spread about the same mean, gives more time."""
    base = allowed_s(EVEN, "older")
    assert all(allowed_s([*EVEN[:4], slow], "older") > base for slow in (1.1, 1.5, 2.5))
    assert allowed_s([0.7, 0.8, 1.0, 1.25, 1.0 / 0.7], "older") > base


@pytest.mark.parametrize(
    ("each_s", "expected_s"), [pytest.param(0.2, LEAST_S, id="least"), pytest.param(3.9, MOST_S, id="most")]
)
def test_what_is_allowed_stays_within_limits(each_s: float, expected_s: float) -> None:
    """Whatever was measured, 0.8 to 4 s, which the settings take."""
    assert allowed_s([each_s] * 5, "older") == expected_s


BRAKING = 1.3
"""Time to standstill over distance over speed, of a walker who brakes evenly through the last 0.6 of the latter."""


@pytest.mark.parametrize(
    ("profile", "sigma", "surprise_s", "covered"),
    [
        pytest.param("older", 0.15, 0.24, 0.99, id="older, even"),
        pytest.param("older", SIGMA["older"], 0.24, 0.97, id="older, as assumed"),
        pytest.param("older", SIGMA["older"], 0.47, 0.935, id="older, much surprised"),
        pytest.param("older", 0.60, 0.24, 0.93, id="older, very uneven"),
        pytest.param("older", 0.60, 0.47, 0.91, id="older, very uneven, much surprised"),
        pytest.param("younger", SIGMA["younger"], 0.12, 0.97, id="younger, as assumed"),
        pytest.param("younger", SIGMA["younger"], 0.24, 0.95, id="younger, much surprised"),
        pytest.param("younger", 0.60, 0.12, 0.93, id="younger, very uneven"),
    ],
)
def test_the_next_warning_is_covered(profile: str, sigma: float, surprise_s: float, covered: float) -> None:
    """So many warnings that surprise are followed in the way that five expected cues to standstill allow."""
    draw = random.Random(7)
    within = []
    for _ in range(1500):
        middle = math.log(0.81 if profile == "older" else 0.63) + draw.gauss(0.0, 0.15)
        stops_s = [BRAKING * draw.lognormvariate(middle, sigma) for _ in range(5)]
        left_s = allowed_s(stops_s, profile) - surprise_s
        within.append(NormalDist(middle, sigma).cdf(math.log(left_s)) if left_s > 0.0 else 0.0)
    assert mean(within) >= covered
