"""Falls and lost balance of recorded people: what the core makes of every trial, beside a published kind of rule.

Each trial is streamed through the `Companion` as the chip on the lower back would give it (`recordings.py`: 104
samples a second, 16 g, 2000 degrees/s, noise, a FIFO), with signs of life of the voice and the courier, a rear sensor
that has been checked by hand and sees nothing, and its deadlines served.  Who is asked after a fall that was none
presses the button half a second later, so that the countdown of one false suspicion hides no other; who has fallen
lies there and does not, so that whatever follows belongs to that fall.

Weights: whoever's recordings were learned from (`folds/*.json`, written by `script/train`) is scored with weights
that were learned without them; everybody else with the weights that are shipped.  How many of each is told on stderr.

fall_sensitivity: falls with a `fall.suspected` between 0.5 s before and 10 s after the labelled shock; "%" of them.
fall_specificity: trials of daily life without any, in "%" of them.
fall_false_alarms_per_h: every other `fall.suspected`, cancelled or not, per recorded hour of daily life (what is put
    before and after a trial adds no hours).  The activities are hostile: lying down quickly, collapsing into a chair.
    "in fall trials": those outside the window, per recorded hour of the fall trials.
fall_false_alarms_upright_per_h: the same in upright activities (D01, D02, D05, D06, D15, D16, D18).
fall_latency_s: from the shock to the suspicion that found it.
balance_lost_sensitivity: falls with `balance.lost` whose tone (25 ms after the decision) comes 0 to 1 s before contact.
    Contact: first |a| > 1.8 g within 350 ms before the shock.
balance_lost_lead_ms: from that tone to contact, of the falls while walking (F01 to F07) that were foreseen.
balance_lost_false_per_walking_h: `balance.lost` per hour of level walking (D01, D02, gait_l5, and the walking before
    F01 to F07 up to 1 s before contact).  "jogging", "stumbles" and "stairs" are D03, D04; D18; D05, D06: not in "all".
    "without F07" leaves out what comes before F07, whose people sink onto a table seconds before they meet the ground.

Subjects: `retrowalk`, and `K 2.5 g`: |a| >= 2.5 g, then less than 0.5 g along the vertical on the mean of 1.6 to 2.0 s
after it, with a pause of 1 s after each shock (of the kind of Kangas), on the same samples.

Cases without a name before them are SisFall (belt buckle, 200 Hz; falls simulated by young volunteers on mats).
UMAFall (waist, 20 Hz, 64 falls) and WEDA-FALL (wrist, about 40 Hz) are not what the device is made for, nothing was
tuned to them, and they are told under their own names; WEDA-FALL has no lost balance, for want of a trunk.
Sizes: all trials; --quick some of each activity; --full all, by activity, and with the clip askew by 25 degrees.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import recordings
from common import Row, arguments, run
from intervals import poisson, wilson
from recordings import Clip, Trial

from retrowalk.config import Config, TfLuna
from retrowalk.core.companion import Companion
from retrowalk.core.events import BalanceLost, FallSuspected
from retrowalk.core.samples import (
    ButtonEdge,
    CourierHeartbeat,
    Item,
    RangeSample,
    RangeStatus,
    Tick,
    VoiceHeartbeat,
)
from retrowalk.models import Logistic, Models
from retrowalk.sim.recorded import BEFORE_S

OURS = "retrowalk"
PEER = "K 2.5 g"
SETS = {"sisfall": "", "gait_l5": "gait_l5 ", "umafall_waist": "UMAFall ", "weda_fall": "WEDA-FALL "}
"""What a case of each set begins with."""
TRUNK = ("sisfall", "gait_l5", "umafall_waist")
FOLDS = Path(__file__).parent / "folds"

EARLY_S, LATE_S = 0.5, 10.0
"""A fall is found when it is suspected so long before its shock at most, or after it."""
CONTACT_G, CONTACT_S = 1.8, 0.35
FORESEEN_S = 1.0
TONE_S = 0.025
"""From a decision to the first sound of its tone."""

BACKWARD = ("F02", "F11", "F14")
WALKING_FALLS = tuple(f"F{n:02}" for n in range(1, 8))
SLUMP = "F07"
JOGGING = ("D03", "D04")
UPRIGHT = ("D01", "D02", "D05", "D06", "D15", "D16", "D18")
WALKING = ("D01", "D02", "D03", "D04", "D05", "D06")
LEVEL = ("D01", "D02", "WALK10M_UTURN")
STAIRS = ("D05", "D06")
STUMBLES = ("D18",)

CONFIG = Config(range_sensor=(TfLuna(),))
BEAT_S = 0.2
PRESS_AFTER_S, PRESS_S = 0.5, 0.15
HAND_FROM_S, HAND_UNTIL_S = 0.2, 0.8
QUICK = 4
"""Trials of each activity."""
ASKEW = {
    "pitched 25": (25.0, 0.0, 0.0),
    "pitched -25": (-25.0, 0.0, 0.0),
    "rolled 25": (0.0, 25.0, 0.0),
    "rolled -25": (0.0, -25.0, 0.0),
    "yawed 25": (0.0, 0.0, 25.0),
}
"""How the clip sits: pitch, roll and yaw in degrees."""


# ------------------------------------------------------------------------------------------------------ weights


class Fold(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Weights, and who had no part in them."""

    subjects: tuple[str, ...]
    model: Logistic


