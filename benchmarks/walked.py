#!/usr/bin/env python3
"""How well the clip knows step length, speed and distance, without and with a way of known length.

usage: benchmarks/walked.py [--data DIR] [--seed N] [--json] [--quick]

Forward: `gait_l5`, ten people, six walks each: 10 m, a turn, 10 m back.  Scored is the whole walk against 20 m, because
the ways alone are not 10 m each (the same person takes 13 to 16 steps there and 16 to 20 back: the turn has its share).
*Calibrated* is with the person's first walk, scored on the other five.  `ways_refused`: of the first way of each walk,
what `retrowalk calibrate gait` would not take (steps of more than 0.8 m are none of walking backward).

Backward: `backward_mocap`, seven bouts of one actor in as many styles, the clip computed from motion capture, no turn
and no start.  Calibrated is with one half of the bout, scored on the other, each once; and, as `styles`, with one whole
bout and scored on every other one.  Halves last 2 to 5 s, so that chance has its part.

Beside it, on the same steps: the inverted pendulum (height 0.95 m, factor 1.147, Zijlstra's rule as mobgap has it), and
the same length for every step (what `gait_l5` has on the mean of the *other* people; calibrated: the person's own).
Speed is the mean with the turn, step length that over all steps by the labels.  Nothing is fitted here; the exponents
in `core/walked.py` were chosen on these people.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Row, arguments, run
from numpy.typing import NDArray
from recordings import Trial, clip, data_argument, data_directory, labels, trials

from retrowalk.config import Walker
from retrowalk.core import walked as wk
from retrowalk.core.gait import Gait
from retrowalk.core.own_speed import OwnSpeed
from retrowalk.core.posture import Posture
from retrowalk.core.samples import ImuSample

Array = NDArray[np.float64]
G = 9.80665
HEIGHT_M = 0.95
"""Of the clip above the ground, and so the length of the pendulum."""
PENDULUM = 1.147
AFTER_S = 1.5
"""A bout of backward_mocap counts from here on: it begins in the midst of walking, and the device has to settle."""
PENDULUM_HZ = 0.3
STARTS_S = 0.0
USUAL_M = 0.57
"""Step of all people in `gait_l5`."""
MARGIN_S = 0.3
"""The contacts of the first and the last step may be found so much off."""
RULES = ("retrowalk", "inverted pendulum", "same step")


@dataclass(frozen=True)
class Stretch:
    """Part of a recording of which it is known how far it went."""

    person: str
    name: str
    distance_m: float
    seconds: float
    steps: float
    """Taken, by the labels."""
    found: wk.Totals
    """As for somebody whose step was never measured."""
    pendulum_m: float
    """What the inverted pendulum says, at factor 1."""
    own: wk.OwnStep
    """What it gives as a calibration."""


class Played:
    """A recording through posture, gait and speed, as the device has them."""

    def __init__(self, samples: Sequence[ImuSample]) -> None:
        posture, gait, speed, walked = Posture(), Gait(), OwnSpeed(), wk.Walked(Walker())
        self.totals: list[tuple[float, wk.Totals]] = [(-math.inf, wk.Totals())]
        told: list[tuple[float, tuple[float, ...]]] = []
        t_all, vertical = [], []
        for sample in samples:
            t, a = sample.t_measured_s, sample.accel_m_s2
            posture.update(t, a, sample.gyro_rad_s, sample.gap)
            up = posture.up
            if up is None:
                continue
            along = a[0] * up[0] + a[1] * up[1] + a[2] * up[2] - G
            gait.update(t, along, sample.gyro_rad_s[0])
            speed.update(t, gait.bounce_m_s2, gait.walking(t))
            walked.bounced(gait.bounce_m_s2)
            t_all.append(t)
            vertical.append(along)
            if gait.step_times_s:
                walked.stepped(gait.step_times_s, speed.by_bounce_m_s(t))
                if walked.totals != self.totals[-1][1]:  # steps that wait for the next one stand in its totals
                    self.totals.append((gait.last_step_s, walked.totals))
                told.append((t, gait.step_times_s))
        self._pendulum = self._heights(np.array(t_all), np.array(vertical), told)

    @staticmethod
    def _heights(t: Array, vertical: Array, told: list[tuple[float, tuple[float, ...]]]) -> list[tuple[float, float]]:
        """Step times, each with the pendulum's length of that step at factor 1."""
        dt = float(np.median(np.diff(t)))
        height = high_passed(np.cumsum(high_passed(np.cumsum(vertical) * dt, dt)) * dt, dt)
        found: list[tuple[float, float]] = []
        times = [at for _, batch in told for at in batch]
        for i, at in enumerate(times):
            other = times[i - 1] if i and at - times[i - 1] <= wk.PAUSE_S else times[min(i + 1, len(times) - 1)]
            part = height[(t >= min(at, other)) & (t <= max(at, other))]
            d = min(HEIGHT_M, float(np.ptp(part))) if len(part) else 0.0
            found.append((at, 2.0 * math.sqrt(2.0 * HEIGHT_M * d - d * d)))
        return found

    def between(self, from_s: float, to_s: float) -> wk.Totals:
        """What was found in steps after `from_s` up to `to_s`."""
        before = [totals for at, totals in self.totals if at <= from_s][-1]
        after = [totals for at, totals in self.totals if at <= to_s][-1]
        return after.since(before)

    def pendulum_m(self, from_s: float, to_s: float) -> float:
        """The same, by the inverted pendulum at factor 1."""
        return sum(length for at, length in self._pendulum if from_s < at <= to_s)

    def step_after(self, t_s: float) -> float:
        """When the first step at or after this was taken, that stands in the totals."""
        return next((at for at, _ in self.totals if at >= t_s), math.inf)

    def step_before(self, t_s: float) -> float:
        """When the last one before this was taken."""
        return [at for at, _ in self.totals if at <= t_s][-1]


