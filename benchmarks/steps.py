"""Steps, cadence and turns on recorded people, beside a published toolbox on the same walks.

    python benchmarks/steps.py --data DIR        DIR: the folder of the data sets, or gait_l5 itself

Ten metres, a half turn, ten metres back, walked by healthy adults with a sensor at the lower back (Voisard and others
2023, IPOL 497).  A step is the end of a foot's movement by sensors on the feet, checked by hand.  The walks are played
as the chip would give them, from 3 s before, and go through `Posture`, `Gait` and `Turning` as the Companion feeds
them: sample by sample, nothing known of what comes.  A step found counts at the contact it is dated to, whenever it is
told; it must be within 250 ms of a true one, each of which is found once at most.

mobgap is what Mobilise-D validated for this place of the body.  Its detectors see a walk as a whole, levelled, cut
where the labels say that it begins and ends, and are asked for steps in it only.  It is not installed with retrowalk:
`pip install --require-hashes -r requirements/gait.txt`; without it, ours alone is measured.

In some walks the two kinds of sensor do not keep time: steps are labelled after the recording's last sample, or while
the back stands still, and the second ten metres pass in fewer samples at the back than between the feet's labels
(samples were lost).  No detector can be right there.  `all` has every walk; `in step` those in which the signal itself,
whatever any detector says of it, agrees with the labels (`keeps_time`).

The detector's constants were chosen on these walks.  `--choose` shows what that is worth: each constant moved on its
own (they are flat), and the walks of each person with those constants of them that are best for all others.

Also: actors who walk backward and forward (backward_mocap, signals made from motion capture, touch-downs by a rule).
"""

from __future__ import annotations

import argparse
import importlib
import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import recordings
from common import Row, arguments, run
from numpy.typing import NDArray
from recordings import Trial, clip, labels, read, trials, turned

from retrowalk.core import gait as gait_module
from retrowalk.core.gait import Gait
from retrowalk.core.posture import Posture
from retrowalk.core.turning import Turning
from retrowalk.sim.recorded import BEFORE_S

Array = NDArray[np.float64]

WITHIN_S = 0.25
G_M_S2 = 9.80665
OURS = "retrowalk"
STEP_PEERS = ("IcdIonescu", "IcdShinImproved", "IcdHKLeeImproved")
TURN_PEER = "TdElGohary"
MARGIN_S = 0.5
"""A peer is given so much before a walk begins and after it ends."""
CADENCE_AFTER = 5
"""So many steps into a way cadence is compared from on."""


