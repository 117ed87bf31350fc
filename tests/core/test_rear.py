"""The rear channel as a whole: what moves with the walker, what comes by itself, ground, sway, and who denies what."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from tests.core.synth import (
    ONE_SENSOR,
    Motion,
    Street,
    fall,
    heartbeats,
    merged,
    motion,
    ranges,
    steady,
    times,
    upright,
    walking,
)

from retrowalk.config import Config, HcSr04, Mount, TfLuna
from retrowalk.core.beam import Beam
from retrowalk.core.events import Level
from retrowalk.core.samples import ImuSample, Item, RangeSample, RangeStatus

BOTH = Config(range_sensor=(HcSr04(), TfLuna()))
LIDAR_HZ = 1.0 / 0.048
Where = Callable[[float], float | None]

SWAY_HZ = 1.7


def street(
    where: Where,
    seconds: float = 20.0,
    *,
    config: Config = ONE_SENSOR,
    lidar: Where | None = None,
    steps: bool = True,
    body: Motion | None = None,
    there_from_s: float = 6.0,
) -> Street:
    """Stands and shows a hand for the check; walks from 6 s on, something `where(t)` metres behind (None: nothing)."""
    clip: Iterator[ImuSample] = (
        body.samples()
        if body is not None
        else walking(seconds, bouts=[(6.0, seconds)], turns=False).samples()
        if steps
        else upright(seconds)
    )
    seen: list[Iterator[Item]] = []
    for sensor, hz, truth in (("rear", 15.0, where), ("lidar", LIDAR_HZ, lidar or where)):
        if any(known.name == sensor for known in config.range_sensor):
            profile = [*steady(0.0, 1.0, 0.5, hz), *steady(1.0, there_from_s, None, hz)]
            profile += [(t, truth(t)) for t in times(there_from_s, seconds, hz)]
            seen.append(ranges(profile, sensor=sensor, latency_s=0.0))
    return Street(config).run(merged(*seen, clip, heartbeats(0.0, seconds)), seconds)


def levels(found: Street, hazard: str = "rear") -> list[str]:
    """Levels that were raised, in order."""
    return [event.level for event in found.events("hazard.raised") if event.hazard == hazard]


def raised_s(found: Street, level: str, hazard: str = "rear", after_s: float = 0.0) -> float:
    """When a level was first raised."""
    for event in found.events("hazard.raised"):
        if event.hazard == hazard and event.level == level and event.t_s >= after_s:
            return float(event.t_s)
    return math.inf


# ------------------------------------------------------------------------------------------------ one chime a thing


def chimes(found: Street) -> list[float]:
    """When the chime was asked for."""
    return [speak.t_s for speak in found.spoken() if speak.earcon == "chime" and not speak.phrase]


def _comes_and_goes(back_m: float) -> Where:
    """A wall that is neared for two seconds and left again, three times; each time `back_m` of it is given back."""

    def where(t_s: float) -> float:
        phase, into_s = divmod(max(0.0, t_s - 7.0), 6.0)
        if phase > 2:
            return 3.9 - 3.0 * (1.2 - back_m)
        neared_m = min(into_s, 2.0) * 0.6 - max(0.0, min(into_s - 4.0, 2.0)) * back_m / 2.0
        return 3.9 - phase * (1.2 - back_m) - neared_m

    return where


@pytest.mark.slow
@pytest.mark.parametrize("config", [pytest.param(ONE_SENSOR, id="one sensor"), pytest.param(BOTH, id="two sensors")])
def test_a_thing_is_chimed_for_once(config):
    """A wall that the walker nears, leaves and nears again, three times: it is an advisory each time, and one chime."""
    found = street(_comes_and_goes(1.2), 26.0, config=config)
    assert levels(found).count("advisory") >= 2
    assert len(chimes(found)) == 1


@pytest.mark.slow
def test_another_thing_is_chimed_for_again():
    """A wall is left behind out of sight, and something else comes near: that is news."""

    def where(t_s: float) -> float | None:
        if t_s < 11.0:
            return 5.0 - max(0.0, t_s - 7.0) * 0.5
        return 5.0 - (t_s - 14.0) * 0.5 if t_s > 14.0 else None

    found = street(where, 18.0, config=Config(range_sensor=(TfLuna(),)))
    assert len(chimes(found)) == 2


# -------------------------------------------------------------------------------------------- somebody walks along


@pytest.mark.slow
@pytest.mark.parametrize("speed_m_s", [0.15, 0.19], ids="{} m/s".format)
def test_a_wall_is_nobody_who_walks_along(speed_m_s):
    """Who stood before a wall and then walks slowly towards it is warned with the room they need, not at the floor."""
    body = walking(20.0, bouts=[(12.0, 20.0)], turns=False)
    found = street(lambda t: 1.3 - speed_m_s * max(0.0, t - 12.0), body=body)
    warned_s = raised_s(found, "warning")
    assert 1.3 - speed_m_s * (warned_s - 12.0) > 0.5 + speed_m_s * 1.87


def companion(range_m: float, sway_m: float = 0.05) -> Callable[[float], float]:
    """Somebody who stands there, and from 6 s on walks along with a step of their own."""

    def where(t: float) -> float:
        step, drift = math.sin(2.0 * math.pi * 1.55 * (t - 6.0)), math.sin(2.0 * math.pi * 0.21 * (t - 6.0))
        return range_m + (sway_m * step + 0.03 * drift if t > 6.0 else 0.0)

    return where


@pytest.mark.slow
@pytest.mark.parametrize("config", [pytest.param(ONE_SENSOR, id="ultrasonic"), pytest.param(BOTH, id="both")])
@pytest.mark.parametrize("range_m", [0.8, 1.0, 1.5])
def test_somebody_who_walks_along_is_told_once(range_m, config):
    """A minute with a carer who has stood there before: at most one chime, no caution and no "Stop"."""
    found = street(companion(range_m), 60.0, config=config, there_from_s=4.0)
    assert levels(found) in ([], ["advisory"])


@pytest.mark.slow
def test_who_walks_along_and_stops_is_warned_of():
    """The carer stands still: the walker nears at 0.6 m/s, and two thirds of a second later it says "Stop"."""

    def where(t: float) -> float:
        return companion(1.5)(t) - 0.6 * max(0.0, t - 20.0)

    assert raised_s(street(where, 22.4), "warning", after_s=9.0) - 20.0 < 0.7


@pytest.mark.slow
def test_the_floor_holds_for_somebody_who_walks_along():
    """Whoever drifts nearer than half a metre is warned of, however slowly."""

    def where(t: float) -> float:
        return max(0.4, 1.0 - 0.05 * max(0.0, t - 10.0))

    found = street(where, 26.0)
    assert 19.5 < raised_s(found, "warning") < 21.0


# -------------------------------------------------------------------------------------------- something that comes


@pytest.mark.parametrize("speed_m_s", [3.0, 4.5, 6.0])
def test_a_bicycle_is_announced_in_half_a_second(speed_m_s):
    """What comes by itself is named, and "Stop" is said of it as soon as the lidar has followed it for six samples."""
    found = street(lambda t: None, 14.0, config=BOTH, lidar=_coming(speed_m_s, 10.0))
    seen_s = 10.0
    assert raised_s(found, Level.WARNING.name.lower()) - seen_s < 0.45
    assert min(raised_s(found, level, "approaching") for level in ("caution", "warning")) - seen_s < 0.5


def _coming(speed_m_s: float, from_s: float, from_m: float = 7.5) -> Where:
    def where(t: float) -> float | None:
        range_m = from_m - speed_m_s * (t - from_s)
        return range_m if t >= from_s and range_m > 0.3 else None

    return where


@pytest.mark.slow
def test_somebody_who_hurries_after_the_walker_is_announced():
    """A person at 1.6 m/s more than the walker's own: "Someone is coming.", once, and before "Stop"."""
    found = street(lambda t: None, 16.0, config=BOTH, lidar=_coming(2.2, 10.0))
    assert len(found.spoken("approaching")) == 1
    assert found.spoken("approaching")[0].t_s < raised_s(found, "warning")


