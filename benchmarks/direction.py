"""Forward or backward: what the core says of recorded people, beside the plain rule, on the same samples.

Every bout goes through the chip (`recordings.py`: 104 samples a second, noise), `Posture`, `Gait` and `Direction` as in
the core, causally.  Scored every 0.1 s from the third step of a bout on, while `Gait` says that somebody walks.

direction_right_percent, direction_wrong_percent, direction_unknown_percent: of that time.  Intervals: bootstrap over
    bouts (mocap) or people (the others), 95 %; they know nothing of people who are not there.
direction_bouts_wrong_percent: bouts in which the wrong way was said at all (Wilson's interval).
direction_decide_s: from the third step to the first right answer, of the bouts that got one.
direction_us_per_sample: what `Direction` adds to a sample of the core, on this machine.

Cases.  `backward` and `forward`: at 0.5 m/s or faster, pooled over time.  Then by set, by speed, and with the clip
turned where it sits (`yaw 25`, `pitch 25`, `roll 25`: backward_mocap and gait_l5).
- backward_mocap: actors, signals computed from motion capture at a clip's place, true speeds moment by moment; no heel
  strikes, no start, stop or turn.  `diagonal` are its forward-diagonal walks: not in `forward`.
- gait_l5: 10 m forward, a turn (not scored), 10 m forward; clip at the lower back; speed of each way from its time.
- sisfall: D01, D02, forward, 100 s each, with turns.  Worn at the belt buckle, so *in front* of the trunk, where the
  device is not meant to be: `sisfall` is as recorded, `sisfall moved behind` has its acceleration carried 0.24 m
  through the trunk by the rates of the same recording.  Speed: what `OwnSpeed` makes of the bounce.  `jogging` (D03,
  D04) is nobody's use of the device; there `right` is forward.

Subjects.  `retrowalk`: the clip alone.  `plain rule`: the sign of the quadrature between forward and vertical
acceleration in the band of the steps (0.6 to 3 Hz, mean of 1 s, decides beyond 0.35, holds 1.5 s, not in turns).
`retrowalk with a range sensor`: what stands still behind nears as fast as the person truly walks backward (and is left
as fast as they walk forward), with errors of 0.1 m/s, 15 times a second, 0.15 s late; something is there for 2 s, then
nothing for 2 s.  That is made up: no recording has both.  `retrowalk deceived`: instead somebody comes up from behind
at 0.6 m/s for 4 of every 8 s while the wearer walks forward, or goes away while they walk backward.
`retrowalk without ...`: parts taken away.

`--data` may hold other people's recordings.  Sizes: every bout; --quick a few of each set; --full all, as the default,
and more turns of the clip.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import recordings
from common import Row, arguments, run
from intervals import quantile, quantile_interval, wilson
from recordings import Clip, Recording, Trial

import retrowalk.core.direction as core
from retrowalk.core.direction import Direction, Way, levelled
from retrowalk.core.gait import Gait
from retrowalk.core.own_speed import OwnSpeed
from retrowalk.core.posture import Posture, Vector

G_M_S2 = 9.80665
EVERY_S = 0.1
FAST_M_S = 0.5
BINS_M_S = (0.0, 0.3, 0.5, 0.7, 0.9, 1.2, 9.0)
STEPS = 3
MOVED_M = 0.24
SHOWN = {"backward": Way.BACKWARD, "forward": Way.FORWARD}
DRAWS = 1000


# ---------------------------------------------------------------------------------------------------- the bouts


@dataclass(frozen=True)
class Walk:
    """A trial with its truth: which way, and at each moment whether it is scored and how fast (nan: by the bounce)."""

    label: str
    """`backward_mocap`, `diagonal`, `gait_l5`, `sisfall`, `sisfall moved behind` or `jogging`."""
    way: Way
    unit: str
    """What is drawn anew as a whole: a bout, or a person."""
    trial: Trial
    t_s: recordings.Array
    speed_m_s: recordings.Array
    """Along the body's own forward axis, without sign; interpolated, 0 or less: not scored."""
    moved: bool = False

    def clip(self, seed: int, worn: recordings.Array | None) -> Clip:
        """As the chip gives it."""
        if not self.moved:
            return recordings.clip(self.trial, seed, worn=worn)
        return recordings.clipped(behind(recordings.read(self.trial)), seed, worn=worn)