@dataclass(frozen=True)
class Walk:
    """A walk and its truth; times from the trial's first sample."""

    trial: Trial
    steps_s: Array
    begins_s: float
    turn_s: tuple[float, float]
    ends_s: float

    @property
    def ways(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """There and back."""
        return (self.begins_s, self.turn_s[0]), (self.turn_s[1], self.ends_s)


@dataclass
class Found:
    """What a detector says of a walk; times as above."""

    steps_s: Sequence[float] = ()
    told_s: Sequence[float] = ()
    """When each step was told."""
    turns_s: list[tuple[float, float]] = field(default_factory=list)
    cadence: list[tuple[float, float]] = field(default_factory=list)
    """Cadence told, second by second."""


def walks(data: Path) -> list[Walk]:
    """gait_l5."""
    out = []
    for trial in trials(data, "gait_l5"):
        of = labels(trial)
        steps = np.sort(np.concatenate([of["left"][:, 1], of["right"][:, 1]])) / 100.0
        row = {key: float(trial.row[key]) for key in ("walk_start_s", "uturn_start_s", "uturn_end_s", "walk_end_s")}
        turn = (row["uturn_start_s"], row["uturn_end_s"])
        out.append(Walk(trial, steps, row["walk_start_s"], turn, row["walk_end_s"]))
    return out


# ------------------------------------------------------------------------------------------------- truth


def band(values: Array, rate_hz: float) -> Array:
    """What lies between 0.6 and 4 Hz, without delay."""
    spectrum = np.fft.rfft(values - values.mean(axis=0), axis=0)
    hz = np.fft.rfftfreq(len(values), 1.0 / rate_hz)
    spectrum[(hz < 0.6) | (hz > 4.0)] = 0.0
    return np.asarray(np.fft.irfft(spectrum, len(values), axis=0))


def without_signal(walk: Walk) -> tuple[int, int]:
    """Steps labelled after the last sample, and while the back stands still (0.8 s below 0.12 m/s2 on average)."""
    recording = read(walk.trial)
    moves = np.abs(band(recording.accel, recording.rate_hz)[:, 2])
    width = round(0.8 * recording.rate_hz)
    level = np.convolve(moves, np.ones(width) / width, mode="same")
    t = np.arange(len(level)) / recording.rate_hz
    after = walk.steps_s > walk.trial.duration_s
    still = np.interp(walk.steps_s, t, level) < 0.12
    return int(after.sum()), int((still & ~after).sum())


def keeps_time(walk: Walk) -> bool:
    """Whether the sensor at the back and those on the feet keep time.

    No step after the recording, at most two in stillness (feet put side by side), and on each way the strides of the
    back (autocorrelation of all six channels) last as long as those between labels, to 5 %.
    """
    after, still = without_signal(walk)
    if after or still > 2:
        return False
    recording = read(walk.trial)
    rate_hz = recording.rate_hz
    both = np.hstack([recording.accel, recording.gyro])
    for (begin, end), (cut_begin, cut_end) in zip(walk.ways, ((1.0, 0.2), (0.5, 1.0)), strict=True):
        begin, end = begin + cut_begin, end - cut_end
        steps = walk.steps_s[(walk.steps_s > begin) & (walk.steps_s < end)]
        stride = float(np.median(steps[2:] - steps[:-2]))
        values = band(both[round(begin * rate_hz) : round(end * rate_hz)], rate_hz)
        lags = np.arange(round(0.58 * rate_hz), round(1.54 * rate_hz))
        alike = [float((values[:-lag] * values[lag:]).sum()) / (len(values) - lag) for lag in lags]
        if abs(lags[int(np.argmax(alike))] / rate_hz / stride - 1.0) > 0.05:
            return False
    return True


def matched(found: Sequence[float], truth: Sequence[float]) -> list[tuple[float, float]]:
    """The largest one-to-one matching within reach: (true, found), both in order."""
    found, pairs, i = sorted(found), [], 0
    for at in sorted(truth):
        while i < len(found) and found[i] < at - WITHIN_S - 1e-9:
            i += 1
        if i < len(found) and found[i] <= at + WITHIN_S + 1e-9:
            pairs.append((at, found[i]))
            i += 1
    return pairs


def cadence_at(steps: Sequence[float], at: float) -> float | None:
    """Steps a minute over the last eight intervals before `at`; None when standing."""
    before = [step for step in steps if step <= at][-9:]
    lasts = [b - a for a, b in pairwise(before) if 0.3 <= b - a <= 1.5]
    return 60.0 / float(np.median(lasts)) if len(lasts) >= 3 and at - before[-1] < 1.8 else None


# ------------------------------------------------------------------------------------------------- detectors


def ours(chip: recordings.Clip) -> Found:
    """Through the core's own road, as `BodyWatch` feeds it."""
    posture, gait, turning = Posture(), Gait(), Turning()
    steps: list[float] = []
    told: list[float] = []
    turns: list[tuple[float, float]] = []
    cadence: list[tuple[float, float]] = []
    turned_s, next_s = -math.inf, BEFORE_S
    for item in chip.items():
        t, accel, gyro = item.t_measured_s, item.accel_m_s2, item.gyro_rad_s
        posture.update(t, accel, gyro, item.gap)
        up = posture.up
        if up is None:
            continue
        gait.update(t, accel[0] * up[0] + accel[1] * up[1] + accel[2] * up[2] - G_M_S2, gyro[0])
        turning.update(t, gyro[0] * up[0] + gyro[1] * up[1] + gyro[2] * up[2])
        for at in gait.step_times_s:
            steps.append(at - BEFORE_S)
            told.append(item.t_received_s - BEFORE_S)
        if turning.turn_ended_s > turned_s:
            turned_s = turning.turn_ended_s
            turns.append((turning.turn_began_s - BEFORE_S, turned_s - BEFORE_S))
        if t >= next_s:
            next_s += 1.0
            spm = gait.cadence_spm(t)
            if spm is not None:
                cadence.append((t - BEFORE_S, spm))
    return Found(steps, told, turns, cadence)


def peers() -> dict[str, Callable[[Walk], Found]]:
    """mobgap's detectors, by name; none where it is not installed."""
    try:
        contacts = importlib.import_module("mobgap.initial_contacts")
        turning = importlib.import_module("mobgap.turning")
        pandas = importlib.import_module("pandas")
    except ImportError:
        print("mobgap is not installed: pip install --require-hashes -r requirements/gait.txt", file=sys.stderr)
        return {}

    def table(walk: Walk) -> tuple[Any, float, float]:
        recording = read(walk.trial)
        first = max(0, round((walk.begins_s - MARGIN_S) * recording.rate_hz))
        cut = slice(first, round((walk.ends_s + MARGIN_S) * recording.rate_hz))
        a, w = recording.accel[cut], np.degrees(recording.gyro[cut])
        columns = {"acc_is": a[:, 2], "acc_ml": a[:, 1], "acc_pa": a[:, 0]}
        columns |= {"gyr_is": w[:, 2], "gyr_ml": w[:, 1], "gyr_pa": w[:, 0]}
        return pandas.DataFrame(columns), first / recording.rate_hz, recording.rate_hz

    def steps(name: str) -> Callable[[Walk], Found]:
        def find(walk: Walk) -> Found:
            frame, from_s, rate_hz = table(walk)
            found = getattr(contacts, name)().detect(frame, sampling_rate_hz=rate_hz).ic_list_
            at = [from_s + int(i) / rate_hz for i in found["ic"]]
            told = [(float(s), cadence_at(at, float(s))) for s in np.arange(0.0, walk.trial.duration_s)]
            return Found(at, cadence=[(s, spm) for s, spm in told if spm is not None])

        return find

    def turns(walk: Walk) -> Found:
        frame, from_s, rate_hz = table(walk)
        found = turning.TdElGohary().detect(frame, sampling_rate_hz=rate_hz).turn_list_
        pairs = zip(found["start"], found["end"], strict=True)
        return Found(turns_s=[(from_s + a / rate_hz, from_s + b / rate_hz) for a, b in pairs])

    return {name: steps(name) for name in STEP_PEERS} | {TURN_PEER: turns}


# ------------------------------------------------------------------------------------------------- scores


@dataclass(frozen=True)
class Tally:
    """Hits, true ones, found ones."""

    hits: int = 0
    truth: int = 0
    found: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.hits + other.hits, self.truth + other.truth, self.found + other.found)

    def recall_of(self) -> float:
        return self.hits / max(1, self.truth)

    def precision_of(self) -> float:
        return self.hits / max(1, self.found)


