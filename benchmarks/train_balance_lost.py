"""Learns the weights of `core/imbalance.py` from recorded people: `script/train balance-lost [--data DIR]`.

What is learned from: SisFall's walking, jogging, stairs and falls while walking (D01 to D06, F01 to F07) and the walks
of gait_l5, through the chip and through the core's own `BodyWatch`; the features are those that the device works out.
Positive is what lies 450 to 50 ms before contact; the two seconds before that are left out (three in F07, where people
sink onto a table first), and stumbles (D18) altogether.  Every trial is taken four times: as it was worn, with the clip
turned by up to 25 degrees in each axis, slower or faster by up to a quarter, and, where it is a walk on the level,
backward in time: the nearest to walking backward that these sets hold.  Features know no left and right, so that a
mirrored trial would be the same one.

Written are `models/balance_lost.json`, learned from everybody, and `folds/balance_lost.json`: for each of five groups
of people the weights that were learned without them, for `falls.py`.  Ridge and threshold of each are chosen among
those who are learned from, by a cross-validation of its own: the ridge that foresees most, and the lowest threshold
with at most half a false alarm an hour.  The list of features, the window and the weights of the groups were chosen
once with all of these people in sight.

The same seed gives the same files.  Some ten minutes on two cores; `--score` only scores what the folds hold.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import recordings
from falls import FOLDS, FORESEEN_S, TONE_S, Fold, contact_s
from numpy.typing import NDArray
from recordings import Recording, Trial

from retrowalk import models
from retrowalk.config import Config
from retrowalk.core import imbalance
from retrowalk.core.arbiter import Arbiter
from retrowalk.core.body import BodyWatch
from retrowalk.core.events import Output
from retrowalk.models import Feature, Logistic, Models
from retrowalk.sim.recorded import BEFORE_S

Array = NDArray[np.float64]

FALLS = tuple(f"F{n:02}" for n in range(1, 8))
LEVEL = ("D01", "D02")
JOGGING = ("D03", "D04")
STAIRS = ("D05", "D06")
STUMBLES = ("D18",)
WALKS = "WALK10M_UTURN"
SLUMP = "F07"
"""Falls in two parts: onto a table, and seconds later to the ground."""
VARIANTS = ("worn", "turned", "stretched", "reversed")

FROM_S, UNTIL_S = 0.45, 0.05
DOUBTFUL_S, SLUMP_S = 2.0, 3.0
WEIGHTS = {WALKS: 20.0, **dict.fromkeys(JOGGING, 100.0), **dict.fromkeys(FALLS, 20.0)}
"""Of what is no loss of balance, where it is not 1: what is rare here, or hard to tell, must count."""
POSITIVE = 3.0
VARIED = 0.3
"""Of a changed trial, against 1 of the trial as it was."""
SHARE = 0.15
"""Of the walking is learned from: two sets of features 20 ms apart say much the same."""
FARTHEST = 8.0
"""Deviations beyond this many count as so many in training: no single shock decides."""
RIDGES = (10.0, 100.0, 1000.0)
FOLD_COUNT = 5
FALSE_PER_H = 0.5
MODEL = Path(models.__file__).parent / "balance_lost.json"
NAME = "balance_lost"


# ------------------------------------------------------------------------------------------------------ features


@dataclass(frozen=True)
class Piece:
    """What a trial gives.  Seconds of the trial."""

    trial: Trial
    variant: str
    contact_s: float
    values: NDArray[np.float32]
    """Features (n, number of them) ..."""
    t_s: Array
    """... when they were measured ..."""
    got_s: Array
    """... when the guard gets them ..."""
    open: NDArray[np.bool_]
    """... and whether balance lost would be told then."""

    @property
    def who(self) -> str:
        """The person, as `falls.py` names them."""
        return self.trial.subject if self.trial.set_name == "sisfall" else f"{self.trial.set_name}/{self.trial.subject}"


def changed(trial: Trial, variant: str, rng: np.random.Generator) -> tuple[Recording, float, Array | None]:
    """A recording, by how much slower it is, and how the clip sits."""
    recording = recordings.read(trial)
    if variant == "turned":
        return recording, 1.0, recordings.turned(*rng.uniform(-25.0, 25.0, 3))
    if variant == "stretched":
        slower = float(rng.choice([rng.uniform(0.8, 0.93), rng.uniform(1.07, 1.25)]))
        n = len(recording.accel)
        at = np.arange(0.0, n - 1, 1.0 / slower)
        accel, gyro = (
            np.stack([np.interp(at, np.arange(n), v[:, i]) for i in (0, 1, 2)], axis=1)
            for v in (recording.accel, recording.gyro)
        )
        return Recording(recording.rate_hz, accel, gyro / slower), slower, None  # so that angles stay as they were
    if variant == "reversed":
        return Recording(recording.rate_hz, recording.accel[::-1].copy(), -recording.gyro[::-1]), 1.0, None
    return recording, 1.0, None


def silent() -> Logistic:
    """Weights that never tell anything: the shipped ones may be of other features than those to be learned."""
    features = tuple(
        Feature(name=name, unit=unit, meaning=text, mean=0.0, scale=1.0, weight=0.0)
        for name, (unit, text) in imbalance.MEANINGS.items()
    )
    return Logistic(
        what="nothing", trained_on="", command="", seed=0, threshold=0.5, intercept=-10.0, features=features
    )


def piece(job: tuple[Trial, str, int]) -> Piece:
    """One trial through the chip and the core."""
    trial, variant, seed = job
    own_seed = zlib.crc32(f"{trial.trial_id} {variant}".encode()) ^ seed
    recording, slower, worn = changed(trial, variant, np.random.default_rng(own_seed))
    if variant == "worn":
        clip = recordings.clip(trial, seed, after_s=0.3)
    else:
        clip = recordings.clipped(recording, own_seed, worn=worn, after_s=0.3)
    touched_s = contact_s(trial) * slower
    ends_s = touched_s + 0.05 if trial.is_fall else trial.duration_s * slower
    out: list[Output] = []
    body = BodyWatch(Config(), Models(balance_lost=silent()), Arbiter(out), out.append)
    signals = imbalance.Signals()
    values, times, got = [], [], []
    is_open = []
    for item in clip.items():
        t_s = item.t_measured_s - BEFORE_S
        if t_s > ends_s:
            break
        body.feed(item, item.t_received_s, protecting=False)
        now = signals.update(item.t_measured_s, item.accel_m_s2, item.gyro_rad_s, body.posture, body.gait)
        if now is None or t_s < 0.0:
            continue
        values.append(now)
        times.append(t_s)
        got.append(item.t_received_s - BEFORE_S)
        is_open.append(imbalance.is_open(item.t_measured_s, signals, body.posture, body.gait))
    return Piece(
        trial, variant, touched_s, np.array(values, np.float32), np.array(times), np.array(got), np.array(is_open)
    )


def pieces(data: Path, seed: int, variants: Sequence[str], processes: int) -> list[Piece]:
    """Every trial that is learned from or scored, in a fixed order; tells on stderr how far it is."""
    every = [
        t for t in recordings.trials(data, "sisfall") if t.activity in (*FALLS, *LEVEL, *JOGGING, *STAIRS, *STUMBLES)
    ]
    every += recordings.trials(data, "gait_l5")
    jobs = [
        (trial, variant, seed)
        for variant in variants
        for trial in every
        if variant != "reversed" or trial.activity in (*LEVEL, WALKS)
    ]
    done = []
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for number, one in enumerate(pool.imap(piece, jobs, chunksize=4), 1):
            done.append(one)
            if number % (len(jobs) // 10) == 0:
                print(f"features: {number} of {len(jobs)} trials", file=sys.stderr, flush=True)
    return done


# ------------------------------------------------------------------------------------------------------ learning


@dataclass(frozen=True)
class Table:
    """All that is learned from."""

    x: NDArray[np.float32]
    y: NDArray[np.bool_]
    weight: Array
    who: NDArray[np.object_]


def table(some: Sequence[Piece], seed: int) -> Table:
    """Labels and weights of the pieces."""
    x, y, weight, who = [], [], [], []
    for one in some:
        trial, t_s = one.trial, one.t_s
        if trial.activity in STUMBLES:
            continue
        ahead_s = one.contact_s - t_s if trial.is_fall else np.full(len(t_s), math.inf)
        positive = (ahead_s <= FROM_S) & (ahead_s >= UNTIL_S)
        doubtful_s = SLUMP_S if trial.activity == SLUMP else DOUBTFUL_S
        rng = np.random.default_rng(zlib.crc32(f"{trial.trial_id} {one.variant} drawn".encode()) ^ seed)
        taken = one.open & (positive | ((ahead_s > doubtful_s) & (rng.random(len(t_s)) < SHARE)))
        x.append(one.values[taken])
        y.append(positive[taken])
        of = np.where(positive, POSITIVE, WEIGHTS.get(trial.activity, 1.0))
        weight.append((of * (1.0 if one.variant == "worn" else VARIED))[taken])
        who.append(np.full(int(taken.sum()), one.who, object))
    return Table(np.concatenate(x), np.concatenate(y), np.concatenate(weight), np.concatenate(who))


def fitted(x: Array, y: NDArray[np.bool_], weight: Array, ridge: float) -> tuple[Array, float]:
    """Weights and intercept of a logistic, by Newton's method with halved steps; `x` in deviations."""
    n, p = x.shape
    beta = np.zeros(p + 1)
    penalty = np.append(np.full(p, ridge), 1e-9)

    def loss(b: Array) -> float:
        z = x @ b[:-1] + b[-1]
        return float(np.sum(weight * (np.logaddexp(0.0, z) - y * z)) + 0.5 * np.sum(penalty * b * b))

    before = loss(beta)
    for _ in range(15):
        chance = 1.0 / (1.0 + np.exp(-np.clip(x @ beta[:-1] + beta[-1], -30.0, 30.0)))
        off = weight * (chance - y)
        curve = weight * np.maximum(chance * (1.0 - chance), 1e-9)
        hessian = np.empty((p + 1, p + 1))
        curved = x * curve[:, None]
        hessian[:-1, :-1] = x.T @ curved
        hessian[-1, :-1] = hessian[:-1, -1] = curved.sum(axis=0)
        hessian[-1, -1] = curve.sum()
        step = np.linalg.solve(hessian + np.diag(penalty), np.append(x.T @ off, off.sum()) + penalty * beta)
        size = 1.0
        while loss(beta - size * step) > before and size > 1e-3:
            size *= 0.5
        beta = beta - size * step
        after = loss(beta)
        if before - after < 1e-6 * before:
            break
        before = after
    return beta[:-1], float(beta[-1])


