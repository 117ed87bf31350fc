"""Recorded people through the whole device: their falls told, their walks left alone, their steps counted.

Every trial is worn by the simulated device in virtual time (`retrowalk.sim.recorded`): through the registers of the
motion chip at its own rate and range, the guard, the voice and the courier, up to what a client of the broker
receives.  Nothing is behind, nobody presses the button; the alarm comes after the default countdown.

The data is not part of the project: RETROWALK_DATA names its folder (default: ../shared/data beside the checkout).
Used are SisFall (belt buckle; every fall simulated by volunteers on mats, most of them young) and gait_l5 (lower back;
10 m, a turn, 10 m).  Sizes: 200 trials drawn by the seed, the same number of each activity within falls, walks and
other activities as far as they go; --quick 30; --full all of them (half an hour).

falls_confirmed_percent: fall trials whose fall.confirmed reaches the broker, suspected between 0.5 s before and 10 s
    after the labelled shock.
walks_alarmed: trials of walking, jogging, stairs and stumbles (SisFall D01 to D06 and D18, gait_l5) that end in
    fall.confirmed.
adl_alarmed_percent, adl_alarms_per_h: the same of all other activities (sitting down, lying, bending, a car, a jump).
steps_error_percent: steps counted against spectral cadence x walking time, on SisFall D01 and D02 and gait_l5.
    "mean" is the mean of each trial's absolute error, "pooled" the error of all steps together.  Spectral cadence: the
    peak of the power spectrum of vertical acceleration between 1.0 and 2.6 Hz (jogging: to 3.4 Hz) over the trial, or
    over the labelled walk of gait_l5.  Walking time: how much of it has more than 0.35 m/s2 between 0.6 and 4 Hz (root
    mean square over 2 s).  Both are taken from the recording as it is, with nothing of the device's own code.
    gait_l5 has its steps labelled by foot sensors: the counts are held against these, too, and so is the yardstick.
walking_speed_error_m_s: walking speed by the clip, mean over each way of 10 m of gait_l5 (but its first 2 s and last
    0.8 s), against 10 m in the labelled time.  "rmse", "mean" (the bias) and "p90" of the ways' errors.

Not measured here: real falls, older people's falls, backward walking (no set has any with a sensor on the trunk).
"""

from __future__ import annotations

import argparse
import csv
import math
import multiprocessing
import os
import random
import sys
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
from common import Row, arguments, run

from retrowalk.config import Config
from retrowalk.sim import recorded
from retrowalk.sim.virtual import VirtualWalk
from retrowalk.voice import bank

SUBJECT = "retrowalk"
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

GAIT = "gait_l5"
LEVEL = ("D01", "D02", GAIT)
JOGGING = ("D03", "D04")
STAIRS = ("D05", "D06")
STUMBLES = ("D18",)
WALKS = (*LEVEL, *JOGGING, *STAIRS, *STUMBLES)

SIZES = {"quick": (12, 10, 8), "default": (90, 60, 50)}
"""Falls, walks, other activities."""

WAY_M = 10.0
STARTING_S, STOPPING_S = 2.0, 0.8
"""Of each way, so much of the beginning and of the end is left out of its mean speed."""
EARLY_S, LATE_S = 0.5, 10.0
"""A fall counts as found when it is suspected so long before its shock at most, or after it."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Trial:
    """A row of a trials.csv."""

    file: Path
    trial_id: str
    activity: str
    """SisFall's code, or gait_l5."""
    is_fall: bool
    duration_s: float
    impact_s: float
    walk_s: tuple[float, float]
    """From when to when somebody walks: the label of gait_l5, else the whole trial."""
    steps: int
    """Labelled steps; 0: not labelled."""
    ways_s: tuple[tuple[float, float], ...] = ()
    """From when to when somebody walks 10 m; none where that is not labelled."""

    @property
    def kind(self) -> str:
        """What it is drawn as."""
        return "fall" if self.is_fall else "walk" if self.activity in WALKS else "other"


@dataclass(frozen=True)
class Result:
    """What the device made of a trial."""

    trial: Trial
    confirmed: bool
    found: bool
    """Confirmed, and suspected at the time of the fall."""
    suspected_after_s: float
    """From the shock to the suspicion; infinite without one."""
    steps: int
    spectral_steps: float
    """Steps by spectral cadence and walking time; 0 where none are asked for."""
    speed_errors_m_s: tuple[float, ...] = ()
    """Walking speed less the labelled one, of each way on which it was known."""


# ---------------------------------------------------------------------------------------------------- the trials


