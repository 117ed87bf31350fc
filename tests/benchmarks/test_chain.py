"""`benchmarks/chain.py`: when its time begins and ends, and that it runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from tests.benchmarks.program import FOLDER, load

from retrowalk.config import Config
from retrowalk.core.events import Level
from retrowalk.core.hazards import needed_m
from retrowalk.core.samples import RangeSample, RangeStatus

pytestmark = pytest.mark.slow

PROGRAM = FOLDER / "chain.py"


@pytest.fixture(scope="module")
def chain():
    """The program as a module, its neighbours within reach."""
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield load(PROGRAM)
    finally:
        sys.path[:] = path


@pytest.mark.parametrize(
    ("raised", "sounds", "expected"),
    [
        pytest.param([(9.8, "rear", True)], [9.82], (9.8, 9.82), id="holds already"),
        pytest.param([(10.2, "rear", True)], [10.22], (10.2, 10.22), id="comes afterwards"),
        pytest.param([(8.0, "rear", True), (9.0, "rear", False), (10.3, "rear", True)], [8.02, 10.32], (10.3, 10.32),
                     id="came and went before"),
        pytest.param([(9.8, "rear", True)], [9.0, 9.82, 11.0], (9.8, 9.82), id="an earlier sound is another's"),
        pytest.param([(9.8, "rear", True), (9.9, "touching", True)], [9.82], (9.8, 9.82), id="the first that holds"),
        pytest.param([(10.2, "rear", False)], [10.4], (None, None), id="only a caution"),
        pytest.param([(10.2, "rear", True)], [], (10.2, None), id="decided and not heard"),
        pytest.param([], [10.1], (None, None), id="nothing decided"),
    ],
)  # fmt: skip
def test_the_warning_is_the_one_that_holds_or_the_next(chain, raised, sounds, expected):
    """A warning that was over before the zone was entered is not the one that is waited for"""
    assert chain.warned(10.0, raised, sounds) == expected


class Steady:
    """A walker at one speed without a ripple, towards something at 5 m that stands still."""

    class _At:
        def __init__(self, position_m, speed_m_s):
            self.position_m, self.speed_m_s = position_m, speed_m_s

    def __init__(self, chain, speed_m_s, ripple_m_s=0.0):
        self._speed_m_s, self._ripple_m_s = speed_m_s, ripple_m_s
        self.terrain = type("Terrain", (), {"edges": ()})()
        thing = type("Thing", (), {})()
        thing.name = chain.THING
        thing.present = lambda t_s: True
        thing.gap_m = lambda t_s, sensor_m: 5.0 - sensor_m
        self.obstacles = [thing]

    def moment(self, t_s):
        return self._At(self._speed_m_s * t_s, self._speed_m_s + self._ripple_m_s)


def entered(chain, world, samples):
    """What a watch notes of these samples (t, range, sensor), and of the truth up to 10 s."""
    approach = chain.Approach(chain.drawn(1, "pooled", 0))
    watch = chain.Watch(world, approach, 0.0)
    watch.take([RangeSample(t_s + 0.01, t_s, sensor, RangeStatus.VALID, range_m) for t_s, range_m, sensor in samples])
    watch.advance(10.0)
    return approach.entries


def zone_m(chain, speed_m_s):
    """Its depth for the walker of `entered`."""
    config = chain.encounters.configured(chain.OURS, chain.drawn(1, "pooled", 0).age)
    return needed_m(Level.WARNING, speed_m_s, config.walker, config.collision)


def test_the_truth_enters_where_the_rule_says(chain):
    """Somebody who walks steadily enters both zones where the rule's own room begins"""
    entries = entered(chain, Steady(chain, 0.5), [])
    expected_s = (5.0 - zone_m(chain, 0.5)) / 0.5
    for entry in entries.values():
        assert entry.truth_s == pytest.approx(expected_s, abs=0.01)


