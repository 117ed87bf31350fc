"""The judgement of `benchmarks/ranging.py`, on subjects whose lag and error are known; and that its real half works."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from bisect import bisect_right
from random import Random

import pytest
from tests.benchmarks.program import FOLDER, load

PROGRAM = FOLDER / "ranging.py"


@pytest.fixture(scope="module")
def ranging():
    """The program as a module."""
    return load(PROGRAM)


class VirtualStage:
    """Time that passes at once."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> float:
        return self.now_s

    def wait_until(self, t_s: float) -> None:
        self.now_s = max(self.now_s, t_s)


class Known:
    """A subject that tells what was true `lag_s` ago, and `bias_m` more; it names each loss after `names_after_s`.

    `says` (a one-item tuple) is what it reads whatever is there.
    """

    def __init__(
        self, room, stage, *, lag_s=0.0, bias_m=0.0, rate_hz=10.0, names_after_s=(), says=(), name="retrowalk"
    ):
        self.name = name
        self.lag_s, self.bias_m, self.rate_hz = lag_s, bias_m, rate_hz
        self.names_after_s = list(names_after_s)
        self.says = says
        self.room, self.stage = room, stage
        self.seen: tuple[list[float], list[float]] = ([], [])
        self.lost_s = math.inf
        self.loss = -1

    @property
    def accepted(self) -> int:
        return int(self.stage.now() * self.rate_hz)

    def read(self, now):
        if self.says:
            return {"": self.says[0]}
        times, ranges = self.seen
        times.append(now)
        ranges.append(self.room.range_m(now))
        if not self.room.plugged:
            self.lost_s = min(self.lost_s, now)
        at = bisect_right(times, now - self.lag_s) - 1
        return {"": ranges[at] + self.bias_m if at >= 0 else None}

    def forget(self):
        self.lost_s = math.inf
        self.loss += 1

    def named_s(self):
        after_s = self.names_after_s[self.loss] if self.names_after_s else None
        if after_s is None or self.stage.now() < self.lost_s + after_s:
            return {"a lamp": None}
        return {"a lamp": self.lost_s + after_s}


@pytest.fixture
def stage():
    return VirtualStage()


@pytest.fixture
def room(ranging):
    return ranging.Room()


def _value(rows, metric, case):
    (row,) = [row for row in rows if (row.metric, row.case) == (metric, case)]
    return row


# ----------------------------------------------------------------------------------------------------------- steps


@pytest.mark.parametrize(
    ("lag_s", "met"),
    [
        pytest.param(0.05, True, id="fast"),
        pytest.param(0.078, True, id="just in time"),
        pytest.param(0.09, False, id="too late"),
        pytest.param(0.3, False, id="a median of nine"),
    ],
)
def test_a_known_lag_comes_out(ranging, stage, room, lag_s, met):
    """A subject that is late by so much on a step is found to be late by so much, and judged by the goal"""
    subject = Known(room, stage, lag_s=lag_s)
    lags = ranging.measure_steps(subject, stage, room, 2.0, 1.0, 5, Random(1))
    rows = ranging.step_rows("retrowalk", lags, "2 to 1 m", ranging.goal_of("retrowalk", "step_lag_s"))
    for name in ("mean", "p95", "max"):
        row = _value(rows, "step_lag_s", f"{name} 2 to 1 m")
        assert lag_s <= row.value <= lag_s + 0.0021
        assert row.n == 5
        assert row.met is met


@pytest.mark.parametrize(
    ("readings", "lag_s"),
    [
        pytest.param([(10.0, 2.0), (10.1, 1.04), (10.2, 1.0)], 0.1, id="within 5 cm counts as there"),
        pytest.param([(10.0, 2.0), (10.1, 1.06), (10.2, 1.0)], 0.2, id="6 cm is not there"),
        pytest.param([(10.0, 2.0), (10.1, 1.0), (10.2, 1.3), (10.3, 1.0)], 0.3, id="there and away again"),
        pytest.param([(10.0, 2.0), (10.1, 1.0), (10.2, None), (10.3, 1.0)], 0.3, id="a reading given up"),
        pytest.param([(10.0, 2.0), (10.1, 1.0), (10.2, 1.3)], None, id="does not stay"),
        pytest.param([(10.0, 2.0), (10.1, 2.0)], None, id="never moves"),
        pytest.param([(10.0, 1.0), (10.1, 1.0)], None, id="stood there before the step"),
        pytest.param([(10.0, None), (10.1, None)], None, id="never reads"),
    ],
)
def test_lag_is_until_the_reading_stays(ranging, readings, lag_s):
    """The lag ends when the reading has come for good; who never comes, or was there before, has none"""
    found = ranging.step_lag_s(readings, 10.0, 1.0)
    assert found == (None if lag_s is None else pytest.approx(lag_s))