def behind(recording: Recording) -> Recording:
    """The same trunk, felt `MOVED_M` farther back: the acceleration of that point of a rigid body."""
    rates = recordings.low_passed(recording.gyro, recording.rate_hz)
    grows = np.gradient(rates, 1.0 / recording.rate_hz, axis=0)
    arm = np.array([-MOVED_M, 0.0, 0.0])
    accel = recording.accel + np.cross(grows, arm) + np.cross(rates, np.cross(rates, arm))
    return Recording(recording.rate_hz, accel, recording.gyro)


def walks(data: Path) -> list[Walk]:
    """Every bout there is."""
    found = []
    for trial in recordings.trials(data, "backward_mocap"):
        if trial.row["edited_loop"] == "1":
            continue
        speed = np.abs(recordings.labels(trial)["v_fwd"].astype(float))
        label = "backward_mocap" if trial.activity in SHOWN else "diagonal"
        way = SHOWN.get(trial.activity, Way.FORWARD)
        found.append(Walk(label, way, trial.trial_id, trial, np.arange(len(speed)) / 100.0, speed))
    for trial in recordings.trials(data, "gait_l5"):
        there, back, again, ends = (
            float(trial.row[key]) for key in ("walk_start_s", "uturn_start_s", "uturn_end_s", "walk_end_s")
        )
        t = np.array([there, there, back, back, again, again, ends, ends])
        one, other = 10.0 / (back - there), 10.0 / (ends - again)
        found.append(
            Walk(
                "gait_l5", Way.FORWARD, trial.subject, trial, t, np.array([0.0, one, one, 0.0, 0.0, other, other, 0.0])
            )
        )
    for trial in recordings.trials(data, "sisfall"):
        t, speed = np.array([0.0, trial.duration_s]), np.array([math.nan, math.nan])
        if trial.activity in ("D01", "D02"):
            found.append(Walk("sisfall", Way.FORWARD, trial.subject, trial, t, speed))
            found.append(Walk("sisfall moved behind", Way.FORWARD, trial.subject, trial, t, speed, moved=True))
        elif trial.activity in ("D03", "D04"):
            found.append(Walk("jogging", Way.FORWARD, trial.subject, trial, t, speed))
    return found


# --------------------------------------------------------------------------------------------------- subjects


class PlainRule:
    """The sign of the quadrature between forward and vertical acceleration at the rhythm of the steps."""

    def __init__(self) -> None:
        self._bands = [_Band(), _Band()]
        self._integral = 0.0
        self._fv = self._ff = self._vv = 0.0
        self._turn = 0.0
        self._t: float | None = None
        self._way = Way.UNKNOWN
        self._sure_s = -math.inf

    def update(self, t: float, accel: Vector, gyro: Vector, up: Vector, gait: Gait) -> None:
        """As `Direction.update`."""
        dt = 1.0 / recordings.RATE_HZ if self._t is None else t - self._t
        self._t = t
        forward, _, vertical = levelled(accel, up)
        yaw_rate = gyro[0] * up[0] + gyro[1] * up[1] + gyro[2] * up[2]
        self._integral += (vertical - G_M_S2) * dt - self._integral * dt / 5.0
        f, v = self._bands[0].step(forward), self._bands[1].step(self._integral)
        self._fv += dt * (f * v - self._fv)
        self._ff += dt * (f * f - self._ff)
        self._vv += dt * (v * v - self._vv)
        self._turn += min(1.0, dt * 2.0 * math.pi * 0.5) * (yaw_rate - self._turn)
        if not gait.walking(t):
            self._way = Way.UNKNOWN
        elif abs(self._turn) < math.radians(15.0):
            d = -self._fv / math.sqrt(self._ff * self._vv + 1e-12)
            if abs(d) > 0.35:
                self._way, self._sure_s = (Way.FORWARD if d > 0.0 else Way.BACKWARD), t
            elif t - self._sure_s > 1.5:
                self._way = Way.UNKNOWN

    def state(self, now: float) -> Way:
        return self._way


class _Band:
    """0.6 to 3 Hz, second order at both ends."""

    def __init__(self) -> None:
        self._parts = []
        for hz, high in ((0.6, True), (3.0, False)):
            k = math.tan(math.pi * hz / recordings.RATE_HZ)
            norm = 1.0 / (1.0 + math.sqrt(2.0) * k + k * k)
            b0, b1 = (norm, -2.0 * norm) if high else (k * k * norm, 2.0 * k * k * norm)
            self._parts.append(
                [b0, b1, 2.0 * (k * k - 1.0) * norm, (1.0 - math.sqrt(2.0) * k + k * k) * norm, 0.0, 0.0]
            )

    def step(self, x: float) -> float:
        for part in self._parts:
            b0, b1, a1, a2, s1, s2 = part
            y = b0 * x + s1
            part[4], part[5] = b1 * x - a1 * y + s2, b0 * x - a2 * y
            x = y
        return x


