"""What hits and misses tell of an ultrasonic sensor: the likeliest margin, slope, losses, beam and bursts.

The model is that of `sim.noise`: two states, good and bad, that take turns (bursts); in each a ping is heard with the
logistic chance of its margin; of the missed ones some give a second echo, somewhere up to twice as far.  The likelihood
of every sequence of pings is worked out with the two states hidden, so that bursts widen the intervals as they must.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from retrowalk.bench import stats
from retrowalk.bench.form import HIT, LONG, NEAR, NOTHING, EchoRun, symbols
from retrowalk.config import HcSr04
from retrowalk.sim.estimates import EchoParameters
from retrowalk.sim.noise import absorption_db_m

WINDOW_M = 0.15
"""An answer so near to the tape is one of the target."""
WEAK_DB = -8.0
"""Where a target is weaker, by the estimates, there may be no second echo."""
TOLD = 0.6
"""A number is told by the runs when they leave it less than this share of the doubt there was before."""


class Found(NamedTuple):
    """A number with its 95 % interval, and from how many pings."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class _Free:
    """A number that is looked for: how it is stretched to any real value, and how little was known before (a standard
    deviation there): enough to keep what no run tells from running away.
    """

    name: str
    to: Callable[[float], float]
    back: Callable[[float], float]
    doubt: float


def _plain(x: float) -> float:
    return x


def _logit(p: float) -> float:
    p = min(1.0 - 1e-6, max(1e-6, p))
    return math.log(p / (1.0 - p))


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(min(60.0, max(-60.0, -x))))


def _exp(x: float) -> float:
    return math.exp(min(30.0, max(-30.0, x)))


DECIBELS, SCALE, CHANCE = (_plain, _plain, 20.0), (math.log, _exp, 1.0), (_logit, _logistic, 2.0)


def _free(runs: Sequence[EchoRun]) -> list[_Free]:
    kinds = dict.fromkeys(run.target for run in runs)
    found = [_Free("slope_db", *SCALE), _Free("missed_silent_p", *CHANCE)]
    if "wall" in kinds:
        found.append(_Free("wall_margin_db", *DECIBELS))
    found += [_Free(f"target_loss_db.{kind}", *DECIBELS) for kind in kinds if kind != "wall"]
    if any(run.off_axis_deg for run in runs):
        found.append(_Free("half_beam_deg", *SCALE))
    if any(run.wet for run in runs):
        found.append(_Free("rain_db", *DECIBELS))
    if any(run.sequence for run in runs):
        found += [_Free("bad_p", *CHANCE), _Free("good_p", *CHANCE), _Free("bad_db", *DECIBELS)]
    return found


def _value(parameters: EchoParameters, name: str) -> float:
    first, _, kind = name.partition(".")
    value = getattr(parameters, first)
    return float(value[kind] if kind else value)


_Chances = dict[str, float]


def _chances(run: EchoRun, at: dict[str, float], parameters: EchoParameters, lost_db: float) -> _Chances:
    """What a ping gives, and how likely, with so much lost."""

    def number(name: str) -> float:
        return at[name] if name in at else _value(parameters, name)

    range_m = run.distance_m
    margin = number("wall_margin_db") - _lost_on_the_way_db(run) - number(f"target_loss_db.{run.target}")
    margin -= 12.0 * (run.off_axis_deg / number("half_beam_deg")) ** 2
    # The model has a sharp end of second echoes; here it is soft, or it would seem to tell a margin to a hair.
    echoes = (1.0 - number("missed_silent_p")) * _logistic((margin - parameters.second_echo_min_db) / 2.0)
    margin -= lost_db + (number("rain_db") if run.wet else 0.0)
    spread = parameters.hedge_spread_db if run.target == "hedge" else 0.0
    offs = [spread * off for off in (-0.8, -0.4, 0.0, 0.4, 0.8)] if spread else [0.0]
    slope = number("slope_db")
    heard = math.fsum(_logistic((margin + off) / slope) for off in offs) / len(offs)
    # A second echo comes from anywhere between the distance and twice as far.
    reach_m = min(parameters.reach_m, HcSr04().range_max_m)
    within = min(1.0, WINDOW_M / range_m)
    beyond = max(0.0, min(1.0, reach_m / range_m - 1.0) - within)
    missed = 1.0 - heard
    hit, longer = heard + missed * echoes * within, missed * echoes * beyond
    if _weak(run, parameters):  # near that end only hits count
        longer = (1.0 - hit) / 2.0
    return {HIT: hit, LONG: longer, NOTHING: max(1e-12, 1.0 - hit - longer), NEAR: 1.0}


