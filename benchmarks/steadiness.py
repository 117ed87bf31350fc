"""What healthy people are told about how they walk, and how soon impaired walkers are: steadiness on both kinds.

Recorded people walk (all of them healthy): gait_l5 (lower back; 10 m, a turn, 10 m), SisFall D01 and D02 (belt buckle;
slow and quick walking round a court, 100 s each) and backward_mocap (actors, computed from motion capture; backward,
forward, diagonal).  Everything said is false.  Each trial is worn by the whole core, guarded, nothing behind, with a
voice that answers; the walks of a person follow each other as sessions of one device would, what was learned of them
going on.

steadiness_said_per_h: messages an hour of walking; `case`: the set, `all`, and of all each hazard.  The 95 % bounds are
    Poisson's.  "way unknown" is the same with the direction hidden from it: all but seven of these walks are forward,
    and of somebody who walks forward nothing is said of looking aside.
steadiness_raised_per_h: what was found, said or not.
steadiness_walked_h: how much walking that is.

Impaired walkers are simulated (`retrowalk.sim.walker`, one a seed: another build, another seat of the clip): 130 s of
steady backward walking, then they lean back at once or slowly, step unevenly, hurry, shuffle or look back.

steadiness_told_percent: told the right thing within 10 s of the change.
steadiness_told_after_s: p50 and p90 of when, of those told within 20 s; a walker who is never told counts as 20 s.
steadiness_said_per_h, case `simulated steady`: of the same walkers without any change.

Several limits (the drift of the lean, LOOK_AFTER_S, the holds) were chosen looking at these people; nothing here is
cross-validated.  Nobody in the data is unsteady: that somebody who is would be told is shown of simulated walkers only.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from common import Row, arguments, run
from recordings import Trial, clip, data_argument, data_directory, trials

from retrowalk.config import Config, HcSr04
from retrowalk.core.companion import Companion
from retrowalk.core.direction import Direction, Way
from retrowalk.core.events import HazardRaised, Speak
from retrowalk.core.samples import (
    CourierHeartbeat,
    ImuSample,
    Item,
    RangeSample,
    RangeStatus,
    Restored,
    SavedState,
    VoiceHeartbeat,
    VoicePhase,
    VoiceProgress,
)
from retrowalk.sim.walker import Walker

SUBJECT = "retrowalk"
HAZARDS = ("lean_back", "unsteady", "hurrying", "shuffling", "looking_back")
SETS = ("gait_l5", "sisfall", "backward_mocap")
CHECKED_S = 12.0
"""The check is passed by then: the trial begins."""
SAYS_S = 1.2
HZ = 104.0

STEADY_S = 130.0
WITHIN_S = 10.0
LOOKED_AT_S = 20.0
SPEED_M_S = 0.55

IMPAIRED: dict[str, tuple[Callable[[Walker, float], None], str]] = {
    "leans back 8 degrees": (lambda walker, t: walker.lean(t, -8.0), "lean_back"),
    "leans back 8 degrees in 8 s": (lambda walker, t: walker.lean(t, -8.0, over_s=8.0), "lean_back"),
    "step times vary by 15 %": (lambda walker, _: walker.step_unevenly(0.15), "unsteady"),
    "step times vary by 25 %": (lambda walker, _: walker.step_unevenly(0.25), "unsteady"),
    "hurries, 45 % faster": (lambda walker, _: walker.walk(1.45 * SPEED_M_S), "hurrying"),
    "shuffles": (lambda walker, _: walker.shuffle(0.5, 1.25), "shuffling"),
    "looks back for 4 s": (lambda walker, t: walker.look(t, 40.0, hold_s=4.0), "looking_back"),
}
"""What the walker does, and what is to be said of it."""


@dataclass
class Found:
    """What became of some walking."""

    walked_s: float = 0.0
    said: Counter[str] = field(default_factory=Counter)
    raised: Counter[str] = field(default_factory=Counter)
    said_s: list[tuple[float, str]] = field(default_factory=list)
    learned: SavedState | None = None

    def add(self, other: Found) -> None:
        """Takes another's in."""
        self.walked_s += other.walked_s
        self.said += other.said
        self.raised += other.raised


class Blind(Direction):
    """Never knows which way somebody walks."""

    def state(self, now: float) -> Way:
        """Unknown."""
        return Way.UNKNOWN