def high_passed(x: Array, dt: float) -> Array:
    """Second-order Butterworth, causal."""
    k = math.tan(math.pi * PENDULUM_HZ * dt)
    norm = 1.0 / (1.0 + math.sqrt(2.0) * k + k * k)
    a1, a2 = 2.0 * (k * k - 1.0) * norm, (1.0 - math.sqrt(2.0) * k + k * k) * norm
    out, s1, s2 = [], 0.0, 0.0
    for value in x.tolist():
        y = norm * value + s1
        s1 = -2.0 * norm * value - a1 * y + s2
        s2 = norm * value - a2 * y
        out.append(y)
    return np.array(out)


# --------------------------------------------------------------------------------------------------- stretches


def taken(samples: Sequence[ImuSample], begin_s: float, end_s: float, distance_m: float) -> bool:
    """Whether `retrowalk calibrate gait` takes a way between two presses of the button."""
    watch = wk.WayWatch()
    begun = False
    for sample in samples:
        if not begun and sample.t_measured_s >= begin_s:
            watch.begin(begin_s)
            watch.end(end_s)
            begun = True
        watch.feed(sample)
        if watch.now_s >= end_s + wk.LATE_S:
            break
    return isinstance(watch.outcome(distance_m, either_way=True), wk.OwnStep)


def whole(trial: Trial, seed: int) -> tuple[Stretch, bool]:
    """A walk of gait_l5, and whether its first way would do as a calibration."""
    row = trial.row
    samples = list(clip(trial, seed).items(STARTS_S))
    played = Played(samples)
    marks = labels(trial)
    ends = np.concatenate([marks["left"][:, 1], marks["right"][:, 1]]) / 100.0
    start_s, turn_s, end_s = (float(row[name]) for name in ("walk_start_s", "uturn_start_s", "walk_end_s"))
    found = played.between(start_s - MARGIN_S, end_s + MARGIN_S)
    walk = Stretch(
        trial.subject,
        trial.trial_id,
        20.0,
        end_s - start_s,
        float(len(ends)),
        found,
        played.pendulum_m(start_s - MARGIN_S, end_s + MARGIN_S),
        wk.own_step(found, 20.0),
    )
    return walk, taken(samples, start_s - MARGIN_S, turn_s + MARGIN_S, 10.0)


def halves(trial: Trial, seed: int) -> list[Stretch]:
    """The two halves of a bout of backward_mocap, from a step to a step; and the whole of it."""
    samples = list(clip(trial, seed).items(STARTS_S))
    played = Played(samples)
    marks = labels(trial)
    speed = np.hypot(marks["v_fwd"].astype(float), marks["v_left"].astype(float))
    touch = np.sort(np.concatenate([marks["td_left"], marks["td_right"]]).astype(float))
    interval_s = float(np.median(np.diff(touch)))
    length_s = len(speed) / 100.0
    first, last = played.step_after(AFTER_S), played.step_before(length_s)
    middle = played.step_before(0.5 * (first + last)) if first < last else last
    found = []
    for begin_s, end_s in ((first, middle), (middle, last), (first, last)):
        if not end_s - begin_s > 1.0:
            continue
        distance_m = float(speed[round(begin_s * 100) : round(end_s * 100)].sum() / 100.0)
        totals = played.between(begin_s, end_s)
        if not totals.steps:
            return []
        found.append(
            Stretch(
                trial.trial_id,
                trial.trial_id,
                distance_m,
                end_s - begin_s,
                (end_s - begin_s) / interval_s,
                totals,
                played.pendulum_m(begin_s, end_s),
                wk.own_step(totals, distance_m),
            )
        )
    return found if len(found) == 3 else []


# ------------------------------------------------------------------------------------------------------- rules


def told_m(stretch: Stretch, rule: str, by: Sequence[Stretch], usual_m: float) -> float:
    """How far a rule says that it went, calibrated with the stretches `by` (none: not calibrated)."""
    found = stretch.found
    if rule == "same step":
        return found.steps * (sum(s.distance_m for s in by) / sum(s.found.steps for s in by) if by else usual_m)
    if rule == "inverted pendulum":
        factor = sum(s.distance_m for s in by) / sum(s.pendulum_m for s in by) if by else PENDULUM
        return factor * stretch.pendulum_m
    if not by:
        return found.distance_m
    own = by[0].own
    return found.roots * wk.constant(own.step_length_m, own.step_bounce_m_s2, own.step_time_s)