def test_the_peak_of_a_step_enters_the_zone_of_the_moment_first(chain):
    """What is faster at the moment than on the whole widens only the zone of the moment"""
    entries = entered(chain, Steady(chain, 0.5, ripple_m_s=0.2), [])
    assert entries["moment"].truth_s == pytest.approx((5.0 - zone_m(chain, 0.7)) / 0.5, abs=0.01)
    assert entries["step"].truth_s == pytest.approx((5.0 - zone_m(chain, 0.5)) / 0.5, abs=0.01)


def test_the_first_sample_in_the_zone_begins(chain):
    """Later ones do not, nor one before the zone, nor an echo of something else, nor what looks at the ground"""
    begin_s = (5.0 - zone_m(chain, 0.5)) / 0.5
    samples = [
        (begin_s - 0.20, zone_m(chain, 0.5) + 0.10, "rear"),
        (begin_s - 0.15, 0.4, "rear"),
        (begin_s - 0.10, zone_m(chain, 0.5) - 0.01, "drop"),
        (begin_s + 0.03, zone_m(chain, 0.5) - 0.015, "lidar"),
        (begin_s + 0.05, zone_m(chain, 0.5) - 0.025, "rear"),
    ]
    entry = entered(chain, Steady(chain, 0.5), samples)["step"]
    assert entry.sample_s == begin_s + 0.03
    assert entry.delivered_s == pytest.approx(begin_s + 0.04)
    assert entry.sensor == "lidar"


def test_a_zone_entered_without_a_warning_is_never_forgotten(chain):
    """It is counted, and it is the slowest of all in every quantile"""
    heard = chain.Approach(chain.drawn(1, "pooled", 0))
    lost = chain.Approach(chain.drawn(1, "pooled", 1))
    for approach, sound_s in ((heard, 10.1), (lost, None)):
        for entry in approach.entries.values():
            entry.truth_s = entry.sample_s = 10.0
            entry.sound_s = sound_s
    rows = {(row.metric, row.case): row for row in chain.sound_rows([heard, lost])}
    assert rows["never", "step"].value == 1
    assert rows["never", "step"].met is False
    assert rows["sound_ms", "p99 sample step"].value == chain.NEVER_MS
    assert rows["sound_ms", "p99 sample step"].met is False


def test_it_says_what_it_measured():
    """One JSON object; every approach is in the quantiles or counted beside them"""
    command = [sys.executable, str(PROGRAM), "--json", "--approaches", "5", "--real", "0", "--processes", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    told = json.loads(result.stdout)
    assert told["benchmark"] == "chain"
    rows = {(row["metric"], row["case"]): row for row in told["rows"]}
    for zone in ("step", "moment"):
        assert rows["never", zone]["n"] + rows["stopped_before", zone]["value"] == 5
    assert rows["sound_ms", "p99 sample step"]["goal"] == "<= 300"
    assert 0 <= rows["voice_ms", "p99 all"]["value"] <= 45  # the device's buffer and a poll


@pytest.mark.process
@pytest.mark.release
def test_real_processes_are_timed_by_the_same_measure():
    """Every approach to something in real processes is in the quantiles or counted beside them, and sounds are found"""
    command = [sys.executable, str(PROGRAM), "--json", "--approaches", "0", "--real", "2"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=180)
    rows = {(row["metric"], row["case"]): row for row in json.loads(result.stdout)["rows"]}
    for zone in ("step real quiet", "moment real quiet"):
        assert rows["never", zone]["n"] + rows["stopped_before", zone]["value"] == 2
        assert rows["never", zone]["value"] == 0
    assert abs(rows["onset_off_ms", "max real"]["value"]) <= 30


def test_what_was_true_is_remembered(chain):
    """The truth of a walk in real time, and of the thing that stood there, can be asked for long afterwards"""
    remembered, world = chain.Remembered(), Steady(chain, 0.5)
    remembered.note(world, 60.0)
    assert chain.gap_m(remembered, 1.0) == float("inf")
    remembered.thing = world.obstacles[0]
    assert chain.gap_m(remembered, 1.0) == pytest.approx(4.5, abs=0.005)


def test_the_sensors_that_count_look_behind(chain):
    """Both of the default set that do, and not the one that looks at the ground"""
    names = {sensor.name for sensor in Config().range_sensor}
    assert names - chain.REAR == {"drop"}