def test_a_wall_is_not_something_that_comes():
    """What nears at walking speed stands still."""
    found = street(lambda t: 6.0 - 0.8 * (t - 6.0), 13.0, config=BOTH)
    assert "warning" in levels(found)
    assert levels(found, "approaching") == []


# ------------------------------------------------------------------------------------------------------- the ground


def swaying(seconds: float, amplitude_deg: float, mean_deg: float = 0.0) -> Motion:
    """Walks from 6 s on with a trunk that pitches at step rate."""
    t = np.arange(0.0, seconds, 1.0 / 104.0)
    on = (t >= 6.0) * 1.0
    pitch = on * (mean_deg + amplitude_deg * np.sin(2.0 * np.pi * SWAY_HZ * t))
    world = np.zeros((len(t), 3))
    world[:, 2] = on * 1.8 * np.sin(2.0 * np.pi * SWAY_HZ * t + 0.8)
    return motion(t, pitch, t * 0.0, t * 0.0, world)


def ground_echoes(seconds: float, body: Motion, every: int) -> list[tuple[float, float | None]]:
    """What an HC-SR04 hears of gravel: every so many pings the slant to where its beam's edge meets it."""
    beam = Beam(HcSr04(), Mount())
    found: list[tuple[float, float | None]] = []
    for i, t in enumerate(times(6.0, seconds)):
        row = min(len(body.t_s) - 1, int(t * 104.0))
        slant_m = beam.ground_m(float(body.pitch_deg[row]))
        found.append((t, slant_m if slant_m < 4.0 and i % every == 0 else None))
    return found


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("amplitude_deg", [5.0, 10.0])
def test_the_ground_is_no_obstacle_however_the_trunk_sways(amplitude_deg, every):
    """A minute of gravel that answers in the rhythm of the sway: no caution and no warning."""
    seconds = 66.0
    body = swaying(seconds, amplitude_deg, mean_deg=-3.0)
    hand = [*steady(0.0, 1.0, 0.5), *steady(1.0, 6.0, None)]
    items = merged(
        ranges([*hand, *ground_echoes(seconds, body, every)], latency_s=0.0),
        body.samples(),
        heartbeats(0.0, seconds),
    )
    found = Street(ONE_SENSOR).run(items, seconds)
    assert [level for level in levels(found) if level != "advisory"] == []


