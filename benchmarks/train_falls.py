"""Learns by what a fall is told from lying down: src/retrowalk/models/fall.json, and benchmarks/folds/fall.json.

Every trial of SisFall goes through the chip and the core's own `BodyWatch`; what its `FallDetector` looks at is what is
learned from.  A look between 0.9 and 10 s after the shock of a fall is one at a fallen person, any other is not; of
each fall only the two looks count that show it best, because who rolls over is a fallen person who does not look it.

Two more copies of each fall are learned from, to stand for what volunteers on mats do not do; they are made up, count
for less, and no number of `benchmarks/falls.py` rests on them alone:
    softened: all that is felt beyond gravity is halved (an older person who holds on while going down).
    leaning: within half a second of the shock the body is turned up until the trunk leans by 45 degrees (a wall).

Hyper-parameters: how strongly weights are held small is chosen, and the threshold is set, on people left out in turn
among those who are learned from: the lowest threshold at which there are no more than BUDGET_PER_H false alarms an
hour.  For the folds this is done anew without the people of the fold, so that scoring them is an honest forecast.
What a look is judged by (the features) was chosen with all of these people in view.

The same seed gives the same files.  Takes some minutes.  The table printed at the end is the trade-off: all people,
scored by folds, with every threshold moved by so much.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent))
import recordings
from falls import EARLY_S, FOLDS, LATE_S, Fold
from recordings import Recording, Trial

from retrowalk.config import Config, Fall
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.body import BodyWatch
from retrowalk.core.falls import FEATURES, LAY_SHARE, PEAK_MAX_G
from retrowalk.models import Feature, Logistic, Models, encoded
from retrowalk.sim.recorded import BEFORE_S

Array = NDArray[np.float64]

SHIPPED = Path(__file__).resolve().parents[1] / "src" / "retrowalk" / "models" / "fall.json"
COMMAND = "script/train fall"
G_M_S2 = 9.80665

FROM_S = 0.9
"""After the shock: earlier nobody can have been lying still."""
BEST = 2
ROUNDS = 4
SOFTENED, SOFTENED_WEIGHT = 0.5, 0.5
LEANING_DEG, LEANING_WEIGHT = 45.0, 0.25
PLAIN, SOFT, LEANING = 0, 1, 2
PENALTIES = (1.0, 3.0, 10.0)
BUDGET_PER_H = 0.3
HARD_G = Config().fall.hard_g
NO_RULE = Config(fall=Fall(hard_g=PEAK_MAX_G))
"""No shock counts as harder than this."""
OUTER, INNER = 5, 4
AGAIN_S = 3.0
"""Looks above the threshold that follow each other within this are one alarm."""
MOVED = (-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5)

MEANINGS = {
    "peak": ("", "Logarithm of the shock's largest acceleration in g (8 at most): the harder, the more of a fall."),
    "push": (
        "",
        "Logarithm of 0.05 + the speed in m/s that the shock took, in 0.7 s: a body stopped, not a clip knocked.",
    ),
    "descent": (
        "m/s",
        "Speed downward before the shock, by how much less than gravity was felt: falling, not lowering.",
    ),
    "spin": ("", "Logarithm of 20 + the fastest rotation around the shock in degrees/s: a trunk that is thrown over."),
    "tipping": ("degrees", "How far gravity turned in the trunk within 0.6 s around the shock: it went over quickly."),
    "turned": (
        "degrees",
        "Angle between how the trunk is now and was 1.2 to 3 s before the shock (most of it says turned_little).",
    ),
    "turned_little": ("degrees", "How far that angle falls short of 50: who was so before has not fallen over."),
    "tilted_little": (
        "degrees",
        "How far the tilt from the wearer's own upright falls short of 60 (it tempers tilt_most and tilt_least).",
    ),
    "tilt_most": ("degrees", "Largest tilt from upright since half a second after the shock."),
    "tilt_least": (
        "degrees",
        "Smallest tilt from upright since half a second after the shock: being up is being well.",
    ),
    "rate": ("", "Logarithm of 3 + the rotation now in degrees/s (median of 1 s)."),
    "jitter": ("", "Logarithm of 0.05 + the spread of acceleration now in m/s2: who moves about does not lie there."),
    "lay": (
        "",
        "Share of the 5 s before the shock with the trunk tilted beyond 60 degrees and no step since: lying already.",
    ),
    "shocks": ("", "Logarithm of 1 + the twentieths of a second around the shock beyond 1.5 g: a body bounces."),
}


# ---------------------------------------------------------------------------------------------------- looking


def never() -> Logistic:
    """A model that suspects nobody: with NO_RULE a detector goes on looking."""
    blank = tuple(Feature(name=n, unit="", meaning="", mean=0.0, scale=1.0, weight=0.0) for n in FEATURES)
    return Logistic(
        what="nothing", trained_on="nobody", command="", seed=0, threshold=0.5, intercept=-50.0, features=blank
    )


def looks_at(recording: Recording, seed: int) -> tuple[list[tuple[float, ...]], Array | None]:
    """When the detector looked (seconds of the trial) and what it saw; and the wearer's own upright."""
    body = BodyWatch(NO_RULE, Models(fall=never()), Arbiter([]), lambda event: None)
    looks: list[tuple[float, ...]] = []
    for item in recordings.clipped(recording, seed).items():
        body.feed(item, item.t_received_s, protecting=True)
        if body.falls.looked is not None:
            looks.append((item.t_measured_s - BEFORE_S, *body.falls.looked))
    upright = body.posture.upright
    return looks, None if upright is None else np.array(upright)