def of_steps(walk: Walk, found: Found) -> Tally:
    return Tally(len(matched(found.steps_s, walk.steps_s.tolist())), len(walk.steps_s), len(found.steps_s))


def of_turns(walk: Walk, found: Found) -> Tally:
    """The half turn is found when a turn overlaps it; what people turn at the ends of the walk is not labelled."""
    within = [turn for turn in found.turns_s if walk.begins_s < 0.5 * (turn[0] + turn[1]) < walk.ends_s - 0.5]
    begin, end = walk.turn_s
    hit = any(a < end and b > begin for a, b in within)
    return Tally(int(hit), 1, len(within))


def of_cadence(walk: Walk, found: Found) -> list[float]:
    """Errors, a minute, second by second, once five steps of a way were taken."""
    errors = []
    for begin, end in walk.ways:
        steps = [step for step in walk.steps_s.tolist() if begin < step < end]
        if len(steps) <= CADENCE_AFTER + 1:
            continue
        for at, spm in found.cadence:
            true = cadence_at(steps, at)
            if steps[CADENCE_AFTER] <= at <= steps[-1] and true is not None:
                errors.append(abs(spm - true))
    return errors


def bootstrapped(
    by_subject: dict[str, Tally], value: Callable[[Tally], float], seed: int
) -> tuple[float, float] | None:
    """95 % interval, drawing people (not steps) anew."""
    subjects = sorted(by_subject)
    if len(subjects) < 5:
        return None
    rng = random.Random(seed)
    drawn = sorted(
        value(sum((by_subject[name] for name in rng.choices(subjects, k=len(subjects))), Tally())) for _ in range(500)
    )
    return round(drawn[12], 3), round(drawn[487], 3)