# ------------------------------------------------------------------------------------------------------- the core


def around(end_s: float) -> Iterator[Item]:
    """Nothing behind but a hand at first, and the signs of life of voice and courier, up to `end_s`."""
    for i in range(int(end_s / 0.1)):
        t = 0.1 * i
        hand = 1.0 <= t < 2.0
        status = RangeStatus.VALID if hand else RangeStatus.NO_TARGET
        yield RangeSample(t, t, "rear", status, 0.4 if hand else None)
        yield VoiceHeartbeat(t, "device", int(48000 * t) + 1, proof="heard")
        if i % 10 == 0:
            yield CourierHeartbeat(t, True, 0, True)


def stands(until_s: float, accel: tuple[float, float, float]) -> Iterator[ImuSample]:
    """Stands still until then."""
    for i in range(int(until_s * HZ)):
        yield ImuSample(i / HZ, i / HZ, accel, (0.0, 0.0, 0.0))


def worn(body: Iterable[ImuSample], state: SavedState | None, *, blind: bool = False) -> Found:
    """Wears the device on this body from `CHECKED_S` on; what was learned of them is `state`."""
    samples = list(body)
    first = samples[0]
    before = list(stands(first.t_received_s, first.accel_m_s2))
    end_s = samples[-1].t_received_s
    items = sorted([*around(end_s), *before, *samples], key=lambda item: item.t_received_s)
    companion = Companion(Config(range_sensor=(HcSr04(),)))
    if blind:
        companion._body.coaching._direction = Blind()
    found = Found()
    answers: list[VoiceProgress] = []
    if state is not None:
        items.insert(0, Restored(0.0, state, 86400.0))
    last_s = 0.0
    for item in items:
        now = item.t_received_s
        while answers and answers[0].t_received_s <= now:
            companion.feed(answers.pop(0))
        for output in companion.feed(item):
            if isinstance(output, Speak):
                words_s = SAYS_S if output.phrase else 0.2
                answers.append(VoiceProgress(now + 0.02, now + 0.02, output.alert, VoicePhase.STARTED))
                answers.append(VoiceProgress(now + words_s, now + words_s, output.alert, VoicePhase.FINISHED))
                answers.sort(key=lambda answer: answer.t_received_s)
                if output.phrase in HAZARDS:
                    found.said[output.phrase] += 1
                    found.said_s.append((now, output.phrase))
            elif isinstance(output, HazardRaised) and output.hazard in HAZARDS:
                found.raised[output.hazard] += 1
        if isinstance(item, ImuSample):
            if companion._body.gait.walking(item.t_measured_s):
                found.walked_s += max(0.0, min(0.1, item.t_measured_s - last_s))
            last_s = item.t_measured_s
    empty = SavedState(t_saved_s=0.0, guard_state="stopping")
    found.learned = companion._body.coaching.saved(empty)
    return found


# ------------------------------------------------------------------------------------------------- recorded people


def chosen(data: Path, options: argparse.Namespace) -> list[Trial]:
    """The walks; --quick a sixth of them."""
    every = [trial for name in SETS for trial in trials(data, name)]
    every = [t for t in every if t.set_name != "sisfall" or t.activity in ("D01", "D02")]
    every = [t for t in every if t.row.get("edited_loop") != "1"]
    if not options.quick:
        return every
    people = sorted({(t.set_name, t.subject) for t in every})
    few = {people[i] for i in range(options.seed % 6, len(people), 6)}
    return [t for t in every if (t.set_name, t.subject) in few]


def recorded(walks: list[Trial], seed: int, *, blind: bool) -> dict[str, Found]:
    """What each set's people are told, walk after walk."""
    found = {name: Found() for name in SETS}
    learned: dict[tuple[str, str], SavedState | None] = {}
    for trial in walks:
        body = clip(trial, seed, before_s=6.0, after_s=2.0).items(starts_s=CHECKED_S)
        who = (trial.set_name, trial.subject)
        one = worn(body, learned.get(who), blind=blind)
        learned[who] = one.learned
        found[trial.set_name].add(one)
    return found


# ----------------------------------------------------------------------------------------------- simulated walkers