def learned(data: Table, taken: NDArray[np.bool_], ridge: float, seed: int, trained_on: str) -> Logistic:
    """A model from those rows, without a threshold yet."""
    x = data.x[taken].astype(float)
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    weights, intercept = fitted(
        np.clip((x - mean) / scale, -FARTHEST, FARTHEST), data.y[taken], data.weight[taken], ridge
    )
    return Logistic(
        what="balance is being lost, within half a second of walking",
        trained_on=trained_on,
        command="script/train balance-lost",
        seed=seed,
        threshold=0.5,
        intercept=round(intercept, 5),
        features=tuple(
            Feature(
                name=name, unit=unit, meaning=text, mean=float(f"{m:.6g}"), scale=float(f"{s:.6g}"), weight=round(w, 5)
            )
            for (name, (unit, text)), m, s, w in zip(
                imbalance.MEANINGS.items(), mean.tolist(), scale.tolist(), weights.tolist(), strict=True
            )
        ),
    )


def logits(model: Logistic, values: NDArray[np.float32]) -> Array:
    """As the device works them out."""
    plain = model.plain()
    total: Array = values.astype(float) @ np.array(plain.weights) + plain.intercept
    return total


# ------------------------------------------------------------------------------------------------------- scoring


@dataclass(frozen=True)
class Score:
    """What became of some trials."""

    leads_s: dict[str, list[float | None]]
    """By kind of fall; None for one that was not foreseen."""
    false: dict[str, int]
    hours: dict[str, float]

    @property
    def sensitivity(self) -> float:
        """Share of the falls that were foreseen."""
        every = [lead for leads in self.leads_s.values() for lead in leads]
        return sum(lead is not None for lead in every) / max(1, len(every))

    @property
    def false_per_h(self) -> float:
        """Of walking and jogging, and before falls but for the slump."""
        kinds = ("level", "jogging", "before falls")
        return sum(self.false.get(k, 0) for k in kinds) / max(1e-9, sum(self.hours.get(k, 0.0) for k in kinds))


