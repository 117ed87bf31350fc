"""What the wearer does: on made movements, and on recorded people who sit down and get up."""

from __future__ import annotations

import math

import pytest
from tests.core.recorded import sisfall
from tests.core.synth import G

from retrowalk.core.activity import Activity, ActivityWatch
from retrowalk.core.gait import Gait
from retrowalk.core.posture import Posture

RATE_HZ = 104.0


class Wearer:
    """Feeds what a person does, second by second, and remembers what was told."""

    def __init__(self) -> None:
        self.watch = ActivityWatch()
        self.told: list[Activity] = []
        self._t = 0.0

    def _feed(self, vertical: float, rate: float, tilt: float, walking: bool) -> None:
        self._t += 1.0 / RATE_HZ
        now = self.watch.update(self._t, vertical, rate, tilt_deg=tilt, walking=walking)
        if not self.told or self.told[-1] is not now:
            self.told.append(now)

    def stays(self, seconds: float, tilt_deg: float = 3.0) -> Wearer:
        for _ in range(round(seconds * RATE_HZ)):
            self._feed(0.0, 0.02, tilt_deg, False)
        return self

    def walks(self, seconds: float) -> Wearer:
        for i in range(round(seconds * RATE_HZ)):
            self._feed(2.0 * math.sin(11.0 * i / RATE_HZ), 0.6, 4.0, True)
        return self

    def moves(self, metres: float, over_s: float, tilt_deg: float = 30.0, error_m_s2: float = 0.0) -> Wearer:
        """Goes up by so much (down: negative), leaning forward meanwhile."""
        n = round(over_s * RATE_HZ)
        for i in range(n):
            phase = 2.0 * math.pi * i / n
            lean = 0.5 * (1.0 - math.cos(phase))
            vertical = metres * 2.0 * math.pi / over_s**2 * math.sin(phase) + error_m_s2 * lean
            self._feed(vertical, 0.3 + abs(math.sin(phase)), 3.0 + tilt_deg * lean, False)
        return self

    def gap(self, seconds: float) -> Wearer:
        self._t += seconds
        return self


W, S, C, L, U = Activity.WALKING, Activity.STANDING, Activity.SITTING, Activity.LYING, Activity.UNKNOWN


@pytest.mark.parametrize(
    ("does", "told"),
    [
        pytest.param(lambda p: p.stays(10.0), [U], id="upright from the beginning: it may be either"),
        pytest.param(lambda p: p.walks(5.0).stays(5.0), [W, S], id="who has walked stands"),
        pytest.param(lambda p: p.walks(5.0).stays(2.0).moves(-0.4, 1.5).stays(5.0), [W, S, C], id="sits down"),
        pytest.param(
            lambda p: p.walks(5.0).stays(2.0).moves(-0.4, 1.5).stays(5.0).moves(0.4, 1.5).stays(3.0),
            [W, S, C, S],
            id="and gets up",
        ),
        pytest.param(
            lambda p: p.stays(2.0).moves(-0.35, 2.5, error_m_s2=0.15).stays(5.0), [U, C], id="slowly, gravity is wrong"
        ),
        pytest.param(lambda p: p.walks(5.0).stays(2.0).moves(0.0, 2.0).stays(5.0), [W, S], id="bows"),
        pytest.param(
            lambda p: p.walks(3.0).stays(2.0).moves(-0.4, 1.5).stays(2.0).walks(3.0).stays(3.0),
            [W, S, C, W, S],
            id="getting up was not seen, but steps are",
        ),
        pytest.param(
            lambda p: p.walks(3.0).stays(1.0).stays(6.0, 85.0).stays(4.0), [W, S, L, U], id="lies, and is up again"
        ),
        pytest.param(lambda p: p.walks(3.0).stays(2.0, 75.0).stays(3.0), [W, S], id="bends far down for two seconds"),
        pytest.param(
            lambda p: p.walks(3.0).stays(2.0).gap(1.0).stays(5.0), [W, S, U], id="after a gap it may be either"
        ),
    ],
)
def test_what_is_told(does, told):
    """What is told of a person who does this, in order"""
    wearer = Wearer()
    does(wearer)
    assert wearer.told == told


def told_of(motion) -> list[Activity]:
    """What is told of a recorded trial, in order."""
    posture, gait, watch = Posture(), Gait(), ActivityWatch()
    told: list[Activity] = []
    upright = None
    for i, sample in enumerate(motion.samples()):
        t, a, w = sample.t_measured_s, sample.accel_m_s2, sample.gyro_rad_s
        posture.update(t, a, w, sample.gap)
        up = posture.up
        if up is None:
            continue
        if i == 52:
            upright = up
        gait.update(t, sum(x * u for x, u in zip(a, up, strict=True)) - G, w[0])
        tilt = math.degrees(math.acos(max(-1.0, min(1.0, sum(x * u for x, u in zip(up, upright or up, strict=True))))))
        now = watch.update(
            t,
            sum(x * u for x, u in zip(a, up, strict=True)) - G,
            math.sqrt(w[0] ** 2 + w[1] ** 2 + w[2] ** 2),
            tilt_deg=tilt,
            walking=gait.walking(t),
        )
        if not told or told[-1] is not now:
            told.append(now)
    return told


@pytest.mark.slow
def test_recorded_people(recorded_data):
    """Who sits down and gets up is mostly seen to; who walks or bows does hardly ever sit; who lies lies.

    Of 20 people, the first trial of each activity.
    """
    counts: dict[str, list[int]] = {}
    subjects = [f"S{group}{number:02d}" for group in "AE" for number in range(1, 24, 2)]
    names = {
        f"{code}_{who}_R01" for code in ("D01", "D05", "D07", "D08", "D09", "D10", "D14", "D16") for who in subjects
    }
    for trial in sisfall(recorded_data, names):
        told = told_of(trial.motion)
        n = counts.setdefault(trial.activity, [0, 0, 0, 0])
        n[0] += 1
        n[1] += C in told
        n[2] += L in told
        n[3] += told[-1] in (S, W)
    print("\n", dict(sorted(counts.items())))
    sat, of = (sum(counts[code][i] for code in ("D07", "D08", "D09", "D10")) for i in (1, 0))
    assert sat / of >= 0.6
    assert sum(counts[code][3] for code in ("D07", "D08", "D09", "D10")) / of >= 0.9
    assert sum(counts[code][1] for code in ("D01", "D05", "D16")) <= 2
    assert counts["D14"][2] / counts["D14"][0] >= 0.9