def walks(seed: int, does: Callable[[Walker, float], None] | None) -> Iterator[ImuSample]:
    """The clip of a walker who stands, walks steadily backward, and then does something."""
    walker = Walker(seed)
    t, begun, done = CHECKED_S, False, does is None
    changes_s = CHECKED_S + STEADY_S
    while t < changes_s + LOOKED_AT_S:
        if not begun and t >= CHECKED_S + 1.0:
            walker.walk(SPEED_M_S)
            begun = True
        if not done and t >= changes_s and does is not None:
            does(walker, t)
            done = True
        moment = walker.moment(t, 1.0 / HZ)
        yield ImuSample(t, t, moment[0:3], moment[3:6])
        t += 1.0 / HZ


def simulated(name: str, seeds: range) -> list[Row]:
    """How many of these walkers are told in time, and when."""
    does, hazard = IMPAIRED[name]
    changes_s = CHECKED_S + STEADY_S
    after: list[float] = []
    for seed in seeds:
        said = [t - changes_s for t, said in worn(walks(seed, does), None).said_s if said == hazard and t >= changes_s]
        after.append(min(said[0], LOOKED_AT_S) if said else LOOKED_AT_S)
    told = 100.0 * sum(t <= WITHIN_S for t in after) / len(after)
    p50, p90 = np.percentile(after, [50, 90])
    return [
        Row("steadiness_told_percent", SUBJECT, name, round(told, 1), "%", len(after)),
        Row("steadiness_told_after_s", SUBJECT, f"p50 {name}", round(float(p50), 2), "s", len(after)),
        Row("steadiness_told_after_s", SUBJECT, f"p90 {name}", round(float(p90), 2), "s", len(after)),
    ]


# ---------------------------------------------------------------------------------------------------------- rows


def poisson_95(count: int) -> tuple[float, float]:
    """95 % bounds of a count (exact, by bisection)."""

    def below(mean: float, most: int) -> float:
        return sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(most + 1))

    def solve(wanted: Callable[[float], bool]) -> float:
        low, high = 1e-9, 10.0 * (count + 3)
        for _ in range(80):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if wanted(middle) else (low, middle)
        return low

    lower = 0.0 if count == 0 else solve(lambda mean: 1.0 - below(mean, count - 1) < 0.025)
    return lower, solve(lambda mean: below(mean, count) > 0.025)


def rate(metric: str, case: str, count: int, walked_s: float, goal: str | None = None, subject: str = SUBJECT) -> Row:
    """A count an hour of walking."""
    hours = walked_s / 3600.0
    low, high = poisson_95(count)
    bounds = (round(low / hours, 2), round(high / hours, 2))
    return Row(metric, subject, case, round(count / hours, 2), "1/h", count, bounds, goal)


def rows_of(found: dict[str, Found], subject: str) -> list[Row]:
    """What recorded people were told."""
    every = Found()
    rows = []
    for name, one in found.items():
        if one.walked_s > 0.0:
            every.add(one)
            rows.append(rate("steadiness_said_per_h", name, one.said.total(), one.walked_s, subject=subject))
    rows.append(rate("steadiness_said_per_h", "all", every.said.total(), every.walked_s, "<= 1", subject))
    rows += [rate("steadiness_said_per_h", h, every.said[h], every.walked_s, subject=subject) for h in HAZARDS]
    rows.append(rate("steadiness_raised_per_h", "all", every.raised.total(), every.walked_s, subject=subject))
    rows.append(Row("steadiness_walked_h", subject, "all", round(every.walked_s / 3600.0, 3), "h", 1))
    return rows


def measure(options: argparse.Namespace) -> list[Row]:
    """Both kinds."""
    rows: list[Row] = []
    chosen_walks = chosen(data_directory(options), options)
    if chosen_walks:
        for blind, subject in ((False, SUBJECT), (True, f"{SUBJECT} way unknown")):
            rows += rows_of(recorded(chosen_walks, options.seed, blind=blind), subject)
    count = 3 if options.quick else 40 if options.full else 12
    seeds = range(options.seed, options.seed + count)
    for name in IMPAIRED:
        rows += simulated(name, seeds)
    still = Found()
    for seed in seeds:
        still.add(worn(walks(seed, None), None))
    rows.append(rate("steadiness_said_per_h", "simulated steady", still.said.total(), still.walked_s))
    return rows


def main() -> None:
    """See the module's docstring."""
    parser = arguments("What healthy people are told about how they walk, and how soon impaired walkers are.")
    data_argument(parser)
    run("steadiness", parser.parse_args(), measure)


if __name__ == "__main__":
    main()