def told(one: Piece, above: NDArray[np.bool_]) -> list[int]:
    """When it would be told, as indices: again only after a while."""
    indices = []
    last_s = -math.inf
    for i in np.flatnonzero(above & one.open):
        if one.t_s[i] - last_s > imbalance.AGAIN_S:
            indices.append(int(i))
            last_s = one.t_s[i]
    return indices


def kind(trial: Trial) -> str:
    """What a false alarm in it belongs to."""
    groups = {LEVEL: "level", JOGGING: "jogging", STAIRS: "stairs", STUMBLES: "stumbles", (WALKS,): "level"}
    return next((name for activities, name in groups.items() if trial.activity in activities), "before falls")


def score(some: Sequence[tuple[Piece, Array]], threshold: float) -> Score:
    """Pieces with their logits.  A hit: the tone comes within the second before contact."""
    leads: dict[str, list[float | None]] = {}
    false: dict[str, int] = {}
    hours: dict[str, float] = {}

    def count(name: str, number: int, seconds: float) -> None:
        false[name] = false.get(name, 0) + number
        hours[name] = hours.get(name, 0.0) + seconds / 3600.0

    for one, logit in some:
        indices = told(one, logit > threshold)
        if not one.trial.is_fall:
            count(kind(one.trial), len(indices), one.trial.duration_s)
            continue
        ahead_s = [one.contact_s - float(one.got_s[i]) - TONE_S for i in indices]
        hit = next((s for s in ahead_s if 0.0 <= s <= FORESEEN_S), None)
        leads.setdefault(one.trial.activity, []).append(hit)
        early = [s for s in ahead_s if s > FORESEEN_S]
        slumps = sum(s <= SLUMP_S for s in early) if one.trial.activity == SLUMP else 0
        count("slump", slumps, 0.0)
        count("before falls", len(early) - slumps, max(0.0, one.contact_s - FORESEEN_S))
    return Score(leads, false, hours)