def score(subject: str, case: str, some: Sequence[Walk], found: dict[str, Found], seed: int, goals: bool) -> list[Row]:
    """Rows of one detector on some walks."""
    rows = []
    people: dict[str, Tally] = {}
    for walk in some:
        tally = of_steps(walk, found[walk.trial.trial_id])
        people[walk.trial.subject] = people.get(walk.trial.subject, Tally()) + tally
    whole = sum(people.values(), Tally())
    if whole.found:
        goal = ">= 0.97" if goals else None
        for metric, value, n in (
            ("step_recall", Tally.recall_of, whole.truth),
            ("step_precision", Tally.precision_of, whole.found),
        ):
            interval = bootstrapped(people, value, seed)
            rows.append(Row(metric, subject, case, round(value(whole), 4), "share", n, interval, goal))
        errors = [error for walk in some for error in of_cadence(walk, found[walk.trial.trial_id])]
        if errors:
            spm, limit = round(float(np.mean(errors)), 2), "<= 2" if goals else None
            rows.append(Row("cadence_error_spm", subject, f"mean {case}", spm, "1/min", len(errors), None, limit))
    half_turns = sum((of_turns(walk, found[walk.trial.trial_id]) for walk in some), Tally())
    if half_turns.found:
        recall, precision = round(half_turns.recall_of(), 4), round(half_turns.precision_of(), 4)
        rows.append(Row("turns_found", subject, f"recall {case}", recall, "share", half_turns.truth))
        rows.append(Row("turns_found", subject, f"precision {case}", precision, "share", half_turns.found))
    return rows


def times(some: Sequence[Walk], found: dict[str, Found]) -> list[Row]:
    """How true the contacts are that steps are dated to, and how late they are told."""
    off, late = [], []
    for walk in some:
        of = found[walk.trial.trial_id]
        told = dict(zip(of.steps_s, of.told_s, strict=True))
        for true, at in matched(of.steps_s, walk.steps_s.tolist()):
            off.append(1000.0 * (at - true))
            late.append(1000.0 * (told[at] - true))
    return [
        Row("contact_error_ms", OURS, "mean in step", round(float(np.mean(off)), 1), "ms", len(off)),
        Row("contact_error_ms", OURS, "sd in step", round(float(np.std(off)), 1), "ms", len(off)),
        *(
            Row("step_told_after_ms", OURS, f"p{p} in step", round(float(np.percentile(late, p)), 0), "ms", len(late))
            for p in (50, 95)
        ),
    ]


def actors(data: Path, seed: int) -> list[Row]:
    """backward_mocap: between the first and the last labelled touch-down, as its README says."""
    whole: dict[str, Tally] = {}
    for trial in trials(data, "backward_mocap"):
        if trial.row["edited_loop"] == "1" or trial.activity not in ("backward", "forward"):
            continue
        of = labels(trial)
        truth = np.sort(np.concatenate([of["td_left"], of["td_right"]])).tolist()
        found = ours(clip(trial, seed)).steps_s
        inside = [at for at in found if truth[0] - WITHIN_S <= at <= truth[-1] + WITHIN_S]
        tally = Tally(len(matched(inside, truth)), len(truth), len(inside))
        whole[trial.activity] = whole.get(trial.activity, Tally()) + tally
    rows = []
    for way, tally in sorted(whole.items()):
        case = f"actors {way}, motion capture"
        rows.append(Row("step_recall", OURS, case, round(tally.recall_of(), 4), "share", tally.truth))
        rows.append(Row("step_precision", OURS, case, round(tally.precision_of(), 4), "share", tally.found))
    return rows


# ------------------------------------------------------------------------------------------------- choosing

CHOICES: dict[str, tuple[Any, ...]] = {
    "STRONG": (0.25, 0.3, 0.35, 0.4, 0.5),
    "WEAK": (0.08, 0.12, 0.16, 0.2),
    "WEAK_M_S2": (0.12, 0.15, 0.2, 0.25),
    "WEAK_RUN": (2, 4, 6),
    "REFRACTORY_SHARE": (0.5, 0.55, 0.6, 0.65),
    "WAIT": (0.8, 0.9, 1.0),
    "GROWS": (1.5, 2.0, 2.5),
    "GAP": (1.25, 1.35, 1.5),
    "GAP_SHARE": (0.2, 0.3, 0.4),
    "PUSH_OFF": (0.6, 0.7, 0.8),
    "PUSH_OFF_TIME": (0.8, 0.85, 0.9),
    "CLOSING": ((0.5, 1.5), (0.6, 1.3), (0.6, 1.5), (0.7, 1.7)),
    "CLOSING_M_S2": (0.1, 0.12, 0.15, 0.2),
    "BEGIN_M_S2": (0.4, 0.5, 0.6),
    "CONTACT_S": (0.066, 0.076, 0.086, 0.096, 0.106),
}
"""Constants of the detector, and what they might be."""
TRIED = 150
"""So many mixtures of them besides."""