def _lost_on_the_way_db(run: EchoRun) -> float:
    return 40.0 * math.log10(run.distance_m) + 2.0 * absorption_db_m(run.temperature_c) * run.distance_m


def _weak(run: EchoRun, parameters: EchoParameters) -> bool:
    """Whether a target is so weak, by the estimates, that there may be no second echo."""
    margin = parameters.wall_margin_db - _lost_on_the_way_db(run) - parameters.target_loss_db[run.target]
    return run.wet or run.off_axis_deg > 0.0 or margin < WEAK_DB


def _log_likelihood(run: EchoRun, at: dict[str, float], parameters: EchoParameters) -> float:
    begins, ends, bad_db = (at.get(name, getattr(parameters, name)) for name in ("bad_p", "good_p", "bad_db"))
    good, bad = (_chances(run, at, parameters, lost_db) for lost_db in (0.0, bad_db))
    share = begins / max(1e-9, begins + ends)
    if not run.sequence:
        mixed = {symbol: (1.0 - share) * good[symbol] + share * bad[symbol] for symbol in good}
        told = ((HIT, run.hits), (LONG, run.longer), (NOTHING, run.pings - run.hits - run.longer - run.nearer))
        total = sum(count * math.log(max(1e-12, mixed[symbol])) for symbol, count in told)
        return total / _alike(run, parameters)
    total, a, b = 0.0, 1.0 - share, share
    for symbol, count in symbols(run.sequence):
        in_good, in_bad = max(1e-12, good[symbol]), max(1e-12, bad[symbol])
        for _ in range(count):
            a, b = (a * (1.0 - begins) + b * ends) * in_good, (a * begins + b * (1.0 - ends)) * in_bad
            if a + b < 1e-100:
                total += math.log(a + b)
                a, b = a / (a + b), b / (a + b)
    return total + math.log(a + b)


def _alike(run: EchoRun, parameters: EchoParameters) -> float:
    """How many pings of a run without a sequence count for one: in a burst they are alike."""
    share = parameters.bad_p / (parameters.bad_p + parameters.good_p)
    good, bad = (_chances(run, {}, parameters, lost_db)[HIT] for lost_db in (0.0, parameters.bad_db))
    mixed = (1.0 - share) * good + share * bad
    between = share * (1.0 - share) * (good - bad) ** 2 / max(1e-9, mixed * (1.0 - mixed))
    stays = 1.0 - parameters.bad_p - parameters.good_p
    return 1.0 + between * 2.0 * stays / (1.0 - stays)


def fit(runs: Sequence[EchoRun], parameters: EchoParameters) -> dict[str, Found]:
    """The numbers that the runs at targets tell; what they leave open is not among them."""
    runs = [run for run in runs if run.kind == "target" and run.pings and not run.switched]
    if not runs:
        return {}
    free = _free(runs)
    start = [one.to(_value(parameters, one.name)) for one in free]

    def cost(x: Sequence[float]) -> float:
        at = {one.name: one.back(value) for one, value in zip(free, x, strict=True)}
        known = sum(((a - b) / one.doubt) ** 2 for a, b, one in zip(x, start, free, strict=True)) / 2.0
        return known - sum(_log_likelihood(run, at, parameters) for run in runs)

    best = stats.minimise(cost, start)
    spread = stats.covariance(cost, best)
    found = {}
    for i, one in enumerate(free):
        half = math.sqrt(max(0.0, spread[i][i]))
        if not 0.0 < half < TOLD * one.doubt:
            continue
        ends = [one.back(best[i] + sign * stats.Z95 * half) for sign in (-1.0, 1.0)]
        pings = sum(run.pings for run in runs if _bears(one.name, run))
        found[one.name] = Found(one.back(best[i]), ends[0], ends[1], pings)
    return found


def _bears(name: str, run: EchoRun) -> bool:
    """Whether a run has anything to do with a number."""
    if name.startswith("target_loss_db."):
        return run.target == name.partition(".")[2]
    return {"half_beam_deg": bool(run.off_axis_deg), "rain_db": run.wet, "bad_p": bool(run.sequence)}.get(name, True)