def lowest(some: Sequence[tuple[Piece, Array]]) -> float:
    """The lowest logit with at most `FALSE_PER_H`."""
    low, high = -5.0, 30.0
    while high - low > 0.02:
        middle = 0.5 * (low + high)
        if score(some, middle).false_per_h > FALSE_PER_H:
            low = middle
        else:
            high = middle
    return round(high, 2)


def grouped(people: Sequence[str], seed: int) -> list[list[str]]:
    """People in groups, each with as many young, older and others as the next."""
    rng = np.random.default_rng(seed)
    groups: list[list[str]] = [[] for _ in range(FOLD_COUNT)]
    for beginning in ("SA", "SE", "gait_l5/"):
        some = sorted({who for who in people if who.startswith(beginning)})
        for i, k in enumerate(rng.permutation(len(some))):
            groups[i % FOLD_COUNT].append(some[k])
    return groups


def chosen(data: Table, plain: Sequence[Piece], groups: Sequence[Sequence[str]], seed: int) -> tuple[float, float]:
    """Ridge and logit of the threshold, by cross-validation among these groups only."""
    best = (-1.0, 0.0, 0.0)
    known = {who for group in groups for who in group}
    for ridge in RIDGES:
        judged: list[tuple[Piece, Array]] = []
        for group in groups:
            taken = np.array([who in known and who not in group for who in data.who])
            model = learned(data, taken, ridge, seed, "")
            judged += [(one, logits(model, one.values)) for one in plain if one.who in group]
        threshold = lowest(judged)
        best = max(best, (round(score(judged, threshold).sensitivity, 4), ridge, threshold))
    return best[1], best[2]