def choose(some: Sequence[Walk], seed: int) -> list[Row]:
    """What the choice of constants is worth, on walks that keep time."""
    streams = {}
    for walk in some:
        posture, samples = Posture(), []
        for item in clip(walk.trial, seed).items():
            posture.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s)
            up = posture.up
            if up is not None:
                vertical = sum(a * u for a, u in zip(item.accel_m_s2, up, strict=True)) - G_M_S2
                samples.append((item.t_measured_s, vertical, item.gyro_rad_s[0]))
        streams[walk.trial.trial_id] = samples
    own = {name: getattr(gait_module, name) for name in CHOICES}

    def people(constants: dict[str, Any]) -> dict[str, Tally]:
        for name, value in constants.items():
            setattr(gait_module, name, value)
        tallies: dict[str, Tally] = {}
        for walk in some:
            gait, steps = Gait(), []
            for sample in streams[walk.trial.trial_id]:
                gait.update(*sample)
                steps += [at - BEFORE_S for at in gait.step_times_s]
            tallies[walk.trial.subject] = tallies.get(walk.trial.subject, Tally()) + of_steps(walk, Found(steps))
        for name, value in own.items():
            setattr(gait_module, name, value)
        return tallies

    def worth(tallies: dict[str, Tally], without: str = "") -> float:
        whole = sum((tally for name, tally in tallies.items() if name != without), Tally())
        return whole.recall_of() + whole.precision_of()

    rows = []
    tried = [people(own)]
    for name, values in CHOICES.items():
        for value in values:
            tallies = people({**own, name: value})
            tried.append(tallies)
            whole = sum(tallies.values(), Tally())
            case = f"{name} = {value}{' (ours)' if value == own[name] else ''}"
            rows.append(Row("step_recall", OURS, case, round(whole.recall_of(), 4), "share", whole.truth))
            rows.append(Row("step_precision", OURS, case, round(whole.precision_of(), 4), "share", whole.found))
    rng = random.Random(seed)
    for _ in range(TRIED):
        names = rng.sample(sorted(CHOICES), rng.choice((2, 3, 4)))
        tried.append(people({**own, **{name: rng.choice(CHOICES[name]) for name in names}}))
    whole = Tally()
    for name in tried[0]:
        whole += max(tried, key=lambda tallies: worth(tallies, without=name))[name]
    case = "in step, constants chosen on the others"
    rows.append(Row("step_recall", OURS, case, round(whole.recall_of(), 4), "share", whole.truth, None, ">= 0.97"))
    rows.append(
        Row("step_precision", OURS, case, round(whole.precision_of(), 4), "share", whole.found, None, ">= 0.97")
    )
    return rows


def measure(options: argparse.Namespace) -> list[Row]:
    data, seed = recordings.data_directory(options), options.seed
    some = walks(data)
    if not some:
        sys.exit(f"{data} holds no gait_l5: name the folder of the data sets, or gait_l5 itself")
    if options.quick:
        some = some[::5]
    in_step = [walk for walk in some if keeps_time(walk)]
    if options.choose:
        return choose(in_step, seed)
    rows = [Row("walks_in_step", "recordings", "of all", len(in_step), "walks", len(some))]
    missing = [without_signal(walk) for walk in some]
    n = sum(len(walk.steps_s) for walk in some)
    rows.append(Row("labels_after_the_recording", "recordings", "all", sum(a for a, _ in missing), "steps", n))
    rows.append(Row("labels_in_stillness", "recordings", "all", sum(s for _, s in missing), "steps", n))

    found = {walk.trial.trial_id: ours(clip(walk.trial, seed)) for walk in some}
    rows += score(OURS, "all", some, found, seed, goals=True)
    rows += score(OURS, "in step", in_step, found, seed, goals=True)
    rows += times(in_step, found)
    askew = turned(20.0, 15.0, 10.0)
    crooked = {walk.trial.trial_id: ours(clip(walk.trial, seed, worn=askew)) for walk in in_step}
    rows += score(OURS, "in step, clip askew", in_step, crooked, seed, goals=False)
    for name, find in peers().items():
        theirs = {walk.trial.trial_id: find(walk) for walk in some}
        rows += score(name, "all", some, theirs, seed, goals=False)
        rows += score(name, "in step", in_step, theirs, seed, goals=False)
    return rows + actors(data, seed)


if __name__ == "__main__":
    parser = arguments((__doc__ or "").splitlines()[0])
    recordings.data_argument(parser)
    parser.add_argument("--choose", action="store_true", help="what the choice of the detector's constants is worth")
    run("steps", parser.parse_args(), measure)