def softened(recording: Recording, share: float = SOFTENED) -> Recording:
    """With only this share of what is felt beyond gravity."""
    size = np.maximum(np.linalg.norm(recording.accel, axis=1, keepdims=True), 1e-3)
    return Recording(recording.rate_hz, recording.accel * (G_M_S2 + share * (size - G_M_S2)) / size, recording.gyro)


def leaning(recording: Recording, impact_s: float, upright: Array, to_deg: float = LEANING_DEG) -> Recording:
    """Ends with the trunk tilted by `to_deg` at most: turned up, from 0.1 to 0.7 s after the shock."""
    t = np.arange(len(recording.accel)) / recording.rate_hz - impact_s
    lies = recording.accel[(t > 1.5) & (t < 3.5)]
    if not len(lies):
        return recording
    down = lies.mean(axis=0) / np.linalg.norm(lies.mean(axis=0))
    axis = np.cross(down, upright)
    too_far = math.atan2(float(np.linalg.norm(axis)), float(down @ upright)) - math.radians(to_deg)
    if too_far <= 0.0 or np.linalg.norm(axis) < 1e-6:
        return recording
    axis /= np.linalg.norm(axis)
    share = np.clip((t - 0.1) / 0.6, 0.0, 1.0)
    angle = too_far * share * share * (3.0 - 2.0 * share)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]

    def turned(v: Array) -> Array:
        whole: Array = v * cos + np.cross(axis, v) * sin + axis * (v @ axis)[:, None] * (1.0 - cos)
        return whole

    turning = axis * np.gradient(angle, 1.0 / recording.rate_hz)[:, None]
    return Recording(recording.rate_hz, turned(recording.accel), turned(recording.gyro) - turning)


def seen(job: tuple[int, Trial, int]) -> list[tuple[float, ...]]:
    """All looks at a trial and its copies: number of the trial, which copy, second, features."""
    number, trial, seed = job
    recording = recordings.read(trial)
    looks, upright = looks_at(recording, seed + number)
    found = [(float(number), float(PLAIN), *look) for look in looks]
    if trial.is_fall:
        found += [(float(number), float(SOFT), *look) for look in looks_at(softened(recording), seed + number)[0]]
        if upright is not None:
            leans = leaning(recording, trial.impact_s, upright)
            found += [(float(number), float(LEANING), *look) for look in looks_at(leans, seed + number)[0]]
    return found


@dataclass(frozen=True)
class Looks:
    """Looks at many trials, one a row."""

    trials: tuple[Trial, ...]
    trial: NDArray[np.int64]
    copy: NDArray[np.int64]
    t_s: Array
    values: Array

    def of(self, rows: NDArray[np.bool_]) -> Looks:
        """Some of them."""
        return Looks(self.trials, self.trial[rows], self.copy[rows], self.t_s[rows], self.values[rows])

    def people(self) -> list[str]:
        """Whose they are, by trial."""
        return [trial.subject for trial in self.trials]

    def whose(self, people: Sequence[str]) -> NDArray[np.bool_]:
        """Which looks are at these people."""
        some = np.isin(np.array(self.people()), people)
        return np.asarray(some[self.trial])

    def flat(self) -> NDArray[np.bool_]:
        """Which of them are at somebody who lies flat after a hard shock: a fall without any weights."""
        look = dict(zip(FEATURES, self.values.T, strict=True))
        flat = (look["peak"] > math.log(HARD_G)) & (look["tilted_little"] == 0.0) & (look["lay"] < LAY_SHARE)
        return np.asarray(flat)

    def after_s(self) -> Array:
        """Seconds since the shock; nan where nobody fell."""
        impacts: Array = np.array([trial.impact_s for trial in self.trials])
        after: Array = self.t_s - impacts[self.trial]
        return after