@pytest.mark.parametrize("speed_m_s", [0.3, 0.6, 1.0])
def test_an_obstacle_where_the_ground_is_counts_when_it_nears(speed_m_s):
    """Leaning back, the ground answers from 2.6 m: a wall that comes through there is warned of as early as any."""
    seconds = 6.0 + 3.3 / speed_m_s
    body = swaying(seconds, 2.0, mean_deg=-5.0)
    profile = [(t, 3.7 - speed_m_s * (t - 6.0)) for t in times(6.0, seconds)]
    hand = [*steady(0.0, 1.0, 0.5), *steady(1.0, 6.0, None)]
    items = merged(ranges([*hand, *profile], latency_s=0.0), body.samples(), heartbeats(0.0, seconds))
    found = Street(ONE_SENSOR).run(items, seconds)
    due_s = 6.0 + (3.7 - (speed_m_s * 2.17 + 0.5)) / speed_m_s
    assert raised_s(found, "warning") - due_s < 0.35


def test_a_fall_is_no_reason_to_say_stop():
    """The ground that comes towards the beams of somebody who tips over is not what is behind."""
    slants: Sequence[tuple[float, float | None]] = [(t, max(0.35, 3.0 - 4.0 * (t - 8.0))) for t in times(8.0, 12.0)]
    items = merged(
        ranges([*steady(0.0, 1.0, 0.5), *steady(1.0, 8.2, None), *slants[3:]], latency_s=0.0),
        upright(8.0),
        fall(8.0),
        heartbeats(0.0, 12.0),
    )
    found = Street(ONE_SENSOR).run(items, 12.0)
    assert [e for e in found.events("hazard.raised") if e.hazard == "rear" and e.t_s > 8.5] == []


# ---------------------------------------------------------------------------------------------------- who denies what


def test_what_one_sees_and_another_denies_is_kept():
    """A pole that only the ultrasonic sensor hears is warned of, though the lidar sees past it."""
    found = street(lambda t: 3.0 - 0.6 * (t - 6.0), 10.4, config=BOTH, lidar=lambda t: 6.0 - 0.6 * (t - 6.0))
    warned = next(e for e in found.events("hazard.raised") if e.level == "warning")
    assert warned.sensor == "rear"
    assert warned.range_m == pytest.approx(1.8, abs=0.2)