@contextmanager
def without(**constants: object) -> Iterator[None]:
    """The core with other constants for a while."""
    before = {name: getattr(core, name) for name in constants}
    for name, value in constants.items():
        setattr(core, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(core, name, value)


def seen_behind(walk: Walk, rng: random.Random) -> Iterator[tuple[float, float]]:
    """When a range sensor tells a closing speed of something that stands still, and which: see the module."""
    sign = 1.0 if walk.way is Way.BACKWARD else -1.0
    late_s, first_s = 0.15, rng.uniform(0.0, 4.0)
    for i in range(int(walk.t_s[-1] * 15.0)):
        t = i / 15.0
        if (t + first_s) % 4.0 < 2.0:
            yield t + late_s, sign * float(np.interp(t, walk.t_s, walk.speed_m_s)) + rng.gauss(0.0, 0.1)


def deceiver(walk: Walk, rng: random.Random) -> Iterator[tuple[float, float]]:
    """Somebody behind who moves the other way than what stands still would seem to."""
    sign = -1.0 if walk.way is Way.BACKWARD else 1.0
    first_s = rng.uniform(0.0, 8.0)
    for i in range(int(walk.t_s[-1] * 15.0)):
        t = i / 15.0
        if (t + first_s) % 8.0 < 4.0:
            yield t + 0.15, sign * 0.6 + rng.gauss(0.0, 0.1)


Told = Callable[[Walk, random.Random], Iterator[tuple[float, float]]]


# -------------------------------------------------------------------------------------------------- the score


@dataclass(frozen=True)
class Score:
    """A walk as one subject judged it: for every scored moment the speed, and 1 right, -1 wrong, 0 unknown."""

    walk: Walk
    speed_m_s: recordings.Array
    said: recordings.Array
    decide_s: float | None
    """From the third step to the first right answer; None: none came."""


def judge(
    walk: Walk, judges: dict[str, Direction | PlainRule], seed: int, worn: recordings.Array | None, told: Told | None
) -> dict[str, Score]:
    """The walk through the core's filters, and what each judge makes of it."""
    posture, gait, own_speed = Posture(), Gait(), OwnSpeed()
    clip = walk.clip(seed, worn)
    words = list(told(walk, random.Random(f"{seed} {walk.trial.trial_id}"))) if told else []
    speeds: list[float] = []
    said: dict[str, list[int]] = {name: [] for name in judges}
    decided: dict[str, float] = {}
    third_step_s: float | None = None
    next_s, word = 0.0, 0
    for item in clip.items(0.0):
        t = item.t_measured_s
        posture.update(t, item.accel_m_s2, item.gyro_rad_s, item.gap)
        up = posture.up
        if up is None:
            continue
        a = item.accel_m_s2
        gait.update(t, a[0] * up[0] + a[1] * up[1] + a[2] * up[2] - G_M_S2, item.gyro_rad_s[0])
        walking = gait.walking(t)
        own_speed.update(t, gait.bounce_m_s2, walking)
        for judge_ in judges.values():
            judge_.update(t, a, item.gyro_rad_s, up, gait)
        while word < len(words) and words[word][0] <= t:
            for judge_ in judges.values():
                if isinstance(judge_, Direction):
                    judge_.witness(t, words[word][1], own_speed.speed_m_s(t))
            word += 1
        if t < next_s:
            continue
        next_s += EVERY_S
        speed = float(np.interp(t, walk.t_s, walk.speed_m_s, left=0.0, right=0.0))
        if math.isnan(speed):
            speed = own_speed.speed_m_s(t) or 0.0
        if not walking or speed <= 0.0:
            continue
        third_step_s = t if third_step_s is None else third_step_s
        speeds.append(speed)
        for name, judge_ in judges.items():
            way = judge_.state(t)
            said[name].append(0 if way is Way.UNKNOWN else 1 if way is walk.way else -1)
            if way is walk.way and name not in decided:
                decided[name] = t - third_step_s
    return {name: Score(walk, np.array(speeds), np.array(values), decided.get(name)) for name, values in said.items()}


def judged(
    found: Sequence[Walk],
    seed: int,
    subjects: Sequence[str],
    worn: recordings.Array | None = None,
    told: Told | None = None,
) -> dict[str, list[Score]]:
    """Every walk, by every subject."""
    scores: dict[str, list[Score]] = defaultdict(list)
    for walk in found:
        judges: dict[str, Direction | PlainRule] = {
            name: PlainRule() if name == "plain rule" else Direction() for name in subjects
        }
        for name, score in judge(walk, judges, seed, worn, told).items():
            scores[name].append(score)
    return scores


Bounds = tuple[float, float]


def shares(subject: str, case: str, scores: Sequence[Score], bounds: Bounds, *, goal: bool = False) -> list[Row]:
    """Right, wrong and unknown of the time at these speeds; nothing where nobody walked so."""
    units: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for score in scores:
        chosen = score.said[(score.speed_m_s >= bounds[0]) & (score.speed_m_s < bounds[1])]
        for i, value in enumerate((1, -1, 0)):
            units[score.walk.unit][i] += int((chosen == value).sum())
    counts = np.array(list(units.values()), dtype=float)
    n = int(counts.sum()) if len(counts) else 0
    if not n:
        return []
    draws = np.random.default_rng(1).integers(0, len(counts), (DRAWS, len(counts)))
    drawn = counts[draws].sum(axis=1)
    drawn = 100.0 * drawn[drawn.sum(axis=1) > 0] / drawn[drawn.sum(axis=1) > 0].sum(axis=1, keepdims=True)
    rows = []
    for i, (name, limit) in enumerate((("right", ">= 85"), ("wrong", "<= 2"), ("unknown", None))):
        low, high = np.percentile(drawn[:, i], [2.5, 97.5])
        value = 100.0 * float(counts[:, i].sum()) / n
        interval = (round(float(low), 1), round(float(high), 1))
        rows.append(
            Row(f"direction_{name}_percent", subject, case, round(value, 2), "%", n, interval, limit if goal else None)
        )
    return rows


def bouts(subject: str, case: str, scores: Sequence[Score]) -> list[Row]:
    """Bouts with a wrong answer, and how soon the right one came."""
    fast = [score for score in scores if (score.speed_m_s >= FAST_M_S).any()]
    if not fast:
        return []
    wrong = sum(bool(((score.said < 0) & (score.speed_m_s >= FAST_M_S)).any()) for score in fast)
    low, high = wilson(wrong, len(fast))
    rows = [
        Row(
            "direction_bouts_wrong_percent",
            subject,
            case,
            round(100.0 * wrong / len(fast), 1),
            "%",
            len(fast),
            (round(100.0 * low, 1), round(100.0 * high, 1)),
        )
    ]
    times = [score.decide_s for score in fast if score.decide_s is not None]
    for name, share in (("p50", 0.5), ("p90", 0.9)):
        if times:
            low, high = quantile_interval(times, share)
            rows.append(
                Row(
                    "direction_decide_s",
                    subject,
                    f"{name} {case}",
                    round(quantile(times, share), 2),
                    "s",
                    len(times),
                    (round(low, 2), round(high, 2)),
                )
            )
    return rows


POOLED = ("backward_mocap", "gait_l5", "sisfall")
FAST: Bounds = (FAST_M_S, 99.0)


def rows_of(subject: str, scores: Sequence[Score]) -> list[Row]:
    """Everything about one subject."""
    rows: list[Row] = []
    pooled = [score for score in scores if score.walk.label in POOLED]
    for case, way in SHOWN.items():
        of_way = [score for score in pooled if score.walk.way is way]
        rows += shares(subject, case, of_way, FAST, goal=subject.startswith("retrowalk"))
        rows += bouts(subject, case, of_way)
    for label in ("backward_mocap", "gait_l5", "sisfall", "sisfall moved behind"):
        forward = [score for score in scores if score.walk.label == label and score.walk.way is Way.FORWARD]
        rows += shares(subject, f"forward {label}", forward, FAST)
    rows += shares(subject, "forward diagonal", [s for s in scores if s.walk.label == "diagonal"], FAST)
    rows += shares(subject, "jogging", [s for s in scores if s.walk.label == "jogging"], FAST)
    for case, way in SHOWN.items():
        for low, high in pairwise(BINS_M_S):
            name = f"{case} {low:.1f} to {high:.1f} m/s" if high < 9.0 else f"{case} from {low:.1f} m/s"
            chosen = [s for s in pooled if s.walk.way is way and s.walk.label != "sisfall"]
            rows += shares(subject, name, chosen, (low, high))
    return rows


def worn_rows(found: Sequence[Walk], options: argparse.Namespace) -> list[Row]:
    """The clip turned where it sits."""
    behind_the_back = [walk for walk in found if walk.label in ("backward_mocap", "gait_l5")]
    turns = [("yaw", 25), ("yaw", -25), ("pitch", 25), ("roll", 25)]
    if options.full:
        turns += [("pitch", -25), ("roll", -25), ("yaw", 15), ("yaw", -15), ("yaw", 40), ("yaw", -40)]
    rows: list[Row] = []
    for axis, degrees in turns:
        worn = recordings.turned(**{f"{axis}_deg": float(degrees)})
        for subject, scores in judged(behind_the_back, options.seed, ("retrowalk", "plain rule"), worn).items():
            for case, way in SHOWN.items():
                of_way = [score for score in scores if score.walk.way is way]
                goal = subject == "retrowalk" and abs(degrees) <= 25
                rows += shares(subject, f"{case} {axis} {degrees}", of_way, FAST, goal=goal)
    return rows


def cost(walk: Walk, seed: int) -> Row:
    """What a sample of `Direction` costs, best of five."""
    items = list(walk.clip(seed, None).items(0.0))
    posture = Posture()
    ups: list[Vector] = []
    for item in items:
        posture.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s)
        ups.append(posture.up or (0.0, 0.0, 1.0))
    bounces = [
        sum(p * q for p, q in zip(item.accel_m_s2, up, strict=True)) - G_M_S2
        for item, up in zip(items, ups, strict=True)
    ]
    took: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(5):
        for with_direction in (False, True):
            gait, direction = Gait(), Direction()
            started = time.process_time()
            for item, up, bounce in zip(items, ups, bounces, strict=True):
                gait.update(item.t_measured_s, bounce, item.gyro_rad_s[0])
                if with_direction:
                    direction.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s, up, gait)
            took[with_direction].append(time.process_time() - started)
    us = 1e6 * (min(took[True]) - min(took[False])) / len(items)
    return Row("direction_us_per_sample", "retrowalk", "best of 5", round(us, 2), "us", len(items), None, "<= 4")