def made(data: Table, plain: Sequence[Piece], groups: Sequence[Sequence[str]], seed: int) -> Logistic:
    """A model from these groups, with ridge and threshold chosen among them."""
    ridge, threshold = chosen(data, plain, groups, seed)
    known = {who for group in groups for who in group}
    count = len(known)
    text = (
        f"{count} people: SisFall D01-D06, F01-F07 (falls are simulated, on mats) and gait_l5, facing forward; "
        f"ridge {ridge:g}"
    )
    model = learned(data, np.array([who in known for who in data.who]), ridge, seed, text)
    return msgspec.structs.replace(model, threshold=round(1.0 / (1.0 + math.exp(-threshold)), 6))


# ------------------------------------------------------------------------------------------------------- report


def report(some: Sequence[Piece], folds: Sequence[Fold]) -> None:
    """Prints what the folds foresee of people they have not seen, and what another threshold would."""
    model_of = {who: fold.model for fold in folds for who in fold.subjects}
    judged = []
    for one in some:
        model = model_of.get(one.who) or models.shipped(NAME)
        judged.append((one, logits(model, one.values) - model.plain().threshold))
    for variant in VARIANTS:
        of = [(one, logit) for one, logit in judged if one.variant == variant]
        if not of:
            continue
        print(f"{variant}:")
        for offset in (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0) if variant == "worn" else (0.0,):
            print("  " + line(score(of, offset), offset))


def line(s: Score, offset: float) -> str:
    """A row of the table."""
    leads = [1000.0 * lead for every in s.leads_s.values() for lead in every if lead is not None]
    kinds = " ".join(
        f"{name} {sum(lead is not None for lead in every)}/{len(every)}" for name, every in sorted(s.leads_s.items())
    )
    lead = f"lead {np.mean(leads):.0f}/{np.percentile(leads, 10):.0f} ms, " if leads else ""
    false = ", ".join(f"{name} {count} in {s.hours[name]:.2f} h" for name, count in sorted(s.false.items()))
    return f"{offset:+.1f}: {100.0 * s.sensitivity:.1f} % ({kinds}), {lead}{s.false_per_h:.2f} false/h ({false})"


def main() -> None:
    """Reads, learns, writes, reports."""
    parser = argparse.ArgumentParser(description="Learns when balance is being lost, from recorded people.")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything random (default 1)")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes (default: one a core)")
    parser.add_argument("--score", action="store_true", help="learn nothing: score the weights there are")
    recordings.data_argument(parser)
    options = parser.parse_args()
    some = pieces(recordings.data_directory(options), options.seed, VARIANTS, options.jobs)
    path = FOLDS / f"{NAME}.json"
    if options.score:
        report(some, msgspec.json.decode(path.read_bytes(), type=tuple[Fold, ...]))
        return
    data = table(some, options.seed)
    plain = [one for one in some if one.variant == "worn"]
    groups = grouped([one.who for one in some], options.seed)
    folds = []
    for held_out in groups:
        model = made(data, plain, [group for group in groups if group is not held_out], options.seed)
        folds.append(Fold(tuple(sorted(held_out)), model))
        print(f"fold {len(folds)}: {model.trained_on}, threshold {model.threshold}", file=sys.stderr, flush=True)
    model = made(data, plain, groups, options.seed)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(tuple(folds)), indent=1) + b"\n")
    MODEL.write_bytes(models.encoded(model))
    report(some, folds)


if __name__ == "__main__":
    main()