Judged = tuple[Stretch, float]
"""A stretch, and how far it is said to have gone."""


def errors(judged: Sequence[Judged], kind: str) -> Array:
    """Speed in m/s, step length in m, or distance in per cent."""
    out = []
    for stretch, metres in judged:
        found = stretch.found
        if kind == "speed":
            said = metres / found.moving_s if found.moving_s else 0.0
            out.append(said - stretch.distance_m / stretch.seconds)
        elif kind == "step":
            out.append(metres / max(1, found.steps) - stretch.distance_m / stretch.steps)
        else:
            out.append(100.0 * (metres / stretch.distance_m - 1.0))
    return np.array(out)


METRICS = {
    "speed": ("walking_speed_error_m_s", "m/s"),
    "step": ("step_length_error_m", "m"),
    "distance": ("distance_error_percent", "%"),
}


def rows_of(rule: str, case: str, kinds: Sequence[str], judged: Sequence[Judged]) -> list[Row]:
    """Root mean square and mean of each kind."""
    found = []
    for kind in kinds:
        error = errors(judged, kind)
        if not len(error):
            continue
        metric, unit = METRICS[kind]
        for statistic, value in (("rms", math.sqrt(float((error**2).mean()))), ("mean", float(error.mean()))):
            goal = "<= 20" if (kind, statistic, rule) == ("distance", "rms", "retrowalk") else None
            found.append(Row(metric, rule, f"{statistic} {case}", round(value, 3), unit, len(error), goal=goal))
    return found


def usual_step_m(others: Sequence[Stretch]) -> float:
    """Mean step of other people, as found."""
    return sum(s.distance_m for s in others) / max(1, sum(s.found.steps for s in others))


def forward(data: Any, options: argparse.Namespace) -> list[Row]:
    """gait_l5."""
    chosen = trials(data, "gait_l5")
    if options.quick:
        chosen = [trial for trial in chosen if trial.trial_id[-3:] in ("T01", "T02")]
    by_person: dict[str, list[tuple[Stretch, bool]]] = {}
    for trial in chosen:
        by_person.setdefault(trial.subject, []).append(whole(trial, options.seed))
    kinds = ("speed", "step", "distance")
    plans: dict[str, list[tuple[Stretch, list[Stretch], float]]] = {"not calibrated": [], "calibrated": []}
    for person, walks in by_person.items():
        usual_m = usual_step_m([walk for name, theirs in by_person.items() if name != person for walk, _ in theirs])
        for walk, _ in walks[1:]:
            plans["not calibrated"].append((walk, [], usual_m))
            plans["calibrated"].append((walk, [walks[0][0]], usual_m))
    refused = sum(not taken for walks in by_person.values() for _, taken in walks)
    rows = [Row("ways_refused", "retrowalk", "forward", refused, "", len(chosen))]
    for rule in RULES:
        for case, plan in plans.items():
            judged = [(walk, told_m(walk, rule, by, usual_m)) for walk, by, usual_m in plan]
            rows += rows_of(rule, f"forward, {case}", kinds, judged)
    return rows


def backward(data: Any, options: argparse.Namespace) -> list[Row]:
    """backward_mocap."""
    chosen = [t for t in trials(data, "backward_mocap") if t.activity == "backward" and t.row["edited_loop"] == "0"]
    bouts = {trial.trial_id: halves(trial, options.seed) for trial in chosen}
    known = {name: parts for name, parts in bouts.items() if parts}
    rows = [Row("bouts_without_steps", "retrowalk", "backward", len(bouts) - len(known), "", len(bouts))]
    kinds = ("speed", "step", "distance")
    plans: dict[str, Callable[[], list[tuple[Stretch, list[Stretch]]]]] = {
        "not calibrated": lambda: [(part, []) for parts in known.values() for part in parts[:2]],
        "calibrated": lambda: [(parts[i], [parts[1 - i]]) for parts in known.values() for i in (0, 1)],
        "styles": lambda: [(b[2], [a[2]]) for x, a in known.items() for y, b in known.items() if x != y],
    }
    for rule in RULES:
        for case, plan in plans.items():
            judged = [(stretch, told_m(stretch, rule, by, USUAL_M)) for stretch, by in plan()]
            rows += rows_of(rule, f"backward, {case}", kinds, judged)
    return rows


def measure(options: argparse.Namespace) -> list[Row]:
    """Everything that the folder holds."""
    data = data_directory(options)
    rows: list[Row] = []
    if trials(data, "gait_l5"):
        rows += forward(data, options)
    if trials(data, "backward_mocap"):
        rows += backward(data, options)
    return rows or [Row("nothing_to_score", "retrowalk", str(data), 0, "", 0)]


if __name__ == "__main__":
    parser = arguments("Step length, speed and distance by the clip, with and without calibration.")
    data_argument(parser)
    run("walked", parser.parse_args(), measure)