def test_a_step_never_followed_is_missed(ranging, stage, room):
    """A subject that stands still is reported with the whole time of watching, says so, and misses the goal"""
    subject = Known(room, stage, says=(1.0,))
    lags = ranging.measure_steps(subject, stage, room, 2.0, 1.0, 3, Random(1))
    rows = ranging.step_rows("retrowalk", lags, "2 to 1 m", "<= 0.08")
    assert [row.case for row in rows] == [f"{name} 2 to 1 m (3 never followed)" for name in ("mean", "p95", "max")]
    assert [row.value for row in rows] == pytest.approx([ranging.WATCH_STEP_S] * 3)
    assert [row.met for row in rows] == [False] * 3


# ----------------------------------------------------------------------------------------------------------- ramps


@pytest.mark.parametrize("speed_m_s", [1.2, 0.7])
@pytest.mark.parametrize(
    ("lag_s", "bias_m"),
    [
        pytest.param(0.0, 0.0, id="perfect"),
        pytest.param(0.1, 0.0, id="late"),
        pytest.param(0.0, -0.03, id="near"),
        pytest.param(0.3, 0.05, id="late and far"),
    ],
)
def test_a_known_error_comes_out(ranging, stage, room, lag_s, bias_m, speed_m_s):
    """On an approach the error is lag times speed, and the bias; the sign of the mean says which way"""
    subject = Known(room, stage, lag_s=lag_s, bias_m=bias_m)
    rows = ranging.measure_ramps(subject, stage, room, speed_m_s, 0.0, 2, Random(1))
    error_m = lag_s * speed_m_s + bias_m
    what = f"{speed_m_s:g} m/s"
    mean = _value(rows, "ramp_error_m", f"mean {what}")
    assert mean.value == pytest.approx(error_m, abs=0.011 * speed_m_s)  # it is read every 10 ms
    assert _value(rows, "ramp_error_m", f"p95 {what}").value == pytest.approx(abs(error_m), abs=0.011 * speed_m_s)
    assert _value(rows, "ramp_error_m", f"max {what}").value == pytest.approx(abs(error_m), abs=0.011 * speed_m_s)
    assert _value(rows, "ramp_lag_s", f"mean {what}").value == pytest.approx(lag_s + bias_m / speed_m_s, abs=0.011)
    assert mean.met is ((abs(error_m) <= 0.05) if speed_m_s == 1.2 else None)


def test_setting_off_is_told_apart(ranging, stage, room):
    """While speed is still building up a late subject's error is smaller, and does not flatter the steady one"""
    rows = ranging.measure_ramps(Known(room, stage, lag_s=0.3), stage, room, 1.2, 0.0, 2, Random(1))
    steady = _value(rows, "ramp_error_m", "mean 1.2 m/s").value
    assert 0.1 < _value(rows, "ramp_error_m", "mean 1.2 m/s, setting off").value < steady - 0.05


def test_approach_is_what_it_says(ranging):
    """The truth of an approach: from rest without a jump, at the speed asked for, to where it ends"""
    range_m, constant_s, end_s = ranging.approach(10.0, 1.2)
    assert range_m(9.0) == range_m(10.0) == ranging.RAMP_FROM_M
    assert range_m(constant_s - 1e-9) == pytest.approx(range_m(constant_s), abs=1e-6)
    assert (range_m(constant_s) - range_m(constant_s + 1.0)) == pytest.approx(1.2)
    assert range_m(end_s) == pytest.approx(ranging.RAMP_TO_M)
    assert range_m(end_s + 1.0) == range_m(end_s)


def test_no_reading_is_no_small_error(ranging, stage, room):
    """A subject that gives no reading on the approach is reported so"""
    subject = Known(room, stage, says=(None,))
    row, _ = ranging.measure_ramps(subject, stage, room, 1.2, 0.0, 1, Random(1))
    assert row.case == "no reading at all 1.2 m/s"
    assert row.met is False