@pytest.mark.slow
def test_other_samples_of_the_same_walk_change_no_event():
    """Fed twice, the same items give the same events."""
    first, second = (street(companion(1.0), 20.0, config=BOTH).events() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("amplitude_deg", [0.0, 5.0, 10.0])
def test_sway_makes_no_warning_late(amplitude_deg):
    """Ranges are widened by how fast the trunk turns, never thrown away for it."""
    seconds = 12.0
    body = swaying(seconds, amplitude_deg)
    profile = [(t, 3.7 - 0.6 * (t - 6.0)) for t in times(6.0, seconds - 0.5)]
    hand = [*steady(0.0, 1.0, 0.5), *steady(1.0, 6.0, None)]
    items = merged(ranges([*hand, *profile], latency_s=0.0), body.samples(), heartbeats(0.0, seconds))
    found = Street(ONE_SENSOR).run(items, seconds)
    assert raised_s(found, "warning") == pytest.approx(6.0 + (3.7 - 1.8) / 0.6, abs=0.35)


def test_what_the_trunk_turns_meanwhile_is_allowed_for():
    """While the trunk turns, ranges may differ by what that is worth: a track that stands still keeps to them."""
    kept: list[int] = []
    for rate_rad_s in (0.0, 2.0):
        found = Street(ONE_SENSOR)
        noise = [(t, 3.0 + (0.22 if i % 2 else 0.0)) for i, t in enumerate(times(6.0, 9.0))]
        clip = (
            replace(sample, gyro_rad_s=(0.0, rate_rad_s * math.sin(40.0 * sample.t_measured_s), 0.0))
            for sample in upright(9.0)
        )
        profile = [*steady(0.0, 6.0, 3.0), *noise]
        found.run(merged(ranges(profile, latency_s=0.0), clip, heartbeats(0.0, 9.0)), 9.0)
        kept.append(found.companion._rear.sensors["rear"].tracker.rejected)
    assert kept[1] < kept[0] / 2


def test_untrusted_answers_are_no_track():
    """A lidar in the sun answers untrusted: nothing is followed by it."""
    items = [RangeSample(t, t, "rear", RangeStatus.UNTRUSTED) for t in times(6.0, 7.0)]
    found = Street(ONE_SENSOR).run(merged(items, upright(7.0), heartbeats(0.0, 7.0)), 7.0)
    assert levels(found) == []


def test_an_echo_from_the_future_makes_no_track_deaf():
    """Two echoes whose time of measurement lies half a minute ahead are taken as now: the wall is warned of as ever."""

    def items(ahead_s: float) -> list[Item]:
        sees = [*steady(0.0, 1.0, 0.5), *steady(1.0, 6.0, None), *((t, 3.0 - 0.6 * (t - 6.0)) for t in times(6.0, 9.5))]
        echoes = list(ranges(sees, latency_s=0.0))
        early = [
            replace(echo, t_measured_s=echo.t_measured_s + ahead_s) if 6.2 < echo.t_received_s < 6.5 else echo
            for echo in echoes
        ]
        return merged(early, walking(9.5, bouts=[(6.0, 9.5)], turns=False).samples(), heartbeats(0.0, 9.5))

    usual, odd = (raised_s(Street(ONE_SENSOR).run(items(s), 9.5), "warning") for s in (0.0, 30.0))
    assert odd == pytest.approx(usual, abs=0.1)


@pytest.mark.parametrize("seed", range(8, 14))
@pytest.mark.slow
def test_second_echoes_do_not_make_somebody_who_walks_along_rush_nearer(seed):
    """Every 3 s the carer is heard by way of another wall for a while, or not at all: the lidar knows who rushes."""
    draw = random.Random(seed)
    late = [None if draw.random() < 0.6 else 1.5 * draw.uniform(1.0, 2.0) for _ in range(60 * 15)]

    def echoes(t: float) -> float | None:
        if t < 12.0 or (t - 12.0) % 3.0 >= 0.6:
            return companion(1.5)(t)
        return late[min(len(late) - 1, round(15.0 * t))]

    found = street(echoes, 60.0, config=BOTH, lidar=companion(1.5), there_from_s=4.0)
    assert levels(found) in ([], ["advisory"])