@lru_cache
def folds(name: str) -> dict[str, Logistic]:
    """For everybody whose recordings were learned from: weights learned without them."""
    path = FOLDS / f"{name}.json"
    if not path.exists():
        return {}
    known = msgspec.json.decode(path.read_bytes(), type=tuple[Fold, ...])
    return {subject: fold.model for fold in known for subject in fold.subjects}


def person(trial: Trial) -> str:
    """Whose trial it is, as the folds call them: SisFall's people by their code alone."""
    return trial.subject if trial.set_name == "sisfall" else f"{trial.set_name}/{trial.subject}"


def companion_for(trial: Trial) -> Companion:
    """The core with weights that have not seen this person."""
    who = person(trial)
    models = Models(fall=folds("fall").get(who), balance_lost=folds("balance_lost").get(who))
    return Companion(CONFIG, models)


# -------------------------------------------------------------------------------------------------- one trial


@dataclass(frozen=True)
class Result:
    """What became of a trial.  Seconds from the trial's first sample."""

    trial: Trial
    subject: str
    suspected_s: tuple[float, ...]
    """When a fall was suspected."""
    lost_s: tuple[float, ...] = ()
    """When balance was lost."""
    contact_s: float = math.nan
    worn: str = ""
    """How the clip sat, where not straight."""

    @property
    def activity(self) -> str:
        """Its code."""
        return self.trial.activity

    def _of_the_fall(self, at_s: float) -> bool:
        return self.trial.is_fall and -EARLY_S <= at_s - self.trial.impact_s <= LATE_S

    @property
    def latency_s(self) -> float | None:
        """From the shock to the suspicion that found it; None for a fall that was not found."""
        return next((at_s - self.trial.impact_s for at_s in self.suspected_s if self._of_the_fall(at_s)), None)

    @property
    def false(self) -> int:
        """Suspicions that found nothing: all but the first of a fall."""
        return len(self.suspected_s) - (self.latency_s is not None)

    @property
    def lead_s(self) -> float | None:
        """From the tone to contact; None for a fall that was not foreseen."""
        leads = [self.contact_s - (at_s + TONE_S) for at_s in self.lost_s]
        return next((lead for lead in leads if 0.0 <= lead <= FORESEEN_S), None)

    @property
    def walked_s(self) -> float:
        """How long the trial goes on before whatever may be called a loss of balance."""
        return max(0.0, self.contact_s - FORESEEN_S) if self.trial.is_fall else self.trial.duration_s

    @property
    def false_lost(self) -> int:
        """Losses of balance before that."""
        return sum(not self.trial.is_fall or at_s < self.contact_s - FORESEEN_S for at_s in self.lost_s)


def streamed(trial: Trial, clip: Clip, companion: Companion) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """When a fall was suspected, and when balance was lost, in seconds of the trial."""
    suspected: list[float] = []
    lost: list[float] = []
    pressed: list[ButtonEdge] = []

    def feed(item: Item) -> None:
        for output in companion.feed(item):
            if isinstance(output, FallSuspected):
                at_s = item.t_received_s - BEFORE_S
                suspected.append(at_s)
                if not (trial.is_fall and -EARLY_S <= at_s - trial.impact_s <= LATE_S):
                    down_s = item.t_received_s + PRESS_AFTER_S
                    pressed.append(ButtonEdge(down_s, down_s, True))
                    pressed.append(ButtonEdge(down_s + PRESS_S, down_s + PRESS_S, False))
            elif isinstance(output, BalanceLost):
                lost.append(item.t_received_s - BEFORE_S)

    beat_s = got_s = 0.0
    for item in clip.items():
        if item.t_received_s > got_s:  # a FIFO is read: what has happened since the last time comes first
            got_s = item.t_received_s
            while beat_s <= got_s:
                for beat in beats(beat_s):
                    _tick(companion, beat.t_received_s, feed)
                    feed(beat)
                beat_s += BEAT_S
            while pressed and pressed[0].t_received_s <= got_s:
                _tick(companion, pressed[0].t_received_s, feed)
                feed(pressed.pop(0))
            _tick(companion, got_s, feed)
        feed(item)
    return tuple(suspected), tuple(lost)