def looks_of(data: Path, seed: int, jobs: int) -> Looks:
    """What the detector saw of everybody."""
    trials = tuple(recordings.trials(data, "sisfall"))
    rows: list[tuple[float, ...]] = []
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        work = [(number, trial, seed) for number, trial in enumerate(trials)]
        for done, some in enumerate(pool.imap(seen, work, chunksize=8), 1):
            rows += some
            if done % 250 == 0:
                print(f"train fall: {done} of {len(trials)} trials", file=sys.stderr, flush=True)
    table = np.array(rows)
    return Looks(trials, table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2], table[:, 3:])


# --------------------------------------------------------------------------------------------------- learning


@dataclass(frozen=True)
class Fit:
    """A logistic: logit = intercept + weights * (values - mean) / scale."""

    mean: Array
    scale: Array
    intercept: float
    weights: Array

    def logit(self, values: Array) -> Array:
        """Of rows of features."""
        whole: Array = self.intercept + (values - self.mean) / self.scale @ self.weights
        return whole


def fitted(values: Array, fallen: Array, counts: Array, penalty: float) -> Fit:
    """By Newton's method, with weights held small (ridge)."""
    mean, scale = values.mean(axis=0), values.std(axis=0) + 1e-9
    x = np.column_stack([np.ones(len(values)), (values - mean) / scale])
    held = penalty * np.eye(x.shape[1])
    held[0, 0] = 1e-6
    b = np.zeros(x.shape[1])
    for _ in range(60):
        chance = 1.0 / (1.0 + np.exp(-np.clip(x @ b, -30.0, 30.0)))
        curve = (x * (counts * np.maximum(chance * (1.0 - chance), 1e-6))[:, None]).T @ x + held
        step = np.linalg.solve(curve, x.T @ (counts * (fallen - chance)) - held @ b)
        b += step
        if np.abs(step).max() < 1e-8:
            break
    return Fit(mean, scale, float(b[0]), b[1:])


def learned(looks: Looks, penalty: float) -> Fit:
    """From looks at people, of whose falls only the looks count that show them best."""
    after = looks.after_s()
    down = (after >= FROM_S) & (after <= LATE_S)
    fine = (looks.copy == PLAIN) & ~((after >= -EARLY_S) & (after <= LATE_S))
    counts = np.array([1.0, SOFTENED_WEIGHT, LEANING_WEIGHT])[looks.copy]
    # Of each copy of each fall: all looks to begin with, then the best.
    best = down
    fall = looks.trial * 3 + looks.copy
    for _ in range(ROUNDS):
        rows = fine | best
        fit = fitted(looks.values[rows], down[rows].astype(float), counts[rows], penalty)
        order = np.lexsort((-fit.logit(looks.values), fall))
        order = order[down[order]]
        starts = np.r_[True, fall[order][1:] != fall[order][:-1]]
        place = np.arange(len(order)) - np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
        best = np.zeros(len(fall), dtype=bool)
        best[order[place < BEST]] = True
    return fit


def judged(looks: Looks, above: NDArray[np.bool_]) -> tuple[set[int], int]:
    """Falls found by looks that say so (or are flat after a hard shock), and false alarms in daily life."""
    found: set[int] = set()
    false = 0
    after = looks.after_s()
    last = (-1, -math.inf)
    for i in np.flatnonzero(above | looks.flat()):
        number, t_s = int(looks.trial[i]), float(looks.t_s[i])
        if looks.trials[number].is_fall:
            if -EARLY_S <= after[i] <= LATE_S:
                found.add(number)
        elif number != last[0] or t_s > last[1] + AGAIN_S:
            false += 1
            last = number, t_s
    return found, false


def threshold(looks: Looks, logits: Array, hours: float) -> float:
    """The lowest that keeps the budget, of looks at people who were left out."""
    for level in np.arange(-4.0, 6.0, 0.05):
        if judged(looks, logits > level)[1] <= BUDGET_PER_H * hours:
            return float(level)
    return 6.0


def split(people: Sequence[str], parts: int, seed: int) -> list[tuple[str, ...]]:
    """People in so many parts, young and older spread evenly."""
    rng = np.random.default_rng(seed)
    shares: list[list[str]] = [[] for _ in range(parts)]
    turn = 0
    for group in ("SA", "SE"):
        some = sorted(person for person in set(people) if person.startswith(group))
        rng.shuffle(some)
        for person in some:
            shares[turn % parts].append(person)
            turn += 1
    return [tuple(sorted(share)) for share in shares]