def measure(options: argparse.Namespace) -> list[Row]:
    """Every subject."""
    found = walks(recordings.data_directory(options))
    if not found:
        sys.exit("none of backward_mocap, gait_l5 and sisfall is in the folder of the data sets")
    if options.quick:
        some = {"gait_l5": 5, "sisfall": 10, "sisfall moved behind": 10, "jogging": 10, "diagonal": 2}
        seen: dict[str, int] = defaultdict(int)
        kept = []
        for walk in found:
            if seen[walk.label] % some.get(walk.label, 1) == 0:
                kept.append(walk)
            seen[walk.label] += 1
        found = kept
    rows: list[Row] = []
    for subject, scores in judged(found, options.seed, ("retrowalk", "plain rule")).items():
        rows += rows_of(subject, scores)
    if not options.quick:
        rows += worn_rows(found, options)
    mocap = [walk for walk in found if walk.label == "backward_mocap"]
    told: tuple[tuple[str, Told], ...] = (
        ("retrowalk with a range sensor", seen_behind),
        ("retrowalk deceived", deceiver),
    )
    for subject, words in told:
        told_scores = judged(mocap, options.seed, ("retrowalk",), told=words)["retrowalk"]
        for case, way in SHOWN.items():
            of_way = [score for score in told_scores if score.walk.way is way]
            rows += shares(subject, f"{case} backward_mocap", of_way, FAST)
            rows += shares(subject, f"{case} backward_mocap below 0.5 m/s", of_way, (0.0, FAST_M_S))
    parts: tuple[tuple[str, dict[str, object]], ...] = (
        ("retrowalk without the lateral clock", {"LATERAL_WEIGHT": 0.0}),
        ("retrowalk without the lever of the clip", {"BEHIND_M": 0.0}),
        ("retrowalk without other readings", {"READINGS": core.READINGS[:1]}),
    )
    behind_the_back = [walk for walk in found if walk.label in ("backward_mocap", "gait_l5")]
    for subject, constants in parts:
        with without(**constants):
            reduced = judged(behind_the_back, options.seed, ("retrowalk",))["retrowalk"]
        for case, way in SHOWN.items():
            rows += shares(subject, case, [score for score in reduced if score.walk.way is way], FAST)
    rows.append(cost(max(found, key=lambda walk: walk.trial.duration_s), options.seed))
    return rows


if __name__ == "__main__":
    parser = arguments(__doc__.splitlines()[0])
    recordings.data_argument(parser)
    options = parser.parse_args()
    run("direction", options, measure)