def _tick(companion: Companion, until_s: float, feed: Callable[[Item], None]) -> None:
    """Serves the deadlines that come before `until_s`."""
    due_s = companion.deadline()
    while due_s is not None and 0.0 <= due_s < until_s:  # before its first item it has none
        feed(Tick(due_s))
        after_s = companion.deadline()
        due_s = None if after_s is not None and after_s <= due_s else after_s


def beats(t_s: float) -> tuple[Item, ...]:
    """Voice, courier and rear sensor at a moment: all well, a hand held behind, then nothing there."""
    hand = HAND_FROM_S <= t_s < HAND_UNTIL_S
    status = RangeStatus.VALID if hand else RangeStatus.NO_TARGET
    return (
        VoiceHeartbeat(t_s, "benchmark", round(t_s * 48_000) + 1, proof="heard"),
        CourierHeartbeat(t_s, True, 0, False),
        RangeSample(t_s, t_s - 0.01, CONFIG.range_sensor[0].name, status, 0.35 if hand else None),
    )


def peer(clip: Clip) -> tuple[float, ...]:
    """When `K 2.5 g` alarms, in seconds of the trial."""
    size = np.linalg.norm(clip.accel, axis=1) / 9.80665
    vertical = clip.accel[:, 2] / 9.80665
    alarms = []
    free_s = -math.inf
    for i in np.flatnonzero(size >= 2.5):
        at_s = float(clip.t_s[i])
        if at_s < free_s:
            continue
        free_s = at_s + 1.0
        after = (clip.t_s >= at_s + 1.6) & (clip.t_s <= at_s + 2.0)
        if after.any() and float(vertical[after].mean()) <= 0.5:
            alarms.append(at_s + 2.0)
    return tuple(alarms)


def contact_s(trial: Trial) -> float:
    """When a body falling first touches something, by its shock."""
    if not trial.is_fall:
        return math.nan
    recording = recordings.read(trial)
    size = np.linalg.norm(recording.accel, axis=1) / 9.80665
    last = round(trial.impact_s * recording.rate_hz)
    first = max(0, last - round(CONTACT_S * recording.rate_hz))
    above = np.flatnonzero(size[first : last + 1] > CONTACT_G)
    return float(first + above[0]) / recording.rate_hz if len(above) else trial.impact_s


def played(job: tuple[Trial, int, str]) -> list[Result]:
    """One trial through the core, and through the peer."""
    trial, seed, worn = job
    if worn:
        clip = recordings.clip(trial, seed, worn=recordings.turned(*ASKEW[worn]))
    else:
        clip = recordings.clip(trial, seed)
    touched_s = contact_s(trial)
    suspected, lost = streamed(trial, clip, companion_for(trial))
    results = [Result(trial, OURS, suspected, lost, touched_s, worn)]
    if not worn:
        results.append(Result(trial, PEER, peer(clip), (), touched_s))
    return results


def played_all(jobs: Sequence[tuple[Trial, int, str]], processes: int) -> list[Result]:
    """Every trial; tells on stderr how far it is."""
    results: list[Result] = []

    def take(answers: Iterable[list[Result]]) -> None:
        told = 0
        for number, some in enumerate(answers, 1):
            results.extend(some)
            if number * 20 // len(jobs) > told:
                told = number * 20 // len(jobs)
                print(f"falls: {5 * told} %, {number} of {len(jobs)} trials", file=sys.stderr, flush=True)

    if processes == 1:
        take(map(played, jobs))
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            take(pool.imap_unordered(played, jobs, chunksize=8))
    # The order in which the processes answer is nobody's business.
    return sorted(results, key=lambda r: (r.trial.set_name, r.trial.trial_id, r.subject, r.worn))


# --------------------------------------------------------------------------------------------------------- rows


def share(metric: str, subject: str, case: str, hits: int, n: int, goal: str | None = None) -> list[Row]:
    """A share in percent with its Wilson interval; no row of nothing."""
    if not n:
        return []
    low, high = wilson(hits, n)
    interval = (round(100.0 * low, 2), round(100.0 * high, 2))
    return [Row(metric, subject, case, round(100.0 * hits / n, 2), "%", n, interval, goal)]


