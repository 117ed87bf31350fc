"""Several rear sensors: what a lidar's answers lead to, alone and beside an ultrasonic sensor."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from tests.core.synth import Street, heartbeats, merged, ranges, steady, upright

from retrowalk.config import Config, HcSr04, TfLuna
from retrowalk.core.samples import HealthReport, Item, RangeSample, RangeStatus

BOTH = Config(range_sensor=(HcSr04(), TfLuna()))
ALONE = Config(range_sensor=(TfLuna(),))
LIDAR_HZ = 1.0 / 0.048

Profile = list[tuple[float, float | None]]


def answers(start_s: float, end_s: float, status: RangeStatus) -> list[Item]:
    """The lidar says the same for a while."""
    count = round((end_s - start_s) * LIDAR_HZ)
    times = (start_s + i / LIDAR_HZ for i in range(count))
    return [RangeSample(t, t - 0.01, "lidar", status, strength=40.0) for t in times]


def walk(config: Config, until_s: float, lidar: Iterable[Item], rear: Profile | None = None) -> Street:
    """Stands, shows a hand and takes it away; then from 6 s on what the lidar and the ultrasonic sensor say."""
    hand: Profile = [*steady(0.0, 1.0, 0.5, LIDAR_HZ), *steady(1.0, 6.0, None, LIDAR_HZ)]
    streams = [ranges(hand, sensor="lidar", latency_s=0.0), lidar, upright(until_s), heartbeats(0.0, until_s)]
    if config is BOTH:
        echoes = [*steady(0.0, 1.0, 0.5), *steady(1.0, 6.0, None), *(rear or steady(6.0, until_s, None))]
        streams.append(ranges(echoes, latency_s=0.0))
    return Street(config).run(merged(*streams), until_s)


@pytest.mark.slow
@pytest.mark.parametrize("config", [pytest.param(ALONE, id="alone"), pytest.param(BOTH, id="with ultrasonic")])
def test_no_target_with_an_advancing_tick_is_clear(config):
    """Readings without a target, as they come only while the tick advances, are heard as the guarding tick."""
    street = walk(config, 40.0, answers(6.0, 40.0, RangeStatus.NO_TARGET))
    assert street.companion.snapshot().path == "clear"
    assert street.companion.snapshot().guard_state == "guarding"
    assert street.first("sensor.lost") is None
    assert [s for s in street.outputs if getattr(s, "earcon", "") == "tick"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "state", "path"),
    [
        pytest.param(ALONE, "not_protecting", "broken", id="alone"),
        pytest.param(BOTH, "limited", "clear", id="with ultrasonic"),
    ],
)
@pytest.mark.parametrize("status", [RangeStatus.UNTRUSTED, RangeStatus.REJECTED])
def test_overexposed_is_lost_and_the_other_goes_on(config, state, path, status):
    """The sun in it proves nothing: lost after 0.5 s, named within 1 s; what the other sensor knows still holds."""
    street = walk(config, 20.0, answers(6.0, 20.0, status))
    lost = street.first("sensor.lost", sensor="lidar")
    assert 6.4 < lost.t_s < 6.6
    assert lost.cause == status.value
    assert street.companion.snapshot().guard_state == state
    assert street.companion.snapshot().path == path
    named = [s for s in street.spoken() if s.phrase in ("sensor_lost", "not_protecting") and s.t_s > 6.0]
    assert named[0].t_s < 7.0


def test_out_of_the_sun_it_is_back():
    """Half a second of readings ends the loss."""
    lidar = [*answers(6.0, 10.0, RangeStatus.UNTRUSTED), *answers(10.0, 14.0, RangeStatus.NO_TARGET)]
    street = walk(BOTH, 14.0, lidar)
    assert 10.4 < street.first("sensor.restored", sensor="lidar").t_s < 10.7
    assert street.companion.snapshot().guard_state == "guarding"


def test_what_only_the_lidar_saw_and_lost_within_reach_is_unknown():
    """A weak return where something was 1.5 m away is not clear, though the ultrasonic sensor never saw it."""
    lidar: list[Item] = [*ranges(steady(6.0, 10.0, 1.5, LIDAR_HZ), sensor="lidar", latency_s=0.0)]
    lidar += answers(10.0, 12.5, RangeStatus.NO_TARGET)
    street = walk(BOTH, 12.4, lidar)
    assert street.companion.snapshot().path == "unknown"
    assert 10.0 < street.first("hazard.raised", hazard="unknown").t_s < 12.0


@pytest.mark.parametrize(
    ("lidar_m", "echo_m", "nearest"),
    [
        pytest.param(0.9, None, "lidar", id="a tilted wall that sends the sound away"),
        pytest.param(None, 0.9, "rear", id="glass that lets the light through"),
        pytest.param(3.5, 0.9, "rear", id="a pole beside the narrow beam"),
    ],
)
def test_nearest_trusted_and_never_an_average(lidar_m, echo_m, nearest):
    """What one of them sees is warned of at its own range, whatever the other says."""

    def nearing(range_m: float | None, hz: float) -> Profile:
        far = steady(6.0, 9.0, range_m, hz)
        return [(t, None if m is None else m + 0.4 * (9.0 - t)) for t, m in far]

    lidar = list(ranges(nearing(lidar_m, LIDAR_HZ), sensor="lidar", latency_s=0.0))
    street = walk(BOTH, 9.0, lidar, nearing(echo_m, 15.0))
    hazards = [h for h in street.events("hazard.raised") if h.hazard == "rear" and h.t_s > 6.0]
    assert {h.sensor for h in hazards} == {nearest}
    assert street.companion.snapshot().range_m == pytest.approx(0.9, abs=0.1)


@pytest.mark.parametrize("fault", ["delayed", "slow", "frozen", "garbage"])
def test_a_driver_that_cannot_vouch_has_its_sensor_called_lost(fault):
    """What the driver reports is named at once, by its own name."""
    lidar = [*answers(6.0, 8.0, RangeStatus.NO_TARGET), HealthReport(8.0, "lidar", fault, True)]
    street = walk(BOTH, 9.0, lidar)
    lost = street.first("sensor.lost", sensor="lidar")
    assert lost.t_s == 8.0
    assert lost.cause == fault


def test_a_report_that_it_started_anew_loses_nothing():
    """`reset` is told, and readings go on."""
    report = [HealthReport(8.0, "lidar", "reset", True), HealthReport(8.15, "lidar", "reset", False)]
    lidar = merged(answers(6.0, 8.0, RangeStatus.NO_TARGET), report, answers(8.15, 10.0, RangeStatus.NO_TARGET))
    street = walk(BOTH, 10.0, lidar)
    assert street.first("sensor.lost") is None