def trials(data: Path) -> list[Trial]:
    """Every trial of the two sets."""
    found = []
    for name in ("sisfall", GAIT):
        with (data / name / "trials.csv").open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                duration_s = float(row["duration_s"])
                found.append(
                    Trial(
                        data / name / row["file"],
                        row["trial_id"],
                        GAIT if name == GAIT else row["activity_code"],
                        row["is_fall"] == "1",
                        duration_s,
                        float(row.get("impact_s") or math.nan),
                        (float(row.get("walk_start_s") or 0.0), float(row.get("walk_end_s") or duration_s)),
                        int(row.get("n_left_steps") or 0) + int(row.get("n_right_steps") or 0),
                        tuple(
                            (float(row[begins]), float(row[ends]))
                            for begins, ends in (("walk_start_s", "uturn_start_s"), ("uturn_end_s", "walk_end_s"))
                            if row.get(begins) and row.get(ends)
                        ),
                    )
                )
    return found


def drawn(every: Sequence[Trial], counts: tuple[int, int, int], seed: int) -> list[Trial]:
    """So many falls, walks and others, evenly over their activities."""
    draw = random.Random(f"people:{seed}")
    chosen: list[Trial] = []
    for kind, count in zip(("fall", "walk", "other"), counts, strict=True):
        by_activity: dict[str, list[Trial]] = defaultdict(list)
        for trial in every:
            if trial.kind == kind:
                by_activity[trial.activity].append(trial)
        for of_activity in by_activity.values():
            draw.shuffle(of_activity)
        # Who comes first when the count does not divide evenly is drawn, too.
        activities = draw.sample(sorted(by_activity), len(by_activity))
        taken: list[Trial] = []
        while len(taken) < count and any(by_activity.values()):
            taken += [by_activity[activity].pop() for activity in activities if by_activity[activity]]
        chosen += taken[:count]
    return chosen


# ---------------------------------------------------------------------------------------------------- the device

_bank: bank.Bank | None = None


def _begin() -> None:
    global _bank
    _bank = bank.Bank.open(Config(), bank.default_directory())


def played(job: tuple[Trial, int]) -> Result:
    """One trial through the device."""
    trial, seed = job
    assert _bank is not None
    config = Config()
    scenario = recorded.scenario(recorded.read(trial.file, trial.trial_id), config.fall.countdown_s)
    walk = VirtualWalk(config, scenario, seed ^ zlib.crc32(trial.trial_id.encode()), _bank)
    walk.sound.listeners.clear()  # nobody listens: what counts here is what is sent
    try:
        speed_errors_m_s = speed_errors(walk, trial, scenario.marks["trial"])
        walk.run_until(scenario.duration_s)
        steps = walk.guard.companion.snapshot().steps
        sent = walk.evidence().published
    finally:
        walk.close()
    times = {
        kind: {p.payload["data"]["fall"]: p.t_s for p in sent if p.payload.get("eventtype") == kind}
        for kind in ("fall.suspected", "fall.confirmed")
    }
    after_s = {
        number: t_s - scenario.marks["trial"] - trial.impact_s for number, t_s in times["fall.suspected"].items()
    }
    confirmed = times["fall.confirmed"].keys()
    in_time = [number for number in confirmed if -EARLY_S <= after_s.get(number, math.inf) <= LATE_S]
    spectral = trial.activity in (*LEVEL, *JOGGING)
    return Result(
        trial,
        bool(confirmed),
        bool(in_time),
        min((after_s[number] for number in in_time), default=math.inf),
        steps,
        spectral_steps(trial) if spectral else 0.0,
        speed_errors_m_s,
    )


def speed_errors(walk: VirtualWalk, trial: Trial, begins_s: float) -> tuple[float, ...]:
    """Lets the walk happen up to its last way, and tells how wrong the speed was on each; the trial `begins_s`."""
    errors = []
    for from_s, to_s in trial.ways_s:
        told = []
        at_s = from_s + STARTING_S
        while at_s <= to_s - STOPPING_S:
            walk.run_until(begins_s + at_s)
            speed_m_s = walk.guard.companion.snapshot().own_speed_m_s
            if speed_m_s is not None:
                told.append(speed_m_s)
            at_s += 0.25
        if told:
            errors.append(sum(told) / len(told) - WAY_M / (to_s - from_s))
    return tuple(errors)


def played_all(chosen: Sequence[Trial], seed: int, jobs: int) -> list[Result]:
    """Every trial, in as many processes; tells on stderr how far it is."""
    bank.build(Config(), bank.default_directory())  # the phrases that are missing, once
    # The longest first, so that no process ends up alone with one.
    order = sorted(chosen, key=lambda trial: -trial.duration_s)
    results = []
    with multiprocessing.get_context("spawn").Pool(jobs, _begin) as pool:
        for result in pool.imap_unordered(played, [(trial, seed) for trial in order]):
            results.append(result)
            if len(results) % math.ceil(len(order) / 10) == 0:
                print(f"people: {len(results)} of {len(order)} trials", file=sys.stderr, flush=True)
    return results