def rate(metric: str, subject: str, case: str, count: int, seconds: float, goal: str | None = None) -> list[Row]:
    """A count per hour with its exact Poisson interval; `n` is the count.  No row of no time."""
    if not seconds:
        return []
    hours = seconds / 3600.0
    low, high = poisson(count)
    return [
        Row(
            metric,
            subject,
            case,
            round(count / hours, 3),
            "1/h",
            count,
            (round(low / hours, 3), round(high / hours, 3)),
            goal,
        )
    ]


def fall_rows(results: Sequence[Result], subject: str, prefix: str, *, goals: bool, each: bool) -> list[Row]:
    """What was found and what was taken for a fall, of one set."""
    falls = [r for r in results if r.trial.is_fall]
    life = [r for r in results if not r.trial.is_fall]
    table: list[Row] = []

    def found(case: str, some: Sequence[Result], goal: str | None = None) -> None:
        hits = sum(r.latency_s is not None for r in some)
        table.extend(share("fall_sensitivity", subject, prefix + case, hits, len(some), goal if goals else None))

    def false(
        case: str, some: Sequence[Result], goal: str | None = None, metric: str = "fall_false_alarms_per_h"
    ) -> None:
        seconds = sum(r.trial.duration_s for r in some)
        count = sum(r.false for r in some)
        table.extend(rate(metric, subject, prefix + case, count, seconds, goal if goals else None))

    def clean(case: str, some: Sequence[Result]) -> None:
        table.extend(share("fall_specificity", subject, prefix + case, sum(not r.false for r in some), len(some)))

    found("all", falls, ">= 98")
    found("backward", [r for r in falls if r.trial.fall_direction == "backward"], ">= 96")
    if not prefix:
        found("walking", [r for r in falls if r.activity in WALKING_FALLS])
        found("F02", [r for r in falls if r.activity == "F02"])
    if each:
        for activity in sorted({r.activity for r in falls}):
            found(activity, [r for r in falls if r.activity == activity])
    groups = [("all", life), *((group, [r for r in life if r.trial.group == group]) for group in ("elderly", "young"))]
    for case, some in groups:
        clean(case, some)
    for case, some in groups:
        false(case, some, "<= 0.8" if case == "all" else None)
    if not prefix:
        false("walking", [r for r in life if r.activity in WALKING], "<= 0")
        false("stumbles", [r for r in life if r.activity in STUMBLES], "<= 0")
        upright = [r for r in life if r.activity in UPRIGHT]
        false("all", upright, "<= 0", "fall_false_alarms_upright_per_h")
        for group in ("elderly", "young"):
            some = [r for r in upright if r.trial.group == group]
            false(group, some, None, "fall_false_alarms_upright_per_h")
    false("in fall trials", falls)
    if each:
        for activity in sorted({r.activity for r in life}):
            false(activity, [r for r in life if r.activity == activity])
    latencies = [r.latency_s for r in falls if r.latency_s is not None]
    table += spread("fall_latency_s", subject, prefix, latencies, "s", {"p95": "<= 5"} if goals else {})
    return table


def lost_rows(results: Sequence[Result], each: bool) -> list[Row]:
    """Balance lost, of SisFall and gait_l5."""
    falls = [r for r in results if r.trial.is_fall and r.trial.set_name == "sisfall"]
    level = [r for r in results if r.activity in LEVEL and r.trial.set_name in ("sisfall", "gait_l5")]
    walking = [r for r in falls if r.activity in WALKING_FALLS]
    life = [r for r in results if not r.trial.is_fall and r.trial.set_name == "sisfall"]
    table: list[Row] = []

    def foreseen(case: str, some: Sequence[Result], goal: str | None = None) -> None:
        hits = sum(r.lead_s is not None for r in some)
        table.extend(share("balance_lost_sensitivity", OURS, case, hits, len(some), goal))

    def false(case: str, some: Sequence[Result], goal: str | None = None) -> None:
        count, seconds = sum(r.false_lost for r in some), sum(r.walked_s for r in some)
        table.extend(rate("balance_lost_false_per_walking_h", OURS, case, count, seconds, goal))

    foreseen("walking", walking, ">= 92")
    foreseen("F02", [r for r in falls if r.activity == "F02"], ">= 85")
    foreseen("backward", [r for r in falls if r.activity in BACKWARD])
    foreseen("all", falls)
    if each:
        for activity in sorted({r.activity for r in falls}):
            foreseen(activity, [r for r in falls if r.activity == activity])
    goals = {"mean": ">= 300", "p10": ">= 120"}
    for case, some, of in (("", walking, goals), ("F02 ", [r for r in walking if r.activity == "F02"], {})):
        leads = [1000.0 * r.lead_s for r in some if r.lead_s is not None]
        table += spread("balance_lost_lead_ms", OURS, case, leads, "ms", of)
    before = [r for r in walking if r.activity != SLUMP]
    false("all", [*level, *walking], "<= 0.5")
    false("without F07", [*level, *before])
    false("walking", level)
    false("before falls", walking)
    false("before F07", [r for r in walking if r.activity == SLUMP])
    false("jogging", [r for r in life if r.activity in JOGGING])
    for group in ("elderly", "young"):
        false(group, [r for r in level if r.trial.group == group])
    false("stumbles", [r for r in life if r.activity in STUMBLES])
    false("stairs", [r for r in life if r.activity in STAIRS])
    false("any activity", life)
    return table


