"""The judgement of `benchmarks/fuzz_walks.py`: a device that lies is caught, and one that does not is left alone."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import pytest
from tests.benchmarks.program import FOLDER, load

from retrowalk.config import Config, HcSr04, to_table
from retrowalk.core import events as ev
from retrowalk.sim import world as w
from retrowalk.sim.faults import Fault


@pytest.fixture(scope="module")
def fuzz():
    """The program as a module, its neighbours within reach."""
    path = list(sys.path)
    sys.path.insert(0, str(FOLDER))
    try:
        yield load(FOLDER / "fuzz_walks.py")
    finally:
        sys.path[:] = path


@pytest.mark.parametrize(
    ("count", "hours", "expected"),
    [
        pytest.param(0, 50.0, 2.9957 / 50.0, id="none: the rule of three"),
        pytest.param(1, 1.0, 4.7439, id="one"),
        pytest.param(3, 1.0, 7.7537, id="three"),
        pytest.param(0, 0.0, math.inf, id="nothing walked"),
    ],
)
def test_the_bound_is_that_of_poisson(fuzz, count, hours, expected):
    """The bound is the rate at which so few or fewer are seen in one case of twenty"""
    assert fuzz.upper_bound(count, hours) == pytest.approx(expected, rel=1e-3)


def test_a_number_is_a_walk(fuzz):
    """Equal numbers draw equal walks, other numbers draw others"""
    assert fuzz.drawn(3) == fuzz.drawn(3)
    assert fuzz.drawn(3).script != fuzz.drawn(4).script


@pytest.mark.slow
def test_settings_are_drawn_within_their_limits(fuzz):
    """Of forty walks some have other settings, which the device accepts, and nothing breaks in the last seconds"""
    walks = [fuzz.drawn(number) for number in range(40)]
    assert 5 < sum(walk.usual for walk in walks) < 35
    changed = [walk for walk in walks if not walk.usual and to_table(walk.config)["collision"] != _usual("collision")]
    assert len(changed) > 5
    for walk in walks:
        assert 10.0 <= walk.config.fall.countdown_s <= 120.0
        assert all(fault.end_s <= walk.length_s - fuzz.QUIET_S + 0.1 for fault in walk.faults)


def _usual(section: str):
    return to_table(Config())[section]


def test_done_walks_are_not_walked_again(fuzz, tmp_path, monkeypatch):
    """Hours accumulate in the file: what stands in it counts, and is left out"""
    walked = []

    def live(walk, stamp):
        walked.append(walk.number)
        return fuzz.Lived(walk.number, 1.0, 0.5, 2.0, stamp, findings=[(fuzz.FALL, "words")])

    monkeypatch.setattr(fuzz, "live", live)
    state = tmp_path / "walks.jsonl"
    assert len(fuzz.many(iter(range(1, 3)), math.inf, state, 90.0)) == 2
    done = fuzz.many(iter(range(1, 99)), 3.0, state, 90.0)
    assert walked == [1, 2, 3]
    found = {(row.metric, row.case): row.value for row in fuzz.rows(done)}
    assert (found["worn_h", "all walks"], found["silent_losses", "all walks"]) == (3.0, 3.0)


def plain(fuzz, *faults: str, script=(), length_s: float = 40.0):
    """A short walk of the one-sensor device, with these faults."""
    hand = ((3.5, w.HandBehind(for_s=1.2)), (12.0, w.Walk(0.45)), *script)
    config = Config(range_sensor=(HcSr04(),))
    return fuzz.Drawn(1, config, True, hand, tuple(Fault.parse(text) for text in faults), (), length_s)


def kinds(fuzz, walk, **options) -> set[str]:
    return {oracle for oracle, _ in fuzz.live(walk, **options).findings}


@pytest.mark.slow
def test_a_device_that_tells_the_truth_is_left_alone(fuzz):
    """A sensor that dies and comes back, with a wall and a fall, is no finding"""
    script = ((26.0, w.Stand()), (27.0, w.Fall()))
    assert kinds(fuzz, plain(fuzz, "rear:off@16-22", script=script, length_s=75.0)) == set()


def without(*types: type):
    """A Companion that swallows what it should tell."""
    return lambda outputs: tuple(output for output in outputs if not isinstance(output, types))


def without_words(start: tuple[str, ...]):
    def swallow(outputs):
        return tuple(o for o in outputs if not (isinstance(o, ev.Speak) and o.phrase.startswith(start)))

    return swallow


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "swallow", "expected"),
    [
        pytest.param("rear:off@16", without(ev.SensorLost), "unnoticed", id="a loss that is not told"),
        pytest.param("rear:off@16", without_words(("sensor_lost", "not_protecting")), "unsaid", id="one not named"),
    ],
)
def test_a_device_that_swallows_a_fault_is_caught(fuzz, fault, swallow, expected):
    """Whoever drops the event, or the words, of a sensor that died is found out"""
    assert expected in kinds(fuzz, plain(fuzz, fault, length_s=32.0), swallow=swallow)


@pytest.mark.slow
def test_a_device_that_guards_without_a_sensor_is_caught(fuzz, monkeypatch):
    """A state of guarding while the only rear sensor is broken is found out"""
    from retrowalk.core.companion import Companion

    real = Companion.snapshot
    monkeypatch.setattr(Companion, "snapshot", lambda self: replace(real(self), guard_state="guarding"))
    assert "claimed" in kinds(fuzz, plain(fuzz, "rear:off@16", length_s=28.0))


@pytest.mark.slow
def test_a_fall_that_nobody_asks_about_is_caught(fuzz):
    """A device that feels a fall and keeps silent is found out"""
    script = ((15.0, w.Stand()), (16.0, w.Fall()))
    walk = plain(fuzz, script=script, length_s=36.0)
    assert "fall" in kinds(fuzz, walk, swallow=without(ev.FallSuspected))


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param(ev.GuardChanged, id="at the start"), pytest.param(ev.AlertSpoken, id="later")]
)
def test_an_exception_is_caught(fuzz, kind):
    """What a part of the program raises ends the walk, and is a finding with its place"""

    def broken(outputs):
        if any(isinstance(output, kind) for output in outputs):
            raise ZeroDivisionError("put in")
        return outputs

    found = fuzz.live(plain(fuzz, length_s=10.0), swallow=broken).findings
    assert found[0][0] == fuzz.EXCEPTION
    assert "ZeroDivisionError" in found[0][1]