def chosen(looks: Looks, people: Sequence[str], seed: int) -> tuple[Fit, float, float]:
    """Weights, penalty and threshold from these people alone."""
    mine = looks.of(looks.whose(people))
    plain = mine.of(mine.copy == PLAIN)
    hours = sum(t.duration_s for t in looks.trials if t.subject in people and not t.is_fall) / 3600.0
    best: tuple[int, float, float] = (-1, 0.0, 0.0)
    for penalty in PENALTIES:
        logits = np.zeros(len(plain.t_s))
        for left_out in split(people, INNER, seed):
            theirs = plain.whose(left_out)
            fit = learned(mine.of(~mine.whose(left_out)), penalty)
            logits[theirs] = fit.logit(plain.values[theirs])
        level = threshold(plain, logits, hours)
        found = len(judged(plain, logits > level)[0])
        if found >= best[0]:  # of equals the one that holds weights smaller
            best = found, penalty, level
    return learned(mine, best[1]), best[1], best[2]


def model(fit: Fit, level: float, people: Sequence[str], seed: int) -> Logistic:
    """The file's form; numbers rounded, so that it can be read."""
    young = sum(person.startswith("SA") for person in people)
    return Logistic(
        what="That the wearer has fallen and lies there.",
        trained_on=f"SisFall (Sucerquia et al. 2017): {young} younger people with simulated falls and daily life, "
        f"{len(people) - young} older ones with daily life; odd numbers only.  Falls also softened, and leaning.",
        command=COMMAND,
        seed=seed,
        threshold=round(1.0 / (1.0 + math.exp(-level)), 6),
        intercept=round(fit.intercept, 5),
        features=tuple(
            Feature(
                name=name,
                unit=MEANINGS[name][0],
                meaning=MEANINGS[name][1],
                mean=round(float(mean), 5),
                scale=round(float(scale), 5),
                weight=round(float(weight), 5),
            )
            for name, mean, scale, weight in zip(FEATURES, fit.mean, fit.scale, fit.weights, strict=True)
        ),
    )


# ------------------------------------------------------------------------------------------------------- run


def main() -> None:
    """Writes both files and prints the trade-off."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    recordings.data_argument(parser)
    parser.add_argument("--seed", type=int, default=1, help="of the chip's noise and of the folds (default 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    options = parser.parse_args()
    data = recordings.data_directory(options)
    if not recordings.trials(data, "sisfall"):
        sys.exit(f"{data}: holds no SisFall")
    looks = looks_of(data, options.seed, options.jobs)
    everybody = sorted(set(looks.people()))
    margins = np.full(len(looks.t_s), -99.0)
    folds = []
    for people in split(everybody, OUTER, options.seed):
        others = [person for person in everybody if person not in people]
        fit, penalty, level = chosen(looks, others, options.seed)
        theirs = looks.whose(people)
        margins[theirs] = fit.logit(looks.values[theirs]) - level
        folds.append(Fold(people, model(fit, level, others, options.seed)))
        print(f"train fall: fold of {', '.join(people)}: penalty {penalty:g}, logit {level:.2f}", file=sys.stderr)
    FOLDS.mkdir(exist_ok=True)
    (FOLDS / "fall.json").write_bytes(msgspec.json.format(msgspec.json.encode(folds), indent=1) + b"\n")
    fit, penalty, level = chosen(looks, everybody, options.seed)
    SHIPPED.write_bytes(encoded(model(fit, level, everybody, options.seed)))
    print(f"all {len(everybody)} people: penalty {penalty:g}, logit {level:.2f}")
    for name, weight in zip(FEATURES, fit.weights, strict=True):
        print(f"  {name:14} {weight:6.2f}")
    print_trade_off(looks, margins)


def print_trade_off(looks: Looks, margins: Array) -> None:
    """Each line is the whole of the people, with every fold's threshold moved."""
    falls = {i for i, trial in enumerate(looks.trials) if trial.is_fall}
    backward = {i for i in falls if looks.trials[i].fall_direction == "backward"}
    hours = sum(trial.duration_s for trial in looks.trials if not trial.is_fall) / 3600.0
    print("threshold moved  falls %  backward %  softened %  leaning %  false/h")
    for moved in MOVED:
        shares = []
        for copy in (PLAIN, SOFT, LEANING):
            rows = looks.copy == copy
            found, false = judged(looks.of(rows), margins[rows] > moved)
            shares.append(100.0 * len(found & falls) / len(falls))
            if copy == PLAIN:
                shares.append(100.0 * len(found & backward) / len(backward))
                per_h = false / hours
        print(f"{moved:+15.1f}  {shares[0]:7.2f}  {shares[1]:10.1f}  {shares[2]:10.1f}  {shares[3]:9.1f}  {per_h:7.2f}")


if __name__ == "__main__":
    main()