def spread(
    metric: str, subject: str, prefix: str, values: Sequence[float], unit: str, goals: dict[str, str]
) -> list[Row]:
    """Mean and quantiles; no row of nothing."""
    if not values:
        return []
    numbers = {"mean": float(np.mean(values))}
    numbers |= {f"p{q}": float(np.percentile(values, q)) for q in (10, 50, 95)}
    n = len(values)
    return [
        Row(metric, subject, prefix + case, round(value, 3), unit, n, None, goals.get(case))
        for case, value in numbers.items()
    ]


def rows_of(results: Sequence[Result], each: bool) -> list[Row]:
    """The table."""
    table: list[Row] = []
    straight = [r for r in results if not r.worn]
    for subject in (OURS, PEER):
        for name, prefix in SETS.items():
            some = [r for r in straight if r.subject == subject and r.trial.set_name == name]
            table += fall_rows(some, subject, prefix, goals=subject == OURS and not prefix, each=each)
    for worn in ASKEW:
        some = [r for r in results if r.worn == worn]
        falls, life = [r for r in some if r.trial.is_fall], [r for r in some if not r.trial.is_fall]
        hits = sum(r.latency_s is not None for r in falls)
        table += share("fall_sensitivity", OURS, f"all, {worn}", hits, len(falls))
        seconds = sum(r.trial.duration_s for r in life)
        table += rate("fall_false_alarms_per_h", OURS, f"all, {worn}", sum(r.false for r in life), seconds)
    return table + lost_rows([r for r in straight if r.subject == OURS], each)


# ---------------------------------------------------------------------------------------------------------- run


def drawn(every: Sequence[Trial], count: int, seed: int) -> list[Trial]:
    """So many of each activity of each set."""
    draw = random.Random(f"falls:{seed}")
    of: dict[tuple[str, str], list[Trial]] = defaultdict(list)
    for trial in every:
        of[trial.set_name, trial.activity].append(trial)
    return [trial for key in sorted(of) for trial in draw.sample(of[key], min(count, len(of[key])))]


def measure(options: argparse.Namespace) -> list[Row]:
    """Streams, and tells on stderr how far it is, and what went wrong."""
    data = recordings.data_directory(options)
    every = [trial for name in SETS for trial in recordings.trials(data, name)]
    if not every:
        sys.exit(f"{data}: holds none of {', '.join(SETS)}")
    for name in ("fall", "balance_lost"):
        people = {person(trial) for trial in every}
        known = len(people & folds(name).keys())
        print(
            f"falls: {name}: {known} people scored with weights learned without them, "
            f"{len(people) - known} with the shipped ones",
            file=sys.stderr,
        )
    chosen = drawn(every, QUICK, options.seed) if options.quick else every
    jobs = [(trial, options.seed, "") for trial in chosen]
    if options.full:
        jobs += [(trial, options.seed, worn) for worn in ASKEW for trial in chosen if trial.set_name == "sisfall"]
    results = played_all(jobs, options.jobs)
    if options.misses:
        for r in results:
            if r.subject == OURS and ((r.trial.is_fall and r.latency_s is None) or r.false):
                what = f"{r.false} false" if r.false else "missed"
                when = ", ".join(f"{at_s:.2f}" for at_s in r.suspected_s)
                print(f"falls: {what} {r.trial.set_name} {r.trial.trial_id} {r.worn} {when}", file=sys.stderr)
    return rows_of(results, options.full)


def main() -> None:
    """The program."""
    parser = arguments(__doc__.splitlines()[0])
    recordings.data_argument(parser)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--misses", action="store_true", help="name on stderr each trial that was judged wrongly")
    run("falls", parser.parse_args(), measure)


if __name__ == "__main__":
    main()