# ------------------------------------------------------------------------------------------------------------ rate


@pytest.mark.slow
def test_a_known_rate_comes_out(ranging, stage, room):
    """Readings a second, at each range"""
    rows = ranging.measure_rates(Known(room, stage, rate_hz=12.5), stage, room, 10.0)
    assert [row.case for row in rows] == ["mean 0.3 m", "mean 1 m", "mean 2 m", "mean 3 m", "mean 3.9 m"]
    assert [row.value for row in rows] == pytest.approx([12.5] * 5, abs=0.15)


# ------------------------------------------------------------------------------------------------------------ loss


def _losses(ranging, stage, room, names_after_s, name="retrowalk"):
    subject = Known(room, stage, names_after_s=names_after_s, name=name)
    told = ranging.measure_losses(subject, stage, room, 3, 3.0, Random(1))
    return ranging.loss_rows(name, told, 3.0)


@pytest.mark.parametrize(("after_s", "met"), [(0.4, True), (0.95, True), (1.1, False)])
def test_a_named_loss_comes_out(ranging, stage, room, after_s, met):
    """A subject that names a loss after so long is found to, and judged by its slowest"""
    rows = _losses(ranging, stage, room, [after_s, after_s - 0.1, after_s - 0.2])
    worst = _value(rows, "loss_named_s", "max (a lamp)")
    assert worst.value == pytest.approx(after_s, abs=0.006)
    assert worst.met is met
    assert _value(rows, "loss_named_s", "mean (a lamp)").value == pytest.approx(after_s - 0.1, abs=0.006)


def test_a_loss_never_noticed_is_not_named(ranging, stage, room):
    """A subject that never notices comes out as never named: no time is made up, and a goal is missed"""
    (row,) = _losses(ranging, stage, room, [])
    assert row.case == "never named within 3 s (a lamp)"
    assert (row.value, row.n, row.met) == (3.0, 3, False)
    (row,) = _losses(ranging, stage, room, [], name="somebody else")
    assert row.met is None


def test_a_loss_noticed_once_is_not_always_named(ranging, stage, room):
    """A warning that comes only the first time counts as missing the other times"""
    rows = _losses(ranging, stage, room, [0.2, None, None])
    worst = _value(rows, "loss_named_s", "max (a lamp), never within 3 s in 2 of 3")
    assert (worst.value, worst.met) == (3.0, False)
    assert _value(rows, "loss_named_s", "mean of those named (a lamp)").n == 1


# ------------------------------------------------------------------------------------------------------- the module


def test_flight_is_to_where_the_target_is_at_mid_flight(ranging, room):
    """The time of flight is that of the range at mid-flight, in the room's air"""
    room.range_m = lambda t_s: 3.0 - 1.2 * t_s
    flight_s = room.flight_s(0.0)
    middle_m = room.range_m(ranging.RISE_AFTER_S + flight_s / 2.0)
    assert flight_s * ranging.speed_of_sound_m_s(20.0) / 2.0 == pytest.approx(middle_m, abs=1e-4)


def test_lost_pings_are_as_many_as_asked_for(room):
    """So large a share of the pings has no pulse; without a plug none has"""
    room.lost_share = 0.3
    lost = sum(room.flight_s(0.0) is None for _ in range(5000))
    assert lost == pytest.approx(1500, abs=150)
    room.lost_share, room.plugged = 0.0, False
    assert room.flight_s(0.0) is None


@pytest.mark.process
@pytest.mark.parametrize("key", ["retrowalk", "9"])
def test_real_subjects_read_the_wall(key):
    """Ours and gpiozero's sensor, on the same pins in real time, read the wall where it is, and count"""
    code = f"""
import json, sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import ranging
room, stage = ranging.Room(), ranging.RealStage()
room.stand(1.5)
subject = ranging.build({key!r}, ranging.Pins(room, stage, 1))
ranging.watch(subject, stage, stage.now() + 0.6, 0.01)
print(json.dumps([subject.read(stage.now()), subject.accepted]))
subject.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30.0, check=True)
    readings, accepted = json.loads(done.stdout)
    assert set(readings) == ({"sample", "track"} if key == "retrowalk" else {""})
    assert list(readings.values()) == pytest.approx([1.5] * len(readings), abs=0.02)
    assert accepted >= 5