# ------------------------------------------------------------------------------------------------- the yardstick


def spectral_steps(trial: Trial) -> float:
    """Spectral cadence x walking time."""
    accel, hz = raw_accel(trial)
    start_s, end_s = trial.walk_s
    vertical = vertical_accel(accel, hz)[round(start_s * hz) : round(end_s * hz)]
    return cadence_hz(vertical, hz, 3.4 if trial.activity in JOGGING else 2.6) * walking_s(vertical, hz)


def raw_accel(trial: Trial) -> tuple[Array, float]:
    """Acceleration of the recording itself, (n, 3) in m/s2, and its rate."""
    with np.load(trial.file) as npz:
        if trial.activity == GAIT:
            accel: Array = (npz[f"{trial.trial_id}_acc_i16"] * npz["acc_scale"]).T
            return accel, 100.0
        with trial.file.with_name("trials.csv").open(newline="", encoding="utf-8") as file:
            number = next(int(row["trial_index"]) for row in csv.DictReader(file) if row["trial_id"] == trial.trial_id)
        first, end = npz["trial_start"][number : number + 2]
        accel = (npz["acc_i16"][:, first:end] * npz["acc_scale"]).T
        return accel, float(npz["fs_hz"])


def vertical_accel(accel: Array, hz: float) -> Array:
    """Acceleration along gravity, which is taken for the mean of 2 s around."""
    count = round(2.0 * hz) | 1
    padded = np.pad(accel, ((count // 2, count // 2), (0, 0)), mode="edge")
    total = np.cumsum(np.vstack([np.zeros(3), padded]), axis=0)
    gravity = total[count:] - total[:-count]
    along: Array = (accel * gravity).sum(axis=1) / np.linalg.norm(gravity, axis=1)
    return along


def cadence_hz(vertical: Array, hz: float, highest_hz: float = 2.6, lowest_hz: float = 1.0) -> float:
    """Frequency of the power spectrum's highest peak between these."""
    count = max(8 * len(vertical), 1 << 16)
    power = np.abs(np.fft.rfft((vertical - vertical.mean()) * np.hanning(len(vertical)), count)) ** 2
    at_hz = np.fft.rfftfreq(count, 1.0 / hz)
    steps = (at_hz >= lowest_hz) & (at_hz <= highest_hz)
    return float(at_hz[steps][np.argmax(power[steps])])


def walking_s(vertical: Array, hz: float) -> float:
    """How long somebody moves up and down at the rate of steps."""
    spectrum = np.fft.rfft(vertical - vertical.mean())
    at_hz = np.fft.rfftfreq(len(vertical), 1.0 / hz)
    spectrum[(at_hz < 0.6) | (at_hz > 4.0)] = 0.0
    moving = np.fft.irfft(spectrum, len(vertical)) ** 2
    count = round(2.0 * hz)
    return float((np.sqrt(np.convolve(moving, np.ones(count) / count, "same")) > 0.35).sum()) / hz


# --------------------------------------------------------------------------------------------------------- rows


def share(metric: str, case: str, results: Sequence[Result], yes: Callable[[Result], bool], goal: str | None) -> Row:
    """A share in percent with its Wilson interval."""
    n = len(results)
    hits = sum(map(yes, results))
    return Row(metric, SUBJECT, case, 100.0 * hits / n, "%", n, wilson_percent(hits, n), goal)


def wilson_percent(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, in percent."""
    z = 1.959964
    middle = (hits + z * z / 2.0) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4.0)
    return round(100.0 * max(0.0, middle - half), 2), round(100.0 * min(1.0, middle + half), 2)


def rows(results: Sequence[Result], every_type: bool) -> list[Row]:
    """The table."""
    falls = [r for r in results if r.trial.kind == "fall"]
    walks = [r for r in results if r.trial.kind == "walk"]
    others = [r for r in results if r.trial.kind == "other"]
    table = [share("falls_confirmed_percent", "all falls", falls, lambda r: r.found, ">= 90")]
    for name, types in (
        ("walking, jogging", range(1, 8)),
        ("getting up, sitting down", range(8, 13)),
        ("fainting in a chair", range(13, 16)),
    ):
        some = [r for r in falls if int(r.trial.activity[1:]) in types]
        if some:
            table.append(share("falls_confirmed_percent", name, some, lambda r: r.found, None))
    if every_type:
        for activity in sorted({r.trial.activity for r in falls}):
            some = [r for r in falls if r.trial.activity == activity]
            table.append(share("falls_confirmed_percent", activity, some, lambda r: r.found, None))
    after_s = [r.suspected_after_s for r in falls if r.found]
    table.append(Row("suspected_after_s", SUBJECT, "p50 found falls", float(np.median(after_s)), "s", len(after_s)))
    table.append(alarmed("all walks", walks, "<= 0"))
    for name, activities in (("level", LEVEL), ("jogging", JOGGING), ("stairs", STAIRS), ("stumbles", STUMBLES)):
        table.append(alarmed(name, [r for r in walks if r.trial.activity in activities], None))
    table.append(share("adl_alarmed_percent", "other activities", others, lambda r: r.confirmed, None))
    hours = sum(r.trial.duration_s for r in others) / 3600.0
    alarms = sum(r.confirmed for r in others)
    table.append(Row("adl_alarms_per_h", SUBJECT, "other activities", alarms / hours, "1/h", len(others)))
    return [*table, *step_rows([r for r in results if r.spectral_steps]), *speed_rows(results)]


def alarmed(case: str, results: Sequence[Result], goal: str | None) -> Row:
    """How many trials end in an alarm."""
    return Row("walks_alarmed", SUBJECT, case, sum(r.confirmed for r in results), "trials", len(results), None, goal)


def step_rows(results: Sequence[Result]) -> list[Row]:
    """Counts against the yardstick, and both against the labels."""

    def counted(case: str, activities: Sequence[str], goal: str | None = None) -> list[Row]:
        some = [r for r in results if r.trial.activity in activities]
        return _errors(case, [(r.steps, r.spectral_steps) for r in some], goal)

    table = counted("walking", LEVEL, "<= 5")
    for case, activities in (("D01 slow", ("D01",)), ("D02 quick", ("D02",)), (GAIT, (GAIT,)), ("jogging", JOGGING)):
        table += counted(case, activities)
    labelled = [r for r in results if r.trial.steps]
    table += _errors(f"{GAIT}, labels", [(r.steps, r.trial.steps) for r in labelled])
    yardstick = [(r.spectral_steps, r.trial.steps) for r in labelled]
    return table + _errors(f"{GAIT}, labels", yardstick, subject="spectral cadence")


def speed_rows(results: Sequence[Result]) -> list[Row]:
    """Walking speed against the labels."""
    errors = np.array([error for result in results for error in result.speed_errors_m_s])
    if not len(errors):
        return []
    values = {
        "rmse": float(np.sqrt((errors**2).mean())),
        "mean": float(errors.mean()),
        "p90": float(np.percentile(np.abs(errors), 90)),
    }
    return [
        Row("walking_speed_error_m_s", SUBJECT, f"{name} {GAIT}", value, "m/s", len(errors))
        for name, value in values.items()
    ]


def _errors(
    case: str, pairs: Sequence[tuple[float, float]], goal: str | None = None, subject: str = SUBJECT
) -> list[Row]:
    """(found, truth) of each trial, as the mean of the absolute errors and as the error of their sums."""
    if not pairs:
        return []
    n = len(pairs)
    errors = [100.0 * abs(found - truth) / truth for found, truth in pairs]
    mean = sum(errors) / n
    half = 1.96 * float(np.std(errors, ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    interval = (round(max(0.0, mean - half), 2), round(mean + half, 2))
    pooled = 100.0 * abs(sum(found for found, _ in pairs) / sum(truth for _, truth in pairs) - 1.0)
    return [
        Row("steps_error_percent", subject, f"mean {case}", mean, "%", n, interval, goal),
        Row("steps_error_percent", subject, f"pooled {case}", pooled, "%", n, None, goal),
    ]


# ---------------------------------------------------------------------------------------------------------- run


def data_directory() -> Path:
    """Where the data lies.  Ends the program with status 2 where there is none."""
    data = Path(os.environ.get("RETROWALK_DATA") or DEFAULT_DATA)
    for name in ("sisfall", GAIT):
        if not (data / name / "trials.csv").is_file():
            print(
                f"people: no recorded people in {data / name}: set RETROWALK_DATA to the folder of the data sets",
                file=sys.stderr,
            )
            sys.exit(2)
    return data


def measure(options: argparse.Namespace) -> list[Row]:
    """Plays the trials and tells on stderr which went wrong."""
    every = trials(data_directory())
    chosen = every if options.full else drawn(every, SIZES["quick" if options.quick else "default"], options.seed)
    results = played_all(chosen, options.seed, options.jobs)
    for title, wrong in (
        ("falls not told", [r for r in results if r.trial.is_fall and not r.found]),
        ("activities taken for falls", [r for r in results if not r.trial.is_fall and r.confirmed]),
    ):
        names = ", ".join(sorted(r.trial.trial_id for r in wrong)) or "none"
        print(f"people: {title}: {names}", file=sys.stderr)
    return rows(results, options.full)


def main() -> Any:
    """The program."""
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    run("people", parser.parse_args(), measure)


if __name__ == "__main__":
    main()
